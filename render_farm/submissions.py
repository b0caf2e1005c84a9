# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking what nodes submit: the signature, the farm's receipt, and the round that decides about it."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from frame_splitter.errors import Conflict, FarmError, Forbidden, StaleLease, Unavailable
from frame_splitter.ids import LeaseToken, TaskId
from frame_splitter.records import TaskResult, TaskState
from render_farm.answers import SubmissionReceipt
from render_farm.rules import Rules
from render_farm.store.identities import Caller
from render_farm.store.leases import Holding, Leases, NewSubmission
from render_farm.store.submissions import Submissions, Submitter, Work
from verification import attestation
from verification.attestation import Attestation, Submission
from verification.beacon import next_round
from verification.rate import audit_rate
from verification.records import SubmissionRecord

TRIES = 5
"""How often a receipt is made again because its round came out before it was stored."""


class Equivocation(Conflict):
    """A node signed two different results under one lease."""

    code = "equivocation"


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signed a result, and what it says."""

    submitter: Submitter
    message: Attestation
    digest: str


class Counter:
    """Takes signed results. `rung` is called when a round has something to decide."""

    def __init__(
        self,
        leases: Leases,
        submissions: Submissions,
        rules: Rules,
        rung: Callable[[int], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._leases = leases
        self._submissions = submissions
        self._rules = rules
        self._rung = rung
        self._clock = clock

    async def signer(self, caller: Caller, task: TaskId, token: int, result: TaskResult) -> Signer:
        """Who signed the result. Raises BadSignature unless it was the node's own key, over this lease."""
        submitter = await self._submissions.submitter(caller.node, caller.owner)
        if not submitter.address:
            raise Forbidden("This node has not shown its address yet: POST /nodes/self first.")
        message = attestation.attest(task, LeaseToken(token), result)
        farm = self._rules.address
        attestation.require_signer(message, farm, result.signature, submitter.address)
        return Signer(submitter, message, attestation.digest(message, farm).hex())

    async def before(
        self, caller: Caller, task: TaskId, token: int, result: TaskResult, signer: Signer
    ) -> SubmissionReceipt | None:
        """The receipt of what this node submitted under this lease before, if it did.

        Raises StaleLease where that told other figures, Equivocation where it was another picture.
        """
        known = await self._submissions.get(task, token)
        if known is None or known.node != caller.node:
            return None
        if attestation.digest(known.attestation, self._rules.address).hex() == signer.digest:
            return _receipt(known, known.leaf)
        if known.attestation.pixelRoot == signer.message.pixelRoot:
            raise StaleLease("This lease is over: its result came before, with other figures beside it.")
        reason = "The node signed two different pictures under one lease."
        signature = result.signature or ""
        await self._submissions.equivocate(known, signer.message, signature, reason, self._clock())
        raise Equivocation("This node signed another result under this lease before: both are kept.")

    async def take(
        self, caller: Caller, held: Holding, result: TaskResult, signer: Signer
    ) -> tuple[TaskState, SubmissionReceipt]:
        """Store a tile's result under a receipt. Raises StaleLease."""
        work = await self._submissions.work(held.task)
        rules = await self._submissions.rules(held.job, self._rules)
        after = 0
        for _ in range(TRIES):
            new = self._receipt(caller, held, result, signer, work, rules, after)
            done = await self._leases.submit(held, result, self._clock(), new)
            if done.outcome in {"accepted", "submitted"}:
                self._rung(new.record.receipt.round)
                return TaskState(done.outcome), _receipt(new.record, done.number)
            if done.outcome != "late":
                state = await self._leases.state(held.task)
                return state, _there(await self.before(caller, held.task, held.token, result, signer))
            after = done.number
        raise Unavailable("The farm is too slow to give a receipt now: submit again in a moment.")

    async def take_audit(self, caller: Caller, held: Holding, result: TaskResult, signer: Signer) -> None:
        """Store what an auditor rendered. Raises StaleLease."""
        await self._submissions.submit_audit(
            held, result, caller.owner, caller.own, signer.submitter.address, self._clock()
        )

    def _receipt(
        self,
        caller: Caller,
        held: Holding,
        result: TaskResult,
        signer: Signer,
        work: Work,
        rules: Rules,
        after: int,
    ) -> NewSubmission:
        submitter, now = signer.submitter, self._clock()
        rate = audit_rate(submitter.standing, submitter.operator_standing, caller.own, rules.rates)
        number = max(next_round(rules.beacon, now), after + 1)
        receipt = Submission(signer.digest, int(now * 1000), number, rules.beacon.commitment(number), rate)
        record = SubmissionRecord(
            job=held.job,
            task=work.task,
            token=held.token,
            node=caller.node,
            operator=caller.owner,
            address=submitter.address,
            own=caller.own,
            device_class=result.device_class,
            attestation=signer.message,
            signature=result.signature or "",
            receipt=receipt,
            receipt_signature=attestation.sign(receipt, rules.address, rules.key),
            leaf=0,
            standing=submitter.standing,
            operator_standing=submitter.operator_standing,
            croppable=work.croppable,
        )
        leaf = attestation.digest(receipt, rules.address).hex()
        return NewSubmission(record, signer.digest, leaf, at_once=caller.own and rate == 0)


def _receipt(record: SubmissionRecord, leaf: int) -> SubmissionReceipt:
    return SubmissionReceipt(record.receipt, record.receipt_signature, leaf)


def _there(receipt: SubmissionReceipt | None) -> SubmissionReceipt:
    if receipt is None:
        raise FarmError("The farm lost a submission it had a moment ago.")
    return receipt
