"""MeterValueType and SampledValueType: values as numbers, energy registers in whole Wh because that is what is billed."""

from collections.abc import Sequence
from decimal import Decimal

from agent.domain.metering import UNIT, Measurand, MeterValue, Quantity, ReadingContext, whole_wh
from agent.domain.notices import MeterValuesNotice
from agent.ocpp_client.adapter import Call, JsonObject
from agent.ocpp_client.fields import short
from agent.ocpp_client.v201.context import Context

_REGISTERS = frozenset({Measurand.ENERGY_ACTIVE_IMPORT_REGISTER, Measurand.ENERGY_ACTIVE_EXPORT_REGISTER})
_NOT_IN_THIS_VERSION = frozenset({Measurand.TEMPERATURE})
_LOCATION = {Measurand.SOC: "EV"}
"""Everything else is measured at the outlet, which is the default."""


def encode_idle(context: Context, notice: MeterValuesNotice) -> tuple[Call, ...]:
    """Clock-aligned values of an EVSE without a transaction."""
    meter_value = encode_meter_values(context, notice.meter_values)
    if not meter_value:
        return ()
    return (Call("MeterValues", {"evseId": int(notice.evse_id), "meterValue": meter_value}),)


def sendable(values: Sequence[MeterValue]) -> list[tuple[MeterValue, list[Quantity]]]:
    """Values with the quantities that this version knows; those without any are left out, because it wants at least one."""
    known = ((value, [q for q in value.quantities if q.measurand not in _NOT_IN_THIS_VERSION]) for value in values)
    return [(value, quantities) for value, quantities in known if quantities]


def encode_meter_values(context: Context, values: Sequence[MeterValue]) -> list[JsonObject]:
    """A list of MeterValueType, empty where nothing was read."""
    return [
        {
            "timestamp": context.timestamp(value.at),
            "sampledValue": [_sampled_value(quantity, value.context) for quantity in quantities],
        }
        for value, quantities in sendable(values)
    ]


def _sampled_value(quantity: Quantity, reading_context: ReadingContext) -> JsonObject:
    measurand = quantity.measurand
    sampled: dict[str, object] = {
        "value": whole_wh(quantity.value) if measurand in _REGISTERS else _number(quantity.value),
        "context": reading_context.value,
        "measurand": measurand.value,
    }
    if quantity.phase is not None:
        sampled["phase"] = quantity.phase.value
    if measurand in _LOCATION:
        sampled["location"] = _LOCATION[measurand]
    if UNIT[measurand]:
        sampled["unitOfMeasure"] = {"unit": UNIT[measurand]}
    return sampled


def _number(value: Decimal) -> int | Decimal:
    rounded = short(value)
    return int(rounded) if rounded == rounded.to_integral_value() else rounded
