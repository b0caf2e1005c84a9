# SPDX-License-Identifier: GPL-3.0-or-later
"""A .blend is made harmless while it loads, before Blender evaluates anything of it for the first time.

Blender calls the handlers of `load_post` when a file and its libraries are read, and only then evaluates
the active scene (`wm_file_read_post` in its wm_files.cc). So what would run the file's Python, or write
where the file says, is taken out there. docs/security.md ("What a .blend may make Blender do") lists it all.
"""

import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import addon_utils
import bpy

from gpu_worker.blender.child import disk_caches
from gpu_worker.blender.child.animation import ever_on
from gpu_worker.blender.child.errors import SceneError
from gpu_worker.blender.child.names import text
from gpu_worker.blender.child.overrides import curves_of
from gpu_worker.blender.child.participants import participants

ENGINE_ADDONS = frozenset({"cycles"})
"""The add-ons of Blender's that a render needs."""

ARMING = re.compile(r"freestyle|use_disk_cache|use_external|point_caches")
"""In the path of an animated property: it could switch on again what is switched off here."""

_QUOTED = re.compile(r'"(?:\\.|[^"\\])*"')


_drawing: frozenset[int] = frozenset()
"""The scenes of the open file that ask for Freestyle's lines, by session id."""


@contextmanager
def defused() -> Iterator[None]:
    """The file that is opened within the block is harmless when it is evaluated. Raises SceneError."""
    outcome: list[Exception | None] = []
    handler = _handler(outcome)
    _leave_out_addons()
    bpy.app.handlers.load_post.append(handler)
    try:
        yield
    finally:
        bpy.app.handlers.load_post.remove(handler)
    if not outcome:
        raise SceneError("Blender did not say that this file is read, so it was not looked through.")
    if outcome[0] is not None:
        raise SceneError(f"This file cannot be made safe to open: {outcome[0]}") from outcome[0]


def _handler(outcome: list[Exception | None]) -> Any:
    """Defuses once a file is loaded. What fails leaves nothing of the file to be evaluated."""

    @bpy.app.handlers.persistent  # type: ignore[untyped-decorator]
    def on_load(*_: object) -> None:
        try:
            _defuse()
            outcome.append(None)
        except Exception as error:  # Blender would print it, and go on
            outcome.append(error)
            _show_nothing()

    return on_load


def _show_nothing() -> None:
    """Put an empty scene before the file's, or end this process where that fails."""
    try:
        bpy.context.window.scene = bpy.data.scenes.new("Render farm: nothing")
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def _leave_out_addons() -> None:
    """Switch off add-ons, and the handlers that those and Blender's user interface have left."""
    for name in {addon.module for addon in bpy.context.preferences.addons} - ENGINE_ADDONS:
        addon_utils.disable(name)
    for name in ("load_pre", "load_post", "depsgraph_update_pre", "depsgraph_update_post"):
        getattr(bpy.app.handlers, name).clear()


def _defuse() -> None:
    global _drawing  # noqa: PLW0603
    _drawing = frozenset(scene.session_uid for scene in bpy.data.scenes if _draws_lines(scene))
    for curve in _curves():
        if ARMING.search(_QUOTED.sub('""', curve.data_path)):
            curve.mute = True
    for scene in bpy.data.scenes:
        _switch_freestyle_off(scene)
    disk_caches.read_only()


def _curves() -> Iterator[Any]:
    """All curves of the file, and the drivers of what has Freestyle or caches."""
    for action in bpy.data.actions:
        yield from curves_of(action)
    for block in (*bpy.data.scenes, *bpy.data.objects):
        yield from block.animation_data.drivers if block.animation_data else ()


# --- Freestyle --------------------------------------------------------------------------------------


def _draws_lines(scene: Any) -> bool:
    return bool(scene.render.use_freestyle) and any(
        all(ever_on(scene, f"{layer.path_from_id()}.{name}") for name in ("use", "use_freestyle"))
        for layer in scene.view_layers
    )


def _switch_freestyle_off(scene: Any) -> None:
    """Not only off, but with nothing of the file's left to run: no scripts, and no lines to be styled."""
    if scene.render.use_freestyle:
        scene.render.use_freestyle = False
        for layer in scene.view_layers:
            layer.use_freestyle = False
    for layer in scene.view_layers:
        settings = layer.freestyle_settings
        for module in reversed(settings.modules):
            settings.modules.remove(module)
        if settings.mode != "EDITOR":
            settings.mode = "EDITOR"


def freestyle_sentence(shown: Any, active: Any) -> str | None:
    """Why the farm does not render `shown` for the picture of the scene `active`, or None."""
    if shown.session_uid not in _drawing:
        return None
    where = "" if shown == active else f" in the scene '{text(shown.name)}'"
    return f"Freestyle runs Python from the file, which the farm never does: switch it off{where}."


# --- before a render --------------------------------------------------------------------------------


def refuse() -> None:
    """Raise SceneError where the picture would lack what was taken out, whatever the facts say."""
    scene = bpy.context.scene
    for one in participants(scene):
        sentence = freestyle_sentence(one.scene, scene)
        if sentence is not None:
            raise SceneError(sentence)


def look_again() -> None:
    """Raise SceneError where a scene has Freestyle on: none has since the file was loaded."""
    for scene in bpy.data.scenes:
        if scene.render.use_freestyle:
            raise SceneError(f"Freestyle was switched on again in the scene '{text(scene.name)}'.")
