"""OCPP 1.6J: charging sessions at the charger."""

from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from tests.conformance.csms import Refusal, sampled, utc_of
from tests.conformance.laboratory import CARD, OTHER_CARD, Bench, laboratory

pytestmark = pytest.mark.virtual_time


@pytest.mark.tc("TC_003_CS")
async def test_plug_in_first(tmp_path: Path) -> None:
    """Cable, card, Charging; the same card stops; Finishing, and Available after the unplug."""
    async with laboratory(tmp_path, "1.6") as bench:
        csms = bench.csms
        await bench.plug_in()
        preparing = await csms.status("Preparing")
        await bench.swipe()
        asked = await csms.expect("Authorize", idTag=CARD)
        start = await csms.expect("StartTransaction", connectorId=1, idTag=CARD)
        charging = await csms.status("Charging")
        assert preparing.number < asked.number < start.number < charging.number
        register = Decimal((await bench.evse())["meter"]["energy_uwh"]).scaleb(-6)
        assert start["meterStart"] == int(register)
        await csms.silence(10, "StopTransaction")
        csms.mark()
        await bench.swipe()
        stop = await csms.expect("StopTransaction", transactionId=csms.transactions[-1], idTag=CARD)
        await csms.status("Finishing")
        register = Decimal((await bench.evse())["meter"]["energy_uwh"]).scaleb(-6)
        assert stop["meterStop"] == int(register) > start["meterStart"]
        assert stop.payload.get("reason", "Local") == "Local"
        assert utc_of(start["timestamp"]) < utc_of(stop["timestamp"])
        assert not csms.calls("Authorize"), "the card that started needs no question"
        csms.mark()
        await bench.unplug()
        await csms.status("Available")


@pytest.mark.tc("TC_004_1_CS")
async def test_identification_first(tmp_path: Path) -> None:
    """Card, Preparing, then the cable: StartTransaction and Charging; stop by card."""
    async with laboratory(tmp_path, "1.6") as bench:
        csms = bench.csms
        await bench.swipe()
        asked = await csms.expect("Authorize", idTag=CARD)
        preparing = await csms.status("Preparing")
        assert asked.number < preparing.number
        await csms.silence(5, "StartTransaction")
        await bench.plug_in()
        start = await csms.expect("StartTransaction", connectorId=1, idTag=CARD)
        charging = await csms.status("Charging")
        assert start.number < charging.number
        csms.mark()
        await bench.swipe()
        await csms.expect("StopTransaction", idTag=CARD)
        await csms.status("Finishing")
        await bench.unplug()
        await csms.status("Available")


@pytest.mark.tc("TC_004_2_CS")
async def test_identification_first_and_no_cable(tmp_path: Path) -> None:
    """No cable within ConnectionTimeOut: Preparing, Available, no transaction."""
    async with laboratory(tmp_path, "1.6", variables={"ConnectionTimeOut": "12"}) as bench:
        csms = bench.csms
        await bench.swipe()
        preparing = await csms.status("Preparing")
        available = await csms.status("Available")
        assert available.at - preparing.at == pytest.approx(12, abs=1)
        await bench.plug_in()
        await csms.status("Preparing")
        await csms.silence(20, "StartTransaction")


@pytest.mark.tc("TC_068_CS")
async def test_another_card_does_not_stop(tmp_path: Path) -> None:
    """Another idTag is asked about and stops nothing; the one that started stops."""
    async with laboratory(tmp_path, "1.6") as bench:
        csms = bench.csms
        await bench.charge()
        await bench.swipe(OTHER_CARD)
        await csms.expect("Authorize", idTag=OTHER_CARD)
        await csms.silence(10, "StopTransaction")
        await bench.swipe(CARD)
        await csms.expect("StopTransaction", idTag=CARD)
        await csms.status("Finishing")


@pytest.mark.tc("TC_069_CS")
async def test_a_card_of_the_same_parent_stops(tmp_path: Path) -> None:
    """A different idTag with the same parentIdTag stops after Authorize; StopTransaction carries the second idTag."""
    async with laboratory(tmp_path, "1.6") as bench:
        csms = bench.csms
        csms.on["Authorize"] = lambda _: csms.verdict("Accepted", parentIdTag="FAMILY")
        await bench.charge()
        await bench.swipe(OTHER_CARD)
        await csms.expect("Authorize", idTag=OTHER_CARD)
        await csms.expect("StopTransaction", idTag=OTHER_CARD)
        await csms.status("Finishing")


# ------------------------------------------------------------------------------------------------- the cable at the vehicle


@pytest.mark.tc("TC_005_1_CS")
@pytest.mark.parametrize("socket", [False, True], ids=["fixed cable", "socket-outlet"])
async def test_cable_pulled_at_the_vehicle(tmp_path: Path, socket: bool) -> None:
    """StopTransactionOnEVSideDisconnect and UnlockConnectorOnEVSideDisconnect true: EVDisconnected, unlocked, Finishing, Available."""
    async with laboratory(tmp_path, "1.6", socket=socket) as bench:
        csms = bench.csms
        if socket:
            for key in ("StopTransactionOnEVSideDisconnect", "UnlockConnectorOnEVSideDisconnect"):
                assert await csms.call("ChangeConfiguration", {"key": key, "value": "true"}) == {"status": "Accepted"}
        number = await bench.charge()
        if socket:
            assert not await bench.is_unlocked()
        await bench.unplug(side="vehicle")
        await csms.expect("StopTransaction", transactionId=number, reason="EVDisconnected")
        finishing = await csms.status("Finishing")
        available = await csms.status("Available")
        assert finishing.number < available.number
        if socket:
            await bench.until_async(bench.is_unlocked)


@pytest.mark.tc("TC_005_2_CS")
async def test_cable_pulled_at_the_vehicle_and_the_plug_stays_locked(tmp_path: Path) -> None:
    """UnlockConnectorOnEVSideDisconnect false: the plug at the charger is released when its owner presents the card."""
    async with laboratory(tmp_path, "1.6", socket=True, variables={"UnlockConnectorOnEVSideDisconnect": "false"}) as bench:
        csms = bench.csms
        number = await bench.charge()
        await bench.unplug(side="vehicle")
        await csms.expect("StopTransaction", transactionId=number, reason="EVDisconnected")
        await csms.silence(10, "StartTransaction")
        await bench.swipe(OTHER_CARD)
        await csms.silence(5, "StartTransaction")
        assert not await bench.is_unlocked()
        await bench.swipe(CARD)
        await bench.until_async(bench.is_unlocked)


@pytest.mark.tc("TC_005_3_CS")
async def test_cable_pulled_at_the_vehicle_and_the_transaction_goes_on(tmp_path: Path) -> None:
    """StopTransactionOnEVSideDisconnect false: SuspendedEV, the transaction stays; a remote stop ends it with Remote."""
    async with laboratory(tmp_path, "1.6", variables={"StopTransactionOnEVSideDisconnect": "false"}) as bench:
        csms = bench.csms
        number = await bench.charge()
        await bench.unplug(side="vehicle")
        await csms.status("SuspendedEV")
        await bench.until_async(bench.is_open)
        await csms.silence(10, "StopTransaction")
        csms.mark()
        assert await csms.call("RemoteStopTransaction", {"transactionId": number}) == {"status": "Accepted"}
        await csms.expect("StopTransaction", transactionId=number, reason="Remote")
        await csms.status("Available")


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.tc("TC_023_CS", "TC_023_4_CS")
@pytest.mark.parametrize("status", ["Invalid", "Blocked", "Expired"])
async def test_a_refused_card_starts_nothing(tmp_path: Path, status: str) -> None:
    """No transaction; the connector is Available again when the cable is out."""
    async with laboratory(tmp_path, "1.6") as bench:
        csms = bench.csms
        csms.on["Authorize"] = lambda _: csms.verdict(status)
        await bench.plug_in()
        await csms.status("Preparing")
        await bench.swipe()
        await csms.expect("Authorize", idTag=CARD)
        await csms.silence(10, "StartTransaction")
        await bench.unplug()
        await csms.status("Available")


@pytest.mark.tc("TC_023_CS", "TC_023_5_CS")
@pytest.mark.parametrize("status", ["Invalid", "Blocked", "Expired"])
async def test_a_refused_remote_token_starts_nothing(tmp_path: Path, status: str) -> None:
    """AuthorizeRemoteTxRequests true: the token of a RemoteStartTransaction is asked about."""
    async with laboratory(tmp_path, "1.6", variables={"AuthorizeRemoteTxRequests": "true"}) as bench:
        csms = bench.csms
        csms.on["Authorize"] = lambda _: csms.verdict(status)
        await bench.plug_in()
        await csms.status("Preparing")
        assert await csms.call("RemoteStartTransaction", {"connectorId": 1, "idTag": "REMOTE1"}) == {"status": "Accepted"}
        await csms.expect("Authorize", idTag="REMOTE1")
        await csms.silence(10, "StartTransaction")
        await bench.unplug()
        await csms.status("Available")


@pytest.mark.tc("TC_024_CS")
async def test_a_lock_that_does_not_lock(tmp_path: Path) -> None:
    """StatusNotification ConnectorLockFailure, and no transaction as long as the lock fails."""
    async with laboratory(tmp_path, "1.6", socket=True) as bench:
        csms = bench.csms
        await bench.control("fault.set", kind="lock_stuck", evse=1)
        await bench.swipe()
        await csms.status("Preparing")
        await bench.plug_in()
        await csms.status("Faulted", errorCode="ConnectorLockFailure")
        await csms.silence(10)
        assert not csms.calls("StartTransaction")
        assert await bench.is_open()


@pytest.mark.tc("TC_041_CS")
async def test_a_faulted_connector_starts_nothing(tmp_path: Path) -> None:
    """While Faulted neither card nor cable starts a transaction."""
    async with laboratory(tmp_path, "1.6") as bench:
        csms = bench.csms
        await bench.control("fault.set", kind="ground_fault", evse=1)
        await csms.status("Faulted", errorCode="GroundFailure")
        await bench.swipe()
        await bench.plug_in()
        await csms.silence(20, "StartTransaction", "Authorize")
        await bench.unplug()
        csms.mark()
        await bench.control("fault.clear", kind="ground_fault", evse=1)
        await csms.status("Available", errorCode="NoError")


# ---------------------------------------------------------------------------------------------------------------- cache


@pytest.mark.tc("TC_007_CS", "TC_007_1_CS")
async def test_a_cached_card_starts_without_a_question(tmp_path: Path) -> None:
    """LocalPreAuthorize: the idTag that the cache knows starts a transaction, no Authorize is sent."""
    async with laboratory(tmp_path, "1.6", variables={"LocalPreAuthorize": "true"}) as bench:
        csms = bench.csms
        await _into_the_cache(bench)
        await bench.plug_in()
        await csms.status("Preparing")
        await bench.swipe()
        await csms.expect("StartTransaction", idTag=CARD)
        await csms.status("Charging")
        assert not csms.calls("Authorize")


@pytest.mark.tc("TC_007_CS", "TC_007_2_CS")
async def test_a_cached_remote_token_starts_without_a_question(tmp_path: Path) -> None:
    """The same for a remote start with AuthorizeRemoteTxRequests."""
    keys = {"LocalPreAuthorize": "true", "AuthorizeRemoteTxRequests": "true"}
    async with laboratory(tmp_path, "1.6", variables=keys) as bench:
        csms = bench.csms
        await _into_the_cache(bench)
        await bench.plug_in()
        await csms.status("Preparing")
        assert await csms.call("RemoteStartTransaction", {"connectorId": 1, "idTag": CARD}) == {"status": "Accepted"}
        await csms.expect("StartTransaction", idTag=CARD)
        await csms.status("Charging")
        assert not csms.calls("Authorize")


@pytest.mark.tc("TC_061_CS")
@pytest.mark.parametrize(
    "is_remote",
    [pytest.param(False, marks=pytest.mark.tc("TC_061_1_CS")), pytest.param(True, marks=pytest.mark.tc("TC_061_2_CS"))],
    ids=["local", "remote"],
)
async def test_a_cleared_cache_asks_again(tmp_path: Path, is_remote: bool) -> None:
    """ClearCache is Accepted, and the idTag is asked about again."""
    keys = {"LocalPreAuthorize": "true", "AuthorizeRemoteTxRequests": "true"}
    async with laboratory(tmp_path, "1.6", variables=keys) as bench:
        csms = bench.csms
        await _into_the_cache(bench)
        assert await csms.call("ClearCache") == {"status": "Accepted"}
        await bench.plug_in()
        await csms.status("Preparing")
        if is_remote:
            await csms.call("RemoteStartTransaction", {"connectorId": 1, "idTag": CARD})
        else:
            await bench.swipe()
        await csms.expect("Authorize", idTag=CARD)
        await csms.expect("StartTransaction", idTag=CARD)


async def _into_the_cache(bench: Bench) -> None:
    """A card that was presented once and taken away again."""
    await bench.swipe()
    await bench.csms.expect("Authorize", idTag=CARD)
    await bench.csms.status("Preparing")
    await bench.swipe()
    await bench.csms.status("Available")
    bench.csms.mark()


# ---------------------------------------------------------------------------------------------------------- meter values


@pytest.mark.tc("TC_070_CS")
async def test_sampled_meter_values(tmp_path: Path) -> None:
    """MeterValues every MeterValueSampleInterval with the measurands of MeterValuesSampledData, context Sample.Periodic."""
    async with laboratory(tmp_path, "1.6") as bench:
        csms = bench.csms
        measurands = "Energy.Active.Import.Register,Power.Active.Import,Current.Import"
        for key, value in (("MeterValueSampleInterval", "10"), ("MeterValuesSampledData", measurands)):
            assert await csms.call("ChangeConfiguration", {"key": key, "value": value}) == {"status": "Accepted"}
        number = await bench.charge()
        assert await csms.until(lambda: len(csms.calls("MeterValues")) >= 4, 60)
        values = csms.calls("MeterValues")
        gaps = [later.at - earlier.at for earlier, later in pairwise(values)]
        assert gaps == pytest.approx([10] * len(gaps), abs=1)
        for frame in values:
            assert frame["connectorId"] == 1
            assert frame["transactionId"] == number
            (group,) = frame["meterValue"]
            assert {value["measurand"] for value in group["sampledValue"]} == set(measurands.split(","))
            assert {value["context"] for value in group["sampledValue"]} == {"Sample.Periodic"}
        registers = [value for frame in values for _, value in sampled(frame)]
        assert registers == sorted(registers)
        assert registers[-1] > registers[0]


@pytest.mark.tc("TC_071_CS")
async def test_clock_aligned_meter_values(tmp_path: Path) -> None:
    """MeterValues on the grid of ClockAlignedDataInterval, in a transaction with its number and without one, context Sample.Clock."""
    async with laboratory(tmp_path, "1.6") as bench:
        csms = bench.csms
        measurands = "Energy.Active.Import.Register,Voltage"
        for key, value in (("ClockAlignedDataInterval", "20"), ("MeterValuesAlignedData", measurands)):
            assert await csms.call("ChangeConfiguration", {"key": key, "value": value}) == {"status": "Accepted"}
        idle = await csms.expect("MeterValues", connectorId=1)
        assert "transactionId" not in idle.payload
        number = await bench.charge()
        assert await csms.until(lambda: len(csms.calls("MeterValues")) >= 2, 60)
        for frame in [idle, *csms.calls("MeterValues")]:
            (group,) = frame["meterValue"]
            sent_at = utc_of(group["timestamp"])
            assert (sent_at.hour * 3600 + sent_at.minute * 60 + sent_at.second) % 20 in {0, 19}
            assert {value["measurand"] for value in group["sampledValue"]} == set(measurands.split(","))
            assert {value["context"] for value in group["sampledValue"]} == {"Sample.Clock"}
        assert all(frame["transactionId"] == number for frame in csms.calls("MeterValues"))


# --------------------------------------------------------------------------------------------------------------- offline


@pytest.mark.tc("TC_036_CS")
@pytest.mark.parametrize("mode", ["close", "blackhole", "refuse"])
@pytest.mark.pain(14)
async def test_connection_lost_in_a_transaction(tmp_path: Path, mode: str) -> None:
    """Charging goes on; the values of the time without a connection arrive in order with their own times; no BootNotification."""
    keys = {"MeterValueSampleInterval": "10", "WebSocketPingInterval": "15"}
    async with laboratory(tmp_path, "1.6", variables=keys) as bench:
        csms = bench.csms
        number = await bench.charge()
        await bench.network_down(mode)
        await bench.until(lambda: bench.link_state == "offline", within=60)
        before = (await bench.evse())["meter"]["energy_uwh"]
        count = len(csms.calls("MeterValues"))
        await csms.silence(100)
        assert (await bench.evse())["meter"]["energy_uwh"] > before, "energy flows on"
        await bench.network_up()
        assert await csms.until(lambda: len(csms.calls("MeterValues")) >= count + 10, 60)
        times = [utc_of(frame["meterValue"][0]["timestamp"]) for frame in csms.calls("MeterValues", transactionId=number)]
        assert times == sorted(times)
        gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
        assert gaps == pytest.approx([10] * len(gaps), abs=1.5)
        assert not csms.calls("BootNotification")
        await bench.swipe()
        await csms.expect("StopTransaction", transactionId=number)


@pytest.mark.tc("TC_037_1_CS")
async def test_offline_start_with_a_known_card(tmp_path: Path) -> None:
    """LocalAuthorizeOffline: a known idTag starts; StartTransaction arrives later with the time at which it happened, and goes on."""
    async with laboratory(tmp_path, "1.6", variables={"LocalAuthorizeOffline": "true"}) as bench:
        csms = bench.csms
        await _into_the_cache(bench)
        await bench.network_down()
        await bench.plug_in()
        began = bench.utc()
        await bench.swipe()
        await bench.energy_flows()
        await csms.silence(60)
        await bench.network_up()
        start = await csms.expect("StartTransaction", idTag=CARD)
        assert abs((utc_of(start["timestamp"]) - began).total_seconds()) < 5
        await csms.status("Charging")
        await csms.silence(10, "StopTransaction")
        await bench.swipe()
        await csms.expect("StopTransaction", transactionId=csms.transactions[-1])


@pytest.mark.tc("TC_037_2_CS", "TC_037_3_CS")
@pytest.mark.parametrize("stops", [False, True], ids=["StopTransactionOnInvalidId false", "StopTransactionOnInvalidId true"])
async def test_offline_start_with_a_card_that_turns_out_invalid(tmp_path: Path, stops: bool) -> None:
    """false: the transaction stays, without energy, SuspendedEVSE. true: StopTransaction with reason DeAuthorized."""
    keys = {"LocalAuthorizeOffline": "true", "StopTransactionOnInvalidId": str(stops).lower()}
    async with laboratory(tmp_path, "1.6", variables=keys) as bench:
        csms = bench.csms
        csms.on["StartTransaction"] = lambda _: {"transactionId": csms.new_number(), "idTagInfo": {"status": "Invalid"}}
        await _into_the_cache(bench)
        await bench.network_down()
        await bench.plug_in()
        await bench.swipe()
        await bench.energy_flows()
        await bench.network_up()
        await csms.expect("StartTransaction", idTag=CARD)
        if stops:
            await csms.expect("StopTransaction", transactionId=csms.transactions[-1], reason="DeAuthorized")
            await csms.status("Finishing")
        else:
            await csms.status("SuspendedEVSE")
            await bench.until_async(bench.is_open)
            await csms.silence(30, "StopTransaction")


@pytest.mark.tc("TC_038_CS")
@pytest.mark.pain(9)
async def test_offline_stop(tmp_path: Path) -> None:
    """Stopped at the charger while offline: StopTransaction is kept and sent later, with the time at which it happened."""
    async with laboratory(tmp_path, "1.6") as bench:
        csms = bench.csms
        number = await bench.charge()
        await bench.network_down()
        stopped = bench.utc()
        await bench.swipe()
        await bench.until_async(bench.is_open)
        await bench.unplug()
        await csms.silence(60)
        await bench.network_up()
        stop = await csms.expect("StopTransaction", transactionId=number, idTag=CARD)
        assert abs((utc_of(stop["timestamp"]) - stopped).total_seconds()) < 5
        await csms.status("Available")


@pytest.mark.tc("TC_039_CS")
async def test_a_whole_session_offline(tmp_path: Path) -> None:
    """Start, values and Stop arrive in order, with their times, and with the number that the CSMS gives in its answer to the Start."""
    keys = {"LocalAuthorizeOffline": "true", "MeterValueSampleInterval": "5"}
    async with laboratory(tmp_path, "1.6", variables=keys) as bench:
        csms = bench.csms
        await _into_the_cache(bench)
        await bench.network_down()
        await bench.plug_in()
        await bench.swipe()
        await bench.energy_flows()
        await csms.silence(20)
        await bench.swipe()
        await bench.until_async(bench.is_open)
        await bench.unplug()
        await csms.silence(60)
        await bench.network_up()
        stop = await csms.expect("StopTransaction")
        number = csms.transactions[-1]
        order = [frame.action for frame in csms.calls("StartTransaction", "MeterValues", "StopTransaction")]
        assert order[0] == "StartTransaction"
        assert order[-1] == "StopTransaction"
        assert len(order) > 4
        start = csms.calls("StartTransaction")[0]
        values = csms.calls("MeterValues")
        assert {frame["transactionId"] for frame in [*values, stop]} == {number}
        times = [start["timestamp"], *(frame["meterValue"][0]["timestamp"] for frame in values), stop["timestamp"]]
        assert times == sorted(times)
        assert start["meterStart"] <= min(int(value) for frame in values for _, value in sampled(frame)) <= stop["meterStop"]


async def test_a_refused_start_is_tried_again_and_never_doubled(tmp_path: Path) -> None:
    """Facts of retrying: the repetition is byte for byte the same, and what belongs to the transaction waits for its number."""
    keys = {"TransactionMessageAttempts": "3", "TransactionMessageRetryInterval": "10", "MeterValueSampleInterval": "5"}
    async with laboratory(tmp_path, "1.6", variables=keys) as bench:
        csms = bench.csms
        answers = iter([Refusal("InternalError"), None])

        def start(_: object) -> dict[str, object]:
            refusal = next(answers)
            if refusal is not None:
                raise refusal
            return {"transactionId": csms.new_number(), "idTagInfo": {"status": "Accepted"}}

        csms.on["StartTransaction"] = start
        await bench.plug_in()
        await csms.status("Preparing")
        await bench.swipe()
        await csms.expect("MeterValues", within=60)
        first, second = csms.calls("StartTransaction")
        assert first.payload == second.payload
        assert second.at - first.at == pytest.approx(10, abs=1)
        assert csms.calls("MeterValues")[0].number > second.number
        assert len(csms.transactions) == 1
