"""The Unix socket: peer credentials give the role, every client has its limits, and no client can hold up another or the daemon."""

import asyncio
import contextlib
import grp
import logging
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.diagnostics.protocol import MAX_LINE_BYTES, Role, Service
from agent.domain.errors import AgentError

_log = logging.getLogger("agent.diagnostics")

MAX_CLIENTS: Final = 8
IDLE_S: Final = 300.0
WRITE_S: Final = 5.0
TECHNICIAN_GROUP: Final = "charger-technician"
_UCRED: Final = struct.Struct("3i")


class DiagnosticsError(AgentError):
    """The socket cannot be opened; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, as the kernel says it."""

    pid: int
    uid: int
    gid: int


def peer_of(sock: socket.socket) -> Peer:
    """SO_PEERCRED: the process at the other end when it connected."""
    pid, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Peer(pid, uid, gid)


def role_of(peer: Peer) -> Role:
    """Root, the daemon's own user and members of the group `charger-technician` may change things; whoever else may connect may look."""
    if peer.uid in {0, os.geteuid()}:
        return Role.TECHNICIAN
    try:
        group = grp.getgrnam(TECHNICIAN_GROUP)
    except KeyError:
        return Role.OBSERVER
    if peer.gid == group.gr_gid:
        return Role.TECHNICIAN
    import pwd

    try:
        name = pwd.getpwuid(peer.uid).pw_name
    except KeyError:
        return Role.OBSERVER
    return Role.TECHNICIAN if name in group.gr_mem else Role.OBSERVER


class Server:
    """Serves a `Service` on a Unix socket."""

    def __init__(self, service: Service, path: Path) -> None:
        self._service = service
        self._path = path
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Open the socket, mode 0660. Raises DiagnosticsError."""
        _remove_stale(self._path)
        try:
            before = os.umask(0o117)
            try:
                self._server = await asyncio.start_unix_server(self._client, self._path, limit=MAX_LINE_BYTES)
            finally:
                os.umask(before)
        except OSError as error:
            raise DiagnosticsError(f"[diagnostics] socket {self._path}: {error.strerror or error}; its directory must exist") from error

    async def aclose(self) -> None:
        """Close the socket and every client."""
        if self._server is not None:
            self._server.close()
        for client in tuple(self._clients):
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        with contextlib.suppress(OSError):
            self._path.unlink()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._clients) >= MAX_CLIENTS:
            writer.close()
            return
        self._clients.add(task)
        try:
            with contextlib.suppress(ConnectionError, TimeoutError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            self._clients.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = peer_of(writer.get_extra_info("socket"))
        role = role_of(peer)
        while True:
            try:
                async with asyncio.timeout(IDLE_S):
                    line = await reader.readline()
            except ValueError:
                _log.warning("a diagnostics client sent a line over %d bytes pid=%d uid=%d", MAX_LINE_BYTES, peer.pid, peer.uid)
                return
            if not line:
                return
            answer = await self._service.handle(line, role)
            if answer is not None:
                writer.write(answer)
                async with asyncio.timeout(WRITE_S):
                    await writer.drain()


def _remove_stale(path: Path) -> None:
    """A socket file that nobody serves is left over from a crash."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise DiagnosticsError(f"[diagnostics] socket {path} is served by another process: is the daemon running already?")
