"""What a read-out says against itself."""

from decimal import Decimal

import pytest

from agent.domain.ids import EvseId
from agent.domain.metering import Measurand, Phase, Quantity, Reading
from agent.domain.time import Instant
from agent.metering.plausibility import Doubt, PlausibilityJudge

RATED_W = Decimal(22_080)


def reading(
    *,
    ms: int = 0,
    energy: str | None = "1000",
    volts: tuple[str, ...] = ("230", "230", "230"),
    amps: tuple[str, ...] = ("16", "16", "16"),
    watts: str | None = "11040",
    resolution: str = "1",
) -> Reading:
    quantities = [
        *(Quantity(Measurand.VOLTAGE, Decimal(v), p) for v, p in zip(volts, (Phase.L1_N, Phase.L2_N, Phase.L3_N), strict=False)),
        *(Quantity(Measurand.CURRENT_IMPORT, Decimal(a), p) for a, p in zip(amps, (Phase.L1, Phase.L2, Phase.L3), strict=False)),
    ]
    if watts is not None:
        quantities.append(Quantity(Measurand.POWER_ACTIVE_IMPORT, Decimal(watts)))
    return Reading(
        evse_id=EvseId(1),
        at=Instant("boot", ms),
        energy_wh=None if energy is None else Decimal(energy),
        quantities=tuple(quantities),
        resolution_wh=Decimal(resolution),
    )


@pytest.mark.parametrize(
    ("changes", "doubts"),
    [
        ({}, ()),
        ({"volts": ("230", "0", "0"), "amps": ("16", "0", "0"), "watts": "3680"}, ()),
        ({"volts": ("80", "300", "3.2"), "amps": ("0", "0", "0"), "watts": "0"}, ()),
        ({"volts": ("79.9", "230", "230"), "watts": "11040"}, (Doubt.VOLTAGE,)),
        ({"volts": ("300.1", "230", "230")}, (Doubt.VOLTAGE,)),
        ({"volts": ("-230", "230", "230")}, (Doubt.VOLTAGE,)),
        ({"volts": ("2300", "2300", "2300"), "amps": ("0", "0", "0"), "watts": "0"}, (Doubt.VOLTAGE,)),
        ({"volts": ("151519232", "230", "230")}, (Doubt.VOLTAGE,)),
        ({"energy": None}, (Doubt.ENERGY_MISSING,)),
        ({"energy": "-1"}, (Doubt.ENERGY_NEGATIVE,)),
        ({"energy": "0"}, ()),
        ({"energy": "0.000001"}, ()),
        ({"energy": "7.548784E-25"}, (Doubt.ENERGY_TOO_LOW,)),
        ({"energy": "100000000000"}, ()),
        ({"energy": "100000000001"}, (Doubt.ENERGY_TOO_HIGH,)),
        ({"watts": "44161"}, (Doubt.POWER_LIMIT,)),
        ({"volts": (), "amps": (), "watts": None}, ()),
    ],
)
def test_one_read_out(changes: dict[str, str], doubts: tuple[Doubt, ...]) -> None:
    assert PlausibilityJudge(RATED_W).doubts(reading(**changes)) == doubts  # type: ignore[arg-type]


@pytest.mark.pain(52)
@pytest.mark.parametrize(
    ("watts", "is_doubted"),
    [("11040", False), ("12756", False), ("12757", True), ("1000", False), ("11.04", True), ("-11040", False)],
    ids=["fits", "115 % and 60 W", "more", "low power factor", "kW taken for W", "against the direction"],
)
def test_power_must_fit_voltage_times_current_three_times_in_a_row(watts: str, is_doubted: bool) -> None:
    judge = PlausibilityJudge(RATED_W)
    for _ in range(2):
        assert judge.doubts(reading(watts=watts)) == ()
    assert judge.doubts(reading(watts=watts)) == ((Doubt.POWER_MISMATCH,) if is_doubted else ())
    assert judge.doubts(reading()) == ()


def test_ramping_car_is_not_doubted() -> None:
    judge = PlausibilityJudge(RATED_W)
    assert judge.doubts(reading(amps=("0", "0", "0"), watts="11040")) == ()
    assert judge.doubts(reading()) == ()


def story(judge: PlausibilityJudge, seconds: int, *, rises: Decimal, step: str = "1", watts: str = "11040") -> list[bool]:
    """Whether the energy was doubted in each second, when the register rises `rises` Wh a second in whole steps."""
    doubted = []
    for second in range(seconds):
        true_wh = 1_000_000 + rises * second
        shown = true_wh - true_wh % Decimal(step)
        one = reading(ms=1000 * second, energy=str(shown), watts=watts, resolution=step)
        doubts = judge.energy_doubts(one)
        assert doubts in {(), (Doubt.ENERGY_FROZEN,) if rises == 0 else (Doubt.ENERGY_MISMATCH,)}
        doubted.append(bool(doubts))
    return doubted


WH_PER_SECOND = Decimal(11040) / 3600


def test_register_that_follows_the_power_is_believed() -> None:
    assert not any(story(PlausibilityJudge(RATED_W), 200, rises=WH_PER_SECOND))


def test_coarse_register_is_believed() -> None:
    assert not any(story(PlausibilityJudge(RATED_W), 2000, rises=WH_PER_SECOND, step="100"))


def test_frozen_register_under_load_is_doubted_after_30_wh() -> None:
    doubted = story(PlausibilityJudge(RATED_W), 30, rises=Decimal(0))
    assert doubted.index(True) == 10  # 30 Wh at 11 kW


def test_frozen_coarse_register_is_doubted_after_five_steps() -> None:
    doubted = story(PlausibilityJudge(RATED_W), 300, rises=Decimal(0), step="100")
    assert 160 <= doubted.index(True) <= 165


@pytest.mark.pain(52)
def test_register_ten_times_too_fast_is_doubted() -> None:
    assert any(story(PlausibilityJudge(RATED_W), 30, rises=10 * WH_PER_SECOND))


def test_idle_meter_is_never_doubted() -> None:
    assert not any(story(PlausibilityJudge(RATED_W), 100, rises=Decimal(0), watts="0"))


def test_doubt_ends_when_the_register_follows_again() -> None:
    judge = PlausibilityJudge(RATED_W)
    assert story(judge, 30, rises=Decimal(0))[-1]
    judge.restart_energy()
    assert not any(story(judge, 30, rises=WH_PER_SECOND))


def test_without_power_or_energy_nothing_is_said() -> None:
    judge = PlausibilityJudge(RATED_W)
    assert judge.energy_doubts(reading(watts=None)) == ()
    assert judge.energy_doubts(reading(energy=None)) == ()
