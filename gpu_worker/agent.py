# SPDX-License-Identifier: GPL-3.0-or-later
"""The node: leases tasks for its free slots, renews leases, delivers results, gives back what fails."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog

from frame_splitter.errors import FarmError, Forbidden, StaleLease, Unauthorized
from frame_splitter.ids import JobId, SceneId, TaskId
from frame_splitter.records import (
    Beat,
    FailureCode,
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
from gpu_worker.checking import Rendered
from gpu_worker.coordinator import SubmitAnswer, backoff
from gpu_worker.delivery import Delivery, Signer
from gpu_worker.slot import SlotInfo

log = structlog.get_logger()

NODES_OWN = frozenset({FailureCode.NODE, FailureCode.DEVICE})
"""Failures after which the slot rests for a while: the next task would most likely fail, too."""


class Node(Protocol):
    """The coordinator, as the agent needs it."""

    def lease(self, request: LeaseRequest) -> tuple[Lease, ...]:
        """Ask for work."""

    def heartbeat(self, heartbeat: Heartbeat) -> HeartbeatAnswer:
        """Renew leases."""

    def uploads(self, lease: Lease, files: tuple[OutputFile, ...]) -> tuple[Upload, ...]:
        """Where to put files."""

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
        """Wait until it can work."""

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


class Seller(Protocol):
    """What a node that sells says to leases."""

    def refused(self) -> tuple[JobId, ...]:
        """Jobs that it wants no work of now."""

    def objection(self, lease: Lease) -> str:
        """Why it does not work on a lease; '' where it does. May wait for a promise that is on its way."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The agent's times, in seconds. `wait`: how long the coordinator may hold a request for work open;
    `store_away`: how long uploads are tried; `drain`: how long finished work may still be delivered.
    """

    wait: float = 10.0
    beat: float = 1.0
    retry: float = 10.0
    rest: float = 60.0
    store_away: float = 300.0
    drain: float = 8.0


@dataclass(slots=True)
class Held:
    """A lease this node holds. `delivering` once its slot is done with it."""

    lease: Lease
    slot: RunningSlot
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
        device = self.info.device_class
        return SlotOffer(self.slot.name, self.slot.kinds, device, self.warm_scene, self.warm_frame)


class Agent:
    """Runs until `stop`; one thread a waiting request, a running task and a delivery."""

    def __init__(
        self,
        node: Node,
        benches: list[Bench],
        signer: Signer,
        pace: Pace | None = None,
        seller: Seller | None = None,
    ) -> None:
        self._node, self._signer, self._seller = node, signer, seller
        self._pace = pace or Pace()
        self._benches = {bench.slot.name: bench for bench in benches}
        self._sandboxed = all(bench.info.sandboxed for bench in benches)
        self._free = list(benches)
        self._held: dict[TaskId, Held] = {}
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._fatal: FarmError | None = None
        self._pulse = threading.Thread(target=self._beat_until_stopped, name="heartbeat", daemon=True)
        self._unreachable = False

    def stop(self) -> None:
        """Drain: take no more work, give back what is being rendered, deliver what is finished."""
        self._stop.set()
        with self._news:
            self._news.notify_all()

    def run(self) -> None:
        """Work until stopped. Raises the error for which the coordinator will not have this node."""
        self._pulse.start()
        while (benches := self._wait_for_free()) is not None:
            self._start("ask", self._ask, benches)
        self._drain()
        if self._fatal is not None:
            raise self._fatal

    def _wait_for_free(self) -> list[Bench] | None:
        with self._news:
            self._news.wait_for(lambda: self._free or self._stop.is_set())
            if self._stop.is_set():
                return None
            benches, self._free = self._free, []
            return benches

    def _start(self, name: str, action: Callable[..., None], *arguments: object) -> None:
        """In a thread that does not keep the process alive: a request for work may be held open long."""
        threading.Thread(target=self._guarded, args=(action, *arguments), name=name, daemon=True).start()

    def _guarded(self, action: Callable[..., None], *arguments: object) -> None:
        """Whatever a thread raises: a node that half works must end instead."""
        try:
            action(*arguments)
        except Exception as error:
            log.exception("node_broke", error=str(error))
            self._fatal = FarmError(f"The node broke: {error}")
            self.stop()

    # --- asking -----------------------------------------------------------------------------------------

    def _ask(self, benches: list[Bench]) -> None:
        offers = tuple(bench.offer() for bench in benches)
        try:
            refused = self._seller.refused() if self._seller else ()
            leases = self._node.lease(LeaseRequest(offers, self._pace.wait, self._sandboxed, refused))
        except (Unauthorized, Forbidden) as error:
            self._fatal = error
            self.stop()
            return
        except FarmError as error:
            self._answered(False, error.sentence)
            self._stop.wait(backoff(4, self._pace.retry))
            leases = ()
        else:
            self._answered(True)
        idle = {bench.slot.name: bench for bench in benches}
        for lease in leases:
            self._take(lease, idle.pop(lease.slot, None))
        self._set_free(list(idle.values()))

    def _take(self, lease: Lease, bench: Bench | None) -> None:
        if bench is None or self._stop.is_set():
            self._give_back(lease, TaskFailure(FailureCode.NODE, "This node has no free slot of that name."))
            return
        held = Held(lease, bench.slot)
        with self._news:
            self._held[lease.task.id] = held
        log.info("task_leased", task=lease.task.id, kind=str(lease.task.kind), slot=lease.slot)
        self._start("task", self._work, held, bench)

    def _set_free(self, benches: list[Bench]) -> None:
        with self._news:
            self._free += benches
            self._news.notify_all()

    def _answered(self, well: bool, reason: str = "") -> None:
        """Log when the coordinator goes and comes, not every attempt."""
        if not well and not self._unreachable:
            log.warning("coordinator_unreachable", reason=reason)
        if well and self._unreachable:
            log.info("coordinator_back")
        self._unreachable = not well

    # --- working ----------------------------------------------------------------------------------------

    def _work(self, held: Held, bench: Bench) -> None:
        lease = held.lease
        objection = self._seller.objection(lease) if self._seller else ""
        try:
            outcome = TaskFailure(FailureCode.NODE, objection) if objection else held.slot.run(lease)
        except FarmError as error:
            outcome = TaskFailure(FailureCode.NODE, error.sentence)
        if isinstance(outcome, TaskFailure):
            bench.warm_scene = bench.warm_frame = None
            self._failed(held, outcome)
            self._rest(bench, outcome, held.lost.is_set())
        else:
            bench.failures = 0
            if lease.task.kind is not TaskKind.CHECK:
                bench.warm_scene, bench.warm_frame = lease.scene, lease.task.frame
            self._rendered(held, outcome)
            self._wait_for_backlog(held.slot)
        self._set_free([bench])

    def _rendered(self, held: Held, rendered: Rendered) -> None:
        """The slot is free for its next task; what is left to do for this one is done beside it."""
        log.info("task_rendered", task=held.lease.task.id, seconds=round(rendered.render_seconds, 3))
        with self._news:
            held.delivering, held.progress = True, replace(held.progress, activity="delivering")
        self._start("deliver", self._settle, held, rendered)

    def _settle(self, held: Held, rendered: Rendered) -> None:
        try:
            outcome = held.slot.settle(held.lease, rendered)
        except FarmError as error:
            outcome = TaskFailure(FailureCode.NODE, error.sentence)
        if isinstance(outcome, TaskFailure):
            self._failed(held, outcome)
        else:
            self._deliver(held, outcome)

    def _deliver(self, held: Held, result: TaskResult) -> None:
        pace = self._pace
        delivery = Delivery(self._node, held.slot, self._signer, self._stop, pace.store_away, pace.drain)
        failure = delivery.deliver(held.lease, result, held.lost)
        if failure is not None:
            self._give_back(held.lease, failure)
        held.slot.discard(held.lease)
        self._forget(held)

    def _wait_for_backlog(self, slot: RunningSlot) -> None:
        """A slot whose results do not get away takes no more work than its disk should hold."""

        def undelivered() -> int:
            return sum(held.slot is slot and held.delivering for held in self._held.values())

        with self._news:
            self._news.wait_for(lambda: undelivered() < 4 or self._stop.is_set())

    def _failed(self, held: Held, failure: TaskFailure) -> None:
        if not held.lost.is_set():
            log.warning(
                "task_failed", task=held.lease.task.id, code=str(failure.code), message=failure.message
            )
            self._give_back(held.lease, failure)
        self._forget(held)

    def _rest(self, bench: Bench, failure: TaskFailure, lost: bool) -> None:
        if failure.code not in NODES_OWN or lost:
            bench.failures = 0
            return
        bench.failures += 1
        seconds = backoff(bench.failures + 3, self._pace.rest)
        log.warning("slot_rests", slot=bench.slot.name, seconds=round(seconds, 1), reason=failure.message)
        self._stop.wait(seconds)

    def _give_back(self, lease: Lease, failure: TaskFailure) -> None:
        try:
            self._node.give_back(lease, failure, tries=1 if self._stop.is_set() else None)
            log.info("task_given_back", task=lease.task.id, code=str(failure.code))
        except StaleLease:
            log.info("task_lost", task=lease.task.id)
        except FarmError as error:
            # The lease runs out by itself.
            log.warning("task_not_given_back", task=lease.task.id, reason=error.sentence)

    def _forget(self, held: Held) -> None:
        with self._news:
            if self._held.get(held.lease.task.id) is held:
                del self._held[held.lease.task.id]
            self._news.notify_all()

    # --- heartbeat --------------------------------------------------------------------------------------

    def _beat_until_stopped(self) -> None:
        last = 0.0
        while True:
            with self._news:
                held = list(self._held.values())
            if self._stop.is_set() and not held:
                return
            moved = [one for one in held if self._moved(one)]
            due = min((one.lease.expires_in for one in held), default=0.0) / 3
            if held and (moved or time.monotonic() - last >= due):
                self._beat(held)
                last = time.monotonic()
            self._pause()

    def _pause(self) -> None:
        # While draining, `_stop` is set and no longer a clock.
        if self._stop.is_set():
            threading.Event().wait(self._pace.beat)
        else:
            self._stop.wait(self._pace.beat)

    def _moved(self, held: Held) -> bool:
        """Ask a working slot for its progress; whether that changed."""
        if held.delivering:
            return False
        before = held.progress
        try:
            held.progress = held.slot.progress()
        except FarmError:
            return False
        return held.progress != before

    def _beat(self, held: list[Held]) -> None:
        beats = tuple(Beat(one.lease.task.id, one.lease.token, one.progress) for one in held)
        try:
            lost = self._node.heartbeat(Heartbeat(beats)).lost
        except FarmError as error:
            # Finished and unfinished work is kept: the coordinator may be restarting.
            self._answered(False, error.sentence)
            return
        self._answered(True)
        for one in held:
            if one.lease.task.id in lost and not one.lost.is_set():
                log.warning("task_lost", task=one.lease.task.id)
                one.lost.set()
                one.slot.cancel(one.lease)

    # --- the end ----------------------------------------------------------------------------------------

    def _drain(self) -> None:
        """Give back what is unfinished, then stop it; finished work has a little time to leave."""
        with self._news:
            held = list(self._held.values())
        log.info("node_draining", tasks=len(held))
        for one in held:
            if not one.delivering:
                one.lost.set()
                self._give_back(one.lease, TaskFailure(FailureCode.NODE, "The node is shutting down."))
                one.slot.cancel(one.lease)
        self._node.close()
        with self._news:
            self._news.wait_for(lambda: not self._held, timeout=self._pace.drain)
        log.info("node_stopped")
