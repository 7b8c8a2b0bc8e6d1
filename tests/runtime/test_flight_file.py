"""A recording can be read as far as it goes, whatever became of the rest of it."""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import pytest

import agent
from agent.domain.authorization import IdToken
from agent.domain.events import IdTokenPresented
from agent.runtime.flight_codec import UnreadableError
from agent.runtime.flight_file import FORMAT, MOST_BYTES, SUFFIX, FlightWriter, core_digest, read_flight, read_head
from tests.core.flights import KEY, entries_of, record, session


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def written(path: Path, lines: list[Any]) -> Path:
    path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
    return path


def test_what_was_written_is_read(tmp_path: Path) -> None:
    rig = session()
    flight = read_flight(record(entries_of(rig), tmp_path, cause="fault_raised"))
    assert flight.problem == ""
    assert [step.at for step in flight.steps] == [at for _, at in rig.log]
    hidden = {i for i, (event, _) in enumerate(rig.log) if isinstance(event, IdTokenPresented)}
    assert hidden, "a card was shown"
    for number, (step, (event, _)) in enumerate(zip(flight.steps, rig.log, strict=True)):
        assert (step.event == event) == (number not in hidden), "all but the token is as it was"
    assert flight.head.agent == agent.__version__
    assert flight.head.core == core_digest() != ""
    assert flight.head.cause == "fault_raised"
    assert flight.end is not None


def test_a_recording_is_gzip_and_json_for_every_tool(tmp_path: Path) -> None:
    head, start, *events = lines_of(record(entries_of(session()), tmp_path))
    assert head["flight"] == FORMAT
    assert start.keys() == {"start"}
    assert all({"at", "event"} <= event.keys() for event in events)


def test_blocks_are_added_to_a_file(tmp_path: Path) -> None:
    entries = entries_of(session())
    writer, path = FlightWriter(entries[0], key=KEY), tmp_path / f"added{SUFFIX}"
    with path.open("ab") as file:
        for begin in range(0, len(entries), 30):
            file.write(writer.block(entries[begin : begin + 30]))
    flight = read_flight(path)
    assert len(flight.steps) == len(entries)
    assert [step.start is not None for step in flight.steps] == [True] + [False] * (len(entries) - 1), "the state is written once"


def test_a_state_that_does_not_continue_is_written_anew(tmp_path: Path) -> None:
    entries = entries_of(session())
    flight = read_flight(record(entries[:10] + entries[40:], tmp_path))
    assert [number for number, step in enumerate(flight.steps) if step.start is not None] == [0, 10]


@pytest.mark.pain(47)
def test_tokens_and_secrets_are_in_no_byte_of_it(tmp_path: Path) -> None:
    rig = session()
    rig.swipe(IdToken("7F3K-22QX-9"))
    text = gzip.decompress(record(entries_of(rig), tmp_path, secrets=("CP001",)).read_bytes())
    for secret in (b"cafe0001", b"7f3k-22qx-9", b"cp001"):
        assert secret not in text.lower()


def test_a_file_that_is_cut_off_is_read_up_to_there(tmp_path: Path) -> None:
    """Wherever it is cut: either the events before the cut come back, or the beginning itself is missing. Never anything else."""
    entries = entries_of(session())[:60]
    writer = FlightWriter(entries[0], key=KEY)
    blocks = [writer.block(entries[begin : begin + 20]) for begin in (0, 20, 40)]
    whole, path = b"".join(blocks), tmp_path / f"cut{SUFFIX}"
    path.write_bytes(whole)
    steps = read_flight(path).steps
    read = []
    borders = {len(blocks[0]), len(blocks[0]) + len(blocks[1])}
    for size in sorted({*range(0, len(whole), 29), *borders}):
        path.write_bytes(whole[:size])
        try:
            flight = read_flight(path)
        except UnreadableError:
            assert size < len(blocks[0])
            read.append(0)
            continue
        assert flight.steps == steps[: len(flight.steps)]
        assert flight.problem or size in borders
        read.append(len(flight.steps))
    assert read == sorted(read)
    assert {20, 40} <= set(read)
    assert max(read) > 50


def test_a_flipped_bit_is_told_and_what_is_before_it_is_read(tmp_path: Path) -> None:
    path = record(entries_of(session()), tmp_path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            flight = read_flight(path)
        except UnreadableError:
            continue
        assert flight.problem or place < 10, "only gzip's own head has bytes that mean nothing here"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"event": {"is": "Surprise"}}, "of another version"),
        ({"event": {"is": "PilotMeasured", "evse_id": 1, "state": "G"}}, "event PilotMeasured"),
        ({"at": "noon"}, "its moment"),
        ({"at": [1]}, "its moment"),
        ({"at": 10**30}, "its moment"),
        ({"effects": 3}, "effects"),
        ({"effects": [{"is": "OpenContactor"}]}, "effect OpenContactor"),
        ({"state": []}, "state"),
    ],
    ids=repr,
)
def test_a_line_that_cannot_be_understood_ends_the_reading_with_its_number(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    path = record(entries_of(session()), tmp_path)
    lines = lines_of(path)
    lines[9].update(change)
    flight = read_flight(written(path, lines))
    assert len(flight.steps) == 7
    assert flight.problem.startswith("line 10: ")
    assert says in flight.problem


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not gzip",
        b"\x1f\x8b",
        gzip.compress(b""),
        gzip.compress(b"[]\n"),
        gzip.compress(b"{}\n"),
        gzip.compress(b"\xff\xfe\n"),
        gzip.compress(b"[" * 100_000 + b"\n"),
        gzip.compress(b'{"flight": 1}\n'),
        gzip.compress(b'{"flight": 99}\n'),
    ],
    ids=lambda content: repr(content[:20]),
)
def test_what_is_no_recording_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.gz"
    path.write_bytes(content)
    with pytest.raises(UnreadableError, match="this is no flight recording"):
        read_flight(path)
    with pytest.raises(UnreadableError):
        read_head(path)


def test_a_newer_format_is_named(tmp_path: Path) -> None:
    path = record(entries_of(session()), tmp_path)
    lines = lines_of(path)
    lines[0]["flight"] = 2
    with pytest.raises(UnreadableError, match="format 2; this version reads format 1"):
        read_flight(written(path, lines))


def test_fields_that_a_newer_version_added_are_passed_over(tmp_path: Path) -> None:
    path = record(entries_of(session()), tmp_path)
    lines = lines_of(path)
    for line in lines:
        line["novelty"] = 1
    lines[1]["start"]["novelty"] = {"x": 1}
    lines[2]["event"]["novelty"] = "x"
    flight = read_flight(written(path, lines))
    assert flight.problem == ""
    assert len(flight.steps) == len(lines) - 2


def test_a_file_that_unpacks_without_end_is_left(tmp_path: Path) -> None:
    path = record(entries_of(session()), tmp_path)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(1024 * 1024)
    bomb = b"".join(packer.compress(zeros) for _ in range(MOST_BYTES // len(zeros) + 1)) + packer.flush()
    path.write_bytes(path.read_bytes() + bomb)
    flight = read_flight(path)
    assert "unpacks to more than" in flight.problem
    assert flight.steps


def test_the_head_of_a_large_file_is_read_alone(tmp_path: Path) -> None:
    path = record(entries_of(session()), tmp_path, cause="crash")
    assert read_head(path) == read_flight(path).head
