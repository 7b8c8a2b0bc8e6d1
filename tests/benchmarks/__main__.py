"""`python -m tests.benchmarks [--output FILE] [--only NAME ...]`: measure, print, and write the page where one is asked for."""

import argparse
import asyncio
import os
import platform
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks.figures import FIGURES, SMALL, Size, bench
from tests.benchmarks.report import Figure, remarks, table

TITLE = "Speed and size"
BY_NAME = {measure.__name__: measure for measure in FIGURES}


async def run(names: list[str], size: Size) -> list[Figure]:
    """Measure, one thing after another."""
    found: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        async with bench(directory, size) as rig:
            for each in names:
                begun = time.monotonic()
                print(f"... {each}", end="", file=sys.stderr, flush=True)
                found += await BY_NAME[each](rig)
                print(f" {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    return found


def go_ahead() -> bool:
    """Put this process and what it starts before all other programs of the machine, where allowed: they are no part of a charger."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        return False
    return True


def page(figures: list[Figure], command: str, *, is_ahead: bool) -> str:
    """The text for docs/benchmarks.md."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("ocpp", "websockets"))
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, CPython {platform.python_version()}, {packages}"
    scheduling = (
        "All processes of the bench ran before other programs of the machine (SCHED_RR), daemon and reference alike."
        if is_ahead
        else "The bench ran among the other programs of the machine, whose load is in the figures."
    )
    return f"""# {TITLE}

Written by `{command}` on {machine}.

Every reference was measured in the same run, in turns with the daemon; only ratios say something about another machine. Where several runs
were made, the median and in brackets the range. {scheduling}

The reference station (`tests/benchmarks/reference_station.py`) is the least that the PyPI packages `ocpp` and `websockets` need to boot
and to answer: no buffer, no meter, no display. The daemon is the real process with a real store on disk; the simulated world (car, meter,
safety controller) and the CSMS run in processes of their own.

{table(figures)}

## Remarks

{remarks(figures)}
"""


def main() -> int:
    """Measure and print. Exit code 0 also where an aim is missed: a figure is a figure, not a test."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Speed and size beside their references.")
    parser.add_argument("--output", type=Path, metavar="FILE", help="also write the page, as docs/benchmarks.md")
    parser.add_argument("--only", nargs="+", choices=BY_NAME, default=list(BY_NAME), metavar="NAME", help=", ".join(BY_NAME))
    parser.add_argument("--ordinary", action="store_true", help="do not run before the other programs of this machine (SCHED_RR)")
    parser.add_argument("--small", action="store_true", help="only show that every piece runs")
    options = parser.parse_args()
    is_ahead = not options.ordinary and go_ahead()
    figures = asyncio.run(run(options.only, SMALL if options.small else Size()))
    command = "python -m tests.benchmarks" + (f" --output {options.output}" if options.output else "")
    text = page(figures, command, is_ahead=is_ahead)
    print(text)
    if options.output is not None:
        options.output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
