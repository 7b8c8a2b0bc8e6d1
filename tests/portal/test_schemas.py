"""The official schemas judge, and say it with the version's own error code."""

from typing import Any

import pytest

from simulator.portal.schemas import check_request, check_response, is_known

START: dict[str, Any] = {"connectorId": 1, "idTag": "A", "meterStart": 0, "timestamp": "2026-01-01T10:00:00.000Z"}


def test_a_valid_payload_passes() -> None:
    assert check_request("1.6", "StartTransaction", START) is None
    assert check_response("1.6", "StartTransaction", {"transactionId": 1, "idTagInfo": {"status": "Accepted"}}) is None
    assert check_request("2.0.1", "Heartbeat", {}) is None


@pytest.mark.parametrize(
    ("version", "action", "payload", "code"),
    [
        ("1.6", "StartTransaction", {}, "OccurenceConstraintViolation"),
        ("1.6", "StartTransaction", {**START, "connectorId": "1"}, "TypeConstraintViolation"),
        ("1.6", "StartTransaction", {**START, "idTag": "x" * 21}, "PropertyConstraintViolation"),
        ("1.6", "StartTransaction", {**START, "extra": 1}, "FormationViolation"),
        ("1.6", "StartTransaction", {**START, "timestamp": "yesterday"}, "PropertyConstraintViolation"),
        ("1.6", "Reset", {"type": "Warm"}, "PropertyConstraintViolation"),
        ("2.0.1", "BootNotification", {"reason": "PowerUp"}, "OccurrenceConstraintViolation"),
        ("2.0.1", "Heartbeat", {"extra": 1}, "FormatViolation"),
        ("2.0.1", "Heartbeat", [], "TypeConstraintViolation"),
    ],
)
def test_a_violation_has_the_code_of_its_version(version: str, action: str, payload: Any, code: str) -> None:
    violation = check_request(version, action, payload)
    assert violation is not None
    assert violation.code == code


def test_only_actions_of_the_version_are_known() -> None:
    assert is_known("1.6", "StartTransaction")
    assert not is_known("1.6", "TransactionEvent")
    assert is_known("2.0.1", "TransactionEvent")
    assert not is_known("2.0.1", "heartbeat")
    assert not is_known("2.0.1", "../../../etc/passwd")
