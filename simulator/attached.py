"""The daemon's end of a world that lives in a process of its own: orders go out from any thread, reports come in on the loop."""

import asyncio
import logging
from collections.abc import Awaitable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, cast

from agent.domain.authorization import IdToken, IdTokenType
from agent.domain.connector import FaultKind
from agent.domain.errors import HalError
from agent.domain.ids import EvseId
from agent.domain.pilot import PilotOutput, PilotState
from agent.hal.api import EvseSetup, HalSink, MeterAddress
from simulator.board import Board
from simulator.network import NetworkMode
from simulator.wire import INTERNAL_ERROR, METHOD_NOT_FOUND, REFUSED, Absent, Json, Refused, RpcError, Wire, connect_wire

logger = logging.getLogger(__name__)

PATIENCE_S: Final = 5.0
"""A rig may start the world and the daemon at the same time."""
RETRY_S: Final = 0.1
LOST_RETRY_S: Final = 1.0


class AttachedWorld:
    """The world process as `SimulatorDriver` sees it. When it goes away that is HAL_LOST, until it can be attached to again."""

    def __init__(self, path: Path, evses: Sequence[EvseSetup], board: Board) -> None:
        self._path = path
        self._evses = tuple(evses)
        self._board = board
        self._sink: HalSink | None = None
        self._wire: Wire | None = None
        self._outputs: dict[EvseId, PilotOutput] = {}
        self._returning: asyncio.Task[None] | None = None
        self._drawing: set[asyncio.Task[None]] = set()
        self.meters: dict[EvseId, MeterAddress] = {}

    # ------------------------------------------------------------------------------------------------------ orders
    def set_output(self, evse_id: EvseId, output: PilotOutput) -> None:
        """Put a signal on the pilot."""
        self._outputs[evse_id] = output
        self._say("hal.pilot", evse=evse_id, signal=output.signal.value, amps=str(output.amps))

    def close(self, evse_id: EvseId) -> None:
        """Ask for a closed contactor."""
        self._say("hal.close", evse=evse_id)

    def open(self, evse_id: EvseId) -> None:
        """Open now. Thread-safe."""
        self._say("hal.open", evse=evse_id)

    def renew_permission(self, evse_id: EvseId) -> None:
        """Let the safety controller's permission live on. Thread-safe."""
        self._say("hal.renew", evse=evse_id)

    def drive_lock(self, evse_id: EvseId, *, is_locked: bool) -> None:
        """Drive the bolt."""
        self._say("hal.lock", evse=evse_id, is_locked=is_locked)

    def _say(self, method: str, **params: Json) -> None:
        wire = self._wire
        if wire is not None:
            wire.notify(method, params)

    # -------------------------------------------------------------------------------------------------------- life
    async def start(self, sink: HalSink) -> None:
        """Attach; reports the present state. Raises HalError naming the socket and the cure."""
        self._sink = sink
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + PATIENCE_S
        while True:
            try:
                await self._attach()
            except (FileNotFoundError, ConnectionRefusedError) as error:
                if loop.time() >= give_up_at:
                    sentence = f"{self._path}: no world process answers there; start `charger-sim world --socket {self._path}`"
                    raise HalError(sentence) from error
                await asyncio.sleep(RETRY_S)
            except (OSError, RpcError, TimeoutError) as error:
                raise HalError(f"{self._path}: the world process cannot be attached to: {error}") from error
            else:
                return

    async def aclose(self) -> None:
        """Leave."""
        wire, self._wire, self._sink = self._wire, None, None
        for task in (self._returning, *self._drawing):
            if task is not None:
                task.cancel()
        if wire is not None:
            wire.close()

    async def _attach(self) -> None:
        wire = await connect_wire(self._path, on_call=self._called, on_end=self._ended)
        evses: list[Json] = [
            {"evse": evse.evse_id, "max_current_a": evse.max_current_a, "phases": evse.phases, "has_lock": evse.has_lock}
            for evse in self._evses
        ]
        try:
            async with asyncio.timeout(PATIENCE_S):
                reply = cast("dict[str, Json]", await wire.ask("hal.attach", {"evses": evses}))
        except BaseException:
            wire.close()
            raise
        self._wire = wire
        meters = cast("Mapping[str, Mapping[str, str]]", reply["meters"])
        self.meters = {EvseId(int(number)): MeterAddress(template=one["template"], url=one["url"]) for number, one in meters.items()}
        self._board.set_network(NetworkMode(cast("str", reply["network"])))
        offset_s = cast("float | None", reply["clock_offset_s"])
        if offset_s != 0:
            self._board.set_clock(None if offset_s is None else datetime.now(UTC) + timedelta(seconds=offset_s))

    def _ended(self, wire: Wire) -> None:
        if wire is not self._wire or self._sink is None:
            return
        self._wire = None
        self._sink.fault_changed(None, FaultKind.HAL_LOST, is_present=True, detail=f"{self._path}: the world process is gone")
        self._returning = asyncio.get_running_loop().create_task(self._return())

    async def _return(self) -> None:
        while True:
            await asyncio.sleep(LOST_RETRY_S)
            try:
                await self._attach()
            except (OSError, RpcError, TimeoutError) as error:
                logger.debug("%s: still no world process: %s", self._path, error)
                continue
            for evse_id, output in self._outputs.items():
                self.set_output(evse_id, output)
            if self._sink is not None:
                self._sink.fault_changed(None, FaultKind.HAL_LOST, is_present=False)
            return

    # ----------------------------------------------------------------------------------------------------- reports
    def _called(self, wire: Wire, method: str, params: Mapping[str, Json], request_id: "Json | Absent") -> None:
        sink = self._sink
        if sink is None:
            return
        evse = cast("int | None", params.get("evse"))
        evse_id = None if evse is None else EvseId(evse)
        match method, evse_id:
            case "report.pilot", int():
                sink.pilot_measured(evse_id, PilotState(str(params["state"])))
            case "report.contactor", int():
                sink.contactor_reported(evse_id, is_closed=params["is_closed"] is True)
            case "report.lock", int():
                sink.lock_reported(evse_id, is_locked=params["is_locked"] is True)
            case "report.fault", _:
                kind = FaultKind(str(params["kind"]))
                sink.fault_changed(evse_id, kind, is_present=params["is_present"] is True, detail=str(params["detail"]))
            case "report.token", _:
                sink.id_token_presented(evse_id, IdToken(str(params["token"]), IdTokenType(str(params["token_type"]))))
            case "board.network", _:
                self._board.set_network(NetworkMode(str(params["mode"])))
            case "board.clock", _:
                text = params["utc"]
                self._board.set_clock(None if text is None else datetime.fromisoformat(str(text)))
            case "board.draw", _ if not isinstance(request_id, Absent):
                task = asyncio.get_running_loop().create_task(self._draw(wire, request_id, self._board.draw(str(params["path"]))))
                self._drawing.add(task)
                task.add_done_callback(self._drawing.discard)
            case _ if not isinstance(request_id, Absent):
                wire.answer_error(request_id, RpcError(METHOD_NOT_FOUND, f"unknown method {method!r}"))
            case _:
                logger.warning("%s: unknown report %r", self._path, method)

    async def _draw(self, wire: Wire, request_id: Json, drawing: Awaitable[int]) -> None:
        try:
            wire.answer(request_id, await drawing)
        except Refused as error:
            wire.answer_error(request_id, RpcError(REFUSED, str(error)))
        except OSError as error:
            wire.answer_error(request_id, RpcError(INTERNAL_ERROR, str(error)))
