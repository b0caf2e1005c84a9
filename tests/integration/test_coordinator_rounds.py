# SPDX-License-Identifier: GPL-3.0-or-later
"""Rounds on a real store: values that come late or never, two coordinators at once, death between steps."""

import asyncio
import hashlib
from dataclasses import replace

import pytest

from farm_protocol import typed_data
from farm_protocol.errors import NotFound, Unavailable
from farm_protocol.records import LeaseRequest, OutputFile, SlotOffer, TaskKind, TaskResult
from render_farm.coordinator.audit_rounds import LOOK_AGAIN_SECONDS, Ticker
from render_farm.coordinator.dispatch import Bell
from render_farm.coordinator.result_receiver import Counter, Equivocation
from render_farm.coordinator.standstills import Standstills
from render_farm.policy import verification_rules as farm_rules
from render_farm.policy.scheduler import Asker, Choice
from render_farm.store.connection import Connection
from render_farm.store.identities import Caller, Repeat, Role
from render_farm.store.jobs import Jobs
from render_farm.store.leases import Leases
from render_farm.store.peers import Peers
from render_farm.store.rounds import Rounds
from render_farm.store.submissions import Submissions
from tests.integration.test_coordinator_states import new_job
from tests.support.appointed import by_terms
from verification.audit.rate import Rates
from verification.audit.sampling import AuditPolicy
from verification.protocol import attestation, merkle

KEY = b"\x07" * 32
NODE = Caller(Role.NODE, "bob", "n", False)
PERIOD = 1.0


SELDOM = Rates(floor=1, halving=1)
"""A trusted node's work is audited once in a million."""


class Beacon:
    """Rounds a test hands out: those in `missing` are not to be had."""

    genesis = 0.0
    period = PERIOD

    def __init__(self):
        self.missing = set()
        self.asked = []

    def commitment(self, number):
        return "00" * 32

    async def value(self, number):
        self.asked.append(number)
        return None if number in self.missing else hashlib.sha256(b"%d" % number).digest()

    def signature(self, number):
        return ""


class World:
    """A store with a job of several whole frames, one stranger's node, and a clock of its own."""

    def __init__(self, connection, rates):
        self.connection, self.now, self.beacon = connection, 1000.5, Beacon()
        self.rules = replace(farm_rules.local(KEY, PERIOD, AuditPolicy(), rates), beacon=self.beacon)
        self.jobs, self.leases = Jobs(connection), Leases(connection)
        self.submissions, self.rounds = Submissions(connection), Rounds(connection)
        self.named = []
        self.counter = Counter(self.leases, self.submissions, self.rules, self.named.append, self.clock)
        self.ticker = self.another()

    def clock(self):
        return self.now

    def another(self):
        return Ticker(self.rounds, self.submissions, self.rules, Bell(), 40.0, self.clock)

    async def start(self, frames):
        await self.connection.do("FLUSHALL")
        address = typed_data.address_of(KEY)
        await self.connection.do("HSET", "farm:node:n", "address", address, "owner", "bob", "own", "0")
        await self.jobs.create(new_job("j", frames, 1, False, self.now), Repeat("ann", "", ""))

    async def is_trusted(self):
        for key in ("farm:node:n", "farm:owner:bob"):
            await self.connection.do("HSET", key, "passed", 10**9)

    async def lease(self):
        asker = Asker("n", "bob", own=False, sandboxed=True)
        offer = SlotOffer("s", (TaskKind.RENDER,), "cpu")
        queue = (await self.leases.find(asker, LeaseRequest((offer,)), self.now)).queues[0]
        chosen = [Choice(offer, queue, queue.tasks[0])]
        return (await self.leases.take(chosen, "n", self.now, self.now + 30))[0]

    def result(self, taken, root="ab" * 32):
        file = OutputFile("tile.exr", "cd" * 32, 1)
        result = TaskResult((file,), 1.0, 0.5, "cpu", pixel_root=root)
        message = attestation.attest(taken.task.id, taken.token, result)
        return replace(result, signature=attestation.sign(message, self.rules.address, KEY))

    async def submit(self, taken, result=None):
        result = result or self.result(taken)
        signer = await self.counter.signer(NODE, taken.task.id, taken.token, result)
        before = await self.counter.before(signer, result)
        if before:
            return before
        held = signer.known.submitting(result)
        appointed = await by_terms(self.counter, NODE, held, result, KEY, self.rules.address)
        signer = await self.counter.signer(NODE, taken.task.id, taken.token, appointed)
        return (await self.counter.take(NODE, held, appointed, signer))[1]

    async def state(self, number=0):
        return await self.connection.do("HGET", f"farm:task:j.f{number}.t0", "state")


def run(url, work, frames=3, rates=None):
    async def inside():
        connection = Connection(url)
        try:
            world = World(connection, rates or Rates())
            await world.start(frames)
            await work(world)
        finally:
            await connection.close()

    asyncio.run(inside())


@pytest.fixture
def url(valkey_server):
    return valkey_server.url


def test_nothing_pending_asks_nobody(url):
    async def work(world):
        assert await world.ticker.step() == LOOK_AGAIN_SECONDS
        assert world.beacon.asked == []

    run(url, work)


def test_sleeps_exactly_until_the_log_is_closed_and_the_round_is_out(url):
    async def work(world):
        receipt = await world.submit(await world.lease())
        assert receipt.submission.round == 1004, "the first that stays open for a while"
        assert world.named == [1004]
        assert await world.ticker.step() == pytest.approx(1.5)
        world.now += 1.5
        assert await world.rounds.head(1004) is None
        assert await world.ticker.step() == 0.0
        head = await world.rounds.head(1004)
        assert (head.round, head.size) == (1004, 1)
        assert await world.rounds.head() == head
        assert await world.ticker.step() == pytest.approx(1.0)
        assert world.beacon.asked == []
        world.now += 1.0
        assert await world.ticker.step() == 0.0
        assert await world.state() == "auditing"
        assert await world.ticker.step() == LOOK_AGAIN_SECONDS

    run(url, work)


def test_a_submission_wakes_the_ticker(url):
    async def work(world):
        world.counter = Counter(world.leases, world.submissions, world.rules, world.ticker.named, world.clock)
        running = asyncio.create_task(world.ticker.run())
        await world.submit(await world.lease())
        world.now += 2.6
        world.ticker.named(0)
        await until_audited(world)
        running.cancel()

    run(url, work)


def test_a_late_value_is_waited_for(url):
    async def work(world):
        await world.submit(await world.lease())
        world.beacon.missing.add(1004)
        world.now = 1030.0
        assert await world.ticker.step() == 0.0
        assert await world.ticker.step() == 1.0
        assert await world.state() == "submitted"
        world.beacon.missing.clear()
        assert await world.ticker.step() == 0.0
        one = await world.submissions.progressed("j.f0.t0", 1)
        assert (one.record.audited, one.record.forced) == (True, "")
        assert await world.rounds.get(1004) is not None

    run(url, work)


def test_a_round_that_comes_very_late_decides_and_no_other(url):
    """Whatever later rounds are out by then: nobody can choose among them."""

    async def work(world):
        await world.is_trusted()
        receipt = await world.submit(await world.lease())
        assert receipt.submission.rate == 1
        world.beacon.missing.add(1004)
        world.now = 5000.0
        await until_idle(world.ticker)
        assert await world.state() == "submitted"
        assert await world.rounds.get(1004) is None
        later = await world.submit(await world.lease())
        world.now = 5010.0
        await until_idle(world.ticker)
        assert (await world.rounds.head(later.submission.round)).size == 2, "the log is closed all the same"
        world.beacon.missing.clear()
        await until_idle(world.ticker)
        one = await world.submissions.progressed("j.f0.t0", 1)
        assert one.value == (await world.rounds.get(1004)).value
        assert await world.rounds.first() is None

    run(url, work, rates=SELDOM)


def test_a_job_that_waits_for_a_beacon_that_is_away_says_so_until_it_is_back(url):
    async def work(world):
        standstills = Standstills(Peers(world.connection), 40.0, world.clock, beacon=world.ticker.away)

        async def said():
            for _ in range(2):
                await standstills.step()
            return (await world.jobs.get("j")).waiting

        await world.submit(await world.lease())
        world.beacon.missing = set(range(1000, 2000))
        world.now = 1003.5
        await until_idle(world.ticker)
        assert await said() == "", "a round may be a little late"
        for _ in range(4):
            world.now += 10.0
            await until_idle(world.ticker)
        assert "round" in (told := await said())
        assert "none of its servers gives" in told
        world.beacon.missing = set()
        world.now += 5
        await until_idle(world.ticker)
        assert await world.state() == "auditing"
        assert "beacon" not in await said()
        events = await world.jobs.follow("j", "0", 0)
        notices = [event.data["detail"] for event in events if event.name == "notice"]
        assert notices[:2] == [told, ""]

    run(url, work, frames=1)


def test_two_coordinators_decide_once(url):
    async def work(world):
        for _ in range(3):
            await world.submit(await world.lease())
        world.now += 2.5
        for _ in range(2):
            await asyncio.gather(*(world.another().step() for _ in range(6)))
        assert await world.rounds.first() is None
        audits = [(await world.submissions.progressed(f"j.f{n}.t0", 1)).record.audits for n in range(3)]
        assert [len(one) for one in audits] == [1, 1, 1]
        job = await world.jobs.get("j")
        assert job.audits.audited == 3

    run(url, work)


async def until_idle(ticker):
    """Whatever it is time for."""
    while await ticker.step() == 0.0:
        pass


async def until_audited(world):
    """Waits for the first tile's audit, event by event."""
    after = "0"
    async with asyncio.timeout(10):
        while await world.state() != "auditing":
            for entry, _ in await world.connection.follow("farm:job:j:events", after, 5.0, 1):
                after = entry


async def steps_of(ticker):
    for _ in range(4):
        await ticker.step()


class Dies(Exception):
    """The coordinator is killed here."""


@pytest.mark.parametrize("step", range(1, 22))
def test_killed_between_any_two_steps(url, step):
    """Whatever was done when the coordinator died, the next one ends with the same."""

    async def work(world):
        for _ in range(2):
            await world.submit(await world.lease())
        world.now += 2.5
        done, steps = world.connection.call, iter(range(1, 100))
        plain = world.connection.do

        def deadly(ask):
            async def asked(*arguments):
                if next(steps) == step:
                    raise Dies
                return await ask(*arguments)

            return asked

        world.connection.call, world.connection.do = deadly(done), deadly(plain)
        with pytest.raises(Dies):
            await steps_of(world.ticker)
        world.connection.call, world.connection.do = done, plain
        await until_idle(world.another())
        assert await world.rounds.first() is None
        assert [await world.state(number) for number in range(2)] == ["auditing"] * 2
        assert (await world.jobs.get("j")).audits.audited == 2
        found = await world.rounds.get(1004)
        assert found.size == 2
        leaves = [merkle.leaf_hash(bytes.fromhex(leaf)) for leaf in await plain("LRANGE", "farm:log", 0, -1)]
        assert found.root == merkle.root(leaves).hex()

    run(url, work)


def test_no_receipt_names_a_round_that_the_log_was_closed_for(url):
    """Not of a coordinator whose clock is behind either."""

    async def work(world):
        first, second = await world.lease(), await world.lease()
        await world.submit(first)
        world.now += 1.5
        await world.ticker.step()
        world.now -= 1.5
        receipt = await world.submit(second)
        assert receipt.submission.round == 1005
        assert (await world.rounds.head(1004)).size == 1

    run(url, work)


def test_log_grows_and_every_head_holds(url):
    async def work(world):
        heads = []
        for _ in range(9):
            await world.submit(await world.lease())
            number = await world.rounds.first()
            world.now = number - 0.5
            await until_idle(world.ticker)
            heads.append(await world.rounds.get(number))
        leaves = [
            merkle.leaf_hash(bytes.fromhex(leaf))
            for leaf in await world.connection.do("LRANGE", "farm:log", 0, -1)
        ]
        for head in heads:
            assert head.root == merkle.root(leaves[: head.size]).hex()
            for leaf in range(head.size):
                proof = await world.rounds.proof(leaf, head.size)
                path = [bytes.fromhex(one) for one in proof.path]
                root = bytes.fromhex(head.root)
                assert merkle.verify(leaves[leaf], leaf, head.size, path, root)
        with pytest.raises(NotFound):
            await world.rounds.proof(0, 10)

    run(url, work, frames=9)


def test_cancelled_before_its_round(url):
    async def work(world):
        await world.submit(await world.lease())
        await world.jobs.intend("j", "cancel")
        world.now += 2.5
        await until_idle(world.ticker)
        assert await world.state() == "cancelled"
        assert (await world.submissions.progressed("j.f0.t0", 1)).record.audits == ()
        assert (await world.rounds.get(1004)).size == 1, "what was submitted stays in the log"

    run(url, work)


@pytest.mark.parametrize("who", ["farm:node:n", "farm:owner:bob"])
def test_caught_since_means_an_audit(url, who):
    """Work submitted before its node was caught is audited although its chance was low."""

    async def work(world):
        await world.is_trusted()
        receipt = await world.submit(await world.lease())
        assert receipt.submission.rate == 1
        await world.connection.do("HINCRBY", who, "failed", 1)
        world.now += 2.5
        await until_idle(world.ticker)
        one = (await world.submissions.progressed("j.f0.t0", 1)).record
        assert one.audited
        assert "found false" in one.forced

    run(url, work, rates=SELDOM)


def test_equivocation_after_the_verdict_is_kept_and_counts_once(url):
    async def work(world):
        taken = await world.lease()
        receipt = await world.submit(taken)
        other = world.result(taken, "ef" * 32)
        for _ in range(2):
            with pytest.raises(Equivocation):
                await world.submit(taken, other)
        assert await world.submit(taken) == receipt
        assert await world.state() == "ready"
        assert await world.connection.do("HMGET", "farm:node:n", "failed", "passed") == ["1", "0"]
        one = (await world.submissions.progressed("j.f0.t0", 1)).record
        assert one.second.pixelRoot == "ef" * 32
        world.now += 2.5
        await until_idle(world.ticker)
        assert await world.state() == "ready", "its round decides nothing any more"

    run(url, work)


def test_a_store_that_is_away_is_asked_again(url):
    async def work(world):
        await world.submit(await world.lease())
        world.now += 2.5
        real = world.rounds.first

        async def away():
            world.rounds.first = real
            raise Unavailable("away")

        world.rounds.first = away
        running = asyncio.create_task(world.ticker.run())
        await until_audited(world)
        running.cancel()

    run(url, work)
