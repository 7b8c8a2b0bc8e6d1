"""Whether a session may begin on an EVSE, and the word for why not."""

from dataclasses import replace

from agent.core.state import Evse, Phase, Station, Turn
from agent.domain.commands import ChangeAvailability, CommandStatus, StatusOutcome
from agent.domain.connector import OperationalStatus
from agent.domain.events import LinkState


def is_operative(station: Station, evse: Evse) -> bool:
    """Whether neither the station nor the EVSE was set inoperative."""
    inoperative = OperationalStatus.INOPERATIVE
    return station.record.operational_status is not inoperative and evse.record.operational_status is not inoperative


def start_blocker(station: Station, evse: Evse, *, for_started: bool = False) -> str | None:
    """Why no session may begin here now, None when one may. `for_started`: its own authorization does not stand in the way."""
    faults = (*evse.faults, *station.faults)
    checks = (
        (station.is_leaving, "the agent is stopping"),
        (station.reset is not None, "a reset is under way"),
        (station.storage_failure is not None, "the storage takes no records, and a session must be on disk before it begins"),
        (not station.record.was_accepted and not station.was_accepted_now, "no CSMS has accepted this station yet"),
        (bool(faults), f"fault {faults[0].kind}" if faults else ""),
        (evse.meter_lost_at is not None, "the energy meter does not answer"),
        (not is_operative(station, evse), "set inoperative by the CSMS"),
        (evse.phase not in {Phase.FREE, Phase.FINISHED}, "a transaction is running"),
        (evse.contactor_closed, "the contactor is reported closed"),
        (evse.authorization is not None and not for_started, "another driver is being served"),
    )
    return next((why for blocks, why in checks if blocks), None)


def startable(station: Station) -> list[Evse]:
    """Where a session may begin, the likeliest first: the vehicle plugged in last, a free place, and at the end one left from a session.

    A vehicle whose session has ended is somebody's already: a token for no EVSE in particular is not about it while there is another.
    """
    found = [evse for evse in station.evses if start_blocker(station, evse) is None]
    return sorted(
        found, key=lambda e: (e.phase is Phase.FINISHED, e.plugged_at is None, 0 if e.plugged_at is None else -e.plugged_at.mono_ms)
    )


def change(turn: Turn, command: ChangeAvailability) -> StatusOutcome:
    """Set the station or an EVSE operative or inoperative; a running transaction goes on and the change takes effect at its end."""
    station = turn.station
    if command.evse_id is None:
        evses = station.evses
        if station.record.operational_status is not command.operational_status:
            turn.station = replace(station, record=replace(station.record, operational_status=command.operational_status))
        # 1.6 4.5: connector 0 means the station and all its connectors.
        for evse in evses:
            _set(turn, evse, command.operational_status)
    else:
        found = station.evse(command.evse_id)
        if found is None:
            return StatusOutcome(status=CommandStatus.REJECTED, reason=f"there is no EVSE {command.evse_id}")
        evses = (found,)
        _set(turn, found, command.operational_status)
    waits = command.operational_status is OperationalStatus.INOPERATIVE and any(evse.has_transaction for evse in evses)
    return StatusOutcome(status=CommandStatus.SCHEDULED if waits else CommandStatus.ACCEPTED)


def _set(turn: Turn, evse: Evse, status: OperationalStatus) -> None:
    if evse.record.operational_status is not status:
        authorization = evse.authorization if status is OperationalStatus.OPERATIVE else None
        record = replace(evse.record, operational_status=status)
        turn.put(replace(evse, record=record, record_since=turn.at, authorization=authorization))


def is_registered(station: Station) -> bool:
    """Whether the present connection was accepted."""
    return station.link is LinkState.ACCEPTED
