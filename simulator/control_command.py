"""`charger-sim control` and `charger-sim faults`: the control socket from a shell."""

import argparse
import json
import sys
from collections.abc import Sequence

from simulator.control import CLIENT_TIMEOUT_S, call_once
from simulator.faults import listing
from simulator.wire import Json, RpcError


def run(args: Sequence[str]) -> int:
    """Call one method and print its result. Exit codes: 0 done, 3 refused, 4 nobody answers on the socket."""
    parser = argparse.ArgumentParser(prog="charger-sim control", description="Call one method of a simulator's control socket.")
    parser.add_argument("--socket", required=True, help="hal.options.control_socket, or the socket of `charger-sim world`")
    parser.add_argument("--timeout", type=float, default=CLIENT_TIMEOUT_S, metavar="S", help=f"seconds (default {CLIENT_TIMEOUT_S:g})")
    parser.add_argument("method", help="as in docs/simulator.md, e.g. ev.plug_in")
    parser.add_argument("params", nargs="*", metavar="NAME=VALUE", help="values are JSON, or plain words: evse=1 mode=close")
    options = parser.parse_args(args)
    params: dict[str, Json] = {}
    for pair in options.params:
        name, equals, text = pair.partition("=")
        if not equals:
            parser.error(f"{pair!r}: expected NAME=VALUE")
        params[name] = _value(text)
    try:
        result = call_once(options.socket, options.method, params, timeout_s=options.timeout)
    except RpcError as error:
        print(error, file=sys.stderr)
        return 3
    except OSError as error:
        print(f"{options.socket}: {error}", file=sys.stderr)
        return 4
    print(json.dumps(result, indent=2))
    return 0


def _value(text: str) -> Json:
    try:
        value: Json = json.loads(text)
    except ValueError:
        return text
    return value


def run_faults(args: Sequence[str]) -> int:
    """Print the catalogue of faults."""
    argparse.ArgumentParser(prog="charger-sim faults", description="List the faults that fault.set knows.").parse_args(args)
    print(listing())
    return 0
