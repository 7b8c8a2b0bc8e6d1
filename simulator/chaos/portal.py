"""The portal with bad manners: late answers, none, double ones, CALLERRORs instead of them. What it books is the portal's own."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from simulator.portal import Portal
from simulator.portal.errors import WireError
from simulator.portal.link import Link
from simulator.portal.wire import Json

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

_ANSWER: Final = "[3,"
_ABOUT_TRANSACTIONS: Final = frozenset(("StartTransaction", "StopTransaction", "MeterValues", "TransactionEvent"))


@dataclass(slots=True, kw_only=True)
class Manners:
    """How the portal behaves now. Outlives its restarts. `errors` and `refusals` count down."""

    delay_s: float = 0.0
    is_mute: bool = False
    doubles: bool = False
    errors: int = 0
    refusals: int = 0

    def mend(self) -> None:
        """Behave."""
        self.delay_s, self.is_mute, self.doubles, self.errors, self.refusals = 0.0, False, False, 0, 0


class RudePortal(Portal):
    """A `Portal` whose connections obey `manners`, which is set before it starts."""

    manners: Manners

    async def _serve_charger(self, connection: "ServerConnection") -> None:
        await super()._serve_charger(cast("ServerConnection", _RudeConnection(connection, self.manners)))

    def _answer(self, link: Link, action: str, payload: dict[str, Json]) -> dict[str, Json]:
        if self.manners.refusals > 0 and action in _ABOUT_TRANSACTIONS:
            self.manners.refusals -= 1
            code, description = "InternalError", "refused by the chaos"
            raise WireError(code, description)
        return super()._answer(link, action, payload)


class _RudeConnection:
    """A server's connection on which answers go astray."""

    def __init__(self, connection: "ServerConnection", manners: Manners) -> None:
        self._connection = connection
        self._manners = manners

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        return aiter(self._connection)

    async def send(self, message: str) -> None:
        manners = self._manners
        if manners.delay_s:
            await asyncio.sleep(manners.delay_s)
        if not message.startswith(_ANSWER):
            await self._connection.send(message)
            return
        if manners.is_mute:
            return
        if manners.errors > 0:
            manners.errors -= 1
            message = json.dumps([4, json.loads(message)[1], "InternalError", "an error of the chaos", {}])
        await self._connection.send(message)
        if manners.doubles:
            await self._connection.send(message)
