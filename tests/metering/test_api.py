"""Opening a meter by driver name."""

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from agent.fieldbus.bus import BusPool
from agent.metering import api
from agent.metering.api import ENTRY_POINT_GROUP, Meter, MeterConfigError, MeterSink, MeterSpec, find_driver, open_meter
from agent.metering.modbus import ModbusMeter, open_modbus_meter
from tests.metering.rig import EVSE, Recorder, now


def spec(driver: str) -> MeterSpec:
    return MeterSpec(evse_id=EVSE, driver=driver, template="eastron-sdm630", url="tcp://127.0.0.1:5020?device=1")


async def test_modbus_is_built_in() -> None:
    async with BusPool() as buses:
        meter = open_meter(spec("modbus"), buses=buses, sink=Recorder(), now=now)
        assert isinstance(meter, ModbusMeter)
        status = meter.status()
        assert (status.where, status.problem, status.readings) == ("tcp://127.0.0.1:5020 device 1", "not read yet", 0)
    assert api.BUILT_IN["modbus"] == "agent.metering.modbus:open_modbus_meter"


async def test_unknown_driver_names_those_that_exist() -> None:
    async with BusPool() as buses:
        with pytest.raises(MeterConfigError, match=r"'nope' is not installed; there are .*modbus"):
            open_meter(spec("nope"), buses=buses, sink=Recorder(), now=now)


def test_driver_of_another_package_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = EntryPoint("special", "agent.metering.modbus:open_modbus_meter", ENTRY_POINT_GROUP)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: EntryPoints([foreign]))
    assert find_driver("special") is open_modbus_meter


def test_types_fit_the_protocols() -> None:
    sinks: list[MeterSink] = [Recorder()]
    meters: list[type[Meter]] = [ModbusMeter]
    assert len(sinks) == len(meters)
