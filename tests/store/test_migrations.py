"""Databases of earlier versions: today's software opens each, finds everything in it, and goes on with it."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from agent.domain.connector import OperationalStatus
from agent.domain.errors import StoreError
from agent.domain.ids import EvseId
from agent.domain.outbox import Delivered
from agent.domain.records import StationRecord
from agent.domain.variables import ValueSource
from agent.store import ledger
from agent.store.database import MIGRATIONS
from agent.store.store import FILE_NAME, Store
from tests.store.build import BOOT, EPOCH, TOKEN, at, end_notice, ended, notice, now, record, transaction_id
from tests.store.fixtures import generate
from tests.store.fixtures.generate import DEAD, DELIVERED, EARLIER_BOOT, OFFLINE, OPEN, TIMELESS

FIXTURES = sorted(Path(generate.__file__).parent.glob("schema_*.sql"))
NEWEST = len(list(MIGRATIONS.glob("[0-9]*.sql")))

each_schema = pytest.mark.parametrize("script", FIXTURES, ids=[script.stem for script in FIXTURES])


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        number: int = db.execute("PRAGMA user_version").fetchone()[0]
    return number


def test_there_is_a_database_of_every_earlier_schema() -> None:
    """A migration lands together with `schema_000N.sql` of the schema before it (tests/store/fixtures/generate.py)."""
    assert {int(script.stem[-4:]) for script in FIXTURES} >= set(range(1, NEWEST))


@each_schema
async def test_everything_of_an_earlier_version_is_found(tmp_path: Path, script: Path) -> None:
    old = version(generate.load(script, tmp_path))
    store = await Store.open(tmp_path, boot_id=BOOT, now=now)
    assert store.is_durable
    found = await store.recover()
    assert found.station == StationRecord(was_accepted=True)
    assert [(e.evse_id, e.operational_status) for e in found.evses] == [(1, OperationalStatus.INOPERATIVE)]
    assert [(str(v.key), v.value, v.source) for v in found.variables] == [("OCPPCommCtrlr.HeartbeatInterval", "120", ValueSource.CSMS)]
    assert [(c.id_token, c.info.cache_expiry) for c in found.cache] == [(TOKEN, EPOCH)]
    assert found.last_boot_id == BOOT
    assert found.transactions == (record(OPEN, next_seq_no=2, energy_wh=Decimal("1250.7"), ms=60_000, samples=3),)
    assert store.was_orderly

    sessions = {int(each.transaction_id[-12:]): each for each in await store.sessions()}
    assert set(sessions) == {DELIVERED, DEAD, OFFLINE, TIMELESS, OPEN}
    assert {number: (s.is_delivered, s.queued, s.dead, s.remote_id) for number, s in sessions.items()} == {
        DELIVERED: (True, 0, 0, 41),
        DEAD: (False, 0, 1, None),
        OFFLINE: (False, 3, 0, None),
        TIMELESS: (False, 2, 0, None),
        OPEN: (False, 1, 0, 42),
    }
    assert sessions[DELIVERED].record == ended(DELIVERED, next_seq_no=3)
    assert sessions[OFFLINE].record == ended(OFFLINE, next_seq_no=3)
    timeless = sessions[TIMELESS].record
    assert timeless is not None
    assert timeless.started_at == at(7000, boot_id=EARLIER_BOOT, is_utc_known=False)

    rows = await store.rows(0, 100)
    assert [(int(r.notice.transaction_id[-12:]), r.notice.seq_no, r.attempts, r.was_sent) for r in rows] == [
        (OFFLINE, 0, 2, True),
        (OFFLINE, 1, 0, False),
        (OFFLINE, 2, 0, False),
        (TIMELESS, 0, 0, False),
        (TIMELESS, 1, 0, False),
        (OPEN, 1, 0, False),
    ]
    assert [r.notice for r in rows[:3]] == [
        replace(n, is_offline=True) for n in (notice(OFFLINE, 0), notice(OFFLINE, 1), end_notice(OFFLINE, 2))
    ]
    (letter,) = await store.dead_letters()
    assert (letter.transaction_id, letter.seq_no, letter.error, letter.notice) == (
        transaction_id(DEAD),
        0,
        "InternalError: no such tag",
        notice(DEAD, 0),
    )
    assert (await store.status()).held == 2
    assert store.remote_id(transaction_id(OPEN)) == 42
    assert store.is_start_dead(transaction_id(DEAD))
    assert store.utc_of(at(1000, is_utc_known=False)) == at(1000).utc
    lifetime = store.lifetime(EvseId(1))
    assert lifetime is not None
    assert (lifetime.total_wh, lifetime.register_wh, lifetime.serial_number) == (Decimal("98765.4"), Decimal("2500.5"), "M-1")

    if old < NEWEST:
        assert version(tmp_path / f"{FILE_NAME}.schema-{old}") == old
        assert any(f"from schema {old} to {NEWEST}" in remark for remark in store.remarks)
    await store.aclose()
    assert version(tmp_path / FILE_NAME) == NEWEST


@each_schema
async def test_an_earlier_version_goes_on(tmp_path: Path, script: Path) -> None:
    """The running session is ended, everything is delivered, and the dead letter is sent again."""
    generate.load(script, tmp_path)
    store = await Store.open(tmp_path, boot_id=BOOT, now=now)
    await store.recover()
    await store.commit([ended(OPEN, next_seq_no=3)], [end_notice(OPEN, 2)])
    (letter,) = await store.dead_letters()
    await store.resend_dead(letter.row_id)
    for row in await store.rows(0, 100):
        store.mark(Delivered(row_id=row.row_id, transaction_id=row.notice.transaction_id))
    await store.flush()
    assert all(session.is_delivered for session in await store.sessions())
    assert store.queue_depth == 0
    verdict = await store._db.read(ledger.verify)
    assert verdict.is_sound
    assert verdict.sessions == 5, "sessions of before there was a chain are in it, too"
    await store.aclose()


@each_schema
@pytest.mark.pain(84)
async def test_a_damaged_file_of_an_earlier_version_is_salvaged(tmp_path: Path, script: Path) -> None:
    """An update and a damage at once: what the old columns hold is found by their names."""
    path = generate.load(script, tmp_path)
    raw = bytearray(path.read_bytes())
    with closing(sqlite3.connect(path)) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'station'").fetchone()
    raw[(root - 1) * 1024 : root * 1024] = b"\xa5" * 1024
    path.write_bytes(raw)
    store = await Store.open(tmp_path, boot_id=BOOT, now=now)
    assert "was damaged" in store.remarks[0]
    assert len(await store.sessions()) == 5
    assert len(await store.rows(0, 100)) == 6
    assert len((await store.recover()).transactions) == 1
    await store.aclose()


async def test_a_database_of_a_newer_version_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = generate.load(FIXTURES[-1], tmp_path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE added_later (a INTEGER)")
        db.execute(f"PRAGMA user_version = {NEWEST + 1}")
        db.commit()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"written by a newer version\. Install that one again, or stop the service and put the copy"):
        await Store.open(tmp_path, boot_id=BOOT, now=now)
    assert path.read_bytes() == before
    beside = {each.name.removeprefix(FILE_NAME) for each in tmp_path.iterdir()}
    assert beside <= {"", "-wal", "-shm", ".lock", ".reserve"}, "nothing was moved aside, and no copy was made"
