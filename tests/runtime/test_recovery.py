"""Cuts in the recovery itself, every combination of commits, once to thrice in a row: core and real store, time and hardware are played."""

import itertools
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

from agent.core.state import EvseConfig, PowerLossPolicy
from agent.core.station import step
from agent.domain.effects import Effect, Enqueue, KeepRecord
from agent.domain.events import Event, Started
from agent.domain.ids import EvseId
from agent.domain.notices import TransactionNotice
from agent.domain.pilot import PilotState
from agent.domain.records import Record, Recovered, StationRecord
from agent.domain.time import Instant
from agent.domain.transaction import StoppedReason, TransactionEventType
from agent.runtime.engine import records_to_write
from agent.store.store import Store
from tests.core.rig import EVSE1, PRICED, START, Rig

COMMITS = 4
"""A run is cut before or behind one of its first commits; whatever comes later is like the last of them."""
OUTAGE = timedelta(minutes=2)
MEMORY: Final = Path("/dev/shm")


@dataclass(frozen=True)
class Commit:
    """What one step wanted on disk, and the meter's register when it did."""

    records: Sequence[Record]
    notices: Sequence[TransactionNotice]
    register: Decimal


@dataclass
class Run(Rig):
    """A rig that notes what its engine would commit, step by step."""

    commits: list[Commit] = field(default_factory=list)

    def apply(self, event: Event) -> list[Effect]:
        before, seen = self.station, len(self.effects)
        register = self.energy[EVSE1]
        _, effects = step(before, event, self.at)
        after, _ = step(before, event, self.at)
        records: list[Record] = list(records_to_write(event, before, after))
        if isinstance(event, Started):  # its commit of the station alone would be a cut more that changes nothing
            records = [record for record in records if not isinstance(record, StationRecord)]
        records += [effect.record for effect in effects if isinstance(effect, KeepRecord)]
        notices = [effect.notice for effect in effects if isinstance(effect, Enqueue)]
        if records or notices:
            self.commits.append(Commit(records, notices, register))
        super().apply(event)
        return self.effects[seen:]


@dataclass
class Power:
    """What is outside: the disk, the meter, and how often the power went."""

    directory: Path
    policy: PowerLossPolicy
    register: Decimal = Decimal("1000000.4")
    boots: int = 0

    def now(self) -> Instant:
        return Instant(f"boot-{self.boots}", 5_000, START + self.boots * OUTAGE)

    async def boot(self) -> tuple[Store, Run]:
        """Start from what is on disk; the vehicle is still plugged in and wants energy."""
        self.boots += 1
        store = await Store.open(self.directory, boot_id=f"boot-{self.boots}", now=self.now)
        recovered = await store.recover()
        run = Run(
            values=PRICED,
            config={"power_loss_policy": self.policy},
            boot_id=f"boot-{self.boots}",
            first_ms=5_000,
            utc=START + self.boots * OUTAGE,
            recovered=recovered if self.boots > 1 else Recovered(station=StationRecord(was_accepted=True)),
            first_pilot=PilotState.A if self.boots == 1 else PilotState.C,
        )
        run.energy[EVSE1] = self.register
        return store, run

    async def write(self, store: Store, commits: Sequence[Commit]) -> None:
        for commit in commits:
            await store.commit(commit.records, commit.notices)

    async def cut_run(self, number: int, *, is_before: bool) -> None:
        """A run that recovers, whose first `number` commits reach the disk; dead right behind the last of them, or before the next."""
        store, run = await self.boot()
        run.pass_ms(9_000)
        await self.write(store, run.commits[:number])
        if number >= len(run.commits):  # it had no more to write: cut off when it had done everything
            self.register = run.energy[EVSE1]
        elif is_before:
            self.register = run.commits[number].register
        elif number:
            self.register = run.commits[number - 1].register
        await store.aclose()


async def first_run(power: Power) -> None:
    """A session that is cut off while it charges."""
    store, run = await power.boot()
    run.online()
    run.charge()
    run.pass_ms(65_400)
    await power.write(store, run.commits)
    power.register = run.energy[EVSE1]
    await store.aclose()


async def last_run(power: Power) -> tuple[list[TransactionNotice], Run]:
    """A run that nobody cuts off; a driver whose session goes on stops it."""
    store, run = await power.boot()
    run.pass_ms(12_000)
    if run.evse.has_transaction:
        run.swipe()
        run.pass_ms(12_000)
    await power.write(store, run.commits)
    notices = [row.notice for row in await store.rows(0, 1000)]
    await store.aclose()
    return notices, run


CUTS = [(number, is_before) for number in range(COMMITS) for is_before in (False, True)]


@pytest.mark.pain(10)
@pytest.mark.pain(20)
@pytest.mark.parametrize("policy", list(PowerLossPolicy))
@pytest.mark.parametrize("cuts", [1, 2, 3])
async def test_one_end_with_the_right_register_however_often_the_recovery_is_cut_off(
    tmp_path: Path, policy: PowerLossPolicy, cuts: int
) -> None:
    """Nothing is lost, doubled or invented: numbers without a gap, one Start, one End, the meter's register, the true reason."""
    every = {1: 1, 2: 1, 3: 5}[cuts]
    with TemporaryDirectory(dir=MEMORY if MEMORY.exists() else tmp_path) as name:
        prepared = Power(Path(name) / "prepared", policy)
        prepared.directory.mkdir()
        await first_run(prepared)
        for index, places in enumerate(itertools.islice(itertools.product(CUTS, repeat=cuts), 0, None, every)):
            directory = shutil.copytree(prepared.directory, Path(name) / str(index))
            await cut_and_compare(replace(prepared, directory=directory), places)


async def cut_and_compare(power: Power, places: Sequence[tuple[int, bool]]) -> None:
    for number, is_before in places:
        await power.cut_run(number, is_before=is_before)
    notices, run = await last_run(power)
    policy = power.policy
    what = f"{policy} {places}: {[(n.seq_no, n.event_type.value) for n in notices]}"
    kinds = [notice.event_type for notice in notices]
    assert [notice.seq_no for notice in notices] == list(range(len(notices))), what
    assert kinds.count(TransactionEventType.STARTED) == kinds.count(TransactionEventType.ENDED) == 1, what
    assert kinds[-1] is TransactionEventType.ENDED, what
    assert notices[-1].register_wh == int(run.energy[EVSE1]), what
    assert notices[-1].stopped_reason is (StoppedReason.POWER_LOSS if policy is PowerLossPolicy.STOP else StoppedReason.LOCAL), what
    moments = [notice.at.utc for notice in notices]
    assert all(a is not None and b is not None and a <= b for a, b in itertools.pairwise(moments)), what


async def test_a_transaction_of_an_evse_that_is_gone_ends_on_disk_too(tmp_path: Path) -> None:
    """The real file: the record is closed in the same commit as its End, and the run after that finds nothing open."""
    power = Power(tmp_path, PowerLossPolicy.RESUME)
    await first_run(power)
    power.boots += 1
    store = await Store.open(tmp_path, boot_id="boot-2", now=power.now)
    recovered = await store.recover()
    assert recovered.transactions
    without_it = Rig(evses=(EvseConfig(evse_id=EvseId(7)),), boot_id="boot-2", utc=START + OUTAGE)
    _, effects = step(without_it.station, Started(recovered), without_it.at)
    records = [effect.record for effect in effects if isinstance(effect, KeepRecord)]
    await store.commit(records, [effect.notice for effect in effects if isinstance(effect, Enqueue)])
    await store.aclose()
    store = await Store.open(tmp_path, boot_id="boot-3", now=power.now)
    assert (await store.recover()).transactions == ()
    (stored,) = await store.sessions(1)
    assert stored.record is not None
    assert stored.record.meter_stop_estimated
    assert [row.notice.event_type for row in await store.rows(0, 1000)][-1] is TransactionEventType.ENDED
    await store.aclose()
