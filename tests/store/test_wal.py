"""The log meter counts what SQLite really writes."""

import sqlite3
from contextlib import closing
from pathlib import Path

from agent.store.wal import WalMeter


def thread_wrote() -> int:
    """Bytes that this thread handed to write calls, by the kernel's own count."""
    fields = dict(line.split(": ") for line in Path("/proc/thread-self/io").read_text(encoding="ascii").splitlines())
    return int(fields["wchar"])


def test_bytes_are_those_that_the_kernel_counted(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as db:
        db.execute("PRAGMA page_size = 1024")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("CREATE TABLE t (a TEXT)")
        meter = WalMeter(tmp_path / "x.db-wal", 1024)
        meter.measure()
        before, counted, news = thread_wrote(), 0, 0
        for number in range(60):
            db.execute("INSERT INTO t VALUES (?)", ("x" * number * 50,))
            written, is_new = meter.measure()
            counted, news = counted + written, news + is_new
            if number % 20 == 19:
                db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                counted += meter.folded()
        assert counted == thread_wrote() - before
        assert news == 2, "the log begins anew with the first commit after each complete checkpoint"
        assert meter.measure() == (0, False)
        meter.close()


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    meter = WalMeter(tmp_path / "none-wal", 1024)
    assert meter.measure() == (0, False)
    assert meter.log_bytes == 0
    meter.close()
