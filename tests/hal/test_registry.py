"""Drivers are found by entry point, and a wrong name or option is answered with what is allowed."""

import importlib.metadata
import sys
from pathlib import Path

import pytest

from agent.domain.errors import HalError
from agent.domain.ids import EvseId
from agent.hal.api import EvseSetup, HalSetup
from agent.hal.registry import GROUP, installed, open_driver

SETUP = HalSetup(evses=(EvseSetup(evse_id=EvseId(1), max_current_a=32, phases=3, has_lock=False),), options={})


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place where packages are installed, first on the path."""
    info = tmp_path / "acme_charger-1.0.dist-info"
    info.mkdir()
    info.joinpath("entry_points.txt").write_text(
        "[console_scripts]\nacme = acme:main\n\n[charger_agent.hal]\n# ours\n"
        "acme = agent.hal._blueprint:BlueprintDriver\nbroken = no_such_module:Driver\nempty=agent.hal._blueprint:Nothing [extra]\n"
        "odd = agent.hal._blueprint:OPTIONS\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_drivers_of_installed_packages_are_found(site: Path) -> None:
    assert installed()["acme"] == "agent.hal._blueprint:BlueprintDriver"
    assert "acme" not in installed([])


def test_reads_what_importlib_metadata_reads() -> None:
    """The short way and the standard library's way see the same drivers."""
    theirs = {point.name: point.value for point in importlib.metadata.entry_points(group=GROUP)}
    assert installed(sys.path) == theirs


def test_the_driver_is_made_with_its_setup(site: Path) -> None:
    assert type(open_driver("acme", SETUP)).__name__ == "BlueprintDriver"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("acne", r"driver 'acne' is not installed; installed are: acme, broken, empty, odd"),
        ("broken", r"entry point 'no_such_module:Driver' cannot be loaded: No module named 'no_such_module'"),
        ("empty", r"entry point 'agent.hal._blueprint:Nothing' cannot be loaded"),
        ("odd", r"is not callable; it must take a HalSetup"),
    ],
)
def test_what_cannot_be_opened_is_explained(site: Path, name: str, sentence: str) -> None:
    with pytest.raises(HalError, match=sentence):
        open_driver(name, SETUP)


def test_a_wrong_option_is_explained(site: Path) -> None:
    setup = HalSetup(evses=SETUP.evses, options={"speed": 3})
    with pytest.raises(HalError, match=r"\[hal\] driver 'acme': unknown option speed; known are port"):
        open_driver("acme", setup)
