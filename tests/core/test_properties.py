"""Properties over state x event: whatever happens, in whatever order."""

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core import variables as var
from agent.core.state import EvseConfig, Phase, PowerLossPolicy, Stop, StopStage
from agent.core.station import new_station, step
from agent.core.view import station_view
from agent.core.why import chain
from agent.domain.authorization import AuthorizationStatus, IdToken
from agent.domain.commands import ChangeAvailability, ClearCache, RequestStart, RequestStop, Reset, ResetKind, UnlockConnector
from agent.domain.connector import FaultKind, OperationalStatus
from agent.domain.events import (
    CommandReceived,
    FaultCleared,
    FaultRaised,
    LinkChanged,
    LinkState,
    MeterLost,
    StopRequested,
    StoreFailed,
    StoreRecovered,
)
from agent.domain.ids import ConnectorId, EvseId
from agent.domain.interlock import InterlockInputs, interlock
from agent.domain.notices import AuthorizeNotice, TransactionNotice
from agent.domain.pilot import PilotState
from agent.domain.records import Recovered
from agent.domain.transaction import TransactionEventType
from tests.core.rig import EVSE1, PRICED, Rig

TAGS = (IdToken("CAFE0001"), IdToken("BEEF0002"))
FAULTS = (FaultKind.EMERGENCY_STOP, FaultKind.GROUND_FAULT, FaultKind.CONTACTOR_WELDED, FaultKind.READER_FAILURE)

ACTIONS = st.one_of(
    st.tuples(st.just("pilot"), st.sampled_from(PilotState)),
    st.tuples(st.just("pass"), st.sampled_from((10, 150, 1_000, 7_000, 65_000))),
    st.tuples(st.just("silent"), st.sampled_from((1_000, 7_000))),
    st.tuples(st.just("swipe"), st.sampled_from(TAGS)),
    st.tuples(st.just("answer"), st.sampled_from((AuthorizationStatus.ACCEPTED, AuthorizationStatus.INVALID))),
    st.tuples(st.just("fault"), st.sampled_from(FAULTS)),
    st.tuples(st.just("clear"), st.sampled_from(FAULTS)),
    st.tuples(st.just("link"), st.sampled_from(LinkState)),
    st.tuples(st.just("start"), st.sampled_from(TAGS)),
    st.tuples(st.just("stop"), st.none()),
    st.tuples(st.just("available"), st.sampled_from(OperationalStatus)),
    st.tuples(st.just("unlock"), st.booleans()),
    st.tuples(st.just("reset"), st.sampled_from(ResetKind)),
    st.tuples(st.just("clear_cache"), st.none()),
    st.tuples(st.just("meter_lost"), st.none()),
    st.tuples(st.just("store"), st.booleans()),
    st.tuples(st.just("supply"), st.booleans()),
    st.tuples(st.just("leave"), st.none()),
)
# The road into a session, so that most runs get there.
SESSION = (
    ("link", LinkState.ACCEPTED),
    ("pass", 1_000),
    ("pilot", PilotState.B),
    ("pass", 150),
    ("start", TAGS[0]),
    ("pass", 150),
    ("pilot", PilotState.C),
    ("pass", 150),
)


def act(rig: Rig, action: tuple[str, object]) -> None:  # one arm per kind of event
    match action:
        case ("pilot", PilotState() as state):
            rig.pilot(state)
        case ("pass", int() as ms):
            rig.pass_ms(ms)
        case ("silent", int() as ms):
            rig.pass_ms(ms, reads=False)
        case ("swipe", IdToken() as token):
            rig.swipe(token)
        case ("answer", AuthorizationStatus() as status):
            if any(isinstance(notice, AuthorizeNotice) for notice in rig.sent()):
                rig.answer_authorize(status)
        case ("fault", FaultKind() as fault):
            rig.apply(FaultRaised(EVSE1, fault))
        case ("clear", FaultKind() as fault):
            rig.apply(FaultCleared(EVSE1, fault))
        case ("link", LinkState() as state):
            rig.apply(LinkChanged(state, report_all=state is LinkState.ACCEPTED))
        case ("start", IdToken() as token):
            rig.command(RequestStart(id_token=token, evse_id=EVSE1))
        case ("stop", _):
            record = rig.evse.transaction
            rig.command(RequestStop(transaction_id=None if record is None else record.transaction_id))
        case ("available", OperationalStatus() as status):
            rig.command(ChangeAvailability(operational_status=status))
        case ("unlock", bool() as stops):
            rig.command(UnlockConnector(evse_id=EVSE1, connector_id=ConnectorId(1), stops_transaction=stops))
        case ("reset", ResetKind() as kind):
            rig.command(Reset(kind=kind))
        case ("clear_cache", _):
            rig.command(ClearCache())
        case ("meter_lost", _):
            rig.apply(MeterLost(EVSE1, "silent"))
        case ("supply", bool() as works):
            rig.apply(FaultCleared(None, FaultKind.POWER_LOSS) if works else FaultRaised(None, FaultKind.POWER_LOSS))
        case ("leave", _):
            rig.apply(StopRequested())
        case ("store", bool() as works):
            rig.apply(StoreRecovered() if works else StoreFailed("disk full"))
        case _:
            raise AssertionError(action)


def check(rig: Rig) -> None:
    evse, board = rig.evse, rig.boards[EVSE1]
    stop = evse.stop
    in_window = isinstance(stop, Stop) and stop.stage is StopStage.RAMP_DOWN and rig.at.ms_since(stop.deadline) <= 0
    if board.is_closed:
        raw = evse.pilot.raw
        assert raw is not None
        refusal = interlock(
            InterlockInputs(
                pilot_state=raw,
                pilot_signal=board.output.signal,
                has_permission=evse.phase is Phase.TRANSACTION or in_window,
                has_fault=any(
                    f.kind in {FaultKind.EMERGENCY_STOP, FaultKind.GROUND_FAULT, FaultKind.CONTACTOR_WELDED, FaultKind.POWER_LOSS}
                    for f in (*evse.faults, *rig.station.faults)
                ),
                has_lock=evse.config.has_lock,
                is_locked=board.is_locked,
                is_stopping=in_window,
            )
        )
        assert refusal is None, refusal
        assert evse.has_transaction, "energy without a transaction"
    if not board.is_locked and evse.config.has_lock:
        assert not board.is_closed
    if evse.has_transaction and evse.transaction is not None and evse.reading is not None:
        assert evse.transaction.last_reading.energy_wh is not None
        assert evse.transaction.meter_start.energy_wh is not None
        assert evse.transaction.last_reading.energy_wh >= evse.transaction.meter_start.energy_wh
    # The technician's and the driver's views exist in every state.
    station_view(rig.station, rig.at, lambda _: "https://pay.example/CP001/1")
    for condition in chain(rig.station, EVSE1, rig.at):
        assert condition.holds or (condition.since is not None and condition.cure), f"{condition}: since when, and the cure?"


def check_notices(rig: Rig) -> None:
    check_told(rig.notices(), rig)


def check_told(told: list[TransactionNotice], rig: Rig) -> None:
    by_transaction: dict[str, list[TransactionEventType]] = {}
    numbers: dict[str, list[int]] = {}
    for notice in told:
        by_transaction.setdefault(notice.transaction_id, []).append(notice.event_type)
        numbers.setdefault(notice.transaction_id, []).append(notice.seq_no)
    for transaction_id, kinds in by_transaction.items():
        assert kinds[0] is TransactionEventType.STARTED
        counts = Counter(kinds)
        assert counts[TransactionEventType.STARTED] == 1
        assert counts[TransactionEventType.ENDED] <= 1
        if counts[TransactionEventType.ENDED]:
            assert kinds[-1] is TransactionEventType.ENDED
        else:
            assert rig.evse.has_transaction
            assert rig.evse.transaction is not None
            assert rig.evse.transaction.transaction_id == transaction_id
        assert numbers[transaction_id] == list(range(len(kinds)))
    starts = {n.transaction_id: n.register_wh for n in told if n.event_type is TransactionEventType.STARTED}
    for notice in told:
        if notice.event_type is TransactionEventType.ENDED:
            assert notice.register_wh is not None
            assert notice.register_wh >= (starts[notice.transaction_id] or 0), "energy never falls"
            cost = notice.cost
            assert cost is None or cost.energy_wh == notice.register_wh - (starts[notice.transaction_id] or 0)


# Most runs shall have something to go on with.
FEW = st.one_of(st.just([]), st.lists(ACTIONS, max_size=4))
TAIL: tuple[tuple[tuple[str, object], ...], ...] = ((), (("leave", None),), (("leave", None), ("stop", None)), (("supply", False),))
FIRST_PILOT = st.sampled_from((PilotState.C, PilotState.C, PilotState.C, PilotState.B, PilotState.A, PilotState.E, None))


@settings(max_examples=150)
@given(
    first=FEW,
    tail=st.sampled_from(TAIL),
    cuts=st.lists(
        st.tuples(
            st.sampled_from(("boot-1", "boot-2", "boot-3")),
            st.sampled_from((1_000, 70_000, 3_600_000)),
            FIRST_PILOT,
            st.booleans(),
            FEW,
        ),
        min_size=1,
        max_size=3,
    ),
    policy=st.sampled_from(PowerLossPolicy),
)
def test_safe_and_paired_over_every_cut(
    first: list[tuple[str, object]],
    tail: tuple[tuple[str, object], ...],
    cuts: list[tuple[str, int, PilotState | None, bool, list[tuple[str, object]]]],
    policy: PowerLossPolicy,
) -> None:
    """The same rules over up to three cuts at any moment, in any boot, with any pilot afterwards.

    One Start, one End, no energy unpaid, and none after a stop that the CSMS was promised.
    """
    rig = Rig(values={**PRICED, var.TX_UPDATED_INTERVAL: "5"})
    for action in (*SESSION, *first, *tail):
        act(rig, action)
    told = list(rig.notices())
    promised = stopped(rig)
    for boot_id, away_ms, pilot, clock_is_known, actions in cuts:
        before = rig
        record = before.evse.transaction
        open_ones = () if record is None or not before.evse.has_transaction else (record,)
        gone = before.at.plus_ms(away_ms)
        rig = Rig(
            values={**PRICED, var.TX_UPDATED_INTERVAL: "5"},
            config={"power_loss_policy": policy},
            boot_id=boot_id,
            first_ms=gone.mono_ms if boot_id == before.boot_id else 3_000,
            utc=gone.utc if clock_is_known else None,
            recovered=Recovered(station=before.station.record, cache=tuple(before.station.cache.values()), transactions=open_ones),
            first_pilot=pilot,
        )
        rig.energy = dict(before.energy)
        rig._ids = before._ids + 1_000
        rig.online()
        for action in (*actions, ("pass", 65_000)):
            act(rig, action)
            check(rig)
            assert not rig.boards[EVSE1].is_closed or open_id(rig) not in promised, "it was stopped in an earlier run"
        told += rig.notices()
        promised |= stopped(rig)
    check_told(told, rig)


def open_id(rig: Rig) -> str | None:
    record = rig.evse.transaction
    return None if record is None or not rig.evse.has_transaction else record.transaction_id


def stopped(rig: Rig) -> set[str]:
    """The transactions whose end the CSMS was promised."""
    asked = (event.command for event, _ in rig.log if isinstance(event, CommandReceived))
    return {command.transaction_id for command in asked if isinstance(command, RequestStop) and command.transaction_id is not None}


CONFIGS = st.sampled_from(
    (
        EvseConfig(evse_id=EVSE1),
        EvseConfig(evse_id=EVSE1, has_lock=True, is_tethered=False),
        EvseConfig(evse_id=EVSE1, has_ventilation=True),
    )
)


@given(config=CONFIGS, goes_in=st.booleans(), actions=st.lists(ACTIONS, max_size=25))
def test_safe_and_paired_whatever_happens(config: EvseConfig, goes_in: bool, actions: list[tuple[str, object]]) -> None:
    """The contactor is closed only under the interlock's rule, starts and ends pair up, energy never falls, every state can be shown."""
    rig = Rig(evses=(replace(config, has_ventilation=False),), values={**PRICED, var.TX_UPDATED_INTERVAL: "5"})
    for action in (*(SESSION if goes_in else ()), *actions):
        act(rig, action)
        check(rig)
    check_notices(rig)


@settings(max_examples=40)
@given(actions=st.lists(ACTIONS, max_size=20))
def test_replay_gives_the_same_effects(actions: list[tuple[str, object]]) -> None:
    """The journal of events gives the same state and the same effects, in order."""
    rig = Rig(values=PRICED)
    for action in (*SESSION, *actions):
        act(rig, action)
    first = Rig(values=PRICED)
    station = new_station(first.station.config, rig_variables(), rig.log[0][1])
    effects = []
    for event, at in rig.log:
        station, ordered = step(station, event, at)
        effects.extend(ordered)
    assert effects == rig.effects
    assert station == rig.station


def rig_variables() -> var.Variables:
    from tests.core.rig import assign

    return assign(var.Variables.of(var.definitions(evses=1)), PRICED)


@given(evse=st.sampled_from((EvseId(1), EvseId(2))), actions=st.lists(ACTIONS, max_size=12))
def test_one_evse_does_not_touch_the_other(evse: EvseId, actions: list[tuple[str, object]]) -> None:
    """What happens on EVSE 1 alone leaves EVSE 2 as it is, but for what concerns the whole station."""
    station_wide = {"link", "available", "reset", "store"}
    rig = Rig(evses=(EvseConfig(evse_id=EVSE1), EvseConfig(evse_id=EvseId(2))), values=PRICED)
    rig.online()
    rig.pass_ms(1_000)
    before = rig.station.evses[1]
    for action in actions:
        if action[0] not in station_wide and action[0] != "swipe":
            act(rig, action)
    after = rig.station.evses[1]
    assert (after.phase, after.output, after.transaction, after.faults) == (before.phase, before.output, before.transaction, before.faults)
    assert not rig.boards[EvseId(2)].is_closed
