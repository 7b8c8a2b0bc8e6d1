"""MeterValue and SampledValue as 1.6 writes them: values as text, energy registers in whole Wh."""

from agent.domain.metering import UNIT, Measurand, MeterValue, Quantity, ReadingContext, whole_wh
from agent.domain.notices import MeterValuesNotice
from agent.ocpp_client.adapter import Call, JsonObject
from agent.ocpp_client.fields import plain, short
from agent.ocpp_client.v16.context import Context

_REGISTERS = frozenset({Measurand.ENERGY_ACTIVE_IMPORT_REGISTER, Measurand.ENERGY_ACTIVE_EXPORT_REGISTER})
_UNIT = {
    **UNIT,
    Measurand.TEMPERATURE: "Celcius",  # 1.6 7.45 spells it so; edition 2 accepts both
    Measurand.FREQUENCY: "",  # 7.45 has no hertz: the measurand says it
}
_LOCATION = {Measurand.SOC: "EV", Measurand.TEMPERATURE: "Body"}
"""Everything else is measured at the outlet, which is the default."""


def encode_idle(context: Context, notice: MeterValuesNotice) -> tuple[Call, ...]:
    """Clock-aligned values of a connector without a transaction."""
    return encode_call(context, context.connector_of(notice.evse_id), None, notice.meter_values)


def encode_call(context: Context, connector_id: int, transaction_id: int | None, values: tuple[MeterValue, ...]) -> tuple[Call, ...]:
    """MeterValues; nothing where nothing was read."""
    meter_value = encode_meter_values(context, values)
    if not meter_value:
        return ()
    payload: dict[str, object] = {"connectorId": connector_id, "meterValue": meter_value}
    if transaction_id is not None:
        payload["transactionId"] = transaction_id
    return (Call("MeterValues", payload),)


def encode_meter_values(context: Context, values: tuple[MeterValue, ...]) -> list[JsonObject]:
    """A value without quantities is left out: 1.6 wants at least one sampledValue."""
    return [
        {
            "timestamp": context.timestamp(value.at),
            "sampledValue": [_sampled_value(quantity, value.context) for quantity in value.quantities],
        }
        for value in values
        if value.quantities
    ]


def _sampled_value(quantity: Quantity, reading_context: ReadingContext) -> JsonObject:
    measurand = quantity.measurand
    value = str(whole_wh(quantity.value)) if measurand in _REGISTERS else plain(short(quantity.value))
    sampled = {"value": value, "context": reading_context.value, "measurand": measurand.value}
    if quantity.phase is not None:
        sampled["phase"] = quantity.phase.value
    if measurand in _LOCATION:
        sampled["location"] = _LOCATION[measurand]
    if _UNIT[measurand]:
        sampled["unit"] = _UNIT[measurand]
    return sampled
