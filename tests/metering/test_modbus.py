"""The production driver against real Modbus servers: over TCP in virtual time, over serial lines in real time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from agent.domain.metering import Discontinuity, Measurand, Phase, Quality, Reading
from agent.fieldbus import bus
from agent.fieldbus.bus import BusPool, DeviceTiming
from agent.fieldbus.url import parse_bus_url
from agent.metering.api import MeterConfigError, MeterSpec
from agent.metering.modbus import ModbusMeter, open_modbus_meter
from agent.metering.template import RecoveryWrite, load_template
from simulator.meter_server import MeterFault, MeterServer, SimulatedMeter
from simulator.pty_cable import CableFaults, PtyCable
from tests.fieldbus import virtual_time
from tests.metering.rig import EVSE, Load, Recorder, make_meter, now, until

TEMPLATES = ("eastron-sdm630", "carlo-gavazzi-em340")


@asynccontextmanager
async def running(meter: ModbusMeter) -> AsyncIterator[None]:
    task = asyncio.create_task(meter.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled(), task


@asynccontextmanager
async def served(meters: dict[int, SimulatedMeter]) -> AsyncIterator[int]:
    server = MeterServer(meters)
    port = await server.start_tcp()
    try:
        yield port
    finally:
        await server.close()


class Rig:
    """A simulated meter behind TCP and the driver that reads it, on virtual time."""

    def __init__(self, load: Load, simulated: SimulatedMeter, sink: Recorder, meter: ModbusMeter) -> None:
        self.load, self.simulated, self.sink, self.meter = load, simulated, sink, meter

    async def seconds(self, count: float) -> None:
        await asyncio.sleep(count)


def on_tcp(
    story: Callable[[Rig], Awaitable[None]], template: str = "eastron-sdm630", interval_s: float = 1.0, stale_after_s: float = 5.0
) -> None:
    async def run() -> None:
        load = Load()
        simulated = SimulatedMeter(load, template)
        sink = Recorder()
        async with served({1: simulated}) as port, BusPool() as buses:
            url = f"tcp://127.0.0.1:{port}?device=1"
            meter = make_meter(buses, sink, url, template=template, interval_s=interval_s, stale_after_s=stale_after_s)
            async with running(meter):
                await story(Rig(load, simulated, sink, meter))

    virtual_time.run(run())


@pytest.mark.parametrize("template", TEMPLATES)
def test_everything_is_read_once_a_second_with_its_time(template: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.seconds(10.5)
        assert len(rig.sink.readings) == 11
        assert rig.sink.suspect == []
        assert rig.sink.lost == []
        one = rig.sink.readings[-1]
        assert one.evse_id == EVSE
        assert one.serial_number == "2411507"
        assert one.value(Measurand.VOLTAGE, Phase.L2_N) == Decimal("231.5")
        assert one.value(Measurand.CURRENT_IMPORT, Phase.L3) == 16
        assert one.value(Measurand.POWER_ACTIVE_IMPORT, Phase.L1) == Decimal("3683.2")
        assert one.value(Measurand.POWER_ACTIVE_IMPORT) == Decimal("11057.6")
        assert one.value(Measurand.FREQUENCY) == Decimal("50.1")
        assert one.value(Measurand.ENERGY_ACTIVE_IMPORT_REGISTER) == one.energy_wh
        stamps = [reading.at.mono_ms for reading in rig.sink.readings]
        assert all(990 <= after - before <= 1010 for before, after in pairwise(stamps))
        status = rig.meter.status()
        assert (status.is_lost, status.problem, status.readings, status.serial_number) == (False, None, 11, "2411507")

    on_tcp(story, template)


@pytest.mark.parametrize(("template", "resolution", "first"), [(TEMPLATES[0], 1, 1_307_690), (TEMPLATES[1], 100, 1_307_600)])
def test_energy_is_the_raw_register_in_its_steps(template: str, resolution: int, first: int) -> None:
    async def story(rig: Rig) -> None:
        await rig.seconds(120)
        assert rig.sink.readings[0].energy_wh == first
        for reading in rig.sink.readings:
            assert reading.energy_wh is not None
            assert reading.resolution_wh == resolution
            assert reading.energy_wh % resolution == 0
        last = rig.sink.readings[-1]
        assert last.energy_wh is not None
        assert 0 <= rig.simulated.energy_wh() - last.energy_wh < resolution + 5
        assert rig.sink.suspect == []

    on_tcp(story, template)


@pytest.mark.parametrize(
    ("energy_wh", "resolution"), [("9000000", "1"), ("16300000", "1"), ("17000000", "1.953125"), ("140000000", "15.625")]
)
def test_float_register_reports_the_step_that_it_has_there(energy_wh: str, resolution: str) -> None:
    async def story(rig: Rig) -> None:
        rig.simulated.set_energy(Decimal(energy_wh))
        rig.load.switch("0")
        await until(lambda: rig.sink.readings)
        assert rig.sink.readings[0].resolution_wh == Decimal(resolution)

    on_tcp(story)


@pytest.mark.parametrize("template", TEMPLATES)
def test_values_of_a_right_template_fit_each_other(template: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.seconds(400)
        assert {check.name: check.holds for check in rig.meter.status().checks} == dict.fromkeys(
            ("voltage", "power", "phases", "direction", "energy"), True
        )

    on_tcp(story, template)


@pytest.mark.pain(49)
@pytest.mark.parametrize("template", TEMPLATES)
def test_silent_meter_is_lost_once_and_comes_back(template: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.seconds(3.5)
        rig.simulated.set_fault(MeterFault.SILENT)
        last = rig.sink.readings[-1]
        await rig.seconds(60)
        assert rig.sink.readings[-1] is last, "a stale value was repeated"
        assert len(rig.sink.lost) == 1
        assert "no good read-out for 5 s" in rig.sink.lost[0]
        assert rig.meter.status().is_lost
        rig.simulated.clear_fault(MeterFault.SILENT)
        await until(lambda: rig.sink.recovered, 31, every=0.5)
        assert rig.sink.order[rig.sink.order.index("recovered") + 1] == "good"
        assert rig.sink.readings[-1].at.ms_since(last.at) > 55_000
        await rig.seconds(5)
        assert (len(rig.sink.lost), rig.sink.recovered, rig.sink.breaks) == (1, 1, [])

    on_tcp(story, template)


def test_staleness_is_told_when_it_begins() -> None:
    async def story(rig: Rig) -> None:
        await rig.seconds(3.5)
        rig.simulated.set_fault(MeterFault.SILENT)
        last = rig.sink.readings[-1].at
        await until(lambda: rig.sink.lost, 10)
        assert 4_950 <= now().ms_since(last) <= 5_100

    on_tcp(story)


def test_meter_that_never_answers_is_lost_too() -> None:
    async def story(rig: Rig) -> None:
        rig.simulated.set_fault(MeterFault.SILENT)
        await rig.seconds(8)
        assert len(rig.sink.lost) == 1
        assert rig.sink.readings == []

    on_tcp(story)


def test_refusing_meter_is_lost_with_its_exception_code() -> None:
    async def story(rig: Rig) -> None:
        await rig.seconds(2)
        rig.simulated.set_fault(MeterFault.EXCEPTION, "4")
        await rig.seconds(8)
        assert "Modbus exception 4 (device failure)" in rig.sink.lost[0]

    on_tcp(story)


@pytest.mark.parametrize("fault", [MeterFault.NAN, MeterFault.WORD_SWAP])
@pytest.mark.parametrize("template", TEMPLATES)
def test_nonsense_is_marked_and_ends_in_a_lost_meter(template: str, fault: MeterFault) -> None:
    async def story(rig: Rig) -> None:
        await rig.seconds(3.5)
        good = len(rig.sink.good)
        rig.simulated.set_fault(fault)
        await rig.seconds(10)
        assert len(rig.sink.good) == good
        assert len(rig.sink.suspect) >= 9
        assert len(rig.sink.lost) == 1
        if fault is MeterFault.NAN:
            assert all(reading.energy_wh is None and reading.quantities == () for reading in rig.sink.suspect)
        rig.simulated.clear_fault(fault)
        await rig.seconds(3)
        assert rig.sink.recovered == 1
        assert rig.sink.breaks == []

    on_tcp(story, template)


@pytest.mark.pain(49)
def test_frozen_meter_under_load_is_found_and_may_catch_up() -> None:
    async def story(rig: Rig) -> None:
        await rig.seconds(15)
        rig.simulated.set_fault(MeterFault.FROZEN)
        await rig.seconds(40)
        assert "stands still although power flows" in rig.sink.lost[0]
        rig.simulated.clear_fault(MeterFault.FROZEN)
        await rig.seconds(30)
        assert rig.sink.recovered == 1
        assert rig.sink.breaks == []
        assert rig.sink.readings[-1].quality is Quality.GOOD

    on_tcp(story)


@pytest.mark.pain(53)
@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize(
    ("register_wh", "kind"),
    [
        ("0", Discontinuity.RESET),
        ("5000000", Discontinuity.JUMP),
        ("4296274976", Discontinuity.JUMP),
    ],
)
def test_new_register_is_told_with_last_good_and_first_new(template: str, register_wh: str, kind: Discontinuity) -> None:
    async def story(rig: Rig) -> None:
        rig.load.switch("6")
        await rig.seconds(5.5)
        last_good = rig.sink.good[-1]
        rig.simulated.set_energy(Decimal(register_wh))
        await rig.seconds(2.2)
        assert [reading.quality for reading in rig.sink.readings[-2:]] == [Quality.SUSPECT, Quality.SUSPECT]
        assert rig.sink.breaks == []
        await rig.seconds(1)
        ((told, before, first_new),) = rig.sink.breaks
        assert (told, before) == (kind, last_good)
        assert first_new == rig.sink.suspect[0] or first_new.energy_wh == rig.sink.suspect[0].energy_wh
        assert rig.sink.order[-2:] == [kind.value, "good"]
        assert rig.sink.lost == []
        await rig.seconds(10)
        assert rig.sink.readings[-1].quality is Quality.GOOD
        assert len(rig.sink.breaks) == 1

    on_tcp(story, template)


@pytest.mark.pain(54)
@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize(
    ("fault", "says"),
    [(MeterFault.ENERGY_WORDS, ("does not continue the one before (words)", "more than 100 GWh")), (MeterFault.NEGATIVE, ("is negative",))],
)
def test_register_with_wrong_words_or_sign_is_named_and_never_good(
    template: str, fault: MeterFault, says: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    async def story(rig: Rig) -> None:
        await rig.seconds(5.5)
        before = rig.sink.good[-1].energy_wh
        rig.simulated.set_fault(fault)
        await rig.seconds(30)
        assert rig.sink.good[-1].energy_wh == before, "not one of them"
        (reason,) = rig.sink.lost
        assert any(words in reason for words in says)
        assert f"register {before} Wh, then " in reason
        rig.simulated.clear_fault(fault)
        await rig.seconds(3)
        assert rig.sink.recovered == 1
        assert rig.sink.breaks == []

    on_tcp(story, template)
    doubts = [record for record in caplog.records if record.getMessage().startswith("meter doubted")]
    assert len(doubts) == 1, "once, not every second"


@pytest.mark.pain(54)
def test_a_register_of_absurd_height_is_no_new_register_however_long_it_stands() -> None:
    async def story(rig: Rig) -> None:
        await rig.seconds(5.5)
        rig.simulated.set_fault(MeterFault.ENERGY_WORDS)
        await rig.seconds(90)
        assert len(rig.sink.lost) == 1
        rig.simulated.clear_fault(MeterFault.ENERGY_WORDS)
        await rig.seconds(3)
        assert (rig.sink.recovered, rig.sink.breaks) == (1, [])

    on_tcp(story, "eastron-sdm630")


def test_rollover_is_told() -> None:
    async def story(rig: Rig) -> None:
        rig.simulated.set_energy(Decimal(9_999_990))
        await rig.seconds(1.5)
        rig.simulated.set_energy(Decimal(2))
        await rig.seconds(4)
        assert [kind for kind, _, _ in rig.sink.breaks] == [Discontinuity.ROLLOVER]

    on_tcp(story)


@pytest.mark.pain(53)
def test_swapped_meter_is_found_by_its_serial_number() -> None:
    async def story(rig: Rig) -> None:
        await rig.seconds(3.5)
        rig.simulated.set_fault(MeterFault.SERIAL_SWAP, "7777777")
        rig.simulated.set_energy(Decimal(120))
        await rig.seconds(5)
        ((kind, last_good, first_new),) = rig.sink.breaks
        assert kind is Discontinuity.SWAP
        assert last_good is not None
        assert (last_good.serial_number, first_new.serial_number) == ("2411507", "7777777")
        assert rig.sink.readings[-1].serial_number == "7777777"

    on_tcp(story)


def test_meter_that_was_away_is_identified_again() -> None:
    """A swap takes longer than staleness: the new serial number alone is enough, even if the register happens to fit."""

    async def story(rig: Rig) -> None:
        await rig.seconds(3.5)
        rig.simulated.set_fault(MeterFault.SILENT)
        await rig.seconds(10)
        rig.simulated.set_fault(MeterFault.SERIAL_SWAP, "7777777")
        rig.simulated.clear_fault(MeterFault.SILENT)
        await rig.seconds(30)
        assert [kind for kind, _, _ in rig.sink.breaks] == [Discontinuity.SWAP]
        assert {reading.serial_number for reading in rig.sink.good} == {"2411507", "7777777"}

    on_tcp(story)


def test_single_glitch_ends_nothing() -> None:
    async def story(rig: Rig) -> None:
        await rig.seconds(2.5)
        true = rig.simulated.energy_wh()
        rig.simulated.set_energy(Decimal(0))
        await rig.seconds(1)
        rig.simulated.set_energy(true + 6)
        await rig.seconds(5)
        assert len(rig.sink.suspect) == 1
        assert (rig.sink.breaks, rig.sink.lost) == ([], [])

    on_tcp(story)


def test_wrong_meter_is_refused_by_its_identification_code() -> None:
    async def run() -> None:
        sink = Recorder()
        simulated = SimulatedMeter(Load(), "em340")
        template = replace(load_template("carlo-gavazzi-em340"), checks=())
        (check,) = load_template("carlo-gavazzi-em340").checks
        other = replace(template, checks=(replace(check, allowed=frozenset({"103"})),))
        async with served({1: simulated}) as port, BusPool() as buses:
            spec = MeterSpec(evse_id=EVSE, driver="modbus", template=other.name, url=f"tcp://127.0.0.1:{port}")
            meter = ModbusMeter(spec, template=other, device=buses.device(parse_bus_url(spec.url), other.timing), sink=sink, now=now)
            async with running(meter):
                await asyncio.sleep(7)
        assert sink.readings == []
        assert len(sink.lost) == 1
        assert "register 0x000B says 341, template carlo-gavazzi-em340 is for 103: another meter" in sink.lost[0]

    virtual_time.run(run())


def test_meter_without_the_identity_registers_is_not_taken_for_an_em340() -> None:
    async def run() -> None:
        sink = Recorder()
        async with (
            served({1: SimulatedMeter(Load(), "sdm630")}) as port,
            BusPool() as buses,
            running(make_meter(buses, sink, f"tcp://127.0.0.1:{port}", template="carlo-gavazzi-em340")),
        ):
            await asyncio.sleep(7)
        assert (sink.readings, len(sink.lost)) == ([], 1)

    virtual_time.run(run())


def test_meter_without_serial_number_is_used_all_the_same() -> None:
    async def run() -> None:
        sink = Recorder()
        async with (
            served({1: SimulatedMeter(Load(serial_number="0"))}) as port,
            BusPool() as buses,
            running(make_meter(buses, sink, f"tcp://127.0.0.1:{port}")),
        ):
            await asyncio.sleep(2.5)
        assert [reading.serial_number for reading in sink.good] == [None] * 3
        assert sink.lost == []

    virtual_time.run(run())


def test_meter_that_is_silent_about_its_serial_number_is_used_all_the_same() -> None:
    """Some meters do not answer at all where they should refuse; they are believed to have none after the third silence."""

    class Shy(SimulatedMeter):
        def answer(self, pdu: bytes) -> bytes | None:
            return None if pdu[0] == 3 else super().answer(pdu)

    async def run() -> None:
        sink = Recorder()
        async with served({1: Shy(Load())}) as port, BusPool() as buses, running(make_meter(buses, sink, f"tcp://127.0.0.1:{port}")):
            await asyncio.sleep(20)
            assert sink.good
            assert sink.readings[-1].serial_number is None
            await asyncio.sleep(120)
        assert len(sink.good) > 100
        assert len(sink.lost) <= 1

    virtual_time.run(run())


def test_read_now_reads_out_of_turn() -> None:
    async def story(rig: Rig) -> None:
        await rig.seconds(10.1)
        count = len(rig.sink.readings)
        rig.meter.read_now()
        rig.meter.read_now()
        await until(lambda: len(rig.sink.readings) > count, 0.5)
        await rig.seconds(0.3)
        assert len(rig.sink.readings) == count + 1

    on_tcp(story, interval_s=60, stale_after_s=200)


def test_two_meters_on_one_bus_report_apart() -> None:
    async def run() -> None:
        meters = {1: SimulatedMeter(Load()), 2: SimulatedMeter(Load(serial_number="1111111"), "em340")}
        dead_sink, sinks = Recorder(), (Recorder(), Recorder())
        async with served(meters) as port, BusPool() as buses:
            url = f"tcp://127.0.0.1:{port}?device="
            first = make_meter(buses, sinks[0], f"{url}1")
            second = make_meter(buses, sinks[1], f"{url}2", template="carlo-gavazzi-em340")
            async with running(first), running(second), running(make_meter(buses, dead_sink, f"{url}3")):
                await asyncio.sleep(60)
            assert len(buses.statistics()) == 1
        assert [sink.lost for sink in sinks] == [[], []]
        assert all(len(sink.readings) >= 40 for sink in sinks)
        assert len(dead_sink.lost) == 1
        assert {one.serial_number for one in sinks[1].readings} == {"1111111"}

    virtual_time.run(run())


@pytest.mark.pain(51)
@pytest.mark.parametrize("is_cured", [True, False])
def test_meter_that_is_locked_after_a_loss_is_unlocked_by_its_template(*, is_cured: bool) -> None:
    """An Iskra WM3M4 wants its time again after each power cut before it goes on (EVerest issue 623)."""
    recovery = (RecoveryWrite(7054, (0x6553, 0xF100)), RecoveryWrite(7071, (2,)))

    async def run() -> None:
        simulated = SimulatedMeter(Load())
        simulated.set_fault(MeterFault.LOCKED, "7071=2")
        sink = Recorder()
        async with served({1: simulated}) as port, BusPool() as buses:
            meter = make_meter(buses, sink, f"tcp://127.0.0.1:{port}?device=1", recovery=recovery if is_cured else ())
            async with running(meter):
                await asyncio.sleep(10)
                assert bool(sink.good) is is_cured
                if not is_cured:
                    return
                assert simulated.writes == [(7054, (0x6553, 0xF100)), (7071, (2,))], "once, in this order"
                await asyncio.sleep(50)
                assert len(simulated.writes) == 2, "a meter that answers is left alone"
                simulated.set_fault(MeterFault.SILENT)
                await asyncio.sleep(20)
                simulated.set_fault(MeterFault.LOCKED, "7071=2")
                simulated.clear_fault(MeterFault.SILENT)
                await asyncio.sleep(60)
                assert sink.readings[-1].quality is Quality.GOOD
                assert (len(sink.lost), sink.recovered) == (1, 1)
                assert simulated.writes[2:] == simulated.writes[:2]

    virtual_time.run(run())


def test_meter_that_stays_locked_is_not_written_to_all_the_time() -> None:
    async def run() -> None:
        simulated = SimulatedMeter(Load())
        simulated.set_fault(MeterFault.LOCKED, "never")
        async with served({1: simulated}) as port, BusPool() as buses:
            meter = make_meter(buses, Recorder(), f"tcp://127.0.0.1:{port}?device=1", recovery=(RecoveryWrite(7071, (2,)),))
            async with running(meter):
                await asyncio.sleep(100)
        assert 2 <= len(simulated.writes) <= 4

    virtual_time.run(run())


# ------------------------------------------------------------------------------------------------------ serial lines
SERIAL_TIMING = DeviceTiming(timeout_s=0.08, gap_s=0.001)


@asynccontextmanager
async def serial_rig(directory: Path, monkeypatch: pytest.MonkeyPatch, *, seed: int = 7) -> AsyncIterator[tuple[PtyCable, Load, Recorder]]:
    monkeypatch.setattr(bus, "QUARANTINE_FIRST_S", 0.1)
    monkeypatch.setattr(bus, "QUARANTINE_LAST_S", 0.25)
    monkeypatch.setattr(bus, "REOPEN_FIRST_S", 0.05)
    cable = PtyCable(directory / "ttyUSB0", seed=seed)
    load = Load()
    server = MeterServer({1: SimulatedMeter(load, "em340")})
    server.serve_fd(cable.meter_fd)
    sink = Recorder()
    async with BusPool() as buses:
        url = f"serial://{cable.charger_path}?baudrate=115200&device=1"
        meter = make_meter(buses, sink, url, template="carlo-gavazzi-em340", timing=SERIAL_TIMING, interval_s=0.05, stale_after_s=0.6)
        async with running(meter):
            yield cable, load, sink
    await server.close()
    cable.close()


def is_true(reading: Reading, load: Load) -> bool:
    """Whether every value of the read-out is what the meter really measured."""
    snapshot = load.snapshot()
    phases = list(zip((Phase.L1_N, Phase.L2_N, Phase.L3_N), (Phase.L1, Phase.L2, Phase.L3), strict=True))
    return (
        all(reading.value(Measurand.VOLTAGE, v) == snapshot.voltage_v[i] for i, (v, _) in enumerate(phases))
        and all(reading.value(Measurand.CURRENT_IMPORT, a) == snapshot.current_a[i] for i, (_, a) in enumerate(phases))
        and all(reading.value(Measurand.POWER_ACTIVE_IMPORT, a) == snapshot.power_w[i] for i, (_, a) in enumerate(phases))
        and reading.value(Measurand.FREQUENCY) == snapshot.frequency_hz
        and reading.energy_wh in (Decimal(1_307_600), Decimal(1_307_700))
    )


@pytest.mark.parametrize(
    "faults",
    [
        CableFaults(drop_share=0.02),
        CableFaults(flip_share=0.02),
        CableFaults(delay_s=0.1, delay_share=0.2),
        CableFaults(split_share=0.3),
        CableFaults(drop_share=0.005, flip_share=0.005, split_share=0.05, delay_s=0.05, delay_share=0.1),
    ],
    ids=["dropped", "flipped", "delayed", "split", "everything"],
)
async def test_bad_line_never_makes_a_wrong_value_and_is_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: CableFaults
) -> None:
    async with serial_rig(tmp_path, monkeypatch) as (cable, load, sink):
        await until(lambda: len(sink.good) >= 2)
        cable.faults = faults
        await asyncio.sleep(0.7)
        cable.faults = CableFaults()
        count = len(sink.good)
        await until(lambda: len(sink.good) >= count + 5)
        assert all(is_true(reading, load) for reading in sink.readings)
        assert sink.breaks == []
        assert len(sink.lost) in (sink.recovered, sink.recovered + 1)


async def test_cut_cable_and_pulled_adapter_are_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serial_rig(tmp_path, monkeypatch) as (cable, load, sink):
        await until(lambda: len(sink.good) >= 2)
        cable.faults = CableFaults(is_cut=True)
        await until(lambda: len(sink.lost) == 1)
        cable.faults = CableFaults()
        await until(lambda: sink.recovered == 1)
        cable.unplug()
        await until(lambda: len(sink.lost) == 2)
        assert "cannot be opened" in sink.lost[1] or "lost" in sink.lost[1]
        cable.plug()
        await until(lambda: sink.recovered == 2)
        assert all(is_true(reading, load) for reading in sink.readings)
        assert sink.breaks == []


# -------------------------------------------------------------------------------------------------------------- opening
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"template": "nope"}, "carlo-gavazzi-em340, eastron-sdm630"),
        ({"url": "http://x"}, "scheme 'http'"),
        ({"interval_s": 0.0}, "must be above 0"),
        ({"interval_s": 5.0}, "below stale_after_s = 5"),
    ],
)
async def test_wrong_configuration_is_refused_naming_the_evse(changes: dict[str, str | float], says: str) -> None:
    values = {"evse_id": EVSE, "driver": "modbus", "template": "eastron-sdm630", "url": "tcp://127.0.0.1:1?device=1", **changes}
    async with BusPool() as buses:
        with pytest.raises(MeterConfigError, match=says) as caught:
            open_modbus_meter(MeterSpec(**values), buses=buses, sink=Recorder(), now=now)  # type: ignore[arg-type]
        assert str(caught.value).startswith("EVSE 1: ")
