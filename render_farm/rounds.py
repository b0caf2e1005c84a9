# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits for the beacon rounds that receipts name, and does what each decides.

Nothing is kept here: a coordinator that is killed between any two steps, or two that run at once, repeat
steps that are harmless when repeated.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import structlog

from frame_splitter.audits import AuditOrder
from frame_splitter.errors import Unavailable
from frame_splitter.fields import Tile
from frame_splitter.ids import JobId, TaskId
from render_farm.auditors import Audited, Online, possible
from render_farm.dispatch import Bell
from render_farm.rules import Rules
from render_farm.store.decisions import AuditWish, Decision
from render_farm.store.rounds import Recorded, Rounds
from render_farm.store.submissions import JobFacts, Meetings, Submissions, Submitter
from verification import attestation, sampling, selection
from verification.attestation import LogHead
from verification.beacon import next_round, round_time
from verification.records import Round, SubmissionRecord
from verification.sampling import Draws

log = structlog.get_logger()

STRIP = "A strip at its edge is rendered with more around it, to see that tiles of this job are right."

MISSED_SECONDS = 30.0
"""A value that is not to be had so long after its round's time is given up."""

AWAY_SECONDS = 10.0
"""A beacon that gives nothing for so long is away."""

AWAY = (
    "Nothing can be accepted now: it waits for round {number} of the public random beacon, which none of its "
    "servers gives. They are asked every second, and the job goes on with the first round that comes."
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
        self._missed_since: float | None = None

    def away(self) -> str:
        """Why nothing is decided, where the beacon is away; else ''."""
        since = self._missed_since
        if since is None or self._next is None or self._clock() - since < AWAY_SECONDS:
            return ""
        return AWAY.format(number=self._next)

    def named(self, number: int) -> None:
        """A receipt named a round."""
        if self._next is None or number < self._next:
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
        """Do the lowest round if it is out; returns for how many seconds there is nothing to do."""
        self._next = number = await self._rounds.first()
        if number is None:
            self._missed_since = None
            return LOOK_AGAIN_SECONDS
        # Where the two differ, one of them is wrong: asking a public beacon too early costs a question.
        left = round_time(self._rules.beacon, number) - max(self._clock(), self._beacon_clock())
        if left > 0:
            return left
        recorded = await self._record(number, -left)
        if recorded is None:
            return ASK_AGAIN_SECONDS
        if recorded.outcome != "early":
            await self._settle(number, recorded)
        return 0.0

    async def _record(self, number: int, late: float) -> Recorded | None:
        """Fix the round's value; None while it may still come."""
        beacon = self._rules.beacon
        value = await beacon.value(number)
        self._missed_since = None if value else self._missed_since or self._clock()
        if value is None and late < MISSED_SECONDS:
            return None
        if value is None:
            log.warning("round_missed", round=number)
        after = max(next_round(beacon, self._beacon_clock()), number + 1)
        signature = "" if value is None else beacon.signature(number)
        return await self._rounds.record(number, value.hex() if value else "", signature, after)

    async def _settle(self, number: int, recorded: Recorded) -> None:
        root = (await self._rounds.root(recorded.size)).hex()
        head = LogHead(number, recorded.size, root)
        signature = attestation.sign(head, self._rules.address, self._rules.key)
        await self._rounds.publish(
            Round(number, recorded.value, recorded.size, root, signature, recorded.beacon_signature)
        )
        waiting = await self._rounds.waiting(number) if recorded.value else []
        if waiting:
            online = await self._submissions.online(self._clock() - self._online_seconds)
            jobs: dict[JobId, JobFacts] = {}
            for task, token in waiting:
                await self._decide(task, token, number, recorded.value, online, jobs)
            self._bell.ring()
        await self._rounds.finish(number)
        log.info("round_decided", round=number, submissions=len(waiting), log=recorded.size)

    async def _decide(
        self,
        task: TaskId,
        token: int,
        number: int,
        value: str,
        online: list[Online],
        jobs: dict[JobId, JobFacts],
    ) -> None:
        one = await self._submissions.get(task, token)
        if one is None:
            return
        if one.job not in jobs:
            jobs[one.job] = await self._submissions.job(one.job)
        now = await self._submissions.submitter(one.node, one.operator)
        missed = one.receipt.round != number
        forced = _forced(one, missed, now)
        rules = await self._submissions.rules(one.job, self._rules)
        meetings = await self._submissions.meetings(one.operator)
        made = decide(one, value, forced, missed, jobs[one.job], online, rules, meetings)
        outcome = await self._submissions.decide(one, made, self._clock())
        if any(wish.context for wish in made.wishes):
            # One strip a job is enough, however many tiles one round decides about.
            jobs[one.job] = replace(jobs[one.job], strip_of=None)
        log.info("submission_decided", task=task, token=token, how=made.how, outcome=outcome)


def _forced(one: SubmissionRecord, missed: bool, now: Submitter) -> str:
    if missed:
        return f"Beacon round {one.receipt.round} never came, so all that it would have decided is audited."
    before = one.standing.failed, one.operator_standing.failed
    if now.standing.failed > before[0] or now.operator_standing.failed > before[1]:
        return "Other work of its node or operator was found false after this was submitted."
    return ""


def decide(
    one: SubmissionRecord,
    value: str,
    forced: str,
    missed: bool,
    job: JobFacts,
    online: list[Online],
    rules: Rules,
    meetings: Meetings = NO_MEETINGS,
) -> Decision:
    """What a round's value (hexadecimal) decides about a submission; `forced` is a reason to audit it
    anyway, `missed` says that it is not the round its receipt names. Pure.
    """
    draws = draws_of(one, value, rules)
    drawn = sampling.is_audited(draws, one.receipt.rate)
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
        forced="" if drawn and not missed else forced,
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
    return Draws(bytes.fromhex(value), attestation.digest(one.receipt, rules.address))


async def _until(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
