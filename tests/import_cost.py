"""What each dependency costs at start: `python -m tests.import_cost` writes the table of docs/dependencies.md for this machine.

A whole process with the import, minus one without it (and with what the agent has loaded anyway), medians; the cases take turns, so
that a busy moment of the machine does not fall on one of them.
"""

import os
import statistics
import subprocess
import sys
import time

ROUNDS = 9
_RSS = "\nprint(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmRSS')))"

CASES: dict[str, tuple[str, str]] = {
    "asyncio": ("pass", "import asyncio"),
    "agent.config.loader": ("import asyncio, logging", "import agent.config.loader"),
    "aiosqlite": ("import asyncio, sqlite3, logging", "import aiosqlite"),
    "fastjsonschema": ("import json, asyncio", "import fastjsonschema"),
    "msgspec": ("import json, asyncio", "import msgspec"),
    "pymodbus": ("import asyncio, logging", "import pymodbus.client"),
    "pyserial": ("import asyncio", "import serial"),
    "websockets": ("import asyncio, ssl, logging", "import websockets.asyncio.client"),
    "babel": ("import asyncio", "import babel.numbers; babel.numbers.format_currency(1, 'NOK', locale='nb')"),
    "pillow": ("import asyncio", "import PIL.Image, PIL.ImageDraw, PIL.ImageFont"),
    "segno": ("import asyncio", "import segno"),
    "gpiod": ("import asyncio", "import gpiod"),
    "cryptography": (
        "import asyncio, ssl, sqlite3, logging",
        "from cryptography.hazmat.primitives import hashes, serialization\nfrom cryptography.hazmat.primitives.asymmetric import ec",
    ),
    "aiohttp": ("import asyncio, ssl", "import aiohttp.web"),
    "not used: ocpp.v16": ("import asyncio", "import ocpp.v16"),
    "not used: jsonschema": ("import asyncio", "import jsonschema"),
    "not used: pydantic, one model": ("import asyncio", "import pydantic\nclass M(pydantic.BaseModel):\n    a: int = 1"),
}


def run(code: str) -> tuple[float, float]:
    """Milliseconds of a whole process, and MiB that it held at its end."""
    # With cached bytecode, as on a charger.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code + _RSS], capture_output=True, text=True, check=True, env=environ)
    return (time.perf_counter() - began) * 1000, int(done.stdout) / 1024


def main() -> None:
    """Print the table."""
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(ROUNDS):
        for name, (before, code) in CASES.items():
            found.setdefault(f"{name} -", []).append(run(before))
            found.setdefault(name, []).append(run(f"{before}\n{code}"))
    print("| import | ms | MiB |\n| --- | ---: | ---: |")
    for name in CASES:
        ms, mib = (
            statistics.median(row[i] for row in found[name]) - statistics.median(row[i] for row in found[f"{name} -"]) for i in (0, 1)
        )
        print(f"| {name} | {ms:.0f} | {mib:.1f} |")


if __name__ == "__main__":
    main()
