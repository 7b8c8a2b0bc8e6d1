"""The composition root: what it takes from the configuration, how it begins, and how it ends, with real parts in this process."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agent.config.loader import load_config
from agent.config.model import Config
from agent.core import variables as var
from agent.core.state import MeterLossPolicy, PowerLossPolicy
from agent.core.variables import Variables, definitions
from agent.domain.authorization import IdToken
from agent.domain.commands import Reset, ResetKind, VariableAssignment
from agent.domain.connector import FaultKind
from agent.domain.errors import HalError, StoreError
from agent.domain.events import Event, FaultRaised, MeterRead
from agent.domain.ids import EvseId
from agent.domain.pilot import PilotSignal
from agent.domain.records import Recovered, StationRecord
from agent.domain.time import ClockTrust, Instant
from agent.domain.transaction import StoppedReason, TransactionRecord
from agent.domain.variables import ValueSource
from agent.runtime.app import App, DirectLink, Ending, boot_reason, client_tuning, open_output, station_config
from agent.runtime.check import VALIDATORS
from agent.store.serial import load
from agent.store.store import FILE_NAME
from simulator.board import BoardClock
from simulator.faults import SimFault
from simulator.hal import SimulatorDriver

ONE = EvseId(1)
CARD = "CAFE0001"


def configured(directory: Path, *, more: str = "", evse: str = "", ocpp: str = "ws://127.0.0.1:9/", state: str = "state") -> Config:
    path = directory / "config.toml"
    path.write_text(
        f"""[station]
id = "CP001"
serial_number = "SN-0001"
uid = "7F3K-22QX"
vendor = "Example"
model = "AC22"
country = "NO"
region = "Viken"
lab = true
[ocpp]
url = "{ocpp}"
versions = ["1.6"]
security_profile = 0
[store]
directory = "{directory / state}"
[diagnostics]
socket = "{directory / "diag.sock"}"
[hal]
driver = "simulator"
[hal.options]
control_socket = "{directory / "sim.sock"}"
[[evse]]
id = 1
max_current_a = 16
phases = 3
{evse}
{more}
""",
        encoding="utf-8",
    )
    return load_config(path, VALIDATORS)


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[App]:
    """The application, until the end of the block; then SIGTERM's way out."""
    app = App(config)
    task = asyncio.create_task(app.run())
    is_up = asyncio.create_task(app.is_running.wait())
    await asyncio.wait((task, is_up), return_when=asyncio.FIRST_COMPLETED)
    is_up.cancel()
    if task.done():
        task.result()
    try:
        yield app
    finally:
        if not task.done():
            app.leave()
        async with asyncio.timeout(60):
            ending = await task
    assert ending is Ending.EXIT


def world(app: App) -> Any:
    assert isinstance(app.driver, SimulatorDriver)
    assert app.driver.rig is not None
    return app.driver.rig.world


def evse_in_the_world(app: App) -> dict[str, Any]:
    return dict(world(app).state()["evses"][0])


async def becomes(condition: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)


async def charge(app: App) -> None:
    """A card that is unknown may charge offline; a car takes energy."""
    world(app).plug_in(ONE, delay_s=0)
    await becomes(lambda: app.engine.station.evses[0].reading is not None)
    app.engine.station = replace(app.engine.station, record=replace(app.engine.station.record, was_accepted=True))
    world(app).swipe(IdToken(CARD), ONE)
    await becomes(lambda: evse_in_the_world(app)["contactor"]["is_closed"])


OFFLINE = '[variables]\n"AuthCtrlr.OfflineTxForUnknownIdEnabled" = true'


# ----------------------------------------------------------------------------------------------------- what the configuration says


def test_the_core_gets_what_the_configuration_says(tmp_path: Path) -> None:
    policy = '[session]\non_meter_loss = "stop_after"\nmeter_loss_timeout_s = 90\n'
    policy += 'power_loss_policy = "resume_if_same_ev_within"\nresume_within_min = 3\n'
    config = configured(tmp_path, evse='[[evse.connector]]\ncable = "socket"', more=policy)
    station = station_config(config)
    (evse,) = station.evses
    assert (evse.evse_id, evse.max_current_a, evse.phases) == (ONE, Decimal(16), 3)
    assert evse.has_lock
    assert not evse.is_tethered
    assert (station.on_meter_loss, station.meter_loss_timeout_s) == (MeterLossPolicy.STOP_AFTER, 90)
    assert (station.power_loss_policy, station.resume_within_min) == (PowerLossPolicy.RESUME_IF_SAME_EV_WITHIN, 3)
    assert (station.station_id, station.language) == ("CP001", "en")


def test_a_fixed_cable_has_no_lock(tmp_path: Path) -> None:
    (evse,) = station_config(configured(tmp_path)).evses
    assert not evse.has_lock
    assert evse.is_tethered


def test_the_connection_obeys_the_variables() -> None:
    values = {
        var.HEARTBEAT_INTERVAL: "17",
        var.WEBSOCKET_PING_INTERVAL: "18",
        var.MESSAGE_TIMEOUT: "19",
        var.MESSAGE_ATTEMPTS: "20",
        var.MESSAGE_ATTEMPT_INTERVAL: "21",
        var.OFFLINE_THRESHOLD: "22",
        var.BACK_OFF_WAIT_MINIMUM: "23",
        var.BACK_OFF_RANDOM_RANGE: "24",
        var.BACK_OFF_REPEAT_TIMES: "3",
    }
    assignments = [VariableAssignment(key=key, value=value) for key, value in values.items()]
    variables, results = Variables.of(definitions()).assign(assignments, ValueSource.CSMS)
    assert not any(result.reason for result in results)
    tuning = client_tuning(variables)
    back_off = tuning.back_off
    assert (tuning.heartbeat_s, tuning.ping_s, tuning.message_timeout_s, tuning.attempts, tuning.attempt_interval_s) == (17, 18, 19, 20, 21)
    assert tuning.offline_threshold_s == 22
    assert (back_off.wait_minimum_s, back_off.random_range_s, back_off.repeat_times) == (23, 24, 3)


@pytest.mark.parametrize(
    ("recovered", "reason"),
    [
        (Recovered(), "PowerUp"),
        (Recovered(last_boot_id="boot-0"), "PowerUp"),
        (Recovered(last_boot_id="boot-1"), "ApplicationReset"),
        (Recovered(station=StationRecord(reset_kind="Hard"), last_boot_id="boot-1"), "RemoteReset"),
        (Recovered(station=StationRecord(reset_kind="Soft"), last_boot_id="boot-0"), "RemoteReset"),
    ],
)
def test_the_boot_reason_comes_from_the_kernels_boot(recovered: Recovered, reason: str) -> None:
    assert boot_reason(recovered, "boot-1") == reason


def test_an_output_that_is_not_there_is_named(tmp_path: Path) -> None:
    config = configured(tmp_path, more=f'[display]\noutput = "png"\npath = "{tmp_path / "a.png"}"')
    assert config.display is not None
    with pytest.raises(HalError, match=r"output 'hologram' is not installed; installed are: .*png"):
        open_output(replace(config.display, output="hologram"))
    with pytest.raises(HalError, match="needs `path`"):
        open_output(replace(config.display, path=None))


async def test_the_way_to_the_csms_says_why_it_fails() -> None:
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sock = await DirectLink().connect("127.0.0.1", port)
    assert sock.getpeername() == ("127.0.0.1", port)
    sock.close()
    server.close()
    await server.wait_closed()
    with pytest.raises(ConnectionRefusedError):
        await DirectLink().connect("127.0.0.1", port)


# -------------------------------------------------------------------------------------------------------------- beginning and ending


@pytest.mark.virtual_time
async def test_it_begins_and_ends_in_order_and_leaves_nothing_behind(tmp_path: Path) -> None:
    config = configured(tmp_path)
    for _ in range(2):  # the second begins on what the first has left
        async with running(config) as app:
            await becomes(lambda app=app: app.engine.station.evses[0].reading is not None)  # type: ignore[misc]
            assert app.store.is_durable
            assert (tmp_path / "diag.sock").exists()
        assert not (tmp_path / "diag.sock").exists()
        assert not (tmp_path / "sim.sock").exists()
    assert app.store.was_orderly


@pytest.mark.virtual_time
async def test_a_second_one_on_the_same_store_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    async with running(configured(tmp_path)) as app:
        with pytest.raises(StoreError, match="in use by another charger-agent"):
            await App(configured(tmp_path)).run()
        assert app.store.is_durable


@pytest.mark.virtual_time
async def test_leaving_stops_the_car_before_the_contactor_opens(tmp_path: Path) -> None:
    app = App(configured(tmp_path, more=OFFLINE))
    task = asyncio.create_task(app.run())
    await app.is_running.wait()
    await charge(app)
    await asyncio.sleep(10)
    assert evse_in_the_world(app)["meter"]["current_a"][0] > 10
    loop = asyncio.get_running_loop()
    begun, seen = loop.time(), []
    simulated = world(app)
    app.leave()
    while not task.done():
        seen.append(simulated.state()["evses"][0])
        await asyncio.sleep(0.01)
    assert await task is Ending.EXIT
    assert loop.time() - begun < 5
    assert seen[0]["pilot"]["signal"] == "X1"
    assert seen[0]["contactor"]["is_closed"]
    assert simulated.state()["evses"][0]["contactor"]["hot_openings"] == 0
    assert not simulated.state()["evses"][0]["contactor"]["is_closed"]


@pytest.mark.virtual_time
async def test_leaving_cuts_off_a_car_that_goes_on_drawing_after_three_seconds(tmp_path: Path) -> None:
    app = App(configured(tmp_path, more=OFFLINE))
    task = asyncio.create_task(app.run())
    await app.is_running.wait()
    await charge(app)
    await asyncio.sleep(10)
    simulated = world(app)
    simulated._bays[ONE].car.leave_us = 60_000_000  # a car that does not look at its pilot
    loop = asyncio.get_running_loop()
    begun = loop.time()
    app.leave()
    while simulated.state()["evses"][0]["contactor"]["is_closed"]:
        await asyncio.sleep(0.01)
    assert loop.time() - begun == pytest.approx(3.0, abs=0.2)
    assert await task is Ending.EXIT
    assert loop.time() - begun < 5
    assert simulated.state()["evses"][0]["contactor"]["hot_openings"] == 1


@pytest.mark.virtual_time
async def test_a_bug_of_ours_opens_the_contactor_before_anything_else_and_ends_with_it(tmp_path: Path) -> None:
    app = App(configured(tmp_path, more=OFFLINE))
    task = asyncio.create_task(app.run())
    await app.is_running.wait()
    await charge(app)
    simulated = world(app)

    def poison(event: Event, _at: Instant) -> None:
        if isinstance(event, MeterRead):
            raise ZeroDivisionError("a bug of ours")

    app.engine._hooks = replace(app.engine._hooks, recorded=poison)
    with pytest.raises(ExceptionGroup) as caught:
        await task
    assert caught.group_contains(ZeroDivisionError, match="a bug of ours")
    assert not simulated.state()["evses"][0]["contactor"]["is_ordered_closed"]
    async with running(configured(tmp_path, more=OFFLINE)) as after:  # the store was closed, and what ran is recovered
        await becomes(lambda: any(noted.remark.name == "transaction_ended" for noted in after.engine.remarks))


@pytest.mark.virtual_time
async def test_what_the_hardware_says_while_the_rest_is_built_is_not_lost(tmp_path: Path) -> None:
    app = App(configured(tmp_path))
    app.post(FaultRaised(None, FaultKind.EMERGENCY_STOP, "pressed before the start"))
    task = asyncio.create_task(app.run())
    await app.is_running.wait()
    assert [fault.kind for fault in app.engine.station.faults] == [FaultKind.EMERGENCY_STOP]
    app.leave()
    await task


@pytest.mark.virtual_time
async def test_told_to_leave_while_it_begins_it_leaves(tmp_path: Path) -> None:
    app = App(configured(tmp_path))
    task = asyncio.create_task(app.run())
    await asyncio.sleep(0)
    app.leave()
    async with asyncio.timeout(5):
        assert await task is Ending.EXIT


@pytest.mark.virtual_time
async def test_an_evse_without_a_meter_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimulatorDriver, "meter", lambda _self, _evse_id: None)  # a board that brings none
    async with running(configured(tmp_path)) as app:
        evse = app.engine.station.evses[0]
        assert evse.meter_lost_at is not None
        assert "no meter is configured: add [evse.meter]" in evse.meter_lost_reason


@pytest.mark.virtual_time
async def test_the_time_of_the_csms_is_kept_for_moments_that_had_none(tmp_path: Path) -> None:
    async with running(configured(tmp_path)) as app:
        assert isinstance(app.driver, SimulatorDriver)
        app.driver.board.clock.set(None)
        unknown = app.clock.now()
        assert (unknown.utc, app.clock.trust) == (None, ClockTrust.UNKNOWN)
        await asyncio.sleep(100)
        told = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
        app.csms_time(told)
        await app.store.flush()
        known = app.store.utc_of(unknown)
        assert known is not None
        assert abs(known - (told - timedelta(seconds=100))) < timedelta(seconds=1)


@pytest.mark.virtual_time
async def test_a_supply_that_fails_opens_and_writes_what_waits(tmp_path: Path) -> None:
    """Marks and anchors ride with later commits for up to 5 s, the register for a minute: here there is no later."""
    async with running(configured(tmp_path, more=OFFLINE)) as app:
        await charge(app)
        await asyncio.sleep(20.5)
        newest = app.engine.station.evses[0].reading
        app.store.set_anchor("boot-of-yore", 5, datetime(2026, 6, 1, 12, 0, tzinfo=UTC))
        world(app).set_fault(SimFault.POWER_FAIL)
        await asyncio.sleep(0.02)
        assert newest is not None
        with closing(sqlite3.connect(tmp_path / "state" / FILE_NAME)) as db:
            (text,) = db.execute("SELECT record FROM transactions").fetchone()
            (anchors,) = db.execute("SELECT count(*) FROM clock_anchors WHERE boot_id = 'boot-of-yore'").fetchone()
        record = load(text, TransactionRecord)
        assert (record.last_reading.energy_wh or 0) >= (newest.energy_wh or 0), "the newest, or one that was read for this"
        assert record.interrupted_by is StoppedReason.POWER_LOSS
        assert anchors == 1
        await becomes(lambda: not evse_in_the_world(app)["contactor"]["is_closed"], 0.1)
        world(app).clear_fault(SimFault.POWER_FAIL)
        await becomes(lambda: evse_in_the_world(app)["contactor"]["is_closed"], 10)


@pytest.mark.virtual_time
@pytest.mark.pain(24)
async def test_where_a_time_service_keeps_the_clock_the_csms_moves_nothing_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole application: what is recorded keeps the time service's time, and a technician hears of the contradiction."""
    monkeypatch.setattr(BoardClock, "is_synchronized", lambda _self: True)  # a board with NTP
    async with running(configured(tmp_path)) as app:
        await asyncio.sleep(1)
        assert app.clock.trust is ClockTrust.NTP
        before = app.clock.now()
        assert before.utc is not None
        app.csms_time(before.utc + timedelta(minutes=10))
        after = app.clock.now()
        assert after.utc is not None
        assert after.utc - before.utc < timedelta(seconds=2)
        assert app.store.utc_of(Instant(app.boot_id, before.mono_ms)) == before.utc
        assert "clock_differs" in [noted.remark.name for noted in app.engine.remarks]
        assert "600 s ahead" in app.timekeeper.alarm()[0]


@pytest.mark.virtual_time
async def test_an_agent_that_is_started_again_in_the_same_boot_knows_the_time(tmp_path: Path) -> None:
    told = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
    async with running(configured(tmp_path)) as app:
        app.csms_time(told)
        await app.store.flush()
    async with running(configured(tmp_path)) as app:
        assert app.clock.trust is ClockTrust.OCPP
        utc = app.clock.now().utc
        assert utc is not None
        assert timedelta(0) <= utc - told < timedelta(minutes=5)


@pytest.mark.virtual_time
async def test_the_code_on_the_display_never_holds_the_claim_code(tmp_path: Path) -> None:
    template = '[qr]\ntemplate = "https://pay.example/{chargingstationid}/{evse}/{serialnumber}"'
    async with running(configured(tmp_path, more=template)) as app:
        assert app.payload(ONE) == "https://pay.example/CP001/1/SN-0001"
        assert app.config.station.uid not in str(app.view())


@pytest.mark.virtual_time
@pytest.mark.parametrize("kind", ["Hard", "Soft"])
async def test_told_to_leave_during_a_commanded_reset_it_does_not_come_back(tmp_path: Path, kind: str) -> None:
    """A restarted process knows nothing of the signal that the one before got: the service would not stop."""
    app = App(configured(tmp_path, more=OFFLINE))
    task = asyncio.create_task(app.run())
    await app.is_running.wait()
    await app.engine.ask(Reset(kind=ResetKind(kind)))
    app.leave()
    async with asyncio.timeout(60):
        assert await task is Ending.EXIT


@pytest.mark.virtual_time
@pytest.mark.parametrize("kind", ["Hard", "Soft"])
async def test_a_commanded_reset_ends_the_run_as_a_restart_and_the_next_one_knows_why(tmp_path: Path, kind: str) -> None:
    app = App(configured(tmp_path, more=OFFLINE))
    task = asyncio.create_task(app.run())
    await app.is_running.wait()
    await charge(app)
    await app.engine.ask(Reset(kind=ResetKind(kind)))
    async with asyncio.timeout(60):
        assert await task is Ending.RESTART
    async with running(configured(tmp_path, more=OFFLINE)) as after:
        assert after.client._boot_info.reason == "RemoteReset"
        (stored,) = await after.store.sessions()
        assert stored.record is not None
        assert stored.record.stopped_reason == f"{kind}Reset"
        assert after.engine.station.evses[0].output.signal is not PilotSignal.PWM
        assert after.store.was_orderly
