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
from dataclasses import dataclass, field, replace

import numpy
from numpy.typing import NDArray

from farm_protocol.audits import Sums
from frame_splitter.counts import COUNT_CHANNEL
from frame_splitter.exr import Image, Pixels
from verification.compare.metrics.difference import Mask, by_name, different_bits, different_pixels
from verification.compare.metrics.flips import Flips, flips
from verification.compare.metrics.mattes import MatteChannels, canonical, matte_of
from verification.compare.passes import COMBINED, is_written_once, kind_of, pass_name

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

BAND = 128
"""Rows."""

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

CANCELLED = 32
"""How many times a channel's most negative value the addends of a pixel may hold that cancel each other."""

Floats = NDArray[numpy.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """`different`: pixels that no order of sums explains; `flipped`: those of another number of samples, as
    adaptive sampling may give them; `doubtful`: those among the different ones that nobody can tell from
    such; `ratio`: the largest difference of a pixel over its hard bound; `rms`: of each pass over its bound;
    `passes`: those sums that differ, None where bits were compared. Pictures of shape (height, width), top
    row first.
    """

    different: Mask
    ratio: NDArray[numpy.float32]
    flipped: Mask
    doubtful: Mask
    rms: dict[str, float] = field(default_factory=dict)
    passes: frozenset[str] | None = None

    @property
    def certain(self) -> Mask:
        """The different pixels that are not doubtful."""
        return self.different & ~self.doubtful

    def with_flips_in_doubt(self) -> "Comparison":
        """The same, where pixels of another number of samples are more than one decision's."""
        none, doubtful = numpy.zeros_like(self.flipped), self.flipped | self.doubtful
        return replace(self, different=self.different | self.flipped, flipped=none, doubtful=doubtful)

    def with_flips_that_differ(self) -> "Comparison":
        """The same, where pixels of another number of samples are too many to be explained."""
        none = numpy.zeros_like(self.flipped)
        return replace(self, different=self.different | self.flipped, flipped=none, doubtful=none)

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
    passes: set[str]


def compare(one: Image, rendered: Image, sums: Sums | None) -> Comparison:
    """Compare a picture with one that is trusted, both of one size. Without `sums` every bit counts."""
    shape = one.height, one.width
    mine, theirs = by_name(one), by_name(rendered)
    if sums is None or mine.keys() != theirs.keys():
        return _in_bits(one, rendered)
    found = _Found(numpy.zeros(shape, bool), numpy.zeros(shape, numpy.float32), {}, set())
    of_count = _flipped(mine, theirs, sums, shape)
    recounted = of_count.plausible | of_count.doubtful
    _compare_once(found, mine, theirs)
    doubtful = of_count.doubtful & ~found.different
    _compare_mattes(found, mine, theirs, sums, recounted)
    _compare_sums(found, mine, theirs, sums, recounted)
    found.different |= of_count.impossible | of_count.doubtful
    passes = frozenset(found.passes)
    return Comparison(found.different, found.ratio, of_count.plausible, doubtful, found.rms, passes)


def _in_bits(one: Image, rendered: Image) -> Comparison:
    different = different_pixels(one, rendered)
    ratio = numpy.where(different, numpy.inf, 0).astype(numpy.float32)
    none = numpy.zeros_like(different)
    return Comparison(different, ratio, none, none)


Named = dict[tuple[str, str], Pixels]


def _flipped(mine: Named, theirs: Named, sums: Sums, shape: tuple[int, int]) -> Flips:
    """Pixels of another number of samples. Without adaptive sampling nothing of that kind is explained."""
    none = numpy.zeros(shape, bool)
    found = Flips(none, none, none)
    places = {name: (part, name) for part, name in mine}
    for (part, name), counts in mine.items():
        if not name.endswith(COUNT_CHANNEL):
            continue
        layer = name.removesuffix(COUNT_CHANNEL)
        lit = [places.get(f"{layer}.{COMBINED}.{colour}", ("", "")) for colour in "RGB"]
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
        if floats and not is_written_once(part, name):
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
        noted = _Noted(found, sums, flipped)
        for rows in _bands(flipped):
            one, other = ([of_one[key][rows] for key in keys] for of_one in (mine, theirs))
            apart, wrong = canonical(one, other, keys)
            noted.add(rows, [numpy.where(wrong, numpy.inf, apart)], [numpy.ones_like(apart)])
        noted.end(matte)


def _compare_sums(found: _Found, mine: Named, theirs: Named, sums: Sums, flipped: Mask) -> None:
    for name, keys in _passes(mine):
        kind, noted = kind_of(name), _Noted(found, sums, flipped)
        sizes = [(_same_size(kind, key[1], theirs[key]), _least_size(theirs[key])) for key in keys]
        for rows in _bands(flipped):
            pairs = [(mine[key][rows], theirs[key][rows]) for key in keys]
            times = 1 if kind == COMBINED else QUOTIENT
            noted.add(
                rows,
                [_distance(*pair) for pair in pairs],
                [times * _size(*pair, *size) for pair, size in zip(pairs, sizes, strict=True)],
            )
        noted.end(name)


def _bands(flipped: Mask) -> Iterator[slice]:
    """Rows of some at a time: what is reckoned with takes more memory than what is compared."""
    for first in range(0, len(flipped), BAND):
        yield slice(first, first + BAND)


def _passes(mine: Named) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The passes that are sums, with their channels."""
    of: dict[str, list[tuple[str, str]]] = {}
    for (part, name), pixels in mine.items():
        other = is_written_once(part, name) or name.endswith(COUNT_CHANNEL) or matte_of(part, name)
        if pixels.dtype == numpy.float32 and not other:
            of.setdefault(pass_name(part, name), []).append((part, name))
    yield from of.items()


def _distance(one: Pixels, other: Pixels) -> Floats:
    """How far values lie apart. Equal bits are equal, also of infinity, and what is no number in both is: its
    sign and its further bits are those of whichever addend came first.
    """
    with numpy.errstate(invalid="ignore", over="ignore"):
        apart = numpy.abs(one.astype(numpy.float64) - other.astype(numpy.float64))
    apart[~different_bits(one, other) | (numpy.isnan(one) & numpy.isnan(other))] = 0
    found: Floats = numpy.nan_to_num(apart, nan=numpy.inf, posinf=numpy.inf)
    return found


def _same_size(kind: str, channel: str, rendered: Pixels) -> float | None:
    """The size that all of a channel's addends have at most, over the number of samples; None where each
    pixel's is its own.
    """
    largest = float(numpy.abs(rendered, where=numpy.isfinite(rendered), out=numpy.zeros_like(rendered)).max())
    if kind in DIRECTIONS | SHARES or channel.rpartition(".")[2] == "A":
        return max(largest, 1.0)
    # They may cancel, so what they add up to bounds nothing: the crop's largest value stands for each.
    return largest if kind in SIGNED else None


def _least_size(rendered: Pixels) -> float:
    """The size of all addends that any pixel of a channel may have, though it adds up to nothing: 0 where the
    channel holds nothing negative. One dark value below 0 beside a lamp is no reason to hold all the dark to
    the lamp's light.
    """
    values = rendered[numpy.isfinite(rendered)].astype(numpy.float64)
    largest, least = float(numpy.abs(values).max(initial=0.0)), float(values.min(initial=0.0))
    return min(largest, -CANCELLED * least)


def _size(one: Pixels, other: Pixels, same: float | None, least: float) -> Floats:
    """A bound of the sizes of all a pixel's addends, over the number of samples (`sum|x| / N`)."""
    if same is not None:
        return numpy.full(other.shape, same)
    # What is never negative is its own sum of sizes; either may be the smaller one.
    mine, theirs = (
        numpy.where(numpy.isfinite(of), numpy.abs(of), 0.0).astype(numpy.float64) for of in (one, other)
    )
    found: Floats = numpy.maximum(numpy.minimum(numpy.maximum(theirs, mine), 2 * theirs), least)
    return found


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


class _Noted:
    """One pass's distances, held against both bounds."""

    def __init__(self, found: _Found, sums: Sums, flipped: Mask) -> None:
        self._found, self._flipped = found, flipped
        self._hard, self._rms = hard_bound(sums), rms_bound(sums)
        self._above = numpy.zeros_like(flipped)
        self._squares, self._lit, self._beyond = 0.0, 0, False

    def add(self, rows: slice, apart: list[Floats], sizes: list[Floats]) -> None:
        """Take in the pass's channels in some rows."""
        distances, size, flipped = numpy.stack(apart), numpy.stack(sizes), self._flipped[rows]
        with numpy.errstate(divide="ignore", invalid="ignore", over="ignore"):
            hard = numpy.where(flipped, 0, distances / (size * self._hard + TINY)).max(axis=0)
            ratios = numpy.where(flipped, 0, distances / (size * self._rms + TINY))
        numpy.maximum(self._found.ratio[rows], hard.astype(numpy.float32), out=self._found.ratio[rows])
        self._found.different[rows] |= hard > 1
        self._beyond |= bool((hard > 1).any())
        self._above[rows] = (ratios > 1).any(axis=0)
        self._squares += float((numpy.minimum(ratios, CAP) ** 2).mean(axis=0).sum())
        self._lit += int(((size > 0).any(axis=0) & ~flipped).sum())

    def end(self, name: str) -> None:
        """Keep the pass's mean square; where it is too large, what lies above the bound differs."""
        rms = (self._squares / max(self._lit, FEWEST)) ** 0.5
        self._found.rms[name] = max(rms, self._found.rms.get(name, 0.0))
        if rms > 1:
            self._found.different |= self._above
        if rms > 1 or self._beyond:
            self._found.passes.add(name)
