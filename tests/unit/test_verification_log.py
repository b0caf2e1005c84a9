# SPDX-License-Identifier: GPL-3.0-or-later
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verification.protocol import log, merkle

MOST = 130
LEAVES = [merkle.leaf_hash(b"%d" % number) for number in range(MOST)]


def stored(size: int) -> dict[log.Place, bytes]:
    """The nodes of a log, each append given only what it says that it needs."""
    nodes: dict[log.Place, bytes] = {}
    for number in range(size):
        needed = {place: nodes[place] for place in log.append_needs(number)}
        nodes |= log.append(number, LEAVES[number], needed)
    return nodes


NODES = stored(MOST)


def only(places: tuple[log.Place, ...]) -> dict[log.Place, bytes]:
    return {place: NODES[place] for place in places}


def test_the_root_is_that_of_the_whole_tree_at_every_size() -> None:
    for size in range(MOST + 1):
        assert log.root(size, only(log.root_needs(size))) == merkle.root(LEAVES[:size])


def test_proofs_are_those_of_the_whole_tree() -> None:
    for size in (1, 2, 3, 7, 8, 9, 64, 65, 100, 130):
        for leaf in range(size):
            found = log.proof(leaf, size, only(log.proof_needs(leaf, size)))
            assert found == merkle.proof(LEAVES[:size], leaf)


def test_appending_and_proving_read_a_logarithm_of_the_size() -> None:
    for size in (1 << 20, (1 << 20) - 1, 1_234_567):
        assert len(log.append_needs(size)) <= 21
        assert len(log.root_needs(size)) <= 21
        assert len(log.proof_needs(size // 3, size)) <= 42
        assert len(log.consistency_needs(size // 3, size)) <= 42


@pytest.mark.parametrize(("leaf", "size"), [(-1, 4), (4, 4), (0, 0)])
def test_there_is_no_proof_of_a_leaf_that_is_not_there(leaf: int, size: int) -> None:
    with pytest.raises(IndexError):
        log.proof_needs(leaf, size)


def test_every_log_is_consistent_with_all_its_beginnings() -> None:
    for second in range(70):
        for first in range(second + 1):
            path = log.consistency(first, second, only(log.consistency_needs(first, second)))
            roots = merkle.root(LEAVES[:first]), merkle.root(LEAVES[:second])
            assert log.is_consistent(first, second, *roots, path)
            assert len(path) <= 8


@given(data=st.data(), second=st.integers(2, MOST))
def test_a_changed_beginning_is_seen(data: st.DataObject, second: int) -> None:
    first = data.draw(st.integers(1, second))
    changed = data.draw(st.integers(0, first - 1))
    old = [*LEAVES[:changed], merkle.leaf_hash(b"changed"), *LEAVES[changed + 1 : first]]
    path = log.consistency(first, second, NODES)
    assert not log.is_consistent(first, second, merkle.root(old), merkle.root(LEAVES[:second]), path)


@given(data=st.data(), second=st.integers(2, MOST))
def test_a_forged_proof_of_consistency_is_seen(data: st.DataObject, second: int) -> None:
    first = data.draw(st.integers(1, second - 1))
    path = list(log.consistency(first, second, NODES))
    roots = merkle.root(LEAVES[:first]), merkle.root(LEAVES[:second])
    place = data.draw(st.integers(0, len(path) - 1))
    other = hashlib.sha256(path[place]).digest()
    assert not log.is_consistent(first, second, *roots, [*path[:place], other, *path[place + 1 :]])
    assert not log.is_consistent(first, second, *roots, path[:-1])
    assert not log.is_consistent(first, second, *roots, [*path, other])
    assert not log.is_consistent(first, second, roots[1], roots[0], path)


def test_sizes_that_cannot_be_are_not_consistent() -> None:
    root = merkle.root(LEAVES[:4])
    assert not log.is_consistent(5, 4, root, root, [])
    assert not log.is_consistent(-1, 4, root, root, [root])
    assert not log.is_consistent(0, 4, root, root, [])
    assert not log.is_consistent(3, 4, root, root, [])
    with pytest.raises(IndexError):
        log.consistency_needs(5, 4)


def test_a_node_that_was_lost_is_an_error_and_not_another_root() -> None:
    with pytest.raises(KeyError):
        log.root(7, {place: node for place, node in NODES.items() if place != (1, 2)})
