# SPDX-License-Identifier: GPL-3.0-or-later
"""A Blender child that is a GPU, as far as pixels go:
`gpu-worker run --no-sandbox --child-program tests/emulated/child.py`.

Each sample is rendered by itself on the CPU and added in an order that is each pixel's own and another each
time, as float atomics add (tests/emulated/film.py has how each pass is read). A sample's own contributions to
a pass (emission, each bounce's light) stay one addend. The stop decisions of adaptive sampling are made from
such sums.

With cryptomattes of several layers, samples come in pairs: Blender 5.0 does not survive one by itself. Some
scenes are not taken apart: volumes, layers with samples of their own, adaptive sampling of a subset, or in
several layers with cryptomattes. There the picture is the CPU's, its sums perturbed within what an order
does. What Cycles itself denoises, whole frames and finishing are the CPU's own.

A number in EMULATED_GPU_SEED makes the orders of one process repeatable; with `in-order` there it adds as a
CPU does.
"""

import json
import os
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy

from farm_protocol.fields import Tile
from frame_splitter import exr
from frame_splitter.exr import Image
from frame_splitter.tiles import relative
from gpu_worker import blender_child
from tests.emulated import film, sums
from tests.emulated.film import Film
from tests.emulated.stopping import Rule
from verification.passes import kind_of, pass_name

Command = dict[str, Any]

SEED = "EMULATED_GPU_SEED"
IN_ORDER = "in-order"
KEPT = 2
"""Regions whose samples are kept."""

WHOLE_TILE = 256 * 256
"""Pixels up to which all crops of a tile are cut from samples of the tile."""


class Emulated(blender_child.Child):
    """Renders linear pictures as a GPU does."""

    def __init__(self, events: Any) -> None:
        super().__init__(events)
        self.emulator = Emulator(self.rendering)

    def ready(self) -> None:
        app = self.bpy.app
        self.say("ready", blender=app.version_string, build=app.build_hash.decode(), emulates="gpu")

    def _load(self, blend: str) -> None:
        super()._load(blend)
        self.emulator.forget()


class Emulator:
    """Stands in for `rendering.linear_picture`."""

    def __init__(self, rendering: Any) -> None:
        from gpu_worker.child.denoising import used_layers
        from gpu_worker.child.overrides import CYCLES, IMAGE, overrides

        self._rendering, self._layers, self._overrides = rendering, used_layers, overrides
        self._cycles, self._image = CYCLES, IMAGE
        self._plainly = rendering.linear_picture
        rendering.linear_picture = self.picture
        self._kept: OrderedDict[str, dict[int, Image]] = OrderedDict()
        self._own: list[str] = []
        self._seed, self._drawn = os.environ.get(SEED), 0

    def forget(self) -> None:
        """Another scene was opened, or this one afresh."""
        self._kept.clear()
        self._own.clear()

    def random(self) -> sums.Random:
        """Another order each time."""
        if self._seed == IN_ORDER:
            return None
        self._drawn += 1
        return numpy.random.default_rng([int(self._seed), self._drawn] if self._seed else None)

    @property
    def _scene(self) -> Any:
        return self._rendering.bpy.context.scene

    def picture(
        self, command: Command, region: dict[str, int], path: Path, progress: Callable[[int, int], None]
    ) -> Any:
        """Render `region` of the frame that was begun to `path`."""
        scene = self._scene
        if scene.cycles.use_denoising:
            return self._plainly(command, region, path, progress)
        if not can_be_taken_apart(scene, self._layers(scene)):
            return self._perturbed(command, region, path, progress)
        if not self._own:
            layers = self._layers(scene)
            self._own = [one[0] for layer in layers for one in self._rendering.passes_of(scene, layer)]
        own = self._own
        named = frozenset(aov.name for layer in self._layers(scene) for aov in layer.aovs)
        whole = None
        if any(film.is_whole(name, Film(1, own=named)) for name in own):
            self._plainly(command, region, path, progress)
            whole = exr.read(path)
        watch = self._rendering.Watch(first=time.monotonic())
        first, samples = self._range(scene)
        chunk = 2 if self._pairs(scene) else 1
        addends = self._addends(command, region, first, samples, chunk, progress)
        taken = Film(samples, scene.cycles.film_exposure, chunk, named, self._rule(scene))
        done = film.added(addends, taken, self.random(), whole)
        exr.write(path, kept(done.image, own))
        watch.last = time.monotonic()
        watch.counts = [done.most[layer.name] for layer in self._layers(scene)]
        return watch

    def _perturbed(self, command: Command, region: dict[str, int], path: Path, progress: Any) -> Any:
        watch = self._plainly(command, region, path, progress)
        random, samples = self.random(), self._scene.cycles.samples

        def change(part: str, name: str, pixels: Any) -> Any:
            kind = kind_of(pass_name(part, name))
            still = kind in film.FIRST_SAMPLE | film.COUNTED or kind.startswith("Crypto") or pixels.min() < 0
            return pixels if still else sums.perturbed(pixels, samples, random)

        image = exr.read(path)
        parts = tuple(
            replace(part, channels={name: change(part.name, name, px) for name, px in part.channels.items()})
            for part in image.parts
        )
        exr.write(path, replace(image, parts=parts))
        return watch

    # --- settings ------------------------------------------------------------------------------------

    def _range(self, scene: Any) -> tuple[int, int]:
        """The first sample and how many."""
        cycles = scene.cycles
        if not cycles.use_sample_subset:
            return 0, cycles.samples
        first = min(cycles.sample_offset, cycles.samples - 1)
        return first, max(1, min(cycles.sample_subset_length, cycles.samples - first))

    def _rule(self, scene: Any) -> Rule | None:
        cycles = scene.cycles
        if not cycles.use_adaptive_sampling:
            return None
        return Rule.of(cycles.samples, cycles.adaptive_threshold, cycles.adaptive_min_samples)

    def _pairs(self, scene: Any) -> bool:
        return len(self._layers(scene)) > 1 and any(map(has_mattes, self._layers(scene)))

    @contextmanager
    def _apart(self) -> Iterator[Any]:
        """The scene set so that samples are stored by themselves, as they are; then as it was."""
        scene, put = self._scene, self._overrides.put
        cycles = ("film_exposure", "use_adaptive_sampling", "use_sample_subset")
        cycles += ("sample_offset", "sample_subset_length")
        before = {name: getattr(scene.cycles, name) for name in cycles}
        codec = scene.render.image_settings.exr_codec
        for name, value in (
            ("film_exposure", 1.0),
            ("use_adaptive_sampling", False),
            ("use_sample_subset", True),
        ):
            put(scene, self._cycles, name, value)
        put(scene, self._image, "exr_codec", "NONE")
        for layer in self._layers(scene):
            for light in film.LIGHTS:
                kind = light.lower()
                if any(getattr(layer, f"use_pass_{kind}_{part}") for part in ("direct", "indirect")):
                    setattr(layer, f"use_pass_{kind}_color", True)
        try:
            yield scene
        finally:
            for name, value in before.items():
                put(scene, self._cycles, name, value)
            put(scene, self._image, "exr_codec", codec)

    # --- samples ----------------------------------------------------------------------------------------

    def _addends(
        self, command: Command, region: dict[str, int], first: int, samples: int, chunk: int, progress: Any
    ) -> list[Image]:
        """Pictures of `region`, each of `chunk` samples; the last may have one more."""
        tile = command.get("tile") or command.get("region", region)
        whole = Tile(**tile) if _covers(tile, region) else Tile(**region)
        cycles = self._scene.cycles
        key = json.dumps(
            [
                command["frame"],
                command["settings"],
                command.get("asked"),
                cycles.samples,
                cycles.seed,
                chunk,
                *whole_of(whole),
            ]
        )
        known = self._kept.setdefault(key, {})
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        begins = list(range(first, first + max(1, samples // chunk) * chunk, chunk))
        ends = [*begins[1:], first + samples]
        found = []
        with self._apart() as scene:
            for number, (begin, end) in enumerate(zip(begins, ends, strict=True)):
                place = begin if end - begin == chunk else -begin - 1
                if place not in known:
                    known[place] = self._rendered(command, whole, begin, end - begin, scene)
                progress(number + 1, len(begins))
                found.append(exr.crop(known[place], relative(Tile(**region), whole)))
        return found

    def _rendered(self, command: Command, whole: Tile, first: int, count: int, scene: Any) -> Image:
        self._overrides.put(scene, self._cycles, "sample_offset", first)
        self._overrides.put(scene, self._cycles, "sample_subset_length", count)
        path = Path(command["path"])
        path = (path if path.is_dir() else path.parent) / "sample.exr"
        box = dict(zip(("x0", "y0", "x1", "y1"), whole_of(whole), strict=True))
        self._plainly(command, box, path, lambda done, total: None)
        image = exr.read(path)
        path.unlink()
        return image


def whole_of(tile: Tile) -> tuple[int, int, int, int]:
    """A tile's edges."""
    return tile.x0, tile.y0, tile.x1, tile.y1


def _covers(tile: dict[str, int], region: dict[str, int]) -> bool:
    """Whether samples of the tile may serve for the region."""
    pixels = (tile["x1"] - tile["x0"]) * (tile["y1"] - tile["y0"])
    inside = all(tile[name] <= region[name] for name in ("x0", "y0"))
    return pixels <= WHOLE_TILE and inside and all(region[name] <= tile[name] for name in ("x1", "y1"))


def kept(image: Image, passes: list[str]) -> Image:
    """The picture without the colours that were only rendered to divide by."""
    parts = tuple(
        replace(
            part, channels={n: px for n, px in part.channels.items() if kind_of(pass_name("", n)) in passes}
        )
        for part in image.parts
    )
    return replace(image, parts=parts)


def has_mattes(layer: Any) -> bool:
    """Whether a layer stores a cryptomatte."""
    return any(getattr(layer, f"use_pass_cryptomatte_{kind}") for kind in ("object", "material", "asset"))


def can_be_taken_apart(scene: Any, layers: list[Any]) -> bool:
    """Whether samples rendered by themselves are those of the picture."""
    cycles = scene.cycles
    if cycles.use_adaptive_sampling and (
        cycles.use_sample_subset or (len(layers) > 1 and any(map(has_mattes, layers)))
    ):
        return False
    if cycles.use_layer_samples != "IGNORE" and any(layer.samples for layer in layers):
        return False
    return not has_volumes()


def has_volumes() -> bool:
    """Whether anything of the file may be a volume."""
    import bpy

    if len(bpy.data.volumes):
        return True
    trees = [
        one.node_tree for group in (bpy.data.materials, bpy.data.worlds) for one in group if one.node_tree
    ]
    outputs = [node for tree in trees for node in tree.nodes if node.bl_idname.startswith("ShaderNodeOutput")]
    return any(node.inputs["Volume"].is_linked for node in outputs if "Volume" in node.inputs)


if __name__ == "__main__":
    blender_child.Child = Emulated
    blender_child.main()
