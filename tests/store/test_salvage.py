"""What is taken out of a damaged file, row by row."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from agent.domain.authorization import AuthorizationStatus, IdTokenInfo
from agent.domain.ids import EvseId
from agent.domain.notices import TransactionNotice
from agent.domain.records import CacheEntry, EvseRecord, StationRecord, StoredVariable
from agent.domain.variables import ValueSource, parse_variable_key
from agent.store import salvage as salvage_module
from agent.store.database import MIGRATIONS, connect
from agent.store.salvage import salvage
from agent.store.serial import load
from agent.store.store import FILE_NAME, Store
from tests.store.build import BOOT, EPOCH, TOKEN, end_notice, ended, notice, now, record, transaction_id


@pytest.fixture
async def old(tmp_path: Path) -> Path:
    """A sound store with forty transactions, every second one running."""
    store = await Store.open(tmp_path, boot_id=BOOT, now=now)
    await store.recover()
    for number in range(1, 41):
        await store.commit(
            [ended(number, next_seq_no=3) if number % 2 else record(number, next_seq_no=3)], [notice(number, s) for s in (0, 1)]
        )
    await store.aclose()
    return tmp_path / FILE_NAME


@pytest.fixture
def new() -> Iterator[sqlite3.Connection]:
    """An empty database of today's schema."""
    with closing(connect(":memory:")) as db:
        db.execute("PRAGMA foreign_keys = ON")
        for script in sorted(MIGRATIONS.glob("*.sql")):
            db.executescript(script.read_text(encoding="utf-8"))
        yield db


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


def queue(db: sqlite3.Connection) -> list[tuple[str, int]]:
    texts = [row[0] for row in db.execute("SELECT notice FROM outbox ORDER BY row_id")]
    return [(each.transaction_id, each.seq_no) for each in (load(text, TransactionNotice) for text in texts)]


@pytest.mark.parametrize("pages", [40, 55, 60, 70, 90])
def test_a_full_disk_loses_no_row(old: Path, new: sqlite3.Connection, pages: int) -> None:
    """Rows for which there is no room are not "rows that make no sense": the damaged file stays where it is and is tried again."""
    new.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        salvage(old, new)


def page_of(path: Path, table: str, number: int) -> int:
    """Offset of the leaf of a table that holds its n-th row: found by the row's own text."""
    with closing(sqlite3.connect(path)) as db:
        (text,) = db.execute(f"SELECT notice FROM {table} LIMIT 1 OFFSET {number}").fetchone()
    content = path.read_bytes()
    return content.index(text[:100].encode()) // 1024 * 1024


async def test_a_sound_file_is_copied_whole(old: Path, new: sqlite3.Connection) -> None:
    sentence = salvage(old, new)
    assert "40 from transactions, 80 from outbox" in sentence
    assert "0 rows made no sense" in sentence
    with closing(sqlite3.connect(old)) as db:
        for table in ("transactions", "outbox", "runs"):
            query = f"SELECT * FROM {table}"
            assert new.execute(query).fetchall() == db.execute(query).fetchall(), table


async def test_the_damaged_file_itself_is_not_changed(old: Path, new: sqlite3.Connection) -> None:
    before = old.read_bytes()
    salvage(old, new)
    assert old.read_bytes() == before


async def test_messages_of_a_lost_transaction_keep_a_place_to_stand(old: Path, new: sqlite3.Connection) -> None:
    change(old, "PRAGMA foreign_keys = OFF", "DELETE FROM transactions WHERE ordinal = 2")
    salvage(old, new)
    assert queue(new)[2:4] == [(transaction_id(2), 0), (transaction_id(2), 1)]
    assert new.execute("SELECT is_open, queued_to, record FROM transactions WHERE ordinal = 2").fetchall() == [(0, 2, None)]
    assert new.execute("PRAGMA foreign_key_check").fetchall() == []


async def test_rows_that_make_no_sense_are_counted_and_left_out(old: Path, new: sqlite3.Connection) -> None:
    change(old, "UPDATE outbox SET notice = '{\"evse_id\":1}' WHERE row_id = 5", "UPDATE transactions SET record = x'ff' || record WHERE 0")
    assert "1 rows made no sense" in salvage(old, new)
    assert len(queue(new)) == 79


async def test_messages_whose_places_were_damaged_go_out_in_the_order_of_their_numbers(old: Path, new: sqlite3.Connection) -> None:
    change(old, "UPDATE outbox SET row_id = 5000 WHERE row_id = 3")
    salvage(old, new)
    assert [seq for name, seq in queue(new) if name == transaction_id(2)] == [0, 1]


async def test_what_stands_beside_the_record_is_taken_from_the_record(old: Path, new: sqlite3.Connection) -> None:
    """The record has a checksum, the columns beside it have none."""
    with closing(sqlite3.connect(old)) as db:
        query = "SELECT ordinal, is_open, started_utc, ended_utc, energy_wh, cost_gross FROM transactions ORDER BY ordinal"
        before = db.execute(query).fetchall()
    change(old, "UPDATE transactions SET is_open = 1 - is_open, energy_wh = 9, cost_gross = '1', started_utc = ended_utc, ended_utc = NULL")
    salvage(old, new)
    assert new.execute(query).fetchall() == before


@pytest.mark.parametrize("row", [0, 39, 79])
async def test_rows_before_and_behind_a_broken_page_are_saved(old: Path, new: sqlite3.Connection, row: int) -> None:
    offset = page_of(old, "outbox", row)
    with old.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xa5" * 1024)
    salvage(old, new)
    saved = queue(new)
    assert 60 <= len(saved) < 80
    assert saved == sorted(saved)
    assert new.execute("SELECT count(*) FROM transactions").fetchone() == (40,)


async def test_a_broken_stretch_longer_than_the_probes_is_passed_from_the_other_end(
    old: Path, new: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(salvage_module, "MAX_PROBES", 1)
    offset = page_of(old, "outbox", 39)
    with old.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xa5" * 1024)
    salvage(old, new)
    saved = queue(new)
    assert saved[0] == (transaction_id(1), 0)
    assert saved[-1] == (transaction_id(40), 1)
    assert saved == sorted(saved)


async def test_what_was_salvaged_goes_on_as_if_nothing_had_happened(tmp_path: Path, old: Path) -> None:
    with old.open("r+b") as file:
        file.seek(page_of(old, "outbox", 79))
        file.write(b"\xa5" * 1024)
    store = await Store.open(tmp_path, boot_id=BOOT, now=now)
    found = await store.recover()
    assert len(found.transactions) == 20
    last = (await store.rows(0, 1000))[-1]
    await store.commit([ended(40, next_seq_no=3)], [end_notice(40, 2)])
    rows = await store.rows(last.row_id, 10)
    assert [(row.notice.transaction_id, row.notice.seq_no) for row in rows] == [(transaction_id(40), 2)]
    await store.aclose()


@pytest.mark.parametrize("page_bytes", [512, 1024, 65_536])
def test_a_first_page_that_was_made_anew_is_what_sqlite_writes(tmp_path: Path, page_bytes: int) -> None:
    """The header of an empty file in every field that says what the file is, and a table of contents without an entry."""
    path = tmp_path / "x.db"
    change(path, f"PRAGMA page_size = {page_bytes}", "PRAGMA journal_mode = WAL", "PRAGMA user_version = 7", "PRAGMA application_id = 99")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("CREATE TABLE t (a)")
        db.execute("DROP TABLE t")
        db.execute("VACUUM")
    theirs = path.read_bytes()[:page_bytes]
    ours = salvage_module._first_page(page_bytes, 1, 7, 99)
    assert (len(ours), ours[44:48]) == (page_bytes, bytes([0, 0, 0, 4]))  # the format of the tables, 0 while there is none
    counters = [*range(24, 28), *range(40, 44), 47, *range(92, 100)]  # of changes, of the schema's changes, SQLite's version
    differ = [place for place in range(page_bytes) if ours[place] != theirs[place] and place not in counters]
    assert differ == []
    assert int.from_bytes(ours[24:28], "big") == int.from_bytes(ours[92:96], "big"), "the size in the header counts"
    assert int.from_bytes(salvage_module._first_page(page_bytes, 300, 7, 99)[28:32], "big") == 300
    path.write_bytes(ours)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("SELECT * FROM sqlite_master").fetchall() == []


async def test_what_only_the_log_has_is_saved_although_the_first_page_is_gone(tmp_path: Path, old: Path) -> None:
    """The log has pages of tables, and not the first one: it is read beside the page that was made anew."""
    with closing(sqlite3.connect(old, isolation_level=None)) as db:
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("UPDATE outbox SET attempts = 3, was_sent = 1 WHERE row_id = 7")
        for name in ("", "-wal", ".map"):
            shutil.copyfile(f"{old}{name}", tmp_path / f"cut.db{name}")
    cut = tmp_path / "cut.db"
    with cut.open("r+b") as file:
        file.write(bytes(1024))
    with closing(connect(":memory:")) as new:
        for script in sorted(MIGRATIONS.glob("*.sql")):
            new.executescript(script.read_text(encoding="utf-8"))
        assert "80 from outbox" in salvage(cut, new)
        assert new.execute("SELECT row_id, attempts, was_sent FROM outbox WHERE attempts > 0").fetchall() == [(7, 3, 1)]
    assert not list(tmp_path.glob("*.repaired*"))


async def test_messages_of_several_transactions_whose_places_are_mixed_keep_the_places_that_there_are(
    old: Path, new: sqlite3.Connection
) -> None:
    change(
        old,
        "UPDATE outbox SET row_id = -row_id WHERE row_id IN (3, 4, 5, 6)",
        "UPDATE outbox SET row_id = CASE row_id WHEN -3 THEN 6 WHEN -4 THEN 3 WHEN -5 THEN 5 ELSE 4 END WHERE row_id < 0",
    )
    salvage(old, new)
    assert queue(new)[:8] == [
        (transaction_id(number), seq) for number, seq in ((1, 0), (1, 1), (2, 0), (3, 0), (3, 1), (2, 1), (4, 0), (4, 1))
    ]
    assert [row_id for (row_id,) in new.execute("SELECT row_id FROM outbox ORDER BY row_id")] == list(range(1, 81))


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE transactions SET queued_to = 99 WHERE ordinal = 2", 3),
        ("UPDATE transactions SET queued_to = 1 WHERE ordinal = 2", 2),
        ("UPDATE transactions SET queued_to = 2 WHERE ordinal = 2", 2),
    ],
)
async def test_the_place_of_the_next_message_is_between_the_queue_and_the_record(
    old: Path, new: sqlite3.Connection, statement: str, expected: int
) -> None:
    """Too far, and messages would be taken for sent; not far enough, and they would be sent twice."""
    change(old, statement)
    salvage(old, new)
    assert new.execute("SELECT queued_to FROM transactions WHERE ordinal = 2").fetchone() == (expected,)


@pytest.mark.parametrize(("days", "is_kept"), [(-1000, True), (399, True), (400, True), (401, False), (36_500, False)])
@pytest.mark.parametrize("table", ["runs", "clock_anchors", "boot_times"])
async def test_a_time_without_checksum_is_kept_where_it_makes_sense(
    old: Path, new: sqlite3.Connection, table: str, days: int, is_kept: bool
) -> None:
    """At most four hundred days behind the newest time of a session."""
    moment = (EPOCH + timedelta(hours=1, days=days)).isoformat()
    columns = {
        "runs": "boot_id, started_mono_ms, started_utc",
        "clock_anchors": "boot_id, mono_ms, utc",
        "boot_times": "boot_id, mono_ms, utc",
    }
    change(old, f"INSERT INTO {table} ({columns[table]}) VALUES ('odd', 5, '{moment}')")
    sentence = salvage(old, new)
    assert new.execute(f"SELECT count(*) FROM {table} WHERE boot_id = 'odd'").fetchone() == (int(is_kept),)
    assert f"; {int(not is_kept)} rows made no sense" in sentence


async def test_keys_below_nothing_and_far_away_are_read(old: Path, new: sqlite3.Connection) -> None:
    """A bit that flipped in a key."""
    change(old, "UPDATE outbox SET row_id = -5000000000 WHERE row_id = 1", "UPDATE outbox SET row_id = 5000000000 WHERE row_id = 80")
    salvage(old, new)
    saved = queue(new)
    assert sorted(saved) == [(transaction_id(number), seq) for number in range(1, 41) for seq in (0, 1)]


async def test_everything_that_is_no_session_is_copied_too(tmp_path: Path) -> None:
    """Settings, states, cache, anchors, statistics and what a running session keeps for its end: every row of every table."""
    store = await Store.open(tmp_path, boot_id=BOOT, now=now)
    await store.recover()
    key = parse_variable_key("OCPPCommCtrlr.MessageTimeout[Default]")
    await store.commit(
        [
            StationRecord(was_accepted=True),
            EvseRecord(evse_id=EvseId(2)),
            StoredVariable(key=key, value="30", source=ValueSource.CSMS),
            CacheEntry(id_token=TOKEN, info=IdTokenInfo(AuthorizationStatus.ACCEPTED), stored_at=EPOCH),
            record(1, next_seq_no=2, samples=3),
            ended(2),
        ],
        [notice(1, 0), notice(1, 1), notice(2, 0), end_notice(2, 1)],
    )
    store.set_anchor(BOOT, 5, EPOCH)
    store.save_lifetime(EvseId(1), total_wh=Decimal(5), register_wh=Decimal(6), at=now(), serial_number="M-1")
    await store.aclose()
    before = everything_in(tmp_path / FILE_NAME)
    assert all(before[name] for name in before if name not in {"ledger_base", "ledger_heads", "sqlite_sequence"}), "no table is empty here"
    with closing(connect(":memory:")) as new:
        for script in sorted(MIGRATIONS.glob("*.sql")):
            new.executescript(script.read_text(encoding="utf-8"))
        assert "; 0 rows made no sense" in salvage(tmp_path / FILE_NAME, new)
        after = contents(new)
    for name in before:
        if name not in {"ledger", "sqlite_sequence"}:  # the chain says that it was damaged
            assert after[name] == before[name], name
    assert after["ledger"][: len(before["ledger"])] == before["ledger"]


def everything_in(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(connect(path)) as db:
        return contents(db)


def contents(db: sqlite3.Connection) -> dict[str, list[tuple[object, ...]]]:
    names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: sorted(db.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for name in names}
