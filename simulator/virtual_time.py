"""An event loop whose clock jumps: hours of heartbeats and back-off in milliseconds, with real sockets, real SQLite, real threads.

The clock stands still while anything happens, and jumps to the next timer when nothing is ready, nothing is readable and no thread is at
work. Sockets need TCP_NODELAY: what Nagle's algorithm holds back for 40 ms of real time would arrive hours later.

Work of threads that reports through the loop is counted for `run_in_executor`, `asyncio.to_thread` and aiosqlite; for anything else put
`with loop.thread_work():` around the await. What other processes do is not seen: that belongs in real time.
"""

import asyncio
import contextlib
import functools
import math
import selectors
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Executor
from typing import Any, ParamSpec, TypeVar, TypeVarTuple

P = ParamSpec("P")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")

GRACE_S = 0.001
"""Real time given to the kernel to carry bytes from one socket of this process to another, before the clock jumps."""
_STARTS_AT_S = 1000.0
_ROUNDING_S = 1e-6


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """`time()` is virtual and starts at 1000. `on_turn` is called in every round of the loop, before it looks at its sockets."""

    def __init__(self, *, grace_s: float = GRACE_S) -> None:
        """`grace_s` 0 looks at the sockets twice instead of waiting: loopback delivers within the call that sends, nearly always."""
        self._virtual_now = _STARTS_AT_S
        self._work_out = 0
        self.jumps = 0
        self.on_turn: Callable[[], None] | None = None
        super().__init__(_JumpingSelector(self, grace_s))
        self._clock_resolution = math.ulp(self._virtual_now)
        _watch_aiosqlite()

    def time(self) -> float:
        """Seconds of the virtual clock."""
        return self._virtual_now

    def jump(self, seconds: float) -> None:
        """Let time pass: to the next timer exactly, whatever a sum of floats makes of it."""
        self._virtual_now += seconds
        scheduled = self._scheduled  # type: ignore[attr-defined]
        if scheduled and 0 < scheduled[0].when() - self._virtual_now < _ROUNDING_S:
            self._virtual_now = scheduled[0].when()
        # No timer fires before its time: one that finds itself a nanosecond early sets itself again, and this clock would stand still.
        self._clock_resolution = math.ulp(self._virtual_now)
        self.jumps += 1

    @property
    def is_thread_at_work(self) -> bool:
        """Whether the result of a thread is awaited."""
        return self._work_out > 0

    @property
    def has_work(self) -> bool:
        """Whether a callback waits for its turn: `on_turn` may have made one after the loop had decided how long to wait."""
        return bool(self._ready)  # type: ignore[attr-defined]

    def waiting(self) -> str:
        """The callbacks that wait for their turn, for a report."""
        return ", ".join(map(repr, list(self._ready)[:10]))  # type: ignore[attr-defined]

    @contextlib.contextmanager
    def thread_work(self) -> Iterator[None]:
        """The clock stands still until this ends."""
        self._work_out += 1
        try:
            yield
        finally:
            self._work_out -= 1

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], R], *args: *Ts) -> asyncio.Future[R]:
        """Run in a thread, and let the clock stand still meanwhile."""
        future = super().run_in_executor(executor, func, *args)
        self._work_out += 1
        future.add_done_callback(self._work_came_back)
        return future

    def _work_came_back(self, _: object) -> None:
        self._work_out -= 1


class _JumpingSelector(selectors.BaseSelector):
    """The real selector, which instead of waiting for a timer lets the loop's clock jump to it."""

    def __init__(self, loop: VirtualTimeLoop, grace_s: float) -> None:
        self._loop = loop
        self._grace_s = grace_s
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._loop.on_turn is not None:
            self._loop.on_turn()
            if self._loop.has_work:
                timeout = 0
        events = self._real.select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        if timeout is None:  # no timer: only a socket or a thread can go on
            return self._real.select(None)
        while self._loop.is_thread_at_work:
            events = self._real.select(0.05)
            if events:
                return events
        if len(self._real.get_map()) > 1:  # more than the loop's own wake-up pipe
            events = self._look_again()
            if events:
                return events
        self._loop.jump(timeout)
        return []

    def _look_again(self) -> list[tuple[selectors.SelectorKey, int]]:
        if self._grace_s > 0:
            return self._real.select(self._grace_s)
        return self._real.select(0)

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:  # noqa: ANN401 - as in the base class
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:  # noqa: ANN401
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:  # noqa: ANN401
        return self._real.modify(fileobj, events, data)

    def close(self) -> None:
        self._real.close()

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:  # noqa: ANN401
        return self._real.get_key(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()


@functools.cache
def _watch_aiosqlite() -> None:
    """Count the calls that aiosqlite's thread works on. They pass through these methods."""
    import aiosqlite.core

    def counted(method: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        @functools.wraps(method)
        async def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            loop = asyncio.get_running_loop()
            with loop.thread_work() if isinstance(loop, VirtualTimeLoop) else contextlib.nullcontext():
                return await method(*args, **kwargs)

        return wrapper

    connection: Any = aiosqlite.core.Connection
    connection._execute = counted(connection._execute)  # noqa: SLF001 - every call to the thread passes here
    connection._connect = counted(connection._connect)  # noqa: SLF001
    connection.close = counted(connection.close)
