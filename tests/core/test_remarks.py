"""What the technician reads in the events: every line of a story, in order, and which of them are warnings."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from agent.core import variables as var
from agent.core.state import EvseConfig, MeterLossPolicy
from agent.core.variables import key
from agent.domain.authorization import AuthorizationStatus, IdToken, IdTokenInfo
from agent.domain.commands import RequestStart, Reset, ResetKind, SetVariables, VariableAssignment
from agent.domain.connector import FaultKind
from agent.domain.effects import Remark
from agent.domain.events import (
    AuthorizationFailed,
    ContactorRefused,
    FaultCleared,
    FaultRaised,
    LinkChanged,
    LinkState,
    MeterDiscontinuity,
    MeterLost,
    StopRequested,
    StoreFailed,
    StoreRecovered,
    TransactionAnswered,
)
from agent.domain.ids import EvseId
from agent.domain.interlock import Interlock
from agent.domain.metering import Discontinuity
from agent.domain.notices import AuthorizeNotice
from agent.domain.pilot import PilotState
from agent.domain.records import Recovered, StationRecord, StoredVariable
from agent.domain.transaction import TransactionLimit
from agent.domain.variables import ValueSource
from tests.core.rig import EVSE1, PRICED, TAG, Rig
from tests.core.test_view import charging, doing, granted, online, reboot

SOCKET = (EvseConfig(evse_id=EVSE1, is_tethered=False, has_lock=True),)
OTHER = IdToken("BEEF0002")
Step = Callable[[Rig], object]


def to(ms: int, *, reads: bool = True) -> Step:
    return lambda rig: rig.pass_ms(ms, reads=reads)


def fault(kind: FaultKind, detail: str = "", evse_id: EvseId | None = EVSE1) -> Step:
    return lambda rig: rig.apply(FaultRaised(evse_id, kind, detail))


def cleared(kind: FaultKind, evse_id: EvseId | None = EVSE1) -> Step:
    return lambda rig: rig.apply(FaultCleared(evse_id, kind))


def lost(rig: Rig) -> None:
    rig.apply(MeterLost(EVSE1, "no answer"))


def unanswered(rig: Rig) -> None:
    question = next(notice for notice in reversed(rig.sent()) if isinstance(notice, AuthorizeNotice))
    rig.apply(AuthorizationFailed(question.request_id, "no answer in 30 s"))


def refused_afterwards(rig: Rig) -> None:
    assert rig.evse.transaction is not None
    rig.apply(TransactionAnswered(rig.evse.transaction.transaction_id, info=IdTokenInfo(AuthorizationStatus.BLOCKED)))


def deaf(rig: Rig) -> None:
    rig.auto_report = False


def fallen(rig: Rig) -> None:
    good = rig.evse.reading
    assert good is not None
    rig.apply(MeterDiscontinuity(EVSE1, Discontinuity.RESET, good, replace(good, energy_wh=Decimal(7))))


def first_fall(rig: Rig) -> None:
    good = rig.evse.reading
    assert good is not None
    rig.apply(MeterDiscontinuity(EVSE1, Discontinuity.RESET, None, replace(good, energy_wh=Decimal(7))))


STORIES: dict[str, tuple[Callable[[], Rig], list[Step], list[str]]] = {
    "a session": (
        online,
        [Rig.plug, granted, Rig.ready, Rig.unplug, to(5_000)],
        [
            "ev_connected: ",
            "authorized: ",
            "transaction_started: register 1000000.4 Wh, trigger Authorized",
            "ev_disconnected: ",
            "stop_requested: reason EVDisconnected, at once",
            "transaction_ended: 0 Wh, register 1000000.6 Wh read after the contactor opened, reason EVDisconnected",
        ],
    ),
    "offline, from the cache": (
        lambda: doing(online(), granted, Rig.swipe, Rig.offline),
        [Rig.swipe],
        ["authorized: answered by the station"],
    ),
    "the token is given back": (
        lambda: granted(online()),
        [Rig.swipe],
        ["authorization_returned: the driver presented the token again before the start"],
    ),
    "the token is refused": (
        lambda: doing(online(), Rig.swipe),
        [lambda rig: rig.answer_authorize(AuthorizationStatus.BLOCKED)],
        ["token_refused: answer Blocked"],
    ),
    "no answer about the token": (
        lambda: doing(online(), Rig.swipe),
        [unanswered],
        ["authorize_failed: no answer in 30 s", "token_refused: answer Unknown"],
    ),
    "another token while one is served": (
        lambda: granted(online()),
        [lambda rig: rig.swipe(OTHER, EVSE1)],
        ["token_refused: another driver is being served"],
    ),
    "another token while it charges": (
        lambda: charging(online()),
        [lambda rig: rig.swipe(OTHER), Rig.answer_authorize],
        ["token_refused: the transaction belongs to another token"],
    ),
    "nobody plugs in": (lambda: granted(online()), [to(61_000)], ["connection_timeout: authorized, but no vehicle was connected in time"]),
    "the plug is not locked": (
        lambda: doing(online(evses=SOCKET), Rig.plug, deaf),
        [granted, to(6_000)],
        ["authorized: ", "! start_refused: the plug was not locked in time"],
    ),
    "the meter is lost before a start": (
        lambda: doing(granted(online()), lost),
        [Rig.plug],
        ["ev_connected: ", "! start_refused: the energy meter does not answer"],
    ),
    "a remote start": (
        online,
        [lambda rig: rig.command(RequestStart(id_token=TAG, evse_id=EVSE1))],
        ["remote_start: "],
    ),
    "a limit": (
        lambda: doing(online(), lambda rig: rig.command(RequestStart(id_token=TAG, limit=TransactionLimit(max_time_s=30))), Rig.plug),
        [to(30_000)],
        [
            "limit_reached: TimeLimitReached: what the driver agreed to",
            "stop_requested: reason TimeLimitReached",
            "transaction_ended: 0 Wh, register 1000000.4 Wh read after the contactor opened, reason TimeLimitReached",
        ],
    ),
    "a fault of the EVSE": (
        lambda: granted(online()),
        [
            fault(FaultKind.RCD_TRIPPED, "30 mA"),
            fault(FaultKind.RCD_TRIPPED, "30 mA"),
            cleared(FaultKind.RCD_TRIPPED),
            cleared(FaultKind.RCD_TRIPPED),
        ],
        ["! fault_raised: RcdTripped: 30 mA", "authorization_dropped: RcdTripped is present", "fault_cleared: RcdTripped"],
    ),
    "a fault of the station": (
        online,
        [
            fault(FaultKind.EMERGENCY_STOP, "button", None),
            fault(FaultKind.EMERGENCY_STOP, "button", None),
            cleared(FaultKind.EMERGENCY_STOP, None),
        ],
        ["! fault_raised: EmergencyStop button", "fault_cleared: EmergencyStop"],
    ),
    "two faults, and one goes": (
        lambda: doing(online(), fault(FaultKind.RCD_TRIPPED), fault(FaultKind.OVER_TEMPERATURE)),
        [cleared(FaultKind.DIODE_FAULT), cleared(FaultKind.RCD_TRIPPED)],
        ["fault_cleared: RcdTripped"],
    ),
    "the pilot is shorted": (
        online,
        [lambda rig: rig.pilot(PilotState.E), to(200), lambda rig: rig.pilot(PilotState.A), to(200)],
        ["! fault_raised: PilotFault: control pilot at 0 V: shorted, or the supply is lost", "fault_cleared: PilotFault"],
    ),
    "no air": (
        lambda: doing(online(), Rig.plug),
        [lambda rig: rig.pilot(PilotState.D), to(200)],
        ["! fault_raised: VentilationNotAvailable: the vehicle asks for ventilation and there is none"],
    ),
    "the supply fails and returns": (
        lambda: charging(online()),
        [fault(FaultKind.POWER_LOSS), to(1_000), cleared(FaultKind.POWER_LOSS), to(5_000)],
        ["! fault_raised: PowerLoss", "fault_cleared: PowerLoss", "power_returned: charging goes on, from X1"],
    ),
    "the meter is lost and found": (online, [lost, lost, to(1_000), to(1_000)], ["! meter_lost: no answer", "meter_recovered: "]),
    "the meter is lost while it charges": (
        lambda: charging(online()),
        [lost],
        ["! meter_lost: no answer", "! meter_lost_stop: policy on_meter_loss = stop", "stop_requested: reason Other"],
    ),
    "a policy gives the meter time": (
        lambda: charging(online(config={"on_meter_loss": MeterLossPolicy.STOP_AFTER, "meter_loss_timeout_s": 9})),
        [lost, to(8_000, reads=False), to(1_500, reads=False)],
        ["! meter_lost: no answer", "! meter_lost_stop: policy on_meter_loss = stop_after", "stop_requested: reason Other"],
    ),
    "the register falls": (
        lambda: doing(online(), Rig.plug, granted),
        [fallen],
        [
            "! meter_discontinuity: reset: register 1000000.4 Wh, then 7 Wh",
            "stop_requested: reason Other",
        ],
    ),
    "the register falls where none was good": (online, [first_fall], ["! meter_discontinuity: reset: register nothing, then 7 Wh"]),
    "the contactor is refused": (
        lambda: doing(online(), deaf, Rig.charge),
        [
            lambda rig: rig.apply(ContactorRefused(EVSE1, Interlock.NOT_LOCKED)),
            lambda rig: rig.apply(ContactorRefused(EVSE1, Interlock.NOT_LOCKED)),
        ],
        ["! contactor_refused: the plug is not locked"],
    ),
    "the vehicle does not let go": (
        lambda: charging(online()),
        [Rig.swipe, to(6_000)],
        ["stop_requested: reason Local", "! opened_under_load: the vehicle did not stop drawing in time"],
    ),
    "the token is refused afterwards": (
        lambda: charging(online()),
        [refused_afterwards],
        ["! deauthorized: the CSMS answered Blocked", "stop_requested: reason DeAuthorized"],
    ),
    "the disk": (
        online,
        [
            lambda rig: rig.apply(StoreFailed("full")),
            lambda rig: rig.apply(StoreFailed("full")),
            lambda rig: rig.apply(StoreRecovered()),
            lambda rig: rig.apply(StoreRecovered()),
        ],
        ["! storage_failed: full", "storage_recovered: "],
    ),
    "the link": (
        online,
        [Rig.offline, Rig.offline, lambda rig: rig.apply(LinkChanged(LinkState.PENDING)), Rig.online],
        [f"link: {LinkState.OFFLINE.value}", f"link: {LinkState.PENDING.value}", f"link: {LinkState.ACCEPTED.value}"],
    ),
    "the agent leaves": (
        lambda: charging(online()),
        [lambda rig: rig.apply(StopRequested())],
        ["stop_requested: reason Reboot", "leaving: stop requested; transactions stay open on disk"],
    ),
    "a stop while it leaves": (
        lambda: doing(charging(online()), lambda rig: rig.apply(StopRequested())),
        [Rig.swipe, Rig.swipe],
        ["stop_requested: reason Local"],
    ),
    "a reset": (online, [lambda rig: rig.command(Reset(kind=ResetKind.ON_IDLE))], ["reset_requested: OnIdle"]),
    "a setting is refused": (
        online,
        [
            lambda rig: rig.command(
                SetVariables(
                    assignments=(
                        VariableAssignment(key=key("Nothing.Here"), value="1"),
                        VariableAssignment(key=var.EV_CONNECTION_TIME_OUT, value="70"),
                        VariableAssignment(key=var.EV_CONNECTION_TIME_OUT, value="0"),
                    ),
                    source=ValueSource.CSMS,
                )
            )
        ],
        ["setting_refused: there is no component Nothing", "setting_refused: TxCtrlr.EVConnectionTimeOut = 0; allowed: 1 to 3600 s"],
    ),
    "another total": (
        lambda: doing(charging(online(values=PRICED)), Rig.unplug, to(5_000)),
        [lambda rig: rig.apply(TransactionAnswered(rig.notices()[0].transaction_id, total_cost=Decimal("1.00")))],
        ["! cost_differs: the portal bills 1.00, the station counted 5.35"],
    ),
    "goes on after a restart": (
        lambda: reboot(doing(online(), Rig.plug, granted)),
        [lambda rig: rig.pilot(PilotState.B), to(4_000)],
        ["transaction_resumed: register 1000000.4 Wh, stored 1000000.4 Wh"],
    ),
    "the vehicle is gone after a restart": (
        lambda: reboot(doing(online(), Rig.plug, granted)),
        [lambda rig: rig.pilot(PilotState.A), to(4_000)],
        [
            "ev_disconnected: ",
            "resume_refused: the vehicle is gone",
            "transaction_ended: 0 Wh, register 1000000.4 Wh read after the contactor opened, reason Reboot",
        ],
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_every_line_of_a_story(name: str) -> None:
    make, steps, expected = STORIES[name]
    rig = make()
    seen = len(rig.effects)
    doing(rig, *steps)
    told = [effect for effect in rig.effects[seen:] if isinstance(effect, Remark)]
    assert [f"{'! ' if one.is_warning else ''}{one.name}: {one.detail}" for one in told] == expected


def test_a_line_names_its_evse_and_transaction() -> None:
    rig = charging(online())
    assert rig.evse.transaction is not None
    started = next(effect for effect in rig.effects if isinstance(effect, Remark) and effect.name == "transaction_started")
    assert (started.evse_id, started.transaction_id) == (EVSE1, rig.evse.transaction.transaction_id)
    connected = next(effect for effect in rig.effects if isinstance(effect, Remark) and effect.name == "ev_connected")
    assert (connected.evse_id, connected.transaction_id) == (EVSE1, None)


def test_what_is_on_disk_and_not_allowed_any_more_is_dropped_with_a_warning() -> None:
    stored = (
        StoredVariable(key=var.EV_CONNECTION_TIME_OUT, value="0", source=ValueSource.CSMS),
        StoredVariable(key=var.TX_UPDATED_INTERVAL, value="77", source=ValueSource.CSMS),
    )
    rig = Rig(recovered=Recovered(station=StationRecord(was_accepted=True), variables=stored))
    told = [effect for effect in rig.effects if isinstance(effect, Remark)]
    assert [(one.name, one.is_warning) for one in told] == [("stored_variable_dropped", True), ("started", False)]
    assert told[-1].detail == "0 transaction(s) were open"
    assert rig.station.variables.integer(var.TX_UPDATED_INTERVAL) == 77
    assert rig.station.variables.integer(var.EV_CONNECTION_TIME_OUT) == 60
