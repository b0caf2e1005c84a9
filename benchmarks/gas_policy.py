# SPDX-License-Identifier: GPL-3.0-or-later
"""Which caps the farm's own policy would sign for a job of equal frames, and when: the settler's functions,
run over a job on paper. Figures are in frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from payments.accounting.pricing import MICRO
from payments.messages.promises import Offer, Signed
from payments.messages.statements import NOBODY
from render_farm.settlement import orders
from render_farm.settlement.orders import Grown, Need, Seller

PRICE = 1
"""A frame is one render unit and costs one."""
PLENTY = 10**12
SHARE = 10_000
CLASS = "CPU:x86_64:avx2:5.0.1"
AUDITS_PPM = 250_000
"""What the budget holds beyond the frames, so that nothing is short of it."""


@dataclass(frozen=True)
class Grows:
    """A node's cap grows to `cap`; vouchers for `redeemed` are brought with it, to lock less stake."""

    node: int
    cap: int
    redeemed: int


@dataclass(frozen=True)
class Plan:
    """First caps, then the raises of each moment that has any, then what each node earned."""

    budget: int
    first: tuple[int, ...]
    raises: tuple[tuple[Grows, ...], ...]
    earned: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many raises there are."""
        return sum(len(moment) for moment in self.raises)


def plan(frames: int, nodes: int) -> Plan:
    """All nodes are equally fast and take a frame each at a time; each is accepted before the next."""
    budget = frames + frames * AUDITS_PPM // MICRO
    first = _first(frames, nodes, budget)
    caps, earned = list(first), [0] * len(first)
    moments: list[tuple[Grows, ...]] = []
    while sum(earned) < frames:
        before = sum(earned)
        for node in range(len(caps)):
            if sum(earned) < frames and earned[node] < caps[node]:
                earned[node] += 1
        moment = _raises(frames - sum(earned), caps, earned, budget)
        moments += [moment] if moment else []
        if before == sum(earned) and not moment:
            raise RuntimeError(f"{frames - before} frames are left, and no node has room for them.")
    return Plan(budget, first, tuple(moments), tuple(earned))


def _first(frames: int, nodes: int, budget: int) -> tuple[int, ...]:
    offer = Signed(Offer(NOBODY, NOBODY, NOBODY, CLASS, PRICE, PLENTY, SHARE, PLENTY, 1), "")
    sellers = [Seller(str(node), str(node), offer, "", PLENTY, PLENTY) for node in range(nodes)]
    return tuple(int(one.cap) for one in orders.first_caps(_need(frames), sellers, budget, 0, 0))


def _raises(left: int, caps: list[int], earned: Sequence[int], budget: int) -> tuple[Grows, ...]:
    """Changes `caps`."""
    found = []
    for node, cap in enumerate(caps):
        grown = Grown(PRICE, SHARE, cap, earned[node], earned[node], cap, earned[node])
        rooms = [one - done for one, done in zip(caps, earned, strict=True)]
        free = orders.fair(budget - sum(caps), rooms, rooms[node])
        new = orders.raised(_need(left), grown, free, PLENTY, PLENTY)
        if new is not None:
            caps[node] = int(new)
            found.append(Grows(node, int(new), earned[node]))
    return tuple(found)


def _need(left: int) -> Need:
    return Need(left * MICRO, left, MICRO, MICRO, 1, AUDITS_PPM, PRICE, SHARE, NOBODY)
