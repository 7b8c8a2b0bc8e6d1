"""What becomes of a transaction that an earlier run left open, by policy; and of the supply that fails while somebody charges."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from agent.core import variables as var
from agent.core.evse import RAMP_DOWN_MS
from agent.core.recovery import WAIT_MS, X1_DWELL_MS, last_seen
from agent.core.state import EvseConfig, Phase, PowerLossPolicy
from agent.core.view import station_view
from agent.core.why import blocker
from agent.domain.authorization import AuthorizationStatus, IdTokenInfo
from agent.domain.commands import CommandStatus, RequestStop, Reset, ResetKind, StatusOutcome
from agent.domain.connector import FaultKind, SessionStage
from agent.domain.effects import Exit, KeepRecord, LockPlug, ReadMeter, Restart
from agent.domain.events import (
    ContactorReported,
    FaultCleared,
    FaultRaised,
    LockReported,
    MeterDiscontinuity,
    StopRequested,
    StoreFailed,
    TransactionAnswered,
)
from agent.domain.ids import EvseId
from agent.domain.metering import Discontinuity, Reading, ReadingContext
from agent.domain.notices import TransactionNotice
from agent.domain.pilot import X1, PilotSignal, PilotState
from agent.domain.records import Recovered, StationRecord
from agent.domain.transaction import ChargingState, StoppedReason, TransactionEventType, TransactionRecord, TriggerReason
from tests.core.rig import EVSE1, PRICED, START, TAG, Rig

RESUME = PowerLossPolicy.RESUME
SAME_EV = PowerLossPolicy.RESUME_IF_SAME_EV_WITHIN
SOCKET = EvseConfig(evse_id=EVSE1, has_lock=True, is_tethered=False)
ENDED, UPDATED = TransactionEventType.ENDED, TransactionEventType.UPDATED


def charging(**kwargs: object) -> Rig:
    """A session that took energy for two minutes."""
    rig = Rig(values=PRICED, **kwargs)
    rig.online()
    rig.charge()
    rig.pass_ms(125_300)
    return rig


def record_of(rig: Rig) -> TransactionRecord:
    record = rig.evse.transaction
    assert record is not None
    return record


def next_run(
    before: Rig,
    *,
    policy: PowerLossPolicy = RESUME,
    outage: timedelta = timedelta(minutes=5),
    boot_id: str = "boot-2",
    plugged: PilotState | None = PilotState.C,
    clock_is_known: bool = True,
    is_locked: bool = True,
    record: TransactionRecord | None = None,
) -> Rig:
    """The next run: the hardware has reported, and the meter was not read yet."""
    utc = before.at.utc
    assert utc is not None
    same = boot_id == before.boot_id
    after = Rig(
        values=PRICED,
        evses=before.station.config.evses,
        config={"power_loss_policy": policy},
        boot_id=boot_id,
        first_ms=before.at.mono_ms + round(outage.total_seconds() * 1000) if same else 4_000,
        utc=utc + outage if clock_is_known else None,
        recovered=Recovered(
            station=before.station.record,
            cache=tuple(before.station.cache.values()),
            transactions=(record or record_of(before),),
            last_boot_id=before.boot_id,
        ),
        first_pilot=plugged,
    )
    after.energy = dict(before.energy)
    if before.evse.config.has_lock:
        after.apply(LockReported(EVSE1, is_locked=is_locked))
    return after


def flows(rig: Rig) -> bool:
    return rig.boards[EVSE1].is_closed


def contexts(notice: TransactionNotice) -> list[ReadingContext]:
    return [value.context for value in notice.meter_values]


@pytest.mark.pain(11)
class TestResume:
    @pytest.mark.parametrize("policy", [RESUME, SAME_EV])
    @pytest.mark.parametrize("boot_id", ["boot-1", "boot-2"])
    def test_the_same_transaction_goes_on(self, policy: PowerLossPolicy, boot_id: str) -> None:
        """After a power cut and after a restart of the agent: seqNo goes on, one End, energy of both parts, none of the outage."""
        before = charging()
        rig = next_run(before, policy=policy, boot_id=boot_id)
        rig.online()
        rig.pass_ms(10_000)
        assert flows(rig)
        rig.pass_ms(60_000)
        rig.swipe()
        rig.pass_ms(10_000)
        told = rig.notices()
        assert [n.seq_no for n in told] == list(range(record_of(before).next_seq_no, record_of(before).next_seq_no + len(told)))
        assert {n.transaction_id for n in told} == {record_of(before).transaction_id}
        assert [n.event_type for n in told].count(ENDED) == 1
        assert told[-1].stopped_reason is StoppedReason.LOCAL
        assert told[-1].register_wh == int(rig.energy[EVSE1])
        assert record_of(rig).energy_wh == int(rig.energy[EVSE1]) - 1_000_000
        assert not record_of(rig).meter_stop_estimated

    def test_both_registers_of_the_interruption_are_told(self) -> None:
        """2.0.1 has no TxResumed: an Updated with AbnormalCondition; 1.6 gets the values, which are all that it has a message for."""
        before = charging()
        rig = next_run(before)
        rig.pass_ms(2_000)
        told = rig.notices()[0]
        assert (told.event_type, told.trigger, told.charging_state) == (
            UPDATED,
            TriggerReason.ABNORMAL_CONDITION,
            ChargingState.SUSPENDED_EVSE,
        )
        begin, end = told.meter_values
        assert [begin.context, end.context] == [ReadingContext.INTERRUPTION_BEGIN, ReadingContext.INTERRUPTION_END]
        stored = record_of(before).last_reading
        assert begin.at == stored.at.anchored_to(record_of(before).started_at)
        assert begin.quantities[0].value == int(stored.energy_wh or 0)
        assert end.at == record_of(rig).resumed_at
        assert end.quantities[0].value == int(rig.energy[EVSE1])

    def test_the_pilot_begins_at_x1(self) -> None:
        """And the contactor waits for the pilot, as at a first start."""
        rig = next_run(charging())
        rig.pass_ms(1_000)
        assert rig.evse.phase is Phase.TRANSACTION
        assert (rig.boards[EVSE1].output, flows(rig)) == (X1, False)
        rig.pass_ms(X1_DWELL_MS - 100)
        assert (rig.boards[EVSE1].output, flows(rig)) == (X1, False)
        rig.pass_ms(200)
        assert (rig.boards[EVSE1].output.signal, flows(rig)) == (PilotSignal.PWM, True)

    def test_nothing_flows_before_the_register_was_read(self) -> None:
        rig = next_run(charging())
        rig.pass_ms(WAIT_MS - 1_000, reads=False)
        assert rig.evse.phase is Phase.RECOVERING
        assert (rig.notices(), rig.boards[EVSE1].output, flows(rig)) == ([], X1, False)

    def test_a_silent_meter_ends_it(self) -> None:
        """With the last stored register, marked: a number that was not read is never sent."""
        before = charging()
        rig = next_run(before)
        rig.pass_ms(WAIT_MS + 100, reads=False)
        assert rig.notices()[-1].event_type is ENDED
        assert rig.notices()[-1].register_wh == int(record_of(before).last_reading.energy_wh or 0)
        assert record_of(rig).meter_stop_estimated

    @pytest.mark.parametrize("energy", [Decimal(17), Decimal(1_090_000)], ids=["fell", "jumped"])
    def test_a_register_that_does_not_continue_ends_it(self, energy: Decimal) -> None:
        before = charging()
        rig = next_run(before)
        rig.energy[EVSE1] = energy
        rig.pass_ms(3_000)
        assert rig.notices()[-1].event_type is ENDED
        assert rig.notices()[-1].register_wh == int(record_of(before).last_reading.energy_wh or 0)
        assert not flows(rig)

    def test_so_does_another_meter(self) -> None:
        before = charging()
        rig = next_run(before)
        rig.serial = "M-2"
        rig.pass_ms(3_000)
        assert rig.notices()[-1].event_type is ENDED
        assert record_of(rig).meter_stop_estimated

    def test_so_does_a_break_that_the_meter_tells(self) -> None:
        before = charging()
        rig = next_run(before)
        first_new = Reading(evse_id=EVSE1, at=rig.at, energy_wh=Decimal(5))
        rig.apply(MeterDiscontinuity(EVSE1, Discontinuity.RESET, None, first_new))
        rig.pass_ms(1_000, reads=False)
        assert rig.notices()[-1].event_type is ENDED

    def test_a_vehicle_that_left_is_not_billed_for_the_next_one(self) -> None:
        """Another car that is plugged in during the wait must not charge on the first one's account."""
        rig = next_run(charging(), plugged=PilotState.A)
        rig.pass_ms(300, reads=False)
        rig.plug()
        rig.ready()
        rig.unplug()
        rig.pass_ms(2_000)
        assert rig.notices()[-1].stopped_reason is StoppedReason.POWER_LOSS
        assert not flows(rig)
        assert "resume_refused" in rig.remarks()

    def test_a_vehicle_that_comes_in_the_wait_is_another_one(self) -> None:
        rig = next_run(charging(), plugged=PilotState.A)
        rig.pass_ms(300, reads=False)
        rig.plug()
        rig.ready()
        rig.pass_ms(10_000)
        assert not flows(rig)
        assert [n.event_type for n in rig.notices()] == [ENDED]

    def test_a_pilot_that_says_nothing_is_waited_for(self) -> None:
        rig = next_run(charging(), plugged=None)
        rig.pass_ms(5_000)
        assert rig.evse.phase is Phase.RECOVERING
        rig.pilot(PilotState.C)
        rig.pass_ms(5_000)
        assert flows(rig)

    def test_but_not_for_ever(self) -> None:
        rig = next_run(charging(), plugged=PilotState.E)
        rig.pass_ms(WAIT_MS + 100)
        assert rig.notices()[-1].stopped_reason is StoppedReason.POWER_LOSS
        assert rig.notices()[-1].register_wh == int(rig.energy[EVSE1])

    def test_a_fault_is_waited_for(self) -> None:
        rig = next_run(charging())
        rig.apply(FaultRaised(None, FaultKind.HAL_LOST))
        rig.pass_ms(5_000)
        assert not flows(rig)
        rig.apply(FaultCleared(None, FaultKind.HAL_LOST))
        rig.pass_ms(5_000)
        assert flows(rig)

    def test_a_disk_that_takes_nothing_ends_it(self) -> None:
        """Nothing flows before the going on is on disk."""
        rig = next_run(charging())
        rig.apply(StoreFailed("disk full"))
        rig.pass_ms(WAIT_MS + 100)
        assert rig.notices()[-1].event_type is ENDED
        assert not flows(rig)

    def test_a_contactor_that_is_closed_still_is_waited_for(self) -> None:
        rig = next_run(charging(), boot_id="boot-1", outage=timedelta(seconds=1))
        rig.boards[EVSE1].is_closed = True
        rig.apply(ContactorReported(EVSE1, is_closed=True))
        rig.pass_ms(900)
        assert rig.notices() == []
        rig.boards[EVSE1].is_closed = False
        rig.apply(ContactorReported(EVSE1, is_closed=False))
        rig.pass_ms(6_000)
        assert flows(rig)

    def test_the_plug_is_locked_before_energy_flows(self) -> None:
        """A lock that opens without power is driven in again, once."""
        rig = next_run(charging(evses=(SOCKET,)), is_locked=False)
        assert [e for e in rig.effects if isinstance(e, LockPlug)] == [LockPlug(EVSE1)]
        rig.pass_ms(6_000)
        assert flows(rig)

    def test_a_plug_that_cannot_be_locked_ends_it(self) -> None:
        """Not even offered: a lock that stays open is a hand that may pull a live plug."""
        rig = next_run(charging(evses=(SOCKET,)), is_locked=True)
        rig.apply(LockReported(EVSE1, is_locked=False))
        rig.auto_report = False
        rig.apply(LockReported(EVSE1, is_locked=False))
        rig.pass_ms(WAIT_MS - 1_000)
        assert (rig.evse.phase, rig.notices()) == (Phase.RECOVERING, [])
        rig.pass_ms(2_000)
        assert rig.notices()[-1].event_type is ENDED

    def test_a_token_that_was_refused_does_not_go_on(self) -> None:
        """StopTxOnInvalidId = false only suspends it; an outage must not switch it on again."""
        before = Rig(values={**PRICED, var.STOP_TX_ON_INVALID_ID: "false", var.CACHE_ENABLED: "false"})
        before.online()
        before.charge()
        before.apply(TransactionAnswered(record_of(before).transaction_id, IdTokenInfo(AuthorizationStatus.BLOCKED)))
        before.pass_ms(RAMP_DOWN_MS + 1_000)
        rig = next_run(before)
        rig.pass_ms(10_000)
        assert not flows(rig)
        assert rig.notices()[-1].stopped_reason is StoppedReason.POWER_LOSS

    def test_who_asks_to_stop_meanwhile_is_heard(self) -> None:
        rig = next_run(charging())
        outcome = rig.command(RequestStop(transaction_id=record_of(rig).transaction_id))
        assert outcome == StatusOutcome(status=CommandStatus.ACCEPTED)
        rig.pass_ms(3_000)
        assert [n.event_type for n in rig.notices()] == [ENDED]
        assert (rig.notices()[0].stopped_reason, rig.notices()[0].trigger) == (StoppedReason.REMOTE, TriggerReason.REMOTE_STOP)

    def test_so_is_the_drivers_own_card(self) -> None:
        rig = next_run(charging())
        rig.swipe(TAG)
        rig.pass_ms(3_000)
        assert (rig.notices()[0].stopped_reason, rig.notices()[0].id_token) == (StoppedReason.LOCAL, TAG)

    def test_a_reset_meanwhile_ends_it_and_restarts(self) -> None:
        rig = next_run(charging())
        rig.command(Reset(kind=ResetKind.HARD))
        rig.pass_ms(3_000)
        assert rig.notices()[-1].stopped_reason is StoppedReason.HARD_RESET
        assert [e for e in rig.effects if isinstance(e, Restart)]

    def test_leaving_meanwhile_leaves_it_to_the_next_run(self) -> None:
        rig = next_run(charging())
        rig.apply(StopRequested())
        rig.pass_ms(3_000)
        assert [e for e in rig.effects if isinstance(e, Exit)]
        assert rig.notices() == []
        last = next_run(rig, boot_id="boot-2", outage=timedelta(seconds=9))
        last.pass_ms(10_000)
        assert flows(last)

    def test_a_remote_start_goes_on_as_a_card_does(self) -> None:
        before = charging()
        rig = next_run(before, record=replace(record_of(before), remote_start_id=7, id_token=replace(TAG, value="QR-1")))
        rig.pass_ms(10_000)
        assert flows(rig)

    def test_works_without_any_clock(self) -> None:
        rig = next_run(charging(), clock_is_known=False)
        rig.pass_ms(10_000)
        assert flows(rig)

    def test_what_the_driver_and_the_technician_see(self) -> None:
        rig = next_run(charging(), plugged=None)
        rig.online()
        assert {s.stage for s in rig.statuses()} == {SessionStage.TRANSACTION}
        assert station_view(rig.station, rig.at, lambda _: None).evses[0].notice == "paused_by_station"
        rig.read()
        condition = blocker(rig.station, EVSE1, rig.at)
        assert condition is not None
        rig.pilot(PilotState.C)
        rig.pass_ms(10_000)
        assert blocker(rig.station, EVSE1, rig.at) is None


@pytest.mark.pain(11)
class TestSameVehicle:
    @pytest.mark.parametrize(("minutes", "goes_on"), [(9, True), (11, False)])
    def test_a_short_outage_goes_on_and_a_long_one_does_not(self, minutes: int, *, goes_on: bool) -> None:
        rig = next_run(charging(), policy=SAME_EV, outage=timedelta(minutes=minutes))
        rig.pass_ms(10_000)
        assert flows(rig) is goes_on

    def test_an_unknown_time_is_waited_for_and_then_ends_it(self) -> None:
        rig = next_run(charging(), policy=SAME_EV, clock_is_known=False)
        rig.pass_ms(WAIT_MS - 1_000)
        assert rig.evse.phase is Phase.RECOVERING
        rig.pass_ms(2_000)
        assert rig.notices()[-1].stopped_reason is StoppedReason.POWER_LOSS

    def test_the_csms_may_tell_the_time_meanwhile(self) -> None:
        before = charging()
        rig = next_run(before, policy=SAME_EV, clock_is_known=False)
        rig.pass_ms(5_000)
        utc = before.at.utc
        assert utc is not None
        rig.at = replace(rig.at, utc=utc + timedelta(minutes=5))
        rig.pass_ms(10_000)
        assert flows(rig)

    def test_a_clock_that_runs_backwards_is_no_clock(self) -> None:
        rig = next_run(charging(), policy=SAME_EV, outage=timedelta(minutes=-3))
        rig.pass_ms(WAIT_MS + 1_000)
        assert not flows(rig)

    def test_within_one_boot_no_clock_is_needed(self) -> None:
        rig = next_run(charging(), policy=SAME_EV, boot_id="boot-1", clock_is_known=False)
        rig.pass_ms(10_000)
        assert flows(rig)

    def test_a_plug_that_was_let_go_may_be_another_ones(self) -> None:
        rig = next_run(charging(evses=(SOCKET,)), policy=SAME_EV, is_locked=False)
        rig.pass_ms(10_000)
        assert not flows(rig)
        assert not [e for e in rig.effects if isinstance(e, LockPlug)]
        assert [n.event_type for n in rig.notices()] == [ENDED]


class TestBill:
    def test_time_without_power_is_not_billed(self) -> None:
        """Two hours of darkness in a session with a price per hour: what is billed is the time on both sides of it."""
        before = charging()
        rig = next_run(before, outage=timedelta(hours=2))
        rig.pass_ms(60_000)
        rig.swipe()
        rig.pass_ms(10_000)
        cost = rig.notices()[-1].cost
        assert cost is not None
        assert 180 < cost.seconds < 200
        receipt = rig.evse.receipt
        assert receipt is not None
        assert receipt.duration_ms == cost.seconds * 1000

    def test_the_interruption_on_the_wire_is_what_is_left_out(self) -> None:
        """Stop minus start minus (Interruption.End minus Interruption.Begin) is the billed time, to the millisecond, over two cuts."""
        first = charging()
        second = next_run(first, outage=timedelta(hours=2, milliseconds=7))
        second.pass_ms(77_700)
        third = next_run(second, boot_id="boot-3", outage=timedelta(minutes=3, milliseconds=1))
        third.pass_ms(31_000)
        third.swipe()
        third.pass_ms(10_000)
        told = [*first.notices(), *second.notices(), *third.notices()]
        dark = timedelta()
        for notice in told:
            if ReadingContext.INTERRUPTION_END in contexts(notice):
                begin, end = notice.meter_values
                dark += at(end.at.utc) - at(begin.at.utc)
        cost = told[-1].cost
        assert cost is not None
        billed = at(told[-1].at.utc) - at(told[0].at.utc) - dark
        assert cost.seconds == Decimal(billed // timedelta(milliseconds=1)) / 1000
        assert len([n for n in told if n.event_type is ENDED]) == 1

    @pytest.mark.parametrize(("outage_s", "boot_id"), [(-1.5, "boot-2"), (-3_600, "boot-2"), (5, "boot-1")])
    def test_no_time_of_a_transaction_goes_backwards(self, outage_s: float, boot_id: str) -> None:
        """The clock of the next boot is behind (a CSMS that answered late): the times go on from the last one, and the bill is the same."""
        first = charging()
        second = next_run(first, boot_id=boot_id, outage=timedelta(seconds=outage_s))
        if boot_id == first.boot_id:
            second.at = replace(second.at, utc=at(second.at.utc) - timedelta(minutes=1))
        second.pass_ms(31_000)
        second.swipe()
        second.pass_ms(10_000)
        told = [*first.notices(), *second.notices()]
        times = [at(value.at.utc) for notice in told for value in notice.meter_values if notice.event_type is UPDATED]
        assert times == sorted(times)
        times = [at(notice.at.utc) for notice in told]
        assert times == sorted(times)
        begin, end = next(notice for notice in told if ReadingContext.INTERRUPTION_END in contexts(notice)).meter_values
        dark = at(end.at.utc) - at(begin.at.utc)
        assert dark >= timedelta(0)
        cost = told[-1].cost
        assert cost is not None
        assert cost.seconds == Decimal((times[-1] - times[0] - dark) // timedelta(milliseconds=1)) / 1000

    def test_a_jump_of_the_clock_after_the_boot_does_not_change_it(self) -> None:
        rig = next_run(charging())
        rig.pass_ms(30_000)
        assert rig.at.utc is not None
        rig.at = replace(rig.at, utc=rig.at.utc + timedelta(hours=9))
        rig.swipe()
        rig.pass_ms(10_000)
        cost = rig.notices()[-1].cost
        assert cost is not None
        assert cost.seconds < 180


def at(utc: datetime | None) -> datetime:
    assert utc is not None
    return utc


class TestEnd:
    @pytest.mark.pain(10)
    def test_the_end_and_its_register_have_one_time(self) -> None:
        """Nothing flows through an open contactor, so the register of the boot is the one at the end; its time is not behind the end."""
        before = charging()
        rig = next_run(before, policy=PowerLossPolicy.STOP)
        rig.pass_ms(2_000)
        ended = rig.notices()[-1]
        assert ended.register_wh == int(rig.energy[EVSE1])
        assert {value.at for value in ended.meter_values if value.context is ReadingContext.TRANSACTION_END} == {ended.at}
        assert record_of(rig).meter_stop is not None

    def test_it_ends_when_the_register_can_have_been_reached_and_never_behind_the_cut(self) -> None:
        """The last that is known is up to a minute before the cut; energy of that minute is billed, so its time is, as far as certain."""
        before = charging()
        rig = next_run(before, policy=PowerLossPolicy.STOP)
        rig.pass_ms(2_000)
        ended_at = record_of(rig).ended_at
        assert ended_at is not None
        assert ended_at.boot_id == "boot-1"
        known = last_seen(record_of(before))
        assert known.mono_ms <= ended_at.mono_ms <= before.at.mono_ms
        risen = rig.energy[EVSE1] - (record_of(before).last_reading.energy_wh or 0)
        assert risen > 0
        took_ms = ended_at.ms_since(record_of(before).last_reading.at)
        assert risen * 3_600_000 / max(1, took_ms) < 230 * 32 * 3 * Decimal("1.26")

    @pytest.mark.parametrize("outage", [timedelta(seconds=20), timedelta(minutes=10)])
    def test_more_than_can_have_flowed_is_not_billed(self, outage: timedelta) -> None:
        before = charging()
        rig = next_run(before, policy=PowerLossPolicy.STOP, outage=outage)
        rig.energy[EVSE1] += 6_000
        rig.pass_ms(2_000)
        assert rig.notices()[-1].register_wh == int(record_of(before).last_reading.energy_wh or 0)
        assert record_of(rig).meter_stop_estimated

    def test_nor_where_nobody_knows_how_long_it_was_dark(self) -> None:
        before = charging()
        rig = next_run(before, policy=PowerLossPolicy.STOP, clock_is_known=False)
        rig.energy[EVSE1] += 1_000
        rig.pass_ms(2_000)
        assert record_of(rig).meter_stop_estimated

    @pytest.mark.pain(12)
    @pytest.mark.parametrize("boot_id", ["boot-1", "boot-2"])
    @pytest.mark.parametrize("policy", [PowerLossPolicy.STOP, RESUME])
    def test_a_stop_that_was_begun_keeps_its_reason(self, policy: PowerLossPolicy, boot_id: str) -> None:
        """The contactor opened for the driver's card; that the power went before the last register was read does not change why."""
        before = charging()
        before.swipe()
        before.pass_ms(600, reads=False)
        rig = next_run(before, policy=policy, boot_id=boot_id)
        rig.pass_ms(5_000)
        assert [n.event_type for n in rig.notices()] == [ENDED]
        ended = rig.notices()[0]
        assert (ended.stopped_reason, ended.trigger, ended.id_token) == (StoppedReason.LOCAL, TriggerReason.STOP_AUTHORIZED, TAG)
        assert not flows(rig)

    @pytest.mark.pain(12)
    def test_leaving_while_the_last_register_is_awaited_keeps_the_reason(self) -> None:
        before = charging()
        before.command(RequestStop(transaction_id=record_of(before).transaction_id))
        before.pass_ms(6_100, reads=False)
        before.apply(StopRequested())
        before.pass_ms(100, reads=False)
        assert [e for e in before.effects if isinstance(e, Exit)]
        assert before.evse.has_transaction
        rig = next_run(before, policy=PowerLossPolicy.STOP, boot_id="boot-1", outage=timedelta(seconds=9))
        rig.pass_ms(2_000)
        assert rig.notices()[-1].stopped_reason is StoppedReason.REMOTE
        assert rig.notices()[-1].register_wh == int(rig.energy[EVSE1])

    @pytest.mark.pain(12)
    @pytest.mark.parametrize(("boot_id", "reason"), [("boot-1", StoppedReason.REBOOT), ("boot-2", StoppedReason.POWER_LOSS)])
    def test_the_boot_id_tells_a_restart_from_a_power_cut(self, boot_id: str, reason: StoppedReason) -> None:
        rig = next_run(charging(), policy=PowerLossPolicy.STOP, boot_id=boot_id)
        rig.pass_ms(2_000)
        assert rig.notices()[-1].stopped_reason is reason

    @pytest.mark.pain(12)
    def test_a_recovery_that_is_cut_off_does_not_change_the_reason(self) -> None:
        """The run after the power cut dies in the same boot: what opened the contactor was the power all the same."""
        before = charging()
        cut_off = next_run(before, policy=PowerLossPolicy.STOP, boot_id="boot-2")
        cut_off.pass_ms(500, reads=False)
        rig = next_run(cut_off, policy=PowerLossPolicy.STOP, boot_id="boot-2", outage=timedelta(seconds=3))
        rig.pass_ms(2_000)
        assert rig.notices()[-1].stopped_reason is StoppedReason.POWER_LOSS

    @pytest.mark.pain(10)
    @pytest.mark.parametrize("gone", [EvseId(2), EVSE1], ids=["not configured", "a second one"])
    def test_what_no_evse_can_end_is_ended_as_it_is_on_disk(self, gone: EvseId) -> None:
        """An EVSE was taken out of the configuration; or a damaged file gave back two open transactions of one EVSE."""
        before = charging()
        lost = replace(record_of(before), transaction_id="T-lost", evse_id=gone)
        found = Recovered(station=StationRecord(was_accepted=True), transactions=(lost, record_of(before)), last_boot_id="boot-1")
        rig = Rig(boot_id="boot-2", utc=START + timedelta(hours=1), recovered=found)
        (told,) = rig.notices()
        assert (told.event_type, told.transaction_id, told.stopped_reason) == (ENDED, "T-lost", StoppedReason.POWER_LOSS)
        assert told.seq_no == lost.next_seq_no
        assert told.register_wh == int(lost.last_reading.energy_wh or 0)
        (kept,) = [e.record for e in rig.effects if isinstance(e, KeepRecord)]
        assert (kept.transaction_id, kept.meter_stop_estimated, kept.next_seq_no) == ("T-lost", True, lost.next_seq_no + 1)
        assert kept.ended_at is not None
        assert record_of(rig).transaction_id == record_of(before).transaction_id, "and the other one goes its way"


class TestPowerFailInput:
    def failing(self) -> Rig:
        rig = charging()
        rig.apply(FaultRaised(None, FaultKind.POWER_LOSS))
        return rig

    def test_energy_off_first_then_the_newest_register_is_stored(self) -> None:
        rig = charging()
        newest = rig.evse.reading
        assert record_of(rig).last_reading is not newest
        mark = len(rig.effects)
        rig.apply(FaultRaised(None, FaultKind.POWER_LOSS))
        assert (rig.boards[EVSE1].output, flows(rig)) == (X1, False)
        assert record_of(rig).last_reading is newest
        assert ReadMeter(EVSE1) in rig.effects[mark:]
        assert rig.notices()[-1].charging_state is ChargingState.SUSPENDED_EVSE

    def test_a_newer_register_is_stored_at_once(self) -> None:
        rig = self.failing()
        rig.energy[EVSE1] += 1
        rig.read()
        assert record_of(rig).last_reading.energy_wh == rig.energy[EVSE1]

    def test_power_that_comes_back_goes_on_charging_from_x1(self) -> None:
        rig = self.failing()
        rig.pass_ms(2_000)
        rig.apply(FaultCleared(None, FaultKind.POWER_LOSS))
        assert (rig.boards[EVSE1].output, flows(rig)) == (X1, False)
        rig.pass_ms(X1_DWELL_MS + 100)
        assert flows(rig)
        assert record_of(rig).interrupted_by is None
        assert not [n for n in rig.notices() if n.event_type is ENDED]

    def test_no_session_begins(self) -> None:
        rig = Rig()
        rig.online()
        rig.pass_ms(1_000)
        rig.apply(FaultRaised(None, FaultKind.POWER_LOSS))
        rig.plug()
        rig.swipe()
        rig.ready()
        assert rig.notices() == []

    @pytest.mark.pain(12)
    def test_it_is_the_reason_whatever_the_boot_id_says(self) -> None:
        """The process died of it before the kernel did, or the board only browned out."""
        rig = next_run(self.failing(), policy=PowerLossPolicy.STOP, boot_id="boot-1")
        rig.pass_ms(2_000)
        assert rig.notices()[-1].stopped_reason is StoppedReason.POWER_LOSS

    def test_a_stop_under_way_is_cut_short_and_keeps_its_reason(self) -> None:
        rig = charging()
        rig.swipe()
        assert flows(rig)
        rig.apply(FaultRaised(None, FaultKind.POWER_LOSS))
        assert not flows(rig)
        after = next_run(rig, boot_id="boot-2")
        after.pass_ms(2_000)
        assert after.notices()[-1].stopped_reason is StoppedReason.LOCAL

    def test_another_fault_ends_the_session_as_ever(self) -> None:
        rig = self.failing()
        rig.apply(FaultRaised(EVSE1, FaultKind.GROUND_FAULT))
        rig.pass_ms(3_000)
        assert rig.notices()[-1].stopped_reason is StoppedReason.GROUND_FAULT
