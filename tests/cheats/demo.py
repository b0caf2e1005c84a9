# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m tests.cheats.demo CHEAT`: a farm with an own node and a cheating one renders an animation.

Shows what is rejected and why, and compares the frames with those of plain Blender, pixel by pixel.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from frame_splitter.errors import FarmError
from frame_splitter.fields import decode
from frame_splitter.ids import JobId
from render_farm.cli.console import log_to_stderr
from render_farm.cli.verdicts import Names, sentence
from render_farm.job_events import Event, VerdictEvent
from tests.cheats.cheats import CHEATS
from tests.cheats.farm import CheatedFarm, Story, running
from tests.reference import Plain, assert_same_picture, render_plainly, run

ORBIT = Path(__file__).resolve().parents[2] / "samples" / "orbit.blend"
FRAMES = 12
SETTINGS = {"samples": 16, "resolution_percentage": 25}
PASSES = ("cryptomatte", "depth", "wrong-pass", "missing-pass")
"""These need a scene with passes to falsify."""

SHOWN = {name: cheat for name, cheat in CHEATS.items() if not (cheat.broken or cheat.audits)}


def main() -> int:
    """Run the demo; 1 where a lie was believed or a frame differs."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("cheat", metavar="CHEAT", help=f"one of: {', '.join(SHOWN)}")
    parser.add_argument("--frames", type=int, default=FRAMES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    cheat, frames = options.cheat, tuple(range(1, options.frames + 1))
    if cheat not in SHOWN:
        print(f"There is no cheat {cheat!r}. There are:", file=sys.stderr)
        for name, known in SHOWN.items():
            print(f"  make demo CHEAT={name:24}# {known.what}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="render-farm-demo-") as folder:
        try:
            return _run(cheat, frames, Path(folder))
        except FarmError as error:
            print(f"The demo ended: {error.sentence}", file=sys.stderr)
            return 1


def _run(cheat: str, frames: tuple[int, ...], folder: Path) -> int:
    scene = ORBIT
    if cheat in PASSES:
        scene = folder / "room.blend"
        run("cheats/scene.py", str(scene))
    log_to_stderr("error")
    with running(folder, print) as farm:
        print(f"Two nodes: the farm's own, and a stranger's named liar that {SHOWN[cheat].what}.")
        print(f"Rendering {len(frames)} frames of {scene.name} ...")
        story = farm.render(scene, cheat, _teller(farm), frames=frames, **SETTINGS)
    believed = _tell_of_lies(story, farm.liar.node)
    return int(not _compare(story, scene, frames, folder) or believed)


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


def _tell_of_lies(story: Story, liar: str) -> bool:
    """Whether any lie was believed."""
    verdicts = [one.verdict for one in story.submissions(liar)]
    rejected = [one for one in verdicts if one and one.outcome == "rejected"]
    accepted = [one for one in verdicts if one and one.outcome == "accepted"]
    print(f"The liar lied {len(story.lies)} times: {len(rejected)} rejected, {len(accepted)} accepted.")
    honest = [one for one in story.record.submissions if one.node != liar]
    print(f"All of its work was done again: {len(honest)} tiles by the farm's own node.")
    return bool(accepted)


def _compare(story: Story, scene: Path, frames: tuple[int, ...], folder: Path) -> bool:
    """Whether the frames are plain Blender's."""
    print("Rendering the same frames with plain Blender ...")
    render_plainly(Plain(scene, folder / "plain", frames, **SETTINGS))
    equal = 0
    for number in frames:
        if number not in story.files:
            print(f"  Frame {number} is missing.")
            continue
        try:
            assert_same_picture(story.files[number], folder / "plain" / story.files[number].name)
            equal += 1
        except AssertionError as error:
            print(f"  Frame {number}: {error}")
    print(f"{equal} frames equal Blender's" + ("." if equal == len(frames) else f", of {len(frames)}."))
    return equal == len(frames)


if __name__ == "__main__":
    sys.exit(main())
