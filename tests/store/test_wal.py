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


def frames(salts: bytes, *pages: int) -> bytes:
    """Frames of 512 byte pages, as SQLite writes them."""
    return b"".join(page.to_bytes(4, "big") + bytes(4) + salts + bytes(8) + b"x" * 512 for page in pages)


def test_frames_are_counted_by_their_salts(tmp_path: Path) -> None:
    """A log that is begun anew keeps old frames behind the new ones: their salts tell them apart."""
    path, one, two = tmp_path / "x.db-wal", b"saltsalt", b"SALTSALT"
    meter = WalMeter(path, 512)
    path.write_bytes(b"")
    assert meter.measure() == (0, False)
    path.write_bytes(bytes(16) + one[:7])
    assert meter.measure() == (0, False), "a header that was cut"
    path.write_bytes(bytes(16) + one + bytes(8))
    assert meter.measure() == (32, True)
    assert meter.measure() == (0, False)
    path.write_bytes(bytes(16) + one + bytes(8) + frames(one, 1, 2))
    assert meter.measure() == (2 * 536, False)
    assert meter.log_bytes == 2 * 536
    path.write_bytes(bytes(16) + one + bytes(8) + frames(one, 1, 2, 2, 3))
    assert meter.measure() == (2 * 536, False)
    assert meter.log_bytes == 4 * 536
    assert meter.folded() == 3 * 512, "page 2 is folded once"
    assert meter.folded() == 0
    path.write_bytes(bytes(16) + one + bytes(8) + frames(one, 1, 2, 2, 3, 9))
    assert meter.measure() == (536, False)
    path.write_bytes(bytes(16) + two + bytes(8) + frames(two, 1) + frames(one, 2, 2, 3))
    assert meter.measure() == (32 + 536, True)
    assert meter.log_bytes == 536
    assert meter.folded() == 512, "what the log had before it began anew is in the file"
    meter.close()


def test_the_meter_holds_one_file_open_and_lets_go_of_it(tmp_path: Path) -> None:
    path = tmp_path / "x.db-wal"
    path.write_bytes(bytes(32) + frames(bytes(8)))

    def held() -> int:
        return sum(each.is_symlink() and each.resolve() == path for each in Path("/proc/self/fd").iterdir())

    meter = WalMeter(path, 512)
    for _ in range(3):
        meter.measure()
        assert held() == 1
    for _ in range(2):
        meter.close()
        assert held() == 0
    meter.measure()
    assert held() == 1, "it may be asked again"
    meter.close()
