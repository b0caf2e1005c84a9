# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scripts refuse by themselves, whatever a scheduler with an old picture asks of them."""

import asyncio

import pytest

from farm_protocol.errors import Conflict, Unavailable
from farm_protocol.records import LeaseRequest, SlotOffer, TaskKind
from render_farm.coordinator.dispatch import Dispatch
from render_farm.policy.scheduler import Asker, Choice
from render_farm.store.connection import Connection
from render_farm.store.identities import Caller, Repeat, Role
from render_farm.store.jobs import Jobs
from render_farm.store.leases import Leases
from tests.integration.test_coordinator_states import new_job

NODE = Asker("n", "ann", own=True, sandboxed=True)
NOW = 1000.0


def offer(device="cpu"):
    return SlotOffer("s", (TaskKind.RENDER, TaskKind.FINISH), device)


def run(url, work):
    """`await work(connection, jobs, leases)` on an empty store that holds job `j` of two whole frames."""

    async def inside():
        connection = Connection(url)
        try:
            await connection.do("FLUSHALL")
            for node in ("n", *(f"n{number}" for number in range(20))):
                await connection.do("HSET", f"farm:node:{node}", "address", "0x" + "1" * 40)
            jobs = Jobs(connection)
            await jobs.create(new_job("j", 2, 1, False, NOW), Repeat("ann", "", ""))
            return await work(connection, jobs, Leases(connection))
        finally:
            await connection.close()

    return asyncio.run(inside())


async def seen(leases, device="cpu"):
    """What a scheduler saw a moment ago."""
    queues = (await leases.find(NODE, LeaseRequest((offer(device),)), NOW)).queues
    return [Choice(offer(device), queue, task) for queue in queues for task in queue.tasks]


def test_only_one_gets_a_task(valkey_server):
    async def work(_, __, leases):
        choice = (await seen(leases))[0]
        taken = await asyncio.gather(
            *(leases.take([choice], f"n{number}", NOW, NOW + 30) for number in range(20))
        )
        assert sum(map(len, taken)) == 1

    run(valkey_server.url, work)


def test_of_several_slots_those_are_filled_whose_tasks_are_left(valkey_server):
    async def work(_, __, leases):
        first, second, *_ = await seen(leases)
        assert await leases.take([first], "n1", NOW, NOW + 30)
        (taken,) = await leases.take([first, second], "n2", NOW, NOW + 30)
        assert taken.task.id == second.task.task

    run(valkey_server.url, work)


def test_class_is_checked_when_taking(valkey_server):
    async def work(_, jobs, leases):
        cpu, gpu = await seen(leases, "cpu"), await seen(leases, "gpu")
        assert await leases.take([cpu[0]], "n1", NOW, NOW + 30)
        assert await leases.take([gpu[1]], "n2", NOW, NOW + 30) == [], "another class came first"
        assert (await jobs.get("j")).device_class == "cpu"
        assert await leases.take([cpu[1]], "n2", NOW, NOW + 30)

    run(valkey_server.url, work)


@pytest.mark.parametrize("intent", ["pause", "cancel"])
def test_stopped_job_is_not_taken_from(valkey_server, intent):
    async def work(_, jobs, leases):
        choice = (await seen(leases))[0]
        await jobs.intend("j", intent)
        assert await leases.take([choice], "n1", NOW, NOW + 30) == []

    run(valkey_server.url, work)


def test_many_askers_at_once_get_all_tasks_once(valkey_server):
    async def work(_, __, leases):
        dispatch = Dispatch(leases, 30.0)
        callers = [Caller(Role.NODE, "ann", f"n{number}", True) for number in range(10)]
        request = LeaseRequest((offer(),), 0.0, True)
        found = await asyncio.gather(*(dispatch.lease(caller, request, _never) for caller in callers))
        assert sorted(lease.task.id for taken in found for lease in taken) == ["j.f0.t0", "j.f1.t0"]

    run(valkey_server.url, work)


def test_grace_lengthens_only_what_would_end_earlier(valkey_server):
    async def work(connection, _, leases):
        first, second = await seen(leases)
        await leases.take([first], "n1", NOW, NOW + 1)
        await leases.take([second], "n1", NOW, NOW + 99)
        assert await leases.grace(NOW, NOW + 30) == 1
        assert await leases.next_end() == NOW + 30
        assert await leases.expire(NOW + 29) == []
        assert [ended.task for ended in await leases.expire(NOW + 30)] == [first.task.task]

    run(valkey_server.url, work)


def test_key_used_for_another_request(valkey_server):
    async def work(_, jobs, __):
        first = await jobs.create(new_job("a", 1, 1, False, NOW), Repeat("ann", "k", "1"))
        assert await jobs.create(new_job("b", 1, 1, False, NOW), Repeat("ann", "k", "1")) == first
        with pytest.raises(Conflict):
            await jobs.create(new_job("c", 1, 1, False, NOW), Repeat("ann", "k", "2"))
        assert await jobs.made_before(Repeat("ann", "k", "1")) == first
        assert await jobs.made_before(Repeat("bob", "k", "1")) is None

    run(valkey_server.url, work)


def test_full_store_is_said_and_changes_nothing(valkey_server):
    async def work(connection, jobs, _):
        await connection.do("CONFIG SET", "maxmemory", "1")
        try:
            with pytest.raises(Unavailable, match="store is full"):
                await jobs.create(new_job("full", 1, 1, False, NOW), Repeat("ann", "", ""))
        finally:
            await connection.do("CONFIG SET", "maxmemory", "0")
        assert await jobs.get("full") is None

    run(valkey_server.url, work)


async def _never():
    return False
