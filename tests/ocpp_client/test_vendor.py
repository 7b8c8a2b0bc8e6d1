"""Messages of our own making: the same in every version, and allowed by its schema."""

from typing import Any

import pytest

from agent.domain.notices import VendorNotice
from agent.ocpp_client.versions import load_adapter
from tests.ocpp_client.official import valid_request
from tests.ocpp_client.samples import FIRST, Clock, Refs

NOTICE = VendorNotice(message_id="LedgerHead", data='{"statement":"{}"}')


@pytest.fixture(params=["1.6", "2.0.1"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def adapter(version: str) -> Any:
    return load_adapter(version, definitions=(), clock=Clock(), connectors={})


def test_it_is_a_data_transfer(version: str) -> None:
    made = adapter(version)
    assert made.can_encode(NOTICE, Refs())
    (call,) = made.encode(NOTICE, Refs(), FIRST)
    assert call.action == "DataTransfer"
    assert valid_request(version, call.action, call.payload) == {
        "vendorId": "charger-agent",
        "messageId": "LedgerHead",
        "data": '{"statement":"{}"}',
    }


def test_a_csms_that_takes_it_teaches_nothing(version: str) -> None:
    assert adapter(version).decode_reply(NOTICE, 0, {"status": "Accepted"}, FIRST).events == ()


@pytest.mark.parametrize("status", ["Rejected", "UnknownMessageId", "UnknownVendorId"])
def test_a_csms_that_does_not_take_it_is_told_of(version: str, status: str) -> None:
    with pytest.raises(ValueError, match=f"LedgerHead: {status}"):
        adapter(version).decode_reply(NOTICE, 0, {"status": status}, FIRST)
