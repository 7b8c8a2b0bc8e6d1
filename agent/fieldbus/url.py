"""Bus URLs: where a Modbus device is. The grammar is in docs/meters.md."""

from enum import StrEnum
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from agent.domain.values import dataclass
from agent.fieldbus.errors import BusUrlError

BAUDRATES: Final = (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)
DEFAULT_TCP_PORT: Final = 502
TCP_EXAMPLE: Final = "tcp://192.168.1.5:502?device=1"
SERIAL_EXAMPLE: Final = "serial:///dev/ttyUSB0?baudrate=9600&parity=N&stopbits=1&device=1"


class Framing(StrEnum):
    """How a Modbus request is packed: MBAP header on TCP, or RTU with CRC on serial lines and transparent gateways."""

    TCP = "tcp"
    RTU = "rtu"


class Parity(StrEnum):
    """Parity of a serial line."""

    NONE = "N"
    EVEN = "E"
    ODD = "O"


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpEndpoint:
    """A Modbus TCP server, or with `framing` rtu a gateway that passes the bytes of a serial line through."""

    host: str
    port: int
    framing: Framing = Framing.TCP

    @property
    def resource(self) -> str:
        """The thing that can be opened only once: here the address."""
        return f"tcp://{self.host}:{self.port}"

    def __str__(self) -> str:
        return self.resource if self.framing is Framing.TCP else f"{self.resource}?framing=rtu"


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialEndpoint:
    """A serial line. Modbus RTU always has 8 data bits."""

    path: str
    baudrate: int = 9600
    parity: Parity = Parity.NONE
    stopbits: int = 1

    @property
    def framing(self) -> Framing:
        """Always RTU."""
        return Framing.RTU

    @property
    def resource(self) -> str:
        """The thing that can be opened only once: here the port."""
        return f"serial://{self.path}"

    @property
    def character_s(self) -> float:
        """Time of one character on the line, in seconds."""
        bits = 1 + 8 + (self.parity is not Parity.NONE) + self.stopbits
        return bits / self.baudrate

    def __str__(self) -> str:
        return f"{self.resource} {self.baudrate} 8{self.parity}{self.stopbits}"


Endpoint = TcpEndpoint | SerialEndpoint


@dataclass(frozen=True, slots=True)
class BusUrl:
    """One device on one bus. `device` is the Modbus unit or slave address, 1..247 (TCP also 0 and 255)."""

    endpoint: Endpoint
    device: int = 1


def parse_bus_url(url: str) -> BusUrl:
    """Read a bus URL. Raises BusUrlError naming the part that is wrong and what is allowed."""
    parts = urlsplit(url)
    query = _query(url, parts.query)
    match parts.scheme:
        case "tcp":
            return _tcp(url, parts.hostname, _port(url), parts.path, query)
        case "serial":
            return _serial(url, parts.netloc, parts.path, query)
        case other:
            raise BusUrlError(f"{url!r}: scheme {other!r} is not known; use {TCP_EXAMPLE} or {SERIAL_EXAMPLE}")


def _query(url: str, text: str) -> dict[str, str]:
    pairs = parse_qsl(text, keep_blank_values=True)
    query = dict(pairs)
    if len(query) != len(pairs):
        raise BusUrlError(f"{url!r}: a parameter stands twice")
    return query


def _port(url: str) -> int:
    try:
        port = urlsplit(url).port
    except ValueError as error:
        raise BusUrlError(f"{url!r}: the port must be a number from 1 to 65535") from error
    return DEFAULT_TCP_PORT if port is None else port


def _tcp(url: str, host: str | None, port: int, path: str, query: dict[str, str]) -> BusUrl:
    if not host or path.strip("/"):
        raise BusUrlError(f"{url!r}: expected a host and nothing but parameters after it, as in {TCP_EXAMPLE}")
    if port == 0:
        raise BusUrlError(f"{url!r}: port 0 cannot be connected to; use 1 to 65535")
    device = _integer(url, query, "device", 1, range(256))
    framing = _choice(url, query, "framing", Framing.TCP, tuple(Framing))
    _nothing_left(url, query, "device, framing")
    return BusUrl(TcpEndpoint(host=host, port=port, framing=Framing(framing)), device)


def _serial(url: str, netloc: str, path: str, query: dict[str, str]) -> BusUrl:
    if netloc or not path.startswith("/") or path == "/":
        raise BusUrlError(f"{url!r}: expected three slashes and the path of the port, as in {SERIAL_EXAMPLE}")
    device = _integer(url, query, "device", 1, range(1, 248))
    baudrate = _integer(url, query, "baudrate", 9600, BAUDRATES)
    parity = _choice(url, query, "parity", Parity.NONE, tuple(Parity))
    stopbits = _integer(url, query, "stopbits", 1, (1, 2))
    _nothing_left(url, query, "device, baudrate, parity, stopbits")
    return BusUrl(SerialEndpoint(path=path, baudrate=baudrate, parity=Parity(parity), stopbits=stopbits), device)


def _integer(url: str, query: dict[str, str], key: str, default: int, allowed: range | tuple[int, ...]) -> int:
    text = query.pop(key, None)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and len(text) <= 9 and int(text) in allowed:
        return int(text)
    words = f"{allowed.start} to {allowed.stop - 1}" if isinstance(allowed, range) else ", ".join(map(str, allowed))
    raise BusUrlError(f"{url!r}: {key}={text!r} is not allowed; use {words}")


def _choice(url: str, query: dict[str, str], key: str, default: str, allowed: tuple[str, ...]) -> str:
    text = query.pop(key, default)
    if text not in allowed:
        raise BusUrlError(f"{url!r}: {key}={text!r} is not allowed; use {', '.join(allowed)}")
    return text


def _nothing_left(url: str, query: dict[str, str], known: str) -> None:
    if query:
        raise BusUrlError(f"{url!r}: unknown parameter {', '.join(sorted(query))}; known are {known}")
