"""The log: lines on stderr, for the journal or for a person, without secrets, and without a flood.

Modules say what happened with the standard `logging`; fields go into the sentence (`evse_id=%d`) or into `extra`. Levels: `error` a bug
or lost data, `warning` degraded and handled, `info` what an operator may read for years, `debug` one line per event or message.
"""

import logging
import os
import re
import sys
import time
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, TextIO
from urllib.parse import quote

from agent.domain.values import dataclass

MASK: Final = "•••"
SHORTEST_SECRET: Final = 4
"""A shorter text would be found in every other word, and the log would say nothing any more."""
BURST: Final = 20
WINDOW_S: Final = 60.0
"""So many lines of one kind are written in so many seconds; the rest is counted."""
_KINDS: Final = 256
_PLAIN: Final = frozenset(logging.LogRecord("", 0, "", 0, "", None, None).__dict__) | {"message", "asctime", "taskName", "left_out"}
"""What every record has; anything else came in through `extra`."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_OURS: Final = ("agent", "simulator")


class Redactor:
    """Takes registered secrets out of a text, also in the forms in which they travel (base64, hex, percent-encoded)."""

    def __init__(self) -> None:
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def add(self, secret: str | bytes) -> None:
        """Keep this out of the log from now on. One of fewer than 4 characters (a laboratory's) cannot be, and is left alone."""
        raw = secret.encode() if isinstance(secret, str) else secret
        text = raw.decode(errors="replace")
        if len(text) < SHORTEST_SECRET:
            return
        base64 = b64encode(raw).decode()
        self._forms |= {text, repr(text)[1:-1], quote(text, safe=""), base64, base64.rstrip("="), raw.hex(), raw.hex().upper()}
        # The longest first: a form may be the beginning of another.
        self._pattern = re.compile("|".join(re.escape(form) for form in sorted(self._forms, key=len, reverse=True)))

    def redact(self, text: str) -> str:
        """The text with every registered secret replaced by `•••`."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)


class LineFormatter(logging.Formatter):
    """Sentence, fields, then the traceback. A line end in the sentence is written as an escape: a peer cannot forge a line of the log."""

    def __init__(self, redactor: Redactor, *, is_journal: bool) -> None:
        super().__init__()
        self._redactor = redactor
        self._is_journal = is_journal

    def format(self, record: logging.LogRecord) -> str:
        """One line, or several with a traceback. For the journal each begins with its priority, `<3>` to `<7>` (sd-daemon(3))."""
        head = f"{record.name}: {_on_one_line(record.getMessage())}{_fields(record)}"
        if not self._is_journal:
            head = f"{_time(record)} {record.levelname:7} {head}"
        lines = [head]
        if record.exc_info:
            lines += self.formatException(record.exc_info).splitlines()
        if record.stack_info:
            lines += self.formatStack(record.stack_info).splitlines()
        prefix = f"<{_priority(record.levelno)}>" if self._is_journal else ""
        return "\n".join(prefix + line for line in self._redactor.redact("\n".join(lines)).splitlines())


class FloodFilter(logging.Filter):
    """Lets a burst of like lines through and counts the rest, so that a broken wire does not wear the flash or hide other lines.

    Lines are alike when they come from the same place with the same sentence, whatever its arguments. What was left out is said on the next
    line of the kind. `debug` is not limited: somebody asked for it. `clock` gives monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: OrderedDict[tuple[str, int, str], _Window] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this line is written."""
        if record.levelno <= logging.DEBUG:
            return True
        kind = (record.name, record.levelno, str(record.msg))
        now = self._clock()
        window = self._kinds.get(kind)
        if window is None or now - window.began_at >= WINDOW_S:
            record.left_out = 0 if window is None else window.left_out
            self._kinds[kind] = window = _Window(began_at=now)
            if len(self._kinds) > _KINDS:
                self._kinds.popitem(last=False)
        self._kinds.move_to_end(kind)
        window.seen += 1
        if window.seen > BURST:
            window.left_out += 1
            return False
        if window.seen == BURST:
            record.more_like_this = f"left out for {WINDOW_S:g} s"
        return True


@dataclass(slots=True, kw_only=True)
class _Window:
    began_at: float
    seen: int = 0
    left_out: int = 0


_redactor: Final = Redactor()


def set_up_logging(level: str = "info", *, stream: TextIO | None = None, environ: Mapping[str, str] = os.environ) -> None:
    """Send the log to `stream` (stderr). `level` is debug, info, warning or error, and is for our own modules.

    Libraries never go below warning: their debug lines hold headers with passwords and every id token.
    """
    out = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(out)
    handler.setFormatter(LineFormatter(_redactor, is_journal=is_journal_stream(out, environ)))
    handler.addFilter(FloodFilter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    logging.raiseExceptions = False  # a closed stderr is not a reason to stop charging
    set_level(level)


def set_level(level: str) -> None:
    """Choose what our own modules write. Raises ValueError for an unknown level."""
    number = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}.get(level)
    if number is None:
        msg = f"{level!r} is not a log level; allowed: debug, info, warning, error"
        raise ValueError(msg)
    for name in _OURS:
        logging.getLogger(name).setLevel(number)


def register_secret(secret: str | bytes) -> None:
    """Keep a secret out of the log from now on; one of fewer than 4 characters cannot be told from other text and stays."""
    _redactor.add(secret)


def is_journal_stream(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the journal reads this stream: systemd names device and inode of its socket in JOURNAL_STREAM (systemd.exec(5))."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _priority(level: int) -> int:
    """The syslog severity (RFC 5424, 6.2.1) of a level."""
    for limit, priority in ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6)):
        if level >= limit:
            return priority
    return 7


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> str:
    found = [(key, value) for key, value in record.__dict__.items() if key not in _PLAIN]
    if left_out := getattr(record, "left_out", 0):
        found.append(("left_out", left_out))
    return "".join(f" {key}={_quoted(str(value))}" for key, value in found)


def _quoted(value: str) -> str:
    text = _on_one_line(value)
    return text if text and not re.search(r'[\s"=]', text) else '"' + text.replace('"', "'") + '"'


def _on_one_line(text: str) -> str:
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)
