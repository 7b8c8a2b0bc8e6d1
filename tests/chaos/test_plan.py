"""A plan comes from its seed alone, and all seeds together go everywhere."""

from collections import Counter

from simulator.chaos.plan import PAIRS, QUIET, plan
from simulator.chaos.report import ENOUGH_RUNS, WANTED_HITS


def test_the_same_seed_gives_the_same_plan() -> None:
    assert plan(7) == plan(7)
    assert plan(7) != plan(8)


def test_so_many_seeds_as_ci_runs_visit_every_pair_of_state_and_trouble_often_enough() -> None:
    visits = [visit for seed in range(1, ENOUGH_RUNS + 1) for visit in plan(seed).visits]
    planned = Counter((visit.state, kind) for visit in visits for kind in (visit.first, visit.kind))
    assert set(planned) == set(PAIRS)
    assert min(planned.values()) >= WANTED_HITS * 1.3, "some visits do not reach their state"


def test_the_first_trouble_of_a_visit_leaves_the_session_where_it_is() -> None:
    assert {visit.first for seed in range(100) for visit in plan(seed).visits} <= set(QUIET)


def test_a_smaller_plan_keeps_the_chance_of_the_visits_that_are_left() -> None:
    whole, part = plan(11), plan(11, (1, 3))
    assert part.visits == tuple(visit for visit in whole.visits if visit.number in {1, 3})
    assert (part.version, part.has_lock) == (whole.version, whole.has_lock)
