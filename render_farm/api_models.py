# SPDX-License-Identifier: GPL-3.0-or-later
"""What the API answers beyond the records of `farm_protocol`, as docs/http.md names it.

`farm_protocol.records.encode` writes them; a client may `decode` into them.
"""

from dataclasses import dataclass
from typing import Any

from farm_protocol.fields import Sentence, StoredFile
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
    """Whether the parts the coordinator stands on answer. `time` is the farm's, in seconds since the epoch;
    `notices` are sentences about what is odd though all goes on.
    """

    status: str
    version: str
    store: bool
    objects: bool
    time: float = 0.0
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NewOwner:
    """An owner and its token, which is shown this once."""

    owner: OwnerId
    token: str


@dataclass(frozen=True, slots=True)
class OwnerView:
    """An owner: whose jobs and nodes are kept apart from others'. `standing` is what audits of its nodes'
    work have shown; the farm's operator is the owner `admin`.
    """

    owner: OwnerId
    name: str
    nodes: int
    standing: Standing


@dataclass(frozen=True, slots=True)
class OwnerList:
    """All owners, for the farm's operator."""

    owners: tuple[OwnerView, ...]


@dataclass(frozen=True, slots=True)
class OwnerRemoved:
    """An owner whose tokens no longer work, and the nodes that were its."""

    owner: OwnerId
    nodes: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class TokenView:
    """A token that works: whose it is (`node` '' where it is the owner's own), and when it was made, last
    used (within half a minute) and ends, in seconds since the epoch; None where that is not known, or never.
    """

    id: str
    role: str
    owner: OwnerId
    node: NodeId
    made: float | None
    used: float | None
    ends: float | None


@dataclass(frozen=True, slots=True)
class TokenList:
    """Tokens, the newest last."""

    tokens: tuple[TokenView, ...]


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token in place of another, shown this once; the other works for `overlap_seconds` more."""

    id: str
    owner: OwnerId
    node: NodeId
    token: str
    overlap_seconds: int


@dataclass(frozen=True, slots=True)
class NewNode:
    """A node of an owner and its token, which is shown this once."""

    node: NodeId
    name: str
    token: str
    owner: str = ""


@dataclass(frozen=True, slots=True)
class SlotView:
    """A slot and what it does now; `reason` says why it is not ready."""

    slot: str
    task: TaskId | None
    progress: Progress | None
    state: SlotState = SlotState.READY
    reason: str = ""


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node; `last_seen` in seconds since the epoch, null when never. `audit_rate` is the chance in a
    million that its next tile is audited; `owner` is whose node it is. `held_back`: why it gets no leases
    at the moment, '' where it does.
    """

    node: NodeId
    name: str
    own: bool
    online: bool
    last_seen: float | None
    sandboxed: bool
    device_class: str
    slots: tuple[SlotView, ...]
    standing: Standing | None = None
    audit_rate: int | None = None
    owner: str = ""
    held_back: str = ""


@dataclass(frozen=True, slots=True)
class NodeList:
    """The caller's nodes; the admin's are all."""

    nodes: tuple[NodeView, ...]


@dataclass(frozen=True, slots=True)
class MissingBlob:
    """A blob to PUT, with the headers the signature covers."""

    sha256: str
    size: int
    url: str
    headers: Place


@dataclass(frozen=True, slots=True)
class SceneAnswer:
    """A scene, whether it is sealed, and which blobs are still to be uploaded."""

    scene: SceneId
    sealed: bool
    missing: tuple[MissingBlob, ...] = ()


@dataclass(frozen=True, slots=True)
class SealAnswer:
    """A sealed scene: jobs may use it."""

    scene: SceneId
    sealed: bool


@dataclass(frozen=True, slots=True)
class FrameCounts:
    """A job's frames in numbers."""

    total: int
    done: int
    failed: int


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """A job's tasks in numbers; those waiting or cancelled are the rest of the total."""

    total: int
    ready: int
    leased: int
    accepted: int
    failed: int


@dataclass(frozen=True, slots=True)
class AuditCounts:
    """A job's audits in numbers: submissions audited so far, and how those ended that have a verdict."""

    audited: int = 0
    passed: int = 0
    rejected: int = 0
    unresolved: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """A job. `exactness`: that of the device class it is rendered on, and the least that it may be while
    another may follow; `promise` says it in words. `created` in seconds since the epoch, `width` and `height`
    of a whole frame in pixels. `lacks`: which files of its scene the farm has lost, so that it waits until
    they are sent again; `fallback`: why its frames are rendered whole, since `fallback_at`; `waiting`: why
    nobody may take any of its tasks now; '' where that is not so.
    """

    job: JobId
    owner: OwnerId
    name: str
    state: JobState
    scene: SceneId
    spec: JobSpec
    settings: RenderSettings
    exactness: Exactness
    reason: str
    fingerprint: str
    created: float
    frames: FrameCounts
    tasks: TaskCounts
    device_class: str | None
    extension: str
    width: int
    height: int
    render_seconds: float
    failure: str | None
    audits: AuditCounts = AuditCounts()
    money: JobMoney | None = None
    lacks: str = ""
    fallback: Sentence = ""
    fallback_at: float | None = None
    waiting: Sentence = ""
    promise: str = ""


@dataclass(frozen=True, slots=True)
class TermsAnswer:
    """A paid job's terms, and the chain they are for."""

    terms: Signed[Terms]
    network: Network


@dataclass(frozen=True, slots=True)
class FarmView(FarmRules):
    """A farm's identity and rules, and where it settles; null where it takes no payments. Its links lead to
    `objects` (scheme://host:port).
    """

    network: Network | None = None
    objects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobList:
    """Jobs, newest first."""

    jobs: tuple[Job, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a job: `state` is rendering, done, failed or cancelled."""

    frame: int
    state: str
    tiles: int
    tiles_accepted: int
    render_seconds: float
    files: tuple[StoredFile, ...]


@dataclass(frozen=True, slots=True)
class FrameList:
    """Frames of a job in its order; `more`: there are some after these."""

    frames: tuple[Frame, ...]
    more: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task was given back, by whom and when (seconds since the epoch)."""

    code: FailureCode
    message: Sentence
    node: NodeId
    at: float


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task, where it is on its way, and what went wrong with it so far."""

    task: Task
    state: TaskState
    node: NodeId | None
    attempts: int
    failures: tuple[Failure, ...]
    progress: Progress


@dataclass(frozen=True, slots=True)
class TaskList:
    """Tasks of a job in order; `more`: there are some after these."""

    tasks: tuple[TaskView, ...]
    more: bool = False


@dataclass(frozen=True, slots=True)
class Share:
    """How much of something an owner has, and may have (None: any amount)."""

    used: int
    most: int | None


@dataclass(frozen=True, slots=True)
class QuotaView:
    """What an owner may have. `jobs` and `tasks` are unfinished ones, `bytes` those of scenes, brought or
    asked links for, `quotes` those in the making, `streams` open event streams; `priority` is the highest a
    job may have, `retention` after how many seconds ended jobs and unused scenes are deleted (0: never).
    """

    jobs: Share
    tasks: Share
    bytes: Share
    nodes: Share
    quotes: Share
    streams: Share
    priority: int
    retention: float


Event = dict[str, Any]
"""The data of an event; docs/http.md names its fields by kind."""
