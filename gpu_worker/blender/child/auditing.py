# SPDX-License-Identifier: GPL-3.0-or-later
"""Rendering a few crops of a tile with all samples, and all of it with a few samples.

All in the Blender that keeps the scene warm, and in one go: a small crop costs little more than Blender's
own beginning and end of a render.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy

from gpu_worker.blender.child import rendering
from gpu_worker.blender.child.overrides import CYCLES, overrides
from gpu_worker.blender.child.rendering import Progress, Watch


def audit_tile(command: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Render what is to be compared with a tile (gpu_worker/blender/README.md).

    Returns files (crops in order, then the sparse pass), seconds, peak memory in bytes, and the most
    samples a pixel took by layer, for each file. Raises SceneError.
    """
    started = time.monotonic()
    rendering.start_from_own_settings(command)
    rendering.begin_linear(command)
    render_seconds = 0.0
    files, samples = [], []
    for path, region, watch in _pictures(command, _Overall(command, progress)):
        files.append(path.name)
        samples.append(rendering.samples_by_layer(watch, region))
        render_seconds += watch.seconds
    return {
        "files": files,
        "seconds": time.monotonic() - started,
        "render_seconds": render_seconds,
        "samples_of_each": samples,
        "peak_memory": rendering.peak_memory(),
    }


def _pictures(command: dict[str, Any], overall: "_Overall") -> Iterator[tuple[Path, dict[str, int], Watch]]:
    folder, samples = Path(command["path"]), command["settings"]["samples"]
    for number, crop in enumerate(command["crops"]):
        path = folder / f"crop-{number}.exr"
        yield path, crop, rendering.linear_picture(command, crop, path, overall.next(samples))
    if command["sparse"] is not None:
        first, count = command["sparse"]["first"], command["sparse"]["count"]
        own = _own_samples()
        _take_few_samples(own, first, count)
        path = folder / "sparse.exr"
        region = command["region"]
        yield path, region, rendering.linear_picture(command, region, path, overall.next(count))
        if first and _has_first_sample_passes():
            # Beside what is delivered: the node takes the passes from it that only the first sample writes.
            _take_few_samples(own, 0, count)
            beside = folder / "first.exr"
            rendering.linear_picture(command, command["region"], beside, overall.next(count))


def _has_first_sample_passes() -> bool:
    """Whether a layer has passes that Cycles writes with a pixel's first sample (`compare.passes`)."""
    names = ("use_pass_z", "use_pass_position", "use_pass_object_index", "use_pass_material_index")
    layers = bpy.context.scene.view_layers
    return any(getattr(layer, name) for layer in layers if layer.use for name in names)


def _own_samples() -> tuple[int, int]:
    """The first sample of every pixel that the file takes, and how many it takes."""
    cycles = bpy.context.scene.cycles
    if not cycles.use_sample_subset:
        return 0, cycles.samples
    begin = min(cycles.sample_offset, cycles.samples - 1)
    return begin, max(1, min(cycles.sample_subset_length, cycles.samples - begin))


def _take_few_samples(own: tuple[int, int], first: int, count: int) -> None:
    """Take only some samples of every pixel, the very ones a tile has, and all else as a tile is rendered.

    They are counted from the first of the file's `own`. Layers with fewer samples of their own would be
    black beyond them, so all layers take the scene's.
    """
    begin, available = own
    count = min(count, available)
    few = {
        "use_adaptive_sampling": False,
        "use_layer_samples": "IGNORE",
        "use_sample_subset": True,
        "sample_offset": begin + min(first % available, available - count),
        "sample_subset_length": count,
    }
    for name, value in few.items():
        overrides.put(bpy.context.scene, CYCLES, name, value)


class _Overall:
    """Progress over all pictures of an audit, which Blender counts one by one."""

    def __init__(self, command: dict[str, Any], progress: Progress) -> None:
        sparse = 2 * command["sparse"]["count"] if command["sparse"] else 0
        self._total = command["settings"]["samples"] * len(command["crops"]) + sparse
        self._progress = progress
        self._done = self._next = 0

    def next(self, samples: int) -> Progress:
        """Progress of the next picture, which takes so many samples of each layer."""
        before, self._next = self._next, self._next + samples

        def advance(done: int, _: int) -> None:
            self._done = min(max(self._done, before + done), self._next)
            self._progress(self._done, self._total)

        return advance
