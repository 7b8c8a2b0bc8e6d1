"""What a technician looks at when a meter was wired in: which of its values fit each other, which do not, and which need a load to tell."""

from collections.abc import Iterator
from decimal import Decimal

from agent.domain.metering import Measurand, Phase, Reading
from agent.domain.values import dataclass
from agent.metering.plausibility import Doubt, EnergyEvidence, apparent_va, power_fits, voltage_is_plausible

LOAD_W = Decimal(500)
"""From this on power, current and direction say something."""
SUM_TOLERANCE = Decimal("0.05")
SUM_TOLERANCE_W = Decimal(20)
_PHASES = (Phase.L1, Phase.L2, Phase.L3)


@dataclass(frozen=True, slots=True)
class MeterCheck:
    """One question to the meter. `holds` None: it cannot be told yet, or never for this meter; `text` says why or what was seen."""

    name: str
    holds: bool | None
    text: str


def self_check(reading: Reading | None, evidence: EnergyEvidence | None) -> tuple[MeterCheck, ...]:
    """Compare the values of the newest read-out, and how the register last moved with the power."""
    return () if reading is None else tuple(_checks(reading, evidence))


def _checks(reading: Reading, evidence: EnergyEvidence | None) -> Iterator[MeterCheck]:
    yield _voltage(reading)
    yield _power(reading)
    yield _phases(reading)
    yield _direction(reading)
    yield _energy(reading, evidence)


def _voltage(reading: Reading) -> MeterCheck:
    volts = reading.values(Measurand.VOLTAGE)
    if not volts:
        return MeterCheck("voltage", None, "the meter gives none")
    holds = all(map(voltage_is_plausible, volts))
    cure = "" if holds else ": wrong word order, type or scale"
    return MeterCheck("voltage", holds, f"{', '.join(map(str, volts))} V{cure}")


def _power(reading: Reading) -> MeterCheck:
    watts, apparent = reading.value(Measurand.POWER_ACTIVE_IMPORT), apparent_va(reading)
    if watts is None or apparent is None:
        return MeterCheck("power", None, "the meter does not give power, voltage and current of each phase")
    seen = f"{watts} W, voltage times current {apparent:.0f} VA"
    if max(abs(watts), apparent) < LOAD_W:
        return MeterCheck("power", None, f"{seen}: needs a load of {LOAD_W} W")
    holds = power_fits(reading)
    cure = "" if holds else ": wrong unit (W or kW) or scale, or current transformers"
    return MeterCheck("power", holds, seen + cure)


def _phases(reading: Reading) -> MeterCheck:
    watts = reading.value(Measurand.POWER_ACTIVE_IMPORT)
    parts = [reading.value(Measurand.POWER_ACTIVE_IMPORT, phase) for phase in _PHASES]
    known = [part for part in parts if part is not None]
    if watts is None or len(known) < len(parts):
        return MeterCheck("phases", None, "the meter does not give power by phase")
    total = sum(known, Decimal(0))
    seen = f"{' + '.join(map(str, known))} W, together {watts} W"
    if max(abs(watts), abs(total)) < LOAD_W:
        return MeterCheck("phases", None, f"{seen}: needs a load of {LOAD_W} W")
    return MeterCheck("phases", abs(total - watts) <= SUM_TOLERANCE * abs(watts) + SUM_TOLERANCE_W, seen)


def _direction(reading: Reading) -> MeterCheck:
    watts = reading.value(Measurand.POWER_ACTIVE_IMPORT)
    if watts is None or abs(watts) < LOAD_W:
        return MeterCheck("direction", None, f"needs a load of {LOAD_W} W")
    if watts > 0:
        return MeterCheck("direction", True, "the load is import")
    return MeterCheck("direction", False, "the load reads as export: meter or current transformer the wrong way round")


def _energy(reading: Reading, evidence: EnergyEvidence | None) -> MeterCheck:
    if reading.energy_wh is None:
        return MeterCheck("energy", False, Doubt.ENERGY_MISSING.value)
    if evidence is None:
        return MeterCheck("energy", None, "needs a load for some minutes: 30 Wh and five steps of the register")
    seen = f"the register rose {evidence.risen_wh} Wh, power promised {evidence.promised_wh:.1f} Wh"
    cure = "" if evidence.fits else ": wrong unit (Wh or kWh), scale, or register"
    return MeterCheck("energy", evidence.fits, seen + cure)
