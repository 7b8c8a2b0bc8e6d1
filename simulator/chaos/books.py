"""The comparison: what the portal booked, what the charger stored, and what the meter really counted."""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

from agent.domain.transaction import TransactionRecord
from agent.store import ledger
from agent.store.serial import load
from simulator.chaos.plan import Kind, SessionState, Trouble
from simulator.chaos.witness import Began, Witness, floor_wh, read_only
from simulator.portal import PaymentState, Portal
from simulator.portal.transactions import BookRow

ALWAYS_EXPECTED: Final = frozenset(("stop_not_delivered", "unexpected_answer", "start_after_void"))
"""Late answers, a stop for a charger that is away, a session that began before its payment was given back: nothing is lost by them."""
LOSES_TIME: Final = frozenset((Trouble.CRASH_REBOOT, Trouble.POWER_CUT, Trouble.LEAVE_REBOOT))
"""What a moment without a time does not survive."""
EXPECTED: Final[dict[str, frozenset[Kind]]] = {
    "refused_call": frozenset((Trouble.PORTAL_REFUSES,)),
    "unknown_transaction": frozenset((Trouble.PORTAL_REFUSES, Trouble.PORTAL_ERRORS, Trouble.PORTAL_MUTE)),
}
"""Anomalies that are expected where one of these troubles was."""


UNDATABLE: Final = "cannot become known"
"""In the last error of a dead letter: its time was never known in its boot. It is kept, and billed by hand (docs/decisions/0012)."""
WRONG_CLOCK: Final = frozenset((Trouble.CLOCK_FORWARD, Trouble.CLOCK_BACK, Trouble.CLOCK_UNKNOWN))
"""A board's clock that is not believed after a reboot; ahead, because then the right one is earlier than what the disk has."""
SHORTFALL_WH: Final = 190
"""22 kW for half a minute: a checkpoint every 10 s here, a read-out every 2 s, 5 s until a silent meter is lost, 3 s to stop."""
FROZEN_WH: Final = 35
"""A register that stands still is found out when the power has promised 30 Wh (agent.metering.plausibility), a read-out later."""


@dataclass(slots=True)
class Findings:
    """What the comparison gave. Error: billed wrongly. Shortfall: not billed, because a session had to end on an earlier value."""

    violations: list[str] = field(default_factory=list)
    sessions: int = 0
    estimated: int = 0
    messages: int = 0
    copies: int = 0
    lost: int = 0
    doubled: int = 0
    invented: int = 0
    greatest_error_wh: int = 0
    greatest_shortfall_wh: int = 0
    billed_wh: int = 0
    delivered_wh: int = 0
    closings: int = 0
    by_hand: int = 0
    """Sessions without a time: whole on the charger's disk and exported from there, not in the portal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One transaction of the charger's store."""

    record: TransactionRecord
    remote_id: str | None
    is_open: bool
    is_delivered: bool
    is_undatable: bool = False

    @property
    def name(self) -> str:
        """Its id."""
        return self.record.transaction_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message about a transaction, as the portal received it."""

    tx: int
    kind: str
    seq_no: int | None
    at: datetime
    copies: int


def stored(disk: Path) -> list[Stored]:
    """The charger's own books, in the order in which its transactions began."""
    with closing(read_only(disk)) as db:
        rows = db.execute("SELECT record, remote_id, is_open, is_delivered, ordinal FROM transactions ORDER BY ordinal").fetchall()
        undatable = {
            ordinal
            for (ordinal,) in db.execute("SELECT ordinal FROM outbox WHERE state = 'dead' AND last_error LIKE ?", (f"%{UNDATABLE}%",))
        }
    return [
        Stored(
            record=load(record, TransactionRecord),
            remote_id=remote_id,
            is_open=bool(is_open),
            is_delivered=bool(is_delivered),
            is_undatable=ordinal in undatable,
        )
        for record, remote_id, is_open, is_delivered, ordinal in rows
    ]


def messages(portal_file: Path) -> list[Message]:
    """What the portal received about transactions, in order of arrival."""
    with closing(sqlite3.connect(portal_file)) as db:
        rows = db.execute("SELECT tx, kind, seq_no, at, copies FROM tx_message ORDER BY id").fetchall()
    return [Message(tx=tx, kind=kind, seq_no=seq, at=datetime.fromisoformat(at), copies=copies) for tx, kind, seq, at, copies in rows]


def compare(portal: Portal, portal_file: Path, disk: Path, witness: Witness, hits: Counter[tuple[SessionState, Kind]]) -> Findings:
    """Compare everything after a run that has come to rest."""
    found = Findings(closings=witness.closings)
    sessions = stored(disk)
    rows = portal.books()
    of_row: dict[str, list[BookRow]] = defaultdict(list)
    for row in rows:
        of_row[row.wire_id].append(row)
    heard: dict[int, list[Message]] = defaultdict(list)
    for message in messages(portal_file):
        heard[message.tx].append(message)
        found.messages += message.copies
        found.copies += message.copies - 1
    true_wh = witness.true_wh()
    found.sessions = len(sessions)
    for name in sorted(witness.on_disk - {session.name for session in sessions}):
        found.lost += 1
        found.violations.append(f"lost: transaction {name} was on disk and is not there any more")
    known: set[int] = set()
    began = {one.transaction_id: one for one in witness.began}
    is_disk_sound = not _had(hits, frozenset((Trouble.DISK_SLOW, Trouble.DISK_FAILS)))
    for session in sessions:
        own = of_row.get(_wire_id(session, rows), [])
        known.update(row.transaction_id for row in own)
        if len(own) > 1:
            found.doubled += 1
            found.violations.append(f"doubled: transaction {session.name} is {len(own)} times in the portal")
        if session.is_undatable and not session.is_open:
            _by_hand(found, session, hits)
            continue
        if not own or session.is_open or not session.is_delivered:
            found.lost += 1
            state = f"open {session.is_open}, delivered {session.is_delivered}, number {session.remote_id}"
            found.violations.append(f"lost: transaction {session.name} is {len(own)} times in the portal; {state}")
            continue
        is_lied_to = session.name in witness.lied_to
        _compare_one(found, session, own[0], heard[own[0].transaction_id], true_wh, witness)
        if not is_lied_to:
            _compare_registers(found, session, began.get(session.name), real=true_wh.get(session.name), is_disk_sound=is_disk_sound)
    for row in rows:
        if row.transaction_id not in known:
            found.invented += 1
            found.violations.append(f"invented: the portal has transaction {row.wire_id} of which the charger knows nothing")
    for name, energy_wh in true_wh.items():
        if energy_wh and name not in {session.name for session in sessions}:
            found.violations.append(f"energy: {energy_wh} Wh flowed in transaction {name}, which is on no disk")
    found.delivered_wh = floor_wh(witness.delivered_wh())
    if found.billed_wh > found.delivered_wh + found.sessions:  # each session may round up to the Wh that it began in
        found.violations.append(f"energy: {found.billed_wh} Wh billed of {found.delivered_wh} Wh delivered")
    late = {
        row.transaction_id for session in sessions if _may_be_told_late(session, witness) for row in of_row.get(_wire_id(session, rows), [])
    }
    _judge_anomalies(found, portal, hits, late)
    _judge_payments(found, portal)
    _judge_chain(found, disk)
    return found


def _judge_chain(found: Findings, disk: Path) -> None:
    """Every session that has ended is in the chain, and the chain proves itself."""
    with closing(read_only(disk)) as db:
        proof = ledger.verify(db)
    found.violations += [f"chain: row {problem.index}: {problem.text}" for problem in proof.problems]
    if proof.sessions != found.sessions:
        found.violations.append(f"chain: {proof.sessions} sessions in it, {found.sessions} on disk")


def _by_hand(found: Findings, session: Stored, hits: Counter[tuple[SessionState, Kind]]) -> None:
    """What the portal does not take without a time is whole on the disk, and came about by nothing else."""
    found.by_hand += 1
    found.billed_wh += session.record.energy_wh or 0
    if not (_had(hits, LOSES_TIME) and _had(hits, WRONG_CLOCK)):
        found.lost += 1
        found.violations.append(f"lost: transaction {session.name} has no time, and nothing took it")
    if session.record.ended_at is None or session.record.meter_stop is None:
        found.lost += 1
        found.violations.append(f"lost: transaction {session.name} cannot be billed by hand: {session.record}")


def _wire_id(session: Stored, rows: Sequence[BookRow]) -> str:
    return (session.name if rows and rows[0].version == "2.0.1" else session.remote_id) or ""


def _may_be_told_late(session: Stored, witness: Witness) -> bool:
    """Whether the message that tells of an outage was a dead letter: until it comes, the portal bills the time without power."""
    return session.record.resumed_at is not None and session.name in witness.resent


def _had(hits: Counter[tuple[SessionState, Kind]], kinds: frozenset[Kind]) -> bool:
    return any(kind in kinds for _, kind in hits)


def _compare_one(found: Findings, session: Stored, row: BookRow, heard: list[Message], true_wh: dict[str, int], witness: Witness) -> None:
    record, name = session.record, session.name
    is_lied_to, is_resent = name in witness.lied_to, name in witness.resent
    starts = [message for message in heard if message.kind == "Started"]
    ends = [message for message in heard if message.kind == "Ended"]
    if len(starts) > 1 or len(ends) > 1:
        found.doubled += 1
    billed, real = record.energy_wh or 0, true_wh.get(name)
    found.billed_wh += billed
    start_wh = record.meter_start.energy_wh or Decimal(0)
    stop_wh = (record.meter_stop.energy_wh if record.meter_stop is not None else None) or start_wh
    checks = [
        (len(starts) == 1 and len(ends) == 1, f"doubled: {len(starts)} different Starts and {len(ends)} different Ends"),
        (row.is_settled and row.stopped_at is not None, "lost: the portal never saw the end"),
        (row.energy_wh == billed, f"energy: portal {row.energy_wh} Wh, store {billed} Wh"),
        (billed == floor_wh(stop_wh) - floor_wh(start_wh), f"energy: {billed} Wh is not {stop_wh} - {start_wh}"),
        (not row.missing_seq_nos, f"lost: messages {row.missing_seq_nos} never came"),
        (real is not None, "invented: the daemon was never seen to begin it"),
    ]
    if real is not None:
        if is_lied_to:
            # What a frozen meter has not shown is billed when it shows it, to whom it shows it, until it is seen to stand still.
            found.estimated += 1
            checks.append((billed <= real + FROZEN_WH, f"energy: {billed} Wh billed of {real} Wh, with a meter that stood still"))
        elif record.meter_stop_estimated:
            found.estimated += 1
            found.greatest_error_wh = max(found.greatest_error_wh, billed - real)
            found.greatest_shortfall_wh = max(found.greatest_shortfall_wh, real - billed)
            checks.append((billed <= real, f"energy: {billed} Wh billed of {real} Wh that were delivered"))
        else:
            found.greatest_error_wh = max(found.greatest_error_wh, abs(billed - real))
            checks.append((billed == real, f"energy: {billed} Wh billed, {real} Wh delivered, register read at the end"))
    checks += _order(row, heard, is_loose=is_resent and row.version != "2.0.1")
    checks += _money(record, row)
    found.violations += [f"{text} (transaction {name})" for is_so, text in checks if not is_so]


def _compare_registers(found: Findings, session: Stored, began: Began | None, *, real: int | None, is_disk_sound: bool) -> None:
    """What is billed are registers that the meter showed, and what an earlier one leaves out is bounded by the checkpoints."""
    record = session.record
    start_wh = record.meter_start.energy_wh
    if began is not None and not began.is_near_leap and start_wh is not None and floor_wh(start_wh) != floor_wh(began.register_wh):
        found.violations.append(f"energy: began at {start_wh} Wh, the meter showed {began.register_wh} Wh (transaction {session.name})")
    shortfall = (real or 0) - (record.energy_wh or 0)
    if record.meter_stop_estimated and is_disk_sound and shortfall > SHORTFALL_WH:
        found.violations.append(f"energy: {shortfall} Wh not billed, more than between two checkpoints (transaction {session.name})")


def _order(row: BookRow, heard: list[Message], *, is_loose: bool) -> list[tuple[bool, str]]:
    """1.6 has no numbers: there a dead letter that was sent again comes when it comes, behind its Start."""
    told = sorted(heard, key=lambda message: message.seq_no) if row.version == "2.0.1" else heard  # type: ignore[arg-type,return-value]
    kinds = [message.kind for message in told]
    times = [message.at for message in told]
    in_order = kinds[:1] == ["Started"] and (is_loose or kinds[-1:] == ["Ended"])
    return [
        (in_order, f"order: {kinds}"),
        (is_loose or times == sorted(times), f"order: times {[f'{at:%d %H:%M:%S.%f}' for at in times]}"),
        (row.seconds is None or row.seconds >= 0, f"order: {row.seconds} s long"),
    ]


def _money(record: TransactionRecord, row: BookRow) -> list[tuple[bool, str]]:
    return [
        (not row.mismatch, f"money: {row.mismatch}"),
        (record.cost_gross == row.charger_gross, f"money: store {record.cost_gross}, sent {row.charger_gross}"),
        (
            row.charger_gross == row.session_gross or not record.energy_wh,  # nothing delivered costs nothing in this portal
            f"money: charger {row.charger_gross}, portal {row.session_gross}",
        ),
    ]


def _judge_anomalies(found: Findings, portal: Portal, hits: Counter[tuple[SessionState, Kind]], late: set[int]) -> None:
    """`late`: the portal's numbers of the transactions whose bill it may have had to put right; that it is right then is asked before."""
    for anomaly in portal.anomalies():
        if anomaly.kind == "cost_mismatch" and anomaly.tx in late:
            continue
        if anomaly.kind not in ALWAYS_EXPECTED and not _had(hits, EXPECTED.get(anomaly.kind, frozenset())):
            found.violations.append(f"anomaly: {anomaly.kind}: {anomaly.detail}")


def _judge_payments(found: Findings, portal: Portal) -> None:
    for payment in portal.payments():
        row = None if payment.tx is None else portal.book_row(payment.tx)
        if payment.state is PaymentState.CAPTURED:
            wanted = None if row is None or row.session_gross is None else min(row.session_gross, payment.authorized)
            if payment.gross != wanted:
                found.violations.append(f"money: payment {payment.key} took {payment.gross}, the session costs {wanted}")
        elif payment.state is PaymentState.VOIDED and row is not None and row.energy_wh and not payment.uncollected:
            found.violations.append(f"money: payment {payment.key} was given back ({payment.reason}), {row.energy_wh} Wh were delivered")
