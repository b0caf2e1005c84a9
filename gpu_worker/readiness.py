# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a slot's GPU can be given tasks: its kernels are there, and it rendered a scene of the node's own.

That scene is rendered in a sandbox as strangers' scenes are, after every start of the slot and after every
failure that may be the GPU's. A GPU that does not do it is not offered.
"""

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from farm_protocol.errors import FarmError
from farm_protocol.ids import DeviceClass
from gpu_worker import removal
from gpu_worker.devices import Gpu
from gpu_worker.failures import TaskError
from gpu_worker.kernels import KernelKey, Kernels, KernelStore, Warmed, failed, told, warm
from gpu_worker.stage import ChildPlan

log = structlog.get_logger()

SLOW_SECONDS = 30.0
"""Kernels that take so long although they were compiled before were most likely compiled again."""


@dataclass(frozen=True, slots=True)
class SlotInfo:
    """What a slot offers the coordinator. `memory`: bytes of video memory, 0 for none or unknown. `prepares`:
    it must be asked with `prepare` whether it can take tasks.
    """

    device_class: DeviceClass
    sandboxed: bool
    memory: int = 0
    prepares: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """How far a slot is. `info` once it can take tasks; until then `sentence` says what it does, or, where it
    `failed`, why it can take none.
    """

    info: SlotInfo | None = None
    sentence: str = ""
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """A GPU as its slot found it."""

    gpu: Gpu
    key: KernelKey
    info: SlotInfo


class Readiness:
    """The look at one slot's GPU, in a thread of its own while it goes on. Any thread may call its methods.

    `find` says which GPU the slot has now; below `work` the children get their folders.
    """

    def __init__(self, plan: ChildPlan, store: KernelStore, work: Path, find: Callable[[], Found]) -> None:
        self._plan, self._store, self._work, self._find = plan, store, work, find
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._began = 0.0
        self._state = Prepared()
        self._compiling: KernelKey | None = None
        self._sets = 0, 0
        self._kernels: Kernels | None = None

    @property
    def kernels(self) -> Kernels | None:
        """What children are to use; None before they are there."""
        return self._kernels

    def look(self, doubt: str = "") -> Prepared:
        """How far it is, at once. A look begins with the first call, with `doubt` (a sentence, why the GPU is
        to be looked at again), and where somebody removed the kernels.
        """
        with self._lock:
            goes_on = self._thread is not None and self._thread.is_alive()
            if self._thread is None or (not goes_on and (doubt or self._are_gone())):
                self._begin(doubt)
            if (key := self._compiling) is not None:
                return Prepared(sentence=told(key, time.monotonic() - self._began, *self._sets))
            return self._state

    def _are_gone(self) -> bool:
        return self._kernels is not None and self._store.held(self._kernels.key) is None

    def wait(self) -> Prepared:
        """What the look under way comes to."""
        if self._thread is not None:
            self._thread.join()
        return self._state

    def _begin(self, doubt: str) -> None:
        self._state = Prepared(sentence=f"The GPU is tried with a scene of this node's own. {doubt}".strip())
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="readiness", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            state = self._prepare()
        except FarmError as error:
            state = Prepared(sentence=error.sentence, failed=True)
        except OSError as error:
            state = Prepared(sentence=f"This node's folder of kernels cannot be used: {error}", failed=True)
        if state.failed:
            log.warning("gpu_not_ready", reason=state.sentence)
        with self._lock:
            self._state, self._compiling = state, None

    def _prepare(self) -> Prepared:
        found = self._find()
        kernels = self._kernels_for(found.key)
        again = self._warm(kernels=kernels)
        self._kernels = kernels
        log.info(
            "gpu_ready",
            gpu=found.gpu.name,
            driver=found.gpu.driver,
            compiled_seconds=round(kernels.seconds, 1),
            loaded_seconds=round(again.seconds, 1),
        )
        if again.seconds > max(SLOW_SECONDS, kernels.seconds / 2):
            log.warning("kernels_not_kept", gpu=found.gpu.name, seconds=round(again.seconds, 1))
        return Prepared(found.info)

    def _kernels_for(self, key: KernelKey) -> Kernels:
        """Held, or compiled now: by this slot, or by another of this machine, which is waited for."""
        self._compiling, self._sets = (None if self._store.held(key) else key), (0, 0)
        try:
            return self._store.get(key, lambda target: self._warm(target=target))
        except TaskError as error:
            raise TaskError(error.failure, failed(key, error)) from error
        finally:
            self._compiling = None

    def _warm(self, kernels: Kernels | None = None, target: Path | None = None) -> Warmed:
        plan, work = self._plan, self._work / f"stage-own-{uuid.uuid4().hex[:12]}"
        work.mkdir(parents=True)
        try:
            return warm(
                plan.program, plan.device, plan.limits, plan.sandboxed, work, kernels, target, self._count
            )
        finally:
            removal.remove(work)

    def _count(self, done: int, total: int) -> None:
        self._sets = done, total
