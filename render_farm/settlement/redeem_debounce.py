# SPDX-License-Identifier: GPL-3.0-or-later
"""Last vouchers wait a moment for their operators' releases: together they cost a fifth less gas."""

from collections import Counter
from collections.abc import Sequence
from math import inf

from render_farm.settlement.chain_actions import ActionKind, ChainAction

RELEASE_SECONDS = 3.0
"""A node hears at once that no more work comes, and answers with its release."""


class RedeemDebounce:
    """Remembers since when vouchers wait."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def due(self, listed: Sequence[ChainAction], now: float) -> list[ChainAction]:
        """What is to be done now. Only a voucher that is all there is to do for its agreement waits: what
        follows it in the list may be a close, after which nothing is paid.
        """
        actions = Counter((one.job, one.agreement) for one in listed)
        waiting = {one.name for one in listed if _ends(one) and actions[one.job, one.agreement] == 1}
        self._since = {name: self._since.get(name, now) for name in waiting}
        return [one for one in listed if now - self._since.get(one.name, -inf) >= RELEASE_SECONDS]


def _ends(one: ChainAction) -> bool:
    promise = one.promise
    return one.kind is ActionKind.REDEEM and promise is not None and promise.ended
