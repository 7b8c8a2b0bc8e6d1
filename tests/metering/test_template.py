"""Templates: the loader, the read plan, and every template that is shipped against its captures."""

import tomllib
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.domain.metering import Measurand, Phase
from agent.fieldbus.bus import Table
from agent.metering.modbus import decode_identity, decode_point
from agent.metering.registers import RegisterType, WordOrder
from agent.metering.template import (
    Point,
    RecoveryWrite,
    RegisterField,
    TemplateError,
    load_template,
    parse_template,
    plan_blocks,
    template_names,
)

CAPTURES = Path(__file__).parent / "captures"

GOOD = """
[meter]
name = "x"
manufacturer = "X"
models = ["X1"]
manual = "X manual"
[read]
[[point]]
measurand = "Energy.Active.Import.Register"
address = 0x10
type = "int32"
scale = 0.1
unit = "kWh"
"""


@pytest.mark.parametrize("name", template_names())
def test_every_template_opens(name: str) -> None:
    template = load_template(name)
    assert template.manual
    assert any(point.is_energy for point in template.points)
    assert sum(len(block.points) for block in template.blocks) == len(template.points)


def test_the_templates_of_this_issue_are_there() -> None:
    assert {"eastron-sdm630", "carlo-gavazzi-em340"} <= set(template_names())


@pytest.mark.parametrize("name", template_names())
def test_every_template_has_a_capture_for_every_point(name: str) -> None:
    template = load_template(name)
    document = tomllib.loads((CAPTURES / f"{name}.toml").read_text())
    covered = set()
    for capture in document["capture"]:
        assert capture["source"]
        assert capture["kind"] in {"real meter", "manual", "independent implementation", "computed"}
        for expect in capture["expect"]:
            key = (Measurand(expect["measurand"]), Phase(expect["phase"]) if "phase" in expect else None)
            (point,) = [one for one in template.points if (one.measurand, one.phase) == key]
            register = point.register
            assert register.table.name.lower() == capture["table"]
            start = register.address - capture["address"]
            words = capture["words"][start : start + register.count]
            assert start >= 0, capture["source"]
            decoded = decode_point(point, words)
            assert decoded is not None
            digits = Decimal(1).scaleb(-expect["decimals"])
            assert decoded[0].quantize(digits) == Decimal(expect["value"]).quantize(digits), (expect, capture["source"])
            covered.add(key)
    assert covered == {(point.measurand, point.phase) for point in template.points}
    for identity in document.get("identity", []):
        register_field = template.serial_number if identity["field"] == "serial_number" else template.checks[0].register
        assert register_field is not None
        assert decode_identity(register_field, identity["words"]) == identity["expect"]
        if identity["field"] == "check":
            assert identity["expect"] in template.checks[0].allowed


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("eastron-sdm630", [(0x00, 18), (0x34, 2), (0x46, 6)]),
        ("carlo-gavazzi-em340", [(0x00, 20), (0x14, 4), (0x28, 14)]),
    ],
)
def test_read_plan_of_shipped_templates(name: str, blocks: list[tuple[int, int]]) -> None:
    assert [(block.address, block.count) for block in load_template(name).blocks] == blocks


def test_unknown_template_names_those_that_exist() -> None:
    with pytest.raises(TemplateError, match="carlo-gavazzi-em340, eastron-sdm630"):
        load_template("eastron-sdm631")


def test_path_is_not_a_template_name() -> None:
    with pytest.raises(TemplateError):
        load_template("../templates/eastron-sdm630")


def test_all_mistakes_are_reported_at_once_with_key_value_and_what_is_allowed() -> None:
    text = """
typo = 1
[meter]
name = "y"
manufacturer = ""
models = "X1"
step_wh = -1
volatile_counter = "no"
[read]
table = "coils"
word_order = "middle"
max_registers = 126
readable = [[5, 3], 7]
timeout_s = 60
colour = "red"
[[recovery]]
address = 0x10000
values = [1, 65536]
wait = 1
[identity]
[identity.serial_number]
address = 0xFC00
type = "float32"
[[identity.check]]
address = 0x0B
type = "uint16"
allowed = []
[[point]]
measurand = "Volt"
address = 70000
type = "int12"
scale = 0
unit = "kV"
[[point]]
measurand = "SoC"
address = 0
type = "ascii"
unit = "Percent"
invalid = "x"
unknown = 3
[[point]]
measurand = "Voltage"
phase = "L4"
address = true
type = "int16"
unit = "V"
[[point]]
measurand = "Frequency"
address = 0xFFFF
type = "int32"
unit = "Hz"
[[point]]
measurand = "Frequency"
address = 4
type = "int16"
unit = "Hz"
"""
    with pytest.raises(TemplateError) as caught:
        parse_template(text, name="x", file="x.toml")
    keys = {mistake.key for mistake in caught.value.mistakes}
    assert keys == {
        "typo",
        "meter.name",
        "meter.manufacturer",
        "meter.manual",
        "meter.models",
        "meter.step_wh",
        "meter.volatile_counter",
        "read.table",
        "read.word_order",
        "read.max_registers",
        "read.readable",
        "read.timeout_s",
        "read.colour",
        "recovery[1].address",
        "recovery[1].values",
        "recovery[1].wait",
        "identity.serial_number.type",
        "identity.check[1].allowed",
        "point[1].measurand",
        "point[1].address",
        "point[1].type",
        "point[1].scale",
        "point[1].unit",
        "point[2].count",
        "point[2].type",
        "point[2].unit",
        "point[2].invalid",
        "point[2].unknown",
        "point[3].phase",
        "point[3].address",
        "point[4].address",
        "point[5]",
        "point",
    }
    lines = str(caught.value).splitlines()
    assert len(lines) == len(caught.value.mistakes)
    assert all(line.startswith("x.toml: ") and ": allowed is " in line for line in lines)


@pytest.mark.parametrize("text", ["", "[meter]\n", "meter = 1\nread = 2\npoint = 3\n", "= broken", GOOD.replace("[read]", "read = 1")])
def test_broken_files_are_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(TemplateError, match=r"x\.toml: "):
        parse_template(text, name="x", file="x.toml")


@pytest.mark.pain(51)
def test_what_unlocks_a_meter_is_written_in_the_order_of_the_file() -> None:
    text = GOOD + "[[recovery]]\naddress = 7054\nvalues = [25939, 61696]\n[[recovery]]\naddress = 7071\nvalues = [2]\n"
    assert parse_template(text, name="x", file="x.toml").recovery == (RecoveryWrite(7054, (25939, 61696)), RecoveryWrite(7071, (2,)))
    assert parse_template(GOOD, name="x", file="x.toml").recovery == ()


def test_scale_is_exact() -> None:
    template = parse_template(GOOD, name="x", file="x.toml")
    decoded = decode_point(template.points[0], (0, 3))
    assert decoded == (Decimal(300), Decimal(100))


def test_marker_of_the_template_is_missing() -> None:
    template = parse_template(GOOD + "invalid = [9999999]\n", name="x", file="x.toml")
    assert decode_point(template.points[0], divmod(9999999, 65536)) is None
    assert decode_point(template.points[0], divmod(9999998, 65536)) is not None


def point(address: int, kind: RegisterType = RegisterType.FLOAT32, table: Table = Table.INPUT) -> Point:
    count = {RegisterType.INT16: 1, RegisterType.FLOAT32: 2, RegisterType.INT64: 4}[kind]
    register = RegisterField(table=table, address=address, count=count, type=kind, word_order=WordOrder.BIG)
    return Point(measurand=Measurand.VOLTAGE, phase=None, register=register, scale=Decimal(1), factor=Decimal(1))


@pytest.mark.parametrize(
    ("addresses", "readable", "limit", "expected"),
    [
        ([0, 2, 4], [], 125, [(0, 6)]),
        ([4, 0, 2], [], 125, [(0, 6)]),
        ([0, 4], [], 125, [(0, 2), (4, 2)]),
        ([0, 4], [(0, 5)], 125, [(0, 6)]),
        ([0, 4], [(0, 4)], 125, [(0, 2), (4, 2)]),
        ([0, 4], [(0, 3), (4, 9)], 125, [(0, 2), (4, 2)]),
        ([0, 10], [(0, 99)], 125, [(0, 12)]),
        ([0, 11], [(0, 99)], 125, [(0, 2), (11, 2)]),
        ([0, 2, 4, 6], [], 4, [(0, 4), (4, 4)]),
        ([0, 2, 4], [], 5, [(0, 4), (4, 2)]),
        ([0, 1], [], 125, [(0, 3)]),
    ],
    ids=[
        "joined",
        "sorted",
        "hole",
        "documented gap",
        "range too short",
        "two ranges",
        "gap of 8",
        "gap of 9",
        "limit",
        "odd limit",
        "overlap",
    ],
)
def test_plan(addresses: list[int], readable: list[tuple[int, int]], limit: int, expected: list[tuple[int, int]]) -> None:
    ranges = [(Table.INPUT, range(first, last + 1)) for first, last in readable]
    assert [(one.address, one.count) for one in plan_blocks(map(point, addresses), ranges, limit)] == expected


def test_tables_are_read_apart() -> None:
    blocks = plan_blocks([point(0), point(2, table=Table.HOLDING)], [], 125)
    assert [(block.table, block.address) for block in blocks] == [(Table.HOLDING, 2), (Table.INPUT, 0)]


@given(
    places=st.lists(
        st.tuples(st.integers(0, 200), st.sampled_from([RegisterType.INT16, RegisterType.FLOAT32, RegisterType.INT64])),
        min_size=1,
        max_size=30,
    ),
    spans=st.lists(st.tuples(st.integers(0, 210), st.integers(0, 40)), max_size=5),
    limit=st.integers(4, 125),
)
def test_plan_covers_every_point_and_touches_no_hole(
    places: list[tuple[int, RegisterType]], spans: list[tuple[int, int]], limit: int
) -> None:
    points = [point(address, kind) for address, kind in places]
    readable = [(Table.INPUT, range(first, first + length + 1)) for first, length in spans]
    blocks = plan_blocks(points, readable, limit)
    documented = {address for _, span in readable for address in span} | {
        address for one in points for address in range(one.register.address, one.register.end)
    }
    assert sorted(id(one) for block in blocks for one in block.points) == sorted(map(id, points))
    for block in blocks:
        assert block.count <= limit
        assert set(range(block.address, block.address + block.count)) <= documented
        answer = list(range(block.address, block.address + block.count))
        for one in block.points:
            assert block.words(one.register, answer) == list(range(one.register.address, one.register.end))


DOCS = Path(__file__).parents[2] / "docs" / "meters.md"


def test_the_example_in_the_documentation_opens() -> None:
    _, _, rest = DOCS.read_text(encoding="utf-8").partition("## Adding a template")
    example = rest.split("```toml\n")[1].split("```")[0]
    assert parse_template(example, name="maker-model", file="docs").blocks[0].address == 0x5000


def test_the_documentation_lists_every_template() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert [name for name in template_names() if f"| `{name}` |" not in text] == []
