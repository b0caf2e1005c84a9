# SPDX-License-Identifier: GPL-3.0-or-later
"""What a .blend is and needs, as plain JSON (`farm_protocol/facts.py` names the fields)."""

import math
import os
from collections.abc import Iterator
from itertools import islice
from typing import Any

import bpy

from gpu_worker.child import assets, colors, compositor, reasons, wanted
from gpu_worker.child.denoising import denoises, used_layers
from gpu_worker.child.names import text
from gpu_worker.child.scope import Scope, scope_of
from gpu_worker.child.simulations import cache_folders, simulations

MOST_NAMED = 1000
"""Entries of a list that is only shown."""

MOST_SIMULATIONS = 10_000
"""Entries of the list of simulations (`farm_protocol.facts`); the unbaked come first."""


def facts() -> dict[str, Any]:
    """All facts of the open scene. What is changed to learn them is put back. Raises SceneError."""
    scene = bpy.context.scene
    render = scene.render
    scope = scope_of(scene)
    simulated = simulations(scope.evaluated, scene.frame_start)
    needed = wanted.wanted(scope)
    return {
        "scene": text(scene.name),
        "saved_with": ".".join(str(part) for part in bpy.data.version),
        "blender": bpy.app.version_string,
        "engine": text(render.engine),
        "frame_start": scene.frame_start,
        "frame_end": scene.frame_end,
        "frame_step": scene.frame_step,
        "resolution_x": render.resolution_x,
        "resolution_y": render.resolution_y,
        "resolution_percentage": render.resolution_percentage,
        "border": _border(render),
        "crop": render.use_border and render.use_crop_to_border,
        **_sampling(scene),
        "view_layers": [text(layer.name) for layer in scene.view_layers][:MOST_NAMED],
        "compositing": bool(render.use_compositing and scene.compositing_node_group),
        "file": _file_format(render),
        "output_path": text(render.filepath),
        "file_outputs": [text(node.name) for node in compositor.file_output_nodes(scene)][:MOST_NAMED],
        "camera": all(one.camera for one in scope.participants if one.scene == scene),
        "whole_only": reasons.sentences(scope, reasons.WHOLE_ONLY),
        "final_only": reasons.sentences(scope, reasons.FINAL_ONLY),
        "approximate": reasons.sentences(scope, reasons.APPROXIMATE),
        "unlike": reasons.sentences(scope, reasons.UNLIKE),
        "refused": reasons.sentences(scope, reasons.REFUSED),
        "notes": reasons.sentences(scope, reasons.NOTES),
        "scripts": [text(block.name) for block in bpy.data.texts if block.use_module][:MOST_NAMED],
        "drivers": list(islice(_dead_drivers(scope), MOST_NAMED)),
        "assets": [*assets.assets(needed), *cache_folders(scope.evaluated, simulated)],
        "colors": colors.colors(needed),
        "simulations": sorted((one.fact(scope.alone) for one in simulated), key=_baked)[:MOST_SIMULATIONS],
        "naming": _naming(scene),
    }


def _baked(simulation: dict[str, Any]) -> bool:
    return bool(simulation["baked"])


def _number(value: float) -> float:
    return float(value) if math.isfinite(value) else 0.0


def _border(render: Any) -> list[float] | None:
    if not render.use_border:
        return None
    return [render.border_min_x, render.border_min_y, render.border_max_x, render.border_max_y]


def _sampling(scene: Any) -> dict[str, Any]:
    cycles = scene.cycles
    is_cycles = scene.render.engine == "CYCLES"
    return {
        "samples": cycles.samples if is_cycles else scene.eevee.taa_render_samples,
        "seed": cycles.seed,
        "adaptive": {
            "use": is_cycles and cycles.use_adaptive_sampling,
            "threshold": _number(cycles.adaptive_threshold),
            "min_samples": cycles.adaptive_min_samples,
        },
        "layer_samples": _layer_samples(scene) if is_cycles else 0,
        "auto_tile": cycles.tile_size if is_cycles and cycles.use_auto_tile else 0,
        "denoise": is_cycles and denoises(scene),
    }


def _layer_samples(scene: Any) -> int:
    ignored = scene.cycles.use_layer_samples == "IGNORE"
    return 0 if ignored else max((layer.samples for layer in used_layers(scene)), default=0)


def _naming(scene: Any) -> dict[str, Any]:
    """What output paths may name. Not made fit to print: the names of files are made of it."""
    marked = [(mark.frame, mark.camera) for mark in scene.timeline_markers if mark.camera]
    return {
        "blend": os.path.splitext(os.path.basename(bpy.data.filepath))[0],
        "scene": scene.name,
        "fps": scene.render.fps / scene.render.fps_base,
        "camera": scene.camera.name if scene.camera else "",
        "cameras": [(frame, camera.name) for frame, camera in marked if not camera.hide_render],
    }


def _file_format(render: Any) -> dict[str, Any]:
    image = render.image_settings
    return {
        "name": image.file_format,
        "color_mode": image.color_mode,
        "color_depth": image.color_depth,
        "extension": render.file_extension if render.use_file_extension else "",
        "movie": render.is_movie_format,
    }


def _dead_drivers(scope: Scope) -> Iterator[str]:
    """Drivers of what is rendered that need Python, which never runs here."""
    found = scope.evaluated
    trees = compositor.compositor_trees(scope.scene.compositing_node_group)
    blocks = {block.session_uid: block for block in (scope.scene, *trees)} | found.objects | found.blocks
    for block in blocks.values():
        for curve in block.animation_data.drivers if getattr(block, "animation_data", None) else ():
            driver = curve.driver
            if driver.type == "SCRIPTED" and not driver.is_simple_expression:
                yield text(f"{block.name}.{curve.data_path}: {driver.expression}")
