"""What many runs gave together, and how a failing one is replayed and made smaller."""

from collections import Counter
from typing import Final

from simulator.chaos.plan import KINDS, PAIRS, VISITS, Kind, SessionState
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


class Tally:
    """The sum of all runs."""

    def __init__(self) -> None:
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
        for name in ("sessions", "estimated", "messages", "copies", "lost", "doubled", "invented", "billed_wh", "delivered_wh", "closings"):
            self.sums[name] += getattr(found, name)
        self.greatest["energy_error_wh"] = max(self.greatest["energy_error_wh"], found.greatest_error_wh)
        self.greatest["shortfall_wh"] = max(self.greatest["shortfall_wh"], found.greatest_shortfall_wh)

    def by_kind(self) -> dict[str, int]:
        """How often each trouble struck."""
        return {kind: sum(self.hits[state, kind] for state in SessionState) for kind in KINDS}

    def rarest(self) -> int:
        """The least number of hits of a pair of state and trouble."""
        return min(self.hits[pair] for pair in PAIRS)

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
            "pairs": {kind: {state: self.hits[state, kind] for state in SessionState} for kind in KINDS},
        }

    def as_text(self) -> str:
        """The table for people."""
        sums, kinds = self.sums, self.by_kind()
        lines = [
            f"runs                     {self.runs} ({self.virtual_s / 3600:.1f} hours of virtual time), failed {len(self.failed)}",
            f"faults injected          {sum(kinds.values())}",
            f"sessions                 {sums['sessions']}, {sums['estimated']} of them ended on an earlier register",
            f"messages                 {sums['messages']}, {sums['copies']} of them sent again",
            f"contactor closings       {sums['closings']}",
            f"lost                     {sums['lost']}",
            f"doubled                  {sums['doubled']}",
            f"invented                 {sums['invented']}",
            f"greatest energy error    {self.greatest['energy_error_wh']} Wh",
            f"greatest shortfall       {self.greatest['shortfall_wh']} Wh (ended on an earlier register; never billed)",
            f"billed / delivered       {sums['billed_wh']} / {sums['delivered_wh']} Wh",
            f"rarest state and fault   {self.rarest()} hits of {len(PAIRS)} pairs",
            "",
            f"{'fault':<26}{'all':>6}" + "".join(f"{_SHORT[state]:>6}" for state in SessionState),
        ]
        for kind in KINDS:
            cells = "".join(f"{self.hits[state, kind] if (state, kind) in _POSSIBLE else '-':>6}" for state in SessionState)
            lines.append(f"{kind:<26}{kinds[kind]:>6}{cells}")
        return "\n".join(lines)


_POSSIBLE: Final = frozenset(PAIRS)


def replay_command(seed: int, only: tuple[int, ...] | None) -> str:
    """The one command that does it again."""
    return f"charger-sim chaos --runs 1 --seed {seed}" + ("" if only is None else f" --visits {','.join(map(str, only))}")


def minimised(seed: int) -> str:
    """Leave out what is not needed for a failure; the command that is left. A failure that does not come again is not made smaller."""
    kept = tuple(range(VISITS))
    for number in range(VISITS):
        fewer = tuple(one for one in kept if one != number)
        if fewer and run_once(seed, fewer).violations:
            kept = fewer
    return replay_command(seed, kept)
