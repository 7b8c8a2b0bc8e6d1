"""A backlog of finished offline sessions, put into a real store by its own API, one commit for each message as the engine does it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from agent.domain.authorization import IdToken
from agent.domain.ids import ConnectorId, EvseId, TransactionId
from agent.domain.metering import Measurand, MeterValue, Quantity, Reading, ReadingContext
from agent.domain.notices import TransactionNotice
from agent.domain.time import Instant
from agent.domain.transaction import StoppedReason, TransactionEventType, TransactionRecord, TriggerReason
from agent.store.store import Store

MESSAGES_PER_SESSION = 3
BOOT = "bbbbbbbb-0000-4000-8000-000000000001"
_BEGAN = datetime.now(UTC) - timedelta(days=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What storing the backlog cost."""

    messages: int
    commits: int
    syncs: int
    written_bytes: int


def at(ms: int) -> Instant:
    """A moment of the boot in which the sessions took place."""
    return Instant(BOOT, ms, _BEGAN + timedelta(milliseconds=ms))


def session(number: int) -> tuple[TransactionRecord, tuple[TransactionNotice, ...]]:
    """A session of 7 kWh that began, reported once and ended while the CSMS was not reachable."""
    transaction_id = TransactionId(f"bbbbbbbb-1111-4000-8000-{number:012d}")
    began, first = number * 1000, Decimal(100_000 + 7_000 * number)
    moments = ((began, first), (began + 300, first + 3_500), (began + 900, first + 7_000))
    record = TransactionRecord(
        transaction_id=transaction_id,
        evse_id=EvseId(1),
        connector_id=ConnectorId(1),
        id_token=IdToken("04A1B2C3D4E5F6"),
        started_at=at(began),
        meter_start=_reading(*moments[0]),
        last_reading=_reading(*moments[2]),
        next_seq_no=3,
        started_offline=True,
    )
    kinds = (TransactionEventType.STARTED, TransactionEventType.UPDATED, TransactionEventType.ENDED)
    notices = tuple(_notice(record, seq_no, kind, *moments[seq_no]) for seq_no, kind in enumerate(kinds))
    return record, notices


def _reading(ms: int, energy_wh: Decimal) -> Reading:
    return Reading(evse_id=EvseId(1), at=at(ms), energy_wh=energy_wh, quantities=_quantities(energy_wh), serial_number="M-1")


def _quantities(energy_wh: Decimal) -> tuple[Quantity, ...]:
    return (Quantity(Measurand.ENERGY_ACTIVE_IMPORT_REGISTER, energy_wh), Quantity(Measurand.POWER_ACTIVE_IMPORT, Decimal(11_040)))


def _notice(record: TransactionRecord, seq_no: int, kind: TransactionEventType, ms: int, energy_wh: Decimal) -> TransactionNotice:
    is_start, is_end = kind is TransactionEventType.STARTED, kind is TransactionEventType.ENDED
    context = ReadingContext.TRANSACTION_BEGIN if is_start else ReadingContext.TRANSACTION_END if is_end else ReadingContext.SAMPLE_PERIODIC
    trigger = TriggerReason.AUTHORIZED if is_start else TriggerReason.STOP_AUTHORIZED if is_end else TriggerReason.METER_VALUE_PERIODIC
    return TransactionNotice(
        event_type=kind,
        transaction_id=record.transaction_id,
        evse_id=record.evse_id,
        connector_id=record.connector_id,
        seq_no=seq_no,
        trigger=trigger,
        at=at(ms),
        is_offline=True,
        id_token=record.id_token if is_start or is_end else None,
        stopped_reason=StoppedReason.LOCAL if is_end else None,
        register_wh=int(energy_wh) if is_start or is_end else None,
        meter_values=(MeterValue(at=at(ms), context=context, quantities=_quantities(energy_wh)),)
        if kind is TransactionEventType.UPDATED
        else (),
        meter_serial_number="M-1",
    )


async def store_sessions(store: Store, first: int, count: int) -> None:
    """One commit for each message."""
    for number in range(first, first + count):
        record, notices = session(number)
        for notice in notices:
            stage = replace(record, next_seq_no=notice.seq_no + 1)
            if notice.event_type is TransactionEventType.ENDED:
                stage = replace(
                    stage, ended_at=notice.at, meter_stop=record.last_reading, stopped_reason=StoppedReason.LOCAL, energy_wh=7_000
                )
            await store.commit((stage,), (notice,))


async def write_backlog(directory: Path, sessions: int, *, now: Callable[[], Instant] | None = None) -> Stored:
    """Make a store with this many finished sessions, none of them delivered, and close it."""
    store = await Store.open(directory, boot_id=BOOT, now=now or (lambda: at(2_000_000_000)))
    await store.recover()
    before = await store.status()
    await store_sessions(store, 1, sessions)
    after = await store.status()
    await store.aclose()
    return Stored(
        messages=after.queued - before.queued,
        commits=after.commits - before.commits,
        syncs=after.syncs - before.syncs,
        written_bytes=after.written_bytes - before.written_bytes,
    )
