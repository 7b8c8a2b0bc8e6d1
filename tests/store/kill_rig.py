"""A charger's load on the store in a process that is killed: run by test_kill.py, never imported.

The parent forks a worker for each round, reads what the worker says about each finished step, kills it with SIGKILL at a random moment,
and then compares the database with what was said. It prints one JSON object for each round.
"""

import asyncio
import hashlib  # noqa: F401 - the workers are forked from here and find it loaded
import json
import os
import random
import select
import signal
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

from agent.domain.outbox import Delivered
from agent.domain.transaction import TransactionRecord
from agent.store import ledger
from agent.store.serial import load
from agent.store.store import FILE_NAME, Store
from tests.store.build import BOOT, end_notice, ended, notice, now, record


async def work(directory: Path, out: int, seed: int) -> None:
    """Begin, update and end transactions, and deliver from the front of the queue, for ever. Says each step when it is done."""
    chance = random.Random(seed)
    store = await Store.open(directory, boot_id=BOOT, now=now)
    found = await store.recover()
    newest = await store.sessions(1)
    number = int(newest[0].transaction_id[-12:]) if newest else 0
    open_at = {int(t.transaction_id[-12:]): t.next_seq_no for t in found.transactions}

    def say(kind: str, *values: int) -> None:
        os.write(out, (json.dumps([kind, *values]) + "\n").encode())

    say("open", number)
    while True:
        if not open_at or (len(open_at) < 3 and chance.random() < 0.3):
            number += 1
            await store.commit([record(number)], [notice(number, 0)])
            open_at[number] = 1
            say("stored", number, 0)
        which = chance.choice(list(open_at))
        seq_no = open_at[which]
        if seq_no > 2 and chance.random() < 0.3:
            await store.commit([ended(which, next_seq_no=seq_no + 1)], [end_notice(which, seq_no)])
            del open_at[which]
        else:
            await store.commit([record(which, next_seq_no=seq_no + 1)], [notice(which, seq_no)])
            open_at[which] = seq_no + 1
        say("stored", which, seq_no)
        if chance.random() < 0.7:
            for row in await store.rows(0, chance.randint(1, 3)):
                say("delivering", int(row.notice.transaction_id[-12:]), row.notice.seq_no)
                remote_id = row.row_id if row.notice.seq_no == 0 else None
                store.mark(Delivered(row_id=row.row_id, transaction_id=row.notice.transaction_id, remote_id=remote_id))
            if chance.random() < 0.3:
                await store.flush()
                say("flushed")


def run_and_kill(directory: Path, seed: int, after_s: float, *, is_opening: bool) -> list[list[object]]:
    """Let a worker run, kill it so long after its fork (`is_opening`) or after it has opened, and give what it said."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(readable)
        try:
            asyncio.run(work(directory, writable, seed))
        finally:
            os._exit(70)
    os.close(writable)
    text = b""
    killed_at = time.monotonic() + (after_s if is_opening else 30.0)
    while True:
        ready, _, _ = select.select([readable], [], [], max(0.0, killed_at - time.monotonic()))
        if not ready:
            os.kill(pid, signal.SIGKILL)
            break
        piece = os.read(readable, 65536)
        if not piece:
            break
        if not text and not is_opening:
            killed_at = time.monotonic() + after_s
        text += piece
    while piece := os.read(readable, 65536):
        text += piece
    os.close(readable)
    _, status = os.waitpid(pid, 0)
    if not os.WIFSIGNALED(status):
        raise SystemExit(f"the worker ended by itself with {os.waitstatus_to_exitcode(status)}")
    return [json.loads(line) for line in text.split(b"\n")[:-1]]


def main() -> None:
    """Run the rounds: `kill_rig.py DIRECTORY SEED ROUNDS`."""
    directory, seed, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    chance = random.Random(seed)
    stored: set[tuple[int, int]] = set()
    delivering: list[tuple[int, int]] = []
    flushed: set[tuple[int, int]] = set()
    for number in range(rounds):
        unflushed: list[tuple[int, int]] = []
        said = run_and_kill(directory, chance.getrandbits(32), chance.uniform(0.0, 0.12), is_opening=number % 4 == 0)
        for kind, *values in said:
            match kind, values:
                case "stored", [int(number), int(seq_no)]:
                    stored.add((number, seq_no))
                    flushed.update(unflushed)  # marks ride with the commit; those made before it are on disk with it
                    unflushed.clear()
                case "delivering", [int(number), int(seq_no)]:
                    delivering.append((number, seq_no))
                    unflushed.append((number, seq_no))
                case "flushed", []:
                    flushed.update(unflushed)
                    unflushed.clear()
                case _:
                    pass
        print(json.dumps(compare(directory, len(said), stored, delivering, flushed)))


def compare(
    directory: Path, steps: int, stored: set[tuple[int, int]], delivering: list[tuple[int, int]], flushed: set[tuple[int, int]]
) -> dict[str, object]:
    """Compare the database with what was said: every list of the result must be empty."""
    if not (directory / FILE_NAME).exists():
        return {"steps": steps}
    with closing(sqlite3.connect(directory / FILE_NAME)) as db:
        if db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'ledger'").fetchone()[0] == 0:
            return {"steps": steps}  # killed before or between the migrations
        queue = [
            (int(transaction_id[-12:]), seq_no)
            for transaction_id, seq_no in db.execute(
                "SELECT transaction_id, seq_no FROM outbox JOIN transactions USING (ordinal) ORDER BY row_id"
            )
        ]
        ahead = [
            transaction_id
            for transaction_id, queued_to, text in db.execute("SELECT transaction_id, queued_to, record FROM transactions")
            if load(text, TransactionRecord).next_seq_no != queued_to
        ]
        check = db.execute("PRAGMA integrity_check").fetchone()[0]
        proof = ledger.verify(db)
        (finished,) = db.execute("SELECT count(*) FROM transactions WHERE is_open = 0").fetchone()
    seen = set(delivering)
    return {
        "steps": steps,
        "queued": len(queue),
        "delivered": len(seen),
        "lost": sorted(stored - set(queue) - seen),
        "delivered again after it was settled": sorted(set(queue) & flushed),
        "twice in the queue": sorted({row for row in queue if queue.count(row) > 1}),
        "out of order": [number for number, _ in queue if (seqs := [s for n, s in queue if n == number]) != sorted(seqs)],
        "state and message apart": ahead,
        "finished": finished,
        "broken in the chain": [problem.text for problem in proof.problems],
        "finished and not in the chain": [] if proof.sessions == finished else [finished - proof.sessions],
        "integrity": [] if check == "ok" else [check],
    }


if __name__ == "__main__":
    main()
