"""Why does it not connect? Each step of the way is broken once, on real sockets: the doctor names it and its cure, and disturbs nothing."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from agent.domain.events import LinkState
from agent.ocpp_client.doctor import Outcome, Step, examine
from agent.ocpp_client.transport import ClientSettings, Phase
from tests.ocpp_client.peers import Csms, Silence, raw_server, response, until
from tests.ocpp_client.rig import Station, boot
from tests.ocpp_client.test_transport import Known, day, server_context

pytestmark = [pytest.mark.virtual_time, pytest.mark.pain(42)]

WAY = ["settings", "name", "tcp", "http", "subprotocol", "boot", "clock"]
SECURE_WAY = ["settings", "name", "tcp", "tls", "http", "subprotocol", "certificates", "boot", "clock"]


def now() -> float:
    return asyncio.get_running_loop().time()


async def asked(station: Station, csms_ahead_s: float | None = 0.2) -> list[Step]:
    began = now()
    found = await examine(station.client, lambda: (csms_ahead_s, datetime.now(UTC)))
    assert now() - began < 7, "the socket answers within 8 s"
    return list(found)


def failed_at(steps: list[Step], name: str) -> Step:
    """The one step that failed: all before it are well, none after it was reached, and it has a cure."""
    index = next(number for number, step in enumerate(steps) if step.name == name)
    assert all(step.outcome is Outcome.OK for step in steps[:index]), steps
    assert all(step.outcome is Outcome.NOT_REACHED for step in steps[index + 1 :]), steps
    assert steps[index].outcome is Outcome.FAILED
    assert steps[index].text
    assert steps[index].cure
    return steps[index]


@contextlib.asynccontextmanager
async def dialling(url: str, **more: Any) -> AsyncIterator[Station]:
    """A station that has tried in vain at least once."""
    station = Station(url, **more)
    async with station.running():
        await until(lambda: station.client.status().failure is not None)
        yield station


async def test_all_is_well_and_the_running_connection_is_not_touched() -> None:
    csms = Csms()
    async with csms.running():
        station = Station(csms.url)
        async with station.running():
            await station.accepted()
            frames = len(csms.frames)
            steps = await asked(station)
            assert [step.name for step in steps] == WAY
            assert {step.outcome for step in steps} == {Outcome.OK}
            assert (len(csms.links), len(csms.requests), len(csms.frames)) == (1, 1, frames)


async def test_a_name_that_nobody_knows() -> None:
    class Nameless:
        async def connect(self, host: str, port: int) -> socket.socket:
            raise socket.gaierror(-2, "Name or service not known")

    station = Station("ws://csms.example/")
    station.client._transport._network = Nameless()
    async with station.running():
        await until(lambda: station.client.status().failure is not None)
        step = failed_at(await asked(station), Phase.NAME)
        assert "csms.example" in step.text
        assert "DNS" in step.cure


async def test_a_port_where_nobody_listens() -> None:
    async with dialling("ws://localhost:1/") as station:
        assert "localhost:1" in failed_at(await asked(station), Phase.TCP).text


@pytest.mark.parametrize(("status", "words"), [(404, "station.id"), (401, "password"), (403, "operator")])
async def test_a_typo_in_the_path_a_wrong_identity_a_wrong_password(status: int, words: str) -> None:
    csms = Csms()
    csms.refusals = [response(status) for _ in range(50)]
    async with csms.running(), dialling(csms.url) as station:
        step = failed_at(await asked(station), Phase.HTTP)
        assert str(status) in step.text
        assert words in step.cure


async def test_no_common_version() -> None:
    async with Csms(None).running() as csms, dialling(csms.url) as station:
        assert "ocpp.versions" in failed_at(await asked(station), Phase.SUBPROTOCOL).cure


@pytest.mark.parametrize(("status", "words"), [("Pending", "add the charger"), ("Rejected", "identity")])
async def test_a_boot_that_is_not_accepted(status: str, words: str) -> None:
    csms = Csms()
    csms.on["BootNotification"] = lambda _: boot(status, 600)
    async with csms.running():
        station = Station(csms.url)
        async with station.running():
            await station.state(LinkState[status.upper()])
            steps = await asked(station)
            (step,) = [step for step in steps if step.outcome is not Outcome.OK]
            assert step.name == "boot"
            assert words in step.cure


async def test_a_csms_that_is_silent_to_the_boot() -> None:
    def silent(_: Mapping[str, Any]) -> Mapping[str, Any]:
        raise Silence

    csms = Csms()
    csms.on["BootNotification"] = silent
    async with csms.running():
        station = Station(csms.url)
        async with station.running():
            await station.state(LinkState.CONNECTED)
            await until(lambda: csms.links)
            assert "silent" in failed_at(await asked(station, None), "boot").cure


async def test_a_csms_that_accepts_the_socket_and_closes_it() -> None:
    csms = Csms()

    async def close(link: Any) -> None:
        await link.close(1008, "unknown station")

    csms.on_open = close
    async with csms.running():
        station = Station(csms.url)
        async with station.running():
            await until(lambda: station.client.status().last_error)
            step = failed_at(await asked(station), "boot")
            assert "1008" in step.text
            assert "operator" in step.cure


async def test_a_server_that_never_finishes() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw_server(talk) as port:
        station = Station(f"ws://localhost:{port}/")
        async with station.running():
            await asyncio.sleep(1)
            steps = await asked(station)
            assert {step.name: step.outcome for step in steps}["http"] is Outcome.RUNNING
            await asyncio.sleep(40)
            assert "30 s" in failed_at(await asked(station), Phase.HTTP).text


def secure(url: str, folder: Path, authority: trustme.CA) -> ClientSettings:
    ca_file, password_file = folder / "ca.pem", folder / "password"
    authority.cert_pem.write_to_path(str(ca_file))
    password_file.write_text("a-password-of-the-lab")
    return ClientSettings(station_id="CP1", url=url, security_profile=2, password_file=password_file, ca_file=ca_file)


@pytest.mark.parametrize(
    ("case", "words"), [("expired", "renew"), ("another host", "host"), ("unknown root", "ca_file"), ("no password file", "password")]
)
async def test_what_is_wrong_with_tls(case: str, words: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    issuer = trustme.CA() if case == "unknown root" else authority
    end = datetime.now(UTC) + timedelta(days=-1 if case == "expired" else 100)
    context: ssl.SSLContext = server_context(issuer.issue_cert("other.example" if case == "another host" else "localhost", not_after=end))
    async with Csms(tls=context).running() as csms:
        settings = secure(csms.url, tmp_path, authority)
        if case == "no password file":
            (tmp_path / "password").unlink()
        async with dialling(csms.url, settings=settings) as station:
            step = failed_at(await asked(station), Phase.SETTINGS if case == "no password file" else Phase.TLS)
            assert words in step.cure
        assert csms.requests == []


async def test_the_chain_is_listed_with_its_dates(tmp_path: Path) -> None:
    authority = trustme.CA()
    context: ssl.SSLContext = server_context(authority.issue_cert("localhost", not_before=day(-396), not_after=day(5.5)))
    async with Csms(tls=context).running() as csms:
        settings = secure(csms.url, tmp_path, authority)
        station = Station(csms.url, settings=settings, time_source=Known(day(-100)))
        csms.on["BootNotification"] = lambda _: {
            "status": "Accepted",
            "interval": 300,
            "currentTime": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        }
        async with station.running():
            await station.accepted()
            steps = await asked(station)
            assert [step.name for step in steps] == SECURE_WAY
            listed = next(step for step in steps if step.name == "certificates")
            assert f"{day(5.5):%Y-%m-%d}" in listed.text
            assert "renewed" in listed.cure
            assert "TLSv1." in next(step for step in steps if step.name == "tls").text


async def test_a_clock_that_is_far_off_is_named() -> None:
    csms = Csms()
    async with csms.running():
        station = Station(csms.url)
        async with station.running():
            await station.accepted()
            step = failed_at(await asked(station, 600.0), "clock")
            assert "+600.0 s" in step.text


async def test_asking_ends_a_long_wait_but_not_again_and_again() -> None:
    """Whoever repairs the cable wants to know now; who asks in a loop must not hammer the CSMS."""
    station = Station("ws://localhost:1/")
    async with station.running():
        await asyncio.sleep(100)
        status = station.client.status()
        assert status.next_attempt_s is not None
        assert status.next_attempt_s > 20
        attempts = len(station.network.attempts)
        for _ in range(20):
            await asked(station)
        assert len(station.network.attempts) == attempts + 1


async def test_a_csms_that_asked_to_be_left_alone_is() -> None:
    csms = Csms()
    csms.refusals = [response(503, Retry_After="600")]
    async with csms.running(), dialling(csms.url) as station:
        assert "503" in failed_at(await asked(station), Phase.HTTP).text
        assert len(csms.requests) == 1
