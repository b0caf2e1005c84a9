# SPDX-License-Identifier: GPL-3.0-or-later
"""What the order of a pixel's sums may change, and nothing else: properties over random addends."""

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from farm_protocol.audits import Sums
from frame_splitter.exr import Image, Part
from verification.metrics.rounding import UNIT, Comparison, compare, hard_bound, rms_bound

SIDE = 16
LAYER = "ViewLayer"
Floats = NDArray[numpy.float32]


def image(**channels: Floats) -> Image:
    """A picture of these channels, whose names have `__` for a dot and `_` for a blank."""
    named = {
        f"{LAYER}.{name.replace('__', '.').replace('_', ' ')}": pixels for name, pixels in channels.items()
    }
    height, width = next(iter(channels.values())).shape
    return Image(width, height, (Part("", named, {}),))


def added(addends: Floats, rng: numpy.random.Generator) -> Floats:
    """Sums over axis 0 in float32, each pixel's addends in an order of its own."""
    mixed = rng.permuted(addends, axis=0)
    total = numpy.zeros(addends.shape[1:], numpy.float32)
    for addend in mixed:
        total = total + addend
    return total


def rendered(addends: Floats, rng: numpy.random.Generator) -> Floats:
    """A pass as Cycles reads it: the sum times 1/N."""
    return added(addends, rng) * numpy.float32(1 / len(addends))


def lit(pixels: Floats) -> Image:
    return image(Combined__R=pixels, Combined__G=pixels, Combined__B=pixels)


def of_samples(samples: int, rng: numpy.random.Generator, noise: float = 1.0) -> Floats:
    """A path tracer's samples: skewed, some black, some very bright."""
    found = rng.lognormal(0, noise, (samples, SIDE, SIDE)).astype(numpy.float32)
    found[rng.random(found.shape) < 0.3] = 0
    return found


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), samples=st.sampled_from([1, 2, 4, 32, 256, 1024]), noise=st.floats(0, 3))
def test_sums_of_the_same_samples_in_any_order_are_the_same_picture(
    seed: int, samples: int, noise: float
) -> None:
    rng = numpy.random.default_rng(seed)
    addends = of_samples(samples, rng, noise)
    found = compare(lit(rendered(addends, rng)), lit(rendered(addends, rng)), Sums(samples))
    assert not found.different.any()
    assert found.bound <= 1


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    exponents=st.lists(st.floats(-30, 30), min_size=2, max_size=200),
    biggest_first=st.booleans(),
)
def test_no_order_of_addends_of_any_size_exceeds_the_hard_bound(
    seed: int, exponents: list[float], biggest_first: bool
) -> None:
    """Orders that are meant to round badly: the largest first, so that the small ones are lost in it."""
    rng = numpy.random.default_rng(seed)
    addends = numpy.sort(2.0 ** numpy.array(exponents)).astype(numpy.float32)
    worst = addends[::-1] if biggest_first else rng.permutation(addends)
    one = other = numpy.float32(0)
    for small, large in zip(addends, worst, strict=True):
        one, other = one + small, other + large
    exact = float(addends.astype(numpy.float64).sum())
    assert abs(float(one) - float(other)) <= hard_bound(Sums(len(addends), path_writes=1)) * exact


@pytest.mark.parametrize(
    ("samples", "noise"),
    [
        (32, 0.001),
        (64, 0.01),
        (256, 0.1),
        (1024, 0.1),
        (32, 1.0),
        (64, 1.0),
        (256, 1.0),
        (1024, 1.0),
        (4096, 1.0),
    ],
)
def test_one_sample_of_all_that_is_left_out_is_another_picture(samples: int, noise: float) -> None:
    rng = numpy.random.default_rng(samples)
    addends = rng.lognormal(0, noise, (samples, SIDE, SIDE)).astype(numpy.float32)
    without = rendered(addends[:-1], rng)
    found = compare(lit(without), lit(rendered(addends, rng)), Sums(samples))
    assert found.different.mean() > 0.5
    assert found.bound > 2


def test_how_far_honest_sums_lie_below_the_bounds() -> None:
    """A bound that is never come near would be a taste."""
    rng = numpy.random.default_rng(3)
    for samples in (32, 1024):
        addends = of_samples(samples, rng)
        one, other = (lit(rendered(addends, rng)) for _ in range(2))
        narrow = compare(one, other, Sums(samples, path_writes=1))
        assert 0.05 < narrow.rms[f"{LAYER}.Combined"] < 1
        assert narrow.ratio.max() < 1


def judged(one: Floats, other: Floats, samples: int = 64) -> Comparison:
    return compare(lit(one), lit(other), Sums(samples))


def test_a_block_painted_within_the_hard_bound_is_seen_by_the_mean_square() -> None:
    pixels = numpy.random.default_rng(1).random((SIDE, SIDE)).astype(numpy.float32) + 0.1
    sums = Sums(4096)
    painted = pixels.copy()
    painted[4:8, 4:8] *= 1 + 0.5 * hard_bound(sums)
    found = compare(lit(painted), lit(pixels), sums)
    assert found.ratio.max() < 1
    assert found.different.sum() == 16
    assert found.different[4:8, 4:8].all()


def test_one_pixel_that_is_nearly_all_one_samples_may_be_rounded_one_way() -> None:
    pixels = numpy.full((SIDE, SIDE), 0.5, numpy.float32)
    wild = pixels.copy()
    wild[0, 0] *= 1 + 0.9 * hard_bound(Sums(64))
    assert not judged(wild, pixels).different.any()
    wild[0, 0] *= 1 + 0.9 * hard_bound(Sums(64))
    assert judged(wild, pixels).different.sum() == 1


def test_dark_places_are_held_to_their_own_light() -> None:
    pixels = numpy.full((SIDE, SIDE), 1.0, numpy.float32)
    pixels[:8] = 1e-6
    other = pixels.copy()
    other[:8] *= 1.05
    assert judged(other, pixels).different[:8].all()
    assert not judged(other, pixels).different[8:].any()
    black = numpy.zeros_like(pixels)
    speck = black.copy()
    speck[3, 3] = 1e-20
    assert judged(speck, black).different.sum() == 1


@pytest.mark.parametrize("value", [numpy.nan, numpy.inf, -numpy.inf])
def test_what_is_no_number_must_be_the_same(value: float) -> None:
    pixels = numpy.full((SIDE, SIDE), 1.0, numpy.float32)
    odd = pixels.copy()
    odd[5, 5] = value
    assert not judged(odd, odd.copy()).different.any()
    assert judged(odd, pixels).different.sum() == judged(pixels, odd).different.sum() == 1


def test_what_is_no_number_in_both_has_no_sign() -> None:
    pixels = numpy.full((SIDE, SIDE), 0.5, numpy.float32)
    one, other = pixels.copy(), pixels.copy()
    one[2, 2], other[2, 2] = (
        numpy.array(bits, numpy.uint32).view(numpy.float32) for bits in (0x7FC00000, 0xFFC00001)
    )
    assert not judged(one, other).different.any()
    assert judged(one, pixels).different.sum() == 1


def test_one_value_below_nothing_beside_a_lamp_sets_the_dark_not_free() -> None:
    pixels = numpy.full((SIDE, SIDE), 0.01, numpy.float32)
    pixels[0, 0], pixels[0, 1] = 1000, -1e-6
    painted = pixels.copy()
    painted[8:] *= numpy.float32(1.02)
    assert judged(painted, pixels).different.sum() == 8 * SIDE


def test_without_sums_every_bit_counts() -> None:
    pixels = numpy.full((SIDE, SIDE), 1.0, numpy.float32)
    other = pixels.copy()
    other[0, 0] = numpy.nextafter(numpy.float32(1), numpy.float32(2))
    assert compare(lit(other), lit(pixels), None).different.sum() == 1
    assert not judged(other, pixels).different.any()


@pytest.mark.parametrize("name", ["Depth__Z", "Object_Index__X", "Position__X"])
def test_what_one_sample_writes_is_exact(name: str) -> None:
    pixels = numpy.full((SIDE, SIDE), 3.0, numpy.float32)
    other = pixels.copy()
    other[2, 2] = numpy.nextafter(numpy.float32(3), numpy.float32(4))
    found = compare(image(**{name: other}), image(**{name: pixels}), Sums(64))
    assert found.different.sum() == 1
    assert found.different[2, 2]


@pytest.mark.parametrize("name", ["Depth", "Position", "CryptoThing", "Debug_Sample_Count"])
def test_a_pass_of_the_artists_own_is_a_sum_whatever_its_name(name: str) -> None:
    rng = numpy.random.default_rng(5)
    addends = of_samples(64, rng)
    one, other = (
        image(**{f"{name}__{colour}": pixels for colour in "RGBA"})
        for pixels in (rendered(addends, rng), rendered(addends, rng))
    )
    assert not compare(one, other, Sums(64)).different.any()
    assert (
        compare(one, image(**{f"{name}__{c}": rendered(addends[:-1], rng) for c in "RGBA"}), Sums(64)).bound
        > 1
    )


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32), samples=st.sampled_from([4, 64, 512]))
def test_passes_of_either_sign_are_held_to_what_their_addends_may_be(seed: int, samples: int) -> None:
    rng = numpy.random.default_rng(seed)
    addends = rng.uniform(-1, 1, (samples, SIDE, SIDE)).astype(numpy.float32)
    one, other = (image(Normal__X=rendered(addends, rng)) for _ in range(2))
    assert not compare(one, other, Sums(samples)).different.any()
    falsified = image(Normal__X=rendered(addends, rng) + numpy.float32(1e-2))
    assert compare(falsified, other, Sums(samples)).different.all()


def test_an_alpha_is_one_less_a_sum() -> None:
    clear = numpy.full((SIDE, SIDE), 1e-6, numpy.float32)
    other = clear + numpy.float32(3e-7)
    one, two = (image(Combined__R=clear, Combined__A=alpha) for alpha in (clear, other))
    assert not compare(two, one, Sums(64)).different.any()
    wrong = image(Combined__R=clear, Combined__A=clear + numpy.float32(1e-3))
    assert compare(wrong, one, Sums(64)).different.all()


def named(name: int) -> numpy.float32:
    return numpy.uint32(name).view(numpy.float32)


def matte(*slots: tuple[int, float]) -> Image:
    """A picture of one cryptomatte of two passes, each pixel alike."""
    held = [*slots, *[(0, 0.0)] * (4 - len(slots))]
    shape = (SIDE, SIDE)
    channels = {}
    for number, pair in enumerate((held[:2], held[2:])):
        for letters, (name, share) in zip(("RG", "BA"), pair, strict=True):
            channels[f"CryptoObject0{number}__{letters[0]}"] = numpy.full(shape, named(name), numpy.float32)
            channels[f"CryptoObject0{number}__{letters[1]}"] = numpy.full(shape, share, numpy.float32)
    return image(**channels)


A, B, C, D, E = 0x3F000001, 0x3F000002, 0x3F000003, 0x3F000004, 0x3F000005


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (matte((A, 0.5), (B, 0.5)), matte((B, 0.5), (A, 0.5)), True),
        (matte((A, 0.5000001), (B, 0.5)), matte((B, 0.5000001), (A, 0.5)), True),
        (matte((A, 0.6), (B, 0.4)), matte((B, 0.6), (A, 0.4)), False),
        (matte((A, 0.5), (B, 0.5)), matte((A, 0.5), (C, 0.5)), False),
        (matte((A, 0.5), (B, 0.5)), matte((A, 0.5), (B, 0.4)), False),
        (matte((A, 1.0)), matte((A, 1.0), (B, 0.01)), False),
        (matte((A, 0.4), (B, 0.3), (C, 0.2), (D, 0.1)), matte((A, 0.4), (C, 0.3), (D, 0.2), (B, 0.1)), True),
        (matte((A, 0.4), (B, 0.3), (C, 0.2), (D, 0.1)), matte((A, 0.4), (E, 0.3), (C, 0.2), (D, 0.05)), True),
        (matte((A, 0.4), (B, 0.3), (C, 0.2), (D, 0.1)), matte((A, 0.4), (B, 0.3), (C, 0.2)), False),
        (matte((A, float("nan"))), matte((A, 1.0)), False),
    ],
)
def test_a_cryptomatte_names_the_same_things_in_any_rank(one: Image, other: Image, same: bool) -> None:
    assert compare(one, other, Sums(64)).different.any() == (not same)
    assert compare(other, one, Sums(64)).different.any() == (not same)


def counted(pixels: Floats, counts: Floats) -> Image:
    return image(Combined__R=pixels, Combined__G=pixels, Combined__B=pixels, Debug_Sample_Count__X=counts)


ADAPTIVE = Sums(128, noise_threshold=0.01, min_samples=16)


def flipped(value: float, count: float, where: slice = slice(0, 3)) -> Comparison:
    pixels = numpy.full((SIDE, SIDE), 0.5, numpy.float32)
    counts = numpy.full((SIDE, SIDE), 64, numpy.float32)
    other, others = pixels.copy(), counts.copy()
    other[where, 0:3], others[where, 0:3] = value, count
    return compare(counted(other, others), counted(pixels, counts), ADAPTIVE)


@pytest.mark.parametrize(
    ("value", "count", "honest"),
    [
        (0.5, 80, "yes"),
        (0.52, 80, "yes"),
        (0.48, 48, "yes"),
        (0.5, 128, "yes"),
        (0.7, 80, "perhaps"),  # far more than noise at the threshold: one sample was very bright
        (0.3, 48, "perhaps"),
        (0.5, 72, "no"),  # no step of the filter
        (0.5, 16, "no"),  # before the first step
        (0.5, 144, "no"),  # more than were asked for
        (0.3, 80, "no"),  # its sum fell
        (0.7, 48, "no"),
        (0.5, float("nan"), "no"),
    ],
)
def test_a_pixel_at_the_threshold_may_stop_a_step_earlier_or_later(
    value: float, count: float, honest: str
) -> None:
    found = flipped(value, count)
    assert found.flipped.sum() == (9 if honest == "yes" else 0)
    assert found.different.sum() == (0 if honest == "yes" else 9)
    assert found.doubtful.sum() == (9 if honest == "perhaps" else 0)


@pytest.mark.parametrize("value", [0.5, 0.7])
def test_pixels_that_stop_elsewhere_are_few(value: float) -> None:
    """9 are one decision's; up to 25 may be, where it took more along; more are a lie."""
    for rows, different, doubtful in ((3, 9 * (value > 0.6), 9 * (value > 0.6)), (8, 24, 24), (9, 27, 0)):
        found = flipped(value, 80, slice(0, rows))
        assert found.different.sum() == different
        assert found.doubtful.sum() == doubtful


def test_without_adaptive_sampling_all_pixels_take_all_samples() -> None:
    pixels = numpy.full((SIDE, SIDE), 0.5, numpy.float32)
    counts = numpy.full((SIDE, SIDE), 64, numpy.float32)
    other = counts.copy()
    other[0, 0] = 48
    assert compare(counted(pixels, other), counted(pixels, counts), Sums(64)).different.sum() == 1


def test_other_passes_are_another_picture() -> None:
    pixels = numpy.full((SIDE, SIDE), 0.5, numpy.float32)
    assert compare(image(Combined__R=pixels), image(Combined__G=pixels), Sums(64)).different.all()


def test_the_bounds_are_those_that_the_documents_give() -> None:
    assert hard_bound(Sums(64)) == pytest.approx(2 * (64 * 64 + 8) * UNIT)
    assert rms_bound(Sums(64)) == pytest.approx(1.63299 * (64 * 64 + 8) ** 0.5 * UNIT, rel=1e-4)
