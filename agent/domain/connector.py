"""Connector status, faults and operational state."""

from enum import StrEnum


class ConnectorStatus(StrEnum):
    """OCPP 2.0.1 ConnectorStatusEnumType."""

    AVAILABLE = "Available"
    OCCUPIED = "Occupied"
    RESERVED = "Reserved"
    UNAVAILABLE = "Unavailable"
    FAULTED = "Faulted"


class SessionStage(StrEnum):
    """How far the session on an EVSE is; with the charging state it is all that the nine states of 1.6 say."""

    NONE = "none"
    PREPARING = "preparing"
    """Plugged in or authorized; no transaction yet."""
    TRANSACTION = "transaction"
    FINISHING = "finishing"
    """The transaction has ended, the cable is still in."""


class OperationalStatus(StrEnum):
    """OCPP 2.0.1 OperationalStatusEnumType (1.6: AvailabilityType)."""

    OPERATIVE = "Operative"
    INOPERATIVE = "Inoperative"


class FaultKind(StrEnum):
    """What is wrong with an EVSE or the station. The comment names the CharIN minimum required error code where there is one."""

    GROUND_FAULT = "GroundFault"  # MREC002
    OVER_TEMPERATURE = "OverTemperature"  # MREC003
    OVER_CURRENT = "OverCurrent"  # MREC004
    OVER_VOLTAGE = "OverVoltage"  # MREC005
    UNDER_VOLTAGE = "UnderVoltage"  # MREC006
    EMERGENCY_STOP = "EmergencyStop"  # MREC008
    INVALID_VEHICLE_MODE = "InvalidVehicleMode"  # MREC010
    PILOT_FAULT = "PilotFault"  # MREC014
    DIODE_FAULT = "DiodeFault"  # MREC014
    PROXIMITY_FAULT = "ProximityFault"  # MREC023
    VENTILATION_NOT_AVAILABLE = "VentilationNotAvailable"
    RCD_TRIPPED = "RcdTripped"
    RCD_SELF_TEST_FAILED = "RcdSelfTestFailed"
    CONTACTOR_WELDED = "ContactorWelded"  # MREC017
    CONTACTOR_DID_NOT_CLOSE = "ContactorDidNotClose"  # MREC017
    CONTACTOR_OPENED = "ContactorOpened"  # MREC017
    CONNECTOR_LOCK_FAILURE = "ConnectorLockFailure"
    METER_FAILURE = "MeterFailure"
    READER_FAILURE = "ReaderFailure"
    STORAGE_FAILURE = "StorageFailure"
    """The disk takes no records: no new session may begin."""
    POWER_LOSS = "PowerLoss"  # MREC015
    """The board's power-fail input: the supply is going, some moments are left. Suspends, and flushes (docs/hardware.md)."""
    HAL_LOST = "HalLost"
    """The safety controller or its driver does not answer."""
