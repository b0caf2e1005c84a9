# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm render`: from a .blend to its frames on disk."""

import argparse
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from farm_protocol.errors import FarmError, InvalidInput
from farm_protocol.ids import JobId, SceneId
from farm_protocol.records import JobState
from frame_splitter.split import extension, fingerprint, pin
from frame_splitter.templates import fill_in, variables
from frame_splitter.tiles import frame_size
from payments import amounts
from render_farm.answers import Job
from render_farm.blend_header import check_scene
from render_farm.cli.access import Access, open_farm
from render_farm.cli.console import Console
from render_farm.cli.finished import give_back, newest_finished
from render_farm.cli.following import PAUSED, PAUSED_ELSEWHERE, JobCancelled, JobFailed, Outcome, follow
from render_farm.cli.log_watch import LogWatch
from render_farm.cli.outputs import Targets, targets
from render_farm.cli.program import Interrupted
from render_farm.cli.receipts import Receipts
from render_farm.cli.render_result import RenderResult, result_of, summary
from render_farm.cli.scene_options import (
    UNKNOWN_SCENE,
    Wish,
    checked_scene,
    facts_to_send,
    read_wish,
    render_slots,
    send_scene,
)
from render_farm.cli.steps import step
from render_farm.cli.written import Written
from render_farm.client import FarmClient, Gone
from render_farm.doctor import Checked
from render_farm.embedded.supervisor import Farm, state_folder
from render_farm.job_events import FINAL_STATES
from render_farm.wording import counted

if TYPE_CHECKING:
    from farm_protocol.records import JobSpec
    from payments.statements import Statement
    from render_farm.cli.paying import Paying

USUAL_DECIMALS = 18
"""Of a token. A token with fewer refuses later what is finer than it."""


def run(chosen: argparse.Namespace, console: Console) -> int:
    """Check, upload, submit or resume, follow, fetch; 1 where a receipt is missing or wrong."""
    wish = read_wish(chosen)
    check_scene(chosen.scene)
    _check_amounts(chosen)
    with _Door(chosen, console, wish) as door, checked_scene(chosen, console, wish) as checked:
        goals = _targets(chosen, checked, wish)
        goals.prepare()
        result = None
        while result is None:
            try:
                with step(console.say, lambda: "Waiting for the farm to start"):
                    access = door.access()
                result = _Rendering(access, console, checked, wish, goals, chosen).run()
            except Gone:
                # It belonged to another command, which has ended: the job waits in its folder.
                console.say("The farm this command had joined has stopped; going on with one of its own.")
                door.open()
    console.result(result, summary(result))
    return 1 if result.doubts else 0


def _check_amounts(chosen: argparse.Namespace) -> None:
    """Raises InvalidInput for what is no amount of any token, before anything starts."""
    for name in ("budget", "price_cap"):
        if getattr(chosen, name) is not None and not amounts.parse(getattr(chosen, name), USUAL_DECIMALS):
            raise InvalidInput("A budget and a price cap must be above 0.")
    if chosen.price_cap is not None and chosen.budget is None:
        raise InvalidInput("A price cap is for a job that is paid for: give a --budget as well.")


class _Door:
    """Finds or starts the farm in a thread, while the doctor looks at the scene."""

    def __init__(self, chosen: argparse.Namespace, console: Console, wish: Wish) -> None:
        self._chosen, self._console, self._wish = chosen, console, wish
        self._farm = ExitStack()
        self._pool = ThreadPoolExecutor(1, "door")

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _undisturbed():
            with suppress(FarmError):
                self.access()
            self._farm.close()
            self._pool.shutdown()

    def open(self) -> None:
        """Begin to look for a farm, leaving the one found before."""
        self._farm.close()
        paid = self._chosen.budget is not None
        opening = open_farm(self._chosen, self._console.say, node=True, slots=self._wish.slots, money=paid)
        self._opened = self._pool.submit(self._farm.enter_context, opening)

    def access(self) -> Access:
        """The farm, once it is there."""
        return self._opened.result()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """While the farm is being stopped, a second Ctrl-C must not leave half of it running."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _targets(chosen: argparse.Namespace, checked: Checked, wish: Wish) -> Targets:
    """Where the frames will go, checked before anything is sent."""
    facts, scene = checked.facts, checked.bundle.scene
    spec = wish.spec(UNKNOWN_SCENE, facts, 1, "")
    settings = pin(spec, facts)
    size = frame_size(facts, settings.resolution_percentage)

    def fill(pattern: str, frame: int) -> str:
        known = variables(facts.naming, frame, size, str(scene.parent)) if facts.naming else {}
        return fill_in(pattern, known)

    ending = extension(settings, facts)
    sources = [*checked.bundle.sources.values(), str(scene)]
    written = Written(state_folder(chosen.state_dir).path)
    return targets(chosen.output, scene.stem, spec.frames, ending, sources, fill, written)


class _Rendering:
    """One run of the command, once the scene is checked and the farm is there."""

    def __init__(
        self,
        access: Access,
        console: Console,
        checked: Checked,
        wish: Wish,
        goals: Targets,
        chosen: argparse.Namespace,
    ) -> None:
        self._access, self._client, self._say = access, access.client, console.say
        self._checked, self._wish, self._goals = checked, wish, goals
        self._chosen = chosen
        self._job: Job | None = None
        self._settling = False
        self._wanted = ""
        self._set_aside: list[JobId] = []

    def run(self) -> RenderResult:
        """Submit or resume, follow, fetch. Ctrl-C ends it with the way to go on."""
        try:
            return self._run()
        except KeyboardInterrupt:
            raise Interrupted(self._leave()) from None
        finally:
            for job in self._set_aside:
                with suppress(FarmError):
                    self._client.resume(job)

    def _run(self) -> RenderResult:
        scene = self._send()
        self._wanted = fingerprint(self._spec(scene, 1))
        paying = self._paying()
        unfinished = self._unfinished(paying)
        finished = None if unfinished or self._chosen.again else self._finished(paying)
        if finished is not None:
            return finished
        slots = self._slots()
        spec = self._spec(scene, slots)
        self._set_others_aside(unfinished)
        began = time.monotonic()
        before = unfinished.render_seconds if unfinished else 0.0
        self._job = self._taken_up(unfinished) if unfinished else self._submitted(spec, paying)
        if paying:
            paying.deposit(self._job, pin(spec, self._checked.facts))
        outcome, statement = self._followed(self._job, paying)
        seconds = outcome.job.render_seconds - before
        return result_of(outcome, outcome.last - began, seconds, slots, statement)

    def _send(self) -> SceneId:
        """Bring the farm what it lacks of the scene."""
        return send_scene(self._client, self._checked.bundle, self._say)

    def _spec(self, scene: SceneId, slots: int) -> "JobSpec":
        return self._wish.spec(scene, self._checked.facts, slots, self._checked.bundle.title)

    def _finished(self, paying: "Paying | None") -> RenderResult | None:
        """The frames of a job that did the same before; None where there is none, or not all are left."""
        jobs = self._client.jobs(fingerprint=self._wanted)
        job = newest_finished(jobs, paid=paying is not None)
        if job is None:
            return None
        began = time.monotonic()
        outcome = give_back(job, self._goals, lambda: self._follow(job), self._say)
        if outcome is None:
            return None
        statement = self._client.statement(job.job) if paying else None
        return result_of(outcome, outcome.last - began, 0.0, 1, statement)

    def _follow(self, job: Job) -> Outcome:
        watch = LogWatch(self._client, state_folder(self._chosen.state_dir).path)
        receipts = Receipts(self._client, job, self._goals, watch) if self._chosen.receipts else None
        paused = PAUSED_ELSEWHERE if self._access.temporary else PAUSED
        goals, say = self._goals, self._say
        return follow(self._client, job, goals, say, receipts, self._send, paused, watch.heed)

    def _paying(self) -> "Paying | None":
        """Who pays for the job, where it is to be paid for."""
        if self._chosen.budget is None:
            return None
        # What signs and what speaks to the chain takes seconds to load.
        from render_farm.cli.paying import Offered, Paying  # noqa: PLC0415
        from render_farm.cli.purse import open_purse, place  # noqa: PLC0415
        from render_farm.cli.terms_check import check_settles  # noqa: PLC0415

        check_settles(self._client.rules().network)
        if self._access.own is not None:
            self._access.own.wait_for_money()
        purse = open_purse(place(self._chosen, self._access), self._say)
        return Paying(self._client, purse, Offered(self._chosen.budget, self._chosen.price_cap), self._say)

    def _submitted(self, spec: "JobSpec", paying: "Paying | None") -> Job:
        facts = facts_to_send(self._checked.bundle, self._checked.facts)
        job = self._job = paying.submit(spec, facts) if paying else self._client.submit(spec, facts)
        frames, tasks = counted(job.frames.total, "frame"), counted(job.tasks.total, "task")
        self._say(f"Job {job.job}: {frames}, {tasks}.")
        return job

    def _followed(self, job: Job, paying: "Paying | None") -> "tuple[Outcome, Statement | None]":
        """The job's frames and, where it is paid for, its money: also that of a job that did not end well."""
        try:
            outcome = self._follow(job)
        except (JobFailed, JobCancelled):
            # Why there are no frames is what the user must hear, whatever becomes of the money.
            with suppress(FarmError):
                self._settled(job, paying)
            raise
        return outcome, self._settled(job, paying)

    def _settled(self, job: Job, paying: "Paying | None") -> "Statement | None":
        self._settling = paying is not None
        return paying.settle(job) if paying else None

    def _slots(self) -> int:
        """How many tasks run at once: as asked, or as many as the machines online have slots."""
        if self._access.own is not None:
            with step(self._say, lambda: "Starting the node: Ray, and a Blender for each slot"):
                self._access.own.wait_for_node()
        online = render_slots(self._client.nodes())
        if online == 0:
            self._say("No machine of the farm is online: the job waits for one.")
        return self._wish.slots or max(1, online)

    def _unfinished(self, paying: "Paying | None") -> Job | None:
        """The newest job for the same scene and spec that has not ended: paid for or not, as this one. One
        that waits for another deposit is ended, nobody has paid for it; one whose money is not all back or
        paid counts as unfinished.
        """
        if paying is None:
            jobs = self._client.jobs(fingerprint=self._wanted, unfinished=True)
            return next((job for job in jobs if job.state not in FINAL_STATES and job.money is None), None)
        for job in self._client.jobs(fingerprint=self._wanted):
            if job.money is None or (job.state in FINAL_STATES and not paying.is_unsettled(job)):
                continue
            if paying.goes_on_with(job):
                return job
            self._client.cancel(job.job)
        return None

    def _taken_up(self, job: Job) -> Job:
        done = f"{job.frames.done} of {counted(job.frames.total, 'frame')} done"
        self._say(f"Job {job.job} was not finished ({done}): going on with it.")
        return self._client.resume(job.job) if job.state is JobState.PAUSED else job

    def _set_others_aside(self, mine: Job | None) -> None:
        """A farm of this command's own was started for one job: others left unfinished wait."""
        if self._access.own is None:
            return
        for job in self._client.jobs(unfinished=True):
            if job.state is not JobState.PAUSED and (mine is None or job.job != mine.job):
                self._client.pause(job.job)
                self._set_aside.append(job.job)

    def _leave(self) -> str:
        """Leave the job as it is fit to be found again; returns the sentence for the user."""
        if self._settling and self._job is not None:
            return (
                f"Stopped while job {self._job.job} was being settled; its frames are there. The same "
                "command goes on with that, and "
                f"`render-farm job refund {self._job.job}` takes back what is left."
            )
        with _undisturbed():
            if self._access.own is not None:
                return self._pause_mine(self._access.own)
        if self._job is None:
            return "Stopped before anything was submitted."
        if self._access.temporary:
            return (
                f"Stopped watching; job {self._job.job} goes on for as long as the command runs whose farm "
                "this is, and waits after that. The same command goes on with it."
            )
        return (
            f"Stopped watching; the farm goes on with job {self._job.job}. The same command watches it again "
            f"while it renders, `render-farm job download {self._job.job}` fetches what is done, "
            f"`render-farm job cancel {self._job.job}` ends it."
        )

    def _pause_mine(self, farm: Farm) -> str:
        """Pause what this command started: also a job whose submission was not answered any more. Jobs of
        commands that joined this farm are theirs.
        """
        paused = []
        with suppress(FarmError), FarmClient(farm.url, farm.token, patience=2.0, own=True) as client:
            for job in client.jobs(unfinished=True):
                if self._wanted and job.fingerprint == self._wanted:
                    client.pause(job.job)
                    paused.append(job.job)
        if not paused:
            return "Stopped."
        return f"Stopped; job {paused[0]} keeps its finished frames. The same command goes on with it."
