# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a picture does not fit a few of its own samples: the blocks to look at first."""

from collections.abc import Sequence

import numpy

from frame_splitter.exr import Image
from frame_splitter.fields import Tile
from verification.pixel_root import channels


def suspicious_blocks(submitted: Image, sparse: Image, cells: Sequence[Tile]) -> list[tuple[float, Tile]]:
    """`cells` (from the pictures' lower left corner) with a score each, the most suspicious first."""
    scores = numpy.zeros(len(cells))
    for mine, theirs in zip(channels(submitted), channels(sparse), strict=True):
        with numpy.errstate(all="ignore"):
            error = numpy.nan_to_num(theirs.pixels - mine.pixels, nan=1e30, posinf=1e30, neginf=-1e30)
        error = error.astype(numpy.float64)
        scale = float(numpy.abs(error).mean()) * 1e-3 + 1e-30
        t = numpy.array([_t(error[c.y0 : c.y1, c.x0 : c.x1], scale) for c in cells])
        scores = numpy.maximum(scores, numpy.abs(t))
    order = numpy.argsort(-scores, kind="stable")
    return [(float(scores[number]), cells[number]) for number in order]


def _t(error: "numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.float64]]", scale: float) -> float:
    return float(error.sum() / numpy.sqrt((error**2).sum() + scale**2 * error.size))
