# SPDX-License-Identifier: GPL-3.0-or-later
"""Promises for a job's nodes: orders, raises, vouchers. What is decided is in `orders.py`."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from farm_protocol.ids import NodeId
from payments.promises import Promise
from render_farm.settlement import orders, stakes, vouchers
from render_farm.settlement.book import Book, Held
from render_farm.settlement.books import Books
from render_farm.settlement.knowledge import Knowledge
from render_farm.settlement.orders import Grown, Need, Seller
from render_farm.settlement.statements import ENDED
from render_farm.settlement.vouchers import Pen
from render_farm.store.money import Money, PaidJob, StandingOffer, StoredOrder

log = structlog.get_logger()

AUDITS = 3
"""Audits of a tile that caps make room for."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a job: its record, its book, its orders as the store has them, and who sells now."""

    facts: PaidJob
    book: Book
    pen: Pen
    standing: dict[str, StoredOrder]
    offers: Sequence[StandingOffer]

    @property
    def selling(self) -> frozenset[NodeId]:
        """The nodes that sell now."""
        return frozenset(offer.node for offer in self.offers)


class Promising:
    """Makes promises. Each is stored with what it lets a node do, in one step, before anybody sees it."""

    def __init__(
        self, money: Money, books: Books, knowledge: Knowledge, clock: Callable[[], float] = time.time
    ) -> None:
        self._money = money
        self._books = books
        self._knowledge = knowledge
        self._clock = clock

    async def take_on(self, look: Look) -> int:
        """Make the orders and raises that a job needs; returns how much its budget is short of."""
        need = need_of(look.facts)
        for held in tuple(look.book.held.values()):
            if held.node in look.selling and not self.is_stopped(look, held):
                await self._raise(look, need, held)
        await self._order(look, need)
        return self._missing(look, need)

    async def set_rooms(self, look: Look) -> None:
        """No more work under an agreement that the chain refuses, or that is closed or slashed."""
        for order in look.standing.values():
            held = look.book.held[order.agreement]
            wanted = self._room(look, held)
            if order.current and order.units_cap != wanted:
                await self._money.promise(look.book.job, held.node, held.promise, wanted)

    async def vouch(self, look: Look) -> None:
        """Sign a voucher for each agreement whose credits grew; say so when no more work comes."""
        over = look.facts.state in ENDED and look.facts.units_left == 0
        for held in tuple(look.book.held.values()):
            if look.book.escrow.is_closed(held.agreement):
                continue
            promise = held.promise
            if look.book.cumulative(held.agreement) > vouchers.vouched(promise):
                promise = await self._sign_vouchers(look, held)
            if over and not promise.ended:
                await self._promise(look, held, vouchers.ended(promise))

    def is_stopped(self, look: Look, held: Held) -> bool:
        """Whether nothing more is to be done under an agreement."""
        book, name = look.book, held.agreement
        return (
            book.escrow.is_closed(name)
            or book.escrow.slashed(name)
            or book.has_claim(name)
            or self._knowledge.is_in_trouble(book.job, name)
            or held.node in look.facts.excluded
        )

    async def _raise(self, look: Look, need: Need, held: Held) -> None:
        offer, book = held.promise.offer.message, look.book
        order = look.standing.get(held.agreement)
        grown = Grown(
            price=held.price,
            share=held.promise.terms.message.stakeShare,
            cap=held.cap,
            accepted=held.cap - book.ledger.room(held.agreement),
            used=orders.cost(order.units_used if order else 0, held.price),
            behind=stakes.behind(book, held),
            vouched=stakes.payable(book, held),
        )
        left = stakes.capacity_left(
            held.operator, offer.price, offer.capacity, offer.number, self._books.all()
        )
        budget = orders.fair(book.ledger.free(), self._rooms_at_work(look, held), held.cap - grown.used)
        cap = orders.raised(need, grown, budget, left, self._stake(held.operator))
        if cap is not None:
            promise = await asyncio.to_thread(look.pen.raised, held.promise, cap)
            await self._promise(look, held, promise)
            log.info("cap_raised", job=book.job, node=held.node, agreement=held.agreement, cap=cap)

    def _rooms_at_work(self, look: Look, own: Held) -> list[int]:
        """What is left of the caps of those nodes that work for the job, this one with them."""
        return [
            held.cap - self._used(look, held)
            for held in look.book.held.values()
            if held.agreement == own.agreement
            or (self._used(look, held) > 0 and held.node in look.selling and not self.is_stopped(look, held))
        ]

    async def _order(self, look: Look, need: Need) -> None:
        book = look.book
        taken = {held.node for held in book.held.values() if not book.escrow.is_closed(held.agreement)}
        out = taken | look.facts.excluded
        sellers = [self._seller(offer) for offer in look.offers if offer.node not in out]
        for cap in orders.first_caps(need, sellers, book.ledger.free(), len(taken), self._clock()):
            # Another node of the same operator may have taken the stake a moment ago.
            free = self._stake(cap.seller.operator)
            if stakes.most_open(free, need.stake_share, cap.task_cap) < cap.cap:
                continue
            node = NodeId(cap.seller.node)
            salt = sum(held.node == node for held in book.held.values())
            promise = await asyncio.to_thread(look.pen.order, book.escrow.number, look.facts.terms, cap, salt)
            held = Held(node, await self._money.is_own(node), cap.seller.operator, promise)
            await self._promise(look, held, promise)
            log.info("order_made", job=book.job, node=node, agreement=promise.agreement, cap=cap.cap)

    def _seller(self, offer: StandingOffer) -> Seller:
        said = offer.offer.message
        left = stakes.capacity_left(offer.seller, said.price, said.capacity, said.number, self._books.all())
        return Seller(offer.node, offer.seller, offer.offer, offer.digest, self._stake(offer.seller), left)

    def _stake(self, operator: str) -> int:
        return stakes.free_stake(operator, self._knowledge.stake(operator), self._books.all())

    def stake_wanted(self, look: Look) -> int:
        """The stake that would let a node begin, where none works for the job and all that sell lack it; else
        0.
        """
        need = need_of(look.facts)
        if look.facts.units_left == 0 or any(held.node in look.selling for held in look.book.held.values()):
            return 0
        sellers = [self._seller(offer) for offer in look.offers if offer.node not in look.facts.excluded]
        now = self._clock()
        return orders.stake_wanted(
            need, [one for one in sellers if not orders.fits(need, one.offer.message, now)]
        )

    def _missing(self, look: Look, need: Need) -> int:
        prices = [offer.offer.message.price for offer in look.offers]
        cheapest = min((price for price in prices if price <= need.price_cap), default=need.price_cap)
        rooms = [
            (held.cap - self._used(look, held), held.price)
            for held in look.book.held.values()
            if held.node in look.selling and not self.is_stopped(look, held)
        ]
        return orders.missing(need, rooms, look.book.ledger.free(), cheapest)

    def _used(self, look: Look, held: Held) -> int:
        order = look.standing.get(held.agreement)
        return orders.cost(order.units_used, held.price) if order else 0

    async def _sign_vouchers(self, look: Look, held: Held) -> Promise:
        promise = held.promise
        owed = look.book.credits(held.agreement)
        for newer in await asyncio.to_thread(look.pen.vouched, promise, owed):
            await self._promise(look, held, newer)
            promise = newer
        said = vouchers.vouched(promise)
        log.info(
            "voucher_signed", job=look.book.job, node=held.node, agreement=held.agreement, cumulative=said
        )
        return promise

    async def _promise(self, look: Look, held: Held, promise: Promise) -> None:
        held = replace(held, promise=promise)
        await self._money.promise(look.book.job, held.node, promise, self._room(look, held))
        look.book.promise(held)

    def _room(self, look: Look, held: Held) -> int:
        """How many units of work may be done under an agreement."""
        order = look.standing.get(held.agreement)
        lacks_stake = self._stake(held.operator) < 0
        if order is not None and (lacks_stake or self.is_stopped(look, held)):
            return min(order.units_cap, order.units_used)
        return orders.most_units(held.cap, held.price)


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
