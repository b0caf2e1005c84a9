# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs, frames and events, as the scripts keep them."""

import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import msgspec

from frame_splitter.audits import Sums
from frame_splitter.device_classes import Summation, summation_of
from frame_splitter.exactness import Allowed, promised, promised_at_first, words
from frame_splitter.facts import SceneFacts
from frame_splitter.fields import Tile, decode, decoder, encode
from frame_splitter.ids import DeviceClass, JobId, NodeId, OwnerId, SceneId, TaskId
from frame_splitter.probes import ProbeOrder
from frame_splitter.records import (
    Demand,
    Exactness,
    JobSpec,
    JobState,
    OutputFile,
    Progress,
    RenderSettings,
    Task,
    TaskKind,
    TaskOutput,
    TaskState,
)
from payments.promises import SignedTerms
from payments.statements import JobMoney, Payment
from render_farm.answers import AuditCounts, Failure, FrameCounts, Job, TaskCounts, TaskView
from render_farm.rules import JobRules
from render_farm.scheduler import rank
from render_farm.store import keys
from render_farm.store.connection import Connection
from render_farm.store.identities import Repeat, told_apart

Item = TypeVar("Item")

UNFINISHED = ("waiting", "ready", "leased", "submitted", "auditing")
"""States of tasks that a job still waits for."""

FINISHED = frozenset({JobState.COMPLETE, JobState.SETTLED, JobState.FAILED, JobState.CANCELLED})


@dataclass(frozen=True, slots=True)
class NewMoney:
    """What a paid job starts with. `units` are those of the tasks that are paid for, `audit_units` what an
    audit of each counts as, all in micro-units; `audit_ppm` what audits may add to the work in all.
    `rules` are those its terms promise, whatever the farm's become before its first submission (None: those).
    """

    payment: Payment
    terms: SignedTerms
    units: Mapping[TaskId, int]
    audit_units: Mapping[TaskId, int]
    audit_ppm: int
    symbol: str
    decimals: int
    rules: JobRules | None = None


@dataclass(frozen=True, slots=True)
class NewProbe:
    """What the probe of a quote starts with; `facts` are those of the job that is asked about."""

    order: ProbeOrder
    facts: SceneFacts


@dataclass(frozen=True, slots=True)
class NewJob:
    """All that is known of a job when it starts. `allowed`: what its scene allows. `created` in seconds
    since the epoch. `croppable`: crops rendered with `overscan` pixels around them equal the same pixels of
    a tile. `seams`: after how many frames one is rendered whole as well, and compared; `strip`: one of a
    tile is rendered with more around; `sums` of a device that adds in any order.
    """

    job: JobId
    owner: OwnerId
    spec: JobSpec
    settings: RenderSettings
    allowed: Allowed
    reason: str
    reason_in_order: str
    reason_any_order: str
    fingerprint: str
    created: float
    extension: str
    width: int
    height: int
    area: Tile
    canvas: Tile
    tasks: tuple[Task, ...]
    croppable: bool = False
    overscan: int = 0
    seams: tuple[int, ...] = ()
    strip: bool = False
    sums: Sums | None = None
    money: NewMoney | None = None
    probe: NewProbe | None = None


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """A frame; its files lie under the results of task `by` and its token. `whole`: one Blender rendered it
    instead of the tasks that the job began with.
    """

    frame: int
    state: str
    tiles: int
    tiles_accepted: int
    render_seconds: float
    by: TaskId
    by_token: int
    files: tuple[OutputFile, ...]
    whole: bool = False


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One entry of a job's stream."""

    id: str
    name: str
    data: dict[str, Any]


def lane(task: Task) -> str:
    """Which queue of its job a task waits in: tasks of one lane may go to the same nodes."""
    final = task.kind is TaskKind.RENDER and task.output is TaskOutput.FINAL
    return "final" if final else task.kind.value


def state_of(fields: Mapping[str, str]) -> JobState:
    """A job's state from its intents and counters; `job_state` in shared.lua says the same."""
    if fields["cancel"] == "1":
        return JobState.CANCELLED
    if not any(int(fields.get(name, 0)) for name in UNFINISHED):
        broken = int(fields["failed"]) + int(fields["frames_failed"])
        if broken:
            return JobState.FAILED
        return JobState.SETTLED if fields.get("settled") == "1" else JobState.COMPLETE
    if fields.get("paid") == "1" and fields.get("funded") != "1":
        return JobState.AWAITING_FUNDS
    if fields["pause"] == "1" or fields.get("held") or fields.get("lacks"):
        return JobState.PAUSED
    return JobState.RENDERING if int(fields["rendering"]) else JobState.FINISHING


class Jobs:
    """The store's jobs."""

    def __init__(self, connection: Connection) -> None:
        self._store = connection

    async def create(self, new: NewJob, repeat: Repeat) -> JobId:
        """Add a job and its tasks; the same creation again gives the first one's id."""
        places = [keys.job(new.job), repeat.place, *_lists(new), keys.PAID_JOBS]
        known = (new.job, repeat.digest, repeat.seconds, msgspec.json.encode(_fields(new)))
        outcome = await self._store.run("create_job", places, *known, new.created, _tasks(new))
        return JobId(told_apart(outcome))

    async def made_before(self, repeat: Repeat) -> JobId | None:
        """The job an earlier creation under the same key made, so that work need not be done again."""
        if not repeat.key:
            return None
        job, digest = await self._store.do("HMGET", repeat.place, "job", "digest")
        if job is None:
            return None
        return JobId(told_apart(["again" if digest == repeat.digest else "other", job]))

    async def get(self, job: JobId) -> Job | None:
        """A job, or None."""
        fields = await self._store.hash(keys.job(job))
        return _job(job, fields) if fields else None

    async def ids(self, owner: OwnerId | None, fingerprint: str | None) -> list[JobId]:
        """An owner's jobs (of one kind of work), or everybody's, newest first."""
        place = keys.ALL_JOBS if owner is None else keys.owner_jobs(owner)
        if owner is not None and fingerprint is not None:
            place = keys.same_work(owner, fingerprint)
        return [JobId(job) for job in await self._store.do("ZREVRANGE", place, 0, -1)]

    async def some(self, jobs: list[JobId]) -> list[Job]:
        """Several jobs in one round trip; those that are gone are left out."""
        found = await self._store.hashes([keys.job(job) for job in jobs])
        return [_job(job, fields) for job, fields in zip(jobs, found, strict=True) if fields]

    async def intend(self, job: JobId, intent: str) -> JobState:
        """Cancel, pause or resume a job that exists. Returns its state afterwards."""
        return JobState(await self._store.run("intend", [keys.job(job)], job, intent))

    async def frame(self, job: JobId, number: int) -> StoredFrame | None:
        """One frame of a job, or None."""
        fields = await self._store.hash(keys.frame(job, number))
        return _frame(fields) if fields else None

    async def area(self, job: JobId) -> Tile:
        """The rendered part of a job's frames."""
        return decode(await self._store.do("HGET", keys.job(job), "area"), Tile)

    async def frames(self, job: JobId) -> AsyncIterator[StoredFrame]:
        """A job's frames in order, read some at a time."""
        for numbers in batched(await self._store.do("LRANGE", keys.job_frames(job), 0, -1)):
            for fields in await self._store.hashes([keys.frame(job, number) for number in numbers]):
                yield _frame(fields)

    async def tasks(self, job: JobId) -> AsyncIterator[TaskView]:
        """A job's tasks in order, read some at a time."""
        wanted = ("task", "state", "node", "attempts", "failures", "progress")
        for names in batched(await self._store.do("LRANGE", keys.job_tasks(job), 0, -1)):
            for fields in await self._store.read([("HMGET", keys.task(name), *wanted) for name in names]):
                yield _task(*fields)

    async def follow(self, job: JobId, after: str, wait: float) -> list[StoredEvent]:
        """The next events after an id; waits up to `wait` seconds when there are none yet."""
        entries = await self._store.follow(keys.events(job), after, wait, 256)
        return [
            StoredEvent(entry, fields["event"], decoder(dict[str, Any]).decode(fields["data"]))
            for entry, fields in entries
        ]


def batched(items: Sequence[Item], size: int = 250) -> Iterator[Sequence[Item]]:
    """Some at a time, so that a long job's frames leave room for other requests."""
    for first in range(0, len(items), size):
        yield items[first : first + size]


def digest_of(body: bytes) -> str:
    """What tells one request from another under the same Idempotency-Key."""
    return hashlib.sha256(body).hexdigest()


def _lists(new: NewJob) -> list[str]:
    """Where the job can be found. A quote's is in no list of jobs."""
    if new.probe:
        of_owner = keys.owner_quotes(new.owner)
        return [keys.QUOTES, of_owner, of_owner]
    return [keys.ALL_JOBS, keys.owner_jobs(new.owner), keys.same_work(new.owner, new.fingerprint)]


def _in_order(new: NewJob) -> str:
    """Who may render it: '1' devices that add in order; 'own' those, and the farm's own; '0' all."""
    if new.spec.exactness is Demand.BIT:
        return "1"
    exact = new.allowed.in_order is Exactness.BIT_EXACT
    return "own" if exact and new.allowed.any_order is Exactness.APPROXIMATE else "0"


def _fields(new: NewJob) -> dict[str, str]:
    return {
        "owner": new.owner,
        "name": new.spec.name,
        "scene": new.spec.scene,
        "spec": encode(new.spec).decode(),
        "settings": encode(new.settings).decode(),
        "exactness": new.allowed.in_order.value,
        "any_order": new.allowed.any_order.value,
        "in_order": _in_order(new),
        "reason": new.reason,
        "reason_in_order": new.reason_in_order,
        "reason_any_order": new.reason_any_order,
        "fingerprint": new.fingerprint,
        "created": repr(new.created),
        "rank": repr(rank(new.spec.priority, new.created)),
        "extension": new.extension,
        "width": str(new.width),
        "height": str(new.height),
        "area": encode(new.area).decode(),
        "canvas": encode(new.canvas).decode(),
        "croppable": "1" if new.croppable else "0",
        "overscan": str(new.overscan),
        "seams": encode(new.seams).decode(),
        "strip": "1" if new.strip else "0",
        "sums": encode(new.sums).decode() if new.sums else "",
        **(_money_fields(new.money) if new.money else {}),
        **(_probe_fields(new.probe) if new.probe else {}),
    }


def _probe_fields(probe: NewProbe) -> dict[str, str]:
    return {"probe": encode(probe.order).decode(), "facts": encode(probe.facts).decode()}


def _money_fields(money: NewMoney) -> dict[str, str]:
    shown = JobMoney(money.payment.budget, symbol=money.symbol, decimals=money.decimals)
    return {
        "paid": "1",
        "funded": "0",
        "payment": encode(money.payment).decode(),
        "terms": encode(money.terms).decode(),
        "money": encode(shown).decode(),
        "tiles": str(len(money.units)),
        "units": str(sum(money.units.values())),
        "units_left": str(sum(money.units.values())),
        "audit_ppm": str(money.audit_ppm),
        **({"rules": encode(money.rules).decode()} if money.rules else {}),
        "largest_units": str(max(money.units.values())),
    }


def _tasks(new: NewJob) -> bytes:
    return msgspec.json.encode([_task_fields(task, new.money) for task in new.tasks])


def _task_fields(task: Task, money: NewMoney | None) -> dict[str, object]:
    fields = {
        "id": task.id,
        "kind": task.kind,
        "lane": lane(task),
        "frame": task.frame,
        "task": encode(task).decode(),
    }
    if money is None or task.id not in money.units:
        return fields
    # As strings: the scripts' JSON keeps fourteen digits of a number.
    return fields | {"units": str(money.units[task.id]), "audit_units": str(money.audit_units[task.id])}


_AUDITS = ("audited", "passed", "rejected", "unresolved")


def _job(job: JobId, fields: dict[str, str]) -> Job:
    count = TaskCounts(*(int(fields[name]) for name in ("total", "ready", "leased", "accepted", "failed")))
    frames = FrameCounts(*(int(fields[f"frames_{name}"]) for name in ("total", "done", "failed")))
    return Job(
        job=job,
        owner=OwnerId(fields["owner"]),
        name=fields["name"],
        state=state_of(fields),
        scene=SceneId(fields["scene"]),
        spec=decode(fields["spec"], JobSpec),
        settings=decode(fields["settings"], RenderSettings),
        exactness=_exactness(fields),
        reason=_reason(fields),
        fingerprint=fields["fingerprint"],
        created=float(fields["created"]),
        frames=frames,
        tasks=count,
        device_class=fields.get("device_class") or None,
        extension=fields["extension"],
        width=int(fields["width"]),
        height=int(fields["height"]),
        render_seconds=max(0.0, float(fields["render_seconds"])),
        failure=fields.get("failure"),
        audits=AuditCounts(*(int(fields.get(name, 0)) for name in _AUDITS)),
        money=_money(fields),
        lacks=fields.get("lacks", ""),
        fallback=fields.get("fallback", ""),
        fallback_at=float(fields["fallback_at"]) if "fallback_at" in fields else None,
        waiting=_standstill(fields),
        promise=_promise(fields),
    )


def _exactness(fields: Mapping[str, str]) -> Exactness:
    scene, demand = _asked(fields)
    if _is_open(fields):
        return promised_at_first(scene, demand)
    return scene.in_order if demand is Demand.BIT else promised(scene, DeviceClass(fields["device_class"]))


def _reason(fields: Mapping[str, str]) -> str:
    """In sentences, of the job's device class once it is known; why it fell back stands at the end."""
    if _is_open(fields):
        return fields["reason"]
    in_order = summation_of(DeviceClass(fields["device_class"])) is Summation.IN_ORDER
    said = fields["reason_in_order" if in_order else "reason_any_order"]
    return f"{said} {fields.get('fallback', '')}".strip()


def _promise(fields: Mapping[str, str]) -> str:
    return words(*_asked(fields)) if _is_open(fields) else _exactness(fields).value


def _asked(fields: Mapping[str, str]) -> tuple[Allowed, Demand]:
    allowed = Allowed(Exactness(fields["exactness"]), Exactness(fields["any_order"]))
    return allowed, decode(fields["spec"], JobSpec).exactness


def _is_open(fields: Mapping[str, str]) -> bool:
    """Whether another device class may still follow: nothing is accepted that the job's own rendered."""
    return not int(fields["accepted"]) or not fields.get("device_class")


def _standstill(fields: Mapping[str, str]) -> str:
    """Why nobody may take its tasks; a job that is paused or has ended waits for nobody."""
    works = state_of(fields) in {JobState.RENDERING, JobState.FINISHING}
    return fields.get("standstill", "") if works else ""


def _money(fields: Mapping[str, str]) -> JobMoney | None:
    if "money" not in fields:
        return None
    shown = decode(fields["money"], JobMoney)
    return replace(shown, notice=fields.get("held") or shown.notice)


def _frame(fields: dict[str, str]) -> StoredFrame:
    return StoredFrame(
        frame=int(fields["frame"]),
        state=fields["state"],
        tiles=int(fields["tiles"]),
        tiles_accepted=int(fields["accepted"]),
        render_seconds=max(0.0, float(fields["render_seconds"])),
        by=TaskId(fields.get("by", "")),
        by_token=int(fields.get("by_token", 0)),
        files=decode(fields.get("files", "[]"), tuple[OutputFile, ...]),
        whole=fields.get("whole") == "1",
    )


def _task(
    task: str,
    state: str,
    node: str | None,
    attempts: str | None,
    failures: str | None,
    progress: str | None,
) -> TaskView:
    return TaskView(
        task=decode(task, Task),
        state=TaskState(state),
        node=NodeId(node) if node else None,
        attempts=int(attempts or 0),
        failures=decode(failures or "[]", tuple[Failure, ...]),
        progress=decode(progress, Progress) if progress else Progress(),
    )
