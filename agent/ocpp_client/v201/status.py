"""StatusNotification: five states of a connector; what charging does is told by TransactionEvent."""

from agent.domain.notices import StatusNotice
from agent.ocpp_client.adapter import Call
from agent.ocpp_client.v201.context import Context

_FIRST_CONNECTOR = 1


def is_sent(notice: StatusNotice) -> bool:
    """2.0.1 reports connectors, not the station, and not the stages within Occupied."""
    return notice.evse_id is not None and notice.status_changed


def encode(context: Context, notice: StatusNotice) -> tuple[Call, ...]:
    """One StatusNotification, or none."""
    if not is_sent(notice) or notice.evse_id is None:
        return ()
    payload = {
        "timestamp": context.timestamp(notice.at),
        "connectorStatus": notice.status.value,
        "evseId": int(notice.evse_id),
        "connectorId": _FIRST_CONNECTOR if notice.connector_id is None else int(notice.connector_id),
    }
    return (Call("StatusNotification", payload),)
