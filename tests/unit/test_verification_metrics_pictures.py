# SPDX-License-Identifier: GPL-3.0-or-later
"""Each metric of two pictures: identity, symmetry where it holds, bounds, and cases worked out by hand."""

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from frame_splitter.exr import Image, Part
from verification.compare.metrics.cluster import largest_cluster
from verification.compare.metrics.difference import different_pixels
from verification.compare.metrics.noise import noise_energy, noise_ratio, relative_noise
from verification.compare.metrics.rmse import relative_rmse, rmse

SIZES = st.tuples(st.integers(3, 9), st.integers(3, 9), st.just(3))
VALUES = st.floats(-1e6, 1e6, width=32)
PICTURES = SIZES.flatmap(lambda shape: arrays(numpy.float32, shape, elements=VALUES))
PAIRS = SIZES.flatmap(
    lambda shape: st.tuples(*[arrays(numpy.float32, shape, elements=VALUES) for _ in range(2)])
)
MASKS = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(lambda shape: arrays(numpy.bool_, shape))


def image(**channels):
    height, width = next(iter(channels.values())).shape
    return Image(width, height, (Part("layer", channels, {}),))


@given(PAIRS)
def test_rmse_is_symmetrical_and_lies_between_zero_and_the_largest_difference(pair):
    one, other = pair
    found = rmse(one, other)
    assert found == rmse(other, one)
    assert 0 <= found <= numpy.abs(one.astype("d") - other).max() * (1 + 1e-9)
    assert rmse(one, one) == relative_rmse(one, one) == 0


def test_rmse_by_hand():
    black, one = numpy.zeros((2, 2, 1), "f"), numpy.full((2, 2, 1), 3, "f")
    one[0, 0] = 0
    assert rmse(one, black) == pytest.approx((27 / 4) ** 0.5)
    assert relative_rmse(black, one) == pytest.approx((27 / 4) ** 0.5 / (9 / 4))
    assert relative_rmse(one, black) == float("inf")


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 3e38])
def test_rmse_of_what_is_no_number_is_a_number_or_infinite(wrong):
    one = numpy.full((4, 4, 3), wrong, "f")
    assert rmse(one, -one) > 1e30
    assert relative_rmse(one, numpy.ones_like(one)) > 1e30
    assert relative_rmse(numpy.ones_like(one), one) >= 0


@given(MASKS)
def test_the_largest_cluster_is_no_larger_than_the_mask_and_does_not_mind_turning(mask):
    found = largest_cluster(mask)
    assert (found > 0) == mask.any()
    assert found <= mask.sum()
    assert found == largest_cluster(mask.T) == largest_cluster(mask[::-1])


@given(MASKS, st.data())
def test_another_pixel_never_makes_the_largest_cluster_smaller(mask, data):
    place = tuple(data.draw(st.integers(0, edge - 1)) for edge in mask.shape)
    more = mask.copy()
    more[place] = True
    assert largest_cluster(more) >= largest_cluster(mask)


def flooded(mask):
    """The largest group, found pixel by pixel."""
    left = {(int(row), int(column)) for row, column in zip(*mask.nonzero(), strict=True)}
    largest = 0
    while left:
        waiting, size = [left.pop()], 0
        while waiting:
            row, column = waiting.pop()
            size += 1
            around = {(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)} & left
            left -= around
            waiting += around
        largest = max(largest, size)
    return largest


@given(st.integers(0, 2**32), st.floats(0.05, 0.95), st.integers(1, 40), st.integers(1, 40))
@settings(deadline=None)
def test_clusters_are_those_of_a_flood(seed, density, height, width):
    mask = numpy.random.default_rng(seed).random((height, width)) < density
    assert largest_cluster(mask) == flooded(mask)


def test_clusters_by_hand():
    rows = ["##...#", "..#..#", "......", "#.#.#."]
    mask = numpy.array([[letter == "#" for letter in row] for row in rows])
    assert largest_cluster(mask) == 3
    snake = numpy.zeros((9, 9), bool)
    snake[::2] = True
    snake[1::4, -1] = snake[3::4, 0] = True
    assert largest_cluster(snake) == snake.sum() == 49


@given(PICTURES)
def test_noise_does_not_mind_brightness_and_grows_with_the_square(picture):
    found = noise_energy(picture)
    assert found >= 0
    assert noise_energy(picture * 2) == pytest.approx(4 * found)
    assert noise_energy(picture + numpy.float32(1 << 20)) == pytest.approx(found, rel=1e-3, abs=0.1)
    assert noise_ratio(picture, picture) == 1


def test_noise_is_the_variance_of_white_noise_and_none_in_ramps():
    noise = numpy.random.default_rng(1).normal(5, 0.3, (300, 300, 3)).astype("f")
    assert noise_energy(noise) == pytest.approx(0.09, rel=0.03)
    assert relative_noise(noise) == pytest.approx(0.06, rel=0.03)
    ramp = numpy.add.outer(numpy.arange(20), numpy.arange(30))[..., None] * numpy.float32(0.5)
    assert noise_energy(ramp) == 0
    assert relative_noise(numpy.zeros((5, 5, 3), "f")) == 0


def test_noise_of_half_the_samples_is_twice_as_much():
    samples = numpy.random.default_rng(2).gamma(1, 1, (64, 120, 120, 1))
    assert noise_ratio(samples[:32].mean(0), samples.mean(0)) == pytest.approx(2, rel=0.1)
    assert noise_ratio(numpy.ones((9, 9, 1), "f"), numpy.ones((9, 9, 1), "f")) == 1
    assert noise_ratio(samples[0], numpy.ones((120, 120, 1))) == float("inf")


@given(arrays(numpy.float32, (4, 5), elements=st.floats(width=32)), st.integers(0, 3), st.integers(0, 4))
@settings(max_examples=50)
def test_any_changed_bit_makes_its_pixel_different_and_no_other(pixels, row, column):
    changed = pixels.copy()
    changed.view(numpy.uint32)[row, column] ^= 1
    expected = numpy.zeros((4, 5), bool)
    expected[row, column] = True
    other = numpy.zeros((4, 5), "f")
    assert (different_pixels(image(a=pixels, b=other), image(a=changed, b=other)) == expected).all()
    assert not different_pixels(image(a=pixels), image(a=pixels.copy())).any()


def test_signs_of_zero_types_and_missing_channels_are_differences():
    zero, one = numpy.zeros((2, 3), "f"), numpy.ones((2, 3), "f")
    assert different_pixels(image(a=zero), image(a=-zero)).all()
    assert different_pixels(image(a=zero), image(a=zero.astype("f2"))).all()
    assert different_pixels(image(a=zero), image(a=zero, b=one)).all()
    assert different_pixels(image(a=zero), image(b=zero)).all()
