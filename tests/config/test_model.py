"""The model is light, and cannot be changed once it is read."""

import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest

from agent.config.model import Cable, ConnectorConfig

HEAVY = {"asyncio", "pydantic", "logging", "ocpp", "websockets", "pymodbus", "serial", "PIL", "sqlite3", "ssl", "json"}


def test_reading_the_configuration_imports_nothing_heavy() -> None:
    code = "import agent.config.loader, sys; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-S", "-c", code], check=True, capture_output=True, text=True, timeout=60).stdout.split()
    assert HEAVY.isdisjoint(loaded)


def test_the_configuration_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        ConnectorConfig().cable = Cable.SOCKET  # type: ignore[misc]


@pytest.mark.parametrize(
    ("connector", "has_lock", "connector_type"),
    [
        (ConnectorConfig(), False, "cType2"),
        (ConnectorConfig(cable=Cable.SOCKET), True, "sType2"),
        (ConnectorConfig(cable=Cable.SOCKET, lock=False), False, "sType2"),
        (ConnectorConfig(type="cType1"), False, "cType1"),
    ],
)
def test_a_connector_completes_itself(connector: ConnectorConfig, has_lock: bool, connector_type: str) -> None:
    assert (connector.has_lock, connector.connector_type) == (has_lock, connector_type)
