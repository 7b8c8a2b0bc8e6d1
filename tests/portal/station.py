"""A charger for the tests: a real WebSocket client that speaks what a test tells it, and judges every frame with `jsonschema` itself."""

import asyncio
import base64
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any, Self
from uuid import uuid4

from jsonschema import Draft6Validator
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

Payload = dict[str, Any]
START = datetime(2026, 3, 1, 10, 0, 0, tzinfo=UTC)


class CallErrorReceived(Exception):
    """The portal answered by CALLERROR."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(f"{code}: {description}")
        self.code = code


@cache
def validator(version: str, name: str) -> Draft6Validator:
    folder = {"1.6": "v16", "2.0.1": "v201"}[version]
    return Draft6Validator(json.loads((files("ocpp") / folder / "schemas" / f"{name}.json").read_text(encoding="utf-8-sig")))


def at(seconds: float) -> str:
    """A timestamp `seconds` after the beginning of the test's day."""
    return (START + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Station:
    """Use as `async with Station(url, "CP001", "1.6") as station`."""

    def __init__(
        self, url: str, identity: str, version: str, *, serial: str = "SN-0001", password: str | None = None, **options: Any
    ) -> None:
        self.url = url + identity
        self.version = version
        self.serial = serial
        self.headers = {}
        if password is not None:
            self.headers["Authorization"] = "Basic " + base64.b64encode(f"{identity}:{password}".encode()).decode()
        self.options = options
        self.received: list[tuple[str, Payload]] = []
        self.answers: dict[str, Payload | Callable[[Payload], Payload | None]] = {}
        self.message_ids: list[str] = []
        self.heard = asyncio.Event()
        self.waiting: dict[str, asyncio.Future[Payload]] = {}
        self.errors: list[list[Any]] = []

    async def __aenter__(self) -> Self:
        subprotocol: Any = {"1.6": "ocpp1.6", "2.0.1": "ocpp2.0.1"}[self.version]
        self.socket: ClientConnection = await connect(
            self.url, subprotocols=[subprotocol], additional_headers=self.headers, open_timeout=5, **self.options
        )
        assert self.socket.subprotocol == subprotocol
        self.reader = asyncio.create_task(self.read())
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.socket.close()
        await self.reader

    async def read(self) -> None:
        with suppress(ConnectionClosed):
            await self.listen()

    async def listen(self) -> None:
        async for message in self.socket:
            frame = json.loads(message)
            match frame:
                case [2, message_id, action, payload]:
                    validator(self.version, action if self.version == "1.6" else f"{action}Request").validate(payload)
                    self.received.append((action, payload))
                    self.message_ids.append(message_id)
                    answer = self.answer(action, payload)
                    if answer is not None:
                        await self.socket.send(json.dumps([3, message_id, answer]))
                case [3, message_id, payload] if message_id in self.waiting:
                    self.waiting.pop(message_id).set_result(payload)
                case [4, message_id, code, description, _] if message_id in self.waiting:
                    self.waiting.pop(message_id).set_exception(CallErrorReceived(code, description))
                case _:
                    self.errors.append(frame)
            self.heard.set()
            self.heard = asyncio.Event()

    def answer(self, action: str, payload: Payload) -> Payload | None:
        """What the test said, else what a well-behaved charger says; None keeps silent."""
        said = self.answers.get(action)
        if callable(said):
            return said(payload)
        if said is not None:
            return said
        match action:
            case "SetVariables":
                results = [
                    {"attributeStatus": "Accepted", "component": entry["component"], "variable": entry["variable"]}
                    for entry in payload["setVariableData"]
                ]
                return {"setVariableResult": results}
            case "GetConfiguration":
                return {"configurationKey": [{"key": key, "readonly": False, "value": "1"} for key in payload.get("key", [])]}
            case "GetVariables":
                results = [{**entry, "attributeStatus": "Accepted", "attributeValue": "1"} for entry in payload["getVariableData"]]
                return {"getVariableResult": results}
            case "UnlockConnector":
                return {"status": "Unlocked"}
            case _:
                return {"status": "Accepted"}

    async def call(self, action: str, payload: Payload, *, message_id: str | None = None) -> Payload:
        message_id = message_id or str(uuid4())
        answer: asyncio.Future[Payload] = asyncio.get_running_loop().create_future()
        self.waiting[message_id] = answer
        await self.socket.send(json.dumps([2, message_id, action, payload]))
        async with asyncio.timeout(5):
            response = await answer
        validator(self.version, f"{action}Response").validate(response)
        return response

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something was received."""
        async with asyncio.timeout(5):
            while not condition():
                await self.heard.wait()

    def payloads(self, action: str) -> list[Payload]:
        return [payload for name, payload in self.received if name == action]

    # what a charger says, by version

    async def boot(self) -> str:
        if self.version == "1.6":
            said: Payload = {"chargePointVendor": "Example", "chargePointModel": "AC22", "chargePointSerialNumber": self.serial}
        else:
            said = {"reason": "PowerUp", "chargingStation": {"vendorName": "Example", "model": "AC22", "serialNumber": self.serial}}
        return str((await self.call("BootNotification", said))["status"])

    async def status(self, status: str = "Available", evse: int = 1) -> None:
        if self.version == "1.6":
            await self.call("StatusNotification", {"connectorId": evse, "errorCode": "NoError", "status": status})
        else:
            said = {"timestamp": at(0), "connectorStatus": status, "evseId": evse, "connectorId": 1}
            await self.call("StatusNotification", said)

    def settings(self) -> dict[str, str]:
        """What the portal has set so far, the last value of each."""
        if self.version == "1.6":
            return {said["key"]: said["value"] for said in self.payloads("ChangeConfiguration")}
        found = {}
        for said in self.payloads("SetVariables"):
            for entry in said["setVariableData"]:
                instance = entry["variable"].get("instance")
                name = f"{entry['component']['name']}.{entry['variable']['name']}" + (f"[{instance}]" if instance else "")
                found[name] = entry["attributeValue"]
        return found

    def start_request(self) -> tuple[str, int]:
        """Token and EVSE of the last remote start."""
        if self.version == "1.6":
            said = self.payloads("RemoteStartTransaction")[-1]
            return said["idTag"], said["connectorId"]
        said = self.payloads("RequestStartTransaction")[-1]
        return said["idToken"]["idToken"], said["evseId"]

    async def until_remote_start(self) -> str:
        action = "RemoteStartTransaction" if self.version == "1.6" else "RequestStartTransaction"
        before = len(self.payloads(action))
        await self.until(lambda: len(self.payloads(action)) > 0 or len(self.payloads(action)) > before)
        return self.start_request()[0]

    async def until_public(self) -> None:
        await self.until(lambda: self.settings().get("WebPaymentsCtrlr.Enabled") == "true")


class Session:
    """One charging session as this version tells it. Times are seconds after START, energies register values in Wh."""

    def __init__(self, station: Station, token: str, *, evse: int = 1, started: float = 0, start_wh: int = 1000) -> None:
        self.station = station
        self.token = token
        self.evse = evse
        self.started = started
        self.start_wh = start_wh
        self.transaction_id: Any = str(uuid4())
        self.seq_no = 0
        self.start_answer: Payload = {}

    def start_payload(self) -> Payload:
        if self.station.version == "1.6":
            return {"connectorId": self.evse, "idTag": self.token, "meterStart": self.start_wh, "timestamp": at(self.started)}
        return self.event(
            "Started", self.started, self.start_wh, "Transaction.Begin", "RemoteStart", idToken={"idToken": self.token, "type": "Central"}
        )

    def event(self, event_type: str, seconds: float, energy_wh: float | None, context: str, trigger: str, **more: Any) -> Payload:
        said: Payload = {
            "eventType": event_type,
            "timestamp": at(seconds),
            "triggerReason": trigger,
            "seqNo": self.seq_no,
            "transactionInfo": {"transactionId": self.transaction_id},
            "evse": {"id": self.evse, "connectorId": 1},
            **more,
        }
        if energy_wh is not None:
            value = {"value": energy_wh, "context": context, "measurand": "Energy.Active.Import.Register", "unitOfMeasure": {"unit": "Wh"}}
            said["meterValue"] = [{"timestamp": at(seconds), "sampledValue": [value]}]
        self.seq_no += 1
        return said

    async def start(self) -> Payload:
        payload = self.start_payload()
        if self.station.version == "1.6":
            self.start_answer = await self.station.call("StartTransaction", payload)
            self.transaction_id = self.start_answer["transactionId"]
        else:
            self.start_answer = await self.station.call("TransactionEvent", payload)
        return self.start_answer

    async def meter(self, seconds: float, energy_wh: int) -> Payload:
        if self.station.version == "1.6":
            values = [{"value": str(energy_wh), "unit": "Wh"}, {"value": "7.4", "measurand": "Power.Active.Import", "unit": "kW"}]
            said = {
                "connectorId": self.evse,
                "transactionId": self.transaction_id,
                "meterValue": [{"timestamp": at(seconds), "sampledValue": values}],
            }
            return await self.station.call("MeterValues", said)
        return await self.station.call(
            "TransactionEvent", self.event("Updated", seconds, energy_wh, "Sample.Periodic", "MeterValuePeriodic")
        )

    def stop_payload(self, seconds: float, energy_wh: float, reason: str = "Remote", **more: Any) -> Payload:
        if self.station.version == "1.6":
            return {"transactionId": self.transaction_id, "meterStop": energy_wh, "timestamp": at(seconds), "reason": reason}
        event = self.event("Ended", seconds, energy_wh, "Transaction.End", "RemoteStop", **more)
        event["transactionInfo"]["stoppedReason"] = reason
        return event

    async def stop(self, seconds: float, energy_wh: int, *, cost: Payload | None = None) -> Payload:
        if self.station.version == "1.6":
            answer = await self.station.call("StopTransaction", self.stop_payload(seconds, energy_wh))
            if cost is not None:
                report: Payload = {
                    "vendorId": "charger-agent",
                    "messageId": "SessionCost",
                    "data": json.dumps({"transactionId": self.transaction_id, **cost}),
                }
                assert await self.station.call("DataTransfer", report) == {"status": "Accepted"}
            return answer
        more: Payload = {} if cost is None else {"customData": {"vendorId": "charger-agent", "sessionCost": cost}}
        return await self.station.call("TransactionEvent", self.stop_payload(seconds, energy_wh, **more))


def cost(gross: str, vat: str, energy_wh: int, seconds: str, *, currency: str = "NOK", final: bool = True) -> Payload:
    """A charger's own figure."""
    return {"currency": currency, "gross": gross, "vat": vat, "energyWh": energy_wh, "seconds": seconds, "final": final}
