"""A world with its meters served on a bus, as the simulator driver and the world process both need it."""

import shutil
import tempfile
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

from agent.domain.ids import EvseId
from agent.hal.api import EvseSetup, MeterAddress
from simulator.faults import SimFault
from simulator.meter_server import MODELS, MeterFault, MeterServer, MeterSnapshot, SimulatedMeter
from simulator.pty_cable import PtyCable
from simulator.wire import Json
from simulator.world import Timers, World


class MeterBus(StrEnum):
    """How the simulated meters are reached."""

    TCP = "tcp"
    RTU = "rtu"


DEFAULT_TEMPLATE: Final = "eastron-sdm630"
TEMPLATES: Final = ("eastron-sdm630", "carlo-gavazzi-em340")

METER_FAULTS: Final = {
    SimFault.METER_SILENT: MeterFault.SILENT,
    SimFault.METER_EXCEPTION: MeterFault.EXCEPTION,
    SimFault.METER_FROZEN: MeterFault.FROZEN,
    SimFault.METER_NAN: MeterFault.NAN,
    SimFault.METER_WORD_SWAP: MeterFault.WORD_SWAP,
    SimFault.METER_ENERGY_WORDS: MeterFault.ENERGY_WORDS,
    SimFault.METER_NEGATIVE: MeterFault.NEGATIVE,
}
"""Faults of the meter itself; a reset, a jump and a swap happen to the register, in the world."""


class _Source:
    """One EVSE of the world, as its meter sees it."""

    def __init__(self, world: World, evse_id: EvseId) -> None:
        self._world = world
        self._evse_id = evse_id

    def snapshot(self) -> MeterSnapshot:
        return self._world.snapshot(self._evse_id)


class Rig:
    """Made on the loop's thread. All meters share one bus: the Modbus address of each is its EVSE's number."""

    def __init__(
        self,
        evses: Sequence[EvseSetup],
        *,
        timers: Timers,
        seed: int = 0,
        bus: MeterBus = MeterBus.TCP,
        template: str = DEFAULT_TEMPLATE,
        port: int = 0,
    ) -> None:
        self.world = World(evses, timers=timers, seed=seed, on_fault=self._fault)
        self.meters = {evse.evse_id: SimulatedMeter(_Source(self.world, evse.evse_id), template) for evse in evses}
        self._bus = bus
        self._template = template
        self._port = port
        self._server = MeterServer({int(evse_id): meter for evse_id, meter in self.meters.items()})
        self._cable: PtyCable | None = None
        self._folder: Path | None = None
        self._url = ""

    @property
    def cable(self) -> PtyCable | None:
        """The serial cable between meters and charger, where there is one: its faults are there to be set."""
        return self._cable

    async def start(self) -> None:
        """Serve the meters. Raises OSError."""
        if self._bus is MeterBus.TCP:
            port = await self._server.start_tcp(port=self._port)
            self._url = f"tcp://127.0.0.1:{port}?device="
            return
        self._folder = Path(tempfile.mkdtemp(prefix="charger-sim-"))
        link = self._folder / "meter"
        self._cable = PtyCable(link)
        self._server.serve_fd(self._cable.meter_fd)
        self._url = f"serial://{link}?baudrate=9600&parity=N&device="

    def address(self, evse_id: EvseId) -> MeterAddress | None:
        """Where the meter of an EVSE is; None for an EVSE that is not there."""
        if evse_id not in self.meters:
            return None
        return MeterAddress(template=self._template, url=f"{self._url}{evse_id}")

    def state(self) -> dict[str, Json]:
        """Show where the meters are."""
        return {"meters": {str(evse_id): {"template": self._template, "url": f"{self._url}{evse_id}"} for evse_id in self.meters}}

    def _fault(self, evse_id: EvseId, fault: SimFault, is_present: bool) -> None:
        meter_fault = METER_FAULTS.get(fault)
        if meter_fault is not None and is_present:
            self.meters[evse_id].set_fault(meter_fault)
        elif meter_fault is not None:
            self.meters[evse_id].clear_fault(meter_fault)

    async def aclose(self) -> None:
        """Stop serving."""
        self.world.close_down()
        await self._server.close()
        if self._cable is not None:
            self._cable.close()
            self._cable = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def check_template(template: object) -> str:
    """Give the name of a template that the simulator can serve. Raises ValueError naming them."""
    if not isinstance(template, str) or template not in MODELS or template not in TEMPLATES:
        raise ValueError(f"template = {template!r} is not served by the simulator; use {', '.join(TEMPLATES)}")
    return template
