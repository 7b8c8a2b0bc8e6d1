"""Identifiers. OCPP 2.x words are the neutral ones."""

from typing import NewType

EvseId = NewType("EvseId", int)
"""Number of an EVSE within the station, from 1 (OCPP 2.0.1 part 1, 3.2)."""
ConnectorId = NewType("ConnectorId", int)
"""Number of a connector within its EVSE, from 1."""
TransactionId = NewType("TransactionId", str)
"""Made by the station, unique for its whole life: a UUID, 36 characters (E01.FR.08)."""
RequestId = NewType("RequestId", str)
"""Correlates a question that the core asked (authorize, read the meter) with its answer."""
CommandId = NewType("CommandId", str)
"""Correlates a command of the CSMS, or of a technician, with the core's outcome."""
