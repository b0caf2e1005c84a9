# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad days of paid jobs: the chain stalled or away, two settlers, liars, short budgets, clients that take
back, revoke or vanish. The store is real, and so are chain and contracts.
"""

import asyncio
import time

import pytest

from farm_protocol import documents, typed_data
from farm_protocol.fields import encode
from payments.chain.market_records import Unpaid
from payments.chain.refusals import Refused
from payments.messages import signing
from payments.messages.promises import Order
from payments.messages.session import session_key
from render_farm.coordinator.result_receiver import Equivocation
from render_farm.settlement.farm_entries import FarmEntry
from render_farm.settlement.settler import LockLost
from tests.support import local_chain
from tests.support.settled_farm import BUDGET, PRICE, TOKEN, UNIT, WINDOWS, SettledFarm, Town, run
from tests.support.settling import CLASS, FARM, FARM_KEY, digest
from verification.protocol import attestation


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    folder = tmp_path_factory.mktemp("town")
    (folder / "chain").mkdir()
    with local_chain.local_chain(folder / "chain") as local:
        yield Town(local, folder)


@pytest.fixture
def farm(town, valkey_server, tmp_path):
    return SettledFarm(town, valkey_server.url, tmp_path)


async def notice(farm, job, words):
    """Wait until people are told something."""
    return await farm.told(job, lambda told: any(words in one for one in told.notices))


# --- the chain is slow or away ---------------------------------------------------------------------


def test_a_stalled_chain_delays_no_frame_and_no_voucher(farm) -> None:
    async def story() -> None:
        await farm.node("n1")
        job = await farm.job(frames=10, tiles=2)
        await farm.deposit(job)
        async with farm.running():
            await farm.until(lambda: is_funded(farm, job))
            farm.town.local.rpc("evm_setAutomine", False)
            blocks = farm.town.local.number("eth_blockNumber")
            try:
                await farm.work(job, "n1")
                await farm.ended(job)
                assert farm.town.local.number("eth_blockNumber") == blocks
            finally:
                farm.town.local.rpc("evm_setAutomine", True)
            (order,) = await farm.money.orders(job)
            assert order.promise.voucher.message.cumulative == 20 * PRICE
            told = await farm.settle(job)
        assert told.paid == 20 * PRICE == farm.town.balance(told.nodes[0].payee)

    run(farm, story)


def test_with_the_chain_away_a_job_that_began_is_rendered_and_promised(farm) -> None:
    """The settler starts again without any chain, and brings everything there when it is back."""

    async def story() -> None:
        await farm.node("n1")
        job = await farm.job(frames=10, tiles=2)
        await farm.deposit(job)
        async with farm.running():
            await farm.until(lambda: is_funded(farm, job))
        async with farm.running(farm.settler(url="http://127.0.0.1:9")):
            await farm.work(job, "n1", most=15)
            cumulative = 0
            while cumulative < 6 * PRICE:
                (order,) = await farm.money.orders(job)
                cumulative = order.promise.voucher.message.cumulative if order.promise.voucher else 0
                await asyncio.sleep(0.02)
        async with farm.running():
            await farm.work(job, "n1")
            told = await farm.settle(job)
        assert told.paid == 20 * PRICE

    run(farm, story)


async def is_funded(farm, job):
    return (await farm.money.job(job)).funded


# --- two settlers ----------------------------------------------------------------------------------


def test_of_two_settlers_one_works_and_the_other_takes_over(farm) -> None:
    async def story() -> None:
        await farm.node("n1")
        job = await farm.job(frames=4, tiles=1)
        await farm.deposit(job)
        async with farm.running(farm.settler("one")):
            await farm.until(lambda: is_funded(farm, job))
            async with farm.running(farm.settler("two")) as second:
                await farm.work(job, "n1", most=3)
                await asyncio.sleep(0.3)
                assert not second._ledgers.all(), "it waits for the lock"
        assert await farm.money.hold_lock("two", 1.0), "who stops gives the lock up"
        async with farm.running(farm.settler("two")):
            await farm.work(job, "n1")
            told = await farm.settle(job)
        (promise, *more) = (await farm.streams())["n1"]
        assert {one.agreement for one in more} == {promise.agreement}
        assert told.paid == 4 * PRICE

    run(farm, story)


def test_a_settler_that_lost_its_lock_stops_at_once(farm) -> None:
    async def story() -> None:
        settler = farm.settler(wallet=False)
        await farm.money.hold_lock("two", 60)
        with pytest.raises(LockLost, match="Another settler"):
            await settler._renew_once()

    run(farm, story)


# --- liars -----------------------------------------------------------------------------------------


async def reject(farm, job, order, code="differs", task="f0.t1"):
    """What the scripts write where a stranger's tile is rejected."""
    said = FarmEntry(
        "rejected",
        f"{job}.{task}",
        7,
        order.node,
        order.agreement,
        UNIT,
        frame=0,
        code=code,
        reason="A region.",
    )
    await farm.store.do("RPUSH", f"farm:job:{job}:entries", encode(said))
    await farm.store.do("XADD", "farm:money:changed", "*", "job", job)


def test_a_liar_is_slashed_though_its_operator_withdraws_what_it_can(farm) -> None:
    async def story() -> None:
        stranger = await farm.node("bob", own=False, stake=1000 * PRICE)
        await farm.node("own")
        job = await farm.job(frames=2, tiles=1)
        await farm.deposit(job)
        async with farm.running():
            await farm.until(lambda: is_funded(farm, job))
            order = await farm.money.order(job, "bob")
            operator = farm.wallet_of(stranger.operator)
            await farm.until(lambda: is_open(farm, order.agreement))
            locked = farm.market.backing(stranger.operator.address, order.agreement).amount
            free = farm.market.stake(stranger.operator.address).free
            await asyncio.to_thread(operator.withdraw, "out", free, 10)
            await reject(farm, job, order)
            await farm.until(lambda: is_proposed(farm, job))
            farm.turn(WINDOWS.slash + 1)
            told = await farm.told(job, lambda told: any(line.slashed for line in told.nodes))
        line = next(line for line in told.nodes if line.node == "bob")
        assert line.slashed == locked > 2 * 9 * PRICE
        assert (line.compensated, told.compensated) == (0, 0), "nothing was paid for its work"
        assert farm.market.stake(stranger.operator.address).free == 0
        assert (await farm.money.order(job, "bob")).units_cap == 0, "and it gets nothing more"

    run(farm, story)


def test_two_pictures_under_one_lease_cost_all_that_is_behind_the_agreement(farm) -> None:
    """Shown by both signatures, at once: the job's arbiter is somebody else, and is not needed."""

    async def story() -> None:
        stranger = await farm.node("bob", own=False)
        job = await farm.job(frames=2, tiles=1, arbiters=("0x" + "aa" * 20,))
        await farm.deposit(job)
        async with farm.running():
            await farm.until(lambda: is_funded(farm, job))
            order = await farm.money.order(job, "bob")
            await farm.until(lambda: is_open(farm, order.agreement))
            locked = farm.market.backing(stranger.operator.address, order.agreement).amount
            lease = (await farm.take(stranger, 1))[0]
            await farm.submit(stranger, lease)
            with pytest.raises(Equivocation):
                await farm.submit(stranger, lease)
            told = await farm.told(job, lambda told: any(line.slashed for line in told.nodes))
        (line,) = told.nodes
        assert line.slashed == locked > 0
        assert farm.town.balance(farm.wallet_key.address) == locked // 10, "a tenth is who shows it"

    run(farm, story)


async def is_open(farm, agreement):
    return farm.market.agreement(agreement).state == 1


async def is_proposed(farm, job):
    return any(one["kind"] == "proposed" for one in await farm.money.chain_entries(job))


@pytest.mark.parametrize(("own", "code"), [(True, "differs"), (False, "undecodable")])
def test_an_own_node_and_a_file_that_is_merely_broken_cost_no_stake(farm, own, code) -> None:
    async def story() -> None:
        await farm.node("n1", own=own)
        job = await farm.job(frames=2, tiles=1)
        await farm.deposit(job)
        async with farm.running():
            await farm.until(lambda: is_funded(farm, job))
            order = await farm.money.order(job, "n1")
            await farm.until(lambda: is_open(farm, order.agreement))
            await reject(farm, job, order, code)
            await asyncio.sleep(0.6)
            assert not await is_proposed(farm, job)

    run(farm, story)


# --- claims ----------------------------------------------------------------------------------------


def unpaid(farm, node, task, amount):
    """A task with its receipt, as the node holds it: whatever became of it afterwards."""
    said = documents.Attestation(task, 1, "12" * 32, "cd" * 32, CLASS, "5.0.1", 500)
    signed = attestation.sign(said, FARM, node.key.reveal())
    receipt = documents.Submission(
        attestation.digest(said, FARM).hex(), int(time.time() * 1000), 9, "00" * 32, 0
    )
    by_farm = attestation.sign(receipt, FARM, FARM_KEY)
    return Unpaid(said, signed, receipt, by_farm, amount)


@pytest.mark.parametrize("undecided", [False, True])
def test_of_a_contested_claim_stands_what_the_farm_accepted(farm, undecided) -> None:
    """And where it has decided nothing about a claimed task, it says nothing: the receipts stand."""

    async def story() -> None:
        node = await farm.node("n1")
        job = await farm.job(frames=2, tiles=2)
        await farm.deposit(job)
        async with farm.running():
            await farm.until(lambda: is_funded(farm, job))
            order = await farm.money.order(job, "n1")
            await farm.until(lambda: is_open(farm, order.agreement))
            await farm.work(job, "n1", most=1)
            if not undecided:
                await reject(farm, job, order, "undecodable")
            tasks = [unpaid(farm, node, f"{job}.f0.t{tile}", PRICE) for tile in (0, 1)]
            operator = farm.wallet_of(node.operator)
            await asyncio.to_thread(operator.claim, order.agreement, None, tasks, 10)
            await notice(farm, job, "claims work without a voucher")
            before = farm.town.balance(farm.client.address)
            await asyncio.to_thread(farm.client.contest, "contest", order.agreement, TOKEN, 10)
            if undecided:
                await notice(farm, job, "is contested; the job's arbiters decide")
                farm.turn(WINDOWS.decision + 1)
                call = farm.market.settle_claim(order.agreement)
                await asyncio.to_thread(farm.client.do, "settle", call, wait=10)
            told = await farm.told(job, lambda told: told.paid > 0)
        assert told.paid == (2 * PRICE if undecided else PRICE)
        assert farm.town.balance(farm.client.address) == before, "the bond came back"

    run(farm, story)


SMALL = PRICE // 10


def test_what_was_paid_already_is_struck_from_a_claim(farm) -> None:
    """The settler shows it unasked; what is claimed beside it stands, as nobody contests it."""

    async def story() -> None:
        node = await farm.node("n1")
        job = await farm.job(frames=2, tiles=1)
        await farm.deposit(job)
        async with farm.running():
            await farm.until(lambda: is_funded(farm, job))
            await farm.work(job, "n1", most=3)
            order = await farm.until(lambda: vouched(farm, job))
            await farm.until(lambda: is_open(farm, order.agreement))
            (paid,) = order.promise.credits
            (other,) = {f"{job}.f0.t0", f"{job}.f1.t0"} - {paid.task}
            amounts = {other: SMALL, paid.task: PRICE}
            tasks = [unpaid(farm, node, task, amount) for task, amount in amounts.items()]
            operator = farm.wallet_of(node.operator)
            last = order.promise.voucher
            await asyncio.to_thread(operator.claim, order.agreement, last, tasks, 10)
            number = await farm.number(job)
            await farm.until(lambda: is_struck(farm, number, paid.task))
            claim = await asyncio.to_thread(farm.market.claim, order.agreement)
            assert (claim.base, claim.claimed, claim.extra) == (PRICE, PRICE + SMALL, SMALL)
            assert not await is_struck(farm, number, other), "the rest of the claim stands"
            farm.turn(WINDOWS.claim + 1)
            call = farm.market.settle_claim(order.agreement)
            await asyncio.to_thread(farm.client.do, "settle", call, wait=10)
            told = await farm.told(job, lambda told: told.paid > PRICE)
        assert told.paid == PRICE + SMALL

    run(farm, story)


async def vouched(farm, job):
    """The job's order once it has a voucher."""
    orders = await farm.money.orders(job)
    return next((order for order in orders if order.promise.voucher is not None), None)


async def is_struck(farm, number, task):
    amount, _ = await asyncio.to_thread(farm.market.claimed, number, task)
    return amount == 0


# --- budgets ---------------------------------------------------------------------------------------


def test_a_deposit_below_the_budget_waits_for_the_rest(farm) -> None:
    async def story() -> None:
        await farm.node("n1")
        job = await farm.job(frames=2, tiles=1)
        await farm.deposit(job, BUDGET - TOKEN)
        async with farm.running():
            await notice(
                farm, job, "Its deposit is 9 RND of 10 RND: it begins when the other 1 RND is there."
            )
            assert not await is_funded(farm, job)
            assert await farm.money.orders(job) == []
            await asyncio.to_thread(farm.client.top_up, "more", await farm.number(job), TOKEN, 10)
            await farm.work(job, "n1")
            told = await farm.settle(job)
        assert (told.deposit, told.paid) == (BUDGET, 2 * PRICE)

    run(farm, story)


def test_a_budget_that_is_used_up_sets_the_job_aside_until_there_is_more(farm) -> None:
    async def story() -> None:
        await farm.node("n1")
        job = await farm.job(frames=8, tiles=1, budget=5 * PRICE)
        await farm.deposit(job, 5 * PRICE)
        async with farm.running():
            working = asyncio.create_task(farm.work(job, "n1"))
            told = await farm.told(job, lambda told: told.owed == 5 * PRICE and told.state == "paused")
            (said,) = told.notices
            assert "The budget of 0.05 RND is used up or promised: about 0.0" in said
            assert (await farm.jobs.get(job)).state == "paused"
            await asyncio.to_thread(farm.client.top_up, "more", await farm.number(job), 5 * PRICE, 10)
            await working
            told = await farm.settle(job)
        assert (told.deposit, told.paid, told.refunded) == (10 * PRICE, 8 * PRICE, 2 * PRICE)

    run(farm, story)


# --- clients ---------------------------------------------------------------------------------------


def test_a_revoked_key_begins_nothing_new_and_what_is_signed_is_paid(farm) -> None:
    async def story() -> None:
        await farm.node("n1")
        job = await farm.job(frames=20, tiles=1)
        await farm.deposit(job)
        async with farm.running():
            await farm.until(lambda: is_funded(farm, job))
            (order,) = await farm.money.orders(job)
            await farm.until(lambda: is_open(farm, order.agreement))
            await farm.work(job, "n1", most=8)
            key = typed_data.address_of(session_key(FARM_KEY, job))
            call = farm.market.revoke(await farm.number(job), key)
            await asyncio.to_thread(farm.client.do, "revoke", call, wait=10)
            await notice(farm, job, "revoked the farm's key")
            told = await farm.told(
                job, lambda told: told.state == "cancelled" and told.paid > 0 and told.owed == 0
            )
        assert told.paid == (await farm.money.orders(job))[0].promise.voucher.message.cumulative
        assert len(await farm.money.orders(job)) == 1

    run(farm, story)


def test_a_job_that_its_deadline_cuts_off_pays_what_was_accepted_and_no_more(farm) -> None:
    """A tile of a frame that never gets done is owed once the job has ended, and the deadline ends it."""

    async def story() -> None:
        await farm.node("n1")
        job = await farm.job(frames=2, tiles=2, deadline=int(farm.town.chain.time()) + 600)
        await farm.deposit(job)
        async with farm.running():
            await farm.until(lambda: is_funded(farm, job))
            (order,) = await farm.money.orders(job)
            await farm.until(lambda: is_open(farm, order.agreement))
            await farm.work(job, "n1", most=1)
            farm.turn(601)
            await farm.told(job, lambda told: told.state == "cancelled" and told.paid == PRICE)
            farm.turn(WINDOWS.grace + 1)
            told = await farm.told(job, lambda told: told.settled)
        assert (told.paid, told.refunded) == (PRICE, BUDGET - PRICE)

    run(farm, story)


def test_a_client_that_vanishes_gets_its_rest_after_deadline_and_grace(farm) -> None:
    """Nobody signs a release, nobody takes back: anybody closes, anybody refunds."""

    async def story() -> None:
        await farm.node("n1")
        deadline = int(farm.town.chain.time()) + 600
        job = await farm.job(frames=2, tiles=1, deadline=deadline)
        await farm.deposit(job)
        async with farm.running():
            await farm.work(job, "n1")
            await farm.told(job, lambda told: told.owed == 0 and told.paid == 2 * PRICE)
            farm.turn(600 + WINDOWS.grace + 1)
            told = await farm.told(job, lambda told: told.settled)
        assert (told.paid, told.refunded) == (2 * PRICE, BUDGET - 2 * PRICE)
        assert farm.town.balance(farm.client.address) == 2 * BUDGET - 2 * PRICE

    run(farm, story)


def test_an_agreement_that_a_stolen_key_opened_is_told_and_nothing_is_done_under_it(farm) -> None:
    async def story() -> None:
        node = await farm.node("n1")
        job = await farm.job(frames=2, tiles=1)
        await farm.deposit(job)
        number = await farm.number(job)
        order = Order(number, digest(node.offer), 2 * TOKEN, TOKEN, 4, 99)
        key = session_key(FARM_KEY, job)
        signed = signing.signed(order, farm.network, key)
        call = farm.market.open_agreement(node.offer, signed)
        await asyncio.to_thread(farm.client.do, "steal", call, wait=10)
        async with farm.running():
            await notice(farm, job, "was opened on the chain without an order of this farm's")
            await farm.work(job, "n1")
            told = await farm.told(job, lambda told: told.paid == 2 * PRICE)
            (order,) = await farm.money.orders(job)
            assert order.promise.order.message.salt != 99
            assert told.refundable == BUDGET - 2 * PRICE

    run(farm, story)


def test_a_client_that_takes_back_what_was_promised_stops_its_job(farm) -> None:
    """The chain is stalled for the settler alone: the client is quicker than the agreement's opening."""

    async def story() -> None:
        await farm.node("n1")
        job = await farm.job(frames=4, tiles=1)
        await farm.deposit(job)
        async with farm.running(farm.settler(wallet=False)):
            await farm.until(lambda: is_funded(farm, job))
            await farm.take_back(job)
            told = await notice(farm, job, "took money back that was promised")
            assert (await farm.jobs.get(job)).state == "paused"
        assert (told.deposit, told.refunded, told.owed, told.refundable) == (BUDGET, BUDGET, 0, 0)

    run(farm, story)


def test_stake_that_is_gone_before_the_agreement_is_open_stops_the_node(farm) -> None:
    async def story() -> None:
        node = await farm.node("n1", stake=1000 * PRICE)
        job = await farm.job(frames=4, tiles=1)
        await farm.deposit(job)
        async with farm.running(farm.settler(wallet=False)):
            await farm.until(lambda: is_funded(farm, job))
        operator = farm.wallet_of(node.operator)
        await asyncio.to_thread(operator.withdraw, "out", 1000 * PRICE, 10)
        async with farm.running():
            await notice(farm, job, "too little free stake")
            (order,) = await farm.money.orders(job)
            assert order.units_cap == order.units_used == 0

    run(farm, story)


def test_a_job_that_is_never_paid_for_is_forgotten_after_its_deadline(farm) -> None:
    async def story() -> None:
        late = max(int(farm.clock()), farm.town.chain.time()) + 600
        job = await farm.job(deadline=late)
        async with farm.running():
            await notice(farm, job, "It waits for its deposit of 10 RND.")
            await farm.jobs.intend(job, "cancel")
            await farm.told(job, lambda told: told.state == "cancelled")
            assert await farm.money.paid_jobs() == [job], "it may be opened still"
            farm.turn(601 + late - int(farm.clock()))

            async def forgotten():
                return await farm.money.paid_jobs() == []

            await farm.until(forgotten)

    run(farm, story)


def test_a_job_that_another_wallet_opens_is_refused_by_the_contract(farm) -> None:
    async def story() -> None:
        job = await farm.job()
        terms = await farm.money.terms(job)
        other = await asyncio.to_thread(farm.town.wallet, BUDGET)
        with pytest.raises(Refused):
            await asyncio.to_thread(other.open_job, "open", terms, BUDGET, 10)

    run(farm, story)
