"""What the core sees, decides and is, as JSON and back, for the flight recorder: every type by its fields, a union by its class's name.

Nothing that identifies a driver or opens a door goes in: tokens become pseudonyms that compare as the tokens did, so that a replay decides
the same; values that may only be written, and those of unknown variables, become stars of the same length.
"""

import dataclasses
import hashlib
import json
import types
import typing
import zlib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from operator import attrgetter

from agent.core.state import Evse, Station
from agent.core.variables import Variables
from agent.domain.authorization import IdToken
from agent.domain.commands import DataTransfer, VariableAssignment
from agent.domain.effects import Effect
from agent.domain.events import AuthorizationAnswered, CommandReceived, Event, IdTokenPresented, Started, TransactionAnswered
from agent.domain.records import CacheEntry, StoredVariable
from agent.domain.time import Instant
from agent.domain.values import dataclass
from agent.domain.variables import Mutability, VariableKey

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]
"""What a JSON document can hold."""
Encode = Callable[[typing.Any, "Coding"], Json]
"""A value of one type as JSON. What a hint of the language names is known only at run time: hence Any."""
Decode = Callable[[typing.Any, "Coding"], typing.Any]

KIND = "is"
"""The member that names the class where several may stand."""
SHORTEST_HIDDEN = 4
"""A shorter secret would be found in every other word."""
_LETTERS = "abcdefghijklmnop"
_PSEUDONYM_LETTERS = 12
_MEMO = 2000
_MILLISECOND = timedelta(milliseconds=1)
_MICROSECOND = timedelta(microseconds=1)


class UnreadableError(ValueError):
    """A part of a recording is not what it should be."""


class Pseudonyms:
    """Hides tokens and secrets. The same token gives the same pseudonym under one key, which is random and is never written anywhere.

    Two spellings that differ in case only give pseudonyms that differ in case only: the core compares tokens without case, and equality of
    whole answers with it.
    """

    def __init__(self, key: bytes, secrets: tuple[str, ...] = ()) -> None:
        self._key = key
        self._found: dict[str, str | None] = {}
        self._tokens: dict[str, str] = {}
        self._memo: dict[str, str] = {}
        for secret in secrets:
            self._learn(secret, None)

    def token(self, value: str) -> str:
        """The pseudonym of a token's value; nothing stays nothing."""
        known = self._tokens.get(value)
        if known is None:
            known = self._tokens[value] = self._pseudonym(value) if value else ""
            self._learn(value, value)
        return known

    def secret(self, value: str) -> str:
        """A value that nobody may read: stars."""
        self._learn(value, None)
        return "*" * len(value)

    def text(self, text: str) -> str:
        """A text of others, without the tokens and secrets that are known by now."""
        if len(text) < SHORTEST_HIDDEN or not self._found:
            return text
        known = self._memo.get(text)
        if known is None:
            known = text
            folded = text.casefold()
            for found, token in self._found.items():
                if found in folded:
                    known = self._without(known, found, is_token=token is not None)
            if len(self._memo) >= _MEMO:
                self._memo.clear()
            self._memo[text] = known
        return known

    def _learn(self, value: str, token: str | None) -> None:
        folded = value.casefold()
        if len(folded) >= SHORTEST_HIDDEN and folded not in self._found:
            self._found[folded] = token
            self._memo.clear()

    def _without(self, text: str, found: str, *, is_token: bool) -> str:
        import re

        def hidden(match: "re.Match[str]") -> str:
            return self._pseudonym(match[0]) if is_token else "*" * len(match[0])

        # Whole words only: a token of digits must not eat a part of a register.
        return re.sub(rf"(?<![A-Za-z0-9]){re.escape(found)}(?![A-Za-z0-9])", hidden, text, flags=re.IGNORECASE)

    def _pseudonym(self, value: str) -> str:
        same = hashlib.blake2b(value.casefold().encode("utf-8", "surrogatepass"), key=self._key, digest_size=6).digest()
        exact = hashlib.blake2b(value.encode("utf-8", "surrogatepass"), key=self._key, digest_size=2).digest()
        cases = int.from_bytes(exact, "big")
        letters = [_LETTERS[half] for byte in same for half in (byte >> 4, byte & 15)]
        return "".join(letter.upper() if cases >> place & 1 else letter for place, letter in enumerate(letters))


class Plain(Pseudonyms):
    """Hides nothing: a recording that is replayed holds pseudonyms already."""

    def __init__(self) -> None:
        super().__init__(b"replay")

    def token(self, value: str) -> str:
        return value

    def secret(self, value: str) -> str:
        return value

    def text(self, text: str) -> str:
        return text


@dataclass(frozen=True, slots=True)
class Coding:
    """What one recording's codec knows: the moment that others are counted from, how to hide, and the variables' definitions."""

    base: Instant
    hide: Pseudonyms
    variables: Variables

    def learn(self, value: object) -> None:
        """Know the tokens in a value before any text is written that may repeat one."""
        for token in _tokens(value):
            self.hide.token(token.value)

    def learn_event(self, event: Event) -> None:
        """The same for an event; most kinds carry none."""
        if isinstance(event, IdTokenPresented | CommandReceived | AuthorizationAnswered | TransactionAnswered | Started):
            self.learn(event)

    def variable(self, key: VariableKey, text: str) -> str:
        """A variable's value; hidden where nobody may read it, and where the variable is not known here (it may be a password)."""
        definition = self.variables.definition(key)
        hidden = definition is None or definition.mutability is Mutability.WRITE_ONLY
        return self.hide.secret(text) if hidden else self.hide.text(text)


def _tokens(value: object) -> Iterator[IdToken]:
    if isinstance(value, IdToken):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _tokens(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tokens(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, Variables):
        for field in dataclasses.fields(value):
            yield from _tokens(getattr(value, field.name))


# --- what stands in a recording


def encode_event(event: Event, coding: Coding) -> Json:
    """An event with its kind."""
    return _EVENT[0](event, coding)


def decode_event(document: Json, coding: Coding) -> Event:
    """An event that was written. Raises UnreadableError."""
    return typing.cast("Event", _read(_EVENT[1], document, coding, "event"))


def encode_effects(effects: tuple[Effect, ...], coding: Coding) -> list[Json]:
    """Effects in their order."""
    return [_EFFECT[0](effect, coding) for effect in effects]


def decode_effects(documents: Json, coding: Coding) -> tuple[Effect, ...]:
    """Effects that were written. Raises UnreadableError."""
    if not isinstance(documents, list):
        raise UnreadableError("effects: a list was expected")
    return tuple(typing.cast("Effect", _read(_EFFECT[1], document, coding, "effect")) for document in documents)


def encode_station(station: Station, coding: Coding) -> Json:
    """The whole state."""
    return _STATION[0](station, coding)


def decode_station(document: Json, coding: Coding) -> Station:
    """A state that was written. Raises UnreadableError."""
    return typing.cast("Station", _read(_STATION[1], document, coding, "state"))


def encode_instant(at: Instant, coding: Coding) -> Json:
    """A moment: milliseconds of the base's boot; then how far its wall clock is from the base's, in µs; then the boot where it is another.

    Most moments are one number.
    """
    skew: int | None = None
    if at.utc is not None and coding.base.utc is not None:
        skew = (at.utc - coding.base.utc - (at.mono_ms - coding.base.mono_ms) * _MILLISECOND) // _MICROSECOND
    elif at.utc is not None:
        return [at.mono_ms, at.utc.isoformat(), at.boot_id]
    if at.boot_id != coding.base.boot_id:
        return [at.mono_ms, skew, at.boot_id]
    if skew == 0 or (skew is None and coding.base.utc is None):
        return at.mono_ms
    return [at.mono_ms, skew]


def decode_instant(document: Json, coding: Coding) -> Instant:
    """A moment that was written. Raises ValueError, TypeError or IndexError."""
    base = coding.base
    parts = document if isinstance(document, list) else [document, None if base.utc is None else 0]
    mono_ms, skew = parts[0], parts[1]
    boot_id = str(parts[2]) if len(parts) > 2 else base.boot_id
    if not isinstance(mono_ms, int):
        raise TypeError("a moment begins with whole milliseconds")
    if skew is None:
        return Instant(boot_id, mono_ms)
    if isinstance(skew, str):
        return Instant(boot_id, mono_ms, datetime.fromisoformat(skew))
    if base.utc is None or not isinstance(skew, int):
        raise TypeError("a moment's wall clock is counted from one that is not known")
    return Instant(boot_id, mono_ms, base.utc + (mono_ms - base.mono_ms) * _MILLISECOND + skew * _MICROSECOND)


def changes(before: Station, after: Station, coding: Coding) -> dict[str, str]:
    """What an event changed: the field's name (with the EVSE's number before it) and a digest of its new value."""
    if before is after:
        return {}
    found = dict(_changed("", _fields(Station), before, after, coding))
    for old, new in zip(before.evses, after.evses, strict=True):
        if old is not new:
            found.update(_changed(f"{new.evse_id}.", _fields(Evse), old, new, coding))
    return found


def field_values(station: Station, coding: Coding) -> dict[str, Json]:
    """Every field of a state by the names that `changes` uses, for people who compare two."""
    values = {name: encode(get(station), coding) for name, get, encode in _fields(Station)}
    for evse in station.evses:
        values.update({f"{evse.evse_id}.{name}": encode(get(evse), coding) for name, get, encode in _fields(Evse)})
    return values


def line(document: Json) -> str:
    """JSON without spaces."""
    return json.dumps(document, separators=(",", ":"))


def _changed(prefix: str, fields: "tuple[_Field, ...]", before: object, after: object, coding: Coding) -> Iterator[tuple[str, str]]:
    for name, get, encode in fields:
        old, new = get(before), get(after)
        if old is not new and old != new:
            yield prefix + name, f"{zlib.crc32(line(encode(new, coding)).encode()) & 0xFFFFFF:06x}"


_Field = tuple[str, Callable[[typing.Any], typing.Any], Encode]


@cache
def _fields(kind: type) -> tuple[_Field, ...]:
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind) if field.name not in {"config", "evses"}]
    encoders = {name: _codec(hints[name])[0] for name in names}
    if kind is Station:
        encoders["cache"] = _encode_cache
    return tuple((name, attrgetter(name), encoders[name]) for name in names)


def _read(decode: Decode, document: Json, coding: Coding, what: str) -> object:
    try:
        return decode(document, coding)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        kind = document.get(KIND, "") if isinstance(document, dict) else ""
        name = f"{what} {kind}".strip()
        raise UnreadableError(f"{name} cannot be understood ({type(error).__name__}: {error}): damaged, or of another version") from None


# --- by type


@cache
def _codec(hint: typing.Any) -> tuple[Encode, Decode]:  # noqa: ANN401 - a type hint is anything
    """How a type is written and read. Raises TypeError for one that no recording may hold."""
    if isinstance(hint, typing.NewType):
        return _codec(hint.__supertype__) if hint.__supertype__ is not str else (_as_it_is, _text)
    if hint is str:
        return lambda value, coding: coding.hide.text(value), _text
    if hint in {int, bool}:
        return _as_it_is, _exactly(hint)
    if hint is Decimal:
        return lambda value, _: str(value), lambda document, _: Decimal(_text(document, _))
    if hint is datetime:
        return lambda value, _: value.isoformat(), lambda document, _: datetime.fromisoformat(document)
    if hint is Instant:
        return encode_instant, decode_instant
    if hint is IdToken:
        return _encode_token, _by_fields(IdToken)[1]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return lambda value, _: value.value, lambda document, _: hint(document)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        encode, decode = _by_fields(hint)
        hiding = _SPECIAL.get(hint)
        return encode if hiding is None else hiding(encode), _with_cache(decode) if hint is Station else decode
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and len(arguments) == 2 and arguments[1] is ...:
        return _sequence(arguments[0])
    if origin is Mapping:
        return _mapping(arguments[0], arguments[1])
    if origin in {typing.Union, types.UnionType}:
        return _union(arguments)
    raise TypeError(f"the flight recorder cannot write {hint!r}")


def _as_it_is(value: Json, _: Coding) -> Json:
    return value


def _text(document: object, _: Coding) -> str:
    if not isinstance(document, str):
        raise TypeError(f"a text was expected, not {type(document).__name__}")
    return document


def _exactly(kind: type) -> Decode:
    def decode(document: object, _: Coding) -> object:
        if type(document) is not kind:
            raise TypeError(f"{kind.__name__} was expected, not {type(document).__name__}")
        return document

    return decode


def _encode_token(token: IdToken, coding: Coding) -> Json:
    return {"value": coding.hide.token(token.value), "type": token.type.value}


def _by_fields(kind: type[typing.Any]) -> tuple[Encode, Decode]:
    """Fields that hold nothing, and by default hold nothing, are left out."""
    hints = typing.get_type_hints(kind)
    codecs = [(field.name, attrgetter(field.name), *_codec(hints[field.name]), _nothing(field)) for field in dataclasses.fields(kind)]
    if kind is Station:
        codecs = [(name, get, _encode_cache if name == "cache" else enc, dec, empty) for name, get, enc, dec, empty in codecs]

    def encode(value: object, coding: Coding) -> Json:
        document: dict[str, Json] = {}
        for name, get, encode_field, _, empty in codecs:
            item = get(value)
            if item is not empty:
                document[name] = encode_field(item, coding)
        return document

    def decode(document: object, coding: Coding) -> object:
        if not isinstance(document, dict):
            raise TypeError(f"{kind.__name__}: an object was expected, not {type(document).__name__}")
        return kind(**{name: decode_field(document[name], coding) for name, _, _, decode_field, _ in codecs if name in document})

    return encode, decode


_KEPT = object()


def _nothing(field: "dataclasses.Field[typing.Any]") -> object:
    return field.default if field.default is None or field.default is False or field.default in ("", ()) else _KEPT


def _sequence(of: object) -> tuple[Encode, Decode]:
    encode, decode = _codec(of)

    def decode_all(documents: object, coding: Coding) -> object:
        if not isinstance(documents, list):
            raise TypeError(f"a list was expected, not {type(documents).__name__}")
        return tuple(decode(document, coding) for document in documents)

    return lambda values, coding: [encode(value, coding) for value in values], decode_all


def _mapping(key: object, of: object) -> tuple[Encode, Decode]:
    """Pairs, in order: the order of a mapping is part of the state."""
    (encode_key, decode_key), (encode, decode) = _codec(key), _codec(of)
    return (
        lambda values, coding: [[encode_key(name, coding), encode(value, coding)] for name, value in values.items()],
        lambda pairs, coding: {decode_key(name, coding): decode(value, coding) for name, value in pairs},
    )


def _union(members: tuple[typing.Any, ...]) -> tuple[Encode, Decode]:
    kinds: dict[str, typing.Any] = {}
    for member in members:
        if dataclasses.is_dataclass(member):
            kinds[getattr(member, "__name__", "")] = member
    others = [member for member in members if member is not types.NoneType and member not in kinds.values()]
    if others and (kinds or len(others) > 1):
        raise TypeError(f"the flight recorder cannot tell {members!r} apart")
    if others or len(kinds) == 1:
        encode_one, decode_one = _codec((others or list(kinds.values()))[0])
        return (
            lambda value, coding: None if value is None else encode_one(value, coding),
            lambda document, coding: None if document is None else decode_one(document, coding),
        )
    codecs = {name: _codec(kind) for name, kind in kinds.items()}

    def encode(value: object, coding: Coding) -> Json:
        if value is None:
            return None
        name = type(value).__name__
        return {KIND: name, **typing.cast("dict[str, Json]", codecs[name][0](value, coding))}

    def decode(document: object, coding: Coding) -> object:
        if document is None and types.NoneType in members:
            return None
        if not isinstance(document, dict):
            raise TypeError(f"an object was expected, not {type(document).__name__}")
        return codecs[document[KIND]][1](document, coding)

    return encode, decode


# --- what is hidden, and what is rebuilt


def _encode_cache(entries: Mapping[str, CacheEntry], coding: Coding) -> Json:
    encode = _codec(CacheEntry)[0]
    return [encode(entry, coding) for entry in entries.values()]


def _with_cache(decode: Decode) -> Decode:
    """The cache is written without its keys: they are the tokens' values, without case."""
    decode_entry = _codec(CacheEntry)[1]

    def decode_station(document: dict[str, Json], coding: Coding) -> object:
        entries = [decode_entry(entry, coding) for entry in typing.cast("list[Json]", document.get("cache", []))]
        station = decode({name: value for name, value in document.items() if name != "cache"}, coding)
        return dataclasses.replace(station, cache={entry.id_token.value.casefold(): entry for entry in entries})

    return decode_station


def _hiding_value(encode: Encode) -> Encode:
    """VariableAssignment and StoredVariable: `value` belongs to `key`."""

    def encode_hidden(value: VariableAssignment | StoredVariable, coding: Coding) -> Json:
        document = typing.cast("dict[str, Json]", encode(value, coding))
        return {**document, "value": coding.variable(value.key, value.value)}

    return encode_hidden


def _hiding_values(encode: Encode) -> Encode:
    """Variables: the present values belong to their keys."""

    def encode_hidden(variables: Variables, coding: Coding) -> Json:
        document = typing.cast("dict[str, Json]", encode(variables, coding))
        pairs = typing.cast("list[list[dict[str, Json]]]", document["values"])
        for (key, value), (_, written) in zip(variables.values.items(), pairs, strict=True):
            written["text"] = coding.variable(key, value.text)
        return document

    return encode_hidden


def _hiding_data(encode: Encode) -> Encode:
    """DataTransfer: a vendor's words, which the core only refuses."""

    def encode_hidden(value: DataTransfer, coding: Coding) -> Json:
        document = typing.cast("dict[str, Json]", encode(value, coding))
        return document if value.data is None else {**document, "data": "*" * len(value.data)}

    return encode_hidden


_SPECIAL: dict[type, Callable[[Encode], Encode]] = {
    VariableAssignment: _hiding_value,
    StoredVariable: _hiding_value,
    Variables: _hiding_values,
    DataTransfer: _hiding_data,
}
NO_VARIABLES = Variables(by_key={}, values={})
"""For who reads a state that brings its own."""
_STATION = _codec(Station)
_EVENT = _codec(Event)
_EFFECT = _codec(Effect)
