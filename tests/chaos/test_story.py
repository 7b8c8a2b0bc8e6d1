"""Random runs of the real daemon find nothing, and deliberate bugs in it are found."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import count, islice
from typing import Any, TypeAlias

import pytest

from agent.core import transactions
from agent.domain.notices import TransactionNotice
from agent.domain.transaction import TransactionEventType
from agent.metering.lifetime import RegisterTracker
from agent.ocpp_client.v16.adapter import V16Adapter as Adapter16
from agent.ocpp_client.v201.adapter import V201Adapter as Adapter201
from agent.runtime.engine import Engine
from agent.store.store import Store
from simulator.chaos.plan import Kind, SessionState, Trouble, plan
from simulator.chaos.story import run_once
from simulator.faults import SimFault

Mutant: TypeAlias = Callable[[pytest.MonkeyPatch], None]

MOST_RUNS = 40


@pytest.mark.parametrize("seed", range(20))
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


BEFORE = frozenset((SessionState.FREE, SessionState.AUTHORIZED, SessionState.PLUGGED, SessionState.STARTING))
CRASHES = frozenset((Trouble.CRASH, Trouble.CRASH_REBOOT, Trouble.POWER_CUT))
RUNNING = frozenset((SessionState.CHARGING, SessionState.SUSPENDED))

MUTANTS: tuple[tuple[Mutant, str, frozenset[Kind], frozenset[SessionState]], ...] = (
    # the mutant, a word of what is found, and where to look for it: trouble and state
    (close_before_the_disk, "contactor", frozenset((Trouble.DISK_SLOW, Trouble.DISK_FAILS)), BEFORE),
    (begin_without_a_record_on_disk, "", frozenset(Trouble), BEFORE),
    (forget_the_end, "quiet", frozenset(Trouble), RUNNING),
    (send_another_payload_again, "doubled", frozenset((Trouble.PORTAL_MUTE, Trouble.PORTAL_ERRORS)), frozenset(SessionState)),
    (bill_one_wh_more, "energy", frozenset(Trouble), RUNNING),
    (trust_every_register, "energy", frozenset((SimFault.METER_JUMP,)), RUNNING),
)


@pytest.mark.parametrize(("mutate", "word", "kinds", "states"), MUTANTS, ids=[mutant[0].__name__ for mutant in MUTANTS])
def test_a_deliberate_bug_is_found(
    mutate: Mutant, word: str, kinds: frozenset[Kind], states: frozenset[SessionState], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)
    fitting = (seed for seed in count() if any(visit.kind in kinds and visit.state in states for visit in plan(seed).visits))
    for seed in islice(fitting, MOST_RUNS):
        violations = run_once(seed).violations
        if any(word in text for text in violations):
            return
    pytest.fail(f"{MOST_RUNS} runs have not found it")
