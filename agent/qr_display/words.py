"""The words on the screens, and numbers, money and time in the driver's language.

Texts are gettext catalogues (`locale/<language>/LC_MESSAGES/display.po`, compiled `.mo` beside it), because translators have tools
for them and the standard library reads them; the English text is the key, so English needs no catalogue. Babel knows the numbers.
"""

from __future__ import annotations

import gettext
import logging
import re
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from agent.domain.connector import FaultKind
from agent.domain.screen import Notice, ScreenKind

if TYPE_CHECKING:
    from agent.domain.tariff import Tariff

LOGGER = logging.getLogger(__name__)

LOCALE_DIRECTORY = Path(__file__).parent / "locale"
DOMAIN = "display"
ENGLISH = "en"
LANGUAGES = (ENGLISH, "nb")
"""Languages with complete texts; the first needs no catalogue."""
_LETTER_BEFORE_DIGIT = re.compile(r"(?<=[^\W\d_])(?=\d)")
"""Where CLDR's currency spacing wants a space (NOK 4.50) and Babel sets none."""
_WHOLE_AND_FRACTION = re.compile(r"0(\.0+)?(?![0#.])")
"""The last figures of a CLDR number pattern (`#,##0.00`), to be replaced by as many decimals as an amount has."""
_ALIASES = {"no": "nb", "nn": "nb"}
"""Who reads Nynorsk reads Bokmål more easily than English."""

TITLES: dict[ScreenKind, str] = {
    ScreenKind.STARTING: "Starting up",
    ScreenKind.AVAILABLE: "Available",
    ScreenKind.AUTHORIZING: "Checking",
    ScreenKind.PREPARING: "Preparing",
    ScreenKind.CHARGING: "Charging",
    ScreenKind.SUSPENDED: "Paused",
    ScreenKind.STOPPING: "Stopping",
    ScreenKind.FINISHED: "Finished",
    ScreenKind.REFUSED: "Not accepted",
    ScreenKind.FAULTED: "Out of order",
    ScreenKind.UNAVAILABLE: "Out of service",
    ScreenKind.OFFLINE: "No connection",
    ScreenKind.UNCLAIMED: "Not set up yet",
}

NOTICES: dict[Notice, str] = {
    Notice.SCAN_TO_PAY: "Scan the code to pay",
    Notice.SHOW_CARD: "Show your card or charging tag",
    Notice.PLUG_IN: "Plug in your car",
    Notice.PRESENT_TOKEN_OR_PAY: "Scan the code to pay, or show your charging tag",
    Notice.CHECKING: "One moment, please",
    Notice.WAITING_FOR_VEHICLE: "Waiting for the car",
    Notice.PAUSED_BY_VEHICLE: "The car has paused charging",
    Notice.PAUSED_BY_STATION: "The charger has paused charging",
    Notice.UNPLUG: "Unplug your car",
    Notice.TOKEN_REFUSED: "This card or tag cannot be used here",
    Notice.TIMED_OUT: "Time is up. Please start again",
    Notice.OFFLINE_NO_PAYMENT: "Payment is not possible right now",
    Notice.OFFLINE_SESSION_CONTINUES: "No connection. Charging goes on",
    Notice.NO_PRICE: "No price is set, so payment is not possible",
    Notice.OUT_OF_SERVICE: "This charging point is closed",
    Notice.ADD_IN_PORTAL: "Add this charger in the portal",
    Notice.METER_SILENT: "The energy meter does not answer",
    Notice.STORAGE_FAILED: "The charger cannot save new sessions",
    Notice.FAULT: "The charger has a fault",
}
"""Every notice but NONE."""

DEFAULT_NOTICES: dict[ScreenKind, Notice] = {
    ScreenKind.STARTING: Notice.CHECKING,
    ScreenKind.AVAILABLE: Notice.SHOW_CARD,
    ScreenKind.AUTHORIZING: Notice.CHECKING,
    ScreenKind.PREPARING: Notice.PLUG_IN,
    ScreenKind.STOPPING: Notice.CHECKING,
    ScreenKind.FINISHED: Notice.UNPLUG,
    ScreenKind.REFUSED: Notice.TOKEN_REFUSED,
    ScreenKind.FAULTED: Notice.FAULT,
    ScreenKind.UNAVAILABLE: Notice.OUT_OF_SERVICE,
    ScreenKind.OFFLINE: Notice.OFFLINE_NO_PAYMENT,
    ScreenKind.UNCLAIMED: Notice.ADD_IN_PORTAL,
}
"""What a screen says when its view has no notice; charging and paused say nothing more."""

FAULTS: dict[FaultKind, str] = {
    FaultKind.GROUND_FAULT: "Earth fault",
    FaultKind.OVER_TEMPERATURE: "The charger is too hot",
    FaultKind.OVER_CURRENT: "The car draws too much current",
    FaultKind.OVER_VOLTAGE: "The mains voltage is too high",
    FaultKind.UNDER_VOLTAGE: "The mains voltage is too low",
    FaultKind.EMERGENCY_STOP: "The emergency stop is pressed",
    FaultKind.INVALID_VEHICLE_MODE: "The car gives an invalid signal",
    FaultKind.PILOT_FAULT: "Fault in the signal to the car",
    FaultKind.DIODE_FAULT: "Fault in the cable or the car",
    FaultKind.PROXIMITY_FAULT: "The cable is not recognised",
    FaultKind.VENTILATION_NOT_AVAILABLE: "The car needs ventilation, which is missing here",
    FaultKind.RCD_TRIPPED: "The earth leakage protection has tripped",
    FaultKind.RCD_SELF_TEST_FAILED: "The self-test of the earth leakage protection failed",
    FaultKind.CONTACTOR_WELDED: "The power switch is stuck",
    FaultKind.CONTACTOR_DID_NOT_CLOSE: "The power switch did not close",
    FaultKind.CONTACTOR_OPENED: "The power switch opened by itself",
    FaultKind.CONNECTOR_LOCK_FAILURE: "The plug lock does not work",
    FaultKind.METER_FAILURE: "The energy meter does not work",
    FaultKind.READER_FAILURE: "The card reader does not work",
    FaultKind.POWER_LOSS: "The power supply is failing",
    FaultKind.HAL_LOST: "The safety controller does not answer",
    FaultKind.STORAGE_FAILURE: "The charger cannot save anything",
}


_FAULT_TEXTS = {kind.value: text for kind, text in FAULTS.items()}


class Label(StrEnum):
    """Every other text. The value is the English text and the key of the catalogues."""

    ENERGY = "Energy"
    POWER = "Power"
    TIME = "Time"
    COST = "Cost"
    COST_SO_FAR = "Cost so far"
    NET = "Net"
    VAT = "VAT"
    VAT_PERCENT = "VAT {percent}"
    TOTAL = "Total"
    RECEIPT = "Receipt"
    PRICE = "Price"
    PER_KWH = "per kWh"
    PER_MINUTE = "per minute"
    PER_SESSION = "per session"
    INCLUDING_VAT = "Incl. {percent} VAT"
    FREE = "Free"
    TIME_LEFT = "Time left"
    CHARGER_ID = "Charger ID"
    SERIAL_NUMBER = "Serial number"
    FAULT_CODE = "Fault code"
    CHARGING_POINT = "Charging point {number}"
    ONLY_VALID_CODE = "Only the code on this screen is valid"
    PAY_AT = "Pay at"
    USE_ANOTHER = "Please use another charging point"
    TECHNICAL_FAULT = "Technical fault"


MESSAGES: frozenset[str] = frozenset((*TITLES.values(), *NOTICES.values(), *FAULTS.values(), *(label.value for label in Label)))
"""Every text that a catalogue must translate."""


def language_of(tag: str, default: str = ENGLISH) -> str:
    """The language in which a driver with an RFC 5646 tag is served: its own, a near one, else `default`."""
    primary = tag.replace("_", "-").split("-")[0].lower()
    language = _ALIASES.get(primary, primary)
    return language if language in LANGUAGES else default


class Words:
    """One language: its texts, and its way of writing numbers, money, energy and time."""

    def __init__(self, language: str) -> None:
        """`language` is one of LANGUAGES."""
        from babel import Locale

        self.language = language
        self._locale = Locale.parse(language)
        self._texts = _catalogue(language)

    def title(self, kind: ScreenKind) -> str:
        """The state in one or two words."""
        return self._texts.gettext(TITLES[kind])

    def notice(self, notice: Notice) -> str:
        """One line of guidance; empty for NONE."""
        return "" if notice is Notice.NONE else self._texts.gettext(NOTICES[notice])

    def fault(self, kind: str | None) -> str:
        """What is wrong, for a driver: an unknown kind is a technical fault."""
        return self._texts.gettext(_FAULT_TEXTS.get(kind or "", Label.TECHNICAL_FAULT.value))

    def label(self, label: Label, **values: str) -> str:
        """A text with its values filled in."""
        return self._texts.gettext(label.value).format(**values)

    def number(self, value: Decimal, decimals: int) -> str:
        """A number with exactly so many decimals (the caller has rounded it)."""
        from babel.numbers import format_decimal

        return format_decimal(value, format="#,##0." + "0" * decimals if decimals else "#,##0", locale=self._locale)

    def money(self, amount: Decimal, currency: str) -> str:
        """An amount, rounded half up to the currency's minor unit (0, 2 or 3 decimals)."""
        return self._money(amount, currency, _minor_digits(currency))

    def price(self, amount: Decimal, currency: str) -> str:
        """A price with every decimal it has (at least the minor unit, at most the six of OCPP): what is shown is what is billed."""
        exponent = amount.normalize().as_tuple().exponent
        own = -exponent if isinstance(exponent, int) else 0
        return self._money(amount, currency, max(_minor_digits(currency), min(own, 6)))

    def percent(self, percent: Decimal) -> str:
        """25 -> `25 %`, 25.5 -> `25,5 %`."""
        from babel.numbers import format_percent

        pattern = _WHOLE_AND_FRACTION.sub("0.0##", self._locale.percent_formats[None].pattern)
        return format_percent(percent / 100, format=pattern if percent % 1 else None, locale=self._locale)

    def energy(self, energy_wh: int | None) -> str:
        """KWh while charging: two decimals below 100, then one. Cut off, not rounded: never more than what is billed."""
        if energy_wh is None:
            return "–"
        decimals = 2 if abs(energy_wh) < 100_000 else 1
        return self.number((Decimal(energy_wh) / 1000).quantize(Decimal(1).scaleb(-decimals), ROUND_DOWN), decimals)

    def billed_energy(self, energy_wh: int) -> str:
        """KWh on a receipt: to the watt-hour, so that a driver can check the multiplication; two decimals where that is exact."""
        return self.number(Decimal(energy_wh) / 1000, 3 if energy_wh % 10 else 2)

    def power(self, power_w: Decimal | None) -> str:
        """KW with one decimal, without above 100."""
        if power_w is None:
            return "–"
        decimals = 1 if abs(power_w) < 100_000 else 0
        return self.number((power_w / 1000).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP), decimals)

    def prices(self, tariff: Tariff) -> tuple[tuple[str, str], ...]:
        """Amount and unit of each price that is not zero, in the order of AFIR Article 5(4): kWh, minute, session. Empty: free."""
        lines = ((tariff.price_kwh, Label.PER_KWH), (tariff.price_minute, Label.PER_MINUTE), (tariff.price_session, Label.PER_SESSION))
        return tuple((self.price(amount, tariff.currency), self.label(unit)) for amount, unit in lines if amount)

    def _money(self, amount: Decimal, currency: str, decimals: int) -> str:
        from babel.numbers import format_currency

        rounded = amount.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)
        pattern = _WHOLE_AND_FRACTION.sub("0." + "0" * decimals if decimals else "0", self._locale.currency_formats["standard"].pattern)
        text = format_currency(rounded, currency, format=pattern, locale=self._locale, currency_digits=False)
        return _LETTER_BEFORE_DIGIT.sub("\N{NO-BREAK SPACE}", text)


@lru_cache(maxsize=len(LANGUAGES))
def words(language: str) -> Words:
    """The words of one of LANGUAGES, loaded once."""
    return Words(language)


def clock_time(seconds: int | None) -> str:
    """H:mm:ss of a duration."""
    if seconds is None:
        return "–"
    return f"{seconds // 3600}:{seconds % 3600 // 60:02}:{seconds % 60:02}"


def countdown(seconds: int) -> str:
    """M:ss until a deadline; zero once it is over."""
    return f"{max(seconds, 0) // 60}:{max(seconds, 0) % 60:02}"


def _catalogue(language: str) -> gettext.NullTranslations:
    """The compiled texts. A package without them must not leave the driver without a screen."""
    if language == ENGLISH:
        return gettext.NullTranslations()
    try:
        return gettext.translation(DOMAIN, str(LOCALE_DIRECTORY), [language])
    except OSError as error:
        LOGGER.warning(
            "no texts for language %s (%s): the screens are in English; install the package again, with its .mo files", language, error
        )
        return gettext.NullTranslations()


def _minor_digits(currency: str) -> int:
    from babel.numbers import get_currency_precision

    return get_currency_precision(currency)
