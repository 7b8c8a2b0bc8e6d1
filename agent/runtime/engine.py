"""The engine: feeds the core, commits what it decided, then carries it out.

`post` decides at once, in the caller's stack, never behind an `await`; effects that remove energy are carried out in that same call. What
changed on paper, and the effects that must wait for it, form a batch; one writer commits the batches in order and then releases their
effects, each checked again against the state of that moment.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import field
from typing import Protocol

from agent.core.state import Evse, Station
from agent.core.station import next_deadline, step
from agent.core.variables import Variables
from agent.domain.commands import Command, Outcome, ResetKind
from agent.domain.effects import (
    Answer,
    CloseContactor,
    Effect,
    Enqueue,
    Exit,
    KeepRecord,
    LockPlug,
    OpenContactor,
    ReadMeter,
    Remark,
    Restart,
    Send,
    SetPilot,
    UnlockPlug,
    is_immediate,
)
from agent.domain.errors import StoreError
from agent.domain.events import (
    AuthorizationAnswered,
    CommandReceived,
    ContactorRefused,
    Event,
    Started,
    StoreFailed,
    StoreRecovered,
    Tick,
    TransactionAnswered,
)
from agent.domain.ids import CommandId, EvseId, RequestId, TransactionId
from agent.domain.interlock import Interlock
from agent.domain.notices import Notice, TransactionNotice
from agent.domain.pilot import PilotOutput
from agent.domain.records import CacheEntry, CacheEntryRemoved, EvseRecord, Record, StationRecord, StoredVariable
from agent.domain.time import Instant
from agent.domain.transaction import TransactionRecord
from agent.domain.values import dataclass
from agent.domain.variables import ValueSource

_log = logging.getLogger("agent.engine")

PERMISSION_RENEWAL_S = 0.5
STORE_RETRY_S = 5.0
MIN_TICK_S = 0.005
REMARKS_KEPT = 500
_OF_PEERS = (CommandReceived, AuthorizationAnswered, TransactionAnswered)
"""Events that carry a peer's words: one that meets a bug of ours is dropped alone."""


class Actuators(Protocol):
    """The guard: the contactors, pilots and locks behind the interlock."""

    def permit(self, evse_id: EvseId) -> None:
        """Renew the permission to keep this contactor closed."""

    def revoke(self, evse_id: EvseId) -> None:
        """Take the permission back; opens at once where it was closed."""

    def close(self, evse_id: EvseId) -> Interlock | None:
        """Close, or say what forbids it."""

    def open(self, evse_id: EvseId) -> None:
        """Open now."""

    def set_pilot(self, evse_id: EvseId, output: PilotOutput) -> None:
        """Put a signal on the pilot."""

    def lock(self, evse_id: EvseId) -> None:
        """Lock the plug."""

    def unlock(self, evse_id: EvseId) -> bool:
        """Release the plug; False where it is live."""


class Journal(Protocol):
    """The disk, as the engine needs it."""

    async def commit(self, records: Sequence[Record], notices: Sequence[TransactionNotice]) -> None:
        """One unit of work, durable when it returns. Raises StoreError."""


class Peer(Protocol):
    """The CSMS, as the engine needs it."""

    def send(self, notice: Notice) -> None:
        """Tell now or not at all."""

    def outbox_grew(self) -> None:
        """New rows are on disk."""

    def answer(self, command_id: CommandId, outcome: Outcome) -> None:
        """Answer a command."""


@dataclass(frozen=True, slots=True)
class Noted:
    """A remark with its moment, for the technician's event list."""

    at: Instant
    remark: Remark


@dataclass(slots=True)
class _Batch:
    records: list[Record] = field(default_factory=list)
    notices: list[TransactionNotice] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)

    @property
    def is_durable(self) -> bool:
        return bool(self.records or self.notices)


@dataclass(kw_only=True)
class Hooks:
    """What the rest of the process wants to hear. Each is called in the loop's thread and must return at once."""

    read_meter: Callable[[EvseId], None]
    restart: Callable[[ResetKind, bool], None]
    exit: Callable[[], None]
    changed: Callable[[], None] = lambda: None
    variables_changed: Callable[[Variables], None] = lambda _: None
    recorded: Callable[[Event, Instant], None] = lambda _event, _at: None
    """An event, before it is decided."""
    decided: Callable[[Event, Instant, Station, Station, tuple[Effect, ...]], None] = lambda _event, _at, _before, _after, _effects: None
    """What came of it: the state before and after, and the effects; those that remove energy are carried out by then."""
    failed: Callable[[Event, Instant, Station, Exception], None] = lambda _event, _at, _before, _error: None
    """An event that met a bug of ours; the state is as before."""
    storage_refusal: Callable[[], str] = lambda: ""
    """Why no session may begin although records are written; empty where one may."""


class Engine:
    """One station's engine. `now` gives the present Instant; `new_id` gives unique ids. Everything happens in one event loop's thread."""

    def __init__(
        self,
        station: Station,
        *,
        now: Callable[[], Instant],
        new_id: Callable[[], str],
        actuators: Actuators,
        journal: Journal,
        hooks: Hooks,
    ) -> None:
        self.station = station
        self.remarks: deque[Noted] = deque(maxlen=REMARKS_KEPT)
        self.peer: Peer | None = None
        self.events_handled = 0
        self._now = now
        self._new_id = new_id
        self._actuators = actuators
        self._journal = journal
        self._hooks = hooks
        self._events: deque[Event] = deque()
        self._is_stepping = False
        self._is_closed = False
        self._batches: deque[_Batch] = deque()
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_committing = False
        self._unwritten: _Batch | None = None
        self._crashed: Exception | None = None
        self._failure: str | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._renewal: asyncio.TimerHandle | None = None
        self._local: dict[CommandId, asyncio.Future[Outcome]] = {}

    # --- deciding

    def post(self, event: Event) -> None:
        """Decide about an event now. Called from inside an effect it is decided right after the event at hand.

        Raises what a bug of ours makes of a peer's words: the state is as before, and the peer is answered. A bug about anything else
        opens every contactor and ends `run`: a station that missed a report of its hardware is not to be trusted, and is recovered.
        """
        if self._is_closed:
            return
        self._events.append(event)
        if self._is_stepping:
            return
        self._is_stepping = True
        failure: Exception | None = None
        try:
            while self._events:
                event = self._events.popleft()
                try:
                    self._step(event)
                except Exception as error:  # noqa: BLE001 - told, raised or ending the run
                    _log.exception("a %s met a bug of ours", type(event).__name__)
                    if not isinstance(event, _OF_PEERS):
                        self._crash(error)
                        return
                    failure = error
        finally:
            self._is_stepping = False
        self._arm()
        self._hooks.changed()
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Take no more events, and forget every timer."""
        self._is_closed = True
        for handle in (self._tick, self._renewal):
            if handle is not None:
                handle.cancel()

    def _crash(self, error: Exception) -> None:
        self.close()
        self._events.clear()
        for evse in self.station.evses:
            self._safely(self._actuators.revoke, evse.evse_id)
        self._crashed = error
        self._work.set()

    def _safely(self, act: Callable[[EvseId], object], evse_id: EvseId) -> None:
        try:
            act(evse_id)
        except Exception:  # noqa: BLE001 - told, and the others go on
            _log.exception("%s of EVSE %d failed", getattr(act, "__name__", "an order"), evse_id)

    def overdue_ms(self) -> int:
        """How long the core's own deadline has passed without its tick; 0 while all is well."""
        due = next_deadline(self.station)
        return 0 if due is None else max(0, self._now().ms_since(due))

    async def ask(self, command: Command) -> Outcome:
        """Carry out a command of a technician and give its outcome."""
        command_id = CommandId("local-" + self._new_id())
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._local[command_id] = future
        try:
            self.post(
                CommandReceived(
                    command_id=command_id,
                    command=command,
                    request_id=RequestId(self._new_id()),
                    new_transaction_id=TransactionId(self._new_id()),
                )
            )
            return await future
        finally:
            self._local.pop(command_id, None)

    def _step(self, event: Event) -> None:
        at = self._now()
        before = self.station
        try:
            self._hooks.recorded(event, at)
            self.station, effects = step(before, event, at)
        except Exception as error:
            with suppress(Exception):  # the bug at hand is the one to tell
                self._hooks.failed(event, at, before, error)
            raise
        self.events_handled += 1
        batch = _Batch(records=list(records_to_write(event, before, self.station)))
        for effect in effects:
            if isinstance(effect, Enqueue):
                batch.notices.append(effect.notice)
            elif isinstance(effect, KeepRecord):
                batch.records.append(effect.record)
            elif is_immediate(effect):
                try:
                    self._carry_out(effect, at)
                except Exception:  # noqa: BLE001 - the others, and what goes to disk, must not be lost with it
                    _log.exception("%s failed", type(effect).__name__)
            else:
                batch.effects.append(effect)
        try:
            self._hooks.decided(event, at, before, self.station, effects)
        except Exception:  # noqa: BLE001 - told: what listens must not end what charges
            _log.exception("keeping a %s failed", type(event).__name__)
        self._schedule(batch)
        if before.variables is not self.station.variables:
            self._hooks.variables_changed(self.station.variables)
        self._renew()

    def _schedule(self, batch: _Batch) -> None:
        if not batch.is_durable and not batch.effects:
            return
        if not batch.is_durable and not self._batches and not self._is_committing:
            self._release(batch.effects)
            return
        self._batches.append(batch)
        self._idle.clear()
        self._work.set()

    def _arm(self) -> None:
        due = next_deadline(self.station)
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        if due is not None:
            delay = max(MIN_TICK_S, due.ms_since(self._now()) / 1000)
            self._tick = asyncio.get_running_loop().call_later(delay, self.post, Tick())

    def _renew(self) -> None:
        """Keep the guard's permission alive while a contactor is wanted closed; a stuck loop renews nothing, and the guard opens."""
        wanted = [evse for evse in self.station.evses if evse.contactor_commanded]
        for evse in wanted:
            self._safely(self._actuators.permit, evse.evse_id)
        if wanted and self._renewal is None:
            self._renewal = asyncio.get_running_loop().call_later(PERMISSION_RENEWAL_S, self._renew_again)

    def _renew_again(self) -> None:
        self._renewal = None
        self._renew()

    # --- acting

    def _carry_out(self, effect: Effect, at: Instant) -> None:
        match effect:
            case OpenContactor(evse_id=evse_id):
                self._actuators.open(evse_id)
            case SetPilot(evse_id=evse_id, output=output):
                self._actuators.set_pilot(evse_id, output)
            case ReadMeter(evse_id=evse_id):
                self._hooks.read_meter(evse_id)
            case Remark():
                self._note(effect, at)
            case _:
                _log.error("effect %s was ordered at once, but nothing here carries it out", type(effect).__name__)

    def _release(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            try:
                self._release_one(effect)
            except Exception:  # noqa: BLE001 - one that fails must not take the others with it, nor the writer
                _log.exception("%s failed", type(effect).__name__)

    def _release_one(self, effect: Effect) -> None:
        match effect:
            case CloseContactor(evse_id=evse_id):
                self._close(evse_id)
            case SetPilot(evse_id=evse_id, output=output):
                if self._evse(evse_id).output == output:
                    self._actuators.set_pilot(evse_id, output)
            case LockPlug(evse_id=evse_id):
                if self._evse(evse_id).lock_commanded:
                    self._actuators.lock(evse_id)
            case UnlockPlug(evse_id=evse_id):
                evse = self._evse(evse_id)
                if not evse.lock_commanded and not evse.contactor_closed and not evse.contactor_commanded:
                    self._actuators.unlock(evse_id)
            case Send(notice=notice):
                if self.peer is not None:
                    self.peer.send(notice)
            case Answer(command_id=command_id, outcome=outcome):
                self._answer(command_id, outcome)
            case Restart(kind=kind, drains=drains):
                self._hooks.restart(kind, drains)
            case Exit():
                self._hooks.exit()
            case _:
                _log.error("effect %s waited for a commit, but nothing here carries it out", type(effect).__name__)

    def _close(self, evse_id: EvseId) -> None:
        evse = self._evse(evse_id)
        if not evse.contactor_commanded:
            return  # decided otherwise while the commit was under way
        if self._is_start_unwritten(evse):
            self.post(ContactorRefused(evse_id, Interlock.NO_PERMISSION))
            return
        self._actuators.permit(evse_id)
        refusal = self._actuators.close(evse_id)
        if refusal is not None:
            self.post(ContactorRefused(evse_id, refusal))

    def _is_start_unwritten(self, evse: Evse) -> bool:
        record = evse.transaction
        return (
            self._unwritten is not None
            and record is not None
            and any(notice.precedes_energy and notice.transaction_id == record.transaction_id for notice in self._unwritten.notices)
        )

    def _answer(self, command_id: CommandId, outcome: Outcome) -> None:
        future = self._local.get(command_id)
        if future is not None:
            if not future.done():
                future.set_result(outcome)
        elif self.peer is not None:
            self.peer.answer(command_id, outcome)

    def note(self, name: str, detail: str, *, is_warning: bool) -> None:
        """A line of the runtime's own for the technician's event list, beside the core's."""
        self._note(Remark(name=name, detail=detail, is_warning=is_warning), self._now())

    def _note(self, remark: Remark, at: Instant) -> None:
        self.remarks.append(Noted(at, remark))
        level = logging.WARNING if remark.is_warning else logging.INFO
        fields = {"evse_id": remark.evse_id, "transaction_id": remark.transaction_id}
        text = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
        _log.log(level, "%s %s%s", remark.name, text, f" {remark.detail}" if remark.detail else "")

    def _evse(self, evse_id: EvseId) -> Evse:
        evse = self.station.evse(evse_id)
        if evse is None:
            msg = f"no EVSE {evse_id}"
            raise LookupError(msg)
        return evse

    # --- the writer

    async def run(self) -> None:
        """Commit batches, in order, until cancelled. Several that wait share one commit. Raises the bug that ended the deciding."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._batches:
                await self._commit_waiting()
            if self._crashed is not None:
                raise self._crashed
            if self._unwritten is None:
                self._idle.set()
            else:
                await self._wait_for_retry()

    async def flushed(self) -> None:
        """Wait until everything decided so far is on disk."""
        await self._idle.wait()

    async def _commit_waiting(self) -> None:
        waiting = list(self._batches)
        self._batches.clear()
        whole = merged([self._unwritten, *waiting] if self._unwritten is not None else waiting)
        if whole.is_durable:
            self._is_committing = True
            try:
                await self._journal.commit(whole.records, whole.notices)
            except StoreError as error:
                self._unwritten = _Batch(whole.records, whole.notices)
                self._fail(str(error))
            else:
                self._recover()
                if whole.notices and self.peer is not None:
                    self.peer.outbox_grew()
            finally:
                self._is_committing = False
        for batch in waiting:
            self._release(batch.effects)
        self._hooks.changed()

    async def _wait_for_retry(self) -> None:
        try:
            async with asyncio.timeout(STORE_RETRY_S):
                await self._work.wait()
        except TimeoutError:
            self._batches.append(_Batch())
        self._work.set()

    def _fail(self, reason: str) -> None:
        if self._failure is None:
            _log.error("storage failed: %s", reason)
            self._failure = reason
            self.post(StoreFailed(reason))

    def _recover(self) -> None:
        self._unwritten = None
        self.judge_storage()

    def judge_storage(self) -> None:
        """Tell the core when the room for new sessions came to its end, or is there again. A failed commit is told by the next good one."""
        if self._unwritten is not None:
            return
        refusal = self._hooks.storage_refusal()
        if refusal:
            self._fail(refusal)
        elif self._failure is not None:
            self._failure = None
            self.post(StoreRecovered())


def merged(batches: Sequence[_Batch]) -> _Batch:
    """Several batches as one unit of work: every notice in order, the newest form of each record."""
    records: dict[object, Record] = {}
    whole = _Batch()
    for batch in batches:
        for record in batch.records:
            name = _identity(record)
            records.pop(name, None)
            records[name] = record
        whole.notices.extend(batch.notices)
    whole.records = list(records.values())
    return whole


def _identity(record: Record) -> object:
    match record:
        case StationRecord():
            return "station"
        case EvseRecord():
            return ("evse", record.evse_id)
        case TransactionRecord():
            return ("transaction", record.transaction_id)
        case StoredVariable():
            return ("variable", record.key)
        case CacheEntry() | CacheEntryRemoved():
            return ("cache", record.id_token.value.casefold())


def records_to_write(event: Event, before: Station, after: Station) -> Iterator[Record]:
    """What a step has to put on disk: what the store has just given back needs no writing, but for what the recovery made of it at once.

    That is the reset that is over now, and a transaction that ended in the same step: its End goes to the outbox in this commit too.
    """
    changed = changed_records(before, after)
    if not isinstance(event, Started):
        return changed
    given = event.recovered.transactions
    return (
        record
        for record in changed
        if isinstance(record, StationRecord) or (isinstance(record, TransactionRecord) and not any(record is one for one in given))
    )


def changed_records(before: Station, after: Station) -> Iterator[Record]:
    """The durable parts whose identity changed."""
    if before.record is not after.record:
        yield after.record
    for old, new in zip(before.evses, after.evses, strict=True):
        if old.record is not new.record:
            yield new.record
        if new.transaction is not None and old.transaction is not new.transaction:
            yield new.transaction
    if before.variables is not after.variables:
        for key, value in after.variables.values.items():
            if before.variables.values.get(key) is not value and value.source in {ValueSource.CSMS, ValueSource.TECHNICIAN}:
                yield StoredVariable(key=key, value=value.text, source=value.source)
    if before.cache is not after.cache:
        for name, entry in before.cache.items():
            if name not in after.cache:
                yield CacheEntryRemoved(entry.id_token)
        for name, entry in after.cache.items():
            if before.cache.get(name) is not entry:
                yield entry
