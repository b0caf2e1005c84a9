# SPDX-License-Identifier: GPL-3.0-or-later
"""The pixel root: the same for the same floats whatever the file, another one for any other float."""

import hashlib
import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm_protocol.records import OutputFile
from frame_splitter import exr
from frame_splitter.exr import Image, Part
from verification import merkle
from verification.file_root import file_root
from verification.pixel_root import blocks, channel_names, leaves, pixel_root


def picture(width: int = 21, height: int = 18, parts: int = 2) -> Image:
    values = numpy.arange(width * height, dtype=numpy.float32).reshape(height, width)
    made = [
        Part(f"Layer.{name}", {f"Layer.{name}.{channel}": values + number for channel in "RGBA"}, {})
        for number, name in enumerate(["Combined", "Depth", "Normal"][:parts])
    ]
    return Image(width, height, tuple(made))


def with_pixel(image: Image, part: int, row: int, column: int, value: float) -> Image:
    old = image.parts[part]
    name = sorted(old.channels)[0]
    pixels = old.channels[name].copy()
    pixels[row, column] = value
    parts = list(image.parts)
    parts[part] = replace(old, channels=old.channels | {name: pixels})
    return replace(image, parts=tuple(parts))


def test_by_hand() -> None:
    """One channel, 17x1 pixels: a header and two blocks, hashed as the module's text says."""
    values = numpy.arange(17, dtype=numpy.float32).reshape(1, 17)
    header = json.dumps(
        {"channels": [["p", "c", "float32"]], "height": 1, "width": 17}, separators=(",", ":")
    )

    def leaf(data: bytes) -> bytes:
        return hashlib.sha256(b"\0" + data).digest()

    def node(left: bytes, right: bytes) -> bytes:
        return hashlib.sha256(b"\1" + left + right).digest()

    first, last = struct.pack("<16f", *range(16)), struct.pack("<f", 16)
    expected = node(node(leaf(header.encode()), leaf(first)), leaf(last))
    assert pixel_root([Image(17, 1, (Part("p", {"c": values}, {}),))]) == expected.hex()


def test_rows_count_from_the_bottom() -> None:
    values = numpy.zeros((20, 16), numpy.float32)
    values[:4] = 1.0  # the four topmost rows: the second block
    hashed = leaves(Image(16, 20, (Part("p", {"c": values}, {}),)))
    assert hashed[1] == merkle.leaf_hash(bytes(16 * 16 * 4))
    assert hashed[2] == merkle.leaf_hash(numpy.ones(64, "<f4").tobytes())


def test_order_of_parts_and_channels_does_not_matter() -> None:
    image = picture()
    turned = replace(
        image,
        parts=tuple(
            replace(part, channels=dict(reversed(part.channels.items()))) for part in image.parts[::-1]
        ),
    )
    assert pixel_root([turned]) == pixel_root([image])
    assert channel_names(turned) == channel_names(image)


def test_attributes_and_files_do_not_matter(tmp_path: Path) -> None:
    image = picture()
    dated = replace(
        image, parts=tuple(replace(part, attributes={"Date": "2026/01/01"}) for part in image.parts)
    )
    exr.write(tmp_path / "a.exr", image)
    exr.write(tmp_path / "b.exr", dated, compress=False)
    assert (tmp_path / "a.exr").read_bytes() != (tmp_path / "b.exr").read_bytes()
    roots = {pixel_root([exr.read(tmp_path / name)]) for name in ("a.exr", "b.exr")}
    assert roots == {pixel_root([image])}


@given(
    st.integers(0, 1), st.integers(0, 17), st.integers(0, 20), st.sampled_from([-0.0, 1e-30, float("nan")])
)
def test_any_float_matters(part: int, row: int, column: int, value: float) -> None:
    image = with_pixel(picture(), part, row, column, 0.0)
    assert pixel_root([with_pixel(image, part, row, column, value)]) != pixel_root([image])


def test_shape_names_and_types_matter() -> None:
    image = picture(16, 16)
    renamed = replace(image, parts=(replace(image.parts[0], name="Other"), *image.parts[1:]))
    halves = replace(
        image,
        parts=tuple(
            replace(part, channels={name: px.astype(numpy.float16) for name, px in part.channels.items()})
            for part in image.parts
        ),
    )
    wide = Image(
        32,
        8,
        tuple(replace(p, channels={n: c.reshape(8, 32) for n, c in p.channels.items()}) for p in image.parts),
    )
    fewer = replace(image, parts=image.parts[:1])
    roots = [pixel_root([one]) for one in (image, renamed, halves, wide, fewer)]
    assert len(set(roots)) == len(roots)


def test_big_endian_arrays_have_the_same_root() -> None:
    image = picture()
    swapped = replace(
        image,
        parts=tuple(
            replace(part, channels={name: px.astype(">f4") for name, px in part.channels.items()})
            for part in image.parts
        ),
    )
    assert pixel_root([swapped]) == pixel_root([image])


def test_order_of_an_audits_pictures_matters() -> None:
    first, second = picture(16, 16), picture(16, 17)
    assert pixel_root([first, second]) != pixel_root([second, first])
    assert pixel_root([first]) != pixel_root([first, first])


def test_a_block_can_be_shown_without_the_rest() -> None:
    """A crop with its proof shows what the node signed there."""
    image = picture(40, 40)
    hashed = leaves(image)
    place = 1 + [block.x0 == 16 and block.y0 == 16 for block in blocks(40, 40)].index(True)
    block = b"".join(
        image.parts[part].channels[name][::-1][16:32, 16:32].tobytes()
        for part in (0, 1)
        for name in sorted(image.parts[part].channels)
    )
    proof = merkle.proof(hashed, place)
    assert merkle.verify(
        merkle.leaf_hash(block), place, len(hashed), proof, bytes.fromhex(pixel_root([image]))
    )


@pytest.mark.parametrize(("width", "height"), [(1, 1), (16, 16), (17, 33), (5, 64)])
def test_blocks_cover_every_pixel_once(width: int, height: int) -> None:
    seen = numpy.zeros((height, width), int)
    for block in blocks(width, height):
        seen[block.y0 : block.y1, block.x0 : block.x1] += 1
    assert (seen == 1).all()


def test_file_root_is_about_contents_in_order() -> None:
    one, two = OutputFile("a", "11" * 32, 1), OutputFile("b", "22" * 32, 2)
    assert file_root([one, two]) != file_root([two, one])
    assert file_root([one]) == file_root([OutputFile("other", "11" * 32, 9)])
