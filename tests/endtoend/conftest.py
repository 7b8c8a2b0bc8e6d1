"""The prepared chargers, one for each version of OCPP and each worker."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.endtoend.prepared import prepare

Template = Callable[[str], Awaitable[Path]]


@pytest.fixture(scope="session")
def made() -> dict[str, Path]:
    """Directories that were prepared by earlier tests of this worker."""
    return {}


@pytest.fixture
def template(made: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Template:
    """Give the directory of a prepared charger; made at the first call."""

    async def get(version: str) -> Path:
        if version not in made:
            made[version] = await prepare(tmp_path_factory.mktemp("t") / "t", version)
        return made[version]

    return get
