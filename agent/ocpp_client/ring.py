"""The last frames in both directions, for the technician, with secrets and id tokens masked when they are looked at."""

from collections import deque
from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from agent.domain.values import dataclass
from agent.ocpp_client.rpc import encode_json, parse_json

MASK = "***"
_TOKENS = frozenset({"idtag", "parentidtag", "idtoken", "additionalidtoken", "groupidtoken"})
_SECRETS = frozenset({"authorizationkey", "basicauthpassword", "sharedsecret", "password", "chargeauthorizationkey"})
_VALUES = frozenset({"value", "attributevalue"})
_MOST_CHARS = 4096


class Direction(StrEnum):
    """Which way a frame went."""

    IN = "in"
    OUT = "out"


@dataclass(frozen=True, slots=True)
class FrameSeen:
    """One frame. `at_s` is monotonic; `text` is masked and safe to show."""

    at_s: float
    direction: Direction
    text: str


@dataclass(frozen=True, slots=True)
class _Raw:
    at_s: float
    direction: Direction
    text: str = field(repr=False)
    is_masked: bool = False


class FrameRing:
    """The last `limit` frames. Masking costs time, so it is done by the reader, not while messages fly."""

    def __init__(self, limit: int = 200) -> None:
        self._frames: deque[_Raw] = deque(maxlen=limit)

    def add(self, direction: Direction, text: str | bytes, at_s: float) -> None:
        """Note a frame. A long one is noted by its length only."""
        if not isinstance(text, str):
            self._frames.append(_Raw(at_s, direction, f"({len(text)} bytes, binary)", is_masked=True))
        elif len(text) > _MOST_CHARS:
            self._frames.append(_Raw(at_s, direction, f"({len(text)} characters)", is_masked=True))
        else:
            self._frames.append(_Raw(at_s, direction, text))

    def masked(self, limit: int | None = None) -> tuple[FrameSeen, ...]:
        """The newest frames, at most `limit`, the oldest of them first."""
        wanted = list(self._frames)[-limit:] if limit else self._frames
        return tuple(FrameSeen(raw.at_s, raw.direction, raw.text if raw.is_masked else mask(raw.text)) for raw in wanted)


def mask(text: str) -> str:
    """A frame's text with every id token and secret replaced. What is no JSON is shown by its length."""
    document = parse_json(text)
    if document is None:
        return f"({len(text)} characters, no JSON)"
    try:
        return encode_json(_masked(document))
    except TypeError:
        return f"({len(text)} characters with a number out of range)"


def _masked(value: object) -> object:
    match value:
        case Mapping():
            names = {item.casefold() for item in _names(value)}
            hides_value = not names.isdisjoint(_SECRETS)
            return {str(key): _masked_member(str(key).casefold(), item, hides_value=hides_value) for key, item in value.items()}
        case list():
            return [_masked(item) for item in value]
        case _:
            return value


def _masked_member(key: str, item: object, *, hides_value: bool) -> object:
    if isinstance(item, str) and (key in _TOKENS or key in _SECRETS or (hides_value and key in _VALUES)):
        return MASK
    if isinstance(item, str) and key == "data":
        return _masked_text(item)
    return _masked(item)


def _masked_text(data: str) -> str:
    """A vendor's text (DataTransfer). 1.6 has limits of a token in it, as JSON."""
    document = parse_json(data)
    if not isinstance(document, Mapping | list):
        return data
    try:
        return encode_json(_masked(document))
    except TypeError:
        return f"({len(data)} characters with a number out of range)"


def _names(members: Mapping[object, object]) -> list[str]:
    """What the value of this object belongs to: 1.6 `key`, 2.x `variable.name`."""
    variable = members.get("variable")
    names = [members.get("key"), variable.get("name") if isinstance(variable, Mapping) else None]
    return [name for name in names if isinstance(name, str)]
