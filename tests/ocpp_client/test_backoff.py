"""OCPP-J 2.0.1 5.3: the waits between connection attempts (TC_B_57)."""

import pytest

from agent.ocpp_client.backoff import LEAST_WAIT_S, BackOff, BackOffTimer

TRIO = BackOff(wait_minimum_s=10, random_range_s=4, repeat_times=3)


def waits(timer: BackOffTimer, count: int, chance: float) -> list[float]:
    return [timer.next_wait_s(lambda: chance) for _ in range(count)]


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
