"""Who may import whom: docs/architecture.md in code. Reads the sources, so that an import inside a function or for types counts too."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

SIBLINGS = ("core", "hal", "metering", "ocpp_client", "qr_display", "store", "diagnostics")

MAY_IMPORT: dict[str, set[str]] = {
    "": set(),  # agent/__init__.py
    "domain": set(),
    "config": {"domain"},
    "fieldbus": {"domain"},
    **{sibling: {"domain"} for sibling in SIBLINGS},
    "hal": {"domain", "fieldbus"},
    "metering": {"domain", "fieldbus"},
    "cli": {"", "domain", "store"},  # it speaks to the socket; the proof of the chain reads a file too, when no daemon runs
    "runtime": {"", "domain", "config", "fieldbus", *SIBLINGS},
    "__main__": {"", "domain", "config", "fieldbus", "runtime", *SIBLINGS},
}
"""Packages of `agent`, and which other packages of it each may import. `""` is `agent` itself, with the version."""

LIBRARIES: dict[str, set[str]] = {
    "cli": {"cryptography"},
    "fieldbus": {"pymodbus", "serial"},
    "hal": {"gpiod"},
    "ocpp_client": {"fastjsonschema", "msgspec", "websockets"},
    "qr_display": {"PIL", "babel", "segno"},
    "runtime": {"cryptography"},
    "store": {"aiosqlite", "msgspec"},
}
"""What is not in the standard library, and where it may be imported; nowhere else, and nothing else (docs/dependencies.md)."""

PURE = ("core", "domain")
IMPURE = {"asyncio", "logging", "random", "secrets", "select", "socket", "sqlite3", "subprocess", "threading", "time"}
"""What decides has no clock, no chance, no I/O: all of that comes in as a value."""


@dataclass(frozen=True, slots=True)
class Import:
    """One import: the dotted name of the module that is imported, and where it is written."""

    module: str
    file: Path
    line: int


def imports(root: Path, package: str) -> Iterator[Import]:
    """Every import in a package, wherever it stands in a file, and `import_module` with a literal name."""
    for file in sorted((root / package).rglob("*.py")):
        here = file.relative_to(root).with_suffix("").parts
        parent = here[:-1]
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Import():
                    for name in node.names:
                        yield Import(name.name, file, node.lineno)
                case ast.ImportFrom():
                    base = ".".join(parent[: len(parent) - node.level + 1]) if node.level else ""
                    module = ".".join(filter(None, (base, node.module)))
                    for name in node.names:
                        # `from agent import store` imports a package, `from agent.store import Store` a name; the longer one says both.
                        yield Import(f"{module}.{name.name}", file, node.lineno)
                case ast.Call(
                    func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                    args=[ast.Constant(value=str(module)), *_],
                ):
                    yield Import(module, file, node.lineno)
                case _:
                    pass


def package_of(root: Path, module: str) -> str:
    """The package of `agent` that a module belongs to: `domain` for `agent.domain.ids.EvseId`, `""` for `agent.__version__`."""
    parts = module.split(".")
    if len(parts) < 2:
        return ""
    home = root / "agent" / parts[1]
    return parts[1] if home.is_dir() or home.with_suffix(".py").is_file() else ""


def violations(root: Path) -> list[str]:
    """Every import that breaks a rule, as a sentence with file and line."""
    found: list[str] = []

    def complain(entry: Import, rule: str) -> None:
        found.append(f"{entry.file.relative_to(root)}:{entry.line}: imports {entry.module}: {rule}")

    for entry in imports(root, "agent"):
        parts = entry.file.relative_to(root / "agent").parts
        package = parts[0].removesuffix(".py") if parts != ("__init__.py",) else ""
        top = entry.module.split(".")[0]
        if package not in MAY_IMPORT:
            complain(entry, f"package {package} has no rule yet: write one here and in docs/architecture.md")
        elif top == "simulator":
            complain(entry, "the agent never imports the simulator")
        elif top == "agent":
            other = package_of(root, entry.module)
            if other not in {package, *MAY_IMPORT[package]}:
                complain(
                    entry, f"{package or 'agent/__init__.py'} may import {sorted(filter(None, MAY_IMPORT[package])) or 'nothing'} of agent"
                )
        elif top not in sys.stdlib_module_names and top not in LIBRARIES.get(package, set()):
            homes = [home for home, libraries in LIBRARIES.items() if top in libraries]
            complain(entry, f"only {' and '.join(homes)} may" if homes else "the library is not one of docs/dependencies.md")
        if package in PURE and top in IMPURE:
            complain(entry, f"{package} is pure: no clock, no chance, no I/O")
    for entry in imports(root, "simulator"):
        if entry.module.startswith("agent.") and any(
            part.startswith("_") and not part.startswith("__") for part in entry.module.split(".")
        ):
            complain(entry, "the simulator may use only what is public in agent")
    return found


def test_every_import_of_this_repository_keeps_the_rules() -> None:
    assert violations(ROOT) == []


def test_there_is_something_to_check() -> None:
    assert len(list(imports(ROOT, "agent"))) > 200
    assert {path.name for path in (ROOT / "agent").iterdir() if (path / "__init__.py").is_file()} <= set(MAY_IMPORT)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small agent that keeps the rules."""
    for package in ("domain", "core", "store", "hal", "runtime", "fieldbus", "config", "cli", "metering"):
        (tmp_path / "agent" / package).mkdir(parents=True)
        (tmp_path / "agent" / package / "__init__.py").write_text("", encoding="utf-8")
    (tmp_path / "simulator").mkdir()
    (tmp_path / "agent" / "__init__.py").write_text('__version__ = "1"\n', encoding="utf-8")
    good = {
        "agent/core/evse.py": "from agent.domain.ids import EvseId\nfrom agent.core import state\nimport dataclasses\n",
        "agent/store/store.py": "import aiosqlite, asyncio\nfrom agent.domain import records\n",
        "agent/metering/modbus.py": "from agent.fieldbus.bus import Bus\n",
        "agent/fieldbus/bus.py": "def open():\n    import pymodbus.client\n    from serial import Serial\n",
        "agent/runtime/app.py": "import agent\nfrom agent import store\nfrom agent.config.model import Config\n",
        "agent/__main__.py": "from agent.runtime.app import App\n",
        "agent/cli/text.py": "from agent import __version__\nimport json\n",
        "simulator/demo.py": "from agent.runtime.app import App\nimport aiohttp\n",
    }
    for name, text in good.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_a_tree_that_keeps_the_rules_is_left_alone(tree: Path) -> None:
    assert violations(tree) == []


@pytest.mark.parametrize(
    ("file", "text", "rule"),
    [
        ("agent/core/a.py", "from agent.store.store import Store", "core may import ['domain']"),
        ("agent/core/a.py", "from agent import store", "core may import ['domain']"),
        ("agent/core/a.py", "def f():\n    import agent.hal.api", "core may import ['domain']"),
        (
            "agent/core/a.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from agent.store import Store",
            "core may import ['domain']",
        ),
        ("agent/core/a.py", "from ..store import Store", "core may import ['domain']"),
        ("agent/core/a.py", "import asyncio", "core is pure"),
        ("agent/core/a.py", "from time import monotonic", "core is pure"),
        ("agent/domain/a.py", "import logging.handlers", "domain is pure"),
        ("agent/domain/a.py", "import random", "domain is pure"),
        ("agent/core/a.py", "import sqlite3", "core is pure"),
        ("agent/domain/a.py", "from agent.core import evse", "domain may import nothing of agent"),
        ("agent/domain/a.py", "import msgspec", "only ocpp_client and store may"),
        ("agent/config/a.py", "from agent.core import evse", "config may import ['domain']"),
        ("agent/metering/a.py", "import pymodbus", "only fieldbus may"),
        ("agent/hal/a.py", "import serial.tools", "only fieldbus may"),
        ("agent/hal/a.py", "from agent.metering import api", "hal may import ['domain', 'fieldbus']"),
        ("agent/store/a.py", "from agent.runtime import app", "store may import ['domain']"),
        ("agent/store/a.py", "from agent.config.model import Config", "store may import ['domain']"),
        ("agent/cli/a.py", "from agent.diagnostics import protocol", "cli may import ['domain', 'store']"),
        ("agent/runtime/a.py", "from simulator import hal", "never imports the simulator"),
        ("agent/runtime/a.py", "from importlib import import_module\nimport_module('simulator.hal')", "never imports the simulator"),
        ("agent/runtime/a.py", "import importlib\nimportlib.import_module('agent.cli.text')", "runtime may import"),
        ("agent/runtime/a.py", "import pydantic", "not one of docs/dependencies.md"),
        ("agent/store/a.py", "import ocpp.v16", "not one of docs/dependencies.md"),
        ("agent/cloud.py", "import json", "has no rule yet"),
        ("simulator/a.py", "from agent.store.store import _Writer", "only what is public"),
    ],
)
def test_a_wrong_import_is_found(tree: Path, file: str, text: str, rule: str) -> None:
    (tree / "agent" / "diagnostics").mkdir()
    (tree / file).write_text(text + "\n", encoding="utf-8")
    (sentence,) = violations(tree)
    assert sentence.startswith(f"{file}:")
    assert rule in sentence
