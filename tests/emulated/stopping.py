# SPDX-License-Identifier: GPL-3.0-or-later
"""Which samples each pixel takes with adaptive sampling, decided from sums in any order as Cycles decides
(integrator/adaptive_sampling.cpp and kernel/film/adaptive_sampling.h). This module needs no Blender.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy

from tests.emulated import sums
from tests.emulated.sums import Batch, Counts, Floats, Mask, Random

STEP = 16
"""Samples between two checks."""


@dataclass(frozen=True)
class Rule:
    """When a pixel is done: below `threshold`, from the first check after `least` samples on."""

    samples: int
    threshold: float
    least: int

    @classmethod
    def of(cls, samples: int, threshold: float, least: int) -> "Rule":
        """From the scene's settings, where 0 means that Cycles chooses."""
        threshold = threshold or max(0.001, 1 / samples)
        least = least or math.ceil(16 / threshold**0.3)
        return cls(samples, 5 * threshold, max(4, least))

    def batches(self) -> Iterator[tuple[int, int]]:
        """First and last (not included) samples between checks."""
        first = 0
        for last in range(STEP, self.samples, STEP):
            if last - 1 > self.least:
                yield first, last
                first = last
        yield first, self.samples


def is_half(sample: int) -> bool:
    """Whether a sample is one of the half that is kept beside (`sample_is_class_A`)."""
    return (sample & 0xAAAAAAAA).bit_count() % 2 == 1


def decide(
    colours: Sequence[Floats], rule: Rule, exposure: float, random: Random
) -> tuple[list[Batch], list[Floats]]:
    """What each pixel takes, and the sums of its red, green and blue that this was decided by."""
    shape = colours[0].shape[1:]
    halves = [2 * colour * _half(len(colour)) for colour in colours]
    sums_of = [numpy.zeros(shape, numpy.float32) for _ in (*colours, *halves)]
    active, taken, done = numpy.ones(shape, bool), numpy.zeros(shape, numpy.int64), []
    for first, last in rule.batches():
        done.append(Batch(last - first, taken.copy(), active))
        more = [
            sums.total(one, done[-1:], random, start)
            for one, start in zip((*colours, *halves), sums_of, strict=True)
        ]
        sums_of = more
        taken[active] += last - first
        if last % STEP == 0:
            active = _unfinished(
                active & (error_of(sums_of, taken, exposure) >= numpy.float32(rule.threshold))
            )
        if not active.any():
            break
    return done, sums_of[:3]


def _half(samples: int) -> Floats:
    return numpy.array([is_half(sample) for sample in range(samples)], numpy.float32)[:, None, None]


def error_of(sums_of: Sequence[Floats], taken: Counts, exposure: float) -> Floats:
    """How far all of a pixel's samples and twice the half of them are apart, over its brightness."""
    red, green, blue = sums_of[:3]
    scale = numpy.float32(exposure) / taken.astype(numpy.float32)
    apart = [numpy.abs(whole - half) for whole, half in zip(sums_of[:3], sums_of[3:], strict=True)]
    difference = (apart[0] + apart[1] + apart[2]) * scale
    intensity = (red + green + blue) * scale
    with numpy.errstate(invalid="ignore"):
        normal = numpy.where(intensity < 1, numpy.sqrt(intensity), intensity)
        error: Floats = difference / (numpy.float32(0.0001) + normal)
        return error


def _unfinished(left: Mask) -> Mask:
    """The pixels that take the next samples: those that are not done, and their eight neighbours."""
    for axis in (1, 0):
        spread = left.copy()
        ahead, behind = [slice(None)] * 2, [slice(None)] * 2
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        spread[tuple(ahead)] |= left[tuple(behind)]
        spread[tuple(behind)] |= left[tuple(ahead)]
        left = spread
    return left
