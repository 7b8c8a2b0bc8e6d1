"""What a driver agreed to at most: energy, time and money of one transaction, enforced here, with or without the network.

A limit is kept early, by what a vehicle may still take while it ramps down: more than that is never delivered, billed or timed.
"""

from collections.abc import Iterator
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
    unseen = _unseen(evse, record)
    if unseen is not None and turn.at.ms_since(unseen[0]) >= 0:
        return unseen[1]
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


def deadlines(evse: Evse, record: TransactionRecord) -> Iterator[Instant]:
    """When the limit of time is reached at the latest, and one of energy or cost while the meter is silent."""
    if record.limit is not None and record.limit.max_time_s is not None:
        yield record.running_since.plus_ms(record.limit.max_time_s * 1000 - record.served_ms - _lead_ms(evse))
    unseen = _unseen(evse, record)
    if unseen is not None:
        yield unseen[0]


def _unseen(evse: Evse, record: TransactionRecord) -> tuple[Instant, tuple[StoppedReason, TriggerReason]] | None:
    """When a limit of energy or cost may be reached while nobody sees what flows: as if it were all that the EVSE can give."""
    limit, reading = record.limit, evse.reading
    if limit is None or reading is None or evse.meter_lost_at is None or not evse.contactor_closed:
        return None
    taken_wh, power_w = transactions.energy_so_far(evse), _rated_power_w(evse)
    found = []
    if limit.max_energy_wh is not None:
        in_ms = (limit.max_energy_wh - taken_wh) * _MS_PER_HOUR / power_w
        found.append((in_ms, (StoppedReason.ENERGY_LIMIT_REACHED, TriggerReason.ENERGY_LIMIT_REACHED)))
    if limit.max_cost is not None and record.tariff is not None:
        served_ms = transactions.duration_ms(record, reading.at)
        cost = session_cost(record.tariff, energy_wh=taken_wh, duration_ms=served_ms, is_final=False)
        per_hour = record.tariff.price_kwh * power_w / 1000 + record.tariff.price_minute * 60
        if per_hour > 0:
            in_ms = (limit.max_cost - cost.gross) * _MS_PER_HOUR / per_hour
            found.append((in_ms, (StoppedReason.LOCAL_OUT_OF_CREDIT, TriggerReason.ENERGY_LIMIT_REACHED)))
    if not found:
        return None
    in_ms, reason = min(found)
    return reading.at.plus_ms(int(in_ms) - LEAD_MS), reason


def _lead_ms(evse: Evse) -> int:
    return LEAD_MS if evse.contactor_closed else IDLE_LEAD_MS


def _still_to_come_wh(evse: Evse, lead_ms: int) -> int:
    power_w = None if evse.reading is None else evse.reading.value(Measurand.POWER_ACTIVE_IMPORT)
    if power_w is None:
        # A meter without power: as much as the EVSE can give.
        power_w = _rated_power_w(evse)
    return int(max(Decimal(0), power_w) * lead_ms / _MS_PER_HOUR) + 1 if evse.contactor_closed else 0


def _rated_power_w(evse: Evse) -> Decimal:
    return Decimal(230) * evse.config.max_current_a * evse.config.phases
