"""What a clean clone must be: nothing of one machine in it, every package pinned, the papers at the same version."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import agent
from tests.test_import_rules import imports

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

BINARY = {".png", ".mo", ".otf", ".ttf", ".woff2", ".db", ".sqlite3"}
MACHINE_PATHS = re.compile(r"(?<![\w.{}-])/(?:work|root|home/\w+|Users/\w+|mnt|opt/\w+)/[\w.-]+")
"""Paths that exist on one machine only. An example of a path on a charger begins with /etc, /usr, /var, /run, /dev, /tmp or /data."""
HOSTS = re.compile(
    r"(?:--(?:extra-)?index-url|--find-links|index\.url|trusted-host|://[\w.-]*(?:artifactory|nexus|devpi|pypi-?proxy|registry)[\w.-]*)",
    re.IGNORECASE,
)
SECRETS = re.compile(r"-----BEGIN (?:\w+ )*PRIVATE KEY-----\n[A-Za-z0-9+/=]{40}")


def tracked() -> list[Path]:
    """The files that git knows; in an archive without git, everything that is not ignored."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode == 0:
        return [ROOT / name for name in done.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and not {".venv", "__pycache__"} & set(path.parts)]


def texts() -> list[tuple[Path, str]]:
    return [(path, path.read_text(encoding="utf-8")) for path in tracked() if path.suffix not in BINARY]


def pins() -> dict[str, Version]:
    found: dict[str, Version] = {}
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, equals, version = line.partition("==")
            assert equals, f"not pinned: {line}"
            assert canonicalize_name(name) not in found, f"twice: {line}"
            found[canonicalize_name(name)] = Version(version)
    return found


def requirements() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    return [Requirement(text) for text in [*PROJECT["dependencies"], *(text for extra in extras for text in extra)]]


@pytest.mark.parametrize(
    ("pattern", "example"),
    [
        (MACHINE_PATHS, "see " + "/ro" + "ot/notes.md"),
        (HOSTS, "https://" + "nexus.example.com/simple"),
        (SECRETS, "-----BEGIN PRIVATE" + " KEY-----\n" + "A" * 40),
    ],
    ids=["path of a machine", "registry host", "private key"],
)
def test_no_file_holds(pattern: re.Pattern[str], example: str) -> None:
    assert pattern.search(example), "the pattern finds what it is for"
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}" for path, text in texts() if path != Path(__file__) and (match := pattern.search(text))
    ]
    assert found == []


def test_every_text_file_ends_with_a_line_end_and_has_no_windows_line_ends() -> None:
    wrong = [path.relative_to(ROOT) for path, text in texts() if "\r" in text or (text and not text.endswith("\n"))]
    assert wrong == []


def test_no_large_file_is_tracked() -> None:
    assert [path.relative_to(ROOT) for path in tracked() if path.stat().st_size > 500_000] == []


def test_the_lock_pins_every_requirement_at_a_version_that_it_allows() -> None:
    locked = pins()
    wrong = [str(wanted) for wanted in requirements() if locked.get(canonicalize_name(wanted.name), Version("0")) not in wanted.specifier]
    assert wrong == []


def test_the_lock_pins_what_those_need_too() -> None:
    """Read from the metadata of what is installed, which `make setup` installed from the lock."""
    locked = pins()
    missing: set[str] = set()
    for distribution in distributions():
        if canonicalize_name(distribution.name) not in locked:
            continue
        for text in distribution.requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                name = canonicalize_name(needed.name)
                if name not in locked or locked[name] not in needed.specifier:
                    missing.add(f"{distribution.name} needs {needed}")
    assert missing == set()


def test_the_run_time_needs_no_pydantic() -> None:
    """docs/decisions/0001-configuration-without-pydantic.md."""
    assert "pydantic" not in pins()


def test_every_version_is_the_same() -> None:
    version = PROJECT["version"]
    assert agent.__version__ == version
    assert re.search(
        rf"^## \[{re.escape(version)}\] - (Unreleased|\d{{4}}-\d\d-\d\d)$",
        (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )


def test_the_licence_is_the_whole_apache_2_0() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License\n" in text
    assert "9. Accepting Warranty or Additional Liability" in text
    assert PROJECT["license"] == "Apache-2.0"


def test_every_dependency_has_its_reason() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    missing = [wanted.name for wanted in requirements() if f"| {wanted.name} |" not in page]
    assert missing == []


def test_every_script_and_entry_point_can_be_loaded() -> None:
    """They are names in a text file until somebody installs them."""
    from importlib.metadata import EntryPoint

    points = [EntryPoint(name, value, "console_scripts") for name, value in PROJECT["scripts"].items()]
    points += [EntryPoint(name, value, group) for group, entries in PROJECT["entry-points"].items() for name, value in entries.items()]
    for point in points:
        assert callable(point.load()), point


def test_every_line_of_the_makefile_help_names_a_target() -> None:
    done = subprocess.run(["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    named = {line.split()[1] for line in done.stdout.splitlines()}
    assert {"setup", "run", "test", "lint", "bench", "conformance"} <= named


def test_scripts_of_the_ci_are_executable_and_parse() -> None:
    for script in ("run", "install-browser"):
        path = ROOT / ".ci" / script
        assert path.stat().st_mode & 0o111, path
        subprocess.run(["bash", "-n", str(path)], check=True)


def test_every_directory_with_code_is_a_package() -> None:
    """One without `__init__.py` works in a checkout, and is missing in the wheel."""
    directories = {path.parent for path in tracked() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in {"agent", "simulator"}}
    assert [str(directory.relative_to(ROOT)) for directory in directories if not (directory / "__init__.py").is_file()] == []


def test_the_wheel_holds_every_file_of_the_packages(tmp_path: Path) -> None:
    """A template, a migration or a font that is forgotten shows only on the charger."""
    papers = {"pyproject.toml", "README.md", "LICENSE"}
    for path in tracked():
        inside = path.relative_to(ROOT)
        if inside.parts[0] in {"agent", "simulator"} | papers:
            (tmp_path / "source" / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, tmp_path / "source" / inside)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(tmp_path)]
    subprocess.run([*command, str(tmp_path / "source")], check=True, capture_output=True, timeout=110)
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    sources = {str(path.relative_to(ROOT)) for path in tracked() if path.relative_to(ROOT).parts[0] in {"agent", "simulator"}}
    not_needed = {name for name in sources if name.endswith((".po", ".pot", ".md"))}
    assert sources - not_needed - held == set()


@pytest.mark.parametrize("package", ["simulator", "tests"])
def test_what_is_imported_is_required(package: str) -> None:
    """What is installed here only because something else needs it may be missing elsewhere (of `agent`: tests/test_import_rules.py)."""
    declared = {canonicalize_name(wanted.name) for wanted in requirements()} | {"charger-agent"}
    homes = packages_distributions()
    missing: set[str] = set()
    for entry in imports(ROOT, package):
        top = entry.module.split(".")[0]
        is_tool = {"tools", "mutation"} & set(entry.file.parts)  # run by hand once in a while, and says itself what it needs
        if is_tool or top in sys.stdlib_module_names or top in {"agent", "simulator", "tests", "_pytest"}:
            continue
        if not {canonicalize_name(name) for name in homes.get(top, [])} & declared:
            missing.add(f"{top} ({entry.file.relative_to(ROOT)}:{entry.line})")
    assert missing == set()
