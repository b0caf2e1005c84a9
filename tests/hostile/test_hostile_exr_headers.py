# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stranger writes into a picture's header is the picture's fault: it neither ends the process that
looks at pictures, nor seems to be a fault of the node's own.
"""

import random
import struct
from pathlib import Path

import pytest

from farm_protocol.errors import InvalidInput
from farm_protocol.fields import Tile
from frame_splitter import exr
from frame_splitter.exr_header import PLAIN_TYPES
from gpu_worker.picture_program import answer
from gpu_worker.picture_requests import Check, Stitch

SIZES = {
    "box2f": 16, "box2i": 16, "chlist": 19, "chromaticities": 32, "compression": 1, "double": 8, "float": 4,
    "int": 4, "keycode": 28, "lineOrder": 1, "m33d": 72, "m33f": 36, "m44d": 128, "m44f": 64, "rational": 8,
    "string": 9, "stringvector": 7, "timecode": 8, "v2d": 16, "v2f": 8, "v2i": 8, "v3d": 24, "v3f": 12,
    "v3i": 12,
}  # fmt: skip
"""Bytes of each type of attribute; of those without a fixed length, some."""

NAMES = ("mine", "owner", "framesPerSecond", "keyCode", "timeCode", "tiles", "view", "multiView", "wrapmodes")


def attribute(name: str, kind: str, value: bytes) -> bytes:
    return b"\0".join((name.encode(), kind.encode(), struct.pack("<i", len(value)))) + value


def picture(more: bytes) -> bytes:
    """A whole picture of 4x4 pixels, uncompressed, with further attributes."""
    box, channel = struct.pack("<4i", 0, 0, 3, 3), b"V.R\0" + struct.pack("<iB3x2i", 2, 0, 1, 1)
    header = b"".join(
        (
            attribute("channels", "chlist", channel + b"\0"),
            attribute("compression", "compression", b"\0"),
            attribute("dataWindow", "box2i", box),
            attribute("displayWindow", "box2i", box),
            attribute("lineOrder", "lineOrder", b"\0"),
            attribute("pixelAspectRatio", "float", struct.pack("<f", 1)),
            attribute("screenWindowCenter", "v2f", bytes(8)),
            attribute("screenWindowWidth", "float", struct.pack("<f", 1)),
            more,
            b"\0",
        )
    )
    start, row = 8 + len(header) + 4 * 8, struct.pack("<i", 16) + bytes(16)
    table = struct.pack("<4Q", *(start + line * (4 + len(row)) for line in range(4)))
    rows = b"".join(struct.pack("<i", line) + row for line in range(4))
    return struct.pack("<2i", 20000630, 2) + header + table + rows


def decide(path: Path, target: Path) -> bool:
    """What the picture process answers: both when it looks at a picture, and when it merges it."""
    tile, limits = Tile(0, 0, 4, 4), exr.Limits()
    checked = answer(Check(str(path), 4, 4), limits)
    stitched = answer(Stitch(((str(path), tile),), tile, tile, str(target)), limits)
    assert checked.good == stitched.good
    return checked.good


def test_a_ratio_over_zero_is_a_picture_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "ratio.exr"
    path.write_bytes(picture(attribute("framesPerSecond", "rational", bytes(8))))
    with pytest.raises(InvalidInput, match="header cannot be decoded"):
        exr.read(path)


def test_a_second_list_of_channels_is_refused(tmp_path: Path) -> None:
    """The library reads it, and fails to write it."""
    path = tmp_path / "channels.exr"
    path.write_bytes(picture(attribute("mine", "chlist", b"\0")))
    with pytest.raises(InvalidInput, match="chlist"):
        exr.read(path)


@pytest.mark.parametrize("kind", sorted(PLAIN_TYPES))
def test_no_attribute_is_more_than_a_good_or_bad_picture(tmp_path: Path, kind: str) -> None:
    chance = random.Random(kind)
    path, target = tmp_path / "one.exr", tmp_path / "merged.exr"
    path.write_bytes(picture(b""))
    assert decide(path, target)
    for _ in range(40):
        size = SIZES[kind] if chance.random() < 0.8 else chance.randrange(SIZES[kind] + 9)
        value = bytes(chance.choice((0, 0, 1, 255, chance.randrange(256))) for _ in range(size))
        path.write_bytes(picture(attribute(chance.choice(NAMES), kind, value)))
        decide(path, target)
