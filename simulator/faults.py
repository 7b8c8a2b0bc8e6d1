"""The catalogue of what can go wrong in the simulated world (`charger-sim faults`, `fault.set`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from agent.domain.connector import FaultKind


class Scope(StrEnum):
    """Where a fault can be."""

    EVSE = "evse"
    STATION = "station"


class SimFault(StrEnum):
    """Names for `fault.set` and `fault.clear`."""

    CONTACTOR_WELDED = "contactor_welded"
    CONTACTOR_DOES_NOT_CLOSE = "contactor_does_not_close"
    CONTACTOR_OPENS = "contactor_opens"
    RCD_TRIP = "rcd_trip"
    RCD_SELF_TEST = "rcd_self_test"
    GROUND_FAULT = "ground_fault"
    OVER_TEMPERATURE = "over_temperature"
    OVER_CURRENT = "over_current"
    OVER_VOLTAGE = "over_voltage"
    UNDER_VOLTAGE = "under_voltage"
    EMERGENCY_STOP = "emergency_stop"
    PILOT_SHORT = "pilot_short"
    DIODE = "diode"
    VENTILATION = "ventilation"
    PROXIMITY = "proximity"
    LOCK_STUCK = "lock_stuck"
    METER_SILENT = "meter_silent"
    METER_EXCEPTION = "meter_exception"
    METER_FROZEN = "meter_frozen"
    METER_NAN = "meter_nan"
    METER_WORD_SWAP = "meter_word_swap"
    METER_ENERGY_WORDS = "meter_energy_words"
    METER_NEGATIVE = "meter_negative"
    METER_RESET = "meter_reset"
    METER_JUMP = "meter_jump"
    METER_SWAP = "meter_swap"
    READER_FAILURE = "reader_failure"
    POWER_FAIL = "power_fail"
    HAL_LOST = "hal_lost"


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """What a fault does. `reports` is what the hardware itself says about it, and it then opens the contactor itself if `trips`."""

    summary: str
    scope: Scope = Scope.EVSE
    reports: FaultKind | None = None
    trips: bool = False


CATALOGUE: Final[Mapping[SimFault, FaultSpec]] = {
    SimFault.CONTACTOR_WELDED: FaultSpec("once closed, the contacts do not part any more; the mirror contact says so"),
    SimFault.CONTACTOR_DOES_NOT_CLOSE: FaultSpec("the coil does not pull; the contactor stays open"),
    SimFault.CONTACTOR_OPENS: FaultSpec("opens without an order: now if closed, and 0.5 s after each closing"),
    SimFault.RCD_TRIP: FaultSpec("residual current: the hardware opens and reports it", reports=FaultKind.RCD_TRIPPED, trips=True),
    SimFault.RCD_SELF_TEST: FaultSpec("the residual-current detector fails its test", reports=FaultKind.RCD_SELF_TEST_FAILED, trips=True),
    SimFault.GROUND_FAULT: FaultSpec("protective earth is missing", reports=FaultKind.GROUND_FAULT, trips=True),
    SimFault.OVER_TEMPERATURE: FaultSpec("the contactor or the plug is too hot", reports=FaultKind.OVER_TEMPERATURE, trips=True),
    SimFault.OVER_CURRENT: FaultSpec("the vehicle draws more than offered", reports=FaultKind.OVER_CURRENT, trips=True),
    SimFault.OVER_VOLTAGE: FaultSpec("35 V more on every phase", reports=FaultKind.OVER_VOLTAGE, trips=True),
    SimFault.UNDER_VOLTAGE: FaultSpec("40 V less on every phase", reports=FaultKind.UNDER_VOLTAGE, trips=True),
    SimFault.EMERGENCY_STOP: FaultSpec("the button is pressed", Scope.STATION, FaultKind.EMERGENCY_STOP, trips=True),
    SimFault.PILOT_SHORT: FaultSpec("the pilot is shorted to earth: state E"),
    SimFault.DIODE: FaultSpec("the diode in the vehicle is missing", reports=FaultKind.DIODE_FAULT, trips=True),
    SimFault.VENTILATION: FaultSpec("the vehicle asks for ventilation: state D where it would be C"),
    SimFault.PROXIMITY: FaultSpec("the resistor of the cable fits no cable", reports=FaultKind.PROXIMITY_FAULT, trips=True),
    SimFault.LOCK_STUCK: FaultSpec("the bolt does not move; reported when it is told to"),
    SimFault.METER_SILENT: FaultSpec("the meter does not answer"),
    SimFault.METER_EXCEPTION: FaultSpec("the meter refuses every request (Modbus exception 4)"),
    SimFault.METER_FROZEN: FaultSpec("the meter goes on answering with the values of this moment"),
    SimFault.METER_NAN: FaultSpec("the meter sends its marker for no value instead of every measurement"),
    SimFault.METER_WORD_SWAP: FaultSpec("the meter sends the registers of each value in the wrong order"),
    SimFault.METER_ENERGY_WORDS: FaultSpec("the meter sends only the energy register with its words in the wrong order"),
    SimFault.METER_NEGATIVE: FaultSpec("the meter sends the energy register with the wrong sign"),
    SimFault.METER_RESET: FaultSpec("the energy register starts again at 0; clearing changes nothing"),
    SimFault.METER_JUMP: FaultSpec("the energy register leaps 50 kWh ahead; clearing changes nothing"),
    SimFault.METER_SWAP: FaultSpec("another meter with another serial number and register; clearing puts the old serial number back"),
    SimFault.READER_FAILURE: FaultSpec("the card reader reads nothing and says so", Scope.STATION, FaultKind.READER_FAILURE),
    SimFault.POWER_FAIL: FaultSpec("the power-fail input says that the supply is going", Scope.STATION, FaultKind.POWER_LOSS),
    SimFault.HAL_LOST: FaultSpec("the safety controller does not answer: orders and reports are lost", Scope.STATION, FaultKind.HAL_LOST),
}


def listing() -> str:
    """Write the catalogue as a table for people."""
    width = max(len(fault) for fault in SimFault)
    return "\n".join(f"{fault:<{width}}  {spec.scope:<7}  {spec.summary}" for fault, spec in CATALOGUE.items())
