# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the settings that the farm changes the scene itself reads: by drivers, and by shaders.

A driver may make anything of a setting of its scene, and an Attribute node of a shader names one by its
path. Both are looked for in the whole file: what reads may itself be read.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import bpy

from gpu_worker.blender.child.overrides import TOUCHED

ASKED = frozenset(
    {"samples", "seed", "taa_render_samples", "resolution_x", "resolution_y", "resolution_percentage"}
)
"""Settings that a picture is rendered with as the file, or the artist beside the file, says."""

MACHINES = frozenset(
    {
        "engine",
        "threads",
        "threads_mode",
        "device",
        "use_persistent_data",
        "compositor_device",
        "compositor_denoise_device",
        "denoising_use_gpu",
    }
)
"""Settings that even a frame by one Blender has as the machine that renders needs them; an engine is read as
its number among all that are installed."""

TILES = frozenset(name for names in TOUCHED.values() for name in names) - ASKED
"""Settings that are others while tiles are rendered, audited or finished."""


def read_settings() -> set[str]:
    """Those of TILES that something in the open file reads, by the last part of their paths."""
    read: set[str] = set()
    for block in _blocks():
        data = getattr(block, "animation_data", None)
        read.update(_driven_by(data.drivers if data else ()))
        if isinstance(block, bpy.types.ShaderNodeTree):
            read.update(_attributes(block))
    return read & TILES


def _blocks() -> Iterator[Any]:
    """Everything in the file that may have drivers, trees inside other blocks too."""
    for group in bpy.data.bl_rna.properties:
        if group.type == "COLLECTION":
            for block in getattr(bpy.data, group.identifier):
                yield block
                tree = getattr(block, "node_tree", None)
                if tree is not None:
                    yield tree


def _driven_by(curves: Iterable[Any]) -> Iterator[str]:
    for curve in curves:
        for variable in curve.driver.variables:
            target = variable.targets[0]
            if variable.type == "CONTEXT_PROP" or isinstance(target.id, bpy.types.Scene):
                yield _last(target.data_path)


def _attributes(tree: Any) -> Iterator[str]:
    for node in tree.nodes:
        if node.bl_idname == "ShaderNodeAttribute" and node.attribute_type == "VIEW_LAYER":
            yield _last(node.attribute_name)


def _last(path: str) -> str:
    return path.rpartition(".")[2]
