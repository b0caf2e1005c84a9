# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of verification that travel with leases and results: what to audit, and what was found."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import msgspec

from farm_protocol.fields import Digest, Name, Pixels, Sentence, StoredFile, Tile
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
    """Some of the samples of every pixel: `count` of them from number `first` on."""

    first: Samples
    count: Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]


@dataclass(frozen=True, slots=True)
class Sums:
    """What bounds the rounding of a pixel's sums on a device that adds in any order. `samples` as pinned by
    the job; `path_writes`: how many contributions the path of one sample adds to one pass, on average, at
    most; `noise_threshold` and `min_samples` of adaptive sampling, None where every pixel takes all samples.
    """

    samples: Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
    path_writes: Annotated[int, msgspec.Meta(ge=1, le=1 << 16)] = 64
    noise_threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    min_samples: Samples = 0


@dataclass(frozen=True, slots=True)
class AuditOrder:
    """What an auditor renders of a tile it never sees. `crops` are rectangles of the frame's pixels
    inside the task's tile, rendered with all samples and with the task's overscan; `sparse` is the
    whole tile with a few of its samples, without adaptive sampling and without overscan; passes that
    Cycles writes with a pixel's first sample are those of the first.
    """

    crops: Annotated[tuple[Tile, ...], msgspec.Meta(max_length=MOST_CROPS)]
    sparse: SampleRange | None = None

    def is_whole(self, tile: Tile) -> bool:
        """Whether it is all of the tile and nothing else. Such an order is done as the tile's own task is:
        the same region, in a Blender that opens the scene for it.
        """
        return self.sparse is None and self.crops == (tile,)


@dataclass(frozen=True, slots=True)
class AuditAnswer:
    """What an auditor rendered: `files` are `crop-0.exr`, ... and `sparse.exr`, with links.

    `own`: by the farm's own node; `same_class`: on the device class the tile was rendered on, so that
    floats must be equal.
    """

    task: TaskId
    order: AuditOrder
    files: tuple[StoredFile, ...]
    own: bool = False
    same_class: bool = True


@dataclass(frozen=True, slots=True)
class CheckOrder:
    """How a submitted tile is looked at: is it what its node signed, what the job's tiles look like, and
    what the auditors rendered? `channels` ("part/channel") is empty where not known yet. `sums` of a device
    that adds in any order; None where every bit counts.
    """

    pixel_root: Digest
    channels: tuple[Name, ...] = ()
    audits: tuple[AuditAnswer, ...] = ()
    sums: Sums | None = None


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
    """A submitted crop beside its re-render. `tile` in the frame's pixels.

    `different` counts pixels that differ in any pass by more than their device's way of adding explains: by
    any bit, where it adds in order. Where it does not, `bound` is the largest difference as a share of what
    is explained, and `flipped` counts pixels of another number of samples; `doubtful` those among the
    different ones that an honest render may have, too. The rest is about the Combined passes: `rmse` linear
    RGB, `relative` that over the re-render's mean, `cluster` pixels of the largest 8-connected group that
    differs, `noise_ratio` the submitted crop's high-frequency energy over the re- render's (1 is alike;
    above 1 noisier). `noise`: relative noise of the re-render; where it has some, `bias` (mean brightness
    over the re-render's, minus 1), `darker` (of the values that differ, the share below the re-render's)
    and `coarse` (the share of the squared difference that averaging over 4 x 4 pixels leaves) say what kind
    of difference it is.
    """

    tile: Tile
    different: Pixels
    rmse: Number = 0.0
    relative: Number = 0.0
    cluster: Pixels = 0
    noise_ratio: Number = 1.0
    noise: Number = 0.0
    bias: Number = 0.0
    darker: Number = 0.0
    coarse: Number = 0.0
    bound: Number = 0.0
    flipped: Pixels = 0
    doubtful: Pixels = 0


@dataclass(frozen=True, slots=True)
class SeamReport:
    """A finished frame beside the one that a plain Blender rendered and wrote. `compared`: files of it, 0
    where that could not be done; `different`: what differs first, with the file's name, '' where nothing
    does.
    """

    compared: Samples = 0
    different: Sentence = ""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What the farm's own node found in a submitted tile.

    `fault` and `detail` where the file cannot be used. `channels` are what it holds; `flat`: every
    Combined pass is one colour all over; `noise`: relative high-frequency energy of Combined.
    `crops` in the order of the audits' crops; `suspects` are blocks, the most suspicious first, where
    the sparse pass fits the tile least, `suspicion` the score of the first (standard deviations).
    `not_finite` counts pixels with values of any pass that are not finite numbers, as far as a node's own
    checks let them pass; the first `must` of the suspects hold them, and are all to be rendered.
    `samples`: an estimate of how many samples the tile was rendered with, where crops differ.
    `region`: where differing pixels were found. `contradicted`: audits that two of the own node's renders,
    alike, do not confirm; `doubted`: those that one does not. `confirmed`: audits by own nodes of the tile's
    own class that equal it in all they hold; `unlike`: those that differ from another own one of the same
    pixels. Evidence pictures are the result's files.
    """

    fault: Fault | None = None
    detail: Sentence = ""
    channels: tuple[Name, ...] = ()
    flat: bool = False
    noise: Number = 0.0
    crops: Annotated[tuple[CropFinding, ...], msgspec.Meta(max_length=4 * MOST_CROPS)] = ()
    suspects: Annotated[tuple[Tile, ...], msgspec.Meta(max_length=MOST_CROPS)] = ()
    suspicion: Number = 0.0
    not_finite: Pixels = 0
    must: Annotated[int, msgspec.Meta(ge=0, le=MOST_CROPS)] = 0
    samples: Number | None = None
    region: Tile | None = None
    contradicted: tuple[TaskId, ...] = ()
    doubted: tuple[TaskId, ...] = ()
    confirmed: tuple[TaskId, ...] = ()
    unlike: tuple[TaskId, ...] = ()
