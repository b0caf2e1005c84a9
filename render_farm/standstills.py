# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks every few seconds whether a job stands still because nobody may take its tasks, and says why."""

import asyncio
import time
from collections.abc import Callable

import structlog

from farm_protocol.errors import Unavailable
from farm_protocol.ids import JobId
from render_farm.standstill import Peer, may_take, sentence
from render_farm.store.peers import OpenJob, Peers

log = structlog.get_logger()

LOOK_SECONDS = 8.0
LOOKS = 2
"""How often in a row nobody may take a task until it is said: nodes come and go, and retries are near."""


class Standstills:
    """The looks, until cancelled. `online_seconds`: how long after its last word a node is online; `beacon`
    says why no rounds come, '' where they do.
    """

    def __init__(
        self,
        peers: Peers,
        online_seconds: float,
        clock: Callable[[], float] = time.time,
        pause: float = LOOK_SECONDS,
        beacon: Callable[[], str] = str,
    ) -> None:
        self._peers = peers
        self._online_seconds = online_seconds
        self._clock, self._pause, self._beacon = clock, pause, beacon
        self._seen: dict[JobId, int] = {}
        self._undecided: set[JobId] = set()

    async def run(self) -> None:
        """Look again and again."""
        while True:
            try:
                await self.step()
            except Unavailable:
                self._seen.clear()
            await asyncio.sleep(self._pause)

    async def step(self) -> None:
        """One look at all jobs that nobody works on: those with ready tasks, and those that wait for a beacon
        that is away.
        """
        now = self._clock()
        still = [job for job in await self._peers.open_jobs() if not job.leased]
        online = await self._peers.online(now - self._online_seconds) if still else []
        seen, self._seen = self._seen, {}
        away, waited = self._beacon(), self._undecided
        self._undecided = set(await self._peers.undecided()) if away else set()
        for undecided in self._undecided | waited:
            await self._say(undecided, away if undecided in self._undecided else "", seen)
        for job in still:
            await self._say(job.job, await self._why(job, online, now), seen)

    async def _say(self, job: JobId, why: str, seen: dict[JobId, int]) -> None:
        if why:
            self._seen[job] = seen.get(job, 0) + 1
        if (not why or self._seen[job] >= LOOKS) and await self._peers.say(job, why):
            log.warning("job_stands_still", job=job, why=why)

    async def _why(self, job: OpenJob, online: list[Peer], now: float) -> str:
        looks = []
        for peer in online:
            look = await self._peers.look(peer, job.job, now)
            if may_take(look, now):
                return ""
            looks.append(look)
        return sentence(looks, job.lanes, job.pin, now)
