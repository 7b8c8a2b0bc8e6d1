"""Makes docs/screens.md and docs/images/*.png with the real renderer: `python -m tests.qr_display.gallery`."""

from dataclasses import dataclass, replace
from datetime import timedelta, timezone
from pathlib import Path

from PIL import Image

from agent.domain.connector import FaultKind
from agent.domain.ids import EvseId
from agent.domain.screen import EvseView, Notice, ScreenKind, StationView
from agent.qr_display.design import LAYOUTS
from agent.qr_display.screens import ScreenOptions, draw
from tests.qr_display.examples import EXAMPLES, RUNNING, TARIFF, URL, evse, station

DOCS = Path(__file__).parents[2] / "docs"
OPTIONS = ScreenOptions(serial_number="SN-0001", timezone=timezone(timedelta(hours=1)))
COLOURS = 128
"""Enough for every colour of a screen and the edges of its letters; a picture becomes a third as large."""

MEANINGS: dict[ScreenKind, str] = {
    ScreenKind.STARTING: "The daemon has started and does not know the hardware's state yet.",
    ScreenKind.AVAILABLE: "Free. The code stands here only while public charging is on, the price is known, and the charger can really "
    "charge; otherwise the screen asks for a card or a tag.",
    ScreenKind.AUTHORIZING: "A card, a tag or a payment is being checked.",
    ScreenKind.PREPARING: "Plugged in or authorized, but not both yet. The countdown is the time that is left.",
    ScreenKind.CHARGING: "Energy flows: energy, cost so far, power and time, and the price that was frozen at the start.",
    ScreenKind.SUSPENDED: "The session goes on without power; the banner says who paused it.",
    ScreenKind.STOPPING: "The session is being ended in order.",
    ScreenKind.FINISHED: "The receipt. Energy is shown to the watt-hour, as it is billed.",
    ScreenKind.REFUSED: "The card or tag may not charge here.",
    ScreenKind.FAULTED: "What is wrong, in words for the driver and as the code that a technician looks for.",
    ScreenKind.UNAVAILABLE: "Taken out of service by the owner or the portal.",
    ScreenKind.OFFLINE: "No connection and nobody charging: no payment is possible now.",
    ScreenKind.UNCLAIMED: "The portal answers Pending: the owner has not added this charger yet. The claim code (UID) is never shown.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """A picture beside the one per screen."""

    name: str
    size: str
    view: StationView
    text: str
    page: int = 0


def _long_url(length: int) -> str:
    return (URL + "?order=" + "aB3dE5" * 40)[:length]


def _at(number: int, view: EvseView) -> EvseView:
    return replace(view, evse_id=EvseId(number))


AVAILABLE = EXAMPLES[ScreenKind.AVAILABLE]
CHARGING = EXAMPLES[ScreenKind.CHARGING]
FOUR = station(
    AVAILABLE, _at(2, CHARGING), evse(ScreenKind.FAULTED, 3, fault=FaultKind.EMERGENCY_STOP), _at(4, EXAMPLES[ScreenKind.FINISHED])
)
TAG_OR_PAY = evse(ScreenKind.PREPARING, notice=Notice.PRESENT_TOKEN_OR_PAY, tariff=TARIFF, qr_payload=URL, deadline_s=54)
OFFLINE_SESSION = evse(ScreenKind.CHARGING, notice=Notice.OFFLINE_SESSION_CONTINUES, **RUNNING)

EXTRAS: tuple[Extra, ...] = (
    Extra(
        name="two-evses",
        size="800x480",
        view=station(AVAILABLE, _at(2, CHARGING)),
        text="Two EVSEs stand side by side, each with its own code.",
    ),
    Extra(
        name="tabs",
        size="320x240",
        view=station(AVAILABLE, _at(2, CHARGING), language="nb"),
        text="On a small screen, tabs name the EVSEs. The one where something happened last is open; otherwise they take turns, 10 s each.",
    ),
    Extra(name="four-evses", size="800x480", view=FOUR, page=1, text="More than two EVSEs: tabs on the large screen too."),
    Extra(name="four-evses", size="320x240", view=FOUR, page=2, text="Where words do not fit into the tabs, number and icon remain."),
    Extra(name="tag-or-pay", size="800x480", view=station(TAG_OR_PAY), text="Plugged in, and not paid yet."),
    Extra(name="tag-or-pay", size="320x240", view=station(TAG_OR_PAY, language="nb"), text="The same, small."),
    Extra(
        name="offline-session",
        size="800x480",
        view=station(OFFLINE_SESSION, online=False, language="nb"),
        text="The connection is gone: the session goes on and the screen says so.",
    ),
    Extra(
        name="long-code",
        size="320x240",
        view=station(replace(AVAILABLE, qr_payload=_long_url(120))),
        text="A code of 120 characters takes the whole height of the small screen, still with 4 px per module.",
    ),
    Extra(
        name="no-code",
        size="320x240",
        view=station(replace(AVAILABLE, qr_payload=_long_url(200))),
        text="A code that could not be read is not drawn: the screen says where to pay instead, and the daemon logs why.",
    ),
    Extra(
        name="nb-available", size="800x480", view=station(AVAILABLE, language="nb"), text="Norwegian, with its own way of writing money."
    ),
    Extra(name="nb-finished", size="800x480", view=station(EXAMPLES[ScreenKind.FINISHED], language="nb"), text="The receipt in Norwegian."),
)


def save(view: StationView, size: str, path: Path, page: int = 0) -> None:
    """Draws a view and writes it as a small PNG."""
    frame = draw(view, LAYOUTS[size], page=page, options=OPTIONS)
    image = Image.frombytes("RGB", (frame.width, frame.height), frame.rgb)
    image.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, optimize=True)


def page_text() -> str:
    """The page: one section per screen in the order of ScreenKind, then the special cases."""
    sections = [
        "# Screens",
        "",
        "What a driver sees. The production code (`agent/qr_display`) draws every picture;",
        "`python -m tests.qr_display.gallery` makes this page.",
        "Sizes: " + ", ".join(LAYOUTS) + ". A size is data (`agent/qr_display/design.py`); the languages are gettext catalogues.",
        "",
        "Rules that tests hold: every text and icon lies inside the frame and touches nothing else; contrast is at least 4.5",
        "(WCAG 2.2 AA); a code is drawn with its quiet zone of 4 modules and at least 4 px per module, or not at all; each code is read",
        "back from the pixels by zxing-cpp; prices stand in the order of AFIR Article 5(4): per kWh, per minute, per session.",
        "",
    ]
    for kind in ScreenKind:
        pictures = " ".join(f"![{kind.value}, {size}](images/screen-{kind.value}-{size}.png)" for size in LAYOUTS)
        sections += [f"## {kind.value}", "", MEANINGS[kind], "", pictures, ""]
    sections += ["## Special cases", ""]
    for extra in EXTRAS:
        sections += [extra.text, "", f"![{extra.name}, {extra.size}](images/special-{extra.name}-{extra.size}.png)", ""]
    return "\n".join(sections).rstrip() + "\n"


def main() -> None:
    """Writes the page and all its pictures."""
    images = DOCS / "images"
    images.mkdir(parents=True, exist_ok=True)
    for kind, view in EXAMPLES.items():
        for size in LAYOUTS:
            save(station(view), size, images / f"screen-{kind.value}-{size}.png")
    for extra in EXTRAS:
        save(extra.view, extra.size, images / f"special-{extra.name}-{extra.size}.png", extra.page)
    save(station(AVAILABLE), "800x480", images / "display-available.png")
    (DOCS / "screens.md").write_text(page_text(), encoding="utf-8")


if __name__ == "__main__":
    main()
