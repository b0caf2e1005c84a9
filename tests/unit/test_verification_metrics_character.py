# SPDX-License-Identifier: GPL-3.0-or-later
"""What kind of difference: each number on cases worked out by hand, and within its bounds on any."""

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from verification.compare.metrics.character import bias, coarse_share, darker_share

VALUES = st.floats(-1e6, 1e6, width=32)
PAIRS = st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(3)).flatmap(
    lambda shape: st.tuples(*[arrays(numpy.float32, shape, elements=VALUES) for _ in "ab"])
)


@given(PAIRS)
def test_shares_are_shares_and_nothing_lies_between_a_picture_and_itself(pair):
    one, other = pair
    assert 0 <= darker_share(one, other) <= 1
    assert 0 <= coarse_share(one, other) <= 1
    assert darker_share(one, other) + darker_share(other, one) == pytest.approx(float((one != other).any()))
    assert coarse_share(one, other) == pytest.approx(coarse_share(other, one))
    assert bias(one, one) == darker_share(one, one) == coarse_share(one, one) == 0


def test_by_hand():
    rendered = numpy.full((16, 16, 3), 0.5, "f")
    darker = rendered * numpy.float32(0.75)
    assert bias(darker, rendered) == -0.25
    assert darker_share(darker, rendered) == 1
    assert coarse_share(darker, rendered) == 1
    noise = numpy.random.default_rng(1).normal(0, 0.1, (400, 400, 3)).astype("f")
    flat = numpy.full_like(noise, 0.5)
    assert coarse_share(flat + noise, flat) == pytest.approx(1 / 16, rel=0.1)
    assert darker_share(flat + noise, flat) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("wild", [numpy.nan, numpy.inf, 3e38])
def test_what_is_no_number_is_survived(wild):
    one, other = numpy.full((8, 8, 3), wild, "f"), numpy.zeros((8, 8, 3), "f")
    for found in (bias(one, other), darker_share(one, other), coarse_share(one, other), bias(other, one)):
        assert isinstance(found, float)
    assert 0 <= coarse_share(one, other) <= 1
