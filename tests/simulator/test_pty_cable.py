"""The serial cable for tests."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import serial

from simulator.pty_cable import CableFaults, PtyCable
from tests.metering.rig import until

TEXT = bytes(range(256)) * 4


@pytest.fixture
async def cable(tmp_path: Path) -> AsyncIterator[PtyCable]:
    one = PtyCable(tmp_path / "ttyUSB0", seed=5)
    yield one
    one.close()


async def carry(cable: PtyCable, data: bytes, *, seconds: float = 1.0) -> bytes:
    """Send from the charger's end, opened with pyserial, and give what arrives at the meter's."""
    arrived = bytearray()
    os.set_blocking(cable.meter_fd, False)
    loop = asyncio.get_running_loop()

    def read() -> None:
        arrived.extend(os.read(cable.meter_fd, 4096))

    loop.add_reader(cable.meter_fd, read)
    with serial.Serial(cable.charger_path, 9600, timeout=0) as port:
        for start in range(0, len(data), 64):
            port.write(data[start : start + 64])
            await asyncio.sleep(0.001)
        before = -1
        deadline = loop.time() + seconds
        while loop.time() < deadline and (len(arrived) < len(data) or before != len(arrived)):
            before = len(arrived)
            await asyncio.sleep(0.02)
            if before == len(arrived) and len(arrived) + cable.dropped >= len(data):
                break
    loop.remove_reader(cable.meter_fd)
    return bytes(arrived)


async def test_good_cable_carries_every_byte_both_ways(cable: PtyCable) -> None:
    assert await carry(cable, TEXT) == TEXT
    with serial.Serial(cable.charger_path, 9600, timeout=0) as port:
        os.write(cable.meter_fd, b"\x00\x03\x11\x13\x0d\x0a\xff")
        got = b""
        async with asyncio.timeout(2):
            while len(got) < 7:
                got += port.read(100)
                await asyncio.sleep(0.005)
        assert got == b"\x00\x03\x11\x13\x0d\x0a\xff"


async def test_dropped_bytes_are_missing(cable: PtyCable) -> None:
    cable.faults = CableFaults(drop_share=0.1)
    arrived = await carry(cable, TEXT)
    assert 0 < cable.dropped < 200
    assert len(arrived) == len(TEXT) - cable.dropped


async def test_flipped_bytes_differ_in_one_bit(cable: PtyCable) -> None:
    cable.faults = CableFaults(flip_share=0.1)
    arrived = await carry(cable, TEXT)
    wrong = [(sent ^ got).bit_count() for sent, got in zip(TEXT, arrived, strict=True) if sent != got]
    assert len(wrong) == cable.flipped > 0
    assert set(wrong) == {1}


@pytest.mark.parametrize("faults", [CableFaults(delay_s=0.02, delay_share=0.5), CableFaults(split_share=0.2), CableFaults(delay_s=0.01)])
async def test_delay_and_split_keep_the_order(cable: PtyCable, faults: CableFaults) -> None:
    cable.faults = faults
    assert await carry(cable, TEXT, seconds=4) == TEXT


async def test_cut_cable_carries_nothing(cable: PtyCable) -> None:
    cable.faults = CableFaults(is_cut=True)
    assert await carry(cable, b"hello") == b""
    assert cable.dropped == 5


async def test_same_seed_same_faults(tmp_path: Path) -> None:
    spoiled = []
    for turn in range(2):
        one = PtyCable(tmp_path / f"tty{turn}", seed=99)
        one.faults = CableFaults(drop_share=0.05, flip_share=0.05)
        spoiled.append(one._spoil(TEXT))
        one.close()
    assert spoiled[0] == spoiled[1] != TEXT


async def test_unplugged_end_hangs_up_and_comes_back_behind_the_same_path(cable: PtyCable) -> None:
    with serial.Serial(cable.charger_path, 9600, timeout=0) as port:
        cable.unplug()
        cable.unplug()
        assert not Path(cable.charger_path).exists()
        with pytest.raises(serial.SerialException):
            port.read(1)
    os.write(cable.meter_fd, b"lost")
    await until(lambda: cable.dropped == 4)
    cable.plug()
    cable.plug()
    assert await carry(cable, b"back") == b"back"
