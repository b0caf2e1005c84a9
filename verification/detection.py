# SPDX-License-Identifier: GPL-3.0-or-later
"""How likely it was that a cheat would have been met: pure functions of audit rates and policy.

Only what follows from the draws is said here. What the sparse pass sees is measured, and
`docs/verification.md` has the figures; these curves leave it out, so they are lower bounds.
"""

from collections.abc import Sequence

from verification.sampling import MILLION

SHARES = (1_000, 10_000, 50_000, 100_000, 250_000, 500_000, 1_000_000)
"""Cheated shares a receipt tells the chances of, in millionths."""

Curve = tuple[tuple[int, int], ...]
"""Pairs of cheated share and chance of being met, both in millionths."""


def chance_whole(rates: Sequence[int], share: float) -> float:
    """Chance that a node that cheated on each of its tiles with probability `share`, in a way that touches
    every pixel, met at least one audit. `rates` in a million, one a tile: 1 - Π(1 - share·p).
    """
    escaped = 1.0
    for rate in rates:
        escaped *= 1.0 - share * (rate / MILLION)
    return 1.0 - escaped


def chance_local(rates: Sequence[int], crops: int, share: float) -> float:
    """Chance that a node that changed `share` of the area of each of its tiles was met by one of `crops`
    random crops: 1 - Π(1 - p·(1 - (1 - share)^crops)). For scattered changes; a compact one is met more
    often, because a crop need only touch it.
    """
    missed = 1.0
    for _ in range(crops):
        missed *= 1.0 - share
    return chance_whole(rates, 1.0 - missed)


def chance_after(audited: int, share: float) -> float:
    """Chance that a node that cheated on `share` of its tiles would have failed one of `audited` audits
    that were drawn without its knowing: 1 - (1 - share)^audited.
    """
    return chance_whole([MILLION] * audited, share)


def curve(rates: Sequence[int]) -> Curve:
    """What a receipt or a job's record tells: `chance_whole` over SHARES. Only sums and products of
    doubles, in order, so that other programs get the same whole numbers.
    """
    return tuple((share, round(chance_whole(rates, share / MILLION) * MILLION)) for share in SHARES)
