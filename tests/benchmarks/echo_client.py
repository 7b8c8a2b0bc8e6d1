"""The bare echo: websockets at both ends, one text there and back, as often as it goes.

`python -m tests.benchmarks.echo_client URL CHARACTERS TIMES` prints exchanges per second.
"""

import asyncio
import json
import sys
import time

from websockets.asyncio.client import connect

from tests.benchmarks.csms import ECHO_PATH


async def main(url: str, characters: int, times: int) -> None:
    """Exchange texts of one size."""
    text = json.dumps([2, "00000000-0000-4000-8000-000000000000", "MeterValues", {"padding": ""}])
    text = text.replace('""', '"' + "x" * max(0, characters - len(text)) + '"')
    async with connect(url.rstrip("/") + ECHO_PATH, compression=None, ping_interval=None) as link:
        for _ in range(100):
            await link.send(text)
            await link.recv()
        begun = time.perf_counter()
        for _ in range(times):
            await link.send(text)
            await link.recv()
        print(times / (time.perf_counter() - begun))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
