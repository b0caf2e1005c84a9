# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a job's frames are rendered whole from some moment on: always right, never quick. Pure."""

from dataclasses import dataclass
from enum import StrEnum

NO_CROPS = "Crops of this scene's tiles do not equal the tiles (frame {frame}), so nobody can audit them."
NOT_ALIKE = "This scene is not rendered alike twice (frame {frame}), so nobody can audit it."
SEAMS = "Tiles of this scene do not equal whole frames (frame {frame}: {what})."
FAILS = "Tiles of this scene cannot be rendered and put together (frame {frame}: {what})."
WHOLE_NOW = "Frames are rendered whole by the farm's own nodes from here on; nobody is blamed."


class Scope(StrEnum):
    """Which frames are rendered whole: those not done yet, also done ones that were cut, or all."""

    OPEN = "open"
    TILED = "tiled"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Fallback:
    """A job's fall back to whole frames. `approximate`: not even those are alike twice."""

    sentence: str
    scope: Scope
    approximate: bool = False


def no_crops(frame: int) -> Fallback:
    """An honest tile differs from its audit. Where the region that is rendered matters, stitched frames
    may be wrong, too.
    """
    return Fallback(f"{NO_CROPS.format(frame=frame)} {WHOLE_NOW}", Scope.TILED)


def seams(frame: int, what: str) -> Fallback:
    """A finished frame is not the one that a plain Blender writes; so will others be, done or not."""
    return Fallback(f"{SEAMS.format(frame=frame, what=what)} {WHOLE_NOW}", Scope.ALL)


def fails(frame: int, what: str) -> Fallback:
    """Tiles cannot be rendered or put together, it is said three times: perhaps one Blender can."""
    return Fallback(f"{FAILS.format(frame=frame, what=what)} {WHOLE_NOW}", Scope.OPEN)


def not_alike(frame: int) -> Fallback:
    """Two renders of the same pixels in one way differ, so whole frames are as good as any."""
    return Fallback(f"{NOT_ALIKE.format(frame=frame)} {WHOLE_NOW}", Scope.OPEN, approximate=True)
