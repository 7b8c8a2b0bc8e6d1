"""The state of the station: immutable, a durable part (records) and a live part. `Turn` collects what one event changes."""

from collections.abc import Mapping
from dataclasses import field, replace
from decimal import Decimal
from enum import StrEnum

from agent.core.control_pilot import ControlPilot
from agent.core.variables import Variables
from agent.domain.authorization import IdToken
from agent.domain.commands import LimitTransaction, ResetKind
from agent.domain.connector import FaultKind
from agent.domain.effects import Effect, Remark
from agent.domain.events import LinkState
from agent.domain.ids import CommandId, ConnectorId, EvseId, RequestId, TransactionId
from agent.domain.metering import Reading
from agent.domain.notices import StatusNotice
from agent.domain.pilot import X1, PilotOutput
from agent.domain.records import CacheEntry, EvseRecord, StationRecord
from agent.domain.tariff import SessionCost, Tariff
from agent.domain.time import Instant
from agent.domain.transaction import StoppedReason, TransactionLimit, TransactionRecord, TriggerReason
from agent.domain.values import dataclass

FIRST_CONNECTOR = ConnectorId(1)
NOT_MEASURED = ControlPilot()


class MeterLossPolicy(StrEnum):
    """What a running session does when its meter falls silent."""

    STOP = "stop"
    STOP_AFTER = "stop_after"
    CONTINUE = "continue"


class PowerLossPolicy(StrEnum):
    """What becomes of a transaction that an earlier run left open (docs/decisions/0011)."""

    STOP = "stop"
    RESUME = "resume"
    RESUME_IF_SAME_EV_WITHIN = "resume_if_same_ev_within"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvseConfig:
    """What is built in. `is_tethered`: the cable is fixed, there is nothing to unlock."""

    evse_id: EvseId
    connector_id: ConnectorId = FIRST_CONNECTOR
    max_current_a: Decimal = Decimal(32)
    phases: int = 3
    has_lock: bool = False
    is_tethered: bool = True
    has_ventilation: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StationConfig:
    """What the configuration file says and the core needs."""

    evses: tuple[EvseConfig, ...]
    station_id: str
    language: str = "en"
    on_meter_loss: MeterLossPolicy = MeterLossPolicy.STOP
    meter_loss_timeout_s: int = 60
    power_loss_policy: PowerLossPolicy = PowerLossPolicy.STOP
    resume_within_min: int = 10


class AuthorizationState(StrEnum):
    """Whether the token on an EVSE may charge."""

    PENDING = "pending"
    GRANTED = "granted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """A token that asked for this EVSE. `since` starts EVConnectionTimeOut. `is_offline`: it was answered here, not by the CSMS.

    `tariff` is the price at a remote start: who pays there and then has seen it, and owes no later one. A card owes the price that the
    display shows when it starts.
    """

    id_token: IdToken
    state: AuthorizationState
    since: Instant
    request_id: RequestId
    new_transaction_id: TransactionId
    group_id_token: IdToken | None = None
    remote_start_id: int | None = None
    is_remote: bool = False
    is_offline: bool = False
    tariff: Tariff | None = None
    limit: TransactionLimit | None = None


class Phase(StrEnum):
    """Where the session on an EVSE is."""

    FREE = "free"
    """No transaction: nobody, or a cable, or a token, or both while the first register is awaited."""
    TRANSACTION = "transaction"
    STOPPING = "stopping"
    RECOVERING = "recovering"
    """A transaction of an earlier run waits for the register that ends it, or with which it goes on (`Evse.may_resume`)."""
    FINISHED = "finished"
    """The transaction ended, the cable is still in."""


class StopStage(StrEnum):
    """An orderly stop, step by step."""

    RAMP_DOWN = "ramp_down"
    """Pilot at X1; the vehicle has up to 6 s to stop drawing (IEC 61851-1 sequence 10.2)."""
    OPENING = "opening"
    READING = "reading"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A stop under way.

    `fixed_reading` is the register that ends it where the meter may not be asked any more, and `new_register` the newest of the one that
    counts since; `ended_at` is the moment where it is not now. `ends_transaction` is False when only the process leaves: the transaction
    stays open on disk. `is_asked`: the meter was asked for the last register.
    """

    reason: StoppedReason
    trigger: TriggerReason
    requested_at: Instant
    stage: StopStage
    deadline: Instant
    stage_since: Instant
    id_token: IdToken | None = None
    fixed_reading: Reading | None = None
    new_register: Reading | None = None
    ended_at: Instant | None = None
    ends_transaction: bool = True
    is_asked: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that is present, since when, with the hardware's own words. `is_derived`: the core sees it itself, on the pilot."""

    kind: FaultKind
    since: Instant
    detail: str = ""
    is_derived: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the driver sees after the session, and why it ended."""

    transaction_id: TransactionId
    energy_wh: int
    duration_ms: int
    cost: SessionCost | None
    started_at: Instant
    ended_at: Instant
    reason: StoppedReason


class Refusal(StrEnum):
    """Why the last try came to nothing; shown for a few seconds."""

    TOKEN_REFUSED = "token_refused"  # noqa: S105 - a reason, no password
    TIMED_OUT = "timed_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evse:
    """One EVSE. `reading` is the newest good one. `unlock_command` waits for the lock. `held_for` keeps the plug locked for its owner.

    `may_resume`: the transaction of an earlier run that is being recovered goes on if everything holds, else `stop` ends it.
    `offer_not_before`: the pilot stays at X1 until then.
    """

    config: EvseConfig
    record: EvseRecord
    record_since: Instant
    pilot: ControlPilot = NOT_MEASURED
    output: PilotOutput = X1
    contactor_commanded: bool = False
    contactor_closed: bool = False
    close_not_before: Instant | None = None
    is_locked: bool = False
    lock_commanded: bool = False
    faults: tuple[Fault, ...] = ()
    reading: Reading | None = None
    meter_lost_at: Instant | None = None
    meter_lost_reason: str = ""
    phase: Phase = Phase.FREE
    plugged_at: Instant | None = None
    unplugged_at: Instant | None = None
    authorization: Authorization | None = None
    reading_due: Instant | None = None
    transaction: TransactionRecord | None = None
    suspended_reason: StoppedReason | None = None
    suspended_at: Instant | None = None
    stop: Stop | None = None
    may_resume: bool = False
    offer_not_before: Instant | None = None
    stop_check: Authorization | None = None
    sample_at: Instant | None = None
    ended_sample_at: Instant | None = None
    receipt: Receipt | None = None
    refusal: Refusal | None = None
    refusal_until: Instant | None = None
    unlock_command: CommandId | None = None
    unlock_deadline: Instant | None = None
    held_for: IdToken | None = None
    reported: StatusNotice | None = None

    @property
    def evse_id(self) -> EvseId:
        """Its number."""
        return self.config.evse_id

    @property
    def has_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self.transaction is not None and self.transaction.ended_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """The whole station. `link_since` and `storage_failed_at` say since when, for the technician."""

    config: StationConfig
    boot_id: str
    evses: tuple[Evse, ...]
    variables: Variables
    record: StationRecord = field(default_factory=StationRecord)
    cache: Mapping[str, CacheEntry] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    link: LinkState = LinkState.OFFLINE
    link_since: Instant | None = None
    was_accepted_now: bool = False
    storage_failure: str | None = None
    storage_failed_at: Instant | None = None
    reset: ResetKind | None = None
    is_leaving: bool = False
    left_since: Instant | None = None
    has_left: bool = False
    aligned_at: Instant | None = None
    station_reported: StatusNotice | None = None
    limits: tuple[LimitTransaction, ...] = ()

    @property
    def is_online(self) -> bool:
        """Whether the CSMS can be asked: connected and accepted."""
        return self.link is LinkState.ACCEPTED

    def evse(self, evse_id: EvseId) -> Evse | None:
        """An EVSE by its number."""
        for evse in self.evses:
            if evse.config.evse_id == evse_id:
                return evse
        return None


class Turn:
    """One event's work: the station as it becomes, and the effects in order. Lives only inside one call of `step`."""

    __slots__ = ("at", "effects", "station")

    def __init__(self, station: Station, at: Instant) -> None:
        self.station = station
        self.at = at
        self.effects: list[Effect] = []

    def emit(self, effect: Effect) -> None:
        """Order something."""
        self.effects.append(effect)

    def remark(self, name: str, evse: Evse | None = None, detail: str = "", *, is_warning: bool = False) -> None:
        """Leave a line for the technician."""
        transaction_id = evse.transaction.transaction_id if evse is not None and evse.transaction is not None else None
        evse_id = None if evse is None else evse.evse_id
        self.emit(Remark(name=name, evse_id=evse_id, transaction_id=transaction_id, detail=detail, is_warning=is_warning))

    def evse(self, evse_id: EvseId) -> Evse:
        """The EVSE as it is now in this turn. The caller knows that it exists."""
        evse = self.station.evse(evse_id)
        if evse is None:
            msg = f"no EVSE {evse_id}"
            raise LookupError(msg)
        return evse

    def put(self, evse: Evse) -> Evse:
        """Replace an EVSE by its new state."""
        evses = tuple(evse if old.config.evse_id == evse.config.evse_id else old for old in self.station.evses)
        self.station = replace(self.station, evses=evses)
        return evse
