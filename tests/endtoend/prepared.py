"""A charger that an owner has added and that sells, made once and copied for each test: what a test does not look at costs no time."""

import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from tests.endtoend.rig import Charger

LEFT_BEHIND: Final = ("config.toml", "sim.sock", "diag.sock", "charger-agent.log")


async def prepare(directory: Path, version: str) -> Path:
    """Add the charger, set its price, switch on "charge with QR", and switch it off in order."""
    directory.mkdir(parents=True)
    async with Charger(directory, version=version) as charger:
        await charger.start_daemon()
        await charger.open_for_business()
        code, _ = await charger.end_daemon(signal.SIGTERM)
        assert code == 0, charger.log_tail()
    for name in LEFT_BEHIND:
        (directory / name).unlink(missing_ok=True)
    return directory


@asynccontextmanager
async def running(template: Path, directory: Path, *, starts: bool = True, **options: Any) -> AsyncIterator[Charger]:
    """Give a copy of the prepared charger, with its daemon running if it `starts`; SIGTERM at the end, and no traceback in the log."""
    shutil.copytree(template, directory)
    async with Charger(directory, **options) as charger:
        if starts:
            await charger.start_daemon()
        yield charger
        if charger.daemon is not None and charger.daemon.returncode is None:
            code, _ = await charger.end_daemon(signal.SIGTERM)
            assert code == 0, charger.log_tail()
        assert "Traceback" not in charger.log_text(), charger.log_tail(80)
