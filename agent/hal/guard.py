"""Stands between the engine and every contactor: applies `agent.domain.interlock`, opens on its own, and judges the mirror contact.

The driver reports to the guard, which looks first and then passes the report on. A contactor is commanded closed only while the interlock
holds; whatever ends that opens it in the same call, before anybody else hears of it. A thread of its own opens when the permission was not
renewed, so that a stuck event loop cannot keep a contactor closed. It is not the safety layer: that is the hardware (docs/hardware.md).

No filter stands before a pilot that leaves C or D: the level that a driver reports is already taken over several periods of the PWM, IEC
61851-1 sequence 8.1 leaves 100 ms for C→B, and the core too counts leaving C at once. A driver that sees glitches may filter up to 25 ms.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from agent.domain.authorization import IdToken
from agent.domain.connector import FaultKind
from agent.domain.ids import EvseId
from agent.domain.interlock import NOT_INTERLOCKING, Interlock, InterlockInputs, interlock
from agent.domain.pilot import X1, PilotOutput, PilotSignal, PilotState
from agent.hal.api import EvsePorts, HalDriver, HalSink

logger = logging.getLogger(__name__)

PERMISSION_LIFE_S: Final = 2.0
"""How long a permission lives in the guard. The engine renews it every 0.5 s."""
STOP_WINDOW_S: Final = 6.0
"""IEC 61851-1 sequence 10.2: time that the vehicle has after X1 to stop drawing; then the contactor opens under load."""
FEEDBACK_S: Final = 1.0
"""Within this time the mirror contact has to follow the command, both ways."""
UNEXPECTED_OPENING_S: Final = 0.2
"""Hardware that opens on its own may tell the reason after the mirror contact; without a reason within this time it is a fault."""
RETRY_S: Final = 0.1
"""An order that the driver failed to carry out is given again after this time, until it is taken."""
LATE_RENEWAL_S: Final = 0.8
"""A renewal later than this may have let the hardware's own permission expire: its opening is then no fault of the contactor."""

ENDS_WITH_THE_VEHICLE: Final = frozenset({FaultKind.CONTACTOR_DID_NOT_CLOSE, FaultKind.CONTACTOR_OPENED})
"""Contactor faults that unplugging clears. A welded contactor stays until a technician clears it, over unplugging."""

_OPENING: Final = "opening the contactor"
_PILOT: Final = "setting the pilot"


class Handle(Protocol):
    """A timer that can be cancelled."""

    def cancel(self) -> None:
        """Forget the call."""


class Timers(Protocol):
    """What the guard needs of an event loop."""

    def time(self) -> float:
        """Seconds of the loop's clock."""

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> Handle:
        """Call in `delay` seconds of the loop's time."""

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: object) -> object:
        """Call on the loop's thread."""


class _Watched:
    """What the guard knows of one EVSE. Until the hardware has reported, it is what forbids."""

    __slots__ = (
        "awaits_opening",
        "closed_feedback",
        "failing",
        "faults",
        "is_commanded",
        "is_locked",
        "late_at",
        "output",
        "own_faults",
        "permitted_until",
        "pilot",
        "ports",
        "renewed_at",
        "signal",
        "stop_timer",
        "stop_until",
        "verdict_timer",
    )

    def __init__(self) -> None:
        self.ports: EvsePorts | None = None
        self.pilot = PilotState.F
        self.signal = PilotSignal.F
        self.is_locked = False
        self.faults: set[FaultKind] = set()
        self.own_faults: set[FaultKind] = set()
        self.failing: set[str] = set()
        self.output: PilotOutput | None = None
        self.closed_feedback: bool | None = None
        self.awaits_opening = False
        self.is_commanded = False
        self.permitted_until: float | None = None
        self.renewed_at: float | None = None
        self.late_at: float | None = None
        self.stop_until: float | None = None
        self.stop_timer: Handle | None = None
        self.verdict_timer: Handle | None = None


class Guard:
    """The `HalSink` of the driver and the only user of its contactor ports.

    `sink` is the engine's. `on_refused` hears of every contactor that the guard opened on its own: later on the loop's thread, never from
    within a call of the guard. `clock` is monotonic seconds of real time, for permissions only; all other times are the event loop's.
    """

    def __init__(
        self,
        sink: HalSink,
        *,
        on_refused: Callable[[EvseId, Interlock], None],
        life_s: float = PERMISSION_LIFE_S,
        stop_window_s: float = STOP_WINDOW_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sink = sink
        self._on_refused = on_refused
        self._life_s = life_s
        self._stop_window_s = stop_window_s
        self._clock = clock
        self._timers: Timers | None = None
        self._evses: dict[EvseId, _Watched] = {}
        self._station_faults: set[FaultKind] = set()
        # The lock protects decisions, never a call into a driver: a driver that hangs in one call must not keep the thread from opening.
        self._lock = threading.RLock()
        self._wake = threading.Condition(self._lock)
        self._is_ended = False
        self._is_disturbed = False
        self._thread: threading.Thread | None = None
        self._loop_thread = threading.get_ident()

    # ------------------------------------------------------------------------------------------------------ life
    async def start(self, driver: HalDriver) -> None:
        """Start the driver with the guard as its sink, take its ports, bring them to rest, and start the thread. Raises HalError."""
        self._timers = asyncio.get_running_loop()
        ports = await driver.start(self)
        self.attach(ports, self._timers)
        for evse_id in ports:
            # A run that was killed may have left its offer on the pilot: hardware that goes on by itself would keep it.
            self.set_pilot(evse_id, X1)
        self._thread = threading.Thread(target=self._watch, name="contactor-guard", daemon=True)
        self._thread.start()

    def attach(self, ports: Mapping[EvseId, EvsePorts], timers: Timers) -> None:
        """Take the ports of a driver, on the loop's thread. Without the thread of `start`, `expire` has to be called.

        A contactor that is not reported open is ordered open: nothing is permitted yet, whatever the process before this one did.
        """
        self._timers = timers
        self._loop_thread = threading.get_ident()
        with self._lock:
            for evse_id, evse_ports in ports.items():
                self._watched(evse_id).ports = evse_ports
        for evse_id, evse_ports in ports.items():
            if self._watched(evse_id).closed_feedback is not False:
                self._order_open(evse_id, evse_ports)
            self._judge(evse_id)

    @property
    def is_watching(self) -> bool:
        """Whether the thread that opens on an expired permission lives."""
        return self._thread is not None and self._thread.is_alive()

    def close_down(self) -> None:
        """Open every contactor and end the thread. The driver is the caller's to close, afterwards."""
        with self._lock:
            self._is_ended = True
            self._wake.notify_all()
            evses = list(self._evses)
        for evse_id in evses:
            self.revoke(evse_id)
        if self._thread is not None:
            self._thread.join(timeout=1.0)
        with self._lock:
            for watched in self._evses.values():
                _cancel(watched.stop_timer)
                _cancel(watched.verdict_timer)

    # ------------------------------------------------------------------------------------------- what the engine orders
    def permit(self, evse_id: EvseId) -> None:
        """Let the contactor be closed for another `life_s`, and let the hardware's permission live on."""
        now = self._clock()
        with self._lock:
            watched = self._known(evse_id)
            if watched.renewed_at is not None and now - watched.renewed_at > LATE_RENEWAL_S:
                watched.late_at = now
            watched.renewed_at = now
            watched.permitted_until = now + self._life_s
        self._ports(watched).contactor.renew_permission()

    def revoke(self, evse_id: EvseId) -> None:
        """Take the permission away; opens. The engine's own decision: `on_refused` is not called."""
        with self._lock:
            watched = self._known(evse_id)
            watched.permitted_until = watched.renewed_at = watched.late_at = None
        self.open(evse_id)

    def close(self, evse_id: EvseId) -> Interlock | None:
        """Order a closed contactor. Gives the condition that forbids it, or None when it was ordered (or is already)."""
        with self._lock:
            watched = self._known(evse_id)
            why = self._forbids(watched)
            if why is None and watched.is_commanded:
                return None
            if why is None:
                watched.is_commanded = True
                self._is_disturbed = True
                self._wake.notify_all()
        if why is not None:
            self.open(evse_id)
            return why
        ports = self._ports(watched)
        try:
            ports.contactor.close()
        except Exception as error:  # whatever the driver's bug is: half an order to close ends open, and the driver is told why
            logger.exception("closing a contactor failed evse_id=%d", evse_id)
            self.open(evse_id)
            self._set_own_fault(evse_id, FaultKind.CONTACTOR_DID_NOT_CLOSE, f"the driver failed to close it: {error}")
            return Interlock.FAULT
        with self._lock:
            was_opened_meanwhile = not watched.is_commanded
        if was_opened_meanwhile:
            # The thread's open may have come before the close that was under way here: the last word must be open.
            self._order_open(evse_id, ports)
        self._judge(evse_id)
        return None

    def open(self, evse_id: EvseId) -> None:
        """Open now. Thread-safe."""
        with self._lock:
            watched = self._known(evse_id)
            was_commanded = watched.is_commanded
            self._command_open(watched)
        if watched.ports is not None:
            self._order_open(evse_id, watched.ports)
        if was_commanded and threading.get_ident() == self._loop_thread:
            self._judge(evse_id)
        elif was_commanded:
            self._on_loop(self._judge, evse_id)

    def set_pilot(self, evse_id: EvseId, output: PilotOutput) -> None:
        """Put a signal on the pilot. From PWM to X1 with the contactor closed begins the window of an orderly stop; F opens at once."""
        with self._lock:
            watched = self._known(evse_id)
            before, watched.signal = watched.signal, output.signal
            if output.signal is not PilotSignal.X1:
                self._end_stop(watched)
            begins_stop = output.signal is PilotSignal.X1 and before is PilotSignal.PWM and watched.is_commanded
            watched.output = output
        self._put_on_pilot(evse_id, output)
        if begins_stop:
            self.begin_stop(evse_id)
        self._refuse(evse_id, self._open_if_forbidden(evse_id))

    def begin_stop(self, evse_id: EvseId, window_s: float | None = None) -> None:
        """Bound the orderly stop: X1 with a closed contactor for at most `window_s` from now (SIGTERM: 3 s), then the guard opens.

        `set_pilot` begins it already with the full window; this can only shorten it. Nothing happens without X1 or a closed contactor.
        """
        timers = self._loop()
        with self._lock:
            watched = self._known(evse_id)
            if not watched.is_commanded or watched.signal is not PilotSignal.X1:
                return
            now = timers.time()
            until = now + min(self._stop_window_s if window_s is None else window_s, self._stop_window_s)
            if watched.stop_until is None or until < watched.stop_until:
                watched.stop_until = until
                _cancel(watched.stop_timer)
                watched.stop_timer = timers.call_later(until - now, self._stop_is_over, evse_id)

    def lock(self, evse_id: EvseId) -> None:
        """Drive the plug lock in; nothing where there is none."""
        port = self._ports(self._known(evse_id)).lock
        if port is not None:
            port.lock()

    def unlock(self, evse_id: EvseId) -> bool:
        """Release the plug. False where the contactor is ordered closed or not reported open: never a live plug in a hand."""
        with self._lock:
            watched = self._known(evse_id)
            is_live = watched.is_commanded or watched.closed_feedback is not False
        port = self._ports(watched).lock
        if port is None or is_live:
            return False
        port.unlock()
        return True

    def clear(self, evse_id: EvseId) -> None:
        """Forget the contactor's faults, because a technician looked at it. Found again within a second if they are still there."""
        self._on_loop(self._clear, evse_id)

    def is_commanded_closed(self, evse_id: EvseId) -> bool:
        """Whether the contactor is ordered closed at this moment."""
        return self._known(evse_id).is_commanded

    def forbids(self, evse_id: EvseId) -> Interlock | None:
        """Why the contactor may not be closed now, or None."""
        with self._lock:
            return self._forbids(self._known(evse_id))

    # ---------------------------------------------------------------------------------------- what the driver reports
    def pilot_measured(self, evse_id: EvseId, state: PilotState) -> None:
        """Look, open if need be, pass on."""
        with self._lock:
            watched = self._watched(evse_id)
            watched.pilot = state
        why = self._open_if_forbidden(evse_id)
        self._sink.pilot_measured(evse_id, state)
        self._refuse(evse_id, why)
        if state is PilotState.A:
            for fault in sorted(watched.own_faults & ENDS_WITH_THE_VEHICLE):
                self._set_own_fault(evse_id, fault, is_present=False)

    def contactor_reported(self, evse_id: EvseId, *, is_closed: bool) -> None:
        """Compare with the command, pass on."""
        with self._lock:
            watched = self._watched(evse_id)
            was_closed, watched.closed_feedback = watched.closed_feedback, is_closed
            opened_itself = bool(was_closed) and not is_closed and watched.is_commanded and not watched.awaits_opening
            watched.awaits_opening = watched.awaits_opening and is_closed
            is_late = self._renewal_was_late(watched)
        if opened_itself:
            # It shall not close again on its own either.
            self.open(evse_id)
        self._sink.contactor_reported(evse_id, is_closed=is_closed)
        if opened_itself and is_late:
            self._refuse(evse_id, Interlock.NO_PERMISSION)
        elif opened_itself:
            _cancel(watched.verdict_timer)
            watched.verdict_timer = self._loop().call_later(UNEXPECTED_OPENING_S, self._opened_without_reason, evse_id)
        else:
            self._judge(evse_id)

    def lock_reported(self, evse_id: EvseId, *, is_locked: bool) -> None:
        """Look, open if need be, pass on."""
        with self._lock:
            self._watched(evse_id).is_locked = is_locked
        why = self._open_if_forbidden(evse_id)
        self._sink.lock_reported(evse_id, is_locked=is_locked)
        self._refuse(evse_id, why)

    def fault_changed(self, evse_id: EvseId | None, fault: FaultKind, *, is_present: bool, detail: str = "") -> None:
        """Look, open if need be (every EVSE on a fault of the station), pass on."""
        with self._lock:
            faults = self._station_faults if evse_id is None else self._watched(evse_id).faults
            if is_present:
                faults.add(fault)
            else:
                faults.discard(fault)
            concerned = list(self._evses) if evse_id is None else [evse_id]
            is_still_mine = evse_id is not None and not is_present and fault in self._watched(evse_id).own_faults
        if is_still_mine:
            return
        refusals = [(one, self._open_if_forbidden(one)) for one in concerned]
        self._sink.fault_changed(evse_id, fault, is_present=is_present, detail=detail)
        for one, why in refusals:
            self._refuse(one, why)
        if fault is FaultKind.HAL_LOST and not is_present:
            for one in concerned:
                self._judge(one)

    def id_token_presented(self, evse_id: EvseId | None, id_token: IdToken) -> None:
        """Pass on."""
        self._sink.id_token_presented(evse_id, id_token)

    # ------------------------------------------------------------------------------------------------- on its own
    def expire(self) -> float | None:
        """Open every contactor whose permission has expired, and again each that the driver failed to open.

        Gives the seconds until the next has to be looked at, None while none is closed.

        Thread-safe. The guard's own thread calls it.
        """
        now = self._clock()
        expired: list[tuple[EvseId, EvsePorts]] = []
        again: list[tuple[EvseId, EvsePorts]] = []
        wait_s: float | None = None
        with self._lock:
            for evse_id, watched in self._evses.items():
                if watched.ports is None:
                    continue
                if _OPENING in watched.failing and not watched.is_commanded:
                    again.append((evse_id, watched.ports))
                if not watched.is_commanded:
                    continue
                left = (watched.permitted_until or now) - now
                if left <= 0:
                    self._command_open(watched)
                    expired.append((evse_id, watched.ports))
                else:
                    wait_s = left if wait_s is None else min(wait_s, left)
        for evse_id, ports in again:
            if not self._order_open(evse_id, ports):
                wait_s = RETRY_S if wait_s is None else min(wait_s, RETRY_S)
        for evse_id, ports in expired:
            if not self._order_open(evse_id, ports):
                wait_s = RETRY_S if wait_s is None else min(wait_s, RETRY_S)
            logger.warning("contactor opened: its permission was not renewed for %.1f s evse_id=%d", self._life_s, evse_id)
            self._refuse(evse_id, Interlock.NO_PERMISSION)
            self._on_loop(self._judge, evse_id)
        return wait_s

    def _watch(self) -> None:
        """Run in the thread: sleep until the nearest expiry, and without a closed contactor until there is one."""
        while True:
            with self._lock:
                if self._is_ended:
                    return
                self._is_disturbed = False
            try:
                wait_s = self.expire()
            except Exception:  # nothing may end this thread
                logger.exception("looking at the permissions failed; trying again")
                wait_s = RETRY_S
            with self._lock:
                if not self._is_disturbed:
                    self._wake.wait(wait_s)

    # ------------------------------------------------------------------------------------------- a driver that fails
    def _order_open(self, evse_id: EvseId, ports: EvsePorts) -> bool:
        """Order it open. Thread-safe. False where the driver failed: the thread orders it again until it is taken, and nothing closes."""
        try:
            ports.contactor.open()
        except Exception as error:  # noqa: BLE001 - whatever the driver's bug is, the others are opened and the engine hears
            self._note_failing(evse_id, _OPENING, error)
            return False
        self._note_working(evse_id, _OPENING)
        return True

    def _put_on_pilot(self, evse_id: EvseId, output: PilotOutput) -> None:
        """Put a signal on the pilot; where the driver fails again and again, unless another one is wanted by then."""
        with self._lock:
            watched = self._known(evse_id)
            if watched.output != output:
                return
        try:
            self._ports(watched).pilot.set_output(output)
        except Exception as error:  # noqa: BLE001 - as above
            self._note_failing(evse_id, _PILOT, error)
            if not self._is_ended:
                self._loop().call_later(RETRY_S, self._put_on_pilot, evse_id, output)
        else:
            self._note_working(evse_id, _PILOT)

    def _note_failing(self, evse_id: EvseId, order: str, error: Exception) -> None:
        with self._lock:
            watched = self._known(evse_id)
            is_new = order not in watched.failing
            watched.failing.add(order)
            if is_new:
                self._is_disturbed = True
                self._wake.notify_all()
        if is_new:
            logger.error("the driver failed: %s evse_id=%d; trying again", order, evse_id, exc_info=error)
            self._on_loop(self._judge_driver, evse_id, f"the driver failed: {order}: {error}")

    def _note_working(self, evse_id: EvseId, order: str) -> None:
        with self._lock:
            watched = self._known(evse_id)
            if order not in watched.failing:
                return
            watched.failing.discard(order)
        logger.warning("the driver works again: %s evse_id=%d", order, evse_id)
        self._on_loop(self._judge_driver, evse_id, "")

    def _judge_driver(self, evse_id: EvseId, detail: str) -> None:
        self._set_own_fault(evse_id, FaultKind.HAL_LOST, detail, is_present=bool(self._known(evse_id).failing))

    def _stop_is_over(self, evse_id: EvseId) -> None:
        with self._lock:
            watched = self._known(evse_id)
            watched.stop_timer = watched.stop_until = None
        self._refuse(evse_id, self._open_if_forbidden(evse_id))

    # ------------------------------------------------------------------------------------- the mirror contact's verdict
    def _judge(self, evse_id: EvseId) -> None:
        """Start the time within which the feedback has to follow the command, or stop it when it has."""
        with self._lock:
            watched = self._known(evse_id)
            _cancel(watched.verdict_timer)
            watched.verdict_timer = None
            feedback = watched.closed_feedback
            if watched.ports is None or feedback is None or feedback == watched.is_commanded or self._is_ended:
                return
            watched.verdict_timer = self._loop().call_later(FEEDBACK_S, self._does_not_follow, evse_id, watched.is_commanded)

    def _does_not_follow(self, evse_id: EvseId, is_commanded: bool) -> None:
        watched = self._known(evse_id)
        watched.verdict_timer = None
        if watched.is_commanded != is_commanded or watched.closed_feedback == is_commanded:
            return
        if FaultKind.HAL_LOST in watched.faults | watched.own_faults | self._station_faults:
            return  # a mirror contact that nobody can read proves nothing; it is judged anew when the hardware is back
        if is_commanded:
            detail = f"ordered closed, and its mirror contact still says open after {FEEDBACK_S:g} s"
            self._set_own_fault(evse_id, FaultKind.CONTACTOR_DID_NOT_CLOSE, detail)
        else:
            detail = f"ordered open, and its mirror contact still says closed after {FEEDBACK_S:g} s: contacts are welded"
            self._set_own_fault(evse_id, FaultKind.CONTACTOR_WELDED, detail)

    def _opened_without_reason(self, evse_id: EvseId) -> None:
        watched = self._known(evse_id)
        watched.verdict_timer = None
        with self._lock:
            has_reason = watched.pilot not in {PilotState.C, PilotState.D} or self._has_fault(watched)
        if not has_reason and watched.closed_feedback is False:
            self._set_own_fault(evse_id, FaultKind.CONTACTOR_OPENED, "opened by itself while the vehicle was ready and no fault reported")

    def _clear(self, evse_id: EvseId) -> None:
        for fault in sorted(self._known(evse_id).own_faults):
            self._set_own_fault(evse_id, fault, is_present=False)
        self._judge(evse_id)

    def _set_own_fault(self, evse_id: EvseId, fault: FaultKind, detail: str = "", *, is_present: bool = True) -> None:
        with self._lock:
            watched = self._known(evse_id)
            if (fault in watched.own_faults) == is_present:
                return
            if is_present:
                watched.own_faults.add(fault)
            else:
                watched.own_faults.discard(fault)
            is_known_anyway = fault in watched.faults
        if is_known_anyway:
            return
        why = self._open_if_forbidden(evse_id)
        self._sink.fault_changed(evse_id, fault, is_present=is_present, detail=detail)
        self._refuse(evse_id, why)

    def _renewal_was_late(self, watched: _Watched) -> bool:
        now = self._clock()
        is_overdue = watched.renewed_at is None or now - watched.renewed_at > LATE_RENEWAL_S
        return is_overdue or (watched.late_at is not None and now - watched.late_at < self._life_s)

    # --------------------------------------------------------------------------------------------------- the rule
    def _forbids(self, watched: _Watched) -> Interlock | None:
        ports = watched.ports
        if ports is None or self._is_ended:
            return Interlock.NO_PERMISSION
        return interlock(
            InterlockInputs(
                pilot_state=watched.pilot,
                pilot_signal=watched.signal,
                has_permission=watched.permitted_until is not None and self._clock() < watched.permitted_until,
                has_fault=self._has_fault(watched),
                has_ventilation=ports.has_ventilation,
                has_lock=ports.lock is not None,
                is_locked=watched.is_locked,
                is_stopping=watched.stop_until is not None and watched.signal is PilotSignal.X1,
            )
        )

    def _has_fault(self, watched: _Watched) -> bool:
        return bool(watched.failing or (watched.faults | watched.own_faults | self._station_faults) - NOT_INTERLOCKING)

    def _open_if_forbidden(self, evse_id: EvseId) -> Interlock | None:
        """Open a commanded contactor that the interlock forbids; gives the reason if it did."""
        with self._lock:
            watched = self._known(evse_id)
            why = self._forbids(watched) if watched.is_commanded else None
        if why is not None:
            self.open(evse_id)
        return why

    def _refuse(self, evse_id: EvseId, why: Interlock | None) -> None:
        if why is not None:
            self._on_loop(self._on_refused, evse_id, why)

    def _command_open(self, watched: _Watched) -> None:
        watched.awaits_opening = watched.awaits_opening or (watched.is_commanded and watched.closed_feedback is True)
        watched.is_commanded = False
        self._end_stop(watched)

    def _end_stop(self, watched: _Watched) -> None:
        watched.stop_until = None
        if watched.stop_timer is not None and threading.get_ident() == self._loop_thread:
            # asyncio's timers may be cancelled on the loop's thread only; one that fires late finds nothing to do.
            watched.stop_timer.cancel()
            watched.stop_timer = None

    def _watched(self, evse_id: EvseId) -> _Watched:
        """Give what is known, or a place for it: a driver reports the present state before its `start` gives the ports."""
        return self._evses.setdefault(evse_id, _Watched())

    def _known(self, evse_id: EvseId) -> _Watched:
        watched = self._evses.get(evse_id)
        if watched is None:
            known = ", ".join(map(str, sorted(self._evses))) or "none yet"
            raise LookupError(f"EVSE {evse_id} is not known to the guard; known are {known}")
        return watched

    def _ports(self, watched: _Watched) -> EvsePorts:
        if watched.ports is None:
            raise LookupError("the EVSE has no ports: the driver has not been started")
        return watched.ports

    def _loop(self) -> Timers:
        if self._timers is None:
            raise LookupError("the guard has not been started")
        return self._timers

    def _on_loop(self, callback: Callable[..., object], *args: object) -> None:
        if self._timers is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
                self._timers.call_soon_threadsafe(callback, *args)


def _cancel(handle: Handle | None) -> None:
    if handle is not None:
        handle.cancel()
