# SPDX-License-Identifier: GPL-3.0-or-later
"""What one slot does for one task: scene, warm child, picture check, files ready to be uploaded."""

import hashlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog

from farm_protocol.audits import SPARSE, SeamReport, crop_name
from farm_protocol.errors import FarmError, InvalidInput
from farm_protocol.fields import Tile
from farm_protocol.ids import OwnerId
from farm_protocol.node_answers import LeasedScene
from farm_protocol.records import (
    FailureCode,
    Lease,
    Progress,
    TaskFailure,
    TaskKind,
    TaskOutput,
    TaskResult,
    TileInput,
    Upload,
)
from farm_protocol.transfer import ObjectLost
from frame_splitter.outputs import safe_relative
from gpu_worker.blender.devices import device_class, gpu_at
from gpu_worker.blender.protocol import Done
from gpu_worker.failures import Cancelled, TaskError
from gpu_worker.farm import transfer
from gpu_worker.sandbox import bubblewrap, removal
from gpu_worker.slot import checks, disk, probes, seams
from gpu_worker.slot.checking import (
    FILES,
    RAW,
    TILE,
    Checker,
    Rendered,
    audits_whole,
    hand_over,
    needs_fresh_child,
    pictures_of,
    region_of,
)
from gpu_worker.slot.checks import Fetch
from gpu_worker.slot.child_workspace import ChildPlan, Stage
from gpu_worker.slot.kernels import KernelStore, key_of
from gpu_worker.slot.outcomes import outcome_of
from gpu_worker.slot.readiness import Found, Prepared, Readiness, SlotInfo
from gpu_worker.slot.scene_cache import HeldScene, SceneCache
from gpu_worker.slot.standby_child import Spare

INPUTS_AT_ONCE = 4

log = structlog.get_logger()


class SceneSource(Protocol):
    """Where a slot learns what a leased scene consists of."""

    def scene(self, lease: Lease) -> LeasedScene:
        """The listing, with fresh links."""


@dataclass(frozen=True, slots=True)
class SlotPlan:
    """A slot: its name within the node, the kinds it takes, its own folder, and its children. `kernels` is
    the node's folder of GPU kernels.

    `owner`: whose scenes only are opened; None for everybody's, where a sandbox is around Blender.
    `picture_memory` is bytes for the process that decodes pictures; `commands_per_child` how many a
    child carries out before a fresh one takes its place.
    """

    name: str
    kinds: tuple[TaskKind, ...]
    folder: Path
    child: ChildPlan
    picture_memory: int = 4 << 30
    commands_per_child: int = 1000
    kernels: Path | None = None
    owner: OwnerId | None = None

    @property
    def on_gpu(self) -> bool:
        """Whether its children render on a GPU."""
        return self.child.device.backend != "CPU"


class Slot:
    """Works on one task at a time in `run`; every other method may be called meanwhile."""

    def __init__(self, plan: SlotPlan, cache: SceneCache, source: SceneSource) -> None:
        self.plan = plan
        self._cache, self._source = cache, source
        self._stopped = threading.Event()
        self._suspect = threading.Event()
        self._current: Lease | None = None
        self._plain: seams.PlainBlender | None = None
        self._seam: SeamReport | None = None
        self._progress = Progress()
        self._info: SlotInfo | None = None
        self._lock = threading.Lock()
        plan.folder.mkdir(parents=True, exist_ok=True)
        self._remove_left_stages()
        self._checker = Checker(plan.picture_memory, self._picture_sandbox())
        store = KernelStore(plan.kernels or plan.folder / "kernels")
        self._readiness = Readiness(plan.child, store, plan.folder, self._find_gpu)
        self._stage = self._new_stage()
        self._spare = Spare(self._new_stage)

    # --- what may be asked at any time ------------------------------------------------------------------

    def describe(self) -> SlotInfo:
        """Wait until Blender has loaded, and say what it can do. Raises TaskError."""
        if self._info is None:
            self._info = self._find_gpu().info if self.plan.on_gpu else self._on_cpu()
        return self._info

    def prepare(self, doubt: str = "") -> Prepared:
        """How far its GPU is, at once: see `Readiness.look`. A slot without one can always take tasks."""
        if not self.plan.on_gpu:
            return Prepared(self.describe())
        prepared = self._readiness.look(doubt)
        # Another driver is another class.
        self._info = prepared.info or self._info
        return prepared

    def _on_cpu(self) -> SlotInfo:
        return SlotInfo(device_class("CPU", None, self._stage.ready()), self.plan.child.sandboxed)

    def _find_gpu(self) -> Found:
        """The slot's GPU as it is now, by a child of its own: the slot's may hold a scene."""
        device = self.plan.child.device
        stage = Stage(self.plan.folder, self.plan.child)
        try:
            blender = stage.ready()
            gpu = gpu_at(device.backend, device.index, stage.child.device_name(device))
        finally:
            stage.close()
        kind = device_class(device.backend, gpu, blender)
        return Found(
            gpu,
            key_of(device.backend, gpu, blender),
            SlotInfo(kind, self.plan.child.sandboxed, gpu.room, prepares=True),
        )

    def progress(self) -> Progress:
        """How far the current task is."""
        return self._progress

    def cancel(self, lease: Lease) -> None:
        """Stop working on this lease, if it is still the current one."""
        with self._lock:
            if self._current is not None and _key(self._current) == _key(lease):
                self._end_work()

    def settle(self, lease: Lease, rendered: Rendered) -> TaskResult | TaskFailure:
        """Check what `run` left of a task. Its files then wait for `deliver` and `discard`."""

        def take() -> TaskResult:
            taken = self._checker.take(lease, rendered, self._done(lease))
            return TaskResult(
                files=taken.files,
                seconds=time.monotonic() - rendered.began,
                render_seconds=rendered.render_seconds,
                device_class=self.describe().device_class,
                peak_memory=rendered.peak_memory,
                device_memory=rendered.device_memory,
                pixel_root=taken.root,
                report=rendered.report,
                probe=rendered.probe,
                seam=rendered.seam,
            )

        outcome = outcome_of(take)
        if isinstance(outcome, TaskFailure):
            self.discard(lease)
            self._suspect.set()
        return outcome

    def deliver(self, lease: Lease, uploads: tuple[Upload, ...]) -> None:
        """PUT the files of a finished task, and no other file, whatever the coordinator names.

        Raises what `transfer.upload` raises.
        """
        folder = self._done(lease) / FILES
        for upload in uploads:
            transfer.upload(folder / safe_relative(upload.name), upload)

    def discard(self, lease: Lease) -> None:
        """Forget the files of a finished task."""
        removal.remove(self._done(lease))

    def close(self) -> None:
        """End the children; a task under way fails, and the slot cannot be used after this."""
        with self._lock:
            self._end_work()
        self._spare.close()
        self._checker.close()
        self._stage.close()

    def _end_work(self) -> None:
        self._stopped.set()
        if self._current is None or self._current.task.kind is not TaskKind.CHECK:
            self._stage.child.kill()
            if (plain := self._plain) is not None:
                plain.kill()
        if TaskKind.FINISH in self.plan.kinds:
            # A rendering slot's checker is busy with another task, which is not to blame.
            self._checker.kill()

    # --- a task -----------------------------------------------------------------------------------------

    def run(self, lease: Lease) -> Rendered | TaskFailure:
        """Have the child do the task. What it wrote waits for `settle`."""
        self._spare.slot_is_busy()
        with self._lock:
            self._current, self._progress = lease, Progress()
            self._stopped.clear()
        try:
            outcome = outcome_of(lambda: self._work(lease))
            return self._failed(lease, outcome) if isinstance(outcome, TaskFailure) else outcome
        finally:
            with self._lock:
                self._current, self._progress = None, Progress()
            if not self._stage.blank:
                self._spare.slot_is_idle()

    def _work(self, lease: Lease) -> Rendered:
        began, self._seam = time.monotonic(), None
        if self.plan.owner is not None and lease.owner != self.plan.owner:
            raise TaskError(
                FailureCode.NODE,
                f"This node has no sandbox, and opens nothing but what '{self.plan.owner}' made.",
            )
        self.discard(lease)
        if lease.task.kind is TaskKind.CHECK:
            return self._check(lease, began)
        work = {
            TaskKind.RENDER: self._render,
            TaskKind.AUDIT: self._audit,
            TaskKind.FINISH: self._finish,
            TaskKind.PROBE: self._probe,
        }.get(lease.task.kind)
        if work is None:
            raise TaskError(FailureCode.NODE, f"This node does not know how to do {lease.task.kind} tasks.")
        stage = self._ready_stage(lease)
        output = stage.output()
        try:
            done = work(lease, stage, output)
            hand_over(output, self._done(lease))
        except TaskError as error:
            raise disk.blamed(error, self.plan.folder) from error
        finally:
            removal.remove(output)
        memory = max(done.peak_memory, stage.child.peak_memory)
        samples = done.samples_of_each or ((done.samples,) if done.samples else ())
        rendered = Rendered(
            done.files, began, done.render_seconds, memory, samples, done.device_memory, seam=self._seam
        )
        return probes.rendered(rendered, done, self._done(lease) / RAW) if done.measures else rendered

    def _failed(self, lease: Lease, failure: TaskFailure) -> TaskFailure:
        """What to say of a failure, with a fresh child in place of one that is gone."""
        self.discard(lease)
        if not self._stage.child.alive:
            self._replace_stage()
        return Cancelled().record() if self._stopped.is_set() else failure

    def _render(self, lease: Lease, stage: Stage, output: Path) -> Done:
        target = output if lease.task.output is TaskOutput.FINAL else output / TILE
        return stage.child.render(lease, region_of(lease), target, self._report("rendering"))

    def _audit(self, lease: Lease, stage: Stage, output: Path) -> Done:
        if audits_whole(lease):
            target = output / crop_name(0)
            return stage.child.render(lease, region_of(lease), target, self._report("auditing"))
        crops = tuple(one.region for one in pictures_of(lease) if one.name != SPARSE)
        assert lease.audit is not None
        return stage.child.audit(lease, crops, lease.audit.sparse, output, self._report("auditing"))

    def _probe(self, lease: Lease, stage: Stage, output: Path) -> Done:
        return probes.checked(stage.child.probe(lease, output, self._report("probing")), lease)

    def _finish(self, lease: Lease, stage: Stage, output: Path) -> Done:
        if lease.seam and not seams.has_room(stage):
            self._seam = SeamReport()
        if not lease.seam or self._seam:
            return self._finished(lease, stage, output)
        plain = seams.PlainBlender(lambda: self._open_plain(lease), self._check_wanted)
        with plain:
            self._plain = plain
            try:
                done = self._finished(lease, stage, output)
                return self._look_at_seams(lease, output, done, plain)
            finally:
                self._plain = None

    def _finished(self, lease: Lease, stage: Stage, output: Path) -> Done:
        inputs, merged = self._done(lease) / "inputs", stage.given / f"{output.name}.exr"
        try:
            self._activity("fetching tiles")
            pieces = self._fetch_inputs(lease.inputs, inputs)
            self._activity("stitching")
            self._checker.stitch(lease, pieces, merged, self._stopped)
            self._activity("finishing")
            return stage.child.finish(lease, merged, output, self._report("finishing"))
        finally:
            merged.unlink(missing_ok=True)
            removal.remove(inputs)

    def _open_plain(self, lease: Lease) -> Stage:
        self._check_wanted()
        return self._stage_with(
            self._cache.hold(lease.scene, lambda: self._source.scene(lease), self._stopped)
        )

    def _look_at_seams(self, lease: Lease, output: Path, done: Done, plain: seams.PlainBlender) -> Done:
        """Have a plain Blender render the frame, too; where they differ, its files are delivered."""
        copies = self._done(lease) / "seams"
        try:
            self._check_wanted()
            report = self._report("comparing")
            compare = partial(self._checker.differences, self.describe().device_class)
            found = seams.look(lease, (output, done), plain.stage, copies, compare, report)
            self._seam, (folder, done) = found
            if folder != output:
                removal.remove(output)
                folder.rename(output)
            return done
        finally:
            removal.remove(copies)

    def _check(self, lease: Lease, began: float) -> Rendered:
        """Look at a submitted tile. No Blender is needed for it."""
        inputs, raw = self._done(lease) / "inputs", self._done(lease) / RAW
        raw.mkdir(parents=True)
        (self._done(lease) / FILES).mkdir()
        tile = checks.tile_fetch(lease, inputs)
        report = checks.oversized(lease)
        if report is None:
            self._activity("fetching tiles")
            self._fetch((tile, *checks.audit_fetches(lease, inputs)))
            self._activity("checking")
            request = checks.look_request(lease, inputs, raw)
            report = self._checker.look(request, tile.task, self._stopped)
            removal.remove(inputs)
        return Rendered(checks.write_report(report, raw), began, 0.0, 0, report=report)

    def _fetch_inputs(self, inputs: tuple[TileInput, ...], folder: Path) -> list[tuple[Path, Tile]]:
        paths = [folder / f"{number}.exr" for number in range(len(inputs))]
        self._fetch(tuple(Fetch(one.task, one.file, path) for one, path in zip(inputs, paths, strict=True)))
        return list(zip(paths, (one.tile for one in inputs), strict=True))

    def _fetch(self, wanted: tuple[Fetch, ...]) -> None:
        """Fetch files of other tasks. Raises TaskError: LOST naming those the store has lost, BAD_INPUT those
        it refuses to give.
        """

        def fetch(one: Fetch) -> FarmError | None:
            one.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                transfer.download(one.file, one.path, self._stopped)
            except InvalidInput as error:
                return error
            return None

        with ThreadPoolExecutor(INPUTS_AT_ONCE, "tile-download") as pool:
            problems = list(pool.map(fetch, wanted))
        bad = [(one.task, problem) for one, problem in zip(wanted, problems, strict=True) if problem]
        lost = [(task, problem) for task, problem in bad if isinstance(problem, ObjectLost)]
        if bad:
            # What the store lost is nobody's fault, so it is told apart from what others delivered.
            code = FailureCode.LOST if lost else FailureCode.BAD_INPUT
            tasks = tuple(dict.fromkeys(task for task, _ in lost or bad))
            raise TaskError(code, (lost or bad)[0][1].sentence, tasks)

    # --- children ---------------------------------------------------------------------------------------

    def _ready_stage(self, lease: Lease) -> Stage:
        """A stage whose child holds the lease's scene."""
        worn = self._stage.child.commands_done >= self.plan.commands_per_child
        if (
            self._suspect.is_set()
            or worn
            or self._stage.kernels != self._readiness.kernels
            or (needs_fresh_child(lease) and not self._stage.blank)
            or not (self._stage.blank or (self._stage.scene == lease.scene and self._stage.child.alive))
        ):
            self._replace_stage()
        self._check_wanted()
        if self._stage.scene is None:
            self._activity("fetching the scene")
            held = self._cache.hold(lease.scene, lambda: self._source.scene(lease), self._stopped)
            if held.manifest.color_config:
                self._put(self._stage_with(held))
            else:
                self._stage.give(held)
            self._activity("opening the scene")
        self._check_wanted()
        self._stage.open()
        return self._stage

    def _replace_stage(self) -> None:
        self._suspect.clear()
        spare = self._spare.take()
        if spare is not None and spare.kernels != self._readiness.kernels:
            spare.close()
            spare = None
        self._put(spare or self._new_stage())

    def _stage_with(self, held: HeldScene) -> Stage:
        try:
            return Stage(self.plan.folder, self._child_plan(), held)
        except BaseException:
            held.release()
            raise

    def _put(self, fresh: Stage) -> None:
        """Work with `fresh` from now on."""
        old = self._stage
        with self._lock:
            self._stage = fresh
        old.close()

    def _new_stage(self) -> Stage:
        return Stage(self.plan.folder, self._child_plan())

    def _child_plan(self) -> ChildPlan:
        return replace(self.plan.child, kernels=self._readiness.kernels)

    def _check_wanted(self) -> None:
        if self._stopped.is_set():
            raise Cancelled

    def _remove_left_stages(self) -> None:
        """What a process that was killed left in this slot's folder."""
        for folder in self.plan.folder.glob("stage-*"):
            removal.remove(folder)

    def _picture_sandbox(self) -> Callable[[list[str]], list[str]]:
        if not self.plan.child.sandboxed:
            return lambda command: command
        packages = tuple(
            Path(__file__).resolve().parents[2] / name
            for name in ("farm_protocol", "frame_splitter", "gpu_worker", "verification")
        )
        return bubblewrap.Sandbox(readable=packages, writable=(self.plan.folder,)).wrap

    # --- small --------------------------------------------------------------------------------------------

    def _activity(self, activity: str) -> None:
        self._progress = Progress(self._progress.done, self._progress.total, activity)

    def _report(self, activity: str) -> Callable[[int, int], None]:
        def report(done: int, total: int) -> None:
            self._progress = Progress(min(done, total), total, activity)

        return report

    def _done(self, lease: Lease) -> Path:
        return self.plan.folder / "done" / _key(lease)


def _key(lease: Lease) -> str:
    """A folder name that is this lease's only, whatever characters its task's id has."""
    return f"{hashlib.sha256(lease.task.id.encode()).hexdigest()[:24]}-{lease.token}"
