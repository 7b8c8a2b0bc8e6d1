"""What a driver agreed to at most is kept here, whatever becomes of the network: never a Wh, a second or a cent more."""

from decimal import Decimal

import pytest

from agent.core import variables as var
from agent.core.limits import KEPT
from agent.core.state import Phase, PowerLossPolicy
from agent.domain.authorization import IdToken
from agent.domain.commands import CommandStatus, DataTransferOutcome, LimitTransaction, RequestStart, StatusOutcome
from agent.domain.transaction import StoppedReason, TransactionEventType, TransactionLimit, TriggerReason
from tests.core.rig import EVSE1, PRICED, TAG, Rig
from tests.core.test_recovery import next_run, record_of

OTHER = IdToken("BEEF0002")


def started(limit: TransactionLimit | None, values: dict[object, str] | None = None) -> Rig:
    """The CSMS starts a session and is gone at once; the vehicle takes what it gets, and never stops by itself."""
    rig = Rig(values=PRICED if values is None else values)  # type: ignore[arg-type]
    rig.online()
    rig.pass_ms(1_000)
    assert rig.command(RequestStart(id_token=TAG, evse_id=EVSE1, limit=limit)) == StatusOutcome(status=CommandStatus.ACCEPTED)
    rig.plug()
    rig.offline()
    rig.ready()
    return rig


@pytest.mark.pain(19)
@pytest.mark.parametrize(
    ("limit", "reason", "trigger"),
    [
        (TransactionLimit(max_energy_wh=500), StoppedReason.ENERGY_LIMIT_REACHED, TriggerReason.ENERGY_LIMIT_REACHED),
        (TransactionLimit(max_time_s=300), StoppedReason.TIME_LIMIT_REACHED, TriggerReason.TIME_LIMIT_REACHED),
        (TransactionLimit(max_cost=Decimal(10)), StoppedReason.LOCAL_OUT_OF_CREDIT, TriggerReason.ENERGY_LIMIT_REACHED),
        (
            TransactionLimit(max_energy_wh=90_000, max_time_s=300, max_cost=Decimal(900)),
            StoppedReason.TIME_LIMIT_REACHED,
            TriggerReason.TIME_LIMIT_REACHED,
        ),
    ],
)
def test_a_limit_is_kept_offline(limit: TransactionLimit, reason: StoppedReason, trigger: TriggerReason) -> None:
    """And not left far below: at most the ramp-down is given away."""
    rig = started(limit)
    rig.pass_ms(3_600_000)
    ended = rig.notices()[-1]
    assert (ended.event_type, ended.stopped_reason, ended.trigger) == (TransactionEventType.ENDED, reason, trigger)
    assert ended.cost is not None
    record = record_of(rig)
    assert record.energy_wh is not None
    if reason is StoppedReason.ENERGY_LIMIT_REACHED:
        assert 480 <= record.energy_wh <= 500
    elif reason is StoppedReason.TIME_LIMIT_REACHED:
        assert 285 <= ended.cost.seconds <= 300
    else:
        assert Decimal("9.7") <= ended.cost.gross <= 10
    assert rig.remarks().count("limit_reached") == 1


@pytest.mark.pain(19)
def test_a_limit_survives_a_power_cut() -> None:
    """It is in the record; what was taken before the cut counts, the darkness does not."""
    before = started(TransactionLimit(max_energy_wh=500))
    before.pass_ms(120_000)
    rig = next_run(before, policy=PowerLossPolicy.RESUME)
    rig.pass_ms(3_600_000)
    assert rig.notices()[-1].stopped_reason is StoppedReason.ENERGY_LIMIT_REACHED
    assert 480 <= (record_of(rig).energy_wh or 0) <= 500


def test_a_limit_of_time_needs_no_meter_and_no_vehicle() -> None:
    """A vehicle that is full waits in a session that is sold by time."""
    rig = Rig(values=PRICED)
    rig.online()
    rig.pass_ms(1_000)
    rig.command(RequestStart(id_token=TAG, evse_id=EVSE1, limit=TransactionLimit(max_time_s=60)))
    rig.plug()
    rig.pass_ms(70_000)
    assert rig.notices()[-1].stopped_reason is StoppedReason.TIME_LIMIT_REACHED
    cost = rig.notices()[-1].cost
    assert cost is not None
    assert cost.seconds <= 60


def test_without_a_limit_nothing_ends() -> None:
    rig = started(None)
    rig.pass_ms(3_600_000)
    assert rig.evse.phase is Phase.TRANSACTION


@pytest.mark.parametrize(
    "limit",
    [TransactionLimit(max_energy_wh=0), TransactionLimit(max_time_s=-1), TransactionLimit(max_cost=Decimal(0))],
)
def test_a_limit_that_allows_nothing_starts_nothing(limit: TransactionLimit) -> None:
    """What could not be read comes as one of these: better no session than one without its limit."""
    rig = Rig(values=PRICED)
    rig.online()
    rig.pass_ms(1_000)
    outcome = rig.command(RequestStart(id_token=TAG, evse_id=EVSE1, limit=limit))
    assert isinstance(outcome, StatusOutcome)
    assert outcome.status is CommandStatus.REJECTED


def test_a_limit_of_cost_needs_a_price() -> None:
    rig = Rig()
    rig.online()
    rig.pass_ms(1_000)
    outcome = rig.command(RequestStart(id_token=TAG, evse_id=EVSE1, limit=TransactionLimit(max_cost=Decimal(100))))
    assert isinstance(outcome, StatusOutcome)
    assert outcome.status is CommandStatus.REJECTED


class TestAnnounced:
    """1.6 has no room for a limit in RemoteStartTransaction: it comes before it, or while the transaction runs."""

    def test_before_the_start(self) -> None:
        rig = Rig(values=PRICED)
        rig.online()
        rig.pass_ms(1_000)
        said = LimitTransaction(id_token=TAG, limit=TransactionLimit(max_energy_wh=100))
        assert rig.command(said) == DataTransferOutcome(status=CommandStatus.ACCEPTED)
        rig.command(RequestStart(id_token=TAG, evse_id=EVSE1))
        rig.plug()
        rig.ready()
        rig.pass_ms(600_000)
        assert rig.notices()[-1].stopped_reason is StoppedReason.ENERGY_LIMIT_REACHED
        assert rig.station.limits == ()

    def test_before_a_card(self) -> None:
        rig = Rig(values=PRICED)
        rig.online()
        rig.command(LimitTransaction(id_token=TAG, limit=TransactionLimit(max_energy_wh=100)))
        rig.charge()
        rig.pass_ms(600_000)
        assert rig.notices()[-1].stopped_reason is StoppedReason.ENERGY_LIMIT_REACHED

    def test_while_it_runs(self) -> None:
        """On disk before it is answered: the record carries it."""
        rig = Rig(values=PRICED)
        rig.online()
        rig.charge()
        rig.command(LimitTransaction(id_token=TAG, limit=TransactionLimit(max_energy_wh=100)))
        assert record_of(rig).limit == TransactionLimit(max_energy_wh=100)
        rig.pass_ms(600_000)
        assert rig.notices()[-1].stopped_reason is StoppedReason.ENERGY_LIMIT_REACHED

    def test_it_is_another_drivers(self) -> None:
        rig = Rig(values=PRICED)
        rig.online()
        rig.command(LimitTransaction(id_token=OTHER, limit=TransactionLimit(max_energy_wh=100)))
        rig.charge()
        rig.pass_ms(600_000)
        assert rig.evse.phase is Phase.TRANSACTION

    def test_the_newest_counts_and_few_are_kept(self) -> None:
        rig = Rig(values=PRICED)
        rig.online()
        for number in range(KEPT + 5):
            rig.command(LimitTransaction(id_token=IdToken(f"T{number}"), limit=TransactionLimit(max_energy_wh=1 + number)))
        rig.command(LimitTransaction(id_token=IdToken("t20"), limit=TransactionLimit(max_energy_wh=9)))
        assert len(rig.station.limits) == KEPT
        assert rig.station.limits[-1].limit.max_energy_wh == 9

    def test_what_allows_nothing_is_refused(self) -> None:
        rig = Rig(values={**PRICED, var.WEB_PAYMENTS_ENABLED: "false"})
        rig.online()
        for limit in (TransactionLimit(max_energy_wh=0), TransactionLimit(max_cost=Decimal(5))):
            outcome = rig.command(LimitTransaction(id_token=TAG, limit=limit))
            assert isinstance(outcome, DataTransferOutcome)
            assert outcome.status is CommandStatus.REJECTED
