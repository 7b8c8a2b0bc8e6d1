"""The rule that stands in front of every contactor. Pure, and applied twice: by the core when it decides and by the guard when it acts."""

from enum import StrEnum

from agent.domain.connector import FaultKind
from agent.domain.pilot import PilotSignal, PilotState
from agent.domain.values import dataclass

NOT_INTERLOCKING = frozenset({FaultKind.METER_FAILURE, FaultKind.READER_FAILURE, FaultKind.STORAGE_FAILURE})
"""Faults that forbid a new session but leave a running one closed: a policy answers them (on_meter_loss, storage), not the interlock."""


class Interlock(StrEnum):
    """The first condition that forbids a closed contactor."""

    NO_PERMISSION = "no permission (not authorized, stopped, or the permission expired)"
    FAULT = "a fault is present"
    NOT_STATE_C = "the vehicle is not in state C"
    NO_VENTILATION = "the vehicle asks for ventilation (state D) and there is none"
    PILOT_STEADY = "the pilot offers nothing (X1), and the time of an orderly stop is over"
    NOT_LOCKED = "the plug is not locked"


@dataclass(frozen=True, slots=True, kw_only=True)
class InterlockInputs:
    """Everything the rule looks at. `is_stopping` is true only within the bounded window of an orderly stop (X1, at most 6 s)."""

    pilot_state: PilotState
    pilot_signal: PilotSignal
    has_permission: bool
    has_fault: bool
    has_ventilation: bool = False
    has_lock: bool = False
    is_locked: bool = False
    is_stopping: bool = False


def interlock(inputs: InterlockInputs) -> Interlock | None:
    """Why the contactor must be open, or None when it may be closed.

    It may in C2, or D2 with ventilation (IEC 61851-1 table A.3), without fault, locked and permitted.
    """
    if inputs.has_fault:
        return Interlock.FAULT
    if not inputs.has_permission:
        return Interlock.NO_PERMISSION
    if inputs.pilot_state is PilotState.D and not inputs.has_ventilation:
        return Interlock.NO_VENTILATION
    if inputs.pilot_state not in {PilotState.C, PilotState.D}:
        return Interlock.NOT_STATE_C
    if inputs.pilot_signal is not PilotSignal.PWM and not inputs.is_stopping:
        return Interlock.PILOT_STEADY
    if inputs.has_lock and not inputs.is_locked:
        return Interlock.NOT_LOCKED
    return None
