"""Control pilot: the state that the vehicle makes and the signal that the station gives (IEC 61851-1 annex A)."""

from decimal import Decimal
from enum import StrEnum

from agent.domain.values import dataclass

MIN_OFFER_A = Decimal(6)
"""IEC 61851-1: no duty cycle means less than 6 A; to offer less is to pause (X1)."""
MAX_OFFER_A = Decimal(80)


class PilotState(StrEnum):
    """The level that the station reads on its pilot, without the suffix for the signal (1 steady, 2 PWM)."""

    A = "A"
    """+12 V: no vehicle."""
    B = "B"
    """+9 V: vehicle present, not ready."""
    C = "C"
    """+6 V: vehicle ready, no ventilation needed."""
    D = "D"
    """+3 V: vehicle ready, ventilation needed."""
    E = "E"
    """0 V: pilot shorted or supply lost."""
    F = "F"
    """-12 V: the station says that it is not available."""


class PilotSignal(StrEnum):
    """What the station puts on the pilot."""

    X1 = "X1"
    """Steady +12 V: connected is welcome, charging is not offered."""
    PWM = "PWM"
    """1 kHz PWM: charging is offered with the current that the duty cycle says."""
    F = "F"
    """Steady -12 V: not available."""


@dataclass(frozen=True, slots=True)
class PilotOutput:
    """The pilot signal with the current it offers in amps per phase (0 unless PWM)."""

    signal: PilotSignal
    amps: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        offers = MIN_OFFER_A <= self.amps <= MAX_OFFER_A
        if (self.signal is PilotSignal.PWM) != offers or (self.signal is not PilotSignal.PWM and self.amps != 0):
            msg = f"pilot {self.signal} with {self.amps} A: PWM offers {MIN_OFFER_A} to {MAX_OFFER_A} A, every other signal 0"
            raise ValueError(msg)


X1 = PilotOutput(PilotSignal.X1)
STATE_F = PilotOutput(PilotSignal.F)


def pwm(amps: Decimal) -> PilotOutput:
    """PWM that offers `amps` per phase, 6 to 80."""
    return PilotOutput(PilotSignal.PWM, amps)


def duty_percent(amps: Decimal) -> Decimal:
    """Duty cycle in percent for a current of 6 to 80 A: amps / 0.6 up to 51 A, amps / 2.5 + 64 above (IEC 61851-1 table A.7)."""
    if not MIN_OFFER_A <= amps <= MAX_OFFER_A:
        msg = f"no duty cycle offers {amps} A; allowed are {MIN_OFFER_A} to {MAX_OFFER_A} A"
        raise ValueError(msg)
    return amps / Decimal("0.6") if amps <= 51 else amps / Decimal("2.5") + 64


def amps_of_duty(percent: Decimal) -> Decimal:
    """Current in amps that a duty cycle of 10 to 96 percent offers; 0 outside (IEC 61851-1 table A.8)."""
    if Decimal(10) <= percent <= Decimal(85):
        return percent * Decimal("0.6")
    if Decimal(85) < percent <= Decimal(96):
        return (percent - 64) * Decimal("2.5")
    return Decimal(0)
