# SPDX-License-Identifier: GPL-3.0-or-later
"""What the OCIO configuration of this Blender has, by every name it goes by."""

import os
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import bpy

from gpu_worker.blender.child.names import text

_MOST = 5_000
_MOST_USERS = 100_000
_CODES = {"IMAGE": "IM", "MOVIECLIP": "MC", "NODETREE": "NT", "SCENE": "SC"}


def colors(wanted: set[Any]) -> dict[str, Any]:
    """The names of colour spaces, looks and displays, and of views as `display/view`; `users` are the
    data-blocks whose names count, `sequencer` whether a sequencer is rendered.
    """
    config = _config()
    return {
        "spaces": _texts(_spaces(config)),
        "looks": _texts(["None", *(look.getName() for look in config.getLooks())]),
        "displays": _texts(config.getDisplays()),
        "views": _texts(f"{one}/{view}" for one in config.getDisplays() for view in config.getViews(one)),
        "users": _users(wanted),
        "sequencer": any(_edits(block) for block in wanted if block.id_type == "SCENE"),
    }


def _users(wanted: set[Any]) -> list[str]:
    named = (block for block in wanted if block.id_type in _CODES)
    return sorted({text(_CODES[block.id_type] + block.name) for block in named})[:_MOST_USERS]


def _config() -> Any:
    """The configuration Blender loaded, read by the OCIO it comes with."""
    folder = Path(bpy.utils.resource_path("LOCAL"), "python", "lib", f"python3.{sys.version_info.minor}")
    if str(folder / "site-packages") not in sys.path:
        sys.path.append(str(folder / "site-packages"))
    own = Path(bpy.utils.system_resource("DATAFILES"), "colormanagement", "config.ocio")
    named = os.environ.get("OCIO") or str(own)
    # It comes with Blender, in a folder of its own.
    return import_module("PyOpenColorIO").Config.CreateFromFile(named)


def _spaces(config: Any) -> Iterator[str]:
    for space in config.getColorSpaces():
        yield space.getName()
        yield from space.getAliases()
    yield from (role for role, _ in config.getRoles())


def _edits(scene: Any) -> bool:
    editor = scene.sequence_editor
    return bool(scene.render.use_sequencer and editor and len(editor.strips))


def _texts(names: Iterable[str]) -> list[str]:
    return sorted({text(name) for name in names if name})[:_MOST]
