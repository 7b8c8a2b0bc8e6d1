"""The client with the real versions: every CALL is judged by the official schemas, and bad input gets each version's answer."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest

from agent.domain.commands import CommandStatus, RequestStart, Reset, StatusOutcome, UnlockConnector
from agent.domain.connector import ConnectorStatus
from agent.domain.events import AuthorizationAnswered, AuthorizationFailed, LinkState, TransactionAnswered
from agent.domain.ids import ConnectorId, EvseId, RequestId, TransactionId
from agent.domain.notices import AuthorizeNotice, MeterValuesNotice, StatusNotice
from agent.domain.outbox import Delivered, OutboxRow
from agent.domain.transaction import StoppedReason, TransactionEventType
from agent.ocpp_client.adapter import VersionAdapter
from agent.ocpp_client.v16.adapter import V16Adapter
from agent.ocpp_client.v201.adapter import V201Adapter
from tests.ocpp_client.official import valid_request
from tests.ocpp_client.peers import Csms, Drop, Refuse, until
from tests.ocpp_client.rig import BAD_INPUT, Station, boot
from tests.ocpp_client.samples import AT, COST, DEFINITIONS, TIMELESS, TOKEN, Clock, energy, transaction

pytestmark = pytest.mark.virtual_time

STARTED, UPDATED, ENDED = TransactionEventType.STARTED, TransactionEventType.UPDATED, TransactionEventType.ENDED
ACCEPTED = StatusOutcome(status=CommandStatus.ACCEPTED)
VERSIONS = {"1.6": "ocpp1.6", "2.0.1": "ocpp2.0.1"}


def adapter(version: str) -> VersionAdapter:
    if version == "1.6":
        return V16Adapter(DEFINITIONS, Clock(), {EvseId(1): 1, EvseId(2): 2})
    return V201Adapter(DEFINITIONS, Clock())


@asynccontextmanager
async def pair(version: str, *rows: OutboxRow, csms: Csms | None = None) -> AsyncIterator[tuple[Csms, Station]]:
    csms = csms or Csms(VERSIONS[version])
    numbers = count(100)
    csms.on.setdefault("StartTransaction", lambda _: {"transactionId": next(numbers), "idTagInfo": {"status": "Accepted"}})
    csms.on.setdefault("DataTransfer", lambda _: {"status": "Accepted"})
    async with csms.running():
        station = Station(csms.url, *rows, version=adapter(version))
        async with station.running():
            yield csms, station
        for _, action, payload in csms.calls:
            valid_request(version, action, payload)


def paid_session(first_row: int, transaction_id: str) -> list[OutboxRow]:
    tx = TransactionId(transaction_id)
    notices = [
        transaction(STARTED, transaction_id=tx, seq_no=0, id_token=TOKEN),
        transaction(UPDATED, transaction_id=tx, seq_no=1, meter_values=(energy("1234.567"),), cost=COST),
        transaction(ENDED, transaction_id=tx, seq_no=2, stopped_reason=StoppedReason.REMOTE, cost=COST),
    ]
    return [OutboxRow(row_id=first_row + index, notice=notice) for index, notice in enumerate(notices)]


async def test_an_offline_session_over_1_6() -> None:
    """TC_039; the CSMS knows nothing of the station's cost figures."""
    csms = Csms("ocpp1.6")

    def on_data(_: Mapping[str, Any]) -> Mapping[str, Any]:
        raise Refuse("NotSupported")

    csms.on["DataTransfer"] = on_data
    async with pair("1.6", *paid_session(1, "a"), *paid_session(4, "b"), csms=csms) as (_, station):
        await until(station.client.drained)
        assert csms.actions() == [
            "BootNotification",
            *["StartTransaction", "MeterValues", "DataTransfer", "StopTransaction", "DataTransfer"] * 2,
        ]
        numbers = [payload["transactionId"] for _, action, payload in csms.calls if action in ("MeterValues", "StopTransaction")]
        assert numbers == [100, 100, 101, 101]
        assert [mark.row_id for mark in station.outbox.log if isinstance(mark, Delivered)] == [1, 2, 3, 4, 5, 6]
        answered = station.sink.of(TransactionAnswered)  # type: ignore[arg-type]
        assert {event.transaction_id for event in answered} == {"a", "b"}


async def test_an_offline_session_over_2_0_1() -> None:
    """TC_E_43."""
    async with pair("2.0.1", *paid_session(1, "a")) as (csms, station):
        await until(station.client.drained)
        events = [payload for _, action, payload in csms.calls if action == "TransactionEvent"]
        assert [(event["eventType"], event["seqNo"], event["offline"]) for event in events] == [
            ("Started", 0, True),
            ("Updated", 1, True),
            ("Ended", 2, True),
        ]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_cut_line_repeats_the_very_same_event(version: str) -> None:
    csms = Csms(VERSIONS[version])
    cut = count(1)
    numbers = count(7)

    def flaky(_: Mapping[str, Any]) -> Mapping[str, Any]:
        if next(cut) % 2:
            raise Drop
        return {"transactionId": next(numbers), "idTagInfo": {"status": "Accepted"}} if version == "1.6" else {}

    for action in ("StartTransaction", "StopTransaction", "TransactionEvent"):
        csms.on[action] = flaky
    async with pair(version, *paid_session(1, "a"), csms=csms) as (_, station):
        await until(station.client.drained)
        seen: dict[str, list[str]] = {}
        ids: dict[str, list[str]] = {}
        for message_id, action, payload in csms.calls:
            if action in ("StartTransaction", "StopTransaction", "TransactionEvent"):
                key = f"{action}{payload.get('seqNo', '')}"
                seen.setdefault(key, []).append(json.dumps(payload))
                ids.setdefault(key, []).append(message_id)
        assert all(len(variants) == 2 and len(set(variants)) == 1 for variants in seen.values())
        assert all((len(set(two)) == 1) is (version == "1.6") for two in ids.values())


@pytest.mark.parametrize("version", VERSIONS)
async def test_boot_status_authorize_and_heartbeat(version: str) -> None:
    """TC_001, TC_003."""
    csms = Csms(VERSIONS[version])
    csms.on["BootNotification"] = lambda _: boot("Accepted", 60)
    csms.on["Authorize"] = lambda _: {"idTagInfo": {"status": "Accepted"}} if version == "1.6" else {"idTokenInfo": {"status": "Accepted"}}
    async with pair(version, csms=csms) as (_, station):
        await station.accepted()
        for evse_id in (1, 2):
            station.client.send(StatusNotice(evse_id=EvseId(evse_id), connector_id=ConnectorId(1), at=AT, status=ConnectorStatus.AVAILABLE))
        station.client.send(AuthorizeNotice(request_id=RequestId("q"), id_token=TOKEN))
        await until(lambda: station.sink.of(AuthorizationAnswered))  # type: ignore[arg-type]
        await until(lambda: "Heartbeat" in csms.actions())
        assert csms.actions() == ["BootNotification", "StatusNotification", "StatusNotification", "Authorize", "Heartbeat"]
        assert len(station.sink.times) == 2


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_answer_that_breaks_the_schema_is_no_answer(version: str) -> None:
    csms = Csms(VERSIONS[version])
    csms.on["Authorize"] = lambda _: {"idTagInfo": {"status": "Perhaps"}}
    async with pair(version, csms=csms) as (_, station):
        await station.accepted()
        station.client.send(AuthorizeNotice(request_id=RequestId("q"), id_token=TOKEN))
        await until(lambda: station.sink.of(AuthorizationFailed))  # type: ignore[arg-type]


async def test_values_of_a_time_that_is_not_known_are_dropped_without_noise(caplog: pytest.LogCaptureFixture) -> None:
    values = (energy("5", at=TIMELESS),)
    async with pair("1.6") as (csms, station):
        await station.accepted()
        station.client.send(MeterValuesNotice(evse_id=EvseId(1), connector_id=ConnectorId(1), meter_values=values))
        await asyncio.sleep(10)
        assert csms.actions() == ["BootNotification"]
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


CALLS: dict[str, list[tuple[str, dict[str, Any], type]]] = {
    "1.6": [
        ("RemoteStartTransaction", {"idTag": "T", "connectorId": 1}, RequestStart),
        ("Reset", {"type": "Soft"}, Reset),
        ("UnlockConnector", {"connectorId": 2}, UnlockConnector),
    ],
    "2.0.1": [
        ("RequestStartTransaction", {"idToken": {"idToken": "T", "type": "Central"}, "remoteStartId": 1, "evseId": 1}, RequestStart),
        ("Reset", {"type": "Immediate"}, Reset),
    ],
}


@pytest.mark.parametrize("version", VERSIONS)
async def test_calls_of_the_csms_become_commands_and_valid_answers(version: str) -> None:
    async with pair(version) as (csms, station):
        await station.accepted()
        for index, (action, payload, kind) in enumerate(CALLS[version]):
            asking = asyncio.ensure_future(csms.ask(action, payload, f"m{index}"))
            await until(lambda: len(station.commands()) > index)  # noqa: B023
            assert isinstance(station.commands()[index].command, kind)
            outcome = StatusOutcome(status=CommandStatus.UNLOCKED) if kind is UnlockConnector else ACCEPTED
            station.client.answer(station.commands()[index].command_id, outcome)
            assert (await asking)[2]["status"] in ("Accepted", "Unlocked")


@pytest.mark.parametrize("version", VERSIONS)
async def test_starts_are_rejected_in_the_versions_words_while_pending(version: str) -> None:
    csms = Csms(VERSIONS[version])
    csms.on["BootNotification"] = lambda _: boot("Pending", 600)
    action, payload, _ = CALLS[version][0]
    async with pair(version, csms=csms) as (_, station):
        await station.state(LinkState.PENDING)
        assert (await csms.ask(action, payload))[2]["status"] == "Rejected"
        assert station.commands() == []


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_whole_catalogue_of_bad_input_on_one_connection(version: str) -> None:
    async with pair(version) as (csms, station):
        await station.accepted()
        for name, (frame, modern, old) in BAD_INPUT.items():
            if name == "our own bug":
                continue
            expected = modern if version == "2.0.1" else old
            csms.answers.clear()
            await csms.link.send(frame)
            await asyncio.sleep(0.1)
            answers = [f"{answer[1]} {answer[2]}" for answer in csms.answers]
            if name.startswith("payload"):  # the official codes leave room
                assert len(answers) == 1, name
                assert answers[0].split()[1] in ("TypeConstraintViolation", "FormationViolation", "FormatViolation"), name
            else:
                assert answers == ([] if expected is None else [expected]), name
        action, payload, _ = CALLS[version][0]
        asking = asyncio.ensure_future(csms.ask(action, payload, "valid"))
        await until(station.commands)
        station.client.answer(station.commands()[-1].command_id, ACCEPTED)
        assert (await asking)[2]["status"] == "Accepted"
        assert station.client.status().flaps == 0


SCHEMA_FAULTS: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("1.6", {}, ("OccurenceConstraintViolation", "ProtocolError")),
    ("1.6", {"type": 5}, ("TypeConstraintViolation",)),
    ("1.6", {"type": "Lukewarm"}, ("PropertyConstraintViolation",)),
    ("1.6", {"type": "Soft", "extra": 1}, ("FormationViolation",)),
    ("2.0.1", {}, ("OccurrenceConstraintViolation",)),
    ("2.0.1", {"type": 5}, ("TypeConstraintViolation",)),
    ("2.0.1", {"type": "Lukewarm"}, ("PropertyConstraintViolation",)),
    ("2.0.1", {"type": "Immediate", "extra": 1}, ("FormatViolation",)),
    ("2.0.1", {"type": "Immediate", "evseId": 10**400}, ("TypeConstraintViolation",)),
]


@pytest.mark.parametrize(("version", "payload", "codes"), SCHEMA_FAULTS)
async def test_a_payload_that_breaks_the_schema_gets_the_versions_code(
    version: str, payload: dict[str, Any], codes: tuple[str, ...]
) -> None:
    async with pair(version) as (csms, station):
        await station.accepted()
        answer = await csms.ask("Reset", payload)
        assert answer[0] == 4
        assert answer[2] in codes
        assert station.commands() == []
