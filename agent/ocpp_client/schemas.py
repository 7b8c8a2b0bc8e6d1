"""Judgement of payloads by the official OCPP JSON schemas, which the PyPI package `ocpp` carries. The package itself is never imported.

Calls of the CSMS are held to the schema as it is. Its answers are held to it without `additionalProperties` and `format`: an extra field or
a date without time zone must not cost the answer to a StartTransaction.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from enum import StrEnum
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from agent.domain.errors import PeerError
from agent.ocpp_client.adapter import JsonObject

_LAYOUT: Mapping[str, tuple[str, str]] = {"1.6": ("v16", ""), "2.0.1": ("v201", "Request")}
"""Folder of a version's schemas, and how the name of a request's file ends. A response's file ends in `Response`."""

_CODE_OF_RULE: Mapping[str, str] = {
    "required": "OccurrenceConstraintViolation",
    "minItems": "OccurrenceConstraintViolation",
    "maxItems": "OccurrenceConstraintViolation",
    "type": "TypeConstraintViolation",
    "additionalProperties": "FormatViolation",
}
"""Error code (2.x spelling) of a failing rule; every other rule (enum, maxLength, minimum, format ...) is a PropertyConstraintViolation."""

_MAX_DETAIL = 200

_Validator = Callable[[object], object]


class Kind(StrEnum):
    """Which half of a message a payload is."""

    REQUEST = "Request"
    RESPONSE = "Response"


class SchemaViolation(PeerError):
    """A payload against the official schema. `rule` is the schema keyword that failed, `code` the OCPP error code for it, 2.x spelling.

    The sentence names the field and what is allowed, never the value: it may be a token.
    """

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(detail)
        self.rule = rule
        self.detail = detail
        self.code = _CODE_OF_RULE.get(rule, "PropertyConstraintViolation")


@cache
def known_actions(version: str) -> frozenset[str]:
    """Every action that a version defines, whether it is built or not."""
    ending = f"{Kind.RESPONSE}.json"
    return frozenset(name.removesuffix(ending) for name in os.listdir(_folder(version)) if name.endswith(ending))  # noqa: PTH208 - names only


def check(version: str, action: str, kind: Kind, payload: object) -> JsonObject:
    """The payload, when it agrees with the schema of a known action. Raises SchemaViolation otherwise.

    Numbers may be int, Decimal or float.
    """
    from fastjsonschema import JsonSchemaValueException

    try:
        _validator(version, action, kind)(payload)
    except JsonSchemaValueException:
        raise _explained(version, action, kind, payload) from None
    except ArithmeticError:
        raise SchemaViolation("type", f"{action} holds a number that cannot be computed with") from None
    return cast("JsonObject", payload)


def warm(version: str, messages: Iterable[tuple[str, Kind]]) -> None:
    """Compile the validators of these messages now, 1 to 10 ms each on a PC: in a thread, before the first frame needs one."""
    for action, kind in messages:
        _validator(version, action, kind)


def _explained(version: str, action: str, kind: Kind, payload: object) -> SchemaViolation:
    """What is wrong with a payload that was refused. Validators that can say so are three times as large, so they are made only then."""
    from fastjsonschema import JsonSchemaValueException

    try:
        _detailed_validator(version, action, kind)(payload)
    except JsonSchemaValueException as error:
        detail = error.message.replace("data", action, 1) if error.message.startswith("data") else f"{action}: {error.message}"
        return SchemaViolation(str(error.rule), detail[:_MAX_DETAIL])
    return SchemaViolation("type", f"{action} does not agree with its schema")


@cache
def _validator(version: str, action: str, kind: Kind) -> _Validator:
    return _compile(version, action, kind, is_detailed=False)


@lru_cache(maxsize=8)
def _detailed_validator(version: str, action: str, kind: Kind) -> _Validator:
    return _compile(version, action, kind, is_detailed=True)


def _compile(version: str, action: str, kind: Kind, *, is_detailed: bool) -> _Validator:
    import fastjsonschema

    folder, request_suffix = _folder(version), _LAYOUT[version][1]
    name = f"{action}{request_suffix if kind is Kind.REQUEST else Kind.RESPONSE}.json"
    text = (folder / name).read_text(encoding="utf-8-sig")  # the files of 1.6 begin with a byte order mark
    schema: dict[str, object] = json.loads(text)
    if kind is Kind.RESPONSE:
        schema = cast("dict[str, object]", _without_closed_objects(schema))
    validate = fastjsonschema.compile(schema, use_default=False, use_formats=kind is Kind.REQUEST, detailed_exceptions=is_detailed)
    if '"multipleOf"' in text:  # 1.6 charging schedules; the compiled rule cannot divide a Decimal
        return lambda payload: validate(_with_floats(payload))
    return cast("_Validator", validate)


def _without_closed_objects(schema: object) -> object:
    match schema:
        case dict():
            return {key: _without_closed_objects(item) for key, item in schema.items() if key != "additionalProperties"}
        case list():
            return [_without_closed_objects(item) for item in schema]
        case _:
            return schema


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


@cache
def _folder(version: str) -> Path:
    spec = find_spec("ocpp")
    locations = None if spec is None else spec.submodule_search_locations
    if not locations:
        msg = (
            "the Python package `ocpp` is not installed; it carries the official OCPP schemas: install charger-agent with its dependencies"
        )
        raise ModuleNotFoundError(msg, name="ocpp")
    return Path(next(iter(locations))) / _LAYOUT[version][0] / "schemas"
