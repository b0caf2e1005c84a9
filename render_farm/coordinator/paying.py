# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job must bring to be a paid one, and what it starts with: its terms, and what its tiles count as."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import groupby
from typing import Protocol

from farm_protocol.errors import InvalidInput, NotFound
from farm_protocol.facts import SceneFacts
from farm_protocol.fields import Tile
from farm_protocol.ids import JobId, OwnerId, TaskId
from farm_protocol.records import JobSpec, Task, TaskKind
from frame_splitter.split import fingerprint
from payments.accounting import pricing
from payments.messages.network import Network
from payments.messages.quotes import Quote, QuoteState
from payments.messages.statements import NOBODY, Payment
from render_farm.coordinator.offers import NoChain
from render_farm.policy import payment_terms
from render_farm.policy.verification_rules import Arbiters, JobRules, Rules
from render_farm.store.new_jobs import NewJob, NewMoney
from render_farm.store.quotes import StoredQuote
from verification.audit.sampling import AuditPolicy

MOST_CAP = 1 << 96
MOST_BUDGET = 1 << 128
"""What the contract holds of a price and of a deposit."""
MOST_TILES = payment_terms.MOST_CLAIM_TASKS // 2
"""Of a frame: a node that does all of it gets its voucher before it has to stop without one."""
MOST_UNITS = 1 << 53
"""What the store's scripts can count exactly."""


class NoQuote(InvalidInput):
    """The quote is not ready, or for another job."""

    code = "no_quote"


class BelowQuote(InvalidInput):
    """The budget is less than what the job will probably cost."""

    code = "below_quote"


class Quotes(Protocol):
    """Where quotes are."""

    async def get(self, job: JobId) -> StoredQuote | None:
        """A quote, whoever's it is, or None."""


class Cashier:
    """Takes payments for jobs. `network` is None at a farm without a chain; `arbiters` None: the farm."""

    def __init__(
        self,
        quotes: Quotes,
        rules: Rules,
        network: Network | None,
        arbiters: Arbiters | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._quotes = quotes
        self._rules = rules
        self._network = network
        self._arbiters = arbiters or Arbiters((rules.address,), 1)
        self._clock = clock

    async def quote(self, owner: OwnerId, payment: Payment, spec: JobSpec, facts: SceneFacts) -> Quote:
        """Quote of the `owner`'s that a `payment` names, once it is for this very work (`spec` and `facts`)
        and all else is as it must be.

        Raises NoChain, NoQuote, BelowQuote, NotFound, InvalidInput.
        """
        if self._network is None:
            raise NoChain
        _check(payment, self._network, self._clock())
        # An id that is none could reach other keys of the store.
        found = await self._quotes.get(payment.quote) if payment.quote.isalnum() else None
        if found is None or found.owner != owner:
            raise NotFound(f"You have no quote '{payment.quote}': ask for one first.")
        quote = found.made
        if quote is None or quote.state is not QuoteState.READY:
            raise NoQuote(f"Quote '{payment.quote}' is not ready: wait until it has figures.")
        if found.fingerprint != fingerprint(spec) or found.facts != replace(facts, assets=()):
            raise NoQuote(f"Quote '{payment.quote}' is for another scene or other settings than this job's.")
        self._check_budget(payment, quote, self._network)
        return quote

    def _check_budget(self, payment: Payment, quote: Quote, network: Network) -> None:
        needed = pricing.reward(quote.units.p50, payment.price_cap)
        if payment.budget < needed:
            raise BelowQuote(
                f"The job will probably take {quote.units.p50 / pricing.MICRO:.3g} render units, which cost "
                f"{needed} {network.symbol} (in its smallest unit) at the price cap: the budget of "
                f"{payment.budget} is {needed - payment.budget} short."
            )

    def money(self, payment: Payment, quote: Quote, new: NewJob) -> NewMoney:
        """What a paid job starts with."""
        assert self._network is not None
        share = audit_share(self._rules.policy, new.settings.samples)
        units = tile_units(new.tasks, new.area, quote.units_of())
        if sum(units.values()) > MOST_UNITS:
            raise InvalidInput("The job is more work than one job can hold: make several of it.")
        work = payment_terms.terms_hash(new.spec.scene, new.settings, payment.price_cap, self._rules.policy)
        signed = payment_terms.make(
            new.job, payment, work, self._rules, self._network, self._arbiters, self._clock()
        )
        return NewMoney(
            payment=payment,
            terms=signed,
            units=units,
            audit_units={task: pricing.audit_units(count, share) for task, count in units.items()},
            audit_ppm=share,
            rules=JobRules(self._rules.policy, self._rules.rates),
            symbol=self._network.symbol,
            decimals=self._network.decimals,
        )


def audit_share(policy: AuditPolicy, samples: int) -> int:
    """What an audit counts as, in millionths of its tile."""
    return pricing.audit_share(policy.share, policy.sparse_samples, samples)


def tile_units(tasks: tuple[Task, ...], area: Tile, frames: Mapping[int, int]) -> dict[TaskId, int]:
    """What each tile counts as: its part of its frame, by the pixels it renders, overscan included."""
    tiles = [task for task in tasks if task.kind is TaskKind.RENDER]
    units: dict[TaskId, int] = {}
    for frame, of_frame in groupby(tiles, key=lambda task: task.frame):
        some = list(of_frame)
        if len(some) > MOST_TILES:
            raise InvalidInput(f"A frame that is paid for has at most {MOST_TILES} tiles, not {len(some)}.")
        shares = pricing.tile_units(frames[frame], [_rendered(task, area) for task in some])
        units |= {task.id: share for task, share in zip(some, shares, strict=True)}
    return units


def _rendered(task: Task, area: Tile) -> int:
    tile, more = task.tile, task.overscan
    width = min(tile.x1 + more, area.x1) - max(tile.x0 - more, area.x0)
    height = min(tile.y1 + more, area.y1) - max(tile.y0 - more, area.y0)
    return width * height


def _check(payment: Payment, network: Network, now: float) -> None:
    if not 0 < payment.budget < MOST_BUDGET or not 0 < payment.price_cap < MOST_CAP:
        raise InvalidInput("The budget and the price cap must be above 0, and amounts the contract can hold.")
    for name, address in (("client", payment.client), ("refund_to", payment.refund_to)):
        if address.lower() in {NOBODY, network.market.lower(), network.vault.lower(), network.token.lower()}:
            raise InvalidInput(f"'{name}' is {address}: nobody could take money back there.")
    if payment.deadline and not now < payment.deadline <= now + payment_terms.LONGEST_SECONDS:
        raise InvalidInput("The deadline must be in the future, and within a year.")
