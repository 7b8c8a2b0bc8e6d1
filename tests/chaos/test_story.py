"""Random runs of the real daemon find nothing, and deliberate bugs in it are found."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import count, islice
from typing import Any, TypeAlias

import pytest

from agent.core import transactions
from agent.core.state import Evse, Stop, Turn
from agent.domain.metering import Reading
from agent.domain.notices import TransactionNotice
from agent.domain.outbox import DeadLettered, Delivered, Mark
from agent.domain.records import Recovered
from agent.domain.time import Instant
from agent.domain.transaction import TransactionEventType, TransactionRecord
from agent.fieldbus.errors import BusTemporary
from agent.metering.lifetime import RegisterTracker
from agent.metering.modbus import ModbusMeter
from agent.ocpp_client.v16.adapter import V16Adapter as Adapter16
from agent.ocpp_client.v201.adapter import V201Adapter as Adapter201
from agent.runtime.engine import Engine
from agent.store.store import Store
from simulator.chaos.plan import Kind, SessionState, Trouble, plan
from simulator.chaos.story import run_once
from simulator.faults import SimFault

Mutant: TypeAlias = Callable[[pytest.MonkeyPatch], None]

MOST_RUNS = 30


@pytest.mark.parametrize("seed", [108, 394, 406, 580, 780, 1992, 5005])
def test_a_seed_that_found_something_once_finds_nothing_now(seed: int) -> None:
    outcome = run_once(seed)
    assert not outcome.violations, [*outcome.violations, *outcome.trace]


@pytest.mark.parametrize("seed", range(12))
def test_a_random_run_loses_doubles_and_invents_nothing(seed: int) -> None:
    outcome = run_once(seed)
    assert not outcome.violations, [*outcome.violations, *outcome.trace]
    assert outcome.findings.sessions, "a run in which nobody charged shows nothing"
    assert outcome.findings.greatest_error_wh == 0


def close_before_the_disk(patch: pytest.MonkeyPatch) -> None:
    """The contactor does not wait for the commit."""
    schedule = Engine._schedule

    def hasty(self: Engine, batch: Any) -> None:
        effects, batch.effects = batch.effects, []
        self._release(effects)
        schedule(self, batch)

    patch.setattr(Engine, "_schedule", hasty)


def forget_the_end(patch: pytest.MonkeyPatch) -> None:
    """The End is not put into the outbox."""
    commit = Store.commit

    async def forgetful(self: Store, records: Sequence[Any], notices: Sequence[TransactionNotice]) -> None:
        await commit(self, records, [notice for notice in notices if notice.event_type is not TransactionEventType.ENDED])

    patch.setattr(Store, "commit", forgetful)


def begin_without_a_record_on_disk(patch: pytest.MonkeyPatch) -> None:
    """Nothing is written at all until the session ends."""
    commit = Store.commit

    async def lazy(self: Store, records: Sequence[Any], notices: Sequence[TransactionNotice]) -> None:
        if any(notice.event_type is TransactionEventType.STARTED for notice in notices):
            records = [record for record in records if not hasattr(record, "meter_start")]
            notices = ()
        await commit(self, records, notices)

    patch.setattr(Store, "commit", lazy)


def send_another_payload_again(patch: pytest.MonkeyPatch) -> None:
    """A message that is sent again says something else."""
    for adapter in (Adapter16, Adapter201):
        patch.setattr(adapter, "encode", changing(adapter.encode))


def changing(encode: Any) -> Any:
    sends: Counter[tuple[str, int]] = Counter()

    def wrapper(self: object, notice: Any, *others: Any) -> Any:
        if isinstance(notice, TransactionNotice):
            name = (notice.transaction_id, notice.seq_no)
            notice = replace(notice, at=notice.at.plus_ms(sends[name] * 7))
            sends[name] += 1
        return encode(self, notice, *others)

    return wrapper


def bill_one_wh_more(patch: pytest.MonkeyPatch) -> None:
    """The energy is rounded up."""

    def generous(start_wh: Decimal, stop_wh: Decimal) -> int:
        return int(stop_wh) - int(start_wh) + 1

    patch.setattr(transactions, "billed_wh", generous)


def trust_every_register(patch: pytest.MonkeyPatch) -> None:
    """A register that leaps goes on as if nothing had been."""
    patch.setattr(RegisterTracker, "break_kind", lambda self, reading: None)


def end_twice(patch: pytest.MonkeyPatch) -> None:
    """The End is put into the outbox a second time, under the next number."""

    def double(notices: Sequence[TransactionNotice]) -> list[TransactionNotice]:
        ends = [notice for notice in notices if notice.event_type is TransactionEventType.ENDED]
        return [*notices, *(replace(end, seq_no=end.seq_no + 1, at=end.at.plus_ms(1)) for end in ends)]

    patch_commit(patch, notices=double)


def patch_commit(patch: pytest.MonkeyPatch, *, notices: Any) -> None:
    commit = Store.commit

    async def changed(self: Store, some: Sequence[Any], others: Sequence[TransactionNotice]) -> None:
        await commit(self, some, notices(others))

    patch.setattr(Store, "commit", changed)


def number_anew_after_a_start(patch: pytest.MonkeyPatch) -> None:
    """A recovered transaction counts its messages from 0 again."""
    recover = Store.recover

    async def forgetful(self: Store) -> Recovered:
        found = await recover(self)
        return replace(found, transactions=tuple(replace(record, next_seq_no=0) for record in found.transactions))

    patch.setattr(Store, "recover", forgetful)


def give_an_old_reading_a_new_time(patch: pytest.MonkeyPatch) -> None:
    """Where the meter is silent, what it said before is taken for what it says now."""
    read, kept = ModbusMeter._read_registers, dict[ModbusMeter, Reading]()

    async def stale(self: ModbusMeter) -> Reading:
        try:
            kept[self] = await read(self)
        except BusTemporary:
            if self not in kept:
                raise
            return replace(kept[self], at=self._now())
        return kept[self]

    patch.setattr(ModbusMeter, "_read_registers", stale)


def drop_dead_letters(patch: pytest.MonkeyPatch) -> None:
    """What is refused for the last time counts as delivered."""
    mark = Store.mark

    def careless(self: Store, one: Mark) -> None:
        mark(self, Delivered(row_id=one.row_id, transaction_id=one.transaction_id) if isinstance(one, DeadLettered) else one)

    patch.setattr(Store, "mark", careless)


def thin_the_end(patch: pytest.MonkeyPatch) -> None:
    """Where many messages wait, any message is thinned, and so an End."""
    commit = Store.commit

    async def thinning(self: Store, records: Sequence[Any], notices: Sequence[TransactionNotice]) -> None:
        is_long = self.queue_depth >= 3
        await commit(self, records, [one for one in notices if not is_long or one.event_type is not TransactionEventType.ENDED])

    patch.setattr(Store, "commit", thinning)


def stop_before_the_contactor_opens(patch: pytest.MonkeyPatch) -> None:
    """The register of the end is the one of the last checkpoint, told as if it had been read."""
    end = transactions.end

    def hasty(turn: Turn, evse: Evse, stop: Stop, reading: Reading, *, is_estimated: bool, ended_at: Instant) -> Evse:
        early = reading if evse.transaction is None or is_estimated else evse.transaction.last_reading
        return end(turn, evse, stop, early, is_estimated=is_estimated, ended_at=ended_at)

    patch.setattr(transactions, "end", hasty)


def bill_the_outage(patch: pytest.MonkeyPatch) -> None:
    """A session that goes on after an outage is billed for the time without power."""

    def whole(record: TransactionRecord, at: Instant) -> int:
        return max(0, transactions.wire_ms(record.started_at, at.anchored_to(record.started_at)))

    patch.setattr(transactions, "duration_ms", whole)


def bill_the_lifetime_sum(patch: pytest.MonkeyPatch) -> None:
    """Sessions are billed by the sum over all meters, which is for statistics."""
    read = ModbusMeter._read_registers

    async def summed(self: ModbusMeter) -> Reading:
        reading = await read(self)
        state = self._judge.lifetime
        return reading if state is None else replace(reading, energy_wh=state.total_wh)

    patch.setattr(ModbusMeter, "_read_registers", summed)


def forget_the_checkpoints(patch: pytest.MonkeyPatch) -> None:
    """What a power cut falls back on is the register of the begin."""
    commit = Store.commit

    async def forgetful(self: Store, records: Sequence[Any], notices: Sequence[TransactionNotice]) -> None:
        kept = [
            replace(one, last_reading=one.meter_start) if isinstance(one, TransactionRecord) and one.ended_at is None else one
            for one in records
        ]
        await commit(self, kept, notices)

    patch.setattr(Store, "commit", forgetful)


BEFORE = frozenset((SessionState.FREE, SessionState.AUTHORIZED, SessionState.PLUGGED, SessionState.STARTING))
CRASHES = frozenset((Trouble.CRASH, Trouble.CRASH_REBOOT, Trouble.POWER_CUT))
RUNNING = frozenset((SessionState.CHARGING, SessionState.SUSPENDED))
OFFLINE = frozenset((Trouble.NETWORK_CLOSE, Trouble.NETWORK_BLACKHOLE, Trouble.NETWORK_REFUSE))

MUTANTS: tuple[tuple[Mutant, str, frozenset[Kind], frozenset[SessionState]], ...] = (
    # the mutant, a word of what is found, and where to look for it: trouble and state
    (close_before_the_disk, "contactor", frozenset((Trouble.DISK_SLOW, Trouble.DISK_FAILS)), BEFORE),
    (begin_without_a_record_on_disk, "", frozenset(Trouble), BEFORE),
    (forget_the_end, "quiet", frozenset(Trouble), RUNNING),
    (send_another_payload_again, "doubled", frozenset((Trouble.PORTAL_MUTE, Trouble.PORTAL_ERRORS)), frozenset(SessionState)),
    (bill_one_wh_more, "energy", frozenset(Trouble), RUNNING),
    (trust_every_register, "energy", frozenset((SimFault.METER_JUMP,)), RUNNING),
    (end_twice, "", frozenset(Trouble), RUNNING),
    (number_anew_after_a_start, "", CRASHES, RUNNING),
    (give_an_old_reading_a_new_time, "energy", frozenset((SimFault.METER_SILENT,)), frozenset((SessionState.CHARGING,))),
    (drop_dead_letters, "lost", frozenset((Trouble.PORTAL_REFUSES,)), RUNNING),
    (thin_the_end, "", OFFLINE, RUNNING),
    (stop_before_the_contactor_opens, "energy", frozenset(Trouble), RUNNING),
    (bill_the_outage, "", CRASHES, RUNNING),
    (forget_the_checkpoints, "", CRASHES, RUNNING),
    (bill_the_lifetime_sum, "energy", frozenset((SimFault.METER_JUMP, SimFault.METER_RESET)), frozenset(SessionState)),
)


@pytest.mark.parametrize(("mutate", "word", "kinds", "states"), MUTANTS, ids=[mutant[0].__name__ for mutant in MUTANTS])
def test_a_deliberate_bug_is_found(
    mutate: Mutant, word: str, kinds: frozenset[Kind], states: frozenset[SessionState], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)
    fitting = (seed for seed in count() if any({visit.first, visit.kind} & kinds and visit.state in states for visit in plan(seed).visits))
    for seed in islice(fitting, MOST_RUNS):
        violations = run_once(seed).violations
        if any(word in text for text in violations):
            return
    pytest.fail(f"{MOST_RUNS} runs have not found it")
