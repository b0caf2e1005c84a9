# SPDX-License-Identifier: GPL-3.0-or-later
"""Last vouchers wait a moment for their operators' releases: together they cost a fifth less gas."""

from collections import Counter
from collections.abc import Sequence
from math import inf

from render_farm.settlement.errands import Errand, Kind

RELEASE_SECONDS = 3.0
"""A node hears at once that no more work comes, and answers with its release."""


class Patience:
    """Remembers since when vouchers wait."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def due(self, listed: Sequence[Errand], now: float) -> list[Errand]:
        """What is to be done now. Only a voucher that is all there is to do for its agreement waits: what
        follows it in the list may be a close, after which nothing is paid.
        """
        errands = Counter((one.job, one.agreement) for one in listed)
        waiting = {one.name for one in listed if _ends(one) and errands[one.job, one.agreement] == 1}
        self._since = {name: self._since.get(name, now) for name in waiting}
        return [one for one in listed if now - self._since.get(one.name, -inf) >= RELEASE_SECONDS]


def _ends(one: Errand) -> bool:
    promise = one.promise
    return one.kind is Kind.REDEEM and promise is not None and promise.ended
