# SPDX-License-Identifier: GPL-3.0-or-later
"""What a farm promises this node, checked before it is believed. Pure.

A promise is worth what the contract will pay for it, so everything is checked that the contract would check:
whose terms they are, whose offer, which key signed, and that figures and credits add up.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from farm_protocol.errors import Conflict, Forbidden, InvalidInput
from payments.accounting.pricing import reward
from payments.messages import accepted_tree, signing
from payments.messages.network import Network
from payments.messages.promises import Credit, Offer, Promise, Signed, Voucher, job_name

SOONEST_DEADLINE = 600
"""Seconds that a job must still run: an agreement that cannot reach the chain in time is worth nothing."""
LATEST_DEADLINE = 366 * 24 * 3600
MOST_CREDITS = 1_000_000
"""Of an agreement: more than a job has tasks."""


class BadPromise(Conflict):
    """The farm promises something that the contract would not pay."""

    code = "bad_promise"


@dataclass(frozen=True, slots=True)
class Seller:
    """A node as a seller: its farm, its operator's wallet, and the offers it signed, by struct hash."""

    network: Network
    farm: str
    operator: str
    offers: Mapping[str, Signed[Offer]]


@dataclass(frozen=True, slots=True)
class Agreement:
    """An agreement as this node holds it: the newest promise, all its credits, and the tasks in them."""

    promise: Promise
    credits: tuple[Credit, ...] = ()
    credited: frozenset[str] = field(default_factory=frozenset)

    @property
    def cap(self) -> int:
        """The most it may earn as promised."""
        return self.promise.cap

    @property
    def vouched(self) -> int:
        """What its voucher says."""
        return self.promise.vouched

    def earns(self, units: int) -> int:
        """What a task of so many micro-units earns."""
        return reward(units, self.promise.price)

    def has_room(self, units: int) -> bool:
        """Whether such a task fits under its cap, beside what is vouched for."""
        return self.vouched + self.earns(units) <= self.cap


def believed(promise: Promise, before: Agreement | None, seller: Seller, now: float) -> Agreement:
    """The agreement as it stands with this `promise`, after what it was `before` (None: it is new to the
    `seller`); `now` in seconds since the epoch. Raises BadPromise, with nothing changed.
    """
    try:
        if before is None:
            _check_new(promise, seller, now)
            before = Agreement(replace(promise, cap_raise=None, voucher=None, credits=(), ended=False))
        elif _base(promise) != _base(before.promise):
            raise BadPromise("The farm tells an agreement otherwise than before.")
        return _newer(promise, before, seller.network)
    except (Forbidden, InvalidInput) as error:
        raise BadPromise(f"A promise for job {promise.job[:40]} is not good: {error.sentence}") from error


def _base(promise: Promise) -> tuple[object, ...]:
    return promise.job, promise.agreement, promise.terms, promise.offer, promise.order


def _check_new(promise: Promise, seller: Seller, now: float) -> None:
    terms, offer, order = promise.terms.message, promise.offer.message, promise.order.message
    network = seller.network
    _must(terms.farm.lower() == seller.farm.lower(), "its terms are another farm's")
    signing.require_signer(terms, network, promise.terms.signature, seller.farm)
    _must(terms.name == job_name(promise.job), "its terms are another job's")
    _must(
        now + SOONEST_DEADLINE <= terms.deadline <= now + LATEST_DEADLINE,
        "its deadline is too near or too far",
    )
    _must(0 < terms.threshold <= len(terms.arbiters), "nobody can decide about it")
    mine = seller.offers.get(order.offer)
    _must(mine is not None and mine == promise.offer, "this node made no such offer")
    signing.require_signer(offer, network, promise.offer.signature, seller.operator)
    _must(offer.price <= terms.priceCap, "the job pays less than the offer asks")
    _must(terms.stakeShare <= offer.stakeShare, "it asks for more stake than the offer puts up")
    _must(signing.agreement_id(order, network) == promise.agreement, "its id is not its order's")
    signing.require_signer(order, network, promise.order.signature, terms.sessionKey)
    _must(order.taskCap > 0 and order.cap > 0 and order.claimTasks > 0, "it pays nothing")


def _newer(promise: Promise, before: Agreement, network: Network) -> Agreement:
    key = promise.terms.message.sessionKey
    more, voucher = promise.cap_raise, promise.voucher
    if more is not None and more != before.promise.cap_raise:
        _must(more.message.agreement == promise.agreement, "its raise is of another agreement")
        signing.require_signer(more.message, network, more.signature, key)
        _must(more.message.cap >= before.cap, "its cap falls")
    elif more is None:
        _must(before.promise.cap_raise is None, "its raise is gone")
    found = replace(before, promise=replace(promise, voucher=before.promise.voucher, credits=()))
    if voucher is None:
        _must(before.promise.voucher is None, "its voucher is gone")
        return found
    if voucher == before.promise.voucher:
        return found
    return _with_voucher(found, voucher, promise, network)


def _with_voucher(
    before: Agreement, voucher: Signed[Voucher], promise: Promise, network: Network
) -> Agreement:
    said = voucher.message
    _must(said.agreement == promise.agreement, "its voucher is of another agreement")
    signing.require_signer(said, network, voucher.signature, promise.terms.message.sessionKey)
    _must(said.cumulative > before.vouched, "its voucher falls")
    _must(said.cumulative <= before.cap, "its voucher is over its cap")
    credited = (*before.credits, *promise.credits)
    _must(len(credited) <= MOST_CREDITS, "it has more credits than any job has tasks")
    prefix = f"{promise.job}."
    _must(all(one.task.startswith(prefix) for one in promise.credits), "it credits another job's tasks")
    _must(accepted_tree.root(credited) == (said.acceptedRoot, said.cumulative), "its credits do not add up")
    tasks = before.credited | {one.task for one in promise.credits}
    return Agreement(replace(before.promise, voucher=voucher), credited, tasks)


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise InvalidInput(f"{otherwise}.")
