"""What the store costs the flash while nobody charges and while somebody does, and what that makes of a day or an hour."""

from typing import Final

from agent.domain.values import dataclass

LEAST_S: Final = 600.0
"""A shorter time tells nothing about a day."""
BLOCK_BYTES: Final = 4096
"""What a flash writes at least, and what a file system writes beside it."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Bytes as SQLite handed them over, bytes as blocks of the flash, syncs."""

    written_bytes: int = 0
    flash_bytes: int = 0
    syncs: int = 0

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.written_bytes - other.written_bytes, self.flash_bytes - other.flash_bytes, self.syncs - other.syncs)

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.written_bytes + other.written_bytes, self.flash_bytes + other.flash_bytes, self.syncs + other.syncs)

    def projected(self, observed_s: float, to_s: float) -> "Cost | None":
        """What it makes of another length of time; None where too little was seen."""
        if observed_s < LEAST_S:
            return None
        share = to_s / observed_s
        return Cost(round(self.written_bytes * share), round(self.flash_bytes * share), round(self.syncs * share))


class Wear:
    """Time and cost, apart for idle and charging. `now_s` is monotonic; `total` counts from the opening of the store."""

    def __init__(self, now_s: float, total: Cost) -> None:
        self._since_s, self._total = now_s, total
        self._is_charging = False
        self._spent: dict[bool, tuple[float, Cost]] = {False: (0.0, Cost()), True: (0.0, Cost())}

    def note(self, now_s: float, total: Cost, *, is_charging: bool) -> None:
        """Account for the time since the last call by the state before it, and for what was written by the busier of both."""
        seconds, cost = self._spent[self._is_charging]
        self._spent[self._is_charging] = seconds + now_s - self._since_s, cost
        busier = self._is_charging or is_charging
        seconds, cost = self._spent[busier]
        self._spent[busier] = seconds, cost + (total - self._total)
        self._since_s, self._total, self._is_charging = now_s, total, is_charging

    def spent(self, *, is_charging: bool) -> tuple[float, Cost]:
        """Seconds and cost in one of the states."""
        return self._spent[is_charging]
