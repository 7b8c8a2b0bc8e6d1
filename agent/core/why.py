"""Why does it not charge? The chain of conditions of one EVSE, the one that blocks, since when, and the cure."""

from agent.core import availability, recovery, transactions
from agent.core import variables as var
from agent.core.evse import REFUSAL_MS
from agent.core.state import AuthorizationState, Evse, Phase, Station, Turn
from agent.domain.connector import OperationalStatus
from agent.domain.events import LinkState
from agent.domain.ids import EvseId
from agent.domain.interlock import NOT_INTERLOCKING
from agent.domain.pilot import PilotSignal
from agent.domain.time import Instant
from agent.domain.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One condition of the chain. `since`: when it came to be as it is, None where that is not known. `cure`: empty while it holds."""

    name: str
    holds: bool
    text: str
    since: Instant | None = None
    cure: str = ""


def chain(station: Station, evse_id: EvseId, at: Instant) -> tuple[Condition, ...]:
    """Every condition before energy flows, in the order in which they are decided. Raises LookupError for an unknown EVSE."""
    evse = station.evse(evse_id)
    if evse is None:
        msg = f"there is no EVSE {evse_id}; there are {', '.join(str(e.evse_id) for e in station.evses)}"
        raise LookupError(msg)
    return (
        _process(station),
        _fault(station, evse),
        _storage(station, evse),
        _meter(evse),
        _availability(station, evse),
        _registration(station, at),
        _vehicle(evse),
        _authorization(station, evse),
        _transaction(station, evse, at),
        _offer(evse),
        _ready(evse),
        _lock(evse),
        _contactor(evse),
    )


def blocker(station: Station, evse_id: EvseId, at: Instant) -> Condition | None:
    """The first condition that does not hold, None while energy may flow."""
    return next((condition for condition in chain(station, evse_id, at) if not condition.holds), None)


def _process(station: Station) -> Condition:
    if station.is_leaving:
        cure = "start the service: systemctl start charger-agent"
        return Condition(name="agent", holds=False, text="the agent is stopping", since=station.left_since, cure=cure)
    if station.reset is not None:
        text = f"a {station.reset.value} reset is under way"
        cure = "wait; it restarts when every transaction has ended"
        return Condition(name="agent", holds=False, text=text, since=station.left_since, cure=cure)
    return Condition(name="agent", holds=True, text="running")


def _fault(station: Station, evse: Evse) -> Condition:
    faults = (*evse.faults, *station.faults)
    if evse.has_transaction:
        # What only forbids a new session does not keep this one from charging.
        faults = tuple(fault for fault in faults if fault.kind not in NOT_INTERLOCKING)
    for fault in faults:
        cure = _FAULT_CURES.get(fault.kind.value, "look at the hardware that reports it; the fault clears by itself when the hardware does")
        text = f"fault {fault.kind}" + (f": {fault.detail}" if fault.detail else "")
        return Condition(name="hardware", holds=False, text=text, since=fault.since, cure=cure)
    return Condition(name="hardware", holds=True, text="no fault")


_FAULT_CURES = {
    "ContactorWelded": "disconnect the supply and replace the contactor; do not charge",
    "ContactorDidNotClose": "check the coil supply and the mirror contact",
    "EmergencyStop": "release the emergency stop",
    "RcdTripped": "find the earth leakage in vehicle or cable, then unplug and reset the RCD",
    "PilotFault": "unplug; if the fault stays with no vehicle, check the pilot wire for a short to PE",
    "VentilationNotAvailable": "this vehicle needs a ventilated place; it cannot charge here",
    "PowerLoss": "nothing, when the supply is back; if it stays, check the board's supply and the wiring of its power-fail input",
    "HalLost": "check the cable to the safety controller and its supply",
    "OverTemperature": "let it cool down; check the terminals for loose screws",
}


def _storage(station: Station, evse: Evse) -> Condition:
    if station.storage_failure is None:
        return Condition(name="storage", holds=True, text="records are written")
    return Condition(
        name="storage",
        holds=evse.has_transaction,
        text=station.storage_failure,
        since=station.storage_failed_at,
        cure="free space on, or remount, the file system of [store] directory; sessions begin again by themselves",
    )


def _meter(evse: Evse) -> Condition:
    if evse.meter_lost_at is not None:
        cure = "check the meter's wiring, address and baud rate: chargerctl meter"
        holds = evse.phase is Phase.TRANSACTION  # a policy lets it go on, marked
        return Condition(name="meter", holds=holds, text=evse.meter_lost_reason, since=evse.meter_lost_at, cure=cure)
    if evse.reading is None:
        cure = "wait a few seconds; then chargerctl meter"
        return Condition(name="meter", holds=False, text="the meter was not read yet", since=evse.record_since, cure=cure)
    return Condition(name="meter", holds=True, text=f"register {evse.reading.energy_wh} Wh")


def _availability(station: Station, evse: Evse) -> Condition:
    if availability.is_operative(station, evse):
        return Condition(name="availability", holds=True, text="operative")
    whole = station.record.operational_status is OperationalStatus.INOPERATIVE
    text = "the station was set inoperative by the CSMS" if whole else "this EVSE was set inoperative by the CSMS"
    return Condition(name="availability", holds=False, text=text, since=evse.record_since, cure="set it operative in the portal")


def _registration(station: Station, at: Instant) -> Condition:
    del at
    if station.is_online:
        return Condition(name="portal", holds=True, text="connected and accepted", since=station.link_since)
    if station.link is LinkState.PENDING:
        cure = "add this charger in the portal with its serial number and UID"
        return Condition(name="portal", holds=False, text="the portal answers Pending", since=station.link_since, cure=cure)
    if station.link is LinkState.REJECTED:
        cure = "the portal refuses this station: check its identity and that it was not removed"
        return Condition(name="portal", holds=False, text="the portal answers Rejected", since=station.link_since, cure=cure)
    if station.record.was_accepted:
        # Known tokens may charge offline, so this alone does not block.
        return Condition(name="portal", holds=True, text="not connected; known tokens only", since=station.link_since)
    cure = "check network, [ocpp] url and the portal: chargerctl status names the last error"
    return Condition(name="portal", holds=False, text="never connected to the portal", since=station.link_since, cure=cure)


def _vehicle(evse: Evse) -> Condition:
    if evse.plugged_at is not None:
        return Condition(name="vehicle", holds=True, text=f"connected, pilot state {evse.pilot.state}", since=evse.plugged_at)
    return Condition(name="vehicle", holds=False, text="no vehicle is connected", since=_idle_since(evse), cure="plug in")


def _idle_since(evse: Evse) -> Instant:
    """The last time that something changed on an EVSE where nothing happens: plug, unplug, end of a session, or the start of the agent."""
    changes = (evse.record_since, evse.plugged_at, evse.unplugged_at, None if evse.receipt is None else evse.receipt.ended_at)
    here = [moment for moment in changes if moment is not None and moment.boot_id == evse.record_since.boot_id]
    return max(here, key=lambda moment: moment.mono_ms)


def _authorization(station: Station, evse: Evse) -> Condition:
    if evse.has_transaction:
        return Condition(name="authorization", holds=True, text="authorized")
    authorization = evse.authorization
    if authorization is None:
        if evse.refusal is not None:
            text = "the last token was refused" if evse.refusal.value == "token_refused" else "the last try timed out"
            since = None if evse.refusal_until is None else evse.refusal_until.plus_ms(-REFUSAL_MS)
            return Condition(name="authorization", holds=False, text=text, since=since, cure="present another token, or pay")
        public = station.variables.boolean(var.WEB_PAYMENTS_ENABLED)
        cure = "present a token"
        if public and transactions.current_tariff(station.variables) is None:
            cure += "; to sell charging, set a price in the portal"
        elif public:
            cure += ", or scan the code and pay"
        else:
            cure += "; 'charge with QR' is off in the portal"
        return Condition(name="authorization", holds=False, text="nobody is authorized", since=_idle_since(evse), cure=cure)
    if authorization.state is AuthorizationState.PENDING:
        text = "the CSMS was asked about the token and has not answered"
        return Condition(name="authorization", holds=False, text=text, since=authorization.since, cure="wait for its answer")
    return Condition(name="authorization", holds=True, text="authorized", since=authorization.since)


def _transaction(station: Station, evse: Evse, at: Instant) -> Condition:
    if evse.phase is Phase.TRANSACTION and evse.transaction is not None:
        return Condition(name="transaction", holds=True, text="running", since=evse.transaction.started_at)
    if evse.phase is Phase.STOPPING and evse.stop is not None:
        text = f"being stopped, reason {evse.stop.reason}, step {evse.stop.stage}"
        return Condition(name="transaction", holds=False, text=text, since=evse.stop.requested_at, cure="wait for it to end")
    if evse.phase is Phase.RECOVERING:
        text = "a transaction of before the restart waits for the register that ends it"
        if evse.may_resume:
            missing = recovery.waits_for(Turn(station, at), evse) or "the meter was not read yet"
            text = f"a transaction of before the restart is to go on, and waits: {missing}"
        since = None if evse.stop is None else evse.stop.requested_at
        return Condition(name="transaction", holds=False, text=text, since=since, cure="wait, or see to it that the meter answers")
    if evse.phase is Phase.FINISHED:
        text, cure = "the session has ended", "unplug, or authorize again"
        return Condition(name="transaction", holds=False, text=text, since=_idle_since(evse), cure=cure)
    return Condition(name="transaction", holds=False, text="none yet", since=_idle_since(evse), cure="plug in and authorize")


def _offer(evse: Evse) -> Condition:
    if evse.output.signal is PilotSignal.PWM:
        return Condition(name="offer", holds=True, text=f"{evse.output.amps} A per phase are offered")
    if evse.suspended_reason is not None:
        text, cure = "suspended: the CSMS refused the token afterwards", "unplug, and present a token that the portal accepts"
        return Condition(name="offer", holds=False, text=text, since=evse.suspended_at, cure=cure)
    return Condition(name="offer", holds=False, text="nothing is offered (X1)", since=_idle_since(evse), cure="see the conditions above")


def _ready(evse: Evse) -> Condition:
    if evse.pilot.is_ready:
        return Condition(name="vehicle ready", holds=True, text=f"pilot state {evse.pilot.state}")
    text = f"the vehicle does not ask for energy (pilot state {evse.pilot.state})"
    cure = "the vehicle is full, asleep or waits for its own timer: look at the vehicle's settings, or unplug and plug in again"
    return Condition(name="vehicle ready", holds=False, text=text, since=evse.pilot.raw_since or _idle_since(evse), cure=cure)


def _lock(evse: Evse) -> Condition:
    if not evse.config.has_lock or evse.is_locked:
        return Condition(name="lock", holds=True, text="locked" if evse.config.has_lock else "fixed cable, no lock")
    cure = "push the plug in; if it stays, check the lock"
    return Condition(name="lock", holds=False, text="the plug is not locked", since=_idle_since(evse), cure=cure)


def _contactor(evse: Evse) -> Condition:
    if evse.contactor_closed:
        return Condition(name="contactor", holds=True, text="closed")
    cure = "see events: chargerctl events; the guard names its reason"
    return Condition(name="contactor", holds=False, text="open", since=evse.pilot.raw_since or _idle_since(evse), cure=cure)
