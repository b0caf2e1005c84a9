# SPDX-License-Identifier: GPL-3.0-or-later
"""How likely it was that a cheat would have been met: pure functions of audit rates.

Only what follows from the draws is said here. What the sparse pass sees is measured, and
`docs/verification.md` has the figures; these curves leave it out, so they are lower bounds.
"""

from collections.abc import Sequence

from verification.audit.sampling import MILLION

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


def curve(rates: Sequence[int]) -> Curve:
    """What a receipt tells: `chance_whole` over SHARES. Only sums and products of
    doubles, in order, so that other programs get the same whole numbers.
    """
    return tuple((share, round(chance_whole(rates, share / MILLION) * MILLION)) for share in SHARES)
