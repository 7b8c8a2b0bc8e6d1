"""OCPP-J 2.0.1 5.3: the waits between connection attempts (TC_B_57)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.ocpp_client.backoff import LEAST_WAIT_S, BackOff, BackOffTimer

TRIO = BackOff(wait_minimum_s=10, random_range_s=4, repeat_times=3)


def waits(timer: BackOffTimer, count: int, chance: float) -> list[float]:
    return [timer.next_wait_s(lambda: chance) for _ in range(count)]


@pytest.mark.pain(32)
def test_the_wait_doubles_repeat_times_and_then_stays() -> None:
    assert waits(BackOffTimer(TRIO), 6, 0.0) == [10, 20, 40, 80, 80, 80]


def test_each_doubling_adds_a_fresh_random_part() -> None:
    assert waits(BackOffTimer(TRIO), 5, 0.5) == [12, 26, 54, 110, 110]


def test_a_proved_connection_begins_a_new_series() -> None:
    timer = BackOffTimer(TRIO)
    waits(timer, 3, 0.0)
    timer.reset()
    assert waits(timer, 2, 0.0) == [10, 20]


def test_new_values_count_for_the_next_wait() -> None:
    timer = BackOffTimer(TRIO)
    waits(timer, 1, 0.0)
    timer.back_off = BackOff(wait_minimum_s=1, random_range_s=0, repeat_times=9)
    assert waits(timer, 2, 0.5) == [20, 40]


@pytest.mark.pain(32)
@pytest.mark.parametrize(("asked", "wait"), [(5.0, 10.0), (120.0, 120.0), (1e9, 3600.0)])
def test_retry_after_is_waited_at_least_but_not_for_ever(asked: float, wait: float) -> None:
    assert BackOffTimer(TRIO).next_wait_s(lambda: 0.0, asked) == wait


def test_retry_after_does_not_grow_the_series() -> None:
    timer = BackOffTimer(TRIO)
    timer.next_wait_s(lambda: 0.0, 120.0)
    assert timer.next_wait_s(lambda: 0.0) == 20


def test_zero_is_no_busy_loop() -> None:
    timer = BackOffTimer(BackOff(wait_minimum_s=0, random_range_s=0, repeat_times=0))
    assert waits(timer, 3, 0.9) == [LEAST_WAIT_S] * 3


@pytest.mark.pain(32)
@pytest.mark.pain(38)
@given(
    st.builds(BackOff, wait_minimum_s=st.floats(0, 3600), random_range_s=st.floats(0, 3600), repeat_times=st.integers(0, 20)),
    st.lists(st.tuples(st.floats(0, 0.999), st.none() | st.floats(0, 1e12)), min_size=1, max_size=60),
)
def test_whatever_the_csms_set_the_next_attempt_comes_within_two_hours_for_ever(
    trio: BackOff, failures: list[tuple[float, float | None]]
) -> None:
    """3600 s doubled twenty times are 119 years: one wrong setting would have lost the station for good."""
    timer = BackOffTimer(trio)
    for chance, asked in failures:
        assert LEAST_WAIT_S <= timer.next_wait_s(lambda chance=chance: chance, asked) <= 7200
