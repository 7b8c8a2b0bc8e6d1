"""Connector status: derived from the state, told to the CSMS when it changed."""

from dataclasses import replace

from agent.core import availability
from agent.core.state import AuthorizationState, Evse, Phase, Station, Turn
from agent.domain.connector import ConnectorStatus, FaultKind, OperationalStatus, SessionStage
from agent.domain.effects import Send
from agent.domain.notices import StatusNotice
from agent.domain.transaction import ChargingState


def fault_of(station: Station, evse: Evse) -> tuple[FaultKind, str] | None:
    """The fault that matters most: the hardware's first, then the meter's silence, then the storage."""
    faults = (*evse.faults, *station.faults)
    if faults:
        return faults[0].kind, faults[0].detail
    if evse.meter_lost_at is not None:
        return FaultKind.METER_FAILURE, evse.meter_lost_reason
    if station.storage_failure is not None:
        return FaultKind.STORAGE_FAILURE, station.storage_failure
    return None


def of(turn: Turn, evse: Evse) -> StatusNotice:
    """The EVSE's connector status now."""
    fault = fault_of(turn.station, evse)
    stage, charging_state = _stage(evse)
    if fault is not None and not evse.has_transaction:
        status = ConnectorStatus.FAULTED
    elif not availability.is_operative(turn.station, evse) and not evse.has_transaction:
        status = ConnectorStatus.UNAVAILABLE
    elif evse.plugged_at is not None or evse.has_transaction:
        status = ConnectorStatus.OCCUPIED
    else:
        status = ConnectorStatus.AVAILABLE
    return StatusNotice(
        evse_id=evse.evse_id,
        connector_id=evse.config.connector_id,
        at=turn.at,
        status=status,
        stage=stage,
        charging_state=charging_state,
        fault=None if fault is None else fault[0],
        info="" if fault is None else fault[1],
    )


def _stage(evse: Evse) -> tuple[SessionStage, ChargingState | None]:
    if evse.has_transaction and evse.transaction is not None:
        is_leaving_unplugged = (
            evse.phase is Phase.STOPPING and evse.plugged_at is None and evse.stop is not None and evse.stop.ends_transaction
        )
        if evse.may_resume:
            return SessionStage.TRANSACTION, ChargingState.SUSPENDED_EVSE
        if evse.phase is Phase.RECOVERING or is_leaving_unplugged:
            # 1.6 4.9, TC_005: nothing is charging any more, and nobody else may begin before the last register is read.
            return SessionStage.FINISHING, None
        return SessionStage.TRANSACTION, evse.transaction.charging_state
    if evse.phase is Phase.FINISHED and evse.authorization is None:
        return SessionStage.FINISHING, None
    granted = evse.authorization is not None and evse.authorization.state is AuthorizationState.GRANTED
    if evse.plugged_at is not None or granted:
        return SessionStage.PREPARING, None
    return SessionStage.NONE, None


def report(turn: Turn, evse: Evse, *, always: bool = False) -> None:
    """Tell the CSMS the EVSE's status when it differs from the one told last, or `always`. Offline nothing is told: the newest counts."""
    if not turn.station.is_online:
        return
    now, before = of(turn, evse), evse.reported
    if not always and before is not None and _same(now, before):
        return
    changed = always or before is None or now.status is not before.status or now.fault is not before.fault
    turn.emit(Send(replace(now, status_changed=changed)))
    turn.put(replace(evse, reported=now))


def report_station(turn: Turn, *, always: bool = False) -> None:
    """Tell the CSMS the status of the station itself (1.6 connector 0)."""
    station = turn.station
    if not station.is_online:
        return
    fault = station.faults[0] if station.faults else None
    storage = station.storage_failure
    if fault is not None or storage is not None:
        status = ConnectorStatus.FAULTED
    elif station.record.operational_status is OperationalStatus.INOPERATIVE:
        status = ConnectorStatus.UNAVAILABLE
    else:
        status = ConnectorStatus.AVAILABLE
    kind = fault.kind if fault is not None else None if storage is None else FaultKind.STORAGE_FAILURE
    info = fault.detail if fault is not None else storage or ""
    now = StatusNotice(evse_id=None, connector_id=None, at=turn.at, status=status, fault=kind, info=info)
    before = station.station_reported
    if always or before is None or not _same(now, before):
        turn.emit(Send(now))
        turn.station = replace(turn.station, station_reported=now)


def _same(now: StatusNotice, before: StatusNotice) -> bool:
    return (now.status, now.stage, now.charging_state, now.fault) == (before.status, before.stage, before.charging_state, before.fault)
