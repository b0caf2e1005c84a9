# SPDX-License-Identifier: GPL-3.0-or-later
"""What has ended long ago, as the store knows it, and how it goes: in steps that may be repeated."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from farm_protocol.fields import decode
from farm_protocol.ids import JobId, OwnerId, SceneId, Sha256
from farm_protocol.records import FINAL_JOB_STATES, Manifest, blob_digests
from render_farm.store import keys
from render_farm.store.calls import Call, ClearJob
from render_farm.store.connection import Connection
from render_farm.store.jobs import state_of
from render_farm.store.new_jobs import batched
from render_farm.store.scenes import OfScene

AT_ONCE = 200
CLEARED_AT_ONCE = 400
SCANNED_AT_ONCE = 1000


class ForgetScene(OfScene, frozen=True):
    """Unless it was used since `before`."""

    before: float


class ForgetBlobs(Call, frozen=True):
    """Blobs of an owner's that are in no scene any more."""

    owner: OwnerId
    blobs: Sequence[Sha256]


@dataclass(frozen=True, slots=True)
class KeptScene:
    """A scene and when it was last used, in seconds since the epoch."""

    owner: OwnerId
    scene: SceneId
    used: float


class Retention:
    """The store's old jobs and scenes. Times in seconds since the epoch."""

    def __init__(self, connection: Connection) -> None:
        self._store = connection

    # --- jobs -----------------------------------------------------------------------------------

    async def ended_jobs(self, before: float) -> list[JobId]:
        """Jobs and quotes that ended, and to which nothing has happened since `before`. A paid one counts as
        ended when its money is where it belongs.
        """
        paid = set(await self._store.do("ZRANGE", keys.PAID_JOBS, 0, -1))
        found: list[JobId] = []
        for place in (keys.ALL_JOBS, keys.QUOTES):
            names = await self._store.do("ZRANGEBYSCORE", place, "-inf", before)
            for some in batched(names, AT_ONCE):
                found += await self._ended([name for name in some if name not in paid], before)
        return found

    async def _ended(self, names: list[str], before: float) -> list[JobId]:
        fields = await self._store.hashes([keys.job(name) for name in names])
        last = await self._store.read(
            [("XREVRANGE", keys.events(name), "+", "-", "COUNT", 1) for name in names]
        )
        return [
            JobId(name)
            for name, known, newest in zip(names, fields, last, strict=True)
            if not known or (state_of(known) in FINAL_JOB_STATES and _happened(newest) < before)
        ]

    async def leave(self, job: JobId, now: float) -> None:
        """Take a job out of all lists. What is left of it is reached by `leaving` only."""
        await self._store.keep("ZADD", keys.LEAVING_JOBS, now, job)
        owner, scene, mark = await self._store.do("HMGET", keys.job(job), "owner", "scene", "fingerprint")
        for place in (keys.ALL_JOBS, keys.QUOTES, keys.MAKING_JOBS, keys.OPEN_JOBS):
            await self._store.do("ZREM", place, job)
        if owner is None:
            return
        places = (keys.owner_jobs(owner), keys.owner_quotes(owner), keys.same_work(owner, mark))
        going_on = (keys.owner_unfinished(owner), keys.owner_unfinished(owner, quotes=True))
        for place in (*places, *going_on, keys.owner_kept(owner)):
            await self._store.do("ZREM", place, job)
        await self._store.do("SREM", keys.scene_waiting(owner, scene), job)

    async def beyond(self, owner: OwnerId, most: int) -> list[JobId]:
        """The oldest of an owner's ended jobs and quotes without which the others take `most` bytes at most.
        Paid jobs whose money is not all where it belongs are none of them.
        """
        found = await self._store.do("ZRANGE", keys.owner_kept(owner), 0, -1, "WITHSCORES")
        weights = {job: float(weight) for job, weight in zip(found[::2], found[1::2], strict=True)}
        too_much = sum(weights.values()) - most
        if too_much <= 0:
            return []
        paid = set(await self._store.do("ZRANGE", keys.PAID_JOBS, 0, -1))
        places = (keys.owner_quotes(owner), keys.owner_jobs(owner))
        named = [job for place in places for job in await self._store.do("ZRANGE", place, 0, -1)]
        oldest: list[JobId] = []
        for job in named:
            if too_much > 0 and job in weights and job not in paid:
                oldest.append(JobId(job))
                too_much -= weights[job]
        return oldest

    async def never_made(self, before: float) -> list[JobId]:
        """Jobs whose making began before a time and was never finished."""
        return [JobId(job) for job in await self._store.do("ZRANGEBYSCORE", keys.MAKING_JOBS, "-inf", before)]

    async def leaving(self) -> list[JobId]:
        """Jobs that are being deleted."""
        return [JobId(job) for job in await self._store.do("ZRANGE", keys.LEAVING_JOBS, 0, -1)]

    async def clear(self, job: JobId) -> None:
        """Delete all that the store has of a job that left."""
        while await self._store.call(ClearJob(job, CLEARED_AT_ONCE)):
            pass

    # --- scenes ---------------------------------------------------------------------------------

    async def scenes(self, now: float, owner: str = "*") -> list[KeptScene]:
        """All scenes (of one owner). Of those of which nobody knows when they were used it is noted now."""
        found: list[KeptScene] = []
        cursor = "0"
        while True:
            match = ("MATCH", keys.scene(owner, "*"), "COUNT", SCANNED_AT_ONCE, "TYPE", "hash")
            cursor, names = await self._store.do("SCAN", cursor, *match)
            used = await self._store.read([("HGET", name, "used") for name in names])
            for name, at in zip(names, used, strict=True):
                if at is None:
                    await self._store.keep("HSET", name, "used", now)
                _, _, of, _, scene = name.split(":")
                found.append(KeptScene(OwnerId(of), SceneId(scene), float(at or now)))
            if str(cursor) == "0":
                return found

    async def scenes_of_jobs(self, owner: OwnerId) -> set[str]:
        """Scenes that the owner's jobs and quotes are of, as far as they are kept."""
        places = (keys.owner_jobs(owner), keys.owner_quotes(owner))
        jobs = [job for place in places for job in await self._store.do("ZRANGE", place, 0, -1)]
        found: set[str] = set()
        for some in batched(jobs, AT_ONCE):
            found |= set(await self._store.read([("HGET", keys.job(job), "scene") for job in some]))
        return found

    async def forget_scene(self, one: KeptScene, before: float) -> None:
        """Delete a scene's record, unless it was used since `before`. The owner's blobs are then `loose`."""
        await self._store.keep("SADD", keys.LOOSE_BLOBS, one.owner)
        await self._store.call(ForgetScene(one.owner, one.scene, before))

    async def loose(self) -> list[OwnerId]:
        """Owners some of whose blobs may be in no scene."""
        return [OwnerId(owner) for owner in sorted(await self._store.do("SMEMBERS", keys.LOOSE_BLOBS))]

    async def is_tidy(self, owner: OwnerId) -> None:
        """All of an owner's blobs are in some scene."""
        await self._store.do("SREM", keys.LOOSE_BLOBS, owner)

    async def announced(self, owner: OwnerId) -> set[Sha256]:
        """All blobs that count against an owner's room."""
        return set(map(Sha256, await self._store.do("HKEYS", keys.owner_announced(owner))))

    async def blobs(self, scenes: Iterable[KeptScene]) -> set[Sha256]:
        """The blobs of some scenes; those that are gone have none."""
        found: set[Sha256] = set()
        for one in scenes:
            text = await self._store.do("HGET", keys.scene(one.owner, one.scene), "manifest")
            if text:
                found |= set(blob_digests(await asyncio.to_thread(decode, text, Manifest)))
        return found

    async def forget(self, owner: OwnerId, blobs: Sequence[Sha256]) -> None:
        """Count blobs no longer: their next sender brings them anew, and their objects are `going`."""
        await self._store.call(ForgetBlobs(owner, blobs))

    async def going(self, owner: OwnerId) -> list[Sha256]:
        """Blobs whose objects are to be deleted."""
        return [Sha256(sha) for sha in sorted(await self._store.do("SMEMBERS", keys.owner_going(owner)))]

    async def gone(self, owner: OwnerId, blobs: Sequence[Sha256]) -> None:
        """Their objects are deleted, or needed again."""
        await self._store.do("SREM", keys.owner_going(owner), *blobs)


def _happened(newest: list[tuple[str, object]]) -> float:
    """When the newest entry of a stream was made: its id begins with milliseconds."""
    return int(str(newest[0][0]).partition("-")[0]) / 1000 if newest else 0.0
