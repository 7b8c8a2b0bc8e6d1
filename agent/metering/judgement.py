"""What is thought of one read-out: plausible by itself, continuing the register before, moving as the power says. No clock and no bus.

A driver gives every read-out to its `MeterJudge`, in their order: first `doubts`, then `judge`. Between the two it may ask the meter again
who it is.
"""

from dataclasses import replace
from decimal import Decimal

from agent.domain.metering import Quality, Reading
from agent.domain.values import dataclass
from agent.metering.lifetime import Continuity, Counter, Follow, LifetimeState, RegisterTracker
from agent.metering.plausibility import Doubt, EnergyEvidence, PlausibilityJudge


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The read-out with its quality. `doubt` says why it is not believed, `registers` what was read before and now.

    `broken`: a new register is confirmed.
    """

    reading: Reading
    doubt: str = ""
    registers: str = ""
    broken: Follow | None = None

    @property
    def problem(self) -> str | None:
        """All in one sentence; None when nothing is wrong."""
        return "; ".join(part for part in (self.doubt, self.registers) if part) or None


class MeterJudge:
    """Judges the read-outs of one meter. `max_power_w` is the rated power of the EVSE, `counter` how the import register counts."""

    def __init__(self, max_power_w: Decimal, resume: LifetimeState | None = None, counter: Counter | None = None) -> None:
        self._plausibility = PlausibilityJudge(max_power_w)
        self._tracker = RegisterTracker(max_power_w, resume, counter)

    @property
    def lifetime(self) -> LifetimeState | None:
        """The lifetime register: statistics, never billed."""
        return self._tracker.state

    @property
    def evidence(self) -> EnergyEvidence | None:
        """How the register last moved with the power."""
        return self._plausibility.evidence

    def doubts(self, reading: Reading) -> tuple[Doubt, ...]:
        """Tell what speaks against a read-out by itself. Once for each: repetitions count."""
        return self._plausibility.doubts(reading)

    def breaks_line(self, reading: Reading) -> bool:
        """Whether its register does not continue the one before."""
        return self._tracker.break_kind(reading) is not None

    def judge(self, reading: Reading, doubts: tuple[Doubt, ...]) -> Judgement:
        """Take the read-out, with what `doubts` said of it."""
        before = self._tracker.state
        doubt, broken = ("; ".join(doubts), None) if doubts else self._follow(reading)
        if not doubt:
            return Judgement(reading=reading, broken=broken)
        registers = ""
        if before is not None:
            registers = f"register {before.register_wh} Wh, then {'nothing' if reading.energy_wh is None else f'{reading.energy_wh} Wh'}"
        return Judgement(reading=replace(reading, quality=Quality.SUSPECT), doubt=doubt, registers=registers, broken=broken)

    def _follow(self, reading: Reading) -> tuple[str, Follow | None]:
        follow = self._tracker.follow(reading)
        if follow.continuity is Continuity.DOUBTED:
            return f"the import register does not continue the one before ({follow.kind})", None
        if follow.continuity is Continuity.BROKEN:
            self._plausibility.restart_energy()
        broken = follow if follow.continuity is Continuity.BROKEN else None
        return "; ".join(self._plausibility.energy_doubts(reading)), broken
