"""JSON-RPC 2.0 over lines, without a socket: a line in, a line out. Methods describe themselves (`rpc.discover`, OpenRPC 1.3)."""

import asyncio
import json
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from enum import IntEnum, StrEnum
from typing import Final

from agent.domain.errors import AgentError
from agent.domain.values import dataclass

_log = logging.getLogger("agent.diagnostics")

MAX_LINE_BYTES: Final = 65_536
"""Longest request, without its line end."""
CALL_S: Final = 8.0
"""Every call is answered within this time, also while a disk hangs. The CLI waits 10 s."""
SHOWN_CHARS: Final = 60
"""So much of a wrong value is repeated to the sender."""

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]
"""What a JSON document can hold."""
Params = Mapping[str, Json]


class Role(IntEnum):
    """What a peer may do. Each includes those below it."""

    OBSERVER = 0
    TECHNICIAN = 1


class ErrorCode(IntEnum):
    """JSON-RPC 2.0 section 5.1, and our own from -32000 down."""

    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    FORBIDDEN = -32001
    FAILED = -32002
    BUSY = -32003


class RpcError(AgentError):
    """A request that is answered with an error: what was wrong, and what is allowed."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: what it may do, and its name for the log."""

    role: Role
    name: str


class ParamType(StrEnum):
    """JSON types that parameters have."""

    INTEGER = "integer"
    STRING = "string"


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """One parameter of a method. `is_secret`: its value never goes to the log. Integers have bounds."""

    name: str
    type: ParamType
    description: str
    required: bool = False
    is_secret: bool = False
    minimum: int = 1
    maximum: int = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method: its name, what it answers, its parameters, who may call it, and what runs."""

    name: str
    summary: str
    call: Callable[[Params], Awaitable[Json]]
    params: tuple[Param, ...] = ()
    role: Role = Role.OBSERVER


class Service:
    """A table of methods. `results` gives the JSON schemas of what they answer, by name, when somebody wants the description."""

    def __init__(self, methods: tuple[Method, ...], *, title: str, version: str, results: Callable[[], Mapping[str, Json]] = dict) -> None:
        self._title, self._version, self._results = title, version, results
        discover = Method(name="rpc.discover", summary="This description, as an OpenRPC document.", call=self._discover)
        self._methods = {method.name: method for method in (discover, *methods)}

    async def handle(self, line: bytes, caller: Caller) -> bytes | None:
        """Answer one line; None for a notification. Nothing that a peer sends raises."""
        try:
            request: Json = json.loads(line.decode(), parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            return failure(None, ErrorCode.PARSE_ERROR, "the line is not JSON; send one JSON-RPC 2.0 object per line")
        if not isinstance(request, dict):
            return failure(None, ErrorCode.INVALID_REQUEST, "send one JSON-RPC 2.0 object per line; batches are not taken")
        call_id = request.get("id")
        if not _is_id(call_id):
            return failure(None, ErrorCode.INVALID_REQUEST, "id: allowed are a string, a number, and none for a notification")
        try:
            answer = _line({"jsonrpc": "2.0", "id": call_id, "result": await self._answer(request, caller)})
        except RpcError as error:
            is_malformed = error.code is ErrorCode.INVALID_REQUEST  # always answered: it cannot be told from a notification
            return failure(call_id, error.code, str(error)) if is_malformed or "id" in request else None
        except AgentError as error:
            answer = failure(call_id, ErrorCode.FAILED, str(error))
        except Exception:  # noqa: BLE001 - a bug of ours in one method must not end the technician's socket
            _log.exception("diagnostics method failed method=%s", request.get("method"))
            answer = failure(call_id, ErrorCode.INTERNAL_ERROR, "the daemon has a bug here; its log has the trace")
        return answer if "id" in request else None

    async def _answer(self, request: Mapping[str, Json], caller: Caller) -> Json:
        name, params = request.get("method"), request.get("params", {})
        if request.get("jsonrpc") != "2.0" or not isinstance(name, str):
            raise RpcError(ErrorCode.INVALID_REQUEST, 'an object with "jsonrpc": "2.0" and a "method" is needed')
        if not isinstance(params, dict | list):
            raise RpcError(ErrorCode.INVALID_REQUEST, "params must be an object with names")
        method = self._methods.get(name)
        if method is None:
            known = ", ".join(sorted(self._methods))
            raise RpcError(ErrorCode.METHOD_NOT_FOUND, f"there is no method {name[:SHOWN_CHARS]!r}; there are {known}")
        if caller.role < method.role:
            _log.warning("diagnostics call refused method=%s %s", name, caller.name)
            raise RpcError(ErrorCode.FORBIDDEN, f"{name} is for the role {method.role.name.lower()}; you are {caller.role.name.lower()}")
        checked = _checked(method, params)
        if method.role > Role.OBSERVER:
            _audit(method, checked, caller)
        try:
            async with asyncio.timeout(CALL_S):
                return await method.call(checked)
        except TimeoutError:
            text = f"{name}: no answer within {CALL_S:g} s; the disk may hang: chargerctl status tells how long the storage has been busy"
            raise RpcError(ErrorCode.FAILED, text) from None

    async def _discover(self, _: Params) -> Json:
        results = self._results()
        return {
            "openrpc": "1.3.2",
            "info": {"title": self._title, "version": self._version},
            "methods": [_described(method, results.get(method.name, {})) for method in self._methods.values()],
        }


def failure(call_id: Json, code: ErrorCode, message: str) -> bytes:
    """An error as a line."""
    return _line({"jsonrpc": "2.0", "id": call_id, "error": {"code": int(code), "message": message}})


def _line(document: Json) -> bytes:
    # ASCII only: a lone surrogate, which JSON can write and UTF-8 cannot, comes back as it came.
    return json.dumps(document, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _refuse_constant(text: str) -> Json:
    raise ValueError(f"{text} is not JSON")


def _is_id(value: Json) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or (isinstance(value, str | int) and not isinstance(value, bool))


def _checked(method: Method, params: dict[str, Json] | list[Json]) -> Params:
    if isinstance(params, list):
        raise RpcError(ErrorCode.INVALID_PARAMS, f"{method.name}: params must be an object with names")
    known = {param.name: param for param in method.params}
    for name, value in params.items():
        param = known.get(name)
        if param is None:
            allowed = ", ".join(known) or "none"
            raise RpcError(ErrorCode.INVALID_PARAMS, f"{method.name}: unknown parameter {name[:SHOWN_CHARS]!r}; allowed: {allowed}")
        _check_value(method, param, value)
    for param in method.params:
        if param.required and param.name not in params:
            raise RpcError(ErrorCode.INVALID_PARAMS, f"{method.name}: {param.name} is needed: {param.description}")
    return params


def _check_value(method: Method, param: Param, value: Json) -> None:
    if param.type is ParamType.STRING:
        if not isinstance(value, str):
            raise RpcError(ErrorCode.INVALID_PARAMS, f"{method.name}: {param.name} must be a string")
        if any("\ud800" <= letter <= "\udfff" for letter in value):  # JSON can write it, no file can hold it
            raise RpcError(ErrorCode.INVALID_PARAMS, f"{method.name}: {param.name} holds half of a surrogate pair, which is no text")
    elif not isinstance(value, int) or isinstance(value, bool) or not param.minimum <= value <= param.maximum:
        allowed = f"a whole number from {param.minimum} to {param.maximum}"
        raise RpcError(ErrorCode.INVALID_PARAMS, f"{method.name}: {param.name} must be {allowed}")


def _audit(method: Method, params: Params, caller: Caller) -> None:
    secret = {param.name for param in method.params if param.is_secret}
    shown = " ".join(f"{name}={str(value)[:SHOWN_CHARS]}" for name, value in params.items() if name not in secret)
    _log.info("diagnostics call method=%s %s %s", method.name, shown, caller.name)


def _described(method: Method, result: Json) -> Json:
    return {
        "name": method.name,
        "summary": method.summary,
        "paramStructure": "by-name",
        "params": [{"name": p.name, "description": p.description, "required": p.required, "schema": _schema(p)} for p in method.params],
        "result": {"name": "result", "schema": result},
        "x-role": method.role.name.lower(),
    }


def _schema(param: Param) -> Json:
    if param.type is ParamType.STRING:
        return {"type": "string"}
    return {"type": "integer", "minimum": param.minimum, "maximum": param.maximum}
