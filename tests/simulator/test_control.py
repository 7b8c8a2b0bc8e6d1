"""The control socket: every method takes effect at once and in order, and what is wrong is answered with what is allowed."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.domain.authorization import IdTokenType
from agent.domain.connector import FaultKind
from agent.domain.ids import EvseId
from agent.domain.pilot import X1, PilotState
from agent.domain.screen import EvseView, ScreenKind, StationView
from agent.hal.api import EvseSetup
from simulator.board import Board
from simulator.control import ControlClient, ControlServer, WorldControl, call_once
from simulator.control_command import run, run_faults
from simulator.faults import SimFault
from simulator.network import NetworkMode
from simulator.wire import INVALID_PARAMS, MAX_LINE, METHOD_NOT_FOUND, REFUSED, Json, RpcError
from simulator.world import World
from tests.hal.board import RecordedSink
from tests.hal.contract import until

ONE, TWO = EvseId(1), EvseId(2)


class Desk:
    """A served world of two EVSEs, with a board."""

    def __init__(self, path: Path) -> None:
        self.path = path
        setups = [EvseSetup(evse_id=EvseId(n), max_current_a=32, phases=3, has_lock=False) for n in (1, 2)]
        self.world = World(setups, timers=asyncio.get_running_loop())
        self.sink = RecordedSink()
        self.world.attach(self.sink)
        self.board = Board()
        self.board.clock.start()
        self.server = ControlServer(path, WorldControl(self.world, self.board).methods())


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path / "sim.sock")
    desk.server.start()
    yield desk
    desk.server.close()
    desk.world.close_down()


@pytest.fixture
async def control(desk: Desk) -> AsyncIterator[ControlClient]:
    async with await ControlClient.open(desk.path) as client:
        yield client


async def test_ping(control: ControlClient) -> None:
    assert await control.call("sim.ping") == {}


async def test_the_socket_is_the_owners(desk: Desk) -> None:
    assert desk.path.stat().st_mode & 0o777 == 0o600


async def test_calls_take_effect_in_order_and_are_acknowledged_at_once(desk: Desk) -> None:
    """Ten plug-ins and unplugs sent in one go: each sees what the one before did."""
    reader, writer = await asyncio.open_unix_connection(str(desk.path))
    names = ["ev.plug_in", "ev.unplug"] * 5
    for number, name in enumerate(names):
        writer.write(json.dumps({"jsonrpc": "2.0", "id": number, "method": name, "params": {"evse": 1}}).encode() + b"\n")
    answers = [json.loads(await reader.readline()) for _ in names]
    writer.close()
    assert answers == [{"jsonrpc": "2.0", "id": number, "result": {}} for number in range(10)]
    expected = [PilotState.A, *[PilotState.B, PilotState.A] * 5]
    await until(lambda: [report[2] for report in desk.sink.reports if report[:2] == ("pilot", ONE)] == expected)


async def test_the_vehicle_of_the_parameters_is_plugged_in(desk: Desk, control: ControlClient) -> None:
    await control.call("ev.plug_in", evse=2, max_current_a=20, phases=1, delay_s=0.5, soc=77.5, capacity_kwh=80)
    state = await control.call("sim.state")
    vehicle = state["evses"][1]["vehicle"]  # type: ignore[index,call-overload]
    assert vehicle == {
        "max_current_a": 20,
        "phases": 1,
        "soc": 77.5,
        "capacity_kwh": 80.0,
        "is_ready": True,
        "is_full": False,
        "taken_wh": 0.0,
    }


async def test_the_state_is_the_whole_world(control: ControlClient) -> None:
    state = await control.call("sim.state")
    assert isinstance(state, dict)
    assert set(state) == {"evses", "faults", "network", "is_clock_known"}
    first = state["evses"][0]  # type: ignore[index,call-overload]
    assert set(first) == {"evse", "pilot", "contactor", "lock", "vehicle", "meter", "faults"}  # type: ignore[arg-type]
    assert first["meter"]["energy_wh"] == 1_234_560  # type: ignore[index,call-overload]
    assert first["vehicle"] is None  # type: ignore[index,call-overload]


async def test_pause_and_resume(desk: Desk, control: ControlClient) -> None:
    await control.call("ev.plug_in", evse=1)
    await control.call("ev.pause", evse=1)
    await control.call("ev.resume", evse=1, max_current_a=10, phases=1)
    state = await control.call("sim.state")
    assert state["evses"][0]["vehicle"]["max_current_a"] == 10  # type: ignore[index,call-overload]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"token": "04AABB"}, (None, "04AABB", IdTokenType.ISO14443)),
        ({"token": "04AABB", "evse": 2}, (TWO, "04AABB", IdTokenType.ISO14443)),
        ({"token": "k", "token_type": "KeyCode", "evse": None}, (None, "k", IdTokenType.KEY_CODE)),
    ],
)
async def test_a_swipe_reaches_the_reader(
    desk: Desk, control: ControlClient, params: dict[str, Json], expected: tuple[object, ...]
) -> None:
    await control.call("rfid.swipe", **params)
    await until(lambda: desk.sink.last("token") == ("token", *expected))


async def test_faults_come_and_go(desk: Desk, control: ControlClient) -> None:
    await control.call("fault.set", kind="ground_fault", evse=2)
    await until(lambda: desk.sink.last("fault") == ("fault", TWO, FaultKind.GROUND_FAULT, True))
    await control.call("fault.clear", kind="ground_fault", evse=2)
    await until(lambda: desk.sink.last("fault") == ("fault", TWO, FaultKind.GROUND_FAULT, False))
    await control.call("fault.set", kind="emergency_stop")
    await until(lambda: desk.sink.last("fault") == ("fault", None, FaultKind.EMERGENCY_STOP, True))


async def test_the_network_goes_down_and_up(desk: Desk, control: ControlClient) -> None:
    await control.call("network.down")
    assert desk.board.network.mode is NetworkMode.CLOSE
    await control.call("network.down", mode="blackhole")
    assert desk.board.network.mode is NetworkMode.BLACKHOLE
    assert (await control.call("sim.state"))["network"] == "blackhole"  # type: ignore[index,call-overload]
    await control.call("network.up")
    assert desk.board.network.mode is NetworkMode.UP


@pytest.mark.parametrize(("energy", "expected"), [(5000, "5000"), (5000.25, "5000.25"), ("123456.789012", "123456.789012")])
async def test_a_register_is_set(desk: Desk, control: ControlClient, energy: Json, expected: str) -> None:
    await control.call("meter.set", evse=2, energy_wh=energy)
    assert str(desk.world.snapshot(TWO).import_wh.normalize()) in {expected, f"{int(float(expected)) // 1000}E+3"}


async def test_the_clock_is_set_and_unset(desk: Desk, control: ControlClient) -> None:
    await control.call("clock.set", utc="1970-01-02T00:00:00+01:00")
    now = desk.board.clock.utc()
    assert now is not None
    assert timedelta(0) <= now - datetime(1970, 1, 1, 23, tzinfo=UTC) < timedelta(seconds=5)
    await control.call("clock.set", utc="unknown")
    assert desk.board.clock.utc() is None


async def test_the_display_is_written_as_png(desk: Desk, control: ControlClient, tmp_path: Path) -> None:
    path = tmp_path / "display.png"
    with pytest.raises(RpcError, match="the display has shown nothing yet"):
        await control.call("display.png", evse=1, path=str(path))
    view = StationView(station_id="CP001", online=True, language="en", evses=(EvseView(evse_id=ONE, kind=ScreenKind.AVAILABLE),))
    desk.board.display.show_png(view, lambda: b"older")
    desk.board.display.show_png(view, lambda: b"\x89PNG newest")
    assert await control.call("display.png", evse=1, path=str(path)) == {"bytes": 11}
    assert path.read_bytes() == b"\x89PNG newest"
    with pytest.raises(RpcError, match="No such file or directory"):
        await control.call("display.png", evse=1, path=str(tmp_path / "nowhere" / "x.png"))


@pytest.mark.parametrize(
    ("method", "params", "code", "sentence"),
    [
        ("ev.plugin", {}, METHOD_NOT_FOUND, r"unknown method 'ev.plugin'; known are sim.ping, sim.state, ev.plug_in"),
        ("sim.ping", {"x": 1}, INVALID_PARAMS, r"sim.ping: unknown parameter x; known are none"),
        ("ev.plug_in", {}, INVALID_PARAMS, r"ev.plug_in: evse is missing; there are 1, 2"),
        ("ev.plug_in", {"evse": 3}, INVALID_PARAMS, r"ev.plug_in: evse = 3 is not allowed; there are 1, 2"),
        ("ev.plug_in", {"evse": True}, INVALID_PARAMS, r"evse = true is not allowed"),
        (
            "ev.plug_in",
            {"evse": 1, "max_current_a": 5},
            INVALID_PARAMS,
            r"max_current_a = 5 is not allowed; use a whole number from 6 to 80",
        ),
        ("ev.plug_in", {"evse": 1, "phases": 2.5}, INVALID_PARAMS, r"phases = 2.5 is not allowed"),
        ("ev.plug_in", {"evse": 1, "soc": 101}, INVALID_PARAMS, r"soc = 101 is not allowed; use a number from 0 to 100"),
        ("ev.plug_in", {"evse": 1, "amps": 16}, INVALID_PARAMS, r"unknown parameter amps; known are evse, max_current_a, phases, delay_s"),
        ("ev.unplug", {"evse": 1}, REFUSED, r"no vehicle is plugged in at EVSE 1; ev.plug_in first"),
        ("rfid.swipe", {}, INVALID_PARAMS, r"rfid.swipe: token is missing"),
        ("rfid.swipe", {"token": "AA", "token_type": "Card"}, INVALID_PARAMS, r"token_type = \"Card\" is not allowed; use Central, eMAID"),
        ("fault.set", {"kind": "gremlin"}, INVALID_PARAMS, r"kind = \"gremlin\" is not allowed; use contactor_welded, "),
        ("network.down", {"mode": "sideways"}, INVALID_PARAMS, r"mode = \"sideways\" is not allowed; use close, blackhole, refuse"),
        ("meter.set", {"evse": 1, "energy_wh": -1}, INVALID_PARAMS, r"energy_wh = -1 is not allowed; use Wh from 0 to"),
        ("meter.set", {"evse": 1, "energy_wh": "NaN"}, INVALID_PARAMS, r"energy_wh = \"NaN\" is not allowed"),
        ("meter.set", {"evse": 1}, INVALID_PARAMS, r"energy_wh = null is not allowed"),
        ("clock.set", {"utc": "2026-01-01T00:00:00"}, INVALID_PARAMS, r"use RFC 3339 with a zone"),
        ("clock.set", {"utc": "noon"}, INVALID_PARAMS, r"use RFC 3339 with a zone"),
    ],
)
async def test_what_is_wrong_is_answered_with_what_is_allowed(
    desk: Desk, control: ControlClient, method: str, params: dict[str, Json], code: int, sentence: str
) -> None:
    before = desk.world.state()
    with pytest.raises(RpcError, match=sentence) as caught:
        await control.call(method, **params)
    assert caught.value.code == code
    assert desk.world.state() == before


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"hello", -32700),
        (b'"\xff"', -32700),
        (b"[" * 30_000, -32700),
        (b"[]", -32600),
        (b"7", -32600),
        (b'{"jsonrpc": "1.0", "id": 1, "method": "sim.ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": [1], "method": "sim.ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": 5}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ev.plug_in", "params": [1]}', -32602),
    ],
)
async def test_a_bad_line_is_answered_and_the_connection_stays(desk: Desk, line: bytes, code: int) -> None:
    reader, writer = await asyncio.open_unix_connection(str(desk.path))
    writer.write(line + b"\n\n" + b'{"jsonrpc": "2.0", "id": 2, "method": "sim.ping"}\n')
    assert json.loads(await reader.readline())["error"]["code"] == code
    assert json.loads(await reader.readline()) == {"jsonrpc": "2.0", "id": 2, "result": {}}
    writer.close()


async def test_a_line_without_end_closes_the_connection(desk: Desk) -> None:
    reader, writer = await asyncio.open_unix_connection(str(desk.path))
    writer.write(b"x" * (MAX_LINE + 10))
    assert json.loads(await reader.readline())["error"]["code"] == -32600
    assert await reader.read() == b""
    writer.close()


async def test_a_notification_takes_effect_without_an_answer(desk: Desk) -> None:
    reader, writer = await asyncio.open_unix_connection(str(desk.path))
    writer.write(b'{"jsonrpc": "2.0", "method": "ev.plug_in", "params": {"evse": 1}}\n{"jsonrpc": "2.0", "method": "ev.plugin"}\n')
    writer.write(b'{"jsonrpc": "2.0", "id": 1, "method": "sim.ping"}\n')
    assert json.loads(await reader.readline())["id"] == 1
    await until(lambda: desk.sink.last("pilot", ONE) == ("pilot", ONE, PilotState.B))
    writer.close()


async def test_a_line_may_come_in_pieces(desk: Desk) -> None:
    reader, writer = await asyncio.open_unix_connection(str(desk.path))
    for byte in b'{"jsonrpc": "2.0", "id": 1, "method": "sim.ping"}\n':
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0)
    assert json.loads(await reader.readline())["result"] == {}
    writer.close()


async def test_too_many_clients_are_turned_away(desk: Desk) -> None:
    clients = [await asyncio.open_unix_connection(str(desk.path)) for _ in range(32)]
    await asyncio.sleep(0.05)
    reader, writer = await asyncio.open_unix_connection(str(desk.path))
    assert await reader.read() == b""
    writer.close()
    for _, one in clients:
        one.close()


async def test_a_client_that_does_not_read_is_dropped(desk: Desk) -> None:
    """Answers are bounded: who asks a lot and never reads loses the connection, and the world goes on."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connection, str(desk.path))
    line = b'{"jsonrpc": "2.0", "id": 1, "method": "sim.state"}\n'

    async def ask_without_end() -> None:
        while True:
            await loop.sock_sendall(connection, line * 20)

    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        await asyncio.wait_for(ask_without_end(), 5)
    connection.close()
    async with await ControlClient.open(desk.path) as control:
        assert await control.call("sim.ping") == {}


async def test_a_socket_left_by_a_dead_process_is_replaced_and_a_living_one_is_not(desk: Desk, tmp_path: Path) -> None:
    dead = tmp_path / "dead.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(dead))
    left.close()
    server = ControlServer(dead, {})
    server.start()
    server.close()
    assert not dead.exists()
    with pytest.raises(OSError, match=r"sim.sock: cannot listen on this socket: Address already in use"):
        ControlServer(desk.path, {}).start()
    async with await ControlClient.open(desk.path) as control:
        assert await control.call("sim.ping") == {}


async def test_orders_of_a_daemon_are_no_business_of_others(desk: Desk, control: ControlClient) -> None:
    with pytest.raises(RpcError, match=r"unknown method 'hal\.close'"):
        await control.call("hal.close", evse=1)
    desk.world.set_output(ONE, X1)


async def test_a_call_from_a_shell(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    sock = ["--socket", str(desk.path)]
    assert await asyncio.to_thread(call_once, desk.path, "sim.ping", {}) == {}
    assert await asyncio.to_thread(run, [*sock, "ev.plug_in", "evse=1", "delay_s=2.5"]) == 0
    assert await asyncio.to_thread(run, [*sock, "network.down", "mode=close"]) == 0
    assert await asyncio.to_thread(run, [*sock, "ev.plug_in", "evse=1"]) == 3
    assert "a vehicle is plugged in at EVSE 1 already" in capsys.readouterr().err
    assert await asyncio.to_thread(run, ["--socket", str(desk.path) + "x", "sim.ping"]) == 4


def test_the_faults_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_faults([]) == 0
    printed = capsys.readouterr().out
    assert all(fault in printed for fault in SimFault)
