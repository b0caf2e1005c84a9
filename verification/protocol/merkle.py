# SPDX-License-Identifier: GPL-3.0-or-later
"""Merkle trees over sha256, as RFC 6962 section 2.1 defines them, with inclusion proofs (2.1.1).

Leaves and inner nodes are hashed under different prefixes, so that neither can pass for the other.
"""

import hashlib
from collections.abc import Sequence

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf that holds `data`."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over hashed leaves; EMPTY_ROOT over none."""
    return _levels(leaves)[-1][0] if leaves else EMPTY_ROOT


def _levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """All levels from the leaves to the root; a node without a partner rises as it is."""
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        level = levels[-1]
        above = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        levels.append(above + level[len(above) * 2 :])
    return levels


def proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The hashes beside the way from leaf `index` to the root, from the leaf upwards."""
    if not 0 <= index < len(leaves):
        raise IndexError(f"there is no leaf {index} among {len(leaves)}")
    found = []
    for level in _levels(leaves)[:-1]:
        beside = index ^ 1
        if beside < len(level):
            found.append(level[beside])
        index //= 2
    return tuple(found)


def verify(leaf: bytes, index: int, size: int, path: Sequence[bytes], expected: bytes) -> bool:
    """Whether hashed `leaf` is number `index` of the `size` leaves under the root `expected`."""
    if not 0 <= index < size:
        return False
    place, last, found, left = index, size - 1, leaf, list(path)
    while last:
        if place % 2 or place < last:
            if not left:
                return False
            beside = left.pop(0)
            found = node_hash(beside, found) if place % 2 else node_hash(found, beside)
        place, last = place // 2, last // 2
    return not left and found == expected
