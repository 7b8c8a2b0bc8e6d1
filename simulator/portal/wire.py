"""JSON and OCPP-J frames, without I/O: numbers stay exact (`Decimal` both ways), hostile frames become values, never exceptions."""

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

Json: TypeAlias = "bool | int | Decimal | str | list[Json] | dict[str, Json] | None"

MAX_EXPONENT = 24
"""A number such as 1e999999999 is one short word on the wire and a gigabyte as an integer."""
MAX_DEPTH = 64
MAX_MESSAGE_ID = 36


@dataclass(frozen=True, slots=True)
class Call:
    """[2, id, action, payload]."""

    message_id: str
    action: str
    payload: Json


@dataclass(frozen=True, slots=True)
class CallResult:
    """[3, id, payload]."""

    message_id: str
    payload: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class CallError:
    """[4, id, code, description, details]."""

    message_id: str
    code: str
    description: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Not an OCPP-J frame. `message_id` is "-1" where the frame gave no usable one (OCPP-J 2.0.1, 4.2.3)."""

    reason: str
    message_id: str = "-1"


@dataclass(frozen=True, slots=True)
class UnknownType:
    """A message type number that is not ours: its payload shall be ignored (OCPP-J 1.6, 4.1.3)."""

    number: str


Frame: TypeAlias = Call | CallResult | CallError | Unreadable | UnknownType


def dumps(value: Json) -> str:
    """Compact JSON; a `Decimal` becomes the same digits as a JSON number, never a binary float."""
    parts: list[str] = []
    _write(value, parts)
    return "".join(parts)


def _write(value: Json, parts: list[str]) -> None:
    match value:
        case Decimal():
            parts.append(plain(value))
        case dict():
            for index, (key, item) in enumerate(value.items()):
                parts.append(("," if index else "{") + json.dumps(key) + ":")
                _write(item, parts)
            parts.append("}" if value else "{}")
        case list():
            for index, item in enumerate(value):
                parts.append("," if index else "[")
                _write(item, parts)
            parts.append("]" if value else "[]")
        case _:
            parts.append(json.dumps(value))


def plain(number: Decimal) -> str:
    """Digits without exponent and without trailing zeros: `4.50` becomes `4.5`, `1E+3` becomes `1000`."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def loads(text: str) -> Json:
    """Read JSON exactly. Raises ValueError for what is not JSON, too deep, or holds a number or string that nobody can store."""
    try:
        value: Json = json.loads(text, parse_float=_decimal, parse_int=_integer, parse_constant=_refuse_constant)
    except RecursionError:
        msg = "nested too deeply"
        raise ValueError(msg) from None
    if "\\ud" in text.lower():
        dumps_text = json.dumps(value, ensure_ascii=False, default=str)
        dumps_text.encode()  # UnicodeEncodeError is a ValueError: a lone surrogate cannot be stored or sent again
    if _depth(value) > MAX_DEPTH:
        msg = f"nested more than {MAX_DEPTH} deep"
        raise ValueError(msg)
    return value


def _decimal(text: str) -> Decimal:
    number = Decimal(text)
    if abs(number.adjusted()) > MAX_EXPONENT:
        msg = "number out of range"
        raise ValueError(msg)
    return number


def _integer(text: str) -> int:
    if len(text) > MAX_EXPONENT:
        msg = "integer out of range"
        raise ValueError(msg)
    return int(text)


def _refuse_constant(text: str) -> Json:
    msg = f"{text} is not JSON"
    raise ValueError(msg)


def _depth(value: Json) -> int:
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        depth += 1
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, dict | list)
        ]
    return depth


def parse(text: str) -> Frame:
    """One text frame as a value."""
    try:
        frame = loads(text)
    except ValueError as error:
        return Unreadable(f"not JSON: {str(error)[:100]}")
    match frame:
        case [int(number), *rest] if not isinstance(number, bool):
            return _typed(number, rest)
        case _:
            return Unreadable("not a list that begins with a message type number")


def _typed(number: int, rest: list[Json]) -> Frame:
    usable = rest[0] if rest and isinstance(rest[0], str) and 0 < len(rest[0]) <= MAX_MESSAGE_ID else "-1"
    match (number, rest):
        case (2, [str(message_id), str(action), payload]) if message_id == usable:
            return Call(message_id, action, payload)
        case (3, [str(message_id), payload]):
            return CallResult(message_id, payload)
        case (4, [str(message_id), str(code), str(description), *_]):
            return CallError(message_id=message_id, code=code, description=description)
        case (2 | 3 | 4, _):
            return Unreadable(f"a frame of type {number} with wrong elements", usable if number == 2 else "")
        case _:
            return UnknownType(str(number)[:20])


def call_text(message_id: str, action: str, payload: Json) -> str:
    """A CALL frame."""
    return dumps([2, message_id, action, payload])


def result_text(message_id: str, payload: Json) -> str:
    """A CALLRESULT frame."""
    return dumps([3, message_id, payload])


def error_text(message_id: str, code: str, description: str) -> str:
    """A CALLERROR frame."""
    return dumps([4, message_id, code, description[:255], {}])
