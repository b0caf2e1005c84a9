# SPDX-License-Identifier: GPL-3.0-or-later
"""All that decides about a result when its node hands it in, read in one go."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from farm_protocol.errors import InvalidInput, StaleLease
from farm_protocol.fields import decode, encode
from farm_protocol.ids import JobId, LeaseToken, NodeId, TaskId
from farm_protocol.records import Task, TaskKind, TaskResult, TaskState
from render_farm.policy.verification_rules import JobRules
from render_farm.store.jobs import digest_of
from verification.audit.rate import Standing
from verification.audit.records import SubmissionRecord

STALE = "This lease is over: the task was given to somebody else, or its job was cancelled."


@dataclass(frozen=True, slots=True)
class Holding:
    """A live lease, as the store knows it."""

    task: TaskId
    job: JobId
    token: LeaseToken
    node: NodeId
    lane: str

    def hands_in(self, result: TaskResult, now: float) -> dict[str, Any]:
        """The fields of `HandIn`."""
        body = encode(result)
        told = {"task": self.task, "token": self.token, "node": self.node, "now": now}
        return {**told, "result": body, "digest": digest_of(body)}


@dataclass(frozen=True, slots=True)
class Agreed:
    """What the terms under a lease are made from, whatever happens until its result comes."""

    token: int
    standing: Standing
    operator_standing: Standing


@dataclass(frozen=True, slots=True)
class KnownLease:
    """A lease, its task and its job as they are now. `last`: no other lease of the task came after it;
    `address`: that of its node, '' where none is bound; `before`: what was submitted under it; `agreed`,
    `rules`: what its terms were made from, None where nobody asked for them; `last_closed`: the last round
    that the log was closed for, 0 where there was none.
    """

    holding: Holding
    last: bool
    state: TaskState
    digest: str
    kind: str
    device_class: str
    address: str
    before: SubmissionRecord | None
    record: Task | None
    croppable: bool
    agreed: Agreed | None
    rules: JobRules | None
    last_closed: int

    def held(self) -> Holding:
        """The lease, if it lasts. Raises StaleLease."""
        if not self.last or self.state != TaskState.LEASED:
            raise StaleLease(STALE)
        return self.holding

    def submitting(self, result: TaskResult) -> Holding | None:
        """As `held`; None where this very result was accepted before: its answer may have been lost.

        Raises InvalidInput for pixels of another device class than the lease was for.
        """
        if self.last and self.state == TaskState.ACCEPTED and self.digest == digest_of(encode(result)):
            return None
        held = self.held()
        if self.kind in {TaskKind.RENDER, TaskKind.AUDIT} and result.device_class != self.device_class:
            raise InvalidInput("The pixels were rendered on another device class than their lease was for.")
        return held


def known_lease(
    task: TaskId,
    token: int,
    node: NodeId,
    of_task: Sequence[str | None],
    submission: Sequence[str | None],
    address: str | None,
    of_job: Sequence[str | None],
    last_closed: str | None,
) -> KnownLease:
    """What read_lease.lua returned about a node's lease."""
    job, state, live, holder, digest, kind, device_class, lane, record, terms = of_task
    rules, croppable = of_job
    agreed = decode(terms, Agreed) if terms else None
    return KnownLease(
        holding=Holding(task, JobId(job or ""), LeaseToken(token), node, lane or ""),
        last=(live, holder) == (str(token), node),
        state=TaskState(state or TaskState.CANCELLED),
        digest=digest or "",
        kind=kind or "",
        device_class=device_class or "",
        address=address or "",
        before=_before(node, *submission),
        record=decode(record, Task) if record else None,
        croppable=croppable == "1",
        agreed=agreed if agreed and agreed.token == token else None,
        rules=decode(rules, JobRules) if rules else None,
        last_closed=int(last_closed or 0),
    )


def _before(node: NodeId, base: str | None, leaf: Any) -> SubmissionRecord | None:
    if base is None:
        return None
    known = replace(decode(base, SubmissionRecord), leaf=int(leaf))
    return known if known.node == node else None
