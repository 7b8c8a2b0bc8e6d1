"""The portal's HTTP side: pages for owner and driver, and a JSON API. Loopback only, without log-in: a test rig.

A POST is taken only from a page of this portal (or from a program that sends no Origin at all), and only under a loopback name, so that no
other site in the same browser can act here (DNS rebinding, CSRF).
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from decimal import Decimal
from importlib.resources import files
from ipaddress import ip_address
from typing import TypeAlias
from urllib.parse import quote, urlsplit

from aiohttp import web

from agent.domain.tariff import Tariff
from agent.domain.time import wire_time
from simulator.portal import pages
from simulator.portal.chargers import DEFAULT_GROUP, Charger, PriceOverride
from simulator.portal.errors import BadInputError, CommandError, NotPayableError, PriceChangedError, UnknownItemError, UserError
from simulator.portal.money import money_text, parse_amount
from simulator.portal.pages import ChargerView, SessionView
from simulator.portal.payments import METHOD_NAMES, Payment, PaymentMethod, PaymentState
from simulator.portal.portal import Portal, Refusal
from simulator.portal.transactions import BookRow
from simulator.portal.wire import Json, dumps, plain

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_STATIC = {"portal.css": "text/css", "portal.js": "text/javascript", "icon.svg": "image/svg+xml"}
_HEADERS = {
    # another page of the rig on loopback (the demo) may show the portal in a frame
    "Content-Security-Policy": (
        "default-src 'self'; frame-ancestors 'self' http://127.0.0.1:* http://localhost:*; form-action 'self'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


async def serve_pages(portal: Portal, host: str, port: int) -> tuple[web.AppRunner, int]:
    """Serve the pages; returns the runner (clean it up) and the port that was taken."""
    runner = web.AppRunner(build_app(portal), access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    return runner, int(runner.addresses[0][1])


def build_app(portal: Portal) -> web.Application:
    """The portal's pages as an application."""
    app = web.Application(middlewares=[_guard, _tell], client_max_size=64 * 1024)
    owner, driver, api = _OwnerPages(portal), _DriverPages(portal), _Api(portal)
    app.add_routes(
        [
            web.get("/", owner.home),
            web.get("/chargers", owner.chargers),
            web.post("/chargers", owner.add_charger),
            web.get("/chargers/{serial}", owner.charger),
            web.post("/chargers/{serial}/qr", owner.switch),
            web.post("/chargers/{serial}/price", owner.override),
            web.post("/chargers/{serial}/command", owner.command),
            web.get("/prices", owner.prices),
            web.post("/prices/{group}", owner.set_prices),
            web.get("/payments", owner.payments),
            web.get("/payments/{key}", owner.payment),
            web.get("/sessions", owner.sessions),
            web.get("/pay/{station}/{evse:[0-9]{1,4}}", driver.offer),
            web.post("/pay/{station}/{evse:[0-9]{1,4}}", driver.pay),
            web.get("/session/{key}", driver.session),
            web.post("/session/{key}/stop", driver.stop),
            web.get("/receipt/{key}", driver.receipt),
            web.get("/static/{name}", _static),
            web.get("/api/chargers", api.chargers),
            web.post("/api/chargers", api.add_charger),
            web.get("/api/chargers/{serial}", api.charger),
            web.post("/api/chargers/{serial}/qr", api.switch),
            web.get("/api/payments", api.payments),
            web.get("/api/payments/{key}", api.payment),
            web.get("/api/sessions", api.books),
            web.get("/api/books", api.books),
            web.get("/api/anomalies", api.anomalies),
            web.get("/api/pay/{station}/{evse:[0-9]{1,4}}", api.offer),
            web.post("/api/pay/{station}/{evse:[0-9]{1,4}}", api.pay),
            web.get("/api/session/{key}", api.session),
            web.post("/api/session/{key}/stop", api.stop),
        ]
    )
    return app


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Only under a loopback name; a POST only from our own pages."""
    if not _is_loopback(urlsplit(f"//{request.host}").hostname):
        raise web.HTTPForbidden(text="This portal answers under a loopback address only.")
    origin = request.headers.get("Origin")
    if request.method == "POST" and origin is not None and urlsplit(origin).netloc != request.host:
        raise web.HTTPForbidden(text="A form of another site may not act here.")
    response = await handler(request)
    response.headers.update(_HEADERS)
    return response


@web.middleware
async def _tell(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors in words: as JSON for the API, as a page for people."""
    try:
        return await handler(request)
    except UnknownItemError as error:
        status, text = 404, str(error)
    except UserError as error:
        status, text = 409, str(error)
    except web.HTTPNotFound:
        status, text = 404, "There is no such page."
    if request.path.startswith("/api/"):
        return _json({"error": text}, status=status)
    return _html(pages.error_page("Not found" if status == 404 else "That did not work", text), status=status)


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return host is not None and ip_address(host).is_loopback
    except ValueError:
        return False


async def _static(request: web.Request) -> web.StreamResponse:
    name = request.match_info["name"]
    if name not in _STATIC:
        raise web.HTTPNotFound
    text = (files("simulator.portal") / "static" / name).read_text(encoding="utf-8")
    return web.Response(text=text, content_type=_STATIC[name])


class _OwnerPages:
    """What the owner of the chargers sees."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal

    async def home(self, request: web.Request) -> web.StreamResponse:
        raise web.HTTPSeeOther("/chargers")

    async def chargers(self, request: web.Request) -> web.StreamResponse:
        return _html(self._chargers_page())

    def _chargers_page(self, message: str = "", form: Mapping[str, str] | None = None) -> str:
        portal = self._portal
        views = [charger_view(portal, charger) for charger in portal.chargers()]
        kept = {name: (form or {}).get(name, "") for name in ("serial", "country", "region")}
        return pages.chargers_page(views, portal.unclaimed(), portal.groups(), message=message, **kept)

    async def add_charger(self, request: web.Request) -> web.StreamResponse:
        form = await _form(request)
        try:
            charger = await add_charger(self._portal, form)
        except UserError as error:
            return _html(self._chargers_page(str(error), form), status=409)
        raise web.HTTPSeeOther(f"/chargers/{quote(charger.serial, safe='')}")

    async def charger(self, request: web.Request) -> web.StreamResponse:
        return _html(self._charger_page(request))

    def _charger_page(self, request: web.Request, message: str = "") -> str:
        portal = self._portal
        charger = portal.charger(request.match_info["serial"])
        return pages.charger_page(
            charger_view(portal, charger), portal.group(charger.group_id), portal.books_of(charger.serial), message=message
        )

    async def switch(self, request: web.Request) -> web.StreamResponse:
        form = await _form(request)
        self._portal.set_charge_with_qr(request.match_info["serial"], enabled=form.get("enabled") == "true")
        raise web.HTTPSeeOther(_back(request))

    async def override(self, request: web.Request) -> web.StreamResponse:
        form = await _form(request)
        problems: list[str] = []
        override = PriceOverride(
            price_kwh=_amount(form, "price_kwh", problems),
            price_minute=_amount(form, "price_minute", problems),
            price_session=_amount(form, "price_session", problems),
        )
        if problems:
            return _html(self._charger_page(request, "; ".join(problems)), status=409)
        self._portal.set_price_override(request.match_info["serial"], override)
        raise web.HTTPSeeOther(_back(request))

    async def command(self, request: web.Request) -> web.StreamResponse:
        form = await _form(request)
        portal = self._portal
        identity = portal.charger(request.match_info["serial"]).identity or ""
        try:
            match form.get("command"):
                case "operative" | "inoperative" as wish:
                    said = await portal.change_availability(identity, operative=wish == "operative")
                case "unlock":
                    said = await portal.unlock(identity, 1)
                case "reset":
                    said = "Accepted" if await portal.reset(identity) else "Rejected"
                case "clear-cache":
                    said = "Accepted" if await portal.clear_cache(identity) else "Rejected"
                case other:
                    said = f"There is no command {other!r}"
        except CommandError as error:
            said = error.reason
        return _html(self._charger_page(request, f"The charger says: {said}"))

    async def prices(self, request: web.Request) -> web.StreamResponse:
        return _html(pages.prices_page(self._portal.groups()))

    async def set_prices(self, request: web.Request) -> web.StreamResponse:
        form = await _form(request)
        problems: list[str] = []
        required = ("price_kwh", "price_minute", "price_session", "vat_percent", "authorize_amount")
        amounts = {name: _amount(form, name, problems) for name in required}
        problems += [f"{name} is missing" for name, amount in amounts.items() if amount is None and not form.get(name, "").strip()]
        energy_cost = _amount(form, "energy_cost", problems)
        try:
            if problems:
                raise BadInputError(tuple(problems))
            tariff = Tariff(
                currency=form.get("currency", "").strip().upper(),
                price_kwh=amounts["price_kwh"] or Decimal(0),
                price_minute=amounts["price_minute"] or Decimal(0),
                price_session=amounts["price_session"] or Decimal(0),
                vat_percent=amounts["vat_percent"] or Decimal(0),
            )
            self._portal.set_group_price(
                tariff, group_id=request.match_info["group"], energy_cost=energy_cost, authorize_amount=amounts["authorize_amount"]
            )
        except BadInputError as error:
            return _html(pages.prices_page(self._portal.groups(), message=str(error)), status=409)
        raise web.HTTPSeeOther("/prices")

    async def payments(self, request: web.Request) -> web.StreamResponse:
        return _html(pages.payments_page(self._portal.payments(), {row.transaction_id: row for row in self._portal.books()}))

    async def payment(self, request: web.Request) -> web.StreamResponse:
        payment = self._portal.payment(request.match_info["key"])
        return _html(pages.payment_page(payment, _row(self._portal, payment)))

    async def sessions(self, request: web.Request) -> web.StreamResponse:
        return _html(pages.sessions_page(self._portal.books()))


class _DriverPages:
    """What the person at the charger sees."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal

    async def offer(self, request: web.Request) -> web.StreamResponse:
        return _html(self._pay_page(request))

    def _pay_page(self, request: web.Request, problem: str = "") -> str:
        station, evse = _evse(request)
        charger = charger_of(self._portal, station)
        refusal = self._portal.refusal(station, evse)
        tariff = charger.tariff if charger is not None and charger.charge_with_qr else None
        return pages.pay_page(station, evse, charger, tariff=tariff, refusal=refusal, problem=problem)

    async def pay(self, request: web.Request) -> web.StreamResponse:
        station, evse = _evse(request)
        form = await _form(request)
        try:
            payment = await pay(self._portal, station, evse, form)
        except (PriceChangedError, BadInputError) as error:
            return _html(self._pay_page(request, str(error)), status=409)
        except NotPayableError:
            return _html(self._pay_page(request), status=409)
        raise web.HTTPSeeOther(f"/session/{payment.key}")

    async def session(self, request: web.Request) -> web.StreamResponse:
        view = session_view(self._portal, self._portal.payment(request.match_info["key"]))
        if view.is_over:
            raise web.HTTPSeeOther(f"/receipt/{view.payment.key}")
        return _html(pages.session_page(view))

    async def stop(self, request: web.Request) -> web.StreamResponse:
        key = request.match_info["key"]
        await self._portal.stop_payment(key)
        raise web.HTTPSeeOther(f"/session/{key}")

    async def receipt(self, request: web.Request) -> web.StreamResponse:
        payment = self._portal.payment(request.match_info["key"])
        view = session_view(self._portal, payment)
        if not view.is_over:
            raise web.HTTPSeeOther(f"/session/{payment.key}")
        return _html(pages.receipt_page(view, _row(self._portal, payment)))


class _Api:
    """The same as JSON, for the demo page and tests. Amounts are strings, so that nobody reads them as binary floats."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal

    async def chargers(self, request: web.Request) -> web.StreamResponse:
        return _json([_charger_json(charger_view(self._portal, charger)) for charger in self._portal.chargers()])

    async def add_charger(self, request: web.Request) -> web.StreamResponse:
        charger = await add_charger(self._portal, await _form(request))
        return _json(_charger_json(charger_view(self._portal, charger)), status=201)

    async def charger(self, request: web.Request) -> web.StreamResponse:
        return _json(_charger_json(charger_view(self._portal, self._portal.charger(request.match_info["serial"]))))

    async def switch(self, request: web.Request) -> web.StreamResponse:
        form = await _form(request)
        self._portal.set_charge_with_qr(request.match_info["serial"], enabled=form.get("enabled") == "true")
        return await self.charger(request)

    async def payments(self, request: web.Request) -> web.StreamResponse:
        rows = {row.transaction_id: row for row in self._portal.books()}
        return _json(
            [_payment_json(payment, rows.get(payment.tx) if payment.tx is not None else None) for payment in self._portal.payments()]
        )

    async def payment(self, request: web.Request) -> web.StreamResponse:
        payment = self._portal.payment(request.match_info["key"])
        return _json(_payment_json(payment, _row(self._portal, payment)))

    async def books(self, request: web.Request) -> web.StreamResponse:
        return _json([_book_json(row) for row in self._portal.books()])

    async def anomalies(self, request: web.Request) -> web.StreamResponse:
        return _json([_plain(asdict(anomaly)) for anomaly in self._portal.anomalies()])

    async def offer(self, request: web.Request) -> web.StreamResponse:
        station, evse = _evse(request)
        charger, refusal = charger_of(self._portal, station), self._portal.refusal(station, evse)
        tariff = charger.tariff if charger is not None else None
        return _json(
            {
                "refusal": None if refusal is None else refusal.value,
                "reason": None if refusal is None else refusal.name,
                **_tariff_json(tariff),
            }
        )

    async def pay(self, request: web.Request) -> web.StreamResponse:
        station, evse = _evse(request)
        payment = await pay(self._portal, station, evse, await _form(request))
        return _json(_session_json(session_view(self._portal, payment)), status=201)

    async def session(self, request: web.Request) -> web.StreamResponse:
        return _json(_session_json(session_view(self._portal, self._portal.payment(request.match_info["key"]))))

    async def stop(self, request: web.Request) -> web.StreamResponse:
        taken = await self._portal.stop_payment(request.match_info["key"])
        return _json({"accepted": taken})


# what pages and API share


async def add_charger(portal: Portal, form: Mapping[str, str]) -> Charger:
    """The form "add a charger"."""
    return await portal.add_charger(
        serial=form.get("serial", ""),
        uid=form.get("uid", ""),
        country=form.get("country", ""),
        region=form.get("region", ""),
        group_id=form.get("group") or DEFAULT_GROUP,
    )


async def pay(portal: Portal, station: str, evse: int, form: Mapping[str, str]) -> Payment:
    """The form "pay": refuses when the price is no longer the one that the form showed."""
    try:
        method = PaymentMethod(form.get("method", ""))
    except ValueError:
        raise BadInputError((f"method: one of {', '.join(METHOD_NAMES)} is wanted",)) from None
    charger = charger_of(portal, station)
    shown = form.get("shown")
    if shown is not None and charger is not None and charger.tariff is not None and shown != pages.shown_price(charger.tariff):
        raise PriceChangedError("The price has just changed. Look at the new price, then pay.")
    return await portal.pay(station, evse, method)


def charger_of(portal: Portal, station: str) -> Charger | None:
    """The charger that booted under an identity."""
    return next((charger for charger in portal.chargers() if charger.identity == station), None)


def charger_view(portal: Portal, charger: Charger) -> ChargerView:
    """A charger with its live state."""
    return ChargerView(
        charger=charger,
        is_online=portal.is_online(charger.serial),
        settings_are_current=portal.settings_are_current(charger.serial),
        connectors=tuple(portal.connectors(charger.serial)),
        head=heads[-1] if (heads := portal.ledger_heads(charger.serial)) else None,
    )


def session_view(portal: Portal, payment: Payment) -> SessionView:
    """A driver's session as it stands now."""
    row = _row(portal, payment)
    is_over = payment.state in {PaymentState.CAPTURED, PaymentState.VOIDED}
    energy_wh, seconds, power_w = 0, 0, None
    if row is not None:
        if row.energy_wh is not None:
            energy_wh = row.energy_wh
        elif row.last_wh is not None and row.start_wh is not None:
            energy_wh = max(0, row.last_wh - row.start_wh)
        if row.seconds is not None:
            seconds = int(row.seconds)
        elif row.started_at is not None:
            seconds = max(0, int((portal.now() - row.started_at).total_seconds()))
        power_w = row.power_w
    return SessionView(
        payment=payment,
        status=_status(portal, payment, row),
        energy_wh=energy_wh,
        seconds=seconds,
        gross=payment.gross if is_over else portal.running_cost(payment),
        power_w=None if is_over else power_w,
        can_stop=payment.state is PaymentState.CHARGING and not payment.stop_requested,
        is_over=is_over,
    )


def _status(portal: Portal, payment: Payment, row: BookRow | None) -> str:
    match payment.state:
        case PaymentState.AUTHORIZED:
            return "Paid. Plug in the car if it is not plugged in yet."
        case PaymentState.CAPTURED:
            return "Finished"
        case PaymentState.VOIDED:
            return f"Nothing was charged: {payment.reason}"
    if not portal.is_online(payment.serial):
        return "The charger is offline; the session goes on and is counted."
    if payment.stop_requested:
        return "Stopping"
    return "Charging" if row is not None and (row.last_wh or 0) > (row.start_wh or 0) else "Started, waiting for the car to draw power"


def _row(portal: Portal, payment: Payment) -> BookRow | None:
    return portal.book_row(payment.tx) if payment.tx is not None else None


def _evse(request: web.Request) -> tuple[str, int]:
    return request.match_info["station"], int(request.match_info["evse"])


def _back(request: web.Request) -> str:
    """The page of this portal from which a form came."""
    path = urlsplit(request.headers.get("Referer", "")).path
    return path if path.startswith("/chargers") else "/chargers"


async def _form(request: web.Request) -> dict[str, str]:
    """The fields of a form, or of a JSON object of strings."""
    if request.content_type == "application/json":
        try:
            body = await request.json()
        except ValueError:
            raise BadInputError(("the body is not JSON",)) from None
        return {str(name): str(value) for name, value in body.items()} if isinstance(body, dict) else {}
    return {name: value for name, value in (await request.post()).items() if isinstance(value, str)}


def _amount(form: Mapping[str, str], name: str, problems: list[str]) -> Decimal | None:
    text = form.get(name, "").strip()
    if not text:
        return None
    amount = parse_amount(text)
    if amount is None:
        problems.append(f"{name} {text!r}: a number such as 4.50 is wanted")
    return amount


def _html(text: str, *, status: int = 200) -> web.Response:
    return web.Response(text=text, content_type="text/html", status=status)


def _json(value: Json, *, status: int = 200) -> web.Response:
    return web.Response(text=dumps(value), content_type="application/json", status=status)


def _plain(fields: dict[str, object]) -> dict[str, Json]:
    """A dataclass's fields as JSON: amounts and times as strings."""
    return {name: _plain_value(value) for name, value in fields.items()}


def _plain_value(value: object) -> Json:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, tuple | list):
        return [_plain_value(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _plain_value(item) for name, item in value.items()}
    return wire_time(value) if hasattr(value, "isoformat") else str(value)  # type: ignore[arg-type]


def _tariff_json(tariff: Tariff | None) -> dict[str, Json]:
    if tariff is None:
        return {"tariff": None}
    return {
        "tariff": {
            "currency": tariff.currency,
            "price_kwh": plain(tariff.price_kwh),
            "price_minute": plain(tariff.price_minute),
            "price_session": plain(tariff.price_session),
            "vat_percent": plain(tariff.vat_percent),
        }
    }


def _charger_json(view: ChargerView) -> Json:
    charger = view.charger
    return {
        "serial": charger.serial,
        "identity": charger.identity,
        "online": view.is_online,
        "country": charger.country,
        "region": charger.region,
        "group": charger.group_id,
        "charge_with_qr": charger.charge_with_qr,
        "settings_current": view.settings_are_current,
        "settings_problem": charger.settings_problem,
        "version": charger.version,
        "connectors": [_plain(asdict(connector)) for connector in view.connectors],
        **_tariff_json(charger.tariff),
    }


def _payment_json(payment: Payment, row: BookRow | None) -> Json:
    currency = payment.tariff.currency

    def money(amount: Decimal | None) -> str | None:
        return None if amount is None else money_text(amount, currency)

    return {
        "key": payment.key,
        "station": payment.station,
        "evse": payment.evse,
        "method": payment.method.value,
        "currency": currency,
        "authorized": money(payment.authorized),
        "gross": money(payment.gross),
        "vat": money(payment.vat),
        "commission": money(payment.commission),
        "net": money(payment.net),
        "uncollected": money(payment.uncollected),
        "state": payment.state.value,
        "reason": payment.reason,
        "transaction_id": row.wire_id if row else None,
        "country": payment.country,
        "region": payment.region,
        "time": wire_time(payment.created_at),
        "mismatch": row.mismatch if row else "",
    }


def _book_json(row: BookRow) -> Json:
    fields = asdict(row)
    del fields["id_token"]  # a secret of the driver's
    return _plain(fields)


def _session_json(view: SessionView) -> Json:
    payment = view.payment
    return {
        "key": payment.key,
        "state": payment.state.value,
        "status": view.status,
        "energy": pages.energy_text(view.energy_wh),
        "energy_wh": view.energy_wh,
        "cost": money_text(view.gross or Decimal(0), payment.tariff.currency),
        "currency": payment.tariff.currency,
        "time": pages.time_text(view.seconds),
        "seconds": view.seconds,
        "power": pages.power_text(view.power_w),
        "can_stop": view.can_stop,
        "over": view.is_over,
        "receipt": f"/receipt/{payment.key}",
    }


__all__ = ["Refusal", "build_app", "serve_pages"]
