"""`charger-sim demo` as a person runs it: a process that prints an address, and Ctrl-C."""

import json
import re
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any, Self
from urllib.request import ProxyHandler, build_opener

from agent.cli.__main__ import call as ask_diagnostics
from simulator.control import call_once

START_TIMEOUT_S = 40.0
STOP_TIMEOUT_S = 20.0


class Demo:
    """A running demo. `with` starts it and ends it with Ctrl-C, as its last lines ask for."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.output = directory / "output.txt"
        self._command = (sys.executable, "-m", "simulator", "demo", "--port", "0", "--directory", str(directory), *options)
        self._process: subprocess.Popen[bytes] | None = None
        self.url = self.portal_url = ""

    def __enter__(self) -> Self:
        self.directory.mkdir()
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(self._command, stdout=output, stderr=output)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (self.url and "Ctrl-C" in self.said):
            assert self._process.poll() is None, f"the demo ended:\n{self.said}"
            assert time.monotonic() < deadline, f"the demo does not start:\n{self.said}"
            time.sleep(0.05)
            found = re.search(r"^ {4}(http://127\.0\.0\.1:\d+/)$", self.said, re.MULTILINE)
            self.url = found[1] if found else ""
        self.portal_url = str(self.get_json(f"{self.url}api/setup")["portal_url"])
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.interrupt()

    @property
    def said(self) -> str:
        return self.output.read_text(encoding="utf-8")

    @property
    def daemon_log(self) -> str:
        return (self.directory / "charger-agent.log").read_text(encoding="utf-8")

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> int:
        """Ctrl-C, or another signal; the exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end; the exit code."""
        assert self._process is not None
        try:
            return self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise

    def get_json(self, url: str) -> Any:
        with build_opener(ProxyHandler({})).open(url, timeout=10) as response:
            return json.load(response)

    def diagnose(self, method: str) -> Any:
        return ask_diagnostics(str(self.directory / "diag.sock"), method, {})

    def register_wh(self) -> Decimal:
        """What the simulated meter's register says, not by way of the daemon."""
        state: Any = call_once(self.directory / "sim.sock", "sim.state", {})
        return Decimal(state["evses"][0]["meter"]["energy_uwh"]).scaleb(-6)
