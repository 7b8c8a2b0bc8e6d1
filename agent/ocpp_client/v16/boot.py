"""BootNotification and Heartbeat."""

from datetime import datetime

from agent.ocpp_client.adapter import BootInfo, BootReply, Call, JsonObject
from agent.ocpp_client.fields import integer, maybe_text, moment, text

_MAX_VENDOR = _MAX_MODEL = 20
_MAX_SERIAL_NUMBER = 25
_MAX_FIRMWARE_VERSION = 50


def encode_boot(info: BootInfo) -> Call:
    """1.6 has no boot reason. A serial number that does not fit is left out: a cut one would be another station's."""
    payload = {
        "chargePointVendor": info.vendor[:_MAX_VENDOR],
        "chargePointModel": info.model[:_MAX_MODEL],
    }
    if info.serial_number and len(info.serial_number) <= _MAX_SERIAL_NUMBER:
        payload["chargePointSerialNumber"] = info.serial_number
    if info.firmware_version:
        payload["firmwareVersion"] = info.firmware_version[:_MAX_FIRMWARE_VERSION]
    return Call("BootNotification", payload)


def decode_boot_reply(payload: JsonObject) -> BootReply:
    """The answer to BootNotification."""
    return BootReply(
        status=text(payload, "status"),
        interval_s=max(0, integer(payload, "interval")),
        current_time=moment(text(payload, "currentTime")),
    )


def encode_heartbeat() -> Call:
    """An empty object."""
    return Call("Heartbeat", {})


def decode_heartbeat_reply(payload: JsonObject) -> datetime | None:
    """The CSMS's time."""
    return moment(maybe_text(payload, "currentTime"))
