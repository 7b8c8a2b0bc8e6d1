"""Typed access to payloads that a schema has already judged. A wrong type here is a schema that was not applied, and raises TypeError."""

import json
from datetime import UTC, datetime
from decimal import ROUND_FLOOR, Decimal
from hashlib import sha256

from simulator.portal.errors import WireError
from simulator.portal.transactions import CostReport, Sample
from simulator.portal.wire import Json, dumps, loads

COST_VENDOR = "charger-agent"
"""vendorId under which the charger tells its own figure (docs/price-and-payment-wire.md)."""

MAX_DIGITS = 15
"""Of a number worth storing: below the 64 bits of an SQLite integer."""

_ENERGY = "Energy.Active.Import.Register"
_POWER = "Power.Active.Import"
_POWERS_OF_TEN = {"k": 3}


def obj(value: Json) -> dict[str, Json]:
    """An object; an absent one is empty."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        msg = f"an object is wanted, got {type(value).__name__}"
        raise TypeError(msg)
    return value


def objs(value: Json) -> list[dict[str, Json]]:
    """A list of objects; an absent one is empty."""
    if value is None:
        return []
    if not isinstance(value, list):
        msg = f"a list is wanted, got {type(value).__name__}"
        raise TypeError(msg)
    return [obj(item) for item in value]


def text(payload: dict[str, Json], key: str) -> str:
    """A string; an absent one is empty."""
    value = payload.get(key, "")
    if not isinstance(value, str):
        msg = f"{key}: a string is wanted, got {type(value).__name__}"
        raise TypeError(msg)
    return value


def integer(payload: dict[str, Json], key: str) -> int:
    """A whole number that must be there."""
    value = payload[key]
    if not isinstance(value, int) or isinstance(value, bool):
        msg = f"{key}: an integer is wanted, got {type(value).__name__}"
        raise TypeError(msg)
    if len(str(abs(value))) > MAX_DIGITS:
        code, description = "PropertyConstraintViolation", f"{key}: at most {MAX_DIGITS} digits are taken"
        raise WireError(code, description)
    return value


def maybe_integer(payload: dict[str, Json], key: str) -> int | None:
    """A whole number, or None where it is absent."""
    return integer(payload, key) if key in payload else None


def wire_moment(value: str) -> datetime:
    """An RFC 3339 date-time. Raises WireError for one without a time zone or that no calendar has."""
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        code, description = "PropertyConstraintViolation", f"date-time {value[:40]!r}: RFC 3339 with a time zone is wanted"
        raise WireError(code, description)
    return found.astimezone(UTC)


def digest(payload: dict[str, Json]) -> str:
    """Identifies what a message says, whatever the order of its fields; `offline` may differ between sends of one event (E11.FR.07)."""
    said = {key: payload[key] for key in sorted(payload) if key != "offline"}
    return sha256(_sorted(said).encode()).hexdigest()


def _sorted(value: Json) -> str:
    match value:
        case dict():
            return "{" + ",".join(f"{json.dumps(key)}:{_sorted(value[key])}" for key in sorted(value)) + "}"
        case list():
            return "[" + ",".join(_sorted(item) for item in value) + "]"
        case _:
            return dumps(value)


def samples(meter_values: list[dict[str, Json]]) -> tuple[Sample, ...]:
    """Energy register and power of each MeterValue, of either version; single phases and signed data are left out."""
    return tuple(sample for value in meter_values if (sample := _sample(value)) is not None)


def _sample(meter_value: dict[str, Json]) -> Sample | None:
    energy: Decimal | None = None
    power: Decimal | None = None
    context = "Sample.Periodic"
    for sampled in objs(meter_value["sampledValue"]):
        if "phase" in sampled or sampled.get("format") == "SignedData":
            continue
        measurand = text(sampled, "measurand") or _ENERGY
        number = _number(sampled)
        if measurand == _ENERGY and number is not None:
            energy, context = number, text(sampled, "context") or context
        elif measurand == _POWER:
            power = number
    at = wire_moment(text(meter_value, "timestamp"))
    return Sample(at=at, context=context, energy_wh=None if energy is None else floor_wh(energy), power_w=power)


def floor_wh(energy: Decimal) -> int:
    """A register in whole Wh, rounded down: the form in which it is billed."""
    return int(energy.to_integral_value(rounding=ROUND_FLOOR))


def _number(sampled: dict[str, Json]) -> Decimal | None:
    """The value in Wh or W; None for what is no number."""
    value = sampled["value"]
    unit_of_measure = obj(sampled.get("unitOfMeasure"))
    unit = text(sampled, "unit") or text(unit_of_measure, "unit")
    multiplier = maybe_integer(unit_of_measure, "multiplier") or 0
    try:
        number = Decimal(str(value)).scaleb(_POWERS_OF_TEN.get(unit[:1], 0) + multiplier)
    except ArithmeticError:
        return None
    return number if _is_storable(number) else None


def cost_report(payload: dict[str, Json]) -> CostReport | None:
    """The charger's own figure; None when it is malformed."""
    try:
        gross, vat, seconds = (Decimal(str(payload[key])) for key in ("gross", "vat", "seconds"))
        final = payload["final"]
        if not (isinstance(final, bool) and all(_is_storable(number) for number in (gross, vat, seconds))):
            return None
        return CostReport(
            currency=text(payload, "currency"),
            gross=gross,
            vat=vat,
            energy_wh=integer(payload, "energyWh"),
            seconds=seconds,
            is_final=final,
        )
    except (KeyError, TypeError, ArithmeticError, WireError):
        return None


def _is_storable(number: Decimal) -> bool:
    """Finite, and of a size that a register or an amount of money can have."""
    return number.is_finite() and (not number or abs(number.adjusted()) <= MAX_DIGITS)


def json_object(value: str) -> dict[str, Json] | None:
    """An object inside a string, as 1.6 DataTransfer carries it; None when it is not one."""
    try:
        found = loads(value)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
