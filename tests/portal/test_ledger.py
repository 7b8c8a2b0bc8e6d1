"""The portal keeps the head of a charger's chain of sessions, and sees when another chain took its place."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.portal.rig import public_charger, running_portal

CHAIN = "0123456789abcdef0123456789abcdef"


def head(index: int = 5, digest: str = "a" * 64, chain: str = CHAIN, key_id: str = "k", **changes: Any) -> dict[str, Any]:
    statement = json.dumps({"chain": chain, "hash": digest, "index": index, "station": "CP001", "time": None, "v": 1, **changes})
    data = json.dumps({"statement": statement, "signature": "c2ln", "keyId": key_id})
    return {"vendorId": "charger-agent", "messageId": "LedgerHead", "data": data}


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_a_head_is_kept_and_shown(tmp_path: Path, version: str) -> None:
    async with running_portal(tmp_path / "db") as portal, public_charger(portal, version) as station:
        for index, digest in ((5, "a" * 64), (5, "a" * 64), (6, "b" * 64)):  # the same again is no news
            assert await station.call("DataTransfer", head(index, digest)) == {"status": "Accepted"}
        (charger,) = portal.chargers()
        kept = portal.ledger_heads(charger.serial)
        assert [(one.row, one.hash[0], one.key_id, one.signature) for one in kept] == [(5, "a", "k", "c2ln"), (6, "b", "k", "c2ln")]
        assert portal.anomalies() == []


@pytest.mark.parametrize(
    ("said", "detail"),
    [
        (head(7, chain="f" * 32), "another one since row 7"),
        (head(4), "went back from row 5 to 4"),
        (head(5, "b" * 64), "row 5 of its chain of sessions has another hash"),
        (head(6, key_id="other"), "signed by another key since row 6"),
    ],
)
async def test_a_chain_that_was_replaced_is_seen(tmp_path: Path, said: dict[str, Any], detail: str) -> None:
    async with running_portal(tmp_path / "db", expect=("ledger_replaced",)) as portal, public_charger(portal, "2.0.1") as station:
        await station.call("DataTransfer", head())
        assert await station.call("DataTransfer", said) == {"status": "Rejected"}
        (anomaly,) = portal.anomalies()
        assert detail in anomaly.detail


@pytest.mark.parametrize(
    "data",
    ["", "{}", "[]", '{"statement":"{}","signature":"","keyId":""}', head(index="x")["data"], head(digest=3)["data"]],  # type: ignore[arg-type]
)
async def test_a_head_that_cannot_be_read_is_kept_as_an_anomaly(tmp_path: Path, data: str) -> None:
    async with running_portal(tmp_path / "db", expect=("bad_ledger_head",)) as portal, public_charger(portal, "2.0.1") as station:
        payload = {"vendorId": "charger-agent", "messageId": "LedgerHead", "data": data}
        assert await station.call("DataTransfer", payload) == {"status": "Rejected"}
        assert portal.ledger_heads(portal.chargers()[0].serial) == []
