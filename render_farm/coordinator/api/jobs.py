# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs: starting, listing, stopping, and looking at frames and tasks."""

from itertools import starmap

import structlog
from fastapi import APIRouter, Request, Response

from farm_protocol.errors import NotFound
from farm_protocol.ids import JobId
from farm_protocol.records import FINAL_JOB_STATES
from render_farm.api_models import FrameList, Job, JobList, TaskList
from render_farm.coordinator.api.edge import AT_ONCE, Owner, answer, described, farm_of, large_body, repeat_of
from render_farm.coordinator.api.reading import PAGE, After, Limit, aside, require_there, turn
from render_farm.coordinator.intake import JobOrder
from render_farm.store.identities import Caller, Role
from render_farm.store.jobs import Fields, frame_of, job_of, task_of
from render_farm.store.new_jobs import batched

log = structlog.get_logger()
LISTED_AT_ONCE, MOST_LISTED, MOST_FRAMES_LISTED = 10, 1000, 1_000_000
FEW_JOBS, FEW_FRAMES = 20, 5000
"""So many jobs, of so many frames, are written at once."""

router = APIRouter(prefix="/jobs", tags=["jobs"])


async def visible(request: Request, caller: Caller, job: str) -> Job:
    """A job of the caller's (the operator's are all). Raises NotFound."""
    found = await farm_of(request).jobs.some([JobId(job)]) if job.isalnum() else []
    if not found or (caller.role is not Role.ADMIN and found[0][1]["owner"] != caller.owner):
        raise NotFound(f"You have no job '{job}'.")
    return (await _read(request, caller, found))[0]


async def _read(request: Request, caller: Caller, found: list[tuple[JobId, Fields]]) -> list[Job]:
    """The jobs, those of very many frames not while others wait."""
    if sum(len(fields["spec"]) for _, fields in found) <= AT_ONCE:
        return list(starmap(job_of, found))
    return await farm_of(request).workshop.do(caller, lambda: list(starmap(job_of, found)))


async def _shown(request: Request, caller: Caller, told: Job | JobList) -> Response:
    jobs = told.jobs if isinstance(told, JobList) else (told,)
    if sum(len(job.spec.frames) for job in jobs) <= FEW_FRAMES and len(jobs) <= FEW_JOBS:
        return answer(told)
    return await aside(request, caller, lambda: told)


@router.post("", **described(Job, JobOrder, 201))
async def add_job(request: Request, caller: Owner) -> Response:
    """Start a job on a sealed scene."""
    farm = farm_of(request)
    async with large_body(request, caller, JobOrder) as (order, digest):
        await farm.make_room(caller)
        job = await farm.intake.job(caller, order, repeat_of(request, caller, digest))
    farm.dispatch.bell.ring()
    return answer(job, 201)


@router.get("", **described(JobList))
async def list_jobs(
    request: Request, caller: Owner, fingerprint: str | None = None, unfinished: bool = False
) -> Response:
    """The caller's jobs, newest first; with `fingerprint` those of the same scene and spec.

    The operator sees all jobs, but by fingerprint only the operator's own. Of very many the newest are told:
    a thousand, or those of a million frames.
    """
    farm = farm_of(request)
    everybody = caller.role is Role.ADMIN and fingerprint is None
    jobs: list[Job] = []
    async with turn(request, caller):
        names = await farm.jobs.ids(None if everybody else caller.owner, fingerprint)
        for some in batched(names, LISTED_AT_ONCE):
            await require_there(request)
            found = await _read(request, caller, await farm.jobs.some(list(some)))
            jobs += [job for job in found if not unfinished or job.state not in FINAL_JOB_STATES]
            if len(jobs) >= MOST_LISTED or sum(len(job.spec.frames) for job in jobs) > MOST_FRAMES_LISTED:
                break
        return await _shown(request, caller, JobList(tuple(jobs)))


@router.get("/{job}", **described(Job))
async def show_job(job: str, request: Request, caller: Owner) -> Response:
    """A job."""
    return await _shown(request, caller, await visible(request, caller, job))


@router.post("/{job}/cancel", **described(Job))
async def cancel(job: str, request: Request, caller: Owner) -> Response:
    """End a job and its leases at once; frames that are done stay. A finished job stays as it is."""
    return await _intend(request, caller, job, "cancel")


@router.post("/{job}/pause", **described(Job))
async def pause(job: str, request: Request, caller: Owner) -> Response:
    """Lease no more of a job; what is leased goes on."""
    return await _intend(request, caller, job, "pause")


@router.post("/{job}/resume", **described(Job))
async def resume(job: str, request: Request, caller: Owner) -> Response:
    """Go on with a paused job."""
    return await _intend(request, caller, job, "resume")


async def _intend(request: Request, caller: Caller, job: str, intent: str) -> Response:
    found = await visible(request, caller, job)
    farm = farm_of(request)
    await farm.jobs.intend(found.job, intent)
    log.info("job_told", job=job, intent=intent, by=caller.owner)
    farm.dispatch.bell.ring()
    return await _shown(request, caller, await visible(request, caller, job))


@router.get("/{job}/frames", **described(FrameList))
async def list_frames(
    job: str, request: Request, caller: Owner, after: After = 0, limit: Limit = PAGE
) -> Response:
    """A job's frames, with links to the files of those that are done: up to `limit`, without the first
    `after`.
    """
    farm = farm_of(request)
    async with turn(request, caller):
        found = await visible(request, caller, job)
        read, more = await farm.jobs.frames(found.job, after, limit)
        stored = await farm.workshop.do(caller, lambda: list(map(frame_of, read)))
        frames = await farm.results.frames(caller, found, stored)
        return await aside(request, caller, lambda: FrameList(tuple(frames), more))


@router.get("/{job}/tasks", **described(TaskList))
async def list_tasks(
    job: str, request: Request, caller: Owner, after: After = 0, limit: Limit = PAGE
) -> Response:
    """A job's tasks, where they are on their way, and what went wrong with them: up to `limit`, without the
    first `after`.
    """
    async with turn(request, caller):
        found = await visible(request, caller, job)
        read, more = await farm_of(request).jobs.tasks(found.job, after, limit)
        return await aside(request, caller, lambda: TaskList(tuple(map(task_of, read)), more))
