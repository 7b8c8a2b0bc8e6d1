"""The second opinion about payloads: `jsonschema` on the official schemas, after the payload has been text on a wire."""

import json
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
from jsonschema.protocols import Validator

from agent.ocpp_client.rpc import encode_json

_FOLDER = {"1.6": "v16", "2.0.1": "v201"}


def schema(version: str, name: str) -> dict[str, Any]:
    """A schema by the name of its file."""
    spec = find_spec("ocpp")
    assert spec is not None
    assert spec.submodule_search_locations
    path = Path(next(iter(spec.submodule_search_locations))) / _FOLDER[version] / "schemas" / f"{name}.json"
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8-sig"))
    return document


@cache
def validator(version: str, name: str) -> Validator:
    """`jsonschema` for that schema, with the draft that it names."""
    document = schema(version, name)
    return jsonschema.validators.validator_for(document)(document)


def request_name(version: str, action: str) -> str:
    """The file of a request's schema."""
    return action if version == "1.6" else f"{action}Request"


def on_the_wire(payload: Mapping[str, object]) -> dict[str, Any]:
    """The payload as the peer reads it."""
    document: dict[str, Any] = json.loads(encode_json(payload), parse_float=Decimal)
    return document


def valid_request(version: str, action: str, payload: Mapping[str, object]) -> dict[str, Any]:
    """What the peer reads of a CALL, judged by the official schema."""
    read = on_the_wire(payload)
    validator(version, request_name(version, action)).validate(read)
    return read


def valid_response(version: str, action: str, payload: Mapping[str, object]) -> dict[str, Any]:
    """What the peer reads of a CALLRESULT, judged by the official schema."""
    read = on_the_wire(payload)
    validator(version, f"{action}Response").validate(read)
    return read
