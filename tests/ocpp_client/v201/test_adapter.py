import pytest

from agent.domain.commands import CommandStatus, Reset, ResetKind, StatusOutcome
from agent.ocpp_client import schemas
from agent.ocpp_client.adapter import OcppCallError, VersionAdapter
from agent.ocpp_client.v201.adapter import V201Adapter
from agent.ocpp_client.v201.catalog import CATALOG
from tests.ocpp_client.samples import Refs


def test_rules_of_the_version(adapter: V201Adapter) -> None:
    as_protocol: VersionAdapter = adapter
    assert as_protocol.subprotocol == "ocpp2.0.1"
    assert not as_protocol.reuses_message_id
    assert not as_protocol.queue_is_global
    assert as_protocol.answers_while_rejected
    assert as_protocol.answers_unreadable
    assert as_protocol.refuses_boot_trigger_when_accepted


@pytest.mark.parametrize("code", ["FormatViolation", "OccurrenceConstraintViolation", "RpcFrameworkError"])
def test_neutral_codes_are_those_of_2_x(adapter: V201Adapter, code: str) -> None:
    assert adapter.error_code(code) == code


@pytest.mark.parametrize(
    ("action", "code"),
    [
        ("SetChargingProfile", "NotSupported"),
        ("CostUpdated", "NotSupported"),
        ("TransactionEvent", "NotSupported"),
        ("GetConfiguration", "NotImplemented"),
        ("getVariables", "NotImplemented"),
        ("GetVariablesRequest", "NotImplemented"),
        ("", "NotImplemented"),
        ("x" * 100_000, "NotImplemented"),
    ],
)
def test_what_is_not_served_is_said(adapter: V201Adapter, action: str, code: str) -> None:
    with pytest.raises(OcppCallError) as caught:
        adapter.decode(action, {}, Refs())
    assert caught.value.code == code
    assert len(str(caught.value)) < 255


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({}, "OccurrenceConstraintViolation"),
        ({"type": "Hard"}, "PropertyConstraintViolation"),
        ({"type": "Immediate", "evseId": "1"}, "TypeConstraintViolation"),
        ({"type": "Immediate", "more": 1}, "FormatViolation"),
        ({"type": "Immediate", "customData": {}}, "OccurrenceConstraintViolation"),
        (None, "TypeConstraintViolation"),
    ],
)
def test_payload_is_held_to_the_schema(adapter: V201Adapter, payload: object, code: str) -> None:
    with pytest.raises(OcppCallError) as caught:
        adapter.decode("Reset", payload, Refs())
    assert caught.value.code == code


def test_answer_is_held_to_the_schema(adapter: V201Adapter) -> None:
    with pytest.raises(OcppCallError, match="TypeConstraintViolation"):
        adapter.validate_reply("TransactionEvent", {"totalCost": "5"})


def test_every_action_of_the_catalogue_exists() -> None:
    assert set(CATALOG) <= schemas.known_actions("2.0.1")
    for codec in CATALOG.values():
        assert codec.sent_for or codec.done_for
        assert (codec.decode is None) == (codec.encode_outcome is None) == (not codec.done_for)


def test_outcome_of_a_message_that_is_not_served_is_an_internal_error(adapter: V201Adapter) -> None:
    with pytest.raises(OcppCallError, match="InternalError"):
        adapter.encode_outcome("Heartbeat", Reset(kind=ResetKind.SOFT), StatusOutcome(status=CommandStatus.ACCEPTED))


def test_warming_compiles_what_the_daemon_judges(adapter: V201Adapter) -> None:
    adapter.warm()
    compiled = schemas._validator.cache_info().misses
    adapter.validate_reply("TransactionEvent", {})
    adapter.decode("Reset", {"type": "OnIdle"}, Refs())
    assert schemas._validator.cache_info().misses == compiled
