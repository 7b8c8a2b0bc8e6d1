"""Energy meters as real Modbus servers, over TCP and over a serial line (a pty), fed by the simulated world.

Deliberately independent of the agent: own frames, own CRC, own register images, so that a mistake in the agent's reading is not repeated
here and hidden. Register maps: the Eastron SDM630 protocol and Carlo Gavazzi's EM300/ET300 protocol v2 rev 17.
"""

import asyncio
import contextlib
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from typing import Final, Protocol

ILLEGAL_FUNCTION: Final = 1
ILLEGAL_DATA_ADDRESS: Final = 2
ILLEGAL_DATA_VALUE: Final = 3
DEVICE_FAILURE: Final = 4
MAX_READ: Final = 125
READ_FUNCTIONS: Final = (3, 4)
WRITE_FUNCTION: Final = 16
RTU_REQUEST_LENGTH: Final = 8
RTU_WRITE_HEAD: Final = 7
RTU_SILENCE_S: Final = 0.02
"""An incomplete request is forgotten after this silence; the standard's 3.5 characters are too short for a pump between two ptys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterSnapshot:
    """What the meter measures at one moment. Volts, amperes and watts of L1, L2, L3; energies in Wh since the meter was made."""

    voltage_v: tuple[Decimal, Decimal, Decimal]
    current_a: tuple[Decimal, Decimal, Decimal]
    power_w: tuple[Decimal, Decimal, Decimal]
    import_wh: Decimal
    export_wh: Decimal = Decimal(0)
    frequency_hz: Decimal = Decimal(50)
    serial_number: str = "2411507"


class MeterSource(Protocol):
    """The physical world behind a meter."""

    def snapshot(self) -> MeterSnapshot:
        """Measure now, everything at the same moment."""


class MeterFault(StrEnum):
    """What can be wrong with a simulated meter."""

    SILENT = "silent"
    """Does not answer."""
    EXCEPTION = "exception"
    """Refuses every request; the value is the exception code (4)."""
    FROZEN = "frozen"
    """Goes on answering with the values of the moment when the fault began."""
    SERIAL_SWAP = "serial_swap"
    """Another meter: the value is its serial number."""
    WORD_SWAP = "word_swap"
    """Sends the registers of each value in the wrong order."""
    ENERGY_WORDS = "energy_words"
    """Sends only the registers of the import energy in the wrong order."""
    NEGATIVE = "negative"
    """Sends the import energy with the wrong sign."""
    LOCKED = "locked"
    """Refuses to be read until registers are written; the value says which, as `ADDRESS=VALUE,VALUE`."""
    NAN = "nan"
    """Sends the marker for "no value" instead of every measurement."""


Words = tuple[int, ...]
Image = dict[tuple[int, int], int]
"""Registers by function code and address."""


class SimulatedMeter:
    """One meter at one Modbus address. `model` is a template name of the agent or its short form: `sdm630`, `em340`."""

    def __init__(self, source: MeterSource, model: str = "sdm630") -> None:
        try:
            self._encode = MODELS[model]
        except KeyError:
            raise ValueError(f"meter model {model!r}: there are {', '.join(MODELS)}") from None
        self._source = source
        self._faults: dict[MeterFault, str] = {}
        self._frozen: MeterSnapshot | None = None
        self._energy_offset_wh = Decimal(0)
        self._image: tuple[MeterSnapshot, dict[MeterFault, str], Image] | None = None
        self.requests = 0
        self.writes: list[tuple[int, tuple[int, ...]]] = []

    @property
    def faults(self) -> tuple[MeterFault, ...]:
        """What is wrong at present."""
        return tuple(self._faults)

    def set_fault(self, fault: MeterFault, value: str = "") -> None:
        """Begin a fault."""
        self._faults[fault] = value
        if fault is MeterFault.FROZEN:
            self._frozen = self._snapshot()

    def clear_fault(self, fault: MeterFault) -> None:
        """End a fault; nothing happens if it is not there."""
        self._faults.pop(fault, None)
        if fault is MeterFault.FROZEN:
            self._frozen = None

    def set_energy(self, import_wh: Decimal) -> None:
        """Set the import register: it counts on from there."""
        self._energy_offset_wh = import_wh - self._source.snapshot().import_wh

    def energy_wh(self) -> Decimal:
        """Give the import register as it is now, before the meter rounds it to its step."""
        return self._snapshot().import_wh

    def answer(self, pdu: bytes) -> bytes | None:
        """Answer a request (function code and data, without frame), or None to stay silent."""
        self.requests += 1
        if MeterFault.SILENT in self._faults or not pdu:
            return None
        function = pdu[0]
        if MeterFault.EXCEPTION in self._faults:
            return bytes((function | 0x80, int(self._faults[MeterFault.EXCEPTION] or DEVICE_FAILURE)))
        if function == WRITE_FUNCTION:
            return self._write(pdu)
        if function not in READ_FUNCTIONS:
            return bytes((function | 0x80, ILLEGAL_FUNCTION))
        if MeterFault.LOCKED in self._faults:
            return bytes((function | 0x80, DEVICE_FAILURE))
        if len(pdu) != 5:
            return bytes((function | 0x80, ILLEGAL_DATA_VALUE))
        address, count = struct.unpack(">HH", pdu[1:])
        if not 1 <= count <= MAX_READ:
            return bytes((function | 0x80, ILLEGAL_DATA_VALUE))
        image = self._registers()
        try:
            words = [self._word(image, function, one, address, count) for one in range(address, address + count)]
        except KeyError:
            return bytes((function | 0x80, ILLEGAL_DATA_ADDRESS))
        return struct.pack(f">BB{count}H", function, 2 * count, *words)

    def _write(self, pdu: bytes) -> bytes:
        """Take registers (function 16); the right ones unlock."""
        if len(pdu) < 8 or len(pdu) != 6 + pdu[5]:
            return bytes((WRITE_FUNCTION | 0x80, ILLEGAL_DATA_VALUE))
        address, count = struct.unpack(">HH", pdu[1:5])
        if 2 * count != pdu[5]:
            return bytes((WRITE_FUNCTION | 0x80, ILLEGAL_DATA_VALUE))
        values = struct.unpack(f">{count}H", pdu[6:])
        self.writes.append((address, values))
        if self._faults.get(MeterFault.LOCKED) == f"{address}={','.join(map(str, values))}":
            self.clear_fault(MeterFault.LOCKED)
        return pdu[:5]

    def _registers(self) -> Image:
        """The image of this moment; a read-out asks for several parts of the same one."""
        now = self._frozen or self._snapshot()
        if self._image is None or self._image[0] != now or self._image[1] != self._faults:
            self._image = (now, dict(self._faults), self._encode(now, self._faults))
        return self._image[2]

    def _word(self, image: Image, function: int, one: int, address: int, count: int) -> int:
        if (address, count) == (EM_CODE_ADDRESS, 1) and (EM_CODE_ALONE, EM_CODE_ADDRESS) in image:
            return image[EM_CODE_ALONE, EM_CODE_ADDRESS]
        return image[function, one]

    def _snapshot(self) -> MeterSnapshot:
        now = self._source.snapshot()
        return MeterSnapshot(
            voltage_v=now.voltage_v,
            current_a=now.current_a,
            power_w=now.power_w,
            import_wh=(now.import_wh + self._energy_offset_wh) * (-1 if MeterFault.NEGATIVE in self._faults else 1),
            export_wh=now.export_wh,
            frequency_hz=now.frequency_hz,
            serial_number=self._faults.get(MeterFault.SERIAL_SWAP) or now.serial_number,
        )


# ------------------------------------------------------------------------------------------------- register images
SDM_HOLES: Final = (0x2C, 0x32, 0x36, 0x3A, 0x40, 0x44)
SDM_ENERGY_ADDRESS: Final = 0x48
SDM_SERIAL_ADDRESS: Final = 0xFC00
EM_CODE_ADDRESS: Final = 0x000B
EM_CODE_ALONE: Final = 0
"""Not a function code: 000Bh read alone is the identification code, read with 000Ah the high word of V L3-L1 (manual 2.8)."""
EM_CODE_EM340: Final = 341
EM_ENERGY_ADDRESS: Final = 0x34
EM_SERIAL_ADDRESS: Final = 0x5000
EM_SERIAL_LENGTH: Final = 7
NO_INT32: Final = 0x7FFFFFFF
NO_INT16: Final = 0x7FFF


def encode_sdm630(now: MeterSnapshot, faults: Mapping[MeterFault, str]) -> Image:
    """Make the registers of an Eastron SDM630: float32, high word first; counters in kWh, stepping 0.001."""
    volts, amps, watts = now.voltage_v, now.current_a, now.power_w
    apparent = [u * i for u, i in zip(volts, amps, strict=True)]
    total_w, total_va = sum(watts, Decimal(0)), sum(apparent, Decimal(0))
    kwh = [(energy.to_integral_value(ROUND_FLOOR) / 1000) for energy in (now.import_wh, now.export_wh)]
    values: dict[int, Decimal] = dict.fromkeys((address for address in range(0, 0x58, 2) if address not in SDM_HOLES), Decimal(0))
    for phase in range(3):
        values[0x00 + 2 * phase] = volts[phase]
        values[0x06 + 2 * phase] = amps[phase]
        values[0x0C + 2 * phase] = watts[phase]
        values[0x12 + 2 * phase] = apparent[phase]
        values[0x1E + 2 * phase] = watts[phase] / apparent[phase] if apparent[phase] else Decimal(1)
    values |= {0x2A: sum(volts, Decimal(0)) / 3, 0x2E: sum(amps, Decimal(0)) / 3, 0x30: sum(amps, Decimal(0))}
    values |= {0x34: total_w, 0x38: total_va, 0x3E: total_w / total_va if total_va else Decimal(1)}
    values |= {0x46: now.frequency_hz, 0x48: kwh[0], 0x4A: kwh[1], 0x156: sum(kwh, Decimal(0))}
    image: Image = {}
    for address, value in values.items():
        wrong = _energy_words(faults, is_energy=address == SDM_ENERGY_ADDRESS)
        raw = b"\x7f\xc0\x00\x00" if MeterFault.NAN in faults else struct.pack(">f", float(value))
        _put(image, 4, address, struct.unpack(">2H", raw), wrong)
    digits = "".join(one for one in now.serial_number if one.isdigit()) or "0"
    _put(image, 3, SDM_SERIAL_ADDRESS, divmod(int(digits) % 2**32, 2**16), {})
    return image


def encode_em340(now: MeterSnapshot, faults: Mapping[MeterFault, str]) -> Image:
    """Make the registers of a Carlo Gavazzi EM340: int32, low word first; counters in 0.1 kWh. Functions 3 and 4 give the same."""
    volts, amps, watts = now.voltage_v, now.current_a, now.power_w
    line_to_line = [(volts[a] + volts[b]) / 2 * Decimal("1.7320508") for a, b in ((0, 1), (1, 2), (2, 0))]
    apparent = [u * i for u, i in zip(volts, amps, strict=True)]
    total_w, total_va = sum(watts, Decimal(0)), sum(apparent, Decimal(0))
    tenths: dict[int, Decimal] = dict.fromkeys((*range(0, 0x2E, 2), *range(0x34, 0x54, 2)), Decimal(0))
    for phase in range(3):
        tenths[0x00 + 2 * phase] = volts[phase] * 10
        tenths[0x06 + 2 * phase] = line_to_line[phase] * 10
        tenths[0x0C + 2 * phase] = amps[phase] * 1000
        tenths[0x12 + 2 * phase] = watts[phase] * 10
        tenths[0x18 + 2 * phase] = apparent[phase] * 10
    tenths |= {0x24: sum(volts, Decimal(0)) / 3 * 10, 0x26: sum(line_to_line, Decimal(0)) / 3 * 10, 0x28: total_w * 10, 0x2A: total_va * 10}
    tenths |= {0x34: (now.import_wh / 100).to_integral_value(ROUND_FLOOR), 0x4E: (now.export_wh / 100).to_integral_value(ROUND_FLOOR)}
    factors = [w / s if s else Decimal(1) for w, s in zip((*watts, total_w), (*apparent, total_va), strict=True)]
    short = {0x2E + one: factor * 1000 for one, factor in enumerate(factors)} | {0x32: Decimal(0), 0x33: now.frequency_hz * 10}
    image: Image = {}
    for address, value in tenths.items():
        raw = NO_INT32 if MeterFault.NAN in faults else int(value.to_integral_value(ROUND_HALF_EVEN)) % 2**32
        wrong = _energy_words(faults, is_energy=address == EM_ENERGY_ADDRESS)
        for function in READ_FUNCTIONS:
            _put(image, function, address, (raw % 2**16, raw // 2**16), wrong)
    for address, value in short.items():
        raw = NO_INT16 if MeterFault.NAN in faults else int(value.to_integral_value(ROUND_HALF_EVEN)) % 2**16
        for function in READ_FUNCTIONS:
            _put(image, function, address, (raw,), faults)
    image[EM_CODE_ALONE, EM_CODE_ADDRESS] = EM_CODE_EM340
    letters = now.serial_number[-EM_SERIAL_LENGTH:].rjust(EM_SERIAL_LENGTH, "0").encode("ascii", "replace")
    for function in READ_FUNCTIONS:
        _put(image, function, EM_SERIAL_ADDRESS, tuple(letters), {})
    return image


def _energy_words(faults: Mapping[MeterFault, str], *, is_energy: bool) -> Mapping[MeterFault, str]:
    return {MeterFault.WORD_SWAP: ""} if is_energy and MeterFault.ENERGY_WORDS in faults else faults


def _put(image: Image, function: int, address: int, words: Words, faults: Mapping[MeterFault, str]) -> None:
    for offset, word in enumerate(reversed(words) if MeterFault.WORD_SWAP in faults else words):
        image[function, address + offset] = word


MODELS: Final[Mapping[str, Callable[[MeterSnapshot, Mapping[MeterFault, str]], Image]]] = {
    "sdm630": encode_sdm630,
    "eastron-sdm630": encode_sdm630,
    "em340": encode_em340,
    "carlo-gavazzi-em340": encode_em340,
}


# ---------------------------------------------------------------------------------------------------------- servers
def crc16(frame: bytes) -> int:
    """Compute the CRC of an RTU frame, low byte to be sent first (Modbus over Serial Line 1.02, 6.2.2)."""
    crc = 0xFFFF
    for byte in frame:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc


class MeterServer:
    """Meters by Modbus address, served over TCP and serial lines until `close`. What is asked of another address gets no answer."""

    def __init__(self, meters: Mapping[int, SimulatedMeter], *, latency_s: float = 0.0) -> None:
        self._meters = dict(meters)
        self._latency_s = latency_s
        self._servers: list[asyncio.Server] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._lines: list[_RtuLine] = []

    async def start_tcp(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Serve Modbus TCP; gives the port."""
        server = await asyncio.start_server(self._serve_tcp, host, port)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    def serve_fd(self, fd: int) -> None:
        """Serve Modbus RTU on an open, raw terminal; the caller keeps and closes it."""
        self._lines.append(_RtuLine(fd, self._answer_rtu, self._latency_s))

    def drop_connections(self) -> None:
        """Close the TCP connections that there are; new ones are welcome."""
        for writer in list(self._writers):
            writer.close()

    async def close(self) -> None:
        """Stop serving."""
        for line in self._lines:
            line.close()
        self._lines.clear()
        for server in self._servers:
            server.close()
        writers = list(self._writers)
        for writer in writers:
            writer.close()
        for writer in writers:
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()

    def _answer_rtu(self, device: int, pdu: bytes) -> bytes | None:
        meter = self._meters.get(device)
        return None if meter is None else meter.answer(pdu)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                transaction, protocol, length, device = struct.unpack(">HHHB", await reader.readexactly(7))
                if protocol != 0 or not 2 <= length <= 254:
                    return
                pdu = await reader.readexactly(length - 1)
                if self._latency_s:
                    await asyncio.sleep(self._latency_s)
                answer = self._answer_rtu(device, pdu)
                if answer is not None:
                    writer.write(struct.pack(">HHHB", transaction, 0, len(answer) + 1, device) + answer)
                    await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            return
        finally:
            self._writers.discard(writer)
            writer.close()


class _RtuLine:
    """The meter's end of a serial line: finds requests by length and CRC, forgets what is incomplete after a silence."""

    def __init__(self, fd: int, answer: Callable[[int, bytes], bytes | None], latency_s: float) -> None:
        self._fd = fd
        self._answer = answer
        self._latency_s = latency_s
        self._buffer = b""
        self._loop = asyncio.get_running_loop()
        self._silence: asyncio.TimerHandle | None = None
        self._timers: set[asyncio.TimerHandle] = set()
        os.set_blocking(fd, False)
        self._loop.add_reader(fd, self._readable)

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        if self._silence is not None:
            self._silence.cancel()
        for timer in self._timers:
            timer.cancel()

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, 1024)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._buffer += data
        if self._silence is not None:
            self._silence.cancel()
        self._silence = self._loop.call_later(RTU_SILENCE_S, self._forget)
        is_write = self._buffer[1:2] == bytes((WRITE_FUNCTION,)) and len(self._buffer) > RTU_WRITE_HEAD
        length = RTU_WRITE_HEAD + self._buffer[RTU_WRITE_HEAD - 1] + 2 if is_write else RTU_REQUEST_LENGTH
        frame = self._buffer[:length]
        if len(frame) == length and crc16(frame[:-2]) == int.from_bytes(frame[-2:], "little"):
            self._buffer = self._buffer[length:]
            if self._latency_s:
                self._timers.add(self._loop.call_later(self._latency_s, self._reply, frame))
            else:
                self._reply(frame)

    def _reply(self, frame: bytes) -> None:
        answer = self._answer(frame[0], frame[1:-2])
        if answer is not None:
            reply = frame[:1] + answer
            with contextlib.suppress(OSError):  # the line may be gone
                os.write(self._fd, reply + crc16(reply).to_bytes(2, "little"))

    def _forget(self) -> None:
        self._buffer = b""
