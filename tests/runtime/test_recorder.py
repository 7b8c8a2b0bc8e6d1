"""The flight recorder keeps what a replay needs, within its bounds, and never stands in the way of charging."""

import asyncio
import gzip
import logging
import os
import shutil
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agent.core.state import EvseConfig, StationConfig
from agent.core.station import new_station, step
from agent.core.variables import Variables, definitions
from agent.domain.authorization import IdToken
from agent.domain.commands import DataTransfer, GetVariables, RequestStart
from agent.domain.connector import FaultKind
from agent.domain.effects import OpenContactor
from agent.domain.errors import HalError
from agent.domain.events import (
    CommandReceived,
    ContactorReported,
    Event,
    FaultCleared,
    FaultRaised,
    LinkChanged,
    LinkState,
    MeterRead,
    PilotMeasured,
    Started,
    Tick,
)
from agent.domain.ids import CommandId, EvseId, RequestId, TransactionId
from agent.domain.metering import Measurand, Quantity, Reading
from agent.domain.pilot import PilotState
from agent.domain.records import Recovered, StationRecord
from agent.domain.time import Instant
from agent.runtime import recorder as module
from agent.runtime import systemd
from agent.runtime.app import App
from agent.runtime.engine import Engine
from agent.runtime.flight_file import Flight, read_flight
from agent.runtime.recorder import (
    AFTER_S,
    CRASHES_PER_HOUR,
    FREEZES_PER_HOUR,
    MOST_BYTES,
    MOST_FROZEN,
    RING_WEIGHT,
    RUNNING_BYTES,
    Recorder,
    RecorderError,
)
from simulator.replay import replay
from tests.runtime.test_app import CARD, OFFLINE, becomes, charge, configured, running, world
from tests.runtime.test_engine import Bench

ONE = EvseId(1)
pytestmark = pytest.mark.virtual_time


class Charger:
    """A core in the loop's time whose recorder is the real one."""

    def __init__(self, directory: Path) -> None:
        self.recorder = Recorder(directory, secrets=("7F3K-22QX",), frames=lambda: [(1, "in", '[2,"1","Heartbeat",{}]')])
        config = StationConfig(evses=(EvseConfig(evse_id=ONE),), station_id="CP001")
        self.station = new_station(config, Variables.of(definitions(evses=1)), self.now())
        self.energy_wh = Decimal(1000)
        self._ids = 0
        self.post(Started(Recovered(station=StationRecord(was_accepted=True))))
        self.post(PilotMeasured(ONE, PilotState.A))

    def now(self) -> Instant:
        return Instant("boot-1", int(asyncio.get_running_loop().time() * 1000), datetime(2026, 3, 1, 12, tzinfo=UTC))

    def post(self, event: Event) -> None:
        before, at = self.station, self.now()
        self.station, effects = step(before, event, at)
        self.recorder.decided(event, at, before, self.station, effects)

    def command(self, command: Any) -> None:
        self._ids += 1
        self.post(CommandReceived(CommandId(str(self._ids)), command, RequestId(str(self._ids)), TransactionId(f"t-{self._ids}")))

    def read(self) -> None:
        self.energy_wh += 2
        amps = Quantity(Measurand.CURRENT_IMPORT, Decimal(16))
        self.post(MeterRead(Reading(evse_id=ONE, at=self.now(), energy_wh=self.energy_wh, quantities=(amps,))))

    async def pass_s(self, seconds: int) -> None:
        for _ in range(seconds):
            await asyncio.sleep(1)
            self.read()

    async def begin_session(self) -> None:
        await self.pass_s(2)
        self.post(LinkChanged(LinkState.ACCEPTED))
        self.post(PilotMeasured(ONE, PilotState.B))
        self.command(RequestStart(id_token=IdToken("CAFE0001"), evse_id=ONE))
        await asyncio.sleep(0.2)
        self.post(Tick())
        await self.pass_s(1)
        self.post(PilotMeasured(ONE, PilotState.C))
        assert self.station.evses[0].has_transaction
        self.post(ContactorReported(ONE, is_closed=True))

    def end_session(self) -> None:
        self.post(PilotMeasured(ONE, PilotState.A))
        self.post(ContactorReported(ONE, is_closed=False))


@asynccontextmanager
async def recording(directory: Path) -> AsyncIterator[Charger]:
    charger = Charger(directory)
    async with charger.recorder:
        yield charger


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("*")) if directory.exists() else []


def flight(directory: Path, start: str = "frozen") -> Flight:
    (path,) = directory.glob(f"{start}-*")
    found = read_flight(path)
    assert replay(found).is_same
    assert not found.problem
    return found


# --- what is kept, and when


async def test_a_fault_freezes_the_minute_before_it_and_what_comes_after(tmp_path: Path) -> None:
    async with recording(tmp_path) as charger:
        await charger.pass_s(300)
        charger.post(FaultRaised(ONE, FaultKind.EMERGENCY_STOP, "pressed"))
        raised = charger.now()
        await charger.pass_s(20)
        assert files(tmp_path) == ["frozen-0001-fault_raised.jsonl.gz"]
    found = flight(tmp_path)
    assert found.head.cause == "fault_raised"
    assert found.head.detail == "EmergencyStop: pressed"
    before = raised.ms_since(found.steps[0].at) / 1000
    after = found.steps[-1].at.ms_since(raised) / 1000
    assert 60 <= before <= 90
    assert AFTER_S - 1 <= after <= AFTER_S
    assert found.end is not None
    assert found.frames == ((1, "in", '[2,"1","Heartbeat",{}]'),)


async def test_nothing_is_written_while_nothing_happens(tmp_path: Path) -> None:
    """An idle charger whose meter is read every second writes no byte."""
    async with recording(tmp_path / "flight") as charger:
        await charger.pass_s(3600)
        assert charger.recorder.written_bytes == 0
    assert not (tmp_path / "flight").exists()


async def test_a_charging_hour_writes_a_small_part_of_what_the_flash_may_take(tmp_path: Path) -> None:
    async with recording(tmp_path) as charger:
        await charger.begin_session()
        await charger.pass_s(3600)
        written = charger.recorder.written_bytes
    assert 10_000 < written < 200_000
    assert written <= sum(path.stat().st_size for path in tmp_path.glob("*"))


async def test_after_a_kill_in_a_session_all_but_the_last_minutes_is_there_and_replays(tmp_path: Path) -> None:
    async with recording(tmp_path / "alive") as charger:
        await charger.pass_s(200)
        await charger.begin_session()
        await charger.pass_s(1000)
        shutil.copytree(tmp_path / "alive", tmp_path / "killed")
        now = charger.now()
    found = flight(tmp_path / "killed", "flight")
    assert any(isinstance(one.event, CommandReceived) for one in found.steps), "the start of the session"
    assert now.ms_since(found.steps[-1].at) <= 135_000


async def test_a_session_is_whole_on_disk_when_it_is_over_and_the_next_has_a_file_of_its_own(tmp_path: Path) -> None:
    async with recording(tmp_path) as charger:
        for _ in range(2):
            await charger.begin_session()
            await charger.pass_s(100)
            charger.end_session()
            await charger.pass_s(120)
        assert files(tmp_path) == ["flight-0001.jsonl.gz", "flight-0002.jsonl.gz"]
        for path in tmp_path.glob("*"):
            found = read_flight(path)
            assert replay(found).is_same
            assert {"transaction_started", "transaction_ended"} <= {getattr(e, "name", "") for one in found.steps for e in one.effects}


async def test_a_long_session_goes_on_in_new_files_of_which_the_newest_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RUNNING_BYTES", 10_000)
    async with recording(tmp_path) as charger:
        await charger.begin_session()
        await charger.pass_s(3600)
        last = charger.now()
    names = files(tmp_path)
    assert len(names) == module.MOST_RUNNING
    assert names[0] != "flight-0001.jsonl.gz"
    for name in names:
        found = read_flight(tmp_path / name)
        assert replay(found).is_same, "each begins with a state of its own"
        assert (tmp_path / name).stat().st_size < 20_000
    assert found.steps[-1].at == last


async def test_leaving_in_a_session_writes_the_rest_of_it(tmp_path: Path) -> None:
    async with recording(tmp_path) as charger:
        await charger.begin_session()
        await charger.pass_s(5)
        last = charger.now()
    assert flight(tmp_path, "flight").steps[-1].at == last


async def test_leaving_shortly_after_a_fault_writes_at_once(tmp_path: Path) -> None:
    async with recording(tmp_path) as charger:
        charger.post(FaultRaised(ONE, FaultKind.EMERGENCY_STOP))
    assert flight(tmp_path).head.cause == "fault_raised"


async def test_a_bug_is_kept_with_the_event_that_met_it(tmp_path: Path) -> None:
    async with recording(tmp_path) as charger:
        charger.recorder.failed(Tick(), charger.now(), charger.station, ZeroDivisionError("a bug of ours"))
    (path,) = tmp_path.glob("frozen-*-bug*")
    last = read_flight(path).steps[-1]
    assert last.error == "ZeroDivisionError: a bug of ours"
    found = replay(read_flight(path))
    assert not found.is_same, "this core has no such bug"
    assert found.first is not None
    assert found.first.recorded_error


async def test_two_causes_within_the_time_after_are_one_file(tmp_path: Path) -> None:
    async with recording(tmp_path) as charger:
        charger.post(FaultRaised(ONE, FaultKind.EMERGENCY_STOP))
        await charger.pass_s(3)
        charger.post(FaultRaised(ONE, FaultKind.GROUND_FAULT))
        await charger.pass_s(60)
    assert [one.event.fault for one in flight(tmp_path).steps if isinstance(one.event, FaultRaised)] == [
        FaultKind.EMERGENCY_STOP,
        FaultKind.GROUND_FAULT,
    ]


async def test_a_token_has_another_pseudonym_in_each_file(tmp_path: Path) -> None:
    """Who holds recordings of many days cannot follow a driver through them."""
    async with recording(tmp_path) as charger:
        await charger.begin_session()
        for _ in range(2):
            await charger.recorder.freeze_now("CAFE0001 was shown, 7F3K-22QX stands on the label")
    shown = []
    for path in tmp_path.glob("*"):
        text = gzip.decompress(path.read_bytes()).lower()
        assert b"cafe0001" not in text
        assert b"7f3k-22qx" not in text
        shown += [
            one.event.command.id_token for one in read_flight(path).steps if isinstance(getattr(one.event, "command", None), RequestStart)
        ]  # type: ignore[union-attr]
    assert len(shown) == 3, "two frozen files and the running one"
    assert len({token.value.casefold() for token in shown}) == 3


async def test_a_technician_freezes_at_once(tmp_path: Path) -> None:
    async with recording(tmp_path) as charger:
        name = await charger.recorder.freeze_now("it hummed")
        assert files(tmp_path) == [name]
        (listed,) = await charger.recorder.recordings()
        assert (listed.cause, listed.detail, listed.is_frozen) == ("asked", "it hummed", True)
        assert listed.at is not None
        assert listed.size == (tmp_path / name).stat().st_size
        data, size = await charger.recorder.read(name, 10, 100)
        assert data == (tmp_path / name).read_bytes()[10:110]
        assert size == listed.size


async def test_a_file_that_is_not_a_recording_of_ours_is_neither_listed_nor_given(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    async with recording(tmp_path) as charger:
        assert await charger.recorder.recordings() == ()
        for name in ("secret", "../secret", "", "frozen-0001-x.jsonl.gz"):
            with pytest.raises(RecorderError, match="there is no recording"):
                await charger.recorder.read(name, 0, 10)


async def test_a_damaged_recording_is_listed_with_its_problem(tmp_path: Path) -> None:
    (tmp_path / "frozen-0003-crash.jsonl.gz").write_bytes(b"rubbish")
    async with recording(tmp_path) as charger:
        (found,) = await charger.recorder.recordings()
        assert "no flight recording" in found.problem
        assert await charger.recorder.freeze_now() == "frozen-0004-asked.jsonl.gz", "its number is not used again"


# --- bounds


@pytest.mark.pain(86)
async def test_a_flood_of_events_is_bounded_in_memory_and_on_disk(tmp_path: Path) -> None:
    async with recording(tmp_path) as charger:
        await charger.begin_session()
        for number in range(8_000):
            charger.post(PilotMeasured(ONE, PilotState.C if number % 2 else PilotState.B))
            if number % 500 == 0:
                await asyncio.sleep(0.001)
            assert len(charger.recorder._entries()) <= RING_WEIGHT + 2 * module.LEG_WEIGHT
        await asyncio.sleep(1)
        assert charger.recorder.dropped == 0
        assert sum(path.stat().st_size for path in tmp_path.glob("*")) <= MOST_BYTES + RUNNING_BYTES
    for path in tmp_path.glob("flight-*"):
        assert replay(read_flight(path)).is_same


async def test_large_commands_count_by_their_size(tmp_path: Path) -> None:
    async with recording(tmp_path) as charger:
        for _ in range(1000):
            charger.command(DataTransfer(vendor_id="V", data="x" * 60_000))
            charger.command(GetVariables(keys=None))
        kept = sum(
            len(e[0].command.data or "") for e in charger.recorder._entries() if isinstance(getattr(e[0], "command", None), DataTransfer)
        )  # type: ignore[union-attr]
        assert kept < 3_000_000
        assert len(charger.recorder._entries()) < 200


async def test_a_fault_in_a_flood_is_written_before_it_is_pushed_out(tmp_path: Path) -> None:
    async with recording(tmp_path) as charger:
        await charger.pass_s(60)
        charger.post(FaultRaised(ONE, FaultKind.EMERGENCY_STOP))
        for number in range(5_000):
            charger.post(PilotMeasured(ONE, PilotState.C if number % 2 else PilotState.B))
        await asyncio.sleep(0.1)
        assert files(tmp_path) == ["frozen-0001-fault_raised.jsonl.gz"]
    assert any(isinstance(one.event, FaultRaised) for one in flight(tmp_path).steps)


@pytest.mark.pain(86)
async def test_a_contact_that_bounces_all_day_wears_nothing_out_and_hides_no_crash(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "agent.recorder")
    charger = Charger(tmp_path)
    for _ in range(20):
        charger.post(FaultRaised(ONE, FaultKind.EMERGENCY_STOP))
        await charger.pass_s(6)
        charger.post(FaultCleared(ONE, FaultKind.EMERGENCY_STOP))
        await charger.pass_s(6)
    assert len(files(tmp_path)) == FREEZES_PER_HOUR
    assert "is not kept" in caplog.text
    with pytest.raises(ZeroDivisionError):
        async with charger.recorder:
            raise ZeroDivisionError("a bug of ours")
    assert [name for name in files(tmp_path) if "crash" in name]


async def test_a_daemon_that_crashes_at_every_start_writes_a_few_recordings_an_hour(tmp_path: Path) -> None:
    for _ in range(CRASHES_PER_HOUR + 4):
        with pytest.raises(ZeroDivisionError):
            async with recording(tmp_path):
                raise ZeroDivisionError
    assert len(files(tmp_path)) == CRASHES_PER_HOUR


async def test_what_a_technician_freezes_leaves_faults_their_share(tmp_path: Path) -> None:
    async with recording(tmp_path) as charger:
        for _ in range(CRASHES_PER_HOUR):
            await charger.recorder.freeze_now()
    async with recording(tmp_path) as charger:
        charger.post(FaultRaised(ONE, FaultKind.EMERGENCY_STOP))
    assert len(files(tmp_path)) == CRASHES_PER_HOUR + 1


async def test_a_bug_among_other_errors_is_the_crash(tmp_path: Path) -> None:
    with pytest.raises(ExceptionGroup):
        async with recording(tmp_path):
            raise ExceptionGroup("", [HalError("the board is gone"), ExceptionGroup("", [ZeroDivisionError("a bug of ours")])])
    assert flight(tmp_path).head.detail == "ZeroDivisionError: a bug of ours"


def aged(path: Path, hours: int) -> None:
    long_ago = time.time() - hours * 3600
    os.utime(path, (long_ago, long_ago))


async def test_the_oldest_of_the_most_frequent_cause_makes_room_never_the_newest(tmp_path: Path) -> None:
    for number in range(1, 25):
        async with recording(tmp_path) as charger:
            if number in {3, 12}:
                charger.recorder.freeze("crash", "of another day")
            else:
                charger.post(FaultRaised(ONE, FaultKind.EMERGENCY_STOP))
        for path in tmp_path.glob("*"):
            aged(path, 2)
        assert f"frozen-{number:04d}-" in files(tmp_path)[-1]
    names = files(tmp_path)
    assert len(names) == MOST_FROZEN
    assert {"frozen-0003-crash.jsonl.gz", "frozen-0012-crash.jsonl.gz", "frozen-0024-fault_raised.jsonl.gz"} <= set(names)


async def test_what_a_broken_write_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "frozen-0001-crash.jsonl.part").write_bytes(b"half")
    async with recording(tmp_path) as charger:
        await charger.recorder.freeze_now()
    assert files(tmp_path) == ["frozen-0001-asked.jsonl.gz"]


# --- nothing stands in the way


async def test_a_disk_that_cannot_be_written_is_told_and_charging_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no directory")
    async with recording(tmp_path / "file") as charger:
        await charger.begin_session()
        await charger.pass_s(400)
        charger.post(FaultRaised(ONE, FaultKind.EMERGENCY_STOP))
        await charger.pass_s(20)
        with pytest.raises(RecorderError, match="is not kept"):
            await charger.recorder.freeze_now()
    assert "this part is not recorded" in caplog.text
    assert "fault_raised is not kept" in caplog.text


@pytest.mark.pain(86)
async def test_a_disk_that_is_nearly_full_is_left_to_the_sessions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "FREE_BYTES", 2**60)
    async with recording(tmp_path) as charger:
        charger.post(FaultRaised(ONE, FaultKind.EMERGENCY_STOP))
    assert files(tmp_path) == []
    assert "are free" in caplog.text


async def test_a_disk_that_hangs_costs_neither_memory_nor_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, loop = threading.Event(), asyncio.get_running_loop()
    monkeypatch.setattr(module._Files, "append", lambda *_: gate.wait(30))
    # The clock may pass while the disk hangs: the thread is not waited for.
    monkeypatch.setattr(loop, "run_in_executor", lambda executor, work: asyncio.wrap_future(executor.submit(work)))
    charger = Charger(tmp_path)
    begun = loop.time()
    async with charger.recorder:
        await charger.begin_session()
        await charger.pass_s(7200)
        assert len(charger.recorder._jobs) == module.MOST_JOBS
        assert charger.recorder.dropped > 10
        assert len(charger.recorder._entries()) < 700
        begun = loop.time()
    assert loop.time() - begun == pytest.approx(module.CLOSE_S, abs=0.1)
    gate.set()


async def test_an_event_costs_the_deciding_half_next_to_nothing(tmp_path: Path) -> None:
    """What `decided` takes is small beside what a step takes; the bytes are made in another thread."""
    async with recording(tmp_path) as charger:
        await charger.begin_session()
        reading = Reading(evse_id=ONE, at=charger.now(), energy_wh=Decimal(10_000))
        before, at = charger.station, charger.now()
        steps, decisions = [], []
        for _ in range(500):
            begun = time.perf_counter()
            after, effects = step(before, MeterRead(reading), at)
            stepped = time.perf_counter()
            charger.recorder.decided(MeterRead(reading), at, before, after, effects)
            steps.append(stepped - begun)
            decisions.append(time.perf_counter() - stepped)
    median_step, median = sorted(steps)[250], sorted(decisions)[250]
    assert median < median_step / 3, f"{median * 1e6:.1f} µs beside a step of {median_step * 1e6:.1f} µs"


async def test_energy_is_removed_before_the_recorder_hears_of_it() -> None:
    """And a recorder that fails takes nothing with it."""
    bench = Bench()
    opened: list[bool] = []

    def decided(event: Event, at: Instant, before: Any, after: Any, effects: Any) -> None:
        if any(isinstance(effect, OpenContactor) for effect in effects):
            opened.append("open" in bench.hardware.orders)
        raise ZeroDivisionError("a bug of the recorder")

    bench.engine._hooks = replace(bench.engine._hooks, decided=decided)
    await charged(bench)
    assert not opened
    bench.engine.post(FaultRaised(ONE, FaultKind.GROUND_FAULT))
    assert opened == [True]
    bench.engine.close()


async def charged(bench: Bench) -> None:
    task = asyncio.create_task(bench.engine.run())
    bench.ask()
    await asyncio.sleep(0.2)
    bench.engine.post(Tick())
    bench.read()
    bench.engine.post(bench.command())
    await asyncio.sleep(1)
    bench.engine.post(ContactorReported(ONE, is_closed=True))
    task.cancel()
    assert "close" in bench.hardware.orders


# --- the application


async def test_a_session_of_the_real_daemon_replays_the_same(tmp_path: Path) -> None:
    async with running(configured(tmp_path, more=OFFLINE)) as app:
        await charge(app)
        await asyncio.sleep(330)
        world(app).unplug(ONE)
        await asyncio.sleep(30)
        app.post(FaultRaised(ONE, FaultKind.EMERGENCY_STOP, "pressed"))
        await asyncio.sleep(11)
    directory = tmp_path / "state" / "flight"
    session, frozen = flight(directory, "flight"), flight(directory)
    assert len(session.steps) > 300
    assert {"transaction_started", "transaction_ended"} <= {getattr(effect, "name", "") for one in session.steps for effect in one.effects}
    assert any(isinstance(one.event, FaultRaised) for one in frozen.steps)
    for path in directory.glob("*"):
        assert CARD.lower().encode() not in gzip.decompress(path.read_bytes()).lower()


async def test_a_bug_of_ours_in_the_daemon_is_frozen_with_the_event_that_met_it(tmp_path: Path) -> None:
    app = App(configured(tmp_path, more=OFFLINE))
    task = asyncio.create_task(app.run())
    await app.is_running.wait()
    await charge(app)

    def poison(event: Event, _at: Instant) -> None:
        if isinstance(event, MeterRead):
            raise ZeroDivisionError("a bug of ours")

    app.engine._hooks = replace(app.engine._hooks, recorded=poison)
    with pytest.raises(ExceptionGroup):
        await task
    (path,) = (tmp_path / "state" / "flight").glob("frozen-*-crash.jsonl.gz")
    found = read_flight(path)
    assert found.head.detail == "ZeroDivisionError: a bug of ours"
    assert isinstance(found.steps[-1].event, MeterRead)
    assert found.steps[-1].error == "ZeroDivisionError: a bug of ours"
    assert replay(found).differing == 1, "all before it is the same"


async def test_a_watchdog_that_is_not_fed_is_frozen_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "watchdog_interval", lambda: 5.0)
    async with running(configured(tmp_path)) as app:
        monkeypatch.setattr(app, "_stuck", lambda: "the store has been busy for 20 s")
        await asyncio.sleep(60)
        assert [(one.cause, one.detail) for one in await app.recorder.recordings()] == [("stuck", "the store has been busy for 20 s")]


async def test_what_fails_outside_is_no_crash(tmp_path: Path) -> None:
    with pytest.raises(HalError):
        async with recording(tmp_path):
            raise HalError("the board is gone")
    assert files(tmp_path) == []


async def test_a_fault_is_frozen_while_the_daemon_runs(tmp_path: Path) -> None:
    async with running(configured(tmp_path)) as app:
        assert isinstance(app.engine, Engine)
        await becomes(lambda: app.engine.station.evses[0].reading is not None)
        app.post(FaultRaised(ONE, FaultKind.GROUND_FAULT))
        await asyncio.sleep(AFTER_S + 1)
        assert [one.cause for one in await app.recorder.recordings()] == ["fault_raised"]
