import pytest

from agent.domain.connector import ConnectorStatus, FaultKind, SessionStage
from agent.domain.ids import ConnectorId, EvseId
from agent.domain.notices import StatusNotice
from agent.ocpp_client.v201.adapter import V201Adapter
from tests.ocpp_client.official import valid_request
from tests.ocpp_client.samples import AT, FIRST, NOON, TIMELESS, Clock, Refs


@pytest.mark.parametrize("status", list(ConnectorStatus))
def test_status_of_a_connector(adapter: V201Adapter, status: ConnectorStatus) -> None:
    notice = StatusNotice(evse_id=EvseId(2), connector_id=ConnectorId(1), at=AT, status=status, fault=FaultKind.METER_FAILURE, info="x")
    (call,) = adapter.encode(notice, Refs(), FIRST)
    assert valid_request("2.0.1", call.action, call.payload) == {
        "timestamp": "2026-06-01T12:00:00.000Z",
        "connectorStatus": status.value,
        "evseId": 2,
        "connectorId": 1,
    }


def test_connector_of_an_evse_is_its_first_where_none_is_named(adapter: V201Adapter) -> None:
    (call,) = adapter.encode(StatusNotice(evse_id=EvseId(2), connector_id=None, at=AT, status=ConnectorStatus.AVAILABLE), Refs(), FIRST)
    assert call.payload["connectorId"] == 1


@pytest.mark.parametrize(
    "notice",
    [
        StatusNotice(evse_id=None, connector_id=None, at=TIMELESS, status=ConnectorStatus.AVAILABLE),
        StatusNotice(
            evse_id=EvseId(1),
            connector_id=ConnectorId(1),
            at=TIMELESS,
            status=ConnectorStatus.OCCUPIED,
            stage=SessionStage.FINISHING,
            status_changed=False,
        ),
    ],
)
def test_station_and_stages_have_no_message(adapter: V201Adapter, notice: StatusNotice) -> None:
    assert adapter.can_encode(notice, Refs())
    assert adapter.encode(notice, Refs(), FIRST) == ()


def test_status_waits_until_its_time_is_known(adapter: V201Adapter, clock: Clock) -> None:
    notice = StatusNotice(evse_id=EvseId(1), connector_id=ConnectorId(1), at=TIMELESS, status=ConnectorStatus.AVAILABLE)
    assert not adapter.can_encode(notice, Refs())
    clock.zero["boot-0"] = NOON
    assert adapter.can_encode(notice, Refs())
    (call,) = adapter.encode(notice, Refs(), FIRST)
    assert call.payload["timestamp"] == "2026-06-01T12:01:00.000Z"


def test_reply_means_nothing(adapter: V201Adapter) -> None:
    notice = StatusNotice(evse_id=EvseId(1), connector_id=ConnectorId(1), at=AT, status=ConnectorStatus.AVAILABLE)
    assert adapter.decode_reply(notice, 0, adapter.validate_reply("StatusNotification", {}), FIRST).events == ()
