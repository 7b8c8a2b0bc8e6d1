"""The simulated world obeys physics and the standard: states, currents, energy, and a safety controller that opens by itself."""

import random
import threading
from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.domain.authorization import IdToken, IdTokenType
from agent.domain.connector import FaultKind
from agent.domain.ids import EvseId
from agent.domain.pilot import STATE_F, X1, PilotSignal, PilotState, pwm
from agent.hal.api import EvseSetup
from simulator.bay import PERMISSION_LIFE_US, Bay
from simulator.car import TAPER, make_car
from simulator.faults import CATALOGUE, Scope, SimFault, listing
from simulator.wire import Refused
from simulator.world import World
from tests.hal.board import ManualTimers, RecordedSink

ONE, TWO = EvseId(1), EvseId(2)
OFFER = pwm(Decimal(16))


class Lab:
    """A world on a clock in hand, with an agent that renews the permission as the engine does."""

    def __init__(self, *, has_lock: bool = False, phases: int = 3, evses: int = 1, seed: int = 0) -> None:
        self.timers = ManualTimers()
        setups = [EvseSetup(evse_id=EvseId(n), max_current_a=32, phases=phases, has_lock=has_lock) for n in range(1, evses + 1)]
        self.world = World(setups, timers=self.timers, seed=seed)
        self.sink = RecordedSink()
        self.world.attach(self.sink)
        self.renews = True

    def wait(self, seconds: float) -> None:
        while seconds > 1e-9:
            step = min(seconds, 0.5)
            if self.renews:
                for evse_id in self.world.evse_ids:
                    self.world.renew_permission(evse_id)
            self.timers.advance(step)
            seconds -= step

    def charge(self, amps: int = 16, **car: float) -> None:
        """Plug in, offer, wait for C, close, and wait until the ramp is over."""
        self.world.plug_in(ONE, **car)  # type: ignore[arg-type]
        self.world.set_output(ONE, pwm(Decimal(amps)))
        self.wait(1.1)
        assert self.pilot() is PilotState.C
        self.world.close(ONE)
        self.wait(13)

    def pilot(self, evse_id: EvseId = ONE) -> object:
        report = self.sink.last("pilot", evse_id)
        return report[2] if report else None

    def is_closed(self, evse_id: EvseId = ONE) -> object:
        report = self.sink.last("contactor", evse_id)
        return report[2] if report else None

    def faults(self) -> list[tuple[object, ...]]:
        return [report[1:] for report in self.sink.reports if report[0] == "fault"]

    def amps(self) -> tuple[Decimal, ...]:
        return self.world.snapshot(ONE).current_a

    def energy(self) -> Decimal:
        return self.world.snapshot(ONE).import_wh

    def hot_openings(self) -> object:
        evses = self.world.state()["evses"]
        return evses[0]["contactor"]["hot_openings"]  # type: ignore[index,call-overload]


# ------------------------------------------------------------------------------------------------------- the vehicle
def test_the_present_state_is_told_at_once() -> None:
    lab = Lab(has_lock=True)
    assert lab.sink.reports == [("pilot", ONE, PilotState.A), ("contactor", ONE, False), ("lock", ONE, False)]


def test_plugged_in_is_b_and_c_comes_after_the_delay_with_an_offer() -> None:
    lab = Lab()
    lab.world.set_output(ONE, OFFER)
    lab.world.plug_in(ONE, delay_s=2.0)
    lab.timers.run_soon()
    assert lab.pilot() is PilotState.B
    lab.wait(1.95)
    assert lab.pilot() is PilotState.B
    lab.wait(0.1)
    assert lab.pilot() is PilotState.C


def test_without_an_offer_it_stays_in_b() -> None:
    lab = Lab()
    lab.world.plug_in(ONE)
    lab.wait(60)
    assert lab.pilot() is PilotState.B
    lab.world.set_output(ONE, OFFER)
    lab.wait(0.35)
    assert lab.pilot() is PilotState.C


def test_draws_nothing_for_the_first_two_seconds_of_c() -> None:
    lab = Lab()
    lab.world.plug_in(ONE)
    lab.world.set_output(ONE, OFFER)
    lab.wait(1.0)
    lab.world.close(ONE)
    before = lab.energy()
    lab.wait(1.95)
    assert lab.amps() == (0, 0, 0)
    assert lab.energy() == before
    lab.wait(0.5)
    assert lab.amps()[0] > 0


@pytest.mark.parametrize(
    ("car_amps", "car_phases", "evse_phases", "offer", "expected"),
    [
        (32, 3, 3, 16, (16, 16, 16)),
        (16, 3, 3, 32, (16, 16, 16)),
        (32, 1, 3, 32, (32, 0, 0)),
        (20, 2, 3, 32, (20, 20, 0)),
        (32, 3, 1, 10, (10, 0, 0)),
        (6, 3, 3, 6, (6, 6, 6)),
    ],
)
def test_draws_the_least_of_offer_and_vehicle(
    car_amps: int, car_phases: int, evse_phases: int, offer: int, expected: tuple[int, ...]
) -> None:
    lab = Lab(phases=evse_phases)
    lab.charge(offer, max_current_a=car_amps, phases=car_phases)
    assert lab.amps() == expected


def test_voltage_drops_with_current_and_power_is_their_product() -> None:
    lab = Lab()
    idle = lab.world.snapshot(ONE)
    lab.charge(32)
    now = lab.world.snapshot(ONE)
    assert idle.voltage_v == (Decimal("230.1"), Decimal("230.4"), Decimal("229.8"))
    assert now.voltage_v == tuple(volts - Decimal("1.6") for volts in idle.voltage_v)
    assert now.power_w == tuple(volts * 32 for volts in now.voltage_v)


def test_energy_is_power_times_time_exactly() -> None:
    lab = Lab()
    lab.charge(16)
    before, power = lab.energy(), sum(lab.world.snapshot(ONE).power_w)
    lab.wait(3600)
    gained = lab.energy() - before
    assert abs(gained - power) <= Decimal("0.000001")


def test_looking_often_gives_the_same_energy_as_looking_once() -> None:
    seldom, often = Lab(seed=3), Lab(seed=3)
    for lab, looks in ((seldom, 1), (often, 500)):
        lab.charge(25)
        for _ in range(looks):
            lab.wait(500 / looks)
            lab.energy()
    assert seldom.energy() == often.energy()


def test_a_full_battery_leaves_c_and_draws_no_more() -> None:
    lab = Lab()
    lab.charge(16, soc=99.5, capacity_kwh=10)
    lab.wait(120)
    assert lab.pilot() is PilotState.B
    assert lab.amps() == (0, 0, 0)
    vehicle = lab.world.state()["evses"][0]["vehicle"]  # type: ignore[index,call-overload]
    assert vehicle["is_full"]  # type: ignore[index,call-overload]
    assert vehicle["taken_wh"] == pytest.approx(50 / 0.92, abs=0.2)  # type: ignore[index,call-overload]


def test_a_full_battery_is_noticed_though_nobody_reads_the_meter() -> None:
    lab = Lab()
    lab.world.plug_in(ONE, soc=99.9, capacity_kwh=10)
    lab.world.set_output(ONE, OFFER)
    lab.wait(1.1)
    lab.world.close(ONE)
    lab.world._bays[ONE]._permitted_until_us = 10**15  # nobody renews, so nobody makes the world look
    lab.timers.advance(30)
    assert lab.pilot() is PilotState.B


@pytest.mark.parametrize(("soc", "share"), [(50, 100), *TAPER])
def test_the_last_percents_are_slow(soc: float, share: int) -> None:
    car = make_car(now_us=0, max_current_a=32, phases=3, delay_s=0, soc=soc, capacity_kwh=50, leave_us=1)
    assert car.limit_ma() == max(6000, 32_000 * share // 100)


def test_x1_is_answered_within_a_second_and_under_no_load() -> None:
    lab = Lab()
    lab.charge()
    lab.world.set_output(ONE, X1)
    start = lab.timers.now
    while lab.pilot() is PilotState.C:
        lab.wait(0.01)
    assert 0.19 <= lab.timers.now - start <= 1.02
    lab.wait(0.2)
    assert lab.is_closed() is False
    assert lab.hot_openings() == 0


def test_an_offer_that_comes_back_in_time_goes_on() -> None:
    lab = Lab()
    lab.charge()
    lab.world.set_output(ONE, X1)
    lab.timers.advance(0.05)
    lab.world.set_output(ONE, OFFER)
    lab.wait(5)
    assert lab.pilot() is PilotState.C
    assert lab.amps()[0] == 16


def test_a_smaller_offer_is_followed() -> None:
    lab = Lab()
    lab.charge(32)
    lab.world.set_output(ONE, pwm(Decimal(10)))
    lab.wait(2)
    assert lab.amps() == (10, 10, 10)


def test_pause_and_resume() -> None:
    lab = Lab()
    lab.charge()
    lab.world.pause(ONE)
    lab.wait(1)
    assert lab.pilot() is PilotState.B
    assert lab.is_closed() is False
    lab.world.resume(ONE, max_current_a=8, phases=1)
    lab.wait(1)
    assert lab.pilot() is PilotState.C
    lab.world.close(ONE)
    lab.wait(8)
    assert lab.amps() == (8, 0, 0)


def test_state_f_is_read_with_and_without_a_vehicle() -> None:
    lab = Lab()
    lab.world.set_output(ONE, STATE_F)
    lab.wait(0.1)
    assert lab.pilot() is PilotState.F
    lab.world.plug_in(ONE)
    lab.world.set_output(ONE, X1)
    lab.wait(0.1)
    assert lab.pilot() is PilotState.B


# ------------------------------------------------------------------------------------------- the safety controller
def test_does_not_close_without_permission() -> None:
    lab = Lab()
    lab.renews = False
    lab.world.plug_in(ONE)
    lab.world.set_output(ONE, OFFER)
    lab.wait(1.1)
    lab.world.close(ONE)
    lab.wait(1)
    assert lab.is_closed() is False


@pytest.mark.parametrize("output", [X1, STATE_F])
def test_does_not_close_without_an_offer(output: object) -> None:
    lab = Lab()
    lab.world.plug_in(ONE)
    lab.world.set_output(ONE, OFFER)
    lab.wait(1.1)
    lab.world.set_output(ONE, output)  # type: ignore[arg-type]
    lab.world.close(ONE)
    lab.wait(0.1)
    assert lab.is_closed() is False


def test_does_not_close_in_the_window_of_a_stop() -> None:
    lab = Lab()
    lab.world.plug_in(ONE)
    lab.world.set_output(ONE, OFFER)
    lab.wait(1.1)
    lab.world.close(ONE)
    lab.world.set_output(ONE, X1)  # before the contacts have moved
    lab.wait(0.1)
    assert lab.is_closed() is False


def test_an_expired_permission_opens() -> None:
    lab = Lab()
    lab.charge()
    lab.world.renew_permission(ONE)
    lab.renews = False
    lab.timers.advance(PERMISSION_LIFE_US / 1e6 - 0.01)
    assert lab.is_closed() is True
    lab.timers.advance(0.05)
    assert lab.is_closed() is False
    assert lab.hot_openings() == 1


def test_the_vehicle_leaving_c_opens_within_100_ms() -> None:
    """IEC 61851-1 sequence 8.1."""
    lab = Lab()
    lab.charge()
    lab.world.unplug(ONE)
    lab.timers.advance(0.1)
    assert lab.pilot() is PilotState.A
    assert lab.is_closed() is False


def test_the_window_of_an_orderly_stop_is_bounded_in_hardware() -> None:
    """IEC 61851-1 sequence 10.2: a vehicle that does not react is opened under load after 6 s."""
    lab = Lab()
    lab.charge()
    car = lab.world._bays[ONE].car
    assert car is not None
    car.leave_us = 60_000_000
    lab.world.set_output(ONE, X1)
    lab.wait(5.9)
    assert lab.is_closed() is True
    lab.wait(0.2)
    assert lab.is_closed() is False
    assert lab.hot_openings() == 1


def test_open_from_another_thread_works_while_the_loop_stands() -> None:
    lab = Lab()
    lab.charge()
    thread = threading.Thread(target=lab.world.open, args=(ONE,))
    thread.start()
    thread.join()
    lab.timers.now += 0.03
    assert lab.amps() == (0, 0, 0)
    lab.timers.advance(0)
    assert lab.is_closed() is False


def test_a_power_cut_drops_the_contactor() -> None:
    lab = Lab()
    lab.charge()
    lab.world.lose_power()
    assert lab.amps() == (0, 0, 0)
    assert lab.world.state()["evses"][0]["pilot"]["signal"] == PilotSignal.X1  # type: ignore[index,call-overload]
    lab.timers.run_soon()
    assert lab.pilot() is PilotState.B


# -------------------------------------------------------------------------------------------------------------- lock
def test_the_bolt_holds_the_plug() -> None:
    lab = Lab(has_lock=True)
    lab.world.plug_in(ONE)
    lab.world.drive_lock(ONE, is_locked=True)
    lab.wait(0.5)
    assert lab.sink.reports[-1] == ("lock", ONE, True)
    with pytest.raises(Refused, match="is locked; it can be pulled when the charger has unlocked it"):
        lab.world.unplug(ONE)
    lab.world.drive_lock(ONE, is_locked=False)
    lab.wait(0.5)
    lab.world.unplug(ONE)


def test_the_bolt_does_not_hold_the_end_of_the_cable_at_the_vehicle() -> None:
    """OCPP 1.6 TC_005 and 2.0.1 E09 need it: the driver pulls the cable at the vehicle while the plug at the charger is locked."""
    lab = Lab(has_lock=True)
    lab.world.plug_in(ONE)
    lab.world.drive_lock(ONE, is_locked=True)
    lab.wait(0.5)
    lab.world.unplug(ONE, at_vehicle=True)
    lab.wait(0.1)
    assert lab.pilot() is PilotState.A


def test_a_stuck_bolt_is_reported_when_it_is_driven() -> None:
    lab = Lab(has_lock=True)
    lab.world.set_fault(SimFault.LOCK_STUCK, ONE)
    lab.wait(1)
    assert lab.faults() == []
    lab.world.drive_lock(ONE, is_locked=True)
    lab.wait(1)
    assert lab.faults() == [(ONE, FaultKind.CONNECTOR_LOCK_FAILURE, True)]
    lab.world.clear_fault(SimFault.LOCK_STUCK, ONE)
    lab.wait(1)
    assert lab.faults()[-1] == (ONE, FaultKind.CONNECTOR_LOCK_FAILURE, False)
    assert lab.sink.reports[-1] == ("lock", ONE, True)


# ------------------------------------------------------------------------------------------------------------ faults
@pytest.mark.parametrize("fault", [fault for fault, spec in CATALOGUE.items() if spec.trips and spec.scope is Scope.EVSE])
def test_a_fault_that_trips_is_reported_then_opens_and_stays_open(fault: SimFault) -> None:
    lab = Lab(evses=2)
    lab.charge()
    lab.world.set_fault(fault, ONE)
    lab.wait(0.1)
    kinds = [report[0] for report in lab.sink.reports[-2:]]
    assert kinds == ["fault", "contactor"]
    assert lab.faults() == [(ONE, CATALOGUE[fault].reports, True)]
    assert lab.is_closed() is False
    lab.world.close(ONE)
    lab.wait(0.1)
    assert lab.is_closed() is False
    lab.world.clear_fault(fault, ONE)
    lab.wait(0.1)
    assert lab.faults()[-1] == (ONE, CATALOGUE[fault].reports, False)
    lab.world.close(ONE)
    lab.wait(0.1)
    assert lab.is_closed() is True


def test_the_emergency_stop_opens_every_evse() -> None:
    lab = Lab(evses=2)
    for evse_id in (ONE, TWO):
        lab.world.plug_in(evse_id)
        lab.world.set_output(evse_id, OFFER)
    lab.wait(1.1)
    for evse_id in (ONE, TWO):
        lab.world.close(evse_id)
    lab.wait(0.1)
    assert lab.is_closed(ONE) is lab.is_closed(TWO) is True
    lab.world.set_fault(SimFault.EMERGENCY_STOP)
    lab.wait(0.1)
    assert lab.is_closed(ONE) is lab.is_closed(TWO) is False
    assert lab.faults() == [(None, FaultKind.EMERGENCY_STOP, True)]
    lab.world.close(ONE)
    lab.wait(0.1)
    assert lab.is_closed(ONE) is False


def test_welded_contacts_stay_closed() -> None:
    lab = Lab()
    lab.charge()
    lab.world.set_fault(SimFault.CONTACTOR_WELDED, ONE)
    lab.world.open(ONE)
    lab.wait(1)
    assert lab.is_closed() is True
    lab.world.clear_fault(SimFault.CONTACTOR_WELDED, ONE)
    lab.wait(0.1)
    assert lab.is_closed() is False


def test_a_coil_that_does_not_pull() -> None:
    lab = Lab()
    lab.world.set_fault(SimFault.CONTACTOR_DOES_NOT_CLOSE, ONE)
    lab.charge()
    assert lab.is_closed() is False
    assert lab.faults() == []


def test_a_contactor_that_opens_by_itself() -> None:
    lab = Lab()
    lab.world.set_fault(SimFault.CONTACTOR_OPENS, ONE)
    lab.world.plug_in(ONE)
    lab.world.set_output(ONE, OFFER)
    lab.wait(1.1)
    lab.world.close(ONE)
    lab.wait(0.1)
    assert lab.is_closed() is True
    lab.wait(0.5)
    assert lab.is_closed() is False
    assert lab.pilot() is PilotState.C


@pytest.mark.parametrize(("fault", "state"), [(SimFault.PILOT_SHORT, PilotState.E), (SimFault.VENTILATION, PilotState.D)])
def test_pilot_faults_show_on_the_pilot_and_open(fault: SimFault, state: PilotState) -> None:
    lab = Lab()
    lab.charge()
    lab.world.set_fault(fault, ONE)
    lab.wait(0.1)
    assert lab.pilot() is state
    assert lab.is_closed() is False


@pytest.mark.parametrize(("fault", "volts"), [(SimFault.OVER_VOLTAGE, "265.1"), (SimFault.UNDER_VOLTAGE, "190.1")])
def test_voltage_faults_show_on_the_meter(fault: SimFault, volts: str) -> None:
    lab = Lab()
    lab.world.set_fault(fault, ONE)
    assert lab.world.snapshot(ONE).voltage_v[0] == Decimal(volts)


def test_register_faults() -> None:
    lab = Lab()
    serial_number, register = lab.world.snapshot(ONE).serial_number, lab.energy()
    lab.world.set_fault(SimFault.METER_JUMP, ONE)
    assert lab.energy() == register + 50_000
    lab.world.set_fault(SimFault.METER_RESET, ONE)
    assert lab.energy() == 0
    lab.world.set_fault(SimFault.METER_SWAP, ONE)
    assert lab.energy() == 777_000
    assert lab.world.snapshot(ONE).serial_number != serial_number
    lab.world.clear_fault(SimFault.METER_SWAP, ONE)
    assert lab.world.snapshot(ONE).serial_number == serial_number


def test_a_set_register_counts_on() -> None:
    lab = Lab()
    lab.charge()
    lab.world.set_register(ONE, Decimal("5000.5"))
    assert lab.energy() == Decimal("5000.5")
    lab.wait(60)
    assert lab.energy() > 5000.5


def test_a_lost_controller_loses_orders_and_reports_and_comes_back_with_its_state() -> None:
    lab = Lab()
    lab.charge()
    lab.world.set_fault(SimFault.HAL_LOST)
    lab.wait(2)
    assert lab.sink.reports[-1] == ("fault", None, FaultKind.HAL_LOST, True)
    assert lab.amps() == (0, 0, 0)  # nobody's renewal arrived
    lab.world.clear_fault(SimFault.HAL_LOST)
    lab.wait(0.1)
    assert lab.sink.reports[-3:] == [
        ("pilot", ONE, PilotState.C),
        ("contactor", ONE, False),
        ("fault", None, FaultKind.HAL_LOST, False),
    ]


def test_a_broken_reader_reads_nothing() -> None:
    lab = Lab()
    lab.world.swipe(IdToken("AA11", IdTokenType.ISO15693), ONE)
    lab.world.swipe(IdToken("BB22"))
    lab.wait(0.1)
    assert [report[1:] for report in lab.sink.reports if report[0] == "token"] == [
        (ONE, "AA11", IdTokenType.ISO15693),
        (None, "BB22", IdTokenType.ISO14443),
    ]
    lab.world.set_fault(SimFault.READER_FAILURE)
    with pytest.raises(Refused, match="reader_failure"):
        lab.world.swipe(IdToken("BB22"))


def test_faults_that_are_there_are_told_to_who_comes_later() -> None:
    lab = Lab()
    lab.world.set_fault(SimFault.RCD_TRIP, ONE)
    lab.world.set_fault(SimFault.EMERGENCY_STOP)
    late = RecordedSink()
    lab.world.attach(late)
    assert [report[1:] for report in late.reports if report[0] == "fault"] == [
        (ONE, FaultKind.RCD_TRIPPED, True),
        (None, FaultKind.EMERGENCY_STOP, True),
    ]


def test_the_listing_names_every_fault() -> None:
    assert all(line.startswith(fault) for line, fault in zip(listing().splitlines(), CATALOGUE, strict=True))
    assert set(CATALOGUE) == set(SimFault)


# ------------------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda world: world.unplug(ONE), "no vehicle is plugged in at EVSE 1; ev.plug_in first"),
        (lambda world: world.pause(ONE), "no vehicle is plugged in"),
        (lambda world: world.resume(ONE), "no vehicle is plugged in"),
        (lambda world: (world.plug_in(ONE), world.plug_in(ONE)), "a vehicle is plugged in at EVSE 1 already"),
        (lambda world: world.plug_in(EvseId(7)), "there is no EVSE 7; there are 1"),
        (lambda world: world.set_fault(SimFault.RCD_TRIP, EvseId(7)), "there is no EVSE 7"),
    ],
)
def test_what_cannot_be_is_refused(act: Callable[[World], object], sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        act(Lab().world)


# -------------------------------------------------------------------------------------------------------- properties
ACTIONS = st.sampled_from(
    ["plug", "unplug", "pause", "resume", "pwm6", "pwm32", "x1", "f", "close", "open", "renew", "fault", "clear", "wait", "look", "power"]
)


@settings(max_examples=150, deadline=None)
@given(actions=st.lists(st.tuples(ACTIONS, st.integers(0, 4000)), max_size=40), seed=st.integers(0, 5))
def test_whatever_is_done_energy_never_falls_and_the_controller_protects(actions: list[tuple[str, int]], seed: int) -> None:
    """The register only rises, and only with a closed contactor; the contactor is open 100 ms after what allowed it ended."""
    bay = Bay(EvseSetup(evse_id=ONE, max_current_a=32, phases=3, has_lock=False), tell=lambda _: None, now_us=0, chance=random.Random(seed))
    now_us, renewed_us, register = 0, -PERMISSION_LIFE_US, bay.register_wh()
    trips = [fault for fault, spec in CATALOGUE.items() if spec.trips]
    for action, number in actions:
        now_us += number * 1000
        was_closed = bay.is_closed
        bay.advance(now_us)
        assert bay.register_wh() >= register
        assert bay.register_wh() == register or was_closed or number > 30
        register = bay.register_wh()
        if bay.is_closed:
            assert now_us - renewed_us <= PERMISSION_LIFE_US + 100_000
        match action:
            case "plug" if bay.car is None:
                bay.plug_in(max_current_a=16 + number % 17, phases=1 + number % 3, delay_s=number / 2000, soc=number / 40, capacity_kwh=1)
            case "unplug" if bay.car is not None:
                bay.unplug()
            case "pause" if bay.car is not None:
                bay.pause()
            case "resume" if bay.car is not None:
                bay.resume(max_current_a=None, phases=None)
            case "pwm6" | "pwm32":
                bay.set_output(pwm(Decimal(action[3:])))
            case "x1":
                bay.set_output(X1)
            case "f":
                bay.set_output(STATE_F)
            case "close":
                bay.close()
            case "open":
                bay.open()
            case "renew":
                renewed_us = now_us
                bay.renew()
            case "fault":
                bay.set_fault(trips[number % len(trips)])
            case "clear":
                bay.clear_fault(trips[number % len(trips)])
            case "power":
                bay.lose_power()
            case _:
                pass
        is_allowed = bay.pilot() is PilotState.C and not any(CATALOGUE[fault].trips for fault in bay.faults)
        if not is_allowed:
            now_us += 100_000
            bay.advance(now_us)
            register = bay.register_wh()
            assert not bay.is_closed


def test_an_hour_of_charging_costs_next_to_nothing() -> None:
    """Nothing is polled: between two looks there are as many steps as things that happen."""
    lab = Lab()
    lab.charge(16, capacity_kwh=100)
    bay = lab.world._bays[ONE]
    bay._permitted_until_us = 10**15
    done: list[object] = []
    bay._do, do = lambda step: (done.append(step), do(step)), bay._do  # type: ignore[method-assign,assignment,misc]
    before = bay.register_wh()
    bay.advance(bay._now_us + 3600 * 10**6)
    assert bay.register_wh() - before > 10_900
    assert len(done) < 20
