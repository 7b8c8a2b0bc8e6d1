"""The reference: the smallest charger that a reader of the manuals of PyPI `ocpp` and `websockets` would write. No buffer, meter, display.

`python -m tests.benchmarks.reference_station URL STATION_ID` boots and answers until it is ended.
"""

import asyncio
import sys
from typing import Any

import websockets
from ocpp.routing import on  # type: ignore[import-untyped]
from ocpp.v16 import ChargePoint, call, call_result  # type: ignore[import-untyped]
from ocpp.v16.enums import Action, RemoteStartStopStatus  # type: ignore[import-untyped]


class ReferenceStation(ChargePoint):  # type: ignore[misc] # ocpp ships no types
    """Boots, and answers what the bench asks."""

    configuration: dict[str, str] = {"HeartbeatInterval": "300", "MeterValueSampleInterval": "60", "NumberOfConnectors": "1"}  # noqa: RUF012

    @on(Action.get_configuration)  # type: ignore[untyped-decorator]
    def on_get_configuration(self, key: list[str] | None = None, **_: Any) -> Any:
        """Give the values of the keys."""
        asked = key or list(self.configuration)
        known = [{"key": name, "readonly": False, "value": self.configuration[name]} for name in asked if name in self.configuration]
        return call_result.GetConfiguration(configuration_key=known, unknown_key=[name for name in asked if name not in self.configuration])

    @on(Action.remote_start_transaction)  # type: ignore[untyped-decorator]
    def on_remote_start_transaction(self, **_: Any) -> Any:
        """Accept."""
        return call_result.RemoteStartTransaction(status=RemoteStartStopStatus.accepted)

    async def boot(self) -> None:
        """Send BootNotification and the first status."""
        await self.call(call.BootNotification(charge_point_model="Reference", charge_point_vendor="Example"))
        await self.call(call.StatusNotification(connector_id=1, error_code="NoError", status="Available"))


async def main(url: str, station_id: str) -> None:
    """Connect and serve."""
    async with websockets.connect(f"{url}{station_id}", subprotocols=["ocpp1.6"]) as connection:  # type: ignore[list-item]
        station = ReferenceStation(station_id, connection)
        await asyncio.gather(station.start(), station.boot())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
