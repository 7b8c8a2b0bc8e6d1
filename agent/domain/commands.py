"""What the CSMS, or a technician, asks of the station, and what comes of it, in no version's words."""

from enum import StrEnum

from agent.domain.authorization import IdToken
from agent.domain.connector import OperationalStatus
from agent.domain.ids import ConnectorId, EvseId, TransactionId
from agent.domain.transaction import TransactionLimit
from agent.domain.values import dataclass
from agent.domain.variables import GetVariableStatus, Mutability, SetVariableStatus, ValueSource, VariableKey


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestStart:
    """Start a transaction for a token. `evse_id` None lets the station choose (1.6 connectorId absent).

    Outcome: StatusOutcome.
    """

    id_token: IdToken
    evse_id: EvseId | None = None
    remote_start_id: int | None = None
    group_id_token: IdToken | None = None
    limit: TransactionLimit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitTransaction:
    """What the transaction of a token may take at most: of the one that runs, or of the next one. Outcome: DataTransferOutcome."""

    id_token: IdToken
    limit: TransactionLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestStop:
    """Stop a transaction. `transaction_id` None: the CSMS named one that this station does not know. Outcome: StatusOutcome."""

    transaction_id: TransactionId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeAvailability:
    """Set a connector, an EVSE or (`evse_id` None) the station operative or inoperative.

    Outcome: StatusOutcome (Scheduled while a transaction runs).
    """

    operational_status: OperationalStatus
    evse_id: EvseId | None = None
    connector_id: ConnectorId | None = None


class ResetKind(StrEnum):
    """1.6 Hard and Soft; 2.x Immediate is SOFT (transactions are ended and reported first), OnIdle waits for the last one to end."""

    HARD = "Hard"
    SOFT = "Soft"
    ON_IDLE = "OnIdle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """Restart the station, or (2.x) one EVSE. Outcome: StatusOutcome (Accepted, Rejected, Scheduled)."""

    kind: ResetKind
    evse_id: EvseId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlockConnector:
    """Release the plug. `stops_transaction`: 1.6 ends a running transaction, 2.x refuses (F05.FR.02). Outcome: StatusOutcome.

    Status is Unlocked, UnlockFailed, NotSupported (fixed cable; 1.6 only), OngoingAuthorizedTransaction or UnknownConnector (2.x only).
    """

    evse_id: EvseId
    connector_id: ConnectorId
    stops_transaction: bool


@dataclass(frozen=True, slots=True)
class ClearCache:
    """Forget the authorization cache. Outcome: StatusOutcome."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariableAssignment:
    """One variable to set. `attribute_type` other than Actual is refused by the registry."""

    key: VariableKey
    value: str
    attribute_type: str = "Actual"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetVariables:
    """Set variables, in order, all applied before the answer. Outcome: SetVariablesOutcome."""

    assignments: tuple[VariableAssignment, ...]
    source: ValueSource = ValueSource.CSMS


@dataclass(frozen=True, slots=True, kw_only=True)
class GetVariables:
    """Read variables. `keys` None reads all. Outcome: GetVariablesOutcome."""

    keys: tuple[VariableKey, ...] | None
    attribute_type: str = "Actual"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataTransfer:
    """A vendor's message. Outcome: DataTransferOutcome."""

    vendor_id: str
    message_id: str | None = None
    data: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerMessage:
    """Send a message now. `requested` is the neutral word: BootNotification, Heartbeat, StatusNotification or MeterValues.

    Outcome: StatusOutcome. The connection layer answers for BootNotification and Heartbeat itself; the core for the others.
    """

    requested: str
    evse_id: EvseId | None = None


Command = (
    RequestStart
    | LimitTransaction
    | RequestStop
    | ChangeAvailability
    | Reset
    | UnlockConnector
    | ClearCache
    | SetVariables
    | GetVariables
    | DataTransfer
    | TriggerMessage
)


class CommandStatus(StrEnum):
    """The words with which a command is answered; each version maps those that it has."""

    ACCEPTED = "Accepted"
    REJECTED = "Rejected"
    SCHEDULED = "Scheduled"
    NOT_SUPPORTED = "NotSupported"
    UNLOCKED = "Unlocked"
    UNLOCK_FAILED = "UnlockFailed"
    ONGOING_AUTHORIZED_TRANSACTION = "OngoingAuthorizedTransaction"
    UNKNOWN_CONNECTOR = "UnknownConnector"
    UNKNOWN_VENDOR_ID = "UnknownVendorId"
    UNKNOWN_MESSAGE_ID = "UnknownMessageId"
    NOT_IMPLEMENTED = "NotImplemented"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusOutcome:
    """A status and, where it is not a plain yes, why (for the log, `chargerctl` and 2.x statusInfo.additionalInfo).

    `transaction_id` names the transaction that already runs when a RequestStart meets one (2.x F01.FR.13).
    """

    status: CommandStatus
    reason: str = ""
    transaction_id: TransactionId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetVariableResult:
    """What became of one assignment, in the order asked."""

    key: VariableKey
    status: SetVariableStatus
    attribute_type: str = "Actual"
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetVariablesOutcome:
    """One result for each assignment."""

    results: tuple[SetVariableResult, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetVariableResult:
    """One variable's value. `value` is None unless the status is Accepted; a write-only variable is Rejected (B06.FR.09)."""

    key: VariableKey
    status: GetVariableStatus
    value: str | None = None
    attribute_type: str = "Actual"
    mutability: Mutability = Mutability.READ_WRITE
    source: ValueSource = ValueSource.DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class GetVariablesOutcome:
    """One result for each key asked, or for every variable."""

    results: tuple[GetVariableResult, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataTransferOutcome:
    """Answer to a vendor's message."""

    status: CommandStatus
    data: str | None = None


Outcome = StatusOutcome | SetVariablesOutcome | GetVariablesOutcome | DataTransferOutcome
