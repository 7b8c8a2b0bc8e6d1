"""How full the queue is, told when it passes a mark: a network that stays away is to be seen before values are thinned."""

from typing import Final, Protocol

MARKS: Final = (50, 80, 100)
"""Percent of the room. At 100 every other periodic value goes (`agent.store.tables.thin`)."""
EMPTIED: Final = 40
"""Percent below which the next mark is told again."""


class Notes(Protocol):
    """The technician's event list."""

    def note(self, name: str, detail: str, *, is_warning: bool) -> None:
        """A line for it. `name` is a stable word in snake_case."""


class QueueGauge:
    """Looked at now and then."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._told = 0

    def look(self, depth: int, room: int) -> None:
        """`depth` messages wait, `room` may wait before periodic values are thinned."""
        percent = depth * 100 // room
        if percent < EMPTIED:
            if self._told:
                self._notes.note("queue_emptied", f"{depth} messages wait", is_warning=False)
            self._told = 0
            return
        passed = max((mark for mark in MARKS if mark <= percent), default=0)
        if passed > self._told:
            self._told = passed
            self._notes.note("queue_fills", f"{depth} messages wait, {percent} % of the room for them", is_warning=True)
