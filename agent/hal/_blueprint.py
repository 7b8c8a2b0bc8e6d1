"""A driver to copy. Put your board where `HERE` stands, register the class, and run the contract tests on it (docs/hardware.md).

A driver reports and obeys. It never decides about charging: the core decides, the guard checks, the hardware protects. This file passes the
contract tests on a board that exists only as five variables, so that a copy starts from something that works.
"""

import asyncio
from collections.abc import Callable, Mapping

from agent.domain.connector import FaultKind
from agent.domain.errors import HalError
from agent.domain.ids import EvseId
from agent.domain.pilot import X1, PilotOutput, PilotState
from agent.hal.api import EvsePorts, EvseSetup, HalSetup, HalSink, MeterAddress

OPTIONS = frozenset({"port"})
"""Keys that `[hal.options]` may have for this driver."""


class BlueprintDriver:
    """One board. Made by the registry with the configuration's EVSEs and options; touches no hardware before `start`."""

    permission_expires = False
    """True only if the hardware opens the contactor by itself, without this process, when `renew_permission` stops coming: a safety
    controller's heartbeat, a monostable, a hardware watchdog. Public charging is refused with False unless `[station] lab = true`."""

    has_power_fail_input = False
    """True if the board tells that its supply is going, some milliseconds before it is gone. Call `supply` then."""

    def __init__(self, setup: HalSetup) -> None:
        unknown = sorted(set(setup.options) - OPTIONS)
        if unknown:
            raise ValueError(f"unknown option {', '.join(unknown)}; known are {', '.join(sorted(OPTIONS))}")
        port = setup.options.get("port", "/dev/ttyS1")
        if not isinstance(port, str) or not port.startswith("/"):
            raise ValueError(f"option port = {port!r}: expected the path of a serial port, as in /dev/ttyS1")
        self._port = port
        self._evses = {evse.evse_id: _Evse(evse) for evse in setup.evses}
        self._is_open = False

    async def start(self, sink: HalSink) -> Mapping[EvseId, EvsePorts]:
        """Open the board, report its present state, give its ports.

        Open serial ports with `asyncio.timeout`; nothing here may block the loop. Report pilot, contactor, lock and present faults of every
        EVSE before returning: the guard forbids everything until it has heard them. From then on report every change, on the loop's thread,
        and never from within a call of a port (`loop.call_soon` if the board answers at once).
        """
        if self._is_open:
            raise HalError(f"{self._port}: already open")
        self._is_open = True  # HERE: open self._port; on failure raise HalError naming the port, what went wrong, and the cure
        loop = asyncio.get_running_loop()
        for evse in self._evses.values():
            evse.report = sink
            evse.call_soon = loop.call_soon_threadsafe
            evse.report_all()
        return {evse_id: evse.ports() for evse_id, evse in self._evses.items()}

    async def aclose(self) -> None:
        """Leave the hardware safe: contactors open, pilots at X1; then close it. May be called twice, and without `start`."""
        for evse in self._evses.values():
            evse.open()
            evse.set_output(X1)
        self._is_open = False  # HERE: close self._port

    def meter(self, evse_id: EvseId) -> MeterAddress | None:
        """Tell where the meter on the board is, if the board brings one: template name and bus URL. None: the configuration must say it."""
        return None


class _Evse:
    """One EVSE's ports: pilot, contactor and lock in one object, because here they are one controller. Split them as your board is."""

    def __init__(self, setup: EvseSetup) -> None:
        self._setup = setup
        self._pilot = PilotState.A
        self._is_closed = False
        self._is_locked = False
        self.report: HalSink | None = None
        self.call_soon: Callable[..., object] | None = None

    def ports(self) -> EvsePorts:
        """Give the lock only where the configuration says that there is one; ventilation only if the board can really check it."""
        return EvsePorts(pilot=self, contactor=self, lock=self if self._setup.has_lock else None, has_ventilation=False)

    def report_all(self) -> None:
        """Report the state as the hardware reads it, never as it was ordered."""
        if self.report is None:
            return
        self.report.pilot_measured(self._setup.evse_id, self._pilot)
        self.report.contactor_reported(self._setup.evse_id, is_closed=self._is_closed)
        if self._setup.has_lock:
            self.report.lock_reported(self._setup.evse_id, is_locked=self._is_locked)

    def set_output(self, output: PilotOutput) -> None:
        """Put the signal on the pilot: X1 is 100 % duty, F is 0 %, PWM is `agent.domain.pilot.duty_percent(output.amps)`.

        Returns at once. A controller that wants 5 s between two duty changes (IEC 61851-1) keeps the newest and sends it when it may.
        """
        # HERE: write the duty cycle

    def close(self) -> None:
        """Ask for a closed contactor. The hardware checks for itself (pilot in C, no fault, permission alive).

        What became of it is reported from the mirror contact, debounced for the bounce of the contacts.
        """
        self._move(is_closed=True)  # HERE: write the request

    def open(self) -> None:
        """Open now. Called from the guard's thread too, while the loop may be stuck: no asyncio call here but `call_soon_threadsafe`.

        Must not wait for a lock that the loop's thread may hold during input or output; a short `os.write` is right.
        """
        self._move(is_closed=False)  # HERE: write the request

    def renew_permission(self) -> None:
        """Feed the hardware's own permission timer; comes every 0.5 s while charging is permitted. Thread-safe, like `open`."""
        # HERE: write the heartbeat, or leave empty where `permission_expires` is False

    def lock(self) -> None:
        """Drive the bolt in. Report the feedback contact; a bolt that does not move within its time is CONNECTOR_LOCK_FAILURE."""
        self._bolt(is_locked=True)  # HERE

    def unlock(self) -> None:
        """Drive the bolt out. The guard calls this only when the contactor was reported open."""
        self._bolt(is_locked=False)  # HERE

    def answers(self, *, is_lost: bool, detail: str = "") -> None:
        """Call this when the board does not answer any more, and when it does again: the guard opens on HAL_LOST, wherever it can."""
        if self.report is not None:
            self.report.fault_changed(None, FaultKind.HAL_LOST, is_present=is_lost, detail=detail)

    def supply(self, *, is_failing: bool) -> None:
        """Call this when the power-fail input says so, and when it is quiet again: everything opens and is stored, then goes on."""
        if self.report is not None:
            self.report.fault_changed(None, FaultKind.POWER_LOSS, is_present=is_failing)

    def _move(self, *, is_closed: bool) -> None:
        if is_closed != self._is_closed:
            self._is_closed = is_closed
            self._report_soon(lambda report: report.contactor_reported(self._setup.evse_id, is_closed=is_closed))

    def _bolt(self, *, is_locked: bool) -> None:
        if is_locked != self._is_locked:
            self._is_locked = is_locked
            self._report_soon(lambda report: report.lock_reported(self._setup.evse_id, is_locked=is_locked))

    def _report_soon(self, tell: Callable[[HalSink], None]) -> None:
        if self.report is not None and self.call_soon is not None:
            self.call_soon(tell, self.report)
