# SPDX-License-Identifier: GPL-3.0-or-later
"""What a check task is about: the submitted tile, the audits' pictures, and what is found in them.

All of them are strangers' files: sizes are bounded before anything is fetched, names are those of the
order and of nobody else.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from farm_protocol.audits import SPARSE, AuditAnswer, CheckReport, Fault, crop_name
from farm_protocol.fields import StoredFile, Tile, encode
from farm_protocol.ids import TaskId
from farm_protocol.records import FailureCode, Lease
from gpu_worker.failures import TaskError
from gpu_worker.picture_requests import Look, LookAudit

MOST_CHANNELS = 512
LARGEST_HEADER = 16 << 20
CHUNK_BYTES = 32
"""Of every chunk of rows: its place in the table, its own head, and what packing may add."""

REPORT = "report.json"
EVIDENCE = re.compile(r"crop-[0-9]{1,3}-(submitted|rendered|difference)\.png")
MOST_EVIDENCE = 200


@dataclass(frozen=True, slots=True)
class Fetch:
    """A file to fetch to `path`, and the task it comes from."""

    task: TaskId
    file: StoredFile
    path: Path


def tile_fetch(lease: Lease, folder: Path) -> Fetch:
    """The tile that a check is about. Raises TaskError(NODE) for a lease that does not say."""
    if lease.check is None or len(lease.inputs) != 1:
        raise TaskError(FailureCode.NODE, "The check does not say which tile to look at.")
    (tile,) = lease.inputs
    return Fetch(tile.task, tile.file, folder / "tile.exr")


def oversized(lease: Lease) -> CheckReport | None:
    """What to say of a tile whose file is too large to be fetched."""
    (tile,) = lease.inputs
    if tile.file.size <= most_bytes(tile.tile):
        return None
    sentence = f"The picture file has {tile.file.size} bytes, which no render of this size has."
    return CheckReport(fault=Fault.TOO_LARGE, detail=sentence)


def most_bytes(tile: Tile) -> int:
    """The most bytes a picture of `tile` may have, in any number of passes a scene has."""
    return LARGEST_HEADER + MOST_CHANNELS * (tile.area * 4 + tile.height * CHUNK_BYTES)


def audit_fetches(lease: Lease, folder: Path) -> tuple[Fetch, ...]:
    """The audits' pictures. Raises TaskError(BAD_INPUT) naming audits that have other files than ordered."""
    assert lease.check is not None
    answers = lease.check.audits
    bad = tuple(answer.task for answer in answers if not _is_as_ordered(answer, lease.task.tile))
    if bad:
        raise TaskError(FailureCode.BAD_INPUT, "An audit's files are not those that were ordered.", bad)
    return tuple(
        Fetch(answer.task, file, _place(folder, number, file.name))
        for number, answer in enumerate(answers)
        for file in answer.files
    )


def _is_as_ordered(answer: AuditAnswer, tile: Tile) -> bool:
    sizes = {crop_name(number): most_bytes(crop) for number, crop in enumerate(answer.order.crops)}
    if answer.order.sparse is not None:
        sizes[SPARSE] = most_bytes(tile)
    named = [file.name for file in answer.files]
    return sorted(named) == sorted(sizes) and all(file.size <= sizes[file.name] for file in answer.files)


def _place(folder: Path, number: int, name: str) -> Path:
    return folder / f"audit-{number}-{name}"


def look_request(lease: Lease, folder: Path, evidence: Path) -> Look:
    """What the picture process is asked; it learns no links."""
    assert lease.check is not None
    audits = tuple(
        LookAudit(
            answer.task,
            answer.order,
            tuple(str(_place(folder, number, crop_name(crop))) for crop in range(len(answer.order.crops))),
            str(_place(folder, number, SPARSE)) if answer.order.sparse else None,
            answer.own,
            answer.same_class,
        )
        for number, answer in enumerate(lease.check.audits)
    )
    return Look(
        path=str(folder / "tile.exr"),
        tile=lease.inputs[0].tile,
        samples=lease.settings.samples,
        pixel_root=lease.check.pixel_root,
        channels=lease.check.channels,
        audits=audits,
        evidence=str(evidence),
        sums=lease.check.sums,
    )


def write_report(report: CheckReport, folder: Path) -> tuple[str, ...]:
    """Put the report beside its evidence; the names of all of them, the report first."""
    (folder / REPORT).write_bytes(encode(report) + b"\n")
    evidence = sorted(path.name for path in folder.iterdir() if EVIDENCE.fullmatch(path.name))
    return (REPORT, *evidence[:MOST_EVIDENCE])
