"""OCPP-J frames: what a peer can put into one, and what we write."""

import json
import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.ocpp_client.rpc import (
    MAX_DEPTH,
    AnsweredCalls,
    CallError,
    CallResult,
    Calls,
    IncomingCall,
    Repeated,
    Sent,
    Unreadable,
    encode_call,
    encode_error,
    encode_json,
    encode_result,
    parse,
    parse_json,
)


def test_a_call_is_read() -> None:
    assert parse('[2,"id-1","Reset",{"type":"Soft"}]') == IncomingCall(message_id="id-1", action="Reset", payload={"type": "Soft"})


def test_a_result_is_read() -> None:
    assert parse('[3,"id-1",{"a":1}]') == CallResult("id-1", {"a": 1})


def test_an_error_is_read() -> None:
    assert parse('[4,"id-1","InternalError","no",{}]') == CallError("id-1", "InternalError", "no")


@pytest.mark.parametrize(
    "text", ["", " ", "nonsense", '[2,"a"', "null", "42", "{}", "[]", "\ufeff[]", "[NaN]", "[Infinity]", "[-Infinity]", "\x00"]
)
def test_what_is_no_frame_may_be_answered_without_an_id(text: str) -> None:
    """2.x: CALLERROR "-1" RpcFrameworkError."""
    frame = parse(text)
    assert isinstance(frame, Unreadable)
    assert (frame.code, frame.message_id) == ("RpcFrameworkError", None)


@pytest.mark.parametrize("payload", ["NaN", '{"a":-Infinity}'])
def test_a_number_that_is_not_json_spoils_the_frame(payload: str) -> None:
    assert isinstance(parse(f'[2,"a","Reset",{payload}]'), Unreadable)


@pytest.mark.parametrize("text", ['[2,"a","Reset"]', '[2,"a","Reset",{},{}]', '[2,"a"]'])
def test_a_call_of_the_wrong_length_keeps_its_id(text: str) -> None:
    frame = parse(text)
    assert isinstance(frame, Unreadable)
    assert (frame.code, frame.message_id) == ("RpcFrameworkError", "a")


@pytest.mark.parametrize("kind", ['"2"', "9", "-1", "2.5", "null", "true", "5", "6", "[]", "2" * 400, "1e400", "0"])
def test_an_unknown_message_type_is_ignored(kind: str) -> None:
    frame = parse(f'[{kind},"a","Reset",{{}}]')
    assert isinstance(frame, Unreadable)
    assert frame.code is None


@pytest.mark.parametrize("message_id", ["5", "null", '""', "{}", json.dumps("x" * 37), json.dumps("x" * 10_000), "5" * 5000])
def test_a_call_with_an_unusable_id_has_none(message_id: str) -> None:
    frame = parse(f'[2,{message_id},"Reset",{{}}]')
    assert isinstance(frame, Unreadable)
    assert (frame.code, frame.message_id) == ("RpcFrameworkError", None)


@pytest.mark.parametrize("action", ["5", "null", '""', "{}", json.dumps("x" * 1_000_000)])
def test_an_unusable_action_is_not_implemented_and_not_echoed(action: str) -> None:
    frame = parse(f'[2,"a",{action},{{}}]')
    assert isinstance(frame, Unreadable)
    assert (frame.code, frame.message_id) == ("NotImplemented", "a")
    assert len(frame.reason) < 100


@pytest.mark.parametrize("text", ["[3,5,{}]", '[4,null,"x","y",{}]', "[3]", '[3,"",{}]'])
def test_an_answer_without_an_id_is_never_answered(text: str) -> None:
    frame = parse(text)
    assert isinstance(frame, Unreadable)
    assert frame.code is None


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        ('[3,"a"]', CallResult("a", None)),
        ('[3,"a",null]', CallResult("a", None)),
        ('[3,"a",[]]', CallResult("a", [])),
        ('[4,"a"]', CallError("a", "GenericError")),
        ('[4,"a",5,6,7]', CallError("a", "GenericError")),
        ('[4,"a","Own Code"]', CallError("a", "Own Code")),
    ],
)
def test_a_short_answer_still_finds_its_call(text: str, frame: object) -> None:
    assert parse(text) == frame


@pytest.mark.parametrize("depth", [MAX_DEPTH, 1_000, 100_000])
@pytest.mark.parametrize("wrap", ['[2,"a","Reset",%s]', "%s"])
def test_deep_nesting_is_refused_and_not_recursed_into(depth: int, wrap: str) -> None:
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        text = wrap % (opening * (depth + 1) + "1" + closing * (depth + 1))
        if len(text) < 2**20:
            assert isinstance(parse(text), Unreadable)
    assert isinstance(parse(wrap % ("[" * depth)), Unreadable)


def test_brackets_in_strings_are_not_nesting() -> None:
    text = json.dumps([2, "a", "Reset", {"text": '[{"\\[' * 50}])
    assert isinstance(parse(text), IncomingCall)


@pytest.mark.parametrize("unit", ['"', "\\", '\\"', '["', "[]", "{"])
def test_the_depth_scan_is_linear(unit: str) -> None:
    """A megabyte of the worst marks takes well under a second."""
    text = "[" * 20 + unit * (2**20 // len(unit) - 20)
    began = time.perf_counter()
    parse(text)
    assert time.perf_counter() - began < 2


def test_a_frame_over_the_limit_is_not_parsed() -> None:
    assert isinstance(parse('[2,"a","Reset",{"x":"' + "y" * 2**20 + '"}]'), Unreadable)
    assert isinstance(parse('[2,"a","Reset",{"x":"' + "y" * 900_000 + '"}]'), IncomingCall)


def test_a_binary_message_is_ignored() -> None:
    frame = parse(b'[2,"a","Reset",{}]')
    assert isinstance(frame, Unreadable)
    assert frame.code is None


@pytest.mark.parametrize("number", ["1" * 400, "1" * 5_000, "-" + "1" * 5_000, "1e400", "1e-400", "0." + "1" * 5000])
def test_an_absurd_number_is_of_no_json_type(number: str) -> None:
    """So that the schema refuses it with a type error, and the id is still known."""
    frame = parse(f'[2,"a","Reset",{{"n":{number}}}]')
    assert isinstance(frame, IncomingCall)
    assert isinstance(frame.payload, dict)
    assert not isinstance(frame.payload["n"], int | float | Decimal | str | None)


def test_fractions_are_read_as_decimal() -> None:
    frame = parse('[3,"a",{"x":0.1,"y":1.10,"z":25,"e":1.5E+3}]')
    assert isinstance(frame, CallResult)
    assert frame.payload == {"x": Decimal("0.1"), "y": Decimal("1.10"), "z": 25, "e": Decimal(1500)}


def test_of_duplicate_keys_the_last_wins() -> None:
    assert parse('[3,"a",{"x":1,"x":2}]') == CallResult("a", {"x": 2})


def test_lone_surrogates_and_nul_survive_and_can_be_echoed() -> None:
    frame = parse('[2,"\\ud800","Re\\u0000set",{"x":"\\udfff"}]')
    assert isinstance(frame, IncomingCall)
    text = encode_call(frame.message_id, frame.action, {"x": frame.payload["x"]})  # type: ignore[index]
    text.encode("ascii")
    assert json.loads(text)[1] == "\ud800"


@given(st.text() | st.binary())
def test_no_text_raises(text: str | bytes) -> None:
    assert isinstance(parse(text), IncomingCall | CallResult | CallError | Unreadable)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values)
def test_no_json_raises(value: Any) -> None:
    assert isinstance(parse(json.dumps(value)), IncomingCall | CallResult | CallError | Unreadable)


exact_numbers = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=6)
exact_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | exact_numbers | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), exact_values, max_size=4))
def test_what_we_write_is_read_back_exactly(payload: dict[str, Any]) -> None:
    assert parse_json(encode_json(payload)) == payload


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("1E+5", "100000"),
        ("1E-7", "0.0000001"),
        ("-0.0", "-0.0"),
        ("1.10", "1.10"),
        ("0E-20", "0.00000000000000000000"),
        ("12345.678", "12345.678"),
    ],
)
def test_a_decimal_is_written_digit_by_digit(number: str, text: str) -> None:
    assert encode_json(Decimal(number)) == text


@pytest.mark.parametrize("value", [1.5, Decimal("NaN"), Decimal("Infinity"), Decimal("1E+1000000"), b"x", {1: 2}, object(), {"a": {1, 2}}])
def test_a_value_without_an_exact_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        encode_json(value)


def test_an_error_is_cut_to_what_the_standard_allows() -> None:
    frame = json.loads(encode_error("a", "InternalError", "x" * 300 + "\n"))
    assert frame == [4, "a", "InternalError", "x" * 255, {}]


def test_a_result_has_three_elements() -> None:
    assert json.loads(encode_result("a", {"status": "Accepted"})) == [3, "a", {"status": "Accepted"}]


def sent(message_id: str) -> Sent[str]:
    return Sent(message_id=message_id, action="Heartbeat", purpose="for " + message_id, at=0.0)


def test_there_is_never_a_second_outstanding_call() -> None:
    calls: Calls[str] = Calls()
    calls.begin(sent("a"))
    with pytest.raises(RuntimeError):
        calls.begin(sent("b"))


def test_an_answer_in_time_is_current_and_counts_once() -> None:
    calls: Calls[str] = Calls()
    calls.begin(sent("a"))
    assert calls.settle("a") == (sent("a"), True)
    assert calls.outstanding is None
    assert calls.settle("a") is None


def test_a_late_answer_finds_its_call() -> None:
    calls: Calls[str] = Calls()
    calls.begin(sent("a"))
    assert calls.give_up() == sent("a")
    calls.begin(sent("b"))
    assert calls.settle("a") == (sent("a"), False)
    assert calls.outstanding == sent("b")


def test_an_answer_to_a_reused_id_is_current() -> None:
    calls: Calls[str] = Calls()
    calls.begin(sent("a"))
    calls.give_up()
    calls.begin(sent("a"))
    assert calls.settle("a") == (sent("a"), True)


def test_the_memory_of_sent_calls_is_bounded() -> None:
    calls: Calls[str] = Calls(memory=2)
    for name in "abc":
        calls.begin(sent(name))
        calls.give_up()
    assert calls.settle("a") is None
    assert calls.settle("b") is not None


def test_the_same_call_twice_is_answered_again_and_not_run_again() -> None:
    answered = AnsweredCalls()
    assert answered.begin("a", "text") is None
    assert answered.begin("a", "text") is Repeated.IN_PROGRESS
    answered.done("a", "text", "answer")
    assert answered.begin("a", "text") == "answer"


def test_an_id_reused_for_another_call_is_a_new_call() -> None:
    answered = AnsweredCalls()
    answered.begin("a", "text")
    answered.done("a", "text", "answer")
    assert answered.begin("a", "other text") is None


def test_the_cache_of_answers_is_bounded() -> None:
    answered = AnsweredCalls(memory=2, max_chars=5)
    for name in "abc":
        answered.begin(name, "text")
        answered.done(name, "text", "short")
    assert answered.begin("a", "text") is None
    answered.begin("long", "text")
    answered.done("long", "text", "too long")
    assert answered.begin("long", "text") is None
