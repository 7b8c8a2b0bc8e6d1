"""What the real daemon recorded, read and decided again in another process."""

import gzip
import signal
from pathlib import Path

import pytest

from agent.domain.events import CommandReceived, FaultRaised, MeterRead, Started
from agent.runtime.flight_file import Flight, read_flight
from agent.runtime.recorder import AFTER_S
from simulator.replay import as_text, replay
from tests.endtoend.conftest import Template
from tests.endtoend.prepared import running
from tests.endtoend.rig import Charger


def replayed(path: Path) -> Flight:
    found = replay(read_flight(path))
    assert found.is_same, "\n".join(as_text(found))
    assert not found.flight.problem
    return found.flight


def recordings(charger: Charger, kind: str) -> list[Path]:
    return sorted((charger.state / "flight").glob(f"{kind}-*"))


async def has_frozen(charger: Charger) -> bool:
    return bool(recordings(charger, "frozen"))


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_a_paid_session_and_the_fault_that_ends_it_replay_the_same(template: Template, tmp_path: Path, version: str) -> None:
    async with running(await template(version), tmp_path / "c", version=version) as charger:
        key = await charger.session()
        await charger.control("fault.set", kind="ground_fault", evse=1)
        await charger.settled(key)
        await charger.watch(lambda: has_frozen(charger), "the fault is frozen", AFTER_S + 30)
        await charger.control("fault.clear", kind="ground_fault", evse=1)
        asked = await charger.diagnose("recorder.freeze", detail="it hummed")
        code, _ = await charger.end_daemon(signal.SIGTERM)
        assert code == 0
        fault, last = recordings(charger, "frozen")
        assert last.name == asked["name"]
        flight = replayed(fault)
        assert flight.head.cause == "fault_raised"
        kinds = {type(one.event) for one in flight.steps}
        assert {FaultRaised, MeterRead, CommandReceived} <= kinds
        assert flight.frames, "what was said to the portal is beside it"
        assert replayed(last).head.detail == "it hummed"
        (session,) = recordings(charger, "flight")
        remarks = [getattr(effect, "name", "") for one in replayed(session).steps for effect in one.effects]
        assert {"transaction_started", "transaction_ended"} <= set(remarks)
        for path in (fault, last, session):
            text = gzip.decompress(path.read_bytes())
            assert charger.uid.encode() not in text


async def test_what_a_kill_leaves_behind_replays_the_same(template: Template, tmp_path: Path) -> None:
    """SIGKILL while the recorder writes: the file ends somewhere, and all before that is decided the same again."""
    async with running(await template("2.0.1"), tmp_path / "c", starts=False) as charger:
        await charger.start_daemon("tests.endtoend.hasty_daemon")
        key = await charger.session()
        await charger.charge(10)
        await charger.watch(lambda: has_recorded(charger), "a part of the session is recorded")
        await charger.kill_daemon()
        (session,) = recordings(charger, "flight")
        found = replay(read_flight(session))
        assert found.is_same, "\n".join(as_text(found))
        remarks = [getattr(effect, "name", "") for one in found.flight.steps for effect in one.effects]
        assert "transaction_started" in remarks
        await charger.start_daemon()
        await charger.settled(key)
        await charger.unplug()
        code, _ = await charger.end_daemon(signal.SIGTERM)
        assert code == 0
        _, recovery = recordings(charger, "flight")
        assert isinstance(replayed(recovery).steps[0].event, Started), "what the store gave back is the beginning of the next"


async def has_recorded(charger: Charger) -> bool:
    return any(path.stat().st_size > 5000 for path in recordings(charger, "flight"))
