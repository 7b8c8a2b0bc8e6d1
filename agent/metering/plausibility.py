"""Whether a read-out can be true: finite values, voltages, power against voltage and current, energy against power.

What is doubted is still delivered, marked, and never billed. Whether the register continues the one before is `lifetime`'s question.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Final

from agent.domain.metering import Measurand, Phase, Reading
from agent.domain.time import Instant
from agent.domain.values import dataclass

VOLTAGE_ABSENT_BELOW: Final = Decimal(10)
"""A phase that is not connected reads some volts of noise."""
VOLTAGE_RANGE: Final = (Decimal(80), Decimal(300))
POWER_TOLERANCE_W: Final = Decimal(60)
POWER_OVER_APPARENT: Final = Decimal("1.15")
POWER_UNDER_APPARENT: Final = Decimal("0.05")
UNDER_APPARENT_FROM_VA: Final = Decimal(2000)
"""Below that a charger's own reactive power explains a low active power; above it 1/20 means kW taken for W."""
POWER_LIMIT_FACTOR: Final = Decimal(2)
HIGHEST_REGISTER_WH: Final = Decimal(100_000_000_000)
"""100 GWh, some five hundred years at 22 kW: a higher register has its words exchanged, or is not read as the manual says. However long
it stands there, it is no new register that could be believed.
"""
LEAST_REGISTER_WH: Final = Decimal("0.000001")
"""No meter counts finer: what is less and not 0 is a float with its words exchanged."""
MISMATCHES_BEFORE_DOUBT: Final = 3
"""Registers of one read-out are some 100 ms apart: a car that ramps up may mismatch once."""
ENERGY_WINDOW_WH: Final = Decimal(30)
ENERGY_WINDOW_STEPS: Final = 5
ENERGY_SHARE_RANGE: Final = (Decimal("0.5"), Decimal("1.6"))
LONGEST_INTERVAL_MS: Final = 10_000
MS_PER_HOUR: Final = 3_600_000

_PHASES: Final = ((Phase.L1_N, Phase.L1), (Phase.L2_N, Phase.L2), (Phase.L3_N, Phase.L3))


class Doubt(StrEnum):
    """Why a read-out is not believed."""

    ENERGY_MISSING = "the import register is missing"
    ENERGY_NEGATIVE = "the import register is negative"
    ENERGY_TOO_LOW = "the import register shows less than a millionth of a Wh, and not 0"
    ENERGY_TOO_HIGH = "the import register shows more than 100 GWh"
    VOLTAGE = "a voltage is neither 0 nor 80 to 300 V"
    POWER_LIMIT = "the power is more than twice what the EVSE can deliver"
    POWER_MISMATCH = "power does not fit voltage times current"
    ENERGY_MISMATCH = "the import register does not move as the power says"
    ENERGY_FROZEN = "the import register stands still although power flows"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyEvidence:
    """How the register moved, last time that the power had promised enough to tell."""

    risen_wh: Decimal
    promised_wh: Decimal
    fits: bool


@dataclass(slots=True)
class _EnergyWindow:
    """Energy that the power readings promise since `register_wh` was read."""

    register_wh: Decimal
    promised_wh: Decimal
    power_w: Decimal
    at: Instant


class PlausibilityJudge:
    """Judges the read-outs of one meter, in their order. `max_power_w` is the rated power of the EVSE."""

    def __init__(self, max_power_w: Decimal) -> None:
        self._max_power_w = max_power_w
        self._mismatches = 0
        self._window: _EnergyWindow | None = None
        self._energy_doubt: Doubt | None = None
        self.evidence: EnergyEvidence | None = None

    def doubts(self, reading: Reading) -> tuple[Doubt, ...]:
        """Tell what speaks against this read-out by itself."""
        found = []
        if reading.energy_wh is None:
            found.append(Doubt.ENERGY_MISSING)
        elif reading.energy_wh < 0:
            found.append(Doubt.ENERGY_NEGATIVE)
        elif 0 < reading.energy_wh < LEAST_REGISTER_WH:
            found.append(Doubt.ENERGY_TOO_LOW)
        elif reading.energy_wh > HIGHEST_REGISTER_WH:
            found.append(Doubt.ENERGY_TOO_HIGH)
        if any(not voltage_is_plausible(volts) for volts in reading.values(Measurand.VOLTAGE)):
            found.append(Doubt.VOLTAGE)
        if any(abs(watts) > POWER_LIMIT_FACTOR * self._max_power_w for watts in reading.values(Measurand.POWER_ACTIVE_IMPORT)):
            found.append(Doubt.POWER_LIMIT)
        self._mismatches = 0 if power_fits(reading) else self._mismatches + 1
        if self._mismatches >= MISMATCHES_BEFORE_DOUBT:
            found.append(Doubt.POWER_MISMATCH)
        return tuple(found)

    def energy_doubts(self, reading: Reading) -> tuple[Doubt, ...]:
        """Tell whether the register moves as the power readings promise; only for read-outs that continue the one before.

        Looked at each time that the power has promised several steps of the register, so that coarse registers are not doubted. A meter
        that answers with frozen values is found this way.
        """
        watts = reading.value(Measurand.POWER_ACTIVE_IMPORT)
        if reading.energy_wh is None or watts is None:
            return ()
        window = self._window
        if window is None or reading.energy_wh < window.register_wh:
            self.restart_energy()
            self._window = _EnergyWindow(reading.energy_wh, Decimal(0), watts, reading.at)
            return ()
        elapsed_ms = max(0, reading.at.ms_since(window.at))
        if elapsed_ms > LONGEST_INTERVAL_MS:  # nobody knows what the power was meanwhile
            self._window = _EnergyWindow(reading.energy_wh, Decimal(0), watts, reading.at)
            return self._energy_doubts()
        hours = Decimal(elapsed_ms) / MS_PER_HOUR
        window.promised_wh += max(Decimal(0), (window.power_w + watts) / 2) * hours
        window.power_w, window.at = watts, reading.at
        if window.promised_wh >= max(ENERGY_WINDOW_WH, ENERGY_WINDOW_STEPS * reading.resolution_wh):
            least, most = (share * window.promised_wh for share in ENERGY_SHARE_RANGE)
            risen = reading.energy_wh - window.register_wh
            fits = least - reading.resolution_wh <= risen <= most + reading.resolution_wh
            self.evidence = EnergyEvidence(risen_wh=risen, promised_wh=window.promised_wh, fits=fits)
            self._energy_doubt = None if fits else Doubt.ENERGY_FROZEN if risen == 0 else Doubt.ENERGY_MISMATCH
            window.register_wh, window.promised_wh = reading.energy_wh, Decimal(0)
        return self._energy_doubts()

    def _energy_doubts(self) -> tuple[Doubt, ...]:
        return () if self._energy_doubt is None else (self._energy_doubt,)

    def restart_energy(self) -> None:
        """Forget the register: a new one begins."""
        self._window = None
        self._energy_doubt = None


def voltage_is_plausible(volts: Decimal) -> bool:
    """Whether it is none (some volts of noise) or one of the mains."""
    lowest, highest = VOLTAGE_RANGE
    return abs(volts) < VOLTAGE_ABSENT_BELOW or lowest <= volts <= highest


def apparent_va(reading: Reading) -> Decimal | None:
    """The sum of voltage times current of the three phases, None where one is missing."""
    apparent = Decimal(0)
    for voltage_phase, current_phase in _PHASES:
        volts = reading.value(Measurand.VOLTAGE, voltage_phase)
        amps = reading.value(Measurand.CURRENT_IMPORT, current_phase)
        if volts is None or amps is None:
            return None
        apparent += abs(volts * amps)
    return apparent


def power_fits(reading: Reading) -> bool:
    """Whether total active power lies between 5 % and 115 % of the sum of U × I; true where the meter does not give all three."""
    watts = reading.value(Measurand.POWER_ACTIVE_IMPORT)
    apparent = apparent_va(reading)
    if watts is None or apparent is None:
        return True
    if abs(watts) > POWER_OVER_APPARENT * apparent + POWER_TOLERANCE_W:
        return False
    return apparent < UNDER_APPARENT_FROM_VA or abs(watts) >= POWER_UNDER_APPARENT * apparent
