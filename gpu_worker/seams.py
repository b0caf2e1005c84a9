# SPDX-License-Identifier: GPL-3.0-or-later
"""The look at the seams: a finished frame beside the one that a fresh, plain Blender renders and writes.

Whatever was forgotten in cutting, merging, denoising, compositing and naming shows here.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import structlog

from frame_splitter.audits import SeamReport
from frame_splitter.records import Lease, OutputFile, TaskKind, TaskOutput
from gpu_worker import outputs
from gpu_worker.failures import Cancelled, TaskError
from gpu_worker.protocol import Done
from gpu_worker.stage import Stage

log = structlog.get_logger()

Compare = Callable[[tuple[tuple[Path, Path], ...]], tuple[str, ...]]
"""What differs in each pair of files: '' where they show the same."""

OnProgress = Callable[[int, int], None]


def whole(lease: Lease) -> Lease:
    """The frame as a task for one Blender, which renders it and writes its files."""
    task = replace(lease.task, kind=TaskKind.RENDER, output=TaskOutput.FINAL, tile=lease.area, overscan=0)
    return replace(lease, task=task, inputs=())


def look(
    lease: Lease,
    finished: tuple[Path, Done],
    stage: Stage,
    folder: Path,
    compare: Compare,
    progress: OnProgress,
) -> tuple[SeamReport, tuple[Path, Done]]:
    """Have `stage`'s Blender render the frame whole, and compare. `finished` is the folder that finishing
    wrote to, and what it said; `folder` a new one for copies.

    Returns the report, and what to deliver: where the two differ, the frame of the plain Blender. A frame
    that cannot be rendered or compared twice says nothing about seams. Raises Cancelled.
    """
    try:
        output = stage.output()
        rendered = stage.child.render(whole(lease), lease.area, output, progress)
        different = _compared(finished, (output, rendered), folder, compare)
    except Cancelled:
        raise
    except TaskError as error:
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
