# SPDX-License-Identifier: GPL-3.0-or-later
"""EXR files that hurt whoever opens them trustingly, made of a good one."""

import struct
import zlib
from pathlib import Path

from frame_splitter.exr_header import Limits, read_header

BOMB_BYTES = 50_000_000_000
PIECE = 16 << 20


def truncate(path: Path) -> None:
    """The first half of the file."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def make_bomb(path: Path) -> None:
    """The first chunk unpacks to 50 GB of zeros, from a file of some 50 MB."""
    with path.open("rb") as file:
        header = read_header(file, Limits())
    table = 8 * sum(part.chunks for part in header.parts)
    (first,) = struct.unpack_from("<Q", path.read_bytes(), len(header.raw))
    place = 8 if header.multi_part else 4
    with path.open("r+b") as file:
        assert first >= len(header.raw) + table
        file.seek(first + place)
        packed = _zeros(BOMB_BYTES)
        file.write(struct.pack("<i", len(packed)) + packed)


def _zeros(size: int) -> bytes:
    """A zlib stream of `size` zeros. A block that ends with a full flush can be repeated as it is."""
    start = zlib.compressobj(9)
    first = start.compress(bytes(PIECE)) + start.flush(zlib.Z_FULL_FLUSH)
    again = start.compress(bytes(PIECE)) + start.flush(zlib.Z_FULL_FLUSH)
    return first + again * (size // PIECE)


def claim_huge(path: Path) -> None:
    """A header that names 60,000 x 60,000 pixels above the chunks of the small picture."""
    content = bytearray(path.read_bytes())
    for name in (b"dataWindow\0box2i\0", b"displayWindow\0box2i\0"):
        start = content.find(name)
        while start >= 0:
            struct.pack_into("<4i", content, start + len(name) + 4, 0, 0, 59_999, 59_999)
            start = content.find(name, start + 1)
    path.write_bytes(content)
