"""What the parts say about the configuration, through the command that a packager runs: `charger-agent --check`."""

from pathlib import Path

import pytest

from agent.__main__ import main

CONFIG = """[station]
id = "CP001"
serial_number = "SN-0001"
vendor = "Example"
model = "AC22"
country = "NO"
lab = true
[ocpp]
url = "ws://127.0.0.1:9000/"
versions = ["1.6"]
security_profile = 0
[hal]
driver = "simulator"
[[evse]]
id = 1
max_current_a = 32
phases = 3
[[evse.connector]]
cable = "{cable}"
[variables]
{variable} = "{value}"
"""


@pytest.mark.parametrize(
    ("cable", "variable", "value", "complaint"),
    [
        ("socket", "UnlockConnectorOnEVSideDisconnect", "false", ""),
        ("tethered", "UnlockConnectorOnEVSideDisconnect", "true", "UnlockConnectorOnEVSideDisconnect is read-only"),
        ("tethered", "NumberOfConnectors", "2", "NumberOfConnectors is read-only"),
        ("tethered", "HeartbeatInterval", "often", "HeartbeatInterval"),
        ("tethered", "HeartbeatInterval", "60", ""),
    ],
)
def test_first_values_are_judged_by_the_station_that_the_file_describes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cable: str, variable: str, value: str, complaint: str
) -> None:
    """1.6: UnlockConnectorOnEVSideDisconnect is read-only with a fixed cable, and the operator's choice with a socket-outlet."""
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.format(cable=cable, variable=variable, value=value), encoding="utf-8")
    assert main(["--config", str(path), "--check"]) == (2 if complaint else 0)
    assert complaint in capsys.readouterr().err
