"""The clock jumps only when nothing else can happen."""

import asyncio
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite
import pytest

from tests.virtual_time import VirtualTimeLoop

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(coroutine)


def test_a_day_of_sleep_takes_no_time() -> None:
    async def story() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.sleep(86_400)
        return loop.time() - began

    began = time.monotonic()
    assert run(story()) == pytest.approx(86_400)
    assert time.monotonic() - began < 1


def test_timers_fire_in_their_order_and_at_their_time() -> None:
    async def story() -> list[tuple[str, float]]:
        loop = asyncio.get_running_loop()
        fired: list[tuple[str, float]] = []
        began = loop.time()
        for name, at in (("c", 30), ("a", 1), ("b", 2.5)):
            loop.call_later(at, lambda name=name: fired.append((name, loop.time() - began)))
        await asyncio.sleep(60)
        return fired

    assert run(story()) == [("a", pytest.approx(1)), ("b", pytest.approx(2.5)), ("c", pytest.approx(30))]


def test_the_clock_waits_for_bytes_between_sockets_of_this_process() -> None:
    """A thousand round trips over loopback happen before a timer of one second."""

    async def story() -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                writer.write(line)
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        async with asyncio.timeout(1):
            for number in range(1000):
                writer.write(b"%d\n" % number)
                assert await reader.readline() == b"%d\n" % number
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(story())


def test_the_clock_waits_for_a_thread() -> None:
    async def story() -> None:
        async with asyncio.timeout(1):
            await asyncio.to_thread(time.sleep, 0.1)

    run(story())


def test_the_clock_waits_for_registered_work_of_any_thread() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        done = asyncio.Event()
        thread = threading.Thread(target=lambda: (time.sleep(0.1), loop.call_soon_threadsafe(done.set)))
        thread.start()
        with loop.thread_work():
            async with asyncio.timeout(1):
                await done.wait()
        thread.join()

    run(story())


def test_the_clock_waits_for_sqlite(tmp_path: Path) -> None:
    async def story() -> None:
        async with asyncio.timeout(1), aiosqlite.connect(tmp_path / "x.db") as database:
            await database.create_function("slowly", 0, lambda: time.sleep(0.1))
            await database.execute("SELECT slowly()")

    run(story())
