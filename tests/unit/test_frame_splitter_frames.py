# SPDX-License-Identifier: GPL-3.0-or-later
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm_protocol.errors import InvalidInput
from frame_splitter.frames import FIRST_FRAME, LAST_FRAME, MAX_FRAMES, FrameRange

FRAMES = st.integers(FIRST_FRAME, LAST_FRAME)


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        ("7", (7,)),
        ("1-10", tuple(range(1, 11))),
        ("1-100x5", tuple(range(1, 101, 5))),
        ("5,3,1", (5, 3, 1)),
        ("-5--1", (-5, -4, -3, -2, -1)),
        ("-5-2", (-5, -4, -3, -2, -1, 0, 1, 2)),
        ("3--1", (3, 2, 1, 0, -1)),
        ("10-1x3", (10, 7, 4, 1)),
        ("1-3,2-5,1", (1, 2, 3, 4, 5)),
        (" 1 - 3 , 9 ", (1, 2, 3, 9)),
        ("1-9 x 4", (1, 5, 9)),
        ("+4", (4,)),
        ("007-009", (7, 8, 9)),
        ("1-10x100", (1,)),
    ],
)
def test_ranges_people_write(text: str, frames: tuple[int, ...]) -> None:
    assert FrameRange.parse(text).frames == frames
    assert tuple(FrameRange.parse(text)) == frames
    assert len(FrameRange.parse(text)) == len(frames)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("1-10:4", "1-10x4"),
        ("1:10", "1-10x4"),
        ("1-10/2", "1-10x4"),
        ("1..10", "1-10"),
        ("1.5", "whole numbers"),
        ("1-10x0", "every frame write 1-10"),
        ("1-10x-2", "10-1x2"),
        ("1 2 3", "commas"),
        ("1;2", "commas"),
        ("1,,2", "commas"),
        ("1,", "commas"),
        ("1-", "neither"),
        ("1-2-3", "neither"),
        ("a", "neither"),
        ("--5", "neither"),
        ("1x5", "neither"),
        ("\u0663", "neither"),
        ("", "empty"),
        ("  ", "empty"),
        ("1048575", "Blender counts"),
        ("-1048575", "Blender counts"),
        ("99999999", "Blender counts"),
    ],
)
def test_ambiguous_ranges_are_refused_with_what_to_write(text: str, hint: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        FrameRange.parse(text)
    assert hint in caught.value.sentence


def test_a_refusal_quotes_little_and_on_one_line() -> None:
    with pytest.raises(InvalidInput) as caught:
        FrameRange.parse("1\n\x1b[31m" + "z" * 10_000)
    assert len(caught.value.sentence) < 400
    assert caught.value.sentence.isprintable()


def test_too_many_frames_are_refused_before_they_are_expanded() -> None:
    tracemalloc.start()
    with pytest.raises(InvalidInput, match=str(MAX_FRAMES)):
        FrameRange.parse(",".join(["-1048574-1048574"] * 1000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


def test_the_bound_itself_is_allowed() -> None:
    assert len(FrameRange.parse(f"1-{MAX_FRAMES}")) == MAX_FRAMES
    with pytest.raises(InvalidInput):
        FrameRange.parse(f"0-{MAX_FRAMES}")
    with pytest.raises(InvalidInput):
        FrameRange(tuple(range(MAX_FRAMES + 1)))
    with pytest.raises(InvalidInput, match="million"):
        FrameRange.parse("1," * 600_000)


def test_a_value_is_checked_however_it_is_made() -> None:
    assert FrameRange((3, 1, 3)).frames == (3, 1)
    with pytest.raises(InvalidInput):
        FrameRange(())
    with pytest.raises(InvalidInput):
        FrameRange((LAST_FRAME + 1,))


def test_a_scenes_own_range() -> None:
    assert FrameRange.spanning(1, 10, 4).frames == (1, 5, 9)
    for start, end, step in ((5, 4, 1), (1, 10, 0), (0, MAX_FRAMES, 1)):
        with pytest.raises(InvalidInput):
            FrameRange.spanning(start, end, step)


@pytest.mark.parametrize(
    ("text", "short"),
    [("1,2,3,4", "1-4"), ("1,6,11", "1-11x5"), ("9,8", "9-8"), ("1,5", "1,5"), ("-3,-2,-1", "-3--1")],
)
def test_short_spelling(text: str, short: str) -> None:
    assert str(FrameRange.parse(text)) == short


@given(st.lists(FRAMES, min_size=1, max_size=40))
def test_any_list_of_frames_survives_being_written_and_read(frames: list[int]) -> None:
    value = FrameRange(tuple(frames))
    assert FrameRange.parse(str(value)) == value
    assert value.frames == tuple(dict.fromkeys(frames))


@given(start=st.integers(-500, 500), count=st.integers(1, 80), step=st.integers(1, 9), down=st.booleans())
def test_any_range_survives_being_written_and_read(start: int, count: int, step: int, down: bool) -> None:
    step = -step if down else step
    value = FrameRange(tuple(range(start, start + count * step, step)))
    assert FrameRange.parse(str(value)) == value
    assert len(str(value)) < 25


@given(st.text(alphabet="0123456789-x, :./+", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        value = FrameRange.parse(text)
    except InvalidInput:
        return
    assert FrameRange.parse(str(value)) == value
