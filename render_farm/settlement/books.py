# SPDX-License-Identifier: GPL-3.0-or-later
"""All open books, as the store's entries make them."""

import asyncio
from collections.abc import Iterable, Sequence
from functools import lru_cache

from farm_protocol.fields import convert
from farm_protocol.ids import JobId
from payments import signing
from payments.network import Network
from payments.promises import SignedOffer
from render_farm.settlement.book import Book, Held
from render_farm.settlement.chain_entries import ChainEntry, FarmEntry
from render_farm.store.money import Money, StoredOrder


class Books:
    """Each is read from the store when it is first asked for, and goes on from there. `lock` is held while
    one is read or written, so that farm and chain are taken in one after the other.
    """

    def __init__(self, money: Money, network: Network) -> None:
        self._money = money
        self._network = network
        self._books: dict[JobId, Book] = {}
        self._owns: dict[str, bool] = {}
        self.lock = asyncio.Lock()

    def all(self) -> Iterable[Book]:
        """The books that are open."""
        return tuple(self._books.values())

    def known(self, job: JobId) -> Book | None:
        """A book that is open."""
        return self._books.get(job)

    def forget(self) -> None:
        """Close all: what the store has may be more than what was taken in."""
        self._books.clear()

    def close(self, job: JobId) -> None:
        """Close a job's book: nothing more comes."""
        self._books.pop(job, None)

    async def read_all(self) -> None:
        """Open the books of all jobs whose money is not where it belongs."""
        for job in await self._money.paid_jobs():
            if job not in self._books:
                await self.read(job)

    async def read(self, job: JobId) -> tuple[Book, list[StoredOrder]]:
        """A job's book with all that the farm has written in it so far, and its orders as they stand."""
        book = self._books.get(job) or Book(job)
        # Entries first: an order is there before any work under it is accepted.
        chain = [] if book.chain_entries else await self._chain_entries(job)
        farm = await self._farm_entries(job, book.farm_entries)
        orders = await self._money.orders(job)
        for order in orders:
            held = await self._held(order)
            if book.held.get(held.agreement) != held:
                book.promise(held)
        book.replay(farm, chain)
        self._books[job] = book
        return book, orders

    def job_of(self, agreement: str) -> JobId | None:
        """Which job an agreement is of."""
        return next((one.job for one in self._books.values() if _has(one, agreement)), None)

    async def _farm_entries(self, job: JobId, first: int) -> list[FarmEntry]:
        return convert(await self._money.entries(job, first), list[FarmEntry])

    async def _chain_entries(self, job: JobId) -> Sequence[ChainEntry]:
        return convert(await self._money.chain_entries(job), list[ChainEntry])

    async def _held(self, order: StoredOrder) -> Held:
        if order.node not in self._owns:
            self._owns[order.node] = await self._money.is_own(order.node)
        seller = seller_of(order.promise.offer, self._network)
        return Held(order.node, self._owns[order.node], seller, order.promise)


def _has(book: Book, agreement: str) -> bool:
    return agreement in book.escrow.agreements or agreement in book.held


@lru_cache(maxsize=4096)
def seller_of(offer: SignedOffer, network: Network) -> str:
    """The wallet that signed an offer."""
    return signing.signer(offer.message, network, offer.signature)
