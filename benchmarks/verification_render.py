# SPDX-License-Identifier: GPL-3.0-or-later
"""A program: the renders that benchmarks/verification.py replays, honest or not, by the node's own code.

    python benchmarks/verification_render.py BLEND JOBS.json CPU|emulated-gpu

JOBS.json is a list of `{"path", "frame", "settings", "width", "height", "region", "cheat", "subset"}`. What
lies at `path` is not rendered again. One JSON line is printed for each render, with its CPU seconds.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import bpy

from benchmarks.verification_plan import EMULATED
from frame_splitter import exr
from frame_splitter.counts import plain_counts
from gpu_worker.blender.child import rendering
from gpu_worker.blender.child.denoising import store_for_denoising, store_sample_counts
from gpu_worker.blender.child.overrides import CYCLES, overrides
from tests.emulated.child import Emulator

Job = dict[str, Any]
Cheat = Callable[[Any], None]


def fewer_samples(share: float) -> Cheat:
    """Only `share` of the samples; what is stored keeps the scale of all of them."""

    def change(scene: Any) -> None:
        put(scene, samples=max(1, round(scene.cycles.samples * share)))

    return change


def one_less(scene: Any) -> None:
    """All samples but one."""
    put(scene, samples=scene.cycles.samples - 1)


def put(scene: Any, **settings: object) -> None:
    """Change what the farm has set, in the way that the farm does: it ends a render that was set back."""
    for name, value in settings.items():
        overrides.put(scene, CYCLES, name, value)


def denoised(scene: Any) -> None:
    """An eighth of the samples, denoised by Cycles."""
    fewer_samples(1 / 8)(scene)
    put(scene, use_denoising=True)
    scene.cycles.denoising_use_gpu = False
    for layer in scene.view_layers:
        layer.cycles.use_denoising = True


def other_seed(scene: Any) -> None:
    """Another seed."""
    put(scene, seed=scene.cycles.seed + 1)


def fewer_bounces(scene: Any) -> None:
    """One bounce in all."""
    scene.cycles.max_bounces = 1


def one_bounce_less(scene: Any) -> None:
    """The last bounce of each kind is left out."""
    for kind in ("max_bounces", "diffuse_bounces", "glossy_bounces", "transmission_bounces"):
        setattr(scene.cycles, kind, getattr(scene.cycles, kind) - 1)


def no_textures(scene: Any) -> None:
    """Every texture is unplugged; where there is none, every shader's colours are its plain ones."""
    trees = [material.node_tree for material in bpy.data.materials if material.node_tree]
    links = [(tree, link) for tree in trees for link in tree.links]
    textures = [(tree, link) for tree, link in links if link.from_node.bl_idname.startswith("ShaderNodeTex")]
    textures = [(tree, link) for tree, link in textures if "TexCoord" not in link.from_node.bl_idname]
    for tree, link in textures or [pair for pair in links if pair[1].to_socket.name == "Base Color"]:
        tree.links.remove(link)
    if not textures:
        for tree in trees:
            for node in tree.nodes:
                for socket in node.inputs:
                    if socket.name in {"Base Color", "Color"} and socket.type == "RGBA":
                        socket.default_value = (0.5, 0.5, 0.5, 1)


CHEATS: dict[str, Cheat] = {
    "": lambda scene: None,
    "half samples": fewer_samples(1 / 2),
    "3/4 samples": fewer_samples(3 / 4),
    "60/64 samples": fewer_samples(60 / 64),
    "all samples but one": one_less,
    "1/8 + denoise": denoised,
    "other seed": other_seed,
    "fewer bounces": fewer_bounces,
    "one bounce less": one_bounce_less,
    "no textures": no_textures,
}


class Renderer:
    """Renders jobs in one Blender that keeps its scene warm as a node's does."""

    def __init__(self, blend: str, threads: int, device: str) -> None:
        self._blend = blend
        self._threads = threads
        self._emulator = Emulator(rendering) if device == EMULATED else None
        self._opened: str | None = None
        self._subset: tuple[int, int] | None = None
        rendering.store_for_denoising = self._prepare
        self._cheat = ""

    def open(self, cheat: str) -> float:
        """Load the scene unless it is loaded for this cheat; CPU seconds."""
        began = time.process_time()
        if cheat != self._opened:
            rendering.open_scene(self._blend)
            rendering.use_device("CPU", 0, self._threads)
            self._opened = cheat
            if self._emulator:
                self._emulator.forget()
        return time.process_time() - began

    def render(self, job: Job) -> float:
        """Render one job; CPU seconds."""
        self._cheat, subset = job["cheat"], job.get("subset")
        self._subset = tuple(subset) if subset else None
        began = time.process_time()
        command = {name: job[name] for name in ("frame", "settings", "width", "height", "region", "area")}
        command |= {"output": "linear", "path": job["path"], "tile": job["area"]}
        answer = rendering.render_frame(command, lambda done, total: None)
        cpu = time.process_time() - began
        if answer["samples"]:
            path = Path(job["path"])
            exr.write(path, plain_counts(exr.read(path), answer["samples"]))
        return cpu

    def _prepare(self, scene: Any, area: dict[str, int]) -> None:
        """What `store_for_denoising` does, then what a cheat or a sparse pass changes."""
        store_for_denoising(scene, area)
        CHEATS[self._cheat](scene)
        if self._subset:
            store_sample_counts(scene)
            offset, length = self._subset
            put(scene, use_sample_subset=True, sample_offset=offset, sample_subset_length=length)
            put(scene, use_adaptive_sampling=False)


def main() -> None:
    """Render what is not there yet."""
    blend, jobs = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    renderer = Renderer(blend, int(os.environ.get("THREADS", "1")), sys.argv[3])
    for job in jobs:
        path = Path(job["path"])
        if path.exists():
            continue
        loading = renderer.open(job["cheat"])
        job["path"] = str(path.with_suffix(".part"))
        cpu = renderer.render(job)
        Path(job["path"]).rename(path)
        print(json.dumps({"path": str(path), "cpu": cpu, "load": loading}), flush=True)


if __name__ == "__main__":
    main()
