"""The portal is away at any moment: the session goes on, and everything arrives later, once, in order, with its original times."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from simulator.demo.site import TARIFF
from simulator.portal import PaymentState
from tests.endtoend.conftest import Template
from tests.endtoend.prepared import running
from tests.endtoend.rig import STATION, Charger, copies

CARD = "CAFE0001"
OFFLINE_CARDS = {"AuthCtrlr.OfflineTxForUnknownIdEnabled": True}


def now() -> datetime:
    return datetime.now(UTC)


def arrived(charger: Charger) -> list[tuple[str, datetime]]:
    """What the portal received about the one transaction, in the order of arrival; the one on its way at the cut may come twice."""
    messages = charger.messages()
    assert len({message["tx"] for message in messages}) == 1
    assert max(map(copies, messages)) <= 2, [tuple(message) for message in messages]
    return [(message["kind"], datetime.fromisoformat(message["at"])) for message in messages]


def assert_in_order(charger: Charger) -> None:
    messages = arrived(charger)
    kinds, moments = [kind for kind, _ in messages], [at for _, at in messages]
    assert kinds[0] == "Started"
    assert kinds[-1] == "Ended"
    assert kinds.count("Started") == kinds.count("Ended") == 1
    assert moments == sorted(moments)


def assert_told_from(charger: Charger, begun: datetime, ended: datetime) -> None:
    """Values were taken about every second of the outage, and carry the times at which they were taken."""
    inside = [at for kind, at in arrived(charger) if begun <= at <= ended]
    assert len(inside) >= (ended - begun) / timedelta(seconds=1) - 3, inside


async def goes_on(charger: Charger) -> None:
    """Energy flows without the portal."""
    await charger.charge(6)
    assert (await charger.world_evse())["contactor"]["is_closed"]


@pytest.mark.parametrize(("version", "mode"), [("1.6", "refuse"), ("1.6", "blackhole"), ("2.0.1", "close"), ("2.0.1", "blackhole")])
async def test_an_outage_while_charging(template: Template, tmp_path: Path, version: str, mode: str) -> None:
    async with running(await template(version), tmp_path / "c", version=version) as charger:
        before = await charger.register()
        key = await charger.session()
        begun = now()
        await charger.control("network.down", mode=mode)
        await goes_on(charger)
        ended = now()
        await charger.control("network.up")
        await charger.link_is("accepted")
        await charger.sees(lambda: arrived(charger)[-1][1] > ended, "the portal has everything of the outage")
        await charger.finish(key)
        assert await charger.differences(before, key) == []
        assert_in_order(charger)
        assert_told_from(charger, begun, ended)


@pytest.mark.parametrize(("version", "mode"), [("1.6", "close"), ("2.0.1", "refuse")])
async def test_an_outage_between_authorization_and_plug(template: Template, tmp_path: Path, version: str, mode: str) -> None:
    """Paid, and then the network went: the driver plugs in and charges all the same."""
    async with running(await template(version), tmp_path / "c", version=version) as charger:
        before = await charger.register()
        key = (await charger.pay()).key
        await charger.watch(lambda: charger.holds("authorization"), "the charger has taken the remote start")
        await charger.control("network.down", mode=mode)
        await charger.link_is("offline")
        begun = now()
        await charger.plug_in()
        await goes_on(charger)
        ended = now()
        assert charger.portal.payment(key).state is PaymentState.AUTHORIZED
        await charger.control("network.up")
        await charger.knows_session(key)
        await charger.finish(key)
        assert await charger.differences(before, key) == []
        assert_in_order(charger)
        assert_told_from(charger, begun, ended)
        assert arrived(charger)[0][1] < ended


@pytest.mark.parametrize(("version", "mode"), [("1.6", "blackhole"), ("2.0.1", "close")])
async def test_an_outage_from_before_the_plug_to_after_the_end(template: Template, tmp_path: Path, version: str, mode: str) -> None:
    """A whole session without the portal, begun and ended with a card."""
    async with running(await template(version), tmp_path / "c", version=version, variables=OFFLINE_CARDS) as charger:
        charger.portal.add_card(CARD)
        await charger.link_is("accepted")
        before = await charger.register()
        begun = now()
        await charger.control("network.down", mode=mode)
        await charger.plug_in()
        await charger.control("rfid.swipe", token=CARD, evse=1)
        await goes_on(charger)
        await charger.control("rfid.swipe", token=CARD, evse=1)
        await charger.watch(lambda: charger.screen_is("finished"), "the session has ended here")
        await charger.unplug()
        ended = now()
        assert charger.portal.books() == []
        await charger.control("network.up")
        await charger.watch(charger.is_free, "everything is delivered")
        assert await charger.differences(before) == []
        assert_in_order(charger)
        assert_told_from(charger, begun + timedelta(seconds=8), ended)
        assert arrived(charger)[-1][1] < ended
        assert charger.portal.books()[0].stop_reason == "Local"


@pytest.mark.parametrize(("version", "mode"), [("1.6", "close"), ("2.0.1", "blackhole")])
async def test_an_outage_while_stopping(template: Template, tmp_path: Path, version: str, mode: str) -> None:
    """The driver pulls the plug while the portal is away: the end comes later, with its own time."""
    async with running(await template(version), tmp_path / "c", version=version) as charger:
        before = await charger.register()
        key = await charger.session()
        await charger.control("network.down", mode=mode)
        await charger.unplug()
        await charger.watch(lambda: charger.phase_is("free"), "the session has ended here")
        assert not (await charger.world_evse())["contactor"]["is_closed"]
        ended = now()
        await asyncio.sleep(2)
        assert charger.portal.payment(key).state is PaymentState.CHARGING
        await charger.control("network.up")
        await charger.settled(key)
        await charger.watch(charger.is_free, "everything is delivered")
        assert await charger.differences(before, key) == []
        assert_in_order(charger)
        assert arrived(charger)[-1][1] <= ended
        assert charger.portal.books()[0].stop_reason == "EVDisconnected"


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_a_portal_that_is_restarted_while_charging(template: Template, tmp_path: Path, version: str) -> None:
    async with running(await template(version), tmp_path / "c", version=version) as charger:
        before = await charger.register()
        key = await charger.session()
        begun = now()
        await charger.restart_portal(away_s=2)
        ended = now()
        await charger.sees(lambda: arrived(charger)[-1][1] > ended, "the new portal has everything of the outage")
        await charger.finish(key)
        assert await charger.differences(before, key) == []
        assert_in_order(charger)
        assert_told_from(charger, begun, ended)


async def test_a_half_open_link_is_found_by_our_own_pings(template: Template, tmp_path: Path) -> None:
    """Idle, nothing to send, and the network swallows everything: no reset, no end of file, only a pong that does not come."""
    pings = {"OCPPCommCtrlr.WebSocketPingInterval": 1}
    async with running(await template("2.0.1"), tmp_path / "c", variables=pings) as charger:
        await charger.link_is("accepted")
        await charger.sees(lambda: charger.portal.refusal(STATION, 1) is None, "the portal sells here")
        await charger.control("network.down", mode="blackhole")
        await charger.link_is("offline", timeout_s=26)
        status = await charger.diagnose("status")
        assert "no pong" in str(status["csms"]["last_error"])
        assert await charger.qr() is None, "nobody is invited to pay while the portal cannot be reached"
        await charger.control("network.up")
        await charger.link_is("accepted")
        await charger.watch(charger.is_free, "the code is shown again")


@pytest.mark.pain(19)
@pytest.mark.parametrize(("version", "reason"), [("1.6", "Other"), ("2.0.1", "LocalOutOfCredit")])
async def test_what_was_authorised_is_kept_without_the_network(template: Template, tmp_path: Path, version: str, reason: str) -> None:
    """The portal cannot stop it any more: the charger ends the session below the hold by itself, and everything is collected."""
    async with running(await template(version), tmp_path / "c", version=version) as charger:
        charger.portal.set_group_price(TARIFF, authorize_amount=TARIFF.price_session + 1)
        before = await charger.register()
        key = await charger.session()
        await charger.control("network.down", mode="blackhole")
        await charger.watch(lambda: charger.screen_is("finished"), "the session ended by itself")
        assert not (await charger.world_evse())["contactor"]["is_closed"]
        await charger.control("network.up")
        payment = await charger.settled(key)
        await charger.unplug()
        await charger.watch(charger.is_free, "the EVSE is free again")
        found = await charger.differences(before, key)
        assert [text for text in found if not text.startswith("reason: store LocalOutOfCredit")] == [], "1.6 has no word for it"
        (row,) = charger.portal.books()
        assert row.stop_reason == reason
        assert row.session_gross is not None
        assert row.session_gross <= payment.authorized
        assert not row.uncollected
