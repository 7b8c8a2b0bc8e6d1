"""Recordings of what a rig's core did, as the engine gives them to the flight recorder."""

from pathlib import Path

from agent.core.station import new_station, step
from agent.core.variables import Variables, definitions
from agent.runtime.flight_file import SUFFIX, Entry, FlightWriter
from tests.core.rig import Rig, assign

KEY = b"a key for tests."


def entries_of(rig: Rig) -> list[Entry]:
    """Every event of a rig with the states and effects, decided anew."""
    variables = assign(Variables.of(definitions(evses=len(rig.evses), is_tethered=rig.evses[0].is_tethered)), rig.values)
    station = new_station(rig.station.config, variables, rig.log[0][1])
    entries: list[Entry] = []
    for event, at in rig.log:
        before = station
        station, effects = step(before, event, at)
        entries.append((event, at, before, station, effects, ""))
    return entries


def record(entries: list[Entry], directory: Path, *, cause: str = "", secrets: tuple[str, ...] = ()) -> Path:
    """A recording of them; with a cause it is a frozen one."""
    writer = FlightWriter(entries[0], key=KEY, secrets=secrets, cause=cause)
    path = directory / f"recorded{SUFFIX}"
    path.write_bytes(writer.block(entries, end=entries[-1][3] if cause else None))
    return path


def session() -> Rig:
    """A session from plug to unplug."""
    rig = Rig()
    rig.online()
    rig.charge()
    rig.pass_ms(90_000)
    rig.swipe()
    rig.pass_ms(10_000)
    rig.unplug()
    rig.pass_ms(2_000)
    return rig
