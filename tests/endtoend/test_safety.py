"""A daemon that stands still, is told to leave, or cannot begin: the contactor opens, the books stay right, and the sentence says why."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.endtoend.conftest import Template
from tests.endtoend.prepared import running
from tests.endtoend.rig import ROOT, Charger, Lag

GONE_WITHIN_S = 5.0
OPEN_WITHIN_S = 1.0
POLL_S = 0.1
"""What this test's own looking may add."""


def is_open(evse: dict[str, object]) -> bool:
    return not evse["contactor"]["is_closed"]  # type: ignore[index]


async def assert_opens_within(charger: Charger, limit_s: float) -> None:
    """Wait until the world says that the contactor is open."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with Lag() as lag:
        await charger.world_becomes(is_open, "the contactor is open")
    assert loop.time() - begun < limit_s + POLL_S + 2 * lag.worst_s


async def assert_leaves(charger: Charger, number: int) -> None:
    """Send a signal: in order, and in time."""
    async with Lag() as lag:
        code, seconds = await charger.end_daemon(number)
    assert code == 0, charger.log_tail()
    assert seconds < GONE_WITHIN_S + 2 * lag.worst_s


async def test_a_daemon_that_stands_still_loses_its_contactor_within_a_second(template: Template, tmp_path: Path) -> None:
    """SIGSTOP: neither engine nor guard can act, so only the hardware's own expiry is left. Afterwards the session goes on."""
    async with running(await template("2.0.1"), tmp_path / "c") as charger:
        before = await charger.register()
        key = await charger.session()
        assert charger.daemon is not None
        charger.daemon.send_signal(signal.SIGSTOP)
        await assert_opens_within(charger, OPEN_WITHIN_S)
        at_rest = await charger.register()
        await asyncio.sleep(1)
        assert await charger.register() == at_rest, "and it stays open"
        charger.daemon.send_signal(signal.SIGCONT)
        await charger.charge()
        await charger.finish(key)
        assert await charger.differences(before, key) == []


@pytest.mark.parametrize(("version", "number"), [("1.6", signal.SIGTERM), ("2.0.1", signal.SIGTERM), ("2.0.1", signal.SIGINT)])
async def test_a_daemon_that_is_told_to_leave_stops_the_car_first_and_leaves_the_transaction_on_disk(
    template: Template, tmp_path: Path, version: str, number: int
) -> None:
    async with running(await template(version), tmp_path / "c", version=version) as charger:
        before = await charger.register()
        key = await charger.session()
        await charger.charge(10)
        await assert_leaves(charger, number)
        evse = await charger.world_evse()
        assert is_open(evse)
        assert evse["contactor"]["hot_openings"] == 0, "the car had stopped drawing first"
        assert evse["pilot"]["signal"] == "X1"
        (record,) = charger.on_disk().transactions
        assert record.ended_at is None
        await charger.start_daemon()
        await charger.settled(key)
        await charger.unplug()
        await charger.watch(charger.is_free, "the EVSE is free again")
        assert await charger.differences(before, key) == []
        assert charger.portal.books()[0].stop_reason == "Reboot"


@pytest.mark.parametrize("mode", ["close", "blackhole"])
async def test_leaving_does_not_wait_for_the_network(template: Template, tmp_path: Path, mode: str) -> None:
    async with running(await template("2.0.1"), tmp_path / "c") as charger:
        before = await charger.register()
        key = await charger.session()
        await charger.control("network.down", mode=mode)
        await charger.charge()
        await assert_leaves(charger, signal.SIGTERM)
        await charger.control("network.up")
        await charger.start_daemon()
        await charger.settled(key)
        await charger.unplug()
        await charger.watch(charger.is_free, "the EVSE is free again")
        assert await charger.differences(before, key) == []


@pytest.mark.parametrize(("what", "code"), [("resolver", 0), ("serial", 1)])
async def test_leaving_waits_for_nothing_that_hangs(template: Template, tmp_path: Path, what: str, code: int) -> None:
    """A thread in the C library cannot be interrupted, and neither can a driver in the kernel; the process ends all the same."""
    async with running(await template("2.0.1"), tmp_path / "c", starts=False) as charger:
        await charger.start_daemon("tests.endtoend.hanging_daemon", "--what", what)
        await charger.watch(lambda: charger.holds("meter"), "the meter was read")
        async with Lag() as lag:
            ended, seconds = await charger.end_daemon(signal.SIGTERM)
        assert ended == code, charger.log_tail()
        assert seconds < GONE_WITHIN_S + 2 * lag.worst_s
        assert is_open(await charger.world_evse())
        assert ("here is where everybody stands" in charger.log_text()) == (code == 1)


async def test_the_power_is_cut(template: Template, tmp_path: Path) -> None:
    """The world kills the daemon and drops the contactor in the same moment; the pilot offers nothing."""
    async with running(await template("1.6"), tmp_path / "c", version="1.6") as charger:
        before = await charger.register()
        key = await charger.session()
        await charger.control("power.cut")
        assert is_open(await charger.world_evse())
        assert charger.daemon is not None
        assert await charger.daemon.wait() == -signal.SIGKILL
        await charger.start_daemon()
        await charger.settled(key)
        await charger.unplug()
        await charger.watch(charger.is_free, "the EVSE is free again")
        assert await charger.differences(before, key) == []


async def test_a_second_daemon_on_the_same_store_is_refused(template: Template, tmp_path: Path) -> None:
    async with running(await template("2.0.1"), tmp_path / "c") as charger:
        other = tmp_path / "other.toml"
        text = charger.config.read_text(encoding="utf-8").replace(str(charger.diagnostics_socket), str(tmp_path / "other.sock"))
        other.write_text(text, encoding="utf-8")
        result = await asyncio.to_thread(daemon, "--config", str(other))
        assert result.returncode == 1, result.stderr
        assert "is in use by another charger-agent" in result.stderr
        assert str(charger.state) in result.stderr
        assert "Traceback" not in result.stderr
        assert charger.daemon is not None
        assert charger.daemon.returncode is None
        await charger.watch(charger.is_free, "the first one is well")


# ------------------------------------------------------------------------------------------------------------ what cannot begin


def daemon(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "agent", *arguments], capture_output=True, text=True, timeout=30, check=False, cwd=ROOT)


def config(tmp_path: Path, text: str) -> str:
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def good(tmp_path: Path, hal: str = "") -> str:
    return f"""[station]
id = "CP001"
serial_number = "SN-0001"
uid = "7F3K-22QX"
vendor = "Example"
model = "AC22"
country = "NO"
region = "Viken"
lab = true
[ocpp]
url = "ws://127.0.0.1:9/"
versions = ["1.6"]
security_profile = 0
[store]
directory = "{tmp_path / "state"}"
[diagnostics]
socket = "{tmp_path / "diag.sock"}"
[hal]
driver = "simulator"
[hal.options]
{hal}
[[evse]]
id = 1
max_current_a = 32
phases = 3
"""


def test_a_good_configuration_is_checked_and_nothing_is_touched(tmp_path: Path) -> None:
    result = daemon("--check", "--config", config(tmp_path, good(tmp_path)))
    assert (result.returncode, result.stderr) == (0, "")
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("option", [("--check",), ()])
def test_every_mistake_of_a_configuration_is_listed_at_once(tmp_path: Path, option: tuple[str, ...]) -> None:
    text = (
        good(tmp_path)
        .replace("max_current_a = 32", "max_current_a = 3200")
        .replace('country = "NO"', 'country = "Norway"')
        .replace("security_profile = 0", "security_profile = 7")
        .replace('model = "AC22"', 'model = "AC22"\nmodle = "AC22"')
    )
    path = config(tmp_path, text)
    result = daemon(*option, "--config", path)
    assert result.returncode == 2
    for key, value in (("max_current_a", "3200"), ("country", "Norway"), ("security_profile", "7"), ("modle", "")):
        line = next((line for line in result.stderr.splitlines() if f".{key}" in line), None)
        assert line is not None, result.stderr
        assert value in line
        assert path in result.stderr
    assert not (tmp_path / "state").exists()


def test_a_configuration_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    result = daemon("--config", str(tmp_path / "nowhere.toml"))
    assert result.returncode == 2
    assert str(tmp_path / "nowhere.toml") in result.stderr


def test_hardware_that_cannot_be_reached_ends_the_start_with_a_sentence(tmp_path: Path) -> None:
    world = tmp_path / "world.sock"
    result = daemon("--config", config(tmp_path, good(tmp_path, f'world = "{world}"')))
    assert result.returncode == 1
    assert f"{world}: no world process answers there; start `charger-sim world --socket {world}`" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_driver_that_is_not_installed_is_a_configuration_error(tmp_path: Path) -> None:
    result = daemon("--check", "--config", config(tmp_path, good(tmp_path).replace('driver = "simulator"', 'driver = "warp"')))
    assert result.returncode == 2
    assert "warp" in result.stderr
    assert "simulator" in result.stderr
