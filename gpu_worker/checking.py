# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking at what a child handed over, beside the next task's rendering."""

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from frame_splitter.fields import Tile
from frame_splitter.records import FailureCode, Lease, OutputFile, TaskKind, TaskOutput
from gpu_worker.blender import Wrap
from gpu_worker.failures import Cancelled, TaskError
from gpu_worker.outputs import describe, take
from gpu_worker.pictures import BadPicture, Pictures

T = TypeVar("T")

TILE = "tile.exr"
RAW, FILES = "raw", "files"
"""In a task's folder: what the child wrote, and what was made or copied of it and is delivered."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a child says it did for a task. `names` are files below the task's raw folder; `began` is
    the machine's monotonic time in seconds; `samples` the most a pixel of each layer took.
    """

    names: tuple[str, ...]
    began: float
    render_seconds: float
    peak_memory: int
    samples: dict[str, int]


class Checker:
    """Takes over files and decodes pictures, one after the other, in the order it is asked.

    Methods may be called from any thread; the work is done in one, because the kernel ends the process
    that decodes pictures with the thread that started it.
    """

    def __init__(self, memory: int, wrap: Wrap) -> None:
        self._pictures = Pictures(memory, wrap)
        self._thread = ThreadPoolExecutor(1, "checker")
        self._thread.submit(self._pictures.start)

    def take(self, lease: Lease, rendered: Rendered, folder: Path) -> tuple[OutputFile, ...]:
        """The files of a task whose folder is `folder`, checked, cropped and hashed.

        Raises TaskError: BAD_OUTPUT where they are not what the task asked for.
        """
        tile = lease.task.kind is TaskKind.RENDER and lease.task.output is TaskOutput.LINEAR
        return self._do(
            lambda: (
                _take_tile(self._pictures, lease, rendered, folder)
                if tile
                else take(folder / RAW, rendered.names, folder / FILES)
            )
        )

    def stitch(
        self, lease: Lease, pieces: list[tuple[Path, Tile]], merged: Path, stopped: threading.Event
    ) -> None:
        """Put the tiles together. Raises TaskError(BAD_INPUT) naming those that cannot be used."""
        self._do(lambda: self._stitch(lease, pieces, merged, stopped))

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
            self._pictures.stitch(pieces, lease.area, lease.canvas, merged)
        except BadPicture as error:
            bad = error.pieces or self._killers(pieces, stopped)
            tasks = tuple(lease.inputs[number].task for number in bad)
            # Nobody to blame: the frame's own failure, or it would be tried without end.
            code = FailureCode.BAD_INPUT if tasks else FailureCode.BAD_OUTPUT
            raise TaskError(code, error.sentence, tasks) from error

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


def _take_tile(pictures: Pictures, lease: Lease, rendered: Rendered, folder: Path) -> tuple[OutputFile, ...]:
    """Check the tile, cut its overscan off, turn its sample shares into counts."""
    tile, region = lease.task.tile, region_of(lease)
    (file,) = take(folder / RAW, (TILE,), folder / FILES)
    target = folder / FILES / TILE
    if tile == region and not rendered.samples:
        pictures.check(target, region.width, region.height)
        return (file,)
    uncut = target.rename(folder / "uncut.exr")
    inner = Tile(tile.x0 - region.x0, tile.y0 - region.y0, tile.x1 - region.x0, tile.y1 - region.y0)
    pictures.crop(uncut, region.width, region.height, inner, target, rendered.samples)
    uncut.unlink()
    return (describe(target, TILE),)


def hand_over(output: Path, folder: Path) -> None:
    """Move what a child wrote out of the folder it can write to, into the task's."""
    shutil.rmtree(folder / RAW, ignore_errors=True)
    (folder / FILES).mkdir(parents=True, exist_ok=True)
    output.rename(folder / RAW)


def region_of(lease: Lease) -> Tile:
    """The task's tile with its overscan, clipped to the rendered area."""
    tile, more, area = lease.task.tile, lease.task.overscan, lease.area
    return Tile(
        max(area.x0, tile.x0 - more),
        max(area.y0, tile.y0 - more),
        min(area.x1, tile.x1 + more),
        min(area.y1, tile.y1 + more),
    )
