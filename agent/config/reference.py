"""Writes docs/configuration.md from the model: `python -m agent.config.reference docs/configuration.md`. Not used by the running agent."""

import sys
from dataclasses import MISSING, is_dataclass
from enum import StrEnum
from pathlib import Path
from types import UnionType

from agent.config.loader import allowed_values, options
from agent.config.model import Config

_INTRODUCTION = """\
# Configuration

<!-- Written by `make docs` from agent/config/model.py. Do not edit. -->

`charger-agent --config FILE` reads one TOML file, by default `/etc/charger-agent/config.toml`, and after it every `config.d/*.toml` in the
same directory in the order of the names. Tables are merged and later values win; an array, `[[evse]]` too, is replaced whole. So an image
can bring the file of the board, the factory a `config.d/10-station.toml` and the installer a `config.d/50-site.toml`.

`charger-agent --config FILE --check` says whether the configuration is good. Every mistake is listed at once, one line each, with the file,
the key, the value and what is allowed; the exit code is then 2. A key that is not known is a mistake. Secrets never stand in the
configuration, only the names of the files that hold them. Changes that make an older file wrong are in
[config-changes.md](config-changes.md).

A minimal file:

```toml
"""

EXAMPLE = """\
[station]
id = "CP001"
serial_number = "SN-0001"
uid = "7F3K-22QX"
vendor = "Example"
model = "AC22"
country = "NO"
region = "Viken"

[ocpp]
url = "wss://csms.example.com/ocpp/"
versions = ["2.0.1", "1.6"]
security_profile = 2
password_file = "/etc/charger-agent/ocpp-password"

[hal]
driver = "my-board"

[[evse]]
id = 1
max_current_a = 32
phases = 3

[evse.meter]
driver = "modbus"
template = "eastron-sdm630"
url = "serial:///dev/ttyUSB0?baudrate=9600&parity=N&device=1"

[variables]
"SampledDataCtrlr.TxUpdatedInterval" = 60
HeartbeatInterval = 300
"""
"""A configuration with every section that must be there, and the usual ones."""


def page() -> str:
    """The whole reference page, as Markdown."""
    lines = [_INTRODUCTION + EXAMPLE + "```", ""]
    for name, (kind, option, entry) in options(Config).items():
        is_needed = entry.default is MISSING and entry.default_factory is MISSING
        lines += _section(name, kind, option.doc, is_needed=is_needed)
    return "\n".join(lines)


def _section(name: str, kind: object, doc: str, *, is_needed: bool) -> list[str]:
    model = _model_of(kind)
    is_array = getattr(kind, "__origin__", None) is tuple
    heading = f"## `[[{name}]]`" if is_array else f"## `[{name}]`"
    lines = [heading, ""]
    if model is None:
        return [*lines, doc, "", *_free_table(name)]
    lines += [
        str(model.__doc__) + (" Must be there." if is_needed else ""),
        "",
        "| key | type | allowed | default | meaning |",
        "| --- | --- | --- | --- | --- |",
    ]
    inner: list[tuple[str, object, str, bool]] = []
    for key, (key_kind, option, entry) in options(model).items():
        if _model_of(key_kind) is not None:
            inner.append((f"{name}.{key}", key_kind, option.doc, False))
            continue
        has_default = entry.default is not MISSING or entry.default_factory is not MISSING
        default = option.default_says or (_toml(entry.default) if has_default else "**must be given**")
        allowed = allowed_values(key_kind, option)
        meaning = option.doc + (f" Example: `{option.example}`." if option.example else "")
        lines.append(f"| `{key}` | {_type_name(key_kind)} | {_cell(allowed)} | {_cell(default)} | {_cell(meaning)} |")
    lines.append("")
    for inner_name, inner_kind, inner_doc, inner_needed in inner:
        lines += _section(inner_name, inner_kind, inner_doc, is_needed=inner_needed)
    return lines


def _free_table(name: str) -> list[str]:
    return [
        "```toml",
        f"[{name}]",
        '"OCPPCommCtrlr.MessageTimeout[Default]" = 30',
        '"AuthCtrlr.LocalPreAuthorize" = true',
        "HeartbeatInterval = 300",
        "```",
        "",
    ]


def _model_of(kind: object) -> type[object] | None:
    return next((part for part in (kind, *getattr(kind, "__args__", ())) if isinstance(part, type) and is_dataclass(part)), None)


def _type_name(kind: object) -> str:
    if isinstance(kind, UnionType):
        kind = next(part for part in kind.__args__ if part is not type(None))
    if getattr(kind, "__origin__", None) is tuple:
        return "array of texts"
    if isinstance(kind, type):
        if issubclass(kind, StrEnum):
            return "text"
        return {str: "text", int: "integer", bool: "boolean", Path: "path"}[kind]
    return "table"


def _toml(value: object) -> str:
    match value:
        case bool():
            return "`true`" if value else "`false`"
        case str() | Path():
            return f'`"{value}"`'
        case tuple():
            return "`[" + ", ".join(f'"{item}"' for item in value) + "]`"
        case _:
            return f"`{value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Write the page to the file that the command line names, or to standard output."""
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(page(), encoding="utf-8")
    else:
        sys.stdout.write(page())


if __name__ == "__main__":
    main()
