"""JSON-RPC 2.0, one object per line, over a Unix socket, from both ends. `notify` works from any thread, even while the loop stands."""

import asyncio
import itertools
import json
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeAlias, cast

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MAX_LINE: Final = 64 * 1024
MAX_UNSENT: Final = 1 << 20
MAX_QUESTIONS: Final = 100

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
REFUSED: Final = 1
"""The request is right, the world does not allow it now."""


class Refused(Exception):
    """The world does not allow it now; the sentence says why and what would."""


class RpcError(Exception):
    """An error answer: its code and the sentence that says what is allowed."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Wire:
    """One connection. `on_call` gets method, parameters and id (None for a notification); `on_end` is called once."""

    def __init__(
        self,
        connection: socket.socket,
        *,
        on_call: Callable[["Wire", str, Mapping[str, Json], "Json | Absent"], None],
        on_end: Callable[["Wire"], None],
    ) -> None:
        self._socket = connection
        self._on_call = on_call
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._unsent = bytearray()
        self._sending = threading.Lock()
        self._is_ended = False
        self._questions: dict[int, asyncio.Future[Json]] = {}
        self._ids = itertools.count(1)
        connection.setblocking(False)
        self._loop.add_reader(connection, self._readable)

    @property
    def is_ended(self) -> bool:
        """Whether the connection is over."""
        return self._is_ended

    @property
    def peer_pid(self) -> int:
        """Process id of the other end, as it was when it connected (SO_PEERCRED)."""
        credentials = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[0])

    def notify(self, method: str, params: Mapping[str, Json]) -> None:
        """Say something that needs no answer. Thread-safe."""
        self._send({"jsonrpc": "2.0", "method": method, "params": dict(params)})

    async def ask(self, method: str, params: Mapping[str, Json]) -> Json:
        """Call the other end. Raises RpcError, or ConnectionError when the connection ends."""
        if self._is_ended:
            raise ConnectionResetError("the connection is over")
        if len(self._questions) >= MAX_QUESTIONS:
            raise RpcError(INTERNAL_ERROR, f"{MAX_QUESTIONS} questions are unanswered already")
        number = next(self._ids)
        future: asyncio.Future[Json] = self._loop.create_future()
        self._questions[number] = future
        try:
            self._send({"jsonrpc": "2.0", "id": number, "method": method, "params": dict(params)})
            return await future
        finally:
            self._questions.pop(number, None)

    def answer(self, request_id: Json, result: Json) -> None:
        """Answer a call."""
        self._send({"jsonrpc": "2.0", "id": request_id, "result": result})

    def answer_error(self, request_id: Json, error: RpcError) -> None:
        """Answer a call that failed."""
        self._send({"jsonrpc": "2.0", "id": request_id, "error": {"code": error.code, "message": str(error)}})

    def close(self) -> None:
        """End the connection. On the loop's thread."""
        if self._is_ended:
            return
        self._is_ended = True
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        with self._sending:
            self._socket.close()
        for future in self._questions.values():
            if not future.done():
                future.set_exception(ConnectionResetError("the connection ended before the answer"))
        self._on_end(self)

    # ----------------------------------------------------------------------------------------------------- sending
    def _send(self, message: Mapping[str, Json]) -> None:
        line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        with self._sending:
            if self._is_ended or self._socket.fileno() < 0:
                return
            if self._unsent:
                self._unsent += line
            else:
                self._unsent += line[self._write(line) :]
            is_stuck, is_left = len(self._unsent) > MAX_UNSENT, bool(self._unsent)
        if is_stuck:
            self._loop.call_soon_threadsafe(self.close)
        elif is_left:
            self._loop.call_soon_threadsafe(self._watch_writing)

    def _write(self, data: bytes | bytearray) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)  # the other end is gone: the reader finds out and ends the connection

    def _watch_writing(self) -> None:
        if not self._is_ended:
            self._loop.add_writer(self._socket, self._writable)

    def _writable(self) -> None:
        with self._sending:
            del self._unsent[: self._write(self._unsent)]
            is_done = not self._unsent
        if is_done:
            self._loop.remove_writer(self._socket)

    # --------------------------------------------------------------------------------------------------- receiving
    def _readable(self) -> None:
        try:
            data = self._socket.recv(MAX_LINE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._received += data
        while not self._is_ended:
            line, newline, rest = self._received.partition(b"\n")
            if not newline:
                break
            self._received = rest
            if line.strip():
                self._take(bytes(line))
        if len(self._received) > MAX_LINE:
            self.answer_error(None, RpcError(INVALID_REQUEST, f"a line is longer than {MAX_LINE} bytes; the connection is closed"))
            self.close()

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError) as error:
            self.answer_error(None, RpcError(PARSE_ERROR, f"not JSON: {error}"))
            return
        if not isinstance(message, dict):
            self.answer_error(None, RpcError(INVALID_REQUEST, "expected one JSON object per line; batches are not served"))
            return
        if "method" in message:
            self._take_call(message)
        else:
            self._take_answer(message)

    def _take_call(self, message: dict[str, Json]) -> None:
        request_id = message.get("id", ABSENT)
        method, params = message["method"], message.get("params", {})
        if message.get("jsonrpc") != "2.0" or not isinstance(method, str) or isinstance(request_id, dict | list | bool | float):
            sentence = 'expected {"jsonrpc": "2.0", "id": 1, "method": "sim.ping", "params": {}}'
            self.answer_error(None if isinstance(request_id, dict | list | Absent) else request_id, RpcError(INVALID_REQUEST, sentence))
        elif isinstance(params, dict):
            self._on_call(self, method, params, request_id)
        elif not isinstance(request_id, Absent):
            self.answer_error(request_id, RpcError(INVALID_PARAMS, f"{method}: params must be an object with names, not a list"))

    def _take_answer(self, message: dict[str, Json]) -> None:
        number = message.get("id")
        future = self._questions.get(number) if isinstance(number, int) else None
        if future is None or future.done():
            return
        error = message.get("error")
        if isinstance(error, dict):
            code = error.get("code")
            future.set_exception(RpcError(code if isinstance(code, int) else INTERNAL_ERROR, str(error.get("message"))))
        else:
            future.set_result(message.get("result"))


class Absent:
    """The id of a notification."""


ABSENT: Final = Absent()


async def connect_wire(
    path: Path,
    *,
    on_call: Callable[[Wire, str, Mapping[str, Json], "Json | Absent"], None],
    on_end: Callable[[Wire], None],
) -> Wire:
    """Connect to a server's socket. Raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(connection, str(path))
    except BaseException:
        connection.close()
        raise
    return Wire(connection, on_call=on_call, on_end=on_end)


class WireServer:
    """Accepts connections on a Unix socket that only its owner may use, until `close`."""

    MAX_CLIENTS: Final = 32

    def __init__(
        self,
        path: Path,
        *,
        on_call: Callable[[Wire, str, Mapping[str, Json], "Json | Absent"], None],
        on_end: Callable[[Wire], None],
    ) -> None:
        self._path = path
        self._on_call = on_call
        self._on_wire_end = on_end
        self._socket: socket.socket | None = None
        self._wires: set[Wire] = set()

    def start(self) -> None:
        """Listen. A socket that a dead process left behind is replaced. Raises OSError naming the path when it is in use."""
        self._remove_stale()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(self._path))
            self._path.chmod(0o600)
            listener.listen(self.MAX_CLIENTS)
            listener.setblocking(False)
        except OSError as error:
            listener.close()
            raise OSError(error.errno, f"{self._path}: cannot listen on this socket: {error.strerror or error}") from error
        self._socket = listener
        asyncio.get_running_loop().add_reader(listener, self._accept)

    def close(self) -> None:
        """Stop listening and end every connection."""
        listener, self._socket = self._socket, None
        if listener is None:
            return
        asyncio.get_running_loop().remove_reader(listener)
        listener.close()
        self._path.unlink(missing_ok=True)
        for wire in list(self._wires):
            wire.close()

    def _remove_stale(self) -> None:
        if not self._path.is_socket():
            return
        probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            probe.connect(str(self._path))
        except ConnectionRefusedError:
            self._path.unlink()
        except OSError:
            return  # bind says what is wrong
        finally:
            probe.close()

    def _accept(self) -> None:
        listener = cast("socket.socket", self._socket)
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        if len(self._wires) >= self.MAX_CLIENTS:
            connection.close()
            return
        self._wires.add(Wire(connection, on_call=self._on_call, on_end=self._ended))

    def _ended(self, wire: Wire) -> None:
        self._wires.discard(wire)
        self._on_wire_end(wire)
