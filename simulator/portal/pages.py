"""The portal's pages, from values to HTML. No decision is made here."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from agent.domain.tariff import Tariff
from simulator.portal.chargers import Charger, ConnectorStatus, Group, LedgerHead, UnclaimedCharger
from simulator.portal.html import Markup, Node, h
from simulator.portal.money import money_text
from simulator.portal.payments import METHOD_NAMES, Payment, PaymentState
from simulator.portal.transactions import BookRow
from simulator.portal.wire import plain

_NUMBERS = frozenset({"Gross", "VAT", "Commission", "Net", "Energy", "Cost"})
"""Columns whose cells are figures."""
_NAVIGATION = (("/chargers", "Chargers"), ("/prices", "Prices"), ("/payments", "Payments"), ("/sessions", "Sessions"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargerView:
    """A charger with what only the running portal knows."""

    charger: Charger
    is_online: bool
    settings_are_current: bool
    connectors: tuple[ConnectorStatus, ...]
    head: LedgerHead | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionView:
    """A driver's session at one moment. `gross` is the cost so far, in the end what was charged to the driver."""

    payment: Payment
    status: str
    energy_wh: int
    seconds: int
    gross: Decimal | None
    power_w: Decimal | None
    can_stop: bool
    is_over: bool


# frames


def portal_page(title: str, here: str, *content: Node, message: str = "") -> str:
    """A page of the owner's side."""
    links = [h("a", name, href=path, class_="here" if path == here else None) for path, name in _NAVIGATION]
    header = h("header", h("a", "charger portal", href="/", class_="brand"), h("nav", links), class_="bar")
    note = h("p", message, class_="message", role="alert", data_testid="message") if message else None
    return _document(title, header, h("main", h("h1", title), note, content, class_="wide"))


def driver_page(title: str, *content: Node, refresh: bool = False) -> str:
    """A page for the person at the charger, made for a telephone."""
    header = h("header", h("span", "charger portal", class_="brand"), class_="bar")
    return _document(title, header, h("main", content, class_="phone"), refresh=refresh)


def _document(title: str, *body: Node, refresh: bool = False) -> str:
    rig = h("p", "Test rig: payments are simulated and no money moves.", class_="rig")
    head = h(
        "head",
        h("meta", charset="utf-8"),
        h("meta", name="viewport", content="width=device-width, initial-scale=1"),
        h("title", f"{title} – charger portal"),
        h("link", rel="stylesheet", href="/static/portal.css"),
        h("link", rel="icon", href="/static/icon.svg"),
        h("noscript", h("meta", http_equiv="refresh", content="3")) if refresh else None,
        h("script", src="/static/portal.js", defer=True),
    )
    return "<!doctype html>" + h("html", head, h("body", rig, body), lang="en")


def error_page(title: str, text: str) -> str:
    """Something did not work, in words."""
    return driver_page(title, h("section", h("h1", title), h("p", text, data_testid="error"), class_="card"))


# driver


def pay_page(station: str, evse: int, charger: Charger | None, *, tariff: Tariff | None, refusal: str | None, problem: str = "") -> str:
    """Price and payment of one EVSE."""
    place = f"{charger.region}, {charger.country}" if charger else None
    top = h(
        "section",
        h("h1", "Charge here"),
        h("p", h("span", f"{station} · EVSE {evse}", data_testid="station"), class_="big"),
        h("p", place, class_="muted", data_testid="place") if place else None,
        class_="card",
    )
    price = _price_card(tariff) if tariff else None
    note = h("p", problem, class_="message", role="alert", data_testid="message") if problem else None
    if refusal or tariff is None or charger is None:
        no = h("section", h("p", refusal or "", role="alert", class_="refusal", data_testid="refusal"), _again(), class_="card")
        return driver_page("Charge here", top, note, price, no)
    hold = money_text(charger.authorize_amount, tariff.currency)
    methods = [
        h(
            "label",
            h("input", type="radio", name="method", value=method.value, checked=index == 0),
            h("span", name),
            class_="method",
            data_testid=f"pay-method-{method.value.replace('_', '-')}",
        )
        for index, (method, name) in enumerate(METHOD_NAMES.items())
    ]
    form = h(
        "form",
        h("fieldset", h("legend", "How do you want to pay?"), h("div", methods, class_="methods")),
        h("input", type="hidden", name="shown", value=shown_price(tariff)),
        h("button", "Pay and start", type="submit", data_testid="pay-button", class_="main"),
        h(
            "p",
            f"{hold} {tariff.currency} is reserved now. When you stop, only what you used is charged and the rest is released.",
            class_="muted",
        ),
        method="post",
        class_="card",
    )
    return driver_page("Charge here", top, note, price, form)


def shown_price(tariff: Tariff) -> str:
    """The price that a form was made with, to notice a change before paying."""
    prices = (tariff.price_kwh, tariff.price_minute, tariff.price_session, tariff.vat_percent)
    return " ".join((tariff.currency, *(plain(price) for price in prices)))


def _price_card(tariff: Tariff) -> Markup:
    lines = (
        (tariff.price_kwh, "per kWh", "price-kwh"),
        (tariff.price_minute, "per minute", "price-minute"),
        (tariff.price_session, "per session", "price-session"),
    )
    rows = [
        h("tr", h("th", unit, scope="row"), h("td", f"{money_text(price, tariff.currency)} {tariff.currency}", data_testid=testid))
        for price, unit, testid in lines
    ]
    vat = f"Prices include {plain(tariff.vat_percent)} % VAT. Currency: {tariff.currency}."
    return h("section", h("h2", "Price"), h("table", h("tbody", rows), class_="price"), h("p", vat, class_="muted"), class_="card")


def _again() -> Markup:
    return h("p", h("a", "Look again", href="", class_="button"))


def session_page(view: SessionView) -> str:
    """The live page of a session; the script keeps its figures fresh."""
    payment = view.payment
    figures = h(
        "div",
        _figure("Energy", h("span", energy_text(view.energy_wh), data_testid="session-energy", data_live="energy"), "kWh"),
        _figure("Cost", h("span", _cost_text(view), data_testid="session-cost", data_live="cost"), payment.tariff.currency),
        _figure("Time", h("span", time_text(view.seconds), data_testid="session-time", data_live="time"), ""),
        _figure("Power", h("span", power_text(view.power_w), data_testid="session-power", data_live="power"), "kW"),
        class_="figures",
    )
    stop = h(
        "form",
        h(
            "button",
            "Stop charging",
            type="submit",
            data_testid="stop-button",
            class_="main stop",
            disabled=not view.can_stop,
            data_live="stop",
        ),
        method="post",
        action=f"/session/{payment.key}/stop",
    )
    return driver_page(
        "Your session",
        h(
            "section",
            h("h1", "Your session"),
            h("p", f"{payment.station} · EVSE {payment.evse}", class_="muted"),
            h("p", view.status, class_="big", role="status", data_testid="session-status", data_live="status"),
            figures,
            stop,
            class_="card",
            data_session=payment.key,
        ),
        refresh=True,
    )


def receipt_page(view: SessionView, row: BookRow | None) -> str:
    """What a session cost in the end."""
    payment, currency = view.payment, view.payment.tariff.currency
    if payment.state is PaymentState.VOIDED:
        text = f"Nothing was charged: {payment.reason}. The reserved amount is released."
        body: Node = h("p", text, data_testid="receipt-voided", class_="big")
    else:
        body = None
    total = money_text(payment.gross or Decimal(0), currency)
    released = payment.authorized - (payment.gross or Decimal(0))
    lines = [
        ("Energy", f"{energy_text(view.energy_wh)} kWh", "receipt-energy"),
        ("Time", time_text(view.seconds), "receipt-time"),
        ("Paid by", METHOD_NAMES[payment.method], "receipt-method"),
        ("Reserved and released", f"{money_text(released, currency)} {currency}", "receipt-released"),
        ("VAT included", f"{money_text(payment.vat or Decimal(0), currency)} {currency}", "receipt-vat"),
    ]
    if row is not None:
        lines += [
            ("From", _time(row.started_at), "receipt-from"),
            ("To", _time(row.stopped_at), "receipt-to"),
            ("Transaction", row.wire_id, "receipt-transaction"),
        ]
    rows = [h("tr", h("th", name, scope="row"), h("td", value, data_testid=testid)) for name, value, testid in lines]
    return driver_page(
        "Receipt",
        h(
            "section",
            h("h1", "Receipt"),
            h("p", f"{payment.station} · EVSE {payment.evse} · {payment.region}, {payment.country}", class_="muted"),
            body,
            h("p", h("span", f"{total} {currency}", data_testid="receipt-total"), class_="total"),
            h("table", h("tbody", rows), class_="price"),
            class_="card",
        ),
    )


def _figure(name: str, value: Markup, unit: str) -> Markup:
    return h("div", h("span", name, class_="muted"), h("b", value, " ", h("small", unit)), class_="figure")


def _cost_text(view: SessionView) -> str:
    return money_text(view.gross or Decimal(0), view.payment.tariff.currency)


def energy_text(energy_wh: int) -> str:
    """Kilowatt-hours with the whole resolution of the bill."""
    return f"{Decimal(energy_wh) / 1000:.3f}"


def power_text(power_w: Decimal | None) -> str:
    """Kilowatts, or a dash where nothing was reported."""
    return "–" if power_w is None else f"{power_w / 1000:.1f}"


def time_text(seconds: int) -> str:
    """h:mm:ss."""
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


# owner


def chargers_page(
    chargers: list[ChargerView], unclaimed: list[UnclaimedCharger], groups: list[Group], *, message: str = "", **form: str
) -> str:
    """The chargers, those that wait for their owner, and the form to add one."""
    head = ("Serial number", "Identity", "Online", "Status", "Place", "Price", "Charge with QR")
    rows = [
        h(
            "tr",
            h("td", h("a", view.charger.serial, href=f"/chargers/{view.charger.serial}")),
            h("td", view.charger.identity or "not booted since added"),
            h("td", _lamp(view.is_online, "online", "offline"), data_testid="charger-online"),
            h("td", _status_text(view.connectors), data_testid="charger-status"),
            h("td", f"{view.charger.region}, {view.charger.country}"),
            h("td", _price_cell(view.charger.tariff)),
            h("td", _switch_form(view.charger)),
            data_testid="charger-row",
            data_serial=view.charger.serial,
        )
        for view in chargers
    ]
    waiting = [h("li", f"{each.identity}: {each.vendor} {each.model}, OCPP {each.version}, waits for its owner") for each in unclaimed]
    return portal_page(
        "Chargers",
        "/chargers",
        _table(head, rows, "chargers-table", "No charger has been added yet."),
        h("section", h("h2", "Waiting for an owner"), h("ul", waiting, data_testid="unclaimed"), class_="card") if waiting else None,
        _add_form(groups, form),
        message=message,
    )


def _add_form(groups: list[Group], form: dict[str, str]) -> Markup:
    choice = h("select", [h("option", group.name, value=group.group_id) for group in groups], name="group", id="add-group")
    return h(
        "form",
        h("h2", "Add a charger"),
        h("p", "Serial number and UID code stand on the charger's label.", class_="muted"),
        h(
            "div",
            _field("Serial number", "serial", form.get("serial", ""), maxlength="25"),
            _field("UID code", "uid", "", maxlength="40", autocomplete="off"),
            _field("Country", "country", form.get("country", ""), maxlength="2", placeholder="NO"),
            _field("Region", "region", form.get("region", ""), maxlength="64"),
            h("label", "Group", choice, for_="add-group"),
            class_="fields",
        ),
        h("button", "Add charger", type="submit", class_="main", data_testid="add-charger-button"),
        method="post",
        action="/chargers",
        class_="card",
        data_testid="add-charger-form",
    )


def _head_text(head: LedgerHead | None) -> str:
    if head is None:
        return "not told by the charger"
    signed = f", signed by key {head.key_id[:16]}" if head.signature else ", not signed"
    return f"{head.row}:{head.hash}{signed}"


def charger_page(view: ChargerView, group: Group, sessions: list[BookRow], *, message: str = "") -> str:
    """One charger: state, switch, price, commands, sessions."""
    charger = view.charger
    facts = [
        ("Identity", charger.identity or "not booted since added"),
        ("Made by", f"{charger.vendor} {charger.model} {charger.firmware_version}".strip() or "–"),
        ("OCPP", charger.version or "–"),
        ("Place", f"{charger.region}, {charger.country}"),
        ("Last heard", _time(charger.last_seen)),
        ("Status", _status_text(view.connectors)),
        ("Chain of sessions", _head_text(view.head)),
        ("Settings", charger.settings_problem or ("taken over by the charger" if view.settings_are_current else "on their way")),
    ]
    rows = [h("tr", h("th", name, scope="row"), h("td", value)) for name, value in facts]
    override = charger.override
    prices = h(
        "form",
        h("h2", "Price of this charger"),
        h("p", f"Empty fields take the price of the group “{group.name}”: {_price_cell(group.tariff)}.", class_="muted"),
        h(
            "div",
            _field("Per kWh", "price_kwh", _amount(override.price_kwh), required=False),
            _field("Per minute", "price_minute", _amount(override.price_minute), required=False),
            _field("Per session", "price_session", _amount(override.price_session), required=False),
            class_="fields",
        ),
        h("button", "Save price", type="submit", class_="main"),
        method="post",
        action=f"/chargers/{charger.serial}/price",
        class_="card",
        data_testid="charger-price-form",
    )
    commands = [
        h("button", name, name="command", value=value, type="submit")
        for name, value in (
            ("Out of service", "inoperative"),
            ("Into service", "operative"),
            ("Unlock cable", "unlock"),
            ("Restart", "reset"),
            ("Clear cache", "clear-cache"),
        )
    ]
    return portal_page(
        f"Charger {charger.serial}",
        "/chargers",
        h("p", _lamp(view.is_online, "online", "offline")),
        h("section", h("table", h("tbody", rows), class_="price"), class_="card"),
        h("section", h("h2", "Charge with QR"), _switch_form(charger), class_="card"),
        prices,
        h("form", h("h2", "Commands"), commands, method="post", action=f"/chargers/{charger.serial}/command", class_="card"),
        h("h2", "Sessions"),
        _sessions_table(sessions),
        message=message,
    )


def prices_page(groups: list[Group], *, message: str = "") -> str:
    """Energy cost and selling price of each group."""
    return portal_page("Prices", "/prices", [_group_form(group) for group in groups], message=message)


def _group_form(group: Group) -> Markup:
    tariff = group.tariff
    return h(
        "form",
        h("h2", group.name),
        h(
            "div",
            _field("Currency", "currency", tariff.currency if tariff else "", maxlength="3", placeholder="NOK"),
            _field("VAT percent", "vat_percent", plain(tariff.vat_percent) if tariff else "", placeholder="25"),
            _field("Price per kWh", "price_kwh", plain(tariff.price_kwh) if tariff else ""),
            _field("Price per minute", "price_minute", plain(tariff.price_minute) if tariff else "0"),
            _field("Price per session", "price_session", plain(tariff.price_session) if tariff else "0"),
            _field("Energy cost per kWh", "energy_cost", _amount(group.energy_cost), required=False),
            _field("Amount to reserve", "authorize_amount", plain(group.authorize_amount)),
            class_="fields",
        ),
        h("p", "Selling prices include VAT.", class_="muted"),
        h("button", "Save prices", type="submit", class_="main", data_testid="save-prices"),
        method="post",
        action=f"/prices/{group.group_id}",
        class_="card",
        data_testid="group-price-form",
    )


def payments_page(payments: list[Payment], rows_by_tx: dict[int, BookRow]) -> str:
    """The payment list."""
    head = ("Time", "Method", "Currency", "Gross", "VAT", "Commission", "Net", "Transaction", "Country", "Region", "State", "")
    rows = [_payment_row(payment, rows_by_tx.get(payment.tx) if payment.tx is not None else None) for payment in payments]
    return portal_page("Payments", "/payments", _table(head, rows, "payments-table", "No payment yet."))


def _payment_row(payment: Payment, row: BookRow | None) -> Markup:
    mismatch = h("b", "MISMATCH", class_="alarm", title=row.mismatch, data_testid="payment-mismatch") if row and row.mismatch else None
    return h(
        "tr",
        h("td", _time(payment.created_at), data_testid="payment-time"),
        h("td", METHOD_NAMES[payment.method], data_testid="payment-method"),
        h("td", payment.tariff.currency, data_testid="payment-currency"),
        _money_cell(payment, payment.gross, "payment-gross"),
        _money_cell(payment, payment.vat, "payment-vat"),
        _money_cell(payment, payment.commission, "payment-commission"),
        _money_cell(payment, payment.net, "payment-net"),
        h("td", row.wire_id if row else "–", data_testid="payment-transaction-id", class_="id"),
        h("td", payment.country, data_testid="payment-country"),
        h("td", payment.region, data_testid="payment-region"),
        h("td", payment.state.value, data_testid="payment-state"),
        h("td", h("a", "Details", href=f"/payments/{payment.key}"), " ", mismatch),
        data_testid="payment-row",
        data_payment=payment.key,
    )


def _money_cell(payment: Payment, amount: Decimal | None, testid: str) -> Markup:
    return h("td", "–" if amount is None else money_text(amount, payment.tariff.currency), data_testid=testid, class_="number")


def payment_page(payment: Payment, row: BookRow | None) -> str:
    """One payment with everything known about it."""
    currency = payment.tariff.currency

    def money(amount: Decimal | None) -> str:
        return "–" if amount is None else f"{money_text(amount, currency)} {currency}"

    facts: list[tuple[str, str]] = [
        ("State", payment.state.value + (f": {payment.reason}" if payment.reason else "")),
        ("Method", METHOD_NAMES[payment.method]),
        ("Charger", f"{payment.station}, EVSE {payment.evse}, serial number {payment.serial}"),
        ("Place", f"{payment.region}, {payment.country}"),
        ("Price", _price_cell(payment.tariff)),
        ("Authorised", money(payment.authorized)),
        ("Gross", money(payment.gross)),
        ("VAT", money(payment.vat)),
        ("Commission", f"{money(payment.commission)} ({plain(payment.commission_percent)} % of gross)"),
        ("Net", money(payment.net)),
        ("Not collected", money(payment.uncollected)),
        ("Paid at", _time(payment.created_at)),
        ("Closed at", _time(payment.closed_at)),
    ]
    if row is not None:
        facts += _transaction_facts(row)
    rows = [h("tr", h("th", name, scope="row"), h("td", value)) for name, value in facts]
    alarm = h("p", f"MISMATCH: {row.mismatch}", class_="alarm", data_testid="payment-mismatch") if row and row.mismatch else None
    return portal_page(
        f"Payment {payment.key}", "/payments", alarm, h("section", h("table", h("tbody", rows), class_="price"), class_="card")
    )


def _transaction_facts(row: BookRow) -> list[tuple[str, str]]:
    charger = "–" if row.charger_gross is None else f"{row.charger_gross} with VAT {row.charger_vat}, {row.charger_energy_wh} Wh"
    return [
        ("Transaction", f"{row.wire_id} (OCPP {row.version})"),
        ("From", f"{_time(row.started_at)} at {_wh(row.start_wh)}"),
        ("To", f"{_time(row.stopped_at)} at {_wh(row.stop_wh)}"),
        ("Energy", _wh(row.energy_wh)),
        ("Seconds", "–" if row.seconds is None else str(row.seconds)),
        ("Stopped by", row.stop_reason or "–"),
        ("Charger's own figure", charger),
        (
            "Duplicates received",
            f"{row.duplicate_starts} of the start, {row.duplicate_updates} of updates, {row.duplicate_stops} of the stop",
        ),
        ("Remarks", "; ".join(row.anomalies) or "none"),
    ]


def sessions_page(rows: list[BookRow]) -> str:
    """Every session, paid here or by card."""
    return portal_page("Sessions", "/sessions", _sessions_table(rows[::-1]))


def _sessions_table(rows: list[BookRow]) -> Markup:
    head = ("Transaction", "Charger", "From", "To", "Energy", "Cost", "Payment", "Remarks")
    body = [
        h(
            "tr",
            h("td", row.wire_id, class_="id"),
            h("td", f"{row.station} · {row.evse or '–'}"),
            h("td", _time(row.started_at)),
            h("td", _time(row.stopped_at)),
            h("td", _wh(row.energy_wh), class_="number"),
            h("td", "–" if row.session_gross is None else f"{row.session_gross} {row.currency}", class_="number"),
            h(
                "td",
                h("a", row.payment_state.value, href=f"/payments/{row.payment_key}") if row.payment_state else "without payment (card)",
            ),
            h("td", h("b", "MISMATCH ", class_="alarm") if row.mismatch else None, "; ".join(row.anomalies)),
            data_testid="session-row",
        )
        for row in rows
    ]
    return _table(head, body, "sessions-table", "No session yet.")


# pieces


def _table(head: tuple[str, ...], rows: list[Markup], testid: str, empty: str) -> Markup:
    body = rows or [h("tr", h("td", empty, colspan=str(len(head)), class_="muted"))]
    names = [h("th", name, scope="col", class_="number" if name in _NUMBERS else None) for name in head]
    table = h("table", h("thead", h("tr", names)), h("tbody", body), data_testid=testid, class_="list")
    return h("div", table, class_="scroll card", data_fresh=testid)


def _field(
    label: str,
    name: str,
    value: str,
    *,
    required: bool = True,
    maxlength: str = "16",
    placeholder: str | None = None,
    autocomplete: str | None = None,
) -> Markup:
    box = h("input", name=name, value=value, required=required, maxlength=maxlength, placeholder=placeholder, autocomplete=autocomplete)
    return h("label", label, box)


def _switch_form(charger: Charger) -> Markup:
    state = "on" if charger.charge_with_qr else "off"
    return h(
        "form",
        h("input", type="hidden", name="enabled", value="false" if charger.charge_with_qr else "true"),
        h(
            "button",
            f"Charge with QR: {state}",
            type="submit",
            class_=f"switch {state}",
            role="switch",
            aria_checked="true" if charger.charge_with_qr else "false",
            data_testid="qr-switch",
        ),
        method="post",
        action=f"/chargers/{charger.serial}/qr",
    )


def _lamp(is_on: bool, on: str, off: str) -> Markup:
    return h("span", on if is_on else off, class_="lamp on" if is_on else "lamp off")


def _status_text(connectors: tuple[ConnectorStatus, ...]) -> str:
    said = [f"{'station' if c.evse == 0 else c.evse}: {c.status}{f' ({c.error})' if c.error else ''}" for c in connectors]
    return ", ".join(said) or "not reported"


def _price_cell(tariff: Tariff | None) -> str:
    if tariff is None:
        return "no price"
    parts = ((tariff.price_kwh, "kWh"), (tariff.price_minute, "min"), (tariff.price_session, "session"))
    return ", ".join(f"{money_text(price, tariff.currency)}/{unit}" for price, unit in parts) + f" {tariff.currency}"


def _amount(amount: Decimal | None) -> str:
    return "" if amount is None else plain(amount)


def _wh(energy_wh: int | None) -> str:
    return "–" if energy_wh is None else f"{energy_wh} Wh"


def _time(at: datetime | None) -> str:
    return "–" if at is None else at.strftime("%Y-%m-%d %H:%M:%S UTC")
