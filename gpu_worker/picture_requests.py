# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node asks the process that decodes pictures, and what that answers."""

import msgspec

from farm_protocol.audits import AuditOrder, CheckReport, Sums
from farm_protocol.fields import Digest, Name, Tile
from farm_protocol.ids import TaskId


class Check(msgspec.Struct, frozen=True, tag_field="ask", tag="check"):
    """Whether the EXR at `path` is a rendered picture of this size."""

    path: str
    width: int
    height: int


class Picture(msgspec.Struct, frozen=True):
    """The EXR at `path`, of this size. Where `target` is set, `tile` (counted from the picture's lower
    left corner) is cut out and written there with its sample counts as plain numbers; `samples`: the most
    a pixel of each layer took. `first`: the same pixels with the first samples, from which the passes are
    taken that only those write.
    """

    path: str
    width: int
    height: int
    tile: Tile
    target: str = ""
    samples: dict[str, int] = {}
    first: str = ""


class Take(msgspec.Struct, frozen=True, tag_field="ask", tag="take"):
    """Check the pictures, cut them, and answer the pixel root over what is left of them."""

    pictures: tuple[Picture, ...]


class Stitch(msgspec.Struct, frozen=True, tag_field="ask", tag="stitch"):
    """Check the pieces, put them together and write the canvas to `target`."""

    pieces: tuple[tuple[str, Tile], ...]
    area: Tile
    canvas: Tile
    target: str


class LookAudit(msgspec.Struct, frozen=True):
    """One audit's pictures on this machine (`verification.compare.AuditedFiles`)."""

    task: TaskId
    order: AuditOrder
    crops: tuple[str, ...]
    sparse: str | None
    own: bool
    same_class: bool


class Look(msgspec.Struct, frozen=True, tag_field="ask", tag="look"):
    """Look at the tile at `path`, compare it with audits, write evidence to that folder. `sums` of a device
    that adds in any order.
    """

    path: str
    tile: Tile
    samples: int
    pixel_root: Digest
    channels: tuple[Name, ...]
    audits: tuple[LookAudit, ...]
    evidence: str | None
    sums: Sums | None = None


class Compare(msgspec.Struct, frozen=True, tag_field="ask", tag="compare"):
    """What differs in each pair of written pictures, whatever their format. `any_order`: by more than the
    order in which a GPU adds.
    """

    pairs: tuple[tuple[str, str], ...]
    any_order: bool = False


class FinishedFile(msgspec.Struct, frozen=True):
    """A picture that Blender wrote, called `name` for people. `sizes`: those it may have; none: any."""

    path: str
    name: str
    sizes: tuple[tuple[int, int], ...] = ()


class Finished(msgspec.Struct, frozen=True, tag_field="ask", tag="finished"):
    """Whether these files are whole pictures."""

    files: tuple[FinishedFile, ...]


Request = Check | Take | Stitch | Look | Compare | Finished


class Answer(msgspec.Struct, frozen=True):
    """`good`, or a sentence why not. `pieces` are the numbers of pieces that cannot be used; `fault`
    is set where not the picture but this machine is the reason: memory or node. `root`: what was asked
    for of pixels that are to be signed; `report`: what was found in a submitted tile; `different`: what
    differs in each pair.
    """

    good: bool
    reason: str = ""
    pieces: tuple[int, ...] = ()
    fault: str = ""
    root: Digest | None = None
    report: CheckReport | None = None
    different: tuple[str, ...] = ()
