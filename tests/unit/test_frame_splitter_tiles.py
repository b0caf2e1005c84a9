# SPDX-License-Identifier: GPL-3.0-or-later
from collections.abc import Callable

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm_protocol.errors import InvalidInput
from farm_protocol.facts import SceneFacts
from farm_protocol.fields import Tile
from frame_splitter.tiles import (
    SMALLEST_EDGE,
    auto_grid,
    border_area,
    frame_size,
    grid,
    overscan_cost,
    relative,
    with_overscan,
)

MakeFacts = Callable[..., SceneFacts]
EDGES = st.integers(1, 120)
FRACTIONS = st.floats(0, 1, width=32)


@st.composite
def areas(draw: st.DrawFn) -> Tile:
    x0, y0 = draw(st.integers(0, 50)), draw(st.integers(0, 50))
    return Tile(x0, y0, x0 + draw(EDGES), y0 + draw(EDGES))


def coverage(tiles: tuple[Tile, ...]) -> numpy.ndarray:
    count = numpy.zeros((200, 200), int)
    for tile in tiles:
        count[tile.y0 : tile.y1, tile.x0 : tile.x1] += 1
    return count


@given(area=areas(), columns=st.integers(1, 150), rows=st.integers(1, 150))
def test_a_grid_covers_every_pixel_once_and_nothing_else(area: Tile, columns: int, rows: int) -> None:
    tiles = grid(area, columns, rows)
    assert numpy.array_equal(coverage(tiles), coverage((area,)))
    assert len(tiles) == min(columns, area.width) * min(rows, area.height)
    assert all(tile.area > 0 for tile in tiles)
    assert max(tile.width for tile in tiles) - min(tile.width for tile in tiles) <= 1
    assert max(tile.height for tile in tiles) - min(tile.height for tile in tiles) <= 1


def test_a_grid_starts_at_the_top_left() -> None:
    first, second, *_ = grid(Tile(0, 0, 100, 60), 2, 2)
    assert (first, second) == (Tile(0, 30, 50, 60), Tile(50, 30, 100, 60))


@given(width=st.integers(1, 5000), height=st.integers(1, 5000), wanted=st.integers(1, 200))
def test_auto_tiles_are_not_small_and_about_as_many_as_wanted(width: int, height: int, wanted: int) -> None:
    columns, rows = auto_grid(Tile(0, 0, width, height), wanted)
    tiles = grid(Tile(0, 0, width, height), columns, rows)
    assert all(tile.width >= SMALLEST_EDGE or columns == 1 for tile in tiles)
    assert all(tile.height >= SMALLEST_EDGE or rows == 1 for tile in tiles)
    assert len(tiles) <= 2 * wanted
    if min(width, height) >= 2 * SMALLEST_EDGE * wanted:
        assert len(tiles) >= wanted / 2
        assert max(tiles[0].width / tiles[0].height, tiles[0].height / tiles[0].width) < 3 * max(
            width / height, height / width
        )


def test_auto_tiles_of_a_common_still() -> None:
    assert auto_grid(Tile(0, 0, 1920, 1080), 8) == (4, 2)
    assert auto_grid(Tile(0, 0, 1080, 1920), 8) == (2, 4)
    assert auto_grid(Tile(0, 0, 100, 20), 8) == (3, 1)
    assert auto_grid(Tile(0, 0, 20, 20), 8) == (1, 1)


@given(area=areas(), columns=st.integers(1, 9), rows=st.integers(1, 9), overscan=st.integers(0, 40))
def test_overscan_stays_in_the_area_and_cuts_back_to_the_tile(
    area: Tile, columns: int, rows: int, overscan: int
) -> None:
    frame = numpy.arange(200 * 200).reshape(200, 200)
    for tile in grid(area, columns, rows):
        wide = with_overscan(tile, overscan, area)
        assert area.x0 <= wide.x0 <= tile.x0
        assert tile.x1 <= wide.x1 <= area.x1
        assert wide.x0 == area.x0 or tile.x0 - wide.x0 == overscan
        assert wide.y1 == area.y1 or wide.y1 - tile.y1 == overscan
        rendered = frame[wide.y0 : wide.y1, wide.x0 : wide.x1]
        inner = relative(tile, wide)
        assert numpy.array_equal(
            rendered[inner.y0 : inner.y1, inner.x0 : inner.x1], frame[tile.y0 : tile.y1, tile.x0 : tile.x1]
        )


def test_what_overscan_costs() -> None:
    area = Tile(0, 0, 100, 100)
    assert overscan_cost(grid(area, 2, 2), 0, area) == 1.0
    assert overscan_cost(grid(area, 2, 1), 10, area) == pytest.approx(1.2)
    assert overscan_cost(grid(area, 2, 1), 1000, area) == 2.0


@given(x=st.integers(4, 8_000), y=st.integers(4, 8_000), percentage=st.integers(1, 200))
def test_frame_sizes_are_truncated(make_facts: MakeFacts, x: int, y: int, percentage: int) -> None:
    facts = make_facts(resolution_x=x, resolution_y=y)
    try:
        width, height = frame_size(facts, percentage)
    except InvalidInput as refused:
        assert x * percentage < 100 or y * percentage < 100
        smallest = int(refused.sentence.rpartition("works is ")[2].partition(" ")[0])
        assert min(frame_size(facts, smallest)) >= 1
        with pytest.raises(InvalidInput):
            frame_size(facts, smallest - 1)
        return
    assert 0 <= x * percentage / 100 - width < 1
    assert 0 <= y * percentage / 100 - height < 1


@pytest.mark.parametrize(
    ("x", "y", "percentage"), [(0, 100, 100), (100, 100, 0), (131072, 4, 100), (40000, 40000, 100)]
)
def test_impossible_sizes_are_refused(make_facts: MakeFacts, x: int, y: int, percentage: int) -> None:
    with pytest.raises(InvalidInput):
        frame_size(make_facts(resolution_x=x, resolution_y=y), percentage)


@given(
    left=FRACTIONS,
    bottom=FRACTIONS,
    right=FRACTIONS,
    top=FRACTIONS,
    width=EDGES,
    height=EDGES,
    crop=st.booleans(),
)
def test_borders_are_multiplied_in_float32(
    make_facts: MakeFacts,
    left: float,
    bottom: float,
    right: float,
    top: float,
    width: int,
    height: int,
    crop: bool,
) -> None:
    expected = Tile(
        *(
            int(numpy.float32(f) * numpy.float32(s))
            for f, s in zip((left, bottom, right, top), (width, height) * 2, strict=True)
        )
    )
    facts = make_facts(border=(left, bottom, right, top), crop=crop)
    if expected.width < 1 or expected.height < 1:
        with pytest.raises(InvalidInput, match="no pixel"):
            border_area(facts, width, height)
        return
    area, canvas = border_area(facts, width, height)
    assert area == expected
    assert canvas == (expected if crop else Tile(0, 0, width, height))


def test_a_border_that_float32_rounds_up(make_facts: MakeFacts) -> None:
    """0.7 is a little less than 0.7 in float32, but 10 times it rounds to 7 there."""
    fraction = float(numpy.float32(0.7))
    area, _ = border_area(make_facts(border=(fraction, 0.0, 1.0, 1.0)), 10, 10)
    assert fraction * 10 < 7
    assert area.x0 == 7


def test_no_border_is_the_whole_frame(make_facts: MakeFacts) -> None:
    assert border_area(make_facts(crop=True), 8, 6) == (Tile(0, 0, 8, 6), Tile(0, 0, 8, 6))


@pytest.mark.parametrize(
    "border", [(-0.5, 0, 1, 1), (0, 0, 2, 1), (0, 0, float("inf"), 1), (float("nan"), 0, 1, 1)]
)
def test_borders_outside_the_frame_are_refused(make_facts: MakeFacts, border: tuple[float, ...]) -> None:
    with pytest.raises(InvalidInput):
        border_area(make_facts(border=border), 100, 100)
