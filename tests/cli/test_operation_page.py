"""docs/operation.md tells of every event, condition, reason, logger and command that there is, and of no other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cli import __main__ as cli
from agent.diagnostics.protocol import ErrorCode
from agent.diagnostics.results import RESULTS
from agent.domain.interlock import Interlock

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operation.md").read_text(encoding="utf-8")


def table(header: str) -> list[str]:
    """The first column, in code font, of the table whose first head cell is `header`."""
    lines = iter(PAGE.splitlines())
    assert any(line.startswith(f"| {header} |") for line in lines), f"no table {header!r}"
    next(lines)
    names = []
    for line in lines:
        if not line.startswith("|"):
            break
        names.append(line.split("|")[1].strip())
    return [name.strip("`") for name in names]


def calls(package: str, name: str) -> Iterator[ast.Call]:
    for file in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == name:
                yield node


def constants(node: ast.expr) -> Iterator[str]:
    """What an expression may be: a text, or one of two."""
    if isinstance(node, ast.IfExp):
        yield from constants(node.body)
        yield from constants(node.orelse)
    else:
        assert isinstance(node, ast.Constant), f"{ast.unparse(node)} is no plain name, and the page cannot list it"
        assert isinstance(node.value, str)
        yield node.value


def test_every_event_is_explained() -> None:
    used = {name for call in calls("agent/core", "remark") for name in constants(call.args[0])}
    used |= {name for call in calls("agent/runtime", "note") for name in constants(call.args[0])}
    assert len(used) > 25, "the names are found"
    explained = table("event")
    assert sorted(explained) == sorted(used)


def test_only_the_core_makes_events() -> None:
    """Else the table above would miss some."""
    for call in calls("agent", "Remark"):
        assert {keyword.arg for keyword in call.keywords} >= {"name"}
        assert ast.unparse(next(keyword.value for keyword in call.keywords if keyword.arg == "name")) == "name", "by remark and note only"


def test_every_condition_of_why_is_explained_in_its_order() -> None:
    tree = ast.parse((ROOT / "agent/core/why.py").read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    order = [
        node.func.id
        for node in ast.walk(functions["chain"])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions
    ]
    names: list[str] = []
    for function in order:
        found = {
            constant
            for node in ast.walk(functions[function])
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Condition"
            for keyword in node.keywords
            if keyword.arg == "name"
            for constant in constants(keyword.value)
        }
        assert len(found) == 1, f"{function} makes {found}"
        names.extend(found)
    assert table("condition") == names


def test_every_reason_of_the_guard_is_explained() -> None:
    assert table("reason") == [interlock.value for interlock in Interlock]


def test_every_logger_is_listed() -> None:
    used = set()
    for file in sorted((ROOT / "agent").rglob("*.py")):
        if file.relative_to(ROOT).parts[1] == "fieldbus" or file.name == "logging.py":
            continue  # silences a library; sets the others up
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "getLogger" and node.args:
                argument = node.args[0]
                used.add(argument.value if isinstance(argument, ast.Constant) else module)
    assert sorted(table("logger")) == sorted(str(name) for name in used)


def test_every_exit_code_is_explained() -> None:
    assert table("code") == [str(code) for code in (cli.EXIT_OK, cli.EXIT_FAILED, cli.EXIT_USAGE, cli.EXIT_REFUSED, cli.EXIT_UNREACHABLE)]


def test_every_error_of_the_socket_is_explained() -> None:
    given = {-int(number) for number in re.findall(r"−(\d{5})", PAGE)}
    assert given == {int(code) for code in ErrorCode}


COMMANDS = sorted(set(re.findall(r"(?:^\$ |`)chargerctl ([a-z][^`\n|]*)", PAGE, flags=re.MULTILINE)))


@pytest.mark.parametrize("line", [line.strip() for line in COMMANDS])
def test_every_command_on_the_page_is_understood(line: str) -> None:
    words, _, _ = cli._options(line.replace("ROW", "9").split())
    question = cli._question(words)
    assert not isinstance(question, str)
    assert question[0] in RESULTS


def test_every_method_has_its_place_on_the_page() -> None:
    headings = set(re.findall(r"^## (\w+)", PAGE, flags=re.MULTILINE))
    for method in RESULTS:
        assert method in PAGE or method.split(".")[0] in headings
