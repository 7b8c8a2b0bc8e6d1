"""An event loop whose clock jumps: hours of heartbeats and back-off in milliseconds, with real sockets, real SQLite, real threads.

The clock stands still while anything happens, and jumps to the next timer when nothing is ready, nothing is readable and no thread is at
work. Sockets need TCP_NODELAY: what Nagle's algorithm holds back for 40 ms of real time would arrive hours later.

Import the two hooks into a `conftest.py`, then mark a test (or a module by `pytestmark`) with `pytest.mark.virtual_time`:

    from tests.virtual_time import pytest_asyncio_loop_factories, pytest_configure  # noqa: F401

Work of threads that reports through the loop is counted for `run_in_executor`, `asyncio.to_thread` and aiosqlite; for anything else put
`with loop.thread_work():` around the await. What other processes do is not seen: those tests run in real time.
"""

import asyncio
import contextlib
import functools
import selectors
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Executor
from typing import Any

import pytest

GRACE_S = 0.001
"""Real time given to the kernel to carry bytes from one socket of this process to another, before the clock jumps."""
_STARTS_AT_S = 1000.0


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """`time()` is virtual and starts at 1000."""

    def __init__(self) -> None:
        self._virtual_now = _STARTS_AT_S
        self._work_out = 0
        self.jumps = 0
        super().__init__(_JumpingSelector(self))
        _watch_aiosqlite()

    def time(self) -> float:
        return self._virtual_now

    def jump(self, seconds: float) -> None:
        """Let time pass."""
        self._virtual_now += seconds
        self.jumps += 1

    @property
    def is_thread_at_work(self) -> bool:
        """Whether the result of a thread is awaited."""
        return self._work_out > 0

    @contextlib.contextmanager
    def thread_work(self) -> Iterator[None]:
        """The clock stands still until this ends."""
        self._work_out += 1
        try:
            yield
        finally:
            self._work_out -= 1

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future = super().run_in_executor(executor, func, *args)
        self._work_out += 1
        future.add_done_callback(self._work_came_back)
        return future

    def _work_came_back(self, _: object) -> None:
        self._work_out -= 1


class _JumpingSelector(selectors.BaseSelector):
    """The real selector, which instead of waiting for a timer lets the loop's clock jump to it."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self._loop = loop
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
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
            events = self._real.select(GRACE_S)
            if events:
                return events
        self._loop.jump(timeout)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def close(self) -> None:
        self._real.close()

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.get_key(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()


@functools.cache
def _watch_aiosqlite() -> None:
    """Count the calls that aiosqlite's thread works on. They pass through these methods."""
    import aiosqlite.core

    def counted(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        @functools.wraps(method)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            loop = asyncio.get_running_loop()
            with loop.thread_work() if isinstance(loop, VirtualTimeLoop) else contextlib.nullcontext():
                return await method(*args, **kwargs)

        return wrapper

    connection: Any = aiosqlite.core.Connection
    connection._execute = counted(connection._execute)
    connection._connect = counted(connection._connect)
    connection.close = counted(connection.close)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "virtual_time: run the test on an event loop whose clock jumps (tests.virtual_time)")


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.get_closest_marker("virtual_time") is not None:
        return {"virtual": VirtualTimeLoop}
    return {"real": asyncio.new_event_loop}
