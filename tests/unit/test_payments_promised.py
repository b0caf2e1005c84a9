# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger while the chain has not heard of what was promised, or says otherwise."""

import pytest

from payments.accounting.entries import Accepted, Promised, Settled
from payments.accounting.ledger import Ledger, NoAgreement, OverBudget, OverCap
from payments.chain.chain_events import AgreementClosed, CapRaised, Funded, Paid, Refunded
from payments.messages.units import Wei

NAME, OTHER = "a" * 64, "b" * 64


def ledger(*entries) -> Ledger:
    made = Ledger()
    for entry in (Funded(Wei(100), event="d"), *entries):
        made.apply(entry)
    return made


def tile(amount: int) -> Accepted:
    return Accepted(f"task {amount}", 1, NAME, Wei(amount), "c" * 64, 1)


def test_work_is_owed_under_a_promise_that_the_chain_has_not_heard_of() -> None:
    made = ledger(Promised(NAME, Wei(60)), tile(10), Settled(1))
    assert made.balance().owed == made.cumulative(NAME) == 10
    assert (made.room(NAME), made.free(), made.balance().available) == (50, 40, 100)
    with pytest.raises(OverCap):
        made.apply(tile(51))


def test_nothing_is_paid_or_closed_before_it_is_on_the_chain() -> None:
    made = ledger(Promised(NAME, Wei(60)))
    for entry in (Paid(NAME, Wei(1)), AgreementClosed(NAME, Wei(0))):
        with pytest.raises(NoAgreement):
            made.apply(entry)
    made.apply(CapRaised(NAME, Wei(20)))
    with pytest.raises(OverCap):
        made.apply(Paid(NAME, Wei(21)))


def test_what_the_chain_says_counts_whatever_was_promised() -> None:
    made = ledger(Promised(NAME, Wei(60)), Refunded(Wei(90), event="r"))
    assert made.free() == -50
    with pytest.raises(OverBudget):
        made.apply(CapRaised(NAME, Wei(11)))
    made.apply(CapRaised(NAME, Wei(10)))
    assert (made.free(), made.balance().available) == (-50, 0)


def test_a_promise_never_shrinks_and_ends_with_its_agreement() -> None:
    made = ledger(Promised(NAME, Wei(60)), Promised(NAME, Wei(30)), Promised(OTHER, Wei(40)))
    assert made.free() == 0
    made.apply(CapRaised(NAME, Wei(60)))
    made.apply(Paid(NAME, Wei(5)))
    made.apply(AgreementClosed(NAME, Wei(0)))
    assert made.free() == 55
    assert made.room(NAME) == 0
