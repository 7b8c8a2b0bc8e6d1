"""What a technician is told about certificates that are about to expire."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.ocpp_client.tls import Validity
from agent.runtime.certificates import CertificateWatch, next_expiry
from tests.runtime.test_timekeeper import Outside

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def chain(server_days: int, root_days: int) -> tuple[Validity, ...]:
    return (
        Validity(subject="csms.example", not_before=NOW - timedelta(days=60), not_after=NOW + timedelta(days=server_days)),
        Validity(subject="Example Root", not_before=NOW - timedelta(days=3000), not_after=NOW + timedelta(days=root_days)),
    )


@pytest.mark.pain(43)
def test_each_limit_is_told_once_with_the_certificate_and_the_cure() -> None:
    notes = Outside()
    watch = CertificateWatch(notes)
    for day in range(200):
        watch.look(chain(2000, 100), NOW + timedelta(days=day))
    assert notes.notes == [("certificate_expires", True)] * 3


@pytest.mark.pain(43)
def test_a_root_that_ends_and_a_server_that_ends_have_different_cures() -> None:
    root = next_expiry(chain(2000, 20), NOW)
    server = next_expiry(chain(5, 2000), NOW)
    assert root is not None
    assert server is not None
    assert ("Example Root" in root.text, "ca_file" in root.cure) == (True, True)
    assert ("csms.example" in server.text, "operator" in server.cure) == (True, True)
    assert "5 days" in server.text


def test_what_needs_a_person_goes_before_what_is_renewed_by_its_own_plan() -> None:
    expiry = next_expiry(chain(40, 60), NOW)
    assert expiry is not None
    assert expiry.is_root


def test_nothing_is_said_without_tls_or_without_the_time() -> None:
    assert next_expiry((), NOW) is None
    assert next_expiry(chain(1, 1), None) is None
    notes = Outside()
    CertificateWatch(notes).look(chain(1, 1), None)
    assert notes.notes == []
