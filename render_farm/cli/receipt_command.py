# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm receipt`: a frame's receipt checked on this machine, without any farm."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from farm_protocol.errors import FarmError
from render_farm.cli.console import Console
from render_farm.cli.log_watch import compared
from render_farm.cli.receipts import address, beside, is_file, read_bounded, read_receipt, shortened
from render_farm.embedded.supervisor import state_folder
from render_farm.wording import counted

if TYPE_CHECKING:
    from verification.receipt_records import Receipt

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class FrameBeside:
    """The frame that lies beside its receipt, and whether it is the file the receipt names."""

    path: str
    matches: bool


@dataclass(frozen=True, slots=True)
class ReceiptChecked:
    """What `receipt verify --json` answers. Where the file is no receipt at all, only `file` and `problems`
    say something. `detection` are pairs of cheated share and chance of meeting it, in a million.
    """

    file: str
    holds: bool
    problems: tuple[str, ...]
    farm: str = ""
    job: str = ""
    scene: str = ""
    frame: int = 0
    tiles: int = 0
    nodes: int = 0
    audited: int = 0
    refused: int = 0
    exactness: str = ""
    device_class: str = ""
    sha256: str = ""
    detection: tuple[tuple[int, int], ...] = ()
    beside: FrameBeside | None = None


def run(chosen: argparse.Namespace, console: Console) -> int:
    """Check a receipt; 1 when something is wrong with it."""
    checked = _checked(chosen.file, address(chosen.farm), state_folder(chosen.state_dir).path)
    console.result(checked, "\n".join(_lines(checked, bool(chosen.farm))))
    return 0 if checked.holds else 1


def _checked(path: Path, farm: str | None, state: Path) -> ReceiptChecked:
    from verification.receipts import verify  # noqa: PLC0415 - takes long to load
    from verification.witness import SplitView  # noqa: PLC0415

    document = read_bounded(path)
    try:
        receipt = read_receipt(document)
    except FarmError as error:
        return ReceiptChecked(str(path), False, (error.sentence,))
    problems = verify(document, farm)
    try:
        if not problems:
            compared(state, receipt)
    except SplitView as error:
        problems.append(error.sentence)
    found = _frame_beside(path, receipt)
    if found is not None and not found.matches:
        problems.append(f"{found.path} is not the file the receipt is about.")
    return _described(path, receipt, tuple(problems), found)


def _frame_beside(path: Path, receipt: "Receipt") -> FrameBeside | None:
    frame = beside(path)
    return None if frame is None else FrameBeside(str(frame), is_file(frame, receipt.files[0].sha256))


def _described(
    path: Path, receipt: "Receipt", problems: tuple[str, ...], found: FrameBeside | None
) -> ReceiptChecked:
    return ReceiptChecked(
        file=str(path),
        holds=not problems,
        problems=problems,
        farm=receipt.farm,
        job=receipt.job,
        scene=receipt.scene,
        frame=receipt.frame,
        tiles=len(receipt.tiles),
        nodes=len({tile.node for tile in receipt.tiles}),
        audited=sum(tile.audited for tile in receipt.tiles),
        refused=len(receipt.refused),
        exactness=receipt.exactness.value,
        device_class=receipt.device_class,
        sha256=receipt.files[0].sha256,
        detection=receipt.detection,
        beside=found,
    )


def _lines(checked: ReceiptChecked, farm_named: bool) -> Iterator[str]:
    if not checked.holds:
        yield f"{checked.file} does not hold:"
        yield from (f"  {problem}" for problem in shortened(list(checked.problems)))
        return
    yield f"{checked.file} holds."
    yield f"  Frame {checked.frame} of job {checked.job}, {checked.exactness}, on {checked.device_class}."
    yield f"  Scene {checked.scene}"
    yield f"  File  {checked.sha256}{_compared(checked.beside)}"
    hint = "" if farm_named else " (--farm compares it with the one you know)"
    yield f"  Signed by the farm {checked.farm}{hint}."
    yield f"  {_work(checked)}"
    yield "  Checked: the signatures of farm, nodes and auditors; that each submission was in the farm's log"
    yield "  before its beacon round was out; that the rounds' values chose what was audited, and where."
    yield f"  {_chances(checked)}"


def _compared(found: FrameBeside | None) -> str:
    return " (the frame itself is not beside the receipt)" if found is None else f", as {found.path} is"


def _work(checked: ReceiptChecked) -> str:
    tiles, nodes = counted(checked.tiles, "tile"), counted(checked.nodes, "node")
    refused = f"; {counted(checked.refused, 'submission')} refused before" if checked.refused else ""
    return f"{tiles} by {nodes}, {checked.audited} audited{refused}."


def _chances(checked: ReceiptChecked) -> str:
    """What the audit rates of this frame alone would have met, of cheats that touch every pixel."""
    chances = dict(checked.detection)
    whole, tenth = chances.get(MILLION, 0), chances.get(MILLION // 10, 0)
    return (
        f"A cheat on all of its tiles would have met an audit with a chance of {whole / 1e4:.4g} %, one on a "
        f"tenth of them with {tenth / 1e4:.4g} %."
    )
