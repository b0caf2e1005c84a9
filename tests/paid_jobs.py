# SPDX-License-Identifier: GPL-3.0-or-later
"""Paid jobs in a store as tests want them: signatures that nobody looks at, and units as they like."""

from dataclasses import replace

from farm_protocol.records import TaskKind
from payments.promises import (
    Offer,
    Order,
    Promise,
    SignedOffer,
    SignedOrder,
    SignedTerms,
    SignedVoucher,
    Terms,
    Voucher,
)
from payments.statements import NOBODY, Payment
from render_farm.rules import JobRules
from render_farm.store.new_jobs import NewJob, NewMoney
from verification.rate import Rates
from verification.sampling import AuditPolicy

UNSIGNED = "0x" + "0" * 130
ANN = "0x" + "a1" * 20
BOB = "0x" + "b0" * 20
PAYMENT = Payment(budget=10**20, price_cap=10**16, client=ANN, refund_to=ANN, quote="q1")
TERMS = Terms(
    client=ANN,
    refundTo=ANN,
    farm=NOBODY,
    name="00" * 32,
    deadline=2**40,
    sessionKey=ANN,
    priceCap=10**16,
    stakeShare=93_750,
    watcher=NOBODY,
    arbiters=(ANN,),
    threshold=1,
    termsHash="00" * 32,
)
RULES = JobRules(AuditPolicy(), Rates(floor=0, halving=33, own=0))
OFFER = Offer(NOBODY, BOB, BOB, "cpu:5", 10**15, 1000, 10_000, 2**40, 1)


def paid(new: NewJob, units: int = 1_000_000, audit: int = 50_000, rules: JobRules = RULES) -> NewJob:
    """The job, paid for: each tile counts as so many units, a little more for each after the first."""
    tiles = [task for task in new.tasks if task.kind is TaskKind.RENDER]
    counts = {task.id: units + number for number, task in enumerate(tiles)}
    audits = dict.fromkeys(counts, audit)
    terms = SignedTerms(TERMS, UNSIGNED)
    return replace(new, money=NewMoney(PAYMENT, terms, counts, audits, 50_000, "TEST", 18, rules))


def promise(job: str, agreement: str, cumulative: int | None = None) -> Promise:
    """A promise under an agreement, with a voucher where something was earned."""
    voucher = None
    if cumulative is not None:
        voucher = SignedVoucher(Voucher(agreement, cumulative, "11" * 32), UNSIGNED)
    order = Order(1, "22" * 32, 10**18, 10**17, 4, 1)
    return Promise(
        job=job,
        agreement=agreement,
        terms=SignedTerms(TERMS, UNSIGNED),
        offer=SignedOffer(OFFER, UNSIGNED),
        order=SignedOrder(order, UNSIGNED),
        voucher=voucher,
    )
