"""A session of a boot without a clock, over power cuts: the agent is a process of its own and really killed."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.csms import Kind, utc_of
from tests.conformance.laboratory import laboratory

CLOSE = timedelta(seconds=2)
OFFLINE = {
    "AuthCtrlr.OfflineTxForUnknownIdEnabled": "true",
    "OCPPCommCtrlr.MessageTimeout[Default]": "60",
    "OCPPCommCtrlr.RetryBackOffRepeatTimes": "0",
}


async def has_daemon(bench: Any) -> bool:
    return (await bench.control("sim.state"))["daemon_pid"] is not None


@pytest.mark.pain(22)
@pytest.mark.pain(25)
@pytest.mark.parametrize(("version", "start"), [("1.6", "StartTransaction"), ("2.0.1", "TransactionEvent")])
async def test_a_running_session_gets_its_times_and_keeps_them_over_a_power_cut(tmp_path: Path, version: str, start: str) -> None:
    """What began and ended in a boot without a clock is billed with the times that it had.

    The second boot has no clock and no network, and a car charges. The portal then tells the time and is silent to all else; the power
    goes; the third boot has no clock either.
    """
    async with laboratory(tmp_path, version, is_process=True, variables=OFFLINE) as bench:
        csms = bench.csms
        await bench.cut_power()
        await bench.control("clock.set", utc="unknown")
        await bench.control("network.down", mode="refuse")
        bench.boot_id = "boot-2"
        await bench.start_agent()
        await bench.until_async(lambda: has_daemon(bench))
        await bench.plug_in()
        await asyncio.sleep(2)  # the meter is read
        await bench.swipe()
        begun = bench.utc()
        await bench.energy_flows()
        answers = csms.on[start]
        csms.on[start] = lambda _: csms.silent()
        csms.mark()
        await bench.control("network.up")
        tried = await csms.expect(start)
        assert abs(utc_of(tried["timestamp"]) - begun) < CLOSE + CLOSE, "known while it runs"
        await asyncio.sleep(6)  # the anchor of this boot rides with the next commit, 5 s later at most
        cut = bench.utc()
        await bench.cut_power()
        await bench.control("clock.set", utc="unknown")
        csms.on[start] = answers
        csms.mark()
        bench.boot_id = "boot-3"
        await bench.start_agent()
        first = await csms.expect(start)
        assert first["timestamp"] == tried["timestamp"], "what was sent is sent again"
        if version == "1.6":
            ended = await csms.expect("StopTransaction")
        else:
            ended = await csms.expect("TransactionEvent", eventType="Ended")
        assert begun < utc_of(ended["timestamp"]) <= cut + timedelta(seconds=1)
        moments = [
            utc_of(frame["timestamp"])
            for frame in csms.frames
            if frame.kind is Kind.CALL and frame.is_of_station and isinstance(frame.payload, dict) and "timestamp" in frame.payload
        ]
        assert min(moments) > csms.began - CLOSE, "no 1970"
