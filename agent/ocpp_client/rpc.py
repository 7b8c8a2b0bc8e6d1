"""OCPP-J frames (part 4): text to frame and back, and which CALL waits for which answer. No socket, no clock, no version's words.

Everything a peer can put into a frame ends here as a value, never as an exception: too large, too deep, absurd numbers, wrong ids.
"""

import json
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import Enum
from json.encoder import encode_basestring_ascii
from typing import Generic, TypeVar

from agent.domain.values import dataclass

MAX_FRAME_CHARS = 2**20
MAX_DEPTH = 32
"""The deepest message of OCPP 2.1 nests 11 levels. Python's own limit (RecursionError) lies far above."""
MAX_MESSAGE_ID = 36
"""OCPP-J 4.1.4: a message id has at most 36 characters."""
MAX_ACTION = 64
MAX_DESCRIPTION = 255
_MAX_INTEGER_DIGITS = 18
_MAX_DECIMAL_CHARS = 40
_MAX_EXPONENT = 30
_STRUCTURE = re.compile(r'\\.|["\[\]{}]', re.DOTALL)
_HALF = re.compile("[\ud800-\udfff]")

_CALL, _CALL_RESULT, _CALL_ERROR = 2, 3, 4

Purpose = TypeVar("Purpose")


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingCall:
    """[2, message id, action, payload]. The payload is not validated yet."""

    message_id: str
    action: str
    payload: object


@dataclass(frozen=True, slots=True)
class CallResult:
    """[3, message id, payload]. A missing payload reads as None, which no schema accepts."""

    message_id: str
    payload: object


@dataclass(frozen=True, slots=True)
class CallError:
    """[4, message id, code, description, details], in the peer's words."""

    message_id: str
    code: str
    description: str = ""

    def __str__(self) -> str:
        return f"{self.code}: {self.description}" if self.description else self.code


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """Not a frame. `message_id` is the sender's where it could be read. `code` is the neutral error code; None: never answered.

    Unknown message types are ignored (OCPP-J 4.1.3), and so is what can only be an answer.
    """

    reason: str
    message_id: str | None = None
    code: str | None = "RpcFrameworkError"


Frame = IncomingCall | CallResult | CallError | Unreadable


class _Unusable(Enum):
    """Stands for a number that no OCPP field can hold. It is of no JSON type, so every schema refuses it where it stands."""

    NUMBER = "a number out of all range"


def _integer(text: str) -> object:
    return int(text) if len(text) - text.startswith("-") <= _MAX_INTEGER_DIGITS else _Unusable.NUMBER


def _fraction(text: str) -> object:
    if len(text) > _MAX_DECIMAL_CHARS:
        return _Unusable.NUMBER
    number = Decimal(text)
    return number if abs(number.adjusted()) <= _MAX_EXPONENT else _Unusable.NUMBER


def _constant(text: str) -> object:
    raise ValueError(f"{text} is not JSON")


_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_fraction, parse_constant=_constant)


def parse(text: str | bytes, max_chars: int = MAX_FRAME_CHARS) -> Frame:
    """Read one WebSocket message. Never raises. Numbers with a fraction become Decimal; of duplicate keys the last wins."""
    if not isinstance(text, str):
        return Unreadable(reason="a binary message; OCPP-J is text", code=None)
    if len(text) > max_chars:
        return Unreadable(reason=f"{len(text)} characters, at most {max_chars} are read")
    try:
        document = _document(text)
    except (ValueError, RecursionError, ArithmeticError) as error:
        return Unreadable(reason=f"not JSON: {ascii(str(error))[1:-1][:120]}")
    if not isinstance(document, list) or not document:
        return Unreadable(reason="not a JSON array with content")
    return _frame(document)


def parse_json(text: str) -> object:
    """A JSON text under the same limits, None where it is none."""
    try:
        return _document(text)
    except (ValueError, RecursionError, ArithmeticError):
        return None


def is_text(value: object) -> bool:
    """Whether every text in a document is one: JSON can write half of a surrogate pair, which UTF-8, and so the disk, cannot hold."""
    match value:
        case str():
            return value.isascii() or _HALF.search(value) is None
        case dict():
            return all(is_text(key) and is_text(item) for key, item in value.items())
        case list():
            return all(map(is_text, value))
        case _:
            return True


def as_text(value: object) -> object:
    """The document with U+FFFD in place of each half of a pair."""
    match value:
        case str():
            return _HALF.sub("\ufffd", value)
        case dict():
            return {_HALF.sub("\ufffd", key): as_text(item) for key, item in value.items()}
        case list():
            return [as_text(item) for item in value]
        case _:
            return value


def _document(text: str) -> object:
    if _is_too_deep(text):
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    return _DECODER.decode(text)


def _frame(document: list[object]) -> Frame:
    kind = document[0]
    message_id = document[1] if len(document) > 1 else None
    usable_id = message_id if isinstance(message_id, str) and 1 <= len(message_id) <= MAX_MESSAGE_ID else None
    if isinstance(kind, bool) or kind not in (_CALL, _CALL_RESULT, _CALL_ERROR) or not isinstance(kind, int):
        return Unreadable(reason=f"unknown message type {ascii(kind)[:20]}", message_id=usable_id, code=None)
    if kind == _CALL:
        return _call(document, usable_id)
    if usable_id is None:
        return Unreadable(reason="an answer without a usable message id", code=None)
    if kind == _CALL_RESULT:
        return CallResult(usable_id, document[2] if len(document) > 2 else None)
    code = document[2] if len(document) > 2 else None
    description = document[3] if len(document) > 3 else None
    return CallError(
        usable_id,
        code[:MAX_ACTION] if isinstance(code, str) and code else "GenericError",
        description[:MAX_DESCRIPTION] if isinstance(description, str) else "",
    )


def _call(document: list[object], usable_id: str | None) -> Frame:
    if usable_id is None:
        return Unreadable(reason=f"a CALL whose message id is not a string of 1 to {MAX_MESSAGE_ID} characters")
    if len(document) != 4:
        return Unreadable(reason=f"a CALL of {len(document)} elements instead of 4", message_id=usable_id)
    action, payload = document[2], document[3]
    if not isinstance(action, str) or not 1 <= len(action) <= MAX_ACTION:
        return Unreadable(reason="a CALL without a usable action", message_id=usable_id, code="NotImplemented")
    return IncomingCall(message_id=usable_id, action=action, payload=payload)


def _is_too_deep(text: str) -> bool:
    """Whether brackets outside strings nest deeper than MAX_DEPTH. Linear, and it stops at the first bracket that is too deep."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    depth = 0
    is_in_string = False
    for match in _STRUCTURE.finditer(text):
        mark = match.group()
        if mark == '"':
            is_in_string = not is_in_string
        elif is_in_string:
            continue
        elif mark in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif mark in "]}":
            depth -= 1
    return False


def encode_call(message_id: str, action: str, payload: Mapping[str, object]) -> str:
    """A CALL as text, pure ASCII. Raises TypeError for a value that has no exact JSON form (a float among them)."""
    return f"[2,{encode_basestring_ascii(message_id)},{encode_basestring_ascii(action)},{encode_json(payload)}]"


def encode_result(message_id: str, payload: Mapping[str, object]) -> str:
    """A CALLRESULT as text."""
    return f"[3,{encode_basestring_ascii(message_id)},{encode_json(payload)}]"


def encode_error(message_id: str, code: str, description: str = "") -> str:
    """A CALLERROR as text: description cut to 255 characters, details empty (OCPP-J 4.2.3)."""
    cut = encode_basestring_ascii(description[:MAX_DESCRIPTION])
    return f"[4,{encode_basestring_ascii(message_id)},{encode_basestring_ascii(code)},{cut},{{}}]"


def encode_json(value: object) -> str:
    """JSON text of a payload. A Decimal is written digit by digit as a number, without exponent; a float is refused (money, energy)."""
    match value:
        case str():
            return encode_basestring_ascii(value)
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case int():
            return int.__repr__(value)
        case Decimal():
            return _decimal_text(value)
        case Mapping():
            members = [f"{_key(key)}:{encode_json(item)}" for key, item in value.items()]
            return "{" + ",".join(members) + "}"
        case Sequence() if not isinstance(value, bytes | bytearray | memoryview):
            return "[" + ",".join([encode_json(item) for item in value]) + "]"
        case _:
            raise TypeError(f"a payload holds a {type(value).__name__}; allowed are str, int, bool, None, Decimal, mappings and sequences")


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a payload has a key of type {type(key).__name__}; allowed is str")
    return encode_basestring_ascii(key)


def _decimal_text(value: Decimal) -> str:
    if not value.is_finite():
        raise TypeError(f"a payload holds the number {value}; JSON has no such number")
    if value and abs(value.adjusted()) > _MAX_EXPONENT:
        raise TypeError(f"a payload holds the number {value}; its magnitude is beyond 10^{_MAX_EXPONENT}")
    return format(value, "f")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent(Generic[Purpose]):
    """A CALL that went out: when, and what for."""

    message_id: str
    action: str
    purpose: Purpose
    at: float


class Calls(Generic[Purpose]):
    """Our CALLs: one outstanding at most (1.6 J 4.1.1 SHOULD, 2.x SHALL), and the last ones sent, so that a late answer finds its owner."""

    def __init__(self, memory: int = 64) -> None:
        self.outstanding: Sent[Purpose] | None = None
        self._memory = memory
        self._known: OrderedDict[str, Sent[Purpose]] = OrderedDict()

    def begin(self, sent: Sent[Purpose]) -> None:
        """Note a CALL that goes out now. Raises RuntimeError when another one is outstanding."""
        if self.outstanding is not None:
            raise RuntimeError(f"{sent.action} would be a second outstanding CALL beside {self.outstanding.action}")
        self.outstanding = sent
        self._known[sent.message_id] = sent
        self._known.move_to_end(sent.message_id)
        while len(self._known) > self._memory:
            self._known.popitem(last=False)

    def settle(self, message_id: str) -> tuple[Sent[Purpose], bool] | None:
        """The CALL that this id answers, and whether it was the outstanding one (else it is late). None: never asked, or answered twice."""
        sent = self._known.pop(message_id, None)
        if sent is None:
            return None
        if self.outstanding is not None and self.outstanding.message_id == message_id:
            self.outstanding = None
            return sent, True
        return sent, False

    def give_up(self) -> Sent[Purpose] | None:
        """Stop waiting (time-out, lost link). The CALL stays known, for an answer that comes late."""
        sent, self.outstanding = self.outstanding, None
        return sent


class Repeated(Enum):
    """What a CALL of the peer is when it is not to be run."""

    IN_PROGRESS = "the same CALL is being worked on"


class AnsweredCalls:
    """The peer's last CALLs on this connection and our answers: one that comes twice is answered again and not run twice.

    Only an identical frame is a repetition; a CSMS that reuses an id for something else is answered anew.
    """

    def __init__(self, memory: int = 32, max_chars: int = 8192) -> None:
        self._memory = memory
        self._max_chars = max_chars
        self._answers: OrderedDict[tuple[str, int], str | None] = OrderedDict()

    def begin(self, message_id: str, text: str) -> str | Repeated | None:
        """None: new, run it. A text: answer it with this. IN_PROGRESS: one answer is on its way and serves both."""
        key = (message_id, hash(text))
        if key in self._answers:
            return self._answers[key] or Repeated.IN_PROGRESS
        self._answers[key] = None
        while len(self._answers) > self._memory:
            self._answers.popitem(last=False)
        return None

    def done(self, message_id: str, text: str, answer: str) -> None:
        """Keep the answer. One that is long is forgotten with its CALL: it was a report, and reading again changes nothing."""
        key = (message_id, hash(text))
        if key not in self._answers:
            return
        if len(answer) > self._max_chars:
            del self._answers[key]
        else:
            self._answers[key] = answer
