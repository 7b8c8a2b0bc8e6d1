"""Authorised, captured, voided: each once."""

from decimal import Decimal

import pytest

from simulator.portal.chargers import TokenVerdict
from simulator.portal.errors import UnknownItemError
from simulator.portal.payments import Payment, PaymentState
from tests.portal.books import SERIAL, Ledger, ledger


@pytest.fixture
def book() -> Ledger:
    return ledger()


def again(book: Ledger, payment: Payment) -> Payment:
    return book.payments.get(payment.key)


def test_the_token_fits_an_id_tag_and_is_nobodys_card(book: Ledger) -> None:
    payment = book.paid()
    assert payment.id_token.startswith("QR-")
    assert len(payment.id_token) <= 20
    assert payment.id_token not in repr(payment)
    assert book.payments.verdict(SERIAL, payment.id_token.lower()) is TokenVerdict.ACCEPTED
    assert book.payments.verdict("SN-OTHER", payment.id_token) is TokenVerdict.INVALID
    assert book.payments.verdict(SERIAL, "CARD") is None


def test_capture_takes_the_exact_amount_once(book: Ledger) -> None:
    payment = book.paid()
    book.payments.bind(payment, 1)
    assert again(book, payment).state is PaymentState.CHARGING
    book.payments.capture(again(book, payment), Decimal("65.00"))
    book.payments.capture(again(book, payment), Decimal("99.00"))
    book.payments.void(again(book, payment), "late")
    taken = again(book, payment)
    assert (taken.state, taken.gross, taken.vat, taken.commission, taken.net, taken.uncollected) == (
        PaymentState.CAPTURED,
        Decimal("65.00"),
        Decimal("13.00"),
        Decimal("3.25"),
        Decimal("61.75"),
        Decimal("0.00"),
    )
    assert book.payments.verdict(SERIAL, payment.id_token) is TokenVerdict.EXPIRED


def test_never_more_than_authorised(book: Ledger) -> None:
    payment = book.paid()
    book.payments.bind(payment, 1)
    book.payments.capture(again(book, payment), Decimal("312.34"))
    taken = again(book, payment)
    assert (taken.gross, taken.uncollected) == (Decimal("300.00"), Decimal("12.34"))
    assert taken.vat == Decimal("60.00")


def test_a_voided_payment_stays_voided_and_what_it_owes_is_said(book: Ledger) -> None:
    payment = book.paid()
    book.payments.void(payment, "not started")
    book.payments.bind(payment, 1)
    assert again(book, payment).state is PaymentState.VOIDED
    book.payments.capture(again(book, payment), Decimal("65.00"))
    closed = again(book, payment)
    assert (closed.state, closed.gross, closed.uncollected, closed.reason) == (
        PaymentState.VOIDED,
        Decimal("0.00"),
        Decimal("65.00"),
        "not started",
    )


def test_an_unknown_payment_is_an_error_in_words(book: Ledger) -> None:
    with pytest.raises(UnknownItemError, match="no payment 'x'"):
        book.payments.get("x")
    assert book.payments.by_id(99) is None
