"""`charger-sim chaos`: seeded random runs of the real daemon in virtual time, and the comparison of the three books (docs/chaos.md)."""

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulator.chaos.story import Outcome


def run(args: Sequence[str]) -> int:
    """Run, print progress and the table. Exit code 1 where a run found something or a pair came up short, 2 for a wrong argument."""
    parser = argparse.ArgumentParser(prog="charger-sim chaos", description="Random sessions and faults; afterwards the books must agree.")
    parser.add_argument("--runs", type=int, required=True, metavar="N", help="how many runs")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="seed of the first run; the next has S+1 (default 1)")
    parser.add_argument("--visits", metavar="A,B", help="only these visits of each run's plan: how a failing run is made smaller")
    parser.add_argument("--real", action="store_true", help="in real time, with the daemon as a process that is killed and stopped")
    parser.add_argument("--jobs", type=int, metavar="N", help="processes (default: one for each processor; three with --real, which waits)")
    parser.add_argument("--json", action="store_true", help="print one object instead of the table")
    options = parser.parse_args(args)
    if options.runs < 1 or (options.jobs is not None and options.jobs < 1):
        parser.error("--runs and --jobs are at least 1")
    if options.real and options.visits is not None:
        parser.error("--visits is for runs in virtual time: what happens in real time depends on everything before it")
    jobs = options.jobs or (os.cpu_count() or 1) * (3 if options.real else 1)
    only = None
    if options.visits is not None:
        try:
            only = tuple(int(number) for number in options.visits.split(","))
        except ValueError:
            parser.error(f"--visits {options.visits}: use numbers with commas between them, as in 0,2")

    from simulator.chaos.report import Tally, minimised, replay_command

    tally = Tally(is_real=options.real)
    begun = time.monotonic()
    for count, outcome in enumerate(_outcomes(options.seed, options.runs, only, jobs, is_real=options.real), 1):
        tally.add(outcome)
        if outcome.violations:
            print(
                f"seed {outcome.seed} ({outcome.version}) failed: {replay_command(outcome.seed, only, is_real=options.real)}",
                file=sys.stderr,
            )
            for text in outcome.violations:
                print(f"    {text}", file=sys.stderr)
        if count % 50 == 0 or count == options.runs:
            rate = count / (time.monotonic() - begun)
            print(f"{count} of {options.runs} runs, {len(tally.failed)} failed, {rate:.1f} runs/s", file=sys.stderr, flush=True)
    if options.runs == 1 and not options.json:
        print("\n".join(outcome.trace))
    if tally.failed and only is None and not options.real:
        print(f"smaller: {minimised(tally.failed[0])}", file=sys.stderr)
    print(json.dumps(tally.as_json(), indent=1) if options.json else tally.as_text())
    return 1 if tally.failed or tally.short() else 0


def _calm() -> None:
    """Collect garbage less often: what is imported stays, and a run's objects die with it."""
    import simulator.chaos.story  # noqa: F401 - before the freeze

    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _outcomes(seed: int, runs: int, only: tuple[int, ...] | None, jobs: int, *, is_real: bool) -> "Iterator[Outcome]":
    if is_real:
        from simulator.chaos.real import run_real

        with ProcessPoolExecutor(min(jobs, runs)) as pool:
            yield from pool.map(run_real, range(seed, seed + runs), chunksize=1)
        return
    from simulator.chaos.story import run_once

    seeds = range(seed, seed + runs)
    if jobs == 1 or runs == 1:
        for one in seeds:
            yield run_once(one, only)
            gc.collect()
        return
    with ProcessPoolExecutor(jobs, initializer=_calm) as pool:
        yield from pool.map(run_once, seeds, [only] * runs, chunksize=1)
