# SPDX-License-Identifier: GPL-3.0-or-later
"""The files a scene reads, as Blender lists them."""

import os
from collections.abc import Iterator
from typing import Any

import bpy

from gpu_worker.child.names import text


def assets() -> Iterator[dict[str, Any]]:
    """Every file the scene reads that is not packed into it."""
    for block, paths in bpy.data.file_path_map(include_libraries=True).items():
        # A linked block also names its library, which is listed for itself (and relative to another
        # file than the block's own paths).
        library = {block.library.filepath} if block.library is not None else set()
        for path in sorted(paths - library):
            absolute = bpy.path.abspath(path, library=block.library)
            yield {
                "path": text(absolute),
                "kind": text(block.id_type.lower()),
                "user": text(block.name),
                "missing": not _exists(absolute),
            }


def _exists(path: str) -> bool:
    if "<UDIM>" in path or "<UVTILE>" in path:
        stem = os.path.basename(path).split("<")[0]
        folder = os.path.dirname(path)
        return os.path.isdir(folder) and any(name.startswith(stem) for name in os.listdir(folder))
    return os.path.exists(path)
