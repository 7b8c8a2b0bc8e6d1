"""The demo page over real HTTP, beside a real daemon: pixels, orders, the live stream, and who may use it."""

import asyncio
import json
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from simulator.demo.page import serve_page
from simulator.demo.site import Site

DEADLINE_S = 20.0


class Open:
    """The page of a running site, and a client."""

    def __init__(self, site: Site, client: aiohttp.ClientSession, url: str) -> None:
        self.site, self.client, self.url = site, client, url

    async def get(self, path: str, **headers: str) -> tuple[int, aiohttp.ClientResponse, bytes]:
        async with self.client.get(self.url + path, headers=headers) as response:
            return response.status, response, await response.read()

    async def post(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        async with self.client.post(self.url + path, json={} if body is None else body, headers=headers) as response:
            text = await response.text()
            return response.status, json.loads(text) if response.content_type == "application/json" else text

    async def states(self) -> AsyncIterator[dict[str, Any]]:
        """What the live stream says, event by event."""
        async with self.client.get(f"{self.url}/api/live", timeout=aiohttp.ClientTimeout(total=None)) as response:
            assert response.content_type == "text/event-stream"
            async for line in response.content:
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Open]:
    async with Site(tmp_path) as site, aiohttp.ClientSession() as client:
        await site.open_for_business()
        runner, port = await serve_page(site, 0)
        try:
            yield Open(site, client, f"http://127.0.0.1:{port}")
        finally:
            await runner.cleanup()


async def test_the_display_is_the_daemon_s_own_picture_and_sent_only_when_it_changed(page: Open) -> None:
    status, response, picture = await page.get("/display.png")
    assert (status, response.content_type) == (200, "image/png")
    assert picture == page.site.picture.read_bytes()
    tag = response.headers["ETag"]
    status, _, nothing = await page.get("/display.png", **{"If-None-Match": tag})
    assert (status, nothing) == (304, b"")

    await page.post("/api/order/ev.plug_in", {"evse": 1})
    async with asyncio.timeout(DEADLINE_S):
        while (answer := await page.get("/display.png", **{"If-None-Match": tag}))[0] == 304:
            await asyncio.sleep(0.05)
    assert answer[0] == 200
    assert answer[2] != picture
    assert answer[1].headers["ETag"] != tag


async def test_the_stream_tells_what_people_do(page: Open) -> None:
    async with asyncio.timeout(DEADLINE_S):
        async for state in page.states():
            if not state["steps"]["plug-in"]:
                assert state["world"]["vehicle"] is None
                assert state["next_step"] == "plug-in"
                assert state["why"]["blocker"]["name"] == "vehicle"
                assert await page.post("/api/order/ev.plug_in", {"evse": 1, "soc": 50}) == (200, {})
            elif state["evse"]["screen"] == "preparing":
                assert state["world"]["vehicle"]["soc"] == 50
                assert state["next_step"] == "scan"
                break


async def test_the_stream_says_when_the_charger_is_away_and_when_it_is_back(page: Open) -> None:
    was_there = was_away = False
    async with asyncio.timeout(DEADLINE_S):
        async for state in page.states():
            if state["is_away"]:
                if not was_away:
                    was_away = True
                    await page.site.start_daemon()
            elif not was_there:
                was_there = True
                await page.site.kill_daemon()
            elif was_away:
                break


async def test_open_streams_do_not_hold_up_the_end(tmp_path: Path) -> None:
    async with Site(tmp_path) as site, aiohttp.ClientSession() as client:
        runner, port = await serve_page(site, 0)
        async with client.get(f"http://127.0.0.1:{port}/api/live") as response:
            assert await response.content.readany()
            async with asyncio.timeout(0.9):
                await runner.cleanup()


async def test_a_scan_gives_what_the_code_says_now(page: Open) -> None:
    code = await page.site.qr()
    assert code is not None
    assert await page.post("/api/scan") == (200, {"url": code})
    page.site.portal.set_charge_with_qr(page.site.serial_number, enabled=False)
    async with asyncio.timeout(DEADLINE_S):
        while await page.site.qr() is not None:
            await asyncio.sleep(0.05)
    assert await page.post("/api/scan") == (409, {"error": "There is no code on the display now."})


async def test_what_the_world_refuses_is_said_in_its_words(page: Open) -> None:
    status, answer = await page.post("/api/order/ev.unplug", {"evse": 1})
    assert status == 409
    assert "no vehicle is plugged in" in answer["error"]
    status, answer = await page.post("/api/order/fault.set", {"kind": "gremlins"})
    assert status == 409
    assert "meter_silent" in answer["error"]


async def test_only_what_the_page_needs_can_be_ordered(page: Open) -> None:
    for method in ("power.cut", "display.png", "meter.set", "sim.state"):
        assert (await page.post(f"/api/order/{method}", {"path": "/tmp/x"}))[0] == 404
    for body in (["evse"], "text", 1):
        assert (await page.post("/api/order/ev.plug_in", body))[0] == 400
    async with page.client.post(f"{page.url}/api/order/ev.plug_in", data=b"{") as response:
        assert response.status == 400


async def test_other_sites_in_the_same_browser_can_do_nothing(page: Open) -> None:
    """Neither by a form (CSRF) nor under a name of their own (DNS rebinding)."""
    assert (await page.post("/api/order/ev.plug_in", {"evse": 1}, Origin="http://evil.example"))[0] == 403
    for path in ("/", "/display.png", "/api/live"):
        assert (await page.get(path, Host="evil.example"))[0] == 403
    assert (await page.post("/api/order/ev.plug_in", {"evse": 1}, Origin=page.url))[0] == 200


async def test_a_port_that_is_taken_is_replaced_by_a_free_one(page: Open) -> None:
    taken = int(page.url.rpartition(":")[2])
    runner, port = await serve_page(page.site, taken)
    try:
        assert port != taken
        assert [address[0] for address in runner.addresses] == ["127.0.0.1"]
    finally:
        await runner.cleanup()


class Assets(HTMLParser):
    """Addresses and names in the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.testids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.addresses += [str(found[name]) for name in ("src", "href") if found.get(name)]
        self.testids |= {str(found["data-testid"])} if "data-testid" in found else set()


async def test_the_page_needs_nothing_from_elsewhere(page: Open) -> None:
    status, response, body = await page.get("/")
    assert status == 200
    assert "default-src 'self'" in response.headers["Content-Security-Policy"]
    assets = Assets(body.decode())
    assert assets.addresses
    for address in assets.addresses:
        assert address.startswith("/static/")
        assert (await page.get(address))[0] == 200
    assert {"display", "plug-in", "unplug", "pay-frame", "portal-frame", "why", "step-plug-in", "step-see"} <= assets.testids
    assert b"Test rig" in body
    for name in ("nothing.js", "..%2Fdemo%2Fpage.py"):
        assert (await page.get(f"/static/{name}"))[0] == 404


def test_every_file_of_the_page_is_served() -> None:
    from simulator.demo.page import _ASSETS

    assert {item.name for item in (files("simulator") / "web").iterdir()} == set(_ASSETS)
