# SPDX-License-Identifier: GPL-3.0-or-later
"""Cryptomattes of two renders side by side, whatever rank a thing has in each.

A pixel's ranks are ordered by share. Shares are sums, so that nearly equal ones may swap ranks on a device
that adds in any order; and where a pixel shows more things than there are ranks, those that come last share
the last one, or are lost (Cycles' kernel/film/cryptomatte_passes.h): of a pixel whose ranks are all taken in
both, nothing can be told.
"""

from collections.abc import Sequence

import numpy
from numpy.typing import NDArray

from frame_splitter.exr import Pixels
from verification.compare.metrics.difference import Mask
from verification.compare.passes import MATTE, kind_of, pass_name

MatteChannels = list[tuple[str, str]]
"""Part and channel of each of a cryptomatte's channels."""

Floats = NDArray[numpy.float64]
Names = NDArray[numpy.uint32]


def matte_of(part: str, channel: str) -> str:
    """The cryptomatte that a channel belongs to, '' for others: its passes are numbered."""
    name = pass_name(part, channel)
    return name.rstrip("0123456789") if MATTE.fullmatch(kind_of(name)) else ""


def canonical(
    mine: Sequence[Pixels], theirs: Sequence[Pixels], keys: Sequence[tuple[str, str]]
) -> tuple[Floats, Mask]:
    """How far the shares of one thing lie apart at most in each pixel, and the pixels that cannot be told
    apart by shares because a channel is no number. Channels in the same order, of one cryptomatte.
    """
    names, shares = slots(mine, keys)
    other_names, other_shares = slots(theirs, keys)
    wrong = ~(numpy.isfinite(shares).all(axis=0) & numpy.isfinite(other_shares).all(axis=0))
    shares, other_shares = numpy.nan_to_num(shares), numpy.nan_to_num(other_shares)
    full = (shares != 0).all(axis=0) & (other_shares != 0).all(axis=0)
    apart = numpy.zeros(full.shape)
    for name, share in (*zip(names, shares, strict=True), *zip(other_names, other_shares, strict=True)):
        one = numpy.where(names == name, shares, 0).sum(axis=0)
        other = numpy.where(other_names == name, other_shares, 0).sum(axis=0)
        apart = numpy.maximum(apart, numpy.where(full | (share == 0), 0, numpy.abs(one - other)))
    return apart, wrong


def slots(channels: Sequence[Pixels], keys: Sequence[tuple[str, str]]) -> tuple[Names, Floats]:
    """The names (as bits) and shares that a cryptomatte's channels hold for each pixel, in the order of
    its passes; both of shape (slots, height, width). A pass has two of them: R and G, B and A. `keys` as
    in `canonical`; without keys, one share that is not a number.
    """
    of = {(pass_name(*key), key[1][-1].upper()): pixels for key, pixels in zip(keys, channels, strict=True)}
    pairs = [
        (of[name, a], of[name, b])
        for name in sorted({name for name, _ in of})
        for a, b in ("RG", "BA")
        if (name, a) in of and (name, b) in of
    ]
    if not pairs:
        shape = (1, *channels[0].shape)
        return numpy.zeros(shape, numpy.uint32), numpy.full(shape, numpy.nan)
    names = [numpy.ascontiguousarray(name, numpy.float32).view(numpy.uint32) for name, _ in pairs]
    return numpy.stack(names), numpy.stack([share.astype(numpy.float64) for _, share in pairs])
