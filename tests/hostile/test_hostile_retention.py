# SPDX-License-Identifier: GPL-3.0-or-later
"""What has ended goes after a time, all of it, wherever the deleting is cut off; what is needed stays."""

import asyncio
import hashlib
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from farm_protocol.fields import encode
from farm_protocol.records import Blob, Manifest
from render_farm.coordinator.object_store import Objects, Place, blob_key
from render_farm.coordinator.retention import Keeper
from render_farm.store.calls import Intend
from render_farm.store.connection import Connection
from render_farm.store.identities import Repeat
from render_farm.store.jobs import Jobs, task_of
from render_farm.store.new_jobs import OverQuota, Room
from render_farm.store.retention import Retention
from render_farm.store.scenes import Scenes
from tests.integration.test_coordinator_states import new_job

DAY = 86_400.0
KEPT = 30 * DAY


class Cut(Exception):
    """The coordinator was killed here."""


class World:
    """A store, an object store, and the keeper that clears them."""

    def __init__(self, connection, objects, now):
        self.connection, self.objects, self.now = connection, objects, now
        self.jobs, self.scenes = Jobs(connection), Scenes(connection)
        self.keeper = Keeper(Retention(connection), self.jobs, objects, KEPT, lambda: self.now)

    async def keys(self):
        """What the store has of jobs, tasks, frames and scenes."""
        found = await self.connection.do("KEYS", "farm:*")
        return {key for key in found if not key.startswith("farm:money")}

    async def put(self, key, content=b"x"):
        link, headers = self.objects.put_link(key, hashlib.sha256(content).hexdigest(), len(content))
        await self.objects._in_thread(
            lambda: self.objects._http.request("PUT", link, body=content, headers=headers)
        )

    async def is_there(self, key):
        return await self.objects.look(key) is not None

    async def scene(self, *contents):
        """A sealed scene of files with these contents."""
        files = {c.decode(): Blob(hashlib.sha256(c).hexdigest(), len(c)) for c in contents}
        manifest = Manifest(contents[0].decode(), files)
        name = hashlib.sha256(encode(manifest)).hexdigest()
        blobs = {blob.sha256: blob.size for blob in files.values()}
        await self.scenes.put("ann", name, encode(manifest))
        await self.scenes.announce("ann", blobs, 0)
        for content in contents:
            await self.put(blob_key("ann", hashlib.sha256(content).hexdigest()), content)
        await self.scenes.seal("ann", name, blobs)
        return name

    async def job(self, name, scene="0" * 64, frames=2):
        """A job of the scene, and a file of one of its results."""
        new = new_job(name, frames, 1, False, self.now)
        new = replace(new, spec=replace(new.spec, scene=scene))
        await self.jobs.create(new, Repeat("ann", "", ""))
        await self.put(f"results/{name}/{name}.f1.t0/1/a/tile.exr")
        return name


@pytest.fixture
def world(valkey_server, seaweed_server):
    """Runs a story in an empty world, at the store's own time."""

    @asynccontextmanager
    async def made():
        connection = Connection(valkey_server.url)
        place = (seaweed_server.url, seaweed_server.url, "kept", "us-east-1")
        objects = Objects(Place(*place, seaweed_server.key, seaweed_server.secret))
        try:
            await connection.do("FLUSHALL")
            await objects.prepare()
            yield World(connection, objects, time.time())
        finally:
            await connection.close()
            await objects.close()

    def run(story):
        async def inside():
            async with made() as one:
                await story(one)

        asyncio.run(inside())

    return run


def test_all_of_an_ended_job_goes(world):
    async def story(farm):
        before = await farm.keys()
        await farm.job("old")
        await farm.jobs.intend("old", "cancel")
        await farm.keeper.sweep()
        assert await farm.jobs.get("old"), "it has only just ended"
        farm.now += KEPT + DAY
        await farm.keeper.sweep()
        assert await farm.keys() == before
        assert not await farm.is_there("results/old/old.f1.t0/1/a/tile.exr")

    world(story)


def test_what_goes_on_stays(world):
    async def story(farm):
        await farm.job("going")
        await farm.jobs.intend("going", "pause")
        farm.now += 10 * KEPT
        await farm.keeper.sweep()
        assert (await farm.jobs.get("going")).tasks.ready
        assert await farm.is_there("results/going/going.f1.t0/1/a/tile.exr")

    world(story)


def test_a_paid_job_stays_until_its_money_is_where_it_belongs(world):
    async def story(farm):
        await farm.job("paid")
        await farm.jobs.intend("paid", "cancel")
        await farm.connection.do("ZADD", "farm:jobs:paid", 1, "paid")
        farm.now += 10 * KEPT
        await farm.keeper.sweep()
        assert await farm.jobs.get("paid")
        await farm.connection.do("ZREM", "farm:jobs:paid", "paid")
        await farm.keeper.sweep()
        assert await farm.jobs.get("paid") is None

    world(story)


def test_beyond_an_owners_room_the_oldest_go(world):
    """Made and cancelled again and again, jobs would fill the store for a month."""

    async def story(farm):
        for number in range(6):
            farm.now += 1
            await farm.job(f"j{number}", frames=5)
            await farm.jobs.intend(f"j{number}", "cancel")
        farm.now += 1
        await farm.job("going", frames=5)
        weight = int(await farm.connection.do("HGET", "farm:job:j0", "weight"))
        await farm.connection.do("ZADD", "farm:jobs:paid", 1, "j1")
        await farm.keeper.make_room("ann", 3 * weight)
        assert await farm.jobs.ids("ann", None) == ["going", "j5", "j4", "j1"]
        await farm.keeper.finish_endings()
        assert not [key for key in await farm.keys() if "j0" in key]

    world(story)


def test_scenes_go_when_no_job_needs_them(world):
    async def story(farm):
        old = await farm.scene(b"main", b"shared", b"alone")
        needed = await farm.scene(b"other", b"shared")
        await farm.job("going", needed)
        farm.now += KEPT + DAY
        await farm.keeper.sweep()
        assert await farm.scenes.get("ann", old) is None
        assert (await farm.scenes.get("ann", needed)).sealed
        there = {c: await farm.is_there(blob_key("ann", hashlib.sha256(c).hexdigest())) for c in
                 (b"main", b"alone", b"shared", b"other")}  # fmt: skip
        assert there == {b"main": False, b"alone": False, b"shared": True, b"other": True}
        assert await farm.scenes.bytes_of("ann") == len(b"shared") + len(b"other")
        # Sent again, it is asked for again.
        again = await farm.scenes.lacking("ann", {hashlib.sha256(b"main").hexdigest(): 4})
        assert again

    world(story)


def test_a_scene_that_is_used_again_stays(world):
    async def story(farm):
        used = await farm.scene(b"main")
        await farm.connection.do("HSET", f"farm:owner:ann:scene:{used}", "used", 1.0)
        assert await farm.scenes.sealed("ann", used)
        await farm.keeper.sweep()
        assert await farm.scenes.get("ann", used)

    world(story)


def test_wherever_it_is_cut_off_the_next_time_does_the_rest(world):
    """Killed before each of its steps in turn."""

    async def story(farm):
        before, cut = await farm.keys(), 0
        while True:
            scene = await farm.scene(b"main", b"more")
            await farm.job("old", scene, frames=3)
            await farm.jobs.intend("old", "cancel")
            farm.now += 2 * KEPT
            farm.now, killed = time.time() + 2 * KEPT, await swept(farm, cut)
            await farm.keeper.sweep()
            await farm.keeper.sweep()
            assert await farm.keys() - {"farm:owner:ann:bytes"} == before
            assert await farm.scenes.bytes_of("ann") == 0
            assert not await farm.is_there("results/old/old.f1.t0/1/a/tile.exr")
            assert not await farm.is_there(blob_key("ann", hashlib.sha256(b"more").hexdigest()))
            if not killed:
                break
            farm.now, cut = time.time(), cut + 1
        assert cut > 10

    world(story)


async def swept(farm, cut):
    """Sweep until the step with this number; returns whether it came to it."""
    steps, (do, call, thread) = [], (farm.connection.do, farm.connection.call, farm.objects._in_thread)

    def counted(work):
        async def step(*given):
            steps.append(given)
            if len(steps) > cut:
                raise Cut
            return await work(*given)

        return step

    farm.connection.do, farm.connection.call = counted(do), counted(call)
    farm.objects._in_thread = counted(thread)
    farm.now = time.time() + 2 * KEPT
    try:
        await farm.keeper.sweep()
    except Cut:
        return True
    finally:
        farm.connection.do, farm.connection.call, farm.objects._in_thread = do, call, thread
    return False


def test_a_job_that_was_never_made_leaves_nothing(world):
    """Killed while its tasks were written, or refused at the end."""

    async def story(farm):
        before = await farm.keys()
        with pytest.raises(OverQuota):
            await farm.jobs.create(
                new_job("many", 500, 1, False, farm.now), Repeat("ann", "", ""), Room(1, 9)
            )
        assert await farm.jobs.get("many") is None
        assert await farm.jobs.ids("ann", None) == []
        farm.now += DAY
        await farm.keeper.sweep()
        assert await farm.keys() == before

    world(story)


def test_tasks_of_a_job_that_was_given_up_are_ended_after_a_crash(world):
    async def story(farm):
        new = new_job("long", 1500, 1, False, farm.now)
        await farm.jobs.create(new, Repeat("ann", "", ""))
        await farm.connection.call(Intend("long", "cancel"))
        states = {task_of(task).state for task in (await farm.jobs.tasks("long", 0, 10_000))[0]}
        assert states == {"cancelled", "ready", "waiting"}, "most are ended afterwards"
        assert (await farm.jobs.get("long")).state == "cancelled"
        await farm.keeper.finish_endings()
        states = {task_of(task).state for task in (await farm.jobs.tasks("long", 0, 10_000))[0]}
        assert states == {"cancelled"}
        assert await farm.jobs.ending() == []

    world(story)
