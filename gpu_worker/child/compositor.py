# SPDX-License-Identifier: GPL-3.0-or-later
"""The scene's compositor: its node trees, and where its File Output nodes may write."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import bpy

OWN_PATH = "render_farm_own_path"
"""Where a File Output node keeps what the file said, since every frame gets a folder of its own."""

SAFE_PART = re.compile(r"[^\w.\- {}#]+")


def escape_template(path: str) -> str:
    """A path as Blender 5 writes it literally: braces name template variables otherwise."""
    return path.replace("{", "{{").replace("}", "}}")


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
    if scene.render.use_compositing:
        for tree in compositor_trees(scene.compositing_node_group):
            yield from (n for n in tree.nodes if n.bl_idname == "CompositorNodeOutputFile" and not n.mute)


def redirect_file_outputs(folder: Path) -> None:
    """Make every File Output node write under `folder`, keeping what is harmless of its own path."""
    for node in file_output_nodes(bpy.context.scene):
        if OWN_PATH not in node:
            node[OWN_PATH] = [node.directory, node.file_name]
        directory, name = node[OWN_PATH]
        node.directory = escape_template(str(folder)) + "/" + relative_directory(directory)
        node.file_name = relative_name(name)


def relative_directory(directory: str) -> str:
    """Where File Output files go below the frame's folder: the path after `//`, or the last name of an
    absolute one; always below, never with `..`. Template variables stay.
    """
    names = _harmless(directory)
    if not directory.replace("\\", "/").startswith("//"):
        names = names[-1:]
    return "outputs/" + "".join(name + "/" for name in names)


def relative_name(name: str) -> str:
    """A File Output node's file name, which may name folders, without those that lead out."""
    return "/".join(_harmless(name))


def _harmless(path: str) -> list[str]:
    """The names in a path that lead down: neither `..` nor hidden names, nor unusual characters."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    names = [SAFE_PART.sub("_", part) for part in parts]
    return [name for name in names if name.strip("._ ") and name != "/"]
