# SPDX-License-Identifier: GPL-3.0-or-later
"""Sample counts as plain numbers.

Cycles stores how many samples each pixel took as a share of the most any pixel of that render took, so the
numbers of two tiles cannot be compared. Finishing needs the counts themselves.
"""

from dataclasses import replace

import numpy

from farm_protocol.errors import InvalidInput
from frame_splitter.exr import Image, Part, Pixels

COUNT_CHANNEL = ".Debug Sample Count.X"
LEEWAY = 1e-2
"""How far share times most may lie from a whole number: float32 keeps 65,536 samples apart."""


def plain_counts(image: Image, most: dict[str, int]) -> Image:
    """The picture with its sample count channels as numbers of samples.

    `most` holds, for each view layer, the most samples a pixel took. Raises InvalidInput for a layer
    that is not named, and where the shares are not those of whole numbers.
    """
    return replace(image, parts=tuple(_plain_part(part, most) for part in image.parts))


def _plain_part(part: Part, most: dict[str, int]) -> Part:
    channels = {
        name: _plain(name, pixels, most) if name.endswith(COUNT_CHANNEL) else pixels
        for name, pixels in part.channels.items()
    }
    return replace(part, channels=channels)


def _plain(name: str, shares: Pixels, most: dict[str, int]) -> Pixels:
    layer = name.removesuffix(COUNT_CHANNEL)
    if layer not in most:
        raise InvalidInput(f"The most samples of layer '{layer}' are not known.")
    counts = shares.astype(numpy.float64) * most[layer]
    whole = numpy.round(counts)
    if not numpy.all(numpy.abs(counts - whole) <= LEEWAY) or not numpy.all(whole >= 1):
        raise InvalidInput(f"The sample counts of layer '{layer}' are not whole numbers.")
    plain: Pixels = whole.astype(shares.dtype)
    return plain
