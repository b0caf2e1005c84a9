# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps of benchmarks/gpu_check.py for docs/performance.md: kernels, samples a second, audits."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from benchmarks import gpu_check_compare as compare
from benchmarks.gpu_check_child import WITHOUT_SYNC, Child, Region, device_memory, timed
from benchmarks.gpu_check_pictures import CROP, kept
from benchmarks.gpu_check_records import Cell, Device, Row, Scene, Setup
from verification.compare.metrics.difference import different_pixels

MB = 1 << 20
FEWER_ON_CPU = 8
"""A CPU renders that share of the samples: its rate is the same, and there is little time."""

CROPS = 7
"""Of an audit: four that are drawn and three that the sparse pass points at."""


def ready(setup: Setup, device: Device) -> Path:
    """The mark that a device's kernels are compiled."""
    return setup.folder / f"ready-{device.name.replace(' ', '-')}"


def kernels(setup: Setup, device: Device) -> Iterator[Row]:
    """The first render with an empty kernel cache, then that of a fresh process with the filled one."""
    for state in ("empty", "filled"):
        with Child(setup, device) as child:
            first, second = _first_renders(setup, child)
        cells: dict[str, Cell] = {
            "device": device.name,
            "kernel cache": state,
            "first render, s": first,
            "second render, s": second,
            "cache, MB": _size(setup.folder / "kernels") / MB,
        }
        ready(setup, device).touch()
        yield Row("kernels", cells)


def _first_renders(setup: Setup, child: Child) -> tuple[float, float]:
    """Seconds of the first render, with opening the scene, and of the same again."""
    scene = setup.scenes()["orbit"]
    path = kept(setup, child.device, scene, "kernel.exr")
    began = time.monotonic()
    child.open(scene)
    child.tile(scene, path, (0, 0, CROP, CROP))
    first = time.monotonic()
    child.tile(scene, path, (0, 0, CROP, CROP))
    return first - began, time.monotonic() - first


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def large(setup: Setup, device: Device) -> list[Scene]:
    """The scenes that speed is measured with, the most telling first; with fewer samples for a CPU."""
    names = [*(f"large {Path(one).stem}" for one in setup.extra), "large orbit"]
    scenes = setup.scenes()
    share = 1 if device in setup.gpus else FEWER_ON_CPU
    return [replace(scenes[name], samples=max(1, scenes[name].samples // share)) for name in names]


def speed(setup: Setup, device: Device) -> Iterator[Row]:
    """Samples a second of a warm tile, against the CPU's where that was measured before."""
    for scene in large(setup, device):
        with device_memory(device) as memory, Child(setup, device) as child:
            child.open(scene)
            path = kept(setup, device, scene, "speed.exr")
            child.tile(scene, path, (0, 0, CROP, CROP))
            answer = child.tile(scene, path)
        seconds = float(answer["render_seconds"] or answer["seconds"])
        rate = scene.width * scene.height * scene.samples / seconds / 1e6
        yield Row(
            "speed",
            {
                "scene": scene.name,
                "device": device.name,
                "render, s": seconds,
                "million samples/s": rate,
                "against all cores": _against_cores(setup, device, scene, rate),
                "device memory, MB": "-" if device.backend == "CPU" else memory.taken,
                "process memory, MB": answer["peak_memory"] / MB,
            },
        )


def _against_cores(setup: Setup, device: Device, scene: Scene, rate: float) -> Cell:
    """The ratio of rates; the CPU's own is kept."""
    path = setup.folder / f"rate-{scene.name.replace(' ', '-')}.json"
    if device.is_cpu:
        path.write_text(json.dumps(rate))
    return rate / float(json.loads(path.read_text())) if path.is_file() else "not measured"


def audit(setup: Setup, device: Device) -> Iterator[Row]:
    """What an audit of a tile takes of the tile's own time."""
    for scene in large(setup, device)[:1]:
        with Child(setup, device) as child:
            child.open(scene)
            path = kept(setup, device, scene, "audited.exr")
            child.tile(scene, path, (0, 0, CROP, CROP))
            tile = float(child.tile(scene, path)["seconds"])
            spent = float(child.audit(scene, kept(setup, device, scene, "audit"), _spread(scene))["seconds"])
        seconds = {"tile, s": tile, "audit, s": spent, "share": spent / tile}
        yield Row("audit", {"scene": scene.name, "device": device.name, **seconds})


def _spread(scene: Scene) -> list[Region]:
    wide, high = scene.width - CROP, scene.height - CROP
    corners = [(wide * number // CROPS, high * (number * 3 % CROPS) // CROPS) for number in range(CROPS)]
    return [(x, y, x + CROP, y + CROP) for x, y in corners]


def persistent(setup: Setup, device: Device) -> Iterator[Row]:
    """Tiles one after the other in a Blender that keeps its scene synchronised, and in one that does not."""
    if device.program:
        return
    scene = large(setup, device)[0]
    with Child(setup, device) as child:
        kept_synced, synced = _warm(setup, child, scene, "synced.exr")
    with Child(setup, device, WITHOUT_SYNC) as child:
        anew, unsynced = _warm(setup, child, scene, "unsynced.exr")
    different = different_pixels(compare.read(synced), compare.read(unsynced))
    yield Row(
        "persistent",
        {
            "scene": scene.name,
            "device": device.name,
            "with, s a tile": kept_synced,
            "without, s a tile": anew,
            "pixels apart": float(different.mean()),
        },
    )


def _warm(setup: Setup, child: Child, scene: Scene, name: str) -> tuple[float, Path]:
    """Seconds a tile after the first one, and the last picture."""
    child.open(scene)
    path = kept(setup, child.device, scene, name)
    child.tile(scene, path)
    seconds, paths = timed(child, scene, path, 2)
    return seconds, paths[-1]


def pair(setup: Setup, device: Device) -> Iterator[Row]:
    """Two Blenders on one device beside one alone."""
    scene = large(setup, device)[-1]
    with Child(setup, device) as one, Child(setup, device) as other:
        alone, picture = _warm(setup, one, scene, "alone.exr")
        _warm(setup, other, scene, "other.exr")
        with ThreadPoolExecutor() as pool:
            names = ("left.exr", "right.exr")
            paths = [kept(setup, device, scene, name) for name in names]
            jobs = [
                pool.submit(timed, child, scene, path, 3)
                for child, path in zip((one, other), paths, strict=True)
            ]
            both = [job.result() for job in jobs]
    together = max(seconds for seconds, _ in both)
    first = compare.read(picture)
    found = [compare.figures(first, compare.read(done[-1]), scene) for _, done in both]
    yield Row(
        "pair",
        {
            "scene": scene.name,
            "device": device.name,
            "alone, s a tile": alone,
            "two at once, s a tile": together,
            "throughput": 2 * alone / together,
            "crops beyond": f"{sum(one.beyond for one in found)} of {sum(one.blocks for one in found)}",
        },
    )
