"""The control socket of the simulated world: its methods, the server, and a client (docs/simulator.md).

Every call is acknowledged at once and takes effect in order; what cannot be done is refused with what is allowed.
"""

import asyncio
import json
import socket
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final, Protocol, Self, TypeAlias, cast

from agent.domain.authorization import IdToken, IdTokenType
from agent.domain.ids import EvseId
from simulator.faults import CATALOGUE, SimFault
from simulator.network import DOWN_MODES, NetworkMode
from simulator.wire import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    REFUSED,
    Absent,
    Json,
    Refused,
    RpcError,
    Wire,
    WireServer,
    connect_wire,
)
from simulator.world import DEFAULT_CAPACITY_KWH, DEFAULT_SOC, World

Answer: TypeAlias = "Json | Coroutine[object, object, Json]"
Method: TypeAlias = "Callable[[Params, Wire], Answer]"

CLIENT_TIMEOUT_S: Final = 10.0
MAX_REGISTER_WH: Final = Decimal(10) ** 10


class Params:
    """The parameters of one call. Each getter checks and remembers what it asked for; `end` refuses the rest."""

    def __init__(self, method: str, given: Mapping[str, Json]) -> None:
        self._method = method
        self._given = dict(given)
        self._known: list[str] = []

    def wrong(self, name: str, value: Json, allowed: str) -> RpcError:
        """Make the error for a wrong value."""
        return RpcError(INVALID_PARAMS, f"{self._method}: {name} = {json.dumps(value)} is not allowed; {allowed}")

    def take(self, name: str) -> Json:
        """Give the value as it came, None where it is missing."""
        self._known.append(name)
        return self._given.pop(name, None)

    def end(self) -> None:
        """Refuse parameters that nobody asked for."""
        if self._given:
            known = ", ".join(self._known) or "none"
            raise RpcError(INVALID_PARAMS, f"{self._method}: unknown parameter {', '.join(sorted(self._given))}; known are {known}")

    def evse(self, world: World) -> EvseId:
        """Give an EVSE that there is; may be left out where there is only one."""
        found = self.evse_or_none(world)
        if found is not None:
            return found
        if len(world.evse_ids) == 1:
            return world.evse_ids[0]
        raise RpcError(INVALID_PARAMS, f"{self._method}: evse is missing; {self._evses(world)}")

    def evse_or_none(self, world: World) -> EvseId | None:
        """Give an EVSE that there is, or None where none is named."""
        value = self.take("evse")
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value not in world.evse_ids:
            raise self.wrong("evse", value, self._evses(world))
        return EvseId(value)

    @staticmethod
    def _evses(world: World) -> str:
        return f"there are {', '.join(map(str, world.evse_ids))}"

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """Give a whole number within bounds."""
        value = self.optional_integer(name, low, high)
        return default if value is None else value

    def optional_integer(self, name: str, low: int, high: int) -> int | None:
        """Give a whole number within bounds, or None where it is missing."""
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.wrong(name, value, f"use a whole number from {low} to {high}")
        return value

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """Give a number within bounds."""
        value = self.take(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self.wrong(name, value, f"use a number from {low:g} to {high:g}")
        return float(value)

    def energy(self, name: str) -> Decimal:
        """Give an energy in Wh: a number, or a string for more digits than a JSON number keeps."""
        value = self.take(name)
        allowed = f"use Wh from 0 to {MAX_REGISTER_WH:f}, as a number or as a string"
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise self.wrong(name, value, allowed)
        try:
            energy_wh = Decimal(str(value))
        except InvalidOperation:
            raise self.wrong(name, value, allowed) from None
        if not energy_wh.is_finite() or not 0 <= energy_wh <= MAX_REGISTER_WH:
            raise self.wrong(name, value, allowed)
        return energy_wh

    def text(self, name: str, allowed: str, *, longest: int = 4096) -> str:
        """Give a string that must be there. The error never repeats it: it may be a token."""
        value = self.take(name)
        if not isinstance(value, str) or not 0 < len(value) <= longest:
            raise RpcError(INVALID_PARAMS, f"{self._method}: {name} is missing or not a string of 1 to {longest} characters; {allowed}")
        return value

    def choice(self, name: str, choices: tuple[str, ...], default: str | None = None) -> str:
        """Give one of a few words."""
        value = self.take(name)
        if value is None and default is not None:
            return default
        if value not in choices:
            raise self.wrong(name, value, f"use {', '.join(choices)}")
        return str(value)


class DaemonSide(Protocol):
    """What lives in the daemon and not in the world, and is worked by the same socket."""

    def set_network(self, mode: NetworkMode) -> None:
        """Cut or restore the link to the CSMS."""

    def set_clock(self, utc: datetime | None) -> None:
        """Set the board's clock, or make it not know the time."""

    async def draw(self, path: str) -> int:
        """Write the display's newest picture to a PNG file; gives its size in bytes. Raises Refused, OSError or RpcError."""

    def cut_power(self) -> None:
        """Kill the daemon at once."""


class WorldControl:
    """The methods of the control socket, over a world and the daemon's side of it."""

    def __init__(self, world: World, daemon: DaemonSide, *, extra_state: Callable[[], dict[str, Json]] = dict) -> None:
        self._world = world
        self._daemon = daemon
        self._extra_state = extra_state
        self._is_clock_known = True
        self._network = NetworkMode.UP

    def methods(self) -> dict[str, Method]:
        """Give the table of methods."""
        return {
            "sim.ping": self._ping,
            "sim.state": self._state,
            "ev.plug_in": self._plug_in,
            "ev.unplug": self._unplug,
            "ev.pause": self._pause,
            "ev.resume": self._resume,
            "rfid.swipe": self._swipe,
            "fault.set": self._fault_set,
            "fault.clear": self._fault_clear,
            "network.down": self._network_down,
            "network.up": self._network_up,
            "meter.set": self._meter_set,
            "power.cut": self._power_cut,
            "display.png": self._display_png,
            "clock.set": self._clock_set,
        }

    def _ping(self, params: Params, _wire: Wire) -> Json:
        params.end()
        return {}

    def _state(self, params: Params, _wire: Wire) -> Json:
        params.end()
        return {**self._world.state(), "network": self._network.value, "is_clock_known": self._is_clock_known, **self._extra_state()}

    def _plug_in(self, params: Params, _wire: Wire) -> Json:
        evse_id = params.evse(self._world)
        max_current_a = params.integer("max_current_a", 32, 6, 80)
        phases = params.integer("phases", 3, 1, 3)
        delay_s = params.number("delay_s", 1.0, 0, 86_400)
        soc = params.number("soc", DEFAULT_SOC, 0, 100)
        capacity_kwh = params.number("capacity_kwh", DEFAULT_CAPACITY_KWH, 0.1, 1000)
        params.end()
        self._world.plug_in(evse_id, max_current_a=max_current_a, phases=phases, delay_s=delay_s, soc=soc, capacity_kwh=capacity_kwh)
        return {}

    def _unplug(self, params: Params, _wire: Wire) -> Json:
        evse_id = params.evse(self._world)
        side = params.choice("side", ("charger", "vehicle"), "charger")
        params.end()
        self._world.unplug(evse_id, at_vehicle=side == "vehicle")
        return {}

    def _pause(self, params: Params, _wire: Wire) -> Json:
        evse_id = params.evse(self._world)
        params.end()
        self._world.pause(evse_id)
        return {}

    def _resume(self, params: Params, _wire: Wire) -> Json:
        evse_id = params.evse(self._world)
        max_current_a = params.optional_integer("max_current_a", 6, 80)
        phases = params.optional_integer("phases", 1, 3)
        params.end()
        self._world.resume(evse_id, max_current_a=max_current_a, phases=phases)
        return {}

    def _swipe(self, params: Params, _wire: Wire) -> Json:
        token = params.text("token", "it is what the reader reads", longest=255)
        token_type = IdTokenType(params.choice("token_type", tuple(IdTokenType), IdTokenType.ISO14443))
        evse_id = params.evse_or_none(self._world)
        params.end()
        self._world.swipe(IdToken(token, token_type), evse_id)
        return {}

    def _fault_set(self, params: Params, _wire: Wire) -> Json:
        fault, evse_id = self._fault(params)
        self._world.set_fault(fault, evse_id)
        return {}

    def _fault_clear(self, params: Params, _wire: Wire) -> Json:
        fault, evse_id = self._fault(params)
        self._world.clear_fault(fault, evse_id)
        return {}

    def _fault(self, params: Params) -> tuple[SimFault, EvseId | None]:
        fault = SimFault(params.choice("kind", tuple(CATALOGUE)))
        evse_id = params.evse_or_none(self._world)
        params.end()
        return fault, evse_id

    def _network_down(self, params: Params, _wire: Wire) -> Json:
        self._network = NetworkMode(params.choice("mode", DOWN_MODES, NetworkMode.CLOSE))
        params.end()
        self._daemon.set_network(self._network)
        return {}

    def _network_up(self, params: Params, _wire: Wire) -> Json:
        params.end()
        self._network = NetworkMode.UP
        self._daemon.set_network(self._network)
        return {}

    def _meter_set(self, params: Params, _wire: Wire) -> Json:
        evse_id = params.evse(self._world)
        energy_wh = params.energy("energy_wh")
        params.end()
        self._world.set_register(evse_id, energy_wh)
        return {}

    def _power_cut(self, params: Params, _wire: Wire) -> Json:
        params.end()
        self._daemon.cut_power()
        self._world.lose_power()
        return {}

    async def _display_png(self, params: Params, _wire: Wire) -> Json:
        params.evse(self._world)
        path = params.text("path", "it is where the PNG is written")
        params.end()
        try:
            return {"bytes": await self._daemon.draw(path)}
        except OSError as error:
            raise Refused(f"display.png: {path}: {error.strerror or error}") from error

    def _clock_set(self, params: Params, _wire: Wire) -> Json:
        text = params.text("utc", 'use RFC 3339 as in "2026-01-01T10:00:00Z", or "unknown"')
        params.end()
        utc: datetime | None = None
        if text != "unknown":
            try:
                utc = datetime.fromisoformat(text)
            except ValueError:
                utc = None
            if utc is None or utc.tzinfo is None:
                raise params.wrong("utc", text, 'use RFC 3339 with a zone as in "2026-01-01T10:00:00Z", or "unknown"')
            utc = utc.astimezone(UTC)
        self._is_clock_known = utc is not None
        self._daemon.set_clock(utc)
        return {}


class ControlServer:
    """Serves methods on a Unix socket. A method that takes effect at once answers in the same call; others answer when they are done."""

    def __init__(self, path: Path, methods: Mapping[str, Method], *, on_end: Callable[[Wire], None] = lambda _: None) -> None:
        self._methods = methods
        self._server = WireServer(path, on_call=self._called, on_end=on_end)
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Listen. Raises OSError naming the path."""
        self._server.start()

    def close(self) -> None:
        """Stop listening and end every connection."""
        self._server.close()
        for task in self._tasks:
            task.cancel()

    def _called(self, wire: Wire, name: str, given: Mapping[str, Json], request_id: "Json | Absent") -> None:
        try:
            method = self._methods.get(name)
            if method is None:
                public = ", ".join(one for one in self._methods if not one.startswith("hal."))
                raise RpcError(METHOD_NOT_FOUND, f"unknown method {name!r}; known are {public}")
            answer = method(Params(name, given), wire)
        except (RpcError, Refused) as error:
            self._fail(wire, request_id, error)
            return
        if asyncio.iscoroutine(answer):
            task = asyncio.get_running_loop().create_task(self._finish(wire, request_id, answer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif not isinstance(request_id, Absent):
            wire.answer(request_id, answer)

    async def _finish(self, wire: Wire, request_id: "Json | Absent", answer: Coroutine[object, object, Json]) -> None:
        try:
            result = await answer
        except (RpcError, Refused, OSError) as error:
            self._fail(wire, request_id, error)
            return
        if not isinstance(request_id, Absent):
            wire.answer(request_id, result)

    def _fail(self, wire: Wire, request_id: "Json | Absent", error: Exception) -> None:
        if isinstance(request_id, Absent):
            return
        code = REFUSED if isinstance(error, Refused) else INTERNAL_ERROR
        wire.answer_error(request_id, error if isinstance(error, RpcError) else RpcError(code, str(error)))


class ControlClient:
    """A connection to a control socket, for rigs and tests. `async with await ControlClient.open(path) as control`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    @classmethod
    async def open(cls, path: Path | str) -> "ControlClient":
        """Connect. Raises OSError."""
        return cls(await connect_wire(Path(path), on_call=lambda *_: None, on_end=lambda _: None))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def call(self, method: str, **params: Json) -> Json:
        """Call a method and give its result. Raises RpcError as the world answers, ConnectionError when it is gone."""
        return await self._wire.ask(method, params)

    def close(self) -> None:
        """End the connection."""
        self._wire.close()


def call_once(path: Path | str, method: str, params: Mapping[str, Json], *, timeout_s: float = CLIENT_TIMEOUT_S) -> Json:
    """Connect, call one method, and give its result, without an event loop. Raises RpcError, OSError or TimeoutError."""
    request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": dict(params)})
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        connection.connect(str(path))
        connection.sendall(request.encode() + b"\n")
        line = connection.makefile("rb").readline()
    if not line:
        raise ConnectionResetError(f"{path}: the connection ended before the answer to {method}")
    reply = json.loads(line)
    if "error" in reply:
        raise RpcError(int(reply["error"]["code"]), str(reply["error"]["message"]))
    return cast("Json", reply["result"])
