# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs, frames and events, as the scripts keep them."""

import asyncio
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from farm_protocol.device_classes import Summation, summation_of
from farm_protocol.fields import Tile, decode, decoder
from farm_protocol.ids import DeviceClass, JobId, NodeId, OwnerId, SceneId, TaskId
from farm_protocol.records import (
    Demand,
    Exactness,
    JobSpec,
    JobState,
    OutputFile,
    Progress,
    RenderSettings,
    Task,
    TaskKind,
    TaskState,
)
from frame_splitter.exactness import Allowed, promised, promised_at_first, words
from payments.messages.statements import JobMoney
from render_farm.api_models import AuditCounts, Failure, FrameCounts, Job, TaskCounts, TaskView
from render_farm.store import keys
from render_farm.store.calls import AddTasks, CreateJob, EndTasks, Intend
from render_farm.store.connection import Connection
from render_farm.store.identities import Repeat, told_apart
from render_farm.store.new_jobs import ANY_ROOM, NewJob, Room, batched, job_fields, lists, written

Item = TypeVar("Item")
Fields = dict[str, str]
"""A hash of the store."""
TaskFields = list[str | None]

ENDED_AT_ONCE = 400
"""Tasks that the store ends in one go."""


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


def state_of(fields: Mapping[str, str]) -> JobState:
    """A job's state, as the last script that changed the job found it (`job_state` in shared.lua)."""
    return JobState(fields["announced"])


class Jobs:
    """The store's jobs."""

    def __init__(self, connection: Connection) -> None:
        self._store = connection

    async def create(self, new: NewJob, repeat: Repeat, room: Room = ANY_ROOM) -> JobId:
        """Add a job and its tasks; the same creation again gives the first one's id. Raises OverQuota where
        the owner has no room for it.
        """
        before = await self.made_before(repeat)
        if before is None and not await self._store.do("EXISTS", keys.job(new.job)):
            await self._add_tasks(new)
        call = CreateJob(
            job=new.job,
            created=new.created,
            fields=job_fields(new),
            total=len(new.tasks),
            waiting=sum(task.kind is TaskKind.FINISH for task in new.tasks),
            frames=len({task.frame for task in new.tasks}),
            again=repeat.place,
            asked=repeat.digest,
            remembered=repeat.seconds,
            lists=lists(new),
            going_on=keys.owner_unfinished(new.owner, quotes=new.probe is not None),
            most_jobs=room.jobs,
            most_tasks=room.tasks,
        )
        outcome = await self._store.call(call)
        if outcome[0] in {"jobs", "tasks"}:
            raise room.refusal(outcome[0], int(outcome[1]), len(new.tasks))
        return JobId(told_apart(outcome))

    async def _add_tasks(self, new: NewJob) -> None:
        """Write the tasks and frames some at a time: nobody waits for all of a long job."""
        began = time.time()
        for tasks, frames in await asyncio.to_thread(written, new):
            await self._store.call(AddTasks(new.job, began, tasks, frames))

    async def unfinished(self, owner: OwnerId, quotes: bool = False) -> tuple[int, int]:
        """How many unfinished jobs (or quotes) an owner has, and how many tasks they have."""
        found = await self._store.do("ZRANGE", keys.owner_unfinished(owner, quotes), 0, -1, "WITHSCORES")
        return len(found) // 2, sum(int(float(count)) for count in found[1::2])

    async def end_tasks(self, job: JobId) -> None:
        """End what is left of a job that was given up. Repeating it is harmless."""
        while await self._store.call(EndTasks(job, ENDED_AT_ONCE)):
            pass

    async def ending(self) -> list[JobId]:
        """Jobs that were given up and have tasks left to end."""
        return [JobId(job) for job in await self._store.do("ZRANGE", keys.ENDING_JOBS, 0, -1)]

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
        return job_of(job, fields) if fields else None

    async def ids(self, owner: OwnerId | None, fingerprint: str | None) -> list[JobId]:
        """An owner's jobs (of one kind of work), or everybody's, newest first."""
        place = keys.ALL_JOBS if owner is None else keys.owner_jobs(owner)
        if owner is not None and fingerprint is not None:
            place = keys.same_work(owner, fingerprint)
        return [JobId(job) for job in await self._store.do("ZREVRANGE", place, 0, -1)]

    async def some(self, jobs: list[JobId]) -> list[tuple[JobId, Fields]]:
        """Several jobs in one round trip, for `job_of`; those that are gone are left out."""
        found = await self._store.hashes([keys.job(job) for job in jobs])
        return [(job, fields) for job, fields in zip(jobs, found, strict=True) if fields]

    async def intend(self, job: JobId, intent: str) -> JobState:
        """Cancel, pause or resume a job that exists. Returns its state afterwards."""
        state = JobState(await self._store.call(Intend(job, intent)))
        if intent == "cancel":
            await self.end_tasks(job)
        return state

    async def frame(self, job: JobId, number: int) -> StoredFrame | None:
        """One frame of a job, or None."""
        fields = await self._store.hash(keys.frame(job, number))
        return frame_of(fields) if fields else None

    async def area(self, job: JobId) -> Tile:
        """The rendered part of a job's frames."""
        return decode(await self._store.do("HGET", keys.job(job), "area"), Tile)

    async def frames(self, job: JobId, after: int, most: int) -> tuple[list[Fields], bool]:
        """Up to `most` of a job's frames in order, for `frame_of`, without the first `after`; and whether
        there are more.
        """
        numbers, more = await self._page(keys.job_frames(job), after, most)
        return [
            fields
            for some in batched(numbers)
            for fields in await self._store.hashes([keys.frame(job, int(number)) for number in some])
        ], more

    async def tasks(self, job: JobId, after: int, most: int) -> tuple[list[TaskFields], bool]:
        """Up to `most` of a job's tasks in order, for `task_of`, without the first `after`; and whether there
        are more.
        """
        wanted = ("task", "state", "node", "attempts", "failures", "progress")
        names, more = await self._page(keys.job_tasks(job), after, most)
        return [
            fields
            for some in batched(names)
            for fields in await self._store.read([("HMGET", keys.task(name), *wanted) for name in some])
        ], more

    async def _page(self, place: str, after: int, most: int) -> tuple[list[str], bool]:
        found = await self._store.do("LRANGE", place, after, after + most)
        return found[:most], len(found) > most

    async def follow(
        self, job: JobId, after: str, wait: float, progress_after: str = ""
    ) -> list[StoredEvent]:
        """The next events after an id, and where asked for the next progress after one of progress; waits up
        to `wait` seconds when there are none yet.
        """
        places = {keys.events(job): after}
        if progress_after:
            places[keys.progress(job)] = progress_after
        entries = await self._store.follow_all(places, wait, 256)
        return [
            StoredEvent(entry, fields["event"], decoder(dict[str, Any]).decode(fields["data"]))
            for entry, fields in entries
        ]

    async def money(self, job: JobId) -> JobMoney | None:
        """How a job's money stands, or None for a free job."""
        money, held = await self._store.do("HMGET", keys.job(job), "money", "held")
        return _money({"money": money, "held": held or ""}) if money else None

    async def last_progress(self, job: JobId) -> str:
        """The id of the job's last progress event, or "0"."""
        return await self._store.last_of(keys.progress(job))


def digest_of(body: bytes) -> str:
    """What tells one request from another under the same Idempotency-Key."""
    return hashlib.sha256(body).hexdigest()


_AUDITS = ("audited", "passed", "rejected", "unresolved")


def job_of(job: JobId, fields: Fields) -> Job:
    """A job as `Jobs.some` read it. Takes a while where it has very many frames."""
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


def frame_of(fields: Fields) -> StoredFrame:
    """A frame as `Jobs.frames` read it."""
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


def task_of(fields: TaskFields) -> TaskView:
    """A task as `Jobs.tasks` read it."""
    task, state, node, attempts, failures, progress = fields
    return TaskView(
        task=decode(task or "", Task),
        state=TaskState(state or ""),
        node=NodeId(node) if node else None,
        attempts=int(attempts or 0),
        failures=decode(failures or "[]", tuple[Failure, ...]),
        progress=decode(progress, Progress) if progress else Progress(),
    )
