"""Judgement of payloads by the official OCPP JSON schemas, which the PyPI package `ocpp` carries. The package itself is never imported.

Calls of the CSMS are held to the schema as it is. Its answers are held to it without `additionalProperties` and `format`: an extra field or
a date without time zone must not cost the answer to a StartTransaction.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from enum import StrEnum
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from agent.domain.errors import PeerError
from agent.ocpp_client.adapter import JsonObject
from agent.ocpp_client.rpc import as_text, is_text

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

_PYTHON_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float, Decimal),
    "boolean": bool,
    "array": list,
    "object": dict,
}

_MAX_DETAIL = 200
_MAX_NAME = 40

_Validator = Callable[[object], object]
_Schema = dict[str, Any]
"""A JSON schema: read from a file, so of no type that could be named."""


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

    Numbers may be int, Decimal or float. A text with half of a surrogate pair cannot be stored: a commit with it would fail for ever. A
    call with one is refused; in an answer, which counts all the same, U+FFFD takes its place.
    """
    from fastjsonschema import JsonSchemaValueException

    try:
        _validator(version, action, kind)(payload)
    except JsonSchemaValueException:
        raise _explained(version, action, kind, payload) from None
    except ArithmeticError:
        raise SchemaViolation("type", f"{action} holds a number that cannot be computed with") from None
    if not is_text(payload):
        if kind is Kind.REQUEST:
            raise SchemaViolation("pattern", f"{action} holds half of a surrogate pair, which is no text")
        return cast("JsonObject", as_text(payload))
    return cast("JsonObject", payload)


def warm(version: str, messages: Iterable[tuple[str, Kind]]) -> None:
    """Compile the validators of these messages now, 1 to 10 ms each on a PC: in a thread, before the first frame needs one."""
    for action, kind in messages:
        _validator(version, action, kind)


def _explained(version: str, action: str, kind: Kind, payload: object) -> SchemaViolation:
    """What is wrong with a payload that was refused.

    The compiled validators cannot say it: those that can are three times as large and take three times as long to compile.
    """
    schema = _schema(version, action, kind)
    found = next(_violations(schema, schema, payload, action), None)
    return found or SchemaViolation("format", f"{action} holds a value of a wrong format, such as a date-time")


def _violations(schema: _Schema, root: _Schema, value: object, path: str) -> Iterator[SchemaViolation]:
    """The rules that the official schemas use, except `format` and `multipleOf`, which are what is left when nothing is found."""
    if "$ref" in schema:
        schema = root["definitions"][schema["$ref"].rpartition("/")[2]]
    kind = schema.get("type")
    if kind is not None and not _is_a(value, kind):
        yield SchemaViolation("type", f"{path} must be of type {kind}")
        return
    if "enum" in schema and value not in schema["enum"]:
        yield SchemaViolation("enum", f"{path} must be one of {', '.join(map(str, schema['enum']))}"[:_MAX_DETAIL])
    match value:
        case str() if len(value) > schema.get("maxLength", len(value)):
            yield SchemaViolation("maxLength", f"{path} has {len(value)} characters; at most {schema['maxLength']}")
        case int() | float() | Decimal() if value < schema.get("minimum", value):
            yield SchemaViolation("minimum", f"{path} must be at least {schema['minimum']}")
        case int() | float() | Decimal() if value > schema.get("maximum", value):
            yield SchemaViolation("maximum", f"{path} must be at most {schema['maximum']}")
        case list():
            yield from _list_violations(schema, root, value, path)
        case dict():
            yield from _object_violations(schema, root, value, path)


def _list_violations(schema: _Schema, root: _Schema, items: list[object], path: str) -> Iterator[SchemaViolation]:
    if len(items) < schema.get("minItems", 0):
        yield SchemaViolation("minItems", f"{path} has {len(items)} items; at least {schema['minItems']}")
    if len(items) > schema.get("maxItems", len(items)):
        yield SchemaViolation("maxItems", f"{path} has {len(items)} items; at most {schema['maxItems']}")
    for index, item in enumerate(items):
        yield from _violations(schema.get("items", {}), root, item, f"{path}[{index}]")


def _object_violations(schema: _Schema, root: _Schema, members: Mapping[str, object], path: str) -> Iterator[SchemaViolation]:
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in members:
            yield SchemaViolation("required", f"{path} must have {name}")
    for name, item in members.items():
        if name in properties:
            yield from _violations(properties[name], root, item, f"{path}.{name}")
        elif schema.get("additionalProperties") is False:
            yield SchemaViolation("additionalProperties", f"{path} must not have {name[:_MAX_NAME]!r}")


def _is_a(value: object, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _PYTHON_TYPES[kind])


@cache
def _validator(version: str, action: str, kind: Kind) -> _Validator:
    import fastjsonschema

    schema = _schema(version, action, kind)
    is_request = kind is Kind.REQUEST
    validate = fastjsonschema.compile(schema, use_default=False, use_formats=is_request, detailed_exceptions=False)
    if "multipleOf" in repr(schema):  # 1.6 charging schedules; the compiled rule cannot divide a Decimal
        return lambda payload: validate(_with_floats(payload))
    return cast("_Validator", validate)


def _schema(version: str, action: str, kind: Kind) -> _Schema:
    folder, request_suffix = _folder(version), _LAYOUT[version][1]
    name = f"{action}{request_suffix if kind is Kind.REQUEST else Kind.RESPONSE}.json"
    schema: _Schema = json.loads((folder / name).read_text(encoding="utf-8-sig"))  # the files of 1.6 begin with a byte order mark
    return cast("_Schema", _without_closed_objects(schema)) if kind is Kind.RESPONSE else schema


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
