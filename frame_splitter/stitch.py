# SPDX-License-Identifier: GPL-3.0-or-later
"""From tiles back to the frame: the inverse of splitting, pass by pass and float by float."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy

from farm_protocol.errors import InvalidInput
from farm_protocol.fields import Tile, decoder
from frame_splitter.exr import Image, Part, Pixels
from frame_splitter.tiles import contains

MANIFEST = "/manifest"
CRYPTOMATTE = "cryptomatte/"

Piece = tuple[Tile, Image]


def stitch(pieces: Sequence[Piece], area: Tile, canvas: Tile) -> Image:
    """Put tiles together on `canvas`; outside `area` it is zero.

    Every piece has its tile's size and the same parts and channels as the others; the tiles cover
    `area` exactly once. Attributes come from the first piece, cryptomatte manifests from all.
    Raises InvalidInput where any of that does not hold.
    """
    _check_cover([tile for tile, _ in pieces], area)
    if not contains(canvas, area):
        raise InvalidInput("The canvas does not hold the rendered area.")
    for tile, image in pieces:
        if (image.width, image.height) != (tile.width, tile.height):
            raise InvalidInput(f"A tile of {tile.width} x {tile.height} pixels has another size's picture.")
        _check_alike(pieces[0][1], image)
    parts = tuple(_stitch_part(pieces, index, canvas) for index in range(len(pieces[0][1].parts)))
    return Image(canvas.width, canvas.height, parts)


def _check_cover(tiles: list[Tile], area: Tile) -> None:
    """Inside the area, summing to its size, and disjoint: then every pixel lies in one tile."""
    if not all(contains(area, tile) for tile in tiles):
        raise InvalidInput("A tile is empty, or reaches out of the rendered area.")
    if sum(tile.area for tile in tiles) != area.area or _overlap(tiles):
        raise InvalidInput("The tiles do not cover the rendered area exactly once.")


def _overlap(tiles: list[Tile]) -> bool:
    """Sweep from left to right over tiles that are open at the moment, sorted by where they begin."""
    opened: list[Tile] = []
    for tile in sorted(tiles, key=lambda tile: tile.x0):
        opened = [other for other in opened if other.x1 > tile.x0]
        if any(other.y0 < tile.y1 and tile.y0 < other.y1 for other in opened):
            return True
        opened.append(tile)
    return False


def _check_alike(first: Image, other: Image) -> None:
    if _shape(first) != _shape(other):
        raise InvalidInput("Two tiles of a frame have different passes.")


def _shape(image: Image) -> list[tuple[str, dict[str, str]]]:
    return [
        (part.name, {name: pixels.dtype.name for name, pixels in part.channels.items()})
        for part in image.parts
    ]


def _stitch_part(pieces: Sequence[Piece], index: int, canvas: Tile) -> Part:
    first = pieces[0][1].parts[index]
    channels = {name: _paste(pieces, index, name, canvas) for name in first.channels}
    return Part(first.name, channels, _merge([image.parts[index].attributes for _, image in pieces]))


def _paste(pieces: Sequence[Piece], index: int, channel: str, canvas: Tile) -> Pixels:
    dtype = pieces[0][1].parts[index].channels[channel].dtype
    whole = numpy.zeros((canvas.height, canvas.width), dtype)
    for tile, image in pieces:
        rows = slice(canvas.y1 - tile.y1, canvas.y1 - tile.y0)
        columns = slice(tile.x0 - canvas.x0, tile.x1 - canvas.x0)
        whole[rows, columns] = image.parts[index].channels[channel]
    return whole


def _merge(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    merged = dict(attributes[0])
    for other in attributes[1:]:
        for name, value in other.items():
            if not name.startswith(CRYPTOMATTE):
                continue
            if name.endswith(MANIFEST) and value != merged.get(name, value):
                merged[name] = _merge_manifests(merged[name], value)
            merged.setdefault(name, value)
    return merged


def _merge_manifests(one: Any, other: Any) -> str:
    """The union of two tables of names and hashes; the first one's order and entries come first."""
    union = _names(one)
    for name, value in _names(other).items():
        union.setdefault(name, value)
    return msgspec.json.encode(union).decode()


def _names(manifest: Any) -> dict[str, str]:
    try:
        return decoder(dict[str, str]).decode(manifest)
    except (msgspec.DecodeError, TypeError, ValueError) as error:
        raise InvalidInput("A tile's cryptomatte manifest is not a table of names.") from error
