# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a scene cannot be cut, finished apart, or rendered at all.

A rule looks at the scene and gives a sentence for the artist, or None.
"""

from collections.abc import Callable
from typing import Any

from gpu_worker.child import compositor
from gpu_worker.child.denoising import denoises, is_cut, used_layers
from gpu_worker.child.names import text
from gpu_worker.child.simulations import simulations

Rule = Callable[[Any], str | None]


def sentences(scene: Any, rules: tuple[Rule, ...]) -> list[str]:
    """What the rules say of the scene, in their order."""
    return [sentence for rule in rules if (sentence := rule(scene))]


def _is_cycles(scene: Any) -> bool:
    return bool(scene.render.engine == "CYCLES")


def _path_guiding_whole(scene: Any) -> str | None:
    if _is_cycles(scene) and scene.cycles.use_guiding:
        return "Path guiding learns from the whole picture, so frames are not cut into tiles."
    return None


def _path_guiding(scene: Any) -> str | None:
    if _is_cycles(scene) and scene.cycles.use_guiding:
        return "Path guiding learns while it renders: two runs of Blender differ a little as well."
    return None


def _time_limit_whole(scene: Any) -> str | None:
    if _is_cycles(scene) and scene.cycles.time_limit > 0:
        return "A render time limit counts for the whole picture, so frames are not cut into tiles."
    return None


def _time_limit(scene: Any) -> str | None:
    if _is_cycles(scene) and scene.cycles.time_limit > 0:
        return "A render time limit makes the picture depend on the machine's speed."
    return None


def _adaptive_subdivision(scene: Any) -> str | None:
    for item in scene.objects:
        for modifier in item.modifiers:
            if modifier.type == "SUBSURF" and getattr(modifier, "use_adaptive_subdivision", False):
                return f"'{text(item.name)}' is subdivided by what the camera sees, so frames stay whole."
    return None


def _volumes(scene: Any) -> str | None:
    """Cycles guides volume scattering by filtered neighbour pixels: a tile's edge would show."""
    if _is_cycles(scene) and any(_has_volume(item) for item in scene.objects):
        return "Volumes are sampled with the help of neighbouring pixels, so frames stay whole."
    if _is_cycles(scene) and scene.world and _tree_has_volume(scene.world.node_tree):
        return "The world's volume is sampled with the help of neighbouring pixels, so frames stay whole."
    return None


def _has_volume(item: Any) -> bool:
    if item.type == "VOLUME" or any(modifier.type == "FLUID" for modifier in item.modifiers):
        return True
    materials = (slot.material for slot in item.material_slots if slot.material)
    return any(_tree_has_volume(material.node_tree) for material in materials)


def _tree_has_volume(tree: Any) -> bool:
    outputs = [node for node in tree.nodes if "Volume" in node.inputs] if tree else []
    return any(node.inputs["Volume"].is_linked for node in outputs)


def _engine(scene: Any) -> str | None:
    if not _is_cycles(scene):
        return f"{scene.render.engine} frames are rendered and finished by one Blender."
    return None


def _engine_approximate(scene: Any) -> str | None:
    if not _is_cycles(scene):
        return f"{scene.render.engine} draws with the machine's graphics driver: bits may differ."
    return None


def _sequencer(scene: Any) -> str | None:
    editor = scene.sequence_editor
    if scene.render.use_sequencer and editor and len(editor.strips):
        return "The video sequencer makes the picture, so one Blender renders and finishes each frame."
    return None


def _stereo(scene: Any) -> str | None:
    if scene.render.use_multiview:
        return "Stereo (multi-view) frames are rendered and finished by one Blender."
    return None


def _stamp(scene: Any) -> str | None:
    if scene.render.use_stamp:
        return "Metadata is burnt into the picture, so one Blender renders and finishes each frame."
    return None


def _stamp_changes(scene: Any) -> str | None:
    render = scene.render
    fields = ("date", "render_time", "memory", "hostname", "filename")
    named = [field for field in fields if getattr(render, f"use_stamp_{field}", False)]
    if render.use_stamp and named:
        return f"The burnt-in {', '.join(named).replace('_', ' ')} changes with every render."
    return None


def _optix_denoiser(scene: Any) -> str | None:
    if _is_cycles(scene) and scene.cycles.use_denoising and scene.cycles.denoiser != "OPENIMAGEDENOISE":
        return f"The {scene.cycles.denoiser} denoiser runs inside the render, so frames stay whole."
    return None


def _shadow_catcher(scene: Any) -> str | None:
    denoised = _is_cycles(scene) and scene.cycles.use_denoising
    # Lights carry the same flag, on by default, with another meaning.
    catchers = (item for item in scene.objects if item.type != "LIGHT" and item.is_shadow_catcher)
    if denoised and any(catchers):
        return "Shadow catchers are denoised apart inside the render, so frames stay whole."
    return None


UNEXPOSED = frozenset(
    {"Image", "Alpha", "Noisy Image", "Depth", "Mist", "Normal", "Position", "Vector", "UV"}
    | {"Object Index", "Material Index", "Denoising Normal", "Denoising Albedo", "Denoising Depth"}
)
"""Passes whose stored values film exposure does not touch, or that finishing gives back exactly."""


def _denoised_light_passes(scene: Any) -> str | None:
    if not (_is_cycles(scene) and denoises(scene) and scene.render.use_compositing):
        return None
    for tree in compositor.compositor_trees(scene.compositing_node_group):
        for node in (n for n in tree.nodes if n.bl_idname == "CompositorNodeRLayers"):
            used = {output.name for output in node.outputs if output.is_linked}
            light = {name for name in used - UNEXPOSED if not name.startswith("Crypto")}
            if light:
                name = text(min(light))
                return f"The compositor uses a light pass of a denoised render ({name}): frames stay whole."
    return None


def _sample_counts(scene: Any) -> str | None:
    """Cycles stores counts over the most any pixel took, which a tile cannot know of the frame."""
    counted = any(layer.cycles.pass_debug_sample_count for layer in used_layers(scene))
    if _is_cycles(scene) and counted:
        return "The sample count pass depends on the whole picture, so frames stay whole."
    return None


def _uneven_denoising(scene: Any) -> str | None:
    if not (_is_cycles(scene) and denoises(scene)):
        return None
    cycles = scene.cycles
    if cycles.use_sample_subset or any(layer.samples for layer in used_layers(scene)):
        return "View layers or a sample subset change the samples of a denoised render: frames stay whole."
    render = scene.render
    counted = cycles.use_adaptive_sampling or is_cut(cycles, render.resolution_x, render.resolution_y)
    if counted and cycles.film_exposure != 1.0:
        return "An adaptive or very large denoised render with a film exposure of its own stays whole."
    return None


def _grease_pencil(scene: Any) -> str | None:
    if any(item.type in {"GREASEPENCIL", "GPENCIL"} for item in scene.objects):
        return "Grease Pencil is drawn over the render by Blender itself, so frames stay whole."
    return None


def _single_layer(scene: Any) -> str | None:
    if scene.render.use_single_layer:
        return "'Render Single Layer' is on, so frames stay whole."
    return None


def _foreign_compositor(scene: Any) -> str | None:
    layers = {layer.name for layer in used_layers(scene)}
    if not scene.render.use_compositing:
        return None
    for depth, tree in enumerate(compositor.compositor_trees(scene.compositing_node_group)):
        for node in tree.nodes:
            sentence = _foreign_node(node, scene, layers) or (depth and _nested_node(node))
            if sentence:
                return sentence
    return None


def _nested_node(node: Any) -> str | None:
    """Blender gives these nothing inside a group; what they show is left to Blender."""
    if node.bl_idname in {"CompositorNodeRLayers", "CompositorNodeCryptomatteV2"}:
        return "The compositor reads render layers inside a node group, so frames stay whole."
    return None


def _foreign_node(node: Any, scene: Any, layers: set[str]) -> str | None:
    if node.bl_idname == "CompositorNodeRLayers":
        if node.scene != scene:
            other = text(node.scene.name) if node.scene else "none"
            return f"The compositor reads the layers of another scene ({other}), so frames stay whole."
        if node.mute or node.layer not in layers:
            return "The compositor reads a layer that is not rendered, so frames stay whole."
    is_matte = node.bl_idname == "CompositorNodeCryptomatteV2" and node.source == "RENDER"
    if is_matte and node.scene != scene:
        return "A Cryptomatte node reads another scene, so frames stay whole."
    return None


def _freestyle(scene: Any) -> str | None:
    if scene.render.use_freestyle:
        return "Freestyle runs Python from the file, which the farm never does: switch Freestyle off."
    return None


def _external_engine(scene: Any) -> str | None:
    if scene.render.engine not in {"CYCLES", "BLENDER_EEVEE", "BLENDER_EEVEE_NEXT", "BLENDER_WORKBENCH"}:
        return f"{text(scene.render.engine)} is an add-on; the farm has Cycles, EEVEE and Workbench."
    return None


def _no_layer(scene: Any) -> str | None:
    if not used_layers(scene):
        return "No view layer is set to render: switch one on under View Layer > Use for Rendering."
    return None


def _unbaked(scene: Any) -> str | None:
    loose = [found["owner"] for found in simulations(scene) if not found["baked"]]
    if not loose:
        return None
    names = ", ".join(f"'{name}'" for name in loose[:5]) + (" and more" if len(loose) > 5 else "")
    return (
        f"The simulation on {names} is not baked: frames rendered out of order would be wrong. Bake it first."
    )


def _gpu_compositor(scene: Any) -> str | None:
    if scene.render.use_compositing and scene.render.compositor_device == "GPU":
        return "The compositor is set to GPU; the farm composites on the CPU."
    return None


WHOLE_ONLY = (_path_guiding_whole, _time_limit_whole, _adaptive_subdivision, _volumes)
FINAL_ONLY = (
    _engine,
    _sequencer,
    _stereo,
    _stamp,
    _optix_denoiser,
    _shadow_catcher,
    _denoised_light_passes,
    _uneven_denoising,
    _sample_counts,
    _grease_pencil,
    _single_layer,
    _foreign_compositor,
)
APPROXIMATE = (_engine_approximate, _path_guiding, _time_limit, _stamp_changes)
REFUSED = (_freestyle, _external_engine, _no_layer, _unbaked)
NOTES = (_gpu_compositor,)
