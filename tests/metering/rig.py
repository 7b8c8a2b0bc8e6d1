"""What the tests of meters share: a load behind the meter, a sink that remembers, a clock, and a meter with short time-outs."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal

from agent.domain.ids import EvseId
from agent.domain.metering import Discontinuity, Quality, Reading
from agent.domain.time import Instant
from agent.fieldbus.bus import BusPool, DeviceTiming
from agent.fieldbus.url import parse_bus_url
from agent.metering.api import MeterSpec
from agent.metering.modbus import ModbusMeter
from agent.metering.template import RecoveryWrite, load_template
from simulator.meter_server import MeterSnapshot

EVSE = EvseId(1)


@dataclass
class Load:
    """A car on three phases; its energy follows the loop's clock. `volts` and `amps` are exact in float32's seven digits."""

    volts: tuple[Decimal, Decimal, Decimal] = (Decimal("230.2"), Decimal("231.5"), Decimal("229.4"))
    amps: tuple[Decimal, Decimal, Decimal] = (Decimal(16), Decimal(16), Decimal(16))
    start_wh: Decimal = Decimal(1_307_690)
    serial_number: str = "2411507"
    since: float = field(default_factory=lambda: asyncio.get_running_loop().time())

    def snapshot(self) -> MeterSnapshot:
        watts = tuple((u * i).quantize(Decimal("0.1")) for u, i in zip(self.volts, self.amps, strict=True))
        elapsed = Decimal(str(asyncio.get_running_loop().time() - self.since))
        return MeterSnapshot(
            voltage_v=self.volts,
            current_a=self.amps,
            power_w=(watts[0], watts[1], watts[2]),
            import_wh=self.start_wh + sum(watts, Decimal(0)) * elapsed / 3600,
            frequency_hz=Decimal("50.1"),
            serial_number=self.serial_number,
        )

    def switch(self, amps: str) -> None:
        """Change the current of all phases; what has flowed so far stays counted."""
        self.start_wh = self.snapshot().import_wh
        self.since = asyncio.get_running_loop().time()
        self.amps = (Decimal(amps), Decimal(amps), Decimal(amps))


@dataclass
class Recorder:
    """A sink that keeps everything in order."""

    readings: list[Reading] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    recovered: int = 0
    breaks: list[tuple[Discontinuity, Reading | None, Reading]] = field(default_factory=list)
    order: list[str] = field(default_factory=list)

    def on_reading(self, reading: Reading) -> None:
        self.readings.append(reading)
        self.order.append(reading.quality.value)

    def on_lost(self, evse_id: EvseId, reason: str) -> None:
        assert evse_id == EVSE
        self.lost.append(reason)
        self.order.append("lost")

    def on_recovered(self, evse_id: EvseId) -> None:
        assert evse_id == EVSE
        self.recovered += 1
        self.order.append("recovered")

    def on_discontinuity(self, evse_id: EvseId, kind: Discontinuity, last_good: Reading | None, first_new: Reading) -> None:
        assert evse_id == EVSE
        self.breaks.append((kind, last_good, first_new))
        self.order.append(kind.value)

    @property
    def good(self) -> list[Reading]:
        return [one for one in self.readings if one.quality is Quality.GOOD]

    @property
    def suspect(self) -> list[Reading]:
        return [one for one in self.readings if one.quality is Quality.SUSPECT]


def now() -> Instant:
    return Instant("boot", round(asyncio.get_running_loop().time() * 1000))


def make_meter(
    buses: BusPool,
    sink: Recorder,
    url: str,
    *,
    template: str = "eastron-sdm630",
    timing: DeviceTiming | None = None,
    recovery: tuple[RecoveryWrite, ...] = (),
    interval_s: float = 1.0,
    stale_after_s: float = 5.0,
) -> ModbusMeter:
    """Make a meter; `timing` replaces the template's."""
    spec = MeterSpec(evse_id=EVSE, driver="modbus", template=template, url=url, interval_s=interval_s, stale_after_s=stale_after_s)
    loaded = replace(load_template(template), recovery=recovery)
    if timing is not None:
        loaded = replace(loaded, timing=timing)
    return ModbusMeter(spec, template=loaded, device=buses.device(parse_bus_url(url), loaded.timing), sink=sink, now=now)


async def until(condition: Callable[[], object], seconds: float = 10.0, every: float = 0.01) -> None:
    """Wait until the condition holds; fail after `seconds` of the loop's time."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(every)
