# SPDX-License-Identifier: GPL-3.0-or-later
"""The settler: its loops, and the lock that keeps it the only one.

One loop looks after the store, one reads the chain, one brings things there. The last two work in threads of
their own, so that a chain that is slow or away delays nothing of the first.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog

from farm_protocol.errors import FarmError, Unavailable
from farm_protocol.fields import decode, encode
from farm_protocol.ids import JobId, TaskId
from farm_protocol.typed_data import address_of
from payments.chain.chain_events import decoded
from payments.chain.events import Cursor, DeepReorganisation
from payments.chain.outbox import FileOutbox
from payments.messages.network import Network
from payments.messages.network import load as load_network
from payments.wallet.keystore import read_password
from payments.wallet.wallets import open_signer
from render_farm.settlement import event_index, slashing
from render_farm.settlement.chain_actions import ChainAction, Context, EquivocationProof, due_actions
from render_farm.settlement.chain_indexer import ChainBatch, ChainIndexer
from render_farm.settlement.chain_snapshot import ChainSnapshot
from render_farm.settlement.config import Config
from render_farm.settlement.event_index import Index
from render_farm.settlement.job_ledger import JobLedger
from render_farm.settlement.ledger_repository import LedgerRepository
from render_farm.settlement.paid_job_reconciler import SELLING_SECONDS, PaidJobReconciler
from render_farm.settlement.redeem_debounce import RedeemDebounce
from render_farm.settlement.transaction_submitter import TransactionSubmitter
from render_farm.store.clocks import Clocks
from render_farm.store.connection import Connection
from render_farm.store.farm_clock import FarmClock
from render_farm.store.farm_clock import follow as follow_time
from render_farm.store.jobs import Jobs
from render_farm.store.money import Money
from render_farm.store.stakes import Stakes
from render_farm.store.submissions import Submissions

log = structlog.get_logger()
T = TypeVar("T")

LOCK_SECONDS, RENEW_SECONDS = 15.0, 4.0
LOOK_SECONDS = 2.0
"""How often all jobs are looked at where nothing rings."""
TOGETHER_SECONDS = 0.1
"""What rings within so long is looked at together."""
CHAIN_SECONDS = 0.5
AWAY_SECONDS = 2.0
"""How often the chain is looked at, and after how long again where it is away."""
STORE_RETRY_SECONDS = 0.5


class LockLost(FarmError):
    """Another settler keeps the books now."""

    code = "lock_lost"


class Settler:
    """Everything of one settler. `name` is what it holds the lock as; `keep_time` keeps its clock with the
    coordinators'.
    """

    def __init__(
        self,
        money: Money,
        stakes: Stakes,
        submissions: Submissions,
        jobs: Jobs,
        indexer: ChainIndexer,
        network: Network,
        farm_key: bytes,
        submitter: Callable[[], TransactionSubmitter] | None,
        name: str,
        clock: Callable[[], float] = time.time,
        keep_time: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        self.network = network
        self._money = money
        self._stakes = stakes
        self._submissions = submissions
        self._proofs: dict[tuple[str, int], EquivocationProof] = {}
        self._indexer = indexer
        self._farm = address_of(farm_key)
        self._make_submitter = submitter
        self._submitter: TransactionSubmitter | None = None
        self._name = name
        self._clock, self._keep_time = clock, keep_time
        self._snapshot = ChainSnapshot()
        self._ledgers = LedgerRepository(money, network)
        self._index = Index(self._farm)
        self._reconciler = PaidJobReconciler(
            money, jobs, self._ledgers, network, farm_key, self._snapshot, clock
        )
        self._held_until = 0.0
        self._debounce = RedeemDebounce()
        self._sending = asyncio.Event()
        # One thread for each loop that asks the chain: neither waits for the other.
        self._threads = ThreadPoolExecutor(2, "chain")

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Settle until cancelled."""
        while True:
            try:
                await self._hold()
                log.info("lock_held", name=self._name)
                ready()
                await self._work()
            except LockLost as error:
                log.warning("lock_lost", reason=error.sentence)
            except Unavailable:
                await asyncio.sleep(STORE_RETRY_SECONDS)
            except asyncio.CancelledError:
                await self._let_go()
                raise

    async def _let_go(self) -> None:
        """Another settler may begin at once. What its own threads still bring, the chain takes once."""
        with contextlib.suppress(FarmError):
            await self._money.let_go(self._name)

    def close(self) -> None:
        """Wait for what its threads do still."""
        self._threads.shutdown()

    async def _hold(self) -> None:
        while True:
            if await self._money.hold_lock(self._name, LOCK_SECONDS):
                return
            await asyncio.sleep(RENEW_SECONDS / 4)

    async def _work(self) -> None:
        """All loops, until one of them ends with an error."""
        await self._reread()
        loops = [self._renew, self._reconcile, self._follow, self._send]
        loops += [self._keep_time] if self._keep_time else []
        tasks = [asyncio.create_task(self._forever(one)) for one in loops]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            await _end(tasks)

    async def _forever(self, loop: Callable[[], Awaitable[None]]) -> None:
        """A loop that goes on after whatever can be tried again."""
        while True:
            try:
                await loop()
            except LockLost:
                raise
            except FarmError as error:
                log.warning("settler_waits", loop=loop.__name__, code=error.code, reason=error.sentence)
                await asyncio.sleep(STORE_RETRY_SECONDS)
            except Exception:
                log.exception("settler_fault", loop=loop.__name__)
                await asyncio.sleep(AWAY_SECONDS)

    async def _reread(self) -> None:
        """Make all ledgers anew out of the store."""
        self._snapshot.stakes.update(await self._stakes.all())
        async with self._ledgers.lock:
            self._ledgers.forget()
            await self._ledgers.read_all()
            self._index = event_index.index_of(self._farm, self._ledgers.all())

    # --- the lock and the store -----------------------------------------------------------------

    async def _renew(self) -> None:
        self._held_until = self._clock() + LOCK_SECONDS
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            await self._renew_once()

    async def _renew_once(self) -> None:
        try:
            if not await self._money.hold_lock(self._name, LOCK_SECONDS):
                raise LockLost("Another settler keeps the books now: two must not.")
            self._held_until = self._clock() + LOCK_SECONDS
        except Unavailable:
            if self._clock() > self._held_until:
                raise LockLost("The store did not answer for so long that the lock has ended.") from None

    async def _reconcile(self) -> None:
        after = await self._money.changed("", 0)
        while True:
            await self._reconciler.reconcile_all()
            self._sending.set()
            after = await self._money.changed(after, LOOK_SECONDS)
            await asyncio.sleep(TOGETHER_SECONDS)

    # --- the chain ------------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            try:
                again = await self._follow_once()
            except DeepReorganisation as error:
                self._snapshot.halted = error.sentence
                log.error("chain_reorganised", reason=error.sentence)
                again = False
                await asyncio.sleep(AWAY_SECONDS)
            if not again:
                await asyncio.sleep(CHAIN_SECONDS)

    async def _follow_once(self) -> bool:
        """Take in what is new on the chain; whether there may be more at once."""
        before = await self._money.cursor()
        cursor = decode(before, Cursor) if before else self._indexer.beginning()
        offers = await self._money.offers(self._clock() - SELLING_SECONDS)
        sellers = {offer.seller for offer in offers}
        seen = await self._in_thread(lambda: self._indexer.read_batch(cursor, sellers))
        await self._stakes.save(seen.stakes)
        self._snapshot.stakes.update(seen.stakes)
        self._snapshot.chain_time = seen.time
        self._snapshot.halted = ""
        if seen.batch.cursor == cursor:
            return False
        await self._record(before, seen)
        return True

    async def _record(self, before: str, seen: ChainBatch) -> None:
        cursor = encode(seen.batch.cursor).decode()
        async with self._ledgers.lock:
            await self._ledgers.read_all()
            made = event_index.by_job(decoded(seen.batch.events), self._index, self._in_ledger)
            # What is settled is settled, and what is of no job here is nobody's.
            made = {job: of_job for job, of_job in made.items() if self._ledgers.known(job)}
            told = {job: [msgspec.to_builtins(one) for one in of_job] for job, of_job in made.items()}
            # Whatever happens from here on, the store knows better than these ledgers.
            if not await self._recorded(cursor, told, before):
                return
            for job, of_job in made.items():
                ledger = self._ledgers.known(job)
                for event in of_job:
                    if ledger is not None:
                        ledger.take_chain(event)
                    log.info(
                        "chain_said", job=job, kind=event.kind, agreement=getattr(event, "agreement", "")
                    )

    async def _recorded(self, cursor: str, told: dict[JobId, list[dict[str, object]]], before: str) -> bool:
        try:
            recorded = await self._money.record_chain(cursor, told, before=before)
        except Unavailable:
            self._ledgers.forget()
            raise
        if not recorded:
            self._ledgers.forget()
        return recorded

    def _in_ledger(self, job: JobId) -> int:
        ledger = self._ledgers.known(job)
        return ledger.farm_entries if ledger else 0

    async def _send(self) -> None:
        if self._make_submitter is None:
            await asyncio.Event().wait()
        while True:
            self._sending.clear()
            is_under_way = await self._send_once()
            pause = CHAIN_SECONDS / 2 if is_under_way else LOOK_SECONDS
            await _until(self._sending, pause)

    async def _send_once(self) -> bool:
        listed = self._debounce.due(await self._due(), self._clock())
        submitter = await self._in_thread(self._the_submitter)
        try:
            return await self._in_thread(lambda: submitter.run(listed))
        finally:
            self._snapshot.troubles = submitter.troubles()

    async def _due(self) -> list[ChainAction]:
        context = Context(
            self._snapshot.now(self._clock()),
            self._farm,
            self.network,
            self._snapshot.stakes,
            self._proofs,
        )
        found: list[ChainAction] = []
        async with self._ledgers.lock:
            for ledger in self._ledgers.all():
                facts = await self._money.job(ledger.job)
                if facts is None:
                    continue
                await self._learn_proofs(ledger)
                releases = await self._money.releases(ledger.job)
                found += due_actions(ledger, facts, releases, context)
        return found

    async def _learn_proofs(self, ledger: JobLedger) -> None:
        """What a node signed twice under a lease is shown with both its signatures."""
        for entry in ledger.rejected:
            lease = (entry.task, entry.token)
            if entry.code not in slashing.EVERYTHING or lease in self._proofs:
                continue
            known = await self._submissions.progressed(TaskId(entry.task), entry.token)
            record = known.record if known else None
            if record is not None and record.second is not None and record.second_signature is not None:
                self._proofs[lease] = EquivocationProof(
                    record.attestation, record.signature, record.second, record.second_signature
                )

    def _the_submitter(self) -> TransactionSubmitter:
        assert self._make_submitter is not None
        if self._submitter is None:
            self._submitter = self._make_submitter()
        return self._submitter

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended: a call that is answered at that moment may swallow it."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=0.2)
    await asyncio.gather(*tasks, return_exceptions=True)


async def _until(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def open_settler(chosen: Config) -> Settler:
    """A settler as it was told to be. Raises FarmError for a network, a wallet or an outbox that cannot be
    used.
    """
    network = load_network(chosen.network)
    indexer = ChainIndexer(chosen.chain_url, network)
    store = Connection(chosen.redis_url)
    money, stakes, submissions, jobs = Money(store), Stakes(store), Submissions(store), Jobs(store)
    clock = FarmClock()
    submitter, name = _submitter_of(chosen, indexer, clock)
    key = chosen.signing_key
    keep_time = partial(follow_time, clock, Clocks(store))
    return Settler(money, stakes, submissions, jobs, indexer, network, key, submitter, name, clock, keep_time)


def _submitter_of(
    chosen: Config, indexer: ChainIndexer, clock: FarmClock
) -> tuple[Callable[[], TransactionSubmitter] | None, str]:
    """How to make the submitter once the chain is there, and the name the settler goes by: whoever holds the
    outbox is the same settler as the one that held it before, and need not wait for its lock to end.
    """
    if chosen.wallet is None or chosen.outbox is None:
        return None, secrets.token_hex(8)
    key = open_signer(chosen.wallet, lambda: _password(chosen.password), chosen.signer_url)
    outbox = FileOutbox(chosen.outbox)
    return (
        lambda: TransactionSubmitter(indexer.market, key, outbox, chosen.signing_key, clock),
        _name_beside(chosen.outbox),
    )


def _password(file: Path | None) -> str:
    if file is None:
        raise FarmError("The wallet needs its password: FARM_WALLET_PASSWORD_FILE names the file with it.")
    return read_password(file)


def _name_beside(outbox: Path) -> str:
    path = outbox.with_suffix(".name")
    with contextlib.suppress(FileExistsError), path.open("x") as file:
        file.write(secrets.token_hex(8))
    return path.read_text() or secrets.token_hex(8)
