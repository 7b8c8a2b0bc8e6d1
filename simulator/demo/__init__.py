"""`charger-sim demo`: the portal, a simulated charger run by the production daemon, and a page to play with, or a story that plays alone."""

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

VERSIONS = ("2.0.1", "1.6")
METERS = ("tcp", "rtu")
DEFAULT_PORT = 8080


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="charger-sim demo", description="Portal, charger and car; a page to play with, or a story.")
    parser.add_argument("--headless", action="store_true", help="play one paid session alone, compare the books, exit 0 or 1")
    parser.add_argument("--ocpp", choices=VERSIONS, default=VERSIONS[0], help="OCPP version on the wire (default %(default)s)")
    parser.add_argument("--meter", choices=METERS, default=METERS[0], help="way to the energy meter (default %(default)s)")
    parser.add_argument("--language", choices=("en", "nb"), default="en", help="language of the charger's display (default %(default)s)")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="port of the page; 0, or one that is taken, takes a free one")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the headless car charges (default %(default)s)")
    parser.add_argument("--directory", type=Path, help="keep the state here (default: a temporary directory)")
    return parser


def run(words: Sequence[str]) -> int:
    """Run the demo; the exit code of the command."""
    arguments = _parser().parse_args(words)
    with contextlib.ExitStack() as stack:
        directory = arguments.directory
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="charger-demo-")))
        directory.mkdir(parents=True, exist_ok=True)
        if arguments.headless:
            from simulator.demo.story import play

            return asyncio.run(play(directory, version=arguments.ocpp, meter=arguments.meter, seconds=arguments.seconds))
        return asyncio.run(_serve(directory, arguments))


async def _serve(directory: Path, arguments: argparse.Namespace) -> int:
    from simulator.demo.page import serve_page
    from simulator.demo.site import Site

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Site(directory, version=arguments.ocpp, meter=arguments.meter, language=arguments.language) as site:
        await site.open_for_business()
        runner, port = await serve_page(site, arguments.port)
        sys.stdout.write(
            f"\nThe demo runs: open  http://127.0.0.1:{port}/\n\n"
            f"  charger {site.station_id} runs the production daemon over OCPP {arguments.ocpp} and Modbus {arguments.meter.upper()}\n"
            f"  portal  {site.portal.web_url}\n"
            f"  technician: .venv/bin/chargerctl --socket {site.diagnostics_socket} status\n\nCtrl-C ends it.\n"
        )
        sys.stdout.flush()
        ended = asyncio.create_task(site.daemon_ended())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((ended, stopping), return_when=asyncio.FIRST_COMPLETED)
        for task in (ended, stopping):
            task.cancel()
        await runner.cleanup()
        return 0 if stop.is_set() else 1
