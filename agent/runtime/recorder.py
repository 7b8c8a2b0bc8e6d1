"""The flight recorder: the last events and what the core made of them, in memory; on disk where a replay may be wanted.

Taking an event in costs an append: values never change, so what is kept are references. They become bytes in a thread of their own: every
few minutes while a session runs (the running file), and at once when something froze them: a fault, a crash, a technician. Nothing here can
stop or delay charging: what fails is told once, and the recorder goes without it. Limits and reasons: docs/decisions/0017.
"""

import asyncio
import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, ParamSpec, Self, TypeVar

from agent.core.state import Station
from agent.domain.commands import DataTransfer, GetVariablesOutcome, SetVariables
from agent.domain.effects import Answer, Effect, Enqueue, Remark
from agent.domain.errors import AgentError
from agent.domain.events import CommandReceived, Event
from agent.domain.time import Instant
from agent.domain.values import dataclass

if TYPE_CHECKING:
    from agent.runtime.flight_file import Entry, FlightWriter, Frame

_log = logging.getLogger("agent.recorder")

BEFORE_MS: Final = 60_000
"""A frozen file begins at least so long before its cause."""
AFTER_S: Final = 10.0
"""And goes on for so long, unless the process ends."""
LEG_MS: Final = 15_000
LEG_WEIGHT: Final = 200
"""Memory is let go in legs of so much time or weight; weight 1 is about 1 KiB of JSON."""
RING_WEIGHT: Final = 2_000
"""So much is in memory at most, whatever happens how fast."""
SPILL_MS: Final = 120_000
"""While a session runs, memory goes to the running file so often: what a kill or a power cut can take from it."""
SPILL_WEIGHT: Final = 1_000
RUNNING_BYTES: Final = 256 * 1024
"""Then the running file is closed and a new one begun."""
MOST_FROZEN: Final = 8
MOST_RUNNING: Final = 4
MOST_BYTES: Final = 2 * 1024 * 1024
"""On disk altogether; the oldest goes, never the newest."""
FREE_BYTES: Final = 8 * 1024 * 1024
"""With less than this on the disk nothing is written: sessions need it."""
HOUR_S: Final = 3600.0
FREEZES_PER_HOUR: Final = 4
CRASHES_PER_HOUR: Final = 6
"""A contact that bounces must not wear the flash out, and must not keep a crash from being seen."""
CLOSE_S: Final = 1.5
MOST_JOBS: Final = 3
"""So many writes may wait for a disk that hangs; further ones are dropped."""
FRAMES: Final = 30
KEY_BYTES: Final = 16
FREEZING: Final = frozenset({"fault_raised", "contactor_refused", "meter_discontinuity", "meter_not_plausible", "cost_differs"})
"""Remarks that freeze: somebody will ask how it came to that."""
_CRASH, _BUG, _ASKED = "crash", "bug", "asked"

P = ParamSpec("P")
R = TypeVar("R")


class RecorderError(AgentError):
    """A recording cannot be written or given; the sentence says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One file. `cause` is empty for a running file; `at` is when it begins, None where nobody knew or it cannot be read."""

    name: str
    size: int
    is_frozen: bool
    cause: str = ""
    detail: str = ""
    at: Instant | None = None
    problem: str = ""


class _Leg:
    """A piece of the ring."""

    __slots__ = ("begun_ms", "entries", "has_session", "is_spilled", "weight")

    def __init__(self, begun_ms: int) -> None:
        self.begun_ms = begun_ms
        self.entries: list[Entry] = []
        self.weight = 0
        self.has_session = False
        self.is_spilled = False


class Recorder:
    """`decided` and `failed` belong to the engine's hooks. `async with` ends it: what is wanted of the memory is written then.

    `secrets` never appear in a file. `frames` gives the last OCPP frames, masked. Everything but the writing happens in the loop's thread.
    """

    def __init__(self, directory: Path, *, secrets: tuple[str, ...] = (), frames: "Callable[[], Sequence[Frame]]" = tuple) -> None:
        self._frames = frames
        self._files = _Files(directory, secrets)
        self._thread = _DaemonThread()
        self._leg = _Leg(0)
        self._closed: deque[_Leg] = deque()
        self._session_wanted = False
        self._pending: tuple[str, str] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._jobs: set[asyncio.Future[object]] = set()
        self._has_left = False
        self.dropped = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Write what is wanted, within a bounded time: whatever ended the process, its end does not wait for a disk that hangs."""
        self._has_left = True
        if self._timer is not None:
            self._timer.cancel()
        crash = _crash_in(error)
        try:
            if crash is not None:
                self._pending = (_CRASH, f"{type(crash).__name__}: {crash}")
            if self._pending is not None:
                self._write_frozen()
            elif self._session_wanted or self._leg.has_session:
                self._spill(is_last=True)
            async with asyncio.timeout(CLOSE_S):
                await asyncio.gather(*self._jobs, return_exceptions=True)
        except TimeoutError:
            _log.warning("the flight recorder's disk did not answer in %g s; the end of the recording is lost", CLOSE_S)
        except Exception:  # noqa: BLE001 - the recorder must not hide what ended the process, nor keep the rest from being closed
            _log.exception("the flight recorder could not be closed")
        finally:
            self._thread.shutdown(wait=False)

    # --- taking in

    def decided(self, event: Event, at: Instant, before: Station, after: Station, effects: tuple[Effect, ...]) -> None:
        """Keep an event that the core has decided about, once what removes energy was carried out."""
        leg = self._leg
        leg.entries.append((event, at, before, after, effects, ""))
        leg.weight += 1
        if effects or type(event) is CommandReceived or before.cache is not after.cache or before.variables is not after.variables:
            leg.weight += _extra_weight(event, before, after, effects)
            for effect in effects:
                if type(effect) is Enqueue:
                    leg.has_session = True
                elif type(effect) is Remark and effect.name in FREEZING:
                    self.freeze(effect.name, effect.detail)
        if leg.weight >= LEG_WEIGHT or at.mono_ms - leg.begun_ms >= LEG_MS:
            self._turn(at.mono_ms, after)

    def failed(self, event: Event, at: Instant, station: Station, error: Exception) -> None:
        """Keep an event that met a bug of ours: the state is as before."""
        said = f"{type(error).__name__}: {error}"
        self._leg.entries.append((event, at, station, station, (), said))
        self._leg.weight += 1
        self.freeze(_BUG, f"{type(event).__name__} met {said}")

    def freeze(self, cause: str, detail: str = "") -> None:
        """Write everything in memory to a file that stays, in `AFTER_S`; a second cause meanwhile is in the same file."""
        if self._pending is None and not self._has_left:
            self._pending = (cause, detail)
            self._timer = asyncio.get_running_loop().call_later(AFTER_S, self._write_frozen)

    async def freeze_now(self, detail: str = "") -> str:
        """Freeze for a technician, without waiting for what comes after; gives the file's name. Raises RecorderError."""
        if not self._entries():
            raise RecorderError("nothing has happened since the start: there is nothing to freeze")
        return await self._in_thread(self._files.write_frozen, self._entries(), _ASKED, detail, self._frames())

    def _turn(self, now_ms: int, station: Station) -> None:
        """Close a leg: let go of what nobody wants any more, and bring a session to disk from time to time."""
        leg = self._leg
        leg.has_session = leg.has_session or any(evse.has_transaction for evse in station.evses)
        self._closed.append(leg)
        self._leg = _Leg(now_ms)
        self._session_wanted = self._session_wanted or leg.has_session
        if self._session_wanted:
            waiting = [one for one in self._closed if not one.is_spilled]
            heavy = sum(one.weight for one in waiting) >= SPILL_WEIGHT
            if heavy or not leg.has_session or now_ms - waiting[0].begun_ms >= SPILL_MS:
                self._spill(is_last=not leg.has_session)
        weight = sum(one.weight for one in self._closed)
        if weight > RING_WEIGHT and self._pending is not None:
            self._write_frozen()  # what led to it would be pushed out before its time
        while self._closed and (weight > RING_WEIGHT or self._is_over(now_ms)):
            weight -= self._closed.popleft().weight

    def _is_over(self, now_ms: int) -> bool:
        oldest = self._closed[0]
        following = self._closed[1] if len(self._closed) > 1 else self._leg
        is_old = now_ms - following.begun_ms > BEFORE_MS + AFTER_S * 1000
        return is_old and (oldest.is_spilled or not self._session_wanted)

    def _entries(self) -> "list[Entry]":
        return [entry for leg in (*self._closed, self._leg) for entry in leg.entries]

    # --- writing

    def _spill(self, *, is_last: bool) -> None:
        waiting = [leg for leg in self._closed if not leg.is_spilled]
        if self._has_left:
            waiting.append(self._leg)
        entries = [entry for leg in waiting for entry in leg.entries]
        for leg in waiting:
            leg.is_spilled = True
        if is_last:
            self._session_wanted = False
        if entries:
            self._start(self._files.append, entries, is_last)

    def _write_frozen(self) -> None:
        pending, self._pending, self._timer = self._pending, None, None
        entries = self._entries()
        if pending is None or not entries:
            return
        self._start(self._files.write_frozen, entries, pending[0], pending[1], self._frames())

    def _start(self, work: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        if len(self._jobs) >= MOST_JOBS and not self._has_left:
            self.dropped += 1
            return
        job = asyncio.ensure_future(self._in_thread(work, *args, **kwargs))
        self._jobs.add(job)
        job.add_done_callback(self._ended)

    def _ended(self, job: "asyncio.Future[object]") -> None:
        self._jobs.discard(job)
        if job.cancelled():
            return
        error = job.exception()
        if isinstance(error, RecorderError):
            _log.warning("%s", error)
        elif error is not None:
            _log.error("the flight recorder failed", exc_info=error)

    async def _in_thread(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(*args, **kwargs))

    # --- what the technician asks

    @property
    def written_bytes(self) -> int:
        """Bytes written since the start."""
        return self._files.written_bytes

    @property
    def directory(self) -> Path:
        """Where the files are."""
        return self._files.directory

    async def recordings(self) -> tuple[Recording, ...]:
        """What is on disk, the oldest first. Raises RecorderError."""
        return await self._in_thread(self._files.listing)

    async def read(self, name: str, offset: int, most: int) -> tuple[bytes, int]:
        """A piece of a file, and the file's size. Raises RecorderError."""
        return await self._in_thread(self._files.read, name, offset, most)


class _Files:
    """The directory. Everything here runs in the recorder's thread and may wait for the disk."""

    def __init__(self, directory: Path, secrets: tuple[str, ...]) -> None:
        self.directory = directory
        self.written_bytes = 0
        self._secrets = secrets
        self._running: FlightWriter | None = None
        self._running_path = directory
        self._moments: list[float] | None = None

    def append(self, entries: "Sequence[Entry]", is_last: bool) -> None:
        """Add to the running file. Raises RecorderError."""
        from agent.runtime.flight_file import FlightWriter

        try:
            if self._running is None:
                self._running = FlightWriter(entries[0], key=os.urandom(KEY_BYTES), secrets=self._secrets)
                self._running_path = self._next_path("flight")
            data = self._running.block(entries)
            self._make_room(len(data))
            with self._running_path.open("ab") as file:
                file.write(data)
                size = file.tell()
            self.written_bytes += len(data)
            if is_last or size >= RUNNING_BYTES:
                self._running = None
        except OSError as error:
            self._running = None  # whatever was half written ends its file
            raise RecorderError(f"flight recorder: {self._running_path}: {error.strerror or error}; this part is not recorded") from error

    def write_frozen(self, entries: "Sequence[Entry]", cause: str, detail: str, frames: "Sequence[Frame]") -> str:
        """Write a frozen file, whole or not at all, and give its name. Raises RecorderError."""
        from agent.runtime.flight_file import FlightWriter

        if not self._may_freeze(cause):
            raise RecorderError(f"flight recorder: {cause} is not kept: {FREEZES_PER_HOUR} recordings were frozen within the hour")
        try:
            path = self._next_path("frozen", cause)
            writer = FlightWriter(entries[0], key=os.urandom(KEY_BYTES), secrets=self._secrets, cause=cause, detail=detail)
            data = writer.block(entries, end=entries[-1][3], frames=frames)
            self._make_room(len(data))
            unfinished = path.with_suffix(".part")
            with unfinished.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            unfinished.rename(path)
            _sync_directory(self.directory)
        except OSError as error:
            raise RecorderError(f"flight recorder: {self.directory}: {error.strerror or error}; {cause} is not kept") from error
        self.written_bytes += len(data)
        _log.info("flight recording frozen name=%s cause=%s bytes=%d", path.name, cause, len(data))
        return path.name

    def listing(self) -> tuple[Recording, ...]:
        """What there is, the oldest first. Raises RecorderError."""
        from agent.runtime.flight_codec import UnreadableError
        from agent.runtime.flight_file import read_head

        found = []
        for path in self._paths():
            is_frozen = path.name.startswith("frozen")
            try:
                size = path.stat().st_size
                head = read_head(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise RecorderError(f"flight recorder: {path}: {error.strerror or error}") from error
            except UnreadableError as error:
                found.append(Recording(name=path.name, size=size, is_frozen=is_frozen, problem=str(error)))
            else:
                found.append(Recording(name=path.name, size=size, is_frozen=is_frozen, cause=head.cause, detail=head.detail, at=head.base))
        return tuple(found)

    def read(self, name: str, offset: int, most: int) -> tuple[bytes, int]:
        """A piece of a file, and the file's size. Raises RecorderError."""
        path = next((path for path in self._paths() if path.name == name), None)
        if path is None:
            raise RecorderError(f"there is no recording {name[:60]!r}; chargerctl recorder lists them")
        try:
            with path.open("rb") as file:
                file.seek(offset)
                return file.read(most), path.stat().st_size
        except OSError as error:
            raise RecorderError(f"flight recorder: {path}: {error.strerror or error}") from error

    def _paths(self) -> list[Path]:
        from agent.runtime.flight_file import SUFFIX

        return sorted(self.directory.glob(f"*-[0-9]*{SUFFIX}"), key=_number)

    def _next_path(self, kind: str, cause: str = "") -> Path:
        from agent.runtime.flight_file import SUFFIX

        self.directory.mkdir(parents=True, exist_ok=True)
        for left in self.directory.glob("*.part"):
            left.unlink(missing_ok=True)
        paths = self._paths()
        number = _number(paths[-1]) + 1 if paths else 1
        return self.directory / f"{kind}-{number:04d}{'-' + cause if cause else ''}{SUFFIX}"

    def _make_room(self, size: int) -> None:
        """Remove the oldest where there are too many or they are too large. Raises OSError where the disk is nearly full."""
        free = os.statvfs(self.directory)
        if free.f_bavail * free.f_frsize < FREE_BYTES + size:
            raise OSError(28, f"less than {FREE_BYTES // 1024} KiB are free")
        paths = self._paths()
        frozen = [path for path in paths if path.name.startswith("frozen")]
        running = [path for path in paths if not path.name.startswith("frozen")]
        sizes = {path: path.stat().st_size for path in paths}
        while len(running) > 1 and (len(running) > MOST_RUNNING or sum(sizes.values()) + size > MOST_BYTES):
            _remove(running, running[0], sizes)
        while len(frozen) > 1 and (len(frozen) >= MOST_FROZEN or sum(sizes.values()) + size > MOST_BYTES):
            _remove(frozen, _least_wanted(frozen), sizes)

    def _may_freeze(self, cause: str) -> bool:
        """Whether the hour's share is not used up. The runs before count: a daemon may crash at every start."""
        if cause == _ASKED:
            return True
        now = time.monotonic()
        if self._moments is None:
            frozen = (path for path in self._paths() if path.name.startswith("frozen") and _ASKED not in path.name)
            ages = (time.time() - path.stat().st_mtime for path in frozen)
            self._moments = [now - age for age in ages if 0 <= age < HOUR_S]
        self._moments = [moment for moment in self._moments if now - moment < HOUR_S]
        if len(self._moments) >= (CRASHES_PER_HOUR if cause == _CRASH else FREEZES_PER_HOUR):
            return False
        self._moments.append(now)
        return True


class _DaemonThread(Executor):
    """One thread that works in order, begins when it is needed, and never holds up the end of the process."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._is_begun = False

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> "Future[R]":
        """Put work behind what waits."""
        future: Future[R] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - it belongs to who waits for the future
                future.set_exception(error)
            else:
                future.set_result(result)

        self._work.put(work)
        if not self._is_begun:
            self._is_begun = True
            threading.Thread(target=self._run, name="flight-recorder", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End after the work that waits."""
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()


def _sync_directory(directory: Path) -> None:
    """Let the name of a new file survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(paths: list[Path], path: Path, sizes: dict[Path, int]) -> None:
    path.unlink(missing_ok=True)
    paths.remove(path)
    del sizes[path]


def _extra_weight(event: Event, before: Station, after: Station, effects: tuple[Effect, ...]) -> int:
    weight = len(effects)
    if isinstance(event, CommandReceived):
        match event.command:
            case SetVariables(assignments=assignments):
                weight += sum(len(assignment.value) for assignment in assignments) // 1024 + len(assignments) // 4
            case DataTransfer(data=str() as data):
                weight += len(data) // 1024
            case _:
                pass
    for effect in effects:
        if isinstance(effect, Answer) and isinstance(effect.outcome, GetVariablesOutcome):
            weight += len(effect.outcome.results) // 4
        elif isinstance(effect, Enqueue):
            weight += len(effect.notice.meter_values) // 4
    if before.cache is not after.cache:
        weight += len(after.cache) // 8
    if before.variables is not after.variables:
        weight += len(after.variables.values) // 8
    return weight


def _crash_in(error: BaseException | None) -> Exception | None:
    """The bug that ended the application, None where it was no bug: told to go, or the outside failed."""
    if isinstance(error, BaseExceptionGroup):
        return next((bug for part in error.exceptions if (bug := _crash_in(part)) is not None), None)
    return error if isinstance(error, Exception) and not isinstance(error, AgentError) else None


def _number(path: Path) -> int:
    digits = path.name.split("-")[1].split(".")[0]
    return int(digits) if digits.isdigit() else 0


def _least_wanted(frozen: Sequence[Path]) -> Path:
    """The oldest of the cause that there is most of: a bouncing contact pushes out itself, not the one crash. Never the newest file."""
    causes = [path.name.partition("-")[2].partition("-")[2] for path in frozen]
    most = max(causes, key=causes.count)
    return next((path for path, cause in zip(frozen[:-1], causes[:-1], strict=True) if cause == most), frozen[0])
