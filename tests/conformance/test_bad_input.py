"""What a CSMS must not send, sent to the running agent over the real socket: it answers as its version prescribes, and stays.

Each input is followed by a valid call, which must be answered. `TABLE` is the catalogue; what is a verdict of the version stands in
`Expected`. The second half is about servers that are no CSMS at all.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Response

from tests.conformance.csms import Csms, Kind, Refusal
from tests.conformance.laboratory import CARD, Bench, laboratory

pytestmark = pytest.mark.virtual_time

VERSIONS = ("1.6", "2.0.1")
SETTLE_S = 0.5

VALID: dict[str, tuple[str, dict[str, Any]]] = {
    "1.6": ("GetConfiguration", {"key": ["HeartbeatInterval"]}),
    "2.0.1": ("GetVariables", {"getVariableData": [{"component": {"name": "TxCtrlr"}, "variable": {"name": "TxStartPoint"}}]}),
}


@dataclass(frozen=True, slots=True)
class Answered:
    """A CALLRESULT to the frame's id."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A CALLERROR with one of these codes, to the frame's id, or to the one that stands for an id that cannot be read."""

    codes: tuple[str, ...]
    message_id: str | None = None


@dataclass(frozen=True, slots=True)
class Dropped:
    """No answer at all."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The station closes the connection with this code, and comes back."""

    code: int


Expected = Answered | Refused | Dropped | Closed
ANSWERED, DROPPED = Answered(), Dropped()


def refused(*codes: str) -> Refused:
    return Refused(codes)


UNREADABLE = Refused(("RpcFrameworkError",), "-1")
"""2.x: the id of a frame that has none that can be read."""


@dataclass(frozen=True, slots=True)
class Row:
    """One input. `frame` is what goes on the wire, `id` its message id where it has one."""

    name: str
    frame: str | bytes
    in_1_6: Expected
    in_2_0_1: Expected
    id: str = ""

    def expected(self, version: str) -> Expected:
        return self.in_1_6 if version == "1.6" else self.in_2_0_1


def call(action: object, payload: object, message_id: object = "x") -> str:
    return json.dumps([2, message_id, action, payload])


TRIGGER = "TriggerMessage"
DATA = "DataTransfer"

TABLE: dict[str, list[Row]] = {
    "no frame": [
        Row("not JSON", "hello", DROPPED, UNREADABLE),
        Row("truncated", '[2,"x","TriggerMessage",{"requested', DROPPED, UNREADABLE),
        Row("empty", "", DROPPED, UNREADABLE),
        Row("null", "null", DROPPED, UNREADABLE),
        Row("a number", "42", DROPPED, UNREADABLE),
        Row("an object", "{}", DROPPED, UNREADABLE),
        Row("an empty array", "[]", DROPPED, UNREADABLE),
        Row("a byte order mark", "\ufeff" + call("ClearCache", {}), DROPPED, UNREADABLE),
        Row("NaN", '[2,"x","DataTransfer",{"vendorId":NaN}]', DROPPED, UNREADABLE),
        Row("Infinity", '[2,"x","DataTransfer",{"vendorId":-Infinity}]', DROPPED, UNREADABLE),
        Row("1,000 levels", "[" * 1000 + "]" * 1000, DROPPED, UNREADABLE),
        Row("100,000 levels", "[" * 100_000, DROPPED, UNREADABLE),
        Row("100,000 levels in a call", '[2,"x","DataTransfer",' + '{"a":' * 100_000 + "1", DROPPED, UNREADABLE),
        Row("binary", call("ClearCache", {}).encode(), DROPPED, DROPPED),
    ],
    "message types": [
        Row("a string", '["2","x","ClearCache",{}]', DROPPED, DROPPED),
        Row("9", '[9,"x","ClearCache",{}]', DROPPED, DROPPED),
        Row("-1", '[-1,"x","ClearCache",{}]', DROPPED, DROPPED),
        Row("2.5", '[2.5,"x","ClearCache",{}]', DROPPED, DROPPED),
        Row("null", '[null,"x","ClearCache",{}]', DROPPED, DROPPED),
        Row("true", '[true,"x","ClearCache",{}]', DROPPED, DROPPED),
        Row("SEND", '[6,"x","ClearCache",{}]', DROPPED, DROPPED),
        Row("CALLRESULTERROR", '[5,"x","GenericError","",{}]', DROPPED, DROPPED),
    ],
    "form of a call": [
        Row("three elements", '[2,"x","ClearCache"]', refused("FormationViolation"), refused("ProtocolError", "RpcFrameworkError"), "x"),
        Row(
            "five elements", '[2,"x","ClearCache",{},1]', refused("FormationViolation"), refused("ProtocolError", "RpcFrameworkError"), "x"
        ),
        *(
            Row(f"id {name}", call("ClearCache", {}, message_id), DROPPED, UNREADABLE)
            for name, message_id in (
                ("an integer", 7),
                ("null", None),
                ("empty", ""),
                ("an object", {}),
                ("of 37 characters", "i" * 37),
                ("of 10,000 characters", "i" * 10_000),
            )
        ),
        *(
            Row(f"action {name}", call(action, {}), refused("NotImplemented"), refused("NotImplemented"), "x")
            for name, action in (
                ("unknown", "MakeCoffee"),
                ("in wrong case", "clearcache"),
                ("with the schema's ending", "ClearCacheRequest"),
                ("an integer", 7),
                ("null", None),
                ("of 1 MB", "A" * 1_000_000),
            )
        ),
        Row("a known action that is not built, 1.6", call("GetDiagnostics", {}), refused("NotSupported"), refused("NotImplemented"), "x"),
        Row("a known action that is not built, 2.0.1", call("GetReport", {}), refused("NotImplemented"), refused("NotSupported"), "x"),
    ],
    "payload": [
        *(
            Row(
                f"payload {name}",
                call(TRIGGER, payload),
                refused("TypeConstraintViolation", "FormationViolation"),
                refused("TypeConstraintViolation", "FormatViolation"),
                "x",
            )
            for name, payload in (("null", None), ("an array", []), ("a string", "now"), ("a number", 1))
        ),
        Row(
            "a required field is missing",
            call(TRIGGER, {}),
            refused("ProtocolError", "OccurenceConstraintViolation"),
            refused("OccurrenceConstraintViolation"),
            "x",
        ),
        Row("a wrong type", call(TRIGGER, {"requestedMessage": 5}), *(refused("TypeConstraintViolation"),) * 2, "x"),
        Row(
            "too long",
            call(DATA, {"vendorId": "v" * 256}),
            *(refused("TypeConstraintViolation", "PropertyConstraintViolation"),) * 2,
            "x",
        ),
        Row("a word that is none", call(TRIGGER, {"requestedMessage": "Coffee"}), *(refused("PropertyConstraintViolation"),) * 2, "x"),
        Row(
            "an extra field",
            call(DATA, {"vendorId": "v", "colour": 1}),
            refused("FormationViolation"),
            refused("FormatViolation"),
            "x",
        ),
        Row("a key twice", '[2,"x","DataTransfer",{"vendorId":5,"vendorId":"v"}]', ANSWERED, ANSWERED, "x"),
        *(
            Row(
                f"a number {name}",
                f'[2,"x","{TRIGGER}",{{"requestedMessage":{digits}}}]',
                refused("TypeConstraintViolation"),
                refused("TypeConstraintViolation"),
                "x",
            )
            for name, digits in (
                ("of 400 digits", "9" * 400),
                ("of 5,000 digits", "9" * 5000),
                ("1e400", "1e400"),
                ("-1e999999999", "-1e999999999"),
            )
        ),
        Row(
            "a lone surrogate",
            '[2,"x","DataTransfer",{"vendorId":"\\ud800"}]',
            refused("PropertyConstraintViolation"),
            refused("PropertyConstraintViolation"),
            "x",
        ),
        Row("a NUL character", '[2,"x","DataTransfer",{"vendorId":"a\\u0000b","data":"\\u0000"}]', ANSWERED, ANSWERED, "x"),
        Row("an id with a surrogate", '[2,"\\ud800","DataTransfer",{"vendorId":"v"}]', ANSWERED, ANSWERED, "\ud800"),
        Row("900 kB", call(DATA, {"vendorId": "v", "data": "d" * 900_000}), ANSWERED, ANSWERED, "x"),
    ],
    "answers to nothing": [
        Row("a result", '[3,"nobody",{}]', DROPPED, DROPPED),
        Row("a result without payload", '[3,"nobody"]', DROPPED, DROPPED),
        Row("a result without id", "[3]", DROPPED, DROPPED),
        Row("a result with id null", "[3,null,{}]", DROPPED, DROPPED),
        Row("an error", '[4,"nobody","GenericError","",{}]', DROPPED, DROPPED),
        Row("an error without code", '[4,"nobody"]', DROPPED, DROPPED),
        Row("an error with an unknown code", '[4,"nobody","Whatever","",{}]', DROPPED, DROPPED),
        Row("an error with code null", '[4,"nobody",null,null,null]', DROPPED, DROPPED),
        Row("an error of 900 kB", json.dumps([4, "nobody", "GenericError", "d" * 900_000, {}]), DROPPED, DROPPED),
    ],
    "the WebSocket": [
        Row("5 MB", call(DATA, {"vendorId": "v", "data": "d" * 5_000_000}), Closed(1009), Closed(1009)),
        Row("text that is no UTF-8", b'[2,"x","DataTransfer",{"vendorId":"\xff\xfe"}]', Closed(1007), Closed(1007)),
    ],
}


@pytest.mark.pain(34)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("group", list(TABLE))
async def test_bad_input(tmp_path: Path, version: str, group: str) -> None:
    """The catalogue. Every row is tried, and what went wrong with any of them is told together."""
    async with laboratory(tmp_path, version) as bench:
        wrong: list[str] = []
        for row in TABLE[group]:
            links, frames = len(bench.csms.links), len(bench.csms.frames)
            is_text = isinstance(row.expected(version), Closed) or isinstance(row.frame, str)
            await bench.csms.link.send(row.frame, text=is_text)
            problem = await judge(bench, row, links, frames)
            if problem:
                wrong.append(f"{row.name}: {problem}")
            action, payload = VALID[version]
            await bench.csms.call(action, payload, within=10)
        assert not wrong, "\n".join(wrong)
        bench.csms.violations = [v for v in bench.csms.violations if "to nothing that was asked" not in v]


async def judge(bench: Bench, row: Row, links: int, frames: int) -> str:
    """What is wrong with the station's reaction, empty when nothing is."""
    csms, expected = bench.csms, row.expected(bench.version)
    if isinstance(expected, Closed):
        link = csms.links[links - 1]
        came_back = await csms.until(lambda: len(csms.links) > links and bench.link_state == "accepted")
        if link.close_code != expected.code:
            return f"closed with {link.close_code} instead of {expected.code}"
        return "" if came_back else "the station did not come back"
    message_id = row.id
    if isinstance(expected, Refused) and expected.message_id is not None:
        message_id = expected.message_id
    if not isinstance(expected, Dropped):
        await csms.until(lambda: bool(csms.answers(message_id, after=frames)), 5)
    await asyncio.sleep(SETTLE_S)
    if len(csms.links) > links:
        return "the connection was closed"
    answers = [frame for frame in csms.frames[frames:] if frame.is_of_station and frame.kind is not Kind.CALL]
    match expected:
        case Dropped():
            return f"answered {[(frame.kind.name, frame.payload) for frame in answers]}" if answers else ""
        case Answered() if [(frame.kind, frame.message_id) for frame in answers] == [(Kind.RESULT, message_id)]:
            return ""
        case Refused(codes=codes) if len(answers) == 1 and answers[0].message_id == message_id and answers[0].kind is Kind.ERROR:
            return "" if answers[0]["code"] in codes else f"code {answers[0]['code']} instead of {' or '.join(codes)}"
        case _:
            return f"answers {[(frame.kind.name, frame.message_id[:40], frame.payload) for frame in answers]} instead of {expected}"


# --------------------------------------------------------------------------------------------------------- more than one


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_flood_of_calls_is_answered_in_order(tmp_path: Path, version: str) -> None:
    """200 at once."""
    async with laboratory(tmp_path, version) as bench:
        csms = bench.csms
        action, payload = VALID[version]
        ids = [f"flood-{number}" for number in range(200)]
        csms.expects(action, *ids)
        for message_id in ids:
            await csms.link.send(call(action, payload, message_id))
        assert await csms.until(lambda: len([f for f in csms.frames if f.kind is Kind.RESULT]) >= 200)
        assert [frame.message_id for frame in csms.frames if frame.kind is Kind.RESULT] == ids


@pytest.mark.pain(31)
@pytest.mark.parametrize("version", VERSIONS)
async def test_pings_and_fragments(tmp_path: Path, version: str) -> None:
    """500 pings are answered; a call in fragments of one character is one call."""
    async with laboratory(tmp_path, version) as bench:
        csms = bench.csms
        pongs = [await csms.link.ping() for _ in range(500)]
        async with asyncio.timeout(10):
            await asyncio.gather(*pongs)
        action, payload = VALID[version]
        csms.expects(action, "pieces")
        await csms.link.send(list(call(action, payload, "pieces")))
        assert (await csms.answer("pieces")).kind is Kind.RESULT


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_same_call_twice_runs_once(tmp_path: Path, version: str) -> None:
    """A repeated reset is answered again and resets once; the id used for something else is a new call."""
    async with laboratory(tmp_path, version) as bench:
        csms = bench.csms
        start: dict[str, Any] = {"connectorId": 1, "idTag": CARD}
        action = "RemoteStartTransaction"
        if version != "1.6":
            action, start = "RequestStartTransaction", {"evseId": 1, "remoteStartId": 1, "idToken": {"idToken": CARD, "type": "Central"}}
        first = await csms.ask([2, "same", action, start])
        again = await csms.ask([2, "same", action, start])
        assert first["status"] == again["status"] == "Accepted", "a second start would be Rejected"
        other_action, payload = VALID[version]
        assert (await csms.ask([2, "same", other_action, payload])).kind is Kind.RESULT
        stop = "Hard" if version == "1.6" else "Immediate"
        csms.expects("Reset", "reset")
        for _ in range(2):
            await csms.link.send(call("Reset", {"type": stop}, "reset"))
        await bench.restarted()
        await csms.silence(30, "BootNotification")
        assert bench.starts == 2


@pytest.mark.parametrize("version", VERSIONS)
async def test_strange_answers_to_our_own_calls(tmp_path: Path, version: str) -> None:
    """A heartbeat answered with nonsense, twice, late and with an error changes nothing; the next one comes in its time."""
    async with laboratory(tmp_path, version, boots=False) as bench:
        csms = bench.csms
        csms.interval_s = 10
        await bench.booted()
        csms.on["Heartbeat"] = lambda _: csms.silent()
        answers = [
            '[3,"%s",{"currentTime":5}]',
            '[3,"%s",{}]',
            '[3,"%s",null]',
            '[3,"%s"]',
            '[3,"%s",{"currentTime":"yesterday"}]',
            '[3,"%s",[]]',
            '[4,"%s","Whatever","",{}]',
            '[4,"%s",null]',
        ]
        for answer in answers:
            csms.mark()
            beat = await csms.expect("Heartbeat", within=30)
            for _ in range(2):
                await csms.link.send(answer % beat.message_id)
        action, payload = VALID[version]
        await csms.call(action, payload)
        assert len(csms.links) == 1


@pytest.mark.pain(22)
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_csms_with_an_absurd_clock(tmp_path: Path, version: str) -> None:
    """A time that cannot be is not believed: the agent lives, and its messages carry the board's time."""
    async with laboratory(tmp_path, version, boots=False) as bench:
        csms = bench.csms
        csms.interval_s = 10
        await bench.booted()
        for absurd in ("0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00"):
            csms.on["Heartbeat"] = lambda _, absurd=absurd: {"currentTime": absurd}
            csms.mark()
            await csms.expect("Heartbeat")
            await csms.silence(2)
            await bench.plug_in()
            await csms.expect("StatusNotification")
            await bench.unplug()
            await csms.status("Available")
        assert len(csms.links) == 1


@pytest.mark.pain(36)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("answer", ["CALLERROR", "nonsense", "silence", "a wrong status"])
async def test_a_boot_that_gets_no_usable_answer(tmp_path: Path, version: str, answer: str) -> None:
    """Nothing but BootNotification is sent until one is answered well."""
    async with laboratory(tmp_path, version, boots=False) as bench:
        csms = bench.csms
        usable = csms.on["BootNotification"]

        def strange(_: object) -> dict[str, Any]:
            if answer == "CALLERROR":
                raise Refusal("InternalError", "not today")
            return csms.silent()

        csms.on["BootNotification"] = strange
        first = await csms.expect("BootNotification")
        if answer == "nonsense":
            await csms.link.send(json.dumps([3, first.message_id, {"status": 7}]))
        if answer == "a wrong status":
            await csms.link.send(json.dumps([3, first.message_id, {"status": "Perhaps", "interval": 5, "currentTime": csms.now()}]))
        await csms.silence(5)
        assert csms.calls() == [first]
        csms.on["BootNotification"] = usable
        await csms.expect("BootNotification", after=first.number + 1, within=120)
        await csms.status("Available")


# ------------------------------------------------------------------------------------------------------------ the socket


@pytest.mark.pain(29)
@pytest.mark.pain(33)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 1012, 1013, 4000, None])
async def test_a_closed_connection_is_opened_again(tmp_path: Path, version: str, code: int | None) -> None:
    """Whatever the close code, or a reset of the TCP connection: back after the back-off, without a BootNotification."""
    async with laboratory(tmp_path, version) as bench:
        csms = bench.csms
        closed_at = bench.now()
        if code is None:
            csms.link.transport.abort()
        else:
            await csms.link.close(code, "go away")
        assert await csms.until(lambda: len(csms.links) == 2)
        assert 0.9 <= csms.requested_at[-1] - closed_at <= 3
        action, payload = VALID[version]
        await csms.call(action, payload)
        assert not csms.calls("BootNotification")


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_csms_that_accepts_and_closes(tmp_path: Path, version: str) -> None:
    """101 and then 1008 is no success: the back-off grows, and nothing is tried in a hurry."""
    variables = {"OCPPCommCtrlr.RetryBackOffWaitMinimum": "2", "OCPPCommCtrlr.RetryBackOffRepeatTimes": "4"}
    async with laboratory(tmp_path, version, variables=variables) as bench:
        csms = bench.csms
        csms.turns_away = 5
        await csms.link.close(1008, "Unknown station")
        assert await csms.until(lambda: not csms.turns_away and bench.link_state == "accepted", 600)
        waits = [later - earlier for earlier, later in pairwise(csms.requested_at[1:])]
        assert waits[0] < waits[1] < waits[2] < waits[3]
        assert waits[3] > 20


def response(status: int, **headers: str) -> Response:
    fields = Headers({name.replace("_", "-"): value for name, value in headers.items()})
    fields["Content-Length"] = "0"
    return Response(status, "-", fields, b"")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 426, 429, 500, 502, 503])
async def test_an_upgrade_that_is_refused(tmp_path: Path, version: str, status: int) -> None:
    """Any HTTP answer but 101: tried again after the back-off, until it works (404: J errata 3.3)."""
    async with laboratory(tmp_path, version) as bench:
        csms = bench.csms
        csms.refusals = [response(status) for _ in range(3)]
        csms.link.transport.abort()
        assert await csms.until(lambda: len(csms.links) == 2, 60)
        waits = [later - earlier for earlier, later in pairwise(csms.requested_at[1:])]
        assert len(waits) == 3
        assert all(0.9 <= wait <= 6.5 for wait in waits), waits
        action, payload = VALID[version]
        await csms.call(action, payload)


@pytest.mark.pain(32)
@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_obeyed(tmp_path: Path, status: int) -> None:
    """The next attempt comes not before the time that the server asked for, and not long after it."""
    async with laboratory(tmp_path, "2.0.1") as bench:
        csms = bench.csms
        csms.refusals = [response(status, Retry_After="90")]
        csms.link.transport.abort()
        assert await csms.until(lambda: len(csms.links) == 2, 120)
        first, second = csms.requested_at[1:]
        assert 89.9 <= second - first <= 95


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(tmp_path: Path, status: int) -> None:
    """Neither to another server nor to another scheme: the address is the owner's to give."""
    async with laboratory(tmp_path, "1.6") as bench:
        csms = bench.csms
        elsewhere = Csms("1.6", bench.utc)
        async with elsewhere.running():
            csms.refusals = [response(status, Location=f"{elsewhere.url}/CP001") for _ in range(2)]
            csms.link.transport.abort()
            assert await csms.until(lambda: len(csms.links) == 2, 60)
            assert not elsewhere.requests
            assert len(csms.requests) == 4


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("subprotocol", [None, "ocpp1.5", "soap"])
async def test_a_csms_without_a_common_version(tmp_path: Path, version: str, subprotocol: str | None) -> None:
    """No subprotocol, or one that was not offered: not a word is sent, and the station tries again."""
    async with laboratory(tmp_path, version) as bench:
        csms = bench.csms
        good, csms.subprotocol = csms.subprotocol, subprotocol
        csms.link.transport.abort()
        csms.mark()
        assert await csms.until(lambda: len(csms.requests) >= 4, 60)
        csms.subprotocol = good
        count = len(csms.requests)
        assert await csms.until(lambda: len(csms.requests) > count and bench.link_state == "accepted", 60)
        assert not [frame for frame in csms.frames if 1 <= frame.link < len(csms.links) - 1]
        waits = [later - earlier for earlier, later in pairwise(csms.requested_at[1:])]
        assert all(wait >= 0.9 for wait in waits), waits


# ------------------------------------------------------------------------------------------------------- no WebSocket at all

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _says(writer: asyncio.StreamWriter, text: bytes) -> None:
    writer.write(text)
    await writer.drain()


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _says(writer, b"\x00\xff\x16\x03 SSH-2.0-OpenSSH\r\n\r\n")


async def early_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()


async def bad_accept_key(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    await _says(
        writer,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\nSec-WebSocket-Protocol: ocpp1.6\r\n\r\n",
    )


async def endless_header(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    await _says(writer, b"HTTP/1.1 101 Switching Protocols\r\nX-Long: " + b"x" * 2_000_000 + b"\r\n\r\n")


async def many_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    await _says(writer, b"HTTP/1.1 101 Switching Protocols\r\n" + b"X-A: b\r\n" * 5000 + b"\r\n")


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in b"HTTP/1.1 101 Switching Protocols\r\n" * 100:
        await _says(writer, bytes([byte]))
        await asyncio.sleep(1)


@pytest.mark.parametrize("server", [garbage, early_close, bad_accept_key, endless_header, many_headers, silent, dripping])
async def test_a_server_that_is_no_csms(tmp_path: Path, server: Handler) -> None:
    """The agent gives up on it within 30 s, waits, tries again, and connects when the CSMS is there."""
    async with laboratory(tmp_path, "1.6") as bench:
        csms = bench.csms
        came_at: list[float] = []
        serving: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            came_at.append(bench.now())
            task = asyncio.current_task()
            assert task is not None
            serving.add(task)
            try:
                await server(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError, ConnectionClosed):
                pass
            finally:
                writer.close()

        await csms.close()
        false_one = await asyncio.start_server(serve, "127.0.0.1", csms.port)
        await bench.until(lambda: len(came_at) >= 3, within=200)
        false_one.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        assert all(0.9 <= later - earlier <= 36 for earlier, later in pairwise(came_at)), came_at
        await csms.open()
        assert await csms.until(lambda: bench.link_state == "accepted", 120)
        await csms.call(*VALID["1.6"])
