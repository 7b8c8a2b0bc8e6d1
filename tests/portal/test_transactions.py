"""Exactly once, in any order, with any number of copies."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.portal.chargers import TokenVerdict
from simulator.portal.payments import PaymentState
from simulator.portal.transactions import CostReport, EventType, Meter, Sample, Start, Stop, TransactionEvent
from tests.portal.books import SERIAL, STATION, Ledger, ledger
from tests.portal.station import START


def later(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def sample(seconds: float, energy_wh: int | None, context: str = "Sample.Periodic") -> Sample:
    return Sample(at=later(seconds), context=context, energy_wh=energy_wh, power_w=Decimal(7400))


def start(token: str, seconds: float = 0, meter_wh: int = 1000, connector: int = 1) -> Start:
    digest = f"start {connector} {token} {seconds} {meter_wh}"
    return Start(connector=connector, id_token=token, at=later(seconds), meter_wh=meter_wh, digest=digest)


def stop(tx: int, seconds: float = 3600, meter_wh: int = 11_000) -> Stop:
    return Stop(
        wire_id=str(tx),
        at=later(seconds),
        meter_wh=meter_wh,
        reason="Remote",
        samples=(),
        digest=f"stop {seconds} {meter_wh}",
        payload="{}",
    )


def event(
    event_type: EventType, seq_no: int, seconds: float, *samples: Sample, token: str | None = None, trigger: str = "Trigger"
) -> TransactionEvent:
    return TransactionEvent(
        wire_id="tx-1",
        event_type=event_type,
        seq_no=seq_no,
        at=later(seconds),
        trigger_reason=trigger,
        evse=1,
        id_token=token,
        remote_start_id=None,
        charging_state="",
        stopped_reason="Remote" if event_type is EventType.ENDED else "",
        samples=samples,
        cost=None,
        digest=f"{event_type} {seq_no} {seconds} {samples}",
        payload="{}",
    )


def story(token: str, updates: int = 3) -> list[TransactionEvent]:
    """One hour, 10 kWh from 1,000 to 11,000 Wh: 65.00 NOK."""
    between = [event(EventType.UPDATED, n + 1, 600 * (n + 1), sample(600 * (n + 1), 1000 + 1500 * (n + 1))) for n in range(updates)]
    return [
        event(EventType.STARTED, 0, 0, sample(0, 1000, "Transaction.Begin"), token=token),
        *between,
        event(EventType.ENDED, updates + 1, 3600, sample(3600, 11_000, "Transaction.End")),
    ]


def kinds(book: Ledger) -> set[str]:
    return {anomaly.kind for anomaly in book.chargers.anomalies()}


# 1.6


def test_a_paid_session_is_captured_to_the_cent() -> None:
    book = ledger()
    payment = book.paid()
    tx, verdict = book.transactions.start(SERIAL, STATION, start(payment.id_token))
    assert verdict is TokenVerdict.ACCEPTED
    book.transactions.stop(SERIAL, STATION, stop(tx))
    row = book.transactions.all()[0]
    assert (row.energy_wh, row.seconds, row.session_gross, row.gross, row.vat) == (
        10_000,
        Decimal(3600),
        Decimal("65.00"),
        Decimal("65.00"),
        Decimal("13.00"),
    )
    assert (row.payment_state, row.commission, row.net) == (PaymentState.CAPTURED, Decimal("3.25"), Decimal("61.75"))


def test_the_same_start_gets_the_same_number_and_verdict_again_even_after_the_end() -> None:
    book = ledger()
    payment = book.paid()
    first = book.transactions.start(SERIAL, STATION, start(payment.id_token))
    assert book.transactions.start(SERIAL, STATION, start(payment.id_token)) == first
    book.transactions.stop(SERIAL, STATION, stop(first[0]))
    assert book.transactions.start(SERIAL, STATION, start(payment.id_token)) == first
    (row,) = book.transactions.all()
    assert (row.duplicate_starts, row.payment_state) == (2, PaymentState.CAPTURED)


def test_a_stop_twice_changes_nothing_and_a_different_one_is_flagged() -> None:
    book = ledger()
    tx, _ = book.transactions.start(SERIAL, STATION, start(book.paid().id_token))
    book.transactions.stop(SERIAL, STATION, stop(tx))
    before = book.transactions.all()[0]
    book.transactions.stop(SERIAL, STATION, stop(tx))
    assert replace(book.transactions.all()[0], duplicate_stops=0) == before
    assert kinds(book) == set()
    book.transactions.stop(SERIAL, STATION, stop(tx, 7200, 90_000))
    row = book.transactions.all()[0]
    assert (row.gross, row.stop_wh, row.duplicate_stops) == (Decimal("65.00"), 11_000, 2)
    assert kinds(book) == {"second_stop"}


@given(st.permutations([0, 0, 1, 1, 2, 2, 3, 4]))
@settings(max_examples=40, deadline=None)
def test_copies_and_late_meter_values_do_not_change_a_bill(order: list[int]) -> None:
    """0 start, 1 stop, 2.. meter values, in any order that a charger can produce: it knows the number from the first start."""
    book = ledger()
    payment = book.paid()
    tx, _ = book.transactions.start(SERIAL, STATION, start(payment.id_token))
    for step in order:
        if step == 0:
            assert book.transactions.start(SERIAL, STATION, start(payment.id_token))[0] == tx
        elif step == 1:
            book.transactions.stop(SERIAL, STATION, stop(tx))
        else:
            book.transactions.meter(
                SERIAL, STATION, Meter(wire_id=str(tx), samples=(sample(step * 60, 1000 + step),), digest=f"meter {step}", payload="{}")
            )
    (row,) = book.transactions.all()
    assert (row.gross, row.energy_wh, row.payment_state) == (Decimal("65.00"), 10_000, PaymentState.CAPTURED)
    assert (row.duplicate_starts, row.duplicate_stops, row.duplicate_updates) == (2, 1, 1)
    assert kinds(book) == set()


def test_two_starts_in_one_second_on_two_connectors_are_two() -> None:
    book = ledger()
    book.chargers.set_card("CARD")
    numbers = {book.transactions.start(SERIAL, STATION, start("CARD", connector=connector))[0] for connector in (1, 2)}
    assert len(numbers) == 2


@pytest.mark.parametrize("unknown", [-1, 0, 424_242])
def test_what_refers_to_an_unknown_transaction_is_kept_and_flagged(unknown: int) -> None:
    book = ledger()
    book.transactions.stop(SERIAL, STATION, stop(unknown))
    book.transactions.meter(SERIAL, STATION, Meter(wire_id=str(unknown), samples=(sample(0, 1),), digest="d", payload='{"a":1}'))
    report = CostReport(currency="NOK", gross=Decimal(1), vat=Decimal(0), energy_wh=1, seconds=Decimal(1), is_final=True)
    assert not book.transactions.cost_report(SERIAL, STATION, str(unknown), report, "{}")
    assert [anomaly.kind for anomaly in book.chargers.anomalies()] == ["unknown_transaction"] * 3
    assert book.chargers.anomalies()[1].payload == '{"a":1}'
    assert book.transactions.all() == []


def test_another_chargers_transaction_number_is_unknown_here() -> None:
    book = ledger()
    tx, _ = book.transactions.start(SERIAL, STATION, start(book.paid().id_token))
    book.transactions.stop("SN-OTHER", "CP999", stop(tx))
    assert book.transactions.all()[0].stopped_at is None
    assert kinds(book) == {"unknown_transaction"}


def test_a_card_session_is_listed_without_payment_at_the_price_of_its_start() -> None:
    book = ledger()
    book.chargers.set_card("CARD")
    tx, verdict = book.transactions.start(SERIAL, STATION, start("card"))
    book.transactions.stop(SERIAL, STATION, stop(tx))
    row = book.transactions.all()[0]
    assert (verdict, row.payment_key, row.session_gross, row.gross) == (TokenVerdict.ACCEPTED, None, Decimal("65.00"), None)


def test_nothing_delivered_is_voided_whatever_the_session_fee() -> None:
    book = ledger()
    payment = book.paid()
    tx, _ = book.transactions.start(SERIAL, STATION, start(payment.id_token))
    book.transactions.stop(SERIAL, STATION, stop(tx, 600, 1000))
    row = book.transactions.all()[0]
    assert (row.payment_state, row.gross, row.session_gross) == (PaymentState.VOIDED, Decimal("0.00"), Decimal("0.00"))
    assert book.payments.get(payment.key).reason == "nothing was delivered"


@pytest.mark.parametrize(
    ("seconds", "meter_wh", "flag", "gross"),
    [(3600, 900, "meter_backwards", "0.00"), (-5, 11_000, "time_backwards", "50.00")],
)
def test_what_runs_backwards_is_flagged_and_never_negative(seconds: float, meter_wh: int, flag: str, gross: str) -> None:
    book = ledger()
    tx, _ = book.transactions.start(SERIAL, STATION, start(book.paid().id_token))
    book.transactions.stop(SERIAL, STATION, stop(tx, seconds, meter_wh))
    assert kinds(book) == {flag}
    assert book.transactions.all()[0].gross == Decimal(gross)


def test_the_token_of_a_payment_works_once() -> None:
    book = ledger()
    payment = book.paid()
    tx, _ = book.transactions.start(SERIAL, STATION, start(payment.id_token))
    assert book.transactions.start(SERIAL, STATION, start(payment.id_token, 60))[1] is TokenVerdict.CONCURRENT_TX
    book.transactions.stop(SERIAL, STATION, stop(tx))
    assert book.transactions.start(SERIAL, STATION, start(payment.id_token, 120))[1] is TokenVerdict.EXPIRED
    assert kinds(book) == {"token_used_twice"}
    assert [row.payment_key for row in book.transactions.all()] == [payment.key, None, None]


def test_the_token_of_a_payment_is_no_good_at_another_charger() -> None:
    book = ledger()
    book.chargers.provision("SN-0002", "U")
    book.chargers.claim(serial="SN-0002", uid="U", country="NO", region="Viken")
    payment = book.paid()
    assert book.transactions.start("SN-0002", "CP002", start(payment.id_token))[1] is TokenVerdict.INVALID
    assert book.payments.get(payment.key).state is PaymentState.AUTHORIZED
    assert kinds(book) == {"foreign_token"}


def test_a_start_after_the_void_is_flagged_and_stays_uncollected() -> None:
    book = ledger()
    payment = book.paid()
    book.payments.void(payment, "not started in time")
    tx, verdict = book.transactions.start(SERIAL, STATION, start(payment.id_token))
    book.transactions.stop(SERIAL, STATION, stop(tx))
    row = book.transactions.all()[0]
    assert verdict is TokenVerdict.EXPIRED
    assert (row.payment_state, row.gross, row.uncollected) == (PaymentState.VOIDED, Decimal("0.00"), Decimal("65.00"))
    assert kinds(book) == {"start_after_void"}


def test_a_session_on_another_evse_than_paid_for_is_flagged_and_billed() -> None:
    book = ledger()
    payment = book.paid(evse=2)
    tx, _ = book.transactions.start(SERIAL, STATION, start(payment.id_token))
    book.transactions.stop(SERIAL, STATION, stop(tx))
    assert kinds(book) == {"other_evse"}
    assert book.payments.get(payment.key).state is PaymentState.CAPTURED


# the charger's own figure


def report(gross: str, vat: str, energy_wh: int = 10_000, seconds: str = "3600", *, final: bool = True) -> CostReport:
    return CostReport(currency="NOK", gross=Decimal(gross), vat=Decimal(vat), energy_wh=energy_wh, seconds=Decimal(seconds), is_final=final)


@pytest.mark.parametrize(
    ("said", "word"),
    [
        (report("65.00", "13.00"), ""),
        (report("65", "13.0", seconds="3600.4"), ""),
        (report("65.01", "13.00"), "cost: portal 65.00"),
        (report("65.00", "13.01"), "charger 65.00 with VAT 13.01"),
        (report("65.00", "13.00", energy_wh=9_999), "energy: portal 10000 Wh, charger 9999 Wh"),
        (report("65.00", "13.00", seconds="3599"), "time: portal 3600 s, charger 3599 s"),
        (replace(report("65.00", "13.00"), currency="EUR"), "currency: portal NOK, charger EUR"),
    ],
)
@pytest.mark.parametrize("before_the_stop", [False, True])
def test_a_figure_that_differs_is_a_mismatch(said: CostReport, word: str, before_the_stop: bool) -> None:
    book = ledger()
    tx, _ = book.transactions.start(SERIAL, STATION, start(book.paid().id_token))
    if before_the_stop:
        book.transactions.cost_report(SERIAL, STATION, str(tx), said, "{}")
    book.transactions.stop(SERIAL, STATION, stop(tx))
    if not before_the_stop:
        book.transactions.cost_report(SERIAL, STATION, str(tx), said, "{}")
    row = book.transactions.all()[0]
    assert bool(row.mismatch) == bool(word)
    assert word in row.mismatch
    assert kinds(book) == ({"cost_mismatch"} if word else set())
    assert row.gross == Decimal("65.00")


def test_a_running_figure_is_no_final_one_and_never_replaces_it() -> None:
    book = ledger()
    tx, _ = book.transactions.start(SERIAL, STATION, start(book.paid().id_token))
    book.transactions.cost_report(SERIAL, STATION, str(tx), report("20.00", "4.00", final=False), "{}")
    book.transactions.stop(SERIAL, STATION, stop(tx))
    assert book.transactions.all()[0].mismatch == ""
    book.transactions.cost_report(SERIAL, STATION, str(tx), report("65.00", "13.00"), "{}")
    book.transactions.cost_report(SERIAL, STATION, str(tx), report("20.00", "4.00", final=False), "{}")
    assert book.transactions.all()[0].charger_gross == Decimal("65.00")
    book.transactions.cost_report(SERIAL, STATION, str(tx), report("66.00", "13.20"), "{}")
    assert kinds(book) == {"second_final_cost"}


def test_a_charger_that_bills_the_session_fee_for_nothing_is_no_mismatch() -> None:
    book = ledger()
    tx, _ = book.transactions.start(SERIAL, STATION, start(book.paid().id_token))
    book.transactions.stop(SERIAL, STATION, stop(tx, 60, 1000))
    book.transactions.cost_report(SERIAL, STATION, str(tx), report("5.25", "1.05", 0, "60"), "{}")
    assert book.transactions.all()[0].mismatch == ""


# 2.0.1


@given(st.permutations([0, 1, 2, 3, 4, 0, 2, 4]))
@settings(max_examples=60, deadline=None)
def test_events_in_any_order_and_twice_make_the_same_bill(order: list[int]) -> None:
    book = ledger()
    payment = book.paid()
    events = story(payment.id_token)
    for index in order:
        book.transactions.event(SERIAL, STATION, events[index])
    (row,) = book.transactions.all()
    assert (row.start_wh, row.stop_wh, row.energy_wh, row.seconds) == (1000, 11_000, 10_000, Decimal(3600))
    assert (row.gross, row.payment_state, row.payment_key) == (Decimal("65.00"), PaymentState.CAPTURED, payment.key)
    assert (row.duplicate_starts, row.duplicate_updates, row.duplicate_stops) == (1, 1, 1)
    assert row.missing_seq_nos == ()
    assert kinds(book) == set()


def test_a_missing_event_shows_in_the_books() -> None:
    book = ledger()
    events = story(book.paid().id_token)
    for index in (0, 1, 3, 4):
        book.transactions.event(SERIAL, STATION, events[index])
    assert book.transactions.all()[0].missing_seq_nos == (2,)


def test_an_end_before_its_start_is_settled_when_the_start_arrives() -> None:
    book = ledger()
    events = story(book.paid().id_token)
    answer = book.transactions.event(SERIAL, STATION, events[-1])
    assert answer.total_cost is None  # missing, because unknown; not nothing
    assert not book.transactions.all()[0].is_settled
    book.transactions.event(SERIAL, STATION, events[0])
    assert book.transactions.all()[0].gross == Decimal("65.00")
    assert book.transactions.event(SERIAL, STATION, events[-1]).total_cost == Decimal("65.00")


def test_a_token_that_comes_after_both_ends_still_pays() -> None:
    book = ledger()
    payment = book.paid()
    begin, *_, end = story(payment.id_token, updates=1)
    book.transactions.event(SERIAL, STATION, replace(begin, id_token=None))
    book.transactions.event(SERIAL, STATION, end)
    assert book.payments.get(payment.key).state is PaymentState.AUTHORIZED
    book.transactions.event(SERIAL, STATION, event(EventType.UPDATED, 1, 5, token=payment.id_token, trigger="Authorized"))
    assert book.payments.get(payment.key).gross == Decimal("65.00")


def test_who_only_stops_a_session_does_not_pay_for_it() -> None:
    book = ledger()
    book.chargers.set_card("OWNER")
    book.chargers.set_card("GUARD")
    begin, *_, end = story("OWNER", updates=0)
    answer = book.transactions.event(SERIAL, STATION, replace(end, id_token="GUARD"))
    assert answer.verdict is TokenVerdict.ACCEPTED
    book.transactions.event(SERIAL, STATION, begin)
    assert book.transactions.all()[0].id_token == "OWNER"


def test_the_remote_start_id_finds_the_payment_of_an_event_without_token() -> None:
    book = ledger()
    payment = book.paid()
    begin = replace(story("x")[0], id_token=None, remote_start_id=payment.payment_id)
    book.transactions.event(SERIAL, STATION, begin)
    assert book.payments.get(payment.key).state is PaymentState.CHARGING


def test_running_cost_is_answered_to_updates() -> None:
    book = ledger()
    begin, first, *_ = story(book.paid().id_token)
    assert book.transactions.event(SERIAL, STATION, begin).verdict is TokenVerdict.ACCEPTED
    # 1.5 kWh and 10 minutes: 6.75 + 2.50 + 5.00
    assert book.transactions.event(SERIAL, STATION, first).total_cost == Decimal("14.25")


def test_nothing_after_the_end_brings_a_transaction_back() -> None:
    book = ledger()
    events = story(book.paid().id_token)
    for each in events:
        book.transactions.event(SERIAL, STATION, each)
    before = book.transactions.all()[0]
    book.transactions.event(SERIAL, STATION, event(EventType.UPDATED, 9, 9000, sample(9000, 99_000)))
    row = book.transactions.all()[0]
    assert (row.gross, row.stopped_at, row.stop_wh) == (before.gross, before.stopped_at, before.stop_wh)
    assert kinds(book) == {"after_end"}


def test_a_second_end_and_a_reused_number_are_flagged_and_change_nothing() -> None:
    book = ledger()
    events = story(book.paid().id_token)
    for each in events:
        book.transactions.event(SERIAL, STATION, each)
    book.transactions.event(SERIAL, STATION, event(EventType.ENDED, 4, 7200, sample(7200, 90_000, "Transaction.End")))
    book.transactions.event(SERIAL, STATION, event(EventType.UPDATED, 2, 7200, sample(7200, 90_000)))
    assert kinds(book) == {"seq_no_reused", "second_event"}
    assert book.transactions.all()[0].gross == Decimal("65.00")


def test_without_any_register_nothing_is_billed_and_it_is_said() -> None:
    book = ledger()
    payment = book.paid()
    book.transactions.event(SERIAL, STATION, event(EventType.STARTED, 0, 0, token=payment.id_token))
    book.transactions.event(SERIAL, STATION, event(EventType.ENDED, 1, 3600))
    assert kinds(book) == {"energy_unknown"}
    assert book.payments.get(payment.key).state is PaymentState.VOIDED


def test_a_missing_end_register_falls_back_to_the_last_one_and_is_flagged() -> None:
    book = ledger()
    begin, first, *_ = story(book.paid().id_token, updates=1)
    for each in (begin, first, event(EventType.ENDED, 2, 3600)):
        book.transactions.event(SERIAL, STATION, each)
    assert kinds(book) == {"energy_estimated"}
    assert book.transactions.all()[0].energy_wh == 1500


def test_a_session_that_reaches_the_authorised_amount_is_to_be_stopped_once() -> None:
    book = ledger()
    payment = book.paid()
    tx, _ = book.transactions.start(SERIAL, STATION, start(payment.id_token))
    meter = Meter(wire_id=str(tx), samples=(sample(60, 1000 + 65_000),), digest="a", payload="{}")
    book.transactions.meter(SERIAL, STATION, meter)
    assert book.transactions.take_overdrawn() == ()
    meter = Meter(wire_id=str(tx), samples=(sample(120, 1000 + 66_000),), digest="b", payload="{}")
    book.transactions.meter(SERIAL, STATION, meter)
    assert book.transactions.take_overdrawn() == (tx,)
    book.payments.request_stop(payment)
    book.transactions.meter(SERIAL, STATION, replace(meter, digest="c"))
    assert book.transactions.take_overdrawn() == ()


# interruptions


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
def test_time_without_power_is_not_billed(version: str) -> None:
    """An hour from start to stop, twenty minutes of it dark in two parts: forty minutes are billed, also when a message comes twice."""
    book = ledger()
    payment = book.paid()
    dark = [
        (sample(600, 2000, "Interruption.Begin"), sample(1500, 2000, "Interruption.End")),
        (sample(2000, 3000, "Interruption.Begin"), sample(2300, 3000, "Interruption.End")),
    ]
    if version == "1.6":
        tx, _ = book.transactions.start(SERIAL, STATION, start(payment.id_token))
        for samples in (*dark, dark[0]):
            book.transactions.meter(SERIAL, STATION, Meter(wire_id=str(tx), samples=samples, digest=f"meter {samples[0].at}", payload="{}"))
        book.transactions.stop(SERIAL, STATION, stop(tx))
    else:
        first, last = story(payment.id_token, updates=0)
        updates = [event(EventType.UPDATED, number, 1500.0 * number, *samples) for number, samples in enumerate(dark, start=1)]
        for one in (first, *updates, updates[0], replace(last, seq_no=3)):
            book.transactions.event(SERIAL, STATION, one)
    row = book.transactions.all()[0]
    assert (row.seconds, row.energy_wh) == (Decimal(2400), 10_000)
    assert row.gross == row.session_gross


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
def test_an_outage_that_is_told_behind_the_end_is_given_back(version: str) -> None:
    """The message had been refused, and was sent again by hand: the bill is as if it had come in its place."""
    book = ledger()
    payment = book.paid()
    dark = (sample(600, 2000, "Interruption.Begin"), sample(1500, 2000, "Interruption.End"))
    if version == "1.6":
        tx, _ = book.transactions.start(SERIAL, STATION, start(payment.id_token))
        book.transactions.stop(SERIAL, STATION, stop(tx))
    else:
        first, last = story(payment.id_token, updates=0)
        for one in (first, replace(last, seq_no=2)):
            book.transactions.event(SERIAL, STATION, one)
    before = book.transactions.all()[0]
    for _ in range(2):
        if version == "1.6":
            book.transactions.meter(SERIAL, STATION, Meter(wire_id=str(tx), samples=dark, digest="dark", payload="{}"))
        else:
            book.transactions.event(SERIAL, STATION, event(EventType.UPDATED, 1, 1500.0, *dark))
    row = book.transactions.all()[0]
    assert (before.seconds, row.seconds, row.energy_wh) == (Decimal(3600), Decimal(2700), 10_000)
    assert row.gross is not None
    assert before.gross is not None
    assert row.gross == row.session_gross < before.gross


def test_an_interruption_without_its_other_end_changes_nothing() -> None:
    book = ledger()
    payment = book.paid()
    tx, _ = book.transactions.start(SERIAL, STATION, start(payment.id_token))
    lonely = (sample(600, 2000, "Interruption.End"), sample(700, 2000, "Interruption.Begin"))
    book.transactions.meter(SERIAL, STATION, Meter(wire_id=str(tx), samples=lonely, digest="lonely", payload="{}"))
    book.transactions.stop(SERIAL, STATION, stop(tx))
    assert book.transactions.all()[0].seconds == 3600
