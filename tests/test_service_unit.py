"""The unit, its user and its directories say what the agent relies on, and systemd agrees where it is installed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent.config.loader import options
from agent.config.model import DiagnosticsConfig, StoreConfig

SYSTEMD = Path(__file__).parents[1] / "systemd"
UNIT = SYSTEMD / "charger-agent.service"

needs_systemd_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed here")


def directives() -> dict[str, list[str]]:
    """`Section.Key` with its values in order; a plain reader, so that the unit is checked without systemd too."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals, line
            assert re.fullmatch(r"[A-Za-z]+", key), line
            found.setdefault(f"{section}.{key}", []).append(value)
    return found


HARDENING = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateMounts": "yes",
    "ProtectControlGroups": "yes",
    "ProtectHostname": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectProc": "invisible",
    "DevicePolicy": "closed",
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
    "MemoryDenyWriteExecute": "yes",
    "RemoveIPC": "yes",
    "KeyringMode": "private",
    "SystemCallArchitectures": "native",
    "UMask": "0077",
}


@pytest.mark.parametrize(("key", "value"), HARDENING.items())
def test_a_protection_is_on(key: str, value: str) -> None:
    assert directives()[f"Service.{key}"] == [value]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Unit.StartLimitIntervalSec", "0"),
        ("Service.Type", "notify"),
        ("Service.NotifyAccess", "main"),
        ("Service.ExecStart", "/usr/bin/charger-agent --config /etc/charger-agent/config.toml"),
        ("Service.User", "charger-agent"),
        ("Service.Restart", "always"),
        ("Service.RestartPreventExitStatus", "2"),
        ("Service.WatchdogSec", "30"),
        ("Install.WantedBy", "multi-user.target"),
    ],
)
def test_the_service_is_kept_alive(key: str, value: str) -> None:
    assert directives()[key] == [value]


def test_a_charger_does_not_wait_for_the_network() -> None:
    assert not any("network" in value for key in ("Unit.After", "Unit.Wants", "Unit.Requires") for value in directives().get(key, []))


def test_the_boot_id_stays_readable() -> None:
    """With ProcSubset=pid there is no /proc/sys, and a power cut could not be told from a crash."""
    assert "Service.ProcSubset" not in directives()


def test_the_kernel_may_be_asked_about_its_clock_and_not_told() -> None:
    """With ProtectClock, or without the calls, every clock would be `rtc` for ever, however well a time service kept it."""
    unit = directives()
    assert "Service.ProtectClock" not in unit
    assert unit["Service.SystemCallFilter"][-1].split() == ["adjtimex", "clock_adjtime", "clock_adjtime64"]
    assert unit["Service.CapabilityBoundingSet"] == unit["Service.AmbientCapabilities"] == [""], "no CAP_SYS_TIME: they only read"


def test_the_directories_are_those_of_the_default_configuration() -> None:
    unit = directives()
    socket = options(DiagnosticsConfig)["socket"][2].default
    assert Path(f"/run/{unit['Service.RuntimeDirectory'][0]}") == Path(str(socket)).parent
    assert Path(f"/var/lib/{unit['Service.StateDirectory'][0]}") == Path(str(options(StoreConfig)["directory"][2].default))
    made = {
        line.split()[1] for line in (SYSTEMD / "charger-agent.tmpfiles").read_text(encoding="utf-8").splitlines() if line.startswith("d ")
    }
    assert made == {"/run/charger-agent", "/var/lib/charger-agent", "/etc/charger-agent", "/etc/charger-agent/config.d"}


def test_every_group_of_the_unit_is_made() -> None:
    """A supplementary group that does not exist keeps the unit from starting at all (Debian has no group gpio)."""
    lines = (SYSTEMD / "charger-agent.sysusers").read_text(encoding="utf-8").splitlines()
    made = {line.split()[1] for line in lines if line.startswith(("g ", "u "))}
    unit = directives()
    assert {*unit["Service.SupplementaryGroups"][0].split(), *unit["Service.Group"], *unit["Service.User"]} <= made


@needs_systemd_analyze
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text(encoding="utf-8").replace("/usr/bin/charger-agent", sys.executable), encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False, timeout=60)
    assert UNIT.name not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr


@needs_systemd_analyze
def test_systemd_calls_the_exposure_low(tmp_path: Path) -> None:
    """`systemd-analyze security` goes from 0 (none) to 10; `--threshold` is in tenths."""
    command = ["systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=20", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr
