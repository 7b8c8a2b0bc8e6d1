"""Complete catalogues, and numbers as people write them."""

from decimal import Decimal
from pathlib import Path

import pytest
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po
from PIL import ImageFont

from agent.domain.connector import FaultKind
from agent.domain.screen import Notice, ScreenKind
from agent.domain.tariff import Tariff
from agent.qr_display import words as words_module
from agent.qr_display.design import Cut
from agent.qr_display.words import (
    DEFAULT_NOTICES,
    FAULTS,
    LANGUAGES,
    LOCALE_DIRECTORY,
    MESSAGES,
    NOTICES,
    TITLES,
    Label,
    clock_time,
    countdown,
    language_of,
    words,
)

NBSP = "\N{NO-BREAK SPACE}"
TRANSLATED = [language for language in LANGUAGES if language != "en"]


def _catalogue(language: str) -> Path:
    return LOCALE_DIRECTORY / language / "LC_MESSAGES" / "display.po"


def test_every_screen_notice_and_fault_has_words() -> None:
    assert set(TITLES) == set(ScreenKind)
    assert set(NOTICES) == set(Notice) - {Notice.NONE}
    assert set(FAULTS) == set(FaultKind)
    assert set(DEFAULT_NOTICES) >= set(ScreenKind) - {ScreenKind.CHARGING, ScreenKind.SUSPENDED}


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_translation_is_missing_and_none_is_left_over(language: str) -> None:
    with _catalogue(language).open("rb") as file:
        catalogue = read_po(file, locale=language)
    texts = {message.id: message.string for message in catalogue if message.id}
    assert set(texts) == MESSAGES
    assert [key for key, text in texts.items() if not text] == []
    assert [message.id for message in catalogue if message.fuzzy and message.id] == []
    for key, text in texts.items():
        assert {part for part in ("{percent}", "{number}") if part in key} == {part for part in ("{percent}", "{number}") if part in text}


@pytest.mark.parametrize("language", TRANSLATED)
def test_the_compiled_catalogue_is_that_of_the_source(language: str) -> None:
    """Remake it: pybabel compile -i display.po -o display.mo."""
    with _catalogue(language).open("rb") as source, _catalogue(language).with_suffix(".mo").open("rb") as compiled:
        wanted = {message.id: message.string for message in read_po(source, locale=language) if message.id}
        assert {message.id: message.string for message in read_mo(compiled) if message.id} == wanted


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_bundled_fonts_have_every_letter(language: str) -> None:
    """A letter that a font lacks is drawn like U+10FFFF, as the box of the missing glyph."""
    text = words(language)
    everything = (
        {text.title(kind) for kind in ScreenKind} | {text.notice(notice) for notice in Notice} | {text.fault(kind) for kind in FaultKind}
    )
    everything |= {text.label(label, percent=text.percent(Decimal("25.5")), number="1") for label in Label}
    everything |= {text.price(Decimal("-1234567.89"), currency) for currency in ("NOK", "EUR", "GBP", "PLN", "JPY", "KWD", "CZK", "UAH")}
    everything |= {"ÆØÅæøåÄÖÜäöüßÉéñç¿¡ŁłŚśŻż", "ΑΒΓΔΩαβγδωάέή", "АБВЖЯабвжяЇїЄє", "–…·+%:№"}
    for cut in Cut:
        face = ImageFont.truetype(str(Path(LOCALE_DIRECTORY).parent / "fonts" / cut.value), 24, layout_engine=ImageFont.Layout.BASIC)
        missing = face.getmask("\U0010ffff").getbbox(), bytes(face.getmask("\U0010ffff"))
        for letter in sorted(set("".join(everything))):
            assert (face.getmask(letter).getbbox(), bytes(face.getmask(letter))) != missing, f"{cut.value} has no {letter!r}"


def test_the_fonts_are_small_and_carry_their_licence() -> None:
    directory = Path(LOCALE_DIRECTORY).parent / "fonts"
    assert sum(file.stat().st_size for file in directory.iterdir()) < 500_000
    assert "SIL OPEN FONT LICENSE Version 1.1" in (directory / "OFL.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("cut", Cut)
def test_every_figure_is_equally_wide_so_that_counters_stand_still(cut: Cut) -> None:
    face = ImageFont.truetype(str(Path(LOCALE_DIRECTORY).parent / "fonts" / cut.value), 60, layout_engine=ImageFont.Layout.BASIC)
    assert len({face.getlength(figure) for figure in "0123456789"}) == 1


@pytest.mark.parametrize(
    ("tag", "language"),
    [("nb", "nb"), ("nb-NO", "nb"), ("NB_no", "nb"), ("no", "nb"), ("nn", "nb"), ("en-GB", "en"), ("xx", "en"), ("", "en")],
)
def test_a_driver_gets_the_nearest_language(tag: str, language: str) -> None:
    assert language_of(tag) == language


def test_an_unknown_language_gives_the_chosen_default() -> None:
    assert language_of("xx", "nb") == "nb"


@pytest.mark.parametrize(
    ("language", "amount", "currency", "text"),
    [
        ("nb", "82.33", "NOK", "82,33_kr"),
        ("nb", "1234.5", "NOK", "1_234,50_kr"),
        ("nb", "300", "JPY", "300_JPY"),
        ("nb", "1.2", "KWD", "1,200_KWD"),
        ("nb", "7", "EUR", "7,00_€"),
        ("en", "82.33", "NOK", "NOK_82.33"),
        ("en", "1234.5", "EUR", "€1,234.50"),
        ("en", "300", "JPY", "¥300"),
        ("en", "1.2", "KWD", "KWD_1.200"),
        ("en", "0.005", "EUR", "€0.01"),
    ],
)
def test_money_has_the_decimals_of_its_currency(language: str, amount: str, currency: str, text: str) -> None:
    assert words(language).money(Decimal(amount), currency) == text.replace("_", NBSP)


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        ("4.5", "NOK", "4,50_kr"),
        ("0.125", "NOK", "0,125_kr"),
        ("10", "NOK", "10,00_kr"),
        ("1E+1", "NOK", "10,00_kr"),
        ("2.5", "JPY", "2,5_JPY"),
    ],
)
def test_a_price_keeps_every_decimal(amount: str, currency: str, text: str) -> None:
    assert words("nb").price(Decimal(amount), currency) == text.replace("_", NBSP)


def test_prices_stand_in_the_order_of_the_regulation_and_zero_is_left_out() -> None:
    tariff = Tariff(
        currency="NOK", price_kwh=Decimal("4.5"), price_minute=Decimal("0.25"), price_session=Decimal(10), vat_percent=Decimal(25)
    )
    assert [unit for _amount, unit in words("en").prices(tariff)] == ["per kWh", "per minute", "per session"]
    free = Tariff(currency="NOK", price_kwh=Decimal(0), price_minute=Decimal("0.00"), price_session=Decimal(0), vat_percent=Decimal(25))
    assert words("en").prices(free) == ()


@pytest.mark.parametrize(
    ("energy_wh", "text"),
    [
        (0, "0,00"),
        (9, "0,00"),
        (12_349, "12,34"),
        (99_999, "99,99"),
        (100_000, "100,0"),
        (123_456, "123,4"),
        (1_234_567, "1_234,5"),
        (None, "–"),
    ],
)
def test_running_energy_is_cut_off_never_rounded_up(energy_wh: int | None, text: str) -> None:
    assert words("nb").energy(energy_wh) == text.replace("_", NBSP)


@pytest.mark.parametrize(("energy_wh", "text"), [(12_340, "12.34"), (12_345, "12.345"), (0, "0.00"), (7, "0.007")])
def test_billed_energy_is_exact(energy_wh: int, text: str) -> None:
    assert words("en").billed_energy(energy_wh) == text


@pytest.mark.parametrize(("power_w", "text"), [("11040", "11,0"), ("3650", "3,7"), ("0", "0,0"), ("149600", "150"), (None, "–")])
def test_power(power_w: str | None, text: str) -> None:
    assert words("nb").power(None if power_w is None else Decimal(power_w)) == text


@pytest.mark.parametrize(
    ("percent", "norwegian", "english"), [("25", "25_%", "25%"), ("25.00", "25_%", "25%"), ("25.5", "25,5_%", "25.5%"), ("0", "0_%", "0%")]
)
def test_percent(percent: str, norwegian: str, english: str) -> None:
    assert words("nb").percent(Decimal(percent)) == norwegian.replace("_", NBSP)
    assert words("en").percent(Decimal(percent)) == english


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00:00"), (59, "0:00:59"), (3600, "1:00:00"), (4025, "1:07:05"), (360_000, "100:00:00"), (None, "–")]
)
def test_durations(seconds: int | None, text: str) -> None:
    assert clock_time(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(54, "0:54"), (125, "2:05"), (0, "0:00"), (-3, "0:00")])
def test_countdowns_end_at_zero(seconds: int, text: str) -> None:
    assert countdown(seconds) == text


def test_an_unknown_fault_is_a_technical_one() -> None:
    assert words("en").fault("SomethingNew") == "Technical fault"
    assert words("nb").fault("GroundFault") == "Jordfeil"


def test_a_package_without_catalogues_speaks_english_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(words_module, "LOCALE_DIRECTORY", tmp_path)
    text = words_module.Words("nb")
    assert text.title(ScreenKind.AVAILABLE) == "Available"
    assert text.money(Decimal(1), "NOK") == f"1,00{NBSP}kr"
    assert "nb" in caplog.text
    assert ".mo" in caplog.text
