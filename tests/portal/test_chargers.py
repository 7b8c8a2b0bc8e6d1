"""Who may be added, and what a charger costs."""

from datetime import timedelta
from decimal import Decimal

import pytest

from simulator.portal.chargers import Boot, PriceOverride, Registration, TokenVerdict, tariff_from, tariff_problems, tariff_text
from simulator.portal.errors import BadInputError, ClaimRateLimitedError, ClaimRefusedError, UnknownItemError
from tests.portal.books import SERIAL, STATION, Ledger, ledger
from tests.portal.rig import NOK


def boot(serial: str) -> Boot:
    return Boot(serial=serial, vendor="Example", model="AC22", firmware_version="1", version="1.6")


@pytest.fixture
def book() -> Ledger:
    made = ledger()
    made.chargers.provision("SN-0002", "ABCD-1234")
    return made


def claim(book: Ledger, serial: str = "SN-0002", uid: str = "ABCD-1234", country: str = "NO", region: str = "Viken") -> None:
    book.chargers.claim(serial=serial, uid=uid, country=country, region=region)


@pytest.mark.parametrize("uid", ["ABCD-1234", " abcd-1234 ", "ABCD1234", "abcd 1234"])
def test_the_right_uid_adds_the_charger_however_it_is_typed(book: Ledger, uid: str) -> None:
    claim(book, uid=uid)
    assert book.chargers.get("SN-0002").country == "NO"


def test_a_wrong_uid_and_an_unknown_serial_number_get_the_same_words(book: Ledger) -> None:
    with pytest.raises(ClaimRefusedError) as wrong_uid:
        claim(book, uid="ABCD-1235")
    with pytest.raises(ClaimRefusedError) as unknown:
        claim(book, serial="SN-0009")
    assert str(wrong_uid.value) == str(unknown.value)
    assert "SN-0002" not in {charger.serial for charger in book.chargers.all()}


def test_guessing_is_limited_per_serial_number_even_with_the_right_uid(book: Ledger) -> None:
    for _ in range(5):
        with pytest.raises(ClaimRefusedError):
            claim(book, uid="GUESS")
    with pytest.raises(ClaimRateLimitedError) as limited:
        claim(book)
    assert 0 < limited.value.retry_after_s <= 601
    book.now += timedelta(seconds=limited.value.retry_after_s)
    claim(book)


def test_guessing_over_many_serial_numbers_is_limited_as_a_whole(book: Ledger) -> None:
    for number in range(20):
        with pytest.raises(ClaimRefusedError):
            claim(book, serial=f"SN-9{number:03}")
    with pytest.raises(ClaimRateLimitedError):
        claim(book)


def test_a_charger_is_added_once(book: Ledger) -> None:
    claim(book)
    with pytest.raises(ClaimRefusedError, match="added already"):
        claim(book)


def test_all_mistakes_of_the_form_are_told_at_once(book: Ledger) -> None:
    with pytest.raises(BadInputError) as error:
        claim(book, serial=" ", uid="", country="Norway", region="")
    assert len(error.value.problems) == 4


def test_an_unclaimed_charger_waits_and_is_accepted_after_the_claim(book: Ledger) -> None:
    assert book.chargers.register("CP002", boot("SN-0002")) is Registration.PENDING
    assert [waiting.identity for waiting in book.chargers.unclaimed()] == ["CP002"]
    claim(book)
    assert book.chargers.register("CP002", boot("SN-0002")) is Registration.ACCEPTED
    assert book.chargers.unclaimed() == []
    charger = book.chargers.by_identity("CP002")
    assert charger is not None
    assert charger.serial == "SN-0002"


def test_a_charger_without_a_serial_number_stays_pending(book: Ledger) -> None:
    assert book.chargers.register("CP003", boot("")) is Registration.PENDING


def test_nobody_takes_over_anothers_serial_number(book: Ledger) -> None:
    assert book.chargers.register("EVIL", boot(SERIAL)) is Registration.REJECTED
    assert book.chargers.by_identity("EVIL") is None
    assert [anomaly.kind for anomaly in book.chargers.anomalies()] == ["serial_number_in_use"]


def test_a_new_charger_under_an_old_identity_gets_it_when_its_owner_adds_it(book: Ledger) -> None:
    assert book.chargers.register(STATION, boot("SN-0002")) is Registration.PENDING
    assert book.chargers.by_identity(STATION) is None
    claim(book)
    assert book.chargers.register(STATION, boot("SN-0002")) is Registration.ACCEPTED
    assert book.chargers.get(SERIAL).identity is None


def test_a_charger_overrides_single_prices_of_its_group(book: Ledger) -> None:
    book.chargers.set_override(SERIAL, PriceOverride(price_kwh=Decimal("3.9")))
    tariff = book.chargers.get(SERIAL).tariff
    assert tariff is not None
    assert (tariff.price_kwh, tariff.price_minute, tariff.currency) == (Decimal("3.9"), NOK.price_minute, "NOK")
    book.chargers.set_override(SERIAL, PriceOverride())
    assert book.chargers.get(SERIAL).tariff == NOK


def test_groups_have_their_own_prices(book: Ledger) -> None:
    book.chargers.add_group("fast", "Fast chargers")
    book.chargers.set_group(SERIAL, "fast")
    assert book.chargers.get(SERIAL).tariff is None
    with pytest.raises(BadInputError):
        book.chargers.add_group("fast", "again")
    with pytest.raises(UnknownItemError):
        book.chargers.set_group(SERIAL, "none")


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"currency": "nok"}, "currency"),
        ({"price_kwh": Decimal(-1)}, "per kWh"),
        ({"price_minute": Decimal("NaN")}, "per minute"),
        ({"price_session": Decimal("0.0000001")}, "per session"),
        ({"vat_percent": Decimal(101)}, "VAT"),
    ],
)
def test_a_wrong_price_is_refused_in_words(book: Ledger, changed: dict[str, Decimal | str], word: str) -> None:
    fields = {name: getattr(NOK, name) for name in NOK.__slots__}
    wrong = type(NOK)(**{**fields, **changed})
    assert len(tariff_problems(wrong)) == 1
    with pytest.raises(BadInputError, match=word):
        book.chargers.set_group_price("default", wrong)


def test_the_price_of_a_moment_is_the_last_one_the_charger_took_over_before_it(book: Ledger) -> None:
    other = type(NOK)(currency="NOK", price_kwh=Decimal(9), price_minute=Decimal(0), price_session=Decimal(0), vat_percent=Decimal(25))
    first = book.now
    book.now += timedelta(hours=1)
    book.chargers.settings_pushed(SERIAL, acknowledged="y", problem=None, tariff=other)
    assert book.chargers.tariff_at(SERIAL, first + timedelta(minutes=59)) == NOK
    assert book.chargers.tariff_at(SERIAL, first + timedelta(minutes=61)) == other
    assert book.chargers.tariff_at(SERIAL, first - timedelta(days=1)) == NOK


def test_tariffs_survive_their_column() -> None:
    text = tariff_text(NOK)
    assert text is not None
    assert tariff_from(text) == NOK
    assert tariff_text(None) is None


def test_cards_are_known_without_regard_to_case(book: Ledger) -> None:
    book.chargers.set_card("04A2b3", TokenVerdict.BLOCKED)
    assert book.chargers.card_verdict("04a2B3") is TokenVerdict.BLOCKED
    assert book.chargers.card_verdict("other") is TokenVerdict.INVALID


def test_a_password_is_wanted_only_where_one_is_set(book: Ledger) -> None:
    assert book.chargers.may_connect("CP001", "", None)
    book.chargers.set_password("CP001", "0123456789abcdef", "salt")
    assert book.chargers.may_connect("CP001", "CP001", b"0123456789abcdef")
    assert not book.chargers.may_connect("CP001", "CP002", b"0123456789abcdef")
    assert not book.chargers.may_connect("CP001", "CP001", b"wrong")
    assert not book.chargers.may_connect("CP001", "", None)
