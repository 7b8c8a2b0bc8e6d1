"""The certification bench: the test CSMS, a simulated world that outlives the agent, and the agent itself from a real configuration file.

In one process and in virtual time: the sockets, the frames, the Modbus meter, the database and the control socket are the real ones. A
reset that the agent commands of itself starts it anew as `python -m agent` does, in the same world.
"""

import asyncio
import contextlib
import logging
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from agent.config.loader import load_config
from agent.domain.ids import EvseId
from agent.hal.api import EvseSetup
from agent.runtime.app import App, Ending
from agent.runtime.check import VALIDATORS
from simulator.control import ControlClient
from simulator.rig import Rig
from simulator.world_process import WorldProcess
from tests.conformance.csms import Csms

STATION = "CP001"
CARD = "045A1B2C3D4E"
OTHER_CARD = "04FFEEDDCC01"

SHORT = {
    "OCPPCommCtrlr.RetryBackOffWaitMinimum": "1",
    "OCPPCommCtrlr.RetryBackOffRandomRange": "1",
    "OCPPCommCtrlr.RetryBackOffRepeatTimes": "1",
    "SampledDataCtrlr.TxUpdatedInterval": "0",
}
"""What every test begins with: reconnect soon, and no meter values in between unless a test asks for them."""


class BenchApp(App):
    """The agent in virtual time.

    Only the guard's permission lives in real time. A machine that stalls for 2 s while virtual time stands still would open the contactor;
    so the guard reads the bench's clock.
    """

    async def _build(self, stack: contextlib.AsyncExitStack) -> None:
        await super()._build(stack)
        self.guard._clock = asyncio.get_running_loop().time


class Bench:
    """Test system, world and agent. `utc` is the one true time, which advances with the event loop."""

    def __init__(
        self,
        folder: Path,
        version: str,
        *,
        variables: Mapping[str, str] | None = None,
        evses: int = 1,
        socket: bool = False,
        security: str = "security_profile = 0",
        tls: ssl.SSLContext | None = None,
        extra: str = "",
    ) -> None:
        """`variables` are first values by 2.x name or 1.6 key; `socket` gives an outlet with a lock instead of a fixed cable."""
        self.folder = folder
        self.version = version
        self.boot_id: str | None = "boot-1"
        self._began = datetime.now(UTC)
        self._began_at = asyncio.get_running_loop().time()
        self._agent: asyncio.Task[None] | None = None
        self.csms = Csms(version, self.utc, check=self.check_alive)
        self.csms.tls = tls
        self.errors: list[logging.LogRecord] = []
        self.expected_errors: tuple[str, ...] = ()
        self.starts = 0
        self._variables = {**SHORT, **(variables or {})}
        self._evses, self._socket, self._security, self._extra = evses, socket, security, extra
        setups = [EvseSetup(evse_id=EvseId(n), max_current_a=32, phases=3, has_lock=socket) for n in range(1, evses + 1)]
        self.rig = Rig(setups, timers=asyncio.get_running_loop())
        self.world = WorldProcess(self.control_socket, self.rig)
        self.app: App | None = None
        self._control: ControlClient | None = None

    @property
    def control_socket(self) -> Path:
        return self.folder / "sim.sock"

    @property
    def config_file(self) -> Path:
        return self.folder / "config.toml"

    def utc(self) -> datetime:
        """The true time."""
        return self._began + timedelta(seconds=asyncio.get_running_loop().time() - self._began_at)

    @staticmethod
    def now() -> float:
        """The loop's time."""
        return asyncio.get_running_loop().time()

    # --- the agent's life

    def write_config(self) -> None:
        """The configuration file of this test."""
        connector = '[[evse.connector]]\ncable = "socket"\n' if self._socket else ""
        evses = "".join(f"[[evse]]\nid = {number}\nmax_current_a = 32\nphases = 3\n{connector}" for number in range(1, self._evses + 1))
        values = "\n".join(f'"{name}" = "{value}"' for name, value in self._variables.items())
        self.config_file.write_text(
            f"""[station]
id = "{STATION}"
serial_number = "SN-0001"
vendor = "Example"
model = "AC22"
country = "NO"
lab = true
[ocpp]
url = "{self.csms.url}"
versions = ["{self.version}"]
{self._security}
[store]
directory = "{self.folder / "state"}"
[diagnostics]
socket = "{self.folder / "diag.sock"}"
[hal]
driver = "simulator"
[hal.options]
world = "{self.control_socket}"
{evses}
[variables]
{values}
{self._extra}
""",
            encoding="utf-8",
        )

    async def start_agent(self) -> None:
        """Start it as its process does: again and again while it asks for a restart."""
        self._agent = asyncio.get_running_loop().create_task(self._live(), name="agent")
        self._agent.add_done_callback(lambda _: self.csms.look())

    async def _live(self) -> None:
        while True:
            self.world.set_clock(self.utc())  # the board's clock goes on while the agent is away
            self.app = BenchApp(load_config(self.config_file, VALIDATORS), boot_id=self.boot_id)
            self.starts += 1
            if await self.app.run() is Ending.EXIT:
                return

    def check_alive(self) -> None:
        """Raises what ended the agent."""
        if self._agent is not None and self._agent.done():
            self._agent.result()

    async def stop_agent(self) -> None:
        """SIGTERM."""
        if self._agent is None:
            return
        if not self._agent.done() and self.app is not None and self.app.is_running.is_set():
            self.app.leave()
            async with asyncio.timeout(20):
                await self._agent
        else:
            self._agent.cancel()
            await asyncio.wait([self._agent])
            if not self._agent.cancelled():
                self._agent.result()
        self._agent = None

    async def aclose(self) -> None:
        """Take everything down; raises what ended the agent."""
        try:
            await self.stop_agent()
        finally:
            if self._control is not None:
                self._control.close()
            await self.world.aclose()

    # --- what people do, over the control socket

    async def control(self, method: str, **params: Any) -> Any:
        """One call on the control socket."""
        if self._control is None:
            self._control = await ControlClient.open(self.control_socket)
        return await self._control.call(method, **params)

    async def plug_in(self, evse: int = 1, **params: Any) -> None:
        """Plug a vehicle in that wants energy at once."""
        await self.control("ev.plug_in", evse=evse, **{"delay_s": 0, **params})

    async def unplug(self, evse: int = 1, **params: Any) -> None:
        """Pull the plug."""
        await self.control("ev.unplug", evse=evse, **params)

    async def swipe(self, token: str = CARD, evse: int | None = None) -> None:
        """Hold a card to the reader."""
        await self.control("rfid.swipe", token=token, **({} if evse is None else {"evse": evse}))

    async def network_down(self, mode: str = "close") -> None:
        """Take the link to the CSMS away; returns when the station is offline."""
        await self.control("network.down", mode=mode)
        if mode != "blackhole":
            await self.until(lambda: self.link_state == "offline")

    async def network_up(self) -> None:
        """Give it back; returns when the station is accepted again."""
        await self.control("network.up")
        await self.until(lambda: self.link_state == "accepted", within=120)

    @property
    def link_state(self) -> str:
        assert self.app is not None
        return str(self.app.engine.station.link.value)

    async def evse(self, number: int = 1) -> dict[str, Any]:
        """An EVSE of the world: pilot, contactor, lock, meter, vehicle."""
        state = await self.control("sim.state")
        return cast("dict[str, Any]", next(evse for evse in state["evses"] if evse["evse"] == number))

    async def is_unlocked(self, number: int = 1) -> bool:
        """Whether the bolt is out."""
        return not (await self.evse(number))["lock"]["is_locked"]

    async def is_open(self, number: int = 1) -> bool:
        """Whether the contactor is open."""
        return not (await self.evse(number))["contactor"]["is_closed"]

    async def energy_flows(self, number: int = 1) -> None:
        """Wait until the vehicle draws a current."""

        async def draws() -> bool:
            return float((await self.evse(number))["meter"]["current_a"][0]) > 0

        await self.until_async(draws)

    async def until(self, condition: Any, within: float = 30) -> None:
        """Wait for a condition of the agent or the world."""

        async def check() -> bool:
            return bool(condition())

        await self.until_async(check, within)

    async def until_async(self, condition: Any, within: float = 30) -> None:
        """The same where it has to ask."""
        async with asyncio.timeout(within):
            while not await condition():
                await asyncio.sleep(0.05)

    # --- whole steps

    async def booted(self) -> None:
        """Wait for the end of a cold boot: accepted, and every connector reported. Sets the mark."""
        await self.csms.expect("BootNotification")
        wanted = self._evses + (1 if self.version == "1.6" else 0)
        came = await self.csms.until(lambda: len(self.csms.calls("StatusNotification")) >= wanted)
        assert came, "the boot did not end with the status of every connector"
        assert self.app is not None
        engine = self.app.engine
        await self.until(lambda: all(evse.reading is not None for evse in engine.station.evses))
        self.csms.mark()

    async def restarted(self, starts: int = 2) -> None:
        """Wait until the agent was started anew and has booted again."""
        self.csms.mark()
        await self.until(lambda: self.starts >= starts, within=60)
        await self.booted()

    async def charge(self, token: str = CARD, evse: int = 1) -> Any:
        """Plug in, present a card, wait for energy; gives the transaction's id on the wire. Sets the mark."""
        await self.plug_in(evse)
        await self.csms.status("Preparing" if self.version == "1.6" else "Occupied", **self._at(evse))
        await self.swipe(token, evse)
        return await self.charging(evse)

    async def charging(self, evse: int = 1) -> Any:
        """Wait until a transaction runs and energy flows; gives its id on the wire. Sets the mark."""
        if self.version == "1.6":
            await self.csms.expect("StartTransaction", connectorId=evse)
            await self.csms.status("Charging", **self._at(evse))
            wire_id: Any = self.csms.transactions[-1]
        else:
            event = await self.csms.expect("TransactionEvent", where=lambda e: e["transactionInfo"].get("chargingState") == "Charging")
            wire_id = event["transactionInfo"]["transactionId"]
        await self.energy_flows(evse)
        self.csms.mark()
        return wire_id

    def _at(self, evse: int) -> dict[str, int]:
        return {"connectorId": evse} if self.version == "1.6" else {"evseId": evse}


class ProcessBench(Bench):
    """The agent as a process of its own, in real time: it can be killed, and what it did not put on disk is gone."""

    def __init__(self, folder: Path, version: str, **options: Any) -> None:
        super().__init__(folder, version, **options)
        self.process: asyncio.subprocess.Process | None = None
        self._expected_end = False

    @property
    def log_file(self) -> Path:
        return self.folder / "agent.log"

    async def start_agent(self) -> None:
        """Start it in the boot `boot_id`; `None` in the one that this machine is in."""
        self.starts += 1
        self._expected_end = False
        command = [sys.executable, "-m", "agent", "--config", str(self.config_file)]
        if self.boot_id is not None:
            file = self.folder / "boot_id"
            file.write_text(f"{self.boot_id}\n", encoding="ascii")
            command[2:3] = ["tests.conformance.booted_daemon"]
            command += ["--boot-id-file", str(file)]
        with self.log_file.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command, cwd=Path(__file__).parents[2], stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )

    def check_alive(self) -> None:
        if self.process is not None and self.process.returncode is not None and not self._expected_end:
            msg = f"the agent ended with {self.process.returncode}:\n{self.log_file.read_text(encoding='utf-8')[-3000:]}"
            raise AssertionError(msg)

    async def cut_power(self) -> None:
        """The process is killed and the contactor drops."""
        assert self.process is not None
        self._expected_end = True
        await self.control("power.cut")
        assert await self.process.wait() == -signal.SIGKILL

    async def stop_agent(self) -> None:
        if self.process is None:
            return
        self._expected_end = True
        if self.process.returncode is None:
            self.process.terminate()
            async with asyncio.timeout(10):
                assert await self.process.wait() == 0
        self.process = None

    async def booted(self) -> None:
        await self.csms.expect("BootNotification")
        wanted = self._evses + (1 if self.version == "1.6" else 0)
        assert await self.csms.until(lambda: len(self.csms.calls("StatusNotification")) >= wanted)
        self.csms.mark()


class _ErrorLog(logging.Handler):
    """Notes what the agent logs as an error: a bug of ours that something swallowed would show here only."""

    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__(logging.ERROR)
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)


@contextlib.asynccontextmanager
async def laboratory(
    folder: Path, version: str, *, boots: bool = True, is_process: bool = False, errors: Sequence[str] = (), **options: Any
) -> AsyncIterator[Any]:
    """A bench with a started agent; `boots`: and booted. At the end: no frame against a schema, books in order, no error in the log.

    `errors` are texts of errors that the test provokes.
    """
    bench = (ProcessBench if is_process else Bench)(folder, version, **options)
    bench.expected_errors = tuple(errors)
    handler = _ErrorLog(bench.errors)
    logger = logging.getLogger("agent")
    logger.addHandler(handler)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(logger.removeHandler, handler)
        await stack.enter_async_context(bench.csms.running())
        await bench.world.start()
        stack.push_async_callback(bench.aclose)
        bench.write_config()
        await bench.start_agent()
        if boots:
            await bench.booted()
        yield bench
    bench.csms.check_books()
    assert not bench.csms.violations, bench.csms.violations
    unexpected = [record.getMessage() for record in bench.errors if not any(text in record.getMessage() for text in bench.expected_errors)]
    assert not unexpected, unexpected
