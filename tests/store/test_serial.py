"""Stored JSON: round trip of every field, tolerance for newer fields, and old files that must stay readable."""

import dataclasses
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, NewType, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.domain.authorization import AuthorizationStatus, IdToken, IdTokenInfo
from agent.domain.ids import EvseId
from agent.domain.metering import MeterValue, Reading
from agent.domain.notices import TransactionNotice
from agent.domain.records import CacheEntry, EvseRecord, StationRecord, StoredVariable
from agent.domain.transaction import TransactionRecord
from agent.store.serial import UnreadableError, dump, load
from agent.store.tables import MeterLifetime
from tests.store import build

STORED = (TransactionRecord, TransactionNotice, Reading, MeterValue, StationRecord, EvseRecord, StoredVariable, CacheEntry, MeterLifetime)

LEAVES: dict[object, st.SearchStrategy[Any]] = {
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    datetime: st.datetimes(timezones=st.just(UTC)),
    str: st.text(max_size=40),
    int: st.integers(-(2**63), 2**63 - 1),
    bool: st.booleans(),
    NoneType: st.none(),
}


def strategy(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that is stored, every field filled by chance."""
    if kind in LEAVES:
        return LEAVES[kind]
    if isinstance(kind, NewType):
        return strategy(kind.__supertype__)
    if get_origin(kind) in {Union, UnionType}:
        return st.one_of([strategy(each) for each in get_args(kind)])
    if get_origin(kind) is tuple:
        return st.lists(strategy(get_args(kind)[0]), max_size=3).map(tuple)
    if issubclass(kind, StrEnum):
        return st.sampled_from(kind)
    hints = get_type_hints(kind)
    return st.builds(kind, **{field.name: strategy(hints[field.name]) for field in dataclasses.fields(kind)})


@pytest.mark.parametrize("kind", STORED)
def test_what_is_written_is_read_back(kind: type[object]) -> None:
    @given(strategy(kind))
    def round_trip(value: object) -> None:
        text = dump(value)
        again = load(text, kind)
        assert again == value
        assert dump(again) == text  # Decimal(1) == Decimal("1.0"), but the text is not the same

    round_trip()


def test_numbers_keep_their_digits() -> None:
    reading = build.reading(Decimal("1234567.80"))
    assert '"1234567.80"' in dump(reading)
    assert str(load(dump(reading), Reading).energy_wh) == "1234567.80"


def test_fields_of_a_newer_version_are_ignored() -> None:
    text = dump(EvseRecord(evse_id=EvseId(1)))
    assert load(text[:-1] + ',"added_later":{"a":[1]}}', EvseRecord) == EvseRecord(evse_id=EvseId(1))


def test_unreadable_text_is_named_without_its_content() -> None:
    token = IdToken("SECRETSECRET")
    text = dump(CacheEntry(id_token=token, info=IdTokenInfo(AuthorizationStatus.ACCEPTED), stored_at=None)).replace("Accepted", "Nonsense")
    with pytest.raises(UnreadableError) as caught:
        load(text, CacheEntry)
    assert "CacheEntry" in str(caught.value)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", '{"evse_id":"x"}', "null", '{"evse_id":1} trailing', "\udcff"])
def test_damaged_text_is_unreadable(text: str) -> None:
    with pytest.raises(UnreadableError):
        load(text, EvseRecord)


@pytest.mark.pain(84)
def test_no_bit_that_flips_in_a_stored_text_gives_another_value() -> None:
    """A flipped bit in a digit is good JSON; the checksum tells."""
    value = build.notice()
    raw = dump(value).encode()
    refused = 0
    for bit in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            assert load(changed.decode(errors="surrogateescape"), TransactionNotice) == value
        except UnreadableError:
            refused += 1
    assert refused > len(raw) * 7


def test_a_text_without_checksum_is_of_an_earlier_version_and_taken() -> None:
    assert load('{"evse_id":1,"operational_status":"Operative"}', EvseRecord) == EvseRecord(evse_id=EvseId(1))


def test_a_lone_surrogate_is_refused_when_written() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        dump(IdToken("\ud800"))


OLD_NOTICE = (
    '{"event_type":"Ended","transaction_id":"00000000-0000-4000-8000-000000000001","evse_id":1,"connector_id":1,"seq_no":2,'
    '"trigger":"EVDeparted","at":{"boot_id":"b","mono_ms":5,"utc":"2026-01-01T10:00:00Z"},"is_offline":true,'
    '"id_token":{"value":"04A1","type":"ISO14443"},"stopped_reason":"EVDisconnected","register_wh":2500,'
    '"meter_values":[{"at":{"boot_id":"b","mono_ms":5,"utc":null},"context":"Transaction.End",'
    '"quantities":[{"measurand":"Energy.Active.Import.Register","value":"2500.5","phase":null}]}]}'
)
OLD_TRANSACTION = (
    '{"transaction_id":"00000000-0000-4000-8000-000000000001","evse_id":1,"connector_id":1,"id_token":null,'
    '"started_at":{"boot_id":"b","mono_ms":5,"utc":null},'
    '"meter_start":{"evse_id":1,"at":{"boot_id":"b","mono_ms":5,"utc":null},"energy_wh":"1000","serial_number":"M-1"},'
    '"last_reading":{"evse_id":1,"at":{"boot_id":"b","mono_ms":9,"utc":null},"energy_wh":null,"quality":"suspect"},"next_seq_no":2,'
    '"tariff":{"currency":"NOK","price_kwh":"4.90","price_minute":"0","price_session":"0","vat_percent":"25"}}'
)


def test_a_notice_of_an_old_file_is_readable() -> None:
    """The text is what version 0.1 wrote; a renamed or new required field of the domain breaks it, and needs a migration."""
    notice = load(OLD_NOTICE, TransactionNotice)
    assert (notice.seq_no, notice.register_wh, notice.stopped_reason) == (2, 2500, "EVDisconnected")
    assert notice.meter_values[0].quantities[0].value == Decimal("2500.5")


def test_a_transaction_of_an_old_file_is_readable() -> None:
    record = load(OLD_TRANSACTION, TransactionRecord)
    assert record.meter_start.energy_wh == Decimal(1000)
    assert record.last_reading.quality == "suspect"
    assert record.tariff is not None
    assert record.tariff.price_kwh == Decimal("4.90")
