"""StatusNotification: the nine states of 1.6 from status, stage of the session and charging state, and error codes from faults."""

from agent.domain.connector import ConnectorStatus, FaultKind, SessionStage
from agent.domain.notices import StatusNotice
from agent.domain.time import wire_time
from agent.domain.transaction import ChargingState
from agent.ocpp_client.adapter import Call
from agent.ocpp_client.v16.context import Context

_MAX_INFO = 50

STATION_STATUS: dict[ConnectorStatus, str] = {
    ConnectorStatus.AVAILABLE: "Available",
    ConnectorStatus.OCCUPIED: "Available",
    ConnectorStatus.RESERVED: "Available",
    ConnectorStatus.UNAVAILABLE: "Unavailable",
    ConnectorStatus.FAULTED: "Faulted",
}
"""Connector 0 knows three states (1.6 4.9)."""

_STATUS_BEFORE_STAGE: dict[ConnectorStatus, str] = {
    ConnectorStatus.RESERVED: "Reserved",
    ConnectorStatus.UNAVAILABLE: "Unavailable",
    ConnectorStatus.FAULTED: "Faulted",
}
_STAGE: dict[SessionStage, str] = {
    SessionStage.NONE: "Available",
    SessionStage.PREPARING: "Preparing",
    SessionStage.FINISHING: "Finishing",
}
_CHARGING_STATE: dict[ChargingState | None, str] = {
    ChargingState.CHARGING: "Charging",
    ChargingState.SUSPENDED_EV: "SuspendedEV",
    ChargingState.SUSPENDED_EVSE: "SuspendedEVSE",
    ChargingState.IDLE: "SuspendedEV",  # the cable was pulled at the vehicle and the transaction goes on (TC_005_3)
    ChargingState.EV_CONNECTED: "Preparing",  # the vehicle has not asked for energy yet: 1.6 goes from Preparing to Charging (A2, B3)
    None: "Preparing",
}

ERROR_CODE: dict[FaultKind, str] = {
    FaultKind.GROUND_FAULT: "GroundFailure",
    FaultKind.OVER_TEMPERATURE: "HighTemperature",
    FaultKind.OVER_CURRENT: "OverCurrentFailure",
    FaultKind.OVER_VOLTAGE: "OverVoltage",
    FaultKind.UNDER_VOLTAGE: "UnderVoltage",
    FaultKind.EMERGENCY_STOP: "OtherError",
    FaultKind.INVALID_VEHICLE_MODE: "EVCommunicationError",
    FaultKind.PILOT_FAULT: "EVCommunicationError",
    FaultKind.DIODE_FAULT: "EVCommunicationError",
    FaultKind.PROXIMITY_FAULT: "OtherError",
    FaultKind.VENTILATION_NOT_AVAILABLE: "OtherError",
    FaultKind.RCD_TRIPPED: "GroundFailure",
    FaultKind.RCD_SELF_TEST_FAILED: "InternalError",
    FaultKind.CONTACTOR_WELDED: "PowerSwitchFailure",
    FaultKind.CONTACTOR_DID_NOT_CLOSE: "PowerSwitchFailure",
    FaultKind.CONTACTOR_OPENED: "PowerSwitchFailure",
    FaultKind.CONNECTOR_LOCK_FAILURE: "ConnectorLockFailure",
    FaultKind.METER_FAILURE: "PowerMeterFailure",
    FaultKind.READER_FAILURE: "ReaderFailure",
    FaultKind.STORAGE_FAILURE: "InternalError",
    FaultKind.POWER_LOSS: "UnderVoltage",
    FaultKind.HAL_LOST: "InternalError",
}
"""1.6 7.6 ChargePointErrorCode; vendorErrorCode tells the fault itself."""


def connector_status(status: ConnectorStatus, stage: SessionStage, charging_state: ChargingState | None) -> str:
    """The state of 1.6 for a connector."""
    if status in _STATUS_BEFORE_STAGE:
        return _STATUS_BEFORE_STAGE[status]
    return _CHARGING_STATE[charging_state] if stage is SessionStage.TRANSACTION else _STAGE[stage]


def encode(context: Context, notice: StatusNotice) -> tuple[Call, ...]:
    """One StatusNotification; none when a transaction begins in a connector that is Preparing and stays so until the vehicle draws."""
    if notice.evse_id is None:
        word = STATION_STATUS[notice.status]
    else:
        word = connector_status(notice.status, notice.stage, notice.charging_state)
        if not notice.status_changed and notice.stage is SessionStage.TRANSACTION and word == "Preparing":
            return ()
    payload: dict[str, object] = {
        "connectorId": context.connector_of(notice.evse_id),
        "status": word,
        "errorCode": "NoError" if notice.fault is None else ERROR_CODE[notice.fault],
    }
    utc = context.utc(notice.at)
    if utc is not None:
        payload["timestamp"] = wire_time(utc)
    if notice.info:
        payload["info"] = notice.info[:_MAX_INFO]
    if notice.fault is not None:
        payload["vendorId"] = context.vendor_id
        payload["vendorErrorCode"] = notice.fault.value
    return (Call("StatusNotification", payload),)
