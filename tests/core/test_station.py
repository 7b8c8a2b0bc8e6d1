"""The station's sessions, told event by event."""

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import pytest

from agent.core import variables as var
from agent.core.state import AuthorizationState, EvseConfig, MeterLossPolicy, Phase
from agent.core.why import blocker
from agent.domain.authorization import AuthorizationStatus, IdToken, IdTokenInfo
from agent.domain.commands import (
    ChangeAvailability,
    ClearCache,
    CommandStatus,
    RequestStart,
    RequestStop,
    Reset,
    ResetKind,
    SetVariables,
    StatusOutcome,
    TriggerMessage,
    UnlockConnector,
    VariableAssignment,
)
from agent.domain.connector import ConnectorStatus, FaultKind, OperationalStatus, SessionStage
from agent.domain.effects import Exit, OpenContactor, Restart, SetPilot
from agent.domain.events import (
    ContactorReported,
    FaultCleared,
    FaultRaised,
    LockReported,
    MeterDiscontinuity,
    MeterLost,
    StopRequested,
    StoreFailed,
    StoreRecovered,
    TransactionAnswered,
)
from agent.domain.ids import ConnectorId, EvseId
from agent.domain.metering import Discontinuity, Measurand, Quantity, ReadingContext
from agent.domain.notices import AuthorizeNotice, MeterValuesNotice
from agent.domain.pilot import X1, PilotSignal, PilotState
from agent.domain.records import Recovered, StationRecord
from agent.domain.transaction import ChargingState, StoppedReason, TransactionEventType, TriggerReason
from tests.core.rig import EVSE1, PRICED, START, TAG, Rig

OTHER = IdToken("BEEF0002")
EVSE2 = EvseId(2)


def online(**kwargs: object) -> Rig:
    rig = Rig(**kwargs)
    rig.online()
    rig.pass_ms(1_000)
    return rig


def stages(rig: Rig) -> list[tuple[ConnectorStatus, SessionStage, ChargingState | None]]:
    return [(s.status, s.stage, s.charging_state) for s in rig.statuses()]


class TestPlugInFirst:
    def test_runs_from_plug_to_unplug(self) -> None:
        rig = online()
        rig.charge()
        rig.pass_ms(60_000)
        rig.swipe()
        rig.pass_ms(10_000)
        assert rig.evse.phase is Phase.FINISHED
        rig.unplug()
        started, *updates, ended = rig.notices()
        assert [n.event_type for n in (started, ended)] == [TransactionEventType.STARTED, TransactionEventType.ENDED]
        assert {n.event_type for n in updates} == {TransactionEventType.UPDATED}
        assert [n.seq_no for n in rig.notices()] == list(range(len(rig.notices())))
        assert started.register_wh == 1_000_000
        assert ended.register_wh == int(rig.energy[EVSE1])
        assert ended.stopped_reason is StoppedReason.LOCAL
        assert ended.trigger is TriggerReason.STOP_AUTHORIZED
        assert ended.id_token == TAG
        kinds = [s for s, _, _ in stages(rig)]
        assert kinds[0] is ConnectorStatus.AVAILABLE
        assert kinds[-1] is ConnectorStatus.AVAILABLE
        assert (ConnectorStatus.OCCUPIED, SessionStage.PREPARING, None) in stages(rig)
        assert (ConnectorStatus.OCCUPIED, SessionStage.TRANSACTION, ChargingState.CHARGING) in stages(rig)
        assert (ConnectorStatus.OCCUPIED, SessionStage.FINISHING, None) in stages(rig)

    def test_offers_nothing_before_the_transaction(self) -> None:
        rig = online()
        rig.pass_ms(1_000)
        rig.plug()
        rig.ready()
        rig.swipe()
        assert rig.boards[EVSE1].output == X1
        assert not rig.boards[EVSE1].is_closed

    def test_wrong_token_starts_nothing(self) -> None:
        rig = online()
        rig.plug()
        rig.swipe()
        rig.answer_authorize(AuthorizationStatus.INVALID)
        rig.ready()
        assert rig.notices() == []
        assert not rig.boards[EVSE1].is_closed
        assert rig.evse.authorization is None

    def test_stranger_cannot_stop_it(self) -> None:
        rig = online()
        rig.charge()
        rig.swipe(OTHER)
        rig.answer_authorize()
        rig.pass_ms(5_000)
        assert rig.evse.phase is Phase.TRANSACTION

    def test_same_group_can_stop_it(self) -> None:
        rig = online()
        group = IdToken("FAMILY")
        rig.pass_ms(1_000)
        rig.plug()
        rig.swipe()
        rig.answer_authorize(group=group)
        rig.ready()
        rig.swipe(OTHER)
        rig.answer_authorize(group=group)
        rig.pass_ms(10_000)
        assert rig.notices()[-1].event_type is TransactionEventType.ENDED
        assert rig.notices()[-1].id_token == OTHER


class TestIdentificationFirst:
    def test_starts_on_plug_in(self) -> None:
        rig = online()
        rig.swipe()
        rig.answer_authorize()
        assert rig.notices() == []
        rig.plug()
        assert rig.notices()[0].trigger is TriggerReason.CABLE_PLUGGED_IN
        rig.ready()
        assert rig.boards[EVSE1].is_closed

    def test_gives_up_after_the_connection_timeout(self) -> None:
        rig = online(values={var.EV_CONNECTION_TIME_OUT: "30"})
        rig.swipe()
        rig.answer_authorize()
        rig.pass_ms(29_000)
        assert rig.evse.authorization is not None
        rig.pass_ms(2_000)
        assert rig.evse.authorization is None
        assert rig.statuses()[-1].status is ConnectorStatus.AVAILABLE
        assert rig.statuses()[-1].stage is SessionStage.NONE

    def test_the_same_card_again_gives_the_place_back(self) -> None:
        rig = online()
        rig.swipe()
        rig.answer_authorize()
        rig.swipe()
        assert rig.evse.authorization is None


class TestRemote:
    def test_start_then_plug(self) -> None:
        rig = online()
        assert rig.command(RequestStart(id_token=TAG, evse_id=EVSE1, remote_start_id=7)) == StatusOutcome(status=CommandStatus.ACCEPTED)
        rig.plug()
        started = rig.notices()[0]
        assert (started.trigger, started.remote_start_id, started.id_token) == (TriggerReason.REMOTE_START, 7, TAG)

    def test_start_with_authorization_asks_first(self) -> None:
        rig = online(values={var.AUTHORIZE_REMOTE_START: "true"})
        rig.plug()
        rig.command(RequestStart(id_token=TAG))
        assert rig.notices() == []
        rig.answer_authorize()
        rig.pass_ms(100)
        assert len(rig.notices()) == 1

    def test_start_is_rejected_while_a_transaction_runs(self) -> None:
        rig = online()
        rig.charge()
        outcome = rig.command(RequestStart(id_token=OTHER, evse_id=EVSE1))
        assert isinstance(outcome, StatusOutcome)
        assert outcome.status is CommandStatus.REJECTED
        assert outcome.transaction_id == rig.notices()[0].transaction_id

    def test_stop_ends_it_in_order(self) -> None:
        rig = online()
        rig.charge()
        mark = len(rig.effects)
        rig.command(RequestStop(transaction_id=rig.notices()[0].transaction_id))
        assert rig.boards[EVSE1].is_closed, "X1 first: the vehicle stops drawing before the contactor opens"
        rig.pilot(PilotState.B)
        rig.pass_ms(5_000)
        ordered = [e for e in rig.effects[mark:] if isinstance(e, SetPilot | OpenContactor)]
        assert ordered[0] == SetPilot(EVSE1, X1)
        assert isinstance(ordered[1], OpenContactor)
        assert rig.notices()[-1].stopped_reason is StoppedReason.REMOTE

    def test_a_vehicle_that_keeps_drawing_is_cut_off_after_six_seconds(self) -> None:
        rig = online()
        rig.charge()
        rig.command(RequestStop(transaction_id=rig.notices()[0].transaction_id))
        rig.pass_ms(5_500)
        assert rig.boards[EVSE1].is_closed
        rig.pass_ms(600)
        assert not rig.boards[EVSE1].is_closed
        assert "opened_under_load" in rig.remarks()

    def test_stop_of_an_unknown_transaction_is_rejected(self) -> None:
        rig = online()
        rig.charge()
        outcome = rig.command(RequestStop(transaction_id=None))
        assert isinstance(outcome, StatusOutcome)
        assert outcome.status is CommandStatus.REJECTED


class TestEnergyOff:
    def test_leaving_c_opens_in_the_same_step(self) -> None:
        rig = online()
        rig.charge()
        rig.pilot(PilotState.B)
        assert not rig.boards[EVSE1].is_closed

    def test_it_closes_again_when_the_vehicle_is_ready_again(self) -> None:
        rig = online()
        rig.charge()
        rig.pilot(PilotState.B)
        rig.pass_ms(2_000)
        assert rig.statuses()[-1].charging_state is ChargingState.SUSPENDED_EV
        rig.ready()
        assert rig.boards[EVSE1].is_closed
        assert len([n for n in rig.notices() if n.event_type is TransactionEventType.STARTED]) == 1

    def test_unplug_opens_and_ends(self) -> None:
        rig = online()
        rig.charge()
        rig.unplug()
        assert not rig.boards[EVSE1].is_closed
        rig.pass_ms(3_000)
        assert rig.notices()[-1].stopped_reason is StoppedReason.EV_DISCONNECTED
        assert rig.notices()[-1].trigger is TriggerReason.EV_COMMUNICATION_LOST  # 2.0.1 E10; EVDeparted is a parking bay's word
        assert rig.evse.phase is Phase.FREE
        # 1.6 TC_005_1: Finishing before Available, and not Available before the last register is read.
        assert stages(rig)[-2:] == [
            (ConnectorStatus.OCCUPIED, SessionStage.FINISHING, None),
            (ConnectorStatus.AVAILABLE, SessionStage.NONE, None),
        ]

    @pytest.mark.parametrize(
        ("fault", "reason"),
        [
            (FaultKind.EMERGENCY_STOP, StoppedReason.EMERGENCY_STOP),
            (FaultKind.RCD_TRIPPED, StoppedReason.GROUND_FAULT),
            (FaultKind.OVER_CURRENT, StoppedReason.OVERCURRENT_FAULT),
            (FaultKind.OVER_TEMPERATURE, StoppedReason.OTHER),
        ],
    )
    def test_a_fault_opens_before_anything_else(self, fault: FaultKind, reason: StoppedReason) -> None:
        rig = online()
        rig.charge()
        effects = rig.apply(FaultRaised(EVSE1, fault, "board"))
        ordered = [e for e in effects if isinstance(e, OpenContactor | SetPilot)]
        assert isinstance(ordered[0], OpenContactor)
        rig.pass_ms(3_000)
        assert rig.notices()[-1].stopped_reason is reason
        assert rig.statuses()[-1].status is ConnectorStatus.FAULTED
        rig.apply(FaultCleared(EVSE1, fault))
        assert rig.statuses()[-1].status is ConnectorStatus.OCCUPIED

    @pytest.mark.parametrize("fault", [FaultKind.PILOT_FAULT, FaultKind.VENTILATION_NOT_AVAILABLE])
    def test_a_fault_of_the_pilot_that_the_hardware_reports_stays_until_it_takes_it_back(self, fault: FaultKind) -> None:
        """A safety controller sees shorts and diodes that the level alone does not show."""
        rig = online()
        rig.charge()
        rig.apply(FaultRaised(EVSE1, fault, "short to PE"))
        assert not rig.boards[EVSE1].is_closed
        rig.pass_ms(10_000)
        assert rig.notices()[-1].event_type is TransactionEventType.ENDED
        assert rig.statuses()[-1].status is ConnectorStatus.FAULTED
        rig.apply(FaultCleared(EVSE1, fault))
        assert rig.statuses()[-1].status is ConnectorStatus.OCCUPIED

    def test_state_e_is_a_pilot_fault(self) -> None:
        rig = online()
        rig.charge()
        rig.pilot(PilotState.E)
        assert not rig.boards[EVSE1].is_closed
        rig.pass_ms(300)
        assert rig.statuses()[-1].fault is FaultKind.PILOT_FAULT

    def test_ventilation_that_is_not_there_is_a_fault(self) -> None:
        rig = online()
        rig.charge()
        rig.pilot(PilotState.D)
        assert not rig.boards[EVSE1].is_closed

    def test_a_station_fault_reaches_every_evse(self) -> None:
        rig = online(evses=(EvseConfig(evse_id=EVSE1), EvseConfig(evse_id=EvseId(2))))
        rig.charge()
        rig.apply(FaultRaised(None, FaultKind.HAL_LOST))
        assert not rig.boards[EVSE1].is_closed
        assert {s.evse_id for s in rig.statuses() if s.status is ConnectorStatus.FAULTED} >= {EvseId(2)}


class TestOffline:
    def test_a_cached_token_charges(self) -> None:
        rig = online()
        rig.charge()
        rig.swipe()
        rig.pass_ms(10_000)
        rig.unplug()
        rig.offline()
        rig.plug()
        rig.swipe()
        rig.ready()
        assert rig.boards[EVSE1].is_closed
        assert rig.notices()[-1].is_offline

    def test_an_unknown_token_does_not(self) -> None:
        rig = Rig()
        rig.pass_ms(1_000)
        rig.plug()
        rig.swipe(OTHER)
        rig.ready()
        assert rig.notices() == []

    def test_unless_the_operator_allows_it(self) -> None:
        rig = Rig(values={var.OFFLINE_UNKNOWN_ID: "true"})
        rig.pass_ms(1_000)
        rig.plug()
        rig.swipe(OTHER)
        assert rig.notices()[0].is_offline

    def test_the_link_going_down_does_not_touch_the_session(self) -> None:
        rig = online()
        rig.charge()
        rig.offline()
        rig.pass_ms(120_000)
        assert rig.boards[EVSE1].is_closed
        rig.swipe()
        rig.pass_ms(10_000)
        assert rig.notices()[-1].event_type is TransactionEventType.ENDED
        assert rig.notices()[-1].is_offline

    def test_local_pre_authorize_does_not_wait(self) -> None:
        rig = online(values={var.LOCAL_PRE_AUTHORIZE: "true"})
        rig.charge()
        rig.swipe()
        rig.pass_ms(10_000)
        rig.unplug()
        asked = len([n for n in rig.sent() if isinstance(n, AuthorizeNotice)])
        rig.plug()
        rig.swipe()
        assert len([n for n in rig.notices() if n.event_type is TransactionEventType.STARTED]) == 2
        assert len([n for n in rig.sent() if isinstance(n, AuthorizeNotice)]) == asked

    def test_clear_cache_forgets(self) -> None:
        rig = online()
        rig.charge()
        assert rig.command(ClearCache()) == StatusOutcome(status=CommandStatus.ACCEPTED)
        assert rig.station.cache == {}


class TestDeauthorized:
    def test_a_token_refused_afterwards_ends_the_transaction(self) -> None:
        rig = online()
        rig.charge()
        info = IdTokenInfo(AuthorizationStatus.BLOCKED)
        rig.apply(TransactionAnswered(rig.notices()[0].transaction_id, info))
        rig.pass_ms(12_000)
        assert rig.notices()[-1].stopped_reason is StoppedReason.DE_AUTHORIZED

    def test_or_suspends_it(self) -> None:
        rig = online(values={var.STOP_TX_ON_INVALID_ID: "false"})
        rig.charge()
        rig.apply(TransactionAnswered(rig.notices()[0].transaction_id, IdTokenInfo(AuthorizationStatus.BLOCKED)))
        assert rig.boards[EVSE1].output == X1
        assert rig.boards[EVSE1].is_closed, "the vehicle has time to stop drawing"
        assert rig.evse.phase is Phase.TRANSACTION
        rig.pass_ms(5_000)
        assert rig.statuses()[-1].charging_state is ChargingState.SUSPENDED_EVSE

    @pytest.mark.parametrize(("amps", "at_most_ms"), [(Decimal(16), 6_000), (Decimal("0.4"), 1_000)])
    def test_a_suspended_vehicle_has_six_seconds_or_until_it_draws_nothing(self, amps: Decimal, at_most_ms: int) -> None:
        """As in a stop (IEC 61851-1 sequence 10.2): nothing opens under load that need not."""
        rig = online(values={var.STOP_TX_ON_INVALID_ID: "false"})
        rig.charge()
        rig.apply(TransactionAnswered(rig.notices()[0].transaction_id, IdTokenInfo(AuthorizationStatus.BLOCKED)))
        rig.pass_ms(800, reads=False)
        assert rig.boards[EVSE1].is_closed
        rig.read(quantities=(Quantity(Measurand.CURRENT_IMPORT, amps),))
        rig.pass_ms(at_most_ms - 800, reads=False)
        assert not rig.boards[EVSE1].is_closed
        rig.pass_ms(60_000)
        assert not rig.boards[EVSE1].is_closed, "and it stays open"

    def test_a_suspended_vehicle_that_leaves_c_is_cut_off_at_once(self) -> None:
        rig = online(values={var.STOP_TX_ON_INVALID_ID: "false"})
        rig.charge()
        rig.apply(TransactionAnswered(rig.notices()[0].transaction_id, IdTokenInfo(AuthorizationStatus.BLOCKED)))
        rig.pilot(PilotState.B)
        assert not rig.boards[EVSE1].is_closed


class TestMeter:
    @pytest.mark.pain(18)
    def test_the_stop_register_is_read_when_nothing_flows_any_more(self) -> None:
        """Neither a reading of the ramp-down nor one while the meter still counts: the next session begins where this one ended."""
        rig = online()
        rig.charge()
        rig.pass_ms(30_000)
        rig.swipe()
        rig.pass_ms(5_900)
        assert rig.boards[EVSE1].is_closed, "the vehicle goes on drawing"
        rig.pass_ms(200, reads=False)
        assert not rig.boards[EVSE1].is_closed
        rig.read()
        rig.energy[EVSE1] += 2  # what the meter had not counted yet
        assert rig.evse.has_transaction, "a reading of this moment is not the last"
        rig.pass_ms(3_000)
        ended = rig.notices()[-1]
        assert (ended.event_type, ended.register_wh) == (TransactionEventType.ENDED, int(rig.energy[EVSE1]))
        rig.unplug()
        rig.plug()
        rig.swipe(OTHER)
        rig.answer_authorize()
        assert rig.notices()[-1].event_type is TransactionEventType.STARTED
        assert rig.notices()[-1].register_wh == ended.register_wh

    @pytest.mark.pain(17)
    def test_a_vehicle_that_is_plugged_in_at_the_boot_starts_with_a_register_that_was_read(self) -> None:
        """The CSMS starts it before the meter has answered: no placeholder, neither in the begin nor in the end."""
        rig = Rig(first_pilot=PilotState.C)
        rig.online()
        rig.command(RequestStart(id_token=TAG, evse_id=EVSE1))
        rig.pass_ms(3_500, reads=False)
        assert (rig.notices(), rig.boards[EVSE1].is_closed) == ([], False)
        rig.read()
        rig.pass_ms(10_000, reads=False)
        assert rig.notices()[0].register_wh == 1_000_000
        assert rig.notices()[0].meter_values[0].quantities[0].value == 1_000_000

    @pytest.mark.pain(17)
    def test_no_register_no_start(self) -> None:
        rig = Rig()
        rig.online()
        rig.pilot(PilotState.B)
        rig.pass_ms(200, reads=False)
        rig.swipe()
        rig.answer_authorize()
        rig.pass_ms(6_000, reads=False)
        assert rig.notices() == []
        assert rig.evse.authorization is None

    def test_silence_is_reported_and_ends_the_session_by_policy(self) -> None:
        rig = online()
        rig.charge()
        last = rig.energy[EVSE1]
        rig.apply(MeterLost(EVSE1, "no answer from device 1"))
        rig.pass_ms(12_000, reads=False)
        ended = rig.notices()[-1]
        assert ended.event_type is TransactionEventType.ENDED
        assert ended.register_wh == int(last)
        assert rig.statuses()[-1].fault is FaultKind.METER_FAILURE

    @pytest.mark.pain(50)
    @pytest.mark.parametrize(("policy", "runs"), [(MeterLossPolicy.CONTINUE, True), (MeterLossPolicy.STOP_AFTER, False)])
    def test_other_policies(self, policy: MeterLossPolicy, *, runs: bool) -> None:
        rig = online(config={"on_meter_loss": policy, "meter_loss_timeout_s": 30})
        rig.charge()
        rig.apply(MeterLost(EVSE1, "silent"))
        rig.pass_ms(29_000, reads=False)
        assert rig.evse.phase is Phase.TRANSACTION
        rig.pass_ms(20_000, reads=False)
        assert rig.evse.has_transaction is runs

    @pytest.mark.pain(49)
    @pytest.mark.pain(17)
    def test_no_value_is_sent_that_was_not_read(self) -> None:
        rig = online(values={var.TX_UPDATED_INTERVAL: "10"}, config={"on_meter_loss": MeterLossPolicy.CONTINUE})
        rig.charge()
        rig.apply(MeterLost(EVSE1, "silent"))
        before = len([n for n in rig.notices() if n.meter_values])
        rig.pass_ms(60_000, reads=False)
        assert len([n for n in rig.notices() if n.meter_values]) == before

    @pytest.mark.pain(53)
    def test_a_swap_ends_at_the_last_good_value(self) -> None:
        rig = online()
        rig.charge()
        rig.pass_ms(30_000)
        last_good = rig.evse.reading
        assert last_good is not None
        first_new = replace(last_good, energy_wh=Decimal(5), serial_number="M-2")
        rig.apply(MeterDiscontinuity(EVSE1, Discontinuity.SWAP, last_good, first_new))
        rig.energy[EVSE1] = Decimal(5)
        rig.serial = "M-2"
        rig.pass_ms(12_000)
        ended = rig.notices()[-1]
        assert last_good.energy_wh is not None
        assert ended.register_wh == int(last_good.energy_wh)
        assert ended.event_type is TransactionEventType.ENDED


class TestSampling:
    def test_periodic_values_keep_their_rhythm(self) -> None:
        rig = online(values={var.TX_UPDATED_INTERVAL: "10"})
        rig.charge()
        rig.pass_ms(60_000)
        samples = [n for n in rig.notices() if n.trigger is TriggerReason.METER_VALUE_PERIODIC]
        assert len(samples) == 6
        gaps = {b.at.ms_since(a.at) for a, b in pairwise(samples)}
        assert gaps == {10_000}
        value = samples[0].meter_values[0]
        assert value.context is ReadingContext.SAMPLE_PERIODIC
        assert {q.measurand for q in value.quantities} == {Measurand.ENERGY_ACTIVE_IMPORT_REGISTER, Measurand.POWER_ACTIVE_IMPORT}

    def test_zero_interval_sends_none(self) -> None:
        rig = online(values={var.TX_UPDATED_INTERVAL: "0"})
        rig.charge()
        rig.pass_ms(300_000)
        assert not [n for n in rig.notices() if n.trigger is TriggerReason.METER_VALUE_PERIODIC]

    def test_clock_aligned_values_follow_the_clock(self) -> None:
        rig = online(values={var.ALIGNED_INTERVAL: "900"})
        rig.charge()
        rig.pass_ms(1_900_000)
        aligned = [n for n in rig.notices() if n.trigger is TriggerReason.METER_VALUE_CLOCK]
        assert len(aligned) == 2
        assert all(n.at.utc is not None and n.at.utc.minute % 15 == 0 and n.at.utc.second == 0 for n in aligned)

    @pytest.mark.pain(58)
    def test_clock_aligned_values_are_sent_when_idle(self) -> None:
        rig = online(values={var.ALIGNED_INTERVAL: "900"})
        rig.pass_ms(900_000)
        assert [n for n in rig.sent() if isinstance(n, MeterValuesNotice)]

    def test_a_new_interval_takes_effect_at_once(self) -> None:
        rig = online(values={var.TX_UPDATED_INTERVAL: "3600"})
        rig.charge()
        rig.command(SetVariables(assignments=(VariableAssignment(key=var.TX_UPDATED_INTERVAL, value="5"),)))
        rig.pass_ms(5_000)
        assert [n for n in rig.notices() if n.trigger is TriggerReason.METER_VALUE_PERIODIC]

    def test_a_trigger_for_values_that_are_not_there_is_rejected(self) -> None:
        """It was Accepted, and nothing followed: right after the boot, and with a silent meter."""
        rig = Rig()
        rig.online()
        ask = TriggerMessage(requested="MeterValues", evse_id=EVSE1)
        early = rig.command(ask)
        assert isinstance(early, StatusOutcome)
        assert early.status is CommandStatus.REJECTED
        assert not [n for n in rig.sent() if isinstance(n, MeterValuesNotice)]
        rig.pass_ms(1_000)
        assert rig.command(ask) == StatusOutcome(status=CommandStatus.ACCEPTED)
        assert [n for n in rig.sent() if isinstance(n, MeterValuesNotice)]

    def test_the_end_carries_first_and_last(self) -> None:
        rig = online()
        rig.charge()
        rig.pass_ms(5_000)
        rig.swipe()
        rig.pass_ms(10_000)
        contexts = [v.context for v in rig.notices()[-1].meter_values]
        assert contexts == [ReadingContext.TRANSACTION_BEGIN, ReadingContext.TRANSACTION_END]


class TestAvailability:
    def test_inoperative_refuses_and_reports(self) -> None:
        rig = online()
        rig.command(ChangeAvailability(operational_status=OperationalStatus.INOPERATIVE, evse_id=EVSE1))
        assert rig.statuses()[-1].status is ConnectorStatus.UNAVAILABLE
        outcome = rig.command(RequestStart(id_token=TAG, evse_id=EVSE1))
        assert isinstance(outcome, StatusOutcome)
        assert outcome.status is CommandStatus.REJECTED
        rig.command(ChangeAvailability(operational_status=OperationalStatus.OPERATIVE, evse_id=EVSE1))
        assert rig.statuses()[-1].status is ConnectorStatus.AVAILABLE

    def test_waits_for_a_running_transaction(self) -> None:
        rig = online()
        rig.charge()
        outcome = rig.command(ChangeAvailability(operational_status=OperationalStatus.INOPERATIVE))
        assert outcome == StatusOutcome(status=CommandStatus.SCHEDULED)
        assert rig.boards[EVSE1].is_closed
        rig.swipe()
        rig.pass_ms(10_000)
        assert rig.statuses()[-1].status is ConnectorStatus.UNAVAILABLE


class TestReset:
    @pytest.mark.parametrize(("kind", "reason"), [(ResetKind.HARD, StoppedReason.HARD_RESET), (ResetKind.SOFT, StoppedReason.SOFT_RESET)])
    def test_ends_the_transaction_then_restarts(self, kind: ResetKind, reason: StoppedReason) -> None:
        rig = online()
        rig.charge()
        assert rig.command(Reset(kind=kind)) == StatusOutcome(status=CommandStatus.ACCEPTED)
        rig.pass_ms(15_000)
        assert rig.notices()[-1].stopped_reason is reason
        restarts = [e for e in rig.effects if isinstance(e, Restart)]
        assert restarts == [Restart(kind, drains=kind is ResetKind.SOFT)]

    def test_idle_restarts_at_once(self) -> None:
        rig = online()
        rig.command(Reset(kind=ResetKind.HARD))
        assert [e for e in rig.effects if isinstance(e, Restart)]

    def test_on_idle_waits_for_the_driver(self) -> None:
        rig = online()
        rig.charge()
        assert rig.command(Reset(kind=ResetKind.ON_IDLE)) == StatusOutcome(status=CommandStatus.SCHEDULED)
        rig.pass_ms(60_000)
        assert rig.boards[EVSE1].is_closed
        rig.swipe()
        rig.pass_ms(10_000)
        assert [e for e in rig.effects if isinstance(e, Restart)]


class TestUnlock:
    SOCKET = (EvseConfig(evse_id=EVSE1, has_lock=True, is_tethered=False),)
    UNLOCK = UnlockConnector(evse_id=EVSE1, connector_id=ConnectorId(1), stops_transaction=True)

    def test_idle_socket_is_unlocked(self) -> None:
        rig = online(evses=self.SOCKET)
        assert rig.command(self.UNLOCK) == StatusOutcome(status=CommandStatus.UNLOCKED)

    def test_a_fixed_cable_has_nothing_to_unlock(self) -> None:
        rig = online()
        outcome = rig.command(self.UNLOCK)
        assert isinstance(outcome, StatusOutcome)
        assert outcome.status is CommandStatus.NOT_SUPPORTED

    def test_1_6_ends_the_transaction_first(self) -> None:
        rig = online(evses=self.SOCKET)
        rig.charge()
        assert rig.boards[EVSE1].is_locked
        assert rig.command(self.UNLOCK) is None, "answered when the lock has moved"
        assert rig.boards[EVSE1].is_locked, "never before the contactor is open"
        rig.pilot(PilotState.B)
        rig.pass_ms(5_000)
        assert not rig.boards[EVSE1].is_locked
        assert rig.notices()[-1].stopped_reason is StoppedReason.UNLOCK_COMMAND

    def test_2_x_refuses_during_a_transaction(self) -> None:
        rig = online(evses=self.SOCKET)
        rig.charge()
        outcome = rig.command(replace(self.UNLOCK, stops_transaction=False))
        assert outcome == StatusOutcome(status=CommandStatus.ONGOING_AUTHORIZED_TRANSACTION)

    def test_no_transaction_begins_before_the_plug_is_locked(self) -> None:
        """1.6 TC_024; also for a second one on the same plug."""
        rig = online(evses=self.SOCKET)
        for _ in range(2):
            rig.auto_report = False
            rig.plug()
            rig.swipe()
            if rig.evse.authorization is not None and rig.evse.authorization.state is AuthorizationState.PENDING:
                rig.answer_authorize()
            before = len(rig.notices())
            rig.pass_ms(1_000)
            assert rig.boards[EVSE1].is_locked, "ordered"
            assert len(rig.notices()) == before
            rig.apply(LockReported(EVSE1, is_locked=True))
            assert rig.notices()[before].event_type is TransactionEventType.STARTED
            rig.auto_report = True
            rig.ready()
            rig.swipe()
            rig.pilot(PilotState.B)
            rig.pass_ms(10_000)
            assert rig.evse.phase is Phase.FINISHED

    def test_a_lock_that_says_nothing_starts_nothing(self) -> None:
        rig = online(evses=self.SOCKET)
        rig.auto_report = False
        rig.plug()
        rig.swipe()
        rig.answer_authorize()
        rig.pass_ms(10_000)
        assert rig.notices() == []
        assert rig.evse.authorization is None
        assert not rig.boards[EVSE1].is_locked
        assert "start_refused" in rig.remarks()

    def test_the_plug_stays_locked_until_the_contactor_is_open(self) -> None:
        rig = online(evses=self.SOCKET)
        rig.charge()
        rig.auto_report = False
        rig.swipe()
        rig.pilot(PilotState.B)
        rig.pass_ms(1_000)
        assert rig.boards[EVSE1].is_locked
        rig.apply(ContactorReported(EVSE1, is_closed=False))
        rig.pass_ms(3_000)
        assert not rig.boards[EVSE1].is_locked


class TestPowerLoss:
    def rebooted(self, *, boot_id: str, energy: Decimal | None = None, serial: str = "M-1", same: bool = False) -> Rig:
        first = online(values=PRICED)
        first.charge()
        first.pass_ms(120_000)
        record = first.evse.transaction
        assert record is not None
        recovered = Recovered(
            station=StationRecord(was_accepted=True), transactions=(record,), last_boot_id=boot_id if same else first.boot_id
        )
        rig = Rig(recovered=recovered, boot_id=boot_id)
        rig.energy[EVSE1] = first.energy[EVSE1] if energy is None else energy
        rig.serial = serial
        return rig

    def test_ends_with_the_register_of_the_boot(self) -> None:
        rig = self.rebooted(boot_id="boot-2")
        rig.pass_ms(2_000)
        ended = rig.notices()[-1]
        assert ended.stopped_reason is StoppedReason.POWER_LOSS
        assert ended.register_wh == int(rig.energy[EVSE1])
        assert ended.seq_no == rig.recovered.transactions[0].next_seq_no
        assert not rig.evse.has_transaction

    def test_the_connector_is_finishing_until_the_register_is_read(self) -> None:
        """It was said to be Charging after the boot, with an open contactor."""
        rig = self.rebooted(boot_id="boot-2")
        rig.pilot(PilotState.B)
        rig.online()
        rig.pass_ms(2_000)
        assert set(stages(rig)) == {(ConnectorStatus.OCCUPIED, SessionStage.FINISHING, None)}

    def test_the_same_kernel_boot_is_a_reboot_of_the_agent(self) -> None:
        rig = self.rebooted(boot_id="boot-1", same=True)
        rig.pass_ms(2_000)
        assert rig.notices()[-1].stopped_reason is StoppedReason.REBOOT

    def test_a_register_that_fell_is_not_believed(self) -> None:
        rig = self.rebooted(boot_id="boot-2", energy=Decimal(17))
        rig.pass_ms(2_000)
        assert rig.notices()[-1].register_wh is not None
        assert rig.notices()[-1].register_wh > 1_000_000

    def test_another_meter_is_not_believed(self) -> None:
        rig = self.rebooted(boot_id="boot-2", energy=Decimal(9_999_999), serial="M-9")
        rig.pass_ms(2_000)
        assert rig.notices()[-1].register_wh is not None
        assert rig.notices()[-1].register_wh < 1_010_000

    def test_a_silent_meter_is_waited_for_and_then_the_stored_value_counts(self) -> None:
        rig = self.rebooted(boot_id="boot-2")
        rig.pass_ms(19_000, reads=False)
        assert rig.notices() == []
        rig.pass_ms(2_000, reads=False)
        assert rig.notices()[-1].event_type is TransactionEventType.ENDED

    def test_a_jump_of_the_register_over_the_cut_is_not_believed(self) -> None:
        rig = self.rebooted(boot_id="boot-2", energy=Decimal(99_999_999))
        assert rig.evse.reading is None
        first_new = replace(rig.recovered.transactions[0].last_reading, at=rig.at, energy_wh=rig.energy[EVSE1])
        rig.apply(MeterDiscontinuity(EVSE1, Discontinuity.JUMP, None, first_new))
        rig.read()
        ended = rig.notices()[-1]
        assert ended.event_type is TransactionEventType.ENDED
        assert ended.register_wh is not None
        assert ended.register_wh < 1_010_000

    def test_a_contactor_that_is_closed_still_is_waited_for(self) -> None:
        """A service manager starts the next run while the hardware's permission of the one before lives: energy flows until it opens."""
        rig = self.rebooted(boot_id="boot-1", same=True)
        rig.boards[EVSE1].is_closed = True
        rig.apply(ContactorReported(EVSE1, is_closed=True))
        rig.pass_ms(3_000)
        assert rig.notices() == []
        rig.boards[EVSE1].is_closed = False
        rig.apply(ContactorReported(EVSE1, is_closed=False))
        rig.read()
        assert rig.notices() == []
        rig.pass_ms(2_000)
        ended = rig.notices()[-1]
        assert ended.event_type is TransactionEventType.ENDED
        assert ended.register_wh == int(rig.energy[EVSE1])
        assert rig.evse.transaction is not None
        assert not rig.evse.transaction.meter_stop_estimated

    def test_a_contactor_that_stays_closed_is_not_waited_for_for_ever(self) -> None:
        rig = self.rebooted(boot_id="boot-1", same=True)
        rig.boards[EVSE1].is_closed = True
        rig.apply(ContactorReported(EVSE1, is_closed=True))
        rig.pass_ms(21_000)
        assert rig.notices()[-1].event_type is TransactionEventType.ENDED
        assert rig.evse.transaction is not None
        assert rig.evse.transaction.meter_stop_estimated

    def test_nothing_ends_before_it_began(self) -> None:
        """The reading at the start is a little older than the start: a cut right behind it must not give a session of negative length."""
        first = online(values=PRICED)
        first.pass_ms(2_500)
        first.charge()
        record = first.evse.transaction
        assert record is not None
        early = replace(record, last_reading=record.meter_start, last_event_at=record.started_at)
        assert early.last_reading.at.ms_since(early.started_at) < 0
        recovered = Recovered(station=StationRecord(was_accepted=True), transactions=(early,), last_boot_id="boot-1")
        rig = Rig(recovered=recovered, first_ms=first.at.mono_ms + 1_000, utc=first.at.plus_ms(1_000).utc)
        rig.energy[EVSE1] = first.energy[EVSE1]
        rig.pass_ms(2_000)
        assert rig.evse.transaction is not None
        assert rig.evse.transaction.ended_at == early.started_at

    def test_nothing_ends_before_what_it_has_told(self) -> None:
        """An event may be newer than the last stored reading: the End that follows it must not carry an earlier time."""
        first = online(values=PRICED)
        first.charge()
        first.pilot(PilotState.B)
        record, last_told = first.evse.transaction, first.notices()[-1]
        assert record is not None
        assert last_told.at.ms_since(record.last_reading.at) > 0
        recovered = Recovered(station=StationRecord(was_accepted=True), transactions=(record,), last_boot_id="boot-1")
        rig = Rig(recovered=recovered, first_ms=first.at.mono_ms + 1_000, utc=first.at.plus_ms(1_000).utc)
        rig.energy[EVSE1] = first.energy[EVSE1]
        rig.pass_ms(2_000)
        assert rig.notices()[-1].at == last_told.at

    def test_no_contactor_closes_while_it_recovers(self) -> None:
        rig = self.rebooted(boot_id="boot-2")
        rig.ready()
        assert not rig.boards[EVSE1].is_closed


def test_a_checkpoint_is_never_older_than_a_minute() -> None:
    rig = online(values={var.TX_UPDATED_INTERVAL: "0"})
    rig.charge()
    rig.pass_ms(600_000)
    record = rig.evse.transaction
    assert record is not None
    assert rig.at.ms_since(record.last_reading.at) <= 61_000


@pytest.mark.pain(88)
def test_a_value_that_is_due_brings_the_checkpoint_along() -> None:
    """With values every 60 s the record of the transaction is written once a minute, not twice: each commit is a sync of the flash."""
    rig = online(values={var.TX_UPDATED_INTERVAL: "60"})
    rig.charge()
    rig.pass_ms(120_000)
    told, changes, last = len(rig.notices()), 0, rig.evse.transaction
    for _ in range(6_000):
        rig.pass_ms(100)
        if rig.evse.transaction is not last:
            changes, last = changes + 1, rig.evse.transaction
    assert len(rig.notices()) - told == 10
    assert changes == 10


class TestLeaving:
    def test_goes_to_x1_then_opens_then_leaves_and_keeps_the_transaction(self) -> None:
        rig = online()
        rig.charge()
        rig.apply(StopRequested())
        assert rig.boards[EVSE1].output == X1
        rig.pass_ms(3_100)
        assert not rig.boards[EVSE1].is_closed
        assert [e for e in rig.effects if isinstance(e, Exit)] == [Exit()]
        assert rig.evse.has_transaction
        assert rig.notices()[-1].event_type is not TransactionEventType.ENDED

    def test_idle_leaves_at_once(self) -> None:
        rig = online()
        rig.apply(StopRequested())
        assert [e for e in rig.effects if isinstance(e, Exit)] == [Exit()]


class TestStorage:
    def test_no_session_begins_while_records_cannot_be_written(self) -> None:
        rig = online()
        rig.apply(StoreFailed("disk full"))
        assert rig.statuses()[-1].status is ConnectorStatus.FAULTED
        rig.plug()
        rig.swipe()
        assert rig.notices() == []
        rig.apply(StoreRecovered())
        rig.swipe()
        rig.answer_authorize()
        rig.ready()
        assert rig.boards[EVSE1].is_closed

    def test_a_running_session_goes_on(self) -> None:
        rig = online()
        rig.charge()
        rig.apply(StoreFailed("disk full"))
        assert rig.boards[EVSE1].is_closed

    def test_a_session_that_began_without_a_clock_is_timed_by_one_source_only(self) -> None:
        """Start and end get their wall time later, from the same anchor: what is billed is what stands between the timestamps."""
        rig = online(values=PRICED, utc=None)
        rig.charge()
        rig.at = replace(rig.at, utc=START)
        rig.pass_ms(60_000)
        rig.swipe()
        rig.pass_ms(10_000)
        started, ended = rig.notices()[0], rig.notices()[-1]
        assert started.at.utc is None
        assert ended.at.utc is None
        assert ended.cost is not None
        assert ended.cost.seconds * 1000 == ended.at.ms_since(started.at)


class TestWhy:
    def test_what_only_forbids_a_new_session_does_not_block_a_running_one(self) -> None:
        rig = online(config={"on_meter_loss": MeterLossPolicy.CONTINUE})
        rig.charge()
        rig.apply(FaultRaised(EVSE1, FaultKind.READER_FAILURE))
        rig.apply(MeterLost(EVSE1, "silent"))
        rig.apply(StoreFailed("disk full"))
        assert rig.boards[EVSE1].is_closed
        assert blocker(rig.station, EVSE1, rig.at) is None


class TestCost:
    def test_the_price_of_the_start_is_the_price_of_the_session(self) -> None:
        rig = online(values=PRICED)
        rig.charge()
        rig.command(SetVariables(assignments=(VariableAssignment(key=var.PRICE_KWH, value="99"),)))
        rig.pass_ms(600_000)
        rig.swipe()
        rig.pass_ms(10_000)
        started, ended = rig.notices()[0], rig.notices()[-1]
        assert ended.cost is not None
        assert started.register_wh is not None
        assert ended.register_wh is not None
        kwh = Decimal(ended.register_wh - started.register_wh) / 1000
        minutes = Decimal(ended.at.ms_since(started.at)) / 60_000
        expected = Decimal("4.50") * kwh + Decimal("0.5") * minutes + 5
        assert ended.cost.gross == expected.quantize(Decimal("0.01"), rounding="ROUND_HALF_UP")
        assert ended.cost.is_final

    def test_a_card_session_of_a_private_charger_has_no_cost(self) -> None:
        rig = online(values={**PRICED, var.WEB_PAYMENTS_ENABLED: "false"})
        rig.charge()
        rig.swipe()
        rig.pass_ms(10_000)
        assert rig.notices()[-1].cost is None

    def test_a_jump_of_the_wall_clock_does_not_change_the_bill(self) -> None:
        rig = online(values=PRICED)
        rig.charge()
        rig.at = replace(rig.at, utc=rig.at.utc.replace(year=2031) if rig.at.utc else None)
        rig.pass_ms(60_000)
        rig.swipe()
        rig.pass_ms(10_000)
        ended = rig.notices()[-1]
        assert ended.cost is not None
        assert ended.cost.seconds < 100
        assert ended.at.utc is not None
        assert ended.at.utc.year == 2026


def test_output_is_pwm_only_in_a_transaction() -> None:
    rig = online()
    rig.charge()
    assert rig.boards[EVSE1].output.signal is PilotSignal.PWM
    rig.swipe()
    assert rig.boards[EVSE1].output.signal is PilotSignal.X1


class TestTwoVehicles:
    """A station with two EVSEs and one reader: nobody pays for the vehicle beside his own."""

    @staticmethod
    def after_a_session_on_the_first() -> Rig:
        rig = online(evses=(EvseConfig(evse_id=EVSE1), EvseConfig(evse_id=EVSE2)))
        rig.pass_ms(2_000)
        rig.plug()
        rig.swipe()
        rig.answer_authorize()
        rig.pass_ms(5_000)
        rig.swipe()
        rig.pass_ms(10_000)
        assert rig.evse.phase is Phase.FINISHED
        return rig

    def test_a_card_does_not_start_the_vehicle_that_was_left_plugged(self) -> None:
        rig = self.after_a_session_on_the_first()
        rig.swipe(OTHER)
        rig.answer_authorize()
        rig.plug(EVSE2)
        assert (rig.notices()[-1].event_type, rig.notices()[-1].evse_id) == (TransactionEventType.STARTED, EVSE2)

    def test_nor_when_both_are_plugged(self) -> None:
        rig = self.after_a_session_on_the_first()
        rig.plug(EVSE2)
        rig.swipe(OTHER)
        rig.answer_authorize()
        rig.pass_ms(100)
        assert (rig.notices()[-1].event_type, rig.notices()[-1].evse_id) == (TransactionEventType.STARTED, EVSE2)

    def test_nor_does_a_remote_start_that_names_no_evse(self) -> None:
        rig = self.after_a_session_on_the_first()
        rig.command(RequestStart(id_token=OTHER))
        assert rig.evse.authorization is None
        rig.plug(EVSE2)
        assert (rig.notices()[-1].event_type, rig.notices()[-1].evse_id) == (TransactionEventType.STARTED, EVSE2)

    def test_the_driver_who_just_finished_may_go_on(self) -> None:
        rig = self.after_a_session_on_the_first()
        rig.swipe()
        rig.answer_authorize()
        rig.pass_ms(100)
        assert (rig.notices()[-1].event_type, rig.notices()[-1].evse_id) == (TransactionEventType.STARTED, EVSE1)


class TestNothingStaysBehind:
    @pytest.mark.parametrize(
        "undo",
        [
            ChangeAvailability(operational_status=OperationalStatus.INOPERATIVE, evse_id=EVSE1),
            UnlockConnector(evse_id=EVSE1, connector_id=ConnectorId(1), stops_transaction=True),
        ],
    )
    def test_a_start_that_was_called_off_leaves_no_deadline(self, undo: ChangeAvailability | UnlockConnector) -> None:
        """It would tick for ever, and refuse the next driver as if the meter had not answered him."""
        rig = online(evses=(EvseConfig(evse_id=EVSE1, has_lock=True, is_tethered=False),))
        rig.auto_report = False
        rig.plug()
        rig.swipe()
        rig.answer_authorize()
        assert rig.evse.reading_due is not None, "it waits for the lock"
        rig.command(undo)
        rig.apply(LockReported(EVSE1, is_locked=False))
        rig.pass_ms(10_000)
        rig.auto_report = True
        rig.command(ChangeAvailability(operational_status=OperationalStatus.OPERATIVE, evse_id=EVSE1))
        rig.swipe()
        rig.answer_authorize()
        rig.pass_ms(2_000)
        assert rig.evse.phase is Phase.TRANSACTION
