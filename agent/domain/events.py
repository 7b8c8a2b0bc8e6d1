"""Everything that can happen to the station. The core sees the world through these and through nothing else."""

from decimal import Decimal
from enum import StrEnum

from agent.domain.authorization import IdToken, IdTokenInfo
from agent.domain.commands import Command
from agent.domain.connector import FaultKind
from agent.domain.ids import CommandId, EvseId, RequestId, TransactionId
from agent.domain.interlock import Interlock
from agent.domain.metering import Discontinuity, Reading
from agent.domain.pilot import PilotState
from agent.domain.records import Recovered
from agent.domain.values import dataclass


@dataclass(frozen=True, slots=True)
class Started:
    """The process has started and the store gave back what it holds. The first event, once."""

    recovered: Recovered


@dataclass(frozen=True, slots=True)
class Tick:
    """A deadline that the core named has come."""


@dataclass(frozen=True, slots=True)
class StopRequested:
    """SIGTERM or SIGINT: bring every EVSE to a safe state and leave. Transactions stay open on disk."""


@dataclass(frozen=True, slots=True)
class PilotMeasured:
    """The pilot's level as the hardware reads it, not yet debounced by the core."""

    evse_id: EvseId
    state: PilotState


@dataclass(frozen=True, slots=True)
class ContactorReported:
    """The feedback (mirror) contact of the contactor."""

    evse_id: EvseId
    is_closed: bool


@dataclass(frozen=True, slots=True)
class ContactorRefused:
    """The guard did not close, or opened, the contactor because the interlock forbids it closed."""

    evse_id: EvseId
    interlock: Interlock


@dataclass(frozen=True, slots=True)
class LockReported:
    """The feedback of the plug lock."""

    evse_id: EvseId
    is_locked: bool


@dataclass(frozen=True, slots=True)
class FaultRaised:
    """The hardware, a meter or the guard found a fault. `evse_id` None: the whole station."""

    evse_id: EvseId | None
    fault: FaultKind
    detail: str = ""


@dataclass(frozen=True, slots=True)
class FaultCleared:
    """The fault is gone."""

    evse_id: EvseId | None
    fault: FaultKind


@dataclass(frozen=True, slots=True)
class IdTokenPresented:
    """A driver showed a token at a reader. `evse_id` None: the reader serves the whole station. `request_id` names a question about it."""

    evse_id: EvseId | None
    id_token: IdToken
    request_id: RequestId
    transaction_id: TransactionId


@dataclass(frozen=True, slots=True)
class MeterRead:
    """One read-out of an EVSE's meter."""

    reading: Reading


@dataclass(frozen=True, slots=True)
class MeterLost:
    """No good reading for so long that the last one is stale."""

    evse_id: EvseId
    reason: str


@dataclass(frozen=True, slots=True)
class MeterDiscontinuity:
    """The register does not continue the one before: `last_good` is the last value that may be billed."""

    evse_id: EvseId
    kind: Discontinuity
    last_good: Reading | None
    first_new: Reading


class LinkState(StrEnum):
    """How far the connection to the CSMS is."""

    OFFLINE = "offline"
    CONNECTED = "connected"
    """Socket open, BootNotification not answered yet."""
    PENDING = "pending"
    REJECTED = "rejected"
    ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class LinkChanged:
    """The connection to the CSMS changed. `report_all`: every connector's status is due (a boot was accepted, or a long absence ended)."""

    state: LinkState
    report_all: bool = False


@dataclass(frozen=True, slots=True)
class CommandReceived:
    """The CSMS or a technician asks for something; answered by exactly one `Answer` effect. `new_transaction_id` serves a start."""

    command_id: CommandId
    command: Command
    request_id: RequestId
    new_transaction_id: TransactionId


@dataclass(frozen=True, slots=True)
class AuthorizationAnswered:
    """The CSMS answered an AuthorizeNotice."""

    request_id: RequestId
    info: IdTokenInfo


@dataclass(frozen=True, slots=True)
class AuthorizationFailed:
    """An AuthorizeNotice got no usable answer: time-out, CALLERROR, or the link went down."""

    request_id: RequestId
    reason: str


@dataclass(frozen=True, slots=True)
class TransactionAnswered:
    """The CSMS answered a TransactionNotice. `total_cost` is the CSMS's figure, VAT included."""

    transaction_id: TransactionId
    info: IdTokenInfo | None = None
    total_cost: Decimal | None = None


@dataclass(frozen=True, slots=True)
class StoreFailed:
    """A commit failed: disk full, read-only or broken."""

    reason: str


@dataclass(frozen=True, slots=True)
class StoreRecovered:
    """Commits succeed again, and everything that waited is on disk."""


Event = (
    Started
    | Tick
    | StopRequested
    | PilotMeasured
    | ContactorReported
    | ContactorRefused
    | LockReported
    | FaultRaised
    | FaultCleared
    | IdTokenPresented
    | MeterRead
    | MeterLost
    | MeterDiscontinuity
    | LinkChanged
    | CommandReceived
    | AuthorizationAnswered
    | AuthorizationFailed
    | TransactionAnswered
    | StoreFailed
    | StoreRecovered
)
