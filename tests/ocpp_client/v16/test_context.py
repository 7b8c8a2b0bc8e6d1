import pytest

from agent.domain.ids import EvseId
from agent.ocpp_client.v16.context import Context
from agent.ocpp_client.v16.keys import Keys
from tests.ocpp_client.samples import AT, NOON, TIMELESS, Clock


def _context(connectors: dict[int, int], clock: Clock | None = None) -> Context:
    mapping = {EvseId(evse): connector for evse, connector in connectors.items()}
    return Context(connectors=mapping, clock=clock or Clock(), keys=Keys(()), vendor_id="charger-agent")


def test_numbers_go_both_ways() -> None:
    context = _context({1: 2, 2: 1})
    for evse, connector in ((1, 2), (2, 1)):
        assert context.connector_of(EvseId(evse)) == connector
        assert context.evse_of(connector) == evse
    assert context.connector_of(None) == 0


@pytest.mark.parametrize("connector", [0, -1, 3, 2, 99])
def test_unknown_connector_is_no_evse(connector: int) -> None:
    """EVSE 2 exists, but as connector 7: asked for connector 2 the station must not start EVSE 2."""
    context = _context({1: 1, 2: 7})
    assert context.evse_of(connector) not in context.connectors


def test_notice_of_an_evse_that_is_gone_keeps_its_number() -> None:
    assert _context({1: 1}).connector_of(EvseId(3)) == 3


def test_recorded_time_beats_the_clock() -> None:
    context = _context({1: 1}, Clock({"boot-0": NOON, "boot-1": NOON}))
    assert context.timestamp(AT) == "2026-06-01T12:00:00.000Z"
    assert context.timestamp(TIMELESS) == "2026-06-01T12:01:00.000Z"


def test_unknown_time_is_not_written() -> None:
    with pytest.raises(ValueError, match="no wall time"):
        _context({1: 1}).timestamp(TIMELESS)
