"""A charger built on PyPI `ocpp` gets along with the portal: a second reading of the standard than our own."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import ocpp.v16
import ocpp.v201
import pytest
from ocpp.routing import on
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from simulator.portal import PaymentMethod, PaymentState
from tests.portal.rig import claim, running_portal
from tests.portal.station import at

logging.getLogger("ocpp").setLevel(logging.CRITICAL)


class ChargePoint16(ocpp.v16.ChargePoint):  # type: ignore[misc]
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.settings: dict[str, str] = {}
        self.started: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @on("ChangeConfiguration")
    def change(self, key: str, value: str) -> Any:
        self.settings[key] = value
        return ocpp.v16.call_result.ChangeConfiguration(status="Accepted")

    @on("RemoteStartTransaction")
    def remote_start(self, id_tag: str, **_: Any) -> Any:
        self.started.set_result(id_tag)
        return ocpp.v16.call_result.RemoteStartTransaction(status="Accepted")


class ChargePoint201(ocpp.v201.ChargePoint):  # type: ignore[misc]
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.settings: dict[str, str] = {}
        self.started: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @on("SetVariables")
    def change(self, set_variable_data: list[dict[str, Any]], **_: Any) -> Any:
        self.settings |= {entry["variable"]["name"]: entry["attribute_value"] for entry in set_variable_data}
        results = [{"attribute_status": "Accepted", "component": e["component"], "variable": e["variable"]} for e in set_variable_data]
        return ocpp.v201.call_result.SetVariables(set_variable_result=results)

    @on("RequestStartTransaction")
    def remote_start(self, id_token: dict[str, str], **_: Any) -> Any:
        self.started.set_result(id_token["id_token"])
        return ocpp.v201.call_result.RequestStartTransaction(status="Accepted")


@asynccontextmanager
async def connected(url: str, kind: Any, subprotocol: Any) -> AsyncIterator[Any]:
    async with connect(url + "CP001", subprotocols=[subprotocol]) as socket:
        charger = kind("CP001", socket)
        reader = asyncio.create_task(charger.start())
        yield charger
        reader.cancel()
        with suppress(asyncio.CancelledError, ConnectionClosed):
            await reader


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_a_paid_session_of_another_implementation(tmp_path: Path, version: str) -> None:
    kind: Any = ChargePoint16 if version == "1.6" else ChargePoint201
    async with running_portal(tmp_path / "db") as portal:
        await claim(portal)
        async with connected(portal.ocpp_url, kind, f"ocpp{version}") as charger:
            story = session_16(charger) if version == "1.6" else session_201(charger)
            await anext(story)
            await portal.wait_until(lambda: portal.refusal("CP001", 1) is None, 5)
            assert charger.settings["WebPaymentsCtrlr.Enabled" if version == "1.6" else "Enabled"] == "true"
            payment = await portal.pay("CP001", 1, PaymentMethod.CARD)
            await anext(story)
            closed = portal.payment(payment.key)
            assert (closed.state, str(closed.gross)) == (PaymentState.CAPTURED, "65.00")
            await story.aclose()


async def session_16(charger: Any) -> AsyncIterator[None]:
    call = ocpp.v16.call
    boot = await charger.call(call.BootNotification(charge_point_vendor="X", charge_point_model="Y", charge_point_serial_number="SN-0001"))
    assert boot.status == "Accepted"
    await charger.call(call.StatusNotification(connector_id=1, error_code="NoError", status="Available"))
    yield
    token = await charger.started
    start = await charger.call(call.StartTransaction(connector_id=1, id_tag=token, meter_start=1000, timestamp=at(0)))
    assert start.id_tag_info["status"] == "Accepted"
    await charger.call(call.StopTransaction(meter_stop=11_000, timestamp=at(3600), transaction_id=start.transaction_id))
    yield


async def session_201(charger: Any) -> AsyncIterator[None]:
    call = ocpp.v201.call
    station = {"vendor_name": "X", "model": "Y", "serial_number": "SN-0001"}
    boot = await charger.call(call.BootNotification(charging_station=station, reason="PowerUp"))
    assert boot.status == "Accepted"
    await charger.call(call.StatusNotification(timestamp=at(0), connector_status="Available", evse_id=1, connector_id=1))
    yield
    token = await charger.started
    for seq_no, (kind, seconds, value, trigger) in enumerate((("Started", 0, 1000, "RemoteStart"), ("Ended", 3600, 11_000, "RemoteStop"))):
        answer = await charger.call(
            call.TransactionEvent(
                event_type=kind,
                timestamp=at(seconds),
                trigger_reason=trigger,
                seq_no=seq_no,
                transaction_info={"transaction_id": "tx-1"},
                evse={"id": 1},
                id_token={"id_token": token, "type": "Central"},
                meter_value=[{"timestamp": at(seconds), "sampled_value": [{"value": value}]}],
            )
        )
    assert answer.total_cost == 65
    yield
