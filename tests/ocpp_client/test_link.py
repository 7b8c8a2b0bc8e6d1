"""Registration, heartbeats and reconnecting, as values."""

import pytest

from agent.domain.events import LinkChanged, LinkState
from agent.ocpp_client.adapter import BootReply
from agent.ocpp_client.backoff import BackOff
from agent.ocpp_client.link import OWN_BOOT_INTERVAL_S, SETTLE_S, Due, Link, LinkTuning

TUNING = LinkTuning(heartbeat_s=300, offline_threshold_s=60, back_off=BackOff(wait_minimum_s=10, random_range_s=0, repeat_times=3))


def reply(status: str, interval_s: int = 100) -> BootReply:
    return BootReply(status=status, interval_s=interval_s, current_time=None)


def never() -> float:
    return 0.0


def accepted(now: float = 0.0, interval_s: int = 100) -> Link:
    link = Link(TUNING)
    link.connected("ocpp1.6", now)
    link.sent(Due.BOOT_NOTIFICATION, now)
    link.proved()
    link.boot_answered(reply("Accepted", interval_s), now, never)
    return link


def test_the_boot_comes_first() -> None:
    link = Link(TUNING)
    assert link.due(0) is None
    assert link.connected("ocpp1.6", 0) == LinkChanged(LinkState.CONNECTED)
    assert link.due(0) is Due.BOOT_NOTIFICATION
    assert not link.may_send("StatusNotification", 0)


def test_nothing_is_due_while_the_boot_is_outstanding() -> None:
    link = Link(TUNING)
    link.connected("ocpp1.6", 0)
    link.sent(Due.BOOT_NOTIFICATION, 0)
    assert link.due(1000) is None


def test_an_accepted_boot_reports_all_connectors_and_sets_the_heartbeat() -> None:
    link = Link(TUNING)
    link.connected("ocpp1.6", 0)
    link.sent(Due.BOOT_NOTIFICATION, 0)
    assert link.boot_answered(reply("Accepted", 50), 1, never) == LinkChanged(LinkState.ACCEPTED, report_all=True)
    assert link.heartbeat_s == 50
    assert link.next_deadline() == 51
    assert link.due(50.9) is None
    assert link.due(51) is Due.HEARTBEAT


def test_heartbeats_follow_at_the_interval() -> None:
    link = accepted(interval_s=100)
    link.sent(Due.HEARTBEAT, 100)
    assert link.due(199) is None
    assert link.due(200) is Due.HEARTBEAT


def test_an_accepted_boot_with_interval_0_keeps_our_own_heartbeat() -> None:
    assert accepted(interval_s=0).heartbeat_s == 300


@pytest.mark.pain(36)
@pytest.mark.parametrize(
    ("status", "state"), [("Pending", LinkState.PENDING), ("Rejected", LinkState.REJECTED), ("Nonsense", LinkState.REJECTED)]
)
def test_not_accepted_waits_the_interval_and_boots_again(status: str, state: LinkState) -> None:
    link = Link(TUNING)
    link.connected("ocpp1.6", 0)
    link.sent(Due.BOOT_NOTIFICATION, 0)
    assert link.boot_answered(reply(status, 90), 1, never) == LinkChanged(state)
    assert link.due(90.9) is None
    assert link.next_deadline() == 91
    assert link.due(91) is Due.BOOT_NOTIFICATION


@pytest.mark.pain(36)
@pytest.mark.parametrize("interval", [0, -5])
def test_without_an_interval_the_station_chooses_a_minute_and_jitter(interval: int) -> None:
    link = Link(TUNING)
    link.connected("ocpp1.6", 0)
    link.boot_answered(reply("Rejected", interval), 0, lambda: 0.5)
    assert link.next_deadline() == pytest.approx(OWN_BOOT_INTERVAL_S + 5)


@pytest.mark.pain(36)
def test_an_absurd_interval_is_a_day() -> None:
    link = Link(TUNING)
    link.connected("ocpp1.6", 0)
    link.boot_answered(reply("Rejected", 10**9), 0, never)
    assert link.next_deadline() == 86_400


@pytest.mark.pain(36)
def test_a_refused_boot_is_tried_again_after_our_own_interval() -> None:
    link = Link(TUNING)
    link.connected("ocpp1.6", 0)
    link.sent(Due.BOOT_NOTIFICATION, 0)
    link.boot_refused(2, never)
    assert link.state is LinkState.CONNECTED
    assert link.next_deadline() == 2 + OWN_BOOT_INTERVAL_S


def test_the_interval_of_a_rejection_holds_over_a_reconnect() -> None:
    """Closing the socket (allowed while Rejected) must not make the station ask sooner."""
    link = Link(TUNING)
    link.connected("ocpp1.6", 0)
    link.sent(Due.BOOT_NOTIFICATION, 0)
    link.boot_answered(reply("Rejected", 600), 0, never)
    link.lost(1)
    assert link.connected("ocpp1.6", 20) == LinkChanged(LinkState.REJECTED)
    assert link.due(599) is None
    assert link.due(600) is Due.BOOT_NOTIFICATION


def test_a_reconnect_after_acceptance_needs_no_boot() -> None:
    link = accepted()
    assert link.lost(10) == LinkChanged(LinkState.OFFLINE)
    assert link.connected("ocpp1.6", 20) == LinkChanged(LinkState.ACCEPTED, report_all=False)
    assert link.due(20) is None
    assert link.due(120) is Due.HEARTBEAT


def test_a_long_absence_reports_all_connectors() -> None:
    """B04.FR.01: longer than OfflineThreshold."""
    link = accepted()
    link.lost(10)
    assert link.connected("ocpp1.6", 70) == LinkChanged(LinkState.ACCEPTED, report_all=False)
    link.lost(71)
    assert link.connected("ocpp1.6", 71.1) == LinkChanged(LinkState.ACCEPTED, report_all=True)


def test_an_absence_ends_only_when_the_csms_answered() -> None:
    link = accepted()
    link.lost(10)
    link.connected("ocpp1.6", 100)
    link.lost(100)
    assert link.connected("ocpp1.6", 101).report_all
    link.proved()
    link.lost(102)
    assert not link.connected("ocpp1.6", 103).report_all


def test_another_version_is_another_registration() -> None:
    link = accepted()
    link.lost(10)
    assert link.connected("ocpp2.0.1", 20) == LinkChanged(LinkState.CONNECTED)
    assert link.due(20) is Due.BOOT_NOTIFICATION


def test_a_boot_lost_with_the_link_is_sent_on_the_next() -> None:
    link = Link(TUNING)
    link.connected("ocpp1.6", 0)
    link.sent(Due.BOOT_NOTIFICATION, 0)
    link.lost(5)
    link.boot_unanswered(5)
    link.connected("ocpp1.6", 15)
    assert link.due(15) is Due.BOOT_NOTIFICATION


def test_back_off_is_reset_by_an_answer_and_not_by_a_socket() -> None:
    """EVtivity completes the upgrade and closes with 1008."""
    link = Link(TUNING)
    waits = []
    for _ in range(3):
        link.connected("ocpp1.6", 0)
        link.lost(0)
        waits.append(link.wait_s(never))
    assert waits == [10, 20, 40]
    link.connected("ocpp1.6", 0)
    link.proved()
    link.lost(SETTLE_S)
    assert link.wait_s(never) == 10
    assert link.flaps == 4


@pytest.mark.pain(35)
def test_a_link_that_flaps_is_dialled_at_growing_intervals_until_it_lasts() -> None:
    """Answers come, and after 20 s it is gone again: without a time to settle the waits would never grow."""
    link = Link(TUNING)
    now, waits = 0.0, []
    for lasts in (20, 20, 20, 20, SETTLE_S, 20):
        link.connected("ocpp1.6", now)
        link.proved()
        now += lasts
        link.lost(now)
        waits.append(link.wait_s(never))
        now += waits[-1]
    assert waits == [10, 20, 40, 80, 10, 20]
    assert link.flaps == 6


def test_security_error_leads_back_to_the_boot_once() -> None:
    link = accepted()
    assert link.not_registered(10) == LinkChanged(LinkState.CONNECTED)
    assert link.due(10) is Due.BOOT_NOTIFICATION
    link.sent(Due.BOOT_NOTIFICATION, 10)
    assert link.boot_answered(reply("Accepted"), 11, never) == LinkChanged(LinkState.ACCEPTED, report_all=True)
    assert link.not_registered(12) is None
    assert link.state is LinkState.ACCEPTED


def test_after_a_delivery_security_error_may_lead_to_the_boot_again() -> None:
    link = accepted()
    link.not_registered(10)
    link.boot_answered(reply("Accepted"), 11, never)
    link.delivered()
    assert link.not_registered(12) == LinkChanged(LinkState.CONNECTED)


def test_a_triggered_heartbeat_goes_at_once_and_restarts_the_interval() -> None:
    link = accepted(interval_s=100)
    link.trigger(Due.HEARTBEAT, 30)
    assert link.due(30) is Due.HEARTBEAT
    link.sent(Due.HEARTBEAT, 30)
    assert link.next_deadline() == 130


def test_a_triggered_boot_goes_at_once_also_when_pending() -> None:
    link = Link(TUNING)
    link.connected("ocpp1.6", 0)
    link.sent(Due.BOOT_NOTIFICATION, 0)
    link.boot_answered(reply("Pending", 600), 0, never)
    link.trigger(Due.BOOT_NOTIFICATION, 5)
    assert link.due(5) is Due.BOOT_NOTIFICATION


def test_a_triggered_boot_keeps_an_accepted_station_accepted() -> None:
    link = accepted()
    link.trigger(Due.BOOT_NOTIFICATION, 5)
    link.sent(Due.BOOT_NOTIFICATION, 5)
    assert link.state is LinkState.ACCEPTED
    assert link.boot_answered(reply("Accepted"), 6, never) is None


def test_pending_sends_only_what_was_triggered_and_only_for_a_while() -> None:
    link = Link(TUNING)
    link.connected("ocpp1.6", 0)
    link.boot_answered(reply("Pending", 600), 0, never)
    assert not link.may_send("StatusNotification", 1)
    link.allow("StatusNotification", 1)
    assert link.may_send("StatusNotification", 2)
    assert not link.may_send("MeterValues", 2)
    assert not link.may_send("StatusNotification", 30)


def test_rejected_sends_nothing() -> None:
    link = Link(TUNING)
    link.connected("ocpp1.6", 0)
    link.boot_answered(reply("Rejected", 600), 0, never)
    link.allow("StatusNotification", 1)
    link.trigger(Due.HEARTBEAT, 1)
    assert not link.may_send("StatusNotification", 1)
    assert link.due(1) is None


def test_a_tuned_heartbeat_counts_from_now() -> None:
    link = accepted(interval_s=100)
    link.tune(LinkTuning(heartbeat_s=10), 50)
    assert link.next_deadline() == 60
    link.tune(LinkTuning(heartbeat_s=0), 55)
    assert link.next_deadline() is None
