"""Decisions of one line each, every one found by a mutant that nothing else noticed (`make mutation`)."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from agent.core import transactions
from agent.core import variables as var
from agent.core.state import EvseConfig, StopStage
from agent.domain.authorization import AuthorizationStatus, IdTokenInfo
from agent.domain.commands import CommandStatus, StatusOutcome, UnlockConnector
from agent.domain.connector import ConnectorStatus, FaultKind, OperationalStatus
from agent.domain.effects import Remark
from agent.domain.events import (
    AuthorizationAnswered,
    ContactorRefused,
    FaultRaised,
    LockReported,
    MeterLost,
    PilotMeasured,
    StoreFailed,
    Tick,
    TransactionAnswered,
)
from agent.domain.ids import ConnectorId, EvseId, RequestId
from agent.domain.interlock import Interlock
from agent.domain.metering import Measurand, ReadingContext
from agent.domain.notices import AuthorizeNotice, StatusNotice
from agent.domain.pilot import PilotState
from agent.domain.records import EvseRecord, Recovered, StationRecord
from agent.domain.transaction import StoppedReason, TransactionEventType
from tests.core.rig import EVSE1, PRICED, START, TAG, Rig

SOCKET = (EvseConfig(evse_id=EVSE1, is_tethered=False, has_lock=True),)


def online(**kwargs: object) -> Rig:
    rig = Rig(**kwargs)
    rig.online()
    rig.pass_ms(1_000)
    return rig


def warnings(rig: Rig, name: str) -> list[str]:
    return [effect.detail for effect in rig.effects if isinstance(effect, Remark) and effect.name == name and effect.is_warning]


class TestTokens:
    def test_an_answer_to_an_older_question_decides_nothing(self) -> None:
        rig = online()
        rig.plug()
        rig.swipe()
        for other in ("", "a", "zzz"):
            rig.apply(AuthorizationAnswered(RequestId(other), IdTokenInfo(AuthorizationStatus.ACCEPTED)))
        assert not rig.evse.has_transaction
        rig.answer_authorize()
        assert rig.evse.has_transaction

    def test_nor_does_one_about_stopping(self) -> None:
        rig = online()
        rig.charge()
        rig.swipe(replace(TAG, value="BEEF0002"))
        check = rig.evse.stop_check
        assert check is not None
        for other in ("", "a", "zzz"):
            rig.apply(AuthorizationAnswered(RequestId(other), IdTokenInfo(AuthorizationStatus.BLOCKED)))
        assert rig.evse.stop_check == check

    def test_a_token_that_the_station_accepts_while_online_is_not_marked_offline(self) -> None:
        rig = online(values={var.LOCAL_PRE_AUTHORIZE: "true"})
        rig.charge()
        rig.unplug()
        rig.pass_ms(3_000)
        questions = [notice for notice in rig.sent() if isinstance(notice, AuthorizeNotice)]
        rig.swipe()
        assert [notice for notice in rig.sent() if isinstance(notice, AuthorizeNotice)] == questions
        assert rig.evse.authorization is not None
        assert not rig.evse.authorization.is_offline

    def test_but_while_offline_it_is(self) -> None:
        rig = online()
        rig.charge()
        rig.unplug()
        rig.offline()
        rig.pass_ms(3_000)
        rig.swipe()
        assert rig.evse.authorization is not None
        assert rig.evse.authorization.is_offline

    @pytest.mark.parametrize(("after_s", "is_known"), [(-1, True), (0, False), (1, False), (86_400, False)])
    def test_a_cached_token_counts_until_its_expiry(self, after_s: int, *, is_known: bool) -> None:
        rig = online()
        rig.swipe()
        question = next(notice for notice in rig.sent() if isinstance(notice, AuthorizeNotice))
        expiry = START + timedelta(hours=1)
        rig.apply(AuthorizationAnswered(question.request_id, IdTokenInfo(AuthorizationStatus.ACCEPTED, expiry)))
        rig.swipe()  # the place is given back
        rig.offline()
        assert rig.at.utc is not None
        rig.at = replace(rig.at, utc=expiry + timedelta(seconds=after_s))
        rig.swipe()
        assert (rig.evse.authorization is not None) is is_known

    def test_another_card_of_the_group_stops_it_while_offline_too(self) -> None:
        group, second = replace(TAG, value="GROUP"), replace(TAG, value="BEEF0002")
        rig = online()
        rig.swipe(second)
        rig.answer_authorize(group=group)
        rig.swipe(second)  # known now, and not wanted any more
        rig.plug()
        rig.swipe()
        rig.answer_authorize(group=group)
        rig.ready()
        assert rig.boards[EVSE1].is_closed
        rig.offline()
        rig.swipe(second)
        rig.pass_ms(12_000)
        assert rig.notices()[-1].stopped_reason is StoppedReason.LOCAL


class TestStation:
    def test_what_was_set_to_inoperative_stays_so_over_a_restart(self) -> None:
        record = EvseRecord(evse_id=EVSE1, operational_status=OperationalStatus.INOPERATIVE)
        rig = Rig(recovered=Recovered(station=StationRecord(was_accepted=True), evses=(record,)))
        rig.online()
        assert rig.statuses()[-1].status is ConnectorStatus.UNAVAILABLE

    def test_being_accepted_for_the_first_time_is_kept(self) -> None:
        rig = Rig(recovered=Recovered(station=StationRecord(was_accepted=False)))
        assert not rig.station.record.was_accepted
        rig.online()
        assert rig.station.record.was_accepted

    def test_an_event_of_an_unknown_evse_is_told_as_a_warning(self) -> None:
        rig = online()
        rig.apply(PilotMeasured(EvseId(7), PilotState.B))
        assert warnings(rig, "unknown_evse") == ["PilotMeasured for EVSE 7"]

    def test_a_refused_order_to_close_is_a_warning_and_is_tried_again(self) -> None:
        rig = online()
        rig.auto_report = False
        rig.charge()
        rig.boards[EVSE1].is_closed = False
        rig.apply(ContactorRefused(EVSE1, next(iter(Interlock))))
        assert len(warnings(rig, "contactor_refused")) == 1
        assert not rig.boards[EVSE1].is_closed
        rig.pass_ms(15_000)
        assert rig.boards[EVSE1].is_closed

    @pytest.mark.parametrize(("total", "differs"), [(None, False), (Decimal("999.99"), True)])
    def test_another_total_of_the_portal_is_a_warning(self, total: Decimal | None, *, differs: bool) -> None:
        rig = online(values=PRICED)
        rig.charge()
        name = rig.notices()[0].transaction_id
        rig.apply(TransactionAnswered(name, total_cost=total))
        assert not warnings(rig, "cost_differs"), "it still runs"
        rig.pass_ms(60_000)
        rig.unplug()
        rig.pass_ms(5_000)
        assert rig.evse.transaction is not None
        assert rig.evse.transaction.cost_gross is not None
        rig.apply(TransactionAnswered(name, total_cost=total))
        assert bool(warnings(rig, "cost_differs")) is differs
        rig.apply(TransactionAnswered(name, total_cost=rig.evse.transaction.cost_gross))
        assert bool(warnings(rig, "cost_differs")) is differs

    def test_a_card_that_waits_is_given_back_when_the_disk_fails(self) -> None:
        rig = online()
        rig.swipe()
        rig.answer_authorize()
        assert rig.evse.authorization is not None
        rig.apply(StoreFailed("full"))
        assert rig.evse.authorization is None

    def test_the_status_of_the_station_says_what_is_wrong(self) -> None:
        rig = online()
        before = len(rig.sent())
        rig.apply(FaultRaised(None, FaultKind.EMERGENCY_STOP, "button"))
        told = [notice for notice in rig.sent()[before:] if isinstance(notice, StatusNotice)]
        assert [(one.fault, one.info) for one in told if one.evse_id is None] == [(FaultKind.EMERGENCY_STOP, "button")]
        assert {(one.fault, one.info) for one in told if one.evse_id is not None} <= {(FaultKind.EMERGENCY_STOP, "button")}
        before = len(rig.sent())
        rig.apply(Tick())
        assert rig.sent()[before:] == [], "it has been told"

    def test_nothing_is_told_about_the_station_while_offline(self) -> None:
        rig = online()
        rig.offline()
        before = len(rig.sent())
        rig.apply(FaultRaised(None, FaultKind.EMERGENCY_STOP, "button"))
        assert rig.sent()[before:] == []

    def test_the_status_of_a_connector_says_what_is_wrong(self) -> None:
        rig = online()
        rig.apply(FaultRaised(EVSE1, FaultKind.OVER_TEMPERATURE, "95 C"))
        assert (rig.statuses()[-1].fault, rig.statuses()[-1].info) == (FaultKind.OVER_TEMPERATURE, "95 C")


class TestUnlock:
    @pytest.mark.parametrize("connector", [0, 2, 7])
    def test_another_connector_is_unknown(self, connector: int) -> None:
        rig = online(evses=SOCKET)
        outcome = rig.command(UnlockConnector(evse_id=EVSE1, connector_id=ConnectorId(connector), stops_transaction=False))
        assert isinstance(outcome, StatusOutcome)
        assert outcome.status is CommandStatus.UNKNOWN_CONNECTOR

    def test_a_lock_that_stays_shut_is_told_when_its_time_is_over_and_not_before(self) -> None:
        rig = online(evses=SOCKET)
        rig.plug()
        rig.apply(LockReported(EVSE1, is_locked=True))
        rig.auto_report = False
        seen = len(rig.effects)
        assert rig.command(UnlockConnector(evse_id=EVSE1, connector_id=ConnectorId(1), stops_transaction=False)) is None
        rig.apply(Tick())
        assert not [effect for effect in rig.effects[seen:] if type(effect).__name__ == "Answer"]
        rig.pass_ms(30_000)
        answers = [effect.outcome for effect in rig.effects[seen:] if type(effect).__name__ == "Answer"]
        assert [outcome.status for outcome in answers] == [CommandStatus.UNLOCK_FAILED]


class TestEnd:
    def test_a_vehicle_that_leaves_in_time_does_not_open_under_load(self) -> None:
        rig = online()
        rig.charge()
        rig.swipe()
        rig.pilot(PilotState.B)
        rig.pass_ms(12_000)
        assert not warnings(rig, "opened_under_load")
        assert rig.notices()[-1].event_type is TransactionEventType.ENDED

    def test_one_that_stays_does(self) -> None:
        rig = online()
        rig.charge()
        rig.swipe()
        rig.pass_ms(5_000)
        assert not warnings(rig, "opened_under_load")
        rig.pass_ms(7_000)
        assert len(warnings(rig, "opened_under_load")) == 1

    def test_the_register_of_a_changed_meter_is_an_estimate(self) -> None:
        rig = online()
        rig.charge()
        rig.pass_ms(30_000)
        rig.swipe()
        rig.apply(MeterLost(EVSE1, "silent"))
        rig.pass_ms(30_000, reads=False)
        assert rig.evse.transaction is not None
        assert rig.evse.transaction.meter_stop_estimated

    def test_a_stop_that_was_begun_keeps_the_newest_register(self) -> None:
        rig = online()
        rig.charge()
        rig.pass_ms(20_000)
        newest = rig.evse.reading
        rig.swipe()
        assert newest is not None
        record = rig.evse.transaction
        assert record is not None
        assert record.stop_begun is not None
        assert record.last_reading.energy_wh == newest.energy_wh

    def test_it_is_asked_for_the_last_register_once_it_has_settled(self) -> None:
        rig = online()
        rig.charge()
        rig.swipe()
        while rig.evse.stop is not None and rig.evse.stop.stage is not StopStage.READING:
            rig.pass_ms(100, reads=False)
        asked = len([effect for effect in rig.effects if type(effect).__name__ == "ReadMeter"])
        assert rig.evse.stop is not None
        assert not rig.evse.stop.is_asked
        rig.pass_ms(3_000, reads=False)
        assert rig.evse.stop is None or rig.evse.stop.is_asked
        assert len([effect for effect in rig.effects if type(effect).__name__ == "ReadMeter"]) == asked + 1


class TestMessages:
    def test_the_start_carries_the_register_of_the_begin(self) -> None:
        rig = online()
        rig.charge()
        (value,) = rig.notices()[0].meter_values
        assert value.context is ReadingContext.TRANSACTION_BEGIN

    @pytest.mark.parametrize(("older_ms", "told_ms"), [(900, 0), (0, 0), (-900, 900)])
    def test_no_value_is_older_than_its_transaction(self, older_ms: int, told_ms: int) -> None:
        """The contactor was open between that reading and the begin: it is the register of the begin, whenever it was read."""
        rig = online()
        rig.charge()
        record = rig.evse.transaction
        assert record is not None
        reading = replace(record.meter_start, at=record.started_at.plus_ms(-older_ms))
        wanted = (Measurand.ENERGY_ACTIVE_IMPORT_REGISTER,)
        value = transactions.meter_value(rig.evse, reading, ReadingContext.SAMPLE_PERIODIC, wanted, record.started_at)
        assert value is not None
        assert value.at == record.started_at.plus_ms(told_ms)

    @pytest.mark.parametrize("late_ms", [0, 500, 2_500])
    def test_values_for_the_end_are_kept_in_their_rhythm_even_after_a_late_tick(self, late_ms: int) -> None:
        rig = online(values={var.TX_ENDED_INTERVAL: "10", var.TX_UPDATED_INTERVAL: "0"})
        rig.charge()
        rig.pass_ms(9_000)
        record = rig.evse.transaction
        assert record is not None
        kept = len(record.ended_values)
        rig.at = rig.at.plus_ms(1_500 + late_ms)
        rig.read()
        rig.apply(Tick())
        record = rig.evse.transaction
        assert record is not None
        assert len(record.ended_values) == kept + 1

    @pytest.mark.parametrize("missing", [var.CURRENCY, var.VAT_PERCENT])
    def test_no_price_without_all_its_parts(self, missing: object) -> None:
        rig = online(values={key: value for key, value in PRICED.items() if key != missing})
        assert transactions.current_tariff(rig.station.variables) is None

    @pytest.mark.parametrize("only", [var.PRICE_KWH, var.PRICE_HOUR, var.PRICE_SESSION])
    def test_one_of_three_prices_is_a_price(self, only: object) -> None:
        prices = {var.PRICE_KWH, var.PRICE_HOUR, var.PRICE_SESSION}
        rig = online(values={key: value for key, value in PRICED.items() if key not in prices or key == only})
        tariff = transactions.current_tariff(rig.station.variables)
        assert tariff is not None
        assert [tariff.price_kwh > 0, tariff.price_minute > 0, tariff.price_session > 0].count(True) == 1
        none = online(values={key: value for key, value in PRICED.items() if key not in prices})
        assert transactions.current_tariff(none.station.variables) is None


def test_a_vehicle_that_asks_for_ventilation_that_is_there_is_no_fault() -> None:
    rig = online(evses=(EvseConfig(evse_id=EVSE1, has_ventilation=True),))
    rig.plug()
    rig.pilot(PilotState.D)
    rig.pass_ms(300)
    assert not rig.evse.faults
    for state in (PilotState.B, PilotState.C):
        rig.pilot(state)
        rig.pass_ms(300)
        assert not rig.evse.faults
