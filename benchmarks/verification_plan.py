# SPDX-License-Identifier: GPL-3.0-or-later
"""What benchmarks/verification.py renders: scenes, honest and cheated tiles, crops and sparse passes."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from farm_protocol.audits import Sums
from farm_protocol.fields import Tile
from frame_splitter.tiles import relative, with_overscan
from verification.sampling import AuditPolicy, cells, side_of

ROOT = Path(__file__).resolve().parent.parent
RENDERER = ROOT / "benchmarks" / "verification_render.py"
SHARED = ROOT.parent / "shared" / "scenes"

CHEATS = (
    "half samples",
    "3/4 samples",
    "60/64 samples",
    "all samples but one",
    "1/8 + denoise",
    "other seed",
    "fewer bounces",
    "one bounce less",
    "no textures",
)
"""Rendered by verification_render.py; other frame and half size are renders of their own."""

EMULATED = "emulated-gpu"
"""The device of tests/emulated, which adds a pixel's samples in any order."""

SMALL = 0.42
"""How much smaller the pictures of a short run are, by their edge."""

Job = dict[str, Any]

POLICY = AuditPolicy()


@dataclass(frozen=True)
class Scene:
    """A scene at one size. `percentage` of `width` x `height`; `overscan` of adaptive tiles in pixels, and
    their noise `threshold`.
    """

    name: str
    blend: Path
    width: int
    height: int
    percentage: int
    samples: int
    frame: int = 1
    overscan: int = 0
    threshold: float | None = None

    @property
    def sums(self) -> Sums:
        """What bounds the rounding on a device that adds in any order."""
        return Sums(self.samples, noise_threshold=self.threshold)

    @property
    def small(self) -> "Scene":
        """At the size of a short run."""
        return replace(self, percentage=round(self.percentage * SMALL))

    @property
    def tile(self) -> Tile:
        """The whole frame is one tile."""
        return Tile(0, 0, self.width * self.percentage // 100, self.height * self.percentage // 100)

    @property
    def half(self) -> "Scene":
        """At half the size."""
        return replace(self, percentage=self.percentage // 2, overscan=0)


def scenes(variants: Path) -> list[Scene]:
    """All scenes; those of tests/variants/ lie in `variants`. orbit is the one nothing was tuned on."""
    samples = ROOT / "samples"
    return [
        Scene("bmw27", SHARED / "bmw27.blend", 480, 270, 100, 64),
        Scene("cubes", SHARED / "cubes.blend", 4096, 2160, 12, 64),
        Scene("layers", samples / "layers.blend", 480, 270, 100, 32),
        Scene("plain", variants / "plain.blend", 64, 48, 750, 64, 4),
        Scene("light groups", variants / "light_groups_and_aov.blend", 64, 48, 750, 32, 4),
        Scene("motion blur", variants / "motion_blur.blend", 64, 48, 750, 32, 4),
        Scene("two layers", variants / "two_layers_cryptomatte_outputs.blend", 64, 48, 750, 32, 4),
        Scene("adaptive", samples / "defaults.blend", 1920, 1080, 24, 64, overscan=3, threshold=0.01),
        Scene("orbit", samples / "orbit.blend", 640, 360, 76, 32),
    ]


@dataclass(frozen=True)
class Counts:
    """How much is rendered of each scene beside the cheats."""

    crops: int = 360
    sparse: int = 40


class Shelf:
    """Where a scene's renders on a device lie, and what they cost."""

    def __init__(self, folder: Path, scene: Scene, device: str = "CPU") -> None:
        size = f"{scene.tile.width}x{scene.tile.height}"
        self.folder = folder / f"{scene.name.replace(' ', '_')}-{size}-{device}"
        self.scene, self.device = scene, device
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def costs(self) -> Path:
        """One JSON line for each render."""
        return self.folder / "costs.jsonl"

    def node(self) -> list[Job]:
        """The tile, honest and cheated; another frame; half the size."""
        scene = self.scene
        jobs = [self._job(scene, "tile.exr")]
        jobs += [self._job(scene, f"{slug(cheat)}.exr", cheat=cheat) for cheat in CHEATS]
        jobs.append(self._job(scene, "other_frame.exr", frame=scene.frame + 1))
        jobs.append(self._job(scene.half, "half_size.exr"))
        return jobs

    def auditor(self, counts: Counts) -> list[Job]:
        """Sparse passes and crops: the first in order of sample, the second at random."""
        chosen = random.Random(self.scene.name)
        scene = self.scene
        few = POLICY.sparse_samples
        first = chosen.sample(range(scene.samples - few + 1), min(counts.sparse, scene.samples - few + 1))
        jobs = [self._job(scene, "first.exr", subset=(0, few))]
        jobs += [self._job(scene, f"sparse_{k:03}.exr", subset=(k, few)) for k in sorted(first)]
        grid = list(cells(scene.tile, side_of(scene.tile, POLICY)))
        for number, cell in enumerate(chosen.sample(grid, min(counts.crops, len(grid)))):
            region = with_overscan(cell, scene.overscan, scene.tile)
            jobs.append(self._job(scene, f"crop_{number:03}_{cell.x0}_{cell.y0}.exr", region=region))
        return jobs

    def _job(self, scene: Scene, name: str, **more: Any) -> Job:
        tile = scene.tile
        settings = {
            "samples": scene.samples,
            "seed": 0,
            "resolution_percentage": scene.percentage,
            "format": "PNG",
        }
        job = {"path": str(self.folder / name), "frame": scene.frame, "settings": settings, "cheat": ""}
        job |= {"width": tile.width, "height": tile.height, "region": tile, "area": tile} | more
        return job | {"region": asdict(job["region"]), "area": asdict(tile)}

    def render(self, counts: Counts, cheats: bool = True) -> None:
        """Render what is missing: the node's tiles in one process, the auditor's in another."""
        for number, jobs in enumerate((self.node() if cheats else self.node()[:1], self.auditor(counts))):
            left = [job for job in jobs if not Path(job["path"]).exists()]
            if left:
                self._run(left, self.folder / f"jobs_{number}.json")

    def _run(self, jobs: list[Job], file: Path) -> None:
        print(f"{self.scene.name}: {len(jobs)} renders", file=sys.stderr, flush=True)
        file.write_text(json.dumps(jobs))
        line = [sys.executable, str(RENDERER), str(self.scene.blend), str(file), self.device]
        with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout
            with self.costs.open("a") as costs:
                for text in process.stdout:
                    if text.startswith('{"path"'):
                        costs.write(text)
                        costs.flush()
        if process.returncode:
            raise SystemExit(f"Rendering {self.scene.name} failed: run {' '.join(line)} to see why.")

    def paths(self, pattern: str) -> Iterator[Path]:
        """Renders by name."""
        return iter(sorted(self.folder.glob(pattern)))


def crop_place(path: Path, scene: Scene) -> Tile:
    """The cell that an auditor's crop shows, from its name."""
    x, y = (int(word) for word in path.stem.split("_")[2:])
    side = side_of(scene.tile, POLICY)
    return Tile(x, y, min(x + side, scene.tile.x1), min(y + side, scene.tile.y1))


def crop_inner(path: Path, scene: Scene) -> Tile:
    """The cell within the crop's picture, which has overscan around it."""
    cell = crop_place(path, scene)
    return relative(cell, with_overscan(cell, scene.overscan, scene.tile))


def slug(cheat: str) -> str:
    """A cheat as a file name."""
    return cheat.replace("/", "_of_").replace(" ", "_").replace("+", "and")
