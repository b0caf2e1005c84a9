# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether two finished pictures differ by no more than the order in which a GPU adds.

Two renders of one frame on such a device differ by about 1e-7 of a pixel, at most by some 1e-5
(docs/verification.md has the bound). Denoising, compositing and colour management pass that on; whole
numbers are rounded, so that some land on the next one. What was forgotten in cutting, merging or finishing
shows otherwise: whole areas, or a line along a tile's edge, in amounts that can be seen. So each value has an
allowance by its kind, few pixels may exceed it (those in which adaptive sampling took another number of
samples, or a compositor's threshold fell the other way), and few values may differ at all
(docs/exactness.md has what was measured).
"""

from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Allowance:
    """Two values may lie `steps` apart (in what the type counts by), or `relative` of the larger one; with
    `often` the share of values that may differ at all.
    """

    steps: float
    relative: float
    often: float = 1.0


ALLOWED = {
    "uint8": Allowance(1, 0.0, often=0.01),
    "uint16": Allowance(16, 0.0),
    "float16": Allowance(1e-6, 2.0**-9, often=0.1),
    "float32": Allowance(1e-6, 1e-4),
}
"""By type. Half floats lie 2**-11 to 2**-10 of their value apart; 16-bit pictures have 65,535 steps, of which
the order of sums moves one or two.
"""

RARE = 2000
"""One pixel of so many may differ by more, and `ALONE` of the smallest picture."""

ALONE = 2


def differs_by_more(mine: dict[tuple[int, str], Pixels], theirs: dict[tuple[int, str], Pixels]) -> str:
    """What an order of sums does not explain, as the end of a sentence; '' where it explains all. Both hold
    the same channels (part and name), of the same sizes and types.
    """
    beyond: dict[int, NDArray[numpy.bool_]] = {}
    for (part, name), pixels in mine.items():
        other = theirs[part, name]
        unequal, allowed = _unequal(pixels, other), ALLOWED.get(pixels.dtype.name, Allowance(0, 0.0))
        often = int(unequal.sum())
        if often > max(ALONE, allowed.often * pixels.size):
            return f"differs by a step or more in {often} values of {name}"
        if lost := int((unequal & ~(numpy.isfinite(pixels) & numpy.isfinite(other))).sum()):
            return f"differs in {lost} values of {name} that are no numbers"
        apart = unequal & ~_near(pixels, other, allowed)
        beyond[part] = beyond[part] | apart if part in beyond else apart
    count, area = (sum(map(measure, beyond.values())) for measure in (numpy.count_nonzero, numpy.size))
    most = max(ALONE, area // RARE)
    return f"differs in {count} pixels by more than the order of a GPU's sums" if count > most else ""


def _unequal(one: Pixels, other: Pixels) -> NDArray[numpy.bool_]:
    unequal: NDArray[numpy.bool_] = one != other
    if one.dtype.kind == "f":
        unequal &= ~(numpy.isnan(one) & numpy.isnan(other))
    return unequal


def _near(one: Pixels, other: Pixels, allowed: Allowance) -> NDArray[numpy.bool_]:
    a, b = one.astype(numpy.float64), other.astype(numpy.float64)
    with numpy.errstate(invalid="ignore"):
        most = allowed.steps + allowed.relative * numpy.maximum(numpy.abs(a), numpy.abs(b))
        near: NDArray[numpy.bool_] = numpy.abs(a - b) <= most
    return near
