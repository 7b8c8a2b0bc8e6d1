"""What each OCPP version implements, and what the client needs from the disk. No version's words appear outside `v16`, `v201`, `v21`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Protocol

from agent.domain.commands import Command, Outcome
from agent.domain.errors import PeerError
from agent.domain.events import Event
from agent.domain.ids import TransactionId
from agent.domain.notices import Notice, TransactionNotice
from agent.domain.outbox import Attempted as Attempted  # noqa: PLC0414 - exported again
from agent.domain.outbox import DeadLettered as DeadLettered  # noqa: PLC0414 - exported again
from agent.domain.outbox import Delivered as Delivered  # noqa: PLC0414 - exported again
from agent.domain.outbox import Mark as Mark  # noqa: PLC0414 - exported again
from agent.domain.outbox import OutboxRow as OutboxRow  # noqa: PLC0414 - exported again
from agent.domain.time import Instant
from agent.domain.values import dataclass

Json = str | int | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]
"""What a JSON document can hold. Numbers with a fraction are read as Decimal and written as numbers."""
JsonObject = Mapping[str, object]
"""A message's payload: validated against the official schema before a codec looks at it."""


class OcppCallError(PeerError):
    """A CALL of the CSMS that is answered with CALLERROR. `code` is the neutral (2.x) spelling; the adapter gives the version's own."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description


@dataclass(frozen=True, slots=True)
class Call:
    """A CALL to send: action and payload, wire spelling."""

    action: str
    payload: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class BootInfo:
    """What a BootNotification says about the station. `reason` is OCPP 2.0.1 BootReasonEnumType."""

    vendor: str
    model: str
    serial_number: str
    firmware_version: str
    reason: str = "PowerUp"


class RegistrationStatus:
    """OCPP RegistrationStatusEnumType; the three words are the same in every version."""

    ACCEPTED = "Accepted"
    PENDING = "Pending"
    REJECTED = "Rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class BootReply:
    """The answer to a BootNotification.

    `interval_s` is the heartbeat interval when accepted, else the wait before the next try (0: own choice).
    """

    status: str
    interval_s: int
    current_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What an answer to a notice means: events for the core and, in 1.6, the number that the CSMS gave to the transaction."""

    events: tuple[Event, ...] = ()
    remote_id: int | None = None


class RemoteRefs(Protocol):
    """What is known of the CSMS's own numbering (1.6 only). Our transaction id is the key everywhere else."""

    def remote_id(self, transaction_id: TransactionId) -> int | None:
        """The CSMS's number of a transaction, once its Start was answered."""

    def transaction_id(self, remote_id: int) -> TransactionId | None:
        """The newest transaction to which the CSMS gave this number, open or waiting for delivery."""

    def is_start_dead(self, transaction_id: TransactionId) -> bool:
        """Whether the transaction's Start went to dead letters: what follows carries -1 (1.6 errata 3.18)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """What may change the bytes of one sending. `is_late`: the notice waited in the queue when the link dropped (E11.FR.07)."""

    is_late: bool
    attempt: int


class MissingTime(Enum):
    """Why a message has no wall time."""

    MAY_COME = "it is of this boot, and the clock is not known yet"
    NEVER = "it is of a boot that ended before its clock was known"


class VersionAdapter(Protocol):
    """One OCPP version: notices to calls, calls to commands, and the version's rules that the queue and the link ask for."""

    subprotocol: str
    """`ocpp1.6`, `ocpp2.0.1`, `ocpp2.1`."""
    reuses_message_id: bool
    """1.6: a repeated transaction message keeps its message id after a reconnect. 2.0.1: every sending takes a new one."""
    answers_while_rejected: bool
    """2.x answers a CSMS call while Rejected with SecurityError (B03.FR.08); 1.6 does not answer at all."""
    answers_unreadable: bool
    """2.x answers an unreadable frame with CALLERROR "-1"; 1.6 drops it."""
    refuses_boot_trigger_when_accepted: bool
    """2.x refuses a TriggerMessage for a BootNotification once it is accepted (F06.FR.17, TC_F_26); 1.6 sends it."""
    queue_is_global: bool
    """1.6: one FIFO over all transaction messages. 2.x: in order per transaction."""

    def warm(self) -> None:
        """Compile what judges frames before the first one comes; meant for a thread."""

    def boot(self, info: BootInfo) -> Call:
        """The BootNotification."""

    def decode_boot_reply(self, payload: JsonObject) -> BootReply:
        """Read its answer."""

    def heartbeat(self) -> Call:
        """The Heartbeat."""

    def decode_heartbeat_reply(self, payload: JsonObject) -> datetime | None:
        """The CSMS's time."""

    def can_encode(self, notice: Notice, refs: RemoteRefs) -> bool:
        """False while what the notice refers to is not known yet (1.6: the Start's answer is outstanding)."""

    def missing_time(self, notice: TransactionNotice) -> MissingTime | None:
        """Whether a moment that the notice tells has no wall time; the worst answer of all its moments."""

    def encode(self, notice: Notice, refs: RemoteRefs, sending: Sending) -> tuple[Call, ...]:
        """The calls for a notice; none where the version has no such message. The same notice and refs give the same bytes."""

    def decode_reply(self, notice: Notice, call_index: int, payload: JsonObject, sending: Sending) -> Reply:
        """What the answer to one of the notice's calls means."""

    def validate_reply(self, action: str, payload: object) -> JsonObject:
        """The payload, when it agrees with the official response schema. Raises OcppCallError otherwise."""

    def decode(self, action: str, payload: object, refs: RemoteRefs) -> Command:
        """A CALL of the CSMS as a command, validated first. Raises OcppCallError with the code that the version prescribes."""

    def encode_outcome(self, action: str, command: Command, outcome: Outcome) -> JsonObject:
        """The payload of the CALLRESULT. Raises OcppCallError where the outcome is answered with a CALLERROR."""

    def error_code(self, neutral: str) -> str:
        """The version's spelling of an error code (1.6: FormationViolation, OccurenceConstraintViolation)."""


class Outbox(Protocol):
    """The durable queue, implemented by the store. Rows appear by the engine's commits; the client only reads and marks them."""

    async def rows(self, after: int, limit: int) -> Sequence[OutboxRow]:
        """Undelivered rows with `row_id > after`, in order, at most `limit`."""

    def mark(self, mark: Mark) -> None:
        """Note what became of a row: at once in memory, on disk with the next commit, at most 5 s later (a Start's number: at once)."""


class WireClock(Protocol):
    """Gives the wall time of recorded moments: their own, or the right one where they have none or a wrong one."""

    def utc_of(self, instant: Instant) -> datetime | None:
        """UTC of a moment of this or an earlier boot, None while no trusted time is known for that boot."""

    def may_learn(self, instant: Instant) -> bool:
        """Whether the time of such a moment can still become known: it is of this boot."""
