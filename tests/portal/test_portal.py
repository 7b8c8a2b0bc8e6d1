"""The whole portal over real sockets, from the claim to the books."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trustme
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from simulator.portal import PaymentMethod, PaymentState, Portal, PriceOverride, Refusal
from simulator.portal.errors import ChargerOfflineError, NotPayableError, PriceChangedError
from tests.portal.rig import NOK, UID, claim, public_charger, running_portal
from tests.portal.station import START, CallErrorReceived, Session, Station, cost

VERSIONS = ["1.6", "2.0.1"]
both = pytest.mark.parametrize("version", VERSIONS)


def fixed_clock(seconds: float = 0) -> Callable[[], datetime]:
    return lambda: START + timedelta(seconds=seconds)


# connecting


@pytest.mark.parametrize("path", ["", "/", "/a b", "/%00", "/" + "x" * 49, "/ocpp/"])
async def test_a_path_without_an_identity_is_not_found(tmp_path: Path, path: str) -> None:
    async with running_portal(tmp_path / "db") as portal:
        with pytest.raises(InvalidStatus) as error:
            await connect(portal.ocpp_url.rstrip("/") + path.replace(" ", "%20"))
        assert error.value.response.status_code == 404


async def test_a_charger_with_a_password_must_show_it(tmp_path: Path) -> None:
    async with running_portal(tmp_path / "db") as portal:
        portal.set_password("CP001", "0123456789abcdef")
        for password in (None, "wrong"):
            with pytest.raises(InvalidStatus) as error:
                await Station(portal.ocpp_url, "CP001", "1.6", password=password).__aenter__()
            assert error.value.response.status_code == 401
            assert "Basic" in error.value.response.headers["WWW-Authenticate"]
        async with Station(portal.ocpp_url, "CP001", "1.6", password="0123456789abcdef") as station:
            assert await station.boot() == "Pending"


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["ocpp1.6"], "ocpp1.6"),
        (["ocpp2.0.1", "ocpp1.6"], "ocpp2.0.1"),
        (["ocpp1.6", "ocpp2.0.1"], "ocpp1.6"),
        (["ocpp2.1", "ocpp1.6"], "ocpp1.6"),
    ],
)
async def test_the_first_version_that_both_speak_is_taken(tmp_path: Path, offered: list[Any], chosen: str) -> None:
    async with running_portal(tmp_path / "db") as portal, connect(portal.ocpp_url + "CP001", subprotocols=offered) as socket:
        assert socket.subprotocol == chosen


async def test_without_a_common_version_the_handshake_completes_and_the_portal_hangs_up(tmp_path: Path) -> None:
    offered: Any = ["ocpp1.5"]
    async with running_portal(tmp_path / "db") as portal, connect(portal.ocpp_url + "CP001", subprotocols=offered) as socket:
        assert socket.subprotocol is None
        with pytest.raises(ConnectionClosed):
            await socket.recv()


async def test_tls_works(tmp_path: Path) -> None:
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    async with running_portal(tmp_path / "db", ssl_context=server) as portal:
        assert portal.ocpp_url.startswith("wss://")
        async with Station(portal.ocpp_url, "CP001", "2.0.1", ssl=client) as station:
            assert await station.boot() == "Pending"


async def test_a_newer_connection_replaces_the_older_one(tmp_path: Path) -> None:
    async with running_portal(tmp_path / "db") as portal, public_charger(portal, "1.6") as old:
        async with Station(portal.ocpp_url, "CP001", "1.6") as new:
            await old.socket.wait_closed()
            assert portal.is_online("SN-0001")
            await new.call("Heartbeat", {})
        await portal.wait_until(lambda: not portal.is_online("SN-0001"), 5)


async def test_it_listens_on_loopback_only(tmp_path: Path) -> None:
    portal = Portal(tmp_path / "db")
    with pytest.raises(ValueError, match="loopback only"):
        await portal.start("0.0.0.0")
    await portal.aclose()


# claim


@both
async def test_a_charger_is_pending_until_its_owner_adds_it(tmp_path: Path, version: str) -> None:
    expect = ("refused_call",)
    async with running_portal(tmp_path / "db", expect=expect) as portal, Station(portal.ocpp_url, "CP001", version) as station:
        assert await station.boot() == "Pending"
        with pytest.raises(CallErrorReceived) as error:
            await station.status()
        assert error.value.code == "SecurityError"
        assert [waiting.serial for waiting in portal.unclaimed()] == ["SN-0001"]
        await claim(portal)
        await station.until(lambda: ("TriggerMessage", {"requestedMessage": "BootNotification"}) in station.received)
        assert await station.boot() == "Accepted"
        await station.until_public()
        await station.status()
        assert portal.unclaimed() == []


@both
async def test_after_the_boot_price_and_switch_are_pushed_exactly(tmp_path: Path, version: str) -> None:
    async with running_portal(tmp_path / "db", sample_interval_s=10) as portal, public_charger(portal, version) as station:
        settings = station.settings()
        assert settings["TariffCostCtrlr.Currency"] == "NOK"
        assert settings["WebPaymentsCtrlr.URLTemplate"] == portal.qr_template
        if version == "1.6":
            assert '"chargingPrice":{"kWhPrice":4.5,"hourPrice":15,"flatFee":5}' in settings["DefaultPrice"]
            assert settings["MeterValueSampleInterval"] == "10"
            keys = [said["key"] for said in station.payloads("ChangeConfiguration")]
            assert keys[-1] == "WebPaymentsCtrlr.Enabled"
        else:
            assert settings["TariffCostCtrlr.OfflineChargingPrice[hourPrice]"] == "15"
            assert settings["SampledDataCtrlr.TxUpdatedInterval"] == "10"
            assert len(station.payloads("SetVariables")) == 2  # the interval, and one request for all that belongs together


@both
async def test_changed_prices_and_the_switch_reach_the_charger(tmp_path: Path, version: str) -> None:
    async with running_portal(tmp_path / "db") as portal, public_charger(portal, version) as station:
        portal.set_price_override("SN-0001", PriceOverride(price_kwh=Decimal("3.9")))
        await station.until(lambda: "3.9" in str(station.settings()))
        portal.set_charge_with_qr("SN-0001", enabled=False)
        await station.until(lambda: station.settings()["WebPaymentsCtrlr.Enabled"] == "false")
        await portal.wait_until(lambda: portal.settings_are_current("SN-0001"), 5)


async def test_what_changed_while_the_charger_was_away_is_pushed_when_it_comes_back_without_a_boot(tmp_path: Path) -> None:
    async with running_portal(tmp_path / "db") as portal:
        async with public_charger(portal, "1.6"):
            pass
        portal.set_price_override("SN-0001", PriceOverride(price_kwh=Decimal("3.9")))
        async with Station(portal.ocpp_url, "CP001", "1.6") as station:
            await station.until_public()
            assert '"kWhPrice":3.9' in station.settings()["DefaultPrice"]
        async with Station(portal.ocpp_url, "CP001", "1.6") as station:
            await station.call("Heartbeat", {})
            assert station.settings() == {}


@both
async def test_a_charger_that_refuses_the_price_is_not_public_and_cannot_be_paid_for(tmp_path: Path, version: str) -> None:
    async with running_portal(tmp_path / "db", expect=("setting_refused",)) as portal:
        await claim(portal)
        async with Station(portal.ocpp_url, "CP001", version) as station:

            def refuse_vat(payload: dict[str, Any]) -> dict[str, Any]:
                if version == "1.6":
                    return {"status": "NotSupported" if "Vat" in payload["key"] else "Accepted"}
                results = [
                    {
                        "attributeStatus": "Rejected" if "Vat" in entry["variable"]["name"] else "Accepted",
                        "component": entry["component"],
                        "variable": entry["variable"],
                    }
                    for entry in payload["setVariableData"]
                ]
                return {"setVariableResult": results}

            station.answers["ChangeConfiguration"] = station.answers["SetVariables"] = refuse_vat
            assert await station.boot() == "Accepted"
            await station.status()
            await portal.wait_until(lambda: portal.charger("SN-0001").settings_problem is not None, 5)
            assert station.settings()["WebPaymentsCtrlr.Enabled"] == "false"
            assert portal.refusal("CP001", 1) is Refusal.SETTINGS_REFUSED
            station.answers.clear()
            portal.set_price_override("SN-0001", PriceOverride(price_session=Decimal(1)))
            await portal.wait_until(lambda: portal.refusal("CP001", 1) is None, 5)


# paying


@both
async def test_from_payment_to_books(tmp_path: Path, version: str) -> None:
    async with running_portal(tmp_path / "db", clock=fixed_clock()) as portal, public_charger(portal, version) as station:
        payment = await portal.pay("CP001", 1, PaymentMethod.VIPPS, shown=NOK)
        assert (payment.state, payment.authorized) == (PaymentState.AUTHORIZED, Decimal("300.00"))
        token = await station.until_remote_start()
        info = "idTagInfo" if version == "1.6" else "idTokenInfo"
        asked = {"idTag": token} if version == "1.6" else {"idToken": {"idToken": token, "type": "Central"}}
        assert (await station.call("Authorize", asked))[info]["status"] == "Accepted"
        session = Session(station, token)
        assert (await session.start())[info]["status"] == "Accepted"
        assert portal.payment(payment.key).state is PaymentState.CHARGING
        answer = await session.meter(600, 2500)
        if version == "2.0.1":
            assert answer["totalCost"] == 14.25
        figure = cost("65.00", "13.00", 10_000, "3600")
        answer = await session.stop(3600, 11_000, cost=figure)
        if version == "2.0.1":
            assert answer["totalCost"] == 65
        (row,) = portal.books()
        assert (row.station, row.evse, row.id_token, row.version) == ("CP001", 1, token, version)
        assert (row.start_wh, row.stop_wh, row.energy_wh, row.seconds) == (1000, 11_000, 10_000, Decimal(3600))
        assert (row.started_at, row.stopped_at) == (START, START + timedelta(hours=1))
        assert (row.gross, row.vat, row.commission, row.net) == (Decimal("65.00"), Decimal("13.00"), Decimal("3.25"), Decimal("61.75"))
        assert (row.charger_gross, row.charger_vat, row.charger_energy_wh, row.mismatch) == (Decimal("65.00"), Decimal("13.00"), 10_000, "")
        assert (row.wire_id, row.payment_state) == (str(session.transaction_id), PaymentState.CAPTURED)
        assert row.power_w == (Decimal(7400) if version == "1.6" else None)
        closed = portal.payment(payment.key)
        assert (closed.country, closed.region, closed.method) == ("NO", "Viken", PaymentMethod.VIPPS)
        assert (await station.call("Authorize", asked))[info]["status"] == "Expired"


@both
async def test_everything_twice_over_two_connections_is_booked_once(tmp_path: Path, version: str) -> None:
    """Sent, answered, the answer lost, the wire cut: the charger sends the same again after the reconnect."""
    async with running_portal(tmp_path / "db") as portal:
        async with public_charger(portal, version) as station:
            await portal.pay("CP001", 1, PaymentMethod.CARD)
            token = await station.until_remote_start()
            session = Session(station, token)
            start = session.start_payload()
            action = "StartTransaction" if version == "1.6" else "TransactionEvent"
            first = await station.call(action, start, message_id="same")
        async with Station(portal.ocpp_url, "CP001", version) as station:
            assert await station.call(action, start, message_id="same") == first
            assert await station.call(action, start) == first
            session.station = station
            session.transaction_id = first.get("transactionId", session.transaction_id)
            stop = session.stop_payload(60, 2000)
            end = "StopTransaction" if version == "1.6" else "TransactionEvent"
            answers = [await station.call(end, stop) for _ in range(3)]
            assert answers[0] == answers[1] == answers[2]
        (row,) = portal.books()
        assert (row.duplicate_starts, row.duplicate_stops, row.payment_state) == (2, 2, PaymentState.CAPTURED)
        assert row.gross == Decimal("9.75")


async def test_the_same_message_id_with_other_contents_is_another_message(tmp_path: Path) -> None:
    """A charger that counts its message ids from 1 after each reboot must not get the answer of another start."""
    async with running_portal(tmp_path / "db") as portal, public_charger(portal, "1.6") as station:
        portal.add_card("CARD")
        first = await station.call("StartTransaction", Session(station, "CARD", started=0).start_payload(), message_id="12")
        second = await station.call("StartTransaction", Session(station, "CARD", started=500).start_payload(), message_id="12")
        assert first["transactionId"] != second["transactionId"]


@both
async def test_the_drivers_stop_and_the_limit_of_the_hold_reach_the_charger(tmp_path: Path, version: str) -> None:
    stop_action = "RemoteStopTransaction" if version == "1.6" else "RequestStopTransaction"
    async with running_portal(tmp_path / "db") as portal, public_charger(portal, version) as station:
        payment = await portal.pay("CP001", 1, PaymentMethod.CARD)
        session = Session(station, await station.until_remote_start())
        assert not await portal.stop_payment(payment.key)  # nothing runs yet
        await session.start()
        assert await portal.stop_payment(payment.key)
        assert station.payloads(stop_action) == [{"transactionId": session.transaction_id}]
        await session.stop(60, 1500)
        station.received.clear()
        await portal.wait_until(lambda: portal.refusal("CP001", 1) is None, 5)

        payment = await portal.pay("CP001", 1, PaymentMethod.CARD)
        session = Session(station, await station.until_remote_start(), started=100)
        await session.start()
        await session.meter(160, 1000 + 70_000)  # 315 NOK of the 300 that are held
        await station.until(lambda: bool(station.payloads(stop_action)))
        await session.meter(170, 1000 + 70_100)
        assert len(station.payloads(stop_action)) == 1
        await session.stop(180, 1000 + 70_200)
        row = portal.books()[-1]
        assert (row.gross, row.uncollected, row.session_gross) == (Decimal("300.00"), Decimal("21.23"), Decimal("321.23"))


@both
async def test_a_stop_that_did_not_get_through_is_asked_again_after_the_reconnect(tmp_path: Path, version: str) -> None:
    stop_action = "RemoteStopTransaction" if version == "1.6" else "RequestStopTransaction"
    async with running_portal(tmp_path / "db", expect=("stop_not_delivered",)) as portal:
        async with public_charger(portal, version) as station:
            payment = await portal.pay("CP001", 1, PaymentMethod.CARD)
            await Session(station, await station.until_remote_start()).start()
        await portal.wait_until(lambda: not portal.is_online("SN-0001"), 5)
        assert not await portal.stop_payment(payment.key)
        async with Station(portal.ocpp_url, "CP001", version) as station:
            await station.until(lambda: bool(station.payloads(stop_action)))


@both
async def test_a_refused_start_voids_the_payment(tmp_path: Path, version: str) -> None:
    async with running_portal(tmp_path / "db") as portal, public_charger(portal, version) as station:
        station.answers["RemoteStartTransaction"] = station.answers["RequestStartTransaction"] = {"status": "Rejected"}
        payment = await portal.pay("CP001", 1, PaymentMethod.CARD)
        await portal.wait_until(lambda: portal.payment(payment.key).state is PaymentState.VOIDED, 5)
        assert portal.payment(payment.key).reason == "the charger refused to start"
        assert portal.refusal("CP001", 1) is None


def virtual_clock() -> Callable[[], datetime]:
    """Wall time that runs with the event loop's."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    return lambda: START + timedelta(seconds=loop.time() - begin)


def state(portal: Portal, key: str) -> PaymentState:
    return portal.payment(key).state


@pytest.mark.virtual_time
@both
async def test_a_session_that_never_starts_voids_the_payment(tmp_path: Path, version: str) -> None:
    async with running_portal(tmp_path / "db", start_timeout_s=120) as portal, public_charger(portal, version) as station:
        payment = await portal.pay("CP001", 1, PaymentMethod.CARD)
        token = await station.until_remote_start()
        await asyncio.sleep(119)
        assert state(portal, payment.key) is PaymentState.AUTHORIZED
        await asyncio.sleep(2)
        assert state(portal, payment.key) is PaymentState.VOIDED
        assert "not started in time" in portal.payment(payment.key).reason
        asked = {"idTag": token} if version == "1.6" else {"idToken": {"idToken": token, "type": "Central"}}
        answer = await station.call("Authorize", asked)
        assert answer["idTagInfo" if version == "1.6" else "idTokenInfo"]["status"] == "Expired"


@pytest.mark.virtual_time
@both
async def test_an_offline_charger_may_have_started_so_its_payment_is_kept(tmp_path: Path, version: str) -> None:
    async with running_portal(tmp_path / "db", clock=virtual_clock()) as portal:
        async with public_charger(portal, version) as station:
            payment = await portal.pay("CP001", 1, PaymentMethod.CARD)
            token = await station.until_remote_start()
        await asyncio.sleep(86_400)
        assert state(portal, payment.key) is PaymentState.AUTHORIZED
        async with Station(portal.ocpp_url, "CP001", version) as station:
            await asyncio.sleep(50)
            session = Session(station, token)
            await session.start()
            await session.stop(3600, 11_000)
        assert portal.payment(payment.key).gross == Decimal("65.00")


@pytest.mark.virtual_time
async def test_a_charger_that_still_delivers_its_backlog_is_waited_for(tmp_path: Path) -> None:
    """The paid session may stand at the end of what was stored, so old messages move the time-out."""
    async with running_portal(tmp_path / "db", clock=virtual_clock(), start_timeout_s=60) as portal:
        portal.add_card("CARD")
        async with public_charger(portal, "1.6") as station:
            payment = await portal.pay("CP001", 1, PaymentMethod.CARD)
            token = await station.until_remote_start()
        await asyncio.sleep(7200)
        async with Station(portal.ocpp_url, "CP001", "1.6") as station:
            for number in range(4):
                session = Session(station, "CARD", started=100 * number)
                await session.start()
                await asyncio.sleep(50)
                await session.stop(100 * number + 50, 1500)
            assert state(portal, payment.key) is PaymentState.AUTHORIZED
            await Session(station, token, started=3600).start()
            assert state(portal, payment.key) is PaymentState.CHARGING


@pytest.mark.virtual_time
async def test_an_offline_charger_is_waited_for_no_longer_than_a_hold_lasts(tmp_path: Path) -> None:
    async with running_portal(tmp_path / "db", expect=("start_after_void",)) as portal:
        async with public_charger(portal, "1.6") as station:
            payment = await portal.pay("CP001", 1, PaymentMethod.CARD)
            token = await station.until_remote_start()
        await asyncio.sleep(7 * 86_400 + 1)
        assert state(portal, payment.key) is PaymentState.VOIDED
        async with Station(portal.ocpp_url, "CP001", "1.6") as station:
            session = Session(station, token)
            assert (await session.start())["idTagInfo"]["status"] == "Expired"
            await session.stop(3600, 11_000)
        assert portal.payment(payment.key).uncollected == Decimal("65.00")


@both
async def test_a_portal_that_restarts_goes_on_where_it_was(tmp_path: Path, version: str) -> None:
    path = tmp_path / "db"
    async with running_portal(path) as portal, public_charger(portal, version) as station:
        payment = await portal.pay("CP001", 1, PaymentMethod.CARD)
        session = Session(station, await station.until_remote_start())
        await session.start()
    async with running_portal(path) as portal, Station(portal.ocpp_url, "CP001", version) as station:
        await station.call("Heartbeat", {})  # no boot is needed
        session.station = station
        await session.meter(60, 1500)
        await session.stop(3600, 11_000)
        assert portal.payment(payment.key).gross == Decimal("65.00")


async def test_an_authorised_payment_survives_a_restart_and_still_times_out(tmp_path: Path) -> None:
    path = tmp_path / "db"
    async with running_portal(path) as portal, public_charger(portal, "1.6") as station:
        payment = await portal.pay("CP001", 1, PaymentMethod.CARD)
        await station.until_remote_start()
    async with running_portal(path, start_timeout_s=0.2) as portal:
        assert portal.payment(payment.key).state is PaymentState.AUTHORIZED
        async with Station(portal.ocpp_url, "CP001", "1.6"):
            await portal.wait_until(lambda: portal.payment(payment.key).state is PaymentState.VOIDED, 5)


async def test_2_0_1_may_name_the_running_transaction_in_its_answer(tmp_path: Path) -> None:
    """TxStartPoint EVConnected: the transaction began when the car was plugged in, before the payment."""
    async with running_portal(tmp_path / "db") as portal, public_charger(portal, "2.0.1") as station:
        session = Session(station, "")
        begin = session.event("Started", 0, 1000, "Transaction.Begin", "CablePluggedIn")
        await station.call("TransactionEvent", begin)
        # the car that waits for a payment is no other driver's session
        station.answers["RequestStartTransaction"] = {"status": "Accepted", "transactionId": session.transaction_id}
        assert portal.refusal("CP001", 1) is None
        payment = await portal.pay("CP001", 1, PaymentMethod.CARD)
        await portal.wait_until(lambda: portal.payment(payment.key).state is PaymentState.CHARGING, 5)
        await session.stop(3600, 11_000)
        assert portal.payment(payment.key).gross == Decimal("65.00")


@both
async def test_why_a_charger_cannot_be_paid_for(tmp_path: Path, version: str) -> None:
    async with running_portal(tmp_path / "db") as portal:
        assert portal.refusal("CP001", 1) is Refusal.UNKNOWN
        await claim(portal, tariff=None, qr=False)
        async with Station(portal.ocpp_url, "CP001", version) as station:
            await station.boot()
            assert portal.refusal("CP001", 1) is Refusal.NOT_PUBLIC
            portal.set_charge_with_qr("SN-0001", enabled=True)
            assert portal.refusal("CP001", 1) is Refusal.NO_PRICE
            portal.set_group_price(NOK)
            assert portal.refusal("CP001", 1) is Refusal.NOT_READY
            await station.status()
            await portal.wait_until(lambda: portal.settings_are_current("SN-0001"), 5)
            assert portal.refusal("CP001", 1) is None
            assert portal.refusal("CP001", 7) is Refusal.UNKNOWN
            for status, reason in (("Faulted", Refusal.FAULTED), ("Unavailable", Refusal.UNAVAILABLE), ("Reserved", Refusal.OCCUPIED)):
                await station.status(status)
                assert portal.refusal("CP001", 1) is reason
            if version == "1.6":
                await station.status("Finishing")
                assert portal.refusal("CP001", 1) is Refusal.FINISHING
            await station.status("Preparing" if version == "1.6" else "Occupied")
            assert portal.refusal("CP001", 1) is None
            await portal.pay("CP001", 1, PaymentMethod.CARD)
            assert portal.refusal("CP001", 1) is Refusal.OCCUPIED
            with pytest.raises(NotPayableError, match="occupied"):
                await portal.pay("CP001", 1, PaymentMethod.CARD)
            session = Session(station, await station.until_remote_start())
            await session.start()
            assert portal.refusal("CP001", 1) is Refusal.OCCUPIED
            await session.stop(60, 1500)
        await portal.wait_until(lambda: portal.refusal("CP001", 1) is Refusal.OFFLINE, 5)


async def test_the_price_that_the_driver_saw_governs(tmp_path: Path) -> None:
    dear = replace(NOK, price_kwh=Decimal(9))
    async with running_portal(tmp_path / "db") as portal, public_charger(portal, "1.6") as station:
        with pytest.raises(PriceChangedError):
            await portal.pay("CP001", 1, PaymentMethod.CARD, shown=dear)
        payment = await portal.pay("CP001", 1, PaymentMethod.CARD, shown=NOK)
        token = await station.until_remote_start()
        portal.set_group_price(dear)
        await station.call("Heartbeat", {})
        assert '"kWhPrice":4.5' in station.settings()["DefaultPrice"]  # held back: this driver agreed to the old one
        session = Session(station, token)
        await session.start()
        await station.until(lambda: '"kWhPrice":9' in station.settings()["DefaultPrice"])
        await session.stop(3600, 11_000)
        assert portal.payment(payment.key).gross == Decimal("65.00")


@both
async def test_a_wrong_figure_of_the_charger_is_loud(tmp_path: Path, version: str) -> None:
    async with running_portal(tmp_path / "db", expect=("cost_mismatch",)) as portal, public_charger(portal, version) as station:
        await portal.pay("CP001", 1, PaymentMethod.CARD)
        session = Session(station, await station.until_remote_start())
        await session.start()
        await session.stop(3600, 11_000, cost=cost("64.99", "13.00", 10_000, "3600"))
        (row,) = portal.books()
        assert "portal 65.00" in row.mismatch
        assert row.gross == Decimal("65.00")


async def test_unreadable_figures_are_refused_and_kept(tmp_path: Path) -> None:
    async with running_portal(tmp_path / "db", expect=("bad_session_cost",)) as portal, public_charger(portal, "1.6") as station:
        for data in ("{", "{}", '{"transactionId":1}'):
            said = {"vendorId": "charger-agent", "messageId": "SessionCost", "data": data}
            assert await station.call("DataTransfer", said) == {"status": "Rejected"}
        assert await station.call("DataTransfer", {"vendorId": "charger-agent", "messageId": "Other"}) == {"status": "UnknownMessageId"}
        assert await station.call("DataTransfer", {"vendorId": "other"}) == {"status": "UnknownVendorId"}


@both
async def test_what_refers_to_unknown_transactions_is_answered_and_flagged(tmp_path: Path, version: str) -> None:
    expect = ("unknown_transaction",) if version == "1.6" else ()
    async with running_portal(tmp_path / "db", expect=expect) as portal, public_charger(portal, version) as station:
        session = Session(station, "CARD")
        if version == "1.6":
            session.transaction_id = -1
        await session.meter(10, 1100)
        await session.stop(20, 1200)
        if version == "2.0.1":
            (row,) = portal.books()
            assert (row.started_at, row.is_settled, row.stop_wh) == (None, False, 1200)


@both
async def test_commands_reach_the_charger(tmp_path: Path, version: str) -> None:
    async with running_portal(tmp_path / "db") as portal, public_charger(portal, version) as station:
        assert await portal.remote_start("CP001", 1, "CARD", 5)
        assert await portal.remote_stop("CP001", "1001")
        assert await portal.change_availability("CP001", operative=False) == "Accepted"
        assert await portal.reset("CP001", hard=True)
        assert await portal.unlock("CP001", 1) == "Unlocked"
        assert await portal.clear_cache("CP001")
        assert await portal.trigger_message("CP001", "StatusNotification", 1)
        assert (await portal.data_transfer("CP001", "v", "m", "d"))["status"] == "Accepted"
        name = "HeartbeatInterval" if version == "1.6" else "OCPPCommCtrlr.HeartbeatInterval"
        assert await portal.get_settings("CP001", name) == {name: "1"}
        assert await portal.set_settings("CP001", {name: "60"}) == ()
        assert {"Reset", "UnlockConnector", "ClearCache", "TriggerMessage", "DataTransfer"} <= {action for action, _ in station.received}
        with pytest.raises(ChargerOfflineError):
            await portal.clear_cache("CP999")


async def test_a_charger_that_never_answers_keeps_the_payment_until_the_start_time_out(tmp_path: Path) -> None:
    options: dict[str, Any] = {"call_timeout_s": 0.2, "start_timeout_s": 0.3}
    async with running_portal(tmp_path / "db", **options) as portal, public_charger(portal, "1.6") as station:
        station.answers["RemoteStartTransaction"] = lambda payload: None
        payment = await portal.pay("CP001", 1, PaymentMethod.CARD)
        await portal.wait_until(lambda: portal.payment(payment.key).state is PaymentState.VOIDED, 5)
        assert "not started in time" in portal.payment(payment.key).reason


async def test_the_wire_can_be_cut_and_closed_by_the_rig(tmp_path: Path) -> None:
    async with running_portal(tmp_path / "db") as portal:
        for end in (portal.disconnect, lambda identity: asyncio.to_thread(lambda: None)):
            async with public_charger(portal, "1.6") as station:
                await end("CP001")
                portal.cut("CP001")
                await station.socket.wait_closed()
                assert UID not in repr(portal.anomalies())
