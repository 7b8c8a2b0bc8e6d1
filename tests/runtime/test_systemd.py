"""What reaches a service manager's socket, and that a missing one never hurts."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.runtime.systemd import notify, watchdog_interval


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The service manager's end: a real datagram socket."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        sock.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        yield sock


def test_a_state_arrives_as_it_is(manager: socket.socket) -> None:
    assert notify("READY=1") is True
    assert manager.recv(4096) == b"READY=1"


def test_several_assignments_are_one_message(manager: socket.socket) -> None:
    notify("READY=1", "STATUS=charging at EVSE 1 – 11 kW")
    assert manager.recv(4096).decode() == "READY=1\nSTATUS=charging at EVSE 1 – 11 kW"


def test_a_line_end_in_a_value_starts_no_other_assignment(manager: socket.socket) -> None:
    notify("STATUS=refused:\nSTOPPING=1")
    assert manager.recv(4096) == b"STATUS=refused: STOPPING=1"


def test_an_endless_status_is_cut(manager: socket.socket) -> None:
    assert notify("STATUS=" + "ø" * 1_000_000) is True
    assert manager.recv(1 << 20).decode() == "STATUS=" + "ø" * 1020


def test_an_abstract_socket_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"charger-agent-test-{os.getpid()}-{os.urandom(4).hex()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0{name}")
        sock.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        assert notify("WATCHDOG=1") is True
        assert sock.recv(4096) == b"WATCHDOG=1"


def test_without_a_service_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert notify("READY=1") is False


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative", "/nonexistent/notify", "/" + "x" * 300])
def test_an_address_that_cannot_be_reached_does_not_hurt(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert notify("READY=1") is False


def test_a_service_manager_that_does_not_read_does_not_block(manager: socket.socket) -> None:
    sent = 0
    while notify("WATCHDOG=1"):
        sent += 1
        assert sent < 100_000
    assert sent > 0


@pytest.mark.parametrize(
    ("usec", "owner", "interval"),
    [
        ("30000000", None, 15.0),
        ("30000000", "me", 15.0),
        ("30000000", "1", None),
        ("0", None, None),
        ("", None, None),
        (None, None, None),
        ("soon", None, None),
        ("-5", None, None),
        ("٣", None, None),
    ],
)
def test_the_watchdog_is_fed_at_half_its_time_and_only_by_whom_it_watches(
    monkeypatch: pytest.MonkeyPatch, usec: str | None, owner: str | None, interval: float | None
) -> None:
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", str(os.getpid()) if owner == "me" else owner)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert watchdog_interval() == interval
