# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm render`: from a .blend to its frames on disk."""

import argparse
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from frame_splitter.errors import FarmError
from frame_splitter.ids import JobId
from frame_splitter.records import JobState
from frame_splitter.split import extension, fingerprint, pin
from render_farm.answers import AuditCounts, Job
from render_farm.blend_header import check_scene
from render_farm.cli.access import Access, open_farm
from render_farm.cli.console import Console
from render_farm.cli.fetching import receipt_path
from render_farm.cli.following import Outcome, follow
from render_farm.cli.outputs import Targets, targets
from render_farm.cli.program import Interrupted
from render_farm.cli.receipts import Receipts
from render_farm.cli.scene_options import (
    UNKNOWN_SCENE,
    Wish,
    checked_scene,
    facts_to_send,
    read_wish,
    render_slots,
    send_scene,
)
from render_farm.client import FarmClient, Gone
from render_farm.doctor import Checked
from render_farm.embedded.supervisor import Farm
from render_farm.job_events import FINAL_STATES
from render_farm.wording import counted


@dataclass(frozen=True, slots=True)
class FrameResult:
    """A frame as `--json` names it; `render_seconds` is pure render time, `receipt` the path of its
    receipt, empty where there is none.
    """

    frame: int
    path: str
    exactness: str
    tiles: int
    render_seconds: float
    other_files: tuple[str, ...]
    receipt: str


@dataclass(frozen=True, slots=True)
class RenderResult:
    """The answer of `render --json`. `wall_seconds` counts from submitting to the last file on disk;
    `efficiency` is the pure render time spent meanwhile over slots times wall time. `doubts` say what is
    wrong with receipts.
    """

    job: str
    exactness: str
    reason: str
    wall_seconds: float
    slots: int
    efficiency: float
    frames: tuple[FrameResult, ...]
    other_files: tuple[str, ...]
    notes: tuple[str, ...]
    audits: AuditCounts
    doubts: tuple[str, ...]


def run(chosen: argparse.Namespace, console: Console) -> int:
    """Check, upload, submit or resume, follow, fetch; 1 where a receipt is missing or wrong."""
    wish = read_wish(chosen)
    check_scene(chosen.scene)
    with _Door(chosen, console, wish) as door, checked_scene(chosen, console, wish) as checked:
        goals = _targets(chosen, checked, wish)
        result = None
        while result is None:
            try:
                result = _Rendering(door.access(), console, checked, wish, goals, chosen.receipts).run()
            except Gone:
                # It belonged to another command, which has ended: the job waits in its folder.
                console.say("The farm this command had joined has stopped; going on with one of its own.")
                door.open()
    console.result(result, _summary(result))
    return 1 if result.doubts else 0


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
        opening = open_farm(self._chosen, self._console.say, node=True, slots=self._wish.slots)
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
    spec = wish.spec(UNKNOWN_SCENE, checked.facts, 1, "")
    ending = extension(pin(spec, checked.facts), checked.facts)
    sources = [*checked.bundle.sources.values(), str(checked.bundle.scene)]
    return targets(chosen.output, checked.bundle.scene.stem, spec.frames, ending, sources)


class _Rendering:
    """One run of the command, once the scene is checked and the farm is there."""

    def __init__(
        self,
        access: Access,
        console: Console,
        checked: Checked,
        wish: Wish,
        goals: Targets,
        with_receipts: bool,
    ) -> None:
        self._access, self._client, self._say = access, access.client, console.say
        self._checked, self._wish, self._goals = checked, wish, goals
        self._with_receipts = with_receipts
        self._job: Job | None = None
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
        scene = send_scene(self._client, self._checked.bundle, self._say)
        slots = self._slots()
        spec = self._wish.spec(scene, self._checked.facts, slots, self._checked.bundle.scene.stem)
        unfinished = self._unfinished(fingerprint(spec))
        self._set_others_aside(unfinished)
        began = time.monotonic()
        if unfinished is None:
            facts = facts_to_send(self._checked.bundle, self._checked.facts)
            self._job, before = self._client.submit(spec, facts), 0.0
            frames, tasks = counted(self._job.frames.total, "frame"), counted(self._job.tasks.total, "task")
            self._say(f"Job {self._job.job}: {frames}, {tasks}.")
        else:
            self._job, before = self._taken_up(unfinished), unfinished.render_seconds
        receipts = Receipts(self._client, self._job, self._goals) if self._with_receipts else None
        outcome = follow(self._client, self._job, self._goals, self._say, receipts)
        return _result(outcome, outcome.last - began, outcome.job.render_seconds - before, slots)

    def _slots(self) -> int:
        """How many tasks run at once: as asked, or as many as the machines online have slots."""
        if self._access.own is not None:
            self._say("Starting the node ...")
            self._access.own.wait_for_node()
        online = render_slots(self._client.nodes())
        if online == 0:
            self._say("No machine of the farm is online: the job waits for one.")
        return self._wish.slots or max(1, online)

    def _unfinished(self, wanted: str) -> Job | None:
        """The newest job for the same scene and spec that has not ended."""
        jobs = self._client.jobs(fingerprint=wanted, unfinished=True)
        return next((job for job in jobs if job.state not in FINAL_STATES), None)

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
        with _undisturbed():
            if self._access.own is not None:
                return self._pause_mine(self._access.own)
        if self._job is None:
            return "Stopped before anything was submitted."
        return (
            f"Stopped watching; the farm goes on with job {self._job.job}. The same command watches it again "
            f"while it renders, `render-farm job download {self._job.job}` fetches what is done, "
            f"`render-farm job cancel {self._job.job}` ends it."
        )

    def _pause_mine(self, farm: Farm) -> str:
        """Pause what this command started: also a job whose submission was not answered any more."""
        paused = []
        with suppress(FarmError), FarmClient(farm.url, farm.token, patience=2.0) as client:
            for job in client.jobs(unfinished=True):
                if job.job not in self._set_aside:
                    client.pause(job.job)
                    paused.append(job.job)
        if not paused:
            return "Stopped."
        return f"Stopped; job {paused[0]} keeps its finished frames. The same command goes on with it."


def _result(outcome: Outcome, wall: float, rendered: float, slots: int) -> RenderResult:
    frames = tuple(
        FrameResult(
            frame=number,
            path=str(fetched.path),
            exactness=outcome.job.exactness.value,
            tiles=fetched.frame.tiles,
            render_seconds=round(fetched.frame.render_seconds, 3),
            other_files=tuple(str(path) for path in fetched.others),
            receipt=receipt_path(fetched),
        )
        for number, fetched in outcome.frames.items()
    )
    return RenderResult(
        job=outcome.job.job,
        exactness=outcome.job.exactness.value,
        reason=outcome.job.reason,
        wall_seconds=round(wall, 3),
        slots=slots,
        efficiency=round(rendered / (slots * wall), 4) if wall > 0 else 0.0,
        frames=frames,
        other_files=tuple(path for frame in frames for path in frame.other_files),
        notes=tuple(note for fetched in outcome.frames.values() for note in fetched.refused),
        audits=outcome.job.audits,
        doubts=tuple(doubt for fetched in outcome.frames.values() for doubt in fetched.doubts),
    )


def _summary(result: RenderResult) -> str:
    if not result.frames:
        return "No frames."
    first, last = result.frames[0].path, result.frames[-1].path
    where = first if len(result.frames) == 1 else f"{first} ... {last}"
    frames = counted(len(result.frames), "frame")
    return f"{frames} in {result.wall_seconds:.1f} s ({result.exactness}): {where}\n{_verified(result)}"


def _verified(result: RenderResult) -> str:
    """What was audited, and where the receipts are."""
    tiles = counted(sum(frame.tiles for frame in result.frames), "tile")
    audits = result.audits
    said = f"{tiles}, {audits.audited} audited, {audits.rejected} rejected"
    unresolved = f", {audits.unresolved} undecided" if audits.unresolved else ""
    return f"{said}{unresolved}{_receipts(result)}"


def _receipts(result: RenderResult) -> str:
    kept = [frame.receipt for frame in result.frames if frame.receipt]
    some = "receipts" if len(kept) == len(result.frames) else f"{len(kept)} of {len(result.frames)} receipts"
    folders = {os.path.dirname(path) for path in kept}
    where = {0: "", 1: f"; {some} in {min(folders, default='')}"}.get(len(folders), f"; {some} by the frames")
    if len(result.frames) == len(kept) == 1:
        where = f"; receipt in {kept[0]}"
    if not result.doubts:
        return where or "."
    things = counted(len(result.doubts), "thing")
    are, they = ("is", "it is") if len(result.doubts) == 1 else ("are", "they are")
    return f"{where}. {things} {are} wrong with the receipts, {they} said above."
