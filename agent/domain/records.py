"""The durable part of the state, beside transactions: what the store keeps, and what the core gets back at the next start."""

from dataclasses import field
from datetime import datetime

from agent.domain.authorization import IdToken, IdTokenInfo
from agent.domain.connector import OperationalStatus
from agent.domain.ids import EvseId
from agent.domain.transaction import TransactionRecord
from agent.domain.values import dataclass
from agent.domain.variables import ValueSource, VariableKey


@dataclass(frozen=True, slots=True, kw_only=True)
class StationRecord:
    """The station's own durable facts.

    `was_accepted`: a CSMS has accepted this station at least once. `reset_kind`: the commanded reset under way.
    """

    operational_status: OperationalStatus = OperationalStatus.OPERATIVE
    was_accepted: bool = False
    reset_kind: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvseRecord:
    """One EVSE's durable facts."""

    evse_id: EvseId
    operational_status: OperationalStatus = OperationalStatus.OPERATIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVariable:
    """A variable that was set: it beats the configuration file after a restart."""

    key: VariableKey
    value: str
    source: ValueSource


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """A token in the authorization cache with the CSMS's last answer. `stored_at` is UTC, None where the clock was unknown."""

    id_token: IdToken
    info: IdTokenInfo
    stored_at: datetime | None


@dataclass(frozen=True, slots=True)
class CacheEntryRemoved:
    """A token that is no longer in the authorization cache."""

    id_token: IdToken


Record = StationRecord | EvseRecord | TransactionRecord | StoredVariable | CacheEntry | CacheEntryRemoved
"""One durable change. The engine hands over those whose identity changed, together with the notices of the same step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """Everything that the store gives back at the start. `transactions` are those that never ended."""

    station: StationRecord = field(default_factory=StationRecord)
    evses: tuple[EvseRecord, ...] = ()
    variables: tuple[StoredVariable, ...] = ()
    cache: tuple[CacheEntry, ...] = ()
    transactions: tuple[TransactionRecord, ...] = ()
    last_boot_id: str | None = None
