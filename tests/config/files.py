"""Configuration files for tests: the minimal one of the contract with test rigs, and what a wrong one is reported as."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from agent.config.loader import ConfigError, Mistake, Validator, load_config

CONTRACT = """
[station]
id = "CP001"
serial_number = "SN-0001"
uid = "7F3K-22QX"
vendor = "Example"
model = "AC22"
country = "NO"
region = "Viken"
lab = true
[ocpp]
url = "ws://127.0.0.1:9000/"
versions = ["2.0.1", "1.6"]
security_profile = 0
[store]
directory = "/var/lib/charger-agent"
[diagnostics]
socket = "/run/charger-agent/diag.sock"
[hal]
driver = "simulator"
[hal.options]
control_socket = "/tmp/sim.sock"
[[evse]]
id = 1
max_current_a = 32
phases = 3
[evse.meter]
driver = "modbus"
template = "eastron-sdm630"
url = "tcp://127.0.0.1:5020?device=1"
[variables]
"SampledDataCtrlr.TxUpdatedInterval" = 60
HeartbeatInterval = 300
"""
"""The minimal configuration of the contract with test rigs."""

Write = Callable[..., Path]


def mistakes(path: Path, validators: Mapping[str, Validator] | None = None) -> tuple[Mistake, ...]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, validators or {})
    lines = str(caught.value).splitlines()
    assert lines == [str(mistake) for mistake in caught.value.mistakes]  # one line each, whatever the value holds
    return caught.value.mistakes


def only(path: Path, validators: Mapping[str, Validator] | None = None) -> Mistake:
    found = mistakes(path, validators)
    assert len(found) == 1, [str(mistake) for mistake in found]
    return found[0]


def changed(old: str, new: str) -> str:
    assert CONTRACT.count(old) == 1, old
    return CONTRACT.replace(old, new)
