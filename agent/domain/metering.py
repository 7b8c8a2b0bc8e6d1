"""Meter values: measurands, units, readings. Values are Decimal in the measurand's one unit; energy is Wh of the meter's own register."""

from decimal import ROUND_FLOOR, Decimal
from enum import StrEnum
from typing import Final

from agent.domain.ids import EvseId
from agent.domain.time import Instant
from agent.domain.values import dataclass


class Measurand(StrEnum):
    """OCPP 2.0.1 MeasurandEnumType (the 1.6 names are the same); the comment gives the one unit used inside the agent."""

    CURRENT_IMPORT = "Current.Import"  # A
    CURRENT_EXPORT = "Current.Export"  # A
    CURRENT_OFFERED = "Current.Offered"  # A
    ENERGY_ACTIVE_IMPORT_REGISTER = "Energy.Active.Import.Register"  # Wh
    ENERGY_ACTIVE_EXPORT_REGISTER = "Energy.Active.Export.Register"  # Wh
    ENERGY_ACTIVE_IMPORT_INTERVAL = "Energy.Active.Import.Interval"  # Wh
    ENERGY_REACTIVE_IMPORT_REGISTER = "Energy.Reactive.Import.Register"  # varh
    ENERGY_REACTIVE_EXPORT_REGISTER = "Energy.Reactive.Export.Register"  # varh
    FREQUENCY = "Frequency"  # Hz
    POWER_ACTIVE_IMPORT = "Power.Active.Import"  # W
    POWER_ACTIVE_EXPORT = "Power.Active.Export"  # W
    POWER_OFFERED = "Power.Offered"  # W
    POWER_REACTIVE_IMPORT = "Power.Reactive.Import"  # var
    POWER_FACTOR = "Power.Factor"  # 1
    SOC = "SoC"  # percent
    VOLTAGE = "Voltage"  # V
    TEMPERATURE = "Temperature"  # degrees Celsius; OCPP 1.6 only


UNIT: dict[Measurand, str] = {
    Measurand.CURRENT_IMPORT: "A",
    Measurand.CURRENT_EXPORT: "A",
    Measurand.CURRENT_OFFERED: "A",
    Measurand.ENERGY_ACTIVE_IMPORT_REGISTER: "Wh",
    Measurand.ENERGY_ACTIVE_EXPORT_REGISTER: "Wh",
    Measurand.ENERGY_ACTIVE_IMPORT_INTERVAL: "Wh",
    Measurand.ENERGY_REACTIVE_IMPORT_REGISTER: "varh",
    Measurand.ENERGY_REACTIVE_EXPORT_REGISTER: "varh",
    Measurand.FREQUENCY: "Hz",
    Measurand.POWER_ACTIVE_IMPORT: "W",
    Measurand.POWER_ACTIVE_EXPORT: "W",
    Measurand.POWER_OFFERED: "W",
    Measurand.POWER_REACTIVE_IMPORT: "var",
    Measurand.POWER_FACTOR: "",
    Measurand.SOC: "Percent",
    Measurand.VOLTAGE: "V",
    Measurand.TEMPERATURE: "Celsius",
}
"""The one unit in which each measurand is kept inside the agent."""


class Phase(StrEnum):
    """OCPP PhaseEnumType."""

    L1 = "L1"
    L2 = "L2"
    L3 = "L3"
    N = "N"
    L1_N = "L1-N"
    L2_N = "L2-N"
    L3_N = "L3-N"
    L1_L2 = "L1-L2"
    L2_L3 = "L2-L3"
    L3_L1 = "L3-L1"


class ReadingContext(StrEnum):
    """OCPP ReadingContextEnumType: why a value was taken."""

    INTERRUPTION_BEGIN = "Interruption.Begin"
    INTERRUPTION_END = "Interruption.End"
    OTHER = "Other"
    SAMPLE_CLOCK = "Sample.Clock"
    SAMPLE_PERIODIC = "Sample.Periodic"
    TRANSACTION_BEGIN = "Transaction.Begin"
    TRANSACTION_END = "Transaction.End"
    TRIGGER = "Trigger"


class Quality(StrEnum):
    """How far a reading may be believed."""

    GOOD = "good"
    SUSPECT = "suspect"
    """Read, but implausible beside what came before; shown and logged, never billed."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """One measured value in the measurand's unit (`UNIT`); `phase` None is the total or the meter's only value."""

    measurand: Measurand
    value: Decimal
    phase: Phase | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One read-out of one meter.

    `at` is when the registers were read, and is never renewed. `energy_wh` is the raw active import register (Wh); None when this
    read-out did not give it. `resolution_wh` is the meter's own step. `serial_number` is None where the meter gives none.
    """

    evse_id: EvseId
    at: Instant
    energy_wh: Decimal | None
    quantities: tuple[Quantity, ...] = ()
    serial_number: str | None = None
    resolution_wh: Decimal = Decimal(1)
    quality: Quality = Quality.GOOD

    def value(self, measurand: Measurand, phase: Phase | None = None) -> Decimal | None:
        """The value of a measurand on a phase, or None when the meter did not give it."""
        for quantity in self.quantities:
            if quantity.measurand is measurand and quantity.phase is phase:
                return quantity.value
        return None

    def values(self, measurand: Measurand) -> tuple[Decimal, ...]:
        """All values of a measurand, whatever their phase."""
        return tuple(q.value for q in self.quantities if q.measurand is measurand)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterValue:
    """The quantities of one reading that go to the CSMS, with the time at which they were read and why (OCPP MeterValueType)."""

    at: Instant
    context: ReadingContext
    quantities: tuple[Quantity, ...]


class Discontinuity(StrEnum):
    """Why a meter's register does not continue the one before."""

    RESET = "reset"
    """It fell."""
    ROLLOVER = "rollover"
    """It began anew at the end of its counter or of its display, and what flowed fits."""
    SWAP = "swap"
    """Another serial number."""
    JUMP = "jump"
    """It rose by more than can have flowed."""
    WORDS = "words"
    """Its registers are exchanged, or the upper ones of them are wrong: the lower ones go on as before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterSegment:
    """What one register counted of a session in which the register changed: raw Wh, and why it ended; `ended_by` None is the session's end.

    Only the first segment of a session is billed: nothing ties the others to what was sold.
    """

    serial_number: str | None
    start_wh: Decimal
    stop_wh: Decimal
    ended_by: Discontinuity | None


POWER_MARGIN: Final = Decimal("1.25")
RISE_TOLERANCE_WH: Final = Decimal(5)
_MS_PER_HOUR: Final = 3_600_000


def rise_limit_wh(max_power_w: Decimal, elapsed_ms: int, resolution_wh: Decimal) -> Decimal:
    """What a register can have risen by in a time, at 125 % of the rated power, with two of its steps and 5 Wh of tolerance."""
    return max_power_w * POWER_MARGIN * max(0, elapsed_ms) / _MS_PER_HOUR + 2 * resolution_wh + RISE_TOLERANCE_WH


def billed_wh(start_wh: Decimal, stop_wh: Decimal) -> int:
    """Billed energy in whole Wh: floor of the stop register minus floor of the start register. Never negative by contract of the caller."""
    return whole_wh(stop_wh) - whole_wh(start_wh)


def whole_wh(register_wh: Decimal) -> int:
    """A register in whole Wh, rounded down: the form in which it is billed and goes on the wire. The one rounding of energy."""
    return int(register_wh.to_integral_value(rounding=ROUND_FLOOR))
