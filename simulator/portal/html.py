"""HTML as values: text is escaped where it is put in, so that no name of a charger or region can become markup."""

from collections.abc import Iterable
from html import escape
from typing import TypeAlias

_VOID = frozenset({"br", "hr", "input", "link", "meta"})


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


Node: TypeAlias = "str | Iterable[Node] | None"
Attribute: TypeAlias = str | bool | None


def h(tag: str, *children: Node, **attributes: Attribute) -> Markup:
    """An element. `class_` loses its underscore, `data_x` becomes `data-x`; True is a bare attribute, False and None are left out."""
    said = "".join(
        f" {_name(name)}" if value is True else f' {_name(name)}="{escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    if tag in _VOID:
        return Markup(f"<{tag}{said}>")
    return Markup(f"<{tag}{said}>{render(children)}</{tag}>")


def render(node: Node) -> Markup:
    """Children one after another, escaped unless they are markup."""
    if node is None:
        return Markup("")
    if isinstance(node, Markup):
        return node
    if isinstance(node, str):
        return Markup(escape(node))
    return Markup("".join(render(child) for child in node))


def _name(name: str) -> str:
    return name.rstrip("_").replace("_", "-")
