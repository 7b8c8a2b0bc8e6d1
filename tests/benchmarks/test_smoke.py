"""Every piece of the bench runs, and gives a figure that could be true. Nothing here judges speed."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.benchmarks.figures import SMALL, Bench, backlog, bench, calls, faults, loads, slow_line, start_up
from tests.benchmarks.report import Figure, middle, percentile, remarks, table


@pytest.mark.parametrize("measure", [start_up, loads, calls, backlog, slow_line, faults], ids=lambda measure: measure.__name__)
def test_measures(measure: Callable[[Bench], Awaitable[list[Figure]]], tmp_path: Path) -> None:
    async def run() -> list[Figure]:
        async with bench(tmp_path, SMALL) as rig:
            return await measure(rig)

    found = asyncio.run(run())
    assert found
    for figure in found:
        first = re.search(r"[\d.]+", figure.value)
        assert first is not None, figure
        assert float(first[0]) > 0 or "reads" in figure.name or "CPU" in figure.name, figure


def test_an_unknown_figure_is_refused() -> None:
    done = subprocess.run([sys.executable, "-m", "tests.benchmarks", "--only", "nothing"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "start_up" in done.stderr


def test_a_missed_aim_is_marked_and_said_first() -> None:
    good = Figure(name="a", value="1", aim="<= 2", is_met=True, note="fine")
    bad = Figure(name="b", value="3", aim="<= 2", is_met=False, note="too much")
    assert table([good, bad]).splitlines()[3].split("|")[6].strip() == "**missed**"
    assert remarks([good, bad]).splitlines() == ["* Missed: b: too much", "* a: fine"]


@pytest.mark.parametrize(("count", "percent", "expected"), [(1, 99.9, 1), (2_000, 99.9, 1_998), (1_000, 50, 500), (10, 99, 10), (4, 50, 2)])
def test_a_percentile_is_the_nearest_rank(count: int, percent: float, expected: int) -> None:
    assert percentile([float(n) for n in range(count, 0, -1)], percent) == expected


def test_several_runs_are_given_with_their_range() -> None:
    assert middle([3.0, 1.0, 2.0], "ms", 1) == "2.0 (1.0-3.0) ms"
