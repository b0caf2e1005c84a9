# SPDX-License-Identifier: GPL-3.0-or-later
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm_protocol.fields import Tile
from verification import sampling
from verification.sampling import AuditPolicy, Draws

POLICY = AuditPolicy()
EDGES = st.integers(1, 700)
RECEIPTS = st.binary(min_size=32, max_size=32)


@st.composite
def tiles(draw: st.DrawFn) -> Tile:
    x, y = draw(st.integers(0, 100)), draw(st.integers(0, 100))
    return Tile(x, y, x + draw(EDGES), y + draw(EDGES))


def draws(number: int = 0) -> Draws:
    return Draws(b"v" * 32, hashlib.sha256(b"%d" % number).digest())


def test_draws_are_the_documented_hmac() -> None:
    seed = hmac.digest(b"v" * 32, b"r" * 32, "sha256")
    expected = int.from_bytes(hmac.digest(seed, b"audit", "sha256"), "big") % 1_000_000
    assert Draws(b"v" * 32, b"r" * 32).number("audit", 1_000_000) == expected


def test_value_receipt_and_purpose_all_matter() -> None:
    drawn = {
        Draws(value, receipt).number(purpose, 1 << 64)
        for value in (b"a" * 32, b"b" * 32)
        for receipt in (b"c" * 32, b"d" * 32)
        for purpose in ("audit", "repeat")
    }
    assert len(drawn) == 8


@pytest.mark.parametrize("rate", [20_000, 180_000, 500_000])
def test_audits_happen_as_often_as_the_rate_says(rate: int) -> None:
    count = 4000
    happened = sum(sampling.is_audited(draws(number), rate) for number in range(count))
    expected = count * rate / 1e6
    assert abs(happened - expected) < 5 * expected**0.5
    assert not any(sampling.is_audited(draws(number), 0) for number in range(100))
    assert all(sampling.is_audited(draws(number), 1_000_000) for number in range(100))


@given(tile=tiles(), receipt=RECEIPTS)
def test_crops_are_different_cells_of_the_tile_and_few(tile: Tile, receipt: bytes) -> None:
    crops = sampling.random_crops(Draws(b"v" * 32, receipt), tile, POLICY)
    side = sampling.side_of(tile, POLICY)
    assert 1 <= len(crops) <= POLICY.crops
    assert len(set(crops)) == len(crops)
    assert set(crops) <= set(sampling.cells(tile, side))
    assert len(crops) == 1 or sum(crop.area for crop in crops) <= POLICY.share * tile.area


@given(tile=tiles())
def test_cells_cover_the_tile_once(tile: Tile) -> None:
    found = sampling.cells(tile, 16)
    assert len(found) == sampling.cell_count(tile, 16) == len(set(found))
    assert sum(one.area for one in found) == tile.area
    assert all(
        tile.x0 <= one.x0 < one.x1 <= tile.x1 and tile.y0 <= one.y0 < one.y1 <= tile.y1 for one in found
    )


def test_every_cell_is_drawn_about_as_often() -> None:
    tile = Tile(0, 0, 64, 64)
    policy = AuditPolicy(crops=8, suspects=1, small_side=16, share=1.0)
    counts = dict.fromkeys(sampling.cells(tile, 16), 0)
    for number in range(2000):
        for crop in sampling.random_crops(draws(number), tile, policy):
            counts[crop] += 1
    assert max(counts.values()) < 1.15 * 1000
    assert min(counts.values()) > 0.85 * 1000


def test_nearly_all_cells_can_be_drawn_and_each_only_once() -> None:
    tile = Tile(3, 5, 35, 37)
    policy = AuditPolicy(crops=64, suspects=1, small_side=8, share=1.0)
    crops = sampling.random_crops(draws(), tile, policy)
    assert len(crops) == len(set(crops)) == 15
    assert set(crops) < set(sampling.cells(tile, 8))


@given(tile=tiles(), samples=st.integers(1, 5000), receipt=RECEIPTS)
def test_the_sparse_pass_is_within_the_samples(tile: Tile, samples: int, receipt: bytes) -> None:
    sparse = sampling.first_order(Draws(b"v" * 32, receipt), tile, samples, POLICY).sparse
    assert sparse is not None
    assert sparse.count == min(POLICY.sparse_samples, samples)
    assert 0 <= sparse.first <= samples - sparse.count


def test_a_tile_whose_crops_would_not_equal_it_is_rendered_whole() -> None:
    tile = Tile(0, 0, 640, 480)
    order = sampling.first_order(draws(), tile, 64, POLICY, croppable=False)
    assert (order.crops, order.sparse) == ((tile,), None)


def test_auditors_are_ranked_by_the_round_and_not_by_who_asks() -> None:
    nodes = [f"node-{number}" for number in range(8)]
    assert sampling.ranked(draws(), nodes) == sampling.ranked(draws(), reversed(nodes))
    firsts = [sampling.ranked(draws(number), nodes)[0] for number in range(1600)]
    assert all(140 < firsts.count(node) < 260 for node in nodes)
    without = [node for node in nodes if node != "node-3"]
    ranking = sampling.ranked(draws(), nodes)
    assert sampling.ranked(draws(), without) == tuple(node for node in ranking if node != "node-3")


def test_suspects_are_the_first_ones_up_to_the_bound() -> None:
    tile = Tile(0, 0, 640, 480)
    suspects = sampling.cells(tile, 16)[:9]
    order = sampling.second_order(tile, suspects, POLICY)
    assert order is not None
    assert order.crops == tuple(suspects[: POLICY.suspects])
    assert order.sparse is None
    assert sampling.second_order(tile, [], POLICY) is None


def test_what_must_be_rendered_is_whatever_the_bound() -> None:
    tile = Tile(0, 0, 640, 480)
    suspects = sampling.cells(tile, 16)[:40]
    order = sampling.second_order(tile, suspects, POLICY, must=30)
    assert order is not None
    assert order.crops == tuple(suspects[:30])
    few = sampling.second_order(tile, suspects, POLICY, must=1)
    assert few is not None
    assert few.crops == tuple(suspects[: POLICY.suspects])
