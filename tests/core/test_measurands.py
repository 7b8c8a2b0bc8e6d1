"""What the CSMS may ask to be measured, and what it then gets: every phase and the sum, nothing that was not read."""

from dataclasses import replace
from decimal import Decimal

import pytest

from agent.core import variables as var
from agent.core.variables import SUPPORTED_MEASURANDS, Variables, definitions
from agent.domain.commands import SetVariables, SetVariablesOutcome, SetVariableStatus, VariableAssignment
from agent.domain.effects import Remark
from agent.domain.events import MeterRead
from agent.domain.metering import Measurand, Phase, Quantity, Reading
from agent.domain.variables import ValueSource, VariableKey
from tests.core.rig import EVSE1, Rig

LISTS = [
    var.TX_STARTED_MEASURANDS,
    var.TX_UPDATED_MEASURANDS,
    var.TX_ENDED_MEASURANDS,
    var.ALIGNED_MEASURANDS,
    var.ALIGNED_ENDED_MEASURANDS,
]
EVERYTHING = ",".join(measurand.value for measurand in SUPPORTED_MEASURANDS)
PHASES = (Phase.L1, Phase.L2, Phase.L3)


@pytest.mark.pain(57)
@pytest.mark.parametrize("name", LISTS)
def test_a_list_may_name_everything_and_is_kept_whole(name: VariableKey) -> None:
    variables, (result,) = Variables.of(definitions()).assign((VariableAssignment(key=name, value=EVERYTHING),), ValueSource.CSMS)
    assert result.reason == ""
    assert variables.measurands(name) == SUPPORTED_MEASURANDS


@pytest.mark.pain(57)
@pytest.mark.parametrize("name", LISTS)
def test_an_unknown_item_is_refused_by_name_and_changes_nothing(name: VariableKey) -> None:
    rig = Rig()
    before = rig.station.variables.measurands(name)
    wish = SetVariables(assignments=(VariableAssignment(key=name, value=f"{EVERYTHING},Power.Of.Love"),))
    outcome = rig.command(wish)
    assert isinstance(outcome, SetVariablesOutcome)
    (result,) = outcome.results
    assert result.status is SetVariableStatus.REJECTED
    assert "Power.Of.Love" in result.reason
    assert Measurand.FREQUENCY.value not in result.reason.partition(";")[0], "only what is wrong is named as wrong"
    assert rig.station.variables.measurands(name) == before
    (told,) = [effect.detail for effect in rig.effects if isinstance(effect, Remark) and effect.name == "setting_refused"]
    assert "Power.Of.Love" in told


def three_phases(rig: Rig) -> Reading:
    """A read-out of a three-phase meter: each phase and the sum."""
    amps = [Quantity(Measurand.CURRENT_IMPORT, Decimal(15 + n), phase) for n, phase in enumerate(PHASES)]
    watts = [Quantity(Measurand.POWER_ACTIVE_IMPORT, Decimal(3450 + n), phase) for n, phase in enumerate(PHASES)]
    total = Quantity(Measurand.POWER_ACTIVE_IMPORT, Decimal(10353))
    return Reading(evse_id=EVSE1, at=rig.at, energy_wh=rig.energy[EVSE1], quantities=(*amps, *watts, total), serial_number=rig.serial)


@pytest.mark.pain(56)
def test_every_phase_and_the_sum_are_told() -> None:
    wanted = f"{Measurand.POWER_ACTIVE_IMPORT},{Measurand.CURRENT_IMPORT}"
    rig = Rig(values={var.TX_UPDATED_INTERVAL: "10", var.TX_UPDATED_MEASURANDS: wanted})
    rig.online()
    rig.charge()
    rig.pass_ms(9_000)
    for _ in range(20):
        rig.pass_ms(500, reads=False)
        rig.apply(MeterRead(three_phases(rig)))
    (value,) = next(n for n in reversed(rig.notices()) if n.meter_values).meter_values
    told = {(q.measurand, q.phase): q.value for q in value.quantities}
    read = {(q.measurand, q.phase): q.value for q in three_phases(rig).quantities}
    assert told == read
    assert told[Measurand.POWER_ACTIVE_IMPORT, None] == Decimal(10353)


@pytest.mark.pain(55)
def test_a_list_that_the_meter_cannot_serve_sends_nothing() -> None:
    rig = Rig(values={var.TX_UPDATED_INTERVAL: "10", var.TX_UPDATED_MEASURANDS: Measurand.FREQUENCY.value})
    rig.online()
    rig.charge()
    rig.pass_ms(60_000)
    assert all(value.quantities for n in rig.notices() for value in n.meter_values)
    assert len([n for n in rig.notices() if n.event_type == "Updated" and n.trigger == "MeterValuePeriodic"]) == 0


def test_the_time_of_a_value_is_when_it_was_read() -> None:
    rig = Rig(values={var.TX_UPDATED_INTERVAL: "10"})
    rig.online()
    rig.charge()
    rig.pass_ms(8_000)
    read_at = rig.at
    rig.apply(MeterRead(replace(three_phases(rig), at=read_at)))
    rig.pass_ms(9_000, reads=False)
    (value,) = next(n for n in reversed(rig.notices()) if n.meter_values).meter_values
    assert value.at.ms_since(read_at) <= 0, "the sample is sent later, its time is that of the reading"
