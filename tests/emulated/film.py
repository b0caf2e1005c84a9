# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures of single samples become one picture, as Cycles reads its buffer of sums (kernel/film/read.h).

Each addend is a picture of some samples, rendered at exposure 1, so that it holds the sums themselves. What
each pass does when it is read:

sum x scale         most; the picture, emission, background, volumes and light groups times the exposure, too
1 - sum x scale     alpha (the buffer holds transparency) and mist
sum / sum           diffuse, glossy and transmission light over its colour
slots               cryptomattes (tests/emulated/mattes.py)
the first sample's  depth, position, object and material index: exact
count               Debug Sample Count

Where a single sample was cut off at 0 or 1 (alpha where Russian roulette left more than 1, mist), its addend
is the cut one. Motion vectors, shadow catchers and what guides volumes cannot be taken apart: they are the
CPU's (`whole`), perturbed within what an order does.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy

from frame_splitter.exr import Image, Pixels
from tests.emulated import mattes, stopping, sums
from tests.emulated.stopping import Rule
from tests.emulated.sums import Batch, Floats, Random
from verification.compare.passes import COMBINED, COUNTED, FIRST_SAMPLE, kind_of, pass_name

LIGHTS = ("Diffuse", "Glossy", "Transmission")
OVER = {f"{light} {part}": f"{light} Color" for light in LIGHTS for part in ("Direct", "Indirect")}
"""Passes that are divided, each with what by."""

EXPOSED = frozenset({COMBINED, "Noisy Image", "Emission", "Environment", "Volume Direct", "Volume Indirect"})
PLAIN = frozenset(
    {"Normal", "UV", "Ambient Occlusion", "Denoising Albedo", "Denoising Normal", "Denoising Depth"}
    | set(OVER.values())
)

GROUP = "Combined_"
"""How the passes of light groups begin."""

MATTE = re.compile(r"(.*\.Crypto(?:Object|Material|Asset))(\d\d)")

ONE = numpy.float32(1)


@dataclass(frozen=True)
class Film:
    """How the sums are read: `samples` of the whole picture, `chunk` the samples of each addend, the film's
    `exposure`, the names of a user's own passes, and the rule of adaptive sampling.
    """

    samples: int
    exposure: float = 1.0
    chunk: int = 1
    own: frozenset[str] = frozenset()
    rule: Rule | None = None


def is_whole(kind: str, film: Film) -> bool:
    """Whether a pass cannot be taken apart into samples."""
    known = EXPOSED | PLAIN | FIRST_SAMPLE | COUNTED | OVER.keys() | film.own | {"Mist"}
    return not (kind in known or kind.startswith((GROUP, "Crypto")))


def added(addends: Sequence[Image], film: Film, random: Random, whole: Image | None = None) -> "Added":
    """One picture of them all."""
    reading = _Reading(addends, film, random, whole)
    parts = tuple(
        replace(part, channels={name: reading.pixels(part.name, name) for name in part.channels})
        for part in addends[0].parts
    )
    most = {layer: int(count.max()) for layer, count in reading.counted.items()}
    return Added(replace(addends[0], parts=parts), most)


@dataclass(frozen=True)
class Added:
    """The picture, and the most samples that a pixel of each layer took."""

    image: Image
    most: dict[str, int]


class _Reading:
    """Reads pass after pass of one picture."""

    def __init__(self, addends: Sequence[Image], film: Film, random: Random, whole: Image | None) -> None:
        self._addends, self._film, self._random = addends, film, random
        self._whole = whole
        self._sums: dict[str, Floats] = {}
        self._slots: dict[str, tuple[mattes.Names, Floats]] = {}
        self._batches: dict[str, list[Batch]] = {}
        self.counted: dict[str, numpy.ndarray] = {}

    def pixels(self, part: str, channel: str) -> Pixels:
        """One channel of the picture."""
        name, letter = pass_name(part, channel), channel.rpartition(".")[2]
        kind, layer = kind_of(name), name.rpartition(".")[0]
        self._decide(layer)
        if kind in FIRST_SAMPLE:
            return self._addends[0].parts[0].channels[channel]
        if kind in COUNTED:
            return self._count(layer)
        if MATTE.match(name):
            return self._matte(layer, name, letter)
        if is_whole(kind, self._film):
            assert self._whole is not None
            pixels = self._whole.parts[0].channels[channel]
            return sums.perturbed(pixels, self._film.samples, self._random)
        return self._sum(layer, kind, channel, letter)

    def _sum(self, layer: str, kind: str, channel: str, letter: str) -> Floats:
        scale = self._scale(layer)
        exposed = scale * numpy.float32(self._film.exposure)
        if kind == "Mist" or (letter == "A" and kind in EXPOSED):
            return (ONE - self._total(layer, channel) * scale).clip(0, 1)
        if kind in OVER:
            return self._quotient(layer, kind)["RGB".index(letter)] * numpy.float32(self._film.exposure)
        return self._total(layer, channel) * (exposed if kind in EXPOSED or kind.startswith(GROUP) else scale)

    # --- what a layer's pixels take ------------------------------------------------------------------

    def _decide(self, layer: str) -> None:
        """Which samples the layer's pixels take, once a layer."""
        if layer in self._batches:
            return
        film = self._film
        if film.rule is None:
            self._batches[layer] = [Batch(len(self._addends))]
        else:
            names = [f"{layer}.{COMBINED}.{letter}" for letter in "RGB"]
            red, green, blue = (self._addend(name) for name in names)
            found = stopping.decide((red, green, blue), film.rule, film.exposure, self._random)
            self._batches[layer] = found[0]
            self._sums |= dict(zip(names, found[1], strict=True))
        shape = (self._addends[0].height, self._addends[0].width)
        self.counted[layer] = film.chunk * sums.counts(shape, self._batches[layer])
        if film.rule is None:
            self.counted[layer][:] = film.samples

    def _scale(self, layer: str) -> Floats:
        return ONE / self.counted[layer].astype(numpy.float32)

    def _count(self, layer: str) -> Floats:
        count = self.counted[layer].astype(numpy.float32)
        return count * (ONE / count.max())

    # --- sums ------------------------------------------------------------------------------------------

    def _total(self, layer: str, channel: str) -> Floats:
        if channel not in self._sums:
            self._sums[channel] = sums.total(self._addend(channel), self._batches[layer], self._random)
        return self._sums[channel]

    def _quotient(self, layer: str, kind: str) -> list[Floats]:
        """Light over colour, which Cycles greys where a colour has a part that is nothing."""
        above, below = (
            [self._total(layer, f"{layer}.{one}.{letter}") for letter in "RGB"] for one in (kind, OVER[kind])
        )
        return evened(above, below)

    def _addend(self, channel: str) -> Floats:
        """What each addend puts into the buffer: the reverse of how it was read."""
        stored = self._stored(channel)
        name, letter = channel.rpartition(".")[0], channel[-1]
        kind = kind_of(name)
        if kind == "Mist" or (letter == "A" and kind in EXPOSED):
            stored = ONE - stored
        if kind in OVER:
            return stored * self._addend(f"{name.rpartition('.')[0]}.{OVER[kind]}.{letter}")
        return stored * self._sizes()

    def _stored(self, channel: str) -> Floats:
        return numpy.stack([one.parts[0].channels[channel] for one in self._addends])

    def _sizes(self) -> Floats:
        """The samples of each addend: the last may have one more."""
        sizes = numpy.full((len(self._addends), 1, 1), self._film.chunk, numpy.float32)
        sizes[-1] += self._film.samples - self._film.chunk * len(self._addends)
        return sizes

    # --- cryptomattes ------------------------------------------------------------------------------------

    def _matte(self, layer: str, name: str, letter: str) -> Floats:
        found = MATTE.match(name)
        assert found
        if found[1] not in self._slots:
            self._slots[found[1]] = self._filled(layer, found[1])
        names, weights = self._slots[found[1]]
        slot = 2 * int(found[2]) + (letter in "ba")
        if letter in "rb":
            return names[slot].view(numpy.float32)
        return weights[slot] * self._scale(layer)

    def _filled(self, layer: str, kind: str) -> tuple[mattes.Names, Floats]:
        passes = sorted(
            {m[0] for name in self._addends[0].parts[0].channels if (m := MATTE.match(name)) and m[1] == kind}
        )
        names = [self._stored(f"{one}.{letter}").view(numpy.uint32) for one in passes for letter in "rb"]
        weights = [self._stored(f"{one}.{letter}") * self._sizes() for one in passes for letter in "ga"]
        return mattes.fill(
            numpy.stack(names, axis=1), numpy.stack(weights, axis=1), self._batches[layer], self._random
        )


def evened(above: list[Floats], below: list[Floats]) -> list[Floats]:
    """`safe_divide_even_color`: where nothing is below, the mean of the parts where something is."""
    there = [one != 0 for one in below]
    quotient = [
        numpy.divide(a, b, out=numpy.zeros_like(a), where=is_there)
        for a, b, is_there in zip(above, below, there, strict=True)
    ]
    count = there[0].astype(int) + there[1] + there[2]
    mean = (quotient[0] + quotient[1] + quotient[2]) / count.clip(1, 2).astype(numpy.float32)
    return [numpy.where(is_there, one, mean) for one, is_there in zip(quotient, there, strict=True)]
