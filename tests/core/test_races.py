"""What happens when something comes between the steps of a session: a new price, a late answer, a reset, a restart."""

from datetime import timedelta
from decimal import Decimal

import pytest

from agent.core import variables as var
from agent.core.state import EvseConfig, Phase
from agent.domain.authorization import AuthorizationStatus, IdToken, IdTokenInfo
from agent.domain.commands import RequestStart, RequestStop, Reset, ResetKind, SetVariables, TriggerMessage, VariableAssignment
from agent.domain.connector import FaultKind
from agent.domain.effects import Restart, Send, UnlockPlug
from agent.domain.events import (
    AuthorizationAnswered,
    ContactorRefused,
    ContactorReported,
    FaultRaised,
    LockReported,
    MeterDiscontinuity,
    TransactionAnswered,
)
from agent.domain.interlock import Interlock
from agent.domain.metering import Discontinuity, Reading
from agent.domain.notices import AuthorizeNotice
from agent.domain.pilot import PilotState
from agent.domain.records import Recovered, StationRecord
from agent.domain.transaction import ChargingState, StoppedReason, TransactionEventType, TransactionRecord
from agent.domain.variables import VariableKey
from tests.core.rig import EVSE1, PRICED, START, TAG, Rig

OTHER = IdToken("BEEF0002")


def online(**kwargs: object) -> Rig:
    rig = Rig(**kwargs)  # type: ignore[arg-type]
    rig.online()
    rig.pass_ms(1_000)
    return rig


@pytest.mark.parametrize("key", [var.PRICE_KWH, var.PRICE_SESSION])
def test_who_paid_before_plugging_in_owes_the_price_that_he_saw(key: VariableKey) -> None:
    """The portal bills what it showed; a price that changes before the plug is in is the next driver's."""
    rig = online(values=PRICED)
    rig.command(RequestStart(id_token=TAG, evse_id=EVSE1))
    rig.command(SetVariables(assignments=(VariableAssignment(key=key, value="99"),)))
    rig.plug()
    record = rig.evse.transaction
    assert record is not None
    assert record.tariff is not None
    assert (record.tariff.price_kwh, record.tariff.price_session) == (Decimal("4.50"), Decimal(5))


def open_record(rig: Rig) -> TransactionRecord:
    record = rig.evse.transaction
    assert record is not None
    return record


def cut(kind: str | None = None, *, energy: Decimal = Decimal(1_000_500)) -> Rig:
    """A run after a power cut in the middle of a transaction: the first sample had 1 000 100 Wh."""
    rig = online()
    rig.charge()
    rig.energy[EVSE1] = Decimal(1_000_100)
    rig.pass_ms(61_000)
    station = StationRecord(was_accepted=True, reset_kind=kind)
    found = Recovered(station=station, transactions=(open_record(rig),), last_boot_id="boot-1")
    after = Rig(boot_id="boot-2", utc=START + timedelta(hours=1), recovered=found)
    after.energy[EVSE1] = energy
    return after


class TestRecovery:
    def test_a_sample_asked_for_meanwhile_does_not_become_the_stored_register(self) -> None:
        """A register that does not continue the stored one is judged against the stored one, not against itself."""
        rig = cut(energy=Decimal(500))
        rig.apply(ContactorReported(EVSE1, is_closed=True))
        before = open_record(rig).last_reading
        rig.online()
        rig.read()
        rig.command(TriggerMessage(requested="MeterValues", evse_id=EVSE1))
        assert open_record(rig).last_reading is before
        rig.apply(ContactorReported(EVSE1, is_closed=False))
        rig.pass_ms(25_000)
        ended = rig.notices()[-1]
        assert [n.event_type for n in rig.notices()] == [TransactionEventType.ENDED]
        assert ended.register_wh == int(before.energy_wh or 0)

    def test_nor_does_a_clock_aligned_one(self) -> None:
        rig = cut(energy=Decimal(500))
        rig.command(SetVariables(assignments=(VariableAssignment(key=var.ALIGNED_INTERVAL, value="5"),)))
        rig.apply(ContactorReported(EVSE1, is_closed=True))
        before = open_record(rig).last_reading
        rig.pass_ms(15_000)
        assert open_record(rig).last_reading is before

    def test_a_power_cut_while_a_reset_waited_for_the_driver_is_a_power_cut(self) -> None:
        """An OnIdle reset ends no transaction (B12.FR.03), so it is not what ended this one."""
        rig = cut(ResetKind.ON_IDLE.value)
        rig.pass_ms(2_000)
        assert rig.notices()[-1].stopped_reason is StoppedReason.POWER_LOSS


class TestReset:
    def test_a_welded_contactor_does_not_keep_the_station_from_restarting(self) -> None:
        rig = online()
        rig.charge()
        rig.auto_report = False
        rig.command(Reset(kind=ResetKind.HARD))
        rig.pass_ms(9_000)
        rig.apply(FaultRaised(EVSE1, FaultKind.CONTACTOR_WELDED))
        rig.pass_ms(20_000)
        assert [e for e in rig.effects if isinstance(e, Restart)] == [Restart(ResetKind.HARD, drains=False)]


class TestLateAnswers:
    def test_an_answer_about_stopping_one_transaction_does_not_stop_the_next(self) -> None:
        group = IdToken("FAMILY")
        rig = online()
        rig.pass_ms(1_000)
        rig.plug()
        rig.swipe()
        rig.answer_authorize(group=group)
        rig.swipe(OTHER)
        question = next(e.notice for e in reversed(rig.effects) if isinstance(e, Send) and isinstance(e.notice, AuthorizeNotice))
        rig.command(RequestStop(transaction_id=open_record(rig).transaction_id))
        rig.pass_ms(10_000)
        rig.swipe()
        rig.answer_authorize(group=group)
        rig.pass_ms(100)
        assert rig.evse.phase is Phase.TRANSACTION
        rig.apply(AuthorizationAnswered(question.request_id, IdTokenInfo(AuthorizationStatus.ACCEPTED, None, group)))
        assert rig.evse.phase is Phase.TRANSACTION


class TestMeterSwap:
    def test_the_next_session_begins_at_the_new_meters_register(self) -> None:
        """Not at the last one of the meter that is gone: nothing that is read afterwards would continue it."""
        rig = online()
        rig.charge()
        rig.pass_ms(5_000)
        last_good = rig.evse.reading
        rig.serial, rig.energy[EVSE1] = "M-2", Decimal(40)
        rig.read()
        first_new = Reading(evse_id=EVSE1, at=rig.at, energy_wh=Decimal(40), serial_number="M-2")
        rig.apply(MeterDiscontinuity(EVSE1, Discontinuity.SWAP, last_good, first_new))
        rig.pilot(PilotState.B)
        rig.pass_ms(2_000)
        assert rig.notices()[-1].event_type is TransactionEventType.ENDED
        rig.command(RequestStart(id_token=OTHER, evse_id=EVSE1))
        rig.pass_ms(2_000)
        started = rig.notices()[-1]
        assert (started.event_type, started.register_wh, started.meter_serial_number) == (TransactionEventType.STARTED, 40, "M-2")


SOCKET = EvseConfig(evse_id=EVSE1, has_lock=True, is_tethered=False)


class TestLock:
    def test_a_plug_held_for_one_driver_is_not_held_from_the_next(self) -> None:
        rig = online(evses=(SOCKET,))
        rig.charge()
        rig.apply(TransactionAnswered(open_record(rig).transaction_id, IdTokenInfo(AuthorizationStatus.INVALID)))
        rig.pass_ms(15_000)
        assert rig.boards[EVSE1].is_locked, "kept for the driver who was refused afterwards"
        rig.command(RequestStart(id_token=OTHER, evse_id=EVSE1))
        rig.pass_ms(2_000)
        rig.command(RequestStop(transaction_id=open_record(rig).transaction_id))
        rig.pass_ms(15_000)
        assert not rig.boards[EVSE1].is_locked

    def test_a_plug_that_the_run_before_left_locked_is_released(self) -> None:
        rig = Rig(evses=(SOCKET,))
        assert UnlockPlug(EVSE1) in rig.effects

    def test_also_when_the_contactor_opens_only_then(self) -> None:
        """The guard releases no live plug, so the first order comes to nothing."""
        rig = Rig(evses=(SOCKET,))
        rig.auto_report = False
        rig.apply(LockReported(EVSE1, is_locked=True))
        rig.apply(ContactorReported(EVSE1, is_closed=True))
        mark = len(rig.effects)
        rig.apply(ContactorReported(EVSE1, is_closed=False))
        assert UnlockPlug(EVSE1) in rig.effects[mark:]


def test_nothing_is_charging_while_the_contactor_may_not_close() -> None:
    rig = online()
    rig.charge()
    rig.auto_report = False
    rig.apply(ContactorReported(EVSE1, is_closed=False))
    rig.apply(ContactorRefused(EVSE1, Interlock.NO_PERMISSION))
    assert open_record(rig).charging_state is ChargingState.SUSPENDED_EVSE
    rig.pass_ms(1_100)
    rig.apply(ContactorReported(EVSE1, is_closed=True))
    assert open_record(rig).charging_state is ChargingState.CHARGING
