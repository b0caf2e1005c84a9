# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking at what a child handed over, beside the next task's rendering."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from farm_protocol.audits import FIRST, SPARSE, CheckReport, Fault, SeamReport, crop_name
from farm_protocol.device_classes import Summation, summation_of
from farm_protocol.errors import FarmError
from farm_protocol.fields import Digest, Tile
from farm_protocol.ids import DeviceClass, TaskId
from farm_protocol.probes import ProbeReport
from farm_protocol.records import FailureCode, Lease, OutputFile, TaskKind, TaskOutput
from frame_splitter.tiles import contains, relative, with_overscan
from gpu_worker.blender.process import Wrap
from gpu_worker.failures import Cancelled, TaskError
from gpu_worker.pictures.decoding import BadPicture, PictureDied, Pictures
from gpu_worker.pictures.outputs import describe, take
from gpu_worker.pictures.requests import FinishedFile, Look, Picture
from gpu_worker.sandbox import removal
from gpu_worker.slot import disk
from verification.protocol.file_root import file_root

T = TypeVar("T")

TILE = "tile.exr"
RAW, FILES = "raw", "files"
"""In a task's folder: what the child wrote, and what was made or copied of it and is delivered."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a child says it did for a task. `names` are files below the task's raw folder; `began` is
    the machine's monotonic time in seconds; `samples` the most a pixel of each layer took, by picture;
    `report` what a check found, `probe` what a probe measured, `seam` what a look at the seams found.
    """

    names: tuple[str, ...]
    began: float
    render_seconds: float
    peak_memory: int
    samples: tuple[dict[str, int], ...] = ()
    device_memory: int = 0
    report: CheckReport | None = None
    probe: ProbeReport | None = None
    seam: SeamReport | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """A task's files as they are delivered, and the pixel root that is signed of them."""

    files: tuple[OutputFile, ...]
    root: Digest


@dataclass(frozen=True, slots=True)
class Wanted:
    """A picture of a task: its file, the pixels the child rendered, and those of them that count."""

    name: str
    region: Tile
    tile: Tile


class _Hurt(FarmError):
    """The picture process could not look: it died, or had not enough memory."""

    def __init__(self, sentence: str, by_death: bool) -> None:
        super().__init__(sentence)
        self.by_death = by_death


class Checker:
    """Takes over files and decodes pictures, one after the other, in the order it is asked.

    Methods may be called from any thread; the work is done in one, because the kernel ends the process
    that decodes pictures with the thread that started it.
    """

    def __init__(self, memory: int, wrap: Wrap) -> None:
        self._pictures = Pictures(memory, wrap)
        self._thread = ThreadPoolExecutor(1, "checker")
        self._thread.submit(self._pictures.start)

    def take(self, lease: Lease, rendered: Rendered, folder: Path) -> Taken:
        """The files of a task whose folder is `folder`, checked, cropped and hashed.

        Raises TaskError: BAD_OUTPUT where they are not what the task asked for, NODE where that is so
        because this machine's disk is full.
        """
        return self._do(lambda: self._take(lease, rendered, folder))

    def _take(self, lease: Lease, rendered: Rendered, folder: Path) -> Taken:
        wanted = pictures_of(lease)
        try:
            if wanted:
                return _take_pictures(self._pictures, wanted, rendered, folder)
            return _take_files(self._pictures, finished_sizes(lease), rendered, folder)
        except BadPicture as error:
            raise disk.blamed(error, folder) from error

    def stitch(
        self, lease: Lease, pieces: list[tuple[Path, Tile]], merged: Path, stopped: threading.Event
    ) -> None:
        """Put the `pieces` (tiles by file) of the leased frame together as `merged`, until `stopped` is set.
        Raises TaskError(BAD_INPUT) naming those that cannot be used.
        """
        self._do(lambda: self._stitch(lease, pieces, merged, stopped))

    def differences(self, device_class: DeviceClass, pairs: tuple[tuple[Path, Path], ...]) -> tuple[str, ...]:
        """What differs in each pair of pictures written on a device class by more than two renders there
        may; '' where nothing does. Raises TaskError.
        """
        any_order = summation_of(device_class) is Summation.ANY_ORDER
        return self._do(lambda: self._pictures.differences(pairs, any_order)) if pairs else ()

    def look(self, request: Look, tile: TaskId, stopped: threading.Event) -> CheckReport:
        """What is found in the tile that the task `tile` submitted.

        A tile that the picture process does not survive is a finding, too. Raises TaskError: BAD_INPUT
        naming the audits it does not survive, or the tile where the pictures are as they should be but
        larger than this node can look at, which is nobody's fault; NODE where this machine is the reason.
        """
        return self._do(lambda: self._look(request, tile, stopped))

    def kill(self) -> None:
        """End what is being decoded."""
        self._pictures.kill()

    def close(self) -> None:
        """End the process and the thread."""
        self.kill()
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._pictures.close()

    def _do(self, work: Callable[[], T]) -> T:
        return self._thread.submit(work).result()

    def _stitch(
        self, lease: Lease, pieces: list[tuple[Path, Tile]], merged: Path, stopped: threading.Event
    ) -> None:
        try:
            self._pictures.stitch(pieces, lease.area, lease.area, merged)
        except BadPicture as error:
            bad = error.pieces or self._killers(pieces, stopped)
            tasks = tuple(lease.inputs[number].task for number in bad)
            # Nobody to blame: the frame's own failure, or it would be tried without end.
            code = FailureCode.BAD_INPUT if tasks else FailureCode.BAD_OUTPUT
            raise TaskError(code, error.sentence, tasks) from error

    def _look(self, request: Look, tile: TaskId, stopped: threading.Event) -> CheckReport:
        try:
            return self._looked(request, stopped)
        except _Hurt as error:
            alone = replace(request, audits=(), evidence=None)
            try:
                self._looked(alone, stopped)
            except _Hurt as again:
                if again.by_death:
                    return CheckReport(fault=Fault.UNDECODABLE, detail=again.sentence)
                raise TaskError(FailureCode.BAD_INPUT, again.sentence, (tile,)) from again
            bad = tuple(
                one.task for one in request.audits if self._hurts(replace(alone, audits=(one,)), stopped)
            )
            raise TaskError(FailureCode.BAD_INPUT, error.sentence, bad or (tile,)) from error

    def _hurts(self, request: Look, stopped: threading.Event) -> bool:
        try:
            self._looked(request, stopped)
        except _Hurt:
            return True
        return False

    def _looked(self, request: Look, stopped: threading.Event) -> CheckReport:
        """Raises _Hurt where the pictures are the likely reason that nothing is found."""
        try:
            return self._pictures.look(request)
        except TaskError as error:
            if stopped.is_set():
                raise Cancelled from error
            if isinstance(error, PictureDied) and not error.by_system:
                raise _Hurt(error.sentence, by_death=True) from error
            if error.failure is FailureCode.OUT_OF_MEMORY:
                raise _Hurt(error.sentence, by_death=False) from error
            raise TaskError(FailureCode.NODE, error.sentence) from error

    def _killers(self, pieces: list[tuple[Path, Tile]], stopped: threading.Event) -> tuple[int, ...]:
        """Which tiles the process that decodes pictures does not survive."""
        bad: list[int] = []
        for number, (path, tile) in enumerate(pieces):
            if stopped.is_set():
                raise Cancelled
            try:
                self._pictures.check(path, tile.width, tile.height)
            except BadPicture:
                bad.append(number)
        return tuple(bad)


Sizes = tuple[tuple[int, int], ...]


def finished_sizes(lease: Lease) -> Sizes | None:
    """The sizes that a frame written by Blender may have; None where the task writes none.

    Stereo may stand side by side, or one view above the other; only frames of one Blender have it.
    """
    task, width, height = lease.task, lease.canvas.width, lease.canvas.height
    if task.kind is TaskKind.FINISH:
        return ((width, height),)
    if task.kind is TaskKind.RENDER:
        return ((width, height), (2 * width, height), (width, 2 * height))
    return None


def _take_files(pictures: Pictures, sizes: Sizes | None, rendered: Rendered, folder: Path) -> Taken:
    files = take(folder / RAW, rendered.names, folder / FILES)
    if sizes is not None:
        asked = tuple(
            FinishedFile(str(folder / FILES / file.name), file.name, () if "/" in file.name else sizes)
            for file in files
        )
        pictures.check_finished(asked)
    return Taken(files, file_root(files))


def _take_pictures(pictures: Pictures, wanted: tuple[Wanted, ...], rendered: Rendered, folder: Path) -> Taken:
    """Check the pictures, cut their overscan off, turn their sample shares into counts."""
    uncut = folder / "uncut"
    names = tuple(one.name for one in wanted)
    files = {file.name: file for file in take(folder / RAW, names, folder / FILES)}
    uncut.mkdir(exist_ok=True)
    samples = rendered.samples or ({},) * len(wanted)
    if len(samples) != len(wanted):
        raise TaskError(FailureCode.BAD_OUTPUT, "Blender named sample counts of other pictures.")
    asked = tuple(_ask_for(one, counts, folder) for one, counts in zip(wanted, samples, strict=True))
    if SPARSE in names and (folder / RAW / FIRST).is_file():
        take(folder / RAW, (FIRST,), uncut)
        asked = tuple(_with_first(one, folder) if one.path.endswith(SPARSE) else one for one in asked)
    root = pictures.take(asked)
    removal.remove(uncut)
    for picture in asked:
        if picture.target:
            name = Path(picture.target).name
            files[name] = describe(Path(picture.target), name)
    return Taken(tuple(files[name] for name in names), root)


def _with_first(sparse: Picture, folder: Path) -> Picture:
    """The sparse pass with what only the first sample writes."""
    path = Path(sparse.path)
    moved = path if sparse.target else path.rename(folder / "uncut" / SPARSE)
    return replace(
        sparse, path=str(moved), target=str(folder / FILES / SPARSE), first=str(folder / "uncut" / FIRST)
    )


def _ask_for(wanted: Wanted, counts: dict[str, int], folder: Path) -> Picture:
    """What the picture process is to do; a picture that need not be changed stays as Blender wrote it."""
    path, region = folder / FILES / wanted.name, wanted.region
    inner = relative(wanted.tile, region)
    if wanted.tile == region and not counts:
        return Picture(str(path), region.width, region.height, inner)
    uncut = path.rename(folder / "uncut" / wanted.name)
    return Picture(str(uncut), region.width, region.height, inner, str(path), counts)


def pictures_of(lease: Lease) -> tuple[Wanted, ...]:
    """The linear pictures a task consists of, in the order of its files; none where Blender finished them."""
    task = lease.task
    if task.kind is TaskKind.RENDER and task.output is TaskOutput.LINEAR:
        return (Wanted(TILE, region_of(lease), task.tile),)
    if task.kind is TaskKind.AUDIT:
        return _audited_pictures(lease)
    return ()


def _audited_pictures(lease: Lease) -> tuple[Wanted, ...]:
    if lease.audit is None or not (lease.audit.crops or lease.audit.sparse):
        raise TaskError(FailureCode.NODE, "The audit does not say what to render.")
    tile, more, area = lease.task.tile, lease.task.overscan, lease.area
    if not all(contains(tile, crop) for crop in lease.audit.crops):
        raise TaskError(FailureCode.NODE, "The audit names pixels outside its tile.")
    crops = [
        Wanted(crop_name(number), with_overscan(crop, more, area), crop)
        for number, crop in enumerate(lease.audit.crops)
    ]
    return (*crops, Wanted(SPARSE, tile, tile)) if lease.audit.sparse else tuple(crops)


def needs_fresh_child(lease: Lease) -> bool:
    """Whether somebody may be blamed for what comes of it: not for what a warm Blender does otherwise."""
    return lease.fresh or audits_whole(lease)


def audits_whole(lease: Lease) -> bool:
    """Whether the lease is to render another node's tile as that was asked to."""
    return lease.audit is not None and lease.audit.is_whole(lease.task.tile)


def hand_over(output: Path, folder: Path) -> None:
    """Move what a child wrote out of the folder it can write to, into the task's."""
    removal.remove(folder / RAW)
    (folder / FILES).mkdir(parents=True, exist_ok=True)
    output.rename(folder / RAW)


def region_of(lease: Lease) -> Tile:
    """The task's tile with its overscan, clipped to the rendered area."""
    return with_overscan(lease.task.tile, lease.task.overscan, lease.area)
