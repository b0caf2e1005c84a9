# SPDX-License-Identifier: GPL-3.0-or-later
"""Where two pictures of one size differ in any bit of any float."""

import numpy
from numpy.typing import NDArray

from frame_splitter.exr import Image, Pixels

Mask = NDArray[numpy.bool_]
"""Shape (height, width), top row first."""


def different_pixels(one: Image, other: Image) -> Mask:
    """Pixels that differ in any channel. Zeros of two signs differ, two NaNs of the same bits do not.

    Both have the same size. A channel that only one of them has, or that is of another type, differs
    in every pixel.
    """
    mine, theirs = _by_name(one), _by_name(other)
    if mine.keys() != theirs.keys():
        return numpy.ones((one.height, one.width), numpy.bool_)
    found = numpy.zeros((one.height, one.width), numpy.bool_)
    for name, pixels in mine.items():
        found |= _differs(pixels, theirs[name])
    return found


def _by_name(image: Image) -> dict[tuple[str, str], Pixels]:
    return {(part.name, name): pixels for part in image.parts for name, pixels in part.channels.items()}


def _differs(one: Pixels, other: Pixels) -> Mask:
    if one.dtype != other.dtype:
        return numpy.ones(one.shape, numpy.bool_)
    bits = numpy.dtype(f"u{one.dtype.itemsize}")
    return numpy.asarray(numpy.ascontiguousarray(one).view(bits) != numpy.ascontiguousarray(other).view(bits))
