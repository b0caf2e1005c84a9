# SPDX-License-Identifier: GPL-3.0-or-later
"""Shaders of the Open Shading Language that lie beside the .blend, compiled into the child's own folder.

Cycles compiles an .osl file when it is rendered, and writes the result beside the source, wherever that is
(`OSLShaderManager::shader_load_filepath` in its osl.cpp). What is compiled already is left to it.
"""

import os
import tempfile
from collections.abc import Iterator
from typing import Any

import _cycles
import bpy

from gpu_worker.blender.child.disk_caches import absolute

SOURCE, COMPILED = ".osl", ".oso"


def compile_apart() -> None:
    """Have every shader of the open scene that Cycles would compile read from a file of the child's own.

    One that cannot be compiled names a file that is empty: it shades nothing, as in Blender.
    """
    for owner, name in (*_nodes(), *((camera, "custom_filepath") for camera in bpy.data.cameras)):
        path = absolute(getattr(owner, name), owner.id_data.library)
        if path.endswith(SOURCE) and not _is_compiled(path):
            setattr(owner, name, _compiled(path))


def _nodes() -> Iterator[tuple[Any, str]]:
    for group in (bpy.data.materials, bpy.data.worlds, bpy.data.lights, bpy.data.linestyles):
        for block in group:
            yield from _scripts(block.node_tree)
    for tree in bpy.data.node_groups:
        yield from _scripts(tree)


def _scripts(tree: Any) -> Iterator[tuple[Any, str]]:
    for node in tree.nodes if tree is not None else ():
        if node.bl_idname == "ShaderNodeScript":
            yield node, "filepath"


def _is_compiled(path: str) -> bool:
    """Whether Cycles would take what lies beside the source."""
    try:
        return os.path.getmtime(path.removesuffix(SOURCE) + COMPILED) >= os.path.getmtime(path)
    except OSError:
        return False


def _compiled(path: str) -> str:
    """A new name each time: Cycles remembers shaders by theirs."""
    handle, compiled = tempfile.mkstemp(COMPILED, "shader-", bpy.app.tempdir)
    os.close(handle)
    if os.path.isfile(path):
        _cycles.osl_compile(path, compiled)
    return compiled
