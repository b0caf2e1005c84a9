# SPDX-License-Identifier: GPL-3.0-or-later
"""Finished files of GPUs: what the order of sums explains is no difference, what was forgotten is one."""

import numpy
import OpenImageIO as oiio  # noqa: N813
import pytest

from gpu_worker.pictures.same_files import difference

HEIGHT, WIDTH = 90, 160
TYPES = {"png8": oiio.UINT8, "png16": oiio.UINT16, "half": oiio.HALF, "float": oiio.FLOAT}


def scene(seed=0):
    """A linear picture, smooth with noise as renders have it, some of it brighter than white."""
    random = numpy.random.default_rng(seed)
    y, x = numpy.mgrid[:HEIGHT, :WIDTH] / WIDTH
    smooth = 0.6 + 0.5 * numpy.sin(9 * x[..., None] + [0, 1, 2]) * numpy.cos(7 * y[..., None])
    return (smooth * random.lognormal(0, 0.05, (HEIGHT, WIDTH, 3))).astype(numpy.float32)


def reordered(linear, seed=1, relative=5e-7):
    """The same as another order of 64 samples leaves it, five times further apart than was measured."""
    random = numpy.random.default_rng(seed)
    return (linear * (1 + relative * random.standard_normal(linear.shape))).astype(numpy.float32)


def shown(linear):
    """A display transform."""
    return numpy.clip(linear, 0, 1) ** (1 / 2.2)


def stored(path, linear, kind):
    """Write it as Blender does: pictures of whole numbers are for a display, dithered alike."""
    dither = numpy.random.default_rng(7).random(linear.shape)
    if kind == "png8":
        pixels = (shown(linear) * 255 + dither).clip(0, 255).astype(numpy.uint8)
    elif kind == "png16":
        pixels = (shown(linear) * 65535 + dither).clip(0, 65535).astype(numpy.uint16)
    else:
        pixels = linear.astype(numpy.float16 if kind == "half" else numpy.float32)
    path = path.with_suffix(".png" if kind.startswith("png") else ".exr")
    spec = oiio.ImageSpec(WIDTH, HEIGHT, 3, TYPES[kind])
    output = oiio.ImageOutput.create(str(path))
    assert output.open(str(path), spec)
    assert output.write_image(numpy.ascontiguousarray(pixels))
    output.close()
    return path


def found(folder, kind, mine, theirs):
    return difference(stored(folder / "mine", mine, kind), stored(folder / "theirs", theirs, kind), True)


@pytest.mark.parametrize("kind", TYPES)
def test_another_order_is_no_difference_but_every_bit_counts_on_cpus(tmp_path, kind):
    one = scene()
    for seed in range(20):
        other = reordered(one, seed)
        assert found(tmp_path, kind, one, other) == ""
    apart = stored(tmp_path / "a", one, kind), stored(tmp_path / "b", reordered(one, relative=1e-5), kind)
    assert difference(*apart).startswith("differs in ")


def moved(linear):
    """One tile of six is a pixel off."""
    changed = linear.copy()
    changed[45:, 53:106] = numpy.roll(linear[45:, 53:106], 1, axis=1)
    return changed


def line(linear):
    """The pixels along one tile's edge saw other neighbours."""
    changed = linear.copy()
    changed[45, 53:106] *= 1.03
    return changed


def not_denoised(linear):
    return (linear * numpy.random.default_rng(3).lognormal(0, 0.02, linear.shape)).astype(numpy.float32)


def other_colours(linear):
    return linear * numpy.float32(1.01)


def empty_tile(linear):
    changed = linear.copy()
    changed[:45, :53] = 0
    return changed


def other_gamma(linear):
    return linear ** numpy.float32(1.02)


def not_numbers(linear):
    changed = linear.copy()
    changed[10:13, 10] = numpy.nan
    return changed


FAULTS = (moved, line, not_denoised, other_colours, empty_tile, other_gamma)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("fault", FAULTS)
def test_what_was_forgotten_is_found_under_another_order(tmp_path, kind, fault):
    one = scene()
    assert "differs" in found(tmp_path, kind, one, reordered(fault(one)))


@pytest.mark.parametrize("kind", ["half", "float"])
def test_what_is_no_number_is_a_difference(tmp_path, kind):
    one = scene()
    assert "differs in 3 values of R that are no numbers" in found(tmp_path, kind, one, not_numbers(one))
    assert found(tmp_path, kind, not_numbers(one), not_numbers(one)) == ""
    endless = one.copy()
    endless[3:6, 3] = numpy.inf
    assert "that are no numbers" in found(tmp_path, kind, one, endless)


def test_a_few_pixels_of_other_samples_are_no_seam(tmp_path):
    one, other = scene(), scene()
    other[[5, 40], [9, 80]] *= 1.1
    assert found(tmp_path, "float", one, other) == ""
    other[[6, 7, 8, 9, 10, 11], 70] *= 1.1
    assert "differs in 8 pixels by more than the order of a GPU's sums" in found(
        tmp_path, "float", one, other
    )


def test_a_step_everywhere_is_more_than_rounding(tmp_path):
    """As another dithering, or none, makes it."""
    one = scene() * numpy.float32(0.5)
    brighter = one + numpy.float32(0.002)
    assert "differs by a step or more in" in found(tmp_path, "png8", one, brighter)


def test_other_channels_and_sizes_are_told_as_ever(tmp_path):
    one = stored(tmp_path / "a", scene(), "png8")
    assert difference(one, stored(tmp_path / "b", scene(), "float"), True) == "has another depth"
