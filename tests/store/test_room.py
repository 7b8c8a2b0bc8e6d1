"""Room on the disk: the reserve for running sessions, the bound of all files, and what goes first."""

import errno
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pytest

from agent.domain.errors import StoreError
from agent.domain.outbox import Delivered
from agent.store import room as room_module
from agent.store.room import LOG_BYTES, MIB, RESERVE_BYTES, Room
from agent.store.store import FILE_NAME, Store
from tests.store.build import BOOT, end_notice, ended, notice, now, record, transaction_id
from tests.store.test_trouble import fill, mount, until_refused

pytestmark = pytest.mark.pain(86)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, 6 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount("-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place))
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@asynccontextmanager
async def opened(directory: Path, *, max_bytes: int = room_module.DEFAULT_MAX_BYTES) -> AsyncIterator[Store]:
    store = await Store.open(directory, boot_id=BOOT, now=now, max_bytes=max_bytes)
    try:
        yield store
    finally:
        await store.aclose()


def reserve(directory: Path) -> Path:
    return directory / f"{FILE_NAME}.reserve"


def everything(directory: Path) -> int:
    return sum(each.stat().st_size for each in directory.iterdir())


# ---------------------------------------------------------------------------------------------------------------- the full disk


async def test_a_running_session_is_recorded_to_its_end_on_a_full_disk_and_no_new_one_begins(disk: Path) -> None:
    """The reserve is given up for it: sessions that run have room, new ones wait until there is space again."""
    async with opened(disk) as store:
        await store.recover()
        assert reserve(disk).stat().st_size == RESERVE_BYTES
        await store.commit([record(1)], [notice(1, 0)])
        assert store.refusal == ""
        ballast = fill(disk)
        for seq_no in range(1, 300):  # five hours at 60 s values, the portal away
            await store.commit([record(1, next_seq_no=seq_no + 1)], [notice(1, seq_no)])
        await store.commit([ended(1, next_seq_no=301)], [end_notice(1, 300)])
        assert not reserve(disk).exists()
        assert store.is_durable
        assert "The disk is full, what is left of it is for the sessions that run" in store.refusal
        assert "free space on the file system" in store.trouble
        ballast.unlink()
        await store.look_at_disk()
        assert reserve(disk).stat().st_size == RESERVE_BYTES
        assert store.refusal == ""
        report = await store.storage()
        assert (report.reserve_bytes, report.refusal) == (RESERVE_BYTES, "")
        assert "The disk is full" in report.last_trouble
    async with opened(disk) as store:
        assert len(await store.rows(0, 1000)) == 301


async def test_a_disk_without_room_for_the_reserve_lets_no_session_begin(disk: Path) -> None:
    ballast = fill(disk)
    with ballast.open("r+b") as file:
        file.truncate(ballast.stat().st_size - RESERVE_BYTES)
    async with opened(disk) as store:
        assert store.is_durable
        assert "The disk is full" in store.refusal
        ballast.unlink()
        await store.look_at_disk()
        assert store.refusal == ""


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL])
async def test_a_file_system_that_reserves_nothing_gets_a_reserve_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """With musl on ubifs the call fails, and a charger with an empty disk said for ever that it is full."""

    def refused(*_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", refused)
    async with opened(tmp_path) as store:
        assert store.refusal == ""
        assert reserve(tmp_path).stat().st_size == RESERVE_BYTES


async def test_a_full_disk_is_noticed_while_nothing_is_written(disk: Path) -> None:
    async with opened(disk) as store:
        await store.commit([record(1)], [notice(1, 0)])
        before = (await store.status()).written_bytes
        ballast = fill(disk)
        await store.look_at_disk()
        assert "The disk is full" in store.refusal
        assert reserve(disk).exists(), "it is kept for who needs it"
        with ballast.open("r+b") as file:
            file.truncate(ballast.stat().st_size - MIB // 2)
        await store.look_at_disk()
        assert store.refusal, "a little space is not enough: it would come and go"
        ballast.unlink()
        await store.look_at_disk()
        assert store.refusal == ""
        assert (await store.status()).written_bytes == before


@pytest.mark.pain(87)
async def test_a_disk_that_became_read_only_is_noticed_while_nothing_is_written(tmp_path: Path) -> None:
    """Linux mounts a file system read-only after an error of the flash; an idle charger would find out with the next session."""
    place = tmp_path / "disk"
    place.mkdir()
    async with opened(place) as store:
        await store.look_at_disk()
        assert store.is_durable
        mount("--bind", str(place), str(place))  # the same directory again, on top
        try:
            mount("-o", "remount,bind,ro", str(place))
            await store.look_at_disk()
            assert not store.is_durable
            assert "is mounted read-only" in store.trouble
            assert "dmesg" in store.refusal
        finally:
            subprocess.run(["umount", "--lazy", str(place)], check=True)
        await store.look_at_disk()
        assert store.is_durable
        assert store.trouble == ""


async def test_a_file_system_that_says_read_only_is_refused_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on machines where nothing can be mounted: the kernel's answer is changed."""
    async with opened(tmp_path) as store:
        real = os.statvfs(tmp_path)
        values = list(real)
        values[8] |= os.ST_RDONLY
        monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(values))
        await store.look_at_disk()
        assert not store.is_durable
        assert "is mounted read-only" in store.trouble


async def test_the_reserve_is_used_where_nothing_can_be_mounted(tmp_path: Path) -> None:
    """The limit of a file's size by the kernel stands for the end of the disk: the write-ahead log may not grow."""
    code = """
import asyncio, resource, signal, sys
from pathlib import Path
from agent.domain.errors import StoreError
from agent.store.store import Store
from tests.store.build import *

async def main():
    directory = Path(sys.argv[1])
    store = await Store.open(directory, boot_id=BOOT, now=now)
    await store.commit([record(1)], [notice(1, 0)])
    pages = await store._db.read(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
    await store._db.read(lambda db: db.execute(f"PRAGMA max_page_count = {pages + 4}").fetchall())
    seen = 0
    try:
        for seq_no in range(1, 400):
            await store.commit([record(1, next_seq_no=seq_no + 1)], [notice(1, seq_no)])
            seen = seq_no
    except StoreError as error:
        assert "The disk is full" in str(error), error
        assert not (directory / "charger-agent.db.reserve").exists(), "it was given up before the error"
        assert len(await store.rows(0, 1000)) == seen + 1, "what was confirmed is there"
        assert store.refusal
        await store.look_at_disk()
        assert (directory / "charger-agent.db.reserve").exists()
        print("refused")
    await store.aclose()

asyncio.run(main())
"""
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert result.stdout == "refused\n", result.stderr


# -------------------------------------------------------------------------------------------------------------------- the bound


def small_bound(monkeypatch: pytest.MonkeyPatch) -> int:
    """A bound that a test can reach: 2 MiB for the file."""
    monkeypatch.setattr(room_module, "_SHARE", 64)
    return LOG_BYTES + RESERVE_BYTES + 2 * MIB


async def test_delivered_sessions_go_first_and_all_files_stay_within_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bound = small_bound(monkeypatch)
    async with opened(tmp_path, max_bytes=bound) as store:
        await store.recover()
        for number in range(1, 900):
            await store.commit([ended(number)], [replace(notice(number, 0), meter_values=())])
            (row,) = await store.rows(0, 10)
            store.mark(Delivered(row_id=row.row_id, transaction_id=row.notice.transaction_id))
            if number % 20 == 0:
                await store.flush()
                assert everything(tmp_path) <= bound
        kept = {session.transaction_id for session in await store.sessions(1000)}
        assert {transaction_id(number) for number in range(810, 900)} <= kept
        assert len(kept) < 600
        assert store.refusal == ""


async def test_a_backlog_stays_within_the_bound_and_running_sessions_get_to_their_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The portal is away for ever: values are thinned, then no session begins, and the one that runs is recorded to its end."""
    bound = small_bound(monkeypatch)
    async with opened(tmp_path, max_bytes=bound) as store:
        await store.recover()
        number = 0
        while not store.refusal:
            number += 1
            updates = [notice(number, seq_no) for seq_no in range(1, 12)]
            await store.commit([record(number)], [notice(number, 0)])
            await store.commit([ended(number, next_seq_no=13)], [*updates, end_notice(number, 12)])
            assert everything(tmp_path) <= bound
            assert number < 2_000, "the bound is reached"
        assert "has reached its bound of" in store.refusal
        assert "Bring the portal back" in store.trouble
        assert (await store.status()).thinned > 100
        await store.commit([record(9999)], [notice(9999, 0)])  # one that was beginning
        for seq_no in range(1, 10):
            await store.commit([record(9999, next_seq_no=seq_no + 1)], [notice(9999, seq_no)])
        await store.commit([ended(9999, next_seq_no=11)], [end_notice(9999, 10)])
        assert everything(tmp_path) <= bound
        rows = await store.rows(0, 100_000)
        ends = [row.notice.transaction_id for row in rows if row.notice.event_type in {"Started", "Ended"}]
        assert len(ends) == 2 * (number + 1), "no start and no end was dropped"
        for row in rows:
            store.mark(Delivered(row_id=row.row_id, transaction_id=row.notice.transaction_id))
        await store.flush()
        await store.commit([record(9999)], [])
        assert store.refusal == "", "the portal is back"


async def test_a_bound_that_was_lowered_makes_room_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is larger than it may be and has no free page: what is delivered goes first, or no commit would ever succeed again."""
    bound = small_bound(monkeypatch)
    async with opened(tmp_path) as store:
        await store.recover()
        for number in range(1, 800, 20):
            some = range(number, number + 20)
            await store.commit([ended(each) for each in some], [replace(notice(each, 0), meter_values=()) for each in some])
            for row in await store.rows(0, 100):
                store.mark(Delivered(row_id=row.row_id, transaction_id=row.notice.transaction_id))
            await store.flush()
        assert (await store.storage()).used_bytes > 2 * MIB
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        db.execute("VACUUM")
    async with opened(tmp_path, max_bytes=bound) as store:
        for number in range(1000, 1010):
            await store.commit([record(number)], [notice(number, 0)])
            await store.commit([ended(number)], [end_notice(number, 1)])
        assert store.is_durable
        assert store.refusal == ""
        assert len(await store.rows(0, 100)) == 20


async def test_even_without_thinning_the_bound_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bound = small_bound(monkeypatch)
    async with opened(tmp_path, max_bytes=bound) as store:
        for number in range(1, 5000):
            try:
                await store.commit([record(number)], [notice(number, 0)])
            except StoreError:
                break
        else:
            raise AssertionError("the bound is not reached")
        assert "raise [store] max_bytes" in store.trouble
        assert everything(tmp_path) <= bound
        assert len(await store.rows(0, 5000)) == number - 1


async def test_damaged_files_give_way_to_sessions_the_oldest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bound = small_bound(monkeypatch)
    for name, content in (("corrupt-1", MIB), ("corrupt-1-wal", MIB // 2), ("corrupt-2", MIB // 2)):
        (tmp_path / f"{FILE_NAME}.{name}").write_bytes(bytes(content))
    async with opened(tmp_path, max_bytes=bound) as store:
        assert {each.name for each in tmp_path.glob("*.corrupt-*")} == {f"{FILE_NAME}.corrupt-2"}
        assert any("corrupt-1 had to go" in remark for remark in store.remarks)
        assert (await store.storage()).kept_bytes == MIB // 2


async def test_the_files_of_the_store_are_known(tmp_path: Path) -> None:
    """Nothing else of ours grows on the disk: logs are the journal's."""
    async with opened(tmp_path) as store:
        await store.recover()
        for number in range(1, 30):
            await store.commit([ended(number)], [notice(number, 0), end_notice(number, 1)])
        names = {each.name.removeprefix(FILE_NAME) for each in tmp_path.iterdir()}
        assert names == {"", "-wal", "-shm", ".lock", ".map", ".reserve"}
        sizes = await store.storage()
        assert sizes.rows["transactions"] == 29
        assert sizes.rows["outbox"] == 58
        assert sizes.oldest == ended(1).started_at.utc


def test_what_is_left_is_for_running_sessions() -> None:
    room = Room(Path("/nowhere/x.db"), 64 * MIB)
    room.has_reserve = True
    room.look()
    room.has_reserve = True
    edges = [used for used in range(0, 60 * MIB, MIB) if room.refusal(used)]
    assert edges[0] == 56 * MIB
    assert room.wants_less(52 * MIB)
    assert not room.wants_less(50 * MIB)


async def test_a_full_disk_during_an_update_of_the_software_takes_the_sessions_first(disk: Path) -> None:
    """The copy of the older schema needs room that is not there: the store goes on without it."""
    from tests.store.fixtures import generate

    generate.load(Path(generate.__file__).with_name("schema_0001.sql"), disk)
    ballast = fill(disk)
    with ballast.open("r+b") as file:
        file.truncate(ballast.stat().st_size - 160 * 1024)
    async with opened(disk) as store:
        assert len(await store.sessions()) == 5
        assert "The disk is full" in store.refusal
        refused, _ = await until_refused(store, 77)
        assert refused
        ballast.unlink()
        await store.look_at_disk()
        await store.commit([record(77, next_seq_no=refused + 1)], [notice(77, refused)])
        assert store.trouble == ""
    shutil.rmtree(disk, ignore_errors=True)


def test_the_page_about_bounds_tells_those_of_the_code() -> None:
    from agent.core.authorization import CACHE_SIZE
    from agent.diagnostics.protocol import MAX_LINE_BYTES
    from agent.diagnostics.server import MAX_CLIENTS
    from agent.fieldbus.bus import QUEUE_LIMIT
    from agent.ocpp_client.client import MOST_PENDING
    from agent.ocpp_client.rpc import MAX_FRAME_CHARS
    from agent.runtime.engine import REMARKS_KEPT
    from agent.runtime.recorder import MOST_FROZEN, MOST_JOBS, MOST_RUNNING
    from agent.store.database import CACHE_KIB, CHECKPOINT_LOG_BYTES, KEPT_ASIDE, SHORT_LOG_BYTES
    from agent.store.ledger import KEPT_ROWS
    from agent.store.store import MAX_PENDING_MARKS
    from agent.store.tables import KEPT_RUNS, KEPT_TRANSACTIONS, MAX_QUEUED

    page = (Path(__file__).parents[2] / "docs" / "storage.md").read_text(encoding="utf-8")
    for words in (
        f"| calls of the portal that wait for an answer | {MOST_PENDING} |",
        f"| a frame of the portal | {MAX_FRAME_CHARS:,} characters |",
        f"| events for `chargerctl events` | {REMARKS_KEPT} |",
        f"| marks that ride with the next commit | {MAX_PENDING_MARKS} |",
        f"| requests of one Modbus bus | {QUEUE_LIMIT} |",
        f"| tokens in the authorization cache | {CACHE_SIZE} |",
        f"| clients of the technician's socket, bytes of a line | {MAX_CLIENTS}, {MAX_LINE_BYTES:,} |",
        f"| jobs of the flight recorder | {MOST_JOBS} |",
        f"| SQLite's cache of pages | {CACHE_KIB} KiB |",
        f"folded in at {CHECKPOINT_LOG_BYTES // MIB} MiB, at {SHORT_LOG_BYTES // 1024} KiB while the disk is full",
        f"the {KEPT_ASIDE} newest",
        f"{MOST_FROZEN + MOST_RUNNING} of at most 2 MiB",
        f"{KEPT_TRANSACTIONS:,} delivered transactions, {MAX_QUEUED:,} messages",
        f"{KEPT_ROWS:,} rows of the chain, {KEPT_RUNS} starts of the process",
    ):
        assert words in page, words


async def test_a_damaged_file_on_a_full_disk_waits_for_room_and_loses_nothing(disk: Path) -> None:
    """Half of the rows in a new file, and the daemon goes on with it: that is what a salvage without room must not do."""
    async with opened(disk) as store:
        await store.recover()
        for number in range(1, 151):
            await store.commit([ended(number)], [notice(number, 0), end_notice(number, 1)])
    file = disk / FILE_NAME
    content = bytearray(file.read_bytes())
    place = content.rindex(transaction_id(75).encode()) // 1024 * 1024
    content[place : place + 1024] = bytes(1024)
    file.write_bytes(content)
    reserve(disk).unlink()
    ballast = fill(disk)
    with ballast.open("r+b") as held:
        held.truncate(ballast.stat().st_size - MIB // 4)
    async with opened(disk) as store:
        assert not store.is_durable
        assert "The disk is full" in store.trouble
        assert file.read_bytes() == content
        served = len(await store.rows(0, 1000))
        ballast.unlink()
        await store.commit([record(999)], [notice(999, 0)])
        assert store.is_durable
    async with opened(disk) as store:
        kept = {row.notice.transaction_id for row in await store.rows(0, 1000)}
        assert len(kept) >= 148
        assert served >= 290


MAX = 64 * MIB


def looked_at(monkeypatch: pytest.MonkeyPatch, directory: Path, *, free: int, is_read_only: bool = False, room: Room | None = None) -> Room:
    """A room after a look at a disk with so much space."""
    flags = os.ST_RDONLY if is_read_only else 0
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((4096, 1, free, free, free, 0, 0, 0, flags, 255)))
    room = room or Room(directory / "x.db", MAX)
    room.look()
    return room


def test_the_bounds_of_the_files_are_these() -> None:
    """Bytes: what docs/storage.md promises of 64 MiB."""
    room = Room(Path("/nowhere/x.db"), room_module.DEFAULT_MAX_BYTES)
    numbers = (room.max_bytes, room_module.LEAST_MAX_BYTES, LOG_BYTES, RESERVE_BYTES, room_module.LOW_BYTES, room.file_bytes)
    assert numbers == (67_108_864, 25_165_824, 4_194_304, 1_048_576, 262_144, 61_865_984)
    assert (room.kept_bytes, room.has_reserve, room.free_bytes, room.is_read_only) == (0, False, None, False)
    assert (room.is_full, room.reserve_bytes, room.refusal(0)) == (False, 0, ""), "nobody has looked yet"
    room.kept_bytes = 1000
    assert room.file_bytes == 61_864_984


@pytest.mark.parametrize(("used", "wants_less"), [(53_477_376, False), (53_477_377, True)])
def test_old_sessions_go_an_eighth_below_the_bound(used: int, wants_less: bool) -> None:
    assert Room(Path("/nowhere/x.db"), MAX).wants_less(used) == wants_less


@pytest.mark.parametrize(("used", "refused"), [(57_671_680, ""), (57_671_681, "reached its bound of 67108864 bytes")])
def test_no_session_begins_a_sixteenth_below_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, used: int, refused: str) -> None:
    room = looked_at(monkeypatch, tmp_path, free=100 * MIB)
    assert refused in room.refusal(used)
    assert bool(room.refusal(used)) == bool(refused)


@pytest.mark.parametrize(("free", "has_reserve"), [(2 * MIB - 1, False), (2 * MIB, True)])
def test_the_reserve_is_made_where_twice_of_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, has_reserve: bool
) -> None:
    room = looked_at(monkeypatch, tmp_path, free=free)
    assert (room.free_bytes, room.has_reserve, room.is_full) == (free, has_reserve, not has_reserve)
    assert room.reserve_bytes == room_module.size(tmp_path / "x.db.reserve") == (MIB if has_reserve else 0)
    assert ("(2 MiB at least)" in room.refusal(0)) == (not has_reserve)
    if has_reserve:
        assert stat.S_IMODE((tmp_path / "x.db.reserve").stat().st_mode) == 0o600


def test_a_disk_is_low_until_there_is_four_times_as_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = looked_at(monkeypatch, tmp_path, free=100 * MIB)
    for free, is_full in ((MIB // 4, False), (MIB // 4 - 1, True), (MIB - 1, True), (MIB, False), (MIB // 4, False)):
        assert looked_at(monkeypatch, tmp_path, free=free, room=room).is_full == is_full, free
    assert room.give_up_reserve()
    assert (room.is_full, room.has_reserve, (tmp_path / "x.db.reserve").exists()) == (True, False, False)
    assert not room.give_up_reserve()
    assert looked_at(monkeypatch, tmp_path, free=MIB, room=room).is_full, "low no more, but without its reserve"
    assert not looked_at(monkeypatch, tmp_path, free=2 * MIB, room=room).is_full


def test_a_reserve_that_was_cut_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.db.reserve").write_bytes(bytes(MIB - 1))
    assert not looked_at(monkeypatch, tmp_path, free=MIB).has_reserve
    (tmp_path / "x.db.reserve").write_bytes(bytes(MIB))
    assert looked_at(monkeypatch, tmp_path, free=MIB).has_reserve


def test_nothing_is_written_on_a_disk_that_is_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = looked_at(monkeypatch, tmp_path, free=100 * MIB, is_read_only=True)
    assert room.is_read_only
    assert "mounted read-only" in room.refusal(0)
    assert list(tmp_path.iterdir()) == []
    assert not looked_at(monkeypatch, tmp_path, free=100 * MIB, room=room).is_read_only


def test_a_file_takes_its_log_along(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    for suffix in ("", "-wal", "-shm", "-other"):
        room_module.beside(path, suffix).write_bytes(b"x")
    room_module.remove_with_log(path)
    room_module.remove_with_log(path)
    assert [each.name for each in tmp_path.iterdir()] == ["x.db-other"]


def test_old_files_go_in_their_order_until_there_is_room_and_are_counted_with_their_logs(tmp_path: Path) -> None:
    room = Room(tmp_path / "x.db", 24 * MIB)
    for name, size in (("corrupt-1", 5), ("corrupt-1-wal", 1), ("corrupt-2", 2), ("schema-1", 3)):
        (tmp_path / f"x.db.{name}").write_bytes(bytes(size * MIB))
    (tmp_path / "x.db.corrupt-dir").mkdir()
    assert [each.name for each in room_module.moved_aside(tmp_path / "x.db")] == ["x.db.corrupt-2", "x.db.corrupt-1"]
    assert (room.fit(5 * MIB), room.kept_bytes) == ([], 11 * MIB)
    assert (room.fit(5 * MIB + 1), room.kept_bytes) == (["x.db.corrupt-1"], 5 * MIB)
    assert (room.fit(16 * MIB), room.kept_bytes) == (["x.db.corrupt-2", "x.db.schema-1"], 0)
