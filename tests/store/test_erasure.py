"""Personal data goes: from every table, from the free pages and from the log. Bills and chain stay."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from agent.domain.authorization import AuthorizationStatus, IdToken, IdTokenInfo
from agent.domain.outbox import DeadLettered, Delivered
from agent.domain.records import CacheEntry
from agent.domain.transaction import StopBegun, StoppedReason, TriggerReason
from agent.store import ledger
from agent.store.erasure import Wanted
from agent.store.store import FILE_NAME, Store
from tests.store.build import EPOCH, TOKEN, at, end_notice, ended, notice, record, transaction_id
from tests.store.test_ledger import charge, opened, proved

OTHER = IdToken("04FFEEDDCCBBAA")
GROUP = IdToken("GROUP-OF-THE-HOUSE")


async def charge_with(store: Store, number: int, token: IdToken, *, day: int = 0, is_delivered: bool = True) -> None:
    stop = StopBegun(reason=StoppedReason.LOCAL, trigger=TriggerReason.STOP_AUTHORIZED, at=at(1), id_token=token)
    who = {"id_token": token, "group_id_token": GROUP, "stop_id_token": token, "stop_begun": stop}
    start = notice(number, 0, id_token=token)
    end = replace(end_notice(number), id_token=token)
    over = at(day * 86_400_000 + 3_600_000)
    await store.commit([replace(record(number), **who)], [start])  # type: ignore[arg-type]
    await store.commit([replace(ended(number), **who, ended_at=over)], [end])  # type: ignore[arg-type]
    if is_delivered:
        for row in await store.rows(0, 100):
            store.mark(Delivered(row_id=row.row_id, transaction_id=row.notice.transaction_id))
        await store.flush()


def on_disk(directory: Path, text: str) -> list[str]:
    """The files in which a text stands, whatever the case of its letters, as SQLite would not find it any more."""
    return [path.name for path in directory.iterdir() if path.is_file() and text.encode().lower() in path.read_bytes().lower()]


async def test_a_token_is_gone_from_every_byte_of_the_files(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        entry = CacheEntry(id_token=TOKEN, info=IdTokenInfo(AuthorizationStatus.ACCEPTED), stored_at=EPOCH)
        await store.commit([entry], [])
        for number in range(1, 31):
            await charge_with(store, number, TOKEN if number % 2 else OTHER)
        assert on_disk(tmp_path, TOKEN.value)
        erased = await store.erase(Wanted(token=TOKEN.value.lower()))
        assert (erased.sessions, erased.waiting, erased.is_scrubbed, erased.copies) == (15, 0, True, ())
        assert on_disk(tmp_path, TOKEN.value) == []
        assert on_disk(tmp_path, OTHER.value), "another person's data stays"
        assert proved(tmp_path / FILE_NAME).is_sound
        await charge_with(store, 31, OTHER)
        stored = await store.sessions(100)
        assert all(one.record is not None for one in stored), "every record can be read still"
        assert {one.record.energy_wh for one in stored if one.record is not None} == {1500}
    assert on_disk(tmp_path, TOKEN.value) == []
    verdict = proved(tmp_path / FILE_NAME)
    assert (verdict.sessions, verdict.is_sound) == (31, True)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        assert db.execute("SELECT count(*) FROM transactions WHERE energy_wh = 1500").fetchone() == (31,), "what was billed stays"
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_all_tokens_of_one_session_go(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await charge_with(store, 1, TOKEN)
        await charge_with(store, 2, OTHER)
        erased = await store.erase(Wanted(transaction_id=transaction_id(1)))
        assert erased.sessions == 1
        assert on_disk(tmp_path, TOKEN.value) == []
        (first, second), _ = (await store.ledger_page(0, 10))[0].rows, None
        assert (first.disclosures, first.problem) == ({}, None)
        assert set(second.disclosures) == {"id_token", "group_id_token", "stop_id_token"}
        assert (await store.erase(Wanted(transaction_id=transaction_id(1)))).sessions == 0, "there was nothing left to erase"


async def test_data_of_old_sessions_goes_by_the_moment_of_their_end(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await charge_with(store, 1, TOKEN, day=1)
        await charge_with(store, 2, OTHER, day=3)
        erased = await store.erase(Wanted(before="2026-01-03"))
        assert erased.sessions == 1
        assert on_disk(tmp_path, TOKEN.value) == []
        assert on_disk(tmp_path, OTHER.value)


@pytest.mark.parametrize("is_busy", [False, True])
async def test_what_the_portal_has_not_got_yet_keeps_its_token(tmp_path: Path, is_busy: bool) -> None:
    async with opened(tmp_path) as store:
        await charge_with(store, 1, TOKEN, is_delivered=is_busy)
        erased = await store.erase(Wanted(token=TOKEN.value), [transaction_id(1)] if is_busy else [])
        assert (erased.sessions, erased.waiting) == (0, 1)
        assert proved(tmp_path / FILE_NAME).is_sound
        rows = await store.rows(0, 10)
        assert [row.notice.id_token for row in rows] == ([] if is_busy else [TOKEN, TOKEN])
        for row in rows:
            store.mark(Delivered(row_id=row.row_id, transaction_id=row.notice.transaction_id))
        erased = await store.erase(Wanted(token=TOKEN.value))
        assert (erased.sessions, erased.waiting) == (1, 0)
    assert on_disk(tmp_path, TOKEN.value) == []


async def test_a_running_session_keeps_its_token(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit([record(1)], [notice(1, 0)])
        assert (await store.erase(Wanted(token=TOKEN.value))).waiting == 1


async def test_old_copies_beside_the_file_are_named(tmp_path: Path) -> None:
    for name in ("schema-1", "corrupt-20260101T000000Z"):
        (tmp_path / f"{FILE_NAME}.{name}").write_bytes(b"old")
    async with opened(tmp_path) as store:
        await charge_with(store, 1, TOKEN)
        erased = await store.erase(Wanted(token=TOKEN.value))
        assert [path.name for path in erased.copies] == [f"{FILE_NAME}.corrupt-20260101T000000Z", f"{FILE_NAME}.schema-1"]


async def test_a_reader_that_keeps_the_log_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.store.database.BUSY_TIMEOUT_MS", 10)
    async with opened(tmp_path) as store:
        await charge_with(store, 1, TOKEN)
        with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as db:
            db.execute("BEGIN")
            db.execute("SELECT count(*) FROM outbox").fetchone()
            assert not (await store.erase(Wanted(token=TOKEN.value))).is_scrubbed
        assert (await store.erase(Wanted(token=TOKEN.value))).is_scrubbed
        assert on_disk(tmp_path, TOKEN.value) == []


# --- retention


async def test_sessions_beyond_the_retention_go_with_everything(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for number in range(1, 6):
            await charge_with(store, number, IdToken(f"TOKEN-NUMBER-{number}"), day=number)
        assert await store.forget_before(EPOCH + timedelta(days=3, hours=1)) == 2
        assert [number for number in range(1, 6) if on_disk(tmp_path, f"TOKEN-NUMBER-{number}")] == [3, 4, 5]
        assert on_disk(tmp_path, transaction_id(1)) == []
        assert await store.forget_before(EPOCH + timedelta(days=3, hours=1)) == 0
        verdict = proved(tmp_path / FILE_NAME)
        assert (verdict.is_sound, verdict.pruned, verdict.sessions) == (True, 2, 3)
        await charge(store, 6)
    assert proved(tmp_path / FILE_NAME).is_sound


async def test_many_old_sessions_go_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "PRUNED_AT_ONCE", 4)
    async with opened(tmp_path) as store:
        for number in range(1, 11):
            await charge_with(store, number, TOKEN, day=number)
        assert await store.forget_before(EPOCH + timedelta(days=30)) >= 10
        verdict = proved(tmp_path / FILE_NAME)
        assert (verdict.is_sound, verdict.sessions) == (True, 0)
        assert on_disk(tmp_path, TOKEN.value) == []


async def test_a_session_that_was_not_delivered_stays(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await charge_with(store, 1, IdToken("TOKEN-NUMBER-1"), day=1, is_delivered=False)
        for row in await store.rows(0, 10):
            store.mark(DeadLettered(row_id=row.row_id, transaction_id=row.notice.transaction_id, error="no"))
        await store.flush()
        await charge_with(store, 2, IdToken("TOKEN-NUMBER-2"), day=2)
        await charge_with(store, 3, IdToken("TOKEN-NUMBER-3"), day=30)
        assert await store.forget_before(EPOCH + timedelta(days=20)) == 1
        assert await store.forget_before(EPOCH + timedelta(days=20)) == 0
        assert [number for number in (1, 2, 3) if on_disk(tmp_path, f"TOKEN-NUMBER-{number}")] == [1, 3]
        assert len(await store.dead_letters()) == 2
    verdict = proved(tmp_path / FILE_NAME)
    assert (verdict.is_sound, verdict.sessions) == (True, 2)
