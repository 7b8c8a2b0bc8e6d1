"""Commands of the CSMS and of technicians: each is answered exactly once, and what is accepted has its effect."""

from dataclasses import replace
from typing import assert_never

from agent.core import authorization, availability, limits, sampling, status, transactions
from agent.core import evse as session
from agent.core import variables as var
from agent.core.state import Authorization, AuthorizationState, Evse, Phase, Turn
from agent.domain.commands import (
    ChangeAvailability,
    ClearCache,
    CommandStatus,
    DataTransfer,
    DataTransferOutcome,
    GetVariables,
    GetVariablesOutcome,
    LimitTransaction,
    Outcome,
    RequestStart,
    RequestStop,
    Reset,
    ResetKind,
    SetVariables,
    SetVariablesOutcome,
    StatusOutcome,
    TriggerMessage,
    UnlockConnector,
)
from agent.domain.effects import Answer
from agent.domain.events import CommandReceived
from agent.domain.time import Instant
from agent.domain.transaction import StoppedReason, TriggerReason
from agent.domain.variables import Mutability, VariableKey

UNLOCK_MS = 3_000
_ACCEPTED = StatusOutcome(status=CommandStatus.ACCEPTED)


def received(turn: Turn, event: CommandReceived) -> None:
    """Carry a command out, and answer it now or (a lock) when the hardware has answered."""
    outcome = _outcome(turn, event)
    if outcome is not None:
        turn.emit(Answer(event.command_id, outcome))


def _outcome(turn: Turn, event: CommandReceived) -> Outcome | None:
    match event.command:
        case RequestStart() as command:
            return _start(turn, event, command)
        case LimitTransaction() as command:
            return limits.announced(turn, command)
        case RequestStop() as command:
            return _stop(turn, command)
        case ChangeAvailability() as command:
            return availability.change(turn, command)
        case Reset() as command:
            return _reset(turn, command)
        case UnlockConnector() as command:
            return _unlock(turn, event, command)
        case ClearCache():
            return _clear_cache(turn)
        case SetVariables() as command:
            return _set_variables(turn, command)
        case GetVariables() as command:
            keys = command.keys
            if keys is None:
                keys = tuple(definition.key for definition in turn.station.variables.definitions())
            return GetVariablesOutcome(results=tuple(turn.station.variables.read(key, command.attribute_type) for key in keys))
        case DataTransfer():
            return DataTransferOutcome(status=CommandStatus.UNKNOWN_VENDOR_ID)
        case TriggerMessage() as command:
            return _trigger(turn, command)
        case _ as unreachable:
            assert_never(unreachable)


def _start(turn: Turn, event: CommandReceived, command: RequestStart) -> StatusOutcome:
    evse = _evse_to_start(turn, command)
    if evse is None:
        return StatusOutcome(status=CommandStatus.REJECTED, reason="no such EVSE, or none is free")
    blocker = availability.start_blocker(turn.station, evse)
    if blocker is not None:
        running = evse.transaction.transaction_id if evse.has_transaction and evse.transaction is not None else None
        return StatusOutcome(status=CommandStatus.REJECTED, reason=blocker, transaction_id=running)
    tariff = transactions.price_now(turn.station.variables)
    limit = command.limit or transactions.announced_limit(turn.station, command.id_token)
    why = limits.objection(limit, tariff)
    if why is not None:
        return StatusOutcome(status=CommandStatus.REJECTED, reason=why)
    asked = Authorization(
        id_token=command.id_token,
        state=AuthorizationState.PENDING,
        since=turn.at,
        request_id=event.request_id,
        new_transaction_id=event.new_transaction_id,
        group_id_token=command.group_id_token,
        remote_start_id=command.remote_start_id,
        is_remote=True,
        tariff=tariff,
        limit=limit,
    )
    if turn.station.variables.boolean(var.AUTHORIZE_REMOTE_START):
        authorization.ask(turn, evse, asked)
    else:
        turn.put(replace(evse, authorization=replace(asked, state=AuthorizationState.GRANTED), refusal=None))
        turn.remark("remote_start", turn.evse(evse.evse_id))
    return _ACCEPTED


def _evse_to_start(turn: Turn, command: RequestStart) -> Evse | None:
    if command.evse_id is not None:
        return turn.station.evse(command.evse_id)
    return next(iter(availability.startable(turn.station)), turn.station.evses[0] if len(turn.station.evses) == 1 else None)


def _stop(turn: Turn, command: RequestStop) -> StatusOutcome:
    for evse in turn.station.evses:
        record = evse.transaction
        if record is not None and evse.has_transaction and record.transaction_id == command.transaction_id:
            # One that is being recovered ends already, or does so now instead of going on.
            session.request_stop(turn, evse, StoppedReason.REMOTE, TriggerReason.REMOTE_STOP)
            return _ACCEPTED
    return StatusOutcome(status=CommandStatus.REJECTED, reason="no such transaction is running")


def _reset(turn: Turn, command: Reset) -> StatusOutcome:
    if command.evse_id is not None:
        return StatusOutcome(status=CommandStatus.REJECTED, reason="a single EVSE cannot be reset; reset the station")
    if turn.station.reset is not None and not (turn.station.reset is ResetKind.ON_IDLE and command.kind is not ResetKind.ON_IDLE):
        return StatusOutcome(status=CommandStatus.REJECTED, reason="a reset is under way")
    running = [evse for evse in turn.station.evses if evse.has_transaction]
    turn.station = replace(
        turn.station, reset=command.kind, left_since=turn.at, record=replace(turn.station.record, reset_kind=command.kind.value)
    )
    for evse in turn.station.evses:
        if evse.authorization is not None:
            turn.put(replace(evse, authorization=None, reading_due=None))
    turn.remark("reset_requested", None, command.kind.value)
    if command.kind is ResetKind.ON_IDLE:
        return StatusOutcome(status=CommandStatus.SCHEDULED if running else CommandStatus.ACCEPTED)
    reason = StoppedReason.HARD_RESET if command.kind is ResetKind.HARD else StoppedReason.SOFT_RESET
    for evse in running:
        session.request_stop(turn, turn.evse(evse.evse_id), reason, TriggerReason.RESET_COMMAND)
    return _ACCEPTED


def _unlock(turn: Turn, event: CommandReceived, command: UnlockConnector) -> StatusOutcome | None:
    evse = turn.station.evse(command.evse_id)
    if evse is None or command.connector_id != evse.config.connector_id:
        return StatusOutcome(status=CommandStatus.UNKNOWN_CONNECTOR)
    if evse.has_transaction and not command.stops_transaction:
        return StatusOutcome(status=CommandStatus.ONGOING_AUTHORIZED_TRANSACTION)
    if evse.config.is_tethered:
        return StatusOutcome(status=CommandStatus.NOT_SUPPORTED, reason="the cable is fixed")
    if evse.has_transaction:
        evse = session.request_stop(turn, evse, StoppedReason.UNLOCK_COMMAND, TriggerReason.UNLOCK_COMMAND)
    elif not evse.config.has_lock or (not evse.is_locked and not evse.lock_commanded):
        return StatusOutcome(status=CommandStatus.UNLOCKED)
    wait_ms = UNLOCK_MS + (session.RAMP_DOWN_MS + session.LAST_READING_MS if evse.has_transaction else 0)
    turn.put(replace(evse, authorization=None, held_for=None, unlock_command=event.command_id, unlock_deadline=turn.at.plus_ms(wait_ms)))
    return None


def _clear_cache(turn: Turn) -> StatusOutcome:
    if not turn.station.variables.boolean(var.CACHE_ENABLED):
        return StatusOutcome(status=CommandStatus.REJECTED, reason="the authorization cache is switched off")  # C11.FR.04
    turn.station = replace(turn.station, cache={})
    return _ACCEPTED


def _set_variables(turn: Turn, command: SetVariables) -> SetVariablesOutcome:
    variables, results = turn.station.variables.assign(command.assignments, command.source)
    if variables is not turn.station.variables:
        turn.station = replace(turn.station, variables=variables)
        variables_changed(turn)
    for result in results:
        definition = variables.definition(result.key)
        if result.reason and (definition is None or definition.mutability is not Mutability.WRITE_ONLY):
            turn.remark("setting_refused", None, result.reason)  # 1.6 has no field in which the CSMS could be told
    return SetVariablesOutcome(results=results)


def variables_changed(turn: Turn) -> None:
    """Let new values take effect at once: intervals are armed anew."""
    sampling.arm_aligned(turn)
    for evse in turn.station.evses:
        if evse.phase is Phase.TRANSACTION:
            turn.put(
                replace(
                    evse,
                    sample_at=_rearmed(turn, evse, var.TX_UPDATED_INTERVAL),
                    ended_sample_at=_rearmed(turn, evse, var.TX_ENDED_INTERVAL),
                )
            )


def _rearmed(turn: Turn, evse: Evse, interval: VariableKey) -> Instant | None:
    armed = evse.sample_at if interval == var.TX_UPDATED_INTERVAL else evse.ended_sample_at
    following = transactions.next_sample(turn, interval)
    if armed is None or following is None:
        return following
    return armed if armed.ms_since(following) <= 0 else following


def _trigger(turn: Turn, command: TriggerMessage) -> StatusOutcome:
    evses = turn.station.evses
    if command.evse_id is not None:
        found = turn.station.evse(command.evse_id)
        if found is None:
            return StatusOutcome(status=CommandStatus.REJECTED, reason=f"there is no EVSE {command.evse_id}")
        evses = (found,)
    match command.requested:
        case "StatusNotification":
            if command.evse_id is None:
                status.report_station(turn, always=True)
            for evse in evses:
                status.report(turn, turn.evse(evse.evse_id), always=True)
        case "MeterValues":
            if all(sampling.fresh_reading(turn, evse) is None for evse in evses):
                return StatusOutcome(status=CommandStatus.REJECTED, reason="there is no present meter value")
            for evse in evses:
                sampling.triggered(turn, turn.evse(evse.evse_id))
        case _:
            return StatusOutcome(status=CommandStatus.NOT_IMPLEMENTED)
    return _ACCEPTED
