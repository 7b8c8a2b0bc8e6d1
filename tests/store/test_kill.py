"""SIGKILL at random moments: what was confirmed is there, in order, once; state and message never part."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_killed_process_loses_and_doubles_nothing(tmp_path: Path, seed: int) -> None:
    command = [sys.executable, "-m", "tests.store.kill_rig", str(tmp_path / "state"), str(seed), "16"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    rounds = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(rounds) == 16
    assert sum(each["steps"] for each in rounds) > 100, "the worker worked"
    assert rounds[-1]["delivered"] > 10
    assert rounds[-1]["finished"] > 3, "there is a chain to prove after every kill"
    for each in rounds:
        wrong = {name: value for name, value in each.items() if isinstance(value, list) and value}
        assert not wrong, each
