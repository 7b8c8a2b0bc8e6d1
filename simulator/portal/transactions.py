"""Transactions, exactly once: what chargers tell in any order, twice or late becomes one row each, settled once.

1.6: a StartTransaction is the same one when connector, idTag, timestamp and meterStart are the same (message ids do not count: a charger
may count them anew after a reboot). 2.0.1: a TransactionEvent is the same one when transactionId and seqNo are the same.
"""

import sqlite3
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from agent.domain.tariff import Tariff
from simulator.portal.chargers import ChargerBook, TokenVerdict, tariff_from, tariff_text
from simulator.portal.database import Database
from simulator.portal.money import Cost, rounded, session_cost
from simulator.portal.payments import Payment, PaymentBook, PaymentState, maybe_amount
from simulator.portal.stamps import Clock, maybe_moment, moment, stamp
from simulator.portal.wire import plain

BEGIN = "Transaction.Begin"
END = "Transaction.End"
INTERRUPTION_BEGIN = "Interruption.Begin"
INTERRUPTION_END = "Interruption.End"


class EventType(StrEnum):
    """OCPP 2.0.1 TransactionEventEnumType; `Updated` stands for 1.6 MeterValues too."""

    STARTED = "Started"
    UPDATED = "Updated"
    ENDED = "Ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The energy register (whole Wh, rounded down) and the power of one meter value; None where it had none."""

    at: datetime
    context: str
    energy_wh: int | None
    power_w: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CostReport:
    """The charger's own figure."""

    currency: str
    gross: Decimal
    vat: Decimal
    energy_wh: int
    seconds: Decimal
    is_final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A 1.6 StartTransaction. `digest` identifies the bytes' meaning."""

    connector: int
    id_token: str = field(repr=False)
    at: datetime
    meter_wh: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A 1.6 StopTransaction."""

    wire_id: str
    at: datetime
    meter_wh: int
    reason: str
    samples: tuple[Sample, ...]
    digest: str
    payload: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """1.6 MeterValues of a transaction."""

    wire_id: str
    samples: tuple[Sample, ...]
    digest: str
    payload: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionEvent:
    """A 2.0.1 TransactionEvent. `evse` and `id_token` are None where the event has none."""

    wire_id: str
    event_type: EventType
    seq_no: int
    at: datetime
    trigger_reason: str
    evse: int | None
    id_token: str | None = field(repr=False)
    remote_start_id: int | None
    charging_state: str
    stopped_reason: str
    samples: tuple[Sample, ...]
    cost: CostReport | None
    digest: str
    payload: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventAnswer:
    """What goes back in TransactionEventResponse; None leaves the field out, because a missing cost is not a cost of nothing."""

    verdict: TokenVerdict | None
    total_cost: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BookRow:
    """One transaction as the portal's books have it, with its payment where there is one.

    `transaction_id` is the portal's number (the 1.6 transactionId), `wire_id` what stands on the wire. `session_gross` is what the session
    costs; `gross`, `vat`, `commission` and `net` are what was captured (None before the end, and for a session without payment);
    `uncollected` is the part above the authorised amount. `charger_*` is the charger's own figure, `mismatch` what differs. Duplicates are
    copies beyond the first.
    """

    transaction_id: int
    wire_id: str
    version: str
    serial: str
    station: str
    evse: int | None
    id_token: str = field(repr=False)
    verdict: str
    started_at: datetime | None
    stopped_at: datetime | None
    start_wh: int | None
    stop_wh: int | None
    last_at: datetime | None
    last_wh: int | None
    power_w: Decimal | None
    energy_wh: int | None
    seconds: Decimal | None
    stop_reason: str
    is_settled: bool
    currency: str | None
    session_gross: Decimal | None
    session_vat: Decimal | None
    charger_gross: Decimal | None
    charger_vat: Decimal | None
    charger_energy_wh: int | None
    charger_is_final: bool
    mismatch: str
    payment_key: str | None
    payment_state: PaymentState | None
    authorized: Decimal | None
    gross: Decimal | None
    vat: Decimal | None
    commission: Decimal | None
    net: Decimal | None
    uncollected: Decimal | None
    messages: int
    duplicate_starts: int
    duplicate_updates: int
    duplicate_stops: int
    missing_seq_nos: tuple[int, ...]
    anomalies: tuple[str, ...]


class TransactionBook:
    """The transactions in the portal's database, and the rules that settle them."""

    def __init__(self, database: Database, clock: Clock, chargers: ChargerBook, payments: PaymentBook) -> None:
        """Bind the books together."""
        self._db = database
        self._clock = clock
        self._chargers = chargers
        self._payments = payments
        self._overdrawn: list[int] = []

    # OCPP 1.6

    def start(self, serial: str, station: str, start: Start) -> tuple[int, TokenVerdict]:
        """StartTransaction: the number and verdict to answer with, the same ones for the same start."""
        key = "|".join((str(start.connector), start.id_token.upper(), stamp(start.at), str(start.meter_wh)))
        with self._db.unit():
            known = self._db.one("SELECT id, verdict FROM tx WHERE serial = ? AND start_key = ?", serial, key)
            if known:
                self._db.execute("UPDATE tx SET duplicate_starts = duplicate_starts + 1 WHERE id = ?", known["id"])
                self._keep(known["id"], EventType.STARTED, None, start.digest, start.at)
                return int(known["id"]), TokenVerdict(known["verdict"])
            tariff = tariff_text(self._chargers.tariff_at(serial, start.at))
            tx = self._db.insert(
                "INSERT INTO tx (serial, station, version, start_key, evse, started_at, start_wh, tariff)"
                " VALUES (?, ?, '1.6', ?, ?, ?, ?, ?)",
                *(serial, station, key, start.connector, stamp(start.at), start.meter_wh, tariff),
            )
            self._db.execute("UPDATE tx SET wire_id = ? WHERE id = ?", str(tx), tx)
            self._keep(tx, EventType.STARTED, None, start.digest, start.at)
            return tx, self._take_token(tx, serial, start.id_token, start.connector)

    def stop(self, serial: str, station: str, stop: Stop) -> None:
        """StopTransaction: the first one counts, whatever comes after it."""
        with self._db.unit():
            row = self._find(serial, stop.wire_id)
            if row is None:
                self._unknown(station, stop.wire_id, "StopTransaction", stop.payload)
                return
            tx = int(row["id"])
            self._keep(tx, EventType.ENDED, None, stop.digest, stop.at)
            if row["stop_digest"] is not None:
                self._db.execute("UPDATE tx SET duplicate_stops = duplicate_stops + 1 WHERE id = ?", tx)
                if row["stop_digest"] != stop.digest:
                    detail = "a second StopTransaction says something else; the first one counts"
                    self._chargers.report(station=station, tx=tx, kind="second_stop", detail=detail, payload=stop.payload)
                return
            self._read(tx, stop.samples)
            self._db.execute(
                "UPDATE tx SET stopped_at = ?, stop_wh = ?, stop_reason = ?, stop_digest = ? WHERE id = ?",
                *(stamp(stop.at), stop.meter_wh, stop.reason, stop.digest, tx),
            )
            self._settle(tx)

    def meter(self, serial: str, station: str, meter: Meter) -> None:
        """MeterValues of a transaction."""
        with self._db.unit():
            row = self._find(serial, meter.wire_id)
            if row is None:
                self._unknown(station, meter.wire_id, "MeterValues", meter.payload)
                return
            tx = int(row["id"])
            if not self._keep(tx, EventType.UPDATED, None, meter.digest, meter.samples[0].at):
                self._db.execute("UPDATE tx SET duplicate_updates = duplicate_updates + 1 WHERE id = ?", tx)
                return
            self._read(tx, meter.samples)
            self._settle(tx)
            self._note_overdrawn(tx)

    def cost_report(self, serial: str, station: str, wire_id: str, report: CostReport, payload: str) -> bool:
        """The charger's own figure; False for a transaction nobody knows."""
        with self._db.unit():
            row = self._find(serial, wire_id)
            if row is None:
                self._unknown(station, wire_id, "SessionCost", payload)
                return False
            self._take_cost(int(row["id"]), report)
            return True

    # OCPP 2.0.1

    def event(self, serial: str, station: str, event: TransactionEvent) -> EventAnswer:
        """TransactionEvent: folded into its transaction whatever the order of arrival."""
        with self._db.unit():
            row = self._find(serial, event.wire_id)
            if row is None:
                tx = self._db.insert(
                    "INSERT INTO tx (serial, station, version, wire_id, evse) VALUES (?, ?, '2.0.1', ?, ?)",
                    *(serial, station, event.wire_id, event.evse),
                )
            else:
                tx = int(row["id"])
            if self._is_news(tx, station, event):
                self._fold(tx, serial, station, event)
            return self._answer(tx, serial, event)

    def _is_news(self, tx: int, station: str, event: TransactionEvent) -> bool:
        same = self._db.one("SELECT digest FROM tx_message WHERE tx = ? AND seq_no = ? ORDER BY id LIMIT 1", tx, event.seq_no)
        fresh = self._keep(tx, event.event_type, event.seq_no, event.digest, event.at)
        if same is None:
            return True
        self._db.execute(_COUNT_DUPLICATE[event.event_type], tx)
        if same["digest"] == event.digest or not fresh:
            return False
        detail = f"seqNo {event.seq_no} was used before for something else"
        self._chargers.report(station=station, tx=tx, kind="seq_no_reused", detail=detail, payload=event.payload)
        return event.event_type is not EventType.UPDATED  # the begin and the end of a session are never thrown away

    def _fold(self, tx: int, serial: str, station: str, event: TransactionEvent) -> None:
        row = self._row(tx)
        if event.evse is not None and row["evse"] is None:
            self._db.execute("UPDATE tx SET evse = ? WHERE id = ?", event.evse, tx)
        if event.event_type is EventType.STARTED and row["started_at"] is None:
            tariff = tariff_text(self._chargers.tariff_at(serial, event.at))
            self._db.execute("UPDATE tx SET started_at = ?, tariff = coalesce(tariff, ?) WHERE id = ?", stamp(event.at), tariff, tx)
        elif event.event_type is EventType.ENDED and row["stopped_at"] is None:
            self._db.execute(
                "UPDATE tx SET stopped_at = ?, stop_reason = ?, ended_seq_no = ? WHERE id = ?",
                *(stamp(event.at), event.stopped_reason or "Local", event.seq_no, tx),
            )
        elif event.event_type is not EventType.UPDATED:
            detail = f"a second {event.event_type} event; the first one counts"
            self._chargers.report(station=station, tx=tx, kind="second_event", detail=detail, payload=event.payload)
            return
        if row["ended_seq_no"] is not None and event.seq_no > row["ended_seq_no"]:
            detail = f"seqNo {event.seq_no} after the end, which had {row['ended_seq_no']}"
            self._chargers.report(station=station, tx=tx, kind="after_end", detail=detail, payload=event.payload)
            return
        self._read(tx, event.samples)
        self._mark_ends(tx, event)
        if event.charging_state:
            self._db.execute("UPDATE tx SET charging_state = ? WHERE id = ?", event.charging_state, tx)
        if event.id_token is not None and not row["id_token"] and _may_own(event):
            self._take_token(tx, serial, event.id_token, event.evse if event.evse is not None else row["evse"])
        elif event.remote_start_id is not None and row["payment"] is None and not row["id_token"]:
            self._take_remote_start(tx, serial, event.remote_start_id)
        if event.cost is not None:
            self._take_cost(tx, event.cost)
        self._settle(tx)
        self._note_overdrawn(tx)

    def _mark_ends(self, tx: int, event: TransactionEvent) -> None:
        """The start register is what an event calls Transaction.Begin, else the first of Started; the stop register likewise."""
        energies = [sample for sample in event.samples if sample.energy_wh is not None]
        begin = next(
            (s for s in energies if s.context == BEGIN), energies[0] if energies and event.event_type is EventType.STARTED else None
        )
        end = next((s for s in energies if s.context == END), energies[-1] if energies else None)
        if begin is not None:
            self._db.execute("UPDATE tx SET start_wh = coalesce(start_wh, ?) WHERE id = ?", begin.energy_wh, tx)
        if end is not None and event.event_type is EventType.ENDED:
            self._db.execute("UPDATE tx SET stop_wh = ? WHERE id = ?", end.energy_wh, tx)

    def _answer(self, tx: int, serial: str, event: TransactionEvent) -> EventAnswer:
        row = self._row(tx)
        verdict = None
        if event.id_token is not None:
            is_owner = row["verdict"] is not None and str(row["id_token"]).upper() == event.id_token.upper()
            verdict = TokenVerdict(row["verdict"]) if is_owner else self.verdict(serial, event.id_token)
        cost = None
        if event.event_type is EventType.ENDED:
            cost = maybe_amount(row["gross"])
        elif event.event_type is EventType.UPDATED and (running := self.running_cost(tx, event.at)) is not None:
            cost = running.gross
        return EventAnswer(verdict=verdict, total_cost=cost)

    # tokens

    def verdict(self, serial: str, id_token: str) -> TokenVerdict:
        """Authorize: a payment's token or a card."""
        return self._payments.verdict(serial, id_token) or self._chargers.card_verdict(id_token)

    def _take_token(self, tx: int, serial: str, id_token: str, evse: int | None) -> TokenVerdict:
        """The token that opened the transaction: its verdict, and its payment when it is a payment's."""
        payment = self._payments.by_token(id_token)
        verdict = self._chargers.card_verdict(id_token) if payment is None else self._take_payment(tx, serial, payment, evse)
        self._db.execute("UPDATE tx SET id_token = ?, verdict = ? WHERE id = ?", id_token, verdict, tx)
        return verdict

    def _take_remote_start(self, tx: int, serial: str, remote_start_id: int) -> None:
        payment = self._payments.by_id(remote_start_id)
        if payment is not None and payment.serial == serial and payment.tx is None:
            self._take_token(tx, serial, payment.id_token, None)

    def bind_started(self, serial: str, station: str, payment: Payment, wire_id: str) -> None:
        """RequestStartTransactionResponse named a transaction that exists already (F01.FR.13)."""
        with self._db.unit():
            row = self._find(serial, wire_id)
            if row is None:
                self._db.insert(
                    "INSERT INTO tx (serial, station, version, wire_id, evse) VALUES (?, ?, '2.0.1', ?, ?)",
                    *(serial, station, wire_id, payment.evse),
                )
                row = self._find(serial, wire_id)
            current = self._payments.by_id(payment.payment_id)
            if row is not None and not row["id_token"] and current is not None and current.tx is None:
                self._take_token(int(row["id"]), serial, payment.id_token, payment.evse)

    def _take_payment(self, tx: int, serial: str, payment: Payment, evse: int | None) -> TokenVerdict:
        station = str(self._row(tx)["station"])
        if payment.serial != serial:
            detail = f"the token of a payment for {payment.station} was used at {station}"
            self._chargers.report(station=station, tx=tx, kind="foreign_token", detail=detail)
            return TokenVerdict.INVALID
        if payment.tx is not None:
            detail = f"the single-use token of payment {payment.key} opened transaction {payment.tx} before"
            self._chargers.report(station=station, tx=tx, kind="token_used_twice", detail=detail)
            return TokenVerdict.CONCURRENT_TX if payment.state is PaymentState.CHARGING else TokenVerdict.EXPIRED
        if evse is not None and evse != payment.evse:
            detail = f"paid for EVSE {payment.evse}, started on EVSE {evse}"
            self._chargers.report(station=station, tx=tx, kind="other_evse", detail=detail)
        self._payments.bind(payment, tx)
        # is_settled = 0: a token that arrives after both ends of its transaction is settled anew, with the payment's tariff.
        self._db.execute(
            "UPDATE tx SET payment = ?, tariff = ?, is_settled = 0 WHERE id = ?", payment.payment_id, tariff_text(payment.tariff), tx
        )
        if payment.state is PaymentState.VOIDED:
            detail = f"payment {payment.key} had been voided ({payment.reason}); what this session costs cannot be collected"
            self._chargers.report(station=station, tx=tx, kind="start_after_void", detail=detail)
            return TokenVerdict.EXPIRED
        return TokenVerdict.ACCEPTED

    # readings, costs, settlement

    def _read(self, tx: int, samples: tuple[Sample, ...]) -> None:
        dark_ms = interrupted_ms(samples)
        if dark_ms:
            # One that comes behind the end (it had been refused) gives back what was taken for the time without power.
            self._db.execute("UPDATE tx SET interrupted_ms = interrupted_ms + ?, is_settled = 0 WHERE id = ?", dark_ms, tx)
        for sample in samples:
            at = stamp(sample.at)
            if sample.energy_wh is not None:
                self._db.execute(
                    "UPDATE tx SET first_at = ?, first_wh = ? WHERE id = ? AND (first_at IS NULL OR first_at > ?)",
                    at,
                    sample.energy_wh,
                    tx,
                    at,
                )
                self._db.execute(
                    "UPDATE tx SET last_at = ?, last_wh = ? WHERE id = ? AND (last_at IS NULL OR last_at <= ?)",
                    at,
                    sample.energy_wh,
                    tx,
                    at,
                )
            if sample.power_w is not None:
                self._db.execute(
                    "UPDATE tx SET power_w = ? WHERE id = ? AND (last_at IS NULL OR last_at <= ?)", str(sample.power_w), tx, at
                )

    def running_cost(self, tx: int, at: datetime) -> Cost | None:
        """What the session costs at a moment with the last energy that is known; None without a price or a start."""
        row = self._row(tx)
        if row["tariff"] is None or row["started_at"] is None:
            return None
        start_wh = row["start_wh"] if row["start_wh"] is not None else row["first_wh"]
        energy_wh = max(0, row["last_wh"] - start_wh) if row["last_wh"] is not None and start_wh is not None else 0
        seconds = _seconds(moment(row["started_at"]), at) - _interrupted_s(row)
        return session_cost(tariff_from(row["tariff"]), energy_wh, max(Decimal(0), seconds))

    def take_overdrawn(self) -> tuple[int, ...]:
        """Transactions whose cost has reached what was authorised since the last question: they are to be stopped."""
        overdrawn, self._overdrawn = tuple(self._overdrawn), []
        return overdrawn

    def _note_overdrawn(self, tx: int) -> None:
        row = self._row(tx)
        if row["payment"] is None or row["last_at"] is None or row["stopped_at"] is not None:
            return
        payment, cost = self._payments.by_id(row["payment"]), self.running_cost(tx, moment(row["last_at"]))
        if payment is None or cost is None or payment.state is not PaymentState.CHARGING or payment.stop_requested:
            return
        if cost.gross >= payment.authorized:
            self._overdrawn.append(tx)

    def _settle(self, tx: int) -> None:
        """Once, when both ends are known."""
        row = self._row(tx)
        if row["is_settled"] or row["started_at"] is None or row["stopped_at"] is None:
            return
        energy_wh = self._energy(row)
        seconds = _seconds(moment(row["started_at"]), moment(row["stopped_at"])) - _interrupted_s(row)
        if seconds < 0:
            self._flag(row, "time_backwards", f"stopped at {row['stopped_at']}, before the start at {row['started_at']}; billed 0 s")
            seconds = Decimal(0)
        cost = None
        if row["tariff"] is not None:
            tariff = tariff_from(row["tariff"])
            cost = _nothing(tariff) if energy_wh == 0 else session_cost(tariff, energy_wh, seconds)
        self._db.execute(
            "UPDATE tx SET is_settled = 1, energy_wh = ?, seconds = ?, gross = ?, vat = ? WHERE id = ?",
            *(energy_wh, str(seconds), None if cost is None else str(cost.gross), None if cost is None else str(cost.vat), tx),
        )
        payment = self._payments.by_id(row["payment"]) if row["payment"] is not None else None
        if payment is not None and cost is not None:
            if energy_wh == 0:
                self._payments.void(payment, "nothing was delivered")
            else:
                self._payments.capture(payment, cost.gross)
        self._compare(tx)

    def _energy(self, row: sqlite3.Row) -> int:
        start_wh = row["start_wh"] if row["start_wh"] is not None else row["first_wh"]
        stop_wh = row["stop_wh"] if row["stop_wh"] is not None else row["last_wh"]
        if start_wh is None or stop_wh is None:
            self._flag(row, "energy_unknown", "no energy register was ever reported; billed 0 Wh")
            return 0
        if row["start_wh"] is None or row["stop_wh"] is None:
            self._flag(row, "energy_estimated", "a register of the begin or the end is missing; the nearest one known counts")
        if stop_wh < start_wh:
            self._flag(row, "meter_backwards", f"the register went from {start_wh} to {stop_wh} Wh; billed 0 Wh")
            return 0
        return int(stop_wh - start_wh)

    def _take_cost(self, tx: int, report: CostReport) -> None:
        row = self._row(tx)
        if row["charger_is_final"] and not report.is_final:
            return
        if row["charger_is_final"] and (row["charger_gross"], row["charger_vat"]) != (str(report.gross), str(report.vat)):
            self._flag(row, "second_final_cost", f"the charger's final figure changed from {row['charger_gross']} to {report.gross}")
            return
        self._db.execute(
            "UPDATE tx SET charger_currency = ?, charger_gross = ?, charger_vat = ?, charger_energy_wh = ?, charger_seconds = ?,"
            " charger_is_final = ? WHERE id = ?",
            *(report.currency, str(report.gross), str(report.vat), report.energy_wh, str(report.seconds), int(report.is_final), tx),
        )
        self._compare(tx)

    def _compare(self, tx: int) -> None:
        """The portal bills; a final figure of the charger that differs is said loudly."""
        row = self._row(tx)
        if not (row["is_settled"] and row["charger_is_final"]):
            return
        differences = []
        if row["gross"] is None:
            differences.append(f"the charger says {row['charger_gross']} {row['charger_currency']}, the portal knows no price")
        else:
            tariff, seconds = tariff_from(row["tariff"]), Decimal(row["seconds"])
            # A session that delivered nothing is free here by policy; a charger that applies its tariff literally is right as well.
            literal = session_cost(tariff, row["energy_wh"], seconds)
            ours = {(Decimal(row["gross"]), Decimal(row["vat"])), (literal.gross, literal.vat)}
            if (Decimal(row["charger_gross"]), Decimal(row["charger_vat"])) not in ours:
                differences.append(
                    f"cost: portal {row['gross']} with VAT {row['vat']}, charger {row['charger_gross']} with VAT {row['charger_vat']}"
                )
            if row["charger_currency"] != tariff.currency:
                differences.append(f"currency: portal {tariff.currency}, charger {row['charger_currency']}")
            if abs(Decimal(row["charger_seconds"]) - seconds) >= 1:  # below a second the charger may show whole ones
                differences.append(f"time: portal {seconds} s, charger {row['charger_seconds']} s")
        if row["charger_energy_wh"] != row["energy_wh"]:
            differences.append(f"energy: portal {row['energy_wh']} Wh, charger {row['charger_energy_wh']} Wh")
        mismatch = "; ".join(differences)
        if mismatch and mismatch != row["mismatch"]:
            self._flag(row, "cost_mismatch", mismatch)
        self._db.execute("UPDATE tx SET mismatch = ? WHERE id = ?", mismatch, tx)

    # rows

    def _row(self, tx: int) -> sqlite3.Row:
        row = self._db.one("SELECT * FROM tx WHERE id = ?", tx)
        assert row is not None
        return row

    def _find(self, serial: str, wire_id: str) -> sqlite3.Row | None:
        return self._db.one("SELECT * FROM tx WHERE serial = ? AND wire_id = ?", serial, wire_id)

    def _keep(self, tx: int, event_type: EventType, seq_no: int | None, digest: str, at: datetime) -> bool:
        """Remember a message; False when the same one is there already."""
        if self._db.execute("UPDATE tx_message SET copies = copies + 1 WHERE tx = ? AND kind = ? AND digest = ?", tx, event_type, digest):
            return False
        self._db.insert(
            "INSERT INTO tx_message (tx, kind, seq_no, digest, at, received_at) VALUES (?, ?, ?, ?, ?, ?)",
            *(tx, event_type, seq_no, digest, stamp(at), stamp(self._clock())),
        )
        return True

    def _flag(self, row: sqlite3.Row, kind: str, detail: str) -> None:
        self._chargers.report(station=row["station"], tx=row["id"], kind=kind, detail=detail)

    def _unknown(self, station: str, wire_id: str, action: str, payload: str) -> None:
        detail = f"{action} for transaction {wire_id}, which this portal never gave to this charger"
        self._chargers.report(station=station, kind="unknown_transaction", detail=detail, payload=payload)

    # reading the books

    def is_occupied(self, serial: str, evse: int) -> bool:
        """Whether somebody's transaction is running on this EVSE; one without a token is only a car that waits for its payment."""
        return bool(
            self._db.count(
                "SELECT count(*) FROM tx WHERE serial = ? AND evse = ? AND started_at IS NOT NULL AND stopped_at IS NULL"
                " AND id_token <> ''",
                *(serial, evse),
            )
        )

    def get(self, tx: int) -> BookRow | None:
        """One transaction."""
        rows = self._book("WHERE t.id = ?", tx)
        return rows[0] if rows else None

    def all(self) -> list[BookRow]:
        """Every transaction, in the order in which the portal first heard of them."""
        return self._book("")

    def of_charger(self, serial: str) -> list[BookRow]:
        """The transactions of one charger, the newest first."""
        return self._book("WHERE t.serial = ?", serial)[::-1]

    def _book(self, where: str, *values: str | int) -> list[BookRow]:
        return [_book_row(row) for row in self._db.all(f"{_BOOK} {where} ORDER BY t.id", *values)]


_COUNT_DUPLICATE = {
    EventType.STARTED: "UPDATE tx SET duplicate_starts = duplicate_starts + 1 WHERE id = ?",
    EventType.UPDATED: "UPDATE tx SET duplicate_updates = duplicate_updates + 1 WHERE id = ?",
    EventType.ENDED: "UPDATE tx SET duplicate_stops = duplicate_stops + 1 WHERE id = ?",
}

_BOOK = """
SELECT t.*, p.key AS payment_key, p.state AS payment_state, p.authorized, p.gross AS captured, p.vat AS captured_vat, p.commission, p.net,
    p.uncollected,
    (SELECT count(*) FROM tx_message m WHERE m.tx = t.id) AS messages,
    (SELECT group_concat(m.seq_no) FROM tx_message m WHERE m.tx = t.id AND m.seq_no IS NOT NULL) AS seq_nos,
    (SELECT group_concat(a.kind || ': ' || a.detail, char(10)) FROM anomaly a WHERE a.tx = t.id) AS anomalies
FROM tx t LEFT JOIN payment p ON p.id = t.payment
"""


def _book_row(row: sqlite3.Row) -> BookRow:
    seq_nos = {int(number) for number in row["seq_nos"].split(",")} if row["seq_nos"] else set()
    return BookRow(
        transaction_id=row["id"],
        wire_id=row["wire_id"],
        version=row["version"],
        serial=row["serial"],
        station=row["station"],
        evse=row["evse"],
        id_token=row["id_token"],
        verdict=row["verdict"] or "",
        started_at=maybe_moment(row["started_at"]),
        stopped_at=maybe_moment(row["stopped_at"]),
        start_wh=row["start_wh"] if row["start_wh"] is not None else row["first_wh"],
        stop_wh=row["stop_wh"] if row["stop_wh"] is not None or not row["stopped_at"] else row["last_wh"],
        last_at=maybe_moment(row["last_at"]),
        last_wh=row["last_wh"],
        power_w=maybe_amount(row["power_w"]),
        energy_wh=row["energy_wh"],
        seconds=maybe_amount(row["seconds"]),
        stop_reason=row["stop_reason"],
        is_settled=bool(row["is_settled"]),
        currency=tariff_from(row["tariff"]).currency if row["tariff"] else None,
        session_gross=maybe_amount(row["gross"]),
        session_vat=maybe_amount(row["vat"]),
        charger_gross=maybe_amount(row["charger_gross"]),
        charger_vat=maybe_amount(row["charger_vat"]),
        charger_energy_wh=row["charger_energy_wh"],
        charger_is_final=bool(row["charger_is_final"]),
        mismatch=row["mismatch"],
        payment_key=row["payment_key"],
        payment_state=PaymentState(row["payment_state"]) if row["payment_state"] else None,
        authorized=maybe_amount(row["authorized"]),
        gross=maybe_amount(row["captured"]),
        vat=maybe_amount(row["captured_vat"]),
        commission=maybe_amount(row["commission"]),
        net=maybe_amount(row["net"]),
        uncollected=maybe_amount(row["uncollected"]),
        messages=row["messages"],
        duplicate_starts=row["duplicate_starts"],
        duplicate_updates=row["duplicate_updates"],
        duplicate_stops=row["duplicate_stops"],
        missing_seq_nos=tuple(sorted(set(range(max(seq_nos) + 1)) - seq_nos)) if seq_nos else (),
        anomalies=tuple(row["anomalies"].split("\n")) if row["anomalies"] else (),
    )


def _may_own(event: TransactionEvent) -> bool:
    """The token of Ended, or of a StopAuthorized, may be that of somebody who only stopped the session."""
    return event.event_type is not EventType.ENDED and event.trigger_reason != "StopAuthorized"


def _nothing(tariff: Tariff) -> Cost:
    zero = rounded(Decimal(0), tariff.currency)
    return Cost(gross=zero, vat=zero)


def interrupted_ms(samples: tuple[Sample, ...]) -> int:
    """How long a charger was without power: from each Interruption.Begin to the Interruption.End behind it in the same message."""
    dark, begun = timedelta(), None
    for sample in samples:
        if sample.context == INTERRUPTION_BEGIN:
            begun = sample.at
        elif sample.context == INTERRUPTION_END and begun is not None:
            dark += max(timedelta(), sample.at - begun)
            begun = None
    return dark // timedelta(milliseconds=1)


def _interrupted_s(row: sqlite3.Row) -> Decimal:
    dark_ms = int(row["interrupted_ms"])
    return Decimal(dark_ms).scaleb(-3) if dark_ms else Decimal(0)


def _seconds(start: datetime, stop: datetime) -> Decimal:
    """Exact seconds between two timestamps: a timedelta has whole microseconds."""
    difference = stop - start
    return Decimal(plain(Decimal(difference.days * 86_400 + difference.seconds) + Decimal(difference.microseconds).scaleb(-6)))
