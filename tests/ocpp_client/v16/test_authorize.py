from datetime import UTC, datetime

import pytest

from agent.domain.authorization import AuthorizationStatus, IdToken, IdTokenInfo, IdTokenType
from agent.domain.events import AuthorizationAnswered
from agent.domain.ids import RequestId
from agent.domain.notices import AuthorizeNotice
from agent.ocpp_client.v16.adapter import V16Adapter
from tests.ocpp_client.official import valid_request
from tests.ocpp_client.samples import FIRST, TOKEN, Refs

NOTICE = AuthorizeNotice(request_id=RequestId("r1"), id_token=TOKEN)


def test_authorize_carries_the_token_as_the_reader_gave_it(adapter: V16Adapter) -> None:
    (call,) = adapter.encode(NOTICE, Refs(), FIRST)
    assert valid_request("1.6", call.action, call.payload) == {"idTag": "04AABBCCDD"}


def test_token_that_does_not_fit_is_not_asked_about(adapter: V16Adapter) -> None:
    notice = AuthorizeNotice(request_id=RequestId("r1"), id_token=IdToken("x" * 21))
    assert adapter.encode(notice, Refs(), FIRST) == ()


@pytest.mark.parametrize("word", ["Accepted", "Blocked", "Expired", "Invalid", "ConcurrentTx"])
def test_verdict_answers_the_question(adapter: V16Adapter, word: str) -> None:
    payload = adapter.validate_reply("Authorize", {"idTagInfo": {"status": word}})
    reply = adapter.decode_reply(NOTICE, 0, payload, FIRST)
    assert reply.events == (AuthorizationAnswered(RequestId("r1"), IdTokenInfo(AuthorizationStatus(word))),)
    assert reply.remote_id is None


def test_parent_is_the_group_and_the_expiry_bounds_the_cache(adapter: V16Adapter) -> None:
    info = {"status": "Accepted", "parentIdTag": "FLEET", "expiryDate": "2027-01-01T00:00:00+01:00"}
    reply = adapter.decode_reply(NOTICE, 0, adapter.validate_reply("Authorize", {"idTagInfo": info}), FIRST)
    (event,) = reply.events
    assert isinstance(event, AuthorizationAnswered)
    assert event.info.group_id_token == IdToken("FLEET", IdTokenType.CENTRAL)
    assert event.info.cache_expiry == datetime(2026, 12, 31, 23, tzinfo=UTC)
