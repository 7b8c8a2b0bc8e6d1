"""Every screen in every size and language: nothing leaves the frame, overlaps, is cut or is hard to read; codes decode."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, timedelta, timezone
from decimal import Decimal
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.domain.connector import FaultKind
from agent.domain.ids import EvseId
from agent.domain.screen import EvseView, Notice, ScreenKind, StationView
from agent.domain.tariff import Tariff
from agent.qr_display.canvas import Canvas, MarkKind
from agent.qr_display.design import LAYOUTS, Layout, contrast
from agent.qr_display.render import MIN_MODULE_PX, QrQuality
from agent.qr_display.screens import CODE_KINDS, ScreenOptions, compose, draw, pages
from agent.qr_display.words import LANGUAGES, words
from tests.qr_display.decoding import codes_in
from tests.qr_display.examples import CLOCK, EXAMPLES, RECEIPT, RUNNING, TARIFF, URL, cost, evse, station

OPTIONS = ScreenOptions(serial_number="SN-0001", timezone=UTC)
EACH_LAYOUT = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=lambda layout: layout.name)
EACH_LANGUAGE = pytest.mark.parametrize("language", LANGUAGES)
EACH_KIND = pytest.mark.parametrize("kind", ScreenKind)

DEAR = Tariff(
    currency="NOK",
    price_kwh=Decimal("1234.567891"),
    price_minute=Decimal("123.456789"),
    price_session=Decimal("99999.99"),
    vat_percent=Decimal("25.5"),
)
LONG_ID = "NO*ABC*E0001234567890*STATION-WITH-A-VERY-LONG-NAME"
"""A little longer than the 48 characters that OCPP allows."""


def _views(kind: ScreenKind) -> Iterable[EvseView]:
    """What can happen on one screen: its example, with every notice, at its fullest, and at its emptiest."""
    example = EXAMPLES[kind]
    yield example
    for notice in Notice:
        yield replace(example, notice=notice)
        if kind in CODE_KINDS:
            yield evse(kind, notice=notice, deadline_s=3599, tariff=TARIFF, qr_payload=URL)
    yield evse(kind)
    for fault in (*FaultKind, "SomethingNobodyHasHeardOf") if kind is ScreenKind.FAULTED else ("GroundFault",):
        yield evse(kind, fault=fault)
    full = {
        "tariff": DEAR,
        "energy_wh": 98_765_432,
        "power_w": Decimal(349_900),
        "seconds": 359_999,
        "cost": cost("1234567.89", "246913.58", 98_765_432, 359_999),
        "deadline_s": 35_999,
        "fault": FaultKind.RCD_SELF_TEST_FAILED,
        "started_at": CLOCK,
        "ended_at": CLOCK,
    }
    yield evse(kind, **full)
    yield evse(kind, **full, qr_payload=URL)
    yield evse(kind, **{**full, "cost": cost("1234567.891", "246913.578", 98_765_432, 359_999, is_final=True, currency="KWD")})
    yield evse(kind, energy_wh=0, seconds=0, power_w=Decimal(-3700), tariff=replace(TARIFF, vat_percent=Decimal(0)))
    yield evse(
        kind,
        tariff=Tariff(currency="NOK", price_kwh=Decimal(0), price_minute=Decimal(0), price_session=Decimal(0), vat_percent=Decimal(25)),
    )


def _assert_tidy(canvas: Canvas, layout: Layout, *, may_cut: frozenset[str] = frozenset()) -> None:
    starts = {text[:3] for text in may_cut}
    for mark in canvas.marks:
        assert canvas.bounds.contains(mark.box), f"{mark.kind} {mark.text!r} at {mark.box} leaves the frame"
        if mark.kind is MarkKind.TEXT:
            assert not mark.is_cut or mark.text[:3] in starts, f"{mark.text!r} is cut"
            assert contrast(mark.colour, mark.ground) >= 4.5, f"{mark.text!r}: {mark.colour} on {mark.ground}"
            assert mark.size >= min(layout.single.smallest, layout.column.smallest), f"{mark.text!r} is only {mark.size} px"
        if mark.kind is MarkKind.ICON:
            assert contrast(mark.colour, mark.ground) >= 3, f"icon {mark.text}: {mark.colour} on {mark.ground}"
        if mark.kind is MarkKind.CODE:
            assert mark.size >= MIN_MODULE_PX
    for first, second in combinations(canvas.marks, 2):
        assert not first.box.overlaps(second.box), f"{first.text!r} {first.box} overlaps {second.text!r} {second.box}"


@EACH_LAYOUT
@EACH_LANGUAGE
@EACH_KIND
def test_nothing_overflows_overlaps_or_is_cut(kind: ScreenKind, language: str, layout: Layout) -> None:
    for number, view in enumerate(_views(kind)):
        canvas = compose(station(view, language=language, online=number % 2 == 0), layout, options=OPTIONS)
        assert canvas.marks
        _assert_tidy(canvas, layout)


@EACH_LAYOUT
@EACH_LANGUAGE
@EACH_KIND
def test_several_evses_share_the_screen(kind: ScreenKind, language: str, layout: Layout) -> None:
    others = [replace(view, evse_id=EvseId(number)) for number, view in enumerate(EXAMPLES.values(), start=2)]
    for count in (1, 2, 5):
        shown = station(EXAMPLES[kind], *others[:count], language=language, online=False)
        for page in range(min(2, pages(shown, layout))):
            _assert_tidy(compose(shown, layout, page=page, options=OPTIONS), layout)


@EACH_LAYOUT
@EACH_KIND
def test_two_evses_at_their_fullest(kind: ScreenKind, layout: Layout) -> None:
    for view in _views(kind):
        shown = station(view, replace(view, evse_id=EvseId(2)), language="nb")
        _assert_tidy(compose(shown, layout, options=OPTIONS), layout)


@EACH_LAYOUT
@EACH_KIND
def test_only_a_long_name_is_cut_and_then_with_an_ellipsis(kind: ScreenKind, layout: Layout) -> None:
    host = "a-very-long-name-of-a-payment-provider.department.example.co.uk"
    payload = f"https://{host}/1"
    options = replace(OPTIONS, serial_number=LONG_ID)
    view = replace(EXAMPLES[kind], qr_payload=payload)
    for shown in (station(view, station_id=LONG_ID), station(view, replace(view, evse_id=EvseId(2)), station_id=LONG_ID)):
        canvas = compose(shown, layout, options=options)
        _assert_tidy(canvas, layout, may_cut=frozenset({LONG_ID, host}))


@EACH_LAYOUT
@EACH_LANGUAGE
@EACH_KIND
def test_a_code_stands_only_where_one_can_pay_and_decodes(kind: ScreenKind, language: str, layout: Layout) -> None:
    frame = draw(station(replace(EXAMPLES[kind], qr_payload=URL), language=language), layout, options=OPTIONS)
    assert (frame.width, frame.height) == (layout.width, layout.height)
    assert codes_in(frame) == ([URL] if kind in CODE_KINDS else [])


@EACH_LAYOUT
@EACH_LANGUAGE
@pytest.mark.parametrize("length", [40, 60, 80, 100, 120])
def test_payloads_of_120_characters_decode_at_every_size(length: int, language: str, layout: Layout) -> None:
    payload = (URL + "?t=" + "aB3/" * 30)[:length]
    canvas = compose(station(replace(EXAMPLES[ScreenKind.AVAILABLE], qr_payload=payload), language=language), layout, options=OPTIONS)
    assert canvas.unfit_payloads == set()
    _assert_tidy(canvas, layout)
    assert codes_in(canvas.frame()) == [payload]
    assert "pay.example.com" in "".join(mark.text for mark in canvas.marks), "the host stands in clear text"


@settings(max_examples=25, deadline=None)
@given(
    length=st.integers(34, 400),
    quality=st.sampled_from(QrQuality),
    kind=st.sampled_from(sorted(CODE_KINDS)),
    count=st.integers(1, 3),
    layout=st.sampled_from(list(LAYOUTS.values())),
    language=st.sampled_from(LANGUAGES),
)
def test_a_code_decodes_or_the_screen_says_where_to_pay(
    length: int, quality: QrQuality, kind: ScreenKind, count: int, layout: Layout, language: str
) -> None:
    payloads = [f"https://pay.example.com/c/CP001/{number}?".ljust(length, "x") for number in range(1, count + 1)]
    views = [evse(kind, number, tariff=TARIFF, qr_payload=payload, deadline_s=54) for number, payload in enumerate(payloads, start=1)]
    shown = station(*views, language=language)
    for page in range(pages(shown, layout)):
        canvas = compose(shown, layout, page=page, options=replace(OPTIONS, quality=quality))
        _assert_tidy(canvas, layout)
        wanted = [payloads[page]] if pages(shown, layout) > 1 else payloads
        assert codes_in(canvas.frame()) == sorted(set(wanted) - canvas.unfit_payloads)
        assert canvas.unfit_payloads <= set(wanted)
        hosts = [mark for mark in canvas.marks if mark.text.replace(" ", "") in {"pay.example.com", "example.com", "com"}]
        assert len(hosts) >= len(wanted)


@EACH_LAYOUT
def test_a_text_that_is_no_url_still_gives_a_code(layout: Layout) -> None:
    frame = draw(station(replace(EXAMPLES[ScreenKind.AVAILABLE], qr_payload="CP001:1")), layout, options=OPTIONS)
    assert codes_in(frame) == ["CP001:1"]
    too_long = compose(station(replace(EXAMPLES[ScreenKind.AVAILABLE], qr_payload="x" * 2950)), layout, options=OPTIONS)
    assert too_long.unfit_payloads == {"x" * 2950}
    _assert_tidy(too_long, layout)


def _texts(view: StationView, layout: str = "800x480", page: int = 0) -> list[str]:
    marks = compose(view, LAYOUTS[layout], page=page, options=OPTIONS).marks
    return [mark.text.replace("\N{NO-BREAK SPACE}", " ") for mark in marks if mark.kind is MarkKind.TEXT]


@EACH_LAYOUT
def test_prices_are_shown_beside_the_code_in_the_order_of_the_regulation(layout: Layout) -> None:
    """AFIR Article 5(4): per kWh, per minute, per session, before the session starts."""
    texts = _texts(station(EXAMPLES[ScreenKind.AVAILABLE], language="nb"), layout.name)
    order = [texts.index(text) for text in ("per kWh", "4,50 kr", "per minutt", "0,25 kr", "per lading", "10,00 kr", "Inkl. 25 % mva.")]
    assert order == sorted(order)


@EACH_LAYOUT
def test_the_receipt_shows_energy_time_net_vat_and_total(layout: Layout) -> None:
    texts = _texts(station(EXAMPLES[ScreenKind.FINISHED], language="nb"), layout.name)
    rows = ["Energi", "12,345 kWh", "Tid", "1:07:05", "Netto", "65,86 kr", "Mva. 25 %", "16,47 kr", "Totalt", "82,33 kr"]
    assert [text for text in texts if text in rows] == rows


@EACH_LAYOUT
def test_the_running_session_shows_energy_cost_power_and_time(layout: Layout) -> None:
    texts = _texts(station(EXAMPLES[ScreenKind.CHARGING], language="nb"), layout.name)
    assert {"12,34", "kWh", "82,33 kr", "11,0", "kW", "1:07:05"} <= set(texts)


@EACH_LAYOUT
def test_a_number_that_was_not_read_is_a_dash(layout: Layout) -> None:
    texts = _texts(station(evse(ScreenKind.CHARGING)), layout.name)
    assert texts.count("–") == 3
    assert not any(text[:1].isdigit() for text in texts if text != "13:07")


def test_a_fault_shows_its_reason_its_code_and_which_charger_it_is() -> None:
    for layout in LAYOUTS:
        assert {"Earth fault", "GroundFault", "CP001"} <= set(_texts(station(EXAMPLES[ScreenKind.FAULTED]), layout))


def test_an_unclaimed_charger_shows_what_the_owner_needs() -> None:
    for layout in LAYOUTS:
        assert {"Serial number", "SN-0001", "Charger ID", "CP001"} <= set(_texts(station(EXAMPLES[ScreenKind.UNCLAIMED]), layout))


def test_the_countdown_shows_in_preparing() -> None:
    assert "0:54" in _texts(station(EXAMPLES[ScreenKind.PREPARING]))
    assert "0:54" in _texts(station(evse(ScreenKind.PREPARING, qr_payload=URL, tariff=TARIFF, deadline_s=54)))


def test_a_notice_that_asks_to_scan_is_not_shown_without_a_code() -> None:
    texts = _texts(station(evse(ScreenKind.AVAILABLE, notice=Notice.SCAN_TO_PAY)), "320x240")
    assert "Scan" not in " ".join(texts)


def test_trouble_during_a_session_is_said_in_a_banner() -> None:
    for notice in (Notice.METER_SILENT, Notice.OFFLINE_SESSION_CONTINUES, Notice.PAUSED_BY_VEHICLE):
        for layout in LAYOUTS:
            texts = _texts(station(evse(ScreenKind.CHARGING, notice=notice, **RUNNING)), layout)
            assert words("en").notice(notice) in texts


def test_a_private_session_has_no_cost_row() -> None:
    assert "Cost so far" not in _texts(station(evse(ScreenKind.CHARGING, **{**RUNNING, "cost": None})))
    assert "Total" not in _texts(station(evse(ScreenKind.FINISHED, **{**RECEIPT, "cost": None})))


def test_the_clock_is_that_of_the_driver() -> None:
    view = station(EXAMPLES[ScreenKind.STARTING])
    local = compose(view, LAYOUTS["800x480"], options=replace(OPTIONS, timezone=timezone(timedelta(hours=1))))
    assert "14:07" in {mark.text for mark in local.marks}
    without = compose(replace(view, clock=None), LAYOUTS["800x480"], options=OPTIONS)
    assert not any(":" in mark.text for mark in without.marks)


def test_a_station_without_evses_is_starting() -> None:
    assert "Starting up" in _texts(station())


def test_more_evses_than_columns_stand_behind_tabs() -> None:
    both = station(EXAMPLES[ScreenKind.AVAILABLE], evse(ScreenKind.CHARGING, 2, **RUNNING))
    assert (pages(both, LAYOUTS["800x480"]), pages(both, LAYOUTS["320x240"])) == (1, 2)
    first, second = _texts(both, "320x240", 0), _texts(both, "320x240", 1)
    assert {"1", "2", "Available", "Charging"} <= set(first) & set(second)
    assert ("per kWh" in first, "12.34" in first) == (True, False)
    assert ("per kWh" in second, "12.34" in second) == (False, True)


def test_the_same_view_gives_the_same_pixels() -> None:
    view = station(EXAMPLES[ScreenKind.AVAILABLE])
    assert draw(view, LAYOUTS["320x240"]).rgb == draw(view, LAYOUTS["320x240"]).rgb
