"""`make conformance`: which certification cases have a test (`@pytest.mark.tc("TC_001")`), and which have none.

`certification.csv` lists the charging-station cases of the OCPP 1.6, 2.0.1 and 2.1 test case documents in our words. A test that carries
an id shows that behaviour as we read it; it is no certificate. One that shows it in part says what is missing:
`@pytest.mark.tc("TC_002", partly="no reports yet")`.
"""

import argparse
import csv
import io
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import pytest

CASES = Path(__file__).with_name("certification.csv")
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One certification case of a charging station."""

    version: str
    profile: str
    id: str
    name: str


@dataclass(slots=True)
class MarkCollector:
    """A pytest plugin that notes which test carries which id. `gaps` are the words of marks with `partly`."""

    tests: dict[str, list[str]] = field(default_factory=dict)
    gaps: dict[str, list[str]] = field(default_factory=dict)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: Sequence[pytest.Item]) -> None:
        for item in items:
            for mark in item.iter_markers("tc"):
                for case_id in mark.args:
                    self.tests.setdefault(normalized(str(case_id)), []).append(item.nodeid)
                    if "partly" in mark.kwargs:
                        self.gaps.setdefault(normalized(str(case_id)), []).append(str(mark.kwargs["partly"]))

    def missing(self) -> dict[str, str]:
        """What is missing of each case that no test shows whole."""
        return {case_id: gaps[0] for case_id, gaps in self.gaps.items() if len(gaps) == len(self.tests[case_id])}


def normalized(case_id: str) -> str:
    """`TC_001` and `TC_001_CS` are the same case: the suffix only says that it is about the charging station."""
    return case_id.strip().upper().removesuffix("_CS")


def read_cases(path: Path = CASES) -> tuple[Case, ...]:
    """The cases of the list, in its order."""
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(Case(version=row["version"], profile=row["profile"], id=row["id"], name=row["name"]) for row in csv.DictReader(file))


def collect_marks(paths: Iterable[str] = ("tests",)) -> MarkCollector:
    """The marks of all tests. Raises RuntimeError when they cannot be collected: a list from half of them would be wrong."""
    collector = MarkCollector()
    said = io.StringIO()
    with redirect_stdout(said):
        code = pytest.main(
            ["--collect-only", "-qq", "-c", str(ROOT / "pyproject.toml"), "-p", "no:randomly", "-p", "no:cacheprovider", *paths],
            plugins=[collector],
        )
    if code != pytest.ExitCode.OK:
        msg = f"the tests could not be collected (pytest exit code {int(code)}):\n{said.getvalue()[-4000:]}"
        raise RuntimeError(msg)
    return collector


def unknown_ids(cases: Sequence[Case], tests: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Ids that tests carry and the list does not have: misspelt, or not a case of a charging station."""
    known = {normalized(case.id) for case in cases}
    return {case_id: where for case_id, where in sorted(tests.items()) if case_id not in known}


def report(
    cases: Sequence[Case], tests: Mapping[str, Sequence[str]], missing: Mapping[str, str] | None = None, *, verbose: bool = False
) -> str:
    """Covered and uncovered ids by version and profile, as text for a terminal. `missing`: what is missing of those shown in part."""
    missing = missing or {}
    lines: list[str] = []
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.version, re.sub(r" \[.*\]$", "", case.profile)), []).append(case)
    covered_in: dict[str, list[int]] = {}
    for (version, profile), members in groups.items():
        covered = [case for case in members if normalized(case.id) in tests]
        uncovered = [case for case in members if normalized(case.id) not in tests]
        total = covered_in.setdefault(version, [0, 0])
        total[0] += len(covered)
        total[1] += len(members)
        lines.append(f"\nOCPP {version}, {profile}: {len(covered)} of {len(members)}")
        for case in covered:
            gap = missing.get(normalized(case.id))
            lines.append(f"  {'covered' if gap is None else 'in part':10} {case.id:16} {case.name}" + ("" if gap is None else f": {gap}"))
            if verbose:
                lines += [f"{'':13}{where}" for where in tests[normalized(case.id)]]
        if verbose:
            lines += [f"  uncovered  {case.id:16} {case.name}" for case in uncovered]
        elif uncovered:
            lines += _wrapped("  uncovered  ", [case.id.removesuffix("_CS") for case in uncovered])
    lines.append("")
    for version, (covered, total) in covered_in.items():
        parts = sum(1 for case in cases if case.version == version and normalized(case.id) in missing)
        lines.append(f"OCPP {version}: {covered} of {total} cases have a test" + (f", {parts} of them in part" if parts else ""))
    return "\n".join(lines).lstrip("\n")


def _wrapped(head: str, words: Sequence[str], width: int = 120) -> list[str]:
    lines, line = [], head
    for word in words:
        if len(line) + len(word) + 1 > width:
            lines.append(line.rstrip())
            line = " " * len(head)
        line += word + " "
    return [*lines, line.rstrip()]


def main() -> int:
    """Print the list. Exit code 1 when a test carries an id that is not in it."""
    parser = argparse.ArgumentParser(description="certification cases: covered and uncovered")
    parser.add_argument("--verbose", action="store_true", help="with the tests of each case and the names of the uncovered ones")
    options = parser.parse_args()
    cases, marks = read_cases(), collect_marks([str(ROOT / "tests")])
    print(report(cases, marks.tests, marks.missing(), verbose=options.verbose))
    unknown = unknown_ids(cases, marks.tests)
    for case_id, where in unknown.items():
        print(f"{case_id} is not in certification.csv: {where[0]}", file=sys.stderr)
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
