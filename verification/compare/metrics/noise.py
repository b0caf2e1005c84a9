# SPDX-License-Identifier: GPL-3.0-or-later
"""How noisy a picture is: the energy of what neighbouring pixels do not share.

The mask [[1, -2, 1], [-2, 4, -2], [1, -2, 1]] answers neither to planes nor to straight edges along the
axes (Immerkaer 1996, "Fast noise variance estimation"); its mean square over 36 is the variance of white
noise.
"""

import numpy

from frame_splitter.exr import Pixels

GAIN = 36.0
"""The sum of the mask's squares: how much white noise's variance grows under it."""


def noise_energy(pixels: Pixels) -> float:
    """Variance of the noise in `pixels` of shape (height, width[, channels]); 0 below 3 x 3 pixels."""
    if min(pixels.shape[:2]) < 3:
        return 0.0
    values = pixels.astype(numpy.float64)
    with numpy.errstate(all="ignore"):
        rows = values[:-2] - 2 * values[1:-1] + values[2:]
        both = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
        found = float((both**2).mean() / GAIN)
    return found if numpy.isfinite(found) else float("inf")


def relative_noise(pixels: Pixels) -> float:
    """Standard deviation of the noise over the mean of the absolute values; 0 for black pictures."""
    with numpy.errstate(all="ignore"):
        mean = float(numpy.abs(pixels.astype(numpy.float64)).mean())
    return float(numpy.sqrt(noise_energy(pixels)) / mean) if mean > 0.0 else 0.0


def noise_ratio(submitted: Pixels, rendered: Pixels) -> float:
    """Noise energy of one over that of the other: 1 is alike, above 1 noisier; 1 where both have none."""
    mine, theirs = noise_energy(submitted), noise_energy(rendered)
    if mine == theirs:
        return 1.0
    return mine / theirs if theirs > 0.0 else float("inf")
