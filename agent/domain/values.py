"""`dataclass` for values that never change: the standard library's, defined in a quarter of its time.

`dataclasses.dataclass(frozen=True, slots=True)` compiles six methods for each class: 0.5 ms on a PC, several times that on a charger's
board, and the daemon defines 170 of them before its BootNotification. Here `__init__` alone is compiled; the other methods are closures
over the field names. `dataclasses.fields`, `replace` and `asdict`, matching, copying and pickling work as ever. A frozen dataclass of the
standard library can neither inherit from one of these nor be inherited by one.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - type checkers know what the original means
else:

    def dataclass(*, frozen: bool = False, slots: bool = False, kw_only: bool = False) -> Callable[[type], type]:
        """Make a class of values. What is not both frozen and slotted is left to the original."""
        if not (frozen and slots):
            return dataclasses.dataclass(frozen=frozen, slots=slots, kw_only=kw_only)

        def define(cls: type) -> type:
            own = cls.__dict__
            made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)(cls)
            _complete(made, own)
            return made

        return define


def _complete(cls: type[Any], own: Mapping[str, object]) -> None:
    fields = dataclasses.fields(cls)
    methods = {
        "__init__": _initializer(cls, fields),
        "__setattr__": _refuse_to_set,
        "__delattr__": _refuse_to_delete,
        "__getstate__": _state,
        "__setstate__": _set_state,
        "__repr__": _representation([field.name for field in fields if field.repr]),
        **_comparison([field.name for field in fields if field.compare]),
    }
    for name, method in methods.items():
        if name not in own:
            setattr(cls, name, method)


def _initializer(cls: type[Any], fields: Sequence[dataclasses.Field[Any]]) -> Callable[..., None]:
    """Compile `__init__`: it sets the slots directly, past `__setattr__`."""
    names: dict[str, object] = {"_MISSING": dataclasses.MISSING}
    positional: list[str] = []
    by_keyword: list[str] = []
    body: list[str] = []
    for field in fields:
        name = field.name
        names[f"_set_{name}"] = getattr(cls, name).__set__
        value, parameter = name, name
        if field.default is not dataclasses.MISSING:
            names[f"_default_{name}"] = field.default
            parameter = f"{name}=_default_{name}"
        elif field.default_factory is not dataclasses.MISSING:
            names[f"_make_{name}"] = field.default_factory
            parameter = f"{name}=_MISSING"
            value = f"_make_{name}() if {name} is _MISSING else {name}"
        (by_keyword if field.kw_only else positional).append(parameter)
        body.append(f"_set_{name}(self, {value})")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    star = ["*"] if by_keyword else []
    head = ", ".join(["self", *positional, *star, *by_keyword])
    exec(f"def __init__({head}):\n " + "\n ".join(body or ["pass"]), names)  # noqa: S102 - names of our own fields, as the original does it
    made: Any = names["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    made.__annotations__ = {field.name: field.type for field in fields} | {"return": None}
    return made  # type: ignore[no-any-return]


def _comparison(names: Sequence[str]) -> dict[str, Callable[..., object]]:
    key: Callable[[Any], object] = attrgetter(*names) if names else lambda _: ()

    def __eq__(self: object, other: object) -> bool:  # noqa: N807
        return key(self) == key(other) if other.__class__ is self.__class__ else NotImplemented

    def __hash__(self: object) -> int:  # noqa: N807
        return hash(key(self))

    return {"__eq__": __eq__, "__hash__": __hash__}


def _representation(names: Sequence[str]) -> Callable[[object], str]:
    def __repr__(self: object) -> str:  # noqa: N807
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    return __repr__


def _refuse_to_set(_self: object, name: str, _value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(_self: object, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: object) -> list[object]:
    kind: Any = type(self)
    return [getattr(self, field.name) for field in dataclasses.fields(kind)]


def _set_state(self: object, state: Sequence[object]) -> None:
    kind: Any = type(self)
    for field, value in zip(dataclasses.fields(kind), state, strict=True):
        object.__setattr__(self, field.name, value)
