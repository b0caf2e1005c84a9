# SPDX-License-Identifier: GPL-3.0-or-later
"""A look at the chain, where the node has one: whether what a farm promises is backed there.

Signatures alone do not tell it: a farm can sign orders and vouchers for a job without a deposit, for ever.
"""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from farm_protocol.errors import FarmError, Unavailable
from payments.network import Network
from payments.promises import Promise

if TYPE_CHECKING:
    from payments.market import Market

GOOD_SECONDS = 600.0
"""How long a good answer of the chain is believed."""
BAD_SECONDS = 10.0
"""The same of a bad one: the deposit may be on its way to this node's chain."""
WHOLE = 10_000
"""A share of one, in ten-thousandths, as in the contract."""
NOT_THERE, OPEN = 0, 1
"""States of agreements (payments/market_records.py)."""
NEVER_REVOKED = (1 << 64) - 1

log = structlog.get_logger()


class Witness:
    """Asks `look` why a promise is worth nothing ('' where it is good), not more often than needed. A chain
    that is away has no objection: rendering never waits for it.
    """

    def __init__(self, look: Callable[[Promise], str], clock: Callable[[], float] = time.monotonic) -> None:
        self._look, self._clock = look, clock
        self._seen: dict[str, tuple[float, str]] = {}

    def objection(self, promise: Promise) -> str:
        """Why nothing is worked on under this agreement; '' where it is."""
        until, said = self._seen.get(promise.agreement, (0.0, ""))
        if self._clock() >= until:
            said = self._asked(promise)
            until = self._clock() + (BAD_SECONDS if said else GOOD_SECONDS)
            self._seen[promise.agreement] = (until, said)
        return said

    def _asked(self, promise: Promise) -> str:
        try:
            return self._look(promise)
        except Unavailable as error:
            log.warning("chain_not_asked", job=promise.job, reason=error.sentence)
            return ""
        except FarmError as error:
            return error.sentence


def chain_witness(url: str, network: Network, operator: str) -> Witness:
    """One that asks the chain at `url`, for the wallet `operator`."""
    found: list[Market] = []

    def look(promise: Promise) -> str:
        if not found:
            found.append(_market(url, network))
        return backing(found[0], operator, promise)

    return Witness(look)


def backing(market: "Market", operator: str, promise: Promise) -> str:
    """Why the chain would not pay for an agreement; '' where it would."""
    terms, order = promise.terms.message, promise.order.message
    if not order.job or market.number_of(terms.farm, promise.job) != order.job:
        return "The job that the farm promises pay for is not on the chain."
    job, agreement = market.job(order.job), market.agreement(promise.agreement)
    is_new = agreement.state == NOT_THERE
    like_terms = job.price_cap == terms.priceCap and job.stake_share == terms.stakeShare
    doubts = {
        "The job was opened with other terms than the farm shows.": not like_terms,
        "The job is over on the chain.": job.deadline <= market.chain.time(),
        "The key that signs for the job is not its key on the chain, or not any more.": (
            market.session(order.job, terms.sessionKey) != NEVER_REVOKED
        ),
        "The agreement is closed on the chain, or under a claim.": not is_new and agreement.state != OPEN,
        "The job's budget has no room for the agreement.": is_new and market.available(order.job) < order.cap,
        "There is too little free stake for the agreement: `gpu-worker stake` adds to it.": (
            is_new and market.stake(operator).free * WHOLE < order.cap * terms.stakeShare
        ),
    }
    return next((said for said, holds in doubts.items() if holds), "")


def _market(url: str, network: Network) -> "Market":
    # web3 takes seconds to load, and what it loads raises Python's recursion limit beyond what a thread's
    # stack holds.
    limit = sys.getrecursionlimit()
    from payments.chain import Chain  # noqa: PLC0415
    from payments.market import Market  # noqa: PLC0415

    sys.setrecursionlimit(limit)
    market = Market(Chain(url, network.chain_id), network)
    market.check()
    return market
