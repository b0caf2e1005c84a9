# SPDX-License-Identifier: GPL-3.0-or-later
"""A farm that is paid, without its coordinator: a real store, a real chain with the contracts, nodes that
lease and submit through the store, wallets that sign, and the settler in this process.
"""

import asyncio
import contextlib
import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from farm_protocol.errors import RoundClosed
from farm_protocol.ids import JobId
from farm_protocol.records import LeaseRequest, OutputFile, SlotOffer, TaskKind, TaskResult
from payments.chain.deploy import deploy
from payments.chain.market import Market
from payments.chain.market_records import AgreementState
from payments.chain.outbox import FileOutbox
from payments.chain.rpc import Chain
from payments.messages import signing
from payments.messages.network import Windows
from payments.messages.promises import Release
from payments.messages.statements import Payment
from payments.wallet.keystore import Key, new_key
from payments.wallet.wallet import Wallet
from render_farm.coordinator.dispatch import Dispatch
from render_farm.coordinator.result_receiver import Counter
from render_farm.policy import verification_rules as farm_rules
from render_farm.settlement import settler as settler_loops
from render_farm.settlement.chain_indexer import ChainIndexer
from render_farm.settlement.settler import Settler
from render_farm.settlement.transaction_submitter import TransactionSubmitter
from render_farm.store.connection import Connection
from render_farm.store.identities import Caller, Repeat, Role
from render_farm.store.jobs import Jobs
from render_farm.store.leases import Leases
from render_farm.store.money import Money
from render_farm.store.new_jobs import NewMoney
from render_farm.store.stakes import Stakes
from render_farm.store.states import TILE_LANES
from render_farm.store.submissions import Submissions
from tests.integration.test_coordinator_states import new_job
from tests.support import settling
from tests.support.appointed import by_terms
from tests.support.settling import CLASS, FARM, FARM_KEY, PRICE, UNIT
from verification.audit.rate import Rates
from verification.audit.sampling import AuditPolicy
from verification.protocol import attestation

settler_loops.LOOK_SECONDS, settler_loops.CHAIN_SECONDS = 0.3, 0.1
WINDOWS = Windows(claim=100, decision=100, grace=100, unbonding=400, slash=20)
KINDS = tuple(kind for kind in TaskKind if kind is not TaskKind.PROBE)
TOKEN = 10**18
BUDGET = 10 * TOKEN
SECONDS = 100.0
numbers = itertools.count(1)


class Town:
    """A chain with the contracts and a bank, shared by tests."""

    def __init__(self, local, folder):
        self.local, self.folder = local, folder
        self.key = local.rich_key(1000)
        self.chain = Chain(local.url, local.chain_id)
        self.outbox = FileOutbox(folder / "bank.outbox")
        self.network = deploy(self.chain, self.key, self.outbox, WINDOWS)
        self.market = Market(self.chain, self.network)
        self.bank = Wallet(self.market, self.key, self.outbox)

    def wallet(self, tokens=0):
        """A new wallet with coins and tokens."""
        key = self.local.rich_key()
        outbox = FileOutbox(self.folder / f"{key.address}.outbox")
        made = Wallet(self.market, key, outbox)
        made.outbox = outbox
        if tokens:
            self.bank.transfer("give", made.address, tokens, 10)
        return made

    def stake(self, operator, amount):
        self.bank.stake("stake", operator, amount, 10)

    def balance(self, address):
        return self.market.token_balance(address)


@dataclass
class Node:
    """A node that sells, or an own one that does not."""

    name: str
    key: Key
    operator: Key
    own: bool
    offer: object = None
    held: list = field(default_factory=list)

    @property
    def caller(self):
        return Caller(Role.NODE, "admin" if self.own else "bob", self.name, self.own)


class SettledFarm:
    """One store and what is done with it; `settler` runs while the context is entered."""

    def __init__(self, town, url, folder):
        self.town, self.url, self.folder = town, url, folder
        self.network, self.market = town.network, town.market
        self.nodes = {}
        self.settling = None
        self.wallet_key = town.local.rich_key(100)
        self.shift = 0.0
        self.threads = ThreadPoolExecutor(2)

    async def open(self):
        self.store = Connection(self.url)
        await self.store.do("FLUSHALL")
        self.money, self.jobs = Money(self.store), Jobs(self.store)
        self.leases, submissions = Leases(self.store), Submissions(self.store)
        self.rules = farm_rules.local(FARM_KEY, 1.0, AuditPolicy(), Rates(own=0))
        self.dispatch = Dispatch(self.leases, 300.0, self.clock)
        self.counter = Counter(self.leases, submissions, self.rules, lambda _: None, self.clock)

    def clock(self):
        return time.time() + self.shift

    # --- who is there ---------------------------------------------------------------------------

    async def node(self, name, stake=10**6 * TOKEN, own=True, sells=True, **changes):
        """Own nodes' work is accepted at once: most tests are about what comes after."""
        node = self.nodes[name] = Node(name, new_key(), new_key(), own)
        fields = ("address", node.key.address, "owner", node.caller.owner, "own", str(int(own)))
        await self.store.do("HSET", f"farm:node:{name}", *fields, "last_seen", 2**40, "device_class", CLASS)
        if sells:
            node.offer = settling.offer(
                self.network, node.operator.reveal(), node=node.key.address, **changes
            )
            if stake:
                await asyncio.to_thread(self.town.stake, node.operator.address, stake)
            digest = settling.digest(node.offer)
            await self.money.put_offer(name, node.offer, digest, node.operator.address)
        return node

    async def job(self, frames=3, tiles=2, budget=BUDGET, client=None, **changes):
        """A paid job in the store, nothing of it on the chain."""
        name = f"job{next(numbers)}x{int(time.time() * 1000):x}"
        self.client = client or await asyncio.to_thread(self.town.wallet, 2 * budget)
        new = new_job(name, frames, tiles, False, self.clock())
        work = [task.id for task in new.tasks if task.kind is TaskKind.RENDER]
        said = {"client": self.client.address, "refundTo": self.client.address, "stakeShare": 93_750}
        said |= {"deadline": int(self.clock()) + 30 * 86_400, **changes}
        signed = settling.terms(name, self.network, **said)
        payment = Payment(budget, 2 * PRICE, self.client.address, self.client.address, JobId("q1"))
        units = dict.fromkeys(work, UNIT)
        money = NewMoney(payment, signed, units, dict.fromkeys(work, UNIT // 20), 50_000, "RND", 18)
        await self.jobs.create(replace(new, money=money), Repeat("ann", name, ""))
        return JobId(name)

    async def deposit(self, job, amount=BUDGET):
        terms = await self.money.terms(job)
        await asyncio.to_thread(self.client.open_job, f"open {job}", terms, amount, 20)

    # --- what nodes do --------------------------------------------------------------------------

    async def take(self, node, slots=2):
        offers = tuple(SlotOffer(f"s{number}", KINDS, CLASS) for number in range(slots))
        node.held += await self.dispatch.lease(node.caller, LeaseRequest(offers, 0.0, True), _never)
        return node.held

    async def submit(self, node, lease, root=None):
        root = root or f"{next(numbers):064x}"
        result = TaskResult((OutputFile("t.exr", "cd" * 32, 1),), 1.0, 0.5, CLASS, pixel_root=root)
        message = attestation.attest(lease.task.id, lease.token, result)
        signature = attestation.sign(message, FARM, node.key.reveal())
        result = replace(result, signature=signature)
        task = lease.task.id
        signer = await self.counter.signer(node.caller, task, lease.token, result)
        await self.counter.before(signer, result)
        held = signer.known.submitting(result)
        if held.lane in TILE_LANES:
            key, taken = node.key.reveal(), False
            while not taken:
                offered = await by_terms(self.counter, node.caller, held, result, key, FARM)
                signer = await self.counter.signer(node.caller, task, lease.token, offered)
                # On a loaded machine the log may be closed meanwhile.
                with contextlib.suppress(RoundClosed):
                    await self.counter.take(node.caller, held, offered, signer)
                    taken = True
        else:
            await self.leases.submit(held, result, self.clock())

    async def work(self, job, *names, until=("complete", "settled"), most=10_000):
        """The nodes do what they are given until the job is there; returns how many tasks were done."""
        done, end = 0, time.monotonic() + SECONDS
        while (await self.jobs.get(job)).state not in until and done < most:
            assert time.monotonic() < end, await self.state(job)
            for name in names:
                node = self.nodes[name]
                await self.take(node)
                while node.held and done < most:
                    await self.submit(node, node.held.pop(0))
                    done += 1
            await asyncio.sleep(0.03)
        return done

    async def release(self, job):
        """Operators give up what they could still earn, once they were told that no more comes."""
        for order in await self.money.orders(job):
            if order.promise.ended:
                said = order.promise.voucher.message.cumulative if order.promise.voucher else 0
                message = Release(order.agreement, said)
                key = self.nodes[order.node].operator.reveal()
                signed = signing.signed(message, self.network, key)
                await self.money.put_release(job, signed)

    async def take_back(self, job):
        number = await asyncio.to_thread(self.market.number_of, FARM, job)
        left = await asyncio.to_thread(self.market.available, number)
        await asyncio.to_thread(self.client.take_back, f"back {job}", number, left, 20)

    def wallet_of(self, key):
        """An operator's wallet, with coins."""
        self.town.local.rpc("farm_fund", key.address, hex(10**19))
        return Wallet(self.market, key, FileOutbox(self.folder / f"{key.address}.outbox"))

    async def number(self, job):
        return await asyncio.to_thread(self.market.number_of, FARM, job)

    def turn(self, seconds):
        """The clocks go on: the chain's, and the farm's."""
        self.shift += seconds
        self.town.local.rpc("evm_increaseTime", seconds)
        self.town.local.rpc("evm_mine")

    # --- looking --------------------------------------------------------------------------------

    async def state(self, job):
        facts, told = await self.money.job(job), await self.money.statement(job)
        return facts, told

    async def until(self, looks, what=""):
        """Wait until `looks()` gives something true, and return it."""
        end = time.monotonic() + SECONDS
        while True:
            found = await looks()
            if found:
                return found
            assert time.monotonic() < end, what or looks
            await asyncio.sleep(0.02)

    async def told(self, job, fits):
        """The job's statement once it `fits`."""

        async def looks():
            statement = await self.money.statement(job)
            return statement if statement is not None and fits(statement) else None

        try:
            return await self.until(looks)
        except AssertionError:
            raise AssertionError(await self.state(job)) from None

    async def ended(self, job):
        """Every agreement's last promise is out."""

        async def looks():
            orders = await self.money.orders(job)
            return orders and all(order.promise.ended for order in orders)

        await self.until(looks)

    async def closed(self, job):
        """Every agreement that earned something is closed: statements may be older than the work."""

        async def looks():
            orders = await self.money.orders(job)
            earned = [order.agreement for order in orders if order.promise.voucher is not None]
            found = [await asyncio.to_thread(self.market.agreement, one) for one in earned]
            return all(one.state is AgreementState.CLOSED for one in found)

        await self.until(looks)

    async def settle(self, job):
        """What operators and the client do at the end; returns the last statement."""
        await self.ended(job)
        await self.release(job)
        await self.closed(job)
        await self.told(job, lambda told: told.owed == 0 and await_closed(told))
        await self.take_back(job)
        return await self.told(job, lambda told: told.settled)

    # --- the settler ----------------------------------------------------------------------------

    def settler(self, name="one", url=None, money=None, outbox=None, wallet=True):
        """A settler on this farm's store and chain."""
        indexer = ChainIndexer(url or self.town.local.url, self.network)
        outbox = outbox or FileOutbox(self.folder / f"{name}.outbox") if wallet else None

        def submitter():
            return TransactionSubmitter(indexer.market, self.wallet_key, outbox, FARM_KEY, self.clock)

        made = Settler(
            money or self.money,
            Stakes(self.store),
            Submissions(self.store),
            Jobs(self.store),
            indexer,
            self.network,
            FARM_KEY,
            submitter if wallet else None,
            name,
            self.clock,
        )
        made.outbox, made.indexer = outbox, indexer
        return made

    async def live(self, writes=1):
        """A settler that dies after so many writes to store, outbox or chain; returns whether it did."""
        life = Life(writes)
        money = life.wrap(self.money, "promise", "set_funded", "hold", "unhold", "show", "record_chain")
        outbox = life.wrap(FileOutbox(self.folder / "one.outbox"), "save")
        settler = self.settler(money=money, outbox=outbox)
        settler.indexer.market.chain = life.wrap(self.town.chain, "send")
        # The chain takes so many connections only, and each new thread would have its own.
        settler._threads = self.threads
        try:
            await asyncio.wait_for(settler.run(), 3)
        except Dead:
            return True
        except TimeoutError:
            return False
        finally:
            # Whatever its threads do still comes to nothing: they are dead, too.
            life.left = 0
            await asyncio.get_running_loop().run_in_executor(self.threads, lambda: None)
            outbox.close()
        return False

    async def streams(self):
        """What each node was told, in order."""
        return {name: (await self.money.promises(name, "0")).promises for name in self.nodes}

    @contextlib.asynccontextmanager
    async def running(self, settler=None):
        settler = settler or self.settler()
        task = asyncio.create_task(settler.run())
        try:
            yield settler
        finally:
            while not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=0.2)
            await asyncio.to_thread(settler.close)
            if settler.outbox:
                settler.outbox.close()


def await_closed(told):
    """Whether all agreements of a statement that were opened are closed."""
    kinds = [line.kind for line in told.transactions]
    return kinds.count("agreement") == kinds.count("closed")


async def _never():
    return False


class Dead(BaseException):
    """As kill -9: nothing that is in the way of errors stops it."""


class Life:
    """So many writes, wherever they go; the settler is dead after the last of them, its answer lost."""

    def __init__(self, writes):
        self.left = writes

    def wrap(self, thing, *names):
        """The thing with these methods counted as writes."""
        return _Counted(thing, names, self)

    def begin(self):
        if self.left == 0:
            raise Dead

    def end(self):
        self.left -= 1
        self.begin()


class _Counted:
    def __init__(self, thing, names, life):
        self.__dict__.update(_thing=thing, _names=names, _life=life)

    def __getattr__(self, name):
        found = getattr(self._thing, name)
        if name not in self._names:
            return found
        return self._later(found) if asyncio.iscoroutinefunction(found) else self._now(found)

    def _later(self, found):
        async def counted(*given, **named):
            self._life.begin()
            answer = await found(*given, **named)
            self._life.end()
            return answer

        return counted

    def _now(self, found):
        def counted(*given, **named):
            self._life.begin()
            answer = found(*given, **named)
            self._life.end()
            return answer

        return counted


def run(farm, story):
    """Play a story at an open farm."""

    async def inside():
        await farm.open()
        try:
            await story()
        finally:
            await farm.store.close()

    asyncio.run(inside())
