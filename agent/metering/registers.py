"""Registers to values: whole numbers, float32 and text, in either word order, as Decimal, with the invalid markers of meters.

Bytes inside a register are always big-endian (Modbus Application Protocol 1.1b3, 4.2); the order of the registers is the meter's.
"""

import struct
from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from math import isfinite
from typing import Final

from agent.domain.values import dataclass


class RegisterType(StrEnum):
    """How registers are to be understood."""

    INT16 = "int16"
    UINT16 = "uint16"
    INT32 = "int32"
    UINT32 = "uint32"
    INT64 = "int64"
    UINT64 = "uint64"
    FLOAT32 = "float32"
    ASCII = "ascii"
    """Two characters per register, high byte first."""
    ASCII_LOW = "ascii-low"
    """One character per register, in the low byte; the high byte means nothing (Carlo Gavazzi)."""


class WordOrder(StrEnum):
    """Order of the registers of one value: `big` is ABCD (high word first), `little` is CDAB (low word first)."""

    BIG = "big"
    LITTLE = "little"


REGISTER_COUNT: Final = {
    RegisterType.INT16: 1,
    RegisterType.UINT16: 1,
    RegisterType.INT32: 2,
    RegisterType.UINT32: 2,
    RegisterType.INT64: 4,
    RegisterType.UINT64: 4,
    RegisterType.FLOAT32: 2,
}
"""Registers that a value of each type takes; text says its own."""

TEXT_TYPES: Final = frozenset({RegisterType.ASCII, RegisterType.ASCII_LOW})
SIGNED_TYPES: Final = frozenset({RegisterType.INT16, RegisterType.INT32, RegisterType.INT64})

FLOAT32_MANTISSA_BITS: Final = 23


@dataclass(frozen=True, slots=True)
class RawNumber:
    """A number as it stands in the registers, before the scale. `step` is the distance to the next number that fits the registers there."""

    value: Decimal
    step: Decimal


def decode_number(words: Sequence[int], kind: RegisterType, order: WordOrder = WordOrder.BIG) -> RawNumber | None:
    """Read a number; None for the markers that mean "no value": NaN and infinities, 0x80.. and 0x7F.. of signed, all F of unsigned types.

    Raises ValueError when the number of registers is not that of the type, or a register is not 0..65535.
    """
    if kind in TEXT_TYPES or len(words) != REGISTER_COUNT[kind]:
        raise ValueError(f"{len(words)} registers cannot be a {kind}")
    raw = struct.pack(f">{len(words)}H", *(words if order is WordOrder.BIG else reversed(words)))
    if kind is RegisterType.FLOAT32:
        (number,) = struct.unpack(">f", raw)
        return RawNumber(float32_decimal(number), float32_step(number)) if isfinite(number) else None
    is_signed = kind in SIGNED_TYPES
    integer = int.from_bytes(raw, "big", signed=is_signed)
    bits = 8 * len(raw)
    no_value = {-(1 << bits - 1), (1 << bits - 1) - 1} if is_signed else {(1 << bits) - 1}
    return None if integer in no_value else RawNumber(Decimal(integer), Decimal(1))


def rollover_counts(kind: RegisterType) -> tuple[int, ...]:
    """Counts at which a counter of this type can begin anew: 2^16 and 2^32, with or without a sign, as far as they fit the type.

    Wide registers often show a narrower counter. Empty for float32, which has no end of its own.
    """
    if kind not in REGISTER_COUNT or kind is RegisterType.FLOAT32:
        return ()
    bits = 16 * REGISTER_COUNT[kind]
    return tuple(1 << width for width in (15, 16, 31, 32, 63, 64) if width <= bits)


def exchanged_words(number: Decimal, kind: RegisterType) -> Decimal | None:
    """The number that the same registers give in the other order; None where there is none, or the number does not fit the type."""
    if kind not in REGISTER_COUNT or REGISTER_COUNT[kind] == 1:
        return None
    if kind is RegisterType.FLOAT32:
        raw = struct.pack(">f", float(number))
    elif number == number.to_integral_value() and 0 <= number < 1 << 16 * REGISTER_COUNT[kind]:
        raw = int(number).to_bytes(2 * REGISTER_COUNT[kind], "big")
    else:
        return None
    exchanged = decode_number(struct.unpack(f">{REGISTER_COUNT[kind]}H", raw), kind, WordOrder.LITTLE)
    return None if exchanged is None else exchanged.value


def decode_text(words: Sequence[int], kind: RegisterType) -> str | None:
    """Read text without padding; None when it is empty or not printable ASCII."""
    if kind is RegisterType.ASCII_LOW:
        raw = bytes(word & 0xFF for word in words)
    elif kind is RegisterType.ASCII:
        raw = struct.pack(f">{len(words)}H", *words)
    else:
        raise ValueError(f"{kind} is not text")
    text = raw.rstrip(b"\x00 ").lstrip(b"\x00 ").decode("latin-1")
    return text if text and text.isascii() and text.isprintable() else None


def float32_decimal(number: float) -> Decimal:
    """Give the shortest decimal that the float32 `number` stands for: 230.2, not 230.199996948242. Never more digits than were measured."""
    for digits in (6, 7, 8, 9):
        text = f"{number:.{digits}g}"
        if struct.pack(">f", float(text)) == struct.pack(">f", number):
            break
    return plain(Decimal(text))


def float32_step(number: float) -> Decimal:
    """Give the distance between the float32 `number` and the next larger one in magnitude."""
    bits = struct.unpack(">I", struct.pack(">f", number))[0]
    exponent = max(bits >> FLOAT32_MANTISSA_BITS & 0xFF, 1)
    return plain(Decimal(2) ** (exponent - 127 - FLOAT32_MANTISSA_BITS))


def plain(number: Decimal) -> Decimal:
    """Give the same number without a positive exponent, so that it prints as 1000 and not as 1E+3."""
    return Decimal(f"{number:f}")
