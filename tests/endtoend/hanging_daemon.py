"""The production daemon in an outside that hangs: a process of its own for test_safety.py, never imported."""

import argparse
import socket
import sys
import time
from typing import NoReturn

from agent.__main__ import main as run_daemon
from agent.fieldbus.link import ModbusLink

HANGS_S = 60.0


def look_up(*_: object, **__: object) -> NoReturn:
    """A resolver that is not there: the C library asks it again and again, and no thread can be interrupted in that."""
    time.sleep(HANGS_S)
    raise OSError("no answer")


def close(link: ModbusLink) -> None:
    """A serial driver that waits in the kernel for a line that takes no more bytes."""
    if link.is_open:
        time.sleep(HANGS_S)


def main() -> int:
    """`hanging_daemon --config FILE --what resolver|serial`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    parser.add_argument("--what", choices=("resolver", "serial"), required=True)
    options = parser.parse_args()
    if options.what == "resolver":
        socket.getaddrinfo = look_up
    else:
        setattr(ModbusLink, "close", close)  # noqa: B010 - the type says that it is a method
    return run_daemon(["--config", options.config])


if __name__ == "__main__":
    sys.exit(main())
