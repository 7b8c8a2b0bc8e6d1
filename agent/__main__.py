"""The daemon: `charger-agent --config FILE`."""

import argparse
import asyncio
import contextlib
import gc
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import agent

if TYPE_CHECKING:
    from agent.config.model import Config

EXIT_OK, EXIT_FAILED, EXIT_CONFIG = 0, 1, 2
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

    async def run() -> Ending:
        app = App(config)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, app.leave)
        sweeping = loop.create_task(sweep_once(app.is_running))
        try:
            return await app.run()
        finally:
            sweeping.cancel()

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


if __name__ == "__main__":
    sys.exit(main())
