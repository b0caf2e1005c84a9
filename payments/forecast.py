# SPDX-License-Identifier: GPL-3.0-or-later
"""From probes to what a job takes. Pure; seconds are those of the slot that probed.

A frame takes what Blender needs beside its samples (syncing what changed, writing files), which small renders
show as it is, and its samples, which grow with its pixels. With adaptive sampling they grow a little less
than that: how much less is read from the probe's own sizes. Frames between probed ones are interpolated.
How far all of this is off was measured (`benchmarks/quote.py`, docs/pricing.md): that is where the constants
are from.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from farm_protocol.probes import MOST_FRAMES, Measure, ProbeReport

P90 = 1.2816
"""Standard deviations from the middle to the 90th of a hundred."""

TREND = 0.4
"""How much of the trend between the probe's last two sizes goes on up to the frame's size, where sampling
is adaptive.
"""

STEEPEST = -0.2
"""Of that trend, as an exponent of the pixels."""

UNFILLED = -0.3
"""A steeper one is that of a GPU which so few pixels cannot keep busy: then each further pixel takes as long
as those between the last two sizes did.
"""

LEAST_GROWTH = 0.5
"""Of the pixels from one size to the next, as a logarithm, for a trend to be seen."""


class Sampling(StrEnum):
    """How pixels are sampled: all alike, until each is good enough, or by another engine than Cycles."""

    FIXED = "fixed"
    ADAPTIVE = "adaptive"
    OTHER = "other"


SPREAD = {Sampling.FIXED: 0.07, Sampling.ADAPTIVE: 0.10, Sampling.OTHER: 0.35}
"""Of a frame's work around its prediction, as a standard deviation of its logarithm: twice what it was on the
jobs it was calibrated on (0.035 and 0.052), because those are few and scenes differ.
"""

SPREAD_BETWEEN = 0.05
"""The same of a frame between two probed ones, where those are alike."""

SPREAD_UNSEEN = 0.30
"""The same of other frames where only one was probed."""

NEXT_TO_NOTHING = 1e-3
"""Seconds of sampling of a frame."""

RESYNC = 0.25
"""Of the first syncing: what another frame's takes, where none was probed."""


@dataclass(frozen=True, slots=True)
class Cut:
    """How a frame is rendered: in so many tiles, with so many pixels in all, overscan included."""

    tiles: int
    pixels: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """Seconds of each frame, in the job's order, and how sure their sum is: the standard deviation of its
    logarithm.
    """

    seconds: tuple[float, ...]
    spread: float

    @property
    def low(self) -> float:
        """What to multiply with for the figure that is undercut in one case of ten."""
        return math.exp(-P90 * self.spread)

    @property
    def high(self) -> float:
        """The same for the figure that is exceeded in one case of ten."""
        return math.exp(P90 * self.spread)


def probed_frames(frames: Sequence[int]) -> tuple[int, ...]:
    """Which frames to probe, the most telling first: the first, the last, then the middle of each gap."""
    last = len(frames) - 1
    order = [0, last] if last else [0]
    parts = 2
    while len(order) < min(len(frames), MOST_FRAMES):
        places = [last * part // parts for part in range(1, parts, 2)]
        order.extend(place for place in dict.fromkeys(places) if place not in order)
        parts *= 2
    return tuple(frames[place] for place in order[:MOST_FRAMES])


def forecast(
    report: ProbeReport, frames: Sequence[int], area: int, cuts: Sequence[Cut], sampling: Sampling
) -> Forecast:
    """What the frames of a job take, each cut as `cuts` says. `area`: pixels of a whole frame."""
    probe = _Probe(report.measures, TREND if sampling is Sampling.ADAPTIVE else 0.0)
    places = {frame: place for place, frame in enumerate(frames)}
    seen = sorted((places[frame], samples, sync) for frame, samples, sync in probe.seen(places, area))
    samples = _between([(place, taken) for place, taken, _ in seen], len(frames))
    syncs = _between([(place, sync) for place, _, sync in seen], len(frames))
    first = places.get(report.measures[0].frame, 0)
    seconds = tuple(
        taken * cut.pixels / area + probe.rest(cut) + (probe.cold if place == first else sync)
        for place, (taken, sync, cut) in enumerate(zip(samples, syncs, cuts, strict=True))
    )
    return Forecast(seconds, math.hypot(SPREAD[sampling], _between_spread(seen, len(frames))))


class _Probe:
    """What a probe's measures say. The first is cold and the smallest; the first frame's others are warm."""

    def __init__(self, measures: Sequence[Measure], trend: float) -> None:
        self._goes_on = trend
        self._first = [measure for measure in measures if measure.frame == measures[0].frame]
        self._others = [measure for measure in measures if measure.frame != measures[0].frame]
        warm = self._first[1:] or self._first
        self._small, self._large = warm[0], warm[-1]
        self._beside = min(map(_rest, warm))
        self.cold = max(0.0, _rest(self._first[0]) - self._beside)

    def _samples(self, measure: Measure, area: int) -> float:
        """Seconds of sampling of a frame at its size; others than the first were probed at its largest."""
        return measure.sampling * self._growth(area)

    def _growth(self, area: int) -> float:
        """How many times as long as the largest probe's a whole frame's sampling is."""
        small, large = self._first[-2:] if len(self._first) > 1 else (self._large, self._large)
        exponent = _exponent(small, large)
        if exponent < UNFILLED:
            marginal = max(0.0, large.sampling - small.sampling) / (large.pixels - small.pixels)
            return 1 + marginal * max(0, area - large.pixels) / large.sampling
        trend = self._goes_on * min(0.0, max(STEEPEST, exponent))
        return float((area / large.pixels) ** (1 + trend))

    def rest(self, cut: Cut) -> float:
        """Seconds beside samples and syncing: the beginning and end of a render, and writing its pixels."""
        more = self._large.pixels - self._small.pixels
        slope = max(0.0, _rest(self._large) - _rest(self._small)) / more if more else 0.0
        return self._beside * cut.tiles + slope * max(0, cut.pixels - self._small.pixels)

    def seen(self, places: dict[int, int], area: int) -> list[tuple[int, float, float]]:
        """Probed frames: each one's sampling at its size, and its syncing."""
        found = [(self._large.frame, self._samples(self._large, area), self._usual_sync())]
        found += [
            (measure.frame, self._samples(measure, area), self._sync(measure)) for measure in self._others
        ]
        return [one for one in found if one[0] in places]

    def _sync(self, measure: Measure) -> float:
        return max(0.0, _rest(measure) - self._beside)

    def _usual_sync(self) -> float:
        """What the first frame's syncing would have taken had it come later."""
        if not self._others:
            return self.cold * RESYNC
        return sum(map(self._sync, self._others)) / len(self._others)


def _exponent(small: Measure, large: Measure) -> float:
    """Of the pixels in a pixel's time: 0 where a pixel takes as long at both sizes."""
    growth = math.log(large.pixels / small.pixels)
    if growth < LEAST_GROWTH or min(small.sampling, large.sampling) <= NEXT_TO_NOTHING:
        return 0.0
    return math.log(large.sampling / small.sampling) / growth - 1


def _rest(measure: Measure) -> float:
    return max(0.0, measure.seconds - measure.sampling)


def _between(known: Sequence[tuple[int, float]], count: int) -> list[float]:
    """A value for each of `count` places: as known, else on the line between its neighbours."""
    values = [known[0][1]] * count
    for (left, low), (right, high) in pairwise(known):
        for place in range(left, right + 1):
            values[place] = low + (high - low) * (place - left) / (right - left)
    for place in range(known[-1][0], count):
        values[place] = known[-1][1]
    return values


def _between_spread(seen: Sequence[tuple[int, float, float]], count: int) -> float:
    """How far the sum is off because only some frames were probed.

    Each probed frame between two others says how good a line between those is; the errors of several
    gaps partly cancel.
    """
    unseen = 1 - len(seen) / count
    if unseen <= 0:
        return 0.0
    if len(seen) == 1:
        return SPREAD_UNSEEN * unseen
    errors = [
        _error(before, middle, after) for before, middle, after in zip(seen, seen[1:], seen[2:], strict=False)
    ]
    ends = abs(_logarithm(seen[-1][1], seen[0][1])) / 4
    usual = math.hypot(SPREAD_BETWEEN, ends if not errors else 0.0, *errors) / math.sqrt(len(errors) + 1)
    return usual * unseen * math.sqrt(2 / len(seen))


def _error(
    before: tuple[int, float, float], middle: tuple[int, float, float], after: tuple[int, float, float]
) -> float:
    line = before[1] + (after[1] - before[1]) * (middle[0] - before[0]) / (after[0] - before[0])
    return _logarithm(middle[1], line)


def _logarithm(one: float, other: float) -> float:
    """Of their ratio; what takes next to nothing is like anything else that does."""
    return math.log((one + NEXT_TO_NOTHING) / (other + NEXT_TO_NOTHING))
