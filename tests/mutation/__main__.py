"""`make mutation SAMPLE=200 SEED=1`: how many small changes in core, queue and store the tests notice. Exit code 1 below 90 %."""

import argparse
import os
import sys
import time
from collections import Counter
from typing import Final

from tests.mutation.mutants import PARTS, RULES, sample
from tests.mutation.session import Fate, try_mutants

WANTED_PERCENT: Final = 90.0


def main() -> int:
    """Draw, try, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--sample", type=int, default=200, metavar="N", help="how many mutants are tried; 0: all (default 200)")
    parser.add_argument("--seed", type=int, default=1, help="which ones (default 1)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (default: one for each processor)")
    parser.add_argument("--only", default="", metavar="TEXT", help="modules whose path has this in it")
    options = parser.parse_args()
    begun = time.monotonic()
    mutants, there_are, left_out = sample(options.sample, options.seed, options.only)
    server = try_mutants(mutants, options.jobs)
    fates = Counter(fate for _, fate, _ in server.fates)
    by_part: Counter[tuple[str, bool]] = Counter()
    for mutant, fate, _ in server.fates:
        by_part[next(part for part in PARTS if mutant.path.startswith(part)), fate in {Fate.KILLED, Fate.TIMEOUT}] += 1
    killed = fates[Fate.KILLED] + fates[Fate.TIMEOUT]
    percent = 100 * killed / max(1, len(server.fates))
    print()
    print(f"mutants          {there_are} in {', '.join(PARTS)}")
    print(f"tried            {len(server.fates)} (seed {options.seed}) with {server.tests} tests")
    for rule, text in RULES.items():
        print(f"left out {left_out[rule]:7} {text}")
    for part in PARTS:
        whole = by_part[part, True] + by_part[part, False]
        if whole:
            print(f"{part:<28} {by_part[part, True]:5} of {whole:5} killed: {100 * by_part[part, True] / whole:5.1f} %")
    print(
        f"killed {fates[Fate.KILLED]}, timeouts {fates[Fate.TIMEOUT]}, survived {fates[Fate.SURVIVED]}, in no test {fates[Fate.UNTESTED]}"
    )
    print(f"{percent:.1f} % killed, wanted {WANTED_PERCENT:g} %; {time.monotonic() - begun:.0f} s")
    return 0 if percent >= WANTED_PERCENT else 1


if __name__ == "__main__":
    sys.exit(main())
