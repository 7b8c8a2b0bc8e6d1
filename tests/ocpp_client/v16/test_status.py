import pytest

from agent.domain.connector import ConnectorStatus as C
from agent.domain.connector import FaultKind
from agent.domain.connector import SessionStage as S
from agent.domain.ids import ConnectorId, EvseId
from agent.domain.notices import StatusNotice
from agent.domain.transaction import ChargingState as G
from agent.ocpp_client.v16.adapter import V16Adapter
from agent.ocpp_client.v16.status import ERROR_CODE, STATION_STATUS
from tests.ocpp_client.official import schema, valid_request
from tests.ocpp_client.samples import AT, FIRST, NOON, TIMELESS, Clock, Refs


def _send(adapter: V16Adapter, notice: StatusNotice) -> dict[str, object]:
    (call,) = adapter.encode(notice, Refs(), FIRST)
    assert call.action == "StatusNotification"
    return valid_request("1.6", call.action, call.payload)


@pytest.mark.parametrize(
    ("status", "stage", "charging_state", "word"),
    [
        (C.AVAILABLE, S.NONE, None, "Available"),
        (C.AVAILABLE, S.PREPARING, None, "Preparing"),
        (C.OCCUPIED, S.PREPARING, None, "Preparing"),
        (C.OCCUPIED, S.TRANSACTION, G.EV_CONNECTED, "Preparing"),
        (C.OCCUPIED, S.TRANSACTION, G.CHARGING, "Charging"),
        (C.OCCUPIED, S.TRANSACTION, G.SUSPENDED_EV, "SuspendedEV"),
        (C.OCCUPIED, S.TRANSACTION, G.SUSPENDED_EVSE, "SuspendedEVSE"),
        (C.OCCUPIED, S.TRANSACTION, G.IDLE, "SuspendedEV"),
        (C.OCCUPIED, S.FINISHING, None, "Finishing"),
        (C.RESERVED, S.NONE, None, "Reserved"),
        (C.UNAVAILABLE, S.NONE, None, "Unavailable"),
        (C.UNAVAILABLE, S.FINISHING, None, "Unavailable"),
        (C.FAULTED, S.PREPARING, None, "Faulted"),
        (C.FAULTED, S.TRANSACTION, G.CHARGING, "Faulted"),
    ],
)
def test_connector_states(adapter: V16Adapter, status: C, stage: S, charging_state: G | None, word: str) -> None:
    notice = StatusNotice(evse_id=EvseId(2), connector_id=ConnectorId(1), at=AT, status=status, stage=stage, charging_state=charging_state)
    assert _send(adapter, notice) == {
        "connectorId": 5,
        "status": word,
        "errorCode": "NoError",
        "timestamp": "2026-06-01T12:00:00.000Z",
    }


def test_every_combination_has_one_of_the_nine_states(adapter: V16Adapter) -> None:
    words = set(schema("1.6", "StatusNotification")["properties"]["status"]["enum"])
    seen = set()
    for status in C:
        for stage in S:
            for charging_state in (None, *G):
                notice = StatusNotice(
                    evse_id=EvseId(1), connector_id=ConnectorId(1), at=AT, status=status, stage=stage, charging_state=charging_state
                )
                seen.add(_send(adapter, notice)["status"])
    assert seen == words


@pytest.mark.parametrize("status", list(C))
def test_station_knows_three_states(adapter: V16Adapter, status: C) -> None:
    payload = _send(adapter, StatusNotice(evse_id=None, connector_id=None, at=AT, status=status))
    assert payload["connectorId"] == 0
    assert payload["status"] == STATION_STATUS[status]
    assert payload["status"] in {"Available", "Unavailable", "Faulted"}


@pytest.mark.parametrize("fault", list(FaultKind))
def test_every_fault_has_an_error_code_and_its_own_name(adapter: V16Adapter, fault: FaultKind) -> None:
    notice = StatusNotice(evse_id=EvseId(1), connector_id=ConnectorId(1), at=AT, status=C.FAULTED, fault=fault, info="x" * 80)
    payload = _send(adapter, notice)
    assert payload["errorCode"] == ERROR_CODE[fault] != "NoError"
    assert (payload["vendorId"], payload["vendorErrorCode"]) == ("charger-agent", fault.value)
    assert payload["info"] == "x" * 50


def test_fault_without_interruption_keeps_the_state(adapter: V16Adapter) -> None:
    """A silent meter during a session is told while charging goes on."""
    notice = StatusNotice(
        evse_id=EvseId(1),
        connector_id=ConnectorId(1),
        at=AT,
        status=C.OCCUPIED,
        stage=S.TRANSACTION,
        charging_state=G.CHARGING,
        fault=FaultKind.METER_FAILURE,
    )
    payload = _send(adapter, notice)
    assert (payload["status"], payload["errorCode"]) == ("Charging", "PowerMeterFailure")


@pytest.mark.parametrize(("status_changed", "count"), [(False, 0), (True, 1)])
def test_begin_of_a_transaction_is_not_told_as_a_second_preparing(adapter: V16Adapter, status_changed: bool, count: int) -> None:
    notice = StatusNotice(
        evse_id=EvseId(1),
        connector_id=ConnectorId(1),
        at=AT,
        status=C.OCCUPIED,
        stage=S.TRANSACTION,
        charging_state=G.EV_CONNECTED,
        status_changed=status_changed,
    )
    assert len(adapter.encode(notice, Refs(), FIRST)) == count


def test_stage_alone_is_told(adapter: V16Adapter) -> None:
    notice = StatusNotice(evse_id=EvseId(1), connector_id=ConnectorId(1), at=AT, status=C.OCCUPIED, stage=S.FINISHING, status_changed=False)
    assert _send(adapter, notice)["status"] == "Finishing"


def test_time_is_told_when_known(adapter: V16Adapter, clock: Clock) -> None:
    notice = StatusNotice(evse_id=EvseId(1), connector_id=ConnectorId(1), at=TIMELESS, status=C.AVAILABLE)
    assert "timestamp" not in _send(adapter, notice)
    clock.zero["boot-0"] = NOON
    assert _send(adapter, notice)["timestamp"] == "2026-06-01T12:01:00.000Z"
    assert adapter.can_encode(notice, Refs())
