-- The chain of finished sessions (docs/ledger.md). `body` is proved as the bytes that stand here; hashes are 64 hexadecimal digits.
CREATE TABLE ledger (
    entry          INTEGER PRIMARY KEY,
    transaction_id TEXT UNIQUE, -- null: a row about the chain itself
    previous       TEXT NOT NULL,
    body_hash      TEXT NOT NULL,
    hash           TEXT NOT NULL,
    body           TEXT NOT NULL
) STRICT;

-- Personal values and the salts of their commitments: what is erased here leaves the chain whole.
CREATE TABLE ledger_disclosures (
    entry INTEGER NOT NULL,
    name  TEXT NOT NULL,
    salt  BLOB NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (entry, name)
) STRICT, WITHOUT ROWID;

-- What the device said about the newest row; the signature is empty where it has no key.
CREATE TABLE ledger_heads (
    entry     INTEGER PRIMARY KEY,
    statement TEXT NOT NULL,
    signature TEXT NOT NULL,
    key_id    TEXT NOT NULL
) STRICT;

-- Up to which row the chain was pruned in order.
CREATE TABLE ledger_base (
    base_id INTEGER PRIMARY KEY CHECK (base_id = 1),
    through INTEGER NOT NULL
) STRICT;

CREATE TRIGGER ledger_is_never_changed BEFORE UPDATE ON ledger
BEGIN
    SELECT RAISE(ABORT, 'the ledger is only added to');
END;

CREATE TRIGGER ledger_is_pruned_in_order BEFORE DELETE ON ledger
WHEN OLD.entry > (SELECT coalesce(max(through), 0) FROM ledger_base)
BEGIN
    SELECT RAISE(ABORT, 'the ledger is only pruned from its beginning');
END;
