import pytest

from agent.ocpp_client.v201.adapter import V201Adapter
from tests.ocpp_client.samples import DEFINITIONS, PASSWORD, Clock


@pytest.fixture(name="clock")
def fixture_clock() -> Clock:
    return Clock()


@pytest.fixture(name="adapter")
def fixture_adapter(clock: Clock) -> V201Adapter:
    return V201Adapter((*DEFINITIONS, PASSWORD), clock)
