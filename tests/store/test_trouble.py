"""Disks that fail: really full, really read-only, damaged in the middle."""

import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.domain.errors import StoreError
from agent.domain.ids import EvseId
from agent.domain.outbox import Delivered
from agent.domain.records import EvseRecord
from agent.store.store import FILE_NAME, Store
from tests.store.build import BOOT, EPOCH, end_notice, ended, notice, now, record, transaction_id


def mount(*arguments: str) -> None:
    result = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"this machine does not let the test mount a file system: {result.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, 1 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place))
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[Store]:
    store = await Store.open(directory, boot_id=BOOT, now=now)
    try:
        yield store
    finally:
        await store.aclose()


def fill(place: Path) -> Path:
    """Take the last byte of a file system."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    return ballast


async def until_refused(store: Store, number: int = 1) -> tuple[int, str]:
    """Commit updates of a transaction until the disk is full; gives the first that was refused, and the sentence."""
    for seq_no in range(1, 10_000):  # the pages that the log has already are still there to be written
        try:
            await store.commit([record(number, next_seq_no=seq_no + 1)], [notice(number, seq_no)])
        except StoreError as error:
            return seq_no, str(error)
    raise AssertionError("the disk is not full")


async def seqs(store: Store) -> list[int]:
    return [row.notice.seq_no for row in await store.rows(0, 10_000)]


# ------------------------------------------------------------------------------------------------------------------- full


async def test_a_full_disk_is_told_and_nothing_confirmed_is_lost(small_disk: Path) -> None:
    async with opened(small_disk) as store:
        await store.recover()
        await store.commit([record(1)], [notice(1, 0)])
        ballast = fill(small_disk)
        confirmed, sentence = await until_refused(store)
        assert f"The disk is full: free space on the file system of {small_disk}" in sentence
        assert not store.is_durable
        assert "full" in store.trouble
        assert await seqs(store) == list(range(confirmed))
        with pytest.raises(StoreError):
            await store.commit([record(1, next_seq_no=confirmed + 1)], [notice(1, confirmed)])
        ballast.unlink()
        await store.commit([record(1, next_seq_no=confirmed + 1)], [notice(1, confirmed)])
        assert (await store.status()).is_durable
        assert await seqs(store) == list(range(confirmed + 1))
    async with opened(small_disk) as store:
        assert await seqs(store) == list(range(confirmed + 1))


async def test_marks_made_on_a_full_disk_count_at_once_and_are_written_later(small_disk: Path) -> None:
    async with opened(small_disk) as store:
        await store.commit([ended(1)], [notice(1, 0), notice(1, 1), end_notice(1, 2)])
        ballast = fill(small_disk)
        await store.flush()
        await until_refused(store, 2)
        first, *_ = await store.rows(0, 10)
        store.mark(Delivered(row_id=first.row_id, transaction_id=first.notice.transaction_id, remote_id=5))
        with pytest.raises(StoreError):
            await store.flush()
        assert store.remote_id(transaction_id(1)) == 5
        assert (await store.rows(0, 10))[0].row_id > first.row_id
        ballast.unlink()
        await store.flush()
        assert (await store.status()).pending_marks == 0
    async with opened(small_disk) as store:
        assert store.remote_id(transaction_id(1)) == 5


async def test_a_start_on_a_full_disk_serves_what_is_stored(small_disk: Path) -> None:
    async with opened(small_disk / "a" / "b") as store:
        await store.commit([record(1), record(2)], [notice(1, 0), notice(2, 0)])
    ballast = fill(small_disk)
    async with opened(small_disk / "a" / "b") as store:
        found = await store.recover()
        assert [t.transaction_id for t in found.transactions] == [transaction_id(1), transaction_id(2)]
        assert len(await store.rows(0, 10)) == 2
        refused, sentence = await until_refused(store)
        assert "full" in sentence
        assert not store.is_durable
        ballast.unlink()
        await store.commit([record(1, next_seq_no=refused + 1)], [notice(1, refused)])
        assert (await store.status()).is_durable
        assert await seqs(store) == [0, 0, *range(1, refused + 1)]


async def test_a_file_that_may_not_grow_is_a_full_disk(tmp_path: Path) -> None:
    """The same on machines where nothing can be mounted: SQLite's own limit of pages."""
    async with opened(tmp_path) as store:
        await store.commit([record(1)], [notice(1, 0)])
        pages = await store._db.read(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
        await store._db.read(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchall())
        with pytest.raises(StoreError, match="disk is full"):
            await store.commit([record(2)], [notice(2, 0)])
        assert await seqs(store) == [0]
        await store._db.read(lambda db: db.execute("PRAGMA max_page_count = 1000000").fetchall())
        await store.commit([record(2)], [notice(2, 0)])
        assert await seqs(store) == [0, 0]


# -------------------------------------------------------------------------------------------------------------- read-only


async def test_a_disk_that_becomes_read_only_is_told_and_taken_again(small_disk: Path) -> None:
    """Linux mounts a file system read-only after an error of the flash."""
    async with opened(small_disk / "state") as store:
        await store.commit([record(1)], [notice(1, 0)])
    mount("-o", "remount,ro", str(small_disk))
    async with opened(small_disk / "state") as store:
        assert not store.is_durable
        assert any("Read-only" in remark or "cannot be written" in remark for remark in store.remarks), store.remarks
        assert [t.transaction_id for t in (await store.recover()).transactions] == [transaction_id(1)]
        (row,) = await store.rows(0, 10)
        store.mark(Delivered(row_id=row.row_id, transaction_id=row.notice.transaction_id, remote_id=9))
        assert await store.rows(0, 10) == []
        for _ in range(2):
            with pytest.raises(StoreError, match="Read-only file system"):
                await store.commit([record(1, next_seq_no=2)], [notice(1, 1)])
        mount("-o", "remount,rw", str(small_disk))
        await store.commit([record(1, next_seq_no=2)], [notice(1, 1)])
        assert (await store.status()).is_durable
        assert "again" in store.remarks[-1]
    async with opened(small_disk / "state") as store:
        assert await seqs(store) == [1]
        assert store.remote_id(transaction_id(1)) == 9


async def test_a_log_that_was_not_folded_in_is_served_from_a_read_only_disk(small_disk: Path) -> None:
    """After a power cut the newest commits are in the log only."""
    state = small_disk / "state"
    code = (
        "import asyncio, os, sys; from pathlib import Path; from agent.store.store import Store; from tests.store.build import *\n"
        "async def main():\n"
        "    store = await Store.open(Path(sys.argv[1]), boot_id=BOOT, now=now)\n"
        "    await store.commit([record(1)], [notice(1, 0)])\n"
        "    os._exit(0)\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", code, str(state)], check=True, cwd=Path(__file__).parents[2])
    assert (state / f"{FILE_NAME}-wal").stat().st_size > 1000
    mount("-o", "remount,ro", str(small_disk))
    async with opened(state) as store:
        assert await seqs(store) == [0]
        assert not store.is_durable


async def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    async with opened(tmp_path / "file" / "state") as store:
        assert not store.is_durable
        assert "Check that its directory exists" in store.remarks[0]
        with pytest.raises(StoreError):
            await store.commit([record(1)], [])


# ---------------------------------------------------------------------------------------------------------------- damaged


def scribble(path: Path, offset: int, count: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(random.Random(offset).randbytes(count))


async def filled(directory: Path, transactions: int) -> None:
    async with opened(directory) as store:
        await store.recover()
        store.set_anchor(BOOT, 0, EPOCH)
        await store.commit([EvseRecord(evse_id=EvseId(1))], [])
        for number in range(1, transactions + 1):
            await store.commit([ended(number) if number % 2 else record(number, samples=2)], [notice(number, 0), notice(number, 1)])


async def test_sessions_and_messages_are_saved_from_a_file_damaged_in_the_middle(tmp_path: Path) -> None:
    await filled(tmp_path, 60)
    path = tmp_path / FILE_NAME
    size = path.stat().st_size
    scribble(path, size // 2 // 1024 * 1024, 4096)
    async with opened(tmp_path) as store:
        assert store.is_durable
        (remark,) = store.remarks
        assert "was damaged" in remark
        assert "Saved:" in remark
        sessions = {session.transaction_id for session in await store.sessions(100)}
        rows = await store.rows(0, 1000)
        assert len(sessions) >= 50
        assert len(rows) >= 100
        assert [(r.notice.transaction_id, r.notice.seq_no) for r in rows] == sorted(
            (r.notice.transaction_id, r.notice.seq_no) for r in rows
        )
        assert {row.notice.transaction_id for row in rows} <= sessions
        assert store.utc_of(now()) == EPOCH
        found = await store.recover()
        assert found.evses == (EvseRecord(evse_id=EvseId(1)),)
        assert found.last_boot_id == BOOT
        assert len(found.transactions) >= 25
        await store.commit([record(61)], [notice(61, 0)])
        verdict = await store._db.read(lambda db: [*db.execute("PRAGMA integrity_check"), *db.execute("PRAGMA foreign_key_check")])
        assert verdict == [("ok",)]
    assert len(list(tmp_path.glob("*.corrupt-20260101T100000Z"))) == 1


@pytest.mark.parametrize("seed", range(12))
async def test_damage_anywhere_never_stops_a_start(tmp_path: Path, seed: int) -> None:
    """Random damage in the file and in its log: the store opens, what it gives back makes sense, and it takes writes."""
    chance = random.Random(seed)
    await filled(tmp_path, 30)
    path = tmp_path / FILE_NAME
    for _ in range(chance.randint(1, 4)):
        # The header stays: a wrong version or owner in it is refused, which other tests show.
        scribble(path, chance.randrange(100, path.stat().st_size), chance.choice([1, 16, 700, 5000]))
    store = await Store.open(tmp_path, boot_id=BOOT, now=now)
    found = await store.recover()
    assert store.is_durable
    assert all(t.ended_at is None for t in found.transactions)
    rows = await store.rows(0, 1000)
    assert len({(r.notice.transaction_id, r.notice.seq_no) for r in rows}) == len(rows)
    await store.commit([record(99)], [notice(99, 0)])
    assert (await store.rows(0, 1000))[-1].notice == notice(99, 0)
    await store.aclose()


async def test_a_file_that_is_all_noise_gives_a_new_store(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(os.urandom(50_000))
    async with opened(tmp_path) as store:
        assert store.is_durable
        assert "Saved: nothing" in store.remarks[0]
        await store.commit([record(1)], [notice(1, 0)])
