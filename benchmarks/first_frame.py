# SPDX-License-Identifier: GPL-3.0-or-later
"""How long an artist waits for the first frame, side by side with plain Blender.

    python benchmarks/first_frame.py                  # --runs 3 --megabytes 300 --files 3000 --json

Two scenes are made, one of a few large textures and one of many small ones, anew for each run, so that no
farm knows them; their files have just been written and lie in memory. Then, in turns:

    blender   one process opens the scene, renders frame 1, and ends
    cold      `render-farm render`, no farm running, until the frame is on disk
    warm      the same with `render-farm up` running
    again     the same once more, `--again`, the farm knows the files
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

READ_CHUNK = 1 << 20
WAYS = ("blender", "cold", "warm", "again")

MAKE = """
import sys
from pathlib import Path
import bpy, numpy
folder, count, side, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
random = numpy.random.default_rng(seed)
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.render.engine, scene.cycles.samples = "CYCLES", 1
scene.render.resolution_x = scene.render.resolution_y = 64
camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
camera.location.z = 40
scene.collection.objects.link(camera)
scene.camera = camera
(folder / "textures").mkdir(parents=True)
header = bytes([0, 0, 2] + [0] * 9 + [side % 256, side // 256] * 2 + [24, 0])
for number in range(count):
    path = folder / "textures" / f"{number:04}.tga"
    path.write_bytes(header + random.bytes(side * side * 3))
    material = bpy.data.materials.new(f"material {number}")
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    texture = nodes.new("ShaderNodeTexImage")
    texture.image = bpy.data.images.load(str(path))
    links.new(texture.outputs["Color"], nodes["Principled BSDF"].inputs["Base Color"])
    mesh = bpy.data.meshes.new(f"mesh {number}")
    x, y = number % 55 - 27, number // 55 - 27
    mesh.from_pydata([(x, y, 0), (x + 1, y, 0), (x + 1, y + 1, 0), (x, y + 1, 0)], [], [(0, 1, 2, 3)])
    mesh.uv_layers.new()
    mesh.materials.append(material)
    scene.collection.objects.link(bpy.data.objects.new(f"plane {number}", mesh))
bpy.ops.wm.save_as_mainfile(filepath=str(folder / "scene.blend"), relative_remap=True)
"""

BLENDER = """
import sys, bpy
bpy.ops.wm.open_mainfile(filepath=sys.argv[1])
bpy.context.scene.render.filepath = sys.argv[2]
bpy.ops.render.render(write_still=True)
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """A scene: `count` textures, square, of `side` pixels."""

    name: str
    count: int
    side: int


@dataclass(frozen=True, slots=True)
class Measured:
    """Medians in seconds; `read` is one read of all files."""

    kind: str
    megabytes: float
    files: int
    read: float
    seconds: dict[str, float]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=300, help="of the large textures together")
    parser.add_argument("--files", type=int, default=3000, help="number of small textures")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    kinds = (
        Kind("large", max(1, chosen.megabytes // 50), 4096),
        Kind("small", chosen.files, 32),
    )
    with tempfile.TemporaryDirectory(prefix="ff-") as folder:
        found = [measure(kind, Path(folder) / kind.name, chosen.runs) for kind in kinds if kind.count]
    if chosen.json:
        print(json.dumps([asdict(one) for one in found]))
        return
    for one in found:
        print(f"{one.kind}: {one.files} files, {one.megabytes:.0f} MB, one read {one.read:.2f} s")
        for way, seconds in one.seconds.items():
            over = seconds - one.seconds["blender"]
            ratio = seconds / one.seconds["blender"]
            print(f"  {way:8} {seconds:6.1f} s   {ratio:5.2f} times Blender, {over:+.1f} s")


def measure(kind: Kind, folder: Path, runs: int) -> Measured:
    """All ways in turns, `runs` times."""
    took: dict[str, list[float]] = {way: [] for way in WAYS}
    reads, size = [], 0
    for run in range(runs):
        scene = make(kind, folder / f"scene-{run}", run)
        files = [path for path in scene.parent.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        reads.append(read(files))
        took["blender"].append(blender(scene, folder / f"blender-{run}.png"))
        took["cold"].append(farm(scene, folder / "cold", folder / f"cold-{run}.png"))
        with up(folder / "warm"):
            took["warm"].append(farm(scene, folder / "warm", folder / f"warm-{run}.png"))
            took["again"].append(farm(scene, folder / "warm", folder / f"again-{run}.png", "--again"))
    medians = {way: statistics.median(found) for way, found in took.items()}
    return Measured(kind.name, size / 1e6, kind.count, statistics.median(reads), medians)


def make(kind: Kind, folder: Path, seed: int) -> Path:
    """A scene nobody has seen."""
    words = [str(folder), str(kind.count), str(kind.side), str(seed)]
    subprocess.run([sys.executable, "-c", MAKE, *words], check=True, stdout=subprocess.DEVNULL)
    return folder / "scene.blend"


def read(files: list[Path]) -> float:
    """Seconds of one read of all files."""
    began = time.monotonic()
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.read(READ_CHUNK):
                pass
    return time.monotonic() - began


def blender(scene: Path, output: Path) -> float:
    """Seconds of plain Blender."""
    began = time.monotonic()
    line = [sys.executable, "-c", BLENDER, str(scene), str(output)]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def farm(scene: Path, state: Path, output: Path, *more: str) -> float:
    """Seconds until `render` says that the frame is on disk."""
    words = [
        "render",
        str(scene),
        "--trust-file",
        "--frames",
        "1",
        "--tiles",
        "1x1",
        "--output",
        str(output),
        *more,
    ]
    began, took = time.monotonic(), 0.0
    with subprocess.Popen(
        [sys.executable, "-m", "render_farm", *words, "--state-dir", str(state)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "FIRST_FRAME_LOG" in os.environ:
                print(f"    {time.monotonic() - began:6.2f} {line.rstrip()}", file=sys.stderr)
            if line.startswith("Frame ") and not took:
                took = time.monotonic() - began
    assert process.returncode == 0, words
    return took


@contextmanager
def up(state: Path) -> Iterator[None]:
    """A farm that runs."""
    line = [sys.executable, "-m", "render_farm", "up", "--no-money", "--json", "--state-dir", str(state)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


if __name__ == "__main__":
    main()
