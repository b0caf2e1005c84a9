# SPDX-License-Identifier: GPL-3.0-or-later
"""Denoising after the merge, in the very numbers Cycles denoises in.

With a fixed number of samples n, Cycles does not hand the picture to the denoiser but its render buffer,
which holds sums: the picture is denoise(sum) * (1/n * exposure), and the sum cannot be taken back from a
stored picture by arithmetic that rounds. So such tiles are rendered with a film exposure that makes
Cycles store the sums themselves (1/n * exposure == 1 in float32), and the factor is applied here.
With adaptive sampling, and where Cycles cuts the frame into tiles of its own, each pixel has its own
count: the denoiser sees the stored picture, and its answer is multiplied by count and then by (1/count).
Tiles with adaptive sampling carry the sample count pass, which the node turns into plain numbers (Cycles
stores shares: `most_samples`).
(Read from Cycles' `denoiser_oidn.cpp` and `pass_accessor.cpp`; the exactness tests compare the floats.)
"""

import struct
from typing import Any

from cycles.engine import list_render_passes

from gpu_worker.blender.child.overrides import CYCLES, of_layer, overrides

PREFILTER = {"NONE": "None", "FAST": "Fast", "ACCURATE": "Accurate"}
QUALITY = {"HIGH": "High", "BALANCED": "Balanced", "FAST": "Fast"}


def float32(value: float) -> float:
    """The nearest float32."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def sum_exposure(samples: int) -> float | None:
    """The film exposure at which Cycles stores the plain sum of `samples` samples.

    None for the few numbers (2 in 100) that have none: such frames stay whole
    (`frame_splitter.exactness` knows the same rule).
    """
    scale = float32(1 / samples)
    bits = struct.unpack("I", struct.pack("f", samples))[0]
    for near in (bits, bits - 1, bits + 1):
        exposure = float(struct.unpack("f", struct.pack("I", near))[0])
        if float32(scale * exposure) == 1.0:
            return exposure
    return None


def denoises(scene: Any) -> bool:
    """Whether Cycles would denoise any layer of the scene."""
    return bool(
        scene.cycles.use_denoising and any(layer.cycles.use_denoising for layer in used_layers(scene))
    )


def used_layers(scene: Any) -> list[Any]:
    """The view layers that render."""
    return [layer for layer in scene.view_layers if layer.use]


def counts_each_pixel(scene: Any, area: dict[str, int]) -> bool:
    """Whether Cycles, rendering all of `area` at once, would keep a sample count for each pixel."""
    cycles = scene.cycles
    width, height = area["x1"] - area["x0"], area["y1"] - area["y0"]
    return bool(cycles.use_adaptive_sampling) or is_cut(cycles, width, height)


def is_cut(cycles: Any, width: int, height: int) -> bool:
    """Whether Cycles renders a picture of this size in tiles of its own, through a file on disk.

    Cycles rounds its tile's edge up to 128 pixels and cuts above 8192 pixels in any case.
    """
    edge = min(cycles.tile_size if cycles.tile_size <= 128 else -(-cycles.tile_size // 128) * 128, 8192)
    return bool(cycles.use_auto_tile) and (width * height > edge * edge or max(width, height) > 8192)


def passes_of(scene: Any, layer: Any) -> tuple[tuple[str, str, str], ...]:
    """The passes that Cycles stores of a view layer beside the picture: name, channels and kind."""
    return tuple(list_render_passes(scene, layer))


def store_for_denoising(scene: Any, area: dict[str, int]) -> None:
    """Make a render write what `Scaling` needs instead of denoising itself."""
    if denoises(scene):
        for layer in (layer for layer in scene.view_layers if layer.cycles.use_denoising):
            overrides.put(scene, of_layer(layer), "denoising_store_passes", True)
        if not counts_each_pixel(scene, area):
            overrides.put(scene, CYCLES, "film_exposure", sum_exposure(scene.cycles.samples) or 1.0)
    overrides.put(scene, CYCLES, "use_denoising", False)


def store_sample_counts(scene: Any) -> None:
    """Make a render with adaptive sampling write how many samples each pixel took.

    `Scaling` needs it, and whoever compares two renders: the decision to sample on is made of sums, and on
    GPUs the last bits of those are not the same twice (docs/verification.md). It is written on every
    device, so that tiles and crops of two kinds have the same passes.
    """
    if scene.cycles.use_adaptive_sampling:
        for layer in used_layers(scene):
            overrides.put(scene, of_layer(layer), "pass_debug_sample_count", True)


def most_samples(scene: Any, region: dict[str, int], taken: list[int]) -> dict[str, int]:
    """What the sample counts of a rendered `region` are stored as shares of, by view layer; none where
    they are not stored. `taken`: the most samples a pixel took, one number a layer.

    Where Cycles cuts the region, it reads its own tiles back from a file at last, and the shares are of the
    samples that were asked for (path_trace.cpp, `get_num_render_tile_samples`). Raises ValueError where
    `taken` is not one number a layer.
    """
    layers = used_layers(scene)
    if not any(layer.cycles.pass_debug_sample_count for layer in layers):
        return {}
    if is_cut(scene.cycles, region["x1"] - region["x0"], region["y1"] - region["y0"]):
        return {layer.name: _asked_samples(scene.cycles, layer.samples) for layer in layers}
    return {layer.name: count for layer, count in zip(layers, taken, strict=True)}


def _asked_samples(cycles: Any, of_layer: int) -> int:
    own = cycles.use_layer_samples == "USE" or of_layer < cycles.samples
    ignored = cycles.use_layer_samples == "IGNORE" or not of_layer
    return int(of_layer if own and not ignored else cycles.samples)


class Scaling:
    """How stored pixels become Cycles' picture: settings of the scene at the frame that is finished."""

    def __init__(self, scene: Any, area: dict[str, int]) -> None:
        cycles = scene.cycles
        self.denoised = frozenset(
            layer.name for layer in used_layers(scene) if cycles.use_denoising and layer.cycles.use_denoising
        )
        self._cycles = cycles
        self._adaptive = bool(cycles.use_adaptive_sampling)
        self._samples = cycles.samples
        self._scale = float32(1 / cycles.samples)
        self._counts = counts_each_pixel(scene, area)
        self.factor = 1.0
        if self.denoised and not self._counts:
            self.factor = float32(self._scale * cycles.film_exposure)

    def picture(self, tree: Any, passes: dict[str, Any]) -> Any:
        """The socket that carries the finished picture of a layer whose stored passes are `passes`."""
        denoised = _denoise(tree, self._cycles, passes)
        if not self._counts:
            return _times(tree, denoised, self.factor)
        if not self._adaptive:
            return _times(tree, _times(tree, denoised, float(self._samples)), self._scale)
        count = passes["Debug Sample Count"]
        return _times(tree, _times(tree, denoised, count), _inverse(tree, count))

    def noisy(self, tree: Any, passes: dict[str, Any]) -> Any:
        """The socket that carries the layer's picture before denoising."""
        return _times(tree, passes["Combined"], self.factor)


def _inverse(tree: Any, count: Any) -> Any:
    node = tree.nodes.new("ShaderNodeMath")
    node.operation = "DIVIDE"
    node.inputs[0].default_value = 1.0
    tree.links.new(count, node.inputs[1])
    return node.outputs[0]


def _times(tree: Any, color: Any, factor: Any) -> Any:
    """RGB times a number or a float socket, in float32; alpha stays."""
    if factor == 1.0:
        return color
    node = tree.nodes.new("ShaderNodeMix")
    node.data_type = "RGBA"
    node.blend_type = "MULTIPLY"
    node.inputs["Factor"].default_value = 1.0
    tree.links.new(color, node.inputs["A"])
    if isinstance(factor, float):
        node.inputs["B"].default_value = (factor, factor, factor, 1.0)
    else:
        tree.links.new(factor, node.inputs["B"])
    return node.outputs["Result"]


def _denoise(tree: Any, cycles: Any, passes: dict[str, Any]) -> Any:
    """A Denoise node with the scene's own settings."""
    node = tree.nodes.new("CompositorNodeDenoise")
    tree.links.new(passes["Combined"], node.inputs["Image"])
    if cycles.denoising_input_passes in {"RGB_ALBEDO", "RGB_ALBEDO_NORMAL"}:
        tree.links.new(passes["Denoising Albedo"], node.inputs["Albedo"])
    if cycles.denoising_input_passes == "RGB_ALBEDO_NORMAL":
        tree.links.new(passes["Denoising Normal"], node.inputs["Normal"])
    node.inputs["HDR"].default_value = True
    node.inputs["Prefilter"].default_value = PREFILTER[cycles.denoising_prefilter]
    node.inputs["Quality"].default_value = QUALITY[cycles.denoising_quality]
    return node.outputs["Image"]
