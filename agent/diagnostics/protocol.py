"""JSON-RPC 2.0 over lines, sans-I/O: a line in, a line out. Methods describe themselves (`rpc.discover`, OpenRPC 1.3)."""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

from agent.domain.errors import AgentError

_log = logging.getLogger("agent.diagnostics")

MAX_LINE_BYTES: Final = 65_536

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


class RpcError(AgentError):
    """A request that is answered with an error: what was wrong, and what is allowed."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class ParamType(StrEnum):
    """JSON types that parameters have."""

    INTEGER = "integer"
    STRING = "string"


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """One parameter of a method."""

    name: str
    type: ParamType
    description: str
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method: its name, what it answers, its parameters, who may call it, and what runs."""

    name: str
    summary: str
    call: Callable[[Params], Awaitable[Json]]
    params: tuple[Param, ...] = ()
    role: Role = Role.OBSERVER


class Service:
    """A table of methods."""

    def __init__(self, methods: tuple[Method, ...], *, title: str, version: str) -> None:
        self._title, self._version = title, version
        discover = Method(name="rpc.discover", summary="This description, as an OpenRPC document.", call=self._discover)
        self._methods = {method.name: method for method in (discover, *methods)}

    async def handle(self, line: bytes, role: Role) -> bytes | None:
        """Answer one line; None for a notification. Nothing that a peer sends raises."""
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return _error(None, ErrorCode.PARSE_ERROR, "the line is not JSON; send one JSON-RPC 2.0 object per line")
        if not isinstance(request, dict) or request.get("jsonrpc") != "2.0" or not isinstance(request.get("method"), str):
            return _error(
                None, ErrorCode.INVALID_REQUEST, 'an object with "jsonrpc": "2.0" and a "method" is needed; batches are not taken'
            )
        call_id = request.get("id")
        try:
            result = await self._call(str(request["method"]), request.get("params", {}), role)
        except RpcError as error:
            return None if call_id is None else _error(call_id, error.code, str(error))
        except AgentError as error:
            return None if call_id is None else _error(call_id, ErrorCode.FAILED, str(error))
        except Exception:  # noqa: BLE001 - a bug of ours in one method must not end the technician's socket
            _log.exception("method %s failed", request["method"])
            return (
                None if call_id is None else _error(call_id, ErrorCode.INTERNAL_ERROR, "the daemon has a bug here; its log has the trace")
            )
        return None if call_id is None else _line({"jsonrpc": "2.0", "id": call_id, "result": result})

    async def _call(self, name: str, params: object, role: Role) -> Json:
        method = self._methods.get(name)
        if method is None:
            known = ", ".join(sorted(self._methods))
            raise RpcError(ErrorCode.METHOD_NOT_FOUND, f"there is no method {name[:60]!r}; there are {known}")
        if role < method.role:
            raise RpcError(ErrorCode.FORBIDDEN, f"{name} is for the role {method.role.name.lower()}; you are {role.name.lower()}")
        return await method.call(_checked(method, params))

    async def _discover(self, _: Params) -> Json:
        return {
            "openrpc": "1.3.2",
            "info": {"title": self._title, "version": self._version},
            "methods": [
                {
                    "name": method.name,
                    "summary": method.summary,
                    "params": [
                        {"name": p.name, "description": p.description, "required": p.required, "schema": {"type": p.type.value}}
                        for p in method.params
                    ],
                    "result": {"name": "result", "schema": {}},
                    "x-role": method.role.name.lower(),
                }
                for method in self._methods.values()
            ],
        }


def _checked(method: Method, params: object) -> Params:
    if not isinstance(params, dict):
        raise RpcError(ErrorCode.INVALID_PARAMS, f"{method.name}: params must be an object with names")
    known = {param.name: param for param in method.params}
    for name, value in params.items():
        param = known.get(name)
        if param is None:
            allowed = ", ".join(known) or "none"
            raise RpcError(ErrorCode.INVALID_PARAMS, f"{method.name}: unknown parameter {str(name)[:60]!r}; allowed: {allowed}")
        wanted = int if param.type is ParamType.INTEGER else str
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise RpcError(ErrorCode.INVALID_PARAMS, f"{method.name}: {name} must be of type {param.type}")
    for param in method.params:
        if param.required and param.name not in params:
            raise RpcError(ErrorCode.INVALID_PARAMS, f"{method.name}: {param.name} is needed: {param.description}")
    return params


def _error(call_id: object, code: ErrorCode, message: str) -> bytes:
    return _line({"jsonrpc": "2.0", "id": call_id, "error": {"code": int(code), "message": message}})


def _line(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
