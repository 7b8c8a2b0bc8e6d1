"""The story: one paid session from QR code to payment list, step by step, and the comparison of the three books."""

import sys
from decimal import Decimal
from pathlib import Path
from typing import Final

from simulator.demo.site import TARIFF, Site, SiteError
from simulator.portal import PaymentMethod, PaymentState

_CLOSED: Final = frozenset({PaymentState.CAPTURED, PaymentState.VOIDED})


def say(step: str, text: str) -> None:
    """One line of the story."""
    sys.stdout.write(f"{step:<10} {text}\n")
    sys.stdout.flush()


async def play(directory: Path, *, version: str, meter: str, seconds: float) -> int:
    """Play it. 0 only when portal, store and simulated meter agree."""
    say("demo", f"one paid session over OCPP {version} and Modbus {meter.upper()}")
    site = Site(directory, version=version, meter=meter)
    try:
        async with site:
            differences = await _session(site, seconds)
    except SiteError as error:
        say("FAILED", str(error))
        return 1
    for difference in differences:
        say("DIFFERS", difference)
    say("result", "the books agree" if not differences else "the books do not agree")
    return 0 if not differences else 1


async def _session(site: Site, seconds: float) -> list[str]:
    if not site.portal.chargers():
        await site.until_async(lambda: _screen_is(site, "unclaimed"), "the display says that nobody has added the charger")
        say("charger", f"{site.station_id} boots; the portal answers Pending, the display says so")
        say("owner", f"adds serial number {site.serial_number} in {site.country}, {site.region}; switches on 'charge with QR'")
        price = f"{TARIFF.price_kwh} per kWh, {TARIFF.price_minute} per minute, {TARIFF.price_session} per session"
        say("owner", f"sets the price: {TARIFF.currency} {price}, VAT {TARIFF.vat_percent} % included")
    await site.open_for_business()
    booked_before = len(site.portal.books())
    code = await site.qr()
    say("display", f"shows the price and the code {code}")
    await site.control("ev.plug_in", evse=1, max_current_a=32, phases=3, delay_s=1)
    await site.until_async(lambda: _screen_is(site, "preparing"), "the display invites to pay")
    say("driver", "plugs in")
    register_before = await _register(site)
    payment = await site.portal.pay(site.station_id, 1, PaymentMethod.VIPPS)
    say("driver", f"scans the code and pays with {payment.method}: {payment.authorized} {TARIFF.currency} are authorized")
    await site.until_async(lambda: _state_is(site, "Charging"), "energy flows")
    say("charger", "the Start is on disk, the contactor closes, energy flows")
    await site.until_async(lambda: _has_charged(site, seconds), "the car has charged", seconds + 30)
    evse = await site.evse()
    say("display", f"{evse['energy_wh']} Wh so far, {evse['cost']}")
    if evse["transaction_id"] is None:
        say("charger", "ended the session by itself")
    else:
        await site.portal.stop_payment(payment.key)
        say("driver", "stops on the phone")
    await site.until(lambda: site.portal.payment(payment.key).state in _CLOSED, "the portal closes the payment")
    await site.until_async(lambda: _screen_is(site, "finished"), "the display shows the receipt")
    await site.control("ev.unplug", evse=1)
    await site.until_async(lambda: _shows_code(site), "the EVSE is free again")
    say("driver", "unplugs; the display shows the code for the next one")
    return await _compare(site, payment.key, register_before, booked_before)


async def _compare(site: Site, key: str, register_before: Decimal, booked_before: int) -> list[str]:
    payment = site.portal.payment(key)
    row = next(row for row in site.portal.books() if row.payment_key == key)
    say(
        "portal",
        f"payment {payment.payment_id}: {payment.method}, {payment.tariff.currency}, gross {payment.gross}, VAT {payment.vat}, "
        f"commission {payment.commission}, net {payment.net}, transaction {row.wire_id}, {payment.country}, {payment.region}",
    )
    sessions = await site.diagnose("sessions")
    stored = sessions[0]  # type: ignore[index]
    register_after = await _register(site)
    metered_wh = int(register_after // 1) - int(register_before // 1)
    say("meter", f"register {register_before} Wh before, {register_after} Wh after: {metered_wh} Wh to be billed")
    say("store", f"{stored['energy_wh']} Wh, {stored['cost']}, registers {stored['register_start_wh']} and {stored['register_stop_wh']}")
    say("books", f"portal {row.energy_wh} Wh, {row.session_gross} {row.currency} in {row.seconds} s; charger's figure {row.charger_gross}")
    booked = len(site.portal.books()) - booked_before
    checks = (
        (stored["energy_wh"] == row.energy_wh, f"energy: store {stored['energy_wh']} Wh, portal {row.energy_wh} Wh"),
        (metered_wh == row.energy_wh, f"energy: meter {metered_wh} Wh, portal {row.energy_wh} Wh"),
        (bool(row.energy_wh), "no energy was delivered"),
        (stored["cost"] == f"{row.session_gross} {row.currency}", f"money: store {stored['cost']}, portal {row.session_gross}"),
        (row.charger_gross == row.session_gross, f"money: charger said {row.charger_gross}, portal bills {row.session_gross}"),
        (payment.gross == row.session_gross, f"money: captured {payment.gross}, session {row.session_gross}"),
        (payment.state is PaymentState.CAPTURED, f"payment: {payment.state}, {payment.reason or 'without a reason'}"),
        (not row.mismatch, f"portal marks a mismatch: {row.mismatch}"),
        (payment.gross is None or payment.net == payment.gross - (payment.commission or 0), "net is not gross less commission"),
        (booked == 1, f"{booked} transactions instead of one"),
        (not site.portal.anomalies(), f"the portal noted {site.portal.anomalies()}"),
    )
    return [text for agrees, text in checks if not agrees]


async def _register(site: Site) -> Decimal:
    """The simulated meter's own register, from the world and not through the daemon."""
    state = await site.control("sim.state")
    return Decimal(str(state["evses"][0]["meter"]["energy_uwh"])).scaleb(-6)  # type: ignore[index, call-overload]


async def _screen_is(site: Site, kind: str) -> bool:
    return (await site.evse())["screen"] == kind


async def _state_is(site: Site, state: str) -> bool:
    return (await site.evse())["charging_state"] == state


async def _has_charged(site: Site, seconds: float) -> bool:
    """Or the charger has ended the session by itself: then the books are compared at once."""
    view = await site.evse()
    if view["transaction_id"] is None:
        return True
    return int(str(view["energy_wh"] or 0)) > 0 and float(str(view.get("seconds") or 0)) >= seconds


async def _shows_code(site: Site) -> bool:
    return await site.qr() is not None
