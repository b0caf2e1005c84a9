# SPDX-License-Identifier: GPL-3.0-or-later
"""The largest group of pixels that hang together."""

import numpy
from numpy.typing import NDArray

from verification.compare.metrics.difference import Mask

Numbers = NDArray[numpy.int64]


def largest_cluster(mask: Mask) -> int:
    """Pixels of the largest 8-connected group in `mask`.

    Every pixel points at one of its group with a higher number; groups that touch are joined at their
    heads. At most every second group is still a head after a round, so a few rounds do for any shape.
    """
    count = int(mask.sum())
    if count == 0:
        return 0
    numbers = numpy.zeros((mask.shape[0] + 2, mask.shape[1] + 2), numpy.int64)
    numbers[1:-1, 1:-1][mask] = numpy.arange(1, count + 1)
    heads = numpy.arange(count + 1)
    while True:
        highest = _highest_around(heads[numbers])[mask]
        before = heads.copy()
        numpy.maximum.at(heads, before[1:], highest)
        heads = _followed(heads)
        if numpy.array_equal(heads, before):
            return int(numpy.bincount(heads[1:]).max())


def _highest_around(padded: Numbers) -> Numbers:
    height, width = padded.shape[0] - 2, padded.shape[1] - 2
    rows = numpy.maximum(numpy.maximum(padded[:-2], padded[1:-1]), padded[2:])
    found: Numbers = numpy.maximum(numpy.maximum(rows[:, :width], rows[:, 1:-1]), rows[:, 2:])
    return found.reshape(height, width)


def _followed(heads: Numbers) -> Numbers:
    """Every pointer followed to its end."""
    while True:
        further = heads[heads]
        if numpy.array_equal(further, heads):
            return heads
        heads = further
