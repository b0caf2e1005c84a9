# SPDX-License-Identifier: GPL-3.0-or-later
"""What `render-farm render` answers with."""

import os
from dataclasses import dataclass

from payments.statements import Statement
from render_farm.answers import AuditCounts
from render_farm.cli.fetching import receipt_path
from render_farm.cli.following import Outcome
from render_farm.cli.paid.statement_text import sums_text
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
    `efficiency` is the pure render time spent meanwhile over slots times wall time. `notes` are on files
    that were not fetched, `receipt_notes` on frames that can have no receipt; `doubts` say what is wrong with
    receipts. `statement` is that of a paid job.
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
    receipt_notes: tuple[str, ...] = ()
    statement: Statement | None = None


def result_of(
    outcome: Outcome, wall: float, rendered: float, slots: int, statement: Statement | None
) -> RenderResult:
    """The answer, from a job that ended well."""
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
    said = [note for fetched in outcome.frames.values() for note in fetched.refused]
    lacking = {one.receipt.note for one in outcome.frames.values() if one.receipt}
    return RenderResult(
        job=outcome.job.job,
        exactness=outcome.job.exactness.value,
        reason=outcome.job.reason,
        wall_seconds=round(wall, 3),
        slots=slots,
        efficiency=round(rendered / (slots * wall), 4) if wall > 0 else 0.0,
        frames=frames,
        other_files=tuple(path for frame in frames for path in frame.other_files),
        notes=tuple(note for note in said if note not in lacking),
        receipt_notes=tuple(note for note in said if note in lacking),
        audits=outcome.job.audits,
        doubts=tuple(doubt for fetched in outcome.frames.values() for doubt in fetched.doubts),
        statement=statement,
    )


def summary(result: RenderResult) -> str:
    """The answer in words."""
    if not result.frames:
        return "No frames."
    first, last = result.frames[0].path, result.frames[-1].path
    where = first if len(result.frames) == 1 else f"{first} ... {last}"
    frames = counted(len(result.frames), "frame")
    said = f"{frames} in {result.wall_seconds:.1f} s ({result.exactness}): {where}\n{_verified(result)}"
    return f"{said}\n\n{sums_text(result.statement)}" if result.statement else said


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
