"""The demo's web page: the charger's display, the car, the driver's phone, the owner's portal and the technician, on loopback.

It decides nothing about charging: buttons go to the simulator's control socket, figures come from there and from the technician's socket,
and the pictures are the files that the daemon drew.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.resources import files
from ipaddress import ip_address
from pathlib import Path
from typing import Final, TypeAlias, cast
from urllib.parse import urlsplit

from aiohttp import web

from agent.cli.__main__ import Refused as DiagnosticsRefused
from simulator.demo.guide import Guide, Seen, Step
from simulator.demo.site import Site
from simulator.faults import CATALOGUE
from simulator.portal import Payment, PaymentState
from simulator.wire import Json, RpcError

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

HOST: Final = "127.0.0.1"
LOOK_INTERVAL_S: Final = 0.5
KEEP_ALIVE_S: Final = 15.0
MAX_BODY: Final = 4096
EVENTS: Final = 10

ORDERS: Final = frozenset(
    {
        "ev.plug_in",
        "ev.unplug",
        "ev.pause",
        "ev.resume",
        "rfid.swipe",
        "fault.set",
        "fault.clear",
        "network.down",
        "network.up",
    }
)
"""Methods of the control socket that the page may call; the socket checks their parameters."""

_ASSETS: Final = {
    "index.html": "text/html",
    "demo.css": "text/css",
    "demo.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; frame-src http://127.0.0.1:* http://localhost:*; frame-ancestors 'self'; form-action 'self'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_ENDED_SCREENS: Final = frozenset({"stopping", "finished"})
_LISTS: Final = ("/payments", "/sessions")
"""Pages of the portal on which the payment, or a session by card, is to be found."""


async def serve_page(site: Site, port: int) -> tuple[web.AppRunner, int]:
    """Serve the page on loopback; gives the runner (clean it up) and the port: a free one for 0 or where the wanted one is taken."""
    page = _Page(site)
    app = web.Application(middlewares=[_guard], client_max_size=MAX_BODY)
    app.add_routes(
        [
            web.get("/", page.asset),
            web.get("/static/{name}", page.asset),
            web.get("/display.png", page.display),
            web.get("/api/setup", page.setup),
            web.get("/api/live", page.live),
            web.post("/api/scan", page.scan),
            web.post("/api/looked", page.looked),
            web.post("/api/order/{method}", page.order),
        ]
    )
    app.cleanup_ctx.append(page.look_on)
    app.on_shutdown.append(page.end)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, HOST, port).start()
        except OSError:
            if not port:
                raise
            await web.TCPSite(runner, HOST, 0).start()
    except BaseException:
        await runner.cleanup()
        raise
    return runner, int(runner.addresses[0][1])


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Only under a loopback name, and orders only from our own page: no other site in the same browser plays with the car."""
    if not _is_loopback(urlsplit(f"//{request.host}").hostname):
        raise web.HTTPForbidden(text="The demo answers under a loopback address only.")
    origin = request.headers.get("Origin")
    if request.method == "POST" and origin is not None and urlsplit(origin).netloc != request.host:
        raise web.HTTPForbidden(text="Another site may not act here.")
    return await handler(request)


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return host is not None and ip_address(host).is_loopback
    except ValueError:
        return False


class _Page:
    """What the routes do. One task looks at the site, while somebody watches; every open page hears what changed."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._guide = Guide(_newest_payment(site))
        self._text = ""
        self._changed = asyncio.Event()
        self._is_watched = asyncio.Event()
        self._watchers = 0
        self._is_ended = False

    # --- looking

    async def look_on(self, _app: web.Application) -> AsyncIterator[None]:
        """Live as long as the application."""
        looking = asyncio.create_task(self._look_for_ever())
        yield
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking

    async def end(self, _app: web.Application) -> None:
        """Let the open streams end."""
        self._is_ended = True
        self._tell()

    async def _look_for_ever(self) -> None:
        while True:
            await self._is_watched.wait()
            await self._look()
            await asyncio.sleep(LOOK_INTERVAL_S)

    async def _look(self) -> None:
        try:
            text = json.dumps(await self._state(), ensure_ascii=False, separators=(",", ":"))
        except (OSError, RpcError, DiagnosticsRefused, TimeoutError):
            # A daemon that restarts itself (an OCPP Reset) is away for a second; one that ended for good ends the demo.
            text = json.dumps({"is_away": True})
        if text != self._text:
            self._text = text
            self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _state(self) -> dict[str, Json]:
        site = self._site
        world = _object(await site.control("sim.state"))
        status = _object(cast("Json", await site.diagnose("status")))
        why = _object(_first(cast("Json", await site.diagnose("why"))))
        evse, bay = _object(_first(status["evses"])), _object(_first(world["evses"]))
        self._guide.observe(
            Seen(
                is_plugged=bay["vehicle"] is not None,
                payment=_newest_payment(site),
                has_energy=evse["transaction_id"] is not None and bool(evse["energy_wh"]),
                is_ended=evse["screen"] in _ENDED_SCREENS,
            )
        )
        next_step = self._guide.next()
        return {
            "is_away": False,
            "picture": _picture_tag(site.picture),
            "evse": evse,
            "csms": status["csms"],
            "storage": status["storage"],
            "world": bay,
            "network": world["network"],
            "faults": [*_list(world["faults"]), *_list(bay["faults"])],
            "why": why,
            "events": cast("Json", await site.diagnose("events", limit=EVENTS)),
            "steps": {step.value: step in self._guide.done for step in Step},
            "next_step": None if next_step is None else next_step.value,
        }

    # --- routes

    async def asset(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info.get("name", "index.html")
        if name not in _ASSETS:
            raise web.HTTPNotFound
        text = (files("simulator") / "web" / name).read_text(encoding="utf-8")
        return web.Response(text=text, content_type=_ASSETS[name], headers={**_HEADERS, "Cache-Control": "no-cache"})

    async def display(self, request: web.Request) -> web.StreamResponse:
        """The picture that the daemon drew last, byte for byte; 304 when the browser has it."""
        tag = _picture_tag(self._site.picture)
        if tag is None:
            raise web.HTTPNotFound(text="The display has shown nothing yet.")
        headers = {"ETag": f'"{tag}"', "Cache-Control": "no-cache"}
        if any(known.value == tag for known in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        return web.Response(body=_bytes(self._site.picture), content_type="image/png", headers=headers)

    async def setup(self, request: web.Request) -> web.StreamResponse:
        """What does not change while the demo runs."""
        site = self._site
        return web.json_response(
            {
                "station_id": site.station_id,
                "serial_number": site.serial_number,
                "portal_url": site.portal.web_url,
                "ocpp": site.version,
                "meter": site.meter,
                "card": site.card,
                "faults": [{"kind": fault.value, "summary": spec.summary} for fault, spec in CATALOGUE.items()],
                "chargerctl": f".venv/bin/chargerctl --socket {site.diagnostics_socket} why",
            }
        )

    async def live(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: the whole state, whenever something in it has changed."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        self._watchers += 1
        self._is_watched.set()
        try:
            with contextlib.suppress(ConnectionError):  # the page was closed
                await self._send_changes(response)
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._is_watched.clear()
        return response

    async def _send_changes(self, response: web.StreamResponse) -> None:
        sent = ""
        while not self._is_ended:
            changed = self._changed
            if self._text != sent:
                sent = self._text
                await response.write(f"data: {sent}\n\n".encode())
                continue
            try:
                async with asyncio.timeout(KEEP_ALIVE_S):
                    await changed.wait()
            except TimeoutError:
                await response.write(b": still here\n\n")

    async def scan(self, request: web.Request) -> web.StreamResponse:
        """What the code on the display says at this moment."""
        try:
            code = await self._site.qr()
        except OSError:
            return _refusal("The charger is restarting.")
        if code is None:
            return _refusal("There is no code on the display now.")
        self._guide.scanned()
        return web.json_response({"url": code})

    async def looked(self, request: web.Request) -> web.StreamResponse:
        """The owner's portal shows a page to somebody."""
        page = (await _body(request)).get("page")
        if isinstance(page, str) and page.startswith(_LISTS):
            self._guide.looked()
        return web.json_response({})

    async def order(self, request: web.Request) -> web.StreamResponse:
        """Do something in the simulated world."""
        method = request.match_info["method"]
        if method not in ORDERS:
            raise web.HTTPNotFound
        try:
            await self._site.control(method, **await _body(request))
        except RpcError as error:
            return _refusal(str(error))
        except OSError:
            return _refusal("The charger is restarting.")
        await self._look()
        return web.json_response({})


def _newest_payment(site: Site) -> str | None:
    """Its key; a voided payment is none."""
    found: Payment | None = next((each for each in site.portal.payments() if each.state is not PaymentState.VOIDED), None)
    return None if found is None else found.key


def _picture_tag(path: Path) -> str | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return f"{stat.st_mtime_ns:x}-{stat.st_size:x}"


def _bytes(path: Path) -> bytes:
    return path.read_bytes()


def _refusal(sentence: str) -> web.Response:
    return web.json_response({"error": sentence}, status=409)


async def _body(request: web.Request) -> dict[str, Json]:
    try:
        body: Json = await request.json()
    except ValueError:
        raise web.HTTPBadRequest(text="The body is not JSON.") from None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="The body is not a JSON object.")
    return body


def _object(value: Json) -> dict[str, Json]:
    return cast("dict[str, Json]", value)


def _list(value: Json) -> list[Json]:
    return cast("list[Json]", value)


def _first(value: Json) -> Json:
    return _list(value)[0]
