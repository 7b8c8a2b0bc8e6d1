"""Authorize, and the idTagInfo that three answers carry."""

from agent.domain.authorization import AuthorizationStatus, IdToken, IdTokenInfo, IdTokenType
from agent.domain.events import AuthorizationAnswered
from agent.domain.notices import AuthorizeNotice
from agent.ocpp_client.adapter import Call, JsonObject, Reply
from agent.ocpp_client.catalog import Answered
from agent.ocpp_client.fields import child, maybe_child, maybe_text, moment, text
from agent.ocpp_client.v16.context import Context

MAX_ID_TAG = 20


def encode(notice: AuthorizeNotice) -> tuple[Call, ...]:
    """Ask about a token. Nothing for one that 1.6 has no room for: a cut one would be somebody else's."""
    if len(notice.id_token.value) > MAX_ID_TAG:
        return ()
    return (Call("Authorize", {"idTag": notice.id_token.value}),)


def decode_reply(answered: Answered[Context]) -> Reply:
    """The verdict about the token."""
    if not isinstance(answered.notice, AuthorizeNotice):
        return Reply()
    info = decode_id_tag_info(child(answered.payload, "idTagInfo"))
    return Reply(events=(AuthorizationAnswered(answered.notice.request_id, info),))


def id_tag(id_token: IdToken | None) -> str:
    """An idTag for a message that must be delivered whatever the token is; empty where there was none."""
    return "" if id_token is None else id_token.value[:MAX_ID_TAG]


def maybe_id_tag_info(payload: JsonObject) -> IdTokenInfo | None:
    """The verdict of an answer that need not hold one."""
    info = maybe_child(payload, "idTagInfo")
    return None if info is None else decode_id_tag_info(info)


def decode_id_tag_info(info: JsonObject) -> IdTokenInfo:
    """Tokens of a CSMS have no type in 1.6: Central. parentIdTag is the group, expiryDate bounds the cache."""
    parent = maybe_text(info, "parentIdTag")
    return IdTokenInfo(
        status=AuthorizationStatus(text(info, "status")),
        cache_expiry=moment(maybe_text(info, "expiryDate")),
        group_id_token=IdToken(parent, IdTokenType.CENTRAL) if parent else None,
    )
