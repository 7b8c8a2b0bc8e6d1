"""Writing configuration files into a directory of the test."""

from pathlib import Path

import pytest

from tests.config.files import Write


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write config.toml, and by keyword files of config.d; gives the path of the first."""

    def write(main: str | bytes, **further: str) -> Path:
        path = tmp_path / "config.toml"
        path.write_bytes(main.encode() if isinstance(main, str) else main)
        for name, text in further.items():
            (tmp_path / "config.d").mkdir(exist_ok=True)
            (tmp_path / "config.d" / f"{name}.toml").write_text(text, encoding="utf-8")
        return path

    return write
