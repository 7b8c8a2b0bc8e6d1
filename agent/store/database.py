"""One SQLite connection on one thread: how it is opened, checked, migrated and written. Knows no table.

A unit of work is one function that runs whole on the connection's thread. Nothing awaits between BEGIN and COMMIT, so a cancelled task
cannot leave a transaction open for the next one to commit its half.
"""

import asyncio
import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import field
from pathlib import Path
from threading import Thread
from typing import Any, Final, TypeVar, cast

import aiosqlite

from agent.domain.errors import StoreError
from agent.domain.values import dataclass
from agent.store.room import DEFAULT_MAX_BYTES, LOG_BYTES, Room, beside, moved_aside, remove_with_log
from agent.store.seal import sealed, unsealed
from agent.store.wal import WalMeter
from agent.store.wear import BLOCK_BYTES, Cost

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

APPLICATION_ID: Final = 0x43414754
"""`CAGT` in the file's header, so that another program's file is never taken for ours."""
MIGRATIONS: Final = Path(__file__).with_name("migrations")
OLDEST_SQLITE: Final = (3, 37, 0)
"""The first with STRICT tables."""
PAGE_BYTES: Final = 1024
"""A commit writes whole pages: with 4096 a charging hour costs 2.7 times as much flash (docs/decisions/0003)."""
CHECKPOINT_LOG_BYTES: Final = LOG_BYTES // 2
"""Rare, because a page that changes with every commit is then copied into the file once in some two hundred commits."""
SHORT_LOG_BYTES: Final = 64 * 1024
"""On a full disk: what the log takes of the reserve, the file cannot have, and without room in the file the log cannot be folded."""
CACHE_KIB: Final = 512
BUSY_TIMEOUT_MS: Final = 5_000
"""How long a technician's sqlite3 may hold the file before a unit fails. The wait is on the thread, never on the loop."""

SCRUB_WAIT_MS: Final = 200
"""How long emptying the log waits for another reader: sessions that begin meanwhile wait as well."""

KEPT_ASIDE: Final = 2
"""Damaged files that are kept for a person to look at; of more the oldest goes."""
SUSPECT_SUFFIX: Final = ".suspect"
"""Beside the file: a commit met damage that the quick check at the start does not find, so the next start looks thoroughly."""
MAP_SUFFIX: Final = ".map"
"""Beside the file: where in it each table begins, for the day on which its first page is gone."""


class Damaged(Exception):
    """The file is not a sound database."""


@dataclass(slots=True)
class Counters:
    """What the database cost since it was opened. `syncs` are fdatasync calls, bytes are what was handed to the file system."""

    commits: int = 0
    syncs: int = 0
    log_bytes: int = 0
    checkpoints: int = 0
    checkpoint_bytes: int = 0
    flash_bytes: int = 0
    """What that is in blocks of the flash: every sync writes the blocks it touches whole and one of the file system's own."""
    failures: int = 0
    slowest_ms: float = 0.0

    @property
    def written_bytes(self) -> int:
        """Bytes written to the log and to the file."""
        return self.log_bytes + self.checkpoint_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How a database is opened. `stamp` names a file that is moved aside; `salvage` copies from such a file and tells what it got."""

    path: Path
    stamp: str
    salvage: Callable[[Path, sqlite3.Connection], str]
    migrations: Path = MIGRATIONS
    max_bytes: int = DEFAULT_MAX_BYTES


@dataclass(slots=True)
class _Opened:
    """What the opening thread leaves beside the connection."""

    remarks: list[str] = field(default_factory=list)
    page_bytes: int = PAGE_BYTES
    used_bytes: int = 0
    lock: int = -1


class _Connection(aiosqlite.Connection):
    """aiosqlite's connection with one thing more: a whole function of ours on its thread.

    `_execute` is the one way by which aiosqlite's own methods reach the thread, in every release from 0.17 on.
    """

    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connector, 64)
        thread = cast("Thread", getattr(self, "_thread", self))  # up to 0.21 the connection was the thread
        thread.daemon = True  # a process that fails elsewhere must end: what is confirmed survives that as it survives SIGKILL

    async def run(self, work: Work[T]) -> T:
        return cast("T", await self._execute(work, self._conn))  # type: ignore[no-untyped-call]


class Database:
    """The open database. Reads and units are done one at a time in the order of the calls.

    `is_durable` is False while the disk refused to open it for writing: reads come from an image in memory, every unit tries to open the
    file again and raises StoreError until that succeeds.
    """

    def __init__(self, opening: Opening) -> None:
        """Use `open` instead: a new object is not connected."""
        self._opening = opening
        self._connection: _Connection | None = None
        self._wal: WalMeter | None = None
        self._lock = -1
        self._checkpoint: asyncio.Task[None] | None = None
        self.is_durable = False
        self.trouble = ""
        """The sentence of the last failure, empty once a unit succeeded again."""
        self.last_trouble = ""
        """The same, kept after it was cured."""
        self.room = Room(opening.path, opening.max_bytes)
        self.used_bytes = 0
        """What of the file is in use."""
        self.remarks: list[str] = []
        """What was unusual about the opening, one sentence each."""
        self.counters = Counters()
        self.calls_out = 0
        """Functions that are on the thread, or whose result has not been taken yet: while there are any, virtual time must not advance."""

    @classmethod
    async def open(cls, opening: Opening) -> "Database":
        """Open, check and migrate. A damaged file is moved aside and salvaged. A disk that refuses gives an image in memory.

        Raises StoreError for a file of a newer version, and for an SQLite library that is too old.
        """
        self = cls(opening)
        try:
            await self._connect()
        except StoreError as error:
            if not _is_refused_by_the_disk(error.__cause__):
                raise
            self.trouble = self.last_trouble = str(error)
            self.remarks.append(f"{error} Until then nothing is kept beyond a restart.")
            try:
                self._connection = await _start(lambda: _open_image(opening))
            except sqlite3.Error as second:
                raise _explained(second, opening.path) from second
        return self

    @property
    def path(self) -> Path:
        """The database file."""
        return self._opening.path

    async def read(self, work: Work[T]) -> T:
        """Run a function that only reads. Raises StoreError."""
        return await self._run(work)

    async def unit(self, work: Work[T]) -> T:
        """Run a function as one transaction, on disk when this returns. Raises StoreError; then nothing of it was kept.

        Once called it runs to its end whatever becomes of the caller.
        """
        try:
            if not self.is_durable:
                await self._reconnect()
            result = await self._on_any_disk(lambda db: self._whole(db, work))
        except StoreError as error:
            if getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CORRUPT:
                with suppress(StoreError, OSError):
                    await self._run(lambda _: _create(beside(self.path, SUSPECT_SUFFIX)))
            self.counters.failures += 1
            self.trouble = self.last_trouble = str(error)
            raise
        self.trouble = ""
        self._checkpoint_when_due()
        return result

    @property
    def refusal(self) -> str:
        """Why no new session may begin although this one could be written, and the cure; empty where one may."""
        return self.room.refusal(self.used_bytes)

    @property
    def cost(self) -> Cost:
        """What the flash has had to take since the opening."""
        return Cost(self.counters.written_bytes, self.counters.flash_bytes, self.counters.syncs)

    async def look_at_disk(self) -> None:
        """See whether the disk is full or read-only, and keep the reserve. Never fails."""
        before = self.refusal
        with suppress(StoreError):
            await self._run(lambda _: self.room.look())
        self.last_trouble = self.refusal if self.refusal and not before else self.last_trouble

    async def _on_any_disk(self, whole: Work[T]) -> T:
        """Run a unit; on a full disk use the log from its beginning, and then the reserve, so that running sessions get to their end."""
        try:
            return await self._run(whole)
        except StoreError as error:
            if not is_full(error.__cause__):
                raise
            refused = error
        for make_room in (self._fold_log_now, self._give_up_reserve):
            try:
                await self._run(make_room)
                return await self._run(whole)
            except StoreError as error:
                if not is_full(error.__cause__):
                    raise
                refused = error
        raise refused

    def _give_up_reserve(self, db: sqlite3.Connection) -> None:
        if self.room.give_up_reserve():
            self.last_trouble = self.refusal
            self._fold_log_now(db)

    async def aclose(self) -> None:
        """Wait for what is under way and close the file; the log is folded into it."""
        if self._checkpoint is not None:
            await self._checkpoint
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):  # what was promised is in the log; a full disk only keeps the log from being folded in
                await connection.close()
        if self._wal is not None:
            self._wal.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    async def _run(self, work: Work[T]) -> T:
        if self._connection is None:
            raise StoreError(f"{self.path} is closed.")
        self.calls_out += 1
        try:
            return await self._connection.run(work)
        except sqlite3.Error as error:
            raise _explained(error, self.path) from error
        except (ValueError, OverflowError) as error:
            raise StoreError(f"{self.path}: a value cannot be written: {error}. This is a defect of the software; report it.") from error
        finally:
            self.calls_out -= 1

    async def scrub(self, *, whole: bool) -> bool:
        """Empty the log into the file, so that erased data is in neither; `whole`: write the file anew before. Raises StoreError.

        False: another program reads the file, and the log keeps its old pages until that ends.
        """
        if self._checkpoint is not None:
            await self._checkpoint
        return await self._run(lambda db: self._scrub_now(db, whole=whole))

    def _scrub_now(self, db: sqlite3.Connection, *, whole: bool) -> bool:
        if whole:
            db.execute("VACUUM")
            if self._wal is not None:
                with suppress(OSError):
                    self.counters.log_bytes += self._wal.measure()[0]
        db.execute(f"PRAGMA busy_timeout = {SCRUB_WAIT_MS}")
        try:
            is_busy = bool(db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
        finally:
            db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        self.counters.checkpoints += 1
        self.counters.syncs += 2
        if self._wal is not None:
            self.counters.checkpoint_bytes += self._wal.folded()
        return not is_busy

    def _whole(self, db: sqlite3.Connection, work: Work[T]) -> T:
        begun = time.perf_counter()
        db.execute("BEGIN IMMEDIATE")
        try:
            result = work(db)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # after some failures SQLite has rolled back by itself
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
            raise
        if self._wal is not None:
            written, is_new_log = 0, False
            with suppress(OSError):  # the unit is done: counting it must not make it look failed
                written, is_new_log = self._wal.measure()
            if written:
                self.counters.commits += 1
                self.counters.syncs += 2 if is_new_log else 1
                self.counters.log_bytes += written
                self.counters.flash_bytes += (-(-written // BLOCK_BYTES) + 1) * BLOCK_BYTES
                self.used_bytes = _used(db)
                self.counters.slowest_ms = max(self.counters.slowest_ms, (time.perf_counter() - begun) * 1000)
        return result

    def _checkpoint_when_due(self) -> None:
        """Fold the log into the file after the commit was reported, so that nothing waits for it."""
        due = SHORT_LOG_BYTES if self.room.is_full else CHECKPOINT_LOG_BYTES
        if self._checkpoint is None and self._wal is not None and self._wal.log_bytes >= due:
            self._checkpoint = asyncio.get_running_loop().create_task(self._fold_log())

    async def _fold_log(self) -> None:
        try:
            # A failure costs nothing but the log's length: it is tried again after the next commit, and `unit` tells of a full disk.
            with suppress(StoreError):
                await self._run(self._fold_log_now)
        finally:
            self._checkpoint = None

    def _fold_log_now(self, db: sqlite3.Connection) -> None:
        db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        self.counters.checkpoints += 1
        self.counters.syncs += 2  # the log, then the file
        if self._wal is not None:
            folded = self._wal.folded()
            self.counters.checkpoint_bytes += folded
            self.counters.flash_bytes += (folded // PAGE_BYTES + 2) * BLOCK_BYTES  # at worst no two pages are in one block

    async def _connect(self) -> None:
        opened = _Opened()
        opening = self._opening
        self.calls_out += 1
        try:
            connection = await _start(lambda: _open_file(opening, opened, self.room))
        except sqlite3.Error as error:
            raise _explained(error, opening.path) from error
        except OSError as error:
            raise StoreError(
                f"{opening.path} cannot be opened: {error.strerror or error}. Check that its directory exists, is mounted for writing and "
                "belongs to the user of the service."
            ) from error
        finally:
            self.calls_out -= 1
        self._connection, self._lock, self.is_durable = connection, opened.lock, True
        self.remarks.extend(opened.remarks)
        self.used_bytes = opened.used_bytes
        self._wal = WalMeter(beside(opening.path, "-wal"), opened.page_bytes)
        with suppress(OSError):
            self._wal.measure()

    async def _reconnect(self) -> None:
        image = self._connection
        await self._connect()
        self.remarks.append(f"{self.path} can be written again.")
        if image is not None:
            await image.close()


async def _start(connector: Callable[[], sqlite3.Connection]) -> _Connection:
    """Start a thread whose first work is to connect. When that fails, the thread has ended before the error is raised."""
    failures: list[Exception] = []

    def guarded() -> sqlite3.Connection:
        try:
            return connector()
        except Exception as error:  # noqa: BLE001 - raised on the loop below
            failures.append(error)
            return sqlite3.connect(":memory:")

    connection = cast("_Connection", await _Connection(guarded))
    if failures:
        await connection.close()
        raise failures[0]
    return connection


_REFUSALS: Final = frozenset(
    (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY)
)


def _is_refused_by_the_disk(cause: BaseException | None) -> bool:
    """Whether another moment may bring a better answer, so that the service can go on without the disk."""
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF in _REFUSALS
    return isinstance(cause, OSError)


def is_full(error: BaseException | None) -> bool:
    """Whether SQLite found no room on the disk, or within the file's own bound."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


def _explained(error: sqlite3.Error, path: Path) -> StoreError:
    """Say what failed and what the technician can do."""
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_FULL:
            cure = (
                f"The disk is full: free space on the file system of {path.parent}, or raise [store] max_bytes where that is reached. "
                "What was confirmed is safe; writing is tried again."
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            cure = (
                f"The file or its directory cannot be written: check with `mount` that {path.parent} is not read-only (Linux mounts it so "
                "after an error of the flash) and that it belongs to the user of the service."
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            cure = "The file is damaged: restart the service; it moves the file aside, keeps what can be read, and goes on with a new one."
        case sqlite3.SQLITE_IOERR:
            cure = "The disk does not answer as it should: look for errors of the flash with `dmesg`; replace it if they come again."
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            cure = "Another program holds the file: end it (`fuser -v` shows which one)."
        case _:
            cure = "This is a defect of the software; report it."
    name = getattr(error, "sqlite_errorname", "SQLITE_ERROR")
    return StoreError(f"{path}: {error} ({name}). {cure}")


# --------------------------------------------------------------------------------------------------- on the connection's thread


def _open_file(opening: Opening, opened: _Opened, room: Room) -> sqlite3.Connection:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old: the store needs {'.'.join(map(str, OLDEST_SQLITE))} or newer.")
    path = opening.path
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    opened.lock = _lock(path)
    try:
        room.look()  # a reserve from before gives room for the salvage or the migration that may follow
        db = _open_locked(opening, opened)
        opened.used_bytes = _used(db)
        beside(path, SUSPECT_SUFFIX).unlink(missing_ok=True)  # it was looked at, or taken over
        gone = room.fit(opened.used_bytes)
        if gone:
            opened.remarks.append(f"{path.parent}: to keep within [store] max_bytes = {room.max_bytes}, {', '.join(gone)} had to go.")
        db.execute(f"PRAGMA max_page_count = {max(1, room.file_bytes // opened.page_bytes)}")
    except BaseException:
        os.close(opened.lock)
        raise
    return db


def _open_locked(opening: Opening, opened: _Opened) -> sqlite3.Connection:
    path, rescued = opening.path, beside(opening.path, ".salvaged")
    _clear_the_way(opening, opened)
    if not path.exists():
        if rescued.exists():  # the power went between the last two steps below
            _move_log_aside(path, _newest_aside(path, opening.stamp))
            rescued.rename(path)
        else:
            _create(path)
        _sync_directory(path.parent)
    try:
        return _open_sound(path, opening, opened)
    except Damaged as damage:
        # The new file is complete before the damaged one loses its name, so a cut at any point starts over or goes on.
        remove_with_log(rescued)
        _create(rescued)
        with closing(_open_sound(rescued, opening, None)) as db:
            try:
                result = opening.salvage(path, db)
            except (sqlite3.Error, ValueError, TypeError, KeyError) as error:  # a bug of ours, on data that nobody has seen before
                if is_full(error):
                    raise
                if db.in_transaction:
                    db.execute("COMMIT")
                result = f"Not everything could be looked at ({error}): keep the old file for the maker."
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()  # a close would not tell that it failed, and only the file is renamed
        aside = _move_aside(path, opening.stamp)
        rescued.rename(path)
        _sync_directory(path.parent)
        _forget_oldest_aside(path)
        opened.remarks.append(f"{path} was damaged ({damage}); it was moved to {aside} and a new one was begun. {result}")
        return _open_sound(path, opening, opened)


def _used(db: sqlite3.Connection) -> int:
    count, free, page = (int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "freelist_count", "page_size"))
    return (count - free) * page


def _lock(path: Path) -> int:
    """Keep a second daemon away from the directory. The lock ends with the process, however it ends."""
    handle = os.open(beside(path, ".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise StoreError(
            f"{path} is in use by another charger-agent (`fuser -v {path}` shows which); end it, or set [store] directory to another one."
        ) from None
    return handle


def _create(path: Path) -> None:
    """Make an empty file that only its owner may read: tokens and passwords are in there, and SQLite gives its log the same rights."""
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))


def _clear_the_way(opening: Opening, opened: _Opened) -> None:
    """Move away what bears the name of the file or of its log and is none: nobody is there who could do it."""
    for suffix in ("", "-wal", "-shm"):
        path = beside(opening.path, suffix)
        if path.exists() and not path.is_file():
            aside = _free_name(opening.path, f".corrupt-{opening.stamp}{suffix}")
            path.rename(aside)
            _sync_directory(path.parent)
            opened.remarks.append(f"{path} was no file; it was moved to {aside}.")


def connect(database: str | Path, *, uri: bool = False) -> sqlite3.Connection:
    """Connect without Python's own idea of transactions. Text that is not UTF-8 becomes surrogates, which no codec takes for good."""
    db = sqlite3.connect(database, isolation_level=None, uri=uri)
    db.text_factory = _text
    return db


def _text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")


def _open_sound(path: Path, opening: Opening, opened: _Opened | None) -> sqlite3.Connection:
    db = connect(path)
    try:
        try:
            db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
            try:
                version = _checked_version(db, opening)
                _configure(db, path)
                if version:
                    _check(db, is_thorough=beside(path, SUSPECT_SUFFIX).exists())
                if opened is not None:
                    _compare_with_map(path, db, version)
            except (sqlite3.Error, UnicodeDecodeError) as error:  # the second is Python's, for a message that quotes damaged text
                if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) == sqlite3.SQLITE_ERROR:
                    raise Damaged(f"its table of contents cannot be understood: {error}") from error
                raise
            _migrate(db, opening, version, opened)
            if opened is not None:
                opened.page_bytes = db.execute("PRAGMA page_size").fetchone()[0]
                with suppress(OSError):  # it is needed on a bad day only, and a full disk is told by the next unit
                    _keep_map(path, db)
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
                raise Damaged(str(error)) from error
            raise
    except BaseException:
        db.close()
        raise
    return db


def read_map(path: Path) -> dict[str, Any] | None:
    """What `_keep_map` wrote; None where that cannot be read."""
    with suppress(OSError, ValueError):
        found = json.loads(unsealed(beside(path, MAP_SUFFIX).read_text(encoding="utf-8")))
        return found if isinstance(found, dict) else None
    return None


def _compare_with_map(path: Path, db: sqlite3.Connection, version: int) -> None:
    """Raise Damaged where the words that make a table have changed since they were written down: its columns do not show every change."""
    kept = read_map(path)
    if kept is None or kept.get("user_version") != version:
        return
    now = {name: sql for name, sql in db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'")}  # noqa: C416
    for kind, name, _, _, sql in kept.get("tables", ()):
        if kind == "table" and now.get(name) != sql:  # an index may be a technician's; a trigger that is gone stops no commit
            raise Damaged(f"the words that make {name} have changed")


def _keep_map(path: Path, db: sqlite3.Connection) -> None:
    """Write down where each table begins, when that changed: with the next migration at the earliest."""
    tables = [list(row) for row in db.execute("SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master")]
    header = {name: db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "user_version", "application_id")}
    text = sealed(json.dumps({**header, "tables": tables}).encode())
    kept = beside(path, MAP_SUFFIX)
    with suppress(OSError, ValueError):
        if kept.read_text(encoding="utf-8") == text:
            return
    partial = beside(kept, ".part")
    _create(partial)
    partial.write_text(text, encoding="utf-8")
    _sync_file(partial)
    partial.rename(kept)
    _sync_directory(kept.parent)


def _check(db: sqlite3.Connection, *, is_thorough: bool = False) -> None:
    """Raise Damaged. The quick check reads every page, the thorough one compares each index with its table as well."""
    verdict = db.execute("PRAGMA integrity_check(1)" if is_thorough else "PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise Damaged(str(verdict).replace("\n", " "))


def _open_image(opening: Opening) -> sqlite3.Connection:
    """Copy what can be read of the file into memory, where the file cannot be opened for writing."""
    memory = connect(":memory:")
    try:
        version = _copy_file(opening, memory)
        try:
            if version >= 0:
                _check(memory)
        except (Damaged, sqlite3.DatabaseError):
            memory.close()
            memory, version = connect(":memory:"), -1
        _migrate(memory, opening, max(0, version), None)
        if version < 0:
            opening.salvage(opening.path, memory)
    except BaseException:
        memory.close()
        raise
    return memory


def _copy_file(opening: Opening, memory: sqlite3.Connection) -> int:
    """Copy the file page by page; gives its schema version, 0 where there is nothing to copy, -1 where it is no sound database."""
    for mode in ("?mode=ro", "?mode=ro&immutable=1"):  # the second needs no shared memory file beside it
        try:
            with closing(connect(opening.path.absolute().as_uri() + mode, uri=True)) as db:
                version = _checked_version(db, opening)
                db.backup(memory)
                return version
        except Damaged:
            return -1
        except sqlite3.Error:
            continue
    return 0


def _configure(db: sqlite3.Connection, path: Path) -> None:
    db.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # has an effect on an empty file only
    mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreError(
            f"{path}: this file system does not support SQLite's write-ahead log (mode {mode!r}); use ext4, f2fs or another local one."
        )
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("PRAGMA secure_delete = ON")  # erased personal data must be gone from the file; most builds do it anyway
    db.execute("PRAGMA wal_autocheckpoint = 0")  # it would be done inside the commit that everything waits for
    db.execute(f"PRAGMA journal_size_limit = {2 * CHECKPOINT_LOG_BYTES}")
    db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    db.execute("PRAGMA temp_store = MEMORY")


def _checked_version(db: sqlite3.Connection, opening: Opening) -> int:
    """Read the schema version of the file, 0 when it is empty.

    Raises Damaged when the header contradicts the tables: a bit that flipped in it must not look like a newer version, which would keep
    the charger from starting. Raises StoreError for a file that a newer version wrote.
    """
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    application = db.execute("PRAGMA application_id").fetchone()[0]
    found = _shape(db)
    if not found and application == 0:
        return 0
    if application != APPLICATION_ID:
        raise Damaged(f"its header names another program, {application:#010x}")
    known = _known_shapes(opening.migrations)
    newest = len(known) - 1
    if version > newest and found in known:
        raise Damaged(f"its header says schema {version}, its tables are those of schema {known.index(found)}")
    if version <= newest and (version <= 0 or any(found.get(name) != columns for name, columns in known[version].items())):
        raise Damaged(f"its header says schema {version}, its tables are others")
    if 0 < version < newest and found != known[version]:
        raise Damaged(f"its header says schema {version}, it has more tables than that")
    if version > newest:
        raise StoreError(
            f"{opening.path} has schema {version}, this software knows up to {newest}: it was written by a newer version. Install that one "
            f"again, or stop the service and put the copy {opening.path.name}.schema-* of the older schema in its place (what was recorded "
            "since is in the newer file: keep it)."
        )
    return version


Shape = dict[str, tuple[str, ...]]


def _shape(db: sqlite3.Connection) -> Shape:
    """Tables and their columns. Every migration changes them, and nothing else does."""
    names = [
        name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")
    ]
    return {name: columns_of(db, name) for name in names}


def columns_of(db: sqlite3.Connection, table: str) -> tuple[str, ...]:
    """Give the columns of a table in their order; empty where it is not there."""
    return tuple(row[1] for row in db.execute("SELECT * FROM pragma_table_info(?)", (table,)))


def _known_shapes(folder: Path) -> list[Shape]:
    """Give the shape of each schema that this software knows, 0 first: the empty one."""
    shapes: list[Shape] = [{}]
    with closing(connect(":memory:")) as db:
        for script in _scripts(folder):
            db.executescript(script.read_text(encoding="utf-8"))
            shapes.append(_shape(db))
    return shapes


def _scripts(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*.sql"))


def _migrate(db: sqlite3.Connection, opening: Opening, version: int, opened: _Opened | None) -> None:
    """Bring the schema forward in one transaction, however many steps it takes. The old file is kept beside."""
    scripts = _scripts(opening.migrations)
    if version == len(scripts):
        return
    copy = _keep_copy(db, opening.path, version) if version and opened is not None else ""
    db.execute("BEGIN IMMEDIATE")
    try:
        for script in scripts[version:]:
            for statement in _statements(script.read_text(encoding="utf-8")):
                db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {len(scripts)}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    if copy and opened is not None:
        opened.remarks.append(f"{opening.path} was brought from schema {version} to {len(scripts)}; {copy}.")


def _keep_copy(db: sqlite3.Connection, path: Path, version: int) -> str:
    """Keep a copy of the file as it was, for the way back. Only the last one is kept. Gives what became of it."""
    kept = beside(path, f".schema-{version}")
    partial = beside(kept, ".part")
    try:
        partial.unlink(missing_ok=True)
        db.execute("VACUUM INTO ?", (str(partial),))
        _sync_file(partial)
        partial.rename(kept)
        _sync_directory(kept.parent)
    except (OSError, sqlite3.OperationalError) as error:  # sessions must go on being recorded: that is worth more than the way back
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        return f"the old one could not be kept ({error}): there is no way back to the older software without losing records"
    for other in path.parent.glob(f"{path.name}.schema-*"):
        if other != kept:
            other.unlink(missing_ok=True)
    return f"the old one is kept as {kept.name}"


def _statements(script: str) -> Iterator[str]:
    """Split a script into its statements. `executescript` would commit before it begins."""
    text = ""
    for line in script.splitlines(keepends=True):
        text += line
        if sqlite3.complete_statement(text):
            yield text
            text = ""


def _move_aside(path: Path, stamp: str) -> Path:
    """Rename the file, then its log. From the first rename on the salvaged file, which has what the log held, takes its place.

    The other way round a cut in between would leave a file without its log, to be salvaged again, or even taken for sound.
    """
    aside = _free_name(path, f".corrupt-{stamp}")
    with suppress(FileNotFoundError):
        path.rename(aside)
    _move_log_aside(path, aside)
    _sync_directory(path.parent)
    return aside


def _move_log_aside(path: Path, aside: Path) -> None:
    """Rename what SQLite keeps beside a file that has been renamed: it would play the log into the next file of that name."""
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            beside(path, suffix).rename(beside(aside, suffix))


def _newest_aside(path: Path, stamp: str) -> Path:
    """The file to which a log without one belongs."""
    found = moved_aside(path)
    return found[0] if found else _free_name(path, f".corrupt-{stamp}")


def _free_name(path: Path, suffix: str) -> Path:
    name = beside(path, suffix)
    count = 1
    while name.exists():
        count += 1
        name = beside(path, f"{suffix}-{count}")
    return name


def _forget_oldest_aside(path: Path) -> None:
    for old in moved_aside(path)[KEPT_ASIDE:]:
        remove_with_log(old)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
