# SPDX-License-Identifier: GPL-3.0-or-later
"""Paid jobs from deposit to the last unit, on a real store and a real chain with the contracts."""

import asyncio
from dataclasses import replace

import pytest

from payments.messages import accepted_tree
from tests.support import local_chain
from tests.support.settled_farm import BUDGET, PRICE, SettledFarm, Town, run


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    folder = tmp_path_factory.mktemp("town")
    (folder / "chain").mkdir()
    with local_chain.local_chain(folder / "chain") as local:
        yield Town(local, folder)


@pytest.fixture
def farm(town, valkey_server, tmp_path):
    return SettledFarm(town, valkey_server.url, tmp_path)


def test_a_whole_job_settles_to_the_unit(farm) -> None:
    async def story() -> None:
        for name in ("n1", "n2"):
            await farm.node(name)
        job = await farm.job(frames=4, tiles=3)
        async with farm.running():
            assert (await farm.jobs.get(job)).state == "awaiting_funds"
            await farm.deposit(job)
            await farm.work(job, "n1", "n2")
            told = await farm.settle(job)
        earned = {line.node: line.earned for line in told.nodes}
        assert sum(earned.values()) == told.paid == 12 * PRICE
        assert (told.deposit, told.refunded, told.owed, told.refundable) == (BUDGET, BUDGET - told.paid, 0, 0)
        assert told.state == (await farm.jobs.get(job)).state == "settled"
        for line in told.nodes:
            assert farm.town.balance(line.payee) == line.paid == line.earned
        assert farm.town.balance(farm.client.address) == 2 * BUDGET - told.paid
        assert [frame.amount for frame in told.frames] == [3 * PRICE] * 4

    run(farm, story)


def check_streams(streams, told) -> None:
    """Nobody was told anything twice or otherwise: one order a node, vouchers that only grow, and leaves that
    add up to each voucher's root."""
    for line in told.nodes:
        promises = streams[line.node]
        assert {promise.agreement for promise in promises} == {line.agreement}
        leaves, before = [], 0
        for promise in promises:
            leaves += promise.credits
            said = promise.voucher.message if promise.voucher else None
            if said is not None:
                assert (said.acceptedRoot, said.cumulative) == accepted_tree.root(leaves)
                assert before <= said.cumulative <= promise_cap(promise)
                before = said.cumulative
        assert before == line.earned == line.paid
        assert len({leaf.task for leaf in leaves}) == len(leaves)


def promise_cap(promise):
    raised = promise.cap_raise
    return raised.message.cap if raised else promise.order.message.cap


def test_killed_after_any_write_it_goes_on_and_pays_once(farm) -> None:
    """Dead after each write in turn, with its answer lost: the next one goes on from the store."""

    async def story() -> None:
        for name in ("n1", "n2"):
            await farm.node(name)
        job = await farm.job(frames=6, tiles=2)
        await farm.deposit(job)
        working = asyncio.create_task(end_to_end(farm, job))
        deaths = 0
        while not working.done():
            deaths += await farm.live()
        told = await working
        assert deaths >= 15
        assert told.paid == 12 * PRICE == told.deposit - told.refunded
        check_streams(await farm.streams(), told)
        for line in told.nodes:
            assert farm.town.balance(line.payee) == line.earned

    run(farm, story)


async def end_to_end(farm, job):
    await farm.work(job, "n1", "n2")
    return await farm.settle(job)


def test_a_deposit_counts_when_it_is_deep_enough_and_a_deeper_reorganisation_stops_the_farm(
    tmp_path, valkey_server
) -> None:
    (tmp_path / "chain").mkdir()
    with local_chain.local_chain(tmp_path / "chain") as local:
        town = Town(local, tmp_path)
        town.network = replace(town.network, confirmations=2)
        farm = SettledFarm(town, valkey_server.url, tmp_path)

        async def story() -> None:
            await farm.node("n1")
            job = await farm.job(frames=2, tiles=1)
            async with farm.running():
                await farm.deposit(job)
                local.rpc("anvil_rollback", 1)
                for _ in range(3):
                    local.rpc("evm_mine")
                raw = farm.client.outbox.all()[-1].attempts[-1].raw
                local.rpc("eth_sendRawTransaction", raw)
                assert await farm.money.chain_entries(job) == [], "neither the first nor the second yet"
                for _ in range(2):
                    local.rpc("evm_mine")
                told = await farm.told(job, lambda told: told.deposit == BUDGET)
                assert [line.kind for line in told.transactions] == ["opened", "funded"]
                await farm.until(lambda: is_funded(farm, job))
                local.rpc("anvil_rollback", 4)
                local.rpc("evm_mine")
                await farm.told(job, lambda told: any("reorganised deeper" in one for one in told.notices))
                assert (await farm.jobs.get(job)).state == "paused"

        run(farm, story)


async def is_funded(farm, job):
    return (await farm.money.job(job)).funded
