# SPDX-License-Identifier: GPL-3.0-or-later
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm_protocol.records import OutputFile
from verification import merkle
from verification.file_root import file_root

# RFC 6962's test data, as certificate-transparency's reference implementation has it
WORDS = "- 00 10 2021 3031 40414243 5051525354555657 606162636465666768696a6b6c6d6e6f"
DATA = [bytes.fromhex(word.strip("-")) for word in WORDS.split()]
ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}
SIZES = st.integers(1, 40)


def leaves(size: int) -> list[bytes]:
    return [merkle.leaf_hash(b"%d" % number) for number in range(size)]


@pytest.mark.parametrize("size", ROOTS)
def test_roots_are_those_of_the_rfcs_test_data(size: int) -> None:
    assert merkle.root([merkle.leaf_hash(data) for data in DATA[:size]]).hex() == ROOTS[size]


@given(data=st.data(), size=SIZES)
def test_every_leaf_is_proved_and_nothing_else(data: st.DataObject, size: int) -> None:
    tree = leaves(size)
    root, index = merkle.root(tree), data.draw(st.integers(0, size - 1))
    path = merkle.proof(tree, index)
    assert merkle.verify(tree[index], index, size, path, root)
    other = data.draw(st.integers(-2, size + 2).filter(lambda number: number != index))
    assert not merkle.verify(tree[index], other, size, path, root)
    assert not merkle.verify(merkle.leaf_hash(b"forged"), index, size, path, root)
    assert not merkle.verify(tree[index], index, size, (*path, root), root)
    assert not merkle.verify(tree[index], index, size, path[:-1], root) or not path
    assert not merkle.verify(tree[index], index, 0, path, root)


@given(data=st.data(), size=st.integers(2, 40))
def test_a_changed_step_proves_nothing(data: st.DataObject, size: int) -> None:
    tree = leaves(size)
    index = data.draw(st.integers(0, size - 1))
    path = list(merkle.proof(tree, index))
    place = data.draw(st.integers(0, len(path) - 1))
    path[place] = hashlib.sha256(path[place]).digest()
    assert not merkle.verify(tree[index], index, size, path, merkle.root(tree))


def test_an_inner_node_cannot_pass_for_a_leaf() -> None:
    left, right = leaves(2)
    assert merkle.leaf_hash(left + right) != merkle.root([left, right])
    assert merkle.root([left, right]) != merkle.root([right, left])


@pytest.mark.parametrize("index", [-1, 3])
def test_there_is_no_proof_of_what_is_not_there(index: int) -> None:
    with pytest.raises(IndexError):
        merkle.proof(leaves(3), index)


def test_the_root_of_files_is_of_their_contents_in_order() -> None:
    first, second = OutputFile("a", "11" * 32, 1), OutputFile("b", "22" * 32, 2)
    assert file_root([first, second]) != file_root([second, first])
    assert file_root([first]) == merkle.leaf_hash(bytes.fromhex("11" * 32)).hex()
    assert file_root([]) == merkle.EMPTY_ROOT.hex()
