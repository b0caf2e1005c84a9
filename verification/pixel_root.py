# SPDX-License-Identifier: GPL-3.0-or-later
"""The pixel root: what a node signs of a picture, made of its floats and of nothing else.

Channels are ordered by part and name. The first leaf is the header (size, and the name and type of each
channel); then comes one leaf for each block of 16 x 16 pixels, in rows from the lower left corner. A
block's leaf holds, channel by channel, its rows from the bottom up, little-endian. Two honest renders
have the same root although their files differ (Blender writes the date into them).
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy

from farm_protocol.fields import Tile
from frame_splitter.exr import Image, Pixels
from verification import merkle

BLOCK = 16
"""Pixels. The edge of the squares a picture is hashed and compared in."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel of a picture, rows from the bottom up."""

    part: str
    name: str
    pixels: Pixels


def channels(image: Image) -> list[Channel]:
    """All channels of a picture in canonical order."""
    found = [
        Channel(part.name, name, pixels[::-1])
        for part in image.parts
        for name, pixels in part.channels.items()
    ]
    return sorted(found, key=lambda channel: (channel.part, channel.name))


def channel_names(image: Image) -> tuple[str, ...]:
    """All channels in canonical order, as part/channel."""
    return tuple(f"{channel.part}/{channel.name}" for channel in channels(image))


def blocks(width: int, height: int) -> Iterator[Tile]:
    """The blocks of a picture, in the order of their leaves."""
    for y in range(0, height, BLOCK):
        for x in range(0, width, BLOCK):
            yield Tile(x, y, min(x + BLOCK, width), min(y + BLOCK, height))


def leaves(image: Image) -> list[bytes]:
    """The hashed leaves of a picture."""
    ordered = channels(image)
    header = {
        "width": image.width,
        "height": image.height,
        "channels": [[one.part, one.name, one.pixels.dtype.name] for one in ordered],
    }
    hashed = [merkle.leaf_hash(json.dumps(header, separators=(",", ":"), sort_keys=True).encode())]
    for y in range(0, image.height, BLOCK):
        band = [_bytes_of(channel.pixels[y : y + BLOCK]) for channel in ordered]
        hashed += [merkle.leaf_hash(block) for block in _blocks_of(band, image.width)]
    return hashed


def _bytes_of(band: Pixels) -> Pixels:
    """Rows of one channel as little-endian bytes, of shape (rows, width, bytes of a sample)."""
    little = numpy.ascontiguousarray(band, band.dtype.newbyteorder("<"))
    raw: Pixels = little.view(numpy.uint8).reshape(*band.shape, band.itemsize)
    return raw


def _blocks_of(band: Sequence[Pixels], width: int) -> Iterator[bytes]:
    """The bytes of each block of a band; all whole blocks are put in order at once."""
    whole = width - width % BLOCK
    for start, end, edge in ((0, whole, BLOCK), (whole, width, width - whole)):
        if start == end:
            continue
        count = (end - start) // edge
        pieces = [
            rows[:, start:end].reshape(len(rows), count, -1).swapaxes(0, 1).reshape(count, -1)
            for rows in band
        ]
        for block in numpy.concatenate(pieces, axis=1):
            yield block.tobytes()


def pixel_root(images: Sequence[Image]) -> str:
    """The root of one picture, or of several in order (an audit's), as hexadecimal digits."""
    return joint_root([image_root(image) for image in images])


def image_root(image: Image) -> bytes:
    """The root of one picture."""
    return merkle.root(leaves(image))


def joint_root(roots: Sequence[bytes]) -> str:
    """`pixel_root` of the pictures whose roots these are."""
    return (roots[0] if len(roots) == 1 else merkle.root([merkle.leaf_hash(one) for one in roots])).hex()
