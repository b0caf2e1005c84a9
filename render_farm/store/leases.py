# SPDX-License-Identifier: GPL-3.0-or-later
"""Leases: what is ready, taking it, renewing, submitting, giving back, and letting end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from farm_protocol.audits import AuditOrder, Sums
from farm_protocol.device_classes import Summation, summation_of
from farm_protocol.errors import StaleLease
from farm_protocol.fields import Tile, decode, encode
from farm_protocol.ids import DeviceClass, JobId, LeaseToken, NodeId, OwnerId, SceneId, TaskId
from farm_protocol.probes import ProbeOrder
from farm_protocol.records import (
    SCENE_FAILURES,
    Beat,
    Heartbeat,
    JobSpec,
    LeaseRequest,
    OutputFile,
    RenderSettings,
    Task,
    TaskFailure,
    TaskResult,
    TaskState,
)
from frame_splitter.split import asked
from render_farm.api_models import Failure
from render_farm.policy.fallbacks import Fallback
from render_farm.policy.scheduler import Asker, Choice
from render_farm.policy.verification_rules import JobRules
from render_farm.store import keys
from render_farm.store.calls import Expire, GiveBack, Grace, ReadLease, Renew, Submit, Take
from render_farm.store.candidates import Found, find
from render_farm.store.connection import Connection
from render_farm.store.known_leases import STALE, Holding, KnownLease, known_lease
from verification.audit.records import SubmissionRecord

FAULTS_THAT_FAIL = 3
"""After so many failures that are the scene's own a task is not tried again."""


@dataclass(frozen=True, slots=True)
class StoredInput:
    """An accepted tile a finish task starts from; its file lies under `task` and `token`."""

    task: Task
    token: int
    file: OutputFile


@dataclass(frozen=True, slots=True)
class StoredAudit:
    """An audit that a check compares with; its files lie under `task` and `token`."""

    task: TaskId
    order: AuditOrder
    token: int
    files: tuple[OutputFile, ...]
    own: bool
    same_class: bool


@dataclass(frozen=True, slots=True)
class StoredCheck:
    """What a check must know of the tile it looks at. `sums` where its device adds in any order."""

    pixel_root: str
    channels: tuple[str, ...]
    audits: tuple[StoredAudit, ...]
    sums: Sums | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """A task just leased, with what of its job the node must know."""

    task: Task
    token: LeaseToken
    slot: str
    owner: OwnerId
    scene: SceneId
    settings: RenderSettings
    width: int
    height: int
    area: Tile
    canvas: Tile
    inputs: tuple[StoredInput, ...]
    audit: AuditOrder | None = None
    check: StoredCheck | None = None
    agreement: str = ""
    units: int = 0
    probe: ProbeOrder | None = None
    seam: bool = False
    fresh: bool = False
    asked: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """A lease that ended; `why`: expired (without a word from its node), overdue or stalled."""

    task: TaskId
    job: JobId
    node: NodeId
    why: str


@dataclass(frozen=True, slots=True)
class Renewed:
    """What came of a heartbeat: tasks the node has lost, those of them whose leases ended by it, and whether
    others have something to take that they had not before.
    """

    lost: tuple[TaskId, ...]
    ended: tuple[TaskId, ...]
    woke: bool


@dataclass(frozen=True, slots=True)
class NewSubmission:
    """A submission with its receipt: `record` lacks only the leaf's number. `at_once`: nothing is drawn
    for it. `attestation` and `receipt` are digests, hexadecimal.
    """

    record: SubmissionRecord
    attestation: str
    receipt: str
    at_once: bool

    def fields(self) -> dict[str, Any]:
        """As `Submit` has them."""
        record = self.record
        return {
            "how": "accept" if self.at_once else "wait",
            "record": record,
            "attestation": self.attestation,
            "receipt": self.receipt,
            "round": record.receipt.round,
            "pixel_root": record.attestation.pixelRoot,
            "operator": record.operator,
        }


@dataclass(frozen=True, slots=True)
class Submitted:
    """How a submit ended: accepted, submitted, again, other (another result came before), or late (its
    round is out). `number` is that of the leaf, or of the last round where late.
    """

    outcome: str
    number: int


class Leases:
    """The store's leases. All times are seconds since the epoch, by the coordinator's clock."""

    def __init__(self, connection: Connection) -> None:
        self._store = connection

    async def find(self, asker: Asker, request: LeaseRequest, now: float) -> Found:
        """What the node could be given now; notes that it was heard of."""
        return await find(self._store, asker, request, now)

    async def online(self, since: float) -> set[NodeId]:
        """Nodes heard of since a time."""
        return {NodeId(node) for node in await self._store.do("ZRANGEBYSCORE", keys.NODES, since, "+inf")}

    async def own_among(self, nodes: set[NodeId]) -> int:
        """How many of the nodes are the farm's own."""
        flags = await self._store.read([("HGET", keys.node(node), "own") for node in nodes])
        return flags.count("1")

    async def take(self, choices: Sequence[Choice], node: NodeId, now: float, ends: float) -> list[Taken]:
        """Lease tasks to a node until `ends`, but those that are no longer to be had."""
        offers = [one.offer for one in choices]
        wanted = [
            (one.task.task, one.offer.slot, one.offer.device_class, str(one.offer.memory)) for one in choices
        ]
        found = await self._store.call(Take(node, now, ends, wanted))
        return [_taken(offer.slot, *lease) for offer, lease in zip(offers, found, strict=True) if lease]

    async def renew(self, node: NodeId, beat: Heartbeat, now: float, ends: float) -> Renewed:
        """Renew a node's leases until `ends`, but none beyond its latest end."""
        beats, troubles = [_beat(one) for one in beat.beats], msgspec.json.encode(beat.troubles)
        lost, ended, woke = await self._store.call(Renew(node, now, ends, beats, troubles))
        return Renewed(tuple(map(TaskId, lost)), tuple(map(TaskId, ended)), bool(woke))

    async def holding(self, task: TaskId, token: int, node: NodeId) -> Holding:
        """The node's live lease. Raises StaleLease where it holds none under this token."""
        wanted = ("token", "node", "state", "job", "lane")
        *live, job, lane = await self._store.do("HMGET", keys.task(task), *wanted)
        if live != [str(token), node, TaskState.LEASED]:
            raise StaleLease(STALE)
        return Holding(task, JobId(job), LeaseToken(token), node, lane)

    async def known(self, task: TaskId, token: int, node: NodeId) -> KnownLease:
        """All that decides about a result that the node hands in under a lease."""
        return await self._read(ReadLease(task, token, node))

    async def terms(
        self, task: TaskId, token: int, node: NodeId, operator: OwnerId, rules: JobRules
    ) -> KnownLease:
        """As `known`. A tile's lease that is live gets its terms, unless it has some: they are made from what
        is true now of its node and operator; its job gets the rules, unless it has some.
        """
        return await self._read(ReadLease(task, token, node, operator, rules))

    async def _read(self, one: ReadLease) -> KnownLease:
        return known_lease(one.task, one.token, one.node, *await self._store.call(one))

    async def frame_of(self, task: TaskId) -> int:
        """The frame of a task that exists."""
        return int(await self._store.do("HGET", keys.task(task), "frame"))

    async def scene_of(self, held: Holding) -> tuple[OwnerId, SceneId]:
        """Whose scene a lease is for, and which."""
        owner, scene = await self._store.do("HMGET", keys.job(held.job), "owner", "scene")
        return OwnerId(owner), SceneId(scene)

    async def submit(
        self,
        held: Holding,
        result: TaskResult,
        now: float,
        submission: NewSubmission | None = None,
        fallback: Fallback | None = None,
    ) -> Submitted:
        """Take a result whose objects were checked: with a submission it waits for its round, without it
        is accepted, and the job falls back where that is asked for. Raises StaleLease; repeating it is
        harmless.
        """
        call = Submit(
            **held.hands_in(result, now),
            render_seconds=result.render_seconds,
            fallback=fallback,
            **(submission.fields() if submission else {}),
        )
        outcome, number = await self._store.call(call)
        if outcome == "stale":
            raise StaleLease(STALE)
        return Submitted(outcome, int(number))

    async def give_back(
        self,
        task: TaskId,
        token: int,
        node: NodeId,
        failure: TaskFailure,
        now: float,
        fallback: Fallback | None = None,
    ) -> TaskState:
        """A node could not do its task; `fallback` is why its job goes on with whole frames, where an own
        node's tiles fail of it for good. Returns the task's next state; raises StaleLease.
        """
        call = GiveBack(
            task=task,
            token=token,
            node=node,
            now=now,
            code=failure.code,
            is_fault=failure.code in SCENE_FAILURES,
            failure=Failure(failure.code, failure.message, node, now),
            sentence=failure.message,
            most_faults=FAULTS_THAT_FAIL,
            bad_inputs=failure.bad_inputs,
            fallback=fallback,
        )
        outcome = await self._store.call(call)
        if outcome == "stale":
            raise StaleLease(STALE)
        return TaskState(outcome)

    async def expire(self, now: float, limit: int = 100) -> list[Ended]:
        """Put back tasks whose leases ended, at most `limit` of them."""
        found = await self._store.call(Expire(now, limit))
        return [Ended(TaskId(task), JobId(job), NodeId(node), why) for task, job, node, why in found]

    async def next_end(self) -> float | None:
        """When the first lease ends, or None when nothing is leased."""
        first = await self._store.do("ZRANGE", keys.LEASES, 0, 0, "WITHSCORES")
        return float(first[1]) if first else None

    async def grace(self, now: float, until: float) -> int:
        """Let no lease end before `until`, and all begin anew; returns how many were lengthened."""
        return int(await self._store.call(Grace(now, until)))


def _beat(beat: Beat) -> dict[str, object]:
    return {
        "task": beat.task,
        "token": str(beat.token),
        "progress": encode(beat.progress).decode(),
        "done": beat.progress.done,
        "total": beat.progress.total,
    }


def _taken(
    slot: str,
    token: int,
    task: str,
    job: list[str],
    inputs: list[list[str]],
    audit: str,
    check: tuple[str, str, str, str, list[list[str]]] | str,
    agreement: str,
    units: str,
    seam: int,
    fresh: int,
) -> Taken:
    _, owner, scene, settings, width, height, area, canvas, probe, spec = job
    return Taken(
        decode(task, Task),
        LeaseToken(token),
        slot,
        OwnerId(owner),
        SceneId(scene),
        decode(settings, RenderSettings),
        int(width),
        int(height),
        decode(area, Tile),
        decode(canvas, Tile),
        tuple(_input(*entry) for entry in inputs),
        decode(audit, AuditOrder) if audit else None,
        None if isinstance(check, str) else _check(*check),
        agreement,
        int(units),
        decode(probe, ProbeOrder) if probe else None,
        bool(seam),
        bool(fresh),
        asked(decode(spec, JobSpec)),
    )


def _check(root: str, channels: str, device_class: str, sums: str, audits: list[list[str]]) -> StoredCheck:
    in_bits = summation_of(DeviceClass(device_class)) is Summation.IN_ORDER or not sums
    return StoredCheck(
        root,
        decode(channels, tuple[str, ...]),
        tuple(_audit(*entry) for entry in audits),
        None if in_bits else decode(sums, Sums),
    )


def _audit(task: str, order: str, token: str, result: str, own: str, same_class: str) -> StoredAudit:
    files = decode(result, TaskResult).files
    return StoredAudit(
        TaskId(task), decode(order, AuditOrder), int(token), files, own == "1", same_class == "1"
    )


def _input(task: str, token: str, result: str) -> StoredInput:
    return StoredInput(decode(task, Task), int(token), decode(result, TaskResult).files[0])
