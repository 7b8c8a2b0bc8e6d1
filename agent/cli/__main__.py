"""`chargerctl`: asks the daemon over its Unix socket and prints the answer, for people or as JSON. Imports little: it starts fast."""

import io
import json
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_REFUSED, EXIT_UNREACHABLE = 0, 1, 2, 3, 4
DEFAULT_SOCKET = "/run/charger-agent/diag.sock"
TIMEOUT_S = 10.0
"""The daemon answers every call within 8 s."""
MAX_LINE_BYTES = 65_536
"""Longest request that the daemon takes."""
REFUSALS = frozenset({-32001, -32003})
"""The role does not suffice; too many clients."""
BAD_REQUESTS = frozenset({-32602, -32600})

USAGE = """usage: chargerctl [--socket PATH] [--json] COMMAND

  status                    connection, EVSEs, clock, storage
  why [EVSE]                why it does not charge, since when, and the cure
  meter [EVSE]              meters: newest reading and health; buses
  sessions [list] [LIMIT]   stored transactions, the newest first
  sessions show ID          a finished session as the chain proves it
  sessions verify           prove the chain of finished sessions, name the first broken row; also of a file when the
                            daemon is down: --database FILE, of an export: --file FILE; --key PEM, --head INDEX:HASH
  sessions export csv|json  with the proof; --from TIME --to TIME, --with-tokens
  sessions head             the newest row, and what the device says of it; send-head: tell it to the CSMS now
  sessions erase id ID      the personal data of a session; or: token TOKEN (- reads it from stdin), before TIME
  queue                     messages that wait for the CSMS, dead letters
  storage                   room, rows, and what it costs the flash
  deadletters [list]        messages that were set aside after their last attempt
  deadletters show ROW      one of them with its session and its values
  deadletters resend ROW    send it again; --all for every one
  deadletters export [FILE] the sessions to bill by hand: .csv or .json by its name, else as text for a table
  ocpp test                 the way to the CSMS step by step, and what to cure; exit code 1 where a step fails
  events [LIMIT]            what happened, the newest last
  recorder [list]           flight recordings: the minute before each fault or crash
  recorder freeze [WHY]     keep the last minute now
  recorder export NAME [FILE]  write one to a file, for charger-sim replay
  config [show]             OCPP variables with value and source
  config get NAME           one of them, by 2.x name or 1.6 key
  config set NAME VALUE     set it; it beats the configuration file
  methods                   what the socket offers (OpenRPC)

options, anywhere:
  --json                    the daemon's answer as JSON
  --socket PATH             default /run/charger-agent/diag.sock
  --                        what follows is no option
  --version, --help

exit codes: 0 fine, 1 it failed, 2 usage, 3 refused, 4 daemon not reachable
"""


class Refused(Exception):
    """The daemon answered with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class UsageError(Exception):
    """The words make no sense; the sentence says why."""


def call(path: str, method: str, params: dict[str, object]) -> object:
    """One question, one answer. Raises Refused as the daemon answers, OSError where none answers, ValueError where it is no daemon."""
    request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    if len(request) > MAX_LINE_BYTES:
        raise Refused(-32600, f"the request has {len(request)} bytes; at most {MAX_LINE_BYTES} are allowed")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(TIMEOUT_S)
        sock.connect(path)
        try:  # noqa: SIM105 - contextlib is an import
            sock.sendall(request + b"\n")
        except BrokenPipeError:
            pass  # it has answered already: too many clients
        with sock.makefile("rb") as lines:
            line = lines.readline()
    if not line:
        raise ConnectionResetError("the daemon closed the connection without an answer")
    answer = json.loads(line)
    if not isinstance(answer, dict) or ("result" in answer) == ("error" in answer):
        raise ValueError("the answer is no JSON-RPC 2.0")
    if "error" in answer:
        raise Refused(int(answer["error"]["code"]), str(answer["error"]["message"]))
    return answer["result"]


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code says how it went."""
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except BrokenPipeError:  # `chargerctl events | head`: the reader has seen enough
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in the buffer goes nowhere, and says nothing
        return EXIT_OK
    except KeyboardInterrupt:
        return EXIT_FAILED
    return code


def _run(given: list[str]) -> int:
    try:
        words, path, as_json = _options(given)
        asked = _question(words)
        if not isinstance(asked, str) and "do" in asked[1]:
            return _sessions(path, asked[1], as_json=as_json)
    except UsageError as error:
        sys.stderr.write(f"chargerctl: {error}\n\n{USAGE}")
        return EXIT_USAGE
    if isinstance(asked, str):
        sys.stdout.write(asked)
        return EXIT_OK
    method, params = asked
    file = str(params.pop("file", ""))
    try:
        result = _answer(path, method, params)
    except (Refused, OSError, ValueError, KeyError, TypeError) as error:
        return _no_answer(path, error)
    if isinstance(result, bytes):
        return _hand_out_bytes(result, file)
    if method == "deadletters.export":
        return _hand_out(result, file or (".json" if as_json else ".csv"))
    if as_json:
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
    else:
        _show(method, result)
    is_failed = method == "ocpp.test" and isinstance(result, dict) and not result.get("is_fine")
    return EXIT_FAILED if is_failed else EXIT_OK


def _no_answer(path: str, error: Exception) -> int:
    """Say why there is none; gives the exit code."""
    if isinstance(error, Refused):
        return _complain(str(error), EXIT_REFUSED if error.code in REFUSALS else EXIT_USAGE if error.code in BAD_REQUESTS else EXIT_FAILED)
    if isinstance(error, PermissionError):
        return _complain(f"{path}: this user may not; become a member of the group charger-agent, or use sudo", EXIT_REFUSED)
    if isinstance(error, OSError):
        return _complain(_unreachable(path, error), EXIT_UNREACHABLE)
    return _complain(f"{path} is served by something that is no charger-agent ({error})", EXIT_FAILED)


def _sessions(path: str, asked: dict[str, object], *, as_json: bool) -> int:
    from agent.cli import sessions

    try:
        return sessions.run(lambda method, params: call(path, method, params), asked, as_json=as_json)
    except sessions.ChainError as error:
        return _complain(str(error), EXIT_FAILED)
    except BrokenPipeError:
        raise
    except (Refused, OSError, ValueError, KeyError, TypeError) as error:
        return _no_answer(path, error)


def _answer(path: str, method: str, params: dict[str, object]) -> object:
    """What the daemon says, all pages of it."""
    if method == "recorder.read":
        from agent.cli import recordings

        return recordings.whole(lambda method, params: call(path, method, params), params["name"])
    if method == "sessions.erase" and params.get("token") == "-":
        params = {"token": sys.stdin.readline().strip()}  # not in the list of processes, nor in the shell's history
    if method.partition(".")[0] != "deadletters":
        return call(path, method, params)
    from agent.cli import letters

    if method not in letters.PAGED:
        return call(path, method, params)
    return letters.whole(lambda method, params: call(path, method, params), method, params)


def _hand_out(result: object, file: str) -> int:
    """The export, into a new file or (where the name is an ending only) to the terminal."""
    from agent.cli import letters

    if not isinstance(result, dict):
        return _complain("the daemon is of another version; restart it", EXIT_FAILED)
    text = letters.as_text(result, file)
    if file in letters.ENDINGS:
        sys.stdout.write(text)
        return EXIT_OK
    try:
        with open(file, "x", encoding="utf-8", newline="", opener=_for_this_user) as out:
            out.write(text)
    except OSError as error:
        return _complain(f"{file}: {error.strerror}; give the name of a new file in a directory that this user may write to", EXIT_FAILED)
    sys.stdout.write(f"{len(letters.by_session(result))} sessions written to {file}\n")
    return EXIT_OK


def _hand_out_bytes(data: bytes, file: str) -> int:
    try:
        with open(file, "xb", opener=_for_this_user) as out:
            out.write(data)
    except OSError as error:
        return _complain(f"{file}: {error.strerror}; give the name of a new file in a directory that this user may write to", EXIT_FAILED)
    sys.stdout.write(f"{file}: {len(data)} bytes\n")
    return EXIT_OK


def _for_this_user(file: str, flags: int) -> int:
    import os

    return os.open(file, flags, 0o600)  # whose session it was is nobody else's business


def _show(method: str, result: object) -> None:
    from agent.cli import text

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 is no reason to say nothing
    try:
        shown = text.render(method, result)
    except (KeyError, TypeError, ValueError) as error:
        # After an update the daemon may be older than this command until it is restarted.
        sys.stderr.write(f"chargerctl: the daemon is of another version and its answer is shown as it is ({error!r})\n")
        shown = json.dumps(result, indent=2) + "\n"
    sys.stdout.write(shown)


def _unreachable(path: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return (
            f"there is no socket {path}: the daemon does not run, or serves another ([diagnostics] socket); systemctl status charger-agent"
        )
    if isinstance(error, ConnectionRefusedError):
        return f"nobody serves {path}: the daemon has crashed; journalctl -u charger-agent -e"
    if isinstance(error, TimeoutError):
        return f"{path}: no answer within {TIMEOUT_S:g} s; the daemon hangs, its watchdog will restart it; journalctl -u charger-agent -e"
    return f"{path}: {error.strerror or error}; systemctl status charger-agent"


def _complain(problem: str, code: int) -> int:
    sys.stderr.write("chargerctl: " + problem.encode("ascii", "backslashreplace").decode() + "\n")
    return code


def _options(given: list[str]) -> tuple[list[str], str, bool]:
    """The words without the options, which may stand anywhere."""
    words: list[str] = []
    path, as_json = DEFAULT_SOCKET, False
    rest = iter(given)
    for word in rest:
        if word == "--":
            words.extend(rest)
        elif word == "--json":
            as_json = True
        elif word == "--all" and words[:2] == ["deadletters", "resend"]:
            words.append("all")
        elif word == "--socket" or word.startswith("--socket="):
            path = word.partition("=")[2] or next(rest, "")
            if not path:
                raise UsageError("--socket needs a path")
        elif word in {"-h", "--help"}:
            words = ["help"]
            break
        elif word == "--version":
            words = ["version"]
            break
        elif word.startswith("--") and words[:1] == ["sessions"] and len(words) > 1:
            words.append(word)
        elif word.startswith("--"):
            raise UsageError(f"unknown option {word}")
        else:
            words.append(word)
    return words, path, as_json


def _of_topic(topic: str, words: list[str]) -> tuple[str, dict[str, object]] | None:
    if topic == "recorder":
        from agent.cli import recordings

        return recordings.question(words)
    from agent.cli import letters

    return letters.question(words)


def _question(words: list[str]) -> tuple[str, dict[str, object]] | str:
    """Method and parameters, or what is printed without asking anybody. Raises UsageError."""
    if words[:2] == ["sessions", "list"]:
        del words[1]
    match words:
        case ["status" | "storage" | "queue" | "why" | "meter" | "sessions" | "events" | "config" as method]:
            return method, {}
        case ["why" | "meter" as method, number]:
            return method, {"evse": _whole(number, "EVSE")}
        case ["sessions", "show" | "verify" | "export" | "erase" | "head" | "send-head", *_]:
            from agent.cli import sessions

            return sessions.question(words[1:]) or _not_understood(words)
        case ["sessions" | "events" as method, number]:
            return method, {"limit": _whole(number, "LIMIT")}
        case ["deadletters" | "recorder" as topic, *rest]:
            return _of_topic(topic, rest) or _not_understood(words)
        case ["config", "show"]:
            return "config", {}
        case ["config", "get", name]:
            return "config", {"name": name}
        case ["config", "set", name, value]:
            return "config.set", {"name": name, "value": value}
        case ["ocpp", "test"] | ["methods"]:
            return {"ocpp": "ocpp.test", "methods": "rpc.discover"}[words[0]], {}
        case ["help"]:
            return USAGE
        case ["version"]:
            from agent import __version__

            return f"chargerctl {__version__}\n"
        case []:
            raise UsageError("a command is needed")
        case _:
            return _not_understood(words)


def _not_understood(words: list[str]) -> "NoReturn":
    raise UsageError(f"not understood: {' '.join(words)}")


def _whole(word: str, name: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) <= 15):
        raise UsageError(f"{name} must be a whole number, not {word}")
    return int(word)


if __name__ == "__main__":
    sys.exit(main())
