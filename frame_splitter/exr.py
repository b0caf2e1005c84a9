# SPDX-License-Identifier: GPL-3.0-or-later
"""Multi-part EXR pictures: read with bounds, checked, cropped and written as Blender reads them.

Blender writes one part a render pass. Rows run top-down in the arrays, as in the file, while tiles
are y-up.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy
import OpenEXR

from farm_protocol.errors import InvalidInput
from farm_protocol.fields import Tile
from frame_splitter.exr_header import Header, Limits, read_header
from frame_splitter.exr_pixels import Pixels, read_pixels

__all__ = ["Image", "Limits", "Part", "Pixels", "check", "crop", "read", "write"]

SAMPLE_TYPES = frozenset({"float32", "float16", "uint32"})

WRITTEN_BY_US = frozenset(
    {"channels", "chunkCount", "compression", "dataWindow", "displayWindow", "lineOrder", "name", "type"}
)
"""Attributes that describe the file rather than the picture: every file gets its own."""

COLOURS = frozenset("RGBA")


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One part of a picture: a render pass, its channels by full name, and its other attributes."""

    name: str
    channels: dict[str, Pixels]
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """A picture of `width` x `height` pixels; every channel of every part has that size."""

    width: int
    height: int
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        for part in self.parts:
            for name, pixels in part.channels.items():
                if pixels.shape != (self.height, self.width) or pixels.dtype.name not in SAMPLE_TYPES:
                    raise InvalidInput(f"The channel {name} does not fit its picture.")


def read(path: Path, limits: Limits | None = None) -> Image:
    """Decode a picture within `limits`.

    Raises InvalidInput for files that are too large, broken, or not what a render writes; OSError
    where the file cannot be read at all.
    """
    with path.open("rb") as file:
        header = read_header(file, limits or Limits())
        return _decode(file, header)


def _decode(file: BinaryIO, header: Header) -> Image:
    attributes = _attributes(header)
    pixels = read_pixels(file, header)
    parts = tuple(map(Part, attributes, pixels, attributes.values()))
    return Image(header.parts[0].width, header.parts[0].height, parts)


def _attributes(header: Header) -> dict[str, dict[str, Any]]:
    """Each part's name and its attributes, as the library that writes them wants them."""
    try:
        with OpenEXR.File(io.BytesIO(header.raw), header_only=True, num_threads=0) as file:
            found = {part.name(): _kept(part.header) for part in file.parts}
    except Exception as error:  # whatever a stranger's bytes provoke in the library is the picture's fault
        raise InvalidInput(f"The picture's header cannot be decoded: {str(error)[:200]}") from error
    if len(found) != len(header.parts):
        raise InvalidInput("The picture's header names other parts than it has.")
    return found


def _kept(attributes: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in attributes.items() if name not in WRITTEN_BY_US}
    if [] in (value for value in kept.values() if isinstance(value, list)):
        raise ValueError("an empty list, which could not be written again")
    return kept


def write(path: Path, image: Image, compress: bool = True) -> None:
    """Write a picture losslessly; Blender loads it as the multilayer image it was.

    `compress=False` saves time for files that live shortly. Raises OSError when the file cannot be
    written; what lies at `path` then is to be thrown away.
    """
    if not image.parts:
        raise InvalidInput("A picture needs at least one part.")
    parts = [_to_write(part, image, compress) for part in image.parts]
    try:
        OpenEXR.File(parts, num_threads=0).write(str(path))
    except RuntimeError as error:
        raise OSError(f"The picture {path.name} cannot be written: {error}") from error


def _to_write(part: Part, image: Image, compress: bool) -> Any:
    corner, end = numpy.zeros(2, numpy.int32), numpy.array([image.width - 1, image.height - 1], numpy.int32)
    header = part.attributes | {
        "type": OpenEXR.scanlineimage,
        "compression": OpenEXR.ZIP_COMPRESSION if compress else OpenEXR.NO_COMPRESSION,
        "dataWindow": (corner, end),
        "displayWindow": (corner, end),
    }
    channels = {name: numpy.ascontiguousarray(pixels) for name, pixels in part.channels.items()}
    return OpenEXR.Part(header, channels, part.name)


def crop(image: Image, rect: Tile) -> Image:
    """The pixels of `rect`, which counts from the picture's lower left corner."""
    if not (0 <= rect.x0 < rect.x1 <= image.width and 0 <= rect.y0 < rect.y1 <= image.height):
        raise InvalidInput("The rectangle to cut out is empty, or reaches out of the picture.")
    rows = slice(image.height - rect.y1, image.height - rect.y0)
    columns = slice(rect.x0, rect.x1)
    parts = tuple(
        Part(part.name, {name: px[rows, columns] for name, px in part.channels.items()}, part.attributes)
        for part in image.parts
    )
    return Image(rect.width, rect.height, parts)


def check(path: Path, width: int, height: int, limits: Limits | None = None) -> Image:
    """Decode the rendered picture at `path` within `limits`, and check cheaply that it has `width` x `height`
    pixels and that its colours are numbers. Raises InvalidInput naming what is wrong.
    """
    with path.open("rb") as file:
        header = read_header(file, limits or Limits())
        size = header.parts[0].width, header.parts[0].height
        if size != (width, height):
            raise InvalidInput(f"The picture has {size[0]} x {size[1]} pixels instead of {width} x {height}.")
        image = _decode(file, header)
    for part in image.parts:
        _check_finite(part)
    return image


def _check_finite(part: Part) -> None:
    for name, pixels in part.channels.items():
        wrong = not_finite(part.name, name, pixels)
        if wrong:
            raise InvalidInput(
                f"The pass {part.name or name} holds {wrong} values that are not finite numbers."
            )


def not_finite(part: str, name: str, pixels: Pixels) -> int:
    """How many values of a colour channel no render holds: NaN, and infinities in the picture itself.

    Cycles keeps its picture finite; a custom pass may overflow, and Blender writes it as it is.
    """
    if name.rpartition(".")[2] not in COLOURS or pixels.dtype == numpy.uint32:
        return 0
    custom = (name.rpartition(".")[0] or part).rpartition(".")[2] not in {"", "Combined"}
    wrong = numpy.isnan(pixels) if custom else ~numpy.isfinite(pixels)
    return int(wrong.sum())
