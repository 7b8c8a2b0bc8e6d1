"""The demo in real headless Chromium, from plug-in to payment list, as a newcomer goes through it."""

import base64
import io
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
import zxingcpp
from PIL import Image

from tests.browser.webdriver import Browser, chromium
from tests.simulator.running_demo import Demo

CENT = Decimal("0.01")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


def shown_picture(browser: Browser) -> Image.Image:
    """The pixels of the charger's display as this browser shows them."""
    png = browser.until(lambda: png_of_display(browser), "the display's picture is loaded")
    return Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")


def png_of_display(browser: Browser) -> str | None:
    """None while the browser is between two pictures."""
    return browser.run(
        """
        const image = document.querySelector('[data-testid="display"]');
        if (!image.complete || !image.naturalWidth) return null;
        const canvas = document.createElement("canvas");
        canvas.width = image.naturalWidth;
        canvas.height = image.naturalHeight;
        canvas.getContext("2d").drawImage(image, 0, 0);
        return canvas.toDataURL("image/png").split(",")[1];
        """
    )


def read_code(browser: Browser) -> str | None:
    """What an independent reader finds in those pixels."""
    codes = zxingcpp.read_barcodes(shown_picture(browser))
    assert len(codes) <= 1
    return codes[0].text if codes else None


def open_page(browser: Browser, demo: Demo) -> None:
    browser.open(demo.url)
    browser.log()
    browser.until(lambda: read_code_once_loaded(browser), "the display shows a code")


def read_code_once_loaded(browser: Browser) -> str | None:
    is_loaded = browser.run("return document.querySelector('[data-testid=\"display\"]').naturalWidth > 0")
    return read_code(browser) if is_loaded else None


def is_done(browser: Browser, step: str) -> bool:
    """Whether the guide has ticked a step."""
    return browser[f"step-{step}"].attribute("data-state") == "done"


def cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_HALF_UP)


@pytest.mark.parametrize(("version", "meter"), [("1.6", "tcp"), ("2.0.1", "rtu")])
def test_from_plug_in_to_payment_list(browser: Browser, tmp_path: Path, version: str, meter: str) -> None:
    with Demo(tmp_path / "site", "--ocpp", version, "--meter", meter) as demo:
        open_page(browser, demo)
        assert version in browser.run('return document.querySelector("#chip-portal").textContent')
        register_before = demo.register_wh()

        plug_in_scan_and_pay(browser, demo)
        watch_it_charge(browser)
        receipt = stop_and_unplug(browser)
        row = look_at_the_payments(browser)

        check_books(demo, row, receipt, register_before)
        assert all(is_done(browser, step) for step in ("plug-in", "scan", "pay", "watch", "stop", "unplug", "see"))
        assert browser.log() == []
        assert demo.interrupt() == 0
        assert "stopped in order" in demo.said
        assert "Traceback" not in demo.said + demo.daemon_log


def plug_in_scan_and_pay(browser: Browser, demo: Demo) -> None:
    """The phone opens what the pixels say, and shows the price that the owner set."""
    browser["plug-in"].click()
    browser.until(lambda: is_done(browser, "plug-in"), "the car is plugged in")
    browser.until(lambda: browser["pilot"].text == "B", "the charger sees the car")
    code = browser.until(lambda: read_code(browser), "the display shows a code")
    browser["display"].click()
    frame = browser.until(lambda: browser["pay-frame"].attribute("src"), "the phone opens a page")
    assert frame == code
    assert code.startswith(demo.portal_url)
    with browser.frame("pay-frame"):
        browser.until(lambda: browser["pay-button"].is_displayed, "the payment page")
        assert browser["station"].text == "CP001 · EVSE 1"
        assert browser["place"].text == "Viken, NO"
        assert [browser[f"price-{unit}"].text for unit in ("kwh", "minute", "session")] == ["4.50 NOK", "0.50 NOK", "5.00 NOK"]
        browser["pay-method-vipps"].click()
        browser["pay-button"].click()
        browser.until(lambda: browser["session-status"].text, "the page of the session")
    browser.until(lambda: is_done(browser, "pay"), "the page knows of the payment")


def watch_it_charge(browser: Browser) -> None:
    """Energy, cost and time run on the phone, and the display's picture changes with them."""
    browser.until(lambda: is_done(browser, "watch"), "energy flows")
    browser.until(lambda: browser["contactor"].text == "closed", "the contactor is closed")
    assert Decimal(browser["power"].text) > 0
    assert read_code(browser) is None, "who pays now would pay for nothing"
    picture = shown_picture(browser).tobytes()
    with browser.frame("pay-frame"):
        names = ("session-energy", "session-cost", "session-time", "session-power")
        first = browser.until(lambda: figures_with_energy(browser, names), "the phone shows energy")
        browser.until(
            lambda: all(browser[name].text > old for name, old in zip(names[:3], first[:3], strict=True)), "energy, cost and time run"
        )
        assert Decimal(browser["session-power"].text) > 0
    browser.until(lambda: shown_picture(browser).tobytes() != picture, "the display runs")
    with browser.frame("portal-frame"):
        browser.until(lambda: browser["charger-status"].text != "1: Available", "the owner's list follows without being asked")


def figures_with_energy(browser: Browser, names: tuple[str, ...]) -> list[str] | None:
    texts = [browser[name].text for name in names]
    return texts if Decimal(texts[0]) > 0 else None


def stop_and_unplug(browser: Browser) -> str:
    """The total on the phone's receipt."""
    with browser.frame("pay-frame"):
        browser["stop-button"].click()
        total = browser.until(lambda: browser["receipt-total"].text, "the receipt")
    browser.until(lambda: is_done(browser, "stop"), "the session has ended")
    browser.until(lambda: browser["contactor"].text == "open", "the contactor is open")
    browser["unplug"].click()
    browser.until(lambda: is_done(browser, "unplug"), "the car is unplugged")
    browser.until(lambda: read_code(browser), "the display shows the code for the next driver")
    return total


def look_at_the_payments(browser: Browser) -> dict[str, str]:
    browser["show-payments"].click()
    with browser.frame("portal-frame"):
        browser.until(lambda: browser.all("payment-row"), "the list of payments")
        names = ("method", "currency", "gross", "vat", "commission", "net", "transaction-id", "country", "region", "state")
        row = {name: browser[f"payment-{name}"].text for name in names}
        assert browser.all("payment-mismatch") == []
    browser.until(lambda: is_done(browser, "see"), "the payment was seen")
    return row


def check_books(demo: Demo, row: dict[str, str], receipt: str, register_before: Decimal) -> None:
    """Portal, store and meter say the same, and the sums are those of the issue, computed here again."""
    (booked,) = demo.get_json(f"{demo.portal_url}/api/books")
    (stored,) = demo.diagnose("sessions")
    metered_wh = int(demo.register_wh()) - int(register_before)
    energy_wh = int(booked["energy_wh"])
    assert metered_wh == stored["energy_wh"] == energy_wh > 0

    gross = cents(
        Decimal(energy_wh) / 1000 * Decimal("4.50") + Decimal(str(booked["seconds"])) / 60 * Decimal("0.50") + Decimal("5.00"),
    )
    commission = cents(gross * Decimal("0.05"))
    expected: dict[str, Any] = {
        "method": "Vipps",
        "currency": "NOK",
        "gross": str(gross),
        "vat": str(cents(gross - gross / Decimal("1.25"))),
        "commission": str(commission),
        "net": str(gross - commission),
        "transaction-id": booked["wire_id"],
        "country": "NO",
        "region": "Viken",
        "state": "captured",
    }
    assert row == expected
    assert stored["cost"] == receipt == f"{gross} NOK"
    assert Decimal(booked["charger_gross"]) == gross
    assert demo.get_json(f"{demo.portal_url}/api/anomalies") == []


def test_trouble_is_shown_with_its_cure(browser: Browser, tmp_path: Path) -> None:
    """A fault and a lost network take the code off the display; the technician's line says why; both can be undone."""
    with Demo(tmp_path / "site") as demo:
        open_page(browser, demo)
        browser.run('document.querySelector("#fault").value = "emergency_stop"')
        browser["fault-set"].click()
        browser.until(lambda: "emergency" in browser["why"].text.lower(), "the technician's line names the fault")
        browser.until(lambda: read_code(browser) is None, "the display offers no payment")
        browser["display"].click()
        browser.until(lambda: "no code" in browser["refusal"].text, "a click on a display without a code says so")
        browser.run('document.querySelector("#faults button").click()')
        browser.until(lambda: read_code(browser), "the code is back")

        browser["network-down"].click()
        browser.until(lambda: "down (close)" in browser["network-says"].text, "the page says that the link is down")
        browser.until(lambda: read_code(browser) is None, "the display offers no payment while it is offline")
        browser["network-up"].click()
        browser.until(lambda: read_code(browser), "the code is back", 40)


def test_a_card_needs_no_payment(browser: Browser, tmp_path: Path) -> None:
    """A known card starts and stops a session, an unknown one does not; the guide does not ask for a payment."""
    with Demo(tmp_path / "site") as demo:
        open_page(browser, demo)
        browser["plug-in"].click()
        browser.until(lambda: browser["pilot"].text == "B", "the car is plugged in")
        browser["swipe-unknown"].click()
        browser.until(lambda: "refused" in browser["why"].text, "the unknown card is refused")
        browser["swipe"].click()
        browser.until(lambda: is_done(browser, "watch"), "energy flows")
        assert not is_done(browser, "pay")
        assert browser["step-stop"].attribute("data-state") == "current"
        browser["swipe"].click()
        browser.until(lambda: browser["contactor"].text == "open", "the same card stops it")
        (booked,) = browser.until(lambda: closed_books(demo), "the portal has closed its books")
        assert booked["payment_key"] is None


def closed_books(demo: Demo) -> Any:
    rows = demo.get_json(f"{demo.portal_url}/api/books")
    return rows if all(row["energy_wh"] is not None for row in rows) else None


def test_the_page_outlives_a_restart_of_the_charger(browser: Browser, tmp_path: Path) -> None:
    """The owner's button "Restart": the daemon starts itself anew, the page says so and goes on."""
    with Demo(tmp_path / "site") as demo:
        open_page(browser, demo)
        browser.open(f"{demo.portal_url}/chargers/SN-0001")
        browser.run('document.querySelector("[value=reset]").click()')
        browser.until(lambda: "Accepted" in browser["message"].text, "the charger takes the reset")
        browser.open(demo.url)
        browser.until(lambda: demo.daemon_log.count("engine: started") > 1, "the daemon started again")
        browser.until(lambda: read_code_once_loaded(browser), "the display shows a code again")
        browser["plug-in"].click()
        browser.until(lambda: is_done(browser, "plug-in"), "the car is plugged in")


def test_nothing_is_wider_than_the_window(browser: Browser, tmp_path: Path) -> None:
    """From a telephone's width (the narrowest that a headless window has) to a desk's."""
    with Demo(tmp_path / "site") as demo:
        open_page(browser, demo)
        try:
            for width in (500, 800, 1000, 1280, 1920):
                browser.resize(width, 900)
                too_much = browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
                assert too_much <= 0, f"{too_much} px too wide at {width} px"
        finally:
            browser.resize(1400, 1000)
