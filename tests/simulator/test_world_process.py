"""A world of its own process: it outlives the daemon, and its safety controller opens when the daemon stops, dies or loses power."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.domain.connector import FaultKind
from agent.domain.errors import HalError
from agent.domain.ids import EvseId
from agent.domain.pilot import PilotState
from agent.domain.screen import StationView
from agent.hal.api import EvseSetup, HalSetup
from simulator.__main__ import main
from simulator.control import ControlClient
from simulator.hal import SimulatorDriver
from simulator.network import NetworkMode
from simulator.wire import RpcError
from tests.hal.board import RecordedSink
from tests.hal.contract import until
from tests.simulator.process import Daemon, evse_state, is_closed, world_process

ONE = EvseId(1)


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    socket = tmp_path_factory.mktemp("world") / "world.sock"
    with world_process(socket):
        yield socket


@pytest.fixture
async def control(socket: Path) -> AsyncIterator[ControlClient]:
    async with await ControlClient.open(socket) as client:
        yield client
        if (await evse_state(client))["vehicle"] is not None:
            await client.call("ev.unplug", evse=1)
        await client.call("network.up")


def make(socket: Path, *evses: int) -> SimulatorDriver:
    setups = [EvseSetup(evse_id=EvseId(evse), max_current_a=16, phases=1, has_lock=False) for evse in evses or (1,)]
    return SimulatorDriver(HalSetup(evses=setups, options={"world": str(socket)}))


async def until_closed(control: ControlClient, *, is_wanted: bool, timeout_s: float) -> float:
    """Wait for the contactor; gives how long it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(timeout_s):
        while await is_closed(control) is not is_wanted:
            await asyncio.sleep(0.01)
    return loop.time() - began


async def test_a_stopped_agent_is_noticed_within_a_second(socket: Path, control: ControlClient) -> None:
    """SIGSTOP: no thread and no loop of the agent runs any more. And running again it names no contactor fault."""
    async with Daemon(socket) as daemon:
        await control.call("ev.plug_in", evse=1, delay_s=0)
        await until_closed(control, is_wanted=True, timeout_s=5)
        await asyncio.sleep(1.2)
        assert await is_closed(control)
        os.kill(daemon.pid, signal.SIGSTOP)
        assert await until_closed(control, is_wanted=False, timeout_s=5) <= 1.1
        await asyncio.sleep(0.3)
        os.kill(daemon.pid, signal.SIGCONT)
        await until(lambda: "refused NO_PERMISSION" in daemon.lines)
        await asyncio.sleep(0.3)
        assert not [line for line in daemon.lines if line.startswith("fault")]


async def test_a_killed_agent_leaves_an_open_contactor_and_a_living_world(socket: Path, control: ControlClient) -> None:
    async with Daemon(socket) as daemon:
        await control.call("ev.plug_in", evse=1, delay_s=0)
        await until_closed(control, is_wanted=True, timeout_s=5)
        os.kill(daemon.pid, signal.SIGKILL)
        await until_closed(control, is_wanted=False, timeout_s=1.1)
    state = await evse_state(control)
    assert state["vehicle"] is not None
    assert state["pilot"]["signal"] == "X1"  # type: ignore[index]


async def test_power_cut_kills_the_agent_and_the_next_one_finds_the_world(socket: Path, control: ControlClient) -> None:
    async with Daemon(socket) as daemon:
        await control.call("ev.plug_in", evse=1, delay_s=0)
        await until_closed(control, is_wanted=True, timeout_s=5)
        await asyncio.sleep(2.5)  # the vehicle has begun to draw
        assert await control.call("power.cut") == {}
        assert not await is_closed(control)
        assert daemon.process is not None
        assert await asyncio.wait_for(daemon.process.wait(), 2) == -signal.SIGKILL
    before = await evse_state(control)
    await asyncio.sleep(0.3)
    after = await evse_state(control)
    assert after["meter"]["energy_uwh"] == before["meter"]["energy_uwh"] > 1_234_560_000_000  # type: ignore[index]
    async with Daemon(socket):
        await until_closed(control, is_wanted=True, timeout_s=5)


async def test_power_cut_without_a_daemon_is_acknowledged(control: ControlClient) -> None:
    assert await control.call("power.cut") == {}


async def test_only_one_daemon_at_a_time(socket: Path) -> None:
    async with Daemon(socket) as daemon:
        with pytest.raises(HalError, match=f"process {daemon.pid} is attached already; one daemon at a time"):
            await make(socket).start(RecordedSink())


async def test_an_evse_that_the_world_has_not_is_named(socket: Path) -> None:
    with pytest.raises(HalError, match=r"there is no EVSE 2; there are 1"):
        await make(socket, 1, 2).start(RecordedSink())


async def test_only_the_attached_daemon_gives_orders(control: ControlClient) -> None:
    with pytest.raises(RpcError, match="only the attached daemon gives orders"):
        await control.call("hal.close", evse=1)


async def test_the_attached_daemon_is_shown(socket: Path, control: ControlClient) -> None:
    state = await control.call("sim.state")
    assert state["daemon_pid"] is None  # type: ignore[index,call-overload]
    driver = make(socket)
    await driver.start(RecordedSink())
    state = await control.call("sim.state")
    assert state["daemon_pid"] == os.getpid()  # type: ignore[index,call-overload]
    await driver.aclose()


async def test_what_is_set_on_the_socket_reaches_the_daemons_board(socket: Path, control: ControlClient, tmp_path: Path) -> None:
    driver = make(socket)
    await driver.start(RecordedSink())
    await control.call("network.down", mode="refuse")
    await until(lambda: driver.board.network.mode is NetworkMode.REFUSE)
    await control.call("clock.set", utc="2001-02-03T04:05:06Z")
    await until(lambda: (driver.clock.utc() or datetime.now(UTC)).year == 2001)
    with pytest.raises(RpcError, match="the display has shown nothing yet"):
        await control.call("display.png", evse=1, path=str(tmp_path / "d.png"))
    driver.display.show_png(StationView(station_id="CP001", online=True, language="en", evses=()), lambda: b"\x89PNG" * 50_000)
    assert await control.call("display.png", evse=1, path=str(tmp_path / "d.png")) == {"bytes": 200_000}
    assert (tmp_path / "d.png").stat().st_size == 200_000
    await driver.aclose()
    async with asyncio.timeout(3):
        while (await control.call("sim.state"))["daemon_pid"] is not None:  # type: ignore[index,call-overload]
            await asyncio.sleep(0.01)
    with pytest.raises(RpcError, match="no daemon is attached: the display is dark"):
        await control.call("display.png", evse=1, path=str(tmp_path / "d.png"))


async def test_link_and_clock_outlive_the_daemon(socket: Path, control: ControlClient) -> None:
    await control.call("network.down", mode="close")
    await control.call("clock.set", utc="unknown")
    driver = make(socket)
    await driver.start(RecordedSink())
    assert driver.board.network.mode is NetworkMode.CLOSE
    assert driver.clock.utc() is None
    await driver.aclose()
    moment = datetime.now(UTC) - timedelta(days=400)
    await control.call("clock.set", utc=moment.isoformat())
    driver = make(socket)
    await driver.start(RecordedSink())
    utc = driver.clock.utc()
    assert utc is not None
    assert abs(utc - moment) < timedelta(seconds=5)
    await driver.aclose()
    await control.call("clock.set", utc=datetime.now(UTC).isoformat())


async def test_swipes_and_faults_reach_the_daemon(socket: Path, control: ControlClient) -> None:
    driver, sink = make(socket), RecordedSink()
    await driver.start(sink)
    await control.call("rfid.swipe", token="04A1B2", evse=1)
    await control.call("fault.set", kind="rcd_trip", evse=1)
    await until(lambda: sink.last("fault") == ("fault", ONE, FaultKind.RCD_TRIPPED, True))
    assert sink.last("token", ONE, "04A1B2") is not None
    await driver.aclose()
    again = RecordedSink()
    driver = make(socket)
    await driver.start(again)
    assert again.last("fault") == ("fault", ONE, FaultKind.RCD_TRIPPED, True)
    await control.call("fault.clear", kind="rcd_trip", evse=1)
    await until(lambda: again.last("fault") == ("fault", ONE, FaultKind.RCD_TRIPPED, False))
    await driver.aclose()


async def test_a_lost_world_is_a_fault_until_it_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.attached.LOST_RETRY_S", 0.05)
    socket, sink = tmp_path / "w.sock", RecordedSink()
    driver = make(socket)
    with world_process(socket):
        await driver.start(sink)
    await until(lambda: sink.last("fault") == ("fault", None, FaultKind.HAL_LOST, True))
    with world_process(socket):
        await until(lambda: sink.last("fault") == ("fault", None, FaultKind.HAL_LOST, False))
        assert sink.reports[-2:-1] == [("contactor", ONE, False)]
        assert sink.last("pilot") == ("pilot", ONE, PilotState.A)
        await driver.aclose()


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        ([], 0, "usage: charger-sim COMMAND"),
        (["--help"], 0, "world"),
        (["wold"], 2, "there is no 'wold'"),
        (["faults"], 0, "contactor_welded"),
    ],
)
def test_the_command(args: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == code
    printed = capsys.readouterr()
    assert sentence in printed.out + printed.err


@pytest.mark.parametrize("args", [[], ["--socket", "/x", "--evses", "0"], ["--socket", "/x", "--meter", "can"]])
def test_wrong_arguments_of_the_world(args: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["world", *args])
    assert caught.value.code == 2


def test_a_socket_in_use_ends_the_world_with_a_sentence(socket: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["world", "--socket", str(socket)]) == 1
    assert "cannot listen on this socket" in capsys.readouterr().out
