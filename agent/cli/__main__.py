"""`chargerctl`: asks the daemon over its Unix socket and prints the answer, for people or as JSON. Imports little: it starts fast."""

import json
import socket
import sys

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_REFUSED, EXIT_UNREACHABLE = 0, 1, 2, 3, 4
DEFAULT_SOCKET = "/run/charger-agent/diag.sock"
TIMEOUT_S = 10.0
FORBIDDEN = -32001
BAD_REQUESTS = frozenset({-32601, -32602, -32600})

USAGE = """usage: chargerctl [--socket PATH] [--json] COMMAND

  status                    connection, EVSEs, clock, storage
  why [EVSE]                why it does not charge, since when, and the cure
  meter [EVSE]              meters: newest reading and health
  sessions [LIMIT]          stored transactions, the newest first
  queue                     messages that wait for the CSMS, dead letters
  events [LIMIT]            what happened, the newest last
  config [show|get NAME|set NAME VALUE]
                            OCPP variables with value and source
  methods                   what the socket offers (OpenRPC)

exit codes: 0 fine, 1 something is wrong, 2 usage, 3 refused, 4 daemon not reachable
"""


class Refused(Exception):
    """The daemon answered with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def call(path: str, method: str, params: dict[str, object]) -> object:
    """One question, one answer. Raises Refused and OSError."""
    request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}) + "\n"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(TIMEOUT_S)
        sock.connect(path)
        sock.sendall(request.encode())
        with sock.makefile("rb") as lines:
            line = lines.readline()
    if not line:
        raise OSError("the daemon closed the connection without an answer")
    answer = json.loads(line)
    if "error" in answer:
        raise Refused(int(answer["error"]["code"]), str(answer["error"]["message"]))
    return answer["result"]


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code says how it went."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    path, as_json = DEFAULT_SOCKET, False
    while words and words[0].startswith("-"):
        option = words.pop(0)
        if option == "--json":
            as_json = True
        elif option == "--socket" and words:
            path = words.pop(0)
        elif option.startswith("--socket="):
            path = option.partition("=")[2]
        elif option in {"-h", "--help"}:
            sys.stdout.write(USAGE)
            return EXIT_OK
        else:
            return _usage(f"unknown option {option}")
    if "--json" in words:
        words.remove("--json")
        as_json = True
    asked = _question(words)
    if isinstance(asked, str):
        return _usage(asked)
    method, params = asked
    try:
        result = call(path, method, params)
    except Refused as error:
        sys.stderr.write(f"chargerctl: {error}\n")
        return EXIT_REFUSED if error.code == FORBIDDEN else EXIT_USAGE if error.code in BAD_REQUESTS else EXIT_FAILED
    except OSError as error:
        sys.stderr.write(f"chargerctl: no daemon at {path} ({error}); is it running? systemctl status charger-agent\n")
        return EXIT_UNREACHABLE
    if as_json:
        sys.stdout.write(json.dumps(result, ensure_ascii=False, indent=2) + "\n")
        return EXIT_OK
    from agent.cli import text

    sys.stdout.write(text.render(method, result))
    return EXIT_OK


def _usage(problem: str) -> int:
    sys.stderr.write(f"chargerctl: {problem}\n{USAGE}")
    return EXIT_USAGE


def _question(words: list[str]) -> tuple[str, dict[str, object]] | str:
    match words:
        case ["status" | "queue" as method]:
            return method, {}
        case ["methods"]:
            return "rpc.discover", {}
        case ["why" | "meter" as method]:
            return method, {}
        case ["why" | "meter" as method, number] if number.isdigit():
            return method, {"evse": int(number)}
        case ["sessions" | "events" as method]:
            return method, {}
        case ["sessions" | "events" as method, number] if number.isdigit():
            return method, {"limit": int(number)}
        case ["config"] | ["config", "show"]:
            return "config", {}
        case ["config", "get", name]:
            return "config", {"name": name}
        case ["config", "set", name, value]:
            return "config.set", {"name": name, "value": value}
        case []:
            return "a command is needed"
        case _:
            return f"not understood: {' '.join(words)}"


if __name__ == "__main__":
    sys.exit(main())
