"""What the flash has to take is told apart for idle and charging, and projected."""

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
