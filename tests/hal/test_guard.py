"""The guard: a contactor is ordered closed only while the interlock holds, and is opened by whatever ends that."""

import asyncio
import threading
import time
from decimal import Decimal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from agent.domain.authorization import IdToken
from agent.domain.connector import FaultKind
from agent.domain.ids import EvseId
from agent.domain.interlock import Interlock
from agent.domain.pilot import STATE_F, X1, PilotOutput, PilotSignal, PilotState, pwm
from agent.hal.api import EvsePorts, HalSink, MeterAddress
from agent.hal.guard import LATE_RENEWAL_S, NOT_INTERLOCKING, PERMISSION_LIFE_S, RETRY_S, STOP_WINDOW_S, Guard
from tests.hal.board import BoardEvse, ManualTimers, RecordedSink, ports_of

ONE, TWO = EvseId(1), EvseId(2)
OFFER = pwm(Decimal(16))


class Rig:
    """A guard between a recorded engine and a recorded board, with both clocks in hand."""

    def __init__(self, evses: dict[EvseId, BoardEvse] | None = None) -> None:
        self.board = evses or {ONE: BoardEvse()}
        self.timers = ManualTimers()
        self.real = 50.0
        self.sink = RecordedSink()
        self.refused: list[tuple[EvseId, Interlock]] = []
        self.guard = Guard(self.sink, on_refused=lambda evse_id, why: self.refused.append((evse_id, why)), clock=lambda: self.real)
        for evse_id, evse in self.board.items():
            self.guard.pilot_measured(evse_id, PilotState.A)
            self.guard.contactor_reported(evse_id, is_closed=False)
            if evse.has_lock:
                self.guard.lock_reported(evse_id, is_locked=False)
        self.guard.attach(ports_of(self.board), self.timers)

    @property
    def contactor(self) -> list[str]:
        return self.board[ONE].contactor.commands

    def charge(self, evse_id: EvseId = ONE) -> None:
        """Bring an EVSE to a closed contactor, as the engine does."""
        self.guard.permit(evse_id)
        self.guard.set_pilot(evse_id, OFFER)
        if self.board[evse_id].has_lock:
            self.guard.lock_reported(evse_id, is_locked=True)
        self.guard.pilot_measured(evse_id, PilotState.C)
        assert self.guard.close(evse_id) is None
        self.guard.contactor_reported(evse_id, is_closed=True)

    def stay(self, seconds: float) -> None:
        """Let loop time pass with the permission renewed."""
        steps = max(1, round(seconds / 0.25))
        for _ in range(steps):
            self.real += seconds / steps
            self.timers.advance(seconds / steps)
            for evse_id in self.board:
                self.guard.permit(evse_id)

    def faults(self) -> list[tuple[object, ...]]:
        return [report[1:] for report in self.sink.reports if report[0] == "fault"]


def test_closes_in_state_c2_with_permission() -> None:
    rig = Rig()
    rig.charge()
    assert rig.contactor == ["close"]
    assert rig.guard.is_commanded_closed(ONE)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda guard: guard.revoke(ONE), Interlock.NO_PERMISSION),
        (lambda guard: guard.pilot_measured(ONE, PilotState.B), Interlock.NOT_STATE_C),
        (lambda guard: guard.pilot_measured(ONE, PilotState.D), Interlock.NO_VENTILATION),
        (lambda guard: guard.set_pilot(ONE, X1), Interlock.PILOT_STEADY),
        (lambda guard: guard.set_pilot(ONE, STATE_F), Interlock.PILOT_STEADY),
        (lambda guard: guard.lock_reported(ONE, is_locked=False), Interlock.NOT_LOCKED),
        (lambda guard: guard.fault_changed(ONE, FaultKind.RCD_TRIPPED, is_present=True), Interlock.FAULT),
        (lambda guard: guard.fault_changed(None, FaultKind.EMERGENCY_STOP, is_present=True), Interlock.FAULT),
    ],
)
def test_refuses_to_close_and_says_which_condition(spoil: object, expected: Interlock) -> None:
    rig = Rig({ONE: BoardEvse(has_lock=True)})
    rig.guard.permit(ONE)
    rig.guard.set_pilot(ONE, OFFER)
    rig.guard.lock_reported(ONE, is_locked=True)
    rig.guard.pilot_measured(ONE, PilotState.C)
    assert rig.guard.forbids(ONE) is None
    spoil(rig.guard)  # type: ignore[operator]
    assert rig.guard.close(ONE) is expected
    assert "close" not in rig.contactor


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (lambda guard: guard.pilot_measured(ONE, PilotState.B), Interlock.NOT_STATE_C),
        (lambda guard: guard.pilot_measured(ONE, PilotState.A), Interlock.NOT_STATE_C),
        (lambda guard: guard.pilot_measured(ONE, PilotState.E), Interlock.NOT_STATE_C),
        (lambda guard: guard.pilot_measured(ONE, PilotState.F), Interlock.NOT_STATE_C),
        (lambda guard: guard.pilot_measured(ONE, PilotState.D), Interlock.NO_VENTILATION),
        (lambda guard: guard.set_pilot(ONE, STATE_F), Interlock.PILOT_STEADY),
        (lambda guard: guard.lock_reported(ONE, is_locked=False), Interlock.NOT_LOCKED),
        (lambda guard: guard.fault_changed(ONE, FaultKind.OVER_TEMPERATURE, is_present=True), Interlock.FAULT),
        (lambda guard: guard.fault_changed(None, FaultKind.HAL_LOST, is_present=True), Interlock.FAULT),
    ],
)
def test_opens_in_the_call_that_ends_the_interlock(event: object, expected: Interlock) -> None:
    rig = Rig({ONE: BoardEvse(has_lock=True)})
    rig.charge()
    event(rig.guard)  # type: ignore[operator]
    assert rig.contactor == ["close", "open"]
    rig.timers.run_soon()
    assert rig.refused == [(ONE, expected)]


@pytest.mark.parametrize("fault", sorted(NOT_INTERLOCKING))
def test_a_fault_that_a_policy_answers_leaves_the_contactor(fault: FaultKind) -> None:
    rig = Rig()
    rig.charge()
    rig.guard.fault_changed(ONE, fault, is_present=True)
    assert rig.contactor == ["close"]


def test_opens_before_the_engine_hears_of_it() -> None:
    """A slow or broken engine cannot delay the opening."""
    rig = Rig()
    rig.charge()
    seen: list[list[str]] = []
    rig.sink.pilot_measured = lambda evse_id, state: seen.append(list(rig.contactor))  # type: ignore[method-assign]
    rig.guard.pilot_measured(ONE, PilotState.B)
    assert seen == [["close", "open"]]


def test_a_fault_of_one_evse_leaves_the_other() -> None:
    rig = Rig({ONE: BoardEvse(), TWO: BoardEvse()})
    rig.charge(ONE)
    rig.charge(TWO)
    rig.guard.fault_changed(TWO, FaultKind.GROUND_FAULT, is_present=True)
    assert rig.board[ONE].contactor.is_commanded_closed
    assert not rig.board[TWO].contactor.is_commanded_closed


def test_ventilation_allows_state_d() -> None:
    rig = Rig({ONE: BoardEvse(has_ventilation=True)})
    rig.charge()
    rig.guard.pilot_measured(ONE, PilotState.D)
    assert rig.contactor == ["close"]


def test_everything_is_passed_on() -> None:
    rig = Rig()
    rig.guard.id_token_presented(None, IdToken("04A1B2C3"))
    rig.guard.fault_changed(None, FaultKind.METER_FAILURE, is_present=True)
    assert rig.sink.reports[-2][:3] == ("token", None, "04A1B2C3")
    assert rig.sink.reports[-1] == ("fault", None, FaultKind.METER_FAILURE, True)


# ------------------------------------------------------------------------------------------------------- permission
def test_permit_renews_the_hardware() -> None:
    rig = Rig()
    rig.guard.permit(ONE)
    rig.guard.permit(ONE)
    assert rig.board[ONE].contactor.renewals == 2


def test_an_expired_permission_opens_and_is_reported() -> None:
    rig = Rig()
    rig.charge()
    rig.real += PERMISSION_LIFE_S - 0.01
    assert rig.guard.expire() == pytest.approx(0.01)
    rig.real += 0.01
    assert rig.guard.expire() is None
    assert rig.contactor == ["close", "open"]
    rig.timers.run_soon()
    assert rig.refused == [(ONE, Interlock.NO_PERMISSION)]


def failing() -> None:
    raise OSError(5, "Input/output error")


def test_a_driver_that_fails_to_open_is_ordered_again_and_its_engine_told() -> None:
    """The driver's error must not swallow the report that made the guard open, nor be the last word about a closed contactor."""
    rig = Rig()
    rig.charge()
    rig.board[ONE].contactor.on_open = failing
    rig.guard.pilot_measured(ONE, PilotState.B)
    assert ("pilot", ONE, PilotState.B) in rig.sink.reports
    assert rig.guard.expire() == pytest.approx(RETRY_S)
    rig.timers.run_soon()
    assert rig.faults() == [(ONE, FaultKind.HAL_LOST, True)]
    rig.guard.pilot_measured(ONE, PilotState.C)
    assert rig.guard.close(ONE) is Interlock.FAULT, "what cannot be opened is not closed again"
    rig.board[ONE].contactor.on_open = None
    assert rig.guard.expire() is None
    assert rig.contactor == ["close", "open"]
    rig.timers.run_soon()
    assert rig.faults()[-1] == (ONE, FaultKind.HAL_LOST, False)


def test_a_driver_that_fails_to_open_one_contactor_opens_the_others() -> None:
    rig = Rig({ONE: BoardEvse(), TWO: BoardEvse()})
    rig.charge(ONE)
    rig.charge(TWO)
    rig.board[ONE].contactor.on_open = failing
    rig.real += PERMISSION_LIFE_S
    assert rig.guard.expire() == pytest.approx(RETRY_S)
    assert rig.board[TWO].contactor.commands == ["close", "open"]
    rig.board[ONE].contactor.on_open = None
    rig.guard.expire()
    assert rig.board[ONE].contactor.commands == ["close", "open"]


@pytest.mark.timeout(10)
async def test_the_thread_opens_what_a_driver_failed_to_open() -> None:
    board = {ONE: BoardEvse()}
    sink = RecordedSink()
    guard = Guard(sink, on_refused=lambda *_: None)
    await guard.start(RealDriver(board))
    try:
        guard.permit(ONE)
        guard.set_pilot(ONE, OFFER)
        assert guard.close(ONE) is None
        tries: list[float] = []

        def fail_twice() -> None:
            tries.append(time.monotonic())
            if len(tries) < 3:
                failing()

        board[ONE].contactor.on_open = fail_twice
        guard.revoke(ONE)
        while board[ONE].contactor.commands[-1] != "open":
            await asyncio.sleep(0.02)
        assert len(tries) == 3
        assert tries[2] - tries[1] > RETRY_S / 2, "again and again, but not in a spin"
    finally:
        guard.close_down()


def test_closing_down_opens_what_it_can() -> None:
    rig = Rig({ONE: BoardEvse(), TWO: BoardEvse()})
    rig.charge(ONE)
    rig.charge(TWO)
    rig.board[ONE].contactor.on_open = failing
    rig.guard.close_down()
    assert rig.board[TWO].contactor.commands == ["close", "open"]


def test_a_driver_that_fails_to_close_leaves_it_open_with_a_fault() -> None:
    rig = Rig()
    rig.guard.permit(ONE)
    rig.guard.set_pilot(ONE, OFFER)
    rig.guard.pilot_measured(ONE, PilotState.C)
    rig.board[ONE].contactor.on_close = failing
    assert rig.guard.close(ONE) is Interlock.FAULT
    assert rig.contactor == ["open"]
    assert not rig.guard.is_commanded_closed(ONE)
    assert rig.faults() == [(ONE, FaultKind.CONTACTOR_DID_NOT_CLOSE, True)]


def test_a_pilot_that_cannot_be_set_opens_and_is_tried_again() -> None:
    rig = Rig()
    rig.charge()
    rig.board[ONE].pilot.on_output = failing
    rig.guard.set_pilot(ONE, X1)
    assert rig.contactor == ["close", "open"], "no offer can be withdrawn, so the energy is"
    rig.timers.advance(RETRY_S)
    assert rig.faults() == [(ONE, FaultKind.HAL_LOST, True)]
    rig.board[ONE].pilot.on_output = None
    rig.timers.advance(RETRY_S)
    assert rig.board[ONE].pilot.outputs[-1] == X1
    assert rig.faults()[-1] == (ONE, FaultKind.HAL_LOST, False)


def test_nothing_closed_needs_no_wake_up() -> None:
    rig = Rig()
    rig.guard.permit(ONE)
    assert rig.guard.expire() is None


def test_an_opening_during_the_close_call_has_the_last_word() -> None:
    """The thread's open may overtake a close that hangs in the driver: the contactor ends open all the same."""
    rig = Rig()
    rig.guard.permit(ONE)
    rig.guard.set_pilot(ONE, OFFER)
    rig.guard.pilot_measured(ONE, PilotState.C)

    def expire_meanwhile() -> None:
        rig.real += PERMISSION_LIFE_S
        rig.guard.expire()

    rig.board[ONE].contactor.on_close = expire_meanwhile
    rig.guard.close(ONE)
    assert rig.contactor == ["open", "close", "open"]
    assert not rig.guard.is_commanded_closed(ONE)


class RealDriver:
    """A driver around the recorded board, for the guard's own start."""

    permission_expires = False

    def __init__(self, board: dict[EvseId, BoardEvse]) -> None:
        self.board = board

    async def start(self, sink: HalSink) -> dict[EvseId, EvsePorts]:
        for evse_id in self.board:
            sink.pilot_measured(evse_id, PilotState.C)
            sink.contactor_reported(evse_id, is_closed=False)
        return ports_of(self.board)

    async def aclose(self) -> None:
        return None

    def meter(self, evse_id: EvseId) -> MeterAddress | None:
        return None


async def test_a_stuck_event_loop_cannot_keep_a_contactor_closed() -> None:
    """The loop stands in a blocking call; the guard's thread opens when the permission runs out, and the loop hears of it later."""
    board = {ONE: BoardEvse()}
    refused: list[Interlock] = []
    guard = Guard(RecordedSink(), on_refused=lambda _, why: refused.append(why), life_s=0.1)
    await guard.start(RealDriver(board))
    guard.set_pilot(ONE, OFFER)
    guard.permit(ONE)
    assert guard.close(ONE) is None
    deadline = time.monotonic() + 5
    while board[ONE].contactor.is_commanded_closed and time.monotonic() < deadline:
        time.sleep(0.005)  # the loop is stuck here
    assert not board[ONE].contactor.is_commanded_closed
    assert refused == []
    while not refused and time.monotonic() < deadline:
        await asyncio.sleep(0)
    assert refused == [Interlock.NO_PERMISSION]
    guard.close_down()


async def test_a_renewed_permission_keeps_the_contactor_closed() -> None:
    board = {ONE: BoardEvse()}
    guard = Guard(RecordedSink(), on_refused=lambda *_: None, life_s=0.4)
    await guard.start(RealDriver(board))
    guard.set_pilot(ONE, OFFER)
    guard.permit(ONE)
    guard.close(ONE)
    for _ in range(12):
        await asyncio.sleep(0.05)
        guard.permit(ONE)
    assert board[ONE].contactor.commands == ["close"]
    assert board[ONE].pilot.outputs == [X1, OFFER], "whatever the run before offered"
    guard.close_down()
    assert board[ONE].contactor.commands[-1] == "open"
    assert not any(thread.name == "contactor-guard" for thread in threading.enumerate())


async def test_nothing_closes_after_the_end() -> None:
    board = {ONE: BoardEvse()}
    guard = Guard(RecordedSink(), on_refused=lambda *_: None)
    await guard.start(RealDriver(board))
    guard.close_down()
    guard.set_pilot(ONE, OFFER)
    guard.permit(ONE)
    assert guard.close(ONE) is Interlock.NO_PERMISSION
    assert not board[ONE].contactor.is_commanded_closed


# ------------------------------------------------------------------------------------------------------ orderly stop
def test_x1_leaves_the_contactor_until_the_window_is_over() -> None:
    rig = Rig()
    rig.charge()
    rig.guard.set_pilot(ONE, X1)
    rig.stay(STOP_WINDOW_S - 0.1)
    assert rig.contactor == ["close"]
    rig.stay(0.2)
    assert rig.contactor == ["close", "open"]
    assert rig.refused == [(ONE, Interlock.PILOT_STEADY)]


def test_a_stop_can_be_shortened_and_never_lengthened() -> None:
    rig = Rig()
    rig.charge()
    rig.guard.set_pilot(ONE, X1)
    rig.guard.begin_stop(ONE, 3.0)
    rig.stay(2.5)
    rig.guard.begin_stop(ONE)
    rig.guard.begin_stop(ONE, 60.0)
    rig.stay(0.5)
    assert rig.contactor == ["close", "open"]


def test_pwm_again_ends_the_stop() -> None:
    rig = Rig()
    rig.charge()
    rig.guard.set_pilot(ONE, X1)
    rig.stay(5)
    rig.guard.set_pilot(ONE, OFFER)
    rig.stay(20)
    assert rig.contactor == ["close"]


def test_the_next_stop_has_its_whole_window() -> None:
    rig = Rig()
    rig.charge()
    rig.guard.set_pilot(ONE, X1)
    rig.stay(5)
    rig.guard.set_pilot(ONE, OFFER)
    rig.guard.set_pilot(ONE, X1)
    rig.stay(5.5)
    assert rig.contactor == ["close"]
    rig.stay(0.6)
    assert rig.contactor == ["close", "open"]


def test_the_window_of_one_stop_does_not_serve_a_close_in_x1() -> None:
    rig = Rig()
    rig.charge()
    rig.guard.set_pilot(ONE, X1)
    rig.guard.open(ONE)
    assert rig.guard.close(ONE) is Interlock.PILOT_STEADY


def test_the_vehicle_leaving_c_ends_the_stop_at_once() -> None:
    rig = Rig()
    rig.charge()
    rig.guard.set_pilot(ONE, X1)
    rig.guard.pilot_measured(ONE, PilotState.B)
    assert rig.contactor == ["close", "open"]


# --------------------------------------------------------------------------------------------------- mirror contact
def test_welded_when_closed_a_second_after_the_order_to_open() -> None:
    rig = Rig()
    rig.charge()
    rig.guard.open(ONE)
    rig.stay(0.9)
    assert rig.faults() == []
    rig.stay(0.2)
    assert rig.faults() == [(ONE, FaultKind.CONTACTOR_WELDED, True)]
    assert rig.guard.forbids(ONE) is Interlock.FAULT


def test_a_mirror_contact_that_nobody_can_read_proves_nothing() -> None:
    """HAL_LOST: the feedback is old, so it is judged only when the hardware is back."""
    rig = Rig()
    rig.charge()
    rig.guard.fault_changed(ONE, FaultKind.HAL_LOST, is_present=True)
    rig.stay(5)
    assert (ONE, FaultKind.CONTACTOR_WELDED, True) not in rig.faults()
    rig.guard.fault_changed(ONE, FaultKind.HAL_LOST, is_present=False)
    rig.stay(1.1)
    assert rig.faults()[-1] == (ONE, FaultKind.CONTACTOR_WELDED, True)


def test_what_is_closed_at_the_start_is_opened_and_if_it_stays_closed_is_welded() -> None:
    board, timers, sink = BoardEvse(), ManualTimers(), RecordedSink()
    guard = Guard(sink, on_refused=lambda *_: None)
    guard.pilot_measured(ONE, PilotState.C)
    guard.contactor_reported(ONE, is_closed=True)
    guard.attach({ONE: board.ports()}, timers)
    assert board.contactor.commands == ["open"]
    timers.advance(1.1)
    assert sink.reports[-1] == ("fault", ONE, FaultKind.CONTACTOR_WELDED, True)


def test_welded_stays_over_unplugging_until_a_technician_clears_it() -> None:
    rig = Rig()
    rig.charge()
    rig.guard.open(ONE)
    rig.stay(1.1)
    rig.guard.pilot_measured(ONE, PilotState.A)
    assert rig.guard.forbids(ONE) is Interlock.FAULT
    rig.guard.contactor_reported(ONE, is_closed=False)
    rig.guard.clear(ONE)
    rig.timers.run_soon()
    assert rig.faults()[-1] == (ONE, FaultKind.CONTACTOR_WELDED, False)
    rig.stay(2)
    assert len(rig.faults()) == 2


def test_a_cleared_weld_that_is_still_there_is_found_again() -> None:
    rig = Rig()
    rig.charge()
    rig.guard.open(ONE)
    rig.stay(1.1)
    rig.guard.clear(ONE)
    rig.stay(1.1)
    assert [one[2] for one in rig.faults()] == [True, False, True]


def test_did_not_close_after_a_second() -> None:
    rig = Rig()
    rig.guard.permit(ONE)
    rig.guard.set_pilot(ONE, OFFER)
    rig.guard.pilot_measured(ONE, PilotState.C)
    rig.guard.close(ONE)
    rig.stay(0.9)
    assert rig.faults() == []
    rig.stay(0.2)
    assert rig.faults() == [(ONE, FaultKind.CONTACTOR_DID_NOT_CLOSE, True)]
    assert rig.contactor == ["close", "open"]
    assert rig.refused == [(ONE, Interlock.FAULT)]
    rig.guard.pilot_measured(ONE, PilotState.A)
    assert rig.faults()[-1] == (ONE, FaultKind.CONTACTOR_DID_NOT_CLOSE, False)


def test_opening_by_itself_is_a_fault_until_unplugged() -> None:
    rig = Rig()
    rig.charge()
    rig.guard.contactor_reported(ONE, is_closed=False)
    assert rig.contactor == ["close", "open"]
    rig.stay(0.3)
    assert rig.faults() == [(ONE, FaultKind.CONTACTOR_OPENED, True)]
    rig.guard.pilot_measured(ONE, PilotState.A)
    assert rig.guard.forbids(ONE) is not Interlock.FAULT


@pytest.mark.parametrize(
    "reason",
    [
        lambda guard: guard.pilot_measured(ONE, PilotState.B),
        lambda guard: guard.fault_changed(ONE, FaultKind.RCD_TRIPPED, is_present=True),
    ],
)
def test_hardware_that_opens_for_a_reason_is_no_contactor_fault(reason: object) -> None:
    """The safety controller opens first and may tell why a moment later."""
    rig = Rig()
    rig.charge()
    rig.guard.contactor_reported(ONE, is_closed=False)
    rig.timers.advance(0.05)
    reason(rig.guard)  # type: ignore[operator]
    rig.stay(2)
    assert FaultKind.CONTACTOR_OPENED not in {one[1] for one in rig.faults()}


@pytest.mark.parametrize("renews_first", [False, True])
def test_hardware_that_opened_because_the_agent_was_stopped_is_no_contactor_fault(renews_first: bool) -> None:
    """After SIGSTOP the hardware's permission ran out. The report and the renewal may come in either order."""
    rig = Rig()
    rig.charge()
    rig.real += LATE_RENEWAL_S + 0.5
    if renews_first:
        rig.guard.permit(ONE)
    rig.guard.contactor_reported(ONE, is_closed=False)
    rig.stay(2)
    assert rig.faults() == []
    assert rig.refused == [(ONE, Interlock.NO_PERMISSION)]


def test_the_feedback_of_an_earlier_opening_is_no_opening_by_itself() -> None:
    rig = Rig()
    rig.charge()
    rig.guard.open(ONE)
    rig.guard.close(ONE)
    rig.guard.contactor_reported(ONE, is_closed=False)
    rig.guard.contactor_reported(ONE, is_closed=True)
    rig.stay(3)
    assert rig.faults() == []
    assert rig.contactor == ["close", "open", "close"]


# -------------------------------------------------------------------------------------------------------------- lock
def test_never_unlocks_a_live_plug() -> None:
    rig = Rig({ONE: BoardEvse(has_lock=True)})
    rig.charge()
    assert not rig.guard.unlock(ONE)
    rig.guard.open(ONE)
    assert not rig.guard.unlock(ONE)
    rig.guard.contactor_reported(ONE, is_closed=False)
    assert rig.guard.unlock(ONE)
    assert rig.board[ONE].lock.commands == ["unlock"]


def test_an_unknown_evse_is_named() -> None:
    with pytest.raises(LookupError, match="EVSE 9 is not known to the guard; known are 1"):
        Rig().guard.permit(EvseId(9))


# ---------------------------------------------------------------------------------------------------------- property
class GuardMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order: closed only in C (D with ventilation), with PWM or in the window, locked, permitted, no fault."""

    @initialize(has_lock=st.booleans(), has_ventilation=st.booleans())
    def begin(self, has_lock: bool, has_ventilation: bool) -> None:
        self.rig = Rig({ONE: BoardEvse(has_lock=has_lock, has_ventilation=has_ventilation), TWO: BoardEvse()})
        self.has_lock, self.has_ventilation = has_lock, has_ventilation
        self.pilot, self.output, self.is_locked = PilotState.A, STATE_F, False
        self.faults: set[tuple[EvseId | None, FaultKind]] = set()
        self.permitted_until = float("-inf")
        self.x1_since = float("-inf")

    @rule()
    def charge(self) -> None:
        """Chance alone seldom gets as far as a closed contactor."""
        for where, fault in sorted(self.faults, key=str):
            self.fault(fault, where, False)
        self.rig.guard.clear(ONE)
        self.rig.timers.run_soon()
        self.permit()
        self.set_pilot(OFFER)
        self.lock(True)
        self.pilot_state(PilotState.C)
        self.rig.guard.close(ONE)

    @rule(state=st.sampled_from(PilotState))
    def pilot_state(self, state: PilotState) -> None:
        self.pilot = state
        self.rig.guard.pilot_measured(ONE, state)

    @rule(output=st.sampled_from([X1, STATE_F, OFFER, pwm(Decimal(6))]))
    def set_pilot(self, output: PilotOutput) -> None:
        if output.signal is PilotSignal.X1 and self.output.signal is PilotSignal.PWM:
            self.x1_since = self.rig.timers.now
        self.output = output
        self.rig.guard.set_pilot(ONE, output)

    @rule(is_locked=st.booleans())
    def lock(self, is_locked: bool) -> None:
        self.is_locked = is_locked
        self.rig.guard.lock_reported(ONE, is_locked=is_locked)

    @rule(fault=st.sampled_from(FaultKind), where=st.sampled_from([ONE, None]), is_present=st.booleans())
    def fault(self, fault: FaultKind, where: EvseId | None, is_present: bool) -> None:
        (self.faults.add if is_present else self.faults.discard)((where, fault))
        self.rig.guard.fault_changed(where, fault, is_present=is_present)

    @rule(is_closed=st.booleans())
    def feedback(self, is_closed: bool) -> None:
        self.rig.guard.contactor_reported(ONE, is_closed=is_closed)

    @rule()
    def permit(self) -> None:
        self.permitted_until = self.rig.real + PERMISSION_LIFE_S
        self.rig.guard.permit(ONE)

    @rule()
    def revoke(self) -> None:
        self.permitted_until = float("-inf")
        self.rig.guard.revoke(ONE)

    @rule()
    def close(self) -> None:
        self.rig.guard.close(ONE)

    @rule()
    def close_in_the_other(self) -> None:
        self.rig.charge(TWO) if self.rig.guard.forbids(TWO) is not Interlock.FAULT and not self.faults else None

    @rule()
    def open(self) -> None:
        self.rig.guard.open(ONE)
        assert not self.rig.board[ONE].contactor.is_commanded_closed

    @rule(window_s=st.one_of(st.none(), st.floats(min_value=0, max_value=60)))
    def begin_stop(self, window_s: float | None) -> None:
        self.rig.guard.begin_stop(ONE, window_s)

    @rule(seconds=st.floats(min_value=0, max_value=7))
    def loop_time(self, seconds: float) -> None:
        self.rig.timers.advance(seconds)

    @rule(seconds=st.floats(min_value=0, max_value=3))
    def real_time(self, seconds: float) -> None:
        self.rig.real += seconds
        self.rig.guard.expire()

    @invariant()
    def closed_only_while_the_interlock_holds(self) -> None:
        if not hasattr(self, "rig") or not self.rig.board[ONE].contactor.is_commanded_closed:
            return
        assert self.pilot is PilotState.C or (self.pilot is PilotState.D and self.has_ventilation)
        assert self.is_locked or not self.has_lock
        assert self.rig.real < self.permitted_until
        assert not {fault for _, fault in self.faults} - NOT_INTERLOCKING
        is_in_window = self.output.signal is PilotSignal.X1 and self.rig.timers.now <= self.x1_since + STOP_WINDOW_S
        assert self.output.signal is PilotSignal.PWM or is_in_window

    @invariant()
    def guard_and_board_agree(self) -> None:
        if hasattr(self, "rig"):
            assert self.rig.guard.is_commanded_closed(ONE) == self.rig.board[ONE].contactor.is_commanded_closed


TestGuardMachine = GuardMachine.TestCase
TestGuardMachine.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
