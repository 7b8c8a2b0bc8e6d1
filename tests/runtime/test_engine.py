"""The engine when what it relies on fails: nothing that was decided is lost, and energy goes first."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from agent.core.state import EvseConfig, StationConfig
from agent.core.station import new_station
from agent.core.variables import Variables, definitions
from agent.domain.authorization import IdToken
from agent.domain.commands import Outcome, RequestStart
from agent.domain.events import (
    CommandReceived,
    ContactorReported,
    Event,
    LinkChanged,
    LinkState,
    MeterRead,
    PilotMeasured,
    Started,
    StopRequested,
)
from agent.domain.ids import CommandId, EvseId, RequestId, TransactionId
from agent.domain.interlock import Interlock
from agent.domain.metering import Reading
from agent.domain.notices import Notice, TransactionNotice
from agent.domain.pilot import PilotOutput, PilotState
from agent.domain.records import Record, Recovered, StationRecord
from agent.domain.time import Instant
from agent.domain.transaction import TransactionEventType
from agent.runtime.engine import Engine, Hooks

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

    def __init__(self) -> None:
        self.hardware, self.disk, self.portal = Hardware(), Disk(), Portal()
        self.poison: type[Event] | None = None
        self._ids = 0
        config = StationConfig(evses=(EvseConfig(evse_id=ONE),), station_id="CP001")
        station = new_station(config, Variables.of(definitions(evses=1, is_tethered=True)), self.now())
        hooks = Hooks(read_meter=lambda _: None, restart=lambda _kind, _drains: None, exit=lambda: None, recorded=self._recorded)
        self.engine = Engine(station, now=self.now, new_id=self.new_id, actuators=self.hardware, journal=self.disk, hooks=hooks)
        self.engine.peer = self.portal

    def _recorded(self, event: Event, _at: Instant) -> None:
        if self.poison is not None and isinstance(event, self.poison):
            raise ZeroDivisionError

    def now(self) -> Instant:
        return Instant("boot-1", int(asyncio.get_running_loop().time() * 1000))

    def new_id(self) -> str:
        self._ids += 1
        return str(self._ids)

    def command(self) -> CommandReceived:
        asked = RequestStart(id_token=IdToken("CAFE0001"), evse_id=ONE)
        return CommandReceived(CommandId(self.new_id()), asked, RequestId(self.new_id()), TransactionId(self.new_id()))

    def read(self) -> None:
        self.engine.post(MeterRead(Reading(evse_id=ONE, at=self.now(), energy_wh=Decimal(1000))))

    async def charge(self) -> None:
        self.engine.post(Started(Recovered(station=StationRecord(was_accepted=True))))
        self.engine.post(LinkChanged(LinkState.ACCEPTED, report_all=True))
        for event in (PilotMeasured(ONE, PilotState.C), ContactorReported(ONE, is_closed=False)):
            self.engine.post(event)
        self.read()
        self.engine.post(self.command())
        await self.engine.flushed()
        assert self.hardware.orders[-1] == "close"
        self.engine.post(ContactorReported(ONE, is_closed=True))
        await self.engine.flushed()


@asynccontextmanager
async def running() -> AsyncIterator[Bench]:
    bench = Bench()
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
