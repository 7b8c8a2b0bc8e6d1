"""Moments, their wire form, and that no naive time exists anywhere."""

import ast
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.domain.time import Instant, parse_wire_time, wire_time

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
NEVER = {"utcnow", "utcfromtimestamp", "today", "localtime", "mktime", "ctime", "asctime"}
"""Local or naive times, whatever their arguments."""
ZONED_AT = {"now": 0, "fromtimestamp": 1}
"""Aware only with a zone, which is the argument at this place or `tz`."""
TZINFO_AT = 7


def naive(call: ast.Call) -> str | None:
    """What makes a naive time in a call, None where nothing does."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    owner = getattr(getattr(call.func, "value", None), "id", getattr(getattr(call.func, "value", None), "attr", ""))
    keywords = {keyword.arg for keyword in call.keywords}
    if name in NEVER and owner in {"datetime", "date", "time"}:
        return name
    if name in ZONED_AT and owner == "datetime":
        return None if len(call.args) > ZONED_AT[name] or "tz" in keywords else name
    if name == "datetime":
        return None if len(call.args) > TZINFO_AT or "tzinfo" in keywords else name
    if name == "strptime" and owner == "datetime":
        return name
    return None


def found_in(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            wrong = naive(node)
            if wrong is not None:
                yield f"line {node.lineno}: {wrong}"


@pytest.mark.pain(26)
@pytest.mark.parametrize("package", ["agent", "simulator"])
def test_no_naive_time_is_made_anywhere(package: str) -> None:
    """A time without a zone is local time that somebody will label as UTC."""
    files = sorted((ROOT / package).rglob("*.py"))
    assert len(files) > 20
    assert [f"{file.relative_to(ROOT)} {wrong}" for file in files for wrong in found_in(file.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    ("text", "is_naive"),
    [
        ("datetime.now()", True),
        ("datetime.datetime.now()", True),
        ("datetime.now(UTC)", False),
        ("datetime.now(tz=UTC)", False),
        ("datetime.utcnow()", True),
        ("datetime.fromtimestamp(5)", True),
        ("datetime.fromtimestamp(5, UTC)", False),
        ("datetime.datetime.utcfromtimestamp(5)", True),
        ("datetime(2026, 1, 1)", True),
        ("datetime(2026, 1, 1, tzinfo=UTC)", False),
        ("datetime(2026, 1, 1, 0, 0, 0, 0, UTC)", False),
        ("date.today()", True),
        ("datetime.strptime(a, b)", True),
        ("time.localtime()", True),
        ("self.clock.now()", False),
    ],
)
def test_the_search_finds_what_it_looks_for(text: str, is_naive: bool) -> None:
    assert bool(list(found_in(text))) is is_naive


@pytest.mark.pain(26)
@pytest.mark.parametrize("utc", [datetime(2026, 6, 1), datetime(2026, 6, 1, tzinfo=timezone(timedelta(hours=2)))])  # noqa: DTZ001 - refused
def test_a_moment_takes_no_local_and_no_naive_time(utc: datetime) -> None:
    with pytest.raises(ValueError, match="aware UTC"):
        Instant("boot-1", 0, utc)


@pytest.mark.pain(26)
@given(st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2099, 1, 1)), st.integers(-14 * 60, 14 * 60))  # noqa: DTZ001 - bounds
def test_every_time_on_the_wire_is_utc_with_a_z(moment: datetime, minutes: int) -> None:
    local = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    text = wire_time(local)
    assert text.endswith("Z")
    assert abs(parse_wire_time(text) - local) < timedelta(milliseconds=1)


def test_a_naive_time_of_a_csms_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        parse_wire_time("2026-06-01T12:00:00")


def test_a_moment_is_counted_from_its_anchor_whatever_the_clock_said() -> None:
    start = Instant("boot-1", 1_000, NOW)
    assert Instant("boot-1", 61_000, NOW - timedelta(days=300)).anchored_to(start).utc == NOW + timedelta(minutes=1)
    assert Instant("boot-1", 61_000, NOW).anchored_to(Instant("boot-1", 0)).utc is None
    assert Instant("boot-2", 61_000, NOW).anchored_to(start).utc == NOW, "another boot has another monotonic clock"
