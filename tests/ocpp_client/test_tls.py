"""TLS contexts: what they demand, and what a technician is told. Handshakes are in `test_transport`."""

import ssl
from pathlib import Path

import pytest
import trustme

from agent.ocpp_client.tls import client_context, cure


def test_the_context_demands_a_verified_server_and_tls_1_2(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    context = client_context(path)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert len(context.get_ca_certs()) == 1


def test_the_suites_of_the_standard_are_offered_and_weak_ones_are_not() -> None:
    """A00.FR.318 and forward secrecy."""
    names = {suite["name"] for suite in client_context(None).get_ciphers()}
    assert names >= {
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES256-GCM-SHA384",
    }
    assert all(name.startswith(("ECDHE-", "TLS_")) for name in names)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        client_context(tmp_path / "nowhere.pem")


@pytest.mark.parametrize(
    ("words", "cure_words"),
    [
        ("tlsv1 alert protocol version", "TLS 1.2"),
        ("sslv3 alert handshake failure", "ECDHE"),
        ("wrong version number", "TLS 1.2"),
        ("something else", "speaks TLS"),
    ],
)
def test_every_failure_has_a_cure(words: str, cure_words: str) -> None:
    assert cure_words in cure(ssl.SSLError(1, words))
