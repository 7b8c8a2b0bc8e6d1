"""What is taken out of a damaged file, row by row."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.domain.notices import TransactionNotice
from agent.store import salvage as salvage_module
from agent.store.database import MIGRATIONS, connect
from agent.store.salvage import salvage
from agent.store.serial import load
from agent.store.store import FILE_NAME, Store
from tests.store.build import BOOT, end_notice, ended, notice, now, record, transaction_id


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
