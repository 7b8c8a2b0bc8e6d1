"""A plan comes from its seed alone, and all seeds together go everywhere."""

from collections import Counter

from simulator.chaos.plan import PAIRS, VISITS, plan


def test_the_same_seed_gives_the_same_plan() -> None:
    assert plan(7) == plan(7)
    assert plan(7) != plan(8)


def test_consecutive_seeds_visit_every_pair_of_state_and_trouble() -> None:
    visited = Counter((visit.state, visit.kind) for seed in range(len(PAIRS)) for visit in plan(seed).visits)
    assert set(visited) == set(PAIRS)
    assert set(visited.values()) == {VISITS}


def test_a_smaller_plan_keeps_the_chance_of_the_visits_that_are_left() -> None:
    whole, part = plan(11), plan(11, (1, 3))
    assert part.visits == tuple(visit for visit in whole.visits if visit.number in {1, 3})
    assert (part.version, part.has_lock) == (whole.version, whole.has_lock)
