# SPDX-License-Identifier: GPL-3.0-or-later
"""Cheated tiles made of the renders of benchmarks/verification_plan.py: whole ones, and regions of them."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy
from numpy.typing import NDArray

from benchmarks.verification_plan import CHEATS, Shelf, slug
from farm_protocol.fields import Tile
from frame_splitter import exr
from frame_splitter.exr import Image, Pixels
from verification.metrics.difference import different_pixels
from verification.passes import is_combined, pass_name

AREAS = (0.001, 0.003, 0.01, 0.03, 0.05)
"""Shares of the tile that a local cheat changes."""

KINDS = ("black", "copied from afar", "copied from beside", "untextured")

TOLD, GRAIN = 0.05, 4
"""A region counts as changed where its colours, averaged over squares of GRAIN pixels, differ by this share
of the honest brightness; elsewhere (black painted black, a surface without texture) nobody loses anything.
What is copied counts even where only its noise is another, since it was not rendered."""

ROUNDING = 1e-5
"""The share of a value below which differences are a device's."""

Mask = NDArray[numpy.bool_]
Change = Callable[[Pixels], Pixels]


@dataclass(frozen=True)
class Cheated:
    """A cheated tile, and where it differs from the honest one (top row first)."""

    name: str
    image: Image
    different: Mask


def whole_cheats(shelf: Shelf, honest: Image) -> Iterator[Cheated]:
    """Tiles that are wrong all over, where they differ by more than rounding at all: another frame of a scene
    in which nothing moves is no cheat.
    """
    for name, image in _whole(shelf, honest):
        different = different_pixels(image, honest)
        if different.any() and not is_rounding(image, honest):
            yield Cheated(name, image, different)


def is_rounding(image: Image, honest: Image) -> bool:
    """Whether two pictures of the same passes differ by less than anybody could gain by."""
    names = [(number, name) for number, part in enumerate(honest.parts) for name in part.channels]
    pairs = [
        (image.parts[number].channels.get(name), honest.parts[number].channels[name])
        for number, name in names
    ]
    return all(
        one is not None and bool((numpy.abs(one - other) <= ROUNDING * (numpy.abs(other) + 1e-3)).all())
        for one, other in pairs
    )


def _whole(shelf: Shelf, honest: Image) -> Iterator[tuple[str, Image]]:
    for cheat in CHEATS:
        yield cheat, kept_passes(load(shelf.folder / f"{slug(cheat)}.exr"), honest)
    yield "other seed in the dark", in_the_dark(honest, load(shelf.folder / f"{slug('other seed')}.exr"))
    yield "other frame", load(shelf.folder / "other_frame.exr")
    yield "half size, enlarged", enlarged(load(shelf.folder / "half_size.exr"), honest)
    yield "other tile", colours(honest, lambda pixels: numpy.roll(pixels, pixels.shape[1] // 2, axis=1))
    yield "black", colours(honest, numpy.zeros_like)
    yield "grey", colours(honest, lambda pixels: numpy.full_like(pixels, 0.5))
    noise = numpy.random.default_rng(1)
    yield "noise", colours(honest, lambda pixels: noise.random(pixels.shape, dtype=numpy.float32))


def load(path: Path) -> Image:
    """A render."""
    return exr.read(path)


def in_the_dark(honest: Image, false: Image) -> Image:
    """The false colours where the honest picture is darkest, a third of it."""
    lit = [px for part in honest.parts for name, px in part.channels.items() if is_colour(name)]
    light = numpy.sum(lit, axis=0)
    dark = light <= numpy.quantile(light, 1 / 3)
    theirs = {name: pixels for part in false.parts for name, pixels in part.channels.items()}
    parts = tuple(
        replace(
            part,
            channels={
                name: numpy.where(dark, theirs[name], pixels) if is_colour(name) else pixels
                for name, pixels in part.channels.items()
            },
        )
        for part in honest.parts
    )
    return replace(honest, parts=parts)


def kept_passes(image: Image, honest: Image) -> Image:
    """The passes that the honest tile has: Cycles adds some when it denoises."""
    names = {name for part in honest.parts for name in part.channels}
    kept = (
        replace(part, channels={name: px for name, px in part.channels.items() if name in names})
        for part in image.parts
    )
    return replace(image, parts=tuple(kept))


def enlarged(image: Image, honest: Image) -> Image:
    """Twice the size, interpolated between pixel centres, as large as `honest`."""
    rows, columns = _between(honest.height, image.height), _between(honest.width, image.width)

    def twice(pixels: Pixels) -> Pixels:
        tall = pixels[rows[0]] * (1 - rows[2])[:, None] + pixels[rows[1]] * rows[2][:, None]
        wide = tall[:, columns[0]] * (1 - columns[2]) + tall[:, columns[1]] * columns[2]
        return numpy.asarray(wide, numpy.float32)

    parts = [replace(part, channels={n: twice(p) for n, p in part.channels.items()}) for part in image.parts]
    return Image(honest.width, honest.height, tuple(parts))


def _between(wanted: int, there: int) -> tuple[NDArray[numpy.intp], NDArray[numpy.intp], Pixels]:
    place = numpy.clip((numpy.arange(wanted) + 0.5) * there / wanted - 0.5, 0, there - 1)
    low = numpy.floor(place).astype(int)
    return low, numpy.minimum(low + 1, there - 1), (place - low).astype(numpy.float32)


def is_colour(channel: str) -> bool:
    """Whether a cheat changes this channel: the colours, whatever else is there stays honest."""
    return is_combined(pass_name("", channel))


def colours(image: Image, change: Change) -> Image:
    """The picture with its Combined passes changed, as an attacker does who leaves the other passes right."""
    parts = tuple(
        replace(part, channels={n: change(px) if is_colour(n) else px for n, px in part.channels.items()})
        for part in image.parts
    )
    return replace(image, parts=parts)


def regions(honest: Image, plain: Image, kind: str, area: float, count: int, seed: str) -> Iterator[Cheated]:
    """`count` tiles in which a square of `area` of the tile, somewhere, is changed so that it tells.

    `plain` is the tile without textures. Fewer come where hardly any place can be changed so.
    """
    chosen = random.Random(f"{seed} {kind} {area}")
    found = 0
    for _ in range(8 * count):
        made = _region(honest, plain, kind, area, chosen)
        if made is not None:
            yield made
            found += 1
        if found == count:
            return


def _region(honest: Image, plain: Image, kind: str, area: float, chosen: random.Random) -> Cheated | None:
    edge = max(2, round((area * honest.width * honest.height) ** 0.5))
    x, y = chosen.randrange(honest.width - edge + 1), chosen.randrange(honest.height - edge + 1)
    source = _source(honest, kind, x, y, edge, chosen)
    if source is None:
        return None
    place = (slice(y, y + edge), slice(x, x + edge))
    giver = plain if kind == "untextured" else honest
    parts = list(honest.parts)
    for number, (part, other) in enumerate(zip(honest.parts, giver.parts, strict=True)):
        channels = dict(part.channels)
        for name in filter(is_colour, channels):
            channels[name] = channels[name].copy()
            channels[name][place] = 0 if kind == "black" else other.channels[name][source]
        parts[number] = replace(part, channels=channels)
    image = replace(honest, parts=tuple(parts))
    told = tells(image, honest, place, 1 if kind.startswith("copied") else GRAIN)
    return Cheated(kind, image, different_pixels(image, honest)) if told else None


Place = tuple[slice, slice]


def _source(honest: Image, kind: str, x: int, y: int, edge: int, chosen: random.Random) -> Place | None:
    if kind == "copied from afar":
        x, y = chosen.randrange(honest.width - edge + 1), chosen.randrange(honest.height - edge + 1)
    elif kind == "copied from beside":
        x = x + edge if x + 2 * edge <= honest.width else x - edge
    return (slice(y, y + edge), slice(x, x + edge)) if x >= 0 else None


def tells(image: Image, honest: Image, place: Place, grain: int) -> bool:
    """Whether that place differs by TOLD, averaged over squares of `grain` pixels."""
    apart = total = 0.0
    for mine, theirs in zip(image.parts, honest.parts, strict=True):
        for name, pixels in theirs.channels.items():
            if is_colour(name) and name[-1] in "RGB":
                difference = coarse(mine.channels[name][place] - pixels[place], grain)
                apart += float(numpy.abs(difference).mean())
                total += float(numpy.abs(pixels).mean())
    return apart > TOLD * total


def coarse(pixels: Pixels, grain: int) -> Pixels:
    """Means over squares; what is left over at the edges is dropped."""
    grain = min(grain, *pixels.shape)
    height, width = (edge // grain for edge in pixels.shape)
    squares = pixels[: height * grain, : width * grain].reshape(height, grain, width, grain)
    return numpy.asarray(squares.mean(axis=(1, 3)))


def touched(cheated: Cheated, tile: Tile) -> bool:
    """Whether a rectangle, counted from the lower left corner, holds a pixel that differs."""
    height = cheated.image.height
    return bool(cheated.different[height - tile.y1 : height - tile.y0, tile.x0 : tile.x1].any())
