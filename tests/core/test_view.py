"""What the display shows, state by state: the kind of screen, the sentence under it, and the figures of a session."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from agent.core import variables as var
from agent.core.state import EvseConfig, MeterLossPolicy, PowerLossPolicy
from agent.core.view import station_view
from agent.domain.authorization import AuthorizationStatus
from agent.domain.commands import ChangeAvailability, RequestStart, Reset, ResetKind
from agent.domain.connector import FaultKind, OperationalStatus
from agent.domain.events import FaultRaised, LinkChanged, LinkState, MeterLost, StopRequested, StoreFailed
from agent.domain.pilot import PilotState
from agent.domain.records import Recovered, StationRecord
from agent.domain.screen import EvseView, Notice, ScreenKind
from tests.core.rig import EVSE1, PRICED, START, TAG, Rig

SOCKET = (EvseConfig(evse_id=EVSE1, is_tethered=False, has_lock=True),)
CODE = "https://pay.example/CP001/1"
NEW = Recovered(station=StationRecord(was_accepted=False))


def shown(rig: Rig) -> EvseView:
    return station_view(rig.station, rig.at, lambda evse_id: CODE if evse_id == EVSE1 else None).evses[0]


def online(**kwargs: object) -> Rig:
    rig = Rig(**kwargs)
    rig.online()
    rig.pass_ms(1_000)
    return rig


def selling(**values: str) -> Rig:
    return online(values={**PRICED, **{getattr(var, name): value for name, value in values.items()}})


def granted(rig: Rig) -> Rig:
    rig.swipe()
    rig.answer_authorize()
    return rig


def charging(rig: Rig) -> Rig:
    rig.charge()
    rig.pass_ms(20_000)
    return rig


def doing(rig: Rig, *steps: Callable[[Rig], object]) -> Rig:
    for one in steps:
        one(rig)
    return rig


def reboot(rig: Rig) -> Rig:
    """A new run of the same boot, with what is on disk."""
    assert rig.evse.transaction is not None
    recovered = Recovered(station=rig.station.record, transactions=(rig.evse.transaction,))
    return Rig(
        recovered=recovered,
        config={"power_loss_policy": PowerLossPolicy.RESUME},
        first_pilot=PilotState.C,
        first_ms=rig.at.mono_ms + 5_000,
        utc=rig.at.plus_ms(5_000).utc,
    )


SCREENS = {
    "a card, at a place without prices": (online, ScreenKind.AVAILABLE, Notice.SHOW_CARD),
    "scan": (selling, ScreenKind.AVAILABLE, Notice.SCAN_TO_PAY),
    "plugged in, scan or card": (lambda: doing(selling(), Rig.plug), ScreenKind.PREPARING, Notice.PRESENT_TOKEN_OR_PAY),
    "plugged in, card": (lambda: doing(online(), Rig.plug), ScreenKind.PREPARING, Notice.SHOW_CARD),
    "sold, but there is no price": (lambda: online(values={var.WEB_PAYMENTS_ENABLED: "true"}), ScreenKind.AVAILABLE, Notice.NO_PRICE),
    "sold, and the portal is away": (lambda: doing(selling(), Rig.offline), ScreenKind.OFFLINE, Notice.OFFLINE_NO_PAYMENT),
    "not sold, and the portal is away": (lambda: doing(online(), Rig.offline), ScreenKind.AVAILABLE, Notice.SHOW_CARD),
    "never accepted": (lambda: Rig(recovered=NEW), ScreenKind.OFFLINE, Notice.OFFLINE_NO_PAYMENT),
    "pending": (
        lambda: doing(Rig(recovered=NEW), lambda rig: rig.apply(LinkChanged(LinkState.PENDING))),
        ScreenKind.UNCLAIMED,
        Notice.ADD_IN_PORTAL,
    ),
    "rejected, and never accepted": (
        lambda: doing(Rig(recovered=NEW), lambda rig: rig.apply(LinkChanged(LinkState.REJECTED))),
        ScreenKind.UNCLAIMED,
        Notice.ADD_IN_PORTAL,
    ),
    "rejected, and accepted once": (
        lambda: doing(online(), lambda rig: rig.apply(LinkChanged(LinkState.REJECTED))),
        ScreenKind.AVAILABLE,
        Notice.SHOW_CARD,
    ),
    "the meter was not read yet": (lambda: doing(Rig(), Rig.online), ScreenKind.STARTING, Notice.NONE),
    "asked about the token": (lambda: doing(online(), Rig.swipe), ScreenKind.AUTHORIZING, Notice.CHECKING),
    "authorized, no vehicle": (lambda: granted(online()), ScreenKind.PREPARING, Notice.PLUG_IN),
    "authorized, the plug is not locked": (
        lambda: doing(online(evses=SOCKET), lambda rig: setattr(rig, "auto_report", False), Rig.plug, granted),
        ScreenKind.PREPARING,
        Notice.WAITING_FOR_VEHICLE,
    ),
    "refused": (
        lambda: doing(online(), Rig.swipe, lambda rig: rig.answer_authorize(AuthorizationStatus.BLOCKED)),
        ScreenKind.REFUSED,
        Notice.TOKEN_REFUSED,
    ),
    "no vehicle came": (lambda: doing(granted(online()), lambda rig: rig.pass_ms(61_000)), ScreenKind.REFUSED, Notice.TIMED_OUT),
    "started, the vehicle does not answer yet": (
        lambda: doing(online(), Rig.plug, granted),
        ScreenKind.CHARGING,
        Notice.WAITING_FOR_VEHICLE,
    ),
    "started, the vehicle sleeps": (
        lambda: doing(online(), Rig.plug, granted, lambda rig: rig.pass_ms(11_000)),
        ScreenKind.SUSPENDED,
        Notice.PAUSED_BY_VEHICLE,
    ),
    "charging": (lambda: charging(online()), ScreenKind.CHARGING, Notice.NONE),
    "charging, offline": (lambda: doing(charging(online()), Rig.offline), ScreenKind.CHARGING, Notice.OFFLINE_SESSION_CONTINUES),
    "charging, the meter is silent": (
        lambda: doing(
            charging(online(config={"on_meter_loss": MeterLossPolicy.CONTINUE})), lambda rig: rig.apply(MeterLost(EVSE1, "no answer"))
        ),
        ScreenKind.CHARGING,
        Notice.METER_SILENT,
    ),
    "pulled, and the session stays open": (
        lambda: doing(charging(online(values={var.STOP_TX_ON_EV_SIDE_DISCONNECT: "false"})), Rig.unplug),
        ScreenKind.SUSPENDED,
        Notice.PAUSED_BY_STATION,
    ),
    "the supply is failing": (
        lambda: doing(charging(online()), lambda rig: rig.apply(FaultRaised(EVSE1, FaultKind.POWER_LOSS))),
        ScreenKind.SUSPENDED,
        Notice.PAUSED_BY_STATION,
    ),
    "being stopped": (lambda: doing(charging(online()), Rig.swipe), ScreenKind.STOPPING, Notice.NONE),
    "ended, cable in": (
        lambda: doing(charging(online()), Rig.swipe, lambda rig: rig.pass_ms(15_000)),
        ScreenKind.FINISHED,
        Notice.UNPLUG,
    ),
    "ended, cable out": (
        lambda: doing(charging(online()), Rig.unplug, lambda rig: rig.pass_ms(15_000)),
        ScreenKind.AVAILABLE,
        Notice.SHOW_CARD,
    ),
    "set inoperative": (
        lambda: doing(
            online(), lambda rig: rig.command(ChangeAvailability(operational_status=OperationalStatus.INOPERATIVE, evse_id=EVSE1))
        ),
        ScreenKind.UNAVAILABLE,
        Notice.OUT_OF_SERVICE,
    ),
    "the agent leaves": (lambda: doing(online(), lambda rig: rig.apply(StopRequested())), ScreenKind.UNAVAILABLE, Notice.OUT_OF_SERVICE),
    "a reset is under way": (
        lambda: doing(online(), lambda rig: rig.command(Reset(kind=ResetKind.ON_IDLE))),
        ScreenKind.UNAVAILABLE,
        Notice.OUT_OF_SERVICE,
    ),
    "a fault": (
        lambda: doing(online(), lambda rig: rig.apply(FaultRaised(EVSE1, FaultKind.RCD_TRIPPED))),
        ScreenKind.FAULTED,
        Notice.FAULT,
    ),
    "the meter is silent": (lambda: doing(online(), lambda rig: rig.apply(MeterLost(EVSE1, "x"))), ScreenKind.FAULTED, Notice.METER_SILENT),
    "the disk is full": (lambda: doing(online(), lambda rig: rig.apply(StoreFailed("full"))), ScreenKind.FAULTED, Notice.STORAGE_FAILED),
    "is to go on after a restart": (lambda: reboot(charging(online())), ScreenKind.SUSPENDED, Notice.PAUSED_BY_STATION),
}


@pytest.mark.parametrize("name", SCREENS)
def test_the_kind_of_screen_and_its_sentence(name: str) -> None:
    make, kind, notice = SCREENS[name]
    view = shown(make())
    assert (view.kind, view.notice) == (kind, notice)
    assert (view.qr_payload is not None) is (notice in {Notice.SCAN_TO_PAY, Notice.PRESENT_TOKEN_OR_PAY})
    is_session = kind in {ScreenKind.CHARGING, ScreenKind.SUSPENDED, ScreenKind.STOPPING}
    assert (view.energy_wh is not None) is (is_session or kind is ScreenKind.FINISHED)
    assert (view.fault is not None) is (kind is ScreenKind.FAULTED)
    assert (view.deadline_s is not None) is (notice is Notice.PLUG_IN)


@pytest.mark.parametrize(("kind", "word"), [(FaultKind.RCD_TRIPPED, "RcdTripped"), (FaultKind.OVER_TEMPERATURE, "OverTemperature")])
def test_a_fault_is_named(kind: FaultKind, word: str) -> None:
    assert shown(doing(online(), lambda rig: rig.apply(FaultRaised(EVSE1, kind)))).fault == word


class TestCode:
    """The code is shown only while it leads to a charge."""

    def test_it_is_the_one_of_the_evse(self) -> None:
        assert shown(selling()).qr_payload == CODE

    @pytest.mark.parametrize(
        "trouble",
        [
            pytest.param(lambda rig: rig.apply(LinkChanged(LinkState.PENDING)), id="pending"),
            pytest.param(lambda rig: rig.apply(MeterLost(EVSE1, "x")), id="meter"),
            pytest.param(lambda rig: rig.apply(StoreFailed("x")), id="disk"),
            pytest.param(Rig.swipe, id="another driver"),
        ],
    )
    def test_it_goes_with_what_a_session_needs(self, trouble: Callable[[Rig], object]) -> None:
        assert shown(doing(selling(), trouble)).qr_payload is None

    def test_without_a_template_the_card_is_asked_for(self) -> None:
        rig = selling()
        view = station_view(rig.station, rig.at, lambda _: None).evses[0]
        assert (view.notice, view.qr_payload) == (Notice.SHOW_CARD, None)

    def test_nor_while_the_contactor_is_reported_closed(self) -> None:
        rig = selling()
        rig.station = replace(rig.station, evses=(replace(rig.evse, contactor_closed=True),))
        view = shown(rig)
        assert (view.notice, view.qr_payload) == (Notice.SHOW_CARD, None)


class TestFigures:
    def test_the_driver_sees_how_long_there_is_to_plug_in_rounded_up(self) -> None:
        rig = granted(online())
        for passed_ms, left_s in ((0, 60), (1, 60), (999, 60), (1_000, 59), (1_001, 59), (59_999, 1), (60_000, 0), (70_000, 0)):
            view = station_view(rig.station, rig.at.plus_ms(passed_ms), lambda _: None).evses[0]
            assert view.deadline_s == left_s

    def test_a_running_session_shows_what_the_meter_and_the_clock_say(self) -> None:
        rig = online(values=PRICED)
        rig.charge()
        started = rig.at
        rig.pass_ms(3_600_000)
        view = shown(rig)
        record = rig.evse.transaction
        assert record is not None
        assert record.started_at.utc is not None
        assert view.energy_wh is not None
        assert view.energy_wh in {7_199, 7_200}
        assert view.seconds == rig.at.ms_since(record.started_at) // 1_000
        assert view.power_w == 7_200
        assert view.started_at == record.started_at.utc
        assert view.tariff == record.tariff
        assert view.cost is not None
        assert (view.cost.energy_wh, view.cost.is_final) == (view.energy_wh, False)
        assert abs(view.cost.gross - (Decimal("4.50") * Decimal("7.2") + 30 + 5)) < 1
        assert started.ms_since(record.started_at) < 1_000

    def test_power_that_was_not_read_is_not_shown(self) -> None:
        rig = charging(online(config={"on_meter_loss": MeterLossPolicy.CONTINUE}))
        assert shown(rig).power_w is not None
        rig.apply(MeterLost(EVSE1, "silent"))
        assert shown(rig).power_w is None

    def test_the_time_that_was_dark_is_not_shown(self) -> None:
        before = charging(online())
        assert before.evse.transaction is not None
        rig = reboot(before)
        view = shown(rig)
        assert view.seconds is not None
        assert view.seconds <= 21
        rig.at = rig.at.plus_ms(10_000)
        assert shown(rig).seconds == view.seconds

    def test_the_receipt_stays_until_the_cable_is_out(self) -> None:
        rig = online(values=PRICED)
        rig.charge()
        rig.pass_ms(1_800_000)
        rig.swipe()
        rig.pass_ms(15_000)
        record, view = rig.evse.transaction, shown(rig)
        assert record is not None
        assert record.ended_at is not None
        assert view.kind is ScreenKind.FINISHED
        assert view.energy_wh == record.energy_wh
        assert view.cost is not None
        assert (view.cost.gross, view.cost.is_final) == (record.cost_gross, True)
        assert (view.started_at, view.ended_at) == (record.started_at.utc, record.ended_at.utc)
        assert view.seconds == record.ended_at.ms_since(record.started_at) // 1_000
        assert view.tariff == record.tariff

    def test_who_paid_sees_the_price_that_was_agreed(self) -> None:
        rig = selling()
        rig.command(RequestStart(evse_id=EVSE1, id_token=TAG, remote_start_id=1))
        agreed = shown(rig).tariff
        assert agreed is not None
        assert agreed.price_kwh == Decimal("4.50")
        assert rig.evse.authorization is not None
        cheaper = replace(agreed, price_kwh=Decimal(1))
        rig.station = replace(rig.station, evses=(replace(rig.evse, authorization=replace(rig.evse.authorization, tariff=cheaper)),))
        assert shown(rig).tariff == cheaper

    def test_a_price_is_shown_only_where_charging_is_sold(self) -> None:
        tariff = shown(selling()).tariff
        assert tariff is not None
        assert tariff.currency == "NOK"
        assert shown(selling(WEB_PAYMENTS_ENABLED="false")).tariff is None


class TestStation:
    def test_the_clock_is_in_whole_minutes(self) -> None:
        rig = online()
        rig.at = replace(rig.at, utc=START.replace(second=59, microsecond=999_999))
        view = station_view(rig.station, rig.at, lambda _: None)
        assert view.clock == START
        assert (view.station_id, view.language, view.online) == ("CP001", "en", True)

    def test_there_is_none_while_the_time_is_unknown(self) -> None:
        rig = doing(online(), Rig.offline)
        view = station_view(rig.station, replace(rig.at, utc=None), lambda _: None)
        assert view.clock is None
        assert not view.online


def test_a_vehicle_that_pauses_is_what_pauses() -> None:
    rig = charging(online())
    rig.pilot(PilotState.B)
    rig.pass_ms(300)
    assert (shown(rig).kind, shown(rig).notice) == (ScreenKind.SUSPENDED, Notice.PAUSED_BY_VEHICLE)
