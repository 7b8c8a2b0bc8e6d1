"""One WebSocket connection to the CSMS: socket, TLS, authentication, subprotocol, pings. Knows nothing of OCPP's messages.

`websockets` and `ssl` are imported at the first connection, not at the start of the process.
"""

import asyncio
import contextlib
import logging
import socket
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from agent.domain.errors import PeerError
from agent.domain.values import dataclass
from agent.ocpp_client.rpc import MAX_FRAME_CHARS

if TYPE_CHECKING:
    import ssl

    from websockets.asyncio.client import ClientConnection
    from websockets.http11 import Response

    from agent.ocpp_client.tls import Dates, Validity

OPEN_TIMEOUT_S = 30.0
"""From the name lookup to the end of the upgrade, whatever the server drips."""
CLOSE_TIMEOUT_S = 2.0
_TCP_USER_TIMEOUT_MS = 60_000
_PATH_SAFE = "!$&'()*+,;=:@"
_REDIRECTS = range(300, 400)

_AGREES: Final = timedelta(hours=1)
"""The system's clock is good enough for OpenSSL while it is so near to the time service's."""
_GRACE: Final = timedelta(days=1)

_log = logging.getLogger(__name__)
_wire_log = logging.getLogger("agent.ocpp_client.wire")
_wire_log.setLevel(logging.WARNING)  # at DEBUG websockets would log the password header and every id token


class Phase(StrEnum):
    """How far an attempt to connect is, in this order."""

    SETTINGS = "settings"
    NAME = "name"
    TCP = "tcp"
    TLS = "tls"
    HTTP = "http"
    SUBPROTOCOL = "subprotocol"


class NetworkLike(Protocol):
    """The interface that a connection goes out by (`hal.api.NetworkLink`)."""

    async def connect(self, host: str, port: int) -> socket.socket:
        """A connected, non-blocking TCP socket. Raises OSError."""


class TimeSource(Protocol):
    """What is known about the time of day (`runtime.clock.Clock`)."""

    def ntp_utc(self) -> datetime | None:
        """The time while a time service keeps it, whoever the CSMS is."""

    def not_before(self) -> datetime:
        """It cannot be earlier than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """What the configuration says about the way to the CSMS. `station_id` is the OCPP identity, appended to `url`.

    `security_profile` 0: ws, no password (lab). 1: ws with Basic authentication. 2: wss with Basic authentication.
    `password_file` holds the password's bytes, a line end at the end is ignored; it is read at every connection.
    `ca_file` (PEM) replaces the system's roots.
    """

    station_id: str
    url: str
    security_profile: int
    password_file: Path | None = None
    ca_file: Path | None = None


class ConnectFailed(PeerError):
    """No connection came about. `cure` tells the technician what to do; `retry_after_s` is what the server asked for."""

    def __init__(
        self, reason: str, *, cure: str, phase: Phase = Phase.HTTP, retry_after_s: float | None = None, status: int | None = None
    ) -> None:
        super().__init__(f"{reason}; {cure}")
        self.phase = phase
        self.reason = reason
        self.cure = cure
        self.retry_after_s = retry_after_s
        self.status = status


class ConnectionLost(PeerError):
    """An open connection ended. `code` is the WebSocket close code where one came."""

    def __init__(self, reason: str, *, cure: str = "", code: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cure = cure
        self.code = code


class Connection:
    """An open WebSocket with an agreed subprotocol.

    `chain` is the server's verified chain, empty without TLS. `is_unsure`: nobody knew what time it was, so only those certificates were
    refused that must have expired; `date_problem` judges again when the CSMS has told the time.
    """

    def __init__(self, websocket: "ClientConnection", subprotocol: str, *, is_unsure: bool = False) -> None:
        self._websocket = websocket
        self.subprotocol = subprotocol
        self.is_unsure = is_unsure
        self.chain = _chain(websocket)
        self.peer = _peer(websocket)
        self._way = _own_address(websocket)

    def has_better_way(self) -> bool:
        """Whether the system would take another way to the same server now: the cable is back, or it was pulled."""
        address = self._websocket.transport.get_extra_info("peername")
        present = None if address is None else way_to(address)
        return present is not None and self._way is not None and present != self._way

    def date_problem(self, utc: datetime) -> str:
        """What is wrong with the server's chain at this time; empty where nothing is, or there is no TLS."""
        if not self.chain:
            return ""
        from agent.ocpp_client.tls import Dates, wrong_date

        wrong = wrong_date(self.chain, Dates(utc=utc, is_certain=True))
        return "" if wrong is None else wrong.verify_message

    async def receive(self) -> str | bytes:
        """The next message. Raises ConnectionLost."""
        from websockets.exceptions import ConnectionClosed

        try:
            return await self._websocket.recv()
        except ConnectionClosed as closed:
            raise _lost(closed) from closed

    async def send(self, text: str) -> None:
        """Send a text message; waits while the peer does not read. Raises ConnectionLost."""
        from websockets.exceptions import ConnectionClosed

        try:
            await self._websocket.send(text)
        except ConnectionClosed as closed:
            raise _lost(closed) from closed

    async def ping(self, deadline_s: float) -> None:
        """Send a ping and wait for its pong. Raises ConnectionLost, also when none came in time: the link is half-open."""
        from websockets.exceptions import ConnectionClosed

        try:
            async with asyncio.timeout(deadline_s):
                pong = await self._websocket.ping()
                await pong
        except TimeoutError:
            raise ConnectionLost(
                f"no pong within {deadline_s:g} s",
                cure="the network between station and CSMS is interrupted; the station reconnects by itself",
            ) from None
        except ConnectionClosed as closed:
            raise _lost(closed) from closed

    async def close(self, reason: str = "") -> None:
        """Say goodbye (1000) and wait for the answer, at most 2 s."""
        await self._websocket.close(1000, reason[:100].encode("ascii", "replace").decode())

    def abort(self) -> None:
        """End the TCP connection at once."""
        self._websocket.transport.abort()


class Transport:
    """Opens connections to one CSMS."""

    def __init__(
        self, settings: ClientSettings, network: NetworkLike, subprotocols: Sequence[str], time_source: TimeSource | None = None
    ) -> None:
        """Check the settings. Without `time_source` the system's clock is right. Raises ValueError: what is wrong, and what is allowed."""
        parts = _checked_url(settings)
        self._settings = settings
        self._network = network
        self._time = time_source
        self._subprotocols = tuple(subprotocols)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "wss" else 80)
        path = parts.path.rstrip("/") + "/" + quote(settings.station_id, safe=_PATH_SAFE)
        self.url = urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))
        self._is_secure = parts.scheme == "wss"
        self._tls: tuple[float, ssl.SSLContext] | None = None
        self.phase = Phase.SETTINGS
        """Of the newest attempt."""

    async def open(self) -> Connection:
        """Connect, upgrade and check the subprotocol, all within 30 s. Raises ConnectFailed with the reason and the cure."""
        from websockets.exceptions import WebSocketException

        self.phase = Phase.SETTINGS
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                websocket, is_unsure = await self._upgrade()
        except TimeoutError:
            raise ConnectFailed(
                f"the CSMS at {self._host}:{self._port} did not finish the WebSocket handshake within {OPEN_TIMEOUT_S:g} s",
                cure="check the URL's port, and the firewall between station and CSMS",
                phase=self.phase,
            ) from None
        except ConnectFailed:
            raise
        except (OSError, WebSocketException, ValueError, EOFError) as error:
            raise self._failure(error) from error
        self.phase = Phase.SUBPROTOCOL
        if websocket.subprotocol not in self._subprotocols:
            with contextlib.suppress(WebSocketException, OSError):
                await websocket.close(1002, "no common OCPP version")
            raise ConnectFailed(
                f"the CSMS agreed to none of {', '.join(self._subprotocols)}",
                cure="set ocpp.versions to a version that the CSMS speaks, and check the path of ocpp.url",
                phase=self.phase,
            )
        return Connection(websocket, websocket.subprotocol, is_unsure=is_unsure)

    async def _upgrade(self) -> "tuple[ClientConnection, bool]":
        """Connect, with TLS by the best time that is known, and say whether that was too little to be sure."""
        headers = self._authorization()
        if not self._is_secure:
            return await self._dial(headers, None), False
        import ssl

        dates = self._dates()
        if dates is None:
            try:
                return await self._dial(headers, await self._tls_context()), False
            except ssl.SSLCertVerificationError as error:
                dates = self._dates_of_a_slow_clock(error)
                if dates is None:
                    raise
        if not dates.is_certain:
            _log.warning(
                "TLS without knowing the time: certificates are refused only if they expired before %s, until the CSMS tells the time",
                dates.utc.isoformat(timespec="seconds"),
            )
        return await self._dial(headers, await self._read_roots(dates)), not dates.is_certain

    def _dates(self) -> "Dates | None":
        """What to judge certificates by; None while the system's clock, and with it OpenSSL, is good enough."""
        if self._time is None:
            return None
        from agent.ocpp_client.tls import Dates

        system = datetime.now(UTC)
        utc = self._time.ntp_utc()
        if utc is not None:
            return None if abs(system - utc) <= _AGREES else Dates(utc=utc, is_certain=True)
        at_least = self._time.not_before()
        return Dates(utc=at_least, is_certain=False) if system < at_least - _GRACE else None

    def _dates_of_a_slow_clock(self, error: "ssl.SSLCertVerificationError") -> "Dates | None":
        """A certificate that is not valid *yet*, by a clock that nobody vouches for, says more about the clock."""
        from agent.ocpp_client.tls import NOT_YET_VALID, Dates

        if self._time is None or getattr(error, "verify_code", 0) != NOT_YET_VALID or self._time.ntp_utc() is not None:
            return None
        return Dates(utc=max(self._time.not_before(), datetime.now(UTC)), is_certain=False)

    async def _dial(self, headers: dict[str, str], context: "ssl.SSLContext | None") -> "ClientConnection":
        from websockets.asyncio.client import ClientConnection, connect
        from websockets.typing import Subprotocol

        transport = self

        class Watched(ClientConnection):
            def connection_made(self, base: asyncio.BaseTransport) -> None:
                """The TLS handshake, where there is one, has ended well."""
                transport.phase = Phase.HTTP
                super().connection_made(base)

        self.phase = Phase.TCP
        try:
            sock = await self._network.connect(self._host, self._port)
        except OSError as error:
            raise self._unreachable(error) from error
        self.phase = Phase.HTTP if context is None else Phase.TLS
        try:
            _tune_socket(sock)
            opening = connect(
                self.url,
                subprotocols=[Subprotocol(name) for name in self._subprotocols],
                compression=None,  # OCPP-J 2.0.1 5.1: optional, and it costs memory on a small board
                additional_headers=headers,
                user_agent_header="charger-agent",
                proxy=None,
                open_timeout=None,
                ping_interval=None,  # own pings: the interval is an OCPP variable and changes while connected
                close_timeout=CLOSE_TIMEOUT_S,
                max_size=MAX_FRAME_CHARS,
                logger=_wire_log,
                sock=sock,  # with a socket of ours websockets follows no redirect, which would lead to another host
                ssl=context,
                create_connection=Watched,
            )
        except BaseException:
            sock.close()
            raise
        return await opening  # from here on asyncio owns the socket and closes it

    def _authorization(self) -> dict[str, str]:
        if self._settings.security_profile == 0 or self._settings.password_file is None:
            return {}
        path = self._settings.password_file
        try:
            password = path.read_bytes().rstrip(b"\r\n")
        except OSError as error:
            raise ConnectFailed(
                f"the password file {path} cannot be read: {error.strerror}",
                cure="create it with the password that the CSMS expects, readable by the service only",
                phase=Phase.SETTINGS,
            ) from error
        return {"Authorization": "Basic " + b64encode(self._settings.station_id.encode() + b":" + password).decode()}

    async def _tls_context(self) -> "ssl.SSLContext":
        """The context whose dates OpenSSL judges; kept, and made anew when the roots changed."""
        ca_file = self._settings.ca_file
        changed_at = 0.0
        if ca_file is not None:
            with contextlib.suppress(OSError):  # the reading says it better
                changed_at = ca_file.stat().st_mtime
        if self._tls is None or self._tls[0] != changed_at:
            self._tls = (changed_at, await self._read_roots(None))
        return self._tls[1]

    async def _read_roots(self, dates: "Dates | None") -> "ssl.SSLContext":
        from agent.ocpp_client.tls import client_context

        ca_file = self._settings.ca_file
        try:
            return await asyncio.to_thread(client_context, ca_file, dates)
        except OSError as error:
            raise ConnectFailed(
                f"the root certificates {ca_file or 'of the system'} cannot be read: {error.strerror or error}",
                cure="let ocpp.ca_file name a PEM file with the CSMS's root certificate",
                phase=Phase.SETTINGS,
            ) from error

    def _failure(self, error: Exception) -> ConnectFailed:
        import ssl

        from agent.ocpp_client.tls import cure

        response = _response(error)
        if response is not None:
            return _refusal(response)
        if isinstance(error, ssl.SSLError):
            reason = getattr(error, "verify_message", "") or error.reason or str(error)
            return ConnectFailed(f"TLS with {self._host}:{self._port} failed: {reason}", cure=cure(error), phase=Phase.TLS)
        if isinstance(error, OSError | EOFError):
            phase = "TLS" if self.phase is Phase.TLS else "WebSocket"
            return ConnectFailed(
                f"the server at {self._host}:{self._port} broke off the {phase} handshake: {str(error) or type(error).__name__}",
                cure="check that the URL's port speaks TLS 1.2 or 1.3" if self._is_secure else "check host, port and path of ocpp.url",
                phase=self.phase,
            )
        return ConnectFailed(
            f"the server at {self._host}:{self._port} does not speak WebSocket: {ascii(str(error))[1:-1][:160]}",
            cure="check host, port and path of ocpp.url",
        )

    def _unreachable(self, error: OSError) -> ConnectFailed:
        if isinstance(error, socket.gaierror):
            reason = f"the name {self._host} cannot be resolved: {error.strerror}"
            return ConnectFailed(reason, cure="check the network, DNS and ocpp.url", phase=Phase.NAME)
        return ConnectFailed(
            f"no TCP connection to {self._host}:{self._port}: {error.strerror or error}",
            cure="check the network and ocpp.url; the CSMS may be down",
            phase=Phase.TCP,
        )


def _chain(websocket: "ClientConnection") -> "tuple[Validity, ...]":
    ssl_object = websocket.transport.get_extra_info("ssl_object")
    if ssl_object is None:
        return ()
    from agent.ocpp_client.tls import chain_of

    return chain_of(ssl_object)


def way_to(address: tuple[object, ...]) -> str | None:
    """The own address from which the system would send to `address` now, None while it has no route. Sends nothing.

    Of IPv6 the network part: the rest changes by itself (RFC 8981).
    """
    family = socket.AF_INET6 if ":" in str(address[0]) else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)
            return _network_part(str(probe.getsockname()[0]))
    except OSError:
        return None


def _network_part(address: str) -> str:
    if ":" not in address:
        return address
    with contextlib.suppress(OSError):
        return socket.inet_pton(socket.AF_INET6, address.partition("%")[0])[:8].hex()
    return address


def _own_address(websocket: "ClientConnection") -> str | None:
    """From where the connection was made; None where that was not by the system's own choice (another interface, a tunnel)."""
    address = websocket.transport.get_extra_info("peername")
    own = websocket.transport.get_extra_info("sockname")
    if not isinstance(address, tuple) or not isinstance(own, tuple):
        return None
    way = _network_part(str(own[0]))
    return way if way_to(address) == way else None


def _peer(websocket: "ClientConnection") -> str:
    """The address at the other end, and the version of TLS."""
    address = websocket.transport.get_extra_info("peername")
    ssl_object = websocket.transport.get_extra_info("ssl_object")
    where = f"{address[0]}:{address[1]}" if isinstance(address, tuple) and len(address) >= 2 else ""
    return where if ssl_object is None else f"{where} {ssl_object.version()}"


def _checked_url(settings: ClientSettings) -> SplitResult:
    parts = urlsplit(settings.url)
    allowed = {0: "ws", 1: "ws", 2: "wss"}
    scheme = allowed.get(settings.security_profile)
    if scheme is None:
        raise ValueError(f"ocpp.security_profile = {settings.security_profile}: allowed are 0, 1 and 2")
    if parts.scheme != scheme:
        raise ValueError(
            f"ocpp.url = {_without_password(parts)!r}: security profile {settings.security_profile} needs a {scheme}:// address"
        )
    if not parts.hostname:
        raise ValueError(f"ocpp.url = {_without_password(parts)!r}: has no host")
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            f"ocpp.url = {_without_password(parts)!r}: carries a password; put it into a file and name that in ocpp.password_file"
        )
    if settings.security_profile > 0:
        if settings.password_file is None:
            raise ValueError(f"ocpp.password_file is missing: security profile {settings.security_profile} authenticates with a password")
        if ":" in settings.station_id:
            raise ValueError(f"station.id = {settings.station_id!r}: may hold no ':' with Basic authentication (RFC 7617)")
    return parts


def _without_password(parts: SplitResult) -> str:
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))


def _tune_socket(sock: socket.socket) -> None:
    """Send small frames at once, and let the kernel give up unacknowledged data after a minute instead of a quarter of an hour.

    asyncio sets TCP_NODELAY only on sockets made with proto=IPPROTO_TCP; without it a second answer waits 40 ms for an ACK.
    Not every socket knows the options.
    """
    with contextlib.suppress(OSError, AttributeError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _TCP_USER_TIMEOUT_MS)


def _response(error: BaseException | None) -> "Response | None":
    """The HTTP answer that refused the upgrade, also where websockets tried to follow its redirect first."""
    from websockets.exceptions import InvalidStatus

    while error is not None:
        if isinstance(error, InvalidStatus):
            return error.response
        error = error.__cause__ or error.__context__
    return None


_STATUS_CURES = {
    401: "the CSMS refused the password: compare ocpp.password_file with what the CSMS has stored for this station",
    403: "the CSMS refuses this station: ask its operator",
    404: "the CSMS does not know this station: check station.id and the path of ocpp.url, and that the station was added",
    426: "the CSMS wants another protocol version: check ocpp.versions",
    429: "the CSMS is overloaded or this station came too often; the station waits and tries again",
    500: "the CSMS has an internal error: ask its operator",
    502: "the CSMS is not behind its gateway: ask its operator",
    503: "the CSMS is not available now; the station waits and tries again",
}


def _refusal(response: "Response") -> ConnectFailed:
    status = response.status_code
    if status in _REDIRECTS:
        return ConnectFailed(
            f"the CSMS redirects (HTTP {status}), which is not followed",
            cure="set ocpp.url to the address that the CSMS operator names",
            status=status,
        )
    return ConnectFailed(
        f"the CSMS refused the connection with HTTP {status}",
        cure=_STATUS_CURES.get(status, "check that ocpp.url is the CSMS's OCPP address"),
        retry_after_s=_retry_after_s(response),
        status=status,
    )


def _retry_after_s(response: "Response") -> float | None:
    """Retry-After in seconds; its date form is counted from the answer's own Date, so that our clock plays no part (RFC 9110 10.2.3)."""
    for text in response.headers.get_all("Retry-After")[:1]:
        if text.isascii() and text.isdigit():
            return float(text[:9])
        with contextlib.suppress(ValueError, TypeError, IndexError, OverflowError):
            until = parsedate_to_datetime(text)
            now = parsedate_to_datetime(response.headers.get_all("Date")[0])
            return max(0.0, (until - now).total_seconds())
    return None


def _lost(closed: Exception) -> ConnectionLost:
    from websockets.exceptions import ConnectionClosed

    if not isinstance(closed, ConnectionClosed):
        return ConnectionLost(str(closed))
    received, sent = closed.rcvd, closed.sent
    if received is not None:
        words = ascii(received.reason)[1:-1][:120]
        return ConnectionLost(
            f"the CSMS closed the connection with {received.code}" + (f" ({words})" if words else ""),
            cure=_CLOSE_CURES.get(received.code, "the station reconnects by itself"),
            code=received.code,
        )
    if sent is not None:
        return ConnectionLost(f"closed with {sent.code} ({sent.reason})", cure="the CSMS sent what is no WebSocket message", code=sent.code)
    cause = closed.__cause__
    return ConnectionLost(
        "the connection broke" + (f": {cause}" if cause is not None else ""),
        cure="check the network; the station reconnects by itself",
    )


_CLOSE_CURES = {
    1008: "the CSMS refuses this station (identity, password or certificate): ask its operator",
    1013: "the CSMS is overloaded; the station waits and tries again",
}
