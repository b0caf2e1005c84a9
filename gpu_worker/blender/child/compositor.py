# SPDX-License-Identifier: GPL-3.0-or-later
"""The scene's compositor: its node trees and its File Output nodes."""

from collections.abc import Iterator
from typing import Any

from gpu_worker.blender.child.participants import compositor_makes_picture


def compositor_trees(tree: Any, seen: set[str] | None = None) -> Iterator[Any]:
    """The compositor's tree and every group used in it, each once."""
    seen = set() if seen is None else seen
    if tree is None or tree.name_full in seen:
        return
    seen.add(tree.name_full)
    yield tree
    for node in tree.nodes:
        if node.bl_idname == "CompositorNodeGroup":
            yield from compositor_trees(node.node_tree, seen)


def file_output_nodes(scene: Any) -> Iterator[Any]:
    """The File Output nodes that would write when this scene is rendered."""
    if compositor_makes_picture(scene):
        for tree in compositor_trees(scene.compositing_node_group):
            yield from (n for n in tree.nodes if n.bl_idname == "CompositorNodeOutputFile" and not n.mute)
