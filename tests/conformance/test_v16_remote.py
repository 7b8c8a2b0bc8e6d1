"""OCPP 1.6J: what the CSMS asks of the charger: remote start and stop, reset, unlock, trigger, data transfer, unsupported profiles."""

from pathlib import Path
from typing import Any

import pytest

from tests.conformance.csms import Refusal, sampled
from tests.conformance.laboratory import CARD, OTHER_CARD, laboratory

pytestmark = pytest.mark.virtual_time

REMOTE = "REMOTE1"
START = {"connectorId": 1, "idTag": REMOTE}


# --------------------------------------------------------------------------------------------------------- start and stop


@pytest.mark.tc("TC_010_CS")
@pytest.mark.parametrize("asks", [False, True], ids=["AuthorizeRemoteTxRequests false", "AuthorizeRemoteTxRequests true"])
async def test_remote_start_with_the_cable_in(tmp_path: Path, asks: bool) -> None:
    """Accepted, Authorize where the key asks for it, StartTransaction with that idTag, Charging."""
    async with laboratory(tmp_path, "1.6", variables={"AuthorizeRemoteTxRequests": str(asks).lower()}) as bench:
        csms = bench.csms
        await bench.plug_in()
        await csms.status("Preparing")
        assert await csms.call("RemoteStartTransaction", START) == {"status": "Accepted"}
        start = await csms.expect("StartTransaction", connectorId=1, idTag=REMOTE)
        charging = await csms.status("Charging")
        assert start.number < charging.number
        assert bool(csms.calls("Authorize", idTag=REMOTE)) is asks


@pytest.mark.tc("TC_011_1_CS")
async def test_remote_start_first(tmp_path: Path) -> None:
    """Accepted, Preparing; on plug-in StartTransaction and Charging."""
    async with laboratory(tmp_path, "1.6") as bench:
        csms = bench.csms
        assert await csms.call("RemoteStartTransaction", START) == {"status": "Accepted"}
        await csms.status("Preparing")
        await csms.silence(5, "StartTransaction")
        await bench.plug_in()
        await csms.expect("StartTransaction", connectorId=1, idTag=REMOTE)
        await csms.status("Charging")


@pytest.mark.tc("TC_011_2_CS")
async def test_remote_start_first_and_no_cable(tmp_path: Path) -> None:
    """No plug-in within ConnectionTimeOut: Available again, no StartTransaction."""
    async with laboratory(tmp_path, "1.6", variables={"ConnectionTimeOut": "10"}) as bench:
        csms = bench.csms
        await csms.call("RemoteStartTransaction", START)
        preparing = await csms.status("Preparing")
        available = await csms.status("Available")
        assert available.at - preparing.at == pytest.approx(10, abs=1)
        await bench.plug_in()
        await csms.silence(20, "StartTransaction")


@pytest.mark.tc("TC_012_CS")
async def test_remote_stop(tmp_path: Path) -> None:
    """Accepted, StopTransaction with reason Remote, Finishing, Available after the unplug."""
    async with laboratory(tmp_path, "1.6") as bench:
        csms = bench.csms
        number = await bench.charge()
        assert await csms.call("RemoteStopTransaction", {"transactionId": number}) == {"status": "Accepted"}
        await csms.expect("StopTransaction", transactionId=number, reason="Remote")
        await csms.status("Finishing")
        await bench.unplug()
        await csms.status("Available")


@pytest.mark.tc("TC_026_CS")
async def test_remote_start_on_a_connector_in_use(tmp_path: Path) -> None:
    """Rejected, and the transaction goes on."""
    async with laboratory(tmp_path, "1.6") as bench:
        csms = bench.csms
        await bench.charge()
        assert await csms.call("RemoteStartTransaction", START) == {"status": "Rejected"}
        await csms.silence(10, "StartTransaction", "StopTransaction")


@pytest.mark.tc("TC_027_CS")
async def test_remote_start_on_connector_0(tmp_path: Path) -> None:
    """Rejected."""
    async with laboratory(tmp_path, "1.6") as bench:
        await bench.plug_in()
        assert await bench.csms.call("RemoteStartTransaction", {**START, "connectorId": 0}) == {"status": "Rejected"}
        await bench.csms.silence(10, "StartTransaction")


@pytest.mark.tc("TC_028_CS")
async def test_remote_stop_of_an_unknown_transaction(tmp_path: Path) -> None:
    """Rejected, and what runs goes on."""
    async with laboratory(tmp_path, "1.6") as bench:
        csms = bench.csms
        number = await bench.charge()
        assert await csms.call("RemoteStopTransaction", {"transactionId": number + 1}) == {"status": "Rejected"}
        await csms.silence(10, "StopTransaction")


# -------------------------------------------------------------------------------------------------------------------- reset


@pytest.mark.tc("TC_013_CS", "TC_014_CS")
@pytest.mark.parametrize("kind", ["Hard", "Soft"])
async def test_reset_without_a_transaction(tmp_path: Path, kind: str) -> None:
    """Accepted, restart, BootNotification, and the status of every connector."""
    async with laboratory(tmp_path, "1.6", evses=2) as bench:
        csms = bench.csms
        assert await csms.call("Reset", {"type": kind}) == {"status": "Accepted"}
        boot = await csms.expect("BootNotification", within=60)
        assert bench.starts == 2
        assert boot.link == 1, "on a new connection"
        for connector in (0, 1, 2):
            await csms.status("Available", connectorId=connector)


@pytest.mark.tc("TC_015_CS", "TC_016_CS")
@pytest.mark.parametrize("kind", ["Hard", "Soft"])
async def test_reset_with_a_transaction(tmp_path: Path, kind: str) -> None:
    """Accepted, StopTransaction with HardReset or SoftReset, restart, BootNotification, statuses."""
    async with laboratory(tmp_path, "1.6", evses=2) as bench:
        csms = bench.csms
        number = await bench.charge()
        assert await csms.call("Reset", {"type": kind}) == {"status": "Accepted"}
        stop = await csms.expect("StopTransaction", within=60, transactionId=number, reason=f"{kind}Reset")
        boot = await csms.expect("BootNotification", within=60)
        assert bench.starts == 2
        if kind == "Soft":
            assert stop.number < boot.number, "a soft reset tells first"
        one = await csms.expect("StatusNotification", connectorId=1, after=boot.number)
        assert one["status"] in {"Preparing", "Finishing"}
        await csms.expect("StatusNotification", connectorId=2, after=boot.number, status="Available")
        assert await bench.is_open()
        await csms.silence(30, "StartTransaction", "StopTransaction")


# ------------------------------------------------------------------------------------------------------------------- unlock


@pytest.mark.tc("TC_017_1_CS")
async def test_unlock_when_idle(tmp_path: Path) -> None:
    """Socket-outlet: Unlocked."""
    async with laboratory(tmp_path, "1.6", socket=True) as bench:
        assert await bench.csms.call("UnlockConnector", {"connectorId": 1}) == {"status": "Unlocked"}


@pytest.mark.tc("TC_017_2_CS")
async def test_unlock_of_a_fixed_cable(tmp_path: Path) -> None:
    """NotSupported."""
    async with laboratory(tmp_path, "1.6") as bench:
        assert await bench.csms.call("UnlockConnector", {"connectorId": 1}) == {"status": "NotSupported"}


@pytest.mark.tc("TC_018_1_CS")
async def test_unlock_while_charging(tmp_path: Path) -> None:
    """Unlocked, StopTransaction with UnlockCommand, Finishing, Available."""
    async with laboratory(tmp_path, "1.6", socket=True) as bench:
        csms = bench.csms
        number = await bench.charge()
        assert not await bench.is_unlocked()
        assert await csms.call("UnlockConnector", {"connectorId": 1}) == {"status": "Unlocked"}
        await csms.expect("StopTransaction", transactionId=number, reason="UnlockCommand")
        await csms.status("Finishing")
        assert await bench.is_unlocked()
        await bench.unplug()
        await csms.status("Available")


@pytest.mark.tc("TC_018_2_CS")
async def test_unlock_of_a_fixed_cable_while_charging(tmp_path: Path) -> None:
    """NotSupported, and the transaction goes on."""
    async with laboratory(tmp_path, "1.6") as bench:
        await bench.charge()
        assert await bench.csms.call("UnlockConnector", {"connectorId": 1}) == {"status": "NotSupported"}
        await bench.csms.silence(10, "StopTransaction")


@pytest.mark.tc("TC_030_CS")
async def test_unlock_that_fails(tmp_path: Path) -> None:
    """UnlockFailed when the bolt does not move."""
    async with laboratory(tmp_path, "1.6", socket=True) as bench:
        await bench.charge()
        await bench.control("fault.set", kind="lock_stuck", evse=1)
        assert await bench.csms.call("UnlockConnector", {"connectorId": 1}) == {"status": "UnlockFailed"}


@pytest.mark.tc("TC_031_CS")
async def test_unlock_of_an_unknown_connector(tmp_path: Path) -> None:
    """NotSupported."""
    async with laboratory(tmp_path, "1.6", socket=True) as bench:
        assert await bench.csms.call("UnlockConnector", {"connectorId": 2}) == {"status": "NotSupported"}


# -------------------------------------------------------------------------------------------------- availability and triggers


async def test_availability_during_a_transaction(tmp_path: Path) -> None:
    """1.6 5.2: Scheduled; Unavailable after the end; Operative makes it Available again."""
    async with laboratory(tmp_path, "1.6") as bench:
        csms = bench.csms
        number = await bench.charge()
        change = {"connectorId": 1, "type": "Inoperative"}
        assert await csms.call("ChangeAvailability", change) == {"status": "Scheduled"}
        await csms.silence(5)
        await csms.call("RemoteStopTransaction", {"transactionId": number})
        await csms.expect("StopTransaction")
        await csms.status("Unavailable")
        await bench.unplug()
        await bench.swipe()
        await csms.silence(10, "StartTransaction", "Authorize")
        assert await csms.call("ChangeAvailability", {**change, "type": "Operative"}) == {"status": "Accepted"}
        await csms.status("Available")


@pytest.mark.tc("TC_054_CS", partly="without the messages of Firmware Management, which is not built")
async def test_trigger_messages(tmp_path: Path) -> None:
    """MeterValues, Heartbeat and StatusNotification are Accepted and follow; what the station never sends is NotImplemented."""
    async with laboratory(tmp_path, "1.6") as bench:
        csms = bench.csms
        for requested, fields in (("MeterValues", {"connectorId": 1}), ("Heartbeat", {}), ("StatusNotification", {"connectorId": 1})):
            csms.mark()
            asked: dict[str, Any] = {"requestedMessage": requested, **fields}
            assert await csms.call("TriggerMessage", asked) == {"status": "Accepted"}
            frame = await csms.expect(requested, **fields)
            if requested == "MeterValues":
                assert {context for context, _ in sampled(frame)} == {"Trigger"}
        for requested in ("DiagnosticsStatusNotification", "FirmwareStatusNotification"):
            assert await csms.call("TriggerMessage", {"requestedMessage": requested}) == {"status": "NotImplemented"}


async def test_a_triggered_status_without_a_connector_reports_every_one(tmp_path: Path) -> None:
    """A CSMS that starts anew asks so for the whole picture."""
    async with laboratory(tmp_path, "1.6", evses=2) as bench:
        assert await bench.csms.call("TriggerMessage", {"requestedMessage": "StatusNotification"}) == {"status": "Accepted"}
        for connector in (0, 1, 2):
            await bench.csms.status("Available", connectorId=connector)


@pytest.mark.tc("TC_055_CS")
async def test_a_trigger_for_an_unknown_connector(tmp_path: Path) -> None:
    """Rejected, and nothing is sent."""
    async with laboratory(tmp_path, "1.6") as bench:
        asked = {"requestedMessage": "MeterValues", "connectorId": 2}
        assert await bench.csms.call("TriggerMessage", asked) == {"status": "Rejected"}
        await bench.csms.silence(10)


# ------------------------------------------------------------------------------------------- vendors and what is not built


@pytest.mark.tc("TC_062_CS")
async def test_data_transfer_of_an_unknown_vendor(tmp_path: Path) -> None:
    """UnknownVendorId."""
    async with laboratory(tmp_path, "1.6") as bench:
        asked = {"vendorId": "com.example.nobody", "messageId": "Hello", "data": "1"}
        assert await bench.csms.call("DataTransfer", asked) == {"status": "UnknownVendorId"}


NOT_BUILT: list[tuple[str, dict[str, Any]]] = [
    ("GetLocalListVersion", {}),
    ("SendLocalList", {"listVersion": 1, "updateType": "Full"}),
    ("ReserveNow", {"connectorId": 1, "expiryDate": "2027-01-01T00:00:00Z", "idTag": CARD, "reservationId": 1}),
    ("CancelReservation", {"reservationId": 1}),
    ("GetCompositeSchedule", {"connectorId": 1, "duration": 60}),
    ("ClearChargingProfile", {}),
    ("GetDiagnostics", {"location": "ftp://example.com/"}),
    ("UpdateFirmware", {"location": "ftp://example.com/f", "retrieveDate": "2027-01-01T00:00:00Z"}),
]


@pytest.mark.tc("TC_042_1_CS")
async def test_profiles_that_are_not_built(tmp_path: Path) -> None:
    """CALLERROR NotSupported: the action is known, and SupportedFeatureProfiles does not name its profile."""
    async with laboratory(tmp_path, "1.6") as bench:
        for action, payload in NOT_BUILT:
            with pytest.raises(Refusal, match="NotSupported"):
                await bench.csms.call(action, payload)


async def test_a_remote_stop_before_the_start_is_answered(tmp_path: Path) -> None:
    """The number is given by the answer to the Start: a stop that names it right after is obeyed, and the Stop carries it."""
    async with laboratory(tmp_path, "1.6") as bench:
        csms = bench.csms
        await bench.plug_in()
        await csms.status("Preparing")
        await bench.swipe(OTHER_CARD)
        await csms.expect("StartTransaction", idTag=OTHER_CARD)
        number = csms.transactions[-1]
        assert await csms.call("RemoteStopTransaction", {"transactionId": number}) == {"status": "Accepted"}
        await csms.expect("StopTransaction", transactionId=number, reason="Remote")
