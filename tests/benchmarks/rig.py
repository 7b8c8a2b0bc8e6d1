"""The processes that the bench measures and those it measures with. Each is real: started from its command line, ended by a signal."""

import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.cli.__main__ import call as ask_diagnostics
from simulator.control import ControlClient
from tests.benchmarks.configuration import Setup

PATIENCE_S = 30.0
_NUMBERS = itertools.count(1)

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | {"MALLOC_ARENA_MAX": "1"}
"""As on a charger, and the same for daemon and reference: with cached bytecode, and with the one arena of charger-agent.service."""


async def start(*arguments: str, log: Path | None = None, **options: Any) -> asyncio.subprocess.Process:
    """Start a Python process; what it says on stderr goes to the log."""
    with (log or Path(os.devnull)).open("ab") as errors:
        given = {"stdin": asyncio.subprocess.DEVNULL, "stdout": errors, **options}
        return await asyncio.create_subprocess_exec(sys.executable, *arguments, stderr=errors, env=ENVIRONMENT, limit=2**24, **given)


async def stop(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, and wait for the end."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(10):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


class CsmsProcess:
    """The bench CSMS and its orders: `await csms("booted", station="A")`."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, *, is_secure: bool) -> None:
        self._process = process
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)
        self.port = port
        self.url = f"{'wss' if is_secure else 'ws'}://localhost:{port}/"
        self._reading = asyncio.create_task(self._read())

    async def __call__(self, order: str, **arguments: Any) -> Any:
        """Give an order and wait for its answer."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        self._process.stdin.write((json.dumps([number, order, arguments]) + "\n").encode())
        async with asyncio.timeout(150):
            return await answer

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            number, answer = json.loads(line)
            self._answers.pop(number).set_result(answer)
        for waiting in self._answers.values():
            waiting.set_exception(ConnectionResetError("the bench CSMS ended; see csms.log"))

    async def aclose(self) -> None:
        """End the process."""
        await stop(self._process)
        await self._reading


@asynccontextmanager
async def running_csms(directory: Path, certificate: Path | None = None) -> AsyncIterator[CsmsProcess]:
    """A CSMS process until the end of the block."""
    arguments = [] if certificate is None else ["--certificate", str(certificate)]
    pipe = asyncio.subprocess.PIPE
    process = await start("-m", "tests.benchmarks.csms", *arguments, log=directory / "csms.log", stdin=pipe, stdout=pipe)
    assert process.stdout is not None
    csms = CsmsProcess(process, int(await process.stdout.readline()), is_secure=certificate is not None)
    try:
        yield csms
    finally:
        await csms.aclose()


@asynccontextmanager
async def running_world(directory: Path) -> AsyncIterator[Path]:
    """A simulated world of its own process until the end of the block; gives its socket."""
    socket = directory / f"world-{next(_NUMBERS)}.sock"
    process = await start("-m", "simulator", "world", "--socket", str(socket), log=directory / "world.log", stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert (await process.stdout.readline()).startswith(b"world ready"), (directory / "world.log").read_text(encoding="utf-8")
        yield socket
    finally:
        await stop(process)


@dataclass(frozen=True, slots=True)
class Load:
    """What a process had used up at a moment."""

    at: float
    cpu_s: float
    wake_ups: int

    @classmethod
    def of(cls, pid: int) -> "Load":
        """Read /proc, thread by thread. Wake-ups are voluntary context switches; CPU time is the scheduler's own, in nanoseconds."""
        switches, cpu_ns = 0, 0
        for task in Path(f"/proc/{pid}/task").iterdir():
            switches += _status(task / "status", "voluntary_ctxt_switches")
            cpu_ns += int((task / "schedstat").read_text(encoding="ascii").split()[0])
        return cls(time.monotonic(), cpu_ns / 1e9, switches)


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Memory, CPU share and wake-ups of a process over some seconds."""

    rss_mib: float
    cpu_percent: float
    wake_ups_per_s: float


async def footprint(pid: int, seconds: float) -> Footprint:
    """Watch a process."""
    before = Load.of(pid)
    await asyncio.sleep(seconds)
    after = Load.of(pid)
    passed = after.at - before.at
    return Footprint(
        rss_mib=rss_mib(pid),
        cpu_percent=100 * (after.cpu_s - before.cpu_s) / passed,
        wake_ups_per_s=(after.wake_ups - before.wake_ups) / passed,
    )


def rss_mib(pid: int) -> float:
    """Resident memory now."""
    return _status(Path(f"/proc/{pid}/status"), "VmRSS") / 1024


def _status(file: Path, name: str) -> int:
    for line in file.read_text(encoding="ascii").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0])
    raise LookupError(f"{file} has no {name}")


class Station:
    """A station's process. `began` is the moment of its exec."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.process: asyncio.subprocess.Process | None = None
        self.began = 0.0

    async def start(self, csms: CsmsProcess) -> None:
        """Start it; returns at once."""
        raise NotImplementedError

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process is not None
        return self.process.pid

    async def stop(self) -> None:
        """End it in order."""
        if self.process is not None:
            await stop(self.process)
            self.process = None


class Reference(Station):
    """The reference station as a process."""

    def __init__(self, directory: Path, name: str = "REFERENCE") -> None:
        super().__init__(name)
        self._log = directory / "reference.log"

    async def start(self, csms: CsmsProcess) -> None:
        """Start it; returns at once."""
        self.began = time.monotonic()
        self.process = await start("-m", "tests.benchmarks.reference_station", csms.url, self.name, log=self._log)


class Daemon(Station):
    """The daemon as a process, over a simulated world in another one (`world`, its socket)."""

    def __init__(
        self,
        directory: Path,
        world: Path,
        *,
        version: str = "1.6",
        has_display: bool = False,
        url: str | None = None,
        ca_file: Path | None = None,
        state: Path | None = None,
    ) -> None:
        super().__init__(f"BENCH-{next(_NUMBERS)}")
        self.directory = directory / self.name
        self.directory.mkdir()
        self.diagnostics_socket = self.directory / "diag.sock"
        self.state = state or self.directory / "state"
        self._world, self._version, self._url, self._ca_file = world, version, url, ca_file
        self._picture = Path(f"/dev/shm/{self.name}-{os.getpid()}.png") if has_display else None
        self.log = self.directory / "charger-agent.log"

    async def start(self, csms: CsmsProcess) -> None:
        """Start it; returns at once."""
        self.diagnostics_socket.unlink(missing_ok=True)
        config = Setup(
            station_id=self.name,
            url=self._url or csms.url,
            directory=self.directory,
            state=self.state,
            version=self._version,
            world=self._world,
            picture=self._picture,
            ca_file=self._ca_file,
        ).write()
        self.began = time.monotonic()
        self.process = await start("-m", "agent", "--config", str(config), log=self.log)

    async def stop(self) -> None:
        """End it in order, and take its picture away."""
        await super().stop()
        if self._picture is not None:
            self._picture.unlink(missing_ok=True)

    async def diagnose(self, method: str, **parameters: object) -> Any:
        """One call on the technician's socket."""
        return await asyncio.to_thread(ask_diagnostics, str(self.diagnostics_socket), method, dict(parameters))

    async def plug_in(self, csms: CsmsProcess) -> None:
        """Connect a vehicle, start a session from the CSMS, and wait for the contactor."""
        async with await ControlClient.open(self._world) as control:
            await control.call("ev.plug_in", evse=1)
            await csms("calls", station=self.name, action="RemoteStartTransaction", payload={"idTag": "04A1B2C3", "connectorId": 1})
            await until(self._is_charging, "the contactor closes", self.log)

    async def unplug(self) -> None:
        """Take the vehicle away."""
        async with await ControlClient.open(self._world) as control:
            await control.call("ev.unplug", evse=1)

    async def _is_charging(self) -> bool:
        status = await self.diagnose("status")
        evse = status["evses"][0]
        return bool(evse["contactor"] == "closed" and evse["charging_state"] == "Charging")


async def until(condition: Callable[[], Awaitable[bool]], what: str, log: Path) -> None:
    """Poll until an awaitable condition holds. Raises TimeoutError with the log."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not await condition():
                await asyncio.sleep(0.05)
    except TimeoutError:
        tail = log.read_text(encoding="utf-8", errors="replace")[-3000:] if log.exists() else ""
        raise TimeoutError(f"not within {PATIENCE_S:g} s: {what}\n{tail}") from None
