"""Why it does not charge: in every state the condition that blocks, since when, and a cure; before a charge and after it."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from agent.core import variables as var
from agent.core.evse import REFUSAL_MS
from agent.core.state import EvseConfig, MeterLossPolicy
from agent.core.why import Condition, blocker, chain
from agent.domain.authorization import AuthorizationStatus, IdTokenInfo
from agent.domain.commands import ChangeAvailability, Reset, ResetKind
from agent.domain.connector import FaultKind, OperationalStatus
from agent.domain.events import (
    FaultRaised,
    LinkChanged,
    LinkState,
    LockReported,
    MeterLost,
    StopRequested,
    StoreFailed,
    TransactionAnswered,
)
from agent.domain.ids import EvseId
from agent.domain.pilot import PilotState
from agent.domain.records import Recovered, StationRecord
from agent.domain.time import Instant
from tests.core.rig import EVSE1, PRICED, TAG, Rig
from tests.core.test_view import charging, doing, granted, online, reboot, selling

SOCKET = (EvseConfig(evse_id=EVSE1, is_tethered=False, has_lock=True),)
NEW = Recovered(station=StationRecord(was_accepted=False))

Step = Callable[[Rig], object]


def condition(rig: Rig, name: str) -> Condition:
    return next(one for one in chain(rig.station, EVSE1, rig.at) if one.name == name)


def wait(rig: Rig) -> None:
    """So that `since` is another moment than before and after."""
    rig.pass_ms(3_000)


def fault(kind: FaultKind, detail: str = "", evse_id: EvseId | None = EVSE1) -> Step:
    return lambda rig: rig.apply(FaultRaised(evse_id, kind, detail))


def link(state: LinkState) -> Step:
    return lambda rig: rig.apply(LinkChanged(state))


def silent(rig: Rig) -> None:
    rig.apply(MeterLost(EVSE1, "no answer"))


def inoperative(evse_id: EvseId | None) -> Step:
    return lambda rig: rig.command(ChangeAvailability(operational_status=OperationalStatus.INOPERATIVE, evse_id=evse_id))


def without_report(rig: Rig) -> None:
    rig.auto_report = False


def deauthorized(rig: Rig) -> None:
    assert rig.evse.transaction is not None
    rig.apply(TransactionAnswered(rig.evse.transaction.transaction_id, info=IdTokenInfo(AuthorizationStatus.BLOCKED)))


def of(make: Callable[..., Rig] = online, *steps: Step, **values: object) -> Callable[[], Rig]:
    return lambda: doing(make(**values), *steps)


BLOCKED: dict[str, tuple[Callable[[], Rig], Step, str, str, str]] = {
    "leaving": (of(), lambda rig: rig.apply(StopRequested()), "agent", "the agent is stopping", "systemctl start"),
    "reset": (of(), lambda rig: rig.command(Reset(kind=ResetKind.ON_IDLE)), "agent", "a OnIdle reset", "wait"),
    "fault": (of(), fault(FaultKind.RCD_TRIPPED, "30 mA"), "hardware", "fault RcdTripped: 30 mA", "reset the RCD"),
    "fault of the station": (of(), fault(FaultKind.EMERGENCY_STOP, evse_id=None), "hardware", "fault EmergencyStop", "release"),
    "fault without a cure of its own": (of(), fault(FaultKind.DIODE_FAULT), "hardware", "fault DiodeFault", "look at the hardware"),
    "disk": (of(), lambda rig: rig.apply(StoreFailed("disk full")), "storage", "disk full", "free space"),
    "meter": (of(), silent, "meter", "no answer", "wiring"),
    "inoperative": (of(), inoperative(EVSE1), "availability", "this EVSE was set", "portal"),
    "station inoperative": (of(), inoperative(None), "availability", "the station was set", "portal"),
    "pending": (of(), link(LinkState.PENDING), "portal", "Pending", "serial number"),
    "rejected": (of(), link(LinkState.REJECTED), "portal", "Rejected", "identity"),
    "no vehicle after one": (of(online, Rig.plug, wait), Rig.unplug, "vehicle", "no vehicle", "plug in"),
    "nobody": (of(), Rig.plug, "authorization", "nobody is authorized", "present a token; 'charge with QR' is off"),
    "nobody, and it is sold": (of(selling), Rig.plug, "authorization", "nobody is authorized", ", or scan the code and pay"),
    "sold without a price": (
        of(online, values={var.WEB_PAYMENTS_ENABLED: "true"}),
        Rig.plug,
        "authorization",
        "nobody is authorized",
        "; to sell charging, set a price",
    ),
    "asked": (of(online, Rig.plug, wait), Rig.swipe, "authorization", "has not answered", "wait for its answer"),
    "refused": (
        of(online, Rig.plug, Rig.swipe, wait),
        lambda rig: rig.answer_authorize(AuthorizationStatus.BLOCKED),
        "authorization",
        "the last token was refused",
        "another token",
    ),
    "token refused afterwards": (
        lambda: charging(online(values={var.STOP_TX_ON_INVALID_ID: "false"})),
        deauthorized,
        "offer",
        "the CSMS refused the token",
        "accepts",
    ),
    "stopping": (lambda: charging(online()), Rig.swipe, "transaction", "being stopped, reason Local, step ramp_down", "wait"),
    "ended": (
        lambda: doing(charging(online()), Rig.swipe, lambda rig: rig.pass_ms(9_000)),
        lambda rig: rig.pass_ms(0),
        "authorization",
        "nobody is authorized",
        "present a token",
    ),
    "vehicle pauses": (
        lambda: charging(online()),
        lambda rig: rig.pilot(PilotState.B),
        "vehicle ready",
        "does not ask for energy (pilot state B)",
        "vehicle",
    ),
}


@pytest.mark.parametrize("name", BLOCKED)
def test_what_blocks_is_named_with_its_moment_and_a_cure(name: str) -> None:
    make, happen, condition_name, text, cure = BLOCKED[name]
    rig = make()
    wait(rig)
    before = rig.at
    happen(rig)
    after = rig.at
    if name not in {"stopping", "vehicle pauses"}:
        rig.pass_ms(3_000, reads=False)
    found = blocker(rig.station, EVSE1, rig.at)
    assert found is not None
    assert found.name == condition_name
    assert text in found.text
    assert cure in found.cure
    assert found.since is not None
    if name != "ended":
        assert before.mono_ms <= found.since.mono_ms <= after.mono_ms


def passes(rig: Rig) -> list[str]:
    return [one.name for one in chain(rig.station, EVSE1, rig.at) if one.holds]


NAMES = ["agent", "hardware", "storage", "meter", "availability", "portal", "vehicle", "authorization"]
NAMES += ["transaction", "offer", "vehicle ready", "lock", "contactor"]


def test_while_energy_flows_everything_holds_and_needs_no_cure() -> None:
    for evses in ((EvseConfig(evse_id=EVSE1),), SOCKET):
        rig = charging(online(evses=evses))
        found = chain(rig.station, EVSE1, rig.at)
        assert [one.name for one in found] == NAMES
        assert all(one.holds and not one.cure for one in found)
        assert blocker(rig.station, EVSE1, rig.at) is None
        assert condition(rig, "lock").text == ("locked" if evses is SOCKET else "fixed cable, no lock")
        assert rig.evse.transaction is not None
        assert condition(rig, "transaction").since == rig.evse.transaction.started_at
        assert condition(rig, "offer").text == "32 A per phase are offered"


@pytest.mark.parametrize(
    ("make", "name", "holds"),
    [
        pytest.param(of(), "vehicle", False, id="free"),
        pytest.param(of(online, Rig.plug), "vehicle", True, id="plugged"),
        pytest.param(of(), "authorization", False, id="nobody"),
        pytest.param(of(online, granted), "authorization", True, id="granted"),
        pytest.param(of(), "lock", True, id="fixed cable"),
        pytest.param(of(online, evses=SOCKET), "lock", False, id="open socket"),
        pytest.param(of(online, lambda rig: rig.apply(LockReported(EVSE1, is_locked=True)), evses=SOCKET), "lock", True, id="shut socket"),
        pytest.param(of(), "offer", False, id="nothing offered"),
        pytest.param(of(online, Rig.plug, granted), "offer", True, id="offered"),
        pytest.param(of(online, Rig.plug, granted), "vehicle ready", False, id="not ready"),
        pytest.param(of(online, Rig.plug, granted), "contactor", False, id="open"),
        pytest.param(of(online, Rig.offline), "portal", True, id="offline, but known"),
        pytest.param(lambda: Rig(recovered=NEW), "portal", False, id="never connected"),
        pytest.param(Rig, "meter", False, id="not read yet"),
        pytest.param(
            lambda: doing(charging(online(config={"on_meter_loss": MeterLossPolicy.CONTINUE})), silent),
            "meter",
            True,
            id="a policy lets it go on",
        ),
        pytest.param(
            lambda: doing(charging(online()), lambda rig: rig.apply(StoreFailed("full"))), "storage", True, id="a running one goes on"
        ),
        pytest.param(lambda: doing(charging(online()), fault(FaultKind.READER_FAILURE)), "hardware", True, id="no reason to open"),
        pytest.param(lambda: doing(charging(online()), fault(FaultKind.RCD_TRIPPED)), "hardware", False, id="a reason to open"),
        pytest.param(lambda: reboot(charging(online())), "transaction", False, id="waits to go on"),
    ],
)
def test_what_holds(make: Callable[[], Rig], name: str, *, holds: bool) -> None:
    found = condition(make(), name)
    assert found.holds is holds
    assert bool(found.cure) is (not holds or name in {"meter", "storage"})


def test_a_transaction_that_is_to_go_on_says_what_it_waits_for() -> None:
    rig = reboot(charging(online()))
    rig.pass_ms(500, reads=False)
    assert "waits: the meter was not read yet" in condition(rig, "transaction").text
    assert condition(rig, "authorization").holds
    rig.apply(StoreFailed("full"))
    assert "waits: the storage takes no records" in condition(rig, "transaction").text


def test_a_session_that_has_ended_is_told_as_ended() -> None:
    rig = doing(charging(online()), Rig.swipe, lambda rig: rig.pass_ms(9_000))
    assert rig.evse.receipt is not None
    found = condition(rig, "transaction")
    assert (found.text, found.since) == ("the session has ended", rig.evse.receipt.ended_at)
    assert "unplug" in found.cure
    rig.unplug()
    wait(rig)
    found = condition(rig, "transaction")
    assert found.text == "none yet"
    assert found.since == rig.evse.unplugged_at


@pytest.mark.parametrize("name", ["vehicle", "authorization", "transaction", "offer", "lock"])
def test_where_nothing_has_happened_it_is_so_since_the_start(name: str) -> None:
    rig = Rig(evses=SOCKET, first_ms=5_000)
    wait(rig)
    assert condition(rig, name).since == Instant("boot-1", 5_000, rig.evse.record_since.utc)


def test_a_driver_who_was_too_late_reads_when() -> None:
    rig = granted(online())
    rig.pass_ms(61_000)
    found = condition(rig, "authorization")
    assert (found.text, found.holds) == ("the last try timed out", False)
    assert rig.evse.refusal_until is not None
    assert found.since == rig.evse.refusal_until.plus_ms(-REFUSAL_MS)
    rig.pass_ms(10_000)
    assert condition(rig, "authorization").text == "nobody is authorized"


def test_an_evse_that_is_not_there_is_answered_with_those_that_are() -> None:
    rig = online()
    with pytest.raises(LookupError, match=r"there is no EVSE 7; there are 1$"):
        chain(rig.station, EvseId(7), rig.at)


def test_the_first_that_blocks_is_the_first_of_the_chain() -> None:
    rig = doing(online(), silent, fault(FaultKind.RCD_TRIPPED))
    found = blocker(rig.station, EVSE1, rig.at)
    assert found is not None
    assert found.name == "hardware"
    assert [name for name in NAMES if name not in passes(rig)][:2] == ["hardware", "meter"]


def test_the_station_s_own_evse_faults_come_before_the_station_s() -> None:
    rig = doing(online(), fault(FaultKind.EMERGENCY_STOP, evse_id=None), fault(FaultKind.RCD_TRIPPED))
    assert condition(rig, "hardware").text == "fault RcdTripped"


def test_a_session_priced_for_the_driver_needs_no_card() -> None:
    rig = online(values={**PRICED, var.WEB_PAYMENTS_ENABLED: "true"})
    rig.swipe(TAG)
    assert condition(rig, "authorization").since == rig.at
    assert replace(condition(rig, "authorization"), since=None).text.startswith("the CSMS was asked")
