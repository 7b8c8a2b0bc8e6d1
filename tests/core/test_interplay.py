"""Where two features meet: a recovery or a leaving agent, and a stop, a reset, a limit, a refused token or a supply that fails."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from agent.core import variables as var
from agent.core.recovery import WAIT_MS
from agent.core.state import MeterLossPolicy, Phase, PowerLossPolicy
from agent.core.tariff import session_cost
from agent.core.view import station_view
from agent.domain.authorization import AuthorizationStatus, IdTokenInfo
from agent.domain.commands import CommandStatus, LimitTransaction, RequestStart, RequestStop, Reset, ResetKind, StatusOutcome
from agent.domain.connector import FaultKind
from agent.domain.effects import Exit, Restart
from agent.domain.events import FaultRaised, LockReported, MeterLost, StopRequested, TransactionAnswered
from agent.domain.ids import TransactionId
from agent.domain.pilot import PilotState
from agent.domain.records import Recovered
from agent.domain.transaction import StoppedReason, TransactionLimit, TriggerReason
from tests.core.rig import EVSE1, PRICED, START, TAG, Rig, assign
from tests.core.test_recovery import ENDED, SOCKET, charging, flows, next_run, record_of

QUICKLY = timedelta(seconds=5)


def leaving() -> Rig:
    """SIGTERM while energy flows: the vehicle has three seconds to stop drawing."""
    rig = charging()
    rig.apply(StopRequested())
    assert flows(rig)
    return rig


class TestRecoveringAndACommand:
    def test_a_reset_that_waits_for_the_last_session_does_not_end_the_one_that_goes_on(self) -> None:
        """B12.FR.03: an OnIdle reset ends no transaction; it comes when this one is over."""
        rig = next_run(charging())
        outcome = rig.command(Reset(kind=ResetKind.ON_IDLE))
        assert outcome == StatusOutcome(status=CommandStatus.SCHEDULED)
        rig.pass_ms(WAIT_MS + 5_000)
        assert flows(rig)
        rig.swipe()
        rig.pass_ms(10_000)
        assert rig.notices()[-1].stopped_reason is StoppedReason.LOCAL
        assert [e.kind for e in rig.effects if isinstance(e, Restart)] == [ResetKind.ON_IDLE]

    @pytest.mark.parametrize("cache", ["true", "false"])
    def test_a_token_that_the_csms_refuses_meanwhile_does_not_charge_again(self, cache: str) -> None:
        """The answer to the Started that was sent late comes while the lock is awaited."""
        before = charging(evses=(SOCKET,))
        rig = next_run(before, is_locked=True)
        rig.station = replace(rig.station, variables=assign(rig.station.variables, {var.CACHE_ENABLED: cache}))
        rig.auto_report = False
        rig.apply(LockReported(EVSE1, is_locked=False))
        rig.pass_ms(2_000)
        assert rig.evse.phase is Phase.RECOVERING
        rig.apply(TransactionAnswered(record_of(rig).transaction_id, IdTokenInfo(AuthorizationStatus.BLOCKED)))
        rig.auto_report = True
        rig.apply(LockReported(EVSE1, is_locked=True))
        rig.pass_ms(10_000)
        assert not flows(rig)
        (told,) = rig.notices()
        assert (told.event_type, told.stopped_reason, told.trigger) == (ENDED, StoppedReason.DE_AUTHORIZED, TriggerReason.DEAUTHORIZED)

    def test_what_is_shown_meanwhile_is_what_will_be_billed(self) -> None:
        """Two hours of darkness are not on the display either."""
        rig = next_run(charging(), plugged=None, outage=timedelta(hours=2))
        rig.pass_ms(1_100)
        assert rig.evse.phase is Phase.RECOVERING
        view = station_view(rig.station, rig.at, lambda _: None).evses[0]
        assert view.seconds is not None
        assert view.seconds < 200
        assert view.cost is not None
        assert view.cost.gross < 10


def test_a_vehicle_that_was_gone_before_the_cut_is_not_taken_for_the_next_one() -> None:
    """StopTxOnEVSideDisconnect = false keeps its session open; whoever is plugged in after the power came back is somebody else."""
    before = Rig(values={**PRICED, var.STOP_TX_ON_EV_SIDE_DISCONNECT: "false"})
    before.online()
    before.charge()
    before.pass_ms(70_000)
    before.unplug()
    rig = next_run(before)
    rig.pass_ms(10_000)
    assert not flows(rig)
    assert [n.event_type for n in rig.notices()] == [ENDED]


class TestLeavingAndAStop:
    """The session stays open on disk and would go on; who stops it in these seconds has been promised that it ends."""

    def test_a_stop_of_the_portal_is_kept(self) -> None:
        rig = leaving()
        outcome = rig.command(RequestStop(transaction_id=record_of(rig).transaction_id))
        assert outcome == StatusOutcome(status=CommandStatus.ACCEPTED)
        self.ends(rig, StoppedReason.REMOTE)

    def test_so_is_the_drivers_card(self) -> None:
        rig = leaving()
        rig.swipe()
        self.ends(rig, StoppedReason.LOCAL)
        assert rig.evse.transaction is not None

    def test_and_a_vehicle_that_left(self) -> None:
        """Whoever is plugged in at the next boot is somebody else."""
        rig = leaving()
        rig.unplug()
        assert not flows(rig)
        self.ends(rig, StoppedReason.EV_DISCONNECTED)

    def test_and_a_fault_that_ends_a_session(self) -> None:
        rig = leaving()
        rig.apply(FaultRaised(EVSE1, FaultKind.GROUND_FAULT))
        assert not flows(rig)
        self.ends(rig, StoppedReason.GROUND_FAULT)

    def test_and_a_token_that_the_csms_refuses(self) -> None:
        rig = leaving()
        rig.apply(TransactionAnswered(record_of(rig).transaction_id, IdTokenInfo(AuthorizationStatus.BLOCKED)))
        rig.pass_ms(4_000, reads=False)
        after = next_run(rig, boot_id="boot-1", outage=QUICKLY)
        after.pass_ms(10_000)
        assert not flows(after)

    def test_but_not_a_supply_that_fails(self) -> None:
        rig = leaving()
        rig.apply(FaultRaised(None, FaultKind.POWER_LOSS))
        assert not flows(rig)
        rig.pass_ms(4_000, reads=False)
        assert [e for e in rig.effects if isinstance(e, Exit)]
        after = next_run(rig, boot_id="boot-2")
        after.pass_ms(10_000)
        assert flows(after)

    @staticmethod
    def ends(rig: Rig, reason: StoppedReason) -> None:
        rig.pass_ms(4_000, reads=False)
        assert [e for e in rig.effects if isinstance(e, Exit)]
        after = next_run(rig, boot_id="boot-1", outage=QUICKLY)
        after.pass_ms(10_000)
        assert not flows(after)
        ended = [n for n in (*rig.notices(), *after.notices()) if n.event_type is ENDED]
        assert [n.stopped_reason for n in ended] == [reason]


class TestSupplyThatFails:
    def test_a_meter_that_goes_dark_with_it_does_not_change_the_reason(self) -> None:
        """It hangs on the same mains: the session ends for the power, not for a broken meter."""
        rig = charging()
        rig.apply(FaultRaised(None, FaultKind.POWER_LOSS))
        register = rig.energy[EVSE1]
        rig.read()
        rig.apply(MeterLost(EVSE1, "no answer"))
        rig.pass_ms(10_000, reads=False)
        told = rig.notices()[-1]
        assert (told.event_type, told.stopped_reason, told.register_wh) == (ENDED, StoppedReason.POWER_LOSS, int(register))

    def test_while_recovering_is_waited_for(self) -> None:
        rig = next_run(charging())
        rig.apply(FaultRaised(None, FaultKind.POWER_LOSS))
        rig.pass_ms(5_000)
        assert (rig.evse.phase, flows(rig)) == (Phase.RECOVERING, False)


class TestLimits:
    def test_a_session_that_goes_on_keeps_its_limit(self) -> None:
        """Reached already at the boot: the contactor does not close again."""
        before = charging()
        record = replace(record_of(before), limit=TransactionLimit(max_energy_wh=int(before.energy[EVSE1]) - 1_000_000))
        rig = next_run(before, record=record)
        rig.pass_ms(10_000)
        assert not flows(rig)
        assert not [e for e in rig.effects if type(e).__name__ == "CloseContactor"]
        assert rig.notices()[-1].stopped_reason is StoppedReason.ENERGY_LIMIT_REACHED

    def test_the_newest_limit_before_the_start_counts(self) -> None:
        """Agreed to anew between the authorization and the plug: accepted, so it is the one that is kept."""
        rig = Rig(values=PRICED)
        rig.online()
        rig.pass_ms(2_000)
        rig.command(RequestStart(id_token=TAG, evse_id=EVSE1, remote_start_id=1, limit=TransactionLimit(max_energy_wh=9_000)))
        rig.command(LimitTransaction(id_token=TAG, limit=TransactionLimit(max_energy_wh=1_000)))
        rig.plug()
        if not rig.evse.has_transaction:
            rig.answer_authorize()
        assert record_of(rig).limit == TransactionLimit(max_energy_wh=1_000)

    @pytest.mark.parametrize(
        ("limit", "reason"),
        [
            (TransactionLimit(max_energy_wh=6_000), StoppedReason.ENERGY_LIMIT_REACHED),
            (TransactionLimit(max_cost=Decimal(40)), StoppedReason.LOCAL_OUT_OF_CREDIT),
        ],
    )
    def test_is_kept_while_the_meter_is_silent(self, limit: TransactionLimit, reason: StoppedReason) -> None:
        """Energy flows by policy and nobody sees how much: it stops before the most that can have flowed is more than was agreed to."""
        rig = Rig(values=PRICED, config={"on_meter_loss": MeterLossPolicy.CONTINUE})
        rig.online()
        rig.command(LimitTransaction(id_token=TAG, limit=limit))
        rig.charge()
        rig.pass_ms(10_000)
        rig.apply(MeterLost(EVSE1, "no answer"))
        rig.pass_ms(3_600_000, reads=False, watts=Decimal(22_000))
        assert rig.notices()[-1].stopped_reason is reason
        record = record_of(rig)
        assert record.tariff is not None
        assert record.ended_at is not None
        taken_wh = int(rig.energy[EVSE1] - Decimal("1000000.4"))
        assert taken_wh > 5_000, "not at once: as long as the limit is far it goes on"
        assert limit.max_energy_wh is None or taken_wh <= limit.max_energy_wh
        duration_ms = record.ended_at.ms_since(record.started_at)
        cost = session_cost(record.tariff, energy_wh=taken_wh, duration_ms=duration_ms, is_final=True)
        assert limit.max_cost is None or cost.gross <= limit.max_cost

    def test_a_session_fee_alone_needs_no_meter(self) -> None:
        priced = {**PRICED, var.PRICE_KWH: "0", var.PRICE_HOUR: "0"}
        rig = Rig(values=priced, config={"on_meter_loss": MeterLossPolicy.CONTINUE})
        rig.online()
        rig.command(LimitTransaction(id_token=TAG, limit=TransactionLimit(max_cost=Decimal(6))))
        rig.charge()
        rig.apply(MeterLost(EVSE1, "no answer"))
        rig.pass_ms(600_000, reads=False)
        assert flows(rig)


class TestTimeOfTheEnd:
    def test_a_coarse_meter_does_not_let_it_end_in_the_future(self) -> None:
        """A step of 100 Wh a second after the last reading: rated power would need longer than what has passed."""
        before = charging()
        stored = replace(record_of(before).last_reading, resolution_wh=Decimal(100))
        record = replace(record_of(before), last_reading=stored, last_event_at=stored.at)
        rig = next_run(before, policy=PowerLossPolicy.STOP, record=record, boot_id="boot-1", outage=timedelta(seconds=1))
        assert stored.energy_wh is not None
        rig.at = rig.at.plus_ms(500)
        rig.read(energy_wh=stored.energy_wh + 200, resolution_wh=Decimal(100))
        rig.pass_ms(1_000, reads=False)
        ended_at = record_of(rig).ended_at
        assert ended_at is not None
        assert ended_at.mono_ms <= rig.at.mono_ms


def test_of_two_open_transactions_the_newest_has_the_place() -> None:
    """A damaged file gave back an older one as open: with the register of now it would be billed what the later session took."""
    before = charging()
    newest = record_of(before)
    older = replace(newest, transaction_id=TransactionId("T-older"), started_at=newest.started_at.plus_ms(-60_000))
    found = Recovered(station=before.station.record, transactions=(older, newest), last_boot_id=before.boot_id)
    rig = Rig(
        values=PRICED,
        config={"power_loss_policy": PowerLossPolicy.RESUME},
        boot_id="boot-2",
        utc=START + timedelta(hours=1),
        recovered=found,
        first_pilot=PilotState.C,
    )
    rig.energy = dict(before.energy)
    rig.pass_ms(10_000)
    told = rig.notices()
    assert [(n.transaction_id, n.register_wh) for n in told if n.event_type is ENDED] == [
        ("T-older", int(older.last_reading.energy_wh or 0))
    ]
    assert record_of(rig).transaction_id == newest.transaction_id
    assert flows(rig)
