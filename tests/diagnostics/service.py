"""A service whose methods do everything that a method can do, and helpers to speak to it."""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.diagnostics.protocol import Caller, Json, Method, Param, Params, ParamType, Role, Service
from agent.domain.errors import StoreError

OBSERVER = Caller(Role.OBSERVER, "uid=1000 pid=7")
TECHNICIAN = Caller(Role.TECHNICIAN, "uid=0 pid=8")


class Methods:
    """What was called, and with what."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Params]] = []

    async def echo(self, params: Params) -> Json:
        self.calls.append(("echo", params))
        return dict(params)

    async def change(self, params: Params) -> Json:
        self.calls.append(("change", params))
        return "changed"

    async def fail(self, _: Params) -> Json:
        raise StoreError("/var/lib/x: the disk is full; delete something")

    async def break_(self, _: Params) -> Json:
        raise ZeroDivisionError

    async def hang(self, _: Params) -> Json:
        await asyncio.get_running_loop().create_future()
        return None

    async def nan(self, _: Params) -> Json:
        return float("nan")

    async def big(self, params: Params) -> Json:
        return "x" * int(str(params["size"]))

    def service(self) -> Service:
        text = Param(name="text", type=ParamType.STRING, description="any text")
        number = Param(name="number", type=ParamType.INTEGER, description="any number", maximum=500)
        needed = Param(name="name", type=ParamType.STRING, description="what to change", required=True)
        secret = Param(name="value", type=ParamType.STRING, description="to what", is_secret=True)
        size = Param(name="size", type=ParamType.INTEGER, description="characters", required=True, maximum=10_000_000)
        return Service(
            (
                Method(name="echo", summary="Gives its parameters back.", call=self.echo, params=(text, number)),
                Method(name="change", summary="Changes.", call=self.change, params=(needed, secret), role=Role.TECHNICIAN),
                Method(name="fail", summary="Fails as expected.", call=self.fail),
                Method(name="break", summary="Has a bug.", call=self.break_),
                Method(name="hang", summary="Never ends.", call=self.hang),
                Method(name="nan", summary="Answers what is no JSON.", call=self.nan),
                Method(name="big", summary="Answers much.", call=self.big, params=(size,)),
            ),
            title="test",
            version="1",
            results=lambda: {"echo": {"type": "object"}},
        )


def request(method: str, params: Mapping[str, Any] | None = None, *, call_id: object = 1) -> bytes:
    """One line."""
    return json.dumps({"jsonrpc": "2.0", "id": call_id, "method": method, "params": params or {}}).encode() + b"\n"


class Client:
    """A connection of a peer that behaves; `say` and `hear` are there for those that do not."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, path: Path) -> "Client":
        return cls(*await asyncio.open_unix_connection(path, limit=20_000_000))

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def hear(self) -> Any:
        """The next answer; None when the daemon has closed."""
        line = await self.reader.readline()
        return json.loads(line) if line else None

    async def call(self, method: str, params: Mapping[str, Any] | None = None, *, call_id: object = 1) -> Any:
        await self.say(request(method, params, call_id=call_id))
        return await self.hear()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()
