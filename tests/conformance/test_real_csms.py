"""What central systems in the field do, and a charger has to live with: strange numbers, lost answers, questions at any moment."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.csms import Kind, Payload, Refusal
from tests.conformance.laboratory import Bench, laboratory

pytestmark = pytest.mark.virtual_time


async def stop_and_unplug(bench: Bench) -> None:
    await bench.swipe()
    await bench.until_async(bench.is_open)
    await bench.csms.expect("StopTransaction" if bench.version == "1.6" else "TransactionEvent")
    await bench.unplug()
    await bench.csms.status("Available")


@pytest.mark.parametrize("number", [0, -1, -5, 2**31, 2**53, 10**17])
@pytest.mark.pain(21)
async def test_a_strange_transaction_number_is_used_as_it_is(tmp_path: Path, number: int) -> None:
    """It is the CSMS's own; the Stop carries it exactly once."""
    async with laboratory(tmp_path, "1.6", variables={"MeterValueSampleInterval": "5"}) as bench:
        csms = bench.csms
        csms.on["StartTransaction"] = lambda _: {"transactionId": number, "idTagInfo": {"status": "Accepted"}}
        await bench.plug_in()
        await csms.status("Preparing")
        await bench.swipe()
        await csms.expect("MeterValues", transactionId=number)
        await bench.swipe()
        await csms.expect("StopTransaction", transactionId=number)
        await csms.silence(10, "StopTransaction")


@pytest.mark.pain(21)
async def test_the_same_number_for_two_transactions(tmp_path: Path) -> None:
    """A CSMS that numbers by the second gives it twice: each session is ended once, and a remote stop ends the one that runs."""
    async with laboratory(tmp_path, "1.6") as bench:
        csms = bench.csms
        csms.on["StartTransaction"] = lambda _: {"transactionId": 1_700_000_000, "idTagInfo": {"status": "Accepted"}}
        csms.transactions.append(1_700_000_000)
        await bench.charge()
        await stop_and_unplug(bench)
        await bench.charge()
        assert await csms.call("RemoteStopTransaction", {"transactionId": 1_700_000_000}) == {"status": "Accepted"}
        await csms.expect("StopTransaction", transactionId=1_700_000_000, reason="Remote")
        assert len(csms.calls("StopTransaction", after=0)) == 2


@pytest.mark.parametrize("verdict", ["ConcurrentTx", "Accepted"])
async def test_the_answer_to_a_start_is_lost(tmp_path: Path, verdict: str) -> None:
    """Sent again after the reconnect: the same message id, the same bytes. ConcurrentTx about one's own session does not end it."""
    async with laboratory(tmp_path, "1.6") as bench:
        csms = bench.csms

        def lose(_: Payload) -> Payload:
            csms.on["StartTransaction"] = lambda _: {"transactionId": 0, "idTagInfo": {"status": verdict}}
            csms.link.transport.abort()
            return csms.silent()

        csms.on["StartTransaction"] = lose
        await bench.plug_in()
        await csms.status("Preparing")
        await bench.swipe()
        assert await csms.until(lambda: len(csms.calls("StartTransaction")) == 2)
        first, second = csms.calls("StartTransaction")
        assert (first.message_id, first.payload) == (second.message_id, second.payload)
        assert first.link != second.link
        await csms.silence(20, "StopTransaction")
        assert not await bench.is_open()
        await bench.swipe()
        await csms.expect("StopTransaction", transactionId=0)
        await csms.silence(10, "StopTransaction")


async def test_the_answer_to_an_event_is_lost(tmp_path: Path) -> None:
    """2.0.1: a new message id, the same event; only `offline` tells that it waited."""
    async with laboratory(tmp_path, "2.0.1") as bench:
        csms = bench.csms
        answer = csms.on["TransactionEvent"]

        def lose(_: Payload) -> Payload:
            csms.on["TransactionEvent"] = answer
            csms.link.transport.abort()
            return csms.silent()

        csms.on["TransactionEvent"] = lose
        await bench.plug_in()
        await csms.status("Occupied")
        await bench.swipe()
        assert await csms.until(lambda: len(csms.calls("TransactionEvent", eventType="Started")) == 2)
        first, second = csms.calls("TransactionEvent", eventType="Started")
        assert first.message_id != second.message_id
        assert second.payload == {**first.payload, "offline": True}
        await csms.silence(20, "BootNotification")
        assert not await bench.is_open()


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_questions_while_our_own_call_is_unanswered(tmp_path: Path, version: str) -> None:
    """The CSMS asks before it answers the first StatusNotification: every question is answered meanwhile, and no second CALL is sent."""
    async with laboratory(tmp_path, version, boots=False) as bench:
        csms = bench.csms
        held: list[str] = []

        def hold(_: Payload) -> Payload:
            if not held:
                held.append(csms.frames[-1].message_id)
                return csms.silent()
            return {}

        csms.on["StatusNotification"] = hold
        await csms.expect("StatusNotification")
        if version == "1.6":
            questions: list[tuple[str, dict[str, Any]]] = [
                ("GetConfiguration", {}),
                ("ChangeConfiguration", {"key": "WebSocketPingInterval", "value": "30"}),
                ("ChangeAvailability", {"connectorId": 0, "type": "Operative"}),
                ("TriggerMessage", {"requestedMessage": "StatusNotification", "connectorId": 1}),
            ]
        else:
            questions = [
                ("ChangeAvailability", {"operationalStatus": "Operative"}),
                ("TriggerMessage", {"requestedMessage": "StatusNotification", "evse": {"id": 1, "connectorId": 1}}),
                ("ClearCache", {}),
            ]
        for action, payload in questions:
            await csms.call(action, payload, within=1)
        assert len(csms.calls("StatusNotification", "Heartbeat")) == 1, "one CALL at a time"
        await csms.link.send(json.dumps([3, held[0], {}]))
        await csms.status("Available", within=2)


async def test_every_measurand_there_is(tmp_path: Path) -> None:
    """Home Assistant asks for all of them and tries fewer when that is Rejected: the answer is a word, and the value stays."""
    everything = (
        "Current.Export,Current.Import,Current.Offered,Energy.Active.Export.Register,Energy.Active.Import.Register,"
        "Energy.Reactive.Export.Register,Energy.Reactive.Import.Register,Energy.Active.Import.Interval,Frequency,Power.Active.Export,"
        "Power.Active.Import,Power.Factor,Power.Offered,Power.Reactive.Import,RPM,SoC,Temperature,Voltage"
    )
    async with laboratory(tmp_path, "1.6") as bench:
        csms = bench.csms
        key = "MeterValuesSampledData"
        before = await csms.call("GetConfiguration", {"key": [key]})
        assert await csms.call("ChangeConfiguration", {"key": key, "value": everything}) == {"status": "Rejected"}
        assert await csms.call("GetConfiguration", {"key": [key]}) == before
        assert await csms.call("ChangeConfiguration", {"key": key, "value": "Voltage"}) == {"status": "Accepted"}


async def test_errors_to_what_is_not_a_transaction_block_nothing(tmp_path: Path) -> None:
    """CALLERRORs to StatusNotification and Heartbeat are heard and forgotten; a session goes its way."""
    async with laboratory(tmp_path, "1.6") as bench:
        csms = bench.csms

        def refuse(_: Payload) -> Payload:
            raise Refusal("InternalError", "no")

        csms.on["StatusNotification"] = csms.on["Heartbeat"] = refuse
        await bench.charge()
        await stop_and_unplug(bench)
        assert len(csms.links) == 1


async def test_cards_with_strange_expiry_dates(tmp_path: Path) -> None:
    """The first and the last day that there is, no zone, a date only, seven digits of a second: the card is Accepted, so it charges."""
    dates = [
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59-14:00",
        "0001-01-01T00:00:00+14:00",
        "2099-01-01T00:00:00",
        "2099-01-01",
        "2099-01-01T00:00:00.1234567Z",
        "next year",
    ]
    async with laboratory(tmp_path, "1.6") as bench:
        csms = bench.csms
        for number, date in enumerate(dates):
            csms.on["Authorize"] = lambda _, date=date: csms.verdict("Accepted", expiryDate=date)
            csms.mark()
            await bench.swipe(f"CARD{number}")
            await csms.status("Preparing")
            await bench.swipe(f"CARD{number}")
            await csms.status("Available")
        assert not [frame for frame in csms.frames if frame.is_of_station and frame.kind is Kind.ERROR]
