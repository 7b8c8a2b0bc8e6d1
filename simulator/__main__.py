"""`charger-sim`: test rigs. Each subcommand is a module with `run(args) -> int`, imported when it is asked for."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

COMMANDS: Final = {
    "demo": ("simulator.demo", "portal, charger and web page in one process: the whole story of a paid session"),
    "world": ("simulator.world_process", "the simulated world as a process that outlives the daemon"),
    "control": ("simulator.control_command", "call one method of a control socket"),
    "chaos": ("simulator.chaos", "random sessions and faults in virtual time; afterwards the books must agree"),
    "replay": ("simulator.replay", "run a flight recording through the same core and show where it decides otherwise"),
    "faults": ("simulator.control_command", "list the faults that fault.set knows"),
}
"""Subcommand: module, and one line for the help."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand. Exit code 2 for a subcommand that there is not."""
    args = list(sys.argv[1:] if argv is None else argv)
    name = args[0] if args else "--help"
    if name in {"-h", "--help"}:
        print(usage())
        return 0
    if name not in COMMANDS:
        print(f"charger-sim: there is no {name!r}\n\n{usage()}", file=sys.stderr)
        return 2
    module = import_module(COMMANDS[name][0])
    result: int = module.run_faults(args[1:]) if name == "faults" else module.run(args[1:])
    return result


def usage() -> str:
    """Write what there is."""
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:<{width}}  {summary}" for name, (_, summary) in COMMANDS.items())
    return f"usage: charger-sim COMMAND ...\n\n{lines}\n\ncharger-sim COMMAND --help says more."


if __name__ == "__main__":
    sys.exit(main())
