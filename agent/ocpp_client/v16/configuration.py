"""ChangeConfiguration and GetConfiguration: keys as variables, and what came of them as statuses of 1.6."""

from agent.domain.commands import Command, GetVariables, GetVariablesOutcome, SetVariables, SetVariablesOutcome
from agent.domain.variables import GetVariableStatus, SetVariableStatus, VariableKey
from agent.ocpp_client.adapter import JsonObject, OcppCallError
from agent.ocpp_client.catalog import Asked, Done, unexpected
from agent.ocpp_client.fields import text
from agent.ocpp_client.v16.context import Context
from agent.ocpp_client.v16.keys import KeyCodec, is_read_only, name_of_unknown, shown_value

CHANGE_STATUS: dict[SetVariableStatus, str] = {
    SetVariableStatus.UNKNOWN_COMPONENT: "NotSupported",
    SetVariableStatus.UNKNOWN_VARIABLE: "NotSupported",
    SetVariableStatus.REJECTED: "Rejected",
    SetVariableStatus.NOT_SUPPORTED_ATTRIBUTE_TYPE: "Rejected",
    SetVariableStatus.REBOOT_REQUIRED: "RebootRequired",
    SetVariableStatus.ACCEPTED: "Accepted",
}
"""In the order in which one answer for several variables is chosen."""


def decode_change(asked: Asked[Context]) -> Command:
    """Set what the key stands for; a value that is refused before the registry sees it sets nothing, and is Rejected."""
    return SetVariables(assignments=asked.context.keys.assignments(text(asked.payload, "key"), text(asked.payload, "value")))


def encode_change(done: Done[Context]) -> JsonObject:
    """One status for all variables of the key."""
    if not isinstance(done.outcome, SetVariablesOutcome):
        raise unexpected("ChangeConfiguration", done.outcome)
    statuses = {result.status for result in done.outcome.results}
    word = next((word for status, word in CHANGE_STATUS.items() if status in statuses), "Rejected")
    return {"status": word}


def decode_get(asked: Asked[Context]) -> Command:
    """Read what the keys stand for; no key, or an empty list, asks for every one (1.6 5.8)."""
    keys, names = asked.context.keys, asked.payload.get("key")
    if not isinstance(names, list) or not names:
        names = [codec.name for codec in keys.all()]
    elif len(names) > keys.max_keys:
        detail = f"GetConfiguration asks for {len(names)} keys; at most {keys.max_keys} (GetConfigurationMaxKeys)"
        raise OcppCallError("OccurrenceConstraintViolation", detail)
    variables = dict.fromkeys(variable for name in names for variable in keys.variables_of(str(name)))
    return GetVariables(keys=tuple(variables))


def encode_get(done: Done[Context]) -> JsonObject:
    """Known keys with their values, and the names of the unknown ones."""
    keys, command, outcome = done.context.keys, done.command, done.outcome
    if not isinstance(outcome, GetVariablesOutcome) or not isinstance(command, GetVariables):
        raise unexpected("GetConfiguration", outcome)
    values: dict[VariableKey, str] = {}
    for result in outcome.results:
        if result.status is GetVariableStatus.ACCEPTED and result.value is not None:
            values[result.key.folded()] = result.value
    asked = command.keys if command.keys is not None else tuple(result.key for result in outcome.results)
    known: dict[str, KeyCodec] = {}
    unknown: list[str] = []
    for variable in asked:
        codec = keys.codec_of(variable)
        if codec is not None:
            known[codec.name] = codec
        elif command.keys is not None:
            unknown.append(name_of_unknown(variable))
    payload: dict[str, object] = {}
    if known:
        payload["configurationKey"] = [_entry(codec, values) for codec in known.values()]
    if unknown:
        payload["unknownKey"] = unknown
    return payload


def _entry(codec: KeyCodec, values: dict[VariableKey, str]) -> JsonObject:
    entry: dict[str, object] = {"key": codec.name, "readonly": is_read_only(codec)}
    value = shown_value(codec, values)
    if value is not None:
        entry["value"] = value
    return entry
