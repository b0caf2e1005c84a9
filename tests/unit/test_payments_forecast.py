# SPDX-License-Identifier: GPL-3.0-or-later
"""Predictions from made-up probes, whose truth is known."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from farm_protocol.probes import MOST_FRAMES, Measure, ProbeReport
from payments.forecast import Cut, Forecast, Sampling, forecast, probed_frames

AREA = 1_000_000
SIZES = (AREA // 64, AREA // 16, AREA // 4)


def report(
    costs: dict[int, float],
    *,
    cold: float = 0.0,
    sync: float = 0.0,
    beside: float = 0.01,
    exponent: float = 1.0,
    sizes: tuple[int, ...] = SIZES,
) -> ProbeReport:
    """Frames that take `costs` seconds of sampling whole, and less of it the smaller they are."""
    first, *others = costs

    def measure(frame: int, pixels: int, fresh: bool, extra: float, is_cold: bool = False) -> Measure:
        sampling = costs[frame] * (pixels / AREA) ** exponent
        return Measure(frame, pixels, sampling + beside + extra, sampling, fresh, is_cold)

    measures = [measure(first, sizes[0], True, cold, True)]
    measures += [measure(first, size, False, 0.0) for size in sizes[1:]]
    measures += [measure(frame, sizes[-1], True, sync) for frame in others]
    return ProbeReport(1_000_000, tuple(measures))


def said(
    probe: ProbeReport,
    frames: list[int],
    tiles: int = 1,
    pixels: int = AREA,
    sampling: Sampling = Sampling.FIXED,
) -> Forecast:
    return forecast(probe, frames, AREA, [Cut(tiles, pixels)] * len(frames), sampling)


def test_a_still_is_its_syncing_its_samples_and_the_rest() -> None:
    assert said(report({1: 8.0}, cold=2.0), [1]).seconds == pytest.approx([8.0 + 2.0 + 0.01])


def test_only_the_first_frame_is_cold() -> None:
    found = said(report({1: 8.0, 3: 8.0, 2: 8.0}, cold=2.0, sync=0.5), [1, 2, 3])
    assert found.seconds == pytest.approx([10.01, 8.51, 8.51])


def test_what_lies_between_is_interpolated() -> None:
    found = said(report({1: 2.0, 9: 10.0, 5: 6.0}), list(range(1, 10)))
    assert found.seconds == pytest.approx([frame + 1.01 for frame in range(1, 10)], rel=1e-6)


def test_frames_in_any_order_are_predicted_in_theirs() -> None:
    found = said(report({9: 10.0, 1: 2.0, 5: 6.0}), [9, 8, 7, 6, 5, 4, 3, 2, 1])
    assert found.seconds == pytest.approx([frame + 1.01 for frame in range(9, 0, -1)], rel=1e-6)


def test_tiles_cost_their_overscan_and_each_its_beginning() -> None:
    whole, cut = (said(report({1: 8.0}), [1], tiles, pixels) for tiles, pixels in ((1, AREA), (4, 2 * AREA)))
    assert whole.seconds == pytest.approx([8.01])
    assert cut.seconds == pytest.approx([16.04])


def test_adaptive_sampling_grows_less_than_the_pixels_do() -> None:
    probe = report({1: 8.0}, exponent=0.9)
    plain, adaptive = said(probe, [1]), said(probe, [1], sampling=Sampling.ADAPTIVE)
    assert 8.0 < adaptive.seconds[0] < plain.seconds[0]
    assert adaptive.spread > plain.spread


def test_a_trend_upwards_is_noise() -> None:
    probe = report({1: 8.0}, exponent=1.2)
    assert said(probe, [1], sampling=Sampling.ADAPTIVE).seconds == said(probe, [1]).seconds


def test_a_gpu_that_small_renders_leave_idle_is_no_dear_one() -> None:
    """A tenth of a second whatever there is to do, and two seconds for a million pixels."""

    def measure(pixels: int, first: bool) -> Measure:
        sampling = 0.1 + 2.0 * pixels / AREA
        return Measure(1, pixels, sampling + 0.01, sampling, first, first)

    probe = ProbeReport(1, (measure(SIZES[0], True), measure(SIZES[1], False)))
    assert said(probe, [1]).seconds == pytest.approx([2.11], rel=0.01)


def test_the_less_was_seen_the_wider_the_band() -> None:
    frames = list(range(1, 18))
    alike = dict.fromkeys(probed_frames(frames), 4.0)
    one, three, many = (
        said(report(dict(list(alike.items())[:count])), frames).spread for count in (1, 3, 16)
    )
    assert one > three > many
    uneven = said(report({1: 4.0, 17: 4.0, 9: 12.0}), frames).spread
    assert uneven > three


@given(
    some.dictionaries(some.integers(1, 40), some.floats(0.0, 1e6), min_size=1, max_size=16),
    some.floats(0.0, 1e3),
    some.sampled_from(Sampling),
)
def test_whatever_was_measured_there_is_a_figure(
    costs: dict[int, float], cold: float, sampling: Sampling
) -> None:
    found = said(report(costs, cold=cold), list(range(1, 41)), sampling=sampling)
    assert all(math.isfinite(seconds) and seconds >= 0 for seconds in found.seconds)
    assert math.isfinite(found.spread)
    assert found.low < 1 < found.high


def test_one_measure_is_enough_for_a_figure() -> None:
    probe = ProbeReport(1, (Measure(1, 256, 0.5, 0.5, True, True),))
    assert said(probe, [1]).seconds == pytest.approx([0.5 * AREA / 256])


@given(some.integers(1, 3000))
def test_the_first_the_last_and_the_middles_are_probed(count: int) -> None:
    frames = list(range(100, 100 + count))
    probed = probed_frames(frames)
    assert len(set(probed)) == len(probed) == min(count, MOST_FRAMES)
    assert set(probed) <= set(frames)
    assert probed[0] == frames[0]
    assert probed[1:2] == tuple(frames[1:][-1:])
