"""Which of several: the EVSE that a token or a start is for, the cached answer that makes room, the limit that comes first."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from agent.core import authorization, transactions
from agent.core import variables as var
from agent.core.limits import LEAD_MS
from agent.core.segments import kind_at_boot
from agent.core.state import EvseConfig, MeterLossPolicy, Phase, StopStage
from agent.core.station import next_deadline
from agent.core.why import blocker, chain
from agent.domain.authorization import AuthorizationStatus, IdToken, IdTokenInfo
from agent.domain.commands import (
    CommandStatus,
    RequestStart,
    Reset,
    ResetKind,
    SetVariables,
    StatusOutcome,
    TriggerMessage,
    VariableAssignment,
)
from agent.domain.connector import ConnectorStatus, FaultKind, SessionStage
from agent.domain.effects import ReadMeter, Remark, Restart
from agent.domain.events import AuthorizationAnswered, FaultCleared, FaultRaised, MeterLost, StopRequested, Tick, TransactionAnswered
from agent.domain.ids import EvseId
from agent.domain.metering import Discontinuity, Measurand, Quantity, Reading, ReadingContext
from agent.domain.notices import AuthorizeNotice, MeterValuesNotice, StatusNotice
from agent.domain.pilot import PilotState
from agent.domain.records import CacheEntry, Recovered
from agent.domain.time import Instant
from agent.domain.transaction import StoppedReason, TransactionLimit, TriggerReason
from agent.domain.variables import ValueSource, VariableKey
from tests.core.rig import EVSE1, PRICED, START, TAG, Rig
from tests.core.test_view import charging, doing, granted, online, reboot

EVSE2, EVSE3 = EvseId(2), EvseId(3)
TWO = (EvseConfig(evse_id=EVSE1), EvseConfig(evse_id=EVSE2))
THREE = (*TWO, EvseConfig(evse_id=EVSE3))
OTHER = IdToken("BEEF0002")

Step = Callable[[Rig], object]


def at_evse(rig: Rig) -> list[EvseId]:
    """Where a token is served that is not in a session that has begun before."""
    return [
        evse.evse_id
        for evse in rig.station.evses
        if evse.authorization is not None
        or (evse.phase is Phase.TRANSACTION and evse.transaction is not None and evse.transaction.id_token == OTHER)
    ]


def fault(*evse_ids: EvseId) -> Step:
    return lambda rig: [rig.apply(FaultRaised(evse_id, FaultKind.RCD_TRIPPED)) for evse_id in evse_ids]


def plug(*evse_ids: EvseId) -> Step:
    return lambda rig: [rig.plug(evse_id) for evse_id in evse_ids]


def charge_at(evse_id: EvseId) -> Step:
    def charge(rig: Rig) -> None:
        rig.plug(evse_id)
        rig.swipe(TAG, evse_id)
        rig.answer_authorize()
        rig.ready(evse_id)
        rig.pass_ms(3_000)

    return charge


def ended_at(evse_id: EvseId) -> Step:
    def end(rig: Rig) -> None:
        charge_at(evse_id)(rig)
        rig.swipe(TAG, evse_id)
        rig.pass_ms(15_000)
        assert next(evse for evse in rig.station.evses if evse.evse_id == evse_id).phase is Phase.FINISHED

    return end


CHOICES: dict[str, tuple[tuple[EvseConfig, ...], list[Step], list[EvseId]]] = {
    "the only one": (TWO[:1], [], [EVSE1]),
    "the first of free ones": (THREE, [], [EVSE1]),
    "where a vehicle waits": (THREE, [plug(EVSE2)], [EVSE2]),
    "where one was plugged in last": (THREE, [plug(EVSE3, EVSE1, EVSE2)], [EVSE2]),
    "not where there is a fault": (THREE, [plug(EVSE2, EVSE3), fault(EVSE3)], [EVSE2]),
    "a free one rather than one left from a session": (TWO, [ended_at(EVSE1)], [EVSE2]),
    "one left from a session if there is no other": (TWO, [ended_at(EVSE1), fault(EVSE2)], [EVSE1]),
    "none": (TWO, [fault(EVSE1, EVSE2)], []),
}


@pytest.mark.parametrize("name", CHOICES)
def test_a_card_and_a_start_without_a_place_get_the_likeliest(name: str) -> None:
    evses, steps, expected = CHOICES[name]
    rig = doing(online(evses=evses), *steps)
    rig.swipe(OTHER)
    assert at_evse(rig) == expected
    rig = doing(online(evses=evses), *steps)
    outcome = rig.command(RequestStart(id_token=OTHER))
    assert isinstance(outcome, StatusOutcome)
    assert outcome.status is (CommandStatus.ACCEPTED if expected else CommandStatus.REJECTED)
    assert at_evse(rig) == expected


def test_with_one_evse_the_reason_is_its_own_and_with_several_that_none_is_free() -> None:
    reasons = []
    for evses in (TWO[:1], TWO):
        rig = doing(online(evses=evses), fault(*(evse.evse_id for evse in evses)))
        outcome = rig.command(RequestStart(id_token=OTHER))
        assert isinstance(outcome, StatusOutcome)
        reasons.append(outcome.reason)
    assert reasons == ["fault RcdTripped", "no such EVSE, or none is free"]


@pytest.mark.parametrize(("evses", "remark"), [(TWO[:1], "token_refused"), (TWO, "token_ignored")])
def test_a_card_that_can_be_for_one_evse_only_is_refused_there(evses: tuple[EvseConfig, ...], remark: str) -> None:
    rig = doing(online(evses=evses), fault(*(evse.evse_id for evse in evses)), Rig.swipe)
    assert rig.remarks()[-1] == remark


@pytest.mark.parametrize("where", [EVSE1, EVSE2, EVSE3])
def test_a_card_stops_its_own_session_wherever_it_is(where: EvseId) -> None:
    rig = doing(online(evses=THREE), charge_at(where))
    rig.swipe(TAG)
    assert [evse.evse_id for evse in rig.station.evses if evse.phase is Phase.STOPPING] == [where]
    assert at_evse(rig) == []


@pytest.mark.parametrize("where", [EVSE1, EVSE2, EVSE3])
def test_a_card_gives_back_its_own_place(where: EvseId) -> None:
    rig = online(evses=THREE)
    rig.swipe(TAG, where)
    rig.answer_authorize()
    rig.swipe(TAG)
    assert at_evse(rig) == []


@pytest.mark.parametrize("where", [EVSE1, EVSE2, EVSE3])
def test_a_card_whose_vehicle_still_stands_there_is_for_it(where: EvseId) -> None:
    rig = doing(online(evses=THREE), ended_at(where))
    rig.swipe(TAG)
    assert at_evse(rig) == [where]


def test_a_strange_card_where_everything_charges_asks_about_the_group() -> None:
    rig = doing(online(evses=TWO), charge_at(EVSE1), fault(EVSE2))
    rig.swipe(OTHER)
    assert [evse.stop_check is not None for evse in rig.station.evses] == [True, False]


class TestCache:
    def test_a_full_cache_forgets_a_refused_card_first_and_then_the_oldest(self) -> None:
        rig = online()

        def ask(number: int, status: AuthorizationStatus) -> None:
            rig.swipe(IdToken(f"T{number}"))
            rig.answer_authorize(status)
            if status is AuthorizationStatus.ACCEPTED:
                rig.swipe(IdToken(f"T{number}"))

        for number in range(authorization.CACHE_SIZE):
            ask(number, AuthorizationStatus.BLOCKED if number == 7 else AuthorizationStatus.ACCEPTED)
        assert len(rig.station.cache) == 500
        ask(1_000, AuthorizationStatus.ACCEPTED)
        assert len(rig.station.cache) == 500
        assert "t7" not in rig.station.cache
        assert "t0" in rig.station.cache
        ask(1_001, AuthorizationStatus.ACCEPTED)
        assert "t0" not in rig.station.cache
        assert {"t1", "t1000", "t1001"} <= set(rig.station.cache)

    def test_the_answer_about_a_running_session_is_kept_too(self) -> None:
        rig = charging(online())
        name = rig.notices()[0].transaction_id
        blocked = IdTokenInfo(AuthorizationStatus.BLOCKED)
        rig.apply(TransactionAnswered(name, info=blocked))
        assert rig.station.cache[TAG.value.casefold()].info == blocked

    def test_the_same_answer_is_stored_once(self) -> None:
        rig = doing(online(), granted)
        entry = rig.station.cache[TAG.value.casefold()]
        rig.swipe()
        rig.pass_ms(5_000)
        granted(rig)
        assert rig.station.cache[TAG.value.casefold()] is entry

    def test_an_answer_about_a_group_is_kept(self) -> None:
        rig = charging(online())
        rig.swipe(OTHER)
        group = IdTokenInfo(AuthorizationStatus.ACCEPTED, None, IdToken("GROUP"))
        question = next(notice for notice in reversed(rig.sent()) if isinstance(notice, AuthorizeNotice))
        rig.apply(AuthorizationAnswered(question.request_id, group))
        assert rig.station.cache[OTHER.value.casefold()].info == group
        assert rig.evse.stop_check is None
        assert rig.evse.phase is Phase.TRANSACTION

    def test_a_group_that_the_start_is_answered_with_lets_its_cards_stop_it(self) -> None:
        group = IdToken("GROUP")
        rig = charging(online())
        rig.apply(TransactionAnswered(rig.notices()[0].transaction_id, info=IdTokenInfo(AuthorizationStatus.ACCEPTED, None, group)))
        rig.swipe(OTHER)
        rig.answer_authorize(group=group)
        assert rig.evse.phase is Phase.STOPPING


class TestSilentMeterAndLimits:
    """What nobody sees is taken to be all that the EVSE can give: 3 x 32 A x 230 V = 22 080 W."""

    CONTINUE = {"on_meter_loss": MeterLossPolicy.CONTINUE}  # noqa: RUF012 - read only

    @pytest.mark.parametrize(
        ("limit", "in_ms", "reason"),
        [
            (TransactionLimit(max_energy_wh=1_000), 163_043, StoppedReason.ENERGY_LIMIT_REACHED),
            (TransactionLimit(max_cost=Decimal(15)), 278_000, StoppedReason.LOCAL_OUT_OF_CREDIT),
            (TransactionLimit(max_energy_wh=1_000, max_cost=Decimal(15)), 163_043, StoppedReason.ENERGY_LIMIT_REACHED),
            (TransactionLimit(max_energy_wh=90_000, max_cost=Decimal(15)), 278_000, StoppedReason.LOCAL_OUT_OF_CREDIT),
        ],
    )
    def test_a_limit_is_kept_blind(self, limit: TransactionLimit, in_ms: int, reason: StoppedReason) -> None:
        rig = online(values={**PRICED, var.TX_UPDATED_INTERVAL: "0"}, config=self.CONTINUE)
        rig.command(RequestStart(id_token=TAG, limit=limit))
        rig.plug()
        rig.ready()
        rig.read()
        taken = transactions.energy_so_far(rig.evse)
        rig.apply(MeterLost(EVSE1, "silent"))
        due = next_deadline(rig.station)
        assert due is not None
        assert taken <= 1
        # 1000 Wh at 22 080 W: 163.04 s. 10 NOK (15 less the fee) at 22.08 x 4.50 + 30 = 129.36 an hour: 278.3 s.
        assert abs(due.ms_since(rig.at) - (in_ms - LEAD_MS)) < 1_000
        rig.at = due.plus_ms(-1)
        rig.apply(Tick())
        assert rig.evse.phase is Phase.TRANSACTION
        rig.at = due
        rig.apply(Tick())
        assert rig.evse.stop is not None
        assert rig.evse.stop.reason is reason

    def test_nothing_is_counted_while_the_contactor_is_open(self) -> None:
        rig = online(values={**PRICED, var.TX_UPDATED_INTERVAL: "0"}, config=self.CONTINUE)
        rig.command(RequestStart(id_token=TAG, limit=TransactionLimit(max_energy_wh=100)))
        rig.plug()
        rig.pass_ms(15_000)
        rig.apply(MeterLost(EVSE1, "silent"))
        assert next_deadline(rig.station) is None
        rig.pass_ms(120_000, reads=False)
        assert rig.evse.phase is Phase.TRANSACTION

    @pytest.mark.parametrize(("power_w", "at_wh"), [(Decimal(7_200), 983), (Decimal(0), 999), (Decimal(-500), 999), (None, 950)])
    def test_what_still_flows_while_it_stops_is_kept_free(self, power_w: Decimal | None, at_wh: int) -> None:
        """8 s at 7200 W are 16 Wh, and one for the rounding; a meter without power may stand for 22 080 W: 49 Wh and one."""
        rig = online(values={var.TX_UPDATED_INTERVAL: "0"})
        rig.command(RequestStart(id_token=TAG, limit=TransactionLimit(max_energy_wh=1_000)))
        rig.plug()
        rig.ready()
        assert rig.evse.transaction is not None
        start_wh = rig.evse.transaction.meter_start.energy_wh
        assert start_wh is not None
        quantities = () if power_w is None else (Quantity(Measurand.POWER_ACTIVE_IMPORT, power_w),)
        floor = start_wh.to_integral_value()
        rig.read(energy_wh=floor + at_wh - 1, quantities=quantities)
        assert rig.evse.phase is Phase.TRANSACTION
        rig.read(energy_wh=floor + at_wh, quantities=quantities)
        assert rig.evse.phase is Phase.STOPPING


class TestRampDown:
    @pytest.mark.parametrize(
        ("amps", "is_over"),
        [
            (["0.99"], True),
            (["-0.99"], True),
            (["1"], False),
            (["-1"], False),
            (["0", "0", "5"], False),
            (["0", "0", "0"], True),
            ([], False),
        ],
    )
    def test_the_contactor_opens_once_nothing_is_drawn(self, amps: list[str], *, is_over: bool) -> None:
        rig = charging(online())
        rig.swipe()
        rig.at = rig.at.plus_ms(500)
        rig.read(quantities=tuple(Quantity(Measurand.CURRENT_IMPORT, Decimal(one)) for one in amps))
        assert rig.boards[EVSE1].is_closed is not is_over

    def test_a_reading_of_before_the_stop_says_nothing(self) -> None:
        rig = charging(online())
        rig.read(quantities=(Quantity(Measurand.CURRENT_IMPORT, Decimal(0)),))
        rig.swipe()
        assert rig.boards[EVSE1].is_closed
        rig.apply(Tick())
        assert rig.evse.stop is not None
        assert rig.evse.stop.stage is StopStage.RAMP_DOWN


class TestStatus:
    def test_only_what_changed_is_told(self) -> None:
        rig = online()
        before = len(rig.statuses())
        rig.pass_ms(5_000)
        rig.apply(Tick())
        assert len(rig.statuses()) == before

    @pytest.mark.parametrize(
        ("make", "status", "stage"),
        [
            (online, ConnectorStatus.AVAILABLE, SessionStage.NONE),
            (lambda: granted(online()), ConnectorStatus.AVAILABLE, SessionStage.PREPARING),
            (lambda: doing(online(), Rig.plug), ConnectorStatus.OCCUPIED, SessionStage.PREPARING),
            (lambda: charging(online()), ConnectorStatus.OCCUPIED, SessionStage.TRANSACTION),
            (
                lambda: doing(charging(online()), lambda rig: rig.pilot(PilotState.A), lambda rig: rig.pass_ms(30)),
                ConnectorStatus.OCCUPIED,
                SessionStage.FINISHING,
            ),
            (
                lambda: doing(charging(online()), Rig.swipe, lambda rig: rig.pass_ms(15_000)),
                ConnectorStatus.OCCUPIED,
                SessionStage.FINISHING,
            ),
        ],
    )
    def test_status_and_stage(self, make: Callable[[], Rig], status: ConnectorStatus, stage: SessionStage) -> None:
        told = make().statuses()[-1]
        assert (told.status, told.stage) == (status, stage)

    def test_the_station_s_own_is_told_once_each_way(self) -> None:
        rig = online()
        before = len(rig.sent())
        for event in (FaultRaised(None, FaultKind.EMERGENCY_STOP), FaultCleared(None, FaultKind.EMERGENCY_STOP)):
            rig.apply(event)
            rig.apply(event)
            rig.apply(Tick())
        told = [one.status for one in rig.sent()[before:] if isinstance(one, StatusNotice) and one.evse_id is None]
        assert told == [ConnectorStatus.FAULTED, ConnectorStatus.AVAILABLE]

    def test_on_demand_one_evse_or_all_and_the_station_are_told(self) -> None:
        rig = online(evses=TWO)
        for evse_id, expected in ((None, [None, EVSE1, EVSE2]), (EVSE2, [EVSE2])):
            before = len(rig.sent())
            rig.command(TriggerMessage(requested="StatusNotification", evse_id=evse_id))
            assert [one.evse_id for one in rig.sent()[before:] if isinstance(one, StatusNotice)] == expected

    @pytest.mark.parametrize(("age_ms", "is_told"), [(0, True), (10_000, True), (10_001, False)])
    def test_a_value_is_present_for_ten_seconds(self, age_ms: int, *, is_told: bool) -> None:
        rig = online()
        rig.read()
        rig.at = rig.at.plus_ms(age_ms)
        before = len(rig.sent())
        outcome = rig.command(TriggerMessage(requested="MeterValues", evse_id=EVSE1))
        assert isinstance(outcome, StatusOutcome)
        assert outcome.status is (CommandStatus.ACCEPTED if is_told else CommandStatus.REJECTED)
        assert any(isinstance(one, MeterValuesNotice) for one in rig.sent()[before:]) is is_told


def reading(wh: str | None, serial: str | None) -> Reading:
    return Reading(evse_id=EVSE1, at=Instant("b", 1), energy_wh=None if wh is None else Decimal(wh), serial_number=serial)


@pytest.mark.parametrize(
    ("stored", "now", "kind"),
    [
        (("10", "A"), ("20", "B"), Discontinuity.SWAP),
        (("20", "A"), ("10", "B"), Discontinuity.SWAP),
        (("20", "B"), ("10", "A"), Discontinuity.SWAP),
        (("20", "A"), ("10", "A"), Discontinuity.RESET),
        (("20", None), ("10", "A"), Discontinuity.RESET),
        (("20", "A"), ("10", None), Discontinuity.RESET),
        (("10", "A"), ("20", "A"), Discontinuity.JUMP),
        (("10", "A"), ("10", "A"), Discontinuity.JUMP),
        ((None, "A"), ("10", "A"), Discontinuity.JUMP),
        (("10", "A"), (None, "A"), Discontinuity.JUMP),
    ],
)
def test_how_a_register_breaks_at_the_boot(
    stored: tuple[str | None, str | None], now: tuple[str | None, str | None], kind: Discontinuity
) -> None:
    assert kind_at_boot(reading(*stored), reading(*now)) is kind


@pytest.mark.parametrize(
    ("start", "stop", "expected_ms"),
    [
        (START, START.replace(minute=1, microsecond=1_999), 60_001),
        (START.replace(microsecond=999_999), START.replace(second=1), 1),
        (None, START, 5_000),
        (START, None, 5_000),
        (None, None, 5_000),
    ],
)
def test_the_time_on_the_wire_is_billed_and_monotonic_time_where_a_clock_is_unknown(
    start: datetime | None, stop: datetime | None, expected_ms: int
) -> None:
    assert transactions.wire_ms(Instant("b", 1_000, start), Instant("b", 6_000, stop)) == expected_ms


@pytest.mark.parametrize(
    ("plug_first", "is_remote", "trigger"),
    [
        (True, False, TriggerReason.AUTHORIZED),
        (False, False, TriggerReason.CABLE_PLUGGED_IN),
        (True, True, TriggerReason.REMOTE_START),
        (False, True, TriggerReason.REMOTE_START),
    ],
)
def test_a_start_names_what_came_last(*, plug_first: bool, is_remote: bool, trigger: TriggerReason) -> None:
    rig = online()
    steps: list[Step] = [Rig.plug, (lambda one: one.command(RequestStart(id_token=TAG, remote_start_id=5))) if is_remote else granted]
    doing(rig, *(steps if plug_first else steps[::-1]))
    notice = rig.notices()[0]
    assert notice.trigger is trigger
    assert notice.remote_start_id == (5 if is_remote else None)
    assert notice.id_token == TAG


class TestNewIntervals:
    """A sample that was armed comes no later for a new interval, and sooner where that is shorter."""

    @pytest.mark.parametrize(
        ("before", "after", "in_ms"),
        [("60", "300", 40_000), ("60", "10", 10_000), ("60", "0", None), ("0", "30", 30_000), ("60", "60", 40_000)],
    )
    @pytest.mark.parametrize("interval", [var.TX_UPDATED_INTERVAL, var.TX_ENDED_INTERVAL])
    def test_the_next_one(self, interval: VariableKey, before: str, after: str, in_ms: int | None) -> None:
        rig = online(values={var.TX_UPDATED_INTERVAL: "0", interval: before})
        rig.charge()
        assert rig.evse.transaction is not None
        rig.at = rig.evse.transaction.started_at.plus_ms(20_000)
        rig.apply(Tick())
        rig.command(SetVariables(assignments=(VariableAssignment(key=interval, value=after),), source=ValueSource.CSMS))
        due = next_deadline(rig.station)
        assert (None if due is None else due.ms_since(rig.at)) == in_ms


class TestUnplugged:
    def test_a_vehicle_that_leaves_while_the_agent_leaves_is_billed_and_gone(self) -> None:
        """What stays open on disk would be given to whoever is plugged in at the next start."""
        rig = charging(online())
        rig.auto_report = False
        rig.apply(StopRequested())
        rig.pilot(PilotState.A)
        rig.pass_ms(30)
        stop = rig.evse.stop
        assert stop is not None
        assert (stop.reason, stop.stage, stop.ends_transaction) == (StoppedReason.EV_DISCONNECTED, StopStage.OPENING, True)

    def test_one_that_leaves_in_a_stop_changes_nothing_of_its_reason(self) -> None:
        rig = charging(online())
        rig.swipe()
        rig.pilot(PilotState.A)
        rig.pass_ms(5_000)
        assert rig.notices()[-1].stopped_reason is StoppedReason.LOCAL


@pytest.mark.parametrize("first", [FaultKind.RCD_TRIPPED, FaultKind.OVER_TEMPERATURE])
def test_of_several_faults_the_first_is_told(first: FaultKind) -> None:
    rig = online()
    for kind in (first, FaultKind.DIODE_FAULT):
        rig.apply(FaultRaised(EVSE1, kind))
    outcome = rig.command(RequestStart(id_token=TAG, evse_id=EVSE1))
    assert isinstance(outcome, StatusOutcome)
    assert outcome.reason == f"fault {first}"
    assert rig.statuses()[-1].fault is first


class TestReset:
    @pytest.mark.parametrize(
        ("first", "second", "is_taken"),
        [
            (ResetKind.ON_IDLE, ResetKind.SOFT, True),
            (ResetKind.ON_IDLE, ResetKind.HARD, True),
            (ResetKind.ON_IDLE, ResetKind.ON_IDLE, False),
            (ResetKind.SOFT, ResetKind.ON_IDLE, False),
            (ResetKind.SOFT, ResetKind.HARD, False),
            (ResetKind.HARD, ResetKind.SOFT, False),
        ],
    )
    def test_only_one_that_waits_gives_way_to_one_that_does_not(self, first: ResetKind, second: ResetKind, *, is_taken: bool) -> None:
        rig = charging(online())
        rig.command(Reset(kind=first))
        assert rig.evse.phase is (Phase.TRANSACTION if first is ResetKind.ON_IDLE else Phase.STOPPING)
        outcome = rig.command(Reset(kind=second))
        assert isinstance(outcome, StatusOutcome)
        assert outcome.status is (CommandStatus.ACCEPTED if is_taken else CommandStatus.REJECTED)
        assert rig.station.reset is (second if is_taken else first)
        assert rig.station.record.reset_kind == (second if is_taken else first).value

    @pytest.mark.parametrize(("kind", "reason"), [(ResetKind.SOFT, StoppedReason.SOFT_RESET), (ResetKind.HARD, StoppedReason.HARD_RESET)])
    def test_what_it_ends_says_which_it_was(self, kind: ResetKind, reason: StoppedReason) -> None:
        rig = charging(online())
        rig.command(Reset(kind=kind))
        rig.pass_ms(15_000)
        assert (rig.notices()[-1].stopped_reason, rig.notices()[-1].trigger) == (reason, TriggerReason.RESET_COMMAND)
        assert [(one.kind, one.drains) for one in rig.effects if isinstance(one, Restart)] == [(kind, kind is ResetKind.SOFT)]

    def test_one_that_waits_takes_the_places_of_those_who_have_not_begun(self) -> None:
        rig = granted(online())
        assert rig.command(Reset(kind=ResetKind.ON_IDLE)) == StatusOutcome(status=CommandStatus.ACCEPTED)
        assert rig.evse.authorization is None
        assert [one.kind for one in rig.effects if isinstance(one, Restart)] == [ResetKind.ON_IDLE]


@pytest.mark.parametrize(
    ("boot_id", "reason"), [("boot-1", StoppedReason.REBOOT), ("boot-0", StoppedReason.POWER_LOSS), ("boot-2", StoppedReason.POWER_LOSS)]
)
def test_another_boot_of_the_kernel_means_that_the_power_went(boot_id: str, reason: StoppedReason) -> None:
    before = charging(online())
    assert before.evse.transaction is not None
    recovered = Recovered(station=before.station.record, transactions=(before.evse.transaction,))
    rig = Rig(recovered=recovered, boot_id=boot_id, first_pilot=PilotState.C, first_ms=90_000, utc=before.at.plus_ms(60_000).utc)
    rig.energy = dict(before.energy)
    rig.serial = before.serial
    rig.pass_ms(3_000)
    ended = rig.notices()[-1]
    assert ended.stopped_reason is reason
    stored = before.evse.transaction.last_reading.at
    assert ended.at.utc is not None
    assert stored.utc is not None
    assert timedelta(0) <= ended.at.utc - stored.utc <= timedelta(seconds=60), "the dark is not billed"
    (last,) = [value for value in ended.meter_values if value.context is ReadingContext.TRANSACTION_END]
    assert last.at.utc == ended.at.utc
    for since in (blocker(rig.station, EVSE1, rig.at), chain(rig.station, EVSE1, rig.at)[9]):
        assert since is not None
        assert since.since is not None
        assert since.since.boot_id == boot_id


class TestGoingOn:
    @pytest.mark.parametrize(
        ("status", "goes_on"), [(None, True), (AuthorizationStatus.ACCEPTED, True), (AuthorizationStatus.BLOCKED, False)]
    )
    def test_the_last_word_about_the_token_decides(self, status: AuthorizationStatus | None, *, goes_on: bool) -> None:
        rig = reboot(doing(online(), Rig.plug, granted))
        cache = () if status is None else (CacheEntry(id_token=TAG, info=IdTokenInfo(status), stored_at=START),)
        again = Rig(
            recovered=replace(rig.recovered, cache=cache), config=rig.config, first_ms=rig.first_ms, utc=rig.utc, first_pilot=PilotState.B
        )
        again.pass_ms(4_000)
        assert ("transaction_resumed" in again.remarks()) is goes_on
        told = [one.detail for one in again.effects if isinstance(one, Remark) and one.name == "resume_refused"]
        assert told == ([] if goes_on else ["its token was refused meanwhile"])

    def test_what_it_waited_for_in_vain_is_told(self) -> None:
        rig = reboot(doing(online(), Rig.plug, granted))
        again = Rig(recovered=rig.recovered, config=rig.config, first_ms=rig.first_ms, utc=rig.utc, first_pilot=None)
        again.pass_ms(21_000)
        told = [one.detail for one in again.effects if isinstance(one, Remark) and one.name == "resume_refused"]
        assert told == ["no vehicle is seen, pilot state not measured, after 20 s"]


def test_while_the_supply_fails_every_newer_register_goes_to_disk() -> None:
    rig = charging(online(values={var.TX_UPDATED_INTERVAL: "0"}))
    rig.apply(FaultRaised(EVSE1, FaultKind.POWER_LOSS))
    for rise_wh, asks in (("0.5", True), ("0", False), ("0.1", True), ("0", False)):
        rig.energy[EVSE1] += Decimal(rise_wh)
        before = len(rig.effects)
        rig.read()
        assert any(isinstance(one, ReadMeter) for one in rig.effects[before:]) is asks
        assert rig.evse.transaction is not None
        assert rig.evse.transaction.last_reading.energy_wh == rig.energy[EVSE1]
        assert rig.evse.transaction.interrupted_by is StoppedReason.POWER_LOSS


def test_a_contactor_that_was_ordered_and_has_not_reported_counts_as_live() -> None:
    rig = online()
    rig.auto_report = False
    rig.charge()
    rig.swipe()
    assert rig.evse.stop is not None
    assert rig.evse.stop.stage is StopStage.RAMP_DOWN


@pytest.mark.parametrize(("interval_s", "at_most_ms"), [("10", 10_000), ("60", 60_000), ("3600", 60_000), ("0", 60_000)])
def test_the_register_on_disk_is_as_new_as_the_last_value_and_never_older_than_a_minute(interval_s: str, at_most_ms: int) -> None:
    rig = online(values={var.TX_UPDATED_INTERVAL: interval_s})
    rig.charge()
    rig.pass_ms(1_000 - rig.at.mono_ms % 1_000)
    ages = []
    for _ in range(200):
        rig.pass_ms(1_000)
        assert rig.evse.transaction is not None
        ages.append(rig.at.ms_since(rig.evse.transaction.last_reading.at))
    assert at_most_ms - 1_000 <= max(ages) <= at_most_ms + 1_000
