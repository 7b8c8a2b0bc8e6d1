"""The production daemon with a flight recorder that writes each second: a process of its own for test_flight.py, never imported."""

import sys

from agent.__main__ import main
from agent.runtime import recorder

recorder.SPILL_MS = 1_000  # type: ignore[misc]
recorder.LEG_MS = 500  # type: ignore[misc]

if __name__ == "__main__":
    sys.exit(main())
