"""One charger with its world and its portal in this process: the real daemon is started, stopped and killed in it, the world lives on.

Kill: from one moment to the next nothing of the daemon reaches anything any more. Its disk is copied as it is at that moment, its sockets
are closed by this side, and what is left of it may finish in a world of its own, on the old copy of the disk.
"""

import asyncio
import contextlib
import logging
import random
import shutil
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self, cast

from agent.config.loader import load_config
from agent.core.state import Evse, Phase, Station
from agent.domain.errors import StoreError
from agent.domain.notices import TransactionNotice
from agent.domain.records import Record
from agent.domain.transaction import ChargingState
from agent.hal.api import EvseSetup
from agent.metering.modbus import ModbusMeter
from agent.runtime.app import App, Ending
from agent.runtime.check import VALIDATORS
from agent.runtime.engine import Journal
from agent.store.store import FILE_NAME
from simulator.chaos.plan import Plan, SessionState
from simulator.chaos.portal import Manners, RudePortal
from simulator.chaos.witness import EVSE, Witness
from simulator.control import Params
from simulator.demo.site import TARIFF
from simulator.hal import SimulatorDriver
from simulator.network import NetworkMode
from simulator.portal.errors import PortalError
from simulator.rig import Rig
from simulator.virtual_time import VirtualTimeLoop
from simulator.wire import Json, Wire
from simulator.world_process import WorldProcess

STATION: Final = "CP001"
SERIAL: Final = "SN-0001"
UID: Final = "7F3K-22QX"
CARD: Final = "04A1B2C3D4E580"
BEGINNING: Final = datetime(2035, 6, 1, 12, tzinfo=UTC)
"""Later than the real time, which the daemon's board has until it is attached to the world: an earlier time is not believed."""
PRICED_FOR: Final = timedelta(days=800)
"""The price is older than the farthest wrong clock, so that the portal knows one for every session."""
LEAVE_LIMIT_S: Final = 5.0
EXPECTED_ERRORS: Final = ("was refused for the last time and is set aside", "the disk fails, says the chaos")
"""What the daemon rightly calls an error: whether anything is lost by it is what the books tell."""
MOST_ROUNDS: Final = 50_000
MOST_S: Final = 10_000.0
_STATES: Final = {
    ChargingState.CHARGING: SessionState.CHARGING,
    ChargingState.EV_CONNECTED: SessionState.CONNECTING,
}
VARIABLES: Final = {
    "OCPPCommCtrlr.RetryBackOffWaitMinimum": 2,
    "OCPPCommCtrlr.RetryBackOffRandomRange": 0,
    "OCPPCommCtrlr.RetryBackOffRepeatTimes": 1,
    "OCPPCommCtrlr.MessageTimeout[Default]": 10,
    "OCPPCommCtrlr.MessageAttempts[TransactionEvent]": 3,
    "OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]": 2,
    "OCPPCommCtrlr.WebSocketPingInterval": 20,
    "SampledDataCtrlr.TxUpdatedInterval": 10,
    "TxCtrlr.EVConnectionTimeOut": 40,
}


class Standstill(Exception):
    """Something goes round and round."""


class LastingWorld(WorldProcess):
    """The world beside the daemon, in its process: the board's clock is counted in the loop's time."""

    def __init__(self, path: Path, rig: Rig, true_utc: Callable[[], datetime]) -> None:
        self._true_utc = true_utc
        self._clock_error: timedelta | None = timedelta(0)
        super().__init__(path, rig)

    def set_clock(self, utc: datetime | None) -> None:
        """Set the clock of the daemon's board, now and after every start."""
        self._clock_error = None if utc is None else utc - self._true_utc()
        super().set_clock(utc)

    def _attach(self, params: Params, wire: Wire) -> Json:
        reply = cast("dict[str, Json]", super()._attach(params, wire))
        wrong = self._clock_error
        offset = None if wrong is None else (self._true_utc() + wrong - datetime.now(UTC)).total_seconds()
        return {**reply, "clock_offset_s": offset}


class _ErrorLog(logging.Handler):
    """What the daemon logs as an error is a bug or lost data."""

    def __init__(self, report: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if any(known in text for known in EXPECTED_ERRORS):
            return
        if record.exc_info and record.exc_info[1] is not None:
            text += f": {record.exc_info[1]!r}"
        self._report(f"log: {record.name}: {text}")


@dataclass(slots=True)
class Disk:
    """How the disk is now: what a commit of the daemon's engine meets on its way to the store."""

    delay_s: float = 0.0
    is_failing: bool = False

    def mend(self) -> None:
        """Work."""
        self.delay_s, self.is_failing = 0.0, False


class _Journal:
    """The engine's way to the store, over a disk that may be slow or fail."""

    def __init__(self, store: Journal, disk: Disk) -> None:
        self._store, self._disk = store, disk

    async def commit(self, records: Sequence[Record], notices: Sequence[TransactionNotice]) -> None:
        if self._disk.delay_s:
            await asyncio.sleep(self._disk.delay_s)
        if self._disk.is_failing:
            raise StoreError("the disk fails, says the chaos")
        await self._store.commit(records, notices)


class _App(App):
    """The daemon, on such a disk."""

    disk_state: Disk
    read_every_s: float

    def _build_engine(self, station: Station) -> None:
        super()._build_engine(station)
        self.engine._journal = _Journal(self.store, self.disk_state)  # noqa: SLF001 - the one place between deciding and the disk

    async def _build_meters(self, stack: contextlib.AsyncExitStack) -> None:
        await super()._build_meters(stack)
        for meter in self.meters.values():
            if isinstance(meter, ModbusMeter):
                meter._spec = replace(meter._spec, interval_s=self.read_every_s)  # noqa: SLF001 - no option of the product


class ChaosSite:
    """`async with` starts portal, world and daemon. Everything that must not happen is in `violations`."""

    def __init__(self, folder: Path, plan: Plan, *, sample_interval_s: int = 10) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        self._loop = loop
        self._folder = folder
        self._plan = plan
        self._sample_interval_s = sample_interval_s
        self._began_at = loop.time()
        self._utc_shift = timedelta(0)
        self._token_chance = random.Random(f"tokens/{plan.seed}")
        self.violations: list[str] = []
        self.manners = Manners()
        self.disk_state = Disk()
        self.portal: RudePortal | None = None
        self._portal_port = 0
        self.rig = Rig([EvseSetup(evse_id=EVSE, max_current_a=32, phases=3, has_lock=plan.has_lock)], timers=loop, seed=plan.seed)
        self.world = LastingWorld(folder / "sim.sock", self.rig, self.true_utc)
        self.witness = Witness(self.rig.world)
        self.app: App | None = None
        self._living: asyncio.Task[None] | None = None
        self._boot = 1
        self._disk = 1
        self._starts = 0
        self._leaving_since: float | None = None
        self._spawned: set[asyncio.Task[object]] = set()
        self._ghosts: set[asyncio.Task[None]] = set()
        self._bay = self.rig.world._bays[EVSE]  # noqa: SLF001 - looked at in every round of the loop; `state` is too slow for that
        self._cycles = 0
        self._watched: tuple[SessionState, asyncio.Event] | None = None
        self._state = SessionState.OFF
        self._turned = asyncio.Event()
        self._fuse: tuple[int, Callable[[], None]] | None = None
        self._jumps, self._rounds = 0, 0
        self._log = _ErrorLog(self.violate)

    # --- life

    async def __aenter__(self) -> Self:
        self._loop.on_turn = self._turn
        self._guard = self._loop.call_later(MOST_S + 1, lambda: None)  # so that time passes even where everybody waits for ever
        self._loop.set_exception_handler(self._loop_failed)
        logging.getLogger("agent").addHandler(self._log)
        await self.world.start()
        await self._open_for_business()
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.leave()
        finally:
            for task in tuple(self._spawned):
                task.cancel()
            await asyncio.gather(*self._spawned, return_exceptions=True)
            await self.stop_portal()
            await asyncio.gather(*self._ghosts, return_exceptions=True)
            await self.world.aclose()
            self._loop.on_turn = None
            self._guard.cancel()
            logging.getLogger("agent").removeHandler(self._log)

    def violate(self, text: str) -> None:
        """Note something that must not happen."""
        if text not in self.violations:
            self.violations.append(text)

    def true_utc(self) -> datetime:
        """The one true time."""
        return BEGINNING + self._utc_shift + timedelta(seconds=self._loop.time() - self._began_at)

    def _loop_failed(self, _: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        self.violate(f"loop: {context.get('message')}: {context.get('exception')!r}")

    # --- the portal

    async def _open_for_business(self) -> None:
        self._utc_shift = -PRICED_FOR
        portal = await self.start_portal()
        portal.provision(SERIAL, UID)
        for card in (CARD, *(f"04FE{number:06X}" for number in range(1, 40))):
            portal.add_card(card)
        portal.set_group_price(TARIFF)
        await portal.add_charger(serial=SERIAL, uid=UID, country="NO", region="Viken")
        portal.set_charge_with_qr(SERIAL, enabled=True)
        self._utc_shift = timedelta(0)

    async def start_portal(self) -> RudePortal:
        """Open the portal's file and listen, where it listened before."""
        portal = RudePortal(
            self._folder / "portal.db",
            clock=self.true_utc,
            token_hex=lambda count: self._token_chance.randbytes(count).hex(),
            heartbeat_interval_s=60,
            pending_interval_s=2,
            sample_interval_s=self._sample_interval_s,
            call_timeout_s=10,
            start_timeout_s=60,
            qr_template="https://pay.example/{chargingstationid}/{evse}",
        )
        portal.manners = self.manners
        await portal.start(port=self._portal_port, web_port=None)
        self._portal_port = portal.port
        self.portal = portal
        return portal

    async def stop_portal(self) -> None:
        """The portal goes away; its file stays."""
        portal, self.portal = self.portal, None
        if portal is not None:
            await portal.aclose()

    # --- the daemon

    @property
    def disk(self) -> Path:
        """The directory that the daemon writes to now."""
        return self._folder / f"disk{self._disk}"

    @property
    def is_on(self) -> bool:
        """Whether there is a daemon."""
        return self._living is not None

    def start(self) -> None:
        """Start the daemon as its service does: again whenever it asks for a restart."""
        if self._living is None:
            self._leaving_since = None
            self._living = self._loop.create_task(self._live(), name="daemon")

    def reboot(self) -> None:
        """The next start is in another boot of the kernel."""
        self._boot += 1

    async def _live(self) -> None:
        while True:
            self._starts += 1
            app = _App(load_config(self._config(), VALIDATORS), boot_id=f"{self._boot:08d}-boot")
            app.disk_state, app.read_every_s = self.disk_state, self._plan.read_every_s
            self.app = app
            if await app.run() is Ending.EXIT:
                return

    def _config(self) -> Path:
        assert self._portal_port
        path = self._folder / "config.toml"
        connector = '[[evse.connector]]\ncable = "socket"\n' if self._plan.has_lock else ""
        variables = "\n".join(f'"{name}" = {value}' for name, value in VARIABLES.items())
        path.write_text(
            f"""[station]
id = "{STATION}"
serial_number = "{SERIAL}"
uid = "{UID}"
vendor = "Example"
model = "AC22"
country = "NO"
region = "Viken"
lab = true
[ocpp]
url = "ws://127.0.0.1:{self._portal_port}/"
versions = ["{self._plan.version}"]
security_profile = 0
[store]
directory = "{self.disk}"
[diagnostics]
socket = "{self._folder / f"diag{self._starts}.sock"}"
[hal]
driver = "simulator"
[hal.options]
world = "{self._folder / "sim.sock"}"
[session]
power_loss_policy = "{self._plan.power_loss_policy}"
[[evse]]
id = 1
max_current_a = 32
phases = 3
{connector}
[variables]
{variables}
""",
            encoding="utf-8",
        )
        return path

    async def leave(self) -> None:
        """SIGTERM, and wait for the end."""
        living, app = self._living, self.app
        if living is None:
            return
        if app is None or not app.is_running.is_set() or living.done():
            await self._until_up_or_over(living)
            app = self.app
        begun = self._loop.time()
        if app is not None and not living.done():
            app.leave()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([living])
            if not living.cancelled():
                living.result()
        if self._living is not living:
            return  # killed while it left
        if self._loop.time() - begun > LEAVE_LIMIT_S:
            self.violate(f"leave: took {self._loop.time() - begun:.2f} s of {LEAVE_LIMIT_S:g} s")
        self._living = self.app = None
        self.witness.disk_seen(self.disk)

    async def _until_up_or_over(self, living: asyncio.Task[None]) -> None:
        async with asyncio.timeout(60):
            while not living.done() and (self.app is None or not self.app.is_running.is_set()):  # noqa: ASYNC110 - no event spans two of them
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL: nothing of the daemon reaches disk, portal or world from here on."""
        living, app = self._living, self.app
        if living is None:
            return
        self._living = self.app = None
        self._fuse = None
        new = self._folder / f"disk{self._disk + 1}"
        old = self.disk
        self._disk += 1
        new.mkdir()
        for suffix in ("", "-wal"):
            file = old / f"{FILE_NAME}{suffix}"
            if file.exists():
                shutil.copy(file, new)
        self.witness.disk_seen(new)
        driver = None if app is None else getattr(app, "driver", None)
        if isinstance(driver, SimulatorDriver):
            _cut_off(driver)
        living.cancel()
        self._ghosts.add(living)

    def blow_in(self, rounds: int, blow: Callable[[], None]) -> None:
        """Do something after so many rounds of the event loop, wherever everything is then."""
        self._fuse = (rounds, blow)

    # --- looking

    @property
    def state(self) -> SessionState:
        """Where the session is."""
        app = self.app
        if app is None or not app.is_running.is_set():
            return SessionState.OFF
        return session_state(app.engine.station.evses[0])

    async def comes_to(self, state: SessionState, timeout_s: float) -> bool:
        """Wait until the session is in a state, however short it is there."""
        if self.state is state:
            return True
        came = asyncio.Event()
        self._watched = (state, came)
        try:
            async with asyncio.timeout(timeout_s):
                await came.wait()
        except TimeoutError:
            return False
        finally:
            self._watched = None
        return True

    async def changes(self, timeout_s: float) -> bool:
        """Wait until the session is in another state."""
        before = self.state
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.state is before:
                    self._turned.clear()
                    await self._turned.wait()
        return self.state is not before

    def _turn(self) -> None:
        """In every round of the loop, before time can pass."""
        self._rounds = self._rounds + 1 if self._loop.jumps == self._jumps else 0
        self._jumps = self._loop.jumps
        if self._rounds > MOST_ROUNDS:
            self._loop.on_turn = None
            raise Standstill(f"{MOST_ROUNDS} rounds of the loop and no time passed; waiting: {self._loop.waiting()}")
        if self._loop.time() - self._began_at > MOST_S:
            waits = [f"{task.get_name()} {task.get_stack(limit=1)}" for task in asyncio.all_tasks(self._loop)]
            self._loop.on_turn = None
            raise Standstill(f"not over after {MOST_S:g} s: {waits}")
        state = self.state
        if state is not self._state:
            self._state = state
            self._turned.set()
        if self._watched is not None and self._watched[0] is state:
            self._watched[1].set()
        app = self.app
        transaction_id = None
        if state is not SessionState.OFF and app is not None:
            evse = app.engine.station.evses[0]
            if evse.transaction is not None:
                transaction_id = evse.transaction.transaction_id
                if self.witness.is_frozen and evse.transaction.ended_at is None:
                    self.witness.lied_to.add(transaction_id)
                if evse.phase is Phase.TRANSACTION:
                    self.witness.transaction_began(transaction_id)
        if self._bay.cycles != self._cycles:
            self._cycles = self._bay.cycles
            self.witness.contactor_closed(self.disk, transaction_id)
        if self._fuse is not None:
            rounds, blow = self._fuse
            self._fuse = None if rounds <= 0 else (rounds - 1, blow)
            if rounds <= 0:
                blow()

    # --- people's calls that may fail

    def spawn(self, work: Coroutine[object, object, object]) -> None:
        """Do something beside the run. The portal's refusals are part of life."""
        task = self._loop.create_task(self._suppressing(work))
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)

    async def _suppressing(self, work: Coroutine[object, object, object]) -> None:
        with contextlib.suppress(PortalError):
            await work

    def set_network(self, mode: NetworkMode) -> None:
        """The way between charger and portal."""
        self.world.set_network(mode)


def session_state(evse: Evse) -> SessionState:
    """The state of the session on one EVSE."""
    record = evse.transaction
    match evse.phase:
        case Phase.STOPPING:
            return SessionState.STOPPING
        case Phase.RECOVERING:
            return SessionState.RECOVERING
        case Phase.TRANSACTION if record is not None:
            return _STATES.get(record.charging_state, SessionState.SUSPENDED)
        case _ if evse.authorization is not None:
            return SessionState.STARTING if evse.plugged_at is not None else SessionState.AUTHORIZED
        case Phase.FINISHED:
            return SessionState.FINISHED
        case _:
            return SessionState.PLUGGED if evse.plugged_at is not None else SessionState.FREE


def _cut_off(driver: SimulatorDriver) -> None:
    """What the kernel does for a killed process: its sockets are closed, after everything that was sent on them."""
    if driver.board.network.mode is not NetworkMode.BLACKHOLE:
        driver.board.network.set_mode(NetworkMode.CLOSE)
    attached, driver._host = driver._attached, None  # noqa: SLF001 - a ghost gives no orders, not even those of its end
    if attached is not None:
        with contextlib.suppress(StopIteration):
            attached.aclose().send(None)  # it waits for nothing
