# SPDX-License-Identifier: GPL-3.0-or-later
"""What operators had at stake when the chain was last asked: promises made while it is away rest on it."""

from collections.abc import Mapping

from render_farm.store import keys
from render_farm.store.connection import Connection


class Stakes:
    """Free stake in the token's smallest unit, by the wallet's address in small letters."""

    def __init__(self, connection: Connection) -> None:
        self._store = connection

    async def all(self) -> dict[str, int]:
        """All that was ever seen."""
        found = await self._store.hash(keys.STAKES)
        return {wallet: int(amount) for wallet, amount in found.items()}

    async def save(self, stakes: Mapping[str, int]) -> None:
        """Keep what was seen now."""
        if stakes:
            # As text: amounts are beyond what a number in the store holds.
            pairs = [part for wallet, amount in stakes.items() for part in (wallet, str(amount))]
            await self._store.keep("HSET", keys.STAKES, *pairs)
