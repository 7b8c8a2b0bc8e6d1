"""The store's SQLite without its thread: in virtual time each unit of work is one callback of the loop.

So a kill falls before or after a unit and never while a thread is writing to the files that are copied, and the order of things does not
depend on how busy the machine is. What stays as it is: units are done one at a time in the order of the calls, each takes some rounds of
the loop, and one that was called runs to its end whatever becomes of the caller.
"""

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar, cast

import agent.store.database

T = TypeVar("T")


class InlineConnection:
    """Has what the store's database uses of aiosqlite's connection."""

    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        """`connector` makes the connection when this is awaited."""
        self._connector = connector
        self._loop = asyncio.get_running_loop()
        self._calls: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()
        self._db: sqlite3.Connection | None = None

    def __await__(self) -> Generator[Any, None, "InlineConnection"]:
        """Connect."""
        return self._connected().__await__()

    async def _connected(self) -> "InlineConnection":
        self._db = await self._call(self._connector)
        return self

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function on the connection, in its turn."""
        return await self._call(lambda: work(cast("sqlite3.Connection", self._db)))

    async def close(self) -> None:
        """Close, after what was asked for before."""
        await self._call(lambda: None if self._db is None else self._db.close())

    def _call(self, work: Callable[[], T]) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self._loop.create_future()
        self._calls.append((work, future))
        self._loop.call_soon(self._work)
        return future

    def _work(self) -> None:
        work, future = self._calls.popleft()
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - it belongs to the caller
            if not future.cancelled():
                self._loop.call_soon(_fail, future, error)
        else:
            if not future.cancelled():
                self._loop.call_soon(_tell, future, result)


def _tell(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


@contextlib.contextmanager
def without_threads() -> Iterator[None]:
    """Open the databases of this time so."""
    database: Any = agent.store.database
    threaded = database._Connection  # noqa: SLF001 - the one place where the store comes by a thread
    database._Connection = InlineConnection  # noqa: SLF001
    try:
        yield
    finally:
        database._Connection = threaded  # noqa: SLF001
