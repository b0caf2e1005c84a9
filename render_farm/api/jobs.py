# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs: starting, listing, stopping, and looking at frames and tasks."""

import structlog
from fastapi import APIRouter, Request, Response

from frame_splitter.errors import NotFound
from frame_splitter.ids import JobId
from render_farm.answers import Frame, FrameList, Job, JobList, TaskList
from render_farm.api.edge import Owner, answer, described, farm_of, large_body, repeat_of
from render_farm.intake import JobOrder
from render_farm.store.identities import Caller, Role
from render_farm.store.jobs import FINISHED
from render_farm.store.new_jobs import batched

log = structlog.get_logger()
LISTED_AT_ONCE, MOST_LISTED, MOST_FRAMES_LISTED = 10, 1000, 1_000_000

router = APIRouter(prefix="/jobs", tags=["jobs"])


async def visible(request: Request, caller: Caller, job: str) -> Job:
    """A job of the caller's (the operator's are all). Raises NotFound."""
    found = await farm_of(request).jobs.get(JobId(job)) if job.isalnum() else None
    if found is None or (caller.role is not Role.ADMIN and found.owner != caller.owner):
        raise NotFound(f"You have no job '{job}'.")
    return found


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
    names = await farm.jobs.ids(None if everybody else caller.owner, fingerprint)
    for some in batched(names, LISTED_AT_ONCE):
        found = await farm.jobs.some(list(some))
        jobs += [job for job in found if not unfinished or job.state not in FINISHED]
        if len(jobs) >= MOST_LISTED or sum(len(job.spec.frames) for job in jobs) > MOST_FRAMES_LISTED:
            break
    return answer(JobList(tuple(jobs)))


@router.get("/{job}", **described(Job))
async def show_job(job: str, request: Request, caller: Owner) -> Response:
    """A job."""
    return answer(await visible(request, caller, job))


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
    return answer(await visible(request, caller, job))


@router.get("/{job}/frames", **described(FrameList))
async def list_frames(job: str, request: Request, caller: Owner) -> Response:
    """A job's frames, with links to the files of those that are done."""
    found = await visible(request, caller, job)
    farm = farm_of(request)
    frames: list[Frame] = []
    async for some in farm.jobs.frames(found.job):
        frames += await farm.results.frames(caller, found, some)
    return answer(FrameList(tuple(frames)))


@router.get("/{job}/tasks", **described(TaskList))
async def list_tasks(job: str, request: Request, caller: Owner) -> Response:
    """A job's tasks, where they are on their way, and what went wrong with them."""
    found = await visible(request, caller, job)
    return answer(TaskList(tuple([task async for task in farm_of(request).jobs.tasks(found.job)])))
