from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.ocpp_client import fields


def test_absent_fields_are_none() -> None:
    assert fields.maybe_text({}, "a") is fields.maybe_integer({}, "a") is fields.maybe_child({}, "a") is None
    assert fields.maybe_decimal({}, "a") is None


def test_present_fields_have_their_type() -> None:
    payload = {"text": "x", "number": Decimal("1.10"), "whole": 5, "object": {"a": 1}, "list": [{"a": 1}]}
    assert fields.maybe_text(payload, "text") == "x"
    assert fields.maybe_integer(payload, "whole") == 5
    assert fields.maybe_decimal(payload, "number") == Decimal("1.10")
    assert fields.maybe_child(payload, "object") == {"a": 1}
    assert list(fields.children(payload, "list")) == [{"a": 1}]


def test_wrong_type_is_a_bug_of_ours() -> None:
    with pytest.raises(TypeError, match="was the payload validated"):
        fields.text({"a": 5}, "a")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (None, None),
        ("", None),
        ("2026-06-01T12:00:00Z", datetime(2026, 6, 1, 12, tzinfo=UTC)),
        ("2026-06-01T12:00:00.123456+02:00", datetime(2026, 6, 1, 10, 0, 0, 123456, tzinfo=UTC)),
        ("2026-06-01T12:00:00", datetime(2026, 6, 1, 12, tzinfo=UTC)),
        ("0001-01-01T00:00:00+14:00", None),
    ],
)
def test_moment(text: str | None, moment: datetime | None) -> None:
    assert fields.moment(text) == moment


@given(value=st.decimals(min_value=-(10**12), max_value=10**12, places=6))
def test_short_number_is_near_and_plain(value: Decimal) -> None:
    short = fields.short(value)
    text = fields.plain(short)
    assert abs(short - value) <= Decimal("0.0005")
    assert Decimal(text) == short
    assert "E" not in text
    assert text != "-0"
    assert not ("." in text and text.endswith("0"))
