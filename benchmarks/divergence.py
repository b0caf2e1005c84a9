# SPDX-License-Identifier: GPL-3.0-or-later
"""How far renders of one frame lie apart: repeated, in fresh processes, cut into crops, on other devices.

    python benchmarks/divergence.py samples/orbit.blend bmw27.blend
    python benchmarks/divergence.py samples/orbit.blend --devices CPU,CUDA,OPTIX --samples 64 --json

Audits compare floats for float within a device class, so a class is only as good as its rows here: 0 pixels
apart. Every GPU owner can add rows to docs/exactness.md: the last lines of the output are in its format. The
node's own child code renders; only devices that Cycles sees are measured, the others are named.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from frame_splitter import exr  # noqa: E402
from frame_splitter.fields import Tile  # noqa: E402
from gpu_worker.config import cores  # noqa: E402
from gpu_worker.devices import Choice, instruction_set, nvidia_gpus  # noqa: E402

CROP = 16


@dataclass(frozen=True)
class Device:
    """A backend and the CPU threads beside it. `old`: Cycles is told that the processor has no AVX2, so
    that it takes the kernel of older ones (its own debugging switch).
    """

    backend: str
    threads: int
    old: bool = False

    @property
    def name(self) -> str:
        """For the table."""
        if self.backend == "CPU":
            instructions = "sse4.2" if self.old else instruction_set()
            return f"CPU {instructions}, {self.threads} thread{'s' if self.threads > 1 else ''}"
        gpus = nvidia_gpus()
        return f"{self.backend} {gpus[0][0]}, driver {gpus[0][1]}" if gpus else self.backend


@dataclass(frozen=True)
class Row:
    """Two renders side by side. `different` is the share of pixels with any float apart, `largest` the
    largest difference in the Combined pass, `relative` its RMSE over the mean.
    """

    scene: str
    first: str
    second: str
    how: str
    different: float
    largest: float
    relative: float


# --- in a process of its own: the node's child code -----------------------------------------------------


def render(order: dict[str, Any]) -> None:
    """Render what the order says, in this process, as a node's Blender child would."""
    import bpy  # noqa: PLC0415

    from gpu_worker.child import rendering  # noqa: PLC0415

    rendering.open_scene(order["scene"])
    rendering.use_device(order["backend"], 0, order["threads"])
    scene = bpy.context.scene
    scene.render.resolution_percentage = 100
    scene.render.resolution_x, scene.render.resolution_y = order["size"]
    scene.cycles.use_adaptive_sampling = False
    width, height = order["size"]
    whole = {"x0": 0, "y0": 0, "x1": width, "y1": height}
    settings = {
        "samples": order["samples"],
        "seed": scene.cycles.seed,
        "resolution_percentage": 100,
        "format": "PNG",
    }
    for path, region in order["renders"]:
        command = {
            "frame": scene.frame_current,
            "settings": settings,
            "width": width,
            "height": height,
            "area": whole,
            "region": region or whole,
            "output": "linear",
            "path": path,
        }
        rendering.render_frame(command, lambda done, total: None)


# --- the benchmark --------------------------------------------------------------------------------------


class Renders:
    """Renders of one scene, made when asked for and read back."""

    def __init__(self, scene: Path, samples: int, size: tuple[int, int], folder: Path) -> None:
        self.scene, self.samples, self.size, self.folder = scene, samples, size, folder

    def make(self, device: Device, name: str, regions: list[dict[str, int] | None]) -> list[exr.Image]:
        """One process on `device` that renders the regions (None: the frame), one after the other.

        Raises SystemExit with Blender's last words where the device cannot be used.
        """
        paths = [self.folder / f"{self.scene.stem}-{name}-{number}.exr" for number in range(len(regions))]
        order = {
            "scene": str(self.scene),
            "samples": self.samples,
            "size": self.size,
            "backend": device.backend,
            "threads": device.threads,
            "renders": [(str(path), region) for path, region in zip(paths, regions, strict=True)],
        }
        command = [sys.executable, __file__, "--render", json.dumps(order)]
        variables = os.environ | ({"CYCLES_CPU_NO_AVX2": "1"} if device.old else {})
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise SystemExit(f"{device.name}: {last}")
        return [exr.read(path) for path in paths]


def compare(first: exr.Image, second: exr.Image) -> tuple[float, float, float]:
    """Share of pixels that differ in any float of any pass; of Combined the largest difference and the
    RMSE over the mean.
    """
    apart = numpy.zeros((first.height, first.width), bool)
    combined: list[tuple[Any, Any]] = []
    for mine, theirs in zip(first.parts, second.parts, strict=True):
        for name, pixels in mine.channels.items():
            other = theirs.channels[name]
            bits = f"u{pixels.dtype.itemsize}"
            apart |= pixels.view(bits) != other.view(bits)
            if "Combined" in name and name[-1] in "RGB":
                combined.append((pixels.astype(float), other.astype(float)))
    mine_all, theirs_all = (numpy.stack(side) for side in zip(*combined, strict=True))
    errors = mine_all - theirs_all
    mean = float(numpy.mean(numpy.abs(mine_all))) or 1.0
    return float(apart.mean()), float(numpy.abs(errors).max()), float(numpy.sqrt((errors**2).mean())) / mean


def crops(size: tuple[int, int]) -> list[Tile]:
    """Five crops across the frame."""
    width, height = size
    corners = [
        (int((width - CROP) * part), int((height - CROP) * part)) for part in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    return [Tile(x, y, x + CROP, y + CROP) for x, y in corners]


def rows_of(renders: Renders, devices: list[Device]) -> Iterator[Row]:
    """All rows of one scene."""
    name = renders.scene.stem
    frames: dict[Device, exr.Image] = {}
    for device in devices:
        areas: list[dict[str, int] | None] = [None, None, *(asdict(crop) for crop in crops(renders.size))]
        file = f"{device.backend}-{device.threads}-{device.old}"
        frame, again, *cut = renders.make(device, f"{file}-a", areas)
        (fresh,) = renders.make(device, f"{file}-b", [None])
        frames[device] = frame
        yield Row(name, device.name, device.name, "again in the same process", *compare(frame, again))
        yield Row(name, device.name, device.name, "in a fresh process", *compare(frame, fresh))
        pairs = [
            compare(exr.crop(fresh, crop), part) for crop, part in zip(crops(renders.size), cut, strict=True)
        ]
        worst = tuple(max(pair[index] for pair in pairs) for index in range(3))
        yield Row(name, device.name, device.name, "crops against a fresh process's frame", *worst)
    first, *others = devices
    for other in others:
        yield Row(name, first.name, other.name, "frame", *compare(frames[first], frames[other]))


def usable(wanted: list[str]) -> tuple[list[Device], list[str]]:
    """The devices Cycles can use here, and sentences about those it cannot."""
    check = (
        "import json, sys; import bpy; p = bpy.context.preferences.addons['cycles'].preferences\n"
        "p.refresh_devices(); print('FOUND', json.dumps(sorted({d.type for d in p.devices})))"
    )
    answer = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout
    line = next(line for line in answer.splitlines() if line.startswith("FOUND "))
    found = set(json.loads(line.removeprefix("FOUND "))) | {"CPU"}
    devices = [Device("CPU", 1)] if "CPU" in wanted else []
    if devices and cores() > 1:
        devices.append(Device("CPU", cores()))
    if devices and instruction_set() in {"avx2", "avx512"}:
        devices.append(Device("CPU", 1, old=True))
    devices += [Device(backend, 1) for backend in wanted if backend != "CPU" and backend in found]
    missing = [f"{backend}: not measured, Cycles sees no such device here." for backend in wanted]
    return devices, [line for line in missing if line.partition(":")[0] not in found]


def table(rows: list[Row]) -> str:
    """The rows as docs/exactness.md has them."""
    lines = [
        "| scene | render | against | how | pixels apart | largest | RMSE / mean |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        figures = f"{row.different:.4%} | {row.largest:.3g} | {row.relative:.3g}"
        lines.append(f"| {row.scene} | {row.first} | {row.second} | {row.how} | {figures} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenes", nargs="*", type=Path, default=[ROOT / "samples" / "orbit.blend"])
    parser.add_argument("--devices", default=",".join(one for one in Choice if one is not Choice.AUTO))
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--size", default="160x90")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--render", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.render:
        render(json.loads(chosen.render))
        return
    width, _, height = chosen.size.partition("x")
    devices, missing = usable(chosen.devices.split(","))
    if not devices:
        raise SystemExit(" ".join(missing))
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for scene in chosen.scenes:
            print(
                f"{scene.stem} on {', '.join(one.name for one in devices)} ...", file=sys.stderr, flush=True
            )
            renders = Renders(scene.resolve(), chosen.samples, (int(width), int(height)), Path(folder))
            rows += rows_of(renders, devices)
    for line in missing:
        print(line, file=sys.stderr)
    print(json.dumps([asdict(row) for row in rows], indent=1) if chosen.json else table(rows))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
