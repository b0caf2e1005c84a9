# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom a paid job takes on, and up to what each may earn. Pure.

What is promised and not earned is what a client can lose, so it begins small and grows in proportion to the
work that was accepted; it grows by much at a time, because each raise costs gas.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from payments.accounting.pricing import MICRO
from payments.messages.promises import Offer, Signed
from payments.messages.units import Wei
from render_farm.policy.payment_terms import FIRST_TASKS, MOST_CLAIM_TASKS
from render_farm.settlement.stakes import least, most_open

FIRST_SHARE = 16
"""Or this part of each one's share of the work: in long jobs more raises would cost more than they save."""
GROWTH = 16
"""A cap may be ahead of what was accepted by so many times as much."""
WORTH = (3, 2)
"""A raise is worth its gas where the cap becomes so much greater, or covers all that is left."""
CLAIM_TASKS = 16
EXPIRY_MARGIN = 600.0
"""Seconds an offer must still be good for: the order has to reach the chain."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a job still needs, in units of work, and under which terms. `dearest` of its tiles, `frame` the
    dearest frame, `tiles` the most that a frame is cut into; `audit_ppm` what audits may add to the work.
    """

    units_left: int
    tasks_left: int
    dearest: int
    frame: int
    tiles: int
    audit_ppm: int
    price_cap: int
    stake_share: int
    farm: str
    device_class: str = ""

    @property
    def most_units(self) -> int:
        """All that may still be paid for: each tile may be audited, in part more than once."""
        return self.units_left + self.units_left * self.audit_ppm // MICRO


@dataclass(frozen=True, slots=True)
class Seller:
    """A node that sells now. `operator` is the wallet that signed its offer, `digest` the offer's hash.
    `stake` and `capacity` are what is left of the operator's stake and of the offer.
    """

    node: str
    operator: str
    offer: Signed[Offer]
    digest: str
    stake: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Cap:
    """The order for a seller."""

    seller: Seller
    cap: Wei
    task_cap: Wei
    claim_tasks: int


@dataclass(frozen=True, slots=True)
class Grown:
    """How an agreement stands: what it was promised, what work under it was accepted or is under way (all in
    the token), the stake behind it, what vouchers say of it.
    """

    price: int
    share: int
    cap: int
    accepted: int
    used: int
    behind: int
    vouched: int


def cost(units: int, price: int) -> int:
    """What work costs, rounded up: a cap must hold it."""
    return -(-units * price // MICRO)


def fits(need: Need, offer: Offer, now: float) -> str:
    """Why a job cannot take an offer; '' where it can."""
    reasons = {
        "it is for another farm": offer.farm.lower() != need.farm.lower(),
        "it costs more than the job pays": offer.price > need.price_cap,
        "it puts up less stake than the job asks": offer.stakeShare < need.stake_share,
        "it is for another kind of device": bool(need.device_class)
        and offer.deviceClass != need.device_class,
        "it expires": offer.expiry < now + EXPIRY_MARGIN,
    }
    return next((reason for reason, is_so in reasons.items() if is_so), "")


def first_caps(need: Need, sellers: Sequence[Seller], budget: int, held: int, now: float) -> list[Cap]:
    """The orders to make: cheapest first, no more agreements (with those `held` already) than there are
    tasks, each with a fair share where the budget is short.
    """
    fitting = [seller for seller in sellers if not fits(need, seller.offer.message, now)]
    chosen = sorted(_of_one_class(need, fitting), key=lambda one: (one.offer.message.price, one.node))
    chosen = chosen[: max(0, need.tasks_left - held)]
    caps: list[Cap] = []
    units = _first_units(need, max(1, held + len(chosen)))
    for place, seller in enumerate(chosen):
        cap = _first_cap(need, units, seller, budget, len(chosen) - place)
        if cap is None:
            continue
        caps.append(cap)
        budget -= cap.cap
    return caps


def raised(need: Need, grown: Grown, budget: int, capacity: int, stake: int) -> Wei | None:
    """The cap an agreement should have now, None to leave it. `budget`, `capacity` and `stake` are what is
    left of each beside what the agreement has.
    """
    task = cost(need.dearest, grown.price)
    room = grown.cap - grown.used
    if room >= cost(FIRST_TASKS // 2 * need.dearest, grown.price) or need.units_left == 0:
        return None
    first = cost(max(FIRST_TASKS * need.dearest, need.frame), grown.price)
    everything = grown.accepted + cost(need.most_units, grown.price)
    cap = min(
        grown.accepted + max(first, GROWTH * grown.accepted),
        everything,
        grown.cap + min(budget, capacity),
        grown.vouched + most_open(grown.behind + stake, grown.share, task),
    )
    is_worth = cap * WORTH[1] >= grown.cap * WORTH[0] or cap == everything or room < task
    return Wei(cap) if cap - grown.used >= task and cap > grown.cap and is_worth else None


def fair(budget: int, rooms: Sequence[int], room: int) -> int:
    """What of the budget an agreement may have that has `room` left, so that it ends with as much as each of
    those at work (`rooms`, its own with them): or the first to ask would leave the others without work.
    """
    return max(0, min(budget, (budget + sum(rooms)) // max(1, len(rooms)) - room))


def most_units(cap: int, price: int) -> int:
    """The work that a cap pays for: what the store counts in."""
    return cap * MICRO // price


def _of_one_class(need: Need, sellers: Sequence[Seller]) -> list[Seller]:
    """Tiles of a job are of one device class: the one most sell, while none is chosen by a first lease."""
    if need.device_class or not sellers:
        return list(sellers)
    counted = Counter(seller.offer.message.deviceClass for seller in sellers)
    best = max(sorted(counted), key=lambda name: counted[name])
    return [seller for seller in sellers if seller.offer.message.deviceClass == best]


def _first_units(need: Need, sharing: int) -> int:
    most = need.most_units
    return min(most, max(FIRST_TASKS * need.dearest, need.frame, most // sharing // FIRST_SHARE))


def _first_cap(need: Need, units: int, seller: Seller, budget: int, sharing: int) -> Cap | None:
    price, share = seller.offer.message.price, need.stake_share
    task = cost(need.dearest, price)
    wanted = cost(units, price)
    each = max(task, budget // sharing)
    cap = min(wanted, each, budget, seller.capacity, most_open(seller.stake, share, task))
    if cap < min(task, wanted) or cap <= 0:
        return None
    return Cap(seller, Wei(cap), Wei(task), min(MOST_CLAIM_TASKS, max(CLAIM_TASKS, 2 * need.tiles)))


def stake_wanted(need: Need, sellers: Sequence[Seller]) -> int:
    """The least stake that would let one of the sellers begin, where all of them lack it; else 0."""
    wanted = [least(cost(need.dearest, one.offer.message.price), need.stake_share) for one in sellers]
    lacking = all(one.stake < stake for one, stake in zip(sellers, wanted, strict=True))
    return min(wanted, default=0) if lacking else 0


def missing(need: Need, rooms: Sequence[tuple[int, int]], budget: int, cheapest: int) -> int:
    """How much more budget the rest of a job takes; 0 while something of it can go on. `rooms`: room and
    price of each agreement whose node still sells; `cheapest` price that is offered, or the job's own cap.
    """
    task = cost(min(need.dearest, need.most_units), cheapest)
    if need.tasks_left == 0 or budget >= task:
        return 0
    if any(room >= cost(need.dearest, price) for room, price in rooms):
        return 0
    return max(1, cost(need.most_units, cheapest) - max(0, budget))
