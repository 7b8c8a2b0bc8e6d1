"""One charging site for demo and tests: the portal, and the daemon as a process of its own, started from a real configuration file."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from agent.cli.__main__ import call as ask_diagnostics
from agent.domain.tariff import Tariff
from simulator.control import ControlClient
from simulator.portal import Portal
from simulator.wire import Json

START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 10.0
POLL_S: Final = 0.1
TARIFF: Final = Tariff(
    currency="NOK", price_kwh=Decimal("4.50"), price_minute=Decimal("0.50"), price_session=Decimal("5.00"), vat_percent=Decimal(25)
)


Condition = Callable[[], Awaitable[bool]]


class SiteError(Exception):
    """The site did not come to the state that was waited for."""


class Site:
    """`async with` starts everything and takes it down. The charger boots into a portal that does not know it yet."""

    station_id = "CP001"
    serial_number = "SN-0001"
    uid = "7F3K-22QX"
    country = "NO"
    region = "Viken"
    card = "04A1B2C3D4E580"
    """An RFID card that the portal knows."""

    def __init__(
        self,
        directory: Path,
        *,
        version: str = "2.0.1",
        meter: str = "tcp",
        language: str = "en",
        extra: str = "",
        hal_options: str = "",
        sample_interval_s: int = 5,
    ) -> None:
        """`extra` is appended to the configuration file, `hal_options` to its table `[hal.options]`."""
        self.directory = directory
        self.version, self.meter, self.language = version, meter, language
        self.control_socket = directory / "sim.sock"
        self.diagnostics_socket = directory / "diag.sock"
        self.picture = directory / "display.png"
        self.log = directory / "charger-agent.log"
        self.config = directory / "config.toml"
        self.portal = Portal(directory / "portal.db", sample_interval_s=sample_interval_s, pending_interval_s=2)
        self.daemon: asyncio.subprocess.Process | None = None
        self._extra, self._hal_options = extra, hal_options
        self._control: ControlClient | None = None
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self.portal.start()
        self.portal.provision(self.serial_number, self.uid)
        self.write_config()
        try:
            await self.start_daemon()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop_daemon()
        await self.portal.aclose()

    # --- the daemon

    def write_config(self) -> None:
        """The daemon's configuration, the minimal one of the contracts."""
        self.config.write_text(
            f"""[station]
id = "{self.station_id}"
serial_number = "{self.serial_number}"
uid = "{self.uid}"
vendor = "Example"
model = "AC22"
country = "{self.country}"
region = "{self.region}"
lab = true
[ocpp]
url = "{self.portal.ocpp_url}"
versions = ["{self.version}"]
security_profile = 0
[store]
directory = "{self.directory / "state"}"
[diagnostics]
socket = "{self.diagnostics_socket}"
[display]
output = "png"
path = "{self.picture}"
language = "{self.language}"
[hal]
driver = "simulator"
[hal.options]
control_socket = "{self.control_socket}"
meter = "{self.meter}"
{self._hal_options}
[[evse]]
id = 1
max_current_a = 32
phases = 3
{self._extra}
""",
            encoding="utf-8",
        )

    async def start_daemon(self) -> None:
        """Start the daemon and wait until it serves the technician's socket."""
        with self.log.open("ab") as log:
            # In a process group of its own: Ctrl-C in the terminal is for the demo, which then stops the daemon in order.
            self.daemon = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "agent", "--config", str(self.config)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )
        await self.until(self.diagnostics_socket.exists, "the daemon serves its socket")

    async def stop_daemon(self) -> int | None:
        """SIGTERM, and its exit code: 0 when it stopped in order; SIGKILL when it does not stop at all."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self.daemon is None:
            return None
        if self.daemon.returncode is None:
            self.daemon.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                return await self.daemon.wait()
        except TimeoutError:
            self.daemon.kill()
            return await self.daemon.wait()

    async def daemon_ended(self) -> int:
        """Wait for the daemon's end."""
        return 0 if self.daemon is None else await self.daemon.wait()

    async def kill_daemon(self) -> None:
        """SIGKILL."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self.daemon is not None and self.daemon.returncode is None:
            self.daemon.kill()
            await self.daemon.wait()
        self.diagnostics_socket.unlink(missing_ok=True)

    def log_tail(self, lines: int = 30) -> str:
        """The end of the daemon's log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    # --- people

    async def open_for_business(self) -> None:
        """The owner adds the charger, sets the price and switches on "charge with QR"; returns when the display shows the code.

        A charger that has been added in an earlier run on the same directory keeps what its owner has set.
        """
        if not self.portal.chargers():
            self.portal.set_group_price(TARIFF)
            self.portal.add_card(self.card)
            await self.portal.add_charger(serial=self.serial_number, uid=self.uid, country=self.country, region=self.region)
            self.portal.set_charge_with_qr(self.serial_number, enabled=True)
        if self.portal.charger(self.serial_number).charge_with_qr:
            await self.until_async(self._shows_code, "the display shows the payment code")

    async def _shows_code(self) -> bool:
        return await self.qr() is not None and self.picture.exists()

    async def control(self, method: str, **params: Json) -> Json:
        """One call on the simulator's control socket. Raises RpcError with what the world says, OSError while the daemon is away."""
        async with self._opening:
            control = self._control
            if control is None:
                control = self._control = await ControlClient.open(self.control_socket)
        try:
            return await control.call(method, **params)
        except ConnectionError:  # a daemon that restarts itself serves a new socket
            self._control = None
            raise

    async def diagnose(self, method: str, **params: object) -> object:
        """One call on the technician's socket."""
        return await asyncio.to_thread(ask_diagnostics, str(self.diagnostics_socket), method, dict(params))

    async def evse(self) -> dict[str, object]:
        """EVSE 1 as the technician sees it."""
        status = await self.diagnose("status")
        return dict(status["evses"][0])  # type: ignore[index]

    async def qr(self) -> str | None:
        """What the code on the display says now."""
        code = (await self.evse())["qr"]
        return None if code is None else str(code)

    # --- waiting

    async def until(self, condition: Callable[[], bool], what: str, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait for a condition. Raises SiteError with the daemon's log."""

        async def check() -> bool:
            return condition()

        await self.until_async(check, what, timeout_s)

    async def until_async(self, condition: Condition, what: str, timeout_s: float = START_TIMEOUT_S) -> None:
        """The same for a condition that has to ask."""
        try:
            async with asyncio.timeout(timeout_s):
                while not await condition():
                    if self.daemon is not None and self.daemon.returncode is not None:
                        raise SiteError(f"the daemon ended with {self.daemon.returncode} before {what}\n{self.log_tail()}")
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise SiteError(f"not within {timeout_s:g} s: {what}\n{self.log_tail()}") from None
