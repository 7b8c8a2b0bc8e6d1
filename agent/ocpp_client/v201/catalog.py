"""Every message of 2.0.1 that this station sends or serves. What is not here is answered NotSupported."""

from agent.ocpp_client import vendor
from agent.ocpp_client.catalog import Codec, nothing_to_learn
from agent.ocpp_client.v201 import authorize, commands, transactions, variables
from agent.ocpp_client.v201.context import Context

CATALOG: dict[str, Codec[Context]] = {
    "BootNotification": Codec(sent_for="After every start, until accepted"),
    "Heartbeat": Codec(sent_for="Every HeartbeatInterval seconds without other traffic"),
    "StatusNotification": Codec(sent_for="When the status of a connector changes", decode_reply=nothing_to_learn),
    "Authorize": Codec(sent_for="A driver's token that is not known here", decode_reply=authorize.decode_reply),
    "TransactionEvent": Codec(
        sent_for="A transaction began, changed or ended; queued. Carries the cost of a sold session as customData",
        decode_reply=transactions.decode_reply,
    ),
    "MeterValues": Codec(sent_for="Clock-aligned values of an EVSE without a transaction", decode_reply=nothing_to_learn),
    "RequestStartTransaction": Codec(
        done_for="Starts a session for a token; a charging profile in it is ignored",
        decode=commands.decode_request_start,
        encode_outcome=commands.encode_request_start,
    ),
    "RequestStopTransaction": commands.status_codec("RequestStopTransaction", commands.decode_request_stop, "Stops a transaction"),
    "GetVariables": Codec(done_for="Reads variables, attribute Actual", decode=variables.decode_get, encode_outcome=variables.encode_get),
    "SetVariables": Codec(done_for="Sets variables, attribute Actual", decode=variables.decode_set, encode_outcome=variables.encode_set),
    "Reset": commands.status_codec("Reset", commands.decode_reset, "Immediate and OnIdle, of the station"),
    "ChangeAvailability": commands.status_codec(
        "ChangeAvailability",
        commands.decode_change_availability,
        "Station, EVSE or connector operative or inoperative; Scheduled while a transaction runs",
    ),
    "UnlockConnector": commands.status_codec(
        "UnlockConnector", commands.decode_unlock, "Releases the plug; refused while a transaction runs"
    ),
    "ClearCache": commands.status_codec("ClearCache", commands.decode_clear_cache, "Empties the authorization cache"),
    "TriggerMessage": Codec(
        done_for="BootNotification, Heartbeat, StatusNotification, MeterValues; others are answered NotImplemented",
        decode=commands.decode_trigger,
        encode_outcome=commands.encode_trigger,
    ),
    "DataTransfer": Codec(
        sent_for="The head of the station's chain of sessions (LedgerHead), where LedgerCtrlr.SendHead is set",
        done_for="Answered UnknownVendorId: no vendor's messages are built",
        decode=commands.decode_data_transfer,
        encode_outcome=commands.encode_data_transfer,
        decode_reply=vendor.decode_reply,
    ),
}
