"""The adapter of OCPP 2.0.1."""

from collections.abc import Sequence
from datetime import datetime

from agent.domain.commands import Command, Outcome
from agent.domain.notices import AuthorizeNotice, MeterValuesNotice, Notice, StatusNotice, TransactionNotice, VendorNotice
from agent.domain.variables import VariableDefinition
from agent.ocpp_client import vendor
from agent.ocpp_client.adapter import BootInfo, BootReply, Call, JsonObject, MissingTime, RemoteRefs, Reply, Sending, WireClock
from agent.ocpp_client.catalog import Answered, decode_call, encode_outcome, incoming_messages, validated_reply
from agent.ocpp_client.schemas import warm
from agent.ocpp_client.v201 import authorize, boot, meter_values, status, transactions
from agent.ocpp_client.v201.catalog import CATALOG
from agent.ocpp_client.v201.context import Context

VERSION = "2.0.1"


class V201Adapter:
    """VersionAdapter of 2.0.1. EVSEs and connectors need no table: their numbers are the wire's."""

    subprotocol = "ocpp2.0.1"
    reuses_message_id = False
    answers_while_rejected = True
    answers_unreadable = True
    refuses_boot_trigger_when_accepted = True
    queue_is_global = False

    def __init__(self, definitions: Sequence[VariableDefinition], clock: WireClock, *, vendor_id: str = "charger-agent") -> None:
        self._context = Context.of(definitions, clock, vendor_id)

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
                return transactions.can_encode(self._context, notice)
            case StatusNotice():
                return not status.is_sent(notice) or self._context.utc(notice.at) is not None
            case MeterValuesNotice():
                return all(self._context.utc(value.at) is not None for value in notice.meter_values)
            case AuthorizeNotice() | VendorNotice():
                return True

    def missing_time(self, notice: TransactionNotice) -> MissingTime | None:
        return self._context.missing_time(transactions.moments(notice))

    def encode(self, notice: Notice, refs: RemoteRefs, sending: Sending) -> tuple[Call, ...]:
        match notice:
            case TransactionNotice():
                return transactions.encode(self._context, notice, sending)
            case StatusNotice():
                return status.encode(self._context, notice)
            case AuthorizeNotice():
                return authorize.encode(notice)
            case MeterValuesNotice():
                return meter_values.encode_idle(self._context, notice)
            case VendorNotice():
                return vendor.encode(self._context.vendor_id, notice)

    def decode_reply(self, notice: Notice, call_index: int, payload: JsonObject, sending: Sending) -> Reply:
        decode_reply = CATALOG[_action_of(notice)].decode_reply
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
        return neutral


def _action_of(notice: Notice) -> str:
    match notice:
        case TransactionNotice():
            return "TransactionEvent"
        case StatusNotice():
            return "StatusNotification"
        case AuthorizeNotice():
            return "Authorize"
        case MeterValuesNotice():
            return "MeterValues"
        case VendorNotice():
            return "DataTransfer"
