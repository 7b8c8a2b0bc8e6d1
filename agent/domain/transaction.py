"""Transactions: the words of OCPP 2.0.1 TransactionEvent, and the durable record of one transaction."""

from decimal import Decimal
from enum import StrEnum

from agent.domain.authorization import IdToken
from agent.domain.ids import ConnectorId, EvseId, TransactionId
from agent.domain.metering import MeterSegment, MeterValue, Reading
from agent.domain.tariff import Tariff
from agent.domain.time import Instant
from agent.domain.values import dataclass


class TransactionEventType(StrEnum):
    """OCPP 2.0.1 TransactionEventEnumType."""

    STARTED = "Started"
    UPDATED = "Updated"
    ENDED = "Ended"


class ChargingState(StrEnum):
    """OCPP 2.0.1 ChargingStateEnumType."""

    CHARGING = "Charging"
    EV_CONNECTED = "EVConnected"
    SUSPENDED_EV = "SuspendedEV"
    SUSPENDED_EVSE = "SuspendedEVSE"
    IDLE = "Idle"


class TriggerReason(StrEnum):
    """OCPP 2.0.1 TriggerReasonEnumType."""

    ABNORMAL_CONDITION = "AbnormalCondition"
    AUTHORIZED = "Authorized"
    CABLE_PLUGGED_IN = "CablePluggedIn"
    CHARGING_RATE_CHANGED = "ChargingRateChanged"
    CHARGING_STATE_CHANGED = "ChargingStateChanged"
    DEAUTHORIZED = "Deauthorized"
    ENERGY_LIMIT_REACHED = "EnergyLimitReached"
    EV_COMMUNICATION_LOST = "EVCommunicationLost"
    EV_CONNECT_TIMEOUT = "EVConnectTimeout"
    EV_DEPARTED = "EVDeparted"
    EV_DETECTED = "EVDetected"
    METER_VALUE_CLOCK = "MeterValueClock"
    METER_VALUE_PERIODIC = "MeterValuePeriodic"
    REMOTE_START = "RemoteStart"
    REMOTE_STOP = "RemoteStop"
    RESET_COMMAND = "ResetCommand"
    SIGNED_DATA_RECEIVED = "SignedDataReceived"
    STOP_AUTHORIZED = "StopAuthorized"
    TIME_LIMIT_REACHED = "TimeLimitReached"
    TRIGGER = "Trigger"
    UNLOCK_COMMAND = "UnlockCommand"


class StoppedReason(StrEnum):
    """OCPP 2.0.1 ReasonEnumType, with the words that only 1.6 has (HardReset, SoftReset, UnlockCommand) kept apart: 2.x projects them."""

    DE_AUTHORIZED = "DeAuthorized"
    EMERGENCY_STOP = "EmergencyStop"
    ENERGY_LIMIT_REACHED = "EnergyLimitReached"
    EV_DISCONNECTED = "EVDisconnected"
    GROUND_FAULT = "GroundFault"
    HARD_RESET = "HardReset"  # 2.x: ImmediateReset
    LOCAL = "Local"
    LOCAL_OUT_OF_CREDIT = "LocalOutOfCredit"
    OTHER = "Other"
    OVERCURRENT_FAULT = "OvercurrentFault"
    POWER_LOSS = "PowerLoss"
    POWER_QUALITY = "PowerQuality"
    REBOOT = "Reboot"
    REMOTE = "Remote"
    SOFT_RESET = "SoftReset"  # 2.x: ImmediateReset as well; an OnIdle reset ends no transaction
    STOPPED_BY_EV = "StoppedByEV"
    TIME_LIMIT_REACHED = "TimeLimitReached"
    TIMEOUT = "Timeout"
    UNLOCK_COMMAND = "UnlockCommand"  # 2.x: Other


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionLimit:
    """What a driver agreed to at most (the words of OCPP 2.1 TransactionLimitType); None where there is no such limit.

    `max_cost` is gross, in the currency of the tariff.
    """

    max_energy_wh: int | None = None
    max_time_s: int | None = None
    max_cost: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StopBegun:
    """A stop that was ordered: whatever happens before its last register is read, this is why the transaction ends."""

    reason: StoppedReason
    trigger: TriggerReason
    at: Instant
    id_token: IdToken | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionRecord:
    """What is on disk about one transaction. Written before the contactor closes, and whenever it changes.

    `meter_start` is the reading that began it. `last_reading` is the newest reading that was checkpointed. `next_seq_no` numbers the next
    transaction event (2.x seqNo, E01.FR.07); `last_event_at` is the moment of the newest one, None where an older version wrote the record.
    `tariff` is the price frozen at the start; None when the session is not sold here.
    `ended_at`, `meter_stop` and `stopped_reason` are None while it runs. `meter_stop_estimated` marks a stop register that was not
    read after the contactor opened. `stop_id_token` is the token that ended it. `ended_values` are the samples kept for the end message.
    `segments` is empty where one register counted all of it; else there is one for each register, and only the first is billed.

    `stop_begun` is the stop that was ordered and is not over. `interrupted_by` is why the contactor opened without a stop, where that is
    known: the power-fail input said so. `resumed_at` is the moment since which the transaction runs again after
    an interruption; `served_ms` is how long it ran before that, so that time without power is never billed. `is_deauthorized`: the CSMS
    refused its token and it is only suspended. `limit` is what it may take at most.
    """

    transaction_id: TransactionId
    evse_id: EvseId
    connector_id: ConnectorId
    id_token: IdToken | None
    group_id_token: IdToken | None = None
    started_at: Instant
    meter_start: Reading
    last_reading: Reading
    next_seq_no: int = 0
    last_event_at: Instant | None = None
    remote_start_id: int | None = None
    tariff: Tariff | None = None
    charging_state: ChargingState = ChargingState.EV_CONNECTED
    started_offline: bool = False
    ended_values: tuple[MeterValue, ...] = ()
    ended_at: Instant | None = None
    meter_stop: Reading | None = None
    meter_stop_estimated: bool = False
    stopped_reason: StoppedReason | None = None
    stop_id_token: IdToken | None = None
    energy_wh: int | None = None
    cost_gross: Decimal | None = None
    stop_begun: StopBegun | None = None
    interrupted_by: StoppedReason | None = None
    resumed_at: Instant | None = None
    served_ms: int = 0
    is_deauthorized: bool = False
    limit: TransactionLimit | None = None
    segments: tuple[MeterSegment, ...] = ()

    @property
    def running_since(self) -> Instant:
        """Since when it runs without an interruption: every timestamp since then is counted from here by monotonic time."""
        return self.started_at if self.resumed_at is None else self.resumed_at
