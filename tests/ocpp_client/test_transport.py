"""The way to the CSMS: upgrade, password, redirects, subprotocol, TLS, pings. Real sockets."""

import asyncio
import base64
import contextlib
import logging
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.utils import accept_key

from agent.ocpp_client.transport import ClientSettings, ConnectFailed, ConnectionLost, Transport, way_to
from tests.ocpp_client.peers import Csms, Network, raw_server, response, until

PASSWORD = b"p\xc3\xa5ssword-of-the-lab"


def settings(url: str, profile: int = 0, **more: Path) -> ClientSettings:
    return ClientSettings(station_id="CP 1/ø", url=url, security_profile=profile, **more)


def transport(url: str, profile: int = 0, **more: Path) -> Transport:
    return Transport(settings(url, profile, **more), Network(), ("ocpp2.0.1", "ocpp1.6"))


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_bytes(PASSWORD + b"\n")
    return path


async def test_the_identity_is_encoded_and_appended() -> None:
    async with Csms().running() as csms:
        connection = await transport(csms.url).open()
        assert csms.requests[0].path == "/ocpp/CP%201%2F%C3%B8"
        await connection.close()


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("ws://h:9000/", "ws://h:9000/CP1"),
        ("ws://h", "ws://h/CP1"),
        ("ws://h/a/b", "ws://h/a/b/CP1"),
        ("ws://h/a/?tenant=7", "ws://h/a/CP1?tenant=7"),
        ("ws://[::1]:9/", "ws://[::1]:9/CP1"),
    ],
)
def test_the_identity_is_the_last_part_of_the_path(url: str, whole: str) -> None:
    given = ClientSettings(station_id="CP1", url=url, security_profile=0)
    assert Transport(given, Network(), ("ocpp1.6",)).url == whole


@pytest.mark.parametrize(
    ("url", "profile", "station_id", "words"),
    [
        ("http://h/", 0, "CP1", "needs a ws:// address"),
        ("wss://h/", 1, "CP1", "needs a ws:// address"),
        ("ws://h/", 2, "CP1", "needs a wss:// address"),
        ("ws://h/", 3, "CP1", "allowed are 0, 1 and 2"),
        ("ws:///x", 0, "CP1", "has no host"),
        ("ws://CP1:secret@h/", 0, "CP1", "carries a password"),
        ("ws://h/", 1, "CP1", "password_file is missing"),
    ],
)
def test_contradicting_settings_are_refused(url: str, profile: int, station_id: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        Transport(ClientSettings(station_id=station_id, url=url, security_profile=profile), Network(), ("ocpp1.6",))
    assert "secret" not in str(error.value)


def test_an_identity_with_a_colon_cannot_authenticate(password_file: Path) -> None:
    given = ClientSettings(station_id="a:b", url="ws://h/", security_profile=1, password_file=password_file)
    with pytest.raises(ValueError, match="may hold no ':'"):
        Transport(given, Network(), ("ocpp1.6",))


@pytest.mark.pain(40)
async def test_both_versions_are_offered_and_the_servers_choice_holds() -> None:
    async with Csms("ocpp1.6").running() as csms:
        connection = await transport(csms.url).open()
        assert connection.subprotocol == "ocpp1.6"
        assert csms.requests[0].headers["Sec-WebSocket-Protocol"] == "ocpp2.0.1, ocpp1.6"
        assert "Sec-WebSocket-Extensions" not in csms.requests[0].headers
        assert "Authorization" not in csms.requests[0].headers
        await connection.close()


@pytest.mark.parametrize("answer", [None, "ocpp2.1"])
async def test_without_a_common_version_nothing_is_sent(answer: str | None) -> None:
    async with Csms(answer).running() as csms:
        with pytest.raises(ConnectFailed) as failed:
            await transport(csms.url).open()
        assert csms.frames == []
    assert "ocpp" in str(failed.value)


@pytest.mark.pain(47)
async def test_the_password_goes_to_the_server_and_nowhere_else(password_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with Csms().running() as csms:
        client = transport(csms.url, 1, password_file=password_file)
        connection = await client.open()
        header = csms.requests[0].headers["Authorization"]
        assert base64.b64decode(header.removeprefix("Basic ")) == "CP 1/ø:".encode() + PASSWORD
        await connection.send('[2,"1","Authorize",{"idTag":"SECRET-TOKEN"}]')
        await until(lambda: csms.frames)
        await connection.close()
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("websockets.server")]
    assert not any("Authorization" in line or "SECRET-TOKEN" in line for line in ours)
    assert "word" not in repr(client)


async def test_a_new_password_is_used_without_a_restart(password_file: Path) -> None:
    async with Csms().running() as csms:
        client = transport(csms.url, 1, password_file=password_file)
        await (await client.open()).close()
        password_file.write_bytes(b"another-one")
        await (await client.open()).close()
        assert csms.requests[0].headers["Authorization"] != csms.requests[1].headers["Authorization"]


async def test_a_missing_password_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConnectFailed, match="nowhere cannot be read"):
        await transport("ws://localhost:1/", 1, password_file=tmp_path / "nowhere").open()


@pytest.mark.pain(42)
@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 429, 500, 503])
async def test_a_refused_upgrade_says_what_to_do(status: int) -> None:
    async with Csms().running() as csms:
        csms.refusals.append(response(status))
        with pytest.raises(ConnectFailed) as failed:
            await transport(csms.url).open()
    assert failed.value.status == status
    assert f"HTTP {status}" in failed.value.reason
    assert failed.value.cure


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry_After": "120"}, 120.0),
        ({"Retry_After": "Thu, 01 Jan 2026 10:05:00 GMT", "Date": "Thu, 01 Jan 2026 10:00:00 GMT"}, 300.0),
        ({"Retry_After": "Thu, 01 Jan 2026 09:05:00 GMT", "Date": "Thu, 01 Jan 2026 10:00:00 GMT"}, 0.0),
        ({"Retry_After": "soon"}, None),
        ({"Retry_After": "-5"}, None),
        ({}, None),
    ],
)
async def test_retry_after_is_read(headers: dict[str, str], wait: float | None) -> None:
    async with Csms().running() as csms:
        csms.refusals.append(response(503, **headers))
        with pytest.raises(ConnectFailed) as failed:
            await transport(csms.url).open()
    assert failed.value.retry_after_s == wait


@pytest.mark.pain(48)
@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("target", ["same", "ws://localhost:{other}/", "http://localhost:{other}/", "nonsense://"])
async def test_a_redirect_is_not_followed(status: int, target: str, password_file: Path) -> None:
    async with Csms().running() as csms, Csms().running() as other:
        csms.refusals.append(response(status, Location=target.format(other=other.port)))
        with pytest.raises(ConnectFailed, match="redirects") as failed:
            await transport(csms.url, 1, password_file=password_file).open()
        assert other.requests == []
        assert len(csms.requests) == 1
    assert failed.value.status == status


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"\x00" * 100,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 2**21,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000,
        b"HTTP/1.1 401 No\r\nContent-Length: 100000000\r\n\r\n",
    ],
    ids=["close", "words", "zeros", "accept", "bare", "2MB-header", "5000-headers", "huge-body"],
)
async def test_garbage_instead_of_an_upgrade_is_a_failure(answer: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    async with raw_server(talk) as port:
        with pytest.raises(ConnectFailed) as failed:
            await transport(f"ws://localhost:{port}/").open()
    assert len(str(failed.value)) < 400


@pytest.mark.pain(29)
@pytest.mark.virtual_time
@pytest.mark.parametrize("drip", [b"", b"H"])
async def test_a_silent_or_dripping_server_meets_a_total_deadline(drip: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while drip and not writer.is_closing():
            writer.write(drip)
            await asyncio.sleep(1)
        await reader.read()

    async with raw_server(talk) as port:
        began = asyncio.get_running_loop().time()
        with pytest.raises(ConnectFailed, match="did not finish"):
            await transport(f"ws://localhost:{port}/").open()
        assert asyncio.get_running_loop().time() - began == pytest.approx(30, abs=1)


async def test_a_refused_tcp_connection_is_a_failure() -> None:
    network = Network()
    network.is_up = False
    with pytest.raises(ConnectFailed, match="no TCP connection to localhost:1: Network is unreachable"):
        await Transport(settings("ws://localhost:1/"), network, ("ocpp1.6",)).open()


async def test_a_name_that_does_not_resolve_is_a_failure() -> None:
    class Nameless(Network):
        async def connect(self, host: str, port: int) -> socket.socket:
            raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(ConnectFailed, match="the name h cannot be resolved: Name or service not known") as failed:
        await Transport(settings("ws://h:1/"), Nameless(), ("ocpp1.6",)).open()
    assert "DNS" in failed.value.cure


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 1012, 1013, 4000])
async def test_the_servers_close_is_reported_with_its_code(code: int) -> None:
    async with Csms().running() as csms:
        connection = await transport(csms.url).open()
        await until(lambda: csms.links)
        closing = asyncio.ensure_future(csms.link.close(code, "Unknown station\n"))
        with pytest.raises(ConnectionLost) as lost:
            await connection.receive()
        await closing
    assert lost.value.code == code
    assert "\n" not in lost.value.reason


async def test_a_cut_connection_is_reported() -> None:
    async with Csms().running() as csms:
        connection = await transport(csms.url).open()
        await until(lambda: csms.links)
        csms.link.transport.abort()
        with pytest.raises(ConnectionLost, match="broke"):
            await connection.receive()


async def test_a_frame_over_a_megabyte_ends_the_connection_with_1009() -> None:
    async with Csms().running() as csms:
        connection = await transport(csms.url).open()
        await until(lambda: csms.links)
        sending = asyncio.ensure_future(csms.link.send("x" * (2**20 + 1)))
        with pytest.raises(ConnectionLost) as lost:
            await connection.receive()
        await asyncio.wait([sending])
        assert lost.value.code == 1009
        sending.exception()


@pytest.mark.pain(28)
async def test_small_frames_are_not_held_back_by_the_kernel_and_unanswered_ones_end_the_link() -> None:
    """A socket made with proto=0 gets no TCP_NODELAY from asyncio; data that nobody acknowledges is given up after a minute."""
    made: list[socket.socket] = []

    class Watched(Network):
        async def connect(self, host: str, port: int) -> socket.socket:
            made.append(await super().connect(host, port))
            return made[0]

    async with Csms().running() as csms:
        connection = await Transport(settings(csms.url), Watched(), ("ocpp1.6",)).open()
        assert made[0].proto == 0
        assert made[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert made[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000
        await connection.close()


async def test_a_ping_that_is_answered_is_fine() -> None:
    async with Csms().running() as csms:
        connection = await transport(csms.url).open()
        await connection.ping(5)
        await connection.close()


@pytest.mark.pain(28)
@pytest.mark.virtual_time
async def test_a_ping_without_a_pong_finds_the_half_open_link() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        key = next(line.split(b": ")[1] for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: ocpp1.6\r\n"
            b"Sec-WebSocket-Accept: " + accept_key(key.decode()).encode() + b"\r\n\r\n"
        )
        await reader.read()

    async with raw_server(talk) as port:
        connection = await transport(f"ws://localhost:{port}/").open()
        with pytest.raises(ConnectionLost, match="no pong within 20 s"):
            await connection.ping(20)
        connection.abort()
        await connection.close()


# ------------------------------------------------------------------------------------------------------------------ TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


async def test_profile_2_connects_to_a_verified_server(authority: trustme.CA, ca_file: Path, password_file: Path) -> None:
    async with Csms(tls=server_context(authority.issue_cert("localhost"))).running() as csms:
        client = transport(csms.url, 2, password_file=password_file, ca_file=ca_file)
        connection = await client.open()
        assert connection.subprotocol == "ocpp1.6"
        assert "Authorization" in csms.requests[0].headers
        await connection.close()


def not_yet_valid() -> datetime:
    return datetime.now(UTC) + timedelta(days=2)


@pytest.mark.pain(45)
@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("unknown root", "ca_file"),
        ("wrong host", "host name"),
        ("expired", "expired"),
        ("not yet valid", "clock"),
        ("self-signed", "ca_file"),
    ],
)
async def test_a_server_that_is_not_the_right_one_gets_no_password(
    case: str, words: str, authority: trustme.CA, ca_file: Path, password_file: Path, tmp_path: Path
) -> None:
    match case:
        case "unknown root":
            context = server_context(trustme.CA().issue_cert("localhost"))
        case "wrong host":
            context = server_context(authority.issue_cert("other.example"))
        case "expired":
            context = server_context(authority.issue_cert("localhost", not_after=datetime.now(UTC) - timedelta(days=1)))
        case "not yet valid":
            context = server_context(
                authority.issue_cert("localhost", not_before=not_yet_valid(), not_after=not_yet_valid() + timedelta(9))
            )
        case _:
            context = self_signed(tmp_path)
    async with Csms(tls=context).running() as csms:
        with pytest.raises(ConnectFailed, match="TLS with localhost") as failed:
            await transport(csms.url, 2, password_file=password_file, ca_file=ca_file).open()
        assert csms.requests == []
    assert words in failed.value.cure


def self_signed(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(1))
        .not_valid_after(now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "self.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@contextlib.contextmanager
def blocking_tls_server(context: ssl.SSLContext) -> Iterator[int]:
    """One handshake on a thread: unlike asyncio's server it sends the alert that says what was wrong."""

    def serve_one() -> None:
        with contextlib.suppress(OSError):
            peer, _ = listener.accept()
            with contextlib.closing(peer), context.wrap_socket(peer, server_side=True) as secured:
                secured.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve_one)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join()


@pytest.mark.pain(45)
@pytest.mark.parametrize(("weakness", "words"), [("version", "TLS 1.2"), ("cipher", "ECDHE")])
async def test_weak_tls_is_refused(weakness: str, words: str, authority: trustme.CA, ca_file: Path, password_file: Path) -> None:
    context = server_context(authority.issue_cert("localhost"))
    if weakness == "version":
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
    else:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("AES128-SHA")
    with blocking_tls_server(context) as port, pytest.raises(ConnectFailed, match="TLS with localhost") as failed:
        await transport(f"wss://localhost:{port}/", 2, password_file=password_file, ca_file=ca_file).open()
    assert words in failed.value.cure


@pytest.mark.parametrize(
    ("answer", "words"), [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "TLS with localhost"), (b"", "broke off the TLS handshake")]
)
async def test_a_server_that_speaks_no_tls_is_a_failure(answer: bytes, words: str, ca_file: Path, password_file: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        await writer.drain()

    async with raw_server(talk) as port:
        with pytest.raises(ConnectFailed, match=words) as failed:
            await transport(f"wss://localhost:{port}/", 2, password_file=password_file, ca_file=ca_file).open()
    assert "TLS" in failed.value.cure


@pytest.mark.parametrize("content", [None, b"no certificate"])
async def test_a_ca_file_that_cannot_be_read_is_named(content: bytes | None, password_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "roots.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConnectFailed, match=r"root certificates .*roots\.pem cannot be read"):
        await transport("wss://localhost:1/", 2, password_file=password_file, ca_file=path).open()


@pytest.mark.pain(43)
async def test_a_new_root_is_used_without_a_restart(authority: trustme.CA, password_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    async with Csms(tls=server_context(authority.issue_cert("localhost"))).running() as csms:
        client = transport(csms.url, 2, password_file=password_file, ca_file=path)
        with pytest.raises(ConnectFailed):
            await client.open()
        authority.cert_pem.write_to_path(str(path))
        os.utime(path, (1, 1))
        await (await client.open()).close()


# ----------------------------------------------------------------------------------------------- TLS on a board without a clock


@dataclass
class Known:
    """What the station knows about the time."""

    at_least: datetime
    ntp: datetime | None = None

    def ntp_utc(self) -> datetime | None:
        return self.ntp

    def not_before(self) -> datetime:
        return self.at_least


def day(number: float) -> datetime:
    """So many days from the system's clock, which stands for the board's."""
    return datetime.now(UTC) + timedelta(days=number)


@pytest.mark.pain(27)
@pytest.mark.parametrize(
    ("valid", "known", "is_unsure", "words"),
    [
        # The board's clock is behind the certificate's beginning: a flat battery, an image that was built long ago.
        ((20, 90), Known(day(-300)), True, None),
        ((20, 90), Known(day(30)), True, None),
        ((-20, 90), Known(day(30)), True, None),
        # It cannot be valid any more, whatever time it is.
        ((-20, 25), Known(day(30)), None, "expired"),
        ((-20, -1), Known(day(-300)), None, "expired"),
        ((20, 25), Known(day(30)), None, "expired"),
        # The board's clock is plausible, and OpenSSL judges by it.
        ((-20, 90), Known(day(-300)), False, None),
        ((-20, 90), Known(day(0.9)), False, None),
        # A time service says what time it is: no excuse any more, and no harm from a system clock that is wrong.
        ((20, 90), Known(day(-300), ntp=day(0)), None, "not valid yet"),
        ((20, 90), Known(day(-300), ntp=day(30)), False, None),
        ((-20, 20), Known(day(-300), ntp=day(30)), None, "expired"),
        ((40, 90), Known(day(-300), ntp=day(30)), None, "not valid yet"),
    ],
)
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_certificate_is_judged_by_the_best_time_that_is_known(
    valid: tuple[int, int],
    known: Known,
    is_unsure: bool | None,
    words: str | None,
    newest: ssl.TLSVersion,
    authority: trustme.CA,
    ca_file: Path,
    password_file: Path,
) -> None:
    context = server_context(authority.issue_cert("localhost", not_before=day(valid[0]), not_after=day(valid[1])))
    context.maximum_version = newest
    async with Csms(tls=context).running() as csms:
        given = settings(csms.url, 2, password_file=password_file, ca_file=ca_file)
        client = Transport(given, Network(), ("ocpp1.6",), known)
        if words is None:
            connection = await client.open()
            assert connection.is_unsure is is_unsure
            assert len(connection.chain) == 2
            assert connection.date_problem(day(valid[0] + 1)) == ""
            assert "expired" in connection.date_problem(day(valid[1] + 1))
            assert "not yet valid" in connection.date_problem(day(valid[0] - 1))
            await connection.close()
        else:
            with pytest.raises(ConnectFailed, match="TLS with localhost") as failed:
                await client.open()
            assert words in failed.value.cure
            assert csms.requests == [], "the password was not sent"


@pytest.mark.pain(27)
@pytest.mark.parametrize("link", ["intermediate", "root"])
async def test_the_whole_chain_is_judged_by_the_floor(link: str, password_file: Path, tmp_path: Path) -> None:
    """OpenSSL looks at no date then, so an intermediate or a root that is over must not slip through."""
    root = certificate("root", None, until=25 if link == "root" else 900)
    middle = certificate("middle", root, until=25 if link == "intermediate" else 900)
    leaf = certificate("localhost", middle, until=900)
    ca_file, chain_file = tmp_path / "root.pem", tmp_path / "chain.pem"
    ca_file.write_bytes(pem(root[0]))
    chain_file.write_bytes(pem(leaf[0], middle[0], key=leaf[1]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain_file)
    async with Csms(tls=context).running() as csms:
        given = settings(csms.url, 2, password_file=password_file, ca_file=ca_file)
        with pytest.raises(ConnectFailed, match=r"expired: (middle|root)"):
            await Transport(given, Network(), ("ocpp1.6",), Known(day(30))).open()
        assert csms.requests == []
        connection = await Transport(given, Network(), ("ocpp1.6",), Known(day(20))).open()
        assert len(connection.chain) == 3
        await connection.close()


@pytest.mark.parametrize("case", ["unknown root", "wrong host"])
async def test_not_knowing_the_time_excuses_nothing_else(case: str, authority: trustme.CA, ca_file: Path, password_file: Path) -> None:
    issuer, host = (trustme.CA(), "localhost") if case == "unknown root" else (authority, "other.example")
    async with Csms(tls=server_context(issuer.issue_cert(host))).running() as csms:
        given = settings(csms.url, 2, password_file=password_file, ca_file=ca_file)
        with pytest.raises(ConnectFailed, match="TLS with localhost"):
            await Transport(given, Network(), ("ocpp1.6",), Known(day(30))).open()
        assert csms.requests == []


Certified = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def certificate(name: str, issuer: Certified | None, *, until: int) -> Certified:
    """A certificate that has been valid for 300 days."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    is_ca = name != "localhost"
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(day(-300))
        .not_valid_after(day(until))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if not is_ca:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return builder.sign(key if issuer is None else issuer[1], hashes.SHA256()), key


def pem(*certificates: x509.Certificate, key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
    parts = [one.public_bytes(serialization.Encoding.PEM) for one in certificates]
    if key is not None:
        parts.append(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return b"".join(parts)


# ------------------------------------------------------------------------------------------------------ the way to the server


def test_the_systems_way_is_told_without_sending() -> None:
    assert way_to(("127.0.0.1", 9)) == "127.0.0.1"
    assert way_to(("::1", 9, 0, 0)) in {"0" * 16, None}, "the network part; a machine may have no IPv6"
    assert way_to(("255.255.255.255", 9)) is None, "not allowed, so there is none"


async def test_a_connection_from_another_address_than_the_systems_choice_stays_where_it_is() -> None:
    """A driver may bind to an interface of its own: then the system's routes are no measure."""

    class Bound(Network):
        async def connect(self, host: str, port: int) -> socket.socket:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.setblocking(False)
            sock.bind(("127.0.0.7", 0))
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
            return sock

    async with Csms().running() as csms:
        connection = await Transport(settings(csms.url), Bound(), ("ocpp1.6",)).open()
        assert not connection.has_better_way()
        await connection.close()
