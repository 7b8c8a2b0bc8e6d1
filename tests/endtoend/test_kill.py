"""SIGKILL at every commit of a paid session: nothing is lost, nothing is doubled, nothing was live before it was on disk."""

import asyncio
import itertools
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from tests.endtoend.conftest import Template
from tests.endtoend.rig import Charger, Died, Late, copies

AT_ONCE = max(2, 10 // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
"""Chargers that run beside each other: they mostly wait. Together with the other workers some ten."""
OPEN_WITHIN_S = 3.0
"""The permission lives 0.95 s, opening takes 20 ms; the rest is for a busy machine. test_safety.py measures it alone."""


class Case:
    """One session with one death."""

    def __init__(self, charger: Charger) -> None:
        self.charger = charger
        self.register_before = Decimal(0)
        self.key: str | None = None
        self.reason = "Remote"
        self.deaths = 0

    async def charges(self) -> str:
        """Plug in, pay, and take some energy. Raises Died as soon as the daemon is gone, like everything that people do."""
        charger = self.charger
        await charger.plug_in()
        self.register_before = await charger.register()
        self.key = key = (await charger.pay()).key
        await charger.knows_session(key)
        await charger.charge()
        return key

    async def carry_on(self) -> None:
        """A whole session where nobody has paid yet; else wait for the end of the one that was cut off."""
        charger = self.charger
        key = self.key
        if key is None:
            key = await self.charges()
            await charger.portal.stop_payment(key)
        await charger.settled(key)
        await charger.unplug()
        await charger.watch(charger.is_free, "the EVSE is free again")

    async def died(self) -> list[str]:
        """What must be true of the world and of the disk while no daemon runs."""
        self.deaths += 1
        disk = self.charger.on_disk()
        found = []
        if (await self.charger.world_evse())["contactor"]["cycles"] and not disk.transactions:
            found.append("the contactor was closed before the Start was on disk")
        if self.key is not None and not disk.transactions:
            self.reason = "voided"
        elif disk.transactions:
            (record,) = disk.transactions
            begun = None if record.stop_begun is None else record.stop_begun.reason
            self.reason = str(record.stopped_reason or begun or "Reboot")
        return found

    async def opens(self) -> list[str]:
        """The contactor opens without a daemon, and stays open."""
        try:
            await self.charger.world_becomes(lambda evse: not evse["contactor"]["is_closed"], "the contactor is open", OPEN_WITHIN_S)
        except Late as error:
            return [str(error)]
        return []

    async def compare(self) -> list[str]:
        """Portal, store, meter, and the reason why it ended."""
        assert self.key is not None
        charger = self.charger
        found = await charger.differences(self.register_before, self.key, tolerated=("stop_not_delivered",))
        if (self.reason == "voided") != (not charger.portal.books()):
            found.append(f"{len(charger.portal.books())} transactions in the portal, expected the session to end with {self.reason}")
        # At least once: what was sent and not yet marked so when the daemon died is sent again, and the portal knows it by its content.
        found += [f"{m['kind']} came {m['copies']} times" for m in charger.messages() if copies(m) > 1 + self.deaths]
        for row in charger.portal.books():
            if row.stop_reason != self.reason:
                found.append(f"stop reason {row.stop_reason} in the portal instead of {self.reason}")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """Where the daemon dies: at the commit `number` of a session, or of the run that recovers one which was killed while it charged."""

    version: str
    number: int
    when: str
    while_recovering: bool = False


async def one_death(template: Path, directory: Path, death: Death) -> tuple[bool, list[str]]:
    """Run one session in which the daemon dies. Gives whether it did, and everything that is wrong afterwards."""
    shutil.copytree(template, directory)
    async with Charger(directory, version=death.version) as charger:
        case = Case(charger)
        if death.while_recovering:
            await charger.start_daemon()
            await case.charges()
            await charger.kill_daemon()
            case.reason = "Reboot"
            case.deaths += 1
        has_died, found = await first_daemon(case, death)
        await case.carry_on()
        found += await case.compare()
        code, _ = await charger.end_daemon(signal.SIGTERM)
        disk = charger.on_disk()
        if code or disk.queued or any(record.ended_at is None for record in disk.transactions):
            found.append(f"the last daemon ended with {code} and left {disk}")
        if found:
            found.append(charger.log_tail(60))
    return has_died, found


async def first_daemon(case: Case, death: Death) -> tuple[bool, list[str]]:
    """Run the daemon that dies, and start the next one."""
    charger = case.charger
    try:
        await charger.start_daemon("tests.endtoend.dying_daemon", "--die-at", str(death.number), "--when", death.when)
        await case.carry_on()
        code, _ = await charger.end_daemon(signal.SIGTERM)  # the orderly end commits, too
    except Died:
        code = -signal.SIGKILL
    if code != -signal.SIGKILL:
        await charger.start_daemon()
        return False, [] if code == 0 else [f"SIGTERM ended with {code}"]
    found = await case.died()
    if death.when == "after":  # a service manager is quick: the next daemon reads the meter while the contactor may be closed still
        opened, _ = await asyncio.gather(case.opens(), charger.start_daemon())
        return True, found + opened
    found += await case.opens()
    await charger.start_daemon()
    return True, found


async def every_death(template: Path, directory: Path, deaths: Iterator[Death]) -> int:
    """Die at one commit after the other until a run is over before it comes to that; gives how many commits there were."""
    wrong: list[str] = []
    survived: list[int] = []

    async def lane() -> None:
        for death in deaths:
            try:
                has_died, found = await one_death(template, directory / f"{death.number}", death)
            except (Late, Died) as error:
                has_died, found = True, [str(error)]
            wrong.extend(f"{death}: {text}" for text in found)
            if not has_died:
                survived.append(death.number)
            if wrong or survived:
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(lane())
    assert not wrong, "\n".join(wrong)
    return min(survived) - 1


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("version", "when", "first", "step"),
    [("1.6", "before", 1, 1), ("1.6", "after", 1, 1), ("2.0.1", "before", 1, 2), ("2.0.1", "after", 2, 2)],
)
async def test_death_at_every_commit_of_a_session(
    template: Template, tmp_path: Path, version: str, when: str, first: int, step: int
) -> None:
    """1.6 on both sides of each commit; 2.0.1, which differs on the wire and not on the disk, on one of them."""
    deaths = (Death(version=version, number=number, when=when) for number in itertools.count(first, step))
    assert await every_death(await template(version), tmp_path, deaths) > 10, "a session has more commits than that"


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("version", "when"), [("1.6", "before"), ("2.0.1", "after")])
async def test_death_at_every_commit_of_the_recovery(template: Template, tmp_path: Path, version: str, when: str) -> None:
    """Killed while it charged, and killed again by whatever the recovery commits."""
    deaths = (Death(version=version, number=number, when=when, while_recovering=True) for number in itertools.count(1))
    assert await every_death(await template(version), tmp_path, deaths) >= 3, "the run, the end, and what the portal answered"
