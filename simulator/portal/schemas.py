"""Judgement by the official OCPP JSON schemas that PyPI `ocpp` carries. Compiled once per process, when first needed (4 to 45 ms each)."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import cast

from simulator.portal.wire import Json

VERSIONS = {"1.6": "v16", "2.0.1": "v201"}

_CODES_16 = {
    "required": "OccurenceConstraintViolation",  # one r: OCPP-J 1.6 errata 5.1 keeps it
    "type": "TypeConstraintViolation",
    "additionalProperties": "FormationViolation",
}
_CODES_201 = {
    "required": "OccurrenceConstraintViolation",
    "type": "TypeConstraintViolation",
    "additionalProperties": "FormatViolation",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """What a schema says against a payload, with the OCPP error code for it."""

    code: str
    detail: str


def is_known(version: str, action: str) -> bool:
    """Whether the version defines this action."""
    return action in _actions(version)


def check_request(version: str, action: str, payload: Json) -> Violation | None:
    """Judge the payload of a CALL. `action` must be known."""
    return _check(version, action if version == "1.6" else f"{action}Request", payload)


def check_response(version: str, action: str, payload: Json) -> Violation | None:
    """Judge the payload of a CALLRESULT. `action` must be known."""
    return _check(version, f"{action}Response", payload)


@cache
def _actions(version: str) -> frozenset[str]:
    folder = files("ocpp") / VERSIONS[version] / "schemas"
    return frozenset(entry.name.removesuffix("Response.json") for entry in folder.iterdir() if entry.name.endswith("Response.json"))


def _check(version: str, schema: str, payload: Json) -> Violation | None:
    from fastjsonschema import JsonSchemaValueException

    try:
        _validator(version, schema)(payload)
    except JsonSchemaValueException as error:
        codes = _CODES_16 if version == "1.6" else _CODES_201
        return Violation(codes.get(str(error.rule), "PropertyConstraintViolation"), error.message[:200])
    return None


@cache
def _validator(version: str, schema: str) -> Callable[[Json], Json]:
    from fastjsonschema import compile as compile_schema

    text = (files("ocpp") / VERSIONS[version] / "schemas" / f"{schema}.json").read_text(encoding="utf-8-sig")
    return cast("Callable[[Json], Json]", compile_schema(json.loads(text), use_default=False))
