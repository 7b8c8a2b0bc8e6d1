import pytest

from agent.domain.commands import CommandStatus, Reset, ResetKind, StatusOutcome
from agent.domain.ids import EvseId
from agent.ocpp_client import schemas
from agent.ocpp_client.adapter import OcppCallError, VersionAdapter
from agent.ocpp_client.v16.adapter import V16Adapter
from agent.ocpp_client.v16.catalog import CATALOG
from tests.ocpp_client.samples import DEFINITIONS, Clock, Refs


def test_rules_of_the_version(adapter: V16Adapter) -> None:
    as_protocol: VersionAdapter = adapter
    assert as_protocol.subprotocol == "ocpp1.6"
    assert as_protocol.reuses_message_id
    assert as_protocol.queue_is_global
    assert not as_protocol.answers_while_rejected
    assert not as_protocol.answers_unreadable
    assert not as_protocol.refuses_boot_trigger_when_accepted


@pytest.mark.parametrize(
    ("neutral", "spelling"),
    [
        ("FormatViolation", "FormationViolation"),
        ("OccurrenceConstraintViolation", "OccurenceConstraintViolation"),
        ("RpcFrameworkError", "FormationViolation"),
        ("MessageTypeNotSupported", "GenericError"),
        ("NotImplemented", "NotImplemented"),
        ("TypeConstraintViolation", "TypeConstraintViolation"),
    ],
)
def test_error_codes_are_spelt_as_1_6_spells_them(adapter: V16Adapter, neutral: str, spelling: str) -> None:
    assert adapter.error_code(neutral) == spelling


@pytest.mark.parametrize(
    ("action", "code"),
    [
        ("SetChargingProfile", "NotSupported"),
        ("SignedUpdateFirmware", "NotSupported"),
        ("Heartbeat", "NotSupported"),
        ("StartTransaction", "NotSupported"),
        ("reset", "NotImplemented"),
        ("ResetRequest", "NotImplemented"),
        ("ResetResponse", "NotImplemented"),
        ("RequestStartTransaction", "NotImplemented"),
        ("../Reset", "NotImplemented"),
        ("", "NotImplemented"),
        ("x" * 100_000, "NotImplemented"),
    ],
)
def test_what_is_not_served_is_said(adapter: V16Adapter, action: str, code: str) -> None:
    with pytest.raises(OcppCallError) as caught:
        adapter.decode(action, {}, Refs())
    assert caught.value.code == code
    assert len(str(caught.value)) < 255


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({}, "OccurrenceConstraintViolation"),
        ({"type": "Warm"}, "PropertyConstraintViolation"),
        ({"type": 1}, "TypeConstraintViolation"),
        ({"type": "Hard", "more": 1}, "FormatViolation"),
        (None, "TypeConstraintViolation"),
        ([], "TypeConstraintViolation"),
    ],
)
def test_payload_is_held_to_the_schema(adapter: V16Adapter, payload: object, code: str) -> None:
    with pytest.raises(OcppCallError) as caught:
        adapter.decode("Reset", payload, Refs())
    assert caught.value.code == code


def test_answer_is_held_to_the_schema(adapter: V16Adapter) -> None:
    with pytest.raises(OcppCallError, match="OccurrenceConstraintViolation"):
        adapter.validate_reply("StartTransaction", {"transactionId": 1})


def test_every_action_of_the_catalogue_exists(adapter: V16Adapter) -> None:
    assert set(CATALOG) <= schemas.known_actions("1.6")
    for codec in CATALOG.values():
        assert codec.sent_for or codec.done_for
        assert (codec.decode is None) == (codec.encode_outcome is None) == (not codec.done_for)


def test_outcome_of_a_message_that_is_not_served_is_an_internal_error(adapter: V16Adapter) -> None:
    with pytest.raises(OcppCallError, match="InternalError"):
        adapter.encode_outcome("Heartbeat", Reset(kind=ResetKind.HARD), StatusOutcome(status=CommandStatus.ACCEPTED))


def test_warming_compiles_what_the_daemon_judges(adapter: V16Adapter) -> None:
    adapter.warm()
    compiled = schemas._validator.cache_info().misses
    adapter.validate_reply("StopTransaction", {})
    adapter.decode("Reset", {"type": "Hard"}, Refs())
    assert schemas._validator.cache_info().misses == compiled


@pytest.mark.parametrize("connectors", [{EvseId(1): 1, EvseId(2): 1}, {EvseId(1): 0}])
def test_connector_numbers_are_one_to_one_from_1(connectors: dict[EvseId, int]) -> None:
    with pytest.raises(ValueError, match="connectorIds"):
        V16Adapter(DEFINITIONS, Clock(), connectors)
