"""The chain of finished sessions as the technician sees it: its rows in pages, for the proof and for the export."""

from typing import Final, cast

from agent.diagnostics.protocol import Json, Method, Param, Params, ParamType, Role
from agent.store import ledger
from agent.store.store import Store

PAGE: Final = 50
"""Rows in one answer: some 100 kB."""

_AFTER = Param(name="after", type=ParamType.INTEGER, description="only rows behind this one", minimum=0, maximum=2**53)


class Books:
    """The methods `sessions.*`."""

    def __init__(self, store: Store) -> None:
        self._store = store

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
        )

    async def chain(self, params: Params) -> Json:
        """A page of rows without personal data."""
        return await self._page(params, with_tokens=False)

    async def disclosed(self, params: Params) -> Json:
        """A page of rows with it."""
        return await self._page(params, with_tokens=True)

    async def _page(self, params: Params, *, with_tokens: bool) -> Json:
        read, said = await self._store.ledger_page(int(str(params.get("after", 0))), PAGE)
        return cast("Json", ledger.as_json(read, said, with_tokens=with_tokens))
