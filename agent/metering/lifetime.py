"""Whether a register continues the one before, and a lifetime register built from the differences.

A register that falls, jumps further than the EVSE can deliver, rolls over, or belongs to another meter breaks the line. One odd read-out
is a glitch; `CONFIRMATIONS` read-outs in a row that continue each other are a new register, which becomes the base from then on. A register
with wrong words has to insist longer, so that the meter is lost meanwhile: it is repaired rather than believed.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Final

from agent.domain.metering import Discontinuity, Measurand, Reading, rise_limit_wh
from agent.domain.time import Instant
from agent.domain.values import dataclass
from agent.metering.registers import REGISTER_COUNT, RegisterType, exchanged_words, rollover_counts

CONFIRMATIONS: Final = 3
CONFIRMATIONS_OF_WORDS: Final = 60
PROMISE_SHARE: Final = Decimal("1.25")
MS_PER_HOUR: Final = 3_600_000
ROLLOVER_WH: Final = tuple(Decimal(10) ** digits for digits in range(5, 13))
"""Displays begin anew there: 10^5 Wh = 100 kWh to 10^12 Wh, which is five to nine digits of kWh with up to three behind the point."""
WORD: Final = 2**16
WORDS_SHARE: Final = 100
"""Where what can have flowed is not far below 2^16 counts, the lowest word proves nothing."""


class Continuity(StrEnum):
    """What the tracker thinks of one read-out."""

    CONTINUES = "continues"
    DOUBTED = "doubted"
    BROKEN = "broken"
    """A new register is confirmed with this read-out, which is its base."""


@dataclass(frozen=True, slots=True)
class Counter:
    """How the import register counts: one of the raw register of `type` is `unit_wh` Wh."""

    type: RegisterType = RegisterType.UINT64
    unit_wh: Decimal = Decimal(1)

    def moduli_wh(self) -> tuple[Decimal, ...]:
        """Wh at which it begins anew, as a counter or as a display; smallest first."""
        return tuple(sorted({*(count * self.unit_wh for count in rollover_counts(self.type)), *ROLLOVER_WH}))

    def has_wrong_words(self, before_wh: Decimal, after_wh: Decimal, limit_wh: Decimal) -> bool:
        """Whether a register that jumped goes on in its lowest word, or does when its words are read in the other order."""
        if REGISTER_COUNT.get(self.type, 1) == 1:
            return False
        exchanged = exchanged_words(after_wh / self.unit_wh, self.type)
        if exchanged is not None and 0 <= exchanged * self.unit_wh - before_wh <= limit_wh:
            return True
        span = WORD * self.unit_wh
        tells = self.type is not RegisterType.FLOAT32 and limit_wh < span / WORDS_SHARE
        return tells and after_wh > before_wh and (after_wh - before_wh) % span <= limit_wh


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow:
    """Answer to one read-out: for DOUBTED and BROKEN with the kind, for BROKEN with the last good and the first new read-out."""

    continuity: Continuity
    kind: Discontinuity | None = None
    last_good: Reading | None = None
    first_new: Reading | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LifetimeState:
    """What has to be kept so that the lifetime register goes on after a restart."""

    total_wh: Decimal
    register_wh: Decimal
    at: Instant
    serial_number: str | None


@dataclass(slots=True)
class _Candidate:
    kind: Discontinuity
    first: Reading
    latest: Reading
    count: int = 1


class RegisterTracker:
    """Follows the import register of one meter. `max_power_w` is the rated power of the EVSE; only read-outs with energy are followed."""

    def __init__(self, max_power_w: Decimal, resume: LifetimeState | None = None, counter: Counter | None = None) -> None:
        self._max_power_w = max_power_w
        self._counter = Counter() if counter is None else counter
        self._moduli_wh = self._counter.moduli_wh()
        self._state = resume
        self._last_good: Reading | None = None
        self._candidate: _Candidate | None = None
        self._promised_wh = Decimal(0)

    @property
    def state(self) -> LifetimeState | None:
        """The lifetime register; None before the first read-out."""
        return self._state

    @property
    def last_good(self) -> Reading | None:
        """The last read-out that continued the line."""
        return self._last_good

    def break_kind(self, reading: Reading) -> Discontinuity | None:
        """How this read-out breaks the line, or None when it continues it."""
        state = self._state
        if state is None:
            return None
        energy = _energy(reading)
        if state.serial_number is not None and reading.serial_number is not None and state.serial_number != reading.serial_number:
            return Discontinuity.SWAP
        limit = self._rise_limit(state.at, reading)
        if energy >= state.register_wh:
            if limit is None or energy - state.register_wh <= limit + PROMISE_SHARE * self._promised_wh:
                return None
            return Discontinuity.WORDS if self._counter.has_wrong_words(state.register_wh, energy, limit) else Discontinuity.JUMP
        if self._rolled_over_at(reading) is not None:
            return Discontinuity.ROLLOVER
        if limit is not None and self._counter.has_wrong_words(state.register_wh, energy, limit):
            return Discontinuity.WORDS
        return Discontinuity.RESET

    def follow(self, reading: Reading) -> Follow:
        """Take the next read-out (its `energy_wh` must be there)."""
        kind = self.break_kind(reading)
        if kind is None:
            self._candidate = None
            state = self._state
            gained = Decimal(0) if state is None else _energy(reading) - state.register_wh
            self._take(reading, gained)
            return Follow(continuity=Continuity.CONTINUES)
        candidate = self._candidate
        if candidate is None or not self._continues(candidate.latest, reading):
            candidate = self._candidate = _Candidate(kind, reading, reading)
        else:
            candidate.latest, candidate.count = reading, candidate.count + 1
            if kind is Discontinuity.SWAP:
                candidate.kind = kind
        if candidate.count < (CONFIRMATIONS_OF_WORDS if candidate.kind is Discontinuity.WORDS else CONFIRMATIONS):
            return Follow(continuity=Continuity.DOUBTED, kind=candidate.kind)
        last_good, first_new = self._last_good or self._of_before(reading), candidate.first
        gained = _energy(reading) - _energy(first_new)
        modulus = self._rolled_over_at(first_new) if candidate.kind is Discontinuity.ROLLOVER else None
        if modulus is not None and self._state is not None:
            gained += modulus - self._state.register_wh + _energy(first_new)
        self._candidate = None
        self._take(reading, gained)
        return Follow(continuity=Continuity.BROKEN, kind=candidate.kind, last_good=last_good, first_new=first_new)

    def _of_before(self, reading: Reading) -> Reading | None:
        """The last read-out of before the restart, as far as it was kept."""
        state = self._state
        if state is None:
            return None
        return Reading(
            evse_id=reading.evse_id,
            at=state.at,
            energy_wh=state.register_wh,
            serial_number=state.serial_number,
            resolution_wh=reading.resolution_wh,
        )

    def _take(self, reading: Reading, gained: Decimal) -> None:
        state = self._state
        self._promise(reading, gained)
        total = _energy(reading) if state is None else state.total_wh + gained
        serial = reading.serial_number
        if serial is None and state is not None and gained >= 0:
            serial = state.serial_number  # not read this time; the meter is still the same as far as is known
        self._state = LifetimeState(total_wh=total, register_wh=_energy(reading), at=reading.at, serial_number=serial)
        self._last_good = reading

    def _promise(self, reading: Reading, gained: Decimal) -> None:
        """Sum up what the power promises while the register rests, for a meter or gateway that gave old values and then catches up."""
        watts = reading.value(Measurand.POWER_ACTIVE_IMPORT)
        if self._state is None or gained != 0 or watts is None:
            self._promised_wh = Decimal(0)
            return
        elapsed_ms = Decimal(max(0, reading.at.ms_since(self._state.at)))
        self._promised_wh += min(max(Decimal(0), watts), self._max_power_w) * elapsed_ms / MS_PER_HOUR

    def _continues(self, before: Reading, reading: Reading) -> bool:
        limit = self._rise_limit(before.at, reading)
        risen = _energy(reading) - _energy(before)
        return risen >= 0 and (limit is None or risen <= limit)

    def _rise_limit(self, since: Instant, reading: Reading) -> Decimal | None:
        """Give what the register can have risen by since then; None when that time is unknown (another boot without wall time)."""
        elapsed_ms = reading.at.ms_since(since)
        if since.boot_id != reading.at.boot_id and elapsed_ms == 0:
            return None
        return rise_limit_wh(self._max_power_w, elapsed_ms, reading.resolution_wh)

    def _rolled_over_at(self, reading: Reading) -> Decimal | None:
        """Where the counter wrapped, if it lies between the last good register and this one within what can have been delivered."""
        state = self._state
        limit = None if state is None else self._rise_limit(state.at, reading)
        if state is None or limit is None:
            return None
        for modulus in self._moduli_wh:
            if state.register_wh < modulus and 0 <= modulus - state.register_wh + _energy(reading) <= limit:
                return modulus
        return None


def _energy(reading: Reading) -> Decimal:
    if reading.energy_wh is None:
        raise ValueError("a read-out without the import register cannot be followed")
    return reading.energy_wh
