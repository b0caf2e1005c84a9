# SPDX-License-Identifier: GPL-3.0-or-later
"""An append-only log over sha256 (RFC 6962), as pure functions over stored inner nodes.

The hash of every complete subtree is stored once, under its *place* (level, index): level 0 are the
leaves, the node at (l, i) spans leaves i·2^l up to (i+1)·2^l. Appending, root and proofs then take
O(log n) hashes. Whoever stores the nodes asks first which ones are needed (`..._needs`), fetches them in
one go, and then calls the function of that name; places that are missing raise KeyError.
"""

from collections.abc import Iterator, Mapping, Sequence

from verification.protocol import merkle

Place = tuple[int, int]
Nodes = Mapping[Place, bytes]
Span = tuple[int, int]
"""Leaves from the first up to, and without, the second."""


def append_needs(size: int) -> tuple[Place, ...]:
    """What appending to a log of `size` leaves reads: the left neighbours that are now completed."""
    level, places = 0, []
    while size >> level & 1:
        places.append((level, (size >> level) - 1))
        level += 1
    return tuple(places)


def append(size: int, leaf: bytes, nodes: Nodes) -> dict[Place, bytes]:
    """The nodes to store when hashed `leaf` becomes number `size`: it, and what it completes."""
    new, found = {(0, size): leaf}, leaf
    for level, index in append_needs(size):
        found = merkle.node_hash(nodes[level, index], found)
        new[level + 1, index // 2] = found
    return new


def root_needs(size: int) -> tuple[Place, ...]:
    """What the root of the first `size` leaves is made of: their complete subtrees, from the left."""
    return tuple(_complete((0, size)))


def root(size: int, nodes: Nodes) -> bytes:
    """The root of the first `size` leaves."""
    return _hash((0, size), nodes) if size else merkle.EMPTY_ROOT


def proof_needs(leaf: int, size: int) -> tuple[Place, ...]:
    """What the proof of a leaf reads. Raises IndexError for a leaf that is not among the first `size`."""
    return tuple(place for span in _path(leaf, size) for place in _complete(span))


def proof(leaf: int, size: int, nodes: Nodes) -> tuple[bytes, ...]:
    """The proof that a leaf is among the first `size`, for `merkle.verify`. Raises as `proof_needs`."""
    return tuple(_hash(span, nodes) for span in _path(leaf, size))


def consistency_needs(first: int, second: int) -> tuple[Place, ...]:
    """What the proof of consistency reads. Raises IndexError unless 0 <= first <= second."""
    return tuple(place for span in _consistent(first, second) for place in _complete(span))


def consistency(first: int, second: int, nodes: Nodes) -> tuple[bytes, ...]:
    """The proof (RFC 6962, 2.1.2) that the log of `second` leaves begins with that of `first`: empty for
    equal sizes and for an empty first.
    """
    return tuple(_hash(span, nodes) for span in _consistent(first, second))


def is_consistent(
    first: int, second: int, first_root: bytes, second_root: bytes, path: Sequence[bytes]
) -> bool:
    """Whether the proof `path` shows that the log of `second` leaves and `second_root` begins with the one of
    `first` leaves and `first_root`, unchanged (RFC 9162, 2.1.4.2).
    """
    if first in (0, second):
        start = merkle.EMPTY_ROOT if first == 0 else second_root
        return not path and first_root == start
    if not 0 < first < second or not path:
        return False
    steps = list(path) if first & (first - 1) else [first_root, *path]
    place, last = first - 1, second - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old = new = steps[0]
    for beside in steps[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old, new = merkle.node_hash(beside, old), merkle.node_hash(beside, new)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            new = merkle.node_hash(new, beside)
        place, last = place >> 1, last >> 1
    return last == 0 and (old, new) == (first_root, second_root)


def _half(span: Span) -> int:
    """Where a span is cut in two: the largest power of two below its length, from its start."""
    start, end = span
    return start + (1 << (end - start - 1).bit_length() - 1)


def _complete(span: Span) -> Iterator[Place]:
    """The complete subtrees of a span that starts where one of at least its size would."""
    start, end = span
    while start < end:
        level = (end - start).bit_length() - 1
        yield level, start >> level
        start += 1 << level


def _hash(span: Span, nodes: Nodes) -> bytes:
    peaks = [nodes[place] for place in _complete(span)]
    found = peaks.pop()
    while peaks:
        found = merkle.node_hash(peaks.pop(), found)
    return found


def _path(leaf: int, size: int) -> list[Span]:
    """The spans beside the way from a leaf to the root, from the leaf upwards."""
    if not 0 <= leaf < size:
        raise IndexError(f"there is no leaf {leaf} among {size}")
    spans, span = [], (0, size)
    while span[1] - span[0] > 1:
        half = _half(span)
        left, right = (span[0], half), (half, span[1])
        span, beside = (left, right) if leaf < half else (right, left)
        spans.append(beside)
    return spans[::-1]


def _consistent(first: int, second: int) -> list[Span]:
    """The spans of a proof of consistency, in its order."""
    if not 0 <= first <= second:
        raise IndexError(f"a log of {second} leaves cannot begin with {first}")
    if first in (0, second):
        return []
    spans, span = [], (0, second)
    while span[1] != first:
        half = _half(span)
        left, right = (span[0], half), (half, span[1])
        span, beside = (left, right) if first <= half else (right, left)
        spans.append(beside)
    return ([span] if span[0] else []) + spans[::-1]
