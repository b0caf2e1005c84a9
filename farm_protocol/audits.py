# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of verification that travel with leases and results: what to audit, and what was found."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import msgspec

from farm_protocol.fields import Digest, Name, Pixels, Sentence, StoredFile, Tile, about
from farm_protocol.ids import TaskId

Samples = Annotated[int, msgspec.Meta(ge=0, le=1 << 24)]
Number = Annotated[float, msgspec.Meta(ge=-1e30, le=1e30)]

MOST_CROPS = 64

SPARSE = "sparse.exr"
"""The file of an audit's sparse pass."""

FIRST = "first.exr"
"""In the auditor's own folder: the pixels of the sparse pass with as many samples from the first on."""


def crop_name(number: int) -> str:
    """The file of an audit's crop, counted from 0 in the order's order."""
    return f"crop-{number}.exr"


@dataclass(frozen=True, slots=True)
class SampleRange:
    """Some of the samples of every pixel."""

    first: Annotated[Samples, about("number of the first sample")]
    count: Annotated[int, msgspec.Meta(ge=1, le=1 << 24), about("how many samples")]


@dataclass(frozen=True, slots=True)
class Sums:
    """What bounds the rounding of a pixel's sums on a device that adds in any order."""

    samples: Annotated[int, msgspec.Meta(ge=1, le=1 << 24), about("samples a pixel, as the job pins them")]
    path_writes: Annotated[
        int,
        msgspec.Meta(ge=1, le=1 << 16),
        about("contributions that a sample's path adds to one pass, on average, at most"),
    ] = 64
    noise_threshold: Annotated[
        Annotated[float, msgspec.Meta(ge=0, le=1)] | None,
        about("that of adaptive sampling; null where every pixel takes all samples"),
    ] = None
    min_samples: Annotated[Samples, about("the least of adaptive sampling")] = 0


@dataclass(frozen=True, slots=True)
class AuditOrder:
    """What an auditor renders of a tile it never sees. Of the sparse pass, what Cycles writes with a pixel's
    first sample is that of the first one taken.
    """

    crops: Annotated[
        tuple[Tile, ...],
        msgspec.Meta(max_length=MOST_CROPS),
        about("rectangles in the frame's pixels, rendered with all samples and the task's overscan"),
    ]
    sparse: Annotated[
        SampleRange | None, about("these few samples of the whole tile, neither adaptive nor with overscan")
    ] = None

    def is_whole(self, tile: Tile) -> bool:
        """Whether it is all of the tile and nothing else. Such an order is done as the tile's own task is:
        the same region, in a Blender that opens the scene for it.
        """
        return self.sparse is None and self.crops == (tile,)


@dataclass(frozen=True, slots=True)
class AuditAnswer:
    """What an auditor rendered."""

    task: Annotated[TaskId, about("id of the task")]
    order: Annotated[AuditOrder, about("what was to be rendered")]
    files: Annotated[tuple[StoredFile, ...], about("`crop-0.exr`, ... and `sparse.exr`, with links")]
    own: Annotated[bool, about("whether by the farm's own node")] = False
    same_class: Annotated[
        bool, about("whether on the class that the tile was rendered on, so that floats must be equal")
    ] = True


@dataclass(frozen=True, slots=True)
class CheckOrder:
    """What a submitted tile is held against: what its node signed, the job's other tiles, what auditors
    rendered.
    """

    pixel_root: Annotated[Digest, about("pixel root that the node signed, hexadecimal")]
    channels: Annotated[
        tuple[Name, ...], about("`part/channel` of the job's tiles; empty where not known yet")
    ] = ()
    audits: Annotated[tuple[AuditAnswer, ...], about("what auditors rendered of it")] = ()
    sums: Annotated[
        Sums | None,
        about("what bounds rounding on a device that adds in any order; null where every bit counts"),
    ] = None


class Fault(StrEnum):
    """Why a submitted file is no picture of its task, whatever was rendered."""

    UNDECODABLE = "undecodable"
    TOO_LARGE = "too_large"
    WRONG_SIZE = "wrong_size"
    WRONG_PASSES = "wrong_passes"
    NOT_FINITE = "not_finite"
    WRONG_ROOT = "wrong_root"


@dataclass(frozen=True, slots=True)
class CropFinding:
    """A submitted crop beside its re-render. `rmse`, `relative`, `cluster` and all that is about noise is of
    the Combined passes; `bias`, `darker` and `coarse` say what kind of difference it is, where the re-render
    has noise.
    """

    tile: Annotated[Tile, about("the crop, in the frame's pixels")]
    different: Annotated[
        Pixels, about("pixels that differ in any pass by more than the device's way of adding explains")
    ]
    rmse: Annotated[Number, about("root of the mean squared difference of linear RGB")] = 0.0
    relative: Annotated[Number, about("`rmse` over the re-render's mean")] = 0.0
    cluster: Annotated[Pixels, about("pixels of the largest 8-connected group that differs")] = 0
    noise_ratio: Annotated[
        Number, about("its high-frequency energy over the re-render's: above 1 it is noisier")
    ] = 1.0
    noise: Annotated[Number, about("relative noise of the re-render")] = 0.0
    bias: Annotated[Number, about("its mean brightness over the re-render's, minus 1")] = 0.0
    darker: Annotated[Number, about("share of the values that differ which lie below the re-render's")] = 0.0
    coarse: Annotated[
        Number, about("share of the squared difference that averaging over 4 x 4 pixels leaves")
    ] = 0.0
    bound: Annotated[Number, about("largest difference as a share of what rounding explains")] = 0.0
    flipped: Annotated[Pixels, about("pixels with another number of samples")] = 0
    doubtful: Annotated[
        Pixels, about("those of the different pixels that an honest render may have, too")
    ] = 0


@dataclass(frozen=True, slots=True)
class SeamReport:
    """A finished frame beside the one that a plain Blender rendered and wrote."""

    compared: Annotated[Samples, about("files that were compared; 0 where that could not be done")] = 0
    different: Annotated[
        Sentence, about("what differs first, with the file's name; '' where nothing does")
    ] = ""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What the farm's own node found in a submitted tile. Evidence pictures are the result's files."""

    fault: Annotated[Fault | None, about("why the file cannot be used")] = None
    detail: Annotated[Sentence, about("the same for people")] = ""
    channels: Annotated[tuple[Name, ...], about("`part/channel` that it holds")] = ()
    flat: Annotated[bool, about("whether every Combined pass is one colour all over")] = False
    noise: Annotated[Number, about("relative high-frequency energy of Combined")] = 0.0
    crops: Annotated[
        tuple[CropFinding, ...],
        msgspec.Meta(max_length=4 * MOST_CROPS),
        about("findings in the order of the audits' crops"),
    ] = ()
    suspects: Annotated[
        tuple[Tile, ...],
        msgspec.Meta(max_length=MOST_CROPS),
        about("blocks where the sparse pass fits the tile least, the most suspicious first"),
    ] = ()
    suspicion: Annotated[Number, about("score of the first suspect, standard deviations")] = 0.0
    not_finite: Annotated[Pixels, about("pixels with values that are no finite numbers")] = 0
    must: Annotated[
        int,
        msgspec.Meta(ge=0, le=MOST_CROPS),
        about("how many of the suspects, the first ones, are to be rendered in any case"),
    ] = 0
    samples: Annotated[
        Number | None, about("estimate of the samples it was rendered with, where crops differ")
    ] = None
    region: Annotated[Tile | None, about("where differing pixels were found")] = None
    contradicted: Annotated[
        tuple[TaskId, ...], about("audits that two of the own node's renders, alike, do not confirm")
    ] = ()
    doubted: Annotated[
        tuple[TaskId, ...], about("audits that one of the own node's renders does not confirm")
    ] = ()
    confirmed: Annotated[
        tuple[TaskId, ...], about("audits by own nodes of the tile's class that equal it in all they hold")
    ] = ()
    unlike: Annotated[
        tuple[TaskId, ...], about("audits by own nodes that differ from another own one of the same pixels")
    ] = ()
