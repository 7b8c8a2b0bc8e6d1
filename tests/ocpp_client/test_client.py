"""The whole client against central systems on real sockets, in virtual time."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from agent.core.variables import WEBSOCKET_PING_INTERVAL, Variables, definitions
from agent.domain.authorization import IdToken
from agent.domain.commands import CommandStatus, DataTransfer, Reset, SetVariables, StatusOutcome, TriggerMessage
from agent.domain.connector import ConnectorStatus
from agent.domain.events import (
    AuthorizationAnswered,
    AuthorizationFailed,
    CommandReceived,
    LinkChanged,
    LinkState,
    TransactionAnswered,
)
from agent.domain.ids import CommandId, ConnectorId, EvseId, TransactionId
from agent.domain.notices import MeterValuesNotice
from agent.domain.outbox import Attempted, DeadLettered, Delivered, OutboxRow
from agent.domain.transaction import TransactionEventType
from agent.ocpp_client.client import ClientTuning, OcppClient
from agent.ocpp_client.queue import WINDOW
from agent.ocpp_client.ring import MASK
from agent.ocpp_client.transport import ClientSettings
from tests.ocpp_client.peers import Csms, Drop, Refuse, Silence, raw_server, response, until
from tests.ocpp_client.rig import BAD_INPUT, TUNING, Station, boot
from tests.ocpp_client.small_version import BOOT, COST, SmallVersion, authorize, row, session, status

pytestmark = pytest.mark.virtual_time

STARTED = TransactionEventType.STARTED
ACCEPTED = StatusOutcome(status=CommandStatus.ACCEPTED)
DEFAULT_PING_S = Variables.of(definitions(evses=1, is_tethered=True)).integer(WEBSOCKET_PING_INTERVAL)


@contextlib.asynccontextmanager
async def pair(
    *rows: OutboxRow, csms: Csms | None = None, is_modern: bool = False, tuning: ClientTuning = TUNING
) -> AsyncIterator[tuple[Csms, Station]]:
    csms = csms or Csms("ocpp2.0.1" if is_modern else "ocpp1.6")
    csms.on.setdefault("StartTransaction", numbering())
    async with csms.running():
        station = Station(csms.url, *rows, is_modern=is_modern, tuning=tuning)
        async with station.running():
            yield csms, station


class SlowCsms(Csms):
    """Answers each CALL after a while, and goes on reading meanwhile."""

    def __init__(self, delay_s: float) -> None:
        super().__init__()
        self._delay_s = delay_s
        self._answering: set[asyncio.Task[None]] = set()

    async def _frame(self, link: ServerConnection, text: str) -> None:
        async def answer() -> None:
            if json.loads(text)[0] == 2:
                await asyncio.sleep(self._delay_s)
            with contextlib.suppress(ConnectionClosed):
                await super(SlowCsms, self)._frame(link, text)

        task = asyncio.ensure_future(answer())
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)


def numbering() -> Any:
    numbers = count(100)
    return lambda _: {"transactionId": next(numbers)}


def now() -> float:
    return asyncio.get_running_loop().time()


# -------------------------------------------------------------------------------------------------------- registration


async def test_the_boot_notification_is_the_first_message_and_sets_the_clock() -> None:
    async with pair(*session(1, "a")) as (csms, station):
        station.client.send(status())
        await station.accepted()
        await until(station.client.drained)
        assert csms.actions()[0] == "BootNotification"
        assert station.sink.times[0].isoformat() == "2026-01-01T10:00:00+00:00"
        assert station.sink.events[:2] == [LinkChanged(LinkState.CONNECTED), LinkChanged(LinkState.ACCEPTED, report_all=True)]


async def test_what_waits_for_the_beginning_waits_for_the_first_message() -> None:
    async with pair() as (csms, station):
        await asyncio.wait_for(station.client.has_begun.wait(), 5)
        await until(csms.actions)
        assert csms.actions()[0] == "BootNotification"


async def test_what_waits_for_the_beginning_does_not_wait_for_a_network_that_is_down() -> None:
    async with pair() as (csms, station):
        assert not station.client.has_begun.is_set()
        station.network.is_up = False
        await asyncio.wait_for(station.client.has_begun.wait(), 5)
        assert csms.actions() == []


@pytest.mark.pain(36)
async def test_rejected_is_silent_until_the_interval_has_passed() -> None:
    """TC_001; B03: nothing is sent, not even what stands in the queue."""
    csms = Csms()
    answers = [boot("Rejected", 600), boot("Accepted", 300)]
    csms.on["BootNotification"] = lambda _: answers.pop(0)
    async with pair(*session(1, "a"), csms=csms) as (_, station):
        await station.state(LinkState.REJECTED)
        station.client.send(status())
        await until(station.client.drained)
        assert csms.actions()[:3] == ["BootNotification", "BootNotification", "StartTransaction"]
        assert csms.called_at[1] - csms.called_at[0] == pytest.approx(600)


async def test_pending_boots_again_and_sends_nothing_else() -> None:
    """TC_002."""
    csms = Csms()
    answers = [boot("Pending", 90), boot("Pending", 90), boot("Accepted", 300)]
    csms.on["BootNotification"] = lambda _: answers.pop(0)
    async with pair(*session(1, "a"), csms=csms) as (_, station):
        await until(station.client.drained)
        assert csms.actions()[:4] == [*["BootNotification"] * 3, "StartTransaction"]
        assert csms.called_at[2] - csms.called_at[0] == pytest.approx(180)
        assert station.sink.links() == [LinkState.CONNECTED, LinkState.PENDING, LinkState.ACCEPTED]


async def test_the_interval_of_an_accepted_boot_becomes_the_variable_and_the_heartbeat() -> None:
    """TC_001: Heartbeat at the interval of the accepted answer."""
    csms = Csms()
    csms.on["BootNotification"] = lambda _: boot("Accepted", 60)
    async with pair(csms=csms) as (_, station):
        await station.accepted()
        began = now()
        await until(lambda: csms.actions().count("Heartbeat") == 3)
        assert now() - began == pytest.approx(180, abs=1)
        assert len(station.sink.times) >= 3
        [received] = station.commands()
        assert isinstance(received.command, SetVariables)
        [assignment] = received.command.assignments
        assert (str(assignment.key), assignment.value) == ("OCPPCommCtrlr.HeartbeatInterval", "60")
        station.client.answer(received.command_id, ACCEPTED)
        await asyncio.sleep(1)
        assert csms.answers == []


async def test_the_interval_that_is_in_force_already_is_not_set_again() -> None:
    async with pair() as (_, station):
        await station.accepted()
        assert station.commands() == []


@pytest.mark.parametrize("answer", ["error", "invalid"])
async def test_an_unusable_answer_to_the_boot_is_asked_again_after_a_minute(answer: str) -> None:
    csms = Csms()
    answers = [True, False]

    def on_boot(_: Mapping[str, Any]) -> Mapping[str, Any]:
        if answers.pop(0):
            if answer == "error":
                raise Refuse("InternalError", "no")
            return {"nonsense": 1}
        return boot("Accepted", 300)

    csms.on["BootNotification"] = on_boot
    async with pair(csms=csms) as (_, station):
        began = now()
        await until(lambda: station.client.status().last_error)
        assert station.client.status().cure
        await station.accepted()
        assert 60 <= now() - began <= 72
        assert len(csms.links) == 1


async def test_a_boot_that_is_never_answered_leads_to_a_new_connection() -> None:
    """101 then silence: only our own deadline helps."""
    csms = Csms()
    answers = [None, boot("Accepted", 300)]

    def on_boot(_: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = answers.pop(0)
        if answer is None:
            raise Silence
        return answer

    csms.on["BootNotification"] = on_boot
    async with pair(csms=csms) as (_, station):
        began = now()
        await station.accepted()
        assert now() - began == pytest.approx(30 + 10, abs=3)
        assert len(csms.links) == 2


async def test_after_a_reconnect_no_boot_is_sent_and_what_waited_is_delivered() -> None:
    """TC_036."""
    async with pair() as (csms, station):
        await station.accepted()
        csms.link.transport.abort()
        await station.state(LinkState.OFFLINE)
        station.append(*session(1, "a"))
        await until(station.client.drained)
        assert csms.actions() == ["BootNotification", "StartTransaction", "MeterValues", "StopTransaction"]
        assert station.sink.links() == [LinkState.CONNECTED, LinkState.ACCEPTED, LinkState.OFFLINE, LinkState.ACCEPTED]


@pytest.mark.parametrize(("threshold_s", "report_all"), [(5, True), (60, False)])
async def test_a_long_absence_reports_all_connectors(threshold_s: float, report_all: bool) -> None:
    """TC_B_51, TC_B_52."""
    async with pair(tuning=replace(TUNING, offline_threshold_s=threshold_s)) as (csms, station):
        await station.accepted()
        csms.link.transport.abort()
        await station.state(LinkState.OFFLINE)
        await station.accepted()
        assert station.sink.of(LinkChanged)[-1] == LinkChanged(LinkState.ACCEPTED, report_all=report_all)  # type: ignore[arg-type]


async def test_security_error_on_a_transaction_message_means_boot_again_and_costs_no_attempt() -> None:
    """1.6 J errata; B01.FR.10."""
    csms = Csms()
    starts = [True, False]

    def on_start(_: Mapping[str, Any]) -> Mapping[str, Any]:
        if starts.pop(0):
            raise Refuse("SecurityError", "boot first")
        return {"transactionId": 7}

    csms.on["StartTransaction"] = on_start
    async with pair(*session(1, "a"), csms=csms) as (_, station):
        await until(station.client.drained)
        assert csms.actions() == [
            "BootNotification",
            "StartTransaction",
            "BootNotification",
            "StartTransaction",
            "MeterValues",
            "StopTransaction",
        ]
        assert [type(mark) for mark in station.outbox.log] == [Delivered] * 3


async def test_a_csms_that_forgets_the_station_twice_gets_two_boots() -> None:
    csms = Csms()
    refusals = {1, 2}

    def forgetful(payload: Mapping[str, Any]) -> Mapping[str, Any]:
        if payload["seq"] in refusals:
            refusals.remove(payload["seq"])
            raise Refuse("SecurityError")
        return {"transactionId": 7}

    csms.on |= {"StartTransaction": forgetful, "MeterValues": forgetful}
    async with pair(*session(1, "a"), csms=csms) as (_, station):
        await until(station.client.drained)
        assert csms.actions().count("BootNotification") == 3
        assert [type(mark) for mark in station.outbox.log] == [Delivered] * 3


async def test_endless_security_errors_end_in_dead_letters_and_not_in_a_loop() -> None:
    csms = Csms()

    def on_start(_: Mapping[str, Any]) -> Mapping[str, Any]:
        raise Refuse("SecurityError")

    csms.on["StartTransaction"] = on_start
    async with pair(*session(1, "a"), csms=csms) as (_, station):
        await until(station.client.drained)
        assert csms.actions().count("BootNotification") == 2
        assert csms.actions().count("StartTransaction") == 4
        assert isinstance(station.outbox.log[2], DeadLettered)


# ------------------------------------------------------------------------------------------------------------ the queue


@pytest.mark.pain(2)
async def test_a_whole_offline_session_is_delivered_in_order_with_the_number_of_the_csms() -> None:
    """TC_039."""
    async with pair(*session(1, "a", updates=3), *session(10, "b")) as (csms, station):
        await until(station.client.drained)
        sent = [(action, payload["tx"], payload.get("transactionId")) for _, action, payload in csms.calls[1:]]
        assert sent == [
            ("StartTransaction", "a", None),
            ("MeterValues", "a", 100),
            ("MeterValues", "a", 100),
            ("MeterValues", "a", 100),
            ("StopTransaction", "a", 100),
            ("StartTransaction", "b", None),
            ("MeterValues", "b", 101),
            ("StopTransaction", "b", 101),
        ]
        assert len(station.sink.of(TransactionAnswered)) == 8  # type: ignore[arg-type]


async def test_a_connection_cut_under_a_message_sends_it_again_unchanged() -> None:
    csms = Csms()
    starts = [True, True, False]

    def on_start(_: Mapping[str, Any]) -> Mapping[str, Any]:
        if starts.pop(0):
            raise Drop
        return {"transactionId": 7}

    csms.on["StartTransaction"] = on_start
    async with pair(*session(1, "a"), csms=csms) as (_, station):
        await until(station.client.drained)
        sent = [(message_id, payload) for message_id, action, payload in csms.calls if action == "StartTransaction"]
        assert len(sent) == 3
        assert sent[0] == sent[1] == sent[2]
        assert [type(mark) for mark in station.outbox.log] == [Delivered] * 3


@pytest.mark.pain(4)
async def test_a_message_that_is_ignored_once_is_repeated_after_its_time_out_and_its_wait() -> None:
    csms = Csms()
    times: list[float] = []

    def on_start(_: Mapping[str, Any]) -> Mapping[str, Any]:
        times.append(now())
        if len(times) == 1:
            raise Silence
        return {"transactionId": 7}

    csms.on["StartTransaction"] = on_start
    async with pair(*session(1, "a"), csms=csms) as (_, station):
        await until(station.client.drained)
        assert [round(at - times[0]) for at in times] == [0, 30 + 60]
        assert len(csms.links) == 1
        assert [type(mark) for mark in station.outbox.log] == [Attempted] + [Delivered] * 3


@pytest.mark.pain(6)
async def test_a_message_of_1_6_that_is_always_ignored_does_not_block_the_others_for_ever() -> None:
    """One FIFO: what is behind it waits for its attempts, and goes out under the number -1 (errata 3.18)."""
    csms = Csms()
    begun: list[float] = []

    def on_start(payload: Mapping[str, Any]) -> Mapping[str, Any]:
        if payload["tx"] == "a":
            raise Silence
        begun.append(now())
        return {"transactionId": 7}

    csms.on["StartTransaction"] = on_start
    async with pair(*session(1, "a"), *session(10, "b"), csms=csms) as (_, station):
        began = now()
        await until(station.client.drained)
        assert begun[0] - began == pytest.approx(3 * 30 + 60 + 120, abs=3)
        first = [mark for mark in station.outbox.log if mark.row_id == 1]
        assert [type(mark) for mark in first] == [Attempted, Attempted, DeadLettered]
        assert [mark.row_id for mark in station.outbox.log if isinstance(mark, Delivered)][-3:] == [10, 11, 12]


async def test_a_modern_message_that_is_ignored_was_attempted_and_the_link_stays() -> None:
    """2.0.1 E13 (TC_E_41): MessageTimeout 30 s, 3 attempts, 60 s: at 0, 90 and 240 s; a Heartbeat shows that the CSMS answers at all."""
    csms = Csms("ocpp2.0.1")
    times: list[float] = []

    def on_start(payload: Mapping[str, Any]) -> Mapping[str, Any]:
        if payload["tx"] == "a":
            times.append(now())
            raise Silence
        return {}

    csms.on["StartTransaction"] = on_start
    async with pair(*session(1, "a"), *session(10, "b"), csms=csms, is_modern=True) as (_, station):
        await until(station.client.drained)
        assert [round(at - times[0]) for at in times] == [0, 90, 240]
        assert len({message_id for message_id, _, payload in csms.calls if payload.get("tx") == "a" and payload["seq"] == 1}) == 3
        of_a = [mark for mark in station.outbox.log if mark.row_id == 1]
        assert [type(mark) for mark in of_a] == [Attempted, Attempted, DeadLettered]
        assert "no answer within 30 s" in of_a[-1].error  # type: ignore[union-attr]
        assert len(csms.links) == 1
        assert csms.actions().count("Heartbeat") == 3
        order = [payload["seq"] for _, _, payload in csms.calls if "seq" in payload]
        assert order == [1, 10, 11, 12, 1, 1, 2, 3], "only its own transaction waits"


@pytest.mark.parametrize("heartbeat_s", [300.0, 0.0])
async def test_silence_of_a_csms_that_answers_nothing_is_no_attempt(heartbeat_s: float) -> None:
    """It hangs, or the link is half open: what is wrong is not the message."""
    csms = Csms("ocpp2.0.1")

    def on_start(_: Mapping[str, Any]) -> Mapping[str, Any]:
        if len(csms.links) < 3:
            csms.is_deaf = True
            raise Silence
        return {}

    async def on_open(_: ServerConnection) -> None:
        csms.is_deaf = False

    csms.on["StartTransaction"] = on_start
    csms.on_open = on_open
    tuning = replace(TUNING, heartbeat_s=heartbeat_s, attempts=1)
    async with pair(*session(1, "a"), csms=csms, is_modern=True, tuning=tuning) as (_, station):
        await until(station.client.drained)
        assert [type(mark) for mark in station.outbox.log] == [Delivered] * 3
        assert len(csms.links) == 3


async def test_a_message_that_is_answered_a_little_late_was_no_attempt() -> None:
    """The answer comes between its time-out and the answer to the Heartbeat that asks after it."""
    csms = Csms("ocpp2.0.1")

    async def answer_both_later(message_ids: list[str]) -> None:
        await csms.link.send(json.dumps([3, message_ids[0], {}]))

    def ignore(_: Mapping[str, Any]) -> Mapping[str, Any]:
        raise Silence

    def on_heartbeat(_: Mapping[str, Any]) -> Mapping[str, Any]:
        ids = [message_id for message_id, action, _ in csms.calls if action == "StartTransaction"]
        csms.on["StartTransaction"] = lambda _: {}
        late.append(asyncio.ensure_future(answer_both_later(ids)))
        raise Silence

    late: list[asyncio.Future[None]] = []
    csms.on |= {"StartTransaction": ignore, "Heartbeat": on_heartbeat}
    async with pair(*session(1, "a"), csms=csms, is_modern=True) as (_, station):
        await until(station.client.drained)
        assert [type(mark) for mark in station.outbox.log] == [Delivered] * 3
        assert csms.actions().count("StartTransaction") == 1
    await asyncio.gather(*late)


@pytest.mark.pain(6)
@pytest.mark.pain(7)
async def test_a_poisoned_message_becomes_a_dead_letter_and_the_queue_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """TransactionMessageAttempts 3, interval 60 s: at 0, 60 and 180 s."""
    csms = Csms()
    times: list[float] = []

    def on_start(payload: Mapping[str, Any]) -> Mapping[str, Any]:
        if payload["tx"] == "a":
            times.append(now())
            raise Refuse("InternalError", "unknown\nthing")
        return {"transactionId": 7}

    csms.on["StartTransaction"] = on_start
    async with pair(*session(1, "a"), *session(10, "b"), csms=csms) as (_, station):
        await until(station.client.drained)
        assert [round(at - times[0]) for at in times] == [0, 60, 180]
        assert len({message_id for message_id, action, _ in csms.calls if action == "StartTransaction"}) == 4
        assert [type(mark) for mark in station.outbox.log[:3]] == [Attempted, Attempted, DeadLettered]
        assert len(csms.links) == 1
        following = [payload["transactionId"] for _, action, payload in csms.calls if action in ("MeterValues", "StopTransaction")]
        assert following == [-1, -1, 7, 7]
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert "chargerctl deadletters" in errors[0]
    assert "\n" not in errors[0]


@pytest.mark.pain(47)
async def test_a_token_that_the_csms_repeats_in_its_refusal_stays_out_of_log_and_marks(caplog: pytest.LogCaptureFixture) -> None:
    csms = Csms()
    token = IdToken("SECRET-TOKEN")
    rows = [replace(row, notice=replace(row.notice, id_token=token)) for row in session(1, "a")]

    def on_start(_: Mapping[str, Any]) -> Mapping[str, Any]:
        raise Refuse("InternalError", f"no such tag {token.value.lower()} here")

    csms.on["StartTransaction"] = on_start
    async with pair(*rows, csms=csms) as (_, station):
        await until(lambda: station.outbox.log)
        seen = [*(record.getMessage() for record in caplog.records), station.client.status().last_error, str(station.outbox.log[0])]
    assert any("no such tag *** here" in text for text in seen)
    assert not any(token.value.casefold() in text.casefold() for text in seen)


async def test_while_a_row_waits_everything_else_still_works() -> None:
    csms = Csms()

    def on_start(_: Mapping[str, Any]) -> Mapping[str, Any]:
        raise Refuse("InternalError")

    csms.on["StartTransaction"] = on_start
    csms.on["Authorize"] = lambda _: {"status": "Accepted"}
    async with pair(*session(1, "a"), csms=csms) as (_, station):
        await until(lambda: station.outbox.log)
        station.client.send(authorize())
        await until(lambda: station.sink.of(AuthorizationAnswered))  # type: ignore[arg-type]
        assert len(station.outbox.log) == 1


@pytest.mark.pain(5)
async def test_a_late_answer_after_the_reconnect_delivers_the_row() -> None:
    """EVerest/libocpp#1137. A modern message takes a new id on the second connection, and the answer to the first one comes there."""
    csms = Csms("ocpp2.0.1")
    ids: list[str] = []

    def on_start(_: Mapping[str, Any]) -> Mapping[str, Any]:
        if len(csms.links) == 1:
            raise Drop
        raise Silence

    async def on_open(link: ServerConnection) -> None:
        if csms.calls:
            ids.extend(message_id for message_id, action, _ in csms.calls if action == "StartTransaction")
            await asyncio.sleep(1)
            await link.send(json.dumps([3, ids[0], {}]))

    csms.on["StartTransaction"] = on_start
    csms.on_open = on_open
    async with pair(row(1, "a", kind=session(1, "a")[0].notice.event_type), csms=csms, is_modern=True) as (_, station):
        await until(lambda: station.outbox.log)
        assert station.outbox.log == [Delivered(row_id=1, transaction_id=TransactionId("a"))]
        assert ids
        await until(station.client.drained)


async def test_rows_from_before_the_link_are_late_and_rows_after_it_are_not() -> None:
    """E11.FR.07."""
    backlog = [item for number in range(100) for item in session(1 + 3 * number, f"t{number}")]
    async with pair(*backlog, is_modern=True) as (csms, station):
        await until(station.client.drained)
        assert all(payload["offline"] for _, action, payload in csms.calls if "tx" in payload)
        station.append(*session(1000, "live"))
        await until(station.client.drained)
        assert [payload["offline"] for _, _, payload in csms.calls if payload.get("tx") == "live"] == [False] * 3


async def test_a_long_backlog_arrives_in_order_with_other_messages_between() -> None:
    backlog = [item for number in range(300) for item in session(1 + 3 * number, f"t{number}")]
    csms = Csms()
    csms.on["Authorize"] = lambda _: {"status": "Accepted"}

    def on_values(payload: Mapping[str, Any]) -> Mapping[str, Any]:
        if payload["seq"] == 302:
            station.client.send(status())
            station.client.send(authorize())
        return {}

    csms.on["MeterValues"] = on_values
    async with pair(*backlog, csms=csms) as (_, station):
        await until(station.client.drained)
        after = csms.actions().index("StatusNotification")
        assert csms.calls[after - 1][2]["seq"] == 302
        assert csms.actions()[after + 1] == "Authorize"
        assert [payload["seq"] for _, _, payload in csms.calls if "seq" in payload] == list(range(1, 901))


async def test_a_long_replay_to_a_slow_portal_keeps_no_command_waiting() -> None:
    """2,000 messages, each answered after 200 ms: seven minutes. What the CSMS asks is answered at once, what a driver asks is next."""
    csms = SlowCsms(0.2)
    csms.on["Authorize"] = lambda _: {"status": "Accepted"}
    backlog = [item for number in range(500) for item in session(1 + 4 * number, f"t{number}", 2)]
    async with pair(*backlog, csms=csms) as (_, station):
        await until(lambda: len(csms.calls) > 100)
        asked_at: list[float] = []
        for number in range(20):
            began = now()
            question = asyncio.ensure_future(csms.ask("RemoteStart", {"idTag": "A"}, f"ask-{number}"))
            while len(station.commands()) <= number:
                await asyncio.sleep(0.001)
                assert now() - began < 5
            assert now() - began < 0.01, "the command waited for the replay"
            station.client.answer(station.commands()[number].command_id, ACCEPTED)
            answer = await question
            assert (answer[2], now() - began < 0.1) == ({"status": "Accepted"}, True)
            station.client.send(authorize(f"card-{number}"))
            asked_at.append(now())
            await until(lambda number=number: csms.actions().count("Authorize") > number)  # type: ignore[misc]
            assert now() - asked_at[-1] < 0.2 + 0.2 + 0.1, "it waits for the answer to one message of the queue, and for its own"
            await asyncio.sleep(5)
        assert station.client.status().queue_depth <= WINDOW, "weeks of messages are not held in memory"
        await until(station.client.drained)
        assert [payload["seq"] for _, _, payload in csms.calls if "seq" in payload] == [*range(1, 2001)]


async def test_the_stations_own_figure_never_blocks_the_queue() -> None:
    csms = Csms("ocpp2.0.1")

    def on_data(_: Mapping[str, Any]) -> Mapping[str, Any]:
        raise Refuse("NotImplemented")

    csms.on["DataTransfer"] = on_data
    async with pair(row(1, "a", cost=COST), row(2, "a"), csms=csms, is_modern=True) as (_, station):
        began = now()
        await until(station.client.drained)
        assert csms.actions() == ["BootNotification", "MeterValues", "DataTransfer", "MeterValues"]
        assert now() - began < 5
        assert json.loads(csms.frames[2])[3] == {"gross": 1.25}


async def test_silence_to_the_stations_own_figure_costs_one_timeout() -> None:
    csms = Csms("ocpp2.0.1")

    def on_data(_: Mapping[str, Any]) -> Mapping[str, Any]:
        raise Silence

    csms.on["DataTransfer"] = on_data
    async with pair(row(1, "a", cost=COST), row(2, "a"), csms=csms, is_modern=True) as (_, station):
        await until(station.client.drained)
        assert len(csms.links) == 1
        assert csms.actions().count("DataTransfer") == 1


async def test_an_unreadable_answer_to_a_start_is_a_refusal_and_to_others_an_answer() -> None:
    csms = Csms()
    starts = [{}, {"transactionId": 9}]
    csms.on["StartTransaction"] = lambda _: starts.pop(0)
    csms.on["MeterValues"] = lambda _: []  # type: ignore[arg-type,return-value]
    async with pair(*session(1, "a"), csms=csms) as (_, station):
        await until(station.client.drained)
        assert csms.actions() == ["BootNotification", "StartTransaction", "StartTransaction", "MeterValues", "StopTransaction"]


async def test_a_row_that_cannot_be_encoded_is_set_aside_and_the_rest_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async with pair(is_modern=True) as (_, station):
        station.version.broken_rows = {1}
        station.append(*session(1, "a"), *session(10, "b"))
        await until(station.client.drained)
        assert [mark.row_id for mark in station.outbox.log if isinstance(mark, DeadLettered)] == [1]
        assert len([mark for mark in station.outbox.log if isinstance(mark, Delivered)]) == 5
        assert station.client.status().flaps == 0
    assert any("could not be encoded" in record.getMessage() for record in caplog.records)


async def test_an_outbox_that_cannot_be_read_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with pair() as (_, station):
        await station.accepted()
        good = station.outbox.rows
        failures = count()

        async def rows(after: int, limit: int) -> Any:
            if next(failures) < 3:
                raise OSError("disk")
            return await good(after, limit)

        monkeypatch.setattr(station.outbox, "rows", rows)
        station.append(*session(1, "a"))
        await until(lambda: len(station.outbox.log) == 3)


# ------------------------------------------------------------------------------------------------------- not durable


async def test_a_question_about_a_token_is_answered() -> None:
    csms = Csms()
    csms.on["Authorize"] = lambda _: {"status": "Blocked"}
    async with pair(csms=csms) as (_, station):
        await station.accepted()
        station.client.send(authorize("q"))
        await until(lambda: station.sink.of(AuthorizationAnswered))  # type: ignore[arg-type]


@pytest.mark.parametrize("trouble", ["offline", "refused", "invalid", "silent", "cut", "encode"])
async def test_a_question_without_a_usable_answer_fails_in_time(trouble: str, monkeypatch: pytest.MonkeyPatch) -> None:
    csms = Csms()

    def on_authorize(_: Mapping[str, Any]) -> Mapping[str, Any]:
        match trouble:
            case "refused":
                raise Refuse("InternalError")
            case "silent":
                raise Silence
            case "cut":
                raise Drop
        return {"nonsense": 1}

    csms.on["Authorize"] = on_authorize
    async with pair(csms=csms) as (_, station):
        if trouble != "offline":
            await station.accepted()
        if trouble == "encode":
            monkeypatch.setattr(station.version, "encode", lambda *_: 1 / 0)
        began = now()
        station.client.send(authorize("q"))
        assert station.sink.of(AuthorizationFailed) == []  # type: ignore[arg-type]
        await until(lambda: station.sink.of(AuthorizationFailed))  # type: ignore[arg-type]
        [failed] = station.sink.of(AuthorizationFailed)  # type: ignore[arg-type]
        assert failed.request_id == "q"
        assert failed.reason
        assert now() - began <= 31


async def test_a_question_behind_a_silent_message_fails_in_time() -> None:
    csms = Csms()

    def silent(_: Mapping[str, Any]) -> Mapping[str, Any]:
        raise Silence

    csms.on |= {"StatusNotification": silent, "Authorize": silent}
    async with pair(csms=csms) as (_, station):
        await station.accepted()
        station.client.send(status())
        await asyncio.sleep(1)
        began = now()
        station.client.send(authorize())
        await until(lambda: station.sink.of(AuthorizationFailed))  # type: ignore[arg-type]
        assert now() - began <= 35


async def test_a_question_behind_a_message_that_is_waited_for_fails_in_time() -> None:
    """The driver has waited since the card was shown: what is left of that time is what the question gets, and 5 s at least."""
    csms = Csms()

    def silent(_: Mapping[str, Any]) -> Mapping[str, Any]:
        raise Silence

    csms.on |= {"StartTransaction": silent, "Authorize": silent}
    async with pair(*session(1, "a"), csms=csms) as (_, station):
        await until(lambda: csms.actions().count("StartTransaction") == 1)
        await asyncio.sleep(1)
        began = now()
        station.client.send(authorize())
        await until(lambda: station.sink.of(AuthorizationFailed))  # type: ignore[arg-type]
        assert now() - began <= 35


@pytest.mark.pain(28)
async def test_one_silence_to_a_status_is_tolerated_and_two_are_not() -> None:
    csms = Csms()

    def silent(_: Mapping[str, Any]) -> Mapping[str, Any]:
        raise Silence

    csms.on["StatusNotification"] = silent
    async with pair(csms=csms) as (_, station):
        await station.accepted()
        station.client.send(status(1))
        await asyncio.sleep(40)
        assert station.client.status().flaps == 0
        assert "StatusNotification was not answered" in station.client.status().last_error
        station.client.send(status(2))
        await asyncio.sleep(40)
        assert station.client.status().flaps == 1


async def test_an_answer_between_two_silences_proves_the_link() -> None:
    csms = Csms()
    answers = [False, True, False]

    def sometimes(_: Mapping[str, Any]) -> Mapping[str, Any]:
        if not answers.pop(0):
            raise Silence
        return {}

    csms.on["StatusNotification"] = sometimes
    async with pair(csms=csms) as (_, station):
        await station.accepted()
        for connector in (1, 2, 3):
            station.client.send(status(connector))
            await asyncio.sleep(40)
        assert answers == []
        assert station.client.status().flaps == 0


async def test_statuses_made_while_offline_arrive_as_the_newest_of_each_connector() -> None:
    async with pair(tuning=replace(TUNING, offline_threshold_s=1000)) as (csms, station):
        await station.accepted()
        csms.link.transport.abort()
        await station.state(LinkState.OFFLINE)
        station.client.send(status(1, ConnectorStatus.OCCUPIED))
        station.client.send(status(2, ConnectorStatus.OCCUPIED))
        station.client.send(status(1, ConnectorStatus.AVAILABLE))
        station.client.send(MeterValuesNotice(evse_id=EvseId(1), connector_id=ConnectorId(1), meter_values=()))
        await station.accepted()
        await until(lambda: len(csms.calls) == 3)
        sent = [(payload["connectorId"], payload["status"]) for _, action, payload in csms.calls if action == "StatusNotification"]
        assert sent == [(2, "Occupied"), (1, "Available")]


async def test_a_status_cut_off_under_way_is_sent_again() -> None:
    csms = Csms()
    answers = [True, False]

    def on_status(_: Mapping[str, Any]) -> Mapping[str, Any]:
        if answers.pop(0):
            raise Drop
        return {}

    csms.on["StatusNotification"] = on_status
    async with pair(csms=csms, tuning=replace(TUNING, offline_threshold_s=1000)) as (_, station):
        await station.accepted()
        station.client.send(status(1))
        await until(lambda: csms.actions().count("StatusNotification") == 2)


# ----------------------------------------------------------------------------------------------- calls of the CSMS


async def test_a_call_becomes_a_command_and_its_outcome_the_answer() -> None:
    async with pair() as (csms, station):
        await station.accepted()
        asking = asyncio.ensure_future(csms.ask("Reset", {"type": "Soft"}, "m-1"))
        await until(station.commands)
        [received] = station.commands()
        assert isinstance(received.command, Reset)
        assert len({received.command_id, received.request_id, received.new_transaction_id}) == 3
        station.client.answer(received.command_id, StatusOutcome(status=CommandStatus.REJECTED))
        assert await asking == [3, "m-1", {"status": "Rejected"}]
        station.client.answer(received.command_id, ACCEPTED)
        station.client.answer(CommandId("unknown"), ACCEPTED)
        await asyncio.sleep(1)
        assert len(csms.answers) == 1


async def test_a_call_is_handled_while_our_own_is_outstanding() -> None:
    csms = Csms()

    def silent(_: Mapping[str, Any]) -> Mapping[str, Any]:
        raise Silence

    csms.on["StatusNotification"] = silent
    async with pair(csms=csms) as (_, station):
        await station.accepted()
        station.client.send(status())
        await until(lambda: "StatusNotification" in csms.actions())
        asking = asyncio.ensure_future(csms.ask("Reset", {"type": "Soft"}))
        await until(station.commands)
        station.client.answer(station.commands()[0].command_id, ACCEPTED)
        assert (await asking)[2] == {"status": "Accepted"}
        assert station.client.status().outstanding == "StatusNotification"


async def test_a_command_that_the_core_does_not_answer_gets_an_internal_error(caplog: pytest.LogCaptureFixture) -> None:
    async with pair() as (csms, station):
        await station.accepted()
        began = now()
        answer = await csms.ask("Reset", {"type": "Soft"})
        assert answer[:3] == [4, "1", "InternalError"]
        assert now() - began == pytest.approx(25, abs=1)
        station.client.answer(station.commands()[0].command_id, ACCEPTED)
        await asyncio.sleep(1)
        assert len(csms.answers) == 1


async def test_the_same_call_twice_is_run_once_and_answered() -> None:
    async with pair() as (csms, station):
        await station.accepted()
        for _ in range(2):
            await csms.link.send(json.dumps([2, "m", "Reset", {"type": "Soft"}]))
        await until(station.commands)
        station.client.answer(station.commands()[0].command_id, ACCEPTED)
        await until(lambda: csms.answers)
        await csms.link.send(json.dumps([2, "m", "Reset", {"type": "Soft"}]))
        await until(lambda: len(csms.answers) == 2)
        assert csms.answers[0] == csms.answers[1]
        assert len(station.commands()) == 1


@pytest.mark.pain(41)
async def test_two_hundred_calls_at_once_are_all_answered_in_order() -> None:
    async with pair() as (csms, station):
        await station.accepted()
        for number in range(200):
            await csms.link.send(json.dumps([2, str(number), "DataTransfer", {"vendorId": "v", "data": str(number)}]))
        answered = 0
        while answered < 200:
            await until(lambda: len(station.commands()) > answered)  # noqa: B023
            assert len(station.commands()) - answered <= 64
            station.client.answer(station.commands()[answered].command_id, ACCEPTED)
            answered += 1
        await until(lambda: len(csms.answers) == 200)
        assert [answer[1] for answer in csms.answers] == [str(number) for number in range(200)]
        assert all(isinstance(received.command, DataTransfer) for received in station.commands())


@pytest.mark.parametrize("requested", ["BootNotification", "Heartbeat"])
async def test_a_trigger_for_a_message_of_the_link_is_answered_and_obeyed(requested: str) -> None:
    async with pair() as (csms, station):
        await station.accepted()
        before = csms.actions().count(requested)
        assert (await csms.ask("TriggerMessage", {"requestedMessage": requested}))[2] == {"status": "Accepted"}
        await until(lambda: csms.actions().count(requested) == before + 1)
        kinds = [json.loads(frame)[0] for frame in csms.frames]
        assert kinds[-2:] == [3, 2]
        assert station.commands() == []


async def test_a_modern_station_that_is_accepted_refuses_to_boot_again() -> None:
    """TC_F_26."""
    async with pair(is_modern=True) as (csms, station):
        await station.accepted()
        assert (await csms.ask("TriggerMessage", {"requestedMessage": "BootNotification"}))[2] == {"status": "Rejected"}
        await asyncio.sleep(10)
        assert csms.actions() == ["BootNotification"]


@pytest.mark.pain(37)
async def test_while_pending_calls_are_answered_and_starts_are_rejected() -> None:
    """TC_002; B02.FR.05."""
    csms = Csms()
    csms.on["BootNotification"] = lambda _: boot("Pending", 600)
    async with pair(csms=csms) as (_, station):
        await station.state(LinkState.PENDING)
        assert (await csms.ask("RemoteStart", {"idTag": "X"}, "a"))[2] == {"status": "Rejected"}
        assert station.commands() == []
        asking = asyncio.ensure_future(csms.ask("TriggerMessage", {"requestedMessage": "StatusNotification"}, "b"))
        await until(station.commands)
        assert isinstance(station.commands()[0].command, TriggerMessage)
        station.client.send(status())
        await asyncio.sleep(1)
        assert csms.actions() == ["BootNotification"]
        station.client.answer(station.commands()[0].command_id, ACCEPTED)
        await asking
        await until(lambda: csms.actions() == ["BootNotification", "StatusNotification"])
        await csms.ask("TriggerMessage", {"requestedMessage": "BootNotification"}, "c")
        await until(lambda: csms.actions().count("BootNotification") == 2)


@pytest.mark.parametrize("is_modern", [False, True])
async def test_while_rejected_a_call_is_answered_as_the_version_says(is_modern: bool) -> None:
    """B03.FR.08: SecurityError; 1.6: not at all."""
    csms = Csms("ocpp2.0.1" if is_modern else "ocpp1.6")
    csms.on["BootNotification"] = lambda _: boot("Rejected", 600)
    async with pair(csms=csms, is_modern=is_modern) as (_, station):
        await station.state(LinkState.REJECTED)
        await csms.link.send(json.dumps([2, "a", "Reset", {"type": "Soft"}]))
        await csms.link.send("nonsense")
        await asyncio.sleep(1)
        expected = ["SecurityError", "RpcFrameworkError"] if is_modern else []
        assert [answer[2] for answer in csms.answers] == expected
        assert station.commands() == []


@pytest.mark.pain(37)
async def test_a_call_before_the_boot_was_answered_is_answered() -> None:
    """lbbrhzn/ocpp#1503."""
    csms = Csms()

    def silent(_: Mapping[str, Any]) -> Mapping[str, Any]:
        raise Silence

    csms.on["BootNotification"] = silent
    async with pair(csms=csms) as (_, station):
        await station.state(LinkState.CONNECTED)
        await until(lambda: csms.links)
        asking = asyncio.ensure_future(csms.ask("DataTransfer", {"vendorId": "v"}))
        await until(station.commands)
        station.client.answer(station.commands()[0].command_id, ACCEPTED)
        assert (await asking)[2] == {"status": "Accepted"}


async def test_an_answer_to_a_connection_that_is_gone_goes_nowhere() -> None:
    async with pair() as (csms, station):
        await station.accepted()
        await csms.link.send(json.dumps([2, "m", "Reset", {"type": "Soft"}]))
        await until(station.commands)
        csms.link.transport.abort()
        await station.state(LinkState.OFFLINE)
        await station.accepted()
        station.client.answer(station.commands()[0].command_id, ACCEPTED)
        await asyncio.sleep(60)
        assert csms.answers == []


async def test_an_answer_that_did_not_leave_in_time_is_not_sent_on_the_next_connection() -> None:
    async with pair() as (csms, station):
        await station.accepted()
        await csms.link.send(json.dumps([2, "m", "Reset", {"type": "Soft"}]))
        await until(station.commands)
        station.client.reconnect()
        station.client.answer(station.commands()[0].command_id, ACCEPTED)
        await until(lambda: len(csms.links) == 2)
        await asyncio.sleep(60)
        assert csms.answers == []


# ----------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.pain(34)
@pytest.mark.parametrize("is_modern", [False, True])
@pytest.mark.parametrize("name", BAD_INPUT)
async def test_bad_input_is_answered_as_the_version_says_and_ends_nothing(name: str, is_modern: bool) -> None:
    frame, modern, old = BAD_INPUT[name]
    expected = modern if is_modern else old
    async with pair(is_modern=is_modern) as (csms, station):
        await station.accepted()
        await csms.link.send(frame)
        await asyncio.sleep(0.1)
        answers = [f"{answer[1]} {answer[2]}" for answer in csms.answers]
        assert answers == ([] if expected is None else [expected])
        assert all(answer[0] == 4 and len(answer[3]) <= 255 and answer[4] == {} for answer in csms.answers)
        asking = asyncio.ensure_future(csms.ask("Reset", {"type": "Soft"}, "valid"))
        await until(station.commands)
        station.client.answer(station.commands()[-1].command_id, ACCEPTED)
        assert await asking == [3, "valid", {"status": "Accepted"}]
        assert station.client.status().flaps == 0


@pytest.mark.pain(34)
@pytest.mark.parametrize("name", ["surrogate", "nul", "fragments", "pings", "duplicate keys", "1e400"])
async def test_strange_but_valid_input_is_served(name: str) -> None:
    text = {
        "surrogate": '[2,"\\ud800","Reset",{"type":"Soft"}]',
        "nul": '[2,"a","Reset",{"type":"Soft","x":"\\u0000"}]',
        "duplicate keys": '[2,"a","Reset",{"type":"Hard","type":"Soft"}]',
        "1e400": '[2,"a","Reset",{"type":"Soft","x":1e400,"y":' + "1" * 5000 + "}]",
    }.get(name, '[2,"a","Reset",{"type":"Soft"}]')
    async with pair() as (csms, station):
        await station.accepted()
        if name == "pings":
            for _ in range(500):
                await csms.link.ping()
        await csms.link.send(list(text) if name == "fragments" else text)
        await until(station.commands)
        station.client.answer(station.commands()[0].command_id, ACCEPTED)
        await until(lambda: csms.answers)
        assert csms.answers[0][0] == 3


@pytest.mark.pain(34)
async def test_a_frame_over_a_megabyte_or_invalid_utf8_ends_in_a_reconnect() -> None:
    async with pair() as (csms, station):
        await station.accepted()
        with contextlib.suppress(Exception):
            await csms.link.send('"' + "x" * 5_000_000 + '"')
        await station.state(LinkState.OFFLINE)
        await station.accepted()
        await csms.link.send(b"\xff\xfe", text=True)
        await station.state(LinkState.OFFLINE)
        await station.accepted()
        assert csms.actions() == ["BootNotification"]


# ---------------------------------------------------------------------------------------------------- the connection


@pytest.mark.pain(29)
@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 1012, 1013, 4000])
async def test_every_close_leads_to_back_off_and_a_new_connection(code: int) -> None:
    async with pair() as (csms, station):
        await station.accepted()
        began = now()
        await csms.link.close(code, "go away")
        await until(lambda: len(csms.links) == 2)
        assert 9 <= now() - began <= 12
        assert station.client.status().flaps == 1


@pytest.mark.pain(35)
async def test_a_server_that_closes_after_the_upgrade_sees_growing_waits() -> None:
    """EVtivity: 101, then 1008 "Unknown station". TC_B_57 measures the doubling."""
    csms = Csms()

    async def on_open(link: ServerConnection) -> None:
        if len(csms.links) < 6:
            await link.close(1008, "Unknown station")

    csms.on_open = on_open
    async with pair(csms=csms) as (_, station):
        await until(lambda: "Unknown station" in station.client.status().last_error)
        assert station.client.status().cure
        await station.accepted()
        gaps = [round(later - sooner) for sooner, later in zip(csms.opened_at, csms.opened_at[1:], strict=False)]
        assert gaps == [10, 20, 40, 80, 80]


@pytest.mark.pain(32)
async def test_refused_upgrades_are_waited_for_as_asked() -> None:
    csms = Csms()
    csms.refusals += [response(401), response(404), response(503, Retry_After="500"), response(302, Location="ws://localhost:1/")]
    async with pair(csms=csms) as (_, station):
        seen = []
        while len(csms.requests) < 5:
            await asyncio.sleep(0.5)
            seen.append(station.client.status().last_error)
        gaps = [round(later - sooner) for sooner, later in zip(csms.opened_at, csms.opened_at[1:], strict=False)]
        assert gaps == [10, 20, 500, 80]
        assert [words for words in ("401", "404", "503", "302") if any(words in error for error in seen)] == ["401", "404", "503", "302"]
        await station.accepted()
        assert station.client.status().last_error == ""


async def test_a_server_without_a_common_version_gets_no_message() -> None:
    csms = Csms(None)
    async with pair(csms=csms) as (_, station):
        await until(lambda: len(csms.links) == 3)
        assert csms.frames == []
        assert "ocpp.versions" in station.client.status().cure
        assert station.sink.events == []


@pytest.mark.pain(32)
@pytest.mark.pain(33)
async def test_a_dead_network_is_tried_for_ever() -> None:
    async with pair() as (_, station):
        station.network.is_up = False
        await until(lambda: len(station.network.attempts) == 20)
        assert station.client.status().next_attempt_s is not None
        station.network.is_up = True
        await station.accepted()


@pytest.mark.pain(28)
@pytest.mark.pain(29)
@pytest.mark.pain(30)
@pytest.mark.parametrize("ping_s", [50, DEFAULT_PING_S])
async def test_a_half_open_link_is_found_by_our_own_ping(ping_s: int) -> None:
    """dingo35/SmartEVSE: "Connected" for 24 h. With the values that a station is born with it takes less than a minute and a half."""

    async def blackhole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", csms.port)

        async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                if is_open:
                    target.write(data)

        try:
            await asyncio.gather(carry(reader, upstream_writer), carry(upstream_reader, writer))
        finally:
            upstream_writer.close()

    csms = Csms()
    is_open = True
    async with csms.running(), raw_server(blackhole) as port:
        station = Station(f"ws://localhost:{port}/", tuning=replace(TUNING, ping_s=ping_s))
        async with station.running():
            await station.accepted()
            await asyncio.sleep(200)
            assert station.client.status().flaps == 0
            is_open = False
            began = now()
            await station.state(LinkState.OFFLINE)
            assert now() - began <= ping_s + 25 < 90
            assert "no pong" in station.client.status().last_error
            is_open = True
            await station.accepted()


@pytest.mark.pain(28)
async def test_a_csms_that_answers_pings_and_no_calls_is_left() -> None:
    """The load balancer lives, the CSMS behind it does not: pongs prove nothing. Bounded by heartbeat interval and time-out."""
    csms = Csms()
    async with pair(csms=csms, tuning=replace(TUNING, ping_s=50)) as (_, station):
        await station.accepted()
        csms.is_deaf = True
        began = now()
        await station.state(LinkState.OFFLINE)
        assert now() - began <= 300 + 31
        assert "Heartbeat was not answered" in station.client.status().last_error
        csms.is_deaf = False
        await station.accepted()


@pytest.mark.pain(31)
@pytest.mark.pain(41)
async def test_pings_and_commands_are_answered_at_once_while_everything_else_waits() -> None:
    """Our own CALL meets silence, fifty commands wait for the core, and a long backlog wants to go out."""
    csms = Csms()

    def silent(_: Mapping[str, Any]) -> Mapping[str, Any]:
        raise Silence

    backlog = [item for number in range(50) for item in session(1 + 3 * number, f"t{number}")]
    csms.on["StartTransaction"] = silent
    async with pair(*backlog, csms=csms) as (_, station):
        await until(lambda: "StartTransaction" in csms.actions())
        for number in range(50):
            await csms.link.send(json.dumps([2, f"waits-{number}", "Reset", {"type": "Soft"}]))
        await until(lambda: len(station.commands()) == 50)
        began = now()
        pong = await csms.link.ping()
        await pong
        asking = asyncio.ensure_future(csms.ask("DataTransfer", {"vendorId": "v"}, "asked"))
        await until(lambda: len(station.commands()) == 51)
        station.client.answer(station.commands()[50].command_id, ACCEPTED)
        assert (await asking)[2] == {"status": "Accepted"}
        assert now() - began < 1
        assert station.client.status().outstanding == "StartTransaction"


@pytest.mark.pain(39)
async def test_the_station_follows_the_systems_routes_when_a_better_way_has_lasted() -> None:
    """The connection was made over the mobile network; the cable is back, and the system would take it for everything new."""
    async with pair() as (csms, station):
        await station.accepted()
        await asyncio.sleep(1000)
        assert len(csms.links) == 1, "no reason to move"
        connection = station.client._connection
        assert connection is not None
        connection._way = "10.64.0.7"  # as if it had been made from there; the system's present route to the CSMS is the real one
        await asyncio.sleep(15)
        assert len(csms.links) == 1, "it has to last first"
        await until(lambda: len(csms.links) == 2)
        await station.accepted()
        await asyncio.sleep(1000)
        assert len(csms.links) == 2
        assert csms.actions().count("BootNotification") == 1


@pytest.mark.pain(41)
async def test_a_new_ping_interval_counts_at_once() -> None:
    csms = Csms()
    async with pair(csms=csms, tuning=replace(TUNING, ping_s=0)) as (_, station):
        await station.accepted()
        pings = count()
        original = csms.link.protocol.receive_data

        def watch(data: bytes) -> None:
            if data[:1] == b"\x89":
                next(pings)
            original(data)

        csms.link.protocol.receive_data = watch  # type: ignore[method-assign]
        await asyncio.sleep(250)
        station.client.tune(replace(TUNING, ping_s=10))
        await asyncio.sleep(35)
        assert next(pings) == 3


@pytest.mark.pain(15)
async def test_a_network_that_drops_everything_at_random_moments_loses_nothing() -> None:
    """Cut after every n-th message, for several n."""
    backlog = [item for number in range(10) for item in session(1 + 3 * number, f"t{number}")]
    csms = Csms()
    cut = count(1)

    def flaky(_: Mapping[str, Any]) -> Mapping[str, Any]:
        if next(cut) % 3 == 0:
            raise Drop
        return {"transactionId": 7}

    csms.on |= dict.fromkeys(("StartTransaction", "MeterValues", "StopTransaction"), flaky)
    async with pair(*backlog, csms=csms) as (_, station):
        await until(station.client.drained)
        delivered = [mark.row_id for mark in station.outbox.log if isinstance(mark, Delivered)]
        assert delivered == list(range(1, 31))
        payloads: dict[int, set[str]] = {}
        ids: dict[int, set[str]] = {}
        for message_id, _, payload in csms.calls:
            if "seq" in payload:
                payloads.setdefault(payload["seq"], set()).add(repr(payload))
                ids.setdefault(payload["seq"], set()).add(message_id)
        assert all(len(variants) == 1 for variants in payloads.values())
        assert all(len(variants) == 1 for variants in ids.values())


# ------------------------------------------------------------------------------------------------- for the technician


@pytest.mark.pain(42)
async def test_status_names_what_is_going_on() -> None:
    csms = Csms()

    def silent(_: Mapping[str, Any]) -> Mapping[str, Any]:
        raise Silence

    csms.on["MeterValues"] = silent
    async with pair(*session(1, "a", updates=2), csms=csms) as (_, station):
        assert station.client.status().state is LinkState.OFFLINE
        await until(lambda: "MeterValues" in csms.actions())
        await asyncio.sleep(5)
        seen = station.client.status()
        assert (seen.state, seen.subprotocol, seen.outstanding, seen.queue_depth) == (LinkState.ACCEPTED, "ocpp1.6", "MeterValues", 3)
        assert seen.url == f"ws://localhost:{csms.port}/ocpp/CP1"
        assert seen.in_state_s == pytest.approx(5, abs=1)
        assert seen.last_exchange_s == pytest.approx(5, abs=1)
        assert not station.client.drained()


@pytest.mark.pain(47)
async def test_the_frames_are_kept_masked() -> None:
    csms = Csms()
    csms.on["Authorize"] = lambda _: {"status": "Accepted", "parentIdTag": "SECRET-GROUP"}
    async with pair(csms=csms) as (_, station):
        await station.accepted()
        station.client.send(authorize(token="SECRET-TOKEN"))
        await csms.ask("ChangeConfiguration", {"key": "AuthorizationKey", "value": "SECRET-KEY"})
        await until(lambda: station.sink.of(AuthorizationAnswered))  # type: ignore[arg-type]
        text = "\n".join(frame.text for frame in station.client.frames)
        assert MASK in text
        assert "SECRET" not in text
        assert "Authorize" in text
        assert [frame.direction for frame in station.client.frames][:2] == ["out", "in"]


@pytest.mark.pain(47)
async def test_no_token_and_no_payload_reaches_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="agent")
    csms = Csms()

    def on_authorize(_: Mapping[str, Any]) -> Mapping[str, Any]:
        raise Refuse("InternalError", "no")

    csms.on["Authorize"] = on_authorize
    async with pair(*session(1, "a"), csms=csms) as (_, station):
        await station.accepted()
        station.client.send(authorize(token="SECRET-TOKEN"))
        await csms.ask("RemoteStart", {"id": "SECRET-TOKEN"}, "x")
        await until(lambda: station.sink.of(AuthorizationFailed))  # type: ignore[arg-type]
        await until(station.client.drained)
    assert caplog.records
    assert "SECRET" not in "\n".join(record.getMessage() for record in caplog.records)


async def test_reconnect_drops_the_connection_and_comes_back_at_once() -> None:
    async with pair() as (csms, station):
        await station.accepted()
        began = now()
        station.client.reconnect()
        await until(lambda: len(csms.links) == 2)
        assert now() - began < 1
        await station.accepted()


async def test_reconnect_ends_a_long_wait() -> None:
    async with pair() as (csms, station):
        csms.refusals += [response(503, Retry_After="3000")]
        await until(lambda: station.client.status().last_error)
        began = now()
        station.client.reconnect()
        await station.accepted()
        assert now() - began < 1


async def test_closing_says_goodbye_and_stays_away() -> None:
    async with pair() as (csms, station):
        await station.accepted()
        await station.client.aclose()
        assert station.client.status().state is LinkState.OFFLINE
        await asyncio.sleep(1000)
        assert len(csms.links) == 1
        assert csms.link.close_code == 1000


async def test_closing_a_half_open_connection_takes_seconds_at_most() -> None:
    async with pair() as (csms, station):
        await station.accepted()
        csms.link.transport.pause_reading()
        began = now()
        await station.client.aclose()
        assert now() - began <= 3
        csms.link.transport.abort()


@pytest.mark.pain(34)
async def test_a_bug_in_the_sink_does_not_end_the_client(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async with pair() as (csms, station):
        await station.accepted()
        good = station.sink.post

        def post(event: Any) -> None:
            if isinstance(event, CommandReceived):
                raise ZeroDivisionError
            good(event)

        monkeypatch.setattr(station.sink, "post", post)
        assert (await csms.ask("Reset", {"type": "Soft"}))[2] == "InternalError"
        monkeypatch.undo()
        asking = asyncio.ensure_future(csms.ask("Reset", {"type": "Soft"}, "again"))
        await until(station.commands)
        station.client.answer(station.commands()[0].command_id, ACCEPTED)
        assert (await asking)[2] == {"status": "Accepted"}


@pytest.mark.pain(29)
async def test_a_bug_while_connecting_leads_to_the_next_attempt(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async with pair() as (_, station):
        failures = count()

        def boot_call(info: Any) -> Any:
            if next(failures) < 2:
                raise ZeroDivisionError
            return original(info)

        original = station.version.boot
        monkeypatch.setattr(station.version, "boot", boot_call)
        await station.accepted()
        assert any("bug of ours" in record.getMessage() for record in caplog.records)


@pytest.mark.pain(40)
async def test_two_versions_are_offered_and_a_change_of_version_boots_again() -> None:
    csms = Csms("ocpp2.0.1")
    async with csms.running():
        station = Station(csms.url, *session(1, "a"))
        modern = SmallVersion(is_modern=True)
        ids = count(1)
        station.client = OcppClient(
            settings=ClientSettings(station_id="CP1", url=csms.url, security_profile=0),
            adapters={modern.subprotocol: modern, station.version.subprotocol: station.version},
            outbox=station.outbox,
            refs=station.outbox,
            sink=station.sink,
            network=station.network,
            boot_info=BOOT,
            new_id=lambda: f"id-{next(ids)}",
        )
        csms.on["StartTransaction"] = numbering()
        async with station.running():
            await until(station.client.drained)
            csms.subprotocol = "ocpp1.6"
            station.append(*session(10, "b"))
            await until(station.client.drained)
            csms.link.transport.abort()
            await station.state(LinkState.OFFLINE)
            station.append(*session(20, "c"))
            await until(station.client.drained)
            assert csms.actions().count("BootNotification") == 2
            assert "transactionId" in csms.calls[-1][2]
            assert station.client.status().subprotocol == "ocpp1.6"


@pytest.mark.parametrize("rounds", range(8))
async def test_a_cancellation_is_not_lost_in_the_moment_in_which_the_connection_breaks(rounds: int) -> None:
    """However the two fall together: the daemon must end on SIGTERM, also while its connection ends."""
    csms = Csms()
    async with csms.running():
        station = Station(csms.url)
        running = asyncio.ensure_future(station.client.run())
        await station.accepted()
        station.client.reconnect()
        for _ in range(rounds):
            await asyncio.sleep(0)
        running.cancel()
        _, pending = await asyncio.wait([running], timeout=5)
        for task in pending:
            task.cancel()
        assert not pending, "the client goes on"
