"""A station's view as a picture. One EVSE has the whole screen; several stand side by side, or behind tabs where there is no room.

Each screen is a short function that says what goes where; sizes come from the `Layout`, words from `Words`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.domain.ids import EvseId
from agent.domain.screen import EvseView, Notice, ScreenKind
from agent.domain.values import dataclass
from agent.qr_display.canvas import Canvas, Rect, Style, line_height, text_width
from agent.qr_display.content import host_of
from agent.qr_display.design import (
    AMBER,
    AMBER_INK,
    INK,
    LINE,
    NOTICE_ICONS,
    PAPER,
    QUIET,
    STATE_COLOURS,
    STATE_ICONS,
    TILE,
    TINTS,
    WARNINGS,
    Colour,
    Cut,
    Layout,
    TypeScale,
)
from agent.qr_display.flow import SHRINKS, Block, Figure, Pill, Table, Text, fitting_shrink, flow, total_height
from agent.qr_display.render import MIN_MODULE_PX, QrQuality, make_code
from agent.qr_display.words import DEFAULT_NOTICES, ENGLISH, Label, Words, clock_time, countdown, language_of, words

if TYPE_CHECKING:
    from datetime import datetime, tzinfo

    from agent.domain.screen import StationView
    from agent.qr_display.render import Frame, QrCode

CODE_KINDS: frozenset[ScreenKind] = frozenset({ScreenKind.AVAILABLE, ScreenKind.PREPARING})
"""The screens on which a payment code may stand; on every other one a payload is ignored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenOptions:
    """What does not change while the charger runs. `timezone` None means that of the machine."""

    serial_number: str = ""
    timezone: tzinfo | None = None
    quality: QrQuality = QrQuality.MEDIUM
    default_language: str = ENGLISH


DEFAULT_OPTIONS = ScreenOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pane:
    """One EVSE's part of the screen while it is drawn. `station` is drawn around it only where the pane is the whole screen."""

    canvas: Canvas
    layout: Layout
    scale: TypeScale
    words: Words
    station: StationView
    evse: EvseView
    options: ScreenOptions

    @property
    def colour(self) -> Colour:
        return STATE_COLOURS[self.evse.kind]

    @property
    def tint(self) -> Colour:
        return TINTS[self.colour]

    def style(self, cut: Cut, size: int, colour: Colour = INK, lines: int = 1) -> Style:
        return Style(cut=cut, size=size, smallest=self.scale.smallest, colour=colour, lines=lines)


def draw(view: StationView, layout: Layout, *, page: int = 0, options: ScreenOptions = DEFAULT_OPTIONS) -> Frame:
    """The picture of a view. `page`: which EVSE's tab is open, where there are tabs."""
    return compose(view, layout, page=page, options=options).frame(view)


def pages(view: StationView, layout: Layout) -> int:
    """How many pictures a view needs: one, or one per EVSE where there are more EVSEs than columns."""
    return 1 if len(view.evses) <= layout.columns else len(view.evses)


def compose(view: StationView, layout: Layout, *, page: int = 0, options: ScreenOptions = DEFAULT_OPTIONS) -> Canvas:
    """The sheet with everything on it, and the list of what is where."""
    canvas = Canvas(layout.width, layout.height)
    evses = view.evses or (EvseView(evse_id=EvseId(0), kind=ScreenKind.STARTING),)
    text = words(language_of(view.language, options.default_language))

    def pane(evse: EvseView, scale: TypeScale) -> _Pane:
        return _Pane(canvas=canvas, layout=layout, scale=scale, words=text, station=view, evse=evse, options=options)

    if len(evses) == 1:
        _whole(pane(evses[0], layout.single))
    elif len(evses) <= layout.columns:
        _side_by_side([pane(evse, layout.column) for evse in evses])
    else:
        _tabbed([pane(evse, layout.single) for evse in evses], page % len(evses))
    return canvas


# --------------------------------------------------------------------------------------------------------- around the panes


def _whole(pane: _Pane) -> None:
    _header, body = pane.canvas.bounds.rows(pane.layout.header, 0)
    if _is_full_height_code(pane, body):
        return
    _draw_header(pane, _header)
    _draw_body(pane, body)


def _draw_header(pane: _Pane, band: Rect) -> None:
    """State in words on its colour; the charger's name, the time and a missing connection on the right."""
    canvas, layout = pane.canvas, pane.layout
    canvas.panel(band, pane.colour)
    inner = band.inset(layout.margin, 0)
    side = round(layout.header * 0.54)
    icon = Rect(inner.left, inner.top, inner.left + side, inner.bottom).square(side)
    canvas.icon(STATE_ICONS[pane.evse.kind], icon, PAPER)
    right = _draw_signs(pane, inner, PAPER)
    left = icon.right + layout.gap
    title = pane.words.title(pane.evse.kind)
    title_width = min(text_width(title, Cut.STRONG, pane.scale.title), max(0, (right - left) * 3 // 4))
    name = Rect(left + title_width + layout.gap, inner.top, right, inner.bottom)
    canvas.text(title, Rect(left, inner.top, left + title_width, inner.bottom), pane.style(Cut.STRONG, pane.scale.title, PAPER))
    clock = _clock(pane)
    style = Style(cut=Cut.TEXT, size=pane.scale.label, smallest=pane.scale.smallest, colour=PAPER, align="right")
    if clock and layout.header >= 2.4 * line_height(pane.scale.label):
        upper, lower = name.inset(0, (layout.header - 2 * line_height(pane.scale.label)) // 2).rows(0, 0)
        canvas.text(clock, upper, Style(cut=Cut.STRONG, size=pane.scale.label, smallest=pane.scale.smallest, colour=PAPER, align="right"))
        canvas.text(pane.station.station_id, lower, style)
    else:
        canvas.text(pane.station.station_id, name, style)


def _draw_signs(pane: _Pane, inner: Rect, colour: Colour) -> int:
    """The sign of a missing connection at the right edge; returns where the room for text ends."""
    if pane.station.online or pane.evse.kind in {ScreenKind.OFFLINE, ScreenKind.STARTING}:
        return inner.right
    side = round(min(pane.layout.header, inner.height) * 0.46)
    sign = Rect(inner.right - side, inner.top, inner.right, inner.bottom).square(side)
    pane.canvas.icon("offline", sign, colour)
    return sign.left - pane.layout.gap


def _side_by_side(panes: list[_Pane]) -> None:
    first = panes[0]
    canvas, layout = first.canvas, first.layout
    gap = layout.gap * 2 // 3
    bar, rest = canvas.bounds.rows(round(layout.header * 0.48), 0)
    canvas.panel(bar, INK)
    inner = bar.inset(layout.margin, 0)
    right = _draw_signs(first, inner, PAPER) if not first.station.online else inner.right
    half = (right - inner.left) * 2 // 3
    canvas.text(
        first.station.station_id,
        Rect(inner.left, inner.top, inner.left + half, inner.bottom),
        first.style(Cut.STRONG, first.scale.label, PAPER),
    )
    clock = Rect(inner.left + half, inner.top, right, inner.bottom)
    canvas.text(
        _clock(first), clock, Style(cut=Cut.STRONG, size=first.scale.label, smallest=first.scale.smallest, colour=PAPER, align="right")
    )
    for pane, card in zip(panes, rest.inset(gap).columns(*(0 for _ in panes), gap=gap), strict=True):
        canvas.outline(card, pane.colour, PAPER, layout.radius, 3)
        band, body = card.rows(round(pane.scale.title * 1.75), 0)
        canvas.panel(band, pane.colour, layout.radius)
        canvas.panel(Rect(band.left, band.bottom - layout.radius, band.right, band.bottom), pane.colour)
        _draw_badge(pane, band.inset(layout.gap, 0))
        _draw_body(pane, body.inset(3))


def _draw_badge(pane: _Pane, band: Rect) -> None:
    """The EVSE's number in a disc, the state in words, its icon at the end."""
    side = round(band.height * 0.62)
    disc = Rect(band.left, band.top, band.left + side, band.bottom).square(side)
    pane.canvas.disc(disc, PAPER)
    size = round(side * 0.62)
    pane.canvas.text(
        str(pane.evse.evse_id), disc.inset(2), Style(cut=Cut.NUMBER, size=size, smallest=8, colour=pane.colour, align="centre")
    )
    icon = Rect(band.right - side, band.top, band.right, band.bottom).square(side)
    pane.canvas.icon(STATE_ICONS[pane.evse.kind], icon, PAPER)
    title = Rect(disc.right + pane.layout.gap * 2 // 3, band.top, icon.left - pane.layout.gap // 2, band.bottom)
    pane.canvas.text(pane.words.title(pane.evse.kind), title, pane.style(Cut.STRONG, pane.scale.title, PAPER))


def _tabbed(panes: list[_Pane], selected: int) -> None:
    """A tab for each EVSE tells its state; the selected one has the rest of the screen."""
    first = panes[0]
    canvas, layout = first.canvas, first.layout
    bar, body = canvas.bounds.rows(layout.header, 0)
    canvas.panel(bar, LINE)
    line = max(2, layout.header // 18)
    tabs = bar.columns(*(0 for _ in panes), gap=2)
    title_size = _tab_title_size(panes, min(tab.width for tab in tabs))
    for index, (pane, tab) in enumerate(zip(panes, tabs, strict=True)):
        if index == selected:
            canvas.panel(tab, pane.colour)
            _draw_tab(pane, tab, PAPER, PAPER, title_size)
        else:
            canvas.panel(tab, TILE)
            _draw_tab(pane, tab, pane.colour, INK, title_size)
    canvas.panel(Rect(bar.left, bar.bottom - line, bar.right, bar.bottom), panes[selected].colour)
    _draw_body(panes[selected], body)


def _tab_parts(pane: _Pane, title_size: int | None) -> tuple[int, int, int]:
    """Widths of number, icon and title of a tab; the title is left out where there is no room."""
    size = round(pane.layout.header * 0.5)
    title = 0 if title_size is None else text_width(pane.words.title(pane.evse.kind), Cut.STRONG, title_size)
    return text_width(str(pane.evse.evse_id), Cut.NUMBER, size), size, title


def _tab_title_size(panes: list[_Pane], width: int) -> int | None:
    """The size at which every title fits into its tab; None when there are too many tabs for words."""
    scale, gap = panes[0].scale, panes[0].layout.gap
    for size in range(scale.title, scale.smallest - 1, -1):
        if all(sum(_tab_parts(pane, size)) + 2 * gap <= width for pane in panes):
            return size
    return None


def _draw_tab(pane: _Pane, tab: Rect, icon_colour: Colour, ink: Colour, title_size: int | None) -> None:
    number, side, title = _tab_parts(pane, title_size)
    gap = pane.layout.gap // 2
    left = tab.left + max(1, (tab.width - number - side - title - gap * (1 + (title > 0))) // 2)
    box = Rect(left, tab.top, left + number, tab.bottom)
    pane.canvas.text(str(pane.evse.evse_id), box, Style(cut=Cut.NUMBER, size=side, smallest=side, colour=ink))
    icon = Rect(box.right + gap, tab.top, box.right + gap + side, tab.bottom).square(side)
    pane.canvas.icon(STATE_ICONS[pane.evse.kind], icon, icon_colour)
    if title_size is not None:
        words_box = Rect(icon.right + gap, tab.top, icon.right + gap + title, tab.bottom)
        style = Style(cut=Cut.STRONG, size=title_size, smallest=title_size, colour=ink)
        pane.canvas.text(pane.words.title(pane.evse.kind), words_box, style)


def _clock(pane: _Pane) -> str:
    clock: datetime | None = pane.station.clock
    return f"{clock.astimezone(pane.options.timezone):%H:%M}" if clock is not None else ""


# ------------------------------------------------------------------------------------------------------------ inside a pane


def _draw_body(pane: _Pane, body: Rect) -> None:
    evse = pane.evse
    match evse.kind:
        case ScreenKind.AVAILABLE | ScreenKind.PREPARING if evse.qr_payload:
            _draw_payment(pane, body, evse.qr_payload)
        case ScreenKind.CHARGING | ScreenKind.SUSPENDED:
            _draw_meter(pane, body)
        case ScreenKind.STOPPING if evse.energy_wh is not None:
            _draw_meter(pane, body)
        case ScreenKind.FINISHED if evse.cost is not None or evse.energy_wh is not None:
            _draw_receipt(pane, body)
        case _:
            headline = Text(_headline(pane), pane.style(Cut.STRONG, pane.scale.headline, lines=4))
            _draw_message(pane, body, [headline, *_details(pane, body)])


def _headline(pane: _Pane) -> str:
    """The sentence in the middle: the notice, or what this state always means."""
    evse = pane.evse
    if evse.kind is ScreenKind.FAULTED and evse.fault is not None:
        return pane.words.fault(evse.fault)
    notice = evse.notice or DEFAULT_NOTICES.get(evse.kind, Notice.NONE)
    if notice in {Notice.SCAN_TO_PAY, Notice.PRESENT_TOKEN_OR_PAY} and not (evse.qr_payload and evse.kind in CODE_KINDS):
        notice = Notice.SHOW_CARD  # there is no code to scan on this screen
    return pane.words.notice(notice)


def _is_wide(box: Rect) -> bool:
    """Things stand beside each other in a wide box and below each other in any other."""
    return box.width >= box.height * 1.2


def _details(pane: _Pane, body: Rect) -> list[Block]:
    """What a message screen says below its headline."""
    evse, scale = pane.evse, pane.scale
    label = pane.words.label
    blocks: list[Block] = []
    if evse.deadline_s is not None and evse.kind in {ScreenKind.PREPARING, ScreenKind.AUTHORIZING}:
        blocks.append(Text(label(Label.TIME_LEFT), pane.style(Cut.TEXT, scale.label, QUIET)))
        blocks.append(Figure(countdown(evse.deadline_s), "", round(scale.number * 1.2), scale.smallest, centred=not _is_wide(body)))
    if evse.kind in {ScreenKind.FAULTED, ScreenKind.UNAVAILABLE} and len(pane.station.evses) > 1:
        blocks.append(Text(label(Label.USE_ANOTHER), pane.style(Cut.TEXT, scale.body, QUIET, lines=2)))
    rows: list[tuple[str, str]] = []
    if evse.kind is ScreenKind.UNCLAIMED and pane.options.serial_number:
        rows.append((label(Label.SERIAL_NUMBER), pane.options.serial_number))
    if evse.kind in {ScreenKind.UNCLAIMED, ScreenKind.FAULTED}:
        rows.append((label(Label.CHARGER_ID), pane.station.station_id))
    if evse.kind is ScreenKind.FAULTED and evse.fault is not None:
        rows.append((label(Label.FAULT_CODE), evse.fault))
    if rows:
        blocks.append(_table(pane, body, tuple(rows), scale.body))
    if evse.kind in CODE_KINDS:
        blocks.extend(_price_blocks(pane, body))
    return blocks


def _table(pane: _Pane, body: Rect, rows: tuple[tuple[str, str], ...], value_size: int) -> Table:
    max_ems = 20 if _is_wide(body) else 0
    return Table(rows=rows, label_size=pane.scale.label, value_size=value_size, smallest=pane.scale.smallest, max_ems=max_ems)


def _price_blocks(pane: _Pane, body: Rect) -> list[Block]:
    """Every price component before the session starts, in the order of AFIR Article 5(4), and that VAT is in it."""
    tariff, scale = pane.evse.tariff, pane.scale
    if tariff is None:
        return []
    prices = pane.words.prices(tariff)
    if not prices:
        return [Text(pane.words.label(Label.FREE), pane.style(Cut.STRONG, scale.headline))]
    blocks: list[Block] = [_table(pane, body, tuple((unit, amount) for amount, unit in prices), round(scale.body * 1.15))]
    if tariff.vat_percent:
        text = pane.words.label(Label.INCLUDING_VAT, percent=pane.words.percent(tariff.vat_percent))
        blocks.append(Text(text, pane.style(Cut.TEXT, scale.label, QUIET)))
    return blocks


def _draw_message(pane: _Pane, body: Rect, blocks: list[Block]) -> None:
    """An icon on a pale disc, and words beside or below it."""
    canvas, layout = pane.canvas, pane.layout
    icon = NOTICE_ICONS.get(pane.evse.notice, STATE_ICONS[pane.evse.kind])
    inner = body.inset(layout.margin, layout.gap)
    if _is_wide(body):
        side = min(round(inner.width * 0.28), round(inner.height * 0.62))
        left, right = inner.columns(side, 0, gap=2 * layout.gap)
        _draw_disc(pane, left.square(side), icon)
        flow(canvas, right, blocks, layout.gap)
        return
    side = round(inner.height * (0.3 if len(blocks) > 1 else 0.42))
    centred = [replace(block, style=replace(block.style, align="centre")) if isinstance(block, Text) else block for block in blocks]
    gap = layout.gap // 2
    room = inner.height - side - layout.gap
    shrink = fitting_shrink(Rect(inner.left, 0, inner.right, room), centred, gap) or SHRINKS[-1]
    top = inner.top + max(0, (room - total_height(inner.width, centred, gap, shrink)) // 2)
    _draw_disc(pane, Rect(inner.left, top, inner.right, top + side).square(side), icon)
    flow(canvas, Rect(inner.left, top + side + layout.gap, inner.right, inner.bottom), centred, gap, "top")


def _draw_disc(pane: _Pane, box: Rect, icon: str) -> None:
    pane.canvas.disc(box, pane.tint)
    pane.canvas.icon(icon, box.square(round(box.width * 0.56)), pane.colour)


# ----------------------------------------------------------------------------------------------------------------- payment


def _payment_words(pane: _Pane, body: Rect, *, with_host: str | None = None) -> list[Block]:
    """What stands beside or below a code: guidance, remaining time, prices, and (where it does not stand under the code) the host."""
    evse, scale = pane.evse, pane.scale
    headline = pane.words.notice(evse.notice or Notice.SCAN_TO_PAY)
    blocks: list[Block] = [Text(headline, pane.style(Cut.STRONG, scale.headline, lines=5))]
    if evse.deadline_s is not None:
        left = pane.words.label(Label.TIME_LEFT)
        blocks.append(Pill(label=left, value=countdown(evse.deadline_s), size=scale.label, smallest=scale.smallest, ground=pane.tint))
    blocks.extend(_price_blocks(pane, body))
    if with_host:
        blocks.append(Text(with_host, pane.style(Cut.STRONG, scale.label, lines=5)))
    return blocks


def _draw_payment(pane: _Pane, body: Rect, payload: str) -> None:
    """The code with the host of the payment page under it, and the prices. Where it cannot be drawn readably: the host in words."""
    code = make_code(payload, pane.options.quality)
    if code is not None and (_draw_code_beside(pane, body, code) or _draw_code_below(pane, body, code)):
        return
    pane.canvas.unfit_payloads.add(payload)
    scale, host = pane.scale, host_of(payload)
    if host is None:
        headline = Text(pane.words.notice(Notice.SHOW_CARD), pane.style(Cut.STRONG, scale.headline, lines=4))
        _draw_message(pane, body, [headline, *_price_blocks(pane, body)])
        return
    rows = ((pane.words.label(Label.CHARGER_ID), pane.station.station_id),)
    blocks: list[Block] = [
        Text(pane.words.label(Label.PAY_AT), pane.style(Cut.TEXT, scale.body, QUIET)),
        Text(host, pane.style(Cut.STRONG, scale.headline, lines=3)),
        _table(pane, body, rows, scale.body),
        *_price_blocks(pane, body),
    ]
    _draw_message(pane, body, blocks)


def _draw_code_beside(pane: _Pane, body: Rect, code: QrCode) -> bool:
    """Words on the left, code on the right; the host under the code, or on the left where the code needs all the height."""
    if not _is_wide(body):
        return False
    canvas, layout, scale = pane.canvas, pane.layout, pane.scale
    host = host_of(code.payload)
    is_spacious = body.height >= 300
    pad, edge = (layout.gap // 2, layout.margin * 2 // 3) if is_spacious else (0, 0)
    for under in (host, None):
        host_height = line_height(scale.label) + layout.gap // 2 if under else 0
        room = min(body.height - 2 * (pad + edge) - host_height, round(body.width * 0.7))
        # A smaller code is worth it when the prices fit beside it only then: both must be seen before the start.
        for px in range(code.module_px(room) or 0, MIN_MODULE_PX - 1, -1):
            side = code.full_size * px
            height = side + 2 * pad + host_height
            right, top = body.right - (layout.margin if is_spacious else 0), body.top + (body.height - height) // 2
            card = Rect(right - side - 2 * pad, top, right, top + height)
            text_right = card.left - (2 * layout.gap if is_spacious else layout.gap // 4)
            text = Rect(body.left + layout.margin, body.top + layout.gap, text_right, body.bottom - layout.gap)
            blocks = _payment_words(pane, body, with_host=None if under else host)
            shrink = fitting_shrink(text, blocks, layout.gap)
            if shrink is None:
                continue
            if is_spacious:
                canvas.outline(card, pane.colour, PAPER, layout.radius, 4)
                warning = Text(pane.words.label(Label.ONLY_VALID_CODE), pane.style(Cut.TEXT, scale.label * 6 // 7, QUIET, lines=2))
                # Good advice, but not at the cost of prices that are hard to read.
                if (fitting_shrink(text, [*blocks, warning], layout.gap) or 0) >= 0.82:
                    blocks.append(warning)
            canvas.code(code, Rect(card.left + pad, card.top + pad, card.right - pad, card.top + pad + side))
            if under:
                # The quiet zone under the code belongs to nobody else: the host begins below it.
                line = Rect(card.left + pad, card.top + pad + side, card.right - pad, card.bottom - (layout.gap // 2 if is_spacious else 2))
                canvas.text(under, line, Style(cut=Cut.STRONG, size=scale.label, smallest=scale.smallest, align="centre"))
            flow(canvas, text, blocks, layout.gap)
            return True
    return False


def _draw_code_below(pane: _Pane, body: Rect, code: QrCode) -> bool:
    """In a column: guidance, code, host and prices below each other."""
    canvas, layout, scale = pane.canvas, pane.layout, pane.scale
    inner = body.inset(layout.gap, layout.gap // 3)
    gap = layout.gap // 3
    host = host_of(code.payload)
    host_height = line_height(scale.label) if host else 0
    rest = [replace(block, padding=0.25) if isinstance(block, Table) else block for block in _payment_words(pane, body)[1:]]
    head = Text(
        pane.words.notice(pane.evse.notice or Notice.SCAN_TO_PAY),
        Style(cut=Cut.STRONG, size=scale.headline, smallest=scale.smallest, align="centre", lines=2),
    )
    best: tuple[int, float] | None = None
    for shrink in SHRINKS:
        below = total_height(inner.width, rest, gap, shrink)
        room = inner.height - head.height(inner.width, shrink) - host_height - below - 2 * gap
        px = code.module_px(min(room, inner.width))
        if (
            px is not None
            and not any(block.is_cut(inner.width, shrink) for block in rest)
            and (best is None or px > best[0])
            and (best is None or shrink > 0.7)
        ):
            best = px, shrink
    if best is None:
        return False
    px, shrink = best
    side = code.full_size * px
    head_height, below = head.height(inner.width, shrink), total_height(inner.width, rest, gap, shrink)
    spare = (inner.height - head_height - side - host_height - below - 2 * gap) // 3
    top = inner.top + spare
    head.draw(canvas, Rect(inner.left, top, inner.right, top + head_height), shrink)
    top += head_height + gap
    canvas.code(code, Rect(inner.left, top, inner.right, top + side))
    top += side
    if host:
        canvas.text(
            host,
            Rect(inner.left, top, inner.right, top + host_height),
            Style(cut=Cut.STRONG, size=scale.label, smallest=scale.smallest, align="centre"),
        )
    flow(canvas, Rect(inner.left, top + host_height + gap, inner.right, inner.bottom), rest, gap, "middle")
    return True


def _is_full_height_code(pane: _Pane, body: Rect) -> bool:
    """A long text on a small screen: the code takes the whole height, and the header shrinks to a label above the words.

    Drawn only when the code does not fit below the header and fits this way.
    """
    evse, canvas, layout = pane.evse, pane.canvas, pane.layout
    if evse.kind not in CODE_KINDS or not evse.qr_payload:
        return False
    code = make_code(evse.qr_payload, pane.options.quality)
    if code is None or code.module_px(body.height) is not None:
        return False
    px = code.module_px(min(canvas.bounds.height, canvas.bounds.width * 3 // 4))
    if px is None:
        return False
    side = code.full_size * px
    left, right = canvas.bounds.columns(0, side)
    band, text = left.rows(layout.header, 0)
    blocks = _payment_words(pane, text, with_host=host_of(evse.qr_payload))[1:]
    text = text.inset(layout.gap // 2, layout.gap)
    if fitting_shrink(text, blocks, layout.gap) is None:
        return False
    canvas.panel(left, PAPER)
    canvas.panel(band, pane.colour)
    canvas.text(
        pane.words.title(evse.kind),
        band.inset(layout.gap // 2, 0),
        Style(cut=Cut.STRONG, size=pane.scale.title, smallest=pane.scale.smallest, colour=PAPER, align="centre"),
    )
    canvas.code(code, right)
    flow(canvas, text, blocks, layout.gap)
    return True


# ------------------------------------------------------------------------------------------------------ charging and receipt


def _draw_meter(pane: _Pane, body: Rect) -> None:
    """The running session: energy first and large, then cost, power and time; a banner when there is something to say."""
    canvas, layout, scale, evse = pane.canvas, pane.layout, pane.scale, pane.evse
    inner = body.inset(layout.margin if body.width >= 500 else layout.gap, layout.gap)
    if evse.notice is not Notice.NONE and evse.notice in WARNINGS | {
        Notice.PAUSED_BY_STATION,
        Notice.PAUSED_BY_VEHICLE,
        Notice.WAITING_FOR_VEHICLE,
        Notice.UNPLUG,
    }:
        inner, banner = inner.rows(0, round(line_height(scale.body) * 1.5), gap=layout.gap * 2 // 3)
        _draw_banner(pane, banner)
    label = pane.words.label
    cells: list[tuple[str, str, str]] = []
    if evse.cost is not None:
        cost_label = Label.COST if evse.cost.is_final else Label.COST_SO_FAR
        cells.append((label(cost_label), pane.words.money(evse.cost.gross, evse.cost.currency), ""))
    cells.append((label(Label.POWER), pane.words.power(evse.power_w), "kW"))
    cells.append((label(Label.TIME), clock_time(evse.seconds), ""))
    if _is_wide(body):
        left, right = inner.columns(round(inner.width * 0.55), 0, gap=layout.gap)
        _draw_energy(pane, left)
        for (name, number, unit), box in zip(cells, right.rows(*(0 for _ in cells), gap=layout.gap * 2 // 3), strict=True):
            canvas.panel(box, TILE, layout.radius)
            content: list[Block] = [
                Text(name, pane.style(Cut.TEXT, scale.label, QUIET)),
                Figure(number, unit, scale.number, scale.smallest),
            ]
            flow(canvas, box.inset(layout.gap, layout.gap // 4), content, max(1, layout.gap // 6))
        return
    rows = tuple((name, f"{number}\N{NO-BREAK SPACE}{unit}" if unit else number) for name, number, unit in cells)
    table = Table(rows=rows, label_size=scale.label, value_size=round(scale.number * 0.8), smallest=scale.smallest, padding=0.6)
    upper, lower = inner.rows(0, table.height(inner.width, 1.0), gap=layout.gap // 2)
    _draw_energy(pane, upper)
    flow(canvas, lower, [table], 0)


def _draw_energy(pane: _Pane, box: Rect) -> None:
    canvas, layout, scale = pane.canvas, pane.layout, pane.scale
    canvas.panel(box, pane.tint, layout.radius)
    inner = box.inset(layout.gap)
    label = Text(pane.words.label(Label.ENERGY), pane.style(Cut.TEXT, scale.label, INK))
    top, rest = inner.rows(label.height(inner.width, 1.0), 0)
    label.draw(canvas, top, 1.0)
    price = _price_line(pane, inner)
    if price is not None:
        rest, bottom = rest.rows(0, price.height(inner.width, 1.0))
        price.draw(canvas, bottom, 1.0)
    flow(canvas, rest, [Figure(pane.words.energy(pane.evse.energy_wh), "kWh", scale.hero, scale.smallest, centred=True)], 0)


def _price_line(pane: _Pane, inner: Rect) -> Text | None:
    """The price that governs this session (frozen at its start), where the tile has room for it."""
    if pane.evse.tariff is None or inner.height < 3 * line_height(pane.scale.label) + pane.scale.hero:
        return None
    prices = pane.words.prices(pane.evse.tariff)
    if not prices:
        return None
    text = " +\N{NO-BREAK SPACE}".join(f"{amount} {unit}".replace(" ", "\N{NO-BREAK SPACE}") for amount, unit in prices)
    block = Text(text, pane.style(Cut.TEXT, pane.scale.label, INK, lines=2))
    return None if block.is_cut(inner.width, 1.0) else block


def _draw_banner(pane: _Pane, box: Rect) -> None:
    """One line on its own ground: amber for trouble, the tint of the state for guidance."""
    is_warning = pane.evse.notice in WARNINGS
    ground, ink = (AMBER, AMBER_INK) if is_warning else (pane.tint, pane.colour)
    icon = "warning" if is_warning else NOTICE_ICONS.get(pane.evse.notice, STATE_ICONS[pane.evse.kind])
    pane.canvas.panel(box, ground, pane.layout.radius)
    side = round(box.height * 0.6)
    sign, text = box.inset(pane.layout.gap, 0).columns(side, 0, gap=pane.layout.gap * 2 // 3)
    pane.canvas.icon(icon, sign.square(side), ink)
    notice = pane.evse.notice or DEFAULT_NOTICES.get(pane.evse.kind, Notice.NONE)
    pane.canvas.text(pane.words.notice(notice), text, pane.style(Cut.STRONG, pane.scale.body, ink, lines=2))


def _draw_receipt(pane: _Pane, body: Rect) -> None:
    """What was delivered and what it costs: energy, time, net, VAT, total."""
    canvas, layout, scale, evse = pane.canvas, pane.layout, pane.scale, pane.evse
    table = _receipt_table(pane)
    headline = _headline(pane)
    if body.width >= 500 and _is_wide(body):
        inner = body.inset(layout.margin)
        left, right = inner.columns(round(inner.width * 0.42), 0, gap=2 * layout.gap)
        side = round(left.width * 0.5)
        text = Text(headline, Style(cut=Cut.STRONG, size=scale.headline, smallest=scale.smallest, align="centre", lines=3))
        height = side + layout.gap + text.height(left.width, 1.0)
        top = left.top + (left.height - height) // 2
        _draw_disc(pane, Rect(left.left, top, left.right, top + side).square(side), NOTICE_ICONS.get(evse.notice, "check"))
        text.draw(canvas, Rect(left.left, top + side + layout.gap, left.right, left.bottom), 1.0)
        canvas.panel(right, TILE, layout.radius)
        title = Text(pane.words.label(Label.RECEIPT), pane.style(Cut.STRONG, scale.body))
        flow(
            canvas, right.inset(round(layout.gap * 1.4), layout.gap), [title, table] if evse.cost is not None else [table], layout.gap // 2
        )
        return
    inner = body.inset(layout.margin if body.width < 350 else layout.gap, layout.gap)
    banner, rest = inner.rows(round(line_height(scale.body) * 1.6), 0, gap=layout.gap // 2)
    _draw_banner(pane, banner)
    flow(canvas, rest, [table], 0)


def _receipt_table(pane: _Pane) -> Table:
    evse, scale, word = pane.evse, pane.scale, pane.words
    rows: list[tuple[str, str]] = []
    cost = evse.cost
    energy_wh = cost.energy_wh if cost is not None else evse.energy_wh
    seconds = evse.seconds if evse.seconds is not None or cost is None else int(cost.seconds)
    if energy_wh is not None:
        rows.append((word.label(Label.ENERGY), f"{word.billed_energy(energy_wh)}\N{NO-BREAK SPACE}kWh"))
    if seconds is not None:
        rows.append((word.label(Label.TIME), clock_time(seconds)))
    if cost is not None:
        vat = word.label(Label.VAT) if evse.tariff is None else word.label(Label.VAT_PERCENT, percent=word.percent(evse.tariff.vat_percent))
        rows.append((word.label(Label.NET), word.money(cost.gross - cost.vat, cost.currency)))
        rows.append((vat, word.money(cost.vat, cost.currency)))
        rows.append((word.label(Label.TOTAL), word.money(cost.gross, cost.currency)))
    return Table(
        rows=tuple(rows), label_size=scale.body, value_size=round(scale.body * 1.15), smallest=scale.smallest, has_total=cost is not None
    )
