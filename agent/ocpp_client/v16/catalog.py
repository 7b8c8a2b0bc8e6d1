"""Every message of 1.6 that this station sends or serves. What is not here is answered NotSupported."""

from agent.ocpp_client import vendor
from agent.ocpp_client.catalog import Codec, nothing_to_learn
from agent.ocpp_client.v16 import authorize, commands, configuration, transactions
from agent.ocpp_client.v16.context import Context

CATALOG: dict[str, Codec[Context]] = {
    "BootNotification": Codec(sent_for="After every start, until accepted"),
    "Heartbeat": Codec(sent_for="Every HeartbeatInterval seconds without other traffic"),
    "StatusNotification": Codec(sent_for="When one of the nine states of a connector changes", decode_reply=nothing_to_learn),
    "Authorize": Codec(sent_for="A driver's token that is not known here", decode_reply=authorize.decode_reply),
    "StartTransaction": Codec(sent_for="A transaction began; queued", decode_reply=transactions.decode_start_reply),
    "MeterValues": Codec(sent_for="Periodic (queued), clock-aligned and triggered values", decode_reply=nothing_to_learn),
    "StopTransaction": Codec(sent_for="A transaction ended; queued", decode_reply=transactions.decode_stop_reply),
    "DataTransfer": Codec(
        sent_for="The station's own cost figure of a sold session (SessionCost); the head of its chain of sessions (LedgerHead)",
        done_for="Answered UnknownVendorId: no vendor's messages are built",
        decode=commands.decode_data_transfer,
        encode_outcome=commands.encode_data_transfer,
        decode_reply=vendor.decode_reply,
    ),
    "RemoteStartTransaction": commands.status_codec(
        "RemoteStartTransaction", commands.decode_remote_start, "Starts a session for a token; a charging profile in it is ignored"
    ),
    "RemoteStopTransaction": commands.status_codec("RemoteStopTransaction", commands.decode_remote_stop, "Stops a transaction"),
    "ChangeAvailability": commands.status_codec(
        "ChangeAvailability",
        commands.decode_change_availability,
        "Connector or (0) station operative or inoperative; Scheduled while a transaction runs",
    ),
    "ChangeConfiguration": Codec(
        done_for="Sets the variables behind a key",
        decode=configuration.decode_change,
        encode_outcome=configuration.encode_change,
    ),
    "GetConfiguration": Codec(
        done_for="Reads keys, or all of them",
        decode=configuration.decode_get,
        encode_outcome=configuration.encode_get,
    ),
    "ClearCache": commands.status_codec("ClearCache", commands.decode_clear_cache, "Empties the authorization cache"),
    "Reset": commands.status_codec(
        "Reset", commands.decode_reset, "Hard and Soft: transactions end and are recorded, then the daemon starts anew"
    ),
    "UnlockConnector": commands.status_codec("UnlockConnector", commands.decode_unlock, "Releases the plug and ends a running transaction"),
    "TriggerMessage": Codec(
        done_for="BootNotification, Heartbeat, StatusNotification, MeterValues; others are answered NotImplemented",
        decode=commands.decode_trigger,
        encode_outcome=commands.encode_trigger,
    ),
}
