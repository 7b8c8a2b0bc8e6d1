import pytest

from agent.ocpp_client.v201.context import Context
from tests.ocpp_client.samples import AT, DEFINITIONS, NOON, TIMELESS, Clock


def test_limits_come_from_the_registry() -> None:
    context = Context.of(DEFINITIONS, Clock(), "charger-agent")
    assert (context.max_get_items, context.max_set_items) == (100, 100)
    bare = Context.of((), Clock(), "charger-agent")
    assert (bare.max_get_items, bare.max_set_items) == (100, 100)


def test_recorded_time_beats_the_clock() -> None:
    context = Context.of((), Clock({"boot-0": NOON, "boot-1": NOON.replace(year=2030)}), "charger-agent")
    assert context.timestamp(AT) == "2026-06-01T12:00:00.000Z"
    assert context.timestamp(TIMELESS) == "2026-06-01T12:01:00.000Z"


def test_unknown_time_is_not_written() -> None:
    context = Context.of((), Clock(), "charger-agent")
    assert context.utc(TIMELESS) is None
    with pytest.raises(ValueError, match="no wall time"):
        context.timestamp(TIMELESS)
