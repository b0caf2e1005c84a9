# SPDX-License-Identifier: GPL-3.0-or-later
"""Bakes of Geometry Nodes that lie on disk, read into memory.

Blender opens their files for writing too, even to read them: in a folder that is read-only, as a scene's is
in the sandbox, what was baked comes out empty, without a word. Packing reads them properly.
"""

from typing import Any

import bpy

from gpu_worker.blender.child.caches import nodes_bake
from gpu_worker.blender.child.errors import SceneError
from gpu_worker.blender.child.names import text


def hold_in_memory() -> None:
    """Read every bake on disk of the open scene. Raises SceneError for one that cannot be read."""
    for item in bpy.data.objects:
        for modifier in item.modifiers:
            for bake in modifier.bakes if modifier.type == "NODES" else ():
                cache = nodes_bake(modifier, bake, item, 0)
                if cache.folder and cache.there:
                    _pack(item, modifier, bake)


def _pack(item: Any, modifier: Any, bake: Any) -> None:
    try:
        done = bpy.ops.object.geometry_node_bake_pack_single(
            session_uid=item.session_uid, modifier_name=modifier.name, bake_id=bake.bake_id
        )
    except RuntimeError as error:
        raise SceneError(f"The bake of '{text(item.name)}' cannot be read: {error}") from error
    if done != {"FINISHED"}:
        raise SceneError(f"The bake of '{text(item.name)}' cannot be read from disk: pack it into the file.")
