# SPDX-License-Identifier: GPL-3.0-or-later
"""Sums of samples as a GPU's float atomics leave them: float32, in an order that is another each time.

Arrays of addends are float32 of the shape (samples, height, width). This module needs no Blender.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

Floats = NDArray[numpy.float32]
Names = NDArray[numpy.uint32]
"""Names in a cryptomatte as the bits of floats; 0 is nobody's."""

Mask = NDArray[numpy.bool_]
Counts = NDArray[numpy.int64]
Random = numpy.random.Generator | None
"""Where an order is drawn from; None adds in order, as a CPU does."""

UNIT = 2.0**-24
"""The unit roundoff of float32."""


@dataclass(frozen=True)
class Batch:
    """`size` samples of each pixel that are in flight together; what was added before stays the first term of
    the sum. `active`: which pixels take them, None for all. `begins`: how many a pixel took before; its next
    sample has that number, whatever its neighbours took meanwhile (`film_write_sample`).
    """

    size: int
    begins: Counts | None = None
    active: Mask | None = None

    def of(self, addends: Floats | Names) -> Any:
        """Those of the addends, of any shape (samples, ..., height, width), that are each pixel's."""
        if self.begins is None:
            return addends[: self.size]
        shape = (self.size, *[1] * (addends.ndim - 3), *self.begins.shape)
        numbers = self.begins + numpy.arange(self.size)[:, None, None]
        return numpy.take_along_axis(addends, numbers.clip(max=len(addends) - 1).reshape(shape), axis=0)


def add(addends: Floats, random: Random, total: Floats) -> Floats:
    """`total` and all of the addends, each pixel's in an order of its own."""
    if random is not None:
        order = random.random(addends.shape, dtype=numpy.float32).argsort(axis=0)
        addends = numpy.take_along_axis(addends, order, axis=0)
    total = total.copy()
    for one in addends:
        total += one
    return total


def total(addends: Floats, batches: Sequence[Batch], random: Random, start: Floats | None = None) -> Floats:
    """The sum over all batches, each pixel's own, to which `start` was added before."""
    found = numpy.zeros(addends.shape[1:], numpy.float32) if start is None else start
    for batch in batches:
        more = add(batch.of(addends), random, found)
        found = more if batch.active is None else numpy.where(batch.active, more, found)
    return found


def counts(shape: tuple[int, int], batches: Sequence[Batch]) -> Counts:
    """How many addends each pixel takes."""
    found = numpy.zeros(shape, numpy.int64)
    for batch in batches:
        found += batch.size * (1 if batch.active is None else batch.active.astype(numpy.int64))
    return found


def perturbed(pixels: Floats, samples: int, random: Random) -> Floats:
    """Stored sums of `samples` non-negative addends that are not known, off by what another order may do:
    normally about half of sqrt(samples) units, never beyond the most that so many roundings can.
    """
    if random is None:
        return pixels
    most = max(1, samples - 1) * UNIT
    wandering = random.normal(0, 0.5 * samples**0.5 * UNIT, pixels.shape).clip(-most, most)
    return (pixels * (1 + wandering)).astype(numpy.float32)
