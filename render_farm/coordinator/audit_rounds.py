# SPDX-License-Identifier: GPL-3.0-or-later
"""Closes the log for the beacon rounds that appointments name, waits for them, and does what each decides.

Nothing is kept here: a coordinator that is killed between any two steps, or two that run at once, repeat
steps that are harmless when repeated.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import structlog

from farm_protocol.audits import AuditOrder
from farm_protocol.documents import LogHead
from farm_protocol.errors import Unavailable
from farm_protocol.fields import Tile
from farm_protocol.ids import JobId, TaskId
from render_farm.coordinator.dispatch import Bell
from render_farm.policy.auditor_selection import Audited, Online, possible
from render_farm.policy.verification_rules import Rules
from render_farm.store.decisions import AuditWish, Decision
from render_farm.store.rounds import Recorded, Rounds
from render_farm.store.submissions import JobFacts, Meetings, Submissions, Submitter
from verification.audit import sampling, selection
from verification.audit.records import Round, SignedHead, SubmissionRecord
from verification.audit.sampling import Draws
from verification.protocol import attestation
from verification.protocol.beacon import LOCAL, closing_time, round_time

log = structlog.get_logger()

STRIP = "A strip at its edge is rendered with more around it, to see that tiles of this job are right."

AWAY_SECONDS = 10.0
"""A beacon that gives nothing for so long is away."""

AWAY = (
    "Nothing can be accepted now: it waits for round {number} of the public random beacon, which none of its "
    "servers gives. They are asked every second, and the job goes on as soon as one of them does."
)

ASK_AGAIN_SECONDS = 1.0
STORE_RETRY_SECONDS = 0.5
LOOK_AGAIN_SECONDS = 30.0
"""How often a coordinator that waits for nothing looks whether another one died before its round."""


NO_MEETINGS = Meetings(0, {})


class Ticker:
    """Wakes when a round is out that something waits for. `online_seconds`: how long after its last word
    a node counts as online; `beacon_clock`: the time that rounds come by.
    """

    def __init__(
        self,
        rounds: Rounds,
        submissions: Submissions,
        rules: Rules,
        bell: Bell,
        online_seconds: float,
        clock: Callable[[], float] = time.time,
        beacon_clock: Callable[[], float] | None = None,
    ) -> None:
        self._rounds = rounds
        self._submissions = submissions
        self._rules = rules
        self._bell = bell
        self._online_seconds = online_seconds
        self._clock = clock
        self._beacon_clock = beacon_clock or clock
        self._named = asyncio.Event()
        self._next: int | None = None
        self._open: int | None = None
        self._missed_since: float | None = None

    def away(self) -> str:
        """Why nothing is decided, where the beacon is away; else ''."""
        since = self._missed_since
        if since is None or self._next is None or self._clock() - since < AWAY_SECONDS:
            return ""
        return AWAY.format(number=self._next)

    def named(self, number: int) -> None:
        """An appointment named a round."""
        if self._open is None or number < self._open:
            self._named.set()

    async def run(self) -> None:
        """Decide rounds as they come out, until cancelled."""
        while True:
            self._named.clear()
            try:
                pause = await self.step()
            except Unavailable:
                pause = STORE_RETRY_SECONDS
            if pause > 0:
                await _until(self._named, pause)

    async def step(self) -> float:
        """Close or decide the lowest round that it is time for; returns for how many seconds there is nothing
        to do.
        """
        self._open = closing = await self._rounds.first_open()
        self._next = number = await self._rounds.first()
        if number is None:
            self._missed_since = None
            return LOOK_AGAIN_SECONDS
        beacon = self._rules.beacon
        pause = LOOK_AGAIN_SECONDS
        if closing is not None:
            pause = closing_time(beacon, closing) - self._now()
            if pause <= 0:
                await self._close(closing)
                return 0.0
        if closing is not None and number >= closing:
            return pause
        left = round_time(beacon, number) - self._now()
        return min(pause, left if left > 0 else await self._decide_round(number))

    def _now(self) -> float:
        # Where the two differ, one of them is wrong: asking a public beacon too early costs a question.
        return max(self._clock(), self._beacon_clock())

    async def _close(self, number: int) -> None:
        """Close the log for a round, and sign what it is then."""
        late = self._rules.name != LOCAL and self._now() >= round_time(self._rules.beacon, number)
        closed = await self._rounds.close(number, late)
        if closed.outcome != "early":
            await self._publish_head(number, closed.size)

    async def _publish_head(self, number: int, size: int) -> SignedHead:
        head = LogHead(number, size, (await self._rounds.root(size)).hex())
        signature = attestation.sign(head, self._rules.address, self._rules.key)
        signed = SignedHead(head.round, head.size, head.root, signature)
        await self._rounds.publish_head(signed)
        return signed

    async def _decide_round(self, number: int) -> float:
        """Do what a round decides, if its value is there; returns how long to wait for it otherwise."""
        beacon = self._rules.beacon
        value = await beacon.value(number)
        self._missed_since = None if value else self._missed_since or self._clock()
        if value is None:
            return ASK_AGAIN_SECONDS
        recorded = await self._rounds.record(number, value.hex(), beacon.signature(number))
        if recorded.outcome != "early":
            await self._settle(number, recorded)
        return 0.0

    async def _settle(self, number: int, recorded: Recorded) -> None:
        head = await self._rounds.head(number)
        if head is None:  # the coordinator that closed it died before it said so
            head = await self._publish_head(number, (await self._rounds.close(number, late=False)).size)
        await self._rounds.publish(
            Round(number, recorded.value, head.size, head.root, head.signature, recorded.beacon_signature)
        )
        waiting = await self._rounds.waiting(number)
        if waiting:
            late = await self._rounds.was_late(number)
            online = await self._submissions.online(self._clock() - self._online_seconds)
            jobs: dict[JobId, JobFacts] = {}
            for task, token in waiting:
                await self._decide(task, token, recorded.value, late, online, jobs)
            self._bell.ring()
        await self._rounds.finish(number)
        log.info("round_decided", round=number, submissions=len(waiting), log=head.size)

    async def _decide(
        self,
        task: TaskId,
        token: int,
        value: str,
        late: bool,
        online: list[Online],
        jobs: dict[JobId, JobFacts],
    ) -> None:
        one = await self._submissions.get(task, token)
        if one is None:
            return
        if one.job not in jobs:
            jobs[one.job] = await self._submissions.job(one.job)
        now = await self._submissions.submitter(one.node, one.operator)
        forced = _forced(one, late, now)
        rules = self._rules.of_job(jobs[one.job].rules)
        meetings = await self._submissions.meetings(one.operator)
        made = decide(one, value, forced, jobs[one.job], online, rules, meetings)
        outcome = await self._submissions.decide(one, made, self._clock())
        if any(wish.context for wish in made.wishes):
            # One strip a job is enough, however many tiles one round decides about.
            jobs[one.job] = replace(jobs[one.job], strip_of=None)
        log.info("submission_decided", task=task, token=token, how=made.how, outcome=outcome)


def _forced(one: SubmissionRecord, late: bool, now: Submitter) -> str:
    if late:
        return f"The log was closed for beacon round {one.receipt.round} when that was out already."
    before = one.standing.failed, one.operator_standing.failed
    if now.standing.failed > before[0] or now.operator_standing.failed > before[1]:
        return "Other work of its node or operator was found false after this was submitted."
    return ""


def decide(
    one: SubmissionRecord,
    value: str,
    forced: str,
    job: JobFacts,
    online: list[Online],
    rules: Rules,
    meetings: Meetings = NO_MEETINGS,
) -> Decision:
    """What a round's value (hexadecimal) decides about a submission; `forced` is a reason to audit it
    anyway. Pure.
    """
    draws = draws_of(one, value, rules)
    drawn = sampling.is_audited(draws, one.appointment.rate)
    strip = sampling.edge_strip(draws, one.task.tile, job.strip_of) if job.strip_of else None
    forced = forced or (STRIP if strip else "")
    if not drawn and not forced:
        return Decision("accept" if one.own else "check", value)
    audited = Audited(one.node, one.operator, one.device_class, job.owner, job.excluded, job.ordered)
    asked = possible(audited, online, meetings.met)
    ranked = selection.order(draws, asked, meetings.audits, rules.policy)
    order = sampling.first_order(draws, one.task.tile, job.settings.samples, rules.policy, one.croppable)
    return Decision(
        how="audit",
        value=value,
        forced="" if drawn else forced,
        candidates=ranked,
        wishes=(AuditWish(order, ranked), *([_strip(strip)] if strip else [])),
        asked=asked,
        audits_before=meetings.audits,
        spared=selection.spared(draws, asked, meetings.audits, rules.policy),
    )


def _strip(strip: Tile) -> AuditWish:
    """A strip at the tile's edge, with more around it than the tile was rendered with."""
    return AuditWish(AuditOrder((strip,)), own_only=True, context=sampling.CONTEXT)


def draws_of(one: SubmissionRecord, value: str, rules: Rules) -> Draws:
    """The draws of a submission from a round's value."""
    return Draws(bytes.fromhex(value), attestation.digest(one.appointment, rules.address))


async def _until(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
