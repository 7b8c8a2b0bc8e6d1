"""TLS contexts: what they demand, and what a technician is told. Handshakes are in `test_transport`."""

import inspect
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from agent.ocpp_client.tls import Dates, Validity, client_context, cure, days_warned, soonest, wrong_date


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


# ------------------------------------------------------------------------------------------------------------- expiry

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def lives(days: float, left: float, subject: str = "one") -> Validity:
    return Validity(subject=subject, not_before=NOW + timedelta(days=left - days), not_after=NOW + timedelta(days=left))


@pytest.mark.pain(43)
@pytest.mark.parametrize(
    ("life", "left", "warned"),
    [
        (3650, 91, None),
        (3650, 90, 90),
        (3650, 30, 30),
        (3650, 8, 30),
        (3650, 7, 7),
        (3650, -1, 7),
        (90, 30, None),  # renewed after 60 days by its own plan
        (90, 22, None),
        (90, 7, 7),
        (6, 1, None),  # lives a week: nobody could renew it in time, and a machine does
    ],
)
def test_a_certificate_is_warned_of_in_the_last_quarter_of_its_life(life: float, left: float, warned: int | None) -> None:
    assert days_warned(lives(life, left), NOW) == warned


def test_the_first_to_expire_is_named() -> None:
    assert soonest([lives(90, 60, "server"), lives(3650, 20, "root")]) == lives(3650, 20, "root")
    assert soonest([]) is None


def test_a_chain_that_cannot_be_read_is_not_trusted() -> None:
    assert wrong_date((), Dates(utc=NOW, is_certain=False)) is not None


@pytest.mark.parametrize(
    ("utc", "is_certain", "code"), [(-11, False, None), (-11, True, 9), (0, True, None), (0, False, None), (6, False, 10)]
)
def test_dates(utc: float, is_certain: bool, code: int | None) -> None:
    wrong = wrong_date([lives(3650, 900), lives(15, 5)], Dates(utc=NOW + timedelta(days=utc), is_certain=is_certain))
    assert (None if wrong is None else wrong.verify_code) == code


@pytest.mark.pain(45)
def test_no_context_of_any_kind_trusts_without_verification() -> None:
    """There is no argument, and so no setting, by which verification could be switched off; not knowing the time does not do it either."""
    assert list(inspect.signature(client_context).parameters) == ["ca_file", "dates"]
    for dates in (None, Dates(utc=NOW, is_certain=False), Dates(utc=NOW, is_certain=True)):
        context = client_context(None, dates)
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
