"""Takes personal data out of the file: the tokens of sessions, the salts of their commitments, the cached token. Bills and hashes stay.

Functions that run on the connection's thread, except `copies`.
"""

import sqlite3
from collections.abc import Collection
from pathlib import Path
from typing import Final

from agent.domain import ledger
from agent.domain.values import dataclass
from agent.store.ledger import DELIVERED
from agent.store.seal import sealed, unsealed

_COPIES: Final = (".schema-*", ".corrupt-*", ".salvaged*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Whose data goes: of one session, of one token (compared without case), or of all sessions that ended before a moment (RFC 3339)."""

    transaction_id: str | None = None
    token: str | None = None
    before: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What was done. `waiting` sessions run, or were not delivered yet, and keep their data until they are. `copies` are old files beside.

    `is_scrubbed`: nothing of it is left in the file's free pages and in its log.
    """

    sessions: int
    waiting: int
    is_scrubbed: bool = False
    copies: tuple[Path, ...] = ()


def erase(db: sqlite3.Connection, wanted: Wanted, busy: Collection[str]) -> Erased:
    """Erase inside a unit of work. `busy`: sessions that the running station still has in hand."""
    done = waiting = 0
    for transaction_id, is_settled in _found(db, wanted):
        if not is_settled or transaction_id in busy:
            waiting += 1
        elif _erase_session(db, transaction_id):
            done += 1
    if wanted.token is not None:
        db.execute("DELETE FROM authorization_cache WHERE token = ?", (wanted.token.casefold(),))
    return Erased(sessions=done, waiting=waiting)


def _found(db: sqlite3.Connection, wanted: Wanted) -> list[tuple[str, bool]]:
    """The sessions that are meant, and whether each has ended and was delivered."""
    rows = db.execute(
        f"SELECT transaction_id, is_open = 0 AND {DELIVERED}, record, ended_utc FROM transactions UNION ALL "  # noqa: S608 - a constant of ours
        "SELECT transaction_id, 1, NULL, NULL FROM ledger l WHERE transaction_id IS NOT NULL "
        "AND NOT EXISTS (SELECT 1 FROM transactions t WHERE t.transaction_id = l.transaction_id)"
    ).fetchall()
    return [(each[0], bool(each[1])) for each in rows if _is_meant(db, wanted, *each)]


def _is_meant(db: sqlite3.Connection, wanted: Wanted, transaction_id: str, _: int, record: str | None, ended: str | None) -> bool:
    if wanted.transaction_id is not None:
        return transaction_id == wanted.transaction_id
    kept = db.execute(
        "SELECT name, value, body FROM ledger JOIN ledger_disclosures USING (entry) WHERE transaction_id = ?", (transaction_id,)
    ).fetchall()
    if wanted.token is not None:
        values = [value.partition(":")[2] for _, value, _ in kept]
        if record is not None:
            values += ledger.tokens_in(_read(record))
        return any(value.casefold() == wanted.token.casefold() for value in values)
    if ended is None and kept:
        ended = ledger.ended_utc(kept[0][2])
    return wanted.before is not None and ended is not None and ended < wanted.before


def _erase_session(db: sqlite3.Connection, transaction_id: str) -> bool:
    """Erase the tokens of one session; tells whether there were any."""
    gone = db.execute(
        "DELETE FROM ledger_disclosures WHERE entry IN (SELECT entry FROM ledger WHERE transaction_id = ?)", (transaction_id,)
    ).rowcount
    row = db.execute("SELECT record FROM transactions WHERE transaction_id = ?", (transaction_id,)).fetchone()
    if row is None or row[0] is None:
        return gone > 0
    record = _read(row[0])
    has_tokens = any(ledger.tokens_in(record))
    if has_tokens:
        text = sealed(ledger.without_tokens(record).encode())
        db.execute("UPDATE transactions SET record = ? WHERE transaction_id = ?", (text, transaction_id))
    return gone > 0 or has_tokens


def _read(text: str) -> ledger.Facts:
    """A stored record; empty where it cannot be read."""
    try:
        return ledger.read_record(unsealed(text))
    except ValueError:
        return {}


def copies(file: Path) -> tuple[Path, ...]:
    """Old files beside the database, which hold what was in it when they were made: a person decides about them."""
    return tuple(sorted(found for pattern in _COPIES for found in file.parent.glob(file.name + pattern)))
