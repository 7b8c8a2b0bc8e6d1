"""The connection: units of work, opening, migration, damage, and who else may hold the file."""

import asyncio
import math
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from threading import Event
from typing import cast

import pytest

from agent.domain.errors import StoreError
from agent.store import database
from agent.store.database import APPLICATION_ID, MIGRATIONS, Database, Opening, _known_shapes
from agent.store.room import moved_aside


def no_salvage(_old: Path, _new: sqlite3.Connection) -> str:
    return "Saved: nothing."


def migrations(folder: Path, *scripts: str) -> Path:
    folder.mkdir(exist_ok=True)
    for number, script in enumerate(scripts, start=1):
        (folder / f"{number:04d}_step.sql").write_text(script, encoding="utf-8")
    return folder


FIRST = "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT) STRICT; -- first; with a comment\n"


@asynccontextmanager
async def opened(tmp_path: Path, *scripts: str, salvage: Callable[[Path, sqlite3.Connection], str] = no_salvage) -> AsyncIterator[Database]:
    folder = migrations(tmp_path / "migrations", *(scripts or (FIRST,)))
    db = await Database.open(Opening(path=tmp_path / "state" / "x.db", stamp="STAMP", salvage=salvage, migrations=folder))
    try:
        yield db
    finally:
        await db.aclose()


def insert(value: str) -> Callable[[sqlite3.Connection], None]:
    def work(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO t (b) VALUES (?)", (value,))

    return work


def pragma(name: str) -> Callable[[sqlite3.Connection], object]:
    def work(db: sqlite3.Connection) -> object:
        return db.execute(f"PRAGMA {name}").fetchone()[0]

    return work


def values(db: sqlite3.Connection) -> list[str]:
    return [row[0] for row in db.execute("SELECT b FROM t ORDER BY a")]


async def test_the_file_is_set_up_for_durability(tmp_path: Path) -> None:
    async with opened(tmp_path) as db:
        assert db.is_durable
        pragmas = {
            name: await db.read(pragma(name))
            for name in ("journal_mode", "synchronous", "foreign_keys", "application_id", "user_version", "wal_autocheckpoint")
        }
        assert pragmas == {
            "journal_mode": "wal",
            "synchronous": 2,
            "foreign_keys": 1,
            "application_id": APPLICATION_ID,
            "user_version": 1,
            "wal_autocheckpoint": 0,
        }


async def test_only_the_owner_may_read_the_file(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        async with opened(tmp_path) as db:
            await db.unit(insert("x"))
            for path in (db.path, db.path.with_name("x.db-wal")):
                assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
            assert stat.S_IMODE(db.path.parent.stat().st_mode) == 0o700
    finally:
        os.umask(old)


async def test_a_unit_that_fails_leaves_nothing_and_no_open_transaction(tmp_path: Path) -> None:
    def half(raw: sqlite3.Connection) -> None:
        raw.execute("INSERT INTO t (b) VALUES ('half')")
        raw.execute("INSERT INTO nowhere VALUES (1)")

    async with opened(tmp_path) as db:
        with pytest.raises(StoreError, match="nowhere"):
            await db.unit(half)
        assert db.trouble
        assert not await db.read(lambda raw: raw.in_transaction)
        await db.unit(insert("whole"))
        assert await db.read(values) == ["whole"]
        assert db.trouble == ""
        assert db.counters.failures == 1


async def test_cancellation_in_the_middle_of_a_unit_leaves_no_open_begin(tmp_path: Path) -> None:
    """A unit that was cancelled while its statements ran is whole on disk, and the next unit stands alone."""
    begun, go_on = asyncio.Event(), Event()
    loop = asyncio.get_running_loop()

    def slow(raw: sqlite3.Connection) -> None:
        raw.execute("INSERT INTO t (b) VALUES ('one')")
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(5)
        raw.execute("INSERT INTO t (b) VALUES ('two')")

    async with opened(tmp_path) as db:
        task = asyncio.create_task(db.unit(slow))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        await db.unit(insert("three"))
        assert await db.read(values) == ["one", "two", "three"]
        assert not await db.read(lambda raw: raw.in_transaction)


async def test_a_value_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    async with opened(tmp_path) as db:
        for bad in ("\ud800", cast("str", 2**70)):
            with pytest.raises(StoreError, match="cannot be written"):
                await db.unit(insert(bad))
        assert await db.read(values) == []


async def test_a_reader_beside_sees_whole_commits_only(tmp_path: Path) -> None:
    """A technician's sqlite3 reads the live file; it never blocks a commit and never sees half of one."""

    def pair(raw: sqlite3.Connection) -> None:
        raw.execute("INSERT INTO t (b) VALUES ('a')")
        raw.execute("INSERT INTO t (b) VALUES ('b')")

    async with opened(tmp_path) as db:
        with closing(sqlite3.connect(db.path.as_uri() + "?mode=ro", uri=True)) as outside:
            for count in range(20):
                rows = outside.execute("SELECT count(*) FROM t")
                assert rows.fetchone()[0] == 2 * count
                commits = [db.unit(pair), db.read(values), db.read(values)]
                _, *seen = await asyncio.gather(*commits)
                assert all(len(each) == 2 * (count + 1) for each in seen)  # type: ignore[arg-type]
                rows.close()


async def test_the_log_is_folded_in_when_it_is_long_and_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "CHECKPOINT_LOG_BYTES", 64 * 1024)
    async with opened(tmp_path) as db:
        for number in range(200):
            await db.unit(insert("x" * 900))
            assert len(await db.read(values)) == number + 1
        log = db.path.with_name("x.db-wal")
        assert db.counters.checkpoints >= 3
        assert log.stat().st_size < 128 * 1024
        assert db.path.stat().st_size > 100 * 1024
        assert db.counters.syncs >= 200 + 2 * db.counters.checkpoints


async def test_a_unit_that_changes_nothing_costs_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as db:
        before = db.counters.syncs, db.counters.written_bytes
        await db.unit(lambda raw: raw.execute("UPDATE t SET b = 'x' WHERE a = 1"))
        assert (db.counters.syncs, db.counters.written_bytes) == before


async def test_migrations_go_forward_and_the_old_file_is_kept(tmp_path: Path) -> None:
    async with opened(tmp_path, FIRST) as db:
        await db.unit(insert("old"))
    second = "ALTER TABLE t ADD COLUMN c INTEGER NOT NULL DEFAULT 7;\nCREATE INDEX t_b ON t (b);\n"
    async with opened(tmp_path, FIRST, second) as db:
        assert await db.read(lambda raw: raw.execute("SELECT b, c FROM t").fetchall()) == [("old", 7)]
        assert any("schema 1 to 2" in remark for remark in db.remarks)
    with closing(sqlite3.connect(tmp_path / "state" / "x.db.schema-1")) as kept:
        assert kept.execute("PRAGMA user_version").fetchone() == (1,)
        assert kept.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert kept.execute("SELECT * FROM t").fetchall() == [(1, "old")]


async def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path, FIRST) as db:
        await db.unit(insert("old"))
    broken = "ALTER TABLE t ADD COLUMN c INTEGER;\nCREATE INDEX nope ON nowhere (b);\n"
    with pytest.raises(StoreError, match="nowhere"):
        async with opened(tmp_path, FIRST, broken):
            pass
    async with opened(tmp_path, FIRST, "ALTER TABLE t ADD COLUMN c INTEGER;\n") as db:
        assert await db.read(lambda raw: raw.execute("SELECT b, c FROM t").fetchall()) == [("old", None)]


async def test_a_file_of_a_newer_version_is_refused_with_a_cure(tmp_path: Path) -> None:
    async with opened(tmp_path, FIRST, "CREATE TABLE u (a INTEGER);\n"):
        pass
    (tmp_path / "migrations" / "0002_step.sql").unlink()
    before = (tmp_path / "state" / "x.db").read_bytes()
    with pytest.raises(StoreError, match=r"schema 2, this software knows up to 1.*Install"):
        async with opened(tmp_path, FIRST):
            pass
    assert (tmp_path / "state" / "x.db").read_bytes() == before


async def test_a_file_of_another_program_is_moved_aside_unchanged(tmp_path: Path) -> None:
    """Nobody is there to move it. A charger that does not start helps nobody."""
    (tmp_path / "state").mkdir()
    with closing(sqlite3.connect(tmp_path / "state" / "x.db")) as foreign:
        foreign.execute("CREATE TABLE contacts (name TEXT)")
        foreign.commit()
    before = (tmp_path / "state" / "x.db").read_bytes()
    async with opened(tmp_path) as db:
        assert await db.read(values) == []
        assert any("names another program" in remark for remark in db.remarks)
    assert (tmp_path / "state" / "x.db.corrupt-STAMP").read_bytes() == before


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
@pytest.mark.pain(84)
async def test_a_directory_in_the_place_of_a_file_is_moved_aside(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "state" / f"x.db{suffix}" / "deep").mkdir(parents=True)
    async with opened(tmp_path) as db:
        await db.unit(insert("goes on"))
        assert await db.read(values) == ["goes on"]
        assert "was no file" in db.remarks[0]
    assert (tmp_path / "state" / f"x.db.corrupt-STAMP{suffix}" / "deep").is_dir()


@pytest.mark.parametrize(
    ("offset", "number"),
    [
        pytest.param(60, 3, id="a version that would be newer"),
        pytest.param(60, 2**30, id="a version that cannot be"),
        pytest.param(60, 1, id="a version that is older than the tables"),
        pytest.param(60, 0, id="no version"),
        pytest.param(60, 2**32 - 1, id="a negative version"),
        pytest.param(68, 0x43414755, id="another program"),
        pytest.param(68, 0, id="no program"),
    ],
)
@pytest.mark.pain(85)
async def test_a_bit_that_flipped_in_the_header_does_not_keep_the_charger_from_starting(tmp_path: Path, offset: int, number: int) -> None:
    """The tables tell which schema it is; a header that says otherwise is damage, not a newer version."""
    second = "CREATE TABLE u (a INTEGER);\n"
    async with opened(tmp_path, FIRST, second) as db:
        await db.unit(insert("x"))
    path = tmp_path / "state" / "x.db"
    raw = bytearray(path.read_bytes())
    raw[offset : offset + 4] = number.to_bytes(4, "big")
    path.write_bytes(raw)
    async with opened(tmp_path, FIRST, second) as db:
        assert db.is_durable
        (remark,) = db.remarks
        assert "was damaged (its header" in remark
        await db.unit(insert("y"))


@pytest.mark.pain(85)
async def test_a_letter_that_changed_in_a_constraint_is_damage(tmp_path: Path) -> None:
    """The columns are as they were, and yet no commit would succeed any more."""
    scripts = (FIRST, "CREATE TABLE u (a INTEGER REFERENCES t (a), c TEXT CHECK (c <> 'x'));\n")
    async with opened(tmp_path, *scripts) as db:
        await db.unit(insert("x"))
    path = tmp_path / "state" / "x.db"
    raw = path.read_bytes()
    assert raw.count(b"REFERENCES t (a)") == 1
    path.write_bytes(raw.replace(b"REFERENCES t (a)", b"REFERENCES t (q)"))
    async with opened(tmp_path, *scripts) as db:
        assert any("the words that make u have changed" in remark for remark in db.remarks)
        await db.unit(lambda each: each.execute("INSERT INTO u (c) VALUES ('y')"))
    async with opened(tmp_path, *scripts) as db:
        await db.unit(lambda each: each.execute("CREATE INDEX of_a_technician ON u (c)"))
    async with opened(tmp_path, *scripts) as db:
        assert db.remarks == [], "what somebody added is no damage"
        await db.unit(lambda each: each.execute("DROP INDEX of_a_technician"))
    async with opened(tmp_path, *scripts) as db:
        assert db.remarks == []


@pytest.mark.pain(86)
async def test_damaged_files_that_are_kept_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "state" / "x.db"
    for number in range(5):
        async with opened(tmp_path) as db:
            await db.unit(insert("x"))
        path.write_bytes(f"damage number {number}. ".encode() * 100)
    async with opened(tmp_path):
        kept = [each.read_text(encoding="ascii")[:15] for each in moved_aside(path)]
        assert kept == ["damage number 4", "damage number 3"]


async def test_only_the_last_old_schema_is_kept(tmp_path: Path) -> None:
    steps = [FIRST]
    for number in range(3):
        async with opened(tmp_path, *steps):
            pass
        steps.append(f"CREATE TABLE more{number} (a INTEGER);\n")
    async with opened(tmp_path, *steps) as db:
        assert "kept as x.db.schema-3" in db.remarks[0]
    assert [each.name for each in (tmp_path / "state").glob("*.schema-*")] == ["x.db.schema-3"]


async def test_a_migration_goes_on_where_there_is_no_room_for_the_copy(tmp_path: Path) -> None:
    """Recording sessions is worth more than the way back."""
    async with opened(tmp_path, FIRST) as db:
        await db.unit(insert("old"))
    (tmp_path / "state" / "x.db.schema-1.part").mkdir()
    async with opened(tmp_path, FIRST, "CREATE TABLE u (a INTEGER);\n") as db:
        assert db.is_durable
        assert await db.read(values) == ["old"]
        assert "could not be kept" in db.remarks[0]


def test_every_shipped_migration_changes_the_tables() -> None:
    """By its tables a file tells its schema when its header is damaged."""
    shapes = _known_shapes(MIGRATIONS)
    assert all(shape not in shapes[:number] for number, shape in enumerate(shapes))


async def test_a_second_daemon_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as db:
        await db.unit(insert("mine"))
        with pytest.raises(StoreError, match="in use by another charger-agent"):
            async with opened(tmp_path):
                pass
        assert await db.read(values) == ["mine"]
    async with opened(tmp_path) as db:
        assert await db.read(values) == ["mine"]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda raw: b"This is not SQLite. " * 100, id="text"),
        pytest.param(lambda raw: raw[: len(raw) // 2], id="cut in half"),
        pytest.param(lambda raw: raw[:2048] + os.urandom(len(raw) - 2048), id="overwritten from page 3 on"),
        pytest.param(lambda raw: b"\0" * 1024 + raw[1024:], id="header gone"),
    ],
)
async def test_a_damaged_file_is_moved_aside_whole_and_a_new_one_begun(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    async with opened(tmp_path) as db:
        for number in range(100):
            await db.unit(insert(f"{number} " + "x" * 200))
    path = tmp_path / "state" / "x.db"
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    asked: list[Path] = []

    def salvage(old: Path, new: sqlite3.Connection) -> str:
        asked.append(old)
        new.execute("INSERT INTO t (b) VALUES ('saved')")
        return "Saved: 1."

    async with opened(tmp_path, salvage=salvage) as db:
        assert db.is_durable
        assert await db.read(values) == ["saved"]
        assert any("was damaged" in remark and "Saved: 1." in remark for remark in db.remarks)
        await db.unit(insert("new"))
    assert (tmp_path / "state" / "x.db.corrupt-STAMP").read_bytes() == damaged
    assert len(asked) == 1
    assert not list((tmp_path / "state").glob("*.salvaged*"))
    path.write_bytes(damaged)
    async with opened(tmp_path, salvage=salvage):
        pass
    assert (tmp_path / "state" / "x.db.corrupt-STAMP-2").exists(), "an earlier one is never written over"


async def test_a_cut_while_a_damaged_file_is_replaced_loses_nothing(tmp_path: Path) -> None:
    """The salvaged file is complete before the damaged one is renamed: a start that finds only it takes it."""
    async with opened(tmp_path) as db:
        await db.unit(insert("saved"))
    path = tmp_path / "state" / "x.db"
    path.rename(path.with_name("x.db.salvaged"))
    async with opened(tmp_path) as db:
        assert await db.read(values) == ["saved"]


@pytest.mark.parametrize("step", range(6))
async def test_a_cut_at_any_rename_of_a_replacement_loses_nothing_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """What only the log held is in the salvaged file: a start after the cut must neither salvage again without it, nor play it again."""
    path = tmp_path / "state" / "x.db"
    log = path.with_name("x.db-wal")
    async with opened(tmp_path) as db:
        await db.unit(insert("x" * 100_000))
        await db.scrub(whole=False)
        await db.unit(insert("of the log"))
        copies = path.read_bytes()[:2048], log.read_bytes()  # the power goes, and the flash loses most of the file
    for file, content in zip((path, log), copies, strict=True):
        file.write_bytes(content)

    def salvage(old: Path, new: sqlite3.Connection) -> str:
        assert log.read_bytes() == copies[1]
        new.execute("INSERT INTO t (b) VALUES ('of the log')")
        return "Saved: 1."

    rename, count = Path.rename, 0

    def cut(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count > step:
            raise KeyboardInterrupt
        return rename(self, target)

    opening = Opening(path=path, stamp="STAMP", salvage=salvage, migrations=migrations(tmp_path / "migrations", FIRST))
    with monkeypatch.context() as power, suppress(KeyboardInterrupt):
        power.setattr(Path, "rename", cut)
        database._open_locked(opening, database._Opened()).close()
    async with opened(tmp_path, salvage=salvage) as db:
        assert await db.read(values) == ["of the log"]
    assert [each.read_bytes() for each in moved_aside(path)] == [copies[0]]
    logs = [each.read_bytes() for each in path.parent.glob("*.corrupt-*-wal")]
    assert logs == [copies[1]], "kept beside the damaged file"


async def test_an_unknown_error_in_work_passes_and_rolls_back(tmp_path: Path) -> None:
    def broken(raw: sqlite3.Connection) -> None:
        raw.execute("INSERT INTO t (b) VALUES ('half')")
        raise KeyError("a defect")

    async with opened(tmp_path) as db:
        with pytest.raises(KeyError):
            await db.unit(broken)
        await db.unit(insert("next"))
        assert await db.read(values) == ["next"]


async def test_a_closed_database_says_so(tmp_path: Path) -> None:
    async with opened(tmp_path) as db:
        pass
    with pytest.raises(StoreError, match="closed"):
        await db.read(values)


def test_importing_the_store_stays_cheap() -> None:
    """No heavy package comes in with the store."""
    code = "import sys, agent.store.store; print(*{m.split('.')[0] for m in sys.modules})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(result.stdout.split()).isdisjoint({"pydantic", "sqlalchemy", "ocpp", "jsonschema", "PIL", "aiohttp"})


def test_the_shipped_migrations_are_numbered_without_a_gap() -> None:
    numbers = [int(path.name[:4]) for path in sorted(MIGRATIONS.glob("*.sql"))]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_each_setting_of_the_connection_is_the_one_that_was_measured(tmp_path: Path) -> None:
    """docs/storage.md and decision 0003 name them: pages, cache, waits, what the log may keep, nothing left of what was erased."""
    wanted = {
        "page_size": 1024,
        "cache_size": -512,
        "busy_timeout": 5_000,
        "journal_size_limit": 4 * 1024 * 1024,
        "temp_store": 2,
        "secure_delete": 1,
        "max_page_count": 59 * 1024,
        "application_id": 0x43414754,
    }
    async with opened(tmp_path) as db:
        assert {name: await db.read(pragma(name)) for name in wanted} == wanted
        await db.scrub(whole=False)
        assert await db.read(pragma("busy_timeout")) == 5_000
    figures = (database.SHORT_LOG_BYTES, database.SCRUB_WAIT_MS, database.KEPT_ASIDE, database.OLDEST_SQLITE, database.CHECKPOINT_LOG_BYTES)
    assert figures == (65_536, 200, 2, (3, 37, 0), 2_097_152)


async def test_every_write_is_accounted_for_in_bytes_blocks_and_syncs(tmp_path: Path) -> None:
    """A sync writes whole blocks of 4096 bytes, and one of the file system's own; a fold at worst a block for each page, and two."""
    async with opened(tmp_path) as db:
        counters = db.counters
        assert counters == database.Counters(
            commits=0, syncs=0, log_bytes=0, checkpoints=0, checkpoint_bytes=0, flash_bytes=0, failures=0, slowest_ms=0.0
        )
        for number, size in enumerate((10, 900, 5000, 20_000), 1):
            before, used = db.cost, db.used_bytes
            await db.unit(insert("x" * size))
            spent = db.cost - before
            assert spent.written_bytes % 1048 == 0, "whole frames"
            assert spent.written_bytes >= size
            assert spent.flash_bytes == (math.ceil(spent.written_bytes / 4096) + 1) * 4096
            assert (spent.syncs, counters.commits, counters.checkpoints) == (1, number, 0)
            assert 0 <= db.used_bytes - used <= size + 2048
            assert db.calls_out == 0
        assert 0 < counters.slowest_ms < 60_000
        assert db.used_bytes == await db.read(database._used)
        before = db.cost
        await db.read(db._fold_log_now)
        spent = db.cost - before
        assert (spent.syncs, counters.checkpoints, counters.checkpoint_bytes) == (2, 1, spent.written_bytes)
        assert 26 * 1024 <= spent.written_bytes <= 36 * 1024, "each page once"
        assert spent.flash_bytes == (spent.written_bytes // 1024 + 2) * 4096
        before = db.cost
        await db.unit(insert("y"))
        assert ((db.cost - before).syncs, (db.cost - before).written_bytes % 1048) == (2, 32), "the log begins anew"
        with pytest.raises(StoreError):
            await db.unit(lambda raw: raw.execute("INSERT INTO nowhere VALUES (1)"))
        assert (counters.failures, counters.commits) == (1, 5)


@pytest.mark.parametrize("whole", [False, True])
async def test_a_log_that_was_emptied_is_accounted_for(tmp_path: Path, whole: bool) -> None:
    async with opened(tmp_path) as db:
        await db.unit(insert("x" * 5000))
        written = db.counters.log_bytes
        assert await db.scrub(whole=whole)
        assert db.path.with_name("x.db-wal").stat().st_size == 0
        assert (db.counters.checkpoints, db.counters.syncs) == (1, 3)
        assert db.counters.checkpoint_bytes >= 5 * 1024
        assert (db.counters.log_bytes - written >= 5 * 1024) == whole, "a file that is written anew goes through the log"
        assert await db.read(values) == ["x" * 5000]


async def test_a_file_that_takes_the_place_of_a_damaged_one_is_its_owners_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as db:
        await db.unit(insert("x"))
    raw = db.path.read_bytes()
    db.path.write_bytes(raw[:1024] + b"\xa5" * (len(raw) - 1024))
    old = os.umask(0)
    try:
        async with opened(tmp_path) as db:
            assert "was damaged" in db.remarks[0]
            for path in db.path.parent.iterdir():
                if ".corrupt" not in path.name:
                    assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    finally:
        os.umask(old)


async def test_the_last_trouble_stays_to_be_told_after_it_was_cured(tmp_path: Path) -> None:
    async with opened(tmp_path) as db:
        assert (db.trouble, db.last_trouble) == ("", "")
        await db.look_at_disk()
        assert db.last_trouble == ""
        with pytest.raises(StoreError):
            await db.unit(lambda raw: raw.execute("INSERT INTO nowhere VALUES (1)"))
        told = db.trouble
        await db.unit(insert("x"))
        assert (db.trouble, db.last_trouble) == ("", told)
        await db.look_at_disk()
        assert db.last_trouble == told, "a disk that is well takes nothing back"
        db.room.max_bytes = 0
        await db.look_at_disk()
        assert db.last_trouble == told, "the bound was met before the look"
