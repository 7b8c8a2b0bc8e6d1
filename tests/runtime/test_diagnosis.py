"""What the technician is told, by the real daemon with a simulated world, a real Modbus meter and a real portal, in virtual time."""

import asyncio
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from agent.cli import text
from agent.cli.__main__ import Refused
from agent.config.loader import load_config
from agent.diagnostics.results import RESULTS
from agent.diagnostics.server import SocketInUseError
from agent.domain.authorization import IdToken
from agent.domain.outbox import DeadLettered
from agent.domain.transaction import TransactionEventType
from agent.runtime import diagnosis
from agent.runtime.app import App
from agent.runtime.check import VALIDATORS
from agent.runtime.diagnosis import _Mask
from simulator.demo.site import Site
from simulator.portal import PaymentMethod
from tests.store import build
from tests.virtual_time import VirtualTimeLoop

ROOT = Path(__file__).parents[2]
CARD = "04A1B2C3D4E5F6"
METHODS = (
    "status",
    "why",
    "meter",
    "sessions",
    "queue",
    "deadletters",
    "deadletters.export",
    "events",
    "recorder",
    "ocpp.test",
    "config",
    "rpc.discover",
)


class Rig(Site):
    """The site with the daemon's application in this process, so that its parts can be reached."""

    app: App
    running: asyncio.Task[object]

    async def start_daemon(self) -> None:
        self.app = App(load_config(self.config, VALIDATORS))
        self.running = asyncio.create_task(self.app.run())
        is_up = asyncio.create_task(self.app.is_running.wait())
        await asyncio.wait((self.running, is_up), return_when=asyncio.FIRST_COMPLETED)
        is_up.cancel()
        if self.running.done():
            self.running.result()

    async def stop_daemon(self) -> int | None:
        if not self.running.done():
            self.app.leave()
            await self.running
        return await super().stop_daemon()

    def log_tail(self, lines: int = 30) -> str:
        return f"the last events: {[noted.remark.name for noted in self.app.engine.remarks][-lines:]}"

    async def diagnose(self, method: str, **params: object) -> Any:
        """Every answer obeys its published schema, and can be said in words."""
        answer: Any = await super().diagnose(method, **params)
        if method != "rpc.discover":
            Draft202012Validator(RESULTS[method]).validate(answer)
        assert text.render(method, answer)
        return answer

    async def why(self) -> dict[str, Any]:
        """The condition that blocks EVSE 1; it is the first of the chain that does not hold, and has a cure."""
        (answer,) = await self.diagnose("why", evse=1)
        broken = [condition for condition in answer["chain"] if not condition["holds"]]
        assert answer["blocker"] == (broken[0] if broken else None)
        assert not broken or broken[0]["cure"]
        return answer["blocker"] or {"name": None}

    async def until_blocked_by(self, name: str | None) -> dict[str, Any]:
        async def is_so() -> bool:
            return bool((await self.why())["name"] == name)

        await self.until_async(is_so, f"why says {name}")
        assert (await self.evse())["blocker"] == name, "status points at the same condition"
        return await self.why()

    async def chargerctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "agent.cli", "--socket", str(self.diagnostics_socket), *words]
        return await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True, check=False)


Story = Callable[[Rig], Awaitable[None]]


def play(tmp_path: Path, story: Story, **options: Any) -> None:
    """A story with a rig, in virtual time."""

    async def told() -> None:
        async with Rig(tmp_path, **options) as rig:
            await story(rig)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(told())


@pytest.fixture(autouse=True)
def state(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()


# --- why


def test_why_names_the_one_condition_from_the_first_boot_to_the_flowing_current(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        pending = await rig.until_blocked_by("portal")
        assert "Pending" in pending["text"]
        assert "add this charger in the portal" in pending["cure"]
        assert pending["since_s"] is not None

        await rig.open_for_business()
        nobody = await rig.until_blocked_by("vehicle")
        assert (nobody["text"], nobody["cure"]) == ("no vehicle is connected", "plug in")

        await rig.control("ev.plug_in", evse=1, delay_s=1)
        unpaid = await rig.until_blocked_by("authorization")
        assert unpaid["cure"] == "present a token, or scan the code and pay"

        await rig.portal.pay(rig.station_id, 1, PaymentMethod.VIPPS)
        await rig.until_blocked_by(None)
        assert (await rig.evse())["charging_state"] == "Charging"

        await rig.control("fault.set", kind="ground_fault", evse=1)
        fault = await rig.until_blocked_by("hardware")
        assert fault["text"].startswith("fault GroundFault: protective earth is missing")
        await asyncio.sleep(61)
        assert 61 <= (await rig.why())["since_s"] <= 65
        await rig.control("fault.clear", kind="ground_fault", evse=1)

        ended = await rig.until_blocked_by("authorization")
        assert ended["text"] == "nobody is authorized"

    play(tmp_path, story)


def test_why_names_the_silent_meter_and_where_to_look(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await rig.open_for_business()
        await rig.control("fault.set", kind="meter_silent", evse=1)
        lost = await rig.until_blocked_by("meter")
        assert "no valid answer" in lost["text"]
        assert "chargerctl meter" in lost["cure"]
        await asyncio.sleep(30)
        assert (await rig.why())["since_s"] >= 30
        answer = await rig.diagnose("meter")
        (meter,), (bus,) = answer["meters"], answer["buses"]
        assert meter["is_lost"]
        assert meter["lost_s"] >= 30
        assert meter["problem"]
        assert meter["failed_reads"] > 0
        assert meter["reading"]["energy_wh"] == "1234560.00", "the last reading stays with its age"
        assert meter["reading"]["age_ms"] > 30_000
        assert bus["timeouts"] > 0
        assert bus["devices"][0]["failures_in_a_row"] > 0
        assert (await rig.evse())["screen"] == "faulted"
        await rig.control("fault.clear", kind="meter_silent", evse=1)
        await rig.until_blocked_by("vehicle")

    play(tmp_path, story)


def test_why_names_who_switched_it_off(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await rig.open_for_business()
        await rig.portal.change_availability(rig.station_id, 1, operative=False)
        off = await rig.until_blocked_by("availability")
        assert "set inoperative by the CSMS" in off["text"]
        assert off["since_s"] is not None
        assert (await rig.evse())["operational"] == "Inoperative"
        await rig.portal.change_availability(rig.station_id, 1, operative=True)
        await rig.until_blocked_by("vehicle")

    play(tmp_path, story)


def test_why_names_a_fault_of_the_whole_station(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await rig.open_for_business()
        await rig.control("fault.set", kind="emergency_stop")
        pressed = await rig.until_blocked_by("hardware")
        assert pressed["cure"] == "release the emergency stop"
        (fault,) = (await rig.diagnose("status"))["faults"]
        assert fault["kind"] == "EmergencyStop"

    play(tmp_path, story)


def test_why_is_about_the_evse_that_was_asked_for(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await rig.open_for_business()
        await rig.control("ev.plug_in", evse=2)
        await asyncio.sleep(2)
        assert [(one["evse"], one["blocker"]["name"]) for one in await rig.diagnose("why")] == [(1, "vehicle"), (2, "authorization")]
        assert [one["evse"] for one in await rig.diagnose("why", evse=2)] == [2]
        assert [one["evse"] for one in (await rig.diagnose("meter", evse=2))["meters"]] == [2]
        for method in ("why", "meter"):
            with pytest.raises(Refused, match="there is no EVSE 3; there are 1, 2"):
                await rig.diagnose(method, evse=3)

    play(tmp_path, story, extra="[[evse]]\nid = 2\nmax_current_a = 16\nphases = 1\n")


# --- the other methods


def test_a_session_as_the_technician_sees_it(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await rig.open_for_business()
        assert await rig.diagnose("sessions") == []
        await rig.control("ev.plug_in", evse=1, delay_s=1)
        await asyncio.sleep(2)
        payment = await rig.portal.pay(rig.station_id, 1, PaymentMethod.VIPPS)
        await rig.until_blocked_by(None)
        await asyncio.sleep(30)
        evse = await rig.evse()
        assert (evse["contactor"], evse["pilot"], evse["offered_a"], evse["phase"]) == ("closed", "C", "32", "transaction")
        assert int(evse["energy_wh"]) > 0
        assert evse["power_w"] is not None
        assert str(evse["cost"]).endswith(" NOK")
        (running,) = await rig.diagnose("sessions")
        assert (running["is_running"], running["ended"], running["transaction_id"]) == (True, None, evse["transaction_id"])

        await rig.portal.stop_payment(payment.key)
        await rig.until_blocked_by("authorization")
        await asyncio.sleep(10)
        (ended,) = await rig.diagnose("sessions", limit=1)
        assert ended["transaction_id"] == running["transaction_id"]
        assert (ended["is_running"], ended["is_delivered"], ended["stopped_reason"]) == (False, True, "Remote")
        assert ended["energy_wh"] == int(float(ended["register_stop_wh"])) - int(float(ended["register_start_wh"]))
        names = [event["name"] for event in await rig.diagnose("events")]
        assert names[0] == "started"
        assert [name for name in names if name.startswith("transaction")] == ["transaction_started", "transaction_ended"]
        newest = await rig.diagnose("events", limit=2)
        assert [event["name"] for event in newest] == names[-2:]

    play(tmp_path, story)


def test_status_tells_of_connection_clock_and_storage(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await rig.open_for_business()
        status = await rig.diagnose("status")
        assert (status["station_id"], status["clock"]["trust"]) == ("CP001", "ocpp")
        assert (status["csms"]["state"], status["csms"]["subprotocol"]) == ("accepted", "ocpp2.0.1")
        assert status["storage"]["is_durable"]
        assert status["storage"]["path"].startswith(str(tmp_path))
        assert status["rss_kib"] > 1_000
        assert status["evses"][0]["qr"].endswith("/pay/CP001/1")
        assert (await rig.diagnose("ocpp.test"))["is_fine"]
        await rig.control("network.down", mode="refuse")
        await asyncio.sleep(20)
        test = await rig.diagnose("ocpp.test")
        assert [step["name"] for step in test["steps"] if step["outcome"] == "failed"] == ["tcp"]
        status = await rig.diagnose("status")
        assert status["csms"]["state"] == "offline"
        assert status["csms"]["last_error"]
        assert status["csms"]["cure"]
        assert (await rig.diagnose("queue"))["state"] == "offline"

    play(tmp_path, story)


def test_what_waits_for_the_portal_is_listed_in_order(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        rig.portal.add_card(CARD)
        await rig.open_for_business()
        await rig.control("ev.plug_in", evse=1, delay_s=1)
        await asyncio.sleep(2)
        await rig.control("rfid.swipe", token=CARD, evse=1)
        await rig.until_blocked_by(None)
        await rig.control("network.down", mode="refuse")
        await asyncio.sleep(20)
        await rig.control("rfid.swipe", token=CARD, evse=1)
        await rig.until_blocked_by("authorization")
        queue = await rig.diagnose("queue")
        assert queue["depth"] == len(queue["waiting"]) > 1
        assert [row["row"] for row in queue["waiting"]] == sorted(row["row"] for row in queue["waiting"])
        assert queue["waiting"][-1]["event"] == "Ended"
        assert all(row["at"] is not None for row in queue["waiting"])
        (session,) = await rig.diagnose("sessions")
        assert (session["is_delivered"], session["waiting_messages"]) == (False, queue["depth"])
        await rig.control("network.up")

        async def is_delivered() -> bool:
            return bool((await rig.diagnose("queue"))["depth"] == 0)

        await rig.until_async(is_delivered, "everything was delivered", timeout_s=600)

    play(tmp_path, story)


def test_a_dead_letter_is_shown_without_the_token_and_can_be_sent_again(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await rig.open_for_business()
        await rig.control("network.down", mode="refuse")
        await asyncio.sleep(20)
        store = rig.app.store
        notice = replace(build.notice(), id_token=IdToken(CARD))
        await store.commit([replace(build.record(), id_token=IdToken(CARD))], [notice])
        (row,) = await store.rows(0, 10)
        error = f"InternalError: card {CARD.lower()} is unknown"
        store.mark(DeadLettered(row_id=row.row_id, transaction_id=row.notice.transaction_id, error=error))
        await store.flush()

        queue = await rig.diagnose("queue")
        assert (queue["depth"], queue["waiting"]) == (0, [])
        (letter,) = queue["dead_letters"]
        assert letter["error"] == "InternalError: card ••• is unknown"
        assert (letter["event"], letter["seq_no"], letter["is_readable"]) == (TransactionEventType.STARTED, 0, True)
        assert (await rig.diagnose("status"))["storage"]["dead_letters"] == 1
        (session,) = await rig.diagnose("sessions")
        assert session["dead_letters"] == 1

        shown = await rig.diagnose("deadletters.show", row=letter["row"])
        assert shown["session"]["id_token"] == "…" + CARD[-4:], "who bills by hand has to find the customer"
        assert shown["letter"]["error"] == letter["error"]
        assert shown["letter"]["register_wh"] == "1000"
        assert shown["letter"]["values"][0]["measurand"] == "Energy.Active.Import.Register"
        assert await rig.diagnose("deadletters") == {"letters": [letter], "next": None}
        export = await rig.diagnose("deadletters.export")
        assert export == {"messages": [{"session": shown["session"], "message": shown["letter"]}], "next": None}
        file = tmp_path / "dead.json"
        ran = await rig.chargerctl("deadletters", "export", str(file))
        assert (ran.returncode, ran.stdout) == (0, f"1 sessions written to {file}\n")
        assert CARD not in file.read_text(encoding="utf-8")
        ran = await rig.chargerctl("deadletters", "show", str(letter["row"]))
        assert (ran.returncode, CARD in ran.stdout, "register   1000 Wh" in ran.stdout) == (0, False, True)

        ran = await rig.chargerctl("deadletters", "resend", "999")
        assert (ran.returncode, "there is no dead letter 999" in ran.stderr) == (1, True)
        ran = await rig.chargerctl("deadletters", "resend", str(letter["row"]))
        assert (ran.returncode, ran.stdout) == (0, "1 back in the queue; 1 message waits\n")
        queue = await rig.diagnose("queue")
        assert (queue["depth"], queue["dead_letters"]) == (1, [])

    play(tmp_path, story)


def test_a_variable_is_set_as_the_csms_would_and_stays(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        everything = await rig.diagnose("config")
        assert {variable["source"] for variable in everything} >= {"default", "configuration"}
        by_name = {variable["name"]: variable for variable in everything}
        assert by_name["TxCtrlr.EVConnectionTimeOut"]["value"] == "90"
        assert by_name["TxCtrlr.EVConnectionTimeOut"]["source"] == "configuration"
        for name in ("ConnectionTimeOut", "connectiontimeout", "TxCtrlr.EVConnectionTimeOut", "txctrlr.evconnectiontimeout"):
            assert await rig.diagnose("config", name=name) == [by_name["TxCtrlr.EVConnectionTimeOut"]]

        answer = await rig.diagnose("config.set", name="ConnectionTimeOut", value="120")
        assert answer == {"name": "TxCtrlr.EVConnectionTimeOut", "status": "Accepted", "value": "120", "is_stored": True}
        await rig.stop_daemon()
        await rig.start_daemon()
        (after,) = await rig.diagnose("config", name="ConnectionTimeOut")
        assert (after["value"], after["source"]) == ("120", "technician")

        for name, value, says in (
            ("ConnectionTimeOut", "0", "TxCtrlr.EVConnectionTimeOut = 0; allowed: 1 to 3600 s"),
            ("ConnectionTimeOut", "soon", "allowed: a whole number"),
            ("NumberOfConnectors", "4", "is read-only"),
            ("TxCtrlr.Nothing", "1", "has no variable Nothing"),
            ("Nothing", "1", "there is no variable 'Nothing'"),
        ):
            with pytest.raises(Refused, match=says):
                await rig.diagnose("config.set", name=name, value=value)
        with pytest.raises(Refused, match="there is no variable 'NoCtrlr"):
            await rig.diagnose("config", name="NoCtrlr.Nothing")

    play(tmp_path, story, extra='[variables]\n"TxCtrlr.EVConnectionTimeOut" = 90\n')


def test_the_command_line_asks_the_real_daemon(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await rig.open_for_business()
        await rig.control("fault.set", kind="over_temperature", evse=1)
        await rig.until_blocked_by("hardware")
        for words in (["status"], ["why"], ["meter"], ["sessions"], ["queue"], ["events"], ["config"], ["methods"]):
            ran = await rig.chargerctl(*words)
            assert (ran.returncode, ran.stderr) == (0, "")
            ran = await rig.chargerctl(*words, "--json")
            assert (ran.returncode, ran.stderr) == (0, "")
            json.loads(ran.stdout)
        ran = await rig.chargerctl("why", "1")
        assert ran.stdout.startswith("EVSE 1 does not charge: fault OverTemperature")
        assert ran.stdout.splitlines()[1] == "  cure: let it cool down; check the terminals for loose screws"
        assert (await rig.chargerctl("why", "7")).returncode == 2
        assert (await rig.chargerctl("config", "set", "ConnectionTimeOut", "75")).returncode == 0

    play(tmp_path, story)


# --- what may never be told


def test_tokens_and_the_claim_code_appear_in_no_answer_and_in_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    cards = {"accepted": CARD, "refused": "DEADBEEF77", "group": "CAFE0001"}

    async def story(rig: Rig) -> None:
        rig.portal.add_card(cards["accepted"])
        said: list[str] = []

        async def listen() -> None:
            for method in METHODS:
                answer = await rig.diagnose(method)
                said.extend((json.dumps(answer), text.render(method, answer)))

        await listen()
        await rig.open_for_business()
        await rig.control("ev.plug_in", evse=1, delay_s=1)
        await asyncio.sleep(2)
        await rig.control("rfid.swipe", token=cards["refused"], evse=1)
        await asyncio.sleep(1)
        await listen()
        await rig.control("rfid.swipe", token=cards["accepted"], evse=1)
        await rig.until_blocked_by(None)
        await listen()
        await rig.control("rfid.swipe", token=cards["group"], evse=1)
        await rig.portal.change_availability(rig.station_id, 1, operative=False)
        await listen()
        await rig.control("network.down", mode="refuse")
        await asyncio.sleep(30)
        await rig.control("rfid.swipe", token=cards["accepted"], evse=1)
        await asyncio.sleep(10)
        # A CSMS may set a template that holds the claim code; the registry refuses only the placeholder.
        await rig.diagnose("config.set", name="WebPaymentsCtrlr.URLTemplate", value=f"https://pay.example/{rig.uid}")
        await listen()

        everything = "\n".join([*said, *(record.getMessage() for record in caplog.records)]).casefold()
        assert len(said) == 2 * 5 * len(METHODS)
        assert "transaction_ended" in everything
        assert "https://pay.example/•••" in "\n".join(said)
        for secret in (*cards.values(), rig.uid):
            assert secret.casefold() not in everything

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (f"card {CARD} is blocked", "card ••• is blocked"),
        (f"card={CARD.lower()}; {CARD}", "card=•••; •••"),
        ("code 7f3k-22qx", "code •••"),
        ("register 1234560.4 Wh", "register 1234560.4 Wh"),
        ("PIN 1234 refused", "PIN ••• refused"),
        ("ab is too short to be found", "ab is too short to be found"),
        ("", ""),
    ],
)
def test_the_mask_takes_whole_words(said: str, shown: str) -> None:
    mask = _Mask("7F3K-22QX", [IdToken(CARD), IdToken("1234"), IdToken("ab"), None])
    assert mask.text(said) == shown


def test_the_mask_without_a_claim_code_leaves_everything() -> None:
    assert _Mask("", []).claim_code("https://pay.example/CP001") == "https://pay.example/CP001"


# --- trouble


def test_status_answers_while_the_disk_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The moment at which the technician asks is the moment at which something hangs."""
    monkeypatch.setattr(diagnosis, "STORE_S", 0.0)  # virtual time stands still while a thread works

    async def story(rig: Rig) -> None:
        await rig.open_for_business()
        release = threading.Event()
        hanging = asyncio.create_task(rig.app.store._db.read(lambda _: release.wait(30)))
        await asyncio.sleep(0)
        try:
            status = await rig.diagnose("status")
        finally:
            release.set()
            await hanging
        assert status["storage"]["is_durable"] is False
        assert "has not answered" in status["storage"]["trouble"]
        assert status["storage"]["dead_letters"] is None
        assert status["evses"][0]["screen"] == "available"
        assert (await rig.why())["name"] == "vehicle"

    play(tmp_path, story)


def test_a_charger_whose_socket_cannot_be_opened_charges_all_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Mute(Rig):
        def write_config(self) -> None:
            self.diagnostics_socket = self.directory / "missing" / "diag.sock"
            super().write_config()

    async def story() -> None:
        async with Mute(tmp_path) as rig:
            assert rig.app.is_running.is_set()
            assert not rig.diagnostics_socket.exists()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(story())
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "its directory must exist" in record.getMessage()


def test_a_second_daemon_on_the_same_socket_does_not_start(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        other = tmp_path / "other.toml"
        config = rig.config.read_text(encoding="utf-8")
        for ours, theirs in (("/state", "/state2"), ("/sim.sock", "/sim2.sock")):
            assert ours in config
            config = config.replace(ours, theirs)
        other.write_text(config, encoding="utf-8")
        with pytest.raises(SocketInUseError, match="is the daemon running already"):
            await App(load_config(other, VALIDATORS)).run()
        assert (await rig.diagnose("status"))["station_id"] == rig.station_id

    play(tmp_path, story)
