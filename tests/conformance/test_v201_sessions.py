"""OCPP 2.0.1: charging sessions at the charger (C, E), the connector's status (G), meter values (J).

The station's transactions start at PowerPathClosed and stop at EVConnected,Authorized; the cases of other points are not claimed.
"""

from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.csms import Frame, Payload, Refusal, Silence, sampled, utc_of
from tests.conformance.laboratory import CARD, OTHER_CARD, Bench, laboratory

pytestmark = pytest.mark.virtual_time

PRE_AUTHORIZE = {"AuthCtrlr.LocalPreAuthorize": "true"}
FAMILY = {"idToken": "FAMILY", "type": "Central"}


def token_of(value: str = CARD) -> Payload:
    return {"idToken": value, "type": "ISO14443"}


def state(frame: Frame) -> Any:
    return frame["transactionInfo"].get("chargingState")


async def event(bench: Bench, event_type: str, trigger: str | None = None, *, within: float = 30, **info: Any) -> Frame:
    """Wait for a TransactionEvent with this trigger and these fields of transactionInfo."""
    return await bench.csms.expect(
        "TransactionEvent",
        within=within,
        eventType=event_type,
        where=lambda e: trigger in {None, e["triggerReason"]} and info.items() <= e["transactionInfo"].items(),
    )


async def learn(bench: Bench, status: str = "Accepted", token: str = CARD, **info: Any) -> None:
    """Put a card into the cache with this answer; the charger is free afterwards."""
    csms = bench.csms
    answer = csms.on["Authorize"]
    csms.on["Authorize"] = lambda _: csms.verdict(status, **info)
    await bench.swipe(token)
    await csms.expect("Authorize", idToken=token_of(token))
    await csms.silence(1)
    if status == "Accepted":
        await bench.swipe(token)
        await csms.silence(1)
    csms.on["Authorize"] = answer
    csms.mark()


# ------------------------------------------------------------------------------------------------------------------- start


@pytest.mark.tc("TC_E_03_CS", "TC_E_01_CS", "TC_G_01_CS", "TC_G_02_CS", "TC_J_07_CS")
async def test_plug_in_first(tmp_path: Path) -> None:
    """Occupied, Authorize, Started (Authorized, EVConnected, register), Charging; Ended by the card; Available after the unplug."""
    async with laboratory(tmp_path, "2.0.1") as bench:
        csms = bench.csms
        await bench.plug_in()
        occupied = await csms.status("Occupied")
        await csms.silence(5, "TransactionEvent")
        await bench.swipe()
        asked = await csms.expect("Authorize", idToken=token_of())
        started = await event(bench, "Started", "Authorized")
        assert started["idToken"] == token_of()
        assert started["evse"] == {"id": 1, "connectorId": 1}
        assert state(started) == "EVConnected"
        register = int(Decimal((await bench.evse())["meter"]["energy_uwh"]).scaleb(-6))
        assert sampled(started) == [("Transaction.Begin", register)]
        charging = await event(bench, "Updated", "ChargingStateChanged", chargingState="Charging")
        assert occupied.number < asked.number < started.number < charging.number
        await csms.silence(20, "StatusNotification")
        await bench.swipe()
        ended = await event(bench, "Ended", "StopAuthorized")
        assert ended["transactionInfo"].get("stoppedReason", "Local") == "Local"
        csms.mark()
        await bench.unplug()
        await csms.status("Available")


@pytest.mark.tc("TC_E_04_CS", "TC_E_01_CS")
async def test_authorization_first(tmp_path: Path) -> None:
    """Authorize, and nothing else until the cable is in: Occupied, Started (CablePluggedIn), Charging."""
    async with laboratory(tmp_path, "2.0.1") as bench:
        csms = bench.csms
        await bench.swipe()
        await csms.expect("Authorize", idToken=token_of())
        await csms.silence(10, "TransactionEvent")
        await bench.plug_in()
        await csms.status("Occupied")
        started = await event(bench, "Started", "CablePluggedIn")
        assert started["idToken"] == token_of()
        await event(bench, "Updated", chargingState="Charging")


@pytest.mark.tc("TC_E_05_CS")
async def test_authorization_first_and_no_cable(tmp_path: Path) -> None:
    """EVConnectionTimeOut: the authorization is gone. No transaction had started, so none ends; the connector was never occupied."""
    async with laboratory(tmp_path, "2.0.1", variables={"TxCtrlr.EVConnectionTimeOut": "12"}) as bench:
        csms = bench.csms
        await bench.swipe()
        await csms.expect("Authorize")
        await csms.silence(13)
        await bench.plug_in()
        await csms.status("Occupied")
        await csms.silence(20, "TransactionEvent")


@pytest.mark.tc("TC_E_38_CS")
async def test_a_vehicle_that_is_not_ready(tmp_path: Path) -> None:
    """Connected and authorized, and it takes nothing: SuspendedEV; Charging when it wakes up."""
    async with laboratory(tmp_path, "2.0.1") as bench:
        await bench.plug_in(delay_s=40)
        await bench.csms.status("Occupied")
        await bench.swipe()
        await event(bench, "Started", chargingState="EVConnected")
        await event(bench, "Updated", "ChargingStateChanged", chargingState="SuspendedEV")
        await event(bench, "Updated", "ChargingStateChanged", within=60, chargingState="Charging")


@pytest.mark.parametrize(
    "status",
    [
        pytest.param("Invalid", marks=pytest.mark.tc("TC_C_02_CS")),
        pytest.param("Unknown", marks=pytest.mark.tc("TC_C_02_CS", "TC_C_56_CS")),
        pytest.param("Blocked", marks=pytest.mark.tc("TC_C_06_CS")),
        pytest.param("Expired", marks=pytest.mark.tc("TC_C_07_CS")),
    ],
)
@pytest.mark.parametrize("plugged", [False, True], ids=["card first", "cable first"])
async def test_a_refused_token_starts_nothing(tmp_path: Path, status: str, plugged: bool) -> None:
    """No transaction, no energy."""
    async with laboratory(tmp_path, "2.0.1") as bench:
        csms = bench.csms
        csms.on["Authorize"] = lambda _: csms.verdict(status)
        if plugged:
            await bench.plug_in()
            await csms.status("Occupied")
        await bench.swipe()
        await csms.expect("Authorize", idToken=token_of())
        if not plugged:
            await csms.silence(1)
            await bench.plug_in()
        await csms.silence(20, "TransactionEvent")
        assert await bench.is_open()


# -------------------------------------------------------------------------------------------------------------------- stop


@pytest.mark.tc("TC_E_06_CS", "TC_E_15_CS")
async def test_the_same_token_stops(tmp_path: Path) -> None:
    """StopAuthorized, the token, Local or no reason; energy is off."""
    async with laboratory(tmp_path, "2.0.1") as bench:
        transaction_id = await bench.charge()
        await bench.swipe()
        ended = await event(bench, "Ended", "StopAuthorized", transactionId=transaction_id)
        assert ended["idToken"] == token_of()
        assert ended["transactionInfo"].get("stoppedReason", "Local") == "Local"
        assert await bench.is_open()
        assert not bench.csms.calls("Authorize")


@pytest.mark.tc("TC_C_04_CS")
async def test_a_different_token_does_not_stop(tmp_path: Path) -> None:
    """Another token without the group is asked about, and the session goes on."""
    async with laboratory(tmp_path, "2.0.1") as bench:
        await bench.charge()
        await bench.swipe(OTHER_CARD)
        await bench.csms.expect("Authorize", idToken=token_of(OTHER_CARD))
        await bench.csms.silence(20, "TransactionEvent")
        assert not await bench.is_open()


@pytest.mark.parametrize(
    ("cached", "status", "stops"),
    [
        pytest.param(False, "Accepted", True, marks=pytest.mark.tc("TC_C_39_CS")),
        pytest.param(True, "Accepted", True, marks=pytest.mark.tc("TC_C_41_CS")),
        pytest.param(False, "Invalid", False, marks=pytest.mark.tc("TC_C_42_CS")),
        pytest.param(True, "Invalid", False, marks=pytest.mark.tc("TC_C_44_CS")),
    ],
)
async def test_a_token_of_the_same_group(tmp_path: Path, cached: bool, status: str, stops: bool) -> None:
    """It stops the transaction when its status is Accepted, whether the CSMS or the cache says so; else it does not."""
    async with laboratory(tmp_path, "2.0.1", variables=PRE_AUTHORIZE if cached else {}) as bench:
        csms = bench.csms
        if cached:
            await learn(bench, status, OTHER_CARD, groupIdToken=FAMILY)
        verdicts = {CARD: csms.verdict("Accepted", groupIdToken=FAMILY), OTHER_CARD: csms.verdict(status, groupIdToken=FAMILY)}
        csms.on["Authorize"] = lambda asked: verdicts[asked["idToken"]["idToken"]]
        await bench.charge(CARD)
        await bench.swipe(OTHER_CARD)
        if stops:
            ended = await event(bench, "Ended", "StopAuthorized")
            assert ended["idToken"] == token_of(OTHER_CARD)
            assert bool(csms.calls("Authorize")) is not cached
        else:
            await csms.silence(20, "TransactionEvent")


@pytest.mark.tc("TC_E_14_CS", "TC_E_17_CS", "TC_E_20_CS")
async def test_the_cable_is_pulled(tmp_path: Path) -> None:
    """Ended with EVCommunicationLost and EVDisconnected, Available; the contactor is open at once."""
    async with laboratory(tmp_path, "2.0.1") as bench:
        transaction_id = await bench.charge()
        await bench.unplug(side="vehicle")
        ended = await event(bench, "Ended", "EVCommunicationLost", transactionId=transaction_id)
        assert ended["transactionInfo"]["stoppedReason"] == "EVDisconnected"
        assert await bench.is_open()
        await bench.csms.status("Available")


@pytest.mark.parametrize(
    "unlocks", [pytest.param(True, marks=pytest.mark.tc("TC_E_24_CS")), pytest.param(False, marks=pytest.mark.tc("TC_E_25_CS"))]
)
async def test_the_cable_is_pulled_at_the_vehicle(tmp_path: Path, unlocks: bool) -> None:
    """UnlockOnEVSideDisconnect: the plug at the station is released, or stays locked until its owner comes."""
    variables = {"OCPPCommCtrlr.UnlockOnEVSideDisconnect": str(unlocks).lower()}
    async with laboratory(tmp_path, "2.0.1", socket=True, variables=variables) as bench:
        await bench.charge()
        await bench.unplug(side="vehicle")
        await event(bench, "Ended", "EVCommunicationLost", stoppedReason="EVDisconnected")
        await bench.csms.silence(10, "TransactionEvent")
        assert await bench.is_unlocked() is unlocks
        if not unlocks:
            await bench.swipe()
            await bench.until_async(bench.is_unlocked)


@pytest.mark.tc("TC_E_26_CS")
async def test_a_pulled_cable_only_suspends(tmp_path: Path) -> None:
    """StopTxOnEVSideDisconnect false: no energy, the transaction stays; plugged in again it charges without a new authorization."""
    async with laboratory(tmp_path, "2.0.1", variables={"TxCtrlr.StopTxOnEVSideDisconnect": "false"}) as bench:
        transaction_id = await bench.charge()
        await bench.unplug(side="vehicle")
        await event(bench, "Updated", transactionId=transaction_id, chargingState="Idle")
        await bench.until_async(bench.is_open)
        await bench.csms.silence(20)
        bench.csms.mark()
        await bench.plug_in()
        await event(bench, "Updated", transactionId=transaction_id, chargingState="Charging")
        assert not bench.csms.calls("Authorize")


# ------------------------------------------------------------------------------------------------------------------- cache


@pytest.mark.tc("TC_C_08_CS", "TC_C_33_CS")
async def test_a_cached_token_starts_without_a_question(tmp_path: Path) -> None:
    """LocalPreAuthorize: what an AuthorizeResponse put into the cache starts without another one."""
    async with laboratory(tmp_path, "2.0.1", variables=PRE_AUTHORIZE) as bench:
        await learn(bench)
        await bench.plug_in()
        await bench.csms.status("Occupied")
        await bench.swipe()
        await event(bench, "Started", "Authorized")
        await event(bench, "Updated", chargingState="Charging")
        assert not bench.csms.calls("Authorize")


@pytest.mark.tc("TC_C_13_CS")
async def test_a_cached_token_before_the_cable(tmp_path: Path) -> None:
    """Authorized at once; energy when the cable is in."""
    async with laboratory(tmp_path, "2.0.1", variables=PRE_AUTHORIZE) as bench:
        await learn(bench)
        await bench.swipe()
        await bench.csms.silence(5)
        await bench.plug_in()
        await event(bench, "Started", "CablePluggedIn")
        await event(bench, "Updated", chargingState="Charging")
        assert not bench.csms.calls("Authorize")


@pytest.mark.tc("TC_C_34_CS")
async def test_the_cache_learns_from_a_transaction(tmp_path: Path) -> None:
    """The idTokenInfo of a TransactionEventResponse goes before what the cache knew: the token is asked about again."""
    async with laboratory(tmp_path, "2.0.1", variables={**PRE_AUTHORIZE, "TxCtrlr.StopTxOnInvalidId": "true"}) as bench:
        csms = bench.csms
        await learn(bench)
        csms.on["TransactionEvent"] = lambda e: {"idTokenInfo": {"status": "Invalid"}} if e["eventType"] == "Started" else {}
        await bench.plug_in()
        await csms.status("Occupied")
        await bench.swipe()
        await event(bench, "Ended", "Deauthorized")
        assert not csms.calls("Authorize")
        await bench.unplug()
        await csms.status("Available")
        await bench.swipe()
        await csms.expect("Authorize", idToken=token_of())


@pytest.mark.parametrize(
    ("status", "now", "starts"),
    [
        pytest.param("Invalid", "Invalid", False, marks=pytest.mark.tc("TC_C_09_CS")),
        pytest.param("Blocked", "Blocked", False, marks=pytest.mark.tc("TC_C_10_CS")),
        pytest.param("Expired", "Expired", False, marks=pytest.mark.tc("TC_C_11_CS")),
        pytest.param("Invalid", "Accepted", True, marks=pytest.mark.tc("TC_C_12_CS")),
    ],
)
async def test_a_cached_refusal_is_asked_about(tmp_path: Path, status: str, now: str, starts: bool) -> None:
    """The CSMS's present answer counts, and goes into the cache."""
    async with laboratory(tmp_path, "2.0.1", variables=PRE_AUTHORIZE) as bench:
        csms = bench.csms
        await learn(bench, status)
        csms.on["Authorize"] = lambda _: csms.verdict(now)
        await bench.plug_in()
        await csms.status("Occupied")
        await bench.swipe()
        await csms.expect("Authorize", idToken=token_of())
        if not starts:
            await csms.silence(20, "TransactionEvent")
            return
        await event(bench, "Started")
        await event(bench, "Updated", chargingState="Charging")
        await bench.swipe()
        await event(bench, "Ended")
        await bench.unplug()
        await csms.status("Available")
        csms.mark()
        await bench.plug_in()
        await bench.swipe()
        await event(bench, "Started")
        assert not csms.calls("Authorize"), "the cache was updated"


@pytest.mark.parametrize(
    "stops", [pytest.param(True, marks=pytest.mark.tc("TC_C_16_CS")), pytest.param(False, marks=pytest.mark.tc("TC_C_17_CS"))]
)
async def test_a_cached_token_that_turned_invalid(tmp_path: Path, stops: bool) -> None:
    """StopTxOnInvalidId true: Ended, Deauthorized, DeAuthorized. false: the transaction stays, SuspendedEVSE."""
    async with laboratory(tmp_path, "2.0.1", variables={**PRE_AUTHORIZE, "TxCtrlr.StopTxOnInvalidId": str(stops).lower()}) as bench:
        csms = bench.csms
        await learn(bench)
        csms.on["TransactionEvent"] = lambda e: {"idTokenInfo": {"status": "Invalid"}} if "idToken" in e else {}
        await bench.plug_in()
        await csms.status("Occupied")
        await bench.swipe()
        await event(bench, "Started")
        if stops:
            ended = await event(bench, "Ended", "Deauthorized")
            assert ended["transactionInfo"]["stoppedReason"] == "DeAuthorized"
        else:
            await event(bench, "Updated", chargingState="SuspendedEVSE")
            await csms.silence(20, "TransactionEvent")
        assert await bench.is_open()


@pytest.mark.tc("TC_C_32_CS")
async def test_the_cache_survives_a_restart(tmp_path: Path) -> None:
    """Known before the reset, known after it."""
    async with laboratory(tmp_path, "2.0.1", variables=PRE_AUTHORIZE) as bench:
        await learn(bench)
        assert (await bench.csms.call("Reset", {"type": "Immediate"}))["status"] == "Accepted"
        await bench.restarted()
        await bench.plug_in()
        await bench.csms.status("Occupied")
        await bench.swipe()
        await event(bench, "Started")
        assert not bench.csms.calls("Authorize")


@pytest.mark.tc("TC_C_36_CS")
async def test_without_pre_authorization_the_cache_is_not_used_online(tmp_path: Path) -> None:
    """LocalPreAuthorize false: the token is asked about although the cache knows it."""
    async with laboratory(tmp_path, "2.0.1", variables={"AuthCtrlr.LocalPreAuthorize": "false"}) as bench:
        await learn(bench)
        await bench.plug_in()
        await bench.swipe()
        await bench.csms.expect("Authorize", idToken=token_of())
        await event(bench, "Started")


@pytest.mark.tc("TC_C_37_CS")
async def test_a_cleared_cache_asks_again(tmp_path: Path) -> None:
    """ClearCache is Accepted, and the token is asked about again."""
    async with laboratory(tmp_path, "2.0.1", variables=PRE_AUTHORIZE) as bench:
        await learn(bench)
        assert await bench.csms.call("ClearCache") == {"status": "Accepted"}
        await bench.plug_in()
        await bench.swipe()
        await bench.csms.expect("Authorize", idToken=token_of())


@pytest.mark.tc("TC_C_38_CS")
async def test_a_cache_that_is_switched_off_is_not_cleared(tmp_path: Path) -> None:
    """Rejected."""
    async with laboratory(tmp_path, "2.0.1", variables={"AuthCacheCtrlr.Enabled": "false"}) as bench:
        assert (await bench.csms.call("ClearCache"))["status"] == "Rejected"


# ----------------------------------------------------------------------------------------------------------------- offline


@pytest.mark.tc("TC_C_26_CS")
async def test_an_unknown_token_offline(tmp_path: Path) -> None:
    """OfflineTxForUnknownIdEnabled: it charges, and the events are delivered later, each marked offline."""
    async with laboratory(tmp_path, "2.0.1", variables={"AuthCtrlr.OfflineTxForUnknownIdEnabled": "true"}) as bench:
        await bench.network_down()
        await bench.plug_in()
        await bench.csms.silence(1)
        await bench.swipe()
        await bench.energy_flows()
        await bench.network_up()
        started = await event(bench, "Started", "Authorized")
        assert started["offline"] is True
        assert started["idToken"] == token_of()


@pytest.mark.tc("TC_E_40_CS")
@pytest.mark.parametrize("mode", ["close", "blackhole"])
async def test_connection_lost_in_a_transaction(tmp_path: Path, mode: str) -> None:
    """The events of that time arrive in the order of seqNo with their own times and offline; what happens afterwards is not marked."""
    variables = {"SampledDataCtrlr.TxUpdatedInterval": "10", "OCPPCommCtrlr.WebSocketPingInterval": "15"}
    async with laboratory(tmp_path, "2.0.1", variables=variables) as bench:
        csms = bench.csms
        transaction_id = await bench.charge()
        await bench.network_down(mode)
        await bench.until(lambda: bench.link_state == "offline", within=60)
        count = len(csms.calls("TransactionEvent"))
        await csms.silence(60)
        assert not await bench.is_open()
        away_until = bench.utc()
        await bench.network_up()
        assert await csms.until(lambda: len(csms.calls("TransactionEvent")) >= count + 8, 60)
        events = csms.calls("TransactionEvent")
        assert [frame["seqNo"] for frame in events] == list(range(events[0]["seqNo"], events[0]["seqNo"] + len(events)))
        assert {frame["transactionInfo"]["transactionId"] for frame in events} == {transaction_id}
        times = [utc_of(frame["timestamp"]) for frame in events]
        assert times == sorted(times)
        late = [frame for frame in events[count:] if utc_of(frame["timestamp"]) < away_until]
        assert len(late) >= 5
        assert all(frame.payload.get("offline") is True for frame in late)
        csms.mark()
        fresh = await event(bench, "Updated", "MeterValuePeriodic")
        assert not fresh.payload.get("offline", False)
        assert not csms.calls("BootNotification", after=events[0].number)


@pytest.mark.tc("TC_E_43_CS")
async def test_a_whole_transaction_offline(tmp_path: Path) -> None:
    """Started to Ended, in order, each marked offline, with their own times."""
    async with laboratory(tmp_path, "2.0.1", variables={"SampledDataCtrlr.TxUpdatedInterval": "5"}) as bench:
        csms = bench.csms
        await learn(bench)
        await bench.network_down()
        began = bench.utc()
        await bench.plug_in()
        await bench.swipe()
        await bench.energy_flows()
        await csms.silence(20)
        await bench.swipe()
        await bench.until_async(bench.is_open)
        await bench.unplug()
        stopped = bench.utc()
        await csms.silence(100)
        await bench.network_up()
        ended = await event(bench, "Ended", "StopAuthorized")
        events = csms.calls("TransactionEvent")
        assert events[0]["eventType"] == "Started"
        assert events[-1] is ended
        assert len(events) > 4
        assert all(frame["offline"] is True for frame in events)
        times = [utc_of(frame["timestamp"]) for frame in events]
        assert times == sorted(times)
        assert (times[0] - began).total_seconds() < 5
        assert abs((times[-1] - stopped).total_seconds()) < 5


@pytest.mark.parametrize(
    "token", [pytest.param(CARD, marks=pytest.mark.tc("TC_E_44_CS")), pytest.param(OTHER_CARD, marks=pytest.mark.tc("TC_E_45_CS"))]
)
@pytest.mark.pain(9)
async def test_a_stop_offline(tmp_path: Path, token: str) -> None:
    """By the token that started, or another one of its group that the cache knows: Ended is kept and delivered."""
    async with laboratory(tmp_path, "2.0.1") as bench:
        csms = bench.csms
        await learn(bench, "Accepted", OTHER_CARD, groupIdToken=FAMILY)
        csms.on["Authorize"] = lambda _: csms.verdict("Accepted", groupIdToken=FAMILY)
        transaction_id = await bench.charge(CARD)
        await bench.network_down()
        await bench.swipe(token)
        await bench.until_async(bench.is_open)
        await csms.silence(30)
        await bench.network_up()
        ended = await event(bench, "Ended", "StopAuthorized", transactionId=transaction_id)
        assert ended["idToken"] == token_of(token)
        assert ended["offline"] is True


@pytest.mark.parametrize(
    ("answer", "succeeds"),
    [
        pytest.param(Silence(), False, marks=pytest.mark.tc("TC_E_41_CS")),
        pytest.param(Silence(), True, marks=pytest.mark.tc("TC_E_42_CS")),
        pytest.param(Refusal("InternalError"), False, marks=pytest.mark.tc("TC_E_50_CS")),
        pytest.param(Refusal("InternalError"), True, marks=pytest.mark.tc("TC_E_51_CS")),
    ],
)
@pytest.mark.pain(6)
@pytest.mark.pain(8)
async def test_an_event_that_is_refused_or_ignored_is_sent_again(tmp_path: Path, answer: Exception, succeeds: bool) -> None:
    """MessageAttempts times, MessageAttemptInterval times the sends so far, a new message id each time; then the next one."""
    variables = {
        "OCPPCommCtrlr.MessageAttempts[TransactionEvent]": "3",
        "OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]": "10",
        "OCPPCommCtrlr.MessageTimeout[Default]": "5",
    }
    waits = [15, 25] if isinstance(answer, Silence) else [10, 20]
    async with laboratory(tmp_path, "2.0.1", variables=variables, errors=["refused for the last time"]) as bench:
        csms = bench.csms
        await bench.charge()
        tries: list[int] = []

        def refuse(e: Payload) -> Payload:
            if e["eventType"] == "Ended" and not (succeeds and tries):
                tries.append(e["seqNo"])
                raise answer
            return {}

        csms.on["TransactionEvent"] = refuse
        await bench.swipe()
        await csms.silence(120, "Authorize")
        sent = csms.calls("TransactionEvent", eventType="Ended")
        assert len(sent) == (2 if succeeds else 3)
        assert [later.at - earlier.at for earlier, later in pairwise(sent)] == pytest.approx(waits[: len(sent) - 1], abs=1)
        assert len({str(frame.payload) for frame in sent}) == 1
        assert len({frame.message_id for frame in sent}) == len(sent)
        await bench.unplug()
        await csms.status("Available")
        await bench.charge()


# ------------------------------------------------------------------------------------------------------------ meter values


@pytest.mark.tc("TC_J_09_CS")
async def test_sampled_values_of_updated(tmp_path: Path) -> None:
    """Every TxUpdatedInterval, trigger MeterValuePeriodic, context Sample.Periodic, TxUpdatedMeasurands."""
    measurands = "Energy.Active.Import.Register,Voltage"
    variables = {"SampledDataCtrlr.TxUpdatedInterval": "10", "SampledDataCtrlr.TxUpdatedMeasurands": measurands}
    async with laboratory(tmp_path, "2.0.1", variables=variables) as bench:
        csms = bench.csms
        await bench.charge()
        assert await csms.until(lambda: len(csms.calls("TransactionEvent", triggerReason="MeterValuePeriodic")) >= 4, 60)
        events = csms.calls("TransactionEvent", triggerReason="MeterValuePeriodic")
        gaps = [later.at - earlier.at for earlier, later in pairwise(events)]
        assert gaps == pytest.approx([10] * len(gaps), abs=1)
        for frame in events:
            values = [value for group in frame["meterValue"] for value in group["sampledValue"]]
            assert {value["context"] for value in values} == {"Sample.Periodic"}
            assert {value["measurand"] for value in values} == set(measurands.split(","))


@pytest.mark.tc("TC_J_10_CS")
async def test_sampled_values_of_ended(tmp_path: Path) -> None:
    """Ended carries TxEndedMeasurands: the begin, every TxEndedInterval, the end."""
    variables = {"SampledDataCtrlr.TxEndedInterval": "10"}
    async with laboratory(tmp_path, "2.0.1", variables=variables) as bench:
        await bench.charge()
        await bench.csms.silence(35, "Authorize")
        await bench.swipe()
        ended = await event(bench, "Ended")
        contexts = [context for context, _ in sampled(ended)]
        assert contexts[0] == "Transaction.Begin"
        assert contexts[-1] == "Transaction.End"
        assert contexts.count("Sample.Periodic") >= 3
        registers = [value for _, value in sampled(ended)]
        assert registers == sorted(registers)


@pytest.mark.tc("TC_J_01_CS")
async def test_aligned_values_when_idle(tmp_path: Path) -> None:
    """MeterValues on the clock's grid, context Sample.Clock."""
    variables = {"AlignedDataCtrlr.Interval": "20", "AlignedDataCtrlr.Measurands": "Energy.Active.Import.Register,Voltage"}
    async with laboratory(tmp_path, "2.0.1", variables=variables) as bench:
        frame = await bench.csms.expect("MeterValues", evseId=1)
        values = [value for group in frame["meterValue"] for value in group["sampledValue"]]
        assert {value["context"] for value in values} == {"Sample.Clock"}
        assert {value["measurand"] for value in values} == {"Energy.Active.Import.Register", "Voltage"}
        await bench.csms.expect("MeterValues", evseId=1, after=frame.number + 1, within=21)


@pytest.mark.tc("TC_J_02_CS")
async def test_aligned_values_in_a_transaction(tmp_path: Path) -> None:
    """In TransactionEvent Updated with trigger MeterValueClock."""
    async with laboratory(tmp_path, "2.0.1", variables={"AlignedDataCtrlr.Interval": "20"}) as bench:
        transaction_id = await bench.charge()
        frame = await event(bench, "Updated", "MeterValueClock", transactionId=transaction_id)
        assert {context for context, _ in sampled(frame)} == {"Sample.Clock"}
        assert not bench.csms.calls("MeterValues")
