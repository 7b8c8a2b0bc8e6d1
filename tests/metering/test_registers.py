"""Registers to values."""

import struct
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.metering.registers import (
    REGISTER_COUNT,
    RegisterType,
    WordOrder,
    decode_number,
    decode_text,
    float32_decimal,
    float32_step,
    plain,
)

INTEGERS = {
    RegisterType.INT16: (16, True),
    RegisterType.UINT16: (16, False),
    RegisterType.INT32: (32, True),
    RegisterType.UINT32: (32, False),
    RegisterType.INT64: (64, True),
    RegisterType.UINT64: (64, False),
}


def words_of(raw: bytes, order: WordOrder) -> tuple[int, ...]:
    words = struct.unpack(f">{len(raw) // 2}H", raw)
    return words if order is WordOrder.BIG else words[::-1]


@given(data=st.data(), kind=st.sampled_from(sorted(INTEGERS)), order=st.sampled_from(WordOrder))
def test_whole_numbers_round_trip(data: st.DataObject, kind: RegisterType, order: WordOrder) -> None:
    bits, signed = INTEGERS[kind]
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    number = data.draw(st.integers(least, most))
    decoded = decode_number(words_of(number.to_bytes(bits // 8, "big", signed=signed), order), kind, order)
    if number == most or (signed and number == least):
        assert decoded is None
    else:
        assert decoded is not None
        assert decoded.value == number
        assert decoded.step == 1


@given(number=st.floats(width=32, allow_nan=False, allow_infinity=False), order=st.sampled_from(WordOrder))
def test_float32_becomes_a_decimal_that_becomes_the_same_float32(number: float, order: WordOrder) -> None:
    decoded = decode_number(words_of(struct.pack(">f", number), order), RegisterType.FLOAT32, order)
    assert decoded is not None
    assert struct.pack(">f", float(decoded.value)) == struct.pack(">f", number)
    assert len(decoded.value.normalize().as_tuple().digits) <= 9


@given(st.decimals(min_value=0, max_value=999_999, places=0).map(lambda d: d / 1000))
def test_what_a_meter_shows_with_six_digits_is_read_exactly(shown: Decimal) -> None:
    (number,) = struct.unpack(">f", struct.pack(">f", float(shown)))
    assert float32_decimal(number) == shown


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        # KBR multicomp F144 manual, page 62, response to function 04
        ((0x436B, 0x5AB4), "235.35"),
        ((0x42DC, 0x6720), "110.20"),
        ((0x4248, 0x0C63), "50.012"),
    ],
)
def test_float32_examples_of_a_manual(words: tuple[int, int], expected: str) -> None:
    decoded = decode_number(words, RegisterType.FLOAT32)
    assert decoded is not None
    assert decoded.value.quantize(Decimal(expected)) == Decimal(expected)


def test_phase_counters_of_a_real_sdm630_add_up_within_a_watt_hour() -> None:
    """nmakel/solaredge_meterproxy issue 16: registers 0156 and 015A to 015E of an SDM630 V2 without export; total = L1 + L2 + L3.

    The meter itself adds in float32: L3 stands one float32 step below 337.583, and is read as what it is.
    """
    numbers = [
        decode_number(words, RegisterType.FLOAT32) for words in ((0x44A3, 0x7614), (0x4409, 0x79BA), (0x43D2, 0x1A3D), (0x43A8, 0xCA9F))
    ]
    total, *phases = [one.value for one in numbers if one is not None]
    assert total == Decimal("1307.69")
    assert phases == [Decimal("549.902"), Decimal("420.205"), Decimal("337.58298")]
    assert abs(sum(phases, Decimal(0)) - total) < Decimal("0.001")


@pytest.mark.parametrize(
    ("as_double", "shortest"),
    [
        # nmakel/sdm_modbus issue 27: what another library printed of a real SDM120
        (235.10000610351562, "235.1"),
        (1.6169999837875366, "1.617"),
        (170.5, "170.5"),
        (-346.0, "-346"),
        (1138.6639404296875, "1138.664"),
        (4636.8212890625, "4636.8213"),
    ],
)
def test_float32_gets_no_more_digits_than_it_has(as_double: float, shortest: str) -> None:
    assert float32_decimal(as_double) == Decimal(shortest)


@pytest.mark.parametrize(
    ("kwh", "step"),
    [(0.5, Decimal(2) ** -24), (1000.0, Decimal(2) ** -14), (16_384.0, Decimal(2) ** -9), (131_072.0, Decimal(2) ** -6)],
)
def test_float32_step_is_the_distance_to_the_next_number(kwh: float, step: Decimal) -> None:
    assert float32_step(kwh) == step
    bits = struct.unpack(">I", struct.pack(">f", kwh))[0]
    (after,) = struct.unpack(">f", struct.pack(">I", bits + 1))
    assert Decimal(after) - Decimal(kwh) == step


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (RegisterType.FLOAT32, (0x7FC0, 0x0000)),
        (RegisterType.FLOAT32, (0x7F80, 0x0000)),
        (RegisterType.FLOAT32, (0xFF80, 0x0000)),
        (RegisterType.INT16, (0x8000,)),
        (RegisterType.INT16, (0x7FFF,)),
        (RegisterType.UINT16, (0xFFFF,)),
        (RegisterType.INT32, (0x8000, 0x0000)),
        (RegisterType.INT32, (0x7FFF, 0xFFFF)),
        (RegisterType.UINT32, (0xFFFF, 0xFFFF)),
        (RegisterType.INT64, (0x8000, 0, 0, 0)),
        (RegisterType.UINT64, (0xFFFF,) * 4),
    ],
)
def test_markers_for_no_value_are_missing(kind: RegisterType, words: tuple[int, ...]) -> None:
    assert decode_number(words, kind) is None


def test_low_word_first_is_not_high_word_first() -> None:
    assert decode_number((0xE240, 0x0001), RegisterType.INT32, WordOrder.LITTLE) is not None
    low = decode_number((0xE240, 0x0001), RegisterType.INT32, WordOrder.LITTLE)
    high = decode_number((0xE240, 0x0001), RegisterType.INT32, WordOrder.BIG)
    assert low is not None
    assert high is not None
    assert low.value == 123456
    assert high.value < 0


@pytest.mark.parametrize("kind", sorted(REGISTER_COUNT))
def test_wrong_number_of_registers_is_an_error(kind: RegisterType) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        decode_number((0,) * (REGISTER_COUNT[kind] + 1), kind)


def test_text_is_not_a_number_and_a_number_is_not_text() -> None:
    with pytest.raises(ValueError, match="cannot be a ascii"):
        decode_number((0x4142,), RegisterType.ASCII)
    with pytest.raises(ValueError, match="is not text"):
        decode_text((0x4142,), RegisterType.INT16)


@pytest.mark.parametrize(
    ("kind", "words", "expected"),
    [
        (RegisterType.ASCII, (0x4232, 0x3320), "B23"),
        (RegisterType.ASCII, (0x0000, 0x3100), "1"),
        (RegisterType.ASCII, (0, 0), None),
        (RegisterType.ASCII, (0xFFFF,), None),
        (RegisterType.ASCII, (0x4107,), None),
        (RegisterType.ASCII_LOW, (0x0041, 0xFF42, 0x0000), "AB"),
    ],
)
def test_text(kind: RegisterType, words: tuple[int, ...], expected: str | None) -> None:
    assert decode_text(words, kind) == expected


def test_plain_has_no_positive_exponent() -> None:
    assert str(plain(Decimal("1E+3"))) == "1000"
    assert str(plain(Decimal("1.50"))) == "1.50"
    assert float32_decimal(3.0000000054977558e38).as_tuple().exponent == 0
