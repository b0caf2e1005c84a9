# SPDX-License-Identifier: GPL-3.0-or-later
"""What the sparse pass asks of passes that are no sums, and of values that are no numbers."""

import numpy
import pytest

from farm_protocol.fields import Tile
from frame_splitter.exr import Image, Part
from verification.metrics.blocks import SURE, block_scores, not_finite_blocks, suspicious_blocks
from verification.passes import with_first_samples

EDGE, SIDE, SHARE = 96, 16, 2 / 64
PATCH = (slice(50, 59), slice(20, 29))
"""Rows from the top."""
BLOCK = (2, 1)
"""The block of its middle, from the lower left corner."""

DEPTH = ("Layer.Depth.Z",)
MATTE = tuple(f"Layer.CryptoObject0{number}.{letter}" for number in (0, 1) for letter in "rgba")


def image(**channels):
    return Image(EDGE, EDGE, (Part("", {name: pixels.astype("f") for name, pixels in channels.items()}, {}),))


def depth(seed=1):
    return numpy.random.default_rng(seed).random((EDGE, EDGE)) + 5


def noise(seed):
    return numpy.random.default_rng(seed).random((EDGE, EDGE))


def named(first, second, share):
    """A cryptomatte of two things, of which the first has this share of each pixel."""
    blank = numpy.zeros((EDGE, EDGE))
    slots = (first + blank, share + blank, numpy.where(share < 1, second, 0) + blank, 1 - share + blank)
    return dict(zip(MATTE, (*slots, blank, blank, blank, blank), strict=True))


@pytest.mark.parametrize("name", ["Depth.Z", "Position.X", "Object Index.X", "Material Index.X"])
@pytest.mark.parametrize("change", [lambda old: old * 1.0001, lambda old: old * numpy.nan])
def test_a_falsified_hundredth_of_what_the_first_sample_writes_is_the_first_suspect(name, change) -> None:
    honest = {f"Layer.{name}": depth(), "Layer.Combined.R": noise(2)}
    false = depth()
    false[PATCH] = change(false[PATCH])
    submitted = image(**{f"Layer.{name}": false, "Layer.Combined.R": noise(2)})
    ((score, block), *_) = suspicious_blocks(submitted, image(**honest), SHARE, SIDE, 3)
    assert score >= SURE
    assert (block.y0 // SIDE, block.x0 // SIDE) == BLOCK


def test_honest_first_samples_score_nothing_and_other_devices_ones_neither() -> None:
    same = image(**{"Layer.Depth.Z": depth()})
    assert not block_scores(same, same, SHARE, SIDE).any()
    rounded = image(**{"Layer.Depth.Z": depth() * (1 + 1e-6)})
    assert not block_scores(same, rounded, SHARE, SIDE).any(), "all over the tile it says nothing"


def test_a_sum_that_is_called_depth_is_asked_as_a_sum() -> None:
    one, other = image(**{"Layer.Denoising Depth.Z": depth()}), image(**{"Layer.Denoising Depth.Z": depth(2)})
    scores = block_scores(one, other, SHARE, SIDE)
    assert scores.any()
    assert scores.max() < SURE


def test_a_cryptomatte_names_what_its_samples_name() -> None:
    few = named(1e30, 7e-5, numpy.where(noise(3) < 0.1, 0.5, 1.0))
    many = named(1e30, 7e-5, numpy.where(noise(3) < 0.2, 0.9375, 1.0))
    assert block_scores(image(**many), image(**few), SHARE, SIDE).max() < SURE
    for channel in (MATTE[0], MATTE[2]):
        false = {name: pixels.copy() for name, pixels in many.items()}
        false[channel][PATCH] = 3e-20
        found = block_scores(image(**false), image(**few), SHARE, SIDE)
        assert (found[BLOCK] >= SURE) == (channel == MATTE[0])


def test_a_thing_without_room_in_the_cryptomatte_is_nobodys_fault() -> None:
    few = named(1e30, 0.0, numpy.ones((EDGE, EDGE)))
    full = {name: noise(number) + 0.1 for number, name in enumerate(MATTE)}
    full[MATTE[1]] *= 0.5
    assert block_scores(image(**full), image(**few), SHARE, SIDE).max() < SURE


def test_values_that_are_no_numbers_are_found_wherever_they_are() -> None:
    bad = depth()
    bad[3, 90], bad[4, 90], bad[80, 5] = numpy.nan, numpy.inf, -numpy.inf
    count, blocks = not_finite_blocks(image(**{"Layer.Vector.X": bad, "Layer.Combined.R": noise(1)}), SIDE)
    assert count == 3
    assert blocks == [Tile(80, 80, 96, 96), Tile(0, 0, 16, 16)]
    assert not_finite_blocks(image(**{"Layer.Vector.X": depth()}), SIDE) == (0, [])


def test_the_sparse_pass_takes_only_such_passes_from_the_first_samples() -> None:
    sparse = image(**{"Layer.Depth.Z": numpy.full((EDGE, EDGE), 1e10), "Layer.Combined.R": noise(1)})
    first = image(**{"Layer.Depth.Z": depth(), "Layer.Combined.R": noise(2)})
    made = with_first_samples(sparse, first).parts[0].channels
    assert (made["Layer.Depth.Z"] == depth().astype("f")).all()
    assert (made["Layer.Combined.R"] == noise(1).astype("f")).all()
