# SPDX-License-Identifier: GPL-3.0-or-later
"""The look at the seams: a finished frame beside the one that a fresh, plain Blender renders and writes.

Whatever was forgotten in cutting, merging, denoising, compositing and naming shows here.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Self

import psutil
import structlog

from farm_protocol.audits import SeamReport
from farm_protocol.errors import FarmError
from farm_protocol.records import Lease, OutputFile, TaskKind, TaskOutput
from gpu_worker import outputs
from gpu_worker.failures import Cancelled
from gpu_worker.protocol import Done
from gpu_worker.stage import Stage

log = structlog.get_logger()

Compare = Callable[[tuple[tuple[Path, Path], ...]], tuple[str, ...]]
"""What differs in each pair of files: '' where they show the same."""

OnProgress = Callable[[int, int], None]


class PlainBlender:
    """A Blender beside the one that finishes a frame, which opens the scene meanwhile. `make` gives it a
    stage; `check_wanted` raises Cancelled once the task is stopped. `kill` may be called from any thread.
    """

    def __init__(self, make: Callable[[], Stage], check_wanted: Callable[[], None]) -> None:
        self._make, self._check_wanted = make, check_wanted
        self._pool = ThreadPoolExecutor(1, "plain")
        self._stage: Stage | None = None

    def __enter__(self) -> Self:
        self._opened = self._pool.submit(self._open)
        return self

    def __exit__(self, *_: object) -> None:
        # It may still be opening the scene, for a frame that came to nothing.
        self.kill()
        self._pool.shutdown()
        if self._stage is not None:
            self._stage.close()

    def stage(self) -> Stage:
        """Wait until it has the scene open. Raises TaskError where it cannot."""
        return self._opened.result()

    def kill(self) -> None:
        """End it now."""
        if self._stage is not None:
            self._stage.child.kill()

    def _open(self) -> Stage:
        stage = self._stage = self._make()
        self._check_wanted()
        stage.open()
        return stage


def has_room(stage: Stage) -> bool:
    """Whether this machine has the memory for another Blender with the scene that `stage` holds open: the
    look at the seams must not be what a frame fails for.
    """
    available = int(psutil.virtual_memory().available)
    if available > 2 * stage.child.peak_memory:
        return True
    log.warning("seams_not_looked_at", reason="too little memory", available=available)
    return False


def whole(lease: Lease) -> Lease:
    """The frame as a task for one Blender, which renders it and writes its files."""
    task = replace(lease.task, kind=TaskKind.RENDER, output=TaskOutput.FINAL, tile=lease.area, overscan=0)
    return replace(lease, task=task, inputs=())


def look(
    lease: Lease,
    finished: tuple[Path, Done],
    plain: Callable[[], Stage],
    folder: Path,
    compare: Compare,
    progress: OnProgress,
) -> tuple[SeamReport, tuple[Path, Done]]:
    """Have the Blender of `plain` render the frame whole, and compare. `finished` is the folder that
    finishing wrote to, and what it said; `folder` a new one for copies.

    Returns the report, and what to deliver: where the two differ, the frame of the plain Blender. A frame
    that cannot be rendered or compared twice says nothing about seams. Raises Cancelled.
    """
    try:
        stage = plain()
        output = stage.output()
        rendered = stage.child.render(whole(lease), lease.area, output, progress)
        different = _compared(finished, (output, rendered), folder, compare)
    except Cancelled:
        raise
    except FarmError as error:
        log.warning("seams_not_looked_at", task=lease.task.id, reason=error.sentence)
        return SeamReport(), finished
    report = SeamReport(len(rendered.files), different)
    return report, (output, rendered) if different else finished


def _compared(mine: tuple[Path, Done], plain: tuple[Path, Done], folder: Path, compare: Compare) -> str:
    ours, theirs = sorted(mine[1].files), sorted(plain[1].files)
    if ours != theirs:
        odd = sorted(set(ours) ^ set(theirs))[0]
        return f"'{odd}' is written by only one of the two ways"
    copies = folder / "finished", folder / "plain"
    taken = [
        outputs.take(source, done.files, copy)
        for (source, done), copy in zip((mine, plain), copies, strict=True)
    ]
    names = _unlike(*taken)
    found = compare(tuple((copies[0] / name, copies[1] / name) for name in names))
    return next((f"'{name}' {what}" for name, what in zip(names, found, strict=True) if what), "")


def _unlike(mine: tuple[OutputFile, ...], theirs: tuple[OutputFile, ...]) -> list[str]:
    """Files whose bytes differ: only those need to be decoded."""
    digests = {file.name: file.sha256 for file in theirs}
    return [file.name for file in mine if file.sha256 != digests[file.name]]
