import json
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.domain.authorization import AuthorizationStatus, IdToken, IdTokenInfo
from agent.domain.events import TransactionAnswered
from agent.domain.metering import MeterValue, ReadingContext
from agent.domain.notices import TransactionNotice
from agent.domain.transaction import StoppedReason, TransactionEventType
from agent.ocpp_client.adapter import Sending
from agent.ocpp_client.v16.adapter import V16Adapter
from agent.ocpp_client.v16.transactions import STOP_REASON
from tests.ocpp_client.official import schema, valid_request
from tests.ocpp_client.samples import (
    AT,
    COST,
    DEFINITIONS,
    FIRST,
    NOON,
    TIMELESS,
    TOKEN,
    TX,
    Clock,
    Refs,
    energy,
    sendings,
    transaction,
    transactions,
)
from tests.ocpp_client.v16.conftest import CONNECTORS

STARTED, UPDATED, ENDED = TransactionEventType.STARTED, TransactionEventType.UPDATED, TransactionEventType.ENDED
KNOWN = Refs({TX: 4711})


def test_started_is_start_transaction(adapter: V16Adapter) -> None:
    notice = transaction(STARTED, id_token=TOKEN, meter_values=(energy("1234567", ReadingContext.TRANSACTION_BEGIN),))
    (call,) = adapter.encode(notice, Refs(), FIRST)
    assert call.action == "StartTransaction"
    assert valid_request("1.6", call.action, call.payload) == {
        "connectorId": 5,
        "idTag": "04AABBCCDD",
        "meterStart": 1_234_567,
        "timestamp": "2026-06-01T12:00:00.000Z",
    }


@pytest.mark.parametrize(("token", "id_tag"), [(None, ""), (IdToken("x" * 30), "x" * 20)])
def test_start_is_told_whatever_the_token_is(adapter: V16Adapter, token: IdToken | None, id_tag: str) -> None:
    (call,) = adapter.encode(transaction(STARTED, id_token=token), Refs(), FIRST)
    assert valid_request("1.6", call.action, call.payload)["idTag"] == id_tag


def test_updated_is_meter_values_with_the_number_of_the_central_system(adapter: V16Adapter) -> None:
    (call,) = adapter.encode(transaction(UPDATED, meter_values=(energy("1234999"),)), KNOWN, FIRST)
    payload = valid_request("1.6", "MeterValues", call.payload)
    assert call.action == "MeterValues"
    assert (payload["connectorId"], payload["transactionId"]) == (5, 4711)
    assert payload["meterValue"][0]["sampledValue"][0]["value"] == "1234999"


def test_updated_without_meter_values_has_no_message(adapter: V16Adapter) -> None:
    empty = MeterValue(at=AT, context=ReadingContext.SAMPLE_PERIODIC, quantities=())
    for values in ((), (empty,)):
        notice = transaction(UPDATED, meter_values=values, cost=COST)
        assert adapter.can_encode(notice, KNOWN)
        assert adapter.encode(notice, KNOWN, FIRST) == ()


def test_ended_is_stop_transaction(adapter: V16Adapter) -> None:
    values = (energy("1234567", ReadingContext.TRANSACTION_BEGIN), energy("1240000", ReadingContext.TRANSACTION_END))
    notice = transaction(
        ENDED, register_wh=1_240_000, stopped_reason=StoppedReason.REMOTE, id_token=IdToken("STOPPER"), meter_values=values
    )
    (call,) = adapter.encode(notice, KNOWN, FIRST)
    payload = valid_request("1.6", "StopTransaction", call.payload)
    data = payload.pop("transactionData")
    assert payload == {
        "transactionId": 4711,
        "timestamp": "2026-06-01T12:00:00.000Z",
        "meterStop": 1_240_000,
        "reason": "Remote",
        "idTag": "STOPPER",
    }
    assert [entry["sampledValue"][0]["context"] for entry in data] == ["Transaction.Begin", "Transaction.End"]


def test_stop_without_token_and_values_leaves_them_out(adapter: V16Adapter) -> None:
    (call,) = adapter.encode(transaction(ENDED, stopped_reason=StoppedReason.POWER_LOSS), KNOWN, FIRST)
    assert valid_request("1.6", "StopTransaction", call.payload).keys() == {"transactionId", "timestamp", "meterStop", "reason"}


@pytest.mark.parametrize("reason", [None, *StoppedReason])
def test_every_stop_reason_has_a_word(adapter: V16Adapter, reason: StoppedReason | None) -> None:
    """Local is the default of an absent reason; what 1.6 cannot say is Other; its own words stay."""
    (call,) = adapter.encode(transaction(ENDED, stopped_reason=reason), KNOWN, FIRST)
    word = valid_request("1.6", "StopTransaction", call.payload).get("reason")
    words = set(schema("1.6", "StopTransaction")["properties"]["reason"]["enum"])
    if reason is None or reason is StoppedReason.LOCAL:
        assert word is None
    else:
        assert word == (reason.value if reason.value in words else "Other")
        assert word == STOP_REASON[reason]


@pytest.mark.parametrize(("event_type", "first"), [(UPDATED, "MeterValues"), (ENDED, "StopTransaction")])
def test_cost_of_a_sold_session_follows_as_data_transfer(adapter: V16Adapter, event_type: TransactionEventType, first: str) -> None:
    cost = replace(COST, is_final=event_type is ENDED)
    calls = adapter.encode(transaction(event_type, cost=cost, meter_values=(energy("1234567"),)), KNOWN, FIRST)
    assert [call.action for call in calls] == [first, "DataTransfer"]
    payload = valid_request("1.6", "DataTransfer", calls[1].payload)
    assert (payload["vendorId"], payload["messageId"]) == ("charger-agent", "SessionCost")
    assert json.loads(payload["data"]) == {
        "transactionId": 4711,
        "currency": "NOK",
        "gross": "23.40",
        "vat": "4.68",
        "energyWh": 5_200,
        "seconds": "3600.250",
        "final": event_type is ENDED,
    }


@pytest.mark.parametrize("event_type", [UPDATED, ENDED])
def test_what_follows_an_unanswered_start_waits(adapter: V16Adapter, event_type: TransactionEventType) -> None:
    notice = transaction(event_type, meter_values=(energy("1"),))
    assert not adapter.can_encode(notice, Refs())
    assert adapter.can_encode(notice, KNOWN)
    assert adapter.can_encode(transaction(STARTED), Refs())
    with pytest.raises(ValueError, match="no number"):
        adapter.encode(notice, Refs(), FIRST)


@pytest.mark.parametrize("event_type", [UPDATED, ENDED])
def test_what_follows_a_dead_start_carries_minus_one_and_no_cost(adapter: V16Adapter, event_type: TransactionEventType) -> None:
    """1.6 errata 3.18."""
    notice = transaction(event_type, meter_values=(energy("1"),), cost=COST)
    refs = Refs(dead={TX})
    assert adapter.can_encode(notice, refs)
    (call,) = adapter.encode(notice, refs, FIRST)
    assert valid_request("1.6", call.action, call.payload)["transactionId"] == -1


def test_number_that_came_late_beats_the_dead_start(adapter: V16Adapter) -> None:
    (call,) = adapter.encode(transaction(ENDED), Refs({TX: 9}, dead={TX}), FIRST)
    assert call.payload["transactionId"] == 9


def test_number_zero_is_a_number(adapter: V16Adapter) -> None:
    """Some central systems give 0 to a refused transaction; its Stop is sent all the same."""
    notice = transaction(ENDED)
    assert adapter.can_encode(notice, Refs({TX: 0}))
    (call,) = adapter.encode(notice, Refs({TX: 0}), FIRST)
    assert call.payload["transactionId"] == 0


@pytest.mark.parametrize(
    "notice",
    [
        transaction(STARTED, at=TIMELESS),
        transaction(ENDED, at=TIMELESS),
        transaction(ENDED, meter_values=(energy("1", at=TIMELESS),)),
        transaction(UPDATED, meter_values=(energy("1", at=TIMELESS),)),
    ],
)
def test_message_waits_until_its_times_are_known(adapter: V16Adapter, clock: Clock, notice: TransactionNotice) -> None:
    """Never 1970: a charger without a clock sends nothing that needs one."""
    assert not adapter.can_encode(notice, KNOWN)
    clock.zero["boot-0"] = NOON
    assert adapter.can_encode(notice, KNOWN)
    (call,) = adapter.encode(notice, KNOWN, FIRST)
    assert "2026-06-01T12:01:00.000Z" in str(call.payload)


def test_register_that_was_not_read_is_never_made_up(adapter: V16Adapter) -> None:
    with pytest.raises(ValueError, match="no meter register"):
        adapter.encode(transaction(STARTED, register_wh=None), Refs(), FIRST)


START_REPLIES = [
    # status, number, sending, verdict passed on
    ("Accepted", 4711, FIRST, True),
    ("Invalid", 0, FIRST, True),
    ("ConcurrentTx", 0, FIRST, True),
    ("ConcurrentTx", 0, Sending(is_late=False, attempt=2), False),
    ("ConcurrentTx", 4711, Sending(is_late=True, attempt=1), False),
    ("Invalid", 12, Sending(is_late=True, attempt=3), True),
    ("Accepted", 4711, Sending(is_late=True, attempt=2), True),
]


@pytest.mark.parametrize(("status", "number", "sending", "passed_on"), START_REPLIES)
def test_start_reply_gives_number_and_verdict(adapter: V16Adapter, status: str, number: int, sending: Sending, passed_on: bool) -> None:
    """ConcurrentTx on a Start that was sent before is about this very session, and must not end it."""
    payload = adapter.validate_reply("StartTransaction", {"transactionId": number, "idTagInfo": {"status": status}})
    reply = adapter.decode_reply(transaction(STARTED), 0, payload, sending)
    event = TransactionAnswered(TX, IdTokenInfo(AuthorizationStatus(status)))
    assert reply.events == ((event,) if passed_on else ())
    assert reply.remote_id == number


def test_stop_reply_may_hold_a_verdict(adapter: V16Adapter) -> None:
    notice = transaction(ENDED)
    assert adapter.decode_reply(notice, 0, adapter.validate_reply("StopTransaction", {}), FIRST).events == ()
    payload = adapter.validate_reply("StopTransaction", {"idTagInfo": {"status": "Blocked"}})
    reply = adapter.decode_reply(notice, 0, payload, FIRST)
    assert reply.events == (TransactionAnswered(TX, IdTokenInfo(AuthorizationStatus.BLOCKED)),)
    assert reply.remote_id is None


def test_other_replies_mean_nothing(adapter: V16Adapter) -> None:
    notice = transaction(UPDATED, meter_values=(energy("1"),), cost=COST)
    for index, action, payload in ((0, "MeterValues", {}), (1, "DataTransfer", {"status": "UnknownVendorId"})):
        reply = adapter.decode_reply(notice, index, adapter.validate_reply(action, payload), FIRST)
        assert (reply.events, reply.remote_id) == ((), None)


@given(notice=transactions, sending=sendings, number=st.integers(-1, 2**31))
def test_whatever_happens_agrees_with_the_schema_and_is_the_same_twice(notice: TransactionNotice, sending: Sending, number: int) -> None:
    adapter = V16Adapter(DEFINITIONS, Clock(), CONNECTORS)
    refs = Refs({TX: number})
    assert adapter.can_encode(notice, refs)
    calls = adapter.encode(notice, refs, sending)
    assert calls == adapter.encode(notice, refs, Sending(is_late=not sending.is_late, attempt=sending.attempt + 1))
    for call in calls:
        payload = valid_request("1.6", call.action, call.payload)
        if call.action == "DataTransfer":
            said = json.loads(payload["data"])
            assert notice.cost is not None
            assert (Decimal(said["gross"]), Decimal(said["vat"])) == (notice.cost.gross, notice.cost.vat)
