"""Meter templates: TOML files that say where a meter keeps what, and how it is read in as few requests as its manual allows.

The format is described in docs/meters.md. The loader reports all mistakes of a file at once.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Final, TypeAlias, TypeVar, cast

from agent.domain.metering import Measurand, Phase
from agent.domain.values import dataclass
from agent.fieldbus.bus import DeviceTiming, Table
from agent.metering.registers import REGISTER_COUNT, TEXT_TYPES, RegisterType, WordOrder

TomlValue: TypeAlias = "str | int | bool | Decimal | list[TomlValue] | dict[str, TomlValue]"

TEMPLATE_DIRECTORY: Final = Path(__file__).parent / "templates"
PROTOCOL_MAX_REGISTERS: Final = 125
"""Modbus Application Protocol 1.1b3, 6.3 and 6.4."""
PROTOCOL_MAX_WRITTEN: Final = 123
"""The same, 6.12."""
LARGEST_BRIDGE: Final = 8
"""Unwanted registers are read along, up to this many, where that saves a request: 8 take 17 ms at 9600 baud, a request 30 and more."""

UNIT_FACTORS: Final[Mapping[Measurand, Mapping[str, Decimal]]] = {
    Measurand.VOLTAGE: {"V": Decimal(1)},
    Measurand.CURRENT_IMPORT: {"A": Decimal(1), "mA": Decimal("0.001")},
    Measurand.POWER_ACTIVE_IMPORT: {"W": Decimal(1), "kW": Decimal(1000)},
    Measurand.POWER_ACTIVE_EXPORT: {"W": Decimal(1), "kW": Decimal(1000)},
    Measurand.POWER_REACTIVE_IMPORT: {"var": Decimal(1), "kvar": Decimal(1000)},
    Measurand.POWER_FACTOR: {"1": Decimal(1)},
    Measurand.FREQUENCY: {"Hz": Decimal(1)},
    Measurand.ENERGY_ACTIVE_IMPORT_REGISTER: {"Wh": Decimal(1), "kWh": Decimal(1000)},
    Measurand.ENERGY_ACTIVE_EXPORT_REGISTER: {"Wh": Decimal(1), "kWh": Decimal(1000)},
    Measurand.ENERGY_REACTIVE_IMPORT_REGISTER: {"varh": Decimal(1), "kvarh": Decimal(1000)},
    Measurand.ENERGY_REACTIVE_EXPORT_REGISTER: {"varh": Decimal(1), "kvarh": Decimal(1000)},
    Measurand.TEMPERATURE: {"Celsius": Decimal(1)},
}
"""Units that a register may have, with the factor to the one unit of `agent.domain.metering.UNIT`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterField:
    """Where a value stands: `count` registers from wire address (0-based) `address` on."""

    table: Table
    address: int
    count: int
    type: RegisterType
    word_order: WordOrder

    @property
    def end(self) -> int:
        """First address after the value."""
        return self.address + self.count


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One measured value: register × `scale` × `factor` is the measurand in the agent's unit. `invalid`: further markers for no value."""

    measurand: Measurand
    phase: Phase | None
    register: RegisterField
    scale: Decimal
    factor: Decimal
    invalid: frozenset[int] = frozenset()

    @property
    def is_energy(self) -> bool:
        """Whether this is the register that is billed: total active import."""
        return self.measurand is Measurand.ENERGY_ACTIVE_IMPORT_REGISTER and self.phase is None

    @property
    def unit(self) -> Decimal:
        """One of the raw register in the measurand's unit."""
        return self.scale * self.factor


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityCheck:
    """A register that must hold one of the allowed values, or it is another meter."""

    register: RegisterField
    allowed: frozenset[str]


@dataclass(frozen=True, slots=True)
class RecoveryWrite:
    """Holding registers that have to be written before a meter answers again after a loss of power: wire address and values."""

    address: int
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One read request, and the points whose values are in its answer."""

    table: Table
    address: int
    count: int
    points: tuple[Point, ...]

    def words(self, register: RegisterField, answer: Sequence[int]) -> Sequence[int]:
        """Cut the registers of one field out of the answer to this block."""
        start = register.address - self.address
        return answer[start : start + register.count]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterTemplate:
    """A meter type.

    `step_wh` is the smallest step of the import register that its manual or display gives. `volatile_counter` says that the register does
    not survive a power cut. `blocks` is the read plan. `recovery` is written, in order, whenever the meter is met anew.
    """

    name: str
    manufacturer: str
    models: tuple[str, ...]
    manual: str
    step_wh: Decimal
    volatile_counter: bool
    timing: DeviceTiming
    points: tuple[Point, ...]
    checks: tuple[IdentityCheck, ...]
    serial_number: RegisterField | None
    blocks: tuple[Block, ...]
    recovery: tuple[RecoveryWrite, ...] = ()

    @property
    def energy(self) -> Point:
        """The register that is billed; every template has one."""
        return next(point for point in self.points if point.is_energy)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateMistake:
    """One mistake in a template file: which file, which key, what stands there, what is allowed."""

    file: str
    key: str
    value: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.file}: {self.key} = {self.value}: allowed is {self.allowed}"


class TemplateError(Exception):
    """A template cannot be used; `mistakes` lists all of them."""

    def __init__(self, mistakes: Sequence[TemplateMistake]) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = tuple(mistakes)


def template_names(directory: Path = TEMPLATE_DIRECTORY) -> tuple[str, ...]:
    """Names of the templates that are there."""
    return tuple(sorted(path.stem for path in directory.glob("*.toml")))


def load_template(name: str, directory: Path = TEMPLATE_DIRECTORY) -> MeterTemplate:
    """Load a template by name. Raises TemplateError with all mistakes, or naming the templates that exist."""
    names = template_names(directory)
    if name not in names:
        raise TemplateError([TemplateMistake(file=str(directory), key="template", value=repr(name), allowed=", ".join(names))])
    path = directory / f"{name}.toml"
    return parse_template(path.read_text(encoding="utf-8"), name=name, file=str(path))


def parse_template(text: str, *, name: str, file: str) -> MeterTemplate:
    """Read one template. Raises TemplateError with all mistakes."""
    try:
        # Decimal instead of float: a scale of 0.1 must be a tenth.
        document = cast("dict[str, TomlValue]", tomllib.loads(text, parse_float=Decimal))
    except tomllib.TOMLDecodeError as error:
        raise TemplateError([TemplateMistake(file=file, key="(file)", value=str(error), allowed="TOML")]) from error
    return _Reader(file).template(name, document)


def plan_blocks(points: Iterable[Point], readable: Sequence[tuple[Table, range]], max_registers: int) -> tuple[Block, ...]:
    """Put the points into as few requests as possible, never across an address that is not in one `readable` range of the manual."""
    blocks: list[Block] = []
    for point in sorted(points, key=lambda one: (one.register.table, one.register.address)):
        register = point.register
        last = blocks[-1] if blocks else None
        if last is not None and _may_extend(last, register, readable, max_registers):
            count = max(last.count, register.end - last.address)
            blocks[-1] = Block(table=last.table, address=last.address, count=count, points=(*last.points, point))
        else:
            blocks.append(Block(table=register.table, address=register.address, count=register.count, points=(point,)))
    return tuple(blocks)


def _may_extend(last: Block, register: RegisterField, readable: Sequence[tuple[Table, range]], max_registers: int) -> bool:
    if last.table is not register.table or register.end - last.address > max_registers:
        return False
    gap = register.address - (last.address + last.count)
    if gap <= 0:
        return True
    if gap > LARGEST_BRIDGE:
        return False
    return any(table is last.table and last.address in span and register.end - 1 in span for table, span in readable)


ChoiceT = TypeVar("ChoiceT", bound=Enum)


class _Reader:
    """Reads the tables of one file and notes every mistake; values after a mistake are stand-ins that are never used."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._mistakes: list[TemplateMistake] = []
        self._table = Table.INPUT
        self._order = WordOrder.BIG

    def template(self, name: str, document: dict[str, TomlValue]) -> MeterTemplate:
        meter = self._section(document, "meter")
        read = self._section(document, "read")
        identity = self._section(document, "identity", optional=True)
        raw_points = self._tables(document, "point")
        recovery = tuple(self._recovery(entry, f"recovery[{n}]") for n, entry in enumerate(self._tables(document, "recovery"), 1))
        self._nothing_left(document, "")
        self._table = self._table_of(read, "read", Table.INPUT)
        self._order = self._choice(read, "read", "word_order", WordOrder, WordOrder.BIG)
        max_registers = self._integer(read, "read", "max_registers", range(1, PROTOCOL_MAX_REGISTERS + 1), PROTOCOL_MAX_REGISTERS)
        readable = self._ranges(read)
        timing = DeviceTiming(
            timeout_s=self._seconds(read, "read", "timeout_s", Decimal("0.05"), Decimal(5), DeviceTiming().timeout_s),
            gap_s=self._seconds(read, "read", "gap_s", Decimal(0), Decimal(1), DeviceTiming().gap_s),
        )
        self._nothing_left(read, "read.")
        points = tuple(self._point(entry, f"point[{number}]") for number, entry in enumerate(raw_points, 1))
        self._unique(points)
        serial, checks = self._identity(identity)
        stated_name = self._text(meter, "meter", "name")
        if stated_name != name:
            self._mistake("meter.name", stated_name, f"the name of the file, {name!r}")
        template = MeterTemplate(
            name=name,
            manufacturer=self._text(meter, "meter", "manufacturer"),
            models=self._texts(meter, "meter", "models"),
            manual=self._text(meter, "meter", "manual"),
            step_wh=self._decimal(meter, "meter", "step_wh", Decimal(1), Decimal(0)),
            volatile_counter=self._boolean(meter, "meter", "volatile_counter", default=False),
            timing=timing,
            points=points,
            checks=checks,
            serial_number=serial,
            blocks=plan_blocks(points, readable, max_registers),
            recovery=recovery,
        )
        self._nothing_left(meter, "meter.")
        if self._mistakes:
            raise TemplateError(self._mistakes)
        return template

    def _point(self, entry: dict[str, TomlValue], where: str) -> Point:
        measurand = self._choice(entry, where, "measurand", Measurand, None)
        phase = self._choice(entry, where, "phase", Phase, None) if "phase" in entry else None
        register = self._field(entry, where)
        if register.type in TEXT_TYPES:
            self._mistake(f"{where}.type", register.type, "a number type")
        scale = self._decimal(entry, where, "scale", Decimal(1), None)
        if scale == 0:
            self._mistake(f"{where}.scale", "0", "a number other than 0")
        units = UNIT_FACTORS.get(measurand, {})
        unit = self._text(entry, where, "unit")
        if unit not in units:
            self._mistake(
                f"{where}.unit", repr(unit), f"for {measurand}: {', '.join(units) or 'no unit; this measurand is not read from meters'}"
            )
        invalid = entry.pop("invalid", [])
        if not isinstance(invalid, list) or not all(isinstance(one, int) for one in invalid):
            self._mistake(f"{where}.invalid", repr(invalid), "a list of whole numbers")
            invalid = []
        self._nothing_left(entry, f"{where}.")
        return Point(
            measurand=measurand,
            phase=phase,
            register=register,
            scale=scale,
            factor=units.get(unit, Decimal(1)),
            invalid=frozenset(one for one in invalid if isinstance(one, int)),
        )

    def _recovery(self, entry: dict[str, TomlValue], where: str) -> RecoveryWrite:
        address = self._integer(entry, where, "address", range(0x10000), None)
        values = entry.pop("values", [])
        numbers = tuple(one for one in values if type(one) is int and 0 <= one <= 0xFFFF) if isinstance(values, list) else ()
        if not isinstance(values, list) or not 1 <= len(numbers) <= PROTOCOL_MAX_WRITTEN or len(numbers) != len(values):
            self._mistake(f"{where}.values", repr(values), f"a list of 1 to {PROTOCOL_MAX_WRITTEN} registers from 0 to 65535")
        self._nothing_left(entry, f"{where}.")
        return RecoveryWrite(address, numbers)

    def _identity(self, section: dict[str, TomlValue]) -> tuple[RegisterField | None, tuple[IdentityCheck, ...]]:
        serial: RegisterField | None = None
        if "serial_number" in section:
            entry = self._section(section, "serial_number", "identity.")
            serial = self._field(entry, "identity.serial_number")
            if serial.type is RegisterType.FLOAT32:
                self._mistake("identity.serial_number.type", serial.type, "text or a whole number")
            self._nothing_left(entry, "identity.serial_number.")
        checks = []
        for number, entry in enumerate(self._tables(section, "check", "identity."), 1):
            where = f"identity.check[{number}]"
            register = self._field(entry, where)
            allowed = entry.pop("allowed", [])
            if not isinstance(allowed, list) or not allowed or not all(isinstance(one, int | str) for one in allowed):
                self._mistake(f"{where}.allowed", repr(allowed), "a list of the values (numbers or texts) that the meter may have there")
                allowed = []
            self._nothing_left(entry, f"{where}.")
            checks.append(IdentityCheck(register=register, allowed=frozenset(map(str, allowed))))
        self._nothing_left(section, "identity.")
        return serial, tuple(checks)

    def _field(self, entry: dict[str, TomlValue], where: str) -> RegisterField:
        kind = self._choice(entry, where, "type", RegisterType, None)
        table = self._table_of(entry, where, self._table)
        order = self._choice(entry, where, "word_order", WordOrder, self._order)
        if kind in TEXT_TYPES:
            count = self._integer(entry, where, "count", range(1, PROTOCOL_MAX_REGISTERS + 1), None)
        else:
            count = REGISTER_COUNT[kind]
        address = self._integer(entry, where, "address", range(0x10000 - count + 1), None)
        return RegisterField(table=table, address=address, count=count, type=kind, word_order=order)

    def _unique(self, points: tuple[Point, ...]) -> None:
        seen: set[tuple[Measurand, Phase | None]] = set()
        for number, point in enumerate(points, 1):
            key = (point.measurand, point.phase)
            if key in seen:
                self._mistake(f"point[{number}]", f"{point.measurand} {point.phase or ''}".strip(), "each measurand and phase once")
            seen.add(key)
        if not any(point.is_energy for point in points):
            self._mistake("point", "none", f"at least one with measurand {Measurand.ENERGY_ACTIVE_IMPORT_REGISTER} and no phase")

    def _ranges(self, read: dict[str, TomlValue]) -> tuple[tuple[Table, range], ...]:
        value = read.pop("readable", [])
        ranges = []
        for pair in value if isinstance(value, list) else [value]:
            match pair:
                case [int(first), int(last)] if 0 <= first <= last <= 0xFFFF:
                    ranges.append((self._table, range(first, last + 1)))
                case _:
                    self._mistake("read.readable", repr(pair), "pairs [first, last] of addresses that the manual documents without a hole")
        return tuple(ranges)

    def _table_of(self, entry: dict[str, TomlValue], where: str, default: Table) -> Table:
        value = entry.pop("table", default.name.lower())
        match value:
            case "input":
                return Table.INPUT
            case "holding":
                return Table.HOLDING
            case _:
                self._mistake(f"{where}.table", repr(value), "input (function code 4) or holding (function code 3)")
                return default

    def _mistake(self, key: str, value: str, allowed: str) -> None:
        self._mistakes.append(TemplateMistake(file=self._file, key=key, value=str(value), allowed=allowed))

    def _nothing_left(self, entry: dict[str, TomlValue], prefix: str) -> None:
        for key, value in entry.items():
            self._mistake(f"{prefix}{key}", repr(value), "nothing: this key is not known here")

    def _section(self, document: dict[str, TomlValue], key: str, prefix: str = "", *, optional: bool = False) -> dict[str, TomlValue]:
        value = document.pop(key, {} if optional else None)
        if isinstance(value, dict):
            return value
        self._mistake(f"{prefix}{key}", "missing" if value is None else repr(value), "a table")
        return {}

    def _tables(self, document: dict[str, TomlValue], key: str, prefix: str = "") -> list[dict[str, TomlValue]]:
        value = document.pop(key, [])
        tables = []
        for entry in value if isinstance(value, list) else [value]:
            if isinstance(entry, dict):
                tables.append(entry)
            else:
                self._mistake(f"{prefix}{key}", repr(entry), f"tables [[{prefix}{key}]]")
        return tables

    def _text(self, entry: dict[str, TomlValue], where: str, key: str) -> str:
        value = entry.pop(key, None)
        if isinstance(value, str) and value:
            return value
        self._mistake(f"{where}.{key}", "missing" if value is None else repr(value), "a text")
        return ""

    def _texts(self, entry: dict[str, TomlValue], where: str, key: str) -> tuple[str, ...]:
        value = entry.pop(key, None)
        if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
            return tuple(map(str, value))
        self._mistake(f"{where}.{key}", "missing" if value is None else repr(value), "a list of texts")
        return ()

    def _boolean(self, entry: dict[str, TomlValue], where: str, key: str, *, default: bool) -> bool:
        value = entry.pop(key, default)
        if isinstance(value, bool):
            return value
        self._mistake(f"{where}.{key}", repr(value), "true or false")
        return default

    def _integer(self, entry: dict[str, TomlValue], where: str, key: str, allowed: range, default: int | None) -> int:
        value = entry.pop(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and value in allowed:
            return value
        self._mistake(
            f"{where}.{key}", "missing" if value is None else repr(value), f"a whole number from {allowed.start} to {allowed.stop - 1}"
        )
        return allowed.start

    def _decimal(self, entry: dict[str, TomlValue], where: str, key: str, default: Decimal, above: Decimal | None) -> Decimal:
        value = entry.pop(key, default)
        if isinstance(value, int) and not isinstance(value, bool):
            value = Decimal(value)
        if isinstance(value, Decimal) and value.is_finite() and (above is None or value > above):
            return value
        self._mistake(f"{where}.{key}", repr(value), "a number" if above is None else f"a number above {above}")
        return default

    def _seconds(self, entry: dict[str, TomlValue], where: str, key: str, least: Decimal, most: Decimal, default: float) -> float:
        value = self._decimal(entry, where, key, Decimal(str(default)), None)
        if not least <= value <= most:
            self._mistake(f"{where}.{key}", str(value), f"{least} to {most} s")
        return float(value)

    def _choice(self, entry: dict[str, TomlValue], where: str, key: str, kinds: type[ChoiceT], default: ChoiceT | None) -> ChoiceT:
        value = entry.pop(key, None)
        if value is None and default is not None:
            return default
        try:
            return kinds(value)
        except ValueError:
            self._mistake(f"{where}.{key}", "missing" if value is None else repr(value), ", ".join(str(one.value) for one in kinds))
            return next(iter(kinds))
