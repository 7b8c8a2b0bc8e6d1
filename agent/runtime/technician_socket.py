"""The technician's socket, open from the start; what answers is loaded with the first question: most chargers are asked once a year."""

import asyncio
import logging
from contextlib import AsyncExitStack
from importlib import import_module
from typing import TYPE_CHECKING

from agent.diagnostics.protocol import Caller, Service
from agent.diagnostics.server import DiagnosticsError, Server, SocketInUseError, group_number

if TYPE_CHECKING:
    from agent.runtime.app import App

_log = logging.getLogger("agent.diagnostics")


class LateService:
    """The methods of `agent.runtime.diagnosis`, imported in a thread: on a small board that takes longer than a fault may wait."""

    def __init__(self, app: "App") -> None:
        self._app = app
        self._service: Service | None = None
        self._loading = asyncio.Lock()

    async def handle(self, line: bytes, caller: Caller) -> bytes | None:
        """Answer one line; None for a notification. Nothing that a peer sends raises."""
        async with self._loading:
            if self._service is None:
                await asyncio.to_thread(import_module, "agent.runtime.diagnosis")
                from agent.runtime.diagnosis import Diagnosis

                self._service = Diagnosis(self._app).service()
        return await self._service.handle(line, caller)


async def serve_diagnostics(app: "App", stack: AsyncExitStack) -> None:
    """Open the socket; it closes with the stack. Raises SocketInUseError: then another daemon runs."""
    server = Server(LateService(app), app.config.diagnostics.socket, technicians=group_number())
    try:
        await server.start()
    except SocketInUseError:
        raise
    except DiagnosticsError as error:
        # A charger that nobody can ask still has to charge.
        _log.error("%s; the agent goes on without it", error)
        return
    stack.push_async_callback(server.aclose)
