"""Values with which the tests of the store work: short to write, complete in every field that is on disk."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from agent.domain.authorization import IdToken
from agent.domain.ids import ConnectorId, EvseId, TransactionId
from agent.domain.metering import Measurand, MeterValue, Phase, Quantity, Reading, ReadingContext
from agent.domain.notices import TransactionNotice
from agent.domain.tariff import Tariff
from agent.domain.time import Instant
from agent.domain.transaction import StoppedReason, TransactionEventType, TransactionRecord, TriggerReason

BOOT = "5b6f7e1c-0000-4000-8000-000000000001"
EPOCH = datetime(2026, 1, 1, 10, tzinfo=UTC)
TOKEN = IdToken("04A1B2C3D4E5F6")
TARIFF = Tariff(currency="NOK", price_kwh=Decimal("4.90"), price_minute=Decimal("0.10"), price_session=Decimal(5), vat_percent=Decimal(25))


def at(ms: int = 0, *, boot_id: str = BOOT, is_utc_known: bool = True) -> Instant:
    """A moment `ms` after the boot."""
    return Instant(boot_id, ms, EPOCH + timedelta(milliseconds=ms) if is_utc_known else None)


def now() -> Instant:
    """The moment at which a store is opened."""
    return at()


def transaction_id(number: int) -> TransactionId:
    """The id of the transaction with this number."""
    return TransactionId(f"00000000-0000-4000-8000-{number:012d}")


QUANTITIES = (
    Quantity(Measurand.ENERGY_ACTIVE_IMPORT_REGISTER, Decimal("1234567.8")),
    Quantity(Measurand.POWER_ACTIVE_IMPORT, Decimal(11040)),
    *(Quantity(Measurand.CURRENT_IMPORT, Decimal("16.01"), phase) for phase in (Phase.L1, Phase.L2, Phase.L3)),
    *(Quantity(Measurand.VOLTAGE, Decimal("230.4"), phase) for phase in (Phase.L1_N, Phase.L2_N, Phase.L3_N)),
)


def reading(energy_wh: Decimal, ms: int = 0) -> Reading:
    """A read-out of a three-phase meter."""
    return Reading(evse_id=EvseId(1), at=at(ms), energy_wh=energy_wh, quantities=QUANTITIES, serial_number="M-1")


def meter_value(ms: int, context: ReadingContext = ReadingContext.SAMPLE_PERIODIC) -> MeterValue:
    """What of a read-out goes to the CSMS."""
    return MeterValue(at=at(ms), context=context, quantities=QUANTITIES[:2])


def record(
    number: int = 1, *, next_seq_no: int = 1, energy_wh: Decimal = Decimal(1000), ms: int = 0, samples: int = 0
) -> TransactionRecord:
    """A running transaction."""
    return TransactionRecord(
        transaction_id=transaction_id(number),
        evse_id=EvseId(1),
        connector_id=ConnectorId(1),
        id_token=TOKEN,
        started_at=at(),
        meter_start=reading(Decimal(1000)),
        last_reading=reading(energy_wh, ms),
        next_seq_no=next_seq_no,
        tariff=TARIFF,
        ended_values=tuple(meter_value(n) for n in range(samples)),
    )


def ended(number: int = 1, *, next_seq_no: int = 2) -> TransactionRecord:
    """A transaction that is over."""
    running = record(number)
    return TransactionRecord(
        transaction_id=running.transaction_id,
        evse_id=running.evse_id,
        connector_id=running.connector_id,
        id_token=running.id_token,
        started_at=running.started_at,
        meter_start=running.meter_start,
        last_reading=reading(Decimal("2500.5"), 3_600_000),
        next_seq_no=next_seq_no,
        tariff=TARIFF,
        ended_at=at(3_600_000),
        meter_stop=reading(Decimal("2500.5"), 3_600_000),
        stopped_reason=StoppedReason.LOCAL,
        energy_wh=1500,
        cost_gross=Decimal("18.35"),
    )


def notice(number: int = 1, seq_no: int = 0, event_type: TransactionEventType | None = None, **changes: object) -> TransactionNotice:
    """The event `seq_no` of a transaction: 0 is the start, what follows is an update."""
    kind = event_type or (TransactionEventType.STARTED if seq_no == 0 else TransactionEventType.UPDATED)
    values: dict[str, object] = {
        "event_type": kind,
        "transaction_id": transaction_id(number),
        "evse_id": EvseId(1),
        "connector_id": ConnectorId(1),
        "seq_no": seq_no,
        "trigger": TriggerReason.METER_VALUE_PERIODIC,
        "at": at(seq_no * 1000),
        "is_offline": False,
        "id_token": TOKEN if kind is TransactionEventType.STARTED else None,
        "register_wh": None if kind is TransactionEventType.UPDATED else 1000,
        "meter_values": (meter_value(seq_no * 1000),),
        "meter_serial_number": "M-1",
    }
    return TransactionNotice(**(values | changes))  # type: ignore[arg-type]


def end_notice(number: int = 1, seq_no: int = 1) -> TransactionNotice:
    """The last event of a transaction."""
    return notice(number, seq_no, TransactionEventType.ENDED, stopped_reason=StoppedReason.LOCAL)
