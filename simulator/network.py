"""The way to the CSMS with a pair of scissors: sockets that can be cut, swallowed and refused, and a proxy for those that are not ours."""

import asyncio
import errno
import os
import socket
import weakref
from collections import deque
from collections.abc import Iterable
from enum import StrEnum
from typing import Final, cast

Bytes = bytes | bytearray | memoryview


class NetworkMode(StrEnum):
    """How the link is."""

    UP = "up"
    CLOSE = "close"
    """Connections are closed, new ones find no network."""
    BLACKHOLE = "blackhole"
    """Nothing arrives any more in either direction and nobody is told; a new connection hangs until the link is up."""
    REFUSE = "refuse"
    """Connections are closed, new ones refused."""


DOWN_MODES: Final = (NetworkMode.CLOSE, NetworkMode.BLACKHOLE, NetworkMode.REFUSE)


class CuttableSocket(socket.socket):
    """A plain TCP socket until it is swallowed: then what is sent vanishes, and so does what arrives.

    No relay stands between: connections run at full speed. It serves what an asyncio transport uses (recv, recv_into, send, sendmsg).
    """

    __slots__ = ("_far_end", "_is_swallowed")

    def __init__(self, family: int, kind: int, protocol: int) -> None:
        super().__init__(family, kind, protocol)
        self._is_swallowed = False
        self._far_end: socket.socket | None = None

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Receive, or find that nothing is there."""
        data = super().recv(bufsize, flags)
        if self._is_swallowed:
            self._vanish(is_end=not data)
        return data

    def recv_into(self, buffer: bytearray | memoryview, nbytes: int = 0, flags: int = 0) -> int:  # type: ignore[override]
        """Receive, or find that nothing is there."""
        count = super().recv_into(buffer, nbytes, flags)
        if self._is_swallowed:
            self._vanish(is_end=not count)
        return count

    def send(self, data: Bytes, flags: int = 0, /) -> int:  # type: ignore[override]
        """Send, or believe that it was sent."""
        return len(data) if self._is_swallowed else super().send(data, flags)

    def sendmsg(self, buffers: Iterable[Bytes]) -> int:  # type: ignore[override]
        """Send, or believe that it was sent."""
        return sum(len(buffer) for buffer in buffers) if self._is_swallowed else super().sendmsg(buffers)

    def close(self) -> None:
        """Close, and the far end of the quiet socket with it."""
        super().close()
        if self._far_end is not None:
            self._far_end.close()

    def cut(self, mode: NetworkMode) -> None:
        """Do to this connection what the mode does."""
        if mode is NetworkMode.BLACKHOLE:
            self._is_swallowed = True
        elif mode is not NetworkMode.UP or self._is_swallowed:
            # Up again after a black hole: bytes are missing on both sides, and a modem that was away has forgotten the connection.
            self._is_swallowed = False
            try:
                self.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # closed already, or not connected

    def _vanish(self, *, is_end: bool) -> None:
        if is_end and self._far_end is None:
            # The end of the connection must not be seen either, and the selector would report it for ever. So a socket on which nothing
            # ever happens comes behind the same descriptor; that closes the real one, and with it its place in the selector.
            quiet, self._far_end = socket.socketpair()
            os.dup2(quiet.fileno(), self.fileno())
            quiet.close()
        raise BlockingIOError(errno.EAGAIN, "swallowed by the simulated network")


class CuttableLink:
    """The `NetworkLink` of a simulated charger."""

    def __init__(self) -> None:
        self._mode = NetworkMode.UP
        self._sockets: weakref.WeakSet[CuttableSocket] = weakref.WeakSet()
        self._came_up = asyncio.Event()
        self._came_up.set()

    @property
    def mode(self) -> NetworkMode:
        """How the link is now."""
        return self._mode

    def set_mode(self, mode: NetworkMode) -> None:
        """Change the link, and with it every connection that there is."""
        self._mode = mode
        if mode is NetworkMode.BLACKHOLE:
            self._came_up.clear()
        else:
            self._came_up.set()
        for one in list(self._sockets):
            one.cut(mode)

    async def connect(self, host: str, port: int) -> socket.socket:
        """Give a connected, non-blocking TCP socket. Raises OSError."""
        await self._came_up.wait()  # packets into a black hole: the caller's patience decides
        self._check(host, port)
        loop = asyncio.get_running_loop()
        failure: OSError | None = None
        for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            connection = CuttableSocket(family, kind, protocol)
            try:
                connection.setblocking(False)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await loop.sock_connect(connection, address)
                self._check(host, port)
            except OSError as error:
                connection.close()
                failure = error
            except BaseException:
                connection.close()
                raise
            else:
                self._sockets.add(connection)
                if self._mode is NetworkMode.BLACKHOLE:
                    connection.cut(self._mode)
                return connection
        raise failure or OSError(errno.EHOSTUNREACH, f"{host} has no address")

    def _check(self, host: str, port: int) -> None:
        match self._mode:
            case NetworkMode.REFUSE:
                raise ConnectionRefusedError(errno.ECONNREFUSED, f"{host}:{port}: refused by the simulated network")
            case NetworkMode.CLOSE:
                raise OSError(errno.ENETUNREACH, f"{host}:{port}: the simulated network is down")
            case _:
                pass


class FaultProxy:
    """A TCP port that leads to another one, with a delay each way and the modes of `NetworkMode`. For rigs whose sockets are not ours."""

    def __init__(self, host: str, port: int, *, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self._target = (host, port)
        self._mode = NetworkMode.UP
        self._server: asyncio.Server | None = None
        self._pipes: set[_Pipe] = set()
        self._port = 0

    async def start(self, port: int = 0) -> int:
        """Listen on loopback; gives the port."""
        self._server = await asyncio.get_running_loop().create_server(lambda: _Pipe(self, None), "127.0.0.1", port)
        self._port = int(self._server.sockets[0].getsockname()[1])
        return self._port

    async def set_mode(self, mode: NetworkMode) -> None:
        """Change the link, and with it every connection that there is."""
        self._mode = mode
        if mode is NetworkMode.REFUSE:
            await self._stop_listening()
        elif self._server is None:
            await self.start(self._port)
        if mode is not NetworkMode.BLACKHOLE:
            for pipe in list(self._pipes):
                if mode is not NetworkMode.UP or pipe.has_lost:
                    pipe.abort()

    async def aclose(self) -> None:
        """Close every connection and stop listening."""
        for pipe in list(self._pipes):
            pipe.abort()
        await self._stop_listening()

    async def _stop_listening(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()

    @property
    def is_open(self) -> bool:
        """Whether bytes pass."""
        return self._mode is NetworkMode.UP

    def joined(self, pipe: "_Pipe") -> None:
        """A connection came; find its far side."""
        self._pipes.add(pipe)
        if self._mode is NetworkMode.CLOSE:
            pipe.abort()

    def left(self, pipe: "_Pipe") -> None:
        """A connection is gone."""
        self._pipes.discard(pipe)

    async def reach(self, pipe: "_Pipe") -> "_Pipe":
        """Connect the far side of a pipe. Raises OSError."""
        loop = asyncio.get_running_loop()
        _, far = await loop.create_connection(lambda: _Pipe(self, pipe), *self._target)
        return far


class _Pipe(asyncio.Protocol):
    """One side of a proxied connection: holds what arrived for the delay, then writes it to the other side, in order."""

    LIMIT: Final = 1 << 20

    def __init__(self, proxy: FaultProxy, other: "_Pipe | None") -> None:
        self.has_lost = False
        self._proxy = proxy
        self._other = other
        self._is_near = other is None
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None
        self._reaching: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._proxy.joined(self)
        if self._is_near and not self._transport.is_closing():
            self._reaching = asyncio.get_running_loop().create_task(self._reach())

    async def _reach(self) -> None:
        try:
            self._other = await self._proxy.reach(self)
        except OSError:
            self.abort()
            return
        self._forward()

    def data_received(self, data: bytes) -> None:
        if not self._proxy.is_open:
            self.has_lost = True
            return
        self._waiting.append((asyncio.get_running_loop().time() + self._proxy.delay_s, data))
        self._size += len(data)
        if self._size > self.LIMIT and self._transport is not None:
            self._transport.pause_reading()
        if self._timer is None:
            self._forward()

    def connection_lost(self, exc: Exception | None) -> None:
        self._proxy.left(self)
        if self._reaching is not None:
            self._reaching.cancel()
        if self._other is not None and not self._waiting and self._proxy.is_open:
            self._other.finish()

    def pause_writing(self) -> None:
        if self._other is not None and self._other._transport is not None:  # noqa: SLF001 - the other side of the same pipe
            self._other._transport.pause_reading()  # noqa: SLF001

    def resume_writing(self) -> None:
        if self._other is not None and self._other._transport is not None:  # noqa: SLF001
            self._other._transport.resume_reading()  # noqa: SLF001

    def finish(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        if self._timer is not None:
            self._timer.cancel()
        self._waiting.clear()

    def _forward(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        other = self._other
        if other is None or other._transport is None:  # noqa: SLF001
            return  # `_reach` calls again
        while self._waiting and self._waiting[0][0] <= loop.time():
            _, data = self._waiting.popleft()
            self._size -= len(data)
            if self._proxy.is_open:
                other._transport.write(data)  # noqa: SLF001
            else:
                self.has_lost = True
        if self._transport is not None and self._size <= self.LIMIT:
            self._transport.resume_reading()
        if self._waiting:
            self._timer = loop.call_at(self._waiting[0][0], self._forward)
        elif self._transport is not None and self._transport.is_closing() and self._proxy.is_open:
            other.finish()
