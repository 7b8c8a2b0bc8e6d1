"""The portal's books without a network, for rules that need thousands of orders of arrival."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count

from simulator.portal.chargers import Boot, ChargerBook
from simulator.portal.database import Database
from simulator.portal.payments import Payment, PaymentBook, PaymentMethod
from simulator.portal.transactions import TransactionBook
from tests.portal.rig import NOK, UID

SERIAL = "SN-0001"
STATION = "CP001"


@dataclass
class Ledger:
    """Books in memory, with one claimed and priced charger."""

    database: Database
    chargers: ChargerBook
    payments: PaymentBook
    transactions: TransactionBook
    now: datetime

    def paid(self, evse: int = 1) -> Payment:
        charger = self.chargers.get(SERIAL)
        assert charger.tariff is not None
        return self.payments.authorize(charger, charger.tariff, evse=evse, method=PaymentMethod.CARD, commission_percent=Decimal(5))


def ledger() -> Ledger:
    database = Database(":memory:")
    numbers = count(1)
    made: list[Ledger] = []

    def clock() -> datetime:
        return made[0].now if made else datetime(2026, 3, 1, 9, tzinfo=UTC)

    chargers = ChargerBook(database, clock)
    payments = PaymentBook(database, clock, lambda size: f"{next(numbers):0{2 * size}x}")
    made.append(Ledger(database, chargers, payments, TransactionBook(database, clock, chargers, payments), clock()))
    chargers.provision(SERIAL, UID)
    chargers.set_group_price("default", NOK)
    chargers.claim(serial=SERIAL, uid=UID, country="NO", region="Viken")
    chargers.register(STATION, Boot(serial=SERIAL, vendor="Example", model="AC22", firmware_version="1", version="1.6"))
    chargers.settings_pushed(SERIAL, acknowledged="x", problem=None, tariff=NOK)
    return made[0]
