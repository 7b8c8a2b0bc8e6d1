"""Frames over a real connection: hostile ones, crossing calls, lost answers."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from simulator.portal.errors import BadAnswerError, CommandRefusedError, CommandTimeoutError, LinkLostError, LocalProtocolError
from tests.portal.rig import public_charger, running_portal
from tests.portal.station import CallErrorReceived


@pytest.mark.parametrize(
    ("version", "action", "payload", "code"),
    [
        ("1.6", "Fly", {}, "NotImplemented"),
        ("1.6", "TransactionEvent", {}, "NotImplemented"),
        ("1.6", "Reset", {"type": "Soft"}, "NotSupported"),
        ("1.6", "Authorize", {}, "OccurenceConstraintViolation"),
        ("1.6", "Authorize", {"idTag": 5}, "TypeConstraintViolation"),
        ("1.6", "Authorize", {"idTag": "A", "x": 1}, "FormationViolation"),
        ("2.0.1", "Authorize", {}, "OccurrenceConstraintViolation"),
        ("2.0.1", "Reset", {"type": "Immediate"}, "NotSupported"),
        ("2.0.1", "fly", {}, "NotImplemented"),
        (
            "1.6",
            "StartTransaction",
            {"connectorId": 1, "idTag": "A", "meterStart": 10**18, "timestamp": "2026-01-01T10:00:00Z"},
            "PropertyConstraintViolation",
        ),
        (
            "1.6",
            "StartTransaction",
            {"connectorId": 1, "idTag": "A", "meterStart": 1, "timestamp": "2026-02-30T10:00:00Z"},
            "PropertyConstraintViolation",
        ),
    ],
)
async def test_a_bad_call_gets_its_code_and_is_kept(tmp_path: Path, version: str, action: str, payload: dict[str, Any], code: str) -> None:
    async with running_portal(tmp_path / "db", expect=("refused_call",)) as portal, public_charger(portal, version) as station:
        with pytest.raises(CallErrorReceived) as error:
            await station.call(action, payload)
        assert error.value.code == code
        await station.call("Heartbeat", {})


HOSTILE = [
    "",
    "null",
    "{",
    "[2",
    '[2,"a"]',
    '[2,7,"Heartbeat",{}]',
    "[" * 100_000,
    '[2,"a","Heartbeat",{"x":' + "9" * 5000 + "}]",
    '[9,"a"]',
    '[3,"nobody",{}]',
]


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_hostile_frames_do_not_deafen_the_portal(tmp_path: Path, version: str) -> None:
    expected = ("unreadable_frame", "unknown_message_type", "unexpected_answer", "binary_frame")
    async with running_portal(tmp_path / "db", expect=expected) as portal, public_charger(portal, version) as station:
        for frame in HOSTILE:
            await station.socket.send(frame)
        await station.socket.send(b"\x00\xff")
        assert "currentTime" in await station.call("Heartbeat", {})
        answers = {(frame[0], frame[1], frame[2]) for frame in station.errors}
        if version == "1.6":
            assert answers == {(4, "a", "FormationViolation")}
        else:
            assert answers == {(4, "-1", "RpcFrameworkError"), (4, "a", "RpcFrameworkError")}


async def test_calls_cross_and_ours_go_one_at_a_time(tmp_path: Path) -> None:
    async with running_portal(tmp_path / "db") as portal, public_charger(portal, "1.6") as station:
        station.answers["ClearCache"] = lambda payload: None
        station.answers["UnlockConnector"] = lambda payload: None
        first = asyncio.create_task(portal.clear_cache("CP001"))
        second = asyncio.create_task(portal.unlock("CP001", 1))
        await station.until(lambda: bool(station.payloads("ClearCache")))
        await station.call("Heartbeat", {})
        assert station.payloads("UnlockConnector") == []
        await answer_last(station, {"status": "Accepted"})
        assert await first
        await station.until(lambda: bool(station.payloads("UnlockConnector")))
        await answer_last(station, {"status": "Unlocked"})
        assert await second == "Unlocked"


async def answer_last(station: Any, payload: dict[str, Any]) -> None:
    await station.socket.send(json.dumps([3, station.message_ids[-1], payload]))


async def test_what_can_go_wrong_with_an_answer_is_told_apart(tmp_path: Path) -> None:
    async with running_portal(tmp_path / "db", expect=("bad_answer",), call_timeout_s=0.3) as portal:
        async with public_charger(portal, "1.6") as station:
            with pytest.raises(LocalProtocolError, match="no such action"):
                await portal.call("CP001", "TransactionEvent", {})
            with pytest.raises(LocalProtocolError, match="Reset"):
                await portal.call("CP001", "Reset", {"type": "Warm"})
            station.answers["ClearCache"] = {"status": "Perhaps"}
            with pytest.raises(BadAnswerError):
                await portal.clear_cache("CP001")
            station.answers["ClearCache"] = lambda payload: None
            with pytest.raises(CommandTimeoutError):
                await portal.clear_cache("CP001")
            call = asyncio.create_task(portal.clear_cache("CP001"))
            await station.until(lambda: len(station.payloads("ClearCache")) == 3)
            await station.socket.send(json.dumps([4, station.message_ids[-1], "NotSupported", "no cache", {}]))
            with pytest.raises(CommandRefusedError) as refused:
                await call
            assert refused.value.code == "NotSupported"
            call = asyncio.create_task(portal.clear_cache("CP001"))
            await station.until(lambda: len(station.payloads("ClearCache")) == 4)
        with pytest.raises(LinkLostError):
            await call
