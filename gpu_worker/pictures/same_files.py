# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether two written pictures show the same, whatever their formats note beside the pixels: bit by bit, or
but for the order in which a GPU adds.

Runs in the memory-limited process: both were written by a Blender that had read a stranger's scene.
"""

from pathlib import Path
from typing import Any

import numpy
import OpenImageIO as oiio  # noqa: N813

from gpu_worker.pictures.nearly_same import differs_by_more

MOST_PARTS = 4096

Channels = dict[tuple[int, str], numpy.ndarray[Any, Any]]


def difference(one: Path, other: Path, any_order: bool = False) -> str:
    """What differs, as the end of a sentence that names the file; '' where nothing does. `any_order`: nothing
    but what the order of a GPU's sums explains.
    """
    try:
        mine, theirs = _pixels(one), _pixels(other)
    except ValueError as error:
        return str(error)
    if list(mine) != list(theirs):
        return "has other channels"
    if any(mine[name].shape != theirs[name].shape for name in mine):
        return "has another size"
    if any(mine[name].dtype != theirs[name].dtype for name in mine):
        return "has another depth"
    if any_order:
        return differs_by_more(mine, theirs)
    count = _different_pixels(mine, theirs)
    return f"differs in {count} {'pixel' if count == 1 else 'pixels'}" if count else ""


def _different_pixels(mine: Channels, theirs: Channels) -> int:
    """Pixels that differ in any channel, the parts of a file counted apart."""
    found: dict[int, numpy.ndarray[Any, Any]] = {}
    for (part, name), pixels in mine.items():
        bits = numpy.dtype(f"u{pixels.dtype.itemsize}")
        differs = pixels.view(bits) != theirs[part, name].view(bits)
        found[part] = found[part] | differs if part in found else differs
    return sum(int(one.sum()) for one in found.values())


def _pixels(path: Path) -> Channels:
    """Every channel of every part, as stored. Raises ValueError for what cannot be decoded."""
    source = oiio.ImageInput.open(str(path))
    if source is None:
        raise ValueError("cannot be decoded, so it cannot be compared")
    found: Channels = {}
    try:
        for part in range(MOST_PARTS):
            if not source.seek_subimage(part, 0):
                break
            found |= _part(source, part)
    finally:
        source.close()
    return found


def _part(source: Any, part: int) -> Channels:
    spec = source.spec()
    image = source.read_image(part, 0, 0, spec.nchannels, spec.format)
    if image is None:
        raise ValueError("cannot be decoded, so it cannot be compared")
    image = image.reshape(spec.height, spec.width, spec.nchannels)
    return {
        (part, name): numpy.ascontiguousarray(image[:, :, number])
        for number, name in enumerate(spec.channelnames)
    }
