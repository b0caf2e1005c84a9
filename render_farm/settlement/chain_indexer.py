# SPDX-License-Identifier: GPL-3.0-or-later
"""The settler's way to the chain: opened when it is first needed, and read a batch of blocks at a time.

Synchronous: it runs in a thread.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from payments.chain.events import Batch, Cursor, next_batch
from payments.chain.market import Market
from payments.chain.rpc import Chain
from payments.messages.network import Network


@dataclass(frozen=True, slots=True)
class ChainBatch:
    """What was seen: events after a cursor, the chain's time, and operators' free stake."""

    batch: Batch
    time: int
    stakes: dict[str, int]


class ChainIndexer:
    """Reads the contracts of a network."""

    def __init__(self, url: str, network: Network) -> None:
        self._url = url
        self._network = network
        self._market: Market | None = None
        self._seen: tuple[Cursor, str, frozenset[str]] | None = None

    @property
    def market(self) -> Market:
        """The contracts, looked up once. Raises Unavailable, WrongChain."""
        if self._market is None:
            found = Market(Chain(self._url, self._network.chain_id), self._network)
            found.check()
            self._market = found
        return self._market

    def beginning(self) -> Cursor:
        """Before the first block that there may be something in."""
        return Cursor(max(-1, self._network.first_block - 1), "")

    def read_batch(self, cursor: Cursor, operators: Iterable[str]) -> ChainBatch:
        """What is new after `cursor`. Raises Unavailable, DeepReorganisation."""
        market, wanted = self.market, frozenset(operators)
        number, name, time = market.chain.latest()
        seen = (cursor, name, wanted)
        if seen == self._seen:
            # The same block, the same question: a chain at rest is asked one thing.
            return ChainBatch(Batch((), cursor), time, {})
        # Stake first: a job whose deposit is seen finds the stake of who sells known.
        stakes = {one.lower(): int(market.stake(one).free) for one in wanted}
        batch = next_batch(market.chain, market.interfaces(), cursor, self._network.confirmations)
        if batch.cursor == cursor and number - self._network.confirmations <= cursor.block:
            self._seen = seen
        return ChainBatch(batch, time, stakes)
