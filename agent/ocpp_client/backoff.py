"""How long to wait before the next connection attempt (OCPP-J 2.0.1, 5.3; used for 1.6 as well)."""

from collections.abc import Callable

from agent.domain.values import dataclass

LEAST_WAIT_S = 0.25
"""Also where the CSMS set both variables to 0: a refusing server must not become a busy loop."""
LONGEST_RETRY_AFTER_S = 3600.0
LONGEST_DOUBLED_S = 3600.0
"""Doubling goes no further: the variables allow 3600 s doubled twenty times, and a station that comes back in a century is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackOff:
    """RetryBackOffWaitMinimum and RetryBackOffRandomRange in seconds, RetryBackOffRepeatTimes."""

    wait_minimum_s: float = 10.0
    random_range_s: float = 10.0
    repeat_times: int = 5


class BackOffTimer:
    """The waits of one series of failures. `chance()` gives a number in [0, 1)."""

    def __init__(self, back_off: BackOff) -> None:
        self.back_off = back_off
        self._wait_s: float | None = None
        self._doublings = 0

    def next_wait_s(self, chance: Callable[[], float], retry_after_s: float | None = None) -> float:
        """WaitMinimum + random, then the doubled last wait + random, at most RepeatTimes doublings, then the last one again.

        Doubling ends at an hour. `retry_after_s` is what the server asked for (HTTP Retry-After): waited at least, up to an hour.
        """
        trio = self.back_off
        if self._wait_s is None:
            self._wait_s = trio.wait_minimum_s + chance() * trio.random_range_s
        elif self._doublings < trio.repeat_times:
            self._wait_s = max(self._wait_s, min(2 * self._wait_s + chance() * trio.random_range_s, LONGEST_DOUBLED_S))
            self._doublings += 1
        asked = 0.0 if retry_after_s is None else min(retry_after_s, LONGEST_RETRY_AFTER_S)
        return max(self._wait_s, asked, LEAST_WAIT_S)

    def reset(self) -> None:
        """The connection proved itself: the next failure is the first of a new series."""
        self._wait_s = None
        self._doublings = 0
