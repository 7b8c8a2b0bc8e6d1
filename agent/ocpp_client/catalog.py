"""How one version's knowledge of one message is written down, and what all versions do alike with their catalogues."""

from collections.abc import Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

from agent.domain.commands import Command, Outcome
from agent.domain.notices import Notice
from agent.domain.values import dataclass
from agent.ocpp_client import schemas
from agent.ocpp_client.adapter import JsonObject, OcppCallError, RemoteRefs, Reply, Sending
from agent.ocpp_client.schemas import Kind, SchemaViolation

Context = TypeVar("Context")
"""What a version's codecs need to know of the station."""

_MAX_NAME = 40


class Asked(NamedTuple, Generic[Context]):
    """A CALL of the CSMS, validated."""

    context: Context
    payload: JsonObject
    refs: RemoteRefs


class Done(NamedTuple, Generic[Context]):
    """What came of a command of the CSMS."""

    context: Context
    command: Command
    outcome: Outcome


class Answered(NamedTuple, Generic[Context]):
    """The CSMS's answer to a CALL that a notice became, validated."""

    context: Context
    notice: Notice
    payload: JsonObject
    sending: Sending


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec(Generic[Context]):
    """One action. `decode` and `encode_outcome` belong to what the CSMS may send, `decode_reply` to what the station sends.

    `sent_for` and `done_for` are the sentences of docs/ocpp-support.md: when the station sends it, what it does when the CSMS sends it.
    """

    sent_for: str = ""
    done_for: str = ""
    decode: Callable[[Asked[Context]], Command] | None = None
    encode_outcome: Callable[[Done[Context]], JsonObject] | None = None
    decode_reply: Callable[[Answered[Context]], Reply] | None = None


Catalog = Mapping[str, Codec[Context]]


def decode_call(version: str, catalog: Catalog[Context], context: Context, action: str, payload: object, refs: RemoteRefs) -> Command:
    """A CALL as a command. Raises OcppCallError: NotImplemented, NotSupported, or what the schema or the codec says against it."""
    codec = catalog.get(action)
    if codec is None or codec.decode is None:
        if action in schemas.known_actions(version):
            raise OcppCallError("NotSupported", f"{action} is part of OCPP {version}, but this station does not serve it")
        raise OcppCallError("NotImplemented", f"OCPP {version} has no action {action[:_MAX_NAME]!r}")
    valid = _validated(version, action, Kind.REQUEST, payload)
    return codec.decode(Asked(context=context, payload=valid, refs=refs))


def encode_outcome(catalog: Catalog[Context], context: Context, action: str, command: Command, outcome: Outcome) -> JsonObject:
    """The payload of the CALLRESULT. Raises OcppCallError where the action has no word for the outcome."""
    encode = catalog[action].encode_outcome
    if encode is None:
        raise unexpected(action, outcome)
    return encode(Done(context=context, command=command, outcome=outcome))


def validated_reply(version: str, action: str, payload: object) -> JsonObject:
    """The payload of a CALLRESULT. Raises OcppCallError."""
    return _validated(version, action, Kind.RESPONSE, payload)


def incoming_messages(catalog: Catalog[Context]) -> tuple[tuple[str, Kind], ...]:
    """What a daemon of this version has to judge: answers to what it sends, and calls that it serves."""
    replies = [(action, Kind.RESPONSE) for action, codec in catalog.items() if codec.sent_for]
    calls = [(action, Kind.REQUEST) for action, codec in catalog.items() if codec.decode is not None]
    return (*replies, *calls)


def nothing_to_learn(_: Answered[Context]) -> Reply:
    """An answer that only says that the message arrived."""
    return Reply()


def unexpected(action: str, outcome: Outcome) -> OcppCallError:
    """The core answered with something that the action has no word for."""
    return OcppCallError("InternalError", f"{action} cannot be answered with {type(outcome).__name__}")


def _validated(version: str, action: str, kind: Kind, payload: object) -> JsonObject:
    try:
        return schemas.check(version, action, kind, payload)
    except SchemaViolation as violation:
        raise OcppCallError(violation.code, violation.detail) from violation
