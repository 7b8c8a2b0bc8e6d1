"""Random damage: the store comes up, everything that can be read is there, nothing is invented, and one sentence tells.

What can be read is asked of SQLite itself, row by row, in a copy of the damaged file.
"""

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import pytest

from agent.domain.errors import StoreError
from agent.domain.ids import EvseId
from agent.domain.notices import TransactionNotice
from agent.domain.records import EvseRecord
from agent.domain.transaction import TransactionRecord
from agent.store.database import connect
from agent.store.room import moved_aside
from agent.store.serial import load
from agent.store.store import FILE_NAME, Store
from tests.store.build import BOOT, EPOCH, end_notice, ended, notice, now, reading, record

PAGE = 1024
SESSIONS = 40
SEEDS = (0, 1, 137, 325, 331, 1006, 1033, 2047)
"""Some at random, and some that once found something: a broken letter in the table of contents, a key that became another row's."""
pytestmark = [pytest.mark.pain(84), pytest.mark.pain(85)]


@dataclass(frozen=True)
class Original:
    """What was written, and the files as a power cut leaves them: half in the file, half in its log."""

    directory: Path
    records: tuple[TransactionRecord, ...]
    notices: tuple[TransactionNotice, ...]


@pytest.fixture(scope="module")
def made() -> list[Original]:
    return []


@pytest.fixture
async def original(made: list[Original], tmp_path_factory: pytest.TempPathFactory) -> Original:
    """Forty sessions, every fourth one running; written once."""
    if made:
        return made[0]
    live, cut = tmp_path_factory.mktemp("live"), tmp_path_factory.mktemp("cut")
    store = await Store.open(live, boot_id=BOOT, now=now)
    await store.recover()
    store.set_anchor(BOOT, 0, EPOCH)
    await store.commit([EvseRecord(evse_id=EvseId(1))], [])
    records: list[TransactionRecord] = []
    notices: list[TransactionNotice] = []
    for number in range(1, SESSIONS + 1):
        if number == SESSIONS // 2:
            await store._db.read(store._db._fold_log_now)
        if number % 4:
            kept = replace(ended(number, next_seq_no=3), meter_stop=reading(Decimal(number * 1000), number), energy_wh=number * 37)
            told = [notice(number, 0), notice(number, 1), end_notice(number, 2)]
        else:
            kept = record(number, next_seq_no=2, energy_wh=Decimal(number * 11))
            told = [notice(number, 0), notice(number, 1)]
        await store.commit([kept], told)
        records.append(kept)
        notices.extend(told)
    for suffix in ("", "-wal", ".map"):
        shutil.copyfile(live / (FILE_NAME + suffix), cut / (FILE_NAME + suffix))
    await store.aclose()
    made.append(Original(cut, tuple(records), tuple(notices)))
    return made[0]


def readable(path: Path, scratch: Path) -> tuple[list[TransactionRecord], list[TransactionNotice]]:
    """What SQLite gives of a damaged file when it is asked for each row by its key."""
    copy = scratch / "copy.db"
    for suffix in ("", "-wal"):
        source = path.with_name(path.name + suffix)
        if source.is_file():
            shutil.copyfile(source, copy.with_name(copy.name + suffix))
    records: list[TransactionRecord] = []
    notices: list[TransactionNotice] = []
    with closing(connect(copy)) as db:
        for key in range(1, 4 * SESSIONS):
            try:
                for (text,) in db.execute("SELECT record FROM transactions WHERE ordinal = ?", (key,)):
                    records.append(load(text, TransactionRecord))
            except (sqlite3.Error, ValueError, TypeError):
                pass
            try:
                for (text,) in db.execute("SELECT notice FROM outbox WHERE row_id = ? AND state = 'queued'", (key,)):
                    notices.append(load(text, TransactionNotice))
            except (sqlite3.Error, ValueError, TypeError):
                pass
    return records, notices


Damage = Callable[[Path, random.Random], None]


def bits(path: Path, chance: random.Random) -> None:
    raw = bytearray(path.read_bytes())
    for _ in range(chance.randint(1, 60)):
        position = chance.randrange(len(raw))
        raw[position] ^= 1 << chance.randrange(8)
    path.write_bytes(raw)


def pages(path: Path, chance: random.Random) -> None:
    raw = bytearray(path.read_bytes())
    for _ in range(chance.randint(1, 5)):
        start = chance.randrange(len(raw) // PAGE) * PAGE
        raw[start : start + PAGE] = chance.choice([bytes(PAGE), b"\xff" * PAGE, chance.randbytes(PAGE)])
    path.write_bytes(raw)


def truncated(path: Path, chance: random.Random) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: chance.randrange(len(raw))])


def header(path: Path, chance: random.Random) -> None:
    raw = path.read_bytes()
    count = chance.choice([1, 16, 100, 512, 1024, 4096])
    path.write_bytes(bytes(count) + raw[count:])


def log_noise(path: Path, chance: random.Random) -> None:
    log = path.with_name(path.name + "-wal")
    raw = bytearray(log.read_bytes())
    start = chance.choice([0, 24, 32, chance.randrange(len(raw))])
    raw[start : start + 5000] = chance.randbytes(min(5000, len(raw) - start))
    log.write_bytes(raw)


def log_gone(path: Path, _: random.Random) -> None:
    path.with_name(path.name + "-wal").unlink()


def log_of_another(path: Path, chance: random.Random) -> None:
    path.with_name(path.name + "-wal").write_bytes(chance.randbytes(40_000))


def all_at_once(path: Path, chance: random.Random) -> None:
    for each in (bits, pages, log_noise):
        each(path, chance)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "damage",
    [bits, pages, truncated, header, log_noise, log_gone, log_of_another, all_at_once],
    ids=lambda each: each.__name__,
)
async def test_what_can_be_read_is_recovered_and_nothing_is_invented(tmp_path: Path, original: Original, damage: Damage, seed: int) -> None:
    path = tmp_path / "state" / FILE_NAME
    shutil.copytree(original.directory, path.parent)
    damage(path, random.Random(f"{damage.__name__}/{seed}"))
    expected_records, expected_notices = readable(path, tmp_path)

    store = await Store.open(path.parent, boot_id=BOOT, now=now)
    assert store.is_durable
    assert len([remark for remark in store.remarks if "was damaged" in remark]) == len(moved_aside(path)) <= 1
    found = await store.recover()
    sessions = {s.transaction_id: s.record for s in await store.sessions(1000)}
    rows = [row.notice for row in await store.rows(0, 1000)]
    written = {r.transaction_id: r for r in original.records}

    assert all(got is None or got == written[name] for name, got in sessions.items()), "changed or invented"
    assert all(each in original.notices for each in rows), "changed"
    assert len({(n.transaction_id, n.seq_no) for n in rows}) == len(rows), "doubled"
    assert all(each == written[each.transaction_id] for each in found.transactions)
    missing = [r.transaction_id for r in expected_records if sessions.get(r.transaction_id) != r and r in original.records]
    assert not missing
    assert not [n for n in expected_notices if n not in rows and n in original.notices]
    for name in written:
        told = [n.seq_no for n in rows if n.transaction_id == name]
        assert told == sorted(told), "out of order"

    await store.commit([record(99)], [notice(99, 0)])
    await store.aclose()
    store = await Store.open(path.parent, boot_id=BOOT, now=now)
    assert store.remarks == (), "the next start has nothing to tell"
    await store.aclose()


@pytest.mark.parametrize("count", [16, 100, 512, 1024])
async def test_a_file_without_its_first_page_gives_every_session_back(tmp_path: Path, count: int) -> None:
    """The map beside the file says where each table begins."""
    directory = tmp_path / "state"
    store = await Store.open(directory, boot_id=BOOT, now=now)
    await store.recover()
    for number in range(1, 31):
        await store.commit([ended(number)], [notice(number, 0), end_notice(number, 1)])
    sessions, rows = await store.sessions(100), await store.rows(0, 100)
    await store.aclose()
    path = directory / FILE_NAME
    path.write_bytes(bytes(count) + path.read_bytes()[count:])
    store = await Store.open(directory, boot_id=BOOT, now=now)
    assert "was damaged" in store.remarks[0]
    assert await store.sessions(100) == sessions
    assert await store.rows(0, 100) == rows
    assert not list(directory.glob("*.repaired*"))
    await store.aclose()


async def test_damage_that_only_a_commit_meets_is_cured_by_the_next_start(tmp_path: Path) -> None:
    """An index that does not fit its table passes the quick check. The commit that meets it has the next start look thoroughly."""
    store = await Store.open(tmp_path, boot_id=BOOT, now=now)
    await store.recover()
    for number in range(1, 6):
        await store.commit([ended(number)], [notice(number, 0)])
    await store.aclose()
    path = tmp_path / FILE_NAME
    with closing(sqlite3.connect(path)) as db:
        page, roots = 1024, dict(db.execute("SELECT name, rootpage FROM sqlite_master"))
        (name,) = db.execute("SELECT transaction_id FROM transactions WHERE ordinal = 3").fetchone()
    raw = bytearray(path.read_bytes())
    root = (roots["sqlite_autoindex_transactions_1"] - 1) * page
    at = raw.index(name.encode(), root, root + page)
    raw[at + len(name) - 1] ^= 1  # the index names another transaction than the table
    path.write_bytes(raw)
    store = await Store.open(tmp_path, boot_id=BOOT, now=now)
    assert store.remarks == ()
    found = await store.recover()
    with pytest.raises(StoreError, match="is damaged: restart the service"):
        await store._db.unit(lambda db: db.execute("DELETE FROM outbox").connection.execute("DELETE FROM transactions WHERE ordinal = 3"))
    await store.aclose()
    store = await Store.open(tmp_path, boot_id=BOOT, now=now)
    assert "was damaged" in store.remarks[0]
    assert await store.recover() == found
    assert len(await store.sessions()) == 5
    assert not list(tmp_path.glob("*.suspect"))
    await store.aclose()


async def test_a_flipped_year_does_not_move_the_floor_of_the_clock(tmp_path: Path) -> None:
    """A wall time has no checksum where it stands alone: far behind the newest session it is damage. TLS would refuse every certificate."""
    store = await Store.open(tmp_path, boot_id=BOOT, now=now)
    await store.recover()
    store.set_anchor(BOOT, 0, EPOCH)
    await store.commit([ended(1)], [notice(1, 0), end_notice(1, 1)])
    await store.aclose()
    path = tmp_path / FILE_NAME
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE clock_anchors SET utc = replace(utc, '2026', '2066')")
        db.execute("UPDATE runs SET started_utc = replace(started_utc, '2026', '2066')")
        db.commit()
    raw = path.read_bytes()
    path.write_bytes(bytes(16) + raw[16:])
    store = await Store.open(tmp_path, boot_id=BOOT, now=now)
    assert store.time_floor == ended(1).ended_at.utc  # type: ignore[union-attr]
    await store.aclose()
