"""How far the connection to the CSMS is, and what is due on it: registration, heartbeats, back-off.

No socket; time and chance are arguments.
"""

from collections.abc import Callable
from dataclasses import field
from enum import StrEnum

from agent.domain.events import LinkChanged, LinkState
from agent.domain.values import dataclass
from agent.ocpp_client.adapter import BootReply, RegistrationStatus
from agent.ocpp_client.backoff import BackOff, BackOffTimer

OWN_BOOT_INTERVAL_S = 60.0
"""Interval 0, or no usable answer: the station's own choice (1.6 4.2, 2.x B02.FR.02), plus a random part of a sixth."""
LONGEST_INTERVAL_S = 86_400
"""A CSMS that asks for more would silence the station for good by one wrong number."""
TRIGGERED_WINDOW_S = 5.0
SETTLE_S = 60.0
"""A connection that ended sooner was no success: the waits go on growing, or a link that flaps every 20 s would be dialled for ever."""


class Due(StrEnum):
    """A message of the link itself that is to be sent now."""

    BOOT_NOTIFICATION = "BootNotification"
    HEARTBEAT = "Heartbeat"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkTuning:
    """OCPP variables of the link, in seconds: HeartbeatInterval (0: none), OfflineThreshold, and the back-off trio."""

    heartbeat_s: float = 300.0
    offline_threshold_s: float = 60.0
    back_off: BackOff = field(default_factory=BackOff)


class Link:
    """The registration and the socket's life. Methods take monotonic seconds; what changed for the station comes back as LinkChanged."""

    def __init__(self, tuning: LinkTuning) -> None:
        self._tuning = tuning
        self._is_online = False
        self._registration = LinkState.CONNECTED
        self._subprotocol: str | None = None
        self._boot_at: float | None = None
        self._heartbeat_at: float | None = None
        self._offline_since: float | None = None
        self._has_proved = False
        self._connected_at = 0.0
        self._security_boots = 0
        self._triggered: dict[str, float] = {}
        self._back_off = BackOffTimer(tuning.back_off)
        self.flaps = 0

    @property
    def state(self) -> LinkState:
        """OFFLINE without a socket, else the registration (CONNECTED: BootNotification not answered yet)."""
        return self._registration if self._is_online else LinkState.OFFLINE

    def tune(self, tuning: LinkTuning, now: float) -> None:
        """New values of the variables; a changed heartbeat interval counts from now."""
        is_new_interval = tuning.heartbeat_s != self._tuning.heartbeat_s
        self._tuning = tuning
        self._back_off.back_off = tuning.back_off
        if is_new_interval and self.state is LinkState.ACCEPTED:
            self._plan_heartbeat(now)

    @property
    def heartbeat_s(self) -> float:
        """The interval in force."""
        return self._tuning.heartbeat_s

    # ------------------------------------------------------------------------------------------------------- the socket

    def connected(self, subprotocol: str, now: float) -> LinkChanged:
        """The WebSocket is open. Accepted before in this process: no BootNotification (1.6 4.2); another version: a new registration."""
        self._is_online = True
        self._has_proved = False
        self._connected_at = now
        self._triggered.clear()
        if subprotocol != self._subprotocol:
            self._subprotocol = subprotocol
            self._registration = LinkState.CONNECTED
        if self._registration is LinkState.ACCEPTED:
            self._plan_heartbeat(now)
            away_s = 0.0 if self._offline_since is None else now - self._offline_since
            return LinkChanged(LinkState.ACCEPTED, report_all=away_s > self._tuning.offline_threshold_s)
        if self._boot_at is None or self._registration is LinkState.CONNECTED:
            self._boot_at = now
        return LinkChanged(self._registration)

    def proved(self) -> None:
        """The CSMS answered a CALL. Only this makes a connection one: some accept the socket and close it at once (1008)."""
        if not self._has_proved:
            self._has_proved = True
            self._offline_since = None

    def lost(self, now: float) -> LinkChanged:
        """The socket is gone. A series of failures ended with it only if it was answered on, and lasted."""
        if self._has_proved and now - self._connected_at >= SETTLE_S:
            self._back_off.reset()
        self._is_online = False
        self.flaps += 1
        self._heartbeat_at = None
        if self._offline_since is None:
            self._offline_since = now
        return LinkChanged(LinkState.OFFLINE)

    def wait_s(self, chance: Callable[[], float], retry_after_s: float | None = None) -> float:
        """How long to wait before the next connection attempt."""
        return self._back_off.next_wait_s(chance, retry_after_s)

    # -------------------------------------------------------------------------------------------------- the registration

    def boot_answered(self, reply: BootReply, now: float, chance: Callable[[], float]) -> LinkChanged | None:
        """Take the CSMS's word. The interval is the wait before the next BootNotification, or, once accepted, the heartbeat interval."""
        before = self._registration
        interval_s = float(min(max(reply.interval_s, 0), LONGEST_INTERVAL_S))
        if reply.status == RegistrationStatus.ACCEPTED:
            self._registration = LinkState.ACCEPTED
            self._boot_at = None
            if interval_s:
                self._tuning = LinkTuning(
                    heartbeat_s=interval_s,
                    offline_threshold_s=self._tuning.offline_threshold_s,
                    back_off=self._tuning.back_off,
                )
            self._plan_heartbeat(now)
        else:
            self._registration = LinkState.PENDING if reply.status == RegistrationStatus.PENDING else LinkState.REJECTED
            self._boot_at = now + (interval_s or _own_interval_s(chance))
            self._heartbeat_at = None
        if self._registration is before:
            return None
        return LinkChanged(self._registration, report_all=self._registration is LinkState.ACCEPTED)

    def boot_refused(self, now: float, chance: Callable[[], float]) -> None:
        """The BootNotification got a CALLERROR or an unusable answer: asked again after the station's own interval."""
        if self._registration is not LinkState.ACCEPTED:
            self._boot_at = now + _own_interval_s(chance)

    def not_registered(self, now: float) -> LinkChanged | None:
        """A transaction message got SecurityError (1.6 J errata; 2.x B01.FR.10): back to BootNotification.

        None when that was done already and nothing was delivered since: then it is an ordinary refusal.
        """
        if self._security_boots or self._registration is not LinkState.ACCEPTED:
            return None
        self._security_boots += 1
        self._registration = LinkState.CONNECTED
        self._boot_at = now
        self._heartbeat_at = None
        return LinkChanged(LinkState.CONNECTED)

    def delivered(self) -> None:
        """A transaction message was taken: the registration holds."""
        self._security_boots = 0

    # ---------------------------------------------------------------------------------------------------- what may be sent

    def trigger(self, due: Due, now: float) -> None:
        """The CSMS asked for this message (TriggerMessage)."""
        if due is Due.BOOT_NOTIFICATION:
            self._boot_at = now
        else:
            self._heartbeat_at = now
            self._triggered[due] = now + TRIGGERED_WINDOW_S

    def allow(self, requested: str, now: float) -> None:
        """The core accepted a TriggerMessage: what was asked for may be sent before the station is accepted (B02.FR.02)."""
        self._triggered[requested] = now + TRIGGERED_WINDOW_S

    def may_send(self, requested: str, now: float) -> bool:
        """Whether a message of this kind may go out: all when accepted; before, only what was triggered; nothing when rejected."""
        match self.state:
            case LinkState.ACCEPTED:
                return True
            case LinkState.CONNECTED | LinkState.PENDING:
                return self._triggered.get(requested, now - 1) >= now
            case _:
                return False

    def due(self, now: float) -> Due | None:
        """The link's own message that is to go out now."""
        if not self._is_online:
            return None
        if self._boot_at is not None and self._boot_at <= now:
            return Due.BOOT_NOTIFICATION
        if self._heartbeat_at is not None and self._heartbeat_at <= now and self.may_send(Due.HEARTBEAT, now):
            return Due.HEARTBEAT
        return None

    def sent(self, due: Due, now: float) -> None:
        """The message went out. An unanswered BootNotification is asked for again by the next connection."""
        if due is Due.BOOT_NOTIFICATION:
            self._boot_at = None
        else:
            self._plan_heartbeat(now)

    def boot_unanswered(self, now: float) -> None:
        """The BootNotification's time-out, or the link went down under it."""
        if self._registration is not LinkState.ACCEPTED:
            self._boot_at = now

    def next_deadline(self) -> float | None:
        """When `due` will have something."""
        if not self._is_online:
            return None
        return min((at for at in (self._boot_at, self._heartbeat_at) if at is not None), default=None)

    def _plan_heartbeat(self, now: float) -> None:
        is_beating = self._tuning.heartbeat_s > 0 and self.state is LinkState.ACCEPTED
        self._heartbeat_at = now + self._tuning.heartbeat_s if is_beating else None


def _own_interval_s(chance: Callable[[], float]) -> float:
    return OWN_BOOT_INTERVAL_S + chance() * OWN_BOOT_INTERVAL_S / 6
