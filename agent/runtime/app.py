"""The composition root: builds every part from the configuration, runs them together, and takes them down in order."""

import asyncio
import logging
import math
import socket
import uuid
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Final, cast

import agent
from agent.config.model import Cable, Config, DisplayConfig
from agent.core import variables as var
from agent.core.state import EvseConfig, MeterLossPolicy, PowerLossPolicy, Station, StationConfig
from agent.core.station import new_station
from agent.core.variables import Variables
from agent.core.view import station_view
from agent.domain.authorization import IdToken
from agent.domain.commands import ResetKind
from agent.domain.connector import FaultKind
from agent.domain.errors import HalError
from agent.domain.events import (
    ContactorRefused,
    ContactorReported,
    Event,
    FaultCleared,
    FaultRaised,
    IdTokenPresented,
    LinkChanged,
    LinkState,
    LockReported,
    MeterDiscontinuity,
    MeterLost,
    MeterRead,
    PilotMeasured,
    Started,
    StopRequested,
    StoreFailed,
)
from agent.domain.ids import EvseId, RequestId, TransactionId
from agent.domain.interlock import Interlock
from agent.domain.metering import Discontinuity, Reading
from agent.domain.pilot import PilotState
from agent.domain.records import Recovered
from agent.domain.screen import StationView
from agent.fieldbus.bus import BusPool
from agent.hal.api import EvseSetup, HalDriver, HalSetup, NetworkLink
from agent.hal.guard import Guard
from agent.hal.registry import open_driver
from agent.metering.api import Meter, MeterSpec, open_meter
from agent.metering.lifetime import LifetimeState
from agent.ocpp_client.adapter import BootInfo, VersionAdapter
from agent.ocpp_client.backoff import BackOff
from agent.ocpp_client.client import ClientTuning, OcppClient
from agent.ocpp_client.transport import ClientSettings
from agent.ocpp_client.versions import load_adapter
from agent.qr_display.content import Code, CodeSources, expand_template
from agent.runtime import systemd
from agent.runtime.certificates import INSECURE, CertificateWatch
from agent.runtime.clock import BoardClock, Clock, SystemClock, kernel_boot_id
from agent.runtime.engine import Engine, Hooks
from agent.runtime.keeper import Csms, Keeper, KeeperSettings
from agent.runtime.queue_gauge import QueueGauge
from agent.runtime.recorder import FRAMES, Recorder
from agent.runtime.timekeeper import LOOK_S, Timekeeper
from agent.runtime.variables import initial_variables
from agent.store.store import Store

if TYPE_CHECKING:
    from agent.qr_display.api import Output
    from agent.qr_display.display import DisplaySettings

_log = logging.getLogger("agent.app")

LEAVE_S: Final = 4.5
"""SIGTERM: the process is gone within 5 s, whatever hangs."""
FLUSH_S: Final = 1.0
"""At the end the disk gets this long for what it has not taken yet; after SIGTERM what is left of GONE_S."""
GONE_S: Final = 4.8
DRAIN_S: Final = 8.0
"""A commanded soft reset waits this long for the outbox to be delivered."""
BEGIN_S: Final = 2.0
"""Meters and display begin this long after the client at the latest, whatever the network does."""
CHANGE_SHOWN_S: Final = 0.05
CLOCK_SHOWN_S: Final = 1.0
"""How often a running time is shown; a change does not wait for it."""
STORE_STUCK_S: Final = 15.0
DISK_LOOK_S: Final = 15.0
ENGINE_STUCK_MS: Final = 10_000
LIFETIME_STEP_MS: Final = 60_000
VOLTAGE: Final = 230


class Ending(StrEnum):
    """Why the application came to its end."""

    EXIT = "exit"
    RESTART = "restart"


def station_config(config: Config) -> StationConfig:
    """What the core needs of the configuration."""
    return StationConfig(
        evses=tuple(
            EvseConfig(
                evse_id=EvseId(evse.id),
                max_current_a=Decimal(evse.max_current_a),
                phases=evse.phases,
                has_lock=evse.connector[0].has_lock,
                is_tethered=evse.connector[0].cable is Cable.TETHERED,
            )
            for evse in config.evse
        ),
        station_id=config.station.id,
        language="en" if config.display is None else config.display.language.value,
        on_meter_loss=MeterLossPolicy(config.session.on_meter_loss.value),
        meter_loss_timeout_s=config.session.meter_loss_timeout_s,
        power_loss_policy=PowerLossPolicy(config.session.power_loss_policy.value),
        resume_within_min=config.session.resume_within_min,
    )


def client_tuning(variables: Variables) -> ClientTuning:
    """The OCPP variables that the connection obeys."""
    return ClientTuning(
        heartbeat_s=variables.integer(var.HEARTBEAT_INTERVAL),
        ping_s=variables.integer(var.WEBSOCKET_PING_INTERVAL),
        message_timeout_s=variables.integer(var.MESSAGE_TIMEOUT),
        attempts=variables.integer(var.MESSAGE_ATTEMPTS),
        attempt_interval_s=variables.integer(var.MESSAGE_ATTEMPT_INTERVAL),
        back_off=BackOff(
            wait_minimum_s=variables.integer(var.BACK_OFF_WAIT_MINIMUM),
            random_range_s=variables.integer(var.BACK_OFF_RANDOM_RANGE),
            repeat_times=variables.integer(var.BACK_OFF_REPEAT_TIMES),
        ),
        offline_threshold_s=variables.integer(var.OFFLINE_THRESHOLD),
    )


class DirectLink:
    """The way to the CSMS through the operating system's routes."""

    async def connect(self, host: str, port: int) -> socket.socket:
        """A connected TCP socket. Raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        failure: OSError | None = None
        for family, kind, protocol, _, address in found:
            sock = socket.socket(family, kind, protocol)
            sock.setblocking(False)
            try:
                await loop.sock_connect(sock, address)
            except OSError as error:
                sock.close()
                failure = error
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        raise failure or OSError(f"no address for {host}")


class _Reports:
    """Turns what hardware, meters and the connection report into events for the engine."""

    def __init__(self, app: "App") -> None:
        self._app = app

    def pilot_measured(self, evse_id: EvseId, state: PilotState) -> None:
        self._post(PilotMeasured(evse_id, state))

    def contactor_reported(self, evse_id: EvseId, *, is_closed: bool) -> None:
        self._post(ContactorReported(evse_id, is_closed))

    def lock_reported(self, evse_id: EvseId, *, is_locked: bool) -> None:
        self._post(LockReported(evse_id, is_locked))

    def fault_changed(self, evse_id: EvseId | None, fault: FaultKind, *, is_present: bool, detail: str = "") -> None:
        self._post(FaultRaised(evse_id, fault, detail) if is_present else FaultCleared(evse_id, fault))
        if fault is FaultKind.POWER_LOSS and is_present:
            self._app.flush_store()

    def id_token_presented(self, evse_id: EvseId | None, id_token: IdToken) -> None:
        self._post(IdTokenPresented(evse_id, id_token, RequestId(new_id()), TransactionId(new_id())))

    def contactor_refused(self, evse_id: EvseId, interlock: Interlock) -> None:
        self._post(ContactorRefused(evse_id, interlock))

    def on_reading(self, reading: Reading) -> None:
        self._post(MeterRead(reading))
        self._app.keep_lifetime(reading)

    def on_lost(self, evse_id: EvseId, reason: str) -> None:
        self._post(MeterLost(evse_id, reason))

    def on_recovered(self, evse_id: EvseId) -> None:
        _log.info("meter answers again evse_id=%d", evse_id)

    def on_discontinuity(self, evse_id: EvseId, kind: Discontinuity, last_good: Reading | None, first_new: Reading) -> None:
        self._post(MeterDiscontinuity(evse_id, kind, last_good, first_new))

    def clock_reported(self, utc: datetime, took: timedelta) -> None:
        self._app.csms_time(utc, took)

    def post(self, event: Event) -> None:
        self._post(event)
        if isinstance(event, LinkChanged) and event.state is LinkState.ACCEPTED:
            self._app.csms_accepted()

    def _post(self, event: Event) -> None:
        self._app.post(event)


def new_id() -> str:
    """A fresh UUID, 36 characters."""
    return str(uuid.uuid4())


class App:
    """One charger. `run` builds it, runs it and takes it down; the parts are reachable while it runs, for diagnostics and tests."""

    engine: Engine
    store: Store
    client: OcppClient
    clock: Clock
    timekeeper: Timekeeper
    guard: Guard
    driver: HalDriver
    buses: BusPool
    recorder: Recorder
    keeper: Keeper

    def __init__(self, config: Config, *, boot_id: str | None = None) -> None:
        self.config = config
        self.meters: dict[EvseId, Meter] = {}
        self.boot_id = boot_id or kernel_boot_id()
        self.is_running = asyncio.Event()
        self.began_s = 0.0
        """The loop's time at the start of `run`."""
        self._ending: asyncio.Future[Ending] | None = None
        self._early: list[Event] = []
        self._is_engine_ready = False
        self._is_leaving = False
        self._gone_by = math.inf
        self._showers: list[Callable[[StationView], None]] = []
        self._view_timer: asyncio.TimerHandle | None = None
        self._view_wanted = False
        self._last_view: StationView | None = None
        self._tasks: set[asyncio.Task[object]] = set()
        self._cold_adapters: dict[str, VersionAdapter] = {}

    # --- life

    async def run(self) -> Ending:
        """Run until an orderly end. Raises HalError, MeterConfigError, StoreError or VariableError where it cannot begin."""
        loop = asyncio.get_running_loop()
        self._ending = loop.create_future()
        self.began_s = loop.time()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._cancel_spawned)
            await self._build(stack)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self.engine.run(), name="engine"), group.create_task(self.client.run(), name="ocpp")]
                tasks.append(group.create_task(self._watchdog(), name="watchdog"))
                tasks.append(group.create_task(self._keep_time(), name="clock"))
                tasks.append(group.create_task(self._watch_disk(), name="disk"))
                try:
                    await self._let_the_client_begin()
                    tasks += [group.create_task(meter.run(), name=f"meter {evse_id}") for evse_id, meter in self.meters.items()]
                    self.is_running.set()
                    systemd.notify("READY=1")
                    ending = await asyncio.shield(self._ending)
                finally:
                    systemd.notify("STOPPING=1")
                    # Whatever ended it, a bug of ours too: energy first, then the disk and everything that may take its time.
                    for evse in self.config.evse:
                        with suppress(LookupError):
                            self.guard.revoke(EvseId(evse.id))
                    with suppress(TimeoutError):
                        async with asyncio.timeout_at(min(loop.time() + FLUSH_S, self._gone_by)):
                            await self.engine.flushed()
                    for task in tasks:
                        task.cancel()
        # Told to go while a commanded reset is under way: who stops the service does not want it back.
        return Ending.EXIT if self._is_leaving else ending

    async def _let_the_client_begin(self) -> None:
        """Meters and display import much, which takes seconds on a small board: the CSMS hears of this station first, if it can."""
        await self._first_message()
        self._view_wanted = bool(self._showers)
        self._want_view()

    async def _first_message(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(BEGIN_S):
                await self.client.has_begun.wait()

    def leave(self) -> None:
        """SIGTERM, SIGINT: bring everything to rest and end."""
        systemd.notify("STOPPING=1")
        self._is_leaving = True
        if not self._is_engine_ready:
            self._end(Ending.EXIT)
            return
        loop = asyncio.get_running_loop()
        self._gone_by = min(self._gone_by, loop.time() + GONE_S)
        loop.call_later(LEAVE_S, self._end, Ending.EXIT)
        self.engine.post(StopRequested())

    def post(self, event: Event) -> None:
        """Give an event to the engine; kept until it is there."""
        if self._is_engine_ready:
            self.engine.post(event)
        else:
            self._early.append(event)

    async def _build(self, stack: AsyncExitStack) -> None:
        config = self.config
        self.driver = open_driver(config.hal.driver, self._hal_setup())
        board = cast("BoardClock", getattr(self.driver, "clock", None) or SystemClock())
        self.clock = Clock(board, self.boot_id)
        self.store = await Store.open(
            config.store.directory,
            boot_id=self.boot_id,
            now=self.clock.now,
            station_id=config.station.id,
            max_bytes=config.store.max_bytes,
        )
        stack.push_async_callback(self.store.aclose)
        self._remember_time()
        recovered = await self.store.recover()
        for remark in self.store.remarks:
            _log.warning("storage: %s", remark)

        reports = _Reports(self)
        self.guard = Guard(reports, on_refused=reports.contactor_refused)
        stack.push_async_callback(self.driver.aclose)
        # Closed after the contactors are open, and before anything that may take its time.
        self.recorder = await stack.enter_async_context(self._flight_recorder())
        await self.guard.start(self.driver)
        stack.callback(self.guard.close_down)

        has_input = bool(getattr(self.driver, "has_power_fail_input", False))
        _log.info("the board %s a power-fail input", "has" if has_input else "has not")
        sells = self.driver.permission_expires or config.station.lab
        station = new_station(station_config(config), initial_variables(config, sells=sells), self.clock.now())
        self._build_engine(station)
        stack.callback(self._stop_deciding)
        self._build_client(recovered)
        self.keeper = self._keeper()
        await self._build_meters(stack)
        self._build_display(stack)
        await self._build_diagnostics(stack)
        self._begin(recovered)
        self._spawn(self.keeper.run())

    def _keeper(self) -> Keeper:
        config = self.config
        return Keeper(
            self.store,
            KeeperSettings(
                station_id=config.station.id,
                retention_days=config.store.retention_days,
                device_key_file=config.station.device_key_file,
            ),
            now=self.clock.now,
            trust=lambda: self.clock.trust,
            peer=Csms(self.client),
            wants_head=lambda: self.engine.station.variables.boolean(var.LEDGER_SEND_HEAD),
        )

    def _build_engine(self, station: Station) -> None:
        self.engine = Engine(
            station,
            now=self.clock.now,
            new_id=new_id,
            actuators=self.guard,
            journal=self.store,
            hooks=Hooks(
                read_meter=self._read_meter,
                restart=self._restart,
                exit=lambda: self._end(Ending.EXIT),
                changed=self._want_view,
                variables_changed=lambda variables: self.client.tune(client_tuning(variables)),
                decided=self.recorder.decided,
                failed=self.recorder.failed,
                storage_refusal=lambda: self.store.refusal,
            ),
        )
        self.timekeeper = Timekeeper(self.clock, self.store, self.engine, alarm_after_h=self.config.clock.alarm_after_h)

    def _flight_recorder(self) -> Recorder:
        def frames() -> list[tuple[int, str, str]]:
            seen = self.client.newest_frames(FRAMES) if self._is_engine_ready else ()
            return [(int(frame.at_s * 1000), frame.direction.value, frame.text) for frame in seen]

        return Recorder(self.config.store.directory / "flight", secrets=(self.config.station.uid,), frames=frames)

    def _build_client(self, recovered: Recovered) -> None:
        config = self.config
        if config.ocpp.security_profile in INSECURE:
            _log.warning("INSECURE connection to the CSMS: %s", INSECURE[config.ocpp.security_profile])
        numbers = {EvseId(evse.id): evse.id for evse in config.evse}
        table = self.engine.station.variables.definitions()
        adapters = [load_adapter(version, definitions=table, clock=self.store, connectors=numbers) for version in config.ocpp.versions]
        self._cold_adapters = {adapter.subprotocol: adapter for adapter in adapters}
        self.client = OcppClient(
            settings=ClientSettings(
                station_id=config.station.id,
                url=config.ocpp.url,
                security_profile=config.ocpp.security_profile,
                password_file=config.ocpp.password_file,
                ca_file=config.ocpp.ca_file,
            ),
            adapters=self._cold_adapters,
            outbox=self.store,
            refs=self.store,
            sink=_Reports(self),
            network=cast("NetworkLink", getattr(self.driver, "network", None) or DirectLink()),
            boot_info=BootInfo(
                vendor=config.station.vendor,
                model=config.station.model,
                serial_number=config.station.serial_number,
                firmware_version=config.station.firmware_version or agent.__version__,
                reason=boot_reason(recovered, self.boot_id),
            ),
            new_id=new_id,
            time_source=self.clock,
        )
        self.engine.peer = self.client

    def _remember_time(self) -> None:
        """What the disk knows about the time."""
        self.clock.set_floor(self.store.time_floor)
        self.clock.set_last_synchronized(self.store.synchronized_at)
        anchor = self.store.anchor(self.boot_id)
        if anchor is not None and anchor.utc is not None:
            self.clock.resume(anchor.mono_ms, anchor.utc)

    async def _keep_time(self) -> None:
        # What it asks the kernel with is imported then; the first message does not wait for it.
        await self._first_message()
        watch, gauge = CertificateWatch(self.engine), QueueGauge(self.engine)
        while True:
            self.timekeeper.look()
            gauge.look(self.store.queue_depth, self.store.queue_room)
            watch.look(self.client.status().chain, self.clock.now().utc)
            await asyncio.sleep(LOOK_S)

    async def _build_meters(self, stack: AsyncExitStack) -> None:
        self.buses = await stack.enter_async_context(BusPool())
        reports = _Reports(self)
        for evse in self.config.evse:
            evse_id = EvseId(evse.id)
            built_in = self.driver.meter(evse_id)
            if evse.meter is not None:
                driver, template, url = evse.meter.driver, evse.meter.template, evse.meter.url
            elif built_in is not None:
                driver, template, url = "modbus", built_in.template, built_in.url
            else:
                self._early.append(MeterLost(evse_id, "no meter is configured: add [evse.meter]"))
                continue
            power_w = Decimal(VOLTAGE * evse.max_current_a * evse.phases)
            kept = self.store.lifetime(evse_id)
            resume = None
            if kept is not None:
                resume = LifetimeState(total_wh=kept.total_wh, register_wh=kept.register_wh, at=kept.at, serial_number=kept.serial_number)
            spec = MeterSpec(evse_id=evse_id, driver=driver, template=template, url=url, max_power_w=power_w, resume=resume)
            self.meters[evse_id] = open_meter(spec, buses=self.buses, sink=reports, now=self.clock.now)

    def _begin(self, recovered: Recovered) -> None:
        self._is_engine_ready = True
        self.engine.post(Started(recovered))
        self.client.tune(client_tuning(self.engine.station.variables))
        early, self._early = self._early, []
        for event in early:
            self.engine.post(event)
        if not self.store.is_durable:
            self.engine.post(StoreFailed(self.store.trouble))
        else:
            self.engine.judge_storage()

    def _hal_setup(self) -> HalSetup:
        evses = tuple(
            EvseSetup(evse_id=EvseId(evse.id), max_current_a=evse.max_current_a, phases=evse.phases, has_lock=evse.connector[0].has_lock)
            for evse in self.config.evse
        )
        return HalSetup(evses=evses, options=self.config.hal.options)

    # --- what the engine and the connection call

    def csms_time(self, utc: datetime, took: timedelta = timedelta()) -> None:
        """The CSMS told its time, so long after it was asked."""
        self.timekeeper.told(utc, took)

    def keep_lifetime(self, reading: Reading) -> None:
        """Keep the lifetime register for statistics: once a minute is enough, the meter's own register survives."""
        kept = self.store.lifetime(reading.evse_id)
        meter = self.meters.get(reading.evse_id)
        if meter is None or (kept is not None and reading.at.ms_since(kept.at) < LIFETIME_STEP_MS and kept.at.boot_id == self.boot_id):
            return
        state = meter.status().lifetime
        if state is not None:
            self.store.save_lifetime(
                reading.evse_id, total_wh=state.total_wh, register_wh=state.register_wh, at=state.at, serial_number=state.serial_number
            )

    def csms_accepted(self) -> None:
        """Compile what judges the frames of this version, beside the loop: the first question of the CSMS shall not wait for it."""
        adapter = self._cold_adapters.pop(self.client.status().subprotocol or "", None)
        if adapter is not None:
            self._spawn(asyncio.to_thread(adapter.warm))

    def flush_store(self) -> None:
        """The supply is failing: what waits to ride with a later commit goes to disk with the one that is under way, or now."""
        self._spawn(self.store.flush())

    def _read_meter(self, evse_id: EvseId) -> None:
        meter = self.meters.get(evse_id)
        if meter is not None:
            meter.read_now()

    def _restart(self, kind: ResetKind, drains: bool) -> None:
        _log.info("restarting kind=%s", kind)
        self._spawn(self._drain_then_restart(DRAIN_S if drains else 0.0))

    async def _drain_then_restart(self, wait_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while not self.client.drained():  # noqa: ASYNC110 - a reset is rare, and waits for a few answers of the CSMS
                    await asyncio.sleep(0.1)
        await self.client.aclose()
        self._end(Ending.RESTART)

    def _end(self, ending: Ending) -> None:
        if self._ending is not None and not self._ending.done():
            self._ending.set_result(ending)

    def _spawn(self, work: Coroutine[object, object, object]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._spawned_ended)

    def _spawned_ended(self, task: asyncio.Task[object]) -> None:
        """Nothing that charging depends on runs here: a bug in it is told, and the charger goes on."""
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("%s failed", task.get_coro(), exc_info=task.exception())

    async def _cancel_spawned(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _stop_deciding(self) -> None:
        self.engine.close()
        if self._view_timer is not None:
            self._view_timer.cancel()
        self._view_wanted = False

    async def _watch_disk(self) -> None:
        """Notice a disk that became full or read-only also while nothing is written. Costs the flash nothing."""
        while True:
            await asyncio.sleep(DISK_LOOK_S)
            await self.store.look_at_disk()
            if self.store.is_opened_for_writing:
                self.engine.judge_storage()

    async def _watchdog(self) -> None:
        """Feed systemd's watchdog while the loop, the store and the guard make progress."""
        interval, was_stuck = systemd.watchdog_interval(), False
        while interval is not None:
            stuck = self._stuck()
            if stuck is None:
                systemd.notify("WATCHDOG=1")
            else:
                _log.error("the watchdog is not fed: %s", stuck)
                if not was_stuck:
                    self.recorder.freeze("stuck", stuck)
            was_stuck = stuck is not None
            await asyncio.sleep(interval)

    def _stuck(self) -> str | None:
        if self.store.busy_s >= STORE_STUCK_S:
            return f"the store has been busy for {self.store.busy_s:.0f} s"
        if not self.guard.is_watching:
            return "the guard's thread has ended"
        late_ms = self.engine.overdue_ms()
        return f"the engine is {late_ms} ms behind its own deadline" if late_ms >= ENGINE_STUCK_MS else None

    # --- the display

    def payload(self, evse_id: EvseId) -> str | None:
        """The text of an EVSE's payment code, None where no template gives one."""
        template = self.engine.station.variables.text(var.WEB_PAYMENTS_TEMPLATE) or self.config.qr.template
        if not template:
            return None
        roaming = next((evse.roaming_evse_id for evse in self.config.evse if evse.id == evse_id), "")
        code = expand_template(
            template,
            CodeSources(
                charging_station_id=self.config.station.id,
                evse=evse_id,
                serial_number=self.config.station.serial_number,
                roaming_evse_id=roaming or None,
            ),
        )
        return code.payload if isinstance(code, Code) else None

    def view(self) -> StationView:
        """What the display shall show now."""
        return station_view(self.engine.station, self.clock.now(), self.payload)

    def _build_display(self, stack: AsyncExitStack) -> None:
        showers: list[Callable[[StationView], None]] = []
        port = getattr(self.driver, "display", None)
        if port is not None:
            showers.append(lambda view: port.show_png(view, lambda: self.draw(view)))
        if self.config.display is not None:
            showers.append(self._configured_display(stack))
        if showers:
            self._showers = showers

    def draw(self, view: StationView) -> bytes:
        """A view as PNG in the configured size. Blocks for some milliseconds: call it in a thread."""
        from agent.qr_display.screens import ScreenOptions, draw

        settings = self._display_settings()
        options = ScreenOptions(serial_number=settings.serial_number, default_language=settings.default_language)
        return draw(view, settings.layout(), options=options).png()

    def _display_settings(self) -> "DisplaySettings":
        from agent.qr_display.display import DisplaySettings

        display = self.config.display
        size = "800x480" if display is None else f"{display.width}x{display.height}"
        return DisplaySettings(size=size, serial_number=self.config.station.serial_number)

    def _configured_display(self, stack: AsyncExitStack) -> Callable[[StationView], None]:
        from agent.qr_display.display import Display

        if self.config.display is None:
            raise LookupError("[display] is not configured")
        display = Display(open_output(self.config.display), self._display_settings())
        stack.callback(display.close)
        self._spawn(display.turn_pages())
        return lambda view: self._spawn(display.show(view))

    def _want_view(self) -> None:
        if self._view_wanted and self._is_engine_ready:
            self._show_within(CHANGE_SHOWN_S)

    def _show_within(self, delay_s: float) -> None:
        loop = asyncio.get_running_loop()
        if self._view_timer is not None:
            if self._view_timer.when() <= loop.time() + delay_s:
                return
            self._view_timer.cancel()
        self._view_timer = loop.call_later(delay_s, self._show_view)

    def _show_view(self) -> None:
        self._view_timer = None
        view = self.view()
        if view != self._last_view:
            self._last_view = view
            for show in self._showers:
                show(view)
        if any((evse.seconds is not None and evse.kind.value != "finished") or evse.deadline_s is not None for evse in view.evses):
            self._show_within(CLOCK_SHOWN_S)

    # --- diagnostics

    async def _build_diagnostics(self, stack: AsyncExitStack) -> None:
        from agent.runtime.technician_socket import serve_diagnostics

        await serve_diagnostics(self, stack)


def open_output(config: DisplayConfig) -> "Output":
    """The output that `[display] output` names. Raises HalError naming what there is."""
    if config.output == "png":
        from agent.qr_display.outputs.png import PngOutput

        if config.path is None:
            raise HalError('[display] output "png" needs `path`: the file that the picture is written to')
        return PngOutput(config.path)
    from importlib.metadata import entry_points

    found = entry_points(group="charger_agent.displays")
    if config.output not in found.names:
        raise HalError(f"[display] output {config.output!r} is not installed; installed are: {', '.join(sorted(found.names))}")
    return cast("Output", found[config.output].load()(config.path))


def boot_reason(recovered: Recovered, boot_id: str) -> str:
    """OCPP 2.0.1 BootReasonEnumType of this start."""
    if recovered.station.reset_kind is not None:
        return "RemoteReset"
    return "ApplicationReset" if recovered.last_boot_id == boot_id else "PowerUp"
