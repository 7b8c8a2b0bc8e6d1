"""The EVSE's session machine: from the first of plug-in or authorization until the EVSE is free again.

`advance` is called after every event that touches an EVSE and whenever one of its deadlines comes: it moves the phase as far as the
conditions allow and then derives what pilot, contactor and lock have to be. Outputs follow the state; nothing else orders them.
"""

from dataclasses import replace
from decimal import Decimal

from agent.core import availability, control_pilot, limits, recovery, sampling, segments, status, transactions
from agent.core import variables as var
from agent.core.state import Authorization, AuthorizationState, Evse, Fault, MeterLossPolicy, Phase, Refusal, Stop, StopStage, Turn
from agent.domain.commands import CommandStatus, StatusOutcome
from agent.domain.connector import FaultKind
from agent.domain.effects import Answer, CloseContactor, LockPlug, OpenContactor, ReadMeter, SetPilot, UnlockPlug
from agent.domain.ids import EvseId
from agent.domain.interlock import NOT_INTERLOCKING
from agent.domain.metering import Measurand, Reading
from agent.domain.pilot import X1, PilotOutput, PilotSignal, PilotState, pwm
from agent.domain.time import Instant
from agent.domain.transaction import ChargingState, StopBegun, StoppedReason, TriggerReason

RAMP_DOWN_MS = 6_000
"""IEC 61851-1 sequence 10.2: the vehicle has to stop drawing within 6 s of X1, afterwards the contactor opens under load."""
LEAVING_RAMP_DOWN_MS = 3_000
OPEN_CONFIRM_MS = 1_500
SETTLE_MS = 500
"""The stop register is read this long after the contactor is confirmed open, so that the meter has counted the last energy."""
LAST_READING_MS = 6_000
START_READING_MS = 5_000
REFUSAL_MS = 8_000
CLOSE_RETRY_MS = 1_000
WAKE_UP_MS = 10_000
"""How long after the offer a vehicle still counts as connecting; then it is suspended by the EV."""
NO_LOAD_A = Decimal(1)

_REASON = {
    FaultKind.EMERGENCY_STOP: StoppedReason.EMERGENCY_STOP,
    FaultKind.GROUND_FAULT: StoppedReason.GROUND_FAULT,
    FaultKind.RCD_TRIPPED: StoppedReason.GROUND_FAULT,
    FaultKind.OVER_CURRENT: StoppedReason.OVERCURRENT_FAULT,
    FaultKind.OVER_VOLTAGE: StoppedReason.POWER_QUALITY,
    FaultKind.UNDER_VOLTAGE: StoppedReason.POWER_QUALITY,
}


def interlocking_faults(turn: Turn, evse: Evse) -> tuple[Fault, ...]:
    """Faults of the EVSE and of the station that keep the contactor open."""
    return tuple(f for f in (*evse.faults, *turn.station.faults) if f.kind not in NOT_INTERLOCKING)


def advance(turn: Turn, evse_id: EvseId) -> None:
    """Move one EVSE as far as the present conditions allow."""
    evse = _settle_pilot(turn, turn.evse(evse_id))
    evse = _watch_supply(turn, evse)
    evse = _watch_faults(turn, evse)
    evse = _expire(turn, evse)
    evse = _PHASES[evse.phase](turn, evse)
    evse = sampling.periodic(turn, evse)
    evse = _drive(turn, evse)
    evse = _charging_state(turn, evse)
    evse = _answer_unlock(turn, evse)
    status.report(turn, evse)


# --- pilot and faults


def _settle_pilot(turn: Turn, evse: Evse) -> Evse:
    pilot = control_pilot.settled(evse.pilot, turn.at)
    if pilot is not evse.pilot:
        evse = turn.put(replace(evse, pilot=pilot))
    if pilot.is_connected and evse.plugged_at is None:
        evse = turn.put(replace(evse, plugged_at=turn.at, refusal=None))
        turn.remark("ev_connected", evse)
    elif pilot.state is PilotState.A and evse.plugged_at is not None:
        evse = _unplugged(turn, turn.put(replace(evse, plugged_at=None, unplugged_at=turn.at)))
    return _pilot_fault(turn, evse)


def _pilot_fault(turn: Turn, evse: Evse) -> Evse:
    state = evse.pilot.state
    shorted = "control pilot at 0 V: shorted, or the supply is lost"
    evse = set_fault(turn, evse, FaultKind.PILOT_FAULT, state is PilotState.E, shorted, is_derived=True)
    needs_air = state is PilotState.D and not evse.config.has_ventilation
    no_air = "the vehicle asks for ventilation and there is none"
    return set_fault(turn, evse, FaultKind.VENTILATION_NOT_AVAILABLE, needs_air, no_air, is_derived=True)


def set_fault(turn: Turn, evse: Evse, kind: FaultKind, is_present: bool, detail: str = "", *, is_derived: bool = False) -> Evse:
    """Note that a fault came or went. What the hardware reports, only the hardware takes back: it sees more of the pilot than its level."""
    known = any(fault.kind is kind and fault.is_derived is is_derived for fault in evse.faults)
    if is_present == known:
        return evse
    if is_present:
        evse = turn.put(replace(evse, faults=(*evse.faults, Fault(kind, turn.at, detail, is_derived))))
        turn.remark("fault_raised", evse, f"{kind}: {detail}" if detail else kind, is_warning=True)
    else:
        others = tuple(fault for fault in evse.faults if fault.kind is not kind or fault.is_derived is not is_derived)
        evse = turn.put(replace(evse, faults=others))
        turn.remark("fault_cleared", evse, kind)
    return evse


def _watch_supply(turn: Turn, evse: Evse) -> Evse:
    """While the supply is failing every newer register goes to disk at once; the fault itself keeps pilot and contactor off."""
    record = evse.transaction
    if record is None or evse.phase not in {Phase.TRANSACTION, Phase.STOPPING} or not evse.has_transaction:
        return evse
    if any(fault.kind is FaultKind.POWER_LOSS for fault in interlocking_faults(turn, evse)):
        newest = record.last_reading if evse.reading is None else evse.reading
        if record.interrupted_by is None or newest.energy_wh != record.last_reading.energy_wh:
            turn.emit(ReadMeter(evse.evse_id))
            record = replace(record, last_reading=newest, interrupted_by=record.interrupted_by or StoppedReason.POWER_LOSS)
            return turn.put(replace(evse, transaction=record))
    elif record.interrupted_by is StoppedReason.POWER_LOSS:
        turn.remark("power_returned", evse, "charging goes on, from X1")
        not_before = turn.at.plus_ms(recovery.X1_DWELL_MS)
        return turn.put(replace(evse, transaction=replace(record, interrupted_by=None), offer_not_before=not_before))
    return evse


def _watch_faults(turn: Turn, evse: Evse) -> Evse:
    faults = interlocking_faults(turn, evse)
    if not faults:
        return evse
    if evse.authorization is not None:
        turn.remark("authorization_dropped", evse, f"{faults[0].kind} is present")
        evse = turn.put(replace(evse, authorization=None, reading_due=None))
    # A supply that fails suspends: if it comes back the transaction goes on, if it does not the next run recovers it.
    stopping = [fault for fault in faults if fault.kind is not FaultKind.POWER_LOSS]
    is_stopped = evse.phase is Phase.TRANSACTION and stopping
    if is_stopped or (evse.stop is not None and evse.stop.stage is StopStage.RAMP_DOWN):
        faults = tuple(stopping) or faults
        reason = _REASON.get(faults[0].kind, StoppedReason.OTHER)
        ends = bool(stopping)
        evse = request_stop(turn, evse, reason, TriggerReason.ABNORMAL_CONDITION, at_once=True, ends_transaction=ends)
    return evse


def _unplugged(turn: Turn, evse: Evse) -> Evse:
    turn.remark("ev_disconnected", evse)
    evse = turn.put(replace(evse, authorization=None, reading_due=None))
    if evse.phase is Phase.TRANSACTION:
        if not turn.station.variables.boolean(var.STOP_TX_ON_EV_SIDE_DISCONNECT):
            return evse
        if evse.config.has_lock and not turn.station.variables.boolean(var.UNLOCK_ON_EV_SIDE_DISCONNECT) and evse.transaction is not None:
            evse = turn.put(replace(evse, held_for=evse.transaction.id_token))
        return request_stop(turn, evse, StoppedReason.EV_DISCONNECTED, TriggerReason.EV_COMMUNICATION_LOST, at_once=True)
    if evse.phase is Phase.STOPPING and may_go_on(evse):
        # The next run must not take whoever is plugged in then for this vehicle.
        return request_stop(turn, evse, StoppedReason.EV_DISCONNECTED, TriggerReason.EV_COMMUNICATION_LOST, at_once=True)
    if evse.phase is Phase.STOPPING and evse.stop is not None and evse.stop.stage is StopStage.RAMP_DOWN:
        return _to_stage(turn, evse, StopStage.OPENING)
    if evse.phase is Phase.FINISHED:
        return turn.put(replace(evse, phase=Phase.FREE))
    return evse


# --- phases


def _expire(turn: Turn, evse: Evse) -> Evse:
    if evse.refusal_until is not None and turn.at.ms_since(evse.refusal_until) >= 0:
        evse = turn.put(replace(evse, refusal=None, refusal_until=None))
    if evse.close_not_before is not None and turn.at.ms_since(evse.close_not_before) >= 0:
        evse = turn.put(replace(evse, close_not_before=None))
    if evse.offer_not_before is not None and turn.at.ms_since(evse.offer_not_before) >= 0:
        evse = turn.put(replace(evse, offer_not_before=None))
    authorization = evse.authorization
    if authorization is None or evse.plugged_at is not None:
        return evse
    if turn.at.ms_since(connection_deadline(turn, authorization)) >= 0:
        turn.remark("connection_timeout", evse, "authorized, but no vehicle was connected in time")
        evse = refuse(turn, turn.put(replace(evse, authorization=None)), Refusal.TIMED_OUT)
    return evse


def connection_deadline(turn: Turn, authorization: Authorization) -> Instant:
    """Until when the driver may plug in (1.6 ConnectionTimeOut, 2.x EVConnectionTimeOut)."""
    return authorization.since.plus_ms(turn.station.variables.integer(var.EV_CONNECTION_TIME_OUT) * 1000)


def refuse(turn: Turn, evse: Evse, refusal: Refusal) -> Evse:
    """Tell the driver for a few seconds why nothing starts."""
    return turn.put(replace(evse, refusal=refusal, refusal_until=turn.at.plus_ms(REFUSAL_MS)))


def _free(turn: Turn, evse: Evse) -> Evse:
    authorization = evse.authorization
    if authorization is None or authorization.state is not AuthorizationState.GRANTED or not evse.pilot.is_connected:
        # A start that was called off leaves no deadline behind: it would come for ever, and be the next driver's.
        return evse if evse.reading_due is None else turn.put(replace(evse, reading_due=None))
    blocker = availability.start_blocker(turn.station, evse, for_started=True)
    if blocker is not None:
        turn.remark("start_refused", evse, blocker, is_warning=True)
        return refuse(turn, turn.put(replace(evse, authorization=None, reading_due=None)), Refusal.TIMED_OUT)
    reading = sampling.fresh_reading(turn, evse)
    is_held = evse.is_locked or not evse.config.has_lock
    if is_held and reading is not None and reading.energy_wh is not None and not evse.contactor_closed:
        # The contactor is open, so the register stands still: any present reading is the one at the start.
        return transactions.begin(turn, evse, authorization, reading)
    if evse.reading_due is None:
        turn.emit(ReadMeter(evse.evse_id))
        return turn.put(replace(evse, reading_due=turn.at.plus_ms(START_READING_MS)))
    if turn.at.ms_since(evse.reading_due) >= 0:
        missing = "the meter gave no register in time" if is_held else "the plug was not locked in time"
        turn.remark("start_refused", evse, missing, is_warning=True)
        return refuse(turn, turn.put(replace(evse, authorization=None, reading_due=None)), Refusal.TIMED_OUT)
    return evse


def _transaction(turn: Turn, evse: Evse) -> Evse:
    limit = limits.reached(turn, evse)
    if limit is not None:
        turn.remark("limit_reached", evse, f"{limit[0]}: what the driver agreed to")
        return _stopping(turn, request_stop(turn, evse, *limit))
    if evse.meter_lost_at is None or evse.transaction is None:
        return evse
    config = turn.station.config
    lost_ms = turn.at.ms_since(evse.meter_lost_at)
    waits = config.on_meter_loss is MeterLossPolicy.STOP_AFTER and lost_ms < config.meter_loss_timeout_s * 1000
    if config.on_meter_loss is MeterLossPolicy.CONTINUE or waits:
        return evse
    turn.remark("meter_lost_stop", evse, f"policy on_meter_loss = {config.on_meter_loss}", is_warning=True)
    # A meter hangs on the supply that fails: then that is why.
    reason = evse.transaction.interrupted_by or StoppedReason.OTHER
    evse = request_stop(turn, evse, reason, TriggerReason.ABNORMAL_CONDITION)
    return _stopping(turn, evse)


def _stopping(turn: Turn, evse: Evse) -> Evse:
    stop = evse.stop
    if stop is None:
        return evse
    if stop.stage is StopStage.RAMP_DOWN and (_draws_nothing(evse, stop.stage_since) or turn.at.ms_since(stop.deadline) >= 0):
        if evse.pilot.is_ready and turn.at.ms_since(stop.deadline) >= 0:
            turn.remark("opened_under_load", evse, "the vehicle did not stop drawing in time", is_warning=True)
        evse = _to_stage(turn, evse, StopStage.OPENING)
    evse = _drive(turn, evse)
    stop = evse.stop or stop
    if stop.stage is StopStage.OPENING and (not evse.contactor_closed or turn.at.ms_since(stop.deadline) >= 0):
        evse = _to_stage(turn, evse, StopStage.READING)
        stop = evse.stop or stop
    return _last_reading(turn, evse, stop) if stop.stage is StopStage.READING else evse


def _last_reading(turn: Turn, evse: Evse, stop: Stop) -> Evse:
    record = evse.transaction
    if record is None:
        return evse
    if not stop.ends_transaction:
        # The process leaves, the transaction stays open: what is known goes to disk.
        last = evse.reading or record.last_reading
        return evse if last is record.last_reading else turn.put(replace(evse, transaction=replace(record, last_reading=last)))
    ended_at = stop.ended_at or turn.at
    reading = evse.reading if stop.fixed_reading is None else stop.new_register
    settled_at = stop.stage_since.plus_ms(SETTLE_MS)
    is_settled = reading is not None and reading.energy_wh is not None and reading.at.ms_since(settled_at) >= 0
    if is_settled or evse.meter_lost_at is not None or turn.at.ms_since(stop.deadline) >= 0:
        if stop.fixed_reading is not None:
            evse = replace(evse, transaction=segments.with_counted(record, reading))
            return transactions.end(turn, evse, stop, stop.fixed_reading, is_estimated=True, ended_at=ended_at)
        last = _newest(record.last_reading, reading)
        return transactions.end(turn, evse, stop, last, is_estimated=not is_settled, ended_at=ended_at)
    if not stop.is_asked and turn.at.ms_since(settled_at) >= 0:
        turn.emit(ReadMeter(evse.evse_id))
        return turn.put(replace(evse, stop=replace(stop, is_asked=True)))
    return evse


def _newest(stored: Reading, live: Reading | None) -> Reading:
    return stored if live is None or live.energy_wh is None else live


def _recovering(turn: Turn, evse: Evse) -> Evse:
    evse = recovery.watch_vehicle(turn, evse)
    stop, record = evse.stop, evse.transaction
    if stop is None or record is None:
        return evse
    reading = evse.reading
    ended_at = stop.ended_at or turn.at
    if stop.fixed_reading is not None:
        return transactions.end(turn, evse, stop, stop.fixed_reading, is_estimated=True, ended_at=ended_at)
    is_late = turn.at.ms_since(stop.deadline) >= 0
    if evse.contactor_closed and not is_late:
        # The run before was cut off a moment ago, energy still flows: what is read now is not the last register.
        return turn.put(replace(evse, stop=replace(stop, stage=StopStage.OPENING, stage_since=turn.at)))
    if stop.stage is StopStage.OPENING:
        stop = replace(stop, stage=StopStage.READING, stage_since=turn.at.plus_ms(SETTLE_MS))
        evse = turn.put(replace(evse, stop=stop))
    if reading is not None and reading.energy_wh is not None and (is_late or reading.at.ms_since(stop.stage_since) >= 0):
        if continues(record.last_reading, reading) and recovery.is_possible(evse.config, record.last_reading, reading):
            if evse.may_resume and not evse.contactor_closed:
                why = recovery.refusal(turn, evse)
                waits = recovery.waits_for(turn, evse)
                if why is None and waits is None:
                    return recovery.resume(turn, evse, reading)
                if why is None and not is_late:
                    return evse
                turn.remark("resume_refused", evse, why or f"{waits}, after {recovery.WAIT_MS // 1000} s")
            # Nothing flows through an open contactor: the register at the boot is the register at the cut.
            ended_at = recovery.earliest_end(evse.config, record, reading)
            return transactions.end(turn, evse, stop, reading, is_estimated=evse.contactor_closed, ended_at=ended_at)
        turn.remark("meter_not_plausible", evse, "the register at the boot does not continue the stored one", is_warning=True)
        kind = segments.kind_at_boot(record.last_reading, reading)
        evse = replace(evse, transaction=segments.broken(record, record.last_reading, kind, reading))
        return transactions.end(turn, evse, stop, record.last_reading, is_estimated=True, ended_at=ended_at)
    if is_late:
        return transactions.end(turn, evse, stop, record.last_reading, is_estimated=True, ended_at=ended_at)
    return evse


def continues(earlier: Reading, later: Reading) -> bool:
    """Whether a register continues an earlier one: the same meter, and it did not fall."""
    same_meter = earlier.serial_number is None or later.serial_number is None or earlier.serial_number == later.serial_number
    return same_meter and earlier.energy_wh is not None and later.energy_wh is not None and later.energy_wh >= earlier.energy_wh


_PHASES = {
    Phase.FREE: _free,
    Phase.FINISHED: _free,
    Phase.TRANSACTION: _transaction,
    Phase.STOPPING: _stopping,
    Phase.RECOVERING: _recovering,
}


# --- stop


def may_go_on(evse: Evse) -> bool:
    """Whether a transaction that is not served now may go on later: it was found at the boot, or the agent leaves and it stays open."""
    return evse.may_resume or (evse.phase is Phase.STOPPING and evse.stop is not None and not evse.stop.ends_transaction)


def request_stop(
    turn: Turn,
    evse: Evse,
    reason: StoppedReason,
    trigger: TriggerReason,
    *,
    at_once: bool = False,
    ends_transaction: bool = True,
    fixed_reading: Reading | None = None,
    token: Authorization | None = None,
) -> Evse:
    """Begin to stop a running transaction. `at_once` opens the contactor without waiting for the vehicle. The first reason stays."""
    if evse.phase is Phase.STOPPING and evse.stop is not None:
        stop = evse.stop if fixed_reading is None else replace(evse.stop, fixed_reading=fixed_reading, new_register=None)
        is_leaving_only = ends_transaction and not stop.ends_transaction
        if is_leaving_only:
            # The agent leaves, and the next run would go on with it: it ends here if there is time, else there, with this reason.
            id_token = None if token is None else token.id_token
            stop = replace(stop, reason=reason, trigger=trigger, id_token=id_token, ends_transaction=True)
        evse = turn.put(replace(evse, stop=stop))
        if is_leaving_only:
            turn.remark("stop_requested", evse, f"reason {reason}")
            evse = _note_begun(turn, evse, turn.at)
        return _to_stage(turn, evse, StopStage.OPENING) if at_once and stop.stage is StopStage.RAMP_DOWN else evse
    if evse.phase is Phase.RECOVERING and evse.may_resume and evse.stop is not None and ends_transaction:
        # It was to go on; now it ends like one that is not: with the register of the boot, at the moment of the cut.
        id_token = None if token is None else token.id_token
        stop = replace(evse.stop, reason=reason, trigger=trigger, id_token=id_token)
        return _note_begun(turn, turn.put(replace(evse, may_resume=False, stop=stop)), evse.stop.ended_at or turn.at)
    if evse.phase is not Phase.TRANSACTION:
        return evse
    is_live = evse.contactor_commanded or evse.contactor_closed
    stage = StopStage.READING if not is_live else StopStage.OPENING if at_once else StopStage.RAMP_DOWN
    stop = Stop(
        reason=reason,
        trigger=trigger,
        requested_at=turn.at,
        stage=stage,
        stage_since=turn.at,
        deadline=turn.at.plus_ms(_stage_ms(turn, stage)),
        id_token=None if token is None else token.id_token,
        fixed_reading=fixed_reading,
        ends_transaction=ends_transaction,
    )
    turn.remark("stop_requested", evse, f"reason {reason}" + (", at once" if at_once else ""))
    return _note_begun(turn, turn.put(replace(evse, phase=Phase.STOPPING, stop=stop)), turn.at)


def _note_begun(turn: Turn, evse: Evse, at: Instant) -> Evse:
    """Put on disk why the contactor opens: the next run ends with it what this one cannot, and nothing later changes it."""
    stop, record = evse.stop, evse.transaction
    if stop is None or record is None or not stop.ends_transaction:
        return evse
    begun = StopBegun(reason=stop.reason, trigger=stop.trigger, at=at, id_token=stop.id_token)
    newest = stop.fixed_reading or (None if evse.phase is Phase.RECOVERING else evse.reading) or record.last_reading
    return turn.put(replace(evse, transaction=replace(record, stop_begun=begun, last_reading=newest)))


def _to_stage(turn: Turn, evse: Evse, stage: StopStage) -> Evse:
    if evse.stop is None:
        return evse
    stop = replace(evse.stop, stage=stage, stage_since=turn.at, deadline=turn.at.plus_ms(_stage_ms(turn, stage)))
    return turn.put(replace(evse, stop=stop))


def _stage_ms(turn: Turn, stage: StopStage) -> int:
    match stage:
        case StopStage.RAMP_DOWN:
            return LEAVING_RAMP_DOWN_MS if turn.station.is_leaving else RAMP_DOWN_MS
        case StopStage.OPENING:
            return OPEN_CONFIRM_MS
        case StopStage.READING:
            return LAST_READING_MS


def _draws_nothing(evse: Evse, since: Instant) -> bool:
    if not evse.pilot.is_ready:
        return True
    reading = evse.reading if evse.stop is None or evse.stop.new_register is None else evse.stop.new_register
    if reading is None or reading.at.ms_since(since) <= 0:
        return False
    currents = reading.values(Measurand.CURRENT_IMPORT)
    return bool(currents) and all(abs(current) < NO_LOAD_A for current in currents)


# --- outputs


def _drive(turn: Turn, evse: Evse) -> Evse:
    """Derive pilot, contactor and lock from the state, and order what differs. Energy is removed before anything else is ordered."""
    evse = _drive_contactor(turn, evse, may_close=False)
    wanted = _wanted_output(turn, evse)
    if wanted != evse.output:
        evse = turn.put(replace(evse, output=wanted))
        turn.emit(SetPilot(evse.evse_id, wanted))
    evse = _drive_lock(turn, evse)
    return _drive_contactor(turn, evse, may_close=True)


def _wanted_output(turn: Turn, evse: Evse) -> PilotOutput:
    offers = (
        evse.phase is Phase.TRANSACTION
        and evse.suspended_reason is None
        and not interlocking_faults(turn, evse)
        and evse.offer_not_before is None
        and evse.plugged_at is not None
        and not turn.station.is_leaving
    )
    return pwm(evse.config.max_current_a) if offers else X1


def _drive_contactor(turn: Turn, evse: Evse, *, may_close: bool) -> Evse:
    wanted = contactor_wanted(turn, evse)
    if evse.contactor_commanded and not wanted:
        turn.emit(OpenContactor(evse.evse_id, _why_open(turn, evse)))
        return turn.put(replace(evse, contactor_commanded=False))
    if wanted and not evse.contactor_commanded and may_close and evse.close_not_before is None:
        turn.emit(CloseContactor(evse.evse_id))
        return turn.put(replace(evse, contactor_commanded=True))
    return evse


def contactor_wanted(turn: Turn, evse: Evse) -> bool:
    """Whether the contactor shall be closed: C2, or D2 with ventilation, locked, no fault, in a transaction or its bounded ramp-down."""
    if interlocking_faults(turn, evse) or not evse.pilot.is_ready:
        return False
    if PilotState.D in {evse.pilot.state, evse.pilot.raw} and not evse.config.has_ventilation:
        return False
    if evse.config.has_lock and not evse.is_locked:
        return False
    if evse.phase is Phase.TRANSACTION:
        return evse.output.signal is PilotSignal.PWM or (evse.contactor_commanded and _is_suspending(turn, evse))
    is_ramping = evse.stop is not None and evse.stop.stage is StopStage.RAMP_DOWN
    return evse.phase is Phase.STOPPING and is_ramping and evse.contactor_commanded


def _is_suspending(turn: Turn, evse: Evse) -> bool:
    """Whether a suspended vehicle still has time to stop drawing, as in a stop (IEC 61851-1 sequence 10.2)."""
    since = evse.suspended_at if evse.suspended_reason is not None else None
    return since is not None and turn.at.ms_since(since) < RAMP_DOWN_MS and not _draws_nothing(evse, since)


def _why_open(turn: Turn, evse: Evse) -> str:
    faults = interlocking_faults(turn, evse)
    if faults:
        return f"fault {faults[0].kind}"
    if not evse.pilot.is_ready:
        return f"the vehicle is in state {evse.pilot.raw}"
    if evse.stop is not None:
        return f"stop, reason {evse.stop.reason}"
    return "charging is suspended"


def _drive_lock(turn: Turn, evse: Evse) -> Evse:
    if not evse.config.has_lock:
        return evse
    wanted = _lock_wanted(evse)
    if wanted == evse.lock_commanded:
        return evse
    if not wanted and (evse.contactor_closed or evse.contactor_commanded):
        return evse  # never a live plug in a hand: unlock only after the contactor is confirmed open
    turn.emit(LockPlug(evse.evse_id) if wanted else UnlockPlug(evse.evse_id))
    return turn.put(replace(evse, lock_commanded=wanted))


def _lock_wanted(evse: Evse) -> bool:
    if evse.phase in {Phase.TRANSACTION, Phase.STOPPING, Phase.RECOVERING}:
        return True
    if evse.unlock_command is not None:
        return False
    if evse.held_for is not None:
        return True
    # No transaction begins before the plug is locked (1.6 TC_024).
    granted = evse.authorization is not None and evse.authorization.state is AuthorizationState.GRANTED
    return granted and evse.plugged_at is not None


def _charging_state(turn: Turn, evse: Evse) -> Evse:
    record = evse.transaction
    if record is None or evse.phase is not Phase.TRANSACTION:
        return evse
    if evse.plugged_at is None:
        state = ChargingState.IDLE
    elif evse.output.signal is not PilotSignal.PWM:
        state = ChargingState.SUSPENDED_EVSE
    elif evse.contactor_closed and evse.pilot.is_ready:
        state = ChargingState.CHARGING
    elif record.charging_state is ChargingState.EV_CONNECTED and turn.at.ms_since(wake_up_deadline(record.started_at)) < 0:
        state = ChargingState.EV_CONNECTED
    elif evse.pilot.is_ready:
        # C, and the contactor is on its way; where it may not or never comes the station is what suspends.
        is_new = record.charging_state in {ChargingState.EV_CONNECTED, ChargingState.IDLE}
        state = ChargingState.SUSPENDED_EVSE if is_new or not evse.contactor_commanded else record.charging_state
    else:
        state = ChargingState.SUSPENDED_EV
    return transactions.set_charging_state(turn, evse, state)


def wake_up_deadline(started_at: Instant) -> Instant:
    """Until when a vehicle that does not answer the offer still counts as connecting."""
    return started_at.plus_ms(WAKE_UP_MS)


def _answer_unlock(turn: Turn, evse: Evse) -> Evse:
    command = evse.unlock_command
    if command is None or evse.phase in {Phase.TRANSACTION, Phase.STOPPING}:
        return evse
    if not evse.is_locked:
        outcome = StatusOutcome(status=CommandStatus.UNLOCKED)
    elif evse.unlock_deadline is not None and turn.at.ms_since(evse.unlock_deadline) >= 0:
        outcome = StatusOutcome(status=CommandStatus.UNLOCK_FAILED, reason="the lock did not report open in time")
    else:
        return evse
    turn.emit(Answer(command, outcome))
    return turn.put(replace(evse, unlock_command=None, unlock_deadline=None))
