"""What a driver agreed to at most: energy, time and money of one transaction, enforced here, with or without the network.

A limit is kept early, by what a vehicle may still take while it ramps down: more than that is never delivered, billed or timed.
"""

from dataclasses import replace
from decimal import Decimal

from agent.core import transactions
from agent.core.state import Evse, Turn
from agent.core.tariff import session_cost
from agent.domain.authorization import IdToken
from agent.domain.commands import CommandStatus, DataTransferOutcome, LimitTransaction
from agent.domain.metering import Measurand
from agent.domain.tariff import Tariff
from agent.domain.time import Instant
from agent.domain.transaction import StoppedReason, TransactionLimit, TransactionRecord, TriggerReason

LEAD_MS = 8_000
"""Six seconds of ramp-down (IEC 61851-1 sequence 10.2), opening, and the last register."""
IDLE_LEAD_MS = 1_000
KEPT = 16
"""So many tokens may have a limit that waits for their transaction; the oldest makes room."""
_MS_PER_HOUR = 3_600_000


def objection(limit: TransactionLimit | None, tariff: Tariff | None) -> str | None:
    """Why a limit cannot be kept, so that nothing may begin under it; None where it can, or there is none."""
    if limit is None:
        return None
    if any(value is not None and value <= 0 for value in (limit.max_energy_wh, limit.max_time_s, limit.max_cost)):
        return "a limit allows nothing, or cannot be read"
    if limit.max_cost is not None and tariff is None:
        return "a limit of cost, and there is no price here"
    return None


def announced(turn: Turn, command: LimitTransaction) -> DataTransferOutcome:
    """A limit for the transaction of a token: the one that runs, or the next one."""
    running = next((e for e in turn.station.evses if _belongs_to(e, command.id_token)), None)
    record = None if running is None else running.transaction
    tariff = transactions.price_now(turn.station.variables) if record is None else record.tariff
    why = objection(command.limit, tariff)
    if why is not None:
        return DataTransferOutcome(status=CommandStatus.REJECTED, data=why)
    if running is not None and record is not None:
        turn.put(replace(running, transaction=replace(record, limit=command.limit)))
    else:
        others = tuple(one for one in turn.station.limits if not one.id_token.same_as(command.id_token))
        turn.station = replace(turn.station, limits=(*others, command)[-KEPT:])
        for evse in turn.station.evses:
            # The start that waits for its vehicle began under an older one.
            if evse.authorization is not None and evse.authorization.id_token.same_as(command.id_token):
                turn.put(replace(evse, authorization=replace(evse.authorization, limit=command.limit)))
    return DataTransferOutcome(status=CommandStatus.ACCEPTED)


def _belongs_to(evse: Evse, id_token: IdToken) -> bool:
    return evse.has_transaction and evse.transaction is not None and id_token.same_as(evse.transaction.id_token)


def reached(turn: Turn, evse: Evse) -> tuple[StoppedReason, TriggerReason] | None:
    """Which limit of the running transaction is reached, None while it may go on. 2.0.1 has no trigger of its own for cost."""
    record = evse.transaction
    if record is None or record.limit is None:
        return None
    limit, lead_ms = record.limit, _lead_ms(evse)
    energy_wh = transactions.energy_so_far(evse) + _still_to_come_wh(evse, lead_ms)
    duration_ms = transactions.duration_ms(record, turn.at) + lead_ms
    if limit.max_energy_wh is not None and energy_wh >= limit.max_energy_wh:
        return StoppedReason.ENERGY_LIMIT_REACHED, TriggerReason.ENERGY_LIMIT_REACHED
    if limit.max_time_s is not None and duration_ms >= limit.max_time_s * 1000:
        return StoppedReason.TIME_LIMIT_REACHED, TriggerReason.TIME_LIMIT_REACHED
    if limit.max_cost is not None and record.tariff is not None:
        cost = session_cost(record.tariff, energy_wh=energy_wh, duration_ms=duration_ms, is_final=False)
        if cost.gross >= limit.max_cost:
            return StoppedReason.LOCAL_OUT_OF_CREDIT, TriggerReason.ENERGY_LIMIT_REACHED
    return None


def deadline(evse: Evse, record: TransactionRecord) -> Instant | None:
    """When the limit of time is reached at the latest."""
    if record.limit is None or record.limit.max_time_s is None:
        return None
    return record.running_since.plus_ms(record.limit.max_time_s * 1000 - record.served_ms - _lead_ms(evse))


def _lead_ms(evse: Evse) -> int:
    return LEAD_MS if evse.contactor_closed else IDLE_LEAD_MS


def _still_to_come_wh(evse: Evse, lead_ms: int) -> int:
    power_w = None if evse.reading is None else evse.reading.value(Measurand.POWER_ACTIVE_IMPORT)
    if power_w is None:
        # A meter without power: as much as the EVSE can give.
        power_w = Decimal(230) * evse.config.max_current_a * evse.config.phases
    return int(max(Decimal(0), power_w) * lead_ms / _MS_PER_HOUR) + 1 if evse.contactor_closed else 0
