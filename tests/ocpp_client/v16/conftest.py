import pytest

from agent.domain.ids import EvseId
from agent.ocpp_client.v16.adapter import V16Adapter
from tests.ocpp_client.samples import DEFINITIONS, PASSWORD, Clock

CONNECTORS = {EvseId(1): 1, EvseId(2): 5}


@pytest.fixture(name="clock")
def fixture_clock() -> Clock:
    return Clock()


@pytest.fixture(name="adapter")
def fixture_adapter(clock: Clock) -> V16Adapter:
    """Two EVSEs; the second is connector 5, so that a mixed-up number shows."""
    return V16Adapter((*DEFINITIONS, PASSWORD), clock, CONNECTORS)
