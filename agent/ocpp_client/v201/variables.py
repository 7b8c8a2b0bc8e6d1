"""GetVariables and SetVariables."""

from agent.domain.commands import Command, GetVariables, GetVariablesOutcome, SetVariables, SetVariablesOutcome, VariableAssignment
from agent.domain.values import dataclass
from agent.domain.variables import GetVariableStatus, Mutability, SetVariableStatus, VariableKey
from agent.ocpp_client.adapter import JsonObject, OcppCallError
from agent.ocpp_client.catalog import Asked, Done, unexpected
from agent.ocpp_client.fields import child, children, integer, maybe_child, maybe_integer, maybe_text, text
from agent.ocpp_client.v201.context import Context
from agent.ocpp_client.v201.status_info import status_info

_ACTUAL = "Actual"
_FOUND = frozenset({GetVariableStatus.ACCEPTED, GetVariableStatus.REJECTED})
_MAX_VALUE = 2500


@dataclass(frozen=True, slots=True, kw_only=True)
class GetVariablesOfTypes(GetVariables):
    """GetVariables that asks for different attribute types at once. The registry has only Actual; the others are answered here."""

    attribute_types: tuple[str, ...]


def decode_get(asked: Asked[Context]) -> Command:
    """Every variable with its attribute type, Actual where none is given."""
    items = children(asked.payload, "getVariableData")
    _check_count("GetVariables", len(items), asked.context.max_get_items)
    keys = tuple(_decode_key(item) for item in items)
    types = tuple(maybe_text(item, "attributeType") or _ACTUAL for item in items)
    if len(set(types)) == 1:
        return GetVariables(keys=keys, attribute_type=types[0])
    return GetVariablesOfTypes(keys=keys, attribute_types=types)


def encode_get(done: Done[Context]) -> JsonObject:
    """One result for each variable, named as it was asked for."""
    command, outcome = done.command, done.outcome
    if not isinstance(outcome, GetVariablesOutcome) or not isinstance(command, GetVariables) or command.keys is None:
        raise unexpected("GetVariables", outcome)
    types = command.attribute_types if isinstance(command, GetVariablesOfTypes) else (command.attribute_type,) * len(command.keys)
    results = []
    for key, attribute_type, result in zip(command.keys, types, outcome.results, strict=True):
        status, value = result.status, result.value
        if attribute_type != _ACTUAL and status in _FOUND:
            status, value = GetVariableStatus.NOT_SUPPORTED_ATTRIBUTE_TYPE, None
        results.append(_get_result(key, attribute_type, status, value))
    return {"getVariableResult": results}


def decode_set(asked: Asked[Context]) -> Command:
    """Assignments in the order of the message."""
    items = children(asked.payload, "setVariableData")
    _check_count("SetVariables", len(items), asked.context.max_set_items)
    assignments = (
        VariableAssignment(
            key=_decode_key(item),
            value=text(item, "attributeValue"),
            attribute_type=maybe_text(item, "attributeType") or _ACTUAL,
        )
        for item in items
    )
    return SetVariables(assignments=tuple(assignments))


def encode_set(done: Done[Context]) -> JsonObject:
    """One result for each assignment, named as it was asked for."""
    command, outcome = done.command, done.outcome
    if not isinstance(outcome, SetVariablesOutcome) or not isinstance(command, SetVariables):
        raise unexpected("SetVariables", outcome)
    results = []
    for assignment, result in zip(command.assignments, outcome.results, strict=True):
        entry = _named(assignment.key, assignment.attribute_type)
        entry["attributeStatus"] = result.status.value
        if result.status is SetVariableStatus.REJECTED:
            definition = done.context.definitions.get(assignment.key.folded())
            is_read_only = definition is not None and definition.mutability is Mutability.READ_ONLY
            entry["attributeStatusInfo"] = status_info("ReadOnly" if is_read_only else "InvalidValue", result.reason)
        elif result.reason:
            entry["attributeStatusInfo"] = status_info(result.status.value, result.reason)
        results.append(entry)
    return {"setVariableResult": results}


def _get_result(key: VariableKey, attribute_type: str, status: GetVariableStatus, value: str | None) -> JsonObject:
    entry = _named(key, attribute_type)
    if value is not None and len(value) > _MAX_VALUE:  # half a value would be a wrong one
        entry["attributeStatus"] = GetVariableStatus.REJECTED.value
        entry["attributeStatusInfo"] = status_info("TooLargeElement", f"{len(value)} characters; at most {_MAX_VALUE} can be sent")
        return entry
    entry["attributeStatus"] = status.value
    if status is GetVariableStatus.ACCEPTED:
        entry["attributeValue"] = value if value is not None else ""
    elif status is GetVariableStatus.REJECTED:
        entry["attributeStatusInfo"] = status_info("WriteOnly", f"{key} cannot be read")  # B06.FR.09
    return entry


def _named(key: VariableKey, attribute_type: str) -> dict[str, object]:
    component: dict[str, object] = {"name": key.component}
    if key.component_instance is not None:
        component["instance"] = key.component_instance
    if key.evse_id is not None:
        component["evse"] = {"id": key.evse_id} if key.connector_id is None else {"id": key.evse_id, "connectorId": key.connector_id}
    variable = {"name": key.variable}
    if key.instance is not None:
        variable["instance"] = key.instance
    entry: dict[str, object] = {"component": component, "variable": variable}
    if attribute_type != _ACTUAL:
        entry["attributeType"] = attribute_type
    return entry


def _decode_key(item: JsonObject) -> VariableKey:
    component, variable = child(item, "component"), child(item, "variable")
    evse = maybe_child(component, "evse")
    return VariableKey(
        component=text(component, "name"),
        component_instance=maybe_text(component, "instance"),
        evse_id=None if evse is None else integer(evse, "id"),
        connector_id=None if evse is None else maybe_integer(evse, "connectorId"),
        variable=text(variable, "name"),
        instance=maybe_text(variable, "instance"),
    )


def _check_count(action: str, count: int, allowed: int) -> None:
    if count > allowed:
        detail = f"{action} names {count} variables; at most {allowed} (DeviceDataCtrlr.ItemsPerMessage[{action}])"
        raise OcppCallError("OccurrenceConstraintViolation", detail)  # B05.FR.11, B06.FR.16
