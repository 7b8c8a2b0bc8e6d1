from datetime import UTC, datetime

import pytest

from agent.ocpp_client.adapter import BootInfo
from agent.ocpp_client.v201.adapter import V201Adapter
from tests.ocpp_client.official import schema, valid_request

REASONS = schema("2.0.1", "BootNotificationRequest")["definitions"]["BootReasonEnumType"]["enum"]


@pytest.mark.parametrize("reason", REASONS)
def test_boot_notification_names_the_station_and_the_reason(adapter: V201Adapter, reason: str) -> None:
    call = adapter.boot(BootInfo(vendor="Example", model="AC22", serial_number="SN-0001", firmware_version="0.1.0", reason=reason))
    assert valid_request("2.0.1", call.action, call.payload) == {
        "reason": reason,
        "chargingStation": {"vendorName": "Example", "model": "AC22", "serialNumber": "SN-0001", "firmwareVersion": "0.1.0"},
    }


def test_texts_that_do_not_fit_are_cut_but_a_serial_number_is_left_out(adapter: V201Adapter) -> None:
    call = adapter.boot(BootInfo(vendor="V" * 60, model="M" * 60, serial_number="S" * 26, firmware_version="F" * 60))
    payload = valid_request("2.0.1", call.action, call.payload)
    assert payload["chargingStation"] == {"vendorName": "V" * 50, "model": "M" * 20, "firmwareVersion": "F" * 50}


@pytest.mark.parametrize(("said", "year"), [("2026-06-01T12:00:00.000Z", 2026), ("2026-06-01T12:00:00", 2026), ("soon", None)])
def test_boot_reply_gives_the_time_or_none(adapter: V201Adapter, said: str, year: int | None) -> None:
    payload = adapter.validate_reply("BootNotification", {"status": "Pending", "interval": 10, "currentTime": said})
    reply = adapter.decode_boot_reply(payload)
    assert (reply.status, reply.interval_s) == ("Pending", 10)
    assert reply.current_time == (None if year is None else datetime(year, 6, 1, 12, tzinfo=UTC))


def test_heartbeat(adapter: V201Adapter) -> None:
    call = adapter.heartbeat()
    assert valid_request("2.0.1", call.action, call.payload) == {}
    payload = adapter.validate_reply("Heartbeat", {"currentTime": "2026-06-01T12:00:00+00:00"})
    assert adapter.decode_heartbeat_reply(payload) == datetime(2026, 6, 1, 12, tzinfo=UTC)
