"""Payments: an amount is authorised, a session uses it, the stop captures the exact one. Simulated: no money moves."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from agent.domain.tariff import Tariff
from simulator.portal.chargers import Charger, TokenVerdict, tariff_from, tariff_text
from simulator.portal.database import Database
from simulator.portal.errors import UnknownItemError
from simulator.portal.money import rounded, settle
from simulator.portal.stamps import Clock, maybe_moment, moment, stamp
from simulator.portal.wire import plain

TOKEN_PREFIX = "QR-"  # noqa: S105  no secret: the random part follows it
TOKEN_BYTES = 7
"""14 hexadecimal digits: with the prefix 17 characters, below the 20 that an idTag of OCPP 1.6 may have; 56 bits nobody guesses."""


class PaymentMethod(StrEnum):
    """Means of payment, all simulated."""

    CARD = "card"
    VIPPS = "vipps"
    APPLE_PAY = "apple_pay"
    GOOGLE_PAY = "google_pay"


METHOD_NAMES = {
    PaymentMethod.CARD: "Card",
    PaymentMethod.VIPPS: "Vipps",
    PaymentMethod.APPLE_PAY: "Apple Pay",
    PaymentMethod.GOOGLE_PAY: "Google Pay",
}


class PaymentState(StrEnum):
    """authorized → charging → captured or voided; authorized → voided."""

    AUTHORIZED = "authorized"
    CHARGING = "charging"
    CAPTURED = "captured"
    VOIDED = "voided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """One payment. Amounts are those of `tariff.currency`; those that only the end knows are None before it."""

    payment_id: int
    key: str
    serial: str
    station: str
    evse: int
    country: str
    region: str
    method: PaymentMethod
    id_token: str = field(repr=False)
    tariff: Tariff
    commission_percent: Decimal
    authorized: Decimal
    state: PaymentState
    reason: str
    created_at: datetime
    closed_at: datetime | None
    stop_requested: bool
    tx: int | None
    gross: Decimal | None
    vat: Decimal | None
    commission: Decimal | None
    net: Decimal | None
    uncollected: Decimal | None


class PaymentBook:
    """The payments in the portal's database."""

    def __init__(self, database: Database, clock: Clock, token_hex: Callable[[int], str]) -> None:
        """`token_hex(n)` gives n random bytes in hexadecimal."""
        self._db = database
        self._clock = clock
        self._token_hex = token_hex

    def authorize(self, charger: Charger, tariff: Tariff, *, evse: int, method: PaymentMethod, commission_percent: Decimal) -> Payment:
        """Hold the group's amount and make the single-use token that will start this session."""
        key = self._token_hex(12)
        self._db.insert(
            "INSERT INTO payment (key, serial, station, evse, country, region, method, id_token, tariff, commission_percent, authorized,"
            " state, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *(key, charger.serial, charger.identity, evse, charger.country, charger.region, method),
            *(TOKEN_PREFIX + self._token_hex(TOKEN_BYTES).upper(), tariff_text(tariff), plain(commission_percent)),
            *(plain(rounded(charger.authorize_amount, tariff.currency)), PaymentState.AUTHORIZED, stamp(self._clock())),
        )
        return self.get(key)

    def get(self, key: str) -> Payment:
        """One payment by its public key. Raises UnknownItemError."""
        row = self._db.one("SELECT * FROM payment WHERE key = ?", key)
        if row is None:
            what = "payment"
            raise UnknownItemError(what, key)
        return _payment(row)

    def by_id(self, payment_id: int) -> Payment | None:
        """One payment by its number, which is also the remoteStartId of OCPP 2.0.1."""
        row = self._db.one("SELECT * FROM payment WHERE id = ?", payment_id)
        return _payment(row) if row else None

    def by_token(self, id_token: str) -> Payment | None:
        """The payment for which a token was made."""
        row = self._db.one("SELECT * FROM payment WHERE id_token = ?", id_token)
        return _payment(row) if row else None

    def all(self) -> list[Payment]:
        """Every payment, the newest first."""
        return [_payment(row) for row in self._db.all("SELECT * FROM payment ORDER BY id DESC")]

    def in_state(self, state: PaymentState, serial: str | None = None) -> list[Payment]:
        """Payments in a state, of one charger or of all."""
        rows = self._db.all("SELECT * FROM payment WHERE state = ? AND (? IS NULL OR serial = ?) ORDER BY id", state, serial, serial)
        return [_payment(row) for row in rows]

    def verdict(self, serial: str, id_token: str) -> TokenVerdict | None:
        """May this token charge here? None when it is no payment's token."""
        payment = self.by_token(id_token)
        if payment is None:
            return None
        if payment.serial != serial:
            return TokenVerdict.INVALID
        return TokenVerdict.ACCEPTED if payment.state in {PaymentState.AUTHORIZED, PaymentState.CHARGING} else TokenVerdict.EXPIRED

    def bind(self, payment: Payment, tx: int) -> None:
        """The session of this payment began. A voided payment stays voided."""
        self._db.execute("UPDATE payment SET tx = ? WHERE id = ?", tx, payment.payment_id)
        self._db.execute(
            "UPDATE payment SET state = ? WHERE id = ? AND state = ?", PaymentState.CHARGING, payment.payment_id, PaymentState.AUTHORIZED
        )

    def capture(self, payment: Payment, gross: Decimal) -> None:
        """Take what the session cost, at most what was authorised. A voided payment takes nothing: all of it stays uncollected.

        What was captured before and is lower now is given back; more is never taken afterwards.
        """
        if payment.state is PaymentState.VOIDED:
            self._db.execute("UPDATE payment SET uncollected = ? WHERE id = ?", str(gross), payment.payment_id)
            return
        taken = settle(gross, payment.tariff, authorized=payment.authorized, commission_percent=payment.commission_percent)
        is_lower = payment.state is PaymentState.CAPTURED and payment.gross is not None and taken.gross < payment.gross
        self._db.execute(
            "UPDATE payment SET state = ?, closed_at = ?, gross = ?, vat = ?, commission = ?, net = ?, uncollected = ?"
            " WHERE id = ? AND state = ?",
            *(PaymentState.CAPTURED, stamp(self._clock()), str(taken.gross), str(taken.vat), str(taken.commission), str(taken.net)),
            *(str(taken.uncollected), payment.payment_id, PaymentState.CAPTURED if is_lower else PaymentState.CHARGING),
        )

    def void(self, payment: Payment, reason: str) -> None:
        """Release the hold. Does nothing to a payment that is closed already."""
        nothing = str(rounded(Decimal(0), payment.tariff.currency))
        self._db.execute(
            "UPDATE payment SET state = ?, reason = ?, closed_at = ?, gross = ?, vat = ?, commission = ?, net = ?, uncollected = ?"
            " WHERE id = ? AND state IN (?, ?)",
            *(PaymentState.VOIDED, reason, stamp(self._clock()), nothing, nothing, nothing, nothing, nothing),
            *(payment.payment_id, PaymentState.AUTHORIZED, PaymentState.CHARGING),
        )

    def request_stop(self, payment: Payment) -> None:
        """Remember that the driver, or the hold's limit, wants the session to stop, so that it is asked again after a reconnect."""
        self._db.execute("UPDATE payment SET stop_requested = 1 WHERE id = ?", payment.payment_id)


def _payment(row: sqlite3.Row) -> Payment:
    return Payment(
        payment_id=row["id"],
        key=row["key"],
        serial=row["serial"],
        station=row["station"],
        evse=row["evse"],
        country=row["country"],
        region=row["region"],
        method=PaymentMethod(row["method"]),
        id_token=row["id_token"],
        tariff=tariff_from(row["tariff"]),
        commission_percent=Decimal(row["commission_percent"]),
        authorized=Decimal(row["authorized"]),
        state=PaymentState(row["state"]),
        reason=row["reason"],
        created_at=moment(row["created_at"]),
        closed_at=maybe_moment(row["closed_at"]),
        stop_requested=bool(row["stop_requested"]),
        tx=row["tx"],
        gross=maybe_amount(row["gross"]),
        vat=maybe_amount(row["vat"]),
        commission=maybe_amount(row["commission"]),
        net=maybe_amount(row["net"]),
        uncollected=maybe_amount(row["uncollected"]),
    )


def maybe_amount(text: str | None) -> Decimal | None:
    """A money column that may be empty."""
    return None if text is None else Decimal(text)
