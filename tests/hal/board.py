"""A board that does what it is told and remembers it, and a clock that stands until it is moved: the outside of the guard's tests."""

import heapq
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from agent.domain.authorization import IdToken
from agent.domain.connector import FaultKind
from agent.domain.ids import EvseId
from agent.domain.pilot import PilotOutput, PilotState
from agent.hal.api import EvsePorts


class ManualHandle:
    def __init__(self) -> None:
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class ManualTimers:
    """Timers of an event loop whose time moves only in `advance`. Calls of `call_soon` run in `run_soon` and in `advance`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[tuple[float, int, ManualHandle, Callable[..., object], tuple[object, ...]]] = []
        self._soon: list[tuple[Callable[..., object], tuple[object, ...]]] = []
        self._order = itertools.count()

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[..., object], *args: object) -> ManualHandle:
        handle = ManualHandle()
        heapq.heappush(self._timers, (when, next(self._order), handle, callback, args))
        return handle

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> ManualHandle:
        return self.call_at(self.now + delay, callback, *args)

    def call_soon(self, callback: Callable[..., object], *args: object) -> None:
        self._soon.append((callback, args))

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: object) -> None:
        self.call_soon(callback, *args)

    def run_soon(self) -> None:
        while self._soon:
            callback, args = self._soon.pop(0)
            callback(*args)

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        self.run_soon()
        while self._timers and self._timers[0][0] <= end:
            when, _, handle, callback, args = heapq.heappop(self._timers)
            self.now = max(self.now, when)
            if not handle.is_cancelled:
                callback(*args)
            self.run_soon()
        self.now = end


@dataclass
class BoardContactor:
    commands: list[str] = field(default_factory=list)
    renewals: int = 0
    on_close: Callable[[], None] | None = None
    on_open: Callable[[], None] | None = None

    @property
    def is_commanded_closed(self) -> bool:
        return bool(self.commands) and self.commands[-1] == "close"

    def close(self) -> None:
        if self.on_close is not None:
            self.on_close()
        self.commands.append("close")

    def open(self) -> None:
        if self.on_open is not None:
            self.on_open()
        self.commands.append("open")

    def renew_permission(self) -> None:
        self.renewals += 1


@dataclass
class BoardPilot:
    outputs: list[PilotOutput] = field(default_factory=list)
    on_output: Callable[[], None] | None = None

    def set_output(self, output: PilotOutput) -> None:
        if self.on_output is not None:
            self.on_output()
        self.outputs.append(output)


@dataclass
class BoardLock:
    commands: list[str] = field(default_factory=list)

    def lock(self) -> None:
        self.commands.append("lock")

    def unlock(self) -> None:
        self.commands.append("unlock")


@dataclass
class BoardEvse:
    has_lock: bool = False
    has_ventilation: bool = False
    pilot: BoardPilot = field(default_factory=BoardPilot)
    contactor: BoardContactor = field(default_factory=BoardContactor)
    lock: BoardLock = field(default_factory=BoardLock)

    def ports(self) -> EvsePorts:
        lock = self.lock if self.has_lock else None
        return EvsePorts(pilot=self.pilot, contactor=self.contactor, lock=lock, has_ventilation=self.has_ventilation)


def ports_of(board: Mapping[EvseId, BoardEvse]) -> dict[EvseId, EvsePorts]:
    return {evse_id: evse.ports() for evse_id, evse in board.items()}


@dataclass
class RecordedSink:
    """A HalSink that keeps what was reported, in order."""

    reports: list[tuple[object, ...]] = field(default_factory=list)

    def pilot_measured(self, evse_id: EvseId, state: PilotState) -> None:
        self.reports.append(("pilot", evse_id, state))

    def contactor_reported(self, evse_id: EvseId, *, is_closed: bool) -> None:
        self.reports.append(("contactor", evse_id, is_closed))

    def lock_reported(self, evse_id: EvseId, *, is_locked: bool) -> None:
        self.reports.append(("lock", evse_id, is_locked))

    def fault_changed(self, evse_id: EvseId | None, fault: FaultKind, *, is_present: bool, detail: str = "") -> None:
        self.reports.append(("fault", evse_id, fault, is_present))

    def id_token_presented(self, evse_id: EvseId | None, id_token: IdToken) -> None:
        self.reports.append(("token", evse_id, id_token.value, id_token.type))

    def last(self, *head: object) -> tuple[object, ...] | None:
        """The newest report that begins with `head`."""
        return next((one for one in reversed(self.reports) if one[: len(head)] == head), None)
