"""OCPP 1.6J: cold boot."""

from pathlib import Path

import pytest

from tests.conformance.laboratory import laboratory

pytestmark = pytest.mark.virtual_time


@pytest.mark.tc("TC_001_CS")
async def test_rejected_then_accepted(tmp_path: Path) -> None:
    """Rejected: silent for the interval, then again; accepted: status of connector 0 and each other, then heartbeats at the interval."""
    async with laboratory(tmp_path, "1.6", boots=False, evses=2) as bench:
        csms = bench.csms
        csms.on["BootNotification"] = lambda _: csms.boot_answer("Rejected", 20)
        first = await csms.expect("BootNotification", chargePointVendor="Example", chargePointModel="AC22")
        csms.mark()
        csms.on["BootNotification"] = lambda _: csms.boot_answer("Accepted", 15)
        second = await csms.expect("BootNotification", within=40)
        assert 19.9 <= second.at - first.at < 25
        assert csms.calls()[0] is second, "nothing but BootNotification while rejected"
        for connector in (0, 1, 2):
            await csms.status("Available", connectorId=connector, errorCode="NoError")
        beats = [await csms.expect("Heartbeat")]
        csms.mark()
        beats.append(await csms.expect("Heartbeat"))
        assert beats[1].at - beats[0].at == pytest.approx(15, abs=1)


@pytest.mark.tc("TC_001_CS")
async def test_a_rejected_station_answers_nothing(tmp_path: Path) -> None:
    """1.6 4.2: while Rejected neither side says anything but BootNotification."""
    async with laboratory(tmp_path, "1.6", boots=False) as bench:
        csms = bench.csms
        csms.on["BootNotification"] = lambda _: csms.boot_answer("Rejected", 20)
        await csms.expect("BootNotification")
        await csms.link.send('[2,"early","GetConfiguration",{}]')
        await bench.plug_in()
        await bench.swipe()
        await csms.silence(15)
        assert not csms.answers("early")
        csms.on["BootNotification"] = lambda _: csms.boot_answer("Accepted")
        await csms.expect("BootNotification", after=len(csms.frames))
        await csms.status("Preparing")


@pytest.mark.tc("TC_002_CS")
async def test_pending_then_accepted(tmp_path: Path) -> None:
    """Pending: configuration is read and written, nothing else is sent; after the interval BootNotification, statuses, heartbeats."""
    async with laboratory(tmp_path, "1.6", boots=False, evses=2) as bench:
        csms = bench.csms
        csms.on["BootNotification"] = lambda _: csms.boot_answer("Pending", 30)
        first = await csms.expect("BootNotification")
        csms.mark()
        csms.on["BootNotification"] = lambda _: csms.boot_answer("Accepted", 15)
        everything = await csms.call("GetConfiguration")
        assert "MeterValueSampleInterval" in {entry["key"] for entry in everything["configurationKey"]}
        assert await csms.call("ChangeConfiguration", {"key": "MeterValueSampleInterval", "value": "17"}) == {"status": "Accepted"}
        for action, payload in (
            ("RemoteStartTransaction", {"connectorId": 1, "idTag": "REMOTE1"}),
            ("RemoteStopTransaction", {"transactionId": 1}),
        ):
            assert await csms.call(action, payload) == {"status": "Rejected"}
        await bench.plug_in()
        await bench.swipe()
        second = await csms.expect("BootNotification", within=60)
        assert 29.9 <= second.at - first.at < 36
        assert csms.calls()[0] is second, "nothing else while pending"
        for connector, status in ((0, "Available"), (1, "Preparing"), (2, "Available")):
            await csms.status(status, connectorId=connector)
        beats = [await csms.expect("Heartbeat")]
        csms.mark()
        beats.append(await csms.expect("Heartbeat"))
        assert beats[1].at - beats[0].at == pytest.approx(15, abs=1)


async def test_a_triggered_message_may_be_sent_while_pending(tmp_path: Path) -> None:
    """1.6 4.2: the CSMS may ask for messages by TriggerMessage before it accepts; they, and no other, are sent."""
    async with laboratory(tmp_path, "1.6", boots=False) as bench:
        csms = bench.csms
        csms.on["BootNotification"] = lambda _: csms.boot_answer("Pending", 600)
        await csms.expect("BootNotification")
        csms.mark()
        assert await csms.call("TriggerMessage", {"requestedMessage": "Heartbeat"}) == {"status": "Accepted"}
        await csms.expect("Heartbeat")
        assert [frame.action for frame in csms.calls()] == ["Heartbeat"]
        csms.mark()
        assert await csms.call("TriggerMessage", {"requestedMessage": "BootNotification"}) == {"status": "Accepted"}
        await csms.expect("BootNotification")
        await csms.silence(60)


@pytest.mark.tc("TC_034_CS")
async def test_unavailable_survives_a_restart(tmp_path: Path) -> None:
    """Inoperative on connector 0 is kept: after the boot every connector says Unavailable."""
    async with laboratory(tmp_path, "1.6", evses=2) as bench:
        csms = bench.csms
        assert await csms.call("ChangeAvailability", {"connectorId": 0, "type": "Inoperative"}) == {"status": "Accepted"}
        for connector in (0, 1, 2):
            await csms.status("Unavailable", connectorId=connector)
        await bench.stop_agent()
        bench.boot_id = "boot-2"
        csms.mark()
        await bench.start_agent()
        await csms.expect("BootNotification")
        for connector in (0, 1, 2):
            await csms.status("Unavailable", connectorId=connector)
