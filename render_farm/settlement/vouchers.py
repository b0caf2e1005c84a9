# SPDX-License-Identifier: GPL-3.0-or-later
"""What the farm signs for a job's nodes with the job's session key: orders, raises, vouchers.

Each is a function of what it is about, so that whoever signs again after a crash signs the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from farm_protocol.ids import JobId
from payments import accepted_tree, session, signing
from payments.network import Network
from payments.promises import (
    Credit,
    Order,
    Promise,
    Raise,
    SignedOrder,
    SignedRaise,
    SignedTerms,
    SignedVoucher,
    Voucher,
)
from render_farm.settlement.orders import Cap

CREDITS_AT_ONCE = 1000
"""Leaves in one promise: after a long silence there are several."""


@dataclass(frozen=True, slots=True)
class Pen:
    """Signs for one job."""

    network: Network
    job: JobId
    key: bytes = field(repr=False)

    def order(self, number: int, terms: SignedTerms, cap: Cap, salt: int) -> Promise:
        """The job takes an offer."""
        order = Order(number, cap.seller.digest, cap.cap, cap.task_cap, cap.claim_tasks, salt)
        agreement = signing.agreement_id(order, self.network)
        signed = SignedOrder(order, signing.sign(order, self.network, self.key))
        return Promise(self.job, agreement, terms, cap.seller.offer, signed)

    def raised(self, promise: Promise, cap: int) -> Promise:
        """The same agreement may earn more."""
        said = Raise(promise.agreement, cap)
        signed = SignedRaise(said, signing.sign(said, self.network, self.key))
        return replace(promise, cap_raise=signed, credits=())

    def vouched(self, promise: Promise, owed: Sequence[Credit]) -> list[Promise]:
        """Promises that bring the agreement's voucher up to all its credits, some at a time."""
        made: list[Promise] = []
        known = leaves(promise, owed)
        while known < len(owed):
            upto = min(len(owed), known + CREDITS_AT_ONCE)
            root, total = accepted_tree.root(owed[:upto])
            said = Voucher(promise.agreement, total, root)
            signed = SignedVoucher(said, signing.sign(said, self.network, self.key))
            promise = replace(promise, voucher=signed, credits=tuple(owed[known:upto]))
            made.append(promise)
            known = upto
        return made


def pen(network: Network, farm_key: bytes, job: JobId) -> Pen:
    """What signs for a job; its key is derived from the farm's."""
    return Pen(network, job, session.session_key(farm_key, job))


def ended(promise: Promise) -> Promise:
    """The last promise: no more work comes."""
    return replace(promise, ended=True, credits=())


def vouched(promise: Promise) -> int:
    """What the promise's voucher says."""
    return promise.voucher.message.cumulative if promise.voucher else 0


def leaves(promise: Promise, owed: Sequence[Credit]) -> int:
    """How many of an agreement's credits are in its voucher: none earns nothing, so the sum tells."""
    total, left = 0, vouched(promise)
    for number, credit in enumerate(owed):
        if total >= left:
            return number
        total += credit.amount
    return len(owed)
