# SPDX-License-Identifier: GPL-3.0-or-later
"""Slots as Ray actors: one per GPU, or per share of CPU threads, and one that finishes frames.

An actor that dies, hangs or cannot be started is replaced, and so are all actors of a Ray that is gone. A
call to an actor that is replaced meanwhile ends at once with Unavailable.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import structlog

from farm_protocol.errors import FarmError, Unavailable
from farm_protocol.records import FailureCode, Lease, Progress, TaskFailure, TaskKind, TaskResult, Upload
from gpu_worker.slot.actor import SlotActor, SlotOrder
from gpu_worker.slot.checking import Rendered
from gpu_worker.slot.readiness import Prepared, SlotInfo

T = TypeVar("T")

ASK_SECONDS = 2.0
"""A slot that does not say its progress in time must not hold up the heartbeat of the others."""

LOOK_SECONDS = 1.0
"""How often whoever waits for an actor looks whether it is still the slot's."""

PREPARE_SECONDS = 30.0
"""How long a slot may take to say how far its GPU is."""

START_SECONDS = 180.0
"""How long an actor may take until its Blender has loaded."""

STARTS_BEFORE_DOUBT = 2
"""After so many starts in a row that came to nothing, Ray itself is started again."""

log = structlog.get_logger()


class Cluster(Protocol):
    """The Ray that slots run on."""

    @property
    def local(self) -> bool:
        """Whether all of it is on this machine."""

    @property
    def generation(self) -> int:
        """Number of the Ray that runs now; 0 while none does."""

    def use(self, generation: int) -> "contextlib.AbstractContextManager[Any]":
        """The `ray` module, for short calls. Raises Unavailable."""

    def suspect(self, generation: int, reason: str) -> None:
        """Slots of that generation cannot be started."""


class RaySlot:
    """A slot in an actor; the agent's `RunningSlot`. Its actor is started at once, and again after it was
    given up as soon as the slot is needed.
    """

    def __init__(
        self,
        cluster: Cluster,
        order: SlotOrder,
        cpus: float,
        gpus: float,
        start_seconds: float = START_SECONDS,
    ) -> None:
        self.name: str = order.plan.name
        self.kinds: tuple[TaskKind, ...] = order.plan.kinds
        self._cluster, self._order, self._cpus, self._gpus = cluster, order, cpus, gpus
        self._start_seconds = start_seconds
        self._lock, self._starting = threading.Lock(), threading.Lock()
        self._actor: _Actor | None = None
        self._started = self._failed_starts = 0
        self._why = ""
        self._begin()

    def describe(self) -> SlotInfo:
        """Wait until an actor and its Blender are there."""
        info = self._ready().info
        assert info is not None
        return info

    def prepare(self, doubt: str = "") -> Prepared:
        """How far its GPU is."""
        actor = self._ready()
        prepared: Prepared = self._wait(actor, lambda one: one.prepare.remote(doubt), PREPARE_SECONDS)
        actor.info = prepared.info or actor.info
        return prepared

    def run(self, lease: Lease) -> Rendered | TaskFailure:
        """Do a task."""
        try:
            answer: Rendered | TaskFailure = self._ask(lambda actor: actor.run.remote(lease))
        except Unavailable as error:
            return TaskFailure(FailureCode.NODE, error.sentence)
        return answer

    def settle(self, lease: Lease, rendered: Rendered) -> TaskResult | TaskFailure:
        """Check what a task left on the actor's disk."""
        outcome: TaskResult | TaskFailure = self._ask(lambda actor: actor.settle.remote(lease, rendered))
        return outcome

    def deliver(self, lease: Lease, uploads: tuple[Upload, ...]) -> None:
        """Upload from the actor's disk. Finished files wait there for the next actor, where one dies."""
        self._ask(lambda actor: actor.deliver.remote(lease, uploads))

    def discard(self, lease: Lease) -> None:
        """Forget the files on the actor's disk."""
        self._tell(lambda actor: actor.discard.remote(lease))

    def progress(self) -> Progress:
        """How far the current task is. Raises Unavailable where the actor does not say within seconds."""
        actor = self._actor
        if actor is None or actor.info is None:
            return Progress(activity="starting the slot")
        progress: Progress = self._wait(actor, lambda one: one.progress.remote(), ASK_SECONDS)
        return progress

    def cancel(self, lease: Lease) -> None:
        """Stop a task."""
        self._tell(lambda actor: actor.cancel.remote(lease))

    def pid(self) -> int:
        """The actor's process, on whatever machine it is."""
        return self._ready().pid

    def restart(self, reason: str) -> None:
        """Give up the actor that there is; who waits for it hears `reason`."""
        actor = self._actor
        if actor is not None:
            self._give_up(actor, reason)

    # --- asking -----------------------------------------------------------------------------------------

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        return self._wait(self._ready(), question, None)

    def _tell(self, question: Callable[[Any], Any]) -> None:
        """Where the actor is gone, so is what this was about."""
        actor = self._actor
        if actor is not None:
            with contextlib.suppress(FarmError), self._used(actor):
                question(actor.handle)

    def _wait(self, actor: "_Actor", question: Callable[[Any], Any], seconds: float | None) -> Any:
        """The actor's answer. Raises Unavailable where it is given up meanwhile, or `seconds` are over."""
        end = None if seconds is None else time.monotonic() + seconds
        with self._used(actor):
            answer = question(actor.handle)
        while True:
            if self._actor is not actor:
                raise Unavailable(self._why)
            left = LOOK_SECONDS if end is None else min(LOOK_SECONDS, end - time.monotonic())
            if left <= 0:
                raise Unavailable(f"Slot {self.name} did not answer within {seconds:g} seconds.")
            with self._used(actor) as ray:
                if ray.wait([answer], timeout=left)[0]:
                    return ray.get(answer)

    @contextlib.contextmanager
    def _used(self, actor: "_Actor") -> Iterator[Any]:
        """Ray, for short calls about an actor; what it raises as the farm's errors."""
        try:
            with self._cluster.use(actor.generation) as ray:
                yield ray
        except Exception as error:
            if self._cluster.generation != actor.generation:
                self._give_up(actor, "Ray on this node ended; this slot is started again.")
                raise Unavailable(self._why) from error
            if not _raised_inside(error):
                self._give_up(actor, "The process of this slot died; it is started again.")
                raise Unavailable(self._why) from error
            raise _farm_error(error) from error

    # --- starting and giving up ---------------------------------------------------------------------------

    def _ready(self) -> "_Actor":
        """Actor that has answered; started where it does not run. Raises what its start failed with."""
        with self._starting:
            actor = self._actor
            if actor is None or actor.generation != self._cluster.generation:
                actor = self._begin()
            if actor.info is None:
                self._await_start(actor)
            return actor

    def _begin(self) -> "_Actor":
        """Have Ray start an actor. Only the first one clears the slot's folder, left by another life."""
        generation, fresh = self._cluster.generation, self._started == 0
        try:
            with self._cluster.use(generation) as ray:
                remote = ray.remote(concurrency_groups={"deliver": 4, "ask": 4})(_with_groups(ray))
                options = {"num_cpus": self._cpus, "num_gpus": self._gpus, "max_concurrency": 1}
                handle = remote.options(**options).remote(self._order, fresh)
        except FarmError:
            raise
        except Exception as error:
            raise Unavailable(f"Ray cannot start slot {self.name}: {str(error)[:300]}") from error
        actor = _Actor(handle, generation)
        with self._lock:
            self._actor = actor
            self._started += 1
        log.info("slot_starting", slot=self.name, start=self._started)
        return actor

    def _await_start(self, actor: "_Actor") -> None:
        try:
            actor.pid = int(self._wait(actor, lambda one: one.pid.remote(), self._start_seconds))
            if self._cluster.local:
                with contextlib.suppress(OSError):
                    actor.process = os.pidfd_open(actor.pid)
            actor.info = self._wait(actor, lambda one: one.describe.remote(), self._start_seconds)
        except Unavailable as error:
            self._give_up(actor, error.sentence)
            self._failed_starts += 1
            if self._failed_starts >= STARTS_BEFORE_DOUBT:
                self._failed_starts = 0
                self._cluster.suspect(actor.generation, f"Slot {self.name} cannot be started.")
            raise
        self._failed_starts = 0
        log.info("slot_ready", slot=self.name, pid=actor.pid, device_class=actor.info.device_class)

    def _give_up(self, actor: "_Actor", reason: str) -> None:
        with self._lock:
            if self._actor is not actor:
                return
            self._actor, self._why = None, reason
        log.warning("slot_replaced", slot=self.name, reason=reason)
        # A process that hangs does not heed Ray.
        actor.kill()
        with contextlib.suppress(Exception), self._cluster.use(actor.generation) as ray:
            ray.kill(actor.handle)


class _Actor:
    """A slot's process, once it was asked for. `info` is there when its Blender has loaded; `process` is a
    descriptor of it, where it is on this machine.
    """

    def __init__(self, handle: Any, generation: int) -> None:
        self.handle, self.generation = handle, generation
        self.info: SlotInfo | None = None
        self.pid = 0
        self.process: int | None = None

    def kill(self) -> None:
        """SIGKILL, where it is on this machine."""
        process, self.process = self.process, None
        if process is not None:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(process, signal.SIGKILL)
            os.close(process)


def _with_groups(ray: Any) -> type[SlotActor]:
    """SlotActor with each method in its concurrency group; `run` stays alone in the default one."""
    groups = {
        "settle": "deliver",
        "deliver": "deliver",
        "discard": "deliver",
        "progress": "ask",
        "prepare": "ask",
        "cancel": "ask",
        "pid": "ask",
    }
    methods = {
        name: ray.method(concurrency_group=group)(_own(getattr(SlotActor, name)))
        for name, group in groups.items()
    }
    return type("Slot", (SlotActor,), methods)


def _own(method: Callable[..., T]) -> Callable[..., T]:
    """A function of its own, because Ray marks the one it is given."""

    def call(self: SlotActor, *arguments: Any) -> T:
        return method(self, *arguments)

    return call


def _raised_inside(error: Exception) -> bool:
    """Whether the actor lives, and its own code raised this: Ray hands that on with its cause."""
    return hasattr(error, "cause")


def _farm_error(error: Exception) -> FarmError:
    """The farm's own error where the actor raised one, else a sentence about what it raised."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, FarmError):
        return cause
    return FarmError(f"The slot failed: {str(cause or error)[:1000]}")
