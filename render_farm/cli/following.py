# SPDX-License-Identifier: GPL-3.0-or-later
"""A job followed to its end: events shown, frames fetched as they come."""

from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass

from farm_protocol.errors import FarmError
from farm_protocol.fields import decode
from farm_protocol.records import JobState
from render_farm.answers import Job
from render_farm.cli.fetching import Fetched, Fetcher
from render_farm.cli.money_watch import MoneyWatch
from render_farm.cli.outputs import Targets
from render_farm.cli.progress import Display, Status, display
from render_farm.cli.receipts import Receipts
from render_farm.cli.verdicts import Names, sentence
from render_farm.client import FarmClient
from render_farm.job_events import (
    AuditEvent,
    Event,
    FrameEvent,
    NoticeEvent,
    ProgressEvent,
    TaskEvent,
    VerdictEvent,
)

PAUSED = "The job is paused: `render-farm job resume {job}` goes on with it."
PAUSED_ELSEWHERE = (
    "The job is paused. Should the command end whose farm this is, this one goes on by itself; "
    "`render-farm job resume {job}` goes on at once."
)


class JobFailed(FarmError):
    """The job ended without all of its frames."""

    code = "job_failed"


class JobCancelled(FarmError):
    """Somebody cancelled the job."""

    code = "job_cancelled"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The job at its end, the frames on disk, and the time (monotonic) the last file was there."""

    job: Job
    frames: dict[int, Fetched]
    last: float


def follow(
    client: FarmClient,
    job: Job,
    targets: Targets,
    say: Callable[[str], None],
    receipts: Receipts | None = None,
    send_again: Callable[[], object] | None = None,
    paused: str = PAUSED,
    watch_log: Callable[[bytes], None] = lambda _: None,
) -> Outcome:
    """Follow a job to its end and fetch its frames, with their `receipts` where those are wanted.
    `send_again` brings the farm what it has lost of the scene; `paused` is said when the job is paused, with
    {job} for its id; `watch_log` gets each head of the farm's log that the job's stream tells.

    Raises JobFailed or JobCancelled with the reason, after the frames that are done were fetched.
    """
    done_before = job.tasks.accepted / max(1, job.tasks.total)
    status = Status(job.tasks.total, job.frames.total, at_start=done_before)
    with closing(display(status, say)) as shown:
        done: set[int] = set()

        def saved(fetched: Fetched) -> None:
            done.add(fetched.frame.frame)
            status.frames_done = len(done)
            seconds = f"{fetched.frame.render_seconds:.1f} s"
            shown.line(f"Frame {fetched.frame.frame}: {fetched.path} ({seconds})")
            for problem in fetched.refused:
                shown.line(problem)

        names = Names(client, job.job)
        paid = job.money is not None
        watch = MoneyWatch(client, job.job, status, shown) if paid else nullcontext()
        with watch, closing(Fetcher(client, job.job, targets, saved, shown.line, receipts)) as fetcher:
            for event in client.events(job.job):
                if event.kind == "verdict":
                    _heed_verdict(decode(event.data, VerdictEvent), status, shown, names)
                elif event.kind == "head":
                    watch_log(event.data)
                elif event.kind == "lost":
                    _heed_loss(client.job(job.job), send_again, shown)
                else:
                    _heed(event, status, shown, fetcher, paused)
                shown.changed()
            fetcher.settle()
            # What the stream did not tell, because it broke or began late, the list does.
            for frame in client.frames(job.job):
                fetcher.take(frame)
            frames = fetcher.finish()
            ended = client.job(job.job)
            last = fetcher.last
    _refuse_unfinished(ended, len(frames))
    lost = [number for number in targets.frames if number not in frames]
    if lost:
        raise JobFailed(f"The farm calls the job complete but has no file of frame {lost[0]}.")
    return Outcome(ended, frames, last)


def _heed(event: Event, status: Status, shown: Display, fetcher: Fetcher, paused: str) -> None:
    if event.kind == "frame":
        _heed_frame(decode(event.data, FrameEvent), shown, fetcher)
    elif event.kind == "job":
        job = decode(event.data, Job)
        held = bool(job.lacks) or (job.money is not None and bool(job.money.notice))
        if job.state is JobState.PAUSED and status.state != job.state.value and not held:
            shown.line(paused.format(job=job.job))
        status.state = job.state.value
    elif event.kind == "task":
        status.task(decode(event.data, TaskEvent))
    elif event.kind == "progress":
        status.progress(decode(event.data, ProgressEvent))
    elif event.kind == "notice":
        notice = decode(event.data, NoticeEvent).detail
        if notice and notice not in status.notices:
            status.notices.add(notice)
            shown.line(notice)
    elif event.kind == "audit":
        status.audits.audit(decode(event.data, AuditEvent))


def _heed_frame(frame: FrameEvent, shown: Display, fetcher: Fetcher) -> None:
    fetcher.take(frame)
    if frame.state == "rendering":
        shown.line(f"Frame {frame.frame} is rendered again.")
    if frame.state == "failed":
        shown.line(f"Frame {frame.frame} failed.")


def _heed_verdict(event: VerdictEvent, status: Status, shown: Display, names: Names) -> None:
    status.audits.verdict(event)
    told = sentence(event, names)
    if told:
        shown.line(told)


def _heed_loss(job: Job, send_again: Callable[[], object] | None, shown: Display) -> None:
    """The events of a job that was taken up again tell of losses that are mended, too."""
    if not job.lacks:
        return
    shown.line(job.lacks)
    if send_again is not None:
        send_again()
        shown.line("Sent again: the job goes on.")


def _refuse_unfinished(job: Job, kept: int) -> None:
    done = "1 frame that is done was" if kept == 1 else f"{kept} frames that are done were"
    there = f" The {done} kept." if kept else ""
    if job.state is JobState.CANCELLED:
        raise JobCancelled(f"The job was cancelled.{there}")
    if job.state is JobState.FAILED:
        why = job.failure or "The farm gave no reason."
        raise JobFailed(f"The job failed: {why}{there}")
