# SPDX-License-Identifier: GPL-3.0-or-later
"""Submissions as the scripts keep them: who submits, what was signed, and what became of it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from farm_protocol.audits import AuditOrder, CheckReport
from farm_protocol.documents import Attestation
from farm_protocol.errors import StaleLease
from farm_protocol.fields import StoredFile, Tile, decode, decoder, encode
from farm_protocol.ids import JobId, LeaseToken, NodeId, OwnerId, SceneId, TaskId
from farm_protocol.records import FailureCode, OutputFile, RenderSettings, TaskResult
from render_farm.api_models import Failure
from render_farm.policy.auditor_selection import Online
from render_farm.policy.verification_rules import JobRules, Rules
from render_farm.store import keys
from render_farm.store.calls import Conclude, Decide, Equivocate, SubmitAudit
from render_farm.store.connection import Connection
from render_farm.store.decisions import AuditWish, Conclusion, Decision
from render_farm.store.known_leases import STALE, Holding
from render_farm.store.new_jobs import batched
from verification.audit.rate import Standing
from verification.audit.records import AuditRecord, SubmissionRecord
from verification.audit.selection import Asked
from verification.audit.verdict import Case, Outcome, Twin, Verdict
from verification.protocol.attestation import attest


@dataclass(frozen=True, slots=True)
class Submitter:
    """A node's and its operator's standing now."""

    standing: Standing
    operator_standing: Standing


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What of a job decides about its submissions. `noise`: the least and most of accepted tiles;
    `excluded`: nodes found false in it; `ordered`: nodes it has agreements with, None where it is free;
    `strip_of`: the rendered area, where a strip of one of its tiles is to be rendered with more around it;
    `rules`: those it is verified by, since terms were first asked for.
    """

    owner: OwnerId
    scene: SceneId
    settings: RenderSettings
    noise: tuple[float, float] | None
    excluded: frozenset[NodeId] = frozenset()
    ordered: frozenset[NodeId] | None = None
    strip_of: Tile | None = None
    rules: JobRules | None = None


@dataclass(frozen=True, slots=True)
class Meetings:
    """How many audits an operator's work had, and how many of them each operator did."""

    audits: int
    met: Mapping[OwnerId, int]


@dataclass(frozen=True, slots=True)
class Progressed:
    """A submission with what only the farm keeps: the value that decided about it (hexadecimal), how often
    suspects were looked at, and how often it was escalated.
    """

    record: SubmissionRecord
    value: str
    suspects: int
    escalated: int
    check: TaskId | None
    check_token: int


class Submissions:
    """The store's submissions."""

    def __init__(self, connection: Connection) -> None:
        self._store = connection

    async def submitter(self, node: NodeId, operator: OwnerId) -> Submitter:
        """How a node and its operator stand."""
        both = (keys.node(node), keys.owner(operator))
        mine, theirs = await self._store.read([("HMGET", one, "passed", "failed") for one in both])
        return Submitter(_standing(*mine), _standing(*theirs))

    async def job(self, job: JobId) -> JobFacts:
        """A job that exists."""
        wanted = ("owner", "scene", "settings", "noise_least", "noise_most", "paid", "strip", "area", "rules")
        found, *sets = await self._store.read(
            [
                ("HMGET", keys.job(job), *wanted),
                ("SMEMBERS", keys.job_excluded(job)),
                ("SMEMBERS", keys.job_ordered(job)),
            ]
        )
        owner, scene, settings, least, most, paid, strip, area, rules = found
        noise = None if least is None else (float(least), float(most))
        pinned = decode(settings, RenderSettings)
        excluded, ordered = (frozenset(map(NodeId, names)) for names in sets)
        return JobFacts(
            OwnerId(owner),
            SceneId(scene),
            pinned,
            noise,
            excluded,
            ordered if paid == "1" else None,
            decode(area, Tile) if strip == "1" else None,
            decode(rules, JobRules) if rules else None,
        )

    async def confirmed(self, job: JobId, node: NodeId) -> int:
        """How many of a node's rejections in a job a second look confirmed."""
        return int(await self._store.do("HGET", keys.job_lies(job), node) or 0)

    async def rules(self, job: JobId, now: Rules) -> Rules:
        """The rules a job is verified by: the farm's at its first submission. A farm that changes its rates
        keeps to those that older receipts were made by.
        """
        place = keys.job(job)
        kept = await self._store.do("HGET", place, "rules")
        if kept is None:
            await self._store.keep("HSETNX", place, "rules", encode(JobRules(now.policy, now.rates)))
            kept = await self._store.do("HGET", place, "rules")
        return now.of_job(decode(kept, JobRules))

    async def online(self, since: float) -> list[Online]:
        """Nodes heard of since a time that take audits and have an address."""
        names = await self._store.do("ZRANGEBYSCORE", keys.NODES, since, "+inf")
        wanted = ("owner", "own", "sandboxed", "address", "offer", "passed", "failed")
        found = await self._store.read([("HMGET", keys.node(name), *wanted) for name in names])
        classes = await self._store.read([("ZRANGE", keys.node_audits(name), 0, -1) for name in names])
        owners = sorted({fields[0] for fields in found if fields[0]})
        read = [("HMGET", keys.owner(owner), "passed", "failed") for owner in owners]
        standings = dict(zip(owners, await self._store.read(read), strict=True))
        return [
            Online(
                NodeId(name),
                OwnerId(owner),
                own == "1",
                sandboxed == "1",
                frozenset(audits),
                bool(offer),
                _worse(_standing(*mine), _standing(*standings[owner])),
            )
            for name, (owner, own, sandboxed, address, offer, *mine), audits in zip(
                names, found, classes, strict=True
            )
            if audits and address
        ]

    async def get(self, task: TaskId, token: int) -> SubmissionRecord | None:
        """What was submitted under a lease, without its audits, or None."""
        base, leaf = await self._store.do("HMGET", _key(task, token), "base", "leaf")
        return None if base is None else replace(decode(base, SubmissionRecord), leaf=int(leaf))

    async def progressed(self, task: TaskId, token: int) -> Progressed | None:
        """All that is known of a submission, or None."""
        found = [one async for one in self._all([(task, token)])]
        return found[0] if found else None

    async def of_job(self, job: JobId, frame: int | None = None) -> AsyncIterator[Progressed]:
        """A job's submissions (of one frame) in the order they came in."""
        entries = await self._store.do("LRANGE", keys.job_submissions(job), 0, -1)
        wanted = [(TaskId(task), int(token)) for task, token in map(str.split, entries)]
        if frame is not None:
            wanted = [entry for entry in wanted if entry[0].startswith(f"{job}.f{frame}.")]
        for some in batched(wanted):
            async for one in self._all(some):
                yield one

    async def _all(self, entries: Sequence[tuple[TaskId, int]]) -> AsyncIterator[Progressed]:
        found = await self._store.hashes([_key(*entry) for entry in entries])
        audits = [name for fields in found for name in decode(fields.get("audits", "[]"), list[str])]
        done = dict(zip(audits, await self._store.hashes([keys.task(name) for name in audits]), strict=True))
        for fields in found:
            if fields:
                yield _progressed(fields, done)

    async def rounds_of(self, job: JobId) -> list[int]:
        """The beacon rounds that decided about a job's submissions."""
        return sorted(int(number) for number in await self._store.do("SMEMBERS", keys.job_rounds(job)))

    async def checked(self, check: TaskId) -> tuple[TaskId, int]:
        """Which submission a check looks at: its task and token."""
        of, token = await self._store.do("HMGET", keys.task(check), "of", "of_token")
        return TaskId(of), int(token)

    async def twin(self, one: SubmissionRecord) -> Twin | None:
        """Another submission of the job with the same pixels, rejected ones first. The same task's own
        earlier result counts only where it was rejected.
        """
        found = await self._store.do("HGET", keys.job_roots(one.job), one.attestation.pixelRoot)
        others = [
            entry
            for entry in decoder(list).decode(found or "[]")
            if (entry["task"], int(entry["token"])) != (one.task.id, one.token)
            and (entry["rejected"] or entry["task"] != one.task.id)
        ]
        others.sort(key=lambda entry: not entry["rejected"])
        return Twin(int(others[0]["frame"]), bool(others[0]["rejected"])) if others else None

    async def decide(self, one: SubmissionRecord, made: Decision, now: float) -> str:
        """Do what a submission's round decided. Returns done, again or gone."""
        call = Decide(
            task=one.task.id,
            token=one.token,
            now=now,
            how=made.how,
            value=made.value,
            forced=made.forced,
            audits=_wishes(made.wishes),
            candidates=encode(made.candidates),
            asked=encode(made.asked),
            spared=encode(made.spared),
            audits_before=made.audits_before,
        )
        outcome: str = await self._store.call(call)
        return outcome

    async def meetings(self, operator: OwnerId) -> Meetings:
        """Who audited an operator's work before."""
        found = await self._store.hash(keys.owner_audited(operator))
        audits = int(found.pop("*", 0))
        return Meetings(audits, {OwnerId(other): int(count) for other, count in found.items()})

    async def submit_audit(
        self, held: Holding, result: TaskResult, operator: OwnerId, own: bool, address: str, now: float
    ) -> None:
        """Take what an auditor rendered. Raises StaleLease; repeating it is harmless."""
        call = SubmitAudit(**held.hands_in(result, now), address=address, operator=operator, own=own)
        outcome = await self._store.call(call)
        if outcome not in {"accepted", "again"}:
            raise StaleLease(STALE)

    async def conclude(
        self, held: Holding, result: TaskResult, one: SubmissionRecord, made: Conclusion, now: float
    ) -> None:
        """Take a check's report and do what was made of it. Raises StaleLease; repeating it is harmless."""
        seen = made.report
        call = Conclude(
            **held.hands_in(result, now),
            how=made.how,
            because=made.because,
            forced=made.forced,
            verdict=made.verdict,
            case=made.case,
            report=seen,
            evidence=encode(result.files[1:]),
            audits=_wishes(made.wishes),
            contradicted=seen.contradicted,
            channels=encode(seen.channels),
            noise=seen.noise,
            failure=_failure(one.node, made.verdict, now),
            fallback=made.fallback,
        )
        outcome = await self._store.call(call)
        if outcome not in {"accepted", "again"}:
            raise StaleLease(STALE)

    async def equivocate(
        self, one: SubmissionRecord, second: Attestation, signature: str, reason: str, now: float
    ) -> None:
        """Keep that a node signed two pictures under one lease, and reject what it submitted."""
        verdict = Verdict(Outcome.REJECTED, "equivocation", reason)
        failure = _failure(one.node, verdict, now)
        call = Equivocate(one.task.id, one.token, now, second, signature, verdict, failure)
        await self._store.call(call)


def _key(task: TaskId, token: int) -> str:
    return keys.submission(task, LeaseToken(token))


def _standing(passed: str | None, failed: str | None) -> Standing:
    return Standing(int(passed or 0), int(failed or 0))


def _worse(one: Standing, other: Standing) -> Standing:
    return Standing(min(one.passed, other.passed), max(one.failed, other.failed))


def _failure(node: NodeId, verdict: Verdict, now: float) -> Failure:
    return Failure(FailureCode.BAD_OUTPUT, verdict.reason, node, now)


def _wishes(wishes: Sequence[AuditWish]) -> list[dict[str, object]]:
    """As the scripts take audits to order."""
    return [
        {
            "audit": encode(wish.audit).decode(),
            "ranked": wish.ranked,
            "own_only": "1" if wish.own_only else "0",
            "repeat": "0",
            "context": wish.context,
            "fresh": "1" if wish.fresh else "0",
        }
        for wish in wishes
    ]


def _progressed(fields: Mapping[str, str], tasks: Mapping[str, dict[str, str]]) -> Progressed:
    names = decode(fields.get("audits", "[]"), list[str])
    record = replace(
        decode(fields["base"], SubmissionRecord),
        leaf=int(fields["leaf"]),
        audited={"1": True, "0": False}.get(fields.get("audited", "")),
        forced=fields.get("forced", ""),
        candidates=decode(fields.get("candidates", "[]"), tuple[NodeId, ...]),
        asked=decode(fields.get("asked", "[]"), tuple[Asked, ...]),
        audits_before=int(fields.get("audits_before", 0)),
        audits=tuple(_audit(TaskId(name), tasks[name]) for name in names),
        report=_optional(fields.get("report"), CheckReport),
        verdict=_optional(fields.get("verdict"), Verdict),
        case=_optional(fields.get("case"), Case),
        evidence=tuple(
            StoredFile(file.name, file.sha256, file.size)
            for file in decode(fields.get("evidence", "[]"), tuple[OutputFile, ...])
        ),
        second=_optional(fields.get("second"), Attestation),
        second_signature=fields.get("second_signature"),
    )
    check = TaskId(fields["check"]) if fields.get("check") else None
    return Progressed(
        record,
        fields.get("value", ""),
        int(fields.get("suspects", 0)),
        int(fields.get("escalated", 0)),
        check,
        int(fields.get("check_token", 0)),
    )


def _optional(text: str | None, kind: type[Any]) -> Any:
    return decode(text, kind) if text else None


def _audit(name: TaskId, fields: Mapping[str, str]) -> AuditRecord:
    record = AuditRecord(
        name,
        decode(fields["audit"], AuditOrder),
        repeat=fields["repeat"] == "1",
        fresh=fields.get("fresh") == "1",
    )
    if fields["state"] != "accepted":
        return record
    result = decode(fields["result"], TaskResult)
    return replace(
        record,
        node=NodeId(fields["node"]),
        operator=OwnerId(fields["operator"]),
        own=fields["own"] == "1",
        same_class=fields["same_class"] == "1",
        attestation=attest(name, LeaseToken(int(fields["token"])), result),
        signature=result.signature,
        contradicted=fields.get("contradicted") == "1",
        address=fields["address"],
    )
