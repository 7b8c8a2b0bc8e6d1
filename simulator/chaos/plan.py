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


class RealTrouble(StrEnum):
    """What only a real process can meet."""

    STOPPED = "stopped"
    """SIGSTOP, and SIGCONT some time later."""
    KILLED_AT_START = "killed_at_start"
    """SIGKILL, and again while it starts and recovers."""


Kind = Trouble | SimFault | RealTrouble

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
IMPOSSIBLE: Final = ("in state off there is no daemon that could be killed, stopped, reset, or told by the portal to end a session",)
"""Why a pair of state and trouble is not in the table."""
PAIRS: Final[tuple[tuple[SessionState, Kind], ...]] = tuple(
    (state, kind) for kind in KINDS for state in SessionState if state is not SessionState.OFF or kind not in NEEDS_DAEMON
)
"""Every state of the session with everything that can happen in it."""
VISITS: Final = 6
CRASHES: Final = frozenset((Trouble.CRASH, Trouble.CRASH_REBOOT, Trouble.POWER_CUT))
QUIET: Final[tuple[Kind, ...]] = (
    Trouble.NETWORK_CLOSE,
    Trouble.NETWORK_BLACKHOLE,
    Trouble.NETWORK_REFUSE,
    Trouble.PORTAL_SLOW,
    Trouble.PORTAL_MUTE,
    Trouble.PORTAL_DOUBLES,
    Trouble.PORTAL_ERRORS,
    Trouble.PORTAL_REFUSES,
    Trouble.DISK_SLOW,
    Trouble.DISK_FAILS,
    Trouble.CLOCK_FORWARD,
    Trouble.CLOCK_BACK,
    Trouble.CLOCK_UNKNOWN,
    SimFault.METER_SILENT,
    SimFault.METER_EXCEPTION,
    SimFault.METER_FROZEN,
    SimFault.METER_NAN,
    SimFault.METER_WORD_SWAP,
    SimFault.METER_ENERGY_WORDS,
    SimFault.METER_NEGATIVE,
    SimFault.METER_RESET,
    SimFault.METER_JUMP,
    SimFault.METER_SWAP,
    SimFault.READER_FAILURE,
)
"""Trouble that leaves the session where it is for the moment: it comes first, and the visit's other trouble finds it there."""
LOUD: Final = tuple(pair for pair in PAIRS if pair[1] not in QUIET)
_HARD: Final = frozenset((SessionState.STARTING, SessionState.CONNECTING, SessionState.STOPPING, SessionState.RECOVERING))
_ROUND: Final = (
    *LOUD,
    *(pair for pair in LOUD if pair[1] in CRASHES),
    *(pair for pair in LOUD if pair[1] in CRASHES and pair[0] in _HARD),
)
"""What consecutive visits go through. A kill comes at some instant after the state was reached, so it misses that more often."""
_STRIDE: Final = 197
"""Prime to the length of the round, so that neighbouring seeds visit different kinds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """Two troubles in one state of the session. `seed` is all the chance there is in it; `number` is its place in the plan."""

    number: int
    state: SessionState
    first: Kind
    """Quiet."""
    kind: Kind
    seed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run."""

    seed: int
    version: str
    has_lock: bool
    power_loss_policy: str
    read_every_s: float
    """How often the meter is read: the product's second costs the machine most of its time."""
    visits: tuple[Visit, ...]


def plan(seed: int, only: tuple[int, ...] | None = None) -> Plan:
    """Draw a run. Consecutive seeds go through all pairs of state and trouble in turn; `only` keeps some visits, as minimising wants."""
    chance = random.Random(f"plan/{seed}")
    version, has_lock = chance.choice(("1.6", "2.0.1")), chance.random() < 0.5
    policy = chance.choice(("stop", "resume", "resume_if_same_ev_within"))
    read_every_s = 1.0 if chance.random() < 0.2 else 2.0
    visits = []
    for number in range(VISITS):
        turn, place = divmod(seed * VISITS + number, len(_ROUND))
        place = place * _STRIDE % len(_ROUND)
        state, kind = _ROUND[place]
        first = QUIET[(place + turn) % len(QUIET)]
        visits.append(Visit(number=number, state=state, first=first, kind=kind, seed=f"{seed}/{number}"))
    chance.shuffle(visits)
    kept = tuple(visit for visit in visits if only is None or visit.number in only)
    return Plan(seed=seed, version=version, has_lock=has_lock, power_loss_policy=policy, read_every_s=read_every_s, visits=kept)
