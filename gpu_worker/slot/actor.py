# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs in a slot's process: the slot, its cache, and its way to the coordinator."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from farm_protocol.links import Links
from gpu_worker.farm import transfer
from gpu_worker.farm.coordinator import Coordinator
from gpu_worker.farm.handed_over import fetcher
from gpu_worker.folders import private_folder
from gpu_worker.logs import configure_logs
from gpu_worker.sandbox import removal
from gpu_worker.slot.scene_cache import SceneCache
from gpu_worker.slot.slot import Slot, SlotPlan


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


class SlotActor(Slot):
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
        super().__init__(order.plan, cache, source)

    def pid(self) -> int:
        """The process the slot is in."""
        return os.getpid()
