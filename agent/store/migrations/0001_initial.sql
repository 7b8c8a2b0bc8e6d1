-- Times are RFC 3339 UTC, money and energy are decimal text, `record`, `notice` and `value` are the JSON of agent.store.serial.

CREATE TABLE station (
    station_id INTEGER PRIMARY KEY CHECK (station_id = 1),
    record     TEXT NOT NULL
) STRICT;

CREATE TABLE evses (
    evse_id INTEGER PRIMARY KEY,
    record  TEXT NOT NULL
) STRICT;

CREATE TABLE variables (
    variable_id INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE, -- in lower case: names are compared without case
    record      TEXT NOT NULL
) STRICT;

CREATE TABLE authorization_cache (
    entry_id INTEGER PRIMARY KEY,
    token    TEXT NOT NULL UNIQUE, -- in lower case, without the type: 1.6 knows none
    record   TEXT NOT NULL
) STRICT;

-- `ordinal` counts transactions in the order in which they began. `record` is null only where a damaged file gave back no more than
-- the notices. `queued_to`: every notice with a lower seq_no has been in the outbox, so one that is not there any more was delivered.
CREATE TABLE transactions (
    ordinal        INTEGER PRIMARY KEY,
    transaction_id TEXT NOT NULL UNIQUE,
    evse_id        INTEGER NOT NULL,
    is_open        INTEGER NOT NULL,
    is_delivered   INTEGER NOT NULL DEFAULT 0,
    queued_to      INTEGER NOT NULL DEFAULT 0,
    remote_id      TEXT, -- a 1.6 CSMS's number, of any size
    started_utc    TEXT,
    ended_utc      TEXT,
    energy_wh      INTEGER,
    cost_gross     TEXT,
    record         TEXT
) STRICT;

CREATE INDEX transactions_open ON transactions (ordinal) WHERE is_open = 1;

-- The samples kept for the end message, beside the record: it is written again with every reading, they are only added to.
CREATE TABLE ended_values (
    ordinal  INTEGER NOT NULL REFERENCES transactions (ordinal) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    value    TEXT NOT NULL,
    PRIMARY KEY (ordinal, position)
) STRICT, WITHOUT ROWID;

-- `held`: answered, but under the number -1 because the transaction's Start went to dead letters (1.6 errata 3.18); sent again with it.
CREATE TABLE outbox (
    row_id         INTEGER PRIMARY KEY AUTOINCREMENT,
    ordinal        INTEGER NOT NULL REFERENCES transactions (ordinal),
    seq_no         INTEGER NOT NULL,
    event_type     TEXT NOT NULL,
    state          TEXT NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'held', 'dead')),
    attempts       INTEGER NOT NULL DEFAULT 0,
    calls_answered INTEGER NOT NULL DEFAULT 0,
    was_sent       INTEGER NOT NULL DEFAULT 0,
    last_error     TEXT NOT NULL DEFAULT '',
    notice         TEXT NOT NULL,
    UNIQUE (ordinal, seq_no)
) STRICT;

-- One row per start of the process.
CREATE TABLE runs (
    run_id          INTEGER PRIMARY KEY,
    boot_id         TEXT NOT NULL,
    started_mono_ms INTEGER NOT NULL,
    started_utc     TEXT,
    was_orderly     INTEGER NOT NULL DEFAULT 0
) STRICT;

-- What wall time a moment of a boot was, once that was known.
CREATE TABLE clock_anchors (
    boot_id TEXT PRIMARY KEY,
    mono_ms INTEGER NOT NULL,
    utc     TEXT NOT NULL
) STRICT;

-- The delta-built registers of the meters: statistics only.
CREATE TABLE meter_lifetimes (
    evse_id INTEGER PRIMARY KEY,
    record  TEXT NOT NULL
) STRICT;
