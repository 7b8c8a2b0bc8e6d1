"""What really happened, seen from outside the daemon: every closing of the contactor beside the disk of that moment, every Wh delivered."""

import asyncio
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path
from typing import Final

from agent.domain.ids import EvseId
from agent.store.store import FILE_NAME
from simulator.world import World

EVSE: Final = EvseId(1)
NEAR_S: Final = 30.0
"""A new register is believed after several read-outs that agree."""


@dataclass(slots=True, kw_only=True)
class Began:
    """The moment at which a transaction came to be: the meter's register, and what had been delivered until then."""

    transaction_id: str
    register_wh: Decimal
    delivered_wh: Decimal
    is_near_leap: bool
    """The register was moved so short a time ago that the daemon may not have seen it."""


@dataclass(slots=True)
class Witness:
    """Keeps the true books. `turn` is called in every round of the loop."""

    world: World
    began: list[Began] = field(default_factory=list)
    on_disk: set[str] = field(default_factory=set)
    """Every transaction that was on a disk when the contactor closed or the daemon went away."""
    violations: list[str] = field(default_factory=list)
    closings: int = 0
    is_frozen: bool = False
    """The meter repeats what it said a while ago, and looks sound."""
    resent: set[str] = field(default_factory=set)
    """Transactions of which a dead letter was sent again, after whatever had gone before."""
    lied_to: set[str] = field(default_factory=set)
    """Transactions during which it did."""
    _leapt_wh: Decimal = Decimal(0)
    _leapt_at: float = float("-inf")
    _started_at_wh: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        self._started_at_wh = self.register_wh()

    def register_wh(self) -> Decimal:
        """The meter's register, exact."""
        return self.world.snapshot(EVSE).import_wh

    def delivered_wh(self) -> Decimal:
        """Everything that has gone through the contactor, whatever became of the register."""
        return self.register_wh() - self._leapt_wh - self._started_at_wh

    def leapt(self, before_wh: Decimal) -> None:
        """The register was moved by hand (reset, jump, another meter); it stood at `before_wh`."""
        self._leapt_wh += self.register_wh() - before_wh
        self._leapt_at = asyncio.get_running_loop().time()

    def transaction_began(self, transaction_id: str) -> None:
        """The daemon has begun a transaction, at least in its memory."""
        if not self.began or self.began[-1].transaction_id != transaction_id:
            began = Began(
                transaction_id=transaction_id,
                register_wh=self.register_wh(),
                delivered_wh=self.delivered_wh(),
                is_near_leap=asyncio.get_running_loop().time() - self._leapt_at < NEAR_S,
            )
            self.began.append(began)

    def true_wh(self) -> dict[str, int]:
        """What each transaction has delivered, as it is billed: the register's whole Wh at its end less those at its begin."""
        found: dict[str, int] = {}
        ends = [*(one.delivered_wh for one in self.began[1:]), self.delivered_wh()]
        for one, end in zip(self.began, ends, strict=False):
            found[one.transaction_id] = floor_wh(one.register_wh + end - one.delivered_wh) - floor_wh(one.register_wh)
        return found

    def contactor_closed(self, disk: Path, transaction_id: str | None) -> None:
        """The contacts have just closed: the Start of this transaction has to be in the file, read by a connection of its own."""
        self.closings += 1
        with closing(read_only(disk)) as db:
            rows = db.execute("SELECT transaction_id, queued_to FROM transactions WHERE is_open = 1 AND evse_id = ?", (EVSE,)).fetchall()
        self.on_disk.update(name for name, _ in rows)
        if not any(queued_to > 0 and transaction_id in {name, None} for name, queued_to in rows):
            self.violations.append(f"contactor: closed for {transaction_id} while the disk has {rows}")

    def disk_seen(self, disk: Path) -> None:
        """The daemon is gone: what is on its disk must never be lost."""
        self.on_disk.update(transactions_on(disk))


def transactions_on(disk: Path) -> Iterable[str]:
    """The transactions in a store's file; none where there is no such file yet."""
    with suppress(sqlite3.OperationalError), closing(read_only(disk)) as db:
        return [name for (name,) in db.execute("SELECT transaction_id FROM transactions")]
    return []


def read_only(disk: Path) -> sqlite3.Connection:
    """A connection of its own to a store's file, which leaves its log where it is."""
    return sqlite3.connect(f"{(disk / FILE_NAME).absolute().as_uri()}?mode=ro", uri=True)


def floor_wh(register_wh: Decimal) -> int:
    """Whole Wh, rounded down, as a register is billed."""
    return int(register_wh.to_integral_value(rounding=ROUND_FLOOR))
