"""The engine when what it relies on fails: nothing that was decided is lost, and energy goes first."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

import pytest

from agent.core.state import EvseConfig, PowerLossPolicy, StationConfig
from agent.core.station import new_station, step
from agent.core.variables import HEARTBEAT_INTERVAL, Variables, definitions
from agent.domain.authorization import IdToken
from agent.domain.commands import ChangeAvailability, Command, Outcome, RequestStart, SetVariables, VariableAssignment
from agent.domain.connector import FaultKind, OperationalStatus
from agent.domain.effects import CloseContactor, Effect, Enqueue, OpenContactor, SetPilot
from agent.domain.errors import StoreError
from agent.domain.events import (
    CommandReceived,
    ContactorReported,
    Event,
    FaultRaised,
    LinkChanged,
    LinkState,
    MeterDiscontinuity,
    MeterRead,
    PilotMeasured,
    Started,
    StopRequested,
)
from agent.domain.ids import CommandId, EvseId, RequestId, TransactionId
from agent.domain.interlock import Interlock
from agent.domain.metering import Discontinuity, Reading
from agent.domain.notices import Notice, StatusNotice, TransactionNotice
from agent.domain.pilot import PilotOutput, PilotState
from agent.domain.records import Record, Recovered, StationRecord, StoredVariable
from agent.domain.time import Instant
from agent.domain.transaction import TransactionEventType
from agent.domain.variables import ValueSource
from agent.runtime.engine import PERMISSION_RENEWAL_S, Engine, Hooks, Journal
from agent.store.store import Store

ONE = EvseId(1)


@dataclass
class Hardware:
    """Contactor, pilot and lock as ordered; `broken` names the orders that fail."""

    orders: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)

    def _obey(self, order: str) -> None:
        if order in self.broken:
            raise OSError(5, f"{order}: Input/output error")
        self.orders.append(order)

    def permit(self, evse_id: EvseId) -> None:
        self._obey("permit")

    def revoke(self, evse_id: EvseId) -> None:
        self._obey("revoke")

    def close(self, evse_id: EvseId) -> Interlock | None:
        self._obey("close")
        return None

    def open(self, evse_id: EvseId) -> None:
        self._obey("open")

    def set_pilot(self, evse_id: EvseId, output: PilotOutput) -> None:
        self._obey(output.signal.value)

    def lock(self, evse_id: EvseId) -> None:
        self._obey("lock")

    def unlock(self, evse_id: EvseId) -> bool:
        self._obey("unlock")
        return True


@dataclass
class Disk:
    """What was committed."""

    records: list[Record] = field(default_factory=list)
    notices: list[TransactionNotice] = field(default_factory=list)

    async def commit(self, records: Sequence[Record], notices: Sequence[TransactionNotice]) -> None:
        await asyncio.sleep(0)
        self.records.extend(records)
        self.notices.extend(notices)


@dataclass
class Portal:
    """What the CSMS was told."""

    sent: list[Notice] = field(default_factory=list)
    answers: list[Outcome] = field(default_factory=list)

    def send(self, notice: Notice) -> None:
        self.sent.append(notice)

    def outbox_grew(self) -> None:
        return None

    def answer(self, command_id: CommandId, outcome: Outcome) -> None:
        self.answers.append(outcome)


class Bench:
    """An engine on a charger with a vehicle that is ready."""

    def __init__(self, journal: Journal | None = None) -> None:
        self.hardware, self.disk, self.portal = Hardware(), Disk(), Portal()
        self.poison: type[Event] | None = None
        self.log: list[tuple[Event, Instant]] = []
        self._ids = 0
        config = StationConfig(evses=(EvseConfig(evse_id=ONE),), station_id="CP001")
        self.first = station = new_station(config, Variables.of(definitions(evses=1, is_tethered=True)), self.now())
        self.refusal = ""
        self.hooks = hooks = Hooks(
            read_meter=lambda _: None,
            restart=lambda _kind, _drains: None,
            exit=lambda: None,
            recorded=self._recorded,
            storage_refusal=lambda: self.refusal,
        )
        self.engine = Engine(station, now=self.now, new_id=self.new_id, actuators=self.hardware, journal=journal or self.disk, hooks=hooks)
        self.engine.peer = self.portal

    def _recorded(self, event: Event, at: Instant) -> None:
        self.log.append((event, at))
        if self.poison is not None and isinstance(event, self.poison):
            raise ZeroDivisionError

    def now(self) -> Instant:
        return Instant("boot-1", int(asyncio.get_running_loop().time() * 1000))

    def new_id(self) -> str:
        self._ids += 1
        return str(self._ids)

    def command(self, command: Command | None = None) -> CommandReceived:
        asked = command or RequestStart(id_token=IdToken("CAFE0001"), evse_id=ONE)
        return CommandReceived(CommandId(self.new_id()), asked, RequestId(self.new_id()), TransactionId(self.new_id()))

    def read(self) -> None:
        self.engine.post(MeterRead(Reading(evse_id=ONE, at=self.now(), energy_wh=Decimal(1000))))

    def ask(self) -> None:
        """The vehicle is ready and the CSMS asks for a start: what follows waits for the disk."""
        self.engine.post(Started(Recovered(station=StationRecord(was_accepted=True))))
        self.engine.post(LinkChanged(LinkState.ACCEPTED, report_all=True))
        for event in (PilotMeasured(ONE, PilotState.C), ContactorReported(ONE, is_closed=False)):
            self.engine.post(event)
        self.read()
        self.engine.post(self.command())

    async def charge(self) -> None:
        self.ask()
        await self.engine.flushed()
        assert self.hardware.orders[-1] == "close"
        self.engine.post(ContactorReported(ONE, is_closed=True))
        await self.engine.flushed()


@asynccontextmanager
async def running(journal: Journal | None = None) -> AsyncIterator[Bench]:
    bench = Bench(journal)
    task = asyncio.create_task(bench.engine.run())
    try:
        yield bench
    finally:
        bench.engine.close()
        task.cancel()
        with suppress(asyncio.CancelledError, ZeroDivisionError):
            await task


async def test_hardware_that_fails_to_open_does_not_take_the_records_with_it() -> None:
    async with running() as bench:
        await bench.charge()
        bench.hardware.broken = {"open", "X1"}
        before = len(bench.disk.notices)
        bench.engine.post(PilotMeasured(ONE, PilotState.B))
        await bench.engine.flushed()
        numbers = [notice.seq_no for notice in bench.disk.notices]
        assert len(numbers) > before
        assert numbers == list(range(len(numbers)))


async def test_hardware_that_fails_to_close_does_not_end_the_writer() -> None:
    async with running() as bench:
        bench.hardware.broken = {"close", "PWM"}
        with suppress(AssertionError):
            await bench.charge()
        assert bench.disk.notices[0].event_type is TransactionEventType.STARTED
        bench.hardware.broken = set()
        bench.engine.post(StopRequested())
        async with asyncio.timeout(1):
            await bench.engine.flushed()
        assert "X1" in bench.hardware.orders


async def test_a_permission_that_cannot_be_renewed_leaves_the_deciding_alone() -> None:
    async with running() as bench:
        await bench.charge()
        bench.hardware.broken = {"permit"}
        bench.engine.post(PilotMeasured(ONE, PilotState.B))
        assert bench.hardware.orders[-1] == "open"


async def test_a_bug_about_a_report_of_the_hardware_opens_and_ends_the_run() -> None:
    bench = Bench()
    task = asyncio.create_task(bench.engine.run())
    await bench.charge()
    bench.poison = MeterRead
    bench.read()
    assert bench.hardware.orders[-1] == "revoke"
    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(1):
            await task
    assert bench.disk.notices[0].event_type is TransactionEventType.STARTED


async def test_a_bug_about_a_peers_words_drops_them_alone() -> None:
    async with running() as bench:
        await bench.charge()
        bench.poison = CommandReceived
        with pytest.raises(ZeroDivisionError):
            bench.engine.post(bench.command())
        assert bench.hardware.orders[-1] != "revoke"
        bench.poison = None
        bench.engine.post(bench.command())
        await bench.engine.flushed()
        assert len(bench.portal.answers) == 2


# ------------------------------------------------------------------------------------------------------- the real store, slow and failing


class SlowDisk:
    """A real store on a disk that takes its time: each commit begins when `gate` opens, and fails while `refusals` are left."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.gate = asyncio.Event()
        self.gate.set()
        self.refusals = 0
        self.begun = 0

    async def commit(self, records: Sequence[Record], notices: Sequence[TransactionNotice]) -> None:
        self.begun += 1
        await self.gate.wait()
        if self.refusals:
            self.refusals -= 1
            raise StoreError("the disk is full")
        await self.store.commit(records, notices)

    async def notices(self) -> list[TransactionNotice]:
        return [row.notice for row in await self.store.rows(0, 1000)]


@asynccontextmanager
async def slow(directory: Path) -> AsyncIterator[tuple[Bench, SlowDisk]]:
    store = await Store.open(directory, boot_id="boot-1", now=lambda: Instant("boot-1", int(asyncio.get_running_loop().time() * 1000)))
    try:
        await store.recover()
        disk = SlowDisk(store)
        async with running(disk) as bench:
            yield bench, disk
    finally:
        await store.aclose()


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_must_wait_for_the_disk_waits_and_comes_in_order(tmp_path: Path) -> None:
    """Nothing is offered, closed, answered or told before the Start is on disk."""
    async with slow(tmp_path) as (bench, disk):
        disk.gate.clear()
        bench.ask()
        await turns()
        assert disk.begun == 1
        assert not {"PWM", "close", "lock"} & set(bench.hardware.orders)
        assert (bench.portal.answers, bench.portal.sent) == ([], [])
        assert await disk.notices() == []
        disk.gate.set()
        await bench.engine.flushed()
        assert [notice.event_type for notice in await disk.notices()] == [TransactionEventType.STARTED]
        orders = [order for order in bench.hardware.orders if order in {"PWM", "close"}]
        assert orders == ["PWM", "close"]
        assert len(bench.portal.answers) == 1
        moments = [notice.at.mono_ms for notice in bench.portal.sent if isinstance(notice, StatusNotice)]
        assert moments == sorted(moments)


async def test_a_fault_during_a_slow_commit_opens_at_once(tmp_path: Path) -> None:
    async with slow(tmp_path) as (bench, disk):
        await bench.charge()
        begun = disk.begun
        disk.gate.clear()
        bench.engine.post(bench.command(ChangeAvailability(evse_id=ONE, operational_status=OperationalStatus.INOPERATIVE)))
        await turns()
        assert disk.begun == begun + 1
        bench.hardware.orders.clear()
        bench.engine.post(FaultRaised(ONE, FaultKind.RCD_TRIPPED))
        assert bench.hardware.orders == ["open", "X1"]
        disk.gate.set()
        await bench.engine.flushed()
        assert "close" not in bench.hardware.orders


async def test_a_contactor_that_waited_for_the_disk_is_not_closed_into_a_fault(tmp_path: Path) -> None:
    """Each effect is checked again against the state of the moment at which it is released."""
    async with slow(tmp_path) as (bench, disk):
        disk.gate.clear()
        bench.ask()
        await turns()
        bench.engine.post(FaultRaised(ONE, FaultKind.EMERGENCY_STOP))
        disk.gate.set()
        await bench.engine.flushed()
        assert not {"PWM", "close"} & set(bench.hardware.orders)
        assert bench.hardware.orders[-1] in {"open", "X1"}


async def test_no_contactor_closes_while_its_start_is_not_written(tmp_path: Path) -> None:
    async with slow(tmp_path) as (bench, disk):
        disk.refusals = 1000
        bench.ask()
        await turns(200)
        assert 0 < disk.refusals < 1000
        assert bench.engine.station.storage_failure == "the disk is full"
        assert "close" not in bench.hardware.orders
        assert await disk.notices() == []
        assert [item.remark.name for item in bench.engine.remarks].count("storage_failed") == 1


@pytest.mark.pain(86, 87)
async def test_no_session_begins_on_what_is_left_for_running_ones(tmp_path: Path) -> None:
    """The disk takes records still, but only the reserve is left, or it was found read-only."""
    async with slow(tmp_path) as (bench, _):
        bench.refusal = "the disk is full but for the reserve"
        bench.engine.judge_storage()
        bench.engine.judge_storage()
        bench.ask()
        await turns(200)
        assert bench.engine.station.storage_failure == "the disk is full but for the reserve"
        assert "close" not in bench.hardware.orders
        bench.refusal = ""
        bench.engine.judge_storage()
        assert bench.engine.station.storage_failure is None
        assert [item.remark.name for item in bench.engine.remarks if "storage" in item.remark.name] == [
            "storage_failed",
            "storage_recovered",
        ]


@pytest.mark.virtual_time
async def test_a_start_that_is_written_at_last_closes_the_contactor(tmp_path: Path) -> None:
    async with slow(tmp_path) as (bench, disk):
        disk.refusals = 3
        bench.ask()
        await asyncio.sleep(30)
        assert disk.refusals == 0
        assert bench.engine.station.storage_failure is None
        assert bench.hardware.orders.count("close") == 1
        assert bench.hardware.orders[-1] in {"close", "permit"}
        notices = await disk.notices()
        assert [notice.seq_no for notice in notices] == list(range(len(notices)))
        assert notices[0].event_type is TransactionEventType.STARTED
        assert [item.remark.name for item in bench.engine.remarks].count("storage_recovered") == 1


@pytest.mark.pain(11)
@pytest.mark.virtual_time
async def test_a_transaction_that_goes_on_closes_the_contactor_only_when_that_is_on_disk(tmp_path: Path) -> None:
    """After a power cut too: what a further cut falls back on is the register from which energy flows again."""
    async with slow(tmp_path) as (bench, disk):
        await bench.charge()
        record = bench.engine.station.evses[0].transaction
        assert record is not None
        await bench.engine.flushed()
    async with slow(tmp_path) as (bench, disk):
        config = replace(bench.engine.station.config, power_loss_policy=PowerLossPolicy.RESUME)
        bench.engine.station = replace(bench.engine.station, config=config)
        disk.refusals = 3
        bench.engine.post(Started(await disk.store.recover()))
        for event in (PilotMeasured(ONE, PilotState.C), ContactorReported(ONE, is_closed=False)):
            bench.engine.post(event)
        await asyncio.sleep(0.1)
        bench.read()
        await asyncio.sleep(10)
        assert "close" not in bench.hardware.orders, "the offer was due after 3 s"
        await asyncio.sleep(15)
        assert disk.refusals == 0
        assert bench.hardware.orders.count("close") == 1
        kinds = [notice.event_type for notice in await disk.notices()]
        assert kinds.count(TransactionEventType.STARTED) == 1
        assert TransactionEventType.ENDED not in kinds


@pytest.mark.virtual_time
async def test_who_listens_to_the_settings_cannot_keep_them_from_the_disk() -> None:
    """The state has changed already: a listener with a bug must not leave the disk behind it."""

    def buggy(_: Variables) -> None:
        raise ZeroDivisionError

    async with running() as bench:
        bench.engine.post(Started(Recovered(station=StationRecord(was_accepted=True))))
        bench.hooks.variables_changed = buggy
        assignment = VariableAssignment(key=HEARTBEAT_INTERVAL, value="77")
        with pytest.raises(ZeroDivisionError):
            bench.engine.post(bench.command(SetVariables(assignments=(assignment,), source=ValueSource.CSMS)))
        await bench.engine.flushed()
        assert bench.engine.station.variables.integer(HEARTBEAT_INTERVAL) == 77
        assert [record.value for record in bench.disk.records if isinstance(record, StoredVariable)] == ["77"]


@pytest.mark.pain(10)
@pytest.mark.virtual_time
async def test_what_ends_at_the_very_start_of_a_run_is_closed_on_disk_with_its_end(tmp_path: Path) -> None:
    """Its meter had changed before the cut, so nothing is waited for; the run after that must not end it once more."""
    async with slow(tmp_path) as (bench, _):
        await bench.charge()
        bench.read()
        reading = bench.engine.station.evses[0].reading
        assert reading is not None
        fallen = replace(reading, at=bench.now(), energy_wh=Decimal(3))
        bench.engine.post(MeterDiscontinuity(ONE, Discontinuity.RESET, reading, fallen))
        await bench.engine.flushed()
        assert bench.engine.station.evses[0].has_transaction
    for _ in range(2):
        async with slow(tmp_path) as (bench, disk):
            bench.engine.post(Started(await disk.store.recover()))
            bench.engine.post(PilotMeasured(ONE, PilotState.C))
            await bench.engine.flushed()
            kinds = [notice.event_type for notice in await disk.notices()]
            assert kinds.count(TransactionEventType.ENDED) == 1
            assert (await disk.store.recover()).transactions == ()


@pytest.mark.virtual_time
async def test_what_happens_while_the_disk_fails_is_written_in_order_and_once(tmp_path: Path) -> None:
    async with slow(tmp_path) as (bench, disk):
        await bench.charge()
        disk.refusals = 4
        for _ in range(10):
            bench.engine.post(PilotMeasured(ONE, PilotState.B))
            bench.engine.post(ContactorReported(ONE, is_closed=False))
            await asyncio.sleep(1)
            bench.engine.post(PilotMeasured(ONE, PilotState.C))
            bench.engine.post(ContactorReported(ONE, is_closed=True))
            await asyncio.sleep(1)
        await bench.engine.flushed()
        numbers = [notice.seq_no for notice in await disk.notices()]
        assert len(numbers) > 10
        assert numbers == list(range(len(numbers)))


@pytest.mark.virtual_time
async def test_the_permission_is_renewed_only_while_a_contactor_is_wanted_closed(tmp_path: Path) -> None:
    async with slow(tmp_path) as (bench, _):
        await bench.charge()
        bench.hardware.orders.clear()
        await asyncio.sleep(10 * PERMISSION_RENEWAL_S)
        assert bench.hardware.orders.count("permit") >= 9
        bench.engine.post(PilotMeasured(ONE, PilotState.A))
        await bench.engine.flushed()
        bench.hardware.orders.clear()
        await asyncio.sleep(10 * PERMISSION_RENEWAL_S)
        assert "permit" not in bench.hardware.orders


@pytest.mark.virtual_time
async def test_the_permission_is_renewed_while_the_disk_hangs(tmp_path: Path) -> None:
    """The writer renews nothing, so a disk that takes half a minute neither opens the contactor nor keeps it closed."""
    async with slow(tmp_path) as (bench, disk):
        await bench.charge()
        disk.gate.clear()
        bench.engine.post(LinkChanged(LinkState.OFFLINE))
        bench.hardware.orders.clear()
        await asyncio.sleep(30)
        assert bench.hardware.orders.count("permit") >= 55
        disk.gate.set()


@pytest.mark.virtual_time
async def test_the_recorded_events_give_the_same_again(tmp_path: Path) -> None:
    """Replay: the journal of events, given to the pure core, orders what was ordered and writes what was written."""
    async with slow(tmp_path) as (bench, disk):
        await bench.charge()
        for energy_wh in range(1001, 1030):
            await asyncio.sleep(1)
            bench.engine.post(MeterRead(Reading(evse_id=ONE, at=bench.now(), energy_wh=Decimal(energy_wh))))
        bench.engine.post(PilotMeasured(ONE, PilotState.A))
        bench.engine.post(ContactorReported(ONE, is_closed=False))
        await asyncio.sleep(1)
        bench.engine.post(MeterRead(Reading(evse_id=ONE, at=bench.now(), energy_wh=Decimal(1030))))
        await bench.engine.flushed()
        written = await disk.notices()
    station = bench.first
    effects: list[Effect] = []
    for event, at in bench.log:
        station, ordered = step(station, event, at)
        effects += ordered
    assert station == bench.engine.station
    assert [effect.notice for effect in effects if isinstance(effect, Enqueue)] == written
    assert written[-1].event_type is TransactionEventType.ENDED
    orders = [order for order in bench.hardware.orders if order in {"open", "close", "X1", "PWM"}]
    names = {OpenContactor: "open", CloseContactor: "close"}
    again = [
        effect.output.signal.value if isinstance(effect, SetPilot) else names[type(effect)]
        for effect in effects
        if isinstance(effect, OpenContactor | CloseContactor | SetPilot)
    ]
    assert orders == again
