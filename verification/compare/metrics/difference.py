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
    mine, theirs = by_name(one), by_name(other)
    if mine.keys() != theirs.keys():
        return numpy.ones((one.height, one.width), numpy.bool_)
    found = numpy.zeros((one.height, one.width), numpy.bool_)
    for name, pixels in mine.items():
        found |= different_bits(pixels, theirs[name])
    return found


def by_name(image: Image) -> dict[tuple[str, str], Pixels]:
    """A picture's channels by part and name, each of shape (height, width), top row first."""
    return {(part.name, name): pixels for part in image.parts for name, pixels in part.channels.items()}


def different_bits(one: Pixels, other: Pixels) -> Mask:
    """Where two channels of one shape differ; everywhere, where they are of two types."""
    if one.dtype != other.dtype:
        return numpy.ones(one.shape, numpy.bool_)
    bits = numpy.dtype(f"u{one.dtype.itemsize}")
    return numpy.asarray(numpy.ascontiguousarray(one).view(bits) != numpy.ascontiguousarray(other).view(bits))
