# SPDX-License-Identifier: GPL-3.0-or-later
"""Pixels that adaptive sampling stopped at another number of samples, and whether an honest render may.

Cycles stops a pixel when a noise estimate made of its sums falls below the threshold, and asks so every 16
samples (kernel/film/adaptive_sampling.h); the filter then lets the neighbours of a noisy pixel go on. On a
device that adds in any order the estimate's last bits differ from render to render, so a pixel that lies just
at the threshold may go on in one render and stop in another. What it gained in between are samples of a pixel
whose noise was the threshold's: its sum cannot fall, and its value hardly moves, unless one of them was very
bright: then nobody can tell.
"""

from dataclasses import dataclass
from typing import Self

import numpy
from numpy.typing import NDArray

from farm_protocol.audits import Sums
from frame_splitter.exactness import FILTER_STEP
from frame_splitter.exr import Pixels
from verification.metrics.difference import Mask

FLIP_NOISE = 2.0
"""How many thresholds a flipped pixel's value may move."""

FACTOR = 5.0
"""What Cycles multiplies the scene's threshold by (`Integrator::get_adaptive_sampling`)."""

AUTOMATIC = 1e-3
"""The least threshold that Cycles chooses by itself."""

FLIP_BLOCK = 9
"""Pixels. One decision that flips takes its eight neighbours along."""

MOST_FLIPPED = 25
"""Pixels. The neighbours may take some of theirs along: of 10,000 flips in simulated pictures a tenth took
more than 9 pixels, and none more than 24."""

FLIP_SHARE = 0.002
"""Beside those of one decision, the share of pixels that may be flipped. A decision flips where a noise
estimate lies within its sums' rounding of the threshold: about once in a million."""

LEEWAY = 1e-3
"""By how much of itself a sum may fall, through rounding."""

Floats = NDArray[numpy.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Flips:
    """Pixels of another number of samples: those an honest render surely may have, those it may have where
    one of the samples was very bright or a decision took many along, and those none has.
    """

    plausible: Mask
    doubtful: Mask
    impossible: Mask

    def __or__(self, other: Self) -> Self:
        impossible = self.impossible | other.impossible
        doubtful = (self.doubtful | other.doubtful) & ~impossible
        plausible = (self.plausible | other.plausible) & ~doubtful & ~impossible
        return type(self)(plausible, doubtful, impossible)


def flips(counts: Pixels, others: Pixels, mine: Pixels, theirs: Pixels, sums: Sums) -> Flips:
    """`counts` and `others` are numbers of samples, of shape (height, width); `mine` and `theirs` the same
    layer's Combined of shape (height, width, 3). More than one decision's are doubtful, and all are
    impossible where they are too many.
    """
    apart = counts.view(numpy.uint32) != others.view(numpy.uint32)
    last = float(numpy.nanmax(others))
    possible = apart & _may_stop(counts, last, sums) & _may_stop(others, last, sums)
    possible &= _never_fell(counts, others, mine, theirs)
    count = int(apart.sum())
    if are_too_many(count, counts.size):
        possible = numpy.zeros_like(apart)
    of_one = not are_of_several(count, counts.size)
    plausible = possible & _hardly_moved(mine, theirs, sums) & of_one
    return Flips(plausible, possible & ~plausible, apart & ~possible)


def are_of_several(count: int, area: int) -> bool:
    """Whether so many flipped pixels of so many are more than one decision's, most likely."""
    return count > FLIP_BLOCK + FLIP_SHARE * area


def are_too_many(count: int, area: int) -> bool:
    """Whether no honest audit of so many pixels holds so many flipped ones."""
    return count > MOST_FLIPPED + FLIP_SHARE * area


def _may_stop(counts: Pixels, last: float, sums: Sums) -> Mask:
    """Numbers of samples at which Cycles asks, or ends: a layer may have fewer than the job (`last`: the most
    that a pixel took).
    """
    with numpy.errstate(invalid="ignore"):
        steps = (counts % FILTER_STEP == 0) & (counts > sums.min_samples) & (counts < sums.samples)
    return numpy.asarray(steps | (counts == sums.samples) | (counts == last))


def _hardly_moved(mine: Pixels, theirs: Pixels, sums: Sums) -> Mask:
    """In the measure by which Cycles decides, of section 2.1 of Dammertz et al., A Hierarchical Automatic
    Stopping Condition for Monte Carlo Global Illumination, 2010.
    """
    threshold = sums.noise_threshold or max(AUTOMATIC, 1 / sums.samples)
    one, other = mine.astype(numpy.float64), theirs.astype(numpy.float64)
    with numpy.errstate(invalid="ignore", over="ignore"):
        moved = numpy.abs(one - other).sum(axis=-1)
        light = numpy.maximum(numpy.abs(other).sum(axis=-1), 0)
        normal = 1e-4 + numpy.where(light < 1, numpy.sqrt(light), light)
        return numpy.asarray(moved <= FLIP_NOISE * FACTOR * threshold * normal)


def _never_fell(counts: Pixels, others: Pixels, mine: Pixels, theirs: Pixels) -> Mask:
    """What more samples add is light, where the picture holds no negative light at all."""
    if (theirs < 0).any():
        return numpy.ones(counts.shape, bool)
    with numpy.errstate(invalid="ignore", over="ignore"):
        one = mine.astype(numpy.float64) * counts[..., None]
        other = theirs.astype(numpy.float64) * others[..., None]
        more = (counts > others)[..., None]
        fewer, further = numpy.where(more, other, one), numpy.where(more, one, other)
        return numpy.asarray((further >= fewer * (1 - LEEWAY)).all(axis=-1))
