"""Looks after the chain of finished sessions: states its head, signs and sends that, and removes what is beyond the retention."""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final, Protocol

from agent.domain import ledger
from agent.domain.errors import StoreError
from agent.domain.events import LinkState
from agent.domain.ledger import SignedHead
from agent.domain.notices import Notice, VendorNotice
from agent.domain.time import ClockTrust, Instant, wire_time
from agent.domain.values import dataclass
from agent.ocpp_client.client import OcppClient
from agent.runtime.device_key import DeviceKey, DeviceKeyError
from agent.store.store import Store

_log = logging.getLogger("agent.keeper")

MESSAGE: Final = "LedgerHead"
FIRST_LOOK_S: Final = 600.0
"""A start has better things to do, and the time may not be known yet."""
LOOK_S: Final = 6 * 3600.0
SEND_LOOK_S: Final = 30.0
"""While a head waits to be sent: behind everything that is billed, so it is looked now and then whether that is through."""


class Peer(Protocol):
    """The connection to the CSMS, as the keeper needs it."""

    def state(self) -> LinkState:
        """Whether the CSMS has accepted this station."""

    def is_drained(self) -> bool:
        """Whether nothing durable waits."""

    def send(self, notice: Notice) -> None:
        """Send a message that is not durable."""


class Csms:
    """The OCPP client as a peer."""

    def __init__(self, client: OcppClient) -> None:
        self._client = client

    def state(self) -> LinkState:
        return self._client.status().state

    def is_drained(self) -> bool:
        return self._client.drained()

    def send(self, notice: Notice) -> None:
        self._client.send(notice)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperSettings:
    """What the configuration says."""

    station_id: str
    retention_days: int = 0
    device_key_file: Path | None = None


class Keeper:
    """`run` is the task; nothing that charging depends on happens in it. `wants_head`: whether the CSMS is to be told."""

    def __init__(
        self,
        store: Store,
        settings: KeeperSettings,
        *,
        now: Callable[[], Instant],
        trust: Callable[[], ClockTrust],
        peer: Peer,
        wants_head: Callable[[], bool],
    ) -> None:
        self._store = store
        self._settings = settings
        self._now = now
        self._trust = trust
        self._peer = peer
        self._wants_head = wants_head
        self._key = None if settings.device_key_file is None else DeviceKey(settings.device_key_file)
        self._newest: SignedHead | None = None
        self._sent: SignedHead | None = None
        self._has_complained = False
        self._head_is_new = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._say_heads(), name="ledger-heads")
            group.create_task(self._send_heads(), name="ledger-send")
            if self._settings.retention_days:
                group.create_task(self._forget_for_ever(), name="ledger-retention")

    # --- retention

    async def _forget_for_ever(self) -> None:
        wait_s = FIRST_LOOK_S
        while True:
            await asyncio.sleep(wait_s)
            wait_s = LOOK_S
            await self.forget()

    async def forget(self) -> int:
        """Remove what is too old; gives the number of rows. A clock that nobody vouches for removes nothing."""
        utc, days = self._now().utc, self._settings.retention_days
        if utc is None or not days or self._trust() not in (ClockTrust.NTP, ClockTrust.OCPP):
            return 0
        try:
            count = await self._store.forget_before(utc - timedelta(days=days))
        except StoreError as error:
            _log.warning("sessions beyond the retention could not be removed: %s", error)
            return 0
        if count:
            _log.info("removed %d rows of sessions that ended more than %d days ago", count, days)
        return count

    # --- the head

    async def _say_heads(self) -> None:
        """Once at the start, where a cut came between a session and its signature, then after each session."""
        while True:
            self._store.ledger_grew.clear()
            try:
                await self.head()
            except StoreError as error:
                _log.warning("the head of the chain of sessions could not be read: %s", error)
            await self._store.ledger_grew.wait()

    async def head(self) -> SignedHead | None:
        """What there is to say about the newest row, signed where there is a key; None while the chain is empty. Raises StoreError."""
        state = await self._store.ledger_state()
        if state is None:
            return None
        newest = self._newest or state.signed
        if newest is None or newest.head != state.head or (self._key is not None and not newest.signature):
            utc = self._now().utc
            time = None if utc is None else wire_time(utc)
            statement = ledger.head_statement(state.head, chain=state.chain, station=self._settings.station_id, utc=time)
            newest = await self._signed(statement)
            self._store.keep_head(newest)
        if newest != self._newest:
            self._newest = newest
            self._head_is_new.set()
        return newest

    async def _signed(self, statement: str) -> SignedHead:
        if self._key is None:
            return SignedHead(statement=statement)
        try:
            return await asyncio.to_thread(self._key.sign, statement)
        except DeviceKeyError as error:
            if not self._has_complained:
                self._has_complained = True
                _log.warning("the head of the chain of sessions is not signed: %s", error)
            return SignedHead(statement=statement)

    # --- to the CSMS

    async def _send_heads(self) -> None:
        while True:
            await self._head_is_new.wait()
            self._head_is_new.clear()
            while self._wants_head() and self._newest != self._sent:
                if self._may_send():
                    self.send()
                else:
                    await asyncio.sleep(SEND_LOOK_S)

    def _may_send(self) -> bool:
        return self._peer.state() is LinkState.ACCEPTED and self._peer.is_drained()

    @property
    def is_sent(self) -> bool:
        """Whether the newest head went out since the start."""
        return self._newest is not None and self._newest == self._sent

    def send(self) -> SignedHead | None:
        """Send the newest head now; None where there is none, or no CSMS to send it to."""
        newest = self._newest
        if newest is None or self._peer.state() is not LinkState.ACCEPTED:
            return None
        said = {"statement": newest.statement, "signature": newest.signature, "keyId": newest.key_id}
        self._peer.send(VendorNotice(message_id=MESSAGE, data=ledger.canonical(said)))
        self._sent = newest
        return newest
