"""How much room the store has: its files, its bound, and a reserve on the disk for the sessions that run when it becomes full.

Of `max_bytes` a part is the log's, a part the reserve's, the rest the file's. The last sixteenth is for running sessions: above it no new
one begins. One sixteenth earlier old delivered sessions are forgotten and values are thinned.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

MIB: Final = 1024 * 1024
DEFAULT_MAX_BYTES: Final = 64 * MIB
LEAST_MAX_BYTES: Final = 24 * MIB
LOG_BYTES: Final = 4 * MIB
"""The log is folded into the file when it has half of it."""
RESERVE_BYTES: Final = MIB
"""Some hundred messages and as many commits: hours of a running session at 60 s values."""
LOW_BYTES: Final = MIB // 4
"""With less than this free only the reserve is left. It is over when there is four times as much."""
_SHARE: Final = 16
_PIECE: Final = 64 * 1024


def beside(path: Path, suffix: str) -> Path:
    """Give the name of a file that belongs to another one."""
    return path.with_name(path.name + suffix)


def remove_with_log(path: Path) -> None:
    """Remove a database and what SQLite keeps beside it."""
    for suffix in ("-wal", "-shm", ""):
        beside(path, suffix).unlink(missing_ok=True)


def size(path: Path) -> int:
    """Give the size of a file, 0 where there is none. It is looked at, never opened: closing it would drop SQLite's locks."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def moved_aside(path: Path) -> list[Path]:
    """Damaged files that were moved aside, the newest first. Their logs are not in the list, directories neither."""
    found = [each for each in path.parent.glob(f"{path.name}.corrupt-*") if not each.name.endswith(("-wal", "-shm")) and each.is_file()]
    return sorted(found, key=lambda each: (each.stat().st_ctime_ns, each.name), reverse=True)  # the rename sets it


class Room:
    """The bound of one database. What touches the disk is called on the database's thread."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self.max_bytes = max_bytes
        self.kept_bytes = 0
        """What damaged files and the copy of the older schema take."""
        self.has_reserve = False
        self.free_bytes: int | None = None
        self.is_read_only = False
        self._was_looked_at = False
        self._is_low = False

    @property
    def is_full(self) -> bool:
        """Whether what is left of the disk is for running sessions."""
        return self._was_looked_at and (self._is_low or not self.has_reserve)

    @property
    def file_bytes(self) -> int:
        """What the file may have at most."""
        return self.max_bytes - LOG_BYTES - RESERVE_BYTES - self.kept_bytes

    @property
    def reserve_bytes(self) -> int:
        """Size of the reserve on the disk now."""
        return RESERVE_BYTES if self.has_reserve else 0

    def wants_less(self, used_bytes: int) -> bool:
        """Whether something should be forgotten so that sessions have room."""
        return used_bytes > self.file_bytes - 2 * (self.max_bytes // _SHARE)

    def refusal(self, used_bytes: int) -> str:
        """Why no new session may begin although records can be written, and the cure; empty where one may."""
        if not self._was_looked_at:
            return ""
        if self.is_read_only:
            return (
                f"{self._path.parent} is mounted read-only, as Linux does after an error of the flash: look at `dmesg`, then remount it or "
                "replace the card."
            )
        if self.is_full:
            return (
                f"The disk is full, what is left of it is for the sessions that run: free space on the file system of {self._path.parent} "
                f"({2 * RESERVE_BYTES // MIB} MiB at least)."
            )
        if used_bytes > self.file_bytes - self.max_bytes // _SHARE:
            return (
                f"The store has reached its bound of {self.max_bytes} bytes, mostly with messages that wait for the portal; what is left "
                "is for the sessions that run. Bring the portal back (`chargerctl status`), or raise [store] max_bytes."
            )
        return ""

    def fit(self, used_bytes: int) -> list[str]:
        """Let old damaged files, the oldest first, and then the copy of the older schema go until the file has room. Gives what went."""
        gone: list[str] = []
        candidates = [*reversed(moved_aside(self._path)), *self._path.parent.glob(f"{self._path.name}.schema-*")]
        self.kept_bytes = sum(size(each) + size(beside(each, "-wal")) for each in candidates)
        for each in candidates:
            if not self.wants_less(used_bytes):
                break
            self.kept_bytes -= size(each) + size(beside(each, "-wal"))
            with suppress(OSError):
                remove_with_log(each)
                gone.append(each.name)
        return gone

    def look(self) -> None:
        """See how the disk is, and keep the reserve where there is room for it. Writes only then."""
        with suppress(OSError):
            found = os.statvfs(self._path.parent)
            self.free_bytes = found.f_bavail * found.f_frsize
            self.is_read_only = bool(found.f_flag & os.ST_RDONLY)
            self._is_low = self.free_bytes < (4 * LOW_BYTES if self._is_low else LOW_BYTES)
        reserve = beside(self._path, ".reserve")
        self.has_reserve = size(reserve) >= RESERVE_BYTES
        if not self.has_reserve and not self.is_read_only and (self.free_bytes or 0) >= 2 * RESERVE_BYTES:
            with suppress(OSError):
                _fill(reserve)
                self.has_reserve = True
        self._was_looked_at = True

    def give_up_reserve(self) -> bool:
        """Give the reserve back to the disk. False where there is none."""
        self._is_low = True
        reserve = beside(self._path, ".reserve")
        if not size(reserve):
            self.has_reserve = False
            return False
        with suppress(OSError):
            reserve.unlink()
        self.has_reserve = False
        return True


def _fill(reserve: Path) -> None:
    handle = os.open(reserve, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        try:
            os.posix_fallocate(handle, 0, RESERVE_BYTES)
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}:
                raise
            for _ in range(RESERVE_BYTES // _PIECE):  # ubifs and others cannot; musl, unlike glibc, does not do it for them
                os.write(handle, os.urandom(_PIECE))  # what a file system cannot compress
        os.fsync(handle)
    except OSError:
        reserve.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)
