# SPDX-License-Identifier: GPL-3.0-or-later
"""Finished frames of a device that adds in any order beside those of one Blender on a CPU."""

from dataclasses import dataclass
from pathlib import Path

import numpy
from PIL import Image as Picture

from farm_protocol.audits import Sums
from frame_splitter import exr
from verification.metrics.rounding import hard_bound

Channels = dict[str, numpy.ndarray]


@dataclass(frozen=True)
class Apart:
    """How far two files are apart: pixels that are not the same in every bit, of how many, and the largest
    difference, as a share of what is explained; above 1 it is another picture.
    """

    pixels: int
    of: int
    share: float


def apart(one: Path, other: Path, samples: int) -> Apart:
    """Compare two files of one frame: floats with the bound of their sums, integers with a single step."""
    mine, theirs = channels(one), channels(other)
    assert list(mine) == list(theirs), "They have other channels."
    differs: numpy.ndarray | bool = False
    share = 0.0
    for name, pixels in mine.items():
        differs = differs | (pixels != theirs[name])
        distance = numpy.abs(pixels.astype(float) - theirs[name])
        if pixels.dtype.kind == "f":
            distance /= hard_bound(Sums(samples)) * numpy.maximum(numpy.abs(theirs[name]), 1e-3)
        share = max(share, float(distance.max()))
    return Apart(int(numpy.sum(differs)), int(numpy.size(differs)), share)


def channels(path: Path) -> Channels:
    """A picture's channels by name, each of shape (height, width)."""
    if path.suffix == ".exr":
        return {name: pixels for part in exr.read(path).parts for name, pixels in part.channels.items()}
    pixels = numpy.asarray(Picture.open(path))
    return {str(number): pixels[..., number] for number in range(pixels.shape[2])}
