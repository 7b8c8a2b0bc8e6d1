"""What the flash has to take is told apart for idle and charging, and projected."""

import pytest

from agent.store.wear import Cost, Wear


def test_time_and_cost_are_told_apart() -> None:
    wear = Wear(100.0, Cost())
    wear.note(1000.0, Cost(10, 20, 1), is_charging=False)
    wear.note(1100.0, Cost(110, 220, 2), is_charging=True)  # the start is the session's
    wear.note(4700.0, Cost(1110, 2220, 62), is_charging=False)  # so is the end
    wear.note(5000.0, Cost(1110, 2220, 62), is_charging=False)
    assert wear.spent(is_charging=False) == (1300.0, Cost(10, 20, 1))
    assert wear.spent(is_charging=True) == (3600.0, Cost(1100, 2200, 61))


def test_a_projection_needs_ten_minutes() -> None:
    assert Cost(100, 200, 3).projected(599, 86_400) is None
    assert Cost(100, 200, 3).projected(43_200, 86_400) == Cost(200, 400, 6)


@pytest.mark.parametrize(
    ("observed_s", "to_s", "expected"),
    [(599.9, 86_400, None), (600, 1_500, Cost(250, 500, 8)), (86_400, 3_600, Cost(4, 8, 0)), (3_600, 3_600, Cost(100, 200, 3))],
)
def test_a_projection_is_in_proportion(observed_s: float, to_s: float, expected: Cost | None) -> None:
    assert Cost(100, 200, 3).projected(observed_s, to_s) == expected


def test_cost_is_added_and_taken_away_each_for_itself() -> None:
    assert Cost() == Cost(0, 0, 0)
    assert Cost(10, 200, 3000) + Cost(1, 20, 300) == Cost(11, 220, 3300)
    assert Cost(10, 200, 3000) - Cost(1, 20, 300) == Cost(9, 180, 2700)


def test_what_was_before_the_first_moment_counts_for_nothing() -> None:
    wear = Wear(100.0, Cost(1, 2, 3))
    assert (wear.spent(is_charging=False), wear.spent(is_charging=True)) == ((0.0, Cost()), (0.0, Cost()))
    wear.note(150.0, Cost(11, 12, 13), is_charging=False)
    assert (wear.spent(is_charging=False), wear.spent(is_charging=True)) == ((50.0, Cost(10, 10, 10)), (0.0, Cost()))
