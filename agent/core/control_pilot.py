"""Control-pilot machine: debounces what the hardware reads. C is left at once and entered slowly (IEC 61851-1 A.3, sequences 3 and 8)."""

from dataclasses import replace

from agent.domain.pilot import PilotState
from agent.domain.time import Instant
from agent.domain.values import dataclass

DEBOUNCE_MS = {PilotState.A: 25, PilotState.B: 100, PilotState.C: 100, PilotState.D: 100, PilotState.E: 100, PilotState.F: 100}
"""How long a new level has to stand before it counts. Leaving C or D counts at once, whatever comes after."""

READY = frozenset({PilotState.C, PilotState.D})
CONNECTED = frozenset({PilotState.B, PilotState.C, PilotState.D})


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPilot:
    """`state` is the debounced state, None until the first level was read; `raw` is the level now, `raw_since` since when."""

    state: PilotState | None = None
    raw: PilotState | None = None
    raw_since: Instant | None = None

    @property
    def is_connected(self) -> bool:
        """Whether a vehicle is on the cable."""
        return self.state in CONNECTED

    @property
    def is_ready(self) -> bool:
        """Whether the vehicle asks for energy, now and debounced."""
        return self.state in READY and self.raw in READY


def measured(pilot: ControlPilot, raw: PilotState, at: Instant) -> ControlPilot:
    """Take a new level in."""
    if pilot.state is None:
        return ControlPilot(state=raw, raw=raw, raw_since=at)
    if raw is pilot.raw:
        return pilot
    pilot = replace(pilot, raw=raw, raw_since=at)
    if pilot.state in READY and raw not in READY:
        # Energy off never waits: the vehicle is at least not ready any more. A, E and F are still debounced from here.
        return replace(pilot, state=PilotState.B)
    return pilot


def settled(pilot: ControlPilot, at: Instant) -> ControlPilot:
    """The pilot at a later moment: a level that stood long enough becomes the state."""
    due = deadline(pilot)
    if due is not None and at.ms_since(due) >= 0:
        return replace(pilot, state=pilot.raw)
    return pilot


def deadline(pilot: ControlPilot) -> Instant | None:
    """When the present level becomes the state, None when it is already."""
    if pilot.raw is None or pilot.raw_since is None or pilot.raw is pilot.state:
        return None
    return pilot.raw_since.plus_ms(DEBOUNCE_MS[pilot.raw])
