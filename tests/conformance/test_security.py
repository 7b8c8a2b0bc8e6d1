"""Security profiles 0 to 2 as a CSMS sees them: Basic authentication, the server's certificate, TLS."""

import base64
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.conformance.csms import Kind
from tests.conformance.laboratory import STATION, laboratory

pytestmark = pytest.mark.virtual_time

VALID = {
    "1.6": ("GetConfiguration", {}),
    "2.0.1": ("GetVariables", {"getVariableData": [{"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "HeartbeatInterval"}}]}),
}
PASSWORD = "a-long-password-16"
ALLOWED_CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM",
    "ECDHE-ECDSA-AES256-GCM",
    "ECDHE-RSA-AES128-GCM",
    "ECDHE-RSA-AES256-GCM",
    "TLS_AES",
)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def stranger() -> trustme.CA:
    return trustme.CA()


def server(authority: trustme.CA, name: str = "localhost") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def options(folder: Path, profile: int, authority: trustme.CA | None = None) -> dict[str, Any]:
    """What a bench needs for a security profile."""
    password = folder / "password"
    password.write_text(f"{PASSWORD}\n", encoding="ascii")
    password.chmod(0o600)
    security = f'security_profile = {profile}\npassword_file = "{password}"\n'
    if authority is not None:
        authority.cert_pem.write_to_path(folder / "roots.pem")
        security += f'ca_file = "{folder / "roots.pem"}"\n'
    return {"security": security}


def credentials(bench: Any) -> str:
    scheme, text = bench.csms.requests[-1].headers["Authorization"].split()
    assert scheme == "Basic"
    return base64.b64decode(text).decode()


HASH = {"hashAlgorithm": "SHA256", "issuerNameHash": "aa", "issuerKeyHash": "bb", "serialNumber": "1"}
PROFILE = {
    "ocppVersion": "OCPP20",
    "ocppTransport": "JSON",
    "ocppCsmsUrl": "ws://attacker.example/",
    "messageTimeout": 30,
    "securityProfile": 1,
    "ocppInterface": "Wired0",
}
NOT_BUILT: dict[str, list[tuple[str, dict[str, Any], int]]] = {
    # action, payload, pain
    "1.6": [
        ("InstallCertificate", {"certificateType": "CentralSystemRootCertificate", "certificate": "x"}, 46),
        ("DeleteCertificate", {"certificateHashData": HASH}, 46),
        ("CertificateSigned", {"certificateChain": "x"}, 44),
        ("SignedUpdateFirmware", {"requestId": 1, "firmware": {"location": "http://attacker.example/"}}, 48),
        ("UpdateFirmware", {"location": "http://attacker.example/", "retrieveDate": "2026-06-01T00:00:00Z"}, 48),
    ],
    "2.0.1": [
        ("InstallCertificate", {"certificateType": "CSMSRootCertificate", "certificate": "x"}, 46),
        ("DeleteCertificate", {"certificateHashData": HASH}, 46),
        ("CertificateSigned", {"certificateChain": "x"}, 44),
        (
            "UpdateFirmware",
            {"requestId": 1, "firmware": {"location": "http://attacker.example/", "retrieveDateTime": "2026-06-01T00:00:00Z"}},
            48,
        ),
        ("PublishFirmware", {"location": "http://attacker.example/", "checksum": "x", "requestId": 1}, 48),
        ("SetNetworkProfile", {"configurationSlot": 1, "connectionData": PROFILE}, 38),
    ],
}


@pytest.mark.parametrize(
    ("version", "action", "payload"),
    [
        pytest.param(version, action, payload, marks=pytest.mark.pain(number), id=f"{version} {action}")
        for version, rows in NOT_BUILT.items()
        for action, payload, number in rows
    ],
)
async def test_what_could_replace_keys_firmware_or_the_way_to_the_portal_is_refused_and_changes_nothing(
    tmp_path: Path, version: str, action: str, payload: dict[str, Any]
) -> None:
    """Not built yet, and so not half built: over an unsecured profile nobody may change what security rests on."""
    async with laboratory(tmp_path, version, **options(tmp_path, 1)) as bench:
        before = {file: file.read_bytes() for file in tmp_path.glob("*") if file.suffix in {".toml", ".pem"} or file.name == "password"}
        assert len(before) >= 2
        answer = await bench.csms.ask([2, "not-built", action, payload])
        assert answer.kind is Kind.ERROR
        assert answer["code"] in {"NotSupported", "NotImplemented"}
        assert {file: file.read_bytes() for file in before} == before
        await bench.csms.call(*VALID[version])
        assert len(bench.csms.links) == 1


@pytest.mark.pain(38)
@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_a_csms_cannot_set_what_would_make_the_station_unreachable(tmp_path: Path, version: str) -> None:
    """Address, identity, profile and password are not to be changed by a message until a change can be tried and taken back."""
    names = {
        "1.6": [("AuthorizationKey", "0011223344556677"), ("SecurityProfile", "2"), ("MessageTimeout", "0"), ("HeartbeatInterval", "-1")],
        "2.0.1": [
            ("SecurityCtrlr.BasicAuthPassword", "a-new-password-of-16"),
            ("SecurityCtrlr.SecurityProfile", "3"),
            ("SecurityCtrlr.Identity", "CP002"),
            ("OCPPCommCtrlr.NetworkConfigurationPriority", "1"),
            ("OCPPCommCtrlr.RetryBackOffWaitMinimum", "1000000"),
            ("OCPPCommCtrlr.MessageTimeout", "0"),
        ],
    }[version]
    async with laboratory(tmp_path, version, **options(tmp_path, 1)) as bench:
        for name, value in names:
            if version == "1.6":
                status = (await bench.csms.call("ChangeConfiguration", {"key": name, "value": value}))["status"]
            else:
                component, _, variable = name.partition(".")
                item = {"attributeValue": value, "component": {"name": component}, "variable": {"name": variable}}
                answer = await bench.csms.call("SetVariables", {"setVariableData": [item]})
                status = answer["setVariableResult"][0]["attributeStatus"]
            assert status in {"Rejected", "NotSupported", "UnknownVariable"}, name
        await bench.csms.link.close()
        await bench.until(lambda: len(bench.csms.links) == 2)
        assert credentials(bench) == f"{STATION}:{PASSWORD}"


@pytest.mark.parametrize(
    "version",
    [pytest.param("1.6", marks=pytest.mark.tc("TC_085_CS")), pytest.param("2.0.1", marks=pytest.mark.tc("TC_A_01_CS"))],
)
async def test_basic_authentication(tmp_path: Path, version: str) -> None:
    """The user is the station's identity, the password that of the file, in the first request already."""
    async with laboratory(tmp_path, version, **options(tmp_path, 1)) as bench:
        assert credentials(bench) == f"{STATION}:{PASSWORD}"


@pytest.mark.parametrize(
    "version",
    [pytest.param("1.6", marks=pytest.mark.tc("TC_086_CS")), pytest.param("2.0.1", marks=pytest.mark.tc("TC_A_04_CS"))],
)
async def test_a_valid_certificate(tmp_path: Path, authority: trustme.CA, version: str) -> None:
    """TLS 1.2 or newer with an allowed cipher, and Basic authentication inside; a session is charged over it."""
    async with laboratory(tmp_path, version, tls=server(authority), **options(tmp_path, 2, authority)) as bench:
        channel = bench.csms.link.transport.get_extra_info("ssl_object")
        assert channel.version() in {"TLSv1.2", "TLSv1.3"}
        assert channel.cipher()[0].startswith(ALLOWED_CIPHERS)
        assert credentials(bench) == f"{STATION}:{PASSWORD}"
        await bench.charge()


@pytest.mark.tc("TC_A_04_CS", "TC_086_CS")
async def test_tls_1_2_is_enough(tmp_path: Path, authority: trustme.CA) -> None:
    """The oldest version that is allowed, with a cipher of the list."""
    context = server(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with laboratory(tmp_path, "2.0.1", tls=context, **options(tmp_path, 2, authority)) as bench:
        channel = bench.csms.link.transport.get_extra_info("ssl_object")
        assert channel.version() == "TLSv1.2"
        assert channel.cipher()[0].startswith(ALLOWED_CIPHERS)


@pytest.mark.parametrize(
    "version",
    [
        pytest.param("1.6", marks=pytest.mark.tc("TC_078_CS", partly="SecurityEventNotification is not built")),
        pytest.param("2.0.1", marks=pytest.mark.tc("TC_A_05_CS", partly="SecurityEventNotification is not built")),
    ],
)
@pytest.mark.parametrize("wrong", ["an unknown root", "another name"])
async def test_an_invalid_certificate(tmp_path: Path, authority: trustme.CA, stranger: trustme.CA, version: str, wrong: str) -> None:
    """Not a word is said to such a server, and the station keeps trying; it connects when the certificate is right."""
    bad = server(stranger) if wrong == "an unknown root" else server(authority, "elsewhere.example")
    async with laboratory(tmp_path, version, boots=False, tls=bad, **options(tmp_path, 2, authority)) as bench:
        csms = bench.csms
        await csms.silence(30)
        assert not csms.requests, "the password is in the first request"
        assert "certificate" in bench.app.client.status().last_error.lower()
        await csms.close()
        csms.tls = server(authority)
        await csms.open()
        await bench.booted()
        assert credentials(bench) == f"{STATION}:{PASSWORD}"
