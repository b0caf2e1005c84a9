# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm job`: jobs that go on without anybody watching."""

import argparse
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

from farm_protocol.ids import JobId
from farm_protocol.records import JobState
from render_farm.answers import Frame, Job, JobList, TaskView
from render_farm.cli.access import open_farm
from render_farm.cli.console import Console
from render_farm.cli.fetching import Fetched, Fetcher, receipt_path
from render_farm.cli.log_watch import LogWatch
from render_farm.cli.outputs import targets
from render_farm.cli.receipts import Receipts
from render_farm.cli.scene_options import checked_scene, facts_to_send, read_wish, render_slots, send_scene
from render_farm.cli.statement_text import money_line
from render_farm.cli.table import table
from render_farm.cli.written import Written
from render_farm.client import FarmClient
from render_farm.embedded.supervisor import state_folder
from render_farm.wording import counted

MONEY_ACTIONS = ("statement", "fund", "refund", "contest")


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


def run(chosen: argparse.Namespace, console: Console) -> int:
    """One action on one job, or a list of them."""
    if chosen.action == "submit":
        return _submit(chosen, console)
    if chosen.action in MONEY_ACTIONS:
        # What signs takes seconds to load.
        from render_farm.cli import job_money  # noqa: PLC0415

        return job_money.run(chosen, console)
    with open_farm(chosen, console.say, node=False) as access:
        client = access.client
        if chosen.action == "list":
            _list(client, chosen.unfinished, console)
        elif chosen.action == "show":
            _show(client, JobId(chosen.job), console)
        elif chosen.action == "download":
            return _download(client, chosen, console)
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
        spec = wish.spec(scene, checked.facts, slots, checked.bundle.title)
        job = client.submit(spec, facts_to_send(checked.bundle, checked.facts))
        if access.own is not None:
            console.say("The job waits: `render-farm up` starts the farm that renders it.")
    console.result(job, job.job)
    return 0


def _list(client: FarmClient, unfinished: bool, console: Console) -> None:
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


def _show(client: FarmClient, job: JobId, console: Console) -> None:
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


def _intend(client: FarmClient, action: str, job: JobId, console: Console) -> None:
    intents = {"cancel": client.cancel, "pause": client.pause, "resume": client.resume}
    done = intents[action](job)
    console.result(done, f"{done.job} is {done.state.value}.")


def _download(client: FarmClient, chosen: argparse.Namespace, console: Console) -> int:
    """Fetch what is done; 1 where a receipt is missing or wrong."""
    found = client.job(JobId(chosen.job))
    frames = _fetched(client, found, chosen, console)
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


def _fetched(
    client: FarmClient, job: Job, chosen: argparse.Namespace, console: Console
) -> dict[int, Fetched]:
    stem = "".join(letter if letter.isalnum() or letter in "-_. " else "_" for letter in job.name)
    written = Written(state_folder(chosen.state_dir).path)
    goals = targets(
        chosen.output, stem.strip(". ")[:200] or "job", job.spec.frames, job.extension, (), written=written
    )
    goals.prepare()
    watch = LogWatch(client, state_folder(chosen.state_dir).path)
    receipts = Receipts(client, job, goals, watch) if chosen.receipts else None

    def saved(fetched: Fetched) -> None:
        path = f"Frame {fetched.frame.frame}: {fetched.path}"
        for sentence in (path, *fetched.refused):
            console.say(sentence)

    with closing(Fetcher(client, job.job, goals, saved, console.say, receipts)) as fetcher:
        for frame in client.frames(job.job):
            fetcher.take(frame)
        return fetcher.finish()


def _frame_file(number: int, fetched: Fetched) -> FrameFile:
    others = tuple(str(path) for path in fetched.others)
    return FrameFile(number, str(fetched.path), others, receipt_path(fetched))
