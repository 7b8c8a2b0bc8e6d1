"""`chargerctl recorder`: what was frozen is listed, and comes out of the socket byte for byte and replays."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from agent.cli import recordings as command
from agent.diagnostics.protocol import Service
from agent.diagnostics.results import RESULTS
from agent.diagnostics.server import Server
from agent.runtime import recordings
from agent.runtime.flight_file import read_flight
from agent.runtime.recorder import Recorder
from agent.runtime.recordings import Recordings
from simulator.replay import replay
from tests.cli.test_main import ctl
from tests.core.flights import entries_of, session


class Words:
    """The socket's own, for what is asked here."""

    def time(self, instant: object) -> str:
        return "2026-03-01T12:00:00.000Z"

    def session(self, stored: object) -> dict[str, None]:
        raise AssertionError

    def masked(self, texts: object, tokens: object) -> list[str]:
        raise AssertionError


@pytest.fixture
async def recorder(tmp_path: Path) -> AsyncIterator[Recorder]:
    async with Recorder(tmp_path / "flight") as recorder:
        for event, at, before, after, effects, _ in entries_of(session()):
            recorder.decided(event, at, before, after, effects)
        yield recorder


@pytest.fixture
async def socket(tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    monkeypatch.setattr(recordings, "PIECE", 1000)  # several pieces
    server = Server(Service(Recordings(recorder, Words()).methods(), title="test", version="1"), tmp_path / "diag.sock")
    await server.start()
    yield tmp_path / "diag.sock"
    await server.aclose()


async def test_what_was_frozen_is_exported_whole_and_replays(tmp_path: Path, socket: Path) -> None:
    frozen = await ctl("recorder", "freeze", "it hummed", path=socket)
    name = frozen.out.strip()
    assert (frozen.code, name.startswith("frozen-"), name.endswith("-asked.jsonl.gz")) == (0, True, True)
    listed = await ctl("recorder", path=socket)
    assert listed.code == 0
    first, *_, last = listed.out.splitlines()
    assert first.startswith(name)
    assert first.endswith("2026-03-01T12:00:00.000Z  it hummed")
    assert str(tmp_path / "flight") in last
    target = tmp_path / "exported.jsonl.gz"
    exported = await ctl("recorder", "export", name, str(target), path=socket)
    assert (exported.code, exported.out) == (0, f"{target}: {target.stat().st_size} bytes\n")
    assert target.read_bytes() == (tmp_path / "flight" / name).read_bytes()
    assert target.stat().st_size > 3000, "several pieces"
    assert target.stat().st_mode & 0o077 == 0
    flight = read_flight(target)
    assert flight.head.detail == "it hummed"
    assert replay(flight).is_same


async def test_an_export_replaces_no_file(tmp_path: Path, socket: Path) -> None:
    name = (await ctl("recorder", "freeze", path=socket)).out.strip()
    target = tmp_path / "there"
    target.write_text("mine")
    ran = await ctl("recorder", "export", name, str(target), path=socket)
    assert ran.code == 1
    assert "File exists; give the name of a new file" in ran.err
    assert target.read_text() == "mine"


async def test_a_recording_that_there_is_not_is_told(tmp_path: Path, socket: Path) -> None:
    ran = await ctl("recorder", "export", "../config.toml", str(tmp_path / "x"), path=socket)
    assert (ran.code, ran.err) == (1, "chargerctl: there is no recording '../config.toml'; chargerctl recorder lists them\n")
    assert not (tmp_path / "x").exists()


async def test_answers_obey_their_schemas(recorder: Recorder) -> None:
    methods = {method.name: method for method in Recordings(recorder, Words()).methods()}
    frozen = await methods["recorder.freeze"].call({})
    assert isinstance(frozen, dict)
    answers = {
        "recorder.freeze": frozen,
        "recorder": await methods["recorder"].call({}),
        "recorder.read": await methods["recorder.read"].call({"name": frozen["name"], "offset": 10}),
    }
    for name, answer in answers.items():
        Draft202012Validator(RESULTS[name]).validate(answer)


def test_who_sends_without_end_is_left() -> None:
    def ask(method: str, params: dict[str, object]) -> object:
        return {"size": 2**60, "data": "QUFB" * 1_000_000}

    assert len(command.whole(ask, "x")) < 2 * command.MOST_BYTES


def test_an_answer_of_another_shape_is_told() -> None:
    for answer in ([], {"data": 3}, {"size": 1}, {"size": 1, "data": "é"}):
        with pytest.raises((KeyError, TypeError, ValueError)):
            command.whole(lambda _method, _params, answer=answer: answer, "x")  # type: ignore[misc]
