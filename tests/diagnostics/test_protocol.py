"""JSON-RPC 2.0: one answer for each request, none for a notification, whatever the line holds."""

import asyncio
import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.diagnostics import protocol
from agent.diagnostics.protocol import Caller, ErrorCode
from tests.diagnostics.service import OBSERVER, TECHNICIAN, Methods, request


def ask(line: bytes, caller: Caller = TECHNICIAN, methods: Methods | None = None) -> Any:
    """The answer as a document, None where there is none. Checks what is true of every answer."""
    raw = asyncio.run((methods or Methods()).service().handle(line, caller))
    if raw is None:
        return None
    assert raw.endswith(b"\n")
    assert raw.count(b"\n") == 1
    answer = json.loads(raw, parse_constant=pytest.fail)
    assert answer["jsonrpc"] == "2.0"
    assert set(answer) in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"})
    return answer


def code(answer: Any) -> int:
    return int(answer["error"]["code"])


def test_a_result_carries_the_id_of_its_request() -> None:
    assert ask(request("echo", {"text": "é", "number": 3}, call_id="a-1")) == {
        "jsonrpc": "2.0",
        "id": "a-1",
        "result": {"text": "é", "number": 3},
    }


@pytest.mark.parametrize("call_id", [0, -1, 10**30, 1.5, "", "x" * 1000, None, "\ud800"])
def test_every_id_that_json_rpc_allows_comes_back(call_id: object) -> None:
    """JSON-RPC 2.0 section 4: a string, a number or null. `"id": null` is a request, not a notification."""
    assert ask(request("echo", call_id=call_id)) == {"jsonrpc": "2.0", "id": call_id, "result": {}}


@pytest.mark.parametrize("call_id", ["true", "[]", '{"a": 1}', "1e999"])
def test_another_id_is_an_invalid_request(call_id: str) -> None:
    methods = Methods()
    answer = ask(b'{"jsonrpc":"2.0","method":"echo","id":%s}' % call_id.encode(), methods=methods)
    assert (answer["id"], code(answer)) == (None, ErrorCode.INVALID_REQUEST)
    assert not methods.calls


@pytest.mark.parametrize("method", ["echo", "change", "nothing", "fail", "break"])
def test_a_notification_gets_no_answer(method: str) -> None:
    assert ask(json.dumps({"jsonrpc": "2.0", "method": method}).encode()) is None


def test_a_notification_is_carried_out() -> None:
    methods = Methods()
    assert ask(b'{"jsonrpc":"2.0","method":"change","params":{"name":"a"}}', methods=methods) is None
    assert methods.calls == [("change", {"name": "a"})]


WRONG_LINES = [
    (b"", ErrorCode.PARSE_ERROR),
    (b"hello", ErrorCode.PARSE_ERROR),
    (b'{"jsonrpc":"2.0","id":1,"method":"ec', ErrorCode.PARSE_ERROR),
    (b"\xff\xfe\x00", ErrorCode.PARSE_ERROR),
    ('{"jsonrpc":"2.0","id":1,"method":"echo"}'.encode("utf-16"), ErrorCode.PARSE_ERROR),
    (b'{"jsonrpc":"2.0","id":NaN,"method":"echo"}', ErrorCode.PARSE_ERROR),
    (b'{"jsonrpc":"2.0","id":1,"method":"echo","params":{"number":Infinity}}', ErrorCode.PARSE_ERROR),
    (b"[" * 60_000, ErrorCode.PARSE_ERROR),
    (b'{"a":' * 10_000, ErrorCode.PARSE_ERROR),
    (b"9" * 60_000, ErrorCode.PARSE_ERROR),
    (b"1", ErrorCode.INVALID_REQUEST),
    (b"null", ErrorCode.INVALID_REQUEST),
    (b"[]", ErrorCode.INVALID_REQUEST),
    (b'[{"jsonrpc":"2.0","id":1,"method":"echo"}]', ErrorCode.INVALID_REQUEST),
    (b"{}", ErrorCode.INVALID_REQUEST),
    (b'{"jsonrpc":"1.0","id":null,"method":"echo"}', ErrorCode.INVALID_REQUEST),
    (b'{"jsonrpc":2.0,"method":"echo"}', ErrorCode.INVALID_REQUEST),
    (b'{"jsonrpc":"2.0","method":1}', ErrorCode.INVALID_REQUEST),
    (b'{"jsonrpc":"2.0","method":"echo","params":"bar"}', ErrorCode.INVALID_REQUEST),
    (b'{"jsonrpc":"2.0","method":"echo","params":null}', ErrorCode.INVALID_REQUEST),
]


@pytest.mark.parametrize(("line", "expected"), WRONG_LINES)
def test_a_line_that_is_no_request_is_answered_with_id_null(line: bytes, expected: ErrorCode) -> None:
    methods = Methods()
    answer = ask(line, methods=methods)
    assert (answer["id"], code(answer)) == (None, expected)
    assert not methods.calls


def test_an_invalid_request_keeps_an_id_that_can_be_read() -> None:
    answer = ask(b'{"jsonrpc":"2.0","id":7,"method":["echo"]}')
    assert (answer["id"], code(answer)) == (7, ErrorCode.INVALID_REQUEST)


@pytest.mark.parametrize(
    ("method", "params", "expected", "says"),
    [
        ("nothing", {}, ErrorCode.METHOD_NOT_FOUND, "there are big, break, change, echo, fail, hang, nan, rpc.discover"),
        ("x" * 5000, {}, ErrorCode.METHOD_NOT_FOUND, "x" * 60 + "'"),
        ("echo", {"texts": "a"}, ErrorCode.INVALID_PARAMS, "unknown parameter 'texts'; allowed: text, number"),
        ("hang", {"a": 1}, ErrorCode.INVALID_PARAMS, "unknown parameter 'a'; allowed: none"),
        ("echo", {"text": 1}, ErrorCode.INVALID_PARAMS, "text must be a string"),
        ("echo", {"text": None}, ErrorCode.INVALID_PARAMS, "text must be a string"),
        ("echo", {"text": "\ud800"}, ErrorCode.INVALID_PARAMS, "text holds half of a surrogate pair, which is no text"),
        ("echo", {"number": "1"}, ErrorCode.INVALID_PARAMS, "number must be a whole number from 1 to 500"),
        ("echo", {"number": True}, ErrorCode.INVALID_PARAMS, "number must be a whole number from 1 to 500"),
        ("echo", {"number": 1.0}, ErrorCode.INVALID_PARAMS, "number must be a whole number from 1 to 500"),
        ("echo", {"number": 0}, ErrorCode.INVALID_PARAMS, "number must be a whole number from 1 to 500"),
        ("echo", {"number": 10**4000}, ErrorCode.INVALID_PARAMS, "number must be a whole number from 1 to 500"),
        ("change", {}, ErrorCode.INVALID_PARAMS, "name is needed: what to change"),
        ("fail", {}, ErrorCode.FAILED, "the disk is full; delete something"),
    ],
)
def test_what_is_wrong_is_said_with_what_is_allowed(method: str, params: dict[str, object], expected: ErrorCode, says: str) -> None:
    methods = Methods()
    answer = ask(request(method, params), methods=methods)
    assert code(answer) == expected
    assert says in answer["error"]["message"]
    assert len(answer["error"]["message"]) < 300
    assert not methods.calls


def test_positional_params_are_refused() -> None:
    answer = ask(b'{"jsonrpc":"2.0","id":1,"method":"echo","params":["a"]}')
    assert code(answer) == ErrorCode.INVALID_PARAMS


def test_who_may_only_look_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    methods = Methods()
    answer = ask(request("change", {"name": "a"}), OBSERVER, methods)
    assert code(answer) == ErrorCode.FORBIDDEN
    assert answer["error"]["message"] == "change is for the role technician; you are observer"
    assert not methods.calls
    assert "uid=1000" in caplog.text


def test_who_may_change_may_look_too() -> None:
    assert ask(request("echo"), TECHNICIAN)["result"] == {}


def test_a_change_is_logged_with_its_author_and_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "agent.diagnostics")
    ask(request("change", {"name": "BasicAuthPassword", "value": "hunter2"}))
    ask(request("echo"))
    assert [record.getMessage() for record in caplog.records] == [
        "diagnostics call method=change name=BasicAuthPassword uid=0 pid=8",
    ]


@pytest.mark.parametrize("method", ["break", "nan"])
def test_a_bug_in_a_method_is_an_internal_error_with_a_trace_in_the_log(method: str, caplog: pytest.LogCaptureFixture) -> None:
    answer = ask(request(method))
    assert (answer["id"], code(answer)) == (1, ErrorCode.INTERNAL_ERROR)
    assert caplog.records[-1].exc_info is not None


@pytest.mark.virtual_time
async def test_every_call_ends(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    raw = await Methods().service().handle(request("hang"), OBSERVER)
    assert loop.time() - began == pytest.approx(protocol.CALL_S, abs=0.1)
    assert raw is not None
    assert code(json.loads(raw)) == ErrorCode.FAILED


def test_the_description_names_every_method_with_its_parameters_and_role() -> None:
    document = ask(request("rpc.discover"))["result"]
    assert document["openrpc"].startswith("1.")
    assert document["info"] == {"title": "test", "version": "1"}
    methods = {method["name"]: method for method in document["methods"]}
    assert set(methods) == {"rpc.discover", "echo", "change", "fail", "break", "hang", "nan", "big"}
    assert methods["change"]["x-role"] == "technician"
    assert methods["echo"] == {
        "name": "echo",
        "summary": "Gives its parameters back.",
        "paramStructure": "by-name",
        "params": [
            {"name": "text", "description": "any text", "required": False, "schema": {"type": "string"}},
            {"name": "number", "description": "any number", "required": False, "schema": {"type": "integer", "minimum": 1, "maximum": 500}},
        ],
        "result": {"name": "result", "schema": {"type": "object"}},
        "x-role": "observer",
    }


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
members = {
    "jsonrpc": st.just("2.0") | json_values,
    "id": json_values,
    "method": st.sampled_from(["echo", "change", "fail", "break", "nan", "rpc.discover", "nothing"]) | json_values,
    "params": st.fixed_dictionaries({}, optional={"text": st.text(), "number": st.integers(), "name": st.text()}) | json_values,
}


@given(st.fixed_dictionaries({}, optional=members))
def test_a_request_with_an_id_gets_exactly_one_answer_with_it(document: dict[str, Any]) -> None:
    answer = ask(json.dumps(document).encode())
    is_id = "id" in document and (document["id"] is None or isinstance(document["id"], str | int | float))
    is_id = is_id and not isinstance(document["id"], bool)
    is_request = (
        document.get("jsonrpc") == "2.0" and isinstance(document.get("method"), str) and isinstance(document.get("params", {}), dict | list)
    )
    if "id" not in document and is_request:
        assert answer is None
    else:
        assert answer["id"] == (document["id"] if is_id else None)
        assert is_request or code(answer) == ErrorCode.INVALID_REQUEST


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(line: bytes) -> None:
    answer = ask(line)
    assert answer is not None, "random bytes are no notification"
    assert answer["id"] is None
