# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking what nodes submit: the signature, the farm's receipt, and the round that decides about it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from farm_protocol.appointments import Appointment, AuditTerms
from farm_protocol.documents import Attestation, Submission
from farm_protocol.errors import Conflict, FarmError, Forbidden, InvalidInput, RoundClosed, StaleLease
from farm_protocol.ids import LeaseToken, TaskId
from farm_protocol.node_answers import SubmissionReceipt
from farm_protocol.records import TaskResult, TaskState
from render_farm.policy.verification_rules import JobRules, Rules
from render_farm.store.identities import Caller
from render_farm.store.known_leases import Agreed, Holding, KnownLease
from render_farm.store.leases import Leases, NewSubmission
from render_farm.store.states import TILE_LANES
from render_farm.store.submissions import Submissions
from verification.audit.rate import appointed_rate
from verification.audit.records import SubmissionRecord
from verification.protocol import attestation
from verification.protocol.beacon import closing_time, open_round, round_time

MOST_AHEAD = 60.0
"""Seconds from now within which the log must be closed for the round that an appointment names."""

CLOSED = "The log is closed for beacon round {number}: ask for terms again, sign them, and submit."
NO_TERMS = (
    "A tile is taken by appointment: ask for terms (GET /leases/TASK/terms), sign them, and submit again."
)


class Equivocation(Conflict):
    """A node signed two different results under one lease."""

    code = "equivocation"


@dataclass(frozen=True, slots=True)
class Signer:
    """A result that its node signed: the lease as the store knows it, what the node says, and its digest."""

    known: KnownLease
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
        known = await self._leases.known(task, token, caller.node)
        if not known.address:
            raise Forbidden("This node has not shown its address yet: POST /nodes/self first.")
        message = attestation.attest(task, LeaseToken(token), result)
        farm = self._rules.address
        attestation.require_signer(message, farm, result.signature, known.address)
        return Signer(known, message, attestation.digest(message, farm).hex())

    async def before(self, signer: Signer, result: TaskResult) -> SubmissionReceipt | None:
        """The receipt of what this node submitted under this lease before, if it did.

        Raises StaleLease where that told other figures, Equivocation where it was another picture.
        """
        known = signer.known.before
        if known is None:
            return None
        if attestation.digest(known.attestation, self._rules.address).hex() == signer.digest:
            return _receipt(known, known.leaf)
        if known.attestation.pixelRoot == signer.message.pixelRoot:
            raise StaleLease("This lease is over: its result came before, with other figures beside it.")
        reason = "The node signed two different pictures under one lease."
        signature = result.signature or ""
        await self._submissions.equivocate(known, signer.message, signature, reason, self._clock())
        raise Equivocation("This node signed another result under this lease before: both are kept.")

    async def terms(self, caller: Caller, task: TaskId, token: int, attempt: int) -> AuditTerms:
        """By what it will be decided whether the tile of a lease that the node holds is audited; said before
        the farm knows what is signed. Raises StaleLease, and InvalidInput for other tasks than tiles.
        """
        ours = JobRules(self._rules.policy, self._rules.rates)
        known = await self._leases.terms(task, token, caller.node, caller.owner, ours)
        if known.held().lane not in TILE_LANES:
            raise InvalidInput("Nothing is drawn about tasks of this kind: submit the result without terms.")
        assert known.agreed is not None
        rules = self._rules.of_job(known.rules)
        now = self._clock()
        number = max(open_round(rules.beacon, now), known.last_closed + 1)
        return AuditTerms(
            round=number,
            commitment=rules.beacon.commitment(number),
            rate=_rate(known.agreed, caller, attempt, rules),
            closes_in=max(0.0, closing_time(rules.beacon, number) - now),
            out_in=max(0.0, round_time(rules.beacon, number) - now),
        )

    async def take(
        self, caller: Caller, held: Holding, result: TaskResult, signer: Signer
    ) -> tuple[TaskState, SubmissionReceipt]:
        """Store a tile's result under a receipt. Raises StaleLease, RoundClosed, and InvalidInput for an
        appointment that is not by the terms told.
        """
        new = self._receipt(caller, held, result, signer)
        done = await self._leases.submit(held, result, self._clock(), new)
        if done.outcome in {"accepted", "submitted"}:
            self._rung(new.record.receipt.round)
            return TaskState(done.outcome), _receipt(new.record, done.number)
        if done.outcome == "late":
            raise RoundClosed(CLOSED.format(number=new.record.receipt.round))
        there = replace(signer, known=await self._leases.known(held.task, held.token, held.node))
        return there.known.state, _there(await self.before(there, result))

    async def take_audit(self, caller: Caller, held: Holding, result: TaskResult, signer: Signer) -> None:
        """Store what an auditor rendered. Raises StaleLease."""
        address, now = signer.known.address, self._clock()
        await self._submissions.submit_audit(held, result, caller.owner, caller.own, address, now)

    def _receipt(self, caller: Caller, held: Holding, result: TaskResult, signer: Signer) -> NewSubmission:
        now, known = self._clock(), signer.known
        rules = self._rules.of_job(known.rules)
        appointed = self._appointed(caller, result, signer, rules, now)
        assert known.agreed is not None
        assert known.record is not None
        receipt = Submission(
            appointed.attestation, int(now * 1000), appointed.round, appointed.commitment, appointed.rate
        )
        record = SubmissionRecord(
            job=held.job,
            task=known.record,
            token=held.token,
            node=caller.node,
            operator=caller.owner,
            address=known.address,
            own=caller.own,
            device_class=result.device_class,
            attestation=signer.message,
            signature=result.signature or "",
            appointment=appointed,
            appointment_signature=result.appointment_signature or "",
            receipt=receipt,
            receipt_signature=attestation.sign(receipt, rules.address, rules.key),
            leaf=0,
            standing=known.agreed.standing,
            operator_standing=known.agreed.operator_standing,
            croppable=known.croppable,
        )
        leaf = attestation.digest(receipt, rules.address).hex()
        return NewSubmission(record, signer.digest, leaf, at_once=caller.own and appointed.rate == 0)

    def _appointed(
        self, caller: Caller, result: TaskResult, signer: Signer, rules: Rules, now: float
    ) -> Appointment:
        """The node's appointment, if it is by the farm's terms and the log is open for its round."""
        one, agreed = result.appointment, signer.known.agreed
        if one is None or agreed is None:
            raise InvalidInput(NO_TERMS)
        farm, address = self._rules.address, signer.known.address
        attestation.require_signer(one, farm, result.appointment_signature, address)
        left = closing_time(rules.beacon, one.round) - now
        if left <= 0:
            raise RoundClosed(CLOSED.format(number=one.round))
        told = (signer.digest, rules.beacon.commitment(one.round), _rate(agreed, caller, one.attempt, rules))
        if left > MOST_AHEAD + 3 * rules.beacon.period or told != (one.attestation, one.commitment, one.rate):
            raise InvalidInput("The appointment is not by the terms that the farm told: ask for them again.")
        return one


def _rate(agreed: Agreed, caller: Caller, attempt: int, rules: Rules) -> int:
    return appointed_rate(agreed.standing, agreed.operator_standing, caller.own, attempt, rules.rates)


def _receipt(record: SubmissionRecord, leaf: int) -> SubmissionReceipt:
    return SubmissionReceipt(record.receipt, record.receipt_signature, leaf)


def _there(receipt: SubmissionReceipt | None) -> SubmissionReceipt:
    if receipt is None:
        raise FarmError("The farm lost a submission it had a moment ago.")
    return receipt
