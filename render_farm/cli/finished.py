# SPDX-License-Identifier: GPL-3.0-or-later
"""A job that was rendered before: its frames are there, or are fetched, and not rendered again."""

import os
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

from farm_protocol.errors import NotFound
from farm_protocol.records import JobState
from farm_protocol.transfer import LinkExpired, ObjectLost, StoreRefuses
from farm_protocol.wording import counted
from render_farm.api_models import Job
from render_farm.cli.following import JobFailed, Outcome
from render_farm.cli.outputs import Targets

Mark = tuple[int, int]


def newest_finished(jobs: Iterable[Job], *, paid: bool) -> Job | None:
    """The newest of some jobs, given newest first, that has all of its frames, and was paid for or not."""
    well = (JobState.COMPLETE, JobState.SETTLED)
    return next((job for job in jobs if job.state in well and (job.money is not None) == paid), None)


def give_back(
    job: Job, targets: Targets, follow: Callable[[], Outcome], say: Callable[[str], None]
) -> Outcome | None:
    """The frames of a finished job at their places: those that are not there as the farm wrote them are
    fetched by `follow`. None where the farm has not kept one that is needed.
    """
    before = {path: _mark(path) for path in targets.frames.values()}
    try:
        outcome = follow()
    except (JobFailed, LinkExpired, NotFound, ObjectLost, StoreRefuses) as error:
        say(f"Job {job.job} had rendered this, but not all of it is there still ({error.sentence})")
        return None
    kept = sum(mark is not None and _mark(path) == mark for path, mark in before.items())
    say(_told(job, kept, len(before)))
    return outcome


def _told(job: Job, kept: int, total: int) -> str:
    when = datetime.fromtimestamp(job.created).strftime("%Y-%m-%d %H:%M")
    by = f"job {job.job} of {when} rendered this, and nothing was rendered now. --again renders it anew."
    if kept == total:
        there = "The 1 frame is" if total == 1 else f"All {total} frames are"
        return f"{there} there already: {by}"
    return f"{kept} of {counted(total, 'frame')} were there already, the others were fetched: {by}"


def _mark(path: Path) -> Mark | None:
    """What changes when a file is replaced or written."""
    try:
        seen = os.stat(path)
    except OSError:
        return None
    return seen.st_ino, seen.st_mtime_ns
