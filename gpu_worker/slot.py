# SPDX-License-Identifier: GPL-3.0-or-later
"""What one slot does for one task: scene, warm child, picture check, files ready to be uploaded."""

import hashlib
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from frame_splitter.errors import FarmError, InvalidInput
from frame_splitter.ids import DeviceClass
from frame_splitter.records import (
    FailureCode,
    Lease,
    OutputFile,
    Progress,
    TaskFailure,
    TaskKind,
    TaskOutput,
    TaskResult,
    Tile,
    TileInput,
    Upload,
)
from gpu_worker import sandbox, transfer
from gpu_worker.coordinator import SceneListing
from gpu_worker.devices import device_class
from gpu_worker.failures import Cancelled, TaskError
from gpu_worker.outputs import describe, take
from gpu_worker.pictures import BadPicture, Pictures
from gpu_worker.protocol import Done
from gpu_worker.scene_cache import SceneCache
from gpu_worker.stage import ChildPlan, Stage

TILE = "tile.exr"
INPUTS_AT_ONCE = 4

log = structlog.get_logger()


class SceneSource(Protocol):
    """Where a slot learns what a leased scene consists of."""

    def scene(self, lease: Lease) -> SceneListing:
        """The listing, with fresh links."""


@dataclass(frozen=True, slots=True)
class SlotPlan:
    """A slot: its name within the node, the kinds it takes, its own folder, and its children.

    `picture_memory` is bytes for the process that decodes pictures; `commands_per_child` how many a
    child carries out before a fresh one takes its place.
    """

    name: str
    kinds: tuple[TaskKind, ...]
    folder: Path
    child: ChildPlan
    picture_memory: int = 4 << 30
    commands_per_child: int = 1000


@dataclass(frozen=True, slots=True)
class SlotInfo:
    """What a slot offers the coordinator."""

    device_class: DeviceClass
    sandboxed: bool


class Slot:
    """Works on one task at a time in `run`; every other method may be called meanwhile."""

    def __init__(self, plan: SlotPlan, cache: SceneCache, source: SceneSource) -> None:
        self.plan = plan
        self._cache, self._source = cache, source
        self._stopped = threading.Event()
        self._current: Lease | None = None
        self._progress = Progress()
        self._device_class: DeviceClass | None = None
        self._lock = threading.Lock()
        # One thread for all tasks: the kernel ends children with the thread that started them.
        self._worker = ThreadPoolExecutor(1, f"slot-{plan.name}")
        plan.folder.mkdir(parents=True, exist_ok=True)
        self._remove_left_stages()
        self._pictures = Pictures(plan.picture_memory, self._picture_sandbox())
        self._stage = Stage(plan.folder, plan.child)

    # --- what may be asked at any time ------------------------------------------------------------------

    def describe(self) -> SlotInfo:
        """Wait until Blender has loaded, and say what it can do. Raises TaskError."""
        if self._device_class is None:
            device = self.plan.child.device
            self._device_class = device_class(device.backend, device.index, self._stage.ready())
        return SlotInfo(self._device_class, self.plan.child.sandboxed)

    def progress(self) -> Progress:
        """How far the current task is."""
        return self._progress

    def cancel(self, lease: Lease) -> None:
        """Stop working on this lease, if it is still the current one."""
        with self._lock:
            if self._current is not None and _key(self._current) == _key(lease):
                self._end_work()

    def deliver(self, lease: Lease, uploads: tuple[Upload, ...]) -> None:
        """PUT the files of a finished task. Raises what `transfer.upload` raises."""
        folder = self._done(lease)
        for upload in uploads:
            transfer.upload(folder / upload.name, upload)

    def discard(self, lease: Lease) -> None:
        """Forget the files of a finished task."""
        shutil.rmtree(self._done(lease), ignore_errors=True)

    def close(self) -> None:
        """End the children; the slot cannot be used after this."""
        with self._lock:
            self._end_work()
        self._worker.shutdown(wait=True)
        self._stage.close()
        self._pictures.close()

    def _end_work(self) -> None:
        self._stopped.set()
        self._stage.child.kill()
        self._pictures.kill()

    # --- a task -----------------------------------------------------------------------------------------

    def run(self, lease: Lease) -> TaskResult | TaskFailure:
        """Do the task. Its files then wait for `deliver` and `discard`."""
        return self._worker.submit(self._run, lease).result()

    def _run(self, lease: Lease) -> TaskResult | TaskFailure:
        with self._lock:
            self._current, self._progress = lease, Progress()
            self._stopped.clear()
        try:
            return self._work(lease)
        except TaskError as error:
            return self._failed(lease, error)
        except FarmError as error:
            return self._failed(lease, TaskError(FailureCode.NODE, error.sentence))
        except OSError as error:
            return self._failed(lease, TaskError(FailureCode.NODE, f"This node's disk failed: {error}"))
        finally:
            with self._lock:
                self._current, self._progress = None, Progress()

    def _work(self, lease: Lease) -> TaskResult:
        started = time.monotonic()
        stage = self._ready_stage(lease)
        done_folder = self._done(lease)
        shutil.rmtree(done_folder, ignore_errors=True)
        done_folder.mkdir(parents=True)
        work = {TaskKind.RENDER: self._render, TaskKind.FINISH: self._finish}.get(lease.task.kind)
        if work is None:
            raise TaskError(FailureCode.NODE, f"This node does not know how to do {lease.task.kind} tasks.")
        done, files = work(lease, stage, done_folder)
        return TaskResult(
            files=files,
            seconds=time.monotonic() - started,
            render_seconds=done.render_seconds,
            device_class=self.describe().device_class,
            peak_memory=max(done.peak_memory, stage.child.peak_memory),
        )

    def _failed(self, lease: Lease, error: TaskError) -> TaskFailure:
        """The record of a failure, with a fresh child in place of one that may be to blame."""
        self.discard(lease)
        if error.failure is FailureCode.BAD_OUTPUT or not self._stage.child.alive:
            self._replace_stage()
        return Cancelled().record() if self._stopped.is_set() else error.record()

    def _render(self, lease: Lease, stage: Stage, done: Path) -> tuple[Done, tuple[OutputFile, ...]]:
        region = region_of(lease)
        output = stage.output()
        try:
            if lease.task.output is TaskOutput.FINAL:
                answer = stage.child.render(lease, region, output, self._report("rendering"))
                return answer, take(output, answer.files, done)
            answer = stage.child.render(lease, region, output / TILE, self._report("rendering"))
            self._activity("checking")
            return answer, (self._take_tile(output, lease.task.tile, region, done, answer.samples),)
        finally:
            shutil.rmtree(output, ignore_errors=True)

    def _take_tile(
        self, output: Path, tile: Tile, region: Tile, done: Path, samples: dict[str, int]
    ) -> OutputFile:
        (file,) = take(output, (TILE,), done)
        if tile == region and not samples:
            self._pictures.check(done / TILE, region.width, region.height)
            return file
        raw = (done / TILE).rename(done / "raw.exr")
        inner = Tile(tile.x0 - region.x0, tile.y0 - region.y0, tile.x1 - region.x0, tile.y1 - region.y0)
        self._pictures.crop(raw, region.width, region.height, inner, done / TILE, samples)
        raw.unlink()
        return describe(done / TILE, TILE)

    def _finish(self, lease: Lease, stage: Stage, done: Path) -> tuple[Done, tuple[OutputFile, ...]]:
        inputs, output = done / "inputs", stage.output()
        merged = stage.given / f"{output.name}.exr"
        try:
            self._activity("fetching tiles")
            pieces = self._fetch_inputs(lease.inputs, inputs)
            self._activity("stitching")
            self._stitch(lease, pieces, merged)
            shutil.rmtree(inputs)
            self._activity("finishing")
            answer = stage.child.finish(lease, merged, output, self._report("finishing"))
            return answer, take(output, answer.files, done)
        finally:
            merged.unlink(missing_ok=True)
            shutil.rmtree(output, ignore_errors=True)

    def _fetch_inputs(self, inputs: tuple[TileInput, ...], folder: Path) -> list[tuple[Path, Tile]]:
        folder.mkdir()
        paths = [folder / f"{number}.exr" for number in range(len(inputs))]

        def fetch(one: TileInput, path: Path) -> FarmError | None:
            try:
                transfer.download(one.file, path, self._stopped)
            except InvalidInput as error:
                return error
            return None

        with ThreadPoolExecutor(INPUTS_AT_ONCE, "tile-download") as pool:
            problems = list(pool.map(fetch, inputs, paths))
        bad = [(one, problem) for one, problem in zip(inputs, problems, strict=True) if problem]
        if bad:
            tasks = tuple(one.task for one, _ in bad)
            raise TaskError(FailureCode.BAD_INPUT, bad[0][1].sentence, tasks)
        return list(zip(paths, (one.tile for one in inputs), strict=True))

    def _stitch(self, lease: Lease, pieces: list[tuple[Path, Tile]], merged: Path) -> None:
        try:
            self._pictures.stitch(pieces, lease.area, lease.canvas, merged)
        except BadPicture as error:
            bad = error.pieces or self._killers(pieces)
            tasks = tuple(lease.inputs[number].task for number in bad)
            # Nobody to blame: the frame's own failure, or it would be tried without end.
            code = FailureCode.BAD_INPUT if tasks else FailureCode.BAD_OUTPUT
            raise TaskError(code, error.sentence, tasks) from error

    def _killers(self, pieces: list[tuple[Path, Tile]]) -> tuple[int, ...]:
        """Which tiles the process that decodes pictures does not survive."""
        bad: list[int] = []
        for number, (path, tile) in enumerate(pieces):
            self._check_wanted()
            try:
                self._pictures.check(path, tile.width, tile.height)
            except BadPicture:
                bad.append(number)
        return tuple(bad)

    # --- children ---------------------------------------------------------------------------------------

    def _ready_stage(self, lease: Lease) -> Stage:
        """A stage whose child holds the lease's scene."""
        worn = self._stage.child.commands_done >= self.plan.commands_per_child
        if worn or not (self._stage.blank or (self._stage.scene == lease.scene and self._stage.child.alive)):
            self._replace_stage()
        self._check_wanted()
        if self._stage.scene is None:
            self._activity("fetching the scene")
            self._stage.give(self._cache.hold(lease.scene, lambda: self._source.scene(lease), self._stopped))
            self._activity("opening the scene")
        self._check_wanted()
        self._stage.open()
        return self._stage

    def _replace_stage(self) -> None:
        old = self._stage
        fresh = Stage(self.plan.folder, self.plan.child)
        with self._lock:
            self._stage = fresh
        old.close()

    def _check_wanted(self) -> None:
        if self._stopped.is_set():
            raise Cancelled

    def _remove_left_stages(self) -> None:
        """What a process that was killed left in this slot's folder."""
        for folder in self.plan.folder.glob("stage-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _picture_sandbox(self) -> Callable[[list[str]], list[str]]:
        if not self.plan.child.sandboxed:
            return lambda command: command
        packages = tuple(
            Path(__file__).resolve().parents[1] / name for name in ("frame_splitter", "gpu_worker")
        )
        return sandbox.Sandbox(readable=packages, writable=(self.plan.folder,)).wrap

    # --- small --------------------------------------------------------------------------------------------

    def _activity(self, activity: str) -> None:
        self._progress = Progress(self._progress.done, self._progress.total, activity)

    def _report(self, activity: str) -> Callable[[int, int], None]:
        def report(done: int, total: int) -> None:
            self._progress = Progress(min(done, total), total, activity)

        return report

    def _done(self, lease: Lease) -> Path:
        return self.plan.folder / "done" / _key(lease)


def region_of(lease: Lease) -> Tile:
    """The task's tile with its overscan, clipped to the rendered area."""
    tile, more, area = lease.task.tile, lease.task.overscan, lease.area
    return Tile(
        max(area.x0, tile.x0 - more),
        max(area.y0, tile.y0 - more),
        min(area.x1, tile.x1 + more),
        min(area.y1, tile.y1 + more),
    )


def _key(lease: Lease) -> str:
    """A folder name that is this lease's only, whatever characters its task's id has."""
    return f"{hashlib.sha256(lease.task.id.encode()).hexdigest()[:24]}-{lease.token}"
