# SPDX-License-Identifier: GPL-3.0-or-later
"""What the emulated device does with addends, without Blender."""

import numpy
import pytest

from tests.emulated import mattes, stopping, sums
from tests.emulated.film import evened
from tests.emulated.stopping import Rule
from tests.emulated.sums import Batch

SHAPE = (32, 8, 10)


@pytest.fixture
def random() -> numpy.random.Generator:
    return numpy.random.default_rng(1)


@pytest.fixture
def addends(random: numpy.random.Generator) -> numpy.ndarray:
    return random.lognormal(0, 3, SHAPE).astype(numpy.float32)


def test_in_order_it_is_the_sum_of_a_loop(addends: numpy.ndarray) -> None:
    expected = numpy.zeros(SHAPE[1:], numpy.float32)
    for one in addends:
        expected = expected + one
    assert numpy.array_equal(sums.total(addends, [Batch(SHAPE[0])], None), expected)


def test_orders_differ_in_the_last_bits_only(addends: numpy.ndarray, random: numpy.random.Generator) -> None:
    one, other = (sums.total(addends, [Batch(SHAPE[0])], random) for _ in range(2))
    exact = addends.astype(numpy.float64).sum(axis=0)
    assert (one != other).mean() > 0.1
    bound = (SHAPE[0] - 1) * sums.UNIT * exact * 1.001
    assert (numpy.abs(one - exact) <= bound).all()
    assert (numpy.abs(other - exact) <= bound).all()


def test_each_pixel_takes_its_own_next_samples(addends: numpy.ndarray) -> None:
    begins = numpy.zeros(SHAPE[1:], numpy.int64)
    begins[0] = 16
    active = numpy.ones(SHAPE[1:], bool)
    active[1] = False
    batches = [Batch(16, begins, active)]
    found = sums.total(addends, batches, None)
    assert numpy.allclose(found[0], addends[16:32, 0].sum(axis=0))
    assert (found[1] == 0).all()
    assert numpy.allclose(found[2], addends[:16, 2].sum(axis=0))
    assert (sums.counts(SHAPE[1:], batches)[:3, 0] == (16, 0, 16)).all()


def test_perturbed_sums_stay_within_what_an_order_does(random: numpy.random.Generator) -> None:
    exact = random.random((64, 64)).astype(numpy.float32)
    apart = numpy.abs(sums.perturbed(exact, 64, random).astype(float) - exact)
    assert apart.max() > 0
    assert (apart <= 64 * sums.UNIT * exact).all()


def test_equal_weights_keep_the_order_in_which_their_names_came(random: numpy.random.Generator) -> None:
    names = numpy.zeros((2, 2, 8, 8), numpy.uint32)
    weights = numpy.zeros(names.shape, numpy.float32)
    names[0, 0], names[1, 0], weights[:, 0] = 7, 9, 1
    found, heavy = mattes.fill(names, weights, [Batch(2)], random)
    assert set(found[0].ravel()) == {7, 9}
    assert (found.sum(axis=0) == 16).all()
    assert (heavy == 1).all()
    in_order, _ = mattes.fill(names, weights, [Batch(2)], None)
    assert (in_order[0] == 7).all()


def test_heavier_names_come_first_and_what_finds_no_slot_goes_to_the_last() -> None:
    names = numpy.array([[3, 0], [5, 0], [8, 0]], numpy.uint32)[..., None, None]
    weights = numpy.array([[1, 0], [2, 0], [4, 0]], numpy.float32)[..., None, None]
    found, heavy = mattes.fill(names, weights, [Batch(3)], None)
    assert found.ravel().tolist() == [5, 3]
    assert heavy.ravel().tolist() == [6, 1]


def test_half_of_the_samples_are_kept_beside() -> None:
    assert [sample for sample in range(8) if stopping.is_half(sample)] == [2, 3, 6, 7]


@pytest.mark.parametrize(
    ("samples", "least", "batches"),
    [(128, 64, [(0, 80), (80, 96), (96, 112), (112, 128)]), (40, 4, [(0, 16), (16, 32), (32, 40)])],
)
def test_checks_are_every_sixteen_samples_after_the_least(
    samples: int, least: int, batches: list[tuple[int, int]]
) -> None:
    assert list(Rule(samples, 0.1, least).batches()) == batches


def test_a_calm_pixel_stops_and_its_neighbours_of_a_noisy_one_go_on() -> None:
    colours = numpy.ones((64, 9, 9), numpy.float32)
    colours[::2, 4, 4] = 40
    colours[2:4, 4, 4] = 0
    batches, _ = stopping.decide([colours] * 3, Rule(64, 0.01, 4), 1.0, None)
    taken = sums.counts((9, 9), batches)
    assert taken[0, 0] == 16
    assert (taken[3:6, 3:6] == taken[4, 4]).all()
    assert taken[4, 4] > 16
    assert taken[2, 4] == 16


def test_light_over_no_colour_is_greyed() -> None:
    above = [numpy.array([[2, 2, 2]], numpy.float32) for _ in range(3)]
    below = [numpy.array([row], numpy.float32) for row in ([1, 0, 0], [2, 4, 0], [4, 2, 0])]
    red, green, blue = evened(above, below)
    assert red.tolist() == [[2, 0.75, 0]]
    assert green.tolist() == [[1, 0.5, 0]]
    assert blue.tolist() == [[0.5, 1, 0]]
