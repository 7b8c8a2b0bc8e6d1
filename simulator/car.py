"""A vehicle on a cable: battery, on-board charger, and what it does with the pilot. Values are integers, so that energy is exact.

Power is in microwatts (millivolts times milliamperes), time in microseconds, energy therefore in picojoules.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

PJ_PER_WH: Final = 3600 * 10**12
SECOND: Final = 10**6
"""One second in microseconds."""

QUIET_US: Final = 2 * SECOND
"""A vehicle draws nothing for the first 2 s of state C."""
REACTION_US: Final = 300_000
"""From an offer, or a pause, to what the vehicle does about it."""
RAMP_STEP_US: Final = 100_000
RAMP_UP_MA: Final = 400
RAMP_DOWN_MA: Final = 2000
"""Per step: 4 A/s up, 20 A/s down."""
MIN_CURRENT_MA: Final = 6000
EFFICIENCY_PERCENT: Final = 92
TAPER: Final = ((95, 80), (96, 60), (97, 45), (98, 35), (99, 25))
"""From this state of charge on (percent) the on-board charger takes this share of its maximum, never less than 6 A."""


@dataclass(slots=True, kw_only=True)
class Car:
    """One vehicle. `stored` and `capacity` are in hundredths of a picojoule, so that the charger's efficiency loses nothing to rounding."""

    max_current_ma: int
    phases: int
    capacity: int
    stored: int
    plugged_us: int
    ready_from_us: int
    leave_us: int
    """Time that it takes to leave state C after the offer ended: 0.2 to 1 s."""
    is_ready: bool = True
    is_charging_level: bool = False
    """It holds the pilot at C (or D)."""
    draws_from_us: int = 0
    is_coasting: bool = False
    """On its way out of C: it draws nothing any more."""
    taken_pj: int = 0

    @property
    def is_full(self) -> bool:
        """Whether the battery takes no more."""
        return self.stored >= self.capacity

    @property
    def soc_percent(self) -> Decimal:
        """State of charge, to a hundredth of a percent."""
        return Decimal(self.stored * 10_000 // self.capacity) / 100

    def charge(self, energy_pj: int) -> None:
        """Take energy from the cable."""
        self.taken_pj += energy_pj
        self.stored = min(self.capacity, self.stored + energy_pj * EFFICIENCY_PERCENT)

    def limit_ma(self) -> int:
        """Give the most that the on-board charger takes at the present state of charge."""
        if self.is_full:
            return 0
        share = next((share for percent, share in reversed(TAPER) if self.stored * 100 >= self.capacity * percent), 100)
        return max(min(MIN_CURRENT_MA, self.max_current_ma), self.max_current_ma * share // 100)

    def time_to_next_limit_us(self, power_uw: int) -> int:
        """Give the time at this power until the limit changes or the battery is full."""
        marks = [-(-self.capacity * percent // 100) for percent, _ in TAPER] + [self.capacity]
        wanted = next((mark for mark in marks if mark > self.stored), self.capacity) - self.stored
        return max(1, -(-wanted // (power_uw * EFFICIENCY_PERCENT)))


def make_car(*, now_us: int, max_current_a: int, phases: int, delay_s: float, soc: float, capacity_kwh: float, leave_us: int) -> Car:
    """Make a vehicle that is plugged in now, from the figures that people use."""
    capacity = round(capacity_kwh * 1000) * PJ_PER_WH * 100
    return Car(
        max_current_ma=max_current_a * 1000,
        phases=phases,
        capacity=capacity,
        stored=capacity * round(soc * 100) // 10_000,
        plugged_us=now_us,
        ready_from_us=now_us + round(delay_s * SECOND),
        leave_us=leave_us,
    )
