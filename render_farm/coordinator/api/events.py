# SPDX-License-Identifier: GPL-3.0-or-later
"""A job's events as server-sent events, resumable, ending after the job's last one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from farm_protocol.errors import FarmError, InvalidInput
from farm_protocol.fields import encode
from farm_protocol.records import FINAL_JOB_STATES, JobState
from render_farm.api_models import Job
from render_farm.coordinator.api.edge import Owner, farm_of
from render_farm.coordinator.api.jobs import visible
from render_farm.coordinator.composition import Farm
from render_farm.store.connection import is_event_id
from render_farm.store.identities import Caller
from render_farm.store.jobs import StoredEvent

router = APIRouter(prefix="/jobs", tags=["jobs"])

KEEPALIVE_SECONDS = 7.0
"""Shorter than the store connection's patience, which would otherwise end the wait."""

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events: job, task, progress, frame, audit, verdict, lost, notice, money.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


@router.get("/{job}/events", responses=_STREAM, response_class=StreamingResponse)
async def follow(job: str, request: Request, caller: Owner) -> StreamingResponse:
    """What happens to a job, from its start or after `Last-Event-ID`."""
    after = request.headers.get("last-event-id") or "0"
    if not is_event_id(after):
        raise InvalidInput("The Last-Event-ID is not one of this stream.")
    found = await visible(request, caller, job)
    farm = farm_of(request)
    farm.streams.enter(caller)
    return _Events(_lines(farm, caller, found, after), lambda: farm.streams.leave(caller))


class _Events(StreamingResponse):
    """A stream that says when it is over, though it never began."""

    def __init__(self, lines: AsyncIterator[bytes], over: Callable[[], None]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(lines, media_type="text/event-stream", headers=headers)
        self._over = over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it all."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._over()


async def _lines(farm: Farm, caller: Caller, job: Job, after: str) -> AsyncIterator[bytes]:
    try:
        yield b": follow the job\n\n"
        wait = 0.0
        # Progress is told from now on; of what is past only the events count.
        seen = await farm.jobs.last_progress(job.job)
        while (events := await _next(farm, job, after, wait, seen)) is not None:
            if not events and await _nothing_more(farm, job, after):
                return
            if not events and wait:
                yield b": still here\n\n"
            wait = KEEPALIVE_SECONDS
            for event in events:
                if event.name == "progress":
                    seen = event.id
                else:
                    after = event.id
                yield await _line(farm, caller, job, event, after)
                if _is_last(event):
                    return
    except FarmError:
        return


async def _next(farm: Farm, job: Job, after: str, wait: float, seen: str) -> list[StoredEvent] | None:
    """The next events, none after a quiet while, or None when the coordinator stops."""
    reading = asyncio.create_task(farm.jobs.follow(job.job, after, wait, seen))
    closing = asyncio.create_task(farm.closing.wait())
    try:
        await asyncio.wait({reading, closing}, return_when=asyncio.FIRST_COMPLETED)
        return await reading if reading.done() else None
    finally:
        reading.cancel()
        closing.cancel()


async def _nothing_more(farm: Farm, job: Job, after: str) -> bool:
    """Whether somebody resumed after the last event of a finished job."""
    now = await farm.jobs.get(job.job)
    return now is None or (now.state in FINAL_JOB_STATES and not await farm.jobs.follow(job.job, after, 0))


async def _line(farm: Farm, caller: Caller, job: Job, event: StoredEvent, at: str) -> bytes:
    data = encode(await _data(farm, caller, job, event))
    return f"id: {at}\nevent: {event.name}\ndata: ".encode() + data + b"\n\n"


async def _data(farm: Farm, caller: Caller, job: Job, event: StoredEvent) -> Any:
    if event.name == "job":
        return await farm.jobs.get(job.job) or job
    if event.name == "frame":
        return await farm.results.frame_event(caller, job.job, event)
    if event.name == "verdict":
        return await farm.results.verdict_event(caller, job.job, event)
    if event.name == "money":
        return {**event.data, "money": await farm.jobs.money(job.job)}
    return event.data


def _is_last(event: StoredEvent) -> bool:
    return event.name == "job" and JobState(event.data["state"]) in FINAL_JOB_STATES
