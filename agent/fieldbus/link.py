"""The wire below a bus: one pymodbus client. The only module that imports pymodbus (and through it pyserial); import it when a bus opens.

pymodbus gives the connection, the frames and the CRC; time-outs, retries and reopening are the bus's. Two things are added to its framers:
an answer that does not fit the request (function, number of registers) is thrown away instead of being taken, because RTU answers carry
neither an address nor a transaction number and may be late; and bad frames are counted.
"""

import asyncio
import logging
import struct
from collections.abc import Awaitable, Sequence
from typing import Final

from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.client.base import ModbusBaseClient
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerBase, FramerRTU, FramerSocket, FramerType
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU

from agent.fieldbus.errors import BusException, BusTimeout, BusUnavailable
from agent.fieldbus.url import Endpoint, Framing, SerialEndpoint

# The bus reports in its own words; pymodbus prints an error with frame dump for each silent meter and each unplugged adapter.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)

WRITE: Final = 16
NEVER_S: Final = 3600.0
"""pymodbus's own time-outs are out of the way: `asyncio.timeout` around each call rules."""


class _Expectation:
    """The request that is out: which answers fit it, and how many frames did not."""

    def __init__(self) -> None:
        self.function = 0
        self.count = 0
        self.bad_frames = 0

    def fits(self, answer: ModbusPDU) -> bool:
        if isinstance(answer, ExceptionResponse):
            return answer.function_code & 0x7F == self.function
        told = answer.count if self.function == WRITE else len(answer.registers)
        return answer.function_code == self.function and told == self.count


def _sift(framer: FramerBase, expected: _Expectation, data: bytes, device: int, transaction: int) -> tuple[int, ModbusPDU | None]:
    """Let pymodbus decode `data` frame by frame, and keep only an answer that fits."""
    used = 0
    while True:
        try:
            taken, answer = FramerBase.handleFrame(framer, data[used:], device, transaction)
        except (ModbusException, ValueError, LookupError, struct.error):
            # pymodbus raises through the event loop on an unknown function code; on a noisy line that is only one more bad frame.
            expected.bad_frames += 1
            return len(data), None
        used += taken
        if answer is None or expected.fits(answer):
            return used, answer
        expected.bad_frames += 1


class _RtuFramer(FramerRTU):
    def __init__(self, expected: _Expectation) -> None:
        super().__init__(DecodePDU(False))
        self.expected = expected

    def decode(self, data: bytes) -> tuple[int, int, int, bytes]:
        used, device, transaction, frame = super().decode(data)
        if used and not frame:
            self.expected.bad_frames += 1  # wrong CRC
        return used, device, transaction, frame

    def handleFrame(self, data: bytes, exp_devid: int, exp_tid: int) -> tuple[int, ModbusPDU | None]:  # noqa: N802  (pymodbus's name)
        return _sift(self, self.expected, data, exp_devid, exp_tid)


class _TcpFramer(FramerSocket):
    def __init__(self, expected: _Expectation) -> None:
        super().__init__(DecodePDU(False))
        self.expected = expected

    def handleFrame(self, data: bytes, exp_devid: int, exp_tid: int) -> tuple[int, ModbusPDU | None]:  # noqa: N802  (pymodbus's name)
        return _sift(self, self.expected, data, exp_devid, exp_tid)


class ModbusLink:
    """One open or closed Modbus connection. Not safe for two requests at a time: the bus's owner task is its only user."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._expected = _Expectation()
        self._client: ModbusBaseClient | None = None

    @property
    def is_open(self) -> bool:
        """True while the port or connection is up, as far as is known."""
        return self._client is not None and self._client.connected

    @property
    def bad_frames(self) -> int:
        """Frames thrown away since the start: wrong CRC, or not an answer to what was asked."""
        return self._expected.bad_frames

    async def open(self, timeout_s: float) -> None:
        """Open, or raise BusUnavailable."""
        self.close()
        client = self._make_client()
        try:
            async with asyncio.timeout(timeout_s):
                # What `client.connect()` does, but that only logs why it failed, and a technician has to be told.
                client.ctx.is_closing = False
                client.ctx.transport, _ = await client.ctx.call_create()
        except TimeoutError:
            client.close()
            raise BusUnavailable(f"{self._endpoint}: cannot be opened: no connection within {timeout_s:g} s") from None
        except (OSError, ValueError) as error:  # serial.SerialException is an OSError
            client.close()
            raise BusUnavailable(f"{self._endpoint}: cannot be opened: {error}") from error
        self._client = client

    def close(self) -> None:
        """Close; nothing happens when closed already."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    async def read(self, device: int, function: int, address: int, count: int, timeout_s: float) -> tuple[int, ...]:
        """Read `count` registers with function code 3 or 4. Raises BusTimeout, BusException or BusUnavailable."""
        client = self._ready(device)
        call: Awaitable[ModbusPDU]
        if function == 3:
            call = client.read_holding_registers(address, count=count, device_id=device)
        else:
            call = client.read_input_registers(address, count=count, device_id=device)
        answer = await self._answer(client, call, device, (function, address, count), timeout_s)
        return tuple(answer.registers)

    async def write(self, device: int, address: int, values: Sequence[int], timeout_s: float) -> None:
        """Write registers with function code 16. Raises BusTimeout, BusException or BusUnavailable."""
        client = self._ready(device)
        call = client.write_registers(address, list(values), device_id=device)
        await self._answer(client, call, device, (WRITE, address, len(values)), timeout_s)

    def _ready(self, device: int) -> ModbusBaseClient:
        if self._client is None or not self._client.connected:
            raise BusUnavailable(f"{self._endpoint} device {device}: the connection was lost")
        return self._client

    async def _answer(
        self, client: ModbusBaseClient, call: Awaitable[ModbusPDU], device: int, asked: tuple[int, int, int], timeout_s: float
    ) -> ModbusPDU:
        where = f"{self._endpoint} device {device}"
        function, address, count = asked
        self._expected.function, self._expected.count = function, count
        try:
            async with asyncio.timeout(timeout_s):
                answer = await call
        except TimeoutError:
            if not client.connected:
                raise BusUnavailable(f"{where}: the connection was lost while waiting for an answer") from None
            raise BusTimeout(
                f"{where}: no valid answer within {timeout_s:g} s to function {function}, {count} from 0x{address:04X}"
            ) from None
        except (ModbusException, OSError) as error:
            raise BusUnavailable(f"{where}: {error}") from error
        if isinstance(answer, ExceptionResponse):
            raise BusException(where, answer.exception_code)
        return answer

    def _make_client(self) -> ModbusBaseClient:
        endpoint = self._endpoint
        client: ModbusBaseClient
        if isinstance(endpoint, SerialEndpoint):
            client = AsyncModbusSerialClient(
                endpoint.path,
                baudrate=endpoint.baudrate,
                parity=endpoint.parity.value,
                stopbits=endpoint.stopbits,
                timeout=NEVER_S,
                retries=0,
                reconnect_delay=0,
            )
        else:
            framer = FramerType.RTU if endpoint.framing is Framing.RTU else FramerType.SOCKET
            client = AsyncModbusTcpClient(endpoint.host, port=endpoint.port, framer=framer, timeout=NEVER_S, retries=0, reconnect_delay=0)
        client.ctx.framer = _RtuFramer(self._expected) if endpoint.framing is Framing.RTU else _TcpFramer(self._expected)
        return client
