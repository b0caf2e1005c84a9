# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a picture does not fit a few of its own samples: the blocks to look at first.

P is the submitted picture, the mean of N samples; S is the mean of m of those samples, rendered again. Where
P is honest, D = S - P has the mean 0, has nothing to do with P (its covariance with P is var(P) - var(P)),
and N P is never below m S, because light is not negative. So each pass is asked, window by window:

- `mean`: is the mean of D too far from 0? (Something is missing, painted, or from elsewhere.)
- `own`: does D fall where P rises? (P has other details or other noise than its samples have.)
- `bound`: is N P below m S anywhere? (Impossible, where samples are added up.)

Passes that are no sums are not asked these: what a pixel's first sample writes must be the same in every bit
(the sparse pass has the first sample's), and a cryptomatte must name what its samples name.

`mean` and `own` are sums over their own root of squares, so a firefly cannot make them large. Everything is
then set against the tile's other windows, since what is common in a tile says nothing about a place in it.
The scores are for ranking: blocks are rendered again before anything is said of them, so a wrong
suspicion costs a crop and harms nobody.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy
from numpy.typing import NDArray

from farm_protocol.fields import Tile
from frame_splitter.exr import Image
from verification.compare.metrics.mattes import Floats, Names, slots
from verification.compare.passes import COUNTED, CRYPTOMATTE, FIRST_SAMPLE, kind_of, pass_name
from verification.protocol.pixel_root import Channel, channels

Array = NDArray[numpy.float32]
Cells = NDArray[numpy.float64]
"""One number for each block, of shape (rows, columns), lowest row first."""

WINDOWS = (1, 2, 3)
"""Edges of the windows, in blocks."""

REACH = 2
"""Pixels. How far details reach."""

LARGEST = 1e6
"""Differences are cut off at so many times the mean of their channel, so that nothing overflows."""

DARK = 1e-3
"""Differences below this share of the channel's mean count as none."""

LEEWAY = 1e-3
"""By how much N P may be below m S through rounding, as a share."""

SURE = 1e6
"""Score of a block where a pass that must be the same is not, for each pixel: above all that chance makes."""

COMPARABLE = 0.9
"""Where so large a share of the blocks differ, two kinds of devices do, or nothing was rendered: the crops
that are rendered in full see that, whichever they are."""

WHOLLY = 0.999
"""Share of a pixel from which on it is one thing's: each of its samples then names it."""

APART = 2
"""Blocks. Suspects are at least so far from each other, unless nothing else is left."""


@dataclass(frozen=True, slots=True)
class Sums:
    """A channel's sums over each block; `bounded` where it holds sums of light."""

    pixels: Cells
    error: Cells
    error_squared: Cells
    error_detail: Cells
    error_detail_squared: Cells
    below_bound: Cells
    bounded: bool


def suspicious_blocks(
    submitted: Image, sparse: Image, share: float, side: int, count: int
) -> list[tuple[float, Tile]]:
    """The `count` most suspicious blocks of `side` pixels, counted from the lower left corner, with their
    scores in standard deviations, the worst first.

    Both pictures have the same channels and size. `share` is m / N.
    """
    scores = block_scores(submitted, sparse, share, side)
    picked = spread_out(scores, count)
    return [(float(scores[row, column]), _block(submitted, side, row, column)) for row, column in picked]


def block_scores(submitted: Image, sparse: Image, share: float, side: int) -> Cells:
    """How little each block of `side` pixels fits, in standard deviations of the tile's own blocks. `sparse`
    is rendered with `share` of the samples that `submitted` is said to have.
    """
    pairs = sorted(zip(channels(submitted), channels(sparse), strict=True), key=_pass)
    shape = -(-submitted.height // side), -(-submitted.width // side)
    scores = numpy.zeros(shape)
    for test in (_certain(mask, side) for mask in _impossible(pairs)):
        numpy.maximum(scores, test, out=scores)
    asked = [pair for pair in pairs if kind_of(_pass(pair)) not in FIRST_SAMPLE | COUNTED]
    for _, group in groupby(asked, key=_pass):
        for test in _tests([_sums(mine, theirs, share, side) for mine, theirs in group]):
            numpy.maximum(scores, test, out=scores)
    return scores


def not_finite_blocks(image: Image, side: int) -> tuple[int, list[Tile]]:
    """How many pixels hold values of any pass that are not finite numbers, and the blocks they lie in, those
    with the most of them first, counted as `suspicious_blocks` does.
    """
    wrong = numpy.zeros((image.height, image.width), numpy.bool_)
    for channel in channels(image):
        wrong |= ~numpy.isfinite(channel.pixels)
    counts = _by_block(wrong, side)
    places = [divmod(int(place), counts.shape[1]) for place in numpy.argsort(-counts, axis=None)]
    found = [_block(image, side, row, column) for row, column in places if counts[row, column]]
    return int(wrong.sum()), found


def _pass(pair: tuple[Channel, Channel]) -> str:
    return pass_name(pair[0].part, pair[0].name)


def spread_out(scores: Cells, count: int) -> list[tuple[int, int]]:
    """Places of the `count` highest scores, apart from each other where possible."""
    left = scores.copy()
    near = numpy.zeros(scores.shape, numpy.bool_)
    picked: list[tuple[int, int]] = []
    while len(picked) < min(count, scores.size):
        if near[left > -numpy.inf].all():
            near[:] = False
        row, column = divmod(int(numpy.argmax(numpy.where(near, -numpy.inf, left))), scores.shape[1])
        picked.append((row, column))
        left[row, column] = -numpy.inf
        near[max(0, row - APART) : row + APART + 1, max(0, column - APART) : column + APART + 1] = True
    return picked


def _block(image: Image, side: int, row: int, column: int) -> Tile:
    x, y = column * side, row * side
    return Tile(x, y, min(x + side, image.width), min(y + side, image.height))


# --- what cannot be ---------------------------------------------------------------------------------


def _impossible(pairs: Sequence[tuple[Channel, Channel]]) -> Iterator[NDArray[numpy.bool_]]:
    """Pixels of passes that no honest render has beside the sparse pass, rows from the bottom up."""
    for name, group in groupby(pairs, key=_pass):
        if kind_of(name) in FIRST_SAMPLE:
            yield numpy.any([_bits(mine) != _bits(theirs) for mine, theirs in group], axis=0)
    for name, group in groupby(pairs, key=_pass_of_mattes):
        if name:
            yield _misnamed(list(group))


def _pass_of_mattes(pair: tuple[Channel, Channel]) -> str:
    """The passes of one cryptomatte are numbered: `Layer.CryptoObject00` and so on; '' for others."""
    name = _pass(pair)
    return name.rstrip("0123456789") if kind_of(name).startswith(CRYPTOMATTE) else ""


def _misnamed(pairs: Sequence[tuple[Channel, Channel]]) -> NDArray[numpy.bool_]:
    """Where one of the two is wholly one thing's that the other does not name and has room for."""
    (mine, my_shares), (theirs, their_shares) = (_slots([pair[side] for pair in pairs]) for side in (0, 1))
    has_room = my_shares[-1] == 0
    i_lack = (their_shares[0] >= WHOLLY) & ~((mine == theirs[0]) & (my_shares > 0)).any(axis=0) & has_room
    they_lack = (my_shares[0] >= WHOLLY) & ~((theirs == mine[0]) & (their_shares > 0)).any(axis=0)
    found: NDArray[numpy.bool_] = i_lack | they_lack
    return found


def _slots(found: Sequence[Channel]) -> tuple[Names, Floats]:
    names, shares = slots([one.pixels for one in found], [(one.part, one.name) for one in found])
    return names, numpy.nan_to_num(shares)


def _bits(channel: Channel) -> NDArray[numpy.uint32]:
    return numpy.ascontiguousarray(channel.pixels, numpy.float32).view(numpy.uint32)


def _certain(wrong: NDArray[numpy.bool_], side: int) -> Cells:
    """The score of each block for pixels that cannot be; none where that is so all over the tile."""
    counts = _by_block(wrong, side)
    if (counts > 0).mean() > COMPARABLE and counts.size > 1:
        return numpy.zeros_like(counts)
    return SURE * counts


# --- one channel ----------------------------------------------------------------------------------


def _sums(submitted: Channel, sparse: Channel, share: float, side: int) -> Sums:
    scale = _scale(sparse.pixels)
    mine, theirs = _tamed(submitted.pixels, scale), _tamed(sparse.pixels, scale)
    error = theirs - mine
    error[numpy.abs(error) < DARK] = 0
    detail = mine - _blurred(mine)
    both = error * detail
    below = theirs * numpy.float32(share) > mine * numpy.float32(1 + LEEWAY) + numpy.float32(LEEWAY * share)
    tables = (numpy.ones_like(error), error, error**2, both, both**2, below)
    return _gathered([_by_block(table, side) for table in tables], bool((theirs >= 0).all()))


def _gathered(tables: list[Cells], bounded: bool) -> Sums:
    pixels, error, error_squared, both, both_squared, below = tables
    return Sums(pixels, error, error_squared, both, both_squared, below, bounded)


def _scale(pixels: NDArray[numpy.generic]) -> float:
    """The mean of the sizes of a channel's values; 1 where it has none."""
    sizes = numpy.abs(pixels.astype(numpy.float64))
    mean = float(sizes[numpy.isfinite(sizes)].mean()) if numpy.isfinite(sizes).any() else 0.0
    return mean if mean > 0 else 1.0


def _tamed(pixels: NDArray[numpy.generic], scale: float) -> Array:
    """A channel over its scale, within what can be squared and added up."""
    with numpy.errstate(all="ignore"):
        values = pixels.astype(numpy.float64) / scale
    values = numpy.nan_to_num(values, nan=LARGEST, posinf=LARGEST, neginf=-LARGEST)
    tamed: Array = numpy.clip(values, -LARGEST, LARGEST).astype(numpy.float32)
    return tamed


def _shifted(pixels: Array, axis: int) -> Iterator[Array]:
    """The picture moved by -REACH to REACH pixels, its edge pixels repeated."""
    width = [(REACH, REACH) if number == axis else (0, 0) for number in range(2)]
    padded = numpy.pad(pixels, width, mode="edge")
    for start in range(2 * REACH + 1):
        yield (
            padded[start : start + pixels.shape[0]]
            if axis == 0
            else padded[:, start : start + pixels.shape[1]]
        )


def _blurred(pixels: Array) -> Array:
    for axis in range(2):
        total = numpy.zeros_like(pixels)
        for moved in _shifted(pixels, axis):
            total += moved
        pixels = total / numpy.float32(2 * REACH + 1)
    return pixels


def _by_block(table: NDArray[numpy.generic], side: int) -> Cells:
    for axis in range(2):
        starts = numpy.arange(0, table.shape[axis], side)
        table = numpy.add.reduceat(table, starts, axis=axis, dtype=numpy.float64)
    return table.astype(numpy.float64, copy=False)


# --- one pass -------------------------------------------------------------------------------------


def _tests(passes: list[Sums]) -> Iterator[Cells]:
    """Scores of each block by each test, over the windows that hold it and the pass's channels."""
    telling = [one for one in passes if one.error_squared.any()]
    bounded = [one for one in telling if one.bounded]
    for size in (size for size in WINDOWS if size <= min(passes[0].pixels.shape)):
        for test, asked in ((_mean_test, telling), (_own_test, telling), (_bound_test, bounded)):
            if asked:
                yield _spread(numpy.mean([test(_over(one, size)) for one in asked], axis=0), size)


def _mean_test(sums: Sums) -> Cells:
    return numpy.abs(_ratio(sums.error, sums.error_squared + DARK**2 * sums.pixels))


def _own_test(sums: Sums) -> Cells:
    return -_ratio(sums.error_detail, sums.error_detail_squared + DARK**4 * sums.pixels)


def _bound_test(sums: Sums) -> Cells:
    return _surplus(sums.below_bound, sums.pixels)


def _over(sums: Sums, size: int) -> Sums:
    tables = (
        sums.pixels,
        sums.error,
        sums.error_squared,
        sums.error_detail,
        sums.error_detail_squared,
        sums.below_bound,
    )
    return _gathered([_windowed(table, size) for table in tables], sums.bounded)


def _windowed(cells: Cells, size: int) -> Cells:
    """Sums over all windows of `size` x `size` blocks."""
    views = numpy.lib.stride_tricks.sliding_window_view(cells, (size, size))
    summed: Cells = views.sum(axis=(2, 3))
    return summed


def _ratio(total: Cells, squares: Cells) -> Cells:
    """A sum over the root of its squares' sum, set against the other windows'."""
    return _standardised(total / numpy.sqrt(squares))


def _standardised(values: Cells) -> Cells:
    """Distances from the median in robust standard deviations, but never in smaller ones than expected."""
    middle = numpy.median(values)
    found: Cells = (values - middle) / max(1.0, 1.4826 * float(numpy.median(numpy.abs(values - middle))))
    return found


def _surplus(events: Cells, pixels: Cells) -> Cells:
    """How many more events than the tile's share of them, in their standard deviations."""
    share = float(events.sum() / pixels.sum())
    found: Cells = (events - pixels * share) / numpy.sqrt(pixels * share * (1 - share) + 0.01)
    return found


def _spread(windows: Cells, size: int) -> Cells:
    """Each block's highest window. Larger windows hold it only loosely, so within one of them the blocks
    keep the order of their own scores.
    """
    rows, columns = windows.shape
    found = numpy.full((rows + size - 1, columns + size - 1), -numpy.inf)
    for down in range(size):
        for right in range(size):
            part = found[down : down + rows, right : right + columns]
            numpy.maximum(part, windows, out=part)
    return found
