# SPDX-License-Identifier: GPL-3.0-or-later
"""What the coordinator answers, as records of the client's side (docs/architecture.md names them).

Fields a newer coordinator adds are ignored.
"""

from dataclasses import dataclass, field
from typing import Any

from frame_splitter.ids import JobId, NodeId, SceneId
from frame_splitter.records import (
    Digest,
    JobSpec,
    JobState,
    Name,
    RenderSettings,
    Size,
    StoredFile,
    Task,
)

FINAL_STATES = frozenset({JobState.COMPLETE, JobState.FAILED, JobState.CANCELLED})


@dataclass(frozen=True, slots=True)
class MissingBlob:
    """A blob the farm wants uploaded: PUT to `url` with `headers`."""

    sha256: Digest
    size: Size
    url: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SceneOffer:
    """The answer to a manifest."""

    scene: SceneId
    sealed: bool
    missing: tuple[MissingBlob, ...] = ()


@dataclass(frozen=True, slots=True)
class Counts:
    """How many frames or tasks a job has in which state."""

    total: int = 0
    done: int = 0
    ready: int = 0
    leased: int = 0
    accepted: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the coordinator shows it. `render_seconds` is pure render time of all its tasks,
    `created` seconds since 1970, `failure` a sentence where it failed.
    """

    job: JobId
    name: str
    state: JobState
    scene: SceneId
    spec: JobSpec
    settings: RenderSettings
    exactness: str
    reason: str
    fingerprint: str
    frames: Counts
    tasks: Counts
    extension: str
    width: int = 0
    height: int = 0
    created: Any = None
    device_class: str | None = None
    render_seconds: float = 0.0
    failure: str | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in FINAL_STATES


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a job; `files` holds the frame itself first, then what File Output nodes wrote."""

    frame: int
    state: str
    files: tuple[StoredFile, ...] = ()
    tiles: int = 1
    tiles_accepted: int = 0
    render_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task with its state and what became of its attempts."""

    task: Task
    state: str
    node: str | None = None
    attempts: int = 0
    failures: tuple[Any, ...] = ()
    progress: Any = None


@dataclass(frozen=True, slots=True)
class Slot:
    """One place of a node where a task can run."""

    slot: str
    task: str | None = None
    progress: Any = None


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the farm."""

    node: NodeId
    name: str
    own: bool = False
    online: bool = False
    last_seen: Any = None
    sandboxed: bool = False
    device_class: str | None = None
    slots: tuple[Slot, ...] = ()


@dataclass(frozen=True, slots=True)
class NewNode:
    """A node just added; its token is shown this once."""

    node: NodeId
    name: Name
    token: str


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the coordinator and what it stands on answer."""

    status: str
    version: str = ""
    store: bool = False
    objects: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a job: `kind` is job, task, progress or frame."""

    id: str
    kind: str
    data: bytes


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """A task changed its state."""

    task: str
    kind: str
    frame: int
    state: str
    node: str | None = None
    slot: str | None = None
    detail: Any = None


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """A leased task is `done` of `total` samples far."""

    task: str
    frame: int
    done: int = 0
    total: int = 0
    node: str | None = None
    slot: str | None = None
