# SPDX-License-Identifier: GPL-3.0-or-later
"""How far two renders of one picture lie apart, for benchmarks/gpu_check.py."""

from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy

from benchmarks.gpu_check_child import Region
from benchmarks.gpu_check_records import Scene
from farm_protocol.audits import Sums
from frame_splitter import exr
from frame_splitter.counts import plain_counts
from frame_splitter.exactness import FILTER_STEP
from frame_splitter.exr import Image, Pixels
from verification.metrics import rounding
from verification.metrics.cluster import largest_cluster
from verification.metrics.difference import Mask, different_pixels
from verification.metrics.mattes import matte_of
from verification.passes import COUNTED, CRYPTOMATTE, combined, kind_of, pass_name

Counted = tuple[Image, dict[str, int]]
"""A render and the most samples that a pixel took, by layer."""

BLOCK = 16
"""Pixels: the edge of what an audit compares at once."""

MOST_BLOCKS = 64


@dataclass(frozen=True)
class PassFigures:
    """Of one pass: the share of pixels that differ in any bit, the largest difference of a pixel over its
    hard bound, and the largest RMS of a block over its own bound.
    """

    different: float = 0.0
    ratio: float = 0.0
    rms: float = 0.0

    def __or__(self, other: "PassFigures") -> "PassFigures":
        return PassFigures(*map(max, astuple(self), astuple(other)))


@dataclass(frozen=True)
class Figures:
    """Of two renders, or the worst of several pairs: by pass; the share of pixels that differ in any bit; how
    many of the blocks, as an audit takes them, an audit would have found different; and the RMSE of Combined
    over its mean.
    """

    passes: dict[str, PassFigures]
    different: float
    blocks: int
    beyond: int
    relative: float

    def __or__(self, other: "Figures") -> "Figures":
        names = self.passes.keys() | other.passes.keys()
        none = PassFigures()
        passes = {name: self.passes.get(name, none) | other.passes.get(name, none) for name in names}
        different, relative = max(self.different, other.different), max(self.relative, other.relative)
        return Figures(passes, different, self.blocks + other.blocks, self.beyond + other.beyond, relative)


def sums_of(scene: Scene) -> Sums:
    """What bounds the rounding of its pixels, as the farm takes it."""
    return Sums(scene.samples, noise_threshold=scene.threshold, min_samples=scene.min_samples)


def figures(one: Image, other: Image, scene: Scene) -> Figures:
    """How far two renders of one region lie apart. Both without sample counts, or with plain ones."""
    sums = sums_of(scene)
    found = dict.fromkeys(passes(one), PassFigures())
    for name in found:
        mine, theirs = only(one, name), only(other, name)
        different = float(different_pixels(mine, theirs).mean())
        ratio = float(rounding.compare(mine, theirs, sums).ratio.max())
        found[name] |= PassFigures(different, ratio)
    taken = list(blocks(one.width, one.height))
    beyond = 0
    for region in taken:
        compared = rounding.compare(cut(one, region), cut(other, region), sums)
        beyond += bool(compared.different.any())
        for name, rms in compared.rms.items():
            found[name] |= PassFigures(rms=rms)
    different = float(different_pixels(one, other).mean())
    return Figures(found, different, len(taken), beyond, relative_rmse(one, other))


def blocks(width: int, height: int) -> list[Region]:
    """Blocks of a picture, evenly spread where there are many; smaller pictures are one block."""
    columns = range(0, max(1, width - BLOCK + 1), BLOCK)
    rows = range(0, max(1, height - BLOCK + 1), BLOCK)
    found = [(x, y, min(x + BLOCK, width), min(y + BLOCK, height)) for y in rows for x in columns]
    return found[:: -(-len(found) // MOST_BLOCKS)]


def passes(image: Image) -> list[str]:
    """The passes of a picture but the counts; cryptomattes without the numbers of their passes."""
    names = {_pass(part.name, channel) for part in image.parts for channel in part.channels}
    return sorted(name for name in names if kind_of(name) not in COUNTED)


def _pass(part: str, channel: str) -> str:
    return matte_of(part, channel) or pass_name(part, channel)


def only(image: Image, name: str) -> Image:
    """The picture with that pass alone."""
    parts = []
    for part in image.parts:
        kept = {each: px for each, px in part.channels.items() if _pass(part.name, each) == name}
        if kept:
            parts.append(replace(part, channels=kept))
    return replace(image, parts=tuple(parts))


def relative_rmse(one: Image, other: Image) -> float:
    """Of the Combined passes, over the mean."""
    return error_of(combined(one), combined(other))[1]


def error_of(one: Pixels, other: Pixels) -> tuple[float, float]:
    """The largest difference, and the RMSE over the mean."""
    mine, theirs = one.astype(float), other.astype(float)
    mean = float(numpy.abs(theirs).mean()) or 1.0
    apart = mine - theirs
    return float(numpy.abs(apart).max()), float(numpy.sqrt((apart**2).mean())) / mean


@dataclass(frozen=True)
class Flipped:
    """Pixels whose sample counts differ: their share, by how many filter steps at most, the largest cluster,
    how far Combined lies apart there (over its value: median and largest); of all pixels the share that no
    order of sums and no flip explains; and the most and fewest samples of a pixel.
    """

    share: float
    steps: float
    cluster: int
    median: float
    largest: float
    unexplained: float
    fewest: int
    most: int


def flips(one: Counted, other: Counted, scene: Scene) -> Flipped:
    """What adaptive sampling did otherwise in the other render."""
    mine, theirs = (plain_counts(*each) for each in (one, other))
    counts, others = _counts(mine), _counts(theirs)
    apart = numpy.abs(counts - others).max(axis=0)
    mask: Mask = apart > 0
    moved = _moved(combined(mine), combined(theirs))[mask] if mask.any() else numpy.zeros(1)
    return Flipped(
        share=float(mask.mean()),
        steps=float(apart.max()) / FILTER_STEP,
        cluster=largest_cluster(mask),
        median=float(numpy.median(moved)),
        largest=float(moved.max()),
        unexplained=float(rounding.compare(mine, theirs, sums_of(scene)).different.mean()),
        fewest=int(counts.min()),
        most=int(counts.max()),
    )


def _counts(image: Image) -> Pixels:
    """Of each layer, of shape (layers, height, width)."""
    found = [
        pixels
        for part in image.parts
        for name, pixels in part.channels.items()
        if kind_of(pass_name(part.name, name)) in COUNTED
    ]
    return numpy.stack(found).astype(float)


def _moved(one: Pixels, other: Pixels) -> Pixels:
    """The largest difference of a pixel's colours over the largest of them."""
    first, second = one.astype(float), other.astype(float)
    light = numpy.maximum(numpy.abs(second).max(axis=-1), 1e-6)
    return numpy.asarray(numpy.abs(first - second).max(axis=-1) / light)


@dataclass(frozen=True)
class Mattes:
    """Shares of pixels: whose ranks are in another order, and which hold other names; and the largest
    difference of a name's weight where both hold it.
    """

    swapped: float
    other: float
    weight: float


def mattes(one: Image, other: Image) -> Mattes:
    """All cryptomattes of two pictures."""
    swapped = named = numpy.zeros((one.height, one.width), bool)
    weight = 0.0
    for (names, shares), (others, theirs) in zip(_ranks(one), _ranks(other), strict=True):
        moved = (names != others).any(axis=0)
        order, reverse = (numpy.argsort(each, axis=0, kind="stable") for each in (names, others))
        mine, yours = _taken(names, order), _taken(others, reverse)
        strange = (mine != yours).any(axis=0)
        swapped, named = swapped | (moved & ~strange), named | strange
        apart = numpy.abs(_taken(shares, order) - _taken(theirs, reverse))
        weight = max(weight, float(numpy.where(strange, 0, apart).max()))
    return Mattes(float(swapped.mean()), float(named.mean()), weight)


def _taken(values: Pixels, order: Any) -> Pixels:
    return numpy.asarray(numpy.take_along_axis(values, order, axis=0))


def _ranks(image: Image) -> Iterator[tuple[Pixels, Pixels]]:
    """Of each cryptomatte the names (bits) and weights, of shape (ranks, height, width)."""
    channels = {
        f"{pass_name(part.name, name)}.{name[-1].lower()}": pixels
        for part in image.parts
        for name, pixels in part.channels.items()
        if kind_of(pass_name(part.name, name)).startswith(CRYPTOMATTE)
    }
    numbered = sorted({name.rpartition(".")[0] for name in channels})
    for matte in sorted({name.rstrip("0123456789") for name in numbered}):
        mine = [name for name in numbered if name.rstrip("0123456789") == matte]
        pairs = [(f"{name}.{a}", f"{name}.{b}") for name in mine for a, b in ("rg", "ba")]
        names = numpy.stack([numpy.ascontiguousarray(channels[name]) for name, _ in pairs])
        yield names.view(numpy.uint32), numpy.stack([channels[share] for _, share in pairs])


def cut(image: Image, region: Region) -> Image:
    """A region of a picture, y up."""
    x0, y0, x1, y1 = region
    rows, columns = slice(image.height - y1, image.height - y0), slice(x0, x1)
    parts = (
        replace(part, channels={name: px[rows, columns] for name, px in part.channels.items()})
        for part in image.parts
    )
    return Image(x1 - x0, y1 - y0, tuple(parts))


def bytes_of(path: Path) -> Pixels:
    """The values of an uncompressed 24-bit Targa file, as signed numbers."""
    data = path.read_bytes()
    if len(data) < 18 or data[2] != 2 or data[16] not in (24, 32):
        raise ValueError(f"{path.name} is no plain Targa file")
    width, height = (int.from_bytes(data[at : at + 2], "little") for at in (12, 14))
    start = 18 + data[0]
    size = width * height * data[16] // 8
    return numpy.frombuffer(data[start : start + size], numpy.uint8).astype(numpy.int16)


def byte_steps(one: Path, other: Path) -> tuple[float, float, int]:
    """Shares of values that lie one step and more apart, and the most steps."""
    apart = numpy.abs(bytes_of(one) - bytes_of(other))
    return float((apart == 1).mean()), float((apart > 1).mean()), int(apart.max())


def read(path: Path) -> Image:
    """A render."""
    return exr.read(path)
