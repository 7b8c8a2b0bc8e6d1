"""The schemas of the answers are sound; that the daemon answers by them is shown in tests/runtime/test_diagnosis.py."""

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from agent.diagnostics.results import RESULTS


@pytest.mark.parametrize("method", sorted(RESULTS))
def test_each_is_a_json_schema(method: str) -> None:
    Draft202012Validator.check_schema(RESULTS[method])


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object schema inside."""
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for value in schema.values():
            yield from objects(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from objects(value)


@pytest.mark.parametrize("method", sorted(RESULTS))
def test_objects_have_exactly_what_they_promise(method: str) -> None:
    """A reader may rely on every member, and a new one has to be described."""
    for schema in objects(RESULTS[method]):
        assert schema["additionalProperties"] is False
        assert schema["required"] == list(schema["properties"])
