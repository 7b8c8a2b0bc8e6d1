"""What both OCPP versions have in common on the portal's side. The versions themselves are in `v16` and `v201`."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from agent.domain.tariff import Tariff
from agent.domain.time import wire_time
from simulator.portal.chargers import Boot, ChargerBook, Registration
from simulator.portal.transactions import TransactionBook
from simulator.portal.wire import Json


@dataclass(frozen=True, slots=True)
class Command:
    """A CALL to a charger."""

    action: str
    payload: dict[str, Json]


@dataclass(frozen=True, slots=True)
class Peer:
    """Whose message is being handled: serial number and OCPP identity of an accepted charger."""

    serial: str
    station: str


@dataclass(frozen=True, slots=True)
class Books:
    """Where messages are entered."""

    chargers: ChargerBook
    transactions: TransactionBook


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicSettings:
    """What a charger must know to charge the public: the effective price (None: none yet), the template of the QR code, and the switch."""

    tariff: Tariff | None
    qr_template: str
    enabled: bool


class Dialect(Protocol):
    """One OCPP version: calls of the charger into the books, wishes of the portal into calls."""

    version: str
    subprotocol: str

    def boot(self, payload: dict[str, Json]) -> Boot:
        """Read a BootNotification."""
        ...

    def handle(self, books: Books, peer: Peer, action: str, payload: dict[str, Json], now: datetime) -> dict[str, Json]:
        """Enter a call other than BootNotification and answer it. Raises WireError."""
        ...

    def remote_start(self, evse: int, id_token: str, remote_start_id: int, max_cost: Decimal | None = None) -> Command:
        """Start a session for a token; `max_cost` is what was authorised for it, where the version has room for that."""
        ...

    def announce_limit(self, id_token: str, max_cost: Decimal) -> Command | None:
        """What goes before a start whose version has no room for the limit; None where it has."""
        ...

    def remote_stop(self, wire_id: str) -> Command:
        """Stop a transaction."""
        ...

    def set_settings(self, values: dict[str, str]) -> tuple[Command, ...]:
        """Set keys (1.6) or `Component.Variable[instance]` (2.0.1), in order."""
        ...

    def refused_settings(self, command: Command, answer: dict[str, Json]) -> tuple[str, ...]:
        """What of a `set_settings` command was not taken over, with the charger's word for it."""
        ...

    def get_settings(self, names: tuple[str, ...]) -> Command:
        """Ask for keys or variables."""
        ...

    def read_settings(self, answer: dict[str, Json]) -> dict[str, str]:
        """The values in the answer to `get_settings`."""
        ...

    def public_settings(self, settings: PublicSettings) -> dict[str, str]:
        """Price and public charging under this version's names, in the order in which they must be set."""
        ...

    def sample_interval(self, seconds: int) -> dict[str, str]:
        """The interval of meter values during a transaction."""
        ...

    def change_availability(self, evse: int, *, operative: bool) -> Command:
        """EVSE 0 is the whole station."""
        ...

    def reset(self, *, hard: bool) -> Command:
        """Restart the charger."""
        ...

    def unlock(self, evse: int) -> Command:
        """Free the cable."""
        ...

    def trigger(self, message: str, evse: int | None) -> Command:
        """Ask for a message."""
        ...


def boot_answer(registration: Registration, now: datetime, interval_s: int) -> dict[str, Json]:
    """BootNotification's answer, the same in both versions."""
    return {"currentTime": wire_time(now), "interval": interval_s, "status": registration.value}


def is_accepted(answer: dict[str, Json]) -> bool:
    """Whether a command was taken."""
    return answer.get("status") == "Accepted"
