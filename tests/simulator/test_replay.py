"""`charger-sim replay`: the same core decides the same, another one is shown where it decides otherwise."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core import evse as session_module
from agent.core import station as station_module
from agent.core import variables as var
from agent.core.state import EvseConfig
from agent.domain.commands import RequestStop
from agent.domain.effects import OpenContactor
from agent.domain.events import CommandReceived, FaultRaised, PilotMeasured
from agent.domain.pilot import PilotState
from agent.runtime.flight_file import SUFFIX, read_flight
from agent.runtime.recorder import Recorder
from simulator.__main__ import main
from simulator.chaos.story import run_once
from simulator.replay import DIFFERS, SAME, UNREADABLE, as_text, replay
from tests.core.flights import entries_of, record
from tests.core.rig import EVSE1, PRICED, Rig
from tests.core.test_properties import ACTIONS, CONFIGS, SESSION, act
from tests.runtime.test_flight_file import lines_of, written


@settings(max_examples=60)
@given(config=CONFIGS, goes_in=st.booleans(), actions=st.lists(ACTIONS, max_size=25))
def test_any_walk_recorded_replays_the_same(
    tmp_path_factory: pytest.TempPathFactory, config: EvseConfig, goes_in: bool, actions: list[tuple[str, object]]
) -> None:
    """Whatever happens: what was recorded, with its pseudonyms, decides the same, effect by effect and field by field."""
    rig = Rig(evses=(replace(config, has_ventilation=False),), values={**PRICED, var.TX_UPDATED_INTERVAL: "5"})
    for action in (*(SESSION if goes_in else ()), *actions):
        act(rig, action)
    found = replay(read_flight(record(entries_of(rig), tmp_path_factory.mktemp("walk"), cause="asked")))
    assert found.is_same, found.first
    assert found.compared == len(rig.log)


def stopped_remotely() -> Rig:
    """A session that the CSMS stops while the car draws: the ramp-down takes its whole time."""
    rig = Rig()
    rig.online()
    rig.charge()
    rig.pass_ms(20_000)
    assert rig.evse.transaction is not None
    rig.command(RequestStop(transaction_id=rig.evse.transaction.transaction_id))
    rig.pass_ms(10_000)
    return rig


@pytest.fixture
def remote_stop(tmp_path: Path) -> Path:
    return record(entries_of(stopped_remotely()), tmp_path, cause="asked")


def test_the_same_core_says_so(remote_stop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(remote_stop)]) == SAME
    said = capsys.readouterr().out
    assert "every effect and every field of the state" in said
    assert "frozen by asked" in said
    assert "note:" not in said


def test_a_ramp_down_of_another_length_is_shown_at_its_event(
    remote_stop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "RAMP_DOWN_MS", 3_000)
    found = replay(read_flight(remote_stop))
    assert found.first is not None
    assert isinstance(found.first.step.event, CommandReceived), "the stop's deadline is decided there"
    assert found.first.fields.keys() == {"1.stop"}
    assert main(["replay", str(remote_stop)]) == DIFFERS
    said = capsys.readouterr().out
    place = found.flight.steps.index(found.first.step) + 1
    assert f"the first difference is at event {place} of {len(found.flight.steps)} (line {found.first.step.line})" in said
    assert "RequestStop" in said
    assert "~ 1.stop\n      before   null\n      recorded it changed to another value\n      replayed {" in said
    assert "- recorded" not in said, "what it orders is the same"
    assert "readings)\n  > " in said, "readings that changed nothing are only counted"


def test_an_effect_that_is_not_ordered_any_more_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig()
    rig.online()
    rig.charge()
    rig.pilot(PilotState.E)
    rig.pass_ms(2_000)
    path = record(entries_of(rig), tmp_path)
    original = station_module.step

    def careless(*args: Any) -> Any:
        station, effects = original(*args)
        return station, tuple(effect for effect in effects if not isinstance(effect, OpenContactor))

    monkeypatch.setattr("simulator.replay.step", careless)
    assert main(["replay", str(path), "--json"]) == DIFFERS
    told = json.loads(capsys.readouterr().out)
    first = told["first_difference"]
    assert first["event"] == {"is": "PilotMeasured", "evse_id": 1, "state": "E"}
    assert [effect["is"] for effect in first["recorded_effects"]] == ["OpenContactor"]
    assert first["replayed_effects"] == []
    assert told["differing"] == 1
    assert not told["is_same"]
    main(["replay", str(path)])
    assert "- recorded OpenContactor evse_id=1" in capsys.readouterr().out


def test_another_order_of_effects_is_a_difference(remote_stop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = station_module.step

    def backwards(*args: Any) -> Any:
        station, effects = original(*args)
        return station, tuple(reversed(effects))

    monkeypatch.setattr("simulator.replay.step", backwards)
    found = replay(read_flight(remote_stop))
    assert found.first is not None
    assert set(found.first.recorded_effects) == set(found.first.replayed_effects)
    assert found.first.recorded_effects != found.first.replayed_effects


def test_a_bug_of_this_core_is_shown_at_the_event_that_meets_it(
    remote_stop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = station_module.step

    def buggy(station: Any, event: Any, at: Any) -> Any:
        if isinstance(event, PilotMeasured) and event.state is PilotState.C:
            raise ZeroDivisionError("a bug of ours")
        return original(station, event, at)

    monkeypatch.setattr("simulator.replay.step", buggy)
    assert main(["replay", str(remote_stop)]) == DIFFERS
    said = capsys.readouterr().out
    assert "meets the bug ZeroDivisionError: a bug of ours" in said
    assert "recorded: no bug" in said


def test_a_recorded_crash_that_is_met_again_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = entries_of(stopped_remotely())
    fault, at, state = FaultRaised(EVSE1, next(iter(session_module.FaultKind))), entries[-1][1], entries[-1][3]
    path = record([*entries, (fault, at, state, state, (), "ZeroDivisionError: a bug of ours")], tmp_path)
    assert not replay(read_flight(path)).is_same
    original = station_module.step

    def buggy(station: Any, event: Any, at: Any) -> Any:
        if isinstance(event, FaultRaised):
            raise ZeroDivisionError("a bug of ours")
        return original(station, event, at)

    monkeypatch.setattr("simulator.replay.step", buggy)
    assert replay(read_flight(path)).is_same


def test_every_recording_of_a_random_run_of_the_daemon_replays_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof machine's sessions, faults, restarts and crashes: what the real daemon recorded of them is decided the same."""
    events: list[int] = []
    original = Recorder.__aexit__

    async def closed(recorder: Recorder, *end: Any) -> None:
        await original(recorder, *end)
        for path in recorder.directory.glob(f"*{SUFFIX}"):
            found = replay(read_flight(path))
            assert found.is_same, as_text(found)
            assert not found.flight.problem
            events.append(found.compared)

    monkeypatch.setattr(Recorder, "__aexit__", closed)
    outcome = run_once(7)
    assert not outcome.violations
    assert sum(events) > 100


def test_every_event_can_be_printed(remote_stop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(remote_stop), "--events"]) == SAME
    said = capsys.readouterr().out
    assert "-> SetPilot evse_id=1 output=" in said
    assert said.count("MeterRead") > 20


def test_a_truncated_recording_is_replayed_as_far_as_it_goes(remote_stop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = remote_stop.read_bytes()
    remote_stop.write_bytes(whole[: len(whole) * 3 // 4])
    assert main(["replay", str(remote_stop)]) == UNREADABLE
    said = capsys.readouterr().out
    assert "it could be read only so far: the file is cut off" in said
    assert "the same: " in said


@pytest.mark.parametrize("content", [None, b"", b"rubbish"], ids=["missing", "empty", "rubbish"])
def test_what_cannot_be_read_is_told(tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.jsonl.gz"
    if content is not None:
        path.write_bytes(content)
    assert main(["replay", str(path)]) == UNREADABLE
    said = capsys.readouterr().err
    assert said.startswith(f"{path}: ")
    assert "no flight recording" in said or "No such file" in said


def test_another_core_is_noted(remote_stop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = lines_of(remote_stop)
    lines[0].update(agent="0.0.9", core="00000000")
    assert main(["replay", str(written(remote_stop, lines))]) == SAME
    said = capsys.readouterr().out
    assert "recorded by charger-agent 0.0.9 (core 00000000)" in said
    assert "note: the core is not the one that recorded" in said


def test_a_state_that_ends_otherwise_is_shown_by_field(remote_stop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = lines_of(remote_stop)
    lines[-1]["end"]["evses"][0]["meter_lost_reason"] = "silent"
    assert main(["replay", str(written(remote_stop, lines))]) == DIFFERS
    assert '  1.meter_lost_reason\n    recorded "silent"\n    replayed ""' in capsys.readouterr().out


def test_what_a_file_says_cannot_drive_the_terminal(remote_stop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = lines_of(remote_stop)
    lines[6]["effects"] = [{"is": "Remark", "name": "\x1b[2J", "detail": "\x07"}]
    main(["replay", str(written(remote_stop, lines))])
    said = capsys.readouterr().out
    assert "\\x1b[2J" in said
    assert "\x1b" not in said
    assert "\x07" not in said


def test_a_recording_becomes_a_test(remote_stop: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    target = pytester.path / "test_remote_stop.py"
    assert main(["replay", str(remote_stop), "--to-test", str(target)]) == SAME
    assert (pytester.path / f"remote_stop{SUFFIX}").read_bytes() == remote_stop.read_bytes()
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:asyncio", str(target)).assert_outcomes(passed=1)
    monkeypatch.setattr(session_module, "RAMP_DOWN_MS", 3_000)
    pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:asyncio", str(target)).assert_outcomes(failed=1)


def test_a_test_that_cannot_be_written_is_told(remote_stop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "missing" / "test_x.py"
    assert main(["replay", str(remote_stop), "--to-test", str(target)]) == UNREADABLE
    assert "No such file" in capsys.readouterr().err
