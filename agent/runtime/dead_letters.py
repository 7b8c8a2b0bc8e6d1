"""What the technician's socket says and does about dead letters: list, show, send again, and hand out what is needed to bill by hand."""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Final, Protocol

from agent.diagnostics.protocol import ErrorCode, Json, Method, Param, Params, ParamType, Role, RpcError
from agent.domain.authorization import IdToken
from agent.domain.metering import UNIT, MeterValue
from agent.domain.notices import TransactionNotice
from agent.domain.time import Instant
from agent.domain.transaction import TransactionRecord
from agent.store.store import Store
from agent.store.tables import Position, StoredMessage, StoredTransaction

PAGE: Final = 50
"""Messages in one answer: some 100 kB where each carries its meter values."""
SHOWN_BESIDE: Final = 100
SHOWN_END: Final = 4
"""So much of a token's end is shown, of a token at least twice as long: who bills by hand has to find the customer."""

_ROW = Param(name="row", type=ParamType.INTEGER, description="row of a dead letter", required=True, maximum=2**53)
_ONE_ROW = Param(name="row", type=ParamType.INTEGER, description="row of a dead letter; every one where absent", maximum=2**53)
_AFTER_ROW = Param(name="after", type=ParamType.INTEGER, description="only rows behind this one", minimum=0, maximum=2**53)
_AFTER = Param(name="after", type=ParamType.STRING, description="`next` of the page before; the first page where absent")


class Words(Protocol):
    """How the socket writes moments and sessions, and what it takes out of the words of others."""

    def time(self, instant: Instant) -> str | None:
        """Wall time, also of what happened before the clock was known."""

    def session(self, stored: StoredTransaction) -> dict[str, Json]:
        """A transaction without its token."""

    def masked(self, texts: Iterable[str], tokens: Iterable[IdToken | None]) -> list[str]:
        """The texts without these tokens and any that is in use."""


class DeadLetters:
    """The methods `deadletters` and `deadletters.*`. `grew` wakes the client when rows wait again."""

    def __init__(self, store: Store, words: Words, grew: Callable[[], None]) -> None:
        self._store, self._words, self._grew = store, words, grew

    def methods(self) -> tuple[Method, ...]:
        """For the table of methods."""
        return (
            Method(
                name="deadletters",
                summary=f"Messages that were set aside after their last attempt, {PAGE} at a time.",
                call=self.list,
                params=(_AFTER_ROW,),
            ),
            Method(
                name="deadletters.show",
                summary="One of them with its values, its session, and what else of the session is not delivered.",
                call=self.show,
                params=(_ROW,),
            ),
            Method(
                name="deadletters.resend",
                summary="Put one or all back into the queue, with what is held behind them.",
                call=self.resend,
                params=(_ONE_ROW,),
                role=Role.TECHNICIAN,
            ),
            Method(
                name="deadletters.export",
                summary="Every session that has one, with all of its messages that are not delivered: what is needed to bill by hand.",
                call=self.export,
                params=(_AFTER,),
            ),
        )

    async def list(self, params: Params) -> Json:
        """A page of letters, the oldest first."""
        letters = await self._store.dead_letters(PAGE, after=int(str(params.get("after", 0))))
        return {
            "letters": [*self.brief(letters)],
            "next": letters[-1].row_id if len(letters) == PAGE else None,
        }

    def brief(self, letters: Iterable[StoredMessage]) -> Iterable[Json]:
        """One line each."""
        letters = tuple(letters)
        tokens = (letter.notice.id_token for letter in letters if letter.notice is not None)
        for letter, error in zip(letters, self._words.masked((letter.error for letter in letters), tokens), strict=True):
            yield self._brief(letter, error)

    def _brief(self, letter: StoredMessage, error: str) -> dict[str, Json]:
        return {
            "row": letter.row_id,
            "event": letter.event_type.value,
            "transaction_id": letter.transaction_id,
            "seq_no": letter.seq_no,
            "at": None if letter.notice is None else self._words.time(letter.notice.at),
            "attempts": letter.attempts,
            "error": error,
            "is_readable": letter.notice is not None,
        }

    async def show(self, params: Params) -> Json:
        """One letter, its session, and what else of it is left."""
        page = await self._store.messages_beside(int(str(params["row"])), SHOWN_BESIDE)
        (session, letter), *others = page.messages
        return {
            "session": self._session(session),
            "letter": self._message(session, letter),
            "others": [{**self._brief(message, ""), "state": message.state} for _, message in others],
        }

    async def resend(self, params: Params) -> Json:
        """Send one or all again, after the cause was cured."""
        if "row" in params:
            await self._store.resend_dead(int(str(params["row"])))
            sent, left = 1, 0
        else:
            sent = await self._store.resend_all_dead()
            left = (await self._store.status()).dead
        self._grew()
        return {"resent": sent, "left": left, "depth": self._store.queue_depth}

    async def export(self, params: Params) -> Json:
        """A page of messages, each with its session."""
        page = await self._store.undelivered(PAGE, _position(params))
        return {
            "messages": [{"session": self._session(whose), "message": self._message(whose, message)} for whose, message in page.messages],
            "next": None if page.end is None else f"{page.end.ordinal}/{page.end.seq_no}",
        }

    def _session(self, stored: StoredTransaction) -> dict[str, Json]:
        record = stored.record
        return {
            **self._words.session(stored),
            "id_token": None if record is None else _end_of(record.id_token),
            "seconds": None if record is None or record.ended_at is None else record.ended_at.ms_since(record.started_at) // 1000,
        }

    def _message(self, session: StoredTransaction, message: StoredMessage) -> dict[str, Json]:
        notice = message.notice
        (error,) = self._words.masked((message.error,), (*_tokens(session.record), None if notice is None else notice.id_token))
        return {**self._brief(message, error), "state": message.state, **self._content(notice)}

    def _content(self, notice: TransactionNotice | None) -> Mapping[str, Json]:
        if notice is None:
            return {"trigger": None, "register_wh": None, "meter_serial_number": None, "stopped_reason": None, "cost": None, "values": []}
        cost = notice.cost
        return {
            "trigger": notice.trigger.value,
            "register_wh": None if notice.register_wh is None else str(notice.register_wh),
            "meter_serial_number": notice.meter_serial_number,
            "stopped_reason": None if notice.stopped_reason is None else notice.stopped_reason.value,
            "cost": None if cost is None else f"{_plain(cost.gross)} {cost.currency}",
            "values": [item for value in notice.meter_values for item in self._values(value)],
        }

    def _values(self, value: MeterValue) -> Iterable[Json]:
        for quantity in value.quantities:
            yield {
                "at": self._words.time(value.at),
                "context": value.context.value,
                "measurand": quantity.measurand.value,
                "phase": None if quantity.phase is None else quantity.phase.value,
                "value": _plain(quantity.value),
                "unit": UNIT[quantity.measurand],
            }


def _position(params: Params) -> Position:
    text = str(params.get("after", "0/-1"))
    ordinal, _, seq_no = text.partition("/")
    try:
        return Position(int(ordinal), int(seq_no))
    except ValueError:
        raise RpcError(ErrorCode.INVALID_PARAMS, f"after is {text[:40]!r}; give the `next` of the page before") from None


def _tokens(record: TransactionRecord | None) -> tuple[IdToken | None, ...]:
    return () if record is None else (record.id_token, record.group_id_token, record.stop_id_token)


def _end_of(token: IdToken | None) -> str | None:
    if token is None or not token.value:
        return None
    return "…" + (token.value[-SHOWN_END:] if len(token.value) >= 2 * SHOWN_END else "")


def _plain(value: Decimal) -> str:
    """Decimals go out as text: JSON readers make binary floats of numbers."""
    return format(value, "f")
