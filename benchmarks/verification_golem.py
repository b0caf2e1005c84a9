# SPDX-License-Identifier: GPL-3.0-or-later
"""Golem's published check of Blender tasks, by our reading of it: three crops of a tenth by a tenth of the
picture, rendered again and compared as 8-bit pictures by structural similarity and histograms.

Golem trained its thresholds on data of its own and published several over time. Here a crop passes with an
SSIM (Wang et al. 2004, windows of 7 x 7, on luma) and a correlation of luma histograms (64 bins) above a
bound, and both a lax and a strict bound are shown.
"""

import random

import numpy
from numpy.typing import NDArray

from farm_protocol.fields import Tile
from frame_splitter.exr import Image
from verification.evidence import tone_mapped
from verification.passes import colours

CROPS, SHARE = 3, 0.1
BOUNDS = {"lax": 0.8, "strict": 0.95}
WINDOW, BINS = 7, 64
LUMA = (0.299, 0.587, 0.114)
SMALL, LESS_SMALL = (0.01 * 255) ** 2, (0.03 * 255) ** 2

Luma = NDArray[numpy.float64]


def luma(image: Image) -> Luma:
    """The picture as people see it: sRGB, 8 bit, luma, of shape (height, width)."""
    return tone_mapped(colours(image), 1.0).astype(numpy.float64) @ numpy.array(LUMA)


def ssim(one: Luma, other: Luma) -> Luma:
    """Structural similarity of each window of two pictures."""
    means = _means(one), _means(other)
    spreads = _means(one**2) - means[0] ** 2, _means(other**2) - means[1] ** 2
    shared = _means(one * other) - means[0] * means[1]
    above = (2 * means[0] * means[1] + SMALL) * (2 * shared + LESS_SMALL)
    found: Luma = above / ((means[0] ** 2 + means[1] ** 2 + SMALL) * (sum(spreads) + LESS_SMALL))
    return found


def _means(picture: Luma) -> Luma:
    sums = numpy.pad(picture.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    edge = WINDOW
    found: Luma = sums[edge:, edge:] - sums[:-edge, edge:] - sums[edge:, :-edge] + sums[:-edge, :-edge]
    return found / edge**2


def histograms(one: Luma, other: Luma) -> float:
    """Correlation of two pictures' histograms."""
    counts = [numpy.histogram(picture, BINS, (0, 256))[0].astype(float) for picture in (one, other)]
    first, second = (count - count.mean() for count in counts)
    size = float(numpy.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / size if size else 1.0


class Golem:
    """Compares one submitted picture with the honest one, drawing after drawing."""

    def __init__(self, submitted: Luma, honest: Luma) -> None:
        self._pair = submitted, honest
        self._alike = ssim(submitted, honest)

    def refuses(self, chosen: random.Random) -> dict[str, bool]:
        """Whether a drawing of crops refuses the picture, by bound."""
        height, width = self._pair[0].shape
        worst = min(self._crop(_drawn(chosen, width, height)) for _ in range(CROPS))
        return {name: worst < bound for name, bound in BOUNDS.items()}

    def _crop(self, crop: Tile) -> float:
        rows, columns = slice(crop.y0, crop.y1), slice(crop.x0, crop.x1)
        inner = self._alike[crop.y0 : crop.y1 - WINDOW + 1, crop.x0 : crop.x1 - WINDOW + 1]
        return min(float(inner.mean()), histograms(*(picture[rows, columns] for picture in self._pair)))


def _drawn(chosen: random.Random, width: int, height: int) -> Tile:
    across, up = max(WINDOW, round(width * SHARE)), max(WINDOW, round(height * SHARE))
    x, y = chosen.randrange(width - across + 1), chosen.randrange(height - up + 1)
    return Tile(x, y, x + across, y + up)
