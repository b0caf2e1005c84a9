# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs that stand still say why, on a real store, until somebody takes their work."""

import asyncio
from dataclasses import replace

import pytest

from farm_protocol.records import (
    FailureCode,
    Heartbeat,
    JobState,
    LeaseRequest,
    SlotOffer,
    SlotState,
    SlotTrouble,
    TaskFailure,
    TaskKind,
)
from render_farm.dispatch import Dispatch
from render_farm.standstills import Standstills
from render_farm.store.connection import Connection
from render_farm.store.identities import Caller, Repeat, Role
from render_farm.store.jobs import Jobs
from render_farm.store.leases import Leases
from render_farm.store.peers import Peers
from tests.integration.test_coordinator_states import new_job

OWN = Caller(Role.NODE, "admin", "own", True)
GUEST = Caller(Role.NODE, "bob", "guest", False)
RENDERS = (TaskKind.RENDER, TaskKind.AUDIT)


class World:
    """A job of two frames, nodes that ask when told to, and a clock of its own."""

    def __init__(self, connection):
        self.connection, self.now = connection, 1000.0
        self.jobs, self.leases = Jobs(connection), Leases(connection)
        self.dispatch = Dispatch(self.leases, 30.0, clock=self.clock)
        self.standstills = Standstills(Peers(connection), 40.0, self.clock)

    def clock(self):
        return self.now

    async def start(self, final):
        await self.connection.do("FLUSHALL")
        for one in (OWN, GUEST):
            fields = ("name", f"{one.node} node", "owner", one.owner, "own", int(one.own), "address", "0x1")
            await self.connection.do("HSET", f"farm:node:{one.node}", *fields)
        await self.jobs.create(new_job("j", 2, 1, final, self.now), Repeat("ann", "", ""))

    async def ask(self, caller, device="cpu", sandboxed=True, slots=1, kinds=RENDERS, memory=0):
        offers = tuple(SlotOffer(f"s{number}", kinds, device, memory=memory) for number in range(slots))
        return await self.dispatch.lease(caller, LeaseRequest(offers, 0.0, sandboxed), _never)

    async def looks(self, times=2):
        for _ in range(times):
            await self.standstills.step()
        return (await self.jobs.get("j")).waiting

    async def notices(self):
        events = await self.jobs.follow("j", "0", 0)
        return [event.data["detail"] for event in events if event.name == "notice"]


async def _never():
    return False


@pytest.fixture
def run(valkey_server):
    def with_world(work, final=False):
        async def inside():
            connection = Connection(valkey_server.url)
            try:
                world = World(connection)
                await world.start(final)
                await work(world)
            finally:
                await connection.close()

        asyncio.run(inside())

    return with_world


def test_a_job_without_nodes_says_so_until_one_takes_its_work(run):
    async def work(world):
        assert await world.looks(1) == "", "nodes may just be starting"
        told = await world.looks(1)
        assert told == "Nobody can render tiles: no node is online."
        assert await world.looks(3) == told
        assert await world.notices() == [told], "it is told once"
        assert await world.ask(GUEST)
        assert (await world.jobs.get("j")).waiting == ""
        assert await world.notices() == [told, ""]
        assert await world.looks() == "", "somebody works on it"

    run(work)


def test_whole_frames_without_an_own_node(run):
    async def work(world):
        assert await world.ask(GUEST) == []
        assert "only the farm's own nodes may" in await world.looks()

    run(work, final=True)


def test_a_node_of_another_device_class(run):
    async def work(world):
        await world.connection.do("HSET", "farm:job:j", "device_class", "gpu", "accepted", 1)
        assert await world.ask(GUEST) == []
        told = await world.looks()
        assert "guest node is of another device class than the job's, which is gpu" in told

    run(work)


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (("SADD", "farm:job:j:excluded", "guest"), "guest node gets no more of it"),
        (("HSET", "farm:node:guest", "offer", "{}"), "guest node sells its work, and this job is free"),
        (("HSET", "farm:job:j", "paid", "1", "funded", "1"), "guest node has no agreement"),
    ],
)
def test_what_the_store_holds_back_is_told(run, prepare, words):
    async def work(world):
        await world.connection.do(*prepare)
        assert await world.ask(GUEST) == []
        assert words in await world.looks()

    run(work)


def test_a_node_without_a_sandbox(run):
    async def work(world):
        assert await world.ask(GUEST, sandboxed=False) == []
        assert "guest node has no sandbox" in await world.looks()

    run(work)


def test_a_node_that_is_only_busy_is_no_reason(run):
    async def work(world):
        await world.jobs.create(replace(new_job("k", 1, 1, False, 1.0), job="k"), Repeat("ann", "k", ""))
        assert [one.task.job for one in await world.ask(GUEST)] == ["k"]
        assert await world.looks() == ""

    run(work)


def test_a_paused_job_waits_for_nobody(run):
    async def work(world):
        assert await world.looks()
        await world.jobs.intend("j", "pause")
        assert (await world.jobs.get("j")).waiting == ""
        assert await world.looks() == ""
        await world.jobs.intend("j", "resume")
        assert await world.looks() != ""

    run(work)


def test_a_look_is_no_word_from_a_node(run):
    async def work(world):
        await world.ask(OWN, kinds=(TaskKind.CHECK,))
        world.now += 39.0
        await world.looks()
        assert float(await world.connection.do("ZSCORE", "farm:nodes", "own")) == 1000.0
        world.now += 2.0
        assert "no node is online" in await world.looks()

    run(work)


def test_a_job_says_that_the_only_slot_rests_and_why(run):
    async def work(world):
        (lease,) = await world.ask(OWN)
        failure = TaskFailure(FailureCode.NODE, "The disk of this node is full.")
        await world.leases.give_back(lease.task.id, lease.token, OWN.node, failure, world.now)
        trouble = SlotTrouble("s0", SlotState.RESTING, failure.message)
        await world.leases.renew(OWN.node, Heartbeat((), (trouble,)), world.now, world.now + 30.0)
        assert "cannot work at the moment: The disk of this node is full." in await world.looks()
        await world.leases.renew(OWN.node, Heartbeat(()), world.now, world.now + 30.0)
        assert await world.looks(1) == ""

    run(work)


FULL = TaskFailure(FailureCode.GPU_MEMORY, "System is out of GPU memory")


def test_a_scene_that_does_not_fit_a_gpu_goes_to_a_larger_one_and_fails_nobody(run):
    async def work(world):
        for _ in range(4):
            [taken] = await world.ask(OWN, "optix:small", memory=24 << 30)
            await world.leases.give_back(taken.task.id, taken.token, "own", FULL, world.now)
            assert await world.ask(OWN, "optix:small", memory=24 << 30) == []
            assert await world.ask(GUEST, "optix:small", memory=20 << 30) == []
            await world.connection.do("DEL", "farm:job:j:too_small")
            world.now += 100.0
        [taken] = await world.ask(OWN, "optix:small", memory=24 << 30)
        await world.leases.give_back(taken.task.id, taken.token, "own", FULL, world.now)
        world.now += 100.0
        assert await world.ask(OWN, "optix:small", memory=24 << 30) == []
        assert await world.ask(GUEST, "optix:small", memory=20 << 30) == []
        told = await world.looks()
        assert "guest node, own node, each lacks the video memory: the scene did not fit 24.0 GiB" in told
        assert (await world.jobs.get("j")).state is JobState.RENDERING, "it is not the scene's fault, ever"
        assert len(await world.ask(GUEST, "optix:large", memory=80 << 30)) == 1

    run(work)


def test_a_strangers_word_that_a_gpu_is_too_small_bars_nobody_else(run):
    async def work(world):
        [taken] = await world.ask(GUEST, "optix:a", memory=1 << 52)
        await world.leases.give_back(taken.task.id, taken.token, "guest", FULL, world.now)
        world.now += 100.0
        assert await world.ask(GUEST, "optix:a", memory=1 << 52) == []
        assert await world.ask(GUEST, "cpu:avx2"), "its processors are no GPU"
        assert await world.ask(OWN, "cpu:avx2", memory=0)

    run(work)
