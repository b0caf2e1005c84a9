# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node asks the process that decodes pictures, and what that answers."""

import msgspec

from frame_splitter.fields import Tile


class Check(msgspec.Struct, frozen=True, tag_field="ask", tag="check"):
    """Whether the EXR at `path` is a rendered picture of this size."""

    path: str
    width: int
    height: int


class Crop(msgspec.Struct, frozen=True, tag_field="ask", tag="crop"):
    """Check the EXR at `path`, cut `tile` (counted from its lower left corner) out, write it to `target`
    with its sample counts as plain numbers. `samples`: the most a pixel of each layer took.
    """

    path: str
    width: int
    height: int
    tile: Tile
    target: str
    samples: dict[str, int] = {}


class Stitch(msgspec.Struct, frozen=True, tag_field="ask", tag="stitch"):
    """Check the pieces, put them together and write the canvas to `target`."""

    pieces: tuple[tuple[str, Tile], ...]
    area: Tile
    canvas: Tile
    target: str


Request = Check | Crop | Stitch


class Answer(msgspec.Struct, frozen=True):
    """`good`, or a sentence why not. `pieces` are the numbers of pieces that cannot be used; `fault`
    is set where not the picture but this machine is the reason: memory or node.
    """

    good: bool
    reason: str = ""
    pieces: tuple[int, ...] = ()
    fault: str = ""
