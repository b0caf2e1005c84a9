# SPDX-License-Identifier: GPL-3.0-or-later
"""The files a scene reads, as Blender lists them."""

import os
import re
from collections.abc import Iterator
from typing import Any

import bpy

from gpu_worker.blender.child.names import text

_UNSEEN = frozenset({"BRUSH", "SOUND", "SPEAKER", "TEXT"})
"""No picture needs their files."""
_TILES = re.compile(r"<UDIM>|<UVTILE>")


def assets(wanted: set[Any]) -> Iterator[dict[str, Any]]:
    """Every file the scene reads that is not packed into it; `used` where one of `wanted` reads it."""
    libraries = _linked(wanted)
    for block, paths in bpy.data.file_path_map(include_libraries=True).items():
        if block.id_type in _UNSEEN:
            continue
        # A linked block also names its library, which is listed for itself (and relative to another
        # file than the block's own paths).
        library = {block.library.filepath} if block.library is not None else set()
        used = block in (libraries if block.id_type == "LIBRARY" else wanted)
        for path in sorted(paths - library):
            if _is_file(block, path):
                yield _asset(block, path, used)
    for tree in bpy.data.node_groups:
        for path in _imported(tree):
            yield _asset(tree, path, tree in wanted)


def _asset(block: Any, path: str, used: bool) -> dict[str, Any]:
    absolute = bpy.path.abspath(path, library=block.library)
    return {
        "path": text(absolute),
        "kind": text(block.id_type.lower()),
        "user": text(block.name),
        "missing": not _exists(absolute, _is_sequence(block)),
        "used": used,
    }


def _linked(wanted: set[Any]) -> set[Any]:
    """The libraries something wanted is read from. What was packed into this file needs none."""
    return {
        block.library
        for block in wanted
        if block.library is not None and not _is_packed(block, block.library)
    }


def _is_packed(block: Any, library: Any) -> bool:
    return bool(library.packed_file or library.is_archive or block.is_linked_packed)


def _is_file(block: Any, path: str) -> bool:
    """Whether the path names a file. A cache's folder may be empty: then its simulation is not baked."""
    return bool(path) and not (block.id_type == "OBJECT" and not os.path.splitext(path)[1])


def _is_sequence(block: Any) -> bool:
    return bool(getattr(block, "source", "") == "SEQUENCE" or getattr(block, "is_sequence", False))


def _imported(tree: Any) -> Iterator[str]:
    """Files that nodes read, where the path is written in the node itself."""
    for node in tree.nodes:
        if node.bl_idname.startswith("GeometryNodeImport") and not node.mute:
            socket = node.inputs[0]
            if not socket.is_linked and socket.default_value:
                yield socket.default_value


def _exists(path: str, sequence: bool) -> bool:
    folder, name = os.path.split(path)
    mark = _TILES.search(name)
    if mark:
        return _any_in(folder, re.escape(name[: mark.start()]) + ".+" + re.escape(name[mark.end() :]))
    if os.path.exists(path) or not sequence:
        return os.path.exists(path)
    stem, ending = os.path.splitext(name)
    digits = list(re.finditer("[0-9]+", stem))
    if not digits:
        return False
    head, tail = stem[: digits[-1].start()], stem[digits[-1].end() :]
    return _any_in(folder, re.escape(head) + "-?[0-9]+" + re.escape(tail + ending))


def _any_in(folder: str, pattern: str) -> bool:
    try:
        return any(re.fullmatch(pattern, name) for name in os.listdir(folder))
    except OSError:
        return False
