"""Whether a register continues the one before, and the lifetime register that is built from it."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.domain.ids import EvseId
from agent.domain.metering import Discontinuity, Measurand, Quantity, Reading
from agent.domain.time import Instant
from agent.metering.lifetime import Continuity, Counter, LifetimeState, RegisterTracker
from agent.metering.registers import RegisterType, exchanged_words

RATED_W = Decimal(11_000)


def reading(
    second: float, energy: str | int | Decimal, *, serial: str | None = "A", step: int = 1, watts: int | None = None, boot: str = "b"
) -> Reading:
    return Reading(
        evse_id=EvseId(1),
        at=Instant(boot, round(second * 1000)),
        energy_wh=Decimal(energy),
        serial_number=serial,
        resolution_wh=Decimal(step),
        quantities=() if watts is None else (Quantity(Measurand.POWER_ACTIVE_IMPORT, Decimal(watts)),),
    )


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ((0, 1000), (1, 1000), None),
        ((0, 1000), (1, 1003), None),
        ((0, 1000), (1, 1010), None),  # 3.8 Wh deliverable, 2 steps, 5 Wh tolerance
        ((0, 1000), (1, 1011), Discontinuity.JUMP),
        ((0, 1000), (3600, 14_750), None),  # an hour unseen
        ((0, 1000), (3600, 14_800), Discontinuity.JUMP),
        ((0, 1_977_389), (1, 2**32 + 1_977_389), Discontinuity.WORDS),  # evcc issue 29190
        ((0, 1_977_389), (1, 2**16 + 1_977_391), Discontinuity.WORDS),
        ((0, 1_977_389), (1, 2**16 + 1_977_489), Discontinuity.JUMP),
        ((0, 1000), (1, 999), Discontinuity.RESET),
        ((0, 999_998), (1, 0), Discontinuity.ROLLOVER),
        ((0, 999_999), (1, 2), Discontinuity.ROLLOVER),
        ((0, 65_535), (1, 1), Discontinuity.ROLLOVER),
        ((0, 2**32 - 1), (1, 3), Discontinuity.ROLLOVER),
        ((0, 99_999_999), (1, 4), Discontinuity.ROLLOVER),
        ((0, 999_000), (1, 2), Discontinuity.RESET),
        ((0, 999_999), (1, 50), Discontinuity.RESET),
    ],
)
def test_kinds(before: tuple[int, int], after: tuple[int, int], kind: Discontinuity | None) -> None:
    tracker = RegisterTracker(RATED_W)
    tracker.follow(reading(*before))
    assert tracker.break_kind(reading(*after)) is kind


def test_coarse_register_may_step_at_once() -> None:
    tracker = RegisterTracker(RATED_W)
    tracker.follow(reading(0, 1000, step=100))
    assert tracker.break_kind(reading(1, 1100, step=100)) is None
    assert tracker.break_kind(reading(1, 1400, step=100)) is Discontinuity.JUMP


@pytest.mark.pain(53)
@pytest.mark.parametrize(
    ("kind", "unit", "last", "then", "expected"),
    [
        (RegisterType.INT32, "100", (2**31 - 1) * 100, 0, Discontinuity.ROLLOVER),
        (RegisterType.UINT32, "10", (2**32 - 1) * 10, 10, Discontinuity.ROLLOVER),
        (RegisterType.UINT64, "10", (2**32 - 1) * 10, 10, Discontinuity.ROLLOVER),  # a 32-bit counter shown in 64 bits
        (RegisterType.UINT16, "100", 65_535 * 100, 0, Discontinuity.ROLLOVER),
        (RegisterType.UINT16, "100", (2**31 - 1) * 100, 0, Discontinuity.RESET),  # no such number in 16 bits
        (RegisterType.UINT32, "10", 65_535, 1, Discontinuity.RESET),  # 65,536 Wh are no power of two of tens
        (RegisterType.UINT32, "10", 99_999_990, 0, Discontinuity.ROLLOVER),  # the display: 99,999.99 kWh
        (RegisterType.FLOAT32, "1000", 99_999_900, 0, Discontinuity.ROLLOVER),  # the display: 99,999.9 kWh
        (RegisterType.FLOAT32, "1000", 999_999_900, 0, Discontinuity.ROLLOVER),
        (RegisterType.FLOAT32, "1000", 65_535, 1, Discontinuity.RESET),  # a float has no end
    ],
)
def test_register_rolls_over_at_the_end_of_its_counter_or_display(
    kind: RegisterType, unit: str, last: int, then: int, expected: Discontinuity
) -> None:
    step = 100 if unit == "100" or kind is RegisterType.FLOAT32 else 10
    tracker = RegisterTracker(RATED_W, counter=Counter(kind, Decimal(unit)))
    tracker.follow(reading(0, last, step=step))
    assert tracker.break_kind(reading(1, then, step=step)) is expected
    assert tracker.break_kind(reading(1, then + 10_000, step=step)) is Discontinuity.RESET, "that cannot have flowed"


@pytest.mark.pain(54)
@pytest.mark.parametrize(
    ("kind", "unit", "before", "after", "expected"),
    [
        (RegisterType.UINT32, "10", 0x0012_3456, 0x3456_0012, Discontinuity.WORDS),
        (RegisterType.UINT32, "10", 0x3456_0012, 0x0012_3456, Discontinuity.WORDS),  # also where the wrong number is smaller
        (RegisterType.INT32, "100", 0x0001_0002, 0x0002_0001, Discontinuity.WORDS),
        (RegisterType.UINT64, "1", 0x0000_0000_0012_3456, 0x3456_0012_0000_0000, Discontinuity.WORDS),
        (RegisterType.UINT32, "10", 0x0012_3456, 0x0013_3456, Discontinuity.WORDS),  # 2^16 counts too many
        (RegisterType.UINT32, "10", 0x0012_3456, 0x0012_4456, Discontinuity.JUMP),
        (RegisterType.UINT16, "10", 0x1234, 0x3412, Discontinuity.JUMP),  # one register has no order
    ],
)
def test_wrong_words_are_told_from_a_jump(kind: RegisterType, unit: str, before: int, after: int, expected: Discontinuity) -> None:
    tracker = RegisterTracker(RATED_W, counter=Counter(kind, Decimal(unit)))
    tracker.follow(reading(0, before * Decimal(unit), step=int(unit)))
    assert tracker.break_kind(reading(1, after * Decimal(unit), step=int(unit))) is expected


@pytest.mark.pain(54)
def test_wrong_words_of_a_float_are_recognised() -> None:
    before = Decimal("1307.69")
    exchanged = exchanged_words(before, RegisterType.FLOAT32)
    assert exchanged is not None
    tracker = RegisterTracker(RATED_W, counter=Counter(RegisterType.FLOAT32, Decimal(1000)))
    tracker.follow(reading(0, exchanged * 1000, step=1))
    assert tracker.break_kind(reading(1, before * 1000, step=1)) is Discontinuity.WORDS


@pytest.mark.pain(54)
def test_wrong_words_have_to_insist_for_a_minute() -> None:
    """Meanwhile the meter is lost, which ends the session at the last good value and is told to the portal."""
    tracker = RegisterTracker(RATED_W)
    tracker.follow(reading(0, 1_977_389))
    for second in range(1, 60):
        assert tracker.follow(reading(second, 2**32 + 1_977_389 + second)).continuity is Continuity.DOUBTED
    assert tracker.follow(reading(60, 2**32 + 1_977_449)).continuity is Continuity.BROKEN
    assert tracker.state is not None
    assert tracker.state.total_wh == 1_977_389 + 59, "what was not seen to flow is not even statistics"


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [("A", "B", Discontinuity.SWAP), ("A", None, None), (None, "B", None), (None, None, None), ("A", "A", None)],
)
def test_swap_needs_two_different_serial_numbers(before: str | None, after: str | None, kind: Discontinuity | None) -> None:
    tracker = RegisterTracker(RATED_W)
    tracker.follow(reading(0, 1000, serial=before))
    assert tracker.break_kind(reading(1, 1001, serial=after)) is kind


def test_serial_number_that_was_not_read_once_is_not_forgotten() -> None:
    tracker = RegisterTracker(RATED_W)
    tracker.follow(reading(0, 1000))
    tracker.follow(reading(1, 1001, serial=None))
    assert tracker.break_kind(reading(2, 1002, serial="B")) is Discontinuity.SWAP


def test_a_glitch_is_no_break() -> None:
    tracker = RegisterTracker(RATED_W)
    tracker.follow(reading(0, 1000))
    for second, energy in ((1, 0), (2, 0)):
        assert tracker.follow(reading(second, energy)).continuity is Continuity.DOUBTED
    assert tracker.follow(reading(3, 1004)).continuity is Continuity.CONTINUES
    assert tracker.follow(reading(4, 0)).continuity is Continuity.DOUBTED
    assert tracker.state is not None
    assert tracker.state.total_wh == 1004


def test_readings_that_do_not_continue_each_other_confirm_nothing() -> None:
    tracker = RegisterTracker(RATED_W)
    tracker.follow(reading(0, 1_000_000))
    for second in range(1, 20):
        energy = 500 if second % 2 else 300
        assert tracker.follow(reading(second, energy)).continuity is Continuity.DOUBTED


@pytest.mark.parametrize(
    ("kind", "start", "then", "serial", "total"),
    [
        (Discontinuity.RESET, 50_000, [0, 3, 6], "A", 50_006),
        (Discontinuity.SWAP, 50_000, [50_001, 50_004, 50_007], "B", 50_006),
        (Discontinuity.ROLLOVER, 999_998, [1, 4, 7], "A", 1_000_007),
        (Discontinuity.JUMP, 50_000, [90_000, 90_003, 90_006], "A", 50_006),
    ],
)
def test_third_reading_of_a_new_register_makes_it_the_base(
    kind: Discontinuity, start: int, then: list[int], serial: str, total: int
) -> None:
    tracker = RegisterTracker(RATED_W)
    good = reading(0, start)
    tracker.follow(good)
    new = [reading(second, energy, serial=serial) for second, energy in enumerate(then, 1)]
    for one in new[:2]:
        doubted = tracker.follow(one)
        assert (doubted.continuity, doubted.kind) == (Continuity.DOUBTED, kind)
        assert tracker.last_good is good
    broken = tracker.follow(new[2])
    assert (broken.continuity, broken.kind, broken.last_good, broken.first_new) == (Continuity.BROKEN, kind, good, new[0])
    assert tracker.state is not None
    assert tracker.state.total_wh == total
    assert tracker.state.register_wh == then[2]
    assert tracker.state.serial_number == serial
    assert tracker.follow(reading(4, then[2] + 3, serial=serial)).continuity is Continuity.CONTINUES


def test_swap_seen_late_is_still_called_a_swap() -> None:
    tracker = RegisterTracker(RATED_W)
    tracker.follow(reading(0, 50_000))
    assert tracker.follow(reading(1, 10)).kind is Discontinuity.RESET
    tracker.follow(reading(2, 12, serial="B"))
    assert tracker.follow(reading(3, 15, serial="B")).kind is Discontinuity.SWAP


def test_meter_that_gave_old_values_under_load_may_catch_up() -> None:
    """A gateway that repeats its cache for a minute at 10 kW may rise 167 Wh at once; an idle meter may not."""
    for watts, kind in ((10_000, None), (0, Discontinuity.JUMP)):
        tracker = RegisterTracker(RATED_W)
        for second in range(61):
            tracker.follow(reading(second, 1000, watts=watts))
        assert tracker.break_kind(reading(61, 1167, watts=watts)) is kind


def test_resume_continues_the_lifetime_register_after_a_restart() -> None:
    state = LifetimeState(total_wh=Decimal(777_000), register_wh=Decimal(1000), at=Instant("old boot", 9_000_000), serial_number="A")
    tracker = RegisterTracker(RATED_W, state)
    assert tracker.follow(reading(5, 31_000, boot="new boot")).continuity is Continuity.CONTINUES  # nobody knows how long it was off
    assert tracker.state is not None
    assert tracker.state.total_wh == 807_000
    swapped = RegisterTracker(RATED_W, state)
    assert swapped.break_kind(reading(5, 31_000, boot="new boot", serial="B")) is Discontinuity.SWAP
    assert swapped.break_kind(reading(5, 10, boot="new boot")) is Discontinuity.RESET


def test_reading_without_energy_cannot_be_followed() -> None:
    with pytest.raises(ValueError, match="import register"):
        RegisterTracker(RATED_W).follow(Reading(evse_id=EvseId(1), at=Instant("b", 0), energy_wh=None))


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["flow", "zero", "jump", "same"])), max_size=40))
def test_lifetime_register_never_falls_and_never_gains_more_than_can_flow(steps: list[tuple[int, str]]) -> None:
    tracker = RegisterTracker(RATED_W)
    energy, total = Decimal(10_000), Decimal(0)
    for second, (rise, what) in enumerate(steps, 1):
        energy = {"flow": energy + rise, "zero": Decimal(rise), "jump": energy + 5_000_000, "same": energy}[what]
        tracker.follow(reading(second, energy))
        assert tracker.state is not None
        before, total = total, tracker.state.total_wh
        assert total >= before
        if before:
            assert total - before <= Decimal(11_000) * Decimal("1.25") * (second + 1) / 3600 + 7 * (second + 1)
