"""Which versions of OCPP are built, and their adapters: only the one that is asked for is imported."""

from collections.abc import Mapping, Sequence

from agent.domain.ids import EvseId
from agent.domain.variables import VariableDefinition
from agent.ocpp_client.adapter import VersionAdapter, WireClock

BUILT_VERSIONS = ("2.0.1", "1.6")
"""What may stand in `ocpp.versions`, the newest first."""


def load_adapter(
    version: str,
    *,
    definitions: Sequence[VariableDefinition],
    clock: WireClock,
    connectors: Mapping[EvseId, int],
    vendor_id: str = "charger-agent",
) -> VersionAdapter:
    """The adapter of a version. `connectors` gives each EVSE its connectorId of 1.6. Raises ValueError for a version that is not built."""
    match version:
        case "1.6":
            from agent.ocpp_client.v16.adapter import V16Adapter

            return V16Adapter(definitions, clock, connectors, vendor_id=vendor_id)
        case "2.0.1":
            from agent.ocpp_client.v201.adapter import V201Adapter

            return V201Adapter(definitions, clock, vendor_id=vendor_id)
        case _:
            msg = f"OCPP {version} is not built; ocpp.versions may hold {', '.join(BUILT_VERSIONS)}"
            raise ValueError(msg)
