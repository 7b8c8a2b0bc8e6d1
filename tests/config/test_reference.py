"""The reference page is the one that the model gives, and what it shows works."""

import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path

from agent.config.loader import load_config, options
from agent.config.model import Config
from agent.config.reference import EXAMPLE, page

ROOT = Path(__file__).parents[2]


def test_the_committed_page_is_the_generated_one() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == page(), "run `make docs`"


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    target = tmp_path / "configuration.md"
    subprocess.run([sys.executable, "-m", "agent.config.reference", str(target)], check=True, cwd=ROOT, timeout=60)
    assert target.read_text(encoding="utf-8") == page()


def test_the_example_on_the_page_is_good(tmp_path: Path) -> None:
    password = tmp_path / "ocpp-password"
    password.write_text("correct horse battery\n", encoding="utf-8")
    password.chmod(0o600)
    path = tmp_path / "config.toml"
    path.write_text(EXAMPLE.replace("/etc/charger-agent/ocpp-password", str(password)), encoding="utf-8")
    assert load_config(path).station.id == "CP001"


def test_every_key_has_a_sentence() -> None:
    def keys(model: type[object]) -> list[str]:
        bare = []
        for name, (kind, option, _) in options(model).items():
            inner = next((part for part in (kind, *getattr(kind, "__args__", ())) if isinstance(part, type) and is_dataclass(part)), None)
            if inner is not None:
                bare += keys(inner)
            elif not option.doc.endswith("."):
                bare.append(name)
        return bare

    assert keys(Config) == []
