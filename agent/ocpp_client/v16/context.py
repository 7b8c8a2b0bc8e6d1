"""What the codecs of 1.6 know of the station: how its EVSEs are numbered, its configuration keys, and the time of recorded moments."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from agent.domain.ids import ConnectorId, EvseId
from agent.domain.time import Instant, wire_time
from agent.domain.values import dataclass
from agent.ocpp_client.adapter import MissingTime, WireClock
from agent.ocpp_client.v16.keys import Keys

WHOLE_STATION = 0
"""connectorId of the charge point itself."""
FIRST_CONNECTOR = ConnectorId(1)
"""1.6 numbers connectors through the station, the agent within their EVSE: there is one connector per EVSE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """`connectors` gives the connectorId (from 1) of each EVSE. `vendor_id` marks messages of our own making."""

    connectors: Mapping[EvseId, int]
    clock: WireClock
    keys: Keys
    vendor_id: str

    def connector_of(self, evse_id: EvseId | None) -> int:
        """The connectorId of an EVSE, 0 for the station. A stored notice may name an EVSE that is gone: its own number then."""
        return WHOLE_STATION if evse_id is None else self.connectors.get(evse_id, int(evse_id))

    def evse_of(self, connector_id: int) -> EvseId:
        """The EVSE with this connectorId. For an unknown one a number that no EVSE has, so that the core refuses it as such."""
        for evse_id, number in self.connectors.items():
            if number == connector_id:
                return evse_id
        return EvseId(-connector_id if EvseId(connector_id) in self.connectors else connector_id)

    def utc(self, at: Instant) -> datetime | None:
        """Wall time of a moment, None while it is not known."""
        return self.clock.utc_of(at)

    def missing_time(self, moments: Iterable[Instant]) -> MissingTime | None:
        """Whether one of these moments has no wall time."""
        unknown = [at for at in moments if self.utc(at) is None]
        if not unknown:
            return None
        return MissingTime.MAY_COME if all(self.clock.may_learn(at) for at in unknown) else MissingTime.NEVER

    def timestamp(self, at: Instant) -> str:
        """Wall time of a moment as it stands on the wire. Raises ValueError where it is not known (`can_encode` says so before)."""
        utc = self.utc(at)
        if utc is None:
            msg = f"moment {at.mono_ms} ms of boot {at.boot_id} has no wall time yet; it cannot be sent"
            raise ValueError(msg)
        return wire_time(utc)
