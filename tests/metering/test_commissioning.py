"""What the self-check of a newly wired meter says."""

from decimal import Decimal

import pytest

from agent.domain.ids import EvseId
from agent.domain.metering import Measurand, Phase, Quantity, Reading
from agent.domain.time import Instant
from agent.metering.commissioning import self_check
from agent.metering.plausibility import PlausibilityJudge

PHASES = ((Phase.L1_N, Phase.L1), (Phase.L2_N, Phase.L2), (Phase.L3_N, Phase.L3))
NAMES = ("voltage", "power", "phases", "direction", "energy")


def reading(
    *, volts: str = "230", amps: str = "16", watts: str = "3680", total: str | None = "11040", energy: str | None = "1000", ms: int = 0
) -> Reading:
    quantities = []
    for voltage_phase, phase in PHASES:
        quantities += [
            Quantity(Measurand.VOLTAGE, Decimal(volts), voltage_phase),
            Quantity(Measurand.CURRENT_IMPORT, Decimal(amps), phase),
            Quantity(Measurand.POWER_ACTIVE_IMPORT, Decimal(watts), phase),
        ]
    if total is not None:
        quantities.append(Quantity(Measurand.POWER_ACTIVE_IMPORT, Decimal(total)))
    return Reading(
        evse_id=EvseId(1), at=Instant("boot", ms), energy_wh=None if energy is None else Decimal(energy), quantities=tuple(quantities)
    )


def told(newest: Reading, judge: PlausibilityJudge | None = None) -> dict[str, bool | None]:
    return {check.name: check.holds for check in self_check(newest, None if judge is None else judge.evidence)}


@pytest.mark.pain(52)
@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, set()),
        ({"volts": "2300"}, {"voltage"}),  # the scale 0.1 is missing
        ({"volts": "151519232", "amps": "0.000001"}, {"voltage", "power"}),  # words exchanged
        ({"watts": "3.68", "total": "11.04"}, {"power"}),  # kW taken for W
        ({"amps": "1.6"}, {"power"}),
        ({"watts": "-3680", "total": "-11040"}, {"direction"}),  # a current transformer the wrong way round
        ({"total": "3680"}, {"phases"}),  # only one phase reaches the total
        ({"energy": None}, {"energy"}),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, str], wrong: set[str]) -> None:
    holds = told(reading(**changes))
    assert tuple(holds) == NAMES
    assert {name for name, one in holds.items() if one is False} == wrong


def test_without_load_most_cannot_be_told() -> None:
    holds = told(reading(amps="0.1", watts="20", total="60"))
    assert holds == {"voltage": True, "power": None, "phases": None, "direction": None, "energy": None}


def test_what_the_meter_does_not_give_is_no_mistake() -> None:
    bare = Reading(evse_id=EvseId(1), at=Instant("boot", 0), energy_wh=Decimal(5))
    assert set(told(bare).values()) == {None}
    assert self_check(None, None) == ()


@pytest.mark.pain(52)
@pytest.mark.parametrize(("factor", "holds"), [("1", True), ("10", False), ("1000", False), ("0.1", False), ("0", False)])
def test_a_register_in_the_wrong_unit_is_found_by_its_power(factor: str, *, holds: bool) -> None:
    judge = PlausibilityJudge(Decimal(22_080))
    newest = reading()
    for second in range(30):
        flowed = Decimal(11_040) * second / 3600 * Decimal(factor)
        newest = reading(ms=1000 * second, energy=str(1_000_000 + flowed))
        judge.energy_doubts(newest)
    assert told(newest, judge)["energy"] is holds
