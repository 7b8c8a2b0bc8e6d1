"""The simulated world: every EVSE with its vehicle, on one clock, behind one lock. Orders may come from any thread.

It advances when somebody orders, asks or measures, and by one timer for what is seen from outside. Reports leave on the event loop's
thread, in order, and never from within an order.
"""

import contextlib
import random
import threading
from collections import deque
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final, Protocol

from agent.domain.authorization import IdToken
from agent.domain.ids import EvseId
from agent.domain.pilot import PilotOutput
from agent.hal.api import EvseSetup, HalSink
from simulator.bay import Bay
from simulator.car import SECOND
from simulator.faults import CATALOGUE, Scope, SimFault
from simulator.meter_server import MeterSnapshot
from simulator.wire import Json, Refused

DEFAULT_SOC: Final = 40.0
DEFAULT_CAPACITY_KWH: Final = 60.0


class Handle(Protocol):
    """A timer that can be cancelled."""

    def cancel(self) -> None:
        """Forget the call."""


class Timers(Protocol):
    """What the world needs of an event loop."""

    def time(self) -> float:
        """Seconds of the loop's clock. Thread-safe."""

    def call_at(self, when: float, callback: Callable[..., object], *args: object) -> Handle:
        """Call when the loop's clock shows `when`."""

    def call_soon(self, callback: Callable[..., object], *args: object) -> object:
        """Call in the next round of the loop."""

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: object) -> object:
        """Call on the loop's thread."""


class World:
    """Made on the loop's thread. `seed` makes the vehicles' chance repeatable; `on_fault` hears of every fault of an EVSE (True: began)."""

    def __init__(
        self,
        evses: Sequence[EvseSetup],
        *,
        timers: Timers,
        seed: int = 0,
        on_fault: Callable[[EvseId, SimFault, bool], None] = lambda *_: None,
    ) -> None:
        self._on_fault = on_fault
        self._timers = timers
        self._loop_thread = threading.get_ident()
        self._lock = threading.RLock()
        self._sink: HalSink | None = None
        self._reports: deque[Callable[[HalSink], None]] = deque()
        self._is_telling = False
        self._timer: Handle | None = None
        self._timer_us: int | None = None
        self._station_faults: set[SimFault] = set()
        now_us = self._now_us()
        self._bays = {
            evse.evse_id: Bay(evse, tell=self._tell, now_us=now_us, chance=random.Random(f"{seed}/{evse.evse_id}")) for evse in evses
        }

    @property
    def evse_ids(self) -> tuple[EvseId, ...]:
        """The EVSEs that there are."""
        return tuple(self._bays)

    def setup(self, evse_id: EvseId) -> EvseSetup:
        """How an EVSE is built."""
        return self._bays[evse_id].setup

    def rebuild(self, setups: Sequence[EvseSetup]) -> None:
        """Build the EVSEs as a daemon's configuration says (fuse, phases, lock). Raises Refused for an EVSE that is not there."""
        with self._lock:
            for setup in setups:
                self._bay(setup.evse_id).setup = setup

    # -------------------------------------------------------------------------------------------- the station's side
    def attach(self, sink: HalSink) -> None:
        """Report the present state now, and every change from now on. On the loop's thread."""
        with self._lock:
            self._catch_up()
            self._reports.clear()
            self._sink = sink
            for bay in self._bays.values():
                bay.report_all(sink)
            for fault in sorted(self._station_faults):
                kind = CATALOGUE[fault].reports
                if kind is not None:
                    sink.fault_changed(None, kind, is_present=True, detail=CATALOGUE[fault].summary)

    def detach(self) -> None:
        """Nobody listens any more. The permission runs out by itself."""
        with self._lock:
            self._sink = None
            self._reports.clear()

    def set_output(self, evse_id: EvseId, output: PilotOutput) -> None:
        """Put a signal on the pilot."""
        self._order(evse_id, lambda bay: bay.set_output(output))

    def close(self, evse_id: EvseId) -> None:
        """Ask for a closed contactor."""
        self._order(evse_id, Bay.close)

    def open(self, evse_id: EvseId) -> None:
        """Open now."""
        self._order(evse_id, Bay.open)

    def renew_permission(self, evse_id: EvseId) -> None:
        """Let the safety controller's permission live on."""
        self._order(evse_id, Bay.renew)

    def drive_lock(self, evse_id: EvseId, *, is_locked: bool) -> None:
        """Drive the bolt."""
        self._order(evse_id, lambda bay: bay.drive_lock(is_locked=is_locked))

    def lose_power(self) -> None:
        """Cut the supply of the charger's electronics: contactors drop, pilots offer nothing."""
        with self._lock:
            self._catch_up()
            for bay in self._bays.values():
                bay.lose_power()
            self._look_ahead()

    def _order(self, evse_id: EvseId, order: Callable[[Bay], None]) -> None:
        if SimFault.HAL_LOST not in self._station_faults:
            self._with(evse_id, order)

    # ---------------------------------------------------------------------------------------------- what people do
    def plug_in(
        self,
        evse_id: EvseId,
        *,
        max_current_a: int = 32,
        phases: int = 3,
        delay_s: float = 1.0,
        soc: float = DEFAULT_SOC,
        capacity_kwh: float = DEFAULT_CAPACITY_KWH,
    ) -> None:
        """Plug a vehicle in: state B, and C once `delay_s` is over and the charger offers."""
        self._with(
            evse_id,
            lambda bay: bay.plug_in(max_current_a=max_current_a, phases=phases, delay_s=delay_s, soc=soc, capacity_kwh=capacity_kwh),
        )

    def unplug(self, evse_id: EvseId, *, at_vehicle: bool = False) -> None:
        """Pull the plug, or the vehicle's end of the cable, which no bolt of the charger holds."""
        self._with(evse_id, lambda bay: bay.unplug(at_vehicle=at_vehicle))

    def pause(self, evse_id: EvseId) -> None:
        """Let the vehicle stop by itself."""
        self._with(evse_id, Bay.pause)

    def resume(self, evse_id: EvseId, *, max_current_a: int | None = None, phases: int | None = None) -> None:
        """Let the vehicle want energy again."""
        self._with(evse_id, lambda bay: bay.resume(max_current_a=max_current_a, phases=phases))

    def swipe(self, token: IdToken, evse_id: EvseId | None = None) -> None:
        """Hold a card to the reader of an EVSE, or of the station."""
        with self._lock:
            if evse_id is not None:
                self._bay(evse_id)
            if SimFault.READER_FAILURE in self._station_faults:
                raise Refused("the reader is broken (reader_failure); fault.clear it first")
            self._tell(lambda sink: sink.id_token_presented(evse_id, token))

    def set_fault(self, fault: SimFault, evse_id: EvseId | None = None) -> None:
        """Begin a fault. A fault of an EVSE without `evse_id` is at every EVSE."""
        spec = CATALOGUE[fault]
        if spec.scope is Scope.EVSE:
            for one in self._concerned(evse_id):
                self._with(one, lambda bay: bay.set_fault(fault))
                self._on_fault(one, fault, True)
            return
        with self._lock:
            if fault in self._station_faults:
                return
            self._report_station_fault(fault, is_present=True)
            self._station_faults.add(fault)
            if spec.trips:
                self._every_bay(lambda bay: bay.halt(is_halted=True))

    def clear_fault(self, fault: SimFault, evse_id: EvseId | None = None) -> None:
        """End a fault; nothing happens if it is not there."""
        if CATALOGUE[fault].scope is Scope.EVSE:
            for one in self._concerned(evse_id):
                self._with(one, lambda bay: bay.clear_fault(fault))
                self._on_fault(one, fault, False)
            return
        with self._lock:
            if fault not in self._station_faults:
                return
            self._station_faults.discard(fault)
            if CATALOGUE[fault].trips:
                self._every_bay(lambda bay: bay.halt(is_halted=False))
            if fault is SimFault.HAL_LOST:
                self._every_bay(lambda bay: self._tell(bay.report_all))
            self._report_station_fault(fault, is_present=False)

    def _report_station_fault(self, fault: SimFault, *, is_present: bool) -> None:
        kind = CATALOGUE[fault].reports
        if kind is not None:
            detail = CATALOGUE[fault].summary if is_present else ""
            self._tell(lambda sink: sink.fault_changed(None, kind, is_present=is_present, detail=detail))

    def _concerned(self, evse_id: EvseId | None) -> tuple[EvseId, ...]:
        return self.evse_ids if evse_id is None else (self._bay(evse_id).evse_id,)

    # --------------------------------------------------------------------------------------------------- the meters
    def snapshot(self, evse_id: EvseId) -> MeterSnapshot:
        """Measure at this moment."""
        with self._lock:
            self._catch_up()
            self._look_ahead()
            return self._bay(evse_id).snapshot()

    def set_register(self, evse_id: EvseId, energy_wh: Decimal) -> None:
        """Let a meter's register stand at this value."""
        self._with(evse_id, lambda bay: bay.set_register(energy_wh))

    def state(self) -> dict[str, Json]:
        """Show the whole world as one object."""
        with self._lock:
            self._catch_up()
            self._look_ahead()
            evses: list[Json] = [bay.state() for bay in self._bays.values()]
            return {"evses": evses, "faults": [*sorted(self._station_faults)]}

    # --------------------------------------------------------------------------------------------------------- time
    def close_down(self) -> None:
        """Stop the timer."""
        with self._lock:
            self.detach()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _with(self, evse_id: EvseId, act: Callable[[Bay], None]) -> None:
        with self._lock:
            bay = self._bay(evse_id)
            self._catch_up()
            act(bay)
            self._look_ahead()

    def _every_bay(self, act: Callable[[Bay], None]) -> None:
        self._catch_up()
        for bay in self._bays.values():
            act(bay)
        self._look_ahead()

    def _bay(self, evse_id: EvseId) -> Bay:
        bay = self._bays.get(evse_id)
        if bay is None:
            raise Refused(f"there is no EVSE {evse_id}; there are {', '.join(map(str, self._bays))}")
        return bay

    def _now_us(self) -> int:
        return round(self._timers.time() * SECOND)

    def _catch_up(self) -> None:
        now_us = self._now_us()
        for bay in self._bays.values():
            bay.advance(now_us)

    def _look_ahead(self) -> None:
        """Set the one timer, if it has to ring earlier than it does. From another thread: have the loop do it."""
        next_us = min((at_us for bay in self._bays.values() if (at_us := bay.next_us()) is not None), default=None)
        if next_us is None or (self._timer_us is not None and self._timer_us <= next_us):
            return
        if threading.get_ident() != self._loop_thread:
            self._on_loop(self._ring)
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_us = next_us
        self._timer = self._timers.call_at(next_us / SECOND, self._ring)

    def _ring(self) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._timer_us = None
            self._catch_up()
            self._look_ahead()

    # ------------------------------------------------------------------------------------------------------ reports
    def _tell(self, report: Callable[[HalSink], None]) -> None:
        if self._sink is None or (SimFault.HAL_LOST in self._station_faults):
            return
        self._reports.append(report)
        if self._is_telling:
            return
        self._is_telling = True
        self._on_loop(self._tell_all)

    def _on_loop(self, callback: Callable[[], None]) -> None:
        if threading.get_ident() == self._loop_thread:
            self._timers.call_soon(callback)
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._timers.call_soon_threadsafe(callback)

    def _tell_all(self) -> None:
        with self._lock:
            self._is_telling = False
            reports, sink = list(self._reports), self._sink
            self._reports.clear()
        for report in reports:
            # A report may have made the daemon leave: then nobody listens to the rest.
            if sink is None or sink is not self._sink:
                return
            report(sink)
