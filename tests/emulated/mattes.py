# SPDX-License-Identifier: GPL-3.0-or-later
"""Cryptomattes as a GPU fills their slots: whoever comes first claims a slot, and equal weights keep that
order (Cycles' kernel/film/cryptomatte_passes.h). This module needs no Blender.
"""

from collections.abc import Sequence

import numpy

from tests.emulated.sums import Batch, Floats, Names, Random


def fill(names: Names, weights: Floats, batches: Sequence[Batch], random: Random) -> tuple[Names, Floats]:
    """The slots of each pixel after all batches, the heaviest first.

    `names` and `weights` have the shape (samples, slots, height, width): what each sample wrote. Gives
    back two arrays of the shape (slots, height, width).
    """
    kept = _Slots(names.shape[1], names.shape[2:])
    for batch in batches:
        for name, weight in _ordered(batch.of(names), batch.of(weights), random):
            kept.add(name, weight if batch.active is None else numpy.where(batch.active, weight, 0))
    return kept.sorted()


def _ordered(names: Names, weights: Floats, random: Random) -> list[tuple[Names, Floats]]:
    """Each sample's writes, one after the other, in an order that is each pixel's own."""
    if random is not None:
        shape = (names.shape[0], 1, *names.shape[2:])
        order = random.random(shape, dtype=numpy.float32).argsort(axis=0)
        names, weights = (numpy.take_along_axis(one, order, axis=0) for one in (names, weights))
    return [
        (name, weight)
        for sample in zip(names, weights, strict=True)
        for name, weight in zip(*sample, strict=True)
        if weight.any()
    ]


class _Slots:
    """What is written so far."""

    def __init__(self, count: int, shape: tuple[int, ...]) -> None:
        self._names = numpy.zeros((count, *shape), numpy.uint32)
        self._weights = numpy.zeros((count, *shape), numpy.float32)

    def add(self, name: Names, weight: Floats) -> None:
        """One write a pixel: to the name's slot, a free one, or the last."""
        waiting = weight != 0
        for slot in range(len(self._names)):
            mine = self._names[slot]
            free = mine == 0
            here = waiting & (free | (mine == name) | (slot == len(self._names) - 1))
            self._names[slot] = numpy.where(here & free, name, mine)
            self._weights[slot] += numpy.where(here, weight, 0)
            waiting &= ~here

    def sorted(self) -> tuple[Names, Floats]:
        order = (-self._weights).argsort(axis=0, kind="stable")
        names, weights = (numpy.take_along_axis(one, order, axis=0) for one in (self._names, self._weights))
        return names, weights
