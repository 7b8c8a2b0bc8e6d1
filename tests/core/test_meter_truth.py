"""Whatever a meter does, nothing is billed that did not flow, and all is billed that is known to have flowed."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core import variables as var
from agent.core.state import MeterLossPolicy, Phase, PowerLossPolicy
from agent.domain.commands import RequestStop
from agent.domain.metering import Discontinuity
from agent.domain.pilot import PilotState
from agent.domain.transaction import StoppedReason
from agent.metering.lifetime import Counter
from agent.metering.registers import RegisterType, exchanged_words
from tests.core.lying_meter import LOAD_W, Lie, LyingMeterRig, Shown, honest
from tests.core.rig import EVSE1

WH_PER_S = LOAD_W / 3600
CHARGED_MS = 60_000


@dataclass(frozen=True)
class Trouble:
    """`begin` makes the lie from the register of the moment. `kind` is what it is called where a new register is confirmed."""

    begin: Callable[[Decimal], Lie]
    kind: Discontinuity | None = None
    counter: Counter = Counter()  # noqa: RUF009 - frozen
    step_wh: Decimal = Decimal(1)
    serial: str | None = "M-1"
    counts: bool = True
    modulus_wh: Decimal | None = None

    @property
    def is_followed(self) -> bool:
        """Whether the new register counts on, so that a session that begins with it has an exact bill."""
        return self.kind is not None and self.counts


def energy(change: Callable[[Decimal, Decimal], Decimal | None], serial: str | None = None) -> Callable[[Decimal], Lie]:
    """A lie about the register (now, then), and about the serial number."""

    def begin(then: Decimal) -> Lie:
        def lie(truth: Shown) -> Shown:
            assert truth.energy_wh is not None
            return replace(truth, energy_wh=change(truth.energy_wh, then), serial_number=serial or truth.serial_number)

        return lie

    return begin


def exchanged(now: Decimal, _: Decimal) -> Decimal | None:
    return exchanged_words(now // 1, RegisterType.UINT32)


def rollover(kind: RegisterType, unit: int, modulus: int, step: int) -> Trouble:
    """The register stands a step before its end when it begins, and goes over it by what the meter itself uses."""
    wraps = energy(lambda now, _: (now + step) % modulus)
    return Trouble(wraps, Discontinuity.ROLLOVER, Counter(kind, Decimal(unit)), Decimal(step), modulus_wh=Decimal(modulus))


TROUBLES = {
    "reset": Trouble(energy(lambda now, then: now - then), Discontinuity.RESET),
    "placeholder zero": Trouble(energy(lambda _now, _then: Decimal(0)), Discontinuity.RESET, counts=False),
    "rollover at 2^16": rollover(RegisterType.UINT16, 100, 2**16 * 100, 100),
    "rollover at 2^32": rollover(RegisterType.UINT32, 10, 2**32 * 10, 10),
    "rollover of a display of 99999.9 kWh": rollover(RegisterType.FLOAT32, 1000, 10**8, 1),
    "rollover of a display of 9999999.99 kWh": rollover(RegisterType.UINT64, 10, 10**10, 10),
    "swap": Trouble(energy(lambda now, then: 40 + now - then, "M-2"), Discontinuity.SWAP),
    "swap to a higher register": Trouble(energy(lambda now, _: now + 777_777, "M-2"), Discontinuity.SWAP),
    "swap without serial number": Trouble(energy(lambda now, then: 40 + now - then), Discontinuity.RESET, serial=None),
    "swap without serial number to a higher register": Trouble(energy(lambda now, _: now + 777_777), Discontinuity.JUMP, serial=None),
    "jump up": Trouble(energy(lambda now, _: now + 50_000), Discontinuity.JUMP),
    "jump down": Trouble(energy(lambda now, _: now - 1_000), Discontinuity.RESET),
    "words exchanged": Trouble(energy(exchanged), counter=Counter(RegisterType.UINT32, Decimal(1))),
    "2^32 too many": Trouble(energy(lambda now, _: now + 2**32)),
    "2^16 too many": Trouble(energy(lambda now, _: now + 2**16)),
    "frozen register": Trouble(energy(lambda _, then: then)),
    "frozen": Trouble(lambda then: lambda truth: Shown(then, LOAD_W, truth.serial_number)),
    "frozen without load": Trouble(lambda then: lambda truth: Shown(then, Decimal(0), truth.serial_number)),
    "stale": Trouble(lambda _: lambda _: None),
    "missing or NaN": Trouble(energy(lambda _now, _then: None)),
    "negative": Trouble(energy(lambda now, _: -now)),
}


def new_rig(
    trouble: Trouble,
    policy: MeterLossPolicy,
    initial_wh: Decimal = Decimal("1977389.4"),
    power_loss_policy: PowerLossPolicy = PowerLossPolicy.STOP,
) -> LyingMeterRig:
    rig = LyingMeterRig(
        config={"on_meter_loss": policy, "power_loss_policy": power_loss_policy},
        values={var.TX_UPDATED_INTERVAL: "10"},
        counter=trouble.counter,
        step_wh=trouble.step_wh,
        true_serial=trouble.serial,
        initial_wh=initial_wh,
    )
    rig.online()
    rig.pass_ms(5_000)
    return rig


def charging(rig: LyingMeterRig) -> bool:
    """Plug in and swipe; whether the station took the card: with a lost meter it asks nobody."""
    rig.plug()
    rig.swipe()
    is_asked = rig.evse.authorization is not None
    if is_asked:
        rig.answer_authorize()
        rig.ready()
    return is_asked


def stop(rig: LyingMeterRig) -> None:
    assert rig.evse.transaction is not None
    rig.command(RequestStop(transaction_id=rig.evse.transaction.transaction_id))


def during(trouble: Trouble, situation: str, policy: MeterLossPolicy, initial_wh: Decimal) -> tuple[LyingMeterRig, Decimal]:
    """Play the trouble in a situation; the station afterwards, and the true register of the moment when it began."""
    rig = new_rig(trouble, policy, initial_wh)
    then = rig.energy[EVSE1]
    if situation == "idle":
        rig.lie = trouble.begin(then)
        rig.pass_ms(8_000)
    is_charging = charging(rig)
    assert is_charging is (rig.evse.meter_lost_at is None)
    rig.pass_ms(CHARGED_MS)
    if situation == "recovering":
        then = rig.energy[EVSE1]
        rig = rig.reboot(trouble.begin(then))
        rig.pass_ms(40_000)
        return rig, then
    if situation == "charging":
        then = rig.energy[EVSE1]
        rig.lie = trouble.begin(then)
        rig.pass_ms(90_000)
    if rig.evse.phase is Phase.TRANSACTION:
        stop(rig)
    if situation == "opened":
        rig.pilot(PilotState.B)
        assert not rig.boards[EVSE1].is_closed
    if situation in {"stopping", "opened"}:
        then = rig.energy[EVSE1]
        rig.lie = trouble.begin(then)
    rig.pass_ms(30_000)
    return rig, then


SITUATIONS = ("idle", "charging", "stopping", "opened", "recovering")


@pytest.mark.pain(53, 54)
@pytest.mark.parametrize(
    ("situation", "policy"), [*((one, MeterLossPolicy.STOP) for one in SITUATIONS), ("charging", MeterLossPolicy.CONTINUE)]
)
@pytest.mark.parametrize("name", list(TROUBLES))
def test_what_is_billed_flowed_and_what_is_known_is_billed(name: str, situation: str, policy: MeterLossPolicy) -> None:
    trouble = TROUBLES[name]
    initial_wh = Decimal("1977389.4")
    if trouble.modulus_wh is not None:
        # Once without trouble, to know where the register stands in this situation: then so that its end is one step away.
        _, then = during(replace(trouble, begin=lambda _: honest), situation, policy, initial_wh)
        initial_wh = trouble.modulus_wh - trouble.step_wh - (then - initial_wh)
    rig, then = during(trouble, situation, policy, initial_wh)
    step = trouble.step_wh
    for bill in rig.bills:
        assert 0 <= bill.billed_wh <= bill.delivered_wh + step, bill
    assert not rig.evse.has_transaction
    if situation == "idle":
        if trouble.is_followed:  # believed after three readings, before the session began
            (bill,) = rig.bills
            assert abs(bill.billed_wh - bill.delivered_wh) <= step + 1
        return
    (bill,) = rig.bills
    true_start, _ = rig.began[bill.record.transaction_id]
    read_wh = then - WH_PER_S
    if situation == "recovering":
        stored = rig.recovered.transactions[0].last_reading.energy_wh
        assert stored is not None
        read_wh = min(read_wh, stored)
    assert bill.billed_wh >= read_wh - true_start - step - 1, "all that was read before it began"
    if trouble.kind is not None and situation == "charging":
        assert bill.record.stopped_reason is StoppedReason.OTHER
        assert bill.record.meter_stop_estimated
    if trouble.kind is not None and situation != "opened":
        told = rig.told("meter_discontinuity")
        assert len([one for one in told if one.startswith(trouble.kind)]) == 1, "once, by its name"
        assert all(" Wh, then " in one for one in told)


@pytest.mark.parametrize("name", [name for name, trouble in TROUBLES.items() if trouble.modulus_wh is None])
def test_a_glitch_of_two_readings_changes_nothing(name: str) -> None:
    trouble = TROUBLES[name]
    rig = new_rig(trouble, MeterLossPolicy.STOP)
    charging(rig)
    rig.pass_ms(CHARGED_MS)
    rig.lie = trouble.begin(rig.energy[EVSE1])
    rig.pass_ms(2_000)
    rig.lie = honest
    rig.pass_ms(CHARGED_MS)
    assert rig.evse.phase is Phase.TRANSACTION
    stop(rig)
    rig.pass_ms(10_000)
    (bill,) = rig.bills
    assert not bill.record.meter_stop_estimated
    assert bill.record.segments == ()
    assert abs(bill.billed_wh - bill.delivered_wh) <= trouble.step_wh + 1


@pytest.mark.pain(53)
@pytest.mark.parametrize(
    ("name", "serial"), [("swap", "M-2"), ("reset", "M-1"), ("jump up", "M-1"), ("swap without serial number to a higher register", None)]
)
def test_the_books_show_what_each_register_counted(name: str, serial: str | None) -> None:
    rig, then = during(TROUBLES[name], "charging", MeterLossPolicy.STOP, Decimal("1977389.4"))
    (bill,) = rig.bills
    old, new = bill.record.segments
    assert (old.serial_number, old.ended_by) == (TROUBLES[name].serial, TROUBLES[name].kind)
    assert (new.serial_number, new.ended_by) == (serial, None)
    assert old.start_wh == bill.record.meter_start.energy_wh
    assert old.stop_wh - old.start_wh == bill.billed_wh, "the first is billed"
    assert bill.record.meter_stop is not None
    assert bill.record.meter_stop.energy_wh == old.stop_wh
    true_start, _ = rig.began[bill.record.transaction_id]
    after_wh = bill.delivered_wh - (then - true_start)
    assert after_wh > 0, "the vehicle was still drawing while the break was confirmed and the contactor opened"
    assert after_wh - 3 * WH_PER_S - 1 <= new.stop_wh - new.start_wh <= after_wh + 1, "and is counted up to the open contactor"


@pytest.mark.pain(53)
@pytest.mark.parametrize("second", ["reset", "swap", "jump down", "words exchanged", "negative"])
def test_a_second_break_while_it_stops_is_not_billed_either(second: str) -> None:
    """The last good reading of the register that leapt is no good reading of the one that was sold."""
    rig = new_rig(TROUBLES["jump up"], MeterLossPolicy.STOP)
    charging(rig)
    rig.pass_ms(CHARGED_MS)
    flowed = rig.energy[EVSE1]
    rig.lie = TROUBLES["jump up"].begin(flowed)
    rig.pass_ms(3_500)
    assert rig.evse.phase is Phase.STOPPING
    rig.lie = TROUBLES[second].begin(rig.energy[EVSE1])
    rig.pass_ms(30_000)
    (bill,) = rig.bills
    (true_start, _) = rig.began[bill.record.transaction_id]
    assert flowed - true_start - 3 <= bill.billed_wh <= flowed - true_start + 1


@pytest.mark.pain(53)
def test_a_cut_while_it_stops_for_a_jump_bills_no_jump() -> None:
    rig = new_rig(TROUBLES["jump up"], MeterLossPolicy.STOP)
    charging(rig)
    rig.pass_ms(CHARGED_MS)
    flowed = rig.energy[EVSE1]
    lie = TROUBLES["jump up"].begin(flowed)
    rig.lie = lie
    rig.pass_ms(5_500)
    assert rig.evse.phase is Phase.STOPPING
    after = rig.reboot(lie)
    after.pass_ms(40_000)
    (bill,) = after.bills
    (true_start, _) = rig.began[bill.record.transaction_id]
    assert flowed - true_start - 3 <= bill.billed_wh <= flowed - true_start + 1
    assert len(bill.record.segments) == 2


@pytest.mark.pain(53)
def test_a_meter_that_is_exchanged_while_nobody_charges_is_told_and_the_next_session_is_its_own() -> None:
    rig = new_rig(TROUBLES["swap"], MeterLossPolicy.STOP)
    rig.lie = TROUBLES["swap"].begin(rig.energy[EVSE1])
    rig.pass_ms(10_000)
    assert rig.told("meter_discontinuity") == ["swap: register 1977389 Wh, then 40 Wh"]
    charging(rig)
    rig.pass_ms(CHARGED_MS)
    stop(rig)
    rig.pass_ms(10_000)
    (bill,) = rig.bills
    assert bill.record.meter_start.serial_number == "M-2"
    assert bill.record.meter_start.energy_wh == 40
    assert abs(bill.billed_wh - bill.delivered_wh) <= 1
    assert bill.record.segments == ()


@pytest.mark.pain(53)
@pytest.mark.parametrize("name", [name for name in TROUBLES if TROUBLES[name].kind is not None and TROUBLES[name].modulus_wh is None])
def test_a_session_does_not_go_on_with_another_register_after_a_cut(name: str) -> None:
    rig = new_rig(TROUBLES[name], MeterLossPolicy.STOP, power_loss_policy=PowerLossPolicy.RESUME)
    charging(rig)
    rig.pass_ms(CHARGED_MS)
    honestly = rig.reboot(honest)
    honestly.pass_ms(30_000)
    assert honestly.evse.phase is Phase.TRANSACTION, "with its own it does"
    then = rig.energy[EVSE1]
    after = rig.reboot(TROUBLES[name].begin(then))
    after.pass_ms(40_000)
    (bill,) = after.bills
    true_start, _ = rig.began[bill.record.transaction_id]
    assert 0 <= bill.billed_wh <= then - true_start
    stored = after.recovered.transactions[0].last_reading
    assert bill.record.meter_stop == stored
    assert [one.ended_by is None for one in bill.record.segments] == [False, True]


@pytest.mark.pain(53)
def test_a_night_without_power_does_not_excuse_the_higher_register_of_a_nameless_meter() -> None:
    """20 kWh could have flowed in the time, but the contactor was open, and it may be another meter."""
    rig = new_rig(replace(TROUBLES["jump up"], serial=None), MeterLossPolicy.STOP)
    charging(rig)
    rig.pass_ms(CHARGED_MS)
    rig.at = rig.at.plus_ms(8 * 3_600_000)
    record = rig.evse.transaction
    assert record is not None
    after = rig.reboot(energy(lambda now, _: now + 20_000)(rig.energy[EVSE1]))
    after.pass_ms(40_000)
    (bill,) = after.bills
    assert bill.record.meter_stop_estimated
    assert bill.record.meter_stop == record.last_reading
    assert 0 <= bill.billed_wh <= bill.delivered_wh + 1


def test_the_lifetime_sum_is_never_billed() -> None:
    """It goes on over a reset that the bill stops at: statistics, and nothing else."""
    rig, _ = during(TROUBLES["reset"], "charging", MeterLossPolicy.STOP, Decimal("1977389.4"))
    (bill,) = rig.bills
    lifetime = rig.judge.lifetime
    assert lifetime is not None
    assert lifetime.total_wh - Decimal(1977389) > bill.billed_wh, "it has counted what the bill leaves out"
    registers = {notice.register_wh for notice in rig.notices() if notice.register_wh is not None}
    assert int(lifetime.total_wh) not in registers


# --- whatever happens, in whatever order

_NAMES = sorted(name for name, trouble in TROUBLES.items() if trouble.modulus_wh is None)
_ACTIONS = st.one_of(
    st.tuples(st.just("lie"), st.sampled_from(_NAMES)),
    st.tuples(st.just("glitch"), st.sampled_from(_NAMES)),
    st.tuples(st.sampled_from(["honest", "start", "stop", "unplug", "pause", "draw", "cut"]), st.none()),
    st.tuples(st.just("load"), st.sampled_from([0, 1380, 7200, 22080])),
    st.tuples(st.just("wait"), st.integers(1, 15)),
)


def play(rig: LyingMeterRig, what: str, value: object) -> LyingMeterRig:
    """Do one thing; gives the station afterwards, which is another one after a cut."""
    if what == "wait":
        assert isinstance(value, int)
        rig.pass_ms(1_000 * value)
    elif what == "load":
        rig.load_w = Decimal(str(value))
    elif what in {"lie", "glitch"}:
        before = rig.lie
        rig.lie = TROUBLES[str(value)].begin(rig.energy[EVSE1])
        if what == "glitch":
            rig.pass_ms(1_000)
            rig.lie = before
    elif what == "honest":
        rig.lie = honest
    elif what == "start" and rig.evse.phase in {Phase.FREE, Phase.FINISHED}:
        charging(rig)
    elif what == "stop" and rig.evse.phase is Phase.TRANSACTION:
        stop(rig)
    elif what == "unplug":
        rig.unplug()
    elif what in {"pause", "draw"} and rig.evse.plugged_at is not None:
        rig.pilot(PilotState.B if what == "pause" else PilotState.C)
    elif what == "cut":
        bills, told, rig = rig.bills, rig.registers_told, rig.reboot(rig.lie)
        rig.bills, rig.registers_told = bills, told
    return rig


@pytest.mark.pain(53, 54)
@settings(max_examples=100, deadline=None)
@given(
    policy=st.sampled_from([MeterLossPolicy.STOP, MeterLossPolicy.CONTINUE]),
    power_loss_policy=st.sampled_from([PowerLossPolicy.STOP, PowerLossPolicy.RESUME]),
    step=st.sampled_from([1, 10, 100]),
    has_serial=st.booleans(),
    rolls_over_after_wh=st.none() | st.integers(1, 400),
    actions=st.lists(_ACTIONS, min_size=5, max_size=20),
)
def test_nothing_is_billed_that_did_not_flow(
    policy: MeterLossPolicy,
    power_loss_policy: PowerLossPolicy,
    step: int,
    has_serial: bool,
    rolls_over_after_wh: int | None,
    actions: list[tuple[str, object]],
) -> None:
    trouble = Trouble(
        begin=lambda _: honest,
        counter=Counter(RegisterType.UINT32, Decimal(step)),
        step_wh=Decimal(step),
        serial="M-1" if has_serial else None,
    )
    modulus = Decimal(2**32 * step)
    initial_wh = Decimal("1977389.4") if rolls_over_after_wh is None else modulus - rolls_over_after_wh
    rig = new_rig(trouble, policy, initial_wh, power_loss_policy)
    rig.modulus_wh = modulus
    for what, value in [("start", None), ("wait", 20), *actions, ("honest", None), ("wait", 20), ("stop", None), ("wait", 40)]:
        rig = play(rig, what, value)
    assert not rig.evse.has_transaction
    for bill in rig.bills:
        told = rig.registers_told.get(bill.record.transaction_id, [])
        assert told == sorted(told), "no register that was sent leaps back, so none leapt ahead"
        assert not told or told[-1] - told[0] <= bill.delivered_wh + step
        assert 0 <= bill.billed_wh <= bill.delivered_wh + step, bill
        if bill.record.segments:
            first = bill.record.segments[0]
            assert bill.billed_wh == int(first.stop_wh) - int(first.start_wh)
