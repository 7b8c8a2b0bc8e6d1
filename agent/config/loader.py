"""Reads the configuration file and `config.d/*.toml` beside it, and reports every mistake at once.

Checks what one key, or a few keys together, can say. What only a driver knows (is there such a meter template?) comes in as `Validator`s.
"""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, field, fields, is_dataclass
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Final, TypeAlias, TypeVar

from agent.config.checks import KeyPath, contradictions
from agent.config.model import BUILT_SECURITY_PROFILES, BUILT_VERSIONS, Config, Option
from agent.domain.values import dataclass

Validator: TypeAlias = Callable[[object], str | None]
"""Takes the value of one key, or a whole section, and says what is wrong with it and what is allowed; None when it is good."""

CONFIG_DIRECTORY: Final = "config.d"
_LONGEST_SHOWN: Final = 80
_SECRET_VARIABLES: Final = frozenset({"authorizationkey", "securityctrlr.basicauthpassword"})
_SECTION = TypeVar("_SECTION")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """One thing that is wrong: where, what, what is allowed, and what to do. `value` is None where it is absent or secret."""

    file: Path
    key: str = ""
    value: str | None = None
    problem: str
    allowed: str = ""
    advice: str = ""

    def __str__(self) -> str:
        where = f"{self.file}: {self.key}" if self.key else str(self.file)
        shown = "" if self.value is None else f" = {self.value}"
        allowed = f"; allowed: {self.allowed}" if self.allowed else ""
        advice = f"; {self.advice}" if self.advice else ""
        line = f"{where}{shown}: {self.problem}{allowed}{advice}"
        # One line each, whatever the file holds.
        return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in line)


class ConfigError(Exception):
    """The configuration cannot be used. `mistakes` holds every one that was found; the text has one line for each."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = tuple(mistakes)


def load_config(path: Path, validators: Mapping[str, Validator] = MappingProxyType({})) -> Config:
    """The configuration in `path` and, in the order of their names, in `config.d/*.toml` beside it.

    Tables are merged, later values win, arrays are replaced whole. `validators` are named by the key without indexes: `evse.meter.url`;
    the one of `variables` is asked for each entry, as a pair of name and text, and then for the whole table. Raises ConfigError.
    """
    sources = _Sources.read(path)
    if sources.mistakes:
        # A file that cannot be read would make every key in it look missing.
        raise ConfigError(sources.mistakes)
    reader = _Reader(sources, validators)
    config = reader.config()
    if reader.mistakes or config is None:
        raise ConfigError(reader.mistakes)
    return config


@dataclass(slots=True)
class _Sources:
    """What the files say, merged, and which file said it."""

    main: Path
    root: dict[str, object] = field(default_factory=dict)
    origins: dict[KeyPath, Path] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    @classmethod
    def read(cls, main: Path) -> "_Sources":
        sources = cls(main)
        directory = main.parent / CONFIG_DIRECTORY
        try:
            further = sorted(entry for entry in directory.iterdir() if entry.suffix == ".toml") if directory.is_dir() else []
        except OSError as error:
            sources.mistakes.append(
                Mistake(file=directory, problem=f"cannot be listed ({error.strerror})", advice="let the agent's user read it")
            )
            further = []
        for file in (main, *further):
            try:
                table = _parse(file)
            except _UnreadableError as error:
                sources.mistakes.append(Mistake(file=file, problem=error.problem, advice=error.advice))
            else:
                sources.merge(sources.root, table, (), file)
        return sources

    def merge(self, into: dict[str, object], table: dict[str, object], path: KeyPath, file: Path) -> None:
        for key, value in table.items():
            here = (*path, key)
            self.origins[here] = file
            old = into.get(key)
            if isinstance(old, dict) and isinstance(value, dict):
                self.merge(old, value, here, file)
                continue
            for known in [known for known in self.origins if known[: len(here)] == here and known != here]:
                del self.origins[known]
            if isinstance(value, dict):
                into[key] = fresh = dict[str, object]()
                self.merge(fresh, value, here, file)
            else:
                into[key] = value

    def file_of(self, path: KeyPath) -> Path:
        """The file that said this, or the nearest thing around it; the main file where nothing did."""
        for length in range(len(path), 0, -1):
            if (file := self.origins.get(path[:length])) is not None:
                return file
        return self.main


class _UnreadableError(Exception):
    def __init__(self, problem: str, advice: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.advice = advice


def _parse(file: Path) -> dict[str, object]:
    try:
        # An editor on Windows leaves a byte order mark, which TOML 1.0 does not know.
        text = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise _UnreadableError(
            "there is no such file", "write one, or name another with --config; docs/configuration.md has an example"
        ) from error
    except OSError as error:
        raise _UnreadableError(f"cannot be read ({error.strerror})", "let the user that the agent runs as read it") from error
    except UnicodeDecodeError as error:
        raise _UnreadableError(f"is not UTF-8 text (byte {error.start + 1})", "save it as UTF-8") from error
    try:
        return tomllib.loads(text.replace("\r\n", "\n"), parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise _UnreadableError(f"is not TOML: {error}", "mend that place; texts stand in quotes, and a key may stand only once") from error
    except RecursionError as error:
        raise _UnreadableError("is nested too deeply", "write it as docs/configuration.md shows") from error


class _Reader:
    """Turns the merged tables into the model, and keeps every mistake that it meets on the way."""

    def __init__(self, sources: _Sources, validators: Mapping[str, Validator]) -> None:
        self._sources = sources
        self._validators = validators
        self.mistakes: list[Mistake] = []

    def config(self) -> Config | None:
        sections: dict[str, object] = {}
        config = self._section(Config, self._sources.root, (), sections)
        for complaint in contradictions(sections):
            self._complain(complaint.path, complaint.problem, value=complaint.value, allowed=complaint.allowed, advice=complaint.advice)
        return config

    # -- one value ----------------------------------------------------------------------------------------------------

    def _section(self, model: type[_SECTION], raw: object, path: KeyPath, built: dict[str, object] | None = None) -> _SECTION | None:
        """The section, or None when something in it is wrong. `built` collects the good parts, also of a bad section."""
        if not isinstance(raw, dict):
            self._complain(path, "expected a section", value=raw, allowed=f"a table such as [{_dotted(path)}]")
            return None
        known = options(model)
        for key in raw:
            if key not in known:
                self._unknown(model, (*path, key))
        values: dict[str, object] = {} if built is None else built
        is_good = True
        for name, (kind, option, entry) in known.items():
            here = (*path, name)
            if name not in raw:
                if entry.default is MISSING and entry.default_factory is MISSING:
                    self._missing(here, kind, option)
                    is_good = False
                continue
            before = len(self.mistakes)
            value = self._value(kind, option, raw[name], here)
            if value is not None and len(self.mistakes) == before:
                self._validate(here, value, option)
            if len(self.mistakes) == before:
                values[name] = value
            else:
                is_good = False
        return model(**values) if is_good and not any(key not in known for key in raw) else None

    def _value(self, kind: object, option: Option, raw: object, path: KeyPath) -> object:
        """The value in the type of the model; None with a mistake noted when it is wrong."""
        if isinstance(kind, UnionType):
            kind = next(part for part in kind.__args__ if part is not type(None))
        if isinstance(kind, type) and is_dataclass(kind):
            return self._section(kind, raw, path)
        if getattr(kind, "__origin__", None) is tuple:
            return self._array(kind, option, raw, path)
        if getattr(kind, "__origin__", None) is Mapping:
            return self._table(option, raw, path, is_free=kind.__args__[1] is object)  # type: ignore[attr-defined]
        return self._scalar(kind, option, raw, path)

    def _array(self, kind: object, option: Option, raw: object, path: KeyPath) -> object:
        inner = kind.__args__[0]  # type: ignore[attr-defined]
        is_tables = isinstance(inner, type) and is_dataclass(inner)
        if not isinstance(raw, list):
            allowed = f"sections that begin with [[{_dotted(path)}]]" if is_tables else "an array such as " + _shown(list(option.choices))
            self._complain(path, "expected an array", value=raw, allowed=allowed)
            return None
        low, high = option.minimum or 1, option.maximum
        if len(raw) < low or (high is not None and len(raw) > high):
            allowed = f"{low}" if high == low else f"at least {low}" if high is None else f"{low} to {high}"
            self._complain(path, f"has {len(raw)} entries", allowed=allowed, advice="" if raw else "write at least one")
            return None
        items = tuple(self._value(inner, option, item, (*path, index)) for index, item in enumerate(raw))
        for index, item in enumerate(raw):
            if not is_tables and item in raw[:index]:
                self._complain((*path, index), "stands twice", value=item, advice="remove one")
        return items

    def _table(self, option: Option, raw: object, path: KeyPath, *, is_free: bool) -> object:
        if not isinstance(raw, dict):
            self._complain(path, "expected a section", value=raw, allowed=f"a table such as [{_dotted(path)}]")
            return None
        if is_free:
            return MappingProxyType(raw)
        texts: dict[str, str] = {}
        for name, value in raw.items():
            here = (*path, name)
            text = _wire_text(value)
            if name.casefold() in _SECRET_VARIABLES:
                self._complain(here, "is a secret, and secrets do not stand in the configuration", advice="use [ocpp] password_file")
            elif isinstance(value, dict):
                quoted = f'"{name}.{next(iter(value), "Variable")}"'
                self._complain(here, "is a table", advice=f"put the whole name in quotes: {quoted} = ...")
            elif text is None:
                self._complain(
                    here,
                    "is not a value",
                    value=value,
                    allowed="a text, a number, true or false",
                    advice="write a list as one text with commas",
                )
            else:
                texts[name] = text
                self._validate(path, (name, text), option, at=here)
        return MappingProxyType(texts)

    def _scalar(self, kind: object, option: Option, raw: object, path: KeyPath) -> object:
        expected, words = _EXPECTED.get(kind, (str, "a text in quotes"))
        if not isinstance(raw, expected) or (isinstance(raw, bool) and kind is not bool):
            self._complain(path, f"expected {words}", value=raw, option=option, allowed=allowed_values(kind, option))
            return None
        if isinstance(raw, str) and not raw:
            self._complain(path, "is empty", allowed=allowed_values(kind, option), advice="write a value or remove the line")
            return None
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            if raw not in set(kind):
                self._complain(
                    path,
                    f"is not known{_did_you_mean(str(raw), list(kind))}",
                    value=raw,
                    option=option,
                    allowed=allowed_values(kind, option),
                )
                return None
            return kind(str(raw))
        if (problem := _out_of_bounds(kind, option, raw)) is not None:
            self._complain(path, problem, value=raw, option=option, allowed=allowed_values(kind, option), advice=_advice(path, raw))
            return None
        return Path(str(raw)) if kind is Path else raw

    def _validate(self, path: KeyPath, value: object, option: Option, at: KeyPath | None = None) -> None:
        validator = self._validators.get(".".join(part for part in path if isinstance(part, str)))
        if validator is not None and (problem := validator(value)) is not None:
            is_part = at is None and isinstance(value, (str, int))
            self._complain(at or path, problem, value=value if is_part else None, option=option)

    # -- mistakes -----------------------------------------------------------------------------------------------------

    def _missing(self, path: KeyPath, kind: object, option: Option) -> None:
        name = _dotted(path)
        if getattr(kind, "__origin__", None) is tuple:
            self._complain(path, "is missing", advice=f"write a section that begins with [[{name}]]")
        elif isinstance(kind, type) and is_dataclass(kind):
            needed = [key for key, (_, _, entry) in options(kind).items() if entry.default is MISSING and entry.default_factory is MISSING]
            self._complain(path, "is missing", advice=f"write a section [{name}] with {', '.join(needed)}")
        else:
            example = f", for example {path[-1]} = {option.example}" if option.example else ""
            self._complain(path, "is missing", allowed=allowed_values(kind, option), advice=f"write it{example}")

    def _unknown(self, model: type[object], path: KeyPath) -> None:
        # The value is not repeated: a misspelt or misplaced key may well hold a secret.
        key = str(path[-1])
        known = options(model)
        if "password" in key.casefold() and "password_file" not in path:
            advice = "a secret stands in a file of its own: [ocpp] password_file"
        elif guess := _did_you_mean(key, list(known)):
            advice = guess.removeprefix(", ")
        elif (home := next(_homes(Config, key), None)) is not None:
            advice = f"it belongs into {home}"
        else:
            advice = "remove it, or see docs/configuration.md"
        self._complain(path, "is not a known key", allowed=", ".join(known), advice=advice)

    def _complain(
        self, path: KeyPath, problem: str, *, value: object = None, option: Option | None = None, allowed: str = "", advice: str = ""
    ) -> None:
        is_secret = (option is not None and option.secret) or _may_hold_secret(path, value)
        shown = None if value is None or is_secret else _shown(value)
        file = self._sources.file_of(path)
        self.mistakes.append(Mistake(file=file, key=_dotted(path), value=shown, problem=problem, allowed=allowed, advice=advice))


_EXPECTED: Final[Mapping[object, tuple[type, str]]] = {
    str: (str, "a text in quotes"),
    Path: (str, "a path in quotes"),
    int: (int, "a whole number"),
    bool: (bool, "true or false without quotes"),
}


def options(model: type[object]) -> dict[str, tuple[object, Option, Field[object]]]:
    """The keys of a section: type, what is known of it, and the dataclass field with its default."""
    found: dict[str, tuple[object, Option, Field[object]]] = {}
    for entry in fields(model):  # type: ignore[arg-type]
        annotated = entry.type
        found[entry.name] = (annotated.__origin__, annotated.__metadata__[0], entry)  # type: ignore[union-attr]
    return found


def _homes(model: type[object], key: str, path: KeyPath = ()) -> Iterator[str]:
    """The sections that know a key, as one writes them."""
    for name, (kind, _, _) in options(model).items():
        inner = next((part for part in getattr(kind, "__args__", (kind,)) if isinstance(part, type) and is_dataclass(part)), None)
        if inner is None:
            continue
        here = (*path, name)
        brackets = "[[{}]]" if getattr(kind, "__origin__", None) is tuple else "[{}]"
        if key in options(inner):
            yield brackets.format(_dotted(here))
        yield from _homes(inner, key, here)


def _out_of_bounds(kind: object, option: Option, raw: object) -> str | None:
    if option.choices and raw not in option.choices:
        return "is not known" + (_did_you_mean(raw, [str(choice) for choice in option.choices]) if isinstance(raw, str) else "")
    if isinstance(raw, int) and not isinstance(raw, bool):
        if option.minimum is not None and raw < option.minimum:
            return "is too small"
        if option.maximum is not None and raw > option.maximum:
            return "is too large"
    if isinstance(raw, str):
        if kind is Path and not raw.startswith("/"):
            return "is not an absolute path"
        if "\0" in raw:
            return "holds a zero byte"
        size = len(raw.encode()) if kind is Path else len(raw)
        if size > option.max_length:
            return f"is {size} long"
        if option.pattern and re.fullmatch(option.pattern, raw) is None:
            return "is not of the right form"
    return None


def _may_hold_secret(path: KeyPath, value: object) -> bool:
    """Whether a URL holds a user name, which brings a password, or (of a CSMS) a query, which brings a token."""
    return isinstance(value, str) and "://" in value and ("@" in value or (path == ("ocpp", "url") and "?" in value))


def _advice(path: KeyPath, raw: object) -> str:
    match path, raw:
        case ("station", "country"), str() if re.fullmatch("[A-Za-z]{2}", raw):
            return f'write "{raw.upper()}"'
        case ("ocpp", "url"), str() if "@" in raw:
            return "the password belongs into password_file, the user name is the station's id"
        case ("ocpp", "url"), str() if raw.startswith("http"):
            return f"write ws{raw.removeprefix('http')}"
        case ("ocpp", "versions", int()), str() if raw not in BUILT_VERSIONS:
            return "this agent has no other version built in: remove it"
        case ("ocpp", "security_profile"), int() if raw not in BUILT_SECURITY_PROFILES:
            return "profile 3 (client certificates) is not built: use 2"
        case _:
            return ""


def allowed_values(kind: object, option: Option) -> str:
    """What a key may hold, in words; also for the reference page."""
    if isinstance(kind, UnionType):
        kind = kind.__args__[0]
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return ", ".join(f'"{member}"' for member in kind)
    if option.choices:
        return ", ".join(_quoted(choice) for choice in option.choices)
    unit = f" {option.unit}" if option.unit else ""
    if kind is int and option.minimum is not None and option.maximum is not None:
        return f"{option.minimum} to {option.maximum}{unit}"
    if kind is bool:
        return "true, false"
    return option.allowed or (f"a text of at most {option.max_length} characters" if kind is str else "")


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    import difflib

    lower = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), list(lower), n=1, cutoff=0.6)
    return f", did you mean {lower[near[0]]}?" if near else ""


def _wire_text(value: object) -> str | None:
    """A variable's value as OCPP writes it (2.0.1 part 2, 2.1.3); None where there is no such text."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case Decimal() if value.is_finite():
            return format(value, "f")
        case str():
            return value
        case _:
            return None


def _quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _shown(value: object) -> str:
    """A value for one line of a terminal."""
    match value:
        case bool():
            text = "true" if value else "false"
        case str():
            text = repr(value)
        case dict():
            text = "{…}"
        case list():
            text = f"[{', '.join(_shown(item) for item in value)}]"
        case _:
            text = str(value)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


def _dotted(path: KeyPath) -> str:
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if re.fullmatch(r"[A-Za-z0-9_\-]+", part) else repr(part)[:_LONGEST_SHOWN]
            text += f".{name}" if text else name
    return text
