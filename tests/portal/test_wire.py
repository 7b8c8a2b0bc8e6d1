"""Frames, friendly and hostile."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.portal.wire import (
    Call,
    CallError,
    CallResult,
    Json,
    UnknownType,
    Unreadable,
    call_text,
    dumps,
    error_text,
    loads,
    parse,
    plain,
    result_text,
)

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.decimals(-(10**9), 10**9, places=3),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), children, max_size=4)
    ),
    max_leaves=12,
)


@given(values)
def test_values_survive_the_wire_exactly(value: Json) -> None:
    assert loads(dumps(value)) == value
    json.loads(dumps(value))


@pytest.mark.parametrize(("number", "text"), [("4.50", "4.5"), ("1E+3", "1000"), ("0.00", "0"), ("0.000001", "0.000001"), ("100", "100")])
def test_decimals_are_written_without_exponent_or_padding(number: str, text: str) -> None:
    assert plain(Decimal(number)) == text
    assert dumps([Decimal(number)]) == f"[{text}]"


def test_frames_are_told_apart() -> None:
    assert parse('[2,"a","Heartbeat",{}]') == Call("a", "Heartbeat", {})
    assert parse('[3,"a",{"x":1.10}]') == CallResult("a", {"x": Decimal("1.10")})
    assert parse('[4,"a","GenericError","why",{}]') == CallError(message_id="a", code="GenericError", description="why")
    assert parse('[6,"a","Send",{}]') == UnknownType("6")


def test_what_is_written_can_be_read() -> None:
    assert parse(call_text("a", "Heartbeat", {})) == Call("a", "Heartbeat", {})
    assert parse(result_text("a", {})) == CallResult("a", {})
    assert parse(error_text("a", "GenericError", "x" * 400)) == CallError(message_id="a", code="GenericError", description="x" * 255)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "42",
        "{}",
        "[]",
        "[2",
        '["2","a","Heartbeat",{}]',
        "[true]",
        '[2,"a","Heartbeat"]',
        '[2,"a","Heartbeat",{},1]',
        '[2,1,"Heartbeat",{}]',
        '[2,"","Heartbeat",{}]',
        f'[2,"{"x" * 37}","Heartbeat",{{}}]',
        '[2,"a","Heartbeat",{"x":NaN}]',
        '[2,"a","Heartbeat",{"x":1e999999999}]',
        '[2,"a","Heartbeat",{"x":' + "9" * 5000 + "}]",
        '[2,"a","Heartbeat",' + "[" * 1000 + "]" * 1000 + "]",
        '[2,"a","Heartbeat",' + "[" * 100_000 + "]" * 100_000 + "]",
        '[2,"a","Heartbeat",{"x":"\\ud800"}]',
        "[" + "9" * 30 + "]",
    ],
)
def test_a_hostile_frame_is_a_value_not_an_exception(text: str) -> None:
    assert isinstance(parse(text), Unreadable)


def test_an_unreadable_call_keeps_its_usable_id() -> None:
    assert parse('[2,"a","Heartbeat"]') == Unreadable("a frame of type 2 with wrong elements", "a")
    assert parse('[2,17,"Heartbeat",{}]') == Unreadable("a frame of type 2 with wrong elements", "-1")
    assert parse('[3,"a"]') == Unreadable("a frame of type 3 with wrong elements", "")
