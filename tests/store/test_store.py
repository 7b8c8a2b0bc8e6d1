"""The store as the engine and the OCPP client use it."""

import asyncio
import selectors
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from agent.domain.authorization import AuthorizationStatus, IdToken, IdTokenInfo
from agent.domain.connector import OperationalStatus
from agent.domain.errors import StoreError
from agent.domain.ids import EvseId
from agent.domain.outbox import Attempted, DeadLettered, Delivered, OutboxRow
from agent.domain.records import CacheEntry, CacheEntryRemoved, EvseRecord, Record, Recovered, StationRecord, StoredVariable
from agent.domain.time import Instant
from agent.domain.transaction import TransactionEventType, TriggerReason
from agent.domain.variables import ValueSource, VariableKey, parse_variable_key
from agent.store import store as store_module
from agent.store import tables
from agent.store.store import FILE_NAME, Store
from agent.store.tables import Position
from tests.store.build import BOOT, EPOCH, TOKEN, at, end_notice, ended, meter_value, notice, now, reading, record, transaction_id

OTHER_BOOT = "5b6f7e1c-0000-4000-8000-000000000002"


@asynccontextmanager
async def opened(directory: Path, *, boot_id: str = BOOT) -> AsyncIterator[Store]:
    store = await Store.open(directory, boot_id=boot_id, now=now)
    try:
        yield store
    finally:
        await store.aclose()


@asynccontextmanager
async def recovered(directory: Path, *, boot_id: str = BOOT) -> AsyncIterator[tuple[Store, Recovered]]:
    async with opened(directory, boot_id=boot_id) as store:
        yield store, await store.recover()


async def crash(store: Store) -> None:
    """End as a killed process does: what is only in memory is gone."""
    store._cancel_timer()
    store._pending = tables.Pending()
    await store._db.aclose()


def seqs(rows: Sequence[OutboxRow]) -> list[tuple[str, int]]:
    return [(row.notice.transaction_id[-2:], row.notice.seq_no) for row in rows]


def delivered(row: OutboxRow, remote_id: int | None = None) -> Delivered:
    return Delivered(row_id=row.row_id, transaction_id=row.notice.transaction_id, remote_id=remote_id)


def dead(row: OutboxRow) -> DeadLettered:
    return DeadLettered(row_id=row.row_id, transaction_id=row.notice.transaction_id, error="InternalError: no")


async def idle(store: Store) -> None:
    """Wait until nothing is being written."""
    async with asyncio.timeout(5):
        while store._flushing is not None:
            await asyncio.sleep(0)


# ----------------------------------------------------------------------------------------------------------------- records


KEY = parse_variable_key("OCPPCommCtrlr.MessageTimeout[Default]")
ODD_KEY = VariableKey(component="Vendor Thing", variable="A]b", instance="x]y.z", evse_id=1)
GROUPED = IdTokenInfo(AuthorizationStatus.ACCEPTED, cache_expiry=EPOCH, group_id_token=IdToken("G"))


async def test_everything_that_was_recorded_comes_back(tmp_path: Path) -> None:
    station = StationRecord(operational_status=OperationalStatus.INOPERATIVE, was_accepted=True, reset_kind="OnIdle")
    evse = EvseRecord(evse_id=EvseId(2), operational_status=OperationalStatus.INOPERATIVE)
    variables = [StoredVariable(key=key, value="30", source=ValueSource.CSMS) for key in (KEY, ODD_KEY)]
    entry = CacheEntry(id_token=TOKEN, info=GROUPED, stored_at=EPOCH)
    running = record(3, samples=4)
    async with opened(tmp_path) as store:
        await store.commit([station, evse, *variables, entry, running, ended(2)], [])
    async with recovered(tmp_path) as (_, found):
        assert found == Recovered(
            station=station,
            evses=(evse,),
            variables=tuple(sorted(variables, key=lambda v: str(v.key.folded()))),
            cache=(entry,),
            transactions=(running,),
        )


async def test_an_empty_store_gives_defaults(tmp_path: Path) -> None:
    async with recovered(tmp_path / "new" / "deep") as (store, found):
        assert found == Recovered()
        assert store.remarks == ()
        assert store.is_durable
        assert store.was_orderly is None
        assert store.queue_depth == 0


async def test_names_of_variables_are_compared_without_case(tmp_path: Path) -> None:
    first = StoredVariable(key=KEY, value="30", source=ValueSource.CSMS)
    second = StoredVariable(key=parse_variable_key("ocppcommctrlr.messagetimeout[default]"), value="40", source=ValueSource.TECHNICIAN)
    async with opened(tmp_path) as store:
        await store.commit([first], [])
        await store.commit([second], [])
    async with recovered(tmp_path) as (_, found):
        assert found.variables == (second,)


async def test_a_token_is_one_cache_entry_whatever_its_case_and_type(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for token in (IdToken("AbC1"), IdToken("aBc1")):
            await store.commit([CacheEntry(id_token=token, info=GROUPED, stored_at=None)], [])
        await store.commit([CacheEntry(id_token=IdToken("other"), info=GROUPED, stored_at=None)], [])
        await store.commit([CacheEntryRemoved(IdToken("OTHER"))], [])
    async with recovered(tmp_path) as (_, found):
        assert [entry.id_token.value for entry in found.cache] == ["aBc1"]


async def test_the_boot_before_is_known(tmp_path: Path) -> None:
    async with recovered(tmp_path) as (store, found):
        assert found.last_boot_id is None
        await store.commit([record()], [])
        await crash(store)
    async with recovered(tmp_path, boot_id=OTHER_BOOT) as (store, found):
        assert found.last_boot_id == BOOT
        assert store.was_orderly is False
    async with recovered(tmp_path, boot_id=OTHER_BOOT) as (store, found):
        assert found.last_boot_id == OTHER_BOOT
        assert store.was_orderly is True


async def test_samples_for_the_end_are_added_and_not_written_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        many = record(samples=300)
        await store.commit([many], [])
        before = (await store.status()).written_bytes
        for count in range(301, 311):
            await store.commit([replace(many, ended_values=tuple(meter_value(n) for n in range(count)))], [])
        assert (await store.status()).written_bytes - before < 10 * 12_000, "300 samples are some 60,000 bytes"
        await crash(store)
    async with recovered(tmp_path) as (store, found):
        assert len(found.transactions[0].ended_values) == 310
        thinned = replace(found.transactions[0], ended_values=found.transactions[0].ended_values[::2])
        await store.commit([thinned], [])
        await crash(store)
    async with recovered(tmp_path) as (store, found):
        assert found.transactions == (thinned,)
        await store.commit([replace(ended(1), ended_values=thinned.ended_values)], [])
        assert (await store.sessions())[0].record == ended(1), "the end message has them; the list needs none"


# ------------------------------------------------------------------------------------------------------------------ commits


async def test_records_and_notices_are_one_unit(tmp_path: Path) -> None:
    """A notice that cannot be stored takes the record with it."""
    async with opened(tmp_path) as store:
        await store.commit([record(1)], [notice(1, 0)])
        with pytest.raises(StoreError, match="without a record"):
            await store.commit([record(1, next_seq_no=9)], [notice(1, 1), notice(2, 0)])
        assert not store.is_durable
        assert seqs(await store.rows(0, 10)) == [("01", 0)]
        assert [t.next_seq_no for t in (await store.recover()).transactions] == [1]


async def test_the_same_commit_twice_stores_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for _ in range(3):
            await store.commit([record(1)], [notice(1, 0), notice(1, 1)])
        assert seqs(await store.rows(0, 10)) == [("01", 0), ("01", 1)]
        assert store.queue_depth == 2


async def test_a_commit_repeated_after_delivery_does_not_queue_again(tmp_path: Path) -> None:
    """COMMIT may fail to answer although it is on disk; by the repeat the message may be through."""
    async with opened(tmp_path) as store:
        await store.commit([record(1)], [notice(1, 0)])
        (row,) = await store.rows(0, 10)
        store.mark(delivered(row, 7))
        await store.flush()
        await store.commit([record(1)], [notice(1, 0), notice(1, 1)])
        assert seqs(await store.rows(0, 10)) == [("01", 1)]
        assert store.queue_depth == 1


async def test_a_notice_is_never_written_over(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit([record(1)], [notice(1, 0)])
        with pytest.raises(StoreError, match="another content"):
            await store.commit([], [notice(1, 0, register_wh=9999)])
        (row,) = await store.rows(0, 10)
        assert row.notice == notice(1, 0)


async def test_a_cancelled_commit_is_whole_and_the_books_agree(tmp_path: Path) -> None:
    """Cancelled at every turn of the loop: either nothing or everything is stored, no BEGIN stays open, memory and disk agree."""
    async with opened(tmp_path) as store:
        for number in range(1, 30):
            task = asyncio.create_task(store.commit([record(number)], [notice(number, 0), notice(number, 1)]))
            for _ in range(number % 6):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await store.commit([EvseRecord(evse_id=EvseId(1))], [])
            assert not await store._db.read(lambda db: db.in_transaction)
            rows = await store.rows(0, 1000)
            assert len(rows) % 2 == 0
            assert store.queue_depth == len(rows)
        assert rows, "some began before they were cancelled"
        assert [row.row_id for row in rows] == sorted({row.row_id for row in rows})


async def test_many_commits_at_once_keep_their_order(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit([record(1)], [])
        async with asyncio.TaskGroup() as group:
            for seq_no in range(50):
                group.create_task(store.commit([record(1, next_seq_no=seq_no + 1)], [notice(1, seq_no)]))
                group.create_task(store.rows(0, 5))
        assert [seq for _, seq in seqs(await store.rows(0, 100))] == list(range(50))


# ------------------------------------------------------------------------------------------------------------------- outbox


async def test_rows_come_in_windows_in_order(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for number in range(1, 11):
            await store.commit([ended(number)], [notice(number, 0), end_notice(number)])
        everything = await store.rows(0, 100)
        assert seqs(everything) == [(f"{n:02}", s) for n in range(1, 11) for s in (0, 1)]
        assert await store.rows(0, 7) == everything[:7]
        assert await store.rows(everything[6].row_id, 7) == everything[7:14]
        assert await store.rows(everything[-1].row_id, 7) == []
        for row in everything[:9]:
            store.mark(delivered(row))
        assert await store.rows(0, 7) == everything[9:16], "what was marked is gone before it is on disk"
        assert store.queue_depth == 11


async def test_marks_ride_with_the_next_commit(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit([record(1)], [notice(1, seq) for seq in range(10)])
        syncs = (await store.status()).syncs
        for row in (await store.rows(0, 10))[1:6]:
            store.mark(delivered(row))
        await asyncio.sleep(0)
        assert (await store.status()).syncs == syncs
        await store.commit([record(1, next_seq_no=11)], [notice(1, 10)])
        status = await store.status()
        assert status.syncs == syncs + 1
        assert (status.queued, status.pending_marks) == (6, 0)
        await crash(store)
    async with opened(tmp_path) as store:
        assert [seq for _, seq in seqs(await store.rows(0, 20))] == [0, 6, 7, 8, 9, 10]


async def test_marks_alone_are_on_disk_after_the_delay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MARK_DELAY_S", 0.05)
    async with opened(tmp_path) as store:
        await store.commit([record(1)], [notice(1, seq) for seq in range(4)])
        rows = await store.rows(0, 10)
        syncs = (await store.status()).syncs
        store.mark(delivered(rows[1]))
        store.mark(Attempted(row_id=rows[2].row_id, attempts=1, calls_answered=0, error="InternalError"))
        async with asyncio.timeout(5):
            while (await store.status()).pending_marks:
                await asyncio.sleep(0.01)
        assert (await store.status()).syncs == syncs + 1
        await crash(store)
    async with opened(tmp_path) as store:
        rows = await store.rows(0, 10)
        assert [(row.notice.seq_no, row.attempts, row.was_sent) for row in rows] == [(0, 0, False), (2, 1, True), (3, 0, False)]


class VirtualSelector(selectors.DefaultSelector):
    """Lets time jump to the next timer when nothing is ready and nothing is out on the thread."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0
        self.calls_out: Callable[[], int] = int

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None or self.calls_out():
            return super().select(5)
        self.now_s += timeout
        return []


def test_marks_are_on_disk_within_five_seconds_of_virtual_time(tmp_path: Path) -> None:
    selector = VirtualSelector()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now_s  # type: ignore[method-assign]

    async def story() -> None:
        async with opened(tmp_path) as store:
            selector.calls_out = lambda: store.calls_out
            await store.commit([record(1)], [notice(1, 0), notice(1, 1), notice(1, 2)])
            rows = await store.rows(0, 10)
            begun = loop.time()
            store.mark(delivered(rows[1]))
            await asyncio.sleep(3)
            store.mark(delivered(rows[2]))
            await asyncio.sleep(1.9)
            assert loop.time() - begun == pytest.approx(4.9)
            assert (await store.status()).pending_marks == 2
            await asyncio.sleep(0.2)
            assert ((await store.status()).pending_marks, (await store.status()).queued) == (0, 1)
            await asyncio.sleep(3600)
            assert loop.time() - begun > 3600

    with closing(loop):
        loop.run_until_complete(story())


async def test_the_number_of_a_start_is_durable_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit([record(1)], [notice(1, 0), notice(1, 1)])
        (start, _) = await store.rows(0, 10)
        store.mark(delivered(start, 2**40))
        assert store.remote_id(transaction_id(1)) == 2**40
        assert store.transaction_id(2**40) == transaction_id(1)
        await idle(store)
        await crash(store)
    async with opened(tmp_path) as store:
        assert store.remote_id(transaction_id(1)) == 2**40
        assert store.transaction_id(2**40) == transaction_id(1)
        assert [seq for _, seq in seqs(await store.rows(0, 10))] == [1]


async def test_marks_of_one_moment_share_one_sync(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for number in range(1, 41):
            await store.commit([record(number)], [notice(number, 0)])
        rows = await store.rows(0, 100)
        syncs = (await store.status()).syncs
        for row in rows:
            store.mark(delivered(row, row.row_id))
        await idle(store)
        assert (await store.status()).syncs - syncs <= 2
        assert (await store.status()).queued == 0


async def test_an_attempt_shows_at_once_and_a_second_verdict_changes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit([record(1)], [notice(1, 0), notice(1, 1)])
        rows = await store.rows(0, 10)
        store.mark(Attempted(row_id=rows[1].row_id, attempts=2, calls_answered=1, error="x"))
        assert (await store.rows(rows[0].row_id, 10))[0] == replace(rows[1], attempts=2, calls_answered=1, was_sent=True)
        store.mark(delivered(rows[1]))
        store.mark(Attempted(row_id=rows[1].row_id, attempts=3, calls_answered=1, error="late"))
        store.mark(dead(rows[1]))
        await store.flush()
        store.mark(delivered(rows[1]))
        await store.flush()
        assert seqs(await store.rows(0, 10)) == [("01", 0)]
        assert store.queue_depth == 1
        assert not await store.dead_letters()


async def test_marks_of_a_failed_unit_stay_pending(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit([record(1)], [notice(1, 0), notice(1, 1)])
        rows = await store.rows(0, 10)
        store.mark(delivered(rows[1]))
        with pytest.raises(StoreError):
            await store.commit([], [notice(9, 0)])
        assert (await store.status()).queued == 2
        assert seqs(await store.rows(0, 10)) == [("01", 0)]
        await store.commit([record(1, next_seq_no=3)], [notice(1, 2)])
        assert (await store.status()).queued == 2
        assert seqs(await store.rows(0, 10)) == [("01", 0), ("01", 2)]


async def test_a_delivered_transaction_is_closed_in_the_books(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit([record(1)], [notice(1, 0)])
        store.mark(delivered((await store.rows(0, 10))[0], 7))
        await store.flush()
        assert not (await store.sessions())[0].is_delivered, "it runs"
        assert store.transaction_id(7) == transaction_id(1)
        await store.commit([ended(1)], [end_notice(1)])
        assert not (await store.sessions())[0].is_delivered, "its end waits"
        store.mark(delivered((await store.rows(0, 10))[0]))
        await store.flush()
        (session,) = await store.sessions()
        assert (session.is_delivered, session.queued, session.dead, session.remote_id) == (True, 0, 0, 7)
        assert session.record == ended(1)
        assert store.transaction_id(7) is None
        assert store.remote_id(transaction_id(1)) is None


async def test_a_number_used_twice_is_the_newest_transaction(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit([ended(1), record(2)], [notice(1, 0), end_notice(1), notice(2, 0)])
        first, end, second = await store.rows(0, 10)
        store.mark(delivered(first, 7))
        store.mark(delivered(second, 7))
        assert store.transaction_id(7) == transaction_id(2)
        store.mark(delivered(end))
        await store.flush()
        assert store.transaction_id(7) == transaction_id(2), "the first is through, the second runs"
        await store.aclose()
    async with opened(tmp_path) as store:
        assert store.transaction_id(7) == transaction_id(2)


# ------------------------------------------------------------------------------------------------------------- dead letters


async def test_a_dead_letter_is_kept_and_visible_and_the_queue_goes_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit([ended(1)], [notice(1, 0), notice(1, 1), end_notice(1, 2)])
        rows = await store.rows(0, 10)
        store.mark(Attempted(row_id=rows[1].row_id, attempts=3, calls_answered=0, error="InternalError: try 3"))
        await store.flush()
        store.mark(dead(rows[1]))
        assert seqs(await store.rows(0, 10)) == [("01", 0), ("01", 2)]
        await idle(store)
        await crash(store)
    async with opened(tmp_path) as store:
        (letter,) = await store.dead_letters()
        assert (letter.row_id, letter.attempts, letter.error, letter.notice) == (rows[1].row_id, 3, "InternalError: no", rows[1].notice)
        assert not store.is_start_dead(transaction_id(1))
        for row in await store.rows(0, 10):
            store.mark(delivered(row))
        await store.flush()
        assert not (await store.sessions())[0].is_delivered
        await store.resend_dead(letter.row_id)
        (again,) = await store.rows(rows[-1].row_id, 10)
        assert (again.notice, again.attempts) == (rows[1].notice, 0)
        store.mark(delivered(again))
        await store.flush()
        assert (await store.sessions())[0].is_delivered
        with pytest.raises(StoreError, match="no dead letter"):
            await store.resend_dead(letter.row_id)


async def test_what_follows_a_dead_start_is_held_and_sent_again_with_it(tmp_path: Path) -> None:
    """1.6 errata 3.18: what follows went out under -1; the whole transaction can be sent again, in its order, behind what waits."""
    async with opened(tmp_path) as store:
        await store.commit([ended(1)], [notice(1, 0), notice(1, 1), end_notice(1, 2)])
        start, update, end = await store.rows(0, 10)
        store.mark(dead(start))
        assert store.is_start_dead(transaction_id(1))
        store.mark(delivered(update))
        with pytest.raises(StoreError, match="still wait"):
            await store.resend_dead(start.row_id)
        await idle(store)
        await crash(store)
    async with opened(tmp_path) as store:
        assert store.is_start_dead(transaction_id(1))
        store.mark(delivered(end))
        await store.flush()
        status = await store.status()
        assert (status.queued, status.held, status.dead) == (0, 2, 1)
        await store.commit([record(2)], [notice(2, 0)])
        await store.resend_dead(start.row_id)
        assert not store.is_start_dead(transaction_id(1))
        rows = await store.rows(0, 10)
        assert seqs(rows) == [("02", 0), ("01", 0), ("01", 1), ("01", 2)]
        assert min(row.row_id for row in rows) > end.row_id, "a reader that is past the old place finds them"
        store.mark(delivered(rows[1], 8))
        assert store.remote_id(transaction_id(1)) == 8
        for row in rows[2:]:
            store.mark(delivered(row))
        await store.flush()
        assert (await store.sessions())[1].is_delivered


@pytest.mark.pain(7)
async def test_a_stop_that_is_sent_again_carries_the_number_of_its_transaction(tmp_path: Path) -> None:
    """1.6: nothing of the transaction waited any more, so its number was forgotten in memory; without it the Stop can never go."""
    async with opened(tmp_path) as store:
        await store.commit([ended(1)], [notice(1, 0), end_notice(1, 1)])
        start, end = await store.rows(0, 10)
        store.mark(delivered(start, 77))
        store.mark(dead(end))
        await idle(store)
        assert store.remote_id(transaction_id(1)) is None
        await store.resend_dead(end.row_id)
        assert (store.remote_id(transaction_id(1)), store.transaction_id(77)) == (77, transaction_id(1))
        (again,) = await store.rows(0, 10)
        store.mark(delivered(again))
        await store.flush()
        assert store.remote_id(transaction_id(1)) is None
        assert (await store.sessions())[0].is_delivered


async def test_all_dead_letters_are_sent_again_but_those_that_would_overtake(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for number in (1, 2, 3):
            await store.commit([ended(number)], [notice(number, 0), notice(number, 1), end_notice(number, 2)])
        rows = await store.rows(0, 10)
        for row in (rows[0], rows[1], rows[3], rows[7]):
            store.mark(dead(row))
        for row in (rows[2], rows[4], rows[5], rows[6]):
            store.mark(delivered(row))
        await idle(store)
        await store.flush()
        assert [letter.row_id for letter in await store.dead_letters(2, after=rows[0].row_id)] == [rows[1].row_id, rows[3].row_id]
        assert await store.resend_all_dead() == 3
        assert seqs(await store.rows(rows[-1].row_id, 10)) == [("01", 0), ("01", 1), ("01", 2), ("02", 0), ("02", 1), ("02", 2)]
        (left,) = await store.dead_letters()
        assert left.transaction_id == transaction_id(3), "its Ended still waits"
        assert await store.resend_all_dead() == 0


@pytest.mark.pain(7)
async def test_everything_that_bills_a_session_with_a_dead_letter_can_be_read_in_pages(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for number in (1, 2, 3):
            await store.commit([ended(number)], [notice(number, 0), notice(number, 1), end_notice(number, 2)])
        rows = await store.rows(0, 10)
        store.mark(delivered(rows[0], 5))
        store.mark(dead(rows[1]))
        store.mark(dead(rows[6]))
        store.mark(delivered(rows[7]))
        await store.flush()
        found: list[tuple[str, int, str, int | None]] = []
        after: Position | None = Position()
        while after is not None:
            page = await store.undelivered(2, after)
            found += [
                (m.transaction_id[-2:], m.seq_no, m.state, s.energy_wh if (s := session.record) else None) for session, m in page.messages
            ]
            after = page.end
        assert found == [
            ("01", 1, "dead", 1500),
            ("01", 2, "queued", 1500),
            ("03", 0, "dead", 1500),
            ("03", 1, "held", 1500),
            ("03", 2, "queued", 1500),
        ]
        beside = await store.messages_beside(rows[6].row_id, 10)
        assert [message.seq_no for _, message in beside.messages] == [0, 1, 2]
        with pytest.raises(StoreError, match="no dead letter"):
            await store.messages_beside(rows[2].row_id, 10)


async def test_an_unreadable_notice_goes_to_dead_letters_and_the_queue_goes_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit([ended(1)], [notice(1, 0), notice(1, 1), end_notice(1, 2)])
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        db.execute("UPDATE outbox SET notice = CAST(x'7b22ff' AS TEXT) WHERE seq_no = 1")
        db.commit()
    async with opened(tmp_path) as store:
        assert [seq for _, seq in seqs(await store.rows(0, 10))] == [0, 2]
        await idle(store)
        (letter,) = await store.dead_letters()
        assert letter.notice is None
        assert "unreadable" in letter.error


async def test_an_unreadable_record_is_told_and_the_rest_recovered(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit([record(1), record(2), EvseRecord(evse_id=EvseId(1))], [notice(1, 0)])
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        db.execute("UPDATE transactions SET record = '{' WHERE ordinal = 1")
        db.execute("UPDATE evses SET record = '[]'")
        db.commit()
    async with recovered(tmp_path) as (store, found):
        assert [t.transaction_id for t in found.transactions] == [transaction_id(2)]
        assert found.evses == ()
        assert any(transaction_id(1) in remark for remark in store.remarks)
        assert seqs(await store.rows(0, 10)) == [("01", 0)]
        assert [session.record is None for session in await store.sessions()] == [False, True]


# ------------------------------------------------------------------------------------------------------------------- budget


async def test_old_delivered_transactions_are_forgotten_and_undelivered_ones_never(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "KEPT_TRANSACTIONS", 5)
    async with opened(tmp_path) as store:
        for number in range(1, 21):
            await store.commit([ended(number)], [notice(number, 0), end_notice(number)])
        rows = await store.rows(0, 100)
        assert len(await store.sessions(100)) == 20, "none was delivered"
        for row in rows:
            if row.notice.transaction_id not in {transaction_id(3), transaction_id(4)}:
                store.mark(delivered(row))
        store.mark(dead(rows[4]))
        await store.flush()
        kept = [session.transaction_id for session in await store.sessions(100)]
        assert kept == [transaction_id(n) for n in (20, 19, 18, 17, 16, 4, 3)]


@pytest.mark.pain(13)
async def test_a_queue_that_is_too_long_is_thinned_in_its_periodic_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_QUEUED", 100)
    other = TriggerReason.CHARGING_STATE_CHANGED
    async with opened(tmp_path) as store:
        for number in range(1, 5):
            middle = [notice(number, seq, trigger=other) if seq == 4 else notice(number, seq) for seq in range(1, 20)]
            await store.commit([ended(number, next_seq_no=21)], [notice(number, 0), *middle, end_notice(number, 20)])
        assert (await store.status()).thinned == 0
        await store.commit([record(5)], [notice(5, seq) for seq in range(30)])
        status = await store.status()
        assert status.thinned > 0
        assert status.queued == store.queue_depth == 4 * 21 + 30 - status.thinned
        rows = await store.rows(0, 1000)
        assert [seq for tx, seq in seqs(rows) if tx == "05"] == list(range(30)), "ended transactions first"
        assert [seq for tx, seq in seqs(rows) if tx == "01"] == [0, 1, 3, 4, 6, 8, 10, 12, 14, 16, 18, 19, 20], "the first, third, fifth …"
        for number in range(1, 5):
            left = [seq for tx, seq in seqs(rows) if tx == f"{number:02}"]
            assert {0, 1, 4, 19, 20} <= set(left), "start, first, change of state, last, end"
        for _ in range(12):
            await store.commit([record(5)], [notice(5, seq) for seq in range(30)])
        assert store.queue_depth <= 100
        await store.commit([record(5)], [notice(5, 30)])
        assert ("05", 30) in seqs(await store.rows(0, 1000))


async def test_runs_and_anchors_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "KEPT_RUNS", 3)
    for number in range(6):
        async with recovered(tmp_path, boot_id=f"boot-{number}") as (store, _):
            store.set_anchor(f"boot-{number}", 0, EPOCH)
    async with opened(tmp_path) as store:
        assert sorted(store._books.anchors) == sorted(store._books.boot_times) == ["boot-3", "boot-4", "boot-5"]


async def test_what_waits_keeps_its_time_however_often_the_process_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A watchdog, a network that is away for weeks: the message of the first boot still has its time when it can go."""
    monkeypatch.setattr(tables, "KEPT_RUNS", 3)
    async with recovered(tmp_path) as (store, _):
        store.set_anchor(BOOT, 0, EPOCH)
        await store.commit([record(1)], [notice(1, 0)])
    for number in range(6):
        async with recovered(tmp_path, boot_id=f"boot-{number}") as (store, _):
            assert store.utc_of(at(1_000, is_utc_known=False)) == EPOCH + timedelta(seconds=1)


# -------------------------------------------------------------------------------------------------------------------- clock


async def test_moments_without_a_clock_get_their_time_when_it_is_known(tmp_path: Path) -> None:
    dark = at(1_000, is_utc_known=False)
    async with recovered(tmp_path) as (store, _):
        assert store.utc_of(dark) is None
        store.set_anchor(BOOT, 61_000, EPOCH)
        assert store.utc_of(dark) is None, "not before it is on disk: after a cut it would get another one"
        assert store.may_learn(dark)
        await idle(store)
        assert store.utc_of(dark) == EPOCH - timedelta(seconds=60)
        assert store.utc_of(Instant(OTHER_BOOT, 1_000)) is None
    async with recovered(tmp_path, boot_id=OTHER_BOOT) as (store, _):
        assert store.utc_of(dark) == EPOCH - timedelta(seconds=60), "a boot that is over keeps its anchor"
        assert not store.may_learn(dark)
        assert store.time_floor is not None
        assert store.time_floor >= EPOCH


async def test_a_record_of_an_earlier_boot_comes_back_with_the_times_that_are_told(tmp_path: Path) -> None:
    """The board's clock was an hour ahead or unknown then: what goes on in the next boot is compared with the true time."""
    ahead = record(1)
    dark = replace(record(2), started_at=at(is_utc_known=False), last_event_at=at(500, is_utc_known=False))
    async with recovered(tmp_path) as (store, _):
        await store.commit([ahead, dark], [])
        store.set_anchor(BOOT, 60_000, EPOCH - timedelta(minutes=59), EPOCH + timedelta(seconds=60))
        await idle(store)
    async with recovered(tmp_path) as (_, found):
        assert found.transactions == (ahead, dark), "within its boot nothing is known better"
    async with recovered(tmp_path, boot_id=OTHER_BOOT) as (_, found):
        one, other = found.transactions
        assert one.started_at.utc == EPOCH - timedelta(hours=1)
        assert one.last_reading.at.utc == EPOCH - timedelta(hours=1)
        assert other.started_at.utc == EPOCH - timedelta(hours=1)
        assert other.last_event_at == at(500, is_utc_known=False).anchored_to(other.started_at)


async def test_a_known_time_is_never_moved(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        store.set_anchor(BOOT, 0, EPOCH + timedelta(hours=3))
        assert store.utc_of(at(5)) == EPOCH + timedelta(milliseconds=5)


async def test_a_small_correction_moves_nothing_and_costs_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        store.set_anchor(BOOT, 0, EPOCH)
        await store.flush()
        syncs = (await store.status()).syncs
        store.set_anchor(BOOT, 10_000, EPOCH + timedelta(seconds=10.9))
        await store.flush()
        assert (await store.status()).syncs == syncs
        assert store.utc_of(at(0, is_utc_known=False)) == EPOCH
        store.set_anchor(BOOT, 20_000, EPOCH + timedelta(seconds=25))
        await store.flush()
        assert store.utc_of(at(0, is_utc_known=False)) == EPOCH, "it may have been sent"
        moved = store.anchor(BOOT)
        assert moved is not None
        assert moved.utc == EPOCH + timedelta(seconds=25), "the clock goes on from the correction"
    with pytest.raises(ValueError, match="time zone"):
        store.set_anchor(BOOT, 0, datetime(2026, 1, 1))  # noqa: DTZ001 - the mistake that is refused


async def test_the_time_of_a_message_does_not_change_by_a_crash(tmp_path: Path) -> None:
    """It went out with the first time that the boot was told; the next run of the boot is told a little later what time it is."""
    dark = at(1_000, is_utc_known=False)
    async with recovered(tmp_path) as (store, _):
        store.set_anchor(BOOT, 10_000, EPOCH)
        await idle(store)
        sent = store.utc_of(dark)
        store.set_anchor(BOOT, 20_000, EPOCH + timedelta(minutes=3))
        await crash(store)
    async with recovered(tmp_path) as (store, _):
        store.set_anchor(BOOT, 30_000, EPOCH + timedelta(minutes=4))
        await store.flush()
        assert store.utc_of(dark) == sent == EPOCH - timedelta(seconds=9)


async def test_moments_by_a_wrong_clock_get_the_time_of_their_boot_and_keep_it(tmp_path: Path) -> None:
    """A board without a battery wakes up with the time at which it was switched off: plausible, and three days wrong."""
    wrong = timedelta(days=-3)
    by_board = [Instant(BOOT, ms, EPOCH + timedelta(milliseconds=ms) + wrong) for ms in (0, 1, 7_200_000)]
    drifted = Instant(BOOT, 7_200_000, EPOCH + timedelta(hours=2, seconds=9) + wrong)
    told = Instant(BOOT, 7_300_000, EPOCH + timedelta(milliseconds=7_300_000))
    async with recovered(tmp_path) as (store, _):
        assert [store.utc_of(moment) for moment in by_board] == [moment.utc for moment in by_board]
        store.set_anchor(BOOT, 7_200_000, EPOCH + timedelta(hours=2), EPOCH + timedelta(hours=2) + wrong)
        assert store.utc_of(by_board[0]) is None, "not sent before it is on disk, or a cut could give it two times"
        assert store.utc_of(told) == told.utc
        await store.flush()
        right = [EPOCH + timedelta(milliseconds=moment.mono_ms) for moment in by_board]
        assert [store.utc_of(moment) for moment in by_board] == right
        store.set_anchor(BOOT, 7_400_000, EPOCH + timedelta(hours=9))
        await store.flush()
        assert [store.utc_of(moment) for moment in by_board] == right
    async with recovered(tmp_path, boot_id=OTHER_BOOT) as (store, _):
        assert [store.utc_of(moment) for moment in by_board] == right
        assert store.utc_of(drifted) == EPOCH + timedelta(hours=2)
        assert store.utc_of(told) == told.utc
        assert store.utc_of(at(0, is_utc_known=False)) == EPOCH


async def test_an_anchor_moves_on_along_its_own_line(tmp_path: Path) -> None:
    """After a power cut of a charger that idled for weeks the disk knows how late it was, and no message got another time meanwhile."""
    async with recovered(tmp_path) as (store, _):
        store.set_anchor(BOOT, 0, EPOCH)
        await idle(store)
        for hour in range(1, 24 * 14):
            store.set_anchor(BOOT, hour * 3_600_000, EPOCH + timedelta(hours=hour, seconds=0.9))
            assert store.utc_of(at(0, is_utc_known=False)) == EPOCH
        moved = store.anchor(BOOT)
        assert moved is not None
        assert moved.mono_ms >= (24 * 14 - 13) * 3_600_000
    async with opened(tmp_path) as store:
        assert store.anchor(BOOT) == moved
        assert store.synchronized_at == moved.utc
        assert store.anchor(OTHER_BOOT) is None
        assert store.time_floor is not None
        assert moved.utc is not None
        assert store.time_floor >= moved.utc


async def test_another_zone_is_stored_as_utc(tmp_path: Path) -> None:
    async with recovered(tmp_path) as (store, _):
        store.set_anchor(BOOT, 0, datetime.fromisoformat("2026-01-01T11:00:00+01:00"))
    async with opened(tmp_path) as store:
        assert store.utc_of(at(0, is_utc_known=False)) == datetime(2026, 1, 1, 10, tzinfo=UTC)


# --------------------------------------------------------------------------------------------------------------- statistics


async def test_the_lifetime_register_is_kept_and_rarely_written(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        syncs = (await store.status()).syncs
        for step in range(100):
            store.save_lifetime(EvseId(1), total_wh=Decimal(step), register_wh=Decimal(1000 + step), at=at(step), serial_number="M-1")
            await asyncio.sleep(0)
        assert (await store.status()).syncs == syncs
    async with opened(tmp_path) as store:
        lifetime = store.lifetime(EvseId(1))
        assert lifetime is not None
        assert (lifetime.total_wh, lifetime.register_wh, lifetime.serial_number) == (Decimal(99), Decimal(1099), "M-1")
        assert store.lifetime(EvseId(2)) is None


async def test_a_charging_hour_at_60_s_values_stays_within_the_flash_budget(tmp_path: Path) -> None:
    """Issue budget: 2 MB for a charging hour; here sixty samples, each delivered and its mark written alone."""
    async with recovered(tmp_path) as (store, _):
        before = await store.status()
        await store.commit([record(1)], [notice(1, 0)])
        store.mark(delivered((await store.rows(0, 9))[0], 7))
        await idle(store)
        for minute in range(1, 61):
            checkpoint = replace(record(1, next_seq_no=minute + 1, ms=minute * 60_000), last_reading=reading(Decimal(1000 + minute)))
            await store.commit([checkpoint], [notice(1, minute)])
            store.mark(delivered((await store.rows(0, 9))[0]))
            await store.flush()
        await store.commit([ended(1, next_seq_no=62)], [end_notice(1, 61)])
        store.mark(delivered((await store.rows(0, 9))[0]))
        await store.flush()
        after = await store.status()
        assert after.written_bytes - before.written_bytes < 1_000_000
        assert after.syncs - before.syncs <= 2 * 62 + 4
        assert (await store.sessions())[0].is_delivered


async def test_reading_and_idling_write_nothing(tmp_path: Path) -> None:
    async with recovered(tmp_path) as (store, _):
        await store.commit([record(1)], [notice(1, 0)])
        before = await store.status()
        for _ in range(20):
            await store.rows(0, 10)
            await store.sessions()
            await store.dead_letters()
            await store.commit([], [])
            await store.flush()
        after = await store.status()
        assert (after.syncs, after.written_bytes) == (before.syncs, before.written_bytes)


async def test_the_watchdog_sees_a_unit_that_hangs(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit([record(1)], [])
        assert store.busy_s == 0.0
        with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            task = asyncio.create_task(store.commit([record(2)], []))
            async with asyncio.timeout(5):
                while store.busy_s < 0.05:
                    await asyncio.sleep(0.01)
            assert not task.done()
            other.execute("ROLLBACK")
        await task
        assert store.busy_s == 0.0


def test_records_cover_the_union() -> None:
    """Each kind of record has its place; a new one is a type error in the store and fails here."""
    known = {StationRecord, EvseRecord, type(record()), StoredVariable, CacheEntry, CacheEntryRemoved}
    assert set(Record.__args__) == known


async def test_event_types_of_the_outbox_are_the_domains_words(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit([ended(1)], [notice(1, 0), notice(1, 1), end_notice(1, 2)])
        stored = await store._db.read(lambda db: [row[0] for row in db.execute("SELECT event_type FROM outbox ORDER BY row_id")])
        assert stored == [TransactionEventType.STARTED, TransactionEventType.UPDATED, TransactionEventType.ENDED]


# ------------------------------------------------------------------------------------------------------- the edges of the rules


async def test_what_was_marked_last_is_on_disk_after_an_orderly_end(tmp_path: Path) -> None:
    """Else every restart would send the last messages twice."""
    async with recovered(tmp_path) as (store, _):
        await store.commit([record(1)], [notice(1, 0), notice(1, 1), notice(1, 2)])
        rows = await store.rows(0, 10)
        store.mark(delivered(rows[1]))
        store.mark(Attempted(row_id=rows[2].row_id, attempts=2, calls_answered=1))
        store.save_lifetime(EvseId(1), total_wh=Decimal(5), register_wh=Decimal(6), at=at(), serial_number="M-1")
    async with recovered(tmp_path) as (store, _):
        assert [(row.notice.seq_no, row.attempts, row.calls_answered) for row in await store.rows(0, 10)] == [(0, 0, 0), (2, 2, 1)]
        lifetime = store.lifetime(EvseId(1))
        assert lifetime is not None
        assert (lifetime.total_wh, lifetime.register_wh) == (Decimal(5), Decimal(6))
        assert store.was_orderly is True


async def test_a_run_is_registered_before_anything_else_happens(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        assert store.was_orderly is None
        await store.recover()
        assert store.was_orderly is None, "the very first run"
        await crash(store)
    async with recovered(tmp_path, boot_id=OTHER_BOOT) as (store, found):
        assert found.last_boot_id == BOOT
        assert store.was_orderly is False


async def test_a_close_waits_for_what_is_under_way(tmp_path: Path) -> None:
    store = await Store.open(tmp_path, boot_id=BOOT, now=now)
    commits = [asyncio.ensure_future(store.commit([record(number)], [notice(number, 0)])) for number in range(1, 6)]
    await asyncio.sleep(0)
    assert store.busy_s >= 0
    await store.aclose()
    await asyncio.gather(*commits)
    assert (store.busy_s, store._timer, store._flushing) == (0.0, None, None)
    async with opened(tmp_path) as store:
        assert store.queue_depth == 5


@pytest.mark.parametrize(
    ("ms", "off_ms", "moves"),
    [
        (1_000, 999, False),
        (1_000, -999, False),
        (1_000, 1_000, True),
        (1_000, -1_000, True),
        (43_199_999, 0, False),
        (43_200_000, 0, True),
        (43_200_000, 500, True),
    ],
)
async def test_an_anchor_moves_by_a_second_of_difference_or_after_twelve_hours(tmp_path: Path, ms: int, off_ms: int, moves: bool) -> None:
    """In the second case along its own line: the difference is the network's."""
    async with recovered(tmp_path) as (store, _):
        store.set_anchor(BOOT, 0, EPOCH)
        await idle(store)
        moment = EPOCH + timedelta(milliseconds=ms)
        store.set_anchor(BOOT, ms, moment + timedelta(milliseconds=off_ms))
        expected = moment + timedelta(milliseconds=off_ms if abs(off_ms) >= 1_000 else 0)
        assert store.anchor(BOOT) == (Instant(BOOT, ms, expected) if moves else Instant(BOOT, 0, EPOCH))
        assert store.synchronized_at == (expected if moves else EPOCH)
        assert (await store.status()).pending_marks == 0
        assert bool(store._pending) == moves
        assert store.utc_of(at(7, is_utc_known=False)) == EPOCH + timedelta(milliseconds=7), "the first one counts on the wire, for good"


@pytest.mark.parametrize(
    ("board_off_s", "drift_ms", "is_wrong"),
    [
        (3_600, 0, True),
        (3_600, 59_999, True),
        (3_600, -59_999, True),
        (3_600, 60_000, False),
        (3_600, -60_000, False),
        (-3_600, 59_999, True),
        (100, 24_999, True),
        (100, 25_000, False),
        (2, 999, True),
        (2, 1_000, False),
        (None, 0, False),
    ],
)
async def test_a_moment_is_by_the_wrong_clock_where_it_is_near_its_line(
    tmp_path: Path, board_off_s: int | None, drift_ms: int, is_wrong: bool
) -> None:
    """Within a minute, within a quarter of the way to the right time, within a second at least."""
    async with recovered(tmp_path) as (store, _):
        right, ms = EPOCH + timedelta(seconds=50), 50_000
        board = None if board_off_s is None else right + timedelta(seconds=board_off_s)
        store.set_anchor(BOOT, ms, right, board)
        moment = Instant(BOOT, 10_000, EPOCH + timedelta(seconds=10 + (board_off_s or 0), milliseconds=drift_ms))
        assert store.utc_of(moment) == (None if is_wrong else moment.utc), "not before it is on disk"
        await idle(store)
        assert store.utc_of(moment) == (EPOCH + timedelta(seconds=10) if is_wrong else moment.utc)
        assert (store.may_learn(moment), store.may_learn(Instant(OTHER_BOOT, 0))) == (True, False)


@pytest.mark.parametrize(
    ("total", "register", "serial", "writes"), [(5, 6, "M-1", False), (7, 6, "M-1", True), (5, 8, "M-1", True), (5, 6, "M-2", True)]
)
async def test_a_lifetime_register_is_written_only_when_it_moved(
    tmp_path: Path, total: int, register: int, serial: str, writes: bool
) -> None:
    async with recovered(tmp_path) as (store, _):
        store.save_lifetime(EvseId(1), total_wh=Decimal(5), register_wh=Decimal(6), at=at(), serial_number="M-1")
        await store.flush()
        assert not store._pending
        store.save_lifetime(EvseId(1), total_wh=Decimal(total), register_wh=Decimal(register), at=at(1), serial_number=serial)
        assert bool(store._pending) == writes
        assert (store._timer is not None) == writes


async def test_the_report_of_the_storage_adds_up(tmp_path: Path) -> None:
    async with recovered(tmp_path) as (store, _):
        await store.commit([record(1), ended(2)], [notice(1, 0), notice(2, 0), end_notice(2, 1)])
        (_, start, _) = await store.rows(0, 10)
        store.mark(dead(start))
        await idle(store)
        report = await store.storage()
        status = report.status
        assert (status.transactions, status.open_transactions, status.queued, status.held, status.dead) == (2, 1, 2, 0, 1)
        assert (status.thinned, status.pending_marks, status.failures, status.checkpoints) == (0, 0, 0, 0)
        assert status.file_bytes == (tmp_path / FILE_NAME).stat().st_size
        assert status.log_bytes == (tmp_path / f"{FILE_NAME}-wal").stat().st_size
        assert (status.syncs, status.written_bytes) == (report.total.syncs, report.total.written_bytes)
        idle_cost, charging_cost = report.idle[1], report.charging[1]
        assert idle_cost + charging_cost == report.total
        assert charging_cost.syncs >= 2, "the start and what came of it are the session's"
        assert idle_cost.syncs >= 1, "the run was registered before"
        assert (report.refusal, report.last_trouble, report.reserve_bytes, report.kept_bytes) == ("", "", 1024 * 1024, 0)
        assert report.max_bytes - report.file_max_bytes == 5 * 1024 * 1024
        assert 0 < report.used_bytes <= status.file_bytes + status.log_bytes
        assert store.queue_room == tables.MAX_QUEUED


async def test_a_chain_begins_with_nothing_and_its_last_page_is_the_one_that_is_not_full(tmp_path: Path) -> None:
    async with recovered(tmp_path) as (store, _):
        assert await store.ledger_state() is None
        await store.commit([ended(1)], [notice(1, 0), end_notice(1, 1)])
        state = await store.ledger_state()
        assert state is not None
        assert state.head.index == 1
        pages = [(await store.ledger_page(after, limit))[0] for after, limit in ((0, 1), (1, 1), (0, 2))]
        assert [(len(page.rows), page.is_last) for page in pages] == [(1, False), (0, True), (1, True)]
