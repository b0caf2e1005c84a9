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
    about,
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

    sha256: Annotated[Digest, about("sha256 of its bytes, hexadecimal")]
    size: Annotated[Size, about("bytes")]


@dataclass(frozen=True, slots=True)
class Manifest:
    """A scene: relative POSIX paths to blobs. They lie on disk as `frame_splitter.outputs.laid_out_name`
    says.
    """

    main: Annotated[Name, about("path of the .blend to open")]
    files: Annotated[dict[Name, Blob], about("blobs by relative POSIX path")]
    color_config: Annotated[
        Name, about("OCIO configuration: a file, a built-in one, or '' for Blender's own")
    ] = ""


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


Samples = Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
Seed = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
Percentage = Annotated[int, msgspec.Meta(ge=1, le=32767)]

# --- jobs ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RenderSettings:
    """What a job pins, whatever the .blend says."""

    samples: Annotated[Samples, about("samples a pixel")]
    seed: Annotated[Seed, about("seed of the sampling pattern")]
    resolution_percentage: Annotated[Percentage, about("percentage of the file's size")]
    format: Annotated[Name, about("Blender's name of a file format")]


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What the client asks for. None means: as the .blend has it."""

    scene: Annotated[SceneId, about("id of the scene: the digest of its manifest")]
    frames: Annotated[tuple[FrameNumber, ...], about("numbers of the frames, in the order they are wanted")]
    tiles: Annotated[
        str, msgspec.Meta(pattern="^(auto|[0-9]{1,3}x[0-9]{1,3})$"), about("columns x rows, or `auto`")
    ] = "auto"
    samples: Annotated[Samples | None, about("samples a pixel; null: the file's")] = None
    seed: Annotated[Seed | None, about("seed of the sampling pattern; null: the file's")] = None
    resolution_percentage: Annotated[
        Percentage | None, about("percentage of the file's size; null: the file's")
    ] = None
    format: Annotated[Name | None, about("Blender's name of a file format; null: the file's")] = None
    slots: Annotated[int, msgspec.Meta(ge=1, le=100_000), about("slots that `auto` cuts the frames for")] = 1
    priority: Annotated[int, msgspec.Meta(ge=0, le=100), about("from 0 to 100; larger ones first")] = 50
    name: Annotated[Name, about("name for people")] = ""
    exactness: Annotated[Demand, about("how exact it has to be")] = Demand.ANY


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
    """Where a task is on its way (docs/states.md draws the arrows)."""

    WAITING = "waiting"
    READY = "ready"
    LEASED = "leased"
    SUBMITTED = "submitted"
    AUDITING = "auditing"
    ACCEPTED = "accepted"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobState(StrEnum):
    """What a job's tasks, money and intents come to. The store's scripts say it after every change."""

    AWAITING_FUNDS = "awaiting_funds"
    RENDERING = "rendering"
    PAUSED = "paused"
    FINISHING = "finishing"
    COMPLETE = "complete"
    SETTLED = "settled"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL_JOB_STATES = frozenset({JobState.COMPLETE, JobState.SETTLED, JobState.FAILED, JobState.CANCELLED})


@dataclass(frozen=True, slots=True)
class Task:
    """One unit of work: a part of a frame, rendered a little wider (within the rendered area) and cut back
    before it is submitted.
    """

    id: Annotated[TaskId, about("id of the task; it begins with the job's and a point")]
    job: Annotated[JobId, about("id of the job")]
    kind: Annotated[TaskKind, about("what is to be done")]
    frame: Annotated[FrameNumber, about("number of the frame")]
    tile: Annotated[Tile, about("the part of the frame it answers for")]
    overscan: Annotated[Pixels, about("pixels rendered beyond the tile on every side, and cut off again")] = 0
    output: Annotated[TaskOutput, about("whether Blender writes the files itself")] = TaskOutput.LINEAR


@dataclass(frozen=True, slots=True)
class TileInput:
    """One accepted tile a finish task starts from."""

    task: Annotated[TaskId, about("id of the task")]
    tile: Annotated[Tile, about("the part of the frame")]
    file: Annotated[StoredFile, about("its linear EXR")]


@dataclass(frozen=True, slots=True)
class Lease:
    """A task held by a node for some seconds, under a fencing token. The child is given all of its
    rectangles.
    """

    task: Annotated[Task, about("the task")]
    token: Annotated[LeaseToken, about("fencing token of the lease")]
    slot: Annotated[Name, about("the node's slot it is for")]
    expires_in: Annotated[Seconds, about("seconds until it ends, if it is not renewed")]
    scene: Annotated[SceneId, about("id of the scene: the digest of its manifest")]
    owner: Annotated[OwnerId, about("id of the owner whose scene it is")]
    settings: Annotated[RenderSettings, about("what the job pins")]
    width: Annotated[Pixels, about("width of the whole frame in pixels, after the percentage")]
    height: Annotated[Pixels, about("height of the whole frame in pixels, after the percentage")]
    area: Annotated[Tile, about("the part of the frame that is rendered; tasks' tiles lie in it")]
    canvas: Annotated[Tile, about("what the file covers: the area where a border crops, else the frame")]
    inputs: Annotated[
        tuple[TileInput, ...], about("tiles a frame is made of, or the one a check looks at")
    ] = ()
    audit: Annotated[AuditOrder | None, about("what an audit renders")] = None
    check: Annotated[CheckOrder | None, about("what a check looks at")] = None
    probe: Annotated[ProbeOrder | None, about("what a probe renders")] = None
    agreement: Annotated[
        str,
        msgspec.Meta(pattern="^([0-9a-f]{64})?$", max_length=64),
        about("id of the agreement it is paid under, '' where it is not"),
    ] = ""
    units: Annotated[int, msgspec.Meta(ge=0, le=1 << 53), about("micro-units it counts as when paid")] = 0
    seam: Annotated[bool, about("whether it is compared with plain Blender's whole frame")] = False
    fresh: Annotated[bool, about("whether an audit needs a Blender that opens the scene for it")] = False
    asked: Annotated[
        Annotated[tuple[Name, ...], msgspec.Meta(max_length=16)] | None,
        about("settings the artist asked for; all others stay the file's; null: those that differ"),
    ] = None


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file a task produced: its own (`tile.exr`, or the frame itself), or a File Output node's."""

    name: Annotated[Name, about("relative path, POSIX; the first file is the task's own")]
    sha256: Annotated[Digest, about("sha256 of its bytes, hexadecimal")]
    size: Annotated[Size, about("bytes")]


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What a node submits. Where a seam differs, the files are those of the frame that was rendered whole."""

    files: Annotated[tuple[OutputFile, ...], about("what was made, the task's own file first")]
    seconds: Annotated[Seconds, about("seconds that the task took")]
    render_seconds: Annotated[Seconds, about("pure Cycles time, seconds")]
    device_class: Annotated[DeviceClass, about("the kind of device, by which bits are equal")]
    peak_memory: Annotated[Size, about("the most bytes that Blender held")] = 0
    device_memory: Annotated[Size, about("the most bytes that Cycles held on its device")] = 0
    pixel_root: Annotated[Digest | None, about("Merkle root over decoded pixels, or the files' sha256")] = (
        None
    )
    signature: Annotated[Signature | None, about("the node's, over the attestation made of this")] = None
    appointment: Annotated[Appointment | None, about("terms by which it is decided whether to audit it")] = (
        None
    )
    appointment_signature: Annotated[Signature | None, about("the node's over the appointment")] = None
    report: Annotated[CheckReport | None, about("what a check found")] = None
    probe: Annotated[ProbeReport | None, about("what a probe measured")] = None
    seam: Annotated[SeamReport | None, about("what a frame was compared with one rendered whole for")] = None


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
    """A node gives a task back."""

    code: Annotated[FailureCode, about("what went wrong, for programs")]
    message: Annotated[Sentence, about("what went wrong, for people")]
    bad_inputs: Annotated[tuple[TaskId, ...], about("tiles that have to be rendered again")] = ()
    lost: Annotated[
        tuple[Digest, ...],
        msgspec.Meta(max_length=64),
        about("files of the scene that the object store did not have, by sha256"),
    ] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a leased task is: `done` of `total` samples; both 0 before the first sample."""

    done: Annotated[int, msgspec.Meta(ge=0, le=1 << 24), about("samples that are done")] = 0
    total: Annotated[int, msgspec.Meta(ge=0, le=1 << 24), about("samples in all; 0 before the first")] = 0
    activity: Annotated[Name, about("what is done at the moment, for people")] = ""


@dataclass(frozen=True, slots=True)
class SlotOffer:
    """A free slot asking for work, and what its Blender holds warm."""

    slot: Annotated[Name, about("the free slot")]
    kinds: Annotated[tuple[TaskKind, ...], about("what it may be given")]
    device_class: Annotated[DeviceClass, about("the kind of device, by which bits are equal")]
    warm_scene: Annotated[SceneId | None, about("scene that its Blender has open")] = None
    warm_frame: Annotated[FrameNumber | None, about("frame that its Blender has open")] = None
    memory: Annotated[Size, about("free bytes of video memory; 0: none, or nobody knows")] = 0


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """A node asks for at most one lease a free slot."""

    offers: Annotated[tuple[SlotOffer, ...], about("the free slots, one lease for each at most")]
    wait: Annotated[
        float,
        msgspec.Meta(ge=0, le=30),
        about("for how many seconds the answer is held open where there is nothing to do"),
    ] = 0.0
    sandboxed: Annotated[bool, about("whether Blender runs in a sandbox")] = False
    refuses: Annotated[
        tuple[JobId, ...],
        msgspec.Meta(max_length=1000),
        about("jobs it has done as much for as it will without a voucher"),
    ] = ()


@dataclass(frozen=True, slots=True)
class Beat:
    """One held lease in a heartbeat."""

    task: Annotated[TaskId, about("id of the task")]
    token: Annotated[LeaseToken, about("fencing token of the lease")]
    progress: Annotated[Progress, about("how far it is")] = field(default_factory=Progress)


class SlotState(StrEnum):
    """Whether a node's slot is available. RESTING: its node could not do a task (a full disk, say), and tries
    again after a while. STARTING: its Blender is being loaded, or its GPU's kernels compiled.
    """

    READY = "ready"
    RESTING = "resting"
    STARTING = "starting"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class SlotTrouble:
    """Slot that is unavailable at the moment, and why."""

    slot: Annotated[Name, about("the slot")]
    state: Annotated[SlotState, about("starting, resting, and the like")]
    reason: Annotated[str, msgspec.Meta(max_length=300), about("why it is unavailable, for people")] = ""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """All leases a node holds, and the slots that it cannot use. Renewing is its only effect on leases."""

    beats: Annotated[tuple[Beat, ...], msgspec.Meta(max_length=1024), about("all leases that the node holds")]
    troubles: Annotated[
        tuple[SlotTrouble, ...], msgspec.Meta(max_length=1000), about("slots that it cannot use")
    ] = ()


@dataclass(frozen=True, slots=True)
class HeartbeatAnswer:
    """Tasks in `lost` are no longer the node's: it stops them and submits nothing for them."""

    lost: Annotated[tuple[TaskId, ...], about("tasks that are no longer the node's: it stops them")]


@dataclass(frozen=True, slots=True)
class Upload:
    """Where to PUT one file, with the headers the signature covers (sha256 pinned)."""

    name: Annotated[Name, about("relative path of the file, POSIX")]
    url: Annotated[str, about("link that holds for 15 minutes")]
    headers: Annotated[dict[str, str], about("headers that the link's signature covers, by name")]


def blob_digests(manifest: Manifest) -> dict[Sha256, int]:
    """Each distinct blob of the manifest with its size in bytes."""
    return {Sha256(blob.sha256): blob.size for blob in manifest.files.values()}
