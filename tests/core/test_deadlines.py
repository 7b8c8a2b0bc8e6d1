"""Every deadline to the millisecond: nothing a moment before, the same at the moment and when the tick comes late."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from agent.core import variables as var
from agent.core.state import EvseConfig, MeterLossPolicy, Phase, PowerLossPolicy
from agent.core.station import next_deadline, step
from agent.domain.authorization import AuthorizationStatus
from agent.domain.commands import RequestStart, UnlockConnector
from agent.domain.connector import FaultKind
from agent.domain.effects import Effect
from agent.domain.events import ContactorRefused, FaultCleared, FaultRaised, LockReported, MeterLost, StopRequested, Tick
from agent.domain.ids import ConnectorId
from agent.domain.interlock import Interlock
from agent.domain.pilot import PilotState
from agent.domain.transaction import TransactionLimit
from tests.core.rig import EVSE1, TAG, Rig
from tests.core.test_view import charging, doing, granted, online, reboot

SOCKET = (EvseConfig(evse_id=EVSE1, is_tethered=False, has_lock=True),)
QUIET = {var.TX_UPDATED_INTERVAL: "0"}

Step = Callable[[Rig], object]


def deaf(rig: Rig) -> None:
    """The hardware reports nothing any more."""
    rig.auto_report = False


def blind(rig: Rig) -> None:
    """The meter is not heard any more, without the loss being noticed yet."""
    rig.station = replace(rig.station, evses=(replace(rig.evse, reading=None),))


def unlock(rig: Rig) -> None:
    rig.command(UnlockConnector(evse_id=EVSE1, connector_id=ConnectorId(1), stops_transaction=True))


def quiet(**kwargs: object) -> Rig:
    return online(values=QUIET, **kwargs)


def to(ms: int) -> Step:
    return lambda rig: rig.pass_ms(ms, reads=False)


def power(kind: type[FaultRaised] | type[FaultCleared]) -> Step:
    return lambda rig: rig.apply(kind(EVSE1, FaultKind.POWER_LOSS))


def limited(rig: Rig) -> None:
    rig.command(RequestStart(evse_id=EVSE1, id_token=TAG, limit=TransactionLimit(max_time_s=100)))
    rig.plug()
    rig.ready()


def at_second(rig: Rig, second: int) -> Rig:
    assert rig.at.utc is not None
    rig.at = replace(rig.at, utc=rig.at.utc.replace(hour=23, minute=58, second=second))
    return rig


def started_again(rig: Rig) -> Rig:
    """The next run of the same boot, with `stop`: it waits for the meter."""
    assert rig.evse.transaction is not None
    again = reboot(rig)
    return Rig(
        recovered=again.recovered,
        first_pilot=PilotState.C,
        first_ms=again.at.mono_ms,
        utc=again.at.utc,
        config={"power_loss_policy": PowerLossPolicy.STOP},
    )


DEADLINES: dict[str, tuple[Callable[[], Rig], Step, int]] = {
    "a level of B counts": (quiet, lambda rig: rig.pilot(PilotState.B), 100),
    "a level of A counts": (lambda: doing(quiet(), Rig.plug), lambda rig: rig.pilot(PilotState.A), 25),
    "a level of C counts": (lambda: doing(quiet(), Rig.plug), lambda rig: rig.pilot(PilotState.C), 100),
    "a level of E counts": (quiet, lambda rig: rig.pilot(PilotState.E), 100),
    "a level of F counts": (quiet, lambda rig: rig.pilot(PilotState.F), 100),
    "a level of D counts": (lambda: doing(quiet(), Rig.plug), lambda rig: rig.pilot(PilotState.D), 100),
    "the refusal is taken off the screen": (
        lambda: doing(quiet(), Rig.swipe),
        lambda rig: rig.answer_authorize(AuthorizationStatus.BLOCKED),
        8_000,
    ),
    "nobody plugged in": (quiet, granted, 60_000),
    "the meter gave no register for a start": (lambda: doing(quiet(), Rig.plug, blind), granted, 5_000),
    "the plug was not locked for a start": (lambda: doing(quiet(evses=SOCKET), Rig.plug, deaf), granted, 5_000),
    "closing is tried again": (
        lambda: doing(quiet(), deaf, Rig.charge),
        lambda rig: rig.apply(ContactorRefused(EVSE1, next(iter(Interlock)))),
        1_000,
    ),
    "the vehicle counts as asleep": (lambda: doing(quiet(), Rig.plug), granted, 10_000),
    "the contactor opens under load": (lambda: charging(quiet()), Rig.swipe, 6_000),
    "it opens sooner when the agent leaves": (lambda: charging(quiet()), lambda rig: rig.apply(StopRequested()), 3_000),
    "a stop under way is hurried when the agent leaves": (
        lambda: doing(charging(quiet()), Rig.swipe, to(1_000)),
        lambda rig: rig.apply(StopRequested()),
        3_000,
    ),
    "but not made longer": (lambda: doing(charging(quiet()), Rig.swipe, to(4_000)), lambda rig: rig.apply(StopRequested()), 2_000),
    "a contactor that reports nothing": (
        lambda: doing(charging(quiet()), deaf, Rig.swipe),
        lambda rig: rig.pilot(PilotState.B),
        1_500,
    ),
    "the last register has settled": (lambda: charging(quiet()), Rig.unplug, 425),
    "the last register did not come": (lambda: doing(charging(quiet()), Rig.unplug, to(425)), lambda rig: rig.apply(Tick()), 5_500),
    "the meter is silent for too long": (
        lambda: charging(online(values=QUIET, config={"on_meter_loss": MeterLossPolicy.STOP_AFTER, "meter_loss_timeout_s": 37})),
        lambda rig: rig.apply(MeterLost(EVSE1, "x")),
        37_000,
    ),
    "the supply is back": (lambda: doing(charging(quiet()), power(FaultRaised), to(5_000)), power(FaultCleared), 3_000),
    "a limit of time": (quiet, limited, 100_000 - 8_000),
    "a sample": (online, Rig.charge, 60_000),
    "a sample for the end": (lambda: online(values={**QUIET, var.TX_ENDED_INTERVAL: "17"}), Rig.charge, 17_000),
    "the lock does not open": (
        lambda: doing(quiet(evses=SOCKET), Rig.plug, lambda rig: rig.apply(LockReported(EVSE1, is_locked=True)), deaf),
        unlock,
        3_000,
    ),
    "the meter gave no register after a restart": (lambda: started_again(charging(quiet())), lambda rig: rig.apply(Tick()), 20_000),
}
"""A state, what happens in it, and so many milliseconds later its next deadline."""


def tick(rig: Rig, ms: int) -> tuple[list[Effect], bool]:
    """What a tick at that time orders, and whether it changes anything."""
    station, effects = step(rig.station, Tick(), rig.at.plus_ms(ms))
    return list(effects), station != rig.station


@pytest.mark.parametrize("name", DEADLINES)
def test_nothing_before_it_and_the_same_at_it_and_late(name: str) -> None:
    make, happen, expected_ms = DEADLINES[name]
    rig = make()
    happen(rig)
    due = next_deadline(rig.station)
    assert due is not None
    in_ms = due.ms_since(rig.at)
    allowed = {expected_ms} if happen not in {Rig.charge, limited, granted} else set(range(expected_ms - 400, expected_ms + 1))
    assert in_ms in allowed
    assert tick(rig, in_ms - 1) == ([], False)
    effects, changes = tick(rig, in_ms)
    assert changes
    for late_ms in (1, 17, 900):
        late, changes = tick(rig, in_ms + late_ms)
        assert changes
        assert [type(one) for one in late] == [type(one) for one in effects]
    station, _ = step(rig.station, Tick(), rig.at.plus_ms(in_ms + 17))
    after = next_deadline(station)
    assert after is None or after.mono_ms > rig.at.mono_ms + in_ms + 17, "a late tick is over, too"


@pytest.mark.parametrize(
    ("interval_s", "second", "next_s"),
    [(900, 0, 120), (900, 59, 61), (60, 0, 60), (60, 30, 30), (7, 0, 2), (3_600, 0, 120), (50_000, 0, 120), (86_400, 0, 120)],
)
def test_the_grid_of_the_clock_begins_anew_at_midnight(interval_s: int, second: int, next_s: int) -> None:
    rig = at_second(online(values={**QUIET, var.ALIGNED_INTERVAL: str(interval_s)}), second)
    rig.station = replace(rig.station, aligned_at=None)
    rig.apply(Tick())
    due = next_deadline(rig.station)
    assert due is not None
    assert due.utc is not None
    assert due.ms_since(rig.at) == next_s * 1_000
    assert tick(rig, next_s * 1_000 - 1) == ([], False)
    rig.at = rig.at.plus_ms(next_s * 1_000 - 1)
    rig.read()
    assert tick(rig, 0) == ([], False)
    assert len(tick(rig, 1)[0]) == 1
    rig.at = rig.at.plus_ms(2)
    rig.apply(Tick())
    following = next_deadline(rig.station)
    assert following is not None
    assert following.utc is not None
    midnight = following.utc.replace(hour=0, minute=0, second=0, microsecond=0)
    assert (following.utc - midnight) % timedelta(seconds=interval_s) == timedelta(0) or following.utc == midnight


def test_where_nothing_is_due_no_tick_is_asked_for() -> None:
    rig = quiet()
    assert next_deadline(rig.station) is None
    assert rig.evse.phase is Phase.FREE


def test_a_late_tick_does_not_shift_the_rhythm_of_samples() -> None:
    rig = online()
    rig.charge()
    due = next_deadline(rig.station)
    assert due is not None
    for late_ms, expected_ms in ((1, 60_000), (59_999, 60_000), (60_000, 120_000), (200_000, 260_000)):
        station, _ = step(rig.station, Tick(), due.plus_ms(late_ms))
        following = next_deadline(station)
        assert following is not None
        assert following.ms_since(due) == expected_ms
