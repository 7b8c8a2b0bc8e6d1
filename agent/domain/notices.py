"""What the station tells the CSMS, in no version's words. An adapter turns a notice into zero or more calls when it is sent."""

from decimal import Decimal

from agent.domain.authorization import IdToken
from agent.domain.connector import ConnectorStatus, FaultKind, SessionStage
from agent.domain.ids import ConnectorId, EvseId, RequestId, TransactionId
from agent.domain.metering import MeterValue, ReadingContext
from agent.domain.tariff import SessionCost
from agent.domain.time import Instant
from agent.domain.transaction import ChargingState, StoppedReason, TransactionEventType, TriggerReason
from agent.domain.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizeNotice:
    """May this token charge? Never queued: answered within the message timeout or decided locally."""

    request_id: RequestId
    id_token: IdToken


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusNotice:
    """A connector's status. `evse_id` None is the station itself (1.6 connector 0; 2.x sends nothing).

    `status_changed` is False when only `stage` or `charging_state` moved, which 2.x does not report here.
    """

    evse_id: EvseId | None
    connector_id: ConnectorId | None
    at: Instant
    status: ConnectorStatus
    stage: SessionStage = SessionStage.NONE
    charging_state: ChargingState | None = None
    fault: FaultKind | None = None
    info: str = ""
    status_changed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionNotice:
    """One event of a transaction (2.x TransactionEvent; 1.6 StartTransaction, MeterValues, StopTransaction or nothing).

    Durable: it stands in the outbox until the CSMS answered it. `register_wh` is the raw register that begins or ends the transaction
    (1.6 meterStart, meterStop), whole Wh. `is_offline`: the event happened while the station was offline (E04.FR.03).
    `cost` is the station's own figure, only where the session is sold at a tariff.
    """

    event_type: TransactionEventType
    transaction_id: TransactionId
    evse_id: EvseId
    connector_id: ConnectorId
    seq_no: int
    trigger: TriggerReason
    at: Instant
    is_offline: bool
    id_token: IdToken | None = None
    charging_state: ChargingState | None = None
    stopped_reason: StoppedReason | None = None
    remote_start_id: int | None = None
    register_wh: int | None = None
    meter_values: tuple[MeterValue, ...] = ()
    meter_serial_number: str | None = None
    cost: SessionCost | None = None
    seconds_charging: Decimal | None = None

    @property
    def precedes_energy(self) -> bool:
        """Whether it has to be on disk before the contactor closes: the begin, and the going on after an interruption."""
        ends_interruption = any(value.context is ReadingContext.INTERRUPTION_END for value in self.meter_values)
        return self.event_type is TransactionEventType.STARTED or ends_interruption


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterValuesNotice:
    """Clock-aligned values of an EVSE that has no transaction. Not durable."""

    evse_id: EvseId
    connector_id: ConnectorId
    meter_values: tuple[MeterValue, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorNotice:
    """A message of our own making (DataTransfer). Not durable. `data` is a JSON text."""

    message_id: str
    data: str


Notice = AuthorizeNotice | StatusNotice | TransactionNotice | MeterValuesNotice | VendorNotice
