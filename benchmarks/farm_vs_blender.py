# SPDX-License-Identifier: GPL-3.0-or-later
"""The same frames by one Blender, by a Blender for each frame, and by the farm, side by side.

    python benchmarks/farm_vs_blender.py bmw27.blend                     12 frames, then one tiled still
    python benchmarks/farm_vs_blender.py bmw27.blend --runs 3 --frames 1-4

(a) one Blender process that loops over the frames with all cores
(b) one Blender process for each frame, as farms do that start Blender for every task
(c) the farm with one-thread slots, its services up; from submitting to the last file on disk. Before each
    run it renders a frame of another scene, so that nothing of the measured one is warm.

The ways take turns, so that what else the machine does falls on all of them. Ratios of medians are printed;
seconds depend on the machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PLAIN = ROOT / "tests" / "support" / "plain_blender.py"
OTHER_SCENE = ROOT / "samples" / "layers.blend"
FARM = (sys.executable, "-m", "render_farm")


@dataclass(frozen=True)
class Work:
    """What is rendered each time."""

    scene: Path
    frames: tuple[int, ...]
    samples: int
    tiles: str


@dataclass(frozen=True)
class Run:
    """One run of one way: seconds, and how busy the slots were (the farm only)."""

    seconds: float
    efficiency: float = 0.0


def plain(work: Work, frames: tuple[int, ...], folder: Path) -> None:
    """One Blender process."""
    job = {"blend": str(work.scene), "frames": frames, "folder": str(folder), "samples": work.samples}
    subprocess.run([sys.executable, str(PLAIN), json.dumps(job)], check=True, capture_output=True)


def one_process(work: Work, folder: Path) -> Run:
    """(a)."""
    began = time.monotonic()
    plain(work, work.frames, folder)
    return Run(time.monotonic() - began)


def process_per_frame(work: Work, folder: Path) -> Run:
    """(b)."""
    began = time.monotonic()
    for frame in work.frames:
        plain(work, (frame,), folder)
    return Run(time.monotonic() - began)


def farm_run(state: Path) -> Callable[[Work, Path], Run]:
    """(c), on the farm that runs on `state`."""

    def run(work: Work, folder: Path) -> Run:
        command(
            state,
            "render",
            OTHER_SCENE,
            "--trust-file",
            "--frames",
            1,
            "--samples",
            1,
            "--output",
            folder / "other_####",
        )
        frames = ",".join(map(str, work.frames))
        options = ("--frames", frames, "--samples", work.samples, "--tiles", work.tiles)
        answer = command(state, "render", work.scene, "--trust-file", *options, "--output", folder / "####")
        return Run(answer["wall_seconds"], answer["efficiency"])

    return run


def command(state: Path, *words: object) -> dict[str, Any]:
    """One command of the farm, with --json."""
    line = [*FARM, *map(str, words), "--state-dir", str(state), "--json"]
    done = subprocess.run(line, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@contextmanager
def farm_up(state: Path, slots: int) -> Iterator[None]:
    """The farm's services, up."""
    line = [*FARM, "up", "--slots", str(slots), "--state-dir", str(state), "--json"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        if not process.stdout.readline():
            raise SystemExit("The farm did not start.")
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


Ways = dict[str, Callable[[Work, Path], Run]]


def measure(ways: Ways, work: Work, runs: int) -> dict[str, list[Run]]:
    """Every way `runs` times, by turns."""
    results: dict[str, list[Run]] = {name: [] for name in ways}
    for number in range(runs):
        for name, way in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                results[name].append(way(work, Path(folder)))
            print(f"  run {number + 1}, {name}: {results[name][-1].seconds:.1f} s", file=sys.stderr)
    return results


def report(title: str, results: dict[str, list[Run]]) -> None:
    """Medians, spans, and the farm's ratio to each other way."""
    print(f"\n{title}")
    medians = {name: statistics.median(run.seconds for run in runs) for name, runs in results.items()}
    for name, runs in results.items():
        low, high = min(run.seconds for run in runs), max(run.seconds for run in runs)
        print(f"  {name:<24} {medians[name]:6.1f} s   ({low:.1f} to {high:.1f})")
    farm = next(name for name in medians if name.startswith("(c)"))
    for name in (name for name in medians if name != farm):
        print(f"  {farm[:3]} / {name[:3]}  {medians[farm] / medians[name]:.2f}")
    print(f"  efficiency {statistics.median(run.efficiency for run in results[farm]):.2f}")


def parse_frames(words: str) -> tuple[int, ...]:
    """`1-12`, or a list with commas."""
    first, _, last = words.partition("-")
    return tuple(range(int(first), int(last) + 1)) if last else tuple(map(int, words.split(",")))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scene", type=Path)
    parser.add_argument("--frames", type=parse_frames, default=parse_frames("1-12"))
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--still-samples", type=int, default=64)
    parser.add_argument("--slots", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args()
    scene = chosen.scene.resolve()
    with tempfile.TemporaryDirectory() as state, farm_up(Path(state), chosen.slots):
        farm = farm_run(Path(state))
        ways: Ways = {
            "(a) one process": one_process,
            "(b) a process a frame": process_per_frame,
            "(c) farm": farm,
        }
        animation = Work(scene, chosen.frames, chosen.samples, "auto")
        results = measure(ways, animation, chosen.runs)
        report(f"{scene.stem}: {len(chosen.frames)} frames, {chosen.samples} samples", results)
        still = Work(scene, chosen.frames[:1], chosen.still_samples, "4x2")
        ways = {"(a) one process": one_process, "(c) farm, 4x2 tiles": farm}
        results = measure(ways, still, chosen.runs)
        report(f"{scene.stem}: one still, {chosen.still_samples} samples, 4x2 tiles", results)


if __name__ == "__main__":
    main()
