# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the farm's time has come, for all who keep things by it."""

from render_farm.store import keys
from render_farm.store.calls import Notice
from render_farm.store.connection import Connection


class Clocks:
    """The store's note of the farm's time, in seconds since the epoch."""

    def __init__(self, connection: Connection) -> None:
        self._store = connection

    async def reached(self) -> float:
        """The time that a coordinator wrote last, 0 before any did."""
        return float(await self._store.do("GET", keys.CLOCK) or 0)

    async def keep(self, now: float) -> None:
        """Write the time down."""
        await self._store.keep("SET", keys.CLOCK, repr(now))

    async def tell(self, sentence: str) -> None:
        """Tell all jobs that are worked on."""
        await self._store.call(Notice(sentence))
