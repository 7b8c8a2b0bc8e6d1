"""A row of the durable queue and what may become of it: the words that the store and the OCPP client share."""

from agent.domain.ids import TransactionId
from agent.domain.notices import TransactionNotice
from agent.domain.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxRow:
    """A notice that waits for delivery. `row_id` is its place. `calls_answered` of its calls are done; `attempts` were refused."""

    row_id: int
    notice: TransactionNotice
    attempts: int = 0
    calls_answered: int = 0
    was_sent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """Every call of a row was answered. `remote_id`: the number that the answer to a Start carried."""

    row_id: int
    transaction_id: TransactionId
    remote_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempted:
    """A row was refused (CALLERROR) or partly answered; it will be tried again."""

    row_id: int
    attempts: int
    calls_answered: int
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLettered:
    """A row was refused for the last time. It is kept, visible and re-sendable, and the queue goes on."""

    row_id: int
    transaction_id: TransactionId
    error: str


Mark = Delivered | Attempted | DeadLettered
"""What became of a row."""
