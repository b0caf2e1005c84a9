# SPDX-License-Identifier: GPL-3.0-or-later
"""Work and what it earns. Pure, and in whole numbers only.

One render unit is the work that the reference slot does in one second on the reference scene
(`gpu_worker/child/reference.py`): one core of an Intel Xeon of the year 2021, with Blender 5.0.1. Work is
counted in micro-units. What a frame counts as is fixed by its job's quote: nobody earns more by taking
longer.
"""

from collections.abc import Sequence

from farm_protocol.errors import InvalidInput
from payments.money import Wei

MICRO = 1_000_000
"""Micro-units in a render unit, and parts in a share of one."""

AUDIT_OVERHEAD = 10_000
"""Of a tile's work, in millionths: what an audit costs beyond its pixels, because Blender begins and ends a
render for each of its crops (docs/verification.md, "Cost").
"""


def reward(units: int, price: int) -> Wei:
    """What so many micro-units earn at a price of a render unit, rounded down."""
    return Wei(units * price // MICRO)


def tile_units(frame_units: int, weights: Sequence[int]) -> tuple[int, ...]:
    """A frame's micro-units shared out to its tiles by weight (pixels with overscan), to the last one.

    Largest remainders get what rounding leaves; every tile gets one at least. Raises InvalidInput where
    there are fewer micro-units than tiles.
    """
    if not weights or frame_units < len(weights):
        raise InvalidInput(f"{frame_units} micro-units cannot be shared by {len(weights)} tiles.")
    if min(weights) < 0:
        raise InvalidInput("A tile cannot weigh less than nothing.")
    if not any(weights):
        weights = [1] * len(weights)
    spare, total = frame_units - len(weights), sum(weights)
    shares = [1 + spare * weight // total for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda index: (-(spare * weights[index] % total), index))
    for index in by_remainder[: frame_units - sum(shares)]:
        shares[index] += 1
    return tuple(shares)


def audit_units(tile_units: int, share_ppm: int) -> int:
    """What an audit of a tile counts as, one micro-unit at least."""
    return max(1, tile_units * share_ppm // MICRO)


def audit_share(crop_share: float, sparse_samples: int, samples: int) -> int:
    """What an audit costs of its tile's work, in millionths: the crops' part of its area, the sparse pass's
    part of its samples, and `AUDIT_OVERHEAD`. Never more than the tile itself.
    """
    crops = round(crop_share * MICRO)
    sparse = sparse_samples * MICRO // max(1, samples)
    return min(MICRO, crops + sparse + AUDIT_OVERHEAD)
