"""The client over TLS on a board that did not know the time: what becomes of the connection when the CSMS tells it."""

import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from agent.domain.events import LinkState
from agent.domain.time import wire_time
from agent.ocpp_client.transport import ClientSettings
from tests.ocpp_client.peers import Csms, until
from tests.ocpp_client.rig import Station
from tests.ocpp_client.test_transport import Known, day, server_context

pytestmark = pytest.mark.virtual_time


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def csms_from_to(authority: trustme.CA, begin: float, end: float) -> Csms:
    context: ssl.SSLContext = server_context(authority.issue_cert("localhost", not_before=day(begin), not_after=day(end)))
    return Csms(tls=context)


def saying(utc: datetime) -> Mapping[str, Any]:
    return {"status": "Accepted", "interval": 300, "currentTime": wire_time(utc)}


def station(csms: Csms, authority: trustme.CA, folder: Path, known: Known) -> Station:
    ca_file, password_file = folder / "ca.pem", folder / "password"
    authority.cert_pem.write_to_path(str(ca_file))
    password_file.write_text("a-password-of-the-lab")
    settings = ClientSettings(station_id="CP1", url=csms.url, security_profile=2, password_file=password_file, ca_file=ca_file)
    return Station(csms.url, settings=settings, time_source=known)


@pytest.mark.pain(27)
async def test_a_board_that_wakes_up_in_the_past_connects_and_is_told_the_time(authority: trustme.CA, tmp_path: Path) -> None:
    """Its clock shows a time a month before the certificate begins; the newest time on disk is ten days old."""
    now = day(30)
    async with csms_from_to(authority, 25, 115).running() as csms:
        csms.on["BootNotification"] = lambda _: saying(now)
        charger = station(csms, authority, tmp_path, Known(day(20)))
        async with charger.running():
            await charger.accepted()
            status = charger.client.status()
            assert not status.is_unsure
            assert status.chain[0].not_after.date() == day(115).date()
            assert charger.sink.times == [now.replace(microsecond=now.microsecond // 1000 * 1000)]


@pytest.mark.pain(27)
async def test_a_certificate_that_has_expired_by_the_time_that_is_told_ends_the_connection(
    authority: trustme.CA, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The floor let it pass; as soon as the time is known it does not any more, and nothing but the boot was said."""
    told = day(200)
    async with csms_from_to(authority, 25, 115).running() as csms:
        csms.on["BootNotification"] = lambda _: saying(told)
        charger = station(csms, authority, tmp_path, Known(day(20)))
        async with charger.running():
            await until(lambda: len(csms.links) >= 3)
            assert set(csms.actions()) == {"BootNotification"}
            assert charger.sink.times == [], "such a time is kept nowhere"
            assert "expired" in charger.client.status().last_error
            assert "renew" in charger.client.status().cure
            assert "TLS without knowing the time" in caplog.text
            told = day(100)  # the CSMS's own clock was wrong: nobody has to come here
            await charger.accepted()
            assert len(charger.sink.times) == 1


@pytest.mark.parametrize("told", [day(-3000), day(3000)], ids=["long ago", "far ahead"])
async def test_a_csms_cannot_say_a_time_at_which_its_own_certificate_is_not_valid(
    told: datetime, authority: trustme.CA, tmp_path: Path
) -> None:
    """A clock, once set so far ahead, would refuse every certificate from then on, and nobody could tell it the right time."""
    async with csms_from_to(authority, -10, 100).running() as csms:
        csms.on["BootNotification"] = lambda _: saying(told)
        charger = station(csms, authority, tmp_path, Known(datetime(2026, 1, 1, tzinfo=UTC)))
        async with charger.running():
            await charger.accepted()
            assert charger.sink.times == []
            csms.on["Heartbeat"] = lambda _: {"currentTime": wire_time(day(0))}
            await until(lambda: charger.sink.times)
            assert abs(charger.sink.times[0] - day(0)) < timedelta(minutes=1)
            assert charger.client.status().state is LinkState.ACCEPTED
