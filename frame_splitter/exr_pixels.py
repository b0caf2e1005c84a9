# SPDX-License-Identifier: GPL-3.0-or-later
"""The pixels of an EXR file whose header was checked: every chunk must be there, whole and its own.

The EXR library fills what it can of a broken file, prints a warning and says that all went well. A
farm cannot pay for such a picture, so chunks are unpacked here, where one that is missing is an error.
"""

import os
import struct
import zlib
from typing import Any, BinaryIO

import numpy
from numpy.typing import NDArray

from farm_protocol.errors import InvalidInput
from frame_splitter.exr_header import LINES_PER_CHUNK, Header, PartHeader

Pixels = NDArray[Any]
"""Float32 (or float16, uint32 where a file has them) of shape (height, width), top row first."""

SAMPLE_TYPES: dict[int, numpy.dtype[Any]] = {
    0: numpy.dtype("<u4"),
    1: numpy.dtype("<f2"),
    2: numpy.dtype("<f4"),
}
UNCOMPRESSED = 0
HALF_RANGE = 128
"""ZIP chunks store differences of neighbouring bytes around this value."""


def read_pixels(file: BinaryIO, header: Header) -> list[dict[str, Pixels]]:
    """Every part's channels by name. `file` is the one the header was read from.

    Raises InvalidInput where a chunk is missing, damaged or another's.
    """
    file.seek(len(header.raw))
    tables = [_offsets(file, part) for part in header.parts]
    if max(map(max, tables)) >= file.seek(0, os.SEEK_END):
        raise _broken()
    return [
        _read_part(file, part, index if header.multi_part else None, offsets)
        for index, (part, offsets) in enumerate(zip(header.parts, tables, strict=True))
    ]


def _offsets(file: BinaryIO, part: PartHeader) -> tuple[int, ...]:
    table = file.read(8 * part.chunks)
    if len(table) != 8 * part.chunks:
        raise _broken()
    return struct.unpack(f"<{part.chunks}Q", table)


def _read_part(
    file: BinaryIO, part: PartHeader, number: int | None, offsets: tuple[int, ...]
) -> dict[str, Pixels]:
    channels = {
        name: numpy.empty((part.height, part.width), SAMPLE_TYPES[kind]) for name, kind in part.channels
    }
    lines = LINES_PER_CHUNK[part.compression]
    for chunk, offset in enumerate(offsets):
        top = chunk * lines
        rows = min(lines, part.height - top)
        packed = _read_chunk(file, offset, number, top, rows * part.row_bytes)
        _spread(_unpack(packed, rows * part.row_bytes, part.compression), channels, top, rows)
    return channels


def _read_chunk(file: BinaryIO, offset: int, number: int | None, top: int, size: int) -> bytes:
    """A chunk's packed bytes; `size` of them at most, since longer ones are stored unpacked."""
    expected = (top,) if number is None else (number, top)
    file.seek(offset)
    start = file.read(4 * len(expected) + 4)
    if len(start) != 4 * len(expected) + 4:
        raise _broken()
    *place, packed_size = struct.unpack(f"<{len(expected) + 1}i", start)
    if tuple(place) != expected or not 0 < packed_size <= size:
        raise _broken()
    packed = file.read(packed_size)
    if len(packed) != packed_size:
        raise _broken()
    return packed


def _unpack(packed: bytes, size: int, compression: int) -> NDArray[numpy.uint8]:
    if len(packed) == size:
        return numpy.frombuffer(packed, numpy.uint8)
    if compression == UNCOMPRESSED:
        raise _broken()
    data = numpy.frombuffer(_inflate(packed, size), numpy.uint8)
    steps = data - numpy.uint8(HALF_RANGE)
    steps[0] = data[0]
    summed = numpy.cumsum(steps, dtype=numpy.uint8)
    bytes_in_order = numpy.empty(size, numpy.uint8)
    bytes_in_order[0::2] = summed[: (size + 1) // 2]
    bytes_in_order[1::2] = summed[(size + 1) // 2 :]
    return bytes_in_order


def _inflate(packed: bytes, size: int) -> bytes:
    """Inflate to exactly `size` bytes, and never to more."""
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(packed, size)
        more = inflater.decompress(inflater.unconsumed_tail, 1)  # reads on to the checksum, too
    except zlib.error as error:
        raise _broken() from error
    if len(data) != size or more or not inflater.eof:
        raise _broken()
    return data


def _spread(data: NDArray[numpy.uint8], channels: dict[str, Pixels], top: int, rows: int) -> None:
    """A chunk holds row after row, and in each row channel after channel."""
    table = data.reshape(rows, -1)
    start = 0
    for pixels in channels.values():
        end = start + pixels.shape[1] * pixels.itemsize
        pixels.view(numpy.uint8)[top : top + rows] = table[:, start:end]
        start = end


def _broken() -> InvalidInput:
    return InvalidInput("The picture file is damaged or cut off: not all of its pixels are there.")
