"""What the lines of the log look like, what never stands in them, and how many there may be."""

import io
import logging
import os
import socket
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.runtime.logging import BURST, FloodFilter, LineFormatter, Redactor, is_journal_stream, set_level

ROOT = Path(__file__).parents[2]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Rig:
    """A logger of its own with our formatter and filter on a text stream."""

    def __init__(self, *, is_journal: bool = False) -> None:
        self.clock = Clock()
        self.redactor = Redactor()
        self.stream = io.StringIO()
        handler = logging.StreamHandler(self.stream)
        handler.setFormatter(LineFormatter(self.redactor, is_journal=is_journal))
        handler.addFilter(FloodFilter(self.clock))
        self.log = logging.Logger("agent.engine", logging.DEBUG)  # noqa: LOG001 - not the one that the process shares
        self.log.addHandler(handler)

    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


def fail() -> None:
    raise RuntimeError("contactor of evse 1\n<2>forged")


class TestLines:
    def test_a_person_reads_utc_level_place_and_sentence(self) -> None:
        rig = Rig()
        record = rig.log.makeRecord("agent.engine", logging.WARNING, "f", 1, "meter lost evse_id=%d", (1,), None)
        record.created = 1_767_225_600.1234
        rig.log.handle(record)
        assert rig.lines() == ["2026-01-01T00:00:00.123Z WARNING agent.engine: meter lost evse_id=1"]

    @pytest.mark.parametrize(
        ("level", "prefix"),
        [(logging.DEBUG, "<7>"), (logging.INFO, "<6>"), (logging.WARNING, "<4>"), (logging.ERROR, "<3>"), (logging.CRITICAL, "<2>")],
    )
    def test_the_journal_reads_the_priority_first(self, level: int, prefix: str) -> None:
        rig = Rig(is_journal=True)
        rig.log.log(level, "started")
        assert rig.lines() == [f"{prefix}agent.engine: started"]

    def test_extra_fields_follow_as_key_and_value(self) -> None:
        rig = Rig(is_journal=True)
        rig.log.info("stopped", extra={"evse_id": 2, "reason": 'a "b" c', "note": ""})
        assert rig.lines() == ["""<6>agent.engine: stopped evse_id=2 reason="a 'b' c" note="\""""]

    def test_a_traceback_keeps_the_priority_on_every_line(self) -> None:
        rig = Rig(is_journal=True)
        try:
            fail()
        except RuntimeError:
            rig.log.exception("effect failed")
        lines = rig.lines()
        assert lines[0] == "<3>agent.engine: effect failed"
        assert len(lines) > 3
        assert all(line.startswith("<3>") for line in lines)

    @pytest.mark.parametrize("end", ["\n", "\r", "\x1b", "\x85", "\u2028", "\0"])
    def test_what_a_peer_sends_cannot_forge_a_line(self, end: str) -> None:
        rig = Rig(is_journal=True)
        rig.log.warning("refused: %s", f"x{end}<2>forged", extra={"vendor": f"y{end}<2>forged"})
        assert len(rig.lines()) == 1
        assert end not in rig.lines()[0]


class TestSecrets:
    SECRET = "s3cret/passwörd=="

    @pytest.fixture
    def rig(self) -> Rig:
        rig = Rig()
        rig.redactor.add(self.SECRET)
        return rig

    @pytest.mark.parametrize(
        "form",
        [
            str,
            repr,
            lambda text: b64encode(text.encode()).decode(),
            lambda text: text.encode().hex(),
            lambda text: "s3cret%2Fpassw%C3%B6rd%3D%3D",
        ],
        ids=["plain", "repr", "base64", "hex", "url"],
    )
    def test_a_registered_secret_is_never_written_in_any_form(self, rig: Rig, form: Callable[[str], str]) -> None:
        rig.log.info("header %s", form(self.SECRET))
        assert form(self.SECRET).strip("'") not in rig.stream.getvalue()
        assert "•••" in rig.stream.getvalue()

    def test_nor_in_a_field_or_a_traceback(self, rig: Rig) -> None:
        try:
            raise ValueError(self.SECRET)
        except ValueError:
            rig.log.exception("failed", extra={"password": self.SECRET})
        assert self.SECRET not in rig.stream.getvalue()
        assert rig.stream.getvalue().count("•••") >= 2

    def test_bytes_are_a_secret_too(self) -> None:
        redactor = Redactor()
        redactor.add(b"\xff\xfe\x00\x01\x02")
        assert redactor.redact("key fffe000102") == "key •••"

    def test_a_secret_that_begins_another_does_not_leave_its_end(self) -> None:
        redactor = Redactor()
        redactor.add("abcd")
        redactor.add("abcdefgh")
        assert redactor.redact("abcdefgh") == "•••"

    def test_a_text_that_is_too_short_spoils_no_other_line(self) -> None:
        redactor = Redactor()
        redactor.add("abc")
        assert redactor.redact("abcdef") == "abcdef"


class TestFlood:
    def test_a_burst_is_written_and_the_rest_is_counted(self) -> None:
        rig = Rig()
        for number in range(BURST + 30):
            rig.log.warning("frame refused number=%d", number)
        assert len(rig.lines()) == BURST
        assert "left out for 60 s" in rig.lines()[-1]
        rig.clock.now = 60.0
        rig.log.warning("frame refused number=%d", 99)
        assert rig.lines()[-1].endswith("number=99 left_out=30")

    def test_after_the_window_a_new_burst_is_written(self) -> None:
        rig = Rig()
        for minute in range(3):
            rig.clock.now = minute * 60.0
            for _ in range(BURST):
                rig.log.error("disk")
        assert len(rig.lines()) == 3 * BURST
        assert "left_out" not in rig.stream.getvalue()

    def test_another_sentence_is_not_held_back(self) -> None:
        rig = Rig()
        for _ in range(BURST + 1):
            rig.log.warning("one")
        rig.log.warning("two")
        rig.log.error("one")
        assert [line.split("engine: ")[1] for line in rig.lines()[-2:]] == ["two", "one"]

    def test_debug_is_not_limited(self) -> None:
        rig = Rig()
        for _ in range(BURST * 3):
            rig.log.debug("frame")
        assert len(rig.lines()) == BURST * 3

    def test_the_memory_of_kinds_is_bounded(self) -> None:
        flood = FloodFilter(Clock())
        for number in range(5_000):
            flood.filter(logging.LogRecord("a", logging.INFO, "f", 1, f"sentence {number}", None, None))
        assert len(flood._kinds) == 256


class TestJournalStream:
    def test_the_journal_is_told_by_device_and_inode(self) -> None:
        left, right = socket.socketpair()
        with left, right, left.makefile("w") as stream:
            status = os.fstat(left.fileno())
            assert is_journal_stream(stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
            # A shell in the unit inherits the variable, and may have sent stderr elsewhere.
            assert not is_journal_stream(stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"})
            assert not is_journal_stream(stream, {})

    def test_a_stream_without_a_file_is_none(self) -> None:
        assert not is_journal_stream(io.StringIO(), {"JOURNAL_STREAM": "1:1"})


@pytest.fixture
def levels() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("agent", "simulator")]
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


class TestLevels:
    def test_the_level_is_for_our_modules(self, levels: None) -> None:
        set_level("debug")
        assert logging.getLogger("agent.metering.modbus").isEnabledFor(logging.DEBUG)
        set_level("error")
        assert not logging.getLogger("agent.metering.modbus").isEnabledFor(logging.WARNING)

    def test_an_unknown_level_names_the_known(self) -> None:
        with pytest.raises(ValueError, match="allowed: debug, info, warning, error"):
            set_level("loud")


SCRIPT = """
import logging, sys, warnings
from agent.runtime.logging import register_secret, set_up_logging
set_up_logging("debug")
register_secret("hunter2hunter2")
logging.getLogger("agent.x").debug("ours %s", "hunter2hunter2")
logging.getLogger("websockets").debug("theirs")
logging.getLogger("websockets").warning("theirs, worse")
warnings.warn("odd")
set_up_logging("info")
logging.getLogger("agent.x").info("once")
"""


def test_a_process_logs_to_stderr_with_libraries_kept_quiet() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == ""
    assert "hunter2" not in done.stderr
    assert "DEBUG   agent.x: ours •••" in done.stderr
    assert "theirs, worse" in done.stderr
    assert "theirs\n" not in done.stderr
    assert "odd" in done.stderr
    assert done.stderr.count("agent.x: once") == 1


def test_a_closed_stderr_stops_nothing() -> None:
    script = SCRIPT + "\nsys.stderr.close()\nlogging.getLogger('agent.x').error('unheard')\nprint('alive')\n"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "alive\n"
