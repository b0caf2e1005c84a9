# SPDX-License-Identifier: GPL-3.0-or-later
"""How often a finished frame is compared with a whole one, and what that costs."""

import pytest

from frame_splitter.seams import FRAMES_A_LOOK, SMALL_WORK, looks, wants_strip


def first(below):
    return 0


def last(below):
    return below - 1


def test_the_first_frame_comes_first_and_others_are_drawn_from_each_further_hundred():
    assert looks(250, 1, first) == (0, 100)
    assert looks(350, 1, last) == (0, 199, 299)


def test_small_frames_are_always_looked_at():
    assert looks(1, SMALL_WORK, first) == (0,)


def test_large_frames_only_where_there_are_many():
    assert looks(99, SMALL_WORK + 1, first) == ()
    assert looks(100, SMALL_WORK + 1, first) == (0,)


def test_large_frames_in_many_tiles_get_a_strip():
    assert wants_strip(101, 1, ())
    assert not wants_strip(100, 1, ())
    assert not wants_strip(101, 1, (0,)), "a frame is rendered whole"
    assert not wants_strip(198, 99, ()), "nothing is cut"


@pytest.mark.parametrize("frames", [100, 101, 199, 200, 999, 100_000])
def test_it_costs_no_more_than_a_hundredth(frames):
    due = looks(frames, SMALL_WORK + 1, last)
    assert len(due) <= frames / FRAMES_A_LOOK
    assert due == tuple(sorted(due))
    assert due[-1] < frames
