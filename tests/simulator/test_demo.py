"""`charger-sim demo` as a command: the story that plays alone, its verdict, and how both forms end."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from agent.cli.__main__ import call as ask_diagnostics
from simulator.control import call_once
from tests.simulator.running_demo import Demo

DEADLINE_S = 60.0


class Story:
    """`charger-sim demo --headless` as a process."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        command = (sys.executable, "-m", "simulator", "demo", "--headless", "--directory", str(directory), *options)
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def end(self) -> tuple[int, str]:
        """Wait for it: exit code and everything it said."""
        said, _ = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, said

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while True:
            with contextlib.suppress(OSError):  # the daemon is not there yet
                if condition():
                    return
            assert self.process.poll() is None, f"it ended before {what}:\n{self.end()}"
            assert time.monotonic() < deadline, f"not in time: {what}"
            time.sleep(0.1)

    def evse(self) -> Any:
        status: Any = ask_diagnostics(str(self.directory / "diag.sock"), "status", {})
        return status["evses"][0]


@contextlib.contextmanager
def story(directory: Path, *options: str) -> Iterator[Story]:
    playing = Story(directory, *options)
    try:
        yield playing
    finally:
        if playing.process.poll() is None:
            playing.process.terminate()
            playing.process.wait(DEADLINE_S)
        if playing.process.stdout is not None:
            playing.process.stdout.close()


def daemons(directory: Path) -> list[int]:
    """Processes that run on this directory's configuration."""
    config = str(directory / "config.toml")
    return [process.pid for process in psutil.process_iter(["cmdline"]) if config in (process.info["cmdline"] or ())]


@pytest.mark.parametrize(("version", "meter"), [("1.6", "tcp"), ("2.0.1", "rtu")])
def test_the_story_ends_with_equal_books(tmp_path: Path, version: str, meter: str) -> None:
    with story(tmp_path / "site", "--ocpp", version, "--meter", meter, "--seconds", "3") as playing:
        code, said = playing.end()
    assert code == 0, said
    assert said.rstrip().endswith("the books agree")
    assert f"OCPP {version} and Modbus {meter.upper()}" in said
    assert daemons(tmp_path / "site") == []


def test_the_story_can_be_played_again_in_the_same_directory(tmp_path: Path) -> None:
    """The charger has been added before and keeps its settings; only the new transaction is compared."""
    for _ in range(2):
        with story(tmp_path / "site", "--seconds", "1") as playing:
            code, said = playing.end()
        assert code == 0, said


def test_the_story_fails_when_the_meter_does_not_agree_with_the_bill(tmp_path: Path) -> None:
    """The meter's register leaps 50 kWh ahead in the middle. Nobody is billed for that, so meter and bill differ, and the story says so."""
    with story(tmp_path / "site", "--seconds", "6") as playing:
        playing.until(lambda: int(playing.evse()["energy_wh"] or 0) > 0, "energy flows")
        call_once(playing.directory / "sim.sock", "fault.set", {"kind": "meter_jump", "evse": 1})
        code, said = playing.end()
    assert code == 1, said
    assert "DIFFERS    energy: meter 500" in said
    assert said.rstrip().endswith("the books do not agree")


def test_an_interrupted_story_leaves_nothing_running(tmp_path: Path) -> None:
    with story(tmp_path / "site", "--seconds", "50") as playing:
        playing.until(lambda: playing.evse()["charging_state"] == "Charging", "energy flows")
        playing.process.send_signal(signal.SIGINT)
        code, said = playing.end()
    assert code == 130
    assert "Traceback" not in said
    assert daemons(tmp_path / "site") == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_page_s_demo_ends_in_order(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, a service manager's stop or a closed terminal: the daemon stops with 0, nothing is left."""
    with Demo(tmp_path / "site") as demo:
        assert len(daemons(demo.directory)) == 1
        assert demo.interrupt(number) == 0
        assert "stopped in order" in demo.said
        assert "Traceback" not in demo.said + demo.daemon_log
    assert daemons(tmp_path / "site") == []


def test_the_demo_ends_with_1_when_its_daemon_dies(tmp_path: Path) -> None:
    with Demo(tmp_path / "site") as demo:
        (pid,) = daemons(demo.directory)
        os.kill(pid, signal.SIGKILL)
        assert demo.wait() == 1
        assert "exit code -9" in demo.said
        assert "Traceback" not in demo.said
