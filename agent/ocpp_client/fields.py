"""Typed access to payloads that a schema has already judged, and the forms of numbers and times that every version shares.

A wrong type here means that the schema was not applied: TypeError, a bug of ours.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TypeVar, cast

from agent.domain.transaction import TransactionLimit
from agent.ocpp_client.adapter import JsonObject

T = TypeVar("T")

NOTHING_ALLOWED = TransactionLimit(max_energy_wh=0)
_TOO_MUCH = Decimal(10**12)
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


def transaction_limit(payload: JsonObject) -> TransactionLimit:
    """`maxEnergy` in Wh, `maxTime` in s, `maxCost` gross, as numbers or decimal text (2.1 TransactionLimitType).

    What cannot be read allows nothing: a start under it is refused, and never goes without it.
    """
    try:
        energy, seconds, cost = (_maybe_number(payload.get(name)) for name in ("maxEnergy", "maxTime", "maxCost"))
        if (energy, seconds, cost) == (None, None, None):
            return NOTHING_ALLOWED
        return TransactionLimit(
            max_energy_wh=None if energy is None else int(energy), max_time_s=None if seconds is None else int(seconds), max_cost=cost
        )
    except (ArithmeticError, TypeError, ValueError):
        return NOTHING_ALLOWED


def _maybe_number(value: object) -> Decimal | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise TypeError(value)
    number = Decimal(value)
    if not number.is_finite() or abs(number) >= _TOO_MUCH:
        raise ValueError(value)
    return number


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
