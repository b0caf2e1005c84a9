# SPDX-License-Identifier: GPL-3.0-or-later
"""How far two renders of one picture lie apart, for benchmarks/gpu_check.py."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy

from benchmarks.gpu_check_child import Region
from benchmarks.gpu_check_records import Scene
from frame_splitter import exr
from frame_splitter.exr import Image, Pixels
from verification.metrics.cluster import largest_cluster
from verification.metrics.difference import Mask, different_pixels
from verification.passes import CRYPTOMATTE, combined, kind_of, pass_name

COUNT = "Debug Sample Count"
FILTER_STEP = 16


@dataclass(frozen=True)
class Bounded:
    """The share of pixels that differ in any bit; the largest difference of a pixel over its hard bound, the
    RMS over its own, each with the pass that has it; and the share of pixels that no order of sums explains.
    """

    different: float
    ratio: float
    ratio_pass: str
    rms: float
    rms_pass: str
    beyond: float


@dataclass(frozen=True)
class PassFigures:
    """The same of one pass."""

    name: str
    different: float
    ratio: float
    rms: float
    beyond: float


def passes(image: Image) -> list[str]:
    """The passes of a picture but the counts."""
    names = {pass_name(part.name, channel) for part in image.parts for channel in part.channels}
    return sorted(name for name in names if kind_of(name) != COUNT)


def only(image: Image, name: str) -> Image:
    """The picture with that pass alone."""
    parts = []
    for part in image.parts:
        kept = {each: px for each, px in part.channels.items() if pass_name(part.name, each) == name}
        if kept:
            parts.append(replace(part, channels=kept))
    return replace(image, parts=tuple(parts))


def by_pass(one: Image, other: Image, scene: Scene) -> list[PassFigures]:
    """Each pass by itself."""
    found = []
    for name in passes(one):
        mine, theirs = only(one, name), only(other, name)
        different = float(different_pixels(mine, theirs).mean())
        found.append(PassFigures(kind_of(name), different, *bounded(mine, theirs, scene)))
    return found


def bounded(one: Image, other: Image, scene: Scene) -> tuple[float, float, float]:
    """Of one pass: the largest difference over the hard bound, the RMS over its bound, the share beyond."""
    m, unit = 64 * scene.samples, 2.0**-24
    apart, size = [], []
    for mine, theirs in zip(one.parts, other.parts, strict=True):
        for name, pixels in mine.channels.items():
            first, second = pixels.astype(float), theirs.channels[name].astype(float)
            apart.append(numpy.abs(first - second))
            size.append(numpy.maximum(numpy.maximum(numpy.abs(first), numpy.abs(second)), 1e-30))
    relative = numpy.stack(apart) / numpy.stack(size)
    hard = relative / (2 * (m - 1) * unit)
    rms = float(numpy.sqrt((relative**2).mean())) / (1.6 * m**0.5 * unit)
    return float(hard.max()), rms, float((hard.max(axis=0) > 1).mean())


def summary(figures: list[PassFigures], one: Image, other: Image) -> Bounded:
    """The worst of all passes."""
    ratio = max(figures, key=lambda each: each.ratio)
    rms = max(figures, key=lambda each: each.rms)
    beyond = max(each.beyond for each in figures)
    different = float(different_pixels(one, other).mean())
    return Bounded(different, ratio.ratio, ratio.name, rms.rms, rms.name, beyond)


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
    how far Combined lies apart there (over its value: median and largest), and the share of all pixels that
    differ though their counts are equal, beyond what the order of sums explains.
    """

    share: float
    steps: float
    cluster: int
    median: float
    largest: float
    unexplained: float


def flips(one: Image, other: Image, most: tuple[dict[str, int], dict[str, int]], scene: Scene) -> Flipped:
    """`most`: the most samples that a pixel took, by layer, in each render."""
    apart = numpy.zeros((one.height, one.width))
    for layer, (mine, theirs) in _counts(one, other, most).items():
        del layer
        apart = numpy.maximum(apart, numpy.abs(mine - theirs))
    mask: Mask = apart > 0
    first, second = combined(one).astype(float), combined(other).astype(float)
    moved = numpy.abs(first - second).max(axis=-1) / numpy.maximum(numpy.abs(second).max(axis=-1), 1e-6)
    there = moved[mask] if mask.any() else numpy.zeros(1)
    same = _masked(one, mask), _masked(other, mask)
    unexplained = max(bounded(only(same[0], name), only(same[1], name), scene)[2] for name in passes(one))
    median, largest = float(numpy.median(there)), float(there.max())
    steps = float(apart.max()) / FILTER_STEP
    return Flipped(float(mask.mean()), steps, largest_cluster(mask), median, largest, unexplained)


def _counts(
    one: Image, other: Image, most: tuple[dict[str, int], dict[str, int]]
) -> dict[str, tuple[Pixels, Pixels]]:
    found = {}
    for mine, theirs in zip(one.parts, other.parts, strict=True):
        for name, shares in mine.channels.items():
            kind = pass_name(mine.name, name)
            if kind_of(kind) == COUNT:
                layer = kind.rpartition(".")[0]
                pair = shares * most[0][layer], theirs.channels[name] * most[1][layer]
                found[layer] = tuple(map(numpy.round, pair))
    return found


def _masked(image: Image, mask: Mask) -> Image:
    """Nothing where the mask is, so that those pixels are equal."""
    parts = (
        replace(part, channels={name: numpy.where(mask, 0, px) for name, px in part.channels.items()})
        for part in image.parts
    )
    return replace(image, parts=tuple(parts))


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


def worse(one: PassFigures, other: PassFigures | None) -> PassFigures:
    """The larger figures of both."""
    if other is None:
        return one
    pairs = zip(one_figures(one), one_figures(other), strict=True)
    return PassFigures(one.name, *(max(pair) for pair in pairs))


def one_figures(figures: PassFigures) -> tuple[float, float, float, float]:
    """All but the name."""
    return figures.different, figures.ratio, figures.rms, figures.beyond
