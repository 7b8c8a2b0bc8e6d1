"""What a hardware driver offers. A driver reports through `HalSink` and is commanded through small ports; it never decides about charging.

Every method of a port is non-blocking and returns at once: what became of it is reported as an event. `open` and `renew_permission` are
also thread-safe, because the guard calls them from its own thread while the event loop may be stuck.
"""

import socket
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from agent.domain.authorization import IdToken
from agent.domain.connector import FaultKind
from agent.domain.ids import EvseId
from agent.domain.pilot import PilotOutput, PilotState
from agent.domain.screen import StationView
from agent.domain.values import dataclass


class HalSink(Protocol):
    """Where a driver reports, on the event loop's thread only. The contactor and pilot reports are what the guard's interlock looks at."""

    def pilot_measured(self, evse_id: EvseId, state: PilotState) -> None:
        """The pilot's level, at every change, and once at the start."""

    def contactor_reported(self, evse_id: EvseId, *, is_closed: bool) -> None:
        """The mirror contact, at every change, and once at the start."""

    def lock_reported(self, evse_id: EvseId, *, is_locked: bool) -> None:
        """The lock's feedback, at every change, and once at the start where there is a lock."""

    def fault_changed(self, evse_id: EvseId | None, fault: FaultKind, *, is_present: bool, detail: str = "") -> None:
        """A fault of the hardware came or went."""

    def id_token_presented(self, evse_id: EvseId | None, id_token: IdToken) -> None:
        """A reader read a token."""


class PilotPort(Protocol):
    """The station's side of the control pilot."""

    def set_output(self, output: PilotOutput) -> None:
        """Put a signal on the pilot."""


class ContactorPort(Protocol):
    """The contactor and the permission that its hardware wants renewed."""

    def close(self) -> None:
        """Ask for a closed contactor. The hardware closes only while its permission lives."""

    def open(self) -> None:
        """Open now. Thread-safe."""

    def renew_permission(self) -> None:
        """Let the hardware's permission live for another period. Thread-safe; does nothing where the hardware has no such timer."""


class LockPort(Protocol):
    """The plug lock of a socket outlet."""

    def lock(self) -> None:
        """Drive the bolt in."""

    def unlock(self) -> None:
        """Drive the bolt out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvsePorts:
    """One EVSE's hardware. `lock` is None with a fixed cable."""

    pilot: PilotPort
    contactor: ContactorPort
    lock: LockPort | None = None
    has_ventilation: bool = False


class NetworkLink(Protocol):
    """The way to the CSMS: the interface that a connection goes out by."""

    async def connect(self, host: str, port: int) -> socket.socket:
        """A connected, non-blocking TCP socket. Raises OSError."""


class WallClock(Protocol):
    """The board's clock. The agent keeps an offset of its own and never sets it."""

    def utc(self) -> datetime | None:
        """Aware UTC, or None where the board does not know the time."""

    def is_synchronized(self) -> bool:
        """Whether a time service (NTP, PTP, GNSS) disciplines this clock now. False where the driver cannot tell."""


class DisplayPort(Protocol):
    """A display that belongs to the driver (the simulator's page); other displays are outputs of `qr_display`."""

    def show_png(self, view: StationView, png: Callable[[], bytes]) -> None:
        """The newest picture. `png` encodes it when somebody looks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvseSetup:
    """What the configuration says about one EVSE's hardware."""

    evse_id: EvseId
    max_current_a: int
    phases: int
    has_lock: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HalSetup:
    """What a driver is opened with: its EVSEs and the free table `[hal.options]`."""

    evses: Sequence[EvseSetup]
    options: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterAddress:
    """A meter on the board itself: template name and bus address (`tcp://127.0.0.1:5020?device=1`)."""

    template: str
    url: str


class HalDriver(Protocol):
    """A board. `permission_expires`: its hardware opens by itself when the permission is not renewed; public charging requires it."""

    permission_expires: bool

    async def start(self, sink: HalSink) -> Mapping[EvseId, EvsePorts]:
        """Open the hardware, report its present state, and give its ports. Raises HalError naming what is missing and the cure."""

    async def aclose(self) -> None:
        """Leave the hardware safe and close it."""

    def meter(self, evse_id: EvseId) -> MeterAddress | None:
        """The meter that belongs to the board, or None. The configuration's `[evse.meter]` goes before it."""


class ExtendedHalDriver(HalDriver, Protocol):
    """A driver that also owns the network link, the clock and a display (the simulator). Each of these may be left out.

    `has_power_fail_input`: the board tells some milliseconds before its supply is gone, as fault `POWER_LOSS` of the station; cleared when
    the supply is good again. Everything is flushed then, and charging is suspended.
    """

    network: NetworkLink
    clock: WallClock
    display: DisplayPort
    has_power_fail_input: bool


HalFactory = Callable[[HalSetup], HalDriver]
"""What an entry point of group `charger_agent.hal` names. Raises ValueError naming a wrong option and what is allowed."""
