# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree that a voucher is over (payments/contracts/src/AcceptedTree.sol): every inner node commits to the
sums of its two sides, so a task shown in it shows how much of the payment was for it.

Leaves stand in the order in which they were credited; a level's last node without a neighbour moves up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from eth_utils.crypto import keccak

from payments.messages.promises import Credit

EMPTY = "0" * 64
_WIDTH = 32


@dataclass(frozen=True, slots=True)
class Beside:
    """A neighbour on the way from a leaf to the root: `hash` hexadecimal, `left` of the way."""

    hash: str
    sum: int
    left: bool


Node = tuple[bytes, int]


def task_hash(task: str) -> bytes:
    """What stands for a task's id in its leaf."""
    return bytes(keccak(text=task))


def root(credited: Sequence[Credit]) -> tuple[str, int]:
    """The root as hexadecimal digits, and the sum of all amounts; zeros and 0 for no credits."""
    if not credited:
        return EMPTY, 0
    level = [_leaf(credit) for credit in credited]
    while len(level) > 1:
        level = _above(level)
    return level[0][0].hex(), level[0][1]


def way(credited: Sequence[Credit], index: int) -> list[Beside]:
    """The neighbours of the leaf at `index` from the bottom up. Raises IndexError where there is no leaf."""
    if not 0 <= index < len(credited):
        raise IndexError(index)
    level, found = [_leaf(credit) for credit in credited], []
    while len(level) > 1:
        other = index ^ 1
        if other < len(level):
            found.append(Beside(level[other][0].hex(), level[other][1], other < index))
        level, index = _above(level), index // 2
    return found


def holds(root: str, total: int, credit: Credit, way: Sequence[Beside]) -> bool:
    """Whether the tree under `root`, whose sum is `total`, has this leaf."""
    node = _leaf(credit)
    for beside in way:
        other = (bytes.fromhex(beside.hash), beside.sum)
        node = _join(other, node) if beside.left else _join(node, other)
    return node == (bytes.fromhex(root), total)


def _leaf(credit: Credit) -> Node:
    told = task_hash(credit.task) + bytes.fromhex(credit.pixel_root) + _word(credit.amount)
    return bytes(keccak(keccak(told))), credit.amount


def _join(left: Node, right: Node) -> Node:
    told = left[0] + _word(left[1]) + right[0] + _word(right[1])
    return bytes(keccak(told)), left[1] + right[1]


def _above(level: Sequence[Node]) -> list[Node]:
    pairs = [_join(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    return pairs + ([level[-1]] if len(level) % 2 else [])


def _word(number: int) -> bytes:
    return number.to_bytes(_WIDTH, "big")
