# SPDX-License-Identifier: GPL-3.0-or-later
"""When a finished frame is held against one that a plain Blender renders whole: before much is rendered."""

from collections.abc import Callable

SMALL_WORK = 4_000_000
"""Pixels times samples of a frame that takes a few seconds: rendering one of them whole costs nothing to
speak of."""

FRAMES_A_LOOK = 100
"""So many frames pay for one that is rendered twice: a hundredth of the job."""


TASKS_A_STRIP = 100
"""A job of more tasks than this pays for a strip with what lies around it."""


def wants_strip(tasks: int, frames: int, looks: tuple[int, ...]) -> bool:
    """Whether a strip at a tile's edge is rendered with more around it, because no frame is rendered whole:
    where frames are large and there are many tiles.
    """
    return not looks and tasks > TASKS_A_STRIP and tasks > 2 * frames


def looks(frames: int, work: int, below: Callable[[int], int]) -> tuple[int, ...]:
    """After how many finished frames the next one is rendered whole as well, in order; none where it would
    cost more than a hundredth of the job and more than a few seconds. `work` is that of a frame, in pixels
    times samples; `below(n)` draws a number from 0 to n - 1.
    """
    least = 1 if work <= SMALL_WORK else 0
    count = max(least, frames // FRAMES_A_LOOK)
    return tuple(FRAMES_A_LOOK * number + (below(FRAMES_A_LOOK) if number else 0) for number in range(count))
