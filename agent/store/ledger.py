"""The chain of finished sessions on disk: appended in the commit that ends a session, pruned from its beginning, read in pages.

Functions that run on the connection's thread. What a row says and how it is proved is in agent.domain.ledger. Imports nothing but SQLite,
so that `chargerctl` can prove a file while the daemon is down.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Final

from agent.domain import ledger
from agent.domain.ledger import Disclosure, Facts, Head, Row, SignedHead
from agent.domain.values import dataclass
from agent.store.seal import unsealed

KEPT_ROWS: Final = 5_000
"""Some 9 MB. Older rows are pruned when what they are about was delivered."""
PRUNED_AT_ONCE: Final = 200
KEPT_HEADS: Final = 50
_CHAIN_BYTES: Final = 16


DELIVERED: Final = "(is_delivered = 1 AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.ordinal = transactions.ordinal))"
"""Of a transaction. The mark alone has no checksum: where it is wrong, what waits must neither be lost nor stop every commit."""
_WITHOUT_ROW: Final = (
    "FROM transactions t WHERE is_open = 0 AND record IS NOT NULL "
    "AND NOT EXISTS (SELECT 1 FROM ledger l WHERE l.transaction_id = t.transaction_id)"
)


def append(db: sqlite3.Connection, finished: Iterable[str], *, station: str, is_late: bool = False) -> int:
    """Add the rows of finished sessions, each once. Gives their number. The caller's unit of work makes them durable with the records."""
    count = 0
    for transaction_id in finished:
        try:
            text = db.execute("SELECT record FROM transactions WHERE transaction_id = ?", (transaction_id,)).fetchone()
            known = db.execute("SELECT 1 FROM ledger WHERE transaction_id = ?", (transaction_id,)).fetchone()
            if known is not None or text is None or text[0] is None:
                continue
            record = ledger.read_record(unsealed(text[0]))
        except ValueError:  # what cannot be read is no fact: neither a record nor a damaged id that no query takes
            continue
        count += _whole_or_not(db, lambda: _append_session(db, transaction_id, record, station=station, is_late=is_late))  # noqa: B023 - called now
    if count:
        prune(db)
    return count


_OF_DAMAGE: Final = (sqlite3.IntegrityError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError)
"""What a row that was damaged or tampered with makes of the next one. A full or broken disk is none of them."""


def _whole_or_not(db: sqlite3.Connection, part: Callable[[], int]) -> int:
    """Do something to the chain, or nothing where it is damaged: the end of a session, in the same commit, must not wait for it.

    A session without its row is named by the proof, and gets it at the next start after the chain was cured.
    """
    db.execute("SAVEPOINT chain")
    try:
        done = part()
    except _OF_DAMAGE:
        db.execute("ROLLBACK TO chain")
        done = 0
    db.execute("RELEASE chain")
    return done


def _append_session(db: sqlite3.Connection, transaction_id: str, record: Facts, *, station: str, is_late: bool) -> int:
    chain, last = _chain_and_head(db)
    disclosures = {name: Disclosure(os.urandom(ledger.SALT_BYTES), value) for name, value in ledger.personal_values(record).items()}
    commitments = {name: ledger.commitment(name, disclosure) for name, disclosure in disclosures.items()}
    body = ledger.session_body(record, commitments, chain=chain, station=station, is_late=is_late)
    entry = _append(db, last, body, transaction_id)
    db.executemany(
        "INSERT OR REPLACE INTO ledger_disclosures (entry, name, salt, value) VALUES (?, ?, ?, ?)",
        ((entry, name, disclosure.salt, disclosure.value) for name, disclosure in disclosures.items()),
    )
    return 1


def append_missing(db: sqlite3.Connection, *, station: str) -> int:
    """Add rows for finished sessions that have none: of a file of an older version, or of one that was salvaged. Gives their number."""
    found = db.execute(f"SELECT transaction_id {_WITHOUT_ROW} ORDER BY ordinal").fetchall()
    return append(db, [transaction_id for (transaction_id,) in found], station=station, is_late=True)


def append_gap(db: sqlite3.Connection, missing: list[tuple[int, int]], old_head: Head | None, *, why: str) -> None:
    """Say that rows were lost, and go on behind the newest one that is known to have been there."""
    chain, last = _chain_and_head(db)
    at = max(last.index, old_head.index if old_head is not None else 0)
    if at > last.index:
        missing = [*missing, (last.index + 1, at)]
    _append(db, Head(at, last.hash), ledger.gap_body(missing, chain=chain, old_head=old_head, why=why), None)


def _append(db: sqlite3.Connection, last: Head, body: str, transaction_id: str | None) -> int:
    row = ledger.make_row(last.index + 1, last.hash, body)
    db.execute(
        "INSERT INTO ledger (entry, transaction_id, previous, body_hash, hash, body) VALUES (?, ?, ?, ?, ?, ?)",
        (row.index, transaction_id, row.previous, row.body_hash, row.hash, row.body),
    )
    return row.index


def _chain_and_head(db: sqlite3.Connection) -> tuple[str, Head]:
    """The chain's name, a new one where it begins, and its newest row."""
    row = db.execute("SELECT entry, hash, body FROM ledger ORDER BY entry DESC LIMIT 1").fetchone()
    if row is None:
        return os.urandom(_CHAIN_BYTES).hex(), Head(0, ledger.ZERO_HASH)
    chain = ledger.read_body(row[2]).get("chain")
    digest = row[1].encode("ascii", "backslashreplace").decode()  # damage is carried on as something that can be written, and fits nothing
    return chain if isinstance(chain, str) else os.urandom(_CHAIN_BYTES).hex(), Head(row[0], digest)


# ------------------------------------------------------------------------------------------------------------------------ heads


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainState:
    """The newest row, the chain's name, and the newest statement about a head."""

    chain: str
    head: Head
    signed: SignedHead | None


def state(db: sqlite3.Connection) -> ChainState | None:
    """Read the end of the chain; None while there is none."""
    chain, head = _chain_and_head(db)
    if head.index == 0:
        return None
    found = heads(db, 1)
    return ChainState(chain=chain, head=head, signed=found[0] if found else None)


def heads(db: sqlite3.Connection, limit: int) -> list[SignedHead]:
    """Read the newest statements, the newest first."""
    rows = db.execute("SELECT statement, signature, key_id FROM ledger_heads ORDER BY entry DESC LIMIT ?", (limit,))
    return [SignedHead(statement=statement, signature=signature, key_id=key_id) for statement, signature, key_id in rows]


def write_head(db: sqlite3.Connection, signed: SignedHead) -> None:
    """Keep a statement, and the newest of those before it."""
    head = signed.head
    if head is None:
        return
    db.execute(
        "INSERT OR REPLACE INTO ledger_heads (entry, statement, signature, key_id) VALUES (?, ?, ?, ?)",
        (head.index, signed.statement, signed.signature, signed.key_id),
    )
    db.execute(
        "DELETE FROM ledger_heads WHERE entry NOT IN (SELECT entry FROM ledger_heads ORDER BY entry DESC LIMIT ?)",
        (KEPT_HEADS,),
    )


# ---------------------------------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvedRow:
    """A row with what is known beside it. `problem`: what of the record or the personal data says something else, `what` names which.

    `has_record`: the session's record is still kept. `disclosures` are empty where the personal data was erased.
    """

    row: Row
    transaction_id: str | None
    has_record: bool
    disclosures: dict[str, Disclosure]
    problem: tuple[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some rows in order. `is_last`: nothing comes after them; then `unproved` are finished sessions that have no row."""

    rows: list[ProvedRow]
    is_last: bool
    unproved: list[str]


def page(db: sqlite3.Connection, after: int, limit: int) -> Page:
    """Read rows behind `after`, each compared with the session's record and with the personal data that is left."""
    found = db.execute(
        "SELECT entry, l.transaction_id, previous, body_hash, hash, body, t.record, t.ordinal, t.is_open, t.evse_id, t.energy_wh, "
        "t.cost_gross "
        "FROM ledger l LEFT JOIN transactions t ON t.transaction_id = l.transaction_id WHERE entry > ? ORDER BY entry LIMIT ?",
        (after, limit),
    ).fetchall()
    rows = [_proved(db, row) for row in found]
    is_last = len(found) < limit
    return Page(rows=rows, is_last=is_last, unproved=unproved(db) if is_last else [])


def _proved(db: sqlite3.Connection, found: tuple[object, ...]) -> ProvedRow:
    entry, transaction_id, previous, body_hash, digest, body, text, ordinal, is_open, evse_id, energy_wh, cost_gross = found
    row = Row(index=int(str(entry)), previous=str(previous), body_hash=str(body_hash), hash=str(digest), body=str(body))
    kept = {
        name: Disclosure(salt, value)
        for name, salt, value in db.execute("SELECT name, salt, value FROM ledger_disclosures WHERE entry = ? ORDER BY name", (entry,))
    }
    name = None if transaction_id is None else str(transaction_id)
    columns = {"evse_id": evse_id, "energy_wh": energy_wh, "cost_gross": cost_gross}
    problem = _problem(str(body), name, None if text is None else str(text), columns, kept)
    if problem is None and is_open:
        problem = "record", "the record beside it says that it has not ended"
    return ProvedRow(row=row, transaction_id=name, has_record=ordinal is not None, disclosures=kept, problem=problem)


def _problem(
    body: str, transaction_id: str | None, record_text: str | None, columns: Facts, kept: dict[str, Disclosure]
) -> tuple[str, str] | None:
    session = ledger.read_body(body).get("session")
    named = session.get("transaction_id") if isinstance(session, dict) else None
    if named != transaction_id:
        return "record", "the row stands under another transaction than its body names"
    record: Facts | None = None
    if record_text is not None:
        try:
            record = ledger.read_record(record_text)  # whatever its checksum says: the difference is to be named
        except ValueError:
            return "record", "the record beside it cannot be read"
        differs = ledger.record_problem(body, record, columns)
        if differs is not None:
            return "record", f"the record beside it differs: {differs}"
    wrong = ledger.commitment_problem(body, kept, record)
    return None if wrong is None else ("commitment", wrong)


def unproved(db: sqlite3.Connection) -> list[str]:
    """Finished sessions without a row: none, unless somebody wrote them past the daemon."""
    rows = db.execute(f"SELECT transaction_id {_WITHOUT_ROW} ORDER BY ordinal LIMIT 20")
    return [transaction_id for (transaction_id,) in rows]


def pages(db: sqlite3.Connection, size: int = 100) -> Iterator[Page]:
    """All of the chain."""
    after = 0
    while True:
        read = page(db, after, size)
        yield read
        if read.is_last:
            return
        after = read.rows[-1].row.index


def verify(db: sqlite3.Connection, known: Iterable[SignedHead] = ()) -> ledger.Verdict:
    """Prove the whole chain, without judging signatures: for tests and small files."""
    verifier = ledger.Verifier()
    for read in pages(db):
        feed(verifier, read)
    for signed in (*heads(db, KEPT_HEADS), *known):
        if signed.head is not None:
            verifier.head_known(signed.head)
    return verifier.verdict()


def feed(verifier: ledger.Verifier, read: Page) -> None:
    """Give a page to a verifier."""
    for proved in read.rows:
        verifier.feed(proved.row)
        if proved.problem is not None:
            verifier.complain(proved.row.index, *proved.problem)
    last = read.rows[-1].row.index if read.rows else 0
    for transaction_id in read.unproved:
        verifier.complain(last + 1, "missing", f"transaction {transaction_id} has ended and has no row")


# ---------------------------------------------------------------------------------------------------------------------- pruning


def prune(db: sqlite3.Connection, *, keep: int = KEPT_ROWS) -> int:
    """Remove the oldest rows beyond `keep`, some hundred at a time. Gives the number of rows."""
    if db.execute("SELECT count(*) FROM ledger").fetchone()[0] < keep + PRUNED_AT_ONCE:
        return 0
    (through,) = db.execute("SELECT entry FROM ledger ORDER BY entry LIMIT 1 OFFSET ?", (PRUNED_AT_ONCE - 1,)).fetchone()
    if len(_undelivered(db, through)) * 2 > PRUNED_AT_ONCE:
        return 0  # a portal that has been away for years: there is little to gain, and nothing may be lost
    return _whole_or_not(db, lambda: prune_through(db, through, why="space"))


def prune_before(db: sqlite3.Connection, utc: str) -> int:
    """Remove some hundred of the oldest rows whose sessions ended before a moment (RFC 3339). Gives the number, 0 when none is left.

    A session without a known time goes with the next one that has an older one.
    """
    through = 0
    rows = db.execute(
        "SELECT entry, body, coalesce(is_delivered, 1) FROM ledger LEFT JOIN transactions USING (transaction_id) ORDER BY entry LIMIT ?",
        (PRUNED_AT_ONCE,),
    ).fetchall()
    for entry, body, is_delivered in rows:
        ended = ledger.ended_utc(body)
        if ended is not None and ended >= utc:
            break
        if ended is not None and is_delivered:
            through = entry
    return prune_through(db, through, why="retention") if through else 0


def prune_through(db: sqlite3.Connection, through: int, *, why: str) -> int:
    """Remove the rows up to `through` with the records of their sessions, and say so in a row. Gives by how many there are fewer.

    That row is a part of the chain, so the next signed head covers it. A session that was not delivered (it may be a dead letter for years)
    keeps its record, and is entered again at the end.
    """
    row = db.execute("SELECT entry, hash FROM ledger WHERE entry <= ? ORDER BY entry DESC LIMIT 1", (through,)).fetchone()
    if row is None:
        return 0
    end = Head(row[0], row[1])
    stays = _undelivered(db, end.index)
    chain, last = _chain_and_head(db)
    (sessions,) = db.execute("SELECT count(*) FROM ledger WHERE entry <= ? AND transaction_id IS NOT NULL", (end.index,)).fetchone()
    db.execute("INSERT OR REPLACE INTO ledger_base (base_id, through) VALUES (1, ?)", (end.index,))
    db.execute(
        f"DELETE FROM transactions WHERE is_open = 0 AND {DELIVERED} "  # noqa: S608 - a constant of ours
        "AND transaction_id IN (SELECT transaction_id FROM ledger WHERE entry <= ?)",
        (end.index,),
    )
    db.execute("DELETE FROM ledger_disclosures WHERE entry <= ?", (end.index,))
    db.execute("DELETE FROM ledger_heads WHERE entry <= ?", (end.index,))
    count = db.execute("DELETE FROM ledger WHERE entry <= ?", (end.index,)).rowcount
    _append(db, last, ledger.pruned_body(end, chain=chain, sessions=sessions, why=why), None)  # into the room that this made
    for transaction_id, text, body in stays:
        with suppress(ValueError):  # a record that cannot be read is no fact
            station = str(ledger.read_body(body).get("station"))
            _append_session(db, transaction_id, ledger.read_record(unsealed(text)), station=station, is_late=True)
    return count - len(stays)


def _undelivered(db: sqlite3.Connection, through: int) -> list[tuple[str, str, str]]:
    """Sessions up to a row that the portal has not got: id, record and body."""
    rows = db.execute(
        "SELECT transaction_id, record, body FROM ledger JOIN transactions USING (transaction_id) "  # noqa: S608 - a constant of ours
        f"WHERE entry <= ? AND NOT {DELIVERED} AND record IS NOT NULL ORDER BY entry",
        (through,),
    )
    return rows.fetchall()


def as_json(read: Page, said: list[SignedHead], *, with_tokens: bool) -> dict[str, object]:
    """A page as the socket gives it, and as whoever reads the file without a daemon. Never a salt alone: it would give the value away."""
    return {
        "rows": [_row_json(proved, with_tokens=with_tokens) for proved in read.rows],
        "heads": [{"statement": one.statement, "signature": one.signature, "key_id": one.key_id} for one in said],
        "unproved": list(read.unproved),
        "next": None if read.is_last else read.rows[-1].row.index,
    }


def _row_json(proved: ProvedRow, *, with_tokens: bool) -> dict[str, object]:
    row = proved.row
    what, problem = proved.problem or (None, None)
    shown: dict[str, object] = {
        "index": row.index,
        "previous": row.previous,
        "body_hash": row.body_hash,
        "hash": row.hash,
        "body": row.body,
        "has_record": proved.has_record,
        "is_erased": bool(ledger.commitments_of(row.body or "")) and not proved.disclosures,
        "what": what,
        "problem": problem,
    }
    if with_tokens:
        shown["disclosures"] = [{"name": name, "salt": one.salt.hex(), "value": one.value} for name, one in proved.disclosures.items()]
    return shown
