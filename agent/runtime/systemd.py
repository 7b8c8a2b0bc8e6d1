"""What the agent tells the service manager: ready, status, alive, leaving (sd_notify(3)). Does nothing where there is no systemd."""

import os
import socket
from typing import Final

_LONGEST: Final = 2048
"""Bytes of one notification; a STATUS= line is for one line of a terminal."""


def notify(*assignments: str) -> bool:
    """Send `READY=1`, `STATUS=text`, `WATCHDOG=1`, `STOPPING=1` and the like; several go in one message, and count together.

    Returns whether the message was handed over. Never blocks and never raises: a service manager that does not listen must not stop
    a charger.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False  # not under systemd, or a vsock address, which only a virtual machine's init gets
    # A line end inside a value would begin another assignment.
    text = "\n".join(" ".join(assignment.splitlines()) for assignment in assignments)
    message = text.encode()[:_LONGEST].decode(errors="ignore").encode()  # a character that is cut in two would spoil the whole message
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock:
            # "@" stands for the zero byte that an abstract address begins with.
            sock.connect("\0" + address[1:] if address.startswith("@") else address)
            sock.sendall(message)
    except OSError:
        return False
    return True


def watchdog_interval() -> float | None:
    """Seconds between two `WATCHDOG=1`: half of what the unit allows (sd_watchdog_enabled(3)). None where nobody watches this process."""
    period = os.environ.get("WATCHDOG_USEC", "")
    owner = os.environ.get("WATCHDOG_PID", "")
    if not _is_positive(period) or (owner and owner != str(os.getpid())):
        return None
    return int(period) / 2 / 1_000_000


def _is_positive(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) > 0
