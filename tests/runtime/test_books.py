"""From the card to the portal's books: the real daemon chains, states and sends what it charged, and erases a driver from it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.test_diagnosis import CARD, Rig, play

TELLS = '[variables]\n"LedgerCtrlr.SendHead" = true\n'


@pytest.fixture(autouse=True)
def state(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()


async def charge(rig: Rig) -> None:
    """A session by card, from plug to unplug."""
    await rig.control("ev.plug_in", evse=1, delay_s=1)
    await asyncio.sleep(2)
    await rig.control("rfid.swipe", token=CARD, evse=1)
    await rig.until_blocked_by(None)
    await asyncio.sleep(60)
    await rig.control("rfid.swipe", token=CARD, evse=1)
    await rig.until_blocked_by("authorization")


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
def test_the_portal_learns_the_head_after_each_session(tmp_path: Path, version: str) -> None:
    async def story(rig: Rig) -> None:
        rig.portal.add_card(CARD)
        await rig.open_for_business()
        assert await rig.diagnose("sessions.head") is None
        for count in (1, 2):
            await charge(rig)
            await rig.control("ev.unplug", evse=1)
            await asyncio.sleep(60)
            heads = rig.portal.ledger_heads(rig.serial_number)
            assert [head.row for head in heads] == list(range(1, count + 1))
        head: Any = await rig.diagnose("sessions.head")
        assert (head["index"], head["hash"], head["is_sent"]) == (2, heads[-1].hash, True)
        assert json.loads(head["statement"])["station"] == "CP001"
        chain: Any = await rig.diagnose("sessions.chain")
        assert [row["problem"] for row in chain["rows"]] == [None, None]
        portals = {row.energy_wh for row in rig.portal.books_of(rig.serial_number)}
        assert {json.loads(row["body"])["session"]["energy_wh"] for row in chain["rows"]} == portals
        assert CARD not in json.dumps(chain)
        ran = await rig.chargerctl("sessions", "verify", "--head", f"2:{heads[-1].hash}")
        assert (ran.returncode, ran.stdout.splitlines()[0]) == (0, "sound: 2 rows, 2 sessions")
        await rig.diagnose("sessions.send")
        await asyncio.sleep(5)
        assert rig.portal.anomalies() == []

    play(tmp_path, story, version=version, extra=TELLS)


def test_a_driver_is_erased_from_what_the_portal_has_got(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        rig.portal.add_card(CARD)
        await rig.open_for_business()
        await rig.control("ev.plug_in", evse=1, delay_s=1)
        await asyncio.sleep(2)
        await rig.control("rfid.swipe", token=CARD, evse=1)
        await rig.until_blocked_by(None)
        await asyncio.sleep(60)
        answer: Any = await rig.diagnose("sessions.erase", token=CARD)
        assert (answer["erased"], answer["waiting"]) == (0, 1), "it runs"
        await rig.control("rfid.swipe", token=CARD, evse=1)
        await rig.until_blocked_by("authorization")
        await asyncio.sleep(30)
        answer = await rig.diagnose("sessions.erase", token=CARD.lower())
        assert answer == {"erased": 1, "waiting": 0, "is_scrubbed": True, "copies": []}
        await rig.control("ev.unplug", evse=1)
        await asyncio.sleep(30)
        kept = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
        assert [path.name for path in kept if CARD.encode().lower() in path.read_bytes().lower()] == []
        assert (await rig.chargerctl("sessions", "verify")).returncode == 0
        assert await rig.diagnose("sessions.head") is not None

    play(tmp_path, story)
