"""What a technician sees of the last frames: everything but secrets and tokens."""

import json

import pytest

from agent.ocpp_client.ring import MASK, Direction, FrameRing, mask

SECRET = "S3CRET"


@pytest.mark.parametrize(
    "payload",
    [
        {"idTag": SECRET},
        {"idTagInfo": {"status": "Accepted", "parentIdTag": SECRET}},
        {"idToken": {"idToken": SECRET, "type": "ISO14443", "additionalInfo": [{"additionalIdToken": SECRET, "type": "x"}]}},
        {"groupIdToken": {"idToken": SECRET, "type": "Central"}},
        {"localAuthorizationList": [{"idTag": SECRET}]},
        {"vendorId": "charger-agent", "messageId": "TransactionLimit", "data": '{"idTag":"S3CRET","maxEnergy":5}'},
        {"key": "AuthorizationKey", "value": SECRET},
        {"value": SECRET, "key": "authorizationkey"},
        {"configurationKey": [{"key": "AuthorizationKey", "readonly": False, "value": SECRET}]},
        {
            "setVariableData": [
                {"attributeValue": SECRET, "component": {"name": "SecurityCtrlr"}, "variable": {"name": "BasicAuthPassword"}}
            ]
        },
        {
            "getVariableResult": [
                {"attributeValue": SECRET, "variable": {"name": "SharedSecret"}, "component": {"name": "WebPaymentsCtrlr"}}
            ]
        },
        {"connectionData": {"basicAuthPassword": SECRET}},
    ],
)
def test_secrets_and_tokens_are_masked(payload: object) -> None:
    shown = mask(json.dumps([2, "1", "Action", payload]))
    assert SECRET not in shown
    assert MASK in shown


def test_an_escaped_name_is_no_way_around_the_mask() -> None:
    assert SECRET not in mask('[2,"1","A",{"\\u0069dTag":"' + SECRET + '"}]')


def test_everything_else_is_shown_as_it_was() -> None:
    frame = [2, "1", "ChangeConfiguration", {"key": "HeartbeatInterval", "value": "60"}]
    assert json.loads(mask(json.dumps(frame))) == frame
    frame = [2, "1", "DataTransfer", {"vendorId": "v", "data": "a text"}]
    assert json.loads(mask(json.dumps(frame))) == frame
    assert SECRET not in mask(json.dumps([2, "1", "DataTransfer", {"data": f'{{"idTag":"{SECRET}","maxEnergy":1e99}}'}]))


@pytest.mark.parametrize("text", [f'[2,"1","A",{{"idTag":"{SECRET}"', SECRET, "[" * 5000, f'[1{"0" * 50},"{SECRET}"]'])
def test_what_cannot_be_read_is_shown_by_its_length(text: str) -> None:
    assert mask(text).startswith(f"({len(text)} characters")


def test_the_ring_keeps_the_last_frames_in_order_and_only_the_length_of_long_ones() -> None:
    ring = FrameRing(limit=3)
    for number in range(3):
        ring.add(Direction.IN, f"[{number}]", number)
    ring.add(Direction.OUT, "x" * 5000, 3)
    ring.add(Direction.IN, b"\x00\x01", 4)

    assert [(frame.at_s, frame.text) for frame in ring.masked()] == [(2, "[2]"), (3, "(5000 characters)"), (4, "(2 bytes, binary)")]


def test_a_raw_frame_does_not_show_itself() -> None:
    ring = FrameRing()
    ring.add(Direction.OUT, f'{{"idTag":"{SECRET}"}}', 0)
    assert SECRET not in repr(ring._frames)
