"""OCPP 2.0.1 on the portal's side: the minimal set."""

import re
from datetime import datetime
from decimal import Decimal

from agent.domain.time import wire_time
from simulator.portal.chargers import Boot
from simulator.portal.dialect import Books, Command, Peer, PublicSettings
from simulator.portal.errors import WireError
from simulator.portal.fields import COST_VENDOR, cost_report, digest, integer, maybe_integer, obj, objs, samples, text, wire_moment
from simulator.portal.ledger import ledger_head
from simulator.portal.transactions import CostReport, EventType, TransactionEvent
from simulator.portal.wire import Json, dumps, plain

_EMPTY_ANSWERS = frozenset(
    {
        "FirmwareStatusNotification",
        "LogStatusNotification",
        "MeterValues",
        "NotifyDisplayMessages",
        "NotifyEvent",
        "NotifyMonitoringReport",
        "NotifyReport",
        "SecurityEventNotification",
    }
)
_NAME = re.compile(r"(?P<component>[^.\[\]]+)\.(?P<variable>[^.\[\]]+)(?:\[(?P<instance>[^\[\]]+)\])?")


class Dialect201:
    """The minimal set, with the price and QR settings as variables."""

    version = "2.0.1"
    subprotocol = "ocpp2.0.1"

    def boot(self, payload: dict[str, Json]) -> Boot:
        """The serial number is that of the charging station."""
        station = obj(payload["chargingStation"])
        return Boot(
            serial=text(station, "serialNumber"),
            vendor=text(station, "vendorName"),
            model=text(station, "model"),
            firmware_version=text(station, "firmwareVersion"),
            version=self.version,
        )

    def handle(self, books: Books, peer: Peer, action: str, payload: dict[str, Json], now: datetime) -> dict[str, Json]:
        """Enter a call into the books."""
        match action:
            case "Heartbeat":
                return {"currentTime": wire_time(now)}
            case "StatusNotification":
                evse, connector = integer(payload, "evseId"), integer(payload, "connectorId")
                books.chargers.set_status(peer.serial, evse=evse, connector=connector, status=text(payload, "connectorStatus"))
                return {}
            case "Authorize":
                token = text(obj(payload["idToken"]), "idToken")
                return {"idTokenInfo": {"status": books.transactions.verdict(peer.serial, token).value}}
            case "TransactionEvent":
                return _transaction_event(books, peer, payload)
            case "DataTransfer":
                if payload["vendorId"] != COST_VENDOR:
                    return {"status": "UnknownVendorId"}
                return ledger_head(books, peer, payload) if payload.get("messageId") == "LedgerHead" else {"status": "UnknownMessageId"}
            case _ if action in _EMPTY_ANSWERS:
                return {}
            case _:
                code, description = "NotSupported", f"this portal does not serve {action}"
                raise WireError(code, description)

    def remote_start(self, evse: int, id_token: str, remote_start_id: int, max_cost: Decimal | None = None) -> Command:
        """Type Central: 2.0.1 has no DirectPayment. `transactionLimit` is 2.1's, as custom data."""
        token: Json = {"idToken": id_token, "type": "Central"}
        payload: dict[str, Json] = {"evseId": evse, "remoteStartId": remote_start_id, "idToken": token}
        if max_cost is not None:
            payload["customData"] = {"vendorId": COST_VENDOR, "transactionLimit": {"maxCost": plain(max_cost)}}
        return Command("RequestStartTransaction", payload)

    def announce_limit(self, id_token: str, max_cost: Decimal) -> Command | None:
        """The start itself carries it."""
        del id_token, max_cost
        return None

    def remote_stop(self, wire_id: str) -> Command:
        """The transactionId is the charger's."""
        return Command("RequestStopTransaction", {"transactionId": wire_id})

    def set_settings(self, values: dict[str, str]) -> tuple[Command, ...]:
        """One SetVariables for all."""
        data: list[Json] = [{**_address(name), "attributeValue": value} for name, value in values.items()]
        return (Command("SetVariables", {"setVariableData": data}),) if data else ()

    def refused_settings(self, command: Command, answer: dict[str, Json]) -> tuple[str, ...]:
        """Every variable must be answered; RebootRequired is taken over as well."""
        taken, refused = set(), []
        for result in objs(answer["setVariableResult"]):
            status = text(result, "attributeStatus")
            taken.add(_name(result))
            if status not in {"Accepted", "RebootRequired"}:
                refused.append(f"{_name(result)}: {status}")
        asked = [_name(entry) for entry in objs(command.payload["setVariableData"])]
        return (*refused, *(f"{name}: not answered" for name in asked if name not in taken))

    def get_settings(self, names: tuple[str, ...]) -> Command:
        """GetVariables."""
        return Command("GetVariables", {"getVariableData": [_address(name) for name in names]})

    def read_settings(self, answer: dict[str, Json]) -> dict[str, str]:
        """The variables that were given."""
        results = objs(answer["getVariableResult"])
        return {_name(result): text(result, "attributeValue") for result in results if result["attributeStatus"] == "Accepted"}

    def public_settings(self, settings: PublicSettings) -> dict[str, str]:
        """The California Pricing names; flatFee and VatPercent are ours."""
        values: dict[str, str] = {}
        tariff = settings.tariff
        if tariff is not None:
            values["TariffCostCtrlr.Currency"] = tariff.currency
            values["TariffCostCtrlr.VatPercent"] = plain(tariff.vat_percent)
            values["TariffCostCtrlr.OfflineChargingPrice[kWhPrice]"] = plain(tariff.price_kwh)
            values["TariffCostCtrlr.OfflineChargingPrice[hourPrice]"] = plain(tariff.price_minute * Decimal(60))
            values["TariffCostCtrlr.OfflineChargingPrice[flatFee]"] = plain(tariff.price_session)
        values["WebPaymentsCtrlr.URLTemplate"] = settings.qr_template
        values["WebPaymentsCtrlr.Enabled"] = "true" if settings.enabled and tariff is not None else "false"
        return values

    def sample_interval(self, seconds: int) -> dict[str, str]:
        """SampledDataCtrlr.TxUpdatedInterval."""
        return {"SampledDataCtrlr.TxUpdatedInterval": str(seconds)}

    def change_availability(self, evse: int, *, operative: bool) -> Command:
        """No EVSE is the whole station."""
        payload: dict[str, Json] = {"operationalStatus": "Operative" if operative else "Inoperative"}
        if evse:
            payload["evse"] = {"id": evse}
        return Command("ChangeAvailability", payload)

    def reset(self, *, hard: bool) -> Command:
        """Immediate or OnIdle."""
        return Command("Reset", {"type": "Immediate" if hard else "OnIdle"})

    def unlock(self, evse: int) -> Command:
        """The first connector of the EVSE."""
        return Command("UnlockConnector", {"evseId": evse, "connectorId": 1})

    def trigger(self, message: str, evse: int | None) -> Command:
        """TriggerMessage."""
        payload: dict[str, Json] = {"requestedMessage": message}
        if evse is not None:
            payload["evse"] = {"id": evse, "connectorId": 1} if message == "StatusNotification" else {"id": evse}
        return Command("TriggerMessage", payload)


def _address(name: str) -> dict[str, Json]:
    found = _NAME.fullmatch(name)
    if found is None:
        msg = f"variable name {name!r}: Component.Variable or Component.Variable[instance] is wanted"
        raise ValueError(msg)
    variable: dict[str, Json] = {"name": found["variable"]}
    if found["instance"]:
        variable["instance"] = found["instance"]
    return {"component": {"name": found["component"]}, "variable": variable}


def _name(entry: dict[str, Json]) -> str:
    component, variable = obj(entry["component"]), obj(entry["variable"])
    instance = text(variable, "instance")
    return f"{text(component, 'name')}.{text(variable, 'name')}" + (f"[{instance}]" if instance else "")


def _transaction_event(books: Books, peer: Peer, payload: dict[str, Json]) -> dict[str, Json]:
    info = obj(payload["transactionInfo"])
    evse = obj(payload.get("evse"))
    event = TransactionEvent(
        wire_id=text(info, "transactionId"),
        event_type=EventType(text(payload, "eventType")),
        seq_no=integer(payload, "seqNo"),
        at=wire_moment(text(payload, "timestamp")),
        trigger_reason=text(payload, "triggerReason"),
        evse=maybe_integer(evse, "id"),
        id_token=text(obj(payload["idToken"]), "idToken") if "idToken" in payload else None,
        remote_start_id=maybe_integer(info, "remoteStartId"),
        charging_state=text(info, "chargingState"),
        stopped_reason=text(info, "stoppedReason"),
        samples=samples(objs(payload.get("meterValue"))),
        cost=_cost(books, peer, payload),
        digest=digest(payload),
        payload=dumps(payload),
    )
    answer = books.transactions.event(peer.serial, peer.station, event)
    response: dict[str, Json] = {}
    if answer.total_cost is not None:
        response["totalCost"] = answer.total_cost
    if answer.verdict is not None:
        response["idTokenInfo"] = {"status": answer.verdict.value}
    return response


def _cost(books: Books, peer: Peer, payload: dict[str, Json]) -> CostReport | None:
    custom = obj(payload.get("customData"))
    if custom.get("vendorId") != COST_VENDOR or "sessionCost" not in custom:
        return None
    said = custom["sessionCost"]
    report = cost_report(said) if isinstance(said, dict) else None
    if report is None:
        detail = "sessionCost that cannot be read"
        books.chargers.report(station=peer.station, kind="bad_session_cost", detail=detail, payload=dumps(payload))
    return report
