"""`charger-sim world`: the simulated world as a process that outlives the daemon, so that killing the daemon proves something.

It serves the control socket, and over the same socket one daemon at a time attaches with `hal.attach` and gives its orders with `hal.*`.
"""

import argparse
import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

from agent.domain.authorization import IdToken
from agent.domain.connector import FaultKind
from agent.domain.ids import EvseId
from agent.domain.pilot import X1, PilotOutput, PilotSignal, PilotState
from agent.hal.api import EvseSetup
from simulator.control import ControlServer, Method, Params, WorldControl
from simulator.network import NetworkMode
from simulator.rig import DEFAULT_TEMPLATE, TEMPLATES, MeterBus, Rig, check_template
from simulator.wire import INVALID_PARAMS, Json, Refused, RpcError, Wire

DRAW_TIMEOUT_S: Final = 5.0
MAX_EVSES: Final = 64


class WorldProcess:
    """A rig, its control socket, and at most one attached daemon."""

    def __init__(self, path: Path, rig: Rig) -> None:
        self._rig = rig
        self._world = rig.world
        self._daemon: Wire | None = None
        self._network = NetworkMode.UP
        self._clock_offset_s: float | None = 0.0
        control = WorldControl(rig.world, self, extra_state=self._state)
        methods: dict[str, Method] = {
            **control.methods(),
            "hal.attach": self._attach,
            "hal.pilot": self._pilot,
            "hal.close": self._close,
            "hal.open": self._open,
            "hal.renew": self._renew,
            "hal.lock": self._lock,
        }
        self._server = ControlServer(path, methods, on_end=self._ended)

    async def start(self) -> None:
        """Serve meters and control socket. Raises OSError naming what is in use."""
        await self._rig.start()
        self._server.start()

    async def aclose(self) -> None:
        """Stop serving."""
        self._server.close()
        await self._rig.aclose()

    def _state(self) -> dict[str, Json]:
        return {"daemon_pid": None if self._daemon is None else self._daemon.peer_pid, **self._rig.state()}

    # ---------------------------------------------------------------------- the daemon's side of the control socket
    def set_network(self, mode: NetworkMode) -> None:
        """Cut or restore the link of the attached daemon, and of the next one."""
        self._network = mode
        self._say("board.network", mode=mode.value)

    def set_clock(self, utc: datetime | None) -> None:
        """Set the clock of the attached daemon's board, and of the next one's."""
        self._clock_offset_s = None if utc is None else (utc - datetime.now(UTC)).total_seconds()
        self._say("board.clock", utc=None if utc is None else utc.isoformat())

    async def draw(self, path: str) -> int:
        """Have the attached daemon write its display's picture. Raises Refused or RpcError."""
        if self._daemon is None:
            raise Refused("no daemon is attached: the display is dark")
        try:
            async with asyncio.timeout(DRAW_TIMEOUT_S):
                size = await self._daemon.ask("board.draw", {"path": str(await asyncio.to_thread(Path(path).absolute))})
        except TimeoutError:
            raise Refused(f"the daemon did not draw within {DRAW_TIMEOUT_S:g} s") from None
        except ConnectionError as error:
            raise Refused(f"the daemon left: {error}") from error
        return size if isinstance(size, int) else 0

    def cut_power(self) -> None:
        """Kill the attached daemon with SIGKILL. Raises Refused where it is this very process."""
        if self._daemon is None:
            return
        pid = self._daemon.peer_pid
        if pid == os.getpid():
            raise Refused("the daemon runs in the world's own process; power.cut would end both")
        with contextlib.suppress(ProcessLookupError):  # it may have died a moment ago
            os.kill(pid, signal.SIGKILL)
        self._daemon.close()

    def _say(self, method: str, **params: Json) -> None:
        if self._daemon is not None:
            self._daemon.notify(method, params)

    # ------------------------------------------------------------------------------------------- the daemon's orders
    def _attach(self, params: Params, wire: Wire) -> Json:
        given = params.take("evses")
        params.end()
        setups = [_setup(params, one) for one in given] if isinstance(given, list) else []
        if not setups:
            raise RpcError(INVALID_PARAMS, "hal.attach: evses must be a list of at least one")
        if self._daemon is not None and self._daemon is not wire:
            raise Refused(f"process {self._daemon.peer_pid} is attached already; one daemon at a time")
        self._world.rebuild(setups)
        self._daemon = wire
        self._world.attach(_WireSink(wire, {setup.evse_id for setup in setups}))
        return {**self._rig.state(), "network": self._network.value, "clock_offset_s": self._clock_offset_s}

    def _ended(self, wire: Wire) -> None:
        """Fall back to safe: the pilots offer nothing; the permission runs out by itself, and then the contactor is open."""
        if wire is not self._daemon:
            return
        self._daemon = None
        self._world.detach()
        for evse_id in self._world.evse_ids:
            self._world.set_output(evse_id, X1)

    def _evse(self, params: Params, wire: Wire) -> EvseId:
        if wire is not self._daemon:
            raise Refused("only the attached daemon gives orders; hal.attach first")
        return params.evse(self._world)

    def _pilot(self, params: Params, wire: Wire) -> Json:
        evse_id = self._evse(params, wire)
        signal_name = params.choice("signal", tuple(PilotSignal))
        amps = Decimal(params.text("amps", "0, or 6 to 80 with PWM", longest=20))
        self._world.set_output(evse_id, PilotOutput(PilotSignal(signal_name), amps))
        return {}

    def _close(self, params: Params, wire: Wire) -> Json:
        self._world.close(self._evse(params, wire))
        return {}

    def _open(self, params: Params, wire: Wire) -> Json:
        self._world.open(self._evse(params, wire))
        return {}

    def _renew(self, params: Params, wire: Wire) -> Json:
        self._world.renew_permission(self._evse(params, wire))
        return {}

    def _lock(self, params: Params, wire: Wire) -> Json:
        self._world.drive_lock(self._evse(params, wire), is_locked=params.take("is_locked") is True)
        return {}


class _WireSink:
    """A HalSink at the other end of a wire. It speaks of the EVSEs that the daemon has, and of the station."""

    def __init__(self, wire: Wire, evse_ids: set[EvseId]) -> None:
        self._wire = wire
        self._evse_ids: set[EvseId | None] = {*evse_ids, None}

    def pilot_measured(self, evse_id: EvseId, state: PilotState) -> None:
        self._say("report.pilot", evse_id, state=state.value)

    def contactor_reported(self, evse_id: EvseId, *, is_closed: bool) -> None:
        self._say("report.contactor", evse_id, is_closed=is_closed)

    def lock_reported(self, evse_id: EvseId, *, is_locked: bool) -> None:
        self._say("report.lock", evse_id, is_locked=is_locked)

    def fault_changed(self, evse_id: EvseId | None, fault: FaultKind, *, is_present: bool, detail: str = "") -> None:
        self._say("report.fault", evse_id, kind=fault.value, is_present=is_present, detail=detail)

    def id_token_presented(self, evse_id: EvseId | None, id_token: IdToken) -> None:
        self._say("report.token", evse_id, token=id_token.value, token_type=id_token.type.value)

    def _say(self, method: str, evse_id: EvseId | None, **params: Json) -> None:
        if evse_id in self._evse_ids:
            self._wire.notify(method, {"evse": evse_id, **params})


def _setup(params: Params, given: Json) -> EvseSetup:
    match given:
        case {"evse": int(evse), "max_current_a": int(max_current_a), "phases": int(phases), "has_lock": bool(has_lock)}:
            return EvseSetup(evse_id=EvseId(evse), max_current_a=max_current_a, phases=phases, has_lock=has_lock)
        case _:
            raise params.wrong("evses", given, "each has evse, max_current_a, phases and has_lock")


def run(args: Sequence[str]) -> int:
    """Serve until SIGTERM or SIGINT. Prints one line when it is ready. Exit code 2 for a wrong argument, 1 when something is in use."""
    parser = argparse.ArgumentParser(prog="charger-sim world", description="The simulated world as a process of its own.")
    parser.add_argument("--socket", required=True, type=Path, help="control socket; `hal.options.world` of the daemon names the same")
    parser.add_argument("--evses", type=int, default=1, metavar="N", help=f"number of EVSEs, 1 to {MAX_EVSES} (default 1)")
    parser.add_argument("--meter", choices=[*MeterBus], default=MeterBus.TCP, help="how the meters are served (default tcp)")
    parser.add_argument("--meter-port", type=int, default=0, metavar="PORT", help="TCP port of the meters (default: a free one)")
    parser.add_argument("--template", choices=TEMPLATES, default=DEFAULT_TEMPLATE, help=f"which meter (default {DEFAULT_TEMPLATE})")
    parser.add_argument("--seed", type=int, default=0, help="repeats the vehicles' chance (default 0)")
    options = parser.parse_args(args)
    if not 1 <= options.evses <= MAX_EVSES:
        parser.error(f"--evses {options.evses}: use 1 to {MAX_EVSES}")
    try:
        asyncio.run(_serve(options))
    except OSError as error:
        print(f"charger-sim world: {error}", flush=True)
        return 1
    return 0


async def _serve(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    setups = [EvseSetup(evse_id=EvseId(number), max_current_a=32, phases=3, has_lock=False) for number in range(1, options.evses + 1)]
    rig = Rig(
        setups,
        timers=loop,
        seed=options.seed,
        bus=MeterBus(options.meter),
        template=check_template(options.template),
        port=options.meter_port,
    )
    process = WorldProcess(options.socket, rig)
    leave = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave.set)
    try:
        await process.start()
        meters = ", ".join(address.url for setup in setups if (address := rig.address(setup.evse_id)) is not None)
        print(f"world ready socket={options.socket} meters={meters}", flush=True)
        await leave.wait()
    finally:
        await process.aclose()
