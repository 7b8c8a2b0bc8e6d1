"""The Unix socket: the kernel says who a peer is, every client has its limits, and no client can hold up another or the daemon."""

import asyncio
import errno
import grp
import logging
import os
import socket
import stat
import struct
from pathlib import Path
from typing import Final, Protocol

from agent.diagnostics.protocol import MAX_LINE_BYTES, Caller, ErrorCode, Role, failure
from agent.domain.errors import AgentError
from agent.domain.values import dataclass

_log = logging.getLogger("agent.diagnostics")

MAX_CLIENTS: Final = 8
IDLE_S: Final = 300.0
"""A client that has not finished a line for so long is left."""
WRITE_S: Final = 5.0
"""A client has to take its answer within this time."""
PAUSE_S: Final = 0.005
"""Between two requests of one client: a flood of lines leaves the event loop to those who charge."""
TECHNICIAN_GROUP: Final = "charger-technician"
MODE: Final = 0o660
_UCRED: Final = struct.Struct("3i")
_SO_PEERGROUPS: Final = 59
"""Linux 4.13, asm-generic/socket.h; Python does not name it."""
_MOST_GROUPS_BYTES: Final = 1024
"""As much as Python's getsockopt takes: 256 groups."""


class DiagnosticsError(AgentError):
    """The socket cannot be opened; the sentence says what to do."""


class SocketInUseError(DiagnosticsError):
    """Another process serves the socket."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, as the kernel noted it when it connected."""

    pid: int
    uid: int
    gids: frozenset[int]


def peer_of(sock: socket.socket) -> Peer:
    """SO_PEERCRED and SO_PEERGROUPS: the process at the other end, with its supplementary groups. Looks nothing up, so it never waits."""
    pid, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_GROUPS_BYTES)
    except OSError:  # an old kernel, or more groups than fit: only the primary group counts then
        raw = b""
    return Peer(pid, uid, frozenset({gid, *struct.unpack(f"{len(raw) // 4}I", raw)}))


def role_of(peer: Peer, technicians: int | None) -> Role:
    """Root, the daemon's own user and members of the group `technicians` may change things; whoever else may connect may look."""
    if peer.uid in {0, os.geteuid()} or (technicians is not None and technicians in peer.gids):
        return Role.TECHNICIAN
    return Role.OBSERVER


def group_number(name: str = TECHNICIAN_GROUP) -> int | None:
    """Number of a group, None where the system has none of that name. May wait for a directory service: not for a running loop."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


class Answers(Protocol):
    """What the socket asks: `protocol.Service`, or what makes one when it is needed."""

    async def handle(self, line: bytes, caller: Caller) -> bytes | None:
        """Answer one line; None for a notification. Nothing that a peer sends raises."""


class Server:
    """Serves `Answers` on a Unix socket. `technicians` is the number of the group whose members may change things."""

    def __init__(self, service: Answers, path: Path, *, technicians: int | None = None) -> None:
        self._service = service
        self._path = path
        self._server: asyncio.Server | None = None
        self._identity: tuple[int, int] | None = None
        self._technicians = technicians
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Open the socket, mode 0660, in place of one that a crash left. Raises SocketInUseError or another DiagnosticsError."""
        try:
            _clear_the_way(self._path)
            listening, self._identity = _bound(self._path)
        except OSError as error:
            raise DiagnosticsError(
                f"[diagnostics] socket {self._path}: {error.strerror or error}; its directory must exist and this user must own it"
            ) from error
        # A short backlog: whoever connects in a loop waits in its own `connect`, not in our loop.
        self._server = await asyncio.start_unix_server(self._client, sock=listening, limit=MAX_LINE_BYTES, backlog=MAX_CLIENTS)

    async def aclose(self) -> None:
        """Close the socket and every client."""
        if self._server is None:
            return
        self._server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        if _identity(self._path) == self._identity:
            self._path.unlink(missing_ok=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._clients) >= MAX_CLIENTS:
            writer.write(failure(None, ErrorCode.BUSY, f"{MAX_CLIENTS} clients are connected, and that is the limit; try again later"))
            writer.close()
            return
        self._clients.add(task)
        # Everything that was written is with the kernel when `drain` returns: what is left at the end is for a peer that does not read.
        writer.transport.set_write_buffer_limits(high=0)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, TimeoutError):
            pass
        except asyncio.CancelledError:
            pass  # `aclose` wants it: the task ends here anyway, and Python 3.11's streams report a cancelled one as an error
        except Exception:  # noqa: BLE001 - whatever a client does, it must not reach the daemon
            _log.exception("serving a diagnostics client failed")
        finally:
            self._clients.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = peer_of(writer.get_extra_info("socket"))
        caller = Caller(role_of(peer, self._technicians), f"uid={peer.uid} pid={peer.pid}")
        loop = asyncio.get_running_loop()
        free_at = loop.time()
        while True:
            try:
                async with asyncio.timeout(IDLE_S):
                    line = await reader.readline()
            except ValueError:
                _log.warning("a diagnostics client sent a line over %d bytes %s", MAX_LINE_BYTES, caller.name)
                await _say(writer, failure(None, ErrorCode.INVALID_REQUEST, f"a line may have at most {MAX_LINE_BYTES} bytes"))
                return
            if not line:
                return
            await asyncio.sleep(max(0.0, free_at - loop.time()))
            if line.strip():
                await _say(writer, await self._service.handle(line, caller))
            free_at = loop.time() + PAUSE_S


async def _say(writer: asyncio.StreamWriter, answer: bytes | None) -> None:
    if answer is None:
        return
    writer.write(answer)
    async with asyncio.timeout(WRITE_S):
        await writer.drain()


def _bound(path: Path) -> tuple[socket.socket, tuple[int, int] | None]:
    """A listening socket, never for a moment more open than MODE, and the identity of its file."""
    listening = socket.socket(socket.AF_UNIX)
    try:
        os.fchmod(listening.fileno(), MODE)  # `bind` gives the file this mode less the umask, and a service's umask is strict
        listening.bind(str(path))
        path.chmod(MODE)
        listening.listen(MAX_CLIENTS)
    except BaseException:
        listening.close()
        raise
    return listening, _identity(path)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _clear_the_way(path: Path) -> None:
    """Remove a socket that nobody serves: it is left over from a crash. Raises SocketInUseError, DiagnosticsError or OSError."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise DiagnosticsError(f"[diagnostics] socket {path} exists and is no socket; remove it, or name another path")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # a peer whose backlog is full answers EAGAIN instead of letting this start wait
        outcome = probe.connect_ex(str(path))
    if outcome == errno.ECONNREFUSED:
        path.unlink(missing_ok=True)
    elif outcome != errno.ENOENT:
        raise SocketInUseError(f"[diagnostics] socket {path} is served by another process; is the daemon running already?")
