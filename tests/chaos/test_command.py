"""`charger-sim chaos` prints the table, and the exit code says whether anything was found."""

import json
import re
import shlex

import pytest

from simulator.__main__ import main
from simulator.chaos.plan import VISITS
from simulator.chaos.report import replay_command
from tests.chaos.test_story import bill_one_wh_more


def test_the_table_names_runs_losses_and_faults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chaos", "--runs", "2", "--seed", "5", "--jobs", "1"]) == 0
    printed = capsys.readouterr().out
    for line in (
        "runs ",
        "faults injected",
        "sessions",
        "messages",
        "lost  ",
        "doubled",
        "invented",
        "greatest energy error",
        "crash_reboot",
    ):
        assert line in printed


def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chaos", "--runs", "1", "--seed", "3", "--jobs", "1", "--visits", "0", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["runs"], printed["lost"], printed["doubled"], printed["invented"], printed["failed_seeds"]) == (1, 0, 0, 0, [])


@pytest.mark.parametrize("arguments", [["--runs", "0"], ["--runs", "1", "--visits", "x"], []])
def test_wrong_arguments_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["chaos", *arguments])
    assert refused.value.code == 2
    assert "chaos" in capsys.readouterr().err


def test_a_failing_seed_comes_with_its_command() -> None:
    assert replay_command(17, (0, 2)) == "charger-sim chaos --runs 1 --seed 17 --visits 0,2"


def test_a_planted_bug_is_printed_made_smaller_and_replayed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads the output copies one line and sees the failure again; without the bug the same line finds nothing."""
    with monkeypatch.context() as patch:
        bill_one_wh_more(patch)
        assert main(["chaos", "--runs", "1", "--seed", "5", "--jobs", "1"]) == 1
        printed = capsys.readouterr().err
        assert re.search(r"^seed 5 \(\S+\) failed: charger-sim chaos --runs 1 --seed 5$", printed, re.MULTILINE), printed
        smaller = re.search(r"^smaller: charger-sim (chaos --runs 1 --seed 5 --visits ([\d,]+))$", printed, re.MULTILINE)
        assert smaller, printed
        assert len(smaller[2].split(",")) < VISITS
        assert main(shlex.split(smaller[1])) == 1
        replayed = capsys.readouterr()
        assert "energy: " in replayed.err
        assert "visit" in replayed.out, "what happened in it is told"
    assert main(shlex.split(smaller[1])) == 0
