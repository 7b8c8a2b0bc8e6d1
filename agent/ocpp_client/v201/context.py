"""What the codecs of 2.0.1 know of the station: the time of recorded moments, its variables, how much one message may ask for."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from agent.domain.time import Instant, wire_time
from agent.domain.values import dataclass
from agent.domain.variables import VariableDefinition, VariableKey, parse_variable_key
from agent.ocpp_client.adapter import MissingTime, WireClock

_GET_ITEMS = parse_variable_key("DeviceDataCtrlr.ItemsPerMessage[GetVariables]")
_SET_ITEMS = parse_variable_key("DeviceDataCtrlr.ItemsPerMessage[SetVariables]")
_DEFAULT_ITEMS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """`vendor_id` marks custom data of our own making. `max_get_items` and `max_set_items` are DeviceDataCtrlr.ItemsPerMessage."""

    clock: WireClock
    vendor_id: str
    definitions: Mapping[VariableKey, VariableDefinition]
    max_get_items: int
    max_set_items: int

    @classmethod
    def of(cls, definitions: Sequence[VariableDefinition], clock: WireClock, vendor_id: str) -> "Context":
        """A context with the limits that the registry names."""
        by_key = {definition.key.folded(): definition for definition in definitions}
        get_items, set_items = by_key.get(_GET_ITEMS.folded()), by_key.get(_SET_ITEMS.folded())
        return cls(
            clock=clock,
            vendor_id=vendor_id,
            definitions=by_key,
            max_get_items=_DEFAULT_ITEMS if get_items is None else int(get_items.default),
            max_set_items=_DEFAULT_ITEMS if set_items is None else int(set_items.default),
        )

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
