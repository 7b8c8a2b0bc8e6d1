"""`chargerctl` as a process of its own, against a real socket."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import agent
from agent.cli import __main__ as cli
from agent.config.model import DiagnosticsConfig
from agent.diagnostics.protocol import CALL_S, MAX_LINE_BYTES, ErrorCode, Json, Method, Param, Params, ParamType, Role, Service
from agent.diagnostics.server import MAX_CLIENTS, Server
from agent.domain.errors import StoreError
from tests.cli import examples as ex

ROOT = Path(__file__).parents[2]
OTHER = 54321


@dataclass
class Daemon:
    """Answers with the examples, and remembers what it was asked."""

    path: Path
    asked: list[tuple[str, dict[str, Json]]] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=lambda: dict(reversed(ex.EXAMPLES)))
    failure: Exception | None = None

    def service(self) -> Service:
        integers = {
            "why": "evse",
            "meter": "evse",
            "sessions": "limit",
            "events": "limit",
            "deadletters.show": "row",
            "deadletters.resend": "row",
        }
        methods = []
        for name in self.answers:
            params = [Param(name=integers[name], type=ParamType.INTEGER, description="")] if name in integers else []
            if name.startswith("config"):
                params = [Param(name=word, type=ParamType.STRING, description="") for word in ("name", "value")]
            role = Role.TECHNICIAN if "." in name else Role.OBSERVER
            methods.append(Method(name=name, summary="", call=self._answering(name), params=tuple(params), role=role))
        return Service(tuple(methods), title="test", version="1")

    def _answering(self, name: str) -> Any:
        async def answer(params: Params) -> Json:
            self.asked.append((name, dict(params)))
            if self.failure is not None:
                raise self.failure
            return self.answers[name]

        return answer


@dataclass
class Ran:
    code: int
    out: str
    err: str


async def ctl(*words: str, path: Path | None = None, env: dict[str, str] | None = None) -> Ran:
    """Run the command; `path` is given as --socket in front."""
    given = [] if path is None else ["--socket", str(path)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent.cli", *given, *words),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(env or {})},
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    ran = Ran(process.returncode or 0, out.decode(), err.decode())
    assert "Traceback" not in ran.err, ran.err
    return ran


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    daemon = Daemon(tmp_path / "diag.sock")
    server = Server(daemon.service(), daemon.path)
    await server.start()
    yield daemon
    await server.aclose()


# --- questions


QUESTIONS: list[tuple[str, tuple[str, dict[str, Json]]]] = [
    ("status", ("status", {})),
    ("why", ("why", {})),
    ("why 2", ("why", {"evse": 2})),
    ("meter", ("meter", {})),
    ("meter 1", ("meter", {"evse": 1})),
    ("sessions", ("sessions", {})),
    ("sessions 7", ("sessions", {"limit": 7})),
    ("queue", ("queue", {})),
    ("deadletters", ("deadletters", {})),
    ("deadletters list", ("deadletters", {})),
    ("deadletters show 9", ("deadletters.show", {"row": 9})),
    ("deadletters resend 9", ("deadletters.resend", {"row": 9})),
    ("deadletters resend --all", ("deadletters.resend", {})),
    ("deadletters export", ("deadletters.export", {})),
    ("deadletters export a.csv", ("deadletters.export", {"file": "a.csv"})),
    ("ocpp test", ("ocpp.test", {})),
    ("events 3", ("events", {"limit": 3})),
    ("recorder", ("recorder", {})),
    ("recorder list", ("recorder", {})),
    ("recorder freeze hum", ("recorder.freeze", {"detail": "hum"})),
    ("recorder export a", ("recorder.read", {"name": "a", "file": "a"})),
    ("recorder export a b/c", ("recorder.read", {"name": "a", "file": "b/c"})),
    ("config", ("config", {})),
    ("config show", ("config", {})),
    ("config get HeartbeatInterval", ("config", {"name": "HeartbeatInterval"})),
    ("config set HeartbeatInterval 60", ("config.set", {"name": "HeartbeatInterval", "value": "60"})),
    ("config set TimeOffset -1", ("config.set", {"name": "TimeOffset", "value": "-1"})),
    ("config set A -- --json", ("config.set", {"name": "A", "value": "--json"})),
]


@pytest.mark.parametrize(("line", "asked"), QUESTIONS)
def test_words_become_a_question(line: str, asked: tuple[str, dict[str, Json]]) -> None:
    words, path, as_json = cli._options(line.split())
    assert cli._question(words) == asked
    assert (path, as_json) == (cli.DEFAULT_SOCKET, False)


@pytest.mark.parametrize(
    "command",
    ["status", "why 1", "meter", "sessions", "queue", "deadletters show 9", "deadletters resend 9", "events", "config", "config set A b"],
)
async def test_a_command_prints_its_answer_and_exits_0(daemon: Daemon, command: str) -> None:
    ran = await ctl(*command.split(), path=daemon.path)
    assert (ran.code, ran.err) == (0, "")
    assert len(ran.out.splitlines()) >= 1
    assert not ran.out.startswith(("{", "["))
    (method, _), *more = daemon.asked
    assert not more
    assert method in command.replace(" ", ".")


@pytest.mark.parametrize(
    "words",
    [
        "--json --socket {} sessions",
        "--socket {} --json sessions",
        "sessions --json --socket {}",
        "--json sessions --socket={}",
        "sessions --socket {} 5 --json",
    ],
)
async def test_options_stand_anywhere(daemon: Daemon, words: str) -> None:
    ran = await ctl(*words.format(daemon.path).split())
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out) == ex.SESSIONS


@pytest.mark.parametrize(("is_fine", "code"), [(True, 0), (False, 1)])
async def test_a_failed_step_is_an_exit_code(daemon: Daemon, is_fine: bool, code: int) -> None:
    daemon.answers["ocpp.test"] = {**ex.WAY, "is_fine": is_fine}
    ran = await ctl("ocpp", "test", path=daemon.path)
    assert (ran.code, ran.err) == (code, "")
    assert "tls" in ran.out


async def test_the_description_is_printed(daemon: Daemon) -> None:
    ran = await ctl("methods", path=daemon.path)
    assert ran.code == 0
    assert {method["name"] for method in json.loads(ran.out)["methods"]} == {"rpc.discover", *daemon.answers}


async def test_help_and_version_need_no_daemon() -> None:
    for word in ("--help", "-h", "help"):
        ran = await ctl(word)
        assert (ran.code, ran.err) == (0, "")
        assert ran.out == cli.USAGE
    ran = await ctl("--version")
    assert (ran.code, ran.out) == (0, f"chargerctl {agent.__version__}\n")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "a command is needed"),
        ("stat", "not understood: stat"),
        ("status 1", "not understood: status 1"),
        ("why one", "EVSE must be a whole number, not one"),
        ("why -1", "EVSE must be a whole number, not -1"),
        ("why ²", "EVSE must be a whole number"),
        ("events " + "9" * 5000, "LIMIT must be a whole number"),
        ("config set A", "not understood: config set A"),
        ("config set A b c", "not understood: config set A b c"),
        ("queue resend 9", "not understood: queue resend 9"),
        ("deadletters resend", "not understood: deadletters resend"),
        ("deadletters show x", "not understood: deadletters show x"),
        ("deadletters export a.xls", "not understood: deadletters export a.xls"),
        ("queue --all", "unknown option --all"),
        ("recorder export", "not understood: recorder export"),
        ("recorder x", "not understood: recorder x"),
        ("--jsonn status", "unknown option --jsonn"),
        ("status --socket", "--socket needs a path"),
        ("status --socket=", "--socket needs a path"),
    ],
)
async def test_what_is_not_understood_exits_2_with_the_usage(daemon: Daemon, line: str, says: str) -> None:
    ran = await ctl(*line.split(" ") if line else (), path=daemon.path)
    assert ran.code == 2
    assert ran.out == ""
    assert says in ran.err
    assert cli.USAGE in ran.err
    assert not daemon.asked


def test_command_and_daemon_agree() -> None:
    """The command imports nothing of the daemon, so what both have to know stands twice."""
    assert str(DiagnosticsConfig().socket) == cli.DEFAULT_SOCKET
    assert cli.MAX_LINE_BYTES == MAX_LINE_BYTES
    assert cli.TIMEOUT_S > CALL_S
    assert {ErrorCode.FORBIDDEN, ErrorCode.BUSY} == cli.REFUSALS
    assert {ErrorCode.INVALID_PARAMS, ErrorCode.INVALID_REQUEST} == cli.BAD_REQUESTS


# --- refusals and failures


async def test_what_the_daemon_does_not_know_exits_2(daemon: Daemon) -> None:
    ran = await ctl("events", "0", path=daemon.path)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "chargerctl: events: limit must be a whole number from 1 to 1000000\n"


async def test_what_failed_exits_1_with_the_daemons_sentence(daemon: Daemon) -> None:
    daemon.failure = StoreError("/var/lib/x: the disk is full; delete something")
    ran = await ctl("queue", path=daemon.path)
    assert (ran.code, ran.out, ran.err) == (1, "", "chargerctl: /var/lib/x: the disk is full; delete something\n")


async def test_a_bug_of_the_daemon_exits_1(daemon: Daemon) -> None:
    daemon.failure = ZeroDivisionError()
    ran = await ctl("status", path=daemon.path)
    assert (ran.code, ran.out) == (1, "")
    assert "its log has the trace" in ran.err


async def test_an_older_daemon_without_the_method_exits_1(tmp_path: Path) -> None:
    server = Server(Service((), title="old", version="0"), tmp_path / "s")
    await server.start()
    ran = await ctl("why", path=tmp_path / "s")
    await server.aclose()
    assert ran.code == 1
    assert "there is no method 'why'" in ran.err


async def test_a_full_daemon_exits_3(daemon: Daemon) -> None:
    clients = [await asyncio.open_unix_connection(daemon.path) for _ in range(MAX_CLIENTS)]
    await asyncio.sleep(0)
    ran = await ctl("status", path=daemon.path)
    for _, writer in clients:
        writer.close()
        await writer.wait_closed()
    assert (ran.code, ran.out) == (3, "")
    assert f"{MAX_CLIENTS} clients are connected" in ran.err


AS_ANOTHER = f"""
import os, sys
import agent.cli.text
from agent.cli.__main__ import main
groups = [int(word) for word in sys.argv[1].split(",")]
os.setgroups(groups)
os.setgid({OTHER})
os.setuid({OTHER})
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(
    ("group", "line", "code", "says"),
    [
        (OTHER + 2, "status", 3, "become a member of the group charger-agent"),
        (OTHER + 1, "config set A b", 3, "config.set is for the role technician; you are observer"),
        (OTHER + 1, "deadletters resend --all", 3, "deadletters.resend is for the role technician; you are observer"),
        (OTHER + 1, "status", 0, ""),
        (OTHER + 1, "config", 0, ""),
    ],
)
async def test_who_may_not_exits_3(group: int, line: str, code: int, says: str) -> None:
    with tempfile.TemporaryDirectory() as directory:  # pytest's own are for this user only
        Path(directory).chmod(0o755)
        daemon = Daemon(Path(directory) / "s")
        server = Server(daemon.service(), daemon.path)
        await server.start()
        os.chown(daemon.path, 0, OTHER + 1)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", AS_ANOTHER, str(group), "--socket", str(daemon.path), *line.split()),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        _, err = await process.communicate()
        await server.aclose()
    assert (process.returncode, bool(daemon.asked)) == (code, code == 0), err.decode()
    assert says in err.decode()


# --- nobody there


async def test_no_socket_exits_4(tmp_path: Path) -> None:
    ran = await ctl("status", path=tmp_path / "s")
    assert (ran.code, ran.out) == (4, "")
    assert ran.err.startswith(f"chargerctl: there is no socket {tmp_path / 's'}: the daemon does not run")
    assert "systemctl status charger-agent" in ran.err


async def test_a_socket_that_a_crash_left_exits_4(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "s"))
    ran = await ctl("status", path=tmp_path / "s")
    assert ran.code == 4
    assert "the daemon has crashed; journalctl" in ran.err


async def test_a_path_that_is_too_long_exits_4() -> None:
    ran = await ctl("status", path=Path("/" + "x" * 200))
    assert ran.code == 4
    assert "path too long" in ran.err


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        (b"", 4, "closed the connection without an answer"),
        (b"hello\n", 1, "served by something that is no charger-agent"),
        (b"[]\n", 1, "served by something that is no charger-agent"),
        (b'{"error": 1}\n', 1, "served by something that is no charger-agent"),
        (b'{"id": 1}\n', 1, "served by something that is no charger-agent"),
        (b"\xff\n", 1, "served by something that is no charger-agent"),
    ],
)
async def test_something_else_on_the_socket_is_told_apart(tmp_path: Path, answer: bytes, code: int, says: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    async with await asyncio.start_unix_server(serve, tmp_path / "s"):
        ran = await ctl("status", path=tmp_path / "s")
    assert (ran.code, ran.out) == (code, "")
    assert says in ran.err


def test_a_daemon_that_hangs_exits_4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "TIMEOUT_S", 0.05)
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(tmp_path / "s"))
        hung.listen()
        assert cli.main(["--socket", str(tmp_path / "s"), "status"]) == 4
    assert "no answer within 0.05 s; the daemon hangs" in capsys.readouterr().err


def test_a_request_that_the_daemon_would_not_take_is_not_sent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--socket", str(tmp_path / "s"), "config", "set", "A", "x" * 65_536]) == 2
    assert "at most 65536" in capsys.readouterr().err


# --- the terminal


@pytest.mark.parametrize("times", [1, 5_000])
async def test_a_reader_that_has_seen_enough_is_no_error(daemon: Daemon, times: int) -> None:
    """`chargerctl events | head -1`: nobody reads any more, at the first write or at the last."""
    daemon.answers["events"] = ex.EVENTS * times
    unread, written = os.pipe()
    os.close(unread)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent.cli", "--socket", str(daemon.path), "events"),
        cwd=ROOT,
        stdout=written,
        stderr=subprocess.PIPE,
    )
    os.close(written)
    _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")


async def test_a_terminal_without_utf_8_still_reads(daemon: Daemon) -> None:
    daemon.answers["events"] = [{**ex.EVENTS[1], "detail": "Grønn 5 €"}]
    ran = await ctl("events", path=daemon.path, env={"PYTHONIOENCODING": "ascii"})
    assert (ran.code, ran.err) == (0, "")
    assert r"Gr\xf8nn 5 \u20ac" in ran.out


async def test_an_answer_of_another_version_is_shown_as_it_is(daemon: Daemon) -> None:
    daemon.answers["status"] = {"station_id": "CP001", "new": 1}
    ran = await ctl("status", path=daemon.path)
    assert ran.code == 0
    assert json.loads(ran.out) == daemon.answers["status"]
    assert "of another version" in ran.err


# --- speed


def test_it_imports_little(tmp_path: Path) -> None:
    """Start-up is what the technician waits for on a small board: no asyncio, typing, argparse, logging or dataclasses."""
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from agent.cli.__main__ import main
from agent.cli import text
main(["--socket", {str(tmp_path / "s")!r}, "status"])
print(" ".join(sys.modules))
"""
    ran = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.split())
    assert {"json", "socket", "agent.cli.text"} <= loaded
    heavy = {
        "argparse",
        "asyncio",
        "contextlib",
        "dataclasses",
        "inspect",
        "logging",
        "pathlib",
        "ssl",
        "subprocess",
        "threading",
        "typing",
    }
    assert not heavy & loaded
    assert {name for name in loaded if name.startswith("agent")} == {"agent", "agent.cli", "agent.cli.__main__", "agent.cli.text"}
