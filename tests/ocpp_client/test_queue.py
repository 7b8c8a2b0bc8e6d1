"""The order of durable messages, what a refusal costs, and what waits. Time is a number here."""

from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.domain.connector import ConnectorStatus
from agent.domain.ids import ConnectorId, EvseId, TransactionId
from agent.domain.notices import AuthorizeNotice, MeterValuesNotice, Notice
from agent.domain.outbox import Attempted, DeadLettered, Delivered, OutboxRow
from agent.domain.transaction import TransactionEventType
from agent.ocpp_client.adapter import MissingTime, Reply
from agent.ocpp_client.queue import PAGE, Queue, RowCall, Waiting, answer_is_needed
from tests.ocpp_client.small_version import COST, MemoryOutbox, SmallVersion, authorize, row, session, status

STARTED, UPDATED, ENDED = TransactionEventType.STARTED, TransactionEventType.UPDATED, TransactionEventType.ENDED


class Bench:
    """A queue, its outbox, and a version, moved by hand."""

    def __init__(self, rows: list[OutboxRow], *, is_modern: bool = False, attempts: int = 3) -> None:
        self.version = SmallVersion(is_modern=is_modern)
        self.outbox = MemoryOutbox(rows)
        ids = count(1)
        self.queue = Queue(station_id="CP1", new_id=lambda: f"id-{next(ids)}", attempts=attempts, attempt_interval_s=60)
        self.now = 0.0
        self.load()
        self.link_is_up()

    def load(self) -> None:
        while (after := self.queue.load_after(is_global=self.version.queue_is_global)) is not None:
            found = [self.outbox.rows_by_id[key] for key in sorted(self.outbox.rows_by_id) if key > after]
            self.queue.add(found[:PAGE])

    def link_is_up(self) -> None:
        self.queue.link_is_up()
        self.queue.set_late_up_to(max(self.outbox.rows_by_id, default=0))

    def next(self) -> RowCall | None:
        while True:
            self.load()
            found = self.queue.next(self.version, self.outbox, self.now)
            if found is None:
                self.load()
                found = self.queue.next(self.version, self.outbox, self.now)
            if found is None or isinstance(found, RowCall):
                return found
            self.outbox.mark(found)

    def take(self, number: int | None = None) -> RowCall:
        """The next CALL, answered."""
        call = self.must()
        self.answer(call, number)
        return call

    def must(self) -> RowCall:
        call = self.next()
        assert call is not None
        return call

    def answer(self, call: RowCall, number: int | None = None) -> None:
        if call.call.action == "StartTransaction" and number is None:
            number = 100 + call.row.row_id
        mark = self.queue.answered(call, Reply(remote_id=number))
        if mark is not None:
            self.outbox.mark(mark)

    def refuse(self, call: RowCall, error: str = "InternalError") -> None:
        mark = self.queue.refused(call, error, self.now)
        if mark is not None:
            self.outbox.mark(mark)

    def drop(self, call: RowCall) -> None:
        assert self.queue.unanswered(call, link_is_lost=True) is None
        self.link_is_up()


def test_rows_go_in_order_one_at_a_time() -> None:
    bench = Bench(session(1, "a", updates=2))
    actions = [bench.take().call.action for _ in range(4)]
    assert actions == ["StartTransaction", "MeterValues", "MeterValues", "StopTransaction"]
    assert bench.next() is None
    assert bench.queue.is_drained


def test_nothing_goes_before_the_late_rows_are_known() -> None:
    bench = Bench(session(1, "a"))
    bench.queue.link_is_up()
    assert bench.next() is None


def test_the_number_given_by_the_csms_is_on_the_following_messages() -> None:
    bench = Bench(session(1, "a"))
    bench.take(number=77)
    assert bench.must().call.payload["transactionId"] == 77


def test_rows_wait_for_the_answer_that_they_need() -> None:
    """1.6: MeterValues of a transaction whose Start is outstanding are held back, not sent with -1."""
    bench = Bench([row(2, "a")])
    assert bench.next() is None
    bench.outbox.numbers[TransactionId("a")] = 5
    assert bench.must().call.payload["transactionId"] == 5


@pytest.mark.parametrize("is_modern", [False, True])
def test_a_row_waits_for_its_time_as_long_as_it_takes(is_modern: bool) -> None:
    """A boot without a clock: the time comes with an answer of the CSMS, may be after days."""
    bench = Bench(session(1, "a"), is_modern=is_modern)
    bench.version.timeless = {1: MissingTime.MAY_COME, 2: MissingTime.MAY_COME, 3: MissingTime.MAY_COME}
    for _ in range(10):
        assert bench.next() is None
        assert bench.queue.next_retry() == bench.now + 10, "the station's own time service tells nobody"
        bench.now += 86_400
    assert bench.outbox.log == []
    bench.version.timeless.clear()
    assert [bench.take().row.row_id for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize("is_modern", [False, True])
def test_a_row_whose_time_can_never_be_known_is_set_aside_at_once_and_says_why(is_modern: bool) -> None:
    """It is of a boot that ended before its clock was known. No time is made up, and what is behind it waits for nothing."""
    bench = Bench([*session(1, "a"), *session(4, "b")], is_modern=is_modern)
    bench.version.timeless = {1: MissingTime.NEVER}
    assert bench.must().call.payload["seq"] == 2
    (mark,) = bench.outbox.log
    assert isinstance(mark, DeadLettered)
    assert (mark.row_id, "restarted before its clock was set" in mark.error) == (1, True)


def test_a_bug_about_one_row_costs_no_other_row_an_attempt() -> None:
    """The one in front only waits for its time."""
    bench = Bench([*session(1, "a"), *session(4, "b")], is_modern=True, attempts=1)
    bench.version.timeless = {1: MissingTime.MAY_COME}
    bench.version.broken_rows = {4}
    with pytest.raises(KeyError):
        bench.next()
    mark = bench.queue.cannot_encode("a bug of ours", bench.now)
    assert isinstance(mark, DeadLettered)
    assert mark.row_id == 4


def test_what_is_held_back_for_longer_than_all_attempts_becomes_a_dead_letter() -> None:
    bench = Bench([row(2, "a"), *session(3, "b")])
    assert bench.next() is None
    bench.now = 60 + 120 + 1
    assert bench.must().call.action == "StartTransaction"
    assert [type(mark) for mark in bench.outbox.log] == [DeadLettered]


def test_a_refusal_is_tried_again_after_a_growing_interval_and_then_set_aside() -> None:
    """TransactionMessageAttempts 3, interval 60 s: sends at 0, 60 and 180."""
    bench = Bench(session(1, "a"), attempts=3)
    bench.refuse(bench.must())
    assert bench.next() is None
    assert bench.queue.next_retry() == 60
    bench.now = 60
    bench.refuse(bench.must())
    assert bench.queue.next_retry() is None or bench.next() is None
    bench.now = 179.9
    assert bench.next() is None
    bench.now = 180
    bench.refuse(bench.must(), "InternalError: no")
    assert bench.outbox.log == [
        Attempted(row_id=1, attempts=1, calls_answered=0, error="InternalError"),
        Attempted(row_id=1, attempts=2, calls_answered=0, error="InternalError"),
        DeadLettered(row_id=1, transaction_id=TransactionId("a"), error="InternalError: no"),
    ]


def test_what_follows_a_dead_start_carries_minus_one() -> None:
    """1.6 errata 3.18."""
    bench = Bench(session(1, "a"), attempts=1)
    bench.refuse(bench.must())
    assert bench.take().call.payload["transactionId"] == -1
    assert bench.take().call.payload["transactionId"] == -1


def test_one_queue_waits_behind_a_refused_row() -> None:
    bench = Bench([*session(1, "a"), *session(10, "b")])
    bench.refuse(bench.must())
    assert bench.next() is None


def test_in_the_modern_version_only_its_transaction_waits() -> None:
    bench = Bench([*session(1, "a"), *session(10, "b")], is_modern=True)
    bench.refuse(bench.must())
    assert [bench.take().row.row_id for _ in range(3)] == [10, 11, 12]
    assert bench.next() is None
    bench.now = 60
    assert [bench.take().row.row_id for _ in range(3)] == [1, 2, 3]


def test_a_lost_link_is_no_attempt_and_the_message_stays_the_same() -> None:
    bench = Bench(session(1, "a"), attempts=2)
    first = bench.must()
    bench.drop(first)
    second = bench.must()
    assert (second.call, second.message_id) == (first.call, first.message_id)
    assert bench.outbox.log == []


def test_the_message_id_survives_a_restart_of_the_process() -> None:
    first = Bench(session(1, "a")).must().message_id
    assert Bench(session(1, "a")).must().message_id == first
    assert len(first) == 36


def test_a_refused_message_gets_a_new_id() -> None:
    """SteVe: "already received on this WebSocket connection"."""
    bench = Bench(session(1, "a"))
    first = bench.must()
    bench.refuse(first)
    bench.now = 60
    assert bench.must().message_id != first.message_id


def test_message_ids_differ_between_rows_stations_and_calls() -> None:
    bench = Bench([row(1, "a", STARTED, cost=COST), *session(2, "b")])
    ids = {bench.take().message_id for _ in range(5)}
    assert len(ids) == 5


def test_the_modern_version_takes_a_new_id_for_every_sending() -> None:
    bench = Bench(session(1, "a"), is_modern=True)
    first = bench.must()
    bench.drop(first)
    second = bench.must()
    assert second.message_id != first.message_id
    assert second.call == first.call


def test_rows_that_stood_in_the_queue_are_late_and_new_ones_are_not() -> None:
    """E11.FR.07."""
    bench = Bench([row(1, "a", STARTED)], is_modern=True)
    assert bench.take().sending.is_late
    bench.outbox.append(row(2, "a"))
    bench.queue.grew()
    call = bench.must()
    assert not call.sending.is_late
    bench.drop(call)
    assert bench.must().sending.is_late


def test_a_resend_says_so() -> None:
    bench = Bench(session(1, "a"))
    attempts = []
    for _ in range(3):
        call = bench.must()
        attempts.append(call.sending.attempt)
        bench.drop(call)
    assert attempts == [1, 2, 3]


def test_a_row_sent_by_the_process_before_says_so() -> None:
    assert Bench([row(1, "a", STARTED, was_sent=True)]).must().sending.attempt == 2


def test_a_row_of_several_calls_goes_on_where_it_was() -> None:
    bench = Bench([row(1, "a", ENDED, cost=COST), *session(2, "b")], is_modern=True)
    bench.take()
    assert bench.outbox.log == [Attempted(row_id=1, attempts=0, calls_answered=1)]
    second = bench.must()
    assert (second.call.action, second.call.payload) == ("DataTransfer", {"gross": Decimal("1.25")})
    bench.drop(second)
    assert bench.take().call.action == "DataTransfer"
    assert isinstance(bench.outbox.log[-1], Delivered)


def test_calls_answered_before_a_restart_are_not_sent_again() -> None:
    bench = Bench([row(1, "a", ENDED, cost=COST, calls_answered=1)], is_modern=True)
    assert bench.take().call.action == "DataTransfer"
    assert bench.queue.is_drained


def test_a_refused_informational_call_counts_as_answered() -> None:
    bench = Bench([row(1, "a", ENDED, cost=COST)], is_modern=True)
    bench.take()
    bench.refuse(bench.must(), "NotSupported")
    assert bench.outbox.log[-1] == Delivered(row_id=1, transaction_id=TransactionId("a"))


def test_an_informational_call_that_meets_silence_counts_as_answered() -> None:
    bench = Bench([row(1, "a", ENDED, cost=COST)], is_modern=True)
    bench.take()
    mark = bench.queue.unanswered(bench.must(), link_is_lost=False)
    assert mark == Delivered(row_id=1, transaction_id=TransactionId("a"))


def test_a_row_that_the_csms_ignores_was_attempted() -> None:
    """2.0.1 E13: the interval times the sends so far, a new message id each time, then a dead letter."""
    bench = Bench([*session(1, "a"), *session(4, "b")], is_modern=True, attempts=3)
    sent = []
    for wait_s in (60, 120, 0):
        sent.append(bench.must())
        mark = bench.queue.was_ignored(sent[-1], "no answer", bench.now)
        assert mark is not None
        bench.outbox.mark(mark)
        for other in (4, 5, 6) if wait_s == 60 else ():
            assert bench.take().row.row_id == other
        bench.now += wait_s
    assert bench.queue.was_ignored(sent[-1], "no answer", bench.now) is None, "a dead letter is dead once"
    assert [call.row.row_id for call in sent] == [1] * 3
    assert len({call.message_id for call in sent}) == 3
    assert [type(mark) for mark in bench.outbox.log if mark.row_id == 1] == [Attempted, Attempted, DeadLettered]


def test_an_answer_that_comes_while_the_row_waits_for_its_next_attempt_settles_it() -> None:
    bench = Bench(session(1, "a"), is_modern=True)
    call = bench.must()
    assert bench.queue.was_ignored(call, "no answer", bench.now) is not None
    bench.answer(call)
    assert isinstance(bench.outbox.log[-1], Delivered)
    assert bench.must().row.row_id == 2
    assert bench.queue.was_ignored(call, "no answer", bench.now) is None, "said too late: nothing is counted"


def test_a_row_without_calls_is_delivered_unsent() -> None:
    class Mute(SmallVersion):
        def encode(self, notice: Any, refs: Any, sending: Any) -> tuple[()]:
            return ()

    bench = Bench(session(1, "a"), is_modern=True)
    bench.version = Mute(is_modern=True)
    assert bench.next() is None
    assert [mark.row_id for mark in bench.outbox.log] == [1, 2, 3]
    assert bench.queue.is_drained


def test_a_late_answer_delivers_the_row() -> None:
    bench = Bench(session(1, "a"), is_modern=True)
    late = bench.must()
    bench.drop(late)
    again = bench.must()
    bench.answer(late)
    assert bench.outbox.log == [Delivered(row_id=1, transaction_id=TransactionId("a"), remote_id=101)]
    bench.answer(again)
    assert len(bench.outbox.log) == 1
    assert bench.take().row.row_id == 2


def test_a_late_answer_to_a_call_that_was_answered_since_changes_nothing() -> None:
    bench = Bench([row(1, "a", ENDED, cost=COST)], is_modern=True)
    late = bench.must()
    bench.drop(late)
    bench.take()
    bench.answer(late)
    assert bench.take().call.action == "DataTransfer"


def test_a_late_answer_ends_the_wait_of_a_refused_row() -> None:
    bench = Bench(session(1, "a"), is_modern=True)
    first = bench.must()
    bench.drop(first)
    bench.refuse(bench.must())
    bench.answer(first)
    assert bench.take().row.row_id == 2


def test_a_row_that_cannot_be_encoded_does_not_block_the_others_for_ever() -> None:
    bench = Bench([row(1, "a", STARTED), row(2, "b", STARTED)], is_modern=True, attempts=2)
    bench.version.broken_rows = {1}
    for moment in (0.0, 60.0):
        bench.now = moment
        with pytest.raises(KeyError):
            bench.queue.next(bench.version, bench.outbox, moment)
        mark = bench.queue.cannot_encode("cannot be encoded: KeyError", moment)
        assert mark is not None
        bench.outbox.mark(mark)
    assert isinstance(bench.outbox.log[-1], DeadLettered)
    assert bench.take().row.row_id == 2


def test_only_the_first_security_error_asks_for_the_registration() -> None:
    bench = Bench(session(1, "a"))
    call = bench.must()
    assert bench.queue.asks_registration(call)
    assert not bench.queue.asks_registration(bench.must())


def test_a_change_of_version_encodes_anew() -> None:
    bench = Bench(session(1, "a"))
    old = bench.must()
    bench.queue.unanswered(old, link_is_lost=True)
    bench.version = SmallVersion(is_modern=True)
    bench.link_is_up()
    assert bench.must().call.payload == {"tx": "a", "seq": 1, "offline": True}


def test_a_long_backlog_is_read_in_pages_and_delivered_in_order() -> None:
    rows = [item for number in range(200) for item in session(1 + 5 * number, f"t{number}", updates=3)]
    bench = Bench(rows)
    order = []
    deepest = 0
    while (call := bench.next()) is not None:
        order.append(call.row.row_id)
        deepest = max(deepest, bench.queue.depth)
        bench.answer(call)
    assert order == list(range(1, 1001))
    assert deepest <= 2 * PAGE


def test_a_row_settled_while_the_outbox_was_read_is_not_taken_again() -> None:
    bench = Bench([])
    bench.outbox.append(row(1, "a", STARTED))
    bench.queue.grew()
    snapshot = [row(1, "a", STARTED), row(2, "a")]
    bench.load()
    call = bench.must()
    bench.queue.grew()
    assert bench.queue.load_after(is_global=True) is not None
    bench.answer(call)
    bench.queue.add(snapshot)
    assert bench.must().row.row_id == 2


def test_rows_that_come_while_the_outbox_is_read_are_read_next() -> None:
    bench = Bench([])
    bench.queue.grew()
    assert bench.queue.load_after(is_global=True) == 0
    bench.queue.grew()
    bench.queue.add([])
    assert bench.queue.load_after(is_global=True) == 0


def test_a_load_that_failed_is_tried_again() -> None:
    bench = Bench([])
    bench.queue.grew()
    assert bench.queue.load_after(is_global=True) == 0
    bench.queue.load_failed()
    assert not bench.queue.is_drained
    assert bench.queue.load_after(is_global=True) == 0


def test_a_refused_transaction_that_fills_the_window_does_not_hide_the_others() -> None:
    """2.x: 300 rows of one refused transaction, and one transaction behind them."""
    bench = Bench([row(number, "long", UPDATED) for number in range(1, 301)] + session(301, "other"), is_modern=True)
    bench.refuse(bench.must())
    assert [bench.take().row.row_id for _ in range(3)] == [301, 302, 303]
    assert bench.next() is None
    bench.now = 60
    order = []
    while (call := bench.next()) is not None:
        order.append(call.row.row_id)
        bench.answer(call)
    assert order == list(range(1, 301))
    assert bench.queue.is_drained


def test_a_page_that_was_asked_for_before_a_gap_opened_is_not_taken() -> None:
    """Rows behind a gap, taken before the gap is read again, would overtake those in it."""
    bench = Bench([row(number, "long", UPDATED) for number in range(1, 301)], is_modern=True)
    first = bench.must()
    bench.drop(first)
    second = bench.must()
    bench.refuse(second)
    assert bench.queue.next(bench.version, bench.outbox, 0.0) is None
    after = bench.queue.load_after(is_global=False)
    assert after is not None
    assert after > 1
    bench.answer(first)
    bench.queue.add([bench.outbox.rows_by_id[number] for number in range(after + 1, after + 1 + PAGE)])
    order = []
    while (call := bench.next()) is not None:
        order.append(call.row.row_id)
        bench.answer(call)
    assert order == list(range(2, 301))


@dataclass
class Delivery:
    """What a CSMS saw of each row."""

    seen: list[int] = field(default_factory=list)
    payloads: dict[tuple[int, str], set[str]] = field(default_factory=dict)


steps = st.lists(st.sampled_from(["answer", "answer", "answer", "refuse", "drop", "silence", "late", "grow", "wait"]), max_size=80)


@settings(max_examples=150, deadline=None)
@given(story=steps, is_modern=st.booleans(), sessions=st.integers(1, 60), updates=st.integers(0, 6))
def test_whatever_happens_every_row_arrives_in_order_or_becomes_a_dead_letter(
    story: list[str], is_modern: bool, sessions: int, updates: int
) -> None:
    """Random answers, refusals, lost links, silences, late answers and new rows."""
    rows = [item for number in range(sessions) for item in session(1 + number * (updates + 2), f"t{number % 7}-{number}", updates)]
    total = len(rows)
    bench = Bench(rows, is_modern=is_modern, attempts=2)
    delivery = Delivery()
    last_call: RowCall | None = None
    for step in [*story, *["answer"] * (total * 3 + 200)]:
        if step == "grow":
            extra = session(total + 1, f"new-{total}", 1)
            total += len(extra)
            bench.outbox.append(*extra)
            bench.queue.grew()
            continue
        if step == "wait":
            bench.now += 30
            continue
        if step == "late":
            if last_call is not None:
                bench.answer(last_call)
            continue
        call = bench.next()
        if call is None:
            bench.now += 60
            if bench.queue.is_drained:
                break
            continue
        payload = {key: value for key, value in call.call.payload.items() if key != "offline"}
        delivery.payloads.setdefault((call.row.row_id, call.call.action), set()).add(repr(payload))
        last_call = call
        match step:
            case "answer":
                delivery.seen.append(call.row.row_id)
                bench.answer(call)
            case "refuse":
                bench.refuse(call)
            case "drop":
                bench.drop(call)
            case "silence":
                bench.queue.unanswered(call, link_is_lost=False)
    settled = [mark.row_id for mark in bench.outbox.log if isinstance(mark, Delivered | DeadLettered)]
    assert sorted(settled) == list(range(1, total + 1))
    assert bench.outbox.rows_by_id == {}
    assert all(len(variants) == 1 for variants in delivery.payloads.values())
    if not is_modern:
        assert settled == sorted(settled)
    by_transaction: dict[str, list[int]] = {}
    notices = {item.row_id: item.notice.transaction_id for item in rows}
    for row_id in settled:
        by_transaction.setdefault(notices.get(row_id, f"new-{row_id}"), []).append(row_id)
    assert all(order == sorted(order) for order in by_transaction.values())


@pytest.mark.pain(6)
@settings(max_examples=60, deadline=None)
@given(
    poisoned=st.sets(st.integers(0, 19), min_size=1, max_size=4),
    attempts=st.integers(1, 6),
    is_modern=st.booleans(),
    ignored=st.booleans(),
)
def test_a_poisoned_message_holds_up_what_is_behind_it_for_the_sum_of_its_waits(
    poisoned: set[int], attempts: int, is_modern: bool, ignored: bool
) -> None:
    """1.6: each holds up all behind it for at most interval x (1 + 2 + ... + attempts - 1). 2.x: only its own transaction."""
    rows = [item for number in range(5) for item in session(1 + 4 * number, f"t{number}", 2)]
    bench = Bench(rows, is_modern=is_modern, attempts=attempts)
    went: dict[int, float] = {}
    refused: dict[int, int] = {}
    while not bench.queue.is_drained:
        call = bench.next()
        if call is None:
            assert bench.queue.next_retry() is not None, "nothing goes, and nobody will ask again"
            bench.now = bench.queue.next_retry() or 0
            continue
        row_id = call.row.row_id
        if row_id - 1 in poisoned:
            refused[row_id] = refused.get(row_id, 0) + 1
            if ignored and is_modern:
                mark = bench.queue.was_ignored(call, "no answer", bench.now)
                assert mark is not None
                bench.outbox.mark(mark)
            else:
                bench.refuse(call)
        else:
            bench.answer(call)
            went[row_id] = bench.now
    of_one = 60 * sum(range(1, attempts))
    assert set(refused.values()) == {attempts}
    assert sorted([*went, *refused]) == [row.row_id for row in rows]
    for row_id, at in went.items():
        transaction = (row_id - 1) // 4
        before = [bad for bad in poisoned if bad < row_id - 1 and (not is_modern or bad // 4 == transaction)]
        assert at == of_one * len(before)


def test_what_is_not_durable_goes_in_order() -> None:
    waiting = Waiting()
    first, second = status(1), status(2)
    waiting.put(first, 0)
    waiting.put(second, 0)
    assert waiting.take(lambda _: True) == (first, 0)
    assert waiting.take(lambda _: True) == (second, 0)
    assert waiting.take(lambda _: True) is None


def test_a_full_queue_keeps_the_newest_status_of_each_connector() -> None:
    waiting = Waiting(limit=4)
    old, other = status(1, ConnectorStatus.OCCUPIED), status(2)
    question = authorize()
    new = status(1, ConnectorStatus.AVAILABLE)
    for notice in (old, other, question, new):
        assert waiting.put(notice, 0) == ()
    last = status(3)
    assert waiting.put(last, 0) == (old,)
    assert [waiting.take(lambda _: True) for _ in range(4)] == [(kept, 0) for kept in (other, question, new, last)]


def test_a_queue_full_of_questions_drops_the_oldest() -> None:
    waiting = Waiting(limit=2)
    questions = [authorize(str(number)) for number in range(3)]
    assert [waiting.put(question, 0) for question in questions] == [(), (), (questions[0],)]


def test_a_lost_link_leaves_only_the_newest_statuses() -> None:
    waiting = Waiting()
    values = MeterValuesNotice(evse_id=EvseId(1), connector_id=ConnectorId(1), meter_values=())
    old, new, question = status(1, ConnectorStatus.OCCUPIED), status(1), authorize()
    for notice in (old, values, question, new):
        waiting.put(notice, 0)
    assert set(waiting.link_is_down()) == {old, values, question}
    assert len(waiting) == 1
    assert waiting.take(lambda _: True) == (new, 0)


def test_questions_expire_and_statuses_do_not() -> None:
    waiting = Waiting()
    early, late = authorize("early"), authorize("late")
    waiting.put(status(1), 0)
    waiting.put(early, 1)
    waiting.put(late, 5)
    assert waiting.oldest_question() == 1
    assert waiting.expired(1, 0) == (early,)
    assert len(waiting) == 2
    assert waiting.oldest_question() == 5


def test_a_question_has_expired_at_the_very_moment_of_its_deadline() -> None:
    """Else the timer that was set to this moment is set to it again and again."""
    waiting, put_at, patience_s = Waiting(), 1021.4479397594451, 10.0
    assert put_at + patience_s - patience_s < put_at, "a sum of floats that loses something"
    waiting.put(authorize(), put_at)
    assert waiting.expired(put_at + patience_s, patience_s) == (authorize(),)


def test_what_may_not_go_is_left_in_its_place() -> None:
    waiting = Waiting()
    waiting.put(authorize(), 0)
    waiting.put(status(1), 0)
    assert waiting.take(lambda notice: not isinstance(notice, AuthorizeNotice)) == (status(1), 0)
    assert len(waiting) == 1


def test_a_full_report_replaces_the_statuses_that_wait() -> None:
    waiting = Waiting()
    waiting.put(status(1), 0)
    waiting.put(authorize(), 0)
    waiting.forget_statuses()
    assert len(waiting) == 1


# ------------------------------------------------------------------------------------------------ each rule at its very edge


def test_a_queue_begins_empty_and_unread_with_the_defaults_of_the_standard() -> None:
    queue = Queue(station_id="CP1", new_id=lambda: "id")
    assert (queue.attempts, queue.attempt_interval_s) == (5, 60)
    assert (queue.depth, queue.has_more, queue.is_drained, queue.knows_late_rows) == (0, True, False, False)
    assert (queue.newest_known(), queue.next_retry()) == (0, None)
    assert queue.cannot_encode("a bug of ours", 0.0) is None
    assert queue.load_after(is_global=True) == 0
    queue.add([])
    assert (queue.has_more, queue.is_drained) == (False, True)
    queue.set_late_up_to(0)
    assert queue.knows_late_rows
    queue.link_is_up()
    assert not queue.knows_late_rows


@pytest.mark.parametrize(("found", "has_more"), [(0, False), (1, False), (63, False), (64, True), (65, True)])
def test_only_a_full_page_of_64_rows_promises_more(found: int, has_more: bool) -> None:
    queue = Queue(station_id="CP1", new_id=lambda: "id")
    assert queue.load_after(is_global=True) == 0
    assert queue.load_after(is_global=True) is None, "one load at a time"
    assert not queue.is_drained
    queue.add([row(number, "a") for number in range(1, found + 1)])
    assert (queue.depth, queue.has_more, queue.newest_known()) == (found, has_more, found)
    assert queue.is_drained == (found == 0)
    if found == 64:
        assert queue.load_after(is_global=True) == 64


def filled(*, is_modern: bool, count: int, transactions: int = 1) -> Bench:
    """A window of so many rows, of which an outbox of 300 would have more."""
    return Bench([row(number, f"t{number % transactions}") for number in range(1, count + 1)], is_modern=is_modern)


def test_the_window_is_two_pages_and_takes_a_page_as_soon_as_it_has_room_for_one() -> None:
    bench = filled(is_modern=True, count=300)
    assert bench.queue.depth == 128
    for left in range(127, 64, -1):
        bench.take()
        assert bench.queue.depth == left
        assert bench.queue.load_after(is_global=False) is None
        bench.load()
    bench.take()
    assert bench.queue.load_after(is_global=False) == 128


@pytest.mark.parametrize(("is_global", "is_waiting", "loads"), [(False, True, True), (True, True, False), (False, False, False)])
def test_a_full_window_is_emptied_only_for_rows_that_others_wait_behind(is_global: bool, is_waiting: bool, loads: bool) -> None:
    """2.x, and only while something in the window waits for its next attempt."""
    bench = filled(is_modern=True, count=300)
    if is_waiting:
        bench.refuse(bench.must())
        assert bench.queue.next(bench.version, bench.outbox, bench.now) is None
    assert bench.queue.load_after(is_global=is_global) == (128 if loads else None)
    assert bench.queue.depth == (1 if loads else 128)


@pytest.mark.parametrize(("transactions", "loads"), [(64, True), (65, False)])
def test_a_window_full_of_transactions_that_all_wait_reads_no_further(transactions: int, loads: bool) -> None:
    """The rows that begin what waits stay in the window: beside 65 of them there is no room for a page."""
    bench = filled(is_modern=True, count=300, transactions=transactions)
    for _ in range(transactions):
        bench.refuse(bench.must())
    assert bench.queue.next(bench.version, bench.outbox, bench.now) is None
    assert bench.queue.load_after(is_global=False) == (128 if loads else None)
    assert bench.queue.depth == transactions
    assert not bench.queue.is_drained


def test_a_page_that_nobody_waits_for_any_more_is_not_taken() -> None:
    queue = Queue(station_id="CP1", new_id=lambda: "id")
    assert queue.load_after(is_global=True) == 0
    queue.load_failed()
    queue.add([row(1, "a")])
    assert (queue.depth, queue.has_more) == (0, True)


def test_the_earliest_of_the_rows_that_wait_is_the_next_to_be_asked_for() -> None:
    bench = Bench([row(1, "a"), row(2, "b"), row(3, "c")], is_modern=True)
    for moment, row_id in ((0.0, 1), (60.0, 1), (60.0, 2), (100.0, 3)):  # again at 180, 120 and 160
        bench.now = moment
        call = bench.must()
        assert call.row.row_id == row_id
        bench.refuse(call)
    assert bench.next() is None
    assert bench.queue.next_retry() == 120
    bench.now = 120.0
    assert bench.take().row.row_id == 2


@pytest.mark.parametrize(("attempts", "waits_s"), [(1, 60), (2, 60), (3, 180), (5, 600)])
def test_a_row_without_its_number_waits_as_long_as_all_attempts_would_take(attempts: int, waits_s: int) -> None:
    bench = Bench([row(2, "a")], attempts=attempts)
    bench.now = 1000.0
    assert bench.next() is None
    assert bench.queue.next_retry() == 1000 + waits_s
    bench.now += waits_s - 0.5
    assert bench.next() is None
    assert bench.queue.next_retry() == 1000 + waits_s, "the wait began once"
    bench.now += 0.5
    assert bench.next() is None
    (mark,) = bench.outbox.log
    assert isinstance(mark, DeadLettered)
    assert "number" in mark.error


def test_the_wait_for_a_number_begins_anew_where_the_number_was_known_in_between() -> None:
    bench = Bench([row(2, "a")])
    assert bench.next() is None
    bench.outbox.numbers[TransactionId("a")] = 5
    bench.drop(bench.must())
    del bench.outbox.numbers[TransactionId("a")]
    bench.now = 1000.0
    assert bench.next() is None
    assert bench.queue.next_retry() == 1180
    assert bench.outbox.log == []


def test_the_message_id_is_the_same_after_an_update_of_the_software() -> None:
    """What a CSMS may have seen already goes out under the id that it had: these were sent by the first release."""
    bench = Bench([row(1, "a", STARTED, cost=COST, attempts=1), row(2, "a")])
    assert [bench.take().message_id for _ in range(3)] == [
        "011353c3-2052-5ead-9146-44c5e6e3b25f",
        "afd0e6f6-e9df-5524-ad28-66b2a09375e8",
        "23c45384-0b7e-51d4-8dcf-4550874ba4dc",
    ]


def test_each_call_says_which_of_how_many_it_is() -> None:
    bench = Bench([row(1, "a", ENDED, cost=COST)], is_modern=True)
    first, second = bench.take(), bench.take()
    assert [(call.call_index, call.call_count, call.is_informational) for call in (first, second)] == [(0, 2, False), (1, 2, True)]


def test_a_refusal_of_the_first_of_two_calls_is_an_attempt_of_the_row_and_the_first_goes_again() -> None:
    bench = Bench([row(1, "a", ENDED, cost=COST)], is_modern=True)
    bench.refuse(bench.must())
    bench.now = 60.0
    again = bench.take()
    assert (again.call_index, again.sending.attempt) == (0, 2)
    assert bench.outbox.log[-1] == Attempted(row_id=1, attempts=1, calls_answered=1)


@pytest.mark.parametrize("row_is_gone", [False, True])
def test_what_is_said_about_a_call_that_is_over_changes_nothing(row_is_gone: bool) -> None:
    """A refusal, a silence, an answer, a request for the registration: of a call that was answered, or of a row that is gone."""
    bench = Bench([row(1, "a", ENDED, cost=COST)], is_modern=True)
    first = bench.take()
    if row_is_gone:
        bench.take()
        assert not bench.queue.asks_registration(first)
    assert bench.queue.refused(first, "InternalError", 0.0) is None
    assert bench.queue.was_ignored(first, "no answer", 0.0) is None
    assert bench.queue.answered(first, Reply()) is None
    assert bench.queue.unanswered(first, link_is_lost=False) is None
    assert bench.queue.is_drained == row_is_gone


@pytest.mark.parametrize(
    ("call_index", "link_is_lost", "is_over"), [(0, False, False), (0, True, False), (1, False, True), (1, True, False)]
)
def test_only_silence_about_the_stations_own_figures_is_an_answer(call_index: int, link_is_lost: bool, is_over: bool) -> None:
    """A lost link is none, and what bills is never given up for silence."""
    bench = Bench([row(1, "a", ENDED, cost=COST)], is_modern=True)
    for _ in range(call_index):
        bench.take()
    call = bench.must()
    mark = bench.queue.unanswered(call, link_is_lost=link_is_lost)
    assert (mark == Delivered(row_id=1, transaction_id=TransactionId("a"))) == is_over
    assert (mark is None) == (not is_over)
    if is_over:
        assert bench.queue.unanswered(call, link_is_lost=False) is None


def test_the_number_that_came_with_the_first_call_is_told_when_the_row_is_delivered() -> None:
    bench = Bench([row(1, "a", STARTED, cost=COST)])
    bench.take(number=42)
    bench.take(number=None)
    assert bench.outbox.log[-1] == Delivered(row_id=1, transaction_id=TransactionId("a"), remote_id=42)


def test_a_row_is_late_up_to_the_newest_that_stood_in_the_outbox() -> None:
    bench = Bench([row(1, "a"), row(2, "a"), row(3, "a")], is_modern=True)
    bench.queue.set_late_up_to(2)
    assert [bench.take().sending.is_late for _ in range(3)] == [True, True, False]
    empty = Bench([], is_modern=True)
    empty.outbox.append(row(1, "a"))
    empty.queue.grew()
    assert not empty.must().sending.is_late


def test_a_call_is_encoded_once_and_anew_when_it_has_become_late() -> None:
    encoded: list[bool] = []

    class Counting(SmallVersion):
        def encode(self, notice: Any, refs: Any, sending: Any) -> Any:
            encoded.append(sending.is_late)
            return super().encode(notice, refs, sending)

    bench = Bench([], is_modern=True)
    bench.version = Counting(is_modern=True)
    bench.outbox.append(row(1, "a", ENDED, cost=COST))
    bench.queue.grew()
    for _ in range(3):
        bench.queue.unanswered(bench.must(), link_is_lost=True)
    assert encoded == [False]
    bench.queue.set_late_up_to(1)
    assert bench.must().call.payload["offline"] is True
    assert encoded == [False, True]


def test_a_dead_row_settled_while_the_outbox_was_read_is_not_taken_again_but_another_time_it_is() -> None:
    """What one read knew of is forgotten with the next: a letter sent again by hand may have the same."""
    bench = Bench([row(1, "a", STARTED)], is_modern=True, attempts=1)
    bench.queue.grew()
    assert bench.queue.load_after(is_global=False) == 1
    bench.refuse(bench.must())
    bench.queue.add([row(1, "a", STARTED)])
    assert bench.queue.is_drained
    bench.queue.grew()
    assert bench.queue.load_after(is_global=False) == 0
    bench.queue.add([row(1, "a", STARTED)])
    assert bench.queue.depth == 1


def test_rows_that_are_known_already_keep_what_is_known_of_them() -> None:
    """A page that overlaps: the attempts count in memory, not those that the disk had."""
    bench = Bench([row(1, "a", STARTED), row(2, "a")], is_modern=True)
    bench.refuse(bench.must())
    bench.outbox.append(row(3, "b"))
    bench.queue.grew()
    assert bench.queue.load_after(is_global=False) == 2
    bench.queue.add([row(1, "a", STARTED), row(3, "b"), row(2, "a")])
    assert bench.take().row.row_id == 3
    assert bench.next() is None
    bench.now = 60.0
    assert [bench.take().row.row_id for _ in range(2)] == [1, 2]
    assert bench.queue.newest_known() == 3


def test_rows_go_in_the_order_of_their_ids_whenever_they_were_read() -> None:
    """Those of a gap are read behind newer ones."""
    bench = Bench([row(2, "b"), row(3, "c")], is_modern=True)
    bench.outbox.append(row(1, "a"))
    bench.queue.grew()
    assert bench.queue.load_after(is_global=False) == 3
    bench.queue.add([row(1, "a")])
    assert [bench.take().row.row_id for _ in range(3)] == [1, 2, 3]


def test_behind_a_gap_only_what_was_sent_or_waits_stays_in_the_window() -> None:
    """The rest is read again from the beginning, so that nothing overtakes what is in the gap."""
    bench = Bench([*(row(number, "long") for number in range(1, 301)), *session(301, "odd"), *session(304, "third")], is_modern=True)
    bench.version.broken_rows = {301}
    first = bench.must()
    bench.refuse(first)
    with pytest.raises(KeyError):
        bench.next()
    mark = bench.queue.cannot_encode("a bug of ours", 0.0)
    assert mark is not None
    bench.outbox.mark(mark)
    assert bench.must().row.row_id == 304
    assert bench.queue.depth == 7
    bench.answer(first)
    assert bench.queue.depth == 2
    assert bench.queue.load_after(is_global=False) == 0
    assert bench.queue.newest_known() == 304


def test_a_late_answer_to_the_first_of_two_calls_lets_the_second_go_at_once() -> None:
    bench = Bench([row(1, "a", ENDED, cost=COST)], is_modern=True)
    first = bench.must()
    bench.drop(first)
    bench.refuse(bench.must())
    bench.answer(first)
    assert bench.take().call.action == "DataTransfer"


@pytest.mark.parametrize("late_s", [0.0, 0.5, 86_400.0])
def test_a_row_whose_next_attempt_is_overdue_goes(late_s: float) -> None:
    """The link was away at the moment: it is no dead letter for that."""
    bench = Bench(session(1, "a"))
    bench.refuse(bench.must())
    bench.now = 60.0 + late_s
    assert bench.take().row.row_id == 1
    assert isinstance(bench.outbox.log[-1], Delivered)


def test_only_the_answer_to_a_start_is_needed_by_what_follows() -> None:
    assert [answer_is_needed(each.notice) for each in session(1, "a")] == [True, False, False]


# ------------------------------------------------------------------------------------------------------ what is not durable


def drained(waiting: Waiting) -> list[tuple[Notice, float]]:
    """Everything that waits, in order."""
    return list(iter(lambda: waiting.take(lambda _: True), None))


def test_a_hundred_messages_wait_at_most() -> None:
    waiting = Waiting()
    questions = [authorize(str(number)) for number in range(101)]
    assert [waiting.put(question, number) for number, question in enumerate(questions)] == [*[()] * 100, (questions[0],)]
    assert len(waiting) == 100
    assert drained(waiting) == [(question, number) for number, question in enumerate(questions) if number]


def test_old_statuses_make_room_and_then_no_question_has_to_go() -> None:
    waiting = Waiting(limit=3)
    question, newest = authorize(), status(2)
    statuses = [status(1, word) for word in (ConnectorStatus.OCCUPIED, ConnectorStatus.AVAILABLE)]
    waits: list[Notice] = [question, *statuses]
    for number, notice in enumerate(waits):
        assert waiting.put(notice, number) == ()
    assert waiting.put(newest, 3) == (statuses[0],)
    assert drained(waiting) == [(question, 0), (statuses[1], 2), (newest, 3)]


def test_a_status_that_was_put_back_is_the_first_again() -> None:
    waiting = Waiting()
    first, second = status(1), status(2)
    waiting.put(second, 5)
    waiting.put_back(first, 7)
    assert drained(waiting) == [(first, 7), (second, 5)]


def test_what_was_put_back_into_a_full_queue_lets_it_grow_no_further() -> None:
    waiting = Waiting(limit=2)
    for number in range(2):
        waiting.put(authorize(str(number)), number)
    waiting.put_back(status(1), 2)
    for number in range(3, 10):
        assert len(waiting.put(authorize(str(number)), number)) == 1
        assert len(waiting) == 3


def test_a_lost_link_keeps_the_newest_status_of_each_place_in_order_and_its_time() -> None:
    waiting = Waiting()
    notices: list[Notice] = [status(1, ConnectorStatus.OCCUPIED), status(2), authorize(), status(1), status(3)]
    other = replace(status(1), connector_id=ConnectorId(2))
    for number, notice in enumerate([*notices, other]):
        waiting.put(notice, number)
    assert sorted(map(repr, waiting.link_is_down())) == sorted(map(repr, (notices[0], notices[2])))
    assert drained(waiting) == [(notices[1], 1), (notices[3], 3), (notices[4], 4), (other, 5)]


def test_a_full_report_leaves_all_that_is_no_status() -> None:
    waiting = Waiting()
    question = authorize()
    notices: list[Notice] = [status(1), question, status(2)]
    for number, notice in enumerate(notices):
        waiting.put(notice, number)
    waiting.forget_statuses()
    assert drained(waiting) == [(question, 1)]


@pytest.mark.parametrize(("now", "gone"), [(10.9, 0), (11.0, 1), (14.9, 1), (15.0, 2), (100.0, 2)])
def test_questions_expire_one_by_one_when_their_patience_is_over(now: float, gone: int) -> None:
    waiting = Waiting()
    early, late, place = authorize("early"), authorize("late"), status(1)
    put: list[tuple[Notice, float]] = [(place, 0.0), (early, 1.0), (late, 5.0)]
    for notice, at in put:
        waiting.put(notice, at)
    assert waiting.expired(now, 10.0) == (early, late)[:gone]
    assert waiting.oldest_question() == (1.0, 5.0, None)[gone]
    assert drained(waiting) == put[:1] + put[1 + gone :]
