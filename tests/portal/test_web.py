"""The pages over real HTTP, as a browser without script sees them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from simulator.portal import PaymentState, Portal
from tests.portal.rig import NOK, UID, claim, public_charger, running_portal
from tests.portal.station import Session, Station, cost


class Page(HTMLParser):
    """Texts by data-testid, and the fields of the forms."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: dict[str, list[str]] = {}
        self.attributes: dict[str, dict[str, str | None]] = {}
        self.fields: dict[str, str] = {}
        self.assets: list[str] = []
        self._open: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        testid = attributes.get("data-testid")
        if testid:
            self.texts.setdefault(testid, []).append("")
            self.attributes[testid] = attributes
        if tag == "input" and (attributes.get("type") != "radio" or "checked" in attributes):
            self.fields[str(attributes["name"])] = attributes.get("value") or ""
        self.assets += [str(attributes[name]) for name in ("src", "href") if attributes.get(name) and tag in {"script", "link", "img"}]
        if tag not in {"input", "meta", "link", "br", "hr"}:
            self._open.append((tag, testid))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for _, testid in self._open:
            if testid:
                self.texts[testid][-1] += data

    def __getitem__(self, testid: str) -> str:
        (text,) = self.texts[testid]
        return " ".join(text.split())

    def __contains__(self, testid: str) -> bool:
        return testid in self.texts


class Browser:
    """Gets and posts; every page is checked to be well formed and to need nothing from elsewhere."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url
        self.path = ""
        self.status = 0

    async def get(self, path: str) -> Page:
        async with self.session.get(self.url + path) as response:
            return await self.page(response)

    async def post(self, path: str, **fields: str) -> Page:
        async with self.session.post(self.url + path, data=fields, headers={"Origin": self.url}) as response:
            return await self.page(response)

    async def page(self, response: aiohttp.ClientResponse) -> Page:
        self.path, self.status = response.url.path, response.status
        assert response.content_type == "text/html"
        assert "default-src 'self'" in response.headers["Content-Security-Policy"]
        page = Page(await response.text())
        assert all(asset.startswith("/static/") for asset in page.assets), page.assets
        return page

    async def json(self, path: str, *, post: Any = None) -> Any:
        request = self.session.get(self.url + path) if post is None else self.session.post(self.url + path, json=post)
        async with request as response:
            self.status = response.status
            return await response.json()


@asynccontextmanager
async def rig(path: Path, **options: Any) -> AsyncIterator[tuple[Portal, Browser]]:
    async with running_portal(path / "db", web=True, **options) as portal, aiohttp.ClientSession() as session:
        yield portal, Browser(session, portal.web_url)


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_the_whole_story_in_the_browser(tmp_path: Path, version: str) -> None:
    """Add the charger, set the price, switch charging with QR on, pay, charge, stop, see receipt and payment list."""
    async with rig(tmp_path) as (portal, browser), Station(portal.ocpp_url, "CP001", version) as station:
        portal.provision("SN-0001", UID)
        assert await station.boot() == "Pending"
        page = await browser.get("/")
        assert "CP001" in page["unclaimed"]
        assert {"serial", "uid", "country", "region"} <= set(page.fields)
        await browser.post("/chargers", serial="SN-0001", uid=UID, country="NO", region="Viken", group="default")
        assert browser.path == "/chargers/SN-0001"
        assert await station.boot() == "Accepted"
        await station.status()
        price = {"currency": "NOK", "price_kwh": "4,50", "price_minute": "0.25", "price_session": "5", "vat_percent": "25"}
        await browser.post("/prices/default", **price, energy_cost="1.1", authorize_amount="300")
        assert (browser.path, browser.status) == ("/prices", 200)
        await browser.post("/chargers/SN-0001/qr", enabled="true")
        await station.until_public()
        await portal.wait_until(lambda: portal.settings_are_current("SN-0001"), 5)
        assert station.settings()["WebPaymentsCtrlr.URLTemplate"] == browser.url + "/pay/{chargingstationid}/{evse}"

        page = await browser.get("/pay/CP001/1")
        assert (page["price-kwh"], page["price-minute"], page["price-session"]) == ("4.50 NOK", "0.25 NOK", "5.00 NOK")
        assert page["place"] == "Viken, NO"
        assert {"pay-method-card", "pay-method-vipps", "pay-method-apple-pay", "pay-method-google-pay", "pay-button"} <= set(page.texts)
        page = await browser.post("/pay/CP001/1", **{**page.fields, "method": "vipps"})
        key = browser.path.removeprefix("/session/")
        assert "disabled" in page.attributes["stop-button"]
        session = Session(station, await station.until_remote_start())
        await session.start()
        await session.meter(600, 2500)
        page = await browser.get(f"/session/{key}")
        assert page["session-energy"] == "1.500"
        assert "disabled" not in page.attributes["stop-button"]
        live = await browser.json(f"/api/session/{key}")
        assert (live["state"], live["energy_wh"], live["can_stop"], live["over"]) == ("charging", 1500, True, False)
        await browser.post(f"/session/{key}/stop")
        assert browser.path == f"/session/{key}"
        await session.stop(3600, 11_000, cost=cost("65.00", "13.00", 10_000, "3600"))
        page = await browser.get(f"/session/{key}")
        assert browser.path == f"/receipt/{key}"
        assert page["receipt-total"] == "65.00 NOK"
        assert page["receipt-vat"] == "13.00 NOK"
        assert page["receipt-released"] == "235.00 NOK"
        assert (await browser.json(f"/api/session/{key}"))["over"]

        page = await browser.get("/payments")
        cells = ("method", "currency", "gross", "vat", "commission", "net", "transaction-id", "country", "region", "state")
        row = [page[f"payment-{cell}"] for cell in cells]
        assert row == ["Vipps", "NOK", "65.00", "13.00", "3.25", "61.75", str(session.transaction_id), "NO", "Viken", "captured"]
        assert "payment-mismatch" not in page
        (payment,) = await browser.json("/api/payments")
        assert (payment["gross"], payment["net"], payment["region"]) == ("65.00", "61.75", "Viken")
        await browser.get(f"/payments/{key}")
        assert browser.status == 200
        page = await browser.get("/sessions")
        assert str(session.transaction_id) in page["session-row"]


@pytest.mark.virtual_time
async def test_pages_work_on_virtual_time(tmp_path: Path) -> None:
    async with rig(tmp_path) as (portal, browser), public_charger(portal, "2.0.1") as station:
        await browser.post("/pay/CP001/1", method="card")
        session = Session(station, await station.until_remote_start())
        await session.start()
        await asyncio.sleep(3600)
        await session.stop(3600, 11_000)
        page = await browser.get("/payments")
        assert page["payment-gross"] == "65.00"


async def test_the_payment_page_says_why_it_refuses(tmp_path: Path) -> None:
    async with rig(tmp_path) as (portal, browser):
        page = await browser.get("/pay/CP404/1")
        assert page["refusal"] == "This charger is not known here."
        await claim(portal, qr=False)
        async with Station(portal.ocpp_url, "CP001", "1.6") as station:
            await station.boot()
            assert "not open to the public" in (await browser.get("/pay/CP001/1"))["refusal"]
            portal.set_charge_with_qr("SN-0001", enabled=True)
            await station.until_public()
            await station.status("Faulted")
            assert "fault" in (await browser.get("/pay/CP001/1"))["refusal"]
            await station.status("Available")
            await portal.wait_until(lambda: portal.refusal("CP001", 1) is None, 5)
            assert "pay-button" in await browser.get("/pay/CP001/1")
            await browser.post("/pay/CP001/1", method="card")
            page = await browser.post("/pay/CP001/1", method="card")
            assert browser.status == 409
            assert "occupied" in page["refusal"]
            assert len(portal.payments()) == 1
        await portal.wait_until(lambda: not portal.is_online("SN-0001"), 5)
        page = await browser.get("/pay/CP001/1")
        assert "offline" in page["refusal"]
        assert "pay-button" not in page


async def test_a_price_that_changed_under_the_form_is_shown_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as (portal, browser), public_charger(portal, "1.6"):
        page = await browser.get("/pay/CP001/1")
        old = page.fields["shown"]
        portal.set_group_price(type(NOK)(**{**{name: getattr(NOK, name) for name in NOK.__slots__}, "price_kwh": Decimal(9)}))
        await portal.wait_until(lambda: portal.settings_are_current("SN-0001"), 5)
        page = await browser.post("/pay/CP001/1", method="card", shown=old)
        assert browser.status == 409
        assert "price has just changed" in page["message"]
        assert page["price-kwh"] == "9.00 NOK"
        page = await browser.post("/pay/CP001/1", method="coins", shown=page.fields["shown"])
        assert "one of card, vipps" in page["message"]
        assert portal.payments() == []


async def test_a_refused_start_ends_on_a_receipt_of_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path) as (portal, browser), public_charger(portal, "2.0.1") as station:
        station.answers["RequestStartTransaction"] = {"status": "Rejected"}
        await browser.post("/pay/CP001/1", method="card")
        (payment,) = portal.payments()
        await portal.wait_until(lambda: portal.payment(payment.key).state is PaymentState.VOIDED, 5)
        page = await browser.get(f"/session/{payment.key}")
        assert "the charger refused to start" in page["receipt-voided"]
        assert page["receipt-total"] == "0.00 NOK"


async def test_mistakes_in_forms_come_back_in_words_and_keep_what_was_typed_but_the_uid(tmp_path: Path) -> None:
    async with rig(tmp_path) as (portal, browser):
        portal.provision("SN-0001", UID)
        page = await browser.post("/chargers", serial="SN-0001", uid="WRONG", country="NO", region="Viken")
        assert browser.status == 409
        assert "do not belong together" in page["message"]
        assert (page.fields["serial"], page.fields["uid"], page.fields["region"]) == ("SN-0001", "", "Viken")
        page = await browser.post("/prices/default", currency="NOK", price_kwh="much", price_minute="", price_session="0", vat_percent="25")
        assert "price_kwh 'much'" in page["message"]
        assert "price_minute is missing" in page["message"]
        assert portal.group("default").tariff is None


async def test_owner_commands_and_own_price(tmp_path: Path) -> None:
    async with rig(tmp_path) as (portal, browser), public_charger(portal, "1.6") as station:
        await browser.post("/chargers/SN-0001/price", price_kwh="3.9", price_minute="", price_session="")
        await station.until(lambda: '"kWhPrice":3.9,"hourPrice":15' in station.settings()["DefaultPrice"])
        page = await browser.post("/chargers/SN-0001/price", price_kwh="x", price_minute="", price_session="")
        assert "price_kwh 'x'" in page["message"]
        for command, action in (
            ("inoperative", "ChangeAvailability"),
            ("operative", "ChangeAvailability"),
            ("unlock", "UnlockConnector"),
            ("reset", "Reset"),
            ("clear-cache", "ClearCache"),
        ):
            page = await browser.post("/chargers/SN-0001/command", command=command)
            assert "The charger says" in page["message"]
            assert station.payloads(action)
        page = await browser.post("/chargers/SN-0001/command", command="dance")
        assert "no command 'dance'" in page["message"]
    async with rig(tmp_path) as (portal, browser):
        page = await browser.post("/chargers/SN-0001/command", command="reset")
        assert "not connected" in page["message"]


async def test_the_api_adds_switches_pays_and_reads(tmp_path: Path) -> None:
    async with rig(tmp_path) as (portal, browser), Station(portal.ocpp_url, "CP001", "2.0.1") as station:
        portal.provision("SN-0001", UID)
        portal.set_group_price(NOK)
        form = {"serial": "SN-0001", "uid": UID, "country": "NO", "region": "Viken"}
        assert (await browser.json("/api/chargers", post=form))["serial"] == "SN-0001"
        assert browser.status == 201
        assert "added already" in (await browser.json("/api/chargers", post=form))["error"]
        assert browser.status == 409
        await station.boot()
        await station.status()
        assert (await browser.json("/api/chargers/SN-0001/qr", post={"enabled": "true"}))["charge_with_qr"]
        await portal.wait_until(lambda: portal.settings_are_current("SN-0001"), 5)
        (charger,) = await browser.json("/api/chargers")
        assert (charger["online"], charger["connectors"][0]["status"], charger["tariff"]["price_kwh"]) == (True, "Available", "4.5")
        assert (await browser.json("/api/pay/CP001/1"))["refusal"] is None
        assert (await browser.json("/api/pay/CP001/9"))["reason"] == "UNKNOWN"
        paid = await browser.json("/api/pay/CP001/1", post={"method": "google_pay"})
        session = Session(station, await station.until_remote_start())
        await session.start()
        assert (await browser.json(f"/api/session/{paid['key']}/stop", post={}))["accepted"]
        await session.stop(60, 2000)
        (row,) = await browser.json("/api/books")
        assert (row["gross"], row["energy_wh"], row["payment_state"]) == ("9.75", 1000, "captured")
        assert "id_token" not in row
        assert (await browser.json(f"/api/payments/{paid['key']}"))["gross"] == "9.75"
        assert await browser.json("/api/anomalies") == []
        assert "error" in await browser.json("/api/payments/none")
        assert browser.status == 404


async def test_nobody_acts_from_another_site_or_under_another_name(tmp_path: Path) -> None:
    async with rig(tmp_path) as (portal, browser), public_charger(portal, "1.6"):
        url = browser.url + "/pay/CP001/1"
        async with browser.session.post(url, data={"method": "card"}, headers={"Origin": "http://evil.example"}) as response:
            assert response.status == 403
        async with browser.session.get(url, headers={"Host": "evil.example"}) as response:
            assert response.status == 403
        assert portal.payments() == []


async def test_a_body_that_is_no_json_is_refused_in_words(tmp_path: Path) -> None:
    async with rig(tmp_path) as (_, browser):
        headers = {"Content-Type": "application/json"}
        async with browser.session.post(browser.url + "/api/chargers", data=b"{", headers=headers) as response:
            assert response.status == 409
            assert "not JSON" in (await response.json())["error"]


async def test_static_files_are_the_three_that_exist(tmp_path: Path) -> None:
    async with rig(tmp_path) as (_, browser):
        for name, content_type in (("portal.css", "text/css"), ("portal.js", "text/javascript"), ("icon.svg", "image/svg+xml")):
            async with browser.session.get(f"{browser.url}/static/{name}") as response:
                assert (response.status, response.content_type) == (200, content_type)
        for path in ("/static/..%2fweb.py", "/static/none", "/nothing"):
            await browser.get(path)
            assert browser.status == 404


async def test_a_hostile_region_is_text(tmp_path: Path) -> None:
    async with rig(tmp_path) as (portal, browser):
        portal.provision("SN-0001", UID)
        page = await browser.post("/chargers", serial="SN-0001", uid=UID, country="NO", region="<script>alert(1)</script>")
        assert not any("alert" in asset for asset in page.assets)
        page = await browser.get("/chargers")
        assert "<script>alert(1)</script>, NO" in page["charger-row"]
