# SPDX-License-Identifier: GPL-3.0-or-later
"""Work and what it earns: exact to the last micro-unit."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from farm_protocol.errors import InvalidInput
from payments.pricing import AUDIT_OVERHEAD, MICRO, audit_share, audit_units, reward, tile_units

WEIGHTS = some.lists(some.integers(0, 10**10), min_size=1, max_size=50)


@given(WEIGHTS, some.integers(0, 1 << 53))
def test_tiles_share_a_frame_to_the_last_micro_unit(weights: list[int], more: int) -> None:
    frame = len(weights) + more
    shares = tile_units(frame, weights)
    assert sum(shares) == frame
    assert len(shares) == len(weights)
    assert min(shares) >= 1


@given(WEIGHTS, some.integers(0, 1 << 53))
def test_a_tile_is_never_a_micro_unit_off_its_share(weights: list[int], more: int) -> None:
    shares = tile_units(len(weights) + more, weights)
    total = sum(weights) or len(weights)
    for weight, share in zip(weights, shares, strict=True):
        fair = more * (weight if sum(weights) else 1)
        assert abs((share - 1) * total - fair) < total


def test_larger_tiles_never_get_less() -> None:
    assert tile_units(100, [1, 1, 1]) == (34, 33, 33)
    assert tile_units(10, [5, 3, 2, 0]) == (4, 3, 2, 1)
    assert tile_units(2, [0, 0]) == (1, 1)


@pytest.mark.parametrize(("frame", "weights"), [(0, [1]), (1, [1, 1]), (5, []), (5, [-1, 6])])
def test_what_cannot_be_shared_is_refused(frame: int, weights: list[int]) -> None:
    with pytest.raises(InvalidInput):
        tile_units(frame, weights)


@given(some.lists(some.integers(0, 1 << 40), max_size=20), some.integers(0, 1 << 96))
def test_parts_never_earn_more_than_the_whole(parts: list[int], price: int) -> None:
    assert sum(reward(part, price) for part in parts) <= reward(sum(parts), price)


def test_a_unit_earns_its_price() -> None:
    assert reward(MICRO, 10**18) == 10**18
    assert reward(MICRO - 1, 1) == 0
    assert reward(3 * MICRO // 2, 10**16) == 15 * 10**15


def test_an_audit_costs_its_crops_its_samples_and_its_overhead() -> None:
    assert audit_share(0.03, 2, 64) == 30_000 + 31_250 + AUDIT_OVERHEAD
    assert audit_share(0.03, 2, 1) == MICRO
    assert audit_units(1_000_000, 50_000) == 50_000
    assert audit_units(3, 50_000) == 1
