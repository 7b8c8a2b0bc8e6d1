"""What becomes of a transaction that an earlier run left open: it ends with the register of the boot, or it goes on (decision 0011).

The power went, or only the process did: both leave an open record on disk, and both follow `[session] power_loss_policy`. A stop that was
ordered before that, and a commanded reset, end it whatever the policy says.
"""

from dataclasses import replace
from decimal import Decimal

from agent.core import transactions
from agent.core import variables as var
from agent.core.state import Evse, EvseConfig, Phase, PowerLossPolicy, Station, Stop, StopStage, Turn
from agent.domain.authorization import AuthorizationStatus
from agent.domain.commands import ResetKind
from agent.domain.effects import KeepRecord
from agent.domain.interlock import NOT_INTERLOCKING
from agent.domain.metering import POWER_MARGIN, Measurand, MeterValue, Quantity, Reading, ReadingContext, rise_limit_wh, whole_wh
from agent.domain.pilot import PilotState
from agent.domain.records import EvseRecord, Recovered
from agent.domain.time import Instant
from agent.domain.transaction import ChargingState, StoppedReason, TransactionRecord, TriggerReason

WAIT_MS = 20_000
"""How long meter, vehicle, lock and hardware have to answer; then the transaction ends with what is known."""
X1_DWELL_MS = 3_000
"""The pilot stays at X1 so long before it offers again (t_step_X1), so that the vehicle begins its sequence anew."""
UNSEEN_MS = 120_000
"""A checkpoint is at most a minute old: where nobody knows how long it was dark, energy of two minutes may have flowed unseen."""
_VOLTAGE = 230
_MS_PER_HOUR = 3_600_000
_MS_PER_MIN = 60_000


def recover(turn: Turn, recovered: Recovered) -> None:
    """Put every transaction that never ended onto its EVSE; one that has none any more ends here and now."""
    # The newest has the place: an older one that a damaged file gave back must not be billed with the register of what came after it.
    for record in reversed(recovered.transactions):
        evse = turn.station.evse(record.evse_id)
        stop = _stop_of(turn, record, recovered.station.reset_kind)
        if evse is None:
            _end_without_evse(turn, record, stop, f"EVSE {record.evse_id}, which is not configured any more")
        elif evse.has_transaction:
            _end_without_evse(turn, record, stop, f"EVSE {record.evse_id}, which has another open transaction")
        else:
            may_resume = (
                turn.station.config.power_loss_policy is not PowerLossPolicy.STOP
                and record.stop_begun is None
                and not record.segments
                and not _was_reset(recovered.station.reset_kind)
            )
            turn.put(replace(evse, transaction=record, phase=Phase.RECOVERING, stop=stop, may_resume=may_resume))


def _was_reset(reset_kind: str | None) -> bool:
    # An OnIdle reset waits for the last transaction and ends none (B12.FR.03): what was open was cut off by something else.
    return reset_kind is not None and reset_kind != ResetKind.ON_IDLE.value


def _stop_of(turn: Turn, record: TransactionRecord, reset_kind: str | None) -> Stop:
    begun = record.stop_begun
    if begun is not None:
        reason = begun.reason
    elif _was_reset(reset_kind):
        reason = StoppedReason.HARD_RESET if reset_kind == ResetKind.HARD.value else StoppedReason.SOFT_RESET
    else:
        reason = record.interrupted_by or _reason_by_boot(turn, record)
    return Stop(
        reason=reason,
        trigger=TriggerReason.ABNORMAL_CONDITION if begun is None else begun.trigger,
        requested_at=turn.at,
        stage=StopStage.READING,
        stage_since=turn.at,
        deadline=turn.at.plus_ms(WAIT_MS),
        id_token=None if begun is None else begun.id_token,
        # The run before saw the register change: what is read now, however well it fits, is another's.
        fixed_reading=record.last_reading if record.segments else None,
        ended_at=last_seen(record),
    )


def _reason_by_boot(turn: Turn, record: TransactionRecord) -> StoppedReason:
    """The same kernel boot means that only the agent went away; a new one, without an order that is on disk, that the power did.

    Asked of the transaction and not of the run before this one: that may have been cut off in the middle of this very recovery.
    """
    return StoppedReason.REBOOT if last_seen(record).boot_id == turn.at.boot_id else StoppedReason.POWER_LOSS


def _end_without_evse(turn: Turn, record: TransactionRecord, stop: Stop, where: str) -> None:
    """No meter is asked for it any more: the last stored register ends it."""
    turn.remark("transaction_without_evse", None, f"{record.transaction_id} is open on {where}: ended as it is on disk", is_warning=True)
    config = EvseConfig(evse_id=record.evse_id, connector_id=record.connector_id)
    gone = Evse(config=config, record=EvseRecord(evse_id=record.evse_id), record_since=turn.at, transaction=record)
    aside = Turn(turn.station, turn.at)  # what it changes of the station is another transaction's place
    ended = transactions.end(aside, gone, stop, record.last_reading, is_estimated=True, ended_at=last_seen(record))
    for effect in aside.effects:
        turn.emit(effect)
    if ended.transaction is not None:
        turn.emit(KeepRecord(ended.transaction))


def last_seen(record: TransactionRecord) -> Instant:
    """The last moment that is known of a transaction: it ends neither before it began nor before what it has told since."""
    newest = record.running_since
    stopped = None if record.stop_begun is None else record.stop_begun.at
    for moment in (record.last_reading.at, record.last_event_at, stopped):
        if moment is not None and moment.ms_since(newest) > 0:
            newest = moment
    return newest


def is_possible(config: EvseConfig, stored: Reading, now: Reading) -> bool:
    """Whether what a register rose by since the stored one can have flowed: at rated power, in the time that is known to have passed.

    Without a serial number on both sides only what can have flowed unseen counts: a meter that was exchanged meanwhile shows more.
    """
    if stored.energy_wh is None or now.energy_wh is None:
        return False
    elapsed_ms = now.at.ms_since(stored.at)
    if elapsed_ms <= 0:
        elapsed_ms = UNSEEN_MS  # another boot, and one of the two wall times is unknown
    elif stored.serial_number is None or now.serial_number is None:
        elapsed_ms = min(elapsed_ms, UNSEEN_MS)
    return now.energy_wh - stored.energy_wh <= rise_limit_wh(_rated_power_w(config), elapsed_ms, now.resolution_wh)


def earliest_end(config: EvseConfig, record: TransactionRecord, now: Reading) -> Instant:
    """When the register can have come to stand where it stood at the boot, at the earliest: no minute is billed that is not certain."""
    known, stored = last_seen(record), record.last_reading
    if stored.energy_wh is None or now.energy_wh is None:
        return known
    needed_ms = int((now.energy_wh - stored.energy_wh) * _MS_PER_HOUR / (_rated_power_w(config) * POWER_MARGIN))
    reached = stored.at.plus_ms(needed_ms)
    # The steps of a coarse register can ask for more time than has passed.
    reached = reached.plus_ms(-max(0, reached.ms_since(now.at)))
    return reached if needed_ms > 0 and reached.boot_id == known.boot_id and reached.ms_since(known) > 0 else known


def _rated_power_w(config: EvseConfig) -> Decimal:
    return _VOLTAGE * config.max_current_a * config.phases


# --- going on


def watch_vehicle(turn: Turn, evse: Evse) -> Evse:
    """A vehicle that is gone once does not come back: the next one that is plugged in may be anybody's."""
    if not evse.may_resume or evse.pilot.state is not PilotState.A:
        return evse
    turn.remark("resume_refused", evse, "the vehicle is gone")
    return turn.put(replace(evse, may_resume=False))


def refusal(turn: Turn, evse: Evse) -> str | None:
    """Why the transaction must not go on, None where nothing speaks against it for good."""
    record, station = evse.transaction, turn.station
    if record is None:
        return "there is no transaction"
    if _is_refused(station, record):
        return "its token was refused meanwhile"
    if record.charging_state is ChargingState.IDLE:
        return "its vehicle was gone before the interruption"  # StopTxOnEVSideDisconnect = false kept it open
    if station.config.power_loss_policy is not PowerLossPolicy.RESUME_IF_SAME_EV_WITHIN:
        return None
    if evse.config.has_lock and not evse.is_locked:
        return "the plug is not locked any more, so it may be another vehicle"
    outage_ms = _outage_ms(turn, record)
    allowed_ms = station.config.resume_within_min * _MS_PER_MIN
    if outage_ms is not None and outage_ms > allowed_ms:
        return f"it was away for {outage_ms // 1000} s, allowed are {allowed_ms // 1000}"
    return None


def waits_for(turn: Turn, evse: Evse) -> str | None:
    """What is missing before it may go on, None when energy may flow again."""
    station, record = turn.station, evse.transaction
    faults = [fault for fault in (*evse.faults, *station.faults) if fault.kind not in NOT_INTERLOCKING]
    is_timed = station.config.power_loss_policy is PowerLossPolicy.RESUME_IF_SAME_EV_WITHIN
    checks = (
        (station.is_leaving, "the agent is leaving"),
        (station.storage_failure is not None, "the storage takes no records"),
        (bool(faults), f"fault {faults[0].kind}" if faults else ""),
        (not evse.pilot.is_connected, f"no vehicle is seen, pilot state {evse.pilot.state or 'not measured'}"),
        (evse.config.has_lock and not evse.is_locked, "the plug is not locked"),
        (is_timed and record is not None and _outage_ms(turn, record) is None, "nobody knows how long it was away"),
    )
    return next((what for is_missing, what in checks if is_missing), None)


def relocks(station: Station, evse: Evse) -> bool:
    """Whether an open lock is driven in again. With `resume_if_same_ev_within` it proves that the plug may have been another's."""
    return evse.may_resume and station.config.power_loss_policy is PowerLossPolicy.RESUME


def _is_refused(station: Station, record: TransactionRecord) -> bool:
    """Whether the CSMS's last word about the token is no. A token that nobody was asked about, or that only grew old, still counts."""
    entry = None if record.id_token is None else station.cache.get(record.id_token.value.casefold())
    return record.is_deauthorized or (entry is not None and entry.info.status is not AuthorizationStatus.ACCEPTED)


def _outage_ms(turn: Turn, record: TransactionRecord) -> int | None:
    """How long nobody looked after it; None where wall times of two boots are needed and one is unknown or runs backwards."""
    seen = last_seen(record)
    if seen.boot_id == turn.at.boot_id:
        return max(0, turn.at.ms_since(seen))
    if seen.utc is None or turn.at.utc is None or turn.at.utc < seen.utc:
        return None
    return turn.at.ms_since(seen)


def resume(turn: Turn, evse: Evse, reading: Reading) -> Evse:
    """Go on with the same transaction: told first, on disk first, and the pilot begins at X1.

    2.0.1 has no word for it (2.1: TxResumed): an Updated with AbnormalCondition, and the registers of before and after as
    Interruption.Begin and Interruption.End, which is all that 1.6 gets.
    """
    record = evse.transaction
    if record is None:
        return evse
    since, stored = record.running_since, record.last_reading
    dark_from = stored.at if stored.at.ms_since(since) > 0 else since
    before = _register(stored, dark_from.anchored_to(since), ReadingContext.INTERRUPTION_BEGIN)
    resumed_at = _resumed_at(record, reading)
    after = _register(reading, resumed_at, ReadingContext.INTERRUPTION_END)
    resumed = replace(
        record,
        served_ms=transactions.duration_ms(record, dark_from),
        resumed_at=resumed_at,
        last_reading=reading,
        interrupted_by=None,
        charging_state=ChargingState.SUSPENDED_EVSE,
    )
    evse = replace(
        evse,
        transaction=resumed,
        phase=Phase.TRANSACTION,
        stop=None,
        may_resume=False,
        offer_not_before=turn.at.plus_ms(X1_DWELL_MS),
        sample_at=transactions.next_sample(turn, var.TX_UPDATED_INTERVAL),
        ended_sample_at=transactions.next_sample(turn, var.TX_ENDED_INTERVAL),
    )
    turn.remark("transaction_resumed", evse, f"register {reading.energy_wh} Wh, stored {stored.energy_wh} Wh")
    return transactions.update(turn, evse, TriggerReason.ABNORMAL_CONDITION, tuple(value for value in (before, after) if value is not None))


def _resumed_at(record: TransactionRecord, reading: Reading) -> Instant:
    """The moment from which all later ones of the transaction are counted: never earlier than the last one that it has told of.

    The clock of another boot may be behind the one before: a CSMS that answers late sets it back by that. Times of a transaction
    that run backwards are out of order, and a CSMS that counts the time from them bills another one than was served.
    """
    since = record.running_since
    if reading.at.boot_id == since.boot_id:
        return reading.at.anchored_to(since)
    newest = last_seen(record).anchored_to(since).utc
    if newest is None or reading.at.utc is None or reading.at.utc >= newest:
        return reading.at
    return replace(reading.at, utc=newest)


def _register(reading: Reading, at: Instant, context: ReadingContext) -> MeterValue | None:
    if reading.energy_wh is None:
        return None
    energy = Quantity(Measurand.ENERGY_ACTIVE_IMPORT_REGISTER, Decimal(whole_wh(reading.energy_wh)))
    return MeterValue(at=at, context=context, quantities=(energy,))
