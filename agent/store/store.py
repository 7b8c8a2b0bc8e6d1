"""The store: one unit of work for what a step changed and what it has to tell, the durable outbox, and the clock's anchors.

It implements, by shape, what the OCPP client asks of the disk (outbox, remote numbers, wire clock) and what the engine asks (commit).
"""

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.domain.errors import StoreError
from agent.domain.ids import EvseId, TransactionId
from agent.domain.ledger import SignedHead
from agent.domain.notices import TransactionNotice
from agent.domain.outbox import Attempted, DeadLettered, Delivered, Mark, OutboxRow
from agent.domain.records import Record, Recovered
from agent.domain.time import Instant
from agent.domain.transaction import TransactionRecord
from agent.domain.values import dataclass
from agent.store import ledger, tables
from agent.store.database import Database, Opening
from agent.store.room import DEFAULT_MAX_BYTES, size
from agent.store.tables import (
    Anchor,
    Books,
    EndedValues,
    MeterLifetime,
    Pending,
    Position,
    Run,
    StoredMessage,
    StoredTransaction,
    UndeliveredPage,
    Written,
)
from agent.store.wear import Cost, Wear

if TYPE_CHECKING:
    from agent.store.erasure import Erased, Wanted

FILE_NAME: Final = "charger-agent.db"
MARK_DELAY_S: Final = 5.0
"""Marks ride with the next commit, at most this much later. A cut in between sends a message twice, never not at all."""
LIFETIME_DELAY_S: Final = 300.0
"""The lifetime register is statistics, and the meter's own register survives."""
MAX_PENDING_MARKS: Final = 500
ANCHOR_MOVED_MS: Final = 12 * 3_600_000
"""So old is the newest time on disk at most after a power cut of an idle charger. Costs two small commits a day."""
BOARD_DRIFT: Final = timedelta(seconds=60)
ANCHOR_STEP: Final = timedelta(seconds=1)
"""A smaller difference to what is known is the network's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatus:
    """The store as the technician sees it. Bytes and syncs count from the start of the process."""

    path: Path
    is_durable: bool
    trouble: str
    file_bytes: int
    log_bytes: int
    transactions: int
    open_transactions: int
    queued: int
    held: int
    dead: int
    thinned: int
    pending_marks: int
    commits: int
    syncs: int
    written_bytes: int
    checkpoints: int
    failures: int
    slowest_commit_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageReport:
    """Room and wear. `idle` and `charging` are seconds and cost since the opening; `free_bytes` is the file system's."""

    status: StoreStatus
    refusal: str
    last_trouble: str
    max_bytes: int
    file_max_bytes: int
    used_bytes: int
    reserve_bytes: int
    kept_bytes: int
    free_bytes: int | None
    rows: Mapping[str, int]
    oldest: datetime | None
    total: Cost
    idle: tuple[float, Cost]
    charging: tuple[float, Cost]


def _salvage(path: Path, db: sqlite3.Connection) -> str:
    """Loaded where there is a damaged file only."""
    from agent.store.salvage import salvage

    return salvage(path, db)


class Store:
    """The open store. Every method belongs to the event loop on which it was opened."""

    def __init__(self, database: Database, books: Books, *, boot_id: str, now: Callable[[], Instant], station_id: str = "") -> None:
        """Use `open` instead."""
        self._station_id = station_id
        self._db = database
        self._books = books
        self._boot_id = boot_id
        self._now = now
        self._by_remote_id = {number: transaction_id for transaction_id, number in books.remote_ids.items()}
        self._ended_values: EndedValues = {}
        self._pending = Pending()
        self._trouble: list[str] = []
        self._open: set[TransactionId] = set()
        self._wear = Wear(asyncio.get_running_loop().time(), database.cost)
        self._thinned = 0
        self._writing = asyncio.Lock()
        self._busy_since: float | None = None
        self._writers: set[asyncio.Task[None]] = set()
        self._flushing: asyncio.Task[None] | None = None
        self._flush_again = False
        self._timer: asyncio.TimerHandle | None = None
        self.ledger_grew = asyncio.Event()
        """Set when sessions were added to the chain; whoever signs its head clears it."""
        self.was_orderly: bool | None = None
        """Whether the run before this one ended in order; None before `recover`, and on the very first run."""

    @classmethod
    async def open(
        cls, directory: Path, *, boot_id: str, now: Callable[[], Instant], station_id: str = "", max_bytes: int = DEFAULT_MAX_BYTES
    ) -> "Store":
        """Open the store in a directory, which is made when it is missing. `station_id` is written into the chain of sessions.

        `max_bytes` bounds all files of the store together.

        A damaged file is moved aside and salvaged. Where the disk refuses, what can be read is served from memory and every commit fails
        until the disk takes writes again: see `remarks` and `is_durable`. Raises StoreError for what only a person can cure: a file of a
        newer version or of another program, a directory that another daemon uses.
        """
        moment = now()
        stamp = f"{boot_id[:8]}-{moment.mono_ms}" if moment.utc is None else f"{moment.utc:%Y%m%dT%H%M%SZ}"
        database = await Database.open(Opening(path=directory / FILE_NAME, stamp=stamp, salvage=_salvage, max_bytes=max_bytes))
        try:
            return cls(database, await database.read(tables.load_books), boot_id=boot_id, now=now, station_id=station_id)
        except BaseException:
            await database.aclose()
            raise

    # ---------------------------------------------------------------------------------------------------------------- the engine

    async def recover(self) -> Recovered:
        """Give back what is stored, and register this run. Call once, first. Does not fail because the disk is full or read-only."""
        found, trouble = await self._db.read(tables.recovered)
        self._trouble.extend(trouble)
        self._open.update(record.transaction_id for record in found.transactions)
        self._note_wear()
        self.was_orderly = await self._db.read(tables.was_orderly)
        self._ended_values = {record.transaction_id: record.ended_values for record in found.transactions if record.ended_values}
        self._pending.run = Run(boot_id=self._boot_id, started=self._now())
        with suppress(StoreError):  # stays pending; `trouble` tells
            await self.flush()
        return replace(found, transactions=tuple(self._as_told(record) for record in found.transactions))

    def _as_told(self, record: TransactionRecord) -> TransactionRecord:
        """A record of an earlier boot with the times that the CSMS is told: those of the next boot have to lie behind them."""

        def told(instant: Instant) -> Instant:
            return instant if instant.boot_id == self._boot_id else replace(instant, utc=self.utc_of(instant))

        return replace(
            record,
            started_at=told(record.started_at),
            resumed_at=None if record.resumed_at is None else told(record.resumed_at),
            last_event_at=None if record.last_event_at is None else told(record.last_event_at),
            last_reading=replace(record.last_reading, at=told(record.last_reading.at)),
            stop_begun=None if record.stop_begun is None else replace(record.stop_begun, at=told(record.stop_begun.at)),
        )

    async def commit(self, records: Sequence[Record], notices: Sequence[TransactionNotice]) -> None:
        """Write records and notices as one unit: when this returns they are on disk. What was marked rides along.

        Raises StoreError; then nothing of it is stored, and the same call may be made again, as often as needed: what is there already
        is not stored twice. Cancellation does not stop a unit under way.
        """
        if records or notices:
            await self._write(tuple(records), tuple(notices))

    async def flush(self) -> None:
        """Write what was marked. Raises StoreError."""
        await self._write((), ())

    async def aclose(self) -> None:
        """Write what was marked, note the orderly end, and close. Never fails: what was not written is delivered again."""
        self._cancel_timer()
        if self._flushing is not None:
            await self._flushing
        if self._writers:
            await asyncio.wait(self._writers)
        try:
            with suppress(StoreError):
                await self.flush()
                await self._db.unit(tables.note_orderly_end)
        finally:
            self._cancel_timer()
            await self._db.aclose()

    @property
    def is_durable(self) -> bool:
        """Whether the last unit of work reached the disk."""
        return self._db.is_durable and not self._db.trouble and not self._db.room.is_read_only

    @property
    def is_opened_for_writing(self) -> bool:
        """False while the disk refused to open the file, and an image in memory is served."""
        return self._db.is_durable

    @property
    def trouble(self) -> str:
        """The sentence of the last failure, or why only running sessions are still recorded; empty while all is well."""
        return self._db.trouble or self._db.refusal

    @property
    def refusal(self) -> str:
        """Why no new session may begin although records can be written, and the cure; empty where one may."""
        return self._db.refusal

    async def look_at_disk(self) -> None:
        """See whether the disk became full or read-only, also while nothing is written. Writes nothing but the reserve. Never fails."""
        await self._db.look_at_disk()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was unusual about the opening and the recovery: damage, salvage, migration, a disk that refused. One sentence each."""
        return (*self._db.remarks, *self._trouble)

    @property
    def calls_out(self) -> int:
        """Calls to the disk that are under way: a loop with virtual time waits for them before it lets time pass."""
        return self._db.calls_out

    @property
    def busy_s(self) -> float:
        """Seconds since the unit of work under way began, 0 when there is none: for the watchdog."""
        return 0.0 if self._busy_since is None else asyncio.get_running_loop().time() - self._busy_since

    # ---------------------------------------------------------------------------------------------------------------- the outbox

    async def rows(self, after: int, limit: int) -> Sequence[OutboxRow]:
        """Undelivered rows with `row_id > after`, in order, at most `limit`. Raises StoreError."""
        found: list[OutboxRow] = []
        while len(found) < limit:
            start, gone = after, self._gone()
            window = await self._db.read(lambda db, start=start, gone=gone: tables.queued_rows(db, start, limit, gone))  # type: ignore[misc]
            for row_id, transaction_id in window.unreadable:
                self.mark(
                    DeadLettered(
                        row_id=row_id, transaction_id=transaction_id, error="the stored notice is unreadable: the file was damaged"
                    )
                )
            # The unit that clears a mark ends after this read in the queue of the thread, and its task wakes after this one.
            found.extend(row for row in map(self._marked, window.rows) if row is not None)
            if window.is_last:
                break
            after = window.end
        return found[:limit]

    def mark(self, mark: Mark) -> None:
        """Note what became of a row: at once in memory, on disk with the next commit, at most 5 s later.

        At once on disk (several together): a Start's number, because what follows carries it, and a dead letter. An `Attempted` without
        refusal or answer notes that the row was sent. A mark for a row that is settled already changes nothing.
        """
        if isinstance(self._pending.marks.get(mark.row_id), (Delivered, DeadLettered)):
            return
        is_urgent = False
        match mark:
            case Delivered(row_id=row_id, transaction_id=transaction_id, remote_id=remote_id):
                self._books.start_rows.pop(row_id, None)
                if remote_id is not None:
                    self._books.remote_ids[transaction_id] = remote_id
                    self._by_remote_id[remote_id] = transaction_id
                    is_urgent = True
            case DeadLettered(row_id=row_id, transaction_id=transaction_id):
                if self._books.start_rows.pop(row_id, None) is not None:
                    self._books.dead_starts.add(transaction_id)
                is_urgent = True
            case Attempted():
                pass
        self._pending.marks[mark.row_id] = mark
        if is_urgent or len(self._pending.marks) >= MAX_PENDING_MARKS:
            self._flush_now()
        else:
            self._flush_within(MARK_DELAY_S)

    @property
    def queue_depth(self) -> int:
        """Rows that wait for delivery."""
        return self._books.depth - len(self._gone())

    @property
    def queue_room(self) -> int:
        """How many rows may wait before periodic values are thinned."""
        return tables.MAX_QUEUED

    async def resend_dead(self, row_id: int) -> None:
        """Put a dead letter, with everything dead or held of its transaction, at the end of the queue under new row ids.

        Raises StoreError when there is no such letter, or while other messages of its transaction wait.
        """
        await self._requeue(lambda db: tables.requeue_dead(db, row_id))

    async def resend_all_dead(self) -> int:
        """The same for every dead letter but those of transactions of which other messages wait. Gives how many. Raises StoreError."""
        return await self._requeue(tables.requeue_all_dead)

    async def _requeue(self, work: Callable[[sqlite3.Connection], Written]) -> int:
        await self.flush()  # the letter and what became of the others may be in memory only
        async with self._writing:
            written = await self._db.unit(work)
            self._books.depth += written.rows_added
            for new_id, transaction_id in written.starts:
                self._books.start_rows[new_id] = transaction_id
                self._books.dead_starts.discard(transaction_id)
            for transaction_id, number in written.numbers.items():  # nothing of it waited any more, so it was forgotten
                self._books.remote_ids[transaction_id] = number
                self._by_remote_id.setdefault(number, transaction_id)
            return written.letters

    def _gone(self) -> frozenset[int]:
        return frozenset(row_id for row_id, mark in self._pending.marks.items() if not isinstance(mark, Attempted))

    def _marked(self, row: OutboxRow) -> OutboxRow | None:
        match self._pending.marks.get(row.row_id):
            case None:
                return row
            case Attempted(attempts=attempts, calls_answered=calls_answered):
                return replace(row, attempts=attempts, calls_answered=calls_answered, was_sent=True)
            case _:
                return None

    # ----------------------------------------------------------------------------------------------- remote numbers and wall time

    def remote_id(self, transaction_id: TransactionId) -> int | None:
        """The CSMS's number of a transaction that runs or waits for delivery (1.6)."""
        return self._books.remote_ids.get(transaction_id)

    def transaction_id(self, remote_id: int) -> TransactionId | None:
        """The newest transaction to which the CSMS gave this number, running or waiting for delivery."""
        return self._by_remote_id.get(remote_id)

    def is_start_dead(self, transaction_id: TransactionId) -> bool:
        """Whether the transaction's Start went to dead letters."""
        return transaction_id in self._books.dead_starts

    def utc_of(self, instant: Instant) -> datetime | None:
        """UTC of a moment of this or an earlier boot; None while no trusted time is known for that boot.

        It never changes once it was given: it comes from the first time that the boot was told, and not before that is on disk. A moment
        that was recorded by a board's clock which turned out to be wrong gets the time of the boot as well.
        """
        known = self._books.boot_times.get(instant.boot_id)
        if instant.utc is None:
            return None if known is None else _on(known, instant.mono_ms)
        if known is None:
            learned = self._pending.boot_times.get(instant.boot_id)
            return None if learned is not None and _is_by_wrong_clock(instant, learned) else instant.utc
        return _on(known, instant.mono_ms) if _is_by_wrong_clock(instant, known) else instant.utc

    def may_learn(self, instant: Instant) -> bool:
        """Whether the time of such a moment can still become known: an earlier boot without an anchor never gets one."""
        return instant.boot_id == self._boot_id

    def set_anchor(self, boot_id: str, mono_ms: int, utc: datetime, board_utc: datetime | None = None) -> None:
        """Note the wall time of a moment of a boot, from a trusted clock. A difference below a second to what is known changes nothing.

        `board_utc`: what the board's own clock said before, carried on to the same moment, where it was wrong.

        The first one of a boot gives its moments their time on the wire (`utc_of`), for good. An anchor that agrees is moved on after some
        hours, along its own line, so that after a power cut the disk knows how late it was.
        """
        if utc.tzinfo is None:
            raise ValueError(f"clock anchor {utc.isoformat()} has no time zone")
        present = self._books.anchors.get(boot_id)
        known = None if present is None else _on(present, mono_ms)
        if present is not None and known is not None and abs(known - utc) < ANCHOR_STEP:
            if mono_ms - present.mono_ms < ANCHOR_MOVED_MS:
                return
            utc = known
        anchor = Anchor(mono_ms, utc.astimezone(UTC))
        self._books.anchors[boot_id] = anchor
        self._pending.anchors[boot_id] = anchor
        if boot_id in self._books.boot_times:
            self._flush_within(MARK_DELAY_S)
        else:
            self._pending.boot_times.setdefault(boot_id, replace(anchor, board_utc=board_utc))
            self._flush_now()

    def anchor(self, boot_id: str) -> Instant | None:
        """The moment of a boot whose wall time is on disk."""
        anchor = self._books.anchors.get(boot_id)
        return None if anchor is None else Instant(boot_id, anchor.mono_ms, anchor.utc)

    @property
    def time_floor(self) -> datetime | None:
        """The newest wall time on disk when it was opened: now cannot be earlier, so TLS can begin without a clock."""
        return self._books.newest_utc

    @property
    def synchronized_at(self) -> datetime | None:
        """The newest moment of which somebody trusted said what time it was, in any boot; some hours old at most while the agent ran."""
        return max((anchor.utc for anchor in self._books.anchors.values()), default=None)

    # -------------------------------------------------------------------------------------------------- statistics, diagnostics

    def lifetime(self, evse_id: EvseId) -> MeterLifetime | None:
        """The lifetime register as it was last saved."""
        return self._books.lifetimes.get(evse_id)

    def save_lifetime(self, evse_id: EvseId, *, total_wh: Decimal, register_wh: Decimal, at: Instant, serial_number: str | None) -> None:
        """Note the lifetime register; written with the next commit, at most five minutes later, and only when it moved."""
        known = self._books.lifetimes.get(evse_id)
        if known is not None and (known.total_wh, known.register_wh, known.serial_number) == (total_wh, register_wh, serial_number):
            return
        lifetime = MeterLifetime(evse_id=evse_id, total_wh=total_wh, register_wh=register_wh, at=at, serial_number=serial_number)
        self._books.lifetimes[evse_id] = lifetime
        self._pending.lifetimes[evse_id] = lifetime
        self._flush_within(LIFETIME_DELAY_S)

    async def ledger_state(self) -> ledger.ChainState | None:
        """The end of the chain of finished sessions, None while it is empty. Raises StoreError."""
        return await self._db.read(ledger.state)

    async def ledger_page(self, after: int, limit: int) -> tuple[ledger.Page, list[SignedHead]]:
        """Rows of the chain behind `after`, each compared with what is kept beside it; with the last ones what the device said of heads.

        Raises StoreError.
        """

        def read(db: sqlite3.Connection) -> tuple[ledger.Page, list[SignedHead]]:
            found = ledger.page(db, after, limit)
            return found, ledger.heads(db, ledger.KEPT_HEADS) if found.is_last else []

        return await self._db.read(read)

    async def erase(self, wanted: "Wanted", busy: Collection[str] = ()) -> "Erased":
        """Erase personal data from records, chain and cache, and from the file's free pages and log. Raises StoreError.

        Sessions that run, wait for delivery or are in `busy` keep theirs: the result counts them.
        """
        from agent.store.erasure import copies, erase

        await self.flush()
        async with self._writing:
            erased = await self._db.unit(lambda db: erase(db, wanted, busy))
            is_scrubbed = await self._db.scrub(whole=True)
        return replace(erased, is_scrubbed=is_scrubbed, copies=copies(self._db.path))

    async def forget_before(self, utc: datetime) -> int:
        """Remove sessions that ended before a moment and were delivered, with their rows. Gives the number of rows. Raises StoreError."""
        text = utc.astimezone(UTC).isoformat().replace("+00:00", "Z")
        total = 0
        while True:
            async with self._writing:
                count = await self._db.unit(lambda db: ledger.prune_before(db, text))
                if count == 0:
                    if total:
                        await self._db.scrub(whole=False)
                        self.ledger_grew.set()
                    return total
                total += count

    def keep_head(self, signed: SignedHead) -> None:
        """Keep a statement about the chain's head; it rides with the next commit, at most 5 s later."""
        self._pending.head = signed
        self._flush_within(MARK_DELAY_S)

    async def sessions(self, limit: int = 50) -> Sequence[StoredTransaction]:
        """The newest transactions, the newest first. Raises StoreError."""
        return await self._db.read(lambda db: tables.transactions(db, limit))

    async def dead_letters(self, limit: int = 100, after: int = 0) -> Sequence[StoredMessage]:
        """Messages that were set aside, with `row_id > after`, the oldest first. Raises StoreError."""
        return await self._db.read(lambda db: tables.dead_letters(db, after, limit))

    async def undelivered(self, limit: int, after: Position) -> UndeliveredPage:
        """What is left of every transaction that has a dead letter, a page at a time. Raises StoreError."""
        return await self._db.read(lambda db: tables.undelivered(db, after, limit))

    async def messages_beside(self, row_id: int, limit: int) -> UndeliveredPage:
        """A dead letter and, behind it, what else is left of its transaction. Raises StoreError when there is no such letter."""
        return await self._db.read(lambda db: tables.messages_beside(db, row_id, limit))

    async def storage(self) -> StorageReport:
        """Everything about the room and the wear. Raises StoreError."""
        self._note_wear()
        db, room = self._db, self._db.room
        rows, oldest = await db.read(tables.rows_by_table)
        return StorageReport(
            status=await self.status(),
            refusal=db.refusal,
            last_trouble=db.last_trouble,
            max_bytes=room.max_bytes,
            file_max_bytes=room.file_bytes,
            used_bytes=db.used_bytes,
            reserve_bytes=room.reserve_bytes,
            kept_bytes=room.kept_bytes,
            free_bytes=room.free_bytes,
            rows=rows,
            oldest=None if oldest is None else datetime.fromisoformat(oldest),
            total=db.cost,
            idle=self._wear.spent(is_charging=False),
            charging=self._wear.spent(is_charging=True),
        )

    async def status(self) -> StoreStatus:
        """Count rows, bytes and syncs. Raises StoreError."""
        transactions, open_transactions, queued, held, dead = await self._db.read(tables.counted)
        counters = self._db.counters
        return StoreStatus(
            path=self._db.path,
            is_durable=self.is_durable,
            trouble=self.trouble,
            file_bytes=size(self._db.path),
            log_bytes=size(self._db.path.with_name(self._db.path.name + "-wal")),
            transactions=transactions,
            open_transactions=open_transactions,
            queued=queued,
            held=held,
            dead=dead,
            thinned=self._thinned,
            pending_marks=len(self._pending.marks),
            commits=counters.commits,
            syncs=counters.syncs,
            written_bytes=counters.written_bytes,
            checkpoints=counters.checkpoints,
            failures=counters.failures,
            slowest_commit_ms=counters.slowest_ms,
        )

    # ------------------------------------------------------------------------------------------------------------------- writing

    async def _write(self, records: tuple[Record, ...], notices: tuple[TransactionNotice, ...]) -> None:
        """Write, and keep the books, to the end even when the caller is cancelled."""
        task = asyncio.get_running_loop().create_task(self._write_whole(records, notices))
        self._writers.add(task)
        task.add_done_callback(self._writers.discard)
        await asyncio.shield(task)

    async def _write_whole(self, records: tuple[Record, ...], notices: tuple[TransactionNotice, ...]) -> None:
        async with self._writing:  # one at a time: marks of a failed unit stay pending, in front of newer ones
            pending, depth = self._pending.copy(), self._books.depth
            if not (records or notices or pending):
                return

            wants_room = self._db.room.wants_less(self._db.used_bytes)

            def work(db: sqlite3.Connection) -> Written:
                written = Written()
                # First: where the bound was lowered, no page is free for anything else.
                if wants_room and not ledger.prune(db, keep=tables.KEPT_AT_LEAST):
                    tables.make_room(db, written)
                tables.write_records(db, records, self._ended_values, written)
                written.rows_proved = ledger.append(db, written.settled, station=self._station_id)
                if pending.run is not None:
                    written.rows_proved += ledger.append_missing(db, station=self._station_id)
                tables.enqueue(db, notices, written)
                tables.write_pending(db, pending, written)
                if depth + written.rows_added > tables.MAX_QUEUED:
                    tables.thin(db, written)
                return written

            self._busy_since = asyncio.get_running_loop().time()
            try:
                written = await self._db.unit(work)
            finally:
                self._busy_since = None
            self._keep_books(pending, written)
            for record in records:
                if isinstance(record, TransactionRecord):
                    (self._open.add if record.ended_at is None else self._open.discard)(record.transaction_id)
            self._note_wear()

    def _note_wear(self) -> None:
        self._wear.note(asyncio.get_running_loop().time(), self._db.cost, is_charging=bool(self._open))

    def _keep_books(self, pending: Pending, written: Written) -> None:
        self._books.boot_times.update(pending.boot_times)
        self._pending.forget(pending)
        if written.rows_proved:
            self.ledger_grew.set()
        if not self._pending:
            self._cancel_timer()
        self._books.depth += written.rows_added - written.rows_gone
        self._thinned += written.rows_thinned
        self._books.start_rows.update(written.starts)
        for transaction_id, values in written.ended_values.items():
            if values:
                self._ended_values[transaction_id] = values
            else:
                self._ended_values.pop(transaction_id, None)
        for transaction_id in written.settled:
            number = self._books.remote_ids.pop(transaction_id, None)
            if number is not None and self._by_remote_id.get(number) == transaction_id:
                del self._by_remote_id[number]

    def _flush_now(self) -> None:
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().create_task(self._flush_all())
        else:
            self._flush_again = True

    async def _flush_all(self) -> None:
        """Write what is pending; what is marked meanwhile goes together in the next unit."""
        try:
            self._flush_again = True
            while self._flush_again:
                self._flush_again = False
                await self._write_whole((), ())
        except StoreError:  # `trouble` tells; the engine meets the same with its next commit
            self._books.boot_times.update(self._pending.boot_times)  # what waits is delivered all the same
            self._flush_within(MARK_DELAY_S)
        finally:
            self._flushing = None

    def _flush_within(self, delay_s: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + delay_s
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._flush_now()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _on(anchor: Anchor, mono_ms: int) -> datetime:
    """The wall time of a moment of the anchor's boot."""
    return anchor.utc + timedelta(milliseconds=mono_ms - anchor.mono_ms)


def _is_by_wrong_clock(instant: Instant, known: Anchor) -> bool:
    """Whether a moment carries the time of the board's clock that was found wrong: near that clock's line, and far from the right one.

    A clock of its own drifts by seconds in days against the monotonic one.
    """
    if known.board_utc is None or instant.utc is None:
        return False
    wrong = known.board_utc + timedelta(milliseconds=instant.mono_ms - known.mono_ms)
    near = max(ANCHOR_STEP, min(BOARD_DRIFT, abs(known.board_utc - known.utc) / 4))
    return abs(instant.utc - wrong) < near
