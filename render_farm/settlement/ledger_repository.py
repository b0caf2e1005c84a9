# SPDX-License-Identifier: GPL-3.0-or-later
"""All open ledgers, as the store's entries make them."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from farm_protocol.fields import convert
from farm_protocol.ids import JobId
from payments.chain.chain_events import AnyEvent
from payments.messages import signing
from payments.messages.network import Network
from payments.messages.promises import Offer, Signed
from render_farm.settlement.farm_entries import FarmEntry
from render_farm.settlement.job_ledger import JobLedger
from render_farm.store.money import Agreement, Money


class LedgerRepository:
    """Each is read from the store when it is first asked for, and goes on from there. `lock` is held while
    one is read or written, so that farm and chain are taken in one after the other.
    """

    def __init__(self, money: Money, network: Network) -> None:
        self._money = money
        self._network = network
        self._ledgers: dict[JobId, JobLedger] = {}
        self._owns: dict[str, bool] = {}
        self.lock = asyncio.Lock()

    def all(self) -> Iterable[JobLedger]:
        """The ledgers that are open."""
        return tuple(self._ledgers.values())

    def known(self, job: JobId) -> JobLedger | None:
        """A ledger that is open."""
        return self._ledgers.get(job)

    def forget(self) -> None:
        """Close all: what the store has may be more than what was taken in."""
        self._ledgers.clear()

    def close(self, job: JobId) -> None:
        """Close a job's ledger: nothing more comes."""
        self._ledgers.pop(job, None)

    async def read_all(self) -> None:
        """Open the ledgers of all jobs whose money is not where it belongs."""
        for job in await self._money.paid_jobs():
            if job not in self._ledgers:
                await self.read(job)

    async def read(self, job: JobId) -> JobLedger:
        """A job's ledger with all that the farm wrote in it so far, and its agreements as they stand."""
        ledger = self._ledgers.get(job) or JobLedger(job)
        # Entries first: an order is there before any work under it is accepted.
        chain = [] if ledger.chain_entries else await self._chain_entries(job)
        farm = await self._farm_entries(job, ledger.farm_entries)
        for found in await self._money.orders(job):
            ledger.promise(await self._known(found))
        ledger.replay(farm, chain)
        self._ledgers[job] = ledger
        return ledger

    async def _farm_entries(self, job: JobId, first: int) -> list[FarmEntry]:
        return convert(await self._money.entries(job, first), list[FarmEntry])

    async def _chain_entries(self, job: JobId) -> list[AnyEvent]:
        return convert(await self._money.chain_entries(job), list[AnyEvent])

    async def _known(self, found: Agreement) -> Agreement:
        """With whose node it is."""
        if found.node not in self._owns:
            self._owns[found.node] = await self._money.is_own(found.node)
        return replace(
            found, own=self._owns[found.node], operator=seller_of(found.promise.offer, self._network)
        )


@lru_cache(maxsize=4096)
def seller_of(offer: Signed[Offer], network: Network) -> str:
    """The wallet that signed an offer."""
    return signing.signer(offer.message, network, offer.signature)
