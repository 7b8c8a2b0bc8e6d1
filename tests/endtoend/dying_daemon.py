"""The production daemon, which kills itself at its N-th commit: a process of its own for the kill tests, never imported.

Nothing of the daemon is replaced: its unit of work is counted, and the process gets SIGKILL from within, on the very thread that writes.
`before`: everything is written, and COMMIT is not said yet. `after`: COMMIT has returned, and nobody has heard of it yet.
"""

import argparse
import os
import signal
import sqlite3
import sys
from typing import TypeVar

from agent.__main__ import main as run_daemon
from agent.runtime import app
from agent.store.database import Database, Work

T = TypeVar("T")

WHOLE = Database._whole


def arm(die_at: int, when: str) -> None:
    """Count commits from now on; the process dies at number `die_at`."""
    count = 0

    def die() -> None:
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    def whole(self: Database, db: sqlite3.Connection, work: Work[T]) -> T:
        nonlocal count
        count += 1
        if count != die_at:
            return WHOLE(self, db, work)

        def last_work(db: sqlite3.Connection) -> T:
            result = work(db)
            if when == "before":
                die()
            return result

        result = WHOLE(self, db, last_work)
        die()
        return result

    Database._whole = whole  # type: ignore[method-assign]


def main() -> int:
    """`dying_daemon --config FILE [--die-at N --when before|after] [--boot-id TEXT]`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    parser.add_argument("--die-at", type=int)
    parser.add_argument("--when", choices=("before", "after"), default="after")
    parser.add_argument("--boot-id", help="as if the kernel had been booted anew")
    options = parser.parse_args()
    if options.die_at is not None:
        arm(options.die_at, options.when)
    if options.boot_id is not None:
        app.kernel_boot_id = lambda: options.boot_id  # type: ignore[attr-defined]
    return run_daemon(["--config", options.config])


if __name__ == "__main__":
    sys.exit(main())
