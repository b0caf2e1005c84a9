# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm job`: jobs that go on without anybody watching."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from frame_splitter.command_line import Group, option
from frame_splitter.ids import JobId
from frame_splitter.records import JobState
from render_farm.answers import Frame, Job, JobList, TaskView
from render_farm.cli.access import open_farm
from render_farm.cli.checked_scene import checked_scene, facts_to_send, render_slots, send_scene
from render_farm.cli.display.console import Console
from render_farm.cli.display.table import table
from render_farm.cli.fetching import Fetched, Fetcher, receipt_path
from render_farm.cli.log_watch import LogWatch
from render_farm.cli.options import (
    FarmChoice,
    SceneChoice,
    Wish,
    farm_options,
    job_argument,
    job_options,
    output_option,
    receipts_option,
    scene_options,
)
from render_farm.cli.outputs import targets
from render_farm.cli.paid.statement_text import money_line
from render_farm.cli.receipts import Receipts
from render_farm.cli.written import Written
from render_farm.wording import counted

if TYPE_CHECKING:
    from render_farm.client import FarmClient

_EXAMPLES = """examples:
  render-farm job submit shot.blend --frames 1-100     leave it to the farm; prints the job's id
  render-farm job list --unfinished
  render-farm job show JOB                             its frames, what was audited, what went wrong
  render-farm job download JOB --output 'frames/####'  the frames that are done
  render-farm job statement --last --check             what the last paid job cost, held against the chain
"""

_SUBMIT = """examples:
  render-farm job submit shot.blend --frames 1-100
  render-farm job submit shot.blend --allow-outside /studio/textures --allow-outside /studio/props
  render-farm job submit shot.blend --json | jq -r .job
"""

_LISTED = """examples:
  render-farm job list
  render-farm job list --unfinished --json | jq -r '.jobs[].job'
"""

_DOWNLOAD = """examples:
  render-farm job download JOB
  render-farm job download JOB --output 'frames/####'

Exits with 1 when a receipt is wrong or cannot be had.
"""

_MONEY = "render_farm.cli.commands.job_money"
job = Group(
    "job",
    help="submit, list, show, cancel, pause, resume, download or pay for a job",
    epilog=_EXAMPLES,
    lazy={
        "statement": (f"{_MONEY}:statement", "where a job's money went"),
        "fund": (f"{_MONEY}:fund", "add to a job's budget"),
        "refund": (f"{_MONEY}:refund", "take back what a job has left"),
        "contest": (f"{_MONEY}:contest", "object to what operators claim"),
    },
)


@dataclass(frozen=True, slots=True)
class JobShown:
    """A job with its frames and the tasks that went wrong."""

    job: Job
    frames: tuple[Frame, ...]
    troubled: tuple[TaskView, ...]


@dataclass(frozen=True, slots=True)
class FrameFile:
    """A frame on disk; `receipt` is the path of its receipt, empty where there is none."""

    frame: int
    path: str
    other_files: tuple[str, ...]
    receipt: str


@dataclass(frozen=True, slots=True)
class Downloaded:
    """The frames fetched; `remaining` are not done yet, `doubts` say what is wrong with receipts."""

    job: str
    state: str
    frames: tuple[FrameFile, ...]
    remaining: tuple[int, ...]
    doubts: tuple[str, ...]


@job.command("submit", help="send a scene and leave it to the farm", epilog=_SUBMIT)
@farm_options
@scene_options
@job_options
@click.pass_obj
def submit(console: Console, farm: FarmChoice, chosen: SceneChoice, wish: Wish) -> None:
    """Send a scene and leave it to the farm."""
    with (
        checked_scene(farm, chosen, console, wish) as checked,
        open_farm(farm, console.say, node=False) as access,
    ):
        client = access.client
        scene = send_scene(client, checked.bundle, console.say)
        slots = wish.slots or max(1, render_slots(client.nodes()))
        spec = wish.spec(scene, checked.facts, slots, checked.bundle.title)
        sent = client.submit(spec, facts_to_send(checked.bundle, checked.facts))
        if access.own is not None:
            console.say("The job waits: `render-farm up` starts the farm that renders it.")
    console.result(sent, sent.job)


@job.command("list", help="your jobs", epilog=_LISTED)
@farm_options
@option("--unfinished", is_flag=True, help="only those not ended")
@click.pass_obj
def list_jobs(console: Console, farm: FarmChoice, unfinished: bool) -> None:
    """List jobs."""
    with open_farm(farm, console.say, node=False) as access:
        _list(access.client, unfinished, console)


@job.command(
    "show", help="one job with its frames and failures", epilog="example:\n  render-farm job show JOB\n"
)
@farm_options
@job_argument
@click.pass_obj
def show(console: Console, farm: FarmChoice, job: JobId) -> None:
    """Show a job."""
    with open_farm(farm, console.say, node=False) as access:
        _show(access.client, job, console)


def _add_intent(name: str, told: str) -> None:
    @job.command(name, help=told, epilog=f"example:\n  render-farm job {name} JOB\n")
    @farm_options
    @job_argument
    @click.pass_obj
    def intend(console: Console, farm: FarmChoice, job: JobId) -> None:
        with open_farm(farm, console.say, node=False) as access:
            done: Job = getattr(access.client, name)(job)
            console.result(done, f"{done.job} is {done.state.value}.")


_add_intent("cancel", "end a job; frames that are done stay")
_add_intent("pause", "start no more tasks of a job")
_add_intent("resume", "go on with a paused job")


@job.command("download", help="fetch the frames that are done", epilog=_DOWNLOAD)
@farm_options
@job_argument
@output_option(help="where frames go (default: NAME-frames/####)")
@receipts_option
@click.pass_obj
def download(console: Console, farm: FarmChoice, job: JobId, output: str, receipts: bool) -> int:
    """Fetch what is done; 1 where a receipt is missing or wrong."""
    with open_farm(farm, console.say, node=False) as access:
        client = access.client
        found = client.job(job)
        frames = _fetched(client, found, farm.folder.path, output, receipts, console)
    remaining = tuple(number for number in found.spec.frames if number not in frames)
    doubts = tuple(doubt for one in frames.values() for doubt in one.doubts)
    files = tuple(_frame_file(number, one) for number, one in frames.items())
    state = found.state.value
    rest = "" if found.state is JobState.COMPLETE else f", {len(remaining)} not done (the job is {state})"
    console.result(
        Downloaded(found.job, state, files, remaining, doubts),
        f"{counted(len(files), 'frame')} fetched{rest}.",
    )
    return 1 if doubts else 0


def _list(client: "FarmClient", unfinished: bool, console: Console) -> None:
    jobs = client.jobs(unfinished=unfinished)
    heads: tuple[str, ...] = ("JOB", "NAME", "STATE", "FRAMES", "EXACTNESS", "CREATED")
    rows = [_row(job) for job in jobs]
    if any(job.money for job in jobs):
        heads = (*heads, "MONEY")
        rows = [(*row, _money(job)) for row, job in zip(rows, jobs, strict=True)]
    if any(map(_note, jobs)):
        heads = (*heads, "NOTE")
        rows = [(*row, _note(job)) for row, job in zip(rows, jobs, strict=True)]
    console.result(JobList(jobs), table(heads, rows) if jobs else "No jobs.")


def _note(job: Job) -> str:
    return job.waiting or job.fallback


def _money(job: Job) -> str:
    return money_line(job.money) if job.money else "free"


def _row(job: Job) -> tuple[str, ...]:
    created = datetime.fromtimestamp(job.created).strftime("%Y-%m-%d %H:%M")
    done = f"{job.frames.done}/{job.frames.total}"
    return (job.job, job.name[:40], job.state.value, done, job.exactness.value, created)


def _show(client: "FarmClient", job: JobId, console: Console) -> None:
    found = client.job(job)
    troubled = tuple(task for task in client.tasks(job) if task.failures)
    shown = JobShown(found, client.frames(job), troubled)
    console.result(shown, "\n".join(_lines(shown)))


def _lines(shown: JobShown) -> Iterator[str]:
    job = shown.job
    yield f"{job.job}  {job.name}  {job.state.value}"
    frames, tasks = counted(job.frames.total, "frame"), counted(job.tasks.total, "task")
    yield f"  {job.frames.done} of {frames}, {job.tasks.accepted} of {tasks}"
    yield f"  {job.width}x{job.height}, {counted(job.settings.samples, 'sample')}, seed {job.settings.seed}"
    yield f"  {job.promise}: {job.reason}"
    yield f"  {job.render_seconds:.1f} s of pure rendering on {job.device_class or 'no machine yet'}"
    audits = job.audits
    yield f"  {audits.audited} audited: {audits.passed} passed, {audits.rejected} rejected"
    if job.money:
        yield f"  {money_line(job.money)}"
        if job.money.notice:
            yield f"  {job.money.notice}"
    if job.lacks:
        yield f"  {job.lacks}"
    if job.waiting:
        yield f"  {job.waiting}"
    if job.failure:
        yield f"  {job.failure}"
    for task in shown.troubled:
        last = task.failures[-1]
        times = f"{len(task.failures)} times back" if len(task.failures) > 1 else "once back"
        yield f"  {task.task.id}: {times}, {last.code.value}: {last.message[:300]}"


def _fetched(
    client: "FarmClient", job: Job, folder: Path, output: str, receipts: bool, console: Console
) -> dict[int, Fetched]:
    stem = "".join(letter if letter.isalnum() or letter in "-_. " else "_" for letter in job.name)
    goals = targets(
        output, stem.strip(". ")[:200] or "job", job.spec.frames, job.extension, (), written=Written(folder)
    )
    goals.prepare()
    checking = Receipts(client, job, goals, LogWatch(client, folder)) if receipts else None

    def saved(fetched: Fetched) -> None:
        path = f"Frame {fetched.frame.frame}: {fetched.path}"
        for sentence in (path, *fetched.refused):
            console.say(sentence)

    with closing(Fetcher(client, job.job, goals, saved, console.say, checking)) as fetcher:
        for frame in client.frames(job.job):
            fetcher.take(frame)
        return fetcher.finish()


def _frame_file(number: int, fetched: Fetched) -> FrameFile:
    others = tuple(str(path) for path in fetched.others)
    return FrameFile(number, str(fetched.path), others, receipt_path(fetched))
