"""The OCPP client: keeps one connection to the CSMS for ever, sends what the core and the outbox hold, and answers what the CSMS asks.

It only moves things: `link` and `queue` decide what is due, `rpc` reads and writes frames, an adapter knows the version's words.
Nothing that comes in may end `run`: every frame has a guard, and every way out of a connection leads to back-off and the next one.
"""

import asyncio
import contextlib
import logging
import random
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from agent.domain.commands import (
    Command,
    CommandStatus,
    Outcome,
    RequestStart,
    RequestStop,
    SetVariables,
    StatusOutcome,
    TriggerMessage,
    VariableAssignment,
)
from agent.domain.events import AuthorizationFailed, CommandReceived, Event, LinkChanged, LinkState
from agent.domain.ids import CommandId, RequestId, TransactionId
from agent.domain.notices import AuthorizeNotice, MeterValuesNotice, Notice, StatusNotice, TransactionNotice
from agent.domain.values import dataclass
from agent.domain.variables import VariableKey
from agent.ocpp_client.adapter import (
    BootInfo,
    Call,
    DeadLettered,
    Delivered,
    Mark,
    OcppCallError,
    Outbox,
    RegistrationStatus,
    RemoteRefs,
    Reply,
    Sending,
    VersionAdapter,
)
from agent.ocpp_client.backoff import BackOff
from agent.ocpp_client.link import Due, Link, LinkTuning
from agent.ocpp_client.loader import RowLoader
from agent.ocpp_client.queue import PAGE, Queue, RowCall, Waiting, answer_is_needed
from agent.ocpp_client.ring import MASK, Direction, FrameRing, FrameSeen
from agent.ocpp_client.rpc import (
    AnsweredCalls,
    CallError,
    CallResult,
    Calls,
    IncomingCall,
    Repeated,
    Sent,
    Unreadable,
    encode_call,
    encode_error,
    encode_result,
    parse,
)
from agent.ocpp_client.transport import (
    CLOSE_TIMEOUT_S,
    ClientSettings,
    ConnectFailed,
    Connection,
    ConnectionLost,
    NetworkLike,
    Phase,
    TimeSource,
    Transport,
)

if TYPE_CHECKING:
    from agent.ocpp_client.tls import Validity

ANSWER_DEADLINE_S = 25.0
"""A CSMS gives up after 30 s; an InternalError before that says more than silence."""
PONG_DEADLINE_S = 20.0
WAY_LOOK_S = 10.0
WAY_LOOKS = 3
"""Another way to the CSMS has to be the better one for so many looks."""
MOST_PENDING = 64
"""CSMS calls that wait for the core, and answers that wait for the socket. When it is reached, nothing more is read."""
_TOLERATED_SILENCES = 1
_LEAST_PATIENCE_S = 5.0
_TRY_EVERY_S = 5.0
_UNREADABLE_ID = "-1"
_NOT_AT_ALL = "frame dropped: %s"
_HEARTBEAT_INTERVAL = VariableKey(component="OCPPCommCtrlr", variable="HeartbeatInterval")

_logger = logging.getLogger(__name__)


class ClientSink(Protocol):
    """Where the client reports. Called on the event loop's thread."""

    def post(self, event: Event) -> None:
        """Something happened that the core wants to know."""

    def clock_reported(self, utc: datetime, took: timedelta) -> None:
        """The CSMS told its time (answer to BootNotification or Heartbeat), `took` after it was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTuning:
    """The OCPP variables that the client obeys, live. Seconds; `ping_s` 0 switches pings off, `heartbeat_s` 0 heartbeats.

    HeartbeatInterval, WebSocketPingInterval, MessageTimeout[Default], MessageAttempts[TransactionEvent],
    MessageAttemptInterval[TransactionEvent], the RetryBackOff trio and OfflineThreshold, all of OCPPCommCtrlr.
    """

    heartbeat_s: float = 300.0
    ping_s: float = 60.0
    message_timeout_s: float = 30.0
    attempts: int = 5
    attempt_interval_s: float = 60.0
    back_off: BackOff = field(default_factory=BackOff)
    offline_threshold_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientStatus:
    """What a technician wants to know. Ages are seconds. `queue_depth` counts the rows read so far, there may be others.

    `chain`: the certificates of the newest TLS connection. `is_unsure`: their dates could not be judged yet, nobody knew the time.
    `phase`: how far the newest attempt to connect came; `failure`: why it failed, None when it did not.
    """

    state: LinkState
    subprotocol: str | None
    url: str
    in_state_s: float
    last_exchange_s: float | None
    flaps: int
    queue_depth: int
    queue_has_more: bool
    outstanding: str | None
    last_error: str
    cure: str
    next_attempt_s: float | None
    security_profile: int
    chain: "tuple[Validity, ...]"
    is_unsure: bool
    peer: str
    phase: Phase
    failure: ConnectFailed | None


@dataclass(frozen=True, slots=True)
class _LinkCall:
    """Purpose of a CALL of the link itself."""

    due: Due


@dataclass(frozen=True, slots=True)
class _NoticeCall:
    """Purpose of a CALL that is not durable. `put_at`: since when somebody waits. `rest` are the notice's further calls."""

    notice: Notice
    put_at: float
    index: int
    rest: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A CALL of the CSMS that the core works on."""

    message_id: str
    action: str
    text: str
    command: Command
    deadline: float


_Purpose = _LinkCall | _NoticeCall | RowCall


class OcppClient:
    """The station's side of OCPP. `run` is the task; all other methods are for the same event loop and return at once, except `aclose`.

    `adapters` in the order in which their subprotocols are offered. `new_id` gives UUIDs (36 characters).
    """

    def __init__(  # noqa: PLR0913 - each is another part of the outside
        self,
        *,
        settings: ClientSettings,
        adapters: Mapping[str, VersionAdapter],
        outbox: Outbox,
        refs: RemoteRefs,
        sink: ClientSink,
        network: NetworkLike,
        boot_info: BootInfo,
        new_id: Callable[[], str],
        time_source: TimeSource | None = None,
    ) -> None:
        """Raises ValueError when the settings contradict each other. Without `time_source` the system's clock is right."""
        self._transport = Transport(settings, network, tuple(adapters), time_source)
        self._security_profile = settings.security_profile
        self._chain: tuple[Validity, ...] = ()
        self._failure: ConnectFailed | None = None
        self._tried = asyncio.Event()
        self._asked_to_try: float | None = None
        self._adapters = dict(adapters)
        self._adapter = next(iter(self._adapters.values()))
        self._outbox = outbox
        self._refs = refs
        self._sink = sink
        self._boot_info = boot_info
        self._new_id = new_id
        self._chance = random.Random().random

        self._tuning = ClientTuning()
        self._link = Link(_link_tuning(self._tuning))
        self._queue = Queue(station_id=settings.station_id, new_id=new_id)
        self._wake = asyncio.Event()
        self._loader = RowLoader(
            outbox,
            self._queue,
            is_accepted=lambda: self._link.state is LinkState.ACCEPTED,
            is_global=lambda: self._adapter.queue_is_global,
            loaded=self._wake.set,
        )
        self._waiting = Waiting()
        self._calls: Calls[_Purpose] = Calls()
        self._answered_calls = AnsweredCalls()
        self._asked: dict[CommandId, _Asked] = {}
        self._rest: tuple[Notice, float, int, tuple[Call, ...] | None] | None = None
        self._answers: deque[str] = deque()
        self._ring = FrameRing()

        self._connection: Connection | None = None
        self._leave: asyncio.Future[ConnectionLost] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._room = asyncio.Event()
        self._retuned = asyncio.Event()
        self._hurry = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._doubted: RowCall | None = None
        """A row that was not answered; a Heartbeat asks whether the CSMS answers at all."""
        self._is_closing = False
        self.has_begun = asyncio.Event()
        """The first message went out, or the first attempt to connect failed: a start waits for it with what can wait."""
        self._silences = 0
        self._warned = False

        self._subprotocol: str | None = None
        self._since: float | None = None
        self._last_exchange: float | None = None
        self._next_attempt: float | None = None
        self._last_error = ""
        self._cure = ""

    # ---------------------------------------------------------------------------------------------------- for the runtime

    async def run(self) -> None:
        """Keep the station connected until cancelled. Nothing else ends it."""
        self._since = _now()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._loader.run(), name="ocpp-load-rows")
            group.create_task(self._keep_connected(), name="ocpp-connection")

    def send(self, notice: Notice) -> None:
        """Send a notice now, or as soon as older ones are out. While not accepted only the newest status of each connector is kept."""
        if isinstance(notice, AuthorizeNotice) and self._link.state is not LinkState.ACCEPTED:
            self._authorization_failed(notice, "the CSMS is not reachable")
            return
        for dropped in self._waiting.put(notice, _now()):
            self._dropped(dropped, "too many messages wait for the CSMS")
        if self._link.state in (LinkState.OFFLINE, LinkState.REJECTED):
            for dropped in self._waiting.link_is_down():
                self._dropped(dropped, "the CSMS is not reachable")
        self._wake.set()

    def outbox_grew(self) -> None:
        """The engine committed rows to the outbox."""
        self._queue.grew()
        self._loader.kick()

    def answer(self, command_id: CommandId, outcome: Outcome) -> None:
        """The outcome of a CommandReceived. Unknown ids (too late, connection gone, our own) are ignored."""
        asked = self._asked.pop(command_id, None)
        if asked is None:
            return
        self._room.set()
        if isinstance(asked.command, TriggerMessage) and isinstance(outcome, StatusOutcome) and outcome.status is CommandStatus.ACCEPTED:
            self._link.allow(asked.command.requested, _now())
        self._reply(asked, self._outcome_text(asked, outcome))

    def tune(self, tuning: ClientTuning) -> None:
        """Obey new values of the variables from now on."""
        if tuning.ping_s != self._tuning.ping_s:
            self._retuned.set()
        self._tuning = tuning
        self._link.tune(_link_tuning(tuning), _now())
        self._queue.attempts = tuning.attempts
        self._queue.attempt_interval_s = tuning.attempt_interval_s
        self._wake.set()

    def status(self) -> ClientStatus:
        """The present state in words for a technician."""
        now = _now()
        outstanding = self._calls.outstanding
        return ClientStatus(
            state=self._link.state,
            subprotocol=self._subprotocol,
            url=self._transport.url,
            in_state_s=0.0 if self._since is None else now - self._since,
            last_exchange_s=None if self._last_exchange is None else now - self._last_exchange,
            flaps=self._link.flaps,
            queue_depth=self._queue.depth,
            queue_has_more=self._queue.has_more,
            outstanding=None if outstanding is None else outstanding.action,
            last_error=self._last_error,
            cure=self._cure,
            next_attempt_s=None if self._next_attempt is None else max(0.0, self._next_attempt - now),
            security_profile=self._security_profile,
            chain=self._chain,
            is_unsure=self._connection is not None and self._connection.is_unsure,
            peer="" if self._connection is None else self._connection.peer,
            phase=self._transport.phase,
            failure=self._failure,
        )

    @property
    def frames(self) -> tuple[FrameSeen, ...]:
        """The last 200 frames, masked."""
        return self._ring.masked()

    def newest_frames(self, limit: int) -> tuple[FrameSeen, ...]:
        """The last frames, at most `limit`, masked: masking all would take milliseconds."""
        return self._ring.masked(limit)

    def reconnect(self) -> None:
        """Drop the connection, or the wait for one, and connect anew at once (new password, address or root)."""
        self._hurry.set()
        self._part("reconnecting on request", "")

    async def try_now(self) -> None:
        """Wait until an attempt to connect has ended, well or not; at once while connected.

        Where the next attempt is only waited for, it is made now, unless the CSMS asked to be left alone or somebody has just asked.
        """
        if self._connection is not None or self._is_closing:
            return
        self._tried.clear()
        was_asked = self._failure is not None and self._failure.retry_after_s is not None
        is_too_soon = self._asked_to_try is not None and _now() - self._asked_to_try < _TRY_EVERY_S
        if self._next_attempt is not None:
            if was_asked or is_too_soon:
                return
            self._asked_to_try = _now()
            self._hurry.set()
        await self._tried.wait()

    def drained(self) -> bool:
        """Whether every row of the outbox has been delivered or given up."""
        return self._queue.is_drained

    async def aclose(self) -> None:
        """Say goodbye to the CSMS, in 3 s at most. `run` stays idle afterwards until it is cancelled."""
        self._is_closing = True
        self._hurry.set()
        self._part("the station shuts down", "")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S + 1):
                await self._idle.wait()

    # ------------------------------------------------------------------------------------------------------ the connection

    async def _keep_connected(self) -> None:
        wait_s = 0.0
        while True:
            await self._pause(wait_s)
            if self._is_closing:
                break
            retry_after_s: float | None = None
            try:
                await self._connect_once()
            except ConnectFailed as failed:
                self._failure = failed
                retry_after_s = failed.retry_after_s
                self._note_error(failed.reason, failed.cure)
            except Exception:
                _logger.exception("connection ended by a bug of ours; reconnecting")
                self._note_error("an error inside charger-agent", "please report it with the log")
            self.has_begun.set()
            self._tried.set()
            wait_s = self._link.wait_s(self._chance, retry_after_s)
        await asyncio.Event().wait()

    async def _pause(self, wait_s: float) -> None:
        """Wait, unless somebody hurries."""
        self._next_attempt = _now() + wait_s
        if wait_s:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._hurry.wait()
        self._hurry.clear()
        self._next_attempt = None

    async def _connect_once(self) -> None:
        self._idle.clear()
        try:
            connection = await self._transport.open()
            try:
                self._begin(connection)
                await self._talk(connection)
            except asyncio.CancelledError:
                connection.abort()
                raise
            finally:
                self._end()
                await connection.close()
        finally:
            self._idle.set()

    async def _talk(self, connection: Connection) -> None:
        """Read, write and ping until the connection ends."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write(connection), name="ocpp-write")
                group.create_task(self._keep_pinging(connection), name="ocpp-ping")
                group.create_task(self._until_parted(), name="ocpp-part")
                group.create_task(self._keep_to_the_best_way(connection), name="ocpp-way")
                await self._read(connection)
        except* ConnectionLost as losses:
            lost = losses.exceptions[0]
            if isinstance(lost, ConnectionLost):
                self._note_error(lost.reason, lost.cure)
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # Before Python 3.13 a task group that is cancelled in the moment in which one of its tasks fails tells only of the failure.
            raise asyncio.CancelledError

    def _begin(self, connection: Connection) -> None:
        now = _now()
        self._connection = connection
        self._leave = asyncio.get_running_loop().create_future()
        self._subprotocol = connection.subprotocol
        self._chain = connection.chain
        self._failure = None
        self._tried.set()
        self._adapter = self._adapters[connection.subprotocol]
        self._answered_calls = AnsweredCalls()
        self._warned = False
        self._silences = 0
        _logger.info("connected url=%s subprotocol=%s", self._transport.url, connection.subprotocol)
        self._link_changed(self._link.connected(connection.subprotocol, now))
        self._wake.set()

    def _end(self) -> None:
        """The connection is gone: nobody waits for an answer on it any more."""
        now = _now()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._connection = None
        self._leave = None
        self._answers.clear()
        self._asked.clear()
        self._room.set()
        self._link_changed(self._link.lost(now))
        sent = self._calls.give_up()
        if sent is not None:
            self._unanswered(sent, link_is_lost=True)
        self._drop_doubt()
        self._drop_rest()
        for dropped in self._waiting.link_is_down():
            self._dropped(dropped, "the connection to the CSMS was lost")

    def _part(self, reason: str, cure: str) -> None:
        """End the present connection from our side."""
        if self._leave is not None and not self._leave.done():
            self._leave.set_result(ConnectionLost(reason, cure=cure))

    async def _until_parted(self) -> None:
        assert self._leave is not None  # noqa: S101 - set in _begin, before this task exists
        raise await self._leave

    async def _keep_pinging(self, connection: Connection) -> None:
        """Find a half-open link: a ping every WebSocketPingInterval, and its pong in time."""
        while True:
            self._retuned.clear()
            interval_s = self._tuning.ping_s
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval_s if interval_s > 0 else None):
                    await self._retuned.wait()
                    continue
            await connection.ping(PONG_DEADLINE_S)

    async def _keep_to_the_best_way(self, connection: Connection) -> None:
        """Follow the system's routes: back from the mobile network to the cable, and away from a cable that was pulled.

        The system knows which way is better (route metrics); a connection stays on the old one until it breaks. A way has to last first.
        """
        seen = 0
        while True:
            await asyncio.sleep(WAY_LOOK_S)
            seen = seen + 1 if connection.has_better_way() else 0
            if seen == WAY_LOOKS:
                _logger.info("the system has another way to the CSMS now: reconnecting")
                self.reconnect()

    async def _read(self, connection: Connection) -> None:
        while True:
            text = await connection.receive()
            self._received(text)
            while len(self._asked) + len(self._answers) >= MOST_PENDING:
                self._room.clear()
                await self._room.wait()

    async def _write(self, connection: Connection) -> None:
        """The only place that sends: what goes next is chosen when the socket is ready for it."""
        while True:
            text = self._next_text()
            if text is None:
                self._arm()
                self._wake.clear()
                await self._wake.wait()
                continue
            self._ring.add(Direction.OUT, text, _now())
            await connection.send(text)
            self.has_begun.set()

    # ----------------------------------------------------------------------------------------------------- what goes next

    def _next_text(self) -> str | None:
        """Answers at once; then, one CALL at a time: BootNotification, heartbeat, what is not durable, rows of the outbox.

        A row goes only when nothing else waits, so a long replay delays a status or a question about a token by one message.
        """
        if self._leave is None or self._leave.done():
            return None  # parting: what is due now goes on the next connection
        if self._answers:
            self._room.set()
            return self._answers.popleft()
        if self._calls.outstanding is not None:
            return None
        now = _now()
        due = self._link.due(now)
        if due is not None:
            return self._link_text(due, now)
        return self._notice_text(now) or self._row_text(now)

    def _link_text(self, due: Due, now: float) -> str:
        call = self._adapter.boot(self._boot_info) if due is Due.BOOT_NOTIFICATION else self._adapter.heartbeat()
        self._link.sent(due, now)
        return self._call_text(self._new_id(), call, _LinkCall(due), now)

    def _notice_text(self, now: float) -> str | None:
        while True:
            if self._rest is not None:
                (notice, put_at, index, calls), self._rest = self._rest, None
            else:
                taken = self._waiting.take(lambda notice: self._link.may_send(_requested(notice), now))
                if taken is None:
                    return None
                (notice, put_at), index, calls = taken, 0, None
            try:
                if calls is None and self._adapter.can_encode(notice, self._refs):
                    calls = self._adapter.encode(notice, self._refs, Sending(is_late=False, attempt=1))
                if calls:
                    return self._call_text(self._new_id(), calls[0], _NoticeCall(notice, put_at, index, calls[1:]), now)
            except Exception:
                _logger.exception("a %s could not be encoded", type(notice).__name__)
            if isinstance(notice, AuthorizeNotice):
                self._authorization_failed(notice, "the question could not be put to the CSMS")

    def _row_text(self, now: float) -> str | None:
        if self._link.state is not LinkState.ACCEPTED or self._doubted is not None:
            return None
        while True:
            try:
                found = self._queue.next(self._adapter, self._refs, now)
            except Exception as error:
                _logger.exception("an outbox row could not be encoded")
                mark = self._queue.cannot_encode(f"cannot be encoded: {type(error).__name__}", now)
                if mark is None:
                    return None
                self._mark(mark)
                continue
            if self._queue.has_more and (found is None or self._queue.depth <= PAGE):
                self._loader.kick()
            if found is None:
                return None
            if isinstance(found, RowCall):
                try:
                    return self._call_text(found.message_id, found.call, found, now)
                except TypeError as error:
                    _logger.exception("a payload of %s has no JSON form", found.call.action)
                    mark = self._queue.refused(found, str(error), now)
                    if mark is not None:
                        self._mark(mark)
                    continue
            self._mark(found)

    def _call_text(self, message_id: str, call: Call, purpose: _Purpose, now: float) -> str:
        text = encode_call(message_id, call.action, call.payload)
        self._calls.begin(Sent(message_id=message_id, action=call.action, purpose=purpose, at=now))
        self._arm()
        return text

    # ------------------------------------------------------------------------------------------------------------- time

    def _arm(self) -> None:
        """One timer for all deadlines. It may fire early and is then set anew, which is cheaper than one timer per message."""
        deadline = self._next_deadline()
        if deadline is None or self._connection is None:
            return
        if self._timer is not None:
            if self._timer.when() <= deadline:
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(deadline, self._tick)

    def _next_deadline(self) -> float | None:
        outstanding = self._calls.outstanding
        question = self._waiting.oldest_question()
        moments = (
            None if outstanding is None else outstanding.at + self._patience_s(outstanding),
            self._link.next_deadline() if outstanding is None else None,
            self._queue.next_retry() if outstanding is None else None,
            None if question is None else question + self._tuning.message_timeout_s,
            min((asked.deadline for asked in self._asked.values()), default=None),
        )
        return min((at for at in moments if at is not None), default=None)

    def _patience_s(self, sent: Sent[_Purpose]) -> float:
        """How long an answer may take. A driver who waits has waited since the card was shown, not since the question found its turn."""
        timeout_s = self._tuning.message_timeout_s
        match sent.purpose:
            case _NoticeCall(notice=AuthorizeNotice(), put_at=put_at):
                return max(_LEAST_PATIENCE_S, put_at + timeout_s - sent.at)
            case _:
                return timeout_s

    def _tick(self) -> None:
        self._timer = None
        now = _now()
        sent = self._calls.outstanding
        if sent is not None and sent.at + self._patience_s(sent) <= now:
            self._calls.give_up()
            self._timed_out(sent)
        for question in self._waiting.expired(now, self._tuning.message_timeout_s):
            self._authorization_failed(question, "the CSMS did not answer in time")
        for command_id, asked in list(self._asked.items()):
            if asked.deadline <= now:
                del self._asked[command_id]
                self._room.set()
                _logger.error("%s of the CSMS was not answered by the core within %g s", asked.action, ANSWER_DEADLINE_S)
                self._reply(asked, self._error_text(asked.message_id, "InternalError", "no answer in time"))
        self._wake.set()

    def _timed_out(self, sent: Sent[_Purpose]) -> None:
        reason = f"{sent.action} was not answered within {self._patience_s(sent):g} s"
        cure = "the CSMS is reachable but does not answer: ask its operator"
        if isinstance(sent.purpose, RowCall) and not sent.purpose.is_informational:
            self._doubt(sent.purpose, reason)
            return
        self._unanswered(sent, link_is_lost=False)
        self._silences += 1
        is_tolerable = isinstance(sent.purpose, _NoticeCall) or (isinstance(sent.purpose, RowCall) and sent.purpose.is_informational)
        if is_tolerable and self._silences <= _TOLERATED_SILENCES:
            _logger.warning("%s", reason)
            self._last_error, self._cure = reason, cure
            return
        self._part(reason, cure)

    def _doubt(self, sent: RowCall, reason: str) -> None:
        """Silence is an attempt (2.x E13), else a message could block 1.6's queue for ever; a Heartbeat tells whether it is about this one.

        A dead link and a CSMS that hangs are silent to everything.
        """
        _logger.warning("%s; asking whether the CSMS answers at all", reason)
        self._doubted = sent
        self._link.trigger(Due.HEARTBEAT, _now())

    def _drop_doubt(self) -> None:
        """Nothing was learnt about the message: it goes again, and no attempt is counted."""
        if self._doubted is not None:
            doubted, self._doubted = self._doubted, None
            self._queue.unanswered(doubted, link_is_lost=True)

    def _settle_doubt(self) -> None:
        """The CSMS answers, but not this message."""
        if self._doubted is not None:
            doubted, self._doubted = self._doubted, None
            error = f"no answer within {self._tuning.message_timeout_s:g} s, while the CSMS answered other messages"
            self._note_refusal(doubted, f"got {error}")
            mark = self._queue.was_ignored(doubted, error, _now())
            if mark is not None:
                self._mark(mark)

    def _unanswered(self, sent: Sent[_Purpose], *, link_is_lost: bool) -> None:
        """A CALL got no answer, by time-out or by the end of the connection."""
        match sent.purpose:
            case _LinkCall(due=Due.BOOT_NOTIFICATION):
                self._link.boot_unanswered(_now())
            case _LinkCall():
                pass
            case _NoticeCall(notice=AuthorizeNotice() as notice):
                self._authorization_failed(notice, "the CSMS did not answer in time")
            case _NoticeCall(notice=StatusNotice() as notice) if link_is_lost:
                self._waiting.put_back(notice, _now())
            case _NoticeCall():
                pass
            case RowCall() as row_call:
                mark = self._queue.unanswered(row_call, link_is_lost=link_is_lost)
                if mark is not None:
                    self._mark(mark)

    # ---------------------------------------------------------------------------------------------------- what comes in

    def _received(self, text: str | bytes) -> None:
        """One frame. The guard: whatever goes wrong in here is logged and answered, and the next frame is read."""
        self._ring.add(Direction.IN, text, _now())
        frame = parse(text)
        try:
            match frame:
                case IncomingCall():
                    self._asked_for(frame, text if isinstance(text, str) else "")
                case CallResult() | CallError():
                    self._answer_came(frame)
                case Unreadable():
                    self._unreadable(frame)
        except Exception:
            _logger.exception("a frame of the CSMS met a bug of ours")
            if isinstance(frame, IncomingCall):
                self._send_answer(self._error_text(frame.message_id, "InternalError", ""))
        self._wake.set()

    def _unreadable(self, frame: Unreadable) -> None:
        if self._warned:
            _logger.debug(_NOT_AT_ALL, frame.reason)
        else:
            self._warned = True
            _logger.warning(_NOT_AT_ALL, frame.reason)
        if frame.code is None or (self._link.state is LinkState.REJECTED and not self._adapter.answers_while_rejected):
            return
        if self._adapter.answers_unreadable:
            self._send_answer(self._error_text(frame.message_id or _UNREADABLE_ID, frame.code, frame.reason))
        elif frame.message_id is not None:
            code = "FormatViolation" if frame.code == "RpcFrameworkError" else frame.code
            self._send_answer(self._error_text(frame.message_id, code, frame.reason))

    def _asked_for(self, frame: IncomingCall, text: str) -> None:
        state = self._link.state
        if state is LinkState.REJECTED:
            if self._adapter.answers_while_rejected:
                self._send_answer(self._error_text(frame.message_id, "SecurityError", "this station is not accepted"))
            return
        known = self._answered_calls.begin(frame.message_id, text)
        if known is Repeated.IN_PROGRESS:
            return
        if isinstance(known, str):
            self._send_answer(known)
            return
        try:
            command = self._adapter.decode(frame.action, frame.payload, self._refs)
        except OcppCallError as refusal:
            _logger.info("call of the CSMS refused action=%s code=%s", ascii(frame.action), refusal.code)
            self._finish(frame.message_id, text, self._error_text(frame.message_id, refusal.code, refusal.description))
            return
        except Exception:
            _logger.exception("a %s of the CSMS could not be read", ascii(frame.action))
            self._finish(frame.message_id, text, self._error_text(frame.message_id, "InternalError", ""))
            return
        asked = _Asked(frame.message_id, frame.action, text, command, _now() + ANSWER_DEADLINE_S)
        self._obey(asked, state)

    def _obey(self, asked: _Asked, state: LinkState) -> None:
        """Answer what is the link's own business, hand the rest to the core."""
        match asked.command:
            case TriggerMessage(requested=Due.BOOT_NOTIFICATION) if self._refuses_boot_trigger(state):
                refusal = StatusOutcome(status=CommandStatus.REJECTED, reason="the station is accepted already")
                self._reply(asked, self._outcome_text(asked, refusal))
            case TriggerMessage(requested=Due.BOOT_NOTIFICATION | Due.HEARTBEAT as requested):
                self._reply(asked, self._outcome_text(asked, StatusOutcome(status=CommandStatus.ACCEPTED)))
                self._link.trigger(Due(requested), _now())
            case RequestStart() | RequestStop() if state is not LinkState.ACCEPTED:
                # 1.6 4.2, 2.x B02.FR.05: not before the station is accepted.
                refusal = StatusOutcome(status=CommandStatus.REJECTED, reason="the CSMS has not accepted this station yet")
                self._reply(asked, self._outcome_text(asked, refusal))
            case command:
                command_id = CommandId(self._new_id())
                self._asked[command_id] = asked
                try:
                    self._post_command(command_id, command)
                except BaseException:
                    self._asked.pop(command_id, None)
                    raise
                self._arm()

    def _refuses_boot_trigger(self, state: LinkState) -> bool:
        return state is LinkState.ACCEPTED and self._adapter.refuses_boot_trigger_when_accepted

    def _post_command(self, command_id: CommandId, command: Command) -> None:
        self._sink.post(
            CommandReceived(
                command_id=command_id,
                command=command,
                request_id=RequestId(self._new_id()),
                new_transaction_id=TransactionId(self._new_id()),
            )
        )

    def _outcome_text(self, asked: _Asked, outcome: Outcome) -> str:
        try:
            return encode_result(asked.message_id, self._adapter.encode_outcome(asked.action, asked.command, outcome))
        except OcppCallError as refusal:
            return self._error_text(asked.message_id, refusal.code, refusal.description)
        except Exception:
            _logger.exception("the outcome of %s could not be encoded", asked.action)
            return self._error_text(asked.message_id, "InternalError", "")

    def _error_text(self, message_id: str, neutral_code: str, description: str) -> str:
        return encode_error(message_id, self._adapter.error_code(neutral_code), description)

    def _reply(self, asked: _Asked, answer: str) -> None:
        self._finish(asked.message_id, asked.text, answer)

    def _finish(self, message_id: str, text: str, answer: str) -> None:
        self._answered_calls.done(message_id, text, answer)
        self._send_answer(answer)

    def _send_answer(self, answer: str) -> None:
        if self._connection is not None:
            self._answers.append(answer)
            self._wake.set()

    # --------------------------------------------------------------------------------------------------- answers to us

    def _answer_came(self, frame: CallResult | CallError) -> None:
        found = self._calls.settle(frame.message_id)
        if found is None:
            _logger.debug("an answer to nothing that was asked")
            return
        sent, is_current = found
        self._last_exchange = _now()
        self._silences = 0
        self._link.proved()
        if sent.purpose is self._doubted:
            self._doubted, is_current = None, True
        elif is_current:
            self._settle_doubt()
        match sent.purpose:
            case _LinkCall(due=due):
                if is_current:
                    self._link_call_answered(sent, due, frame)
            case _NoticeCall() as purpose:
                if is_current:
                    self._notice_answered(sent, purpose, frame)
            case RowCall() as row_call:
                self._row_answered(row_call, frame, is_current=is_current)

    def _link_call_answered(self, sent: Sent[_Purpose], due: Due, frame: CallResult | CallError) -> None:
        try:
            if isinstance(frame, CallError):
                raise OcppCallError(frame.code, frame.description)
            payload = self._adapter.validate_reply(sent.action, frame.payload)
            if due is Due.HEARTBEAT:
                self._report_clock(self._adapter.decode_heartbeat_reply(payload), asked_at=sent.at)
                return
            reply = self._adapter.decode_boot_reply(payload)
        except (OcppCallError, ValueError) as error:
            self._note_error(f"{sent.action} got no usable answer: {error}", "ask the CSMS operator")
            if due is Due.BOOT_NOTIFICATION:
                self._link.boot_refused(_now(), self._chance)
            return
        if not self._report_clock(reply.current_time, asked_at=sent.at):
            return
        heartbeat_s = self._tuning.heartbeat_s
        change = self._link.boot_answered(reply, _now(), self._chance)
        _logger.info("BootNotification answered status=%s interval=%s", reply.status, reply.interval_s)
        if change is not None:
            self._link_changed(change)
        if reply.status == RegistrationStatus.ACCEPTED and reply.interval_s > 0 and reply.interval_s != heartbeat_s:
            self._set_heartbeat_interval(reply.interval_s)

    def _set_heartbeat_interval(self, interval_s: int) -> None:
        """The CSMS set the interval by its boot answer (1.6 4.2, 2.x B01.FR.04): the variable follows. The core's answer goes nowhere."""
        assignment = VariableAssignment(key=_HEARTBEAT_INTERVAL, value=str(interval_s))
        self._post_command(CommandId(self._new_id()), SetVariables(assignments=(assignment,)))

    def _notice_answered(self, sent: Sent[_Purpose], purpose: _NoticeCall, frame: CallResult | CallError) -> None:
        notice = purpose.notice
        if purpose.rest:
            self._rest = (notice, purpose.put_at, purpose.index + 1, purpose.rest)
        if isinstance(frame, CallError):
            error = _safe(str(frame), notice)
        else:
            reply, error = self._read_reply(sent.action, notice, purpose.index, frame.payload, Sending(is_late=False, attempt=1))
            for event in reply.events:
                self._sink.post(event)
        if error:
            _logger.warning("%s got no usable answer: %s", sent.action, error)
            if isinstance(notice, AuthorizeNotice):
                self._authorization_failed(notice, f"the CSMS gave no usable answer: {error}")

    def _read_reply(self, action: str, notice: Notice, index: int, payload: object, sending: Sending) -> tuple[Reply, str]:
        """What an answer means, and what is wrong with it (then it means nothing)."""
        try:
            valid = self._adapter.validate_reply(action, payload)
            return self._adapter.decode_reply(notice, index, valid, sending), ""
        except (OcppCallError, ValueError) as unusable:
            return Reply(), _safe(str(unusable)) or "unusable"
        except Exception:
            _logger.exception("the answer to %s could not be read", action)
            return Reply(), "the answer could not be read"

    def _row_answered(self, sent: RowCall, frame: CallResult | CallError, *, is_current: bool) -> None:
        if isinstance(frame, CallError):
            if is_current:
                self._row_refused(sent, frame)
            return
        reply, error = self._read_reply(sent.call.action, sent.row.notice, sent.call_index, frame.payload, sent.sending)
        if error and answer_is_needed(sent.row.notice) and not sent.is_informational:
            if is_current:
                self._row_refused(sent, CallError("", "unusable answer", error))
            return
        if error:
            _logger.warning("%s was taken, but its answer is no valid one: %s", sent.call.action, error)
        mark = self._queue.answered(sent, reply)
        if mark is None:
            return
        self._link.delivered()
        self._mark(mark)
        for event in reply.events:
            self._sink.post(event)

    def _row_refused(self, sent: RowCall, refusal: CallError) -> None:
        now = _now()
        if refusal.code == "SecurityError" and self._queue.asks_registration(sent):
            change = self._link.not_registered(now)
            if change is not None:
                _logger.warning("the CSMS does not know this station as registered any more: BootNotification again")
                self._link_changed(change)
                return
        error = _safe(str(refusal), sent.row.notice)
        self._note_refusal(sent, f"was refused by the CSMS: {error}")
        mark = self._queue.refused(sent, error, now)
        if mark is not None:
            self._mark(mark)

    def _note_refusal(self, sent: RowCall, words: str) -> None:
        _logger.warning("%s %s", sent.call.action, words)
        self._last_error = f"{sent.call.action} {words}"
        self._cure = "the station tries again and then sets the message aside (dead letters): ask the CSMS operator"

    # -------------------------------------------------------------------------------------------------------- small things

    def _mark(self, mark: Mark) -> None:
        self._outbox.mark(mark)
        match mark:
            case Delivered():
                _logger.debug("delivered row=%d transaction_id=%s", mark.row_id, mark.transaction_id)
            case DeadLettered():
                _logger.error(
                    "row=%d transaction_id=%s was refused for the last time and is set aside: %s; "
                    "it is kept, see `chargerctl deadletters`, and can be sent again",
                    mark.row_id,
                    mark.transaction_id,
                    mark.error,
                )
            case _:
                pass

    def _link_changed(self, change: LinkChanged) -> None:
        self._since = _now()
        if change.state is LinkState.ACCEPTED:
            self._drop_doubt()
            self._queue.link_is_up()
            self._loader.kick()
            self._last_error = self._cure = ""
            if change.report_all:
                self._waiting.forget_statuses()
        _logger.info("link state=%s report_all=%s", change.state, change.report_all)
        self._sink.post(change)

    def _report_clock(self, utc: datetime | None, *, asked_at: float) -> bool:
        """Pass the CSMS's time on. False: by it the CSMS's own certificate has expired, nobody else knew, and the connection ends."""
        connection = self._connection
        if utc is None or connection is None:
            return True
        problem = connection.date_problem(utc)
        if not problem:
            connection.is_unsure = False
            self._sink.clock_reported(utc, timedelta(seconds=_now() - asked_at))
            return True
        if connection.is_unsure and "expired" in problem:
            self._part(f"TLS: {problem}", "the CSMS operator must renew its certificate, or set its clock")
            return False
        # It cannot be true: somebody who knows the time let this certificate pass, or it was not made yet.
        reason = f"the CSMS says that it is {utc:%Y-%m-%d}, which is not believed: {problem}"
        self._note_error(reason, "the CSMS operator must set its clock")
        return True

    def _authorization_failed(self, notice: AuthorizeNotice, reason: str) -> None:
        """Posted from the loop, never from inside `send`: the core is not to be called from its own effect."""
        event = AuthorizationFailed(request_id=notice.request_id, reason=reason)
        asyncio.get_running_loop().call_soon(self._sink.post, event)

    def _dropped(self, notice: Notice, reason: str) -> None:
        if isinstance(notice, AuthorizeNotice):
            self._authorization_failed(notice, reason)
        else:
            _logger.debug("a %s was not sent: %s", type(notice).__name__, reason)

    def _drop_rest(self) -> None:
        if self._rest is not None:
            notice, self._rest = self._rest[0], None
            self._dropped(notice, "the connection to the CSMS was lost")

    def _note_error(self, reason: str, cure: str) -> None:
        if reason == self._last_error:
            _logger.debug("%s", reason)
        else:
            _logger.warning("%s; %s", reason, cure)
        self._last_error, self._cure = reason, cure


def _now() -> float:
    return asyncio.get_running_loop().time()


def _link_tuning(tuning: ClientTuning) -> LinkTuning:
    return LinkTuning(heartbeat_s=tuning.heartbeat_s, offline_threshold_s=tuning.offline_threshold_s, back_off=tuning.back_off)


def _requested(notice: Notice) -> str:
    """The neutral word with which a TriggerMessage asks for such a notice."""
    match notice:
        case StatusNotice():
            return "StatusNotification"
        case MeterValuesNotice():
            return "MeterValues"
        case _:
            return type(notice).__name__


def _safe(words: str, about: Notice | None = None) -> str:
    """A peer's words for the log: one line, ASCII, short, and without the driver's token where the peer repeats it."""
    token = about.id_token if isinstance(about, AuthorizeNotice | TransactionNotice) else None
    if token is not None and token.value:
        words = re.sub(re.escape(token.value), MASK, words, flags=re.IGNORECASE)
    return ascii(words)[1:-1][:200]
