"""The socket: real Unix sockets, real peers, and clients as rude as they come."""

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.diagnostics import server as under_test
from agent.diagnostics.protocol import CALL_S, MAX_LINE_BYTES, ErrorCode, Role
from agent.diagnostics.server import MAX_CLIENTS, DiagnosticsError, Peer, Server, SocketInUseError, group_number, peer_of, role_of
from tests.diagnostics.service import Client, Methods, request

OTHER_UID, OTHER_GID, TECHNICIANS_GID = 54321, 54322, 54323

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@asynccontextmanager
async def serving(path: Path, methods: Methods | None = None, **options: Any) -> AsyncIterator[Server]:
    server = Server((methods or Methods()).service(), path, **options)
    await server.start()
    try:
        yield server
    finally:
        await server.aclose()


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[Path]:
    """A served socket."""
    path = tmp_path / "diag.sock"
    async with serving(path):
        yield path


async def is_alive(path: Path) -> bool:
    client = await Client.connect(path)
    try:
        return bool((await client.call("echo", {"text": "hello"}))["result"] == {"text": "hello"})
    finally:
        await client.close()


# --- serving


async def test_a_client_asks_as_often_as_it_likes(path: Path) -> None:
    client = await Client.connect(path)
    for number in range(1, 6):
        assert await client.call("echo", {"number": number}, call_id=number) == {
            "jsonrpc": "2.0",
            "id": number,
            "result": {"number": number},
        }
    await client.close()


async def test_requests_that_come_together_are_answered_in_order(path: Path) -> None:
    client = await Client.connect(path)
    await client.say(b"".join(request("echo", {"number": n}, call_id=n) for n in range(1, 21)))
    assert [(await client.hear())["id"] for _ in range(20)] == list(range(1, 21))
    await client.close()


async def test_empty_lines_are_no_requests(path: Path) -> None:
    client = await Client.connect(path)
    await client.say(b"\n\r\n   \n")
    assert (await client.call("echo", call_id=9))["id"] == 9
    await client.close()


async def test_the_last_line_needs_no_line_end(path: Path) -> None:
    client = await Client.connect(path)
    await client.say(request("echo").rstrip(b"\n"))
    client.writer.write_eof()
    assert (await client.hear())["result"] == {}
    assert await client.hear() is None
    await client.close()


async def test_a_line_may_come_in_pieces_and_holds_up_nobody(path: Path) -> None:
    slow = await Client.connect(path)
    line = request("echo", {"text": "in pieces"})
    await slow.say(line[:10])
    assert await is_alive(path)
    await slow.say(line[10:])
    assert (await slow.hear())["result"] == {"text": "in pieces"}
    await slow.close()


async def test_a_batch_is_refused_and_the_connection_goes_on(path: Path) -> None:
    client = await Client.connect(path)
    await client.say(b'[{"jsonrpc":"2.0","id":1,"method":"echo"}]\n')
    assert (await client.hear())["error"]["code"] == ErrorCode.INVALID_REQUEST
    assert (await client.call("echo"))["result"] == {}
    await client.close()


async def test_a_notification_is_silent(path: Path) -> None:
    client = await Client.connect(path)
    await client.say(b'{"jsonrpc":"2.0","method":"echo"}\n')
    assert (await client.call("echo", call_id="next"))["id"] == "next"
    await client.close()


@pytest.mark.parametrize("method", ["fail", "break", "nan", "nothing"])
async def test_a_failed_call_leaves_the_connection(path: Path, method: str) -> None:
    client = await Client.connect(path)
    assert "error" in await client.call(method)
    assert (await client.call("echo"))["result"] == {}
    await client.close()


async def test_an_answer_may_be_longer_than_any_buffer(path: Path) -> None:
    client = await Client.connect(path)
    assert len((await client.call("big", {"size": 5_000_000}))["result"]) == 5_000_000
    await client.close()


@pytest.mark.parametrize("size", range(50_000, 450_000, 50_000))
async def test_a_client_that_reads_late_gets_everything(path: Path, size: int) -> None:
    """Also what neither the kernel nor an unlimited buffer would hold back, and also when the client has said that it says no more."""
    with socket.socket(socket.AF_UNIX) as late:
        late.connect(str(path))
        late.sendall(request("big", {"size": size}))
        late.shutdown(socket.SHUT_WR)
        await asyncio.sleep(0.03)
        assert len(await asyncio.to_thread(_all_of, late)) > size


def _all_of(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(100_000), b""))


# --- limits


async def test_the_longest_line_is_taken(path: Path) -> None:
    client = await Client.connect(path)
    room = MAX_LINE_BYTES - len(request("echo", {"text": ""}).rstrip(b"\n"))
    assert len((await client.call("echo", {"text": "x" * room}))["result"]["text"]) == room
    await client.close()


async def test_a_longer_line_is_answered_once_and_ends_the_connection(path: Path) -> None:
    client = await Client.connect(path)
    room = MAX_LINE_BYTES - len(request("echo", {"text": ""}).rstrip(b"\n"))
    await client.say(request("echo", {"text": "x" * (room + 1)}))
    answer = await client.hear()
    assert (answer["id"], answer["error"]["code"]) == (None, ErrorCode.INVALID_REQUEST)
    assert str(MAX_LINE_BYTES) in answer["error"]["message"]
    assert await client.hear() is None
    await client.close()
    assert await is_alive(path)


async def test_a_stream_without_line_ends_is_cut_off(path: Path) -> None:
    """The daemon holds twice the longest line at most, whatever is poured in."""
    client = await Client.connect(path)
    with pytest.raises(ConnectionError):
        await _pour(client)
    await client.close()
    assert await is_alive(path)


async def _pour(client: Client) -> None:
    for _ in range(1_000):
        await client.say(b"x" * 65_536)
        await asyncio.sleep(0)


async def test_the_ninth_client_is_told_so_and_a_place_comes_free_again(path: Path) -> None:
    clients = [await Client.connect(path) for _ in range(MAX_CLIENTS)]
    for client in clients:
        assert (await client.call("echo"))["result"] == {}
    ninth = await Client.connect(path)
    answer = await ninth.hear()
    assert (answer["id"], answer["error"]["code"]) == (None, ErrorCode.BUSY)
    assert str(MAX_CLIENTS) in answer["error"]["message"]
    assert await ninth.hear() is None
    await ninth.close()
    for client in clients:
        assert (await client.call("echo"))["result"] == {}, "nobody was pushed out"
    await clients.pop().close()
    async with asyncio.timeout(5):
        while not await _is_taken(path):
            await asyncio.sleep(0.01)
    for client in clients:
        await client.close()


async def _is_taken(path: Path) -> bool:
    client = await Client.connect(path)
    try:
        answer = await client.call("echo")
    except ConnectionError:
        return False
    finally:
        await client.close()
    return "result" in answer


@pytest.mark.virtual_time
async def test_an_idle_client_is_left_after_its_time(path: Path) -> None:
    loop = asyncio.get_running_loop()
    client = await Client.connect(path)
    assert (await client.call("echo"))["result"] == {}
    began = loop.time()
    assert await client.hear() is None
    assert loop.time() - began == pytest.approx(under_test.IDLE_S, abs=1)
    await client.close()


@pytest.mark.virtual_time
async def test_a_client_that_drips_is_left_too(path: Path) -> None:
    """A byte now and then does not renew the time for a line."""
    loop = asyncio.get_running_loop()
    client = await Client.connect(path)
    began = loop.time()
    while not client.reader.at_eof() and loop.time() - began < 10 * under_test.IDLE_S:
        try:
            await client.say(b"x")
        except ConnectionError:
            break
        await asyncio.sleep(10)
    assert loop.time() - began == pytest.approx(under_test.IDLE_S, abs=21)
    await client.close()


@pytest.mark.virtual_time
async def test_a_client_that_does_not_read_is_dropped_with_all_that_waited_for_it(path: Path) -> None:
    loop = asyncio.get_running_loop()
    deaf = socket.socket(socket.AF_UNIX)
    deaf.connect(str(path))
    deaf.sendall(request("big", {"size": 5_000_000}))
    began = loop.time()
    await asyncio.sleep(under_test.WRITE_S + 1)
    assert await is_alive(path)
    deaf.settimeout(5)
    heard = 0
    while chunk := deaf.recv(1_000_000):
        heard += len(chunk)
    deaf.close()
    assert 0 < heard < 5_000_000, "only what the kernel had taken"
    assert loop.time() - began < 60


@pytest.mark.virtual_time
async def test_a_flood_of_lines_is_taken_slowly(path: Path) -> None:
    """The loop's turns between two lines of one client belong to those who charge."""
    loop = asyncio.get_running_loop()
    client = await Client.connect(path)
    began = loop.time()
    await client.say(b"x\n" * 1_000)
    for _ in range(1_000):
        assert (await client.hear())["error"]["code"] == ErrorCode.PARSE_ERROR
    assert loop.time() - began >= 990 * under_test.PAUSE_S
    await client.close()


@pytest.mark.virtual_time
async def test_a_hanging_call_does_not_keep_its_place(path: Path) -> None:
    """A disk that hangs must not lock the technician out."""
    for _ in range(MAX_CLIENTS):
        hanging = await Client.connect(path)
        await hanging.say(request("hang"))
        await hanging.close()
    await asyncio.sleep(CALL_S + 1)
    assert await is_alive(path)


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(path: Path) -> None:
    for data in (b"", b"half a li", request("echo"), request("big", {"size": 5_000_000})):
        client = await Client.connect(path)
        await client.say(data)
        client.writer.transport.abort()
        assert await is_alive(path)


@settings(max_examples=40)
@given(st.lists(st.binary(max_size=300) | st.sampled_from([request("echo"), b"\n", b"{}\n", b"[]\n", request("break")]), max_size=6))
def test_no_bytes_end_the_server(chunks: list[bytes]) -> None:
    async def story(path: Path) -> None:
        async with serving(path):
            client = await Client.connect(path)
            for chunk in chunks:
                await client.say(chunk)
            client.writer.write_eof()
            answers = 0
            while await client.hear() is not None:
                answers += 1
            lines = [line for line in b"".join(chunks).split(b"\n") if line.strip()]
            assert answers == len(lines)
            await client.close()
            assert await is_alive(path)

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(story(Path(directory) / "s"))


# --- the file


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("mask", [0, 0o022, 0o077, 0o177])
async def test_user_and_group_may_connect_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    path = tmp_path / "s"
    with umask(mask):
        async with serving(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            assert os.umask(mask) == mask, "the process's umask is left alone: other threads create files"


async def test_the_socket_goes_with_the_server(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "s"
    async with serving(path):
        client = await Client.connect(path)
        assert (await client.call("echo"))["result"] == {}
    assert not path.exists()
    assert await client.hear() is None
    await client.close()
    assert not caplog.records, "an orderly end is no error"


async def test_a_socket_that_a_crash_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
        left.listen()
    assert path.is_socket()
    async with serving(path):
        assert await is_alive(path)


async def test_a_second_daemon_is_refused_and_the_first_goes_on(path: Path, tmp_path: Path) -> None:
    second = Server(Methods().service(), path)
    with pytest.raises(SocketInUseError, match="is the daemon running already"):
        await second.start()
    await second.aclose()
    assert await is_alive(path)


async def test_a_daemon_that_does_not_accept_is_still_a_daemon(tmp_path: Path) -> None:
    """With a full backlog a blocking `connect` would wait for ever."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(path))
        hung.listen(0)
        waiting = []
        while True:
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            waiting.append(client)
            if client.connect_ex(str(path)) != 0:
                break
        with pytest.raises(SocketInUseError):
            await Server(Methods().service(), path).start()
        assert path.is_socket()
        for client in waiting:
            client.close()


async def test_the_successors_socket_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    first = Server(Methods().service(), path)
    await first.start()
    path.rename(tmp_path / "moved")
    async with serving(path):
        await first.aclose()
        assert await is_alive(path)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("file", "exists and is no socket"),
        ("missing/s", "its directory must exist"),
        ("x" * 200, "path too long"),
        ("link", "is no socket"),
    ],
)
async def test_a_socket_that_cannot_be_opened_is_explained(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DiagnosticsError, match=says) as raised:
        await Server(Methods().service(), tmp_path / name).start()
    assert not isinstance(raised.value, SocketInUseError)
    assert str(tmp_path) in str(raised.value)
    assert (tmp_path / "file").read_text() == "precious"


# --- roles


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        (Peer(1, 0, frozenset({0})), Role.TECHNICIAN),
        (Peer(1, os.geteuid(), frozenset({7})), Role.TECHNICIAN),
        (Peer(1, 99_999, frozenset({7})), Role.OBSERVER),
        (Peer(1, 99_999, frozenset({7, TECHNICIANS_GID})), Role.TECHNICIAN),
        (Peer(1, 99_999, frozenset({0})), Role.OBSERVER),
        (Peer(1, 99_999, frozenset()), Role.OBSERVER),
    ],
)
def test_the_role_follows_the_peer(peer: Peer, expected: Role) -> None:
    assert role_of(peer, TECHNICIANS_GID) is expected


def test_without_the_group_nobody_else_is_a_technician() -> None:
    assert role_of(Peer(1, 99_999, frozenset({TECHNICIANS_GID})), None) is Role.OBSERVER


def test_a_groups_number_is_looked_up_by_its_name() -> None:
    assert group_number("root") == 0
    assert group_number("no-such-group-here") is None


def test_the_kernel_says_who_the_peer_is() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peer_of(ours) == Peer(os.getpid(), os.geteuid(), frozenset({os.getegid(), *os.getgroups()}))


AS_ANOTHER = """
import json, os, socket, sys
path, uid, gid, groups, line = sys.argv[1:]
os.setgroups([int(group) for group in groups.split(",")])
os.setgid(int(gid))
os.setuid(int(uid))
sock = socket.socket(socket.AF_UNIX)
try:
    sock.connect(path)
except PermissionError:
    sys.exit(13)
sock.sendall(line.encode() + b"\\n")
sys.stdout.write(sock.makefile().readline())
"""


@needs_root
@pytest.mark.parametrize(
    ("groups", "outcome"),
    [
        ([OTHER_GID], "observer"),
        ([OTHER_GID, TECHNICIANS_GID], "technician"),
        ([TECHNICIANS_GID], "no entry"),  # the file's mode lets in the group that owns it; a technician is in both
    ],
)
async def test_another_user_gets_the_role_of_its_groups(groups: list[int], outcome: str) -> None:
    methods = Methods()
    with tempfile.TemporaryDirectory() as directory:  # pytest's own are for this user only
        Path(directory).chmod(0o755)
        path = Path(directory) / "s"
        async with serving(path, methods, technicians=TECHNICIANS_GID):
            os.chown(path, 0, OTHER_GID)
            line = request("change", {"name": "a"}).decode().strip()
            peer = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", AS_ANOTHER, str(path), str(OTHER_UID), str(OTHER_UID), ",".join(map(str, groups)), line),
                stdout=subprocess.PIPE,
            )
            out, _ = await peer.communicate()
    if outcome == "no entry":
        assert peer.returncode == 13
        return
    assert peer.returncode == 0
    answer = json.loads(out)
    if outcome == "technician":
        assert answer["result"] == "changed"
    else:
        assert answer["error"]["code"] == ErrorCode.FORBIDDEN
    assert bool(methods.calls) == (outcome == "technician")
