"""Authorize, IdTokenType and IdTokenInfoType."""

from agent.domain.authorization import AuthorizationStatus, IdToken, IdTokenInfo, IdTokenType
from agent.domain.events import AuthorizationAnswered
from agent.domain.notices import AuthorizeNotice
from agent.ocpp_client.adapter import Call, JsonObject, Reply
from agent.ocpp_client.catalog import Answered
from agent.ocpp_client.fields import child, maybe_child, maybe_text, moment, text
from agent.ocpp_client.v201.context import Context

_MAX_ID_TOKEN = 36


def encode(notice: AuthorizeNotice) -> tuple[Call, ...]:
    """Ask about a token. Nothing for one that 2.0.1 has no room for: a cut one would be somebody else's."""
    if len(notice.id_token.value) > _MAX_ID_TOKEN:
        return ()
    return (Call("Authorize", {"idToken": encode_id_token(notice.id_token)}),)


def decode_reply(answered: Answered[Context]) -> Reply:
    """The verdict about the token."""
    if not isinstance(answered.notice, AuthorizeNotice):
        return Reply()
    info = decode_id_token_info(child(answered.payload, "idTokenInfo"))
    return Reply(events=(AuthorizationAnswered(answered.notice.request_id, info),))


def encode_id_token(id_token: IdToken) -> JsonObject:
    """The token as the reader gave it: some CSMSs compare with case."""
    return {"idToken": id_token.value[:_MAX_ID_TOKEN], "type": id_token.type.value}


def decode_id_token(payload: JsonObject) -> IdToken:
    """A token that the CSMS names."""
    return IdToken(text(payload, "idToken"), IdTokenType(text(payload, "type")))


def maybe_id_token_info(payload: JsonObject) -> IdTokenInfo | None:
    """The verdict of an answer that need not hold one."""
    info = maybe_child(payload, "idTokenInfo")
    return None if info is None else decode_id_token_info(info)


def decode_id_token_info(info: JsonObject) -> IdTokenInfo:
    """Status, how long it may be kept, and the token's group."""
    group = maybe_child(info, "groupIdToken")
    return IdTokenInfo(
        status=AuthorizationStatus(text(info, "status")),
        cache_expiry=moment(maybe_text(info, "cacheExpiryDateTime")),
        group_id_token=None if group is None else decode_id_token(group),
    )
