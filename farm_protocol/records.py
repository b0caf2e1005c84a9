# SPDX-License-Identifier: GPL-3.0-or-later
"""The records both sides of the wire speak, and their JSON.

Frozen dataclasses; `encode` and `decode` are the only way to and from bytes. `decode` checks types,
bounds and unknown enum values, so a record that exists is well formed. `farm_protocol/audits.py` has
those of verification.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

import msgspec

from farm_protocol.appointments import Appointment
from farm_protocol.audits import AuditOrder, CheckOrder, CheckReport, SeamReport
from farm_protocol.fields import (
    Digest,
    FrameNumber,
    Name,
    Pixels,
    Seconds,
    Sentence,
    Signature,
    Size,
    StoredFile,
    Tile,
)
from farm_protocol.ids import (
    DeviceClass,
    JobId,
    LeaseToken,
    OwnerId,
    SceneId,
    Sha256,
    TaskId,
)
from farm_protocol.probes import ProbeOrder, ProbeReport

# --- scenes -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Blob:
    """One file of a scene, by content."""

    sha256: Digest
    size: Size


@dataclass(frozen=True, slots=True)
class Manifest:
    """A scene: relative POSIX paths to blobs; `main` is the .blend to open. `color_config` is the OCIO
    configuration it is opened with: one of its files, one built into OCIO (`ocio://...`), or "" for
    Blender's own. Paths lie on disk as `frame_splitter.outputs.laid_out_name` says.
    """

    main: Name
    files: dict[Name, Blob]
    color_config: Name = ""


class Exactness(StrEnum):
    """How the farm's file relates to one Blender process's. BIT_EXACT: equal. FLOAT_EXACT: equal up to the
    order of sums, by which two runs of Blender on one device differ as well. APPROXIMATE: not promised.
    """

    BIT_EXACT = "bit-exact"
    FLOAT_EXACT = "float-exact"
    APPROXIMATE = "approximate"


class Demand(StrEnum):
    """How exact a job has to be. ANY: as exact as what renders it. BIT: bit-exact, so that only devices that
    add samples in order may render it.
    """

    ANY = "any"
    BIT = "bit"


# --- jobs ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RenderSettings:
    """What a job pins, whatever the .blend says. `format` is Blender's name of a file format."""

    samples: Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
    seed: Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
    resolution_percentage: Annotated[int, msgspec.Meta(ge=1, le=32767)]
    format: Name


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What the client asks for. None means: as the .blend has it."""

    scene: SceneId
    frames: tuple[FrameNumber, ...]
    tiles: Annotated[str, msgspec.Meta(pattern="^(auto|[0-9]{1,3}x[0-9]{1,3})$")] = "auto"
    samples: Annotated[int, msgspec.Meta(ge=1, le=1 << 24)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)] | None = None
    resolution_percentage: Annotated[int, msgspec.Meta(ge=1, le=32767)] | None = None
    format: Name | None = None
    slots: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1
    priority: Annotated[int, msgspec.Meta(ge=0, le=100)] = 50
    name: Name = ""
    exactness: Demand = Demand.ANY


# --- tasks --------------------------------------------------------------------------------------


class TaskKind(StrEnum):
    """What a node leases. CHECK: decode what a node submitted and compare it with what auditors rendered.
    PROBE: render a few frames of a job that may come very small, to learn what it will take.
    """

    RENDER = "render"
    FINISH = "finish"
    AUDIT = "audit"
    CHECK = "check"
    PROBE = "probe"


class TaskOutput(StrEnum):
    """LINEAR: a scene-linear multilayer EXR to be finished. FINAL: Blender writes the files itself."""

    LINEAR = "linear"
    FINAL = "final"


class TaskState(StrEnum):
    """Where a task is on its way (render_farm/store/README.md draws the arrows)."""

    WAITING = "waiting"
    READY = "ready"
    LEASED = "leased"
    SUBMITTED = "submitted"
    AUDITING = "auditing"
    ACCEPTED = "accepted"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobState(StrEnum):
    """Derived from a job's tasks, money and intents, never stored beside them."""

    AWAITING_FUNDS = "awaiting_funds"
    RENDERING = "rendering"
    PAUSED = "paused"
    FINISHING = "finishing"
    COMPLETE = "complete"
    SETTLED = "settled"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Task:
    """One unit of work. `tile` is the part the task answers for; it is rendered with `overscan`
    more pixels on every side (clipped to the rendered area), which are cut off again before submission.
    """

    id: TaskId
    job: JobId
    kind: TaskKind
    frame: FrameNumber
    tile: Tile
    overscan: Pixels = 0
    output: TaskOutput = TaskOutput.LINEAR


@dataclass(frozen=True, slots=True)
class TileInput:
    """One accepted tile a finish task starts from."""

    task: TaskId
    tile: Tile
    file: StoredFile


@dataclass(frozen=True, slots=True)
class Lease:
    """A task held by a node until `expires_in` seconds from now, under a fencing token.

    `width` x `height` is the whole frame in pixels (after the percentage), `area` the part of it that
    is rendered (all of it, or the artist's border), `canvas` the part the written file covers (the
    area where the border crops, else the whole frame, empty outside the area). The child is given all
    of them; tasks' tiles lie in `area`. `asked` names the settings that the artist asked for beside the
    file; all others stay the file's, animated as they may be (None: those that differ). `audit`, `check`
    and `probe` say what tasks of those kinds are about; a check's one input is the tile in question.
    `seam`: a finished frame is to be compared with the one that a plain Blender renders whole; `fresh`: an
    audit is to be made in a Blender that opens the scene for it.
    """

    task: Task
    token: LeaseToken
    slot: Name
    expires_in: Seconds
    scene: SceneId
    owner: OwnerId
    settings: RenderSettings
    width: Pixels
    height: Pixels
    area: Tile
    canvas: Tile
    inputs: tuple[TileInput, ...] = ()
    audit: AuditOrder | None = None
    check: CheckOrder | None = None
    probe: ProbeOrder | None = None
    agreement: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64})?$", max_length=64)] = ""
    units: Annotated[int, msgspec.Meta(ge=0, le=1 << 53)] = 0
    seam: bool = False
    fresh: bool = False
    asked: Annotated[tuple[Name, ...], msgspec.Meta(max_length=16)] | None = None


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file a task produced. `name` is relative and POSIX; the first file is the task's own
    (`tile.exr`, or the frame itself), others are what File Output nodes wrote.
    """

    name: Name
    sha256: Digest
    size: Size


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What a node submits. `seconds` is wall time of the task, `render_seconds` pure Cycles time.

    `device_memory`: the most bytes Cycles held on its device, a GPU's video memory among others.
    `pixel_root` is the Merkle root over the decoded pixels of the task's linear EXR files, or over the
    sha256 of its files where they are no EXRs (`verification.protocol.pixel_root`). `signature` is the
    node's, over the attestation of result and lease (`verification.protocol.attestation`).
    `appointment`, signed with `appointment_signature`, says by which terms it is decided whether a tile is
    audited.
    `report` is what a check found, `probe` what a probe measured, `seam` what a finished frame was compared
    with another one for: where they differ, the files are those of the other.
    """

    files: tuple[OutputFile, ...]
    seconds: Seconds
    render_seconds: Seconds
    device_class: DeviceClass
    peak_memory: Size = 0
    device_memory: Size = 0
    pixel_root: Digest | None = None
    signature: Signature | None = None
    appointment: Appointment | None = None
    appointment_signature: Signature | None = None
    report: CheckReport | None = None
    probe: ProbeReport | None = None
    seam: SeamReport | None = None


class FailureCode(StrEnum):
    """Why a task was given back. Only those in SCENE_FAILURES count against the scene. GPU_MEMORY: the scene
    does not fit the slot's GPU; it goes to one with more video memory.
    """

    CRASHED = "crashed"
    HUNG = "hung"
    OUT_OF_MEMORY = "out_of_memory"
    GPU_MEMORY = "gpu_memory"
    BAD_OUTPUT = "bad_output"
    SCENE = "scene"
    DEVICE = "device"
    NODE = "node"
    BAD_INPUT = "bad_input"
    LOST = "lost"


SCENE_FAILURES = frozenset(
    {
        FailureCode.CRASHED,
        FailureCode.HUNG,
        FailureCode.OUT_OF_MEMORY,
        FailureCode.BAD_OUTPUT,
        FailureCode.SCENE,
    }
)
"""A device or node that does not work or is too small, a lost lease or file and a bad tile from elsewhere are
not the scene's fault and may be tried without end."""


@dataclass(frozen=True, slots=True)
class TaskFailure:
    """A node gives a task back. `bad_inputs` names tiles a finish task could not use: they are
    rendered again. `lost` names files of the scene, by their sha256, that the object store did not have.
    """

    code: FailureCode
    message: Sentence
    bad_inputs: tuple[TaskId, ...] = ()
    lost: Annotated[tuple[Digest, ...], msgspec.Meta(max_length=64)] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a leased task is: `done` of `total` samples; both 0 before the first sample."""

    done: Annotated[int, msgspec.Meta(ge=0, le=1 << 24)] = 0
    total: Annotated[int, msgspec.Meta(ge=0, le=1 << 24)] = 0
    activity: Name = ""


@dataclass(frozen=True, slots=True)
class SlotOffer:
    """A free slot asking for work, and what its Blender holds warm. `memory`: bytes of video memory that a
    scene may find on its GPU; 0 where it has none, or nobody says.
    """

    slot: Name
    kinds: tuple[TaskKind, ...]
    device_class: DeviceClass
    warm_scene: SceneId | None = None
    warm_frame: FrameNumber | None = None
    memory: Size = 0


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """A node asks for at most one lease a free slot. `wait` seconds: how long to hold the answer
    open when there is nothing to do (0: answer at once). `refuses`: jobs that it has done as much for as
    it will without a voucher.
    """

    offers: tuple[SlotOffer, ...]
    wait: Annotated[float, msgspec.Meta(ge=0, le=30)] = 0.0
    sandboxed: bool = False
    refuses: Annotated[tuple[JobId, ...], msgspec.Meta(max_length=1000)] = ()


@dataclass(frozen=True, slots=True)
class Beat:
    """One held lease in a heartbeat."""

    task: TaskId
    token: LeaseToken
    progress: Progress = field(default_factory=Progress)


class SlotState(StrEnum):
    """Whether a node's slot can be had. RESTING: its node could not do a task (a full disk, say), and tries
    again after a while. STARTING: its Blender is being loaded, or its GPU's kernels compiled.
    """

    READY = "ready"
    RESTING = "resting"
    STARTING = "starting"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class SlotTrouble:
    """A slot that cannot be had at the moment, and why."""

    slot: Name
    state: SlotState
    reason: Annotated[str, msgspec.Meta(max_length=300)] = ""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """All leases a node holds, and the slots that it cannot use. Renewing is its only effect on leases."""

    beats: Annotated[tuple[Beat, ...], msgspec.Meta(max_length=1024)]
    troubles: Annotated[tuple[SlotTrouble, ...], msgspec.Meta(max_length=1000)] = ()


@dataclass(frozen=True, slots=True)
class HeartbeatAnswer:
    """Tasks in `lost` are no longer the node's: it stops them and submits nothing for them."""

    lost: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True)
class Upload:
    """Where to PUT one file, with the headers the signature covers (sha256 pinned)."""

    name: Name
    url: str
    headers: dict[str, str]


def blob_digests(manifest: Manifest) -> dict[Sha256, int]:
    """Each distinct blob of the manifest with its size in bytes."""
    return {Sha256(blob.sha256): blob.size for blob in manifest.files.values()}
