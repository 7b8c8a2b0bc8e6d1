"""The power goes while a car charges: the agent is a process of its own and really killed, the world lives on with an open contactor."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from tests.conformance.csms import sampled, utc_of
from tests.conformance.laboratory import laboratory

VERSIONS = ("1.6", "2.0.1")


async def register(bench: object) -> int:
    evse = await bench.evse()  # type: ignore[attr-defined]
    return int(Decimal(evse["meter"]["energy_uwh"]).scaleb(-6))


@pytest.mark.parametrize(
    ("is_orderly", "next_boot", "reason"),
    [
        pytest.param(False, "boot-2", "PowerLoss", marks=pytest.mark.tc("TC_032_2_CS")),
        pytest.param(True, "boot-2", "PowerLoss", marks=pytest.mark.tc("TC_032_1_CS", partly="told after the boot, not before going down")),
        pytest.param(False, "boot-1", "Reboot"),
    ],
    ids=["no back-up power", "back-up power", "only the process"],
)
async def test_power_lost_in_a_transaction(tmp_path: Path, is_orderly: bool, next_boot: str, reason: str) -> None:
    """After the boot: BootNotification, statuses, and StopTransaction with the register that the meter still shows.

    TC_032_2 is shown as it is written: SIGKILL, a new boot of the kernel. TC_032_1 is shown in part: a supply with back-up power tells the
    system to shut down, systemd sends SIGTERM, and the contactor opens; but the StopTransaction is sent after the boot and not before going
    down, because SIGTERM never waits for the network and leaves the transaction open on disk. Both give the CSMS the same message once.
    """
    async with laboratory(tmp_path, "1.6", is_process=True) as bench:
        csms = bench.csms
        number = await bench.charge()
        cut_at = bench.utc()
        if is_orderly:
            await bench.stop_agent()
        else:
            await bench.cut_power()
        assert await bench.is_open()
        assert not csms.calls("StopTransaction")
        stands_at = await register(bench)
        bench.boot_id = next_boot
        await bench.start_agent()
        boot = await csms.expect("BootNotification")
        stop = await csms.expect("StopTransaction", transactionId=number, reason=reason)
        await csms.status("Finishing")
        assert not csms.calls("StatusNotification", status="Charging")
        assert boot.number < stop.number
        assert stop["meterStop"] == stands_at
        assert utc_of(stop["timestamp"]) <= bench.utc()
        assert (utc_of(stop["timestamp"]) - cut_at).total_seconds() < 2, "it ended when the power went, not when it came back"
        await bench.stop_agent()
        assert len(csms.calls("StopTransaction")) == 1


async def test_power_lost_in_a_transaction_2_0_1(tmp_path: Path) -> None:
    """Ended with PowerLoss and AbnormalCondition, the next seqNo, the register that the meter still shows; the boot says PowerUp."""
    async with laboratory(tmp_path, "2.0.1", is_process=True) as bench:
        csms = bench.csms
        transaction_id = await bench.charge()
        await bench.cut_power()
        stands_at = await register(bench)
        bench.boot_id = "boot-2"
        await bench.start_agent()
        await csms.expect("BootNotification", reason="PowerUp")
        ended = await csms.expect("TransactionEvent", eventType="Ended", triggerReason="AbnormalCondition")
        assert ended["transactionInfo"]["transactionId"] == transaction_id
        assert ended["transactionInfo"]["stoppedReason"] == "PowerLoss"
        assert sampled(ended)[-1] == ("Transaction.End", stands_at)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_reset_executes_the_process_anew(tmp_path: Path, version: str) -> None:
    """The same process id, a new BootNotification, and the transaction ended by the reset and told once."""
    async with laboratory(tmp_path, version, is_process=True) as bench:
        bench.boot_id = None
        csms = bench.csms
        await bench.charge()
        pid = bench.process.pid
        kind = "Hard" if version == "1.6" else "Immediate"
        assert (await csms.call("Reset", {"type": kind}))["status"] == "Accepted"
        boot = await csms.expect("BootNotification")
        if version == "1.6":
            await csms.expect("StopTransaction", reason="HardReset")
            await csms.expect("StatusNotification", connectorId=1, after=boot.number)
        else:
            assert boot["reason"] == "RemoteReset"
            ended = await csms.expect("TransactionEvent", eventType="Ended", triggerReason="ResetCommand")
            assert ended["transactionInfo"]["stoppedReason"] == "ImmediateReset"
            await csms.status("Occupied")
        state = await bench.control("sim.state")
        assert state["daemon_pid"] == pid, json.dumps(state)
        assert await bench.is_open()
