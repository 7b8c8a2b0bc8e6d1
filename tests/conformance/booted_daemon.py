"""The production daemon in a process that believes that the kernel was booted anew: only the file with the kernel's boot id differs.

A module of its own for the power tests, never imported. A reset re-executes `python -m agent`, which reads the real file again.
"""

import argparse
import sys
from pathlib import Path

from agent.__main__ import main as run_daemon
from agent.runtime import clock


def main() -> int:
    """`booted_daemon --config FILE --boot-id-file FILE`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    parser.add_argument("--boot-id-file", required=True, type=Path)
    options = parser.parse_args()
    clock._BOOT_ID = options.boot_id_file
    return run_daemon(["--config", options.config])


if __name__ == "__main__":
    sys.exit(main())
