"""Takes what can still be read out of a damaged database: row by row, and only rows that make sense.

Where the first pages are gone, in which SQLite keeps what the file is and where its tables begin, a copy is read that got them anew from
the map that `database` keeps beside the file.
"""

import sqlite3
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from agent.domain.ledger import make_row
from agent.domain.metering import MeterValue
from agent.domain.notices import TransactionNotice
from agent.domain.records import CacheEntry, EvseRecord, StationRecord, StoredVariable
from agent.domain.time import Instant
from agent.domain.transaction import TransactionRecord
from agent.store import ledger
from agent.store.database import columns_of, connect, is_full, read_map
from agent.store.room import beside, remove_with_log
from agent.store.serial import load
from agent.store.tables import MeterLifetime, token_key

Row = tuple[object, ...]

_UNREADABLE: Final = (sqlite3.Error, UnicodeDecodeError)
"""The second is Python's, for a message of SQLite that quotes damaged text."""

MAX_PROBES: Final = 2_000
"""Keys tried one by one behind a page that cannot be read, before the rest is taken from the other end."""
SILENT_FOR_AT_MOST: Final = timedelta(days=400)
"""Nobody charges for so long at a charger that is in use."""
_NEEDED: Final = {
    "transactions": (
        *("ordinal", "transaction_id", "evse_id", "is_open", "queued_to", "started_utc", "ended_utc", "energy_wh", "cost_gross", "record"),
    ),
    "outbox": ("row_id", "ordinal", "seq_no", "event_type", "notice"),
}
"""Columns without which a row says nothing; they have a checksum, or a default for it."""
_WITH_TIMES: Final = frozenset(("runs", "clock_anchors", "boot_times"))

_Table = tuple[str, str, type | None]

_TABLES: Final[dict[str, _Table]] = {
    "transactions": ("ordinal", "record", TransactionRecord),
    "outbox": ("row_id", "notice", TransactionNotice),
    "station": ("station_id", "record", StationRecord),
    "evses": ("evse_id", "record", EvseRecord),
    "variables": ("variable_id", "record", StoredVariable),
    "authorization_cache": ("entry_id", "record", CacheEntry),
    "runs": ("run_id", "boot_id", None),
    "meter_lifetimes": ("evse_id", "record", MeterLifetime),
    "ended_values": ("", "value", MeterValue),
    "clock_anchors": ("", "boot_id", None),
}
"""The integer key, where there is one; the JSON (or any column) and what it is. Parents come before their children. Every other table is
copied as far as it can be read."""


def salvage(damaged: Path, db: sqlite3.Connection) -> str:
    """Copy what is readable of `damaged` into `db`, whose schema is there and whose tables are empty; gives a sentence about it."""
    saved: dict[str, int] = {}
    lost = 0
    with _source(damaged) as old:
        db.execute("BEGIN IMMEDIATE")
        for table, (key, text, kind) in _to_copy(db).items():
            if old is None:
                break
            there = _columns(old, table)
            columns = [name for name in columns_of(db, table) if name in there and name not in {key, text}]
            if (key and key not in there) or (text and text not in there):
                continue
            ordered = tuple(filter(None, (key, *columns, text)))
            for row in _readable(old, table, ordered) if key else _simple(old, table, ordered):
                try:
                    value = None if kind is None or row[-1] is None else load(str(row[-1]), kind)
                    _insert(db, table, dict(zip(ordered, row, strict=True)), value)
                    saved[table] = saved.get(table, 0) + 1
                except (sqlite3.Error, ValueError) as error:
                    if is_full(error):
                        raise  # nothing is wrong with the row: it is tried again when there is room
                    lost += 1
        if old is not None:
            _whole_or_not(db, lambda: _salvage_ledger(old, db))
        _order_messages(db)
        db.execute("COMMIT")
    counts = ", ".join(f"{count} from {table}" for table, count in saved.items())
    return f"Saved: {counts or 'nothing'}; {lost} rows made no sense. What could not be read at all is only in the old file."


def _whole_or_not(db: sqlite3.Connection, part: Callable[[], None]) -> None:
    """Do something that sessions do not depend on. Nothing that a damaged file makes it meet may keep the charger from starting."""
    db.execute("SAVEPOINT part")
    try:
        part()
    except Exception as error:  # the rows are in the old file still
        if is_full(error):
            raise
        db.execute("ROLLBACK TO part")
    db.execute("RELEASE part")


@contextmanager
def _skipping() -> Iterator[None]:
    """Step over a row that makes no sense, and over no other."""
    try:
        yield
    except (sqlite3.Error, ValueError) as error:
        if is_full(error):
            raise


def _salvage_ledger(old: sqlite3.Connection, db: sqlite3.Connection) -> None:
    """Copy what still proves itself of the chain, and go on behind a row that says what was lost."""
    if not _columns(old, "ledger"):  # a file of the first schema
        return
    for row in _readable(old, "ledger", ("entry", "transaction_id", "previous", "body_hash", "hash", "body")):
        with _skipping():
            if make_row(int(str(row[0])), str(row[2]), str(row[5])).hash == row[4]:
                db.execute("INSERT INTO ledger (entry, transaction_id, previous, body_hash, hash, body) VALUES (?, ?, ?, ?, ?, ?)", row)
    for table in ("ledger_disclosures", "ledger_heads", "ledger_base"):
        columns = columns_of(db, table)
        for row in _simple(old, table, columns):
            with _skipping():
                _write(db, table, dict(zip(columns, row, strict=True)))
    verdict = ledger.verify(db)
    said = [signed.head for signed in ledger.heads(db, 1) if signed.head is not None]
    known = [head for head in (verdict.head, *said) if head is not None]
    old_head = max(known, key=lambda head: head.index, default=None)
    ledger.append_gap(db, list(verdict.missing), old_head, why="the file was damaged")


def _to_copy(db: sqlite3.Connection) -> dict[str, _Table]:
    """Every table of today's schema, with what is known of it; the ledger goes its own way."""
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name NOT LIKE 'ledger%'"
    names = [name for (name,) in db.execute(query)]
    return {**_TABLES, **{name: ("", "", None) for name in names if name not in _TABLES}}


@contextmanager
def _source(damaged: Path) -> Iterator[sqlite3.Connection | None]:
    """The damaged file, or a copy whose beginning was made anew; None where nothing can be read at all."""
    with closing(connect(damaged.absolute().as_uri() + "?mode=ro", uri=True)) as old:
        if _is_understood(damaged, old):
            yield old
            return
        if _is_of_another_program(old):
            yield None
            return
    copy = beside(damaged, ".repaired")
    try:
        with suppress(OSError, KeyError, TypeError, ValueError, sqlite3.Error):
            _repair(damaged, copy)
        if copy.exists():
            with closing(connect(copy)) as old:
                yield old
        else:
            yield None
    finally:
        remove_with_log(copy)


def _is_understood(damaged: Path, db: sqlite3.Connection) -> bool:
    """Whether the table of contents is as it was: a letter that changed in the name of a column hides the whole column."""
    known = read_map(damaged)
    if known is None:
        return all(_columns(db, table) for table in _TABLES)
    with suppress(*_UNREADABLE):
        tables = [list(row) for row in db.execute("SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master")]
        return bool(tables == known.get("tables"))
    return False


def _is_of_another_program(db: sqlite3.Connection) -> bool:
    with suppress(*_UNREADABLE):
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        return bool(names) and names.isdisjoint(_TABLES)
    return False


def _columns(db: sqlite3.Connection | None, table: str) -> tuple[str, ...]:
    with suppress(*_UNREADABLE):
        return () if db is None else columns_of(db, table)
    return ()


def _repair(damaged: Path, copy: Path) -> None:
    """Copy the file and its log, with a first page that names no table, and then the tables where the map says that they are."""
    import shutil

    known = read_map(damaged)
    if known is None:
        return
    page_bytes = int(known["page_size"])
    remove_with_log(copy)
    shutil.copyfile(damaged, copy)
    with copy.open("r+b") as file:
        pages = -(-file.seek(0, 2) // page_bytes)
        file.truncate(max(1, pages) * page_bytes)
        file.seek(0)
        file.write(_first_page(page_bytes, max(1, pages), int(known["user_version"]), int(known["application_id"])))
    with suppress(FileNotFoundError):
        shutil.copyfile(beside(damaged, "-wal"), beside(copy, "-wal"))
    with closing(connect(copy)) as db:
        db.execute("PRAGMA journal_mode").fetchall()
        if _is_understood(damaged, db):
            return  # the log had the first page
        db.execute("PRAGMA writable_schema = ON")
        db.execute("BEGIN IMMEDIATE")
        db.execute("DELETE FROM sqlite_master")
        db.executemany("INSERT INTO sqlite_master (type, name, tbl_name, rootpage, sql) VALUES (?, ?, ?, ?, ?)", known["tables"])
        db.execute("COMMIT")


def _first_page(page_bytes: int, pages: int, user_version: int, application_id: int) -> bytes:
    """A header and an empty table of contents (https://www.sqlite.org/fileformat2.html#the_database_header)."""
    header = struct.pack(
        ">16sH6B12I20xII",
        b"SQLite format 3\0",
        page_bytes % 65536 or 1,
        *(2, 2, 0, 64, 32, 32),  # with a log; no reserved bytes; the fixed fractions
        *(1, pages, 0, 0, 1, 4, 0, 0, 1),  # change counter, size, no free pages, schema's cookie and format, cache, vacuum, UTF-8
        *(user_version, 0, application_id),
        *(1, 3_037_000),  # the size above is that of this change counter
    )
    return (header + struct.pack(">BHHHB", 0x0D, 0, 0, page_bytes % 65536, 0)).ljust(page_bytes, b"\0")


def _insert(db: sqlite3.Connection, table: str, row: dict[str, object], value: object) -> None:
    """Write a row. What stands in its JSON, which has a checksum, counts more than what stands beside it."""
    match value:
        case TransactionRecord():
            queued_to = row["queued_to"]
            row |= {
                "transaction_id": value.transaction_id,
                "evse_id": value.evse_id,
                "is_open": value.ended_at is None,
                "queued_to": min(queued_to, value.next_seq_no) if isinstance(queued_to, int) else 0,
                "started_utc": _utc_text(value.started_at),
                "ended_utc": _utc_text(value.ended_at),
                "energy_wh": value.energy_wh,
                "cost_gross": None if value.cost_gross is None else str(value.cost_gross),
            }
        case TransactionNotice():
            row |= {"ordinal": _ordinal(db, value, row["ordinal"]), "seq_no": value.seq_no, "event_type": value.event_type}
        case StoredVariable():
            row["name"] = str(value.key.folded())
        case CacheEntry():
            row["token"] = token_key(value.id_token)
        case EvseRecord() | MeterLifetime():
            row["evse_id"] = value.evse_id
        case _ if table in _WITH_TIMES:
            _check_time(db, row)
    try:
        _write(db, table, row)
    except sqlite3.Error as error:
        if table not in _NEEDED or is_full(error):
            raise
        needed = {name: row[name] for name in _NEEDED[table]}
        try:
            _write(db, table, needed)  # what stands beside it makes no sense
        except sqlite3.IntegrityError:
            _write(db, table, {**needed, _NEEDED[table][0]: None})  # its key is another row's: it gets a new one


def _write(db: sqlite3.Connection, table: str, row: Mapping[str, object]) -> None:
    names, marks = ", ".join(row), ", ".join("?" * len(row))
    db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(row.values()))  # noqa: S608 - names of ours


def _utc_text(at: Instant | None) -> str | None:
    return None if at is None or at.utc is None else at.utc.isoformat()


def _ordinal(db: sqlite3.Connection, notice: TransactionNotice, ordinal: object) -> object:
    """The transaction of a message. Where that was lost, the message gets a place to stand: it can be delivered without the record."""
    found = db.execute("SELECT ordinal FROM transactions WHERE transaction_id = ?", (notice.transaction_id,)).fetchone()
    if found is None:
        taken = db.execute("SELECT 1 FROM transactions WHERE ordinal = ?", (ordinal,)).fetchone()
        (ordinal,) = db.execute(
            "INSERT INTO transactions (ordinal, transaction_id, evse_id, is_open) VALUES (?, ?, ?, 0) RETURNING ordinal",
            (None if taken else ordinal, notice.transaction_id, notice.evse_id),
        ).fetchall()[0]
    else:
        (ordinal,) = found
    db.execute("UPDATE transactions SET queued_to = max(queued_to, ? + 1) WHERE ordinal = ?", (notice.seq_no, ordinal))
    return ordinal


def _order_messages(db: sqlite3.Connection) -> None:
    """Bring the messages of each transaction into the order of their numbers, which have a checksum; places in the queue have none."""
    by_transaction: dict[int, list[tuple[int, int]]] = {}
    for row_id, ordinal, seq_no in db.execute("SELECT row_id, ordinal, seq_no FROM outbox ORDER BY row_id"):
        by_transaction.setdefault(ordinal, []).append((seq_no, row_id))
    for rows in by_transaction.values():
        ordered = sorted(rows)
        if ordered == rows:
            continue
        places = sorted(row_id for _, row_id in rows)
        for _, row_id in ordered:
            db.execute("UPDATE outbox SET row_id = -row_id WHERE row_id = ?", (row_id,))
        for (_, row_id), place in zip(ordered, places, strict=True):
            db.execute("UPDATE outbox SET row_id = ? WHERE row_id = ?", (place, -row_id))


def _check_time(db: sqlite3.Connection, row: dict[str, object]) -> None:
    """Refuse a wall time without checksum far behind the newest with one: a flipped bit in a year would move the clock's floor."""
    text = row.get("utc", row.get("started_utc"))
    newest = db.execute("SELECT max(max(started_utc, coalesce(ended_utc, ''))) FROM transactions").fetchone()[0]
    if text is not None and newest and datetime.fromisoformat(str(text)) > datetime.fromisoformat(newest) + SILENT_FOR_AT_MOST:
        raise ValueError("a time far in the future")


def _readable(old: sqlite3.Connection, table: str, columns: tuple[str, ...]) -> Iterator[Row]:
    """Read all rows that can be read, in the order of their key, stepping over pages that cannot."""
    key = columns[0]
    select = f"SELECT {', '.join(columns)} FROM {table} WHERE {key}"  # noqa: S608 - names of ours
    position, probes = -(2**63), 0
    seen: set[int] = set()
    while probes < MAX_PROBES:
        try:
            for row in old.execute(f"{select} > ? ORDER BY {key}", (position,)):
                if hash(row) in seen:  # a damaged page may lead back to where the scan has been; a key that changed may be another row's
                    continue
                seen.add(hash(row))
                position, probes = max(position, row[0]), 0
                yield row
            return
        except _UNREADABLE:
            # Python asks for the next row before it gives one: the row in front of the broken one has to be asked for by its key.
            position = max(position, 0) + 1
            probes += 1
            for row in _by_key(old, select, position):
                seen.add(hash(row))
                yield row
    tail: list[Row] = []
    with suppress(*_UNREADABLE):
        for row in old.execute(f"{select} > ? ORDER BY {key} DESC", (position,)):
            tail.append(row)  # noqa: PERF402 - what was read before the error counts
    if tail:
        tail.extend(_by_key(old, select, int(str(tail[-1][0])) - 1))
    yield from reversed(tail)


def _by_key(old: sqlite3.Connection, select: str, key: int) -> list[Row]:
    try:
        return old.execute(f"{select} = ?", (key,)).fetchall()
    except _UNREADABLE:
        return []


def _simple(old: sqlite3.Connection, table: str, columns: tuple[str, ...]) -> Iterator[Row]:
    """Read a table without an integer key as far as the first page that cannot be read."""
    with suppress(*_UNREADABLE):
        yield from old.execute(f"SELECT {', '.join(columns)} FROM {table}")  # noqa: S608 - names of ours
