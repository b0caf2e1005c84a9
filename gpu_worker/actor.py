# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs in a slot's process: the slot, its cache, and its way to the coordinator."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from farm_protocol.links import Links
from farm_protocol.records import Lease, Progress, TaskFailure, TaskResult, Upload
from gpu_worker import removal, transfer
from gpu_worker.checking import Rendered
from gpu_worker.coordinator import Coordinator
from gpu_worker.folders import private_folder
from gpu_worker.handed_over import fetcher
from gpu_worker.logs import configure_logs
from gpu_worker.readiness import Prepared, SlotInfo
from gpu_worker.scene_cache import SceneCache
from gpu_worker.slot import Slot, SlotPlan


@dataclass(frozen=True, slots=True)
class SlotOrder:
    """All a slot's process needs to know; it is sent to whatever machine the process starts on."""

    plan: SlotPlan
    cache_folder: Path
    cache_bytes: int
    coordinator: str
    token: str
    handed_over: Path | None = None
    links: Links = field(default_factory=Links)


class SlotActor:
    """A slot in a process of its own. `fresh`: the node has just started, so whatever lies in the slot's
    folder was left by another life; otherwise finished files wait there for delivery.
    """

    def __init__(self, order: SlotOrder, fresh: bool) -> None:
        configure_logs()
        # The node's folder is closed to other users; in it, those that its sandboxes run as must read.
        os.umask(0o022)
        if fresh:
            removal.remove(order.plan.folder)
        transfer.follow(order.links)
        # Those inside may be open: sandboxes run as other users, and see them by their mounts.
        for folder in (order.cache_folder, order.plan.folder.parent):
            private_folder(folder)
        cache = SceneCache(
            order.cache_folder,
            order.cache_bytes,
            fetcher(order.handed_over),
            strict=order.plan.owner is not None,
        )
        source = Coordinator(order.coordinator, order.token, ca_file=order.links.ca_file)
        self._slot = Slot(order.plan, cache, source)

    def describe(self) -> SlotInfo:
        """Wait until Blender has loaded."""
        return self._slot.describe()

    def prepare(self, doubt: str = "") -> Prepared:
        """How far its GPU is."""
        return self._slot.prepare(doubt)

    def run(self, lease: Lease) -> Rendered | TaskFailure:
        """Do a task."""
        return self._slot.run(lease)

    def settle(self, lease: Lease, rendered: Rendered) -> TaskResult | TaskFailure:
        """Check what a task left."""
        return self._slot.settle(lease, rendered)

    def deliver(self, lease: Lease, uploads: tuple[Upload, ...]) -> None:
        """Upload a finished task's files."""
        self._slot.deliver(lease, uploads)

    def discard(self, lease: Lease) -> None:
        """Forget a finished task's files."""
        self._slot.discard(lease)

    def progress(self) -> Progress:
        """How far the current task is."""
        return self._slot.progress()

    def cancel(self, lease: Lease) -> None:
        """Stop a task."""
        self._slot.cancel(lease)

    def pid(self) -> int:
        """The process the slot is in."""
        return os.getpid()
