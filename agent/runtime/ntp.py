"""Whether a time service (systemd-timesyncd, chrony, ntpd, ptp4l with phc2sys) keeps the kernel's clock right: the kernel itself is asked.

Each of them clears the kernel's flag STA_UNSYNC while it is synchronized (chrony with `rtcsync`, which distributions set). The kernel sets
it again when nobody corrected the clock for some hours. Imported when it is asked for: `ctypes` is not needed to begin.
"""

import ctypes
from typing import Final

_STA_UNSYNC: Final = 0x0040
_TIME_ERROR: Final = 5
MOST_ERROR_US: Final = 5_000_000
"""The kernel's bound of the error grows by 0.5 ms/s between two corrections; a time service corrects every 34 minutes or oftener."""


class Timex(ctypes.Structure):
    """The beginning of `struct timex` (adjtimex(2)); the rest is room for what the kernel writes behind it."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_ubyte * 512),
    )


def is_synchronized(result: int, status: int, maxerror_us: int) -> bool:
    """What the kernel's answer means. `result` is adjtimex's own: the state of the clock, -1 for an error."""
    return 0 <= result < _TIME_ERROR and not status & _STA_UNSYNC and maxerror_us <= MOST_ERROR_US


def kernel_is_synchronized() -> bool:
    """Ask the kernel; reading needs no privilege. False where the C library has no adjtimex."""
    timex = Timex()
    adjtimex = getattr(_libc, "adjtimex", None)
    return adjtimex is not None and is_synchronized(adjtimex(ctypes.byref(timex)), timex.status, timex.maxerror)


_libc: Final = ctypes.CDLL(None)
