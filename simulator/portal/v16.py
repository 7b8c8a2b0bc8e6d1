"""OCPP 1.6J on the portal's side."""

import json
from datetime import datetime
from decimal import Decimal

from agent.domain.tariff import Tariff
from agent.domain.time import wire_time
from simulator.portal.chargers import Boot
from simulator.portal.dialect import Books, Command, Peer, PublicSettings
from simulator.portal.errors import WireError
from simulator.portal.fields import (
    COST_VENDOR,
    cost_report,
    digest,
    integer,
    json_object,
    maybe_integer,
    obj,
    objs,
    samples,
    text,
    wire_moment,
)
from simulator.portal.ledger import ledger_head
from simulator.portal.money import price_text
from simulator.portal.transactions import Meter, Start, Stop
from simulator.portal.wire import Json, dumps, plain

_EMPTY_ANSWERS = frozenset(
    {
        "DiagnosticsStatusNotification",
        "FirmwareStatusNotification",
        "LogStatusNotification",
        "SecurityEventNotification",
        "SignedFirmwareStatusNotification",
    }
)


class Dialect16:
    """Core profile, with the price and QR settings as configuration keys."""

    version = "1.6"
    subprotocol = "ocpp1.6"

    def boot(self, payload: dict[str, Json]) -> Boot:
        """The serial number is that of the charge point; chargeBoxSerialNumber is its deprecated name."""
        return Boot(
            serial=text(payload, "chargePointSerialNumber") or text(payload, "chargeBoxSerialNumber"),
            vendor=text(payload, "chargePointVendor"),
            model=text(payload, "chargePointModel"),
            firmware_version=text(payload, "firmwareVersion"),
            version=self.version,
        )

    def handle(self, books: Books, peer: Peer, action: str, payload: dict[str, Json], now: datetime) -> dict[str, Json]:
        """Enter a call into the books."""
        match action:
            case "Heartbeat":
                return {"currentTime": wire_time(now)}
            case "StatusNotification":
                return _status(books, peer, payload)
            case "Authorize":
                return {"idTagInfo": {"status": books.transactions.verdict(peer.serial, text(payload, "idTag")).value}}
            case "StartTransaction":
                return _start(books, peer, payload)
            case "StopTransaction":
                return _stop(books, peer, payload)
            case "MeterValues":
                return _meter(books, peer, payload)
            case "DataTransfer":
                return _data_transfer(books, peer, payload)
            case _ if action in _EMPTY_ANSWERS:
                return {}
            case _:
                code, description = "NotSupported", f"this portal does not serve {action}"
                raise WireError(code, description)

    def remote_start(self, evse: int, id_token: str, remote_start_id: int, max_cost: Decimal | None = None) -> Command:
        """1.6 has no number for remote starts: the token alone tells the payment."""
        del remote_start_id, max_cost
        return Command("RemoteStartTransaction", {"connectorId": evse, "idTag": id_token})

    def announce_limit(self, id_token: str, max_cost: Decimal) -> Command | None:
        """A vendor's message; a charger that does not know it says so, and the portal stops the session itself."""
        data = json.dumps({"idTag": id_token, "maxCost": plain(max_cost)}, separators=(",", ":"))
        return Command("DataTransfer", {"vendorId": COST_VENDOR, "messageId": "TransactionLimit", "data": data})

    def remote_stop(self, wire_id: str) -> Command:
        """The transactionId is the portal's own number."""
        return Command("RemoteStopTransaction", {"transactionId": int(wire_id)})

    def set_settings(self, values: dict[str, str]) -> tuple[Command, ...]:
        """One ChangeConfiguration per key."""
        return tuple(Command("ChangeConfiguration", {"key": key, "value": value}) for key, value in values.items())

    def refused_settings(self, command: Command, answer: dict[str, Json]) -> tuple[str, ...]:
        """RebootRequired is taken over as well."""
        status = text(answer, "status")
        return () if status in {"Accepted", "RebootRequired"} else (f"{text(command.payload, 'key')}: {status}",)

    def get_settings(self, names: tuple[str, ...]) -> Command:
        """No names: all of them."""
        return Command("GetConfiguration", {"key": list(names)} if names else {})

    def read_settings(self, answer: dict[str, Json]) -> dict[str, str]:
        """Known keys; a key without value is empty."""
        return {text(entry, "key"): text(entry, "value") for entry in objs(answer.get("configurationKey"))}

    def public_settings(self, settings: PublicSettings) -> dict[str, str]:
        """Currency, VAT, price, template; the switch last, so that the charger never offers an old price as a new one."""
        values: dict[str, str] = {}
        if settings.tariff is not None:
            values["TariffCostCtrlr.Currency"] = settings.tariff.currency
            values["TariffCostCtrlr.VatPercent"] = dumps(settings.tariff.vat_percent)
            values["DefaultPrice"] = default_price(settings.tariff)
        values["WebPaymentsCtrlr.URLTemplate"] = settings.qr_template
        values["WebPaymentsCtrlr.Enabled"] = "true" if settings.enabled and settings.tariff is not None else "false"
        return values

    def sample_interval(self, seconds: int) -> dict[str, str]:
        """MeterValueSampleInterval."""
        return {"MeterValueSampleInterval": str(seconds)}

    def change_availability(self, evse: int, *, operative: bool) -> Command:
        """Connector 0 is the whole charge point."""
        return Command("ChangeAvailability", {"connectorId": evse, "type": "Operative" if operative else "Inoperative"})

    def reset(self, *, hard: bool) -> Command:
        """Hard or Soft."""
        return Command("Reset", {"type": "Hard" if hard else "Soft"})

    def unlock(self, evse: int) -> Command:
        """UnlockConnector."""
        return Command("UnlockConnector", {"connectorId": evse})

    def trigger(self, message: str, evse: int | None) -> Command:
        """TriggerMessage."""
        payload: dict[str, Json] = {"requestedMessage": message}
        if evse is not None:
            payload["connectorId"] = evse
        return Command("TriggerMessage", payload)


def default_price(tariff: Tariff) -> str:
    """The `DefaultPrice` of the California Pricing extension: exact decimals, hourPrice is 60 times the price per minute."""
    words = price_text(tariff)
    price: dict[str, Json] = {"kWhPrice": tariff.price_kwh, "hourPrice": tariff.price_minute * Decimal(60), "flatFee": tariff.price_session}
    return dumps({"priceText": words, "priceTextOffline": words, "chargingPrice": price})


def _status(books: Books, peer: Peer, payload: dict[str, Json]) -> dict[str, Json]:
    connector = integer(payload, "connectorId")
    error = text(payload, "errorCode")
    books.chargers.set_status(
        peer.serial, evse=connector, connector=connector, status=text(payload, "status"), error="" if error == "NoError" else error
    )
    return {}


def _start(books: Books, peer: Peer, payload: dict[str, Json]) -> dict[str, Json]:
    start = Start(
        connector=integer(payload, "connectorId"),
        id_token=text(payload, "idTag"),
        at=wire_moment(text(payload, "timestamp")),
        meter_wh=integer(payload, "meterStart"),
        digest=digest(payload),
    )
    transaction_id, verdict = books.transactions.start(peer.serial, peer.station, start)
    return {"transactionId": transaction_id, "idTagInfo": {"status": verdict.value}}


def _stop(books: Books, peer: Peer, payload: dict[str, Json]) -> dict[str, Json]:
    stop = Stop(
        wire_id=str(integer(payload, "transactionId")),
        at=wire_moment(text(payload, "timestamp")),
        meter_wh=integer(payload, "meterStop"),
        reason=text(payload, "reason") or "Local",  # 1.6 section 6.49: an absent reason is Local
        samples=samples(objs(payload.get("transactionData"))),
        digest=digest(payload),
        payload=dumps(payload),
    )
    # asked before the stop: the token of a payment expires by it
    verdict = books.transactions.verdict(peer.serial, text(payload, "idTag"))
    books.transactions.stop(peer.serial, peer.station, stop)
    return {"idTagInfo": {"status": verdict.value}} if "idTag" in payload else {}


def _meter(books: Books, peer: Peer, payload: dict[str, Json]) -> dict[str, Json]:
    transaction_id = maybe_integer(payload, "transactionId")
    found = samples(objs(payload["meterValue"]))
    if transaction_id is not None and found:
        meter = Meter(wire_id=str(transaction_id), samples=found, digest=digest(payload), payload=dumps(payload))
        books.transactions.meter(peer.serial, peer.station, meter)
    return {}


def _data_transfer(books: Books, peer: Peer, payload: dict[str, Json]) -> dict[str, Json]:
    if payload["vendorId"] != COST_VENDOR:
        return {"status": "UnknownVendorId"}
    if payload.get("messageId") == "LedgerHead":
        return ledger_head(books, peer, payload)
    if payload.get("messageId") != "SessionCost":
        return {"status": "UnknownMessageId"}
    said = json_object(text(payload, "data"))
    report = None if said is None else cost_report(said)
    if said is None or report is None or not isinstance(said.get("transactionId"), int):
        detail = "SessionCost that cannot be read"
        books.chargers.report(station=peer.station, kind="bad_session_cost", detail=detail, payload=dumps(payload))
        return {"status": "Rejected"}
    wire_id = str(integer(obj(said), "transactionId"))
    taken = books.transactions.cost_report(peer.serial, peer.station, wire_id, report, dumps(payload))
    return {"status": "Accepted" if taken else "Rejected"}
