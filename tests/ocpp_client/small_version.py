"""A very small OCPP version, so that the machinery is tested apart from the codecs; and an outbox in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from agent.domain.authorization import AuthorizationStatus, IdToken, IdTokenInfo
from agent.domain.commands import Command, DataTransfer, Outcome, RequestStart, Reset, ResetKind, StatusOutcome, TriggerMessage
from agent.domain.connector import ConnectorStatus
from agent.domain.events import AuthorizationAnswered, Event, LinkChanged, LinkState, TransactionAnswered
from agent.domain.ids import ConnectorId, EvseId, RequestId, TransactionId
from agent.domain.notices import AuthorizeNotice, Notice, StatusNotice, TransactionNotice
from agent.domain.outbox import Attempted, DeadLettered, Delivered, Mark, OutboxRow
from agent.domain.tariff import SessionCost
from agent.domain.time import Instant, parse_wire_time
from agent.domain.transaction import TransactionEventType, TriggerReason
from agent.ocpp_client.adapter import BootInfo, BootReply, Call, JsonObject, MissingTime, OcppCallError, RemoteRefs, Reply, Sending

AT = Instant("boot-1", 1000)
BOOT = BootInfo(vendor="V", model="M", serial_number="S", firmware_version="1")
COST = SessionCost(currency="EUR", gross=Decimal("1.25"), vat=Decimal("0.25"), energy_wh=1, seconds=Decimal(1), is_final=True)
_ACTIONS = {
    TransactionEventType.STARTED: "StartTransaction",
    TransactionEventType.UPDATED: "MeterValues",
    TransactionEventType.ENDED: "StopTransaction",
}


def row(row_id: int, transaction: str = "tx", kind: TransactionEventType = TransactionEventType.UPDATED, **changes: Any) -> OutboxRow:
    notice = TransactionNotice(
        event_type=kind,
        transaction_id=TransactionId(transaction),
        evse_id=EvseId(1),
        connector_id=ConnectorId(1),
        seq_no=row_id,
        trigger=TriggerReason.METER_VALUE_PERIODIC,
        at=AT,
        is_offline=False,
    )
    cost = changes.pop("cost", None)
    return OutboxRow(row_id=row_id, notice=replace(notice, cost=cost), **changes)


def session(first_row: int, transaction: str, updates: int = 1) -> list[OutboxRow]:
    """Start, updates, end."""
    kinds = [TransactionEventType.STARTED, *[TransactionEventType.UPDATED] * updates, TransactionEventType.ENDED]
    return [row(first_row + index, transaction, kind) for index, kind in enumerate(kinds)]


def status(connector: int = 1, word: ConnectorStatus = ConnectorStatus.AVAILABLE) -> StatusNotice:
    return StatusNotice(evse_id=EvseId(connector), connector_id=ConnectorId(1), at=AT, status=word)


def authorize(question: str = "q", token: str = "SECRET-TOKEN") -> AuthorizeNotice:
    return AuthorizeNotice(request_id=RequestId(question), id_token=IdToken(token))


class SmallVersion:
    """Like 1.6 (one queue, numbers given by the CSMS) or, with `is_modern`, like 2.x."""

    def __init__(self, *, is_modern: bool = False, subprotocol: str | None = None) -> None:
        self.subprotocol = subprotocol or ("ocpp2.0.1" if is_modern else "ocpp1.6")
        self.is_modern = is_modern
        self.reuses_message_id = not is_modern
        self.answers_while_rejected = is_modern
        self.answers_unreadable = is_modern
        self.queue_is_global = not is_modern
        self.refuses_boot_trigger_when_accepted = is_modern
        self.broken_rows: set[int] = set()
        self.timeless: dict[int, MissingTime] = {}

    def warm(self) -> None:
        pass

    def boot(self, info: BootInfo) -> Call:
        return Call("BootNotification", {"reason": info.reason})

    def decode_boot_reply(self, payload: JsonObject) -> BootReply:
        text = payload.get("currentTime")
        interval = payload["interval"]
        assert isinstance(interval, int)
        return BootReply(
            status=str(payload["status"]),
            interval_s=interval,
            current_time=parse_wire_time(text) if isinstance(text, str) else None,
        )

    def heartbeat(self) -> Call:
        return Call("Heartbeat", {})

    def decode_heartbeat_reply(self, payload: JsonObject) -> datetime | None:
        return parse_wire_time(str(payload["currentTime"]))

    def can_encode(self, notice: Notice, refs: RemoteRefs) -> bool:
        if isinstance(notice, TransactionNotice) and notice.seq_no in self.timeless:
            return False
        if self.is_modern or not isinstance(notice, TransactionNotice) or notice.event_type is TransactionEventType.STARTED:
            return True
        return refs.remote_id(notice.transaction_id) is not None or refs.is_start_dead(notice.transaction_id)

    def missing_time(self, notice: TransactionNotice) -> MissingTime | None:
        return self.timeless.get(notice.seq_no)

    def encode(self, notice: Notice, refs: RemoteRefs, sending: Sending) -> tuple[Call, ...]:
        match notice:
            case AuthorizeNotice():
                return (Call("Authorize", {"idTag": notice.id_token.value}),)
            case StatusNotice():
                return (Call("StatusNotification", {"connectorId": notice.evse_id or 0, "status": notice.status.value}),)
            case TransactionNotice():
                return self._transaction(notice, refs, sending)
            case _:
                return ()

    def _transaction(self, notice: TransactionNotice, refs: RemoteRefs, sending: Sending) -> tuple[Call, ...]:
        if notice.seq_no in self.broken_rows:
            raise KeyError("a bug of ours")
        payload: dict[str, object] = {"tx": notice.transaction_id, "seq": notice.seq_no}
        if self.is_modern:
            payload["offline"] = sending.is_late
        elif notice.event_type is not TransactionEventType.STARTED:
            remote_id = refs.remote_id(notice.transaction_id)
            payload["transactionId"] = -1 if remote_id is None else remote_id
        calls = (Call(_ACTIONS[notice.event_type], payload),)
        if notice.cost is not None:
            calls = (*calls, Call("DataTransfer", {"gross": notice.cost.gross}))
        return calls

    def decode_reply(self, notice: Notice, call_index: int, payload: JsonObject, sending: Sending) -> Reply:
        match notice:
            case AuthorizeNotice():
                info = IdTokenInfo(AuthorizationStatus(str(payload["status"])))
                return Reply(events=(AuthorizationAnswered(notice.request_id, info),))
            case TransactionNotice() if call_index == 0:
                number = payload.get("transactionId")
                return Reply(
                    events=(TransactionAnswered(notice.transaction_id),),
                    remote_id=number if isinstance(number, int) else None,
                )
            case _:
                return Reply()

    def validate_reply(self, action: str, payload: object) -> JsonObject:
        if not isinstance(payload, Mapping):
            raise OcppCallError("TypeConstraintViolation", f"answer to {action} is no object")
        if action == "StartTransaction" and not self.is_modern and not isinstance(payload.get("transactionId"), int):
            raise OcppCallError("OccurrenceConstraintViolation", "transactionId is missing")
        if action == "BootNotification" and "status" not in payload:
            raise OcppCallError("OccurrenceConstraintViolation", "status is missing")
        return payload

    def decode(self, action: str, payload: object, refs: RemoteRefs) -> Command:
        if not isinstance(payload, Mapping):
            raise OcppCallError("TypeConstraintViolation", "payload is no object")
        match action:
            case "RemoteStart":
                return RequestStart(id_token=IdToken(str(payload["idTag"])))
            case "TriggerMessage":
                return TriggerMessage(requested=str(payload["requestedMessage"]))
            case "Reset":
                return Reset(kind=ResetKind(str(payload["type"])))
            case "DataTransfer":
                return DataTransfer(vendor_id=str(payload.get("vendorId")), data=str(payload.get("data")))
            case "Bug":
                raise KeyError("a bug of ours")
            case _:
                raise OcppCallError("NotImplemented", "no such action")

    def encode_outcome(self, action: str, command: Command, outcome: Outcome) -> JsonObject:
        assert isinstance(outcome, StatusOutcome)
        return {"status": outcome.status.value}

    def error_code(self, neutral: str) -> str:
        return neutral if self.is_modern else neutral.replace("FormatViolation", "FormationViolation")


class MemoryOutbox:
    """An outbox and the CSMS's numbers, in memory. `log` holds all marks."""

    def __init__(self, rows: Sequence[OutboxRow] = ()) -> None:
        self.rows_by_id = {item.row_id: item for item in rows}
        self.log: list[Mark] = []
        self.numbers: dict[TransactionId, int] = {}
        self.dead: set[TransactionId] = set()
        self.reads = 0

    def append(self, *rows: OutboxRow) -> None:
        self.rows_by_id |= {item.row_id: item for item in rows}

    async def rows(self, after: int, limit: int) -> Sequence[OutboxRow]:
        self.reads += 1
        return [self.rows_by_id[row_id] for row_id in sorted(self.rows_by_id) if row_id > after][:limit]

    def mark(self, mark: Mark) -> None:
        self.log.append(mark)
        match mark:
            case Delivered():
                del self.rows_by_id[mark.row_id]
                if mark.remote_id is not None:
                    self.numbers[mark.transaction_id] = mark.remote_id
            case DeadLettered():
                gone = self.rows_by_id.pop(mark.row_id)
                if gone.notice.event_type is TransactionEventType.STARTED:
                    self.dead.add(mark.transaction_id)
            case Attempted():
                known = self.rows_by_id[mark.row_id]
                self.rows_by_id[mark.row_id] = replace(known, attempts=mark.attempts, calls_answered=mark.calls_answered, was_sent=True)

    def remote_id(self, transaction_id: TransactionId) -> int | None:
        return self.numbers.get(transaction_id)

    def transaction_id(self, remote_id: int) -> TransactionId | None:
        return next((key for key, value in self.numbers.items() if value == remote_id), None)

    def is_start_dead(self, transaction_id: TransactionId) -> bool:
        return transaction_id in self.dead


class Events:
    """A ClientSink that remembers."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.times: list[datetime] = []

    def post(self, event: Event) -> None:
        self.events.append(event)

    def clock_reported(self, utc: datetime, took: timedelta) -> None:
        self.times.append(utc)

    def links(self) -> list[LinkState]:
        return [event.state for event in self.events if isinstance(event, LinkChanged)]

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]
