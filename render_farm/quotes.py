# SPDX-License-Identifier: GPL-3.0-or-later
"""Quotes: the probe that a job's owner asks for, and what is made of it once it is back."""

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import replace

import structlog

from farm_protocol.device_classes import Summation, summation_of
from farm_protocol.errors import Conflict
from farm_protocol.facts import SceneFacts
from farm_protocol.ids import DeviceClass, JobId, OwnerId
from farm_protocol.probes import ProbeOrder
from farm_protocol.records import Demand, JobState, Task, TaskKind, TaskOutput
from payments.forecast import probed_frames
from payments.quotes import Quote, QuoteState
from render_farm import quoting
from render_farm.gates import Workshop
from render_farm.intake import USUAL_PRIORITY, JobOrder, plan, require_scene_id
from render_farm.paying import audit_share
from render_farm.quoting import Market
from render_farm.rules import Rules
from render_farm.store.identities import Caller, Identities, Repeat
from render_farm.store.jobs import Jobs
from render_farm.store.money import Money
from render_farm.store.new_jobs import NewJob, NewProbe, OverQuota, Room
from render_farm.store.quotes import Probed, QuoteStore, StoredQuote, probe_task
from render_farm.store.scenes import Scenes

log = structlog.get_logger()

MOST_PROBE_SECONDS = 120.0
"""Of work: people wait for a quote, and one that took longer would be little better."""

MOST_AT_ONCE = 10
"""Quotes of an owner in the making: they cost the farm work, and the owner nothing."""

PRIORITY = 100
"""Of probes among jobs: people wait for them."""

URGENT = 2
"""So many of an owner's quotes in the making go before all jobs; further ones wait their turn."""

LISTENS_SECONDS = 7.0
"""The store is asked no longer at a time: its connections give up after a while."""

FINISHING_SLOT = "finish-"
"""Slots so named do not render."""

_STATES = {
    JobState.COMPLETE: QuoteState.READY,
    JobState.FAILED: QuoteState.FAILED,
    JobState.CANCELLED: QuoteState.CANCELLED,
}


class TooMany(Conflict):
    """The owner has as many quotes in the making as it may have."""

    code = "too_many_quotes"

    def __init__(self) -> None:
        super().__init__(f"You have {MOST_AT_ONCE} quotes in the making: wait for them, or cancel one.")


class Quotes:
    """Makes quotes. `unit_price`: what a render unit is said to cost where no node sells."""

    def __init__(
        self,
        store: QuoteStore,
        jobs: Jobs,
        scenes: Scenes,
        identities: Identities,
        money: Money,
        rules: Rules,
        unit_price: int,
        online_seconds: float,
        workshop: Workshop,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._jobs, self._scenes = store, jobs, scenes
        self._identities, self._money, self._rules = identities, money, rules
        self._workshop = workshop
        self._unit_price, self._online_seconds, self._clock = unit_price, online_seconds, clock

    async def ask(self, caller: Caller, order: JobOrder, repeat: Repeat) -> Quote:
        """Begin a quote for a job. Raises TooMany, or as making the job would."""
        owner, before = caller.owner, await self._jobs.made_before(repeat)
        if before is None:
            require_scene_id(order.spec.scene)
            if not await self._scenes.sealed(owner, order.spec.scene):
                raise Conflict("The job's scene is not sealed: upload it and seal it first.")
            waiting, _ = await self._jobs.unfinished(owner, quotes=True)
            if waiting >= MOST_AT_ONCE:
                raise TooMany
            urgent = waiting < URGENT
            new = await self._workshop.do(
                caller, lambda: _probe_job(plan(owner, order, self._clock()), order.facts, urgent)
            )
            try:
                before = await self._jobs.create(new, repeat, Room(MOST_AT_ONCE))
            except OverQuota as error:
                raise TooMany from error
            log.info("quote_asked", quote=before, owner=owner, frames=len(order.spec.frames))
        quote = await self.get(owner, before)
        assert quote is not None
        return quote

    async def get(self, owner: OwnerId | None, quote: JobId, wait: float = 0.0) -> Quote | None:
        """An owner's quote (None: anybody's), or None. Waits up to `wait` seconds while it is made."""
        deadline, after = time.monotonic() + wait, "0"
        while True:
            found = await self._store.get(quote)
            if found is None or owner not in {None, found.owner}:
                return None
            told = await self._told(found)
            left = deadline - time.monotonic()
            if told.state is not QuoteState.PROBING or left <= 0:
                return told
            after = await self._store.changed(quote, after, min(left, LISTENS_SECONDS))

    async def _told(self, asked: StoredQuote) -> Quote:
        if asked.made is not None:
            return asked.made
        state = _STATES.get(asked.state, QuoteState.PROBING)
        if state is not QuoteState.READY:
            return Quote(asked.job, state, asked.fingerprint, failure=asked.failure)
        probed = await self._store.probed(asked.job)
        market = await self._market(asked, probed)
        quote = await self._store.keep(await asyncio.to_thread(quoting.make, asked, probed, market), probed)
        log.info("quote_made", quote=quote.quote, units=quote.units.p50, probed=len(quote.probed))
        return quote

    async def _market(self, asked: StoredQuote, probed: Probed) -> Market:
        offers = await self._money.offers(self._clock() - self._online_seconds)
        fitting = [one for one in offers if one.device_class == probed.device_class] or offers
        samples = asked.spec.samples or asked.facts.samples
        return Market(
            speeds=await self._slot_speeds(probed, asked.spec.exactness is Demand.BIT),
            prices=tuple(one.offer.message.price for one in fitting),
            unit_price=self._unit_price,
            audit_ppm=audit_share(self._rules.policy, samples),
        )

    async def _slot_speeds(self, probed: Probed, in_order: bool) -> tuple[float, ...]:
        """The speed of each slot online: of its node's work, else of its device class, else the probe's.
        `in_order`: only of those that may make frames of a job that is to be bit-exact.
        """
        since = self._clock() - self._online_seconds
        nodes = [node for node in await self._identities.nodes(None) if node.last_seen >= since]
        worked = await self._store.speeds([node.node for node in nodes])
        classes = await self._store.class_speeds()
        return tuple(
            worked.get(node.node) or classes.get(DeviceClass(node.device_class)) or probed.report.speed
            for node in nodes
            if not in_order or summation_of(DeviceClass(node.device_class)) is Summation.IN_ORDER
            for slot in node.slots
            if not slot.slot.startswith(FINISHING_SLOT)
        )


def _probe_job(new: NewJob, facts: SceneFacts, urgent: bool) -> NewJob:
    """The job of a quote: one probe of the frames that tell most of the job."""
    job, frames = JobId(f"q{secrets.token_hex(6)}"), new.spec.frames
    final = any(task.kind is TaskKind.RENDER and task.output is TaskOutput.FINAL for task in new.tasks)
    output = TaskOutput.FINAL if final else TaskOutput.LINEAR
    task = Task(probe_task(job), job, TaskKind.PROBE, frames[0], new.area, 0, output)
    order = ProbeOrder(probed_frames(frames), len(frames), MOST_PROBE_SECONDS)
    return replace(
        new,
        job=job,
        spec=replace(new.spec, priority=PRIORITY if urgent else USUAL_PRIORITY - 1),
        tasks=(task,),
        probe=NewProbe(order, replace(facts, assets=())),
    )
