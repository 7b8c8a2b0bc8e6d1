"""The power goes while somebody charges and pays: the session ends or goes on as the policy says, and three books agree."""

import asyncio
import itertools
import shutil
import signal
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from tests.endtoend.conftest import Template
from tests.endtoend.prepared import running
from tests.endtoend.rig import Charger, Died, Late

RESUME = 'power_loss_policy = "resume"'
SAME_EV = 'power_loss_policy = "resume_if_same_ev_within"'
STOP = 'power_loss_policy = "stop"'
FLUSH_S = 0.02
"""What the power-fail input gives before everything is dark."""


async def boot(charger: Charger, boot_id: str, *options: str) -> None:
    """Start the daemon as if the kernel had been booted anew."""
    await charger.start_daemon("tests.endtoend.dying_daemon", "--boot-id", boot_id, *options)


async def cut(charger: Charger) -> None:
    """No supply: the daemon is gone at once, the contactor opens, the pilot offers nothing."""
    await charger.control("power.cut")
    assert charger.daemon is not None
    assert await charger.daemon.wait() == -signal.SIGKILL
    assert not (await charger.world_evse())["contactor"]["is_closed"]


def kinds(charger: Charger) -> list[str]:
    return [str(message["kind"]) for message in charger.messages()]


@pytest.mark.pain(11)
@pytest.mark.parametrize(("version", "policy"), [("1.6", RESUME), ("2.0.1", RESUME), ("2.0.1", SAME_EV)])
async def test_a_paid_session_goes_on_after_a_power_cut(template: Template, tmp_path: Path, version: str, policy: str) -> None:
    """One transaction, one End, the energy of both parts, and no minute of the darkness, in portal, store and meter."""
    async with running(await template(version), tmp_path / "c", version=version, session=policy) as charger:
        before = await charger.register()
        key = await charger.session()
        await cut(charger)
        dark = await charger.register()
        await asyncio.sleep(2)
        assert await charger.register() == dark
        await boot(charger, "boot-2")
        await charger.charge()
        payment = await charger.finish(key)
        assert await charger.differences(before, key) == []
        (row,) = charger.portal.books()
        assert row.stop_reason == "Remote"
        assert kinds(charger).count("Ended") == 1
        assert row.seconds is not None
        assert row.started_at is not None
        assert row.stopped_at is not None
        whole = row.stopped_at - row.started_at
        assert timedelta(seconds=float(row.seconds)) < whole - timedelta(seconds=2), "what was dark is not billed"
        assert payment.gross == row.session_gross


@pytest.mark.pain(11)
async def test_a_session_goes_on_after_a_restart_of_the_service(template: Template, tmp_path: Path) -> None:
    async with running(await template("1.6"), tmp_path / "c", version="1.6", session=RESUME) as charger:
        before = await charger.register()
        key = await charger.session()
        code, _ = await charger.end_daemon(signal.SIGTERM)
        assert code == 0
        await charger.start_daemon()
        await charger.charge()
        await charger.finish(key)
        assert await charger.differences(before, key) == []
        assert charger.portal.books()[0].stop_reason == "Remote"


@pytest.mark.pain(11)
async def test_who_drove_away_in_the_dark_does_not_pay_for_the_next_one(template: Template, tmp_path: Path) -> None:
    async with running(await template("2.0.1"), tmp_path / "c", session=RESUME) as charger:
        before = await charger.register()
        key = await charger.session()
        await cut(charger)
        await charger.unplug()
        await boot(charger, "boot-2")
        await charger.plug_in()
        await charger.settled(key)
        assert charger.portal.books()[0].stop_reason == "PowerLoss"
        assert await charger.differences(before, key) == []


@pytest.mark.pain(10)
@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_everything_is_flushed_in_the_moments_that_the_power_fail_input_gives(
    template: Template, tmp_path: Path, version: str
) -> None:
    """20 ms between the input and SIGKILL: the bill is the meter's to the Wh, and the reason is the power though the kernel lived on."""
    async with running(await template(version), tmp_path / "c", version=version, session=STOP) as charger:
        before = await charger.register()
        key = await charger.session()
        assert charger.daemon is not None
        (stored,) = charger.on_disk().transactions
        await charger.control("fault.set", kind="power_fail")
        await asyncio.sleep(FLUSH_S)
        charger.daemon.kill()
        await charger.daemon.wait()
        (flushed,) = charger.on_disk().transactions
        assert flushed.interrupted_by == "PowerLoss"
        assert flushed.last_reading.at.mono_ms >= stored.last_reading.at.mono_ms
        unseen = await charger.register() - (flushed.last_reading.energy_wh or Decimal(0))
        assert unseen < 10, "the newest reading is at most a second old"
        await charger.control("fault.clear", kind="power_fail")
        await charger.start_daemon()
        await charger.settled(key)
        await charger.unplug()
        await charger.watch(charger.is_free, "the EVSE is free again")
        assert await charger.differences(before, key) == []
        assert charger.portal.books()[0].stop_reason == "PowerLoss"


async def test_power_that_comes_back_in_time_is_only_a_pause(template: Template, tmp_path: Path) -> None:
    """The agent opens before anything is dark, begins no session, and goes on from X1 when the supply holds."""
    async with running(await template("2.0.1"), tmp_path / "c", session=STOP) as charger:
        before = await charger.register()
        key = await charger.session()
        await charger.control("fault.set", kind="power_fail")
        await charger.world_becomes(lambda evse: not evse["contactor"]["is_closed"], "the contactor is open", 1.0)
        assert (await charger.world_evse())["pilot"]["signal"] == "X1"
        await charger.control("fault.clear", kind="power_fail")
        await charger.charge()
        await charger.finish(key)
        assert await charger.differences(before, key) == []
        assert kinds(charger).count("Ended") == 1


# ------------------------------------------------------------------------------------------- cuts in the recovery itself


def cuts(depth: int) -> Iterator[tuple[tuple[int, str], ...]]:
    """Where each of `depth` recoveries in a row dies: at one of its first commits, on this or that side of it."""
    places = ((1, "after"), (2, "before"), (2, "after"), (3, "before"))
    yield from itertools.islice(itertools.product(places, repeat=depth), 0, None, 7 if depth == 2 else 19)


async def cut_again_and_again(template: Path, directory: Path, version: str, policy: str, deaths: tuple[tuple[int, str], ...]) -> list[str]:
    """One paid session, a power cut, and further cuts while each next run recovers; gives everything that is wrong at the end."""
    shutil.copytree(template, directory)
    async with Charger(directory, version=version, session=policy) as charger:
        await charger.start_daemon()
        before = await charger.register()
        key = await charger.session()
        await cut(charger)
        for number, (commit, when) in enumerate(deaths, start=2):
            try:
                await boot(charger, f"boot-{number}", "--die-at", str(commit), "--when", when)
                await charger.watch(never, "it dies", 12)
            except Died:
                pass
            except Late:  # it had less to write than that: then the power goes all the same
                await cut(charger)
        await boot(charger, "boot-last")
        if policy != STOP:
            await charger.charge()
            await charger.portal.stop_payment(key)
        await charger.settled(key)
        await charger.unplug()
        await charger.watch(charger.is_free, "the EVSE is free again")
        found = await charger.differences(before, key, tolerated=("stop_not_delivered",))
        row = charger.portal.books()[0]
        if kinds(charger).count("Ended") != 1:
            found.append(f"{kinds(charger).count('Ended')} different ends")
        expected = "PowerLoss" if policy == STOP else "Remote"
        if row.stop_reason != expected:
            found.append(f"ended by {row.stop_reason}, not by {expected}")
        code, _ = await charger.end_daemon(signal.SIGTERM)
        if code or charger.on_disk().queued or "Traceback" in charger.log_text():
            found.append(f"ended with {code}, queued {charger.on_disk().queued}")
        if found:
            found.append(charger.log_tail(80))
    return [f"{version} {policy} {deaths}: {text}" for text in found]


async def never() -> bool:
    return False


@pytest.mark.pain(20)
@pytest.mark.timeout(600)
@pytest.mark.parametrize("policy", [STOP, RESUME, SAME_EV])
@pytest.mark.parametrize(("version", "depth"), [("1.6", 2), ("2.0.1", 3)])
async def test_cuts_in_the_recovery_itself(template: Template, tmp_path: Path, version: str, depth: int, policy: str) -> None:
    """Twice and thrice in a row, on both sides of a commit: one End, and what portal, store and meter say is the same."""
    prepared = await template(version)
    lanes = [cut_again_and_again(prepared, tmp_path / str(number), version, policy, deaths) for number, deaths in enumerate(cuts(depth))]
    wrong = [text for found in await asyncio.gather(*lanes) for text in found]
    assert not wrong, "\n".join(wrong)
