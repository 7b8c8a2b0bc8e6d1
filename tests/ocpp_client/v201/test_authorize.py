from datetime import UTC, datetime

import pytest

from agent.domain.authorization import AuthorizationStatus, IdToken, IdTokenInfo, IdTokenType
from agent.domain.events import AuthorizationAnswered
from agent.domain.ids import RequestId
from agent.domain.notices import AuthorizeNotice
from agent.ocpp_client.v201.adapter import V201Adapter
from tests.ocpp_client.official import valid_request
from tests.ocpp_client.samples import FIRST, Refs


def _notice(value: str, kind: IdTokenType = IdTokenType.ISO14443) -> AuthorizeNotice:
    return AuthorizeNotice(request_id=RequestId("r1"), id_token=IdToken(value, kind))


@pytest.mark.parametrize("kind", list(IdTokenType))
def test_authorize_carries_token_and_type(adapter: V201Adapter, kind: IdTokenType) -> None:
    (call,) = adapter.encode(_notice("04aaBB", kind), Refs(), FIRST)
    assert valid_request("2.0.1", call.action, call.payload) == {"idToken": {"idToken": "04aaBB", "type": kind.value}}


def test_token_that_does_not_fit_is_not_asked_about(adapter: V201Adapter) -> None:
    assert len(adapter.encode(_notice("x" * 36), Refs(), FIRST)) == 1
    assert adapter.encode(_notice("x" * 37), Refs(), FIRST) == ()


@pytest.mark.parametrize("status", list(AuthorizationStatus))
def test_verdict_answers_the_question(adapter: V201Adapter, status: AuthorizationStatus) -> None:
    payload = adapter.validate_reply("Authorize", {"idTokenInfo": {"status": status.value}})
    reply = adapter.decode_reply(_notice("04"), 0, payload, FIRST)
    assert reply.events == (AuthorizationAnswered(RequestId("r1"), IdTokenInfo(status)),)


def test_group_and_expiry(adapter: V201Adapter) -> None:
    info = {
        "status": "Accepted",
        "cacheExpiryDateTime": "2027-01-01T00:00:00Z",
        "groupIdToken": {"idToken": "FLEET", "type": "Central"},
        "personalMessage": {"format": "UTF8", "content": "Hei"},
    }
    reply = adapter.decode_reply(_notice("04"), 0, adapter.validate_reply("Authorize", {"idTokenInfo": info}), FIRST)
    (event,) = reply.events
    assert isinstance(event, AuthorizationAnswered)
    expected = IdTokenInfo(AuthorizationStatus.ACCEPTED, datetime(2027, 1, 1, tzinfo=UTC), IdToken("FLEET", IdTokenType.CENTRAL))
    assert event.info == expected
