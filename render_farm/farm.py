# SPDX-License-Identifier: GPL-3.0-or-later
"""The coordinator's parts, put together once and handed to the API."""

import asyncio
import contextlib
import hashlib
import hmac
import time
from collections.abc import AsyncIterator

import structlog

from farm_protocol.errors import Unavailable
from farm_protocol.ids import NodeId
from render_farm.clock import FarmClock, Timekeeper
from render_farm.config import Config
from render_farm.dispatch import Dispatch
from render_farm.gates import Gate, Turns, Workshop
from render_farm.intake import Intake
from render_farm.losses import Losses
from render_farm.objects import Handed, Objects
from render_farm.pacing import Pace
from render_farm.paying import Cashier
from render_farm.publication import Publication
from render_farm.quotes import Quotes
from render_farm.results import Results
from render_farm.retention import Keeper
from render_farm.rounds import Ticker
from render_farm.selling import Selling
from render_farm.standstills import Standstills
from render_farm.store.clocks import Clocks
from render_farm.store.connection import Connection
from render_farm.store.identities import ADMIN, Caller, Identities, Role
from render_farm.store.jobs import Jobs
from render_farm.store.leases import Leases
from render_farm.store.money import Money
from render_farm.store.peers import Peers
from render_farm.store.quotes import QuoteStore
from render_farm.store.retention import Retention
from render_farm.store.rounds import Rounds
from render_farm.store.scenes import Scenes
from render_farm.store.submissions import Submissions
from render_farm.store.tokens import Tokens
from render_farm.submissions import Counter
from render_farm.verdicts import Verdicts
from render_farm.waking import Waking
from verification.beacon import LOCAL

log = structlog.get_logger()

RETRY_SECONDS = 1.0
START_SECONDS = 3.0
TOKEN_KNOWN_SECONDS = 30.0
"""How long a token once looked up is known without asking the store again."""

MOST_TOKENS_KNOWN = 10_000
HEALTH_SECONDS = 5.0
MOST_STREAMS = 400
"""Open event streams: each waits on a connection of its own to the store."""

MOST_WAITS_EACH, MOST_WAITS = 128, 2048
"""Calls of one caller, and of all, that are held open until something happens."""
MOST_BEATS = 1024
"""Heartbeats that are answered at a time: one of each node."""

BEAT_SECONDS, BEATS_AT_ONCE = 0.5, 20
"""A node sends one a second; after a pause several may come together."""

LOOK_SECONDS, LOOKS = 0.1, 100
"""How many seconds apart, and how often at once, an operator's nodes may look for work in vain."""

NO_NODE = NodeId("")


class Farm:
    """All parts of a coordinator; `running` keeps its background work going."""

    def __init__(self, config: Config, clock: FarmClock | None = None) -> None:
        self.config = config
        self.clock = clock or FarmClock()
        self.store = Connection(config.redis_url)
        handed = Handed(config.handed_over, ADMIN) if config.handed_over else None
        self.objects = Objects(config.objects, handed)
        self.identities, self.tokens = Identities(self.store), Tokens(self.store)
        self.jobs = Jobs(self.store)
        self.closing = asyncio.Event()
        self.workshop = Workshop()
        self.bodies = Turns("large requests", 1, 8)
        self.reads = Turns("long answers", 1, 8)
        self.streams = Gate("event streams", config.limits.quota.streams, MOST_STREAMS)
        self.waits = Gate("calls that wait", MOST_WAITS_EACH, MOST_WAITS)
        self.beats = Gate("heartbeats", 1, MOST_BEATS)
        self.beat_pace = Pace("heartbeats", BEAT_SECONDS, BEATS_AT_ONCE)
        self.ask_pace = Pace("questions for work that it does not get", LOOK_SECONDS, 2 * LOOKS)
        self.rules = config.rules
        leases, scenes = Leases(self.store), Scenes(self.store)
        self.scenes = scenes
        self.dispatch = Dispatch(
            leases,
            config.lease_seconds,
            self.clock,
            Pace("questions", LOOK_SECONDS, LOOKS, lambda node: node.owner),
        )
        self.timekeeper = Timekeeper(self.clock, Clocks(self.store), leases, config.lease_seconds)
        self.money, network = Money(self.store), config.network
        self.quotes = Quotes(
            QuoteStore(self.store),
            self.jobs,
            scenes,
            self.identities,
            self.money,
            self.rules,
            config.unit_price,
            self.dispatch.online_seconds,
            self.workshop,
            self.clock,
        )
        cashier = Cashier(QuoteStore(self.store), self.rules, network, config.arbiters)
        self.intake = Intake(
            scenes, self.jobs, self.objects, cashier, self.workshop, config.limits.quota, self.clock
        )
        self._waking = Waking(self.money, self.dispatch.bell)
        self.selling = Selling(self.money, self.identities, network, self.rules.address, self._waking)
        submissions, self.rounds = Submissions(self.store), Rounds(self.store)
        online = self.dispatch.online_seconds
        # A public beacon's rounds come by the world's time, a local one's by the farm's own.
        rounds_by = self.clock if self.rules.name == LOCAL else self.clock.wall
        bell = self.dispatch.bell
        self._ticker = Ticker(self.rounds, submissions, self.rules, bell, online, self.clock, rounds_by)
        counter = Counter(leases, submissions, self.rules, self._ticker.named, rounds_by)
        verdicts = Verdicts(submissions, self.rules, online, self.clock)
        self._standstills = Standstills(Peers(self.store), online, self.clock, beacon=self._ticker.away)
        losses = Losses(scenes, self.objects)
        self.results = Results(
            leases,
            scenes,
            self.objects,
            self.dispatch.bell,
            counter,
            verdicts,
            losses,
            self.workshop,
            self.clock,
        )
        self._keeper = Keeper(
            Retention(self.store), self.jobs, self.objects, config.limits.retention, self.clock
        )
        self.publication = Publication(submissions, self.rounds, self.jobs, self.results, self.rules)
        self._admin_digest = hashlib.sha256(config.admin_token.encode()).digest()
        self._asked: asyncio.Task[tuple[bool, bool]] | None = None
        self._known: dict[bytes, tuple[float, Caller, float]] = {}

    async def make_room(self, caller: Caller) -> None:
        """Let the oldest of an owner's ended jobs go where they take too much of the store."""
        if caller.role is not Role.ADMIN:
            await self._keeper.make_room(caller.owner, self.config.limits.quota.records)

    def close(self) -> None:
        """End everything that is held open, so that the server can stop."""
        self.closing.set()
        self.dispatch.close()
        self._waking.close()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sweep leases, decide rounds and make the bucket, until the block ends."""
        bucket = asyncio.create_task(self._make_bucket())
        with contextlib.suppress(Unavailable, TimeoutError):
            await asyncio.wait_for(self.timekeeper.tick(), START_SECONDS)
        looks = (self._ticker.run(), self._standstills.run(), self._keeper.run())
        loops = (self.timekeeper.run(), self.dispatch.sweep(), self._waking.run(), *looks)
        work = [*map(asyncio.create_task, loops), bucket]
        # Usually the bucket is there before the first upload; without it the farm starts all the same.
        await asyncio.wait([bucket], timeout=START_SECONDS)
        try:
            yield
        finally:
            self.close()
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            self.workshop.close()
            await self.store.close()
            await self.objects.close()

    async def _make_bucket(self) -> None:
        while True:
            try:
                return await self.objects.prepare()
            except Unavailable as error:
                log.warning("objects_unavailable", reason=error.sentence)
            await asyncio.sleep(RETRY_SECONDS)

    async def caller(self, token: str) -> Caller | None:
        """Whose token it is. Tokens are compared by digest, the admin's in constant time."""
        digest = hashlib.sha256(token.encode()).digest()
        if hmac.compare_digest(digest, self._admin_digest):
            return Caller(Role.ADMIN, ADMIN, NO_NODE, False)
        known = self._known.get(digest)
        if known is not None and known[0] > time.monotonic() and not 0 < known[2] <= self.clock():
            return known[1]
        found = await self.tokens.caller(token, self.clock())
        if found is None:
            return None
        if len(self._known) >= MOST_TOKENS_KNOWN:
            self._known.clear()
        self._known[digest] = (time.monotonic() + TOKEN_KNOWN_SECONDS, *found)
        return found[0]

    def forget_tokens(self) -> None:
        """Ask the store again whose a token is: some were taken back."""
        self._known.clear()

    def derive(self, purpose: str, *parts: str) -> str:
        """A secret only this farm can make, the same for the same parts."""
        message = "\0".join((purpose, *parts)).encode()
        return hmac.new(self.config.admin_token.encode(), message, hashlib.sha256).hexdigest()

    async def parts_answer(self) -> tuple[bool, bool]:
        """Whether the store and the object store answer now. Who asks while that is found out is told the
        same: anybody may ask, as often as they like.
        """
        if self._asked is None or self._asked.done():
            self._asked = asyncio.create_task(self._ask_parts())
        return await asyncio.shield(self._asked)

    async def _ask_parts(self) -> tuple[bool, bool]:
        return await self.store_answers(), await self.objects.ready()

    async def store_answers(self) -> bool:
        """Whether the store answers now."""
        try:
            async with asyncio.timeout(HEALTH_SECONDS):
                return bool(await self.store.do("PING"))
        except (Unavailable, TimeoutError):
            return False
