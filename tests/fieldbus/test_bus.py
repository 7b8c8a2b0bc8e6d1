"""Buses: sharing, retry, quarantine, reopening, resynchronisation, statistics. Real sockets and terminals; long waits in virtual time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from agent.fieldbus import bus
from agent.fieldbus.bus import QUEUE_LIMIT, Bus, BusDevice, BusPool, DeviceTiming, Table
from agent.fieldbus.errors import BusClosed, BusException, BusOverloaded, BusQuarantined, BusTimeout, BusUnavailable, BusUrlError
from agent.fieldbus.url import TcpEndpoint, parse_bus_url
from simulator.meter_server import MeterFault, MeterServer, SimulatedMeter
from simulator.pty_cable import CableFaults, PtyCable
from tests.fieldbus import virtual_time
from tests.metering.rig import Load

QUICK = DeviceTiming(timeout_s=0.1, gap_s=0.002)
VOLTS = ((0x4366, 0x3333), (0x4367, 0x8000), (0x4365, 0x6666))
"""230.2, 231.5 and 229.4 V as float32; the compiler of the source rounds 230.2 down."""


@asynccontextmanager
async def tcp_meters(*numbers: int) -> AsyncIterator[tuple[MeterServer, dict[int, SimulatedMeter], str]]:
    meters = {number: SimulatedMeter(Load()) for number in numbers}
    server = MeterServer(meters)
    port = await server.start_tcp()
    try:
        yield server, meters, f"tcp://127.0.0.1:{port}"
    finally:
        await server.close()
        await asyncio.sleep(0.01)


@asynccontextmanager
async def serial_meters(directory: Path, *numbers: int, seed: int = 0) -> AsyncIterator[tuple[PtyCable, dict[int, SimulatedMeter], str]]:
    cable = PtyCable(directory / "ttyUSB0", seed=seed)
    meters = {number: SimulatedMeter(Load()) for number in numbers}
    server = MeterServer(meters)
    server.serve_fd(cable.meter_fd)
    try:
        yield cable, meters, f"serial://{cable.charger_path}?baudrate=115200"
    finally:
        await server.close()
        cable.close()


def device(buses: BusPool, url: str, number: int = 1, timing: DeviceTiming = QUICK) -> BusDevice:
    separator = "&" if "?" in url else "?"
    return buses.device(parse_bus_url(f"{url}{separator}device={number}"), timing)


async def volts(meter: BusDevice, phase: int = 0) -> tuple[int, ...]:
    return await meter.read(Table.INPUT, 2 * phase, 2)


async def test_two_devices_share_one_connection() -> None:
    async with tcp_meters(1, 2) as (_, _, url), BusPool() as buses:
        one, two = device(buses, url, 1), device(buses, url, 2)
        assert one.bus is two.bus
        assert tuple(await asyncio.gather(volts(one, 0), volts(two, 1), volts(one, 2))) == VOLTS
        (statistics,) = buses.statistics()
        assert (statistics.requests, statistics.answers, statistics.timeouts, statistics.reconnects) == (3, 3, 0, 0)
        assert [one.requests for one in statistics.devices] == [2, 1]


async def test_serial_line_is_read_with_pyserial(tmp_path: Path) -> None:
    async with serial_meters(tmp_path, 1) as (_, _, url), BusPool() as buses:
        meter = device(buses, url)
        assert await volts(meter) == VOLTS[0]
        assert await meter.read(Table.HOLDING, 0xFC00, 2) == divmod(2411507, 2**16)


async def test_same_port_with_other_settings_is_refused() -> None:
    async with BusPool() as buses:
        buses.device(parse_bus_url("serial:///dev/ttyX?baudrate=9600"))
        with pytest.raises(BusUrlError, match=r"9600 8N1.*19200 8N1"):
            buses.device(parse_bus_url("serial:///dev/ttyX?baudrate=19200&device=2"))


async def test_registers_are_written_over_tcp_and_a_serial_line(tmp_path: Path) -> None:
    async with tcp_meters(1) as (_, meters, url), serial_meters(tmp_path, 2) as (_, serial, serial_url), BusPool() as buses:
        for simulated, one in ((meters[1], device(buses, url)), (serial[2], device(buses, serial_url, 2))):
            await one.write(7054, (25939, 61696))
            assert await volts(one) == VOLTS[0]
            await one.write(7071, (2,))
            assert simulated.writes == [(7054, (25939, 61696)), (7071, (2,))]


async def test_a_write_that_is_refused_says_so() -> None:
    async with tcp_meters(1) as (_, meters, url), BusPool() as buses:
        meters[1].set_fault(MeterFault.EXCEPTION, "2")
        with pytest.raises(BusException, match="illegal data address"):
            await device(buses, url).write(7071, (2,))
        assert meters[1].writes == []


async def test_hole_and_length_are_refused_by_the_meter_and_not_retried() -> None:
    async with tcp_meters(1) as (_, meters, url), BusPool() as buses:
        for address, count, code in ((0x2B, 2, 2), (0x0000, 80, 2)):
            with pytest.raises(BusException) as caught:
                await device(buses, url).read(Table.INPUT, address, count)
            assert caught.value.code == code
        assert meters[1].requests == 2
        assert buses.statistics()[0].exceptions == 2


@pytest.mark.pain(59)
def test_a_dead_device_does_not_starve_another() -> None:
    """Over 120 s device 2 gets every answer within one time-out and its retry, and the dead device 9 costs less and less."""

    async def story() -> None:
        async with tcp_meters(2) as (_, _, url), BusPool() as buses:
            timing = DeviceTiming(timeout_s=1.0)
            dead, alive = device(buses, url, 9, timing), device(buses, url, 2, timing)
            loop = asyncio.get_running_loop()
            waits: list[float] = []
            refused = 0

            async def ask_the_dead() -> None:
                nonlocal refused
                while True:
                    with pytest.raises((BusTimeout, BusQuarantined)) as caught:
                        await volts(dead)
                    refused += caught.type is BusQuarantined
                    await asyncio.sleep(1)

            nuisance = asyncio.create_task(ask_the_dead())
            for _ in range(120):
                asked = loop.time()
                assert await volts(alive) == VOLTS[0]
                waits.append(loop.time() - asked)
                await asyncio.sleep(max(0.0, asked + 1 - loop.time()))
            nuisance.cancel()
            one, nine = buses.statistics()[0].devices
            assert (one.device, nine.device) == (2, 9)
            assert max(waits) < 2.1
            assert sum(wait > 0.1 for wait in waits[20:]) <= 6
            assert nine.requests <= 6 + 6  # three requests with a retry each, then after 2, 4, 8, 16, 30, 30 s one each
            assert refused > 60

    virtual_time.run(story())


def test_quarantine_grows_to_30_s_and_ends_with_the_first_answer() -> None:
    async def story() -> None:
        async with tcp_meters(1) as (_, meters, url), BusPool() as buses:
            meter = device(buses, url, 1, DeviceTiming(timeout_s=0.5))
            meters[1].set_fault(MeterFault.SILENT)
            pauses: list[float] = []
            loop = asyncio.get_running_loop()
            while len(pauses) < 7:
                with pytest.raises((BusTimeout, BusQuarantined, BusUnavailable)):
                    await volts(meter)
                pause = buses.statistics()[0].devices[0].quarantine_s
                if pause:
                    pauses.append(round(pause))
                    with pytest.raises(BusQuarantined, match="asked again in"):
                        await volts(meter)
                    await asyncio.sleep(pause + 0.01)
            assert pauses == [2, 4, 8, 16, 30, 30, 30]
            meters[1].clear_fault(MeterFault.SILENT)
            began = loop.time()
            assert await volts(meter) == VOLTS[0]
            assert loop.time() - began < 0.1
            assert buses.statistics()[0].devices[0].failures_in_a_row == 0

    virtual_time.run(story())


def test_one_lost_request_is_retried_unseen() -> None:
    async def story() -> None:
        async with tcp_meters(1) as (_, meters, url), BusPool() as buses:
            meter = device(buses, url, 1, DeviceTiming(timeout_s=0.5))
            meters[1].set_fault(MeterFault.SILENT)
            asyncio.get_running_loop().call_later(0.4, meters[1].clear_fault, MeterFault.SILENT)
            assert await volts(meter) == VOLTS[0]
            assert buses.statistics()[0].timeouts == 1

    virtual_time.run(story())


def test_half_open_connection_is_replaced_after_four_timeouts() -> None:
    async def story() -> None:
        async with tcp_meters(1) as (_, meters, url), BusPool() as buses:
            meter = device(buses, url, 1, DeviceTiming(timeout_s=0.5))
            assert await volts(meter) == VOLTS[0]
            meters[1].set_fault(MeterFault.SILENT)
            for _ in range(2):
                with pytest.raises(BusTimeout):
                    await volts(meter)
            assert not buses.statistics()[0].is_open
            meters[1].clear_fault(MeterFault.SILENT)
            assert await volts(meter) == VOLTS[0]
            assert buses.statistics()[0].reconnects == 1

    virtual_time.run(story())


async def test_dropped_connection_is_reopened_within_the_retry() -> None:
    async with tcp_meters(1) as (server, _, url), BusPool() as buses:
        meter = device(buses, url)
        assert await volts(meter) == VOLTS[0]
        server.drop_connections()
        await asyncio.sleep(0.02)
        assert await volts(meter, 1) == VOLTS[1]
        assert buses.statistics()[0].reconnects == 1


def test_absent_server_is_tried_again_with_a_growing_pause() -> None:
    async def story() -> None:
        async with tcp_meters(1) as (server, meters, url), BusPool() as buses:
            meter = device(buses, url)
            await server.close()
            with pytest.raises(BusUnavailable, match="cannot be opened"):
                await volts(meter)
            with pytest.raises(BusUnavailable, match=r"tried again in 0\.\d s"):
                await volts(meter)
            await asyncio.sleep(0.6)
            second = MeterServer(meters)
            port = int(url.rsplit(":", 1)[1])
            await second.start_tcp(port=port)
            assert await volts(meter) == VOLTS[0]
            await second.close()

    virtual_time.run(story())


@pytest.mark.pain(59)
async def test_unplugged_adapter_comes_back(tmp_path: Path) -> None:
    async with serial_meters(tmp_path, 1) as (cable, _, url), BusPool() as buses:
        meter = device(buses, url)
        assert await volts(meter) == VOLTS[0]
        cable.unplug()
        with pytest.raises((BusUnavailable, BusTimeout)):
            await volts(meter)
        assert not buses.statistics()[0].is_open
        cable.plug()
        async with asyncio.timeout(5):
            while True:
                try:
                    assert await volts(meter) == VOLTS[0]
                    break
                except BusUnavailable:
                    await asyncio.sleep(0.05)
        assert buses.statistics()[0].reconnects == 1


@pytest.fixture
def short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that failed rests three time-outs and not 2 to 30 s: more traffic, more chances to be wrong."""
    monkeypatch.setattr(bus, "QUARANTINE_FIRST_S", 0.0)
    monkeypatch.setattr(bus, "QUARANTINE_LAST_S", 0.06)


async def read_or_rest(meter: BusDevice, address: int, count: int) -> tuple[int, ...] | None:
    try:
        return await meter.read(Table.INPUT, address, count)
    except BusQuarantined as error:
        await asyncio.sleep(error.remaining_s)
    except (BusTimeout, BusUnavailable):
        pass
    return None


@pytest.mark.usefixtures("short_rests")
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_late_answers_are_never_taken_for_the_next_question(tmp_path: Path, seed: int) -> None:
    """Questions of one kind for different addresses, on a line that holds many bytes back beyond the time-out."""
    async with serial_meters(tmp_path, 1, seed=seed) as (cable, _, url), BusPool() as buses:
        meter = device(buses, url, 1, DeviceTiming(timeout_s=0.02, gap_s=0.001))
        cable.faults = CableFaults(delay_s=0.024, delay_share=0.2)
        answers = 0
        for turn in range(50):
            words = await read_or_rest(meter, 2 * (turn % 3), 2)
            answers += words is not None
            assert words in (None, VOLTS[turn % 3]), f"turn {turn}"
        assert buses.statistics()[0].timeouts >= 4
        assert answers >= 7


@pytest.mark.usefixtures("short_rests")
@pytest.mark.parametrize(
    "faults",
    [
        CableFaults(drop_share=0.01),
        CableFaults(flip_share=0.01),
        CableFaults(split_share=0.5),
        CableFaults(drop_share=0.004, flip_share=0.004, split_share=0.2),
    ],
    ids=["dropped", "flipped", "split", "everything"],
)
async def test_a_bad_line_gives_the_right_words_or_none(tmp_path: Path, faults: CableFaults) -> None:
    async with serial_meters(tmp_path, 1, seed=42) as (cable, _, url), BusPool() as buses:
        meter = device(buses, url, 1, DeviceTiming(timeout_s=0.04, gap_s=0.001))
        cable.faults = faults
        answers = 0
        for turn in range(25):
            words = await read_or_rest(meter, 0, 18)
            answers += words is not None
            assert words is None or words[:6] == (*VOLTS[0], *VOLTS[1], *VOLTS[2]), f"turn {turn}"
        assert answers >= 6
        cable.faults = CableFaults()
        await asyncio.sleep(0.1)
        for _ in range(50):  # a loaded machine may miss the 40 ms once more; a bus that stays deaf fails
            words = await read_or_rest(meter, 0, 2)
            if words is not None:
                break
        assert words == VOLTS[0]


async def test_full_queue_refuses_at_once() -> None:
    async with tcp_meters(1) as (_, meters, url), BusPool() as buses:
        meter = device(buses, url)
        meters[1].set_fault(MeterFault.SILENT)
        waiting = [asyncio.create_task(volts(meter)) for _ in range(QUEUE_LIMIT + 2)]
        await asyncio.sleep(0)
        with pytest.raises(BusOverloaded, match="32 requests are waiting"):
            await volts(meter)
        assert buses.statistics()[0].overloads >= 1
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_withdrawn_request_is_not_sent() -> None:
    async with tcp_meters(1) as (_, meters, url), BusPool() as buses:
        meter = device(buses, url)
        first = asyncio.create_task(volts(meter))
        second = asyncio.create_task(volts(meter))
        await asyncio.sleep(0)
        second.cancel()
        assert await first == VOLTS[0]
        assert await volts(meter) == VOLTS[0]
        assert meters[1].requests == 2


async def test_closing_refuses_what_waits() -> None:
    async with tcp_meters(1) as (_, meters, url):
        meters[1].set_fault(MeterFault.SILENT)
        async with BusPool() as buses:
            meter = device(buses, url, 1, DeviceTiming(timeout_s=5))
            waiting = [asyncio.create_task(volts(meter)) for _ in range(3)]
            await asyncio.sleep(0.05)
        for task in waiting:
            with pytest.raises(BusClosed):
                await task
        with pytest.raises(BusClosed):
            await volts(meter)


async def test_energy_register_is_where_the_manual_says() -> None:
    async with tcp_meters(1) as (_, meters, url), BusPool() as buses:
        meters[1].set_energy(Decimal(1_307_690))
        words = await device(buses, url).read(Table.INPUT, 0x48, 2)
        assert words[0] == 0x44A3


def test_an_idle_bus_does_nothing() -> None:
    """No timer and no task turn is left while nobody asks."""

    async def story() -> None:
        async with tcp_meters(1) as (_, meters, url), BusPool() as buses:
            assert await volts(device(buses, url)) == VOLTS[0]
            loop = asyncio.get_running_loop()
            assert isinstance(loop, virtual_time.VirtualTimeLoop)
            await asyncio.sleep(0.1)
            turns = 0
            select = loop.jumping.select

            def counting(timeout: float | None = None) -> list[tuple[object, int]]:
                nonlocal turns
                turns += 1
                return select(timeout)  # type: ignore[return-value]

            loop.jumping.select = counting  # type: ignore[method-assign,assignment]
            await asyncio.sleep(3600)
            assert turns <= 3
            assert meters[1].requests == 1

    virtual_time.run(story())


async def test_a_bus_ends_whenever_it_is_told_to() -> None:
    """In every turn of the event loop from the first request to after its answer: some of them swallow a cancellation below us."""
    async with tcp_meters(1) as (_, _, url):
        for turns in range(60):
            async with asyncio.timeout(5):
                async with BusPool() as buses:
                    reading = asyncio.create_task(volts(device(buses, url)))
                    for _ in range(turns):
                        await asyncio.sleep(0)
                (outcome,) = await asyncio.gather(reading, return_exceptions=True)
            assert outcome == VOLTS[0] or isinstance(outcome, BusClosed | BusUnavailable), turns


async def test_pool_is_lazy_about_pymodbus() -> None:
    import subprocess
    import sys

    code = "import sys, agent.fieldbus.bus, agent.metering.modbus; print([m for m in ('pymodbus', 'serial') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_bus_names_its_endpoint() -> None:
    assert str(BusDevice(Bus(TcpEndpoint(host="h", port=1)), 3, DeviceTiming())) == "tcp://h:1 device 3"
