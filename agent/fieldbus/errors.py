"""What can go wrong on a field bus.

BusError
├── BusUrlError         the configuration: a URL that cannot be a bus
└── BusTemporary        the world: may work at the next attempt
    ├── BusUnavailable  port or connection cannot be opened, or was lost
    ├── BusTimeout      no valid answer within the time-out, retry included
    ├── BusQuarantined  not asked, because the device did not answer several times
    ├── BusOverloaded   not asked, because too many requests wait
    ├── BusClosed       the bus was closed while the request waited
    └── BusException    the device answered with a Modbus exception code
"""


class BusError(Exception):
    """Root of everything that a field bus raises."""


class BusUrlError(BusError):
    """A bus URL that cannot be used: the sentence names the part, its value and what is allowed."""


class BusTemporary(BusError):
    """The bus or the device failed; a later attempt may succeed."""


class BusUnavailable(BusTemporary):
    """The serial port or the connection cannot be opened, or was lost."""


class BusTimeout(BusTemporary):
    """No valid answer within the time-out. A frame with a wrong CRC counts as no answer."""


class BusQuarantined(BusTemporary):
    """The device was not asked: it failed several times and its pause lasts `remaining_s` more."""

    def __init__(self, message: str, *, remaining_s: float) -> None:
        super().__init__(message)
        self.remaining_s = remaining_s


class BusOverloaded(BusTemporary):
    """The request queue of the bus is full."""


class BusClosed(BusTemporary):
    """The bus was closed by us."""


EXCEPTION_NAMES = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledge",
    6: "device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target did not respond",
}
"""Modbus Application Protocol 1.1b3, section 7."""


class BusException(BusTemporary):
    """The device understood the request and refused it with Modbus exception `code` (Modbus Application Protocol 1.1b3, section 7)."""

    def __init__(self, where: str, code: int) -> None:
        super().__init__(f"{where}: Modbus exception {code} ({EXCEPTION_NAMES.get(code, 'not in the standard')})")
        self.code = code
