"""The adapter of OCPP 1.6J."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from agent.domain.commands import Command, Outcome
from agent.domain.ids import EvseId
from agent.domain.notices import AuthorizeNotice, MeterValuesNotice, Notice, StatusNotice, TransactionNotice, VendorNotice
from agent.domain.transaction import TransactionEventType
from agent.domain.variables import VariableDefinition
from agent.ocpp_client import vendor
from agent.ocpp_client.adapter import BootInfo, BootReply, Call, JsonObject, MissingTime, RemoteRefs, Reply, Sending, WireClock
from agent.ocpp_client.catalog import Answered, decode_call, encode_outcome, incoming_messages, validated_reply
from agent.ocpp_client.schemas import warm
from agent.ocpp_client.v16 import authorize, boot, meter_values, status, transactions
from agent.ocpp_client.v16.catalog import CATALOG
from agent.ocpp_client.v16.context import Context
from agent.ocpp_client.v16.keys import Keys

VERSION = "1.6"

_ERROR_CODE = {
    "FormatViolation": "FormationViolation",
    "OccurrenceConstraintViolation": "OccurenceConstraintViolation",  # J errata 5.1: the spelling stays
    "RpcFrameworkError": "FormationViolation",
    "MessageTypeNotSupported": "GenericError",
}

_ACTION_OF_EVENT = {
    TransactionEventType.STARTED: "StartTransaction",
    TransactionEventType.UPDATED: "MeterValues",
    TransactionEventType.ENDED: "StopTransaction",
}


class V16Adapter:
    """VersionAdapter of 1.6. `connectors` gives each EVSE its connectorId: from 1, one to one. Raises ValueError where they are not."""

    subprotocol = "ocpp1.6"
    reuses_message_id = True
    answers_while_rejected = False
    answers_unreadable = False
    refuses_boot_trigger_when_accepted = False
    queue_is_global = True

    def __init__(
        self,
        definitions: Sequence[VariableDefinition],
        clock: WireClock,
        connectors: Mapping[EvseId, int],
        *,
        vendor_id: str = "charger-agent",
    ) -> None:
        numbers = sorted(connectors.values())
        if len(set(numbers)) != len(numbers) or any(number < 1 for number in numbers):
            msg = f"connectorIds {numbers}; allowed: numbers from 1, a different one for each EVSE"
            raise ValueError(msg)
        self._context = Context(connectors=dict(connectors), clock=clock, keys=Keys(definitions), vendor_id=vendor_id)

    def warm(self) -> None:
        """Compile every validator that this version needs; meant for a thread."""
        warm(VERSION, incoming_messages(CATALOG))

    def boot(self, info: BootInfo) -> Call:
        return boot.encode_boot(info)

    def decode_boot_reply(self, payload: JsonObject) -> BootReply:
        return boot.decode_boot_reply(payload)

    def heartbeat(self) -> Call:
        return boot.encode_heartbeat()

    def decode_heartbeat_reply(self, payload: JsonObject) -> datetime | None:
        return boot.decode_heartbeat_reply(payload)

    def can_encode(self, notice: Notice, refs: RemoteRefs) -> bool:
        match notice:
            case TransactionNotice():
                return transactions.can_encode(self._context, notice, refs)
            case MeterValuesNotice():
                return all(self._context.utc(value.at) is not None for value in notice.meter_values)
            case AuthorizeNotice() | StatusNotice() | VendorNotice():
                return True

    def missing_time(self, notice: TransactionNotice) -> MissingTime | None:
        return self._context.missing_time(transactions.moments(notice))

    def encode(self, notice: Notice, refs: RemoteRefs, sending: Sending) -> tuple[Call, ...]:
        match notice:
            case TransactionNotice():
                return transactions.encode(self._context, notice, refs)
            case StatusNotice():
                return status.encode(self._context, notice)
            case AuthorizeNotice():
                return authorize.encode(notice)
            case MeterValuesNotice():
                return meter_values.encode_idle(self._context, notice)
            case VendorNotice():
                return vendor.encode(self._context.vendor_id, notice)

    def decode_reply(self, notice: Notice, call_index: int, payload: JsonObject, sending: Sending) -> Reply:
        decode_reply = CATALOG[_action_of(notice, call_index)].decode_reply
        if decode_reply is None:
            return Reply()
        return decode_reply(Answered(context=self._context, notice=notice, payload=payload, sending=sending))

    def validate_reply(self, action: str, payload: object) -> JsonObject:
        return validated_reply(VERSION, action, payload)

    def decode(self, action: str, payload: object, refs: RemoteRefs) -> Command:
        return decode_call(VERSION, CATALOG, self._context, action, payload, refs)

    def encode_outcome(self, action: str, command: Command, outcome: Outcome) -> JsonObject:
        return encode_outcome(CATALOG, self._context, action, command, outcome)

    def error_code(self, neutral: str) -> str:
        return _ERROR_CODE.get(neutral, neutral)


def _action_of(notice: Notice, call_index: int) -> str:
    match notice:
        case TransactionNotice():
            return _ACTION_OF_EVENT[notice.event_type] if call_index == 0 else "DataTransfer"
        case StatusNotice():
            return "StatusNotification"
        case AuthorizeNotice():
            return "Authorize"
        case MeterValuesNotice():
            return "MeterValues"
        case VendorNotice():
            return "DataTransfer"
