"""Domain values as JSON text and back: Decimal and date-time as strings, field names as in the domain, fields unknown here ignored.

A field name of a stored dataclass is part of the file format: a rename needs a migration, a new field needs a default.
"""

from typing import Any, TypeVar, cast

import msgspec

from agent.store.seal import UnreadableError, sealed, unsealed

__all__ = ["UnreadableError", "dump", "load"]

T = TypeVar("T")

_decoders: dict[type, msgspec.json.Decoder[Any]] = {}


def dump(value: object) -> str:
    """Give the JSON text of a domain value. Raises ValueError for a text that UTF-8 cannot hold (a lone surrogate)."""
    return sealed(msgspec.json.encode(value))


def load(text: str, kind: type[T]) -> T:
    """Give the value that `dump` wrote. Raises UnreadableError, without the text: it may hold a token."""
    decoder = _decoders.get(kind)
    if decoder is None:  # made when it is first needed: together they take some milliseconds
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    try:
        return cast("T", decoder.decode(unsealed(text)))
    except (msgspec.DecodeError, ValueError) as error:
        raise UnreadableError(f"stored {kind.__name__} is unreadable: {error}") from None
