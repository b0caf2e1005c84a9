# SPDX-License-Identifier: GPL-3.0-or-later
"""Sizes and rectangles: the frame as Blender sizes it, the artist's border, and cutting it into tiles."""

import math
import struct
from itertools import pairwise

from farm_protocol.errors import InvalidInput
from farm_protocol.facts import SceneFacts
from farm_protocol.fields import Tile

SMALLEST_EDGE = 32
"""Pixels. Below this a tile's fixed costs outweigh its rendering."""

MAX_EDGE = 65_536
"""Pixels. The longest edge of a frame the farm accepts."""

MAX_PIXELS = 1 << 28
"""The most pixels of a frame the farm accepts: as many as 16384 x 16384 have."""


def frame_size(facts: SceneFacts, percentage: int) -> tuple[int, int]:
    """Width and height of the whole frame in pixels, truncated as Blender does.

    Raises InvalidInput when nothing is left, or when the frame is larger than the farm takes.
    """
    if percentage < 1:
        raise InvalidInput(f"The resolution percentage is {percentage}, but must be 1 or more.")
    width = facts.resolution_x * percentage // 100
    height = facts.resolution_y * percentage // 100
    if width < 1 or height < 1:
        raise InvalidInput(_too_small(facts, percentage))
    if max(width, height) > MAX_EDGE or width * height > MAX_PIXELS:
        raise InvalidInput(f"A frame of {width} x {height} pixels is larger than the farm renders.")
    return width, height


def _too_small(facts: SceneFacts, percentage: int) -> str:
    shorter = min(facts.resolution_x, facts.resolution_y)
    if shorter < 1:
        return f"The scene's resolution is {facts.resolution_x} x {facts.resolution_y}: it has no pixels."
    return (
        f"{percentage} % of {facts.resolution_x} x {facts.resolution_y} leaves no pixels: "
        f"the smallest percentage that works is {math.ceil(100 / shorter)} %."
    )


def border_area(facts: SceneFacts, width: int, height: int) -> tuple[Tile, Tile]:
    """The rendered part of a frame of `width` x `height` pixels, and the part its file covers.

    Both are the whole frame unless the artist set a border; the file covers only the border where the
    scene crops to it. Raises InvalidInput where the border holds no pixel.
    """
    frame = Tile(0, 0, width, height)
    if facts.border is None:
        return frame, frame
    left, bottom, right, top = facts.border
    area = Tile(_pixel(left, width), _pixel(bottom, height), _pixel(right, width), _pixel(top, height))
    if area.width < 1 or area.height < 1:
        raise InvalidInput(
            f"The scene's render region holds no pixel at {width} x {height}: enlarge it, or switch it off."
        )
    return area, area if facts.crop else frame


def _pixel(fraction: float, size: int) -> int:
    """Blender multiplies border fractions in float32 and truncates.

    An exact product would be off by one where float32 rounds up or down to a whole number.
    """
    if not 0.0 <= fraction <= 1.0:
        raise InvalidInput(f"The scene's render region reaches {fraction}, which lies outside the frame.")
    return int(_float32(_float32(fraction) * size))


def _float32(value: float) -> float:
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded


def grid(area: Tile, columns: int, rows: int) -> tuple[Tile, ...]:
    """`area` cut into columns x rows tiles, top row first; every pixel lies in exactly one tile.

    There are never more columns or rows than pixels, so no tile is empty. Edges differ by at most one
    pixel.
    """
    xs = _cuts(area.x0, area.x1, columns)
    ys = _cuts(area.y0, area.y1, rows)
    return tuple(Tile(x0, y0, x1, y1) for y0, y1 in reversed(list(pairwise(ys))) for x0, x1 in pairwise(xs))


def _cuts(start: int, end: int, parts: int) -> list[int]:
    if start >= end:
        raise InvalidInput("There are no pixels to cut into tiles.")
    parts = max(1, min(parts, end - start))
    return [start + (end - start) * index // parts for index in range(parts + 1)]


def auto_grid(area: Tile, tiles_wanted: int) -> tuple[int, int]:
    """Columns and rows giving about `tiles_wanted` near-square tiles, none below `SMALLEST_EDGE`."""
    most_columns = max(1, area.width // SMALLEST_EDGE)
    most_rows = max(1, area.height // SMALLEST_EDGE)
    shapes = [
        (columns, max(1, min(most_rows, round(tiles_wanted / columns))))
        for columns in range(1, min(most_columns, max(1, tiles_wanted)) + 1)
    ]
    return min(shapes, key=lambda shape: _misfit(area, shape, tiles_wanted))


def _misfit(area: Tile, shape: tuple[int, int], tiles_wanted: int) -> float:
    columns, rows = shape
    squareness = math.log((area.width / columns) / (area.height / rows))
    return abs(math.log(columns * rows / max(1, tiles_wanted))) * 2 + abs(squareness)


def with_overscan(tile: Tile, overscan: int, area: Tile) -> Tile:
    """`tile` with `overscan` more pixels on every side, as far as `area` reaches."""
    return Tile(
        max(tile.x0 - overscan, area.x0),
        max(tile.y0 - overscan, area.y0),
        min(tile.x1 + overscan, area.x1),
        min(tile.y1 + overscan, area.y1),
    )


def contains(outer: Tile, inner: Tile) -> bool:
    """Whether `inner` has pixels, all of them in `outer`."""
    return outer.x0 <= inner.x0 < inner.x1 <= outer.x1 and outer.y0 <= inner.y0 < inner.y1 <= outer.y1


def relative(tile: Tile, region: Tile) -> Tile:
    """`tile` counted from the lower left corner of `region`, as a picture of the region has it."""
    return Tile(tile.x0 - region.x0, tile.y0 - region.y0, tile.x1 - region.x0, tile.y1 - region.y0)


def overscan_cost(tiles: tuple[Tile, ...], overscan: int, area: Tile) -> float:
    """How many pixels are rendered for each pixel of `area`: 1.0 without overscan."""
    return sum(with_overscan(tile, overscan, area).area for tile in tiles) / area.area
