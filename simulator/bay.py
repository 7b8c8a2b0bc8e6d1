"""One EVSE of the simulated world and what stands in front of it: pilot, contactor, lock, safety controller, cable, vehicle, meter.

Time comes in as integer microseconds. Between two steps every current is constant, so energy is an exact integer and nothing is polled:
`advance` catches up when somebody looks, and `next_us` says when something will be seen from outside.

The safety controller is the emulated hardware that protects: it closes only with a living permission, in state C2, without fault, and opens
by itself when any of these ends (IEC 61851-1 tables A.3 and A.5).
"""

import random
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeAlias

from agent.domain.connector import FaultKind
from agent.domain.ids import EvseId
from agent.domain.pilot import X1, PilotOutput, PilotSignal, PilotState
from agent.hal.api import EvseSetup, HalSink
from simulator.car import PJ_PER_WH, QUIET_US, RAMP_DOWN_MA, RAMP_STEP_US, RAMP_UP_MA, REACTION_US, SECOND, Car, make_car
from simulator.faults import CATALOGUE, SimFault
from simulator.meter_server import MeterSnapshot
from simulator.wire import Json, Refused

Tell: TypeAlias = Callable[[Callable[[HalSink], None]], None]
"""Where a bay's reports go: called with what is to be done with the sink."""

PERMISSION_LIFE_US: Final = 950_000
"""The safety controller's permission. The agent renews it every 0.5 s; when it stands still the contactor is open within a second."""
CLOSING_US: Final = 30_000
OPENING_US: Final = 20_000
STOP_WINDOW_US: Final = 6 * SECOND
"""IEC 61851-1 sequence 10.2, here in hardware."""
SELF_OPENING_US: Final = 500_000
BOLT_US: Final = 300_000
HOT_MA: Final = 1000
"""Opening with more than this is counted as opening under load."""

PHASE_MV: Final = (230_100, 230_400, 229_800)
LOOP_MILLIOHM: Final = 50
"""Impedance of grid and cable: 1.6 V less at 32 A."""
OVER_VOLTAGE_MV: Final = 35_000
UNDER_VOLTAGE_MV: Final = -40_000


class Step(StrEnum):
    """What the world does by itself when its time has come."""

    READY = "ready"
    COAST = "coast"
    LEAVE = "leave"
    RAMP = "ramp"
    LIMIT = "limit"
    CLOSED = "closed"
    OPENED = "opened"
    SELF_OPENED = "self_opened"
    EXPIRED = "expired"
    WINDOW_OVER = "window_over"
    BOLT = "bolt"


class Bay:
    """One EVSE. Not thread-safe: `World` holds its lock, advances first, and then calls."""

    def __init__(self, setup: EvseSetup, *, tell: Tell, now_us: int, chance: random.Random) -> None:
        self.setup = setup
        self._tell = tell
        self._chance = chance
        self._now_us = now_us
        self._due: dict[Step, int] = {}
        # pilot
        self.output = X1
        self._offered_us = now_us
        self._pilot = PilotState.A
        self.car: Car | None = None
        # contactor and its controller
        self.is_closed = False
        self.wants_closed = False
        self.cycles = 0
        self.hot_openings = 0
        self._permitted_until_us = now_us
        # lock
        self.is_locked = False
        self._bolt_wanted = False
        # meter
        self._current_ma = 0
        self._energy_pj = [0, 0, 0]
        self._register_pj = 1_234_560 * PJ_PER_WH
        self._own_serial_number = str(24_115_070 + setup.evse_id)
        self.serial_number = self._own_serial_number
        self.faults: set[SimFault] = set()
        self._is_halted = False

    @property
    def evse_id(self) -> EvseId:
        """Its number."""
        return self.setup.evse_id

    # ------------------------------------------------------------------------------------------------------- time
    def advance(self, to_us: int) -> None:
        """Let time pass."""
        while self._due:
            step = min(self._due, key=lambda one: (self._due[one], one))
            at_us = self._due[step]
            if at_us > to_us:
                break
            self._integrate(at_us)
            del self._due[step]
            self._do(step)
        self._integrate(to_us)

    def next_us(self) -> int | None:
        """When somebody has to look, because something will be seen from outside.

        The steps of a ramp are not: they show only on the meter, and are caught up with when it is read. Its end counts, because only from
        there on is it known when the battery will be full.
        """
        times = [at_us for step, at_us in self._due.items() if step is not Step.RAMP]
        if Step.RAMP in self._due:
            steps = abs(self._target_ma() - self._current_ma) // RAMP_UP_MA
            times.append(self._due[Step.RAMP] + steps * RAMP_STEP_US)
        return min(times, default=None)

    def _integrate(self, to_us: int) -> None:
        elapsed_us, self._now_us = to_us - self._now_us, max(to_us, self._now_us)
        if elapsed_us <= 0 or self.car is None or not self._current_ma:
            return
        total_pj = 0
        for phase in range(self._phases()):
            energy_pj = self._millivolts(phase) * self._current_ma * elapsed_us
            self._energy_pj[phase] += energy_pj
            total_pj += energy_pj
        self.car.charge(total_pj)

    def _in(self, step: Step, delay_us: int) -> None:
        self._due.setdefault(step, self._now_us + delay_us)

    def _do(self, step: Step) -> None:
        match step:
            case Step.READY:
                self._take_c()
            case Step.COAST if self.car is not None:
                self.car.is_coasting = True
            case Step.LEAVE if self.car is not None:
                self.car.is_charging_level = self.car.is_coasting = False
            case Step.RAMP:
                self._ramp()
            case Step.CLOSED:
                self._move_contact(is_closed=True)
            case Step.OPENED:
                self._move_contact(is_closed=False)
            case Step.SELF_OPENED if self.is_closed:
                self.wants_closed = False
                self._move_contact(is_closed=False)
            case Step.EXPIRED if self._now_us < self._permitted_until_us:
                # Renewed since: renewing costs no timer, looking again when the old time is over does.
                self._due[Step.EXPIRED] = self._permitted_until_us
                return
            case Step.BOLT:
                self._bolt_arrives()
            case _:
                pass  # EXPIRED, WINDOW_OVER and LIMIT say only that it is time to look
        self._settle()

    # ----------------------------------------------------------------------------------------- the station's orders
    def set_output(self, output: PilotOutput) -> None:
        """Put a signal on the pilot."""
        if output.signal is PilotSignal.PWM and self.output.signal is not PilotSignal.PWM:
            self._offered_us = self._now_us
        if output.signal is PilotSignal.X1 and self.output.signal is PilotSignal.PWM and self.wants_closed:
            self._in(Step.WINDOW_OVER, STOP_WINDOW_US)
        if output.signal is not PilotSignal.X1:
            self._due.pop(Step.WINDOW_OVER, None)
        self.output = output
        self._settle()

    def close(self) -> None:
        """Ask the safety controller for a closed contactor; it looks for itself."""
        self.wants_closed = True
        self._settle()

    def open(self) -> None:
        """Open now."""
        self.wants_closed = False
        self._settle()

    def renew(self) -> None:
        """Let the permission live on."""
        self._permitted_until_us = self._now_us + PERMISSION_LIFE_US
        if self.wants_closed:
            self._in(Step.EXPIRED, PERMISSION_LIFE_US)

    def drive_lock(self, *, is_locked: bool) -> None:
        """Drive the bolt."""
        self._bolt_wanted = is_locked
        self._due.pop(Step.BOLT, None)
        if is_locked != self.is_locked or SimFault.LOCK_STUCK in self.faults:
            self._in(Step.BOLT, BOLT_US)

    def halt(self, *, is_halted: bool) -> None:
        """Press or release the station's emergency stop."""
        self._is_halted = is_halted
        self._settle()

    def lose_power(self) -> None:
        """Cut the supply of the charger's electronics for a moment: the coil drops, and the vehicle, without a pilot, leaves C at once."""
        self.wants_closed = False
        self._permitted_until_us = self._now_us
        if self.is_closed and SimFault.CONTACTOR_WELDED not in self.faults:
            self._move_contact(is_closed=False)
        if self.car is not None:
            self.car.is_charging_level = False
        self.output = X1
        self._settle()

    # ---------------------------------------------------------------------------------------------- what people do
    def plug_in(self, *, max_current_a: int, phases: int, delay_s: float, soc: float, capacity_kwh: float) -> None:
        """Plug a vehicle in. Raises Refused when one is there."""
        if self.car is not None:
            raise Refused(f"a vehicle is plugged in at EVSE {self.evse_id} already; ev.unplug first")
        leave_us = self._chance.randrange(200_000, 1_000_001)
        self.car = make_car(
            now_us=self._now_us,
            max_current_a=max_current_a,
            phases=phases,
            delay_s=delay_s,
            soc=soc,
            capacity_kwh=capacity_kwh,
            leave_us=leave_us,
        )
        self._settle()

    def unplug(self, *, at_vehicle: bool = False) -> None:
        """Pull the plug, or the vehicle's end of the cable. Raises Refused when there is none or the bolt holds it."""
        self._plugged()
        if self.is_locked and not at_vehicle:
            raise Refused(f"the plug at EVSE {self.evse_id} is locked; it can be pulled when the charger has unlocked it")
        self.car = None
        self._settle()

    def pause(self) -> None:
        """Let the vehicle stop by itself: it leaves C."""
        car = self._plugged()
        car.is_ready = False
        car.leave_us = REACTION_US
        self._settle()

    def resume(self, *, max_current_a: int | None, phases: int | None) -> None:
        """Let the vehicle want energy again, perhaps with other limits."""
        car = self._plugged()
        car.max_current_ma = car.max_current_ma if max_current_a is None else max_current_a * 1000
        car.phases = car.phases if phases is None else phases
        if not car.is_ready:
            car.ready_from_us = self._now_us + REACTION_US
        car.is_ready = True
        self._settle()

    def _plugged(self) -> Car:
        if self.car is None:
            raise Refused(f"no vehicle is plugged in at EVSE {self.evse_id}; ev.plug_in first")
        return self.car

    # ------------------------------------------------------------------------------------------------------ faults
    def set_fault(self, fault: SimFault) -> None:
        """Begin a fault; beginning one that is there changes nothing, but a register leaps again."""
        is_new = fault not in self.faults
        self.faults.add(fault)
        kind = CATALOGUE[fault].reports
        if kind is not None and is_new:
            self._report_fault(kind, is_present=True, detail=CATALOGUE[fault].summary)
        match fault:
            case SimFault.CONTACTOR_OPENS if self.is_closed:
                self._in(Step.SELF_OPENED, 0)
            case SimFault.METER_RESET:
                self.set_register(Decimal(0))
            case SimFault.METER_JUMP:
                self.set_register(self.register_wh() + 50_000)
            case SimFault.METER_SWAP if is_new:
                self.serial_number = str(int(self._own_serial_number) + 5_000_000)
                self.set_register(Decimal(777_000))
            case _:
                pass
        self._settle()

    def clear_fault(self, fault: SimFault) -> None:
        """End a fault; nothing happens if it is not there."""
        if fault not in self.faults:
            return
        self.faults.discard(fault)
        kind = FaultKind.CONNECTOR_LOCK_FAILURE if fault is SimFault.LOCK_STUCK else CATALOGUE[fault].reports
        if kind is not None:
            self._report_fault(kind, is_present=False)
        if fault is SimFault.METER_SWAP:
            self.serial_number = self._own_serial_number
        if fault is SimFault.LOCK_STUCK and self._bolt_wanted != self.is_locked:
            self._in(Step.BOLT, BOLT_US)
        self._settle()

    def _report_fault(self, kind: FaultKind, *, is_present: bool, detail: str = "") -> None:
        self._tell(lambda sink: sink.fault_changed(self.evse_id, kind, is_present=is_present, detail=detail))

    # ------------------------------------------------------------------------------------------------------- meter
    def register_wh(self) -> Decimal:
        """Give the energy register in Wh, rounded down to a millionth."""
        return Decimal((self._register_pj + sum(self._energy_pj)) * 10**6 // PJ_PER_WH).scaleb(-6)

    def set_register(self, energy_wh: Decimal) -> None:
        """Let the register stand at this value; it counts on from there."""
        self._register_pj = int(energy_wh * PJ_PER_WH) - sum(self._energy_pj)

    def snapshot(self) -> MeterSnapshot:
        """Measure everything at this moment."""
        phases = self._phases() if self._current_ma else 0
        amps = [self._current_ma if phase < phases else 0 for phase in range(3)]
        volts = [self._millivolts(phase, amps[phase]) for phase in range(3)]
        return MeterSnapshot(
            voltage_v=(_thousandths(volts[0]), _thousandths(volts[1]), _thousandths(volts[2])),
            current_a=(_thousandths(amps[0]), _thousandths(amps[1]), _thousandths(amps[2])),
            power_w=(_millionths(volts[0] * amps[0]), _millionths(volts[1] * amps[1]), _millionths(volts[2] * amps[2])),
            import_wh=self.register_wh(),
            serial_number=self.serial_number,
        )

    def _phases(self) -> int:
        return 0 if self.car is None else min(self.car.phases, self.setup.phases)

    def _millivolts(self, phase: int, current_ma: int | None = None) -> int:
        level = PHASE_MV[phase] - LOOP_MILLIOHM * (self._current_ma if current_ma is None else current_ma) // 1000
        if SimFault.OVER_VOLTAGE in self.faults:
            level += OVER_VOLTAGE_MV
        if SimFault.UNDER_VOLTAGE in self.faults:
            level += UNDER_VOLTAGE_MV
        return level

    # ---------------------------------------------------------------------------------------- what follows from what
    def _settle(self) -> None:
        """Bring vehicle, pilot, safety controller, contacts and current into line with what has just changed."""
        self._plan_vehicle()
        self._measure_pilot()
        self._supervise()
        self._draw()

    def _offers(self) -> bool:
        return self.output.signal is PilotSignal.PWM and SimFault.PILOT_SHORT not in self.faults

    def _plan_vehicle(self) -> None:
        car = self.car
        if car is None:
            for step in (Step.READY, Step.COAST, Step.LEAVE):
                self._due.pop(step, None)
            return
        wants_c = car.is_ready and not car.is_full and self._offers()
        if wants_c or not car.is_charging_level:
            car.is_coasting = False
            for step in (Step.COAST, Step.LEAVE):
                self._due.pop(step, None)
        if not wants_c or car.is_charging_level:
            self._due.pop(Step.READY, None)
        if wants_c and not car.is_charging_level:
            self._due[Step.READY] = max(car.ready_from_us, self._offered_us + REACTION_US, self._now_us)
        if not wants_c and car.is_charging_level:
            self._in(Step.COAST, car.leave_us // 2)
            self._in(Step.LEAVE, car.leave_us)

    def _take_c(self) -> None:
        if self.car is not None:
            self.car.is_charging_level = True
            self.car.draws_from_us = self._now_us + QUIET_US

    def _measure_pilot(self) -> None:
        pilot = self.pilot()
        if pilot is not self._pilot:
            self._pilot = pilot
            self._tell(lambda sink: sink.pilot_measured(self.evse_id, pilot))

    def pilot(self) -> PilotState:
        """Give the level on the pilot."""
        if SimFault.PILOT_SHORT in self.faults:
            return PilotState.E
        if self.output.signal is PilotSignal.F:
            return PilotState.F
        if self.car is None:
            return PilotState.A
        if not self.car.is_charging_level:
            return PilotState.B
        return PilotState.D if SimFault.VENTILATION in self.faults else PilotState.C

    def _supervise(self) -> None:
        """Judge as the safety controller does, then let the coil move the contacts."""
        if self.wants_closed and not self._may_be_closed():
            self.wants_closed = False
        if not self.wants_closed:
            self._due.pop(Step.EXPIRED, None)
            self._due.pop(Step.WINDOW_OVER, None)
            self._due.pop(Step.CLOSED, None)
            if self.is_closed and SimFault.CONTACTOR_WELDED not in self.faults:
                self._in(Step.OPENED, OPENING_US)
            return
        self._due.setdefault(Step.EXPIRED, self._permitted_until_us)
        self._due.pop(Step.OPENED, None)
        if not self.is_closed and SimFault.CONTACTOR_DOES_NOT_CLOSE not in self.faults:
            self._in(Step.CLOSED, CLOSING_US)

    def _may_be_closed(self) -> bool:
        if self._now_us >= self._permitted_until_us or self.pilot() is not PilotState.C:
            return False
        if self._is_halted or any(CATALOGUE[fault].trips for fault in self.faults):
            return False
        is_in_window = self.output.signal is PilotSignal.X1 and Step.WINDOW_OVER in self._due and self.is_closed
        return self.output.signal is PilotSignal.PWM or is_in_window

    def _move_contact(self, *, is_closed: bool) -> None:
        if not is_closed and self._current_ma > HOT_MA:
            self.hot_openings += 1
        self.is_closed = is_closed
        self._due.pop(Step.OPENED, None)
        if is_closed:
            self.cycles += 1
            if SimFault.CONTACTOR_OPENS in self.faults:
                self._in(Step.SELF_OPENED, SELF_OPENING_US)
        self._tell(lambda sink: sink.contactor_reported(self.evse_id, is_closed=is_closed))

    def _bolt_arrives(self) -> None:
        if SimFault.LOCK_STUCK in self.faults:
            self._report_fault(FaultKind.CONNECTOR_LOCK_FAILURE, is_present=True, detail=CATALOGUE[SimFault.LOCK_STUCK].summary)
            return
        is_locked = self.is_locked = self._bolt_wanted
        self._tell(lambda sink: sink.lock_reported(self.evse_id, is_locked=is_locked))

    def _target_ma(self) -> int:
        car = self.car
        if car is None or not self.is_closed or not car.is_charging_level or car.is_coasting or self._now_us < car.draws_from_us:
            return 0
        if not self._offers():
            return self._current_ma  # what it drew, until it coasts
        return min(car.limit_ma(), int(self.output.amps * 1000))

    def _draw(self) -> None:
        target_ma = self._target_ma()
        if target_ma == 0:
            self._current_ma = 0
        if target_ma == self._current_ma:
            self._due.pop(Step.RAMP, None)
        else:
            self._in(Step.RAMP, RAMP_STEP_US)
        car = self.car
        if car is not None and self.is_closed and car.is_charging_level and self._now_us < car.draws_from_us:
            self._due[Step.RAMP] = car.draws_from_us
        self._due.pop(Step.LIMIT, None)
        if car is not None and self._current_ma:
            power_uw = sum(self._millivolts(phase) * self._current_ma for phase in range(self._phases()))
            self._in(Step.LIMIT, car.time_to_next_limit_us(power_uw))

    def _ramp(self) -> None:
        target_ma = self._target_ma()
        if target_ma > self._current_ma:
            self._current_ma = min(target_ma, self._current_ma + RAMP_UP_MA)
        else:
            self._current_ma = max(target_ma, self._current_ma - RAMP_DOWN_MA)

    # ----------------------------------------------------------------------------------------------------- to be seen
    def report_all(self, sink: HalSink) -> None:
        """Tell the present state, as at the start of a driver."""
        sink.pilot_measured(self.evse_id, self._pilot)
        sink.contactor_reported(self.evse_id, is_closed=self.is_closed)
        if self.setup.has_lock:
            sink.lock_reported(self.evse_id, is_locked=self.is_locked)
        for fault in sorted(self.faults):
            kind = CATALOGUE[fault].reports
            if kind is not None:
                sink.fault_changed(self.evse_id, kind, is_present=True, detail=CATALOGUE[fault].summary)

    def state(self) -> dict[str, Json]:
        """Show everything about this EVSE as one object."""
        now = self.snapshot()
        faults: list[Json] = [*sorted(self.faults)]
        return {
            "evse": self.evse_id,
            "pilot": {"state": self.pilot().value, "signal": self.output.signal.value, "offered_a": float(self.output.amps)},
            "contactor": {
                "is_closed": self.is_closed,
                "is_ordered_closed": self.wants_closed,
                "is_permitted": self._now_us < self._permitted_until_us,
                "cycles": self.cycles,
                "hot_openings": self.hot_openings,
            },
            "lock": {"is_locked": self.is_locked} if self.setup.has_lock else None,
            "vehicle": self._vehicle_state(),
            "meter": {
                "energy_wh": int(now.import_wh),
                "energy_uwh": int(now.import_wh.scaleb(6)),
                "serial_number": now.serial_number,
                "voltage_v": [float(volts) for volts in now.voltage_v],
                "current_a": [float(amps) for amps in now.current_a],
                "power_w": [float(watts) for watts in now.power_w],
            },
            "faults": faults,
        }

    def _vehicle_state(self) -> Json:
        car = self.car
        if car is None:
            return None
        return {
            "max_current_a": car.max_current_ma // 1000,
            "phases": car.phases,
            "soc": float(car.soc_percent),
            "capacity_kwh": car.capacity // (PJ_PER_WH * 100) / 1000,
            "is_ready": car.is_ready,
            "is_full": car.is_full,
            "taken_wh": car.taken_pj * 1000 // PJ_PER_WH / 1000,
        }


def _thousandths(value: int) -> Decimal:
    return Decimal(value).scaleb(-3)


def _millionths(value: int) -> Decimal:
    return Decimal(value).scaleb(-6)
