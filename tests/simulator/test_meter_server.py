"""The simulated meters, asked with frames written by hand."""

import asyncio
import struct
from dataclasses import dataclass
from decimal import Decimal

import pytest

from simulator.meter_server import MeterFault, MeterServer, MeterSnapshot, SimulatedMeter, crc16


@dataclass
class Still:
    import_wh: Decimal = Decimal("12345678.9")

    def snapshot(self) -> MeterSnapshot:
        return MeterSnapshot(
            voltage_v=(Decimal("231.2"), Decimal("229.8"), Decimal("230.5")),
            current_a=(Decimal("6.321"), Decimal(0), Decimal(0)),
            power_w=(Decimal(1450), Decimal(-550), Decimal(0)),
            import_wh=self.import_wh,
            frequency_hz=Decimal(50),
            serial_number="A1B2C34",
        )


def ask(meter: SimulatedMeter, function: int, address: int, count: int) -> bytes | None:
    return meter.answer(struct.pack(">BHH", function, address, count))


def words(answer: bytes | None) -> tuple[int, ...]:
    assert answer is not None
    assert answer[0] in (3, 4), answer.hex()
    assert answer[1] == len(answer) - 2
    return struct.unpack(f">{answer[1] // 2}H", answer[2:])


def test_sdm630_speaks_float32_high_word_first() -> None:
    meter = SimulatedMeter(Still(), "sdm630")
    raw = struct.pack(">6H", *words(ask(meter, 4, 0, 6)))
    assert [round(value, 4) for value in struct.unpack(">3f", raw)] == [231.2, 229.8, 230.5]
    (kwh,) = struct.unpack(">f", struct.pack(">2H", *words(ask(meter, 4, 0x48, 2))))
    assert kwh == struct.unpack(">f", struct.pack(">f", 12345.678))[0]
    (total,) = struct.unpack(">f", struct.pack(">2H", *words(ask(meter, 4, 0x34, 2))))
    assert total == 900.0


def test_em340_speaks_int32_low_word_first() -> None:
    meter = SimulatedMeter(Still(), "em340")
    assert words(ask(meter, 4, 0, 6)) == (2312, 0, 2298, 0, 2305, 0)
    assert words(ask(meter, 4, 0x0C, 2)) == (6321, 0)
    assert words(ask(meter, 4, 0x12, 4)) == (14500, 0, 0xEA84, 0xFFFF)
    assert words(ask(meter, 3, 0x33, 3)) == (500, 0xE240, 0x0001)


def test_em340_gives_its_code_only_when_000b_is_read_alone() -> None:
    meter = SimulatedMeter(Still(), "em340")
    assert words(ask(meter, 3, 0x0B, 1)) == (341,)
    assert words(ask(meter, 3, 0x0A, 2))[1] == 0


@pytest.mark.parametrize(
    ("model", "function", "address", "count", "expected"),
    [
        ("em340", 3, 0x5000, 7, tuple(map(ord, "A1B2C34"))),
        ("sdm630", 3, 0xFC00, 2, (0, 1234)),
    ],
)
def test_serial_numbers(model: str, function: int, address: int, count: int, expected: tuple[int, ...]) -> None:
    assert words(ask(SimulatedMeter(Still(), model), function, address, count)) == expected


@pytest.mark.parametrize(
    ("pdu", "answer"),
    [
        ("04 002b 0002", "84 02"),  # a hole of the SDM630's table
        ("04 002c 0002", "84 02"),
        ("04 0000 0030", "84 02"),
        ("03 0000 0002", "83 02"),
        ("04 0000 0000", "84 03"),
        ("04 0000 007e", "84 03"),
        ("04 0000 ffff", "84 03"),
        ("04 0000", "84 03"),
        ("06 0000 0001", "86 01"),
        ("2b 0e 01 00", "ab 01"),
    ],
)
def test_what_is_not_documented_is_refused(pdu: str, answer: str) -> None:
    assert SimulatedMeter(Still()).answer(bytes.fromhex(pdu)) == bytes.fromhex(answer)


def test_unknown_model_names_those_that_exist() -> None:
    with pytest.raises(ValueError, match="sdm630, eastron-sdm630, em340"):
        SimulatedMeter(Still(), "abb")


def test_faults() -> None:
    source = Still()
    meter = SimulatedMeter(source, "em340")
    meter.set_fault(MeterFault.SILENT)
    assert ask(meter, 4, 0, 2) is None
    meter.clear_fault(MeterFault.SILENT)
    meter.set_fault(MeterFault.EXCEPTION, "6")
    assert ask(meter, 4, 0, 2) == b"\x84\x06"
    meter.clear_fault(MeterFault.EXCEPTION)
    meter.set_fault(MeterFault.FROZEN)
    source.import_wh += 100_000
    assert words(ask(meter, 4, 0x34, 2)) == (0xE240, 1)
    meter.clear_fault(MeterFault.FROZEN)
    assert words(ask(meter, 4, 0x34, 2)) == (0xE240 + 1000, 1)
    meter.set_fault(MeterFault.WORD_SWAP)
    assert words(ask(meter, 4, 0, 2)) == (0, 2312)
    meter.clear_fault(MeterFault.WORD_SWAP)
    meter.set_fault(MeterFault.NAN)
    assert words(ask(meter, 4, 0x33, 3)) == (0x7FFF, 0xFFFF, 0x7FFF)
    meter.clear_fault(MeterFault.NAN)
    meter.set_fault(MeterFault.SERIAL_SWAP, "9999999")
    assert words(ask(meter, 4, 0x5000, 7)) == tuple(map(ord, "9999999"))
    assert meter.faults == (MeterFault.SERIAL_SWAP,)
    meter.clear_fault(MeterFault.SERIAL_SWAP)
    meter.clear_fault(MeterFault.SERIAL_SWAP)


def test_set_register_counts_on_from_there() -> None:
    source = Still()
    meter = SimulatedMeter(source, "em340")
    meter.set_energy(Decimal(1000))
    source.import_wh += 250
    assert meter.energy_wh() == 1250
    assert words(ask(meter, 4, 0x34, 2)) == (12, 0)


def test_nan_of_sdm630_is_a_float_nan() -> None:
    meter = SimulatedMeter(Still())
    meter.set_fault(MeterFault.NAN)
    assert words(ask(meter, 4, 0, 2)) == (0x7FC0, 0)


def test_crc_of_the_manual() -> None:
    """Eastron protocol document: 01 04 00 00 00 02 is followed by 71 CB."""
    assert crc16(bytes.fromhex("010400000002")).to_bytes(2, "little") == bytes.fromhex("71cb")


async def test_tcp_answers_with_the_transaction_and_ignores_other_devices() -> None:
    server = MeterServer({3: SimulatedMeter(Still(), "em340")})
    port = await server.start_tcp()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(bytes.fromhex("0001 0000 0006 09 04 0000 0002"))
    writer.write(bytes.fromhex("abcd 0000 0006 03 04 0000 0002"))
    async with asyncio.timeout(2):
        assert await reader.readexactly(13) == bytes.fromhex("abcd 0000 0007 03 04 04 0908 0000")
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    await server.close()


async def test_tcp_latency_and_dropped_connections() -> None:
    server = MeterServer({1: SimulatedMeter(Still())}, latency_s=0.02)
    port = await server.start_tcp()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = asyncio.get_running_loop().time()
    writer.write(bytes.fromhex("0001 0000 0006 01 04 0000 0002"))
    async with asyncio.timeout(2):
        await reader.readexactly(13)
        assert asyncio.get_running_loop().time() - began >= 0.02
        server.drop_connections()
        assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    await server.close()
