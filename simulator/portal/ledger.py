"""What a charger says about the head of its chain of sessions (DataTransfer LedgerHead, the same in every version)."""

from simulator.portal.chargers import LedgerHead
from simulator.portal.dialect import Books, Peer
from simulator.portal.fields import json_object
from simulator.portal.wire import Json, dumps


def ledger_head(books: Books, peer: Peer, payload: dict[str, Json]) -> dict[str, Json]:
    """Keep it, and say whether it fits what the charger said before."""
    head = _read(payload.get("data"))
    if head is None:
        books.chargers.report(station=peer.station, kind="bad_ledger_head", detail="LedgerHead that cannot be read", payload=dumps(payload))
        return {"status": "Rejected"}
    return {"status": "Accepted" if books.chargers.ledger_head(peer.serial, peer.station, head) else "Rejected"}


def _read(data: Json) -> LedgerHead | None:
    said = json_object(data) if isinstance(data, str) else None
    statement = None if said is None else said.get("statement")
    head = json_object(statement) if isinstance(statement, str) else None
    if said is None or head is None:
        return None
    match head.get("chain"), head.get("index"), head.get("hash"), said.get("signature"), said.get("keyId"):
        case str(chain), int(row), str(digest), str(signature), str(key_id):
            said_at = head.get("time")
            return LedgerHead(
                chain=chain,
                row=row,
                hash=digest,
                said_at=said_at if isinstance(said_at, str) else None,
                key_id=key_id,
                signature=signature,
                statement=str(statement),
            )
        case _:
            return None
