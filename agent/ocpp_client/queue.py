"""Which message goes next, what an answer or a refusal makes of it, and what waits meanwhile. No socket, no disk; time is an argument.

1.6: one FIFO over all transactions (3.7.2: not before older ones). 2.x: in order per transaction. A refused row is tried `attempts` times,
after `attempt_interval_s` x sends so far, then it becomes a dead letter and the queue goes on. A lost link is no attempt. A time-out is one
in 2.x (E13), where the CSMS answers other things, and none in 1.6. A row without a wall time waits for it as long as it can come.
"""

import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import field

from agent.domain.ids import ConnectorId, EvseId, TransactionId
from agent.domain.notices import AuthorizeNotice, Notice, StatusNotice, TransactionNotice
from agent.domain.transaction import TransactionEventType
from agent.domain.values import dataclass
from agent.ocpp_client.adapter import (
    Attempted,
    Call,
    DeadLettered,
    Delivered,
    Mark,
    MissingTime,
    OutboxRow,
    RemoteRefs,
    Reply,
    Sending,
    VersionAdapter,
)

PAGE = 64
WINDOW = 2 * PAGE
_MESSAGE_IDS = uuid.UUID("6d0c3f4e-52b7-5a0e-9c2a-0f6f0f3b6f11")
_INFORMATIONAL = "DataTransfer"
"""The station's own figures: no CSMS need understand them, so a refusal is an answer."""
_LOOK_FOR_TIME_S = 10.0
"""The time comes with an answer of the CSMS, after which the queue is asked anyway, or by the station's own time service."""
_TIMELESS = (
    "the time of this moment is not known and cannot become known: the station was restarted before its clock was set; "
    "bill it by hand (chargerctl deadletters export)"
)
_NUMBERLESS = "the number that the CSMS gave to the transaction never became known"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCall:
    """One CALL of a row, ready to go."""

    row: OutboxRow
    call_index: int
    call_count: int
    message_id: str
    call: Call
    sending: Sending

    @property
    def is_informational(self) -> bool:
        """Whether a refusal or silence counts as an answer."""
        return self.call.action == _INFORMATIONAL


@dataclass(slots=True, kw_only=True)
class _Entry:
    row: OutboxRow
    attempts: int
    calls_answered: int
    retry_at: float | None = None
    held_since: float | None = None
    sends: int = 0
    remote_id: int | None = None
    calls: tuple[Call, ...] = ()
    calls_late: bool | None = None
    """Whether `calls` say that they are late; None: nothing is encoded."""
    reset_asked: bool = False


@dataclass(slots=True)
class _Load:
    """What happens while a page is read: rows that came, rows that were settled, a gap that has to be read first."""

    grew: bool = False
    is_void: bool = False
    settled: set[int] = field(default_factory=set)


class Queue:
    """A window on the outbox. The owner asks for rows when `load_after` says so, sends what `next` gives, and reports what came of it.

    `attempts` and `attempt_interval_s` are MessageAttempts and MessageAttemptInterval of TransactionEvent (1.6 TransactionMessageAttempts,
    TransactionMessageRetryInterval).
    """

    def __init__(self, *, station_id: str, new_id: Callable[[], str], attempts: int = 5, attempt_interval_s: float = 60.0) -> None:
        self.attempts = attempts
        self.attempt_interval_s = attempt_interval_s
        self._station_id = station_id
        self._new_id = new_id
        self._entries: dict[int, _Entry] = {}
        self._cursor = 0
        self._has_more = True
        self._load: _Load | None = None
        self._holed: set[TransactionId] = set()
        self._late_up_to: int | None = None
        self._next_retry: float | None = None
        self._looking_at: int | None = None
        """The row that `next` judges: when an adapter stumbles, it is over this one."""

    # ------------------------------------------------------------------------------------------------------ the window

    @property
    def depth(self) -> int:
        """Rows in the window; the outbox may hold more (`has_more`)."""
        return len(self._entries)

    @property
    def has_more(self) -> bool:
        """Whether the outbox may hold rows that were not read yet."""
        return self._has_more

    @property
    def is_drained(self) -> bool:
        """Whether the outbox was read to its end and everything in it was delivered or given up."""
        return not self._entries and not self._has_more and self._load is None

    @property
    def knows_late_rows(self) -> bool:
        """Whether `set_late_up_to` was called since the link came up. Until then nothing is sent."""
        return self._late_up_to is not None

    def grew(self) -> None:
        """The engine committed new rows."""
        self._has_more = True
        if self._load is not None:
            self._load.grew = True

    def load_after(self, *, is_global: bool) -> int | None:
        """Begin a load: read PAGE rows after this row id. None: no rows are wanted now."""
        if not self._has_more or self._load is not None:
            return None
        if not self._entries:
            self._cursor = 0
        elif len(self._entries) > WINDOW - PAGE:
            if is_global or self._next_retry is None:
                return None
            self._make_holes()
            if len(self._entries) > WINDOW - PAGE:
                return None
        self._load = _Load()
        return self._cursor

    def load_failed(self) -> None:
        """The outbox could not be read."""
        self._load = None

    def add(self, rows: Sequence[OutboxRow]) -> None:
        """The rows that the load found. Those that were settled while it read are not taken again."""
        load, self._load = self._load, None
        if load is None or load.is_void:
            return
        self._has_more = len(rows) >= PAGE or load.grew
        for row in rows:
            self._cursor = max(self._cursor, row.row_id)
            is_known = row.row_id in self._entries or row.row_id in load.settled
            if not is_known and row.notice.transaction_id not in self._holed:
                self._entries[row.row_id] = _Entry(row=row, attempts=row.attempts, calls_answered=row.calls_answered)
        self._entries = dict(sorted(self._entries.items()))
        self._next_retry = None

    def _make_holes(self) -> None:
        """The window is full of transactions that wait for a retry: keep the first row of each, so that others can be read past them."""
        waiting: set[TransactionId] = set()
        for row_id, entry in list(self._entries.items()):
            transaction_id = entry.row.notice.transaction_id
            if transaction_id in waiting:
                del self._entries[row_id]
                self._holed.add(transaction_id)
            elif entry.retry_at is not None or entry.held_since is not None:
                waiting.add(transaction_id)

    def _forget_holes(self) -> None:
        if self._holed:
            self._holed.clear()
            self._cursor = 0
            self._has_more = True
            if self._load is not None:
                self._load.is_void = True
            for row_id in [row_id for row_id, entry in self._entries.items() if not entry.sends and entry.retry_at is None]:
                del self._entries[row_id]

    # --------------------------------------------------------------------------------------------------------- the link

    def link_is_up(self) -> None:
        """Accepted again: what stands in the outbox now has waited while the link was down (E11.FR.07). The version may be another one."""
        self._late_up_to = None
        for entry in self._entries.values():
            entry.calls_late = None

    def set_late_up_to(self, row_id: int) -> None:
        """The newest row at that moment."""
        self._late_up_to = row_id

    def newest_known(self) -> int:
        """The newest row that was read."""
        return max(self._cursor, next(reversed(self._entries), 0))

    # ------------------------------------------------------------------------------------------------------ next and after

    def next(self, adapter: VersionAdapter, refs: RemoteRefs, now: float) -> RowCall | Mark | None:
        """The CALL that goes next; or a mark, when a row needs none (then ask again); or None: nothing can go now.

        An adapter that raises is our own bug: the error passes through, `cannot_encode` then treats the row as refused.
        """
        self._next_retry = None
        if self._late_up_to is None:
            return None
        blocked: set[TransactionId] = set()
        for entry in self._entries.values():
            transaction_id = entry.row.notice.transaction_id
            if transaction_id in blocked:
                continue
            self._looking_at = entry.row.row_id
            wait_until = self._wait_until(entry, adapter, refs, now)
            if wait_until is None:
                return self._prepare(entry, adapter, refs)
            self._next_retry = wait_until if self._next_retry is None else min(self._next_retry, wait_until)
            if wait_until <= now:
                return self._bury(entry, _TIMELESS if adapter.missing_time(entry.row.notice) else _NUMBERLESS)
            if adapter.queue_is_global:
                return None
            blocked.add(transaction_id)
        return None

    def next_retry(self) -> float | None:
        """When a row that waits can go again, as `next` found it last."""
        return self._next_retry

    def _wait_until(self, entry: _Entry, adapter: VersionAdapter, refs: RemoteRefs, now: float) -> float | None:
        """None: it may go. A moment that has passed: it can never go."""
        if entry.retry_at is not None and entry.retry_at > now:
            return entry.retry_at
        if adapter.can_encode(entry.row.notice, refs):
            entry.held_since = None
            return None
        missing = adapter.missing_time(entry.row.notice)
        if missing is MissingTime.MAY_COME:
            # What comes behind it in this boot has no time either: in one FIFO too it holds up nothing that could go.
            return now + _LOOK_FOR_TIME_S
        if missing is MissingTime.NEVER:
            return now
        if entry.held_since is None:
            entry.held_since = now
        return entry.held_since + self.attempt_interval_s * max(1, sum(range(self.attempts)))

    def _prepare(self, entry: _Entry, adapter: VersionAdapter, refs: RemoteRefs) -> RowCall | Mark:
        row = entry.row
        is_late = row.row_id <= (self._late_up_to or 0)
        sending = Sending(is_late=is_late, attempt=entry.sends + 1 + (1 if row.was_sent else 0))
        if entry.calls_late is not is_late:
            entry.calls = adapter.encode(row.notice, refs, sending)
            entry.calls_late = is_late
        calls = entry.calls
        if entry.calls_answered >= len(calls):
            return self._settle(entry)
        index = entry.calls_answered
        entry.sends += 1
        return RowCall(
            row=row,
            call_index=index,
            call_count=len(calls),
            message_id=self._message_id(entry, index) if adapter.reuses_message_id else self._new_id(),
            call=calls[index],
            sending=sending,
        )

    def _message_id(self, entry: _Entry, index: int) -> str:
        """The same after a reconnect and after a restart of the process, without being stored; a new one after a CALLERROR."""
        notice = entry.row.notice
        return str(
            uuid.uuid5(
                _MESSAGE_IDS, f"{self._station_id}/{entry.row.row_id}/{notice.transaction_id}/{notice.seq_no}/{entry.attempts}/{index}"
            )
        )

    def answered(self, sent: RowCall, reply: Reply) -> Mark | None:
        """A CALLRESULT, in time or late. The mark to note; None where the row is already settled or further on."""
        entry = self._entries.get(sent.row.row_id)
        if entry is None:
            return None
        if entry.calls_answered != sent.call_index:
            return None
        entry.retry_at = None
        entry.calls_answered += 1
        if reply.remote_id is not None:
            entry.remote_id = reply.remote_id
        if entry.calls_answered < sent.call_count:
            return Attempted(row_id=sent.row.row_id, attempts=entry.attempts, calls_answered=entry.calls_answered)
        return self._settle(entry)

    def refused(self, sent: RowCall, error: str, now: float) -> Mark | None:
        """A CALLERROR to the outstanding CALL: counted, and tried again later or given up."""
        if sent.is_informational:
            return self.answered(sent, Reply())
        entry = self._entries.get(sent.row.row_id)
        if entry is None or entry.calls_answered != sent.call_index:
            return None
        return self._count(entry, error, now)

    def cannot_encode(self, error: str, now: float) -> Mark | None:
        """`next` raised: the row it stumbled over is treated as refused, so that a bug of ours does not block the others."""
        entry = None if self._looking_at is None else self._entries.get(self._looking_at)
        return None if entry is None else self._count(entry, error, now)

    def unanswered(self, sent: RowCall, *, link_is_lost: bool) -> Mark | None:
        """Time-out or lost link: no attempt, the row goes again after the reconnect. An informational CALL does not."""
        if sent.row.row_id in self._entries and sent.is_informational and not link_is_lost:
            return self.answered(sent, Reply())
        return None

    def was_ignored(self, sent: RowCall, error: str, now: float) -> Mark | None:
        """No answer, from a CSMS that answers other things: an attempt (2.x E13; 1.6 leaves it open)."""
        entry = self._entries.get(sent.row.row_id)
        if entry is None or entry.calls_answered != sent.call_index:
            return None
        return self._count(entry, error, now)

    def asks_registration(self, sent: RowCall) -> bool:
        """Whether a SecurityError on this row may be taken as "not registered": the first one. The next is an ordinary refusal."""
        entry = self._entries.get(sent.row.row_id)
        if entry is None or entry.reset_asked:
            return False
        entry.reset_asked = True
        return True

    def _count(self, entry: _Entry, error: str, now: float) -> Mark:
        entry.attempts += 1
        if entry.attempts >= self.attempts:
            return self._bury(entry, error)
        entry.retry_at = now + self.attempt_interval_s * entry.attempts
        return Attempted(row_id=entry.row.row_id, attempts=entry.attempts, calls_answered=entry.calls_answered, error=error)

    def _bury(self, entry: _Entry, error: str) -> Mark:
        self._remove(entry)
        return DeadLettered(row_id=entry.row.row_id, transaction_id=entry.row.notice.transaction_id, error=error)

    def _settle(self, entry: _Entry) -> Mark:
        self._remove(entry)
        return Delivered(row_id=entry.row.row_id, transaction_id=entry.row.notice.transaction_id, remote_id=entry.remote_id)

    def _remove(self, entry: _Entry) -> None:
        del self._entries[entry.row.row_id]
        if self._load is not None:
            self._load.settled.add(entry.row.row_id)
        if entry.row.notice.transaction_id in self._holed:
            self._forget_holes()


def answer_is_needed(notice: TransactionNotice) -> bool:
    """Whether later rows need what its answer says (1.6: the transaction's number). An unreadable answer to it is a refusal."""
    return notice.event_type is TransactionEventType.STARTED


class Waiting:
    """The messages that are not durable. Bounded; the newest status of each connector survives a full queue and a lost link."""

    def __init__(self, limit: int = 100) -> None:
        self._limit = limit
        self._notices: deque[tuple[Notice, float]] = deque()

    def __len__(self) -> int:
        return len(self._notices)

    def put(self, notice: Notice, now: float) -> tuple[Notice, ...]:
        """Append. Gives back what had to be dropped for it."""
        dropped: list[Notice] = []
        if len(self._notices) >= self._limit:
            dropped.extend(self._keep_newest_statuses())
        if len(self._notices) >= self._limit:
            dropped.append(self._notices.popleft()[0])
        self._notices.append((notice, now))
        return tuple(dropped)

    def put_back(self, notice: StatusNotice, now: float) -> None:
        """A status whose sending was not answered before the link went down: first in line again."""
        self._notices.appendleft((notice, now))

    def take(self, may_send: Callable[[Notice], bool]) -> tuple[Notice, float] | None:
        """The first that may go now, and when it was put."""
        for index, item in enumerate(self._notices):
            if may_send(item[0]):
                del self._notices[index]
                return item
        return None

    def expired(self, now: float, patience_s: float) -> tuple[AuthorizeNotice, ...]:
        """Take out the questions about tokens that have waited for so long: the driver stands there and waits.

        Their deadline is the same sum of floats as the one that the timer was set to: a difference may be a rounding short of it.
        """
        old = tuple(notice for notice, at in self._notices if isinstance(notice, AuthorizeNotice) and at + patience_s <= now)
        if old:
            self._notices = deque(item for item in self._notices if item[0] not in old)
        return old

    def oldest_question(self) -> float | None:
        """When the oldest question about a token was put."""
        return next((at for notice, at in self._notices if isinstance(notice, AuthorizeNotice)), None)

    def link_is_down(self) -> tuple[Notice, ...]:
        """Keep the newest status of each connector, give back all else."""
        dropped = [notice for notice, _ in self._notices if not isinstance(notice, StatusNotice)]
        self._notices = deque(item for item in self._notices if isinstance(item[0], StatusNotice))
        return (*dropped, *self._keep_newest_statuses())

    def forget_statuses(self) -> None:
        """The station is about to report every connector."""
        self._notices = deque(item for item in self._notices if not isinstance(item[0], StatusNotice))

    def _keep_newest_statuses(self) -> list[Notice]:
        seen: set[tuple[EvseId | None, ConnectorId | None]] = set()
        kept: list[tuple[Notice, float]] = []
        dropped: list[Notice] = []
        for item in reversed(self._notices):
            notice = item[0]
            if isinstance(notice, StatusNotice):
                place = (notice.evse_id, notice.connector_id)
                if place in seen:
                    dropped.append(notice)
                    continue
                seen.add(place)
            kept.append(item)
        self._notices = deque(reversed(kept))
        return dropped
