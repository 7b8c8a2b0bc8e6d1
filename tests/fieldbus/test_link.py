"""The wire: frames that fit are taken, everything else is thrown away and counted."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agent.fieldbus.errors import BusException, BusTimeout, BusUnavailable
from agent.fieldbus.link import ModbusLink
from agent.fieldbus.url import Framing, SerialEndpoint, TcpEndpoint
from simulator.meter_server import crc16
from simulator.pty_cable import PtyCable

Answer = Callable[[bytes], bytes | list[bytes]]


def mbap(transaction: bytes, pdu: bytes, device: int = 1) -> bytes:
    return transaction + struct.pack(">HHB", 0, len(pdu) + 1, device) + pdu


def rtu(body: bytes) -> bytes:
    return body + crc16(body).to_bytes(2, "little")


TWO_WORDS = b"\x04\x04\x43\x66\x33\x34"


async def with_server(answer: Answer, framing: Framing, story: Callable[[ModbusLink], Awaitable[None]]) -> None:
    """Run `story` with a link to a server that answers each request with whatever `answer` makes of it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.read(260):
                reply = answer(request)
                for piece in [reply] if isinstance(reply, bytes) else reply:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.01)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    link = ModbusLink(TcpEndpoint(host="127.0.0.1", port=port, framing=framing))
    try:
        await link.open(1.0)
        await story(link)
    finally:
        link.close()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: mbap(request[:2], TWO_WORDS),
        lambda request: [mbap(request[:2], TWO_WORDS)[:5], mbap(request[:2], TWO_WORDS)[5:]],
        lambda request: mbap(b"\x00\x63", b"\x04\x04\x00\x00\x00\x00") + mbap(request[:2], TWO_WORDS),
        lambda request: mbap(request[:2], b"\x04\x02\x00\x00") + mbap(request[:2], TWO_WORDS),
        lambda request: mbap(request[:2], b"\x03\x04\x00\x00\x00\x00") + mbap(request[:2], TWO_WORDS),
        lambda request: mbap(request[:2], b"\x04\x04\x00\x00\x00\x00", device=2) + mbap(request[:2], TWO_WORDS),
    ],
    ids=["whole", "in two pieces", "other transaction first", "other length first", "other function first", "other device first"],
)
async def test_tcp_takes_only_the_answer_that_fits(answer: Answer) -> None:
    async def story(link: ModbusLink) -> None:
        assert await link.read(1, 4, 0, 2, 1.0) == (0x4366, 0x3334)

    await with_server(answer, Framing.TCP, story)


@pytest.mark.parametrize(
    ("answer", "bad_frames"),
    [
        (lambda _: rtu(b"\x01" + TWO_WORDS), 0),
        (lambda _: [rtu(b"\x01" + TWO_WORDS)[:2], rtu(b"\x01" + TWO_WORDS)[2:]], 0),
        (lambda _: [rtu(b"\x01\x04\x02\x00\x07"), rtu(b"\x01" + TWO_WORDS)], 1),
        (lambda _: [rtu(b"\x02" + TWO_WORDS), rtu(b"\x01" + TWO_WORDS)], 0),
        (lambda _: [b"\x01" + TWO_WORDS + b"\x00\x00", rtu(b"\x01" + TWO_WORDS)], 1),
    ],
    ids=["whole", "in two pieces", "late answer of another length first", "other device first", "wrong CRC first"],
)
async def test_rtu_takes_only_the_answer_that_fits(answer: Answer, bad_frames: int) -> None:
    async def story(link: ModbusLink) -> None:
        assert await link.read(1, 4, 0, 2, 1.0) == (0x4366, 0x3334)
        assert link.bad_frames == bad_frames

    await with_server(answer, Framing.RTU, story)


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: b"\x01" + TWO_WORDS + b"\x1b\x39",
        lambda _: b"",
        lambda _: b"\xff" * 64,
        lambda _: rtu(b"\x01\x5a\x04\x00\x00\x00\x00"),
        lambda _: b"\x00" * 300,
    ],
    ids=["one bit wrong", "nothing", "noise", "unknown function", "a flood"],
)
async def test_rtu_noise_is_a_timeout_and_never_a_value(answer: Answer) -> None:
    async def story(link: ModbusLink) -> None:
        with pytest.raises(BusTimeout, match=r"device 1: no valid answer within 0\.05 s to function 4, 2 from 0x0000"):
            await link.read(1, 4, 0, 2, 0.05)

    await with_server(answer, Framing.RTU, story)


async def test_exception_code_is_reported() -> None:
    async def story(link: ModbusLink) -> None:
        with pytest.raises(BusException) as caught:
            await link.read(1, 4, 0, 2, 1.0)
        assert caught.value.code == 2

    await with_server(lambda request: mbap(request[:2], b"\x84\x02"), Framing.TCP, story)


async def test_closed_port_is_unavailable() -> None:
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    link = ModbusLink(TcpEndpoint(host="127.0.0.1", port=port))
    with pytest.raises(BusUnavailable, match=r"tcp://127\.0\.0\.1:\d+: cannot be opened: .*Connect call failed"):
        await link.open(1.0)
    assert not link.is_open
    with pytest.raises(BusUnavailable, match="lost"):
        await link.read(1, 4, 0, 2, 1.0)


async def test_absent_serial_port_is_named_with_the_reason() -> None:
    link = ModbusLink(SerialEndpoint(path="/dev/ttyNOPE"))
    with pytest.raises(BusUnavailable, match=r"serial:///dev/ttyNOPE 9600 8N1: cannot be opened: .*No such file"):
        await link.open(1.0)


async def test_port_in_use_is_named_with_the_reason(tmp_path: Path) -> None:
    cable = PtyCable(tmp_path / "ttyUSB0")
    first, second = (ModbusLink(SerialEndpoint(path=cable.charger_path)) for _ in range(2))
    await first.open(1.0)
    with pytest.raises(BusUnavailable, match="lock"):
        await second.open(1.0)
    assert first.is_open
    first.close()
    cable.close()
