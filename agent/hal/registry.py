"""Finds hardware drivers by their entry point (`[hal] driver` in the configuration; docs/hardware.md)."""

import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Final

from agent.domain.errors import HalError
from agent.hal.api import HalDriver, HalFactory, HalSetup

GROUP: Final = "charger_agent.hal"


def open_driver(name: str, setup: HalSetup) -> HalDriver:
    """Make the driver that is installed as `name`; `start` opens the hardware.

    Raises HalError naming what is installed, what could not be imported, or which option is wrong.
    """
    drivers = installed()
    if name not in drivers:
        known = ", ".join(sorted(drivers)) or "none; is charger-agent itself installed?"
        raise HalError(f"[hal] driver {name!r} is not installed; installed are: {known} (entry points of group {GROUP})")
    factory = _load(name, drivers[name])
    try:
        return factory(setup)
    except ValueError as error:
        raise HalError(f"[hal] driver {name!r}: {error}") from error


def installed(path: Iterable[str] | None = None) -> dict[str, str]:
    """Names of all installed drivers, each with what it points to (`module:attribute`); the first on `path` (sys.path) wins."""
    drivers: dict[str, str] = {}
    for text in _entry_point_files(sys.path if path is None else path):
        for name, target in _section(text, GROUP):
            drivers.setdefault(name, target)
    return drivers


def _load(name: str, target: str) -> HalFactory:
    module_name, _, attribute = target.partition(":")
    try:
        factory = getattr(import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise HalError(f"[hal] driver {name!r}: its entry point {target!r} cannot be loaded: {error}") from error
    if not callable(factory):
        raise HalError(f"[hal] driver {name!r}: its entry point {target!r} is not callable; it must take a HalSetup and give a HalDriver")
    made: HalFactory = factory
    return made


def _entry_point_files(path: Iterable[str]) -> Iterator[str]:
    """Read what installers wrote. The import of `importlib.metadata` would cost the start 50 ms; this costs one (docs/hardware.md)."""
    for folder in path:
        directory = Path(folder or ".")
        if not directory.is_dir():
            continue
        for pattern in ("*.dist-info/entry_points.txt", "*.egg-info/entry_points.txt"):
            for file in sorted(directory.glob(pattern)):
                yield file.read_text(encoding="utf-8")


def _section(text: str, group: str) -> Iterator[tuple[str, str]]:
    """Names and targets of one group (PyPA entry points specification: INI lines, `name = module:attribute [extras]`)."""
    is_inside = False
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("["):
            is_inside = line == f"[{group}]"
        elif is_inside and "=" in line and not line.startswith(("#", ";")):
            name, _, target = line.partition("=")
            yield name.strip(), target.partition("[")[0].strip()
