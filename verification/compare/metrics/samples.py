# SPDX-License-Identifier: GPL-3.0-or-later
"""With how many samples a crop was rendered whose re-render has all of them.

With fewer samples of the same sequence, the submitted value p is the mean of n samples and the
re-render's value t that of N which hold those n. Then t and p - t have nothing to do with each other, so
the noise of p exceeds that of t by exactly the noise of p - t; with another seed, another picture or a
denoised one it does not. Where that holds, n comes from two sides: N t >= n p in every pixel (light is not
negative), so n <= N min(t / p), which some pixel reaches where there is much noise; and the noise of p - t
over that of t is N / n - 1.
"""

from collections.abc import Sequence
from statistics import median

import numpy

from frame_splitter.exr import Pixels
from verification.compare.metrics.character import coarse_share
from verification.compare.metrics.noise import noise_energy

FITS = (0.3, 2.5)
"""How far the excess of noise over the noise of the difference may lie from 1 in a few small crops."""

WHITE = 0.25
"""Missing samples leave white noise: no more than this share of its square survives averaging."""

BELOW = 0.6
"""Where the bound lies further below what the noise says, the two contradict each other, and it was
something else.
"""

SHARP, WITNESSES = 1.01, 4
"""The bound is reached, and not only a bound, where so many values lie so near it."""

MOST_DARKER = 0.9
"""Missing samples make as many values brighter as darker; missing light makes all darker."""

CHANGED_SCALE = 0.04
"""Denoised scenes store sums: fewer samples then make everything darker by their share."""

Pair = tuple[Pixels, Pixels]


def estimate_samples(crops: Sequence[Pair], samples: int) -> float | None:
    """About how many of `samples` the submitted crops were rendered with, from (submitted, re-render) pairs
    that differ, of shape (height, width, channels); None where they do not look like fewer samples.
    """
    pairs = [(mine.astype(numpy.float64), theirs.astype(numpy.float64)) for mine, theirs in crops]
    if not pairs or not all(numpy.isfinite(one).all() for pair in pairs for one in pair):
        return None
    share = _share_of_light(pairs)
    if 0 < share < 1 - CHANGED_SCALE:
        scaled = [(mine / share, theirs) for mine, theirs in pairs]
        found = _estimate(scaled, samples)
        if found is not None and share / 1.5 < found / samples < share * 1.5:
            return share * samples
    return _estimate(pairs, samples)


def _share_of_light(pairs: Sequence[Pair]) -> float:
    mine, theirs = (float(sum(pair[side].sum() for pair in pairs)) for side in (0, 1))
    return mine / theirs if theirs > 0 else 1.0


def _estimate(pairs: Sequence[Pair], samples: int) -> float | None:
    apart = sum(noise_energy(mine - theirs) for mine, theirs in pairs)
    own = sum(noise_energy(theirs) for _, theirs in pairs)
    more = sum(noise_energy(mine) for mine, _ in pairs) - own
    if apart <= 0 or not FITS[0] * apart < more < FITS[1] * apart or not _is_noise(pairs):
        return None
    by_noise = samples / (1 + median(map(_ratio, pairs)))
    at_most, reached = _bound(pairs, samples)
    if at_most < by_noise * BELOW:
        return None
    return at_most if reached else min(by_noise, at_most)


def _ratio(pair: Pair) -> float:
    """Noise of the difference over that of the re-render, whose texture counts as noise, too: so some crops
    say too little; the middle one does not mind a few.
    """
    mine, theirs = pair
    own = noise_energy(theirs)
    return noise_energy(mine - theirs) / own if own > 0 else 0.0


def _is_noise(pairs: Sequence[Pair]) -> bool:
    """The difference is white, and not all of it darker."""
    different = sum(int((mine != theirs).sum()) for mine, theirs in pairs)
    darker = sum(int((mine < theirs).sum()) for mine, theirs in pairs)
    squares = [float(((mine - theirs) ** 2).sum()) for mine, theirs in pairs]
    coarse = sum(
        square * coarse_share(mine, theirs) for square, (mine, theirs) in zip(squares, pairs, strict=True)
    )
    return darker <= MOST_DARKER * different and coarse <= WHITE * sum(squares)


def _bound(pairs: Sequence[Pair], samples: int) -> tuple[float, bool]:
    """The most samples the submitted values can hold, and whether several values say just that."""
    ratios = numpy.concatenate([theirs[mine > 0] / mine[mine > 0] for mine, theirs in pairs])
    lowest = numpy.sort(ratios)[:WITNESSES]
    if lowest.size < WITNESSES:
        return float(samples), False
    at_most = max(1.0, samples * min(1.0, float(lowest[0])))
    return at_most, bool(lowest[0] < 1 and lowest[-1] <= lowest[0] * SHARP)
