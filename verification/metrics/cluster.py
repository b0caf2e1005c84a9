# SPDX-License-Identifier: GPL-3.0-or-later
"""The largest group of pixels that hang together."""

import numpy

from verification.metrics.difference import Mask


def largest_cluster(mask: Mask) -> int:
    """Pixels of the largest 8-connected group in `mask`.

    Labels spread from each pixel to its neighbours until they rest: a few rounds for compact groups, and
    never more than there are pixels.
    """
    if not mask.any():
        return 0
    height, width = mask.shape
    labels = numpy.zeros((height + 2, width + 2), numpy.int64)
    labels[1:-1, 1:-1][mask] = numpy.arange(1, int(mask.sum()) + 1)
    while True:
        spread = labels[1:-1, 1:-1].copy()
        for down in range(3):
            for right in range(3):
                numpy.maximum(spread, labels[down : down + height, right : right + width], out=spread)
        spread[~mask] = 0
        if numpy.array_equal(spread, labels[1:-1, 1:-1]):
            return int(numpy.bincount(spread[mask]).max())
        labels[1:-1, 1:-1] = spread
