"""A value behaves as the standard library's frozen, slotted dataclass does: each rule is asked of both."""

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field
from typing import Any

import pytest

from agent.domain.values import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """A value with a default."""

    x: int
    y: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A value with every kind of field."""

    name: str
    secret: str = field(repr=False)
    seen: int = field(default=0, compare=False)
    tags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name is empty")


@dataclass(frozen=True, slots=True)
class Nothing:
    """A value without fields."""


@dataclass(frozen=True, slots=True)
class Longer(Point):
    """A value that inherits."""

    z: int = 3


@dataclass(frozen=True, slots=True)
class OwnWords:
    """A value with a method of its own where one would be made."""

    x: int

    def __repr__(self) -> str:
        return "mine"


def original(**options: Any) -> Any:
    """The same shapes by the standard library."""
    made = dataclasses.make_dataclass("Point", [("x", int), ("y", int, 2)], frozen=True, slots=True, **options)
    made.__qualname__ = "Point"
    return made


def outcome(act: Callable[[], object]) -> str:
    """What came of it, comparable between two classes."""
    try:
        return repr(act())
    except Exception as error:  # noqa: BLE001 - the kind of failure is what is compared
        return f"{type(error).__name__}: {error}"


ACTS: dict[str, Callable[[Any], object]] = {
    "defaults": lambda kind: kind(1),
    "by name": lambda kind: kind(y=5, x=4),
    "too few": lambda kind: kind(),
    "too many": lambda kind: kind(1, 2, 3),
    "unknown name": lambda kind: kind(1, z=3),
    "equal": lambda kind: kind(1) == kind(1, 2),
    "not equal": lambda kind: kind(1) == kind(2),
    "another class": lambda kind: kind(1) == (1, 2),
    "one member of a set": lambda kind: len({kind(1), kind(1, 2), kind(2)}),
    "set": lambda kind: setattr(kind(1), "x", 9),
    "delete": lambda kind: delattr(kind(1), "x"),
    "replace": lambda kind: dataclasses.replace(kind(1), y=7),
    "asdict": lambda kind: dataclasses.asdict(kind(1)),
    "fields": lambda kind: [(each.name, each.type, each.default) for each in dataclasses.fields(kind)],
    "match_args": lambda kind: kind.__match_args__,
    "slots": lambda kind: (kind.__slots__, hasattr(kind(1), "__dict__")),
    "signature": lambda kind: str(inspect.signature(kind)),
    "copy": lambda kind: copy.copy(kind(1)) == kind(1),
    "deepcopy": lambda kind: copy.deepcopy(kind(1)) == kind(1),
    "order": lambda kind: kind(1) < kind(2),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_a_value_does_what_the_original_does(act: Callable[[Any], object]) -> None:
    def words(text: str) -> str:
        return text.replace("types.Point", "Point")

    assert words(outcome(lambda: act(Point))) == words(outcome(lambda: act(original())))


def test_a_value_takes_no_new_attribute() -> None:
    with pytest.raises(FrozenInstanceError, match="'w'"):
        Point(1).w = 9  # type: ignore[attr-defined]


def test_a_value_survives_pickling() -> None:
    token = Token(name="a", secret="s", tags=["t"])
    again = pickle.loads(pickle.dumps(token))
    assert (again, again.secret, again.tags) == (token, "s", ["t"])


def test_fields_obey_their_options() -> None:
    token = Token(name="a", secret="s", seen=1)
    assert "s'" not in repr(token)
    assert token == Token(name="a", secret="s", seen=2)
    assert hash(Longer(1)) == hash(Longer(1, 2, 3))
    assert token.tags == []
    assert token.tags is not Token(name="a", secret="s").tags
    with pytest.raises(TypeError):
        Token("a", "s")  # type: ignore[misc]


def test_post_init_is_called() -> None:
    with pytest.raises(ValueError, match="name is empty"):
        Token(name="", secret="s")


def test_a_value_without_fields_equals_another() -> None:
    assert Nothing() == Nothing()
    assert hash(Nothing()) == hash(Nothing())
    assert repr(Nothing()) == "Nothing()"


def test_a_value_may_inherit_from_a_value() -> None:
    assert (Longer(1), Longer(1) == Point(1)) == (Longer(1, 2, 3), False)
    with pytest.raises(FrozenInstanceError):
        Longer(1).x = 2  # type: ignore[misc]


def test_a_method_of_its_own_stays() -> None:
    assert repr(OwnWords(1)) == "mine"


def test_what_may_change_is_left_to_the_original() -> None:
    @dataclass(slots=True)
    class Counter:
        count: int = 0

    counter = Counter()
    counter.count += 1
    assert counter == Counter(1)


def test_a_match_statement_sees_the_fields() -> None:
    match Point(1, 5):
        case Point(x, y=5):
            assert x == 1
        case _:
            pytest.fail("did not match")
