"""OCPP 2.0.1: boot, variables, reset (B), remote control (F), availability (G), data transfer (P)."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Response

from tests.conformance.csms import Payload, Refusal, sampled
from tests.conformance.laboratory import CARD, Bench, laboratory
from tests.conformance.test_v201_sessions import event, token_of

pytestmark = pytest.mark.virtual_time

REMOTE = {"idToken": "REMOTE1", "type": "Central"}
START = {"idToken": REMOTE, "remoteStartId": 77, "evseId": 1}


def named(name: str) -> Payload:
    """`Component.Variable[instance]` as 2.0.1 writes it."""
    match = re.fullmatch(r"(\w+)\.(\w+)(?:\[(\w+)\])?", name)
    assert match is not None
    component, variable, instance = match.groups()
    return {"component": {"name": component}, "variable": {"name": variable, **({"instance": instance} if instance else {})}}


async def get(bench: Bench, *names: str, **more: Any) -> list[Payload]:
    answer = await bench.csms.call("GetVariables", {"getVariableData": [{**named(name), **more} for name in names]})
    return list(answer["getVariableResult"])


async def put(bench: Bench, values: dict[str, str], **more: Any) -> list[str]:
    data = [{**named(name), "attributeValue": value, **more} for name, value in values.items()]
    answer = await bench.csms.call("SetVariables", {"setVariableData": data})
    return [result["attributeStatus"] for result in answer["setVariableResult"]]


async def value(bench: Bench, name: str) -> str:
    (result,) = await get(bench, name)
    assert result["attributeStatus"] == "Accepted"
    return str(result["attributeValue"])


# -------------------------------------------------------------------------------------------------------------------- boot


@pytest.mark.tc("TC_B_01_CS")
async def test_boot_accepted(tmp_path: Path) -> None:
    """BootNotification PowerUp, the state of every connector, heartbeats at the interval of the answer."""
    async with laboratory(tmp_path, "2.0.1", boots=False, evses=2) as bench:
        csms = bench.csms
        csms.interval_s = 25
        boot = await csms.expect("BootNotification", reason="PowerUp")
        assert boot["chargingStation"] == {
            "vendorName": "Example",
            "model": "AC22",
            "serialNumber": "SN-0001",
            "firmwareVersion": boot["chargingStation"]["firmwareVersion"],
        }
        for evse in (1, 2):
            await csms.status("Available", evseId=evse, connectorId=1)
        first = await csms.expect("Heartbeat")
        second = await csms.expect("Heartbeat", after=first.number + 1)
        assert second.at - first.at == pytest.approx(25, abs=1)


@pytest.mark.tc("TC_B_02_CS", partly="GetBaseReport is not built")
async def test_boot_pending(tmp_path: Path) -> None:
    """Variables are read and written, what is triggered is sent and nothing else, nobody charges; then BootNotification again."""
    async with laboratory(tmp_path, "2.0.1", boots=False) as bench:
        csms = bench.csms
        csms.on["BootNotification"] = lambda _: csms.boot_answer("Pending", 40)
        first = await csms.expect("BootNotification")
        csms.mark()
        csms.on["BootNotification"] = lambda _: csms.boot_answer("Accepted")
        assert await put(bench, {"SampledDataCtrlr.TxUpdatedInterval": "30"}) == ["Accepted"]
        assert await value(bench, "SampledDataCtrlr.TxUpdatedInterval") == "30"
        assert (await csms.call("RequestStartTransaction", START))["status"] == "Rejected"
        assert (await csms.call("RequestStopTransaction", {"transactionId": "x"}))["status"] == "Rejected"
        with pytest.raises(Refusal, match="NotSupported"):
            await csms.call("GetBaseReport", {"requestId": 1, "reportBase": "FullInventory"})
        assert (await csms.call("TriggerMessage", {"requestedMessage": "Heartbeat"}))["status"] == "Accepted"
        await csms.expect("Heartbeat")
        await bench.plug_in()
        await bench.swipe()
        second = await csms.expect("BootNotification", within=60)
        assert 39.9 <= second.at - first.at < 48
        assert [frame.action for frame in csms.calls()][:2] == ["Heartbeat", "BootNotification"]
        await csms.status("Occupied")


@pytest.mark.tc("TC_B_03_CS")
async def test_boot_rejected(tmp_path: Path) -> None:
    """Nothing until the interval has passed; then BootNotification again."""
    async with laboratory(tmp_path, "2.0.1", boots=False) as bench:
        csms = bench.csms
        csms.on["BootNotification"] = lambda _: csms.boot_answer("Rejected", 20)
        first = await csms.expect("BootNotification")
        csms.mark()
        await bench.plug_in()
        await bench.swipe()
        second = await csms.expect("BootNotification", within=40)
        assert 19.9 <= second.at - first.at < 25
        assert csms.calls() == [second]


@pytest.mark.tc("TC_B_30_CS")
async def test_calls_before_the_station_is_accepted(tmp_path: Path) -> None:
    """Rejected: CALLERROR SecurityError to every CALL (B03.FR.08)."""
    async with laboratory(tmp_path, "2.0.1", boots=False) as bench:
        csms = bench.csms
        csms.on["BootNotification"] = lambda _: csms.boot_answer("Rejected", 60)
        await csms.expect("BootNotification")
        variables: dict[str, Any] = {"getVariableData": [named("OCPPCommCtrlr.HeartbeatInterval")]}
        for action, payload in (("GetVariables", variables), ("RequestStartTransaction", START), ("Reset", {"type": "Immediate"})):
            with pytest.raises(Refusal, match="SecurityError"):
                await csms.call(action, payload)
        assert bench.starts == 1


# --------------------------------------------------------------------------------------------------------------- variables


@pytest.mark.tc("TC_B_06_CS", "TC_B_07_CS")
async def test_get_variables(tmp_path: Path) -> None:
    """One, and several with one result for each, in the order of the question."""
    async with laboratory(tmp_path, "2.0.1") as bench:
        assert await value(bench, "OCPPCommCtrlr.OfflineThreshold") == "300"
        names = ["OCPPCommCtrlr.MessageAttempts[TransactionEvent]", "TxCtrlr.TxStartPoint", "AuthCtrlr.LocalPreAuthorize"]
        results = await get(bench, *names)
        assert [(r["component"]["name"], r["variable"]["name"], r["attributeStatus"]) for r in results] == [
            ("OCPPCommCtrlr", "MessageAttempts", "Accepted"),
            ("TxCtrlr", "TxStartPoint", "Accepted"),
            ("AuthCtrlr", "LocalPreAuthorize", "Accepted"),
        ]
        assert [r["attributeValue"] for r in results] == ["5", "PowerPathClosed", "false"]


@pytest.mark.parametrize(
    ("name", "more", "status"),
    [
        pytest.param("NoSuchCtrlr.Interval", {}, "UnknownComponent", marks=pytest.mark.tc("TC_B_32_CS", "TC_B_35_CS")),
        pytest.param("OCPPCommCtrlr.NoSuchVariable", {}, "UnknownVariable", marks=pytest.mark.tc("TC_B_33_CS", "TC_B_36_CS")),
        pytest.param(
            "OCPPCommCtrlr.OfflineThreshold",
            {"attributeType": "Target"},
            "NotSupportedAttributeType",
            marks=pytest.mark.tc("TC_B_34_CS", "TC_B_37_CS"),
        ),
    ],
)
async def test_what_there_is_not(tmp_path: Path, name: str, more: dict[str, str], status: str) -> None:
    """Said in the same words by GetVariables and SetVariables."""
    async with laboratory(tmp_path, "2.0.1") as bench:
        (result,) = await get(bench, name, **more)
        assert result["attributeStatus"] == status
        assert "attributeValue" not in result
        assert await put(bench, {name: "5"}, **more) == [status]


@pytest.mark.tc("TC_B_09_CS", "TC_B_10_CS")
async def test_set_variables(tmp_path: Path) -> None:
    """One, and several with one result for each; they read back, also after a restart."""
    async with laboratory(tmp_path, "2.0.1") as bench:
        assert await put(bench, {"OCPPCommCtrlr.OfflineThreshold": "120"}) == ["Accepted"]
        mixed = {"TxCtrlr.EVConnectionTimeOut": "33", "TxCtrlr.TxStartPoint": "Authorized", "AuthCtrlr.LocalPreAuthorize": "true"}
        assert await put(bench, mixed) == ["Accepted", "Rejected", "Accepted"]
        assert (await bench.csms.call("Reset", {"type": "Immediate"}))["status"] == "Accepted"
        await bench.restarted()
        assert await value(bench, "OCPPCommCtrlr.OfflineThreshold") == "120"
        assert await value(bench, "TxCtrlr.EVConnectionTimeOut") == "33"
        assert await value(bench, "TxCtrlr.TxStartPoint") == "PowerPathClosed"


BAD_VALUES = [
    ("TxCtrlr.EVConnectionTimeOut", "soon"),
    ("TxCtrlr.EVConnectionTimeOut", "1.5"),
    ("TxCtrlr.EVConnectionTimeOut", "-3"),
    ("AuthCtrlr.LocalPreAuthorize", "maybe"),
    ("SampledDataCtrlr.TxUpdatedMeasurands", "Energy.Active.Import.Register,Nonsense"),
]


@pytest.mark.tc("TC_B_11_CS")
async def test_badly_formed_values(tmp_path: Path) -> None:
    """Rejected, and the value stays."""
    async with laboratory(tmp_path, "2.0.1") as bench:
        for name, wrong in BAD_VALUES:
            before = await value(bench, name)
            assert await put(bench, {name: wrong}) == ["Rejected"], (name, wrong)
            assert await value(bench, name) == before


@pytest.mark.tc("TC_B_39_CS")
async def test_a_read_only_variable(tmp_path: Path) -> None:
    """Rejected."""
    async with laboratory(tmp_path, "2.0.1") as bench:
        assert await put(bench, {"SecurityCtrlr.SecurityProfile": "1"}) == ["Rejected"]
        assert await value(bench, "SecurityCtrlr.SecurityProfile") == "0"


# ------------------------------------------------------------------------------------------------------------------- reset


@pytest.mark.tc("TC_B_20_CS")
@pytest.mark.parametrize("kind", ["OnIdle", "Immediate"])
async def test_reset_when_idle(tmp_path: Path, kind: str) -> None:
    """Accepted, restart, BootNotification with the reset as its reason, every connector Available."""
    async with laboratory(tmp_path, "2.0.1", evses=2) as bench:
        csms = bench.csms
        assert (await csms.call("Reset", {"type": kind}))["status"] == "Accepted"
        boot = await csms.expect("BootNotification", within=60)
        assert boot["reason"] in {"RemoteReset", "ScheduledReset"}
        for evse in (1, 2):
            await csms.status("Available", evseId=evse)
        assert bench.starts == 2


@pytest.mark.tc("TC_B_21_CS")
async def test_reset_on_idle_with_a_transaction(tmp_path: Path) -> None:
    """Scheduled; the transaction goes on, nothing new begins, and the restart comes after its end."""
    async with laboratory(tmp_path, "2.0.1", evses=2) as bench:
        csms = bench.csms
        await bench.charge()
        assert (await csms.call("Reset", {"type": "OnIdle"}))["status"] == "Scheduled"
        await csms.silence(30, "BootNotification", "TransactionEvent")
        await bench.swipe(CARD, 1)
        ended = await event(bench, "Ended", "StopAuthorized")
        boot = await csms.expect("BootNotification", within=60)
        assert ended.number < boot.number


@pytest.mark.tc("TC_B_41_CS")
async def test_reset_on_idle_with_two_transactions(tmp_path: Path) -> None:
    """It waits for the last one."""
    async with laboratory(tmp_path, "2.0.1", evses=2) as bench:
        csms = bench.csms
        await bench.charge(CARD, 1)
        await bench.charge("0400000002", 2)
        assert (await csms.call("Reset", {"type": "OnIdle"}))["status"] == "Scheduled"
        await bench.swipe(CARD, 1)
        await event(bench, "Ended")
        await csms.silence(30, "BootNotification")
        await bench.swipe("0400000002", 2)
        await csms.expect("BootNotification", within=60)


@pytest.mark.tc("TC_B_22_CS")
async def test_reset_at_once_with_a_transaction(tmp_path: Path) -> None:
    """Accepted, Ended with ResetCommand and ImmediateReset, restart."""
    async with laboratory(tmp_path, "2.0.1") as bench:
        csms = bench.csms
        transaction_id = await bench.charge()
        assert (await csms.call("Reset", {"type": "Immediate"}))["status"] == "Accepted"
        ended = await event(bench, "Ended", "ResetCommand", transactionId=transaction_id)
        assert ended["transactionInfo"]["stoppedReason"] == "ImmediateReset"
        boot = await csms.expect("BootNotification", within=60)
        assert ended.number < boot.number
        await csms.status("Occupied")
        await csms.silence(20, "TransactionEvent")


@pytest.mark.tc("TC_B_28_CS", "TC_B_29_CS")
@pytest.mark.parametrize("charges", [False, True], ids=["idle", "charging"])
async def test_reset_of_one_evse_is_rejected(tmp_path: Path, charges: bool) -> None:
    """This station resets as a whole; a transaction goes on."""
    async with laboratory(tmp_path, "2.0.1", evses=2) as bench:
        if charges:
            await bench.charge()
        assert (await bench.csms.call("Reset", {"type": "Immediate", "evseId": 1}))["status"] == "Rejected"
        await bench.csms.silence(20)
        assert bench.starts == 1


@pytest.mark.tc("TC_B_23_CS", "TC_G_18_CS", "TC_G_19_CS", "TC_G_21_CS")
@pytest.mark.parametrize("evse", [{}, {"evse": {"id": 1}}, {"evse": {"id": 1, "connectorId": 1}}], ids=["station", "EVSE", "connector"])
async def test_unavailable_survives_a_reset(tmp_path: Path, evse: Payload) -> None:
    """Inoperative before, Unavailable after."""
    async with laboratory(tmp_path, "2.0.1", evses=2) as bench:
        csms = bench.csms
        change = {"operationalStatus": "Inoperative", **evse}
        assert (await csms.call("ChangeAvailability", change))["status"] == "Accepted"
        await csms.status("Unavailable", evseId=1)
        await csms.call("Reset", {"type": "Immediate"})
        boot = await csms.expect("BootNotification", within=60)
        await csms.expect("StatusNotification", after=boot.number, evseId=1, connectorStatus="Unavailable")
        await csms.expect("StatusNotification", after=boot.number, evseId=2, connectorStatus="Available" if evse else "Unavailable")


# ------------------------------------------------------------------------------------------------------------- the network


@pytest.mark.parametrize(
    "long", [pytest.param(True, marks=pytest.mark.tc("TC_B_51_CS")), pytest.param(False, marks=pytest.mark.tc("TC_B_52_CS"))]
)
async def test_status_after_a_time_offline(tmp_path: Path, long: bool) -> None:
    """Longer than OfflineThreshold: every connector; shorter: only what changed."""
    async with laboratory(tmp_path, "2.0.1", evses=2, variables={"OCPPCommCtrlr.OfflineThreshold": "60"}) as bench:
        csms = bench.csms
        await bench.network_down()
        await bench.plug_in(2)
        await csms.silence(100 if long else 20)
        await bench.network_up()
        await csms.status("Occupied", evseId=2)
        await csms.silence(10)
        assert sorted(frame["evseId"] for frame in csms.calls("StatusNotification")) == ([1, 2] if long else [2])
        assert not csms.calls("BootNotification")


@pytest.mark.tc("TC_B_57_CS")
async def test_back_off(tmp_path: Path) -> None:
    """RetryBackOffWaitMinimum and a random part, doubled with a fresh random part RetryBackOffRepeatTimes times, then the same."""
    variables = {
        "OCPPCommCtrlr.RetryBackOffWaitMinimum": "4",
        "OCPPCommCtrlr.RetryBackOffRandomRange": "2",
        "OCPPCommCtrlr.RetryBackOffRepeatTimes": "3",
    }
    async with laboratory(tmp_path, "2.0.1", variables=variables) as bench:
        csms = bench.csms
        csms.refusals = [Response(503, "-", Headers({"Content-Length": "0"}), b"") for _ in range(6)]
        lost_at = bench.now()
        csms.link.transport.abort()
        assert await csms.until(lambda: not csms.refusals and bench.link_state == "accepted", within=600)
        times = [lost_at, *csms.requested_at[1:]]
        waits = [later - earlier for earlier, later in pairwise(times)]
        low, high = 4.0, 6.0
        for number, wait in enumerate(waits):
            assert low - 0.1 <= wait <= high + 0.5, (number, waits)
            if number < 3:
                low, high = 2 * wait, 2 * wait + 2
            else:
                low = high = waits[3]


# ---------------------------------------------------------------------------------------------------------- remote control


@pytest.mark.tc("TC_F_01_CS")
@pytest.mark.parametrize("asks", [False, True], ids=["AuthorizeRemoteStart false", "AuthorizeRemoteStart true"])
async def test_remote_start_with_the_cable_in(tmp_path: Path, asks: bool) -> None:
    """Accepted, Authorize where the variable asks for it, Started with RemoteStart and remoteStartId, Charging."""
    async with laboratory(tmp_path, "2.0.1", variables={"AuthCtrlr.AuthorizeRemoteStart": str(asks).lower()}) as bench:
        csms = bench.csms
        await bench.plug_in()
        await csms.status("Occupied")
        assert (await csms.call("RequestStartTransaction", START))["status"] == "Accepted"
        started = await event(bench, "Started", "RemoteStart", remoteStartId=77)
        assert started["idToken"] == REMOTE
        await event(bench, "Updated", chargingState="Charging")
        assert bool(csms.calls("Authorize", idToken=REMOTE)) is asks


@pytest.mark.parametrize(
    "asks", [pytest.param(True, marks=pytest.mark.tc("TC_F_02_CS")), pytest.param(False, marks=pytest.mark.tc("TC_F_03_CS"))]
)
async def test_remote_start_first(tmp_path: Path, asks: bool) -> None:
    """Accepted, and the session begins with the cable."""
    async with laboratory(tmp_path, "2.0.1", variables={"AuthCtrlr.AuthorizeRemoteStart": str(asks).lower()}) as bench:
        csms = bench.csms
        assert (await csms.call("RequestStartTransaction", START))["status"] == "Accepted"
        await csms.silence(5, "TransactionEvent")
        assert bool(csms.calls("Authorize", idToken=REMOTE)) is asks
        await bench.plug_in()
        started = await event(bench, "Started")
        assert started["transactionInfo"]["remoteStartId"] == 77
        assert started["idToken"] == REMOTE
        await event(bench, "Updated", chargingState="Charging")


@pytest.mark.tc("TC_F_04_CS")
async def test_remote_start_first_and_no_cable(tmp_path: Path) -> None:
    """EVConnectionTimeOut: the authorization is gone; no transaction had started, so none ends."""
    async with laboratory(tmp_path, "2.0.1", variables={"TxCtrlr.EVConnectionTimeOut": "10"}) as bench:
        assert (await bench.csms.call("RequestStartTransaction", START))["status"] == "Accepted"
        await bench.csms.silence(11)
        await bench.plug_in()
        await bench.csms.silence(20, "TransactionEvent")


@pytest.mark.tc("TC_F_08_CS", "TC_E_21_CS")
async def test_remote_stop(tmp_path: Path) -> None:
    """Accepted, Ended with RemoteStop and Remote, energy off."""
    async with laboratory(tmp_path, "2.0.1") as bench:
        transaction_id = await bench.charge()
        assert (await bench.csms.call("RequestStopTransaction", {"transactionId": transaction_id}))["status"] == "Accepted"
        ended = await event(bench, "Ended", "RemoteStop", transactionId=transaction_id)
        assert ended["transactionInfo"]["stoppedReason"] == "Remote"
        assert await bench.is_open()


@pytest.mark.tc("TC_F_09_CS")
async def test_remote_stop_of_an_unknown_transaction(tmp_path: Path) -> None:
    """Rejected."""
    async with laboratory(tmp_path, "2.0.1") as bench:
        await bench.charge()
        assert (await bench.csms.call("RequestStopTransaction", {"transactionId": "nobody"}))["status"] == "Rejected"
        await bench.csms.silence(10, "TransactionEvent")


async def test_remote_start_on_an_evse_in_use(tmp_path: Path) -> None:
    """F01.FR.13: Rejected, with the transaction that runs."""
    async with laboratory(tmp_path, "2.0.1") as bench:
        transaction_id = await bench.charge()
        answer = await bench.csms.call("RequestStartTransaction", START)
        assert (answer["status"], answer["transactionId"]) == ("Rejected", transaction_id)
        await bench.csms.silence(10, "TransactionEvent")


@pytest.mark.tc("TC_F_05_CS")
async def test_unlock_during_a_transaction(tmp_path: Path) -> None:
    """OngoingAuthorizedTransaction, and the plug stays locked."""
    async with laboratory(tmp_path, "2.0.1", socket=True) as bench:
        await bench.charge()
        answer = await bench.csms.call("UnlockConnector", {"evseId": 1, "connectorId": 1})
        assert answer["status"] == "OngoingAuthorizedTransaction"
        await bench.csms.silence(10, "TransactionEvent")
        assert not await bench.is_unlocked()


@pytest.mark.tc("TC_F_06_CS", "TC_F_07_CS")
@pytest.mark.parametrize("plugged", [False, True], ids=["no cable", "cable in"])
async def test_unlock_without_a_transaction(tmp_path: Path, plugged: bool) -> None:
    """Unlocked."""
    async with laboratory(tmp_path, "2.0.1", socket=True) as bench:
        if plugged:
            await bench.plug_in()
            await bench.csms.status("Occupied")
        assert (await bench.csms.call("UnlockConnector", {"evseId": 1, "connectorId": 1}))["status"] == "Unlocked"
        assert await bench.is_unlocked()


@pytest.mark.tc("TC_F_10_CS")
@pytest.mark.parametrize("where", [{"evseId": 1, "connectorId": 2}, {"evseId": 2, "connectorId": 1}])
async def test_unlock_of_an_unknown_connector(tmp_path: Path, where: Payload) -> None:
    """UnknownConnector."""
    async with laboratory(tmp_path, "2.0.1", socket=True) as bench:
        assert (await bench.csms.call("UnlockConnector", where))["status"] == "UnknownConnector"


@pytest.mark.tc("TC_F_11_CS", "TC_F_12_CS")
@pytest.mark.parametrize("one", [True, False], ids=["one EVSE", "all EVSEs"])
async def test_trigger_of_meter_values(tmp_path: Path, one: bool) -> None:
    """One MeterValues for each EVSE that was asked for, context Trigger."""
    async with laboratory(tmp_path, "2.0.1", evses=2) as bench:
        asked: Payload = {"requestedMessage": "MeterValues", **({"evse": {"id": 1}} if one else {})}
        assert (await bench.csms.call("TriggerMessage", asked))["status"] == "Accepted"
        await bench.csms.silence(5, "Heartbeat")
        frames = bench.csms.calls("MeterValues")
        assert sorted(frame["evseId"] for frame in frames) == ([1] if one else [1, 2])
        assert {context for frame in frames for context, _ in sampled(frame)} == {"Trigger"}


@pytest.mark.tc("TC_F_20_CS")
async def test_trigger_of_a_heartbeat(tmp_path: Path) -> None:
    """Accepted, and it comes."""
    async with laboratory(tmp_path, "2.0.1") as bench:
        assert (await bench.csms.call("TriggerMessage", {"requestedMessage": "Heartbeat"}))["status"] == "Accepted"
        await bench.csms.expect("Heartbeat", within=5)


@pytest.mark.tc("TC_F_23_CS", "TC_F_24_CS")
@pytest.mark.parametrize("status", ["Available", "Occupied"])
async def test_trigger_of_a_status(tmp_path: Path, status: str) -> None:
    """Accepted, and the present status comes."""
    async with laboratory(tmp_path, "2.0.1") as bench:
        if status == "Occupied":
            await bench.plug_in()
            await bench.csms.status("Occupied")
            bench.csms.mark()
        asked = {"requestedMessage": "StatusNotification", "evse": {"id": 1, "connectorId": 1}}
        assert (await bench.csms.call("TriggerMessage", asked))["status"] == "Accepted"
        await bench.csms.status(status, within=5)


@pytest.mark.tc("TC_F_26_CS")
async def test_trigger_of_a_boot_when_accepted(tmp_path: Path) -> None:
    """Rejected (F06.FR.17), and none is sent."""
    async with laboratory(tmp_path, "2.0.1") as bench:
        assert (await bench.csms.call("TriggerMessage", {"requestedMessage": "BootNotification"}))["status"] == "Rejected"
        await bench.csms.silence(10)


@pytest.mark.tc("TC_F_27_CS")
async def test_trigger_of_what_the_station_never_sends(tmp_path: Path) -> None:
    """NotImplemented."""
    async with laboratory(tmp_path, "2.0.1") as bench:
        answer = await bench.csms.call("TriggerMessage", {"requestedMessage": "SignCombinedCertificate"})
        assert answer["status"] == "NotImplemented"


# ------------------------------------------------------------------------------------------------------------ availability

WHERE = {"station": {}, "EVSE": {"evse": {"id": 1}}, "connector": {"evse": {"id": 1, "connectorId": 1}}}


@pytest.mark.parametrize(
    "what",
    [
        pytest.param("EVSE", marks=pytest.mark.tc("TC_G_03_CS", "TC_G_04_CS", "TC_G_09_CS", "TC_G_10_CS")),
        pytest.param("station", marks=pytest.mark.tc("TC_G_05_CS", "TC_G_06_CS", "TC_G_12_CS", "TC_G_13_CS")),
        pytest.param("connector", marks=pytest.mark.tc("TC_G_07_CS", "TC_G_08_CS", "TC_G_15_CS", "TC_G_16_CS")),
    ],
)
async def test_change_availability(tmp_path: Path, what: str) -> None:
    """Accepted each time; a status is sent when it changes, and none when it was so before."""
    async with laboratory(tmp_path, "2.0.1", evses=2) as bench:
        csms = bench.csms

        async def change(status: str) -> None:
            csms.mark()
            answer = await csms.call("ChangeAvailability", {"operationalStatus": status, **WHERE[what]})
            assert answer["status"] == "Accepted"

        await change("Operative")
        await csms.silence(5, "StatusNotification")
        for status, shown in (("Inoperative", "Unavailable"), ("Operative", "Available")):
            await change(status)
            for evse in (1, 2) if what == "station" else (1,):
                await csms.status(shown, evseId=evse)
            await change(status)
            await csms.silence(5, "StatusNotification")
            assert not csms.calls("StatusNotification")


@pytest.mark.parametrize(
    "what",
    [
        pytest.param("EVSE", marks=pytest.mark.tc("TC_G_11_CS")),
        pytest.param("station", marks=pytest.mark.tc("TC_G_14_CS")),
        pytest.param("connector", marks=pytest.mark.tc("TC_G_17_CS")),
    ],
)
async def test_change_availability_during_a_transaction(tmp_path: Path, what: str) -> None:
    """Scheduled: free EVSEs at once, the busy one after its transaction."""
    async with laboratory(tmp_path, "2.0.1", evses=2) as bench:
        csms = bench.csms
        transaction_id = await bench.charge()
        answer = await csms.call("ChangeAvailability", {"operationalStatus": "Inoperative", **WHERE[what]})
        assert answer["status"] == "Scheduled"
        if what == "station":
            await csms.status("Unavailable", evseId=2)
        await csms.silence(20, "TransactionEvent")
        assert not csms.calls("StatusNotification", evseId=1)
        await csms.call("RequestStopTransaction", {"transactionId": transaction_id})
        await event(bench, "Ended")
        await csms.status("Unavailable", evseId=1)


# ------------------------------------------------------------------------------------------------------------------ vendors


@pytest.mark.tc("TC_P_01_CS")
async def test_data_transfer_of_an_unknown_vendor(tmp_path: Path) -> None:
    """UnknownVendorId."""
    async with laboratory(tmp_path, "2.0.1") as bench:
        asked = {"vendorId": "com.example.nobody", "messageId": "Hello", "data": {"a": 1}}
        assert (await bench.csms.call("DataTransfer", asked))["status"] == "UnknownVendorId"


@pytest.mark.tc("TC_P_03_CS")
async def test_custom_data_is_tolerated(tmp_path: Path) -> None:
    """In a request, wherever the schema has room for it."""
    async with laboratory(tmp_path, "2.0.1") as bench:
        custom = {"vendorId": "com.example", "anything": [1, {"b": None}]}
        await bench.plug_in()
        await bench.csms.status("Occupied")
        asked = {**START, "idToken": {**REMOTE, "customData": custom}, "customData": custom}
        assert (await bench.csms.call("RequestStartTransaction", asked))["status"] == "Accepted"
        started = await event(bench, "Started", "RemoteStart")
        assert started["idToken"] != token_of()
