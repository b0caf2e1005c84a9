# SPDX-License-Identifier: GPL-3.0-or-later
"""What kind of difference lies between a submitted crop and its re-render.

All take arrays of shape (height, width, channels) in linear values, the submitted one first.
"""

import numpy

from frame_splitter.exr import Pixels

COARSE = 4
"""Pixels. Differences are averaged over squares of this edge: of white noise a sixteenth is left."""


def bias(submitted: Pixels, rendered: Pixels) -> float:
    """Mean of one over that of the other, minus 1: negative is darker. 0 where both have none."""
    mine, theirs = _mean(submitted), _mean(rendered)
    if mine == theirs:
        return 0.0
    return mine / theirs - 1 if theirs != 0 else float("inf")


def darker_share(submitted: Pixels, rendered: Pixels) -> float:
    """Of the values that differ, the share that is below the re-render's; 0 where none differ.

    Light that is left out makes it 1, noise about 1/2.
    """
    with numpy.errstate(all="ignore"):
        different = int((submitted != rendered).sum())
        return int((submitted < rendered).sum()) / different if different else 0.0


def coarse_share(submitted: Pixels, rendered: Pixels) -> float:
    """The share of the squared difference that is left when it is averaged over COARSE x COARSE pixels:
    1/16 of white noise, 1 of another brightness. 0 where nothing differs, or for smaller crops.
    """
    with numpy.errstate(all="ignore"):
        apart = submitted.astype(numpy.float64) - rendered.astype(numpy.float64)
        height, width = (edge // COARSE * COARSE for edge in apart.shape[:2])
        apart = apart[:height, :width]
        squares = float((apart**2).sum())
        if not apart.size or squares == 0.0 or not numpy.isfinite(squares):
            return 0.0
        means = apart.reshape(height // COARSE, COARSE, width // COARSE, COARSE, -1).mean(axis=(1, 3))
        return min(1.0, float((means**2).sum()) * COARSE**2 / squares)


def _mean(pixels: Pixels) -> float:
    with numpy.errstate(all="ignore"):
        found = float(pixels.astype(numpy.float64).mean())
    return found if numpy.isfinite(found) else float("inf")
