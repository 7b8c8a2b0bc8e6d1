"""The outside of the client: central systems, good and nasty, on real sockets, and a network that goes to them."""

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response


class Refuse(Exception):
    """Answer with CALLERROR."""

    def __init__(self, code: str, description: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.description = description


class Silence(Exception):
    """Do not answer."""


class Drop(Exception):
    """Cut the TCP connection instead of answering."""


Handler = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Csms:
    """A CSMS on loopback. `on[action]` answers; anything else gets {}. `calls` are (message id, action, payload) in order of arrival.

    `subprotocol` None completes the handshake without one. `refusals` are HTTP answers for the next upgrades.
    """

    def __init__(self, subprotocol: str | None = "ocpp1.6", *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.subprotocol = subprotocol
        self.on: dict[str, Handler] = {
            "BootNotification": lambda _: {"status": "Accepted", "interval": 300, "currentTime": "2026-01-01T10:00:00Z"},
            "Heartbeat": lambda _: {"currentTime": "2026-01-01T11:00:00Z"},
        }
        self.calls: list[tuple[str, str, Mapping[str, Any]]] = []
        self.called_at: list[float] = []
        self.answers: list[list[Any]] = []
        self.frames: list[str] = []
        self.requests: list[Request] = []
        self.refusals: list[Response] = []
        self.links: list[ServerConnection] = []
        self.opened_at: list[float] = []
        self.on_open: Callable[[ServerConnection], Awaitable[None]] | None = None
        self.is_deaf = False
        self._tls = tls
        self._host = host
        self.port = 0

    @property
    def url(self) -> str:
        return f"{'wss' if self._tls else 'ws'}://localhost:{self.port}/ocpp"

    @property
    def link(self) -> ServerConnection:
        return self.links[-1]

    def actions(self) -> list[str]:
        return [action for _, action, _ in self.calls]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Csms"]:
        async with serve(
            self._serve,
            self._host,
            self.port,
            ssl=self._tls,
            select_subprotocol=lambda connection, offered: self.subprotocol,  # type: ignore[arg-type,return-value]
            process_request=self._process_request,
            compression=None,
            ping_interval=None,
            close_timeout=1,
            max_size=2**23,
        ) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            yield self

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        self.opened_at.append(asyncio.get_running_loop().time())
        return self.refusals.pop(0) if self.refusals else None

    async def _serve(self, link: ServerConnection) -> None:
        self.links.append(link)
        with contextlib.suppress(ConnectionClosed):
            if self.on_open is not None:
                await self.on_open(link)
            async for text in link:
                if self.is_deaf:
                    continue
                assert isinstance(text, str)
                self.frames.append(text)
                await self._frame(link, text)

    async def _frame(self, link: ServerConnection, text: str) -> None:
        frame = json.loads(text)
        if frame[0] != 2:
            self.answers.append(frame)
            return
        _, message_id, action, payload = frame
        self.calls.append((message_id, action, payload))
        self.called_at.append(asyncio.get_running_loop().time())
        handler = self.on.get(action, lambda _: {})
        try:
            answer: list[Any] = [3, message_id, handler(payload)]
        except Refuse as refusal:
            answer = [4, message_id, refusal.code, refusal.description, {}]
        except Silence:
            return
        except Drop:
            link.transport.abort()
            return
        await link.send(json.dumps(answer))

    async def ask(self, action: str, payload: object, message_id: str = "1") -> list[Any]:
        """Send a CALL and wait for its answer."""
        await self.link.send(json.dumps([2, message_id, action, payload]))
        await until(lambda: any(answer[1] == message_id for answer in self.answers))
        return next(answer for answer in self.answers if answer[1] == message_id)


def response(status: int, **headers: str) -> Response:
    """An HTTP answer that is no upgrade."""
    fields = Headers({name.replace("_", "-"): value for name, value in headers.items()})
    fields["Content-Length"] = "0"
    return Response(status, "-", fields, b"")


async def until(condition: Callable[[], object], timeout_s: float = 10_000) -> None:
    """Poll until it is true, at first every 10 ms, later every second: a long virtual wait is cheap, a short one is exact."""
    pause_s = 0.01
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(pause_s)
            pause_s = min(1.0, pause_s * 1.1)


class Network:
    """The way out. `is_up` False refuses, as a switched-off interface does."""

    def __init__(self) -> None:
        self.is_up = True
        self.attempts: list[float] = []

    async def connect(self, host: str, port: int) -> socket.socket:
        loop = asyncio.get_running_loop()
        self.attempts.append(loop.time())
        if not self.is_up:
            raise OSError(101, "Network is unreachable")
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, ("127.0.0.1" if host == "localhost" else host, port))
        except BaseException:
            sock.close()
            raise
        return sock


@contextlib.asynccontextmanager
async def raw_server(handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[int]:
    """A TCP server that speaks whatever the handler does. Gives its port."""
    serving: set[asyncio.Task[None]] = set()

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await asyncio.sleep(0.01)
