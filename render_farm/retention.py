# SPDX-License-Identifier: GPL-3.0-or-later
"""Clears away what has ended: tasks of cancelled jobs at once, jobs and scenes with their files after a time.

Each step may be cut off anywhere and repeated: a job first leaves all lists, then its files go, then its
records; a scene's record goes before its blobs, which are counted as gone before they are. Should somebody
bring a blob in the very moment in which it goes, its job finds it lost, and asks for it again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from farm_protocol.errors import FarmError
from farm_protocol.ids import OwnerId
from render_farm.objects import Objects, blob_key, results_of
from render_farm.store.jobs import Jobs
from render_farm.store.new_jobs import batched
from render_farm.store.retention import Retention

log = structlog.get_logger()

ENDINGS_SECONDS = 2.0
SWEEP_SECONDS = 3600.0
BLOBS_AT_ONCE = 200
MAKING_SECONDS = 3600.0
"""A job that is not made within so long never will be."""


class Keeper:
    """Keeps what ended for `seconds`, 0 for ever."""

    def __init__(
        self,
        retention: Retention,
        jobs: Jobs,
        objects: Objects,
        seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._retention, self._jobs, self._objects = retention, jobs, objects
        self._seconds, self._clock = seconds, clock

    async def run(self) -> None:
        """Clear away, until cancelled."""
        due = 0.0
        while True:
            await self._quietly(self.finish_endings)
            if self._clock() >= due:
                await self._quietly(self.sweep)
                due = self._clock() + min(SWEEP_SECONDS, self._seconds or SWEEP_SECONDS)
            await asyncio.sleep(ENDINGS_SECONDS)

    async def _quietly(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except FarmError as error:
            log.warning("clearing_waits", reason=error.sentence)
        except Exception:
            log.exception("clearing_failed")

    async def finish_endings(self) -> None:
        """End the tasks of jobs that were given up, and delete what has left."""
        for job in await self._jobs.ending():
            await self._jobs.end_tasks(job)
        await self._clear_leaving(self._clock())

    async def make_room(self, owner: OwnerId, most: int) -> None:
        """Let the oldest of an owner's ended jobs leave where all of them take more than `most` bytes."""
        for job in await self._retention.beyond(owner, most):
            await self._retention.leave(job, self._clock())

    async def sweep(self) -> None:
        """Delete what has ended long enough ago."""
        now = self._clock()
        for job in await self._retention.never_made(now - MAKING_SECONDS):
            await self._retention.leave(job, now)
        if self._seconds:
            for job in await self._retention.ended_jobs(now - self._seconds):
                await self._retention.leave(job, now)
        await self._clear_leaving(now)
        if self._seconds:
            await self._sweep_scenes(now)

    async def _clear_leaving(self, now: float) -> None:
        for job in await self._retention.leaving():
            await self._retention.leave(job, now)
            await self._objects.remove_under(results_of(job))
            await self._retention.clear(job)
            log.info("job_deleted", job=job)

    async def _sweep_scenes(self, now: float) -> None:
        before, kept = now - self._seconds, await self._retention.scenes(now)
        for owner in sorted({one.owner for one in kept if one.used < before}):
            needed = await self._retention.scenes_of_jobs(owner)
            for one in kept:
                if one.owner == owner and one.used < before and one.scene not in needed:
                    await self._retention.forget_scene(one, before)
                    log.info("scene_deleted", owner=owner, scene=one.scene)
        for owner in await self._retention.loose():
            await self._tidy(owner, now)
            await self._retention.is_tidy(owner)

    async def _tidy(self, owner: OwnerId, now: float) -> None:
        """Delete the blobs of an owner that are in no scene of the owner's."""
        announced = await self._retention.announced(owner)
        kept = await self._retention.blobs(await self._retention.scenes(now, owner))
        for some in batched(sorted(announced - kept), BLOBS_AT_ONCE):
            await self._retention.forget(owner, some)
        for some in batched(await self._retention.going(owner), BLOBS_AT_ONCE):
            # What was sent meanwhile may need one of them.
            new = [one for one in await self._retention.scenes(now, owner) if one.used >= now]
            for sha in set(some) - kept - await self._retention.blobs(new):
                await self._objects.remove(blob_key(owner, sha))
            await self._retention.gone(owner, some)
