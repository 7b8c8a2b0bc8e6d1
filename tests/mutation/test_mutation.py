"""The mutation tool makes the changes it says, patches the function that was changed, and leaves out what it says."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.mutation import session
from tests.mutation.mutants import ROOT

SOURCE = """
LIMIT = 3

def outer(value: int) -> int:
    def inner(other: int) -> int:
        return other + LIMIT
    return inner(value)

class Thing:
    size = 4

    def grow(self) -> int:
        return self.size + 1
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "module.py"
    path.write_text(SOURCE)
    return str(path)


@pytest.mark.parametrize(
    ("before", "after", "names"),
    [
        ("other + LIMIT", "other - LIMIT", {"outer"}),
        ("self.size + 1", "self.size + 2", {"grow"}),
        ("return inner(value)", "return value", {"outer"}),
    ],
)
def test_a_change_within_a_function_is_a_patch_of_that_function(file: str, before: str, after: str, names: set[str]) -> None:
    changed = session.changes(file, SOURCE.replace(before, after))
    assert changed is not None
    assert {name for _, _, name in changed} == names


@pytest.mark.parametrize(("before", "after"), [("LIMIT = 3", "LIMIT = 4"), ("size = 4", "size = 5"), ("class Thing", "class Other")])
def test_a_change_outside_of_functions_needs_a_process_of_its_own(file: str, before: str, after: str) -> None:
    assert session.changes(file, SOURCE.replace(before, after)) is None


def test_a_planted_source_is_imported_instead_of_the_file(tmp_path: Path) -> None:
    source = tmp_path / "planted.py"
    source.write_text((ROOT / "agent/core/tariff.py").read_text(encoding="utf-8") + "\nPLANTED = 1\n")
    environment = {
        "PYTHONPATH": str(ROOT),
        "MUTANT_FILE": str(ROOT / "agent/core/tariff.py"),
        "MUTANT_SOURCE": str(source),
        "MUTANT_MODULE": "agent.core.tariff",
    }
    script = "import tests.mutation.planted, agent.core.tariff as tariff; print(tariff.PLANTED)"
    printed = subprocess.run([sys.executable, "-c", script], env=environment, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed == "1\n"


def test_mutants_are_made_and_left_out_by_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where cosmic-ray is installed, as `make mutation` does."""
    pytest.importorskip("cosmic_ray", reason="make mutation installs it")
    from tests.mutation import mutants

    path = tmp_path / "module.py"
    path.write_text("def f(a: int | None, kind: object) -> int:\n    if kind is a:\n        log.info(a)\n    return a + 1\n")
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    left_out: Counter[str] = Counter()
    module = mutants._Module(path, left_out)
    made = [mutant for place in module.places if (mutant := module.mutant(place)) is not None]
    changes = {(mutant.line, mutant.after.strip()) for mutant in made}
    assert {(2, "if kind is not a:"), (4, "return a - 1"), (4, "return a + 2")} <= changes
    assert not {line for line, _ in changes} & {1, 3}
    assert left_out["type"]
    assert left_out["identity"]
    assert left_out["log"]
