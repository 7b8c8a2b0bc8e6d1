"""The simulator as a driver: it keeps the contract in this process and over a world of its own, and serves what a board has."""

import asyncio
import signal
import struct
import sys
import time
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from agent.domain.connector import FaultKind
from agent.domain.errors import HalError
from agent.domain.ids import EvseId
from agent.domain.interlock import Interlock
from agent.domain.pilot import PilotState, pwm
from agent.fieldbus.url import parse_bus_url
from agent.hal.api import EvseSetup, ExtendedHalDriver, HalSetup
from agent.hal.guard import Guard
from agent.hal.registry import installed
from simulator.bay import PERMISSION_LIFE_US
from simulator.control import ControlClient
from simulator.hal import SimulatorDriver
from tests.hal.board import RecordedSink
from tests.hal.contract import DriverContract, until
from tests.simulator.process import is_closed, world_process
from tests.virtual_time import VirtualTimeLoop

ONE, TWO = EvseId(1), EvseId(2)
EVSES = (
    EvseSetup(evse_id=ONE, max_current_a=32, phases=3, has_lock=False),
    EvseSetup(evse_id=TWO, max_current_a=16, phases=1, has_lock=True),
)


def make(**options: object) -> SimulatorDriver:
    return SimulatorDriver(HalSetup(evses=EVSES, options=options))


class HereBench:
    """The world in this process, worked through its control socket like every rig."""

    def __init__(self, driver: SimulatorDriver, socket: Path) -> None:
        self.driver = driver
        self.evse_ids = (ONE, TWO)
        self.lockable = TWO
        self._socket = socket

    async def vehicle(self, evse_id: EvseId, state: PilotState) -> None:
        async with await ControlClient.open(self._socket) as control:
            if state is PilotState.A:
                await control.call("ev.unplug", evse=evse_id)
            else:
                await control.call("ev.plug_in", evse=evse_id, delay_s=0)

    async def is_closed(self, evse_id: EvseId) -> bool:
        assert self.driver.rig is not None
        contactor = self.driver.rig.world.state()["evses"][evse_id - 1]["contactor"]  # type: ignore[index,call-overload]
        return bool(contactor["is_ordered_closed"])  # type: ignore[index,call-overload]


class TestWorldHere(DriverContract):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[HereBench]:
        socket = tmp_path / "sim.sock"
        driver = make(control_socket=str(socket))
        yield HereBench(driver, socket)
        await driver.aclose()


class ThereBench(HereBench):
    """The world in another process."""

    async def is_closed(self, evse_id: EvseId) -> bool:
        async with await ControlClient.open(self._socket) as control:
            await asyncio.sleep(0.05)  # the contacts need 20 ms
            return await is_closed(control, evse_id)


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    socket = tmp_path_factory.mktemp("world") / "world.sock"
    with world_process(socket, "--evses", "2"):
        yield socket


class TestWorldThere(DriverContract):
    @pytest.fixture
    async def bench(self, socket: Path) -> AsyncIterator[HereBench]:
        driver = make(world=str(socket))
        yield ThereBench(driver, socket)
        await driver.aclose()
        async with await ControlClient.open(socket) as control:
            state = await control.call("sim.state")
            for evse in state["evses"]:  # type: ignore[index,call-overload,union-attr]
                if evse["vehicle"] is not None:  # type: ignore[index,call-overload]
                    await control.call("ev.unplug", evse=evse["evse"])  # type: ignore[index,call-overload]
            async with asyncio.timeout(3):
                while await is_closed(control, ONE) or await is_closed(control, TWO):
                    await asyncio.sleep(0.01)  # the contacts need 20 ms


def test_is_what_the_runtime_expects() -> None:
    driver: ExtendedHalDriver = make()
    assert driver.permission_expires


def test_is_installed_as_simulator() -> None:
    assert installed().get("simulator") == "simulator.hal:SimulatorDriver"


# ------------------------------------------------------------------------------------------------------------ options
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"contol_socket": "/x"}, r"unknown option contol_socket in \[hal.options\]; known are control_socket, world, meter"),
        ({"control_socket": 5}, r"control_socket = 5 in \[hal.options\]; use the path of a Unix socket"),
        ({"world": "/" + "x" * 107}, r"at most 107 bytes"),
        ({"world": "/a", "control_socket": "/b"}, r"with `world` the world process serves the control socket"),
        ({"meter": "can"}, r"meter = 'can' in \[hal.options\]; use tcp or rtu"),
        ({"meter_port": -1}, r"meter_port = -1 in \[hal.options\]; use a whole number from 0 to 65535"),
        ({"seed": True}, r"seed = True"),
        ({"template": "abacus"}, r"template = 'abacus' is not served by the simulator; use eastron-sdm630, carlo-gavazzi-em340"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make(**options)


async def test_a_socket_in_use_is_a_hal_error(tmp_path: Path) -> None:
    socket = str(tmp_path / "sim.sock")
    first, second = make(control_socket=socket), make(control_socket=socket)
    await first.start(RecordedSink())
    with pytest.raises(HalError, match=r"sim.sock: cannot listen on this socket"):
        await second.start(RecordedSink())
    await first.aclose()


async def test_a_world_that_is_not_there_is_a_hal_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.attached.PATIENCE_S", 0.2)
    with pytest.raises(HalError, match=r"no world process answers there; start `charger-sim world --socket"):
        await make(world=str(tmp_path / "none.sock")).start(RecordedSink())


# ------------------------------------------------------------------------------------------------------------- meter
async def read_over_tcp(url: str, address: int, count: int, function: int = 4) -> bytes:
    """Read registers by hand: the test's own Modbus, neither the agent's nor the simulator's."""
    bus = parse_bus_url(url)
    host, _, port = bus.endpoint.resource.removeprefix("tcp://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    pdu = bytes([function]) + address.to_bytes(2, "big") + count.to_bytes(2, "big")
    writer.write(b"\x00\x01\x00\x00" + (len(pdu) + 1).to_bytes(2, "big") + bytes([bus.device]) + pdu)
    header = await reader.readexactly(7)
    answer = await reader.readexactly(int.from_bytes(header[4:6], "big") - 1)
    writer.close()
    return answer[2:] if answer[0] == function else answer


async def test_every_evse_has_its_meter_on_the_bus() -> None:
    driver = make()
    await driver.start(RecordedSink())
    first, second = driver.meter(ONE), driver.meter(TWO)
    assert first is not None
    assert second is not None
    assert driver.meter(EvseId(3)) is None
    assert first.template == second.template == "eastron-sdm630"
    assert (await read_over_tcp(first.url, 0xFC00, 2, 3)) != (await read_over_tcp(second.url, 0xFC00, 2, 3))
    await driver.aclose()


async def test_the_meter_sees_the_same_world() -> None:
    """230.1 V on L1 with the contactor open, from the very registers."""
    driver = make(template="carlo-gavazzi-em340")
    await driver.start(RecordedSink())
    address = driver.meter(ONE)
    assert address is not None
    assert address.template == "carlo-gavazzi-em340"
    assert await read_over_tcp(address.url, 0, 2) == (2301).to_bytes(2, "big") + b"\x00\x00"
    await driver.aclose()


@pytest.mark.parametrize(("fault", "answer"), [("meter_exception", b"\x84\x04"), ("meter_nan", b"\x7f\xc0\x00\x00")])
async def test_a_broken_meter_answers_so(tmp_path: Path, fault: str, answer: bytes) -> None:
    driver = make(control_socket=str(tmp_path / "s"))
    await driver.start(RecordedSink())
    address = driver.meter(ONE)
    assert address is not None
    async with await ControlClient.open(tmp_path / "s") as control:
        await control.call("fault.set", kind=fault, evse=1)
        assert await read_over_tcp(address.url, 0, 2) == answer
        await control.call("fault.clear", kind=fault, evse=1)
        assert await read_over_tcp(address.url, 0, 2) != answer
    await driver.aclose()


async def test_a_serial_meter_is_on_a_terminal_and_leaves_nothing_behind() -> None:
    driver = make(meter="rtu")
    await driver.start(RecordedSink())
    address = driver.meter(TWO)
    assert address is not None
    bus = parse_bus_url(address.url)
    terminal = Path(bus.endpoint.resource.removeprefix("serial://"))
    assert bus.device == 2
    assert terminal.resolve().is_char_device()
    await driver.aclose()
    assert not terminal.parent.exists()


# ------------------------------------------------------------------------------------------------- with the guard
async def test_charges_through_the_guard_and_stops_in_order() -> None:
    """The whole path: guard, driver, safety controller, vehicle."""
    driver, sink = make(), RecordedSink()
    refused: list[Interlock] = []
    guard = Guard(sink, on_refused=lambda _, why: refused.append(why))
    await guard.start(driver)
    assert driver.rig is not None
    guard.permit(ONE)
    guard.set_pilot(ONE, pwm(Decimal(16)))
    driver.rig.world.plug_in(ONE, delay_s=0)
    await until(lambda: sink.last("pilot", ONE) == ("pilot", ONE, PilotState.C))
    assert guard.close(ONE) is None
    await until(lambda: sink.last("contactor", ONE) == ("contactor", ONE, True))
    driver.rig.world.unplug(ONE)
    await until(lambda: sink.last("contactor", ONE) == ("contactor", ONE, False))
    assert refused == [Interlock.NOT_STATE_C]
    assert not [report for report in sink.reports if report[0] == "fault"]
    guard.close_down()
    await driver.aclose()


async def test_welded_contacts_are_found_by_the_guard(tmp_path: Path) -> None:
    driver, sink = make(), RecordedSink()
    guard = Guard(sink, on_refused=lambda *_: None)
    await guard.start(driver)
    assert driver.rig is not None
    from simulator.faults import SimFault

    driver.rig.world.set_fault(SimFault.CONTACTOR_WELDED, ONE)
    guard.permit(ONE)
    guard.set_pilot(ONE, pwm(Decimal(16)))
    driver.rig.world.plug_in(ONE, delay_s=0)
    await until(lambda: sink.last("pilot", ONE) == ("pilot", ONE, PilotState.C))
    guard.close(ONE)
    await until(lambda: sink.last("contactor", ONE) == ("contactor", ONE, True))
    guard.open(ONE)
    await until(lambda: sink.last("fault", ONE) == ("fault", ONE, FaultKind.CONTACTOR_WELDED, True))
    guard.close_down()
    await driver.aclose()


async def test_a_stuck_loop_opens_in_the_world_too() -> None:
    """The world shares the loop with the agent here; the safety controller's time runs on all the same."""
    driver, sink = make(), RecordedSink()
    ports = await driver.start(sink)
    assert driver.rig is not None
    ports[ONE].pilot.set_output(pwm(Decimal(16)))
    driver.rig.world.plug_in(ONE, delay_s=0)
    await until(lambda: sink.last("pilot", ONE) == ("pilot", ONE, PilotState.C))
    ports[ONE].contactor.renew_permission()
    ports[ONE].contactor.close()
    await until(lambda: sink.last("contactor", ONE) == ("contactor", ONE, True))
    time.sleep(PERMISSION_LIFE_US / 1e6 + 0.1)
    assert driver.rig.world.state()["evses"][0]["contactor"]["is_closed"] is False  # type: ignore[index,call-overload]
    await driver.aclose()


ALONE = """
import asyncio, sys
from agent.hal.api import EvseSetup, HalSetup
from simulator.hal import SimulatorDriver
from tests.hal.board import RecordedSink

async def main():
    evses = [EvseSetup(evse_id=1, max_current_a=32, phases=3, has_lock=False)]
    await SimulatorDriver(HalSetup(evses=evses, options={"control_socket": sys.argv[1]})).start(RecordedSink())
    print("running", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_power_cut_is_answered_and_kills_the_daemon_with_its_world(tmp_path: Path) -> None:
    socket = tmp_path / "s"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", ALONE, str(socket), stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 20) == b"running\n"
    async with await ControlClient.open(socket) as control:
        assert await control.call("power.cut") == {}
    assert await asyncio.wait_for(process.wait(), 5) == -signal.SIGKILL


def test_ten_minutes_pass_on_a_virtual_clock(tmp_path: Path) -> None:
    """Driver, world, control socket and meter all live on the loop's clock; only the guard's permission is real time."""

    async def charge() -> tuple[float, float]:
        driver, sink = make(control_socket=str(tmp_path / "s"), seed=7), RecordedSink()
        guard = Guard(sink, on_refused=lambda *_: None)
        await guard.start(driver)
        started = driver.clock.utc()
        address = driver.meter(ONE)
        assert address is not None
        assert started is not None
        async with await ControlClient.open(tmp_path / "s") as control:
            await control.call("ev.plug_in", evse=1, capacity_kwh=100)
            guard.permit(ONE)
            guard.set_pilot(ONE, pwm(Decimal(16)))
            for _ in range(20):
                await asyncio.sleep(0.1)
                guard.permit(ONE)
            assert guard.close(ONE) is None
            for _ in range(1200):
                await asyncio.sleep(0.5)
                guard.permit(ONE)
            assert sink.last("contactor") == ("contactor", ONE, True)
            await control.call("ev.unplug", evse=1)
            await until(lambda: sink.last("contactor") == ("contactor", ONE, False))
        (kwh,) = struct.unpack(">f", await read_over_tcp(address.url, 0x48, 2))
        ended = driver.clock.utc()
        assert ended is not None
        guard.close_down()
        await driver.aclose()
        return kwh - 1234.560, (ended - started).total_seconds()

    began = time.monotonic()
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        kwh, seconds = runner.run(charge())
    assert 600 < seconds < 610
    # 16 A at 229.3, 229.6 and 229.0 V for ten minutes, less the quiet 2 s and the ramp of 4 s
    assert kwh == pytest.approx(16 * (229.3 + 229.6 + 229.0) / 6000, rel=0.01)
    assert time.monotonic() - began < 30
