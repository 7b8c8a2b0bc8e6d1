"""A client with its outside, and the catalogue of bad input: shared by the tests of the client."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from itertools import count
from typing import Any

from agent.domain.events import CommandReceived, LinkState
from agent.domain.outbox import OutboxRow
from agent.ocpp_client.backoff import BackOff
from agent.ocpp_client.client import ClientTuning, OcppClient
from agent.ocpp_client.transport import ClientSettings, TimeSource
from tests.ocpp_client.peers import Network, until
from tests.ocpp_client.small_version import BOOT, Events, MemoryOutbox, SmallVersion

TUNING = ClientTuning(back_off=BackOff(wait_minimum_s=10, random_range_s=0, repeat_times=3), attempts=3, attempt_interval_s=60, ping_s=0)


def boot(status: str, interval: int) -> Mapping[str, Any]:
    return {"status": status, "interval": interval, "currentTime": "2026-01-01T10:00:00Z"}


class Station:
    """A client with its outside."""

    def __init__(
        self,
        url: str,
        *rows: OutboxRow,
        is_modern: bool = False,
        version: Any = None,
        tuning: ClientTuning = TUNING,
        settings: ClientSettings | None = None,
        time_source: TimeSource | None = None,
    ) -> None:
        self.outbox = MemoryOutbox(rows)
        self.sink = Events()
        self.network = Network()
        self.version = version or SmallVersion(is_modern=is_modern)
        ids = count(1)
        self.client = OcppClient(
            settings=settings or ClientSettings(station_id="CP1", url=url, security_profile=0),
            adapters={self.version.subprotocol: self.version},
            outbox=self.outbox,
            refs=self.outbox,
            sink=self.sink,
            network=self.network,
            boot_info=BOOT,
            new_id=lambda: f"id-{next(ids)}",
            time_source=time_source,
        )
        self.tuning = tuning

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Station"]:
        self.client.tune(self.tuning)
        task = asyncio.ensure_future(self.client.run())
        try:
            yield self
            assert not task.done()
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def state(self, state: LinkState) -> None:
        await until(lambda: self.client.status().state is state)

    async def accepted(self) -> None:
        await self.state(LinkState.ACCEPTED)

    def append(self, *rows: OutboxRow) -> None:
        self.outbox.append(*rows)
        self.client.outbox_grew()

    def commands(self) -> list[CommandReceived]:
        return self.sink.of(CommandReceived)  # type: ignore[arg-type]


BAD_INPUT: dict[str, tuple[str | bytes, str | None, str | None]] = {
    # frame, code on 2.x with id "-1" or the frame's id, code on 1.6
    "not json": ("nonsense", "-1 RpcFrameworkError", None),
    "truncated": ('[2,"a","Reset"', "-1 RpcFrameworkError", None),
    "empty": ("", "-1 RpcFrameworkError", None),
    "null": ("null", "-1 RpcFrameworkError", None),
    "number": ("42", "-1 RpcFrameworkError", None),
    "object": ("{}", "-1 RpcFrameworkError", None),
    "empty array": ("[]", "-1 RpcFrameworkError", None),
    "bom": ('\ufeff[2,"a","Reset",{"type":"Soft"}]', "-1 RpcFrameworkError", None),
    "3 elements": ('[2,"a","Reset"]', "a RpcFrameworkError", "a FormationViolation"),
    "5 elements": ('[2,"a","Reset",{},{}]', "a RpcFrameworkError", "a FormationViolation"),
    "type string": ('["2","a","Reset",{}]', None, None),
    "type 9": ('[9,"a","Reset",{}]', None, None),
    "type -1": ('[-1,"a","Reset",{}]', None, None),
    "type 2.5": ('[2.5,"a","Reset",{}]', None, None),
    "type null": ('[null,"a","Reset",{}]', None, None),
    "send": ('[6,"a","Reset",{}]', None, None),
    "result error": ('[5,"a","Reset","x",{}]', None, None),
    "id int": ('[2,5,"Reset",{}]', "-1 RpcFrameworkError", None),
    "id null": ('[2,null,"Reset",{}]', "-1 RpcFrameworkError", None),
    "id empty": ('[2,"","Reset",{}]', "-1 RpcFrameworkError", None),
    "id object": ('[2,{},"Reset",{}]', "-1 RpcFrameworkError", None),
    "id 37": (json.dumps([2, "x" * 37, "Reset", {}]), "-1 RpcFrameworkError", None),
    "id 10000": (json.dumps([2, "x" * 10_000, "Reset", {}]), "-1 RpcFrameworkError", None),
    "unknown action": ('[2,"a","Dance",{}]', "a NotImplemented", "a NotImplemented"),
    "wrong case": ('[2,"a","reset",{}]', "a NotImplemented", "a NotImplemented"),
    "action int": ('[2,"a",5,{}]', "a NotImplemented", "a NotImplemented"),
    "action null": ('[2,"a",null,{}]', "a NotImplemented", "a NotImplemented"),
    "action 1 MB": (json.dumps([2, "a", "x" * 1_000_000, {}]), "a NotImplemented", "a NotImplemented"),
    "payload null": ('[2,"a","Reset",null]', "a TypeConstraintViolation", "a TypeConstraintViolation"),
    "payload array": ('[2,"a","Reset",[]]', "a TypeConstraintViolation", "a TypeConstraintViolation"),
    "nan": ('[2,"a","Reset",{"type":NaN}]', "-1 RpcFrameworkError", None),
    "infinity": ('[2,"a","Reset",{"type":-Infinity}]', "-1 RpcFrameworkError", None),
    "5000 digits in the id": ("[2," + "1" * 5000 + ',"Reset",{}]', "-1 RpcFrameworkError", None),
    "nesting 1000": ('[2,"a","Reset",' + "[" * 1000 + "]" * 1000 + "]", "-1 RpcFrameworkError", None),
    "nesting 100000": ("[" * 100_000 + "]" * 100_000, "-1 RpcFrameworkError", None),
    "binary": (b'[2,"a","Reset",{"type":"Soft"}]', None, None),
    "our own bug": ('[2,"a","Bug",{}]', "a InternalError", "a InternalError"),
    "result unknown": ('[3,"unknown",{}]', None, None),
    "result short": ('[3,"unknown"]', None, None),
    "result null id": ("[3,null,{}]", None, None),
    "error unknown": ('[4,"unknown","InternalError","",{}]', None, None),
    "error short": ('[4,"unknown"]', None, None),
}
