# SPDX-License-Identifier: GPL-3.0-or-later
"""The node: leases tasks for its free slots, renews leases, delivers results, gives back what fails."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import structlog

from farm_protocol.errors import FarmError, Forbidden, StaleLease, Unauthorized
from farm_protocol.ids import TaskId
from farm_protocol.records import (
    Beat,
    FailureCode,
    Heartbeat,
    Lease,
    LeaseRequest,
    SlotState,
    SlotTrouble,
    TaskFailure,
    TaskKind,
    TaskResult,
)
from farm_protocol.retry import backoff
from gpu_worker.agent.records import Bench, Held, Node, Pace, RunningSlot, Seller
from gpu_worker.farm.delivery import Delivery, Signer
from gpu_worker.slot.checking import Rendered
from gpu_worker.slot.readiness import SlotInfo

STUCK_SECONDS = 120.0
"""A round of the heartbeat that takes so long will never end: its calls have limits far below."""

TROUBLE_SECONDS = 30.0
"""Seconds in which a node whose slots are unavailable says so three times."""

log = structlog.get_logger()

NODES_OWN = frozenset({FailureCode.NODE, FailureCode.DEVICE})
"""Failures after which the slot rests for a while: the next task would most likely fail, too."""

DOUBTFUL = frozenset({FailureCode.DEVICE, FailureCode.CRASHED, FailureCode.HUNG})
"""Failures after which a GPU has to show that it still renders, before it is offered again."""

SAY_SECONDS = 30.0
"""How often the log says again what a slot waits for."""


class Agent:
    """Runs until `stop`; one thread a waiting request, a running task and a delivery. `alive` is called every
    few seconds while it works.
    """

    def __init__(
        self,
        node: Node,
        benches: list[Bench],
        signer: Signer,
        pace: Pace | None = None,
        seller: Seller | None = None,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._node, self._signer, self._seller, self._alive = node, signer, seller, alive
        self._pace = pace or Pace()
        self._sandboxed = all(bench.info.sandboxed for bench in benches)
        self._free = [bench for bench in benches if not bench.info.prepares]
        self._preparing = [bench.slot for bench in benches if bench.info.prepares]
        self._held: dict[TaskId, Held] = {}
        self._troubles: dict[str, SlotTrouble] = {}
        self._told: tuple[SlotTrouble, ...] = ()
        self._errands: list[Callable[[], None]] = []
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._fatal: FarmError | None = None
        self._pulse = threading.Thread(target=self._beat_until_stopped, name="heartbeat", daemon=True)
        self._looked = time.monotonic()
        self._unreachable = False

    def stop(self) -> None:
        """Drain: take no more work, give back what is being rendered, deliver what is finished."""
        self._stop.set()
        with self._news:
            self._news.notify_all()

    def fail(self, error: FarmError) -> None:
        """Stop, and have `run` raise `error`."""
        self._fatal = error
        self.stop()

    def expect(self, slot: RunningSlot) -> None:
        """Use a slot that is not available yet, as soon as it is."""
        self._start("expect", self._await_first, slot)

    def run(self) -> None:
        """Work until stopped. Raises the error for which the coordinator will not have this node."""
        self._pulse.start()
        self._start("alive", self._show_life)
        for slot in self._preparing:
            self.expect(slot)
        while (benches := self._wait_for_free()) is not None:
            self._start("ask", self._ask, benches)
        self._drain()
        if self._fatal is not None:
            raise self._fatal

    def do_in_run(self, action: Callable[[], None]) -> None:
        """Have the thread that is in `run` do something, such as what only the main thread may."""
        with self._news:
            self._errands.append(action)
            self._news.notify_all()

    def _wait_for_free(self) -> list[Bench] | None:
        while not self._stop.is_set():
            with self._news:
                self._news.wait_for(lambda: self._free or self._errands or self._stop.is_set())
                errands, self._errands = self._errands, []
                benches, self._free = self._free, []
            for errand in errands:
                errand()
            if benches and not self._stop.is_set():
                return benches
        return None

    def _start(self, name: str, action: Callable[..., None], *arguments: object) -> None:
        """In a thread that does not keep the process alive: a request for work may be held open long."""
        threading.Thread(target=self._guarded, args=(action, *arguments), name=name, daemon=True).start()

    def _guarded(self, action: Callable[..., None], *arguments: object) -> None:
        """Whatever a thread raises: a node that half works must end instead."""
        try:
            action(*arguments)
        except Exception as error:
            log.exception("node_broke", error=str(error))
            self.fail(FarmError(f"The node broke: {error}"))

    # --- asking -----------------------------------------------------------------------------------------

    def _ask(self, benches: list[Bench]) -> None:
        offers = tuple(bench.offer() for bench in benches)
        try:
            refused = self._seller.refused() if self._seller else ()
            leases = self._node.lease(LeaseRequest(offers, self._pace.wait, self._sandboxed, refused))
        except (Unauthorized, Forbidden) as error:
            self.fail(error)
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
            doubtful = bench.info.prepares and outcome.code in DOUBTFUL and not held.lost.is_set()
            bench.info = self._await_slot(bench.slot, outcome.message if doubtful else "") or bench.info
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
        self._troubles[bench.slot.name] = SlotTrouble(
            bench.slot.name, SlotState.RESTING, failure.message[:300]
        )
        self._stop.wait(seconds)
        del self._troubles[bench.slot.name]

    def _await_first(self, slot: RunningSlot) -> None:
        info = self._await_slot(slot)
        if info is not None:
            self._set_free([Bench(slot, info)])

    def _await_slot(self, slot: RunningSlot, doubt: str = "") -> SlotInfo | None:
        """Wait until a slot is available: what is not there is not offered. None when stopped before."""
        attempt, reason = 0, ""
        self._troubles[slot.name] = SlotTrouble(slot.name, SlotState.STARTING)
        while not self._stop.is_set():
            try:
                described = slot.describe()
                info = self._await_gpu(slot, doubt) if described.prepares else described
            except FarmError as error:
                attempt += 1
                if error.sentence != reason:
                    log.warning("slot_unreachable", slot=slot.name, tries=attempt, reason=error.sentence)
                reason = error.sentence
                self._troubles[slot.name] = SlotTrouble(slot.name, SlotState.UNREACHABLE, reason[:300])
                slot.restart(reason)
                self._stop.wait(backoff(attempt + 1, self._pace.rest))
            else:
                del self._troubles[slot.name]
                if attempt:
                    log.info("slot_back", slot=slot.name)
                return info
        return None

    def _await_gpu(self, slot: RunningSlot, doubt: str) -> SlotInfo | None:
        """Wait until a slot's GPU has its kernels and renders, and say meanwhile what it does."""
        attempt, said = 0, 0.0
        while not self._stop.is_set():
            prepared = slot.prepare(doubt)
            if (info := prepared.info) is not None:
                log.info(
                    "slot_prepared", slot=slot.name, device_class=info.device_class, video_memory=info.memory
                )
                return info
            state, doubt = (SlotState.RESTING if prepared.failed else SlotState.STARTING), ""
            self._troubles[slot.name] = SlotTrouble(slot.name, state, prepared.sentence[:300])
            if prepared.failed or time.monotonic() - said >= SAY_SECONDS:
                log.info("slot_prepares", slot=slot.name, state=str(state), reason=prepared.sentence)
                said = time.monotonic()
            if prepared.failed:
                attempt += 1
                doubt = "It failed before."
            self._stop.wait(backoff(attempt + 3, self._pace.rest) if prepared.failed else self._pace.beat)
        return None

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

    def _show_life(self) -> None:
        """As long as the heartbeat goes round, whose calls may take a while."""
        pause = threading.Event()
        while self._pulse.is_alive():
            if time.monotonic() - self._looked < STUCK_SECONDS:
                self._alive()
            pause.wait(self._pace.beat)

    def _beat_until_stopped(self) -> None:
        last = 0.0
        while True:
            self._looked = time.monotonic()
            with self._news:
                held = list(self._held.values())
            if self._stop.is_set() and not held:
                return
            moved = [one for one in held if self._moved(one)]
            held = self._renewable(held)
            troubles = tuple(self._troubles.copy().values())
            due = min((one.lease.expires_in for one in held), default=TROUBLE_SECONDS) / 3
            news = moved or (troubles != self._told and not self._stop.is_set())
            if news or ((held or troubles) and time.monotonic() - last >= due):
                self._beat(held, troubles)
                last = time.monotonic()
            self._pause()

    def _pause(self) -> None:
        # While draining, `_stop` is set and no longer a clock.
        if self._stop.is_set():
            threading.Event().wait(self._pace.beat)
        else:
            self._stop.wait(self._pace.beat)

    def _moved(self, held: Held) -> bool:
        """Ask a held lease's slot for its progress; whether that changed."""
        before = held.progress
        try:
            progress = held.slot.progress()
        except FarmError:
            return False
        held.heard = time.monotonic()
        if held.delivering:
            return False
        held.progress = progress
        return progress != before

    def _renewable(self, held: list[Held]) -> list[Held]:
        """The leases to renew. A slot that has been silent for too long is started again, and what it worked
        on given back; what it had finished lies on the disk, for its next process.
        """
        now = time.monotonic()
        silent = {one.slot.name: one for one in held if now - one.heard > self._pace.silence}
        for one in silent.values():
            seconds = now - one.heard
            log.warning("slot_silent", slot=one.slot.name, task=one.lease.task.id, seconds=round(seconds, 1))
            one.slot.restart(f"The slot did not answer for {seconds:.0f} seconds; it is started again.")
        for one in held:
            if one.slot.name in silent:
                one.heard = now
                self._abandon(one)
        return [one for one in held if not one.lost.is_set()]

    def _abandon(self, held: Held) -> None:
        """Give back what a silent slot worked on."""
        if not held.delivering and not held.lost.is_set():
            held.lost.set()
            reason = f"Slot {held.slot.name} did not answer for too long; it is started again."
            self._start("give-back", self._give_back, held.lease, TaskFailure(FailureCode.NODE, reason))

    def _beat(self, held: list[Held], troubles: tuple[SlotTrouble, ...]) -> None:
        beats = tuple(Beat(one.lease.task.id, one.lease.token, one.progress) for one in held)
        try:
            lost = self._node.heartbeat(Heartbeat(beats, troubles)).lost
        except FarmError as error:
            # Finished and unfinished work is kept: the coordinator may be restarting.
            self._answered(False, error.sentence)
            return
        self._answered(True)
        self._told = troubles
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
