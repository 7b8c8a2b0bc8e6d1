"""`chargerctl storage`: what is said about a real store and its disk."""

from datetime import timedelta
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from agent.diagnostics.results import RESULTS
from agent.runtime.storage import StorageMethods, emmc, process_bytes
from agent.store.store import Store
from tests.store.build import BOOT, end_notice, ended, notice, now, record


@pytest.mark.virtual_time
@pytest.mark.pain(86, 88)
async def test_room_rows_and_wear_of_a_store_are_told(tmp_path: Path) -> None:
    import asyncio

    store = await Store.open(tmp_path, boot_id=BOOT, now=now)
    await store.recover()
    methods = StorageMethods(store)
    (method,) = methods.methods()
    await asyncio.sleep(timedelta(hours=12).total_seconds())
    await store.commit([record(1)], [notice(1, 0)])
    for seq_no in range(1, 31):
        await asyncio.sleep(60)
        await store.commit([record(1, next_seq_no=seq_no + 1)], [notice(1, seq_no)])
    await store.commit([ended(1, next_seq_no=32)], [end_notice(1, 31)])
    found = await method.call({})
    Draft202012Validator(RESULTS["storage"]).validate(found)
    assert isinstance(found, dict)
    assert {"table": "outbox", "rows": 32} in found["tables"]  # type: ignore[operator]
    assert found["oldest_session"] == "2026-01-01T10:00:00Z"
    assert found["reserve_bytes"] == 1024 * 1024
    assert found["idle_s"] == 12 * 3600
    assert found["charging_s"] == 1800
    day, hour = found["idle_day"], found["charging_hour"]
    assert isinstance(day, dict)
    assert isinstance(hour, dict)
    assert int(str(day["written_bytes"])) < 50_000, "the start of the process, twice"
    assert int(str(hour["syncs"])) in range(60, 80)
    await store.aclose()


def test_an_emmc_tells_how_much_of_its_life_is_used(tmp_path: Path) -> None:
    for name, said in (("mmcblk0", "0x01 0x02\n"), ("mmcblk1", "0x00 0x0b\n"), ("mmcblk2", "nonsense")):
        (tmp_path / name / "device").mkdir(parents=True)
        (tmp_path / name / "device" / "life_time").write_text(said, encoding="ascii")
    (tmp_path / "sda").mkdir()
    assert list(emmc(tmp_path)) == [("mmcblk0", "0 to 10 %, 10 to 20 %"), ("mmcblk1", "not told, beyond its life")]


def test_the_kernel_counts_what_the_process_wrote(tmp_path: Path) -> None:
    assert process_bytes() is not None
