"""`charger-sim replay FILE`: the events of a flight recording, given to the core of this version again (docs/flight-recorder.md)."""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import agent
from agent.core.state import Station
from agent.core.station import step
from agent.domain.effects import Effect
from agent.domain.events import MeterRead
from agent.domain.metering import Quality, Reading
from agent.domain.time import Instant, wire_time
from agent.runtime import flight_codec as codec
from agent.runtime.flight_codec import Coding, Json, Plain, UnreadableError
from agent.runtime.flight_file import SUFFIX, Flight, Recorded, core_digest, read_flight

SAME, DIFFERS, UNREADABLE = 0, 1, 2
NEIGHBOURS: Final = 5
"""So many events before the difference are shown."""
SHOWN_CHARS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The core of this version does otherwise at one event: effects that stand on one side only, fields with their value before and now.

    Of the recorded values only digests are known.
    """

    step: Recorded
    recorded_effects: tuple[Effect, ...] = ()
    replayed_effects: tuple[Effect, ...] = ()
    recorded_error: str = ""
    replayed_error: str = ""
    fields: dict[str, tuple[Json, Json]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What a replay found. `first` is the difference that the others, `differing` in all, may only follow from."""

    flight: Flight
    compared: int
    differing: int
    first: Difference | None
    end_fields: dict[str, tuple[Json, Json]]

    @property
    def is_same(self) -> bool:
        """Whether the core of this version does what was recorded."""
        return self.differing == 0 and not self.end_fields


def replay(flight: Flight) -> Replay:
    """Give the recorded events to the core at the recorded moments, and compare effect by effect, and field by field of the state."""
    station: Station | None = None
    first: Difference | None = None
    differing = 0
    for recorded in flight.steps:
        before = recorded.start or station
        if before is None:
            raise UnreadableError("the recording begins without a state")
        station, difference = _one(before, recorded, _coding(flight, before))
        if difference is not None:
            differing += 1
            first = first or difference
    end_fields: dict[str, tuple[Json, Json]] = {}
    if flight.end is not None and station is not None:
        coding = _coding(flight, station)
        expected, got = codec.field_values(flight.end, coding), codec.field_values(station, coding)
        end_fields = {name: (expected.get(name), got.get(name)) for name in {**expected, **got} if expected.get(name) != got.get(name)}
    return Replay(flight=flight, compared=len(flight.steps), differing=differing, first=first, end_fields=end_fields)


def _coding(flight: Flight, station: Station) -> Coding:
    return Coding(flight.head.base, Plain(), station.variables)


def _one(before: Station, recorded: Recorded, coding: Coding) -> tuple[Station, Difference | None]:
    error = ""
    try:
        after, effects = step(before, recorded.event, recorded.at)
    except Exception as bug:  # noqa: BLE001 - a bug of the core is what a recording of a crash is replayed for
        after, effects, error = before, (), f"{type(bug).__name__}: {bug}"
    changes = codec.changes(before, after, coding)
    fields = {name for name in {**recorded.changes, **changes} if recorded.changes.get(name) != changes.get(name)}
    if effects == recorded.effects and not fields and bool(error) == bool(recorded.error):
        return after, None
    was, now = codec.field_values(before, coding), codec.field_values(after, coding)
    is_other = effects != recorded.effects
    return after, Difference(
        step=recorded,
        recorded_effects=_without(recorded.effects, effects) if is_other else (),
        replayed_effects=_without(effects, recorded.effects) if is_other else (),
        recorded_error=recorded.error,
        replayed_error=error,
        fields={name: (was.get(name), now.get(name)) for name in sorted(fields)},
    )


def _without(ones: Sequence[Effect], others: Sequence[Effect]) -> tuple[Effect, ...]:
    """What stands only in the first; all of both where only the order differs."""
    left = list(others)
    found = []
    for one in ones:
        if one in left:
            left.remove(one)
        else:
            found.append(one)
    return tuple(found) if found or left else tuple(ones)


# --- the command


def run(args: Sequence[str]) -> int:
    """Replay and report. Exit codes: 0 the same, 1 it differs, 2 the file cannot be read (to its end)."""
    parser = argparse.ArgumentParser(prog="charger-sim replay", description="Run a flight recording through the core of this version.")
    parser.add_argument("file", type=Path, metavar="FILE", help="a recording, as `chargerctl recorder export` gives it")
    parser.add_argument("--json", action="store_true", help="print one object")
    parser.add_argument("--events", action="store_true", help="print every event first, with what it ordered")
    parser.add_argument(
        "--to-test", type=Path, metavar="TEST.py", help="write a test that replays it, and a copy of the recording beside it"
    )
    options = parser.parse_args(args)
    try:
        flight = read_flight(options.file)
        found = replay(flight)
        if options.to_test is not None:
            write_test(options.file, options.to_test)
    except OSError as error:
        print(f"{error.filename or options.file}: {error.strerror or error}", file=sys.stderr)
        return UNREADABLE
    except UnreadableError as error:
        print(f"{options.file}: {error}", file=sys.stderr)
        return UNREADABLE
    if options.json:
        print(json.dumps(as_json(found), indent=2))
    else:
        print("\n".join([*(events_text(flight) if options.events else ()), *as_text(found)]))
    if not found.is_same:
        return DIFFERS
    return UNREADABLE if flight.problem else SAME


def as_text(found: Replay) -> list[str]:
    """What a person reads."""
    flight, head = found.flight, found.flight.head
    cause = f", frozen by {head.cause}{f' ({head.detail})' if head.detail else ''}" if head.cause else ""
    lines = [
        f"recorded by charger-agent {head.agent} (core {head.core or 'unknown'}) from {moment(flight.steps[0].at)}{cause}",
        f"replayed by charger-agent {agent.__version__} (core {core_digest() or 'unknown'})",
    ]
    if head.core != core_digest():
        lines.append("note: the core is not the one that recorded; a difference may be a change that was meant")
    if flight.problem:
        lines.append(f"note: it could be read only so far: {flight.problem}")
    if found.is_same:
        return [*lines, f"the same: {found.compared} events, every effect and every field of the state"]
    if found.first is not None:
        lines += ["", *_first(found, found.first)]
    if found.end_fields:
        lines += ["", "the state at the end is another:"]
        for name, (expected, got) in found.end_fields.items():
            lines += [f"  {name}", f"    recorded {_short(expected)}", f"    replayed {_short(got)}"]
    return [*lines, "", f"{found.differing} of {found.compared} events differ; look at the first, the others may follow from it"]


def _first(found: Replay, difference: Difference) -> list[str]:
    steps = found.flight.steps
    place = steps.index(difference.step)
    coding = Coding(found.flight.head.base, Plain(), codec.NO_VARIABLES)
    lines = [f"the first difference is at event {place + 1} of {len(steps)} (line {difference.step.line}):"]
    lines += [f"    {text}" for text in _neighbourhood(steps[:place], coding)]
    lines += [f"  > {text}" for text in _event_lines(difference.step, coding, steps[0].at)[:1]]
    if difference.recorded_error or difference.replayed_error:
        lines += [
            f"    recorded: {f'met the bug {difference.recorded_error}' if difference.recorded_error else 'no bug'}",
            f"    replayed: {f'meets the bug {difference.replayed_error}' if difference.replayed_error else 'no bug'}",
        ]
    lines += [f"  - recorded {_effect(effect, coding)}" for effect in difference.recorded_effects]
    lines += [f"  + replayed {_effect(effect, coding)}" for effect in difference.replayed_effects]
    for name, (was, now) in difference.fields.items():
        recorded = "it changed to another value" if name in difference.step.changes else "it did not change"
        lines += [f"  ~ {name}", f"      before   {_short(was)}", f"      recorded {recorded}", f"      replayed {_short(now)}"]
    return lines


def _neighbourhood(before: Sequence[Recorded], coding: Coding) -> list[str]:
    """The last events before one; readings that ordered nothing are only counted."""
    lines: list[str] = []
    left, readings = NEIGHBOURS, 0
    for recorded in reversed(before):
        if isinstance(recorded.event, MeterRead) and not recorded.effects:
            readings += 1
            continue
        if readings:
            lines.insert(0, f"{'':12}  ({readings} readings)")
            readings = 0
        if not left:
            break
        left -= 1
        lines[:0] = _event_lines(recorded, coding, before[0].at)
    return [*([f"{'':12}  ({readings} readings)"] if readings else []), *lines]


def events_text(flight: Flight) -> list[str]:
    """Every event with its moment and what it ordered."""
    coding = Coding(flight.head.base, Plain(), codec.NO_VARIABLES)
    return [text for one in flight.steps for text in _event_lines(one, coding, flight.steps[0].at)] + [""]


def _event_lines(recorded: Recorded, coding: Coding, begin: Instant) -> list[str]:
    since = recorded.at.ms_since(begin) / 1000
    event = recorded.event
    words = _reading(event.reading) if isinstance(event, MeterRead) else _worded(codec.encode_event(event, coding))
    lines = [f"{since:10.3f} s  {words}"]
    lines += [f"{'':12}    -> {_effect(effect, coding)}" for effect in recorded.effects]
    return [*lines, *([f"{'':12}    -> BUG {recorded.error}"] if recorded.error else [])]


def _reading(reading: Reading) -> str:
    quantities = " ".join(f"{q.measurand}{f'[{q.phase}]' if q.phase else ''}={q.value}" for q in reading.quantities)
    quality = "" if reading.quality is Quality.GOOD else f" {reading.quality}"
    return _cut(f"MeterRead evse_id={reading.evse_id} energy_wh={reading.energy_wh}{quality} {quantities}".rstrip())


def _effect(effect: Effect, coding: Coding) -> str:
    return _worded(codec.encode_effects((effect,), coding)[0])


def _worded(document: Json) -> str:
    if not isinstance(document, dict):
        return _short(document)
    members = " ".join(
        f"{name}={value if isinstance(value, str) else codec.line(value)}" for name, value in document.items() if name != codec.KIND
    )
    return _cut(f"{document[codec.KIND]} {members}".rstrip())


def _short(value: Json) -> str:
    return _cut(codec.line(value))


def _cut(text: str) -> str:
    shown = text if text.isprintable() else "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    return shown if len(shown) <= SHOWN_CHARS else f"{shown[:SHOWN_CHARS]}… ({len(shown)} characters)"


def moment(at: Instant) -> str:
    """Wall time where it was known, else the monotonic time of the boot."""
    return f"{at.mono_ms / 1000:.3f} s after the boot" if at.utc is None else wire_time(at.utc)


def as_json(found: Replay) -> Json:
    """What a program reads."""
    head, first = found.flight.head, found.first
    coding = Coding(head.base, Plain(), codec.NO_VARIABLES)
    difference: Json = None
    if first is not None:
        difference = {
            "event_number": found.flight.steps.index(first.step) + 1,
            "line": first.step.line,
            "at": moment(first.step.at),
            "event": codec.encode_event(first.step.event, coding),
            "recorded_effects": codec.encode_effects(first.recorded_effects, coding),
            "replayed_effects": codec.encode_effects(first.replayed_effects, coding),
            "recorded_error": first.recorded_error,
            "replayed_error": first.replayed_error,
            "fields": {name: {"before": was, "replayed": now} for name, (was, now) in first.fields.items()},
        }
    return {
        "is_same": found.is_same,
        "events": found.compared,
        "differing": found.differing,
        "recorded_by": {"agent": head.agent, "core": head.core},
        "replayed_by": {"agent": agent.__version__, "core": core_digest()},
        "cause": head.cause,
        "detail": head.detail,
        "problem": found.flight.problem,
        "first_difference": difference,
        "end_fields": {name: [expected, got] for name, (expected, got) in found.end_fields.items()},
    }


def write_test(recording: Path, test: Path) -> None:
    """A test that passes when this version does what was recorded. It names the recording, which is copied beside it."""
    copied = test.with_name(test.stem.removeprefix("test_") + SUFFIX)
    if copied.resolve() != recording.resolve():
        shutil.copyfile(recording, copied)
    test.write_text(
        f'''"""What a charger recorded, decided again by the core of this version."""

from pathlib import Path

from agent.runtime.flight_file import read_flight
from simulator.replay import as_text, replay


def test_the_core_does_what_was_recorded() -> None:
    found = replay(read_flight(Path(__file__).with_name("{copied.name}")))
    assert found.is_same, "\\n".join(as_text(found))
''',
        encoding="utf-8",
    )
