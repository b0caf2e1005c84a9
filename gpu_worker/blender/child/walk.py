# SPDX-License-Identifier: GPL-3.0-or-later
"""What a render of a scene evaluates, as Blender itself hands it to a render engine.

The dependency graph a script can ask for is the viewport's. An engine gets the one of the render: with what
is hidden for renders left out, collections instanced, overrides applied, Geometry Nodes evaluated and the
background set included. So this is an engine that draws nothing and notes what it was given. Objects whose
visibility is animated are always part of it, at whatever frame.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import bpy

from gpu_worker.blender.child.animation import ever_on
from gpu_worker.blender.child.errors import SceneError
from gpu_worker.blender.child.names import text
from gpu_worker.blender.child.participants import Participant

MOST_INSTANCES = 200_000
"""Instances that are looked at for volumes and strokes; nodes that make them are found by themselves."""

QUIET = {
    "engine": "RENDER_FARM_WALK",
    "resolution_x": 16,
    "resolution_y": 16,
    "resolution_percentage": 100,
    "use_border": False,
    "use_compositing": False,
    "use_sequencer": False,
    "use_freestyle": False,
    "use_multiview": False,
    "use_stamp": False,
    "use_single_layer": False,
    "use_persistent_data": False,
}
"""Settings under which a render evaluates the scene and does nothing else. Blender refuses frames of less
than 16 pixels where the scene's output is a movie.
"""


@dataclass
class Evaluated:
    """What renders of one or more scenes are made of, as original data-blocks by session id.

    `blocks` is everything that is seen, `objects` all objects that are evaluated, hidden ones that others
    depend on too.
    """

    blocks: dict[int, Any] = field(default_factory=dict)
    objects: dict[int, Any] = field(default_factory=dict)
    instanced_volume: bool = False
    instanced_pencil: bool = False
    layers: int = 0

    def seen(self, kind: str) -> list[Any]:
        """The blocks of one kind (Blender's `id_type`) that the picture shows."""
        return [block for block in self.blocks.values() if block.id_type == kind]

    def add(self, depsgraph: Any) -> None:
        """Note what one view layer's render is given."""
        self.layers += 1
        for block in depsgraph.ids:
            self.blocks[block.original.session_uid] = block.original
        for item in bpy.data.objects:
            if item.evaluated_get(depsgraph).is_evaluated:
                self.objects[item.session_uid] = item
        for count, instance in enumerate(depsgraph.object_instances):
            if count >= MOST_INSTANCES or (self.instanced_volume and self.instanced_pencil):
                break
            kind = instance.object.type
            self.instanced_volume = self.instanced_volume or kind == "VOLUME"
            self.instanced_pencil = self.instanced_pencil or kind == "GREASEPENCIL"


class _Engine(bpy.types.RenderEngine):  # type: ignore[misc]
    """Notes what it is given to render."""

    bl_idname = QUIET["engine"]
    bl_label = "Render farm: walk"
    bl_use_preview = False
    bl_use_postprocess = False
    found: Evaluated

    def render(self, depsgraph: Any) -> None:
        """Called by Blender for each view layer."""
        _Engine.found.add(depsgraph)


def evaluated(rendered: list[Participant]) -> Evaluated:
    """What renders of these scenes are made of. Raises SceneError where Blender cannot evaluate one."""
    if not _Engine.is_registered:
        bpy.utils.register_class(_Engine)
    _Engine.found = Evaluated()
    for one in rendered:
        with _quietly(one):
            for name in _layers(one.scene):
                _evaluate(one.scene, name)
    return _Engine.found


def _layers(scene: Any) -> list[str]:
    return [layer.name for layer in scene.view_layers if ever_on(scene, f"{layer.path_from_id()}.use")]


def _evaluate(scene: Any, layer: str) -> None:
    before = _Engine.found.layers
    try:
        # By the scene itself: one out of a library may have the name of another.
        with bpy.context.temp_override(scene=scene):
            bpy.ops.render.render(layer=layer)
    except RuntimeError as error:
        raise SceneError(f"Blender cannot evaluate '{text(scene.name)}': {error}") from error
    if _Engine.found.layers == before:
        raise SceneError(f"Blender cannot evaluate the view layer '{text(layer)}' of '{text(scene.name)}'.")


@contextmanager
def _quietly(one: Participant) -> Iterator[None]:
    """Until the end of the block a render of the scene evaluates it and does nothing else.

    Only settings of the scene and its layers are changed: to touch an object, even to switch a simulation
    off, makes Blender throw away what was played into its cache, files included.
    """
    scene = one.scene
    with ExitStack() as changes:
        for name, value in QUIET.items():
            changes.enter_context(_changed(scene.render, name, value))
        changes.enter_context(_changed(scene, "camera", one.camera))
        for layer in scene.view_layers:
            changes.enter_context(_changed(layer, "use_grease_pencil", False))
        yield


@contextmanager
def _changed(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        # An engine that is not there cannot be set again; this scene is not rendered here anyway.
        with suppress(TypeError):
            setattr(owner, name, before)
