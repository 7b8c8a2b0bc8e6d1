"""One charger's WebSocket: frames in and out, each judged by the official schemas; one outstanding CALL of ours; calls may cross."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from websockets.exceptions import ConnectionClosed

from simulator.portal.dialect import Dialect
from simulator.portal.errors import (
    BadAnswerError,
    CommandRefusedError,
    CommandTimeoutError,
    LinkLostError,
    LocalProtocolError,
    WireError,
)
from simulator.portal.fields import obj
from simulator.portal.schemas import Violation, check_request, check_response, is_known
from simulator.portal.wire import Call, CallError, CallResult, Json, UnknownType, Unreadable, call_text, error_text, parse, result_text

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

Answer: TypeAlias = "Callable[[Link, str, dict[str, Json]], dict[str, Json]]"
Complaint: TypeAlias = "Callable[[Link, str, str, str], None]"


class Link:
    """The connection of one charger. `serial` is set once the charger is accepted."""

    def __init__(
        self,
        connection: "ServerConnection",
        *,
        identity: str,
        dialect: Dialect,
        connected_at: datetime,
        call_timeout_s: float,
        new_message_id: Callable[[], str],
        answer: Answer,
        complain: Complaint,
    ) -> None:
        """`answer` enters a call and returns its response payload; `complain(link, kind, detail, payload)` keeps what went wrong."""
        self.identity = identity
        self.dialect = dialect
        self.connected_at = connected_at
        self.serial: str | None = None
        self._connection = connection
        self._call_timeout_s = call_timeout_s
        self._new_message_id = new_message_id
        self._answer = answer
        self._complain = complain
        self._turn = asyncio.Lock()
        self._pending: tuple[str, asyncio.Future[CallResult | CallError]] | None = None
        self._afterwards: deque[Callable[[], Coroutine[None, None, None]]] = deque()

    async def run(self, spawn: Callable[[Coroutine[None, None, None]], None]) -> None:
        """Serve the charger until the connection ends. What `after_answer` was given is spawned once the answer is on its way."""
        try:
            async for message in self._connection:
                if isinstance(message, bytes):
                    self._complain(self, "binary_frame", "OCPP-J frames are text", "")
                    continue
                reply = self._receive(message)
                if reply is not None:
                    await self._connection.send(reply)
                while self._afterwards:
                    spawn(self._afterwards.popleft()())
        except ConnectionClosed:
            pass
        finally:
            if self._pending is not None and not self._pending[1].done():
                self._pending[1].cancel()

    def after_answer(self, follow_up: Callable[[], Coroutine[None, None, None]]) -> None:
        """Do this once the call that is being handled has been answered."""
        self._afterwards.append(follow_up)

    async def call(self, action: str, payload: dict[str, Json]) -> dict[str, Json]:
        """Call the charger; the next call waits for its turn. Raises CommandError."""
        version = self.dialect.version
        violation = check_request(version, action, payload) if is_known(version, action) else Violation("", "no such action")
        if violation is not None:
            msg = f"{action} for OCPP {version}: {violation.detail}"
            raise LocalProtocolError(msg)
        async with self._turn:
            message_id = self._new_message_id()
            answer: asyncio.Future[CallResult | CallError] = asyncio.get_running_loop().create_future()
            self._pending = (message_id, answer)
            try:
                async with asyncio.timeout(self._call_timeout_s):
                    await self._connection.send(call_text(message_id, action, payload))
                    # wait: a cancelled answer is a lost connection, and is told apart from our own cancellation
                    await asyncio.wait({answer})
            except TimeoutError:
                raise CommandTimeoutError(self.identity, action, self._call_timeout_s) from None
            except ConnectionClosed:
                raise LinkLostError(self.identity, action) from None
            finally:
                self._pending = None
        return self._judged(action, answer)

    def _judged(self, action: str, answer: "asyncio.Future[CallResult | CallError]") -> dict[str, Json]:
        if answer.cancelled():
            raise LinkLostError(self.identity, action)
        frame = answer.result()
        if isinstance(frame, CallError):
            raise CommandRefusedError(self.identity, action, frame.code, frame.description)
        violation = check_response(self.dialect.version, action, frame.payload)
        if violation is not None:
            self._complain(self, "bad_answer", f"{action}: {violation.detail}", str(frame.payload))
            raise BadAnswerError(self.identity, action, violation.detail)
        return obj(frame.payload)

    async def close(self, code: int, reason: str) -> None:
        """Say good-bye."""
        await self._connection.close(code, reason)

    def abort(self) -> None:
        """Cut the wire without a close frame, as a dead network does."""
        self._connection.transport.abort()

    def _receive(self, message: str) -> str | None:
        frame = parse(message)
        match frame:
            case Call():
                return self._serve(frame)
            case CallResult() | CallError():
                if self._pending is not None and self._pending[0] == frame.message_id and not self._pending[1].done():
                    self._pending[1].set_result(frame)
                else:
                    self._complain(self, "unexpected_answer", f"nothing was asked with message id {frame.message_id[:40]}", message[:400])
                return None
            case UnknownType():
                self._complain(self, "unknown_message_type", f"message type {frame.number}", message[:400])
                return None
            case Unreadable():
                self._complain(self, "unreadable_frame", frame.reason, message[:400])
                # 1.6 has no answer to a frame without a usable id; 2.0.1 answers "-1" (OCPP-J part 4, 4.2.3)
                if not frame.message_id or (self.dialect.version == "1.6" and frame.message_id == "-1"):
                    return None
                code = "FormationViolation" if self.dialect.version == "1.6" else "RpcFrameworkError"
                return error_text(frame.message_id, code, frame.reason)

    def _serve(self, call: Call) -> str:
        version = self.dialect.version
        try:
            if not is_known(version, call.action):
                code, description = "NotImplemented", f"unknown action {call.action[:40]}"
                raise WireError(code, description)
            if violation := check_request(version, call.action, call.payload):
                raise WireError(violation.code, violation.detail)
            response = self._answer(self, call.action, obj(call.payload))
        except WireError as refusal:
            self._complain(self, "refused_call", f"{call.action[:40]}: {refusal}", str(call.payload)[:400])
            return error_text(call.message_id, refusal.code, refusal.description)
        except Exception as error:  # noqa: BLE001  a bug of ours must not deafen the portal; it is kept as an anomaly, which every test reads
            self._complain(self, "internal_error", f"{call.action}: {error!r}", str(call.payload)[:400])
            return error_text(call.message_id, "InternalError", "the portal failed; see its anomalies")
        if violation := check_response(version, call.action, response):
            msg = f"our answer to {call.action}: {violation.detail}"
            self._complain(self, "internal_error", msg, str(response))
        return result_text(call.message_id, response)
