"""What is written comes back as it was; nothing that names a driver or opens a door is written."""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.variables import Variables, definitions
from agent.domain.authorization import AuthorizationStatus, IdToken, IdTokenInfo
from agent.domain.commands import Command, DataTransfer, SetVariables, VariableAssignment
from agent.domain.effects import Effect, Remark
from agent.domain.events import AuthorizationFailed, CommandReceived, Event, IdTokenPresented
from agent.domain.ids import CommandId, EvseId, RequestId, TransactionId
from agent.domain.pilot import MAX_OFFER_A, MIN_OFFER_A, STATE_F, X1, PilotOutput, pwm
from agent.domain.time import Instant
from agent.domain.variables import DataType, Mutability, ValueSource, VariableDefinition, parse_variable_key
from agent.runtime.flight_codec import (
    NO_VARIABLES,
    Coding,
    Plain,
    Pseudonyms,
    UnreadableError,
    changes,
    decode_effects,
    decode_event,
    decode_instant,
    decode_station,
    encode_effects,
    encode_event,
    encode_instant,
    encode_station,
    line,
)
from tests.core.flights import session

BASE = Instant("boot-1", 5_000, datetime(2026, 3, 1, 12, tzinfo=UTC))
PLAIN = Coding(BASE, Plain(), NO_VARIABLES)
KEY = b"0123456789abcdef"
TEXTS = st.text(max_size=8)
UTC_TIMES = st.datetimes(datetime(2026, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - the bounds have to be naive
INSTANTS = st.builds(Instant, st.sampled_from(("boot-1", "boot-0")), st.integers(0, 2**40), st.none() | UTC_TIMES)
SIMPLE: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXTS,
    int: st.integers(),
    bool: st.booleans(),
    Decimal: st.decimals(allow_nan=False),
    datetime: UTC_TIMES,
    Instant: INSTANTS,
    types.NoneType: st.none(),
    PilotOutput: st.sampled_from((X1, STATE_F)) | st.builds(pwm, st.decimals(MIN_OFFER_A, MAX_OFFER_A, places=1)),
}


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Anything that a type allows."""
    if isinstance(hint, typing.NewType):
        return values_of(hint.__supertype__)
    if hint in SIMPLE:
        return SIMPLE[hint]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(hint)
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return st.builds(hint, **{field.name: values_of(hints[field.name]) for field in dataclasses.fields(hint)})
    if typing.get_origin(hint) is tuple:
        return st.lists(values_of(typing.get_args(hint)[0]), max_size=2).map(tuple)
    if typing.get_origin(hint) is Mapping:
        return st.dictionaries(*map(values_of, typing.get_args(hint)), max_size=2)
    return st.one_of([values_of(member) for member in typing.get_args(hint)])


def through_json(document: Any) -> Any:
    return json.loads(line(document))


@pytest.mark.parametrize("kind", typing.get_args(Event), ids=lambda kind: kind.__name__)
def test_every_event_comes_back_as_it_was(kind: type) -> None:
    @settings(max_examples=20)
    @given(values_of(kind))
    def comes_back(event: Any) -> None:
        # A vendor's data is never written; the core does not look at it.
        command = getattr(event, "command", None)
        if isinstance(command, DataTransfer):
            event = dataclasses.replace(event, command=dataclasses.replace(command, data=None))
        assert decode_event(through_json(encode_event(event, PLAIN)), PLAIN) == event

    comes_back()


@pytest.mark.parametrize("kind", typing.get_args(Effect), ids=lambda kind: kind.__name__)
def test_every_effect_comes_back_as_it_was(kind: type) -> None:
    @settings(max_examples=20)
    @given(st.lists(values_of(kind), max_size=2).map(tuple))
    def comes_back(effects: Any) -> None:
        assert decode_effects(through_json(encode_effects(effects, PLAIN)), PLAIN) == effects

    comes_back()


@given(INSTANTS, INSTANTS)
def test_every_moment_comes_back_whatever_it_is_counted_from(at: Instant, base: Instant) -> None:
    coding = Coding(base, Plain(), NO_VARIABLES)
    assert decode_instant(through_json(encode_instant(at, coding)), coding) == at


def test_a_moment_on_the_same_clock_is_one_number() -> None:
    assert encode_instant(BASE.plus_ms(1234), PLAIN) == 6234
    assert encode_instant(dataclasses.replace(BASE, utc=BASE.utc + timedelta(milliseconds=1)), PLAIN) == [5000, 1000]  # type: ignore[operator]


def test_every_state_of_a_session_comes_back_as_it_was() -> None:
    rig = session()
    document = through_json(encode_station(rig.station, PLAIN))
    assert decode_station(document, PLAIN) == rig.station


def test_what_an_event_changed_is_told_by_field() -> None:
    rig = session()
    before = rig.station
    rig.swipe(IdToken("BEEF0002"))
    assert changes(before, rig.station, PLAIN).keys() == {"1.authorization"}
    assert changes(before, before, PLAIN) == {}


@pytest.mark.parametrize(
    "document",
    [
        None,
        7,
        [],
        {},
        {"is": "Nonsense"},
        {"is": "PilotMeasured"},
        {"is": "PilotMeasured", "evse_id": "1", "state": "A"},
        {"is": "PilotMeasured", "evse_id": 1, "state": "Z"},
        {"is": "MeterLost", "evse_id": True, "reason": ""},
    ],
    ids=repr,
)
def test_what_is_no_event_is_refused_in_one_way(document: Any) -> None:
    with pytest.raises(UnreadableError):
        decode_event(document, PLAIN)


# --- hidden


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_pseudonyms_compare_as_the_tokens_do(one: str, other: str) -> None:
    hide = Pseudonyms(KEY)
    shown, also = hide.token(one), hide.token(other)
    assert (shown.casefold() == also.casefold()) == (one.casefold() == other.casefold())
    assert (shown == also) or one != other
    assert shown == hide.token(one)
    assert one.casefold() not in shown.casefold() or len(one) < 3


def test_a_token_in_another_spelling_keeps_both_kinds_of_equality() -> None:
    hide = Pseudonyms(KEY)
    upper, lower = hide.token("CAFE0001"), hide.token("cafe0001")
    assert upper.casefold() == lower.casefold()
    assert upper != lower


def test_another_key_gives_another_pseudonym() -> None:
    assert Pseudonyms(KEY).token("CAFE0001").casefold() != Pseudonyms(bytes(16)).token("CAFE0001").casefold()


def test_no_token_stays_none() -> None:
    assert Pseudonyms(KEY).token("") == ""


def coding(variables: Variables = NO_VARIABLES) -> Coding:
    return Coding(BASE, Pseudonyms(KEY, ("7F3K-22QX",)), variables)


def test_a_token_in_the_words_of_a_peer_is_hidden_by_the_same_pseudonym() -> None:
    hidden = coding()
    hidden.learn_event(IdTokenPresented(None, IdToken("CAFE0001"), RequestId("r"), TransactionId("t")))
    written = line(encode_event(AuthorizationFailed(RequestId("r"), "CALLERROR: idTag 'cafe0001' is not known, CAFE00019 is"), hidden))
    assert "cafe0001'" not in written.casefold()
    assert hidden.hide.token("cafe0001") in written
    assert "CAFE00019" in written, "only whole words"


def test_the_claim_code_becomes_stars_wherever_it_stands() -> None:
    written = line(encode_effects((Remark(name="remark", detail="https://pay.example/7f3k-22qx/1"),), coding()))
    assert "7f3k" not in written
    assert "/*********/" in written


def received(command: Command) -> CommandReceived:
    return CommandReceived(CommandId("c"), command, RequestId("r"), TransactionId("t"))


def assigned(name: str, value: str) -> CommandReceived:
    return received(SetVariables(assignments=(VariableAssignment(key=parse_variable_key(name), value=value),)))


def test_values_that_nobody_may_read_become_stars_of_their_length() -> None:
    secret = VariableDefinition(
        key=parse_variable_key("SecurityCtrlr.BasicAuthPassword"),
        data_type=DataType.STRING,
        default="",
        description="",
        mutability=Mutability.WRITE_ONLY,
    )
    known = coding(Variables.of((*definitions(evses=1), secret)))
    assert "unknown-word" not in line(encode_event(assigned("OCPP16Ctrlr.AuthorizationKey", "unknown-word"), known))
    for name in ("SecurityCtrlr.BasicAuthPassword", "OCPP16Ctrlr.AuthorizationKey"):
        written = line(encode_event(assigned(name, "very-secret"), known))
        assert "very-secret" not in written
        assert '"***********"' in written
    assert '"60"' in line(encode_event(assigned("SampledDataCtrlr.TxUpdatedInterval", "60"), known))
    assert "very-secret" not in line(encode_effects((Remark(name="refused", detail="BasicAuthPassword = very-secret"),), known))
    kept, _ = known.variables.assign((VariableAssignment(key=secret.key, value="another-one"),), ValueSource.CSMS)
    assert "another-one" not in line(encode_station(dataclasses.replace(session().station, variables=kept), known))


def test_a_vendors_data_become_stars_of_their_length() -> None:
    written = line(encode_event(received(DataTransfer(vendor_id="V", data="token=CAFE0001")), coding()))
    assert "CAFE" not in written
    assert '"**************"' in written


def test_no_token_of_a_session_is_in_its_recording() -> None:
    rig = session()
    rig.swipe(IdToken("BEEF0002"))
    rig.answer_authorize(AuthorizationStatus.INVALID, IdToken("GROUP007"))
    hidden = coding()
    hidden.learn(rig.station)
    written = line(encode_station(rig.station, hidden)).casefold()
    for event, _ in rig.log:
        hidden.learn_event(event)
        written += line(encode_event(event, hidden)).casefold()
    for token in ("CAFE0001", "BEEF0002", "GROUP007"):
        assert token.casefold() not in written
    assert IdTokenInfo(AuthorizationStatus.INVALID, None, IdToken("GROUP007")) in [entry.info for entry in rig.station.cache.values()]
    assert rig.station.evse(EvseId(1)) is not None
