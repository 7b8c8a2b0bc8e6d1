"""Bus URLs."""

import pytest

from agent.fieldbus.errors import BusUrlError
from agent.fieldbus.url import BusUrl, Framing, Parity, SerialEndpoint, TcpEndpoint, parse_bus_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("tcp://127.0.0.1:5020?device=1", BusUrl(TcpEndpoint(host="127.0.0.1", port=5020), 1)),
        ("tcp://meter.local", BusUrl(TcpEndpoint(host="meter.local", port=502), 1)),
        ("tcp://[fe80::1]:502?device=255", BusUrl(TcpEndpoint(host="fe80::1", port=502), 255)),
        ("tcp://10.0.0.9:23?device=7&framing=rtu", BusUrl(TcpEndpoint(host="10.0.0.9", port=23, framing=Framing.RTU), 7)),
        (
            "serial:///dev/ttyUSB0?baudrate=19200&parity=E&stopbits=1&device=33",
            BusUrl(SerialEndpoint(path="/dev/ttyUSB0", baudrate=19200, parity=Parity.EVEN), 33),
        ),
        ("serial:///dev/ttyS1", BusUrl(SerialEndpoint(path="/dev/ttyS1"), 1)),
    ],
)
def test_url_is_understood(url: str, expected: BusUrl) -> None:
    assert parse_bus_url(url) == expected


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("rtu:///dev/ttyUSB0", "scheme 'rtu'"),
        ("/dev/ttyUSB0", "scheme ''"),
        ("tcp://:502", "expected a host"),
        ("tcp://host/path", "expected a host"),
        ("tcp://host:0", "port 0"),
        ("tcp://host:99999", "1 to 65535"),
        ("tcp://host:x", "1 to 65535"),
        ("tcp://host?device=256", "0 to 255"),
        ("tcp://host?device=-1", "0 to 255"),
        ("tcp://host?baudrate=9600", "unknown parameter baudrate"),
        ("tcp://host?framing=ascii", "tcp, rtu"),
        ("serial://dev/ttyUSB0", "three slashes"),
        ("serial:///", "three slashes"),
        ("serial:///dev/ttyUSB0?device=0", "1 to 247"),
        ("serial:///dev/ttyUSB0?device=1&device=2", "stands twice"),
        ("serial:///dev/ttyUSB0?baudrate=12345", "9600"),
        ("serial:///dev/ttyUSB0?parity=X", "N, E, O"),
        ("serial:///dev/ttyUSB0?stopbits=3", "1, 2"),
        ("serial:///dev/ttyUSB0?device=٣", "1 to 247"),
    ],
)
def test_wrong_url_is_refused_with_what_is_allowed(url: str, says: str) -> None:
    with pytest.raises(BusUrlError, match=says.replace("(", r"\(")) as caught:
        parse_bus_url(url)
    assert repr(url) in str(caught.value)


def test_character_time_counts_start_parity_and_stop_bits() -> None:
    assert SerialEndpoint(path="/dev/x").character_s == 10 / 9600
    assert SerialEndpoint(path="/dev/x", parity=Parity.EVEN, stopbits=2).character_s == 12 / 9600
