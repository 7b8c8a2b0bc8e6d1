"""Takes what can still be read out of a damaged database: row by row, and only rows that make sense."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from agent.domain.ledger import make_row
from agent.domain.metering import MeterValue
from agent.domain.notices import TransactionNotice
from agent.domain.records import CacheEntry, EvseRecord, StationRecord, StoredVariable
from agent.domain.transaction import TransactionRecord
from agent.store import ledger
from agent.store.database import connect
from agent.store.serial import load
from agent.store.tables import MeterLifetime

Row = tuple[object, ...]

MAX_PROBES: Final = 2_000
"""Keys tried one by one behind a page that cannot be read, before the rest is taken from the other end."""

_TABLES: Final[dict[str, tuple[tuple[str, ...], type | None]]] = {
    "transactions": (
        (
            *("ordinal", "transaction_id", "evse_id", "is_open", "is_delivered", "queued_to", "remote_id"),
            *("started_utc", "ended_utc", "energy_wh", "cost_gross", "record"),
        ),
        TransactionRecord,
    ),
    "outbox": (
        ("row_id", "ordinal", "seq_no", "event_type", "state", "attempts", "calls_answered", "was_sent", "last_error", "notice"),
        TransactionNotice,
    ),
    "station": (("station_id", "record"), StationRecord),
    "evses": (("evse_id", "record"), EvseRecord),
    "variables": (("variable_id", "name", "record"), StoredVariable),
    "authorization_cache": (("entry_id", "token", "record"), CacheEntry),
    "runs": (("run_id", "boot_id", "started_mono_ms", "started_utc", "was_orderly"), None),
    "meter_lifetimes": (("evse_id", "record"), MeterLifetime),
}
"""Columns, the integer key first and the JSON last, and what the JSON is. Parents come before their children."""


def salvage(damaged: Path, db: sqlite3.Connection) -> str:
    """Copy what is readable of `damaged` into `db`, whose schema is there and whose tables are empty; gives a sentence about it."""
    saved: dict[str, int] = dict.fromkeys(_TABLES, 0)
    lost = 0
    with closing(connect(damaged.absolute().as_uri() + "?mode=ro", uri=True)) as old:
        db.execute("BEGIN IMMEDIATE")
        for table, (columns, kind) in _TABLES.items():
            for row in _readable(old, table, columns):
                try:
                    if kind is not None:
                        load(str(row[-1]), kind)
                    _insert(db, table, columns, row)
                    saved[table] += 1
                except (sqlite3.Error, ValueError):
                    lost += 1
        saved_values = _copy_simple(old, db, "ended_values", ("ordinal", "position", "value"), lambda row: load(str(row[2]), MeterValue))
        saved_anchors = _copy_simple(old, db, "clock_anchors", ("boot_id", "mono_ms", "utc"), None)
        _copy_simple(old, db, "boot_times", ("boot_id", "mono_ms", "utc"), None)
        _salvage_ledger(old, db)
        db.execute("COMMIT")
    counts = ", ".join(f"{count} from {table}" for table, count in saved.items() if count)
    extra = f", {saved_values} samples, {saved_anchors} clock anchors" if saved_values or saved_anchors else ""
    return f"Saved: {counts or 'nothing'}{extra}; {lost} rows made no sense. What could not be read at all is only in the old file."


def _salvage_ledger(old: sqlite3.Connection, db: sqlite3.Connection) -> None:
    """Copy what still proves itself of the chain, and go on behind a row that says what was lost."""
    try:
        old.execute("SELECT 1 FROM ledger LIMIT 1").fetchone()
    except sqlite3.OperationalError:  # no such table: a file of the first schema
        return
    except sqlite3.Error:
        pass
    for row in _readable(old, "ledger", ("entry", "transaction_id", "previous", "body_hash", "hash", "body")):
        with suppress(sqlite3.Error):
            if make_row(int(str(row[0])), str(row[2]), str(row[5])).hash == row[4]:
                db.execute("INSERT INTO ledger (entry, transaction_id, previous, body_hash, hash, body) VALUES (?, ?, ?, ?, ?, ?)", row)
    _copy_simple(old, db, "ledger_disclosures", ("entry", "name", "salt", "value"), None)
    _copy_simple(old, db, "ledger_heads", ("entry", "statement", "signature", "key_id"), None)
    _copy_simple(old, db, "ledger_base", ("base_id", "through"), None)
    verdict = ledger.verify(db)
    said = [signed.head for signed in ledger.heads(db, 1) if signed.head is not None]
    known = [head for head in (verdict.head, *said) if head is not None]
    old_head = max(known, key=lambda head: head.index, default=None)
    ledger.append_gap(db, list(verdict.missing), old_head, why="the file was damaged")


def _insert(db: sqlite3.Connection, table: str, columns: tuple[str, ...], row: Row) -> None:
    if table == "outbox":
        _ensure_parent(db, row)
    marks = ", ".join("?" * len(columns))
    db.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", row)  # noqa: S608 - names of ours


def _ensure_parent(db: sqlite3.Connection, row: Row) -> None:
    """Give a message whose transaction was lost a place to stand: it can be delivered without the record."""
    ordinal, seq_no, notice = row[1], row[2], load(str(row[-1]), TransactionNotice)
    if db.execute("SELECT 1 FROM transactions WHERE ordinal = ?", (ordinal,)).fetchone() is None:
        db.execute(
            "INSERT INTO transactions (ordinal, transaction_id, evse_id, is_open) VALUES (?, ?, ?, 0)",
            (ordinal, notice.transaction_id, notice.evse_id),
        )
    db.execute("UPDATE transactions SET queued_to = max(queued_to, ? + 1) WHERE ordinal = ?", (seq_no, ordinal))


def _readable(old: sqlite3.Connection, table: str, columns: tuple[str, ...]) -> Iterator[Row]:
    """Read all rows that can be read, in the order of their key, stepping over pages that cannot."""
    key = columns[0]
    select = f"SELECT {', '.join(columns)} FROM {table} WHERE {key}"  # noqa: S608 - names of ours
    position = -(2**63)
    probes = 0
    while probes < MAX_PROBES:
        try:
            for row in old.execute(f"{select} > ? ORDER BY {key}", (position,)):
                position, probes = row[0], 0
                yield row
            return
        except sqlite3.Error:
            position = max(position, 0) + 1
            probes += 1
    tail: list[Row] = []
    try:
        for row in old.execute(f"{select} > ? ORDER BY {key} DESC", (position,)):
            tail.append(row)  # noqa: PERF402 - what was read before the error counts
    except sqlite3.Error:
        pass
    yield from reversed(tail)


def _copy_simple(
    old: sqlite3.Connection, db: sqlite3.Connection, table: str, columns: tuple[str, ...], check: Callable[[Row], object] | None
) -> int:
    """Copy a table without an integer key, as far as the first page that cannot be read."""
    count = 0
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    try:
        for row in old.execute(f"SELECT {names} FROM {table}"):  # noqa: S608 - names of ours
            try:
                if check is not None:
                    check(row)
                db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", row)  # noqa: S608 - names of ours
                count += 1
            except (sqlite3.Error, ValueError):
                continue
    except sqlite3.Error:
        pass
    return count
