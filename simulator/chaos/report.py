"""What many runs gave together, and how a failing one is replayed and made smaller."""

from collections import Counter
from typing import Final

from simulator.chaos.plan import IMPOSSIBLE, KINDS, PAIRS, VISITS, Kind, RealTrouble, SessionState
from simulator.chaos.story import Outcome, run_once
from simulator.wire import Json

_SHORT: Final = {
    SessionState.OFF: "off",
    SessionState.FREE: "free",
    SessionState.AUTHORIZED: "auth",
    SessionState.PLUGGED: "plug",
    SessionState.STARTING: "start",
    SessionState.CONNECTING: "conn",
    SessionState.CHARGING: "charg",
    SessionState.SUSPENDED: "susp",
    SessionState.STOPPING: "stop",
    SessionState.RECOVERING: "recov",
    SessionState.FINISHED: "finis",
}


_SUMS: Final = (
    *("sessions", "estimated", "by_hand", "messages", "copies", "closings"),
    *("lost", "doubled", "invented", "billed_wh", "delivered_wh"),
)
WANTED_HITS: Final = 20
ENOUGH_RUNS: Final = 2000
"""From so many runs on every pair of state and trouble has to be hit that often."""


class Tally:
    """The sum of all runs."""

    def __init__(self, *, is_real: bool = False) -> None:
        self.is_real = is_real
        self.runs = 0
        self.failed: list[int] = []
        self.hits: Counter[tuple[SessionState, Kind]] = Counter()
        self.sums: Counter[str] = Counter()
        self.greatest: dict[str, int] = {"energy_error_wh": 0, "shortfall_wh": 0}
        self.virtual_s = 0.0

    def add(self, outcome: Outcome) -> None:
        """Take a run in."""
        found = outcome.findings
        self.runs += 1
        self.virtual_s += outcome.virtual_s
        self.hits.update(outcome.hits)
        if outcome.violations:
            self.failed.append(outcome.seed)
        for name in (
            "sessions",
            "estimated",
            "messages",
            "copies",
            "lost",
            "doubled",
            "invented",
            "billed_wh",
            "delivered_wh",
            "closings",
            "by_hand",
        ):
            self.sums[name] += getattr(found, name)
        self.greatest["energy_error_wh"] = max(self.greatest["energy_error_wh"], found.greatest_error_wh)
        self.greatest["shortfall_wh"] = max(self.greatest["shortfall_wh"], found.greatest_shortfall_wh)

    def by_kind(self) -> dict[str, int]:
        """How often each trouble struck."""
        return {kind: sum(self.hits[state, kind] for state in SessionState) for kind in (*KINDS, *RealTrouble)}

    def rarest(self) -> int:
        """The least number of hits of a pair of state and trouble."""
        return min(self.hits[pair] for pair in PAIRS)

    def short(self) -> list[str]:
        """The pairs that so many runs should have hit more often; with few runs none is asked for."""
        if self.runs < ENOUGH_RUNS or self.is_real:
            return []
        return [f"{kind} while {state}: {self.hits[state, kind]}" for state, kind in PAIRS if self.hits[state, kind] < WANTED_HITS]

    def as_json(self) -> dict[str, Json]:
        """The whole as one object."""
        return {
            "runs": self.runs,
            "failed_seeds": [*self.failed],
            "virtual_hours": round(self.virtual_s / 3600, 1),
            **{name: self.sums[name] for name in sorted(self.sums)},
            "greatest_energy_error_wh": self.greatest["energy_error_wh"],
            "greatest_shortfall_wh": self.greatest["shortfall_wh"],
            "faults": {**self.by_kind()},
            "rarest_pair_hits": self.rarest(),
            "short_pairs": [*self.short()],
            "pairs": {kind: {state: self.hits[state, kind] for state in SessionState} for kind in KINDS},
        }

    def as_text(self) -> str:
        """The table for people."""
        sums, kinds = self.sums, self.by_kind()
        spent = f"{self.virtual_s / 3600:.1f} hours of {'real time, in real processes' if self.is_real else 'virtual time'}"
        lines = [
            f"runs                     {self.runs} ({spent}), failed {len(self.failed)}",
            f"faults injected          {sum(kinds.values())}",
            f"sessions                 {sums['sessions']}, {sums['estimated']} of them ended on an earlier register",
            f"billed by hand           {sums['by_hand']} (never had a time; kept as dead letters)",
            f"messages                 {sums['messages']}, {sums['copies']} of them sent again",
            f"contactor closings       {sums['closings']}",
            f"lost                     {sums['lost']}",
            f"doubled                  {sums['doubled']}",
            f"invented                 {sums['invented']}",
            f"greatest energy error    {self.greatest['energy_error_wh']} Wh",
            f"greatest shortfall       {self.greatest['shortfall_wh']} Wh (ended on an earlier register; never billed)",
            f"billed / delivered       {sums['billed_wh']} / {sums['delivered_wh']} Wh",
        ]
        return "\n".join([*lines, *(self._kinds_table() if self.is_real else self._pairs_table())])

    def _kinds_table(self) -> list[str]:
        """From outside a state is seen roughly, so kinds are counted alone."""
        return ["", f"{'fault':<26}{'all':>6}", *(f"{kind:<26}{count:>6}" for kind, count in self.by_kind().items() if count)]

    def _pairs_table(self) -> list[str]:
        kinds = self.by_kind()
        head = f"{'fault':<26}{'all':>6}" + "".join(f"{_SHORT[state]:>6}" for state in SessionState)
        lines = [f"rarest state and fault   {self.rarest()} hits of {len(PAIRS)} pairs", "", head]
        for kind in KINDS:
            cells = "".join(f"{self.hits[state, kind] if (state, kind) in _POSSIBLE else '-':>6}" for state in SessionState)
            lines.append(f"{kind:<26}{kinds[kind]:>6}{cells}")
        lines += ["", *(f"-  {text}" for text in IMPOSSIBLE)]
        return lines + [f"hit less than {WANTED_HITS} times: {text}" for text in self.short()]


_POSSIBLE: Final = frozenset(PAIRS)


def replay_command(seed: int, only: tuple[int, ...] | None, *, is_real: bool = False) -> str:
    """The one command that does it again."""
    visits = "" if only is None else f" --visits {','.join(map(str, only))}"
    return f"charger-sim chaos{' --real' if is_real else ''} --runs 1 --seed {seed}{visits}"


def minimised(seed: int) -> str:
    """Leave out what is not needed for a failure; the command that is left. A failure that does not come again is not made smaller."""
    kept = tuple(range(VISITS))
    for number in range(VISITS):
        fewer = tuple(one for one in kept if one != number)
        if fewer and run_once(seed, fewer).violations:
            kept = fewer
    return replay_command(seed, kept)
