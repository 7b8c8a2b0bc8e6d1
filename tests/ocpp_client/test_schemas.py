import random
import subprocess
import sys
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from agent.ocpp_client import schemas
from agent.ocpp_client.schemas import Kind, SchemaViolation
from tests.ocpp_client import official

VERSIONS = ("1.6", "2.0.1")
ALL_MESSAGES = [(version, action, kind) for version in VERSIONS for action in sorted(schemas.known_actions(version)) for kind in Kind]
START = {"connectorId": 1, "idTag": "x", "meterStart": 0}
WRONG: dict[str, list[object]] = {
    "string": [7, None, [], {}, True],
    "integer": ["7", None, Decimal("1.5"), [], True],
    "number": ["7", None, {}, False],
    "boolean": ["true", 0, None],
    "array": [{}, "x", None],
    "object": [[], "x", None],
}


class Frames:
    """Payloads that agree with a schema, and now and then break one rule of it."""

    def __init__(self, document: dict[str, Any], chance: random.Random, *, mistakes: float) -> None:
        self._definitions = document.get("definitions", {})
        self._root = document
        self._chance = chance
        self._mistakes = mistakes

    def one(self) -> object:
        return self._value(self._root)

    def _errs(self) -> bool:
        return self._chance.random() < self._mistakes

    def _value(self, schema: Mapping[str, Any]) -> object:
        if "$ref" in schema:
            return self._value(self._definitions[schema["$ref"].rpartition("/")[2]])
        kind = schema.get("type", "anything")
        if kind in WRONG and self._errs():
            return self._chance.choice(WRONG[kind])
        match kind:
            case "object":
                return self._object(schema)
            case "array":
                return self._array(schema)
            case "string":
                return self._string(schema)
            case "integer":
                return self._integer(schema)
            case "number":
                return self._chance.choice([0, 16, Decimal("10.5"), Decimal("0.25") if self._errs() else 32])
            case "boolean":
                return self._chance.choice([True, False])
            case _:
                return self._chance.choice(["text", 5, {"a": [1]}, None])

    def _object(self, schema: Mapping[str, Any]) -> dict[str, object]:
        required = schema.get("required", [])
        value: dict[str, object] = {}
        for name, item in schema.get("properties", {}).items():
            if name == "customData" or (name not in required and self._chance.random() < 0.5) or self._errs():
                continue
            value[name] = self._value(item)
        if self._errs():
            value["surplus"] = 1
        return value

    def _array(self, schema: Mapping[str, Any]) -> list[object]:
        low = schema.get("minItems", 0)
        length = self._chance.randint(low, low + 2)
        if self._errs():
            length = self._chance.choice([0, schema.get("maxItems", 2) + 1])
        return [self._value(schema["items"]) for _ in range(length)]

    def _string(self, schema: Mapping[str, Any]) -> str:
        if "enum" in schema:
            return "Nonsense" if self._errs() else str(self._chance.choice(schema["enum"]))
        if "format" in schema:
            return "2026-06-01T12:00:00.000Z" if schema["format"] == "date-time" else "https://example.org/"
        limit = int(schema.get("maxLength", 30))
        return "x" * (limit + 1 if self._errs() else self._chance.choice([0, 1, limit]))

    def _integer(self, schema: Mapping[str, Any]) -> int:
        low, high = schema.get("minimum", 0), schema.get("maximum", 5)
        return int(low) - 1 if self._errs() else self._chance.choice([int(low), int(high)])


def _rule(version: str, action: str, kind: Kind, payload: object) -> str | None:
    """The rule that is named as broken, None when the payload is accepted."""
    try:
        schemas.check(version, action, kind, payload)
    except SchemaViolation as violation:
        return violation.rule
    return None


def _with_floats(value: object) -> object:
    match value:
        case Decimal():
            return float(value)
        case dict():
            return {key: _with_floats(item) for key, item in value.items()}
        case list():
            return [_with_floats(item) for item in value]
        case _:
            return value


@pytest.mark.parametrize(("version", "action", "kind"), ALL_MESSAGES)
def test_verdict_is_that_of_jsonschema(version: str, action: str, kind: Kind) -> None:
    """Of every message of every version, and the broken rule that is named is one that `jsonschema` names as well.

    Random frames, right and wrong ones. Extra fields in answers are the one wanted difference.
    """
    name = official.request_name(version, action) if kind is Kind.REQUEST else f"{action}Response"
    oracle = official.validator(version, name)
    chance = random.Random(f"{version} {action} {kind}")
    verdicts = set()
    for mistakes in (0.0, 0.0, *([0.02] * 6), *([0.1] * 6), 0.5):
        payload = Frames(official.schema(version, name), chance, mistakes=mistakes).one()
        errors = [error.validator for error in oracle.iter_errors(_with_floats(payload))]
        is_right = all(rule == "additionalProperties" and kind is Kind.RESPONSE for rule in errors)
        rule = _rule(version, action, kind, payload)
        assert (rule is None) is is_right, (payload, errors, rule)
        assert rule is None or rule in errors or (rule, "multipleOf" in errors) == ("format", True), (payload, errors, rule)
        verdicts.add(is_right)
        assert mistakes or is_right
    assert True in verdicts


@pytest.mark.parametrize(
    ("version", "action", "payload", "rule", "code"),
    [
        ("1.6", "Reset", {}, "required", "OccurrenceConstraintViolation"),
        ("1.6", "Reset", {"type": 5}, "type", "TypeConstraintViolation"),
        ("1.6", "Reset", None, "type", "TypeConstraintViolation"),
        ("1.6", "Reset", [], "type", "TypeConstraintViolation"),
        ("1.6", "Reset", {"type": "Warm"}, "enum", "PropertyConstraintViolation"),
        ("1.6", "Reset", {"type": "Hard", "why": 1}, "additionalProperties", "FormatViolation"),
        ("1.6", "RemoteStartTransaction", {"idTag": "x" * 21}, "maxLength", "PropertyConstraintViolation"),
        ("1.6", "StartTransaction", {**START, "timestamp": "noon"}, "format", "PropertyConstraintViolation"),
        ("1.6", "RemoteStartTransaction", {"idTag": "\ud800"}, "pattern", "PropertyConstraintViolation"),
        ("2.0.1", "GetVariables", {"getVariableData": []}, "minItems", "OccurrenceConstraintViolation"),
        ("2.0.1", "Reset", {"type": "Immediate", "extra": 1}, "additionalProperties", "FormatViolation"),
        ("2.0.1", "Reset", {"type": "Immediate", "evseId": True}, "type", "TypeConstraintViolation"),
        ("2.0.1", "GetVariables", {"getVariableData": [{"component": {"name": "x"}}]}, "required", "OccurrenceConstraintViolation"),
    ],
)  # fmt: skip
def test_failing_rule_gives_the_code(version: str, action: str, payload: object, rule: str, code: str) -> None:
    with pytest.raises(SchemaViolation) as caught:
        schemas.check(version, action, Kind.REQUEST, payload)
    assert (caught.value.rule, caught.value.code) == (rule, code)
    assert action in str(caught.value)


def test_half_of_a_surrogate_pair_never_reaches_the_disk() -> None:
    """JSON can write it, UTF-8 cannot hold it: every commit after one with it failed, for ever. The answer counts all the same."""
    answer = {"transactionId": 5, "idTagInfo": {"status": "Accepted", "parentIdTag": "p\udfff\U0001f600"}, "\udc00": ["\ud800"]}
    payload = schemas.check("1.6", "StartTransaction", Kind.RESPONSE, answer)
    assert payload == {"transactionId": 5, "idTagInfo": {"status": "Accepted", "parentIdTag": "p\ufffd\U0001f600"}, "\ufffd": ["\ufffd"]}


def test_custom_data_is_allowed_everywhere_in_2_0_1() -> None:
    schemas.check("2.0.1", "Reset", Kind.REQUEST, {"type": "OnIdle", "customData": {"vendorId": "com.example", "own": [1, {}]}})


def test_violation_never_tells_the_value() -> None:
    token = "A SECRET TOKEN THAT IS TOO LONG"
    with pytest.raises(SchemaViolation) as caught:
        schemas.check("1.6", "RemoteStartTransaction", Kind.REQUEST, {"idTag": token})
    assert token not in str(caught.value)


@pytest.mark.parametrize("extra", [{"heartbeatInterval": 300}, {"currentTime": "2026-06-01T12:00:00"}])
def test_answer_survives_what_real_central_systems_add(extra: dict[str, object]) -> None:
    payload = {"status": "Accepted", "interval": 60, "currentTime": "2026-06-01T12:00:00Z", **extra}
    assert schemas.check("1.6", "BootNotification", Kind.RESPONSE, payload) is payload


@pytest.mark.parametrize(
    ("limit", "is_right"),
    [(Decimal("16.1"), True), (Decimal("16.12"), False), (16, True), (Decimal("0.30"), True), (Decimal("1e300"), True)],
)
def test_exact_decimals_pass_through_multiple_of(limit: object, is_right: bool) -> None:
    schedule = {"chargingRateUnit": "A", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": limit}]}
    profile = {
        "chargingProfileId": 1,
        "stackLevel": 0,
        "chargingProfilePurpose": "TxProfile",
        "chargingProfileKind": "Relative",
        "chargingSchedule": schedule,
    }
    rule = _rule("1.6", "RemoteStartTransaction", Kind.REQUEST, {"idTag": "x", "chargingProfile": profile})
    assert rule == (None if is_right else "format")


def test_actions_of_the_versions_are_known() -> None:
    assert {"Authorize", "StartTransaction", "SignedUpdateFirmware"} <= schemas.known_actions("1.6")
    assert {"TransactionEvent", "CostUpdated"} <= schemas.known_actions("2.0.1")
    assert "StartTransaction" not in schemas.known_actions("2.0.1")
    assert not any(name.endswith(("Response", "Request")) for version in VERSIONS for name in schemas.known_actions(version))


def test_warm_validator_is_not_compiled_again() -> None:
    schemas.warm("2.0.1", [("SetNetworkProfile", Kind.REQUEST)])
    compiled = schemas._validator.cache_info().misses
    with pytest.raises(SchemaViolation):
        schemas.check("2.0.1", "SetNetworkProfile", Kind.REQUEST, {})
    assert schemas._validator.cache_info().misses == compiled


def test_the_ocpp_package_is_never_imported_and_the_compiler_only_when_needed() -> None:
    """Import time and memory of the daemon: finding the schemas costs no import of `ocpp`."""
    script = (
        "import sys\n"
        "from agent.ocpp_client import schemas\n"
        "assert 'fastjsonschema' not in sys.modules\n"
        "schemas.check('1.6', 'Reset', schemas.Kind.REQUEST, {'type': 'Hard'})\n"
        "assert 'fastjsonschema' in sys.modules\n"
        "assert 'ocpp' not in sys.modules and 'jsonschema' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, timeout=60)
