# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m tests.cheats.demo CHEAT`: a farm with an own node and a cheating one renders an animation.

Shows what is rejected and why, and compares the frames with those of plain Blender, pixel by pixel.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from farm_protocol.fields import decode
from farm_protocol.ids import JobId
from payments import amounts
from payments.statements import Statement
from render_farm.cli.verdicts import Names, sentence
from render_farm.job_events import Event, VerdictEvent
from tests.cheats.cheats import CHEATS
from tests.cheats.farm import CPU, EMULATED, CheatedFarm, Story, running
from tests.demos import show
from tests.emulated.frames import apart
from tests.reference import Plain, assert_same_picture, render_plainly, run

ORBIT = Path(__file__).resolve().parents[2] / "samples" / "orbit.blend"
FRAMES = 12
BUDGET = "10"
SLASH_SECONDS = 30.0
SETTINGS = {"samples": 16, "resolution_percentage": 25}
PASSES = ("cryptomatte", "depth", "wrong-pass", "missing-pass")
"""These need a scene with passes to falsify."""

SHOWN = {name: cheat for name, cheat in CHEATS.items() if not (cheat.broken or cheat.audits)}


def main() -> int:
    """Run the demo; 1 where a lie was believed or a frame differs."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("cheat", metavar="CHEAT", help=f"one of: {', '.join(SHOWN)}")
    parser.add_argument("--device", choices=(CPU, EMULATED), default=CPU, help="what both nodes render on")
    parser.add_argument("--frames", type=int, default=FRAMES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    cheat, frames = options.cheat, tuple(range(1, options.frames + 1))
    if cheat not in SHOWN:
        print(f"There is no cheat {cheat!r}. There are:", file=sys.stderr)
        for name, known in SHOWN.items():
            print(f"  make demo CHEAT={name:24}# {known.what}", file=sys.stderr)
        return 2
    return show(lambda folder: _run(cheat, frames, options.device, folder), options.device)


def _run(cheat: str, frames: tuple[int, ...], device: str, folder: Path) -> int:
    scene = ORBIT
    if cheat in PASSES:
        scene = folder / "room.blend"
        run("cheats.scene", str(scene))
    with running(folder, print, money=True, device=device) as farm:
        print(f"Two nodes sell: the farm's own, and a stranger's named liar that {SHOWN[cheat].what} ...")
        print("... but for its first frame, so that it is paid for something.")
        print(f"Rendering {len(frames)} frames of {scene.name} ...")
        paying = farm.paying(BUDGET, _indented)
        story = farm.render(scene, cheat, _teller(farm), paying, frames=frames, **SETTINGS)
        story.statement = _after_the_slash(farm, story)
    believed = _tell_of_lies(story, farm.liar.node)
    whole = _tell_of_money(story, farm.liar.node)
    same = _same_up_to_sums if device == EMULATED else assert_same_picture
    return int(not _compare(story, scene, frames, folder, same) or believed or not whole)


def _indented(text: str) -> None:
    print(f"  {text}")


def _teller(farm: CheatedFarm) -> Callable[[Event], None]:
    """Says what an artist and the nodes' owners should know of an event."""
    names: dict[str, Names] = {}

    def hear(event: Event) -> None:
        data = json.loads(event.data)
        if event.kind == "job":
            names.setdefault("job", Names(farm.client, JobId(data["job"])))
        if event.kind == "verdict":
            verdict = decode(event.data, VerdictEvent)
            told = sentence(verdict, names["job"]) if "job" in names else verdict.reason
            if told:
                print(f"  {told}")
        elif event.kind == "frame":
            print(f"  Frame {data['frame']} is {data['state']}.")

    return hear


def _after_the_slash(farm: CheatedFarm, story: Story) -> Statement:
    """The statement once the slash was carried out, which takes a moment longer than the job."""
    assert story.statement is not None
    end = time.monotonic() + SLASH_SECONDS
    while True:
        statement = farm.client.statement(story.statement.job)
        if statement.compensated or not story.lies or time.monotonic() > end:
            return statement
        time.sleep(0.2)


def _tell_of_lies(story: Story, liar: str) -> bool:
    """Whether any lie was believed."""
    lied = {(lie.frame, lie.region) for lie in story.lies}
    false = [one for one in story.submissions(liar) if (one.task.frame, one.task.tile) in lied]
    outcomes = [one.verdict.outcome for one in false if one.verdict]
    rejected, accepted = outcomes.count("rejected"), outcomes.count("accepted")
    print(f"The liar lied {len(story.lies)} times: {rejected} rejected, {accepted} accepted.")
    honest = [one for one in story.record.submissions if one.node != liar]
    print(f"What it lied about was done again; {len(honest)} tiles came from the farm's own node.")
    return accepted > 0


def _tell_of_money(story: Story, liar: str) -> bool:
    """Whether the deposit went where it belongs, and the liar's stake paid for its lie."""
    statement = story.statement
    assert statement is not None

    def said(amount: int) -> str:
        return f"{amounts.format(amount, statement.decimals)} {statement.symbol}"

    print(
        f"The deposit of {said(statement.deposit)}: {said(statement.paid)} paid for accepted work, "
        f"{said(statement.refunded)} back with the artist."
    )
    (line,) = [one for one in statement.nodes if one.node == liar]
    print(f"The liar was paid {said(line.paid)} for honest tiles, and nothing for false ones.")
    for slash in statement.transactions:
        if slash.kind == "slashed" and slash.amount:
            print(f"It lost {said(slash.amount)} of its stake: transaction {slash.transaction}.")
    print(f"The artist got {said(line.compensated)} of that, the price of the tile; the rest was burned.")
    if statement.refundable:
        print(f"{said(statement.refundable)} come back when the liar's time to claim is over.")
    parts = statement.paid + statement.refunded + statement.refundable
    return parts == statement.deposit and line.slashed > 0 and line.compensated > 0


def _same_up_to_sums(one: Path, other: Path) -> None:
    """Raises AssertionError where two frames differ by more than the order of their sums."""
    found = apart(one, other, SETTINGS["samples"])
    assert found.share <= 1, f"differs by {found.share:.1f} times what the order of its sums explains"


def _compare(
    story: Story,
    scene: Path,
    frames: tuple[int, ...],
    folder: Path,
    same: Callable[[Path, Path], None],
) -> bool:
    """Whether the frames are plain Blender's."""
    print("Rendering the same frames with plain Blender ...")
    render_plainly(Plain(scene, folder / "plain", frames, **SETTINGS))
    equal = 0
    for number in frames:
        if number not in story.files:
            print(f"  Frame {number} is missing.")
            continue
        try:
            same(story.files[number], folder / "plain" / story.files[number].name)
            equal += 1
        except AssertionError as error:
            print(f"  Frame {number}: {error}")
    how = " up to the order of sums" if same is _same_up_to_sums else ""
    print(f"{equal} frames equal Blender's{how}" + ("." if equal == len(frames) else f", of {len(frames)}."))
    return equal == len(frames)


if __name__ == "__main__":
    sys.exit(main())
