"""DataTransfer of our own making: the same message in every version."""

from agent.domain.notices import VendorNotice
from agent.ocpp_client.adapter import Call, Reply
from agent.ocpp_client.catalog import Answered, Context
from agent.ocpp_client.fields import text


def encode(vendor_id: str, notice: VendorNotice) -> tuple[Call, ...]:
    """The message."""
    return (Call("DataTransfer", {"vendorId": vendor_id, "messageId": notice.message_id, "data": notice.data}),)


def decode_reply(answered: Answered[Context]) -> Reply:
    """Nothing is learned from it. Raises ValueError where a CSMS does not take a message of its own kind, so that the log tells."""
    status = text(answered.payload, "status")
    if isinstance(answered.notice, VendorNotice) and status != "Accepted":
        raise ValueError(f"{answered.notice.message_id}: {status}")
    return Reply()
