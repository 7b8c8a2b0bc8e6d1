"""The wall clock jumps at any moment: no decision, no duration, no cost and no order changes by it. From the core to the wire."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core import variables as var
from agent.domain.ids import EvseId
from agent.domain.notices import TransactionNotice
from agent.domain.outbox import OutboxRow
from agent.domain.pilot import PilotState
from agent.domain.time import Instant, parse_wire_time
from agent.ocpp_client.v16.adapter import V16Adapter
from agent.ocpp_client.v201.adapter import V201Adapter
from tests.core.rig import EVSE1, PRICED, START, Rig
from tests.core.test_properties import ACTIONS, SESSION, act
from tests.ocpp_client.official import valid_request
from tests.ocpp_client.peers import Csms, until
from tests.ocpp_client.rig import Station
from tests.ocpp_client.samples import DEFINITIONS, Clock

OFFLINE = {var.OFFLINE_UNKNOWN_ID: "true", var.TX_UPDATED_INTERVAL: "5"}
JUMPS = st.one_of(
    st.none(),
    st.integers(-40 * 365 * 86_400, 40 * 365 * 86_400),
    st.sampled_from((-86_400, -3_600, -2, -1, 1, 2, 3_600, 86_400)),
)
"""Seconds by which the clock is wrong from then on; None: it does not know."""
STEPS = st.lists(st.one_of(ACTIONS, st.tuples(st.just("jump"), JUMPS)), max_size=40)


def jump(rig: Rig, wrong_s: int | None) -> None:
    """The clock is set; monotonic time goes on."""
    true = START + timedelta(milliseconds=rig.at.mono_ms - rig.first_ms)
    rig.at = replace(rig.at, utc=None if wrong_s is None else true + timedelta(seconds=wrong_s))


def without_utc(things: Sequence[object]) -> list[str]:
    """What was done, said and written, but for the wall time."""
    return [re.sub(r"utc=(None|datetime\.datetime\([^()]*\))", "utc", repr(thing)) for thing in things]


def instants(notice: TransactionNotice) -> list[Instant]:
    return [notice.at, *(value.at for value in notice.meter_values)]


@pytest.mark.pain(25)
@settings(max_examples=150, deadline=None)
@given(steps=STEPS, first=JUMPS)
def test_a_jump_changes_nothing_but_the_time_of_day(steps: list[tuple[str, Any]], first: int | None) -> None:
    """Two stations live through the same, one with a clock that jumps: every effect is the same, moment for moment."""
    steady, jumping = Rig(values=PRICED | OFFLINE), Rig(values=PRICED | OFFLINE)
    jump(jumping, first)
    for step in (*SESSION, *steps):
        if step[0] == "jump":
            jump(jumping, step[1])
        else:
            act(steady, step)
            act(jumping, step)
    assert without_utc(jumping.effects) == without_utc(steady.effects)
    begun: dict[str, Instant] = {}
    for notice in jumping.notices():
        start = begun.setdefault(notice.transaction_id, notice.at)
        for at in instants(notice):
            # Every time of a transaction is counted from its start: all of them are known, or none is.
            assert at.utc == (None if start.utc is None else start.plus_ms(at.mono_ms - start.mono_ms).utc)


def session_with_jumps(wrong: Sequence[int | None]) -> list[TransactionNotice]:
    """An offline session; the clock jumps before it, in it and before its end."""
    rig = Rig(values=PRICED | OFFLINE)
    before, within, late = wrong
    jump(rig, before)
    rig.pass_ms(2_000)
    rig.plug()
    rig.swipe()
    rig.ready()
    assert rig.boards[EVSE1].is_closed
    rig.pass_ms(20_000)
    jump(rig, within)
    rig.pass_ms(20_000)
    jump(rig, late)
    rig.unplug()
    rig.pass_ms(10_000)
    return rig.notices()


@pytest.mark.pain(22)
@pytest.mark.pain(25)
@pytest.mark.virtual_time
@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
@pytest.mark.parametrize(
    "wrong",
    [
        (0, 86_400, -86_400),
        (0, -400 * 86_400, None),
        (None, None, None),
        (None, 0, 86_400),  # the time comes in the middle: the start gets it too
        (-86_400, None, 0),
    ],
)
async def test_what_reaches_the_csms_after_jumps_is_in_order_and_as_long_as_it_was(version: str, wrong: Sequence[int | None]) -> None:
    notices = session_with_jumps(wrong)
    assert len(notices) > 5
    known = Clock({"boot-1": START - timedelta(milliseconds=1_000)})  # the anchor of the boot, as the store keeps it
    adapter = V16Adapter(DEFINITIONS, known, {EvseId(1): 1}) if version == "1.6" else V201Adapter(DEFINITIONS, known)
    csms = Csms({"1.6": "ocpp1.6", "2.0.1": "ocpp2.0.1"}[version])
    numbers = count(7)
    csms.on["StartTransaction"] = lambda _: {"transactionId": next(numbers), "idTagInfo": {"status": "Accepted"}}
    csms.on["DataTransfer"] = lambda _: {"status": "Accepted"}
    async with csms.running():
        station = Station(csms.url, *(OutboxRow(row_id=row, notice=notice) for row, notice in enumerate(notices, 1)), version=adapter)
        async with station.running():
            await until(lambda: not station.outbox.rows_by_id)
    moments = []
    for _, action, payload in csms.calls:
        valid_request(version, action, payload)
        moments.extend(timestamps(payload))
    assert moments == sorted(moments)
    assert all(moment.year >= 2025 for moment in moments), "no 1970"
    took_ms = notices[-1].at.mono_ms - notices[0].at.mono_ms
    assert (moments[-1] - moments[0]) / timedelta(milliseconds=1) == took_ms
    if wrong[0] is None:
        assert moments[0] == START + timedelta(milliseconds=notices[0].at.mono_ms - 1_000)


def timestamps(payload: Mapping[str, Any]) -> list[datetime]:
    """The message's own time; where it has none (1.6 MeterValues), those of its values."""
    texts = [payload["timestamp"]] if "timestamp" in payload else [value["timestamp"] for value in payload.get("meterValue", ())]
    return [parse_wire_time(text) for text in texts]


def test_the_rig_really_jumps() -> None:
    """Else the property above would say nothing."""
    rig = Rig()
    jump(rig, -86_400)
    assert rig.at.utc == START - timedelta(days=1)
    rig.pilot(PilotState.B)
    rig.pass_ms(1_000)
    assert rig.at.utc == START - timedelta(days=1) + timedelta(seconds=1)
