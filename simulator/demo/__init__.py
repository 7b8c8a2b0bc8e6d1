"""`charger-sim demo`: the portal, a simulated charger run by the production daemon, and a page to play with, or a story by itself."""

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from simulator.demo.site import Site

VERSIONS: Final = ("2.0.1", "1.6")
METERS: Final = ("tcp", "rtu")
DEFAULT_PORT: Final = 8080
PAGE_SAMPLE_INTERVAL_S: Final = 2
"""Meter values this often, so that the phone looks alive beside the display."""
INTERRUPTED: Final = 130
"""What a shell says of a command that Ctrl-C ended."""


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
    """Run the demo; the exit code of the command: 1 when something failed or the books differ, 130 for an interrupted story."""
    arguments = _parser().parse_args(words)
    with contextlib.ExitStack() as stack:
        directory = arguments.directory
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="charger-demo-")))
        directory = directory.absolute()
        directory.mkdir(parents=True, exist_ok=True)
        if arguments.headless:
            from simulator.demo.story import play

            story = play(directory, version=arguments.ocpp, meter=arguments.meter, seconds=arguments.seconds)
            return asyncio.run(_until_signal(story, ended_by_signal=INTERRUPTED))
        return asyncio.run(_until_signal(_serve(directory, arguments), ended_by_signal=0))


async def _until_signal(work: Coroutine[None, None, int], *, ended_by_signal: int) -> int:
    """Run until it ends, or until Ctrl-C, SIGTERM or a closed terminal ends it in order."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        working.cancel()
    try:
        return await working
    except asyncio.CancelledError:
        return ended_by_signal


async def _serve(directory: Path, arguments: argparse.Namespace) -> int:
    """The page, until it is cancelled."""
    from simulator.demo.page import serve_page
    from simulator.demo.site import Site, SiteError

    site = Site(
        directory,
        version=arguments.ocpp,
        meter=arguments.meter,
        language=arguments.language,
        sample_interval_s=PAGE_SAMPLE_INTERVAL_S,
        extra='[variables]\n"LedgerCtrlr.SendHead" = true\n',
    )
    try:
        async with site, contextlib.AsyncExitStack() as stack:
            await site.open_for_business()
            runner, port = await serve_page(site, arguments.port)
            stack.push_async_callback(runner.cleanup)
            sys.stdout.write(_welcome(site, port))
            sys.stdout.flush()
            code = await site.daemon_ended()
            sys.stderr.write(f"The daemon ended with exit code {code}. The end of its log:\n{site.log_tail()}\n")
            return 1
    except SiteError as error:
        sys.stderr.write(f"The demo cannot run: {error}\n")
        return 1
    except asyncio.CancelledError:
        stopped = await site.stop_daemon()
        sys.stdout.write(f"\nThe demo has ended; the daemon stopped {'in order' if stopped == 0 else f'with exit code {stopped}'}.\n")
        if stopped != 0:
            sys.stderr.write(site.log_tail() + "\n")
            return 1
        raise


def _welcome(site: "Site", port: int) -> str:
    return (
        f"\nThe demo runs. Open this page in a browser:\n\n    http://127.0.0.1:{port}/\n\n"
        f"  charger     {site.station_id}, the production daemon over OCPP {site.version} and Modbus {site.meter.upper()}\n"
        f"  portal      {site.portal.web_url}/\n"
        f"  technician  .venv/bin/chargerctl --socket {site.diagnostics_socket} status\n"
        f"  log         {site.log}\n\n"
        "Ctrl-C ends it.\n"
    )
