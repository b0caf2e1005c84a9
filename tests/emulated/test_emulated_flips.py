# SPDX-License-Identifier: GPL-3.0-or-later
"""A pixel at the very threshold of adaptive sampling stops in one honest render and goes on in the next, and
its neighbours with it: no comparison takes that for another picture.
"""

import numpy
import pytest

from farm_protocol.audits import Sums
from frame_splitter.counts import plain_counts
from frame_splitter.exr import Image, Part
from tests.emulated import film, stopping, sums
from tests.emulated.film import Film
from tests.emulated.stopping import Rule
from tests.emulated.sums import Batch
from verification.metrics.rounding import compare

SAMPLES, EDGE, RENDERS = 64, 32, 24
COLOURS = [f"ViewLayer.Combined.{letter}" for letter in "RGB"]


@pytest.fixture(scope="module")
def addends() -> list[Image]:
    """Single samples of a calm picture."""
    random = numpy.random.default_rng(3)
    return [
        one_sample(random.uniform(0.3, 1.7, (3, EDGE, EDGE)).astype(numpy.float32)) for _ in range(SAMPLES)
    ]


def one_sample(colours: numpy.ndarray) -> Image:
    ones = numpy.ones((EDGE, EDGE), numpy.float32)
    channels = dict(zip(COLOURS, colours, strict=True))
    channels |= {"ViewLayer.Combined.A": ones, "ViewLayer.Debug Sample Count.X": ones}
    return Image(EDGE, EDGE, (Part("", channels, {}),))


@pytest.fixture(scope="module")
def rule(addends: list[Image]) -> Rule:
    """Its threshold is what one of the pixels has at the first check, if it is added in order."""
    halves = numpy.array([stopping.is_half(sample) for sample in range(16)])[:, None, None]
    colours = [numpy.stack([one.parts[0].channels[name] for one in addends[:16]]) for name in COLOURS]
    values = [*colours, *(2 * colour * halves.astype(numpy.float32) for colour in colours)]
    totals = [sums.total(one, [Batch(16)], None) for one in values]
    errors = stopping.error_of(totals, numpy.full((EDGE, EDGE), 16), 1.0)
    return Rule(SAMPLES, float(numpy.sort(errors.ravel())[-20]), 4)


def rendered(addends: list[Image], rule: Rule, seed: int) -> Image:
    found = film.added(addends, Film(SAMPLES, rule=rule), numpy.random.default_rng(seed))
    return plain_counts(found.image, found.most)


def test_honest_flips_happen_and_are_no_other_picture(addends: list[Image], rule: Rule) -> None:
    explained = Sums(SAMPLES, noise_threshold=rule.threshold / 5, min_samples=4)
    first, *others = (rendered(addends, rule, seed) for seed in range(RENDERS))
    flipped = []
    for other in others:
        compared = compare(other, first, explained)
        flipped.append(int(compared.flipped.sum()))
        assert not compared.different.any()
    assert 0 in flipped
    assert any(flipped), "No decision was near enough to the threshold."
    assert max(flipped) <= 25


def test_who_stops_at_twice_the_noise_is_another_picture(addends: list[Image], rule: Rule) -> None:
    asked = Rule(SAMPLES, rule.threshold / 2, rule.least)
    explained = Sums(SAMPLES, noise_threshold=asked.threshold / 5, min_samples=4)
    honest, early = rendered(addends, asked, 1), rendered(addends, rule, 2)
    assert compare(early, honest, explained).different.any()
