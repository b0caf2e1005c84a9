# SPDX-License-Identifier: GPL-3.0-or-later
"""Which data-blocks a picture of the open scene needs: what is named, but hidden or left over, is not."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import bpy

from gpu_worker.blender.child.scope import Scope

_UNSEEN = frozenset(
    {"BRUSH", "LIBRARY", "PALETTE", "SCREEN", "SOUND", "SPEAKER", "TEXT", "WINDOWMANAGER", "WORKSPACE"}
)
_PLACED = frozenset({"COLLECTION", "OBJECT"})
"""What is shown of these is what the render evaluates."""


def wanted(scope: Scope) -> set[Any]:
    """The data-blocks that what is rendered is made of."""
    uses = _uses()
    waiting: list[Any] = [scope.scene, *scope.scenes, *scope.evaluated.objects.values()]
    found = set(waiting)
    while waiting:
        for block in _needed(waiting.pop(), uses):
            if block not in found and block.id_type not in _UNSEEN | _PLACED:
                found.add(block)
                waiting.append(block)
    return found


def _uses() -> dict[Any, set[Any]]:
    """Each data-block with those it points to."""
    uses = defaultdict(set)
    for block, users in bpy.data.user_map().items():
        for user in users:
            uses[user].add(block)
    return uses


def _needed(block: Any, uses: dict[Any, set[Any]]) -> Iterable[Any]:
    """What a data-block points to, without the pictures of nodes that lead nowhere."""
    tree = block if block.id_type == "NODETREE" else getattr(block, "node_tree", None)
    if tree is not None and tree.bl_idname in {"ShaderNodeTree", "CompositorNodeTree"}:
        return uses[block] - (_images(tree.nodes) - _images(_live(tree)))
    return uses[block]


def _images(nodes: Iterable[Any]) -> set[Any]:
    found = (getattr(node, "image", None) for node in nodes)
    return {image for image in found if isinstance(image, bpy.types.Image)}


def _live(tree: Any) -> list[Any]:
    """The nodes that an output of the tree can be reached from."""
    feeding = defaultdict(list)
    for link in tree.links:
        feeding[link.to_node].append(link.from_node)
    live = [node for node in tree.nodes if not node.outputs]
    seen = set(live)
    for node in live:
        for source in feeding[node]:
            if source not in seen:
                seen.add(source)
                live.append(source)
    return live
