# SPDX-License-Identifier: GPL-3.0-or-later
"""The sparse test on noise whose truth is known: what it finds, and what it must not mind."""

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from farm_protocol.fields import Tile
from frame_splitter.exr import Image, Part
from verification.metrics.blocks import block_scores, spread_out, suspicious_blocks
from verification.metrics.samples import estimate_samples

HEIGHT, WIDTH, SAMPLES, FEW = 128, 192, 64, 2
SIDE = 16
PLACE = (slice(40, 76), slice(90, 126))
"""36 x 36 pixels, rows from the bottom up."""


def light(seed, mean=None, spread=1.0):
    rng = numpy.random.default_rng(seed)
    mean = scenery() if mean is None else mean
    shape = 1 / spread
    return (mean[None] * rng.gamma(shape, 1 / shape, (SAMPLES, HEIGHT, WIDTH))).astype("f")


def scenery():
    y, x = numpy.mgrid[:HEIGHT, :WIDTH]
    return 0.5 + 0.4 * numpy.sin(x / 9) * numpy.cos(y / 14) + 0.8 * (x > 100)


def image(pixels, part="Layer.Combined"):
    return Image(WIDTH, HEIGHT, (Part(part, {f"{part}.R": pixels[::-1].astype("f")}, {}),))


def worst(submitted, sparse, count=1):
    found = suspicious_blocks(image(submitted), image(sparse), FEW / SAMPLES, SIDE, count)
    return found if count > 1 else found[0]


def touches(block):
    rows, columns = PLACE
    return (
        block.x0 < columns.stop
        and block.x1 > columns.start
        and block.y0 < rows.stop
        and block.y1 > rows.start
    )


def black(pixels, _):
    return 0.0


def brighter(pixels, _):
    return pixels[PLACE] * 1.4


def elsewhere(pixels, _):
    return pixels[PLACE[0], 10:46]


def other_noise(_, other):
    return other[PLACE]


@pytest.mark.parametrize("change", [black, brighter, elsewhere, other_noise])
def test_a_changed_place_is_a_suspect_in_nearly_every_draw(change):
    hits = 0
    for seed in range(20):
        samples = light(seed)
        submitted = samples.mean(0)
        submitted[PLACE] = change(submitted.copy(), light(seed + 100).mean(0))
        suspects = worst(submitted, samples[7 : 7 + FEW].mean(0), 3)
        hits += any(touches(block) for _, block in suspects)
    assert hits >= 18


def test_an_honest_tile_scores_as_noise_does_even_with_fireflies():
    highest = []
    for seed in range(20):
        samples = light(seed, spread=20.0)
        highest.append(worst(samples.mean(0), samples[:FEW].mean(0))[0])
    assert max(highest) < 9


def test_black_is_impossible_and_stands_out_by_far():
    samples = light(1)
    submitted = samples.mean(0)
    submitted[PLACE] = 0
    assert worst(submitted, samples[:FEW].mean(0))[0] > 50


def test_passes_without_noise_show_a_change_far_below_the_pictures_noise():
    smooth = scenery()
    submitted = smooth.copy()
    submitted[PLACE] *= 1.02
    first = suspicious_blocks(
        image(submitted, "Layer.Denoising Albedo"),
        image(smooth, "Layer.Denoising Albedo"),
        FEW / SAMPLES,
        SIDE,
        1,
    )
    assert touches(first[0][1])


def test_passes_of_the_first_sample_are_not_asked():
    rng = numpy.random.default_rng(5)
    one, other = rng.random((HEIGHT, WIDTH)), rng.random((HEIGHT, WIDTH))
    for name in ("Layer.Depth", "Layer.Object Index", "Layer.Debug Sample Count"):
        assert not block_scores(image(one, name), image(other, name), FEW / SAMPLES, SIDE).any()


def test_equal_pictures_have_no_score():
    samples = light(2).mean(0)
    assert not block_scores(image(samples), image(samples), 1.0, SIDE).any()


WILD = st.floats(width=32)


@given(arrays(numpy.float32, (24, 40), elements=WILD), arrays(numpy.float32, (24, 40), elements=WILD))
@settings(max_examples=50, deadline=None)
def test_whatever_the_floats_are_there_are_suspects_with_numbers(one, other):
    pictures = [Image(40, 24, (Part("a.Combined", {"R": pixels}, {}),)) for pixels in (one, other)]
    found = suspicious_blocks(*pictures, FEW / SAMPLES, 8, 3)
    assert len(found) == 3
    assert all(numpy.isfinite(score) for score, _ in found)
    assert len({block for _, block in found}) == 3


@given(arrays(numpy.float64, st.tuples(st.integers(1, 8), st.integers(1, 8))), st.integers(1, 70))
def test_places_are_different_and_no_more_than_there_are(scores, count):
    scores = numpy.nan_to_num(scores)
    places = spread_out(scores, count)
    assert len(places) == len(set(places)) == min(count, scores.size)
    assert scores[places[0]] == scores.max()


def test_places_are_spread_out_before_they_are_crowded():
    scores = numpy.zeros((9, 9))
    scores[2:5, 2:5] = 10 + numpy.arange(9).reshape(3, 3)
    scores[7, 7] = 1
    assert spread_out(scores, 2) == [(4, 4), (7, 7)]


def test_blocks_at_the_edges_are_cut():
    pixels = numpy.zeros((20, 50), "f")
    pictures = [Image(50, 20, (Part("a.Combined", {"R": pixels + n}, {}),)) for n in range(2)]
    blocks = {block for _, block in suspicious_blocks(*pictures, 1 / 8, 16, 99)}
    assert Tile(48, 16, 50, 20) in blocks
    assert sum(block.area for block in blocks) == 1000


# --- how many samples ---------------------------------------------------------------------------------


def crops(one, other):
    places = [(slice(y, y + 16), slice(x, x + 16)) for y in (0, 40, 100) for x in (0, 64, 144)]
    return [(one[place][..., None], other[place][..., None]) for place in places]


@pytest.mark.parametrize("taken", [8, 16, 32, 48, 60])
def test_fewer_samples_are_counted(taken):
    found = []
    for seed in range(5):
        samples = light(seed)
        found.append(estimate_samples(crops(samples[:taken].mean(0), samples.mean(0)), SAMPLES))
    counted = [number for number in found if number is not None]
    assert len(counted) >= 3
    assert numpy.median(counted) == pytest.approx(taken, rel=0.2)


def test_sums_of_fewer_samples_are_counted_by_their_brightness():
    samples = light(3)
    pairs = crops(samples[:48].sum(0) / SAMPLES, samples.mean(0))
    assert estimate_samples(pairs, SAMPLES) == pytest.approx(48, rel=0.05)


def test_other_cheats_are_not_taken_for_fewer_samples():
    whole = light(4).mean(0)
    lies = (light(5).mean(0), scenery(), whole * 0.9, numpy.zeros_like(whole), numpy.roll(whole, 30, 1))
    assert [estimate_samples(crops(lie, whole), SAMPLES) for lie in lies] == [None] * 5
    assert estimate_samples([], SAMPLES) is None
    assert estimate_samples(crops(whole * numpy.nan, whole), SAMPLES) is None
