"""The demo portal: a CSMS with payments, for test rigs. No money moves.

It listens for chargers (OCPP 1.6J and 2.0.1 over WebSocket) and serves its web pages, both inside the running event loop. Time within the
loop is the loop's own, so that a virtual clock works; wall time comes from the clock that is passed in.
"""

import asyncio
import base64
import binascii
import ipaddress
import re
import secrets
import ssl
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from agent.domain.tariff import Tariff
from simulator.portal.chargers import (
    DEFAULT_GROUP,
    Anomaly,
    Charger,
    ChargerBook,
    ConnectorStatus,
    Group,
    LedgerHead,
    PriceOverride,
    Registration,
    TokenVerdict,
    UnclaimedCharger,
)
from simulator.portal.database import Database
from simulator.portal.dialect import Books, Command, Dialect, Peer, PublicSettings, boot_answer, is_accepted
from simulator.portal.errors import (
    ChargerOfflineError,
    CommandError,
    CommandRefusedError,
    CommandTimeoutError,
    NotPayableError,
    PriceChangedError,
    UnknownItemError,
    WireError,
)
from simulator.portal.link import Link
from simulator.portal.payments import Payment, PaymentBook, PaymentMethod, PaymentState
from simulator.portal.stamps import Clock, utc_now
from simulator.portal.transactions import BookRow, TransactionBook
from simulator.portal.v16 import Dialect16
from simulator.portal.v201 import Dialect201
from simulator.portal.wire import Json, dumps

if TYPE_CHECKING:
    from aiohttp.web import AppRunner
    from websockets.asyncio.server import Server, ServerConnection
    from websockets.http11 import Request, Response
    from websockets.typing import Subprotocol

DIALECTS: dict[str, Callable[[], Dialect]] = {"1.6": Dialect16, "2.0.1": Dialect201}
DEFAULT_COMMISSION = Decimal(5)
MAX_FRAME = 1_048_576
_IDENTITY = re.compile(r"[A-Za-z0-9_\-:.=*+|@]{1,48}")
_REPLACED = 1000
_POLICY_VIOLATION = 1008
_PUSH_TRIES = 3


class Refusal(StrEnum):
    """Why a charger cannot be paid for right now, in the driver's words."""

    UNKNOWN = "This charger is not known here."
    NOT_PUBLIC = "This charger is not open to the public."
    NO_PRICE = "This charger has no price yet."
    OFFLINE = "This charger is offline. Paying is not possible until it is connected again."
    FAULTED = "This charger has a fault."
    UNAVAILABLE = "This charger is out of service."
    OCCUPIED = "This charger is occupied by somebody else."
    FINISHING = "The last session has ended. Unplug the car first."
    NOT_READY = "This charger has not reported its state yet. Try again in a moment."
    SETTINGS_REFUSED = "This charger did not take over its price, so it cannot be paid for. Its owner can see why."
    SETTINGS_PENDING = "This charger is just taking over its new price. Try again in a moment."


class Portal:
    """A CSMS with payments and web pages over one SQLite file.

    Construct, `await start()`, use, `await aclose()`. After a restart on the same file everything goes on where it was.
    Durations are seconds of the event loop's time.
    """

    def __init__(  # noqa: PLR0913  each one is a knob of a test rig
        self,
        db_path: Path | str,
        *,
        clock: Clock = utc_now,
        token_hex: Callable[[int], str] = secrets.token_hex,
        versions: tuple[str, ...] = ("2.0.1", "1.6"),
        ssl_context: ssl.SSLContext | None = None,
        heartbeat_interval_s: int = 300,
        pending_interval_s: int = 5,
        sample_interval_s: int | None = None,
        call_timeout_s: float = 30,
        start_timeout_s: float = 120,
        hold_limit_s: float = 7 * 86_400,
        ping_interval_s: float | None = 20,
        commission_percent: Decimal = DEFAULT_COMMISSION,
        qr_template: str | None = None,
        trigger_boot_on_claim: bool = True,
    ) -> None:
        """`start_timeout_s`: a payment without a session by then, while the charger is connected, is voided; `hold_limit_s` in any case."""
        self._db = Database(db_path)
        self._clock = clock
        self._token_hex = token_hex
        self._versions = versions
        self._ssl_context = ssl_context
        self._heartbeat_interval_s = heartbeat_interval_s
        self._pending_interval_s = pending_interval_s
        self._sample_interval_s = sample_interval_s
        self._call_timeout_s = call_timeout_s
        self._start_timeout_s = start_timeout_s
        self._hold_limit_s = hold_limit_s
        self._ping_interval_s = ping_interval_s
        self._commission_percent = commission_percent
        self._qr_template = qr_template
        self._trigger_boot_on_claim = trigger_boot_on_claim
        self._chargers = ChargerBook(self._db, clock)
        self._payments = PaymentBook(self._db, clock, token_hex)
        self._transactions = TransactionBook(self._db, clock, self._chargers, self._payments)
        self._books = Books(self._chargers, self._transactions)
        self._links: dict[str, Link] = {}
        self._push_locks: dict[str, asyncio.Lock] = {}
        self._start_deadlines: dict[str, float] = {}
        self._changed = asyncio.Event()
        self._spawned: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._server: Server | None = None
        self._web: AppRunner | None = None
        self.host = ""
        self.port = 0
        self.web_port = 0

    # life

    async def start(self, host: str = "127.0.0.1", port: int = 0, *, web_port: int | None = 0) -> None:
        """Listen. Port 0 takes a free one, which is then in `port` and `web_port`; `web_port=None` serves no pages. Loopback only."""
        from websockets.asyncio.server import serve

        host = "127.0.0.1" if host == "localhost" else host  # a name with two addresses would get two ports
        if not ipaddress.ip_address(host).is_loopback:
            msg = f"host {host!r}: this portal is a test rig without log-in and listens on loopback only"
            raise ValueError(msg)
        self.host = host
        if web_port is not None:
            from simulator.portal.web import serve_pages

            self._web, self.web_port = await serve_pages(self, host, web_port)
        self._server = await serve(
            self._serve_charger,
            host,
            port,
            process_request=self._admit,
            select_subprotocol=self._select_subprotocol,
            ssl=self._ssl_context,
            max_size=MAX_FRAME,
            close_timeout=2,
            ping_interval=self._ping_interval_s,
            ping_timeout=self._ping_interval_s,
            compression=None,
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        for payment in self._payments.in_state(PaymentState.AUTHORIZED):
            self._spawn(self._await_start(payment.key))

    async def aclose(self) -> None:
        """Stop listening, part with every charger, close the file. Raises what a background task of the portal died of."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        for task in tuple(self._spawned):
            task.cancel()
        await asyncio.gather(*self._spawned, return_exceptions=True)
        if self._web is not None:
            await self._web.cleanup()
        self._db.close()
        if self._failure is not None:
            raise self._failure

    @property
    def ocpp_url(self) -> str:
        """Where chargers connect; the identity is appended."""
        return f"{'wss' if self._ssl_context else 'ws'}://{_bracketed(self.host)}:{self.port}/"

    @property
    def web_url(self) -> str:
        """Where the pages are, without a slash at the end."""
        return f"http://{_bracketed(self.host)}:{self.web_port}"

    @property
    def qr_template(self) -> str:
        """The template that chargers are given for their QR code."""
        return self._qr_template or f"{self.web_url}/pay/{{chargingstationid}}/{{evse}}"

    async def wait_until(self, condition: Callable[[], bool], timeout_s: float) -> None:
        """Wait for something in the books or on the links. Raises TimeoutError, or what a background task of the portal died of."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                if self._failure is not None:
                    raise self._failure
                await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._spawned.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._spawned.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error
            self._notify()
            self._chargers.report(station="", kind="internal_error", detail=repr(error))

    # the owner's side

    def provision(self, serial: str, uid: str) -> None:
        """Put a charger on the factory list: an owner can add it by this serial number and UID code."""
        self._chargers.provision(serial, uid)

    async def add_charger(self, *, serial: str, uid: str, country: str, region: str, group_id: str = DEFAULT_GROUP) -> Charger:
        """Add a charger for its owner; its next boot is accepted. Raises UserError."""
        self._chargers.claim(serial=serial, uid=uid, country=country, region=region, group_id=group_id)
        waiting = [charger.identity for charger in self._chargers.unclaimed() if charger.serial == serial.strip()]
        if self._trigger_boot_on_claim:
            for identity in waiting:
                if identity in self._links:
                    self._spawn(self._trigger_boot(identity))
        self._notify()
        return self._chargers.get(serial.strip())

    async def _trigger_boot(self, identity: str) -> None:
        """So that nobody waits for the interval of Pending; a charger that does not know TriggerMessage boots when that is over."""
        with suppress(CommandError):
            await self.trigger_message(identity, "BootNotification")

    def set_group_price(
        self, tariff: Tariff, *, group_id: str = DEFAULT_GROUP, energy_cost: Decimal | None = None, authorize_amount: Decimal | None = None
    ) -> None:
        """Energy cost and selling price of a group (VAT included); pushed to its chargers. Raises UserError."""
        self._chargers.set_group_price(group_id, tariff, energy_cost=energy_cost, authorize_amount=authorize_amount)
        for charger in self._chargers.all():
            if charger.group_id == group_id:
                self.push_settings(charger.serial)

    def set_price_override(self, serial: str, override: PriceOverride) -> None:
        """Prices of one charger; pushed. Raises UserError."""
        self._chargers.set_override(serial, override)
        self.push_settings(serial)

    def set_charge_with_qr(self, serial: str, *, enabled: bool) -> None:
        """The switch "Charge with QR"; pushed. Raises UserError."""
        self._chargers.set_charge_with_qr(serial, enabled=enabled)
        self.push_settings(serial)

    def add_group(self, group_id: str, name: str) -> None:
        """A new group, without a price. Raises UserError."""
        self._chargers.add_group(group_id, name)

    def set_group(self, serial: str, group_id: str) -> None:
        """Move a charger to a group; its price is pushed. Raises UserError."""
        self._chargers.set_group(serial, group_id)
        self.push_settings(serial)

    def add_card(self, id_token: str, status: TokenVerdict = TokenVerdict.ACCEPTED) -> None:
        """Know an RFID card; others are Invalid."""
        self._chargers.set_card(id_token, status)

    def set_password(self, identity: str, password: str | bytes) -> None:
        """Demand HTTP basic authentication (security profiles 1 and 2) from this identity."""
        self._chargers.set_password(identity, password, self._token_hex(8))

    # reading

    def chargers(self) -> list[Charger]:
        """Every added charger."""
        return self._chargers.all()

    def charger(self, serial: str) -> Charger:
        """One charger. Raises UnknownItemError."""
        return self._chargers.get(serial)

    def unclaimed(self) -> list[UnclaimedCharger]:
        """Chargers that booted and that nobody has added."""
        return self._chargers.unclaimed()

    def connectors(self, serial: str) -> list[ConnectorStatus]:
        """What a charger last said about its connectors."""
        return self._chargers.connectors(serial)

    def groups(self) -> list[Group]:
        """Every group."""
        return self._chargers.groups()

    def group(self, group_id: str) -> Group:
        """One group. Raises UnknownItemError."""
        return self._chargers.group(group_id)

    def payments(self) -> list[Payment]:
        """Every payment, the newest first."""
        return self._payments.all()

    def payment(self, key: str) -> Payment:
        """One payment. Raises UnknownItemError."""
        return self._payments.get(key)

    def books(self) -> list[BookRow]:
        """Every transaction, with its payment where there is one: what proofs compare with the charger's store and the meter."""
        return self._transactions.all()

    def book_row(self, transaction_id: int) -> BookRow | None:
        """One transaction by the portal's number."""
        return self._transactions.get(transaction_id)

    def books_of(self, serial: str) -> list[BookRow]:
        """The transactions of one charger, the newest first."""
        return self._transactions.of_charger(serial)

    def anomalies(self) -> list[Anomaly]:
        """Everything that should not have happened: violations of the schemas, unknown transactions, mismatches, own errors."""
        return self._chargers.anomalies()

    def ledger_heads(self, serial: str) -> list[LedgerHead]:
        """What a charger said about the head of its chain of sessions, in the order of arrival."""
        return self._chargers.ledger_heads(serial)

    def is_online(self, serial: str) -> bool:
        """Whether an accepted charger is connected."""
        charger = self._chargers.get(serial)
        link = self._links.get(charger.identity) if charger.identity else None
        return link is not None and link.serial == serial

    def is_connected(self, identity: str) -> bool:
        """Whether a charger is connected under this identity, accepted or not."""
        return identity in self._links

    def settings_are_current(self, serial: str) -> bool:
        """Whether the charger has acknowledged the price, template and switch that are valid now."""
        charger = self._chargers.get(serial)
        return charger.settings_acknowledged == _wanted_text(self._public_settings(charger))

    def running_cost(self, payment: Payment) -> Decimal | None:
        """What a running session costs at this moment; None before it began."""
        cost = self._transactions.running_cost(payment.tx, self._clock()) if payment.tx is not None else None
        return None if cost is None else cost.gross

    def now(self) -> datetime:
        """The portal's wall clock."""
        return self._clock()

    # paying

    def refusal(self, identity: str, evse: int) -> Refusal | None:
        """Why this EVSE cannot be paid for right now, or None."""
        charger = self._chargers.by_identity(identity)
        if charger is None:
            return Refusal.UNKNOWN
        if not charger.charge_with_qr:
            return Refusal.NOT_PUBLIC
        if charger.tariff is None:
            return Refusal.NO_PRICE
        if not self.is_online(charger.serial):
            return Refusal.OFFLINE
        connectors = self._chargers.connectors(charger.serial)
        here = [connector.status for connector in connectors if connector.evse == evse]
        station = [connector.status for connector in connectors if connector.evse == 0]
        if not here or evse < 1:
            return Refusal.UNKNOWN if any(connector.evse for connector in connectors) else Refusal.NOT_READY
        if "Faulted" in here + station:
            return Refusal.FAULTED
        if "Unavailable" in here + station:
            return Refusal.UNAVAILABLE
        if self._transactions.is_occupied(charger.serial, evse) or any(payment.evse == evse for payment in self._holding(charger.serial)):
            return Refusal.OCCUPIED
        if "Finishing" in here:
            return Refusal.FINISHING
        if any(status in {"Reserved", "Charging", "SuspendedEV", "SuspendedEVSE"} for status in here):
            return Refusal.OCCUPIED
        if not self.settings_are_current(charger.serial):
            return Refusal.SETTINGS_PENDING if charger.settings_problem is None else Refusal.SETTINGS_REFUSED
        return None

    def _holding(self, serial: str) -> list[Payment]:
        return self._payments.in_state(PaymentState.AUTHORIZED, serial)

    async def pay(self, identity: str, evse: int, method: PaymentMethod, *, shown: Tariff | None = None) -> Payment:
        """Authorise the group's amount and ask the charger to start. `shown` is the price the driver saw. Raises UserError.

        Returns at once; the payment's state tells how it went on.
        """
        reason = self.refusal(identity, evse)
        charger = self._chargers.by_identity(identity)
        if reason is not None or charger is None or charger.tariff is None:
            raise NotPayableError(reason or Refusal.UNKNOWN)
        if shown is not None and shown != charger.tariff:
            msg = "The price has just changed. Look at the new price, then pay."
            raise PriceChangedError(msg)
        payment = self._payments.authorize(charger, charger.tariff, evse=evse, method=method, commission_percent=self._commission_percent)
        self._spawn(self._start_remotely(payment))
        self._notify()
        return payment

    async def _start_remotely(self, payment: Payment) -> None:
        link = self._links.get(payment.station)
        try:
            if link is None:
                raise ChargerOfflineError(payment.station, "remote start")
            announcement = link.dialect.announce_limit(payment.id_token, payment.authorized)
            if announcement is not None:
                with suppress(CommandRefusedError):  # of another make: then only the portal keeps the limit
                    await link.call(announcement.action, announcement.payload)
            command = link.dialect.remote_start(payment.evse, payment.id_token, payment.payment_id, payment.authorized)
            answer = await link.call(command.action, command.payload)
        except (ChargerOfflineError, CommandRefusedError) as error:
            self._void(payment.key, error.reason)
            return
        except CommandError:
            answer = {"status": "Accepted"}  # unknown: it may have arrived, so the hold stays until the start time-out
        if not is_accepted(answer):
            self._void(payment.key, "the charger refused to start")
            return
        if isinstance(wire_id := answer.get("transactionId"), str):
            self._transactions.bind_started(payment.serial, payment.station, payment, wire_id)
            self._notify()
        await self._await_start(payment.key)

    async def _await_start(self, key: str) -> None:
        """Void a payment whose session never begins. An offline charger may have begun it, so the time-out runs while it is connected."""
        loop = asyncio.get_running_loop()
        last_moment = loop.time() + self._hold_limit_s
        self._start_deadlines[key] = loop.time() + self._start_timeout_s
        try:
            while (payment := self._payments.get(key)).state is PaymentState.AUTHORIZED:
                is_online = self.is_online(payment.serial)
                deadline = min(self._start_deadlines[key], last_moment) if is_online else last_moment
                if loop.time() >= deadline:
                    self._void(key, "the session was not started in time")
                    return
                changed = self._changed
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(deadline):
                        await changed.wait()
        finally:
            self._start_deadlines.pop(key, None)

    def _void(self, key: str, reason: str) -> None:
        payment = self._payments.get(key)
        if payment.state is PaymentState.AUTHORIZED:
            self._payments.void(payment, reason)
            self._settings_may_move(payment.serial)
            self._notify()

    async def stop_payment(self, key: str) -> bool:
        """The driver's Stop. True when the charger takes it; when it cannot be reached now, it is asked again. Raises UserError."""
        payment = self._payments.get(key)
        if payment.state is not PaymentState.CHARGING:
            return False
        self._payments.request_stop(payment)
        self._notify()
        return await self._stop_remotely(payment)

    async def _stop_remotely(self, payment: Payment) -> bool:
        row = self._transactions.get(payment.tx) if payment.tx is not None else None
        if row is None or row.stopped_at is not None:
            return False
        try:
            return await self.remote_stop(payment.station, row.wire_id)
        except CommandError as error:
            self._chargers.report(station=payment.station, tx=payment.tx, kind="stop_not_delivered", detail=error.reason)
            return False

    async def _stop_again(self, payment: Payment) -> None:
        await self._stop_remotely(payment)

    def _stop_overdrawn(self, link: Link) -> None:
        for tx in self._transactions.take_overdrawn():
            row = self._transactions.get(tx)
            if row is not None and row.payment_key is not None:
                payment = self._payments.get(row.payment_key)
                self._payments.request_stop(payment)
                link.after_answer(lambda payment=payment: self._stop_again(payment))  # type: ignore[misc]

    # commands

    async def call(self, identity: str, action: str, payload: dict[str, Json]) -> dict[str, Json]:
        """Any call to a connected charger, as it stands; its validated answer. Raises CommandError."""
        link = self._links.get(identity)
        if link is None:
            raise ChargerOfflineError(identity, action)
        return await link.call(action, payload)

    async def _command(self, identity: str, make: Callable[[Dialect], Command]) -> dict[str, Json]:
        link = self._links.get(identity)
        if link is None:
            raise ChargerOfflineError(identity, "command")
        command = make(link.dialect)
        return await link.call(command.action, command.payload)

    async def remote_start(self, identity: str, evse: int, id_token: str, remote_start_id: int = 0) -> bool:
        """RemoteStartTransaction / RequestStartTransaction without a payment."""
        return is_accepted(await self._command(identity, lambda dialect: dialect.remote_start(evse, id_token, remote_start_id)))

    async def remote_stop(self, identity: str, wire_id: str) -> bool:
        """RemoteStopTransaction / RequestStopTransaction."""
        return is_accepted(await self._command(identity, lambda dialect: dialect.remote_stop(wire_id)))

    async def change_availability(self, identity: str, evse: int = 0, *, operative: bool) -> str:
        """Accepted, Rejected or Scheduled; EVSE 0 is the whole station."""
        return str((await self._command(identity, lambda dialect: dialect.change_availability(evse, operative=operative)))["status"])

    async def reset(self, identity: str, *, hard: bool = False) -> bool:
        """Soft/Hard, OnIdle/Immediate."""
        return (await self._command(identity, lambda dialect: dialect.reset(hard=hard)))["status"] in {"Accepted", "Scheduled"}

    async def unlock(self, identity: str, evse: int) -> str:
        """UnlockConnector; the charger's word for how it went."""
        return str((await self._command(identity, lambda dialect: dialect.unlock(evse)))["status"])

    async def clear_cache(self, identity: str) -> bool:
        """ClearCache."""
        return is_accepted(await self.call(identity, "ClearCache", {}))

    async def trigger_message(self, identity: str, message: str, evse: int | None = None) -> bool:
        """TriggerMessage."""
        return is_accepted(await self._command(identity, lambda dialect: dialect.trigger(message, evse)))

    async def data_transfer(self, identity: str, vendor_id: str, message_id: str, data: str) -> dict[str, Json]:
        """DataTransfer; the whole answer."""
        return await self.call(identity, "DataTransfer", {"vendorId": vendor_id, "messageId": message_id, "data": data})

    async def get_settings(self, identity: str, *names: str) -> dict[str, str]:
        """GetConfiguration (no names: all) / GetVariables of `Component.Variable[instance]`."""
        link = self._links.get(identity)
        if link is None:
            raise ChargerOfflineError(identity, "get settings")
        command = link.dialect.get_settings(names)
        return link.dialect.read_settings(await link.call(command.action, command.payload))

    async def set_settings(self, identity: str, values: dict[str, str]) -> tuple[str, ...]:
        """ChangeConfiguration one by one / one SetVariables; returns what was refused and how. 1.6 stops at the first refusal."""
        link = self._links.get(identity)
        if link is None:
            raise ChargerOfflineError(identity, "set settings")
        return await _set(link, values)

    async def disconnect(self, identity: str) -> None:
        """Close a charger's connection."""
        if link := self._links.get(identity):
            await link.close(_REPLACED, "asked for by the test rig")

    def cut(self, identity: str) -> None:
        """Abort a charger's TCP connection without a word."""
        if link := self._links.get(identity):
            link.abort()

    # price and public charging to the charger

    def push_settings(self, serial: str) -> None:
        """Send price, template and switch to the charger soon, where it is connected; else when it connects."""
        self._notify()
        if self.is_online(serial):
            self._spawn(self._push(serial, force=False))

    def _settings_may_move(self, serial: str) -> None:
        if self.is_online(serial) and not self.settings_are_current(serial):
            self._spawn(self._push(serial, force=False))

    def _public_settings(self, charger: Charger) -> PublicSettings:
        enabled = charger.charge_with_qr and charger.tariff is not None
        return PublicSettings(tariff=charger.tariff, qr_template=self.qr_template, enabled=enabled)

    async def _push(self, serial: str, *, force: bool) -> None:
        async with self._push_locks.setdefault(serial, asyncio.Lock()):
            for attempt in range(1, _PUSH_TRIES + 1):
                charger = self._chargers.get(serial)
                link = self._links.get(charger.identity) if charger.identity else None
                if link is None or link.serial != serial:
                    return
                wanted = self._public_settings(charger)
                is_current = charger.settings_acknowledged == _wanted_text(wanted)
                # A driver has agreed to a price and the session has not begun: the charger keeps that price until it freezes it.
                if (is_current and not force) or (not is_current and self._holding(serial)):
                    return
                try:
                    problems = await self._push_once(link, wanted, with_interval=force)
                except CommandError as error:
                    self._chargers.settings_pushed(serial, acknowledged=None, problem=error.reason, tariff=None)
                    if isinstance(error, CommandTimeoutError) and attempt < _PUSH_TRIES:
                        continue
                    return
                finally:
                    self._notify()
                acknowledged = _refused_text(problems) if problems else _wanted_text(wanted)
                self._chargers.settings_pushed(
                    serial, acknowledged=acknowledged, problem="; ".join(problems) or None, tariff=None if problems else wanted.tariff
                )
                self._notify()
                return

    async def _push_once(self, link: Link, wanted: PublicSettings, *, with_interval: bool) -> tuple[str, ...]:
        if with_interval and self._sample_interval_s is not None:
            refused = await _set(link, link.dialect.sample_interval(self._sample_interval_s))
            if refused:
                self._chargers.report(station=link.identity, kind="setting_refused", detail="; ".join(refused))
        values = link.dialect.public_settings(wanted)
        refused = await _set(link, values)
        if refused:
            self._chargers.report(station=link.identity, kind="setting_refused", detail="; ".join(refused))
            await _set(link, {"WebPaymentsCtrlr.Enabled": "false"})  # never public with a price that is not ours
        return refused

    # chargers' side

    def _admit(self, connection: "ServerConnection", request: "Request") -> "Response | None":
        identity = _identity(request.path)
        if identity is None:
            return connection.respond(HTTPStatus.NOT_FOUND, "The path must end in the charger's identity.\n")
        username, password = _credentials(request.headers.get("Authorization"))
        if not self._chargers.may_connect(identity, username, password):
            response = connection.respond(HTTPStatus.UNAUTHORIZED, "HTTP basic authentication with identity and password is wanted.\n")
            response.headers["WWW-Authenticate"] = 'Basic realm="charger"'
            return response
        return None

    def _select_subprotocol(self, connection: "ServerConnection", offered: "Sequence[Subprotocol]") -> "Subprotocol | None":
        """The first one of the charger's that we speak; none is no error of the handshake (OCPP-J 1.6, 3.1.2)."""
        del connection
        spoken = {DIALECTS[version]().subprotocol for version in self._versions}
        return next((subprotocol for subprotocol in offered if subprotocol in spoken), None)

    async def _serve_charger(self, connection: "ServerConnection") -> None:
        assert connection.request is not None
        identity = _identity(connection.request.path)
        dialect = next((make() for make in DIALECTS.values() if make().subprotocol == connection.subprotocol), None)
        if identity is None or dialect is None:
            await connection.close(1002, "no common OCPP version")
            return
        link = Link(
            connection,
            identity=identity,
            dialect=dialect,
            connected_at=self._clock(),
            call_timeout_s=self._call_timeout_s,
            new_message_id=lambda: self._token_hex(16),
            answer=self._answer,
            complain=self._complain,
        )
        before = self._links.get(identity)
        self._links[identity] = link
        if before is not None:
            self._spawn(before.close(_POLICY_VIOLATION, "replaced by a newer connection"))
        charger = self._chargers.by_identity(identity)
        if charger is not None:
            self._accept(link, charger.serial)
            self._spawn(self._push(charger.serial, force=False))
        self._notify()
        try:
            await link.run(self._spawn)
        finally:
            if self._links.get(identity) is link:
                del self._links[identity]
            self._notify()

    def _accept(self, link: Link, serial: str) -> None:
        """From here on the charger's messages count. Sessions that should have been stopped are asked again to stop."""
        link.serial = serial
        self._extend_start_deadlines(serial)
        for payment in self._payments.in_state(PaymentState.CHARGING, serial):
            if payment.stop_requested:
                self._spawn(self._stop_again(payment))

    def _extend_start_deadlines(self, serial: str) -> None:
        """The charger has just come back, or still delivers what it stored: a paid session may be among it."""
        deadline = asyncio.get_running_loop().time() + self._start_timeout_s
        for payment in self._holding(serial):
            if payment.key in self._start_deadlines:
                self._start_deadlines[payment.key] = deadline

    def _answer(self, link: Link, action: str, payload: dict[str, Json]) -> dict[str, Json]:
        if action == "BootNotification":
            return self._boot(link, payload)
        if link.serial is None:
            # OCPP-J 1.6 errata, 2.0.1 B02.FR.09
            code, description = "SecurityError", "send BootNotification and wait until it is Accepted"
            raise WireError(code, description)
        states_before = {payment.key for payment in self._holding(link.serial)}
        with self._db.unit():
            self._chargers.seen(link.serial)
            response = link.dialect.handle(self._books, Peer(link.serial, link.identity), action, payload, self._clock())
        self._stop_overdrawn(link)
        if action in {"StartTransaction", "StopTransaction", "TransactionEvent"}:
            if _is_older(payload, link.connected_at):
                self._extend_start_deadlines(link.serial)
            if states_before != {payment.key for payment in self._holding(link.serial)}:
                self._settings_may_move(link.serial)
        self._notify()
        return response

    def _boot(self, link: Link, payload: dict[str, Json]) -> dict[str, Json]:
        boot = link.dialect.boot(payload)
        registration = self._chargers.register(link.identity, boot)
        if registration is Registration.ACCEPTED:
            self._accept(link, boot.serial)
            link.after_answer(lambda: self._push(boot.serial, force=True))
        else:
            link.serial = None
        self._notify()
        interval = self._heartbeat_interval_s if registration is Registration.ACCEPTED else self._pending_interval_s
        return boot_answer(registration, self._clock(), interval)

    def _complain(self, link: Link, kind: str, detail: str, payload: str) -> None:
        self._chargers.report(station=link.identity, kind=kind, detail=detail, payload=payload)
        self._notify()


async def _set(link: Link, values: dict[str, str]) -> tuple[str, ...]:
    for command in link.dialect.set_settings(values):
        refused = link.dialect.refused_settings(command, await link.call(command.action, command.payload))
        if refused:
            return refused
    return ()


def _wanted_text(settings: PublicSettings) -> str:
    tariff = settings.tariff
    price: list[Json] = (
        [] if tariff is None else [tariff.currency, tariff.price_kwh, tariff.price_minute, tariff.price_session, tariff.vat_percent]
    )
    return dumps([price, settings.qr_template, settings.enabled])


def _refused_text(problems: tuple[str, ...]) -> str:
    return "refused: " + "; ".join(problems)


def _identity(path: str) -> str | None:
    """The last part of the URL's path."""
    identity = unquote(path.partition("?")[0].rpartition("/")[2])
    return identity if _IDENTITY.fullmatch(identity) else None


def _credentials(header: str | None) -> tuple[str, bytes | None]:
    scheme, _, encoded = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return "", None
    try:
        username, found, password = base64.b64decode(encoded, validate=True).partition(b":")
    except binascii.Error:
        return "", None
    return username.decode("utf-8", "replace"), password if found else None


def _is_older(payload: dict[str, Json], connected_at: datetime) -> bool:
    timestamp = payload.get("timestamp")
    return isinstance(timestamp, str) and datetime.fromisoformat(timestamp) < connected_at


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


__all__ = ["Portal", "Refusal", "UnknownItemError"]
