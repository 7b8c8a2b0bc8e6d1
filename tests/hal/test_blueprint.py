"""The driver to copy keeps the contract itself, so that a copy starts from something that works."""

import pytest

from agent.domain.connector import FaultKind
from agent.domain.ids import EvseId
from agent.domain.pilot import PilotState
from agent.hal._blueprint import BlueprintDriver
from agent.hal.api import EvseSetup, HalSetup
from tests.hal.board import RecordedSink
from tests.hal.contract import DriverContract

ONE, TWO = EvseId(1), EvseId(2)
SETUP = HalSetup(
    evses=(
        EvseSetup(evse_id=ONE, max_current_a=32, phases=3, has_lock=False),
        EvseSetup(evse_id=TWO, max_current_a=16, phases=1, has_lock=True),
    ),
    options={"port": "/dev/ttyS1"},
)


class BlueprintBench:
    """The blueprint's board has no pilot input: the test box puts the level where a reading would."""

    def __init__(self) -> None:
        self.driver = BlueprintDriver(SETUP)
        self.evse_ids = (ONE, TWO)
        self.lockable = TWO

    async def vehicle(self, evse_id: EvseId, state: PilotState) -> None:
        evse = self.driver._evses[evse_id]
        evse._pilot = state
        evse._report_soon(lambda report: report.pilot_measured(evse_id, state))

    async def is_closed(self, evse_id: EvseId) -> bool:
        return self.driver._evses[evse_id]._is_closed


class TestBlueprint(DriverContract):
    @pytest.fixture
    async def bench(self) -> BlueprintBench:
        return BlueprintBench()


@pytest.mark.parametrize(("options", "sentence"), [({"prot": 1}, "unknown option prot; known are port"), ({"port": 3}, "option port = 3")])
def test_wrong_options_are_named(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        BlueprintDriver(HalSetup(evses=SETUP.evses, options=options))


async def test_a_lost_board_is_a_fault_of_the_station() -> None:
    driver, sink = BlueprintDriver(SETUP), RecordedSink()
    await driver.start(sink)
    driver._evses[ONE].answers(is_lost=True, detail="no answer for 0.3 s")
    assert sink.reports[-1] == ("fault", None, FaultKind.HAL_LOST, True)
    await driver.aclose()


async def test_a_supply_that_fails_is_told_and_taken_back() -> None:
    driver, sink = BlueprintDriver(SETUP), RecordedSink()
    await driver.start(sink)
    driver._evses[ONE].supply(is_failing=True)
    driver._evses[ONE].supply(is_failing=False)
    assert sink.reports[-2:] == [("fault", None, FaultKind.POWER_LOSS, True), ("fault", None, FaultKind.POWER_LOSS, False)]
    await driver.aclose()
