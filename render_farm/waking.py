# SPDX-License-Identifier: GPL-3.0-or-later
"""Hears from the store what the process that keeps the books did, and wakes those who wait for it."""

import asyncio
from collections import defaultdict

from farm_protocol.errors import Unavailable
from farm_protocol.ids import NodeId
from render_farm.dispatch import Bell
from render_farm.store.money import Money

LISTENS_SECONDS = 7.0
STORE_RETRY_SECONDS = 0.5


class Waking:
    """Rings for nodes that wait for work or for promises. Nothing depends on a ring that is missed: all who
    wait look again by themselves.
    """

    def __init__(self, money: Money, work: Bell) -> None:
        self._money = money
        self._work = work
        self._promises: defaultdict[NodeId, Bell] = defaultdict(Bell)

    def promised(self, node: NodeId) -> asyncio.Event:
        """The event of a node's next promise; take it before looking."""
        return self._promises[node].next()

    def close(self) -> None:
        """Wake everybody."""
        for bell in self._promises.values():
            bell.ring()

    async def run(self) -> None:
        """Listen until cancelled."""
        last = ""
        while True:
            try:
                last = await self._listen(last)
            except Unavailable:
                await asyncio.sleep(STORE_RETRY_SECONDS)

    async def _listen(self, last: str) -> str:
        last, nodes = await self._money.work_changed(last, LISTENS_SECONDS)
        for node in nodes:
            if node in self._promises:
                self._promises[node].ring()
        if nodes:
            self._work.ring()
        return last
