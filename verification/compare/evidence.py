# SPDX-License-Identifier: GPL-3.0-or-later
"""Small pictures for people: the submitted crop, the re-rendered one, and where they differ."""

import contextlib
import struct
import zlib
from pathlib import Path

import numpy
from numpy.typing import NDArray

from frame_splitter.exr import Image, Pixels
from verification.compare.metrics.rounding import Comparison
from verification.compare.passes import colours

SMALLEST = 256
"""Pixels. Crops are scaled up by a whole number until their longer edge has about this many."""

Bytes = NDArray[numpy.uint8]

HEAT = numpy.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], numpy.float64)
"""Colours from no difference to the largest."""


EXPLAINED = 0.15
"""Share of the colours for differences that the order of sums explains."""


def write_crop(folder: Path, number: int, submitted: Image, rendered: Image, compared: Comparison) -> None:
    """Write three PNGs of crop `number` into `folder`: `crop-N-submitted.png`, `-rendered.png` and
    `-difference.png`, which shows where `submitted` and `rendered` differ, as `compared` counts it.
    """
    mine, theirs = colours(submitted), colours(rendered)
    white = _white(theirs)
    write_png(folder / f"crop-{number}-submitted.png", enlarged(tone_mapped(mine, white)))
    write_png(folder / f"crop-{number}-rendered.png", enlarged(tone_mapped(theirs, white)))
    write_png(folder / f"crop-{number}-difference.png", enlarged(heat_map(mine, theirs, compared)))


def _white(pixels: Pixels) -> float:
    finite = pixels[numpy.isfinite(pixels)]
    return max(float(numpy.percentile(finite, 98)) if finite.size else 0.0, 1e-6)


def tone_mapped(pixels: Pixels, white: float) -> Bytes:
    """Linear values as sRGB bytes; `white` and above become 255, what is not a number becomes 0."""
    values = numpy.clip(numpy.nan_to_num(pixels.astype(numpy.float64)) / white, 0, 1)
    curved = numpy.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)
    mapped: Bytes = (curved * 255 + 0.5).astype(numpy.uint8)
    return mapped


def heat_map(submitted: Pixels, rendered: Pixels, compared: Comparison) -> Bytes:
    """Dark where pixels are equal in every pass, a little brighter with the share of its bound that a
    difference takes, and from there on with how much a person would see of it: FLIP where torch is there,
    else the relative difference of the colours.
    """
    seen = _flip(submitted, rendered)
    if seen is None:
        seen = _relative(submitted, rendered)
    beyond = EXPLAINED + (1 - EXPLAINED) * numpy.clip(seen, 0, 1)
    within = EXPLAINED * numpy.clip(compared.ratio, 0, 1)
    place = numpy.where(compared.different, beyond, within) * (len(HEAT) - 1)
    low = numpy.minimum(place.astype(int), len(HEAT) - 2)
    share = (place - low)[..., None]
    mapped: Bytes = (HEAT[low] * (1 - share) + HEAT[low + 1] * share + 0.5).astype(numpy.uint8)
    return mapped


def _relative(submitted: Pixels, rendered: Pixels) -> Pixels:
    with numpy.errstate(all="ignore"):
        mine, theirs = submitted.astype(numpy.float64), rendered.astype(numpy.float64)
        apart = numpy.abs(mine - theirs).max(axis=-1)
        size = numpy.abs(theirs).max(axis=-1) + numpy.abs(mine).max(axis=-1)
        found: Pixels = numpy.nan_to_num(apart / size, nan=1.0, posinf=1.0)
    return found


def _flip(submitted: Pixels, rendered: Pixels) -> Pixels | None:
    """None without torch, or where the process's memory does not hold it beside the pictures."""
    with contextlib.suppress(ImportError, OSError, MemoryError, RuntimeError):
        import torch  # noqa: PLC0415 - most looks need no heat map, and loading torch takes seconds

        from verification.compare.metrics.flip import flip  # noqa: PLC0415

        white = _white(rendered)
        mine, theirs = (
            torch.from_numpy(tone_mapped(one, white) / 255.0).permute(2, 0, 1)[None]
            for one in (submitted, rendered)
        )
        with torch.no_grad():
            seen: Pixels = flip(mine, theirs)[0].numpy()
        return seen
    return None


def enlarged(pixels: Bytes) -> Bytes:
    """Each pixel as a square, so that people see it; larger pictures are thinned out."""
    times = SMALLEST // max(pixels.shape[:2])
    if times >= 1:
        return pixels.repeat(times, axis=0).repeat(times, axis=1)
    step = -(-max(pixels.shape[:2]) // SMALLEST)
    return pixels[::step, ::step]


def write_png(path: Path, pixels: Bytes) -> None:
    """Write RGB bytes of shape (height, width, 3), top row first."""
    height, width, _ = pixels.shape
    rows = numpy.concatenate([numpy.zeros((height, 1), numpy.uint8), pixels.reshape(height, -1)], axis=1)
    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
