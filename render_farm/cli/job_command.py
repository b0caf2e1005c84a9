# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm job`: jobs that go on without anybody watching."""

import argparse
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

from frame_splitter.ids import JobId
from frame_splitter.records import JobState
from render_farm.answers import Frame, Job, JobList, TaskView
from render_farm.cli.access import open_farm
from render_farm.cli.console import Console
from render_farm.cli.fetching import Fetched, Fetcher
from render_farm.cli.outputs import targets
from render_farm.cli.scene_options import checked_scene, facts_to_send, read_wish, render_slots, send_scene
from render_farm.cli.table import table
from render_farm.client import FarmClient


@dataclass(frozen=True, slots=True)
class JobShown:
    """A job with its frames and the tasks that went wrong."""

    job: Job
    frames: tuple[Frame, ...]
    troubled: tuple[TaskView, ...]


@dataclass(frozen=True, slots=True)
class FrameFile:
    """A frame on disk."""

    frame: int
    path: str
    other_files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Downloaded:
    """The frames fetched; `remaining` are not done yet."""

    job: str
    state: str
    frames: tuple[FrameFile, ...]
    remaining: tuple[int, ...]


def run(chosen: argparse.Namespace, console: Console) -> int:
    """One action on one job, or a list of them."""
    if chosen.action == "submit":
        return _submit(chosen, console)
    with open_farm(chosen, console.say, node=False) as access:
        client = access.client
        if chosen.action == "list":
            _list(client, chosen.unfinished, console)
        elif chosen.action == "show":
            _show(client, JobId(chosen.job), console)
        elif chosen.action == "download":
            _download(client, JobId(chosen.job), chosen.output, console)
        else:
            _intend(client, chosen.action, JobId(chosen.job), console)
    return 0


def _submit(chosen: argparse.Namespace, console: Console) -> int:
    wish = read_wish(chosen)
    with (
        checked_scene(chosen, console, wish) as checked,
        open_farm(chosen, console.say, node=False) as access,
    ):
        client = access.client
        scene = send_scene(client, checked.bundle, console.say)
        slots = wish.slots or max(1, render_slots(client.nodes()))
        spec = wish.spec(scene, checked.facts, slots, checked.bundle.scene.stem)
        job = client.submit(spec, facts_to_send(checked.bundle, checked.facts))
        if access.own is not None:
            console.say("The job waits: `render-farm up` starts the farm that renders it.")
    console.result(job, job.job)
    return 0


def _list(client: FarmClient, unfinished: bool, console: Console) -> None:
    jobs = client.jobs(unfinished=unfinished)
    heads = ("JOB", "NAME", "STATE", "FRAMES", "EXACTNESS", "CREATED")
    console.result(JobList(jobs), table(heads, [_row(job) for job in jobs]) if jobs else "No jobs.")


def _row(job: Job) -> tuple[str, ...]:
    created = datetime.fromtimestamp(job.created).strftime("%Y-%m-%d %H:%M")
    done = f"{job.frames.done}/{job.frames.total}"
    return (job.job, job.name[:40], job.state.value, done, job.exactness.value, created)


def _show(client: FarmClient, job: JobId, console: Console) -> None:
    found = client.job(job)
    troubled = tuple(task for task in client.tasks(job) if task.failures)
    shown = JobShown(found, client.frames(job), troubled)
    console.result(shown, "\n".join(_lines(shown)))


def _lines(shown: JobShown) -> Iterator[str]:
    job = shown.job
    yield f"{job.job}  {job.name}  {job.state.value}"
    yield f"  {job.frames.done} of {job.frames.total} frames, {job.tasks.accepted} of {job.tasks.total} tasks"
    yield f"  {job.width}x{job.height}, {job.settings.samples} samples, seed {job.settings.seed}"
    yield f"  {job.exactness.value}: {job.reason}"
    yield f"  {job.render_seconds:.1f} s of pure rendering on {job.device_class or 'no machine yet'}"
    if job.failure:
        yield f"  {job.failure}"
    for task in shown.troubled:
        last = task.failures[-1]
        times = f"{len(task.failures)} times back" if len(task.failures) > 1 else "once back"
        yield f"  {task.task.id}: {times}, {last.code.value}: {last.message[:300]}"


def _intend(client: FarmClient, action: str, job: JobId, console: Console) -> None:
    intents = {"cancel": client.cancel, "pause": client.pause, "resume": client.resume}
    done = intents[action](job)
    console.result(done, f"{done.job} is {done.state.value}.")


def _download(client: FarmClient, job: JobId, pattern: str, console: Console) -> None:
    found = client.job(job)
    stem = "".join(letter if letter.isalnum() or letter in "-_. " else "_" for letter in found.name)
    goals = targets(pattern, stem.strip(". ") or found.job, found.spec.frames, found.extension, ())

    def saved(fetched: Fetched) -> None:
        for sentence in (f"Frame {fetched.frame.frame}: {fetched.path}", *fetched.refused):
            console.say(sentence)

    with closing(Fetcher(client, job, goals, saved, console.say)) as fetcher:
        for frame in client.frames(job):
            fetcher.take(frame)
        frames = fetcher.finish()
    files = tuple(
        FrameFile(number, str(one.path), tuple(str(path) for path in one.others))
        for number, one in frames.items()
    )
    remaining = tuple(number for number in found.spec.frames if number not in frames)
    ended = found.state is JobState.COMPLETE
    rest = "" if ended else f", {len(remaining)} are not done (the job is {found.state.value})"
    console.result(
        Downloaded(found.job, found.state.value, files, remaining), f"{len(files)} frames fetched{rest}."
    )
