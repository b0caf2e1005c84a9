# SPDX-License-Identifier: GPL-3.0-or-later
"""Root mean square error of linear values."""

import numpy

from frame_splitter.exr import Pixels


def rmse(one: Pixels, other: Pixels) -> float:
    """Root of the mean squared difference of two arrays of one shape, in their own unit.

    Infinite where any difference is not a number.
    """
    with numpy.errstate(all="ignore"):
        squares = (one.astype(numpy.float64) - other.astype(numpy.float64)) ** 2
        found = float(numpy.sqrt(squares.mean()))
    return found if numpy.isfinite(found) else float("inf")


def relative_rmse(submitted: Pixels, rendered: Pixels) -> float:
    """`rmse` over the re-render's mean absolute value; infinite where that is zero and they differ."""
    error = rmse(submitted, rendered)
    with numpy.errstate(all="ignore"):
        mean = float(numpy.abs(rendered.astype(numpy.float64)).mean())
    if error == 0.0:
        return 0.0
    return error / mean if numpy.isfinite(mean) and mean > 0.0 else float("inf")
