# SPDX-License-Identifier: GPL-3.0-or-later
"""Gives ready tasks to asking nodes, holds the asking open while there are none, and ends leases."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from farm_protocol.errors import Unavailable
from farm_protocol.ids import NodeId, TaskId
from farm_protocol.records import Heartbeat, LeaseRequest
from render_farm.coordinator.pacing import Pace
from render_farm.policy.scheduler import Asker, Choice, choose
from render_farm.store.identities import Caller
from render_farm.store.leases import Leases, Taken

log = structlog.get_logger()

LOOK_AGAIN_SECONDS = 5.0
"""A waiting node looks again after this long even if the bell did not ring: another coordinator may
have made work, or a task may no longer be left to other nodes."""

STORE_RETRY_SECONDS = 0.5
ONLINE_MARGIN_SECONDS = 10.0
LOOKS_AT_ONCE = 2
"""Strangers' nodes that look for work at a time: to look in vain takes the store longer than most calls."""

TRIES = 5
"""How often an asker looks again at once when others took what it chose."""


class Bell:
    """Wakes everybody who waits for work. Rung when a task may have become ready."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake all who wait now."""
        self._event.set()
        self._event = asyncio.Event()

    def next(self) -> asyncio.Event:
        """The event of the next ring; take it before looking, so that no ring is missed."""
        return self._event


class Dispatch:
    """Leases through the scheduler. `lease_seconds` is how long one lasts without a heartbeat, `pace` how
    often strangers' nodes may look in vain (None: always).
    """

    def __init__(
        self,
        leases: Leases,
        lease_seconds: float,
        clock: Callable[[], float] = time.time,
        pace: Pace | None = None,
    ) -> None:
        self.bell = Bell()
        self._leases = leases
        self._seconds = lease_seconds
        self._clock = clock
        self._pace, self._looking = pace, asyncio.Semaphore(LOOKS_AT_ONCE)
        self._closing = asyncio.Event()
        self._reached_for: set[TaskId] = set()

    @property
    def lease_seconds(self) -> float:
        """How long a lease lasts without a heartbeat."""
        return self._seconds

    @property
    def online_seconds(self) -> float:
        """How long after its last word a node still counts as online."""
        return self._seconds + ONLINE_MARGIN_SECONDS

    def close(self) -> None:
        """Answer everybody who waits, and let the sweep end."""
        self._closing.set()
        self.bell.ring()

    async def lease(
        self, caller: Caller, request: LeaseRequest, gone: Callable[[], Awaitable[bool]]
    ) -> list[Taken]:
        """Up to one lease for each slot offered; waits as long as the request says when there are none.

        `gone` tells whether the asker hung up meanwhile: then nothing is taken for it.
        """
        deadline = asyncio.get_running_loop().time() + request.wait
        while True:
            ring = self.bell.next()
            taken = await self._look(caller, request)
            left = deadline - asyncio.get_running_loop().time()
            if taken or left <= 0 or self._closing.is_set():
                return taken
            await _rung(ring, min(left, LOOK_AGAIN_SECONDS))
            await self._its_time(caller, deadline)
            if await gone():
                return []

    async def renew(self, caller: Caller, beat: Heartbeat) -> tuple[TaskId, ...]:
        """Renew a node's leases; returns those it has lost."""
        now = self._clock()
        renewed = await self._leases.renew(caller.node, beat, now, now + self._seconds)
        for task in renewed.ended:
            log.warning("lease_ended", task=task, node=caller.node)
        if renewed.woke:
            self.bell.ring()
        return renewed.lost

    async def sweep(self) -> None:
        """End leases as they fall due, until closed. Sleeps until the next one can."""
        away = True
        while not self._closing.is_set():
            try:
                if away:
                    await self._grace()
                    away = False
                pause = await self._end_due()
            except Unavailable:
                away, pause = True, STORE_RETRY_SECONDS
            await _rung(self._closing, pause)

    async def _grace(self) -> None:
        """While coordinator or store were away nobody could renew: every lease gets its full length."""
        now = self._clock()
        lengthened = await self._leases.grace(now, now + self._seconds)
        log.info("leases_kept", count=lengthened)

    async def _end_due(self) -> float:
        """End what is due; returns how long to sleep: no lease made meanwhile can end earlier."""
        ended = await self._leases.expire(self._clock())
        for lease in ended:
            log.warning("lease_expired", task=lease.task, job=lease.job, node=lease.node, why=lease.why)
        if ended:
            self.bell.ring()
            return 0.0
        first = await self._leases.next_end()
        return self._seconds if first is None else max(0.0, min(self._seconds, first - self._clock()))

    async def _look(self, caller: Caller, request: LeaseRequest) -> list[Taken]:
        """As `_choose_and_take`. Strangers who looked in vain too often get nothing, without a look."""
        if not request.offers:
            return []
        if caller.own or self._pace is None:
            return await self._choose_and_take(caller, request)
        if self._pace.pause(caller) > 0:
            return []
        # Counted before it is done: many calls of one node look at once.
        self._pace.count(caller)
        async with self._looking:
            taken = await self._choose_and_take(caller, request)
        if taken:
            self._pace.forgive(caller)
        return taken

    async def _its_time(self, caller: Caller, deadline: float) -> None:
        """Wait until the node may look again, or the deadline has passed."""
        if self._pace is not None and not caller.own:
            left = deadline - asyncio.get_running_loop().time()
            await _rung(self._closing, max(0.0, min(left, self._pace.pause(caller))))

    async def _choose_and_take(self, caller: Caller, request: LeaseRequest) -> list[Taken]:
        """Look and take; look again where others were quicker with everything chosen."""
        for _ in range(TRIES):
            now = self._clock()
            choices = await self._choose(caller, request, now)
            taken = await self._take(choices, caller.node, now)
            if taken or not choices:
                return taken
        return []

    async def _choose(self, caller: Caller, request: LeaseRequest, now: float) -> list[Choice]:
        asker = Asker(caller.node, caller.owner, caller.own, request.sandboxed)
        found = await self._leases.find(asker, request, now)
        queues = found.queues
        if any(task.failed_on == caller.node for queue in queues for task in queue.tasks):
            asker = await self._with_company(asker, now)
        # Several askers look at once; what one of them reaches for the others leave alone.
        choices = choose(request.offers, asker, queues, now, self._reached_for, found.most)
        self._reached_for.update(choice.task.task for choice in choices)
        return choices

    async def _with_company(self, asker: Asker, now: float) -> Asker:
        others = await self._leases.online(now - self.online_seconds) - {asker.node}
        own = await self._leases.own_among(others)
        return Asker(asker.node, asker.owner, asker.own, asker.sandboxed, len(others), own)

    async def _take(self, choices: list[Choice], node: NodeId, now: float) -> list[Taken]:
        if not choices:
            return []
        try:
            taken = await self._leases.take(choices, node, now, now + self._seconds)
        finally:
            self._reached_for.difference_update(choice.task.task for choice in choices)
        for lease in taken:
            log.info("task_leased", task=lease.task.id, token=lease.token, node=node, slot=lease.slot)
        return taken


async def _rung(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True
