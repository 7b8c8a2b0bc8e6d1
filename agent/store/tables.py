"""What is in the tables: functions that run on the connection's thread, inside a unit of work or as a read."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeVar, assert_never

from agent.domain.authorization import IdToken
from agent.domain.errors import StoreError
from agent.domain.ids import EvseId, TransactionId
from agent.domain.ledger import SignedHead
from agent.domain.metering import MeterValue
from agent.domain.notices import TransactionNotice
from agent.domain.outbox import Attempted, DeadLettered, Delivered, Mark, OutboxRow
from agent.domain.records import CacheEntry, CacheEntryRemoved, EvseRecord, Record, Recovered, StationRecord, StoredVariable
from agent.domain.time import Instant
from agent.domain.transaction import TransactionEventType, TransactionRecord
from agent.domain.values import dataclass
from agent.store.ledger import DELIVERED, write_head
from agent.store.serial import UnreadableError, dump, load

T = TypeVar("T")

KEPT_TRANSACTIONS: Final = 1_000
"""Finished and delivered transactions older than the newest thousand are forgotten; what was not delivered is kept whatever its age."""
MAX_QUEUED: Final = 20_000
"""Rows of the outbox beyond which periodic values are thinned: two weeks of charging at 60 s values, some 20 MB."""
THINNING_SHARE: Final = 50
"""One fiftieth of the limit is made free at a time."""
KEPT_RUNS: Final = 100
"""Runs, and boots of which the wall time is known."""

EndedValues = dict[TransactionId, tuple[MeterValue, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterLifetime:
    """The delta-built register of an EVSE's meter: statistics, never billed."""

    evse_id: EvseId
    total_wh: Decimal
    register_wh: Decimal
    at: Instant
    serial_number: str | None


@dataclass(frozen=True, slots=True)
class Anchor:
    """The wall time that a boot's monotonic clock had at one moment. `board_utc`: what the board's clock said then, where it was wrong."""

    mono_ms: int
    utc: datetime
    board_utc: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One start of the process."""

    boot_id: str
    started: Instant


@dataclass(slots=True)
class Pending:
    """What is known in memory and rides with the next unit of work."""

    marks: dict[int, Mark] = field(default_factory=dict)
    anchors: dict[str, Anchor] = field(default_factory=dict)
    boot_times: dict[str, Anchor] = field(default_factory=dict)
    lifetimes: dict[EvseId, MeterLifetime] = field(default_factory=dict)
    run: Run | None = None
    head: SignedHead | None = None

    def copy(self) -> "Pending":
        """What is pending now: a unit of work writes this while more may be added."""
        return Pending(dict(self.marks), dict(self.anchors), dict(self.boot_times), dict(self.lifetimes), self.run, self.head)

    def forget(self, written: "Pending") -> None:
        """Drop what is on disk now, except where something newer has taken its place."""
        _drop_same(self.marks, written.marks)
        _drop_same(self.anchors, written.anchors)
        _drop_same(self.boot_times, written.boot_times)
        _drop_same(self.lifetimes, written.lifetimes)
        if self.run is written.run:
            self.run = None
        if self.head is written.head:
            self.head = None

    def __bool__(self) -> bool:
        return bool(self.marks or self.anchors or self.lifetimes or self.run or self.head)


K = TypeVar("K")


def _drop_same(present: dict[K, T], written: Mapping[K, T]) -> None:
    for key, value in written.items():
        if present.get(key) is value:
            del present[key]


@dataclass(slots=True)
class Written:
    """What a unit of work did, for the books in memory."""

    starts: list[tuple[int, TransactionId]] = field(default_factory=list)
    """Rows of the outbox that begin a transaction."""
    rows_added: int = 0
    rows_gone: int = 0
    rows_thinned: int = 0
    letters: int = 0
    """Dead letters that wait again."""
    rows_proved: int = 0
    """Finished sessions that were added to the chain."""
    settled: list[TransactionId] = field(default_factory=list)
    """Ended transactions of which nothing waits any more."""
    ended_values: EndedValues = field(default_factory=dict)
    numbers: dict[TransactionId, int] = field(default_factory=dict)
    """The CSMS's numbers of transactions that wait again."""


# ------------------------------------------------------------------------------------------------------------------ records


def write_records(db: sqlite3.Connection, records: Iterable[Record], known: EndedValues, written: Written) -> None:
    """Write what changed. Of several records of one transaction the last one counts."""
    transactions: dict[TransactionId, TransactionRecord] = {}
    for record in records:
        match record:
            case TransactionRecord():
                transactions[record.transaction_id] = record
            case StationRecord():
                db.execute("INSERT OR REPLACE INTO station (station_id, record) VALUES (1, ?)", (dump(record),))
            case EvseRecord():
                db.execute("INSERT OR REPLACE INTO evses (evse_id, record) VALUES (?, ?)", (record.evse_id, dump(record)))
            case StoredVariable():
                _upsert(db, "variables", "name", str(record.key.folded()), dump(record))
            case CacheEntry():
                _upsert(db, "authorization_cache", "token", token_key(record.id_token), dump(record))
            case CacheEntryRemoved():
                db.execute("DELETE FROM authorization_cache WHERE token = ?", (token_key(record.id_token),))
            case _:
                assert_never(record)
    for transaction in transactions.values():
        _write_transaction(db, transaction, known, written)


def token_key(token: IdToken) -> str:
    """Give the form in which tokens are compared."""
    return token.value.casefold()


def _upsert(db: sqlite3.Connection, table: str, key: str, value: str, record: str) -> None:
    db.execute(
        f"INSERT INTO {table} ({key}, record) VALUES (?, ?) ON CONFLICT ({key}) DO UPDATE SET record = excluded.record",  # noqa: S608 - names of ours
        (value, record),
    )


_WRITE_TRANSACTION: Final = """
    INSERT INTO transactions (transaction_id, evse_id, is_open, started_utc, ended_utc, energy_wh, cost_gross, record)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (transaction_id) DO UPDATE SET
        is_open = excluded.is_open, started_utc = excluded.started_utc, ended_utc = excluded.ended_utc,
        energy_wh = excluded.energy_wh, cost_gross = excluded.cost_gross, record = excluded.record
    RETURNING ordinal
"""


def _write_transaction(db: sqlite3.Connection, record: TransactionRecord, known: EndedValues, written: Written) -> None:
    values = record.ended_values
    parameters = (
        record.transaction_id,
        record.evse_id,
        record.ended_at is None,
        _utc_text(record.started_at.utc),
        None if record.ended_at is None else _utc_text(record.ended_at.utc),
        record.energy_wh,
        None if record.cost_gross is None else str(record.cost_gross),
        dump(replace(record, ended_values=()) if values else record),
    )
    (ordinal,) = _one(db.execute(_WRITE_TRANSACTION, parameters))
    if record.ended_at is not None:  # its end message has them
        values = ()
        written.settled.append(record.transaction_id)
    before = known.get(record.transaction_id)
    if before is None or values[: len(before)] != before:  # thinned, or not ours to know: write all
        db.execute("DELETE FROM ended_values WHERE ordinal = ?", (ordinal,))
        before = ()
    db.executemany(
        "INSERT INTO ended_values (ordinal, position, value) VALUES (?, ?, ?)",
        ((ordinal, position, dump(values[position])) for position in range(len(before), len(values))),
    )
    written.ended_values[record.transaction_id] = values


def _one(cursor: sqlite3.Cursor) -> tuple[int]:
    """Take the one row of a RETURNING clause. The statement is only finished when all its rows were taken."""
    rows: list[tuple[int]] = cursor.fetchall()
    return rows[0]


def _utc_text(utc: datetime | None) -> str | None:
    return None if utc is None else utc.isoformat()


# ------------------------------------------------------------------------------------------------------------------- outbox


def enqueue(db: sqlite3.Connection, notices: Iterable[TransactionNotice], written: Written) -> None:
    """Put notices into the outbox, each once whatever the number of tries.

    Raises StoreError when a notice is there already with another content: what is billed is never written over.
    """
    for notice in notices:
        row = db.execute("SELECT ordinal, queued_to FROM transactions WHERE transaction_id = ?", (notice.transaction_id,)).fetchone()
        if row is None:
            raise StoreError(
                f"transaction {notice.transaction_id}: notice {notice.seq_no} came without a record of its transaction. "
                "This is a defect of the software; report it."
            )
        ordinal, queued_to = row
        text = dump(notice)
        if notice.seq_no < queued_to:
            _check_repeated(db, ordinal, notice, text)
            continue
        (row_id,) = _one(
            db.execute(
                "INSERT INTO outbox (ordinal, seq_no, event_type, notice) VALUES (?, ?, ?, ?) RETURNING row_id",
                (ordinal, notice.seq_no, notice.event_type, text),
            )
        )
        db.execute("UPDATE transactions SET queued_to = ?, is_delivered = 0 WHERE ordinal = ?", (notice.seq_no + 1, ordinal))
        written.rows_added += 1
        if notice.event_type is TransactionEventType.STARTED:
            written.starts.append((row_id, notice.transaction_id))


def _check_repeated(db: sqlite3.Connection, ordinal: int, notice: TransactionNotice, text: str) -> None:
    row = db.execute("SELECT notice FROM outbox WHERE ordinal = ? AND seq_no = ?", (ordinal, notice.seq_no)).fetchone()
    if row is not None and row[0] != text:
        raise StoreError(
            f"transaction {notice.transaction_id} already has a notice {notice.seq_no} with another content; it is kept. "
            "This is a defect of the software; report it."
        )


@dataclass(slots=True)
class Window:
    """A piece of the queue. `is_last`: nothing comes after it; else `end` is where the next one begins."""

    end: int
    rows: list[OutboxRow] = field(default_factory=list)
    unreadable: list[tuple[int, TransactionId]] = field(default_factory=list)
    is_last: bool = False


def queued_rows(db: sqlite3.Connection, after: int, limit: int, gone: AbstractSet[int]) -> Window:
    """Read a window of the queue, without the rows that were settled in memory."""
    found = db.execute(
        "SELECT row_id, transaction_id, attempts, calls_answered, was_sent, notice FROM outbox JOIN transactions USING (ordinal) "
        "WHERE row_id > ? AND state = 'queued' ORDER BY row_id LIMIT ?",
        (after, limit),
    ).fetchall()
    window = Window(found[-1][0] if found else after, is_last=len(found) < limit)
    for row_id, transaction_id, attempts, calls_answered, was_sent, text in found:
        if row_id in gone:
            continue
        notice = _try_load(text, TransactionNotice)
        if notice is None:
            window.unreadable.append((row_id, transaction_id))
        else:
            window.rows.append(
                OutboxRow(row_id=row_id, notice=notice, attempts=attempts, calls_answered=calls_answered, was_sent=bool(was_sent))
            )
    return window


def write_pending(db: sqlite3.Connection, pending: Pending, written: Written) -> None:
    """Write what was noted in memory, and close the books of transactions of which nothing waits any more."""
    touched: dict[int, None] = {}
    for mark in pending.marks.values():
        ordinal = _write_mark(db, mark, written)
        if ordinal is not None:
            touched[ordinal] = None
    for transaction_id in written.settled:
        row = db.execute("SELECT ordinal FROM transactions WHERE transaction_id = ?", (transaction_id,)).fetchone()
        touched[row[0]] = None
    written.settled.clear()
    for ordinal in touched:
        _settle(db, ordinal, written)
    if written.settled:
        db.execute(
            f"DELETE FROM transactions WHERE {DELIVERED} AND is_open = 0 AND ordinal <= (SELECT max(ordinal) FROM transactions) - ?",  # noqa: S608 - a constant of ours
            (KEPT_TRANSACTIONS,),
        )
    for boot_id, anchor in pending.anchors.items():
        db.execute(
            "INSERT OR REPLACE INTO clock_anchors (boot_id, mono_ms, utc) VALUES (?, ?, ?)",
            (boot_id, anchor.mono_ms, anchor.utc.isoformat()),
        )
    for boot_id, anchor in pending.boot_times.items():
        db.execute(
            "INSERT OR IGNORE INTO boot_times (boot_id, mono_ms, utc, board_utc) VALUES (?, ?, ?, ?)",
            (boot_id, anchor.mono_ms, anchor.utc.isoformat(), _utc_text(anchor.board_utc)),
        )
    for lifetime in pending.lifetimes.values():
        db.execute("INSERT OR REPLACE INTO meter_lifetimes (evse_id, record) VALUES (?, ?)", (lifetime.evse_id, dump(lifetime)))
    if pending.run is not None:
        _write_run(db, pending.run)
    if pending.head is not None:
        write_head(db, pending.head)


def _write_mark(db: sqlite3.Connection, mark: Mark, written: Written) -> int | None:
    """Write one mark; gives the transaction of the row, None where the row is gone already."""
    row = db.execute("SELECT ordinal FROM outbox WHERE row_id = ? AND state = 'queued'", (mark.row_id,)).fetchone()
    if row is None:
        return None
    ordinal: int = row[0]
    match mark:
        case Delivered():
            if mark.remote_id is not None:
                db.execute("UPDATE transactions SET remote_id = ? WHERE ordinal = ?", (str(mark.remote_id), ordinal))
            is_start_dead = db.execute(
                "SELECT 1 FROM outbox WHERE ordinal = ? AND event_type = 'Started' AND state = 'dead'", (ordinal,)
            ).fetchone()
            if is_start_dead:
                db.execute("UPDATE outbox SET state = 'held', was_sent = 1 WHERE row_id = ?", (mark.row_id,))
            else:
                db.execute("DELETE FROM outbox WHERE row_id = ?", (mark.row_id,))
            written.rows_gone += 1
        case Attempted():
            db.execute(
                "UPDATE outbox SET attempts = ?, calls_answered = ?, last_error = ?, was_sent = 1 WHERE row_id = ?",
                (mark.attempts, mark.calls_answered, mark.error, mark.row_id),
            )
        case DeadLettered():
            db.execute("UPDATE outbox SET state = 'dead', last_error = ?, was_sent = 1 WHERE row_id = ?", (mark.error, mark.row_id))
            written.rows_gone += 1
        case _:
            assert_never(mark)
    return ordinal


def _settle(db: sqlite3.Connection, ordinal: int, written: Written) -> None:
    """Note a transaction as delivered when it has ended and nothing of it is left; tell when nothing of it waits."""
    row = db.execute("SELECT transaction_id FROM transactions WHERE ordinal = ? AND is_open = 0", (ordinal,)).fetchone()
    if row is None:
        return
    states = {state for (state,) in db.execute("SELECT state FROM outbox WHERE ordinal = ?", (ordinal,))}
    if not states:
        db.execute("UPDATE transactions SET is_delivered = 1 WHERE ordinal = ? AND is_delivered = 0", (ordinal,))
    if "queued" not in states:
        written.settled.append(row[0])


KEPT_AT_LEAST: Final = 100
"""Of the newest transactions so many are kept when room is needed."""
FORGOTTEN_AT_ONCE: Final = 100


def make_room(db: sqlite3.Connection, written: Written) -> None:
    """Forget the oldest delivered transactions, some at a time; where there are none, thin the periodic values that wait."""
    forgotten = db.execute(
        f"DELETE FROM transactions WHERE ordinal IN (SELECT ordinal FROM transactions WHERE is_open = 0 AND {DELIVERED} "  # noqa: S608 - a constant of ours
        "AND ordinal <= (SELECT max(ordinal) FROM transactions) - ? ORDER BY ordinal LIMIT ?)",
        (KEPT_AT_LEAST, FORGOTTEN_AT_ONCE),
    ).rowcount
    if not forgotten:
        thin(db, written)


_PERIODIC: Final = """
    SELECT ordinal, row_id FROM outbox JOIN transactions USING (ordinal)
    WHERE state = 'queued' AND event_type = 'Updated'
        AND (notice LIKE '%"trigger":"MeterValuePeriodic"%' OR notice LIKE '%"trigger":"MeterValueClock"%')
    ORDER BY is_open, row_id
"""


def thin(db: sqlite3.Connection, written: Written) -> None:
    """Drop every other periodic value between the first and the last of a transaction; ended transactions first, the longest first.

    Nothing else is ever dropped (OCPP 2.0.1 E04 allows it for intermediate Updated events only): not a start, an end, a change of state.
    """
    waiting: dict[int, list[int]] = {}
    for ordinal, row_id in db.execute(_PERIODIC):
        waiting.setdefault(ordinal, []).append(row_id)
    is_open = {ordinal for (ordinal,) in db.execute("SELECT ordinal FROM transactions WHERE is_open = 1")}
    dropped = 0
    for _, rows in sorted(waiting.items(), key=lambda each: (each[0] in is_open, -len(each[1]))):
        if dropped * THINNING_SHARE >= MAX_QUEUED:
            break
        victims = rows[1:-1:2]
        db.executemany("DELETE FROM outbox WHERE row_id = ?", ((row_id,) for row_id in victims))
        dropped += len(victims)
    written.rows_gone += dropped
    written.rows_thinned += dropped


def _write_run(db: sqlite3.Connection, run: Run) -> None:
    db.execute(
        "INSERT INTO runs (boot_id, started_mono_ms, started_utc) VALUES (?, ?, ?)",
        (run.boot_id, run.started.mono_ms, _utc_text(run.started.utc)),
    )
    db.execute("DELETE FROM runs WHERE run_id <= (SELECT max(run_id) FROM runs) - ?", (KEPT_RUNS,))
    db.execute("DELETE FROM clock_anchors WHERE boot_id NOT IN (SELECT boot_id FROM runs)")
    # A hundred restarts without a network must not take the time from what waits.
    db.execute("DELETE FROM boot_times WHERE boot_id NOT IN (SELECT boot_id FROM runs) AND NOT EXISTS (SELECT 1 FROM outbox)")


def requeue_dead(db: sqlite3.Connection, row_id: int) -> Written:
    """Put a dead letter, with all that is held or dead of its transaction, at the end of the queue in its old order.

    Raises StoreError when there is no such letter, or while something of its transaction still waits: it would overtake.
    """
    row = db.execute(
        "SELECT ordinal, transaction_id, remote_id FROM outbox JOIN transactions USING (ordinal) WHERE row_id = ? AND state = 'dead'",
        (row_id,),
    ).fetchone()
    if row is None:
        raise StoreError(f"there is no dead letter {row_id}; chargerctl deadletters list shows their rows.")
    ordinal, transaction_id, remote_id = row
    if db.execute("SELECT 1 FROM outbox WHERE ordinal = ? AND state = 'queued'", (ordinal,)).fetchone():
        raise StoreError(
            f"dead letter {row_id}: other messages of transaction {transaction_id} still wait; send it again when they are through."
        )
    written = Written()
    if remote_id is not None:
        written.numbers[transaction_id] = int(remote_id)
    letters = db.execute("SELECT row_id, event_type, state FROM outbox WHERE ordinal = ? ORDER BY seq_no", (ordinal,)).fetchall()
    for old_id, event_type, state in letters:
        written.letters += state == "dead"
        (new_id,) = _one(
            db.execute(
                "INSERT INTO outbox (ordinal, seq_no, event_type, notice) "
                "SELECT ordinal, -1, event_type, notice FROM outbox WHERE row_id = ? RETURNING row_id",
                (old_id,),
            )
        )
        (seq_no,) = db.execute("SELECT seq_no FROM outbox WHERE row_id = ?", (old_id,)).fetchone()
        db.execute("DELETE FROM outbox WHERE row_id = ?", (old_id,))
        db.execute("UPDATE outbox SET seq_no = ? WHERE row_id = ?", (seq_no, new_id))
        written.rows_added += 1
        if event_type == TransactionEventType.STARTED:
            written.starts.append((new_id, transaction_id))
    return written


def requeue_all_dead(db: sqlite3.Connection) -> Written:
    """The same for every dead letter, in the order in which their transactions began, but for those of which something still waits."""
    everything = Written()
    first_letters = (
        "SELECT min(row_id) FROM outbox o WHERE state = 'dead' "
        "AND NOT EXISTS (SELECT 1 FROM outbox w WHERE w.ordinal = o.ordinal AND w.state = 'queued') GROUP BY ordinal ORDER BY ordinal"
    )
    for (row_id,) in db.execute(first_letters).fetchall():
        written = requeue_dead(db, row_id)
        everything.rows_added += written.rows_added
        everything.starts.extend(written.starts)
        everything.numbers.update(written.numbers)
        everything.letters += written.letters
    return everything


# ----------------------------------------------------------------------------------------------------------- the start, and lists


@dataclass(slots=True)
class Books:
    """What is kept in memory of the outbox: bounded by the number of transactions that are open or wait for delivery."""

    depth: int = 0
    start_rows: dict[int, TransactionId] = field(default_factory=dict)
    remote_ids: dict[TransactionId, int] = field(default_factory=dict)
    dead_starts: set[TransactionId] = field(default_factory=set)
    anchors: dict[str, Anchor] = field(default_factory=dict)
    boot_times: dict[str, Anchor] = field(default_factory=dict)
    lifetimes: dict[EvseId, MeterLifetime] = field(default_factory=dict)
    newest_utc: datetime | None = None


def load_books(db: sqlite3.Connection) -> Books:
    """Read what has to be in memory."""
    books = Books()
    books.depth = db.execute("SELECT count(*) FROM outbox WHERE state = 'queued'").fetchone()[0]
    starts = (
        "SELECT row_id, transaction_id, state FROM outbox JOIN transactions USING (ordinal) WHERE event_type = 'Started' ORDER BY row_id"
    )
    for row_id, transaction_id, state in db.execute(starts):
        if state == "dead":
            books.dead_starts.add(transaction_id)
        elif state == "queued":
            books.start_rows[row_id] = transaction_id
    waiting = "SELECT transaction_id, remote_id FROM transactions WHERE remote_id IS NOT NULL AND is_delivered = 0 ORDER BY ordinal"
    for transaction_id, remote_id in db.execute(waiting):
        books.remote_ids[transaction_id] = int(remote_id)
    for boot_id, mono_ms, utc in db.execute("SELECT boot_id, mono_ms, utc FROM clock_anchors"):
        books.anchors[boot_id] = Anchor(mono_ms, datetime.fromisoformat(utc))
    for boot_id, mono_ms, utc, board_utc in db.execute("SELECT boot_id, mono_ms, utc, board_utc FROM boot_times"):
        wrong = None if board_utc is None else datetime.fromisoformat(board_utc)
        books.boot_times[boot_id] = Anchor(mono_ms, datetime.fromisoformat(utc), wrong)
    for (text,) in db.execute("SELECT record FROM meter_lifetimes"):
        lifetime = _try_load(text, MeterLifetime)
        if lifetime is not None:
            books.lifetimes[lifetime.evse_id] = lifetime
    times = db.execute(
        "SELECT max(utc) FROM clock_anchors UNION ALL SELECT max(started_utc) FROM runs "
        "UNION ALL SELECT started_utc FROM transactions WHERE ordinal = (SELECT max(ordinal) FROM transactions) "
        "UNION ALL SELECT ended_utc FROM transactions WHERE ordinal = (SELECT max(ordinal) FROM transactions)"
    )
    books.newest_utc = max((datetime.fromisoformat(text) for (text,) in times if text is not None), default=None)
    return books


def recovered(db: sqlite3.Connection) -> tuple[Recovered, list[str]]:
    """Read everything that the core begins with, and a sentence for each record that is unreadable."""
    trouble: list[str] = []
    station = _all(db, "SELECT record FROM station", StationRecord, trouble)
    transactions = []
    open_rows = db.execute("SELECT ordinal, transaction_id, record FROM transactions WHERE is_open = 1 ORDER BY ordinal").fetchall()
    for ordinal, transaction_id, text in open_rows:
        record = None if text is None else _try_load(text, TransactionRecord)
        if record is None:
            trouble.append(f"The record of the open transaction {transaction_id} is unreadable: its messages go out, its end is unknown.")
            continue
        values = _all(db, "SELECT value FROM ended_values WHERE ordinal = ? ORDER BY position", MeterValue, trouble, ordinal)
        transactions.append(replace(record, ended_values=tuple(values)))
    last_run = db.execute("SELECT boot_id FROM runs ORDER BY run_id DESC LIMIT 1").fetchone()  # this run is not registered yet
    everything = Recovered(
        station=station[0] if station else StationRecord(),
        evses=tuple(_all(db, "SELECT record FROM evses ORDER BY evse_id", EvseRecord, trouble)),
        variables=tuple(_all(db, "SELECT record FROM variables ORDER BY name", StoredVariable, trouble)),
        cache=tuple(_all(db, "SELECT record FROM authorization_cache ORDER BY entry_id", CacheEntry, trouble)),
        transactions=tuple(transactions),
        last_boot_id=None if last_run is None else last_run[0],
    )
    return everything, trouble


def _all(db: sqlite3.Connection, query: str, kind: type[T], trouble: list[str], *parameters: int) -> list[T]:
    found: list[T] = []
    for (text,) in db.execute(query, parameters):
        try:
            found.append(load(text, kind))
        except UnreadableError as error:
            trouble.append(f"{error}; it is left out.")
    return found


def _try_load(text: str, kind: type[T]) -> T | None:
    try:
        return load(text, kind)
    except UnreadableError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTransaction:
    """A transaction as the technician sees it. `record` is None where it is unreadable, and has no `ended_values`."""

    transaction_id: TransactionId
    evse_id: EvseId
    record: TransactionRecord | None
    remote_id: int | None
    is_delivered: bool
    queued: int
    dead: int


_TRANSACTIONS: Final = (
    "SELECT transaction_id, evse_id, record, remote_id, is_delivered, "
    "(SELECT count(*) FROM outbox o WHERE o.ordinal = t.ordinal AND state = 'queued'), "
    "(SELECT count(*) FROM outbox o WHERE o.ordinal = t.ordinal AND state = 'dead') FROM transactions t"
)


def transactions(db: sqlite3.Connection, limit: int) -> list[StoredTransaction]:
    """Read the newest transactions, the newest first."""
    return [_stored_transaction(row) for row in db.execute(f"{_TRANSACTIONS} ORDER BY ordinal DESC LIMIT ?", (limit,))]


def _stored_transaction(row: tuple[Any, ...]) -> StoredTransaction:
    record = None if row[2] is None else _try_load(row[2], TransactionRecord)
    return StoredTransaction(
        transaction_id=row[0] if record is None else record.transaction_id,  # the record has a checksum
        evse_id=row[1],
        record=record,
        remote_id=None if row[3] is None else int(row[3]),
        is_delivered=bool(row[4]),
        queued=row[5],
        dead=row[6],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMessage:
    """A row of the outbox as the technician sees it. `state`: queued, held (answered under the number -1) or dead.

    `notice` is None where it is unreadable.
    """

    row_id: int
    transaction_id: TransactionId
    seq_no: int
    event_type: TransactionEventType
    state: str
    attempts: int
    error: str
    notice: TransactionNotice | None


_MESSAGES: Final = (  # each ends with its place
    "SELECT row_id, transaction_id, seq_no, event_type, state, attempts, last_error, notice, ordinal "
    "FROM outbox JOIN transactions USING (ordinal)"
)


def _stored_message(row: tuple[Any, ...]) -> StoredMessage:
    return StoredMessage(
        row_id=row[0],
        transaction_id=row[1],
        seq_no=row[2],
        event_type=TransactionEventType(row[3]),
        state=row[4],
        attempts=row[5],
        error=row[6],
        notice=_try_load(row[7], TransactionNotice),
    )


def dead_letters(db: sqlite3.Connection, after: int, limit: int) -> list[StoredMessage]:
    """Read the dead letters with `row_id > after` in their order."""
    rows = db.execute(f"{_MESSAGES} WHERE state = 'dead' AND row_id > ? ORDER BY row_id LIMIT ?", (after, limit))
    return [_stored_message(row) for row in rows]


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the books of transactions that have a dead letter: the order of their beginnings, and the number in it."""

    ordinal: int = 0
    seq_no: int = -1


@dataclass(frozen=True, slots=True)
class UndeliveredPage:
    """Messages with their transactions, and where the next page begins (None: nothing comes after it)."""

    messages: tuple[tuple[StoredTransaction, StoredMessage], ...]
    end: Position | None


def undelivered(db: sqlite3.Connection, after: Position, limit: int) -> UndeliveredPage:
    """Read what is left of every transaction that has a dead letter: dead, held and waiting messages."""
    of_letters = "ordinal IN (SELECT ordinal FROM outbox WHERE state = 'dead') AND (ordinal, seq_no) > (?, ?)"
    rows = db.execute(f"{_MESSAGES} WHERE {of_letters} ORDER BY ordinal, seq_no LIMIT ?", (after.ordinal, after.seq_no, limit)).fetchall()
    found = tuple(zip(_transactions_of(db, rows), map(_stored_message, rows), strict=True))
    return UndeliveredPage(found, Position(rows[-1][8], rows[-1][2]) if len(rows) == limit else None)


def messages_beside(db: sqlite3.Connection, row_id: int, limit: int) -> UndeliveredPage:
    """Read what is left of the transaction of one dead letter. Raises StoreError where there is no such letter."""
    found = db.execute("SELECT ordinal FROM outbox WHERE row_id = ? AND state = 'dead'", (row_id,)).fetchone()
    if found is None:
        raise StoreError(f"there is no dead letter {row_id}; chargerctl deadletters list shows their rows.")
    rows = db.execute(f"{_MESSAGES} WHERE ordinal = ? ORDER BY row_id <> ?, seq_no LIMIT ?", (found[0], row_id, limit)).fetchall()
    return UndeliveredPage(tuple(zip(_transactions_of(db, rows), map(_stored_message, rows), strict=True)), None)


def _transactions_of(db: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> list[StoredTransaction]:
    read: dict[int, StoredTransaction] = {}
    for row in rows:
        if row[8] not in read:
            read[row[8]] = _stored_transaction(db.execute(f"{_TRANSACTIONS} WHERE ordinal = ?", (row[8],)).fetchone())
    return [read[row[8]] for row in rows]


def counted(db: sqlite3.Connection) -> Sequence[int]:
    """Count transactions, those that are open, and the outbox's rows: queued, held, dead."""
    (row,) = db.execute(
        "SELECT (SELECT count(*) FROM transactions), (SELECT count(*) FROM transactions WHERE is_open = 1), "
        "(SELECT count(*) FROM outbox WHERE state = 'queued'), (SELECT count(*) FROM outbox WHERE state = 'held'), "
        "(SELECT count(*) FROM outbox WHERE state = 'dead')"
    ).fetchall()
    counts: tuple[int, ...] = row
    return counts


def rows_by_table(db: sqlite3.Connection) -> tuple[dict[str, int], str | None]:
    """Count the rows of each table; gives also when the oldest transaction began, where that is known."""
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name"
    names = [name for (name,) in db.execute(query)]
    counts = {name: int(db.execute(f"SELECT count(*) FROM {name}").fetchone()[0]) for name in names}  # noqa: S608 - names of ours
    oldest = db.execute("SELECT min(started_utc) FROM transactions").fetchone()[0]
    return counts, oldest


def was_orderly(db: sqlite3.Connection) -> bool | None:
    """Read whether the newest registered run ended in order; None where there is none."""
    row = db.execute("SELECT was_orderly FROM runs ORDER BY run_id DESC LIMIT 1").fetchone()
    return None if row is None else bool(row[0])


def note_orderly_end(db: sqlite3.Connection) -> None:
    """Note that this run ends in order."""
    db.execute("UPDATE runs SET was_orderly = 1 WHERE run_id = (SELECT max(run_id) FROM runs)")
