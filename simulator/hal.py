"""The simulator as a hardware driver (`[hal] driver = "simulator"`): ports, link, clock and display over a world here or elsewhere.

Options of `[hal.options]`: `control_socket`, `world`, `meter`, `meter_port`, `template`, `seed` (docs/simulator.md).
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from agent.domain.errors import HalError
from agent.domain.ids import EvseId
from agent.domain.pilot import X1, PilotOutput
from agent.hal.api import DisplayPort, EvsePorts, HalSetup, HalSink, MeterAddress, NetworkLink, WallClock
from simulator.attached import AttachedWorld
from simulator.board import Board

if TYPE_CHECKING:  # imported when a world lives in this process: a daemon whose world is elsewhere stays as small as on a board
    from simulator.control import ControlServer
    from simulator.rig import Rig

OPTIONS: Final = ("control_socket", "world", "meter", "meter_port", "template", "seed")
MAX_SOCKET_PATH: Final = 107
"""sun_path of Linux, without its final zero."""


class Host(Protocol):
    """What orders are given to: the world itself, or its process. Every order returns at once and is thread-safe."""

    def set_output(self, evse_id: EvseId, output: PilotOutput) -> None:
        """Put a signal on the pilot."""

    def close(self, evse_id: EvseId) -> None:
        """Ask for a closed contactor."""

    def open(self, evse_id: EvseId) -> None:
        """Open now."""

    def renew_permission(self, evse_id: EvseId) -> None:
        """Let the safety controller's permission live on."""

    def drive_lock(self, evse_id: EvseId, *, is_locked: bool) -> None:
        """Drive the bolt."""


class SimulatedEvse:
    """The ports of one simulated EVSE: pilot, contactor and lock."""

    def __init__(self, host: Host, evse_id: EvseId) -> None:
        self._host = host
        self._evse_id = evse_id

    def set_output(self, output: PilotOutput) -> None:
        """Put a signal on the pilot."""
        self._host.set_output(self._evse_id, output)

    def close(self) -> None:
        """Ask for a closed contactor; the safety controller checks for itself."""
        self._host.close(self._evse_id)

    def open(self) -> None:
        """Open now. Thread-safe."""
        self._host.open(self._evse_id)

    def renew_permission(self) -> None:
        """Let the safety controller's permission live for another 0.95 s. Thread-safe."""
        self._host.renew_permission(self._evse_id)

    def lock(self) -> None:
        """Drive the bolt in."""
        self._host.drive_lock(self._evse_id, is_locked=True)

    def unlock(self) -> None:
        """Drive the bolt out."""
        self._host.drive_lock(self._evse_id, is_locked=False)


class SimulatorDriver:
    """A simulated charger. Raises ValueError naming a wrong option and what is allowed."""

    permission_expires: bool = True
    has_power_fail_input: bool = True
    network: NetworkLink
    clock: WallClock
    display: DisplayPort

    def __init__(self, setup: HalSetup) -> None:
        self._setup = setup
        self._options = _Options(setup.options)
        self.board = Board()
        self.network = self.board.network
        self.clock = self.board.clock
        self.display = self.board.display
        self.rig: Rig | None = None
        self._control: ControlServer | None = None
        self._attached: AttachedWorld | None = None
        self._host: Host | None = None

    async def start(self, sink: HalSink) -> Mapping[EvseId, EvsePorts]:
        """Build the world, or attach to its process, and report the present state. Raises HalError."""
        if self._host is not None:
            raise HalError("the simulator is running already")
        self.board.clock.start()
        host = await self._attach(sink) if self._options.world is not None else await self._build(sink)
        self._host = host
        ports: dict[EvseId, EvsePorts] = {}
        for evse in self._setup.evses:
            one = SimulatedEvse(host, evse.evse_id)
            ports[evse.evse_id] = EvsePorts(pilot=one, contactor=one, lock=one if evse.has_lock else None)
        return ports

    async def aclose(self) -> None:
        """Open every contactor, take the pilots to X1, and leave. A world of its own process lives on."""
        host, self._host = self._host, None
        if host is None:
            return
        for evse in self._setup.evses:
            host.open(evse.evse_id)
            host.set_output(evse.evse_id, X1)
        if self._control is not None:
            self._control.close()
        if self._attached is not None:
            await self._attached.aclose()
        if self.rig is not None:
            await self.rig.aclose()

    def meter(self, evse_id: EvseId) -> MeterAddress | None:
        """Tell where the simulated meter is, once started."""
        if self._attached is not None:
            return self._attached.meters.get(evse_id)
        return None if self.rig is None else self.rig.address(evse_id)

    async def _attach(self, sink: HalSink) -> AttachedWorld:
        attached = AttachedWorld(Path(self._options.world or ""), self._setup.evses, self.board)
        await attached.start(sink)
        self._attached = attached
        return attached

    async def _build(self, sink: HalSink) -> Host:
        from simulator.control import ControlServer, WorldControl
        from simulator.rig import DEFAULT_TEMPLATE, MeterBus, Rig, check_template

        options = self._options
        rig = Rig(
            self._setup.evses,
            timers=asyncio.get_running_loop(),
            seed=options.seed,
            bus=MeterBus(options.meter),
            template=check_template(options.template or DEFAULT_TEMPLATE),
            port=options.meter_port,
        )
        try:
            await rig.start()
            if options.control_socket is not None:
                methods = WorldControl(rig.world, self.board, extra_state=rig.state).methods()
                self._control = ControlServer(Path(options.control_socket), methods)
                self._control.start()
        except OSError as error:
            await rig.aclose()
            raise HalError(f"the simulated world cannot be served: {error}") from error
        self.rig = rig
        rig.world.attach(sink)
        return rig.world


class _Options:
    """`[hal.options]`, checked."""

    def __init__(self, options: Mapping[str, object]) -> None:
        unknown = sorted(set(options) - set(OPTIONS))
        if unknown:
            raise ValueError(f"unknown option {', '.join(unknown)} in [hal.options]; known are {', '.join(OPTIONS)}")
        self.control_socket = _socket_path(options, "control_socket")
        self.world = _socket_path(options, "world")
        if self.world is not None and self.control_socket not in {None, self.world}:
            raise ValueError(
                "control_socket and world in [hal.options]: with `world` the world process serves the control socket; leave one out"
            )
        meter = options.get("meter", "tcp")
        if meter not in {"tcp", "rtu"}:
            raise ValueError(f"meter = {meter!r} in [hal.options]; use tcp or rtu")
        self.meter = str(meter)
        self.meter_port = _whole_number(options, "meter_port", 65_535)
        self.seed = _whole_number(options, "seed", 2**32)
        template = options.get("template")
        if template is not None:
            from simulator.rig import check_template

            template = check_template(template)
        self.template = template


def _socket_path(options: Mapping[str, object], name: str) -> str | None:
    value = options.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value.encode()) <= MAX_SOCKET_PATH:
        raise ValueError(f"{name} = {value!r} in [hal.options]; use the path of a Unix socket, at most {MAX_SOCKET_PATH} bytes")
    return value


def _whole_number(options: Mapping[str, object], name: str, high: int) -> int:
    value = options.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= high:
        raise ValueError(f"{name} = {value!r} in [hal.options]; use a whole number from 0 to {high}")
    return value
