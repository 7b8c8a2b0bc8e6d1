"""Typed access to payloads that a schema has already judged, and the forms of numbers and times that every version shares.

A wrong type here means that the schema was not applied: TypeError, a bug of ours.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TypeVar, cast

from agent.ocpp_client.adapter import JsonObject

T = TypeVar("T")

_MAX_DECIMALS = Decimal("0.001")
"""Finer than any meter template reads; keeps quotients of scaled registers short."""


def text(payload: JsonObject, name: str) -> str:
    """A string that must be there."""
    return _typed(payload[name], name, str)


def maybe_text(payload: JsonObject, name: str) -> str | None:
    """A string, None where it is absent."""
    return text(payload, name) if name in payload else None


def integer(payload: JsonObject, name: str) -> int:
    """A whole number that must be there."""
    return _typed(payload[name], name, int)


def maybe_integer(payload: JsonObject, name: str) -> int | None:
    """A whole number, None where it is absent."""
    return integer(payload, name) if name in payload else None


def maybe_decimal(payload: JsonObject, name: str) -> Decimal | None:
    """A number, None where it is absent."""
    return Decimal(str(payload[name])) if name in payload else None


def child(payload: JsonObject, name: str) -> JsonObject:
    """An object that must be there."""
    return cast("JsonObject", _typed(payload[name], name, dict))


def maybe_child(payload: JsonObject, name: str) -> JsonObject | None:
    """An object, None where it is absent."""
    return child(payload, name) if name in payload else None


def children(payload: JsonObject, name: str) -> Sequence[JsonObject]:
    """A list of objects that must be there."""
    return cast("Sequence[JsonObject]", _typed(payload[name], name, list))


def moment(value: str | None) -> datetime | None:
    """A date-time of a CSMS in UTC, None where it is absent or unreadable. One without time zone is UTC, as OCPP advises to send it."""
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def short(value: Decimal) -> Decimal:
    """A measured value with at most three decimals, without trailing zeros and never -0."""
    rounded = value.quantize(_MAX_DECIMALS, rounding=ROUND_HALF_EVEN)
    if not rounded:
        return Decimal(0)
    return rounded.quantize(Decimal(1)) if rounded == rounded.to_integral_value() else rounded.normalize()


def plain(value: Decimal) -> str:
    """Digits without exponent."""
    return format(value, "f")


def _typed(value: object, name: str, kind: type[T]) -> T:
    if not isinstance(value, kind):
        msg = f"{name}: {kind.__name__} is wanted, got {type(value).__name__}; was the payload validated?"
        raise TypeError(msg)
    return value
