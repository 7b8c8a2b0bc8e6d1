"""The chain of finished sessions as the technician sees it: its rows in pages, for the proof and for the export."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Final, Protocol, cast

from agent.diagnostics.protocol import ErrorCode, Json, Method, Param, Params, ParamType, Role, RpcError
from agent.domain.authorization import IdToken
from agent.domain.ledger import SignedHead
from agent.runtime.keeper import Keeper
from agent.store import ledger
from agent.store.erasure import Wanted
from agent.store.store import Store

PAGE: Final = 50
"""Rows in one answer: some 100 kB."""

_TRANSACTION = Param(name="transaction_id", type=ParamType.STRING, description="this session")
_TOKEN = Param(name="token", type=ParamType.STRING, description="every session of this id token", is_secret=True)
_BEFORE = Param(name="before", type=ParamType.STRING, description="every session that ended before this day or moment (RFC 3339)")
_AFTER = Param(name="after", type=ParamType.INTEGER, description="only rows behind this one", minimum=0, maximum=2**53)


class StationInHand(Protocol):
    """What the running station still has in memory."""

    def in_hand(self) -> Collection[str]:
        """Transactions whose records may be written again."""

    async def forget_token(self, id_token: IdToken) -> None:
        """Take a token out of the authorization cache."""


class Books:
    """The methods `sessions.*`."""

    def __init__(self, store: Store, station: StationInHand | None = None, keeper: Keeper | None = None) -> None:
        self._store = store
        self._station = station
        self._keeper = keeper

    def methods(self) -> tuple[Method, ...]:
        """For the table of methods."""
        return (
            Method(
                name="sessions.chain",
                summary=f"The chain of finished sessions, {PAGE} rows at a time, each compared with what is kept beside it.",
                call=self.chain,
                params=(_AFTER,),
            ),
            Method(
                name="sessions.disclosed",
                summary="The same with the id tokens and the salts of their commitments.",
                call=self.disclosed,
                params=(_AFTER,),
                role=Role.TECHNICIAN,
            ),
            Method(name="sessions.head", summary="The newest row of the chain, and what the device says about it.", call=self.head),
            Method(
                name="sessions.send",
                summary="Send the head of the chain to the CSMS now (DataTransfer LedgerHead).",
                call=self.send,
                role=Role.TECHNICIAN,
            ),
            Method(
                name="sessions.erase",
                summary="Erase the personal data of one session, of one token, or of all sessions before a moment.",
                call=self.erase,
                params=(_TRANSACTION, _TOKEN, _BEFORE),
                role=Role.TECHNICIAN,
            ),
        )

    async def chain(self, params: Params) -> Json:
        """A page of rows without personal data."""
        return await self._page(params, with_tokens=False)

    async def disclosed(self, params: Params) -> Json:
        """A page of rows with it."""
        return await self._page(params, with_tokens=True)

    async def head(self, _: Params) -> Json:
        """The head, null while there is none."""
        said = None if self._keeper is None else await self._keeper.head()
        return None if said is None else _said(said, is_sent=self._keeper is not None and self._keeper.is_sent)

    async def send(self, _: Params) -> Json:
        """Send it; the log tells when the CSMS does not take it."""
        if self._keeper is None or await self._keeper.head() is None:
            raise RpcError(ErrorCode.FAILED, "there is no chain yet: it begins with the first session that ends")
        said = self._keeper.send()
        if said is None:
            raise RpcError(ErrorCode.FAILED, "the CSMS is not connected: chargerctl status says why")
        return _said(said, is_sent=True)

    async def erase(self, params: Params) -> Json:
        """Erase, and say what could not be."""
        if len(params) != 1:
            raise RpcError(ErrorCode.INVALID_PARAMS, "sessions.erase: name one of transaction_id, token and before")
        given = {name: str(value) for name, value in params.items()}
        if "before" in given:
            given["before"] = _moment(given["before"])
        busy: Collection[str] = ()
        if self._station is not None:
            if "token" in given:
                await self._station.forget_token(IdToken(given["token"]))
            busy = self._station.in_hand()
        erased = await self._store.erase(Wanted(**given), busy)
        return {
            "erased": erased.sessions,
            "waiting": erased.waiting,
            "is_scrubbed": erased.is_scrubbed,
            "copies": [str(path) for path in erased.copies],
        }

    async def _page(self, params: Params, *, with_tokens: bool) -> Json:
        read, said = await self._store.ledger_page(int(str(params.get("after", 0))), PAGE)
        return cast("Json", ledger.as_json(read, said, with_tokens=with_tokens))


def _said(said: SignedHead, *, is_sent: bool) -> Json:
    head = said.head
    return {
        "index": None if head is None else head.index,
        "hash": None if head is None else head.hash,
        "statement": said.statement,
        "signature": said.signature,
        "key_id": said.key_id,
        "is_sent": is_sent,
    }


def _moment(text: str) -> str:
    """A day or a moment as UTC. Raises RpcError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise RpcError(ErrorCode.INVALID_PARAMS, f"before: {text[:40]!r} is no moment; write 2026-01-31 or 2026-01-31T12:00:00Z") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat().replace("+00:00", "Z")
