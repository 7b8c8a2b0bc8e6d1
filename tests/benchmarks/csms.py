"""The CSMS of the bench, a process of its own: answers at once with the least JSON, counts, and takes orders on its standard input.

`python -m tests.benchmarks.csms [--certificate PEM]` prints its port; then each line in is one order and each line out one answer
(JSON). Moments are CLOCK_MONOTONIC, which all processes of a machine share.
"""

import argparse
import asyncio
import contextlib
import json
import re
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

ECHO_PATH = "/echo"
_FRAME = re.compile(r'\[\s*([234])\s*,\s*"([^"]*)"\s*(?:,\s*"(\w+)")?')
_TRANSACTIONAL = frozenset({"StartTransaction", "MeterValues", "StopTransaction", "TransactionEvent"})
_ACCEPTED = '{"idTagInfo":{"status":"Accepted"}}'
_ANSWERS = {"Authorize": _ACCEPTED, "StopTransaction": _ACCEPTED}


@dataclass(slots=True)
class Station:
    """What is known of one station, by the last part of its path."""

    link: ServerConnection | None = None
    boots: asyncio.Queue[float] = field(default_factory=asyncio.Queue)
    messages: int = 0
    characters: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: dict[str, asyncio.Future[float]] = field(default_factory=dict)
    actions: dict[str, int] = field(default_factory=dict)


class BenchCsms:
    """Serves stations; each order is a coroutine that gives the answer."""

    def __init__(self) -> None:
        self._stations: dict[str, Station] = {}
        self._transactions = 0
        self._calls = 0
        self.orders: dict[str, Callable[..., Awaitable[object]]] = {
            "booted": self.booted,
            "calls": self.calls,
            "counted": self.counted,
            "delivered": self.delivered,
            "forget": self.forget,
            "pings": self.pings,
        }

    async def serve(self, link: ServerConnection) -> None:
        """One connection to its end."""
        path = "" if link.request is None else link.request.path
        with contextlib.suppress(ConnectionClosed):
            if path == ECHO_PATH:
                async for text in link:
                    await link.send(text, text=True)
                return
            station = self._station(path.rpartition("/")[2])
            station.link = link
            async for text in link:
                answer = self._frame(station, str(text))
                if answer is not None:
                    await link.send(answer)

    def _station(self, name: str) -> Station:
        return self._stations.setdefault(name, Station())

    def _frame(self, station: Station, text: str) -> str | None:
        at = time.monotonic()
        match = _FRAME.match(text)
        if match is None:
            return None
        kind, message_id, action = match.groups()
        if kind != "2":
            waiting = station.waiting.pop(message_id, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(at)
            return None
        station.actions[action] = station.actions.get(action, 0) + 1
        if action in _TRANSACTIONAL:
            station.first_at = station.first_at or at
            station.last_at = at
            station.messages += 1
            station.characters += len(text)
            station.moved.set()
        elif action == "BootNotification":
            station.boots.put_nowait(at)
        return f'[3,"{message_id}",{self._answer(action)}]'

    def _answer(self, action: str) -> str:
        match action:
            case "BootNotification" | "Heartbeat":
                now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
                status = '"status":"Accepted","interval":300,' if action == "BootNotification" else ""
                return f'{{{status}"currentTime":"{now}"}}'
            case "StartTransaction":
                self._transactions += 1
                return f'{{"idTagInfo":{{"status":"Accepted"}},"transactionId":{self._transactions}}}'
            case _:
                return _ANSWERS.get(action, "{}")

    # --- orders

    async def booted(self, station: str) -> float:
        """The moment of the next BootNotification that was not asked for yet."""
        return await self._station(station).boots.get()

    async def calls(self, station: str, action: str, payload: object, times: int = 1, pause_s: float = 0.0) -> list[float]:
        """Call the station, one after another: the round trip of each in seconds."""
        known = self._station(station)
        body = json.dumps(payload)
        found: list[float] = []
        for _ in range(times):
            if known.link is None:
                break
            self._calls += 1
            message_id = f"bench-{self._calls}"
            answered = known.waiting[message_id] = asyncio.get_running_loop().create_future()
            begun = time.monotonic()
            await known.link.send(f'[2,"{message_id}","{action}",{body}]')
            found.append(await answered - begun)
            if pause_s:
                await asyncio.sleep(pause_s)
        return found

    async def counted(self, station: str) -> dict[str, Any]:
        """What came so far, and when."""
        known = self._station(station)
        return {
            "messages": known.messages,
            "characters": known.characters,
            "first_at": known.first_at,
            "last_at": known.last_at,
            "actions": known.actions,
        }

    async def delivered(self, station: str, messages: int) -> dict[str, Any]:
        """Wait for this many messages of transactions."""
        known = self._station(station)
        while known.messages < messages:
            known.moved.clear()
            await known.moved.wait()
        return await self.counted(station)

    async def forget(self, station: str) -> None:
        """Count anew, and as if it had never booted."""
        link = self._station(station).link
        self._stations[station] = Station(link=link)

    async def pings(self, station: str, times: int) -> list[float]:
        """WebSocket pings, one after another: the round trip of each in seconds."""
        link = self._station(station).link
        found: list[float] = []
        for _ in range(times if link is not None else 0):
            begun = time.monotonic()
            assert link is not None
            await (await link.ping())
            found.append(time.monotonic() - begun)
        return found


async def main() -> None:
    """Serve until the standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--certificate", help="PEM with key and certificate: serve TLS")
    options = parser.parse_args()
    context: ssl.SSLContext | None = None
    if options.certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(options.certificate)
    csms = BenchCsms()
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def obey(number: int, order: str, arguments: dict[str, Any]) -> None:
        print(json.dumps([number, await csms.orders[order](**arguments)]), flush=True)

    async with (
        serve(
            csms.serve,
            "127.0.0.1",
            0,
            ssl=context,
            select_subprotocol=lambda _, offered: offered[0] if offered else None,
            compression=None,
            ping_interval=None,
        ) as server,
        asyncio.TaskGroup() as group,
    ):
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        orders = set()
        while line := await reader.readline():
            orders.add(group.create_task(obey(*json.loads(line))))
        for order in orders:
            order.cancel()


if __name__ == "__main__":
    asyncio.run(main())
