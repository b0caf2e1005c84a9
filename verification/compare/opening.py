# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening a stranger's picture: has it the size and passes that were asked for, and is it as signed."""

from dataclasses import replace
from pathlib import Path

import numpy

from farm_protocol.audits import CheckOrder, Fault
from farm_protocol.errors import InvalidInput
from farm_protocol.fields import Tile
from frame_splitter.exr import Image, Limits, not_finite, read
from frame_splitter.exr_header import Header, read_header
from verification.compare.passes import pass_name
from verification.protocol.pixel_root import channel_names, pixel_root

MOST_CHANNELS = 512
"""More channels than any scene's passes have: a file with more is not a render too large for this node."""

UNBOUNDED = 1 << 62


class Faulty(Exception):
    """The file is no picture of its task: `fault`, and `detail` as a sentence."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault
        self.detail = detail


def open_tile(path: Path, tile: Tile, order: CheckOrder, limits: Limits) -> Image:
    """The submitted picture of `tile`.

    Raises Faulty; MemoryError where it is as it should be but larger than this process reads; OSError
    where it cannot be read at all.
    """
    image = open_picture(path, tile.width, tile.height, order.channels, limits)
    if pixel_root([image]) != order.pixel_root:
        raise Faulty(Fault.WRONG_ROOT, "The picture's pixels are not those its node signed.")
    return image


def open_picture(path: Path, width: int, height: int, channels: tuple[str, ...], limits: Limits) -> Image:
    """The float32 picture at `path`, of `width` x `height` pixels with these `channels` (any where none are
    known), its colours finite. More than `limits` is not read.

    Raises as `open_tile`.
    """
    _check_header(path, width, height, channels, limits)
    try:
        image = read(path, limits)
    except InvalidInput as error:
        raise Faulty(Fault.UNDECODABLE, error.sentence) from error
    _check_passes(image, channels)
    _check_finite(image)
    return image


def _check_header(path: Path, width: int, height: int, channels: tuple[str, ...], limits: Limits) -> None:
    header = _header(path, replace(limits, file_bytes=UNBOUNDED, decoded_bytes=UNBOUNDED))
    size = header.parts[0].width, header.parts[0].height
    if size != (width, height):
        sentence = f"The picture has {size[0]} x {size[1]} pixels instead of {width} x {height}."
        raise Faulty(Fault.WRONG_SIZE, sentence)
    decoded = sum(part.row_bytes * part.height for part in header.parts)
    if path.stat().st_size > decoded + len(header.raw) + sum(part.chunks for part in header.parts) * 32:
        raise Faulty(Fault.TOO_LARGE, "The picture file is larger than its own pixels.")
    if decoded <= limits.decoded_bytes:
        return
    if sum(len(part.channels) for part in header.parts) <= (len(channels) or MOST_CHANNELS):
        raise MemoryError(f"The picture takes {decoded} bytes; this process decodes {limits.decoded_bytes}.")
    sentence = f"The picture would take {decoded} bytes when decoded, which no render of this size does."
    raise Faulty(Fault.TOO_LARGE, sentence)


def _header(path: Path, limits: Limits) -> Header:
    try:
        with path.open("rb") as file:
            return read_header(file, limits)
    except InvalidInput as error:
        raise Faulty(Fault.UNDECODABLE, error.sentence) from error


def _check_passes(image: Image, channels: tuple[str, ...]) -> None:
    found = channel_names(image)
    if channels and found != channels:
        raise Faulty(Fault.WRONG_PASSES, _passes_sentence(set(found), set(channels)))
    for part in image.parts:
        for name, pixels in part.channels.items():
            if pixels.dtype != numpy.float32:
                raise Faulty(Fault.WRONG_PASSES, f"The pass {name[:200]} is not stored as 32-bit floats.")


def _passes_sentence(found: set[str], wanted: set[str]) -> str:
    missing, extra = sorted(wanted - found), sorted(found - wanted)
    if missing:
        return f"The passes {_list(missing)} are missing."
    return f"The passes {_list(extra)} are in the picture, but not in the job's other tiles."


def _list(names: list[str]) -> str:
    shown = ", ".join(name[:100].removeprefix("/") for name in names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown


def _check_finite(image: Image) -> None:
    for part in image.parts:
        for name, pixels in part.channels.items():
            wrong = not_finite(part.name, name, pixels)
            if wrong:
                where = pass_name(part.name, name)[:200]
                sentence = f"The pass {where} holds {wrong} values that are not finite numbers."
                raise Faulty(Fault.NOT_FINITE, sentence)
