"""The figures as a table: each beside its reference of the same run, its aim, and what is to be said about it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line. `reference` is what it is compared with; `aim` a sentence, `is_met` None where there is none; `note` says how or why."""

    name: str
    value: str
    reference: str = ""
    ratio: str = ""
    aim: str = ""
    is_met: bool | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """Whether the aim was reached."""
        return {None: "", True: "met", False: "**missed**"}[self.is_met]


def table(figures: Iterable[Figure]) -> str:
    """A Markdown table whose columns also line up on a terminal."""
    head = ("figure", "daemon", "reference", "ratio", "aim", "verdict")
    rows = [(f.name, f.value, f.reference, f.ratio, f.aim, f.verdict) for f in figures]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [_line(head, widths), "| " + " | ".join("-" * width for width in widths) + " |"]
    return "\n".join([*lines, *(_line(row, widths) for row in rows)])


def remarks(figures: Iterable[Figure]) -> str:
    """What is to be said about the lines, the missed ones first."""
    said = sorted((figure for figure in figures if figure.note), key=lambda figure: figure.is_met is not False)
    return "\n".join(f"* {'Missed: ' if figure.is_met is False else ''}{figure.name}: {figure.note}" for figure in said)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"


def times(value: float, reference: float) -> str:
    """A ratio."""
    return f"{value / reference:.2f} x" if reference else ""


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of the values that `percent` of them do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(1, math.ceil(len(ordered) * percent / 100)) - 1]


def middle(values: Sequence[float], unit: str = "", digits: int = 0) -> str:
    """The median and the range of several runs."""
    ordered = sorted(values)
    return f"{percentile(ordered, 50):.{digits}f} ({ordered[0]:.{digits}f}-{ordered[-1]:.{digits}f}) {unit}".rstrip()
