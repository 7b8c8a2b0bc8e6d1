"""What a row of the chain says, and that a verifier written from docs/ledger.md alone comes to the same."""

import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.domain import ledger
from agent.domain.ledger import ZERO_HASH, Disclosure, Head, Row, Verifier, make_row

RECORD = {
    "transaction_id": "tx-1",
    "evse_id": 1,
    "id_token": {"value": "04A1B2C3D4E5F6", "type": "ISO14443"},
    "stop_id_token": None,
    "started_at": {"boot_id": "b", "mono_ms": 5, "utc": None},
    "meter_start": {"energy_wh": "1000.5", "quantities": [{"measurand": "Voltage", "value": "230"}], "serial_number": "M-1"},
    "last_reading": {"energy_wh": "1"},
    "next_seq_no": 7,
    "segments": [{"first": {"energy_wh": "1", "quantities": []}, "owner": {"value": "secret", "type": "Central"}}],
    "energy_wh": 1500,
    "cost_gross": "18.35",
}


def body(number: int, **changes: object) -> str:
    return ledger.session_body({**RECORD, "transaction_id": f"tx-{number}", **changes}, {}, chain="c", station="CP", is_late=False)


def rows(count: int) -> list[Row]:
    found: list[Row] = []
    for index in range(1, count + 1):
        found.append(make_row(index, found[-1].hash if found else ZERO_HASH, body(index)))
    return found


def verdict(given_rows: list[Row], *heads: Head, **options: bool) -> ledger.Verdict:
    verifier = Verifier()
    for row in given_rows:
        verifier.feed(row)
    for head in heads:
        verifier.head_known(head, is_signed=True)
    return verifier.verdict(**options)


def test_facts_are_what_is_billed_without_tokens_wherever_they_stand() -> None:
    facts = ledger.session_facts(RECORD)
    assert "id_token" not in facts
    assert "next_seq_no" not in facts
    assert facts["meter_start"] == {"energy_wh": "1000.5", "serial_number": "M-1"}
    assert facts["segments"] == [{"first": {"energy_wh": "1"}, "owner": None}], "what a later version adds is proved as well"
    assert "04A1" not in json.dumps(facts)
    assert ledger.personal_values(RECORD) == {"id_token": "ISO14443:04A1B2C3D4E5F6"}


def test_a_fraction_never_becomes_a_binary_number() -> None:
    assert ledger.canonical(ledger.read_record('{"a":0.1,"b":[NaN,1e400]}')) == '{"a":"0.1","b":["NaN","1e400"]}'


def test_a_commitment_says_nothing_without_its_salt() -> None:
    one, other = Disclosure(b"a" * 16, "ISO14443:04A1"), Disclosure(b"b" * 16, "ISO14443:04A1")
    assert ledger.commitment("id_token", one) != ledger.commitment("id_token", other)
    assert ledger.commitment("id_token", one) != ledger.commitment("stop_id_token", one)
    assert "04A1" not in repr(one)


def test_an_empty_chain_is_sound() -> None:
    assert verdict([]).is_sound
    assert not verdict([], Head(3, "x")).is_sound


@given(st.integers(1, 8), st.data())
def test_what_is_missing_is_named(count: int, data: st.DataObject) -> None:
    whole = rows(count)
    assert verdict(whole, Head(count, whole[-1].hash)).is_sound
    gone = data.draw(st.sets(st.integers(1, count), min_size=1))
    first = verdict([row for row in whole if row.index not in gone], Head(count, whole[-1].hash)).first
    assert first is not None
    assert first.what == "missing"
    assert first.index == (min(gone) if len(gone) < count and gone != set(range(min(gone), count + 1)) else first.index)


@pytest.mark.parametrize(
    ("missing", "lost"),
    [([(2, 3)], ((2, 3),)), ([(2, 2), (3, 3)], ((2, 3),)), ([(1, 5)], ((2, 3),)), ([(2, 2)], ()), ([], ())],
)
def test_a_gap_row_declares_what_was_lost(missing: list[tuple[int, int]], lost: tuple[tuple[int, int], ...]) -> None:
    whole = rows(4)
    gap = make_row(5, whole[-1].hash, ledger.gap_body(missing, chain="c", old_head=None, why="test"))
    found = verdict([whole[0], whole[3], gap])
    assert found.lost == lost
    assert found.is_sound is bool(lost)


def test_a_gap_row_may_begin_a_new_chain_of_another_name() -> None:
    gap = make_row(1, ZERO_HASH, ledger.gap_body([], chain="d", old_head=Head(7, "x"), why="test"))
    after = make_row(2, gap.hash, ledger.session_body(RECORD, {}, chain="d", station="CP", is_late=True))
    assert verdict([gap, after]).is_sound
    strange = make_row(3, after.hash, ledger.session_body(RECORD, {}, chain="e", station="CP", is_late=True))
    first = verdict([gap, after, strange]).first
    assert first is not None
    assert (first.index, first.text) == (3, "belongs to another chain")


def test_a_pruned_row_must_name_the_hash_at_which_the_old_rows_ended() -> None:
    whole = rows(4)
    good = make_row(5, whole[-1].hash, ledger.pruned_body(Head(2, whole[1].hash), chain="c", sessions=2, why="test"))
    assert verdict([*whole[2:], good]).is_sound
    bad = make_row(5, whole[-1].hash, ledger.pruned_body(Head(2, whole[0].hash), chain="c", sessions=2, why="test"))
    assert not verdict([*whole[2:], bad]).is_sound


def test_a_body_that_nobody_knows_is_no_proof() -> None:
    first = verdict([make_row(1, ZERO_HASH, '{"kind":"free lunch","chain":"c"}')]).first
    assert first is not None
    assert first.what == "body"


def test_rows_that_no_signature_covers_are_named_when_they_must_be() -> None:
    whole = rows(3)
    found = verdict(whole, Head(2, whole[1].hash), must_be_signed=True)
    assert (found.signed, found.first) == (2, ledger.Problem(3, "signature", "no valid signature of the device covers it"))


@given(st.text(), st.text())
def test_two_bodies_never_share_a_hash(one: str, other: str) -> None:
    assert (ledger.digest_of(one) == ledger.digest_of(other)) is (one == other)


def test_the_formula_of_the_document() -> None:
    """The numbers that docs/ledger.md shows."""
    text = '{"chain":"c","kind":"gap","v":1}'
    body_hash = sha256(text.encode()).hexdigest()
    assert make_row(1, ZERO_HASH, text).hash == sha256(f"charger-agent ledger 1 1 {'0' * 64} {body_hash}".encode()).hexdigest()
