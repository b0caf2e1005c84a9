# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done for a job in the store: promises, holding it back, telling how its money stands.

Nothing here waits for the chain. Each look at a job begins with what the store has, so one that is cut off
anywhere is repeated harmlessly.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from farm_protocol.errors import FarmError, Unavailable
from farm_protocol.ids import JobId
from payments.network import Network
from render_farm.settlement import notices, statements, vouchers
from render_farm.settlement.book import Book
from render_farm.settlement.books import Books
from render_farm.settlement.knowledge import Knowledge
from render_farm.settlement.promising import Look, Promising
from render_farm.settlement.statements import ENDED, Told
from render_farm.store.jobs import Jobs
from render_farm.store.money import Money, PaidJob, StandingOffer

log = structlog.get_logger()

SELLING_SECONDS = 60.0
"""A node that was not heard of for so long gets no orders."""
SHOW_SECONDS = 1.0
"""A statement names every frame: while a job runs, it is written so often at most."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a statement was made of, and when."""

    made_of: tuple[object, ...]
    time: float


class Desk:
    """Looks at jobs. `clock` in seconds since the epoch."""

    def __init__(
        self,
        money: Money,
        jobs: Jobs,
        books: Books,
        network: Network,
        farm_key: bytes,
        knowledge: Knowledge,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._money = money
        self._jobs = jobs
        self._books = books
        self._network = network
        self._key = farm_key
        self._knowledge = knowledge
        self._clock = clock
        self._promising = Promising(money, books, knowledge, clock)
        self._shown: dict[JobId, Shown] = {}

    async def look_at_all(self) -> None:
        """Look at every job whose money is not where it belongs. Raises Unavailable without the store."""
        offers = await self._money.offers(self._clock() - SELLING_SECONDS)
        for job in await self._money.paid_jobs():
            try:
                async with self._books.lock:
                    await self.look(job, offers)
            except Unavailable:
                raise
            except FarmError as error:
                log.error("job_not_settled", job=job, reason=error.sentence)

    async def look(self, job: JobId, offers: Sequence[StandingOffer]) -> None:
        """Do what is to be done for a job now."""
        facts = await self._money.job(job)
        if facts is None:
            return
        book, standing = await self._books.read(job)
        pen = await asyncio.to_thread(vouchers.pen, self._network, self._key, job)
        look = Look(facts, book, pen, {order.agreement: order for order in standing}, offers)
        why = notices.reason_to_stop(book, facts, self._knowledge.halted, self._now())
        if not why and self._may_begin(look) and facts.state not in ENDED:
            short = await self._promising.take_on(look)
            # A frame that has all its tiles is finished first: only then are they owed.
            why = "" if _has_finishing(look) else notices.shortage(short, facts, self._network)
        await self._promising.vouch(look)
        await self._promising.set_rooms(look)
        await self._mark(look, why)
        await self._show(look, why)

    def _may_begin(self, look: Look) -> bool:
        """Whether the deposit is there, and what operators have at stake was looked up."""
        if not look.book.escrow.number:
            return False
        if look.facts.funded:
            return True
        enough = statements.figures(look.book).deposited >= look.facts.payment.budget
        return enough and self._knowledge.knows(offer.seller for offer in look.offers)

    async def _mark(self, look: Look, why: str) -> None:
        """Begin a job once its deposit is there; set it aside, or let it go on."""
        facts = look.facts
        if facts.state in ENDED:
            return
        if notices.is_final(look.book, facts, self._now()):
            # It can never go on, and what was accepted is owed once it has ended.
            await self._jobs.intend(facts.job, "cancel")
            log.info("job_cancelled", job=facts.job, reason=why)
            return
        if why and facts.held != why:
            await self._money.hold(facts.job, why)
            log.info("job_held", job=facts.job, reason=why)
        elif not why and facts.held:
            await self._money.unhold(facts.job)
            log.info("job_goes_on", job=facts.job)
        if not facts.funded and self._may_begin(look):
            await self._money.set_funded(facts.job, True)
            log.info("job_funded", job=facts.job, deposited=statements.figures(look.book).deposited)

    async def _show(self, look: Look, why: str) -> None:
        """Tell how the money stands, where that changed."""
        facts, book = look.facts, look.book
        lacking = self._promising.stake_wanted(look) if facts.funded and facts.state not in ENDED else 0
        troubles = self._knowledge.of_job(facts.job)
        said = notices.all_of(book, facts, why, troubles, self._network, lacking)
        promised = tuple((held.agreement, held.cap) for held in book.held.values())
        # The record may have changed since it was read; what is told of it then follows a moment later.
        late = self._was_never_opened(facts, book)
        made_of = (facts.state, said, promised, book.farm_entries, book.chain_entries, late)
        before = self._shown.get(facts.job)
        if before is not None and self._is_shown(before, made_of, facts):
            return
        told = Told(
            state=facts.state,
            budget=facts.payment.budget,
            terms=facts.terms.message.termsHash,
            frames=await self._money.frame_states(facts.job),
            notices=said,
        )
        made = statements.statement(book, told, self._network)
        settled = made.settled or late
        if late or before is not None or made != await self._money.statement(facts.job):
            shown = statements.money(book, told, self._network)
            await self._money.show(facts.job, shown, made, settled)
        self._shown[facts.job] = Shown(made_of, self._clock())
        if settled:
            log.info("job_settled", job=facts.job, paid=made.paid, refunded=made.refunded)
            self._books.close(facts.job)
            self._shown.pop(facts.job)

    def _was_never_opened(self, facts: PaidJob, book: Book) -> bool:
        """Whether a job ended without its deposit, and can be opened on the chain no more."""
        late = self._now() >= facts.terms.message.deadline
        return late and facts.state in ENDED and not book.escrow.number

    def _now(self) -> float:
        return self._knowledge.now(self._clock())

    def _is_shown(self, before: Shown, made_of: tuple[object, ...], facts: PaidJob) -> bool:
        too_soon = self._clock() - before.time < SHOW_SECONDS and facts.state not in ENDED
        return before.made_of == made_of or too_soon


def _has_finishing(look: Look) -> bool:
    """Whether a frame has all its tiles and is not finished yet."""
    tiles = max(1, look.facts.tiles // max(1, look.facts.frames))
    return any(not frame.settled and frame.tiles >= tiles for frame in look.book.frames.values())
