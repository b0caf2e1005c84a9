# SPDX-License-Identifier: GPL-3.0-or-later
"""Rendering frames of a job very small, to learn what they will take.

All samples are taken and adaptive sampling stays as it is: only the resolution is small. The first frame is
rendered at growing sizes until a render is long enough to be measured; others once, at the last size.
"""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import bpy

from gpu_worker.blender.child import rendering
from gpu_worker.blender.child.meter import Meter
from gpu_worker.blender.child.overrides import RENDER, overrides
from gpu_worker.blender.child.rendering import Progress

LEAST_PIXELS = 256
FIRST_SHARE = 64
"""The first render has one in so many of the frame's pixels."""

GROWTH = 4
LARGEST_SHARE = 4
"""No render has more than one in so many."""

LONG_ENOUGH = 0.25
"""Seconds of sampling that are measured well."""

CAREFUL = 0.9
"""Of what a probe may take: how much work a frame is, is not known for certain."""

WITHOUT_SAMPLES = 0.05
"""Seconds that Blender usually takes for the beginning and end of a small render."""

SHARE_OF_JOB = 0.02
"""The most of the job's work that may go into probes, where that is more than a frame's."""


@dataclass(frozen=True)
class Measure:
    """One small render: `seconds` in all, of which `sampling`. `fresh`: its frame was not set before;
    `cold`: nothing of the scene was.
    """

    frame: int
    pixels: int
    seconds: float
    sampling: float
    fresh: bool
    cold: bool


class _Probe:
    """What a probe has measured, and whether it may go on."""

    def __init__(self, command: dict[str, Any], threads: int | None, progress: Progress) -> None:
        self._command, self._threads, self._progress = command, threads, progress
        area = command["area"]
        self._pixels: int = max(1, (area["x1"] - area["x0"]) * (area["y1"] - area["y0"]))
        self.measures: list[Measure] = []
        self.device_memory = 0
        self._seen: set[int] = set()
        self._sizes = [self._small(FIRST_SHARE)]

    def run(self) -> None:
        """Probe the command's frames in their order."""
        first, *others = self._command["frames"]
        self._measure(first, self._sizes[-1])
        while self._may_grow():
            self._sizes.append(min(self._sizes[-1] * GROWTH, self._small(LARGEST_SHARE)))
            self._measure(first, self._sizes[-1])
        for frame in others:
            if not self._is_affordable(self._of_other_frame()):
                break
            self._measure(frame, self._sizes[-1])

    def spent(self) -> float:
        """Seconds so far."""
        return sum(measure.seconds for measure in self.measures)

    def _small(self, share: int) -> int:
        return max(LEAST_PIXELS, self._pixels // share)

    def _may_grow(self) -> bool:
        last, largest = self.measures[-1], self._small(LARGEST_SHARE)
        if last.pixels * 1.5 > largest:
            return False
        if len(self._sizes) == 1 and not last.sampling:
            # Other engines tell nothing of their samples, and are not the same once they are warm.
            return bool(self._command["most_seconds"] > last.seconds)
        if len(self._sizes) > 1 and last.sampling >= LONG_ENOUGH:
            return False
        return self._is_affordable(last.sampling * GROWTH + self._after_sampling())

    def _after_sampling(self) -> float:
        """What a render takes beside its samples; of the first of all only the dear syncing is known."""
        if len(self.measures) == 1:
            return min(WITHOUT_SAMPLES, self.measures[0].seconds - self.measures[0].sampling)
        return min(measure.seconds - measure.sampling for measure in self.measures)

    def _of_other_frame(self) -> float:
        fresh = [one.seconds for one in self.measures if one.fresh and not one.cold]
        return max(fresh, default=self.measures[-1].seconds)

    def _is_affordable(self, seconds: float) -> bool:
        """At most a frame's work, or `SHARE_OF_JOB`; and no longer than the farm lets people wait."""
        last = self.measures[-1]
        frame = last.sampling * self._pixels / last.pixels + self._after_sampling()
        allowed = CAREFUL * max(frame + self._cold(), SHARE_OF_JOB * frame * self._command["total"])
        return bool(self.spent() + seconds <= min(allowed, self._command["most_seconds"]))

    def _cold(self) -> float:
        first = self.measures[0]
        return max(0.0, first.seconds - first.sampling - self._after_sampling())

    def _measure(self, frame: int, pixels: int) -> None:
        cold, fresh = not self.measures, frame not in self._seen
        self._seen.add(frame)
        sampling = _Sampling(self._threads, self._progress)
        command = _small_frame(self._command, pixels)
        meter = Meter(self._threads)
        rendering.start_from_own_settings(command)
        _put_size(command)
        self._render(command | {"frame": frame}, sampling)
        whole = meter.alone()
        in_samples = min(sampling.alone, whole)
        seconds = whole - in_samples + sampling.work
        area = command["area"]
        taken = (area["x1"] - area["x0"]) * (area["y1"] - area["y0"])
        self.measures.append(Measure(frame, taken, seconds, sampling.work, fresh, cold))

    def _render(self, command: dict[str, Any], sampling: "_Sampling") -> None:
        folder = Path(self._command["path"]) / "small"
        folder.mkdir()
        try:
            if command["output"] == "linear":
                rendering.begin_linear(command)
                watch = rendering.linear_picture(command, command["area"], folder / "tile.exr", sampling)
            else:
                watch, _ = rendering.final_frame(command, folder, sampling)
            self.device_memory = max(self.device_memory, watch.device_memory)
        finally:
            shutil.rmtree(folder)


class _Sampling:
    """Counts the time in which samples were taken, from Blender's progress."""

    def __init__(self, threads: int | None, progress: Progress) -> None:
        self._threads, self._progress = threads, progress
        self._done, self._meter = 0, Meter(threads)
        self.work = self.alone = 0.0

    def __call__(self, done: int, total: int) -> None:
        """Each layer begins with 0, and says 0 once more after its last sample."""
        if done > self._done:
            self.work += self._meter.work()
            self.alone += self._meter.alone()
        self._progress(done, total)
        self._done, self._meter = done, Meter(self._threads)


def _small_frame(command: dict[str, Any], pixels: int) -> dict[str, Any]:
    """The command for a frame of about so many pixels."""
    area = command["area"]
    scale = (pixels / max(1, (area["x1"] - area["x0"]) * (area["y1"] - area["y0"]))) ** 0.5
    width, height = (max(1, round(command[name] * scale)) for name in ("width", "height"))
    small = _scaled(area, width / command["width"], height / command["height"], width, height)
    return command | {"width": width, "height": height, "area": small}


def _put_size(command: dict[str, Any]) -> None:
    """Tell Blender the size of a small frame, until the next task."""
    size = {"resolution_x": command["width"], "resolution_y": command["height"], "resolution_percentage": 100}
    for name, value in size.items():
        overrides.put(bpy.context.scene, RENDER, name, value)


def _scaled(area: dict[str, int], across: float, up: float, width: int, height: int) -> dict[str, int]:
    x0, y0 = min(int(area["x0"] * across), width - 1), min(int(area["y0"] * up), height - 1)
    x1, y1 = round(area["x1"] * across), round(area["y1"] * up)
    return {"x0": x0, "y0": y0, "x1": min(max(x1, x0 + 1), width), "y1": min(max(y1, y0 + 1), height)}


def probe(command: dict[str, Any], threads: int | None, speed: int, progress: Progress) -> dict[str, Any]:
    """Probe the frames of a job as the `command` says (gpu_worker/blender/README.md) with so
    many `threads`; `speed` is the device's in micro-units a second, `progress` hears of each small render.
    Raises SceneError.
    """
    asked = _Probe(command, threads, progress)
    asked.run()
    return {
        "speed": speed,
        "measures": [asdict(measure) for measure in asked.measures],
        "seconds": asked.spent(),
        "render_seconds": asked.spent(),
        "peak_memory": rendering.peak_memory(),
        "device_memory": asked.device_memory,
    }
