# SPDX-License-Identifier: GPL-3.0-or-later
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm_protocol.errors import InvalidInput
from frame_splitter.counts import plain_counts
from frame_splitter.exr import Image, Part


def picture(shares: list[float]) -> Image:
    pixels = numpy.array([shares], numpy.float32)
    channels = {"Layer.Debug Sample Count.X": pixels, "Layer.Depth.Z": pixels}
    return Image(len(shares), 1, (Part("", channels, {}),))


@given(st.lists(st.integers(1, 65_536), min_size=1, max_size=20))
def test_counts_come_back_from_the_shares_cycles_stores(counts: list[int]) -> None:
    most = max(counts)
    scale = numpy.float32(1) / numpy.float32(most)
    shares = [float(numpy.float32(count) * scale) for count in counts]
    channels = plain_counts(picture(shares), {"Layer": most}).parts[0].channels
    assert channels["Layer.Debug Sample Count.X"].tolist() == [counts]
    assert channels["Layer.Depth.Z"].tolist() == [shares]


@pytest.mark.parametrize("shares", [[0.3], [0.0], [-0.5], [float("nan")], [float("inf")]])
def test_shares_that_are_no_counts_are_refused(shares: list[float]) -> None:
    with pytest.raises(InvalidInput, match="not whole numbers"):
        plain_counts(picture(shares), {"Layer": 32})


def test_a_layer_without_its_count_is_refused() -> None:
    with pytest.raises(InvalidInput, match="'Layer'"):
        plain_counts(picture([1.0]), {"Other": 32})
