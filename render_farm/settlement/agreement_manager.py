# SPDX-License-Identifier: GPL-3.0-or-later
"""Promises for a job's nodes: orders, raises, vouchers. What is decided is in `orders.py`."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from farm_protocol.ids import NodeId
from payments.messages.promises import Promise
from render_farm.settlement import orders, session_signer, stakes
from render_farm.settlement.chain_snapshot import ChainSnapshot
from render_farm.settlement.job_ledger import JobLedger
from render_farm.settlement.ledger_repository import LedgerRepository
from render_farm.settlement.orders import Grown, Need, Seller
from render_farm.settlement.session_signer import SessionSigner
from render_farm.settlement.statements import ENDED
from render_farm.store.money import Agreement, Money, PaidJob, StandingOffer

log = structlog.get_logger()

AUDITS = 3
"""Audits of a tile that caps make room for."""


@dataclass(frozen=True, slots=True)
class JobView:
    """One look at a job: its record, its ledger, and who sells now."""

    facts: PaidJob
    ledger: JobLedger
    signer: SessionSigner
    offers: Sequence[StandingOffer]

    @property
    def selling(self) -> frozenset[NodeId]:
        """The nodes that sell now."""
        return frozenset(offer.node for offer in self.offers)


class AgreementManager:
    """Makes promises. Each is stored with what it lets a node do, in one step, before anybody sees it."""

    def __init__(
        self,
        money: Money,
        ledgers: LedgerRepository,
        snapshot: ChainSnapshot,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._money = money
        self._ledgers = ledgers
        self._snapshot = snapshot
        self._clock = clock

    async def take_on(self, view: JobView) -> int:
        """Make the orders and raises that a job needs; returns how much its budget is short of."""
        need = need_of(view.facts)
        for held in tuple(view.ledger.held.values()):
            if held.node in view.selling and not self.is_stopped(view, held):
                await self._raise(view, need, held)
        await self._order(view, need)
        return self._missing(view, need)

    async def set_rooms(self, view: JobView) -> None:
        """No more work under an agreement that the chain refuses, or that is closed or slashed."""
        for held in tuple(view.ledger.held.values()):
            wanted = self._room(view, held)
            if held.current and held.units_cap != wanted:
                await self._money.promise(view.ledger.job, held.node, held.promise, wanted)

    async def vouch(self, view: JobView) -> None:
        """Sign a voucher for each agreement whose credits grew; say so when no more work comes."""
        over = view.facts.state in ENDED and view.facts.units_left == 0
        for held in tuple(view.ledger.held.values()):
            if held.chain.closed:
                continue
            promise = held.promise
            if view.ledger.cumulative(held.agreement) > promise.vouched:
                promise = await self._sign_vouchers(view, held)
            if over and not promise.ended:
                await self._promise(view, held, session_signer.ended(promise))

    def is_stopped(self, view: JobView, held: Agreement) -> bool:
        """Whether nothing more is to be done under an agreement."""
        return (
            held.chain.closed
            or held.chain.slashed
            or held.chain.claim is not None
            or self._snapshot.is_in_trouble(view.ledger.job, held.agreement)
            or held.node in view.facts.excluded
        )

    async def _raise(self, view: JobView, need: Need, held: Agreement) -> None:
        offer, ledger = held.promise.offer.message, view.ledger
        grown = Grown(
            price=held.price,
            share=held.promise.terms.message.stakeShare,
            cap=held.cap,
            accepted=held.cap - ledger.accounts.room(held.agreement),
            used=_used(held),
            behind=stakes.behind(held),
            vouched=stakes.payable(held),
        )
        left = stakes.capacity_left(
            held.operator, offer.price, offer.capacity, offer.number, self._ledgers.all()
        )
        budget = orders.fair(ledger.accounts.free(), self._rooms_at_work(view, held), held.cap - grown.used)
        cap = orders.raised(need, grown, budget, left, self._stake(held.operator))
        if cap is not None:
            promise = await asyncio.to_thread(view.signer.raised, held.promise, cap)
            await self._promise(view, held, promise)
            log.info("cap_raised", job=ledger.job, node=held.node, agreement=held.agreement, cap=cap)

    def _rooms_at_work(self, view: JobView, own: Agreement) -> list[int]:
        """What is left of the caps of those nodes that work for the job, this one with them."""
        return [
            held.cap - _used(held)
            for held in view.ledger.held.values()
            if held.agreement == own.agreement
            or (_used(held) > 0 and held.node in view.selling and not self.is_stopped(view, held))
        ]

    async def _order(self, view: JobView, need: Need) -> None:
        ledger = view.ledger
        taken = {held.node for held in ledger.held.values() if not held.chain.closed}
        out = taken | view.facts.excluded
        sellers = [self._seller(offer) for offer in view.offers if offer.node not in out]
        for cap in orders.first_caps(need, sellers, ledger.accounts.free(), len(taken), self._clock()):
            # Another node of the same operator may have taken the stake a moment ago.
            free = self._stake(cap.seller.operator)
            if stakes.most_open(free, need.stake_share, cap.task_cap) < cap.cap:
                continue
            node = NodeId(cap.seller.node)
            salt = sum(held.node == node for held in ledger.held.values())
            promise = await asyncio.to_thread(
                view.signer.order, ledger.escrow.number, view.facts.terms, cap, salt
            )
            own = await self._money.is_own(node)
            held = Agreement(node, promise, own=own, operator=cap.seller.operator)
            await self._promise(view, held, promise)
            log.info("order_made", job=ledger.job, node=node, agreement=promise.agreement, cap=cap.cap)

    def _seller(self, offer: StandingOffer) -> Seller:
        said = offer.offer.message
        left = stakes.capacity_left(offer.seller, said.price, said.capacity, said.number, self._ledgers.all())
        return Seller(offer.node, offer.seller, offer.offer, offer.digest, self._stake(offer.seller), left)

    def _stake(self, operator: str) -> int:
        return stakes.free_stake(operator, self._snapshot.stake(operator), self._ledgers.all())

    def stake_wanted(self, view: JobView) -> int:
        """The stake that would let a node begin, where none works for the job and all that sell lack it; else
        0.
        """
        need = need_of(view.facts)
        if view.facts.units_left == 0 or any(held.node in view.selling for held in view.ledger.held.values()):
            return 0
        sellers = [self._seller(offer) for offer in view.offers if offer.node not in view.facts.excluded]
        now = self._clock()
        return orders.stake_wanted(
            need, [one for one in sellers if not orders.fits(need, one.offer.message, now)]
        )

    def _missing(self, view: JobView, need: Need) -> int:
        prices = [offer.offer.message.price for offer in view.offers]
        cheapest = min((price for price in prices if price <= need.price_cap), default=need.price_cap)
        rooms = [
            (held.cap - _used(held), held.price)
            for held in view.ledger.held.values()
            if held.node in view.selling and not self.is_stopped(view, held)
        ]
        return orders.missing(need, rooms, view.ledger.accounts.free(), cheapest)

    async def _sign_vouchers(self, view: JobView, held: Agreement) -> Promise:
        promise = held.promise
        owed = view.ledger.credits(held.agreement)
        for newer in await asyncio.to_thread(view.signer.vouched, promise, owed):
            await self._promise(view, held, newer)
            promise = newer
        log.info(
            "voucher_signed",
            job=view.ledger.job,
            node=held.node,
            agreement=held.agreement,
            cumulative=promise.vouched,
        )
        return promise

    async def _promise(self, view: JobView, held: Agreement, promise: Promise) -> None:
        held = replace(held, promise=promise)
        await self._money.promise(view.ledger.job, held.node, promise, self._room(view, held))
        view.ledger.promise(held)

    def _room(self, view: JobView, held: Agreement) -> int:
        """How many units of work may be done under an agreement."""
        lacks_stake = self._stake(held.operator) < 0
        if held.current and (lacks_stake or self.is_stopped(view, held)):
            return min(held.units_cap, held.units_used)
        return orders.most_units(held.cap, held.price)


def _used(held: Agreement) -> int:
    """What the work costs that was done under an agreement, or is being done."""
    return orders.cost(held.units_used, held.price)


def need_of(facts: PaidJob) -> Need:
    """What a job still needs."""
    terms = facts.terms.message
    tiles = max(1, facts.tiles)
    a_frame = -(-tiles // max(1, facts.frames))
    return Need(
        units_left=facts.units_left,
        tasks_left=-(-facts.units_left * tiles // max(1, facts.units)),
        dearest=facts.largest_units,
        frame=facts.largest_units * a_frame,
        tiles=a_frame,
        # A tile may be audited again, by another auditor or for the blocks that fit least.
        audit_ppm=AUDITS * facts.audit_ppm,
        price_cap=terms.priceCap,
        stake_share=terms.stakeShare,
        farm=terms.farm,
        device_class=facts.device_class or "",
    )
