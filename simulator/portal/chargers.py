"""Chargers, their groups and prices: who may be added, what each charges, what it last said about its connectors."""

import hmac
import json
import re
import sqlite3
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256

from agent.domain.tariff import Tariff
from simulator.portal.database import Database
from simulator.portal.errors import BadInputError, ClaimRateLimitedError, ClaimRefusedError, UnknownItemError
from simulator.portal.stamps import Clock, maybe_moment, moment, stamp
from simulator.portal.wire import plain

DEFAULT_GROUP = "default"
CLAIM_WINDOW = timedelta(minutes=10)
CLAIM_TRIES_PER_SERIAL = 5
CLAIM_TRIES_IN_ALL = 20
MAX_REGION = 64
MAX_VAT_PERCENT = 100
MAX_PRICE = Decimal(1_000_000)
MAX_DECIMALS = 6
"""OCPP 2.0.1 part 2, 2.1.3: a decimal sent to a charger has at most six decimals."""


class Registration(StrEnum):
    """OCPP RegistrationStatus."""

    ACCEPTED = "Accepted"
    PENDING = "Pending"
    REJECTED = "Rejected"


class TokenVerdict(StrEnum):
    """What an idToken may do; the words are those of both OCPP versions."""

    ACCEPTED = "Accepted"
    BLOCKED = "Blocked"
    EXPIRED = "Expired"
    INVALID = "Invalid"
    CONCURRENT_TX = "ConcurrentTx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """What a charger says about itself in BootNotification; `serial` is empty when it names none."""

    serial: str
    vendor: str
    model: str
    firmware_version: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceOverride:
    """Prices of one charger that replace those of its group; None keeps the group's."""

    price_kwh: Decimal | None = None
    price_minute: Decimal | None = None
    price_session: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Chargers that share a price. `energy_cost` is what the owner pays per kWh, `authorize_amount` what is held of the driver's money."""

    group_id: str
    name: str
    energy_cost: Decimal | None
    tariff: Tariff | None
    authorize_amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Charger:
    """A charger that an owner added. `tariff` is the effective price; `identity` is None until it booted after that."""

    serial: str
    identity: str | None
    country: str
    region: str
    group_id: str
    override: PriceOverride
    tariff: Tariff | None
    authorize_amount: Decimal
    charge_with_qr: bool
    vendor: str
    model: str
    firmware_version: str
    version: str
    claimed_at: datetime
    booted_at: datetime | None
    last_seen: datetime | None
    settings_acknowledged: str | None
    settings_problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnclaimedCharger:
    """A charger that booted but that nobody has added."""

    identity: str
    serial: str
    vendor: str
    model: str
    version: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorStatus:
    """The last StatusNotification of a connector; EVSE 0 is the station itself (1.6 connector 0)."""

    evse: int
    connector: int
    status: str
    error: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomaly:
    """Something that should not happen, kept with what caused it. `tx` is the portal's transaction number where there is one."""

    at: datetime
    station: str
    tx: int | None
    kind: str
    detail: str
    payload: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerHead:
    """The head of a charger's chain of sessions, as the charger told it. `signature` is kept for who has the device's public key."""

    chain: str
    row: int
    hash: str
    said_at: str | None
    key_id: str
    signature: str
    statement: str


def tariff_text(tariff: Tariff | None) -> str | None:
    """A tariff as JSON for a database column."""
    if tariff is None:
        return None
    return json.dumps(
        {
            "currency": tariff.currency,
            "price_kwh": plain(tariff.price_kwh),
            "price_minute": plain(tariff.price_minute),
            "price_session": plain(tariff.price_session),
            "vat_percent": plain(tariff.vat_percent),
        }
    )


def tariff_from(text: str) -> Tariff:
    """The reverse of `tariff_text` for a column that is not empty."""
    found: dict[str, str] = json.loads(text)
    return Tariff(
        currency=found["currency"],
        price_kwh=Decimal(found["price_kwh"]),
        price_minute=Decimal(found["price_minute"]),
        price_session=Decimal(found["price_session"]),
        vat_percent=Decimal(found["vat_percent"]),
    )


def tariff_problems(tariff: Tariff) -> tuple[str, ...]:
    """Everything that is wrong with a selling price, as sentences."""
    problems = []
    if not re.fullmatch("[A-Z]{3}", tariff.currency):
        problems.append(f"currency {tariff.currency!r}: three capital letters of ISO 4217 are wanted, such as NOK")
    prices = (("price per kWh", tariff.price_kwh), ("price per minute", tariff.price_minute), ("price per session", tariff.price_session))
    problems += [problem for name, price in prices if (problem := _price_problem(name, price))]
    if not (
        tariff.vat_percent.is_finite() and 0 <= tariff.vat_percent <= MAX_VAT_PERCENT and _decimals(tariff.vat_percent) <= MAX_DECIMALS
    ):
        problems.append(f"VAT {tariff.vat_percent}: a percentage from 0 to {MAX_VAT_PERCENT} is wanted")
    return tuple(problems)


def _price_problem(name: str, price: Decimal) -> str | None:
    if price.is_finite() and 0 <= price < MAX_PRICE and _decimals(price) <= MAX_DECIMALS:
        return None
    return f"{name} {price}: from 0 to less than {MAX_PRICE} with at most {MAX_DECIMALS} decimals is wanted"


def _decimals(number: Decimal) -> int:
    return len(plain(number).partition(".")[2])


def _replaced(last: LedgerHead, head: LedgerHead) -> str | None:
    """What shows that another chain took the place of the one that was told of, None where nothing does."""
    if head.chain != last.chain:
        return f"its chain of sessions is another one since row {head.row}: {head.chain} instead of {last.chain}"
    if head.row < last.row:
        return f"its chain of sessions went back from row {last.row} to {head.row}"
    if head.row == last.row and head.hash != last.hash:
        return f"row {head.row} of its chain of sessions has another hash than before"
    if head.key_id != last.key_id:
        return f"its chain of sessions is signed by another key since row {head.row}"
    return None


def _key(uid: str) -> str:
    """A UID as typed by a person: case, spaces and hyphens do not matter."""
    return re.sub(r"[\s-]", "", uid).upper()


class ChargerBook:
    """Factory list, owners' chargers, groups, prices, passwords, cards, connector states and anomalies."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Work on `database`; make the default group when there is none."""
        self._db = database
        self._clock = clock
        self._db.execute(
            "INSERT OR IGNORE INTO charger_group (id, name, authorize_amount) VALUES (?, ?, ?)", DEFAULT_GROUP, "All chargers", "300"
        )

    # factory and claim

    def provision(self, serial: str, uid: str) -> None:
        """Enter a charger in the factory list: the test rig's part of what a maker does."""
        self._db.execute("INSERT OR REPLACE INTO factory (serial, uid) VALUES (?, ?)", serial, uid)

    def claim(self, *, serial: str, uid: str, country: str, region: str, group_id: str = DEFAULT_GROUP) -> None:
        """Add a charger for its owner. Raises BadInputError, ClaimRefusedError or ClaimRateLimitedError."""
        serial, country, region = serial.strip(), country.strip().upper(), region.strip()
        problems = []
        if not serial:
            problems.append("the serial number is missing")
        if not uid.strip():
            problems.append("the UID code is missing")
        if not re.fullmatch("[A-Z]{2}", country):
            problems.append(f"country {country!r}: two letters of ISO 3166-1 are wanted, such as NO")
        if not 0 < len(region) <= MAX_REGION:
            problems.append(f"the region must have 1 to {MAX_REGION} characters")
        if problems:
            raise BadInputError(tuple(problems))
        self.group(group_id)
        self._refuse_guessing(serial)
        row = self._db.one("SELECT uid FROM factory WHERE serial = ?", serial)
        known = _key(str(row["uid"])) if row else ""
        if not hmac.compare_digest(_key(uid).encode(), known.encode()) or not known:
            self._db.insert("INSERT INTO claim_failure (serial, at) VALUES (?, ?)", serial, stamp(self._clock()))
            # The same words for an unknown serial number: the page must not tell which numbers exist.
            msg = "Serial number and UID code do not belong together. Both stand on the charger's label."
            raise ClaimRefusedError(msg)
        if self._db.one("SELECT 1 FROM charger WHERE serial = ?", serial):
            msg = f"Charger {serial} has been added already."
            raise ClaimRefusedError(msg)
        self._db.insert(
            "INSERT INTO charger (serial, country, region, group_id, claimed_at) VALUES (?, ?, ?, ?, ?)",
            *(serial, country, region, group_id, stamp(self._clock())),
        )

    def _refuse_guessing(self, serial: str) -> None:
        since = stamp(self._clock() - CLAIM_WINDOW)
        same = "SELECT at FROM claim_failure WHERE at > ? AND serial = ? ORDER BY at DESC LIMIT 1 OFFSET ?"
        any_serial = "SELECT at FROM claim_failure WHERE at > ? ORDER BY at DESC LIMIT 1 OFFSET ?"
        row = self._db.one(same, since, serial, CLAIM_TRIES_PER_SERIAL - 1) or self._db.one(any_serial, since, CLAIM_TRIES_IN_ALL - 1)
        if row:
            free_at = moment(str(row["at"])) + CLAIM_WINDOW
            raise ClaimRateLimitedError(max(1, int((free_at - self._clock()).total_seconds()) + 1))

    # boot

    def register(self, identity: str, boot: Boot) -> Registration:
        """Judge a BootNotification; binds the identity of the URL to the serial number of an added charger."""
        with self._db.unit():
            row = self._db.one("SELECT identity FROM charger WHERE serial = ?", boot.serial) if boot.serial else None
            now = stamp(self._clock())
            if row is None:
                self._db.execute("UPDATE charger SET identity = NULL WHERE identity = ?", identity)
                self._db.execute(
                    "INSERT OR REPLACE INTO unclaimed (identity, serial, vendor, model, version, at) VALUES (?, ?, ?, ?, ?, ?)",
                    *(identity, boot.serial, boot.vendor, boot.model, boot.version, now),
                )
                return Registration.PENDING
            if row["identity"] not in {None, identity}:
                detail = f"{identity} says it has serial number {boot.serial}, which belongs to {row['identity']}"
                self.report(station=identity, kind="serial_number_in_use", detail=detail)
                return Registration.REJECTED
            self._db.execute("UPDATE charger SET identity = NULL WHERE identity = ? AND serial <> ?", identity, boot.serial)
            self._db.execute("DELETE FROM unclaimed WHERE identity = ? OR serial = ?", identity, boot.serial)
            self._db.execute(
                "UPDATE charger SET identity = ?, vendor = ?, model = ?, firmware_version = ?, version = ?, booted_at = ? WHERE serial = ?",
                *(identity, boot.vendor, boot.model, boot.firmware_version, boot.version, now, boot.serial),
            )
            return Registration.ACCEPTED

    def unclaimed(self) -> list[UnclaimedCharger]:
        """Chargers that wait for their owner."""
        return [
            UnclaimedCharger(
                identity=row["identity"],
                serial=row["serial"],
                vendor=row["vendor"],
                model=row["model"],
                version=row["version"],
                at=moment(row["at"]),
            )
            for row in self._db.all("SELECT * FROM unclaimed ORDER BY identity")
        ]

    # chargers

    def all(self) -> list[Charger]:
        """Every added charger, by serial number."""
        return [self._charger(row) for row in self._db.all(f"{_CHARGER} ORDER BY c.serial")]

    def get(self, serial: str) -> Charger:
        """One charger. Raises UnknownItemError."""
        row = self._db.one(f"{_CHARGER} WHERE c.serial = ?", serial)
        if row is None:
            what = "charger"
            raise UnknownItemError(what, serial)
        return self._charger(row)

    def by_identity(self, identity: str) -> Charger | None:
        """The added charger that booted under this OCPP identity."""
        row = self._db.one(f"{_CHARGER} WHERE c.identity = ?", identity)
        return self._charger(row) if row else None

    def set_override(self, serial: str, override: PriceOverride) -> None:
        """Prices of one charger. Raises BadInputError, UnknownItemError."""
        self.get(serial)
        named = (
            ("price per kWh", override.price_kwh),
            ("price per minute", override.price_minute),
            ("price per session", override.price_session),
        )
        problems = tuple(problem for name, price in named if price is not None and (problem := _price_problem(name, price)))
        if problems:
            raise BadInputError(problems)
        self._db.execute(
            "UPDATE charger SET price_kwh = ?, price_minute = ?, price_session = ? WHERE serial = ?",
            *(None if price is None else plain(price) for _, price in named),
            serial,
        )

    def set_charge_with_qr(self, serial: str, *, enabled: bool) -> None:
        """The switch "Charge with QR". Raises UnknownItemError."""
        self.get(serial)
        self._db.execute("UPDATE charger SET charge_with_qr = ? WHERE serial = ?", int(enabled), serial)

    def set_group(self, serial: str, group_id: str) -> None:
        """Move a charger to another group. Raises UnknownItemError."""
        self.get(serial)
        self.group(group_id)
        self._db.execute("UPDATE charger SET group_id = ? WHERE serial = ?", group_id, serial)

    def seen(self, serial: str) -> None:
        """The charger said something just now."""
        self._db.execute("UPDATE charger SET last_seen = ? WHERE serial = ?", stamp(self._clock()), serial)

    def settings_pushed(self, serial: str, *, acknowledged: str | None, problem: str | None, tariff: Tariff | None) -> None:
        """Note what the charger took over (`acknowledged`, with its tariff) or why it did not."""
        with self._db.unit():
            if acknowledged is None:
                self._db.execute("UPDATE charger SET settings_problem = ? WHERE serial = ?", problem, serial)
                return
            self._db.execute(
                "UPDATE charger SET settings_acknowledged = ?, settings_problem = ? WHERE serial = ?", acknowledged, problem, serial
            )
            last = self._db.one("SELECT tariff FROM price_history WHERE serial = ? ORDER BY id DESC LIMIT 1", serial)
            if last is None or last["tariff"] != tariff_text(tariff):
                self._db.insert(
                    "INSERT INTO price_history (serial, at, tariff) VALUES (?, ?, ?)", serial, stamp(self._clock()), tariff_text(tariff)
                )

    def tariff_at(self, serial: str, at: datetime) -> Tariff | None:
        """The price that the charger had at a moment: the last one it acknowledged before, or the first one ever."""
        row = self._db.one(
            "SELECT tariff FROM price_history WHERE serial = ? AND at <= ? ORDER BY id DESC LIMIT 1", serial, stamp(at)
        ) or self._db.one("SELECT tariff FROM price_history WHERE serial = ? ORDER BY id LIMIT 1", serial)
        if row is None or row["tariff"] is None:
            return None
        return tariff_from(row["tariff"])

    # groups

    def groups(self) -> list[Group]:
        """All groups, by name."""
        return [self._group(row) for row in self._db.all("SELECT * FROM charger_group ORDER BY name")]

    def group(self, group_id: str) -> Group:
        """One group. Raises UnknownItemError."""
        row = self._db.one("SELECT * FROM charger_group WHERE id = ?", group_id)
        if row is None:
            what = "group"
            raise UnknownItemError(what, group_id)
        return self._group(row)

    def add_group(self, group_id: str, name: str) -> None:
        """A new group without a price. Raises BadInputError for an id that is taken or malformed."""
        if not re.fullmatch("[a-z0-9-]{1,32}", group_id) or self._db.one("SELECT 1 FROM charger_group WHERE id = ?", group_id):
            raise BadInputError((f"group id {group_id!r}: 1 to 32 of a-z, 0-9 and - are wanted, and not one that exists",))
        self._db.insert("INSERT INTO charger_group (id, name, authorize_amount) VALUES (?, ?, '300')", group_id, name.strip() or group_id)

    def set_group_price(
        self, group_id: str, tariff: Tariff, *, energy_cost: Decimal | None = None, authorize_amount: Decimal | None = None
    ) -> None:
        """The selling price of a group; `authorize_amount` None keeps the hold. Raises BadInputError, UnknownItemError."""
        group = self.group(group_id)
        hold = group.authorize_amount if authorize_amount is None else authorize_amount
        problems = list(tariff_problems(tariff))
        if energy_cost is not None and (problem := _price_problem("energy cost", energy_cost)):
            problems.append(problem)
        if problem := _price_problem("amount to authorise", hold):
            problems.append(problem)
        if not hold:
            problems.append("amount to authorise: must be more than 0")
        if problems:
            raise BadInputError(tuple(problems))
        self._db.execute(
            "UPDATE charger_group SET currency = ?, price_kwh = ?, price_minute = ?, price_session = ?, vat_percent = ?, energy_cost = ?,"
            " authorize_amount = ? WHERE id = ?",
            *(tariff.currency, plain(tariff.price_kwh), plain(tariff.price_minute), plain(tariff.price_session), plain(tariff.vat_percent)),
            *(None if energy_cost is None else plain(energy_cost), plain(hold), group_id),
        )

    # chains of sessions

    def ledger_head(self, serial: str, station: str, head: LedgerHead) -> bool:
        """Keep a head. False, and an anomaly, where the charger's chain was replaced: what it said before does not fit."""
        with self._db.unit():
            last = self.ledger_heads(serial)[-1:]
            problem = _replaced(last[0], head) if last else None
            self._db.execute(
                "INSERT OR IGNORE INTO ledger_head (serial, chain, row, hash, said_at, key_id, signature, statement, received_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                *(serial, head.chain, head.row, head.hash, head.said_at, head.key_id, head.signature, head.statement, stamp(self._clock())),
            )
            if problem is not None:
                self.report(station=station, kind="ledger_replaced", detail=problem, payload=head.statement)
        return problem is None

    def ledger_heads(self, serial: str) -> list[LedgerHead]:
        """Every head that a charger told, in the order of arrival."""
        return [
            LedgerHead(
                chain=row["chain"],
                row=row["row"],
                hash=row["hash"],
                said_at=row["said_at"],
                key_id=row["key_id"],
                signature=row["signature"],
                statement=row["statement"],
            )
            for row in self._db.all("SELECT * FROM ledger_head WHERE serial = ? ORDER BY id", serial)
        ]

    # connectors, cards, passwords, anomalies

    def set_status(self, serial: str, *, evse: int, connector: int, status: str, error: str = "") -> None:
        """A StatusNotification. Order of arrival counts, because a charger's clock may step back."""
        self._db.execute(
            "INSERT OR REPLACE INTO connector (serial, evse, connector, status, error, at) VALUES (?, ?, ?, ?, ?, ?)",
            *(serial, evse, connector, status, error, stamp(self._clock())),
        )

    def connectors(self, serial: str) -> list[ConnectorStatus]:
        """The connectors that a charger has told about."""
        return [
            ConnectorStatus(evse=row["evse"], connector=row["connector"], status=row["status"], error=row["error"], at=moment(row["at"]))
            for row in self._db.all("SELECT * FROM connector WHERE serial = ? ORDER BY evse, connector", serial)
        ]

    def set_card(self, id_token: str, status: TokenVerdict = TokenVerdict.ACCEPTED) -> None:
        """Know a card: what Authorize and transactions get as an answer for it."""
        self._db.execute("INSERT OR REPLACE INTO card (id_token, status) VALUES (?, ?)", id_token, status)

    def card_verdict(self, id_token: str) -> TokenVerdict:
        """The verdict on a card; an unknown one is Invalid."""
        row = self._db.one("SELECT status FROM card WHERE id_token = ?", id_token)
        return TokenVerdict(row["status"]) if row else TokenVerdict.INVALID

    def set_password(self, identity: str, password: str | bytes, salt: str) -> None:
        """Demand HTTP basic authentication from this identity. Long random passwords by OCPP's rule, so a plain salted hash serves."""
        secret = password.encode() if isinstance(password, str) else password
        self._db.execute(
            "INSERT OR REPLACE INTO password (identity, salt, digest) VALUES (?, ?, ?)",
            *(identity, salt, sha256(salt.encode() + secret).hexdigest()),
        )

    def may_connect(self, identity: str, username: str, password: bytes | None) -> bool:
        """Whether these credentials open the door; without a password on file everybody may (security profile 0)."""
        row = self._db.one("SELECT salt, digest FROM password WHERE identity = ?", identity)
        if row is None:
            return True
        if password is None or username != identity:
            return False
        return hmac.compare_digest(sha256(str(row["salt"]).encode() + password).hexdigest(), str(row["digest"]))

    def report(self, *, station: str, kind: str, detail: str, tx: int | None = None, payload: str = "") -> None:
        """Keep an anomaly."""
        self._db.insert(
            "INSERT INTO anomaly (at, station, tx, kind, detail, payload) VALUES (?, ?, ?, ?, ?, ?)",
            *(stamp(self._clock()), station, tx, kind, detail, payload[:4000]),
        )

    def anomalies(self) -> list[Anomaly]:
        """Every anomaly, oldest first."""
        return [
            Anomaly(
                at=moment(row["at"]), station=row["station"], tx=row["tx"], kind=row["kind"], detail=row["detail"], payload=row["payload"]
            )
            for row in self._db.all("SELECT * FROM anomaly ORDER BY id")
        ]

    # rows

    def _group(self, row: sqlite3.Row) -> Group:
        return Group(
            group_id=row["id"],
            name=row["name"],
            energy_cost=None if row["energy_cost"] is None else Decimal(row["energy_cost"]),
            tariff=_group_tariff(row, PriceOverride()),
            authorize_amount=Decimal(row["authorize_amount"]),
        )

    def _charger(self, row: sqlite3.Row) -> Charger:
        override = PriceOverride(
            price_kwh=_decimal(row["own_price_kwh"]),
            price_minute=_decimal(row["own_price_minute"]),
            price_session=_decimal(row["own_price_session"]),
        )
        return Charger(
            serial=row["serial"],
            identity=row["identity"],
            country=row["country"],
            region=row["region"],
            group_id=row["group_id"],
            override=override,
            tariff=_group_tariff(row, override),
            authorize_amount=Decimal(row["authorize_amount"]),
            charge_with_qr=bool(row["charge_with_qr"]),
            vendor=row["vendor"],
            model=row["model"],
            firmware_version=row["firmware_version"],
            version=row["version"],
            claimed_at=moment(row["claimed_at"]),
            booted_at=maybe_moment(row["booted_at"]),
            last_seen=maybe_moment(row["last_seen"]),
            settings_acknowledged=row["settings_acknowledged"],
            settings_problem=row["settings_problem"],
        )


_CHARGER = """
SELECT c.*, c.price_kwh AS own_price_kwh, c.price_minute AS own_price_minute, c.price_session AS own_price_session,
    g.currency, g.price_kwh AS group_price_kwh, g.price_minute AS group_price_minute, g.price_session AS group_price_session,
    g.vat_percent, g.authorize_amount
FROM charger c JOIN charger_group g ON g.id = c.group_id
"""


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _group_tariff(row: sqlite3.Row, override: PriceOverride) -> Tariff | None:
    """The effective price: the group's, with what the charger overrides. None until the group has a price."""
    if row["currency"] is None:
        return None
    prefix = "group_price" if "group_price_kwh" in row.keys() else "price"  # noqa: SIM118  a Row is no mapping

    def effective(part: str, own: Decimal | None) -> Decimal:
        return Decimal(row[f"{prefix}_{part}"]) if own is None else own

    return Tariff(
        currency=row["currency"],
        price_kwh=effective("kwh", override.price_kwh),
        price_minute=effective("minute", override.price_minute),
        price_session=effective("session", override.price_session),
        vat_percent=Decimal(row["vat_percent"]),
    )
