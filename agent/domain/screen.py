"""What the display shall say: a view as data. Drawing it, and the words in the driver's language, are the display's business."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from agent.domain.ids import EvseId
from agent.domain.tariff import SessionCost, Tariff
from agent.domain.values import dataclass


class ScreenKind(StrEnum):
    """One screen each. The order of the table in docs/screens.md follows this one."""

    STARTING = "starting"
    AVAILABLE = "available"
    AUTHORIZING = "authorizing"
    PREPARING = "preparing"
    CHARGING = "charging"
    SUSPENDED = "suspended"
    STOPPING = "stopping"
    FINISHED = "finished"
    REFUSED = "refused"
    FAULTED = "faulted"
    UNAVAILABLE = "unavailable"
    OFFLINE = "offline"
    """Not connected to the portal and nobody is charging: no payment is possible now."""
    UNCLAIMED = "unclaimed"
    """The portal answers Pending: the owner has not added this charger yet."""


class Notice(StrEnum):
    """The one line of guidance or explanation under the title; the display translates it."""

    NONE = ""
    SCAN_TO_PAY = "scan_to_pay"
    SHOW_CARD = "show_card"
    PLUG_IN = "plug_in"
    PRESENT_TOKEN_OR_PAY = "present_token_or_pay"  # noqa: S105 - a text, no password
    CHECKING = "checking"
    WAITING_FOR_VEHICLE = "waiting_for_vehicle"
    PAUSED_BY_VEHICLE = "paused_by_vehicle"
    PAUSED_BY_STATION = "paused_by_station"
    UNPLUG = "unplug"
    TOKEN_REFUSED = "token_refused"  # noqa: S105 - same
    TIMED_OUT = "timed_out"
    OFFLINE_NO_PAYMENT = "offline_no_payment"
    OFFLINE_SESSION_CONTINUES = "offline_session_continues"
    NO_PRICE = "no_price"
    OUT_OF_SERVICE = "out_of_service"
    ADD_IN_PORTAL = "add_in_portal"
    METER_SILENT = "meter_silent"
    STORAGE_FAILED = "storage_failed"
    FAULT = "fault"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvseView:
    """Everything that one EVSE's part of the display shows.

    `qr_payload` is None unless public charging is on, the price is known and the charger can really charge. `energy_wh` is the billed
    energy so far, `power_w` the present power (None when not read), `seconds` the time since the transaction began. `fault` is a
    `FaultKind` value. `started_at` and `ended_at` are UTC where known.
    """

    evse_id: EvseId
    kind: ScreenKind
    notice: Notice = Notice.NONE
    tariff: Tariff | None = None
    qr_payload: str | None = None
    energy_wh: int | None = None
    power_w: Decimal | None = None
    seconds: int | None = None
    cost: SessionCost | None = None
    fault: str | None = None
    deadline_s: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StationView:
    """The whole display: the station's label and connection, and one view per EVSE. `language` is an RFC 5646 tag (`nb`, `en`)."""

    station_id: str
    online: bool
    language: str
    evses: tuple[EvseView, ...]
    clock: datetime | None = None
