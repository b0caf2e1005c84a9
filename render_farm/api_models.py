# SPDX-License-Identifier: GPL-3.0-or-later
"""What the API answers beyond the records of `farm_protocol`, as docs/http.md names it.

`farm_protocol.records.encode` writes them; a client may `decode` into them.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from farm_protocol.fields import Sentence, StoredFile, about
from farm_protocol.ids import JobId, NodeId, OwnerId, SceneId, TaskId
from farm_protocol.records import (
    Exactness,
    FailureCode,
    JobSpec,
    JobState,
    Progress,
    RenderSettings,
    SlotState,
    Task,
    TaskState,
)
from payments.messages.network import Network
from payments.messages.promises import Signed, Terms
from payments.messages.statements import JobMoney
from verification.audit.rate import Standing
from verification.audit.records import FarmRules

Place = dict[str, str]
"""Headers by name."""


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the parts the coordinator stands on answer."""

    status: Annotated[str, about("`ok`, or `degraded`")]
    version: Annotated[str, about("version of the farm")]
    store: Annotated[bool, about("whether the store answers")]
    objects: Annotated[bool, about("whether the object store answers")]
    time: Annotated[float, about("the farm's time, seconds since the epoch")] = 0.0
    notices: Annotated[tuple[str, ...], about("what is odd though all goes on, in sentences")] = ()


@dataclass(frozen=True, slots=True)
class NewOwner:
    """An owner and its token, which is shown this once."""

    owner: Annotated[OwnerId, about("id of the owner")]
    token: Annotated[str, about("its token, shown this once")]


@dataclass(frozen=True, slots=True)
class OwnerView:
    """An owner: whose jobs and nodes are kept apart from others'."""

    owner: Annotated[OwnerId, about("id of the owner")]
    name: Annotated[str, about("name for people")]
    nodes: Annotated[int, about("how many nodes it has")]
    standing: Annotated[Standing, about("what audits of its nodes' work have shown")]


@dataclass(frozen=True, slots=True)
class OwnerList:
    """All owners, for the farm's operator."""

    owners: Annotated[tuple[OwnerView, ...], about("all owners, the operator (`admin`) first")]


@dataclass(frozen=True, slots=True)
class OwnerRemoved:
    """An owner whose tokens no longer work, and the nodes that were its."""

    owner: Annotated[OwnerId, about("id of the owner")]
    nodes: Annotated[tuple[NodeId, ...], about("the nodes that were its")]


@dataclass(frozen=True, slots=True)
class TokenView:
    """A token that works."""

    id: Annotated[str, about("id of the token: the beginning of its digest")]
    role: Annotated[str, about("admin, owner or node")]
    owner: Annotated[OwnerId, about("id of the owner")]
    node: Annotated[NodeId, about("id of the node, '' where it is the owner's own")]
    made: Annotated[float | None, about("when it was made, seconds since the epoch; null: not known")]
    used: Annotated[
        float | None,
        about("when it was last used, within half a minute, seconds since the epoch; null: never"),
    ]
    ends: Annotated[float | None, about("when it ends, seconds since the epoch; null: never")]


@dataclass(frozen=True, slots=True)
class TokenList:
    """Tokens, the newest last."""

    tokens: Annotated[tuple[TokenView, ...], about("tokens that work, the newest last")]


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token in place of another."""

    id: Annotated[str, about("id of the new token")]
    owner: Annotated[OwnerId, about("id of the owner")]
    node: Annotated[NodeId, about("id of the node, '' where it is the owner's own")]
    token: Annotated[str, about("the token, shown this once")]
    overlap_seconds: Annotated[int, about("for how many seconds the old one still works")]


@dataclass(frozen=True, slots=True)
class NewNode:
    """A node of an owner and its token, which is shown this once."""

    node: Annotated[NodeId, about("id of the node")]
    name: Annotated[str, about("name for people")]
    token: Annotated[str, about("its token, shown this once")]
    owner: Annotated[str, about("id of the owner whose node it is")] = ""


@dataclass(frozen=True, slots=True)
class SlotView:
    """A slot and what it does now; `reason` says why it is not ready."""

    slot: Annotated[str, about("the slot")]
    task: Annotated[TaskId | None, about("id of the task it is on; null: none")]
    progress: Annotated[Progress | None, about("how far that is")]
    state: Annotated[SlotState, about("whether it is available")] = SlotState.READY
    reason: Annotated[str, about("why it cannot, '' where it can")] = ""


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node, and what it does."""

    node: Annotated[NodeId, about("id of the node")]
    name: Annotated[str, about("name for people")]
    own: Annotated[bool, about("whether the farm's operator runs and trusts it")]
    online: Annotated[bool, about("whether it was heard of lately")]
    last_seen: Annotated[
        float | None, about("when it was heard of last, seconds since the epoch; null: never")
    ]
    sandboxed: Annotated[bool, about("whether its Blenders run in a sandbox")]
    device_class: Annotated[str, about("the kind of its device")]
    slots: Annotated[tuple[SlotView, ...], about("its slots, and what they do")]
    standing: Annotated[Standing | None, about("what audits of its work have shown")] = None
    audit_rate: Annotated[int | None, about("chance in a million that its next tile is audited")] = None
    owner: Annotated[str, about("id of the owner whose node it is")] = ""
    held_back: Annotated[str, about("why it gets no leases at the moment, '' where it does")] = ""


@dataclass(frozen=True, slots=True)
class NodeList:
    """The caller's nodes; the admin's are all."""

    nodes: Annotated[tuple[NodeView, ...], about("the caller's nodes; the operator's are all")]


@dataclass(frozen=True, slots=True)
class MissingBlob:
    """A blob to PUT, with the headers the signature covers."""

    sha256: Annotated[str, about("sha256 of its bytes, hexadecimal")]
    size: Annotated[int, about("bytes")]
    url: Annotated[str, about("link to PUT it to")]
    headers: Annotated[Place, about("headers that the link's signature covers, by name")]


@dataclass(frozen=True, slots=True)
class SceneAnswer:
    """A scene, whether it is sealed, and which blobs are still to be uploaded."""

    scene: Annotated[SceneId, about("id of the scene: the digest of its manifest")]
    sealed: Annotated[bool, about("whether jobs may use it")]
    missing: Annotated[tuple[MissingBlob, ...], about("blobs that are still to be sent")] = ()


@dataclass(frozen=True, slots=True)
class SealAnswer:
    """A sealed scene: jobs may use it."""

    scene: Annotated[SceneId, about("id of the scene: the digest of its manifest")]
    sealed: Annotated[bool, about("whether jobs may use it")]


@dataclass(frozen=True, slots=True)
class FrameCounts:
    """A job's frames in numbers."""

    total: Annotated[int, about("all")]
    done: Annotated[int, about("those that are there")]
    failed: Annotated[int, about("those that failed")]


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """A job's tasks in numbers; those waiting or cancelled are the rest of the total."""

    total: Annotated[int, about("all, those that wait or were cancelled among them")]
    ready: Annotated[int, about("those that a node may take")]
    leased: Annotated[int, about("those that a node holds")]
    accepted: Annotated[int, about("those that are done")]
    failed: Annotated[int, about("those that failed")]


@dataclass(frozen=True, slots=True)
class AuditCounts:
    """A job's audits in numbers."""

    audited: Annotated[int, about("submissions that were audited so far")] = 0
    passed: Annotated[int, about("those that were accepted")] = 0
    rejected: Annotated[int, about("those that were rejected")] = 0
    unresolved: Annotated[int, about("those of which nobody can say")] = 0


@dataclass(frozen=True, slots=True)
class Job:
    """A job, as its owner sees it."""

    job: Annotated[JobId, about("id of the job")]
    owner: Annotated[OwnerId, about("id of the owner")]
    name: Annotated[str, about("name for people")]
    state: Annotated[JobState, about("where it is on its way")]
    scene: Annotated[SceneId, about("id of the scene: the digest of its manifest")]
    spec: Annotated[JobSpec, about("what the client asked for")]
    settings: Annotated[RenderSettings, about("what the job pins")]
    exactness: Annotated[
        Exactness, about("exactness on its device class; the least it may be while another may follow")
    ]
    reason: Annotated[str, about("why it is that exact, for people")]
    fingerprint: Annotated[str, about("sha256 over scene and spec, by which the same job is found again")]
    created: Annotated[float, about("when it was made, seconds since the epoch")]
    frames: Annotated[FrameCounts, about("its frames in numbers")]
    tasks: Annotated[TaskCounts, about("its tasks in numbers")]
    device_class: Annotated[str | None, about("the kind of device it is rendered on; null: not known yet")]
    extension: Annotated[str, about("ending of its files, with the dot")]
    width: Annotated[int, about("width of a whole frame in pixels")]
    height: Annotated[int, about("height of a whole frame in pixels")]
    render_seconds: Annotated[float, about("pure Cycles time, seconds")]
    failure: Annotated[str | None, about("why it failed, for people; null where it did not")]
    audits: Annotated[AuditCounts, about("its audits in numbers")] = AuditCounts()
    money: Annotated[JobMoney | None, about("its money; null: it is free")] = None
    lacks: Annotated[str, about("which files of its scene the farm lost and waits for, '' where none")] = ""
    fallback: Annotated[Sentence, about("why its frames are rendered whole, '' where they are not")] = ""
    fallback_at: Annotated[float | None, about("since when they are, seconds since the epoch")] = None
    waiting: Annotated[Sentence, about("why nobody may take any of its tasks now, '' where somebody may")] = (
        ""
    )
    promise: Annotated[str, about("its exactness in words")] = ""


@dataclass(frozen=True, slots=True)
class TermsAnswer:
    """A paid job's terms, and the chain they are for."""

    terms: Annotated[Signed[Terms], about("the job's terms, signed by the farm")]
    network: Annotated[Network, about("the chain they are for")]


@dataclass(frozen=True, slots=True)
class FarmView(FarmRules):
    """A farm's identity and rules, and where it settles; null where it takes no payments. Its links lead to
    `objects` (scheme://host:port).
    """

    network: Annotated[Network | None, about("where it settles; null: it takes no payments")] = None
    objects: Annotated[tuple[str, ...], about("where its links lead (scheme://host:port)")] = ()


@dataclass(frozen=True, slots=True)
class JobList:
    """Jobs, newest first."""

    jobs: Annotated[tuple[Job, ...], about("jobs, the newest first")]


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a job."""

    frame: Annotated[int, about("number of the frame")]
    state: Annotated[str, about("rendering, done, failed or cancelled")]
    tiles: Annotated[int, about("tiles it is made of")]
    tiles_accepted: Annotated[int, about("tiles that are accepted")]
    render_seconds: Annotated[float, about("pure Cycles time, seconds")]
    files: Annotated[tuple[StoredFile, ...], about("its files, with links; the frame first")]


@dataclass(frozen=True, slots=True)
class FrameList:
    """Frames of a job."""

    frames: Annotated[tuple[Frame, ...], about("frames in the job's order")]
    more: Annotated[bool, about("whether there are some after these")] = False


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task was given back."""

    code: Annotated[FailureCode, about("what went wrong, for programs")]
    message: Annotated[Sentence, about("what went wrong, for people")]
    node: Annotated[NodeId, about("id of the node")]
    at: Annotated[float, about("when, seconds since the epoch")]


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task, where it is on its way, and what went wrong with it so far."""

    task: Annotated[Task, about("the task")]
    state: Annotated[TaskState, about("where it is on its way")]
    node: Annotated[NodeId | None, about("id of the node that has it")]
    attempts: Annotated[int, about("how often it was leased")]
    failures: Annotated[tuple[Failure, ...], about("what went wrong with it so far")]
    progress: Annotated[Progress, about("how far it is")]


@dataclass(frozen=True, slots=True)
class TaskList:
    """Tasks of a job."""

    tasks: Annotated[tuple[TaskView, ...], about("tasks in the job's order")]
    more: Annotated[bool, about("whether there are some after these")] = False


@dataclass(frozen=True, slots=True)
class Share:
    """How much of something an owner has, and may have."""

    used: Annotated[int, about("how much there is")]
    most: Annotated[int | None, about("how much there may be; null: any amount")]


@dataclass(frozen=True, slots=True)
class QuotaView:
    """What an owner has, and may have."""

    jobs: Annotated[Share, about("unfinished jobs")]
    tasks: Annotated[Share, about("tasks of unfinished jobs")]
    bytes: Annotated[Share, about("bytes of scenes, brought or asked links for")]
    nodes: Annotated[Share, about("nodes")]
    quotes: Annotated[Share, about("quotes in the making")]
    streams: Annotated[Share, about("open event streams")]
    priority: Annotated[int, about("the highest that a job may have")]
    retention: Annotated[
        float, about("seconds after which ended jobs and unused scenes are deleted; 0: never")
    ]


Event = dict[str, Any]
"""The data of an event; docs/http.md names its fields by kind."""
