"""What the display shall show, derived from the state. The QR code's text comes from the caller, who knows the template's language."""

from collections.abc import Callable

from agent.core import availability, recovery, status, transactions
from agent.core import variables as var
from agent.core.evse import connection_deadline
from agent.core.state import AuthorizationState, Evse, Phase, Refusal, Station, Turn
from agent.domain.events import LinkState
from agent.domain.ids import EvseId
from agent.domain.metering import Measurand
from agent.domain.screen import EvseView, Notice, ScreenKind, StationView
from agent.domain.tariff import Tariff
from agent.domain.time import Instant
from agent.domain.transaction import ChargingState

Payload = Callable[[EvseId], str | None]
"""The text of an EVSE's payment code, None where no template gives one."""


def station_view(station: Station, at: Instant, payload: Payload) -> StationView:
    """The whole display at a moment."""
    return StationView(
        station_id=station.config.station_id,
        online=station.is_online,
        language=station.config.language,
        evses=tuple(_evse_view(station, evse, at, payload) for evse in station.evses),
        clock=None if at.utc is None else at.utc.replace(second=0, microsecond=0),
    )


def _evse_view(station: Station, evse: Evse, at: Instant, payload: Payload) -> EvseView:
    kind, notice = _kind(station, evse)
    agreed = None if evse.authorization is None else evse.authorization.tariff
    tariff = agreed or transactions.price_now(station.variables)
    if evse.has_transaction:
        return _running(evse, at, kind, notice)
    if kind is ScreenKind.FINISHED and evse.receipt is not None and evse.transaction is not None:
        receipt = evse.receipt
        return EvseView(
            evse_id=evse.evse_id,
            kind=kind,
            notice=notice,
            tariff=evse.transaction.tariff,
            energy_wh=receipt.energy_wh,
            seconds=receipt.duration_ms // 1000,
            cost=receipt.cost,
            started_at=receipt.started_at.utc,
            ended_at=receipt.ended_at.utc,
        )
    if kind is ScreenKind.AVAILABLE or (kind is ScreenKind.PREPARING and evse.authorization is None):
        return _inviting(station, evse, kind, tariff, payload)
    fault = status.fault_of(station, evse)
    return EvseView(
        evse_id=evse.evse_id,
        kind=kind,
        notice=notice,
        tariff=tariff,
        fault=None if fault is None else fault[0].value,
        deadline_s=_deadline_s(station, evse, at),
    )


def _inviting(station: Station, evse: Evse, kind: ScreenKind, tariff: Tariff | None, payload: Payload) -> EvseView:
    """Nobody is authorized: the code is shown only while it leads to a charge."""
    public = transactions.is_public(station.variables)
    can_charge = availability.start_blocker(station, evse) is None and evse.reading is not None
    code = payload(evse.evse_id) if public and tariff is not None and station.is_online and can_charge else None
    if public and tariff is None:
        notice = Notice.NO_PRICE
    elif code is not None:
        notice = Notice.SCAN_TO_PAY if kind is ScreenKind.AVAILABLE else Notice.PRESENT_TOKEN_OR_PAY
    else:
        notice = Notice.SHOW_CARD
    return EvseView(evse_id=evse.evse_id, kind=kind, notice=notice, tariff=tariff, qr_payload=code)


def _running(evse: Evse, at: Instant, kind: ScreenKind, notice: Notice) -> EvseView:
    record = evse.transaction
    if record is None:
        msg = f"EVSE {evse.evse_id} has no transaction to show"
        raise LookupError(msg)
    if evse.phase is Phase.RECOVERING:
        at = recovery.last_seen(record)  # whatever becomes of it: what was dark is not billed, so it is not shown
    power = None
    if evse.reading is not None and evse.meter_lost_at is None:
        power = evse.reading.value(Measurand.POWER_ACTIVE_IMPORT)
    return EvseView(
        evse_id=evse.evse_id,
        kind=kind,
        notice=notice,
        tariff=record.tariff,
        energy_wh=transactions.energy_so_far(evse),
        power_w=power,
        seconds=transactions.duration_ms(record, at) // 1000,
        cost=transactions.running_cost(evse, at),
        started_at=record.started_at.utc,
    )


def _deadline_s(station: Station, evse: Evse, at: Instant) -> int | None:
    if evse.authorization is None or evse.plugged_at is not None or evse.authorization.state is AuthorizationState.PENDING:
        return None
    deadline = connection_deadline(Turn(station, at), evse.authorization)
    return max(0, -(-deadline.ms_since(at) // 1000))


def _kind(station: Station, evse: Evse) -> tuple[ScreenKind, Notice]:
    if evse.has_transaction:
        return _transaction_kind(station, evse)
    fault = status.fault_of(station, evse)
    if fault is not None:
        notice = {"MeterFailure": Notice.METER_SILENT, "StorageFailure": Notice.STORAGE_FAILED}.get(fault[0].value, Notice.FAULT)
        return ScreenKind.FAULTED, notice
    if evse.phase is Phase.FINISHED and evse.authorization is None:
        return ScreenKind.FINISHED, Notice.UNPLUG
    if evse.refusal is not None:
        return ScreenKind.REFUSED, Notice.TOKEN_REFUSED if evse.refusal is Refusal.TOKEN_REFUSED else Notice.TIMED_OUT
    if not availability.is_operative(station, evse) or station.is_leaving or station.reset is not None:
        return ScreenKind.UNAVAILABLE, Notice.OUT_OF_SERVICE
    if evse.authorization is not None:
        if evse.authorization.state is AuthorizationState.PENDING:
            return ScreenKind.AUTHORIZING, Notice.CHECKING
        return ScreenKind.PREPARING, Notice.PLUG_IN if evse.plugged_at is None else Notice.WAITING_FOR_VEHICLE
    return _idle_kind(station, evse)


def _transaction_kind(station: Station, evse: Evse) -> tuple[ScreenKind, Notice]:
    if evse.may_resume:
        return ScreenKind.SUSPENDED, Notice.PAUSED_BY_STATION
    if evse.phase in {Phase.STOPPING, Phase.RECOVERING}:
        return ScreenKind.STOPPING, Notice.NONE
    calm = Notice.NONE if station.is_online else Notice.OFFLINE_SESSION_CONTINUES
    state = evse.transaction.charging_state if evse.transaction is not None else ChargingState.IDLE
    if evse.meter_lost_at is not None:
        return ScreenKind.CHARGING, Notice.METER_SILENT
    if state is ChargingState.SUSPENDED_EV:
        return ScreenKind.SUSPENDED, Notice.PAUSED_BY_VEHICLE
    if state in {ChargingState.SUSPENDED_EVSE, ChargingState.IDLE}:
        return ScreenKind.SUSPENDED, Notice.PAUSED_BY_STATION
    if state is ChargingState.EV_CONNECTED:
        return ScreenKind.CHARGING, Notice.WAITING_FOR_VEHICLE
    return ScreenKind.CHARGING, calm


def _idle_kind(station: Station, evse: Evse) -> tuple[ScreenKind, Notice]:
    if station.link is LinkState.PENDING or (station.link is LinkState.REJECTED and not station.record.was_accepted):
        return ScreenKind.UNCLAIMED, Notice.ADD_IN_PORTAL
    public = station.variables.boolean(var.WEB_PAYMENTS_ENABLED)
    if not station.is_online and (public or not station.record.was_accepted):
        return ScreenKind.OFFLINE, Notice.OFFLINE_NO_PAYMENT
    if evse.reading is None:
        return ScreenKind.STARTING, Notice.NONE
    return (ScreenKind.PREPARING if evse.plugged_at is not None else ScreenKind.AVAILABLE), Notice.NONE
