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
from itertools import pairwise

from frame_splitter.probes import MOST_FRAMES, Measure, ProbeReport

P90 = 1.2816
"""Standard deviations from the middle to the 90th of a hundred."""

TREND = 0.4
"""How much of the trend between the probe's last two sizes goes on up to the frame's size, where sampling
is adaptive.
"""

STEEPEST = -0.2
"""Of that trend, as an exponent of the pixels."""

SPREAD, SPREAD_ADAPTIVE = 0.06, 0.10
"""Of a frame's work around its prediction, as a standard deviation of its logarithm: 0.028 and 0.063 on the
jobs it was calibrated on, and as much again because the device's speed is measured in a second.
"""

SPREAD_BETWEEN = 0.05
"""The same of a frame between two probed ones, where those are alike."""

SPREAD_UNSEEN = 0.30
"""The same of other frames where only one was probed."""

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
    report: ProbeReport, frames: Sequence[int], area: int, cuts: Sequence[Cut], adaptive: bool
) -> Forecast:
    """What the frames of a job take, each cut as `cuts` says. `area`: pixels of a whole frame."""
    probe = _Probe(report.measures, TREND if adaptive else 0.0)
    places = {frame: place for place, frame in enumerate(frames)}
    seen = sorted((places[frame], factor, sync) for frame, factor, sync in probe.others(places))
    whole = probe.samples(area)
    factors = _between([(place, factor) for place, factor, _ in seen], len(frames))
    syncs = _between([(place, sync) for place, _, sync in seen], len(frames))
    first = places.get(report.measures[0].frame, 0)
    seconds = tuple(
        whole * factor * cut.pixels / area + probe.rest(cut) + (probe.cold if place == first else sync)
        for place, (factor, sync, cut) in enumerate(zip(factors, syncs, cuts, strict=True))
    )
    own = SPREAD_ADAPTIVE if adaptive else SPREAD
    return Forecast(seconds, math.hypot(own, _between_spread(seen, len(frames))))


class _Probe:
    """What a probe's measures say. The first is cold and the smallest; the first frame's others are warm."""

    def __init__(self, measures: Sequence[Measure], trend: float) -> None:
        self._goes_on = trend
        self._first = [measure for measure in measures if measure.frame == measures[0].frame]
        self._others = [measure for measure in measures if measure.frame != measures[0].frame]
        warm = self._first[1:] or self._first
        self._small, self._large = warm[0], warm[-1]
        self._beside = min(_rest(measure) for measure in self._first)
        self.cold = max(0.0, _rest(self._first[0]) - self._beside)

    def samples(self, area: int) -> float:
        """Seconds of sampling of the first frame at its size."""
        return float(self._large.sampling * (area / self._large.pixels) ** (1 + self._trend()))

    def _trend(self) -> float:
        if len(self._first) < 2:
            return 0.0
        small, large = self._first[-2:]
        growth = math.log(large.pixels / small.pixels)
        if growth < 0.5 or min(small.sampling, large.sampling) <= 0:
            return 0.0
        exponent = math.log(large.sampling / small.sampling) / growth - 1
        return self._goes_on * min(0.0, max(STEEPEST, exponent))

    def rest(self, cut: Cut) -> float:
        """Seconds beside samples and syncing: the beginning and end of a render, and writing its pixels."""
        more = self._large.pixels - self._small.pixels
        slope = max(0.0, _rest(self._large) - _rest(self._small)) / more if more else 0.0
        return self._beside * cut.tiles + slope * max(0, cut.pixels - self._small.pixels)

    def others(self, places: dict[int, int]) -> list[tuple[int, float, float]]:
        """Probed frames: each one's samples over the first's, and its syncing."""
        found = [(self._large.frame, 1.0, self._usual_sync())]
        for measure in self._others:
            if measure.frame in places:
                per_pixel = measure.sampling / measure.pixels
                factor = (
                    per_pixel * self._large.pixels / self._large.sampling if self._large.sampling else 1.0
                )
                found.append((measure.frame, factor, self._sync(measure)))
        return found

    def _sync(self, measure: Measure) -> float:
        return max(0.0, _rest(measure) - self._beside)

    def _usual_sync(self) -> float:
        """What the first frame's syncing would have taken had it come later."""
        if not self._others:
            return self.cold * RESYNC
        return sum(map(self._sync, self._others)) / len(self._others)


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
    ends = abs(math.log(max(seen[-1][1], 1e-9) / max(seen[0][1], 1e-9))) / 4
    usual = math.hypot(SPREAD_BETWEEN, ends if not errors else 0.0, *errors) / math.sqrt(len(errors) + 1)
    return usual * unseen * math.sqrt(2 / len(seen))


def _error(
    before: tuple[int, float, float], middle: tuple[int, float, float], after: tuple[int, float, float]
) -> float:
    line = before[1] + (after[1] - before[1]) * (middle[0] - before[0]) / (after[0] - before[0])
    return math.log(max(middle[1], 1e-9) / max(line, 1e-9))
