from datetime import UTC, datetime

import pytest

from agent.ocpp_client.adapter import BootInfo
from agent.ocpp_client.v16.adapter import V16Adapter
from tests.ocpp_client.official import valid_request

INFO = BootInfo(vendor="Example", model="AC22", serial_number="SN-0001", firmware_version="0.1.0")


def test_boot_notification_names_the_station(adapter: V16Adapter) -> None:
    call = adapter.boot(INFO)
    assert call.action == "BootNotification"
    assert valid_request("1.6", call.action, call.payload) == {
        "chargePointVendor": "Example",
        "chargePointModel": "AC22",
        "chargePointSerialNumber": "SN-0001",
        "firmwareVersion": "0.1.0",
    }


def test_texts_that_do_not_fit_are_cut_but_a_serial_number_is_left_out(adapter: V16Adapter) -> None:
    call = adapter.boot(BootInfo(vendor="V" * 60, model="M" * 60, serial_number="S" * 26, firmware_version="F" * 60))
    payload = valid_request("1.6", call.action, call.payload)
    assert payload == {"chargePointVendor": "V" * 20, "chargePointModel": "M" * 20, "firmwareVersion": "F" * 50}


@pytest.mark.parametrize(
    ("said", "understood"),
    [
        ("2026-06-01T12:00:00.500Z", datetime(2026, 6, 1, 12, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-06-01T14:00:00+02:00", datetime(2026, 6, 1, 12, tzinfo=UTC)),
        ("2026-06-01T12:00:00", datetime(2026, 6, 1, 12, tzinfo=UTC)),
        ("half past seven", None),
        ("9999-12-31T23:59:59-10:00", None),
    ],
)
def test_boot_reply_gives_the_time_or_none(adapter: V16Adapter, said: str, understood: datetime | None) -> None:
    """A CSMS whose clock cannot be read is still a CSMS that accepted the station."""
    payload = adapter.validate_reply("BootNotification", {"status": "Accepted", "interval": 300, "currentTime": said})
    reply = adapter.decode_boot_reply(payload)
    assert (reply.status, reply.interval_s, reply.current_time) == ("Accepted", 300, understood)


def test_negative_interval_is_none(adapter: V16Adapter) -> None:
    payload = adapter.validate_reply("BootNotification", {"status": "Pending", "interval": -5, "currentTime": "2026-06-01T12:00:00Z"})
    assert adapter.decode_boot_reply(payload).interval_s == 0


def test_heartbeat(adapter: V16Adapter) -> None:
    call = adapter.heartbeat()
    assert valid_request("1.6", call.action, call.payload) == {}
    payload = adapter.validate_reply("Heartbeat", {"currentTime": "2026-06-01T12:00:00Z"})
    assert adapter.decode_heartbeat_reply(payload) == datetime(2026, 6, 1, 12, tzinfo=UTC)
