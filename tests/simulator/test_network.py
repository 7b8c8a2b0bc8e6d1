"""The link can be cut, swallowed and refused, and asyncio sees what a real network would show."""

import asyncio
import contextlib
import errno
import socket
import ssl
import time
from collections.abc import AsyncIterator

import pytest
import trustme

from simulator.network import CuttableLink, FaultProxy, NetworkMode
from tests.hal.contract import until


class Peer:
    """A server that answers each line with the same line, and remembers what came."""

    def __init__(self) -> None:
        self.received = b""
        self.ends = 0
        self.writers: list[asyncio.StreamWriter] = []
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self, context: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self.received += data
                writer.write(data)
        self.ends += 1
        writer.close()

    def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self.writers:
            writer.close()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    peer = Peer()
    await peer.start()
    yield peer
    peer.stop()


async def open_streams(
    link: CuttableLink, port: int, context: ssl.SSLContext | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    connection = await link.connect("localhost", port)
    name = "localhost" if context is not None else None
    return await asyncio.open_connection(sock=connection, ssl=context, server_hostname=name)


async def test_a_link_that_is_up_is_a_plain_socket(peer: Peer) -> None:
    link = CuttableLink()
    connection = await link.connect("127.0.0.1", peer.port)
    assert connection.getpeername() == ("127.0.0.1", peer.port)
    assert connection.getblocking() is False
    reader, writer = await asyncio.open_connection(sock=connection)
    writer.write(b"hello\n")
    assert await reader.readline() == b"hello\n"
    writer.close()


@pytest.mark.parametrize("mode", [NetworkMode.CLOSE, NetworkMode.REFUSE])
async def test_closing_ends_connections_on_both_sides(peer: Peer, mode: NetworkMode) -> None:
    link = CuttableLink()
    reader, writer = await open_streams(link, peer.port)
    link.set_mode(mode)
    assert await asyncio.wait_for(reader.read(), 2) == b""
    await until(lambda: peer.ends == 1)
    writer.close()


@pytest.mark.parametrize(("mode", "number"), [(NetworkMode.CLOSE, errno.ENETUNREACH), (NetworkMode.REFUSE, errno.ECONNREFUSED)])
async def test_new_connections_fail_as_the_mode_says(peer: Peer, mode: NetworkMode, number: int) -> None:
    link = CuttableLink()
    link.set_mode(mode)
    with pytest.raises(OSError, match="simulated network") as caught:
        await link.connect("127.0.0.1", peer.port)
    assert caught.value.errno == number
    link.set_mode(NetworkMode.UP)
    (await link.connect("127.0.0.1", peer.port)).close()


@pytest.mark.parametrize("is_encrypted", [False, True])
async def test_a_black_hole_swallows_both_directions_and_nobody_is_told(is_encrypted: bool) -> None:
    peer, link = Peer(), CuttableLink()
    server_context, client_context = contexts() if is_encrypted else (None, None)
    await peer.start(server_context)
    reader, writer = await open_streams(link, peer.port, client_context)
    writer.write(b"before\n")
    assert await reader.readline() == b"before\n"
    link.set_mode(NetworkMode.BLACKHOLE)
    writer.write(b"into the hole\n")
    await asyncio.wait_for(writer.drain(), 1)
    peer.writers[0].write(b"from the far side\n")
    await peer.writers[0].drain()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readline(), 0.2)
    assert peer.received == b"before\n"
    assert not reader.at_eof()
    peer.stop()
    with contextlib.suppress(OSError, ssl.SSLError):
        writer.transport.abort()
        await asyncio.sleep(0.05)


async def test_not_even_the_far_sides_end_comes_out_of_a_black_hole(peer: Peer) -> None:
    """And the loop does not spin on the end that nobody may see."""
    link = CuttableLink()
    reader, writer = await open_streams(link, peer.port)
    writer.write(b"x")
    await reader.readexactly(1)
    link.set_mode(NetworkMode.BLACKHOLE)
    peer.writers[0].close()
    began = time.process_time()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.3)
    assert time.process_time() - began < 0.15
    writer.write(b"still believed")
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def test_a_connection_attempt_into_a_black_hole_hangs_until_the_link_is_back(peer: Peer) -> None:
    link = CuttableLink()
    link.set_mode(NetworkMode.BLACKHOLE)
    attempt = asyncio.ensure_future(link.connect("127.0.0.1", peer.port))
    await asyncio.sleep(0.05)
    assert not attempt.done()
    link.set_mode(NetworkMode.UP)
    (await asyncio.wait_for(attempt, 2)).close()


async def test_what_was_swallowed_is_dead_when_the_link_is_back(peer: Peer) -> None:
    link = CuttableLink()
    reader, writer = await open_streams(link, peer.port)
    link.set_mode(NetworkMode.BLACKHOLE)
    writer.write(b"lost")
    link.set_mode(NetworkMode.UP)
    assert await asyncio.wait_for(reader.read(), 2) == b""
    assert peer.received == b""
    writer.close()


async def test_a_refused_port_is_an_os_error() -> None:
    probe = socket.socket()
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
    probe.close()
    with pytest.raises(ConnectionRefusedError):
        await CuttableLink().connect("localhost", port)


async def test_much_data_passes_whole(peer: Peer) -> None:
    link = CuttableLink()
    reader, writer = await open_streams(link, peer.port)
    data = bytes(range(256)) * 8192
    writer.write(data)
    assert await asyncio.wait_for(reader.readexactly(len(data)), 10) == data
    writer.close()


# ------------------------------------------------------------------------------------------------------------- proxy
@pytest.fixture
async def proxy(peer: Peer) -> AsyncIterator[FaultProxy]:
    proxy = FaultProxy("127.0.0.1", peer.port)
    yield proxy
    await proxy.aclose()


async def test_the_proxy_passes_everything_in_order(peer: Peer, proxy: FaultProxy) -> None:
    proxy.delay_s = 0.01
    reader, writer = await asyncio.open_connection("127.0.0.1", await proxy.start())
    data = b"".join(b"%06d" % number for number in range(500_000))
    writer.write(data)
    assert await asyncio.wait_for(reader.readexactly(len(data)), 20) == data
    writer.close()
    await until(lambda: peer.ends == 1)


async def test_the_proxy_delays_each_way(peer: Peer, proxy: FaultProxy) -> None:
    proxy.delay_s = 0.05
    reader, writer = await asyncio.open_connection("127.0.0.1", await proxy.start())
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(20):
        writer.write(b"ping\n")  # many at once: a delay, not a rate
    for _ in range(20):
        await reader.readline()
    assert 0.1 <= loop.time() - began < 0.5
    writer.close()


async def test_the_proxy_closes_refuses_and_swallows(peer: Peer, proxy: FaultProxy) -> None:
    port = await proxy.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"a\n")
    await reader.readline()
    await proxy.set_mode(NetworkMode.BLACKHOLE)
    writer.write(b"b\n")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readline(), 0.1)
    assert peer.received == b"a\n"
    await proxy.set_mode(NetworkMode.UP)
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 2) == b""
    writer.close()
    await proxy.set_mode(NetworkMode.REFUSE)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    await proxy.set_mode(NetworkMode.UP)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"c\n")
    assert await asyncio.wait_for(reader.readline(), 2) == b"c\n"
    await proxy.set_mode(NetworkMode.CLOSE)
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 2) == b""
    writer.close()
    await until(lambda: peer.ends == 2)


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client)
    return server, client
