# SPDX-License-Identifier: GPL-3.0-or-later
"""The header of an EXR file, walked with bounds before a library is let near the file.

Only what Blender writes for a render is let through: flat scanline parts with full sampling, lossless
compression and plain attributes. So a stranger's file cannot reach decoders nobody needs here (tiles,
deep data, previews, packed manifests), nor make the library allocate what the file does not hold.
"""

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

from farm_protocol.errors import InvalidInput

MAGIC = 20000630
VERSION = 2
LONG_NAMES = 0x400
MULTI_PART = 0x1000
MAX_NAME = 255

LINES_PER_CHUNK = {0: 1, 2: 1, 3: 16}
"""Rows of a chunk by compression: none, ZIP of one row, ZIP of sixteen."""

SAMPLE_BYTES = {0: 4, 1: 2, 2: 4}
"""Bytes of a sample by type: unsigned int, half, float."""

PLAIN_TYPES = frozenset(
    {
        "box2f", "box2i", "chlist", "chromaticities", "compression", "double", "float", "int", "keycode",
        "lineOrder", "m33d", "m33f", "m44d", "m44f", "rational", "string", "stringvector", "timecode",
        "v2d", "v2f", "v2i", "v3d", "v3f", "v3i",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limits:
    """What a picture may be at most. Bytes, counts and pixels; `decoded_bytes` is checked before any
    pixel is decoded.
    """

    file_bytes: int = 4 << 30
    header_bytes: int = 16 << 20
    decoded_bytes: int = 4 << 30
    parts: int = 1024
    attributes: int = 4096
    channels: int = 4096
    edge: int = 65_536


@dataclass(frozen=True, slots=True)
class PartHeader:
    """One part: its name (empty in single-part files), size in pixels, its channels in the file's
    order with their sample types, and how its rows are packed.
    """

    name: str
    width: int
    height: int
    channels: tuple[tuple[str, int], ...]
    compression: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of pixels, decoded."""
        return self.width * sum(SAMPLE_BYTES[kind] for _, kind in self.channels)

    @property
    def chunks(self) -> int:
        """Pieces the part's rows are packed in."""
        return -(-self.height // LINES_PER_CHUNK[self.compression])


@dataclass(frozen=True, slots=True)
class Header:
    """All that stands before the pixels: the parts, and the bytes themselves."""

    parts: tuple[PartHeader, ...]
    multi_part: bool
    raw: bytes


def read_header(file: BinaryIO, limits: Limits) -> Header:
    """Walk the header of an EXR file opened at its start, and check it against `limits`.

    Decodes no pixel. Raises InvalidInput for anything that is not a picture of the kind Blender's
    renders are.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size > limits.file_bytes:
        raise InvalidInput(f"The picture file has {size} bytes; at most {limits.file_bytes} are read.")
    scanner = _Scanner(file.read(min(size, limits.header_bytes + 1)), limits)
    multi_part = _check_version(scanner)
    parts = _parts(scanner, multi_part, limits)
    _check_whole(parts, limits)
    if scanner.at + 8 * sum(part.chunks for part in parts) > size:
        raise InvalidInput("The picture file is cut off before its pixels.")
    return Header(parts, multi_part, scanner.data[: scanner.at])


def _parts(scanner: "_Scanner", multi_part: bool, limits: Limits) -> tuple[PartHeader, ...]:
    parts = [_part(scanner, multi_part, limits)]
    while multi_part and not scanner.at_end_mark():
        if len(parts) == limits.parts:
            raise InvalidInput(f"The picture has more than {limits.parts} parts.")
        parts.append(_part(scanner, multi_part, limits))
    return tuple(parts)


def _check_version(scanner: "_Scanner") -> bool:
    magic, version = struct.unpack("<ii", scanner.take(8))
    if magic != MAGIC:
        raise InvalidInput("This is not an EXR picture.")
    flags = version & ~0xFF
    if version & 0xFF != VERSION or flags & ~(LONG_NAMES | MULTI_PART):
        raise InvalidInput(
            "This EXR picture is tiled, deep or of an unknown version, which no render writes."
        )
    return bool(flags & MULTI_PART)


class _Scanner:
    """Reads on through the header's bytes and never past them."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        self.data = data
        self.at = 0
        self.cut_off = len(data) > limits.header_bytes

    def take(self, count: int) -> bytes:
        end = self.at + count
        if count < 0 or end > len(self.data):
            raise self.ended()
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def text(self) -> str:
        end = self.data.find(b"\0", self.at, self.at + MAX_NAME + 1)
        if end < 0 and len(self.data) - self.at <= MAX_NAME:
            raise self.ended()
        if end < 0:
            raise InvalidInput("The picture's header holds a name that does not end.")
        name = self.take(end - self.at)
        self.at = end + 1
        try:
            return name.decode()
        except UnicodeDecodeError as error:
            raise InvalidInput("The picture's header holds a name that is not text.") from error

    def at_end_mark(self) -> bool:
        if self.data[self.at : self.at + 1] != b"\0":
            return False
        self.at += 1
        return True

    def ended(self) -> InvalidInput:
        if self.cut_off:
            return InvalidInput("The picture's header is larger than the farm reads.")
        return InvalidInput("The picture file is cut off in its header.")


def _part(scanner: _Scanner, multi_part: bool, limits: Limits) -> PartHeader:
    attributes = _attributes(scanner, limits)
    width, height = _window(attributes, limits)
    channels = _channels(_need(attributes, "channels", "chlist"), limits)
    compression = _need(attributes, "compression", "compression", 1)[0]
    if compression not in LINES_PER_CHUNK:
        raise InvalidInput("The picture is not compressed with ZIP or left uncompressed, as a render is.")
    name = _string(attributes, "name") if multi_part else ""
    part = PartHeader(name, width, height, channels, compression)
    if multi_part:
        _check_part(attributes, part.chunks)
    return part


def _attributes(scanner: _Scanner, limits: Limits) -> dict[str, tuple[str, bytes]]:
    attributes: dict[str, tuple[str, bytes]] = {}
    while name := scanner.text():
        kind = scanner.text()
        (size,) = struct.unpack("<i", scanner.take(4))
        # Of channels there is one list: the library reads others, and cannot write them.
        if kind not in PLAIN_TYPES or (kind == "chlist" and name != "channels"):
            raise InvalidInput(f"The picture's attribute of type {kind[:40]!r} is none a render writes.")
        if name in attributes or len(attributes) == limits.attributes:
            raise InvalidInput("The picture's header repeats an attribute, or has too many.")
        attributes[name] = kind, scanner.take(size)
    return attributes


def _need(attributes: dict[str, tuple[str, bytes]], name: str, kind: str, size: int | None = None) -> bytes:
    found, value = attributes.get(name, ("", b""))
    if found != kind or (size is not None and len(value) != size):
        raise InvalidInput(f"The picture's header has no proper '{name}'.")
    return value


def _string(attributes: dict[str, tuple[str, bytes]], name: str) -> str:
    try:
        return _need(attributes, name, "string").decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"The picture's '{name}' is not text.") from error


def _window(attributes: dict[str, tuple[str, bytes]], limits: Limits) -> tuple[int, int]:
    x0, y0, x1, y1 = struct.unpack("<4i", _need(attributes, "dataWindow", "box2i", 16))
    _need(attributes, "displayWindow", "box2i", 16)
    if (x0, y0) != (0, 0):
        raise InvalidInput("The picture's pixels do not start at its corner, as a render's do.")
    if not (0 <= x1 < limits.edge and 0 <= y1 < limits.edge):
        raise InvalidInput(f"The picture is empty, or longer than {limits.edge} pixels.")
    return x1 + 1, y1 + 1


def _channels(value: bytes, limits: Limits) -> tuple[tuple[str, int], ...]:
    scanner = _Scanner(value, limits)
    channels: list[tuple[str, int]] = []
    while name := scanner.text():
        kind, _, x_sampling, y_sampling = struct.unpack("<iB3x2i", scanner.take(16))
        if kind not in SAMPLE_BYTES or (x_sampling, y_sampling) != (1, 1):
            raise InvalidInput("The picture has a channel of unknown type, or with pixels left out.")
        channels.append((name, kind))
        if len(channels) > limits.channels:
            raise InvalidInput(f"The picture has more than {limits.channels} channels.")
    if not channels or len(dict(channels)) != len(channels):
        raise InvalidInput("A part of the picture has no channels, or one of them twice.")
    return tuple(channels)


def _check_part(attributes: dict[str, tuple[str, bytes]], chunks: int) -> None:
    if _string(attributes, "type") != "scanlineimage":
        raise InvalidInput("A part of the picture is tiled or deep, which no render writes.")
    (counted,) = struct.unpack("<i", _need(attributes, "chunkCount", "int", 4))
    if counted != chunks:
        raise InvalidInput("The picture's header counts other chunks than its size needs.")


def _check_whole(parts: tuple[PartHeader, ...], limits: Limits) -> None:
    if len({(part.width, part.height) for part in parts}) > 1:
        raise InvalidInput("The picture's parts differ in size.")
    if len({part.name for part in parts}) < len(parts):
        raise InvalidInput("Two parts of the picture have one name.")
    if sum(len(part.channels) for part in parts) > limits.channels:
        raise InvalidInput(f"The picture has more than {limits.channels} channels.")
    decoded = sum(part.row_bytes * part.height for part in parts)
    if decoded > limits.decoded_bytes:
        raise InvalidInput(
            f"The picture would take {decoded} bytes when decoded; at most {limits.decoded_bytes} are."
        )
