"""The file of a flight recording: gzip members of JSON lines, only ever added to, so that what was written can be read whatever came after.

Lines, in order: a head (who wrote it, when, why); then `start` (a whole state) wherever what follows does not continue the state before;
one line for each event with its moment, the effects that it ordered and the fields that it changed; in a frozen file the `end` state and
the last OCPP frames, masked, for the reader only.
"""

import json
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Final

import agent
from agent.core.state import Station
from agent.domain.effects import Effect
from agent.domain.events import Event
from agent.domain.time import Instant
from agent.domain.values import dataclass
from agent.runtime import flight_codec as codec
from agent.runtime.flight_codec import Coding, Json, Plain, Pseudonyms, UnreadableError

FORMAT: Final = 1
SUFFIX: Final = ".jsonl.gz"
MOST_BYTES: Final = 64 * 1024 * 1024
"""No recording of ours unpacks to more; a file that does is none."""
_GZIP: Final = 31
"""zlib's word for a gzip member with a 32 KiB window."""
_PIECE: Final = 4096

Entry = tuple[Event, Instant, Station, Station, tuple[Effect, ...], str]
"""One event as the engine saw it: event, moment, state before and after, effects, and the bug that it met (empty as a rule)."""
Frame = tuple[int, str, str]
"""One OCPP frame: monotonic milliseconds, `in` or `out`, masked text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Who wrote a recording, when and why. `core` names the very sources of the core; `cause` is empty unless the file is frozen."""

    agent: str
    core: str
    base: Instant
    cause: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One event of a recording. `start` is a state that has to be taken before it; `changes` are digests by field; `line` is its place."""

    line: int
    at: Instant
    event: Event
    effects: tuple[Effect, ...]
    changes: Mapping[str, str]
    error: str = ""
    start: Station | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """A recording as it was read. `problem` says why it ends before its end; empty where it is whole."""

    head: Head
    steps: tuple[Recorded, ...]
    end: Station | None = None
    frames: tuple[Frame, ...] = ()
    problem: str = ""


class FlightWriter:
    """Writes one recording, block by block. `key` makes the pseudonyms and is kept nowhere else. Used by one thread at a time."""

    def __init__(self, first: Entry, *, key: bytes, secrets: tuple[str, ...] = (), cause: str = "", detail: str = "") -> None:
        _, base, before, *_ = first
        self._coding = Coding(base, Pseudonyms(key, secrets), before.variables)
        self._cause, self._detail = cause, detail
        self._is_begun = False
        self._last: Station | None = None

    def block(self, entries: Sequence[Entry], *, end: Station | None = None, frames: Iterable[Frame] = ()) -> bytes:
        """What happened next, as bytes to add to the file."""
        self._learn(entries)
        packer = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
        packed = []
        for line in self._lines(entries, end, frames):
            packed.append(packer.compress(line.encode() + b"\n"))
            time.sleep(0)  # whoever decides gets its turn after each line, not when the interpreter takes it away
        return b"".join([*packed, packer.flush()])

    def _learn(self, entries: Sequence[Entry]) -> None:
        """Know every token before the first text is written that may repeat one."""
        last = self._last
        for event, _, before, after, *_ in entries:
            if before is not last:
                self._coding.learn(before)
            self._coding.learn_event(event)
            last = after

    def _lines(self, entries: Sequence[Entry], end: Station | None, frames: Iterable[Frame]) -> Iterator[str]:
        coding = self._coding
        if not self._is_begun:
            self._is_begun = True
            yield codec.line(self._head())
        for event, at, before, after, effects, error in entries:
            if before is not self._last:
                yield codec.line({"start": codec.encode_station(before, coding)})
            document: dict[str, Json] = {"at": codec.encode_instant(at, coding), "event": codec.encode_event(event, coding)}
            if effects:
                document["effects"] = codec.encode_effects(effects, coding)
            if before is not after:
                document["state"] = {**codec.changes(before, after, coding)}
            if error:
                document["error"] = coding.hide.text(error)
            yield codec.line(document)
            self._last = after
        if end is not None:
            yield codec.line({"end": codec.encode_station(end, coding)})
        for at_ms, direction, text in frames:
            yield codec.line({"frame": [at_ms, direction, coding.hide.text(text)]})

    def _head(self) -> Json:
        base = self._coding.base
        return {
            "flight": FORMAT,
            "agent": agent.__version__,
            "core": core_digest(),
            "boot_id": base.boot_id,
            "mono_ms": base.mono_ms,
            "utc": None if base.utc is None else base.utc.isoformat(),
            "cause": self._cause,
            "detail": self._coding.hide.text(self._detail),
        }


@cache
def core_digest() -> str:
    """A digest of the sources that decide: the same digest, the same decisions. Empty where the sources are not installed."""
    digest = 0
    for package in ("core", "domain"):
        for source in sorted((Path(agent.__file__).parent / package).glob("*.py")):
            digest = zlib.crc32(source.read_bytes(), digest)
    return f"{digest:08x}" if digest else ""


def read_head(path: Path) -> Head:
    """Only who, when and why. Raises OSError and UnreadableError."""
    with path.open("rb") as file:
        text, _ = _unpacked(file.read(_PIECE))
    return _head(text.partition(b"\n")[0])


def read_flight(path: Path) -> Flight:
    """Read a recording as far as it goes. Raises OSError, and UnreadableError where not even its beginning can be understood."""
    text, problem = _unpacked(path.read_bytes())
    head_line, _, rest = text.partition(b"\n")
    head = _head(head_line)
    lines = rest.split(b"\n")
    if lines.pop() and not problem:
        problem = "the last line is cut off"
    reader = _Reader(head)
    for number, line in enumerate(lines, 2):
        try:
            reader.take(number, line)
        except UnreadableError as error:
            problem = f"line {number}: {error}"
            break
    if not reader.steps:
        raise UnreadableError(problem or "it holds no event")
    return Flight(head=head, steps=tuple(reader.steps), end=reader.end, frames=tuple(reader.frames), problem=problem)


class _Reader:
    """Takes one line after the other."""

    def __init__(self, head: Head) -> None:
        self.steps: list[Recorded] = []
        self.end: Station | None = None
        self.frames: list[Frame] = []
        self._base = head.base
        self._coding: Coding | None = None
        self._start: Station | None = None

    def take(self, number: int, line: bytes) -> None:
        """Understand a line. Raises UnreadableError."""
        document = _object(line)
        if "frame" in document:
            self._frame(document["frame"])
        elif "start" in document:
            self._start = self._station(document["start"])
        elif "end" in document:
            self.end = self._station(document["end"])
        else:
            self._event(number, document)

    def _station(self, document: Json) -> Station:
        # The definitions of variables are part of the state: none are needed to read it.
        coding = Coding(self._base, Plain(), codec.NO_VARIABLES)
        station = codec.decode_station(document, coding)
        self._coding = Coding(self._base, Plain(), station.variables)
        return station

    def _event(self, number: int, document: Mapping[str, Json]) -> None:
        if self._coding is None:
            raise UnreadableError("an event stands before the first state")
        try:
            at = codec.decode_instant(document.get("at"), self._coding)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise UnreadableError(f"its moment cannot be understood ({error})") from None
        changes = document.get("state", {})
        if not isinstance(changes, dict):
            raise UnreadableError("state: an object was expected")
        self.steps.append(
            Recorded(
                line=number,
                at=at,
                event=codec.decode_event(document.get("event"), self._coding),
                effects=codec.decode_effects(document.get("effects", []), self._coding),
                changes={name: str(digest) for name, digest in changes.items()},
                error=str(document.get("error", "")),
                start=self._start,
            )
        )
        self._start = None

    def _frame(self, document: Json) -> None:
        match document:
            case [int() as at_ms, str() as direction, str() as text]:
                self.frames.append((at_ms, direction, text))
            case _:
                raise UnreadableError("frame: a time, a direction and a text were expected")


def _unpacked(data: bytes) -> tuple[bytes, str]:
    """The text of all members as far as they go, and why no further."""
    text = bytearray()
    while data:
        unpacker = zlib.decompressobj(_GZIP)
        try:
            for place in range(0, len(data), _PIECE):
                text += unpacker.decompress(data[place : place + _PIECE])
                if len(text) > MOST_BYTES:
                    return bytes(text), f"it unpacks to more than {MOST_BYTES} bytes"
                if unpacker.eof:
                    data = unpacker.unused_data + data[place + _PIECE :]
                    break
            else:
                return bytes(text + unpacker.flush()), "the file is cut off"
        except zlib.error as error:
            return bytes(text), f"the file is damaged ({error})"
    return bytes(text), ""


def _object(line: bytes) -> dict[str, Json]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        raise UnreadableError("it is no JSON") from None
    if not isinstance(document, dict):
        raise UnreadableError("a JSON object was expected")
    return document


def _head(line: bytes) -> Head:
    try:
        document = _object(line)
        if document["flight"] != FORMAT:
            raise UnreadableError(f"it has format {document['flight']!r}; this version reads format {FORMAT}")
        utc = None if document["utc"] is None else datetime.fromisoformat(str(document["utc"]))
        return Head(
            agent=str(document["agent"]),
            core=str(document["core"]),
            base=Instant(
                str(document["boot_id"]), int(str(document["mono_ms"])), None if utc is None else datetime.fromisoformat(str(utc))
            ),
            cause=str(document["cause"]),
            detail=str(document["detail"]),
        )
    except (LookupError, ValueError) as error:
        why = str(error) if isinstance(error, UnreadableError) else "its first line is not the head of one"
        raise UnreadableError(f"this is no flight recording: {why}") from None
