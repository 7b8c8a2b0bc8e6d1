"""How long a fault of the hardware waits for the order to open, while a backlog drains and the display is drawn.

`python -m tests.benchmarks.fault_path URL DIRECTORY FAULTS PICTURE` runs the daemon's whole application (engine, guard, store, client,
display) in this process, over a board of its own whose thread raises the faults, and prints the latencies in milliseconds as JSON. The
board is found like any other: by an entry point.
"""

import asyncio
import gc
import json
import random
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from agent.config.loader import load_config
from agent.domain.authorization import IdToken
from agent.domain.commands import RequestStart
from agent.domain.connector import FaultKind
from agent.domain.events import MeterLost, MeterRead
from agent.domain.ids import EvseId
from agent.domain.metering import Reading
from agent.domain.pilot import PilotOutput, PilotState
from agent.hal.api import EvsePorts, HalSetup, HalSink, MeterAddress
from agent.hal.registry import GROUP
from agent.qr_display.outputs.png import PngOutput
from agent.qr_display.render import Frame
from agent.runtime.app import App
from agent.runtime.logging import set_up_logging
from tests.benchmarks.backlog import MESSAGES_PER_SESSION, session, write_backlog
from tests.benchmarks.configuration import Setup

EVSE = EvseId(1)
BACKLOG_SESSIONS = 1_000
TOP_UP_SESSIONS = 500


class BenchBoard:
    """A board with one EVSE and a vehicle that always asks for energy. `opened` gets the moment of each order to open."""

    permission_expires = True
    made: "BenchBoard"

    def __init__(self, setup: HalSetup) -> None:
        BenchBoard.made = self
        self.sink: HalSink | None = None
        self.closed = asyncio.Event()
        self.is_closed = False
        self.opened_at = 0.0

    async def start(self, sink: HalSink) -> Mapping[EvseId, EvsePorts]:
        self.sink = sink
        sink.pilot_measured(EVSE, PilotState.C)
        sink.contactor_reported(EVSE, is_closed=False)
        return {EVSE: EvsePorts(pilot=self, contactor=self)}

    async def aclose(self) -> None:
        self.sink = None

    def meter(self, evse_id: EvseId) -> MeterAddress | None:
        return None

    def set_output(self, output: PilotOutput) -> None:
        pass

    def renew_permission(self) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True
        self.closed.set()
        self._report(is_closed=True)

    def open(self) -> None:
        """The order to open; the guard and the engine give it both, the first counts."""
        if self.is_closed:
            self.opened_at = time.perf_counter()
            self.is_closed = False
            self.closed.clear()
            self._report(is_closed=False)

    def _report(self, *, is_closed: bool) -> None:
        if self.sink is not None:
            asyncio.get_running_loop().call_soon(self._report_now, is_closed)

    def _report_now(self, is_closed: bool) -> None:
        if self.sink is not None:
            self.sink.contactor_reported(EVSE, is_closed=is_closed)


class CountingOutput(PngOutput):
    """The PNG output of the package, counted: the display shall be busy while the faults come."""

    pictures = 0

    def show(self, frame: Frame) -> None:
        super().show(frame)
        CountingOutput.pictures += 1


class Hardware(threading.Thread):
    """The interrupt line: raises one fault for each wish, after a random pause, from a thread of its own."""

    def __init__(self, board: BenchBoard) -> None:
        super().__init__(daemon=True)
        self._board = board
        self._loop = asyncio.get_running_loop()
        self._wish = threading.Semaphore(0)
        self._chance = random.Random(1)
        self.raised_at = 0.0

    def raise_soon(self) -> None:
        self._wish.release()

    def run(self) -> None:
        while True:
            self._wish.acquire()
            time.sleep(self._chance.uniform(0.0, 0.008))
            self.raised_at = time.perf_counter()
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(lambda: change_fault(self._board, is_present=True))


def change_fault(board: BenchBoard, *, is_present: bool) -> None:
    """What a driver reports."""
    assert board.sink is not None
    board.sink.fault_changed(EVSE, FaultKind.RCD_TRIPPED, is_present=is_present)


class Bench:
    """Sessions that a fault ends, one after another."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._energy = Decimal(1_000_000)
        self.latencies_ms: list[float] = []
        self._next_session = BACKLOG_SESSIONS + 1

    async def run(self, faults: int) -> None:
        board = BenchBoard.made
        hardware = Hardware(board)
        hardware.start()
        while self._app.client.status().state.value != "accepted":
            await asyncio.sleep(0.01)
        filling = asyncio.create_task(self._keep_filled())
        try:
            while len(self.latencies_ms) < faults:
                await self._one(board, hardware)
        finally:
            filling.cancel()

    async def _one(self, board: BenchBoard, hardware: Hardware) -> None:
        self._read_meter()
        token = IdToken("04A1B2C3D4E5F6")
        await self._app.engine.ask(RequestStart(evse_id=EVSE, id_token=token, remote_start_id=len(self.latencies_ms) + 1))
        async with asyncio.timeout(20):
            await board.closed.wait()
            hardware.raise_soon()
            while board.is_closed:  # polled: an event would have to be set inside what is measured
                await asyncio.sleep(0.001)
        self.latencies_ms.append((board.opened_at - hardware.raised_at) * 1000)
        await asyncio.sleep(0)
        self._app.post(MeterLost(EVSE, "the bench has no meter"))  # ends the session now, without a settled last reading
        change_fault(board, is_present=False)

    def _read_meter(self) -> None:
        self._energy += 1
        self._app.post(MeterRead(Reading(evse_id=EVSE, at=self._app.clock.now(), energy_wh=self._energy)))

    async def _keep_filled(self) -> None:
        """More finished sessions whenever the backlog has become short, in one commit: it is the delivery that shall be measured."""
        while True:
            if self._app.store.queue_depth < TOP_UP_SESSIONS * MESSAGES_PER_SESSION:
                numbers = range(self._next_session, self._next_session + TOP_UP_SESSIONS)
                self._next_session = numbers.stop
                for number in numbers:
                    record, notices = session(number)
                    end = notices[-1]
                    await self._app.store.commit(
                        (replace(record, ended_at=end.at, meter_stop=record.last_reading, stopped_reason=end.stopped_reason),), notices
                    )
                self._app.client.outbox_grew()
            await asyncio.sleep(0.05)


def setup(directory: Path, url: str, picture: Path) -> Setup:
    """The daemon's configuration, and an entry point file that makes the board known."""
    packages = directory / "packages" / "bench_board-1.dist-info"
    packages.mkdir(parents=True)
    board, output = (f"tests.benchmarks.fault_path:{kind.__name__}" for kind in (BenchBoard, CountingOutput))
    entry_points = f"[{GROUP}]\nbench = {board}\n[charger_agent.displays]\nbench = {output}\n"
    (packages / "entry_points.txt").write_text(entry_points, encoding="utf-8")
    sys.path.append(str(packages.parent))
    return Setup(
        station_id="FAULTS",
        url=url,
        directory=directory,
        state=directory / "state",
        hal_driver="bench",
        output="bench",
        picture=picture,
    )


async def main(url: str, directory: Path, faults: int, picture: Path) -> None:
    """Run the application until the faults are over, and print."""
    set_up = setup(directory, url, picture)
    await write_backlog(set_up.state, BACKLOG_SESSIONS)
    app = App(load_config(set_up.write()))
    running = asyncio.create_task(app.run())
    await app.is_running.wait()
    bench = Bench(app)
    before = await app.store.status()
    begun, waited = time.monotonic(), cpu_wait_s()
    await bench.run(faults)
    seconds, waited = time.monotonic() - begun, cpu_wait_s() - waited
    after = await app.store.status()
    commits = after.commits - before.commits
    found = {
        "latencies_ms": bench.latencies_ms,
        "seconds": seconds,
        "commits": commits,
        "pictures": CountingOutput.pictures,
        "waited": waited,
    }
    print(json.dumps(found))
    app.leave()
    await running


def cpu_wait_s() -> float:
    """How long the threads of this process have waited for a CPU that something else held."""
    return sum(int((task / "schedstat").read_text(encoding="ascii").split()[1]) for task in Path("/proc/self/task").iterdir()) / 1e9


if __name__ == "__main__":
    set_up_logging("warning")
    # As in agent.__main__.
    sys.setswitchinterval(0.0005)
    gc.freeze()
    sys.modules["tests.benchmarks.fault_path"] = sys.modules["__main__"]  # the entry point names the module, and there is one board
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])))
