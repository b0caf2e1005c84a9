# SPDX-License-Identifier: GPL-3.0-or-later
import json
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm_protocol.errors import InvalidInput
from farm_protocol.fields import Tile
from frame_splitter.exr import Image, Part, crop
from frame_splitter.stitch import stitch
from frame_splitter.tiles import grid, relative, with_overscan

MANIFEST = "cryptomatte/542cafa/manifest"


def picture(tile: Tile, layers: int = 2, seed: int = 0, attributes: dict[str, Any] | None = None) -> Image:
    """Random pixels of all three sample types, NaN among them."""
    random = numpy.random.default_rng(seed)
    shape = (tile.height, tile.width)
    parts = []
    for layer in range(layers):
        channels = {
            f"L{layer}.Combined.{c}": random.random(shape, numpy.float32) for c in ("A", "B", "G", "R")
        }
        channels[f"L{layer}.Half"] = random.random(shape).astype(numpy.float16)
        channels[f"L{layer}.Index"] = random.integers(0, 2**32, shape, numpy.uint32)
        channels[f"L{layer}.Combined.R"][0, 0] = numpy.nan
        parts.append(Part(f"L{layer}.Combined", channels, dict(attributes or {})))
    return Image(tile.width, tile.height, tuple(parts))


def bits(image: Image) -> list[tuple[str, str, str, bytes]]:
    return [
        (part.name, name, pixels.dtype.name, pixels.tobytes())
        for part in image.parts
        for name, pixels in part.channels.items()
    ]


@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    corner=st.tuples(st.integers(0, 30), st.integers(0, 30)),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    overscan=st.integers(0, 5),
    layers=st.integers(1, 3),
    order=st.randoms(use_true_random=False),
)
def test_stitching_undoes_splitting(
    size: tuple[int, int],
    corner: tuple[int, int],
    shape: tuple[int, int],
    overscan: int,
    layers: int,
    order: Any,
) -> None:
    area = Tile(corner[0], corner[1], corner[0] + size[0], corner[1] + size[1])
    whole = picture(area, layers)
    pieces = []
    for tile in grid(area, *shape):
        region = with_overscan(tile, overscan, area)
        rendered = crop(whole, relative(region, area))
        pieces.append((tile, crop(rendered, relative(tile, region))))
    order.shuffle(pieces)
    again = stitch(pieces, area, area)
    assert (again.width, again.height) == size
    assert bits(again) == bits(whole)


def test_outside_the_area_the_canvas_is_empty() -> None:
    area, canvas = Tile(3, 2, 9, 6), Tile(0, 0, 12, 10)
    whole = picture(area)
    frame = stitch([(tile, crop(whole, relative(tile, area))) for tile in grid(area, 2, 2)], area, canvas)
    assert (frame.width, frame.height) == (12, 10)
    assert bits(crop(frame, area)) == bits(whole)
    for part in frame.parts:
        for pixels in part.channels.values():
            pixels[10 - 6 : 10 - 2, 3:9] = 0
            assert not pixels.any()


AREA = Tile(0, 0, 8, 8)
LEFT, RIGHT = Tile(0, 0, 4, 8), Tile(4, 0, 8, 8)


@pytest.mark.parametrize(
    "tiles",
    [
        [],
        [LEFT],
        [LEFT, LEFT],
        [LEFT, RIGHT, RIGHT],
        [LEFT, Tile(3, 0, 7, 8)],
        [LEFT, Tile(4, 0, 9, 8)],
        [LEFT, RIGHT, Tile(2, 2, 2, 5)],
        [Tile(0, 0, 5, 8), Tile(4, 0, 8, 6)],
    ],
)
def test_tiles_must_cover_the_area_once(tiles: list[Tile]) -> None:
    pieces = [(tile, Image(tile.width, tile.height, picture(LEFT).parts[:0])) for tile in tiles]
    with pytest.raises(InvalidInput, match=r"cover|reaches"):
        stitch(pieces, AREA, AREA)


def test_the_canvas_must_hold_the_area() -> None:
    with pytest.raises(InvalidInput, match="canvas"):
        stitch([(AREA, picture(AREA))], AREA, Tile(0, 0, 8, 7))


def test_pieces_must_have_their_tiles_size() -> None:
    with pytest.raises(InvalidInput, match="4 x 8"):
        stitch([(LEFT, picture(LEFT)), (RIGHT, picture(Tile(0, 0, 8, 4)))], AREA, AREA)


def other_pictures() -> list[Image]:
    image = picture(RIGHT)
    first, second = image.parts
    renamed = Part("L0.Other", first.channels, {})
    fewer = Part(first.name, dict(list(first.channels.items())[:-1]), {})
    half = Part(
        first.name, {name: numpy.zeros(px.shape, numpy.float16) for name, px in first.channels.items()}, {}
    )
    return [
        Image(4, 8, parts)
        for parts in ((first,), (second, first), (renamed, second), (fewer, second), (half, second))
    ]


@pytest.mark.parametrize("other", other_pictures())
def test_pieces_must_have_the_same_passes(other: Image) -> None:
    with pytest.raises(InvalidInput, match="different passes"):
        stitch([(LEFT, picture(LEFT)), (RIGHT, other)], AREA, AREA)


def stitched_attributes(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    pieces = [(LEFT, picture(LEFT, 1, 0, left)), (RIGHT, picture(RIGHT, 1, 1, right))]
    return stitch(pieces, AREA, AREA).parts[0].attributes


def test_attributes_are_the_first_tiles() -> None:
    left = {"BlenderMultiChannel": "V2", "RenderTime": "00:01", MANIFEST: '{ "Cube":"a8fce865" }'}
    right = {"BlenderMultiChannel": "V2", "RenderTime": "00:02", MANIFEST: '{ "Cube":"a8fce865" }', "x": 1}
    assert stitched_attributes(left, right) == left


def test_cryptomatte_manifests_are_united() -> None:
    left = {MANIFEST: '{"Cube":"a8fce865","Lamp":"00000001"}', "cryptomatte/542cafa/name": "V.CryptoObject"}
    right = {
        MANIFEST: '{"Cube":"a8fce865","Kugel ä":"00000002"}',
        "cryptomatte/c7dbf5e/name": "V.CryptoMaterial",
    }
    merged = stitched_attributes(left, right)
    assert list(json.loads(merged[MANIFEST]).items()) == [
        ("Cube", "a8fce865"),
        ("Lamp", "00000001"),
        ("Kugel ä", "00000002"),
    ]
    assert merged["cryptomatte/542cafa/name"] == "V.CryptoObject"
    assert merged["cryptomatte/c7dbf5e/name"] == "V.CryptoMaterial"


@pytest.mark.parametrize("broken", ["{", "[1]", '{"a": 1}', 5])
def test_a_broken_manifest_is_refused(broken: Any) -> None:
    with pytest.raises(InvalidInput, match="manifest"):
        stitched_attributes({MANIFEST: "{}"}, {MANIFEST: broken})
