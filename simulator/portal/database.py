"""The portal's SQLite file. One connection, used from the event loop's own thread.

Every message of a charger is one transaction, committed before it is answered. Statements take some 20-100 microseconds on a local
file, less than a hop to another thread and back, and a test rig has no other work to protect; so there is no thread here.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

SqlValue: TypeAlias = str | int | None

SCHEMA_VERSION = 3
_SCHEMA = """
CREATE TABLE factory (serial TEXT PRIMARY KEY, uid TEXT NOT NULL) STRICT;
CREATE TABLE claim_failure (id INTEGER PRIMARY KEY, serial TEXT NOT NULL, at TEXT NOT NULL) STRICT;
CREATE TABLE password (identity TEXT PRIMARY KEY, salt TEXT NOT NULL, digest TEXT NOT NULL) STRICT;
CREATE TABLE card (id_token TEXT PRIMARY KEY COLLATE NOCASE, status TEXT NOT NULL) STRICT;
CREATE TABLE charger_group (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, energy_cost TEXT, currency TEXT, price_kwh TEXT, price_minute TEXT, price_session TEXT,
    vat_percent TEXT, authorize_amount TEXT NOT NULL
) STRICT;
CREATE TABLE charger (
    serial TEXT PRIMARY KEY, identity TEXT UNIQUE, country TEXT NOT NULL, region TEXT NOT NULL,
    group_id TEXT NOT NULL REFERENCES charger_group (id), price_kwh TEXT, price_minute TEXT, price_session TEXT,
    charge_with_qr INTEGER NOT NULL DEFAULT 0, vendor TEXT NOT NULL DEFAULT '', model TEXT NOT NULL DEFAULT '',
    firmware_version TEXT NOT NULL DEFAULT '', version TEXT NOT NULL DEFAULT '', claimed_at TEXT NOT NULL, booted_at TEXT, last_seen TEXT,
    settings_acknowledged TEXT, settings_problem TEXT
) STRICT;
CREATE TABLE unclaimed (
    identity TEXT PRIMARY KEY, serial TEXT NOT NULL, vendor TEXT NOT NULL, model TEXT NOT NULL, version TEXT NOT NULL, at TEXT NOT NULL
) STRICT;
CREATE TABLE connector (
    serial TEXT NOT NULL REFERENCES charger (serial), evse INTEGER NOT NULL, connector INTEGER NOT NULL, status TEXT NOT NULL,
    error TEXT NOT NULL, at TEXT NOT NULL, PRIMARY KEY (serial, evse, connector)
) STRICT;
CREATE TABLE price_history (id INTEGER PRIMARY KEY, serial TEXT NOT NULL REFERENCES charger (serial), at TEXT NOT NULL, tariff TEXT) STRICT;
CREATE TABLE payment (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, serial TEXT NOT NULL REFERENCES charger (serial), station TEXT NOT NULL,
    evse INTEGER NOT NULL, country TEXT NOT NULL, region TEXT NOT NULL, method TEXT NOT NULL, id_token TEXT NOT NULL UNIQUE COLLATE NOCASE,
    tariff TEXT NOT NULL, commission_percent TEXT NOT NULL, authorized TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '',
    created_at TEXT NOT NULL, closed_at TEXT, stop_requested INTEGER NOT NULL DEFAULT 0, tx INTEGER,
    gross TEXT, vat TEXT, commission TEXT, net TEXT, uncollected TEXT
) STRICT;
CREATE INDEX payment_by_state ON payment (state);
CREATE TABLE tx (
    id INTEGER PRIMARY KEY AUTOINCREMENT, serial TEXT NOT NULL REFERENCES charger (serial), station TEXT NOT NULL, version TEXT NOT NULL,
    wire_id TEXT, start_key TEXT, evse INTEGER, id_token TEXT NOT NULL DEFAULT '', verdict TEXT, payment INTEGER REFERENCES payment (id),
    started_at TEXT, start_wh INTEGER, stopped_at TEXT, stop_wh INTEGER, stop_reason TEXT NOT NULL DEFAULT '', stop_digest TEXT,
    first_at TEXT, first_wh INTEGER, last_at TEXT, last_wh INTEGER, power_w TEXT, charging_state TEXT NOT NULL DEFAULT '',
    tariff TEXT, is_settled INTEGER NOT NULL DEFAULT 0, energy_wh INTEGER, seconds TEXT, gross TEXT, vat TEXT,
    interrupted_ms INTEGER NOT NULL DEFAULT 0,
    charger_currency TEXT, charger_gross TEXT, charger_vat TEXT, charger_energy_wh INTEGER, charger_seconds TEXT,
    charger_is_final INTEGER NOT NULL DEFAULT 0, mismatch TEXT NOT NULL DEFAULT '', ended_seq_no INTEGER,
    duplicate_starts INTEGER NOT NULL DEFAULT 0, duplicate_updates INTEGER NOT NULL DEFAULT 0, duplicate_stops INTEGER NOT NULL DEFAULT 0,
    UNIQUE (serial, wire_id), UNIQUE (serial, start_key)
) STRICT;
CREATE INDEX tx_open ON tx (serial, is_settled);
CREATE TABLE tx_message (
    id INTEGER PRIMARY KEY, tx INTEGER NOT NULL REFERENCES tx (id), kind TEXT NOT NULL, seq_no INTEGER, digest TEXT NOT NULL,
    at TEXT NOT NULL, received_at TEXT NOT NULL, copies INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE INDEX tx_message_by_digest ON tx_message (tx, digest);
CREATE TABLE anomaly (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, station TEXT NOT NULL, tx INTEGER, kind TEXT NOT NULL, detail TEXT NOT NULL,
    payload TEXT NOT NULL
) STRICT;
CREATE INDEX anomaly_by_tx ON anomaly (tx);
CREATE TABLE ledger_head (
    id INTEGER PRIMARY KEY, serial TEXT NOT NULL REFERENCES charger (serial), chain TEXT NOT NULL, row INTEGER NOT NULL, hash TEXT NOT NULL,
    said_at TEXT, key_id TEXT NOT NULL, signature TEXT NOT NULL, statement TEXT NOT NULL, received_at TEXT NOT NULL,
    UNIQUE (serial, chain, row, hash)
) STRICT;
INSERT INTO sqlite_sequence (name, seq) VALUES ('tx', 1000), ('payment', 500);
"""


class Database:
    """A connection with units of work. `path` may be ":memory:"."""

    def __init__(self, path: Path | str) -> None:
        """Open, or make, the file. Raises ValueError for a file of another schema version."""
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._depth = 0
        # NORMAL: what is committed survives a killed process; a power cut of the test rig's host is outside its promises.
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        found = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        if found == 0:
            self._connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        elif found != SCHEMA_VERSION:
            self._connection.close()
            msg = f"{path}: portal database of schema {found}, this portal reads {SCHEMA_VERSION}; move the file away, it is test data"
            raise ValueError(msg)

    @contextmanager
    def unit(self) -> Iterator[None]:
        """All or nothing; an inner unit joins the outer one."""
        if self._depth:
            yield
            return
        self._connection.execute("BEGIN IMMEDIATE")
        self._depth = 1
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        else:
            self._connection.execute("COMMIT")
        finally:
            self._depth = 0

    def execute(self, sql: str, *values: SqlValue) -> int:
        """Run a statement; returns the number of rows it changed."""
        return self._connection.execute(sql, values).rowcount

    def insert(self, sql: str, *values: SqlValue) -> int:
        """Run an INSERT; returns the new row id."""
        row_id = self._connection.execute(sql, values).lastrowid
        assert row_id is not None
        return row_id

    def one(self, sql: str, *values: SqlValue) -> sqlite3.Row | None:
        """The first row, or None."""
        row: sqlite3.Row | None = self._connection.execute(sql, values).fetchone()
        return row

    def all(self, sql: str, *values: SqlValue) -> list[sqlite3.Row]:
        """All rows."""
        return self._connection.execute(sql, values).fetchall()

    def count(self, sql: str, *values: SqlValue) -> int:
        """The first column of the first row as a number."""
        return int(self._connection.execute(sql, values).fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
