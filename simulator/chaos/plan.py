"""What happens in a run, drawn from its seed alone: the charger, and the visits that trouble pays to states of its session."""

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from simulator.faults import SimFault


class SessionState(StrEnum):
    """Where the session on the EVSE is, as the daemon's own state has it."""

    OFF = "off"
    """No daemon runs."""
    FREE = "free"
    AUTHORIZED = "authorized"
    """A card was shown, no vehicle yet."""
    PLUGGED = "plugged"
    STARTING = "starting"
    """Vehicle and card are there; answer, lock or register are awaited."""
    CONNECTING = "connecting"
    """The transaction runs, the vehicle has not asked for energy yet."""
    CHARGING = "charging"
    SUSPENDED = "suspended"
    STOPPING = "stopping"
    RECOVERING = "recovering"
    """A transaction of an earlier run waits for the register that ends it."""
    FINISHED = "finished"


class Trouble(StrEnum):
    """What is done to the charger, beside the faults of the simulated world."""

    NETWORK_CLOSE = "network_close"
    NETWORK_BLACKHOLE = "network_blackhole"
    NETWORK_REFUSE = "network_refuse"
    PORTAL_RESTART = "portal_restart"
    PORTAL_SLOW = "portal_slow"
    PORTAL_MUTE = "portal_mute"
    """What the charger sends takes effect, and is not answered."""
    PORTAL_DOUBLES = "portal_doubles"
    """Every answer comes twice."""
    PORTAL_ERRORS = "portal_errors"
    """What the charger sends takes effect, and is answered by a CALLERROR."""
    PORTAL_REFUSES = "portal_refuses"
    """Messages about transactions are refused by a CALLERROR, and take no effect."""
    DISK_SLOW = "disk_slow"
    """A commit takes up to seconds."""
    DISK_FAILS = "disk_fails"
    """The disk takes no commit."""
    CLOCK_FORWARD = "clock_forward"
    CLOCK_BACK = "clock_back"
    CLOCK_UNKNOWN = "clock_unknown"
    LEAVE = "leave"
    """SIGTERM, and a new start within the same boot."""
    LEAVE_REBOOT = "leave_reboot"
    CRASH = "crash"
    """SIGKILL at some instant, and a new start within the same boot."""
    CRASH_REBOOT = "crash_reboot"
    POWER_CUT = "power_cut"
    RESET_SOFT = "reset_soft"
    RESET_HARD = "reset_hard"
    UNPLUG = "unplug"
    REMOTE_STOP = "remote_stop"
    KNOWN_CARD = "known_card"
    UNKNOWN_CARD = "unknown_card"


Kind = Trouble | SimFault

KINDS: Final[tuple[Kind, ...]] = (*Trouble, *SimFault)
RUNNING: Final = tuple(state for state in SessionState if state is not SessionState.OFF)
NEEDS_DAEMON: Final = frozenset(
    (
        Trouble.LEAVE,
        Trouble.LEAVE_REBOOT,
        Trouble.CRASH,
        Trouble.CRASH_REBOOT,
        Trouble.POWER_CUT,
        Trouble.RESET_SOFT,
        Trouble.RESET_HARD,
        Trouble.REMOTE_STOP,
    )
)
"""What cannot happen to a daemon that does not run."""
PAIRS: Final[tuple[tuple[SessionState, Kind], ...]] = tuple(
    (state, kind) for kind in KINDS for state in SessionState if state is not SessionState.OFF or kind not in NEEDS_DAEMON
)
"""Every state of the session with everything that can happen in it."""
VISITS: Final = 6
_STRIDE: Final = 197
"""Prime to the number of pairs, so that neighbouring seeds visit different kinds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One trouble in one state of the session. `seed` is all the chance there is in it; `number` is its place in the plan."""

    number: int
    state: SessionState
    kind: Kind
    seed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run."""

    seed: int
    version: str
    has_lock: bool
    visits: tuple[Visit, ...]


def plan(seed: int, only: tuple[int, ...] | None = None) -> Plan:
    """Draw a run. Consecutive seeds go through all pairs of state and trouble in turn; `only` keeps some visits, as minimising wants."""
    chance = random.Random(f"plan/{seed}")
    version, has_lock = chance.choice(("1.6", "2.0.1")), chance.random() < 0.5
    visits = []
    for number in range(VISITS):
        state, kind = PAIRS[(seed * VISITS + number) * _STRIDE % len(PAIRS)]
        visits.append(Visit(number=number, state=state, kind=kind, seed=f"{seed}/{number}"))
    chance.shuffle(visits)
    kept = tuple(visit for visit in visits if only is None or visit.number in only)
    return Plan(seed=seed, version=version, has_lock=has_lock, visits=kept)
