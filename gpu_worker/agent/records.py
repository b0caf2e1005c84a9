# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent needs of others, and what it keeps of its slots and leases."""

import threading
import time
from dataclasses import dataclass, field
from typing import Protocol

from farm_protocol.appointments import AuditTerms
from farm_protocol.ids import JobId, SceneId
from farm_protocol.node_answers import SubmitAnswer
from farm_protocol.records import (
    Heartbeat,
    HeartbeatAnswer,
    Lease,
    LeaseRequest,
    OutputFile,
    Progress,
    SlotOffer,
    TaskFailure,
    TaskKind,
    TaskResult,
    Upload,
)
from gpu_worker.slot.checking import Rendered
from gpu_worker.slot.readiness import Prepared, SlotInfo


class Node(Protocol):
    """The coordinator, as the agent needs it."""

    def lease(self, request: LeaseRequest) -> tuple[Lease, ...]:
        """Ask for work."""

    def heartbeat(self, heartbeat: Heartbeat) -> HeartbeatAnswer:
        """Renew leases."""

    def uploads(self, lease: Lease, files: tuple[OutputFile, ...]) -> tuple[Upload, ...]:
        """Where to put files."""

    def terms(self, lease: Lease, attempt: int) -> AuditTerms:
        """By what it will be decided whether a tile is audited."""

    def submit(self, lease: Lease, result: TaskResult) -> SubmitAnswer:
        """Hand a result in."""

    def give_back(self, lease: Lease, failure: TaskFailure, tries: int | None = None) -> None:
        """Give a task back."""

    def close(self) -> None:
        """Stop waiting between tries."""


class RunningSlot(Protocol):
    """A slot, wherever its process is. All methods may be called from any thread while it runs a task."""

    name: str
    kinds: tuple[TaskKind, ...]

    def describe(self) -> SlotInfo:
        """Wait until its Blender has loaded."""

    def prepare(self, doubt: str = "") -> Prepared:
        """How far its GPU is, at once; `doubt` says why it is to be looked at again."""

    def run(self, lease: Lease) -> Rendered | TaskFailure:
        """Have Blender do a task."""

    def settle(self, lease: Lease, rendered: Rendered) -> TaskResult | TaskFailure:
        """Check what Blender left."""

    def deliver(self, lease: Lease, uploads: tuple[Upload, ...]) -> None:
        """Upload a finished task's files."""

    def discard(self, lease: Lease) -> None:
        """Forget a finished task's files."""

    def progress(self) -> Progress:
        """How far the current task is."""

    def cancel(self, lease: Lease) -> None:
        """Stop a task."""

    def restart(self, reason: str) -> None:
        """End its process and start another; calls that wait for the old one fail with `reason`."""


class Seller(Protocol):
    """What a node that sells says to leases."""

    def refused(self) -> tuple[JobId, ...]:
        """Jobs that it wants no work of now."""

    def objection(self, lease: Lease) -> str:
        """Why it does not work on a lease; '' where it does. May wait for a promise that is on its way."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The agent's times, in seconds. `wait`: how long the coordinator may hold a request for work open;
    `silence`: how long a slot with a task may not answer (a Blender that says nothing is no such silence);
    `store_away`: how long uploads are tried; `drain`: how long finished work may still be delivered.
    """

    wait: float = 10.0
    beat: float = 1.0
    silence: float = 60.0
    retry: float = 10.0
    rest: float = 60.0
    store_away: float = 300.0
    drain: float = 8.0


@dataclass(slots=True)
class Held:
    """A lease this node holds. `delivering` once its slot is done with it; `heard`: when its slot answered
    last, by the monotonic clock.
    """

    lease: Lease
    slot: RunningSlot
    heard: float = field(default_factory=time.monotonic)
    progress: Progress = field(default_factory=Progress)
    delivering: bool = False
    lost: threading.Event = field(default_factory=threading.Event)


@dataclass(slots=True)
class Bench:
    """A slot as the agent sees it between tasks: what it has warm, and how often it failed lately."""

    slot: RunningSlot
    info: SlotInfo
    warm_scene: SceneId | None = None
    warm_frame: int | None = None
    failures: int = 0

    def offer(self) -> SlotOffer:
        """What to ask the coordinator with."""
        info = self.info
        return SlotOffer(
            self.slot.name, self.slot.kinds, info.device_class, self.warm_scene, self.warm_frame, info.memory
        )
