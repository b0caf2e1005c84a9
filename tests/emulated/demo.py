# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m tests.emulated.demo`: honest nodes that add in any order, as GPUs do, every tile audited.

Says how many tiles were audited, how far apart their floats were, and that nobody was rejected; then compares
the frames with those of plain Blender, and leaves them in out/demo-DEVICE/.
"""

import argparse
import shutil
import sys
from pathlib import Path

from farm_protocol.audits import Sums
from tests.cheats.farm import CPU, EMULATED, CheatedFarm, Story, running
from tests.demos import show
from tests.emulated.frames import apart
from tests.reference import Plain, render_plainly, run
from verification.metrics.rounding import hard_bound
from verification.records import SubmissionRecord

AUDITED = 200
SAMPLES = 8
FRAMES = tuple(range(1, 15))
TILES = "4x4"


def main() -> int:
    """Run the demo; 1 where anybody was rejected or a frame is another."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--device", choices=(EMULATED, CPU), default=EMULATED)
    parser.add_argument("--audited", type=int, default=AUDITED, help="how many tiles at least")
    parser.add_argument("--output", type=Path, help="where the frames are left")
    options = parser.parse_args()
    output = options.output or Path("out", f"demo-{options.device.lower()}")
    return show(lambda folder: _run(options.device, options.audited, folder, output), options.device)


def _run(device: str, wanted: int, folder: Path, output: Path) -> int:
    scene = folder / "room.blend"
    run("cheats.scene", str(scene))
    stories: list[Story] = []
    with running(folder, print, device=device) as farm:
        print(f"Two nodes render on {device}: the farm's own, and a stranger's, whose every tile is audited.")
        while not stories or len(_audited(stories)) < wanted:
            stories.append(_job(farm, scene, min(len(FRAMES), -(-wanted // 8))))
            print(f"  {len(_audited(stories))} tiles were audited.", flush=True)
    print("Rendering the frames with plain Blender ...")
    told, same = _tell(stories), _compare(stories[0], scene, folder)
    _leave(stories[0], output)
    return int(not (told and same))


def _job(farm: CheatedFarm, scene: Path, frames: int) -> Story:
    return farm.render(scene, "", frames=FRAMES[:frames], tiles=TILES, samples=SAMPLES)


def _audited(stories: list[Story]) -> list[SubmissionRecord]:
    """The submissions that were compared with an audit."""
    return [one for story in stories for one in story.record.submissions if one.report and one.report.crops]


def _tell(stories: list[Story]) -> bool:
    """Whether nobody was rejected, and no job fell back to whole frames."""
    audited = _audited(stories)
    crops = [crop for one in audited if one.report for crop in one.report.crops]
    outcomes = [one.verdict.outcome for one in audited if one.verdict]
    rejected = len(outcomes) - outcomes.count("accepted")
    print(
        f"{len(audited)} tiles were audited in {len(crops)} crops: {rejected} rejected. "
        f"{sum(crop.different for crop in crops)} pixels differed by more than the order of sums explains; "
        f"the largest difference was {100 * max(crop.bound for crop in crops):.1f} % of that."
    )
    fallbacks = {story.fallback for story in stories if story.fallback}
    for sentence in fallbacks:
        print(sentence)
    return not rejected and not fallbacks


def _compare(story: Story, scene: Path, folder: Path) -> bool:
    """Whether the frames are plain Blender's up to the order of their sums."""
    frames = tuple(sorted(story.files))
    render_plainly(Plain(scene, folder / "plain", frames, samples=SAMPLES))
    found = [apart(path, folder / "plain" / path.name, SAMPLES) for path in story.files.values()]
    pixels, of = sum(one.pixels for one in found), sum(one.of for one in found)
    share = max(one.share for one in found)
    print(
        f"{len(frames)} frames beside those of one Blender on the CPU: {pixels} of {of} pixels differ "
        f"({100 * pixels / of:.0f} %), by at most {100 * share:.1f} % of what the order of sums explains: "
        f"about {share * hard_bound(Sums(SAMPLES)) * 1e7:.1f}e-7 of a pixel's light."
    )
    return share <= 1


def _leave(story: Story, output: Path) -> None:
    """Copy the frames to where they outlive the demo."""
    output.mkdir(parents=True, exist_ok=True)
    paths = [Path(shutil.copy(path, output)) for _, path in sorted(story.files.items())]
    print(f"The frames are in {output}/ - open {paths[0]}")


if __name__ == "__main__":
    sys.exit(main())
