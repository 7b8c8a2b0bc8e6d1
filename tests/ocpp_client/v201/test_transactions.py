from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given

from agent.domain.authorization import AuthorizationStatus, IdToken, IdTokenInfo, IdTokenType
from agent.domain.events import TransactionAnswered
from agent.domain.metering import ReadingContext
from agent.domain.notices import TransactionNotice
from agent.domain.transaction import ChargingState, StoppedReason, TransactionEventType, TriggerReason
from agent.ocpp_client.adapter import Sending
from agent.ocpp_client.v201.adapter import V201Adapter
from agent.ocpp_client.v201.transactions import STOPPED_REASON
from tests.ocpp_client.official import valid_request
from tests.ocpp_client.samples import (
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

STARTED, UPDATED, ENDED = TransactionEventType.STARTED, TransactionEventType.UPDATED, TransactionEventType.ENDED
LATE = Sending(is_late=True, attempt=1)


def _send(adapter: V201Adapter, notice: TransactionNotice, sending: Sending = FIRST) -> dict[str, object]:
    (call,) = adapter.encode(notice, Refs(), sending)
    assert call.action == "TransactionEvent"
    return valid_request("2.0.1", call.action, call.payload)


def test_started_tells_everything_that_identifies_the_session(adapter: V201Adapter) -> None:
    notice = transaction(
        STARTED,
        trigger=TriggerReason.REMOTE_START,
        seq_no=0,
        id_token=IdToken("QR-1", IdTokenType.CENTRAL),
        remote_start_id=42,
        charging_state=ChargingState.EV_CONNECTED,
        meter_values=(energy("1234567.9", ReadingContext.TRANSACTION_BEGIN),),
        meter_serial_number="M-77",
    )
    assert _send(adapter, notice) == {
        "eventType": "Started",
        "timestamp": "2026-06-01T12:00:00.000Z",
        "triggerReason": "RemoteStart",
        "seqNo": 0,
        "transactionInfo": {"transactionId": TX, "chargingState": "EVConnected", "remoteStartId": 42},
        "evse": {"id": 2, "connectorId": 1},
        "idToken": {"idToken": "QR-1", "type": "Central"},
        "meterValue": [
            {
                "timestamp": "2026-06-01T12:00:00.000Z",
                "sampledValue": [
                    {
                        "value": 1_234_567,
                        "context": "Transaction.Begin",
                        "measurand": "Energy.Active.Import.Register",
                        "unitOfMeasure": {"unit": "Wh"},
                    }
                ],
            }
        ],
        "customData": {"vendorId": "charger-agent", "meterSerialNumber": "M-77"},
    }


def test_updated_tells_what_changed(adapter: V201Adapter) -> None:
    payload = _send(adapter, transaction(UPDATED, meter_serial_number="M-77", seconds_charging=Decimal("59.9")))
    assert payload == {
        "eventType": "Updated",
        "timestamp": "2026-06-01T12:00:00.000Z",
        "triggerReason": "ChargingStateChanged",
        "seqNo": 3,
        "transactionInfo": {"transactionId": TX, "chargingState": "Charging", "timeSpentCharging": 59},
    }


@pytest.mark.parametrize("reason", list(StoppedReason))
def test_every_stop_reason_has_a_word(adapter: V201Adapter, reason: StoppedReason) -> None:
    payload = _send(adapter, transaction(ENDED, stopped_reason=reason))
    info = payload["transactionInfo"]
    assert isinstance(info, dict)
    assert info["stoppedReason"] == STOPPED_REASON[reason]


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        (StoppedReason.HARD_RESET, "ImmediateReset"),
        (StoppedReason.SOFT_RESET, "ImmediateReset"),
        (StoppedReason.UNLOCK_COMMAND, "Other"),
        (StoppedReason.LOCAL, "Local"),
        (StoppedReason.POWER_LOSS, "PowerLoss"),
    ],
)
def test_words_of_1_6_are_projected(reason: StoppedReason, word: str) -> None:
    assert STOPPED_REASON[reason] == word


def test_only_ended_has_a_stop_reason(adapter: V201Adapter) -> None:
    payload = _send(adapter, transaction(UPDATED, stopped_reason=StoppedReason.REMOTE))
    assert "stoppedReason" not in str(payload)


@pytest.mark.parametrize(
    ("is_offline", "sending", "told"), [(False, FIRST, False), (True, FIRST, True), (False, LATE, True), (True, LATE, True)]
)
def test_offline_is_told_for_what_happened_or_waited_offline(adapter: V201Adapter, is_offline: bool, sending: Sending, told: bool) -> None:
    """E04.FR.03, E11.FR.07."""
    payload = _send(adapter, transaction(UPDATED, is_offline=is_offline), sending)
    assert payload.get("offline", False) is told


def test_cost_of_a_sold_session_is_custom_data(adapter: V201Adapter) -> None:
    payload = _send(adapter, transaction(ENDED, cost=replace(COST, is_final=True)))
    assert payload["customData"] == {
        "vendorId": "charger-agent",
        "sessionCost": {"currency": "NOK", "gross": "23.40", "vat": "4.68", "energyWh": 5_200, "seconds": "3600.250", "final": True},
    }


@pytest.mark.parametrize("notice", [transaction(UPDATED, at=TIMELESS), transaction(ENDED, meter_values=(energy("1", at=TIMELESS),))])
def test_event_waits_until_its_times_are_known(adapter: V201Adapter, clock: Clock, notice: TransactionNotice) -> None:
    assert not adapter.can_encode(notice, Refs())
    with pytest.raises(ValueError, match="no wall time"):
        adapter.encode(notice, Refs(), FIRST)
    clock.zero["boot-0"] = NOON
    assert adapter.can_encode(notice, Refs())
    assert "2026-06-01T12:01:00.000Z" in str(_send(adapter, notice))


def test_nothing_waits_for_a_number_of_the_central_system(adapter: V201Adapter) -> None:
    assert adapter.can_encode(transaction(ENDED), Refs())


@pytest.mark.parametrize(
    ("answer", "status", "total_cost"),
    [
        ({}, None, None),
        ({"idTokenInfo": {"status": "Blocked"}}, AuthorizationStatus.BLOCKED, None),
        ({"totalCost": Decimal("23.40")}, None, Decimal("23.40")),
        ({"totalCost": 0}, None, Decimal(0)),
        ({"totalCost": 5, "idTokenInfo": {"status": "Accepted"}, "chargingPriority": 1}, AuthorizationStatus.ACCEPTED, Decimal(5)),
    ],
)
def test_reply_gives_verdict_and_cost(
    adapter: V201Adapter, answer: dict[str, object], status: AuthorizationStatus | None, total_cost: Decimal | None
) -> None:
    """A missing cost is not a cost of nothing (I03)."""
    reply = adapter.decode_reply(transaction(ENDED, id_token=TOKEN), 0, adapter.validate_reply("TransactionEvent", answer), FIRST)
    info = None if status is None else IdTokenInfo(status)
    assert reply.events == (() if not answer else (TransactionAnswered(TX, info, total_cost),))
    assert reply.remote_id is None


@pytest.mark.parametrize("event_type", [STARTED, UPDATED])
def test_the_cost_so_far_is_no_final_cost(adapter: V201Adapter, event_type: TransactionEventType) -> None:
    """A backlog is answered after the session has ended here: its running costs must not be compared with the final figure."""
    answer = adapter.validate_reply("TransactionEvent", {"totalCost": 5})
    assert adapter.decode_reply(transaction(event_type), 0, answer, FIRST).events == ()


@pytest.mark.parametrize(("sending", "passed_on"), [(FIRST, True), (LATE, False), (Sending(is_late=False, attempt=2), False)])
def test_concurrent_on_an_event_sent_before_is_about_this_session(adapter: V201Adapter, sending: Sending, passed_on: bool) -> None:
    payload = adapter.validate_reply("TransactionEvent", {"idTokenInfo": {"status": "ConcurrentTx"}})
    reply = adapter.decode_reply(transaction(STARTED, id_token=TOKEN), 0, payload, sending)
    assert bool(reply.events) is passed_on


@given(notice=transactions, sending=sendings)
def test_whatever_happens_agrees_with_the_schema(notice: TransactionNotice, sending: Sending) -> None:
    adapter = V201Adapter(DEFINITIONS, Clock())
    assert adapter.can_encode(notice, Refs())
    (call,) = adapter.encode(notice, Refs(), sending)
    payload = valid_request("2.0.1", call.action, call.payload)
    assert payload["seqNo"] == notice.seq_no
    (again,) = adapter.encode(notice, Refs(), replace(sending, is_late=not sending.is_late, attempt=sending.attempt + 1))
    assert {**again.payload, "offline": None} == {**call.payload, "offline": None}


@pytest.mark.parametrize(("event_type", "reading_context"), [(STARTED, "Transaction.Begin"), (ENDED, "Transaction.End")])
def test_the_billed_register_travels_even_where_the_measurand_lists_leave_it_out(
    adapter: V201Adapter, event_type: TransactionEventType, reading_context: str
) -> None:
    sent = _send(adapter, transaction(event_type, register_wh=4711, meter_values=()))
    assert sent["meterValue"] == [
        {
            "timestamp": "2026-06-01T12:00:00.000Z",
            "sampledValue": [
                {
                    "value": 4711,
                    "context": reading_context,
                    "measurand": "Energy.Active.Import.Register",
                    "unitOfMeasure": {"unit": "Wh"},
                }
            ],
        }
    ]


def test_the_billed_register_is_not_told_twice(adapter: V201Adapter) -> None:
    value = energy("4711", ReadingContext.TRANSACTION_BEGIN)
    assert len(_send(adapter, transaction(STARTED, register_wh=4711, meter_values=(value,)))["meterValue"]) == 1  # type: ignore[arg-type]
