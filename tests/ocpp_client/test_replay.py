"""The queue as a whole, in virtual time: a real store, the client, the codecs of each version, and a portal that is no friend.

Whatever happens in whatever order, every event reaches the portal with one content, in its order, or is a dead letter.
"""

import asyncio
import contextlib
import json
import random
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from agent.core.variables import definitions
from agent.domain.events import CommandReceived, Event, LinkChanged
from agent.domain.ids import EvseId
from agent.domain.metering import Measurand, MeterValue, Quantity, ReadingContext
from agent.domain.notices import TransactionNotice
from agent.domain.time import Instant, wire_time
from agent.domain.transaction import TransactionEventType
from agent.ocpp_client.adapter import BootInfo, VersionAdapter
from agent.ocpp_client.backoff import BackOff
from agent.ocpp_client.client import ClientTuning, OcppClient
from agent.ocpp_client.transport import ClientSettings
from agent.ocpp_client.v16.adapter import V16Adapter
from agent.ocpp_client.v201.adapter import V201Adapter
from agent.store import tables
from agent.store.store import Store
from simulator.virtual_time import VirtualTimeLoop
from tests.ocpp_client.official import request_name, validator
from tests.ocpp_client.peers import Csms, Drop, Network, Refuse, Silence
from tests.ocpp_client.samples import DEFINITIONS
from tests.store import build

MOST_STEPS = 80
TIMEOUT_S = 30.0
ATTEMPTS = 3
TUNING = ClientTuning(
    back_off=BackOff(wait_minimum_s=5, random_range_s=0, repeat_times=2),
    attempts=ATTEMPTS,
    attempt_interval_s=20,
    message_timeout_s=TIMEOUT_S,
    heartbeat_s=86_400,
    ping_s=0,
)
EPOCH = datetime(2026, 3, 1, tzinfo=UTC)
STARTED, UPDATED, ENDED = TransactionEventType.STARTED, TransactionEventType.UPDATED, TransactionEventType.ENDED
MODES = ("answer", "refuse", "security", "silent", "cut before", "cut after", "late", "twice")
Key = tuple[str, int]
"""The transaction and the number of the event in it."""


def now() -> float:
    return asyncio.get_running_loop().time()


class Portal:
    """A CSMS whose next answers are chosen by the test, and its books."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.csms = Csms(f"ocpp{version}")
        self.modes: list[str] = []
        self.skew = timedelta(0)
        self.registers: dict[int, Key] = {}
        self.payloads: dict[Key, list[Mapping[str, Any]]] = {}
        self.ids: dict[Key, list[str]] = {}
        self.accepted: list[Key] = []
        self.refusals: dict[Key, int] = {}
        """How often a message was refused, or not answered in time."""
        self.problems: list[str] = []
        self.log: list[str] = []
        """What happened, for whoever reads a failure."""
        self._open: tuple[int, float, str, str] | None = None
        self._numbers: dict[Key, int] = {}
        self._later: set[asyncio.Task[None]] = set()
        self.csms.on |= {
            "BootNotification": self._boot,
            "Heartbeat": lambda payload: self._called("Heartbeat", payload) or {"currentTime": wire_time(self.utc())},
            **{action: self._handler(action) for action in ("StartTransaction", "MeterValues", "StopTransaction", "TransactionEvent")},
        }

    def utc(self) -> datetime:
        return EPOCH + timedelta(seconds=now()) + self.skew

    def _boot(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        self._called("BootNotification", payload)
        return {"status": "Accepted", "interval": 86_400, "currentTime": wire_time(self.utc())}

    def _called(self, action: str, payload: Mapping[str, Any]) -> None:
        validator(self.version, request_name(self.version, action)).validate(payload)
        link = len(self.csms.links)
        if self._open is not None and self._open[0] == link and now() - self._open[1] < TIMEOUT_S:
            self.problems.append(f"{action} while {self._open[2]} of {now() - self._open[1]:g} s ago is not answered")
        self._open = None

    def _handler(self, action: str) -> Any:
        def handle(payload: Mapping[str, Any]) -> Mapping[str, Any]:
            self._called(action, payload)
            key = self._key(action, payload)
            message_id = self.csms.calls[-1][0]
            self.payloads.setdefault(key, []).append(payload)
            self.ids.setdefault(key, []).append(message_id)
            mode = self.modes.pop(0) if self.modes else "answer"
            self.log.append(f"{now():g} {action} {key} {mode}")
            if mode in {"refuse", "security", "silent", "late"}:
                self.refusals[key] = self.refusals.get(key, 0) + 1
            match mode:
                case "refuse":
                    raise Refuse("InternalError", "no")
                case "security":
                    raise Refuse("SecurityError", "who are you")
                case "silent":
                    self._open = (len(self.csms.links), now(), action, message_id)
                    raise Silence
                case "cut before":
                    raise Drop
            if key not in self.accepted:
                self.accepted.append(key)
            answer = self._answer(action, key)
            match mode:
                case "cut after":
                    raise Drop
                case "late":
                    self._open = (len(self.csms.links), now(), action, message_id)
                    self._send_later(TIMEOUT_S + 15, [3, message_id, answer])
                    raise Silence
                case "twice":
                    self._send_later(0, [3, message_id, answer])
            return answer

        return handle

    def _key(self, action: str, payload: Mapping[str, Any]) -> Key:
        if action == "TransactionEvent":
            return payload["transactionInfo"]["transactionId"], payload["seqNo"]
        if action == "MeterValues":
            return self.registers[int(payload["meterValue"][0]["sampledValue"][0]["value"])]
        return self.registers[payload["meterStart" if action == "StartTransaction" else "meterStop"]]

    def _answer(self, action: str, key: Key) -> Mapping[str, Any]:
        if action == "StartTransaction":
            return {"transactionId": self._numbers.setdefault(key, 1000 + len(self._numbers)), "idTagInfo": {"status": "Accepted"}}
        return {}

    def _send_later(self, delay_s: float, frame: list[Any]) -> None:
        async def send() -> None:
            await asyncio.sleep(delay_s)
            if self._open is not None and self._open[3] == frame[1]:
                self._open = None  # the same id again: it is an answer to this one as well
            with contextlib.suppress(Exception):  # the link may be gone
                await self.csms.link.send(json.dumps(frame))

        task = asyncio.ensure_future(send())
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def aclose(self) -> None:
        for task in tuple(self._later):
            task.cancel()
        await asyncio.gather(*self._later, return_exceptions=True)


class Charger:
    """Store and client, which can be killed and started again; the events of its sessions."""

    def __init__(self, folder: Path, portal: Portal, *, knows_time: bool) -> None:
        self.folder, self.portal, self.knows_time = folder, portal, knows_time
        self.network = Network()
        self.boot = 1
        self.definitions: Any = DEFINITIONS
        self.committed: list[Key] = []
        self.open: dict[int, int] = {}
        self._sessions = 0
        self._task: asyncio.Task[None] | None = None
        self.store: Store
        self.client: OcppClient

    def instant(self) -> Instant:
        utc = EPOCH + timedelta(seconds=now()) if self.knows_time else None
        return Instant(f"boot-{self.boot}", int(now() * 1000), utc)

    async def start(self) -> None:
        self.store = await Store.open(self.folder, boot_id=f"boot-{self.boot}", now=self.instant)
        await self.store.recover()
        adapter: VersionAdapter
        if self.portal.version == "1.6":
            adapter = V16Adapter(self.definitions, self.store, {EvseId(1): 1})
        else:
            adapter = V201Adapter(self.definitions, self.store)
        self.client = OcppClient(
            settings=ClientSettings(station_id="CP1", url=self.portal.csms.url, security_profile=0),
            adapters={adapter.subprotocol: adapter},
            outbox=self.store,
            refs=self.store,
            sink=self,
            network=self.network,
            boot_info=BootInfo(vendor="V", model="M", serial_number="S", firmware_version="1"),
            new_id=lambda: str(uuid.uuid4()),
        )
        self.client.tune(TUNING)
        self._task = asyncio.ensure_future(self.client.run())

    def post(self, event: Event) -> None:
        assert isinstance(event, LinkChanged | CommandReceived) or type(event).__name__ == "TransactionAnswered", event

    def clock_reported(self, utc: datetime, took: timedelta) -> None:
        self.store.set_anchor(f"boot-{self.boot}", int(now() * 1000), utc)

    async def kill(self) -> None:
        """What is in memory only is gone."""
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        while self.store._flushing is not None or self.store._writers:
            await asyncio.sleep(0)
        self.store._cancel_timer()
        self.store._pending = tables.Pending()
        await self.store._db.aclose()

    # --- sessions

    async def begin(self) -> None:
        self._sessions += 1
        self.open[self._sessions] = 0
        await self._tell(self._sessions, STARTED)

    async def value(self, which: int) -> None:
        if self.open:
            await self._tell(sorted(self.open)[which % len(self.open)], UPDATED)

    async def end(self, which: int) -> None:
        if self.open:
            number = sorted(self.open)[which % len(self.open)]
            await self._tell(number, ENDED)
            del self.open[number]

    async def _tell(self, number: int, kind: TransactionEventType) -> None:
        seq_no = self.open[number]
        self.open[number] += 1
        self.committed.append((build.transaction_id(number), seq_no))
        register = 1_000 + len(self.committed)
        self.portal.registers[register] = self.committed[-1]
        record = build.ended(number) if kind is ENDED else build.record(number)
        await self.store.commit([record], [self._notice(number, seq_no, kind, register)])
        self.client.outbox_grew()

    def _notice(self, number: int, seq_no: int, kind: TransactionEventType, register: int) -> TransactionNotice:
        at = self.instant()
        quantities = (Quantity(Measurand.ENERGY_ACTIVE_IMPORT_REGISTER, Decimal(register)),)
        value = MeterValue(at=at, context=ReadingContext.SAMPLE_PERIODIC, quantities=quantities)
        notice = build.notice(number, seq_no, kind, at=at, meter_values=(value,) if kind is UPDATED else ())
        return replace(notice, register_wh=None if kind is UPDATED else register)


async def drained(charger: Charger, within_s: float = 100_000) -> None:
    """Nothing waits, and nothing is under way."""
    async with asyncio.timeout(within_s):
        while charger.store.queue_depth or not charger.client.drained():
            await asyncio.sleep(1)


def check_books(charger: Charger, portal: Portal, dead: Mapping[Key, str]) -> None:
    assert not portal.problems, portal.problems
    assert {*portal.accepted, *dead} == {*charger.committed}, "something is lost, or was answered that the portal never had"
    for key, payloads in portal.payloads.items():
        variants = {json.dumps({**payload, "offline": None}, sort_keys=True) for payload in payloads}
        assert len(variants) == 1, (key, variants)
    order = [key for key in portal.accepted if key not in dead]
    place = {key: number for number, key in enumerate(charger.committed)}
    if portal.version == "1.6":
        assert order == sorted(order, key=place.__getitem__), "one queue over all transactions"
        for key, ids in portal.ids.items():
            assert len(set(ids)) <= portal.refusals.get(key, 0) + 1, "a message id is new after a refusal only"
    else:
        of_one: dict[str, list[int]] = {}
        for transaction_id, seq_no in order:
            of_one.setdefault(transaction_id, []).append(seq_no)
        assert all(numbers == sorted(numbers) for numbers in of_one.values())
        every_id = [message_id for ids in portal.ids.values() for message_id in ids]
        assert len(every_id) == len(set(every_id)), "every sending has an id of its own"
    for key, error in dead.items():
        timeless = "cannot become known" in error
        assert portal.refusals.get(key, 0) >= ATTEMPTS or (timeless and key not in portal.payloads), (key, error, portal.refusals)


WEIGHTS = {
    "begin": 4,
    "value": 6,
    "end": 3,
    "wait": 6,
    "mode": 8,
    "down": 1,
    "up": 3,
    "cut": 2,
    "crash": 2,
    "reboot": 1,
    "skew": 1,
}
WAITS = (1, 1, 31, 45, 100, 700)


def story_of(seed: int, length: int) -> list[tuple[str, int]]:
    """Steps, of which the first `length` are the same for every length: a failing story can be cut."""
    chance = random.Random(seed)
    steps = chance.choices([*WEIGHTS], [*WEIGHTS.values()], k=MOST_STEPS)
    numbers = [chance.randrange(8) for _ in steps]
    told = [(step, WAITS[number % len(WAITS)] if step == "wait" else number) for step, number in zip(steps, numbers, strict=True)]
    return told[:length]


async def play(folder: Path, version: str, story: list[tuple[str, int]], *, knows_time: bool) -> None:
    portal = Portal(version)
    async with portal.csms.running():
        charger = Charger(folder, portal, knows_time=knows_time)
        await charger.start()
        for step, number in story:
            portal.log.append(f"{now():g} {step} {number}")
            match step:
                case "begin":
                    await charger.begin()
                case "value":
                    await charger.value(number)
                case "end":
                    await charger.end(number)
                case "wait":
                    await asyncio.sleep(number)
                case "mode":
                    portal.modes.append(MODES[number])
                case "down" | "up":
                    charger.network.is_up = step == "up"
                case "cut":
                    if portal.csms.links:
                        portal.csms.link.transport.abort()
                case "skew":
                    portal.skew += timedelta(seconds=7)
                case "crash" | "reboot":
                    await charger.kill()
                    charger.boot += step == "reboot"
                    await charger.start()
        charger.network.is_up = True
        portal.modes.clear()
        await drained(charger)
        await asyncio.sleep(TIMEOUT_S * 3)
        letters = await charger.store.dead_letters(10_000)
        dead = {(str(letter.transaction_id), letter.seq_no): letter.error for letter in letters}
        await charger.kill()
        await portal.aclose()
    note("\n".join(portal.log))
    check_books(charger, portal, dead)


@pytest.mark.pain(15)
@pytest.mark.pain(16)
@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=[Phase.reuse, Phase.generate])
@given(seed=st.integers(0, 2**32), length=st.integers(MOST_STEPS // 2, MOST_STEPS), knows_time=st.booleans())
def test_whatever_happens_every_event_arrives_once_in_order_or_is_a_dead_letter(
    version: str, seed: int, length: int, knows_time: bool
) -> None:
    story = story_of(seed, length)
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(play(Path(folder), version, story, knows_time=knows_time))


@pytest.mark.pain(20)
@pytest.mark.virtual_time
@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_a_message_says_the_same_after_a_restart_with_other_settings(tmp_path: Path, version: str) -> None:
    """It goes out, the link is cut, the process is killed; then other measurands, another opinion about the time, and it goes again."""
    portal = Portal(version)
    async with portal.csms.running():
        charger = Charger(tmp_path, portal, knows_time=False)
        charger.network.is_up = False
        await charger.start()
        await charger.begin()
        await charger.value(0)
        await charger.end(0)
        portal.modes = ["cut after", "answer", "cut after", "cut after", "answer", "cut after"]
        charger.network.is_up = True
        async with asyncio.timeout(1_000):
            while len(portal.accepted) < 2:
                await asyncio.sleep(1)
        await charger.kill()
        portal.skew += timedelta(minutes=3)
        charger.definitions = definitions(evses=1, identity="OTHER", is_tethered=True)
        await charger.start()
        await drained(charger)
        await charger.kill()
        await portal.aclose()
    check_books(charger, portal, {})
    assert max(len(payloads) for payloads in portal.payloads.values()) > 1, "nothing was sent twice: it shows nothing"


@pytest.mark.pain(1)
@pytest.mark.pain(14)
@pytest.mark.pain(16)
@pytest.mark.virtual_time
@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_a_session_offline_and_then_a_power_cut_arrives_whole(tmp_path: Path, version: str) -> None:
    """Begun, measured and ended without a network; killed at once, twice; a boot later everything comes with its own times and numbers."""
    portal = Portal(version)
    async with portal.csms.running():
        charger = Charger(tmp_path, portal, knows_time=True)
        charger.network.is_up = False
        await charger.start()
        await charger.begin()
        began = wire_time(EPOCH + timedelta(seconds=now()))
        for _ in range(10):
            await asyncio.sleep(60)
            await charger.value(0)
        await charger.end(0)
        for _ in range(2):
            await charger.kill()
            charger.boot += 1
            await charger.start()
        charger.network.is_up = True
        await drained(charger)
        await charger.kill()
        await portal.aclose()
    check_books(charger, portal, {})
    assert portal.accepted == charger.committed
    actions = [action for action in portal.csms.actions() if action not in {"BootNotification", "Heartbeat"}]
    first = portal.payloads[charger.committed[0]][0]
    assert first["timestamp"] == began
    if version == "1.6":
        assert actions == ["StartTransaction", *["MeterValues"] * 10, "StopTransaction"]
        assert {payload.get("transactionId") for payloads in portal.payloads.values() for payload in payloads[1:]} <= {1000}
    else:
        assert [payloads[0]["seqNo"] for payloads in portal.payloads.values()] == [*range(12)]
        assert all(payloads[0]["offline"] for payloads in portal.payloads.values())


@pytest.mark.pain(3)
@pytest.mark.pain(20)
@pytest.mark.virtual_time
@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_the_end_of_a_session_is_one_message_however_often_it_goes(tmp_path: Path, version: str) -> None:
    """Five runs of the process, each killed when the portal had the end and before its answer came."""
    portal = Portal(version)
    async with portal.csms.running():
        charger = Charger(tmp_path, portal, knows_time=True)
        await charger.start()
        await charger.begin()
        await drained(charger)
        await charger.store.flush()
        await charger.end(0)
        for times in range(1, 6):
            portal.modes = ["cut after"]
            async with asyncio.timeout(1_000):
                while sum(map(len, portal.payloads.values())) < 1 + times:
                    await asyncio.sleep(1)
            await charger.kill()
            await charger.start()
        await drained(charger)
        await charger.kill()
        await portal.aclose()
    check_books(charger, portal, {})
    (end,) = {key for key in portal.payloads if key[1] == 1}
    assert len(portal.payloads[end]) >= 5
    assert portal.accepted == charger.committed
