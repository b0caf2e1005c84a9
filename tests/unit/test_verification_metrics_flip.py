# SPDX-License-Identifier: GPL-3.0-or-later
"""FLIP against its authors' own program, and as a metric: identity, symmetry, bounds."""

import flip_evaluator
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.support.torch_there import skip_without_torch

skip_without_torch()

import torch  # noqa: E402

from verification.compare.metrics.flip import flip  # noqa: E402

pytestmark = pytest.mark.slow

SHAPES = st.tuples(st.integers(2, 40), st.integers(2, 40), st.just(3))
COLOURS = st.floats(0, 1, width=32)
PAIRS = SHAPES.flatmap(
    lambda shape: st.tuples(*[arrays(numpy.float32, shape, elements=COLOURS, fill=COLOURS) for _ in "ab"])
)


def ours(one, other):
    first, second = (torch.from_numpy(picture.copy()).permute(2, 0, 1)[None] for picture in (one, other))
    return flip(first, second)[0].numpy()


def theirs(one, other):
    found, _, _ = flip_evaluator.evaluate(other, one, "LDR", inputsRGB=True, applyMagma=False)
    return found.reshape(one.shape[:2])


@given(PAIRS)
@settings(max_examples=40, deadline=None)
def test_every_pixel_is_that_of_the_published_program(pair):
    assert numpy.abs(ours(*pair) - theirs(*pair)).max() < 1e-3


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (90, 161)])
def test_noise_steps_and_shifts_are_those_of_the_published_program(size):
    rng = numpy.random.default_rng(3)
    ramp = numpy.linspace(0, 1, size[1], dtype="f")[None, :, None] * numpy.ones((*size, 3), "f")
    noisy = numpy.clip(ramp + rng.normal(0, 0.2, ramp.shape), 0, 1).astype("f")
    for other in (noisy, ramp[:, ::-1].copy(), numpy.roll(noisy, 3, 0), ramp * numpy.float32(0.7)):
        assert numpy.abs(ours(ramp, other) - theirs(ramp, other)).max() < 1e-3


@given(PAIRS)
@settings(max_examples=25, deadline=None)
def test_it_is_symmetrical_zero_for_equal_pictures_and_never_above_one(pair):
    one, other = pair
    assert numpy.allclose(ours(one, other), ours(other, one), atol=1e-5)
    assert not ours(one, one).any()
    found = ours(one, other)
    assert found.min() >= 0
    assert found.max() <= 1


def test_a_batch_is_each_of_its_pairs():
    rng = torch.Generator().manual_seed(4)
    one, other = (torch.rand((3, 3, 20, 30), generator=rng) for _ in "ab")
    together = flip(one, other)
    assert together.shape == (3, 20, 30)
    for number in range(3):
        alone = flip(one[number : number + 1], other[number : number + 1])[0]
        assert torch.allclose(together[number], alone, atol=1e-6)
