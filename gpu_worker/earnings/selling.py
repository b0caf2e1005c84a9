# SPDX-License-Identifier: GPL-3.0-or-later
"""Selling: the node's offer at the farm, and a thread that hears what the farm promises."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from farm_protocol.documents import Attestation
from farm_protocol.errors import Conflict, FarmError, InvalidInput, Unavailable
from farm_protocol.ids import DeviceClass, JobId
from farm_protocol.node_answers import SubmissionReceipt
from farm_protocol.records import Lease
from farm_protocol.retry import backoff
from gpu_worker.earnings.agreements import Agreement, BadPromise, Seller
from gpu_worker.earnings.earnings_journal import FOLDER, EarningsJournal, Work
from gpu_worker.earnings.funding_verifier import FundingVerifier
from payments.messages import signing
from payments.messages.network import Network
from payments.messages.promises import Offer, Promises, Release, Signed

STAKE_SHARE = 1_000_000
"""The most stake an offer puts up for what may still be earned: a hundred times as much, in ten-thousandths.
What a job asks for stands in its terms."""
WAIT_SECONDS = 20.0
LONGEST_WAIT = 30.0
"""Seconds between two tries while the farm is away."""
BREATH_SECONDS = 0.2
PROMISE_SECONDS = 5.0
"""How long a lease may be ahead of the promise it is under."""
RENEW_AT = 0.5
"""The part of an offer's life after which another one is made."""
TOLERANCE = 10
"""Of what a voucher says, in hundredths: an agreement that ended is given up where no more than that is
missing for work the farm gave receipts for (a frame that was cancelled, a tile nobody could judge)."""

log = structlog.get_logger()


class OtherNetwork(Conflict):
    """The farm takes payments elsewhere than this node's operator means."""

    code = "other_network"


@dataclass(frozen=True, slots=True, repr=False)
class Operator:
    """Whoever sells: a wallet's key (32 bytes, shown to nobody) and what it asks. `price` of a render unit,
    `capacity` in render units, `days` that an offer holds.
    """

    key: bytes
    address: str
    payee: str
    price: int
    capacity: int
    days: float
    network: Network


class Market(Protocol):
    """The coordinator, as selling needs it."""

    def network(self) -> Network | None:
        """Where the farm takes payments."""

    def offer(self, offer: Signed[Offer]) -> str:
        """Sell from now on; the offer's struct hash."""

    def withdraw_offer(self) -> None:
        """Sell no longer."""

    def promises(self, after: str, wait: float) -> Promises:
        """What was promised since `after`."""

    def release(self, release: Signed[Release]) -> None:
        """Give up what an agreement could still earn."""


class Selling:
    """Keeps an offer at the farm and hears promises, until `stop`."""

    def __init__(
        self,
        market: Market,
        operator: Operator,
        journal: EarningsJournal,
        node: str,
        farm: str,
        device_class: DeviceClass,
        clock: Callable[[], float] = time.time,
        own: bool = True,
        verifier: FundingVerifier | None = None,
    ) -> None:
        self._market, self._operator, self._journal = market, operator, journal
        self._node, self._farm, self._device_class = node, farm, device_class
        self._clock, self._own, self._verifier = clock, own, verifier
        self._stop = threading.Event()
        self._renew_at = 0.0
        self._released: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="selling", daemon=True)

    def start(self) -> None:
        """Make the offer, and begin to listen. Raises OtherNetwork, FarmError; a farm that is away is waited
        for meanwhile.
        """
        try:
            self._make_offer()
        except Unavailable as error:
            log.warning("offer_waits", reason=error.sentence)
        self._thread.start()

    def stop(self) -> None:
        """Take the offer back and stop listening; what was agreed stays agreed."""
        self._stop.set()
        try:
            self._market.withdraw_offer()
        except FarmError as error:
            log.info("offer_not_withdrawn", reason=error.sentence)

    # --- what the agent asks --------------------------------------------------------------------

    def refused(self) -> tuple[JobId, ...]:
        """Jobs for which nothing more is done before their vouchers come."""
        return self._journal.refused()

    def objection(self, lease: Lease) -> str:
        """Why a lease is not worked on; '' where it may be."""
        if not lease.agreement:
            return "" if self._own else "This node sells its work, and the lease is under no agreement."
        held = self._journal.agreement(lease, PROMISE_SECONDS)
        if held is None:
            return "The farm has not promised this node anything for this job."
        amount = held.earns(lease.units)
        if not 0 < amount <= held.promise.order.message.taskCap:
            return "The task earns nothing, or more than its agreement pays for one."
        if not held.has_room(lease.units):
            return "The agreement's cap has no room for the task."
        return self._verifier.objection(held.promise) if self._verifier else ""

    def earned(self, lease: Lease, message: Attestation, signature: str, receipt: SubmissionReceipt) -> None:
        """Keep the attested `message` of a `lease`, its `signature`, the farm's `receipt`, and what they
        earn.
        """
        held = self._journal.agreement(lease, 0.0)
        if held is None:
            return
        work = Work(
            agreement=lease.agreement,
            units=lease.units,
            amount=held.earns(lease.units),
            attestation=message,
            signature=signature,
            submission=receipt.submission,
            receipt_signature=receipt.signature,
            leaf=receipt.leaf,
        )
        try:
            self._journal.add_work(lease, work)
        except FarmError as error:
            # The farm has the result, and receipts.jsonl its receipt.
            log.error("work_not_kept", task=lease.task.id, reason=error.sentence)

    # --- the offer ------------------------------------------------------------------------------

    def _make_offer(self) -> None:
        """Have an offer at the farm that holds for a while yet."""
        check_network(self._market.network(), self._operator.network)
        # A new number for every start would sell the same capacity again each time.
        digest, signed = self._standing() or self._new_offer()
        if self._market.offer(signed) != digest:
            raise InvalidInput("The farm took another offer than this node made.")
        offer = signed.message
        self._renew_at = offer.expiry - self._life * RENEW_AT
        log.info("offer_made", price=str(offer.price), operator=self._operator.address, number=offer.number)

    @property
    def _life(self) -> float:
        return self._operator.days * 86_400

    def _standing(self) -> tuple[str, Signed[Offer]] | None:
        """The newest offer that says what a new one would, and is not old."""
        old = self._clock() + self._life * RENEW_AT
        newest = sorted(self._journal.offers.items(), key=lambda one: -one[1].message.number)
        for digest, signed in newest:
            offer = signed.message
            if offer == self._offer(offer.expiry, offer.number) and self._is_mine(signed):
                return (digest, signed) if offer.expiry > old else None
        return None

    def _is_mine(self, signed: Signed[Offer]) -> bool:
        who = signing.signer(signed.message, self._operator.network, signed.signature)
        return who == self._operator.address

    def _new_offer(self) -> tuple[str, Signed[Offer]]:
        offer = self._offer(int(self._clock() + self._life), self._journal.next_number())
        signed = signing.signed(offer, self._operator.network, self._operator.key)
        digest = signing.struct_hash(offer).hex()
        self._journal.add_offer(digest, signed)
        return digest, signed

    def _offer(self, expiry: int, number: int) -> Offer:
        operator = self._operator
        return Offer(
            farm=self._farm,
            node=self._node,
            payee=operator.payee,
            deviceClass=self._device_class,
            price=operator.price,
            capacity=operator.capacity,
            stakeShare=STAKE_SHARE,
            expiry=expiry,
            number=number,
        )

    # --- listening ------------------------------------------------------------------------------

    def _run(self) -> None:
        failures = 0
        self._release_ended()
        while not self._stop.is_set():
            try:
                if self._clock() >= self._renew_at:
                    self._make_offer()
                if not self._hear():
                    # Whatever the farm answers, and however fast.
                    self._stop.wait(BREATH_SECONDS)
                failures = 0
            except Exception as error:  # a node that hears no vouchers any more would work for nothing
                failures += 1
                if failures == 1 or not isinstance(error, FarmError):
                    log.warning("promises_not_heard", reason=str(error))
                self._stop.wait(backoff(failures, LONGEST_WAIT))

    def _hear(self) -> bool:
        """Take what the farm promised since the last time; whether it was anything."""
        cursor = self._journal.cursor()
        said = self._market.promises(cursor, WAIT_SECONDS)
        seller = Seller(self._operator.network, self._farm, self._operator.address, self._good_offers())
        for promise in said.promises:
            try:
                found = self._journal.take(promise, seller)
            except BadPromise as error:
                # The rest may be good; nothing is worked on under this one.
                log.warning("promise_refused", job=promise.job[:40], reason=error.sentence)
                continue
            log.info("promise_taken", job=promise.job, cap=str(found.cap), vouched=str(found.vouched))
            self._release(found)
        if said.last != cursor:
            self._journal.set_cursor(said.last)
        return said.last != cursor

    def _good_offers(self) -> dict[str, Signed[Offer]]:
        """The offers that are meant still: one that was cheaper is not worked under any more."""
        return {
            digest: signed
            for digest, signed in self._journal.offers.items()
            if signed.message.price >= self._operator.price and signed.message.payee == self._operator.payee
        }

    def _release_ended(self) -> None:
        for journal in tuple(self._journal.jobs.values()):
            for agreement in tuple(journal.agreements.values()):
                self._release(agreement)

    def _release(self, agreement: Agreement) -> None:
        """Give up the rest of an agreement that ended, unless too much of it is not paid for."""
        promise = agreement.promise
        over = promise.terms.message.deadline < self._clock()
        if not promise.ended or over or promise.agreement in self._released:
            return
        unpaid = self._journal.jobs[promise.job].unpaid(promise.agreement)
        missing = sum(work.amount for work in unpaid)
        if missing * 100 > agreement.vouched * TOLERANCE:
            log.warning(
                "agreement_kept",
                job=promise.job,
                tasks=len(unpaid),
                consequence="work with receipts has no voucher: `gpu-worker claim` claims it",
            )
            return
        release = Release(promise.agreement, agreement.vouched)
        try:
            self._market.release(signing.signed(release, self._operator.network, self._operator.key))
            self._released.add(promise.agreement)
            log.info("agreement_released", job=promise.job, paid=str(agreement.vouched))
        except FarmError as error:
            log.warning("agreement_not_released", job=promise.job, reason=error.sentence)


def stop_selling(market: Market, state: Path) -> None:
    """Take back what a node offered that sold before, and was killed."""
    if (state / FOLDER).exists():
        try:
            market.withdraw_offer()
        except FarmError as error:
            log.warning("offer_not_withdrawn", reason=error.sentence)


def check_network(theirs: Network | None, mine: Network) -> None:
    """Raises OtherNetwork unless the farm's contracts are those that the operator named."""
    if theirs is None:
        raise OtherNetwork("This farm takes no payments: run the node without --price, or at another farm.")
    for what in ("chain_id", "market", "vault", "disputes", "token"):
        said, named = str(getattr(theirs, what)), str(getattr(mine, what))
        if said.lower() != named.lower():
            raise OtherNetwork(f"The farm's {what} is {said}, and not {named} as the --chain file says.")
