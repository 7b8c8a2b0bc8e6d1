"""`make pains`: which pain of `pains.csv` has a test (`@pytest.mark.pain(17)`) that fails without its cure. Exit code 1: one has none."""

import csv
import io
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PAINS = Path(__file__).with_name("pains.csv")
ROOT = Path(__file__).parents[2]


@dataclass(slots=True)
class Collector:
    """A pytest plugin that notes which test carries which number."""

    tests: dict[int, list[str]] = field(default_factory=dict)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: Sequence[pytest.Item]) -> None:
        for item in items:
            for mark in item.iter_markers("pain"):
                for number in mark.args:
                    self.tests.setdefault(int(number), []).append(item.nodeid)


def collect() -> Collector:
    """Collect the marks of all tests. Raises RuntimeError where they cannot be collected."""
    found, said = Collector(), io.StringIO()
    with redirect_stdout(said):
        code = pytest.main(["--collect-only", "-q", "--rootdir", str(ROOT), str(ROOT / "tests")], plugins=[found])
    if code != pytest.ExitCode.OK:
        raise RuntimeError(said.getvalue())
    return found


def main() -> int:
    """Print the table."""
    found = collect()
    with PAINS.open(encoding="utf-8", newline="") as lines:
        pains = {int(row["id"]): (row["topic"], row["pain"]) for row in csv.DictReader(lines)}
    for number, (topic, pain) in pains.items():
        tests = found.tests.get(number, [])
        sys.stdout.write(f"{number:3} {topic:13} {pain}\n")
        for test in sorted({name.partition("[")[0] for name in tests})[:3]:
            sys.stdout.write(f"      {test}\n")
        if not tests:
            sys.stdout.write("      NO TEST\n")
    unknown = sorted(set(found.tests) - set(pains))
    missing = [number for number in pains if number not in found.tests]
    sys.stdout.write(
        f"\n{len(pains) - len(missing)} of {len(pains)} have a test; without: {missing or 'none'}; unknown numbers: {unknown or 'none'}\n"
    )
    return 1 if missing or unknown else 0


if __name__ == "__main__":
    sys.exit(main())
