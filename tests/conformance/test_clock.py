"""A session of a boot without a clock, over power cuts: the agent is a process of its own and really killed."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.csms import Kind, utc_of
from tests.conformance.laboratory import laboratory

CLOSE = timedelta(seconds=2)
PATIENCE_S = 120
"""For a machine that does other things as well; nothing here is about speed."""
OFFLINE = {
    "AuthCtrlr.OfflineTxForUnknownIdEnabled": "true",
    "OCPPCommCtrlr.MessageTimeout[Default]": "60",
    "OCPPCommCtrlr.RetryBackOffRepeatTimes": "0",
}


async def has_daemon(bench: Any) -> bool:
    return (await bench.control("sim.state"))["daemon_pid"] is not None


async def has_energy(bench: Any) -> bool:
    return float((await bench.evse())["meter"]["current_a"][0]) > 0


@pytest.mark.pain(22)
@pytest.mark.pain(25)
@pytest.mark.parametrize(
    ("version", "start", "wrong"), [("1.6", "StartTransaction", None), ("2.0.1", "TransactionEvent", timedelta(days=3))]
)
async def test_a_running_session_gets_its_times_and_keeps_them_over_a_power_cut(
    tmp_path: Path, version: str, start: str, wrong: timedelta | None
) -> None:
    """What began and ended in a boot without a clock, or with a wrong one, is billed with the times that it had.

    The second boot has no such clock and no network, and a car charges. The portal then tells the time and is silent to all else; the power
    goes; the third boot has no clock either.
    """
    async with laboratory(tmp_path, version, is_process=True, variables=OFFLINE) as bench:
        csms = bench.csms
        await bench.cut_power()
        await bench.control("clock.set", utc="unknown" if wrong is None else (bench.utc() + wrong).isoformat())
        await bench.control("network.down", mode="refuse")
        bench.boot_id = "boot-2"
        await bench.start_agent()
        await bench.until_async(lambda: has_daemon(bench), within=PATIENCE_S)
        await bench.plug_in()
        await asyncio.sleep(2)  # the meter is read
        begun = bench.utc()
        await bench.swipe()
        await bench.until_async(lambda: has_energy(bench), within=PATIENCE_S)
        charging = bench.utc()
        answers = csms.on[start]
        csms.on[start] = lambda _: csms.silent()
        csms.mark()
        await bench.control("network.up")
        tried = await csms.expect(start, within=PATIENCE_S)
        assert begun - CLOSE < utc_of(tried["timestamp"]) < charging + CLOSE, "known while it runs"
        await asyncio.sleep(6)  # the anchor of this boot rides with the next commit, 5 s later at most
        cut = bench.utc()
        await bench.cut_power()
        await bench.control("clock.set", utc="unknown" if wrong is None else (bench.utc() + wrong).isoformat())
        csms.on[start] = answers
        csms.mark()
        bench.boot_id = "boot-3"
        await bench.start_agent()
        first = await csms.expect(start, within=PATIENCE_S)
        assert first["timestamp"] == tried["timestamp"], "what was sent is sent again"
        if version == "1.6":
            ended = await csms.expect("StopTransaction", within=PATIENCE_S)
        else:
            ended = await csms.expect("TransactionEvent", eventType="Ended", within=PATIENCE_S)
        assert begun - CLOSE < utc_of(ended["timestamp"]) <= cut + timedelta(seconds=1)
        assert max(utc_of(frame["timestamp"]) for frame in csms.calls(start)) <= bench.utc()
        moments = [
            utc_of(frame["timestamp"])
            for frame in csms.frames
            if frame.kind is Kind.CALL and frame.is_of_station and isinstance(frame.payload, dict) and "timestamp" in frame.payload
        ]
        assert min(moments) > csms.began - CLOSE, "no 1970"
