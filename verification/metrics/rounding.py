# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether two pictures differ by more than the order of their sums: docs/verification.md has the derivation.

A pixel of a pass is a sum of m numbers in float32. Added in two orders it comes out within
2 (m - 1) u sum|x| (u = 2**-24; recursive summation: Higham, Accuracy and Stability of Numerical Algorithms,
2nd edition, section 4.2). That is the hard bound, and no pixel may exceed it. It is far above what happens:
rounding errors are as good as independent, so that a difference wanders like sqrt(m) u (Connolly, Higham
and Mary, Stochastic Rounding and its Probabilistic Backward Error Analysis, 2021), and the root of the mean
square over a crop must stay below `RMS_FACTOR` sqrt(m) u. Only both together mean "the same picture".
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy
from numpy.typing import NDArray

from frame_splitter.audits import Sums
from frame_splitter.counts import COUNT_CHANNEL
from frame_splitter.exr import Image, Pixels
from verification.metrics.difference import Mask, by_name, different_bits, different_pixels
from verification.metrics.flips import Flips, flips
from verification.metrics.mattes import MatteChannels, canonical, matte_of
from verification.passes import COMBINED, FIRST_SAMPLE, kind_of, pass_name

UNIT = 2.0**-24
"""Unit roundoff of float32."""

OPERATIONS = 8
"""Roundings beside the additions: scaling, exposure, and what reading a pass does to its sums."""

RMS_FACTOR = 2 * (2 / 3) ** 0.5
"""Twice the greatest standard deviation of the difference of two sums: each rounding error lies evenly
between -u|s| and u|s| at worst, so its variance is (u s)**2 / 3, and there are m in each of the two."""

CAP = 8.0
"""A pixel counts in the mean square by at most so many times its bound: one whose light is nearly all one
sample's may be rounded one way."""

FEWEST = 64
"""Pixels. The mean square of fewer lit ones is over so many: one of them may be so rounded."""

QUOTIENT = 2
"""How many sums a light pass is made of: of light, and of the colour it is divided by."""

TINY = 2.0**-100
"""What is below it may be rounded to nothing."""

DIRECTIONS = frozenset({"Normal", "Denoising Normal"})
"""Passes whose addends are at most 1 each."""

SHARES = frozenset({"Mist"})
"""Passes that are 1 less a sum of at most 1; an alpha is one, too."""

SIGNED = frozenset({"UV", "Vector"})
"""Passes whose addends may have either sign: what they add up to bounds nothing."""

Floats = NDArray[numpy.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """`different`: pixels that no order of sums explains; `flipped`: those of another number of samples, as
    adaptive sampling may give them; `doubtful`: those among the different ones that nobody can tell from
    such; `ratio`: the largest difference of a pixel over its hard bound; `rms`: of each pass over its bound.
    Pictures of shape (height, width), top row first.
    """

    different: Mask
    ratio: NDArray[numpy.float32]
    flipped: Mask
    doubtful: Mask
    rms: dict[str, float] = field(default_factory=dict)

    @property
    def bound(self) -> float:
        """The largest of all as a share of what is explained: above 1 the pictures differ."""
        return max(float(self.ratio.max(initial=0.0)), *self.rms.values(), 0.0)


@dataclass(slots=True, eq=False)
class _Found:
    """What was found so far."""

    different: Mask
    ratio: NDArray[numpy.float32]
    rms: dict[str, float]


def compare(one: Image, rendered: Image, sums: Sums | None) -> Comparison:
    """Compare a picture with one that is trusted, both of one size. Without `sums` every bit counts."""
    shape = one.height, one.width
    mine, theirs = by_name(one), by_name(rendered)
    if sums is None or mine.keys() != theirs.keys():
        return _in_bits(one, rendered)
    found = _Found(numpy.zeros(shape, bool), numpy.zeros(shape, numpy.float32), {})
    of_count = _flipped(mine, theirs, sums, shape)
    recounted = of_count.plausible | of_count.doubtful
    _compare_once(found, mine, theirs)
    doubtful = of_count.doubtful & ~found.different
    _compare_mattes(found, mine, theirs, sums, recounted)
    _compare_sums(found, mine, theirs, sums, recounted)
    found.different |= of_count.impossible | of_count.doubtful
    return Comparison(found.different, found.ratio, of_count.plausible, doubtful, found.rms)


def _in_bits(one: Image, rendered: Image) -> Comparison:
    different = different_pixels(one, rendered)
    ratio = numpy.where(different, numpy.inf, 0).astype(numpy.float32)
    none = numpy.zeros_like(different)
    return Comparison(different, ratio, none, none)


Named = dict[tuple[str, str], Pixels]


def _flipped(mine: Named, theirs: Named, sums: Sums, shape: tuple[int, int]) -> Flips:
    """Pixels of another number of samples. Without adaptive sampling there are none to explain."""
    none = numpy.zeros(shape, bool)
    found = Flips(none, none, none)
    for (part, name), counts in mine.items():
        if not name.endswith(COUNT_CHANNEL):
            continue
        layer = name.removesuffix(COUNT_CHANNEL)
        lit = [(part, f"{layer}.{COMBINED}.{colour}") for colour in "RGB"]
        if sums.noise_threshold is None or not all(key in mine for key in lit):
            found = found | Flips(none, none, different_bits(counts, theirs[part, name]))
        else:
            light, other = (numpy.stack([of[key] for key in lit], -1) for of in (mine, theirs))
            found = found | flips(counts, theirs[part, name], light, other, sums)
    return found


def _compare_once(found: _Found, mine: Named, theirs: Named) -> None:
    """Passes that one sample writes: every bit counts. Integers and halves are no sums either."""
    for (part, name), pixels in mine.items():
        other = theirs[part, name]
        floats = pixels.dtype == other.dtype == numpy.float32
        if floats and kind_of(pass_name(part, name)) not in FIRST_SAMPLE:
            continue
        if not name.endswith(COUNT_CHANNEL):
            _note(found, numpy.where(different_bits(pixels, other), numpy.inf, 0))


def _compare_mattes(found: _Found, mine: Named, theirs: Named, sums: Sums, flipped: Mask) -> None:
    """Cryptomattes in canonical form: shares by name, whatever their rank."""
    of: dict[str, MatteChannels] = {}
    for part, name in mine:
        if matte := matte_of(part, name):
            of.setdefault(matte, []).append((part, name))
    for matte, keys in of.items():
        apart, wrong = canonical([mine[key] for key in keys], [theirs[key] for key in keys], keys)
        ratios = numpy.where(wrong, numpy.inf, apart / hard_bound(sums))
        _note(found, numpy.where(flipped, 0, ratios))
        _note_rms(found, matte, [apart], [numpy.ones_like(apart)], sums, flipped)


def _compare_sums(found: _Found, mine: Named, theirs: Named, sums: Sums, flipped: Mask) -> None:
    for name, keys in _passes(mine):
        apart, sizes = [], []
        for part, channel in keys:
            one, other = (of[part, channel].astype(numpy.float64) for of in (mine, theirs))
            same = ~different_bits(mine[part, channel], theirs[part, channel])
            with numpy.errstate(invalid="ignore", over="ignore"):
                # Equal bits are equal, also of what is no number.
                distance = numpy.where(same, 0, numpy.abs(one - other))
            size = _size(kind_of(name), channel, one, other)
            apart.append(numpy.nan_to_num(distance, nan=numpy.inf, posinf=numpy.inf))
            sizes.append(size * (1 if kind_of(name) == COMBINED else QUOTIENT))
            with numpy.errstate(divide="ignore", invalid="ignore", over="ignore"):
                ratios = apart[-1] / (sizes[-1] * hard_bound(sums) + TINY)
            _note(found, numpy.where(flipped, 0, ratios))
        _note_rms(found, name, apart, sizes, sums, flipped)


def _passes(mine: Named) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The passes that are sums, with their channels."""
    of: dict[str, list[tuple[str, str]]] = {}
    for (part, name), pixels in mine.items():
        kind = kind_of(pass_name(part, name))
        counted = name.endswith(COUNT_CHANNEL) or matte_of(part, name)
        if pixels.dtype == numpy.float32 and kind not in FIRST_SAMPLE and not counted:
            of.setdefault(pass_name(part, name), []).append((part, name))
    yield from of.items()


def _size(kind: str, channel: str, one: Floats, other: Floats) -> Floats:
    """A bound of the sizes of all a pixel's addends, over the number of samples (`sum|x| / N`)."""
    values: Floats = numpy.where(numpy.isfinite(other), numpy.abs(other), 0.0)
    if kind in DIRECTIONS | SHARES or channel.rpartition(".")[2] == "A":
        return numpy.maximum(values, 1.0)
    if kind in SIGNED or (other < 0).any():
        # No theorem: they may cancel. The crop's largest value stands for what each may be.
        return numpy.full_like(values, values.max(initial=0.0))
    # What is never negative is its own sum of sizes; either may be the smaller one.
    mine: Floats = numpy.where(numpy.isfinite(one), numpy.abs(one), 0.0)
    return numpy.minimum(numpy.maximum(values, mine), 2 * values)


def hard_bound(sums: Sums) -> float:
    """How far one pixel of a pass may lie apart, as a share of the sum of its addends' sizes."""
    return 2 * (addends(sums) + OPERATIONS) * UNIT


def rms_bound(sums: Sums) -> float:
    """The same for the root of the mean square over a crop."""
    return RMS_FACTOR * float(numpy.sqrt(addends(sums) + OPERATIONS)) * UNIT


def addends(sums: Sums) -> int:
    """The most numbers that are added up in one pixel of a pass."""
    return sums.samples * sums.path_writes


def _note(found: _Found, ratios: Floats) -> None:
    numpy.maximum(found.ratio, ratios.astype(numpy.float32), out=found.ratio)
    found.different |= ratios > 1


def _note_rms(
    found: _Found, name: str, apart: list[Floats], sizes: list[Floats], sums: Sums, flipped: Mask
) -> None:
    """The pass's mean square; where it is too large, what lies above the bound differs."""
    with numpy.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratios = numpy.stack(apart) / (numpy.stack(sizes) * rms_bound(sums) + TINY)
    ratios = numpy.where(flipped, 0, ratios)
    lit = int(((numpy.stack(sizes) > 0).any(axis=0) & ~flipped).sum())
    squares = numpy.minimum(ratios, CAP) ** 2
    rms = float(numpy.sqrt(squares.mean(axis=0).sum() / max(lit, FEWEST)))
    found.rms[name] = max(rms, found.rms.get(name, 0.0))
    if rms > 1:
        found.different |= (ratios > 1).any(axis=0)
