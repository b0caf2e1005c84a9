# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a picture that Blender wrote is whole: opened and decoded to its last line.

Blender's writers do not notice a disk that is full, and some decoders take what is cut off for black. So each
file is decoded, and the formats whose decoders are lenient must also have the end that Blender writes.
OpenImageIO has no decoder for JPEG 2000: of such a file size and end are looked at.
"""

import os
import struct
from collections.abc import Callable
from pathlib import Path

import OpenImageIO as oiio  # noqa: N813

from farm_protocol.errors import InvalidInput
from gpu_worker.picture_requests import FinishedFile

ROWS = 64
"""Decoded at once: a frame with many passes need not fit into memory."""

MOST_PIXELS = 1 << 31
TARGA_END = b"TRUEVISION-XFILE.\0"
JPEG_2000 = (b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51")


def check(file: FinishedFile) -> None:
    """Raise InvalidInput unless the file is a whole picture, of one of its sizes where it names some."""
    try:
        _check(file, Path(file.path))
    except (struct.error, IndexError) as error:
        raise InvalidInput(f"{file.name} is cut off in its header.") from error


def _check(file: FinishedFile, path: Path) -> None:
    if path.stat().st_size == 0:
        raise InvalidInput(f"{file.name} is empty.")
    head, tail = _ends(path)
    jpeg_2000 = head.startswith(JPEG_2000)
    size = _jpeg_2000_size(file.name, path) if jpeg_2000 else _decode(file.name, path)
    if file.sizes and size not in file.sizes:
        wanted = " or ".join(f"{width}x{height}" for width, height in dict.fromkeys(file.sizes))
        raise InvalidInput(f"{file.name} has {size[0]}x{size[1]} pixels where {wanted} were rendered.")
    for begins, is_whole in WHOLE.items():
        if head.startswith(begins) and not is_whole(head, tail, path):
            raise InvalidInput(f"{file.name} is cut off.")


def _ends(path: Path) -> tuple[bytes, bytes]:
    with path.open("rb") as file:
        head = file.read(2048)
        file.seek(max(0, path.stat().st_size - 64))
        return head, file.read(64)


def _decode(name: str, path: Path) -> tuple[int, int]:
    """Read every line of every part; the first part's size."""
    source = oiio.ImageInput.open(str(path))
    if source is None:
        raise InvalidInput(f"{name} cannot be opened as a picture: {_reason(oiio.geterror())}")
    try:
        sizes: list[tuple[int, int]] = []
        while source.seek_subimage(len(sizes), 0):
            sizes.append(_decode_part(name, source))
        if source.format_name() == "targa" and not _ends(path)[1].endswith(TARGA_END):
            raise InvalidInput(f"{name} is cut off.")
        return sizes[0]
    finally:
        source.close()


def _decode_part(name: str, source: oiio.ImageInput) -> tuple[int, int]:
    spec = source.spec()
    if not 0 < spec.width * spec.height * spec.nchannels <= MOST_PIXELS:
        raise InvalidInput(f"{name} says that it has {spec.width}x{spec.height} pixels.")
    for first in range(spec.y, spec.y + spec.height, ROWS):
        last = min(first + ROWS, spec.y + spec.height)
        if source.read_scanlines(first, last, 0, 0, spec.nchannels, spec.format) is None:
            raise InvalidInput(f"{name} cannot be decoded: {_reason(source.geterror())}")
    return spec.width, spec.height


def _reason(text: str) -> str:
    return " ".join(text.split())[:200] or "no reason given"


def _jpeg_2000_size(name: str, path: Path) -> tuple[int, int]:
    with path.open("rb") as file:
        data = file.read(4096)
    at = data.find(JPEG_2000[1])
    if at < 0 or len(data) < at + 24:
        raise InvalidInput(f"{name} is no JPEG 2000 picture.")
    right, lower, left, upper = struct.unpack(">IIII", data[at + 8 : at + 24])
    return right - left, lower - upper


def _ends_with(end: bytes) -> Callable[[bytes, bytes, Path], bool]:
    return lambda head, tail, path: tail.endswith(end)


def _has_size_at(offset: int, order: str) -> Callable[[bytes, bytes, Path], bool]:
    """Formats whose header says how long the file is."""
    return lambda head, tail, path: bool(
        path.stat().st_size >= struct.unpack_from(f"{order}I", head, offset)[0]
    )


def _dpx(order: str) -> Callable[[bytes, bytes, Path], bool]:
    def is_whole(head: bytes, tail: bytes, path: Path) -> bool:
        (begins,) = struct.unpack_from(f"{order}I", head, 4)
        width, height = struct.unpack_from(f"{order}II", head, 772)
        bits = head[803]
        samples = {50: 3, 51: 4}.get(head[800], 1)
        line = -(-width * samples // 3) * 4 if bits == 10 else -(-width * samples * bits // 32) * 4
        return bool(path.stat().st_size >= begins + line * height)

    return is_whole


def _tiff(order: str) -> Callable[[bytes, bytes, Path], bool]:
    def is_whole(head: bytes, tail: bytes, path: Path) -> bool:
        """Every strip lies in the file."""
        with path.open("rb") as file:
            file.seek(struct.unpack_from(f"{order}I", head, 4)[0])
            (count,) = struct.unpack(f"{order}H", file.read(2))
            entries = [struct.unpack(f"{order}HHI4s", file.read(12)) for _ in range(count)]
            offsets, sizes = (
                next((_tiff_values(order, file.fileno(), entry) for entry in entries if entry[0] == tag), ())
                for tag in (273, 279)
            )
        size = path.stat().st_size
        ends = [begin + more for begin, more in zip(offsets, sizes, strict=True)]
        return bool(ends) and max(ends) <= size

    return is_whole


def _tiff_values(order: str, file: int, entry: tuple[int, int, int, bytes]) -> tuple[int, ...]:
    _, kind, count, inline = entry
    letter, width = ("H", 2) if kind == 3 else ("I", 4)
    length = width * count
    data = inline[:length] if length <= 4 else os.pread(file, length, struct.unpack(f"{order}I", inline)[0])
    return struct.unpack(f"{order}{count}{letter}", data)


WHOLE: dict[bytes, Callable[[bytes, bytes, Path], bool]] = {
    b"\xff\xd8\xff": _ends_with(b"\xff\xd9"),
    b"\x89PNG": _ends_with(b"IEND\xaeB`\x82"),
    **{begins: _ends_with(b"\xff\xd9") for begins in JPEG_2000},
    b"\x80\x2a\x5f\xd7": _has_size_at(20, ">"),
    b"\xd7\x5f\x2a\x80": _has_size_at(20, "<"),
    b"SDPX": _dpx(">"),
    b"XPDS": _dpx("<"),
    b"II*\x00": _tiff("<"),
    b"MM\x00*": _tiff(">"),
}
"""What a file begins with, to whether it is whole. Blender's other formats are not decoded when cut off."""
