"""A world process for tests, and a daemon that can be stopped and killed: both real processes."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from simulator.control import ControlClient

READY = "world ready"


@contextlib.contextmanager
def world_process(socket: Path, *args: str) -> Iterator[subprocess.Popen[str]]:
    """Run `charger-sim world` until the end of the block."""
    command = [sys.executable, "-m", "simulator", "world", "--socket", str(socket), *args]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(READY), line
        try:
            yield process
        finally:
            process.terminate()
            process.wait(10)


DAEMON = """
import asyncio, sys
from decimal import Decimal
from agent.hal.api import EvseSetup, HalSetup
from agent.hal.guard import Guard
from agent.domain.pilot import PilotState, pwm
from simulator.hal import SimulatorDriver

class Sink:
    def pilot_measured(self, evse_id, state):
        if state is PilotState.C:
            asyncio.get_running_loop().call_soon(guard.close, evse_id)
    def contactor_reported(self, evse_id, *, is_closed):
        print("contactor", is_closed, flush=True)
    def lock_reported(self, evse_id, *, is_locked): pass
    def fault_changed(self, evse_id, fault, *, is_present, detail=""):
        print("fault", fault, is_present, flush=True)
    def id_token_presented(self, evse_id, id_token): pass

async def main():
    global guard
    evses = [EvseSetup(evse_id=1, max_current_a=32, phases=3, has_lock=False)]
    driver = SimulatorDriver(HalSetup(evses=evses, options={"world": sys.argv[1]}))
    guard = Guard(Sink(), on_refused=lambda evse_id, why: print("refused", why.name, flush=True))
    await guard.start(driver)
    guard.permit(1)
    guard.set_pilot(1, pwm(Decimal(16)))
    print("attached", flush=True)
    while True:
        guard.permit(1)
        await asyncio.sleep(0.5)

asyncio.run(main())
"""


class Daemon:
    """The smallest agent: guard, driver, a permission every 0.5 s, and a contactor that closes in C."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self.process: asyncio.subprocess.Process | None = None
        self.lines: list[str] = []
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(sys.executable, "-c", DAEMON, str(self._socket), stdout=asyncio.subprocess.PIPE)
        self._reading = asyncio.get_running_loop().create_task(self._read())
        async with asyncio.timeout(20):
            while "attached" not in self.lines:
                await asyncio.sleep(0.01)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.process is not None
        assert self._reading is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        await self._reading

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    async def _read(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.lines.append(line.decode().strip())


async def evse_state(control: ControlClient, evse: int = 1) -> dict[str, object]:
    """Look at one EVSE of the world."""
    state = await control.call("sim.state")
    found: dict[str, object] = state["evses"][evse - 1]  # type: ignore[index,call-overload,assignment]
    return found


async def is_closed(control: ControlClient, evse: int = 1) -> bool:
    """Look at a contactor of the world."""
    contactor = (await evse_state(control, evse))["contactor"]
    return bool(contactor["is_closed"])  # type: ignore[index]
