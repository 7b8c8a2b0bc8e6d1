"""A TCP proxy that gives every byte a fixed delay in each direction: a long line without loss."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def delay_proxy(to_port: int, one_way_s: float) -> AsyncIterator[int]:
    """A proxy to a port of this machine until the end of the block; gives its own port."""
    ways: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", to_port)
        for source, target in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(_carry(source, target, one_way_s))
            ways.add(task)
            task.add_done_callback(ways.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tuple(ways):
            task.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _carry(source: asyncio.StreamReader, target: asyncio.StreamWriter, one_way_s: float) -> None:
    """Chunks leave in their order, each as long after its arrival."""
    loop = asyncio.get_running_loop()
    try:
        while chunk := await source.read(65_536):
            loop.call_later(one_way_s, target.write, chunk)
    except ConnectionError:
        pass
    finally:
        loop.call_later(one_way_s, target.close)
