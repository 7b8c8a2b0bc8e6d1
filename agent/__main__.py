"""The daemon: `charger-agent --config FILE`."""

import argparse
import asyncio
import contextlib
import faulthandler
import gc
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import agent

if TYPE_CHECKING:
    from agent.config.model import Config

EXIT_OK, EXIT_FAILED, EXIT_CONFIG = 0, 1, 2
GONE_S = 4.8
DEFAULT_CONFIG = Path("/etc/charger-agent/config.toml")


def main(arguments: list[str] | None = None) -> int:
    """Run the daemon. Exit codes: 0 orderly stop, 2 configuration error, 1 anything else."""
    parser = argparse.ArgumentParser(prog="charger-agent", description="The software that runs inside an EV charger.")
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help=f"configuration (default {DEFAULT_CONFIG})")
    parser.add_argument("--check", action="store_true", help="check the configuration and exit")
    parser.add_argument("--version", action="version", version=f"charger-agent {agent.__version__}")
    options = parser.parse_args(arguments)

    gc.disable()  # looking for garbage took a tenth of the start; see `sweep_once`

    from agent.config.loader import ConfigError, load_config
    from agent.runtime.check import VALIDATORS
    from agent.runtime.variables import VariableError, initial_variables

    try:
        config = load_config(options.config, VALIDATORS)
        initial_variables(config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    except VariableError as error:
        print(f"{options.config}: variables: {error}", file=sys.stderr)
        return EXIT_CONFIG
    if options.check:
        print(f"{options.config}: the configuration is good")
        return EXIT_OK

    from agent.runtime.logging import set_up_logging

    set_up_logging(config.log.level.value)
    _keep_out_of_the_log(config)
    return _serve(config, arguments)


def _keep_out_of_the_log(config: "Config") -> None:
    """The owner's claim code and the password never reach a log line, whoever writes it."""
    from agent.runtime.logging import register_secret

    if config.station.uid:
        register_secret(config.station.uid)
    if config.ocpp.password_file is not None:
        with contextlib.suppress(OSError):  # the connection tells that it cannot be read, and tries again
            register_secret(config.ocpp.password_file.read_bytes().rstrip(b"\r\n"))


def _serve(config: "Config", arguments: list[str] | None) -> int:
    from agent.domain.errors import AgentError
    from agent.runtime.app import App, Ending

    has_ended = threading.Event()

    async def run() -> Ending:
        app = App(config)
        loop = asyncio.get_running_loop()

        def leave() -> None:
            _be_gone_in_time(has_ended)
            app.leave()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, leave)
        sweeping = loop.create_task(sweep_once(app.is_running))
        try:
            ending = await app.run()
        finally:
            sweeping.cancel()
        has_ended.set()
        return ending

    async def sweep_once(is_running: asyncio.Event) -> None:
        """Throw away what the start left behind, and never look at what stays for good again."""
        await is_running.wait()
        gc.collect()
        gc.freeze()
        gc.enable()

    # A thread that draws a picture holds the interpreter for at most this long before the loop gets its turn (measured: 0.7-2 ms).
    sys.setswitchinterval(0.0005)
    try:
        ending = asyncio.run(run())
    except AgentError as error:
        print(f"charger-agent: {error}", file=sys.stderr)
        return EXIT_FAILED
    if ending is Ending.RESTART:
        # An OCPP reset works with and without systemd: the process becomes a fresh one.
        given = sys.argv[1:] if arguments is None else arguments
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(sys.executable, [sys.executable, "-m", "agent", *given])  # noqa: S606 - our own interpreter and arguments
    return EXIT_OK


def _be_gone_in_time(has_ended: threading.Event) -> None:
    """SIGTERM: end the process within 5 s whatever hangs, a thread that looks up a name or a driver.

    By then the contactors are open, by the application, by the guard's own thread or by the hardware, and what was confirmed is on disk.
    """

    def give_up() -> None:
        if not has_ended.is_set():
            logging.getLogger("agent").error("something did not end within %g s; here is where everybody stands", GONE_S)
            faulthandler.dump_traceback()
        sys.stderr.flush()
        os._exit(EXIT_OK if has_ended.is_set() else EXIT_FAILED)

    timer = threading.Timer(GONE_S, give_up)
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    sys.exit(main())
