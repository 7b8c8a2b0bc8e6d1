"""The chain of finished sessions on disk: appended with the end, proved row by row, every change found and named."""

import asyncio
import base64
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from agent.domain import ledger as chain
from agent.domain.ledger import ZERO_HASH, Head, RowKind, SignedHead, Verdict
from agent.domain.outbox import DeadLettered, Delivered
from agent.store import ledger, tables
from agent.store.database import connect
from agent.store.erasure import Wanted
from agent.store.seal import unsealed
from agent.store.store import FILE_NAME, Store
from tests.store.build import BOOT, TOKEN, at, end_notice, ended, notice, now, record, transaction_id

SESSIONS = 6


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[Store]:
    store = await Store.open(directory, boot_id=BOOT, now=now, station_id="CP001")
    try:
        await store.recover()
        yield store
    finally:
        await store.aclose()


async def charge(store: Store, number: int, *, is_delivered: bool = True) -> None:
    """A session from its start to its end."""
    await store.commit([record(number)], [notice(number, 0)])
    await store.commit([ended(number)], [end_notice(number)])
    if is_delivered:
        for row in await store.rows(0, 100):
            store.mark(Delivered(row_id=row.row_id, transaction_id=row.notice.transaction_id))
        await store.flush()


async def filled(directory: Path, count: int = SESSIONS) -> Path:
    async with opened(directory) as store:
        for number in range(1, count + 1):
            await charge(store, number)
    return directory / FILE_NAME


def proved(file: Path, known: tuple[SignedHead, ...] = ()) -> Verdict:
    with closing(connect(file)) as db:
        return ledger.verify(db, known)


def tampered(file: Path, *statements: str) -> None:
    """What somebody does who has the file: the triggers do not stop him."""
    with closing(sqlite3.connect(file)) as db:
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            assert db.execute(statement).rowcount > 0, statement
        db.commit()


def forged(file: Path, number: int) -> None:
    """A session that never was, with right hashes: whoever has no key can do that at the end."""
    with closing(connect(file)) as db:
        text = json.dumps(json.loads(db.execute("SELECT record FROM transactions LIMIT 1").fetchone()[0]))
        text = text.replace(transaction_id(1), transaction_id(number))
        values = (transaction_id(number), 1, 0, 1, text, 1500, "18.35")
        insert = "INSERT INTO transactions (transaction_id, evse_id, is_open, is_delivered, record, energy_wh, cost_gross)"
        db.execute(f"{insert} VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        assert ledger.append(db, [transaction_id(number)], station="CP001") == 1


# ---------------------------------------------------------------------------------------------------------------- appended


async def test_a_session_that_ends_is_in_the_chain_with_the_same_commit(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit([record(1)], [notice(1, 0)])
        assert not store.ledger_grew.is_set()
        await store.commit([ended(1)], [end_notice(1)])
        assert store.ledger_grew.is_set()
        with closing(connect(tmp_path / FILE_NAME)) as db:
            (page,) = ledger.pages(db)
    (only,) = page.rows
    assert (only.row.index, only.row.previous, only.transaction_id) == (1, ZERO_HASH, transaction_id(1))
    body = json.loads(only.row.body or "")
    session = body["session"]
    assert (body["v"], body["kind"], body["station"], body["entered"]) == (1, "session", "CP001", "at its end")
    assert (session["energy_wh"], session["cost_gross"], session["stopped_reason"]) == (1500, "18.35", "Local")
    assert session["meter_start"]["energy_wh"] == "1000"
    assert session["meter_stop"]["energy_wh"] == "2500.5"
    assert session["meter_stop"]["serial_number"] == "M-1"
    assert session["started_at"] == {"boot_id": BOOT, "mono_ms": 0, "utc": "2026-01-01T10:00:00Z"}
    assert session["tariff"]["price_kwh"] == "4.90"
    assert "quantities" not in session["meter_start"]


async def test_the_chain_holds_no_token(tmp_path: Path) -> None:
    file = await filled(tmp_path)
    with closing(connect(file)) as db:
        bodies = "".join(body for (body,) in db.execute("SELECT body FROM ledger"))
        salts = [salt for (salt,) in db.execute("SELECT salt FROM ledger_disclosures")]
    assert TOKEN.value not in bodies
    assert bodies.count('"commitment"') == SESSIONS
    assert len(set(salts)) == SESSIONS, "the same token has another commitment each time"
    assert all(len(salt) >= 16 for salt in salts)


async def test_a_commit_that_is_repeated_adds_one_row(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await charge(store, 1, is_delivered=False)
        await store.commit([ended(1)], [end_notice(1)])
    verdict = proved(tmp_path / FILE_NAME)
    assert (verdict.rows, verdict.is_sound) == (1, True)


async def test_rows_are_linked_in_the_order_in_which_sessions_end(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for number in (1, 2):
            await store.commit([record(number)], [notice(number, 0)])
        for number in (2, 1):
            await store.commit([ended(number)], [end_notice(number)])
    with closing(connect(tmp_path / FILE_NAME)) as db:
        (page,) = ledger.pages(db)
    assert [row.transaction_id for row in page.rows] == [transaction_id(2), transaction_id(1)]
    assert page.rows[1].row.previous == page.rows[0].row.hash


async def test_a_wall_time_that_becomes_known_later_is_no_difference(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        unknown = at(0, is_utc_known=False)
        await store.commit([replace(record(1), started_at=unknown)], [notice(1, 0)])
        await store.commit([replace(ended(1), started_at=unknown)], [end_notice(1)])
        await store.commit([ended(1)], [])
    assert proved(tmp_path / FILE_NAME).is_sound


async def test_the_chain_outlives_the_records_that_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.store.tables.KEPT_TRANSACTIONS", 3)
    file = await filled(tmp_path, 8)
    with closing(connect(file)) as db:
        assert db.execute("SELECT count(*) FROM transactions").fetchone() == (3,)
    verdict = proved(file)
    assert (verdict.sessions, verdict.is_sound) == (8, True)


async def test_a_database_of_the_first_schema_gets_a_chain_at_the_next_start(tmp_path: Path) -> None:
    file = await filled(tmp_path)
    tampered(file, "DELETE FROM ledger", "DELETE FROM ledger_disclosures")  # what the migration leaves behind
    async with opened(tmp_path):
        pass
    verdict = proved(file)
    assert (verdict.sessions, verdict.is_sound) == (SESSIONS, True)
    with closing(connect(file)) as db:
        assert {json.loads(body)["entered"] for (body,) in db.execute("SELECT body FROM ledger")} == {"later"}


# -------------------------------------------------------------------------------------------------------- every change is found


async def test_the_file_itself_refuses_changes_by_accident(tmp_path: Path) -> None:
    file = await filled(tmp_path)
    with closing(connect(file)) as db:
        with pytest.raises(sqlite3.IntegrityError, match="only added to"):
            db.execute("UPDATE ledger SET body = '{}' WHERE entry = 2")
        with pytest.raises(sqlite3.IntegrityError, match="only pruned"):
            db.execute("DELETE FROM ledger WHERE entry = 2")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound database."""
    return asyncio.run(filled(tmp_path_factory.mktemp("sound")))


def loaded(image: Path) -> sqlite3.Connection:
    """That database in memory, without what stops an accident."""
    db = connect(":memory:")
    patched = bytearray(image.read_bytes())
    patched[18:20] = b"\x01\x01"  # an image in memory has no write-ahead log
    db.deserialize(bytes(patched))
    for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        db.execute(f"DROP TRIGGER {name}")
    return db


def other(value: object, position: int, offset: int) -> object:
    """The value with one thing of it changed."""
    match value:
        case int():
            return value + offset
        case bytes():
            where = position % len(value)
            return value[:where] + bytes([value[where] ^ offset]) + value[where + 1 :]
        case str():
            where = position % len(value)
            code = 32 + (ord(value[where]) - 32 + offset) % 95
            return value[:where] + chr(code) + value[where + 1 :]
        case list():
            return [*value, offset]
    raise TypeError(value)


COLUMNS = [
    *(("ledger", column) for column in ("transaction_id", "previous", "body_hash", "hash", "body")),
    *(("ledger_disclosures", column) for column in ("name", "salt", "value")),
    *(("transactions", column) for column in ("evse_id", "energy_wh", "cost_gross")),
]


@settings(max_examples=150, deadline=None)
@given(place=st.sampled_from(COLUMNS), row=st.integers(1, SESSIONS), position=st.integers(0, 2000), offset=st.integers(1, 94))
def test_one_character_of_any_row_is_found_and_named(sound: Path, place: tuple[str, str], row: int, position: int, offset: int) -> None:
    table, column = place
    key = "ordinal" if table == "transactions" else "entry"
    with closing(loaded(sound)) as db:
        assert ledger.verify(db).is_sound
        (value,) = db.execute(f"SELECT {column} FROM {table} WHERE {key} = ?", (row,)).fetchone()
        try:
            db.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (other(value, position, offset), row))
        except sqlite3.IntegrityError:
            reject()  # it is the id of another session's row: even the file refuses that
        first = ledger.verify(db).first
    assert first is not None
    assert first.index == row


def paths(value: object, where: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if isinstance(value, dict):
        return [path for name, item in value.items() for path in paths(item, (*where, name))]
    return [where]


@settings(max_examples=100, deadline=None)
@given(data=st.data(), row=st.integers(1, SESSIONS))
def test_one_fact_of_any_record_is_found_and_named(sound: Path, data: st.DataObject, row: int) -> None:
    with closing(loaded(sound)) as db:
        (text,) = db.execute("SELECT record FROM transactions WHERE ordinal = ?", (row,)).fetchone()
        found = json.loads(unsealed(text))
        *way, last = data.draw(st.sampled_from(paths({**chain.session_facts(found), "id_token": found["id_token"]})))
        place = found
        for name in way:
            place = place[name]
        before = place[last]
        place[last] = not before if isinstance(before, bool) else "x" if before is None else other(before, 0, 1)
        db.execute("UPDATE transactions SET record = ? WHERE ordinal = ?", (json.dumps(found), row))
        first = ledger.verify(db).first
    assert first is not None
    assert first.index == row
    assert first.what in {"record", "commitment"}


@pytest.mark.parametrize(
    ("statements", "index", "what"),
    [
        (("DELETE FROM ledger WHERE entry = 3",), 3, "missing"),
        (("DELETE FROM ledger WHERE entry <= 2",), 1, "missing"),
        (
            (
                "UPDATE ledger SET entry = 99 WHERE entry = 2",
                "UPDATE ledger SET entry = 2 WHERE entry = 4",
                "UPDATE ledger SET entry = 4 WHERE entry = 99",
            ),
            2,
            "link",
        ),
        (("DELETE FROM ledger WHERE entry = 6",), 6, "missing"),  # the session is in the other table still
        (("UPDATE transactions SET is_open = 1 WHERE ordinal = 4",), 4, "record"),
        (("DELETE FROM ledger_disclosures WHERE entry = 2",), 2, "commitment"),
        (("UPDATE transactions SET record = '{' WHERE ordinal = 5",), 5, "record"),
    ],
)
async def test_what_was_done_to_the_chain_is_named(tmp_path: Path, statements: tuple[str, ...], index: int, what: str) -> None:
    file = await filled(tmp_path)
    tampered(file, *statements)
    first = proved(file).first
    assert first is not None
    assert (first.index, first.what) == (index, what)


async def test_a_tail_that_was_cut_off_is_found_by_a_head_that_was_kept_elsewhere(tmp_path: Path) -> None:
    file = await filled(tmp_path)
    with closing(connect(file)) as db:
        state = ledger.state(db)
    assert state is not None
    statement = chain.head_statement(state.head, chain=state.chain, station="CP001", utc=None)
    tampered(file, "DELETE FROM ledger WHERE entry >= 5", "DELETE FROM transactions WHERE ordinal >= 5")
    assert proved(file).is_sound, "the shorter chain is whole in itself"
    first = proved(file, (SignedHead(statement=statement),)).first
    assert first is not None
    assert (first.index, first.what) == (6, "missing")


async def test_a_chain_that_was_written_anew_does_not_fit_a_known_head(tmp_path: Path) -> None:
    file = await filled(tmp_path)
    with closing(connect(file)) as db:
        state = ledger.state(db)
    assert state is not None
    known = SignedHead(statement=chain.head_statement(state.head, chain=state.chain, station="CP001", utc=None))
    tampered(file, "DELETE FROM ledger", "DELETE FROM ledger_disclosures")
    with closing(connect(file)) as db:
        assert ledger.append_missing(db, station="CP001") == SESSIONS
    assert proved(file).is_sound
    first = proved(file, (known,)).first
    assert first is not None
    assert (first.index, first.what) == (SESSIONS, "head")


async def test_a_forged_session_at_the_end_is_not_covered_by_the_signed_head(tmp_path: Path) -> None:
    file = await filled(tmp_path)
    with closing(connect(file)) as db:
        state = ledger.state(db)
    assert state is not None
    forged(file, 77)
    verifier = chain.Verifier()
    with closing(connect(file)) as db:
        for page in ledger.pages(db):
            ledger.feed(verifier, page)
    verifier.head_known(state.head, is_signed=True)
    assert verifier.verdict().is_sound
    first = verifier.verdict(must_be_signed=True).first
    assert first is not None
    assert (first.index, first.what) == (SESSIONS + 1, "signature")


# ----------------------------------------------------------------------------------------------------------------- pruned


async def test_pruning_leaves_a_row_that_says_so_and_the_chain_whole(tmp_path: Path) -> None:
    file = await filled(tmp_path)
    with closing(connect(file)) as db:
        assert ledger.prune_through(db, 4, why="retention") == 4
        verdict = ledger.verify(db)
        assert (verdict.is_sound, verdict.pruned, verdict.sessions, verdict.head is not None) == (True, 4, 2, True)
        assert db.execute("SELECT count(*) FROM transactions").fetchone() == (2,)
        assert db.execute("SELECT count(*) FROM ledger_disclosures").fetchone() == (2,)
        # again: the row that said so goes as well, and a newer one takes its place
        assert ledger.prune_through(db, 7, why="retention") == 3
        assert ledger.verify(db).pruned == 7


async def test_what_waits_for_delivery_keeps_its_record_and_moves_to_the_end(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await charge(store, 1)
        await charge(store, 2, is_delivered=False)
        await charge(store, 3, is_delivered=False)
    with closing(connect(tmp_path / FILE_NAME)) as db:
        assert ledger.prune_through(db, 3, why="space") == 1
        verdict = ledger.verify(db)
        assert (verdict.is_sound, verdict.sessions, verdict.pruned) == (True, 2, 3)
        assert db.execute("SELECT transaction_id, entry FROM ledger ORDER BY entry").fetchall() == [
            (None, 4),
            (transaction_id(2), 5),
            (transaction_id(3), 6),
        ]
        assert db.execute("SELECT count(*) FROM transactions").fetchone() == (2,)


async def test_a_damaged_record_does_not_keep_anything_from_being_pruned(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await charge(store, 1, is_delivered=False)
        await charge(store, 2, is_delivered=False)
    tampered(tmp_path / FILE_NAME, "UPDATE transactions SET record = '{' WHERE ordinal = 1")
    with closing(connect(tmp_path / FILE_NAME)) as db:
        ledger.prune_through(db, 2, why="space")
        assert [row.transaction_id for row in ledger.page(db, 0, 10).rows] == [None, transaction_id(2)]


async def test_a_dead_letter_does_not_keep_the_chain_from_being_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "PRUNED_AT_ONCE", 4)
    monkeypatch.setattr(ledger.prune, "__kwdefaults__", {"keep": 5})
    monkeypatch.setattr("agent.store.tables.KEPT_TRANSACTIONS", 3)
    async with opened(tmp_path) as store:
        await charge(store, 1, is_delivered=False)
        for row in await store.rows(0, 10):
            store.mark(DeadLettered(row_id=row.row_id, transaction_id=row.notice.transaction_id, error="no"))
        for number in range(2, 40):
            await charge(store, number)
        assert [letter.transaction_id for letter in await store.dead_letters(10)] == [transaction_id(1)] * 2
    with closing(connect(tmp_path / FILE_NAME)) as db:
        assert db.execute("SELECT count(*) FROM ledger").fetchone()[0] <= 10
        assert ledger.verify(db).is_sound
        assert db.execute("SELECT count(*) FROM ledger WHERE transaction_id = ?", (transaction_id(1),)).fetchone() == (1,)


async def test_a_portal_that_stays_away_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "PRUNED_AT_ONCE", 4)
    monkeypatch.setattr(ledger.prune, "__kwdefaults__", {"keep": 5})
    async with opened(tmp_path) as store:
        for number in range(1, 21):
            await charge(store, number, is_delivered=False)
    with closing(connect(tmp_path / FILE_NAME)) as db:
        verdict = ledger.verify(db)
    assert (verdict.is_sound, verdict.sessions, verdict.rows) == (True, 20, 20)


async def test_a_beginning_that_was_cut_off_with_a_false_reason_is_found(tmp_path: Path) -> None:
    file = await filled(tmp_path)
    with closing(connect(file)) as db:
        ledger.prune_through(db, 2, why="retention")
    tampered(file, "DELETE FROM ledger WHERE entry = 3")
    first = proved(file).first
    assert first is not None
    assert (first.index, first.what) == (3, "missing")


async def test_the_chain_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "PRUNED_AT_ONCE", 4)
    monkeypatch.setattr(ledger.prune, "__kwdefaults__", {"keep": 5})
    file = await filled(tmp_path, 30)
    with closing(connect(file)) as db:
        assert db.execute("SELECT count(*) FROM ledger").fetchone()[0] < 10
        verdict = ledger.verify(db)
    assert verdict.is_sound
    assert verdict.pruned > 15


# ---------------------------------------------------------------------------------------------------------------- salvaged


def broken_page(file: Path, table: str, entry: int) -> None:
    """Overwrite the page of the table that holds a row's body."""
    with closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (digest,) = db.execute(f"SELECT hash FROM {table} WHERE entry = ?", (entry,)).fetchone()
    data = bytearray(file.read_bytes())
    where = data.find(digest.encode())
    assert where >= 0
    data[where // 1024 * 1024 : where // 1024 * 1024 + 1024] = b"\xa5" * 1024
    file.write_bytes(data)


async def test_a_damaged_file_goes_on_behind_a_row_that_names_what_was_lost(tmp_path: Path) -> None:
    file = await filled(tmp_path)
    broken_page(file, "ledger", 3)
    async with opened(tmp_path) as store:
        assert any("was damaged" in remark for remark in store.remarks)
        await charge(store, 7)
    with closing(connect(file)) as db:
        verdict = ledger.verify(db)
        bodies = [json.loads(body) for (body,) in db.execute("SELECT body FROM ledger ORDER BY entry")]
    assert verdict.is_sound
    assert any(first <= 3 <= last for first, last in verdict.lost)
    (gap,) = [body for body in bodies if body["kind"] == RowKind.GAP]
    assert gap["old_head"]["index"] == SESSIONS
    assert {body["session"]["transaction_id"] for body in bodies if body["kind"] == "session"} == {transaction_id(n) for n in range(1, 8)}


async def test_a_lost_end_is_known_by_the_last_statement(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for number in range(1, SESSIONS + 1):
            await charge(store, number)
        state = await store.ledger_state()
        assert state is not None
        store.keep_head(SignedHead(statement=chain.head_statement(state.head, chain=state.chain, station="CP001", utc=None)))
    file = tmp_path / FILE_NAME
    tampered(file, "DELETE FROM ledger WHERE entry >= 5")
    image = file.read_bytes()
    with closing(connect(tmp_path / "new.db")) as db:
        from agent.store.database import MIGRATIONS, _statements
        from agent.store.salvage import salvage

        for script in sorted(MIGRATIONS.glob("*.sql")):
            for statement in _statements(script.read_text()):
                db.execute(statement)
        salvage(file, db)
        bodies = [json.loads(body) for (body,) in db.execute("SELECT body FROM ledger ORDER BY entry")]
        verdict = ledger.verify(db)
    assert file.read_bytes() == image
    assert bodies[-1]["old_head"] == {"index": 6, "hash": state.head.hash}
    assert verdict.lost == ((5, 6),)
    assert {problem.what for problem in verdict.problems} == {"missing"}, "the sessions are entered again at the next start"


# --------------------------------------------------------------------------------------------------------------------- heads


async def test_a_statement_rides_with_the_next_commit(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await charge(store, 1)
        state = await store.ledger_state()
        assert state is not None
        assert state.signed is None
        text = chain.head_statement(state.head, chain=state.chain, station="CP001", utc="2026-01-01T10:00:00Z")
        store.keep_head(SignedHead(statement=text, signature=base64.b64encode(b"x").decode(), key_id="k"))
        await charge(store, 2)
        state = await store.ledger_state()
        assert state is not None
        assert state.signed is not None
        assert state.signed.head == Head(1, json.loads(text)["hash"])
    with closing(connect(tmp_path / FILE_NAME)) as db:
        assert db.execute("SELECT entry, key_id FROM ledger_heads").fetchall() == [(1, "k")]


# ------------------------------------------------------------------------------------------ damage that no check at the start finds


@pytest.mark.parametrize(
    "change", ["hash = CAST(x'ff' || hash AS TEXT)", "body = CAST(x'ff' || body AS TEXT)", "entry = 9223372036854775807"]
)
async def test_damage_of_the_newest_row_keeps_no_session_from_its_end(tmp_path: Path, change: str) -> None:
    """A bit that flips in a text, or in a row's key, is sound for SQLite. A session is worth more than the chain, whose proof shows it."""
    file = await filled(tmp_path, 2)
    tampered(file, f"UPDATE ledger SET {change} WHERE entry = 2")
    async with opened(tmp_path) as store:
        await charge(store, 3, is_delivered=False)
        assert store.is_durable
    async with opened(tmp_path) as store:
        assert [session.record for session in await store.sessions()] == [ended(3), ended(2), ended(1)]
        assert len(await store.rows(0, 10)) == 2
    verdict = proved(file)
    assert not verdict.is_sound
    named = any(f"transaction {transaction_id(3)} has ended and has no row" in problem.text for problem in verdict.problems)
    assert named is ("entry" in change), "as a rule the chain goes on behind the damaged row"


async def test_a_mark_of_delivery_that_flipped_neither_loses_a_message_nor_stops_the_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The column has no checksum. A session of which messages wait is not forgotten, whatever it says."""
    monkeypatch.setattr(tables, "KEPT_TRANSACTIONS", 2)
    async with opened(tmp_path) as store:
        await charge(store, 1, is_delivered=False)
    tampered(tmp_path / FILE_NAME, "UPDATE transactions SET is_delivered = 1")
    async with opened(tmp_path) as store:
        for number in (2, 3, 4):
            await charge(store, number, is_delivered=False)
        assert (await store.erase(Wanted(transaction_id=transaction_id(1)))).waiting == 1
        assert len(await store.rows(0, 100)) == 8
        await store.forget_before(at(10**9).utc or now().utc)  # type: ignore[arg-type]
        assert len(await store.rows(0, 100)) == 8
        for row in await store.rows(0, 100):
            store.mark(Delivered(row_id=row.row_id, transaction_id=row.notice.transaction_id))
        await store.flush()
        await charge(store, 5)
        assert transaction_id(1) not in {session.transaction_id for session in await store.sessions()}
