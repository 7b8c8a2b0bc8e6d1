"""The test system's CSMS: a real WebSocket server that answers by script, records every frame, and judges each by the official schemas.

It is independent of the agent: `websockets`, `jsonschema` and the schema files of the PyPI package `ocpp` are all that it uses. What is
wrong with a frame of the station is collected in `violations`, which `laboratory` looks at when a test ends.
"""

import asyncio
import contextlib
import json
import ssl
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import jsonschema
from jsonschema.protocols import Validator
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

Payload: TypeAlias = dict[str, Any]
Handler: TypeAlias = Callable[[Payload], Payload]

SCHEMAS = {"1.6": "v16", "2.0.1": "v201"}
SUBPROTOCOLS = {"1.6": "ocpp1.6", "2.0.1": "ocpp2.0.1"}
TRANSACTION_ACTIONS = frozenset({"StartTransaction", "StopTransaction", "MeterValues", "TransactionEvent"})
PATIENCE_S = 30.0


class Refusal(Exception):
    """A CALLERROR: raised by `Csms.call` when the station answers with one, and by a handler that wants to answer with one."""

    def __init__(self, code: str, description: str = "") -> None:
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description


class Silence(Exception):
    """Raised by a handler that does not answer."""


class Kind(IntEnum):
    """OCPP-J message type number."""

    CALL = 2
    RESULT = 3
    ERROR = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame. `number` counts all frames of both directions, `at` is the loop's time, `link` the connection on which it came or went."""

    number: int
    at: float
    is_of_station: bool
    kind: Kind
    message_id: str
    action: str
    payload: Payload
    link: int

    def __getitem__(self, name: str) -> Any:
        """A field of the payload."""
        return self.payload[name]


@cache
def validator(version: str, action: str, kind: Kind) -> Validator:
    """The official schema of a message. Raises FileNotFoundError where the version has no such message."""
    spec = find_spec("ocpp")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(next(iter(spec.submodule_search_locations))) / SCHEMAS[version] / "schemas"
    ending = "Response" if kind is Kind.RESULT else "" if version == "1.6" else "Request"
    schema = json.loads((folder / f"{action}{ending}.json").read_text(encoding="utf-8-sig"))
    return jsonschema.validators.validator_for(schema)(schema)


def moments_in(value: object) -> list[str]:
    """Every `timestamp` anywhere in a payload."""
    if isinstance(value, dict):
        here = [str(item) for name, item in value.items() if name == "timestamp"]
        return here + [moment for item in value.values() for moment in moments_in(item)]
    if isinstance(value, list):
        return [moment for item in value for moment in moments_in(item)]
    return []


def utc_of(text: str) -> datetime:
    """A timestamp of the wire."""
    return datetime.fromisoformat(text)


class Csms:
    """One CSMS for one station. `on[action]` answers a message; `utc` is its clock.

    `mark` says from where on `expect` looks: a step of a test begins with it. `refusals` answers the next upgrades with HTTP responses,
    `turns_away` counts the next connections that are closed with 1008 right after the upgrade.
    """

    def __init__(self, version: str, utc: Callable[[], datetime], *, check: Callable[[], None] = lambda: None) -> None:
        """`check` is asked while somebody waits; it raises when there is nothing left to wait for."""
        self.version = version
        self.utc = utc
        self.began = utc()
        self._check = check
        self.subprotocol: str | None = SUBPROTOCOLS[version]
        self.frames: list[Frame] = []
        self.violations: list[str] = []
        self.unreadable: list[str | bytes] = []
        self.requests: list[Request] = []
        self.requested_at: list[float] = []
        self.refusals: list[Response] = []
        self.links: list[ServerConnection] = []
        self.transactions: list[int] = []
        self.interval_s = 300
        self.turns_away = 0
        self.on: dict[str, Handler] = {
            "BootNotification": lambda _: self.boot_answer("Accepted"),
            "Heartbeat": lambda _: {"currentTime": self.now()},
            "Authorize": lambda _: self.verdict("Accepted"),
            "StartTransaction": lambda _: {"transactionId": self.new_number(), "idTagInfo": {"status": "Accepted"}},
            "TransactionEvent": lambda event: {"idTokenInfo": {"status": "Accepted"}} if "idToken" in event else {},
            "DataTransfer": lambda _: {"status": "UnknownVendorId"},
        }
        self.tls: ssl.SSLContext | None = None
        self.port = 0
        self._from = 0
        self._grown = asyncio.Event()
        self._sent: dict[str, str] = {}
        self._known_ids: dict[str, str] = {}
        self._server: Server | None = None

    # --- what the script says

    def now(self) -> str:
        """The CSMS's time as it stands on the wire."""
        return self.utc().isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def boot_answer(self, status: str, interval_s: int | None = None) -> Payload:
        """An answer to BootNotification; the interval is the heartbeat's where none is given."""
        return {"status": status, "interval": self.interval_s if interval_s is None else interval_s, "currentTime": self.now()}

    def verdict(self, status: str, **more: Any) -> Payload:
        """An answer to Authorize."""
        return {("idTagInfo" if self.version == "1.6" else "idTokenInfo"): {"status": status, **more}}

    @staticmethod
    def silent() -> Payload:
        """No answer."""
        raise Silence

    def new_number(self) -> int:
        """The next transactionId of 1.6."""
        self.transactions.append(4711 + 13 * len(self.transactions))
        return self.transactions[-1]

    # --- the server

    @property
    def url(self) -> str:
        return f"wss://localhost:{self.port}/ocpp" if self.tls else f"ws://127.0.0.1:{self.port}/ocpp"

    @property
    def link(self) -> ServerConnection:
        """The present connection."""
        return self.links[-1]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Csms"]:
        """Serve on a free port of loopback."""
        await self.open()
        try:
            yield self
        finally:
            await self.close()

    async def open(self) -> None:
        """Listen, on the same port as before."""
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            self.port,
            ssl=self.tls,
            select_subprotocol=lambda _connection, _offered: self.subprotocol,  # type: ignore[arg-type,return-value]
            process_request=self._upgrade,
            compression=None,
            ping_interval=None,
            close_timeout=1,
            max_size=2**23,
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def close(self) -> None:
        """Close every connection and the port."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    def _upgrade(self, _connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        self.requested_at.append(asyncio.get_running_loop().time())
        return self.refusals.pop(0) if self.refusals else None

    async def _serve(self, link: ServerConnection) -> None:
        self.links.append(link)
        self._grown.set()
        if self.turns_away:
            self.turns_away -= 1
            await link.close(1008, "Unknown station")
            return
        with contextlib.suppress(ConnectionClosed):
            async for text in link:
                await self._received(link, text)

    async def _received(self, link: ServerConnection, text: str | bytes) -> None:
        try:
            frame = json.loads(text)
            kind, message_id = Kind(frame[0]), str(frame[1])
        except (ValueError, IndexError, TypeError):
            self.violations.append(f"no OCPP-J frame: {text!r:.200}")
            self.unreadable.append(text)
            return
        if kind is Kind.CALL:
            await self._called(link, message_id, frame)
            return
        action = self._sent.get(message_id, "")
        if kind is Kind.ERROR:
            self._note(kind, message_id, action, {"code": frame[2], "description": frame[3], "details": frame[4]}, link)
            if len(frame) != 5 or len(frame[3]) > 255 or not isinstance(frame[4], dict):
                self.violations.append(f"CALLERROR of a wrong form: {text!r:.200}")
            return
        if not action:
            self.violations.append(f"a CALLRESULT to nothing that was asked: {text!r:.200}")
        else:
            self._judge(action, kind, frame[2])
        self._note(kind, message_id, action, frame[2], link)

    async def _called(self, link: ServerConnection, message_id: str, frame: list[Any]) -> None:
        _, _, action, payload = frame
        self._judge(action, Kind.CALL, payload)
        self._check_id(message_id, json.dumps(payload, sort_keys=True), action)
        self._note(Kind.CALL, message_id, action, payload, link, is_of_station=True)
        handler = self.on.get(action, lambda _: {})
        try:
            answer = handler(payload)
        except Refusal as refusal:
            await link.send(json.dumps([4, message_id, refusal.code, refusal.description, {}]))
            return
        except Silence:
            return
        validator(self.version, action, Kind.RESULT).validate(answer)
        await link.send(json.dumps([3, message_id, answer]))

    def _check_id(self, message_id: str, content: str, action: str) -> None:
        """At most 36 characters; used again only to send the very same transaction message again, in 1.6 (J errata)."""
        if not 1 <= len(message_id) <= 36:
            self.violations.append(f"{action}: message id of {len(message_id)} characters")
        known = self._known_ids.setdefault(message_id, action + content)
        if known != action + content or (self.version != "1.6" and self._known_ids.get("seen " + message_id) is not None):
            self.violations.append(f"{action}: message id {message_id} was used before")
        self._known_ids["seen " + message_id] = ""

    def _judge(self, action: str, kind: Kind, payload: object) -> None:
        try:
            validator(self.version, action, kind).validate(payload)
        except FileNotFoundError:
            self.violations.append(f"{action} is no message of OCPP {self.version}")
        except jsonschema.ValidationError as error:
            self.violations.append(f"{action} {kind.name}: {error.message} at {error.json_path}")
        for text in moments_in(payload):
            is_now = self.began - timedelta(minutes=1) < utc_of(text) < self.utc() + timedelta(seconds=2)
            if not text.endswith("Z") or not is_now:
                self.violations.append(f"{action}: timestamp {text} at {self.now()}")

    def _note(
        self, kind: Kind, message_id: str, action: str, payload: Any, link: ServerConnection, *, is_of_station: bool | None = None
    ) -> None:
        self.frames.append(
            Frame(
                number=len(self.frames),
                at=asyncio.get_running_loop().time(),
                is_of_station=kind is not Kind.CALL if is_of_station is None else is_of_station,
                kind=kind,
                message_id=message_id,
                action=action,
                payload=payload,
                link=self.links.index(link),
            )
        )
        self._grown.set()

    # --- what a test does

    def look(self) -> None:
        """Let everybody who waits look again."""
        self._grown.set()

    def mark(self) -> None:
        """What comes from now on is what `expect` and `calls` look at."""
        self._from = len(self.frames)

    def calls(
        self, *actions: str, after: int | None = None, where: Callable[[Payload], object] | None = None, **fields: Any
    ) -> list[Frame]:
        """The station's CALLs since the mark (or since frame `after`): of these actions, with these fields."""
        begin = self._from if after is None else after
        return [
            frame
            for frame in self.frames[begin:]
            if frame.is_of_station
            and frame.kind is Kind.CALL
            and (not actions or frame.action in actions)
            and all(frame.payload.get(name) == value for name, value in fields.items())
            and (where is None or where(frame.payload))
        ]

    async def expect(
        self,
        *actions: str,
        after: int | None = None,
        within: float = PATIENCE_S,
        where: Callable[[Payload], object] | None = None,
        **fields: Any,
    ) -> Frame:
        """Wait for such a CALL; the first one since the mark. Fails with what came instead."""

        def found() -> list[Frame]:
            return self.calls(*actions, after=after, where=where, **fields)

        if not await self.until(lambda: bool(found()), within):
            came = "\n".join(f"  {frame.at:.3f} {frame.action} {frame.payload}" for frame in self.calls(after=after)) or "  nothing"
            raise AssertionError(f"no {' or '.join(actions)} {fields or ''} within {within:g} s; the station sent\n{came}")
        return found()[0]

    async def until(self, condition: Callable[[], bool], within: float = PATIENCE_S) -> bool:
        """Wait for something that frames or connections bring about; whether it came."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not condition():
                    self._check()
                    self._grown.clear()
                    await self._grown.wait()
        return condition()

    async def silence(self, seconds: float, *actions: str, **fields: Any) -> None:
        """Let time pass; none of these may be sent meanwhile (no action named: nothing at all)."""
        begin = len(self.frames)
        await asyncio.sleep(seconds)
        came = self.calls(*actions, after=begin, **fields)
        assert not came, [(frame.action, frame.payload) for frame in came]

    async def call(self, action: str, payload: Payload | None = None, *, within: float = PATIENCE_S) -> Payload:
        """Ask the station; the payload of its CALLRESULT. Raises Refusal for a CALLERROR."""
        payload = {} if payload is None else payload
        validator(self.version, action, Kind.CALL).validate(payload)
        answer = await self.ask([2, str(uuid.uuid4()), action, payload], within=within)
        if answer.kind is Kind.ERROR:
            raise Refusal(answer["code"], answer["description"])
        return answer.payload

    async def ask(self, frame: list[Any], *, within: float = PATIENCE_S) -> Frame:
        """Send a frame as it is and wait for the answer to its id."""
        message_id = str(frame[1])
        self._sent[message_id] = str(frame[2])
        begin = len(self.frames)
        await self.link.send(json.dumps(frame))
        return await self.answer(message_id, after=begin, within=within)

    def expects(self, action: str, *message_ids: str) -> None:
        """Know that frames sent by hand with these ids ask for this action."""
        self._sent.update(dict.fromkeys(message_ids, action))

    def answers(self, message_id: str, *, after: int = 0) -> list[Frame]:
        """What the station answered to this id."""
        return [f for f in self.frames[after:] if f.kind is not Kind.CALL and f.message_id == message_id]

    async def answer(self, message_id: str, *, after: int = 0, within: float = PATIENCE_S) -> Frame:
        """Wait for the answer to this id."""
        came = await self.until(lambda: bool(self.answers(message_id, after=after)), within)
        assert came, f"the station did not answer {message_id} within {within:g} s"
        return self.answers(message_id, after=after)[0]

    async def status(self, status: str, *, within: float = PATIENCE_S, **fields: Any) -> Frame:
        """Wait for a StatusNotification of connector (EVSE) 1, or of the one that `fields` name."""
        if self.version == "1.6":
            return await self.expect("StatusNotification", within=within, status=status, **{"connectorId": 1, **fields})
        return await self.expect("StatusNotification", within=within, connectorStatus=status, **{"evseId": 1, **fields})

    # --- the books

    def check_books(self) -> None:
        """What must be true of the transaction messages of any test."""
        self.violations += _books_of_1_6(self.frames) if self.version == "1.6" else _books_of_2(self.frames)


def sampled(frame: Frame | Payload, measurand: str = "Energy.Active.Import.Register") -> list[tuple[str, Decimal]]:
    """(context, value) of every value of a measurand in a message, in order."""
    payload = frame.payload if isinstance(frame, Frame) else frame
    groups = payload.get("meterValue") or payload.get("transactionData") or []
    return [
        (value.get("context", "Sample.Periodic"), Decimal(str(value["value"])))
        for group in groups
        for value in group["sampledValue"]
        if value.get("measurand", "Energy.Active.Import.Register") == measurand
    ]


def _books_of_1_6(frames: list[Frame]) -> list[str]:
    """Each transaction: one Start, values of its own number in between that never fall, at most one Stop with a register not below."""
    wrong: list[str] = []
    open_meter: dict[int, Decimal] = {}
    ended: set[int] = set()
    for frame in frames:
        if not frame.is_of_station or frame.kind is not Kind.CALL or "transactionId" not in frame.payload:
            continue
        number = frame["transactionId"]
        if number in ended and frame.action != "StopTransaction":
            wrong.append(f"{frame.action} of transaction {number} after its StopTransaction")
        registers = [value for _, value in sampled(frame)]
        if frame.action == "StopTransaction":
            ended.add(number)
            registers.append(Decimal(frame["meterStop"]))
        else:
            registers.insert(0, open_meter.get(number, Decimal(0)))
        if registers != sorted(registers) or registers[-1] < open_meter.get(number, Decimal(0)):
            wrong.append(f"{frame.action}: the register fell: {registers}")
        open_meter[number] = registers[-1]
    return wrong


def _books_of_2(frames: list[Frame]) -> list[str]:
    """Each transaction: Started first, seqNo from 0 without a hole (a repetition is the same event), nothing after Ended."""
    wrong: list[str] = []
    events: dict[str, dict[int, Payload]] = {}
    for frame in frames:
        if not frame.is_of_station or frame.kind is not Kind.CALL or frame.action != "TransactionEvent":
            continue
        transaction_id, sequence = frame["transactionInfo"]["transactionId"], frame["seqNo"]
        seen = events.setdefault(transaction_id, {})
        content = {name: value for name, value in frame.payload.items() if name != "offline"}
        if sequence in seen:
            if seen[sequence] != content:
                wrong.append(f"seqNo {sequence} was sent twice with different content")
            continue
        if sequence != len(seen):
            wrong.append(f"seqNo {sequence} after {len(seen) - 1}")
        if (sequence == 0) != (frame["eventType"] == "Started"):
            wrong.append(f"{frame['eventType']} with seqNo {sequence}")
        if seen and seen[max(seen)]["eventType"] == "Ended":
            wrong.append(f"{frame['eventType']} after Ended")
        seen[sequence] = content
    return wrong
